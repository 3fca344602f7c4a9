//! The collector on storage and on a database that fail under it, and beside another one.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use stillframe::domain::Code;
use stillframe::service::ServiceSettings;

use crate::support::app::quick;
use crate::support::faults::{Call, Fault, Faults};
use crate::support::{TestApp, postgres};

const C: i64 = 100;
/// In front of every key in the server's directory.
const PREFIX: &str = "bucket/some/prefix";
/// The lock of the one collector.
const LOCK: i64 = 7_234_689_102;

pub fn is_batch_delete(call: &Call) -> bool {
    call.method == Method::POST && call.query.starts_with("delete")
}

pub fn is_single_delete(call: &Call) -> bool {
    call.method == Method::DELETE
}

async fn dropped(faults: &Faults, segments: i64) -> TestApp {
    let app = TestApp::s3_behind(faults.clone(), quick(), |_| {}).await;
    app.small_collection("c", C).await;
    for segment in 0..segments {
        app.add_segment("c", C, 500 + segment).await;
    }
    app.delete("/v1/collections/c").await.expect(204);
    app
}

async fn collect(app: &TestApp) -> Value {
    app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created().json
}

async fn last_run(app: &TestApp) -> Value {
    app.get("/v1/gc/runs").await.ok().json["items"][0].clone()
}

async fn data_keys(app: &TestApp) -> usize {
    app.keys("insert_log/").await.len() + app.keys("stats_log/").await.len() + app.keys("index_files/").await.len()
}

async fn rows(app: &TestApp) -> i64 {
    sqlx::query_scalar("select (select count(*) from segments) + (select count(*) from index_builds)")
        .fetch_one(&app.pool)
        .await
        .expect("counts")
}

#[tokio::test]
async fn a_run_that_lost_its_session_deletes_no_more_and_says_why_it_failed() {
    let faults = Faults::default();
    let app = dropped(&faults, 20).await;
    // a store on which objects go one by one, slowly
    faults.set(|call| {
        if is_batch_delete(call) {
            return Some(Fault::Refuse(403, "AccessDenied"));
        }
        is_single_delete(call).then_some(Fault::Slow(Duration::from_millis(20)))
    });
    let body = json!({"grace_seconds": 0});
    let running = app.post("/v1/gc/runs", &body);
    let cut = async {
        faults.seen(is_single_delete).await;
        let ended: bool = sqlx::query_scalar(
            "select pg_terminate_backend(pid) from pg_locks
              where locktype = 'advisory' and (classid::bigint << 32) | objid::bigint = $1
                and database = (select oid from pg_database where datname = current_database())",
        )
        .bind(LOCK)
        .fetch_one(&app.pool)
        .await
        .expect("the collector's session is there");
        assert!(ended);
    };
    let (answer, ()) = tokio::join!(running, cut);
    answer.refused(503, "database_unavailable");
    let run = last_run(&app).await;
    assert_eq!(run["state"], "failed");
    assert!(run["error"].as_str().is_some_and(|e| e.contains("database")), "{run}");
    assert_eq!(
        faults.calls(is_single_delete).len(),
        20,
        "the index builds' files, and then no more"
    );
    assert_eq!((data_keys(&app).await, rows(&app).await), (60, 40), "no row goes on a guess");
    faults.clear();
    assert_eq!(collect(&app).await["failed_objects"], 0);
    assert_eq!((data_keys(&app).await, rows(&app).await), (0, 0));
}

#[tokio::test]
async fn a_storage_that_is_unmounted_under_a_run_loses_no_row() {
    let faults = Faults::default();
    let app = dropped(&faults, 2).await;
    let marker = app.directory.path().join(PREFIX).join("stillframe.json");
    let bytes = std::fs::read(&marker).expect("there");
    let gone = marker.clone();
    faults.set(move |call| {
        let gone = gone.clone();
        let unmount = move || std::fs::remove_file(gone).expect("removed");
        is_batch_delete(call).then(|| Fault::Then(Box::new(unmount)))
    });
    app.post("/v1/gc/runs", &json!({"grace_seconds": 0}))
        .await
        .refused(503, "storage_unavailable");
    faults.clear();
    assert_eq!(rows(&app).await, 4, "what seemed deleted is not forgotten");
    let run = last_run(&app).await;
    assert!(run["error"].as_str().is_some_and(|e| e.contains("mounted")), "{run}");
    std::fs::write(&marker, bytes).expect("mounted again");
    assert_eq!(collect(&app).await["segments"], 2);
    assert_eq!((data_keys(&app).await, rows(&app).await), (0, 0));
}

