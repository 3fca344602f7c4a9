//! One case for each crash point: dies there by SIGKILL, is started again, and all is well.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::content::{self, Content};
use super::place::{Place, Server};

const C: i64 = 100;

/// The cases, by name: where the service dies, in which story.
macro_rules! cases {
    ($($name:ident: $story:ident($point:literal);)*) => {
        $(#[tokio::test]
        #[cfg_attr(not(debug_assertions), ignore = "a release build has no crash points")]
        async fn $name() {
            $story($point).await;
        })*

        /// Every point at which a case dies, without the number of times.
        fn points() -> Vec<&'static str> {
            vec![$($point.split('#').next().expect("a part")),*]
        }
    };
}

cases! {
    a_create_dies_after_its_capture: create("create.captured");
    a_create_dies_with_its_manifests_written_and_not_recorded: create("create.manifests_written");
    a_create_dies_with_its_manifests_recorded: create("create.manifests_recorded");
    a_create_dies_before_its_commit: create("create.metadata_written");
    a_create_dies_after_its_commit: create("create.committed");

    a_drop_dies_after_its_commit: drop_and_take_back("snapshot.dropped");
    an_undelete_dies_after_its_commit: drop_and_take_back("snapshot.undeleted");

    a_restore_dies_before_its_job_is_there: restore("restore.reserved");
    a_restore_dies_before_its_call_is_answered: restore("restore.queued");
    a_restore_dies_when_its_check_begins: restore("restore.validating");
    a_restore_dies_before_its_target_is_laid_out: restore("restore.laying_out");
    a_restore_dies_with_its_target_laid_out: restore("restore.laid_out");
    a_restore_dies_after_its_first_file: restore("restore.file_copied");
    a_restore_dies_after_its_eleventh_file: restore("restore.file_copied#11");
    a_restore_dies_after_its_last_file: restore("restore.file_copied#20");
    a_restore_dies_with_a_segment_proved: restore("restore.proved");
    a_restore_dies_with_every_segment_proved: restore("restore.proved#5");
    a_restore_dies_with_a_segment_done: restore("restore.segment_done");
    a_restore_dies_with_every_segment_done: restore("restore.segment_done#5");
    a_restore_dies_before_it_is_published: restore("restore.publishing");
    a_restore_dies_when_it_is_published: restore("restore.published");

    a_failing_restore_dies_after_its_end: failing_restore("restore.failed");
    a_cancel_dies_after_its_commit: cancelled_restore("restore.cancelled");
    a_clean_up_dies_before_it_is_recorded: cancelled_restore("restore.cleaned_up");

    a_collector_dies_when_it_has_begun: collect("collect.started");
    a_collector_dies_after_it_expired_pending_snapshots: collect("collect.expired");
    a_collector_dies_with_a_snapshot_condemned: collect("collect.snapshot_condemned");
    a_collector_dies_with_a_metadata_file_deleted: collect("collect.metadata_deleted");
    a_collector_dies_with_references_released: collect("collect.references_released");
    a_collector_dies_with_a_snapshots_row_deleted: collect("collect.references_released#2");
    a_collector_dies_with_manifests_deleted: collect("collect.manifests_deleted");
    a_collector_dies_with_the_rows_of_manifests_deleted: collect("collect.manifest_rows_deleted");
    a_collector_dies_with_builds_condemned: collect("collect.condemned");
    a_collector_dies_with_the_files_of_builds_deleted: collect("collect.objects_deleted");
    a_collector_dies_with_the_rows_of_builds_deleted: collect("collect.rows_deleted");
    a_collector_dies_with_segments_condemned: collect("collect.condemned#2");
    a_collector_dies_with_the_files_of_segments_deleted: collect("collect.objects_deleted#2");
    a_collector_dies_with_the_rows_of_segments_deleted: collect("collect.rows_deleted#2");
    a_collector_dies_with_collections_deleted: collect("collect.collections_deleted");
    a_collector_dies_with_rows_of_partitions_and_indexes_deleted: collect("collect.leftovers_deleted");
    a_collector_dies_with_receipts_deleted: collect_receipt("collect.receipts_deleted");
    a_take_over_dies_with_the_storage_claimed: take_over("serve.claimed");
    a_collector_dies_with_orphans_noted: collect("collect.orphans_noted");
    a_collector_dies_with_orphans_deleted: collect("collect.orphans_deleted");
}

