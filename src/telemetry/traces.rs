//! Traces over OTLP (HTTP, protobuf), and W3C trace context in and out. Without an endpoint none of
//! this costs anything.

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, Method};
use opentelemetry::KeyValue;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_http::{Bytes, HeaderExtractor, HeaderInjector, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Target of spans that are for traces only: what logs say is in other spans already.
pub const TRACES_ONLY: &str = "stillframe_traces";
/// One export may take so long.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

static ON: OnceLock<()> = OnceLock::new();

/// Whether traces are exported.
pub fn traces_on() -> bool {
    ON.get().is_some()
}

/// Sends what the exporter's own thread encoded, on the runtime of the service.
#[derive(Debug)]
struct OnRuntime {
    runtime: tokio::runtime::Handle,
    client: reqwest::Client,
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let answer = client.execute(request).await?;
            // what a receiver says is of no use here
            Response::builder()
                .status(answer.status())
                .body(Bytes::new())
                .map_err(HttpError::from)
        });
        sent.await?
    }
}

/// Makes the exporter. `endpoint` is the base URL of an OTLP receiver; `/v1/traces` is added unless
/// it stands there. `sampled` is the share of traces, 0 to 1, that begin here; those that a caller
/// began are exported as the caller says.
pub(super) fn start(endpoint: &str, sampled: f64) -> anyhow::Result<(SdkTracer, SdkTracerProvider)> {
    let base = endpoint.trim_end_matches('/');
    let url = if base.ends_with("/v1/traces") {
        base.to_string()
    } else {
        format!("{base}/v1/traces")
    };
    let client = OnRuntime {
        runtime: tokio::runtime::Handle::try_current()?,
        client: reqwest::Client::builder().timeout(EXPORT_TIMEOUT).build()?,
    };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(url)
        .with_timeout(EXPORT_TIMEOUT)
        .build()?;
    let resource = Resource::builder()
        .with_service_name("stillframe")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sampled))))
        .with_resource(resource)
        .build();
    ON.get_or_init(|| ());
    Ok((provider.tracer("stillframe"), provider))
}

/// Methods that are told apart in metrics and traces; callers may send any word.
pub fn known_method(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// The span of a request, for traces: goes on with the caller's trace, where there is one.
pub fn request_span(method: &str, route: &str, headers: &HeaderMap) -> Span {
    if !traces_on() {
        return Span::none();
    }
    let span = tracing::info_span!(
        target: TRACES_ONLY, "request", otel.name = %format_args!("{method} {route}"), otel.kind = "server",
        http.request.method = method, http.route = route,
        http.response.status_code = tracing::field::Empty, milvus.code = tracing::field::Empty, otel.status_code = tracing::field::Empty
    );
    let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    // it was made in this line: nothing can have begun it
    let _ = span.set_parent(parent);
    span
}

/// Notes how a request was answered.
pub fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
}

/// Notes how a call of Milvus' API was answered: the status of HTTP says nothing there. `failed`: something here is broken.
pub fn answered_call(span: &Span, code: i32, failed: bool) {
    span.record("milvus.code", code);
    if failed {
        span.record("otel.status_code", "ERROR");
    }
}

/// The W3C `traceparent` of what runs now; none when nothing is traced.
pub fn traceparent() -> Option<String> {
    if !traces_on() {
        return None;
    }
    let mut headers = HeaderMap::new();
    inject(&mut headers);
    headers.get("traceparent")?.to_str().ok().map(str::to_string)
}

/// Hands the trace of what runs now on to whom a request goes.
pub fn inject(headers: &mut HeaderMap) {
    let context = Span::current().context();
    if context.span().span_context().is_valid() {
        TraceContextPropagator::new().inject_context(&context, &mut HeaderInjector(headers));
    }
}

/// Lets a span go on with a trace that was begun elsewhere, by its `traceparent`.
pub fn follow(span: &Span, traceparent: &str) {
    let mut headers = HeaderMap::new();
    if let Ok(value) = traceparent.parse() {
        headers.insert("traceparent", value);
        let parent = TraceContextPropagator::new().extract(&HeaderExtractor(&headers));
        // a span that has begun already stays in its own trace
        let _ = span.set_parent(parent);
    }
}
