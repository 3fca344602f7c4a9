//! Answers that are given again, as long as nothing in the database changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::Method;
use serde_json::{Value, json};

use crate::http_semantics::{app, call, header, snapshot};
use crate::security::who::{Who, required};
use crate::support::TestApp;
use crate::support::app::Answer;

const LIST: &str = "/v1/snapshots?page_size=1000";

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("items");
    items.iter().map(|s| s["snapshot_name"].as_str().expect("a name")).collect()
}

fn is_kept(answer: &Answer) -> bool {
    answer
        .headers
        .get("cache-status")
        .is_some_and(|status| status == "stillframe; hit")
}

/// Asks until the answer is one that was given before; other tests write to the same server all the time.
async fn warm(app: &TestApp, path: &str) -> Answer {
    for _ in 0..10_000 {
        let answer = app.get(path).await.ok();
        if is_kept(&answer) {
            return answer;
        }
    }
    panic!("{path} is never kept")
}

#[tokio::test]
async fn what_was_committed_before_a_request_is_in_its_answer_also_when_answers_are_kept() {
    let app = app().await;
    app.post("/v1/snapshots", &snapshot("s")).await.created();
    for path in ["/v1/snapshots/s", LIST, "/v1/collections/c", "/v1/collections"] {
        warm(&app, path).await;
    }
    app.patch("/v1/snapshots/s", &json!({"description": "changed"})).await.ok();
    assert_eq!(app.get("/v1/snapshots/s").await.ok().json["description"], "changed");
    assert_eq!(app.get(LIST).await.ok().json["items"][0]["description"], "changed");
    app.post("/v1/snapshots/s/pins", &json!({"owner": "o", "ttl_seconds": 60}))
        .await
        .created();
    assert_eq!(app.get("/v1/snapshots/s").await.ok().json["pin_count"], 1);
    app.set_clock(std::time::Duration::from_secs(61)).await;
    assert_eq!(app.get("/v1/snapshots/s").await.ok().json["pin_count"], 0, "it has expired");
    warm(&app, "/v1/snapshots/s").await;
    app.delete("/v1/snapshots/s").await.expect(204);
    app.get("/v1/snapshots/s").await.refused(404, "snapshot_not_found");
    assert!(names(&app.get(LIST).await.ok().json).is_empty());
    warm(&app, "/v1/collections/c").await;
    app.delete("/v1/collections/c").await.expect(204);
    app.get("/v1/collections/c").await.refused(404, "collection_not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_beside_a_writer_never_miss_what_it_was_told_is_there() {
    let app = Arc::new(app().await);
    let made = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(tokio_util::sync::CancellationToken::new());
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (app, made, ended) = (app.clone(), made.clone(), ended.clone());
            tokio::spawn(async move {
                let mut reads = 0;
                while !ended.is_cancelled() {
                    let before = made.load(Ordering::SeqCst);
                    let seen = names(&app.get(LIST).await.ok().json).len();
                    let after = made.load(Ordering::SeqCst);
                    // the writer notes what it made after it was told so
                    assert!(seen >= before && seen <= after + 1, "{before} <= {seen} <= {after} + 1");
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    for n in 0..40 {
        app.post("/v1/snapshots", &snapshot(&format!("s{n}"))).await.created();
        made.store(n + 1, Ordering::SeqCst);
        // so that some answers are given again between two changes
        for _ in 0..5 {
            app.get(LIST).await.ok();
        }
    }
    ended.cancel();
    for reader in readers {
        assert!(reader.await.expect("no reader was wrong") > 0);
    }
}

#[tokio::test]
async fn a_kept_answer_has_the_same_tag_and_form_as_the_first() {
    let app = app().await;
    app.post("/v1/snapshots", &snapshot("s")).await.created();
    let first = app.get("/v1/snapshots/s").await.ok();
    let tag = header(&first, "etag").to_string();
    assert!(!is_kept(&first));
    for _ in 0..4 {
        let again = warm(&app, "/v1/snapshots/s").await;
        assert_eq!(again.text, first.text);
        assert_eq!(header(&again, "etag"), tag);
        assert_eq!(header(&again, "content-type"), header(&first, "content-type"));
        assert_ne!(header(&again, "x-request-id"), header(&first, "x-request-id"));
        let head = app.call(Method::HEAD, "/v1/snapshots/s", None).await.expect(200);
        assert_eq!((header(&head, "etag"), head.text.as_str()), (tag.as_str(), ""));
        let condition = [("if-none-match", tag.as_str())];
        call(&app, Method::GET, "/v1/snapshots/s", &condition, None).await.expect(304);
    }
    // what was refused is asked anew
    for _ in 0..3 {
        app.get("/v1/snapshots/t").await.refused(404, "snapshot_not_found");
    }
}

#[tokio::test]
async fn a_kept_answer_is_for_those_who_were_given_it_and_as_long_as_they_may_see_it() {
    let app = TestApp::with_auth(required()).await;
    let admin = Who::admin(&app);
    for db in ["a", "b"] {
        admin.post("/v1/databases", &json!({"name": db})).await.created();
        admin
            .collection_with_segment(db, "docs", if db == "a" { 51 } else { 61 })
            .await;
        let body = json!({"db_name": db, "collection_name": "docs", "snapshot_name": "s"});
        admin.post("/v1/snapshots", &body).await.created();
    }
    let a = Who::new(&app, "a", &[("reader", "a", "*")]).await;
    let b = Who::new(&app, "b", &[("reader", "b", "*")]).await;
    let path = "/v1/snapshots/s?db_name=a";
    let mut kept = 0;
    for _ in 0..10_000 {
        if kept > 3 {
            break;
        }
        // the refusal below is recorded, which is a change
        for _ in 0..4 {
            kept += usize::from(is_kept(&a.get(path).await.ok()));
        }
        b.get(path).await.refused(403, "permission_denied");
        let mut seen = Vec::new();
        for who in [&admin, &a, &b] {
            let list = who.get("/v1/databases").await.ok().json;
            let items = list["items"].as_array().expect("items").clone();
            seen.push(
                items
                    .iter()
                    .map(|d| d["name"].as_str().expect("a name").to_string())
                    .collect::<Vec<_>>(),
            );
        }
        assert_eq!(seen, [vec!["a", "b", "default"], vec!["a"], vec!["b"]]);
    }
    assert!(kept > 3, "never kept");
    app.get(path).await.refused(401, "unauthenticated");
    let keys = admin.get("/v1/keys").await.ok().json;
    let key = keys["items"]
        .as_array()
        .expect("keys")
        .iter()
        .find(|k| k["name"] == "a")
        .expect("the key");
    let key = key["key_id"].as_str().expect("an id");
    admin.delete(&format!("/v1/keys/{key}")).await.expect(204);
    a.get(path).await.refused(401, "unauthenticated");
}
