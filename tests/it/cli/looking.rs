//! Keeping snapshots, looking at them and at what is stored, and exports as jobs, by the command line.

use serde_json::json;

use super::process::directory;
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

/// Runs a line of words; it must end with the code and say the text.
fn say(service: &Service, line: &str, code: i32, text: &str) -> String {
    let ran = service.run(&line.split(' ').collect::<Vec<_>>());
    assert_eq!(ran.code, Some(code), "{line}: {ran:?}");
    assert!(format!("{}{}", ran.out, ran.err).contains(text), "{line}: {ran:?}");
    ran.out
}

#[tokio::test]
async fn a_snapshot_is_pinned_held_dropped_and_taken_back() {
    let dir = directory();
    let service = service(dir.path(), &["--workers", "0"]).await;
    let pinned = say(
        &service,
        "snapshot pin add s1 --owner spark --reason reads --ttl-seconds 3600",
        0,
        "pinned snapshot s1 until 20",
    );
    let pin = pinned.trim().rsplit(' ').next().expect("an id").to_string();
    say(&service, "snapshot pin list s1", 0, &format!("{pin}  spark"));
    assert_eq!(service.run(&["snapshot", "describe", "s1", "--json"]).json()["pin_count"], 1);
    say(&service, "snapshot drop s1", 4, "snapshot_pinned");
    say(
        &service,
        &format!("snapshot pin remove s1 {pin}"),
        0,
        &format!("removed pin {pin}"),
    );
    let none = service.run(&["snapshot", "pin", "list", "s1", "--json"]).json();
    assert_eq!(none["items"], json!([]));
    let forever = service
        .run(&["snapshot", "pin", "add", "s1", "--owner", "ann", "--json"])
        .json();
    assert!(forever.get("expires_at").is_none());
    let id = forever["pin_id"].as_str().expect("id");
    say(&service, "snapshot pin list s1", 0, "it is removed");
    say(&service, &format!("snapshot pin remove s1 {id} --json"), 0, "");

    say(&service, "snapshot hold s1", 2, "--owner");
    say(&service, "snapshot hold s1 --owner ann --reason audit", 0, "is on hold");
    let described = say(&service, "snapshot describe s1", 0, "by ann since 20");
    assert!(described.contains(": audit"), "{described}");
    say(&service, "snapshot drop s1", 4, "snapshot_held");
    say(
        &service,
        "snapshot unhold s1 --collection feas",
        0,
        "the hold of snapshot s1 is lifted",
    );

    say(&service, "snapshot drop s1", 0, "dropped snapshot s1");
    say(&service, "snapshot list --dropped", 0, "s1");
    say(&service, "snapshot undelete s1", 0, "snapshot s1 is there again");
    say(&service, "snapshot undelete s1", 3, "snapshot_not_found");
    say(&service, "snapshot list", 0, "s1");
}

