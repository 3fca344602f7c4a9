//! Dry runs of restores, and what the job itself checks before it copies anything.

use serde_json::{Value, json};
use stillframe::service::{Outcome, ServiceSettings};

use crate::support::app::quick;
use crate::support::{TestApp, jobs};

const C: i64 = 100;
/// Bytes of a small segment with its index build.
const SEGMENT_BYTES: i64 = 168;

async fn snapshot(app: &TestApp, segments: i64) {
    app.small_collection("c", C).await;
    for segment in 0..segments {
        app.add_segment("c", C, 500 + segment).await;
    }
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
}

async fn plan(app: &TestApp, body: &Value) -> Value {
    app.post("/v1/snapshots/s/plan-restore", body).await.ok().json
}

async fn restore(app: &TestApp, body: &Value) -> Value {
    let started = app.post("/v1/snapshots/s/restore", body).await.expect(202).json;
    app.drain().await;
    let id = started["job_id"].as_str().expect("id");
    app.get(&format!("/v1/restore-jobs/{id}")).await.ok().json
}

fn codes(plan: &Value) -> Vec<&str> {
    let conflicts = plan["conflicts"].as_array().expect("list");
    conflicts.iter().map(|c| c["code"].as_str().expect("text")).collect()
}

async fn keys(app: &TestApp) -> Vec<String> {
    let mut keys = Vec::new();
    for directory in ["insert_log/", "stats_log/", "index_files/", "snapshots/"] {
        keys.extend(app.keys(directory).await);
    }
    keys
}

/// Rows of every table that a restore writes.
async fn rows(app: &TestApp) -> i64 {
    sqlx::query_scalar(
        "select (select count(*) from restore_jobs) + (select count(*) from restore_tasks) + (select count(*) from collections)
              + (select count(*) from collection_names) + (select count(*) from segments) + (select count(*) from index_builds)
              + (select count(*) from partitions) + (select count(*) from restore_receipts)",
    )
    .fetch_one(&app.pool)
    .await
    .expect("counts")
}

#[tokio::test]
async fn a_plan_says_what_would_be_copied_and_changes_nothing() {
    let app = TestApp::local().await;
    snapshot(&app, 2).await;
    let (before, keys) = (rows(&app).await, keys(&app).await);
    let found = plan(&app, &json!({"collection_name": "r"})).await;
    assert_eq!((rows(&app).await, self::keys(&app).await), (before, keys));
    assert_eq!(
        json!([
            found["feasible"],
            found["segments"],
            found["index_builds"],
            found["files"],
            found["requests"]
        ]),
        json!([true, 2, 2, 8, {"list": 12, "copy": 8}]),
        "{found}"
    );
    assert_eq!(found["bytes"], 2 * SEGMENT_BYTES);
    assert!(found["free_bytes"].as_i64().expect("known on a directory") > 0);
    assert_eq!((&found["estimated_ms"], &found["conflicts"]), (&Value::Null, &json!([])));
    assert!(
        found["estimate_reason"].as_str().expect("text").contains("no restore job"),
        "{found}"
    );
    // an empty partition has nothing to copy
    let none = plan(&app, &json!({"collection_name": "r", "partitions": ["p2"]})).await;
    assert_eq!((&none["files"], &none["bytes"]), (&json!(0), &json!(0)));
    assert_eq!(restore(&app, &json!({"collection_name": "r"})).await["state"], "Completed");
    let again = plan(&app, &json!({"collection_name": "r2"})).await;
    assert_eq!(again["estimated_from_jobs"], 1);
    assert!(
        again["estimated_ms"].is_i64() && again.get("estimate_reason").is_none(),
        "{again}"
    );
    let limited = plan(&app, &json!({"collection_name": "r2", "max_bytes_per_second": 10})).await;
    assert_eq!(
        limited["estimated_ms"],
        2 * SEGMENT_BYTES * 100,
        "no faster than it may: {limited}"
    );
}

#[tokio::test]
async fn a_plan_lists_every_conflict_that_a_restore_is_refused_for() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let body = json!({"collection_name": "c", "partitions": ["_default", "nowhere"], "rename": {"_default": "first"}});
    let found = plan(&app, &body).await;
    assert_eq!(found["feasible"], false);
    assert_eq!(
        codes(&found),
        ["collection_already_exists", "partition_not_found", "partition_required"]
    );
    app.post("/v1/snapshots/s/restore", &body)
        .await
        .refused(404, "partition_not_found");
    app.post("/v1/snapshots/s/plan-restore", &json!({"collection_name": "1 2"}))
        .await
        .refused(422, "invalid_request");
    app.post("/v1/snapshots/none/plan-restore", &json!({"collection_name": "r"}))
        .await
        .refused(404, "snapshot_not_found");
}

