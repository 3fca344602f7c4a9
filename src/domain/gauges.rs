//! What metrics say of the catalog.

use std::collections::BTreeMap;

/// Counts and ages of the catalog at one time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gauges {
    /// Snapshots by state; a state without any is left out.
    pub snapshots: BTreeMap<String, i64>,
    /// Jobs that have not ended.
    pub jobs: Vec<JobsOf>,
    pub available_tasks: i64,
    pub running_tasks: i64,
    /// Running ones whose lease has expired: nobody works on them.
    pub expired_tasks: i64,
    /// Jobs that wait for the object storage or the database.
    pub waiting_jobs: i64,
    /// Ended restores, and ended exports, whose copied objects are still to be deleted.
    pub pending_cleanups: (i64, i64),
    /// Of the last completed run; before the first, of the catalog.
    pub gc_age_seconds: f64,
    pub webhook_pending: i64,
    pub webhook_pending_age_seconds: f64,
    pub webhook_gave_up: i64,
    pub collections_without_snapshot: i64,
    /// Oldest first.
    pub newest_snapshots: Vec<CollectionAge>,
}

/// How many jobs of a kind are in a state; where there is none, it is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobsOf {
    /// `restore`, also of bundles, or `export`.
    pub kind: String,
    pub state: String,
    pub count: i64,
}

/// How old the newest snapshot of a collection is.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectionAge {
    pub db_name: String,
    pub collection_name: String,
    pub collection_id: i64,
    pub age_seconds: f64,
}
