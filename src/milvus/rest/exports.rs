//! `/v2/vectordb/jobs/snapshot/export...` and `.../restore_external`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use utoipa::ToSchema;

use super::answer::{Done, Envelope, Failed, Int64};
use super::bodies::MilvusJobId;
use super::jobs::{MilvusDescribeJob, times};
use super::passage::State;
use super::request::{Call, Fields, positive};
use crate::milvus::facade::ExportInfo;
use crate::milvus::status::job_reason;
use crate::milvus::{ExportCall, ExternalCall, Facade, SnapshotCall};

/// `externalSpec`: JSON in a string; the object itself is accepted all the same. It may hold
/// secrets, so it is never shown, and no parser's error speaks of it.
#[derive(Default)]
pub struct SpecText(String);

impl std::fmt::Debug for SpecText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SpecText(..)")
    }
}

impl<'de> Deserialize<'de> for SpecText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Value::deserialize(deserializer)? {
            Value::String(text) => text,
            Value::Null => String::new(),
            other => other.to_string(),
        }))
    }
}

// the document shows the default of a field
impl Serialize for SpecText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("")
    }
}

/// An export to start.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(examples(json!({"collectionName": "my_collection", "snapshotName": "backup_20240101", "targetS3Path": "s3://backups/nightly"})))]
pub struct MilvusExportSnapshot {
    pub db_name: String,
    /// Name or alias; may be left out where only one collection has a snapshot of this name.
    pub collection_name: String,
    #[schema(required = true)]
    pub snapshot_name: String,
    /// A path in the service's own storage, or a whole URI (`s3://bucket/prefix`, `https://server/bucket/prefix`).
    /// The bundle goes into a new directory `exports/{uuid}` below it.
    #[schema(required = true)]
    pub target_s3_path: String,
    /// JSON with credentials for a bucket that is in no store of the configuration: `{"extfs": {"access_key_id", "access_key_value", ...}}`. They are kept encrypted until the job has ended, and never shown.
    #[schema(value_type = String)]
    pub external_spec: SpecText,
}

impl Fields for MilvusExportSnapshot {
    fn required(&self) -> Vec<(&'static str, &str)> {
        vec![("snapshotName", &self.snapshot_name), ("targetS3Path", &self.target_s3_path)]
    }
}

/// A restore from an export to start.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(examples(json!({
    "targetCollectionName": "restored_collection",
    "snapshotMetadataURI": "s3://backups/nightly/exports/0b8f2c1e-54a7-4a53-9d3e-3c2f6f3e1a11/snapshots/470644622231601173/metadata/470700000000000001.json"
})))]
pub struct MilvusRestoreExternal {
    /// Of the target.
    pub db_name: String,
    /// Must be free.
    #[schema(required = true)]
    pub target_collection_name: String,
    /// Whole URI of the bundle's metadata file, as the export job has it; or its path in the service's own storage.
    #[serde(rename = "snapshotMetadataURI")]
    #[schema(required = true)]
    pub snapshot_metadata_uri: String,
    /// JSON with credentials for a bucket that is in no store of the configuration, as of an export.
    #[schema(value_type = String)]
    pub external_spec: SpecText,
}

impl Fields for MilvusRestoreExternal {
    fn required(&self) -> Vec<(&'static str, &str)> {
        vec![
            ("targetCollectionName", &self.target_collection_name),
            ("snapshotMetadataURI", &self.snapshot_metadata_uri),
        ]
    }
}

/// An export job.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MilvusExportJob {
    #[schema(value_type = String)]
    job_id: Int64,
    snapshot_name: String,
    db_name: String,
    /// The snapshot's collection.
    collection_name: String,
    /// `ExportSnapshotPending`, `ExportSnapshotExecuting`, `ExportSnapshotCompleted` or `ExportSnapshotFailed`.
    state: &'static str,
    progress: i32,
    reason: String,
    /// Milliseconds since 1970.
    #[schema(value_type = String)]
    start_time: Int64,
    /// Milliseconds.
    #[schema(value_type = String)]
    time_cost: Int64,
    #[schema(value_type = String)]
    total_files: Int64,
    #[schema(value_type = String)]
    copied_files: Int64,
    #[schema(value_type = String)]
    total_bytes: Int64,
    /// Whole URI of the bundle's metadata file; empty unless the job is completed.
    #[serde(rename = "snapshotMetadataURI")]
    snapshot_metadata_uri: String,
}

