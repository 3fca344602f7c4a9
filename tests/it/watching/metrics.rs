//! What `/metrics` says, and what the documentation says of it. The registry is one of the whole
//! process, so counters are only seen to rise; the metrics of the catalog are those of the test.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::json;
use stillframe::objects::CopyFile;
use stillframe::service::{AuditLines, AuditSettings, AuthSettings};
use stillframe::telemetry::{self, ALL, Kind};

use super::webhook_receiver::Receiver;
use super::{read, webhooks};
use crate::collector_faults::{is_batch_delete, is_single_delete};
use crate::security::who::{Who, required};
use crate::support::faults::{Call, Fault, Faults};
use crate::support::{TestApp, app, jobs};

/// Samples: name with labels, value.
pub fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            (name.to_string(), value.parse().expect("a number"))
        })
        .collect()
}

/// The samples of an answer.
async fn scrape(app: &TestApp) -> BTreeMap<String, f64> {
    let answer = app.get("/metrics").await.ok();
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4");
    samples(&answer.text)
}

pub fn value(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    *samples.get(name).unwrap_or_else(|| panic!("no {name}"))
}

/// The sum of every sample of a metric whose labels hold these texts.
pub fn sum(samples: &BTreeMap<String, f64>, name: &str, with: &[&str]) -> f64 {
    let wanted = |key: &String| {
        let of = key
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
        of && with.iter().all(|text| key.contains(text))
    };
    samples.iter().filter(|(key, _)| wanted(key)).map(|(_, v)| v).sum()
}

/// Another process on the same catalog: what the first one read a moment ago is not known to it.
async fn fresh(app: &TestApp) -> BTreeMap<String, f64> {
    let settings = app.service.settings().clone();
    let service = stillframe::service::Service::new(app.pool.clone(), app.objects.clone(), settings);
    samples(&telemetry::render(&service.catalog_samples().await))
}

#[test]
fn the_table_in_the_documentation_is_the_one_of_the_code() {
    let text = read("docs/metrics.md");
    let (head, rest) = text.split_once("writes it anew -->\n").expect("a start");
    let (written, tail) = rest.split_once("<!-- end of metrics -->").expect("an end");
    let generated = telemetry::metrics_table();
    if std::env::var_os("UPDATE").is_some() {
        let updated = format!("{head}writes it anew -->\n{generated}<!-- end of metrics -->{tail}");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        std::fs::write(path, updated).expect("written");
        return;
    }
    assert_eq!(written, generated, "UPDATE=1 writes it anew");
}

#[test]
fn names_follow_prometheus_rules() {
    let mut seen = BTreeSet::new();
    for metric in ALL {
        assert!(seen.insert(metric.name), "{} twice", metric.name);
        let counts = metric.name.ends_with("_total");
        assert_eq!(counts, metric.kind == Kind::Counter, "{}", metric.name);
        assert!(metric.name.starts_with("stillframe_") && !metric.help.is_empty());
    }
}

