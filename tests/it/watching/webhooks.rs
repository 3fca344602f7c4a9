//! Webhooks: which changes are told, how they are signed, retried, replayed; and where they may
//! not lead.

use std::time::Duration;

use serde_json::{Value, json};
use stillframe::domain::webhook::WebhookKey;
use stillframe::jobs::Deliverer;
use stillframe::service::{Service, ServiceSettings};

use super::script;
use super::webhook_receiver::{Received, Receiver};
use crate::support::{TestApp, app, jobs};

const KEY: &str = "a key of webhooks that is long enough to be one";

pub fn settings() -> ServiceSettings {
    ServiceSettings {
        webhook_key: Some(WebhookKey::parse(KEY).expect("long enough")),
        webhook_private_addresses: true,
        ..app::quick()
    }
}

async fn start() -> (TestApp, Receiver) {
    (TestApp::with_settings(settings()).await, Receiver::start().await)
}

pub async fn webhook(app: &TestApp, url: &str, events: &[&str]) -> Value {
    let body = json!({"url": url, "events": events});
    app.post("/v1/webhooks", &body).await.created().json
}

fn deliverer(app: &TestApp) -> Deliverer {
    Deliverer::new(app.service.clone()).expect("a client")
}

pub async fn deliver(app: &TestApp) -> usize {
    deliverer(app).deliver_due().await.expect("claimed")
}

async fn deliveries(app: &TestApp, webhook: &Value) -> Vec<Value> {
    let id = webhook["webhook_id"].as_str().expect("an id");
    let list = app.get(&format!("/v1/webhooks/{id}/deliveries")).await.ok().json;
    list["items"].as_array().expect("items").clone()
}

fn is_signed_with(received: &Received, secret: &str) -> bool {
    let input = json!({
        "secret": secret, "body": received.body, "id": received.header("webhook-id"),
        "timestamp": received.header("webhook-timestamp"), "signature": received.header("webhook-signature")
    });
    script("verify_signature.py", &input.to_string()).trim() == "True"
}

const ALL: &[&str] = &[
    "snapshot.created",
    "snapshot.dropped",
    "snapshot.undeleted",
    "snapshot.verify_failed",
    "restore_job.ended",
    "export_job.ended",
];

#[tokio::test]
async fn every_state_change_is_told_in_the_words_of_the_api() {
    let (app, receiver) = start().await;
    webhook(&app, &receiver.url, ALL).await;
    jobs::snapshot(&app, 2).await;
    let job = jobs::start(&app, json!({"collection_name": "t"})).await;
    app.drain().await;
    let cancelled = jobs::start(&app, json!({"collection_name": "u"})).await;
    jobs::act(&app, &cancelled, "cancel").await;
    app.delete("/v1/snapshots/s").await.expect(204);
    app.post("/v1/snapshots/s/undelete", &json!({})).await.ok();
    let key = app.keys("snapshots/").await.into_iter().find(|k| k.ends_with(".avro"));
    app.objects.delete(vec![key.expect("a manifest")]).await;
    app.post("/v1/snapshots/s/verify", &json!({"level": "exists"})).await.ok();
    while deliver(&app).await > 0 {}
    let told: Vec<Value> = receiver.received().iter().map(Received::json).collect();
    let of = |event: &str| -> Vec<&Value> { told.iter().filter(|t| t["type"] == event).map(|t| &t["data"]).collect() };
    for event in ["snapshot.created", "snapshot.dropped", "snapshot.undeleted"] {
        let data = of(event);
        assert_eq!(data.len(), 1, "{event}: {told:?}");
        assert_eq!(data[0]["snapshot_name"], "s");
        assert_eq!(data[0]["collection_name"], "c");
        assert_eq!(data[0]["collection_id"], "100");
        assert_eq!(data[0]["db_name"], "default");
    }
    let snapshot = app.get("/v1/snapshots/s").await.ok().json;
    assert_eq!(of("snapshot.created")[0]["snapshot_id"], snapshot["snapshot_id"]);
    assert_eq!(
        of("snapshot.created")[0]["size_bytes"],
        snapshot["size_bytes"],
        "of the committed one"
    );
    assert_eq!(of("snapshot.verify_failed")[0]["level"], "exists");
    assert_eq!(of("snapshot.verify_failed")[0]["problems"], 1);
    let ended = of("restore_job.ended");
    assert_eq!(ended.len(), 2);
    let state = |id: &str| ended.iter().find(|e| e["job_id"] == id).expect("told")["state"].clone();
    assert_eq!((state(&job), state(&cancelled)), (json!("Completed"), json!("Cancelled")));
    assert!(told.iter().all(|t| t["timestamp"].as_str().is_some_and(|t| t.ends_with('Z'))));
}

