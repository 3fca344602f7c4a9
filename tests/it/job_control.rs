//! Restore jobs under control: pausing, cancelling, changing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stillframe::domain::id::RunId;
use stillframe::domain::restore::{Beat, TaskKind};
use stillframe::service::{Outcome, ServiceSettings};
use tokio_util::sync::CancellationToken;

use crate::support::TestApp;
use crate::support::app::quick;
use crate::support::jobs::*;

#[tokio::test]
async fn a_paused_job_is_left_alone_for_days_and_then_copies_nothing_twice() {
    let app = TestApp::local().await;
    snapshot(&app, 3).await;
    let id = start(&app, json!({"collection_name": "r"})).await;
    run_next(&app, 2).await;
    let running = claim_one(&app).await;
    // what is copied already is marked, to see whether it is copied again
    let done = tasks(&app, &id, "copy")
        .await
        .into_iter()
        .find(|t| t["state"] == "succeeded")
        .expect("one");
    let target = done["target_segment_id"].as_str().expect("id").to_string();
    let collection = job(&app, &id).await["collection_id"].as_str().expect("id").to_string();
    let keys = app.keys(&format!("insert_log/{collection}/")).await;
    let key = keys.iter().find(|k| k.contains(&target)).expect("copied");
    let content = app.objects.get(key, 1000).await.expect("read").expect("there");
    app.objects.put(key, vec![b'x'; content.len()]).await.expect("written");

    let paused = act(&app, &id, "pause").await;
    assert_eq!(
        (&paused["state"], &paused["resume_state"]),
        (&json!("Paused"), &json!("InProgress"))
    );
    assert_eq!(
        act(&app, &id, "pause").await["resume_state"],
        "InProgress",
        "once more changes nothing"
    );
    assert_eq!(beat(&app, &running).await, Beat::HandBack);
    app.service.hand_back(&running).await.expect("handed back");
    assert!(claim(&app, 10).await.is_empty());
    app.set_clock(Duration::from_secs(3 * 24 * 3600)).await;
    assert!(claim(&app, 10).await.is_empty(), "waiting is not failing");
    app.delete("/v1/snapshots/s").await.refused(409, "snapshot_being_restored");
    let waiting = job(&app, &id).await;
    assert_eq!((&waiting["state"], &waiting["eta_seconds"]), (&json!("Paused"), &Value::Null));

    assert_eq!(act(&app, &id, "resume").await["state"], "InProgress");
    assert_eq!(
        act(&app, &id, "resume").await["state"],
        "InProgress",
        "once more changes nothing"
    );
    app.drain().await;
    let completed = job(&app, &id).await;
    assert_eq!(
        (&completed["state"], &completed["progress"]),
        (&json!("Completed"), &json!(100)),
        "{completed}"
    );
    assert!(completed["time_cost"].as_i64().expect("ms") > 2 * 24 * 3_600_000);
    assert!(
        completed["files_per_second"].as_f64().expect("known") > 0.1,
        "pauses are left out: {completed}"
    );
    assert_eq!(
        app.objects.get(key, 1000).await.expect("read").expect("there"),
        vec![b'x'; content.len()]
    );
    assert!(tasks(&app, &id, "copy").await.iter().all(|t| t["failures"] == 0));
    let plan = app
        .post("/v1/snapshots/s/plan-restore", &json!({"collection_name": "r2"}))
        .await
        .ok()
        .json;
    assert!(
        plan["estimated_ms"].as_i64().expect("known") < 3_600_000,
        "days in which it was paused say nothing: {plan}"
    );
}

/// The files that a restore has made of its source's insert logs.
async fn copied_logs(app: &TestApp, id: &str) -> Vec<String> {
    let collection = job(app, id).await["collection_id"].as_str().expect("id").to_string();
    app.keys(&format!("insert_log/{collection}/")).await
}