#[tokio::test]
async fn a_snapshot_and_a_restore_are_seen_in_every_metric_that_they_move() {
    let app = TestApp::local().await;
    app.load_fixture().await;
    let before = scrape(&app).await;
    app.post("/v1/snapshots", &json!({"collection_name": "feas", "snapshot_name": "s"}))
        .await
        .created();
    app.post("/v1/snapshots/s/verify", &json!({"level": "size"})).await.ok();
    let job = jobs::start(&app, json!({"collection_name": "t"})).await;
    app.drain().await;
    assert_eq!(jobs::job(&app, &job).await["state"], "Completed");
    app.post("/v1/gc/runs", &json!({})).await.created();
    let after = scrape(&app).await;
    let rose = |name: &str, with: &[&str], by: f64| {
        let rise = sum(&after, name, with) - sum(&before, name, with);
        assert!(rise >= by, "{name} {with:?} rose by {rise}, not {by}");
    };
    rose(
        "stillframe_http_requests_total",
        &["route=\"/v1/snapshots\"", "status=\"201\"", "method=\"POST\""],
        1.0,
    );
    rose(
        "stillframe_http_request_seconds_count",
        &["route=\"/v1/snapshots/{snapshot_name}/restore\""],
        1.0,
    );
    rose("stillframe_snapshots_created_total", &[], 1.0);
    rose("stillframe_snapshot_create_seconds_count", &[], 1.0);
    rose(
        "stillframe_snapshot_verifications_total",
        &["level=\"size\"", "outcome=\"passed\""],
        1.0,
    );
    rose("stillframe_restore_jobs_total", &["state=\"Completed\""], 1.0);
    rose("stillframe_restore_tasks_total", &["kind=\"copy\"", "outcome=\"done\""], 1.0);
    rose("stillframe_restore_copied_files_total", &[], 48.0);
    rose("stillframe_restore_copied_bytes_total", &[], 8_964_728.0);
    for operation in ["write", "write_many", "list", "copy_many", "read"] {
        let label = format!("operation=\"{operation}\"");
        rose("stillframe_storage_calls_total", &[&label, "outcome=\"ok\""], 1.0);
        rose("stillframe_storage_call_seconds_count", &[&label], 1.0);
    }
    rose("stillframe_gc_runs_total", &["outcome=\"completed\""], 1.0);
    let now = fresh(&app).await;
    assert_eq!(value(&now, "stillframe_catalog_up"), 1.0);
    assert_eq!(value(&now, "stillframe_snapshots{state=\"committed\"}"), 1.0);
    assert_eq!(value(&now, "stillframe_snapshots{state=\"deleting\"}"), 0.0);
    assert_eq!(value(&now, "stillframe_bytes{kind=\"live\"}"), 2.0 * 8_964_728.0);
    assert!(value(&now, "stillframe_gc_last_completed_age_seconds") < 60.0);
    assert_eq!(
        value(&now, "stillframe_collections_without_snapshot"),
        1.0,
        "the restored one"
    );
}

#[tokio::test]
async fn every_sample_is_of_a_documented_metric_with_its_labels() {
    let app = TestApp::local().await;
    app.small_collection("c", 100).await;
    app.get("/metrics").await.ok();
    for key in scrape(&app).await.keys() {
        let (name, labels) = key.split_once('{').unwrap_or((key, "}"));
        let of = |m: &&telemetry::Metric| match m.kind {
            Kind::Histogram => ["_bucket", "_sum", "_count"]
                .iter()
                .any(|end| name.strip_suffix(end) == Some(m.name)),
            _ => m.name == name,
        };
        let metric = ALL.iter().find(of).unwrap_or_else(|| panic!("{key} is not documented"));
        let labels: BTreeSet<&str> = labels
            .trim_end_matches('}')
            .split("\",")
            .filter_map(|l| l.split_once('=').map(|(name, _)| name))
            .filter(|l| *l != "le")
            .collect();
        assert_eq!(labels, metric.labels.iter().copied().collect(), "{key}");
    }
}

#[tokio::test]
async fn jobs_and_tasks_that_wait_are_counted_by_state_and_abandoned_ones_stand_out() {
    let app = TestApp::local().await;
    jobs::snapshot(&app, 3).await;
    let job = jobs::start(&app, json!({"collection_name": "t"})).await;
    jobs::run_next(&app, 1).await;
    let claimed = jobs::claim(&app, 1).await;
    assert_eq!(claimed.len(), 1);
    let now = fresh(&app).await;
    assert_eq!(
        value(&now, "stillframe_restore_active_jobs{kind=\"restore\",state=\"InProgress\"}"),
        1.0
    );
    assert_eq!(value(&now, "stillframe_restore_active_tasks{state=\"available\"}"), 2.0);
    assert_eq!(value(&now, "stillframe_restore_active_tasks{state=\"running\"}"), 1.0);
    app.set_clock(Duration::from_secs(3600)).await;
    let later = fresh(&app).await;
    assert_eq!(value(&later, "stillframe_restore_active_tasks{state=\"expired\"}"), 1.0);
    assert_eq!(value(&later, "stillframe_restore_active_tasks{state=\"running\"}"), 0.0);
    jobs::act(&app, &job, "cancel").await;
    let end = fresh(&app).await;
    assert_eq!(
        value(&end, "stillframe_restore_active_jobs{kind=\"restore\",state=\"InProgress\"}"),
        0.0
    );
    assert_eq!(value(&end, "stillframe_restore_pending_cleanups{kind=\"restore\"}"), 1.0);
}

