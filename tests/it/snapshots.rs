//! What snapshots capture, and how they are found.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{TestApp, python};

const C: i64 = 100;

async fn create(app: &TestApp, collection: &str, name: &str) -> Value {
    app.post(
        "/v1/snapshots",
        &json!({"collection_name": collection, "snapshot_name": name}),
    )
    .await
    .created()
    .json
}

async fn captured(app: &TestApp, name: &str) -> Vec<String> {
    let segments = app.get(&format!("/v1/snapshots/{name}/segments")).await.ok().json;
    segments["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|s| s["segment_id"].as_str().expect("id").to_string())
        .collect()
}

#[tokio::test]
async fn each_segment_is_judged_by_its_own_channel() {
    let app = TestApp::local().await;
    app.post(
        "/v1/collections",
        &json!({"name": "two", "collection_id": "300", "num_shards": 2,
            "fields": [{"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true}],
            "partitions": [{"name": "_default", "partition_id": "301"}],
            "channels": [{"channel_name": "slow", "seek_position": {"timestamp": "100"}}, {"channel_name": "fast", "seek_position": {"timestamp": "500"}}]}),
    )
    .await
    .created();
    let segment = |id: i64, channel: &str, start: i64, commit: i64| {
        json!({"segment_id": id.to_string(), "partition_id": "301", "channel_name": channel, "num_of_rows": 1,
            "start_position": {"timestamp": start.to_string()}, "commit_timestamp": commit.to_string(),
            "binlogs": [{"field_id": "100", "logs": [{"log_id": "1", "path": format!("insert_log/300/301/{id}/100/1"), "size_bytes": 3}]}]})
    };
    let segments = json!({"segments": [
        segment(1, "slow", 99, 0), segment(2, "slow", 100, 0), segment(3, "fast", 300, 0), segment(4, "fast", 300, 500), segment(5, "slow", 300, 50)]});
    app.post("/v1/collections/two/segments:batch?check=none", &segments)
        .await
        .created();
    let snapshot = create(&app, "two", "s").await;
    assert_eq!(captured(&app, "s").await, ["1", "3", "5"]);
    assert_eq!(snapshot["create_ts"], "100");
    assert_eq!(
        snapshot["left_out"],
        json!([{"reason": "after_position", "segment_count": 2, "num_of_rows": 2}])
    );
}

#[tokio::test]
async fn only_flushed_segments_with_files_are_captured_and_the_answer_says_what_is_not() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    let body = |id: i64, state: &str| json!({"segment_id": id.to_string(), "partition_name": "_default", "channel_name": "ch_100", "num_of_rows": id, "state": state});
    for (id, state) in [
        (1, "growing"),
        (2, "growing"),
        (3, "sealed"),
        (4, "importing"),
        (5, "flushed"),
    ] {
        app.post("/v1/collections/c/segments", &body(id, state)).await.created();
    }
    app.add_segment("c", C, 6).await;
    let l0 = json!({"segment_id": "7", "partition_id": "-1", "level": "L0", "channel_name": "ch_100", "num_of_rows": 0,
        "deltalogs": [{"field_id": "0", "logs": [{"log_id": "1", "path": "delta_log/100/-1/7/1", "size_bytes": 1}]}]});
    app.post("/v1/collections/c/segments?check=none", &l0).await.created();
    let snapshot = create(&app, "c", "s").await;
    assert_eq!(captured(&app, "s").await, ["6", "7"], "an L0 segment stays in");
    let mut left_out = snapshot["left_out"].as_array().expect("list").clone();
    left_out.sort_by_key(|l| l["reason"].as_str().expect("text").to_string());
    assert_eq!(
        Value::Array(left_out),
        json!([{"reason": "growing", "segment_count": 2, "num_of_rows": 3}, {"reason": "importing", "segment_count": 1, "num_of_rows": 4},
            {"reason": "no_files", "segment_count": 1, "num_of_rows": 5}, {"reason": "sealed", "segment_count": 1, "num_of_rows": 3}])
    );
}

#[tokio::test]
async fn a_channel_without_position_is_an_error_unless_unbounded_is_allowed() {
    let app = TestApp::local().await;
    let fields = json!([{"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true}]);
    let created = app
        .post("/v1/collections", &json!({"name": "c", "num_shards": 2, "fields": fields}))
        .await
        .created()
        .json;
    let channel = created["channels"][0]["channel_name"].as_str().expect("name").to_string();
    let snapshot = json!({"collection_name": "c", "snapshot_name": "s"});
    app.post("/v1/snapshots", &snapshot)
        .await
        .refused(409, "channel_without_position");
    let position = json!({"seek_position": {"timestamp": "77"}});
    let reported = app
        .put(&format!("/v1/collections/c/channels/{channel}"), &position)
        .await
        .ok()
        .json;
    assert_eq!(reported["seek_position"]["timestamp"], "77");
    app.post("/v1/snapshots", &snapshot)
        .await
        .refused(409, "channel_without_position");
    app.put("/v1/collections/c/channels/other", &position)
        .await
        .refused(404, "channel_not_found");
    let unbounded = app
        .post(
            "/v1/snapshots",
            &json!({"collection_name": "c", "snapshot_name": "s", "allow_unbounded": true}),
        )
        .await
        .created()
        .json;
    assert!(
        unbounded["create_ts"]
            .as_str()
            .expect("text")
            .parse::<i64>()
            .expect("a number")
            > 1 << 58,
        "the database's hybrid time"
    );
    // positions only move forward
    let older = app
        .put(
            &format!("/v1/collections/c/channels/{channel}"),
            &json!({"seek_position": {"timestamp": "5"}}),
        )
        .await
        .ok()
        .json;
    assert_eq!(older["seek_position"]["timestamp"], "77");
}

#[tokio::test]
async fn an_empty_collection_goes_the_whole_way() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    assert_eq!(create(&app, "c", "s").await["segment_count"], 0);
    let job = app
        .post("/v1/snapshots/s/restore", &json!({"collection_name": "r"}))
        .await
        .expect(202)
        .json;
    app.drain().await;
    let job = app
        .get(&format!("/v1/restore-jobs/{}", job["job_id"].as_str().expect("id")))
        .await
        .ok()
        .json;
    assert_eq!((&job["state"], &job["progress"]), (&json!("Completed"), &json!(100)));
    let restored = app.get("/v1/collections/r").await.ok().json;
    let partitions: Vec<&str> = restored["partitions"]
        .as_array()
        .expect("list")
        .iter()
        .map(|p| p["name"].as_str().expect("name"))
        .collect();
    assert_eq!(partitions, ["_default", "p2"]);
}

#[tokio::test]
async fn appended_files_make_a_version_and_a_snapshot_keeps_its_own() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    create(&app, "c", "before").await;
    let delta = "delta_log/100/101/5/900";
    app.objects.put(delta, b"deleted".to_vec()).await.expect("written");
    let append =
        json!({"append": {"deltalogs": [{"field_id": "0", "logs": [{"log_id": "900", "path": delta, "size_bytes": 7}]}]}});
    let missing = json!({"append": {"deltalogs": [{"field_id": "0", "logs": [{"log_id": "901", "path": "delta_log/100/101/5/901", "size_bytes": 7}]}]}});
    app.patch("/v1/collections/c/segments/5", &missing)
        .await
        .refused(422, "file_missing");
    let changed = app.patch("/v1/collections/c/segments/5", &append).await.ok().json;
    assert_eq!((&changed["version"], &changed["file_count"]), (&json!(2), &json!(5)));
    app.patch("/v1/collections/c/segments/5", &append)
        .await
        .refused(422, "invalid_path");
    create(&app, "c", "after").await;
    let count = async |name: &str| app.get(&format!("/v1/snapshots/{name}")).await.ok().json["file_count"].clone();
    assert_eq!((count("before").await, count("after").await), (json!(4), json!(5)));
}

#[tokio::test]
async fn a_segment_goes_from_growing_to_sealed_to_flushed_only() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    let growing =
        json!({"segment_id": "1", "partition_name": "p2", "channel_name": "ch_100", "num_of_rows": 3, "state": "growing"});
    app.post("/v1/collections/c/segments", &growing).await.created();
    let flush = app.post("/v1/collections/c/flush", &json!({})).await.ok().json;
    assert_eq!(flush, json!({"flushed": false, "unflushed_segments": ["1"]}));
    let feed = app.get("/v1/collections/c/segments?state=sealed").await.ok().json;
    assert_eq!(feed["items"][0]["segment_id"], "1");
    app.patch("/v1/collections/c/segments/1", &json!({"state": "growing"}))
        .await
        .refused(409, "segment_state");
    app.patch("/v1/collections/c/segments/1", &json!({"state": "flushed"}))
        .await
        .ok();
    assert_eq!(
        app.post("/v1/collections/c/flush", &json!({"timeout_ms": 1000}))
            .await
            .ok()
            .json["flushed"],
        true
    );
    app.post("/v1/collections/c/flush", &json!({"timeout_ms": 3_600_001}))
        .await
        .refused(422, "invalid_request");
}

#[tokio::test]
async fn a_snapshot_with_flush_waits_for_the_engine_and_gives_up_in_time() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    let mut growing = app.small_segment(C, 5).await;
    growing["state"] = json!("growing");
    app.post("/v1/collections/c/segments", &growing).await.created();
    let body = |timeout: i64| json!({"collection_name": "c", "snapshot_name": "s", "flush": true, "flush_timeout_ms": timeout});
    app.post("/v1/snapshots", &body(1)).await.refused(409, "flush_timeout");
    let engine = async {
        // the engine sees the sealed segment in its feed and flushes it
        app.patch("/v1/collections/c/segments/5", &json!({"state": "flushed"}))
            .await
            .ok();
    };
    let patient = body(60_000);
    let (created, ()) = tokio::join!(app.post("/v1/snapshots", &patient), engine);
    assert_eq!(created.created().json["segment_count"], 1);
}

#[tokio::test]
async fn snapshots_are_listed_by_collection_prefix_label_time_and_page() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.small_collection("d", 200).await;
    for (collection, name, labels) in [
        ("c", "daily_1", json!({"keep": "yes", "team": "a"})),
        ("c", "daily_2", json!({"keep": "yes"})),
        ("c", "weekly_1", json!({})),
        ("d", "daily_1", json!({})),
    ] {
        app.post(
            "/v1/snapshots",
            &json!({"collection_name": collection, "snapshot_name": name, "labels": labels}),
        )
        .await
        .created();
    }
    let names = async |query: &str| -> Vec<String> {
        let mut names = Vec::new();
        let mut token = String::new();
        loop {
            let page = app.get(&format!("/v1/snapshots?page_size=1{query}{token}")).await.ok().json;
            let item = &page["items"][0];
            if item.is_object() {
                names.push(format!(
                    "{}/{}",
                    item["collection_name"].as_str().expect("text"),
                    item["snapshot_name"].as_str().expect("text")
                ));
            }
            match page["next_page_token"].as_str() {
                Some(next) => token = format!("&page_token={next}"),
                None => return names,
            }
        }
    };
    assert_eq!(names("").await, ["d/daily_1", "c/weekly_1", "c/daily_2", "c/daily_1"]);
    assert_eq!(
        names("&order=oldest_first").await,
        ["c/daily_1", "c/daily_2", "c/weekly_1", "d/daily_1"]
    );
    assert_eq!(
        names("&collection_name=c&name_prefix=daily").await,
        ["c/daily_2", "c/daily_1"]
    );
    assert_eq!(names("&labels=keep%3Dyes").await, ["c/daily_2", "c/daily_1"]);
    assert_eq!(names("&labels=keep%3Dyes,team%3Da").await, ["c/daily_1"]);
    assert_eq!(names("&created_before=2000-01-01T00:00:00Z").await, Vec::<String>::new());
    assert_eq!(names("&created_from=2000-01-01T00:00:00Z").await.len(), 4);
    assert_eq!(names("&name_prefix=daily_").await.len(), 3);
    assert_eq!(names("&name_prefix=da%25").await.len(), 0, "a percent sign is no wildcard");
}

