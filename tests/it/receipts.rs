//! How copies are proved, and the receipts that say so.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use stillframe::service::ServiceSettings;

use crate::support::TestApp;
use crate::support::app::quick;

const C: i64 = 100;
const RECEIPTS: &str = "snapshots/100/receipts/";

async fn snapshot(app: &TestApp, segments: i64) {
    app.small_collection("c", C).await;
    for segment in 0..segments {
        app.add_segment("c", C, 500 + segment).await;
    }
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
}

async fn restore(app: &TestApp, target: &str) -> Value {
    let body = json!({"collection_name": target});
    let started = app.post("/v1/snapshots/s/restore", &body).await.expect(202).json;
    let path = format!("/v1/restore-jobs/{}", started["job_id"].as_str().expect("id"));
    app.get(&format!("{path}/receipt")).await.refused(404, "receipt_not_found");
    app.drain().await;
    app.get(&path).await.ok().json
}

async fn receipt(app: &TestApp, job: &Value) -> Value {
    let id = job["job_id"].as_str().expect("id");
    let answer = app.get(&format!("/v1/restore-jobs/{id}/receipt")).await.ok();
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["content-length"], answer.text.len().to_string());
    answer.json
}

/// The sum of a list as the document says it is made: compact entries, a line each.
fn sum(receipt: &Value) -> String {
    let mut sum = Sha256::new();
    for file in receipt["files"].as_array().expect("list") {
        // serde_json sorts keys, so the order is given here
        let quoted = |key: &str| file[key].to_string();
        let line = format!(
            "{{\"source\":{},\"target\":{},\"size_bytes\":{},\"verified\":{}}}\n",
            quoted("source"),
            quoted("target"),
            quoted("size_bytes"),
            quoted("verified")
        );
        sum.update(line);
    }
    sum.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[tokio::test]
async fn a_receipt_lists_every_file_that_was_copied_with_its_proof_and_a_sum() {
    let app = TestApp::local().await;
    snapshot(&app, 3).await;
    let job = restore(&app, "r").await;
    assert_eq!(job["state"], "Completed", "{job}");
    let receipt = receipt(&app, &job).await;
    assert_eq!(
        json!([
            receipt["job_id"],
            receipt["snapshot_id"],
            receipt["collection_id"],
            receipt["collection_name"]
        ]),
        json!([job["job_id"], job["snapshot_id"], job["collection_id"], "r"])
    );
    assert_eq!(
        json!([receipt["file_count"], receipt["size_bytes"], receipt["verified"]]),
        json!([12, job["total_bytes"], {"size": 12, "etag": 0, "content": 0}])
    );
    assert_eq!(receipt["sha256"], sum(&receipt));
    let mut targets = Vec::new();
    for file in receipt["files"].as_array().expect("list") {
        let read = async |key: &str| {
            app.objects
                .get(file[key].as_str().expect("text"), 1000)
                .await
                .expect("read")
                .expect("there")
        };
        assert_eq!(read("source").await, read("target").await, "{file}");
        assert_eq!(file["verified"], "size");
        targets.push(file["target"].as_str().expect("text").to_string());
    }
    // and nothing else was made
    let mut there = Vec::new();
    for directory in ["insert_log/", "stats_log/", "index_files/"] {
        there.extend(app.keys(directory).await);
    }
    there.retain(|key| !key.contains("/101/50"));
    there.sort();
    targets.sort();
    assert_eq!(targets, there);
    let id = job["job_id"].as_str().expect("id");
    assert_eq!(app.keys(RECEIPTS).await, [format!("{RECEIPTS}{id}.json")]);
}

#[tokio::test]
async fn an_empty_restore_has_an_empty_receipt() {
    let app = TestApp::local().await;
    snapshot(&app, 0).await;
    let job = restore(&app, "r").await;
    let receipt = receipt(&app, &job).await;
    assert_eq!(json!([receipt["files"], receipt["file_count"]]), json!([[], 0]));
    assert_eq!(receipt["sha256"], sum(&receipt));
}

#[tokio::test]
async fn a_receipt_of_more_segments_than_are_read_at_a_time_is_whole_and_in_order() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    let path = |segment: i64| format!("insert_log/100/101/{segment}/100/{segment}");
    let content = |segment: i64| path(segment).into_bytes();
    let segments: Vec<Value> = (1000..1501)
        .map(|segment| {
            json!({"segment_id": segment.to_string(), "partition_name": "_default", "channel_name": "ch_100", "num_of_rows": 1,
                "start_position": {"timestamp": "10"},
                "binlogs": [{"field_id": "100", "logs": [{"log_id": segment.to_string(), "path": path(segment), "size_bytes": content(segment).len()}]}]})
        })
        .collect();
    let files = (1000..1501).map(|segment| (path(segment), content(segment)));
    app.objects.put_many(files.collect()).await.expect("written");
    app.post("/v1/collections/c/segments:batch", &json!({"segments": segments}))
        .await
        .created();
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
    let job = restore(&app, "r").await;
    let receipt = receipt(&app, &job).await;
    let sources: Vec<&str> = receipt["files"]
        .as_array()
        .expect("list")
        .iter()
        .map(|f| f["source"].as_str().expect("text"))
        .collect();
    assert_eq!(sources, (1000..1501).map(path).collect::<Vec<_>>());
    assert_eq!(receipt["sha256"], sum(&receipt));
}

