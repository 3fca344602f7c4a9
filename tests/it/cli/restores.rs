//! Waiting for a restore that does not end well.

use nix::sys::signal::Signal;

use super::process::{Running, directory};
use super::service::Service;
use crate::support::postgres;

const FILE: &str = "stats_log/470644622231601173/470644622231801189/470644622231801193/100/1";

async fn service(dir: &std::path::Path, args: &[&str]) -> Service {
    let database = postgres::url(&postgres::empty_database().await);
    let service = Service::start(dir, &[&["--no-fsync", "--database-url", &database], args].concat());
    service.load_fixture(dir).await;
    assert_eq!(service.run(&["snapshot", "create", "feas", "s1"]).code, Some(0));
    service
}

#[tokio::test]
async fn a_failed_restore_names_the_file_and_has_its_exit_code() {
    let dir = directory();
    let service = service(dir.path(), &[]).await;
    std::fs::remove_file(dir.path().join("objects").join(FILE)).expect("was there");
    let ran = service.run(&["restore", "s1", "copy"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(6), ""), "{ran:?}");
    let last = ran.err.lines().last().expect("a line");
    assert!(last.starts_with("error: restore job ") && last.contains(FILE), "{ran:?}");
    assert_eq!(service.run(&["collection", "describe", "copy"]).code, Some(3));
    let ran = service.run(&["restore", "s1", "copy", "--json"]);
    assert_eq!(ran.code, Some(6), "the name was free again: {ran:?}");
    let job: serde_json::Value = serde_json::from_str(&ran.out).expect("the job is JSON");
    assert_eq!(job["state"], "Failed");
}

#[tokio::test]
async fn a_waiting_client_hears_of_a_cancel_and_obeys_ctrl_c() {
    let dir = directory();
    // nobody works on jobs: they stay pending
    let service = service(dir.path(), &["--workers", "0"]).await;
    let wait = || {
        let mut waiting = Running::start(service.client(&["restore", "s1", "copy"]));
        waiting.err_line("Pending");
        let job = service.run(&["job", "list", "--state", "Pending", "--json"]).json()["items"][0]["job_id"].clone();
        (waiting, job.as_str().expect("an id").to_string())
    };
    let cancel = |job: &str| {
        let ran = service.run(&["job", "cancel", job]);
        assert_eq!(
            (ran.code, ran.out),
            (Some(0), format!("cancelled restore job {job}; the name copy is free again\n"))
        );
        assert_eq!(service.run(&["job", "cancel", job]).code, Some(4));
    };

    let (waiting, job) = wait();
    cancel(&job);
    let ran = waiting.ended();
    assert_eq!(ran.code, Some(7), "{ran:?}");
    assert!(
        ran.err.contains(&format!("error: restore job {job} was cancelled")),
        "{ran:?}"
    );

    let (waiting, job) = wait();
    waiting.signal(Signal::SIGINT);
    let ran = waiting.ended();
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(ran.err.contains(&format!("stillframe job cancel {job}")), "{ran:?}");
    cancel(&job);
}
