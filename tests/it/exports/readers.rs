//! What others read of a bundle, without us.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::round_trip::with_snapshot;
use super::{beside, exported};
use crate::support::fixture::{self, BYTES, FILES};

/// The files of a bundle on a directory, by their keys in it.
fn walk(root: &Path, directory: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(root, &path, found);
        } else {
            found.push(path.strip_prefix(root).expect("below").to_str().expect("UTF-8").to_string());
        }
    }
}

#[tokio::test]
async fn python_reads_the_metadata_and_the_bare_manifests_of_a_bundle() {
    let shared = tempfile::tempdir().expect("a directory");
    let app = beside(shared.path()).await;
    with_snapshot(&app).await;
    let uri = exported(&app, "s", json!({"target_path": "nightly", "store": "shared"})).await;
    let (root, of_metadata) = uri.split_once("/snapshots/").expect("a root");
    let root = Path::new(root.strip_prefix("file://").expect("a path"));
    let key = root.strip_prefix(shared.path()).expect("below").to_str().expect("UTF-8");

    let mut files = Vec::new();
    walk(root, root, &mut files);
    files.sort();
    let data: Vec<&String> = files.iter().filter(|f| f.starts_with("files/")).collect();
    let mut wanted: Vec<String> = fixture::files()
        .into_iter()
        .map(|(path, _)| format!("files/{path}"))
        .collect();
    wanted.sort();
    assert_eq!(data, wanted.iter().collect::<Vec<_>>());
    assert_eq!(files.len(), FILES + 4 + 1, "and four manifests and the metadata: {files:?}");

    let text = std::fs::read(root.join("snapshots").join(of_metadata)).expect("readable");
    let metadata: Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(metadata["format_version"], 4, "Milvus' own, as Milvus reads it");
    assert_eq!(metadata["layout"], "SnapshotLayoutSelfContained");
    assert_eq!(metadata["snapshot_info"]["s3_location"], json!(uri));
    assert_eq!(metadata["snapshot_info"]["name"], "s");
    assert_eq!(metadata["stillframe"]["totals"]["size_bytes"], BYTES);
    let manifests = metadata["manifest_list"].as_array().expect("manifests");
    assert_eq!(manifests.len(), 4);

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/exports/read_bundle.py");
    let output = Command::new(crate::support::python())
        .arg(&script)
        .arg(shared.path())
        .args(manifests.iter().map(|m| m.as_str().expect("a key")))
        .output()
        .expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(read["rows"], 9000);
    let mut paths: Vec<String> = serde_json::from_value(read["paths"].clone()).expect("paths");
    paths.sort();
    let mut wanted: Vec<String> = wanted.iter().map(|path| format!("{key}/{path}")).collect();
    wanted.sort();
    assert_eq!(paths, wanted, "keys in manifests are those of the bundle");
}
