//! The collector: what it takes, what it never takes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::TestApp;

const C: i64 = 100;

async fn collect(app: &TestApp) -> Value {
    app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created().json
}

async fn snapshot(app: &TestApp, name: &str) {
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": name}))
        .await
        .created();
}

async fn segment_keys(app: &TestApp, segment: i64) -> usize {
    let mut found = 0;
    for kind in ["insert_log", "stats_log"] {
        found += app.keys(&format!("{kind}/100/101/{segment}/")).await.len();
    }
    found + app.keys(&format!("index_files/{}/", segment * 1000)).await.len()
}

#[tokio::test]
async fn dropped_segments_go_after_their_grace_period_and_not_before() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    app.delete("/v1/collections/c/segments/5").await.expect(204);
    app.delete("/v1/collections/c/segments/5")
        .await
        .refused(404, "segment_not_found");
    // the body may be left out
    let run = app.call(axum::http::Method::POST, "/v1/gc/runs", None).await.created().json;
    assert_eq!(
        (&run["objects"], &run["kept_by_grace"], &run["grace_seconds"]),
        (&json!(0), &json!(2), &json!(10_800)),
        "{run}"
    );
    app.set_clock(Duration::from_secs(10_801)).await;
    let dry = app.post("/v1/gc/runs", &json!({"dry_run": true})).await.created().json;
    assert_eq!(
        (&dry["segments"], &dry["index_builds"], &dry["objects"]),
        (&json!(1), &json!(1), &json!(4)),
        "{dry}"
    );
    assert_eq!(segment_keys(&app, 5).await, 4, "a dry run changes nothing");
    let run = app.post("/v1/gc/runs", &json!({})).await.created().json;
    assert_eq!(
        (&run["segments"], &run["index_builds"], &run["objects"], &run["bytes"]),
        (&dry["segments"], &dry["index_builds"], &dry["objects"], &dry["bytes"])
    );
    assert_eq!(segment_keys(&app, 5).await, 0);
    let runs = app.get("/v1/gc/runs").await.ok().json;
    assert_eq!(runs["items"].as_array().expect("items").len(), 3);
    assert_eq!(runs["items"][0], run);
    assert_eq!(
        app.get(&format!("/v1/gc/runs/{}", run["run_id"].as_str().expect("id")))
            .await
            .ok()
            .json,
        run
    );
    app.get("/v1/gc/runs/12").await.refused(404, "gc_run_not_found");
    assert!(!app.directory.path().join("insert_log").exists(), "no empty directory stays");
}

#[tokio::test]
async fn no_file_of_any_class_goes_while_a_snapshot_needs_it() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    app.add_segment("c", C, 6).await;
    snapshot(&app, "s").await;
    // in turn: drop index, compaction, drop partition, drop collection
    app.delete("/v1/collections/c/indexes/vec_idx").await.expect(204);
    collect(&app).await;
    assert_eq!((segment_keys(&app, 5).await, segment_keys(&app, 6).await), (4, 4));
    let output = app.small_segment(C, 7).await;
    let mut output = output;
    output["index_builds"] = json!([]);
    let done = app
        .post(
            "/v1/collections/c/compactions",
            &json!({"inputs": ["5"], "outputs": [output]}),
        )
        .await
        .ok()
        .json;
    assert_eq!(done, json!({"dropped": ["5"], "added": ["7"]}));
    app.post("/v1/collections/c/compactions", &json!({"inputs": ["5"], "outputs": []}))
        .await
        .refused(404, "segment_not_found");
    collect(&app).await;
    app.delete("/v1/collections/c").await.expect(204);
    let run = collect(&app).await;
    assert_eq!(run["segments"], 1, "the compaction's output is in no snapshot");
    assert_eq!((segment_keys(&app, 5).await, segment_keys(&app, 6).await), (4, 4));
    assert_eq!(run["kept_by_snapshots"], 4);
    app.delete("/v1/snapshots/s").await.expect(204);
    collect(&app).await;
    assert_eq!((segment_keys(&app, 5).await, segment_keys(&app, 6).await), (0, 0));
    let left: i64 = sqlx::query_scalar("select (select count(*) from segments) + (select count(*) from index_builds) + (select count(*) from collections) + (select count(*) from snapshots)")
        .fetch_one(&app.pool)
        .await
        .expect("counts");
    assert_eq!(left, 0, "no row stays");
}

#[tokio::test]
async fn siblings_whose_ids_begin_alike_are_left_alone() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 12).await;
    app.add_segment("c", C, 123).await;
    app.delete("/v1/collections/c/segments/12").await.expect(204);
    let run = collect(&app).await;
    assert_eq!(run["objects"], 4);
    assert_eq!((segment_keys(&app, 12).await, segment_keys(&app, 123).await), (0, 4));
}

