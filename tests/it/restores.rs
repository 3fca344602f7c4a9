//! Restore jobs: failures, cancelling, leases.

use std::time::Duration;

use serde_json::{Value, json};
use stillframe::domain::restore::{Beat, Progress, TaskKind};
use stillframe::jobs::{Worker, WorkerSettings};
use stillframe::service::{CopyProgress, Outcome, ServiceSettings};
use stillframe::store;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::TestApp;
use crate::support::app::quick;

const C: i64 = 100;

async fn snapshot(app: &TestApp, segments: i64) {
    app.small_collection("c", C).await;
    for segment in 0..segments {
        app.add_segment("c", C, 500 + segment).await;
    }
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
}

async fn start(app: &TestApp, target: &str) -> String {
    let job = app
        .post("/v1/snapshots/s/restore", &json!({"collection_name": target}))
        .await
        .expect(202)
        .json;
    job["job_id"].as_str().expect("id").to_string()
}

async fn job(app: &TestApp, id: &str) -> Value {
    app.get(&format!("/v1/restore-jobs/{id}")).await.ok().json
}

/// Nothing is left of an unsuccessful restore: no collection, no object, and the name is free.
async fn nothing_left(app: &TestApp, target: &str, keys_before: &[String]) {
    app.get(&format!("/v1/collections/{target}"))
        .await
        .refused(404, "collection_not_found");
    assert_eq!(all_keys(app).await, keys_before);
    let rows: i64 = sqlx::query_scalar("select count(*) from collections where name = $1")
        .bind(target)
        .fetch_one(&app.pool)
        .await
        .expect("counts");
    assert_eq!(rows, 0);
}

async fn all_keys(app: &TestApp) -> Vec<String> {
    let mut keys = Vec::new();
    for directory in ["insert_log/", "stats_log/", "delta_log/", "index_files/", "snapshots/"] {
        keys.extend(app.keys(directory).await);
    }
    keys
}

#[tokio::test]
async fn a_missing_source_is_found_before_anything_is_copied_and_named() {
    let app = TestApp::local().await;
    snapshot(&app, 2).await;
    let lost = "stats_log/100/101/501/100/5110";
    assert!(app.objects.delete(vec![lost.into()]).await.is_empty());
    let before = all_keys(&app).await;
    let id = start(&app, "r").await;
    app.drain().await;
    let failed = job(&app, &id).await;
    assert_eq!(
        (&failed["state"], &failed["error_code"]),
        (&json!("Failed"), &json!("file_missing")),
        "{failed}"
    );
    assert!(failed["reason"].as_str().expect("text").contains(lost), "{failed}");
    app.set_clock(Duration::from_secs(60)).await;
    app.drain().await;
    assert_eq!(job(&app, &id).await["cleanup"], "done");
    nothing_left(&app, "r", &before).await;
}

#[tokio::test]
async fn a_source_of_another_size_fails_the_job_and_is_named() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let changed = "index_files/500000/1/101/500/IVF";
    app.objects.put(changed, b"shorter".to_vec()).await.expect("written");
    let id = start(&app, "r").await;
    app.drain().await;
    let failed = job(&app, &id).await;
    assert_eq!(
        (&failed["state"], &failed["error_code"]),
        (&json!("Failed"), &json!("file_size_mismatch"))
    );
    assert!(failed["reason"].as_str().expect("text").contains(changed), "{failed}");
    // the name is free at once
    app.objects
        .put(changed, format!("content of {changed}").into_bytes())
        .await
        .expect("written");
    let again = start(&app, "r").await;
    app.drain().await;
    assert_eq!(job(&app, &again).await["state"], "Completed");
}

