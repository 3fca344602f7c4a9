//! Lists follow every page, against a server that gives one entry at a time.

use axum::extract::RawQuery;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::process::{Ran, stillframe};

async fn page(RawQuery(query): RawQuery) -> Json<Value> {
    let query = query.unwrap_or_default();
    let token = query
        .split('&')
        .find_map(|p| p.strip_prefix("page_token="))
        .map_or(1, |t| t.parse().expect("a number"));
    let mut page = json!({"items": [{"number": token, "query": query}]});
    if token < 3 {
        page["next_page_token"] = json!((token + 1).to_string());
    }
    Json(page)
}

async fn listed(server: String, args: &'static [&'static str]) -> Value {
    let output = tokio::task::spawn_blocking(move || stillframe(args).env("STILLFRAME_SERVER", server).output());
    Ran::from(output.await.expect("ran").expect("runs")).json()["items"].clone()
}

#[tokio::test]
async fn lists_follow_every_page_up_to_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    // behind a path, as a reverse proxy may put it
    let server = format!("http://{}/base", listener.local_addr().expect("bound"));
    let router = Router::new().route("/base/v1/snapshots", get(page));
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });

    let all = listed(server.clone(), &["--json", "snapshot", "list", "a&b", "--db", "d"]).await;
    let numbers: Vec<_> = all.as_array().expect("a list").iter().map(|i| i["number"].as_u64()).collect();
    assert_eq!(numbers, [Some(1), Some(2), Some(3)]);
    assert_eq!(all[1]["query"], "db_name=d&collection_name=a%26b&page_size=1000&page_token=2");
    let two = listed(server, &["--json", "snapshot", "list", "--limit", "2"]).await;
    assert_eq!(two.as_array().map(Vec::len), Some(2));
    assert_eq!(
        two[1]["query"], "page_size=1&page_token=2",
        "no more is asked for than is wanted"
    );
    serving.abort();
}