#[tokio::test]
async fn what_is_gone_after_a_pause_or_a_while_is_copied_again_before_a_job_is_completed() {
    let app = TestApp::local().await;
    snapshot(&app, 3).await;
    let id = start(&app, json!({"collection_name": "r"})).await;
    run_next(&app, 4).await;
    let copied = copied_logs(&app, &id).await;
    let content = async |key: &String| app.objects.get(key, 1000).await.expect("read");
    let before = (content(&copied[0]).await, content(&copied[5]).await);
    let publish = async || {
        let task = claim_one(&app).await;
        assert_eq!(task.kind, TaskKind::Publish);
        let outcome = run(&app, &task).await;
        (outcome, job(&app, &id).await["state"].clone())
    };

    act(&app, &id, "pause").await;
    assert!(app.objects.delete(vec![copied[0].clone()]).await.is_empty());
    app.objects.put(&copied[5], vec![b'x'; 3]).await.expect("written");
    act(&app, &id, "resume").await;
    assert_eq!(publish().await, (Outcome::HandedBack, json!("InProgress")));
    app.get("/v1/collections/r").await.refused(404, "collection_not_found");
    let again: Vec<Value> = tasks(&app, &id, "copy").await;
    let again: Vec<&Value> = again.iter().filter(|t| t["state"] == "available").collect();
    assert_eq!(again.len(), 2);
    for (task, why) in [(0, "is not there"), (1, "has 3 bytes")] {
        let error = again[task]["last_error"].as_str().expect("text");
        assert!(error.contains(why) && again[task]["failures"] == 1, "{again:?}");
    }
    run_next(&app, 2).await;
    assert_eq!((content(&copied[0]).await, content(&copied[5]).await), before);

    // proofs also grow old without a pause
    app.set_clock(Duration::from_secs(601)).await;
    assert!(app.objects.delete(vec![copied[0].clone()]).await.is_empty());
    assert_eq!(publish().await, (Outcome::HandedBack, json!("InProgress")));
    assert_eq!(app.drain().await, 2);
    let completed = job(&app, &id).await;
    assert_eq!(
        json!([completed["state"], completed["done_files"]]),
        json!(["Completed", 12]),
        "{completed}"
    );
    assert_eq!((content(&copied[0]).await, content(&copied[5]).await), before);
    let states: Vec<Value> = tasks(&app, &id, "publish").await.iter().map(|t| t["state"].clone()).collect();
    assert_eq!(states, ["cancelled", "cancelled", "succeeded"]);
    let receipt = app.get(&format!("/v1/restore-jobs/{id}/receipt")).await.ok().json;
    assert_eq!(receipt["file_count"], 12);
}

#[tokio::test]
async fn a_job_whose_copy_is_gone_again_and_again_fails_and_names_it() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let id = start(&app, json!({"collection_name": "r"})).await;
    run_next(&app, 1).await;
    for outcome in [Outcome::HandedBack, Outcome::HandedBack, Outcome::Failed] {
        run_next(&app, 1).await;
        act(&app, &id, "pause").await;
        let copied = copied_logs(&app, &id).await;
        assert!(app.objects.delete(vec![copied[0].clone()]).await.is_empty());
        act(&app, &id, "resume").await;
        assert_eq!(run(&app, &claim_one(&app).await).await, outcome);
    }
    let failed = job(&app, &id).await;
    assert_eq!(
        json!([failed["state"], failed["error_code"]]),
        json!(["Failed", "file_missing"]),
        "{failed}"
    );
    assert!(failed["reason"].as_str().expect("text").contains("insert_log/"), "{failed}");
}