#[tokio::test]
async fn exports_are_counted_apart_from_restores() {
    let app = TestApp::local().await;
    jobs::snapshot(&app, 1).await;
    let export = app
        .post("/v1/snapshots/s/export", &json!({"target_path": "bundles"}))
        .await
        .expect(202)
        .json;
    let of = |kind: &str| format!("stillframe_restore_active_jobs{{kind=\"{kind}\",state=\"Pending\"}}");
    let now = fresh(&app).await;
    assert_eq!((value(&now, &of("export")), value(&now, &of("restore"))), (1.0, 0.0));
    jobs::run_next(&app, 1).await;
    let id = export["job_id"].as_str().expect("an id");
    app.post(&format!("/v1/export-jobs/{id}/cancel"), &json!({})).await.ok();
    let end = fresh(&app).await;
    let of = |kind: &str| format!("stillframe_restore_pending_cleanups{{kind=\"{kind}\"}}");
    assert_eq!((value(&end, &of("export")), value(&end, &of("restore"))), (1.0, 0.0));
}

/// The rises of counters over a stretch.
struct Rises(BTreeMap<String, f64>);

impl Rises {
    async fn from(app: &TestApp) -> Self {
        Self(scrape(app).await)
    }

    async fn at_least(&self, app: &TestApp, name: &str, with: &[&str], by: f64) {
        let rise = sum(&scrape(app).await, name, with) - sum(&self.0, name, with);
        assert!(rise >= by, "{name} {with:?} rose by {rise}, not {by}");
    }
}

#[tokio::test]
async fn a_task_of_a_worker_that_is_gone_counts_as_taken_over() {
    let app = TestApp::local().await;
    jobs::snapshot(&app, 1).await;
    let job = jobs::start(&app, json!({"collection_name": "t"})).await;
    let rises = Rises::from(&app).await;
    jobs::run_next(&app, 1).await;
    // claimed by another worker, which says no more
    jobs::claim_one(&app).await;
    app.set_clock(Duration::from_secs(3600)).await;
    app.drain().await;
    assert_eq!(jobs::job(&app, &job).await["state"], "Completed");
    rises
        .at_least(&app, "stillframe_restore_lease_takeovers_total", &[], 1.0)
        .await;
}

#[tokio::test]
async fn a_task_that_is_cancelled_under_its_worker_counts_as_lost() {
    let faults = Faults::default();
    let app = TestApp::s3_behind(faults.clone(), app::quick(), |_| {}).await;
    jobs::snapshot(&app, 1).await;
    let job = jobs::start(&app, json!({"collection_name": "t"})).await;
    let rises = Rises::from(&app).await;
    // not the copy by which the storage was probed
    let of_data = |call: &Call| call.is_copy() && call.path.contains("insert_log");
    faults.set(move |call| of_data(call).then_some(Fault::Slow(Duration::from_secs(600))));
    let cancelled = async {
        faults.seen(of_data).await;
        jobs::act(&app, &job, "cancel").await;
    };
    // the worker hears of it by its next heartbeat
    futures::join!(app.drain(), cancelled);
    rises.at_least(&app, "stillframe_restore_lease_losses_total", &[], 1.0).await;
    rises
        .at_least(
            &app,
            "stillframe_restore_tasks_total",
            &["kind=\"copy\"", "outcome=\"lost\""],
            1.0,
        )
        .await;
}

