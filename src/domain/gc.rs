//! Reports of the collector.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::id::RunId;

/// What the collector deals with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    Snapshot,
    Manifest,
    Segment,
    IndexBuild,
    Collection,
    /// Of a restore job.
    Receipt,
    /// An object without a row.
    Orphan,
    /// The row of a dropped partition that nothing names any more.
    Partition,
    /// The row of a dropped index definition that nothing names any more.
    Index,
    /// A multipart upload that nobody will end.
    MultipartUpload,
}

impl ItemKind {
    const ALL: [ItemKind; 10] = [
        ItemKind::Snapshot,
        ItemKind::Manifest,
        ItemKind::Segment,
        ItemKind::IndexBuild,
        ItemKind::Collection,
        ItemKind::Receipt,
        ItemKind::Orphan,
        ItemKind::Partition,
        ItemKind::Index,
        ItemKind::MultipartUpload,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            ItemKind::Snapshot => "snapshot",
            ItemKind::Manifest => "manifest",
            ItemKind::Segment => "segment",
            ItemKind::IndexBuild => "index_build",
            ItemKind::Collection => "collection",
            ItemKind::Receipt => "receipt",
            ItemKind::Orphan => "orphan",
            ItemKind::Partition => "partition",
            ItemKind::Index => "index",
            ItemKind::MultipartUpload => "multipart_upload",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == text)
    }
}

/// What became of a thing in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Deleted,
    /// In a dry run: a real one would delete it.
    WouldDelete,
    Kept,
    /// It should have been deleted and could not be; the next run tries again.
    Failed,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Deleted => "deleted",
            Outcome::WouldDelete => "would_delete",
            Outcome::Kept => "kept",
            Outcome::Failed => "failed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Outcome::Deleted, Outcome::WouldDelete, Outcome::Kept, Outcome::Failed]
            .into_iter()
            .find(|o| o.as_str() == text)
    }
}

/// One thing that a run dealt with.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub kind: ItemKind,
    /// Id of the thing, or key of the object.
    pub name: String,
    pub outcome: Outcome,
    pub reason: String,
    pub objects: i64,
    pub size_bytes: i64,
}

/// Items of each outcome that a run keeps at most; its counts go on.
pub const MAX_LISTED_ITEMS: i64 = 10_000;

/// Failed ones of a run of the timer: the next says the same again ten minutes later.
pub const MAX_LISTED_ON_TIME: i64 = 100;

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
    /// Snapshots, manifests, index builds, segments, collections, receipts, ripe orphans and uploads that were found to be
    /// needed by nothing.
    pub candidates: i64,
    /// Pending snapshots whose creating call is gone.
    pub pending_snapshots: i64,
    /// Dropped snapshots whose metadata and manifests were deleted.
    pub snapshots: i64,
    /// Manifests that no snapshot needs any more.
    pub manifests: i64,
    pub segments: i64,
    pub index_builds: i64,
    /// Dropped collections of which nothing is left.
    pub collections: i64,
    /// Rows of dropped partitions and index definitions of living collections that nothing names any more.
    pub partitions: i64,
    pub indexes: i64,
    /// Objects deleted, and their bytes as recorded in the catalog.
    pub objects: i64,
    pub bytes: i64,
    /// Objects without a row that were found, and those of them that were deleted.
    pub orphans_found: i64,
    pub orphans_deleted: i64,
    /// Multipart uploads that nobody will end, and those of them that were aborted.
    pub uploads_found: i64,
    pub uploads_aborted: i64,
    /// Why the store's multipart uploads could not be listed.
    pub uploads_unlisted: Option<String>,
    /// Why the look for orphans came to no end.
    pub orphan_error: Option<String>,
    /// Dropped segments and builds that a snapshot still needs.
    pub kept_by_snapshots: i64,
    /// Dropped segments, builds and snapshots that only their grace period keeps.
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
    /// Seconds for which orphans were left alone; none when the run did not look for them.
    pub orphan_tolerance_seconds: Option<i64>,
    pub state: String,
    /// Why it failed.
    pub error: Option<String>,
    pub report: Report,
    pub started_at: OffsetDateTime,
    pub finished_at: Option<OffsetDateTime>,
}
