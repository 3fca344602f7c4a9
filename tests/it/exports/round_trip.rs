//! The real collection, exported and restored into another catalog with its own storage.

use serde_json::{Value, json};

use super::{beside, contents, export, export_job, exported, restored};
use crate::support::fixture::{self, COLLECTION};
use crate::support::{TestApp, fixture::BYTES, fixture::FILES};

pub async fn with_snapshot(app: &TestApp) {
    app.load_fixture().await;
    app.post(
        "/v1/snapshots",
        &json!({"collection_name": COLLECTION, "snapshot_name": "s", "description": "daily"}),
    )
    .await
    .created();
}

pub fn sorted_fixture() -> Vec<Vec<u8>> {
    let mut bytes: Vec<Vec<u8>> = fixture::files().into_iter().map(|(_, bytes)| bytes).collect();
    bytes.sort();
    bytes
}

#[tokio::test]
async fn a_bundle_is_restored_byte_for_byte_into_another_catalog() {
    let shared = tempfile::tempdir().expect("a directory");
    let (here, there) = (beside(shared.path()).await, beside(shared.path()).await);
    with_snapshot(&here).await;
    let uri = exported(&here, "s", json!({"target_path": "nightly", "store": "shared"})).await;
    assert!(uri.starts_with("file:///") && uri.contains("/nightly/exports/"), "{uri}");

    let job = restored(&there, json!({"snapshot_metadata_uri": uri, "collection_name": "back"})).await;
    assert_eq!((&job["done_files"], &job["done_bytes"]), (&json!(FILES), &json!(BYTES)));
    assert_eq!(
        (&job["snapshot_name"], &job["snapshot_metadata_uri"]),
        (&json!("s"), &json!(uri))
    );
    assert_eq!(contents(&there, "back").await, sorted_fixture());
    let back = there.get("/v1/collections/back").await.ok().json;
    let catalog = fixture::catalog();
    let ids = |c: &Value| -> Vec<Value> {
        let fields = c["fields"].as_array().expect("fields").iter();
        fields.map(|f| json!([f["field_id"], f["name"], f["data_type"]])).collect()
    };
    assert_eq!(ids(&back), ids(&catalog["collection"]));
    assert_ne!(back["collection_id"], catalog["collection"]["collection_id"]);
    // a restored collection is a whole one: it can be captured and exported again
    there
        .post("/v1/snapshots", &json!({"collection_name": "back", "snapshot_name": "again"}))
        .await
        .created();
    let again = exported(&there, "again", json!({"target_path": "again", "store": "shared"})).await;
    restored(&here, json!({"snapshot_metadata_uri": again, "collection_name": "thrice"})).await;
    assert_eq!(contents(&here, "thrice").await, sorted_fixture());
    // and has its receipt, which the collector keeps
    there.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created();
    let id = job["job_id"].as_str().expect("id");
    let receipt = there.get(&format!("/v1/restore-jobs/{id}/receipt")).await.ok().json;
    assert_eq!(receipt["files"].as_array().expect("files").len(), FILES);
}

#[tokio::test]
async fn a_bundle_in_our_own_storage_comes_back_to_the_catalog_that_has_its_ids() {
    let app = TestApp::local().await;
    with_snapshot(&app).await;
    let uri = exported(&app, "s", json!({"target_path": "bundles/of feas"})).await;
    let copies = app.keys("bundles/").await;
    assert_eq!(copies.len(), FILES + 4 + 1, "{copies:?}");
    assert!(copies.iter().all(|key| key.starts_with("bundles/of feas/exports/")));
    restored(&app, json!({"snapshot_metadata_uri": uri, "collection_name": "back"})).await;
    assert_eq!(contents(&app, "back").await, sorted_fixture());
    // by its path too
    let key = copies.iter().find(|key| key.contains("/metadata/")).expect("there");
    restored(&app, json!({"snapshot_metadata_uri": key, "collection_name": "by_path"})).await;
    // the collector leaves bundles alone, and everything of the source that is still needed
    let run = json!({"grace_seconds": 0, "orphans": true, "orphan_tolerance_seconds": 0});
    app.post("/v1/gc/runs", &run).await.created();
    assert_eq!(app.keys("bundles/").await, copies);
}

