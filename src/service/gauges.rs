//! Metrics of the catalog: read when somebody asks, at most once in a while, so that asking often
//! costs nothing.

use std::time::{Duration, Instant};

use super::Service;
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

/// What was read last.
#[derive(Debug, Default)]
pub(super) struct Cache {
    counts: Option<(Instant, Gauges)>,
    bytes: Option<(Instant, Usage)>,
}

impl Service {
    /// Values of the metrics of the catalog; only that it can't be read when it can't.
    pub async fn catalog_samples(&self) -> Vec<Sample> {
        let read = tokio::time::timeout(PATIENCE, self.read_gauges()).await;
        let read = read.unwrap_or_else(|_| Err(Code::DatabaseUnavailable.error("no answer in time")));
        match read {
            Ok((counts, bytes)) => samples(&counts, &bytes),
            Err(error) => {
                tracing::warn!(error = %error, cause = error.cause_chain(), "the metrics of the catalog can't be read");
                vec![Sample::new(telemetry::CATALOG_UP, &[], 0.0)]
            }
        }
    }

    async fn read_gauges(&self) -> Result<(Gauges, Usage)> {
        // one reader at a time; the others get what it read
        let mut cache = self.gauges.lock().await;
        let counts = match &cache.counts {
            Some((at, counts)) if at.elapsed() < COUNTS => counts.clone(),
            _ => store::gauges::read(&mut *self.conn().await?, self.settings.metrics_collections).await?,
        };
        let bytes = match &cache.bytes {
            Some((at, bytes)) if at.elapsed() < BYTES => *bytes,
            _ => {
                let bytes = store::usage::totals(&mut *self.conn().await?, None).await?;
                cache.bytes = Some((Instant::now(), bytes));
                bytes
            }
        };
        if cache.counts.as_ref().is_none_or(|(at, _)| at.elapsed() >= COUNTS) {
            cache.counts = Some((Instant::now(), counts.clone()));
        }
        Ok((counts, bytes))
    }
}

fn samples(gauges: &Gauges, bytes: &Usage) -> Vec<Sample> {
    use telemetry::*;
    let one = |name, value: i64| Sample::new(name, &[], value as f64);
    let of = |name, label: &str, value: i64| Sample::new(name, &[label], value as f64);
    let mut samples = vec![Sample::new(CATALOG_UP, &[], 1.0)];
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
        of(CATALOG_BYTES, "live", bytes.live_bytes),
        of(CATALOG_BYTES, "held_by_snapshots", bytes.held_by_snapshots_bytes),
        of(CATALOG_BYTES, "waiting", bytes.waiting_bytes),
        of(CATALOG_BYTES, "external", bytes.external_bytes),
        of(CATALOG_BYTES, "metadata", bytes.metadata_bytes),
        of(CATALOG_BYTES, "orphans", bytes.orphan_bytes),
    ]);
    samples.extend(gauges.gc_age_seconds.map(|age| Sample::new(GC_AGE, &[], age)));
    samples.push(one(COLLECTIONS_WITHOUT, gauges.collections_without_snapshot));
    for newest in &gauges.newest_snapshots {
        let labels = [
            newest.db_name.as_str(),
            newest.collection_name.as_str(),
            &newest.collection_id.to_string(),
        ];
        samples.push(Sample::new(SNAPSHOT_AGE, &labels, newest.age_seconds));
    }
    samples.extend([
        one(WEBHOOK_PENDING, gauges.webhook_pending),
        Sample::new(WEBHOOK_PENDING_AGE, &[], gauges.webhook_pending_age_seconds),
        one(WEBHOOK_GAVE_UP, gauges.webhook_gave_up),
    ]);
    samples
}
