//! Exports and restores of bundles, killed at every effect: they go on under their ids.

use reqwest::Method;
use serde_json::{Value, json};

use super::content::{self, Content};
use super::place::{Place, Server};
use super::points::{copied_again, five_segments, snapshot};

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
    an_export_dies_before_its_call_is_answered: export("export.queued");
    an_export_dies_with_its_copies_laid_out: export("export.laid_out");
    an_export_dies_after_its_eleventh_file: export("restore.file_copied#11");
    an_export_dies_with_a_segment_done: export("restore.segment_done#2");
    an_export_dies_with_its_manifests_written: export("export.manifests_written");
    an_export_dies_with_its_metadata_staged: export("export.staged");
    an_export_dies_with_its_metadata_written: export("export.metadata_written");
    an_export_dies_when_it_is_completed: export("export.published");
    a_clean_up_of_an_export_dies_before_it_is_recorded: cancelled_export("export.cleaned_up");
    a_restore_of_a_bundle_dies_before_its_call_is_answered: external("external.queued");
    a_restore_of_a_bundle_dies_with_its_sources_noted: external("external.sources_noted");
    a_restore_of_a_bundle_dies_after_its_eleventh_file: external("restore.file_copied#11");
    a_restore_of_a_bundle_dies_before_it_is_published: external("restore.publishing");
}

fn store(place: &Place) -> String {
    format!("shared=file://{}", place.shared().display())
}

fn export_body() -> Value {
    json!({"target_path": "nightly", "store": "shared"})
}

/// The bundle restores to what was exported.
async fn restores_whole(server: &Server, place: &Place, job: &Value, expected: &[Content]) {
    let body = json!({"snapshot_metadata_uri": job["snapshot_metadata_uri"], "collection_name": "r"});
    let job = server.post("/v1/restores/external", &body).await;
    server.completes(&job).await;
    assert!(
        content::of_collection(server, place, "r").await == expected,
        "the restored bytes differ"
    );
}

async fn export(point: &str) {
    let place = Place::new().await;
    let shared = store(&place);
    let server = place.serve_until(point, &["--workers", "2", "--store", &shared]);
    let expected = five_segments(&server, &place).await;
    server.post("/v1/snapshots", &snapshot("s")).await;
    let path = "/v1/snapshots/s/export";
    if point == "export.queued" {
        server.dies_in(Method::POST, path, Some(&export_body())).await;
    } else {
        // killed so early that the answer may be lost
        let _ = server.call(Method::POST, path, Some(&export_body())).await;
        server.dies();
    }
    let at_the_kill = place.shared_objects();
    let files = |objects: &std::collections::BTreeMap<String, u64>| objects.keys().filter(|k| k.contains("/files/")).count();
    let has_metadata = at_the_kill.keys().any(|key| key.contains("/metadata/"));
    assert!(
        !has_metadata || files(&at_the_kill) == 20,
        "half a bundle is seen: {at_the_kill:?}"
    );
    place.pass(60).await;

    let server = place.serve(&["--store", &shared]);
    let jobs = server.items("/v1/export-jobs").await;
    assert_eq!(jobs.len(), 1);
    let ended = server.completes(&jobs[0]).await;
    assert_eq!(
        (&ended["done_files"], &ended["total_files"]),
        (&json!(20), &json!(20)),
        "{ended}"
    );
    let mut again = copied_again(&at_the_kill, &place.shared_objects());
    // manifests and metadata are written anew by whoever publishes
    again.retain(|key| key.contains("/files/"));
    assert_eq!(again, Vec::<String>::new());
    assert!(
        !place.shared_objects().keys().any(|key| key.contains("_staging")),
        "what was staged is gone"
    );
    restores_whole(&server, &place, &ended, &expected).await;
    place.ends_empty(&server).await;
    assert_eq!(files(&place.shared_objects()), 20, "nobody collects a bundle");
}

async fn cancelled_export(point: &str) {
    let place = Place::new().await;
    let shared = store(&place);
    let server = place.serve_until("restore.file_copied#11", &["--store", &shared]);
    five_segments(&server, &place).await;
    std::fs::create_dir_all(place.shared().join("nightly/exports/of-somebody-else")).expect("made");
    std::fs::write(place.shared().join("nightly/exports/of-somebody-else/file"), b"kept").expect("written");
    server.post("/v1/snapshots", &snapshot("s")).await;
    let _ = server
        .call(Method::POST, "/v1/snapshots/s/export", Some(&export_body()))
        .await;
    server.dies();
    assert!(place.shared_objects().len() > 10, "something is copied");

    // the worker is dead, its lease runs
    let server = place.serve(&["--workers", "0", "--store", &shared]);
    let job = server.items("/v1/export-jobs").await.pop().expect("a job");
    let path = format!("/v1/export-jobs/{}/cancel", job["job_id"].as_str().expect("an id"));
    let cancelled = server.post(&path, &json!({})).await;
    assert_eq!(
        (&cancelled["state"], &cancelled["cleanup"]),
        (&json!("Cancelled"), &json!("pending"))
    );
    drop(server);
    // it listens before the clean-up is due
    let server = place.serve_until(point, &["--store", &shared]);
    place.pass(120).await;
    server.dies();
    place.pass(60).await;
    let server = place.serve(&["--store", &shared]);
    server.wait_for(&job, |job| job["cleanup"] == "done").await;
    let left: Vec<String> = place.shared_objects().into_keys().collect();
    assert_eq!(left, ["nightly/exports/of-somebody-else/file"]);
    place.ends_empty(&server).await;
}

async fn external(point: &str) {
    let place = Place::new().await;
    let shared = store(&place);
    let server = place.serve(&["--store", &shared]);
    let expected = five_segments(&server, &place).await;
    server.post("/v1/snapshots", &snapshot("s")).await;
    let job = server.post("/v1/snapshots/s/export", &export_body()).await;
    let exported = server.completes(&job).await;
    // the bundle comes back to the catalog that has its ids
    drop(server);
    let server = place.serve_until(point, &["--workers", "2", "--store", &shared]);
    let body = json!({"snapshot_metadata_uri": exported["snapshot_metadata_uri"], "collection_name": "r"});
    let path = "/v1/restores/external";
    if point == "external.queued" {
        server.dies_in(Method::POST, path, Some(&body)).await;
    } else {
        let _ = server.call(Method::POST, path, Some(&body)).await;
        server.dies();
    }
    let at_the_kill = place.objects();
    place.pass(60).await;
    let server = place.serve(&["--store", &shared]);
    let jobs = server.items("/v1/restore-jobs").await;
    assert_eq!(jobs.len(), 1);
    server.completes(&jobs[0]).await;
    assert!(
        content::of_collection(&server, &place, "r").await == expected,
        "the restored bytes differ"
    );
    assert_eq!(copied_again(&at_the_kill, &place.objects()), Vec::<String>::new());
    place.ends_empty(&server).await;
}
