//! The audit log.

use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use stillframe::service::{AuditLines, AuditSettings, AuthSettings};
use tower::ServiceExt as _;

use super::who::{ADMIN_KEY, Who, required, soon};
use crate::support::TestApp;

async fn events(app: &TestApp, filter: &str) -> Vec<Value> {
    let list = Who::admin(app).get(&format!("/v1/audit?{filter}")).await.ok().json;
    list["items"].as_array().expect("items").clone()
}

#[tokio::test]
async fn changes_and_refusals_are_recorded_and_reads_are_not() {
    let app = TestApp::with_auth(required()).await;
    let who = Who::new(&app, "ci", &[("writer", "default", "*"), ("operator", "default", "*")]).await;
    who.collection_with_segment("default", "docs", 11).await;
    who.get("/v1/collections/docs").await.ok();
    let snapshot = json!({"collection_name": "docs", "snapshot_name": "s"});
    let made = who.post("/v1/snapshots", &snapshot).await.created();
    who.post("/v1/snapshots", &snapshot)
        .await
        .refused(409, "snapshot_already_exists");
    who.delete("/v1/databases/default").await.refused(403, "permission_denied");
    app.get("/v1/collections").await.refused(401, "unauthenticated");

    let all = events(&app, "").await;
    assert!(all.iter().all(|e| e["operation"] != "get_collection"), "{all:#?}");
    let outcomes: Vec<(&str, &str)> = all
        .iter()
        .map(|e| (e["operation"].as_str().expect("text"), e["outcome"].as_str().expect("text")))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("list_collections", "denied"),
            ("drop_database", "denied"),
            ("create_snapshot", "failed"),
            ("create_snapshot", "ok"),
            ("register_segment", "ok"),
            ("report_channel", "ok"),
            ("create_collection", "ok"),
            ("create_key", "ok"),
        ],
        "newest first"
    );
    let created = &events(&app, "operation=create_snapshot&outcome=ok").await[0];
    for (key, value) in [
        ("principal_kind", json!("key")),
        ("principal", json!("ci")),
        ("permission", json!("operate")),
        ("db_name", json!("default")),
        ("collection_name", json!("docs")),
        ("subject", json!("snapshot \"s\"")),
        ("method", json!("POST")),
        ("path", json!("/v1/snapshots")),
        ("status", json!(201)),
        ("request_id", json!(made.headers["x-request-id"].to_str().expect("text"))),
    ] {
        assert_eq!(created[key], value, "{key}");
    }
    assert!(created["key_id"].is_string() && created.get("code").is_none());
    let stranger = &events(&app, "outcome=denied&operation=list_collections").await[0];
    assert_eq!(
        (&stranger["principal_kind"], &stranger["code"]),
        (&json!("nobody"), &json!("unauthenticated"))
    );
    assert_eq!(events(&app, "principal=ci&outcome=denied").await.len(), 1);
    assert_eq!(events(&app, "collection_name=docs&db_name=default").await.len(), 5);
    let id = created["request_id"].as_str().expect("text");
    assert_eq!(events(&app, &format!("request_id={id}")).await.len(), 1);
    assert!(events(&app, "from=2999-01-01T00:00:00Z").await.is_empty());
    // pages
    let first = Who::admin(&app).get("/v1/audit?page_size=5").await.ok().json;
    let token = first["next_page_token"].as_str().expect("a token");
    let rest = Who::admin(&app)
        .get(&format!("/v1/audit?page_size=5&page_token={token}"))
        .await
        .ok()
        .json;
    assert_eq!(rest["items"].as_array().expect("items").len(), 3);
}

#[tokio::test]
async fn old_events_go_with_the_collector() {
    let app = TestApp::with_auth(required()).await;
    let admin = Who::admin(&app);
    admin.post("/v1/databases", &json!({"name": "x"})).await.created();
    app.set_clock(Duration::from_secs(89 * 24 * 3600)).await;
    admin.post("/v1/gc/runs", &json!({})).await.created();
    assert_eq!(events(&app, "operation=create_database").await.len(), 1);
    app.set_clock(Duration::from_secs(91 * 24 * 3600)).await;
    admin.post("/v1/gc/runs", &json!({})).await.created();
    assert!(events(&app, "operation=create_database").await.is_empty());
    assert!(!events(&app, "operation=start_gc_run").await.is_empty());
}