#[tokio::test]
async fn copies_and_requests_that_are_tried_again_are_counted() {
    let faults = Faults::default();
    let app = TestApp::s3_behind(faults.clone(), app::quick(), |_| {}).await;
    jobs::snapshot(&app, 1).await;
    let job = jobs::start(&app, json!({"collection_name": "t"})).await;
    let rises = Rises::from(&app).await;
    // a copy that fails is begun anew; what else fails the library tries again by itself
    let (mut copies, mut lists) = (1, 1);
    faults.set(move |call| {
        let left = match (call.is_copy(), call.query.contains("list-type")) {
            (true, _) => &mut copies,
            (false, true) => &mut lists,
            _ => return None,
        };
        let fails = *left > 0;
        *left -= i32::from(fails);
        fails.then_some(Fault::Refuse(500, "InternalError"))
    });
    for minutes in 0..10 {
        app.set_clock(Duration::from_secs(60 * minutes)).await;
        app.drain().await;
    }
    assert_eq!(jobs::job(&app, &job).await["state"], "Completed");
    rises.at_least(&app, "stillframe_restore_copy_retries_total", &[], 1.0).await;
    rises.at_least(&app, "stillframe_storage_retries_total", &[], 1.0).await;
}

#[tokio::test]
async fn exports_that_end_are_counted_by_how() {
    let app = TestApp::local().await;
    jobs::snapshot(&app, 1).await;
    let rises = Rises::from(&app).await;
    app.post("/v1/snapshots/s/export", &json!({"target_path": "bundles"}))
        .await
        .expect(202);
    app.drain().await;
    rises
        .at_least(&app, "stillframe_export_jobs_total", &["state=\"Completed\""], 1.0)
        .await;
    // of the second a file is gone
    let gone = app.directory.path().join("insert_log");
    std::fs::remove_dir_all(gone).expect("removed");
    app.post("/v1/snapshots/s/export", &json!({"target_path": "bundles"}))
        .await
        .expect(202);
    app.drain().await;
    rises
        .at_least(&app, "stillframe_export_jobs_total", &["state=\"Failed\""], 1.0)
        .await;
}

#[tokio::test]
async fn calls_of_the_storage_that_do_not_work_are_counted_by_why() {
    let faults = Faults::default();
    let app = TestApp::s3_behind(faults.clone(), app::quick(), |_| {}).await;
    app.objects.put("there", b"x".to_vec()).await.expect("written");
    let file = CopyFile {
        source: "there",
        target: "copy",
        size_bytes: 1,
        etag: None,
    };
    for (status, code, outcome) in [
        (403, "AccessDenied", "refused"),
        (507, "XMinioStorageFull", "full"),
        (500, "InternalError", "failed"),
        (503, "SlowDown", "throttled"),
    ] {
        let rises = Rises::from(&app).await;
        faults.set(move |_| Some(Fault::Refuse(status, code)));
        app.objects.copy(&file).await.expect_err(outcome);
        let label = format!("outcome=\"{outcome}\"");
        let with = ["operation=\"copy\"", &label];
        rises.at_least(&app, "stillframe_storage_calls_total", &with, 1.0).await;
    }
}

/// Bytes that no other test of this process comes near to, so that a rise by them is this test's.
const MUCH: i64 = 1_000_000_000_000_000;