#[tokio::test]
async fn a_job_is_not_completed_before_its_receipt_is_written() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    // a file stands where the directory of receipts would be
    let blocker = app.directory.path().join("snapshots/100/receipts");
    std::fs::write(&blocker, b"").expect("written");
    let job = restore(&app, "r").await;
    assert_eq!(job["state"], "Publishing", "{job}");
    app.get("/v1/collections/r").await.refused(404, "collection_not_found");
    std::fs::remove_file(&blocker).expect("removed");
    app.set_clock(Duration::from_secs(60)).await;
    app.drain().await;
    let path = format!("/v1/restore-jobs/{}", job["job_id"].as_str().expect("id"));
    let job = app.get(&path).await.ok().json;
    assert_eq!(job["state"], "Completed", "{job}");
    assert_eq!(receipt(&app, &job).await["file_count"], 4);
    assert_eq!(app.keys(".stillframe-tmp/").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_worker_that_comes_late_to_a_cancelled_job_writes_no_receipt() {
    let app = TestApp::local().await;
    snapshot(&app, 0).await;
    let started = app
        .post("/v1/snapshots/s/restore", &json!({"collection_name": "r"}))
        .await
        .expect(202)
        .json;
    let progress = stillframe::service::CopyProgress::default();
    let worker = uuid::Uuid::new_v4();
    let check = app.service.claim_tasks(worker, 1).await.expect("claims").pop().expect("due");
    app.service.run_task(&check, &progress).await.expect("runs");
    let publish = app.service.claim_tasks(worker, 1).await.expect("claims").pop().expect("due");
    let id = started["job_id"].as_str().expect("id");
    app.post(&format!("/v1/restore-jobs/{id}/cancel"), &json!({})).await.ok();
    let outcome = app.service.run_task(&publish, &progress).await.expect("runs");
    assert_eq!(outcome, stillframe::service::Outcome::Lost);
    assert_eq!(app.keys(RECEIPTS).await, Vec::<String>::new());
}

#[tokio::test]
async fn on_s3_copies_are_proved_by_etag_where_listings_have_them() {
    let (app, _) = TestApp::s3_with_etags().await;
    snapshot(&app, 2).await;
    let job = restore(&app, "r").await;
    assert_eq!(job["state"], "Completed", "{job}");
    let found = receipt(&app, &job).await;
    assert_eq!(found["verified"], json!({"size": 0, "etag": 8, "content": 0}));
    assert_eq!(found["sha256"], sum(&found));
    // and by size where they have none
    let app = TestApp::s3().await;
    snapshot(&app, 1).await;
    let job = restore(&app, "r").await;
    assert_eq!(
        receipt(&app, &job).await["verified"],
        json!({"size": 4, "etag": 0, "content": 0})
    );
}

#[tokio::test]
async fn a_copy_with_other_bytes_of_the_same_size_fails_the_job_and_is_named() {
    let (app, spoil) = TestApp::s3_with_etags().await;
    snapshot(&app, 2).await;
    spoil.lock().expect("not poisoned").spoil = Some("/100/5110".into());
    let job = restore(&app, "r").await;
    assert_eq!(
        (&job["state"], &job["error_code"]),
        (&json!("Failed"), &json!("file_changed")),
        "{job}"
    );
    let reason = job["reason"].as_str().expect("text");
    assert!(
        reason.contains("log/100/101/501/100/5110") && reason.contains("bytes differ"),
        "{reason}"
    );
    app.get("/v1/collections/r").await.refused(404, "collection_not_found");
}

#[tokio::test]
async fn a_source_that_was_overwritten_with_its_size_is_found_before_anything_is_copied() {
    let (app, _) = TestApp::s3_with_etags().await;
    snapshot(&app, 1).await;
    let changed = "index_files/500000/1/101/500/IVF";
    let size = format!("content of {changed}").len();
    app.objects.put(changed, vec![b'?'; size]).await.expect("written");
    let plan = app
        .post("/v1/snapshots/s/plan-restore", &json!({"collection_name": "r"}))
        .await
        .ok()
        .json;
    assert_eq!(
        json!([
            plan["problem_count"],
            plan["problems"][0]["path"],
            plan["problems"][0]["problem"]
        ]),
        json!([1, changed, "wrong_etag"])
    );
    let job = restore(&app, "r").await;
    assert_eq!((&job["error_code"], &job["done_files"]), (&json!("file_changed"), &json!(0)));
    assert!(job["reason"].as_str().expect("text").contains(changed), "{job}");
}

#[tokio::test]
async fn an_etag_that_says_nothing_is_not_held_against_a_copy_with_equal_bytes() {
    let (app, faults) = TestApp::s3_with_etags().await;
    faults.lock().expect("not poisoned").opaque = Some("insert_log/100/101/500/100/5100".into());
    snapshot(&app, 1).await;
    let job = restore(&app, "r").await;
    assert_eq!(job["state"], "Completed", "{job}");
    let found = receipt(&app, &job).await;
    assert_eq!(found["verified"], json!({"size": 0, "etag": 3, "content": 1}));
    // and with other bytes it is
    faults.lock().expect("not poisoned").spoil = Some("/100/5100".into());
    let job = restore(&app, "r2").await;
    assert_eq!(job["error_code"], "file_changed", "{job}");
}

#[tokio::test]
async fn receipts_go_when_their_snapshot_is_collected_or_the_history_expires() {
    let settings = ServiceSettings {
        history_seconds: 3600,
        ..quick()
    };
    let app = TestApp::with_settings(settings).await;
    snapshot(&app, 1).await;
    let first = restore(&app, "r1").await;
    let run = app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created().json;
    assert_eq!(run["objects"], 0, "both are needed");
    // the history of the first expires, its snapshot stays
    app.set_clock(Duration::from_secs(3601)).await;
    let second = restore(&app, "r2").await;
    let dry = app
        .post("/v1/gc/runs", &json!({"grace_seconds": 0, "dry_run": true}))
        .await
        .created()
        .json;
    let run = app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created().json;
    assert_eq!((&run["objects"], &run["bytes"]), (&dry["objects"], &dry["bytes"]), "{run}");
    assert_eq!(run["objects"], 1);
    let path = |job: &Value| format!("/v1/restore-jobs/{}/receipt", job["job_id"].as_str().expect("id"));
    app.get(&path(&first)).await.refused(404, "restore_job_not_found");
    app.get(&path(&second)).await.ok();
    // the snapshot of the second is dropped, its history stays
    app.delete("/v1/snapshots/s").await.expect(204);
    app.post("/v1/gc/runs", &json!({})).await.created();
    app.get(&path(&second)).await.ok();
    let dry = app
        .post("/v1/gc/runs", &json!({"grace_seconds": 0, "dry_run": true}))
        .await
        .created()
        .json;
    let run = app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created().json;
    assert_eq!((&run["objects"], &run["bytes"]), (&dry["objects"], &dry["bytes"]), "{run}");
    app.get(&path(&second)).await.refused(404, "receipt_not_found");
    assert_eq!(app.keys("snapshots/").await, Vec::<String>::new());
    let rows: i64 = sqlx::query_scalar("select count(*) from restore_receipts")
        .fetch_one(&app.pool)
        .await
        .expect("counts");
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn a_receipt_is_explained_and_its_end_is_listed() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let job = restore(&app, "r").await;
    let id = job["job_id"].as_str().expect("an id");
    let key = format!("snapshots/100/receipts/{id}.json");
    let found = app.get(&format!("/v1/objects/explain?key={key}")).await.ok().json;
    assert_eq!(
        (&found["kind"], &found["known"], &found["kept_by"][0]["id"]),
        (&json!("receipt"), &json!(true), &job["job_id"]),
        "{found}"
    );
    app.delete("/v1/snapshots/s").await.expect(204);
    let run = app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created().json;
    let items = format!("/v1/gc/runs/{}/items?outcome=deleted", run["run_id"].as_str().expect("an id"));
    let items = app.get(&items).await.ok().json;
    let items = items["items"].as_array().expect("items").clone();
    assert!(items.iter().any(|i| i["kind"] == "receipt" && i["name"] == key), "{items:?}");
    let sum: i64 = items.iter().filter_map(|i| i["objects"].as_i64()).sum();
    assert_eq!(run["objects"], sum, "every object is listed");
}
