//! The catalog, rebuilt from the storage after its database was lost.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use stillframe::domain::Code;
use stillframe::domain::rebuild::RebuildReport;

use crate::support::TestApp;
use crate::support::fixture::{self, COLLECTION};

const C: i64 = 100;

pub async fn create(app: &TestApp, collection: &str, name: &str) -> Value {
    let body = json!({"collection_name": collection, "snapshot_name": name, "description": format!("of {name}")});
    app.post("/v1/snapshots", &body).await.created().json
}

/// Everything that a snapshot shows of itself, but for when its row was written.
async fn shown(app: &TestApp, name: &str) -> Value {
    let path = format!("/v1/snapshots/{name}?include_collection_info=true");
    let shown = app.get(&path).await.ok().json;
    let segments = app
        .get(&format!("/v1/snapshots/{name}/segments?page_size=1000"))
        .await
        .ok()
        .json;
    without_times(json!([shown, segments]))
}

fn without_times(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields
                .into_iter()
                .filter(|(key, _)| key != "created_at" && key != "committed_at");
            kept.map(|(key, value)| (key, without_times(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(without_times).collect(),
        other => other,
    }
}

pub async fn verified(app: &TestApp, name: &str) -> Value {
    let result = app
        .post(&format!("/v1/snapshots/{name}/verify"), &json!({"level": "checksum"}))
        .await
        .ok()
        .json;
    assert_eq!(result["outcome"], "passed", "{name}: {result}");
    result
}

pub async fn collect(app: &TestApp) -> Value {
    let body = json!({"grace_seconds": 0, "orphans": true, "orphan_tolerance_seconds": 0});
    app.post("/v1/gc/runs", &body).await.created().json
}

pub async fn restore(app: &TestApp, snapshot: &str, target: &str) {
    let path = format!("/v1/snapshots/{snapshot}/restore");
    let job = app.post(&path, &json!({"collection_name": target})).await.expect(202).json;
    app.drain().await;
    let id = job["job_id"].as_str().expect("id");
    let job = app.get(&format!("/v1/restore-jobs/{id}")).await.ok().json;
    assert_eq!(job["state"], "Completed", "{job}");
}

/// The paths of every file in a list of segments.
pub fn paths(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(path)) = fields.get("path") {
                found.insert(path.clone());
            }
            fields.values().for_each(|inner| paths(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|item| paths(item, found)),
        _ => {}
    }
}

/// The files of a collection by what a restore keeps of their paths: kind, field and log or name. With
/// their bytes.
pub async fn files(app: &TestApp, collection: &str) -> Vec<(String, Vec<u8>)> {
    let segments = app
        .get(&format!("/v1/collections/{collection}/segments?page_size=1000"))
        .await
        .ok()
        .json;
    let mut all = BTreeSet::new();
    paths(&segments, &mut all);
    let mut found = Vec::new();
    for path in all {
        let bytes = app.objects.get(&path, u64::MAX).await.expect("readable");
        found.push((
            kept_of(&path),
            bytes.unwrap_or_else(|| panic!("{path} of {collection} is missing")),
        ));
    }
    found.sort();
    found
}

/// Kind and last part; logs carry an id of their own, which a restore keeps.
pub fn kept_of(path: &str) -> String {
    let kinds = ["insert_log", "delta_log", "stats_log", "index_files"];
    let kind = path.split('/').find(|part| kinds.contains(part)).expect("a kind");
    format!("{kind} {}", path.rsplit('/').next().expect("a part"))
}

pub fn original() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fixture::files()
        .into_iter()
        .map(|(path, bytes)| (kept_of(&path), bytes))
        .collect();
    files.sort();
    files
}

/// As `assert_eq`, but short where a snapshot is long.
fn same(at: &str, left: &Value, right: &Value) {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            assert!(a.keys().eq(b.keys()), "{at}: {:?} {:?}", a.keys(), b.keys());
            a.iter().for_each(|(key, value)| same(&format!("{at}/{key}"), value, &b[key]));
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{at}");
            a.iter()
                .zip(b)
                .enumerate()
                .for_each(|(n, (a, b))| same(&format!("{at}/{n}"), a, b));
        }
        _ => assert_eq!(left, right, "{at}"),
    }
}

async fn everything(app: &TestApp) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for directory in ["snapshots/", "insert_log/", "delta_log/", "stats_log/", "index_files/"] {
        let listed = app.objects.list(directory).await.expect("listed");
        found.extend(listed.into_iter().map(|(key, entry)| (key, entry.size_bytes)));
    }
    found
}

async fn rebuild(app: &TestApp) -> RebuildReport {
    app.service.rebuild_catalog().await.expect("rebuilt")
}

