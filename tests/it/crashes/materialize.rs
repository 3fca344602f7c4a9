//! Jobs that materialize a collection, killed at every effect: the collection is external or owned, never
//! anything between, and its snapshots are whole at any time.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::content::{self, Content};
use super::place::{Place, Server};
use super::points::{copied_again, snapshot};

const C: i64 = 100;
const PATH: &str = "/v1/collections/c/materialize";

macro_rules! cases {
    ($($name:ident: $story:ident($point:literal);)*) => {
        $(#[tokio::test]
        #[cfg_attr(not(debug_assertions), ignore = "a release build has no crash points")]
        async fn $name() {
            $story($point).await;
        })*

        /// Every point at which a case dies, without the number of times.
        pub fn points() -> Vec<&'static str> {
            vec![$($point.split('#').next().expect("a part")),*]
        }
    };
}

cases! {
    a_materialization_dies_before_its_call_is_answered: goes_on("materialize.queued");
    a_materialization_dies_with_its_target_laid_out: goes_on("materialize.laid_out");
    a_materialization_dies_after_its_eleventh_file: goes_on("restore.file_copied#11");
    a_materialization_dies_with_a_snapshot_written: goes_on("materialize.snapshot_written");
    a_materialization_dies_with_every_snapshot_written: goes_on("materialize.snapshots_written");
    a_materialization_dies_before_it_swaps: goes_on("materialize.swapping");
    a_materialization_dies_when_it_has_swapped: goes_on("materialize.swapped");
    a_cancelled_materialization_with_half_its_files_leaves_nothing: cancelled("restore.file_copied#11");
    a_cancelled_materialization_with_its_snapshots_written_leaves_nothing: cancelled("materialize.snapshots_written");
}

/// An external collection of five segments of four files, with two snapshots that share manifests.
async fn external(server: &Server, place: &Place) -> (Vec<Content>, BTreeMap<String, u64>) {
    content::external_collection(server, "c", C).await;
    content::add(server, place, "c", C, 501..506, 1).await;
    let files = place.objects().into_iter().filter(|(key, _)| key != "stillframe.json");
    let files = files.collect();
    for name in ["s", "again"] {
        server.post("/v1/snapshots", &snapshot(name)).await;
    }
    (content::of_collection(server, place, "c").await, files)
}

fn is_data(key: &str) -> bool {
    !key.starts_with("snapshots/")
}

/// What the other system wrote is as it was.
fn untouched(place: &Place, files: &BTreeMap<String, u64>) {
    assert_eq!(copied_again(files, &place.objects()), Vec::<String>::new());
}

async fn restores_whole(server: &Server, place: &Place, name: &str, expected: &[Content]) {
    let target = format!("r_{name}");
    let body = json!({"collection_name": target});
    let job = server.post(&format!("/v1/snapshots/{name}/restore"), &body).await;
    server.completes(&job).await;
    assert!(
        content::of_collection(server, place, &target).await == expected,
        "the restored bytes differ"
    );
}

async fn ends_empty(server: &Server, place: &Place, files: &BTreeMap<String, u64>) {
    untouched(place, files);
    // the other system goes
    for key in files.keys() {
        std::fs::remove_file(place.root().join(key)).expect("was there");
    }
    place.ends_empty(server).await;
}

async fn goes_on(point: &str) {
    let place = Place::new().await;
    let server = place.serve_until(point, &["--workers", "2"]);
    let (expected, files) = external(&server, &place).await;
    if point == "materialize.queued" {
        server.dies_in(Method::POST, PATH, None).await;
    } else {
        // killed so early that the answer may be lost
        let _ = server.call(Method::POST, PATH, None).await;
        server.dies();
    }
    let at_the_kill = place.objects();
    place.pass(60).await;

    let server = place.serve(&["--workers", "0"]);
    let collection = server.get("/v1/collections/c").await;
    let is_swapped = point == "materialize.swapped";
    assert_eq!(collection["ownership"], if is_swapped { "owned" } else { "external" });
    let snapshots = server.items("/v1/snapshots?collection_name=c").await;
    let protection = if is_swapped { "full" } else { "none" };
    assert_eq!(snapshots.len(), 2, "{snapshots:?}");
    assert!(snapshots.iter().all(|s| s["protection"] == protection), "{snapshots:?}");
    for name in ["s", "again"] {
        let verified = server
            .post(&format!("/v1/snapshots/{name}/verify"), &json!({"level": "checksum"}))
            .await;
        assert_eq!(verified["outcome"], "passed", "{verified}");
    }
    drop(server);

    let server = place.serve(&[]);
    let jobs = server.items("/v1/restore-jobs").await;
    assert_eq!(jobs.len(), 1);
    let ended = server.completes(&jobs[0]).await;
    assert_eq!(
        (&ended["kind"], &ended["done_files"], &ended["total_files"]),
        (&json!("materialize"), &json!(20), &json!(20)),
        "{ended}"
    );
    let mut again = copied_again(&at_the_kill, &place.objects());
    // manifests and metadata are written anew by whoever publishes
    again.retain(|key| is_data(key));
    assert_eq!(again, Vec::<String>::new());
    let owned = server.get("/v1/collections/c").await;
    assert_eq!(
        (&owned["ownership"], &owned["collection_id"]),
        (&json!("owned"), &ended["collection_id"])
    );
    assert!(content::of_collection(&server, &place, "c").await == expected);
    for name in ["s", "again"] {
        restores_whole(&server, &place, name, &expected).await;
    }
    ends_empty(&server, &place, &files).await;
}

async fn cancelled(point: &str) {
    let place = Place::new().await;
    let server = place.serve_until(point, &[]);
    let (expected, files) = external(&server, &place).await;
    let before = place.objects();
    let _ = server.call(Method::POST, PATH, None).await;
    server.dies();
    assert!(place.objects().len() > before.len(), "something is copied");

    // the worker is dead, its lease runs
    let server = place.serve(&["--workers", "0"]);
    let job: Value = server.items("/v1/restore-jobs").await.pop().expect("a job");
    let refusal = server.refusal(Method::DELETE, "/v1/collections/c", None).await;
    assert_eq!(refusal, (409, "collection_being_materialized".into()));
    let path = format!("/v1/restore-jobs/{}/cancel", job["job_id"].as_str().expect("an id"));
    let cancelled = server.post(&path, &json!({})).await;
    assert_eq!(
        (&cancelled["state"], &cancelled["cleanup"]),
        (&json!("Cancelled"), &json!("pending"))
    );
    // as it was, and to be changed again, whatever is still to be deleted
    server.post("/v1/snapshots", &snapshot("later")).await;
    server.delete("/v1/snapshots/later").await;
    drop(server);
    place.pass(60).await;
    let server = place.serve(&[]);
    server.wait_for(&job, |job| job["cleanup"] == "done").await;
    server.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await;
    let left = place.objects();
    let new: Vec<&String> = left.keys().filter(|key| !before.contains_key(*key)).collect();
    assert!(new.is_empty(), "left of the target: {new:?}");
    assert_eq!(server.get("/v1/collections/c").await["ownership"], "external");
    restores_whole(&server, &place, "s", &expected).await;
    ends_empty(&server, &place, &files).await;
}
