//! Restores from storage that misbehaves: a job ends as it should, and says the truth.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use stillframe::domain::restore::TaskKind;
use stillframe::objects::StorageOptions;
use stillframe::service::{CopyProgress, ServiceSettings};
use uuid::Uuid;

use crate::support::app::quick;
use crate::support::faults::{Call, Fault, Faults};
use crate::support::{TestApp, s3};

const C: i64 = 100;
/// In front of every key in the server's directory.
const PREFIX: &str = "bucket/some/prefix";

async fn app(faults: &Faults, settings: ServiceSettings, change: impl FnOnce(&mut StorageOptions)) -> TestApp {
    let app = TestApp::s3_behind(faults.clone(), settings, change).await;
    app.small_collection("c", C).await;
    app
}

async fn snapshot(app: &TestApp, segments: i64) {
    for segment in 0..segments {
        app.add_segment("c", C, 500 + segment).await;
    }
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
}

async fn start(app: &TestApp) -> String {
    let body = json!({"collection_name": "r"});
    let job = app.post("/v1/snapshots/s/restore", &body).await.expect(202).json;
    job["job_id"].as_str().expect("id").to_string()
}

async fn job(app: &TestApp, id: &str) -> Value {
    app.get(&format!("/v1/restore-jobs/{id}")).await.ok().json
}

/// Runs the job to its end, over its pauses.
async fn ended(app: &TestApp, id: &str) -> Value {
    for round in 0..40 {
        app.drain().await;
        let job = job(app, id).await;
        if !["Pending", "Validating", "InProgress", "Publishing"].contains(&job["state"].as_str().expect("text")) {
            return job;
        }
        app.set_clock(Duration::from_secs(120 * (round + 1))).await;
    }
    panic!("no end");
}

/// The bytes of every data file, sorted.
async fn contents(app: &TestApp, keys: impl IntoIterator<Item = String>) -> Vec<Vec<u8>> {
    let mut contents = Vec::new();
    for key in keys {
        contents.push(app.objects.get(&key, 1 << 30).await.expect("read").expect("there"));
    }
    contents.sort();
    contents
}

async fn keys(app: &TestApp) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for directory in ["insert_log/", "stats_log/", "delta_log/", "index_files/"] {
        keys.extend(app.keys(directory).await);
    }
    keys
}

/// Every byte is there once more, and nothing else.
async fn restored_whole(app: &TestApp, before: &BTreeSet<String>) {
    let all = keys(app).await;
    let copies: Vec<String> = all.difference(before).cloned().collect();
    assert_eq!(copies.len(), before.len());
    assert!(
        contents(app, copies).await == contents(app, before.iter().cloned()).await,
        "other bytes"
    );
    assert_eq!(s3::open_uploads(app.directory.path()), Vec::<String>::new());
}

/// The job failed, says why and names the file; what it copied goes.
async fn failed_honestly(app: &TestApp, id: &str, code: &str, named: &str, before: &BTreeSet<String>) {
    let failed = ended(app, id).await;
    let said = (&failed["state"], &failed["error_code"]);
    assert_eq!(said, (&json!("Failed"), &json!(code)), "{failed}");
    assert!(failed["reason"].as_str().expect("text").contains(named), "{failed}");
    app.get("/v1/collections/r").await.refused(404, "collection_not_found");
    app.set_clock(Duration::from_secs(100_000)).await;
    app.drain().await;
    assert_eq!(job(app, id).await["cleanup"], "done");
    assert_eq!(&keys(app).await, before);
    assert_eq!(s3::open_uploads(app.directory.path()), Vec::<String>::new());
}

/// The key of the file that a copy writes, as the service knows it.
fn copied_key(call: &Call) -> Option<String> {
    let key = call.path.strip_prefix(&format!("/{PREFIX}/"))?;
    (call.is_copy() && !key.starts_with('.')).then(|| key.to_string())
}