#[tokio::test]
async fn what_the_collector_deletes_and_what_it_can_not_is_counted_also_of_a_run_that_fails() {
    let faults = Faults::default();
    let app = TestApp::s3_behind(faults.clone(), app::quick(), |_| {}).await;
    app.small_collection("c", jobs::C).await;
    for segment in [500, 501] {
        app.add_segment("c", jobs::C, segment).await;
    }
    for statement in [
        "update segments set size_bytes = $1",
        "update index_builds set size_bytes = $1",
    ] {
        let sized = sqlx::query(statement).bind(MUCH).execute(&app.pool).await.expect("updated");
        assert_eq!(sized.rows_affected(), 2);
    }
    app.delete("/v1/collections/c").await.expect(204);
    let body = json!({"grace_seconds": 0});
    let collect = async || app.post("/v1/gc/runs", &body).await;

    faults.set(|call| (is_batch_delete(call) || is_single_delete(call)).then_some(Fault::Refuse(403, "AccessDenied")));
    let rises = Rises::from(&app).await;
    assert_eq!(collect().await.created().json["failed_objects"], 8);
    rises.at_least(&app, "stillframe_gc_failed_objects_total", &[], 8.0).await;

    // the objects of the index builds go, and with those of the segments the whole storage
    let marker = app.directory.path().join("bucket/some/prefix/stillframe.json");
    let (kept, gone) = (std::fs::read(&marker).expect("there"), marker.clone());
    let mut batches = 0;
    faults.set(move |call| {
        batches += i32::from(is_batch_delete(call));
        let gone = gone.clone();
        let unmount = move || std::fs::remove_file(gone).expect("removed");
        (is_batch_delete(call) && batches == 2).then(|| Fault::Then(Box::new(unmount)))
    });
    let rises = Rises::from(&app).await;
    collect().await.refused(503, "storage_unavailable");
    rises
        .at_least(&app, "stillframe_gc_runs_total", &["outcome=\"failed\""], 1.0)
        .await;
    rises.at_least(&app, "stillframe_gc_objects_total", &[], 2.0).await;
    rises
        .at_least(&app, "stillframe_gc_bytes_total", &[], 2.0 * MUCH as f64)
        .await;

    std::fs::write(&marker, kept).expect("mounted again");
    faults.clear();
    assert_eq!(collect().await.created().json["segments"], 2);
    rises.at_least(&app, "stillframe_gc_objects_total", &[], 8.0).await;
    rises
        .at_least(&app, "stillframe_gc_bytes_total", &[], 4.0 * MUCH as f64)
        .await;
}

#[tokio::test]
async fn a_collector_that_never_ran_is_as_old_as_the_catalog() {
    let app = TestApp::local().await;
    app.set_clock(Duration::from_secs(4 * 3600)).await;
    app.post("/v1/gc/runs", &json!({"dry_run": true})).await.created();
    let age = value(&fresh(&app).await, "stillframe_gc_last_completed_age_seconds");
    assert!((4.0 * 3600.0..5.0 * 3600.0).contains(&age), "{age}");
    app.post("/v1/gc/runs", &json!({})).await.created();
    assert!(value(&fresh(&app).await, "stillframe_gc_last_completed_age_seconds") < 60.0);
}

#[tokio::test]
async fn the_outbox_is_seen_from_a_change_to_its_delivery_or_its_end() {
    let app = TestApp::with_settings(webhooks::settings()).await;
    let receiver = Receiver::start().await;
    webhooks::webhook(&app, &receiver.url, &["snapshot.created"]).await;
    let outbox = async || {
        let now = fresh(&app).await;
        let of = |name: &str| value(&now, &format!("stillframe_webhook_{name}"));
        (
            of("pending_deliveries"),
            of("given_up_deliveries"),
            of("oldest_pending_seconds"),
        )
    };
    assert_eq!(outbox().await, (0.0, 0.0, 0.0));
    let rises = Rises::from(&app).await;
    let tries = async |outcome: &str| {
        let label = format!("outcome=\"{outcome}\"");
        rises.at_least(&app, "stillframe_webhook_tries_total", &[&label], 1.0).await;
    };
    jobs::snapshot(&app, 1).await;
    let snapshot = async |name: &str| {
        let body = json!({"collection_name": "c", "snapshot_name": name});
        app.post("/v1/snapshots", &body).await.created();
    };
    receiver.answer(&[500]);
    webhooks::deliver(&app).await;
    tries("failed").await;
    app.set_clock(Duration::from_secs(2000)).await;
    let (pending, given_up, age) = outbox().await;
    assert_eq!((pending, given_up), (1.0, 0.0));
    assert!((2000.0..2100.0).contains(&age), "{age}");
    webhooks::deliver(&app).await;
    tries("delivered").await;
    assert_eq!(outbox().await, (0.0, 0.0, 0.0));

    receiver.answer(&[410]);
    snapshot("gone").await;
    webhooks::deliver(&app).await;
    tries("gave_up").await;
    assert_eq!(outbox().await, (0.0, 1.0, 0.0));
    // nobody tries it in its three days
    snapshot("never_told").await;
    app.set_clock(Duration::from_secs(4 * 24 * 3600)).await;
    app.post("/v1/gc/runs", &json!({})).await.created();
    tries("expired").await;
    assert_eq!(outbox().await, (0.0, 2.0, 0.0));
}

