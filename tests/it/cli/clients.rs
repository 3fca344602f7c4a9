//! Client commands: tables for people, JSON for programs, exit codes for scripts.

use super::process::{directory, run};
use super::service::Service;
use crate::support::postgres;

/// A service with the fixture and a snapshot of it.
async fn service(dir: &std::path::Path) -> Service {
    let database = postgres::url(&postgres::empty_database().await);
    let service = Service::start(dir, &["--no-fsync", "--database-url", &database]);
    service.load_fixture(dir).await;
    let created = service.run(&[
        "snapshot",
        "create",
        "feas",
        "s1",
        "--label",
        "team=search",
        "--description",
        "daily",
    ]);
    assert_eq!(created.code, Some(0), "{created:?}");
    assert!(
        created.out.starts_with("created snapshot s1 of collection feas in "),
        "{created:?}"
    );
    assert!(
        created.out.ends_with(" ms: 4 segments, 9,000 rows, 48 files, 8.5 MiB\n"),
        "{created:?}"
    );
    service
}

/// Columns that are the same in every run.
fn columns(line: &str, count: usize) -> Vec<&str> {
    line.split_whitespace().take(count).collect()
}

#[tokio::test]
async fn clients_print_tables_for_people_and_json_for_programs() {
    let dir = directory();
    let service = service(dir.path()).await;

    let table = service.run(&["snapshot", "list", "feas", "--prefix", "s", "--label", "team=search"]);
    let lines: Vec<&str> = table.out.lines().collect();
    assert_eq!(
        columns(lines[0], 6),
        ["SNAPSHOT", "COLLECTION", "SEGMENTS", "ROWS", "FILES", "SIZE"]
    );
    assert_eq!(columns(lines[1], 7), ["s1", "feas", "4", "9,000", "48", "8.5", "MiB"]);
    assert_eq!(lines[0].find("COLLECTION"), lines[1].find("feas"), "{table:?}");
    assert_eq!(lines.len(), 2);
    assert_eq!(
        service.run(&["snapshot", "list", "--label", "team=other", "--json"]).json()["items"],
        serde_json::json!([])
    );

    let json = service
        .run(&["--json", "snapshot", "describe", "s1", "--collection", "feas"])
        .json();
    assert_eq!(
        (&json["size_bytes"], &json["labels"]["team"]),
        (&8_964_728.into(), &"search".into())
    );
    let id = json["snapshot_id"].as_str().expect("ids are texts");
    let text = service.run(&["snapshot", "describe", "s1", "--id", id]);
    assert!(text.out.lines().any(|l| columns(l, 3) == ["size", "8.5", "MiB"]), "{text:?}");

    let text = service.run(&["collection", "describe", "feas"]);
    for line in [
        "FIELD ID  FIELD",
        "104  vec        FloatVector",
        "dim=128",
        "by-dev-rootcoord-dml_0_",
        "vec_hnsw",
    ] {
        assert!(text.out.contains(line), "{line}: {text:?}");
    }
    assert_eq!(
        service.run(&["collection", "describe", "feas", "--json"]).json()["fields"][6]["name"],
        "vec"
    );
    assert_eq!(
        service.run(&["collection", "list", "--json"]).json()["items"][0]["name"],
        "feas"
    );

    let restored = service.run(&["restore", "s1", "copy", "--partition", "p2", "--property", "a=b"]);
    assert!(
        restored
            .out
            .starts_with("restored snapshot s1 into collection copy: 2 segments, 20 files, 518.6 KiB in "),
        "{restored:?}"
    );
    assert!(
        restored.err.ends_with("Completed 100%, 518.6 KiB of 518.6 KiB\n"),
        "plain lines without a terminal: {restored:?}"
    );
    let copy = service.run(&["collection", "describe", "copy", "--json"]).json();
    assert_eq!((&copy["num_of_rows"], &copy["properties"]["a"]), (&1000.into(), &"b".into()));
    let job = service.run(&["job", "list", "--target", "copy", "--json"]).json()["items"][0].clone();
    let text = service.run(&["job", "describe", job["job_id"].as_str().expect("an id"), "--tasks"]);
    assert_eq!(text.out.lines().filter(|l| l.starts_with("copy ")).count(), 2, "{text:?}");

    assert_eq!(
        service.run(&["collection", "drop", "feas"]).out,
        "dropped collection feas; its snapshots stay\n"
    );
    let table = service.run(&["snapshot", "list"]);
    assert!(table.out.contains("s1        feas (dropped)"), "{table:?}");
    let silent = service.run(&["snapshot", "drop", "s1", "--json"]);
    assert_eq!((silent.code, silent.out.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn clients_say_by_their_exit_code_what_went_wrong() {
    let dir = directory();
    let service = service(dir.path()).await;
    for (args, code, text) in [
        ("snapshot describe nope", 3, "(snapshot_not_found)"),
        ("job describe 1", 3, "(restore_job_not_found)"),
        ("collection list --db nope", 3, "(database_not_found)"),
        ("snapshot create feas s1", 4, "(snapshot_already_exists)"),
        ("restore s1 feas", 4, "(collection_already_exists)"),
        ("snapshot create feas 1st", 2, "/snapshot_name"),
        ("snapshot create feas s2 --label nothing", 2, "KEY=VALUE"),
        ("snapshot describe ..", 2, "is no name"),
        ("restore s1 copy --property a=1 --drop-property a", 2, "both set and dropped"),
        (
            "collection list --server http://127.0.0.1:1",
            5,
            "no answer from http://127.0.0.1:1",
        ),
        ("collection list --server nonsense", 2, "no URL"),
        ("collection list --limit 0", 2, "--limit"),
        ("collection", 2, "Usage:"),
    ] {
        let ran = service.run(&args.split(' ').collect::<Vec<_>>());
        assert_eq!(ran.code, Some(code), "{args}: {ran:?}");
        assert!(ran.err.contains(text) && ran.out.is_empty(), "{args}: {ran:?}");
    }
    let ran = service.run(&["snapshot", "describe", "nope", "--json"]);
    let problem: serde_json::Value = serde_json::from_str(&ran.err).expect("a problem document");
    assert_eq!(
        (problem["code"].as_str(), problem["status"].as_u64()),
        (Some("snapshot_not_found"), Some(404))
    );
    assert!(run(&["--help"]).out.contains("\nExit codes:\n  0  "));
}
