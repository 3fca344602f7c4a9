//! Traps of `docs/traps.md` that have no better place, and whether the tests it names exist.

use std::path::Path;

use serde_json::json;

use crate::support::TestApp;

const C: i64 = 100;

/// Rows of the page.
const ROWS: usize = 28;

/// Whether a unit test of the domain exists, by its whole name: `domain::MODULE::tests::NAME`.
fn is_unit_test(name: &str) -> bool {
    let Some((module, test)) = name.split_once("::tests::") else {
        return false;
    };
    let source = format!("{}/src/{}.rs", env!("CARGO_MANIFEST_DIR"), module.replace("::", "/"));
    std::fs::read_to_string(source).is_ok_and(|source| source.contains(&format!("    #[test]\n    fn {test}() {{")))
}

/// What is wrong with the page: names of tests that do not exist, rows that name nothing, missing rows.
fn faults(page: &str, known: &[&str]) -> Vec<String> {
    let names = page.split('`').skip(1).step_by(2).filter(|word| word.contains("::"));
    let unknown = names.filter(|name| match name.starts_with("domain::") {
        true => !is_unit_test(name),
        false => !known.contains(name),
    });
    let mut faults: Vec<String> = unknown.map(|name| format!("no such test: {name}")).collect();
    for row in 1..=ROWS {
        let line = page.lines().find(|l| l.starts_with(&format!("| {row} |")));
        let cells: Vec<&str> = line.unwrap_or_default().split('|').map(str::trim).collect();
        if cells.len() < 5 || cells[2].is_empty() || cells[3].is_empty() {
            faults.push(format!("row {row} is missing, or has an empty column"));
        }
    }
    faults
}

#[test]
fn every_row_of_the_page_of_traps_has_its_tests_and_every_test_that_it_names_exists() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/traps.md");
    let page = std::fs::read_to_string(page).expect("is there");
    let listed = std::process::Command::new(std::env::current_exe().expect("this test"))
        .arg("--list")
        .output()
        .expect("lists");
    let listed = String::from_utf8(listed.stdout).expect("UTF-8");
    let known: Vec<&str> = listed.lines().filter_map(|l| l.strip_suffix(": test")).collect();
    assert_eq!(faults(&page, &known), Vec::<String>::new());
    assert!(page.matches("::").count() > 40);
    // and each of these is noticed
    let row = page.lines().find(|l| l.starts_with("| 20 |")).expect("a row");
    let empty = format!("| 20 | {} | |", row.split('|').nth(2).expect("a column").trim());
    for (from, to) in [
        (row, empty.as_str()),
        (row, ""),
        ("tests::every_layout_is_mapped", "tests::no_layout_is_mapped"),
        ("collector::no_file_of_any_class", "collector::a_file_of_any_class"),
    ] {
        assert_eq!(faults(&page.replacen(from, to, 1), &known).len(), 1, "{to:?}");
    }
}

#[tokio::test]
async fn an_index_made_again_under_its_id_does_not_give_the_old_builds_away() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
    let old = app.keys("index_files/5000/").await;
    assert!(!old.is_empty());
    app.delete("/v1/collections/c/indexes/vec_idx").await.expect(204);
    // another index, and another build of it, on the same field and segment
    app.post(
        "/v1/collections/c/indexes",
        &json!({"index_id": "8", "field_id": "101", "index_name": "vec_idx"}),
    )
    .await
    .created();
    let path = "index_files/5001/1/101/5/HNSW";
    app.objects.put(path, vec![1; 10]).await.expect("written");
    app.post(
        "/v1/collections/c/segments/5/index-builds",
        &json!({"build_id": "5001", "index_id": "8", "num_rows": 5, "files": [{"path": path, "size_bytes": 10}]}),
    )
    .await
    .created();
    app.delete("/v1/collections/c/indexes/vec_idx").await.expect(204);
    app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created();
    assert_eq!(app.keys("index_files/5000/").await, old, "the snapshot's build stays");
    assert_eq!(app.keys("index_files/5001/").await.len(), 0, "the one that nobody needs goes");
}

#[tokio::test]
async fn an_unreadable_metadata_file_stops_neither_the_collector_nor_a_restore() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    for name in ["broken", "other"] {
        app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": name}))
            .await
            .created();
    }
    let broken = app.get("/v1/snapshots/broken").await.ok().json;
    let key = format!(
        "snapshots/{C}/metadata/{}.json",
        broken["snapshot_id"].as_str().expect("an id")
    );
    app.objects.put(&key, b"{ not JSON".to_vec()).await.expect("written");
    app.add_segment("c", C, 6).await;
    app.delete("/v1/collections/c/segments/6").await.expect(204);
    app.delete("/v1/snapshots/other").await.expect(204);
    let run = app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created().json;
    assert_eq!(
        (&run["state"], &run["snapshots"], &run["segments"], &run["failed_objects"]),
        (&json!("completed"), &json!(1), &json!(1), &json!(0)),
        "{run}"
    );
    app.post("/v1/snapshots/broken/restore", &json!({"collection_name": "r"}))
        .await
        .expect(202);
    app.drain().await;
    assert_eq!(app.get("/v1/collections/r").await.ok().json["segment_count"], 1);
    app.delete("/v1/snapshots/broken").await.expect(204);
    app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created();
    assert_eq!(app.objects.size(&key).await.expect("asked"), None);
}