#[tokio::test]
async fn a_store_that_refuses_every_deletion_is_not_asked_a_thousand_times() {
    let faults = Faults::default();
    let app = dropped(&faults, 60).await;
    faults.set(|call| (is_batch_delete(call) || is_single_delete(call)).then_some(Fault::Refuse(403, "AccessDenied")));
    let run = collect(&app).await;
    assert_eq!(
        json!([run["state"], run["failed_objects"], run["candidates"]]),
        json!(["completed", 240, 120]),
        "{run}"
    );
    assert_eq!(faults.calls(is_single_delete).len(), 20, "ten of builds, ten of segments");
    assert_eq!((data_keys(&app).await, rows(&app).await), (240, 120));
    let failed = |run_id: String| {
        let app = &app;
        async move {
            let path = format!("/v1/gc/runs/{run_id}/items?outcome=failed&page_size=1000");
            app.get(&path).await.ok().json["items"].as_array().expect("items").len()
        }
    };
    assert_eq!(failed(run["run_id"].as_str().expect("id").to_string()).await, 240);
    // the timer's runs come every ten minutes
    app.set_clock(Duration::from_secs(11_000)).await;
    let run = app.service.collect_on_time().await.expect("runs");
    assert_eq!(run.report.failed_objects, 240);
    assert_eq!(failed(run.run_id.to_string()).await, 100);
    faults.clear();
    assert_eq!(collect(&app).await["segments"], 60);
}

#[tokio::test]
async fn a_store_that_asks_to_slow_down_is_not_asked_key_by_key() {
    let faults = Faults::default();
    // one object would not be a batch
    let app = dropped(&faults, 2).await;
    faults.set(|call| is_batch_delete(call).then_some(Fault::Refuse(503, "SlowDown")));
    let run = collect(&app).await;
    assert_eq!(json!([run["failed_objects"], rows(&app).await]), json!([8, 4]), "{run}");
    assert!(faults.calls(is_single_delete).is_empty());
    assert!(faults.calls(is_batch_delete).len() > 2, "it was tried again");
    faults.clear();
    assert_eq!(collect(&app).await["segments"], 2);
}

#[tokio::test]
async fn a_look_for_orphans_that_failed_is_recorded_and_tried_again_within_the_hour() {
    let faults = Faults::default();
    let app = TestApp::s3_behind(faults.clone(), quick(), |_| {}).await;
    faults.set(|call| {
        let lists = call.method == Method::GET && call.query.contains("list-type=2");
        lists.then_some(Fault::Refuse(403, "AccessDenied"))
    });
    let looked = async || {
        let run = app.service.collect_on_time().await.expect("runs");
        assert_eq!((run.state.as_str(), run.error), ("completed", None));
        (run.orphan_tolerance_seconds.is_some(), run.report.orphan_error)
    };
    let (first, error) = looked().await;
    assert!(first && error.expect("why").contains("listing"), "the first run looks");
    assert!(last_run(&app).await["orphan_error"].is_string());
    assert_eq!(looked().await, (false, None), "not in every run");
    faults.clear();
    app.set_clock(Duration::from_secs(3601)).await;
    assert_eq!(looked().await, (true, None), "again, and well");
    app.set_clock(Duration::from_secs(3601 + 23 * 3600)).await;
    assert_eq!(looked().await, (false, None), "then once a day");
    app.set_clock(Duration::from_secs(3601 + 24 * 3600)).await;
    assert_eq!(looked().await, (true, None));
}

#[tokio::test]
async fn of_two_runs_one_waits_or_is_refused() {
    let settings = ServiceSettings {
        gc_patience: Duration::ZERO,
        ..quick()
    };
    let impatient = TestApp::with_settings(settings).await;
    let patient = TestApp::local().await;
    for app in [&impatient, &patient] {
        let mut other = app.pool.acquire().await.expect("a connection").detach();
        sqlx::query("select pg_advisory_lock($1)")
            .bind(LOCK)
            .execute(&mut other)
            .await
            .expect("locked");
        let refused = app.service.collect_on_time().await.expect_err("it does not wait");
        assert_eq!(refused.code(), Code::GcRunInProgress);
        if std::ptr::eq(app, &impatient) {
            app.post("/v1/gc/runs", &json!({})).await.refused(409, "gc_run_in_progress");
            continue;
        }
        let body = json!({});
        let run = app.post("/v1/gc/runs", &body);
        let ends = async {
            // one that waits has a session of its own, which looks at the lock
            postgres::until(&app.pool, "select count(*) > 0 from pg_stat_activity where datname = current_database() and query like 'select pg_try_advisory_lock(7234689102)%'").await;
            drop(other);
        };
        let (run, ()) = tokio::join!(run, ends);
        assert_eq!(run.created().json["state"], "completed");
    }
}

