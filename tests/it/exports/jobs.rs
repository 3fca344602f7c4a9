//! Export jobs: they are paused, cancelled, listed, and keep their snapshot; failed ones name files and
//! leave nothing.

use std::time::Duration;

use serde_json::json;
use stillframe::domain::restore::TaskKind;
use stillframe::service::{CopyProgress, Outcome, Service};
use uuid::Uuid;

use super::round_trip::with_snapshot;
use super::{beside, contents, export, export_job, exported, restore};
use crate::support::TestApp;
use crate::support::fixture::{self, COLLECTION};

async fn small() -> (tempfile::TempDir, TestApp) {
    let shared = tempfile::tempdir().expect("a directory");
    let app = beside(shared.path()).await;
    app.small_collection("c", 100).await;
    for segment in 500..504 {
        app.add_segment("c", 100, segment).await;
    }
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
    (shared, app)
}

/// Runs so many tasks, one by one.
async fn run(app: &TestApp, tasks: usize) {
    for _ in 0..tasks {
        let task = app
            .service
            .claim_tasks(Uuid::new_v4(), 1)
            .await
            .expect("claims")
            .pop()
            .expect("due");
        app.service.run_task(&task, &CopyProgress::default()).await.expect("runs");
    }
}

/// Files below a directory.
fn count(directory: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|e| if e.path().is_dir() { count(&e.path()) } else { 1 })
        .sum()
}

fn to_shared() -> serde_json::Value {
    json!({"target_path": "x", "store": "shared"})
}

#[tokio::test]
async fn a_snapshot_is_neither_dropped_nor_collected_while_it_is_exported() {
    let (_shared, app) = small().await;
    let id = export(&app, "s", to_shared()).await;
    let refusal = app.delete("/v1/snapshots/s").await.refused(409, "snapshot_being_exported");
    assert!(refusal.text.contains(&id), "{}", refusal.text);
    run(&app, 3).await;
    app.delete("/v1/snapshots/s").await.refused(409, "snapshot_being_exported");
    app.delete("/v1/collections/c?cascade=true")
        .await
        .refused(409, "snapshot_being_exported");
    app.delete("/v1/collections/c").await.expect(204);
    app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created();
    app.drain().await;
    assert_eq!(export_job(&app, &id).await["state"], "Completed");
    app.delete("/v1/snapshots/s").await.expect(204);
}

#[tokio::test]
async fn an_export_that_waits_for_its_store_says_since_when_and_for_what() {
    let (shared, app) = small().await;
    let id = export(&app, "s", to_shared()).await;
    run(&app, 1).await;
    // nothing can be written below it, as where a store does not answer
    let in_the_way = shared.path().join("x");
    assert!(!in_the_way.exists());
    std::fs::write(&in_the_way, b"in the way").expect("written");
    run(&app, 1).await;
    let waiting = export_job(&app, &id).await;
    assert_eq!(waiting["state"], "InProgress", "{waiting}");
    assert!(waiting["waiting_since"].is_string(), "{waiting}");
    let why = waiting["waiting_for"].as_str().expect("it says why");
    assert!(why.contains("writing x/exports/"), "{waiting}");
    std::fs::remove_file(&in_the_way).expect("removed");
    app.set_clock(Duration::from_secs(61)).await;
    app.drain().await;
    let ended = export_job(&app, &id).await;
    assert_eq!(ended["state"], "Completed", "{ended}");
    assert!(
        ended.get("waiting_since").is_none() && ended.get("waiting_for").is_none(),
        "{ended}"
    );
}

#[tokio::test]
async fn a_cancelled_export_leaves_nothing_and_touches_nothing_else() {
    let (shared, app) = small().await;
    let kept = exported(&app, "s", to_shared()).await;
    let before = count(shared.path());
    let id = export(&app, "s", to_shared()).await;
    run(&app, 3).await;
    assert!(count(shared.path()) > before, "something is copied");
    let cancelled = app.post(&format!("/v1/export-jobs/{id}/cancel"), &json!({})).await.ok().json;
    assert_eq!(
        (&cancelled["state"], &cancelled["cleanup"]),
        (&json!("Cancelled"), &json!("pending"))
    );
    app.post(&format!("/v1/export-jobs/{id}/cancel"), &json!({}))
        .await
        .refused(409, "export_job_ended");
    // the snapshot is free at once
    app.set_clock(Duration::from_secs(120)).await;
    app.drain().await;
    assert_eq!(export_job(&app, &id).await["cleanup"], "done");
    assert_eq!(count(shared.path()), before);
    super::restored(&app, json!({"snapshot_metadata_uri": kept, "collection_name": "back"})).await;
    app.delete("/v1/snapshots/s").await.expect(204);
}