#[tokio::test]
async fn calls_that_the_audit_log_has_not_are_counted_by_why() {
    let auth = AuthSettings {
        open_monitoring: true,
        audit: AuditSettings {
            lines: Some(AuditLines::File("/dev/full".into())),
            ..AuditSettings::default()
        },
        ..required()
    };
    let app = TestApp::with_auth(auth).await;
    let rises = Rises::from(&app).await;
    let lost = async |reason: &str| {
        let label = format!("reason=\"{reason}\"");
        rises
            .at_least(&app, "stillframe_audit_lost_events_total", &[&label], 1.0)
            .await;
    };
    let create = async |name: &str| {
        Who::admin(&app).post("/v1/databases", &json!({"name": name})).await.created();
    };
    create("a").await;
    lost("lines").await;
    sqlx::query("alter table audit_events rename to elsewhere")
        .execute(&app.pool)
        .await
        .expect("renamed");
    create("b").await;
    lost("database").await;
    // twenty in a second are recorded
    let strangers = (0..200).map(|_| app.get("/v1/databases"));
    futures::future::join_all(strangers).await;
    lost("too_fast").await;
}

#[tokio::test]
async fn calls_of_milvus_api_are_timed() {
    let app = TestApp::local().await;
    let rises = Rises::from(&app).await;
    let path = "/v2/vectordb/snapshots/describe";
    app.post(path, &json!({"collectionName": "nothing", "snapshotName": "s"}))
        .await
        .ok();
    let label = format!("call=\"{path}\"");
    rises
        .at_least(&app, "stillframe_milvus_call_seconds_count", &[&label], 1.0)
        .await;
    rises
        .at_least(&app, "stillframe_milvus_calls_total", &[&label, "code=\"100\""], 1.0)
        .await;
}