#[tokio::test]
async fn reads_and_json_lines_are_written_where_that_is_set() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let app = TestApp::with_auth(AuthSettings {
        audit: AuditSettings {
            reads: true,
            lines: Some(AuditLines::File(file.path().to_path_buf())),
            ..AuditSettings::default()
        },
        ..required()
    })
    .await;
    let admin = Who::admin(&app);
    admin.post("/v1/databases", &json!({"name": "x"})).await.created();
    admin.get("/v1/databases/x").await.ok();
    app.get("/healthz").await.ok();
    // a read is answered without waiting for its record
    let lines = soon(async || {
        let text = std::fs::read_to_string(file.path()).expect("readable");
        let lines: Vec<Value> = text
            .lines()
            .map(|l| serde_json::from_str(l).expect("a line of JSON"))
            .collect();
        (lines.len() >= 2).then_some(lines)
    })
    .await;
    assert_eq!(lines.len(), 2, "health is nothing to record: {lines:?}");
    assert_eq!(
        (&lines[0]["operation"], &lines[0]["principal"]),
        (&json!("create_database"), &json!("admin-key"))
    );
    assert_eq!(
        (&lines[1]["operation"], &lines[1]["db_name"]),
        (&json!("get_database"), &json!("x"))
    );
    assert!(lines.iter().all(|l| l["at"].as_str().is_some_and(|at| at.ends_with('Z'))));
}

#[tokio::test]
async fn strangers_can_not_fill_the_log() {
    let app = TestApp::with_auth(required()).await;
    let began = std::time::Instant::now();
    for _ in 0..200 {
        Who::with(&app, "sf_no")
            .get("/v1/collections")
            .await
            .refused(401, "unauthenticated");
    }
    let count: i64 = sqlx::query_scalar("select count(*) from audit_events where outcome = 'denied'")
        .fetch_one(&app.pool)
        .await
        .expect("a count");
    let seconds = began.elapsed().as_secs() as i64 + 1;
    assert!((20..=20 * (seconds + 1)).contains(&count), "{count} in {seconds} s");
}

#[tokio::test]
async fn what_is_cut_short_is_recorded_all_the_same() {
    let app = TestApp::with_auth(required()).await;
    Who::admin(&app).collection_with_segment("default", "docs", 11).await;
    sqlx::query("update segments set state = 'sealed'")
        .execute(&app.pool)
        .await
        .expect("sealed");
    // waits for an engine that never flushes, and the caller hangs up
    let body = json!({"timeout_ms": 60_000}).to_string();
    let request = Request::post("/v1/collections/docs/flush")
        .header("authorization", format!("Bearer {ADMIN_KEY}"))
        .header("content-type", "application/json")
        .header("x-request-id", "cut-short")
        .body(Body::from(body))
        .expect("a request");
    let call = tokio::spawn(app.router().oneshot(request));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!call.is_finished(), "it waits");
    call.abort();
    let event = soon(async || events(&app, "request_id=cut-short").await.pop()).await;
    assert_eq!(
        (&event["outcome"], &event["operation"]),
        (&json!("unknown"), &json!("flush_collection"))
    );
    assert!(event.get("status").is_none());
}

#[tokio::test]
async fn a_database_that_takes_no_record_does_not_undo_the_call() {
    let app = TestApp::with_auth(required()).await;
    sqlx::query("alter table audit_events rename to elsewhere")
        .execute(&app.pool)
        .await
        .expect("renamed");
    Who::admin(&app).post("/v1/databases", &json!({"name": "x"})).await.created();
    Who::admin(&app).get("/v1/databases/x").await.ok();
}

#[tokio::test]
async fn where_a_call_comes_from_is_what_the_connection_or_a_trusted_proxy_says() {
    let trusted = vec!["10.0.0.0/8".parse().expect("a network")];
    let app = TestApp::with_auth(AuthSettings {
        trusted_proxies: trusted,
        ..required()
    })
    .await;
    for (n, peer, seen) in [(0, "192.0.2.7:1", "192.0.2.7"), (1, "10.1.2.3:1", "198.51.100.9")] {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri("/v1/databases")
            .header("authorization", format!("Bearer {ADMIN_KEY}"))
            .header("content-type", "application/json")
            .header("x-forwarded-for", "203.0.113.5, 198.51.100.9")
            .body(Body::from(json!({"name": format!("db{n}")}).to_string()))
            .expect("a request");
        request
            .extensions_mut()
            .insert(ConnectInfo(peer.parse::<std::net::SocketAddr>().expect("an address")));
        app.send(request).await.created();
        assert_eq!(events(&app, &format!("db_name=db{n}")).await[0]["peer"], seen);
    }
}

#[tokio::test]
async fn without_authentication_anybody_is_recorded() {
    let app = TestApp::memory().await;
    app.post("/v1/databases", &json!({"name": "x"})).await.created();
    let list = app.get("/v1/audit").await.ok().json;
    assert_eq!(list["items"][0]["principal_kind"], "anybody");
}
