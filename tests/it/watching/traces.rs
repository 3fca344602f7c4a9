//! Traces over OTLP: the real binary, and a receiver that decodes what it is sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;
use stillframe::milvus::proto::milvus as m;

use super::webhook_receiver::Receiver;
use crate::cli::process::directory;
use crate::cli::service::Service;
use crate::milvus::wire::{framed, status_of};

/// What was exported.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Span>>>);

async fn take(State(spans): State<Spans>, headers: axum::http::HeaderMap, body: Bytes) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).expect("an export");
    for resource in request.resource_spans {
        let attributes = resource.resource.expect("a resource").attributes;
        assert!(attributes.iter().any(|a| a.key == "service.name"));
        let exported = resource.scope_spans.into_iter().flat_map(|s| s.spans);
        spans.0.lock().expect("whole").extend(exported);
    }
}

impl Spans {
    /// Starts a receiver; gives its base URL.
    async fn receive() -> (Self, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let spans = Self::default();
        let router = axum::Router::new()
            .route("/v1/traces", axum::routing::post(take))
            .with_state(spans.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (spans, url)
    }

    fn of_trace(&self, trace: &str) -> Vec<Span> {
        let spans = self.0.lock().expect("whole");
        spans.iter().filter(|s| hex(&s.trace_id) == trace).cloned().collect()
    }

    /// Waits until a trace has a span that fits.
    async fn wait_for(&self, trace: &str, fits: impl Fn(&Span) -> bool) -> Span {
        let began = Instant::now();
        loop {
            let spans = self.of_trace(trace);
            if let Some(found) = spans.iter().find(|s| fits(s)) {
                return found.clone();
            }
            let names: Vec<_> = spans.iter().map(|s| (&s.name, attributes(s))).collect();
            assert!(began.elapsed() < Duration::from_secs(60), "{names:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn attributes(span: &Span) -> BTreeMap<String, String> {
    let text = |value: &Attribute| match value {
        Attribute::StringValue(text) => text.clone(),
        Attribute::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let pairs = span.attributes.iter().filter_map(|a| {
        let value = a.value.as_ref()?.value.as_ref()?;
        Some((a.key.clone(), text(value)))
    });
    pairs.collect()
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

async fn post(url: &str, path: &str, traceparent: Option<&str>, body: &serde_json::Value) -> serde_json::Value {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut request = client.post(format!("{url}{path}")).json(body);
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    let answer = request.send().await.expect("an answer");
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    answer.json().await.expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_trace_goes_on_through_handler_storage_and_the_tasks_of_the_job() {
    let (spans, endpoint) = Spans::receive().await;
    let receiver = Receiver::start().await;
    let data = directory();
    let args = [
        "--no-fsync",
        "--gc-interval-seconds",
        "0",
        "--webhook-private-addresses",
        "--otlp-endpoint",
        &endpoint,
    ];
    let service = Service::start(data.path(), &args);
    service.load_fixture(data.path()).await;
    post(
        &service.url,
        "/v1/webhooks",
        None,
        &json!({"url": receiver.url, "events": ["restore_job.ended"]}),
    )
    .await;
    post(
        &service.url,
        "/v1/snapshots",
        None,
        &json!({"collection_name": "feas", "snapshot_name": "s"}),
    )
    .await;
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    post(
        &service.url,
        "/v1/snapshots/s/restore",
        Some(&traceparent),
        &json!({"collection_name": "t"}),
    )
    .await;
    let request = spans
        .wait_for(TRACE, |s| s.name == "POST /v1/snapshots/{snapshot_name}/restore")
        .await;
    assert_eq!(hex(&request.parent_span_id), PARENT, "the caller's span");
    assert_eq!(request.kind, 2, "a server's span");
    let told = attributes(&request);
    assert_eq!(told["http.response.status_code"], "202");
    assert_eq!(told["http.route"], "/v1/snapshots/{snapshot_name}/restore");
    let copy = spans
        .wait_for(TRACE, |s| s.name == "job" && attributes(s)["kind"] == "copy")
        .await;
    assert_eq!(copy.parent_span_id, request.span_id, "the job was asked for by that request");
    let storage = spans
        .wait_for(TRACE, |s| {
            s.name == "storage" && s.parent_span_id == copy.span_id && attributes(s)["operation"] == "copy_many"
        })
        .await;
    assert_eq!(attributes(&storage)["outcome"], "ok");
    spans
        .wait_for(TRACE, |s| s.name == "job" && attributes(s)["kind"] == "publish")
        .await;
    // a trace of our own: what a handler asks of the storage is below its span
    let trace = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let traceparent = format!("00-{trace}-{PARENT}-01");
    post(
        &service.url,
        "/v1/snapshots/s/verify",
        Some(&traceparent),
        &json!({"level": "size"}),
    )
    .await;
    let verify = spans.wait_for(trace, |s| s.name.ends_with("/verify")).await;
    let call = spans.wait_for(trace, |s| s.name == "storage").await;
    assert_eq!(call.parent_span_id, verify.span_id);
    // and out again: what a webhook is told belongs to a trace
    let told = receiver.wait_for(1).await;
    let out = told[0].header("traceparent").to_string();
    let parts: Vec<&str> = out.split('-').collect();
    assert_eq!((parts.len(), parts[0], parts[1].len()), (4, "00", 32), "{out}");
    let sent = spans.wait_for(parts[1], |s| s.name == "webhook").await;
    assert_eq!(hex(&sent.span_id), parts[2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_milvus_api_and_the_jobs_that_they_ask_for_go_on_with_the_callers_trace() {
    let (spans, endpoint) = Spans::receive().await;
    let data = directory();
    let settings = ["--no-fsync", "--gc-interval-seconds", "0", "--otlp-endpoint", &endpoint];
    let service = Service::start(data.path(), &settings);
    service.load_fixture(data.path()).await;
    let snapshot = json!({"collection_name": "feas", "snapshot_name": "s"});
    post(&service.url, "/v1/snapshots", None, &snapshot).await;
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    // over gRPC
    let message = m::ExportSnapshotRequest {
        name: "s".into(),
        collection_name: "feas".into(),
        target_s3_path: "bundles".into(),
        ..Default::default()
    };
    let path = "/milvus.proto.milvus.MilvusService/ExportSnapshot";
    let request = client
        .post(format!("{}{path}", service.url))
        .header("content-type", "application/grpc")
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .body(framed(&message.encode_to_vec()));
    let answer = request.send().await.expect("an answer").bytes().await.expect("a body");
    assert_eq!(status_of(&answer).code, 0);
    let call = spans.wait_for(TRACE, |s| s.name == format!("POST {path}")).await;
    assert_eq!((hex(&call.parent_span_id).as_str(), call.kind), (PARENT, 2));
    assert_eq!(attributes(&call)["milvus.code"], "0");
    let is_job = |s: &Span, kind: &str| s.name == "job" && attributes(s)["kind"] == kind;
    let copy = spans.wait_for(TRACE, |s| is_job(s, "copy")).await;
    assert_eq!(copy.parent_span_id, call.span_id, "the export was asked for by that call");
    spans.wait_for(TRACE, |s| is_job(s, "publish")).await;
    let jobs = client
        .get(format!("{}/v1/export-jobs", service.url))
        .send()
        .await
        .expect("an answer");
    let jobs: serde_json::Value = jobs.json().await.expect("JSON");
    // over REST v2, the restore of that bundle
    let trace = "cccccccccccccccccccccccccccccccc";
    let traceparent = format!("00-{trace}-{PARENT}-01");
    let path = "/v2/vectordb/jobs/snapshot/restore_external";
    let restore = json!({"targetCollectionName": "t", "snapshotMetadataURI": jobs["items"][0]["snapshot_metadata_uri"]});
    let answer = post(&service.url, path, Some(&traceparent), &restore).await;
    assert_eq!(answer["code"], 0, "{answer}");
    let call = spans.wait_for(trace, |s| s.name == format!("POST {path}")).await;
    assert_eq!((hex(&call.parent_span_id).as_str(), call.kind), (PARENT, 2));
    let copy = spans.wait_for(trace, |s| is_job(s, "copy")).await;
    assert_eq!(copy.parent_span_id, call.span_id);
    // a call that fails says with which of Milvus' codes
    let trace = "dddddddddddddddddddddddddddddddd";
    let traceparent = format!("00-{trace}-{PARENT}-01");
    let nothing = json!({"snapshotName": "s", "collectionName": "nothing"});
    post(&service.url, "/v2/vectordb/snapshots/describe", Some(&traceparent), &nothing).await;
    let call = spans.wait_for(trace, |s| s.name.ends_with("/describe")).await;
    assert_eq!(attributes(&call)["milvus.code"], "100");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_that_its_caller_does_not_sample_is_not_exported_and_a_stop_exports_the_rest() {
    let (spans, endpoint) = Spans::receive().await;
    let data = directory();
    let service = Service::start(data.path(), &["--no-fsync", "--otlp-endpoint", &endpoint]);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    for (trace, flags) in [(TRACE, "00"), ("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "01")] {
        let request = client.get(format!("{}/v1/collections", service.url));
        let request = request.header("traceparent", format!("00-{trace}-{PARENT}-{flags}"));
        assert!(request.send().await.expect("an answer").status().is_success());
    }
    service.process.signal(nix::sys::signal::Signal::SIGTERM);
    let ended = service.process.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        !ended.err.contains("otel.") && !ended.err.contains("stillframe_traces"),
        "not for the log: {}",
        ended.err
    );
    assert_eq!(spans.of_trace("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb").len(), 1);
    assert_eq!(spans.of_trace(TRACE).len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_of_traces_that_is_down_hinders_nothing() {
    let data = directory();
    let service = Service::start(data.path(), &["--no-fsync", "--otlp-endpoint", "http://127.0.0.1:1"]);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let answer = client.get(format!("{}/readyz", service.url)).send().await.expect("an answer");
    assert!(answer.status().is_success());
    service.process.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(service.process.ended().code, Some(0));
}
