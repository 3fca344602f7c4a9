//! Snapshots that another system wrote, adopted where they lie. They are written over the fixture's real
//! files by `milvus_writer.py`, from schemas of its own: no snapshot that a Milvus server wrote is at hand.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::fastavro::FORMS;
use super::rebuild::{collect, files, original, paths, restore, verified};
use crate::support::TestApp;
use crate::support::fixture;

const COLLECTION_ID: &str = "470644622231601173";
/// Milvus' rootPath, below the storage root.
pub const PREFIX: &str = "milvus/files";
pub const SNAPSHOT: i64 = 470_700_000_000_000_001;
pub const CREATE_TS: i64 = 470_644_641_416_347_649;

fn root_of(app: &TestApp, prefix: &str) -> String {
    match app.objects.url().root() {
        "" => prefix.to_string(),
        root => format!("{root}/{prefix}"),
    }
}

pub fn plan(app: &TestApp) -> Value {
    json!({
        "catalog": fixture::directory().join("catalog.json"), "root": root_of(app, PREFIX), "snapshot_id": SNAPSHOT,
        "name": "of_milvus", "description": "nightly", "create_ts": CREATE_TS, "format_version": 3
    })
}

/// Lets the writer write a snapshot below the app's root, as Milvus would.
pub async fn write(app: &TestApp, plan: &Value) {
    let directory = tempfile::tempdir().expect("a directory");
    let source = directory.path().join("plan.json");
    std::fs::write(&source, plan.to_string()).expect("writes");
    let out = directory.path().join("out");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/formats/milvus_writer.py");
    let output = Command::new(crate::support::python())
        .arg(script)
        .arg("snapshot")
        .args([&source, &out])
        .output()
        .expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut objects = Vec::new();
    read_all(&out, &out, &mut objects);
    let root = app.objects.url().root();
    let below = |key: String| match root {
        "" => key,
        root => key.strip_prefix(&format!("{root}/")).expect("below the root").to_string(),
    };
    let objects = objects.into_iter().map(|(key, bytes)| (below(key), bytes));
    app.objects.put_many(objects.collect()).await.expect("written");
}

fn read_all(root: &Path, directory: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_all(root, &path, found);
        } else {
            let key = path.strip_prefix(root).expect("below").to_str().expect("UTF-8").to_string();
            found.push((key, std::fs::read(&path).expect("readable")));
        }
    }
}

/// The fixture's data files below a prefix.
pub async fn put_files(app: &TestApp, prefix: &str) {
    let files = fixture::files()
        .into_iter()
        .map(|(path, bytes)| (format!("{prefix}/{path}"), bytes));
    app.objects.put_many(files.collect()).await.expect("written");
}

/// Where the plan's metadata file lies.
pub fn metadata_key() -> String {
    format!("{PREFIX}/snapshots/{COLLECTION_ID}/metadata/{SNAPSHOT}.json")
}

pub async fn adopt(app: &TestApp, body: Value) -> Value {
    app.post("/v1/snapshots:adopt", &body).await.created().json
}

pub async fn everything(app: &TestApp) -> Vec<String> {
    app.keys("milvus/").await
}

async fn nothing_is_registered(app: &TestApp) {
    for list in ["collections", "snapshots"] {
        assert_eq!(app.get(&format!("/v1/{list}")).await.ok().json["items"], json!([]), "{list}");
    }
    let rows: i64 = sqlx::query_scalar(
        "select (select count(*) from collections) + (select count(*) from segments) + (select count(*) from index_builds)
              + (select count(*) from manifests) + (select count(*) from snapshot_manifests) + (select count(*) from partitions)",
    )
    .fetch_one(&app.pool)
    .await
    .expect("counts");
    assert_eq!(rows, 0, "nothing half registered");
}

