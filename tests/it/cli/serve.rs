//! `serve`, `migrate`, `openapi`, and settings.

use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::process::{Ran, Running, directory, run, stillframe};
use super::service::Service;
use crate::support::postgres;

#[test]
fn openapi_prints_the_document() {
    let ran = run(&["openapi"]);
    let document = ran.json();
    assert!(
        document["openapi"].as_str().is_some_and(|v| v.starts_with("3.1")),
        "{}",
        document["openapi"]
    );
    assert!(document["paths"]["/v1/snapshots"].is_object());
    assert!(ran.out.ends_with("}\n") && ran.err.is_empty());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = stillframe(&["openapi"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    drop(child.stdout.take());
    let ran = Ran::from(child.wait_with_output().expect("ends"));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
}

#[test]
fn unknown_settings_are_refused_by_name() {
    let output = stillframe(&["serve"])
        .env("STILLFRAME_LISTN", "x")
        .env("STILLFRAME_STORAGE", "memory:")
        .output();
    let ran = Ran::from(output.expect("runs"));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.err.starts_with("error: ") && ran.err.contains("STILLFRAME_LISTN") && !ran.err.contains("STILLFRAME_STORAGE"),
        "{ran:?}"
    );
    let ran = run(&["serve", "--listn", "127.0.0.1:0"]);
    assert!(ran.code == Some(2) && ran.err.contains("--listn"), "{ran:?}");
}

#[tokio::test]
async fn the_storage_in_use_is_logged_once_it_has_been_probed() {
    let (dir, objects, database) = (directory(), directory(), postgres::url(&postgres::empty_database().await));
    let storage = format!("file://{}", objects.path().display());
    let data_dir = dir.path().to_str().expect("UTF-8");
    let args = ["--listen", "127.0.0.1:0", "--data-dir", data_dir, "--database-url", &database];
    let mut serving = Running::start(stillframe(&[&["serve", "--storage", &storage], args.as_slice()].concat()));
    let line = serving.err_line("storage probed");
    assert!(
        line.contains("write, copy, read, list and delete work") && line.contains(&storage),
        "{line}"
    );
    // one that can't be used is an error, and no directory is taken in its place
    let refused = run(&[&["serve", "--storage", "file:///proc/nowhere"], args.as_slice()].concat());
    assert!(
        refused.code == Some(1) && refused.err.contains("/proc/nowhere"),
        "{refused:?}"
    );
    assert!(!dir.path().join("objects").exists());
}

#[test]
fn options_of_clients_are_refused_where_they_mean_nothing() {
    for args in [["--json", "serve"], ["openapi", "--server=http://x"], ["demo", "--db=x"]] {
        let ran = run(&args);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains("means nothing to") && ran.out.is_empty(), "{ran:?}");
    }
}

#[test]
fn listening_beyond_loopback_is_refused_without_insecure() {
    let ran = run(&["serve", "--listen", "0.0.0.0:0", "--storage", "memory:"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("--insecure"), "{ran:?}");
}

#[tokio::test]
async fn migrate_prepares_a_database_for_serve() {
    let (dir, database) = (directory(), postgres::url(&postgres::empty_database().await));
    let args = ["--no-migrate", "--storage", "memory:", "--database-url", &database];
    let data_dir = dir.path().to_str().expect("UTF-8");
    let refused = run(&[&["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir], args.as_slice()].concat());
    assert!(
        refused.code == Some(1) && refused.err.contains("stillframe migrate"),
        "{refused:?}"
    );
    for _ in 0..2 {
        let ran = run(&["migrate", "--database-url", &database]);
        assert!(ran.code == Some(0) && !ran.out.is_empty(), "{ran:?}");
    }
    let service = Service::start(dir.path(), &args);
    assert_eq!(
        service.run(&["collection", "list", "--json"]).json()["items"],
        serde_json::json!([])
    );
    let wrong = run(&["migrate", "--database-url", "mysql://x"]);
    assert!(wrong.code == Some(2) && wrong.err.contains("postgres://"), "{wrong:?}");
}

/// No setting but those that keep tests apart: the private Postgres, and objects below the data directory.
#[tokio::test]
async fn a_service_without_settings_survives_kill_9() {
    let dir = directory();
    let data_dir = dir.path().join("not/there/yet");
    let service = Service::start(&data_dir, &[]);
    service.load_fixture(&data_dir).await;
    service.run(&["snapshot", "create", "feas", "s1", "--json"]).json();
    let started = service.run(&["restore", "s1", "copy", "--no-wait", "--json"]).json();
    let job = started["job_id"].as_str().expect("an id");
    service.process.signal(Signal::SIGKILL);
    assert_eq!(service.process.ended().code, None);

    let service = Service::start(&data_dir, &[]);
    assert_eq!(
        service.run(&["snapshot", "describe", "s1", "--json"]).json()["file_count"],
        48
    );
    // its task, if one was running, is free again when the dead worker's lease has run out
    let ended = service.run(&["job", "wait", job, "--json"]).json();
    assert_eq!((&ended["state"], &ended["job_id"]), (&"Completed".into(), &job.into()));
    assert_eq!(
        service.run(&["collection", "describe", "copy", "--json"]).json()["num_of_rows"],
        Value::from(9000)
    );
    service.process.signal(Signal::SIGTERM);
    let ran = service.process.ended();
    assert_eq!(ran.code, Some(0), "{ran:?}");
}
