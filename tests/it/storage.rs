//! Object storage: every kind keeps the same contract.

use std::collections::BTreeMap;

use stillframe::domain::Code;
use stillframe::objects::{CopyFile, CopyOutcome, Objects, StorageOptions, StorageUrl, marker};
use uuid::Uuid;

use crate::support::s3;

/// Objects that are written and read piece by piece: whole or not at all.
async fn pieces(objects: &Objects) {
    let piece = |n: u8| vec![n; 3 << 20];
    let mut sink = objects.sink("p/large").await.expect("begun");
    let mut sum = md5::Md5::default();
    for n in 0..6 {
        sink.write(piece(n)).await.expect("written");
        md5::Digest::update(&mut sum, piece(n));
    }
    assert!(objects.list("p/").await.expect("listed").is_empty(), "not before its end");
    sink.finish().await.expect("finished");
    let listed = objects.list("p/").await.expect("listed");
    assert_eq!(listed.get("p/large").map(|e| e.size_bytes), Some(18 << 20));
    let sum: String = md5::Digest::finalize(sum).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(objects.md5("p/large").await.expect("read"), Some((18 << 20, sum)));
    let mut given_up = objects.sink("p/given_up").await.expect("begun");
    given_up.write(piece(0)).await.expect("written");
    given_up.abandon().await;
    let empty = objects.sink("p/empty").await.expect("begun");
    empty.finish().await.expect("finished");
    assert_eq!(objects.get("p/given_up", 100).await.expect("read"), None);
    let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(objects.sha256("p/empty").await.expect("read"), Some((0, of_nothing.into())));
    assert_eq!(objects.sha256("p/none").await.expect("read"), None);
}

fn file<'a>(source: &'a str, target: &'a str, size_bytes: u64) -> CopyFile<'a> {
    CopyFile {
        source,
        target,
        size_bytes,
        etag: None,
    }
}

async fn contract(objects: &Objects) {
    objects.probe().await.expect("usable");
    pieces(objects).await;
    let put = |key: &str, text: &str| (key.to_string(), text.as_bytes().to_vec());
    objects
        .put_many(vec![
            put("d/12/a", "one"),
            put("d/123/b", "two!"),
            put("d/12/deep/c", ""),
            put("d/12x", "no"),
        ])
        .await
        .expect("written");
    let listed = objects.list("d/12/").await.expect("listed");
    let sizes: BTreeMap<String, u64> = listed.iter().map(|(k, e)| (k.clone(), e.size_bytes)).collect();
    assert_eq!(
        sizes,
        BTreeMap::from([("d/12/a".into(), 3), ("d/12/deep/c".into(), 0)]),
        "siblings stay out"
    );
    assert!(objects.list("d/nothing/").await.expect("listed").is_empty());
    assert_eq!(objects.get("d/12/a", 100).await.expect("read"), Some(b"one".to_vec()));
    assert_eq!(objects.get("d/none", 100).await.expect("read"), None);
    assert!(objects.get("d/123/b", 3).await.is_err(), "larger than what is read");
    objects.copy(&file("d/12/a", "e/f/g/copy", 3)).await.expect("copied");
    objects.copy(&file("d/12/deep/c", "e/f/g/empty", 0)).await.expect("copied");
    assert_eq!(objects.get("e/f/g/copy", 100).await.expect("read"), Some(b"one".to_vec()));
    assert_eq!(objects.get("e/f/g/empty", 100).await.expect("read"), Some(Vec::new()));
    assert!(matches!(
        objects.copy(&file("d/none", "e/x", 3)).await,
        Err(CopyOutcome::SourceMissing)
    ));
    assert_eq!(objects.get("e/x", 100).await.expect("read"), None);
    let gone = objects
        .delete(vec!["d/12/a".into(), "d/never".into(), "e/f/g/copy".into()])
        .await;
    assert!(gone.is_empty(), "{gone:?}");
    assert_eq!(objects.get("d/12/a", 100).await.expect("read"), None);
    assert_eq!(objects.get("d/123/b", 100).await.expect("read"), Some(b"two!".to_vec()));
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    contract(&Objects::open(StorageUrl::Memory, StorageOptions::default()).expect("opens")).await;
}

#[tokio::test]
async fn a_local_directory_keeps_the_contract_with_and_without_fsync() {
    for fsync in [false, true] {
        let directory = tempfile::tempdir().expect("a directory");
        let url = StorageUrl::Local {
            path: directory.path().join("not/yet/there"),
        };
        contract(
            &Objects::open(
                url,
                StorageOptions {
                    fsync,
                    ..StorageOptions::default()
                },
            )
            .expect("opens"),
        )
        .await;
    }
}

#[tokio::test]
async fn an_s3_server_keeps_the_contract() {
    let directory = tempfile::tempdir().expect("a directory");
    let (url, options) = s3::start(directory.path()).await;
    let objects = Objects::open(url, options).expect("opens");
    contract(&objects).await;
    assert!(
        directory.path().join("bucket/some/prefix/d/123/b").exists(),
        "below the prefix"
    );
}