#[tokio::test]
async fn an_export_is_paused_changed_and_goes_on() {
    let (_shared, app) = small().await;
    let id = export(&app, "s", to_shared()).await;
    run(&app, 2).await;
    let path = format!("/v1/export-jobs/{id}");
    let paused = app.post(&format!("{path}/pause"), &json!({})).await.ok().json;
    assert_eq!(
        (&paused["state"], &paused["resume_state"]),
        (&json!("Paused"), &json!("InProgress"))
    );
    assert_eq!(app.drain().await, 0);
    let changed = app.patch(&path, &json!({"priority": 3})).await.ok().json;
    assert_eq!(changed["priority"], 3);
    app.post(&format!("{path}/resume"), &json!({})).await.ok();
    app.drain().await;
    let job = export_job(&app, &id).await;
    assert_eq!(
        (&job["state"], &job["done_segments"], &job["done_files"]),
        (&json!("Completed"), &json!(4), &json!(16)),
        "{job}"
    );
    let tasks = app.get(&format!("{path}/tasks")).await.ok().json;
    assert_eq!(tasks["items"].as_array().expect("items").len(), 6);
}

#[tokio::test]
async fn exports_and_restores_are_told_apart() {
    let (_shared, app) = small().await;
    let id = export(&app, "s", to_shared()).await;
    assert_eq!(app.get("/v1/restore-jobs").await.ok().json["items"], json!([]));
    for path in ["", "/tasks", "/receipt", "/events"] {
        app.get(&format!("/v1/restore-jobs/{id}{path}"))
            .await
            .refused(404, "restore_job_not_found");
    }
    for action in ["cancel", "pause", "resume"] {
        app.post(&format!("/v1/restore-jobs/{id}/{action}"), &json!({}))
            .await
            .refused(404, "restore_job_not_found");
    }
    app.drain().await;
    let uri = export_job(&app, &id).await["snapshot_metadata_uri"].clone();
    let other = restore(&app, json!({"snapshot_metadata_uri": uri, "collection_name": "back"})).await;
    app.get(&format!("/v1/export-jobs/{other}"))
        .await
        .refused(404, "export_job_not_found");
    app.post(&format!("/v1/export-jobs/{other}/cancel"), &json!({}))
        .await
        .refused(404, "export_job_not_found");
    app.get("/v1/export-jobs/1").await.refused(404, "export_job_not_found");
    let list = |query: &str| format!("/v1/export-jobs?{query}");
    for (query, found) in [
        ("", 1),
        ("state=Completed&snapshot_name=s&collection_name=c&db_name=default", 1),
        ("state=Failed", 0),
        ("snapshot_name=t", 0),
        ("collection_name=d", 0),
    ] {
        let items = app.get(&list(query)).await.ok().json["items"]
            .as_array()
            .expect("items")
            .len();
        assert_eq!(items, found, "{query}");
    }
    let restores = app.get("/v1/restore-jobs").await.ok().json;
    assert_eq!(restores["items"][0]["kind"], "external");
}

#[tokio::test]
async fn a_missing_source_is_named_before_anything_is_copied() {
    let shared = tempfile::tempdir().expect("a directory");
    let app = beside(shared.path()).await;
    with_snapshot(&app).await;
    let (lost, _) = fixture::files()
        .into_iter()
        .find(|(p, _)| p.starts_with("stats_log/"))
        .expect("one");
    std::fs::remove_file(app.directory.path().join(&lost)).expect("removed");
    let id = export(&app, "s", to_shared()).await;
    app.drain().await;
    let job = export_job(&app, &id).await;
    assert_eq!(
        (&job["state"], &job["error_code"]),
        (&json!("Failed"), &json!("file_missing")),
        "{job}"
    );
    assert!(job["reason"].as_str().expect("a reason").contains(&lost), "{job}");
    assert!(job.get("snapshot_metadata_uri").is_none(), "of a completed one only");
    assert_eq!(count(shared.path()), 0);
}

