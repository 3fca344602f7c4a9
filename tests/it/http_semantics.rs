//! What HTTP itself promises: entity tags, conditions, repetition, HEAD, compression, other
//! origins, rates, and pages under concurrent writes.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use stillframe::api::{Rate, RequestLimits};

use crate::support::TestApp;
use crate::support::app::Answer;

const C: i64 = 100;

async fn app() -> TestApp {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app
}

/// A call with headers.
async fn call(app: &TestApp, method: Method, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
    app.send(request(method, path, headers, body)).await
}

fn request(method: Method, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    request
        .body(body.map_or(Body::empty(), |b| Body::from(b.to_string())))
        .expect("a request")
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers[name].to_str().expect("text")
}

fn snapshot(name: &str) -> Value {
    json!({"collection_name": "c", "snapshot_name": name})
}

async fn keyed(app: &TestApp, path: &str, key: &str, body: &Value) -> Answer {
    call(app, Method::POST, path, &[("idempotency-key", key)], Some(body)).await
}

#[tokio::test]
async fn the_same_call_with_the_same_key_is_answered_once_and_for_all() {
    let app = app().await;
    let first = keyed(&app, "/v1/snapshots", "k1", &snapshot("s")).await.created();
    assert!(!first.headers.contains_key("idempotent-replayed"));
    let again = keyed(&app, "/v1/snapshots", "k1", &snapshot("s")).await.created();
    assert_eq!(again.text, first.text);
    assert_eq!(header(&again, "idempotent-replayed"), "true");
    assert_ne!(header(&again, "x-request-id"), header(&first, "x-request-id"));
    // without a key it is another call
    app.post("/v1/snapshots", &snapshot("s"))
        .await
        .refused(409, "snapshot_already_exists");
    // the answer outlives what it created
    app.delete("/v1/snapshots/s").await.expect(204);
    keyed(&app, "/v1/snapshots", "k1", &snapshot("s")).await.created();
    app.get("/v1/snapshots/s").await.refused(404, "snapshot_not_found");

    keyed(&app, "/v1/snapshots", "k1", &snapshot("t"))
        .await
        .refused(422, "idempotency_key_reused");
    keyed(&app, "/v1/databases", "k1", &json!({"name": "d"}))
        .await
        .refused(422, "idempotency_key_reused");

    // a restore's answer keeps its Location, and a pin, which has no name, is made once
    keyed(&app, "/v1/snapshots", "k2", &snapshot("u")).await.created();
    let target = json!({"collection_name": "r"});
    let restore = || keyed(&app, "/v1/snapshots/u/restore", "k3", &target);
    let (first, again) = (restore().await.expect(202), restore().await.expect(202));
    assert_eq!(again.json["job_id"], first.json["job_id"]);
    assert_eq!(again.headers["location"], first.headers["location"]);
    for _ in 0..2 {
        keyed(&app, "/v1/snapshots/u/pins", "k4", &json!({"owner": "o", "ttl_seconds": 60}))
            .await
            .created();
    }
    assert_eq!(
        app.get("/v1/snapshots/u/pins").await.ok().json["items"]
            .as_array()
            .expect("pins")
            .len(),
        1
    );
}

#[tokio::test]
async fn a_key_is_free_again_when_its_call_failed_and_after_a_day() {
    let app = app().await;
    let body = json!({"collection_name": "later", "snapshot_name": "s"});
    keyed(&app, "/v1/snapshots", "k", &body)
        .await
        .refused(404, "collection_not_found");
    app.small_collection("later", 200).await;
    keyed(&app, "/v1/snapshots", "k", &body).await.created();
    app.set_clock(Duration::from_secs(24 * 3600 - 60)).await;
    keyed(&app, "/v1/snapshots", "k", &body).await.created();
    app.set_clock(Duration::from_secs(24 * 3600 + 60)).await;
    keyed(&app, "/v1/snapshots", "k", &body)
        .await
        .refused(409, "snapshot_already_exists");
    keyed(&app, "/v1/databases", "k", &json!({"name": "d"})).await.created();
    let count = || sqlx::query_scalar::<_, i64>("select count(*) from idempotency_keys").fetch_one(&app.pool);
    assert_eq!(count().await.expect("counted"), 1);
    app.post("/v1/gc/runs", &json!({})).await.created();
    assert_eq!(count().await.expect("counted"), 1);
    app.set_clock(Duration::from_secs(3 * 24 * 3600)).await;
    app.post("/v1/gc/runs", &json!({})).await.created();
    assert_eq!(count().await.expect("counted"), 0, "the collector forgets old ones");
}

