//! External collections that become our own, with their snapshots: whole, under the same names, and without
//! a byte of the other system's files being changed.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use stillframe::service::{Outcome, ServiceSettings};

use crate::formats::adopt::{CREATE_TS, PREFIX, SNAPSHOT, adopt, everything, metadata_key, plan, put_files, write};
use crate::formats::rebuild::{collect, create, files, original, paths, restore, verified};
use crate::support::app::quick;
use crate::support::jobs::{act, claim_one, job, run, run_next, start_of};
use crate::support::{TestApp, fixture, postgres};

const C: i64 = 100;

async fn start(app: &TestApp, collection: &str) -> Value {
    let path = format!("/v1/collections/{collection}/materialize");
    let answer = app.post(&path, &json!({})).await.expect(202);
    let id = answer.json["job_id"].as_str().expect("id");
    assert_eq!(answer.headers["location"], format!("/v1/restore-jobs/{id}"));
    assert_eq!(answer.json["kind"], "materialize");
    answer.json
}

/// Makes a collection our own; gives the job that did.
pub async fn materialize(app: &TestApp, collection: &str) -> Value {
    let started = start(app, collection).await;
    app.drain().await;
    let ended = job(app, started["job_id"].as_str().expect("id")).await;
    assert_eq!(ended["state"], "Completed", "{ended}");
    ended
}

async fn snapshot(app: &TestApp, name: &str) -> Value {
    app.get(&format!("/v1/snapshots/{name}?include_collection_info=true"))
        .await
        .ok()
        .json
}

async fn bytes_of(app: &TestApp, keys: &[String]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for key in keys {
        found.push(app.objects.get(key, u64::MAX).await.expect("read").expect("there"));
    }
    found
}

