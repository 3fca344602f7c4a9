//! Pages of strangers in a browser that reaches a service without authentication.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use stillframe::domain::access::Doors;
use stillframe::milvus::proto::milvus as m;
use stillframe::service::AuthSettings;

use super::who::{ADMIN_KEY, required};
use crate::cli::process::directory;
use crate::cli::service::Service;
use crate::milvus::wire::{send_encoded, status_of};
use crate::support::app::Answer;
use crate::support::{TestApp, jobs};

const HERE: &str = "127.0.0.1:19530";
const NOT_PERMITTED: i32 = 1401;
const NO_JSON: i32 = 1801;

async fn ask(app: &TestApp, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    app.send(request.body(Body::from(body.to_string())).expect("a request")).await
}

/// With these names and pages in the settings.
async fn with_doors(hosts: &[&str], pages: &[&str]) -> TestApp {
    let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    let doors = Doors {
        hosts: texts(hosts),
        pages: texts(pages),
    };
    TestApp::with_auth(AuthSettings {
        doors,
        ..AuthSettings::default()
    })
    .await
}

#[tokio::test]
async fn a_page_whose_name_is_led_here_gets_at_nothing() {
    let app = with_doors(&["snapshots.example.com"], &[]).await;
    let led_here = [("host", "evil.example:19530")];
    for (method, path) in [
        (Method::GET, "/v1/collections"),
        (Method::DELETE, "/v1/databases/default"),
        (Method::GET, "/metrics"),
        (Method::GET, "/v1/keys"),
    ] {
        ask(&app, method, path, &led_here, "").await.refused(403, "host_not_allowed");
    }
    let json = [led_here[0], ("content-type", "application/json")];
    ask(&app, Method::POST, "/v1/databases", &json, "{\"name\": \"x\"}")
        .await
        .refused(403, "host_not_allowed");
    let list = ask(&app, Method::POST, "/v2/vectordb/jobs/snapshot/list", &json, "{}")
        .await
        .ok();
    assert_eq!(list.json["code"], NOT_PERMITTED, "{}", list.text);
    let message = prost::Message::encode_to_vec(&m::ListDatabasesRequest {});
    for (host, code) in [("evil.example:19530", NOT_PERMITTED), (HERE, 0), ("stillframe:19530", 0)] {
        let answer = send_encoded(app.router(), host, "ListDatabases", &message, &[]).await;
        assert_eq!(status_of(&answer).code, code, "{host}");
    }
    // probes of balancers, and what names itself rightly
    for path in ["/healthz", "/readyz"] {
        ask(&app, Method::GET, path, &led_here, "").await.ok();
    }
    for host in [
        HERE,
        "localhost:19530",
        "[::1]:1",
        "stillframe:19530",
        "snapshots.example.com",
    ] {
        ask(&app, Method::GET, "/v1/collections", &[("host", host)], "").await.ok();
    }
    let denied = app.get("/v1/audit?outcome=denied").await.ok().json;
    assert!(denied["items"].as_array().is_some_and(|i| i.len() >= 6), "{denied}");
    assert_eq!(denied["items"][0]["code"], "host_not_allowed");
    // a browser adds no key by itself, so with keys names don't matter
    let app = TestApp::with_auth(required()).await;
    let key = format!("Bearer {ADMIN_KEY}");
    let headers = [
        led_here[0],
        ("authorization", key.as_str()),
        ("origin", "https://evil.example"),
    ];
    ask(&app, Method::GET, "/v1/keys", &headers, "").await.ok();
    ask(&app, Method::POST, "/v1/gc/runs", &headers, "").await.created();
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing_by_requests_that_need_no_permission() {
    let app = TestApp::local().await;
    jobs::snapshot(&app, 1).await;
    let job = jobs::start(&app, json!({"collection_name": "t"})).await;
    let evil = [
        ("host", HERE),
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ];
    let sandboxed = [("host", HERE), ("origin", "null")];
    let unnamed = [("host", HERE), ("sec-fetch-site", "same-site")];
    let neighbour = [("host", HERE), ("origin", "http://127.0.0.1:3000")];
    let before = (
        app.get("/v1/snapshots/s").await.ok().text,
        jobs::job(&app, &job).await["state"].clone(),
    );
    for headers in [&evil[..], &sandboxed, &unnamed, &neighbour] {
        // all of them POSTs without a body, or with one that may be left out
        for path in [
            format!("/v1/restore-jobs/{job}/pause").as_str(),
            format!("/v1/restore-jobs/{job}/cancel").as_str(),
            "/v1/snapshots/s/undelete",
            "/v1/gc/runs",
            "/v1/collections/c/flush",
        ] {
            ask(&app, Method::POST, path, headers, "")
                .await
                .refused(403, "cross_site_request");
        }
        ask(&app, Method::DELETE, "/v1/snapshots/s", headers, "")
            .await
            .refused(403, "cross_site_request");
        let text = [headers, &[("content-type", "text/plain")]].concat();
        let body = json!({"collectionName": "c", "snapshotName": "s"}).to_string();
        let answer = ask(&app, Method::POST, "/v2/vectordb/snapshots/drop", &text, &body)
            .await
            .ok();
        assert_eq!(answer.json["code"], NOT_PERMITTED, "{}", answer.text);
        // what only reads is made, and its answer is for no page
        let read = ask(&app, Method::GET, "/v1/snapshots", headers, "").await.ok();
        assert!(!read.headers.contains_key("access-control-allow-origin"));
    }
    assert_eq!(
        before,
        (
            app.get("/v1/snapshots/s").await.ok().text,
            jobs::job(&app, &job).await["state"].clone()
        )
    );
    // pages of this service, a person, and a program
    for headers in [
        &[
            ("host", HERE),
            ("origin", "http://127.0.0.1:19530"),
            ("sec-fetch-site", "same-origin"),
        ][..],
        &[("host", HERE), ("sec-fetch-site", "none")],
        &[("host", HERE)],
        &[],
    ] {
        ask(&app, Method::POST, "/v1/gc/runs", headers, "").await.created();
    }
    let app = with_doors(&[], &["https://dashboard.example.com"]).await;
    let page = [
        ("host", HERE),
        ("origin", "https://dashboard.example.com"),
        ("sec-fetch-site", "cross-site"),
    ];
    ask(&app, Method::POST, "/v1/gc/runs", &page, "").await.created();
    ask(&app, Method::POST, "/v1/gc/runs", &evil, "")
        .await
        .refused(403, "cross_site_request");
}

#[tokio::test]
async fn rest_v2_reads_only_what_says_that_it_is_json_or_what_no_browser_sent() {
    let app = TestApp::local().await;
    jobs::snapshot(&app, 1).await;
    let drop = |headers: Vec<(&'static str, &'static str)>| {
        let app = &app;
        async move {
            let body = json!({"collectionName": "c", "snapshotName": "nothing"}).to_string();
            let answer = ask(app, Method::POST, "/v2/vectordb/snapshots/drop", &headers, &body)
                .await
                .ok();
            answer.json["code"].clone()
        }
    };
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "",
    ] {
        assert_eq!(drop(vec![("content-type", kind)]).await, NO_JSON, "{kind:?}");
    }
    // a page sends what has no type without one
    assert_eq!(drop(vec![("host", HERE), ("sec-fetch-site", "same-origin")]).await, NO_JSON);
    for headers in [
        vec![],
        vec![("content-type", "application/json")],
        vec![("content-type", "Application/JSON; charset=utf-8")],
        vec![
            ("host", HERE),
            ("origin", "http://127.0.0.1:19530"),
            ("content-type", "application/json"),
        ],
    ] {
        assert_eq!(drop(headers.clone()).await, 0, "{headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_name_the_service_and_the_pages_that_may_change_something() {
    let data = directory();
    let settings = [
        "--no-fsync",
        "--workers",
        "0",
        "--allowed-hosts",
        "snapshots.example.com,*.svc.cluster.local",
        "--cors-origins",
        "https://dashboard.example.com",
    ];
    let service = Service::start(data.path(), &settings);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let ask = async |host: Option<&str>, origin: Option<&str>| {
        let mut request = client.post(format!("{}/v1/gc/runs", service.url));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let problem: Value = answer.json().await.expect("JSON");
        (status, problem["code"].as_str().unwrap_or_default().to_string())
    };
    let created = (201, String::new());
    for host in [
        None,
        Some("snapshots.example.com"),
        Some("stillframe.default.svc.cluster.local:19530"),
    ] {
        assert_eq!(ask(host, None).await, created, "{host:?}");
    }
    assert_eq!(ask(Some("evil.example"), None).await, (403, "host_not_allowed".into()));
    assert_eq!(ask(None, Some("https://dashboard.example.com")).await, created);
    assert_eq!(
        ask(None, Some("https://evil.example")).await,
        (403, "cross_site_request".into())
    );
}
