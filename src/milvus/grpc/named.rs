//! What the messages of calls name, for the audit log of those that are not let in.

use crate::domain::access::{MAX_SUBJECTS, Named};
use crate::milvus::proto::milvus as m;

/// A message of a call.
pub trait Names: prost::Message + Default + 'static {
    /// Notes what it names.
    fn name(&self, named: &mut Named<'_>);
}

/// A field by which things are named.
trait Field {
    fn add(&self, key: &str, named: &mut Named<'_>);
}

impl Field for String {
    fn add(&self, key: &str, named: &mut Named<'_>) {
        named.add(key, self);
    }
}

impl Field for i64 {
    fn add(&self, key: &str, named: &mut Named<'_>) {
        // 0 is how an absent one is read
        if *self != 0 {
            named.add(key, &self.to_string());
        }
    }
}

impl<T: Field> Field for Vec<T> {
    fn add(&self, key: &str, named: &mut Named<'_>) {
        // more of them are not recorded anyway
        self.iter().take(MAX_SUBJECTS + 1).for_each(|one| one.add(key, named));
    }
}

/// Messages with their fields in the order in which they count, and what a field is called elsewhere.
macro_rules! names {
    ($($message:ident { $($field:ident $(as $key:literal)?),* })+) => {$(
        impl Names for m::$message {
            fn name(&self, _named: &mut Named<'_>) {
                $(self.$field.add(names!(@ $field $($key)?), _named);)*
            }
        }
    )+};
    (@ $field:ident) => { stringify!($field) };
    (@ $field:ident $key:literal) => { $key };
}

names! {
    ConnectRequest {}
    GetVersionRequest {}
    CheckHealthRequest {}
    AllocTimestampRequest {}
    ListDatabasesRequest {}
    CreateDatabaseRequest { db_name }
    DropDatabaseRequest { db_name }
    DescribeDatabaseRequest { db_name }
    CreateCollectionRequest { db_name, collection_name }
    HasCollectionRequest { db_name, collection_name }
    DescribeCollectionRequest { db_name, collection_name }
    ShowCollectionsRequest { db_name, collection_names as "collection_name" }
    DropCollectionRequest { db_name, collection_name }
    RenameCollectionRequest { db_name, old_name, new_name, new_db_name }
    AlterCollectionRequest { db_name, collection_name }
    GetCollectionStatisticsRequest { db_name, collection_name }
    CreatePartitionRequest { db_name, collection_name, partition_name }
    HasPartitionRequest { db_name, collection_name, partition_name }
    ShowPartitionsRequest { db_name, collection_name, partition_names as "partition_name" }
    DropPartitionRequest { db_name, collection_name, partition_name }
    CreateAliasRequest { db_name, collection_name, alias }
    AlterAliasRequest { db_name, collection_name, alias }
    DropAliasRequest { db_name, alias }
    DescribeAliasRequest { db_name, alias }
    ListAliasesRequest { db_name, collection_name }
    CreateIndexRequest { db_name, collection_name, index_name }
    DescribeIndexRequest { db_name, collection_name, index_name }
    AlterIndexRequest { db_name, collection_name, index_name }
    DropIndexRequest { db_name, collection_name, index_name }
    FlushRequest { db_name, collection_names as "collection_name" }
    GetFlushStateRequest { db_name, collection_name, segment_i_ds as "segment_id" }
    GetPersistentSegmentInfoRequest { db_name, collection_name }
    LoadCollectionRequest { db_name, collection_name }
    ReleaseCollectionRequest { db_name, collection_name }
    LoadPartitionsRequest { db_name, collection_name, partition_names as "partition_name" }
    ReleasePartitionsRequest { db_name, collection_name, partition_names as "partition_name" }
    GetLoadingProgressRequest { db_name, collection_name, partition_names as "partition_name" }
    GetLoadStateRequest { db_name, collection_name, partition_names as "partition_name" }
    CreateSnapshotRequest { db_name, collection_name, name as "snapshot_name" }
    DropSnapshotRequest { db_name, collection_name, name as "snapshot_name" }
    ListSnapshotsRequest { db_name, collection_name }
    DescribeSnapshotRequest { db_name, collection_name, name as "snapshot_name" }
    PinSnapshotDataRequest { db_name, collection_name, name as "snapshot_name" }
    UnpinSnapshotDataRequest { pin_id }
    RestoreSnapshotRequest { target_db_name, target_collection_name, db_name, collection_name, name as "snapshot_name" }
    GetRestoreSnapshotStateRequest { job_id }
    ListRestoreSnapshotJobsRequest { db_name, collection_name }
    ExportSnapshotRequest { db_name, collection_name, name as "snapshot_name" }
    GetExportSnapshotStateRequest { job_id }
    RestoreExternalSnapshotRequest { db_name, target_collection_name }
}