#[tokio::test]
async fn a_source_lost_between_the_check_and_its_copy_fails_the_job_and_leaves_nothing() {
    let app = TestApp::local().await;
    snapshot(&app, 3).await;
    let id = start(&app, "r").await;
    // only the check
    let worker = Uuid::new_v4();
    let task = app.service.claim_tasks(worker, 1).await.expect("claims").pop().expect("due");
    assert_eq!(task.kind, TaskKind::Validate);
    app.service.run_task(&task, &CopyProgress::default()).await.expect("runs");
    let lost = "insert_log/100/101/502/101/5121";
    assert!(app.objects.delete(vec![lost.into()]).await.is_empty());
    let before = all_keys(&app).await;
    app.drain().await;
    let failed = job(&app, &id).await;
    assert_eq!(
        (&failed["state"], &failed["error_code"]),
        (&json!("Failed"), &json!("file_missing")),
        "{failed}"
    );
    assert!(failed["reason"].as_str().expect("text").contains(lost), "{failed}");
    app.set_clock(Duration::from_secs(60)).await;
    app.drain().await;
    assert_eq!(job(&app, &id).await["cleanup"], "done");
    nothing_left(&app, "r", &before).await;
}

#[tokio::test]
async fn a_cancelled_job_frees_the_name_at_once_and_its_objects_when_nobody_can_write() {
    let app = TestApp::local().await;
    snapshot(&app, 3).await;
    let before = all_keys(&app).await;
    let id = start(&app, "r").await;
    let worker = Uuid::new_v4();
    for _ in 0..2 {
        let task = app.service.claim_tasks(worker, 1).await.expect("claims").pop().expect("due");
        app.service.run_task(&task, &CopyProgress::default()).await.expect("runs");
    }
    // one more is being worked on
    let running = app.service.claim_tasks(worker, 1).await.expect("claims").pop().expect("due");
    assert!(all_keys(&app).await.len() > before.len(), "something is copied");
    let cancelled = app.post(&format!("/v1/restore-jobs/{id}/cancel"), &json!({})).await.ok().json;
    assert_eq!(
        (&cancelled["state"], &cancelled["cleanup"]),
        (&json!("Cancelled"), &json!("pending"))
    );
    app.post(&format!("/v1/restore-jobs/{id}/cancel"), &json!({}))
        .await
        .refused(409, "restore_job_ended");
    assert_eq!(
        app.service
            .heartbeat(&running, &CopyProgress::default())
            .await
            .expect("beats"),
        Beat::Stop
    );
    // the worker that had it may still write until its lease ends: nothing is deleted yet
    assert_eq!(app.drain().await, 0);
    assert_eq!(
        app.service.run_task(&running, &CopyProgress::default()).await.expect("runs"),
        Outcome::Lost
    );
    app.set_clock(Duration::from_secs(60)).await;
    assert_eq!(app.drain().await, 1);
    assert_eq!(job(&app, &id).await["cleanup"], "done");
    nothing_left(&app, "r", &before).await;
    app.delete("/v1/snapshots/s").await.expect(204);
}

#[tokio::test]
async fn a_snapshot_that_is_being_restored_is_not_dropped() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let id = start(&app, "r").await;
    app.delete("/v1/snapshots/s").await.refused(409, "snapshot_being_restored");
    app.delete("/v1/collections/c?cascade=true")
        .await
        .refused(409, "snapshot_being_restored");
    app.get("/v1/collections/c").await.ok();
    app.drain().await;
    app.delete("/v1/snapshots/s").await.expect(204);
    app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created();
    let ended = job(&app, &id).await;
    assert_eq!(ended["snapshot_name"], "s", "the history outlives the snapshot");
    assert!(ended.get("snapshot_id").is_none());
}

