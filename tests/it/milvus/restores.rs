//! Restores over gRPC.

use serde_json::json;
use stillframe::milvus::proto::common::Status;
use stillframe::milvus::proto::milvus as m;
use stillframe::milvus::proto::milvus::RestoreSnapshotState as State;

use super::snapshots::create;
use crate::materialize::{in_our_own_root, materialize};
use crate::support::TestApp;

fn restore(name: &str, source: &str, target: &str) -> m::RestoreSnapshotRequest {
    m::RestoreSnapshotRequest {
        name: name.into(),
        collection_name: source.into(),
        target_collection_name: target.into(),
        ..Default::default()
    }
}

async fn job(app: &TestApp, job_id: i64) -> m::RestoreSnapshotInfo {
    let found: m::GetRestoreSnapshotStateResponse = app
        .milvus_ok("GetRestoreSnapshotState", m::GetRestoreSnapshotStateRequest { job_id })
        .await;
    found.info.expect("a job")
}

fn list(collection: &str) -> m::ListRestoreSnapshotJobsRequest {
    m::ListRestoreSnapshotJobsRequest {
        collection_name: collection.into(),
        ..Default::default()
    }
}

/// The jobs that are listed, with their targets.
async fn targets(app: &TestApp, collection: &str, dbname: Option<&str>) -> Vec<(i64, String)> {
    let metadata: Vec<_> = dbname.iter().map(|name| ("dbname", *name)).collect();
    let listed: m::ListRestoreSnapshotJobsResponse =
        app.milvus_with("ListRestoreSnapshotJobs", list(collection), &metadata).await;
    let status = listed.status.expect("a status");
    assert_eq!((status.code, status.error_code), (0, 0), "{status:?}");
    listed.jobs.into_iter().map(|j| (j.job_id, j.collection_name)).collect()
}

async fn jobs(app: &TestApp, collection: &str, dbname: Option<&str>) -> Vec<i64> {
    let listed = targets(app, collection, dbname).await;
    listed.into_iter().map(|(id, _)| id).collect()
}

async fn with_snapshot() -> TestApp {
    let app = TestApp::local().await;
    app.small_collection("c", 100).await;
    app.add_segment("c", 100, 500).await;
    app.milvus_ok::<Status>("CreateSnapshot", create("s", "c")).await;
    app
}

#[tokio::test]
async fn a_job_goes_through_milvus_states() {
    let app = with_snapshot().await;
    let started: m::RestoreSnapshotResponse = app.milvus_ok("RestoreSnapshot", restore("s", "c", "r")).await;
    let id = started.job_id;
    let pending = job(&app, id).await;
    assert_eq!((pending.state(), pending.progress), (State::RestoreSnapshotPending, 0));
    assert_eq!(
        (
            pending.snapshot_name.as_str(),
            pending.db_name.as_str(),
            pending.collection_name.as_str()
        ),
        ("s", "default", "r")
    );
    // milliseconds since 1970, of this century
    assert!(
        (1_600_000_000_000..4_000_000_000_000).contains(&pending.start_time),
        "{pending:?}"
    );

    app.post(&format!("/v1/restore-jobs/{id}/pause"), &json!({})).await.ok();
    assert_eq!(job(&app, id).await.state(), State::RestoreSnapshotExecuting, "paused");
    app.post(&format!("/v1/restore-jobs/{id}/resume"), &json!({})).await.ok();
    crate::support::jobs::run_next(&app, 1).await;
    assert_eq!(job(&app, id).await.state(), State::RestoreSnapshotExecuting, "copying");
    app.drain().await;
    let done = job(&app, id).await;
    assert_eq!(
        (done.state(), done.progress, done.reason.as_str()),
        (State::RestoreSnapshotCompleted, 100, "")
    );
    assert_eq!(
        app.get(&format!("/v1/restore-jobs/{id}")).await.ok().json["state"],
        "Completed"
    );
    app.get("/v1/collections/r").await.ok();

    let other: m::RestoreSnapshotResponse = app.milvus_ok("RestoreSnapshot", restore("s", "c", "r2")).await;
    app.post(&format!("/v1/restore-jobs/{}/cancel", other.job_id), &json!({}))
        .await
        .ok();
    let cancelled = job(&app, other.job_id).await;
    assert_eq!(cancelled.state(), State::RestoreSnapshotFailed);
    assert!(cancelled.reason.contains("cancelled"), "{cancelled:?}");
}

#[tokio::test]
async fn the_older_form_names_only_the_target() {
    let app = with_snapshot().await;
    let started: m::RestoreSnapshotResponse = app
        .milvus_ok("RestoreSnapshot", restore("s", "restored_collection", ""))
        .await;
    app.drain().await;
    let done = job(&app, started.job_id).await;
    assert_eq!(
        (done.state(), done.collection_name.as_str()),
        (State::RestoreSnapshotCompleted, "restored_collection")
    );
    // and only where the snapshot's name is enough
    app.milvus_ok::<Status>("CreateSnapshot", create("s", "restored_collection"))
        .await;
    let text = app
        .milvus_refused::<m::RestoreSnapshotResponse>("RestoreSnapshot", restore("s", "another", ""), 1101)
        .await;
    assert!(text.starts_with("collection_name is required for restore snapshot"), "{text}");
    let text = app
        .milvus_refused::<m::RestoreSnapshotResponse>("RestoreSnapshot", restore("s", "", ""), 1101)
        .await;
    assert_eq!(text, "target_collection_name is required for restore snapshot");
}

