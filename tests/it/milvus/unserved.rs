//! Calls that are not served, and requests that are none.

use axum::body::Body;
use axum::http::Request;
use stillframe::milvus::proto::common::Status;
use stillframe::milvus::proto::milvus as m;
use stillframe::milvus::{CALLS, UNSERVED};
use tower::ServiceExt as _;

use super::wire::{Answer as _, send};
use crate::support::TestApp;

#[tokio::test]
async fn every_call_that_is_not_served_says_so_where_clients_look() {
    let app = TestApp::memory().await;
    for (name, _, shape) in UNSERVED {
        let reason = if format!("{shape:?}") == "Grpc" {
            let refused = send::<_, Status>(app.router(), name, m::GetVersionRequest {}, &[]).await;
            let refused = refused.expect_err("its answer has no status");
            assert_eq!(refused.code(), tonic::Code::Unimplemented, "{name}");
            refused.message().to_string()
        } else {
            let status = if format!("{shape:?}") == "Status" {
                app.milvus::<Status>(name, m::GetVersionRequest {}).await
            } else {
                app.milvus::<m::RefusedResponse>(name, m::GetVersionRequest {}).await.taken()
            };
            assert_eq!((status.code, status.error_code), (3000, 1), "{name}");
            status.reason
        };
        assert!(reason.starts_with(&format!("{name} is not served here")), "{reason}");
        assert!(reason.contains("served are the calls about databases"), "{reason}");
        assert!(!CALLS.contains(name), "{name}");
    }
    let unknown = send::<_, Status>(app.router(), "NoSuchCall", m::GetVersionRequest {}, &[]).await;
    assert_eq!(unknown.expect_err("unknown").code(), tonic::Code::Unimplemented);
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_in_milvus_words_and_what_is_none_by_grpc() {
    let app = TestApp::memory().await;
    let huge = m::CreateSnapshotRequest {
        description: "x".repeat(5 * 1024 * 1024),
        ..Default::default()
    };
    let refused = send::<_, Status>(app.router(), "CreateSnapshot", huge, &[]).await;
    let refused = refused.expect("answered");
    assert_eq!(refused.code, 1102, "{refused:?}");
    assert!(refused.reason.contains("4194304 bytes"), "{refused:?}");
    for body in [
        vec![0, 0, 0, 0, 2, 255, 255],
        vec![1, 2, 3],
        vec![],
        vec![0, 255, 255, 255, 255],
    ] {
        let request = Request::post("/milvus.proto.milvus.MilvusService/CreateSnapshot")
            .header("content-type", "application/grpc")
            .body(Body::from(body.clone()))
            .expect("a request");
        let response = app.router().oneshot(request).await.expect("never fails");
        let code = response
            .headers()
            .get("grpc-status")
            .map(|c| c.to_str().expect("text").to_string());
        assert!(code.as_deref().is_some_and(|c| c != "0"), "{body:?}: {response:?}");
    }
}

#[tokio::test]
async fn a_request_id_comes_back_and_is_made_where_none_came() {
    let app = TestApp::memory().await;
    let ask = async |header: &str, id: &str| {
        let request = Request::post("/milvus.proto.milvus.MilvusService/GetVersion")
            .header("content-type", "application/grpc")
            .header(header, id)
            .body(Body::from(vec![0, 0, 0, 0, 0]))
            .expect("a request");
        let response = app.router().oneshot(request).await.expect("never fails");
        response.headers()["x-request-id"].to_str().expect("text").to_string()
    };
    assert_eq!(ask("x-request-id", "mine-1").await, "mine-1");
    assert_eq!(ask("client-request-id", "mine-2").await, "mine-2");
    let made = ask("x-request-id", "not fit for logs").await;
    assert!(uuid::Uuid::parse_str(&made).is_ok(), "{made}");
}

#[test]
fn the_page_about_milvus_lists_every_call() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/milvus.md")).expect("is there");
    let (_, rest) = page.split_once("## Calls that work").expect("the first table");
    let (served, rest) = rest.split_once("## Calls that are not served").expect("the second table");
    let (rest, _) = rest.split_once("\n## ").expect("what follows it");
    let names = |text: &str| -> std::collections::BTreeSet<String> {
        let calls = text.split('`').skip(1).step_by(2);
        calls
            .filter(|t| t.starts_with(|c: char| c.is_ascii_uppercase()) && t.chars().all(|c| c.is_ascii_alphanumeric()))
            .map(str::to_string)
            .collect()
    };
    let wanted = |list: Vec<&str>| -> std::collections::BTreeSet<String> { list.into_iter().map(str::to_string).collect() };
    assert_eq!(names(served), wanted(CALLS.to_vec()));
    assert_eq!(names(rest), wanted(UNSERVED.iter().map(|(name, ..)| *name).collect()));
}
