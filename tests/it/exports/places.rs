//! Stores of every kind: two S3 servers, two prefixes of one bucket, a directory and a server.

use std::path::Path;

use serde_json::json;
use stillframe::objects::{Objects, StorageUrl};
use stillframe::service::{Sealer, Stores};

use super::round_trip::with_snapshot;
use super::{contents, export, export_job, exported, local_url, quick, restored, stores};
use crate::support::TestApp;
use crate::support::faults::{Call, Faults};
use crate::support::fixture::{self, FILES};
use crate::support::s3;

/// The same server with another prefix.
fn elsewhere(url: &StorageUrl, prefix: &str) -> StorageUrl {
    let mut url = url.clone();
    if let StorageUrl::S3 { prefix: own, .. } = &mut url {
        *own = prefix.into();
    }
    url
}

fn endpoint(url: &StorageUrl) -> String {
    match url {
        StorageUrl::S3 { endpoint, .. } => endpoint.clone().expect("one"),
        other => panic!("{other}"),
    }
}

fn sorted_fixture() -> Vec<Vec<u8>> {
    let mut bytes: Vec<Vec<u8>> = fixture::files().into_iter().map(|(_, bytes)| bytes).collect();
    bytes.sort();
    bytes
}

fn is_data_read(call: &Call) -> bool {
    call.method == "GET" && call.query.is_empty() && ["/insert_log/", "/index_files/"].iter().any(|d| call.path.contains(d))
}

#[tokio::test]
async fn another_prefix_of_our_bucket_is_copied_to_by_the_server() {
    let directory = tempfile::tempdir().expect("a directory");
    let faults = Faults::default();
    let served = directory.path().to_path_buf();
    let (url, options) = s3::start_behind(directory.path(), faults.clone()).await;
    let backups = elsewhere(&url, "back/ups");
    let key = options.credentials.clone();
    let app = TestApp::with_stores(url, options, directory, |own| {
        stores(&[("backups", &own.beside(backups, key, false).expect("opens"))])
    })
    .await;
    with_snapshot(&app).await;
    let uri = exported(&app, "s", json!({"target_path": "s3://bucket/back/ups/nightly"})).await;
    assert!(
        uri.starts_with("http://127.0.0.1:") && uri.contains("/bucket/back/ups/nightly/exports/"),
        "{uri}"
    );
    restored(&app, json!({"snapshot_metadata_uri": uri, "collection_name": "back"})).await;
    assert_eq!(contents(&app, "back").await, sorted_fixture());
    // what the file itself says, as every Milvus reads it, leads here too
    let at = uri.split_once("/bucket/").expect("a key").1;
    let text = std::fs::read(served.join("bucket").join(at)).expect("readable");
    let metadata: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let location = metadata["snapshot_info"]["s3_location"].as_str().expect("a URI");
    assert_eq!(location, uri.replacen("http://", "minio://", 1));
    let refused = json!({"snapshot_metadata_uri": location, "collection_name": "again", "external_spec": {"use_ssl": true}});
    app.post("/v1/restores/external", &refused)
        .await
        .refused(422, "invalid_request");
    restored(&app, json!({"snapshot_metadata_uri": location, "collection_name": "again"})).await;
    // looked at the restored files just now; nothing else read them
    let reads = faults.calls(is_data_read);
    assert!(reads.iter().all(|c| !c.path.contains("/exports/")), "{reads:?}");
    assert_eq!(
        faults.calls(Call::is_copy).len(),
        3 * FILES + 1,
        "the probe's own, there, and back twice"
    );
}

