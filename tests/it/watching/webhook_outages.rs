//! The real binary dies between a state change and its delivery.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::webhook_receiver::Receiver;
use crate::cli::process::directory;
use crate::cli::service::Service;

async fn post(url: &str, path: &str, body: &Value) -> Value {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let answer = client
        .post(format!("{url}{path}"))
        .json(body)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status().as_u16(), 201, "{path}");
    answer.json().await.expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_between_a_state_change_and_its_delivery_loses_nothing() {
    let data = directory();
    let args = [
        "--no-fsync",
        "--workers",
        "0",
        "--gc-interval-seconds",
        "0",
        "--webhook-private-addresses",
    ];
    // nobody listens there yet, so that the delivery is still to be made when the process dies
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let service = Service::start(data.path(), &args);
    let hook = json!({"url": format!("http://{address}/hook"), "events": ["snapshot.created"]});
    let hook = post(&service.url, "/v1/webhooks", &hook).await;
    post(
        &service.url,
        "/v1/collections",
        &json!({"name": "c", "fields": [{"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true},
                {"field_id": "101", "name": "vec", "data_type": "FloatVector", "type_params": {"dim": "8"}}],
                "channels": [{"channel_name": "shard0", "seek_position": {"timestamp": "470644641416347649"}}]}),
    )
    .await;
    let snapshot = post(
        &service.url,
        "/v1/snapshots",
        &json!({"collection_name": "c", "snapshot_name": "s"}),
    )
    .await;
    service.process.signal(Signal::SIGKILL);
    service.process.ended_by(Signal::SIGKILL);
    let listener = tokio::net::TcpListener::bind(address).await.expect("still free");
    let receiver = Receiver::on(listener);
    let service = Service::start(data.path(), &args);
    // the failed try before the kill, if there was one, makes it wait for some seconds
    let received = tokio::time::timeout(Duration::from_secs(100), receiver.wait_for(1))
        .await
        .expect("in time");
    assert_eq!(received[0].json()["data"]["snapshot_id"], snapshot["snapshot_id"]);
    // the key under the data directory is the same one
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let path = format!("{}/v1/webhooks/{}", service.url, hook["webhook_id"].as_str().expect("an id"));
    let described: Value = client.get(path).send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(described["can_sign"], true);
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(data.path().join("webhook.key"))
        .expect("is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}
