//! Pins, holds, and taking dropped snapshots back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::TestApp;

const C: i64 = 100;

async fn app() -> TestApp {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    create(&app, "s").await;
    app
}

async fn create(app: &TestApp, name: &str) {
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": name}))
        .await
        .created();
}

async fn collect(app: &TestApp, grace_seconds: i64) -> Value {
    app.post("/v1/gc/runs", &json!({"grace_seconds": grace_seconds}))
        .await
        .created()
        .json
}

#[tokio::test]
async fn a_pinned_snapshot_can_not_be_dropped_until_its_pins_have_expired() {
    let app = app().await;
    let pin = |ttl: Value| json!({"owner": "export", "reason": "reads the files", "ttl_seconds": ttl});
    let short = app.post("/v1/snapshots/s/pins", &pin(json!(60))).await.created().json;
    let long = app.post("/v1/snapshots/s/pins", &pin(Value::Null)).await.created().json;
    assert!(short["expires_at"].is_string() && long["expires_at"].is_null());
    assert_eq!(app.get("/v1/snapshots/s").await.ok().json["pin_count"], 2);
    let refused = app.delete("/v1/snapshots/s").await.refused(409, "snapshot_pinned");
    assert!(refused.text.contains("export"), "{}", refused.text);
    app.delete("/v1/collections/c?cascade=true")
        .await
        .refused(409, "snapshot_pinned");
    let listed = app.get("/v1/snapshots/s/pins").await.ok().json;
    assert_eq!(listed["items"], json!([short, long]));
    let path = |pin: &Value| format!("/v1/snapshots/s/pins/{}", pin["pin_id"].as_str().expect("an id"));
    app.delete(&path(&long)).await.expect(204);
    app.delete(&path(&long)).await.refused(404, "pin_not_found");
    app.delete("/v1/snapshots/s").await.refused(409, "snapshot_pinned");
    app.set_clock(Duration::from_secs(61)).await;
    assert_eq!(app.get("/v1/snapshots/s").await.ok().json["pin_count"], 0);
    app.delete(&path(&short)).await.refused(404, "pin_not_found");
    app.delete("/v1/snapshots/s").await.expect(204);
    app.post("/v1/snapshots/s/pins", &pin(json!(1)))
        .await
        .refused(404, "snapshot_not_found");
}

#[tokio::test]
async fn a_pin_says_who_and_for_how_long() {
    let app = app().await;
    for (body, pointer) in [
        (json!({"owner": ""}), "/owner"),
        (json!({"owner": "x".repeat(256)}), "/owner"),
        (json!({"owner": "x", "ttl_seconds": 0}), "/ttl_seconds"),
        (json!({"owner": "x", "reason": "y".repeat(5000)}), "/reason"),
    ] {
        let refused = app.post("/v1/snapshots/s/pins", &body).await.refused(422, "invalid_request");
        assert_eq!(refused.pointers(), [pointer]);
    }
}

#[tokio::test]
async fn a_snapshot_on_hold_is_dropped_only_after_the_hold_is_lifted() {
    let app = app().await;
    let held = app
        .patch(
            "/v1/snapshots/s",
            &json!({"hold": {"owner": "legal", "reason": "case 17"}, "description": "kept"}),
        )
        .await
        .ok()
        .json;
    assert_eq!(
        (&held["hold"]["owner"], &held["description"]),
        (&json!("legal"), &json!("kept"))
    );
    let refused = app.delete("/v1/snapshots/s").await.refused(409, "snapshot_held");
    assert!(
        refused.text.contains("legal") && refused.text.contains("case 17"),
        "{}",
        refused.text
    );
    // a change that does not speak of the hold leaves it alone
    let changed = app.patch("/v1/snapshots/s", &json!({"labels": {"a": "b"}})).await.ok().json;
    assert_eq!(changed["hold"], held["hold"]);
    let lifted = app.patch("/v1/snapshots/s", &json!({"hold": null})).await.ok().json;
    assert!(lifted.get("hold").is_none(), "{lifted}");
    app.delete("/v1/snapshots/s").await.expect(204);
}

#[tokio::test]
async fn a_dropped_snapshot_can_be_taken_back_in_its_grace_period_and_restored() {
    let app = app().await;
    app.delete("/v1/collections/c").await.expect(204);
    app.delete("/v1/snapshots/s").await.expect(204);
    app.get("/v1/snapshots/s").await.refused(404, "snapshot_not_found");
    let dropped = app.get("/v1/snapshots?state=deleting").await.ok().json;
    assert_eq!(dropped["items"][0]["state"], "deleting");
    assert!(dropped["items"][0]["dropped_at"].is_string());
    collect(&app, 3600).await;
    let back = app
        .call(axum::http::Method::POST, "/v1/snapshots/s/undelete", None)
        .await
        .ok()
        .json;
    assert_eq!(back["state"], "committed");
    assert_eq!(app.get("/v1/snapshots?state=deleting").await.ok().json["items"], json!([]));
    collect(&app, 0).await;
    app.post("/v1/snapshots/s/restore", &json!({"collection_name": "again"}))
        .await
        .expect(202);
    app.drain().await;
    assert_eq!(app.get("/v1/collections/again").await.ok().json["segment_count"], 1);
    app.call(axum::http::Method::POST, "/v1/snapshots/s/undelete", None)
        .await
        .refused(404, "snapshot_not_found");
}

#[tokio::test]
async fn it_is_too_late_to_take_a_snapshot_back_once_the_collector_has_it() {
    let app = app().await;
    app.delete("/v1/snapshots/s").await.expect(204);
    // as if the collector had died right after it condemned the snapshot
    sqlx::query("update snapshots set state = 'condemned'")
        .execute(&app.pool)
        .await
        .expect("set");
    app.call(axum::http::Method::POST, "/v1/snapshots/s/undelete", None)
        .await
        .refused(404, "snapshot_not_found");
    let run = collect(&app, 0).await;
    assert_eq!(run["snapshots"], 1, "the next run ends what it began: {run}");
    assert_eq!(app.keys("snapshots/").await.len(), 0);
}

#[tokio::test]
async fn a_snapshot_is_not_taken_back_over_a_new_one_of_its_name() {
    let app = app().await;
    app.delete("/v1/snapshots/s").await.expect(204);
    create(&app, "s").await;
    app.call(axum::http::Method::POST, "/v1/snapshots/s/undelete", None)
        .await
        .refused(409, "snapshot_already_exists");
    app.delete("/v1/snapshots/s").await.expect(204);
    // two of that name now: the id tells them apart
    app.call(axum::http::Method::POST, "/v1/snapshots/s/undelete", None)
        .await
        .refused(409, "snapshot_name_ambiguous");
    let dropped = app.get("/v1/snapshots?state=deleting").await.ok().json;
    let id = dropped["items"][1]["snapshot_id"].as_str().expect("an id");
    let path = format!("/v1/snapshots/s/undelete?snapshot_id={id}");
    let back = app.call(axum::http::Method::POST, &path, None).await.ok().json;
    assert_eq!(back["snapshot_id"], id);
}