#[tokio::test]
async fn a_store_that_asks_to_slow_down_is_given_time_and_costs_no_try() {
    let faults = Faults::default();
    let settings = ServiceSettings {
        copy_tries: 1,
        task_failures: 1,
        outage_patience: Duration::ZERO,
        ..quick()
    };
    let app = app(&faults, settings, |_| {}).await;
    snapshot(&app, 6).await;
    let before = keys(&app).await;
    for (status, code) in [(503, "SlowDown"), (503, ""), (429, "TooManyRequests")] {
        let mut met = 0;
        faults.set(move |call| {
            met += usize::from(copied_key(call).is_some());
            (call.is_copy() && met % 2 == 1).then_some(Fault::Refuse(status, code))
        });
        let id = start(&app).await;
        let job = ended(&app, &id).await;
        assert_eq!(job["state"], "Completed", "{job}");
        restored_whole(&app, &before).await;
        assert!(app.service.copy_limit() < 32);
        let metrics = app.get("/metrics").await.text;
        assert!(metrics.contains("stillframe_restore_copy_limit"), "{metrics}");
        app.delete("/v1/collections/r").await.expect(204);
        app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created();
    }
}

/// Copies of binlogs are refused, as with a token whose time is over.
fn expired(call: &Call) -> Option<Fault> {
    let key = copied_key(call).filter(|key| key.starts_with("insert_log/"));
    key.map(|_| Fault::Refuse(403, "ExpiredToken"))
}

#[tokio::test]
async fn credentials_that_expire_in_the_middle_of_a_restore_and_come_back_do_not_fail_it() {
    let faults = Faults::default();
    let settings = ServiceSettings {
        copy_tries: 1,
        ..quick()
    };
    let app = app(&faults, settings, |_| {}).await;
    snapshot(&app, 3).await;
    let before = keys(&app).await;
    let id = start(&app).await;
    // the check and the first segment
    for _ in 0..2 {
        let task = app
            .service
            .claim_tasks(Uuid::new_v4(), 1)
            .await
            .expect("claims")
            .pop()
            .expect("due");
        app.service.run_task(&task, &CopyProgress::default()).await.expect("runs");
    }
    faults.set(expired);
    for round in 1..=5 {
        app.drain().await;
        let waiting = job(&app, &id).await;
        assert_eq!(waiting["state"], "InProgress", "{waiting}");
        assert!(
            waiting["waiting_for"]
                .as_str()
                .expect("it says why")
                .contains("refused access"),
            "{waiting}"
        );
        app.set_clock(Duration::from_secs(61 * round)).await;
    }
    faults.clear();
    let ended = ended(&app, &id).await;
    assert_eq!(
        (&ended["state"], ended.get("waiting_for")),
        (&json!("Completed"), None),
        "{ended}"
    );
    restored_whole(&app, &before).await;
    // and those that do not come back fail it in the end
    app.delete("/v1/collections/r").await.expect(204);
    app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created();
    faults.set(expired);
    let id = start(&app).await;
    failed_honestly(&app, &id, "storage_access_denied", "insert_log/100/101/50", &before).await;
}

#[tokio::test]
async fn every_third_request_fails_and_the_restore_is_whole() {
    let faults = Faults::default();
    let app = app(&faults, quick(), |_| {}).await;
    snapshot(&app, 6).await;
    let before = keys(&app).await;
    let mut met = 0;
    faults.set(move |_| {
        met += 1;
        (met % 3 == 0).then_some(Fault::Refuse(500, "InternalError"))
    });
    let id = start(&app).await;
    let job = ended(&app, &id).await;
    faults.clear();
    assert_eq!(job["state"], "Completed", "{job}");
    restored_whole(&app, &before).await;
}

