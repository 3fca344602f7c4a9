//! Manifests that several snapshots share.

use serde_json::{Value, json};

use crate::support::TestApp;

const C: i64 = 100;

async fn create(app: &TestApp, name: &str) -> Value {
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": name}))
        .await
        .created()
        .json
}

async fn collect(app: &TestApp) -> Value {
    app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created().json
}

/// The manifests' keys as the metadata file of a snapshot names them.
async fn manifest_keys(app: &TestApp, snapshot: &Value) -> Vec<String> {
    let key = format!(
        "snapshots/{C}/metadata/{}.json",
        snapshot["snapshot_id"].as_str().expect("an id")
    );
    let bytes = app.objects.get(&key, 1 << 20).await.expect("read").expect("is there");
    let metadata: Value = serde_json::from_slice(&bytes).expect("JSON");
    metadata["manifest_list"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|k| k.as_str().expect("a key").to_string())
        .collect()
}

async fn three_segments() -> TestApp {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    for id in 5..8 {
        app.add_segment("c", C, id).await;
    }
    app
}

#[tokio::test]
async fn a_manifest_of_an_unchanged_segment_is_shared_and_not_written_again() {
    let app = three_segments().await;
    let first = create(&app, "first").await;
    let before = app.keys(&format!("snapshots/{C}/manifests/")).await;
    assert_eq!(before.len(), 3);
    app.delete("/v1/collections/c/segments/7").await.expect(204);
    app.add_segment("c", C, 8).await;
    let second = create(&app, "second").await;
    let after = app.keys(&format!("snapshots/{C}/manifests/")).await;
    assert_eq!(after.len(), 4, "only the new segment's manifest was written");
    let (of_first, of_second) = (manifest_keys(&app, &first).await, manifest_keys(&app, &second).await);
    assert_eq!(of_first, before);
    assert_eq!(
        &of_second[..2],
        &of_first[..2],
        "the unchanged segments' are the same objects"
    );
    assert!(of_second[2].ends_with("/8.avro"), "{of_second:?}");
    assert!(
        second["metadata_bytes"].as_i64() < first["metadata_bytes"].as_i64(),
        "shared ones count where they were written"
    );
}