#[tokio::test]
async fn the_end_of_an_export_is_told_as_such_and_that_of_a_restored_bundle_as_a_restore() {
    let (app, receiver) = start().await;
    let of_restores = webhook(&app, &receiver.url, &["restore_job.ended"]).await;
    let of_exports = webhook(&app, &receiver.url, &["export_job.ended"]).await;
    jobs::snapshot(&app, 1).await;
    let exported = app
        .post("/v1/snapshots/s/export", &json!({"target_path": "bundles"}))
        .await
        .expect(202)
        .json;
    let id = exported["job_id"].as_str().expect("an id");
    app.drain().await;
    let export = app.get(&format!("/v1/export-jobs/{id}")).await.ok().json;
    let restore = json!({"snapshot_metadata_uri": export["snapshot_metadata_uri"], "collection_name": "back"});
    let restored = app.post("/v1/restores/external", &restore).await.expect(202).json;
    app.drain().await;
    for (hook, event, job) in [
        (&of_exports, "export_job.ended", &exported),
        (&of_restores, "restore_job.ended", &restored),
    ] {
        let listed = deliveries(&app, hook).await;
        assert_eq!((listed.len(), &listed[0]["event"]), (1, &json!(event)), "{listed:?}");
        let told: Value = sqlx::query_scalar("select body::jsonb from webhook_deliveries where event = $1")
            .bind(event)
            .fetch_one(&app.pool)
            .await
            .expect("one");
        assert_eq!((&told["type"], &told["data"]["job_id"]), (&json!(event), &job["job_id"]));
        assert_eq!(told["data"]["state"], "Completed", "{told}");
    }
}

#[tokio::test]
async fn only_what_a_webhook_asked_for_is_written_and_nothing_without_webhooks() {
    let (app, receiver) = start().await;
    jobs::snapshot(&app, 1).await;
    let hook = webhook(&app, &receiver.url, &["snapshot.dropped"]).await;
    app.delete("/v1/snapshots/s").await.expect(204);
    let listed = deliveries(&app, &hook).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["event"], "snapshot.dropped");
    assert_eq!(listed[0]["state"], "pending");
}

#[tokio::test]
async fn a_receiver_can_verify_the_signature_with_its_secret_and_only_with_that() {
    let (app, receiver) = start().await;
    let hook = webhook(&app, &receiver.url, ALL).await;
    let other = webhook(&app, &receiver.url, &["restore_job.ended"]).await;
    jobs::snapshot(&app, 1).await;
    assert_eq!(deliver(&app).await, 1);
    let received = receiver.received().pop().expect("posted");
    assert!(is_signed_with(&received, hook["secret"].as_str().expect("shown")));
    assert!(!is_signed_with(&received, other["secret"].as_str().expect("shown")));
    let mut changed = received.clone();
    changed.body = changed.body.replace("\"s\"", "\"x\"");
    assert_ne!(changed.body, received.body);
    assert!(!is_signed_with(&changed, hook["secret"].as_str().expect("shown")));
    assert_eq!(received.header("content-type"), "application/json");
    let timestamp: i64 = received.header("webhook-timestamp").parse().expect("seconds");
    let now = stillframe::store::catalog::now_millis(&mut app.pool.acquire().await.expect("a connection"))
        .await
        .expect("now");
    assert!((now / 1000 - timestamp).abs() < 60);
}

#[tokio::test]
async fn the_secret_is_shown_once_and_stands_in_no_row() {
    let (app, receiver) = start().await;
    let hook = webhook(&app, &receiver.url, ALL).await;
    let secret = hook["secret"]
        .as_str()
        .expect("shown")
        .trim_start_matches("whsec_")
        .to_string();
    assert_eq!(secret.len(), 44, "32 bytes in base64");
    jobs::snapshot(&app, 1).await;
    deliver(&app).await;
    let id = hook["webhook_id"].as_str().expect("an id");
    for path in [
        "/v1/webhooks".to_string(),
        format!("/v1/webhooks/{id}"),
        format!("/v1/webhooks/{id}/deliveries"),
    ] {
        let text = app.get(&path).await.ok().text;
        assert!(!text.contains(&secret) && !text.contains("whsec_"), "{path}: {text}");
    }
    let rows: Vec<String> =
        sqlx::query_scalar("select w::text from webhooks w union all select d::text from webhook_deliveries d")
            .fetch_all(&app.pool)
            .await
            .expect("read");
    assert_eq!(rows.len(), 2);
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(&secret).expect("base64");
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    for row in rows {
        assert!(!row.contains(&secret) && !row.contains(&hex) && !row.contains(KEY), "{row}");
    }
    assert!(!format!("{:?}", app.service).contains(KEY));
}

