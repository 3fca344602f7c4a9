//! Restores and their jobs.

use super::call::Call;
use super::databases::millis;
use crate::domain::restore::RestoreJob;
use crate::milvus::facade::state_number;
use crate::milvus::proto::milvus::{
    GetRestoreSnapshotStateRequest, GetRestoreSnapshotStateResponse, ListRestoreSnapshotJobsRequest,
    ListRestoreSnapshotJobsResponse, RestoreSnapshotInfo, RestoreSnapshotRequest, RestoreSnapshotResponse,
};
use crate::milvus::status::{Refusal, job_reason, success};
use crate::milvus::{RestoreCall, SnapshotCall};

fn info(job: RestoreJob) -> RestoreSnapshotInfo {
    RestoreSnapshotInfo {
        job_id: job.job_id.0,
        state: state_number(job.state).into(),
        progress: job.progress(),
        start_time: millis(job.created_at),
        time_cost: u64::try_from(job.time_cost_ms).unwrap_or(0),
        reason: job_reason(&job),
        snapshot_name: job.snapshot_name,
        db_name: job.db_name,
        collection_name: job.collection_name,
    }
}

/// Starts a restore.
pub async fn restore_snapshot(call: Call<RestoreSnapshotRequest>) -> Result<RestoreSnapshotResponse, Refusal> {
    let message = &call.message;
    let request = RestoreCall {
        source: SnapshotCall {
            db_name: call.db(&message.db_name),
            snapshot_name: &message.name,
            collection_name: &message.collection_name,
        },
        target_db_name: &message.target_db_name,
        target_collection_name: &message.target_collection_name,
    };
    let job_id = call.facade.restore_snapshot(request).await?;
    Ok(RestoreSnapshotResponse {
        status: Some(success()),
        job_id: job_id.0,
    })
}

/// Finds a job.
pub async fn get_restore_snapshot_state(
    call: Call<GetRestoreSnapshotStateRequest>,
) -> Result<GetRestoreSnapshotStateResponse, Refusal> {
    let job = call.facade.restore_job(call.message.job_id).await?;
    Ok(GetRestoreSnapshotStateResponse {
        status: Some(success()),
        info: Some(info(job)),
    })
}

/// Lists jobs: those of all databases when the call names none.
pub async fn list_restore_snapshot_jobs(
    call: Call<ListRestoreSnapshotJobsRequest>,
) -> Result<ListRestoreSnapshotJobsResponse, Refusal> {
    let message = &call.message;
    let jobs = call
        .facade
        .restore_jobs(call.db_if_named(&message.db_name), &message.collection_name);
    Ok(ListRestoreSnapshotJobsResponse {
        status: Some(success()),
        jobs: jobs.await?.into_iter().map(info).collect(),
    })
}
