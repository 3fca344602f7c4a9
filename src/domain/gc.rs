//! Reports of the collector.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::id::RunId;

/// One object that could not be deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub key: String,
    pub reason: String,
}

/// Failures that a report lists at most; the count goes on.
pub const MAX_LISTED_FAILURES: usize = 100;

/// What a run of the collector did, or in a dry run would do.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Pending snapshots whose creating call is gone.
    pub pending_snapshots: i64,
    /// Dropped snapshots whose metadata and manifests were deleted.
    pub snapshots: i64,
    pub segments: i64,
    pub index_builds: i64,
    /// Dropped collections of which nothing is left.
    pub collections: i64,
    /// Objects deleted, and their bytes as recorded in the catalog.
    pub objects: i64,
    pub bytes: i64,
    /// Dropped segments and builds past their grace period that a snapshot still needs.
    pub kept_by_snapshots: i64,
    /// Dropped segments, builds and snapshots whose grace period still runs.
    pub kept_by_grace: i64,
    pub failed_objects: i64,
    pub failures: Vec<Failure>,
}

impl Report {
    /// Notes an object that could not be deleted.
    pub fn fail(&mut self, key: &str, reason: &str) {
        self.failed_objects += 1;
        if self.failures.len() < MAX_LISTED_FAILURES {
            self.failures.push(Failure {
                key: key.to_string(),
                reason: reason.to_string(),
            });
        }
    }
}

/// A run of the collector.
#[derive(Debug, Clone, PartialEq)]
pub struct GcRun {
    pub run_id: RunId,
    pub dry_run: bool,
    pub grace_seconds: i64,
    pub state: String,
    pub report: Report,
    pub started_at: OffsetDateTime,
    pub finished_at: Option<OffsetDateTime>,
}