#[tokio::test]
async fn a_plan_and_a_job_name_every_missing_and_every_cut_file() {
    let app = TestApp::local().await;
    snapshot(&app, 3).await;
    let lost = ["insert_log/100/101/500/100/5100", "stats_log/100/101/502/100/5120"];
    assert!(app.objects.delete(lost.map(String::from).to_vec()).await.is_empty());
    let cut = "index_files/501000/1/101/501/IVF";
    app.objects.put(cut, b"cut".to_vec()).await.expect("written");
    let found = plan(&app, &json!({"collection_name": "r"})).await;
    assert_eq!((&found["feasible"], &found["problem_count"]), (&json!(false), &json!(3)));
    let problems = found["problems"].as_array().expect("list");
    let named: Vec<(&str, &str)> = problems
        .iter()
        .map(|p| (p["path"].as_str().expect("text"), p["problem"].as_str().expect("text")))
        .collect();
    assert_eq!(named, [(lost[0], "missing"), (cut, "wrong_size"), (lost[1], "missing")]);
    let failed = restore(&app, &json!({"collection_name": "r"})).await;
    assert_eq!(
        (&failed["state"], &failed["error_code"]),
        (&json!("Failed"), &json!("file_missing"))
    );
    let reason = failed["reason"].as_str().expect("text");
    for name in [lost[0], lost[1], cut] {
        assert!(reason.contains(name), "{name} in {reason}");
    }
    assert_eq!(failed["done_files"], 0, "nothing was copied");
}

#[tokio::test]
async fn problems_are_listed_up_to_a_hundred_and_all_counted() {
    let app = TestApp::local().await;
    snapshot(&app, 30).await;
    for directory in ["insert_log/", "stats_log/", "index_files/"] {
        let keys = app.keys(directory).await;
        assert!(app.objects.delete(keys).await.is_empty());
    }
    let found = plan(&app, &json!({"collection_name": "r"})).await;
    assert_eq!(found["problem_count"], 120);
    assert_eq!(found["problems"].as_array().expect("list").len(), 100);
    let failed = restore(&app, &json!({"collection_name": "r"})).await;
    assert!(failed["reason"].as_str().expect("text").ends_with("and 20 more"), "{failed}");
}

#[tokio::test]
async fn a_quota_that_is_too_small_refuses_with_the_figures() {
    // room for the source and one copy
    let app = TestApp::with_settings(ServiceSettings {
        quota_bytes: Some(2 * SEGMENT_BYTES as u64 + 10),
        ..quick()
    })
    .await;
    snapshot(&app, 1).await;
    let found = plan(&app, &json!({"collection_name": "r"})).await;
    assert_eq!(
        json!([found["feasible"], found["quota_used_bytes"]]),
        json!([true, SEGMENT_BYTES]),
        "{found}"
    );
    assert_eq!(restore(&app, &json!({"collection_name": "r"})).await["state"], "Completed");
    let found = plan(&app, &json!({"collection_name": "r2"})).await;
    let figures = format!("needs {SEGMENT_BYTES} bytes, 10 are available");
    assert_eq!(found["feasible"], false);
    assert!(
        found["insufficient_storage"].as_str().expect("text").contains(&figures),
        "{found}"
    );
    let failed = restore(&app, &json!({"collection_name": "r2"})).await;
    assert_eq!(
        (&failed["state"], &failed["error_code"]),
        (&json!("Failed"), &json!("insufficient_storage"))
    );
    assert!(failed["reason"].as_str().expect("text").contains(&figures), "{failed}");
    assert_eq!(failed["cleanup"], "pending", "its target is still laid out");
    let found = plan(&app, &json!({"collection_name": "r3"})).await;
    assert_eq!(
        found["quota_used_bytes"],
        json!(2 * SEGMENT_BYTES),
        "it takes no room: {found}"
    );
}