#[tokio::test]
async fn any_number_of_hand_backs_leaves_a_task_its_tries() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let id = start(&app, json!({"collection_name": "r"})).await;
    for _ in 0..60 {
        let task = claim_one(&app).await;
        app.service.hand_back(&task).await.expect("handed back");
    }
    app.drain().await;
    assert_eq!(job(&app, &id).await["state"], "Completed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_task_of_a_paused_job_stops_within_a_heartbeat_and_is_not_charged() {
    // copies that fail and wait a minute before they try again: a task that runs and runs
    let app = TestApp::with_settings(ServiceSettings {
        copy_backoff: Duration::from_secs(60),
        ..quick()
    })
    .await;
    snapshot(&app, 1).await;
    let id = start(&app, json!({"collection_name": "r"})).await;
    let collection = job(&app, &id).await["collection_id"].as_str().expect("id").to_string();
    let blocker = app.directory.path().join(format!("insert_log/{collection}"));
    std::fs::write(&blocker, b"in the way").expect("written");
    let soft = CancellationToken::new();
    let working = worker(&app.service, &app.pool, 2, &soft);
    let copy = async |state: &str| {
        let began = Instant::now();
        loop {
            let found = tasks(&app, &id, "copy").await.pop().unwrap_or_default();
            if found["state"] == state {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "{found}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let running = copy("running").await;
    assert!(
        running["worker_id"].is_string() && running["lease_expires_at"].is_string(),
        "{running}"
    );
    act(&app, &id, "pause").await;
    let began = Instant::now();
    let handed_back = copy("available").await;
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(handed_back["failures"], 0);
    std::fs::remove_file(blocker).expect("removed");
    act(&app, &id, "resume").await;
    until(&app, &id, |job| job["state"] == "Completed").await;
    soft.cancel();
    working.await.expect("stops");
}

#[tokio::test]
async fn a_job_goes_on_from_the_state_it_was_paused_in() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let id = start(&app, json!({"collection_name": "r"})).await;
    assert_eq!(act(&app, &id, "pause").await["resume_state"], "Pending");
    assert!(claim(&app, 1).await.is_empty());
    assert_eq!(act(&app, &id, "resume").await["state"], "Pending");
    // a task that ends in the moment of the pause moves the job on, but nothing more is claimed
    let check = claim_one(&app).await;
    act(&app, &id, "pause").await;
    assert_eq!(run(&app, &check).await, Outcome::Done);
    assert_eq!(job(&app, &id).await["resume_state"], "InProgress");
    assert!(claim(&app, 1).await.is_empty());
    act(&app, &id, "resume").await;
    let copy = claim_one(&app).await;
    act(&app, &id, "pause").await;
    assert_eq!(run(&app, &copy).await, Outcome::Done);
    assert_eq!(job(&app, &id).await["resume_state"], "Publishing");
    act(&app, &id, "resume").await;
    // but a target does not appear in a pause
    let publish = claim_one(&app).await;
    assert_eq!(publish.kind, TaskKind::Publish);
    act(&app, &id, "pause").await;
    assert_eq!(run(&app, &publish).await, Outcome::HandedBack);
    app.get("/v1/collections/r").await.refused(404, "collection_not_found");
    let paused = job(&app, &id).await;
    assert_eq!(
        (&paused["state"], &paused["resume_state"]),
        (&json!("Paused"), &json!("Publishing"))
    );
    act(&app, &id, "resume").await;
    assert_eq!(app.drain().await, 1);
    assert_eq!(job(&app, &id).await["state"], "Completed");
    app.get("/v1/collections/r").await.ok();
}

#[tokio::test]
async fn a_paused_job_can_be_cancelled_and_an_ended_one_is_not_controlled() {
    let app = TestApp::local().await;
    snapshot(&app, 2).await;
    let id = start(&app, json!({"collection_name": "r"})).await;
    run_next(&app, 2).await;
    act(&app, &id, "pause").await;
    let cancelled = act(&app, &id, "cancel").await;
    assert_eq!(
        (&cancelled["state"], &cancelled["cleanup"]),
        (&json!("Cancelled"), &json!("pending"))
    );
    assert!(cancelled.get("resume_state").is_none());
    let states: Vec<Value> = tasks(&app, &id, "copy")
        .await
        .into_iter()
        .map(|t| t["state"].clone())
        .collect();
    assert_eq!(states, ["succeeded", "cancelled"]);
    for action in ["pause", "resume", "cancel"] {
        app.post(&format!("/v1/restore-jobs/{id}/{action}"), &json!({}))
            .await
            .refused(409, "restore_job_ended");
        app.post(&format!("/v1/restore-jobs/1/{action}"), &json!({}))
            .await
            .refused(404, "restore_job_not_found");
    }
    app.patch(&format!("/v1/restore-jobs/{id}"), &json!({"priority": 1}))
        .await
        .refused(409, "restore_job_ended");
    app.set_clock(Duration::from_secs(60)).await;
    app.drain().await;
    assert_eq!(job(&app, &id).await["cleanup"], "done");
    assert!(
        app.keys(&format!("insert_log/{}/", cancelled["collection_id"].as_str().expect("id")))
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn a_figure_out_of_bounds_is_refused_where_it_stands() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let id = start(
        &app,
        json!({"collection_name": "r", "priority": -3, "max_concurrency": 2, "max_bytes_per_second": 1000000}),
    )
    .await;
    let before = job(&app, &id).await;
    assert_eq!(before["priority"], -3);
    for (body, pointer) in [
        (json!({"priority": 11}), "/priority"),
        (json!({"priority": null, "max_concurrency": 0}), "/max_concurrency"),
        (json!({"max_bytes_per_second": 0}), "/max_bytes_per_second"),
        (json!({"max_bytes_per_second": "x"}), "/max_bytes_per_second"),
        (json!({"speed": 1}), "/speed"),
    ] {
        let refused = app
            .patch(&format!("/v1/restore-jobs/{id}"), &body)
            .await
            .refused(422, "invalid_request");
        assert_eq!(refused.pointers(), [pointer]);
    }
    let wrong = json!({"collection_name": "r2", "priority": 11});
    assert_eq!(
        app.post("/v1/snapshots/s/restore", &wrong)
            .await
            .refused(422, "invalid_request")
            .pointers(),
        ["/priority"]
    );
    let after = change(&app, &id, json!({"max_concurrency": null})).await;
    assert_eq!(
        (&after["max_concurrency"], &after["max_bytes_per_second"]),
        (&Value::Null, &json!(1000000)),
        "absent stays, null lifts"
    );
}

#[tokio::test]
async fn the_job_of_a_dead_worker_is_cancelled_at_once_and_its_name_is_free() {
    let app = TestApp::local().await;
    snapshot(&app, 3).await;
    let id = start(&app, json!({"collection_name": "r"})).await;
    run_next(&app, 1).await;
    // its worker is never heard of again, and holds every row of the target that it could
    let dead = claim(&app, 3).await;
    assert_eq!(dead.len(), 3);
    let collection: i64 = job(&app, &id).await["collection_id"]
        .as_str()
        .expect("id")
        .parse()
        .expect("a number");
    let mut held = app.pool.begin().await.expect("begins");
    for statement in [
        "select 1 from segments where collection_id = $1 for update",
        "select 1 from index_builds where collection_id = $1 for update",
        "select 1 from collections where collection_id = $1 for key share",
        "select 1 from restore_tasks t join restore_jobs j using (job_id) where j.collection_id = $1 and t.state = 'available' for update of t",
    ] {
        sqlx::query(statement)
            .bind(collection)
            .execute(&mut *held)
            .await
            .expect("locks");
    }
    let path = format!("/v1/restore-jobs/{id}/cancel");
    let cancelled = tokio::time::timeout(Duration::from_secs(5), app.post(&path, &json!({})))
        .await
        .expect("nothing is waited for")
        .ok();
    assert_eq!(
        (&cancelled.json["state"], &cancelled.json["cleanup"]),
        (&json!("Cancelled"), &json!("pending"))
    );
    let again = start(&app, json!({"collection_name": "r"})).await;
    held.rollback().await.expect("rolled back");
    app.drain().await;
    assert_eq!(job(&app, &again).await["state"], "Completed");
    assert_eq!(
        job(&app, &id).await["cleanup"],
        "pending",
        "a lease of the dead worker still runs"
    );
    app.set_clock(Duration::from_secs(60)).await;
    app.drain().await;
    assert_eq!(job(&app, &id).await["cleanup"], "done");
    app.get("/v1/collections/r").await.ok();
}

/// More segments than are laid out, or cleaned up, in one transaction.
const MANY: i64 = 1100;

#[tokio::test]
async fn a_target_that_was_laid_out_in_part_is_laid_out_to_its_end_by_the_next_attempt_and_cleaned_up_in_parts() {
    let app = TestApp::memory().await;
    app.small_collection("c", C).await;
    let mut bodies = Vec::new();
    for segment in 0..MANY {
        bodies.push(app.small_segment(C, 5000 + segment).await);
    }
    app.post("/v1/collections/c/segments:batch?check=none", &json!({"segments": bodies}))
        .await
        .created();
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
    let id = start(&app, json!({"collection_name": "r"})).await;
    let execute = async |statement: &'static str| {
        sqlx::raw_sql(statement).execute(&app.pool).await.expect(statement);
    };
    execute(
        "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'cut off'; end $$;
         create trigger refuse before insert on restore_tasks for each row when (new.turn = 600) execute function refuse()",
    )
    .await;
    assert_eq!(run(&app, &claim_one(&app).await).await, Outcome::Retried);
    assert_eq!(tasks(&app, &id, "copy").await.len(), 500, "the first page stays");
    app.set_clock(Duration::from_secs(100)).await;
    let check = claim(&app, 10).await;
    assert_eq!(
        check.iter().map(|t| t.kind).collect::<Vec<_>>(),
        [TaskKind::Validate],
        "no copy before all is laid out"
    );
    execute("drop trigger refuse on restore_tasks").await;
    assert_eq!(run(&app, &check[0]).await, Outcome::Done);
    let copying = job(&app, &id).await;
    assert_eq!(
        (&copying["state"], &copying["total_segments"]),
        (&json!("InProgress"), &json!(MANY))
    );
    assert_eq!(copying["total_files"], MANY * 4);
    let counted =
        async |statement: &'static str| -> i64 { sqlx::query_scalar(statement).fetch_one(&app.pool).await.expect(statement) };
    assert_eq!(
        counted("select count(distinct (turn, source_segment_id)) from restore_tasks where kind = 'copy'").await,
        MANY
    );
    assert_eq!(counted("select max(turn)::bigint from restore_tasks").await, MANY - 1);
    assert_eq!(counted("select count(*) from segments where state = 'importing'").await, MANY);
    assert_eq!(
        counted("select count(*) from index_builds where state = 'importing'").await,
        MANY
    );

    act(&app, &id, "cancel").await;
    assert_eq!(
        counted("select count(*) from segments where state = 'importing'").await,
        MANY,
        "marked by the clean-up"
    );
    app.set_clock(Duration::from_secs(200)).await;
    assert_eq!(app.drain().await, 1);
    assert_eq!(job(&app, &id).await["cleanup"], "done");
    assert_eq!(counted("select count(*) from segments where segment_id >= 10000").await, 0);
    assert_eq!(
        counted("select count(*) from restore_tasks where state = 'available'").await,
        0
    );
}

#[tokio::test]
async fn ended_jobs_are_counted_by_state() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    start(&app, json!({"collection_name": "r1"})).await;
    app.drain().await;
    let id = start(&app, json!({"collection_name": "r2"})).await;
    act(&app, &id, "cancel").await;
    let metrics = app.get("/metrics").await.ok().text;
    for state in ["Completed", "Cancelled"] {
        for name in ["stillframe_restore_jobs_total", "stillframe_restore_job_seconds_count"] {
            assert!(metrics.contains(&format!("{name}{{state=\"{state}\"}}")), "{metrics}");
        }
    }
}

#[tokio::test]
async fn a_cancel_waits_for_a_claim_that_is_under_way_and_leaves_no_task_running() {
    let app = TestApp::local().await;
    snapshot(&app, 3).await;
    let id = start(&app, json!({"collection_name": "r"})).await;
    run_next(&app, 1).await;
    let mut claiming = app.pool.begin().await.expect("begins");
    stillframe::store::control::lock_claims(&mut claiming).await.expect("locked");
    let claimed = stillframe::store::claims::claim(&mut claiming, uuid::Uuid::new_v4(), 30_000, 10)
        .await
        .expect("claims");
    assert_eq!(claimed.len(), 3);
    let cancel = async {
        act(&app, &id, "cancel").await;
    };
    let mut cancel = std::pin::pin!(cancel);
    // until it waits for the claim, or has ended without
    let waits = async {
        let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())";
        while sqlx::query_scalar::<_, i64>(waiting)
            .fetch_one(&app.pool)
            .await
            .expect("counts")
            == 0
        {}
    };
    tokio::select! {
        () = &mut cancel => {}
        () = waits => {}
    }
    claiming.commit().await.expect("commits");
    cancel.await;
    let states: Vec<Value> = tasks(&app, &id, "copy").await.iter().map(|t| t["state"].clone()).collect();
    assert_eq!(
        states, ["cancelled"; 3],
        "a claimed task of an ended job would write into what is being deleted"
    );
    app.set_clock(Duration::from_secs(31)).await;
    assert_eq!(
        claim(&app, 10).await.iter().map(|t| t.kind).collect::<Vec<_>>(),
        [TaskKind::Cleanup]
    );
}

