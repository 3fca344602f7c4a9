//! API keys.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::who::{ADMIN_KEY, Who, required, soon};
use crate::support::TestApp;

#[tokio::test]
async fn a_key_is_shown_once_and_only_its_hash_is_kept() {
    let app = TestApp::with_auth(required()).await;
    let admin = Who::admin(&app);
    let body = json!({"name": "ci", "grants": [{"role": "reader"}]});
    let made = admin.post("/v1/keys", &body).await.created();
    assert_eq!(made.headers["cache-control"], "no-store");
    let key = made.json["key"].as_str().expect("a key").to_string();
    assert!(key.starts_with("sf_") && key.len() == 46, "{key}");
    let id = made.json["key_id"].as_str().expect("an id").to_string();
    Who::with(&app, &key).get("/v1/collections").await.ok();

    for path in ["/v1/keys".to_string(), format!("/v1/keys/{id}"), "/v1/audit".into()] {
        let answer = admin.get(&path).await.ok();
        assert!(
            answer.text.contains("ci") && !answer.text.contains(&key[3..20]),
            "{path}: {}",
            answer.text
        );
    }
    let rows: Vec<String> = sqlx::query_scalar("select api_keys::text from api_keys")
        .fetch_all(&app.pool)
        .await
        .expect("rows");
    assert!(rows.len() == 1 && !rows[0].contains(&key[3..]), "{rows:?}");
    let listed = &admin.get("/v1/keys").await.ok().json["items"][0];
    assert_eq!(
        listed["grants"],
        json!([{"role": "reader", "db_name": "*", "collection_name": "*"}])
    );
    assert_eq!(listed["created_by"], "key admin-key");

    admin.post("/v1/keys", &body).await.refused(409, "key_already_exists");
    let wrong = admin
        .post(
            "/v1/keys",
            &json!({"name": "x", "grants": [{"role": "reader", "db_name": "a%"}]}),
        )
        .await;
    assert_eq!(wrong.refused(422, "invalid_request").pointers(), ["/grants/0/db_name"]);
    let wrong = admin.post("/v1/keys", &json!({"name": "x", "grants": []})).await;
    assert_eq!(wrong.refused(422, "invalid_request").pointers(), ["/grants"]);

    admin.delete(&format!("/v1/keys/{id}")).await.expect(204);
    Who::with(&app, &key)
        .get("/v1/collections")
        .await
        .refused(401, "unauthenticated");
    admin.delete(&format!("/v1/keys/{id}")).await.refused(404, "key_not_found");
    admin.get(&format!("/v1/keys/{id}")).await.refused(404, "key_not_found");
}

#[tokio::test]
async fn a_key_expires_by_the_clock_of_the_database() {
    let app = TestApp::with_auth(required()).await;
    let body = json!({"name": "brief", "grants": [{"role": "reader"}], "ttl_seconds": 60});
    let made = Who::admin(&app).post("/v1/keys", &body).await.created();
    assert!(made.json["expires_at"].is_string());
    app.set_clock(Duration::from_secs(61)).await;
    let brief = Who::with(&app, made.json["key"].as_str().expect("a key"));
    brief.get("/v1/collections").await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn the_last_use_is_written_once_a_minute_at_most() {
    let app = TestApp::with_auth(required()).await;
    let who = Who::new(&app, "busy", &[("reader", "*", "*")]).await;
    let last_use = async || -> Option<time::OffsetDateTime> {
        sqlx::query_scalar("select last_used_at from api_keys")
            .fetch_one(&app.pool)
            .await
            .expect("a row")
    };
    assert_eq!(last_use().await, None);
    who.get("/v1/collections").await.ok();
    let first = soon(async || last_use().await).await;
    let note = async || {
        let mut conn = app.pool.acquire().await.expect("a connection");
        let id: i64 = sqlx::query_scalar("select key_id from api_keys")
            .fetch_one(&mut *conn)
            .await
            .expect("an id");
        stillframe::store::keys::note_use(&mut conn, stillframe::domain::id::KeyId(id))
            .await
            .expect("noted");
    };
    note().await;
    assert_eq!(
        last_use().await,
        Some(first),
        "a second use in the same minute is not written"
    );
    app.set_clock(Duration::from_secs(61)).await;
    note().await;
    assert!(last_use().await > Some(first));
}

#[tokio::test]
async fn only_a_whole_good_credential_in_one_header_is_taken() {
    let app = TestApp::with_auth(required()).await;
    let who = Who::new(&app, "good", &[("reader", "*", "*")]).await;
    let key = who.credential.clone();
    let ask = async |values: &[String]| {
        let mut request = Request::get("/v1/collections");
        for value in values {
            request = request.header("authorization", value);
        }
        app.send(request.body(Body::empty()).expect("a request"))
            .await
            .status
            .as_u16()
    };
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    for good in [
        format!("Bearer {key}"),
        format!("bearer {key}"),
        basic(&format!("me:{key}")),
        format!("Bearer {ADMIN_KEY}"),
    ] {
        assert_eq!(ask(std::slice::from_ref(&good)).await, 200, "{good}");
    }
    let other_end = format!("{}{}", &key[..45], if key.ends_with('A') { "B" } else { "A" });
    for bad in [
        "Bearer".to_string(),
        key.clone(),
        format!("Bearer {}", &key[..45]),
        format!("Bearer {key}x"),
        format!("Bearer {other_end}"),
        format!("Bearer {}", key.to_uppercase()),
        format!("Bearer {}", &ADMIN_KEY[1..]),
        basic(&key),
        "Bearer sf_' or 1=1 --".into(),
        format!("Digest {key}"),
    ] {
        assert_eq!(ask(std::slice::from_ref(&bad)).await, 401, "{bad}");
    }
    assert_eq!(
        ask(&[format!("Bearer {key}"), format!("Bearer {key}")]).await,
        401,
        "two headers"
    );
    let hash: String = sqlx::query_scalar("select encode(key_sha256, 'hex') from api_keys")
        .fetch_one(&app.pool)
        .await
        .expect("a hash");
    assert_eq!(ask(&[format!("Bearer {hash}")]).await, 401, "who read the table has no key");
}