async fn adopted_and_restored(app: TestApp) {
    put_files(&app, PREFIX).await;
    write(&app, &plan(&app)).await;
    let there = everything(&app).await;
    let adopted = adopt(&app, json!({"prefix": PREFIX})).await;
    assert_eq!(everything(&app).await, there, "nothing is written");
    assert_eq!(app.keys("snapshots/").await, Vec::<String>::new());
    let snapshot = &adopted["snapshots"][0];
    for (key, value) in [
        ("snapshot_name", json!("of_milvus")),
        ("snapshot_id", json!(SNAPSHOT.to_string())),
        ("description", json!("nightly")),
        ("collection_name", json!("feas")),
        ("collection_id", json!(COLLECTION_ID)),
        ("protection", json!("none")),
        ("create_ts", json!(CREATE_TS.to_string())),
        ("segment_count", json!(4)),
        ("index_build_count", json!(4)),
        ("num_of_rows", json!(9000)),
        ("file_count", json!(fixture::FILES)),
        ("size_bytes", json!(fixture::BYTES)),
    ] {
        assert_eq!(snapshot[key], value, "{key}: {adopted}");
    }
    let location = snapshot["s3_location"].as_str().expect("text");
    assert!(
        location.ends_with(&format!("{PREFIX}/snapshots/{COLLECTION_ID}/metadata/{SNAPSHOT}.json")),
        "{location}"
    );
    let collection = app.get("/v1/collections/feas").await.ok().json;
    assert_eq!(
        (
            &collection["ownership"],
            &collection["segment_count"],
            &collection["num_of_rows"]
        ),
        (&json!("external"), &json!(4), &json!(9000))
    );
    assert_eq!(collection["fields"], fixture_fields().await);
    let again = adopt(&app, json!({"prefix": format!("{PREFIX}/")})).await;
    assert_eq!(again, json!({"snapshots": [], "already_adopted": [SNAPSHOT.to_string()]}));

    verified(&app, "of_milvus").await;
    restore(&app, "of_milvus", "copied").await;
    assert!(files(&app, "copied").await == original(), "other files, or other bytes");
    let copied = app.get("/v1/collections/copied").await.ok().json;
    assert_eq!(copied["ownership"], "owned");
    let segments = app.get("/v1/collections/copied/segments").await.ok().json;
    let mut of_copy = BTreeSet::new();
    paths(&segments, &mut of_copy);
    assert!(
        of_copy.iter().all(|path| !path.starts_with("milvus")),
        "our own layout: {of_copy:?}"
    );

    // a snapshot taken here of the external collection is ours, and its files are not
    let own = json!({"collection_name": "feas", "snapshot_name": "own"});
    let own = app.post("/v1/snapshots", &own).await.created().json;
    assert_eq!(
        (&own["file_count"], &own["protection"]),
        (&json!(fixture::FILES), &json!("none"))
    );
    verified(&app, "own").await;
    app.delete("/v1/snapshots/own").await.expect(204);
    collect(&app).await;
    assert_eq!(app.keys("snapshots/").await.len(), 1, "a receipt stays");

    // whatever is dropped: the other system's files stay, and can be adopted again
    app.delete("/v1/snapshots/of_milvus").await.expect(204);
    collect(&app).await;
    app.delete("/v1/collections/feas").await.expect(204);
    let run = collect(&app).await;
    assert_eq!(
        (
            &run["collections"],
            &run["segments"],
            &run["index_builds"],
            &run["failed_objects"]
        ),
        (&json!(1), &json!(4), &json!(4), &json!(0)),
        "{run}"
    );
    assert_eq!(everything(&app).await, there);
    adopt(&app, json!({"prefix": PREFIX, "collection_name": "another_name"})).await;
    verified(&app, "of_milvus").await;
    assert!(files(&app, "another_name").await == original(), "other files, or other bytes");
}

/// The schema as it is shown of a collection that an engine registered.
async fn fixture_fields() -> Value {
    let copy = TestApp::local().await;
    copy.post("/v1/collections", &fixture::catalog()["collection"])
        .await
        .created();
    copy.get("/v1/collections/feas").await.ok().json["fields"].clone()
}

#[tokio::test]
async fn an_adopted_snapshot_is_read_verified_and_restored_and_its_files_stay_on_local_storage() {
    adopted_and_restored(TestApp::local().await).await;
}

#[tokio::test]
async fn an_adopted_snapshot_is_read_verified_and_restored_and_its_files_stay_on_a_real_s3_server() {
    adopted_and_restored(TestApp::s3().await).await;
}