#[tokio::test]
async fn a_moved_bundle_is_restored_from_where_it_lies_now() {
    let shared = tempfile::tempdir().expect("a directory");
    let app = beside(shared.path()).await;
    with_snapshot(&app).await;
    let uri = exported(&app, "s", json!({"target_path": "first", "store": "shared"})).await;
    let (root, rest) = uri.split_once("/snapshots/").expect("a root");
    let old = root.rsplit_once("/first/").expect("a place").1;
    std::fs::create_dir_all(shared.path().join("elsewhere/deep")).expect("made");
    std::fs::rename(
        shared.path().join("first").join(old),
        shared.path().join("elsewhere/deep/moved"),
    )
    .expect("moved");
    let moved = format!("elsewhere/deep/moved/snapshots/{rest}");
    let body = json!({"snapshot_metadata_uri": moved, "store": "shared", "collection_name": "back"});
    restored(&app, body).await;
    assert_eq!(contents(&app, "back").await, sorted_fixture());
    let gone = json!({"snapshot_metadata_uri": uri, "collection_name": "gone"});
    app.post("/v1/restores/external", &gone)
        .await
        .refused(404, "external_snapshot_not_found");
}

#[tokio::test]
async fn part_of_a_bundle_is_restored_with_other_names_and_properties() {
    let shared = tempfile::tempdir().expect("a directory");
    let app = beside(shared.path()).await;
    app.small_collection("c", 100).await;
    app.add_segment("c", 100, 500).await;
    let mut other = app.small_segment(100, 501).await;
    let text = other
        .to_string()
        .replace("/101/501/", "/102/501/")
        .replace("\"_default\"", "\"p2\"");
    other = serde_json::from_str(&text).expect("JSON");
    for (from, to) in [
        ("insert_log/100/101/501", "insert_log/100/102/501"),
        ("stats_log/100/101/501", "stats_log/100/102/501"),
    ] {
        let to = app.directory.path().join(to);
        std::fs::create_dir_all(to.parent().expect("a parent")).expect("made");
        std::fs::rename(app.directory.path().join(from), to).expect("moved");
    }
    let (from, to) = ("index_files/501000/1/101", "index_files/501000/1/102");
    std::fs::rename(app.directory.path().join(from), app.directory.path().join(to)).expect("moved");
    // the contents are those of the old names, of the same length
    app.post("/v1/collections/c/segments", &other).await.created();
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
    let uri = exported(&app, "s", json!({"target_path": "x", "store": "shared"})).await;
    let body = json!({"snapshot_metadata_uri": uri, "collection_name": "part", "partitions": ["p2"], "rename": {"p2": "renamed"},
                      "properties": {"colour": "green"}});
    let job = restored(&app, body.clone()).await;
    assert_eq!((&job["total_segments"], &job["total_files"]), (&json!(1), &json!(4)));
    let part = app.get("/v1/collections/part").await.ok().json;
    assert_eq!(part["properties"]["colour"], "green");
    let names = part["partitions"].to_string();
    assert!(names.contains("renamed") && names.contains("_default"), "{names}");
    // the rules of every restore hold
    app.post("/v1/restores/external", &body)
        .await
        .refused(409, "collection_already_exists");
    let unknown = json!({"snapshot_metadata_uri": uri, "collection_name": "n", "partitions": ["p9"]});
    app.post("/v1/restores/external", &unknown)
        .await
        .refused(404, "partition_not_found");
}

#[tokio::test]
async fn an_empty_snapshot_is_exported_and_restored() {
    let shared = tempfile::tempdir().expect("a directory");
    let app = beside(shared.path()).await;
    app.small_collection("c", 100).await;
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
    let id = export(&app, "s", json!({"target_path": "", "store": "shared"})).await;
    app.drain().await;
    let job = export_job(&app, &id).await;
    assert_eq!(
        (&job["state"], &job["total_files"]),
        (&json!("Completed"), &json!(0)),
        "{job}"
    );
    let body = json!({"snapshot_metadata_uri": job["snapshot_metadata_uri"], "collection_name": "back"});
    restored(&app, body).await;
    app.get("/v1/collections/back/indexes/vec_idx").await.ok();
}