#[tokio::test]
async fn a_snapshot_is_verified_planned_and_weighed_and_an_object_explained() {
    let dir = directory();
    let service = service(dir.path(), &[]).await;
    say(&service, "snapshot verify s1 --level checksum --sample 0.5", 0, "passed");
    say(&service, "snapshot plan s1 copy", 0, "feasible   yes");
    say(&service, "snapshot plan s1 feas", 1, "collection_already_exists");
    let plan = service
        .run(&["snapshot", "plan", "s1", "copy", "--partition", "p2", "--json"])
        .json();
    assert_eq!(plan["files"], 20);
    say(&service, "snapshot usage s1", 0, "a drop frees");
    say(&service, "usage", 0, "8.5 MiB");
    say(&service, "usage --drop s1", 0, "5 objects");
    say(&service, "usage --drop nope", 3, "snapshot_not_found");
    let explained = say(&service, &format!("object explain {FILE}"), 0, "segment_file");
    assert!(explained.contains("s1") && explained.contains("segment "), "{explained}");
    say(&service, "object explain nowhere/at/all", 0, "no such object");

    // partitions by other names, and aliases
    say(&service, "restore s1 copy --rename p2=second --rename p2=third", 2, "twice");
    say(
        &service,
        "restore s1 copy --rename p2=second --aliases",
        0,
        "restored snapshot s1",
    );
    say(&service, "collection describe copy", 0, "second");
    let job = service.run(&["job", "list", "--target", "copy", "--json"]).json()["items"][0].clone();
    let id = job["job_id"].as_str().expect("id");
    let receipt = service.run(&["job", "receipt", id]).json();
    assert_eq!((&receipt["file_count"], &receipt["job_id"]), (&json!(48), &json!(id)));
    say(&service, "job receipt 1", 3, "restore_job_not_found");
    say(&service, "restore --external file:///x y --aliases", 2, "--aliases");

    std::fs::remove_file(dir.path().join("objects").join(FILE)).expect("was there");
    say(&service, "snapshot verify s1", 1, FILE);
    let failed = service.run(&["snapshot", "verify", "s1", "--json"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let seen: serde_json::Value = serde_json::from_str(&failed.out).expect("the result is JSON");
    assert_eq!(seen["outcome"], "failed");
    say(&service, "snapshot plan s1 again", 1, FILE);
}

#[tokio::test]
async fn the_collector_looks_for_orphans_and_says_what_it_did() {
    let dir = directory();
    let service = service(dir.path(), &["--workers", "0"]).await;
    say(&service, "snapshot drop s1", 0, "dropped");
    say(&service, "gc run --orphan-tolerance-seconds 0", 2, "--orphans");
    say(&service, "gc run", 0, "not looked for");
    let run = service
        .run(&[
            "gc",
            "run",
            "--grace-seconds",
            "0",
            "--orphans",
            "--orphan-tolerance-seconds",
            "0",
            "--json",
        ])
        .json();
    assert_eq!((&run["snapshots"], &run["orphan_tolerance_seconds"]), (&json!(1), &json!(0)));
    let id = run["run_id"].as_str().expect("id");
    say(&service, &format!("gc items {id} --outcome deleted"), 0, "manifest");
    let snapshots = service.run(&["gc", "items", id, "--kind", "snapshot", "--json"]).json();
    assert_eq!(snapshots["items"].as_array().expect("items").len(), 1);
    say(&service, "gc items 1", 3, "gc_run_not_found");
    say(&service, "gc orphan-deletion", 0, "orphans are deleted");
    say(&service, "gc orphan-deletion --forbid", 0, "orphans are not deleted");
    say(&service, "gc run --dry-run --orphans", 0, "0 found, 0 would go");
    say(&service, "gc orphan-deletion --allow", 0, "orphans are deleted");
    say(&service, "gc orphan-deletion --allow --forbid", 2, "cannot be used with");
}

#[tokio::test]
async fn an_export_is_listed_paused_changed_resumed_and_cancelled_as_any_job() {
    let dir = directory();
    let service = service(dir.path(), &["--workers", "0"]).await;
    let job = service
        .run(&["snapshot", "export", "s1", "nightly", "--no-wait", "--json"])
        .json();
    let id = job["job_id"].as_str().expect("id");
    say(&service, "job list --exports", 0, id);
    let restores = service.run(&["job", "list", "--json"]).json();
    assert_eq!(restores["items"], json!([]));
    say(&service, &format!("job describe {id} --tasks"), 0, "s1 of feas");
    say(&service, &format!("job pause {id}"), 0, &format!("paused export job {id}"));
    say(&service, "job list --exports --state Paused", 0, id);
    say(&service, &format!("job change {id} --priority 2"), 0, "export job");
    say(&service, &format!("job resume {id}"), 0, "goes on, it is Pending");
    say(
        &service,
        &format!("job cancel {id}"),
        0,
        &format!("cancelled export job {id}"),
    );
    say(&service, &format!("job wait {id}"), 7, "export_cancelled");
    say(&service, &format!("job pause {id}"), 4, "export_job_ended");
    say(&service, "job pause 1", 3, "restore_job_not_found");
}
