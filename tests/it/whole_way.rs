//! The main job on a real collection, on every kind of storage.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

use crate::support::TestApp;
use crate::support::fixture::{self, COLLECTION};

async fn whole_way(app: TestApp) {
    app.load_fixture().await;
    let snapshot = app
        .post(
            "/v1/snapshots",
            &json!({"collection_name": COLLECTION, "snapshot_name": "backup_20240101", "description": "daily"}),
        )
        .await
        .created()
        .json;
    assert_eq!(snapshot["segment_count"], 4);
    assert_eq!(snapshot["index_build_count"], 4);
    assert_eq!(snapshot["num_of_rows"], 9000);
    assert_eq!(snapshot["file_count"], fixture::FILES);
    assert_eq!(snapshot["size_bytes"], fixture::BYTES);
    assert_eq!(snapshot["create_ts"], "470644641416347649");
    assert_eq!(snapshot["left_out"], json!([]));

    // a backup that dies with its source is none
    app.delete(&format!("/v1/collections/{COLLECTION}")).await.expect(204);
    let run = app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created().json;
    assert_eq!((&run["objects"], &run["kept_by_snapshots"]), (&json!(0), &json!(8)), "{run}");
    let sources: HashMap<String, Vec<u8>> = fixture::files().into_iter().collect();
    for (path, bytes) in &sources {
        assert_eq!(
            app.objects.get(path, u64::MAX).await.expect("readable").as_ref(),
            Some(bytes),
            "{path}"
        );
    }

    let job = app
        .post(
            "/v1/snapshots/backup_20240101/restore",
            &json!({"collection_name": "restored"}),
        )
        .await
        .expect(202);
    let id = job.json["job_id"].as_str().expect("text").to_string();
    assert_eq!(job.headers["location"], format!("/v1/restore-jobs/{id}"));
    assert_eq!(job.json["state"], "Pending");
    app.get("/v1/collections/restored").await.refused(404, "collection_not_found");
    // one to validate, one per segment, one to publish
    assert_eq!(app.drain().await, 6);
    let job = app.get(&format!("/v1/restore-jobs/{id}")).await.ok().json;
    assert_eq!((&job["state"], &job["progress"]), (&json!("Completed"), &json!(100)), "{job}");
    assert_eq!(
        (&job["done_files"], &job["done_bytes"]),
        (&json!(fixture::FILES), &json!(fixture::BYTES))
    );

    let restored = app.get("/v1/collections/restored").await.ok().json;
    let catalog = fixture::catalog();
    let collection = &catalog["collection"];
    assert_ne!(restored["collection_id"], collection["collection_id"]);
    let field_ids = |c: &Value| {
        c["fields"]
            .as_array()
            .expect("fields")
            .iter()
            .map(|f| f["field_id"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(field_ids(&restored), field_ids(collection));
    let indexes = app.get("/v1/collections/restored/indexes").await.ok().json;
    let index_ids = |list: &Value| {
        list.as_array()
            .expect("list")
            .iter()
            .map(|i| i["index_id"].as_str().expect("id").to_string())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(index_ids(&indexes["items"]), index_ids(&catalog["indexes"]));
    let positions = |c: &Value| {
        c["channels"]
            .as_array()
            .expect("channels")
            .iter()
            .map(|c| c["seek_position"]["timestamp"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(positions(&restored), positions(collection));

    compare_files(&app, &id, &sources).await;

    // and a snapshot of the restored collection works
    let again = app
        .post(
            "/v1/snapshots",
            &json!({"collection_name": "restored", "snapshot_name": "again"}),
        )
        .await
        .created()
        .json;
    assert_eq!(again["file_count"], fixture::FILES);

    // dropping the first snapshot frees its source and nothing else
    app.delete("/v1/snapshots/backup_20240101").await.expect(204);
    app.get("/v1/snapshots/backup_20240101")
        .await
        .refused(404, "snapshot_not_found");
    let run = app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created().json;
    assert_eq!(
        (&run["snapshots"], &run["segments"], &run["index_builds"], &run["collections"]),
        (&json!(1), &json!(4), &json!(4), &json!(1)),
        "{run}"
    );
    // metadata, a manifest per segment, and the receipt of the restore
    assert_eq!(run["objects"], fixture::FILES + 6);
    for path in sources.keys() {
        assert!(
            app.objects.get(path, u64::MAX).await.expect("readable").is_none(),
            "{path} must be gone"
        );
    }
    compare_files(&app, &id, &sources).await;
}

/// Every file of the restored segments has the bytes of its source.
async fn compare_files(app: &TestApp, job: &str, sources: &HashMap<String, Vec<u8>>) {
    let tasks = app
        .get(&format!("/v1/restore-jobs/{job}/tasks?page_size=1000"))
        .await
        .ok()
        .json;
    let mut compared = 0;
    for task in tasks["items"]
        .as_array()
        .expect("tasks")
        .iter()
        .filter(|t| t["kind"] == "copy")
    {
        let target = task["target_segment_id"].as_str().expect("id");
        let source = task["source_segment_id"].as_str().expect("id");
        let segment = app
            .get(&format!("/v1/collections/restored/segments/{target}"))
            .await
            .ok()
            .json;
        let original = fixture::catalog()["segments"]
            .as_array()
            .expect("segments")
            .iter()
            .find(|s| s["segment_id"] == source)
            .expect("known")
            .clone();
        let (ours, theirs) = (paths(&segment), paths(&original));
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (what, path) in ours {
            assert_ne!(path, theirs[&what]);
            let bytes = app
                .objects
                .get(&path, u64::MAX)
                .await
                .expect("readable")
                .unwrap_or_else(|| panic!("{path} is missing"));
            assert_eq!(bytes, sources[&theirs[&what]], "{path}");
            compared += 1;
        }
    }
    assert_eq!(compared, fixture::FILES);
}

/// Paths of a segment's files by what they are: kind, field, log or index and name.
fn paths(segment: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for kind in ["binlogs", "deltalogs", "statslogs"] {
        for field in segment[kind].as_array().into_iter().flatten() {
            for log in field["logs"].as_array().expect("logs") {
                found.insert(
                    format!("{kind} {} {}", field["field_id"], log["log_id"]),
                    log["path"].as_str().expect("path").to_string(),
                );
            }
        }
    }
    for build in segment["index_builds"].as_array().into_iter().flatten() {
        for file in build["files"].as_array().expect("files") {
            let path = file["path"].as_str().expect("path");
            found.insert(
                format!("index {} {}", build["index_id"], path.rsplit('/').next().expect("name")),
                path.to_string(),
            );
        }
    }
    found
}

#[tokio::test]
async fn the_whole_way_on_local_storage() {
    whole_way(TestApp::local().await).await;
}

#[tokio::test]
async fn the_whole_way_in_memory() {
    whole_way(TestApp::memory().await).await;
}

#[tokio::test]
async fn the_whole_way_on_a_real_s3_server() {
    whole_way(TestApp::s3().await).await;
}
