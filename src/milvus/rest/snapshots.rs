//! `/v2/vectordb/snapshots/...`.

use super::answer::{Done, Envelope, Failed, MilvusNothing};
use super::bodies::{
    MilvusCreateSnapshot, MilvusDescribeSnapshot, MilvusJobId, MilvusListSnapshots, MilvusPinId, MilvusPinSnapshot,
    MilvusRestoreSnapshot, MilvusSnapshot, MilvusSnapshotName, MilvusUnpinSnapshot,
};
use super::passage::State;
use super::request::{Call, positive};
use crate::milvus::{Facade, RestoreCall, SnapshotCall, names};

/// Create a snapshot
#[utoipa::path(post, path = "/v2/vectordb/snapshots/create", operation_id = "milvus_create_snapshot", tag = "milvus",
    request_body = MilvusCreateSnapshot,
    responses((status = 200, description = "Created, or why not", body = Envelope<MilvusNothing>, example = json!({"code": 0, "message": "", "data": {}}))))]
pub async fn create(State(facade): State<Facade>, call: Call<MilvusCreateSnapshot>) -> Result<Done<MilvusNothing>, Failed> {
    let body = &call.body;
    let snapshot = SnapshotCall {
        db_name: call.db(&body.db_name),
        snapshot_name: &body.snapshot_name,
        collection_name: &body.collection_name,
    };
    facade
        .create_snapshot(snapshot, &body.description, body.compaction_protection_seconds)
        .await?;
    Ok(Done(MilvusNothing {}))
}

/// Drop a snapshot
///
/// One that is not there is success.
#[utoipa::path(post, path = "/v2/vectordb/snapshots/drop", operation_id = "milvus_drop_snapshot", tag = "milvus",
    request_body = MilvusSnapshotName,
    responses((status = 200, description = "Dropped, or why not", body = Envelope<MilvusNothing>, example = json!({"code": 0, "message": "", "data": {}}))))]
pub async fn drop_one(State(facade): State<Facade>, call: Call<MilvusSnapshotName>) -> Result<Done<MilvusNothing>, Failed> {
    let snapshot = SnapshotCall {
        db_name: call.db(&call.body.db_name),
        snapshot_name: &call.body.snapshot_name,
        collection_name: &call.body.collection_name,
    };
    facade.drop_snapshot(snapshot).await?;
    Ok(Done(MilvusNothing {}))
}

/// List snapshots
///
/// Their names, newest first.
#[utoipa::path(post, path = "/v2/vectordb/snapshots/list", operation_id = "milvus_list_snapshots", tag = "milvus",
    request_body = MilvusListSnapshots,
    responses((status = 200, description = "The names, or why not", body = Envelope<Vec<String>>, example = json!({"code": 0, "message": "", "data": ["backup_20240101"]}))))]
pub async fn list(State(facade): State<Facade>, call: Call<MilvusListSnapshots>) -> Result<Done<Vec<String>>, Failed> {
    let db = call.db(&call.body.db_name);
    Ok(Done(facade.list_snapshots(db, &call.body.collection_name).await?))
}

/// Describe a snapshot
#[utoipa::path(post, path = "/v2/vectordb/snapshots/describe", operation_id = "milvus_describe_snapshot", tag = "milvus",
    request_body = MilvusDescribeSnapshot,
    responses((status = 200, description = "The snapshot, or why not", body = Envelope<MilvusSnapshot>, example = json!({"code": 0, "message": "", "data": {
        "snapshotName": "backup_20240101", "description": "Daily backup", "collectionName": "my_collection", "partitionNames": ["_default"],
        "createTs": "470644641416347649", "s3Location": "https://s3.eu-central-1.amazonaws.com/bucket/prefix/snapshots/470644622231601173/metadata/470700000000000001.json"}}))))]
pub async fn describe(State(facade): State<Facade>, call: Call<MilvusDescribeSnapshot>) -> Result<Done<MilvusSnapshot>, Failed> {
    let snapshot = SnapshotCall {
        db_name: call.db(&call.body.db_name),
        snapshot_name: &call.body.snapshot_name,
        collection_name: &call.body.collection_name,
    };
    let (snapshot, captured) = facade.describe_snapshot(snapshot).await?;
    Ok(Done(MilvusSnapshot {
        create_ts: call.int64(snapshot.create_ts),
        snapshot_name: snapshot.name,
        description: snapshot.description,
        collection_name: snapshot.collection_name,
        partition_names: captured.partitions.into_iter().map(|p| p.name).collect(),
        s3_location: snapshot.s3_location,
    }))
}

/// Restore a snapshot
///
/// Into a new collection. Answers at once with a job.
#[utoipa::path(post, path = "/v2/vectordb/snapshots/restore", operation_id = "milvus_restore_snapshot", tag = "milvus",
    request_body = MilvusRestoreSnapshot,
    responses((status = 200, description = "The job, or why not", body = Envelope<MilvusJobId>, example = json!({"code": 0, "message": "", "data": {"jobId": "470700000000000100"}}))))]
pub async fn restore(State(facade): State<Facade>, call: Call<MilvusRestoreSnapshot>) -> Result<Done<MilvusJobId>, Failed> {
    let body = &call.body;
    // blanks would be read as the older form of the call, which REST never had
    names::collection(&body.target_collection_name)?;
    let restore = RestoreCall {
        source: SnapshotCall {
            db_name: call.db(&body.db_name),
            snapshot_name: &body.snapshot_name,
            collection_name: &body.source_collection_name,
        },
        // not the source's: facts §2
        target_db_name: call.db(&body.target_db_name),
        target_collection_name: &body.target_collection_name,
    };
    let job_id = facade.restore_snapshot(restore).await?;
    Ok(Done(MilvusJobId {
        job_id: call.int64(job_id.0),
    }))
}

/// Pin a snapshot
///
/// It can't be dropped until the pin expires or is deleted.
#[utoipa::path(post, path = "/v2/vectordb/snapshots/pin", operation_id = "milvus_pin_snapshot", tag = "milvus",
    request_body = MilvusPinSnapshot,
    responses((status = 200, description = "The pin, or why not", body = Envelope<MilvusPinId>, example = json!({"code": 0, "message": "", "data": {"pinId": "470700000000000300"}}))))]
pub async fn pin(State(facade): State<Facade>, call: Call<MilvusPinSnapshot>) -> Result<Done<MilvusPinId>, Failed> {
    let snapshot = SnapshotCall {
        db_name: call.db(&call.body.db_name),
        snapshot_name: &call.body.snapshot_name,
        collection_name: &call.body.collection_name,
    };
    let pin_id = facade.pin_snapshot(snapshot, call.body.ttl_seconds).await?;
    Ok(Done(MilvusPinId {
        pin_id: call.int64(pin_id),
    }))
}

/// Delete a pin
///
/// One that is not there is success.
#[utoipa::path(post, path = "/v2/vectordb/snapshots/unpin", operation_id = "milvus_unpin_snapshot", tag = "milvus",
    request_body = MilvusUnpinSnapshot,
    responses((status = 200, description = "Deleted, or why not", body = Envelope<MilvusNothing>, example = json!({"code": 0, "message": "", "data": {}}))))]
pub async fn unpin(State(facade): State<Facade>, call: Call<MilvusUnpinSnapshot>) -> Result<Done<MilvusNothing>, Failed> {
    facade.unpin_snapshot(positive("pinId", &call.body.pin_id)?).await?;
    Ok(Done(MilvusNothing {}))
}