#[tokio::test]
async fn of_many_equal_calls_at_once_one_runs_and_the_others_are_told() {
    let app = app().await;
    let body = json!({"name": "d"});
    let calls = (0..8).map(|_| keyed(&app, "/v1/databases", "k", &body));
    let answers = futures::future::join_all(calls).await;
    let created: Vec<&Answer> = answers.iter().filter(|a| a.status == 201).collect();
    assert!(
        created
            .iter()
            .filter(|a| !a.headers.contains_key("idempotent-replayed"))
            .count()
            == 1,
        "{answers:?}"
    );
    for answer in &answers {
        if answer.status != 201 {
            assert_eq!(
                (answer.status.as_u16(), &answer.json["code"]),
                (409, &json!("idempotency_key_in_use")),
                "{answer:?}"
            );
            assert_eq!(header(answer, "retry-after"), "1");
        }
    }
}

#[tokio::test]
async fn a_call_whose_client_goes_away_ends_and_keeps_its_answer() {
    let app = app().await;
    // the lock that the call waits for
    let mut tx = app.pool.begin().await.expect("begins");
    sqlx::query("lock table databases in access exclusive mode")
        .execute(&mut *tx)
        .await
        .expect("locks");
    let body = json!({"name": "d"});
    let gone = keyed(&app, "/v1/databases", "k", &body);
    let waiting = async {
        loop {
            let blocked: i64 = sqlx::query_scalar("select count(*) from pg_locks where not granted and database = (select oid from pg_database where datname = current_database())")
                .fetch_one(&app.pool)
                .await
                .expect("counted");
            if blocked > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        answer = gone => panic!("not yet: {answer:?}"),
        () = waiting => {}
    }
    keyed(&app, "/v1/databases", "k", &body)
        .await
        .refused(409, "idempotency_key_in_use");
    tx.rollback().await.expect("ends");
    loop {
        let again = keyed(&app, "/v1/databases", "k", &body).await;
        if again.status == 201 {
            assert_eq!(header(&again, "idempotent-replayed"), "true");
            break;
        }
        again.refused(409, "idempotency_key_in_use");
    }
}

#[tokio::test]
async fn the_call_of_a_dead_process_runs_again_when_its_lease_is_over() {
    let app = app().await;
    keyed(&app, "/v1/snapshots", "k", &snapshot("s")).await.created();
    // as a crash between effect and record leaves it
    sqlx::query("update idempotency_keys set status = null, headers = null, body = null, lease_until = stillframe_now() + interval '60 seconds'")
        .execute(&app.pool)
        .await
        .expect("updated");
    keyed(&app, "/v1/snapshots", "k", &snapshot("s"))
        .await
        .refused(409, "idempotency_key_in_use");
    app.set_clock(Duration::from_secs(61)).await;
    keyed(&app, "/v1/snapshots", "k", &snapshot("s"))
        .await
        .refused(409, "snapshot_already_exists");
}

#[tokio::test]
async fn a_key_must_be_a_short_visible_text() {
    let app = app().await;
    for key in ["", "a b", "ä", &"x".repeat(256)] {
        let answer = keyed(&app, "/v1/databases", key, &json!({"name": "d"})).await;
        assert_eq!(
            answer.refused(422, "invalid_request").pointers(),
            ["idempotency-key:"],
            "{key:?}"
        );
    }
    app.get("/v1/databases/d").await.refused(404, "database_not_found");
}

#[tokio::test]
async fn a_tag_changes_with_what_it_names_and_saves_the_answer() {
    let app = app().await;
    let first = app.get("/v1/collections/c").await.ok();
    let tag = header(&first, "etag").to_string();
    let conditional = |tag: &str| {
        let headers = [("if-none-match".to_string(), tag.to_string())];
        let app = &app;
        async move {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            call(app, Method::GET, "/v1/collections/c", &headers, None).await
        }
    };
    let unchanged = conditional(&tag).await.expect(304);
    assert_eq!((unchanged.text.as_str(), header(&unchanged, "etag")), ("", tag.as_str()));
    conditional(&format!("\"other\", W/{tag}")).await.expect(304);
    conditional("*").await.expect(304);
    assert_eq!(conditional("\"other\"").await.ok().json, first.json);
    app.patch("/v1/collections/c", &json!({"properties": {"a": "b"}})).await.ok();
    let changed = conditional(&tag).await.ok();
    assert_ne!(header(&changed, "etag"), tag);
    let head = call(&app, Method::HEAD, "/v1/collections/c", &[], None).await.ok();
    assert_eq!(head.headers["etag"], changed.headers["etag"]);
    assert_eq!(header(&head, "content-length"), changed.text.len().to_string());
    assert_eq!(head.text, "");
    call(
        &app,
        Method::HEAD,
        "/v1/collections/c",
        &[("if-none-match", header(&head, "etag"))],
        None,
    )
    .await
    .expect(304);
}

#[tokio::test]
async fn a_change_is_made_only_to_what_the_client_has_seen() {
    let app = app().await;
    app.post("/v1/snapshots", &snapshot("s")).await.created();
    let path = "/v1/snapshots/s?collection_name=c";
    let tag = header(&app.get(path).await.ok(), "etag").to_string();
    let change = |method: Method, path: &'static str, tag: String, body: Option<Value>| {
        let app = &app;
        async move { call(app, method, path, &[("if-match", &tag)], body.as_ref()).await }
    };
    let note = |text: &str| Some(json!({"description": text}));
    change(Method::PATCH, path, "\"stale\"".into(), note("x"))
        .await
        .refused(412, "precondition_failed");
    change(Method::PATCH, path, format!("W/{tag}"), note("x"))
        .await
        .refused(412, "precondition_failed");
    assert_eq!(app.get(path).await.ok().json["description"], "");
    change(Method::PATCH, path, tag.clone(), note("first")).await.ok();
    change(Method::PATCH, path, tag.clone(), note("second"))
        .await
        .refused(412, "precondition_failed");
    change(Method::DELETE, path, tag, None)
        .await
        .refused(412, "precondition_failed");
    assert_eq!(app.get(path).await.ok().json["description"], "first");
    change(Method::DELETE, path, "*".into(), None).await.expect(204);
    change(Method::DELETE, path, "*".into(), None)
        .await
        .refused(404, "snapshot_not_found");

    // PUT creates, unless it is told not to replace
    let alias = |headers: &'static [(&'static str, &'static str)]| {
        let app = &app;
        async move {
            call(
                app,
                Method::PUT,
                "/v1/aliases/a",
                headers,
                Some(&json!({"collection_name": "c"})),
            )
            .await
        }
    };
    alias(&[("if-match", "*")]).await.refused(412, "precondition_failed");
    alias(&[("if-none-match", "*")]).await.ok();
    alias(&[("if-none-match", "*")]).await.refused(412, "precondition_failed");
    // what has no tag has no conditions
    call(
        &app,
        Method::POST,
        "/v1/snapshots",
        &[("if-match", "*")],
        Some(&snapshot("t")),
    )
    .await
    .refused(412, "precondition_failed");
}