/// A collection of five segments of four files; gives what is in them.
pub(super) async fn five_segments(server: &Server, place: &Place) -> Vec<Content> {
    content::collection(server, "c", C).await;
    content::add(server, place, "c", C, 501..506, 1).await
}

pub(super) fn snapshot(name: &str) -> Value {
    json!({"collection_name": "c", "snapshot_name": name})
}

fn target() -> Value {
    json!({"collection_name": "r"})
}

/// Nothing is left of a target, and its name is free: the snapshot can be restored to it.
async fn restores_whole(server: &Server, place: &Place, expected: &[Content]) {
    let job = server.post("/v1/snapshots/s/restore", &target()).await;
    server.completes(&job).await;
    assert!(
        content::of_collection(server, place, "r").await == expected,
        "the restored bytes differ"
    );
}

async fn create(point: &str) {
    let place = Place::new().await;
    let server = place.serve_until(point, &[]);
    let expected = five_segments(&server, &place).await;
    server.dies_in(Method::POST, "/v1/snapshots", Some(&snapshot("s"))).await;

    let server = place.serve(&[]);
    let visible = server.items("/v1/snapshots").await.len();
    if point == "create.committed" {
        assert_eq!(visible, 1);
    } else {
        assert_eq!(visible, 0, "a half-written snapshot is visible");
        let refusal = server.refusal(Method::POST, "/v1/snapshots", Some(&snapshot("s"))).await;
        assert_eq!(refusal, (409, "snapshot_already_exists".into()), "its lease runs");
        let run = server.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await;
        assert_eq!(run["objects"], 0, "what is being written is left alone");
        place.pass(61).await;
        server.post("/v1/snapshots", &snapshot("s")).await;
        server.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await;
    }
    assert!(content::of_collection(&server, &place, "c").await == expected);
    restores_whole(&server, &place, &expected).await;
    place.ends_empty(&server).await;
}

async fn drop_and_take_back(point: &str) {
    let place = Place::new().await;
    let server = place.serve_until(point, &[]);
    let expected = five_segments(&server, &place).await;
    server.post("/v1/snapshots", &snapshot("s")).await;
    if point == "snapshot.undeleted" {
        server.delete("/v1/snapshots/s").await;
        server.dies_in(Method::POST, "/v1/snapshots/s/undelete", None).await;
    } else {
        server.dies_in(Method::DELETE, "/v1/snapshots/s", None).await;
    }
    let server = place.serve(&[]);
    if point == "snapshot.dropped" {
        assert_eq!(server.items("/v1/snapshots").await.len(), 0);
        server
            .call(Method::POST, "/v1/snapshots/s/undelete", None)
            .await
            .expect("an answer");
    }
    assert_eq!(server.items("/v1/snapshots").await.len(), 1);
    server.delete("/v1/collections/c").await;
    server.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await;
    restores_whole(&server, &place, &expected).await;
    place.ends_empty(&server).await;
}

/// Of a completed restore; it is kept as long as its job.
fn is_receipt(key: &str) -> bool {
    key.contains("/receipts/")
}