impl MilvusExportJob {
    fn of<T>(call: &Call<T>, found: ExportInfo) -> Self {
        let job = found.job;
        let (start_time, time_cost) = times(call, &job);
        Self {
            job_id: call.int64(job.job_id.0),
            state: found.state.as_str_name(),
            progress: found.progress,
            start_time,
            time_cost,
            total_files: call.int64(job.total_files),
            copied_files: call.int64(job.done_files),
            total_bytes: call.int64(job.total_bytes),
            snapshot_metadata_uri: found.snapshot_metadata_uri,
            reason: job_reason(&job),
            snapshot_name: job.snapshot_name,
            db_name: job.db_name,
            collection_name: job.collection_name,
        }
    }
}

/// Export a snapshot
///
/// As a bundle that needs neither this service nor its catalog. Answers at once with a job.
#[utoipa::path(post, path = "/v2/vectordb/jobs/snapshot/export", operation_id = "milvus_export_snapshot", tag = "milvus",
    request_body = MilvusExportSnapshot,
    responses((status = 200, description = "The job, or why not", body = Envelope<MilvusJobId>, example = json!({"code": 0, "message": "", "data": {"jobId": "470700000000000300"}}))))]
pub async fn export(State(facade): State<Facade>, call: Call<MilvusExportSnapshot>) -> Result<Done<MilvusJobId>, Failed> {
    let body = &call.body;
    let export = ExportCall {
        source: SnapshotCall {
            db_name: call.db(&body.db_name),
            snapshot_name: &body.snapshot_name,
            collection_name: &body.collection_name,
        },
        target_s3_path: &body.target_s3_path,
        external_spec: &body.external_spec.0,
    };
    let job_id = facade.export_snapshot(export).await?;
    Ok(Done(MilvusJobId {
        job_id: call.int64(job_id.0),
    }))
}

/// Describe an export job
#[utoipa::path(post, path = "/v2/vectordb/jobs/snapshot/export/describe", operation_id = "milvus_describe_export_job", tag = "milvus",
    request_body = MilvusDescribeJob,
    responses((status = 200, description = "The job, or why not", body = Envelope<MilvusExportJob>, example = json!({"code": 0, "message": "", "data": {
        "jobId": "470700000000000300", "snapshotName": "backup_20240101", "dbName": "default", "collectionName": "my_collection",
        "state": "ExportSnapshotExecuting", "progress": 42, "reason": "", "startTime": "1704067200000", "timeCost": "1234",
        "totalFiles": "48", "copiedFiles": "20", "totalBytes": "8964728", "snapshotMetadataURI": ""}}))))]
pub async fn describe_export(
    State(facade): State<Facade>,
    call: Call<MilvusDescribeJob>,
) -> Result<Done<MilvusExportJob>, Failed> {
    let found = facade.export_job(positive("jobId", &call.body.job_id)?).await?;
    Ok(Done(MilvusExportJob::of(&call, found)))
}

/// Restore a bundle
///
/// That this service or Milvus exported, into a new collection. Answers at once with a restore job: `/v2/vectordb/jobs/snapshot/describe`.
#[utoipa::path(post, path = "/v2/vectordb/jobs/snapshot/restore_external", operation_id = "milvus_restore_external_snapshot", tag = "milvus",
    request_body = MilvusRestoreExternal,
    responses((status = 200, description = "The job, or why not", body = Envelope<MilvusJobId>, example = json!({"code": 0, "message": "", "data": {"jobId": "470700000000000100"}}))))]
pub async fn restore_external(
    State(facade): State<Facade>,
    call: Call<MilvusRestoreExternal>,
) -> Result<Done<MilvusJobId>, Failed> {
    let body = &call.body;
    let restore = ExternalCall {
        db_name: call.db(&body.db_name),
        target_collection_name: &body.target_collection_name,
        snapshot_metadata_uri: &body.snapshot_metadata_uri,
        external_spec: &body.external_spec.0,
    };
    let job_id = facade.restore_external(restore).await?;
    Ok(Done(MilvusJobId {
        job_id: call.int64(job_id.0),
    }))
}
