//! What things cost, to the byte, and why an object is kept.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{TestApp, jobs};

const C: i64 = 100;

async fn create(app: &TestApp, name: &str) -> Value {
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": name}))
        .await
        .created()
        .json
}

/// Bytes of every real file below a directory.
fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries
        .map(|e| e.expect("an entry"))
        .map(|e| match e.file_type().expect("a type").is_dir() {
            true => bytes_below(&e.path()),
            false => e.metadata().expect("metadata").len(),
        })
        .sum()
}

fn real(app: &TestApp) -> (u64, u64) {
    let root = app.directory.path();
    let data = ["insert_log", "stats_log", "delta_log", "index_files"]
        .iter()
        .map(|d| bytes_below(&root.join(d)))
        .sum();
    (data, bytes_below(&root.join("snapshots")))
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field} in {value}"))
}

/// Four snapshots over segments that come and go: each shares something with another.
async fn history() -> TestApp {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    for id in 5..9 {
        app.add_segment("c", C, id).await;
    }
    create(&app, "s1").await;
    app.delete("/v1/collections/c/segments/5").await.expect(204);
    create(&app, "s2").await;
    app.delete("/v1/collections/c/segments/6").await.expect(204);
    app.add_segment("c", C, 9).await;
    create(&app, "s3").await;
    app.delete("/v1/collections/c/indexes/vec_idx").await.expect(204);
    create(&app, "s4").await;
    app
}

#[tokio::test]
async fn usage_is_what_the_files_really_take() {
    let app = history().await;
    let usage = app.get("/v1/usage").await.ok().json;
    let (data, metadata) = real(&app);
    assert_eq!(
        number(&usage, "live_bytes") + number(&usage, "held_by_snapshots_bytes") + number(&usage, "waiting_bytes"),
        data,
        "{usage}"
    );
    assert_eq!(number(&usage, "metadata_bytes"), metadata, "{usage}");
    assert_eq!(usage["snapshot_count"], 4);
    assert_eq!(
        app.get("/v1/usage?db_name=default").await.ok().json["live_bytes"],
        usage["live_bytes"]
    );
    app.get("/v1/usage?db_name=nope").await.refused(404, "database_not_found");
}

#[tokio::test]
async fn a_simulated_drop_frees_what_the_real_one_frees_to_the_byte() {
    for drops in [
        vec!["s1"],
        vec!["s2"],
        vec!["s1", "s2"],
        vec!["s1", "s2", "s3"],
        vec!["s3", "s4"],
        vec!["s1", "s2", "s3", "s4"],
    ] {
        let app = history().await;
        app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created();
        let before = real(&app);
        let wanted: Vec<Value> = drops.iter().map(|s| json!({"snapshot_name": s})).collect();
        let simulated = app.post("/v1/usage/simulate", &json!({"drop": wanted})).await.ok().json;
        if let [one] = drops[..] {
            let usage = app.get(&format!("/v1/snapshots/{one}/usage")).await.ok().json;
            assert_eq!(usage["exclusive"], simulated);
            let described = app.get(&format!("/v1/snapshots/{one}")).await.ok().json;
            assert_eq!(usage["logical_bytes"], described["size_bytes"]);
        }
        for name in &drops {
            app.delete(&format!("/v1/snapshots/{name}")).await.expect(204);
        }
        let run = app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created().json;
        let after = real(&app);
        assert_eq!(
            (number(&simulated, "data_bytes"), number(&simulated, "metadata_bytes")),
            (before.0 - after.0, before.1 - after.1),
            "{drops:?}: {simulated} {run}"
        );
        assert_eq!(run["bytes"], simulated["total_bytes"], "{drops:?}: the run says the same");
    }
}

#[tokio::test]
async fn a_dry_run_says_what_the_real_run_does_to_the_byte() {
    let app = history().await;
    for name in ["s1", "s3"] {
        app.delete(&format!("/v1/snapshots/{name}")).await.expect(204);
    }
    let run = |dry_run: bool| {
        let app = &app;
        async move {
            let body = json!({"grace_seconds": 0, "dry_run": dry_run});
            let mut run = app.post("/v1/gc/runs", &body).await.created().json;
            let run = run.as_object_mut().expect("an object");
            for field in ["run_id", "dry_run", "started_at", "finished_at"] {
                run.remove(field);
            }
            Value::Object(run.clone())
        }
    };
    assert_eq!(run(true).await, run(false).await);
}

