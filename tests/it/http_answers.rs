//! How answers go out: HEAD, compression, other origins, rates.

use std::io::{Read as _, Write as _};

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use stillframe::api::{Rate, RequestLimits};

use crate::http_semantics::{app, call, header, request};
use crate::support::TestApp;

#[tokio::test]
async fn head_answers_as_get_does_and_refuses_what_get_refuses() {
    let app = app().await;
    for path in ["/healthz", "/v1/collections", "/openapi.json"] {
        let get = app.get(path).await.ok();
        let head = call(&app, Method::HEAD, path, &[], None).await.ok();
        assert_eq!(
            (head.text.as_str(), &head.headers["content-type"]),
            ("", &get.headers["content-type"]),
            "{path}"
        );
    }
    let status = async |path: &str| {
        let response = tower::ServiceExt::oneshot(app.router(), request(Method::HEAD, path, &[], None)).await;
        response.expect("never fails").status().as_u16()
    };
    assert_eq!(status("/v1/collections?page_sise=1").await, 422);
    assert_eq!(status("/v1/collections/nope").await, 404);
    assert_eq!(status("/v1/collections/c/flush").await, 405);
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_can_read_it_and_bodies_may_be() {
    let app = app().await;
    let plain = app.get("/openapi.json").await.ok();
    let raw = async |coding: &str| {
        let request = request(Method::GET, "/openapi.json", &[("accept-encoding", coding)], None);
        let response = tower::ServiceExt::oneshot(app.router(), request).await.expect("never fails");
        let headers = response.headers().clone();
        (
            headers,
            axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body"),
        )
    };
    let (headers, bytes) = raw("gzip").await;
    assert_eq!(headers["content-encoding"], "gzip");
    assert!(bytes.len() * 5 < plain.text.len(), "{} of {}", bytes.len(), plain.text.len());
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes.as_ref())
        .read_to_string(&mut text)
        .expect("gzip");
    assert_eq!(text, plain.text);
    let tag = headers["etag"].to_str().expect("text");
    assert_eq!(tag, header(&plain, "etag").trim_end_matches('"').to_string() + "-gzip\"");
    let same = call(
        &app,
        Method::GET,
        "/openapi.json",
        &[("if-none-match", tag), ("accept-encoding", "gzip")],
        None,
    )
    .await;
    assert_eq!(header(&same.expect(304), "etag"), tag);
    assert_eq!(raw("br").await.0["content-encoding"], "br");
    assert!(!raw("zstd").await.0.contains_key("content-encoding"));
    let (headers, _) = {
        let request = request(Method::GET, "/v1/databases", &[("accept-encoding", "gzip")], None);
        let response = tower::ServiceExt::oneshot(app.router(), request).await.expect("never fails");
        (response.headers().clone(), ())
    };
    assert!(!headers.contains_key("content-encoding"), "a short answer is not worth it");

    let send = async |coding: &'static str, bytes: Vec<u8>| {
        let request = Request::post("/v1/databases")
            .header("content-type", "application/json")
            .header("content-encoding", coding)
            .body(Body::from(bytes))
            .expect("a request");
        app.send(request).await
    };
    send("gzip", gzip(br#"{"name": "packed"}"#)).await.created();
    send("gzip", b"{\"name\": \"x\"}".to_vec())
        .await
        .refused(400, "malformed_request");
    send("br", b"x".to_vec()).await.refused(415, "unsupported_media_type");
    // a bomb: 64 MiB of spaces in 64 KiB; the application of tests takes 16 MiB
    let bomb = gzip(&vec![b' '; 64 * 1024 * 1024]);
    assert!(bomb.len() < 100_000);
    send("gzip", bomb).await.refused(413, "payload_too_large");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read_answers_and_errors_and_no_others() {
    let limits = |origins: &[&str]| RequestLimits {
        cors_origins: origins.iter().map(ToString::to_string).collect(),
        ..RequestLimits::default()
    };
    let page = "https://dashboard.example.com";
    let app = app().await;
    let ask = async |limits: RequestLimits, method: Method, path: &str, origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "PATCH"),
            ("access-control-request-headers", "idempotency-key"),
        ];
        let response = tower::ServiceExt::oneshot(app.router_with(limits), request(method, path, &headers, None)).await;
        response.expect("never fails")
    };
    let allowed = |r: &axum::response::Response| {
        r.headers()
            .get("access-control-allow-origin")
            .map(|v| v.to_str().expect("text").to_string())
    };
    assert_eq!(allowed(&ask(limits(&[]), Method::GET, "/v1/collections", page).await), None);
    let preflight = ask(limits(&[page]), Method::OPTIONS, "/v1/collections/c", page).await;
    assert_eq!(
        (preflight.status().as_u16(), allowed(&preflight).as_deref()),
        (200, Some(page))
    );
    assert!(
        preflight.headers()["access-control-allow-methods"]
            .to_str()
            .expect("text")
            .contains("PATCH")
    );
    let headers = preflight.headers()["access-control-allow-headers"].to_str().expect("text");
    for name in ["idempotency-key", "traceparent", "tracestate"] {
        assert!(headers.contains(name), "{name}: {headers}");
    }
    let missing = ask(limits(&[page]), Method::GET, "/v1/collections/nope", page).await;
    assert_eq!((missing.status().as_u16(), allowed(&missing).as_deref()), (404, Some(page)));
    assert!(
        missing.headers()["access-control-expose-headers"]
            .to_str()
            .expect("text")
            .contains("x-request-id")
    );
    assert_eq!(
        allowed(&ask(limits(&[page]), Method::GET, "/v1/collections", "https://evil.example").await),
        None
    );
    assert_eq!(
        allowed(&ask(limits(&["*"]), Method::GET, "/v1/collections", "https://any.example").await).as_deref(),
        Some("*")
    );
}

