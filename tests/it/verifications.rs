//! Verifying snapshots.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::TestApp;
use crate::support::app::quick;
use crate::support::faults::{Fault, Faults};

const C: i64 = 100;
const DATA: &str = "stats_log/100/101/501/100/5110";

async fn snapshot(app: &TestApp) -> String {
    app.small_collection("c", C).await;
    for segment in 500..503 {
        app.add_segment("c", C, segment).await;
    }
    let created = app
        .post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created()
        .json;
    created["snapshot_id"].as_str().expect("id").to_string()
}

async fn verify(app: &TestApp, level: &str) -> Value {
    app.post("/v1/snapshots/s/verify", &json!({"level": level})).await.ok().json
}

/// Outcome, and path and problem of the only one.
fn seen(result: &Value) -> Value {
    assert_eq!(
        result["problem_count"].as_u64().expect("a number") as usize,
        result["problems"].as_array().expect("list").len(),
        "{result}"
    );
    json!([
        result["outcome"],
        result["problems"][0]["path"],
        result["problems"][0]["problem"],
        result["problem_count"]
    ])
}

#[track_caller]
fn passed(result: &Value) {
    assert_eq!(seen(result), json!(["passed", null, null, 0]), "{result}");
}

/// Replaces an object by one of the same size.
async fn overwrite(app: &TestApp, key: &str) {
    let size = app.objects.get(key, 1 << 20).await.expect("read").expect("there").len();
    app.objects.put(key, vec![b'?'; size]).await.expect("written");
}

#[tokio::test]
async fn a_sound_snapshot_passes_at_every_level_and_describe_says_when() {
    let app = TestApp::local().await;
    snapshot(&app).await;
    let described = app.get("/v1/snapshots/s").await.ok().json;
    assert!(described.get("last_verified_at").is_none(), "{described}");
    for level in ["exists", "size", "checksum"] {
        let result = verify(&app, level).await;
        passed(&result);
        assert_eq!(
            json!([result["level"], result["files"], result["manifests"]]),
            json!([level, 12, 3])
        );
        let described = app.get("/v1/snapshots/s").await.ok().json;
        assert_eq!(described["last_verified_at"], result["finished_at"]);
        assert_eq!(described["last_verification"], result);
        // on a directory nothing but the manifests' sums can be compared at first
        let read = if level == "checksum" { [15, 12] } else { [0, 0] };
        assert_eq!(
            json!([result["read_files"], result["not_comparable"]]),
            json!(read),
            "{result}"
        );
    }
}

#[tokio::test]
async fn a_missing_file_is_seen_at_every_level() {
    let app = TestApp::local().await;
    snapshot(&app).await;
    assert!(app.objects.delete(vec![DATA.into()]).await.is_empty());
    for level in ["exists", "size", "checksum"] {
        assert_eq!(
            seen(&verify(&app, level).await),
            json!(["failed", DATA, "missing", 1]),
            "{level}"
        );
    }
    let described = app.get("/v1/snapshots/s").await.ok().json;
    assert_eq!(described["last_verification"]["outcome"], "failed");
}

#[tokio::test]
async fn a_file_that_was_cut_is_seen_from_level_size_on() {
    let app = TestApp::local().await;
    snapshot(&app).await;
    app.objects.put(DATA, b"cut".to_vec()).await.expect("written");
    passed(&verify(&app, "exists").await);
    for level in ["size", "checksum"] {
        assert_eq!(
            seen(&verify(&app, level).await),
            json!(["failed", DATA, "wrong_size", 1]),
            "{level}"
        );
    }
}

#[tokio::test]
async fn a_corrupted_manifest_is_seen_by_its_sum() {
    let app = TestApp::local().await;
    let id = snapshot(&app).await;
    let manifest = format!("snapshots/100/manifests/{id}/501.avro");
    overwrite(&app, &manifest).await;
    passed(&verify(&app, "exists").await);
    passed(&verify(&app, "size").await);
    assert_eq!(
        seen(&verify(&app, "checksum").await),
        json!(["failed", manifest, "wrong_checksum", 1])
    );
    app.objects.put(&manifest, b"cut".to_vec()).await.expect("written");
    assert_eq!(
        seen(&verify(&app, "size").await),
        json!(["failed", manifest, "wrong_size", 1])
    );
    assert!(app.objects.delete(vec![manifest.clone()]).await.is_empty());
    assert_eq!(seen(&verify(&app, "exists").await), json!(["failed", manifest, "missing", 1]));
}

#[tokio::test]
async fn a_lost_or_broken_metadata_file_is_seen_at_every_level() {
    let app = TestApp::local().await;
    let id = snapshot(&app).await;
    let key = format!("snapshots/100/metadata/{id}.json");
    app.objects.put(&key, b"{}".to_vec()).await.expect("written");
    assert_eq!(seen(&verify(&app, "exists").await), json!(["failed", key, "unreadable", 1]));
    assert!(app.objects.delete(vec![key.clone()]).await.is_empty());
    assert_eq!(seen(&verify(&app, "exists").await), json!(["failed", key, "missing", 1]));
}