#[tokio::test]
async fn an_object_is_explained_by_what_keeps_it() {
    let app = history().await;
    app.post("/v1/snapshots/s1/pins", &json!({"owner": "x", "ttl_seconds": 60}))
        .await
        .created();
    let explain = |key: String| {
        let app = &app;
        async move { app.get(&format!("/v1/objects/explain?key={key}")).await.ok().json }
    };
    let living = explain(app.keys("insert_log/100/101/8/").await[0].clone()).await;
    assert_eq!(
        (&living["kind"], &living["kept_by"][0]["kind"], &living["kept_by_total"]),
        (&json!("segment_file"), &json!("segment"), &json!(5)),
        "{living}"
    );
    let key = app.keys("insert_log/100/101/5/").await[0].clone();
    let dropped = explain(key.clone()).await;
    assert_eq!(
        (
            &dropped["reason"],
            &dropped["kept_by"][0]["snapshot_name"],
            &dropped["kept_by"][0]["pin_count"]
        ),
        (&json!("a snapshot needs it"), &json!("s1"), &json!(1)),
        "{dropped}"
    );
    let pin = &dropped["kept_by"][0]["pins"][0];
    assert_eq!(
        (&pin["owner"], pin["expires_at"].is_string()),
        (&json!("x"), true),
        "{dropped}"
    );
    let uri = format!("file://{}/{key}", app.directory.path().display());
    assert_eq!(explain(uri).await, dropped, "by its URI too");
    let manifest = app.keys("snapshots/100/manifests/").await[0].clone();
    let explained = explain(manifest).await;
    assert_eq!(
        (&explained["kind"], &explained["known"]),
        (&json!("manifest"), &json!(true)),
        "{explained}"
    );
    let build = explain(app.keys("index_files/5000/").await[0].clone()).await;
    assert_eq!(
        (&build["kind"], &build["build_id"]),
        (&json!("index_file"), &json!("5000")),
        "{build}"
    );
    let nothing = explain("insert_log/100/101/5/100/nothing".to_string()).await;
    assert_eq!(nothing["exists"], false);
    // strays: of the engine's ids, and of ids that were given out here
    jobs::start_of(&app, "s4", json!({"collection_name": "r"})).await;
    app.drain().await;
    let restored = app.get("/v1/collections/r").await.ok().json["collection_id"]
        .as_str()
        .expect("an id")
        .to_string();
    let of_restore = app.keys(&format!("insert_log/{restored}/")).await[0].clone();
    assert_eq!(explain(of_restore.clone()).await["known"], true);
    for (stray, of, end) in [
        (
            "insert_log/100/101/8/100/stray".to_string(),
            "segment 8",
            "never deleted here, since the id",
        ),
        (
            "index_files/5000/1/101/5/stray".to_string(),
            "index build 5000",
            "never deleted here",
        ),
        (
            format!("{of_restore}_stray"),
            "segment ",
            "then the collector finds it as an orphan",
        ),
    ] {
        app.objects.put(&stray, vec![1]).await.expect("written");
        let explained = explain(stray).await;
        let reason = explained["reason"].as_str().expect("text");
        assert!(
            reason.starts_with(&format!("it is not a recorded file of {of}")) && reason.contains(end),
            "{explained}"
        );
        assert_eq!(
            json!([explained["known"], explained["kept_by"], explained.get("may_go_at")]),
            json!([false, [], null]),
            "{explained}"
        );
    }
    assert_eq!(explain("stillframe.json".to_string()).await["kind"], "marker");
    assert_eq!(explain("elsewhere/x".to_string()).await["kind"], "unmanaged");
    app.get("/v1/objects/explain?key=../etc/passwd")
        .await
        .refused(422, "invalid_request");
    let far_behind = format!("/v1/objects/explain?key={}../x", "d/".repeat(405));
    app.get(&far_behind).await.refused(422, "invalid_request");
    app.get("/v1/objects/explain?key=s3://other/x")
        .await
        .refused(422, "invalid_request");
    // and when nothing keeps it any more
    app.set_clock(std::time::Duration::from_secs(61)).await;
    app.delete("/v1/snapshots/s1").await.expect(204);
    let free = explain(key).await;
    assert!(free["may_go_at"].is_string(), "{free}");
}

