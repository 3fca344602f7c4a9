//! Why an object is kept, and when it could go.

use time::OffsetDateTime;

use super::id::{BuildId, CollectionId, JobId, SegmentId, SnapshotId};
use super::snapshot::Pin;

/// What an object is, by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// Says which catalog owns the storage root.
    Marker,
    SnapshotMetadata,
    Manifest,
    /// Of a restore job.
    Receipt,
    SegmentFile,
    IndexFile,
    /// Nothing that this service knows how to read: never touched.
    Unmanaged,
}

/// Something that keeps an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeper {
    /// The living segment that it is a file of.
    Segment(SegmentId),
    /// The living index build that it is a file of.
    IndexBuild(BuildId),
    Snapshot {
        id: SnapshotId,
        name: String,
        /// Dropped, in its grace period.
        dropped: bool,
        /// Those that have not expired.
        pins: i64,
        /// The first of them.
        pinned_by: Vec<Pin>,
        on_hold: bool,
    },
    /// A restore that is reading or writing it.
    RestoreJob(JobId),
    /// The collection is external: its files are never deleted here.
    ExternalCollection(CollectionId),
}

/// What is known about an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Relative to the storage root.
    pub key: String,
    pub kind: ObjectKind,
    /// None: there is no such object.
    pub size_bytes: Option<u64>,
    pub collection: Option<CollectionId>,
    pub segment: Option<SegmentId>,
    pub build: Option<BuildId>,
    pub snapshot: Option<SnapshotId>,
    /// Whether the catalog has a row for what it belongs to, which names it.
    pub known: bool,
    /// The first of them.
    pub kept_by: Vec<Keeper>,
    pub kept_by_total: i64,
    /// The collector may delete it from then on, if nothing changes; none: not as long as it is
    /// kept, or never.
    pub may_go_at: Option<OffsetDateTime>,
    /// All of it in one sentence.
    pub reason: String,
}