/// The JSON of a metadata file.
async fn metadata_at(app: &TestApp, key: &str) -> Value {
    let bytes = app.objects.get(key, 1 << 20).await.expect("readable").expect("there");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// What a snapshot captured, whatever its ids.
async fn captured(app: &TestApp, name: &str) -> Vec<(String, Vec<u8>)> {
    let target = format!("restored_{name}");
    restore(app, name, &target).await;
    let found = files(app, &target).await;
    app.delete(&format!("/v1/collections/{target}")).await.expect(204);
    found
}

async fn adopted_and_materialized(app: TestApp) {
    put_files(&app, PREFIX).await;
    write(&app, &plan(&app)).await;
    // what this version has no name for, and one of it is of the other system's own ids
    let mut metadata = metadata_at(&app, &metadata_key()).await;
    metadata["a_new_key"] = json!({"deep": [1, "2"]});
    metadata["of_its_snapshot"] = json!([SNAPSHOT.to_string()]);
    let bytes = metadata.to_string().into_bytes();
    app.objects.put(&metadata_key(), bytes).await.expect("written");
    adopt(&app, json!({"prefix": PREFIX})).await;
    let own = create(&app, "feas", "own").await;
    assert_eq!(own["protection"], "none");
    app.post("/v1/aliases", &json!({"alias": "now", "collection_name": "feas"}))
        .await
        .created();
    let pin = app
        .post("/v1/snapshots/own/pins", &json!({"owner": "spark", "ttl_seconds": 3600}))
        .await
        .created()
        .json;
    let hold = json!({"hold": {"owner": "ann", "reason": "audit"}, "labels": {"team": "search"}});
    app.patch("/v1/snapshots/of_milvus", &hold).await.ok();
    restore(&app, "own", "earlier").await;
    let theirs = everything(&app).await;
    let before = bytes_of(&app, &theirs).await;
    let (old_own, old) = (snapshot(&app, "own").await, snapshot(&app, "of_milvus").await);

    let ended = materialize(&app, "feas").await;
    assert_eq!(
        (
            &ended["total_files"],
            &ended["total_bytes"],
            &ended["collection_name"],
            &ended["source_collection_name"]
        ),
        (&json!(fixture::FILES), &json!(fixture::BYTES), &json!("feas"), &json!("feas")),
        "{ended}"
    );
    let listed = app.get("/v1/restore-jobs?collection_name=feas").await.ok().json;
    assert_eq!(listed["items"][0]["job_id"], ended["job_id"]);

    // the collection: another id, everything else as it was
    let collection = app.get("/v1/collections/feas").await.ok().json;
    assert_eq!(
        (
            &collection["ownership"],
            &collection["collection_id"],
            &collection["segment_count"],
            &collection["num_of_rows"],
            &collection["aliases"]
        ),
        (
            &json!("owned"),
            &ended["collection_id"],
            &json!(4),
            &json!(9000),
            &json!(["now"])
        )
    );
    assert!(files(&app, "now").await == original(), "other files, or other bytes");
    let segments = app.get("/v1/collections/feas/segments").await.ok().json;
    let mut kept_here = BTreeSet::new();
    paths(&segments, &mut kept_here);
    assert!(kept_here.iter().all(|path| !path.starts_with("milvus")), "{kept_here:?}");

    // its snapshots: the same names, texts, pins and holds
    for (before, name) in [(&old, "of_milvus"), (&old_own, "own")] {
        let now = snapshot(&app, name).await;
        assert_eq!(now["protection"], "full");
        assert_ne!(now["snapshot_id"], before["snapshot_id"]);
        for key in [
            "description",
            "labels",
            "create_ts",
            "segment_count",
            "index_build_count",
            "num_of_rows",
            "file_count",
            "size_bytes",
            "left_out",
            "created_at",
            "committed_at",
            "hold",
            "pin_count",
        ] {
            assert_eq!(now[key], before[key], "{key} of {name}");
        }
        let location = now["s3_location"].as_str().expect("text");
        let id = ended["collection_id"].as_str().expect("id");
        assert!(location.contains(&format!("/snapshots/{id}/metadata/")), "{location}");
        verified(&app, name).await;
    }
    let now = snapshot(&app, "of_milvus").await;
    let (_, key) = now["s3_location"]
        .as_str()
        .expect("text")
        .split_once("/snapshots/")
        .expect("a key");
    let anew = metadata_at(&app, &format!("snapshots/{key}")).await;
    assert_eq!(
        (&anew["a_new_key"], anew.get("of_its_snapshot")),
        (&metadata["a_new_key"], None),
        "what only the other system says is kept where it is true of the copy"
    );
    let pins = app.get("/v1/snapshots/own/pins").await.ok().json;
    assert_eq!(pins["items"][0]["pin_id"], pin["pin_id"]);
    app.delete("/v1/snapshots/of_milvus").await.refused(409, "snapshot_held");

    // the receipt is that of any job
    let path = format!("/v1/restore-jobs/{}/receipt", ended["job_id"].as_str().expect("id"));
    let receipt = app.get(&path).await.ok().json;
    assert_eq!(receipt["file_count"], json!(fixture::FILES));
    assert!(
        receipt["files"]
            .as_array()
            .expect("files")
            .iter()
            .all(|f| f["source"].as_str().is_some_and(|s| s.starts_with(PREFIX)))
    );

    // nothing of the other system was written or deleted, by the collector neither
    collect(&app).await;
    assert_eq!(everything(&app).await, theirs);
    assert!(
        bytes_of(&app, &theirs).await == before,
        "a file of the other system was changed"
    );
    // what was written here for the external collection is gone, with its rows
    let old_directory = format!("snapshots/{}/", old_own["collection_id"].as_str().expect("id"));
    let left = app.keys(&old_directory).await;
    assert!(left.iter().all(|key| key.contains("/receipts/")), "{left:?}");
    // the receipt of an earlier restore stays with its job
    let earlier = app.get("/v1/restore-jobs?collection_name=earlier").await.ok().json["items"][0].clone();
    assert_eq!(earlier["snapshot_id"], snapshot(&app, "own").await["snapshot_id"]);
    let path = format!("/v1/restore-jobs/{}/receipt", earlier["job_id"].as_str().expect("id"));
    app.get(&path).await.ok();

    // once more: it says that there is nothing to do, and nothing is mixed
    app.post("/v1/collections/feas/materialize", &json!({}))
        .await
        .refused(409, "collection_not_external");
    app.post("/v1/snapshots:adopt", &json!({"prefix": PREFIX}))
        .await
        .refused(409, "collection_already_exists");

    // and then the other system deletes everything
    assert!(app.objects.delete(theirs).await.is_empty());
    for name in ["of_milvus", "own"] {
        verified(&app, name).await;
        assert!(captured(&app, name).await == original(), "other files, or other bytes");
    }
    assert!(files(&app, "feas").await == original(), "other files, or other bytes");
    let later = create(&app, "feas", "later").await;
    assert_eq!(later["protection"], "full");
    let run = collect(&app).await;
    assert_eq!(run["failed_objects"], 0, "{run}");
    verified(&app, "of_milvus").await;
}

#[tokio::test]
async fn an_adopted_collection_becomes_our_own_with_every_byte_and_snapshot_on_local_storage() {
    adopted_and_materialized(TestApp::local().await).await;
}

#[tokio::test]
async fn an_adopted_collection_becomes_our_own_with_every_byte_and_snapshot_on_a_real_s3_server() {
    adopted_and_materialized(TestApp::s3().await).await;
}

#[tokio::test]
async fn versions_builds_and_dropped_segments_that_only_older_snapshots_captured_come_along() {
    let app = TestApp::local().await;
    put_files(&app, PREFIX).await;
    let catalog = fixture::catalog();
    let segments = catalog["segments"].as_array().expect("segments");
    let ids: Vec<&Value> = segments.iter().map(|s| &s["segment_id"]).collect();
    let (mut older, mut newer) = (plan(&app), plan(&app));
    // one compacted away since; of another deletes went and builds came
    (older["name"], older["without_builds"]) = (json!("older"), json!([ids[0]]));
    newer["name"] = json!("newer");
    newer["segments"] = json!([ids[0], ids[1], ids[2]]);
    newer["without_deltas"] = json!([ids[0]]);
    (newer["snapshot_id"], newer["create_ts"]) = (json!(SNAPSHOT + 1), json!(CREATE_TS + 1));
    write(&app, &older).await;
    write(&app, &newer).await;
    adopt(&app, json!({"prefix": PREFIX})).await;
    let before = [
        files(&app, "feas").await,
        captured(&app, "older").await,
        captured(&app, "newer").await,
    ];
    let shown = app.get("/v1/collections/feas").await.ok().json;

    let ended = materialize(&app, "feas").await;
    assert_eq!(
        (&ended["total_segments"], &ended["total_files"]),
        (&json!(4), &json!(fixture::FILES)),
        "each file once: {ended}"
    );
    let theirs = everything(&app).await;
    assert!(app.objects.delete(theirs).await.is_empty());
    let now = app.get("/v1/collections/feas").await.ok().json;
    for key in ["segment_count", "num_of_rows", "size_bytes"] {
        assert_eq!(now[key], shown[key], "{key}");
    }
    collect(&app).await;
    for name in ["older", "newer"] {
        verified(&app, name).await;
    }
    let after = [
        files(&app, "feas").await,
        captured(&app, "older").await,
        captured(&app, "newer").await,
    ];
    assert!(after == before, "other files, or other bytes");

    // with the older one goes what only that needed, to the last file
    app.delete("/v1/snapshots/older").await.expect(204);
    assert_eq!(collect(&app).await["failed_objects"], 0);
    verified(&app, "newer").await;
    assert!(files(&app, "feas").await == before[0], "other files, or other bytes");
    app.delete("/v1/collections/feas?cascade=true").await.expect(204);
    collect(&app).await;
    for directory in ["insert_log/", "delta_log/", "stats_log/", "index_files/"] {
        assert_eq!(app.keys(directory).await, Vec::<String>::new(), "left behind");
    }
}

/// A collection whose files lie exactly where our own would, as after an import on Milvus' own root.
/// An external collection `c` whose files lie below the storage root, with a snapshot `s`; gives their keys.
pub async fn in_our_own_root(app: &TestApp) -> Vec<String> {
    app.post(
        "/v1/collections",
        &json!({"name": "c", "collection_id": C.to_string(), "ownership": "external", "fields": [
            {"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true},
            {"field_id": "101", "name": "vec", "data_type": "FloatVector", "type_params": {"dim": "4"}}],
            "partitions": [{"partition_id": (C + 1).to_string(), "name": "_default"}, {"partition_id": (C + 2).to_string(), "name": "p2"}],
            "channels": [{"channel_name": format!("ch_{C}"), "seek_position": {"timestamp": "1000"}}]}),
    )
    .await
    .created();
    let index = json!({"index_id": "7", "field_id": "101", "index_name": "vec_idx"});
    app.post("/v1/collections/c/indexes", &index).await.created();
    for segment in 0..3 {
        app.add_segment("c", C, 500 + segment).await;
    }
    let mut theirs = Vec::new();
    for directory in ["insert_log/", "stats_log/", "index_files/"] {
        theirs.extend(app.keys(directory).await);
    }
    create(app, "c", "s").await;
    theirs
}

async fn everything_here(app: &TestApp) -> Vec<String> {
    let mut keys = Vec::new();
    for directory in ["insert_log/", "stats_log/", "index_files/", "snapshots/"] {
        keys.extend(app.keys(directory).await);
    }
    keys
}

#[tokio::test]
async fn files_that_lie_where_ours_would_are_copied_beside_and_stay() {
    let app = TestApp::local().await;
    let theirs = in_our_own_root(&app).await;
    let before = bytes_of(&app, &theirs).await;
    materialize(&app, "c").await;
    collect(&app).await;
    assert!(bytes_of(&app, &theirs).await == before);
    let segments = app.get("/v1/collections/c/segments").await.ok().json;
    let mut here = BTreeSet::new();
    paths(&segments, &mut here);
    assert_eq!(here.len(), theirs.len());
    assert!(theirs.iter().all(|key| !here.contains(key)), "a directory has one owner");
    assert!(app.objects.delete(theirs).await.is_empty());
    verified(&app, "s").await;
    // whoever goes on as the writer of the other system is told
    let body = app.small_segment(C, 900).await;
    app.post("/v1/collections/c/segments", &body).await.expect(422);
}

#[tokio::test]
async fn nothing_of_the_collection_can_change_while_it_is_copied_and_after_a_cancel_it_can() {
    let app = TestApp::local().await;
    in_our_own_root(&app).await;
    let body = app.small_segment(C, 900).await;
    let before = everything_here(&app).await;
    let started = start(&app, "c").await;
    let id = started["job_id"].as_str().expect("id");
    let busy = "collection_being_materialized";
    app.post("/v1/collections/c/segments", &body).await.refused(409, busy);
    app.post("/v1/collections/c/compactions", &json!({"inputs": ["500"], "outputs": []}))
        .await
        .refused(409, busy);
    app.delete("/v1/collections/c/segments/500").await.refused(409, busy);
    app.post("/v1/collections/c/partitions", &json!({"name": "p3"}))
        .await
        .refused(409, busy);
    app.delete("/v1/collections/c/partitions/p2").await.refused(409, busy);
    app.delete("/v1/collections/c/indexes/vec_idx").await.refused(409, busy);
    app.patch("/v1/collections/c", &json!({"name": "d"})).await.refused(409, busy);
    app.delete("/v1/collections/c?cascade=true").await.refused(409, busy);
    app.post("/v1/collections/c/flush", &json!({})).await.refused(409, busy);
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "t"}))
        .await
        .refused(409, busy);
    app.delete("/v1/snapshots/s").await.refused(409, busy);
    app.post("/v1/collections/c/materialize", &json!({})).await.refused(409, busy);
    // nobody sees the target
    let listed = app.get("/v1/collections").await.ok().json;
    assert_eq!(listed["items"].as_array().expect("items").len(), 1);

    let cancelled = act(&app, id, "cancel").await;
    assert_eq!(cancelled["state"], "Cancelled");
    app.post("/v1/collections/c/partitions", &json!({"name": "p3"}))
        .await
        .created();
    app.set_clock(Duration::from_secs(120)).await;
    app.drain().await;
    assert_eq!(job(&app, id).await["cleanup"], "done");
    assert_eq!(everything_here(&app).await, before);
    materialize(&app, "c").await;
}

