//! Live events of restore jobs.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use axum::response::Response;
use futures::StreamExt as _;
use serde_json::{Value, json};
use stillframe::api::{self, ApiState, RequestLimits};
use stillframe::jobs::run_job_watch;
use stillframe::service::Service;
use stillframe::telemetry;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::support::TestApp;
use crate::support::app::quick;

const PATIENCE: Duration = Duration::from_secs(60);

async fn started(app: &TestApp) -> String {
    app.small_collection("c", 100).await;
    for segment in 500..503 {
        app.add_segment("c", 100, segment).await;
    }
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
    let job = app
        .post("/v1/snapshots/s/restore", &json!({"collection_name": "r"}))
        .await
        .expect(202)
        .json;
    job["job_id"].as_str().expect("id").to_string()
}

/// Another process on the same database and storage, with a short time limit for requests.
fn replica(app: &TestApp) -> (Service, Router) {
    let service = Service::new(app.pool.clone(), app.objects.clone(), quick());
    let state = ApiState {
        service: service.clone(),
        metrics: telemetry::start_metrics().expect("metrics"),
    };
    let limits = RequestLimits {
        timeout: Duration::from_secs(2),
        body_bytes: 1024,
        ..RequestLimits::default()
    };
    (service, api::router(state, limits))
}

async fn ask(router: &Router, id: &str, seen: Option<&str>) -> Response {
    ask_of(router, "restore-jobs", id, seen).await
}

async fn ask_of(router: &Router, family: &str, id: &str, seen: Option<&str>) -> Response {
    let mut request = Request::get(format!("/v1/{family}/{id}/events"));
    if let Some(seen) = seen {
        request = request.header("last-event-id", seen);
    }
    let request = request.body(Body::empty()).expect("a request");
    router.clone().oneshot(request).await.expect("never fails")
}

#[derive(Debug)]
struct Heard {
    id: String,
    kind: String,
    job: Value,
}

/// An open stream of events.
struct Events {
    body: BodyDataStream,
    text: String,
}

impl Events {
    async fn open(router: &Router, id: &str, seen: Option<&str>) -> Self {
        Self::of(ask(router, id, seen).await)
    }

    fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            body: response.into_body().into_data_stream(),
            text: String::new(),
        }
    }

    /// The next event; none when the stream has ended.
    async fn next(&mut self) -> Option<Heard> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    event
                        .lines()
                        .find_map(|l| l.strip_prefix(name))
                        .unwrap_or_default()
                        .trim()
                        .to_string()
                };
                let heard = Heard {
                    id: field("id:"),
                    kind: field("event:"),
                    job: serde_json::from_str(&field("data:")).unwrap_or_default(),
                };
                self.text = rest.to_string();
                if heard.job.is_object() {
                    return Some(heard);
                }
                // a comment
                continue;
            }
            let bytes = tokio::time::timeout(PATIENCE, self.body.next())
                .await
                .expect("something comes")?;
            self.text.push_str(std::str::from_utf8(&bytes.expect("read")).expect("UTF-8"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_through_a_replica_that_does_not_run_the_job_until_it_has_ended() {
    let app = TestApp::local().await;
    let id = started(&app).await;
    let (service, router) = replica(&app);
    let stop = CancellationToken::new();
    let watching = tokio::spawn(run_job_watch(service, app.pool.clone(), stop.clone()));
    let mut events = Events::open(&router, &id, None).await;
    let first = events.next().await.expect("the state at first");
    assert_eq!((first.kind.as_str(), &first.job["state"]), ("state", &json!("Pending")));
    assert_eq!(
        first.job,
        app.get(&format!("/v1/restore-jobs/{id}"))
            .await
            .ok()
            .json
            .tap_time(&first.job),
        "the whole job"
    );
    app.post(&format!("/v1/restore-jobs/{id}/pause"), &json!({})).await.ok();
    let paused = events.next().await.expect("a change");
    assert_eq!((paused.kind.as_str(), &paused.job["state"]), ("state", &json!("Paused")));
    app.patch(&format!("/v1/restore-jobs/{id}"), &json!({"priority": 1}))
        .await
        .ok();
    let changed = events.next().await.expect("a change");
    assert_eq!((changed.kind.as_str(), &changed.job["priority"]), ("progress", &json!(1)));
    app.post(&format!("/v1/restore-jobs/{id}/resume"), &json!({})).await.ok();
    // longer than a request may take: the stream is not cut
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    app.drain().await;
    let mut last = events.next().await.expect("a change");
    while last.kind != "end" {
        last = events.next().await.expect("an end");
    }
    assert_eq!(
        (&last.job["state"], &last.job["progress"]),
        (&json!("Completed"), &json!(100))
    );
    assert!(events.next().await.is_none(), "the stream ends");
    // a browser connects again by itself, and is told to stop
    assert_eq!(ask(&router, &id, Some(&last.id)).await.status(), 204);
    let mut again = Events::open(&router, &id, Some(&first.id)).await;
    assert_eq!(again.next().await.expect("what was missed").kind, "end");
    assert!(again.next().await.is_none());
    stop.cancel();
    watching.await.expect("stops");
}

trait TapTime {
    fn tap_time(self, other: &Value) -> Value;
}

impl TapTime for Value {
    /// The same with the other's time, which goes on.
    fn tap_time(mut self, other: &Value) -> Value {
        self["time_cost"] = other["time_cost"].clone();
        self
    }
}

#[tokio::test]
async fn an_export_is_followed_as_any_job() {
    let app = TestApp::local().await;
    started(&app).await;
    let export = app
        .post("/v1/snapshots/s/export", &json!({"target_path": "nightly"}))
        .await
        .expect(202)
        .json;
    let id = export["job_id"].as_str().expect("id");
    let (_, router) = replica(&app);
    let mut events = Events::of(ask_of(&router, "export-jobs", id, None).await);
    let first = events.next().await.expect("the state at first");
    assert_eq!(
        (first.kind.as_str(), &first.job["kind"], &first.job["state"]),
        ("state", &json!("export"), &json!("Pending"))
    );
    app.drain().await;
    let mut last = events.next().await.expect("a change");
    while last.kind != "end" {
        last = events.next().await.expect("an end");
    }
    assert_eq!(last.job["state"], "Completed");
    let uri = last.job["snapshot_metadata_uri"]
        .as_str()
        .expect("as the job itself shows it");
    assert!(uri.contains("nightly/exports/"), "{uri}");
    assert!(events.next().await.is_none(), "the stream ends");
    // nothing more to tell one who has seen the end
    let again = ask_of(&router, "export-jobs", id, Some(&last.id)).await;
    assert_eq!(again.status(), 204);
    // a restore is none, and an export no restore
    assert_eq!(ask(&router, id, None).await.status(), 404);
    assert_eq!(ask_of(&router, "export-jobs", "1", None).await.status(), 404);
}

#[tokio::test]
async fn without_notifications_events_come_by_looking_every_second() {
    let app = TestApp::local().await;
    let id = started(&app).await;
    let (_, router) = replica(&app);
    let mut events = Events::open(&router, &id, None).await;
    let first = events.next().await.expect("the state at first");
    app.post(&format!("/v1/restore-jobs/{id}/cancel"), &json!({})).await.ok();
    let last = events.next().await.expect("the end");
    assert_eq!((last.kind.as_str(), &last.job["state"]), ("end", &json!("Cancelled")));
    assert!(events.next().await.is_none());
    assert_ne!(first.id, last.id);
    // one who has seen the newest is not told it again
    let (_, router) = replica(&app);
    let other = app
        .post("/v1/snapshots/s/restore", &json!({"collection_name": "r"}))
        .await
        .expect(202)
        .json;
    let other = other["job_id"].as_str().expect("id");
    let seen = Events::open(&router, other, None).await.next().await.expect("the state").id;
    let mut events = Events::open(&router, other, Some(&seen)).await;
    app.post(&format!("/v1/restore-jobs/{other}/pause"), &json!({})).await.ok();
    assert_eq!(events.next().await.expect("news").job["state"], "Paused");
}

#[tokio::test]
async fn listeners_are_bounded_hold_no_connection_and_end_with_the_process() {
    let app = TestApp::local().await;
    let id = started(&app).await;
    let (service, router) = replica(&app);
    let mut open = Vec::new();
    for _ in 0..256 {
        open.push(Events::open(&router, &id, None).await);
    }
    let refused = ask(&router, &id, None).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (503, &"1".parse().expect("a header"))
    );
    // the pool of this test has twelve connections
    assert_eq!(app.drain().await, 5);
    drop(open.pop());
    let mut more = Events::open(&router, &id, None).await;
    assert_eq!(more.next().await.expect("an event").kind, "end");

    let waiting = app
        .post("/v1/snapshots/s/restore", &json!({"collection_name": "r2"}))
        .await
        .expect(202)
        .json;
    drop(open);
    let mut events = Events::open(&router, waiting["job_id"].as_str().expect("id"), None).await;
    events.next().await.expect("the state");
    service.end_watches();
    assert!(events.next().await.is_none(), "a process that stops is not held");
    ask(&router, "1", None)
        .await
        .status()
        .is_client_error()
        .then_some(())
        .expect("no such job");
}

#[tokio::test]
async fn a_client_has_a_share_of_the_streams_and_others_have_theirs() {
    let app = TestApp::local().await;
    let id = started(&app).await;
    let (_, router) = replica(&app);
    let open = async |address: &str| {
        let mut request = Request::get(format!("/v1/restore-jobs/{id}/events"))
            .body(Body::empty())
            .expect("a request");
        let peer: std::net::SocketAddr = format!("{address}:1").parse().expect("an address");
        request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
        router.clone().oneshot(request).await.expect("never fails")
    };
    let mut streams = Vec::new();
    for _ in 0..64 {
        let stream = open("192.0.2.1").await;
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    let refused = open("192.0.2.1").await;
    assert_eq!(refused.status(), 503);
    let body = axum::body::to_bytes(refused.into_body(), usize::MAX).await.expect("a body");
    assert_eq!(
        serde_json::from_slice::<Value>(&body).expect("JSON")["code"],
        "too_many_streams"
    );
    assert_eq!(open("192.0.2.2").await.status(), 200);
    streams.pop();
    assert_eq!(open("192.0.2.1").await.status(), 200, "one has ended");
}
