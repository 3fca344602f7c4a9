//! Traps of `docs/traps.md` that have no better place, and whether the tests it names exist.

use std::path::Path;

use serde_json::json;

use crate::support::TestApp;

const C: i64 = 100;

#[test]
fn every_test_that_the_page_of_traps_names_exists() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/traps.md");
    let page = std::fs::read_to_string(page).expect("is there");
    let listed = std::process::Command::new(std::env::current_exe().expect("this test"))
        .arg("--list")
        .output()
        .expect("lists");
    let listed = String::from_utf8(listed.stdout).expect("UTF-8");
    let known: Vec<&str> = listed.lines().filter_map(|l| l.strip_suffix(": test")).collect();
    let named: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.contains("::") && !word.starts_with("domain::"))
        .collect();
    assert!(named.len() > 40, "{named:?}");
    let missing: Vec<&&str> = named.iter().filter(|name| !known.contains(name)).collect();
    assert!(missing.is_empty(), "no such test: {missing:?}");
    let rows = page
        .lines()
        .filter(|l| l.starts_with("| ") && l.as_bytes()[2].is_ascii_digit());
    assert_eq!(rows.count(), 28);
}

#[tokio::test]
async fn an_index_made_again_under_its_id_does_not_give_the_old_builds_away() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
    let old = app.keys("index_files/5000/").await;
    assert!(!old.is_empty());
    app.delete("/v1/collections/c/indexes/vec_idx").await.expect(204);
    // another index, and another build of it, on the same field and segment
    app.post(
        "/v1/collections/c/indexes",
        &json!({"index_id": "8", "field_id": "101", "index_name": "vec_idx"}),
    )
    .await
    .created();
    let path = "index_files/5001/1/101/5/HNSW";
    app.objects.put(path, vec![1; 10]).await.expect("written");
    app.post(
        "/v1/collections/c/segments/5/index-builds",
        &json!({"build_id": "5001", "index_id": "8", "num_rows": 5, "files": [{"path": path, "size_bytes": 10}]}),
    )
    .await
    .created();
    app.delete("/v1/collections/c/indexes/vec_idx").await.expect(204);
    app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created();
    assert_eq!(app.keys("index_files/5000/").await, old, "the snapshot's build stays");
    assert_eq!(app.keys("index_files/5001/").await.len(), 0, "the one that nobody needs goes");
}

#[tokio::test]
async fn an_unreadable_metadata_file_stops_neither_the_collector_nor_a_restore() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    for name in ["broken", "other"] {
        app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": name}))
            .await
            .created();
    }
    let broken = app.get("/v1/snapshots/broken").await.ok().json;
    let key = format!(
        "snapshots/{C}/metadata/{}.json",
        broken["snapshot_id"].as_str().expect("an id")
    );
    app.objects.put(&key, b"{ not JSON".to_vec()).await.expect("written");
    app.add_segment("c", C, 6).await;
    app.delete("/v1/collections/c/segments/6").await.expect(204);
    app.delete("/v1/snapshots/other").await.expect(204);
    let run = app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created().json;
    assert_eq!(
        (&run["state"], &run["snapshots"], &run["segments"], &run["failed_objects"]),
        (&json!("completed"), &json!(1), &json!(1), &json!(0)),
        "{run}"
    );
    app.post("/v1/snapshots/broken/restore", &json!({"collection_name": "r"}))
        .await
        .expect(202);
    app.drain().await;
    assert_eq!(app.get("/v1/collections/r").await.ok().json["segment_count"], 1);
    app.delete("/v1/snapshots/broken").await.expect(204);
    app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created();
    assert_eq!(app.objects.size(&key).await.expect("asked"), None);
}
