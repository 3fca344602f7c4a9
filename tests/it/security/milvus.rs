//! Milvus' API over gRPC and REST v2, by the same rules.

use std::collections::BTreeSet;

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use stillframe::domain::access::{OPERATIONS, needed};
use stillframe::milvus::proto::common::Status;
use stillframe::milvus::proto::milvus as m;
use stillframe::milvus::{CALLS, UNSERVED};

use super::who::{ADMIN_KEY, Who, required};
use crate::milvus::wire::{Answer as _, send};
use crate::support::TestApp;

const NOT_AUTHENTICATED: i32 = 1400;
const NOT_PERMITTED: i32 = 1401;

/// The code that a call is answered with, wherever its answer has the status.
async fn code(app: &TestApp, call: &str, metadata: &[(&'static str, &str)]) -> i32 {
    let first = send::<_, m::RefusedResponse>(app.router(), call, m::GetVersionRequest {}, metadata).await;
    let without_status = |(name, _, shape): &(&str, _, _)| *name == call && format!("{shape:?}") == "Grpc";
    match first {
        Err(said) if UNSERVED.iter().any(without_status) => {
            assert_eq!(said.code(), tonic::Code::Unauthenticated, "{call}: {said:?}");
            NOT_AUTHENTICATED
        }
        Ok(answer) if answer.status.is_some() => answer.taken().code,
        _ => {
            let whole = send::<_, Status>(app.router(), call, m::GetVersionRequest {}, metadata).await;
            whole.unwrap_or_else(|s| panic!("{call}: {s:?}")).code
        }
    }
}

/// As pymilvus sends a token.
fn token(credential: &str) -> String {
    STANDARD.encode(credential)
}

#[test]
fn every_call_that_is_served_has_an_entry_in_the_table_and_every_entry_a_call() {
    let calls: BTreeSet<String> = CALLS.iter().map(|name| format!("milvus.{name}")).collect();
    let missing: Vec<&String> = calls.iter().filter(|id| needed(id).is_none()).collect();
    assert!(
        missing.is_empty(),
        "say in src/domain/access/operations.rs what these need: {missing:?}"
    );
    for (id, _) in OPERATIONS.iter().filter(|(id, _)| id.starts_with("milvus.")) {
        assert!(calls.contains(*id) || *id == "milvus.unserved", "there is no call {id}");
    }
}

#[tokio::test]
async fn no_call_is_answered_to_who_shows_nothing_or_what_is_no_key() {
    let app = TestApp::with_auth(required()).await;
    let calls = CALLS.iter().copied().chain(UNSERVED.iter().map(|(name, ..)| *name));
    for call in calls {
        assert_eq!(code(&app, call, &[]).await, NOT_AUTHENTICATED, "{call}");
    }
    for wrong in ["", "%", &token("sf_wrong"), &token("root:Milvus"), "Bearer x", ADMIN_KEY] {
        assert_eq!(
            code(&app, "ListDatabases", &[("authorization", wrong)]).await,
            NOT_AUTHENTICATED,
            "{wrong}"
        );
    }
    let basic = format!("Bearer {ADMIN_KEY}");
    for good in [token(ADMIN_KEY), token(&format!("root:{ADMIN_KEY}")), basic] {
        assert_eq!(code(&app, "ListDatabases", &[("authorization", &good)]).await, 0, "{good}");
    }
    assert_eq!(code(&app, "Search", &[("authorization", &token(ADMIN_KEY))]).await, 3000);
}

#[tokio::test]
async fn who_may_do_nothing_here_is_told_the_same_of_what_is_there_and_what_is_not() {
    let app = TestApp::with_auth(required()).await;
    let admin = Who::admin(&app);
    for name in ["a", "b"] {
        admin.post("/v1/databases", &json!({"name": name})).await.created();
    }
    let a = Who::new(&app, "a", &[("writer", "a", "*"), ("operator", "a", "*")]).await;
    let b = Who::new(&app, "b", &[("admin", "b", "*")]).await;
    let reader = Who::new(&app, "reader", &[("reader", "a", "*")]).await;
    a.collection_with_segment("a", "docs", 51).await;
    let snapshot = |name: &str, collection: &str| m::CreateSnapshotRequest {
        name: name.into(),
        db_name: "a".into(),
        collection_name: collection.into(),
        ..Default::default()
    };
    let create = async |who: &Who<'_>, collection: &str| -> Status {
        let with = token(&who.credential);
        app.milvus_with("CreateSnapshot", snapshot("s", collection), &[("authorization", &with)])
            .await
    };
    let (there, not) = (create(&b, "docs").await, create(&b, "none").await);
    assert_eq!((there.code, not.code), (NOT_PERMITTED, NOT_PERMITTED));
    assert_eq!(there.reason.replace("docs", "none"), not.reason);
    assert_eq!(create(&reader, "docs").await.code, NOT_PERMITTED);
    let made = create(&a, "docs").await;
    assert_eq!(made.code, 0, "{made:?}");

    let of_b = token(&b.credential);
    let as_b: &[(&'static str, &str)] = &[("authorization", &of_b)];
    let databases: m::ListDatabasesResponse = app.milvus_with("ListDatabases", m::ListDatabasesRequest {}, as_b).await;
    assert_eq!(databases.db_names, ["b"]);
    // a pin of somebody else's snapshot is not there, and stays
    let pin = json!({"owner": "x", "reason": "y"});
    let pin = a
        .post("/v1/snapshots/s/pins?db_name=a&collection_name=docs", &pin)
        .await
        .created()
        .json;
    let pin_id: i64 = pin["pin_id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let unpin = m::UnpinSnapshotDataRequest { pin_id };
    assert_eq!(app.milvus_with::<Status>("UnpinSnapshotData", unpin, as_b).await.code, 0);
    let pins = a.get("/v1/snapshots/s/pins?db_name=a&collection_name=docs").await.ok().json;
    assert_eq!(pins["items"].as_array().map(Vec::len), Some(1), "{pins}");
    let of_reader = token(&reader.credential);
    let answer: Status = app
        .milvus_with("UnpinSnapshotData", unpin, &[("authorization", &of_reader)])
        .await;
    assert_eq!(answer.code, NOT_PERMITTED);

    // what changes something, and what was refused, is in the log
    let events = admin.get("/v1/audit?operation=milvus.CreateSnapshot").await.ok().json;
    let outcomes: Vec<&str> = events["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|e| e["outcome"].as_str().expect("text"))
        .collect();
    assert_eq!(outcomes, ["ok", "denied", "denied", "denied"]);
    assert_eq!(events["items"][0]["collection_name"], "docs");
}

#[tokio::test]
async fn a_growing_segment_of_somebody_else_is_as_good_as_gone() {
    let app = TestApp::with_auth(required()).await;
    for name in ["a", "b"] {
        Who::admin(&app).post("/v1/databases", &json!({"name": name})).await.created();
    }
    let a = Who::new(&app, "a", &[("writer", "a", "*")]).await;
    let b = Who::new(&app, "b", &[("writer", "b", "*")]).await;
    a.collection_with_segment("a", "docs", 51).await;
    sqlx::query("update segments set state = 'growing' where segment_id = 51")
        .execute(&app.pool)
        .await
        .expect("changed");
    for (who, flushed) in [(&a, false), (&b, true)] {
        let request = m::GetFlushStateRequest {
            segment_i_ds: vec![51],
            ..Default::default()
        };
        let with = token(&who.credential);
        let state: m::GetFlushStateResponse = app.milvus_with("GetFlushState", request, &[("authorization", &with)]).await;
        assert_eq!((state.taken().code, state.flushed), (0, flushed));
    }
}

#[tokio::test]
async fn rest_v2_goes_by_the_same_rules() {
    let app = TestApp::with_auth(required()).await;
    Who::admin(&app).post("/v1/databases", &json!({"name": "a"})).await.created();
    let a = Who::new(&app, "a", &[("writer", "a", "*"), ("operator", "a", "*")]).await;
    let reader = Who::new(&app, "reader", &[("reader", "a", "*")]).await;
    let stranger = Who::new(&app, "stranger", &[("admin", "b", "*")]).await;
    a.collection_with_segment("a", "docs", 51).await;
    let body = json!({"dbName": "a", "collectionName": "docs", "snapshotName": "s"});
    let create = async |who: &Who<'_>| -> Value { who.post("/v2/vectordb/snapshots/create", &body).await.ok().json };
    for who in [&reader, &stranger] {
        assert_eq!(create(who).await["code"], NOT_PERMITTED);
    }
    assert_eq!(create(&a).await["code"], 0);
    let list = json!({"dbName": "a", "collectionName": "docs"});
    let seen = reader.post("/v2/vectordb/snapshots/list", &list).await.ok().json;
    assert_eq!(seen["code"], 0, "{seen}");
    let seen = stranger.post("/v2/vectordb/snapshots/list", &list).await.ok().json;
    assert_eq!(seen["code"], NOT_PERMITTED, "{seen}");
    let jobs = json!({});
    let seen = stranger.post("/v2/vectordb/jobs/snapshot/list", &jobs).await.ok().json;
    assert_eq!(seen["data"]["records"], json!([]), "{seen}");
    for (method, path) in [
        (Method::GET, "/v2/vectordb/snapshots/list"),
        (Method::POST, "/v2/vectordb/entities/search"),
    ] {
        let refused = Who::with(&app, "sf_wrong").call(method.clone(), path, Some(&jobs)).await;
        assert_eq!(refused.json["code"], NOT_AUTHENTICATED, "{path}");
        let known = stranger.call(method, path, Some(&jobs)).await;
        assert_eq!(known.json["code"], 3000, "{path}");
    }
}
