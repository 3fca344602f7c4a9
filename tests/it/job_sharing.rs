//! Restore jobs share the workers: priorities, limits, replicas.

use std::time::{Duration, Instant};

use serde_json::json;
use stillframe::domain::id::TaskId;
use stillframe::domain::restore::{Beat, ClaimedTask, TaskKind};
use stillframe::jobs::{Worker, WorkerSettings};
use stillframe::service::{CopyProgress, Outcome, Service, ServiceSettings};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::TestApp;
use crate::support::app::quick;
use crate::support::faults::{Call, Fault, Faults};
use crate::support::jobs::*;

#[tokio::test]
async fn a_point_of_priority_doubles_the_share_and_nobody_starves() {
    let app = TestApp::local().await;
    snapshot(&app, 30).await;
    let low = start(&app, json!({"collection_name": "r1"})).await;
    let high = start(&app, json!({"collection_name": "r2", "priority": 2})).await;
    let order = run_next(&app, 2).await;
    assert_eq!(order, [high.clone(), low.clone()], "the higher one comes first");
    let served = run_next(&app, 20).await;
    let of = |served: &[String], id: &String| served.iter().filter(|s| *s == id).count();
    assert_eq!((of(&served, &high), of(&served, &low)), (16, 4));
    // turned round while both run
    change(&app, &high, json!({"priority": -10})).await;
    let served = run_next(&app, 15).await;
    assert_eq!((of(&served, &high), of(&served, &low)), (1, 14), "{served:?}");
}

