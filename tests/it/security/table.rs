//! The table of operations, and what a call without rights is answered, for each of them.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::Value;
use stillframe::domain::access::{Access, OPERATIONS, needed};

use super::who::{Who, required};
use crate::support::TestApp;

/// Method, path with ids and names filled in, and operation id of every operation.
fn operations() -> Vec<(Method, String, String)> {
    let document = serde_json::to_value(stillframe::app::document()).expect("JSON");
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let path: String = path
                .split('/')
                .map(|part| {
                    if part.ends_with("_id}") || part == "{segment_id}" {
                        "1".to_string()
                    } else {
                        part.replace(['{', '}'], "")
                    }
                })
                .collect::<Vec<_>>()
                .join("/");
            let method = method.to_uppercase().parse().expect("a method");
            let id = operation["operationId"].as_str().expect("an id").to_string();
            found.push((method, path, id));
        }
    }
    found
}

#[test]
fn every_operation_has_an_entry_in_the_table_and_every_entry_an_operation() {
    let ids: BTreeSet<String> = operations().into_iter().map(|(_, _, id)| id).collect();
    let missing: Vec<&String> = ids.iter().filter(|id| needed(id).is_none()).collect();
    assert!(
        missing.is_empty(),
        "say in src/domain/access/operations.rs what these need: {missing:?}"
    );
    let mut seen = BTreeSet::new();
    for (id, _) in OPERATIONS {
        assert!(id.starts_with("milvus.") || ids.contains(*id), "there is no operation {id}");
        assert!(seen.insert(id), "{id} has two entries");
    }
}

#[tokio::test]
async fn every_operation_refuses_who_shows_nothing_and_who_may_do_nothing_here() {
    let app = TestApp::with_auth(required()).await;
    // somebody who may do everything, but nowhere where anything is
    let stranger = Who::new(&app, "stranger", &[("admin", "elsewhere", "*")]).await;
    for (method, path, id) in operations() {
        let mut request = Request::builder().method(method.clone()).uri(&path);
        let has_body = matches!(method, Method::POST | Method::PUT | Method::PATCH);
        if has_body {
            request = request.header("content-type", "application/json");
        }
        let body = if has_body { Body::from("{}") } else { Body::empty() };
        let answer = app.send(request.body(body).expect("a request")).await;
        match needed(&id).expect("an entry") {
            // Milvus' envelope, with its code of who is not authenticated
            _ if id.starts_with("milvus_") => assert_eq!(answer.ok().json["code"], 1400, "{id}"),
            Access::Open => assert!(answer.status.is_success(), "{id}: {}", answer.text),
            _ => {
                let answer = answer.refused(401, "unauthenticated");
                assert_eq!(answer.headers["www-authenticate"], "Bearer", "{id}");
            }
        }
        if let Some(Access::Everywhere(_) | Access::Monitoring) = needed(&id) {
            let body = has_body.then(|| Value::Object(Default::default()));
            stranger
                .call(method, &path, body.as_ref())
                .await
                .refused(403, "permission_denied");
        }
    }
    for open in ["/openapi.json", "/docs/"] {
        app.get(open).await.ok();
    }
    app.get("/v1/nothing-here").await.refused(404, "route_not_found");
}
