//! `/v2/vectordb/jobs/snapshot/...`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{Done, Envelope, Failed, Int64};
use super::passage::State;
use super::request::{Call, Fields, id_text, positive};
use crate::domain::restore::RestoreJob;
use crate::milvus::Facade;
use crate::milvus::facade::state_number;
use crate::milvus::status::job_reason;

/// A job.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(examples(json!({"jobId": "470700000000000100"})))]
pub struct MilvusDescribeJob {
    #[serde(deserialize_with = "id_text")]
    #[schema(required = true)]
    pub(super) job_id: String,
}

impl Fields for MilvusDescribeJob {
    fn required(&self) -> Vec<(&'static str, &str)> {
        vec![("jobId", &self.job_id)]
    }
}

/// Which jobs.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(examples(json!({"collectionName": "restored_collection"})))]
pub struct MilvusListJobs {
    /// Database of the target; every one when neither this nor the header names one.
    db_name: String,
    /// Only jobs with this target, by its name or alias; then the database is `default` when none is named.
    collection_name: String,
}

impl Fields for MilvusListJobs {
    fn required(&self) -> Vec<(&'static str, &str)> {
        Vec::new()
    }
}

/// A restore job.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MilvusRestoreJob {
    #[schema(value_type = String)]
    job_id: Int64,
    snapshot_name: String,
    /// Database of the target.
    db_name: String,
    /// Name of the target.
    collection_name: String,
    /// `RestoreSnapshotPending`, `RestoreSnapshotExecuting`, `RestoreSnapshotCompleted` or `RestoreSnapshotFailed`.
    state: &'static str,
    progress: i32,
    reason: String,
    /// Milliseconds since 1970.
    #[schema(value_type = String)]
    start_time: Int64,
    /// Milliseconds.
    #[schema(value_type = String)]
    time_cost: Int64,
}

impl MilvusRestoreJob {
    fn of<T>(call: &Call<T>, job: RestoreJob) -> Self {
        let (start_time, time_cost) = times(call, &job);
        Self {
            job_id: call.int64(job.job_id.0),
            state: state_number(job.state).as_str_name(),
            progress: job.progress(),
            start_time,
            time_cost,
            reason: job_reason(&job),
            snapshot_name: job.snapshot_name,
            db_name: job.db_name,
            collection_name: job.collection_name,
        }
    }
}

/// When a job began, and what it took, in milliseconds.
pub(super) fn times<T>(call: &Call<T>, job: &RestoreJob) -> (Int64, Int64) {
    let start_ms = job.created_at.unix_timestamp_nanos() / 1_000_000;
    (
        call.int64(i64::try_from(start_ms).unwrap_or_default()),
        call.int64(job.time_cost_ms),
    )
}

/// A list of jobs.
#[derive(Debug, Serialize, ToSchema)]
pub struct MilvusRestoreJobs {
    records: Vec<MilvusRestoreJob>,
}

/// Describe a restore job
#[utoipa::path(post, path = "/v2/vectordb/jobs/snapshot/describe", operation_id = "milvus_describe_restore_job", tag = "milvus",
    request_body = MilvusDescribeJob,
    responses((status = 200, description = "The job, or why not", body = Envelope<MilvusRestoreJob>, example = json!({"code": 0, "message": "", "data": {
        "jobId": "470700000000000100", "snapshotName": "backup_20240101", "dbName": "default", "collectionName": "restored_collection",
        "state": "RestoreSnapshotExecuting", "progress": 42, "reason": "", "startTime": "1704067200000", "timeCost": "1234"}}))))]
pub async fn describe_job(State(facade): State<Facade>, call: Call<MilvusDescribeJob>) -> Result<Done<MilvusRestoreJob>, Failed> {
    let job = facade.restore_job(positive("jobId", &call.body.job_id)?).await?;
    Ok(Done(MilvusRestoreJob::of(&call, job)))
}

/// List restore jobs
///
/// Newest first.
#[utoipa::path(post, path = "/v2/vectordb/jobs/snapshot/list", operation_id = "milvus_list_restore_jobs", tag = "milvus",
    request_body = MilvusListJobs,
    responses((status = 200, description = "The jobs, or why not", body = Envelope<MilvusRestoreJobs>, example = json!({"code": 0, "message": "", "data": {"records": [{
        "jobId": "470700000000000100", "snapshotName": "backup_20240101", "dbName": "default", "collectionName": "restored_collection",
        "state": "RestoreSnapshotCompleted", "progress": 100, "reason": "", "startTime": "1704067200000", "timeCost": "2345"}]}}))))]
pub async fn list_jobs(State(facade): State<Facade>, call: Call<MilvusListJobs>) -> Result<Done<MilvusRestoreJobs>, Failed> {
    let db_name = call.db_if_named(&call.body.db_name);
    let jobs = facade.restore_jobs(db_name, &call.body.collection_name).await?;
    Ok(Done(MilvusRestoreJobs {
        records: jobs.into_iter().map(|job| MilvusRestoreJob::of(&call, job)).collect(),
    }))
}