#[tokio::test]
async fn a_failing_receiver_is_tried_again_with_growing_pauses_under_the_same_id() {
    let (app, receiver) = start().await;
    let hook = webhook(&app, &receiver.url, &["snapshot.created"]).await;
    receiver.answer(&[500, 503, 302]);
    jobs::snapshot(&app, 1).await;
    let mut clock = Duration::ZERO;
    for (pause, status) in [(0, 500), (5, 503), (10, 302), (20, 204)] {
        if pause > 0 {
            assert_eq!(deliver(&app).await, 0, "not yet");
            // the pause is a fifth shorter at most
            clock += Duration::from_secs(pause);
            app.set_clock(clock).await;
        }
        assert_eq!(deliver(&app).await, 1, "after {pause} s");
        let listed = &deliveries(&app, &hook).await[0];
        assert_eq!(listed["last_status"], status);
        let state = if status == 204 { "delivered" } else { "pending" };
        assert_eq!(listed["state"], state, "{listed}");
    }
    let received = receiver.received();
    assert_eq!(received.len(), 4);
    assert!(
        received
            .iter()
            .all(|r| r.header("webhook-id") == received[0].header("webhook-id"))
    );
    assert!(received.iter().all(|r| r.body == received[0].body));
    assert_eq!(deliver(&app).await, 0, "it is over");
}

#[tokio::test]
async fn a_receiver_that_is_down_is_reached_when_it_is_up_again() {
    let (app, _) = start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let hook = webhook(&app, &format!("http://{address}/hook"), &["snapshot.created"]).await;
    jobs::snapshot(&app, 1).await;
    assert_eq!(deliver(&app).await, 1);
    let listed = &deliveries(&app, &hook).await[0];
    assert_eq!(listed["state"], "pending");
    let error = listed["last_error"].as_str().expect("a reason");
    assert!(error.contains("refused") && !error.contains("/hook"), "{error}");
    let listener = tokio::net::TcpListener::bind(address).await.expect("still free");
    let receiver = Receiver::on(listener);
    app.set_clock(Duration::from_secs(10)).await;
    assert_eq!(deliver(&app).await, 1);
    assert_eq!(receiver.received().len(), 1);
    assert_eq!(deliveries(&app, &hook).await[0]["state"], "delivered");
}

#[tokio::test]
async fn after_three_days_it_is_given_up_and_a_replay_makes_it_all_the_same() {
    let (app, receiver) = start().await;
    let hook = webhook(&app, &receiver.url, &["snapshot.created"]).await;
    receiver.answer(&[500, 500]);
    jobs::snapshot(&app, 1).await;
    deliver(&app).await;
    app.set_clock(Duration::from_secs(3 * 24 * 3600 - 1)).await;
    assert_eq!(deliver(&app).await, 1);
    let given_up = deliveries(&app, &hook).await.remove(0);
    assert_eq!(given_up["state"], "gave_up", "{given_up}");
    app.set_clock(Duration::from_secs(10 * 24 * 3600)).await;
    assert_eq!(deliver(&app).await, 0);
    let (hook_id, id) = (
        hook["webhook_id"].as_str().expect("an id"),
        given_up["delivery_id"].as_str().expect("an id"),
    );
    let replayed = app
        .post(&format!("/v1/webhooks/{hook_id}/deliveries/{id}/replay"), &json!({}))
        .await
        .expect(202)
        .json;
    assert_eq!(
        (replayed["state"].as_str(), replayed["delivery_id"].as_str()),
        (Some("pending"), Some(id))
    );
    assert_eq!(deliver(&app).await, 1);
    assert_eq!(receiver.received().last().expect("posted").header("webhook-id"), id);
    // a delivered one can be replayed too
    app.post(&format!("/v1/webhooks/{hook_id}/deliveries/{id}/replay"), &json!({}))
        .await
        .expect(202);
    assert_eq!(deliver(&app).await, 1);
    assert_eq!(receiver.received().len(), 4);
    // and its history goes with that of jobs
    app.set_clock(Duration::from_secs(50 * 24 * 3600)).await;
    app.post("/v1/gc/runs", &json!({})).await.created();
    assert_eq!(deliveries(&app, &hook).await, Vec::<Value>::new());
    app.post(&format!("/v1/webhooks/{hook_id}/deliveries/{id}/replay"), &json!({}))
        .await
        .refused(404, "webhook_delivery_not_found");
}