#[tokio::test]
async fn a_run_lists_what_it_deleted_and_what_it_kept_and_why() {
    let app = history().await;
    app.delete("/v1/snapshots/s1").await.expect(204);
    let run = app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created().json;
    let items = format!("/v1/gc/runs/{}/items", run["run_id"].as_str().expect("an id"));
    let deleted = app.get(&format!("{items}?outcome=deleted")).await.ok().json;
    let sum = |field: &str| -> i64 {
        let items = deleted["items"].as_array().expect("items");
        items.iter().filter_map(|i| i[field].as_i64()).sum()
    };
    assert_eq!(
        (json!(sum("objects")), json!(sum("size_bytes"))),
        (run["objects"].clone(), run["bytes"].clone())
    );
    let kept = app.get(&format!("{items}?outcome=kept&kind=segment")).await.ok().json;
    assert_eq!(
        (&kept["items"][0]["name"], &kept["items"][0]["reason"]),
        (&json!("6"), &json!("snapshot \"s2\" needs it")),
        "{kept}"
    );
    let first = app.get(&format!("{items}?page_size=1")).await.ok().json;
    let next = first["next_page_token"].as_str().expect("a token");
    let second = app.get(&format!("{items}?page_size=1&page_token={next}")).await.ok().json;
    assert_ne!(first["items"], second["items"]);
    app.get("/v1/gc/runs/12/items").await.refused(404, "gc_run_not_found");
}

#[tokio::test]
async fn what_a_cancelled_restore_copied_waits_to_go_and_its_job_is_named() {
    let app = history().await;
    let before = app.get("/v1/usage").await.ok().json;
    let id = jobs::start_of(&app, "s4", json!({"collection_name": "r"})).await;
    jobs::run_next(&app, 2).await;
    let (collection,): (i64,) = sqlx::query_as("select collection_id from restore_jobs")
        .fetch_one(&app.pool)
        .await
        .expect("one");
    let copied = app.keys(&format!("insert_log/{collection}/")).await;
    let explain = async || app.get(&format!("/v1/objects/explain?key={}", copied[0])).await.ok().json;
    let running = explain().await;
    assert_eq!(
        (&running["reason"], &running["kept_by"][1]["kind"]),
        (&json!("a restore is writing it"), &json!("restore_job")),
        "{running}"
    );
    jobs::act(&app, &id, "cancel").await;
    let left = explain().await;
    let reason = left["reason"].as_str().expect("text");
    assert!(reason.contains(&id) && reason.contains("did not end well"), "{left}");
    assert_eq!(left["kept_by"], json!([]), "{left}");
    let usage = app.get("/v1/usage").await.ok().json;
    assert_eq!(usage["live_bytes"], before["live_bytes"], "{usage}");
    assert!(number(&usage, "waiting_bytes") > number(&before, "waiting_bytes"), "{usage}");
}

#[tokio::test]
async fn a_dry_run_lists_as_kept_only_what_a_real_one_keeps() {
    let app = history().await;
    for name in ["s1", "s3"] {
        app.delete(&format!("/v1/snapshots/{name}")).await.expect(204);
    }
    let kept = async |dry_run: bool| {
        let body = json!({"grace_seconds": 0, "dry_run": dry_run});
        let run = app.post("/v1/gc/runs", &body).await.created().json;
        let items = format!("/v1/gc/runs/{}/items", run["run_id"].as_str().expect("an id"));
        let gone = if dry_run { "would_delete" } else { "deleted" };
        let listed = async |outcome: &str, kind: &str| {
            let path = format!("{items}?outcome={outcome}&kind={kind}");
            app.get(&path).await.ok().json["items"].clone()
        };
        let mut all = Vec::new();
        for kind in ["segment", "index_build", "snapshot"] {
            all.push(listed("kept", kind).await);
            all.push(listed(gone, kind).await.as_array().expect("items").len().into());
        }
        all
    };
    assert_eq!(kept(true).await, kept(false).await);
}

#[tokio::test]
async fn a_dry_run_without_grace_counts_what_a_dead_create_left() {
    let app = history().await;
    app.delete("/v1/collections/c").await.expect(204);
    sqlx::query(
        "update snapshots set state = 'pending', committed_at = null, lease_token = gen_random_uuid(),
                lease_expires_at = stillframe_now() - interval '1 second' where name = 's1'",
    )
    .execute(&app.pool)
    .await
    .expect("set");
    let run = async |dry_run: bool| {
        let body = json!({"grace_seconds": 0, "dry_run": dry_run});
        let run = app.post("/v1/gc/runs", &body).await.created().json;
        json!([
            run["pending_snapshots"],
            run["snapshots"],
            run["segments"],
            run["manifests"],
            run["objects"],
            run["candidates"]
        ])
    };
    let dry = run(true).await;
    assert_eq!((&dry[0], &dry[1]), (&json!(1), &json!(1)), "{dry}");
    assert_eq!(dry, run(false).await);
}