#[tokio::test]
async fn on_s3_the_bytes_are_compared_with_the_recorded_etag() {
    let (app, _) = TestApp::s3_with_etags().await;
    snapshot(&app).await;
    let result = verify(&app, "checksum").await;
    passed(&result);
    assert_eq!(json!([result["read_files"], result["not_comparable"]]), json!([15, 0]));
    overwrite(&app, DATA).await;
    passed(&verify(&app, "size").await);
    assert_eq!(
        seen(&verify(&app, "checksum").await),
        json!(["failed", DATA, "wrong_etag", 1])
    );
}

#[tokio::test]
async fn a_sample_reads_fewer_data_files_and_all_manifests() {
    let app = TestApp::local().await;
    snapshot(&app).await;
    let body = json!({"level": "checksum", "sample": 1e-9});
    let result = app.post("/v1/snapshots/s/verify", &body).await.ok().json;
    passed(&result);
    assert_eq!(
        json!([result["files"], result["read_files"], result["sample"]]),
        json!([12, 3, 1e-9])
    );
    for sample in [json!(0), json!(1.5), json!(-1)] {
        let body = json!({"level": "checksum", "sample": sample});
        let answer = app.post("/v1/snapshots/s/verify", &body).await;
        assert_eq!(answer.refused(422, "invalid_request").pointers(), ["/sample"]);
    }
    app.post("/v1/snapshots/none/verify", &json!({"level": "exists"}))
        .await
        .refused(404, "snapshot_not_found");
}

#[tokio::test]
async fn results_go_with_their_snapshot() {
    let app = TestApp::local().await;
    snapshot(&app).await;
    verify(&app, "exists").await;
    app.delete("/v1/snapshots/s").await.expect(204);
    app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created();
    let rows: i64 = sqlx::query_scalar("select count(*) from snapshot_verifications")
        .fetch_one(&app.pool)
        .await
        .expect("counts");
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn a_byte_that_flips_after_the_first_verification_is_found_by_the_next() {
    let app = TestApp::local().await;
    snapshot(&app).await;
    let first = verify(&app, "checksum").await;
    passed(&first);
    assert_eq!(
        json!([first["not_comparable"], first["recorded"], first["proved"]]),
        json!([12, 12, false]),
        "nothing could be compared, and that is said"
    );
    let second = verify(&app, "checksum").await;
    passed(&second);
    assert_eq!(
        json!([second["not_comparable"], second["recorded"], second["proved"]]),
        json!([0, 0, true])
    );
    assert_eq!(verify(&app, "size").await.get("proved"), None);
    let path = app.directory.path().join(DATA);
    let mut bytes = std::fs::read(&path).expect("there");
    bytes[3] ^= 1;
    std::fs::write(&path, bytes).expect("flipped");
    passed(&verify(&app, "size").await);
    let third = verify(&app, "checksum").await;
    assert_eq!(seen(&third), json!(["failed", DATA, "wrong_checksum", 1]));
    assert_eq!(third["proved"], false);
    // once more: what was read first stays what is compared with
    assert_eq!(
        seen(&verify(&app, "checksum").await),
        json!(["failed", DATA, "wrong_checksum", 1])
    );
}

#[tokio::test]
async fn a_later_look_at_a_lower_level_hides_no_failure() {
    let app = TestApp::local().await;
    let id = snapshot(&app).await;
    overwrite(&app, &format!("snapshots/100/manifests/{id}/501.avro")).await;
    verify(&app, "checksum").await;
    verify(&app, "exists").await;
    let described = app.get("/v1/snapshots/s").await.ok().json;
    let all: Vec<Value> = described["verifications"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|v| json!([v["level"], v["outcome"]]))
        .collect();
    assert_eq!(all, [json!(["exists", "passed"]), json!(["checksum", "failed"])]);
    assert_eq!(described["last_verification"]["level"], "exists");
}

#[tokio::test]
async fn a_verification_ends_and_is_kept_although_its_caller_is_gone() {
    let faults = Faults::default();
    let app = TestApp::s3_behind(faults.clone(), quick(), |_| {}).await;
    snapshot(&app).await;
    let lists = |call: &crate::support::faults::Call| call.method == Method::GET && call.query.contains("list-type=2");
    let before = faults.calls(lists).len();
    faults.set(move |call| lists(call).then_some(Fault::Slow(Duration::from_millis(50))));
    let request = Request::post("/v1/snapshots/s/verify")
        .header("content-type", "application/json")
        .body(Body::from(r#"{"level": "size"}"#))
        .expect("a request");
    let call = tokio::spawn(app.router().oneshot(request));
    let patience = Instant::now() + Duration::from_secs(60);
    while faults.calls(lists).len() == before {
        assert!(Instant::now() < patience, "it never began");
        tokio::task::yield_now().await;
    }
    call.abort();
    assert!(call.await.is_err_and(|e| e.is_cancelled()), "nobody waits for it");
    loop {
        let described = app.get("/v1/snapshots/s").await.ok().json;
        if let Some(verification) = described.get("last_verification") {
            passed(verification);
            return;
        }
        assert!(Instant::now() < patience, "it was not kept");
    }
}