#[tokio::test]
async fn the_swap_waits_for_whoever_reads_one_of_the_snapshots() {
    let app = TestApp::local().await;
    in_our_own_root(&app).await;
    let restoring = app
        .post("/v1/snapshots/s/restore", &json!({"collection_name": "r"}))
        .await
        .expect(202)
        .json;
    let reader = restoring["job_id"].as_str().expect("id");
    act(&app, reader, "pause").await;
    let started = start(&app, "c").await;
    let id = started["job_id"].as_str().expect("id");
    app.drain().await;
    assert_eq!(job(&app, id).await["state"], "Publishing");
    assert_eq!(app.get("/v1/collections/c").await.ok().json["ownership"], "external");
    act(&app, reader, "resume").await;
    app.drain().await;
    assert_eq!(job(&app, reader).await["state"], "Completed");
    app.set_clock(Duration::from_secs(5)).await;
    app.drain().await;
    assert_eq!(job(&app, id).await["state"], "Completed");
    assert_eq!(app.get("/v1/collections/c").await.ok().json["ownership"], "owned");
    verified(&app, "s").await;
}

#[tokio::test]
async fn waiting_for_a_reader_does_not_count_against_an_outage() {
    let settings = ServiceSettings {
        outage_patience: Duration::from_secs(300),
        ..quick()
    };
    let app = TestApp::with_settings(settings).await;
    in_our_own_root(&app).await;
    let started = start(&app, "c").await;
    let id = started["job_id"].as_str().expect("id");
    run_next(&app, 4).await;
    // its receipt can't be written, as where a store does not answer
    let target = started["collection_id"].as_str().expect("id");
    let in_the_way = app.directory.path().join(format!("snapshots/{target}"));
    std::fs::write(&in_the_way, b"in the way").expect("written");
    assert_eq!(run(&app, &claim_one(&app).await).await, Outcome::Retried);
    assert!(job(&app, id).await["waiting_for"].is_string());
    let reader = start_of(&app, "s", json!({"collection_name": "r"})).await;
    act(&app, &reader, "pause").await;
    for hour in 1..=24 {
        app.set_clock(Duration::from_secs(3600 * hour)).await;
        assert_eq!(run(&app, &claim_one(&app).await).await, Outcome::HandedBack);
    }
    act(&app, &reader, "cancel").await;
    app.set_clock(Duration::from_secs(3600 * 25)).await;
    assert_eq!(
        run(&app, &claim_one(&app).await).await,
        Outcome::Retried,
        "a day with its reader"
    );
    std::fs::remove_file(&in_the_way).expect("removed");
    app.set_clock(Duration::from_secs(3600 * 26)).await;
    app.drain().await;
    assert_eq!(job(&app, id).await["state"], "Completed");
}