/// Files that were there at a kill and have been copied again since, or are gone.
pub(super) fn copied_again(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<String> {
    // a receipt is written anew by whoever publishes
    let files = before.iter().filter(|(key, _)| !is_receipt(key));
    let changed = files.filter(|(key, inode)| after.get(*key) != Some(*inode));
    changed.map(|(key, _)| key.clone()).collect()
}

async fn restore(point: &str) {
    let place = Place::new().await;
    let server = place.serve_until(point, &["--workers", "2"]);
    let expected = five_segments(&server, &place).await;
    server.post("/v1/snapshots", &snapshot("s")).await;
    let path = "/v1/snapshots/s/restore";
    let known = if matches!(point, "restore.reserved" | "restore.queued") {
        server.dies_in(Method::POST, path, Some(&target())).await;
        None
    } else {
        // killed so early that the answer may be lost
        let answer = server.call(Method::POST, path, Some(&target())).await;
        server.dies();
        answer.map(|(_, job)| job["job_id"].clone())
    };
    let at_the_kill = place.objects();
    place.pass(60).await;

    let server = place.serve(&[]);
    let jobs = server.items("/v1/restore-jobs").await;
    if point == "restore.reserved" {
        assert_eq!(jobs.len(), 0, "what was not committed is not there");
        restores_whole(&server, &place, &expected).await;
    } else {
        assert_eq!(jobs.len(), 1);
        assert!(known.is_none_or(|id| id == jobs[0]["job_id"]), "{jobs:?}");
        let ended = server.completes(&jobs[0]).await;
        assert_eq!(
            (&ended["done_files"], &ended["total_files"]),
            (&json!(20), &json!(20)),
            "{ended}"
        );
        assert!(
            content::of_collection(&server, &place, "r").await == expected,
            "the restored bytes differ"
        );
        assert_eq!(copied_again(&at_the_kill, &place.objects()), Vec::<String>::new());
    }
    assert!(content::of_collection(&server, &place, "c").await == expected);
    place.ends_empty(&server).await;
}

async fn failing_restore(point: &str) {
    let place = Place::new().await;
    let server = place.serve_until(point, &[]);
    let expected = five_segments(&server, &place).await;
    server.post("/v1/snapshots", &snapshot("s")).await;
    let lost = place.root().join(format!("stats_log/{C}/{}/503/100/503000", C + 1));
    let kept = place.root().join("kept");
    std::fs::rename(&lost, &kept).expect("renamed");
    // the answer may be lost
    let _ = server.call(Method::POST, "/v1/snapshots/s/restore", Some(&target())).await;
    server.dies();

    place.pass(60).await;
    let server = place.serve(&[]);
    let jobs = server.items("/v1/restore-jobs").await;
    let job = server.wait_for(&jobs[0], |job| job["cleanup"] == "done").await;
    assert_eq!(
        (&job["state"], &job["error_code"]),
        (&json!("Failed"), &json!("file_missing")),
        "{job}"
    );
    std::fs::rename(&kept, &lost).expect("renamed");
    restores_whole(&server, &place, &expected).await;
    place.ends_empty(&server).await;
}

async fn cancelled_restore(point: &str) {
    let place = Place::new().await;
    let server = place.serve_until("restore.file_copied#11", &[]);
    let expected = five_segments(&server, &place).await;
    server.post("/v1/snapshots", &snapshot("s")).await;
    let before = place.objects();
    let _ = server.call(Method::POST, "/v1/snapshots/s/restore", Some(&target())).await;
    server.dies();
    assert!(place.objects().len() > before.len(), "something is copied");

    // the worker is dead, its lease runs
    let server = place.serve_until(point, &["--workers", "0"]);
    let job = server.items("/v1/restore-jobs").await.pop().expect("a job");
    let path = format!("/v1/restore-jobs/{}/cancel", job["job_id"].as_str().expect("an id"));
    if point == "restore.cancelled" {
        server.dies_in(Method::POST, &path, None).await;
    } else {
        server.post(&path, &json!({})).await;
        drop(server);
        place.pass(60).await;
        place.dies_by_itself(point);
    }
    let server = place.serve(&[]);
    let job = server
        .get(&format!("/v1/restore-jobs/{}", job["job_id"].as_str().expect("an id")))
        .await;
    assert_eq!(job["state"], "Cancelled", "{job}");
    // free at once, whatever is still to be deleted
    restores_whole(&server, &place, &expected).await;
    server.delete("/v1/collections/r").await;
    place.pass(60).await;
    server.wait_for(&job, |job| job["cleanup"] == "done").await;
    server.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await;
    assert!(
        copied_again(&before, &place.objects()).is_empty(),
        "the sources are as they were"
    );
    let left = place.objects().into_keys().filter(|key| !is_receipt(key)).count();
    assert_eq!(left, before.len(), "nothing of the target is left");
    place.ends_empty(&server).await;
}

async fn collect(point: &str) {
    let place = Place::new().await;
    let server = place.serve_until(point, &[]);
    let expected = five_segments(&server, &place).await;
    server.post("/v1/snapshots", &snapshot("s")).await;
    // a second snapshot shares manifests of the first, and alone needs two dropped segments
    content::add(&server, &place, "c", C, 506..508, 1).await;
    let second = server.post("/v1/snapshots", &snapshot("second")).await;
    for dropped in [501, 506, 507] {
        server.delete(&format!("/v1/collections/c/segments/{dropped}")).await;
    }
    server.delete("/v1/snapshots/second").await;
    // nothing needs this one at all
    content::collection(&server, "d", 200).await;
    content::add(&server, &place, "d", 200, 601..603, 1).await;
    server.delete("/v1/collections/d").await;
    // and an object of the second snapshot that has no row
    let orphan = format!(
        "snapshots/{C}/manifests/{}/999.avro",
        second["snapshot_id"].as_str().expect("an id")
    );
    std::fs::write(place.root().join(&orphan), b"left by a crash").expect("written");
    let everything = json!({"grace_seconds": 0, "orphans": true, "orphan_tolerance_seconds": 0});
    server.dies_in(Method::POST, "/v1/gc/runs", Some(&everything)).await;

    let server = place.serve(&[]);
    server.post("/v1/gc/runs", &everything).await;
    let runs = server.items("/v1/gc/runs").await;
    let states: Vec<&str> = runs.iter().filter_map(|r| r["state"].as_str()).collect();
    assert_eq!(states, ["completed", "failed"]);
    let there = place.objects();
    let gone = |part: &str| !there.keys().any(|key| key.contains(part));
    for part in [
        "/506/",
        "/507/",
        "/200/",
        "/601/",
        "/602/",
        &orphan,
        second["snapshot_id"].as_str().expect("an id"),
    ] {
        assert!(gone(part), "{part}: {there:?}");
    }
    server.delete("/v1/collections/c").await;
    server.post("/v1/gc/runs", &everything).await;
    restores_whole(&server, &place, &expected).await;
    place.ends_empty(&server).await;
}

async fn collect_receipt(point: &str) {
    let place = Place::new().await;
    let server = place.serve_until(point, &[]);
    five_segments(&server, &place).await;
    server.post("/v1/snapshots", &snapshot("s")).await;
    let job = server.post("/v1/snapshots/s/restore", &target()).await;
    server.completes(&job).await;
    server.delete("/v1/snapshots/s").await;
    let body = json!({"grace_seconds": 0});
    server.dies_in(Method::POST, "/v1/gc/runs", Some(&body)).await;
    assert!(!place.objects().keys().any(|key| is_receipt(key)));

    let server = place.serve(&[]);
    server.post("/v1/gc/runs", &body).await;
    let rows: i64 = sqlx::query_scalar("select count(*) from restore_receipts")
        .fetch_one(&place.pool)
        .await
        .expect("counts");
    assert_eq!(rows, 0, "the row goes with the next run");
    place.ends_empty(&server).await;
}

/// The storage of another catalog is taken over by a service that dies as soon as it is its own: orphans of the other one
/// are not deleted by whoever comes next.
async fn take_over(point: &str) {
    let place = Place::new().await;
    std::fs::create_dir_all(place.root()).expect("created");
    let other = json!({"catalog_id": uuid::Uuid::new_v4()});
    std::fs::write(place.root().join("stillframe.json"), other.to_string()).expect("written");
    place.dies_at_start(point, &["--take-over"]);
    let server = place.serve(&[]);
    assert_eq!(server.get("/v1/gc/orphan-deletion").await, json!({"allowed": false}));
}

#[test]
fn every_crash_point_of_the_code_has_a_case() {
    let mut of_code = std::collections::BTreeSet::new();
    let mut directories = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let text = std::fs::read_to_string(&path).expect("readable");
                let called = text.split("crash_point::reached(\"").skip(1);
                of_code.extend(called.filter_map(|rest| rest.split('"').next().map(str::to_string)));
            }
        }
    }
    let others = super::bundles::points().into_iter().chain(super::materialize::points());
    let of_cases = points().into_iter().chain(others).map(str::to_string);
    let of_cases: std::collections::BTreeSet<String> = of_cases.collect();
    assert_eq!(of_code, of_cases);
}