#[tokio::test]
async fn snapshots_of_every_version_and_form_are_adopted_from_the_root_itself_too() {
    for (version, form) in FORMS {
        let app = TestApp::memory().await;
        app.objects.put_many(fixture::files()).await.expect("written");
        let mut plan = plan(&app);
        (plan["root"], plan["format_version"], plan["form"]) = (json!(""), json!(version), json!(form));
        write(&app, &plan).await;
        let adopted = adopt(&app, json!({"prefix": ""})).await;
        assert_eq!(
            (&adopted["snapshots"][0]["file_count"], &adopted["snapshots"][0]["size_bytes"]),
            (&json!(fixture::FILES), &json!(fixture::BYTES)),
            "{version} {form}"
        );
        verified(&app, "of_milvus").await;
        for key in app.keys("snapshots/").await.iter().chain([&fixture::files()[0].0]) {
            let explained = app.get(&format!("/v1/objects/explain?key={key}")).await.ok().json;
            let reason = explained["reason"].as_str().expect("text");
            assert!(reason.contains("never deleted here"), "{key}: {explained}");
        }
        app.delete("/v1/collections/feas?cascade=true").await.expect(204);
        let run = collect(&app).await;
        assert_eq!(run["objects"], 0, "in our own directories, and still another system's: {run}");
        assert_eq!(app.keys("snapshots/").await.len(), 5);
    }
}

#[tokio::test]
async fn a_collection_shows_what_its_newest_adopted_snapshot_captured() {
    let app = TestApp::local().await;
    put_files(&app, PREFIX).await;
    let catalog = fixture::catalog();
    let ids: Vec<&Value> = catalog["segments"]
        .as_array()
        .expect("segments")
        .iter()
        .map(|s| &s["segment_id"])
        .collect();
    let (mut older, mut newer) = (plan(&app), plan(&app));
    // one compacted away since, one with deletes and builds since
    (older["name"], older["without_deltas"], older["without_builds"]) = (json!("older"), json!([ids[0]]), json!([ids[0]]));
    newer["name"] = json!("newer");
    newer["segments"] = json!([ids[0], ids[1], ids[2]]);
    (newer["snapshot_id"], newer["create_ts"]) = (json!(SNAPSHOT + 1), json!(CREATE_TS + 1));
    write(&app, &newer).await;
    adopt(&app, json!({"prefix": PREFIX})).await;
    let of_newer = app.get("/v1/collections/feas").await.ok().json;
    assert_eq!(of_newer["segment_count"], 3);
    write(&app, &older).await;
    let adopted = adopt(&app, json!({"prefix": PREFIX, "snapshot_ids": [SNAPSHOT.to_string()]})).await;
    assert_eq!(adopted["snapshots"][0]["snapshot_name"], "older");
    let still = app.get("/v1/collections/feas").await.ok().json;
    assert_eq!(
        (&still["segment_count"], &still["size_bytes"]),
        (&of_newer["segment_count"], &of_newer["size_bytes"])
    );
    for name in ["older", "newer"] {
        verified(&app, name).await;
    }
    let count = async |name: &str| app.get(&format!("/v1/snapshots/{name}")).await.ok().json["file_count"].clone();
    let first = &catalog["segments"][0];
    let mut of_first = BTreeSet::new();
    paths(&json!([first["deltalogs"], first["index_builds"]]), &mut of_first);
    assert_eq!(count("older").await, json!(fixture::FILES - of_first.len()));
    restore(&app, "older", "as_it_was").await;
    assert_eq!(files(&app, "as_it_was").await.len(), fixture::FILES - of_first.len());
    // the older one goes, and its segment with it; what is shown stays
    app.delete("/v1/snapshots/older").await.expect(204);
    assert_eq!(collect(&app).await["failed_objects"], 0);
    verified(&app, "newer").await;
    let left = app.get("/v1/collections/feas").await.ok().json;
    assert_eq!(left["size_bytes"], of_newer["size_bytes"]);
}