#[tokio::test]
async fn a_cancel_in_the_middle_of_the_swap_and_the_swap_do_not_wait_for_each_other() {
    let app = TestApp::local().await;
    in_our_own_root(&app).await;
    let started = start(&app, "c").await;
    let id = started["job_id"].as_str().expect("id");
    run_next(&app, 4).await;
    assert_eq!(job(&app, id).await["state"], "Publishing");
    let publish = claim_one(&app).await;
    // the swap stops where it holds its source, until a cancel waits too
    let mut reading = app.pool.begin().await.expect("begins");
    sqlx::query("select from snapshots where name = 's' for key share")
        .execute(&mut *reading)
        .await
        .expect("locked");
    let cancel = async {
        postgres::until(
            &app.pool,
            "select count(*) = 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        )
        .await;
        app.post(&format!("/v1/restore-jobs/{id}/cancel"), &json!({})).await
    };
    let go_on = async {
        postgres::until(
            &app.pool,
            "select count(*) = 2 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        )
        .await;
        reading.rollback().await.expect("let go");
    };
    let (swapped, cancelled, ()) = tokio::join!(run(&app, &publish), cancel, go_on);
    assert_eq!(swapped, Outcome::Done);
    cancelled.refused(409, "restore_job_ended");
    assert_eq!(job(&app, id).await["state"], "Completed");
    verified(&app, "s").await;
}

#[tokio::test]
async fn the_sums_of_copies_are_kept_of_every_version_that_a_snapshot_captured() {
    let (app, _) = TestApp::s3_with_etags().await;
    in_our_own_root(&app).await;
    let path = format!("delta_log/{C}/{}/500/9", C + 1);
    app.objects.put(&path, vec![1; 10]).await.expect("written");
    let log = json!({"log_id": "9", "path": path, "size_bytes": 10, "entries_num": 1});
    let body = json!({"append": {"deltalogs": [{"field_id": "0", "logs": [log]}]}});
    app.patch("/v1/collections/c/segments/500", &body).await.ok();
    create(&app, "c", "newer").await;
    materialize(&app, "c").await;
    for (name, files) in [("s", 12), ("newer", 13)] {
        let id = start_of(&app, name, json!({"collection_name": format!("of_{name}")})).await;
        app.drain().await;
        let receipt = app.get(&format!("/v1/restore-jobs/{id}/receipt")).await.ok().json;
        assert_eq!(receipt["verified"], json!({"size": 0, "etag": files, "content": 0}), "{name}");
    }
}

#[tokio::test]
async fn a_file_that_is_missing_is_named_and_the_collection_stays_as_it_was() {
    let app = TestApp::local().await;
    let theirs = in_our_own_root(&app).await;
    let lost = theirs.iter().find(|key| key.starts_with("stats_log")).expect("one").clone();
    assert!(app.objects.delete(vec![lost.clone()]).await.is_empty());
    let started = start(&app, "c").await;
    app.drain().await;
    let failed = job(&app, started["job_id"].as_str().expect("id")).await;
    assert_eq!(
        (&failed["state"], &failed["error_code"]),
        (&json!("Failed"), &json!("file_missing")),
        "{failed}"
    );
    assert!(failed["reason"].as_str().is_some_and(|why| why.contains(&lost)), "{failed}");
    assert_eq!(app.get("/v1/collections/c").await.ok().json["ownership"], "external");
    app.delete("/v1/snapshots/s").await.expect(204);
}

#[tokio::test]
async fn what_is_not_external_or_not_flushed_is_refused() {
    let app = TestApp::memory().await;
    app.small_collection("owned", 300).await;
    app.post("/v1/collections/owned/materialize", &json!({}))
        .await
        .refused(409, "collection_not_external");
    app.post("/v1/collections/nope/materialize", &json!({}))
        .await
        .refused(404, "collection_not_found");
    in_our_own_root(&app).await;
    let mut growing = app.small_segment(C, 900).await;
    growing["state"] = json!("growing");
    app.post("/v1/collections/c/segments", &growing).await.created();
    app.post("/v1/collections/c/materialize", &json!({"priority": 11}))
        .await
        .refused(422, "invalid_request");
    let refused = app
        .post("/v1/collections/c/materialize", &json!({}))
        .await
        .refused(409, "collection_not_ready");
    assert!(refused.json["detail"].as_str().is_some_and(|why| why.contains("growing")));
}

#[tokio::test]
async fn an_empty_collection_without_snapshots_becomes_our_own_at_once() {
    let app = TestApp::memory().await;
    let body = json!({"name": "empty", "ownership": "external", "fields": [
        {"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true}]});
    app.post("/v1/collections", &body).await.created();
    let ended = materialize(&app, "empty").await;
    assert_eq!(ended["total_files"], 0);
    assert_eq!(app.get("/v1/collections/empty").await.ok().json["ownership"], "owned");
}

#[tokio::test]
async fn new_ids_that_somebody_has_chosen_before_use_up_no_try() {
    let app = TestApp::local().await;
    put_files(&app, PREFIX).await;
    write(&app, &plan(&app)).await;
    adopt(&app, json!({"prefix": PREFIX})).await;
    app.small_collection("other", 9000).await;
    // new ids come from ten thousand seconds ahead, where an engine has chosen some
    let ahead: i64 = sqlx::query_scalar(
        "select setval('id_allocator', ((extract(epoch from stillframe_now()) * 1000)::bigint + 10000000) << 18)",
    )
    .fetch_one(&app.pool)
    .await
    .expect("set");
    let segment = |id: i64| json!({"segment_id": id.to_string(), "partition_name": "_default", "channel_name": "ch_9000", "num_of_rows": 0});
    let batch = json!({"segments": (ahead..ahead + 60).map(segment).collect::<Vec<Value>>()});
    app.post("/v1/collections/other/segments:batch", &batch).await.created();
    let ended = materialize(&app, "feas").await;
    let failures: i64 = sqlx::query_scalar("select sum(failures) from restore_tasks where job_id = $1")
        .bind(ended["job_id"].as_str().expect("id").parse::<i64>().expect("a number"))
        .fetch_one(&app.pool)
        .await
        .expect("counts");
    assert_eq!(failures, 0);
}