#[tokio::test]
async fn a_file_that_can_never_be_copied_fails_the_job_and_is_named() {
    let faults = Faults::default();
    let settings = ServiceSettings {
        outage_patience: Duration::from_secs(1),
        ..quick()
    };
    let app = app(&faults, settings, |_| {}).await;
    snapshot(&app, 2).await;
    let before = keys(&app).await;
    faults.set(|call| {
        let source = call.headers.get("x-amz-copy-source")?.to_str().ok()?;
        source.ends_with("/5101").then_some(Fault::Refuse(500, "InternalError"))
    });
    let id = start(&app).await;
    failed_honestly(&app, &id, "storage_unavailable", "insert_log/100/101/500/101/5101", &before).await;
}

#[tokio::test]
async fn a_copy_that_the_store_cuts_short_fails_the_job_and_is_named() {
    let faults = Faults::default();
    let app = app(&faults, quick(), |_| {}).await;
    snapshot(&app, 2).await;
    let before = keys(&app).await;
    let root = app.directory.path().to_path_buf();
    faults.set(move |call| {
        let path = at(&root, &copied_key(call).filter(|k| k.ends_with("/5101"))?);
        Some(Fault::Then(Box::new(move || {
            let file = std::fs::OpenOptions::new().write(true).open(path).expect("just copied");
            file.set_len(3).expect("cut");
        })))
    });
    let id = start(&app).await;
    failed_honestly(&app, &id, "file_size_mismatch", "insert_log/100/101/500/101/5101", &before).await;
}

#[tokio::test]
async fn a_copy_that_the_store_loses_is_made_again_and_one_that_it_always_loses_is_named() {
    for times in [1, usize::MAX] {
        let faults = Faults::default();
        let app = app(&faults, quick(), |_| {}).await;
        snapshot(&app, 2).await;
        let before = keys(&app).await;
        let root = app.directory.path().to_path_buf();
        let mut left = times;
        faults.set(move |call| {
            let path = at(&root, &copied_key(call).filter(|k| k.ends_with("/5101"))?);
            left = left.checked_sub(1)?;
            Some(Fault::Then(Box::new(move || {
                std::fs::remove_file(path).expect("just copied")
            })))
        });
        let id = start(&app).await;
        if times == 1 {
            assert_eq!(ended(&app, &id).await["state"], "Completed");
            restored_whole(&app, &before).await;
        } else {
            failed_honestly(&app, &id, "file_missing", "insert_log/100/101/500/101/5101", &before).await;
        }
    }
}

fn at(root: &Path, key: &str) -> PathBuf {
    root.join(PREFIX).join(key)
}

#[tokio::test]
async fn a_store_that_answers_slowly_is_waited_for_and_one_that_does_not_answer_is_not() {
    let faults = Faults::default();
    let settings = ServiceSettings {
        copy_tries: 2,
        outage_patience: Duration::ZERO,
        ..quick()
    };
    let app = app(&faults, settings, |options| options.timeout = Duration::from_secs(1)).await;
    snapshot(&app, 1).await;
    let before = keys(&app).await;
    faults.set(|call| call.is_copy().then_some(Fault::Slow(Duration::from_millis(200))));
    let id = start(&app).await;
    assert_eq!(ended(&app, &id).await["state"], "Completed");
    restored_whole(&app, &before).await;
    app.delete("/v1/collections/r").await.expect(204);
    app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created();
    faults.set(|call| {
        let source = call.headers.get("x-amz-copy-source")?.to_str().ok()?;
        source.ends_with("/5101").then_some(Fault::Slow(Duration::from_secs(3)))
    });
    let id = start(&app).await;
    failed_honestly(&app, &id, "storage_unavailable", "insert_log/100/101/500/101/5101", &before).await;
}