#[tokio::test]
async fn a_manifest_is_written_anew_when_files_are_appended_or_an_index_is_built_or_dropped() {
    let app = three_segments().await;
    let names = |keys: Vec<String>| keys.into_iter().collect::<std::collections::BTreeSet<String>>();
    let first = names(manifest_keys(&app, &create(&app, "first").await).await);
    app.delete("/v1/collections/c/indexes/vec_idx").await.expect(204);
    let second = names(manifest_keys(&app, &create(&app, "second").await).await);
    assert!(first.is_disjoint(&second), "every build went");
    let path = format!("delta_log/{C}/101/6/9");
    app.objects.put(&path, vec![1; 10]).await.expect("written");
    app.patch(
        "/v1/collections/c/segments/6",
        &json!({"append": {"deltalogs": [{"field_id": "0", "logs": [{"log_id": "9", "path": path, "size_bytes": 10, "entries_num": 1}]}]}}),
    )
    .await
    .ok();
    let third = names(manifest_keys(&app, &create(&app, "third").await).await);
    assert_eq!(third.difference(&second).count(), 1, "one segment has another version");
    // the older snapshot still says what it captured
    let segments = app.get("/v1/snapshots/second/segments").await.ok().json;
    let versions: Vec<&Value> = segments["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|s| &s["deltalogs"])
        .collect();
    assert!(versions.iter().all(|d| d.as_array().is_none_or(Vec::is_empty)), "{segments}");
}

#[tokio::test]
async fn dropping_the_first_owner_harms_no_later_snapshot() {
    let app = three_segments().await;
    create(&app, "first").await;
    let second = create(&app, "second").await;
    app.delete("/v1/collections/c").await.expect(204);
    app.delete("/v1/snapshots/first").await.expect(204);
    let run = collect(&app).await;
    assert_eq!(
        (&run["snapshots"], &run["manifests"], &run["segments"]),
        (&json!(1), &json!(0), &json!(0)),
        "{run}"
    );
    for key in manifest_keys(&app, &second).await {
        assert!(app.objects.size(&key).await.expect("asked").is_some(), "{key} is gone");
    }
    app.post("/v1/snapshots/second/restore", &json!({"collection_name": "again"}))
        .await
        .expect(202);
    app.drain().await;
    assert_eq!(app.get("/v1/collections/again").await.ok().json["segment_count"], 3);
    app.delete("/v1/snapshots/second").await.expect(204);
    let run = collect(&app).await;
    assert_eq!((&run["manifests"], &run["segments"]), (&json!(3), &json!(3)), "{run}");
    assert_eq!(app.keys("snapshots/").await.len(), 0);
}

#[tokio::test]
async fn a_snapshot_taken_while_the_last_owner_is_collected_has_every_manifest() {
    let app = three_segments().await;
    create(&app, "s0").await;
    // each round one snapshot goes, and the next may share its manifests or write its own
    for n in 0..12 {
        app.delete(&format!("/v1/snapshots/s{n}")).await.expect(204);
        let name = format!("s{}", n + 1);
        let (_, created) = tokio::join!(collect(&app), create(&app, &name));
        for key in manifest_keys(&app, &created).await {
            assert!(
                app.objects.size(&key).await.expect("asked").is_some(),
                "{key} of {name} is gone"
            );
        }
    }
    collect(&app).await;
    assert_eq!(app.keys("snapshots/").await.len(), 4, "one snapshot is left");
}

#[tokio::test]
async fn the_database_refuses_to_delete_what_is_referenced() {
    let app = three_segments().await;
    create(&app, "s").await;
    for (table, constraint) in [
        ("manifests", "snapshot_manifests_manifest_fkey"),
        ("snapshots", ""),
        ("index_builds", "manifests_build_fkey"),
        ("segment_versions", "manifests_version_fkey"),
        ("segments", ""),
    ] {
        let statement = sqlx::AssertSqlSafe(format!("delete from {table}"));
        let error = sqlx::query(statement).execute(&app.pool).await.expect_err(table);
        let error = error.as_database_error().expect("of the database");
        assert_eq!(error.code().as_deref(), Some("23503"), "{table}: {error}");
        if !constraint.is_empty() {
            assert_eq!(error.constraint(), Some(constraint));
        }
    }
}

#[tokio::test]
async fn a_manifest_of_another_storage_root_is_not_shared() {
    let app = three_segments().await;
    let first = manifest_keys(&app, &create(&app, "first").await).await;
    // as if the objects had been copied to another prefix since
    sqlx::query("update manifests set root = 'before'")
        .execute(&app.pool)
        .await
        .expect("set");
    let second = manifest_keys(&app, &create(&app, "second").await).await;
    assert!(
        first.iter().all(|key| !second.contains(key)),
        "keys inside begin with the root"
    );
    assert_eq!(manifest_keys(&app, &create(&app, "third").await).await, second);
}

#[tokio::test]
async fn a_busy_collection_is_left_for_the_next_run_and_holds_up_no_other() {
    let app = three_segments().await;
    app.small_collection("d", 200).await;
    app.add_segment("d", 200, 1000).await;
    app.delete("/v1/collections/c/segments/5").await.expect(204);
    app.delete("/v1/collections/d/segments/1000").await.expect(204);
    let mut capture = app.pool.begin().await.expect("begins");
    sqlx::query("select pg_advisory_xact_lock_shared(1, hashint8(100))")
        .execute(&mut *capture)
        .await
        .expect("locked");
    let run = collect(&app).await;
    assert_eq!((&run["state"], &run["segments"]), (&json!("completed"), &json!(1)), "{run}");
    assert_eq!(app.keys("insert_log/100/101/5/").await.len(), 2);
    drop(capture);
    assert_eq!(collect(&app).await["segments"], 1);
    assert_eq!(app.keys("insert_log/100/101/5/").await.len(), 0);
}