#[tokio::test]
async fn a_receiver_that_is_gone_for_good_can_say_so() {
    let (app, receiver) = start().await;
    let hook = webhook(&app, &receiver.url, &["snapshot.created"]).await;
    receiver.answer(&[410]);
    jobs::snapshot(&app, 1).await;
    deliver(&app).await;
    assert_eq!(deliveries(&app, &hook).await[0]["state"], "gave_up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_deliver_each_event_once() {
    let (app, receiver) = start().await;
    let hook = webhook(&app, &receiver.url, &["snapshot.created", "snapshot.dropped"]).await;
    app.small_collection("c", jobs::C).await;
    app.add_segment("c", jobs::C, 500).await;
    for n in 0..20 {
        app.post(
            "/v1/snapshots",
            &json!({"collection_name": "c", "snapshot_name": format!("s{n}")}),
        )
        .await
        .created();
    }
    let replica = Service::new(app.pool.clone(), app.objects.clone(), settings());
    let other = Deliverer::new(replica).expect("a client");
    let all = |one: Deliverer| async move {
        let mut idle = 0;
        // what the other one has claimed is not due: a few empty looks mean the end
        while idle < 5 {
            match one.deliver_due().await.expect("claimed") {
                0 => idle += 1,
                _ => idle = 0,
            }
        }
    };
    tokio::join!(all(deliverer(&app)), all(other));
    let mut ids: Vec<String> = receiver
        .received()
        .iter()
        .map(|r| r.header("webhook-id").to_string())
        .collect();
    assert_eq!(ids.len(), 20);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20, "one was delivered twice");
    assert!(
        deliveries(&app, &hook)
            .await
            .iter()
            .all(|d| d["state"] == "delivered" && d["attempts"] == 1)
    );
}

#[tokio::test]
async fn a_change_that_is_rolled_back_is_told_to_nobody() {
    let (app, receiver) = start().await;
    let hook = webhook(&app, &receiver.url, ALL).await;
    jobs::snapshot(&app, 1).await;
    let before = deliveries(&app, &hook).await.len();
    let mut tx = app.pool.begin().await.expect("begins");
    sqlx::query("update snapshots set state = 'deleting', dropped_at = stillframe_now()")
        .execute(&mut *tx)
        .await
        .expect("updated");
    tx.rollback().await.expect("rolled back");
    assert_eq!(deliveries(&app, &hook).await.len(), before);
}

