//! Object storage: every kind keeps the same contract.

use std::collections::BTreeMap;

use stillframe::domain::Code;
use stillframe::objects::{CopyOutcome, Objects, StorageOptions, StorageUrl, marker};
use uuid::Uuid;

use crate::support::s3;

async fn contract(objects: &Objects) {
    objects.probe().await.expect("usable");
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
    objects.copy("d/12/a", "e/f/g/copy", 3).await.expect("copied");
    objects.copy("d/12/deep/c", "e/f/g/empty", 0).await.expect("copied");
    assert_eq!(objects.get("e/f/g/copy", 100).await.expect("read"), Some(b"one".to_vec()));
    assert_eq!(objects.get("e/f/g/empty", 100).await.expect("read"), Some(Vec::new()));
    assert!(matches!(
        objects.copy("d/none", "e/x", 3).await,
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
async fn wrong_credentials_are_permission_denied() {
    let directory = tempfile::tempdir().expect("a directory");
    let (url, mut options) = s3::start(directory.path()).await;
    if let Some(credentials) = &mut options.credentials {
        credentials.secret_access_key = "wrong".into();
    }
    let objects = Objects::open(url, options).expect("opens");
    let error = objects.probe().await.expect_err("refused");
    assert_eq!(error.code(), Code::PermissionDenied, "{error} {}", error.cause_chain());
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
    marker::claim(&objects, first, false).await.expect("free");
    marker::claim(&objects, first, false).await.expect("ours");
    let error = marker::claim(&objects, second, false).await.expect_err("theirs");
    assert!(error.to_string().contains(&first.to_string()), "{error}");
    marker::claim(&objects, second, true).await.expect("taken over");
    marker::claim(&objects, first, false).await.expect_err("no longer ours");
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
    let error = objects.put("full", b"no room".to_vec()).await.expect_err("full");
    assert_eq!(error.code(), Code::InsufficientStorage, "{error}");
    assert!(error.to_string().contains("full"), "the key is named: {error}");
}
