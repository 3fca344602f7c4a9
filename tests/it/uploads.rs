//! Multipart uploads that nobody ends.

use std::time::Duration;

use serde_json::{Value, json};
use stillframe::objects::StorageUrl;

use crate::support::app::quick;
use crate::support::faults::{Call, Fault, Faults};
use crate::support::jobs::{act, claim_one, job, run, snapshot, start};
use crate::support::{TestApp, s3};

const C: i64 = 100;
const MIB: usize = 1024 * 1024;

/// Begins an upload as a process does that is killed in it.
async fn begin(app: &TestApp, key: &str) {
    let StorageUrl::S3 { endpoint, bucket, .. } = app.objects.url() else {
        panic!("not on S3")
    };
    let service = opendal::services::S3::default()
        .bucket(bucket)
        .endpoint(endpoint.as_deref().expect("one"))
        .region("us-east-1")
        .access_key_id(s3::KEY)
        .secret_access_key(s3::SECRET)
        .disable_config_load();
    let operator = opendal::Operator::new(service).expect("opens");
    let mut writer = operator.writer_with(key).chunk(5 * MIB).await.expect("opens");
    writer.write(vec![7_u8; 11 * MIB]).await.expect("a part is written");
    std::mem::forget(writer);
}

/// Keys of the uploads that are open.
fn open(app: &TestApp) -> usize {
    let names = s3::open_uploads(app.directory.path());
    names.iter().filter(|n| n.starts_with(".upload-")).count()
}

async fn look(app: &TestApp, tolerance: i64, dry_run: bool) -> Value {
    let body = json!({"grace_seconds": 0, "orphans": true, "orphan_tolerance_seconds": tolerance, "dry_run": dry_run});
    let run = app.post("/v1/gc/runs", &body).await.created().json;
    assert_eq!(run.get("orphan_error"), None, "{run}");
    run
}

async fn items(app: &TestApp, run: &Value) -> Vec<Value> {
    let path = format!(
        "/v1/gc/runs/{}/items?kind=multipart_upload",
        run["run_id"].as_str().expect("id")
    );
    app.get(&path).await.ok().json["items"].as_array().expect("items").clone()
}

/// Id of the collection, and of its only segment.
async fn ids(app: &TestApp, name: &str) -> (String, String) {
    let collection = app.get(&format!("/v1/collections/{name}")).await.ok().json;
    let segments = app.get(&format!("/v1/collections/{name}/segments")).await.ok().json;
    let id = |value: &Value| value.as_str().expect("an id").to_string();
    (id(&collection["collection_id"]), id(&segments["items"][0]["segment_id"]))
}

#[tokio::test]
async fn a_look_aborts_what_restores_left_behind_and_nothing_else() {
    let app = TestApp::s3_listing_uploads(Faults::default(), |_| {}).await;
    snapshot(&app, 1).await;
    start(&app, json!({"collection_name": "r"})).await;
    app.drain().await;
    let (collection, segment) = ids(&app, "r").await;
    let left = format!("some/prefix/insert_log/{collection}/1/{segment}/100/9");
    begin(&app, &left).await;
    // of the engine, of nobody, and of another root whose name begins alike
    for other in [
        format!("some/prefix/insert_log/{C}/101/500/100/9"),
        "some/prefix/elsewhere/x".to_string(),
        format!("some/prefix2/insert_log/{collection}/1/{segment}/100/9"),
    ] {
        begin(&app, &other).await;
    }
    // and of a job that runs
    let running = start(&app, json!({"collection_name": "r2"})).await;
    run(&app, &claim_one(&app).await).await;
    let (target, of_target): (i64, i64) = sqlx::query_as(
        "select s.collection_id, s.segment_id from segments s join restore_jobs j using (collection_id) where j.finished_at is null",
    )
    .fetch_one(&app.pool)
    .await
    .expect("laid out");
    begin(&app, &format!("some/prefix/insert_log/{target}/1/{of_target}/100/9")).await;
    assert_eq!(open(&app), 5);

    let young = look(&app, 3600, false).await;
    assert_eq!(
        json!([young["uploads_found"], young["uploads_aborted"]]),
        json!([1, 0]),
        "{young}"
    );
    let kept = items(&app, &young).await;
    assert_eq!(json!([kept.len(), kept[0]["outcome"]]), json!([1, "kept"]), "{kept:?}");
    let dry = look(&app, 0, true).await;
    assert_eq!(json!([dry["uploads_found"], dry["uploads_aborted"]]), json!([1, 1]), "{dry}");
    let would = items(&app, &dry).await;
    assert_eq!(would[0]["outcome"], "would_delete");
    let name = would[0]["name"].as_str().expect("text");
    assert!(format!("some/prefix/{name}").starts_with(&left), "{name}");
    assert_eq!(open(&app), 5, "a dry run changes nothing");
    let real = look(&app, 0, false).await;
    assert_eq!(
        json!([real["uploads_found"], real["uploads_aborted"]]),
        json!([1, 1]),
        "{real}"
    );
    assert_eq!(open(&app), 4);
    assert_eq!(look(&app, 0, false).await["uploads_found"], 0);

    // a job that has ended writes no more; its clean-up takes it along
    act(&app, &running, "cancel").await;
    app.set_clock(Duration::from_secs(1000)).await;
    app.drain().await;
    assert_eq!(job(&app, &running).await["cleanup"], "done");
    assert_eq!(open(&app), 3);
}