#[tokio::test]
async fn etags_are_compared_only_where_the_probe_saw_that_they_are_sums() {
    let memory = Objects::open(StorageUrl::Memory, StorageOptions::default()).expect("opens");
    memory.probe().await.expect("usable");
    assert!(!memory.compares_etags());
    let directory = tempfile::tempdir().expect("a directory");
    let faults = crate::support::etags::Spoil::default();
    let (url, options) = s3::start_with_etags(directory.path(), faults.clone()).await;
    let objects = Objects::open(url, options).expect("opens");
    assert!(!objects.compares_etags(), "not before the probe");
    objects.probe().await.expect("usable");
    assert!(objects.compares_etags());
    faults.lock().expect("not poisoned").opaque = Some("stillframe-probe".into());
    objects.probe().await.expect("usable");
    assert!(!objects.compares_etags(), "they say nothing about the content");
}

#[tokio::test]
async fn wrong_credentials_are_storage_access_denied() {
    let directory = tempfile::tempdir().expect("a directory");
    let (url, mut options) = s3::start(directory.path()).await;
    if let Some(credentials) = &mut options.credentials {
        credentials.secret_access_key = "wrong".into();
    }
    let objects = Objects::open(url, options).expect("opens");
    let error = objects.probe().await.expect_err("refused");
    assert_eq!(error.code(), Code::StorageAccessDenied, "{error} {}", error.cause_chain());
    assert!(!format!("{objects:?}").contains("wrong"), "a secret is never shown");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_storage_unavailable() {
    // a port that nobody listens on
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address")
        .port();
    let url = StorageUrl::parse(&format!("s3://bucket?endpoint=http://127.0.0.1:{port}&region=us-east-1")).expect("a URL");
    let credentials = stillframe::objects::Credentials {
        access_key_id: "a".into(),
        secret_access_key: "b".into(),
    };
    let options = StorageOptions {
        credentials: Some(credentials),
        ..StorageOptions::default()
    };
    let error = Objects::open(url, options)
        .expect("opens")
        .probe()
        .await
        .expect_err("nobody there");
    assert_eq!(error.code(), Code::StorageUnavailable);
}

#[tokio::test]
async fn storage_of_another_catalog_is_refused_unless_taken_over() {
    let objects = Objects::open(StorageUrl::Memory, StorageOptions::default()).expect("opens");
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    marker::claim(&objects, first, false, false).await.expect("free");
    marker::claim(&objects, first, false, false).await.expect("ours");
    let error = marker::claim(&objects, second, false, false).await.expect_err("theirs");
    assert!(error.to_string().contains(&first.to_string()), "{error}");
    marker::claim(&objects, second, false, true).await.expect("taken over");
    marker::claim(&objects, first, false, false)
        .await
        .expect_err("no longer ours");
}

#[tokio::test]
async fn a_full_disk_is_insufficient_storage() {
    let directory = tempfile::tempdir().expect("a directory");
    // what is written there is refused as on a full disk
    std::os::unix::fs::symlink("/dev/full", directory.path().join("full")).expect("linked");
    let url = StorageUrl::Local {
        path: directory.path().to_path_buf(),
    };
    let objects = Objects::open(
        url,
        StorageOptions {
            fsync: false,
            ..StorageOptions::default()
        },
    )
    .expect("opens");
    let error = objects
        .put_many(vec![("full".into(), b"no room".to_vec())])
        .await
        .expect_err("full");
    assert_eq!(error.code(), Code::InsufficientStorage, "{error}");
    assert!(error.to_string().contains("full"), "the key is named: {error}");
}

#[tokio::test]
async fn a_disk_that_is_not_mounted_is_noticed_before_anything_is_written_or_forgotten() {
    let app = crate::support::TestApp::local().await;
    app.small_collection("c", 100).await;
    app.add_segment("c", 100, 5).await;
    app.delete("/v1/collections/c/segments/5").await.expect(204);
    let (root, away) = (
        app.directory.path().to_path_buf(),
        app.directory.path().with_extension("away"),
    );
    std::fs::rename(&root, &away).expect("unmounted");
    std::fs::create_dir(&root).expect("an empty mount point");
    app.get("/readyz").await.refused(503, "storage_unavailable");
    let body = serde_json::json!({"collection_name": "c", "snapshot_name": "s"});
    app.post("/v1/snapshots", &body).await.refused(503, "storage_unavailable");
    app.post("/v1/gc/runs", &serde_json::json!({"grace_seconds": 0}))
        .await
        .refused(503, "storage_unavailable");
    let error = marker::claim(&app.objects, Uuid::new_v4(), true, false)
        .await
        .expect_err("the catalog must have a storage");
    assert!(error.to_string().contains("mounted"), "{error}");
    std::fs::remove_dir_all(&root).expect("removed");
    std::fs::rename(&away, &root).expect("mounted");
    app.post("/v1/snapshots", &body).await.created();
    let run = app
        .post("/v1/gc/runs", &serde_json::json!({"grace_seconds": 0}))
        .await
        .created()
        .json;
    assert_eq!(
        run["objects"].as_i64().expect("a number"),
        4 + 1,
        "the dropped segment's files, and the metadata key of the snapshot that failed"
    );
}