fn names(report: &RebuildReport) -> Vec<&str> {
    report.snapshots.iter().map(|s| s.snapshot_name.as_str()).collect()
}

/// Adds a delete file to a segment: a new version of it.
async fn append_delete(app: &TestApp, segment: &Value) {
    let id = segment["segment_id"].as_str().expect("id");
    let collection = fixture::catalog()["collection"]["collection_id"].clone();
    let path = format!(
        "delta_log/{}/{}/{id}/77",
        collection.as_str().expect("id"),
        segment["partition_id"].as_str().expect("id")
    );
    app.objects.put(&path, b"deletes".to_vec()).await.expect("written");
    let log = json!({"log_id": "77", "path": path, "size_bytes": 7, "entries_num": 1});
    let append = json!({"append": {"deltalogs": [{"field_id": "0", "logs": [log]}]}});
    app.patch(&format!("/v1/collections/{COLLECTION}/segments/{id}"), &append)
        .await
        .ok();
}

async fn the_whole_way(app: TestApp) {
    app.load_fixture().await;
    create(&app, COLLECTION, "first").await;
    let catalog = fixture::catalog();
    let segments = catalog["segments"].as_array().expect("segments");
    // between the two: one segment compacted away, one changed, an index gone; two are the same and shared
    let gone = segments[2]["segment_id"].as_str().expect("id");
    app.delete(&format!("/v1/collections/{COLLECTION}/segments/{gone}"))
        .await
        .expect(204);
    append_delete(&app, &segments[0]).await;
    app.delete(&format!("/v1/collections/{COLLECTION}/indexes/tag_trie"))
        .await
        .expect(204);
    create(&app, COLLECTION, "second").await;
    // in no snapshot
    restore(&app, "first", "unsaved").await;
    let before = [shown(&app, "first").await, shown(&app, "second").await];
    let there = everything(&app).await;

    let app = app.after_losing_the_catalog().await;
    let report = rebuild(&app).await;
    assert_eq!(names(&report), ["first", "second"]);
    assert_eq!((report.skipped.len(), report.renamed.len()), (0, 0), "{report:?}");
    for (name, before) in ["first", "second"].into_iter().zip(&before) {
        same(name, &shown(&app, name).await, before);
    }
    for name in ["first", "second"] {
        verified(&app, name).await;
    }

    // nothing is taken for garbage, neither what snapshots need nor what nobody knows any more
    let run = collect(&app).await;
    assert_eq!((&run["objects"], &run["orphans_found"]), (&json!(0), &json!(0)), "{run}");
    assert_eq!(everything(&app).await, there);
    assert_eq!(app.get("/v1/gc/orphan-deletion").await.ok().json, json!({"allowed": false}));

    restore(&app, "first", "again").await;
    assert!(files(&app, "again").await == original(), "other files, or other bytes");
    let job = app.get("/v1/restore-jobs").await.ok().json["items"][0].clone();
    let new_id: i64 = job["collection_id"].as_str().expect("id").parse().expect("a number");
    assert!(new_id > report.highest_id, "{new_id} {}", report.highest_id);

    // the collection is as its newest snapshot captured it, and goes on
    let collection = app.get(&format!("/v1/collections/{COLLECTION}")).await.ok().json;
    assert_eq!(
        (&collection["ownership"], &collection["segment_count"]),
        (&json!("owned"), &json!(3))
    );
    let third = create(&app, COLLECTION, "third").await;
    let second = &before[1][0];
    for key in [
        "segment_count",
        "file_count",
        "size_bytes",
        "num_of_rows",
        "index_build_count",
    ] {
        assert_eq!(third[key], second[key], "{key}");
    }
    // its manifests are shared with the rebuilt ones: only the metadata file is new
    let metadata = format!(
        "snapshots/{}/manifests/{}/",
        "470644622231601173",
        third["snapshot_id"].as_str().expect("id")
    );
    assert_eq!(app.keys(&metadata).await, Vec::<String>::new());

    // what only the first needed goes with it, and nothing that another one needs
    app.delete("/v1/snapshots/first").await.expect(204);
    let run = collect(&app).await;
    assert_eq!(run["failed_objects"], 0, "{run}");
    let left = everything(&app).await;
    let lost: Vec<&String> = there.keys().filter(|key| !left.contains_key(*key)).collect();
    let expected = |key: &&String| {
        key.contains(gone) || key.contains(before[0][0]["snapshot_id"].as_str().expect("id")) || key.contains("marisa_trie")
    };
    assert!(!lost.is_empty() && lost.iter().all(expected), "{lost:#?}");
    assert!(!left.keys().any(|key| key.starts_with("insert_log") && key.contains(gone)));
    for name in ["second", "third"] {
        verified(&app, name).await;
    }
    // and without any snapshot the living collection keeps its files
    for name in ["second", "third"] {
        app.delete(&format!("/v1/snapshots/{name}")).await.expect(204);
    }
    collect(&app).await;
    assert!(!files(&app, COLLECTION).await.is_empty());
}

