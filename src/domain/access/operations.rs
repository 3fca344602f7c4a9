//! The one table of what each operation needs. An operation without an entry is refused; a test
//! says which of the OpenAPI document has none.

use super::Permission::{self, Administer, Operate, Read, Write};

/// What an operation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: it says no more than that the service is there.
    Open,
    /// Metrics: read on everything, or nothing where the setting says so.
    Monitoring,
    /// The permission on every database.
    Everywhere(Permission),
    /// The permission on what it names: judged where names are looked up, lists are filtered.
    ByName(Permission),
}

impl Access {
    /// None: it is open.
    pub fn permission(self) -> Option<Permission> {
        match self {
            Self::Open => None,
            Self::Monitoring => Some(Read),
            Self::Everywhere(permission) | Self::ByName(permission) => Some(permission),
        }
    }
}

use Access::{ByName, Everywhere, Monitoring, Open};

/// Operation ids of the OpenAPI document; calls of Milvus' gRPC API stand here as `milvus.` and their
/// name.
pub const OPERATIONS: &[(&str, Access)] = &[
    ("healthz", Open),
    ("readyz", Open),
    ("metrics", Monitoring),
    // databases
    ("list_databases", ByName(Read)),
    ("get_database", ByName(Read)),
    ("create_database", ByName(Administer)),
    ("drop_database", ByName(Administer)),
    // collections and what the engine reports
    ("list_collections", ByName(Read)),
    ("get_collection", ByName(Read)),
    ("create_collection", ByName(Write)),
    ("change_collection", ByName(Write)),
    ("drop_collection", ByName(Write)),
    ("list_partitions", ByName(Read)),
    ("get_partition", ByName(Read)),
    ("create_partition", ByName(Write)),
    ("drop_partition", ByName(Write)),
    ("list_aliases", ByName(Read)),
    ("get_alias", ByName(Read)),
    ("create_alias", ByName(Write)),
    ("move_alias", ByName(Write)),
    ("drop_alias", ByName(Write)),
    ("list_channels", ByName(Read)),
    ("report_channel", ByName(Write)),
    ("list_indexes", ByName(Read)),
    ("get_index", ByName(Read)),
    ("create_index", ByName(Write)),
    ("drop_index", ByName(Write)),
    ("list_segments", ByName(Read)),
    ("get_segment", ByName(Read)),
    ("register_segment", ByName(Write)),
    ("register_segments", ByName(Write)),
    ("change_segment", ByName(Write)),
    ("drop_segment", ByName(Write)),
    ("register_index_build", ByName(Write)),
    ("compact_segments", ByName(Write)),
    ("flush_collection", ByName(Write)),
    // snapshots
    ("list_snapshots", ByName(Read)),
    ("get_snapshot", ByName(Read)),
    ("list_snapshot_segments", ByName(Read)),
    ("get_snapshot_usage", ByName(Read)),
    ("simulate_drop", ByName(Read)),
    ("list_pins", ByName(Read)),
    ("create_snapshot", ByName(Operate)),
    ("change_snapshot", ByName(Operate)),
    ("drop_snapshot", ByName(Operate)),
    ("undelete_snapshot", ByName(Operate)),
    ("verify_snapshot", ByName(Operate)),
    ("create_pin", ByName(Operate)),
    ("delete_pin", ByName(Operate)),
    // restores: on the snapshot's collection and on the target
    ("plan_restore", ByName(Operate)),
    ("restore_snapshot", ByName(Operate)),
    ("materialize_collection", ByName(Operate)),
    ("list_restore_jobs", ByName(Read)),
    ("get_restore_job", ByName(Read)),
    ("list_restore_tasks", ByName(Read)),
    ("stream_restore_events", ByName(Read)),
    ("get_restore_receipt", ByName(Read)),
    ("change_restore_job", ByName(Operate)),
    ("pause_restore_job", ByName(Operate)),
    ("resume_restore_job", ByName(Operate)),
    ("cancel_restore_job", ByName(Operate)),
    // exports: on the snapshot's collection; restores from bundles: on the target
    ("export_snapshot", ByName(Operate)),
    ("list_export_jobs", ByName(Read)),
    ("get_export_job", ByName(Read)),
    ("list_export_tasks", ByName(Read)),
    ("stream_export_events", ByName(Read)),
    ("change_export_job", ByName(Operate)),
    ("pause_export_job", ByName(Operate)),
    ("resume_export_job", ByName(Operate)),
    ("cancel_export_job", ByName(Operate)),
    ("restore_external_snapshot", ByName(Operate)),
    // it looks wherever it is told to in the storage, and takes the ids that it finds there
    ("adopt_snapshots", Everywhere(Administer)),
    ("get_storage", Everywhere(Read)),
    // they hear of every job and collection
    ("list_webhooks", Everywhere(Administer)),
    ("get_webhook", Everywhere(Administer)),
    ("create_webhook", Everywhere(Administer)),
    ("delete_webhook", Everywhere(Administer)),
    ("list_webhook_deliveries", Everywhere(Administer)),
    ("replay_webhook_delivery", Everywhere(Administer)),
    // of the whole catalog; the usage of one database needs read on all of it
    ("get_usage", ByName(Read)),
    ("explain_object", Everywhere(Read)),
    ("list_gc_runs", Everywhere(Administer)),
    ("get_gc_run", Everywhere(Administer)),
    ("list_gc_run_items", Everywhere(Administer)),
    ("start_gc_run", Everywhere(Administer)),
    ("get_orphan_deletion", Everywhere(Administer)),
    ("set_orphan_deletion", Everywhere(Administer)),
    // who may do what, and who did what
    ("list_keys", Everywhere(Administer)),
    ("get_key", Everywhere(Administer)),
    ("create_key", Everywhere(Administer)),
    ("delete_key", Everywhere(Administer)),
    ("list_audit_events", Everywhere(Administer)),
    // Milvus' REST v2
    ("milvus_list_snapshots", ByName(Read)),
    ("milvus_describe_snapshot", ByName(Read)),
    ("milvus_create_snapshot", ByName(Operate)),
    ("milvus_drop_snapshot", ByName(Operate)),
    ("milvus_pin_snapshot", ByName(Operate)),
    ("milvus_unpin_snapshot", ByName(Operate)),
    ("milvus_restore_snapshot", ByName(Operate)),
    ("milvus_describe_restore_job", ByName(Read)),
    ("milvus_list_restore_jobs", ByName(Read)),
    ("milvus_export_snapshot", ByName(Operate)),
    ("milvus_describe_export_job", ByName(Read)),
    ("milvus_restore_external_snapshot", ByName(Operate)),
    // Milvus' gRPC; open here means: to whoever shows who they are
    ("milvus.unserved", Open),
    ("milvus.Connect", Open),
    ("milvus.GetVersion", Open),
    ("milvus.CheckHealth", Open),
    ("milvus.AllocTimestamp", Open),
    ("milvus.ListDatabases", ByName(Read)),
    ("milvus.DescribeDatabase", ByName(Read)),
    ("milvus.CreateDatabase", ByName(Administer)),
    ("milvus.DropDatabase", ByName(Administer)),
    ("milvus.HasCollection", ByName(Read)),
    ("milvus.DescribeCollection", ByName(Read)),
    ("milvus.ShowCollections", ByName(Read)),
    ("milvus.GetCollectionStatistics", ByName(Read)),
    ("milvus.CreateCollection", ByName(Write)),
    ("milvus.DropCollection", ByName(Write)),
    ("milvus.RenameCollection", ByName(Write)),
    ("milvus.AlterCollection", ByName(Write)),
    ("milvus.HasPartition", ByName(Read)),
    ("milvus.ShowPartitions", ByName(Read)),
    ("milvus.CreatePartition", ByName(Write)),
    ("milvus.DropPartition", ByName(Write)),
    ("milvus.DescribeAlias", ByName(Read)),
    ("milvus.ListAliases", ByName(Read)),
    ("milvus.CreateAlias", ByName(Write)),
    ("milvus.AlterAlias", ByName(Write)),
    ("milvus.DropAlias", ByName(Write)),
    ("milvus.DescribeIndex", ByName(Read)),
    ("milvus.CreateIndex", ByName(Write)),
    ("milvus.AlterIndex", ByName(Write)),
    ("milvus.DropIndex", ByName(Write)),
    ("milvus.Flush", ByName(Write)),
    ("milvus.GetFlushState", ByName(Read)),
    ("milvus.GetPersistentSegmentInfo", ByName(Read)),
    // nothing is loaded here: they only look whether there is such a collection
    ("milvus.LoadCollection", ByName(Read)),
    ("milvus.ReleaseCollection", ByName(Read)),
    ("milvus.LoadPartitions", ByName(Read)),
    ("milvus.ReleasePartitions", ByName(Read)),
    ("milvus.GetLoadingProgress", ByName(Read)),
    ("milvus.GetLoadState", ByName(Read)),
    ("milvus.ListSnapshots", ByName(Read)),
    ("milvus.DescribeSnapshot", ByName(Read)),
    ("milvus.CreateSnapshot", ByName(Operate)),
    ("milvus.DropSnapshot", ByName(Operate)),
    ("milvus.PinSnapshotData", ByName(Operate)),
    ("milvus.UnpinSnapshotData", ByName(Operate)),
    ("milvus.RestoreSnapshot", ByName(Operate)),
    ("milvus.GetRestoreSnapshotState", ByName(Read)),
    ("milvus.ListRestoreSnapshotJobs", ByName(Read)),
    ("milvus.ExportSnapshot", ByName(Operate)),
    ("milvus.GetExportSnapshotState", ByName(Read)),
    ("milvus.RestoreExternalSnapshot", ByName(Operate)),
];

/// What an operation needs; none when it has no entry, and nobody may call it.
pub fn needed(operation: &str) -> Option<Access> {
    OPERATIONS.iter().find(|(id, _)| *id == operation).map(|(_, access)| *access)
}
