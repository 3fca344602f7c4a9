//! `milvus.proto.milvus.MilvusService`: which calls there are, and who answers them.

mod aliases;
pub(super) mod call;
mod collections;
mod connection;
mod databases;
mod exports;
mod indexes;
mod load;
mod named;
mod partitions;
mod reply;
mod restores;
mod schema;
mod segments;
mod snapshots;
mod unserved;

use axum::Router;
use axum::routing::post;

use super::Facade;

pub use unserved::UNSERVED;

/// Where the calls lie.
const SERVICE: &str = "/milvus.proto.milvus.MilvusService";

macro_rules! calls {
    ($($name:literal $handler:path),+ $(,)?) => {
        /// The calls that are served.
        pub const CALLS: &[&str] = &[$($name),+];

        fn served() -> Router<Facade> {
            Router::new()$(.route(concat!("/milvus.proto.milvus.MilvusService/", $name), call::unary($name, concat!("milvus.", $name), $handler)))+
        }
    };
}

calls! {
    "Connect" connection::connect,
    "GetVersion" connection::get_version,
    "CheckHealth" connection::check_health,
    "AllocTimestamp" connection::alloc_timestamp,
    "ListDatabases" databases::list_databases,
    "CreateDatabase" databases::create_database,
    "DropDatabase" databases::drop_database,
    "DescribeDatabase" databases::describe_database,
    "CreateCollection" collections::create_collection,
    "HasCollection" collections::has_collection,
    "DescribeCollection" collections::describe_collection,
    "ShowCollections" collections::show_collections,
    "DropCollection" collections::drop_collection,
    "RenameCollection" collections::rename_collection,
    "AlterCollection" collections::alter_collection,
    "GetCollectionStatistics" collections::get_collection_statistics,
    "CreatePartition" partitions::create_partition,
    "HasPartition" partitions::has_partition,
    "ShowPartitions" partitions::show_partitions,
    "DropPartition" partitions::drop_partition,
    "CreateAlias" aliases::create_alias,
    "AlterAlias" aliases::alter_alias,
    "DropAlias" aliases::drop_alias,
    "DescribeAlias" aliases::describe_alias,
    "ListAliases" aliases::list_aliases,
    "CreateIndex" indexes::create_index,
    "DescribeIndex" indexes::describe_index,
    "AlterIndex" indexes::alter_index,
    "DropIndex" indexes::drop_index,
    "Flush" segments::flush,
    "GetFlushState" segments::get_flush_state,
    "GetPersistentSegmentInfo" segments::get_persistent_segment_info,
    "LoadCollection" load::load_collection,
    "ReleaseCollection" load::release_collection,
    "LoadPartitions" load::load_partitions,
    "ReleasePartitions" load::release_partitions,
    "GetLoadingProgress" load::get_loading_progress,
    "GetLoadState" load::get_load_state,
    "CreateSnapshot" snapshots::create_snapshot,
    "DropSnapshot" snapshots::drop_snapshot,
    "ListSnapshots" snapshots::list_snapshots,
    "DescribeSnapshot" snapshots::describe_snapshot,
    "PinSnapshotData" snapshots::pin_snapshot_data,
    "UnpinSnapshotData" snapshots::unpin_snapshot_data,
    "RestoreSnapshot" restores::restore_snapshot,
    "GetRestoreSnapshotState" restores::get_restore_snapshot_state,
    "ListRestoreSnapshotJobs" restores::list_restore_snapshot_jobs,
    "ExportSnapshot" exports::export_snapshot,
    "GetExportSnapshotState" exports::get_export_snapshot_state,
    "RestoreExternalSnapshot" exports::restore_external_snapshot,
}

/// Milvus' API over gRPC, to be merged with the other routes of the port.
pub fn router(facade: Facade) -> Router {
    let mut router = served();
    for (name, kind, shape) in UNSERVED {
        router = router.route(&format!("{SERVICE}/{name}"), unserved::refused(name, *kind, *shape));
    }
    router
        .route(&format!("{SERVICE}/{{call}}"), post(unserved::unknown))
        .with_state(facade)
}