/// A rise from nothing is only seen by `increase()` when the zero was there.
#[tokio::test]
async fn counters_that_alerts_watch_are_there_before_they_count() {
    let app = TestApp::local().await;
    let now = scrape(&app).await;
    for name in [
        "stillframe_restore_lease_losses_total",
        "stillframe_gc_failed_objects_total",
        "stillframe_restore_jobs_total{state=\"Failed\"}",
        "stillframe_export_jobs_total{state=\"Failed\"}",
        "stillframe_snapshot_verifications_total{level=\"checksum\",outcome=\"failed\"}",
        "stillframe_webhook_tries_total{outcome=\"gave_up\"}",
        "stillframe_webhook_tries_total{outcome=\"expired\"}",
        "stillframe_audit_lost_events_total{reason=\"database\"}",
        "stillframe_audit_lost_events_total{reason=\"lines\"}",
        "stillframe_storage_calls_total{operation=\"write\",outcome=\"full\"}",
        "stillframe_storage_calls_total{operation=\"copy\",outcome=\"full\"}",
    ] {
        assert!(now.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn ages_of_the_newest_snapshots_are_bounded_in_number_and_the_oldest_come_first() {
    let settings = stillframe::service::ServiceSettings {
        metrics_collections: 2,
        ..app::quick()
    };
    let app = TestApp::with_settings(settings).await;
    for (n, hours) in [(1, 5), (2, 9), (3, 1)] {
        let name = format!("c{n}");
        app.small_collection(&name, 100 * n).await;
        app.set_clock(Duration::from_secs(3600 * (10 - hours))).await;
        app.post(
            "/v1/snapshots",
            &json!({"collection_name": name, "snapshot_name": "s", "allow_unbounded": true}),
        )
        .await
        .created();
    }
    app.set_clock(Duration::from_secs(36_000)).await;
    let now = fresh(&app).await;
    let ages: Vec<(&String, &f64)> = now
        .iter()
        .filter(|(key, _)| key.starts_with("stillframe_newest_snapshot_age_seconds"))
        .collect();
    let labels = |n: i64| {
        format!(
            "stillframe_newest_snapshot_age_seconds{{db=\"default\",collection=\"c{n}\",collection_id=\"{}\"}}",
            100 * n
        )
    };
    assert_eq!(ages.len(), 2, "{ages:?}");
    for (n, hours) in [(1, 5.0), (2, 9.0)] {
        let age = value(&now, &labels(n)) / 3600.0;
        assert!((age - hours).abs() < 0.1, "c{n}: {age}");
    }
}

#[tokio::test]
async fn paths_and_methods_that_nobody_knows_make_no_new_series() {
    let app = TestApp::local().await;
    for n in 0..20 {
        let path = format!("/v1/nothing-{n}-{}", uuid::Uuid::new_v4());
        let method = axum::http::Method::from_bytes(format!("WORD{n}").as_bytes()).expect("a word");
        app.call(method, &path, None).await;
        app.get(&format!("/v1/snapshots/secret-name-{n}"))
            .await
            .refused(404, "snapshot_not_found");
    }
    let text = app.get("/metrics").await.ok().text;
    assert!(
        !text.contains("nothing-") && !text.contains("secret-name") && !text.contains("WORD"),
        "{text}"
    );
    assert!(text.contains("method=\"other\",route=\"unmatched\""), "{text}");
}

#[tokio::test]
async fn without_its_database_the_service_still_answers_its_own_metrics_and_says_so() {
    let app = TestApp::local().await;
    app.pool.close().await;
    let now = scrape(&app).await;
    assert_eq!(value(&now, "stillframe_catalog_up"), 0.0);
    assert_eq!(sum(&now, "stillframe_snapshots", &[]), 0.0);
    assert!(!now.keys().any(|k| k.starts_with("stillframe_snapshots{")), "stale counts");
    assert!(now.contains_key("stillframe_postgres_connections_max"));
}

/// Rows straight into the tables: the service would take minutes.
#[tokio::test]
async fn a_scrape_of_a_large_catalog_is_quick_and_the_next_one_reads_nothing() {
    let app = TestApp::local().await;
    app.small_collection("c", 100).await;
    for statement in [
        "insert into collections (collection_id, db_id, name, state, ownership, num_shards, consistency_level, schema)
         select 1000 + n, 1, 'c' || n, 'active', 'owned', 1, 'Bounded', '{}' from generate_series(1, 1000) n",
        "insert into channels (collection_id, channel_name, shard_no) select 1000 + n, 'ch', 0 from generate_series(1, 1000) n",
        "insert into segments (segment_id, collection_id, partition_id, channel_name, level, state, num_of_rows, has_data, file_count, size_bytes)
         select 1000000 + n, 1001 + n % 1000, 1, 'ch', 'L1', 'flushed', 1, true, 40, 1000 from generate_series(1, 100000) n",
        "insert into snapshots (snapshot_id, collection_id, db_id, name, state, create_ts, committed_at)
         select n, 1001 + n % 1000, 1, 's' || n, 'committed', 1, stillframe_now() from generate_series(1, 10000) n",
        "analyze",
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&app.pool).await.expect("filled");
    }
    let began = Instant::now();
    let now = scrape(&app).await;
    let (first, began) = (began.elapsed(), Instant::now());
    assert_eq!(value(&now, "stillframe_snapshots{state=\"committed\"}"), 10_000.0);
    let series = now.keys().filter(|k| k.starts_with("stillframe_newest_snapshot_age_seconds"));
    assert_eq!(series.count(), 100);
    sqlx::query("delete from snapshots where snapshot_id = 1")
        .execute(&app.pool)
        .await
        .expect("deleted");
    let again = scrape(&app).await;
    let second = began.elapsed();
    assert_eq!(
        value(&again, "stillframe_snapshots{state=\"committed\"}"),
        10_000.0,
        "it was read again"
    );
    println!("first scrape {first:?}, second {second:?}");
    // far more than it takes: the machine may be busy
    assert!(first < Duration::from_secs(5), "{first:?}");
    assert!(second < first, "{second:?} {first:?}");
}