#[tokio::test]
async fn a_small_restore_ends_while_a_huge_one_runs() {
    let app = TestApp::local().await;
    app.small_collection("small", 200).await;
    app.add_segment("small", 200, 900).await;
    app.add_segment("small", 200, 901).await;
    app.post(
        "/v1/snapshots",
        &json!({"collection_name": "small", "snapshot_name": "little"}),
    )
    .await
    .created();
    snapshot(&app, 30).await;
    let huge = start(&app, json!({"collection_name": "r1"})).await;
    run_next(&app, 11).await;
    let small = app
        .post("/v1/snapshots/little/restore", &json!({"collection_name": "r2"}))
        .await
        .expect(202)
        .json["job_id"]
        .as_str()
        .expect("id")
        .to_string();
    // its check, two copies and as many of the huge one, its publishing
    run_next(&app, 6).await;
    assert_eq!(job(&app, &small).await["state"], "Completed");
    assert_eq!(job(&app, &huge).await["state"], "InProgress");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_restore_is_not_stuck_behind_segments_that_take_for_ever() {
    ends_beside_copies_that_take_for_ever(2, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_restore_gets_the_only_worker_of_a_huge_one() {
    ends_beside_copies_that_take_for_ever(1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_restore_gets_a_worker_where_each_is_on_another_huge_one() {
    ends_beside_copies_that_take_for_ever(2, 2).await;
}

/// Starts a small restore while every one of `slots` workers is busy with copies of `jobs` others.
async fn ends_beside_copies_that_take_for_ever(slots: usize, jobs: usize) {
    // copies that fail and wait a minute before they try again
    let app = TestApp::with_settings(ServiceSettings {
        copy_backoff: Duration::from_secs(60),
        ..quick()
    })
    .await;
    snapshot(&app, 4).await;
    let mut huge = Vec::new();
    for n in 0..jobs {
        let id = start(&app, json!({"collection_name": format!("huge{n}")})).await;
        let collection = job(&app, &id).await["collection_id"].as_str().expect("id").to_string();
        std::fs::write(app.directory.path().join(format!("insert_log/{collection}")), b"in the way").expect("written");
        huge.push(id);
    }
    let soft = CancellationToken::new();
    let settings = WorkerSettings {
        slots,
        lease: Duration::from_secs(30),
        poll: Duration::from_millis(50),
        listen: None,
    };
    let hard = CancellationToken::new();
    let working = tokio::spawn(Worker::new(app.service.clone(), settings, soft.clone(), hard.clone()).run());
    let running = async || {
        let mut running = 0;
        for id in &huge {
            running += tasks(&app, id, "copy")
                .await
                .iter()
                .filter(|t| t["state"] == "running")
                .count();
        }
        running
    };
    let began = Instant::now();
    while running().await < slots {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let small = start(&app, json!({"collection_name": "r2"})).await;
    until(&app, &small, |job| job["state"] == "Completed").await;
    for id in &huge {
        let copies = tasks(&app, id, "copy").await;
        assert!(copies.iter().all(|t| t["failures"] == 0 && t["outages"] == 0), "{copies:?}");
        assert_eq!(job(&app, id).await["state"], "InProgress");
    }
    soft.cancel();
    hard.cancel();
    working.await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_restore_is_not_stuck_behind_a_check_that_takes_for_ever() {
    let faults = Faults::default();
    let app = TestApp::s3_behind(faults.clone(), quick(), |_| {}).await;
    snapshot(&app, 1).await;
    let soft = CancellationToken::new();
    let working = worker(&app.service, &app.pool, 1, &soft);
    // the first look at a directory is answered after a minute
    let mut slow = Some(Fault::Slow(Duration::from_secs(55)));
    faults.set(move |call| if call.query.contains("list-type") { slow.take() } else { None });
    let huge = start(&app, json!({"collection_name": "r1"})).await;
    until(&app, &huge, |job| job["state"] == "Validating").await;
    let began = Instant::now();
    let small = start(&app, json!({"collection_name": "r2"})).await;
    until(&app, &small, |job| job["state"] == "Completed").await;
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    until(&app, &huge, |job| job["state"] == "Completed").await;
    soft.cancel();
    working.await.expect("stops");
}

#[tokio::test]
async fn clean_ups_that_fill_every_worker_make_room_for_a_running_restore_and_are_gone_on_with() {
    const CANCELLED: u64 = 1000;
    let app = TestApp::local().await;
    snapshot(&app, 2).await;
    let restore = start(&app, json!({"collection_name": "r"})).await;
    let gone = [
        start(&app, json!({"collection_name": "gone1"})).await,
        start(&app, json!({"collection_name": "gone2"})).await,
    ];
    run_next(&app, 3).await;
    assert_eq!(job(&app, &restore).await["state"], "InProgress");
    for id in &gone {
        act(&app, id, "cancel").await;
    }
    app.set_clock(Duration::from_secs(CANCELLED)).await;
    // a process with two workers: both begin to delete, and that takes for ever
    let process = Uuid::new_v4();
    let claim = async |running: usize| app.service.claim_tasks(process, 2 - running).await.expect("claims");
    let mut running = claim(0).await;
    assert!(running.iter().all(|t| t.kind == TaskKind::Cleanup), "{running:?}");
    assert_eq!(running.len(), 2);
    let (mut seconds, mut made_room) = (0, 0);
    while job(&app, &restore).await["state"] != "Completed" {
        seconds += 1;
        assert!(seconds <= 20, "the restore waits for clean-ups that never end");
        app.set_clock(Duration::from_secs(CANCELLED + seconds)).await;
        let mut kept = Vec::new();
        for task in running {
            if task.kind != TaskKind::Cleanup {
                assert_eq!(run(&app, &task).await, Outcome::Done);
                continue;
            }
            assert_eq!(beat(&app, &task).await, Beat::Continue);
            if app.service.should_make_room(&task, &[]).await.expect("asked") {
                made_room += 1;
                app.service.make_room(&task).await.expect("handed back");
            } else {
                kept.push(task);
            }
        }
        kept.extend(claim(kept.len()).await);
        running = kept;
    }
    assert!(made_room > 0, "it had to be asked for");
    // what made room is gone on with
    app.set_clock(Duration::from_secs(CANCELLED + seconds + 3)).await;
    running.extend(claim(running.len()).await);
    assert_eq!(running.len(), 2);
    for task in running {
        assert_eq!(run(&app, &task).await, Outcome::Done);
    }
    for id in &gone {
        assert_eq!(job(&app, id).await["cleanup"], "done");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_makes_room_ends_its_files_first_and_copies_none_twice() {
    let faults = Faults::default();
    let settings = ServiceSettings {
        copy_concurrency: 2,
        ..quick()
    };
    let app = TestApp::s3_behind(faults.clone(), settings, |_| {}).await;
    snapshot(&app, 1).await;
    let soft = CancellationToken::new();
    let working = worker(&app.service, &app.pool, 1, &soft);
    let is_copy = |call: &Call| call.is_copy() && !call.path.contains("/.");
    let mut slow = 2;
    faults.set(move |call| {
        (is_copy(call) && slow > 0).then(|| {
            slow -= 1;
            Fault::Slow(Duration::from_secs(9))
        })
    });
    let huge = start(&app, json!({"collection_name": "r1"})).await;
    faults.seen(is_copy).await;
    let small = start(&app, json!({"collection_name": "r2"})).await;
    until(&app, &small, |job| job["state"] == "Completed").await;
    until(&app, &huge, |job| job["state"] == "Completed").await;
    let copy = tasks(&app, &huge, "copy").await.pop().expect("one");
    assert_eq!(
        json!([copy["attempt"], copy["outages"]]),
        json!([2, 0]),
        "it made room once: {copy}"
    );
    assert_eq!(faults.calls(is_copy).len(), 8, "two restores of four files");
    soft.cancel();
    working.await.expect("stops");
}

#[tokio::test]
async fn a_resumed_job_shares_and_does_not_catch_up() {
    let app = TestApp::local().await;
    snapshot(&app, 12).await;
    let first = start(&app, json!({"collection_name": "r1"})).await;
    let second = start(&app, json!({"collection_name": "r2"})).await;
    run_next(&app, 2).await;
    act(&app, &first, "pause").await;
    assert!(run_next(&app, 8).await.iter().all(|id| *id == second));
    act(&app, &first, "resume").await;
    let served = run_next(&app, 4).await;
    assert_eq!(served.iter().filter(|id| **id == first).count(), 2, "{served:?}");
}

#[tokio::test]
async fn a_job_runs_no_more_tasks_than_it_may_also_when_the_limit_is_lowered() {
    let app = TestApp::local().await;
    snapshot(&app, 6).await;
    let id = start(&app, json!({"collection_name": "r", "max_concurrency": 3})).await;
    run_next(&app, 1).await;
    // workers of many processes ask at the same time
    let claims = futures::future::join_all((0..8).map(|_| claim(&app, 5))).await;
    let mut running: Vec<ClaimedTask> = claims.into_iter().flatten().collect();
    assert_eq!(running.len(), 3);
    running.sort_by_key(|t| t.task_id.0);
    change(&app, &id, json!({"max_concurrency": 1})).await;
    let mut beats = Vec::new();
    for task in &running {
        beats.push(beat(&app, task).await);
    }
    assert_eq!(beats, [Beat::Continue, Beat::HandBack, Beat::HandBack]);
    for task in &running[1..] {
        app.service.hand_back(task).await.expect("handed back");
    }
    assert!(claim(&app, 5).await.is_empty());
    run(&app, &running[0]).await;
    assert_eq!(claim(&app, 5).await.len(), 1, "one at a time");
    change(&app, &id, json!({"max_concurrency": null})).await;
    assert_eq!(claim(&app, 10).await.len(), 4);
    // copies that wait for their bytes keep no worker from other jobs
    let slow = start(&app, json!({"collection_name": "r2", "max_bytes_per_second": 1})).await;
    run_next(&app, 1).await;
    assert_eq!(claim(&app, 10).await.len(), 2);
    change(&app, &slow, json!({"max_concurrency": 5})).await;
    assert_eq!(claim(&app, 10).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_copies_no_faster_than_it_may_until_the_limit_is_lifted() {
    let app = TestApp::local().await;
    snapshot(&app, 4).await;
    let soft = CancellationToken::new();
    let working = worker(&app.service, &app.pool, 4, &soft);
    let began = Instant::now();
    let id = start(&app, json!({"collection_name": "r1", "max_bytes_per_second": 400})).await;
    let done = until(&app, &id, |job| job["state"] == "Completed").await;
    let (took, bytes) = (began.elapsed().as_secs_f64(), done["total_bytes"].as_f64().expect("a number"));
    assert!(bytes / took <= 400.0, "{bytes} bytes in {took} s");
    assert!(took < 10.0 * bytes / 400.0, "{bytes} bytes in {took} s");
    // twelve days, were it not for the change
    let id = start(&app, json!({"collection_name": "r2", "max_bytes_per_second": 1})).await;
    until(&app, &id, |job| job["state"] == "InProgress").await;
    change(&app, &id, json!({"max_bytes_per_second": null})).await;
    until(&app, &id, |job| job["state"] == "Completed").await;
    soft.cancel();
    working.await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_waits_for_its_proof_keeps_no_worker_from_copying() {
    let faults = Faults::default();
    let app = TestApp::s3_behind(faults.clone(), quick(), |_| {}).await;
    snapshot(&app, 3).await;
    let soft = CancellationToken::new();
    let working = worker(&app.service, &app.pool, 1, &soft);
    let copies_data = |call: &Call| call.is_copy() && call.path.contains("/insert_log/");
    let (mut copied, mut slow) = (false, Some(Fault::Slow(Duration::from_secs(55))));
    faults.set(move |call| {
        copied |= copies_data(call);
        if copied && call.query.contains("list-type") {
            slow.take()
        } else {
            None
        }
    });
    let id = start(&app, json!({"collection_name": "r"})).await;
    until(&app, &id, |job| job["state"] == "Completed").await;
    soft.cancel();
    working.await.expect("stops");
    // what came after the first copy: segments in the order of their first copies, and between them LISTs of targets
    let mut order: Vec<String> = Vec::new();
    let calls = faults.calls(|call| copies_data(call) || (call.query.contains("list-type") && call.query.contains("insert_log")));
    for call in calls.iter().skip_while(|call| !call.is_copy()) {
        let what = match call.is_copy() {
            true => call.path.rsplit('/').nth(2).expect("a segment").to_string(),
            false => "LIST".to_string(),
        };
        if what == "LIST" || !order.contains(&what) {
            order.push(what);
        }
    }
    let lists = |segments: usize| {
        let nth = order.iter().enumerate().filter(|(_, what)| *what != "LIST").nth(segments - 1);
        let before = &order[..nth.expect("as many segments").0];
        before.iter().filter(|what| *what == "LIST").count()
    };
    assert!(
        lists(2) <= 1,
        "the second one is copied while the first one's LIST runs: {order:?}"
    );
    assert!(
        lists(3) >= 2,
        "no more than one waits beside the one that is copied: {order:?}"
    );
}

#[tokio::test]
async fn a_task_that_is_proved_takes_no_workers_place_and_is_not_asked_to_make_room() {
    let app = TestApp::local().await;
    snapshot(&app, 3).await;
    let huge = start(&app, json!({"collection_name": "r1"})).await;
    run_next(&app, 1).await;
    // a process with one slot: of these two, the first is proved
    let process = Uuid::new_v4();
    let running = app.service.claim_tasks(process, 2).await.expect("claims");
    let [proved, copied] = &running[..] else {
        panic!("{running:?}")
    };
    start(&app, json!({"collection_name": "r2"})).await;
    app.set_clock(Duration::from_secs(20)).await;
    let copies = CopyProgress::default();
    let made = |task: &ClaimedTask, proving: &[TaskId]| {
        let (task, proving, service) = (task.clone(), proving.to_vec(), app.service.clone());
        async move { service.should_make_room(&task, &proving).await.expect("asked") }
    };
    for task in &running {
        app.service.heartbeat(task, &copies).await.expect("beats");
    }
    assert!(made(proved, &[]).await, "of two that got as far the first one can be spared");
    assert!(!made(copied, &[]).await);
    assert!(!made(proved, &[proved.task_id]).await);
    assert!(made(copied, &[proved.task_id]).await, "it is the only one that takes a place");
    assert_eq!(job(&app, &huge).await["state"], "InProgress");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_share_a_job() {
    let app = TestApp::local().await;
    snapshot(&app, 8).await;
    let replica = Service::new(app.pool.clone(), app.objects.clone(), quick());
    let soft = CancellationToken::new();
    let working = [
        worker(&app.service, &app.pool, 1, &soft),
        worker(&replica, &app.pool, 1, &soft),
    ];
    let id = start(&app, json!({"collection_name": "r", "max_bytes_per_second": 1500})).await;
    until(&app, &id, |job| job["state"] == "Completed").await;
    let copies = tasks(&app, &id, "copy").await;
    let mut workers: Vec<&str> = copies.iter().map(|t| t["worker_id"].as_str().expect("one")).collect();
    workers.sort_unstable();
    workers.dedup();
    assert_eq!(workers.len(), 2, "{copies:?}");
    assert!(copies.iter().all(|t| t["attempt"] == 1), "{copies:?}");
    soft.cancel();
    for worker in working {
        worker.await.expect("stops");
    }
}

#[tokio::test]
async fn a_claim_and_a_cancel_are_as_cheap_among_a_hundred_thousand_tasks() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let mut last = String::new();
    for target in ["r1", "r2", "r3"] {
        last = start(&app, json!({"collection_name": target})).await;
    }
    run_next(&app, 3).await;
    sqlx::query(
        "insert into restore_tasks (task_id, job_id, kind, source_segment_id, source_version, target_segment_id, turn)
         select job_id + 1000 + n, job_id, 'copy', 1000000 + n, 1, 1, n from restore_jobs, generate_series(1, 35000) n",
    )
    .execute(&app.pool)
    .await
    .expect("inserted");
    sqlx::query("analyze restore_tasks")
        .execute(&app.pool)
        .await
        .expect("analyzed");
    // the quickest of some: others use this machine too
    let mut quickest = Duration::MAX;
    for _ in 0..10 {
        let began = Instant::now();
        assert_eq!(claim(&app, 8).await.len(), 8);
        app.service.next_task_due_ms().await.expect("looks");
        quickest = quickest.min(began.elapsed());
    }
    assert!(quickest < Duration::from_millis(40), "{quickest:?}");
    let began = Instant::now();
    act(&app, &last, "cancel").await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    start(&app, json!({"collection_name": "r3"})).await;
}
