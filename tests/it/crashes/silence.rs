//! A host that goes away without a word: no signal, no closed connection. A stopped process is the
//! like of it.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use super::content;
use super::place::Place;

#[tokio::test]
#[cfg_attr(not(debug_assertions), ignore = "a release build has no crash points")]
async fn a_job_whose_host_goes_away_while_it_publishes_is_cancelled_in_five_seconds() {
    let place = Place::new().await;
    let other = place.serve(&["--workers", "0"]);
    content::collection(&other, "c", 100).await;
    let expected = content::add(&other, &place, "c", 100, 501..504, 2).await;
    other
        .post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await;
    let lost = place.serve_until_silent("restore.publishing", &[]);
    let target = json!({"collection_name": "r"});
    let job = other.post("/v1/snapshots/s/restore", &target).await;
    lost.is_silent().await;
    // it holds the job, the task and the name in a transaction that is all but committed
    let began = Instant::now();
    let path = format!("/v1/restore-jobs/{}/cancel", job["job_id"].as_str().expect("an id"));
    let cancelled = other.post(&path, &json!({})).await;
    assert_eq!(cancelled["state"], "Cancelled", "{cancelled}");
    let again = other.post("/v1/snapshots/s/restore", &target).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // and when it is heard again, it has nothing to say about the job
    lost.signal(Signal::SIGCONT);
    let ended = other.completes(&again).await;
    assert_eq!(ended["done_segments"], 3, "{ended}");
    let first = other.wait_for(&job, |job| job["cleanup"] == "done").await;
    assert_eq!(first["state"], "Cancelled", "{first}");
    assert!(
        content::of_collection(&other, &place, "r").await == expected,
        "the restored bytes differ"
    );
    place.ends_empty(&lost).await;
}
