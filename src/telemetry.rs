//! Logs and metrics. Every metric name stands here.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Requests by method, route and status.
pub const HTTP_REQUESTS: &str = "stillframe_http_requests_total";
/// Seconds from request to answer, by method and route.
pub const HTTP_SECONDS: &str = "stillframe_http_request_seconds";
/// Calls of Milvus' API by call and Milvus' code.
pub const MILVUS_CALLS: &str = "stillframe_milvus_calls_total";
/// Seconds from such a call to its answer, by call.
pub const MILVUS_SECONDS: &str = "stillframe_milvus_call_seconds";
/// Snapshots created.
pub const SNAPSHOTS_CREATED: &str = "stillframe_snapshots_created_total";
/// Seconds that a snapshot took.
pub const SNAPSHOT_SECONDS: &str = "stillframe_snapshot_create_seconds";
/// Restore jobs that ended, by state.
pub const JOBS: &str = "stillframe_restore_jobs_total";
/// Seconds from the request of a restore to its end, by state.
pub const JOB_SECONDS: &str = "stillframe_restore_job_seconds";
/// Export jobs that ended, by state.
pub const EXPORTS: &str = "stillframe_export_jobs_total";
/// Tasks of jobs by kind and outcome.
pub const TASKS: &str = "stillframe_restore_tasks_total";
/// Bytes copied by restore jobs.
pub const COPIED_BYTES: &str = "stillframe_restore_copied_bytes_total";
/// Files copied by restore jobs.
pub const COPIED_FILES: &str = "stillframe_restore_copied_files_total";
/// Copies of single files that were tried again.
pub const COPY_RETRIES: &str = "stillframe_restore_copy_retries_total";
/// Requests to copy that this process may have under way at the same time, now.
pub const COPY_LIMIT: &str = "stillframe_restore_copy_limit";
/// Tasks that this process is running.
pub const RUNNING_TASKS: &str = "stillframe_restore_running_tasks";
/// Objects deleted by the collector.
pub const COLLECTED_OBJECTS: &str = "stillframe_gc_objects_total";
/// Bytes deleted by the collector.
pub const COLLECTED_BYTES: &str = "stillframe_gc_bytes_total";
/// Objects that the collector could not delete.
pub const COLLECT_FAILURES: &str = "stillframe_gc_failed_objects_total";
/// Connections to Postgres, by state.
pub const CONNECTIONS: &str = "stillframe_postgres_connections";

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Starts logging to standard error. `filter` is in the form of `RUST_LOG`.
///
/// # Errors
/// A filter that can't be read.
pub fn start_logs(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)?;
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        // a reader of the log that goes away must not take the service along
        .log_internal_errors(false);
    // what signs requests to object storage shows its keys when it is asked for details
    let keeps_secrets = filter_fn(|about| !about.target().starts_with("reqsign") || *about.level() <= Level::INFO);
    let started = match format {
        LogFormat::Text => builder.with_target(false).finish().with(keeps_secrets).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().with(keeps_secrets).try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("logging could not be started: {e}"))
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

fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(HTTP_REQUESTS, "requests by method, route and status");
    describe_histogram!(HTTP_SECONDS, Unit::Seconds, "time from request to answer");
    describe_counter!(MILVUS_CALLS, "calls of Milvus' API by call and Milvus' code");
    describe_histogram!(MILVUS_SECONDS, Unit::Seconds, "time from a call of Milvus' API to its answer");
    describe_counter!(SNAPSHOTS_CREATED, "snapshots created");
    describe_histogram!(SNAPSHOT_SECONDS, Unit::Seconds, "time that a snapshot took");
    describe_counter!(JOBS, "restore jobs that ended, by state");
    describe_histogram!(
        JOB_SECONDS,
        Unit::Seconds,
        "time from the request of a restore to its end, by state"
    );
    describe_counter!(EXPORTS, "export jobs that ended, by state");
    describe_counter!(TASKS, "tasks of jobs by kind and outcome");
    describe_counter!(COPIED_BYTES, Unit::Bytes, "bytes copied by restore jobs");
    describe_counter!(COPIED_FILES, "files copied by restore jobs");
    describe_counter!(COPY_RETRIES, "copies of single files that were tried again");
    describe_gauge!(
        COPY_LIMIT,
        "copies that this process may have under way; less than copy_concurrency while the storage asks to slow down"
    );
    describe_gauge!(RUNNING_TASKS, "tasks that this process is running");
    describe_counter!(COLLECTED_OBJECTS, "objects deleted by the collector");
    describe_counter!(COLLECTED_BYTES, Unit::Bytes, "bytes deleted by the collector");
    describe_counter!(COLLECT_FAILURES, "objects that the collector could not delete");
    describe_gauge!(CONNECTIONS, "connections to Postgres, by state");
}
