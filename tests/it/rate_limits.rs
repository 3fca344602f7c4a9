//! `--rate-limit`: whom a request is counted for, whatever becomes of it and whatever it comes over.

use std::net::SocketAddr;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use stillframe::api::{ApiState, Rate, RequestLimits};
use stillframe::milvus::MilvusSettings;
use stillframe::milvus::proto::common::Status;
use stillframe::milvus::proto::milvus as m;
use stillframe::service::{AuthSettings, ServiceSettings};
use stillframe::telemetry;
use tower::ServiceExt as _;

use crate::milvus::wire::{Answer as _, send};
use crate::security::who::{ADMIN_KEY, Who, required};
use crate::support::TestApp;
use crate::support::faults::Faults;

const BURST: u32 = 3;

/// The whole service with a limit. A bucket gets a token back in a second, which may pass between any two calls.
fn limited(app: &TestApp) -> Router {
    let limits = RequestLimits {
        rate: Some(Rate {
            per_second: 1,
            burst: BURST,
        }),
        ..RequestLimits::default()
    };
    let settings = MilvusSettings {
        drop_collection_cascades: false,
        timeout: limits.timeout,
        body_bytes: limits.body_bytes,
    };
    let state = ApiState {
        service: app.service.clone(),
        metrics: telemetry::start_metrics().expect("metrics"),
    };
    stillframe::app::router(state, limits, settings)
}

/// Somebody at an address, with a credential or without.
#[derive(Clone)]
struct At<'a> {
    router: &'a Router,
    address: &'a str,
    forwarded: Option<&'a str>,
    credential: Option<String>,
}

impl<'a> At<'a> {
    fn new(router: &'a Router, address: &'a str) -> Self {
        Self {
            router,
            address,
            forwarded: None,
            credential: None,
        }
    }

    fn with(&self, credential: &str) -> Self {
        let credential = Some(credential.to_string());
        Self {
            credential,
            ..self.clone()
        }
    }

    fn for_whom(&self, forwarded: &'a str) -> Self {
        Self {
            forwarded: Some(forwarded),
            ..self.clone()
        }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(credential) = &self.credential {
            request = request.header("authorization", format!("Bearer {credential}"));
        }
        if let Some(forwarded) = self.forwarded {
            request = request.header("x-forwarded-for", forwarded);
        }
        let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
        let request = request.header("content-type", "application/json").body(body);
        let mut request = request.expect("a request");
        let peer: SocketAddr = format!("{}:1", self.address).parse().expect("an address");
        request.extensions_mut().insert(ConnectInfo(peer));
        let response = self.router.clone().oneshot(request).await.expect("never fails");
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            assert!(response.headers().contains_key("retry-after"));
        }
        let bytes = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> u16 {
        self.call(Method::GET, path, None).await.0.as_u16()
    }

    /// Calls until it is one too many; gives the statuses before.
    async fn until_refused(&self, path: &str) -> Vec<u16> {
        let mut statuses = Vec::new();
        loop {
            match self.get(path).await {
                429 => return statuses,
                status => statuses.push(status),
            }
            assert!(statuses.len() < 100, "{statuses:?}");
        }
    }

    /// Calls until it is one too many, which is after a whole burst.
    async fn burst(&self, path: &str, status: u16) {
        let statuses = self.until_refused(path).await;
        assert!(
            statuses.len() >= BURST as usize && statuses.iter().all(|s| *s == status),
            "{statuses:?}"
        );
    }
}

const HERE: &str = "192.0.2.1";

#[tokio::test]
async fn keys_are_counted_apart_from_each_other_and_from_their_address() {
    let app = TestApp::with_auth(required()).await;
    let reader = Who::new(&app, "reader", &[("reader", "*", "*")]).await.credential;
    let router = limited(&app);
    let here = At::new(&router, HERE);
    here.with(&reader).burst("/v1/databases", 200).await;
    assert_eq!(here.with(ADMIN_KEY).get("/v1/databases").await, 200, "another key");
    assert_eq!(here.with(&reader).get("/healthz").await, 200, "probes are not counted");
    here.with(&reader).until_refused("/v1/databases").await;
    let elsewhere = At::new(&router, "192.0.2.2")
        .with(&reader)
        .until_refused("/v1/databases")
        .await;
    assert!(
        elsewhere.len() < BURST as usize,
        "a key is counted wherever it comes from: {elsewhere:?}"
    );
}