#[tokio::test]
async fn a_restore_of_a_large_object_that_is_cancelled_leaves_no_upload() {
    const SIZE: usize = 11 * 1024 * 1024;
    let faults = Faults::default();
    let app = app(&faults, quick(), |options| options.multipart_above = 10 * 1024 * 1024).await;
    let mut segment = app.small_segment(C, 500).await;
    let large = "insert_log/100/101/500/100/5100";
    app.objects.put(large, vec![7; SIZE]).await.expect("written");
    segment["binlogs"][0]["logs"][0]["size_bytes"] = json!(SIZE);
    app.post("/v1/collections/c/segments", &segment).await.created();
    snapshot(&app, 0).await;
    let before = keys(&app).await;
    let id = start(&app).await;
    let worker = Uuid::new_v4();
    let task = app.service.claim_tasks(worker, 1).await.expect("claims").pop().expect("due");
    assert_eq!(task.kind, TaskKind::Validate);
    app.service.run_task(&task, &CopyProgress::default()).await.expect("runs");
    faults.set(|call| call.is_part_copy().then_some(Fault::Slow(Duration::from_secs(1))));
    // a real worker, which learns by its heartbeat that the job was cancelled
    let worker = app.worker.clone();
    let working = tokio::spawn(async move { worker.drain().await });
    faults.seen(Call::is_part_copy).await;
    assert!(!s3::open_uploads(app.directory.path()).is_empty());
    app.post(&format!("/v1/restore-jobs/{id}/cancel"), &json!({})).await.ok();
    working.await.expect("no panic").expect("drained");
    app.objects.settle(Duration::from_secs(30)).await;
    assert_eq!(s3::open_uploads(app.directory.path()), Vec::<String>::new());
    app.set_clock(Duration::from_secs(1000)).await;
    app.drain().await;
    assert_eq!(job(&app, &id).await["cleanup"], "done");
    assert_eq!(keys(&app).await, before);
}

/// Set where mounting is not allowed, so that the test of a full disk is left out.
const NO_MOUNT: &str = "STILLFRAME_TEST_NO_MOUNT";

/// A small filesystem of its own; unmounted at the end.
struct Mounted(PathBuf);

impl Mounted {
    /// None where this may not be done.
    fn new(at: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "stillframe-test"]).arg(at);
        let mounted = mount.output().is_ok_and(|o| o.status.success());
        mounted.then(|| Self(at.to_path_buf()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|s| s.success()) || std::thread::panicking());
    }
}

#[tokio::test]
async fn a_full_disk_fails_the_job_with_insufficient_storage_and_leaves_nothing_half_written() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    let mut segment = app.small_segment(C, 500).await;
    let large = "insert_log/100/101/500/100/5100";
    let root = app.directory.path();
    std::fs::write(root.join(large), vec![7; 600 * 1024]).expect("written");
    segment["binlogs"][0]["logs"][0]["size_bytes"] = json!(600 * 1024);
    app.post("/v1/collections/c/segments", &segment).await.created();
    snapshot(&app, 0).await;
    // what is restored lies on a disk with less room than it needs
    let moved = tempfile::tempdir().expect("a directory");
    let Some(_mounted) = Mounted::new(moved.path()) else {
        assert!(
            std::env::var_os(NO_MOUNT).is_some(),
            "mounting a small filesystem is not allowed here: run this as root, or leave it out by {NO_MOUNT}=1"
        );
        return;
    };
    for entry in std::fs::read_dir(root).expect("a directory").flatten() {
        let copied = Command::new("cp").arg("-r").arg(entry.path()).arg(moved.path()).status();
        assert!(copied.is_ok_and(|s| s.success()));
        let path = entry.path();
        if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        }
        .expect("removed");
        std::os::unix::fs::symlink(moved.path().join(entry.file_name()), path).expect("linked");
    }
    let temporary = moved.path().join(".stillframe-tmp");
    std::fs::create_dir_all(&temporary).expect("a directory");
    if !root.join(".stillframe-tmp").exists() {
        std::os::unix::fs::symlink(&temporary, root.join(".stillframe-tmp")).expect("linked");
    }
    let before = keys(&app).await;
    let id = start(&app).await;
    // a small one may be the first that meets the full disk, while the large one still takes it
    failed_honestly(&app, &id, "insufficient_storage", "100/101/500", &before).await;
    assert_eq!(
        std::fs::read_dir(&temporary).expect("a directory").count(),
        0,
        "nothing half written"
    );
}