#[tokio::test]
async fn of_two_restores_that_fit_the_filesystem_only_one_by_one_the_second_fails() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    let mut segment = app.small_segment(C, 500).await;
    // it takes no room as long as nobody copies it
    let free = app.objects.free_bytes().await.expect("asked").expect("a filesystem");
    let large = free / 10 * 6;
    let path = segment["binlogs"][0]["logs"][0]["path"].as_str().expect("a path").to_string();
    let file = std::fs::File::create(app.directory.path().join(path)).expect("made");
    file.set_len(large).expect("a sparse file");
    segment["binlogs"][0]["logs"][0]["size_bytes"] = json!(large);
    app.post("/v1/collections/c/segments", &segment).await.created();
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
    assert_eq!(plan(&app, &json!({"collection_name": "r1"})).await["feasible"], true);
    let ids = [
        jobs::start(&app, json!({"collection_name": "r1"})).await,
        jobs::start(&app, json!({"collection_name": "r2"})).await,
    ];
    let tasks = jobs::claim(&app, 2).await;
    let (one, other) = tokio::join!(jobs::run(&app, &tasks[0]), jobs::run(&app, &tasks[1]));
    assert!(matches!(
        (one, other),
        (Outcome::Done, Outcome::Failed) | (Outcome::Failed, Outcome::Done)
    ));
    let (mut goes_on, mut failed) = (jobs::job(&app, &ids[0]).await, jobs::job(&app, &ids[1]).await);
    if goes_on["state"] == "Failed" {
        std::mem::swap(&mut goes_on, &mut failed);
    }
    let claimed = "jobs that run have yet to copy";
    assert_eq!(
        json!([goes_on["state"], failed["state"], failed["error_code"]]),
        json!(["InProgress", "Failed", "insufficient_storage"]),
        "{failed}"
    );
    assert!(failed["reason"].as_str().expect("text").contains(claimed), "{failed}");
    let found = plan(&app, &json!({"collection_name": "r3"})).await;
    assert_eq!(found["feasible"], false);
    assert!(
        found["insufficient_storage"].as_str().expect("text").contains(claimed)
            && found["free_bytes"].as_u64().expect("known") < large,
        "{found}"
    );
    // what will not be copied claims nothing
    jobs::act(&app, goes_on["job_id"].as_str().expect("id"), "cancel").await;
    assert_eq!(plan(&app, &json!({"collection_name": "r3"})).await["feasible"], true);
}

#[tokio::test]
async fn of_two_restores_that_fit_the_quota_only_one_by_one_the_second_fails() {
    let app = TestApp::with_settings(ServiceSettings {
        quota_bytes: Some(2 * SEGMENT_BYTES as u64),
        ..quick()
    })
    .await;
    snapshot(&app, 1).await;
    for target in ["r1", "r2"] {
        app.post("/v1/snapshots/s/restore", &json!({"collection_name": target}))
            .await
            .expect(202);
    }
    let worker = uuid::Uuid::new_v4();
    let tasks = app.service.claim_tasks(worker, 2).await.expect("claims");
    let progress = stillframe::service::CopyProgress::default();
    let (first, second) = tokio::join!(
        app.service.run_task(&tasks[0], &progress),
        app.service.run_task(&tasks[1], &progress)
    );
    first.expect("runs");
    second.expect("runs");
    let states: Vec<String> = sqlx::query_scalar("select state from restore_jobs order by state")
        .fetch_all(&app.pool)
        .await
        .expect("lists");
    assert_eq!(states, ["Failed", "InProgress"]);
}

#[tokio::test]
async fn partitions_get_new_names() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    for (rename, pointer) in [
        (json!({"p2": "_default"}), "/rename/p2"),
        (json!({"p2": "not a name"}), "/rename/p2"),
        (json!({"p3/x": "p4"}), "/rename/p3~1x"),
    ] {
        let answer = app
            .post("/v1/snapshots/s/restore", &json!({"collection_name": "r", "rename": rename}))
            .await;
        assert_eq!(answer.pointers(), [pointer], "{}", answer.text);
    }
    let job = restore(&app, &json!({"collection_name": "r", "rename": {"p2": "archive"}})).await;
    assert_eq!(job["state"], "Completed", "{job}");
    let found = app.get("/v1/collections/r/partitions").await.ok().json;
    let mut names: Vec<&str> = found["items"]
        .as_array()
        .expect("list")
        .iter()
        .map(|p| p["name"].as_str().or(p["partition_name"].as_str()).expect("text"))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["_default", "archive"]);
    // two may change places: the rows go along
    let job = restore(
        &app,
        &json!({"collection_name": "swapped", "rename": {"_default": "p2", "p2": "_default"}}),
    )
    .await;
    assert_eq!(job["state"], "Completed", "{job}");
    let rows: i64 = sqlx::query_scalar(
        "select s.num_of_rows from segments s join partitions p using (partition_id) join collections c on c.collection_id = s.collection_id
          where c.name = 'swapped' and p.name = 'p2'",
    )
    .fetch_one(&app.pool)
    .await
    .expect("one");
    assert_eq!(rows, 5);
}