#[tokio::test]
async fn a_snapshot_is_described_with_and_without_its_collection_and_changed() {
    let app = TestApp::local().await;
    app.load_fixture().await;
    app.post("/v1/aliases", &json!({"alias": "latest", "collection_name": "feas"}))
        .await
        .created();
    let created = create(&app, "latest", "s").await;
    assert_eq!(created["collection_name"], "feas", "the real name");
    let plain = app.get("/v1/snapshots/s").await.ok().json;
    assert!(plain.get("collection").is_none() && plain.get("indexes").is_none());
    let whole = app.get("/v1/snapshots/s?include_collection_info=true").await.ok().json;
    assert_eq!(whole["collection"]["fields"].as_array().expect("fields").len(), 8);
    assert_eq!(
        whole["collection"]["channels"][0]["seek_position"]["msg_id_base64"],
        "0QKAU8oQiAY="
    );
    assert_eq!(whole["indexes"].as_array().expect("indexes").len(), 2);
    assert!(whole["s3_location"].as_str().expect("text").starts_with("file:///"));
    let change = json!({"description": "kept", "labels": {"a": "1", "b": "2"}});
    app.patch("/v1/snapshots/s", &change).await.ok();
    let changed = app.patch("/v1/snapshots/s", &json!({"labels": {"a": null}})).await.ok().json;
    assert_eq!(
        (&changed["description"], &changed["labels"]),
        (&json!("kept"), &json!({"b": "2"}))
    );
    // a write never goes through an alias: it may have been moved since
    app.delete("/v1/snapshots/s?collection_name=latest")
        .await
        .refused(404, "collection_not_found");
    app.get("/v1/snapshots/s?collection_name=latest").await.ok();
}