#[tokio::test]
async fn a_snapshot_that_was_moved_to_another_prefix_is_adopted_where_it_lies() {
    let app = TestApp::local().await;
    put_files(&app, PREFIX).await;
    let mut plan = plan(&app);
    plan["root"] = json!("an/older/root");
    write(&app, &plan).await;
    for key in app.keys("an/").await {
        let bytes = app.objects.get(&key, 1 << 20).await.expect("read").expect("there");
        let moved = key.replace("an/older/root/", &format!("{PREFIX}/"));
        app.objects.put(&moved, bytes).await.expect("written");
    }
    adopt(&app, json!({"prefix": PREFIX})).await;
    verified(&app, "of_milvus").await;
    restore(&app, "of_milvus", "copied").await;
    assert!(files(&app, "copied").await == original(), "other files, or other bytes");
}

#[tokio::test]
async fn another_stillframes_snapshots_are_adopted_with_their_shared_manifests() {
    let other = TestApp::local().await;
    other.load_fixture().await;
    for name in ["first", "second"] {
        super::rebuild::create(&other, "feas", name).await;
    }
    let app = TestApp::local().await;
    for directory in ["snapshots/", "insert_log/", "delta_log/", "stats_log/", "index_files/"] {
        for key in other.keys(directory).await {
            let bytes = other.objects.get(&key, u64::MAX).await.expect("read").expect("there");
            app.objects.put(&format!("other/{key}"), bytes).await.expect("written");
        }
    }
    let adopted = adopt(&app, json!({"prefix": "other"})).await;
    assert_eq!(adopted["snapshots"].as_array().expect("list").len(), 2);
    for name in ["first", "second"] {
        verified(&app, name).await;
    }
    restore(&app, "second", "copied").await;
    assert!(files(&app, "copied").await == original(), "other files, or other bytes");
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_is_half_registered() {
    let app = TestApp::local().await;
    let refused = async |status: u16, code: &str, text: &str| {
        let answer = app
            .post("/v1/snapshots:adopt", &json!({"prefix": PREFIX}))
            .await
            .refused(status, code);
        let detail = answer.json["detail"].as_str().expect("text");
        assert!(detail.contains(text), "{detail}");
        nothing_is_registered(&app).await;
    };
    refused(404, "snapshot_not_found", &format!("lies below {PREFIX}/snapshots/")).await;
    // files that are missing
    write(&app, &plan(&app)).await;
    put_files(&app, PREFIX).await;
    let missing = ["stats_log", "index_files"].map(|kind| {
        let files = fixture::files();
        let (path, _) = files.iter().find(|(path, _)| path.starts_with(kind)).expect("one").clone();
        format!("{PREFIX}/{path}")
    });
    app.objects.delete(missing.to_vec()).await;
    for path in &missing {
        refused(422, "file_missing", &format!("file {path} of segment ")).await;
    }
    // one that was cut
    put_files(&app, PREFIX).await;
    app.objects.put(&missing[0], b"cut".to_vec()).await.expect("written");
    refused(422, "file_size_mismatch", &format!("file {} of segment", missing[0])).await;
    put_files(&app, PREFIX).await;
    // a manifest
    let manifests = app.keys(&format!("{PREFIX}/snapshots/{COLLECTION_ID}/manifests/")).await;
    app.objects.delete(vec![manifests[0].clone()]).await;
    refused(422, "file_missing", &format!("the manifest {} is missing", manifests[0])).await;
    app.objects.put(&manifests[0], b"\x02\x04".to_vec()).await.expect("written");
    refused(
        422,
        "unreadable_snapshot",
        &format!("the manifest {}: the manifest can't be read", manifests[0]),
    )
    .await;
    write(&app, &plan(&app)).await;
    // versions to come
    let metadata = metadata_key();
    let whole: Value =
        serde_json::from_slice(&app.objects.get(&metadata, 1 << 20).await.expect("read").expect("there")).expect("JSON");
    let with = async |pointer: &str, value: Value| {
        let mut changed = whole.clone();
        *changed.pointer_mut(pointer).expect(pointer) = value;
        app.objects
            .put(&metadata, changed.to_string().into_bytes())
            .await
            .expect("written");
    };
    with("/format_version", json!(6)).await;
    refused(
        422,
        "unreadable_snapshot",
        "incompatible snapshot format: snapshot format version 6 is too new, current supported version: 5 (please upgrade Milvus)",
    )
    .await;
    // what says one thing and is another
    with("/snapshot_info/id", json!("7")).await;
    refused(422, "unreadable_snapshot", "the metadata file is of snapshot 7").await;
    with("/snapshot_info/name", json!("a name")).await;
    refused(422, "unreadable_snapshot", "the snapshot's name \"a name\" has ' '").await;
    with("/collection/schema/fields", json!([])).await;
    refused(422, "unreadable_snapshot", "a collection needs at least one field").await;
    with("/collection/virtual_channel_names/0", json!("other")).await;
    refused(422, "unreadable_snapshot", "virtual_channel_names has not").await;
    with("/indexes", json!([])).await;
    refused(422, "unreadable_snapshot", "has no such index").await;
    with("/collection/partitions", json!({"_default": "470644622231601174"})).await;
    refused(422, "unreadable_snapshot", "has no partition 470644622231801189").await;
    let manifest = whole["manifest_list"][0].as_str().expect("text").replace(COLLECTION_ID, "1");
    with("/manifest_list/0", json!(manifest)).await;
    refused(422, "unreadable_snapshot", "is no place of a manifest of segment").await;
    let segment = whole["segment_ids"][0].clone();
    let mut changed = whole.clone();
    changed["storagev2_manifest_list"] = json!([{"segment_id": segment, "manifest": "{\"ver\":1,\"base_path\":\"x\"}"}]);
    app.objects
        .put(&metadata, changed.to_string().into_bytes())
        .await
        .expect("written");
    refused(
        422,
        "unsupported_storage_version",
        "segments with a manifest of their own are not supported",
    )
    .await;
    // and when all is well again
    write(&app, &plan(&app)).await;
    adopt(&app, json!({"prefix": PREFIX})).await;
}

#[tokio::test]
async fn names_and_ids_that_are_taken_are_refused() {
    let app = TestApp::local().await;
    put_files(&app, PREFIX).await;
    write(&app, &plan(&app)).await;
    let refused = async |body: Value, status: u16, code: &str, text: &str| {
        let answer = app.post("/v1/snapshots:adopt", &body).await.refused(status, code);
        let detail = answer.json["detail"].as_str().expect("text");
        assert!(detail.contains(text), "{detail}");
        assert_eq!(app.get("/v1/snapshots").await.ok().json["items"], json!([]));
    };
    app.small_collection("feas", 100).await;
    refused(
        json!({"prefix": PREFIX}),
        409,
        "collection_already_exists",
        "the name \"feas\" is taken",
    )
    .await;
    refused(
        json!({"prefix": PREFIX, "db_name": "nowhere"}),
        404,
        "database_not_found",
        "nowhere",
    )
    .await;
    for prefix in ["/abs", "a/../b", "x/insert_log", "snapshots", "s3://bucket/x"] {
        refused(json!({"prefix": prefix}), 422, "invalid_request", "/prefix").await;
    }
    let wanted = json!({"prefix": PREFIX, "snapshot_ids": ["5"]});
    refused(wanted, 404, "snapshot_not_found", "no metadata file of snapshot 5").await;
    refused(
        json!({"prefix": PREFIX, "collection_name": "?"}),
        422,
        "invalid_request",
        "/collection_name",
    )
    .await;
    // ids of things that are here
    let other = json!({"prefix": PREFIX, "collection_name": "other"});
    let mut partition = fixture::catalog()["collection"]["partitions"][1].clone();
    partition["name"] = json!("p9");
    app.post("/v1/collections/feas/partitions", &partition).await.created();
    refused(
        other.clone(),
        409,
        "partition_already_exists",
        "470644622231801189 is in use in another collection",
    )
    .await;
    app.delete("/v1/collections/feas").await.expect(204);
    collect(&app).await;
    app.post("/v1/collections", &fixture::catalog()["collection"]).await.created();
    refused(
        other.clone(),
        409,
        "collection_already_exists",
        "collection id 470644622231601173 is in use here, by \"feas\"",
    )
    .await;
    app.delete("/v1/collections/feas").await.expect(204);
    refused(other.clone(), 409, "collection_already_exists", "or is dropped").await;
    collect(&app).await;
    adopt(&app, other).await;
}
