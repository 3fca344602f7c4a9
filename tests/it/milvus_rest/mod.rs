//! Milvus' REST v2 paths, over real HTTP.

mod calls;
mod exports;
mod refusals;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::TestApp;
use crate::support::fixture::COLLECTION;

/// Paths and the fields without which they refuse.
const PATHS: [(&str, &[&str]); 12] = [
    ("snapshots/create", &["collectionName", "snapshotName"]),
    ("snapshots/drop", &["collectionName", "snapshotName"]),
    ("snapshots/list", &[]),
    ("snapshots/describe", &["snapshotName"]),
    ("snapshots/restore", &["snapshotName", "targetCollectionName"]),
    ("snapshots/pin", &["collectionName", "snapshotName"]),
    ("snapshots/unpin", &["pinId"]),
    ("jobs/snapshot/describe", &["jobId"]),
    ("jobs/snapshot/list", &[]),
    ("jobs/snapshot/export", &["snapshotName", "targetS3Path"]),
    ("jobs/snapshot/export/describe", &["jobId"]),
    (
        "jobs/snapshot/restore_external",
        &["targetCollectionName", "snapshotMetadataURI"],
    ),
];

/// The service behind a socket.
struct Rest {
    app: TestApp,
    url: String,
    http: reqwest::Client,
}

impl Rest {
    async fn start() -> Self {
        let app = TestApp::local().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/v2/vectordb", listener.local_addr().expect("an address"));
        let router = app.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { app, url, http }
    }

    /// With the real collection and a snapshot `s` of it.
    async fn with_snapshot() -> Self {
        let rest = Self::start().await;
        rest.app.load_fixture().await;
        rest.done("snapshots/create", json!({"collectionName": COLLECTION, "snapshotName": "s"}))
            .await;
        rest
    }

    /// Every answer has status 200, an envelope and a request id.
    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Value {
        let mut request = self.http.request(method, format!("{}/{path}", self.url)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "application/json", "{path}");
        assert!(response.headers().contains_key("x-request-id"), "{path}");
        let text = response.text().await.expect("a body");
        let envelope: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}: {text}"));
        assert!(envelope["code"].is_i64() && envelope["message"].is_string(), "{path}: {text}");
        assert_eq!(envelope["code"] == 0, envelope["message"] == "", "{path}: {text}");
        assert_eq!(envelope["code"] == 0, envelope.get("data").is_some(), "{path}: {text}");
        envelope
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Value {
        self.send(Method::POST, path, headers, body.to_string()).await
    }

    /// The data of a call that succeeds.
    async fn done(&self, path: &str, body: Value) -> Value {
        let envelope = self.post(path, &[], body).await;
        assert_eq!(envelope["code"], 0, "{path}: {envelope}");
        envelope["data"].clone()
    }

    async fn refused(&self, path: &str, body: Value, code: i32, text: &str) {
        let envelope = self.post(path, &[], body.clone()).await;
        let message = envelope["message"].as_str().expect("text");
        assert!(
            envelope["code"] == code && message.contains(text),
            "{path} {body}: {envelope}"
        );
    }
}
