//! The collector: what it takes, what it never takes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{TestApp, fixture};

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
    let mut files = Vec::new();
    for segment in [5, 6] {
        let body = app.full_segment(C, segment).await;
        app.post("/v1/collections/c/segments", &body).await.created();
        files.extend(fixture::paths(&body));
    }
    for class in [
        "insert_log/",
        "delta_log/",
        "stats_log/",
        "bm25_stats/",
        "text_log/",
        "json_key_index_log/",
        "json_stats/",
        "index_files/",
    ] {
        assert!(files.iter().any(|f| f.starts_with(class)), "{class}");
    }
    let missing = async || {
        let mut missing = files.clone();
        for file in &files {
            if app.objects.size(file).await.expect("asked").is_some() {
                missing.retain(|m| m != file);
            }
        }
        missing
    };
    snapshot(&app, "s").await;
    // in turn: drop index, compaction, drop partition, drop collection
    app.delete("/v1/collections/c/indexes/vec_idx").await.expect(204);
    collect(&app).await;
    assert!(missing().await.is_empty(), "{:?}", missing().await);
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
    assert!(missing().await.is_empty(), "{:?}", missing().await);
    assert_eq!(run["kept_by_snapshots"], 4);
    app.delete("/v1/snapshots/s").await.expect(204);
    collect(&app).await;
    assert_eq!(missing().await, files, "nobody needs any of them");
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

/// What a run dealt with: kind, name, objects and bytes, in an order of its own.
async fn items(app: &TestApp, run: &Value, outcome: &str) -> Vec<String> {
    let id = run["run_id"].as_str().expect("an id");
    let path = format!("/v1/gc/runs/{id}/items?page_size=1000&outcome={outcome}");
    let listed = app.get(&path).await.ok().json;
    let mut items: Vec<String> = listed["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|i| format!("{} {} {} {}", i["kind"], i["name"], i["objects"], i["size_bytes"]))
        .collect();
    items.sort();
    items
}

#[tokio::test]
async fn a_dry_run_says_what_the_real_run_does_also_behind_dropped_snapshots() {
    let app = TestApp::local().await;
    // one that goes as a whole: everything of it is behind its snapshots, which share a manifest
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    snapshot(&app, "s").await;
    app.add_segment("c", C, 6).await;
    snapshot(&app, "s2").await;
    app.post("/v1/snapshots/s/restore", &json!({"collection_name": "r"}))
        .await
        .expect(202);
    app.drain().await;
    app.delete("/v1/collections/c?cascade=true").await.expect(204);
    // one that lives: its dropped partition and index are named by what is going
    app.small_collection("d", 200).await;
    let segment = app.small_segment(200, 15).await.to_string();
    let mut segment: Value = serde_json::from_str(&segment.replace("/201/", "/202/")).expect("JSON");
    segment["partition_name"] = json!("p2");
    app.post("/v1/collections/d/segments?check=none", &segment).await.created();
    app.add_segment("d", 200, 16).await;
    for name in ["d1", "d2"] {
        let body = json!({"collection_name": "d", "snapshot_name": name});
        app.post("/v1/snapshots", &body).await.created();
        app.delete(&format!("/v1/snapshots/{name}")).await.expect(204);
    }
    for path in ["partitions/p2", "indexes/vec_idx"] {
        app.delete(&format!("/v1/collections/d/{path}")).await.expect(204);
    }
    // and a dropped segment that a snapshot keeps
    let mut kept = app.small_segment(200, 17).await;
    kept["index_builds"] = json!([]);
    app.post("/v1/collections/d/segments", &kept).await.created();
    let body = json!({"collection_name": "d", "snapshot_name": "lives"});
    app.post("/v1/snapshots", &body).await.created();
    app.delete("/v1/collections/d/segments/17").await.expect(204);

    let dry = app
        .post("/v1/gc/runs", &json!({"grace_seconds": 0, "dry_run": true}))
        .await
        .created()
        .json;
    let real = collect(&app).await;
    let counts = |run: &Value| {
        let mut run = run.clone();
        for own in ["run_id", "dry_run", "started_at", "finished_at"] {
            assert!(run.as_object_mut().expect("an object").remove(own).is_some(), "{own}");
        }
        run
    };
    assert_eq!(counts(&dry), counts(&real));
    assert_eq!(items(&app, &dry, "would_delete").await, items(&app, &real, "deleted").await);
    assert_eq!(items(&app, &dry, "kept").await, items(&app, &real, "kept").await);
    for (count, number) in [
        ("snapshots", 4),
        ("manifests", 4),
        ("segments", 3),
        ("index_builds", 4),
        ("collections", 1),
        ("partitions", 1),
        ("indexes", 1),
        ("kept_by_snapshots", 1),
    ] {
        assert_eq!(real[count], number, "{count}: {real}");
    }
    app.post("/v1/gc/runs", &json!({"grace_seconds": i64::MAX.to_string()}))
        .await
        .refused(422, "invalid_request");
}

#[tokio::test]
async fn of_each_kind_some_of_what_is_kept_is_listed_however_much_there_is_of_another() {
    let app = TestApp::memory().await;
    app.small_collection("c", C).await;
    let mut bodies = Vec::new();
    for segment in 0..1010 {
        bodies.push(app.small_segment(C, 5000 + segment).await);
    }
    app.post("/v1/collections/c/segments:batch?check=none", &json!({"segments": bodies}))
        .await
        .created();
    snapshot(&app, "s").await;
    snapshot(&app, "dropped").await;
    app.delete("/v1/snapshots/dropped").await.expect(204);
    app.delete("/v1/collections/c").await.expect(204);
    let run = app.post("/v1/gc/runs", &json!({})).await.created().json;
    let id = run["run_id"].as_str().expect("an id");
    for (kind, listed) in [("index_build", 1000), ("segment", 1000), ("snapshot", 1)] {
        let path = format!("/v1/gc/runs/{id}/items?page_size=1000&outcome=kept&kind={kind}");
        let items = app.get(&path).await.ok().json;
        assert_eq!(items["items"].as_array().expect("items").len(), listed, "{kind}");
    }
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