#[tokio::test]
async fn a_client_that_sends_too_much_is_told_when_to_come_back_and_probes_always_pass() {
    let app = app().await;
    let router = app.router_with(RequestLimits {
        rate: Some(Rate { per_second: 1, burst: 3 }),
        ..RequestLimits::default()
    });
    let ask = async |path: &str, address: &str| {
        let mut request = request(Method::GET, path, &[], None);
        let peer: std::net::SocketAddr = format!("{address}:1").parse().expect("an address");
        request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
        tower::ServiceExt::oneshot(router.clone(), request)
            .await
            .expect("never fails")
    };
    for _ in 0..3 {
        assert_eq!(ask("/v1/databases", "192.0.2.1").await.status(), 200);
    }
    let refused = ask("/v1/databases", "192.0.2.1").await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    let body = axum::body::to_bytes(refused.into_body(), usize::MAX).await.expect("a body");
    assert_eq!(serde_json::from_slice::<Value>(&body).expect("JSON")["code"], "rate_limited");
    assert_eq!(ask("/healthz", "192.0.2.1").await.status(), 200);
    assert_eq!(ask("/v1/databases", "192.0.2.2").await.status(), 200);
}

#[tokio::test]
async fn a_preflight_needs_no_key_and_is_answered_with_a_request_id() {
    let app = TestApp::with_auth(crate::security::who::required()).await;
    let page = "https://dashboard.example.com";
    let limits = RequestLimits {
        cors_origins: vec![page.into()],
        ..RequestLimits::default()
    };
    let router = app.router_with(limits);
    let ask = async |method: Method, headers: &[(&str, &str)]| {
        let headers = [&[("origin", page)], headers].concat();
        let request = request(method, "/v1/snapshots/s", &headers, None);
        let answer = tower::ServiceExt::oneshot(router.clone(), request)
            .await
            .expect("never fails");
        assert_eq!(answer.headers()["access-control-allow-origin"], page);
        let id = answer
            .headers()
            .get("x-request-id")
            .map(|id| id.to_str().expect("text").to_string());
        (answer.status().as_u16(), id.expect("a request id"))
    };
    let wanted = ("access-control-request-method", "DELETE");
    let (status, made) = ask(Method::OPTIONS, &[wanted]).await;
    assert!(status == 200 && made.len() == 36, "{status} {made}");
    assert_ne!(ask(Method::OPTIONS, &[wanted]).await.1, made);
    let mine = ("x-request-id", "mine-1");
    assert_eq!(ask(Method::OPTIONS, &[wanted, mine]).await, (200, "mine-1".into()));
    let unfit = ("x-request-id", "not fit");
    assert_eq!(ask(Method::OPTIONS, &[wanted, unfit]).await.1.len(), 36);
    // the call itself needs one, and has one id
    assert_eq!(ask(Method::DELETE, &[mine]).await, (401, "mine-1".into()));
}