#[tokio::test]
async fn jobs_are_listed_by_target_and_database() {
    let app = with_snapshot().await;
    app.milvus_ok::<Status>(
        "CreateDatabase",
        m::CreateDatabaseRequest {
            db_name: "other".into(),
            ..Default::default()
        },
    )
    .await;
    let mut ids = Vec::new();
    for (db, target) in [("", "r1"), ("", "r2"), ("other", "r1")] {
        let request = m::RestoreSnapshotRequest {
            target_db_name: db.into(),
            ..restore("s", "c", target)
        };
        let started: m::RestoreSnapshotResponse = app.milvus_ok("RestoreSnapshot", request).await;
        ids.push(started.job_id);
    }
    app.drain().await;
    assert_eq!(job(&app, ids[2]).await.db_name, "other");
    assert_eq!(
        jobs(&app, "", None).await,
        [ids[2], ids[1], ids[0]],
        "all of them, newest first"
    );
    assert_eq!(
        jobs(&app, "r1", None).await,
        [ids[0]],
        "of the default database, as in Milvus"
    );
    assert_eq!(jobs(&app, "r1", Some("other")).await, [ids[2]]);
    assert_eq!(jobs(&app, "", Some("default")).await, [ids[1], ids[0]]);
    for unknown in ["never", "r3"] {
        let said = app
            .milvus_refused::<m::ListRestoreSnapshotJobsResponse>("ListRestoreSnapshotJobs", list(unknown), 100)
            .await;
        assert!(said.starts_with("collection not found"), "{said}");
    }
    // a collection that no restore made has none
    assert_eq!(jobs(&app, "c", None).await, Vec::<i64>::new());
}

#[tokio::test]
async fn a_collection_that_is_made_our_own_is_no_job_of_milvus() {
    let app = TestApp::local().await;
    in_our_own_root(&app).await;
    materialize(&app, "c").await;
    assert_eq!(jobs(&app, "", None).await, Vec::<i64>::new());
    assert_eq!(jobs(&app, "c", None).await, Vec::<i64>::new());
    let started: m::RestoreSnapshotResponse = app.milvus_ok("RestoreSnapshot", restore("s", "c", "r")).await;
    assert_eq!(jobs(&app, "", None).await, [started.job_id]);
    // and its target is one that never was a restore's
    app.delete("/v1/collections/c").await.expect(204);
    app.milvus_refused::<m::ListRestoreSnapshotJobsResponse>("ListRestoreSnapshotJobs", list("c"), 100)
        .await;
}

#[tokio::test]
async fn the_jobs_of_a_target_are_found_by_its_alias_and_its_present_name() {
    let app = with_snapshot().await;
    let started: m::RestoreSnapshotResponse = app.milvus_ok("RestoreSnapshot", restore("s", "c", "r")).await;
    let id = started.job_id;
    assert_eq!(
        targets(&app, "r", None).await,
        [(id, "r".into())],
        "also while the target is not there yet"
    );
    app.drain().await;
    app.post("/v1/aliases", &json!({"alias": "live", "collection_name": "r"}))
        .await
        .created();
    app.patch("/v1/collections/r", &json!({"name": "renamed"})).await.ok();
    for name in ["live", "renamed", ""] {
        assert_eq!(targets(&app, name, None).await, [(id, "renamed".into())], "{name:?}");
    }
    assert_eq!(job(&app, id).await.collection_name, "renamed");
    app.milvus_refused::<m::ListRestoreSnapshotJobsResponse>("ListRestoreSnapshotJobs", list("r"), 100)
        .await;

    app.delete("/v1/collections/renamed").await.expect(204);
    assert_eq!(
        targets(&app, "renamed", None).await,
        [(id, "renamed".into())],
        "by its last name"
    );

    // another target of the old name has its own jobs, and a failed one is found by the name that it had
    let other: m::RestoreSnapshotResponse = app.milvus_ok("RestoreSnapshot", restore("s", "c", "r")).await;
    assert_eq!(jobs(&app, "r", None).await, [other.job_id]);
    app.post(&format!("/v1/restore-jobs/{}/cancel", other.job_id), &json!({}))
        .await
        .ok();
    assert_eq!(jobs(&app, "r", None).await, [other.job_id]);
}

#[tokio::test]
async fn what_can_not_be_restored_is_refused_in_milvus_words() {
    let app = with_snapshot().await;
    for (request, code, text) in [
        (restore("s", "c", "c"), 65_535, "duplicate collection"),
        (restore("never", "c", "r"), 1100, "snapshot not found[snapshot=never]"),
        (restore("", "c", "r"), 1100, "snapshot name should be not empty"),
        (restore("s", "c", "1r"), 1100, "the first character of collection name"),
        (
            m::RestoreSnapshotRequest {
                target_db_name: "nowhere".into(),
                ..restore("s", "c", "r")
            },
            800,
            "nowhere",
        ),
    ] {
        let said = app
            .milvus_refused::<m::RestoreSnapshotResponse>("RestoreSnapshot", request, code)
            .await;
        assert!(said.contains(text), "{said}");
    }
    let said = app
        .milvus_refused::<m::RestoreSnapshotResponse>("RestoreSnapshot", restore("s", "c", "c"), 65_535)
        .await;
    assert!(said.contains("already exists"), "the guide's words: {said}");
    let said = app
        .milvus_refused::<m::GetRestoreSnapshotStateResponse>(
            "GetRestoreSnapshotState",
            m::GetRestoreSnapshotStateRequest { job_id: 12_345 },
            2100,
        )
        .await;
    assert_eq!(said, "restore job not found: jobID=12345");
    // a snapshot that is being restored stays
    app.milvus_ok::<m::RestoreSnapshotResponse>("RestoreSnapshot", restore("s", "c", "r"))
        .await;
    let said = app
        .milvus_refused::<Status>("DropSnapshot", super::snapshots::drop_("s", "c"), 5)
        .await;
    assert!(said.contains("is restoring"), "{said}");
}