#[tokio::test]
async fn a_ttl_that_would_expire_every_row_is_warned_of() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.patch(
        "/v1/collections/c",
        &json!({"properties": {"collection.ttl.seconds": "3600"}}),
    )
    .await
    .ok();
    // its seek position lies decades back
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
    let found = plan(&app, &json!({"collection_name": "r"})).await;
    let warning = found["warnings"][0].as_str().expect("a warning");
    assert!(
        warning.contains("collection.ttl.seconds is 3600") && warning.contains("every restored row is expired at once"),
        "{warning}"
    );
    assert_eq!(found["feasible"], true);
    let job = restore(&app, &json!({"collection_name": "r"})).await;
    // the same but for the age, which has gone on
    let warned = job["warnings"][0].as_str().expect("a warning");
    let without_digits = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    assert_eq!(
        (&job["state"], without_digits(warned)),
        (&json!("Completed"), without_digits(warning))
    );
    let dropped = json!({"collection_name": "r2", "properties": {"collection.ttl.seconds": null}});
    assert_eq!(plan(&app, &dropped).await["warnings"], json!([]));
    assert_eq!(restore(&app, &dropped).await["warnings"], json!([]));
}

#[tokio::test]
async fn aliases_are_recreated_only_on_request_and_only_when_they_are_free() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 500).await;
    app.post("/v1/aliases", &json!({"alias": "latest", "collection_name": "c"}))
        .await
        .created();
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
    let described = app.get("/v1/snapshots/s?include_collection_info=true").await.ok().json;
    assert_eq!(described["collection"]["aliases"], json!(["latest"]));
    let with = |name: &str| json!({"collection_name": name, "aliases": true});
    assert_eq!(
        restore(&app, &json!({"collection_name": "plain"})).await["state"],
        "Completed"
    );
    assert_eq!(app.get("/v1/aliases/latest").await.ok().json["collection_name"], "c");
    assert_eq!(codes(&plan(&app, &with("r")).await), ["alias_already_exists"]);
    app.post("/v1/snapshots/s/restore", &with("r"))
        .await
        .refused(409, "alias_already_exists");
    app.delete("/v1/aliases/latest").await.expect(204);
    assert_eq!(
        codes(&plan(&app, &with("latest")).await),
        ["alias_already_exists"],
        "its own name"
    );
    assert_eq!(codes(&plan(&app, &with("r")).await), Vec::<&str>::new());
    assert_eq!(restore(&app, &with("r")).await["state"], "Completed");
    assert_eq!(app.get("/v1/aliases/latest").await.ok().json["collection_name"], "r");
}

#[tokio::test]
async fn an_alias_that_is_taken_while_files_are_copied_fails_the_job_by_name() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 500).await;
    app.post("/v1/aliases", &json!({"alias": "latest", "collection_name": "c"}))
        .await
        .created();
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
    app.delete("/v1/aliases/latest").await.expect(204);
    let body = json!({"collection_name": "r", "aliases": true});
    let started = app.post("/v1/snapshots/s/restore", &body).await.expect(202).json;
    let worker = uuid::Uuid::new_v4();
    let check = app.service.claim_tasks(worker, 1).await.expect("claims").pop().expect("due");
    app.service
        .run_task(&check, &stillframe::service::CopyProgress::default())
        .await
        .expect("runs");
    app.post("/v1/aliases", &json!({"alias": "latest", "collection_name": "c"}))
        .await
        .created();
    app.drain().await;
    let id = started["job_id"].as_str().expect("id");
    let failed = app.get(&format!("/v1/restore-jobs/{id}")).await.ok().json;
    assert_eq!(
        (&failed["state"], &failed["error_code"]),
        (&json!("Failed"), &json!("alias_already_exists")),
        "{failed}"
    );
    assert!(failed["reason"].as_str().expect("text").contains("\"latest\""), "{failed}");
    app.get("/v1/collections/r").await.refused(404, "collection_not_found");
    // what was written of the receipt goes when no worker can write any more
    app.set_clock(std::time::Duration::from_secs(60)).await;
    app.drain().await;
    app.post("/v1/gc/runs", &json!({})).await.created();
    assert_eq!(app.keys("snapshots/100/receipts/").await, Vec::<String>::new());
}

#[tokio::test]
async fn snapshots_taken_before_aliases_were_captured_are_read() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    sqlx::query("update snapshot_descriptions set description = description - 'aliases'")
        .execute(&app.pool)
        .await
        .expect("updated");
    let job = restore(&app, &json!({"collection_name": "r", "aliases": true})).await;
    assert_eq!(job["state"], "Completed", "{job}");
    assert!(job["warnings"][0].as_str().expect("text").contains("has none"), "{job}");
}
