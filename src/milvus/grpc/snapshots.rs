//! Snapshots and pins.

use super::call::Call;
use crate::milvus::SnapshotCall;
use crate::milvus::proto::common::Status;
use crate::milvus::proto::milvus::{
    CreateSnapshotRequest, DescribeSnapshotRequest, DescribeSnapshotResponse, DropSnapshotRequest, ListSnapshotsRequest,
    ListSnapshotsResponse, PinSnapshotDataRequest, PinSnapshotDataResponse, UnpinSnapshotDataRequest,
};
use crate::milvus::status::{Refusal, success};

macro_rules! named {
    ($call:expr) => {
        SnapshotCall {
            db_name: $call.db(&$call.message.db_name),
            snapshot_name: &$call.message.name,
            collection_name: &$call.message.collection_name,
        }
    };
}

/// Creates a snapshot.
pub async fn create_snapshot(call: Call<CreateSnapshotRequest>) -> Result<Status, Refusal> {
    let message = &call.message;
    let created = call
        .facade
        .create_snapshot(named!(call), &message.description, message.compaction_protection_seconds);
    created.await?;
    Ok(success())
}

/// Drops a snapshot.
pub async fn drop_snapshot(call: Call<DropSnapshotRequest>) -> Result<Status, Refusal> {
    call.facade.drop_snapshot(named!(call)).await?;
    Ok(success())
}

/// Lists names of snapshots.
pub async fn list_snapshots(call: Call<ListSnapshotsRequest>) -> Result<ListSnapshotsResponse, Refusal> {
    let db = call.db(&call.message.db_name);
    Ok(ListSnapshotsResponse {
        status: Some(success()),
        snapshots: call.facade.list_snapshots(db, &call.message.collection_name).await?,
    })
}

/// Describes a snapshot.
pub async fn describe_snapshot(call: Call<DescribeSnapshotRequest>) -> Result<DescribeSnapshotResponse, Refusal> {
    let (snapshot, captured) = call.facade.describe_snapshot(named!(call)).await?;
    Ok(DescribeSnapshotResponse {
        status: Some(success()),
        name: snapshot.name,
        description: snapshot.description,
        collection_name: snapshot.collection_name,
        partition_names: captured.partitions.into_iter().map(|p| p.name).collect(),
        create_ts: snapshot.create_ts,
        s3_location: snapshot.s3_location,
    })
}

/// Pins a snapshot.
pub async fn pin_snapshot_data(call: Call<PinSnapshotDataRequest>) -> Result<PinSnapshotDataResponse, Refusal> {
    Ok(PinSnapshotDataResponse {
        status: Some(success()),
        pin_id: call.facade.pin_snapshot(named!(call), call.message.ttl_seconds).await?,
    })
}

/// Deletes a pin.
pub async fn unpin_snapshot_data(call: Call<UnpinSnapshotDataRequest>) -> Result<Status, Refusal> {
    call.facade.unpin_snapshot(call.message.pin_id).await?;
    Ok(success())
}