#[tokio::test]
async fn of_changes_with_the_same_tag_exactly_one_is_made() {
    let app = app().await;
    app.post("/v1/snapshots", &snapshot("s")).await.created();
    let tag = header(&app.get("/v1/snapshots/s").await.ok(), "etag").to_string();
    let change = async |n: usize| {
        let body = json!({"description": format!("by {n}")});
        call(&app, Method::PATCH, "/v1/snapshots/s", &[("if-match", &tag)], Some(&body)).await
    };
    let answers = futures::future::join_all((0..8).map(change)).await;
    assert_eq!(answers.iter().filter(|a| a.status == 200).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|a| a.status == 412).count(), 7, "{answers:?}");
}

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
    assert!(
        preflight.headers()["access-control-allow-headers"]
            .to_str()
            .expect("text")
            .contains("idempotency-key")
    );
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
async fn pages_stay_whole_while_others_write() {
    let app = app().await;
    for n in 0..30 {
        app.post("/v1/snapshots", &snapshot(&format!("old_{n:02}"))).await.created();
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    for page in 0.. {
        let answer = app.get(&format!("/v1/snapshots?page_size=4{token}")).await.ok().json;
        seen.extend(
            answer["items"]
                .as_array()
                .expect("items")
                .iter()
                .map(|s| s["snapshot_name"].as_str().expect("text").to_string()),
        );
        let Some(next) = answer["next_page_token"].as_str() else {
            break;
        };
        token = format!("&page_token={next}");
        // one before, one behind the reader; what is dropped is no longer there
        app.post("/v1/snapshots", &snapshot(&format!("new_{page}"))).await.created();
        if page == 2 {
            app.delete("/v1/snapshots/old_00").await.expect(204);
        }
    }
    let old: Vec<&String> = seen.iter().filter(|n| n.starts_with("old_")).collect();
    assert_eq!(old.len(), old.iter().collect::<BTreeSet<_>>().len(), "none twice: {seen:?}");
    assert_eq!(old.len(), 29, "every one that stayed: {seen:?}");
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
