//! Bundles that are damaged, changed, or made to deceive.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{beside, exported, restore};
use crate::support::TestApp;

/// Words of the refusal, and what is changed of the metadata.
type Edit = (&'static str, fn(&mut Value));

struct Bundle {
    shared: tempfile::TempDir,
    app: TestApp,
    uri: String,
}

/// A bundle of one small segment, on a directory.
async fn bundle() -> Bundle {
    let shared = tempfile::tempdir().expect("a directory");
    let app = beside(shared.path()).await;
    app.small_collection("c", 100).await;
    app.add_segment("c", 100, 500).await;
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
    let uri = exported(&app, "s", json!({"target_path": "x", "store": "shared"})).await;
    Bundle { shared, app, uri }
}

impl Bundle {
    fn metadata(&self) -> PathBuf {
        PathBuf::from(self.uri.strip_prefix("file://").expect("a path"))
    }

    fn root(&self) -> PathBuf {
        PathBuf::from(
            self.uri
                .split_once("/snapshots/")
                .expect("a root")
                .0
                .strip_prefix("file://")
                .expect("a path"),
        )
    }

    fn file(&self, kind: &str) -> PathBuf {
        fn first(directory: &Path) -> PathBuf {
            let entry = std::fs::read_dir(directory)
                .expect("a directory")
                .flatten()
                .next()
                .expect("an entry");
            if entry.path().is_dir() {
                first(&entry.path())
            } else {
                entry.path()
            }
        }
        first(&self.root().join(kind))
    }

    /// Changes the metadata file.
    fn edit(&self, change: impl FnOnce(&mut Value)) {
        let mut metadata: Value = serde_json::from_slice(&std::fs::read(self.metadata()).expect("readable")).expect("JSON");
        change(&mut metadata);
        std::fs::write(self.metadata(), metadata.to_string()).expect("written");
    }

    fn body(&self) -> Value {
        json!({"snapshot_metadata_uri": self.uri, "collection_name": "back"})
    }

    /// The request is refused.
    async fn is_refused(&self, words: &str) {
        let answer = self.app.post("/v1/restores/external", &self.body()).await;
        let answer = answer.refused(422, "invalid_external_snapshot");
        let detail = answer.json["detail"].as_str().expect("a detail");
        assert!(detail.contains(words), "{words}: {detail}");
        self.app
            .get("/v1/collections/back")
            .await
            .refused(404, "collection_not_found");
    }

    /// The request is taken, and the job fails before anything is copied.
    async fn fails(&self, code: &str, words: &str) {
        let before = self.app.keys("insert_log/").await;
        let id = restore(&self.app, self.body()).await;
        self.app.drain().await;
        let job = self.app.get(&format!("/v1/restore-jobs/{id}")).await.ok().json;
        assert_eq!((&job["state"], &job["error_code"]), (&json!("Failed"), &json!(code)), "{job}");
        assert!(job["reason"].as_str().expect("a reason").contains(words), "{words}: {job}");
        assert_eq!(self.app.keys("insert_log/").await, before);
    }
}

#[tokio::test]
async fn missing_and_wrong_sized_files_are_named() {
    let bundle = bundle().await;
    let (log, index) = (bundle.file("files/insert_log"), bundle.file("files/index_files"));
    let bytes = std::fs::read(&log).expect("readable");
    std::fs::write(&log, b"short").expect("written");
    bundle.fails("file_size_mismatch", "insert_log/100/101/500").await;
    std::fs::remove_file(&log).expect("removed");
    bundle.fails("file_missing", "insert_log/100/101/500").await;
    std::fs::write(&log, bytes).expect("written");
    // manifests tell no sizes of index files; the totals of the metadata do
    let bytes = std::fs::read(&index).expect("readable");
    std::fs::write(&index, b"cut").expect("written");
    bundle.fails("invalid_external_snapshot", "its metadata says 4 of").await;
    std::fs::write(&index, bytes).expect("written");
    super::restored(&bundle.app, bundle.body()).await;
}

#[tokio::test]
async fn a_changed_or_missing_manifest_is_found() {
    let bundle = bundle().await;
    let manifest = bundle.file("snapshots/100/manifests");
    let mut bytes = std::fs::read(&manifest).expect("readable");
    *bytes.last_mut().expect("bytes") ^= 1;
    std::fs::write(&manifest, &bytes).expect("written");
    bundle.fails("invalid_external_snapshot", "SHA-256").await;
    // a bundle of Milvus has no sums: then the bytes themselves must make sense
    bundle.edit(|m| {
        m.as_object_mut().expect("an object").remove("stillframe");
    });
    bytes.push(0);
    std::fs::write(&manifest, &bytes).expect("written");
    bundle.fails("invalid_external_snapshot", "can't be read").await;
    std::fs::remove_file(&manifest).expect("removed");
    bundle.fails("file_missing", "500.avro").await;
}

#[tokio::test]
async fn a_bundle_of_milvus_is_restored_without_what_only_we_write() {
    let bundle = bundle().await;
    bundle.edit(|m| {
        m.as_object_mut().expect("an object").remove("stillframe");
        m["layout"] = json!(2);
        let key = m["manifest_list"][0].as_str().expect("a key").to_string();
        let root = key.split("/snapshots/").next().expect("a root").to_string();
        let place = m["snapshot_info"]["s3_location"].as_str().expect("a URI").to_string();
        let end = place.split_once(&root).expect("a root").1.to_string();
        m["snapshot_info"]["s3_location"] = json!(format!("https://minio:9000/a-bucket/{root}{end}"));
    });
    super::restored(&bundle.app, bundle.body()).await;
}

#[tokio::test]
async fn metadata_that_changes_after_the_request_fails_the_job() {
    let bundle = bundle().await;
    let id = restore(&bundle.app, bundle.body()).await;
    bundle.edit(|m| m["snapshot_info"]["description"] = json!("another"));
    bundle.app.drain().await;
    let job = bundle.app.get(&format!("/v1/restore-jobs/{id}")).await.ok().json;
    assert_eq!(
        (&job["error_code"], &job["reason"]),
        (
            &json!("external_snapshot_changed"),
            &json!("external snapshot changed after preflight validation")
        )
    );
}

#[tokio::test]
async fn metadata_that_is_not_of_a_bundle_is_refused() {
    let bundle = bundle().await;
    let whole = std::fs::read(bundle.metadata()).expect("readable");
    let edits: Vec<Edit> = vec![
        ("not SnapshotLayoutSelfContained", |m| {
            m["layout"] = json!("SnapshotLayoutReferenced")
        }),
        ("snapshot_info is missing", |m| m["snapshot_info"] = json!(null)),
        ("its name says", |m| m["snapshot_info"]["id"] = json!("7")),
        ("its name says", |m| m["snapshot_info"]["collection_id"] = json!("7")),
        ("too new", |m| m["format_version"] = json!(99)),
        ("does not lie in", |m| m["manifest_list"][0] = json!("etc/passwd")),
        ("s3_location", |m| {
            m["snapshot_info"]["s3_location"] = json!("s3://b/elsewhere/x.json")
        }),
        ("do not match", |m| m["segment_ids"] = json!(["501"])),
        ("shards", |m| m["collection"]["num_shards"] = json!("0")),
        ("channels for", |m| m["collection"]["num_shards"] = json!("2")),
        ("no partition", |m| {
            m["collection"]["partitions"] = json!({});
            m["snapshot_info"]["partition_ids"] = json!([]);
        }),
        ("partition name", |m| m["collection"]["partitions"] = json!({"a/b": "101"})),
        ("schema", |m| {
            let field = m["collection"]["schema"]["fields"][0].clone();
            m["collection"]["schema"]["fields"]
                .as_array_mut()
                .expect("fields")
                .push(field);
        }),
        ("index", |m| {
            let index = m["indexes"][0].clone();
            m["indexes"].as_array_mut().expect("indexes").push(index);
        }),
    ];
    for (words, edit) in edits {
        std::fs::write(bundle.metadata(), &whole).expect("written");
        bundle.edit(edit);
        bundle.is_refused(words).await;
    }
    std::fs::write(bundle.metadata(), b"{").expect("written");
    bundle.is_refused("metadata file is wrong").await;
}

#[tokio::test]
async fn a_manifest_reads_nothing_outside_its_own_segment() {
    let bundle = bundle().await;
    bundle.edit(|m| {
        m.as_object_mut().expect("an object").remove("stillframe");
    });
    let manifest = bundle.file("snapshots/100/manifests");
    let whole = std::fs::read(&manifest).expect("readable");
    let replace = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len(), "the datum has lengths");
        let mut bytes = whole.clone();
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect("there");
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&manifest, bytes).expect("written");
    };
    let root = bundle.root();
    let key = root
        .strip_prefix(bundle.shared.path())
        .expect("below")
        .to_str()
        .expect("UTF-8")
        .to_string();
    for (from, to, words) in [
        (
            "/files/insert_log/100/101/500/",
            "/files/insert_log/100/101/501/",
            "another segment",
        ),
        (
            "/files/insert_log/100/101/500/",
            "/files/insert_log/200/101/500/",
            "another collection",
        ),
        (
            "/files/insert_log/100/101/500/",
            "/files/insert_log/100/102/500/",
            "another partition",
        ),
        ("/files/index_files/500000/", "/files/index_files/500001/", "another build"),
        (
            "/files/insert_log/100/101/500/",
            "/files/insert_log/100/../0500/",
            "can't be read",
        ),
        (
            "/files/insert_log/100/101/500/",
            "/files/insert_lag/100/101/500/",
            "no known layout",
        ),
        (&key[..], &"y".repeat(key.len())[..], "can't be read"),
        ("ch_100", "ch_200", "unknown channel"),
    ] {
        replace(from, to);
        bundle.fails("invalid_external_snapshot", words).await;
    }
}
