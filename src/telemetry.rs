//! Logs and metrics. Every metric name stands in `names`.

mod names;
mod samples;
mod traces;

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Level;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

pub use names::*;
pub use samples::{Sample, render};
pub use traces::{answered, answered_call, follow, inject, known_method, request_span, traceparent, traces_on};

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Where traces go.
#[derive(Debug, Clone)]
pub struct TraceSettings {
    /// Base URL of an OTLP receiver.
    pub endpoint: String,
    /// Share of the traces that begin here, 0 to 1.
    pub sampled: f64,
}

/// What was started; ending it sends what is still to be sent.
#[derive(Debug, Default)]
#[must_use = "what is still to be sent is sent by ending it"]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Telemetry {
    /// Sends what is still to be sent.
    pub async fn end(self) {
        if let Some(provider) = self.0 {
            // it waits for its own thread, which sends by this runtime
            let ended = tokio::task::spawn_blocking(move || provider.shutdown()).await;
            if !matches!(ended, Ok(Ok(()))) {
                tracing::debug!(?ended, "the last traces could not be sent");
            }
        }
    }
}

/// Starts logging to standard error, and traces where they are asked for. `filter` is in the form
/// of `RUST_LOG`, and for logs only.
///
/// # Errors
/// A filter that can't be read; an endpoint that is no URL.
pub fn start_logs(format: LogFormat, filter: &str, traces: Option<&TraceSettings>) -> anyhow::Result<Telemetry> {
    let filter = EnvFilter::try_new(filter)?.add_directive(format!("{}=off", traces::TRACES_ONLY).parse()?);
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        // a reader of the log that goes away must not take the service along
        .log_internal_errors(false);
    // what signs requests to object storage shows its keys when it is asked for details
    let filter = filter.and(filter_fn(|about| {
        !about.target().starts_with("reqsign") || *about.level() <= Level::INFO
    }));
    let logs = match format {
        LogFormat::Text => layer.with_target(false).with_filter(filter).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let (spans, provider) = match traces {
        Some(settings) => {
            let (tracer, provider) = traces::start(&settings.endpoint, settings.sampled)?;
            // what a request passes outermost has a span for traces already
            let wanted = format!(
                "off,{}=info,stillframe=info,stillframe::api::layers=off,stillframe::milvus=off",
                traces::TRACES_ONLY
            );
            let layer = tracing_opentelemetry::layer()
                .with_tracer(tracer)
                .with_threads(false)
                .with_filter(EnvFilter::try_new(wanted)?);
            (Some(layer), Some(provider))
        }
        None => (None, None),
    };
    let started = tracing_subscriber::registry().with(spans).with(logs).try_init();
    started.map_err(|e| anyhow::anyhow!("logging could not be started: {e}"))?;
    Ok(Telemetry(provider))
}

/// Starts the metrics registry of this process, or joins the one that runs (tests).
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    use std::sync::OnceLock;
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let buckets = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];
    let long = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0, 30_000.0];
    let builder = PrometheusBuilder::new()
        .set_buckets(&buckets)?
        .set_buckets_for_metric(Matcher::Full(JOB_SECONDS.into()), &long)?;
    Ok(HANDLE
        .get_or_init(|| {
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_ok() {
                describe();
            }
            handle
        })
        .clone())
}

/// Counts a restore job that has ended.
pub fn count_job(state: &'static str, time_cost_ms: i64) {
    metrics::counter!(JOBS, "state" => state).increment(1);
    metrics::histogram!(JOB_SECONDS, "state" => state).record(time_cost_ms as f64 / 1000.0);
}

/// Counts an export job that has ended.
pub fn count_export(state: &'static str) {
    metrics::counter!(EXPORTS, "state" => state).increment(1);
}

/// Folds what histograms have seen into their buckets now and then: without it they would grow
/// as long as nobody asks for the metrics.
pub async fn keep_metrics_small(handle: PrometheusHandle) {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        handle.run_upkeep();
    }
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    for metric in ALL.iter().filter(|m| m.of == Of::Process) {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, metric.help),
        }
    }
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    // a counter that has not counted yet is 0, not absent: else its first rise is not seen
    for name in [COLLECT_FAILURES, LEASE_LOSSES, LEASE_TAKEOVERS, COPY_RETRIES, STORAGE_RETRIES] {
        metrics::counter!(name).absolute(0);
    }
    for state in ["Completed", "Failed", "Cancelled"] {
        metrics::counter!(JOBS, "state" => state).absolute(0);
        metrics::counter!(EXPORTS, "state" => state).absolute(0);
    }
    for level in ["exists", "size", "checksum"] {
        metrics::counter!(VERIFICATIONS, "level" => level, "outcome" => "failed").absolute(0);
    }
    for outcome in ["gave_up", "expired"] {
        metrics::counter!(WEBHOOK_TRIES, "outcome" => outcome).absolute(0);
    }
    for reason in ["database", "lines", "too_fast"] {
        metrics::counter!(AUDIT_LOST, "reason" => reason).absolute(0);
    }
    for operation in ["write", "write_many", "write_stream", "copy", "copy_many", "copy_in_parts"] {
        metrics::counter!(STORAGE_CALLS, "operation" => operation, "outcome" => "full").absolute(0);
    }
}