#[tokio::test]
async fn what_is_not_permitted_counts_and_what_is_too_much_is_not_recorded() {
    let app = TestApp::with_auth(required()).await;
    let reader = Who::new(&app, "reader", &[("reader", "*", "*")]).await.credential;
    let router = limited(&app);
    let make = async |n: u32| {
        let body = json!({"name": format!("d{n}")});
        let reader = At::new(&router, HERE).with(&reader);
        reader.call(Method::POST, "/v1/databases", Some(body)).await.0.as_u16()
    };
    let mut statuses = Vec::new();
    while !statuses.contains(&429) && statuses.len() < 100 {
        let n = u32::try_from(statuses.len()).expect("small");
        statuses.push(make(n).await);
    }
    let denied = statuses.iter().filter(|s| **s == 403).count();
    assert!(statuses.iter().all(|s| matches!(s, 403 | 429)), "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
    let events = Who::admin(&app).get("/v1/audit?operation=create_database").await.ok().json;
    assert_eq!(events["items"].as_array().expect("items").len(), denied, "{events}");
}

#[tokio::test]
async fn credentials_that_are_made_up_are_counted_for_the_address_and_then_not_looked_up() {
    let app = TestApp::with_auth(required()).await;
    let known = Who::new(&app, "known", &[("reader", "*", "*")]).await.credential;
    let router = limited(&app);
    let here = At::new(&router, HERE);
    assert_eq!(here.with(&known).get("/v1/databases").await, 200);
    let made_up = format!("sf_{:043}", 7);
    here.with(&made_up).burst("/v1/databases", 401).await;
    // without the database it would be 503
    let other = Who::new(&app, "other", &[("reader", "*", "*")]).await.credential;
    app.pool.close().await;
    for (credential, path) in [(&made_up, "/v1/databases"), (&made_up, "/metrics"), (&other, "/v1/databases")] {
        // there is nothing there, but it is counted
        here.until_refused("/nothing").await;
        assert_eq!(here.with(credential).get(path).await, 429, "{path}");
    }
    let elsewhere = At::new(&router, "192.0.2.9").with(&made_up);
    assert_eq!(elsewhere.get("/v1/databases").await, 503, "it is looked up for others");
    // who was let in before is not kept out: the answer is that of the database
    assert_eq!(here.with(&known).get("/v1/databases").await, 503);
}

#[tokio::test]
async fn a_proxy_says_whose_requests_are_counted_when_it_is_trusted() {
    let auth = AuthSettings {
        trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")],
        ..AuthSettings::default()
    };
    let app = TestApp::with_auth(auth).await;
    let router = limited(&app);
    let proxy = At::new(&router, "10.1.2.3");
    proxy.for_whom("192.0.2.1").burst("/v1/databases", 200).await;
    assert_eq!(proxy.for_whom("192.0.2.2").get("/v1/databases").await, 200);
    let stranger = At::new(&router, "192.0.2.77");
    stranger.for_whom("192.0.2.1").burst("/nothing", 404).await;
    let as_another = stranger.for_whom("192.0.2.200").until_refused("/nothing").await;
    assert!(as_another.len() < BURST as usize, "its word counts nothing: {as_another:?}");
}

#[tokio::test]
async fn calls_over_milvus_grpc_and_rest_v2_are_counted_together_and_refused_in_its_words() {
    let app = TestApp::with_auth(required()).await;
    let key = Who::new(&app, "reader", &[("reader", "*", "*")]).await.credential;
    let router = limited(&app);
    let here = At::new(&router, HERE).with(&key);
    let token = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("any:{key}"));
    let grpc = async || {
        let metadata = [("authorization", token.as_str())];
        let answer: m::ListDatabasesResponse =
            send(router.clone(), "ListDatabases", m::ListDatabasesRequest::default(), &metadata)
                .await
                .expect("answered");
        answer.taken()
    };
    let rest = async || {
        let path = "/v2/vectordb/snapshots/list";
        here.call(Method::POST, path, Some(json!({}))).await.1
    };
    assert_eq!(grpc().await.code, 0);
    assert_eq!(rest().await["code"], 0);
    assert_eq!(here.get("/v1/databases").await, 200);
    let mut status: Status = grpc().await;
    while status.code == 0 {
        status = grpc().await;
    }
    assert_eq!(
        (status.code, status.error_code, status.retriable),
        (8, 49, true),
        "{status:?}"
    );
    assert!(status.reason.contains("rate limit exceeded"), "{status:?}");
    let mut envelope = rest().await;
    while envelope["code"] == 0 {
        envelope = rest().await;
    }
    assert_eq!(envelope["code"], 1807, "{envelope}");
    let message = envelope["message"].as_str().expect("text");
    assert!(message.starts_with("request is rejected by limiter"), "{message}");
    assert!(
        here.until_refused("/v1/databases").await.len() < BURST as usize,
        "one count for all"
    );
    let calls = Who::admin(&app).get("/v1/audit?outcome=failed").await.ok().json;
    assert_eq!(calls["items"], json!([]), "none of it is recorded");
}

#[tokio::test]
async fn many_who_ask_whether_the_service_is_ready_share_a_look() {
    let faults = Faults::default();
    let app = TestApp::s3_behind(faults.clone(), ServiceSettings::default(), |_| {}).await;
    let looks = || faults.calls(|_| true).len();
    let (before, began) = (looks(), Instant::now());
    app.get("/readyz").await.ok();
    let one = looks() - before;
    assert!(one > 0);
    let asked = futures::future::join_all((0..100).map(|_| app.get("/readyz"))).await;
    asked.into_iter().for_each(|answer| {
        answer.ok();
    });
    let most = one * (began.elapsed().as_secs() as usize + 2);
    assert!(looks() - before <= most, "{} calls, {one} at a time", looks() - before);
}