#[tokio::test]
async fn snapshots_of_a_dropped_collection_are_found_by_its_old_name_and_always_by_id() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    let id = create(&app, "c", "s").await["snapshot_id"].as_str().expect("id").to_string();
    app.delete("/v1/collections/c").await.expect(204);
    let found = app.get("/v1/snapshots/s?collection_name=c").await.ok().json;
    assert_eq!(
        (&found["snapshot_id"], &found["collection_dropped"]),
        (&json!(id), &json!(true))
    );
    assert_eq!(
        app.get("/v1/snapshots?collection_name=c").await.ok().json["items"]
            .as_array()
            .expect("items")
            .len(),
        1
    );
    // a living collection takes the name over
    app.small_collection("c", 200).await;
    app.get("/v1/snapshots/s?collection_name=c")
        .await
        .refused(404, "snapshot_not_found");
    app.get(&format!("/v1/snapshots/s?snapshot_id={id}")).await.ok();
    app.delete(&format!("/v1/snapshots/s?snapshot_id={id}")).await.expect(204);
    app.delete(&format!("/v1/snapshots/s?snapshot_id={id}")).await.expect(204);
    app.delete("/v1/snapshots/s?snapshot_id=1")
        .await
        .refused(404, "snapshot_not_found");
}

#[tokio::test]
async fn a_drop_is_repeated_as_long_as_what_it_names_is_clear_and_can_be_taken_back() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.small_collection("d", 200).await;
    for collection in ["c", "d"] {
        create(&app, collection, "s").await;
    }
    app.delete("/v1/snapshots/s").await.refused(409, "snapshot_name_ambiguous");
    for collection in ["c", "d", "c"] {
        app.delete(&format!("/v1/snapshots/s?collection_name={collection}"))
            .await
            .expect(204);
    }
    // of which collection?
    app.delete("/v1/snapshots/s").await.refused(404, "snapshot_not_found");
    // a living one of the name is what is meant
    create(&app, "c", "s").await;
    app.delete("/v1/snapshots/s").await.expect(204);
    app.get("/v1/snapshots/s").await.refused(404, "snapshot_not_found");
    // several dropped ones of one collection leave nothing unclear, and nothing of them is changed
    app.delete("/v1/snapshots/s?collection_name=c").await.expect(204);
    let dropped = app.get("/v1/snapshots?state=deleting").await.ok().json;
    assert_eq!(dropped["items"].as_array().expect("items").len(), 3);
    app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created();
    app.delete("/v1/snapshots/s?collection_name=c")
        .await
        .refused(404, "snapshot_not_found");
}

