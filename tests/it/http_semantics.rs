//! What HTTP promises of calls: repetition, entity tags and conditions.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use crate::support::TestApp;
use crate::support::app::Answer;

const C: i64 = 100;

pub async fn app() -> TestApp {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app
}

/// A call with headers.
pub async fn call(app: &TestApp, method: Method, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
    app.send(request(method, path, headers, body)).await
}

pub fn request(method: Method, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Request<Body> {
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

pub fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers[name].to_str().expect("text")
}

pub fn snapshot(name: &str) -> Value {
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
async fn bodies_that_do_not_come_hold_up_no_change_under_a_condition() {
    let app = app().await;
    for name in ["s", "t", "u"] {
        app.post("/v1/snapshots", &snapshot(name)).await.created();
    }
    let headers = [("if-match", "*"), ("content-type", "application/json")];
    let mut slow = Vec::new();
    let (asked, mut was_asked) = tokio::sync::mpsc::channel(1);
    for name in ["s", "t"] {
        let asked = asked.clone();
        let piece = async move {
            asked.send(()).await.expect("somebody hears it");
            std::future::pending::<Result<axum::body::Bytes, std::io::Error>>().await
        };
        let mut change = request(Method::PATCH, &format!("/v1/snapshots/{name}"), &headers, None);
        *change.body_mut() = Body::from_stream(futures::stream::once(piece));
        slow.push(tokio::spawn(tower::ServiceExt::oneshot(app.router(), change)));
        was_asked.recv().await.expect("its body is waited for");
    }
    let body = json!({"description": "changed"});
    let change = call(&app, Method::PATCH, "/v1/snapshots/u", &[("if-match", "*")], Some(&body));
    let changed = tokio::time::timeout(Duration::from_secs(20), change).await;
    changed.expect("it waits for nobody").ok();
    slow.iter().for_each(tokio::task::JoinHandle::abort);
}

/// What the document says of lists: collections are listed by name.
#[tokio::test]
async fn a_collection_that_is_renamed_between_pages_moves_and_no_other_is_missed_or_seen_twice() {
    let app = TestApp::local().await;
    for (n, name) in ["b", "d", "f", "h"].into_iter().enumerate() {
        app.small_collection(name, 100 * (n as i64 + 1)).await;
    }
    let page = async |token: &str| {
        let list = app.get(&format!("/v1/collections?page_size=2{token}")).await.ok().json;
        let names: Vec<String> = list["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|c| c["name"].as_str().expect("a name").to_string())
            .collect();
        (names, list["next_page_token"].as_str().map(|t| format!("&page_token={t}")))
    };
    let (first, token) = page("").await;
    assert_eq!(first, ["b", "d"]);
    // one is moved behind the page and seen twice, one before it and never seen
    app.patch("/v1/collections/b", &json!({"name": "g"})).await.ok();
    app.patch("/v1/collections/h", &json!({"name": "a"})).await.ok();
    let (second, rest) = page(&token.expect("a token")).await;
    assert_eq!((second, rest), (vec!["f".to_string(), "g".to_string()], None));
    let description = stillframe::app::document_text(false);
    assert!(
        description.contains("one that is renamed meanwhile may be seen twice or not at all"),
        "the document says so"
    );
}
