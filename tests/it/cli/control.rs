//! Jobs under control, and the collector, by the command line.

use super::process::directory;
use super::service::Service;
use crate::support::postgres;

#[tokio::test]
async fn a_job_is_paused_changed_resumed_and_cancelled_and_the_collector_is_run() {
    let dir = directory();
    let database = postgres::url(&postgres::empty_database().await);
    // nobody works on jobs: they stay pending
    let service = Service::start(dir.path(), &["--no-fsync", "--database-url", &database, "--workers", "0"]);
    service.load_fixture(dir.path()).await;
    assert_eq!(service.run(&["snapshot", "create", "feas", "s1"]).code, Some(0));
    let restore = [
        "restore",
        "s1",
        "copy",
        "--no-wait",
        "--json",
        "--priority",
        "-2",
        "--max-bytes-per-second",
        "1000000",
    ];
    let job = service.run(&restore).json();
    assert_eq!(
        (&job["priority"], &job["max_bytes_per_second"]),
        (&(-2).into(), &1_000_000.into())
    );
    let id = job["job_id"].as_str().expect("id");
    let say = |args: &[&str], code: i32, text: &str| {
        let ran = service.run(args);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(format!("{}{}", ran.out, ran.err).contains(text), "{ran:?}");
    };
    say(&["job", "pause", id], 0, &format!("paused restore job {id}"));
    say(&["job", "list", "--state", "Paused"], 0, id);
    say(&["job", "change", id], 2, "nothing to change");
    let change = [
        "job",
        "change",
        id,
        "--priority",
        "3",
        "--max-concurrency",
        "2",
        "--no-max-bytes-per-second",
    ];
    say(&change, 0, "has priority 3, 2 segments at once\n");
    say(&["job", "change", id, "--priority", "11"], 2, "/priority");
    say(&["job", "describe", id], 0, "3, 2 segments at once");
    say(&["job", "resume", id], 0, "goes on, it is Pending");
    say(&["job", "cancel", id], 0, "cancelled");
    say(&["job", "pause", id], 4, "restore_job_ended");
    say(&["gc", "run", "--dry-run"], 0, "would delete");
    let run = service.run(&["gc", "run", "--grace-seconds", "0", "--json"]).json();
    assert_eq!(run["state"], "completed");
    say(&["gc", "list"], 0, run["run_id"].as_str().expect("id"));
}