#[tokio::test]
async fn a_clean_up_that_meets_another_run_of_the_collector_is_for_later_and_not_a_failure() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let id = start(&app, json!({"collection_name": "r"})).await;
    act(&app, &id, "cancel").await;
    app.set_clock(Duration::from_secs(100)).await;
    let mut other = app.pool.acquire().await.expect("a connection").detach();
    assert!(
        stillframe::store::gc::try_lock_collector(&mut other).await.expect("asked"),
        "nobody collects"
    );
    app.drain().await;
    let cleanup = tasks(&app, &id, "cleanup").await.pop().expect("one");
    assert_eq!(
        json!([cleanup["state"], cleanup["failures"], cleanup["last_error"]]),
        json!(["available", 0, "waits for the clean-up of another job"]),
        "{cleanup}"
    );
    stillframe::store::gc_runs::start(&mut other, RunId(77), false, 0, None)
        .await
        .expect("noted");
    app.set_clock(Duration::from_secs(105)).await;
    app.drain().await;
    let cleanup = tasks(&app, &id, "cleanup").await.pop().expect("one");
    assert_eq!(cleanup["last_error"], "waits for collector run 77", "{cleanup}");
    drop(other);
    app.set_clock(Duration::from_secs(110)).await;
    // the lock goes when the server notices that its session has gone
    while job(&app, &id).await["cleanup"] == "pending" {
        app.drain().await;
        app.set_clock(Duration::from_secs(200)).await;
    }
    assert_eq!(job(&app, &id).await["cleanup"], "done");
}
