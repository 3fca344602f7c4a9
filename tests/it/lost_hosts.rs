//! Hosts that go away: what they held is free soon, and their absence is not counted as copying.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{Postgres, Transaction};
use stillframe::domain::id::{CollectionId, DatabaseId};
use stillframe::store::names;

use crate::support::TestApp;
use crate::support::jobs::*;
use crate::support::postgres;

#[tokio::test]
async fn the_rate_is_that_of_the_last_half_minute_and_not_of_hours_without_a_worker() {
    let app = TestApp::local().await;
    snapshot(&app, 4).await;
    let id = start(&app, json!({"collection_name": "r"})).await;
    run_next(&app, 3).await;
    let going = job(&app, &id).await;
    let rate = going["bytes_per_second"].as_f64().expect("known");
    assert!(rate > 0.0 && going["eta_seconds"].is_i64(), "{going}");
    // the only process is away for a day
    app.set_clock(Duration::from_secs(24 * 3600)).await;
    let still = job(&app, &id).await;
    assert_eq!(
        json!([still["bytes_per_second"], still["files_per_second"], still["eta_seconds"]]),
        json!([null, null, null])
    );
    run_next(&app, 1).await;
    let again = job(&app, &id).await;
    let bytes = again["total_bytes"].as_f64().expect("a number") / 4.0;
    assert!(
        again["bytes_per_second"].as_f64().expect("known") > bytes / 40.0,
        "one segment in a moment: {again}"
    );
    run_next(&app, 2).await;
    let completed = job(&app, &id).await;
    assert_eq!(completed["state"], "Completed");
    assert!(
        completed["bytes_per_second"].as_f64().expect("known") > 4.0 * bytes / 3600.0,
        "the day is left out: {completed}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_fell_silent_with_the_job_in_its_hands_keeps_nobody_from_it() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let id = start(&app, json!({"collection_name": "r"})).await;
    run_next(&app, 1).await;
    let _copy = claim_one(&app).await;
    // a host that goes away in the middle of the end of a task, or of a change
    let number = stillframe::domain::id::JobId(id.parse().expect("a number"));
    let mut silent = app.pool.begin().await.expect("begins");
    stillframe::store::control::lock_claims(&mut silent).await.expect("locked");
    stillframe::store::control::lock(&mut silent, number).await.expect("locked");
    let began = Instant::now();
    let cancelled = act(&app, &id, "cancel").await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(cancelled["state"], "Cancelled");
    let again = start(&app, json!({"collection_name": "r"})).await;
    assert!(silent.commit().await.is_err(), "what it wanted to write is not written");
    app.drain().await;
    assert_eq!(job(&app, &again).await["state"], "Completed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_finds_a_job_held_for_longer_is_told_to_try_again() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let id = start(&app, json!({"collection_name": "r"})).await;
    let mut held = app.pool.begin().await.expect("begins");
    sqlx::query("select 1 from restore_jobs for update")
        .execute(&mut *held)
        .await
        .expect("locks");
    let began = Instant::now();
    let refused = app.post(&format!("/v1/restore-jobs/{id}/pause"), &json!({})).await;
    let refused = refused.refused(503, "database_unavailable");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(
        refused.json["detail"]
            .as_str()
            .expect("text")
            .contains("held by another call"),
        "{}",
        refused.text
    );
    assert!(refused.headers.contains_key("retry-after"));
    held.rollback().await.expect("rolled back");
    act(&app, &id, "pause").await;
}

/// A session that has begun to start a restore to `r`, and goes no further.
async fn half_a_start(app: &TestApp) -> Transaction<'static, Postgres> {
    let mut half = app.pool.begin().await.expect("begins");
    let (db, id): (i64, i64) = sqlx::query_as(
        r#"insert into collections
           select (jsonb_populate_record(c, '{"collection_id": 7, "name": "r", "state": "restoring"}')).* from collections c
            where c.name = 'c' returning db_id, collection_id"#,
    )
    .fetch_one(&mut *half)
    .await
    .expect("inserted");
    names::reserve(&mut half, DatabaseId(db), "r", CollectionId(id), || {
        unreachable!("nobody has it")
    })
    .await
    .expect("reserved");
    half
}

async fn nothing_of_a_start(app: &TestApp) {
    let left: i64 = sqlx::query_scalar(
        "select (select count(*) from restore_jobs) + (select count(*) from restore_tasks)
              + (select count(*) from collections where name = 'r') + (select count(*) from collection_names where name = 'r')",
    )
    .fetch_one(&app.pool)
    .await
    .expect("counts");
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_of_a_restore_that_falls_silent_keeps_nobody_from_the_name_of_its_target() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let silent = half_a_start(&app).await;
    let began = Instant::now();
    let again = tokio::time::timeout(PATIENCE, start(&app, json!({"collection_name": "r"})));
    let again = again.await.expect("not kept waiting");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(silent.commit().await.is_err(), "what it wanted to write is not written");
    app.drain().await;
    assert_eq!(job(&app, &again).await["state"], "Completed");
    let rows: i64 = sqlx::query_scalar("select count(*) from collections where name = 'r'")
        .fetch_one(&app.pool)
        .await
        .expect("counts");
    assert_eq!(rows, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_of_a_restore_that_loses_its_session_says_so_and_leaves_nothing() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let mut other = half_a_start(&app).await;
    sqlx::query("set local idle_in_transaction_session_timeout = 0")
        .execute(&mut *other)
        .await
        .expect("set");
    let body = json!({"collection_name": "r"});
    let lost = async {
        postgres::until(
            &app.pool,
            "select count(pg_terminate_backend(pid)) = 1 from pg_stat_activity
              where datname = current_database() and wait_event_type = 'Lock'",
        )
        .await;
    };
    let (refused, ()) = tokio::join!(app.post("/v1/snapshots/s/restore", &body), lost);
    let refused = refused.refused(503, "database_unavailable");
    assert!(refused.headers.contains_key("retry-after"));
    other.rollback().await.expect("rolled back");
    nothing_of_a_start(&app).await;
    let again = start(&app, body).await;
    app.drain().await;
    assert_eq!(job(&app, &again).await["state"], "Completed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_finds_the_name_of_a_target_held_for_longer_is_told_to_try_again() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let mut other = half_a_start(&app).await;
    sqlx::query("set local idle_in_transaction_session_timeout = 0")
        .execute(&mut *other)
        .await
        .expect("set");
    let began = Instant::now();
    let body = json!({"collection_name": "r"});
    let refused = tokio::time::timeout(PATIENCE, app.post("/v1/snapshots/s/restore", &body)).await;
    let refused = refused.expect("an answer").refused(503, "database_unavailable");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let why = refused.json["detail"].as_str().expect("text");
    assert!(why.contains("the name \"r\" is held by another call"), "{why}");
    other.rollback().await.expect("rolled back");
    nothing_of_a_start(&app).await;
    start(&app, body).await;
}

#[tokio::test]
async fn a_session_asks_its_server_to_notice_within_half_a_minute_that_the_host_is_gone() {
    let (name, _pool) = postgres::database().await;
    let pool = stillframe::app::connect(&postgres::url(&name), 1).await.expect("connects");
    // the tests' server is on a socket, where these have no effect: what was asked for
    let asked: Vec<(String, String)> =
        sqlx::query_as("select name, reset_val from pg_settings where name like 'tcp%' and source = 'client' order by name")
            .fetch_all(&pool)
            .await
            .expect("reads");
    let asked: Vec<(&str, u32)> = asked
        .iter()
        .map(|(n, v)| (n.as_str(), v.parse().expect("a number")))
        .collect();
    let [
        ("tcp_keepalives_count", count),
        ("tcp_keepalives_idle", idle),
        ("tcp_keepalives_interval", interval),
        ("tcp_user_timeout", ms),
    ] = asked[..]
    else {
        panic!("{asked:?}");
    };
    assert!(idle + count * interval <= 30 && ms <= 30_000, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_took_longer_than_its_lease_begins_nothing() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let id = start(&app, json!({"collection_name": "r"})).await;
    let lease = Duration::from_millis(200);
    let settings = stillframe::jobs::WorkerSettings {
        slots: 1,
        lease,
        poll: Duration::from_secs(1),
        listen: None,
    };
    let token = tokio_util::sync::CancellationToken::new;
    let slow = stillframe::jobs::Worker::new(app.service.clone(), settings, token(), token());
    let mut claiming = app.pool.begin().await.expect("begins");
    stillframe::store::control::lock_claims(&mut claiming).await.expect("locked");
    let began = Instant::now();
    let draining = tokio::spawn(async move { slow.drain().await });
    // its claim waits for the other one
    let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())";
    while began.elapsed() < 2 * lease
        || sqlx::query_scalar::<_, i64>(waiting)
            .fetch_one(&app.pool)
            .await
            .expect("counts")
            == 0
    {
        sqlx::query("select 1").execute(&mut *claiming).await.expect("not silent");
    }
    claiming.commit().await.expect("commits");
    assert_eq!(draining.await.expect("ends").expect("drained"), 1);
    let pending = job(&app, &id).await;
    assert_eq!(pending["state"], "Pending", "nobody knows whose the task is: {pending}");
    app.set_clock(Duration::from_secs(31)).await;
    app.drain().await;
    assert_eq!(job(&app, &id).await["state"], "Completed");
}