#[tokio::test]
async fn a_webhook_that_is_deleted_meanwhile_hinders_no_change() {
    let (app, receiver) = start().await;
    let hook = webhook(&app, &receiver.url, ALL).await;
    app.small_collection("c", jobs::C).await;
    app.add_segment("c", jobs::C, 500).await;
    let mut tx = app.pool.begin().await.expect("begins");
    sqlx::query("delete from webhooks").execute(&mut *tx).await.expect("deleted");
    let creating = async {
        let body = json!({"collection_name": "c", "snapshot_name": "s"});
        app.post("/v1/snapshots", &body).await.created();
    };
    let deleting = async {
        // until the commit of the snapshot waits for the deletion
        let waits = "select count(*) from pg_locks where not granted and database = (select oid from pg_database where datname = current_database())
                     or not granted and locktype = 'transactionid'";
        loop {
            let waiting: i64 = sqlx::query_scalar(waits).fetch_one(&app.pool).await.expect("asked");
            if waiting > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tx.commit().await.expect("committed");
    };
    tokio::join!(creating, deleting);
    let id = hook["webhook_id"].as_str().expect("an id");
    app.get(&format!("/v1/webhooks/{id}")).await.refused(404, "webhook_not_found");
}

#[tokio::test]
async fn webhooks_are_listed_in_pages_described_and_deleted() {
    let (app, receiver) = start().await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(webhook(&app, &receiver.url, &["snapshot.created"]).await["webhook_id"].clone());
    }
    let first = app.get("/v1/webhooks?page_size=2").await.ok().json;
    let token = first["next_page_token"].as_str().expect("more");
    let second = app
        .get(&format!("/v1/webhooks?page_size=2&page_token={token}"))
        .await
        .ok()
        .json;
    let ids = |page: &Value| {
        page["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|w| w["webhook_id"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!([ids(&first), ids(&second)].concat(), made);
    jobs::snapshot(&app, 1).await;
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s2"}))
        .await
        .created();
    let path = format!("/v1/webhooks/{}", made[0].as_str().expect("an id"));
    let page = app
        .get(&format!("{path}/deliveries?page_size=1&state=pending"))
        .await
        .ok()
        .json;
    let token = page["next_page_token"].as_str().expect("more");
    let next = app
        .get(&format!("{path}/deliveries?page_size=1&state=pending&page_token={token}"))
        .await
        .ok()
        .json;
    assert_ne!(page["items"][0]["delivery_id"], next["items"][0]["delivery_id"]);
    assert!(
        page["items"][0]["body"].as_str().expect("a body").contains("\"s2\""),
        "newest first"
    );
    assert!(next["next_page_token"].is_null());
    assert_eq!(
        app.get(&format!("{path}/deliveries?state=gave_up")).await.ok().json["items"],
        json!([])
    );
    app.get(&path).await.ok();
    app.delete(&path).await.expect(204);
    app.delete(&path).await.refused(404, "webhook_not_found");
    app.get(&format!("{path}/deliveries")).await.refused(404, "webhook_not_found");
}

#[tokio::test]
async fn urls_that_lead_inside_or_carry_secrets_are_refused() {
    let settings = ServiceSettings {
        webhook_private_addresses: false,
        ..settings()
    };
    let app = TestApp::with_settings(settings).await;
    for url in [
        "ftp://example.com/",
        "file:///etc/passwd",
        "example.com",
        "http://",
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1:8080/",
        "http://user:password@example.com/",
    ] {
        let refused = app
            .post("/v1/webhooks", &json!({"url": url, "events": ["snapshot.created"]}))
            .await;
        let refused = refused.refused(422, "invalid_request");
        assert_eq!(refused.pointers(), ["/url"], "{url}");
    }
    let good = "https://example.com/hook";
    for (events, pointer) in [
        (json!([]), "/events"),
        (json!(["snapshot.created", "snapshot.created"]), "/events/1"),
        (json!(["snapshot.exploded"]), "/events/0"),
    ] {
        let refused = app.post("/v1/webhooks", &json!({"url": good, "events": events})).await;
        assert_eq!(refused.refused(422, "invalid_request").pointers(), [pointer]);
    }
    // a name that leads inside is found out when it is resolved
    let hook = webhook(&app, "http://localhost:9/hook", &["snapshot.created"]).await;
    jobs::snapshot(&app, 1).await;
    assert_eq!(deliver(&app).await, 1);
    let listed = &deliveries(&app, &hook).await[0];
    assert!(
        listed["last_error"]
            .as_str()
            .is_some_and(|e| e.contains("private or link-local")),
        "{listed}"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (app, receiver) = start().await;
    webhook(&app, &receiver.url, &["snapshot.created"]).await;
    receiver.answer(&[307]);
    jobs::snapshot(&app, 1).await;
    deliver(&app).await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn without_a_key_or_with_another_one_nothing_is_signed_and_the_api_says_so() {
    let (app, receiver) = start().await;
    let hook = webhook(&app, &receiver.url, &["snapshot.created"]).await;
    jobs::snapshot(&app, 1).await;
    let other = ServiceSettings {
        webhook_key: Some(WebhookKey::parse(&KEY.replace("long", "LONG")).expect("long enough")),
        ..settings()
    };
    let replica = Service::new(app.pool.clone(), app.objects.clone(), other);
    let described = replica
        .webhook(hook["webhook_id"].as_str().expect("an id").parse().expect("an id"))
        .await
        .expect("found");
    assert!(!replica.can_sign(&described));
    let tried = Deliverer::new(replica)
        .expect("a client")
        .deliver_due()
        .await
        .expect("looked");
    assert_eq!(tried, 0);
    assert_eq!(app.get("/v1/webhooks").await.ok().json["items"][0]["can_sign"], true);
    // nobody with the key for three days: the outbox does not grow for ever
    app.set_clock(Duration::from_secs(4 * 24 * 3600)).await;
    app.post("/v1/gc/runs", &json!({})).await.created();
    assert_eq!(deliveries(&app, &hook).await[0]["state"], "gave_up");
    let keyless = TestApp::local().await;
    keyless
        .post(
            "/v1/webhooks",
            &json!({"url": "https://example.com/", "events": ["snapshot.created"]}),
        )
        .await
        .refused(409, "webhooks_disabled");
}
