//! `stillframe snapshot export` and `stillframe restore --external`.

use crate::cli::process::directory;
use crate::cli::service::Service;
use crate::support::postgres;

#[tokio::test]
async fn a_snapshot_is_exported_and_restored_from_the_command_line() {
    let dir = directory();
    let database = postgres::url(&postgres::empty_database().await);
    let shared = dir.path().join("shared");
    let store = format!("backups=file://{}", shared.display());
    let service = Service::start(dir.path(), &["--no-fsync", "--database-url", &database, "--store", &store]);
    service.load_fixture(dir.path()).await;
    assert_eq!(service.run(&["snapshot", "create", "feas", "s1"]).code, Some(0));

    let ran = service.run(&["snapshot", "export", "s1", "nightly", "--store", "backups"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.starts_with("exported snapshot s1 to file:///"), "{ran:?}");
    assert!(ran.out.contains("4 segments, 48 files, 8.5 MiB in "), "{ran:?}");
    let job = service
        .run(&["snapshot", "export", "s1", "again", "--store", "backups", "--json"])
        .json();
    assert_eq!(job["state"], "Completed");
    let uri = job["snapshot_metadata_uri"].as_str().expect("a URI");

    let ran = service.run(&["restore", "--external", uri, "back"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.out
            .starts_with("restored snapshot s1 into collection back: 4 segments, 48 files"),
        "{ran:?}"
    );
    let ran = service.run(&["restore", "--external", uri, "back"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    let ran = service.run(&["restore", "--external", uri, "s1", "back"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let ran = service.run(&["restore", "s1"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");

    // secrets come from a file, never from the command line
    let spec = dir.path().join("spec.json");
    std::fs::write(&spec, r#"{"extfs": {"role_arn": "planted"}}"#).expect("written");
    let spec = spec.to_str().expect("UTF-8");
    let ran = service.run(&["snapshot", "export", "s1", "s3://elsewhere/x", "--external-spec-file", spec]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("role_arn") && !ran.err.contains("planted"), "{ran:?}");
    let ran = service.run(&["snapshot", "export", "s1", "nightly", "--store", "nowhere"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let ran = service.run(&["snapshot", "export", "unknown", "nightly"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let started = service.run(&["snapshot", "export", "s1", "later", "--store", "backups", "--no-wait"]);
    assert!(started.out.starts_with("export job "), "{started:?}");
}