#[tokio::test]
async fn an_upload_that_an_engine_may_be_writing_to_a_restored_segment_is_left_for_the_tolerance_of_orphans() {
    const WEEK: i64 = 7 * 24 * 3600;
    let app = TestApp::s3_listing_uploads(Faults::default(), |_| {}).await;
    snapshot(&app, 1).await;
    for name in ["r", "given_up"] {
        start(&app, json!({"collection_name": name})).await;
        app.drain().await;
        let (collection, segment) = ids(&app, name).await;
        begin(&app, &format!("some/prefix/delta_log/{collection}/1/{segment}/9")).await;
    }
    app.delete("/v1/collections/given_up").await.expect(204);
    let counts = |run: &Value| json!([run["uploads_found"], run["uploads_aborted"]]);
    assert_eq!(counts(&look(&app, WEEK, false).await), json!([2, 0]));
    app.set_clock(Duration::from_secs(2 * 3600)).await;
    let run = look(&app, WEEK, false).await;
    assert_eq!(counts(&run), json!([2, 1]), "of the dropped one: {run}");
    let kept = items(&app, &run).await;
    let why = kept
        .iter()
        .filter_map(|i| i["reason"].as_str())
        .find(|why| why.contains("engine"));
    assert!(why.is_some_and(|why| why.contains("after 604800 seconds")), "{kept:?}");
    assert_eq!(open(&app), 1);
    // nobody writes for a week
    app.set_clock(Duration::from_secs(8 * 24 * 3600)).await;
    assert_eq!(counts(&look(&app, WEEK, false).await), json!([1, 1]));
    assert_eq!(open(&app), 0);
}

#[tokio::test]
async fn what_a_worker_could_not_abort_goes_with_the_clean_up_of_its_restore() {
    const SIZE: usize = 11 * MIB;
    let faults = Faults::default();
    let app = TestApp::s3_listing_uploads(faults.clone(), |options| options.multipart_above = 10 * 1024 * 1024).await;
    app.small_collection("c", C).await;
    let mut segment = app.small_segment(C, 500).await;
    app.objects
        .put("insert_log/100/101/500/100/5100", vec![7; SIZE])
        .await
        .expect("written");
    segment["binlogs"][0]["logs"][0]["size_bytes"] = json!(SIZE);
    app.post("/v1/collections/c/segments", &segment).await.created();
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
    let id = start(&app, json!({"collection_name": "r"})).await;
    run(&app, &claim_one(&app).await).await;
    faults.set(|call| {
        if call.is_abort() {
            return Some(Fault::Refuse(403, "AccessDenied"));
        }
        call.is_part_copy().then_some(Fault::Slow(Duration::from_secs(1)))
    });
    let worker = app.worker.clone();
    let working = tokio::spawn(async move { worker.drain().await });
    faults.seen(Call::is_part_copy).await;
    act(&app, &id, "cancel").await;
    working.await.expect("no panic").expect("drained");
    app.objects.settle(Duration::from_secs(30)).await;
    assert_eq!(open(&app), 1, "it could not be aborted");
    faults.clear();
    app.set_clock(Duration::from_secs(1000)).await;
    app.drain().await;
    assert_eq!(job(&app, &id).await["cleanup"], "done");
    assert_eq!(s3::open_uploads(app.directory.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_store_that_does_not_list_uploads_is_said_in_the_report() {
    let app = TestApp::s3().await;
    let run = look(&app, 0, false).await;
    let why = run["uploads_unlisted"].as_str().expect("a reason");
    assert!(why.contains("NotImplemented"), "{why}");
    let run = look(&TestApp::local().await, 0, false).await;
    assert_eq!(run.get("uploads_unlisted"), None, "a directory has none: {run}");
}

#[tokio::test]
async fn what_is_written_in_parts_is_aborted_although_its_writer_went_away_and_the_store_refused_at_first() {
    let faults = Faults::default();
    let app = TestApp::s3_behind(faults.clone(), quick(), |_| {}).await;
    let mut refusals = 2;
    faults.set(move |call| {
        if call.is_initiate() {
            // called off now: only its answer names the upload
            return Some(Fault::Slow(Duration::from_millis(500)));
        }
        let refused = call.is_abort() && refusals > 0;
        refusals -= i32::from(refused);
        refused.then_some(Fault::Refuse(403, "AccessDenied"))
    });
    let mut sink = app.objects.sink("snapshots/100/receipts/1.json").await.expect("opens");
    let writing = tokio::spawn(async move { sink.write(vec![7; 20 * MIB]).await });
    faults.seen(Call::is_initiate).await;
    writing.abort();
    assert!(writing.await.is_err(), "it was called off");
    app.objects.settle(Duration::from_secs(30)).await;
    assert_eq!(open(&app), 0, "an upload is left behind");
    assert_eq!(faults.calls(Call::is_abort).len(), 3);
}
