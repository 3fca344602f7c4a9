//! Every metric of this service: its name, its labels, and what it says. `docs/metrics.md`, the
//! dashboard and the alerts under `deploy/` are checked against this list.
//!
//! Values of labels come from fixed sets, or, for `route`, from the routes of the API. Only
//! [`SNAPSHOT_AGE`] carries ids and names of collections; a setting bounds their number.

/// How a metric moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises; begins at 0 with the process.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Observations in buckets; `_bucket`, `_sum` and `_count` in queries.
    Histogram,
}

impl Kind {
    /// Prometheus' word.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// Who counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The process that is asked: add replicas up.
    Process,
    /// The catalog: every replica says the same, take the maximum.
    Catalog,
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub of: Of,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident $kind:ident $of:ident $name:literal [$($label:literal),*] $help:literal),+ $(,)?) => {
        $(#[doc = $help] pub const $constant: &str = $name;)+

        /// Every metric, in the order of the documentation.
        pub const ALL: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind,
            of: Of::$of,
            labels: &[$($label),*],
            help: $help,
        }),+];
    };
}

metrics! {
    BUILD_INFO Gauge Process "stillframe_build_info" ["version"] "Always 1; the version of the process",
    HTTP_REQUESTS Counter Process "stillframe_http_requests_total" ["method", "route", "status"] "Requests answered",
    HTTP_SECONDS Histogram Process "stillframe_http_request_seconds" ["method", "route"] "Seconds from request to answer",
    MILVUS_CALLS Counter Process "stillframe_milvus_calls_total" ["call", "code"] "Calls of Milvus' API, over gRPC (by the name of the call) and REST v2 (by its path), by Milvus' code; 0: it succeeded",
    MILVUS_SECONDS Histogram Process "stillframe_milvus_call_seconds" ["call"] "Seconds from such a call to its answer",
    SNAPSHOTS_CREATED Counter Process "stillframe_snapshots_created_total" [] "Snapshots created",
    SNAPSHOT_SECONDS Histogram Process "stillframe_snapshot_create_seconds" [] "Seconds that creating a snapshot took",
    VERIFICATIONS Counter Process "stillframe_snapshot_verifications_total" ["level", "outcome"] "Verifications of snapshots, by what they said",
    JOBS Counter Process "stillframe_restore_jobs_total" ["state"] "Restore jobs that ended, by how",
    JOB_SECONDS Histogram Process "stillframe_restore_job_seconds" ["state"] "Seconds from the request of a restore to its end",
    EXPORTS Counter Process "stillframe_export_jobs_total" ["state"] "Export jobs that ended, by how",
    TASKS Counter Process "stillframe_restore_tasks_total" ["kind", "outcome"] "Runs of tasks of restores and exports that ended, by how",
    RUNNING_TASKS Gauge Process "stillframe_restore_running_tasks" [] "Tasks of restores and exports that this process is running",
    LEASE_LOSSES Counter Process "stillframe_restore_lease_losses_total" [] "Such tasks that this process lost to another worker or to a cancel",
    LEASE_TAKEOVERS Counter Process "stillframe_restore_lease_takeovers_total" [] "Such tasks that this process took over from a worker whose lease had run out",
    COPIED_BYTES Counter Process "stillframe_restore_copied_bytes_total" [] "Bytes copied by restores and exports; what an earlier attempt of a task has left is not counted again",
    COPIED_FILES Counter Process "stillframe_restore_copied_files_total" [] "Files copied by restores and exports, counted in the same way",
    COPY_RETRIES Counter Process "stillframe_restore_copy_retries_total" [] "Copies of single files that were tried again",
    COPY_LIMIT Gauge Process "stillframe_restore_copy_limit" [] "Copies that this process may have under way; less than copy_concurrency while the storage asks to slow down",
    STORAGE_CALLS Counter Process "stillframe_storage_calls_total" ["operation", "outcome"] "Calls of the object storage; tries of the library within a call are not counted one by one",
    STORAGE_SECONDS Histogram Process "stillframe_storage_call_seconds" ["operation"] "Seconds that a call of the object storage took, tries within it included",
    STORAGE_RETRIES Counter Process "stillframe_storage_retries_total" [] "Requests to the object storage that the library tried again by itself",
    GC_RUNS Counter Process "stillframe_gc_runs_total" ["outcome"] "Runs of the collector, dry ones included",
    COLLECTED_OBJECTS Counter Process "stillframe_gc_objects_total" [] "Objects deleted by runs of the collector, failed ones included; those of clean-ups after restores and exports are not counted",
    COLLECTED_BYTES Counter Process "stillframe_gc_bytes_total" [] "Bytes of these objects",
    COLLECT_FAILURES Counter Process "stillframe_gc_failed_objects_total" [] "Objects that runs of the collector could not delete",
    WEBHOOK_TRIES Counter Process "stillframe_webhook_tries_total" ["outcome"] "Tries to deliver to a webhook, by how they ended; and deliveries that were given up between tries",
    AUDIT_LOST Counter Process "stillframe_audit_lost_events_total" ["reason"] "Calls that should stand in the audit log and do not, by why",
    CONNECTIONS Gauge Process "stillframe_postgres_connections" ["state"] "Connections of the pool to Postgres",
    CONNECTIONS_MAX Gauge Process "stillframe_postgres_connections_max" [] "Connections that the pool may open",
    CATALOG_UP Gauge Catalog "stillframe_catalog_up" [] "1 when the metrics of the catalog below could be read; what could not be is left out when it is 0",
    SNAPSHOTS Gauge Catalog "stillframe_snapshots" ["state"] "Snapshots by state",
    ACTIVE_JOBS Gauge Catalog "stillframe_restore_active_jobs" ["kind", "state"] "Jobs that have not ended: restores (of bundles too) and exports, by state",
    ACTIVE_TASKS Gauge Catalog "stillframe_restore_active_tasks" ["state"] "Tasks of restores and exports that have not ended: available, running, or running with an expired lease",
    WAITING_JOBS Gauge Catalog "stillframe_restore_waiting_jobs" [] "Jobs of which something waits for the object storage or the database to answer, or to allow access again",
    CLEANUPS Gauge Catalog "stillframe_restore_pending_cleanups" ["kind"] "Ended restores and exports whose copied objects are still to be deleted",
    CATALOG_BYTES Gauge Catalog "stillframe_bytes" ["kind"] "Bytes of data files by what keeps them, and of snapshots' own files; read at most once in a minute",
    GC_AGE Gauge Catalog "stillframe_gc_last_completed_age_seconds" [] "Age of the last run of the collector that was completed and no dry one; before the first, of the catalog",
    COLLECTIONS_WITHOUT Gauge Catalog "stillframe_collections_without_snapshot" [] "Collections that have no committed snapshot",
    SNAPSHOT_AGE Gauge Catalog "stillframe_newest_snapshot_age_seconds" ["db", "collection", "collection_id"] "Age of the newest committed snapshot of a collection; of those where it is oldest, as many as --metrics-collections says. Without names, and only the oldest, for who may not read everything",
    WEBHOOK_PENDING Gauge Catalog "stillframe_webhook_pending_deliveries" [] "Deliveries to webhooks that are still to be made",
    WEBHOOK_PENDING_AGE Gauge Catalog "stillframe_webhook_oldest_pending_seconds" [] "Age of the oldest of these; 0 when there is none",
    WEBHOOK_GAVE_UP Gauge Catalog "stillframe_webhook_given_up_deliveries" [] "Deliveries that were given up and are still listed",
}

/// The metrics as a Markdown table: what `docs/metrics.md` holds.
pub fn metrics_table() -> String {
    let mut table = String::from("| metric | type | of | labels | |\n|---|---|---|---|---|\n");
    for metric in ALL {
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        let of = match metric.of {
            Of::Process => "process",
            Of::Catalog => "catalog",
        };
        table.push_str(&format!(
            "| `{}` | {} | {of} | {} | {} |\n",
            metric.name,
            metric.kind.as_str(),
            labels.join(", "),
            metric.help
        ));
    }
    table
}
