//! Metrics of the catalog: read when somebody asks, at most once in a while, so that asking often
//! costs nothing.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::Service;
use crate::domain::access::Permission;
use crate::domain::gauges::Gauges;
use crate::domain::usage::Usage;
use crate::domain::{Code, Result};
use crate::store;
use crate::telemetry::{self, Sample};

/// For so long an answer is given again.
const COUNTS: Duration = Duration::from_secs(10);
/// The same for bytes, which every segment's row is read for.
const BYTES: Duration = Duration::from_secs(60);
/// Whoever asks is answered without the catalog after this.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was read last, and when.
pub(super) type Cache<T> = Mutex<Option<(Instant, T)>>;

impl Service {
    /// Values of the metrics of the catalog; what can't be read is left out, and
    /// [`telemetry::CATALOG_UP`] says so. Names of collections are for callers who may read everything.
    pub async fn catalog_samples(&self) -> Vec<Sample> {
        let until = tokio::time::Instant::now() + PATIENCE;
        let late = || Code::DatabaseUnavailable.error("no answer in time");
        let read = tokio::time::timeout_at(until, self.read_counts()).await;
        let counts = read.unwrap_or_else(|_| Err(late()));
        let read = tokio::time::timeout_at(until, self.read_bytes()).await;
        let bytes = read.unwrap_or_else(|_| Err(late()));
        for error in [counts.as_ref().err(), bytes.as_ref().err()].into_iter().flatten() {
            tracing::warn!(error = %error, cause = error.cause_chain(), "the metrics of the catalog can't be read");
        }
        let is_up = counts.is_ok() && bytes.is_ok();
        let mut samples = vec![Sample::new(telemetry::CATALOG_UP, &[], f64::from(u8::from(is_up)))];
        if let Ok(bytes) = bytes {
            samples.extend(samples_of_bytes(&bytes));
        }
        if let Ok(counts) = counts {
            let with_names = self.caller.principal().may_everywhere(Permission::Read);
            samples.extend(samples_of_counts(&counts, with_names));
        }
        samples
    }

    /// One reader at a time; the others get what it read.
    async fn read_counts(&self) -> Result<Gauges> {
        let mut cache = self.counts.lock().await;
        if let Some((at, counts)) = &*cache
            && at.elapsed() < COUNTS
        {
            return Ok(counts.clone());
        }
        let counts = store::gauges::read(&mut *self.conn().await?, self.settings.metrics_collections).await?;
        *cache = Some((Instant::now(), counts.clone()));
        Ok(counts)
    }

    async fn read_bytes(&self) -> Result<Usage> {
        let mut cache = self.bytes.lock().await;
        if let Some((at, bytes)) = &*cache
            && at.elapsed() < BYTES
        {
            return Ok(*bytes);
        }
        let bytes = store::usage::totals(&mut *self.conn().await?, None).await?;
        *cache = Some((Instant::now(), bytes));
        Ok(bytes)
    }
}

fn samples_of_bytes(bytes: &Usage) -> Vec<Sample> {
    use telemetry::CATALOG_BYTES;
    let of = |label: &str, value: i64| Sample::new(CATALOG_BYTES, &[label], value as f64);
    vec![
        of("live", bytes.live_bytes),
        of("held_by_snapshots", bytes.held_by_snapshots_bytes),
        of("waiting", bytes.waiting_bytes),
        of("external", bytes.external_bytes),
        of("metadata", bytes.metadata_bytes),
        of("orphans", bytes.orphan_bytes),
    ]
}

fn samples_of_counts(gauges: &Gauges, with_names: bool) -> Vec<Sample> {
    use telemetry::*;
    let one = |name, value: i64| Sample::new(name, &[], value as f64);
    let of = |name, label: &str, value: i64| Sample::new(name, &[label], value as f64);
    let mut samples = Vec::new();
    // every state, so that a rise from nothing is seen
    for state in ["pending", "committed", "deleting", "condemned"] {
        samples.push(of(SNAPSHOTS, state, gauges.snapshots.get(state).copied().unwrap_or(0)));
    }
    for kind in ["restore", "export"] {
        for state in ["Pending", "Validating", "InProgress", "Publishing", "Paused"] {
            let found = gauges.jobs.iter().find(|j| j.kind == kind && j.state == state);
            samples.push(Sample::new(ACTIVE_JOBS, &[kind, state], found.map_or(0, |j| j.count) as f64));
        }
    }
    samples.extend([
        of(ACTIVE_TASKS, "available", gauges.available_tasks),
        of(ACTIVE_TASKS, "running", gauges.running_tasks),
        of(ACTIVE_TASKS, "expired", gauges.expired_tasks),
        one(WAITING_JOBS, gauges.waiting_jobs),
        of(CLEANUPS, "restore", gauges.pending_cleanups.0),
        of(CLEANUPS, "export", gauges.pending_cleanups.1),
    ]);
    samples.push(Sample::new(GC_AGE, &[], gauges.gc_age_seconds));
    samples.push(one(COLLECTIONS_WITHOUT, gauges.collections_without_snapshot));
    if with_names {
        for newest in &gauges.newest_snapshots {
            let labels = [
                newest.db_name.as_str(),
                newest.collection_name.as_str(),
                &newest.collection_id.to_string(),
            ];
            samples.push(Sample::new(SNAPSHOT_AGE, &labels, newest.age_seconds));
        }
    } else if let Some(oldest) = gauges.newest_snapshots.first() {
        // alerts hear of it all the same, and can't say of which collection
        samples.push(Sample::new(SNAPSHOT_AGE, &["", "", ""], oldest.age_seconds));
    }
    samples.extend([
        one(WEBHOOK_PENDING, gauges.webhook_pending),
        Sample::new(WEBHOOK_PENDING_AGE, &[], gauges.webhook_pending_age_seconds),
        one(WEBHOOK_GAVE_UP, gauges.webhook_gave_up),
    ]);
    samples
}
