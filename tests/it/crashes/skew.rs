//! A host whose clock is wrong, by libfaketime: it harms neither leases nor what the collector keeps.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::content;
use super::place::Place;

/// Where `.ci/setup faketime`, or Debian's package, puts the library.
fn library() -> PathBuf {
    let unpacked = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/tools/faketime");
    let found = Command::new("find")
        .arg(&unpacked)
        .args(["/usr/lib", "-name", "libfaketimeMT.so.1"])
        .output()
        .expect("searches");
    let found = String::from_utf8(found.stdout).expect("UTF-8");
    let first = found.lines().next();
    PathBuf::from(first.expect("libfaketime is missing: run `make setup`"))
}

#[tokio::test]
async fn a_host_whose_clock_is_days_off_takes_no_lease_and_collects_nothing_too_early() {
    let library = library();
    let library = library.to_str().expect("UTF-8");
    for skew in ["+10d", "-10d"] {
        let place = Place::new().await;
        let sound = place.serve(&["--workers", "2", "--copy-concurrency", "1"]);
        // its own measure of time passed stays right: only what day it is is wrong
        let environment = [
            ("LD_PRELOAD", library),
            ("FAKETIME", skew),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        let off = place.serve_with(&environment, &["--workers", "2", "--copy-concurrency", "1"]);
        let wrong_by = (off.date().await - time::OffsetDateTime::now_utc()).whole_days().abs();
        assert!((9..=10).contains(&wrong_by), "it knows the right time: {wrong_by}");
        content::collection(&sound, "c", 100).await;
        let expected = content::add(&sound, &place, "c", 100, 501..513, 12).await;
        content::collection(&sound, "d", 200).await;
        content::add(&sound, &place, "d", 200, 601..603, 1).await;
        let snapshot = json!({"collection_name": "c", "snapshot_name": "s"});
        off.post("/v1/snapshots", &snapshot).await;
        // dropped a moment ago: kept for the grace period by whoever collects
        sound.delete("/v1/collections/d").await;
        // another host is in the middle of a copy
        let half = place.root().join(".stillframe-tmp/half-copied");
        std::fs::create_dir_all(half.parent().expect("a parent")).expect("made");
        std::fs::write(&half, b"half").expect("written");
        let before = place.objects();
        let run = off.post("/v1/gc/runs", &json!({"orphans": true})).await;
        assert_eq!(
            json!([run["segments"], run["index_builds"], run["failed_objects"]]),
            json!([0, 0, 0]),
            "{run}"
        );
        assert_eq!(place.objects(), before);
        assert!(half.exists(), "what another host was writing is gone");
        std::fs::remove_file(&half).expect("removed");
        // both work on one job, and neither takes from the other
        let began = Instant::now();
        let job = off.post("/v1/snapshots/s/restore", &json!({"collection_name": "r"})).await;
        sound.completes(&job).await;
        assert!(began.elapsed() < Duration::from_secs(50));
        let tasks = off
            .items(&format!(
                "/v1/restore-jobs/{}/tasks?page_size=1000",
                job["job_id"].as_str().expect("an id")
            ))
            .await;
        assert!(tasks.iter().all(|t| t["attempt"] == 1), "a lease was taken: {tasks:?}");
        assert!(
            content::of_collection(&off, &place, "r").await == expected,
            "the restored bytes differ"
        );
        place.ends_empty(&off).await;
    }
}