#[tokio::test]
async fn a_source_that_goes_while_it_is_copied_fails_the_export_which_cleans_up() {
    let (shared, app) = small().await;
    let id = export(&app, "s", to_shared()).await;
    run(&app, 2).await;
    for segment in 500..504 {
        let _ = std::fs::remove_file(
            app.directory
                .path()
                .join(format!("stats_log/100/101/{segment}/100/{}", segment * 10 + 100)),
        );
    }
    app.drain().await;
    let job = export_job(&app, &id).await;
    assert_eq!(
        (&job["state"], &job["error_code"]),
        (&json!("Failed"), &json!("file_missing")),
        "{job}"
    );
    assert!(
        job["reason"].as_str().expect("a reason").contains("stats_log/100/101/50"),
        "{job}"
    );
    app.set_clock(Duration::from_secs(120)).await;
    app.drain().await;
    assert_eq!(export_job(&app, &id).await["cleanup"], "done");
    assert_eq!(count(shared.path()), 0);
    app.delete("/v1/snapshots/s").await.expect(204);
}

#[tokio::test]
async fn a_cancelled_restore_of_a_bundle_leaves_nothing_here_and_the_bundle_whole() {
    let (shared, app) = small().await;
    let uri = exported(&app, "s", to_shared()).await;
    let (there, here) = (count(shared.path()), app.keys("insert_log/").await);
    let id = restore(&app, json!({"snapshot_metadata_uri": uri, "collection_name": "back"})).await;
    run(&app, 3).await;
    assert!(app.keys("insert_log/").await.len() > here.len(), "something is copied");
    app.post(&format!("/v1/restore-jobs/{id}/cancel"), &json!({})).await.ok();
    app.set_clock(Duration::from_secs(120)).await;
    app.drain().await;
    let job = app.get(&format!("/v1/restore-jobs/{id}")).await.ok().json;
    assert_eq!((&job["state"], &job["cleanup"]), (&json!("Cancelled"), &json!("done")));
    assert_eq!((count(shared.path()), app.keys("insert_log/").await), (there, here));
    app.get("/v1/collections/back").await.refused(404, "collection_not_found");
    let left: i64 = sqlx::query_scalar("select count(*) from job_sources")
        .fetch_one(&app.pool)
        .await
        .expect("counts");
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_bundle_that_was_copied_is_published_although_nobody_knows_its_store_any_more() {
    let (shared, app) = small().await;
    let uri = exported(&app, "s", to_shared()).await;
    let id = restore(&app, json!({"snapshot_metadata_uri": uri, "collection_name": "back"})).await;
    run(&app, 5).await;
    std::fs::remove_dir_all(shared.path().join("x")).expect("the bundle goes");
    // another process, after so long that the copies are looked at again
    app.set_clock(Duration::from_secs(601)).await;
    let other = Service::new(app.pool.clone(), app.objects.clone(), app.service.settings().clone());
    let task = other
        .claim_tasks(Uuid::new_v4(), 1)
        .await
        .expect("claims")
        .pop()
        .expect("due");
    assert_eq!(task.kind, TaskKind::Publish);
    let outcome = other.run_task(&task, &CopyProgress::default()).await.expect("runs");
    assert_eq!(outcome, Outcome::Done);
    let job = app.get(&format!("/v1/restore-jobs/{id}")).await.ok().json;
    assert_eq!(job["state"], "Completed", "{job}");
    assert_eq!(contents(&app, "back").await, contents(&app, "c").await);
}

#[tokio::test]
async fn a_snapshot_that_is_not_there_is_not_exported() {
    let (_shared, app) = small().await;
    app.post("/v1/snapshots/t/export", &to_shared())
        .await
        .refused(404, "snapshot_not_found");
    let unknown = json!({"target_path": "x", "store": "nowhere"});
    let refusal = app
        .post("/v1/snapshots/s/export", &unknown)
        .await
        .refused(422, "invalid_request");
    assert_eq!(refusal.pointers(), ["/store"]);
    let long = json!({"target_path": "x".repeat(501), "store": "shared"});
    app.post("/v1/snapshots/s/export", &long)
        .await
        .refused(422, "invalid_request");
    app.delete(&format!("/v1/collections/{COLLECTION}"))
        .await
        .refused(404, "collection_not_found");
}