#[tokio::test]
async fn files_of_an_external_collection_are_never_deleted() {
    let app = TestApp::local().await;
    app.objects
        .put("insert_log/900/901/5/100/1", b"theirs".to_vec())
        .await
        .expect("written");
    app.post(
        "/v1/collections",
        &json!({"name": "ext", "collection_id": "900", "ownership": "external", "fields": [{"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true}],
            "partitions": [{"partition_id": "901", "name": "_default"}], "channels": [{"channel_name": "x", "seek_position": {"timestamp": "9"}}]}),
    )
    .await
    .created();
    let segment = json!({"segment_id": "5", "partition_id": "901", "channel_name": "x", "num_of_rows": 1,
        "binlogs": [{"field_id": "100", "logs": [{"log_id": "1", "path": "insert_log/900/901/5/100/1", "size_bytes": 6}]}]});
    app.post("/v1/collections/ext/segments", &segment).await.created();
    let created = app
        .post("/v1/snapshots", &json!({"collection_name": "ext", "snapshot_name": "s"}))
        .await
        .created()
        .json;
    assert_eq!(created["protection"], "none");
    app.delete("/v1/snapshots/s").await.expect(204);
    app.delete("/v1/collections/ext").await.expect(204);
    let run = collect(&app).await;
    assert_eq!(
        (&run["segments"], &run["collections"], &run["bytes"]),
        (&json!(1), &json!(1), &created["metadata_bytes"]),
        "{run}"
    );
    assert_eq!(app.keys("insert_log/").await, ["insert_log/900/901/5/100/1"]);
}

#[tokio::test]
async fn a_row_stays_while_its_objects_cannot_be_deleted() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    app.delete("/v1/collections/c/segments/5").await.expect(204);
    // a directory that is not empty stands where the file was: its deletion fails, also for root
    let file = app.directory.path().join("stats_log/100/101/5/100/150");
    std::fs::remove_file(&file).expect("removed");
    std::fs::create_dir_all(file.join("blocker")).expect("created");
    let run = collect(&app).await;
    assert_eq!(
        (&run["failed_objects"], &run["segments"], &run["index_builds"]),
        (&json!(1), &json!(0), &json!(1)),
        "{run}"
    );
    assert_eq!(run["failures"][0]["key"], "stats_log/100/101/5/100/150");
    std::fs::remove_dir_all(&file).expect("removed");
    let run = collect(&app).await;
    assert_eq!((&run["failed_objects"], &run["segments"]), (&json!(0), &json!(1)), "{run}");
}

#[tokio::test]
async fn a_dry_run_says_what_the_real_run_does_also_behind_dropped_snapshots() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    snapshot(&app, "s").await;
    app.delete("/v1/collections/c?cascade=true").await.expect(204);
    let dry = app
        .post("/v1/gc/runs", &json!({"grace_seconds": 0, "dry_run": true}))
        .await
        .created()
        .json;
    let real = collect(&app).await;
    for count in ["snapshots", "segments", "index_builds", "objects", "bytes"] {
        assert_eq!(dry[count], real[count], "{count}");
    }
    assert_eq!(real["segments"], 1);
    app.post("/v1/gc/runs", &json!({"grace_seconds": i64::MAX.to_string()}))
        .await
        .refused(422, "invalid_request");
}

#[tokio::test]
async fn versions_that_no_snapshot_needs_are_not_kept() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    let append = async |log: i64| {
        let path = format!("delta_log/100/101/5/{log}");
        let body = json!({"append": {"deltalogs": [{"field_id": "0", "logs": [{"log_id": log.to_string(), "path": path, "size_bytes": 7}]}]}});
        app.patch("/v1/collections/c/segments/5?check=none", &body).await.ok();
    };
    append(1).await;
    snapshot(&app, "s").await;
    append(2).await;
    append(3).await;
    let versions: Vec<i32> = sqlx::query_scalar("select version from segment_versions order by version")
        .fetch_all(&app.pool)
        .await
        .expect("lists");
    assert_eq!(versions, [2, 3, 4], "the captured one, and the newest two");
}

#[tokio::test]
async fn rows_of_dropped_partitions_and_indexes_go_when_nothing_names_them() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    snapshot(&app, "s").await;
    // one that no segment names, and one that a captured segment does; the same of indexes
    let second = json!({"index_id": "8", "field_id": "100", "index_name": "id_idx"});
    app.post("/v1/collections/c/indexes", &second).await.created();
    for path in ["partitions/p2", "indexes/id_idx", "indexes/vec_idx", "segments/5"] {
        app.delete(&format!("/v1/collections/c/{path}")).await.expect(204);
    }
    let dry = app
        .post("/v1/gc/runs", &json!({"grace_seconds": 0, "dry_run": true}))
        .await
        .created()
        .json;
    assert_eq!((&dry["partitions"], &dry["indexes"]), (&json!(1), &json!(1)), "{dry}");
    let run = collect(&app).await;
    assert_eq!((&run["partitions"], &run["indexes"]), (&json!(1), &json!(1)), "{run}");
    let items = format!("/v1/gc/runs/{}/items?kind=index", run["run_id"].as_str().expect("an id"));
    let listed = app.get(&items).await.ok().json;
    assert_eq!(listed["items"][0]["name"], "8 of collection 100", "{listed}");
    let left = async || -> (i64, i64) {
        sqlx::query_as("select (select count(*) from partitions), (select count(*) from indexes)")
            .fetch_one(&app.pool)
            .await
            .expect("counts")
    };
    assert_eq!(left().await, (1, 1), "the index is named by a build that the snapshot needs");
    // it is restored from the snapshot's own description
    app.post("/v1/snapshots/s/restore", &json!({"collection_name": "r"}))
        .await
        .expect(202);
    app.drain().await;
    let restored = app.get("/v1/collections/r/partitions").await.ok().json;
    assert_eq!(restored["items"].as_array().expect("items").len(), 2);
    app.delete("/v1/collections/r").await.expect(204);
    app.delete("/v1/snapshots/s").await.expect(204);
    collect(&app).await;
    collect(&app).await;
    assert_eq!(left().await, (1, 0), "only the living partition");
}