#[tokio::test]
async fn an_expired_lease_is_taken_over_and_the_late_worker_changes_nothing() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let id = start(&app, "r").await;
    let (slow, quick) = (Uuid::new_v4(), Uuid::new_v4());
    let task = app.service.claim_tasks(slow, 1).await.expect("claims").pop().expect("due");
    app.service.run_task(&task, &CopyProgress::default()).await.expect("runs");
    let copy = app.service.claim_tasks(slow, 1).await.expect("claims").pop().expect("due");
    assert!(
        app.service.claim_tasks(quick, 5).await.expect("claims").is_empty(),
        "it is leased"
    );
    let three = Progress {
        files: 3,
        ..Progress::default()
    };
    store::tasks::heartbeat(&mut app.pool.acquire().await.expect("a connection"), &copy, three, 30_000)
        .await
        .expect("beats");
    app.set_clock(Duration::from_secs(31)).await;
    let taken = app
        .service
        .claim_tasks(quick, 5)
        .await
        .expect("claims")
        .pop()
        .expect("taken over");
    assert_eq!((taken.task_id, taken.attempt), (copy.task_id, copy.attempt + 1));
    assert_eq!(
        (copy.taken_from, taken.taken_from),
        (None, Some(slow)),
        "the log names who is gone"
    );
    let progress = async || {
        let mut conn = app.pool.acquire().await.expect("a connection");
        let one = Progress {
            files: 1,
            ..Progress::default()
        };
        store::tasks::heartbeat(&mut conn, &taken, one, 30_000).await.expect("beats");
        job(&app, &id).await["done_files"].clone()
    };
    assert_eq!(progress().await, 3, "a successor that begins to count has no fewer files");
    assert_eq!(
        app.service.heartbeat(&copy, &CopyProgress::default()).await.expect("beats"),
        Beat::Stop
    );
    assert_eq!(
        app.service.run_task(&copy, &CopyProgress::default()).await.expect("runs"),
        Outcome::Lost
    );
    app.service.hand_back(&copy).await.expect("harmless");
    assert_eq!(job(&app, &id).await["state"], "InProgress");
    assert_eq!(
        app.service.run_task(&taken, &CopyProgress::default()).await.expect("runs"),
        Outcome::Done
    );
    app.drain().await;
    assert_eq!(job(&app, &id).await["state"], "Completed");
}

#[tokio::test]
async fn a_later_attempt_copies_only_what_is_not_there() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let id = start(&app, "r").await;
    let worker = Uuid::new_v4();
    let task = app.service.claim_tasks(worker, 1).await.expect("claims").pop().expect("due");
    app.service.run_task(&task, &CopyProgress::default()).await.expect("runs");
    let tasks = app.get(&format!("/v1/restore-jobs/{id}/tasks")).await.ok().json;
    let copy = tasks["items"]
        .as_array()
        .expect("list")
        .iter()
        .find(|t| t["kind"] == "copy")
        .expect("one")
        .clone();
    let target = copy["target_segment_id"].as_str().expect("id").to_string();
    // what a first attempt left when it was killed: one file whole, one cut short
    let first = app.service.claim_tasks(worker, 1).await.expect("claims").pop().expect("due");
    let collection = job(&app, &id).await["collection_id"].as_str().expect("id").to_string();
    let partition: i64 = sqlx::query_scalar("select partition_id from segments where segment_id = $1")
        .bind(target.parse::<i64>().expect("a number"))
        .fetch_one(&app.pool)
        .await
        .expect("one");
    let source = b"content of insert_log/100/101/500/100/5100";
    let marked: Vec<u8> = vec![b'x'; source.len()];
    app.objects
        .put(
            &format!("insert_log/{collection}/{partition}/{target}/100/5100"),
            marked.clone(),
        )
        .await
        .expect("written");
    app.objects
        .put(
            &format!("insert_log/{collection}/{partition}/{target}/101/5101"),
            b"cut".to_vec(),
        )
        .await
        .expect("written");
    app.set_clock(Duration::from_secs(31)).await;
    let second = app.service.claim_tasks(worker, 1).await.expect("claims").pop().expect("due");
    assert_eq!(second.task_id, first.task_id);
    app.service.run_task(&second, &CopyProgress::default()).await.expect("runs");
    let read = async |field: &str, log: &str| {
        app.objects
            .get(&format!("insert_log/{collection}/{partition}/{target}/{field}/{log}"), 1000)
            .await
            .expect("read")
            .expect("there")
    };
    assert_eq!(read("100", "5100").await, marked, "not copied again");
    assert_eq!(
        read("101", "5101").await,
        b"content of insert_log/100/101/500/101/5101",
        "copied again"
    );
}