/// A collection with a default value that has so many levels.
async fn with_default_value(
    app: &TestApp,
    name: &str,
    levels: usize,
    (open, close): (&str, &str),
) -> crate::support::app::Answer {
    let value = format!("{}1{}", open.repeat(levels), close.repeat(levels));
    let text = format!(
        r#"{{"name": "{name}", "channels": [{{"channel_name": "{name}_0", "seek_position": {{"timestamp": "1000"}}}}], "fields": [
            {{"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true}},
            {{"field_id": "101", "name": "n", "data_type": "Int64", "default_value": {value}}}]}}"#
    );
    let request = Request::post("/v1/collections")
        .header("content-type", "application/json")
        .body(Body::from(text));
    app.send(request.expect("a request")).await
}

#[tokio::test]
async fn where_any_json_may_stand_it_is_so_deep_and_no_deeper() {
    let app = app().await;
    // the body, the list of its fields, and the field are three levels
    let (most, read) = (64, 127 - 3);
    for (n, brackets) in [("[", "]"), ("{\"a\":", "}")].into_iter().enumerate() {
        for levels in [read + 1, 1000, 100_000] {
            with_default_value(&app, "deep", levels, brackets)
                .await
                .refused(400, "malformed_request");
        }
        for levels in [most + 1, read] {
            let refused = with_default_value(&app, "deep", levels, brackets).await;
            assert_eq!(
                refused.refused(422, "invalid_request").pointers(),
                ["/fields/1/default_value"]
            );
        }
        // what is taken can be described, snapshotted and restored
        let name = format!("most_{n}");
        with_default_value(&app, &name, most, brackets).await.created();
        let described = app.get(&format!("/v1/collections/{name}")).await.ok();
        assert!(described.text.matches(brackets.0).count() >= most, "{}", described.text);
        let of_it = json!({"collection_name": name, "snapshot_name": name});
        app.post("/v1/snapshots", &of_it).await.created();
        let target = json!({"collection_name": format!("{name}_again")});
        app.post(&format!("/v1/snapshots/{name}/restore"), &target).await.expect(202);
        app.drain().await;
        let again = app.get(&format!("/v1/collections/{name}_again")).await.ok();
        assert_eq!(
            again.json["fields"][1]["default_value"],
            described.json["fields"][1]["default_value"]
        );
    }
    app.get("/v1/collections/deep").await.refused(404, "collection_not_found");
}

#[tokio::test]
async fn deeply_nested_json_is_refused() {
    let app = app().await;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let text = format!("{{\"name\": {}1{}}}", open.repeat(100_000), close.repeat(100_000));
        let request = Request::post("/v1/databases")
            .header("content-type", "application/json")
            .body(Body::from(text));
        let answer = app.send(request.expect("a request")).await;
        assert!(matches!(answer.status.as_u16(), 400 | 422), "{answer:?}");
    }
    let properties = format!("{{\"properties\": {}1{}}}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let request = Request::patch("/v1/collections/c")
        .header("content-type", "application/json")
        .body(Body::from(properties));
    let answer = app.send(request.expect("a request")).await;
    assert!(matches!(answer.status.as_u16(), 400 | 422), "{answer:?}");
}
