//! Exports of snapshots as bundles, and restores from bundles.

mod clients;
mod foreign;
mod hostile;
mod jobs;
mod places;
mod readers;
mod round_trip;
mod secrets;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use stillframe::objects::{Objects, StorageOptions, StorageUrl};
use stillframe::service::{Sealer, Stores};

use crate::support::TestApp;

/// Options of a local store that is quick.
fn quick() -> StorageOptions {
    StorageOptions {
        fsync: false,
        ..StorageOptions::default()
    }
}

fn local_url(directory: &Path) -> StorageUrl {
    StorageUrl::Local {
        path: directory.to_path_buf(),
    }
}

/// Stores of a configuration by name.
fn stores(named: &[(&str, &Objects)]) -> Stores {
    let named: BTreeMap<String, Objects> = named.iter().map(|(name, o)| ((*name).to_string(), (*o).clone())).collect();
    Stores::new(named, &[], Sealer::of_this_process())
}

/// A service on a directory of its own, which knows a directory as the store `shared`.
pub async fn beside(shared: &Path) -> TestApp {
    let directory = tempfile::tempdir().expect("a directory");
    let url = local_url(directory.path());
    TestApp::with_stores(url, quick(), directory, |_| {
        let shared = Objects::open(local_url(shared), quick()).expect("opens");
        stores(&[("shared", &shared)])
    })
    .await
}

/// Starts an export; gives the job's id.
async fn export(app: &TestApp, snapshot: &str, body: Value) -> String {
    let job = app.post(&format!("/v1/snapshots/{snapshot}/export"), &body).await.expect(202);
    let id = job.json["job_id"].as_str().expect("id").to_string();
    assert_eq!(job.headers["location"], format!("/v1/export-jobs/{id}"));
    assert_eq!((&job.json["state"], &job.json["kind"]), (&json!("Pending"), &json!("export")));
    id
}

async fn export_job(app: &TestApp, id: &str) -> Value {
    app.get(&format!("/v1/export-jobs/{id}")).await.ok().json
}

/// Exports a snapshot to its end; gives the URI of the bundle's metadata.
pub async fn exported(app: &TestApp, snapshot: &str, body: Value) -> String {
    let id = export(app, snapshot, body).await;
    app.drain().await;
    let job = export_job(app, &id).await;
    assert_eq!((&job["state"], &job["progress"]), (&json!("Completed"), &json!(100)), "{job}");
    job["snapshot_metadata_uri"].as_str().expect("a URI").to_string()
}

/// Starts a restore of a bundle; gives the job's id.
async fn restore(app: &TestApp, body: Value) -> String {
    let job = app.post("/v1/restores/external", &body).await.expect(202);
    let id = job.json["job_id"].as_str().expect("id").to_string();
    assert_eq!(job.headers["location"], format!("/v1/restore-jobs/{id}"));
    assert_eq!(job.json["kind"], "external");
    id
}

/// Restores a bundle to its end; gives the job.
pub async fn restored(app: &TestApp, body: Value) -> Value {
    let id = restore(app, body).await;
    app.drain().await;
    let job = app.get(&format!("/v1/restore-jobs/{id}")).await.ok().json;
    assert_eq!((&job["state"], &job["reason"]), (&json!("Completed"), &json!("")), "{job}");
    job
}

/// The bytes of every data file of a collection, sorted, without the names that a restore changes.
pub async fn contents(app: &TestApp, collection: &str) -> Vec<Vec<u8>> {
    let list = app
        .get(&format!(
            "/v1/collections/{collection}/segments?page_size=1000&include_files=true"
        ))
        .await;
    let list = match list.status.as_u16() {
        200 => list,
        _ => app
            .get(&format!("/v1/collections/{collection}/segments?page_size=1000"))
            .await
            .ok(),
    };
    let mut found = Vec::new();
    for segment in list.json["items"].as_array().expect("items") {
        let id = segment["segment_id"].as_str().expect("id");
        let whole = app
            .get(&format!("/v1/collections/{collection}/segments/{id}"))
            .await
            .ok()
            .json;
        let mut paths = Vec::new();
        collect_paths(&whole, &mut paths);
        for path in paths {
            let bytes = app.objects.get(&path, u64::MAX).await.expect("readable");
            found.push(bytes.unwrap_or_else(|| panic!("{path} is missing")));
        }
    }
    found.sort();
    found
}

fn collect_paths(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(path) if key == "path" => found.push(path.clone()),
                    other => collect_paths(other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_paths(item, found)),
        _ => {}
    }
}