#[tokio::test]
async fn a_bundle_goes_from_one_server_to_another_and_back_with_large_files_in_parts() {
    let (here, there) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let far = Faults::default();
    let (far_url, far_options) = s3::start_behind(there.path(), far.clone()).await;
    let far_store = Objects::open(elsewhere(&far_url, "vault"), far_options).expect("opens");
    let (url, options) = s3::start(here.path()).await;
    let known = far_store.clone();
    let app = TestApp::with_stores(url, options, here, |_| stores(&[("far", &known)])).await;
    app.small_collection("c", 100).await;
    let mut segment = app.small_segment(100, 500).await;
    let large: Vec<u8> = (0..20_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let path: String = segment["index_builds"][0]["files"][0]["path"]
        .as_str()
        .expect("a path")
        .to_string();
    segment["index_builds"][0]["files"][0]["size_bytes"] = json!(large.len());
    app.objects.put(&path, large.clone()).await.expect("written");
    app.post("/v1/collections/c/segments", &segment).await.created();
    app.add_segment("c", 100, 501).await;
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
    let uri = exported(&app, "s", json!({"target_path": "a", "store": "far"})).await;
    assert!(uri.starts_with(&endpoint(&far_url)), "{uri}");
    assert_eq!(far.calls(Call::is_copy).len(), 0, "no server copies from another one");
    assert_eq!(far.calls(Call::is_complete).len(), 1, "the large one came in parts");
    assert_eq!(s3::open_uploads(there.path()), Vec::<String>::new());

    // a third service, on a directory, which has only the far server
    let directory = tempfile::tempdir().expect("a directory");
    let other = TestApp::with_stores(local_url(directory.path()), quick(), directory, |_| {
        stores(&[("vault", &far_store)])
    })
    .await;
    restored(&other, json!({"snapshot_metadata_uri": uri, "collection_name": "back"})).await;
    let restored = contents(&other, "back").await;
    assert_eq!(restored, contents(&app, "c").await);
    assert!(restored.contains(&large));
}

#[tokio::test]
async fn a_store_that_asks_to_slow_down_is_waited_for() {
    let (here, there) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let far = Faults::default();
    let (far_url, far_options) = s3::start_behind(there.path(), far.clone()).await;
    let far_store = Objects::open(far_url, far_options).expect("opens");
    let app = TestApp::with_stores(local_url(here.path()), quick(), here, |_| stores(&[("far", &far_store)])).await;
    with_snapshot(&app).await;
    let mut left = 12;
    far.set(move |call| {
        let refused = call.method == "PUT" && call.path.contains("/stats_log/") && left > 0;
        left -= i32::from(refused);
        refused.then_some(crate::support::faults::Fault::Refuse(503, "SlowDown"))
    });
    exported(&app, "s", json!({"target_path": "a", "store": "far"})).await;
}

#[tokio::test]
async fn credentials_of_a_request_reach_a_bucket_that_no_setting_names() {
    let (here, there) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let (far_url, far_options) = s3::start(there.path()).await;
    let key = far_options.credentials.clone().expect("a key");
    let server = endpoint(&far_url);
    let allowed = [server.clone()];
    let app = TestApp::with_stores(local_url(here.path()), quick(), here, |_| {
        Stores::new(std::collections::BTreeMap::new(), &allowed, Sealer::of_this_process())
    })
    .await;
    with_snapshot(&app).await;
    let spec = |secret: &str| {
        json!({"extfs": {"access_key_id": key.access_key_id, "access_key_value": secret, "region": "us-east-1",
                         "use_ssl": "false", "cloud_provider": "minio", "use_virtual_host": "false"}})
    };
    let target = format!("{server}/bucket/nightly");
    let body = json!({"target_path": target, "external_spec": spec(&key.secret_access_key)});
    let uri = exported(&app, "s", body).await;
    assert!(uri.starts_with(&target), "{uri}");
    let body = json!({"snapshot_metadata_uri": uri, "collection_name": "back",
                      "external_spec": spec(&key.secret_access_key).to_string()});
    restored(&app, body).await;
    assert_eq!(contents(&app, "back").await, sorted_fixture());

    // with a wrong key the job fails at once, and says which right is missing
    let id = export(
        &app,
        "s",
        json!({"target_path": target, "external_spec": spec("wrong-secret")}),
    )
    .await;
    app.drain().await;
    let job = export_job(&app, &id).await;
    assert_eq!(
        (&job["state"], &job["error_code"]),
        (&json!("Failed"), &json!("storage_access_denied")),
        "{job}"
    );
    let body = json!({"snapshot_metadata_uri": uri, "collection_name": "n", "external_spec": spec("wrong-secret")});
    app.post("/v1/restores/external", &body)
        .await
        .refused(502, "storage_access_denied");
    // without one, or for another server, nothing is asked of anybody
    for (target, spec) in [
        (target.clone(), json!(null)),
        ("http://127.0.0.1:1/bucket/x".to_string(), spec("x")),
        ("file:///etc".to_string(), json!(null)),
        ("file:///etc".to_string(), spec("x")),
        ("insert_log/x".to_string(), json!(null)),
        ("snapshots".to_string(), json!(null)),
        ("../x".to_string(), json!(null)),
    ] {
        let body = json!({"target_path": target, "external_spec": spec});
        app.post("/v1/snapshots/s/export", &body)
            .await
            .refused(422, "invalid_request");
    }
}

#[tokio::test]
async fn what_lies_outside_the_directory_of_a_store_is_not_read() {
    let base = tempfile::tempdir().expect("a directory");
    let shared = base.path().join("shared");
    std::fs::create_dir_all(&shared).expect("made");
    let app = super::beside(&shared).await;
    with_snapshot(&app).await;
    let uri = exported(&app, "s", json!({"target_path": "x", "store": "shared"})).await;
    // the same bundle, beside the store
    let outside = base.path().join("outside");
    std::fs::rename(shared.join("x"), &outside).expect("moved");
    let uri = uri.replace("/shared/x/", "/outside/");
    assert!(Path::new(uri.strip_prefix("file://").expect("a path")).is_file(), "{uri}");
    for uri in [
        uri.clone(),
        uri.replace("/outside/", "/shared/../outside/"),
        "../outside".into(),
    ] {
        let body = json!({"snapshot_metadata_uri": uri, "collection_name": "n"});
        app.post("/v1/restores/external", &body).await.refused(422, "invalid_request");
    }
}