#[tokio::test]
async fn a_rebuilt_catalog_has_every_snapshot_and_loses_no_file_on_local_storage() {
    the_whole_way(TestApp::local().await).await;
}

#[tokio::test]
async fn a_rebuilt_catalog_has_every_snapshot_and_loses_no_file_on_a_real_s3_server() {
    the_whole_way(TestApp::s3().await).await;
}

#[tokio::test]
async fn snapshots_with_something_wrong_are_left_out_and_the_reason_is_said() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 501).await;
    let replaced = create(&app, "c", "nightly").await;
    app.delete("/v1/snapshots/nightly").await.expect(204);
    app.add_segment("c", C, 502).await;
    create(&app, "c", "nightly").await;
    app.add_segment("c", C, 503).await;
    let flipped = create(&app, "c", "flipped").await;
    app.add_segment("c", C, 504).await;
    create(&app, "c", "missing").await;
    app.add_segment("c", C, 505).await;
    let cut = create(&app, "c", "cut").await;

    let id = |snapshot: &Value| snapshot["snapshot_id"].as_str().expect("id").to_string();
    let manifest = format!("snapshots/{C}/manifests/{}/503.avro", id(&flipped));
    let mut bytes = app.objects.get(&manifest, 1 << 20).await.expect("read").expect("there");
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    app.objects.put(&manifest, bytes).await.expect("written");
    app.objects.delete(vec!["stats_log/100/101/504/100/5140".into()]).await;
    let metadata = format!("snapshots/{C}/metadata/{}.json", id(&cut));
    app.objects
        .put(&metadata, b"{\"format_version\"".to_vec())
        .await
        .expect("written");
    let foreign = format!("snapshots/{C}/metadata/12.json");
    let of_milvus = json!({"snapshot_info": {"id": "12", "collection_id": "100", "name": "milvus"}, "collection": {}});
    app.objects
        .put(&foreign, of_milvus.to_string().into_bytes())
        .await
        .expect("written");
    let strange = format!("snapshots/{C}/metadata/13.json");
    app.objects
        .put(&strange, of_milvus.to_string().into_bytes())
        .await
        .expect("written");

    let app = app.after_losing_the_catalog().await;
    let report = rebuild(&app).await;
    // the flipped manifest and the missing file are shared by later snapshots of the same segments
    assert_eq!(names(&report), ["nightly"], "{report:#?}");
    let reason = |key: &str| {
        let skipped = report.skipped.iter().find(|s| s.key == key);
        skipped.unwrap_or_else(|| panic!("{key}: {report:#?}")).reason.as_str()
    };
    let why = reason(&format!("snapshots/{C}/metadata/{}.json", id(&replaced)));
    assert!(why.contains("has its name, so it must have been dropped"), "{why}");
    let why = reason(&format!("snapshots/{C}/metadata/{}.json", id(&flipped)));
    assert!(why.contains(&format!("the manifest {manifest} has another sha-256")), "{why}");
    assert!(
        reason(&metadata).contains("the metadata file is wrong: EOF"),
        "{}",
        reason(&metadata)
    );
    assert!(
        reason(&foreign).contains("another system wrote it; it can be adopted"),
        "{}",
        reason(&foreign)
    );
    assert!(
        reason(&strange).contains("is of snapshot 12 of collection 100"),
        "{}",
        reason(&strange)
    );
    let missing = report
        .skipped
        .iter()
        .find(|s| s.reason.contains("stats_log/100/101/504/100/5140 of segment 504 is missing"));
    assert!(missing.is_some(), "{report:#?}");
    assert_eq!(report.skipped.len(), 6);

    verified(&app, "nightly").await;
    let there = everything(&app).await;
    collect(&app).await;
    assert_eq!(everything(&app).await, there, "what is left out is not deleted either");
}

