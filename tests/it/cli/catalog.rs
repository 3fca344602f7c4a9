//! `stillframe catalog rebuild`, of a service whose private Postgres was lost.

use serde_json::{Value, json};

use super::process::{Ran, directory, run};
use super::service::Service;
use crate::support::fixture;

/// Waits for nothing: a stopped service has let go of its directory.
fn lose_the_database(data_dir: &std::path::Path) {
    std::fs::remove_dir_all(data_dir.join("postgres")).expect("removed");
}

fn rebuild(data_dir: &std::path::Path, more: &[&str]) -> Ran {
    let data_dir = data_dir.to_str().expect("UTF-8");
    run(&[&["catalog", "rebuild", "--from-storage", "--data-dir", data_dir], more].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_database_is_rebuilt_from_the_storage() {
    let dir = directory();
    let service = Service::start(dir.path(), &["--no-fsync"]);
    service.load_fixture(dir.path()).await;
    let created = service
        .run(&["snapshot", "create", "feas", "backup_20240101", "--json"])
        .json();
    let busy = rebuild(dir.path(), &[]);
    assert_ne!(busy.code, Some(0), "the service has the directory: {busy:?}");
    drop(service);
    let refused = rebuild(dir.path(), &["--take-over"]);
    assert!(refused.err.contains("the catalog is not empty"), "{refused:?}");
    assert_eq!(refused.code, Some(1));

    lose_the_database(dir.path());
    let refused = rebuild(dir.path(), &[]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains("--take-over if the other catalog is gone"),
        "{refused:?}"
    );
    let report = rebuild(dir.path(), &["--take-over", "--json"]).json();
    let rebuilt = &report["snapshots"][0];
    assert_eq!(
        (&rebuilt["snapshot_id"], &rebuilt["file_count"], &report["skipped"]),
        (&created["snapshot_id"], &json!(fixture::FILES), &json!([]))
    );

    let service = Service::start(dir.path(), &["--no-fsync"]);
    let described = service.run(&["snapshot", "describe", "backup_20240101", "--json"]).json();
    assert_eq!(described["size_bytes"], fixture::BYTES);
    let restored = service.run(&["restore", "backup_20240101", "restored"]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    let collection: Value = service.run(&["collection", "describe", "restored", "--json"]).json();
    assert_eq!(collection["size_bytes"], fixture::BYTES);
    drop(service);

    // and once more, for people, with one that can't come back
    lose_the_database(dir.path());
    let (path, _) = fixture::files().remove(0);
    std::fs::remove_file(dir.path().join("objects").join(&path)).expect("removed");
    let said = rebuild(dir.path(), &["--take-over"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for text in [
        "NOT REBUILT",
        &format!("file {path} of segment"),
        "0 snapshots",
        "orphan deletion",
    ] {
        assert!(said.out.contains(text), "{text}: {said:?}");
    }
}