#[tokio::test]
async fn dropping_a_collection_with_cascade_drops_its_snapshots() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    create(&app, "c", "s").await;
    app.delete("/v1/collections/c?cascade=true").await.expect(204);
    app.get("/v1/snapshots/s").await.refused(404, "snapshot_not_found");
    let run = app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created().json;
    assert_eq!(
        (&run["snapshots"], &run["segments"], &run["collections"]),
        (&json!(1), &json!(1), &json!(1))
    );
    for directory in ["insert_log/", "stats_log/", "index_files/", "snapshots/"] {
        assert_eq!(app.keys(directory).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_database_with_only_a_snapshot_left_is_not_empty() {
    let app = TestApp::local().await;
    app.post("/v1/databases", &json!({"name": "db"})).await.created();
    let fields = json!([{"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true}]);
    app.post("/v1/collections", &json!({"name": "c", "db_name": "db", "fields": fields}))
        .await
        .created();
    app.post(
        "/v1/snapshots",
        &json!({"collection_name": "c", "db_name": "db", "snapshot_name": "s", "allow_unbounded": true}),
    )
    .await
    .created();
    app.delete("/v1/collections/c?db_name=db").await.expect(204);
    app.delete("/v1/databases/db").await.refused(409, "database_not_empty");
    app.delete("/v1/snapshots/s?db_name=db").await.expect(204);
    app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created();
    app.delete("/v1/databases/db").await.expect(204);
    app.get("/v1/databases/db").await.refused(404, "database_not_found");
}

#[tokio::test]
async fn a_half_written_snapshot_frees_its_name_when_its_lease_ends_and_is_collected() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    create(&app, "c", "s").await;
    // what a call that was killed between its two phases leaves behind
    sqlx::query(
        "update snapshots set state = 'pending', committed_at = null, lease_token = gen_random_uuid(),
                lease_expires_at = stillframe_now() + interval '60 seconds'",
    )
    .execute(&app.pool)
    .await
    .expect("set");
    app.get("/v1/snapshots/s").await.refused(404, "snapshot_not_found");
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .refused(409, "snapshot_already_exists");
    let dry = app
        .post("/v1/gc/runs", &json!({"grace_seconds": 0, "dry_run": true}))
        .await
        .created()
        .json;
    assert_eq!(dry["pending_snapshots"], 0, "its lease still runs");
    app.set_clock(Duration::from_secs(61)).await;
    create(&app, "c", "s").await;
    let run = app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created().json;
    // the manifest that it had written is shared by the second one by now
    assert_eq!(
        (&run["snapshots"], &run["objects"], &run["manifests"]),
        (&json!(1), &json!(1), &json!(0)),
        "{run}"
    );
    assert_eq!(
        app.keys("snapshots/").await.len(),
        2,
        "the second one's metadata, and the manifest"
    );
}

#[tokio::test]
async fn what_a_dead_create_wrote_is_counted_in_bytes_that_are_never_negative() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    create(&app, "c", "s").await;
    // its manifest is recorded, its figures are not: they come with the commit
    sqlx::query(
        "update snapshots set state = 'pending', committed_at = null, metadata_bytes = 0,
                lease_token = gen_random_uuid(), lease_expires_at = stillframe_now()",
    )
    .execute(&app.pool)
    .await
    .expect("set");
    let run = app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created().json;
    let manifest: i64 = run["bytes"].as_i64().expect("a number");
    assert!(manifest > 0, "the bytes of its manifest: {run}");
    let items = app
        .get(&format!("/v1/gc/runs/{}/items", run["run_id"].as_str().expect("an id")))
        .await
        .ok()
        .json;
    for item in items["items"].as_array().expect("items") {
        assert!(item["size_bytes"].as_i64().is_some_and(|bytes| bytes >= 0), "{item}");
    }
}

#[tokio::test]
async fn manifests_and_metadata_open_with_python() {
    let app = TestApp::local().await;
    app.load_fixture().await;
    let snapshot = create(&app, "feas", "s").await;
    let location = snapshot["s3_location"]
        .as_str()
        .expect("text")
        .strip_prefix("file://")
        .expect("a file")
        .to_string();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/formats/read_manifest.py");
    let run = |file: &str| -> Value {
        let output = std::process::Command::new(python())
            .args([script, file])
            .output()
            .expect("starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let metadata = run(&location);
    assert_eq!(metadata["snapshot_info"]["id"], snapshot["snapshot_id"]);
    assert_eq!(metadata["snapshot_info"]["create_ts"], "470644641416347649");
    assert_eq!(metadata["stillframe"]["totals"]["file_count"], snapshot["file_count"]);
    let mut paths = Vec::new();
    for key in metadata["manifest_list"].as_array().expect("list") {
        let manifest = run(&app.directory.path().join(key.as_str().expect("text")).display().to_string());
        for kind in ["binlog_files", "deltalog_files", "statslog_files"] {
            for field in manifest[kind].as_array().expect("list") {
                paths.extend(
                    field["binlogs"]
                        .as_array()
                        .expect("list")
                        .iter()
                        .map(|l| l["log_path"].as_str().expect("text").to_string()),
                );
            }
        }
        for index in manifest["index_files"].as_array().expect("list") {
            paths.extend(
                index["index_file_paths"]
                    .as_array()
                    .expect("list")
                    .iter()
                    .map(|p| p.as_str().expect("text").to_string()),
            );
        }
    }
    paths.sort();
    let mut files: Vec<String> = crate::support::fixture::files().into_iter().map(|(path, _)| path).collect();
    files.sort();
    assert_eq!(paths, files);
}

#[tokio::test]
async fn unbounded_lifts_the_bound_of_silent_channels_only() {
    let app = TestApp::local().await;
    app.post(
        "/v1/collections",
        &json!({"name": "two", "collection_id": "300", "num_shards": 2,
            "fields": [{"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true}],
            "partitions": [{"name": "_default", "partition_id": "301"}],
            "channels": [{"channel_name": "silent"}, {"channel_name": "known", "seek_position": {"timestamp": "100"}}]}),
    )
    .await
    .created();
    let segment = |id: i64, channel: &str, start: i64| {
        json!({"segment_id": id.to_string(), "partition_id": "301", "channel_name": channel, "num_of_rows": 1,
            "start_position": {"timestamp": start.to_string()},
            "binlogs": [{"field_id": "100", "logs": [{"log_id": "1", "path": format!("insert_log/300/301/{id}/100/1"), "size_bytes": 3}]}]})
    };
    let segments = json!({"segments": [segment(1, "silent", 900), segment(2, "known", 50), segment(3, "known", 150)]});
    app.post("/v1/collections/two/segments:batch?check=none", &segments)
        .await
        .created();
    let body = json!({"collection_name": "two", "snapshot_name": "s", "allow_unbounded": true});
    app.post("/v1/snapshots", &body).await.created();
    assert_eq!(
        captured(&app, "s").await,
        ["1", "2"],
        "segment 3 would come again with the replay of its channel"
    );
}

#[tokio::test]
async fn a_snapshot_keeps_the_commit_timestamp_that_it_captured() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    create(&app, "c", "s").await;
    app.patch("/v1/collections/c/segments/5", &json!({"commit_timestamp": "77"}))
        .await
        .ok();
    let segments = app.get("/v1/snapshots/s/segments").await.ok().json;
    assert_eq!(segments["items"][0]["commit_timestamp"], "0");
    assert_eq!(
        app.get("/v1/collections/c/segments/5").await.ok().json["commit_timestamp"],
        "77"
    );
    app.patch("/v1/collections/c/segments/5", &json!({"num_of_rows": "9223372036854775807"}))
        .await
        .refused(422, "invalid_request");
}

#[tokio::test]
async fn a_collection_is_not_changed_through_an_alias() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.post("/v1/aliases", &json!({"alias": "latest", "collection_name": "c"}))
        .await
        .created();
    let rename = json!({"name": "d"});
    app.patch("/v1/collections/latest", &rename)
        .await
        .refused(404, "collection_not_found");
    app.delete("/v1/collections/latest")
        .await
        .refused(404, "collection_not_found");
    app.patch("/v1/collections/c", &rename).await.ok();
    assert_eq!(app.get("/v1/collections/latest").await.ok().json["name"], "d");
}