#[tokio::test]
async fn collections_of_one_name_both_come_back_alive() {
    let app = TestApp::local().await;
    for id in [C, 2 * C] {
        app.small_collection("c", id).await;
        app.add_segment("c", id, id * 5).await;
        create(&app, "c", &format!("of_{id}")).await;
        app.patch("/v1/collections/c", &json!({"name": format!("c_{id}_old")}))
            .await
            .ok();
    }
    let app = app.after_losing_the_catalog().await;
    let report = rebuild(&app).await;
    assert_eq!(report.renamed.len(), 1, "{report:?}");
    assert_eq!(report.renamed[0].was, "c");
    let listed = app.get("/v1/collections").await.ok().json;
    assert_eq!(listed["items"].as_array().expect("list").len(), 2, "{listed}");
    let other = report.renamed[0].is.clone();
    for name in ["c", other.as_str()] {
        assert_eq!(files(&app, name).await.len(), 4, "{name}");
    }
}

#[tokio::test]
async fn files_of_another_system_are_not_taken_for_own_ones() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    let mut body = app.get("/v1/collections/c").await.ok().json;
    app.delete("/v1/collections/c").await.expect(204);
    collect(&app).await;
    for key in [
        "segment_count",
        "num_of_rows",
        "size_bytes",
        "created_at",
        "aliases",
        "db_name",
    ] {
        body.as_object_mut().expect("an object").remove(key);
    }
    body["ownership"] = json!("external");
    app.post("/v1/collections", &body).await.created();
    let index = json!({"index_id": "7", "field_id": "101", "index_name": "vec_idx"});
    app.post("/v1/collections/c/indexes", &index).await.created();
    app.add_segment("c", C, 501).await;
    create(&app, "c", "s").await;

    let app = app.after_losing_the_catalog().await;
    assert_eq!(names(&rebuild(&app).await), ["s"]);
    assert_eq!(app.get("/v1/snapshots/s").await.ok().json["protection"], "none");
    let there = app.keys("insert_log/").await;
    app.delete("/v1/collections/c?cascade=true").await.expect(204);
    collect(&app).await;
    assert_eq!(app.keys("insert_log/").await, there);
    assert_eq!(app.keys("snapshots/").await, Vec::<String>::new(), "those are ours");
}

#[tokio::test]
async fn a_catalog_that_is_not_empty_is_left_alone() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 501).await;
    create(&app, "c", "s").await;
    let error = app.service.rebuild_catalog().await.expect_err("refused");
    assert_eq!(error.code(), Code::InvalidRequest);
    assert!(error.to_string().contains("the catalog is not empty"), "{error}");
    assert_eq!(app.get("/v1/gc/orphan-deletion").await.ok().json, json!({"allowed": true}));
    let app = app.after_losing_the_catalog().await;
    rebuild(&app).await;
    app.service.rebuild_catalog().await.expect_err("refused again");
}

#[tokio::test]
async fn ids_go_on_above_the_highest_that_any_object_carries() {
    let app = TestApp::local().await;
    let high = (1_i64 << 61) + 5;
    app.objects
        .put(&format!("insert_log/1/2/{high}/100/7"), b"x".to_vec())
        .await
        .expect("written");
    app.objects
        .put(&format!("index_files/{}/1/2/3/x", i64::MAX), b"x".to_vec())
        .await
        .expect("written");
    let app = app.after_losing_the_catalog().await;
    let report = rebuild(&app).await;
    assert_eq!(report.highest_id, high, "one that leaves no room is not followed");
    let created = app.post("/v1/databases", &json!({"name": "d"})).await.created().json;
    let id: i64 = created["db_id"].as_str().expect("id").parse().expect("a number");
    assert!(id > high, "{id}");
}

#[tokio::test]
async fn aliases_come_back_with_the_newest_snapshots_and_in_what_was_captured() {
    let app = TestApp::local().await;
    let alias = async |name: &str, collection: &str| {
        let body = json!({"alias": name, "collection_name": collection});
        app.post("/v1/aliases", &body).await.created();
    };
    for (name, id) in [("c", C), ("d", 2 * C)] {
        app.small_collection(name, id).await;
        app.add_segment(name, id, id * 5).await;
    }
    alias("latest", "c").await;
    alias("kept", "c").await;
    create(&app, "c", "s1").await;
    // moved before the next snapshot
    app.delete("/v1/aliases/latest").await.expect(204);
    alias("latest", "d").await;
    create(&app, "d", "s2").await;
    let before = [shown(&app, "s1").await, shown(&app, "s2").await];
    assert_eq!(before[0][0]["collection"]["aliases"], json!(["kept", "latest"]));

    let app = app.after_losing_the_catalog().await;
    rebuild(&app).await;
    for (name, before) in ["s1", "s2"].iter().zip(&before) {
        same(name, &before[0], &shown(&app, name).await[0]);
    }
    let of = async |name: &str| app.get(&format!("/v1/collections/{name}")).await.ok().json["aliases"].clone();
    assert_eq!((of("c").await, of("d").await), (json!(["kept"]), json!(["latest"])));
}