#[tokio::test]
async fn a_task_that_is_handed_back_is_not_charged() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    start(&app, "r").await;
    let worker = Uuid::new_v4();
    for _ in 0..5 {
        let task = app
            .service
            .claim_tasks(worker, 1)
            .await
            .expect("claims")
            .pop()
            .expect("due at once");
        assert_eq!(task.failures, 0);
        app.service.hand_back(&task).await.expect("handed back");
    }
}

#[tokio::test]
async fn a_restore_keeps_properties_consistency_level_and_mmap_unless_told_otherwise() {
    let app = TestApp::local().await;
    let properties = json!({"collection.ttl.seconds": "3600", "mmap.enabled": "true", "own": "x"});
    let collection = json!({"name": "c", "collection_id": C.to_string(), "consistency_level": "Eventually", "properties": properties,
        "fields": [{"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true, "type_params": {"mmap.enabled": "false"}}],
        "channels": [{"channel_name": "ch_100", "seek_position": {"timestamp": "1000"}}]});
    app.post("/v1/collections", &collection).await.created();
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
    // of the time of the snapshot, not of now
    app.patch(
        "/v1/collections/c",
        &json!({"properties": {"own": null, "mmap.enabled": "false"}}),
    )
    .await
    .ok();
    for (target, change, expected) in [
        ("r", json!({}), properties.clone()),
        (
            "r2",
            json!({"own": null, "collection.ttl.seconds": "7200"}),
            json!({"collection.ttl.seconds": "7200", "mmap.enabled": "true"}),
        ),
    ] {
        let body = json!({"collection_name": target, "properties": change});
        app.post("/v1/snapshots/s/restore", &body).await.expect(202);
        app.drain().await;
        let restored = app.get(&format!("/v1/collections/{target}")).await.ok().json;
        assert_eq!(restored["properties"], expected);
        assert_eq!(restored["consistency_level"], "Eventually");
        assert_eq!(restored["fields"][0]["type_params"], json!({"mmap.enabled": "false"}));
    }
}

#[tokio::test]
async fn a_restore_can_choose_partitions_and_properties() {
    let app = TestApp::local().await;
    app.load_fixture().await;
    app.patch(
        "/v1/collections/feas",
        &json!({"properties": {"collection.ttl.seconds": "3600", "mmap.enabled": "true"}}),
    )
    .await
    .ok();
    let l0 = json!({"segment_id": "7", "partition_id": "-1", "level": "L0", "channel_name": "by-dev-rootcoord-dml_0_470644622231601173v0", "num_of_rows": 0,
        "deltalogs": [{"field_id": "0", "logs": [{"log_id": "1", "path": "delta_log/470644622231601173/-1/7/1", "size_bytes": 3}]}]});
    app.objects
        .put("delta_log/470644622231601173/-1/7/1", b"del".to_vec())
        .await
        .expect("written");
    app.post("/v1/collections/feas/segments", &l0).await.created();
    app.post("/v1/snapshots", &json!({"collection_name": "feas", "snapshot_name": "s"}))
        .await
        .created();
    let body = json!({"collection_name": "r", "partitions": ["p2"], "properties": {"collection.ttl.seconds": null, "x": "y"}});
    let id = app.post("/v1/snapshots/s/restore", &body).await.expect(202).json["job_id"]
        .as_str()
        .expect("id")
        .to_string();
    app.drain().await;
    assert_eq!(job(&app, &id).await["state"], "Completed");
    let restored = app.get("/v1/collections/r").await.ok().json;
    assert_eq!(restored["num_of_rows"], 1000);
    assert_eq!(restored["properties"], json!({"mmap.enabled": "true", "x": "y"}));
    let segments = app.get("/v1/collections/r/segments").await.ok().json;
    let levels: Vec<&str> = segments["items"]
        .as_array()
        .expect("list")
        .iter()
        .map(|s| s["level"].as_str().expect("text"))
        .collect();
    assert_eq!(
        levels.iter().filter(|l| **l == "L0").count(),
        1,
        "deletes for every partition come along"
    );
    assert_eq!(levels.len(), 3);
    let l0 = segments["items"]
        .as_array()
        .expect("list")
        .iter()
        .find(|s| s["level"] == "L0")
        .expect("one");
    assert_eq!(l0["partition_id"], "-1");
}

#[tokio::test]
async fn two_jobs_share_the_worker() {
    let app = TestApp::local().await;
    snapshot(&app, 5).await;
    let (first, second) = (start(&app, "r1").await, start(&app, "r2").await);
    let worker = Uuid::new_v4();
    for _ in 0..2 {
        let task = app.service.claim_tasks(worker, 1).await.expect("claims").pop().expect("due");
        assert_eq!(task.kind, TaskKind::Validate);
        app.service.run_task(&task, &CopyProgress::default()).await.expect("runs");
    }
    for _ in 0..4 {
        let task = app.service.claim_tasks(worker, 1).await.expect("claims").pop().expect("due");
        app.service.run_task(&task, &CopyProgress::default()).await.expect("runs");
    }
    let done = [
        job(&app, &first).await["done_segments"].clone(),
        job(&app, &second).await["done_segments"].clone(),
    ];
    assert_eq!(done, [json!(2), json!(2)]);
}

#[tokio::test]
async fn jobs_are_listed_by_target_state_and_page_and_their_history_expires() {
    let settings = ServiceSettings {
        history_seconds: 3600,
        ..quick()
    };
    let app = TestApp::with_settings(settings).await;
    snapshot(&app, 1).await;
    let (first, second) = (start(&app, "r1").await, start(&app, "r2").await);
    app.drain().await;
    let third = start(&app, "r3").await;
    let ids = async |query: &str| -> Vec<String> {
        let list = app.get(&format!("/v1/restore-jobs{query}")).await.ok().json;
        list["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|j| j["job_id"].as_str().expect("id").to_string())
            .collect()
    };
    assert_eq!(ids("").await, [third.clone(), second.clone(), first.clone()]);
    assert_eq!(ids("?collection_name=r2").await, std::slice::from_ref(&second));
    assert_eq!(ids("?state=Pending").await, std::slice::from_ref(&third));
    assert_eq!(ids("?state=Completed&page_size=1").await, std::slice::from_ref(&second));
    assert_eq!(ids("?snapshot_name=other").await, Vec::<String>::new());
    app.get("/v1/restore-jobs?state=Exploded")
        .await
        .refused(422, "invalid_request");
    app.set_clock(Duration::from_secs(3700)).await;
    app.post("/v1/gc/runs", &json!({})).await.created();
    assert_eq!(ids("").await, [third], "a running job has no end");
    let expired = app
        .get(&format!("/v1/restore-jobs/{first}"))
        .await
        .refused(404, "restore_job_not_found");
    let detail = expired.json["detail"].as_str().expect("text");
    assert!(detail.ends_with("its history may have expired"), "{detail}");
}

/// Makes every copy into a job's target fail: a file stands where its directory would be.
async fn block(app: &TestApp, id: &str) -> std::path::PathBuf {
    let collection = job(app, id).await["collection_id"].as_str().expect("id").to_string();
    let blocker = app.directory.path().join(format!("insert_log/{collection}"));
    std::fs::write(&blocker, b"in the way").expect("written");
    blocker
}

#[tokio::test]
async fn a_copy_that_fails_for_a_while_is_tried_again_and_counted() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let id = start(&app, "r").await;
    let blocker = block(&app, &id).await;
    // the check, and a first attempt that fails
    assert_eq!(app.drain().await, 2);
    let tasks = app.get(&format!("/v1/restore-jobs/{id}/tasks")).await.ok().json;
    let copy = tasks["items"]
        .as_array()
        .expect("list")
        .iter()
        .find(|t| t["kind"] == "copy")
        .expect("one")
        .clone();
    assert_eq!(
        json!([copy["state"], copy["failures"], copy["outages"]]),
        json!(["available", 0, 1]),
        "{copy}"
    );
    assert!(
        copy["last_error"]
            .as_str()
            .expect("text")
            .contains("copying insert_log/100/101/500/10"),
        "{copy}"
    );
    assert_eq!(job(&app, &id).await["state"], "InProgress");
    std::fs::remove_file(blocker).expect("removed");
    assert_eq!(app.drain().await, 0, "not before its back-off ends");
    app.set_clock(Duration::from_secs(5)).await;
    assert_eq!(app.drain().await, 2);
    let done = job(&app, &id).await;
    assert_eq!(done["state"], "Completed", "{done}");
    assert!(
        done["retries"].as_i64().expect("a number") >= 4,
        "tries of the first attempt count: {done}"
    );
}

#[tokio::test]
async fn a_copy_that_never_succeeds_fails_the_job_names_the_file_and_leaves_nothing() {
    let app = TestApp::with_settings(ServiceSettings {
        outage_patience: Duration::from_secs(300),
        ..quick()
    })
    .await;
    snapshot(&app, 2).await;
    let before = all_keys(&app).await;
    let id = start(&app, "r").await;
    let blocker = block(&app, &id).await;
    // an outage is waited for, not for ever: pauses of up to a minute add up to five
    let mut round = 0;
    while job(&app, &id).await["state"] != "Failed" {
        assert!(round < 20);
        app.set_clock(Duration::from_secs(100 * round)).await;
        app.drain().await;
        round += 1;
    }
    std::fs::remove_file(blocker).expect("removed");
    app.set_clock(Duration::from_secs(100 * round)).await;
    app.drain().await;
    let failed = job(&app, &id).await;
    assert_eq!(
        (&failed["state"], &failed["error_code"]),
        (&json!("Failed"), &json!("storage_unavailable")),
        "{failed}"
    );
    assert!(
        failed["reason"]
            .as_str()
            .expect("text")
            .contains("copying insert_log/100/101/50"),
        "{failed}"
    );
    assert_eq!(failed["cleanup"], "done");
    nothing_left(&app, "r", &before).await;
}

#[tokio::test]
async fn a_panicking_task_is_tried_again_and_then_fails_its_job() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let id = start(&app, "r").await;
    let worker = Uuid::new_v4();
    for round in 1..=3 {
        app.set_clock(Duration::from_secs(100 * round)).await;
        let task = app.service.claim_tasks(worker, 1).await.expect("claims").pop().expect("due");
        let expected = if round < 3 { Outcome::Retried } else { Outcome::Failed };
        assert_eq!(
            app.service
                .task_panicked(&task, "the text of the panic")
                .await
                .expect("recorded"),
            expected
        );
    }
    let failed = job(&app, &id).await;
    assert_eq!(
        (&failed["state"], &failed["error_code"]),
        (&json!("Failed"), &json!("internal")),
        "{failed}"
    );
    assert!(!failed.to_string().contains("the text of the panic"), "{failed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_stops_hands_its_tasks_back_uncharged() {
    // copies that fail and wait a minute before they try again: a task that runs and runs
    let app = TestApp::with_settings(ServiceSettings {
        copy_backoff: Duration::from_secs(60),
        ..quick()
    })
    .await;
    snapshot(&app, 1).await;
    let id = start(&app, "r").await;
    let blocker = block(&app, &id).await;
    let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
    let settings = WorkerSettings {
        slots: 2,
        lease: Duration::from_secs(30),
        poll: Duration::from_millis(20),
        listen: Some(app.pool.clone()),
    };
    let running = tokio::spawn(Worker::new(app.service.clone(), settings, soft.clone(), hard.clone()).run());
    let copy = async || {
        let tasks = app.get(&format!("/v1/restore-jobs/{id}/tasks")).await.ok().json;
        tasks["items"]
            .as_array()
            .expect("list")
            .iter()
            .find(|t| t["kind"] == "copy")
            .cloned()
            .unwrap_or_default()
    };
    while copy().await["state"] != "running" {
        tokio::task::yield_now().await;
    }
    soft.cancel();
    hard.cancel();
    running.await.expect("stops");
    let handed_back = copy().await;
    assert_eq!(
        (&handed_back["state"], &handed_back["failures"]),
        (&json!("available"), &json!(0)),
        "{handed_back}"
    );
    std::fs::remove_file(blocker).expect("removed");
    app.drain().await;
    assert_eq!(job(&app, &id).await["state"], "Completed");
}
