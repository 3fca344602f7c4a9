//! `/v1/restore-jobs/{job_id}`: change, pause, resume, cancel.

use super::guard::State;
use axum::Json;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::ApiState;
use super::extract::{Body, Name};
use super::problem::ApiError;
use super::restores::{RestoreJobResponse, job_id};
use super::types::{Count, Id};
use crate::service::ControlChange;
use crate::telemetry::count_job;

/// What to change about a restore job; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"priority": 2, "max_concurrency": 4, "max_bytes_per_second": null})))]
pub struct ChangeRestoreJobRequest {
    /// -10 to 10: a point more doubles the job's share of the workers.
    #[serde(default)]
    #[schema(minimum = -10, maximum = 10)]
    pub priority: Option<i32>,
    /// Segments of this job that are copied at the same time, over all replicas; `null`: no limit,
    /// but two of a job with `max_bytes_per_second`. When it is lowered, what is too much stops within seconds and waits.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<i32>, minimum = 1)]
    pub max_concurrency: Option<Option<i32>>,
    /// Bytes that this job copies in a second, over all replicas; `null`: no limit. Every running
    /// segment has an equal share, which follows a change within seconds; a file waits until its
    /// bytes are paid for, then it is copied at full speed.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<i64>, minimum = 1)]
    pub max_bytes_per_second: Option<Option<Count>>,
}

impl ChangeRestoreJobRequest {
    /// The change that is asked for.
    pub fn into_change(self) -> ControlChange {
        ControlChange {
            priority: self.priority,
            max_concurrency: self.max_concurrency,
            max_bytes_per_second: self.max_bytes_per_second.map(|limit| limit.map(|n| n.0)),
        }
    }
}

/// Tells `null` from a field that is absent.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Change a restore job
///
/// Its share of the workers and its limits, also while it runs.
#[utoipa::path(patch, path = "/v1/restore-jobs/{job_id}", operation_id = "change_restore_job", tag = "restores",
    params(("job_id" = Id, Path, description = "The job", example = "470700000000000100")), request_body = ChangeRestoreJobRequest,
    responses((status = 200, description = "The job, changed", body = RestoreJobResponse)))]
pub async fn change_restore_job(
    State(state): State<ApiState>,
    Name(id): Name,
    Body(body): Body<ChangeRestoreJobRequest>,
) -> Result<Json<RestoreJobResponse>, ApiError> {
    Ok(Json(
        state.service.change_restore(job_id(&id)?, body.into_change()).await?.into(),
    ))
}

/// Pause a restore job
///
/// What runs stops within seconds and is not charged; files that are copied stay, and so does the snapshot. A paused job stays as it is.
#[utoipa::path(post, path = "/v1/restore-jobs/{job_id}/pause", operation_id = "pause_restore_job", tag = "restores",
    params(("job_id" = Id, Path, description = "The job", example = "470700000000000100")),
    responses((status = 200, description = "The job, paused", body = RestoreJobResponse)))]
pub async fn pause_restore_job(State(state): State<ApiState>, Name(id): Name) -> Result<Json<RestoreJobResponse>, ApiError> {
    Ok(Json(state.service.pause_restore(job_id(&id)?).await?.into()))
}

/// Resume a restore job
///
/// It goes on from where it was; no file that is there is copied again. A running job stays as it is.
#[utoipa::path(post, path = "/v1/restore-jobs/{job_id}/resume", operation_id = "resume_restore_job", tag = "restores",
    params(("job_id" = Id, Path, description = "The job", example = "470700000000000100")),
    responses((status = 200, description = "The job, running", body = RestoreJobResponse)))]
pub async fn resume_restore_job(State(state): State<ApiState>, Name(id): Name) -> Result<Json<RestoreJobResponse>, ApiError> {
    Ok(Json(state.service.resume_restore(job_id(&id)?).await?.into()))
}

/// Cancel a restore job
///
/// The target's name is free at once; what was copied is deleted when no worker can still write.
#[utoipa::path(post, path = "/v1/restore-jobs/{job_id}/cancel", operation_id = "cancel_restore_job", tag = "restores",
    params(("job_id" = Id, Path, description = "The job", example = "470700000000000100")),
    responses((status = 200, description = "The job, cancelled", body = RestoreJobResponse)))]
pub async fn cancel_restore_job(State(state): State<ApiState>, Name(id): Name) -> Result<Json<RestoreJobResponse>, ApiError> {
    let job = state.service.cancel_restore(job_id(&id)?).await?;
    count_job(job.state.as_str(), job.time_cost_ms);
    Ok(Json(job.into()))
}