#[tokio::test]
async fn a_create_on_failing_storage_leaves_nothing_and_its_name_free() {
    let faults = Faults::default();
    let app = TestApp::s3_behind(faults.clone(), quick(), |_| {}).await;
    app.small_collection("c", C).await;
    for segment in 500..503 {
        app.add_segment("c", C, segment).await;
    }
    let body = json!({"collection_name": "c", "snapshot_name": "s"});
    for part in ["/manifests/", "/metadata/"] {
        faults.set(move |call| {
            (call.method == Method::PUT && call.path.contains(part)).then_some(Fault::Refuse(403, "AccessDenied"))
        });
        app.post("/v1/snapshots", &body).await.refused(502, "storage_access_denied");
        app.get("/v1/snapshots/s").await.refused(404, "snapshot_not_found");
        faults.clear();
        collect(&app).await;
        assert_eq!(app.keys("snapshots/").await, Vec::<String>::new(), "{part}");
    }
    app.post("/v1/snapshots", &body).await.created();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_races_with_a_run_is_whole_or_refused() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    let everything = json!({"grace_seconds": 0});
    for round in 0..12 {
        // needed by the snapshot alone
        app.add_segment("c", C, 500 + round).await;
        let create = json!({"collection_name": "c", "snapshot_name": "s"});
        app.post("/v1/snapshots", &create).await.created();
        app.delete(&format!("/v1/collections/c/segments/{}", 500 + round))
            .await
            .expect(204);
        let target = format!("r{round}");
        let restore = json!({"collection_name": target});
        let (keeps, code) = match round % 3 {
            // taken back, or gone
            0 => {
                app.delete("/v1/snapshots/s").await.expect(204);
                let (run, back) = tokio::join!(
                    app.post("/v1/gc/runs", &everything),
                    app.call(Method::POST, "/v1/snapshots/s/undelete", None)
                );
                run.created();
                (back.status == 200, back.json["code"].clone())
            }
            // pinned, or dropped
            1 => {
                let pin = json!({"owner": "racer"});
                let (pinned, dropped, run) = tokio::join!(
                    app.post("/v1/snapshots/s/pins", &pin),
                    app.delete("/v1/snapshots/s"),
                    app.post("/v1/gc/runs", &everything)
                );
                run.created();
                assert_ne!(pinned.status == 201, dropped.status == 204, "{pinned:?} {dropped:?}");
                (pinned.status == 201, pinned.json["code"].clone())
            }
            // being restored, or dropped
            _ => {
                let (started, dropped, run) = tokio::join!(
                    app.post("/v1/snapshots/s/restore", &restore),
                    app.delete("/v1/snapshots/s"),
                    app.post("/v1/gc/runs", &everything)
                );
                run.created();
                assert_ne!(started.status == 202, dropped.status == 204, "{started:?} {dropped:?}");
                (started.status == 202, started.json["code"].clone())
            }
        };
        if keeps {
            app.post("/v1/gc/runs", &everything).await.created();
            if round % 3 != 2 {
                app.post("/v1/snapshots/s/restore", &restore).await.expect(202);
            }
            app.drain().await;
            let restored = app.get(&format!("/v1/collections/{target}")).await.ok().json;
            assert_eq!(restored["segment_count"], 1, "round {round}");
            for pin in app.get("/v1/snapshots/s/pins").await.ok().json["items"]
                .as_array()
                .expect("pins")
            {
                let path = format!("/v1/snapshots/s/pins/{}", pin["pin_id"].as_str().expect("id"));
                app.delete(&path).await.expect(204);
            }
            app.delete("/v1/snapshots/s").await.expect(204);
        } else {
            assert_eq!(code, "snapshot_not_found", "round {round}");
        }
        app.post("/v1/gc/runs", &everything).await.created();
        assert_eq!(app.keys(&format!("insert_log/{C}/")).await.len(), 0, "round {round}");
    }
}
