//! Objects without a row.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::TestApp;

const C: i64 = 100;

async fn look(app: &TestApp, tolerance: i64, dry_run: bool) -> Value {
    let body = json!({"grace_seconds": 0, "orphans": true, "orphan_tolerance_seconds": tolerance, "dry_run": dry_run});
    app.post("/v1/gc/runs", &body).await.created().json
}

/// A restored collection, and what its cancelled twin would have left had its worker been cut
/// off: the twin's rows are gone, its files are put back.
async fn with_leftovers() -> (TestApp, Vec<String>) {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
    app.post("/v1/snapshots/s/restore", &json!({"collection_name": "left"}))
        .await
        .expect(202);
    app.drain().await;
    let left = app.get("/v1/collections/left").await.ok().json;
    let id = left["collection_id"].as_str().expect("an id").to_string();
    let mut keys = app.keys(&format!("insert_log/{id}/")).await;
    let segments = app.get("/v1/collections/left/segments").await.ok().json;
    let build = segments["items"][0]["index_builds"][0]["build_id"].as_str().expect("a build");
    keys.extend(app.keys(&format!("index_files/{build}/")).await);
    let snapshot = app.get("/v1/snapshots/s").await.ok().json;
    let snapshot_id = snapshot["snapshot_id"].as_str().expect("an id").to_string();
    app.delete("/v1/collections/left").await.expect(204);
    app.delete("/v1/snapshots/s").await.expect(204);
    app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created();
    keys.push(format!("snapshots/{C}/metadata/{snapshot_id}.json"));
    keys.push(format!("snapshots/{C}/manifests/{snapshot_id}/5.avro"));
    for key in &keys {
        assert_eq!(app.objects.size(key).await.expect("asked"), None, "{key}");
        app.objects.put(key, b"late".to_vec()).await.expect("written");
    }
    (app, keys)
}

async fn there(app: &TestApp, keys: &[String]) -> usize {
    let mut found = 0;
    for key in keys {
        found += usize::from(app.objects.size(key).await.expect("asked").is_some());
    }
    found
}

#[tokio::test]
async fn an_object_without_a_row_is_deleted_after_the_tolerance_and_not_before() {
    let (app, keys) = with_leftovers().await;
    let run = look(&app, 3600, false).await;
    assert_eq!(
        (&run["orphans_found"], &run["orphans_deleted"]),
        (&json!(keys.len()), &json!(0)),
        "{run}"
    );
    let young = app
        .get(&format!(
            "/v1/gc/runs/{}/items?kind=orphan&outcome=kept",
            run["run_id"].as_str().expect("id")
        ))
        .await
        .ok()
        .json;
    let listed = young["items"].as_array().expect("items");
    assert_eq!(listed.len(), keys.len(), "those that are not ripe are listed");
    assert!(
        listed[0]["reason"].as_str().is_some_and(|r| r.starts_with("known since ")),
        "{young}"
    );
    app.set_clock(Duration::from_secs(3601)).await;
    let dry = look(&app, 3600, true).await;
    assert_eq!(dry["orphans_deleted"], json!(keys.len()), "a dry run says what would go");
    assert_eq!(there(&app, &keys).await, keys.len());
    let items = format!(
        "/v1/gc/runs/{}/items?kind=orphan&outcome=would_delete",
        dry["run_id"].as_str().expect("id")
    );
    let listed = app.get(&items).await.ok().json;
    let mut names: Vec<&str> = listed["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|i| i["name"].as_str())
        .collect();
    names.sort_unstable();
    let mut wanted: Vec<&str> = keys.iter().map(String::as_str).collect();
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    let explained = app.get(&format!("/v1/objects/explain?key={}", keys[0])).await.ok().json;
    assert_eq!(
        (&explained["known"], explained["may_go_at"].is_string()),
        (&json!(false), true),
        "{explained}"
    );
    let run = look(&app, 3600, false).await;
    assert_eq!(run["orphans_deleted"], json!(keys.len()));
    assert_eq!(there(&app, &keys).await, 0);
    assert_eq!(look(&app, 0, false).await["orphans_found"], 0);
}

#[tokio::test]
async fn objects_of_others_are_never_taken_for_orphans() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
    app.post("/v1/snapshots/s/restore", &json!({"collection_name": "r"}))
        .await
        .expect(202);
    app.drain().await;
    let restored = app.keys("insert_log/").await;
    let foreign = [
        "insert_log/100/101/77/100/1",
        "insert_log/9999/1/2/100/1",
        "index_files/4711/1/1/2/HNSW",
        "snapshots/100/metadata/12.json",
        "snapshots/100/manifests/12/5.avro",
        "elsewhere/470650009250430976/file",
        "470650009250430976",
    ];
    for key in foreign {
        app.objects.put(key, b"not ours".to_vec()).await.expect("written");
    }
    let run = look(&app, 0, false).await;
    assert_eq!((&run["orphans_found"], &run["objects"]), (&json!(0), &json!(0)), "{run}");
    for key in foreign {
        assert!(app.objects.size(key).await.expect("asked").is_some(), "{key}");
    }
    assert!(restored.iter().all(|k| !k.is_empty()));
    let left = app.keys("insert_log/").await;
    assert!(restored.iter().all(|k| left.contains(k)), "what has a row stays");
}

#[tokio::test]
async fn orphans_stay_while_deleting_them_is_not_allowed() {
    let (app, keys) = with_leftovers().await;
    assert_eq!(app.get("/v1/gc/orphan-deletion").await.ok().json, json!({"allowed": true}));
    app.put("/v1/gc/orphan-deletion", &json!({"allowed": false})).await.ok();
    let run = look(&app, 0, false).await;
    assert_eq!(
        (&run["orphans_found"], &run["orphans_deleted"], &run["objects"]),
        (&json!(keys.len()), &json!(0), &json!(0)),
        "nothing is said to be deleted that is not: {run}"
    );
    assert_eq!(there(&app, &keys).await, keys.len());
    let items = format!(
        "/v1/gc/runs/{}/items?kind=orphan&outcome=kept",
        run["run_id"].as_str().expect("id")
    );
    let kept = app.get(&items).await.ok().json;
    assert_eq!(kept["items"].as_array().expect("items").len(), keys.len());
    app.put("/v1/gc/orphan-deletion", &json!({"allowed": true})).await.ok();
    look(&app, 0, false).await;
    assert_eq!(there(&app, &keys).await, 0);
}
