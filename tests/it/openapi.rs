//! The OpenAPI document and the pages that show it.

use serde_json::Value;

use crate::support::TestApp;

#[test]
fn the_committed_document_is_the_one_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let generated = stillframe::app::document().to_pretty_json().expect("JSON") + "\n";
    assert!(
        committed == generated,
        "openapi/openapi.json is not up to date: run `make openapi`"
    );
}

#[tokio::test]
async fn the_document_and_the_pages_are_served_without_the_network() {
    let app = TestApp::memory().await;
    let document = app.get("/openapi.json").await.ok();
    assert_eq!(document.headers["content-type"], "application/json");
    assert!(document.json["openapi"].as_str().expect("text").starts_with("3.1"));
    assert!(document.json["paths"].as_object().expect("paths").len() > 25);
    let page = app.get("/docs/").await.ok();
    assert!(page.text.contains("swagger-ui"), "{}", page.text);
    for asset in [
        "/docs/swagger-ui.css",
        "/docs/swagger-ui-bundle.js",
        "/docs/swagger-initializer.js",
    ] {
        let answer = app.get(asset).await.ok();
        assert!(!answer.text.is_empty());
        assert!(!page.text.contains("https://"), "nothing comes from elsewhere");
    }
}

#[tokio::test]
async fn health_readiness_and_metrics_answer() {
    let app = TestApp::local().await;
    app.get("/healthz").await.ok();
    app.get("/readyz").await.ok();
    let metrics = app.get("/metrics").await.ok();
    assert!(metrics.text.contains("stillframe_http_requests_total"), "{}", metrics.text);
    assert!(metrics.text.contains("stillframe_postgres_connections"));
    app.pool.close().await;
    let down = app.get("/readyz").await.refused(503, "database_unavailable");
    assert_eq!(down.headers["retry-after"], "1");
    let text = down.text.to_lowercase();
    for internal in ["sqlx", "pool", "postgres:"] {
        assert!(!text.contains(internal), "{text}");
    }
    app.get("/healthz").await.ok();
}

#[test]
fn every_code_has_a_title_and_stays_what_it_is() {
    let codes: Vec<Value> = stillframe::domain::Code::ALL
        .iter()
        .map(|c| Value::from(c.as_str()))
        .collect();
    let unique: std::collections::HashSet<String> = codes.iter().map(ToString::to_string).collect();
    assert_eq!(unique.len(), codes.len());
    for own in [
        "snapshot_not_found",
        "collection_already_exists",
        "insufficient_storage",
        "permission_denied",
        "restore_job_not_found",
        "restore_failed",
    ] {
        assert!(codes.contains(&Value::from(own)), "the guide's {own}");
    }
}
