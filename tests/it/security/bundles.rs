//! Exports, bundles, repeated calls and conditions: what answers by itself answers nobody else.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use super::who::{Who, required};
use crate::support::TestApp;
use crate::support::app::Answer;

async fn two(app: &TestApp) -> (Who<'_>, Who<'_>) {
    for name in ["a", "b"] {
        Who::admin(app).post("/v1/databases", &json!({"name": name})).await.created();
    }
    let a = Who::new(app, "a", &[("writer", "a", "*"), ("operator", "a", "*")]).await;
    let b = Who::new(app, "b", &[("writer", "b", "*"), ("operator", "b", "*")]).await;
    a.collection_with_segment("a", "docs", 51).await;
    let body = json!({"db_name": "a", "collection_name": "docs", "snapshot_name": "s"});
    a.post("/v1/snapshots", &body).await.created();
    (a, b)
}

/// A call with one more header.
async fn with(who: &Who<'_>, method: Method, path: &str, header: (&str, &str), body: Option<&Value>) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {}", who.credential))
        .header(header.0, header.1);
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map_or(Body::empty(), |b| Body::from(b.to_string()));
    who.app.send(request.body(body).expect("a request")).await
}

#[tokio::test]
async fn an_export_is_seen_and_controlled_by_who_may_on_its_source() {
    let app = TestApp::with_auth(required()).await;
    let (a, b) = two(&app).await;
    let reader = Who::new(&app, "reader", &[("reader", "a", "*")]).await;
    let at = "/v1/snapshots/s/export?db_name=a&collection_name=docs";
    let body = json!({"target_path": "x"});
    b.post(at, &body).await.refused(403, "permission_denied");
    reader.post(at, &body).await.refused(403, "permission_denied");
    let job = a.post(at, &body).await.expect(202).json;
    let id = job["job_id"].as_str().expect("an id");
    let job = format!("/v1/export-jobs/{id}");
    b.get(&job).await.refused(404, "export_job_not_found");
    for what in ["pause", "resume", "cancel"] {
        let path = format!("{job}/{what}");
        b.post(&path, &json!({})).await.refused(404, "export_job_not_found");
        reader.post(&path, &json!({})).await.refused(403, "permission_denied");
    }
    // it is no restore, whoever asks
    a.get(&format!("/v1/restore-jobs/{id}"))
        .await
        .refused(404, "restore_job_not_found");
    assert_eq!(b.get("/v1/export-jobs").await.ok().json["items"], json!([]));
    b.get("/v1/export-jobs?db_name=a").await.refused(403, "permission_denied");
    let seen = reader.get("/v1/export-jobs").await.ok().json;
    assert_eq!(seen["items"].as_array().map(Vec::len), Some(1), "{seen}");
    app.drain().await;
    let done = reader.get(&job).await.ok().json;
    assert_eq!(done["state"], "Completed", "{done}");

    // bundles in the service's own storage are for who may operate on everything
    let uri = done["snapshot_metadata_uri"].as_str().expect("a URI");
    let path = &uri[uri.find("x/exports/").expect("below the target")..];
    let restore = |db: &str, name: &str| json!({"snapshot_metadata_uri": path, "db_name": db, "collection_name": name});
    let external = "/v1/restores/external";
    b.post(external, &restore("b", "stolen"))
        .await
        .refused(403, "permission_denied");
    b.post(external, &restore("a", "back"))
        .await
        .refused(403, "permission_denied");
    let operator = Who::new(&app, "operator", &[("operator", "*", "*")]).await;
    let job = operator.post(external, &restore("a", "back")).await.expect(202).json;
    let job = format!("/v1/restore-jobs/{}", job["job_id"].as_str().expect("an id"));
    b.get(&job).await.refused(404, "restore_job_not_found");
    reader.get(&job).await.ok();
}

#[tokio::test]
async fn a_key_of_a_repeated_call_belongs_to_who_used_it() {
    let app = TestApp::with_auth(required()).await;
    let (a, b) = two(&app).await;
    b.collection_with_segment("b", "docs", 61).await;
    let body = |db: &str| json!({"db_name": db, "collection_name": "docs", "snapshot_name": "again"});
    let key = ("idempotency-key", "k");
    let first = with(&a, Method::POST, "/v1/snapshots", key, Some(&body("a"))).await.created();
    // the same key of somebody else is another one
    let other = with(&b, Method::POST, "/v1/snapshots", key, Some(&body("b"))).await.created();
    assert!(!other.headers.contains_key("idempotent-replayed"));
    let again = with(&a, Method::POST, "/v1/snapshots", key, Some(&body("a"))).await.created();
    assert_eq!(again.text, first.text);
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let stolen = with(
        &b,
        Method::POST,
        "/v1/snapshots",
        ("idempotency-key", "other"),
        Some(&body("a")),
    )
    .await;
    stolen.refused(403, "permission_denied");
    let nobody = Who::with(&app, "sf_wrong");
    with(&nobody, Method::POST, "/v1/snapshots", key, Some(&body("a")))
        .await
        .refused(401, "unauthenticated");
}

#[tokio::test]
async fn a_condition_tells_nothing_of_what_may_not_be_read() {
    let app = TestApp::with_auth(required()).await;
    let (a, b) = two(&app).await;
    let at = "/v1/snapshots/s?db_name=a&collection_name=docs";
    let tag = a.get(at).await.ok().headers["etag"].to_str().expect("text").to_string();
    let change = json!({"description": "changed"});
    for given in [tag.as_str(), "\"wrong\"", "*"] {
        with(&b, Method::PATCH, at, ("if-match", given), Some(&change))
            .await
            .refused(403, "permission_denied");
        with(&b, Method::GET, at, ("if-none-match", given), None)
            .await
            .refused(403, "permission_denied");
    }
    with(&a, Method::PATCH, at, ("if-match", "\"wrong\""), Some(&change))
        .await
        .refused(412, "precondition_failed");
    with(&a, Method::PATCH, at, ("if-match", &tag), Some(&change)).await.ok();
}
