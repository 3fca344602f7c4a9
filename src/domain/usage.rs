//! What takes how much room.

/// Bytes of a catalog or of one of its databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Of living segments and index builds of owned collections.
    pub live_bytes: i64,
    /// The part of it that snapshots need too.
    pub shared_bytes: i64,
    /// Of dropped segments and index builds that only snapshots keep.
    pub held_by_snapshots_bytes: i64,
    /// Of dropped segments and index builds that nothing needs, and of targets of restores that did not end well: they wait
    /// for the collector.
    pub waiting_bytes: i64,
    /// Of external collections: not ours, never deleted here.
    pub external_bytes: i64,
    /// Metadata files, manifests and receipts of restores.
    pub metadata_bytes: i64,
    /// Objects without a row, as the collector last found them.
    pub orphan_bytes: i64,
    /// Files of owned segments and index builds.
    pub owned_files: i64,
    /// Committed snapshots.
    pub snapshots: i64,
}

/// What the drop of some snapshots would free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freed {
    pub segments: i64,
    pub index_builds: i64,
    pub data_files: i64,
    /// Of data files that would be deleted.
    pub data_bytes: i64,
    /// The same things as the snapshots captured them: without files appended since.
    pub captured_bytes: i64,
    /// Metadata files, manifests and receipts of restores.
    pub metadata_objects: i64,
    pub metadata_bytes: i64,
}

/// What one snapshot takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotUsage {
    /// Bytes of what it captured, whoever else needs it.
    pub logical_bytes: i64,
    /// The part of it that would stay after a drop, since something else needs it.
    pub shared_bytes: i64,
    /// What a drop would free.
    pub freed: Freed,
}
