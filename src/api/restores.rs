//! `/v1/snapshots/{snapshot_name}/restore` and `/v1/restore-jobs`.

use std::collections::BTreeMap;

use super::guard::State;
use super::job_body::{job_request, job_response};
use axum::Json;
use axum::http::{HeaderName, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::collections::db;
use super::extract::{Body, Name, Query};
use super::problem::ApiError;
use super::snapshots::SnapshotQuery;
use super::types::{Count, Id, List, rfc3339};
use crate::domain::id::JobId;
use crate::domain::page::PageRequest;
use crate::domain::restore::{JobState, RestoreJob, RestoreOptions, TaskView};
use crate::service::{RestoreRequest, SnapshotRef};

job_request! {
    /// Where to restore to.
    #[derive(Debug, Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    #[schema(examples(json!({"collection_name": "restored_collection"})))]
    pub struct RestoreSnapshotRequest {
        /// Name of the collection to create; must be free.
        pub collection_name: String,
        /// Database of the new collection; `default` when absent.
        #[serde(default)]
        pub db_name: Option<String>,
        /// Restore only these partitions (all of them are created); every one when empty.
        #[serde(default)]
        pub partitions: Vec<String>,
        /// Properties to set on the new collection; `null` leaves one of the source out.
        #[serde(default)]
        pub properties: BTreeMap<String, Option<String>>,
        /// New names of partitions, by the name that the snapshot has.
        #[serde(default)]
        pub rename: BTreeMap<String, String>,
        /// Give the new collection the aliases that the snapshot's had. They must be free when the request comes, when the files are checked, and at the end.
        #[serde(default)]
        pub aliases: bool,
    }
}

impl RestoreSnapshotRequest {
    /// The restore of a snapshot that is asked for.
    pub fn into_request(self, source: SnapshotRef) -> RestoreRequest {
        RestoreRequest {
            control: self.control(),
            source,
            db_name: db(self.db_name.as_deref()).to_string(),
            collection_name: self.collection_name,
            options: RestoreOptions {
                partitions: self.partitions,
                properties: self.properties,
                rename: self.rename,
                aliases: self.aliases,
            },
        }
    }
}

/// State of a restore job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum JobStateText {
    /// Queued.
    Pending,
    /// The sources are being checked.
    Validating,
    /// Files are being copied.
    InProgress,
    /// Everything is copied and proved; the collection is being made visible.
    Publishing,
    /// Nothing runs until it is resumed.
    Paused,
    Completed,
    Failed,
    Cancelled,
}

impl From<JobState> for JobStateText {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Pending => JobStateText::Pending,
            JobState::Validating => JobStateText::Validating,
            JobState::InProgress => JobStateText::InProgress,
            JobState::Publishing => JobStateText::Publishing,
            JobState::Paused => JobStateText::Paused,
            JobState::Completed => JobStateText::Completed,
            JobState::Failed => JobStateText::Failed,
            JobState::Cancelled => JobStateText::Cancelled,
        }
    }
}

impl From<JobStateText> for JobState {
    fn from(text: JobStateText) -> Self {
        match text {
            JobStateText::Pending => JobState::Pending,
            JobStateText::Validating => JobState::Validating,
            JobStateText::InProgress => JobState::InProgress,
            JobStateText::Publishing => JobState::Publishing,
            JobStateText::Paused => JobState::Paused,
            JobStateText::Completed => JobState::Completed,
            JobStateText::Failed => JobState::Failed,
            JobStateText::Cancelled => JobState::Cancelled,
        }
    }
}

job_response! {
    /// A restore job.
    #[derive(Debug, Serialize, ToSchema)]
    #[schema(examples(json!({
        "job_id": "470700000000000100", "kind": "restore", "state": "InProgress", "progress": 42, "snapshot_id": "470700000000000001",
        "snapshot_name": "backup_20240101", "source_collection_name": "my_collection", "db_name": "default",
        "collection_name": "restored_collection", "collection_id": "470700000000000101", "reason": "", "time_cost": 1234,
        "total_segments": 4, "done_segments": 1, "total_files": 48, "done_files": 20, "total_bytes": 8964728, "done_bytes": 3765185,
        "bytes_per_second": 12550616, "files_per_second": 66.7, "eta_seconds": 1, "priority": 0, "max_concurrency": null,
        "max_bytes_per_second": null, "retries": 0, "warnings": [], "cleanup": "none", "created_at": "2024-01-01T00:00:00Z"
    })))]
    pub struct RestoreJobResponse of job {
        job_id: Id = Id(job.job_id.0),
        /// `restore`, `external` when it restores a bundle, or `materialize` when it makes an external collection our own.
        kind: String = job.kind.as_str().into(),
        /// Of `external`: whole URI of the bundle's metadata file.
        #[serde(skip_serializing_if = "Option::is_none")]
        snapshot_metadata_uri: Option<String> = job.bundle_uri.clone(),
        state: JobStateText = job.state.into(),
        /// Of a paused job: the state that it goes on from.
        #[serde(skip_serializing_if = "Option::is_none")]
        resume_state: Option<JobStateText> = job.resume_state.map(JobStateText::from),
        /// Percent by bytes, 0 to 100. 100 is said of a completed job only.
        #[schema(minimum = 0, maximum = 100)]
        progress: i32 = job.progress(),
        /// Absent when the snapshot has been collected since, of a bundle, and of `materialize`, which is about all of them.
        #[serde(skip_serializing_if = "Option::is_none")]
        snapshot_id: Option<Id> = job.snapshot_id.map(|s| Id(s.0)),
        snapshot_name: String = job.snapshot_name,
        /// Empty of a bundle.
        source_collection_name: String = job.source_collection_name,
        /// Database of the target.
        db_name: String = job.db_name,
        /// Name of the target.
        collection_name: String = job.collection_name,
        /// Id of the target.
        collection_id: Id = Id(job.collection_id.0),
    }
    cleanup {
        /// Of a failed or cancelled job: `pending` until everything it copied is deleted, then `done`.
    }
}

/// A task of a restore job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"task_id": "470700000000000110", "kind": "copy", "state": "running", "source_segment_id": "470644622231801182", "target_segment_id": "470700000000000120", "attempt": 1, "failures": 0, "outages": 0, "total_files": 14, "done_files": 3, "total_bytes": 4229381, "done_bytes": 24502, "retries": 0, "last_error": "", "worker_id": "0b8f2c1e-54a7-4a53-9d3e-3c2f6f3e1a11", "lease_expires_at": "2024-01-01T00:00:30Z", "run_at": "2024-01-01T00:00:00Z"})))]
pub struct RestoreTaskResponse {
    pub task_id: Id,
    /// `validate`, `copy`, `publish` or `cleanup`.
    pub kind: String,
    /// `available`, `running`, `succeeded`, `failed` or `cancelled`.
    pub state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_segment_id: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_segment_id: Option<Id>,
    /// Times that a worker has claimed it.
    pub attempt: i32,
    /// Attempts that ended in an error of another kind than the next.
    pub failures: i32,
    /// Attempts since the last copied file for which the object storage or the database did not answer, or refused access: these
    /// are waited out.
    pub outages: i32,
    pub total_files: Count,
    pub done_files: Count,
    pub total_bytes: Count,
    pub done_bytes: Count,
    pub retries: Count,
    /// The last error, with the file it is about; of a clean-up also what it waits for.
    pub last_error: String,
    /// The worker that has it, or had it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
    /// Of a running task: when another worker may take it, unless the lease is renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_expires_at: Option<String>,
    /// Of a waiting task: not before this time.
    pub run_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
}

impl From<TaskView> for RestoreTaskResponse {
    fn from(task: TaskView) -> Self {
        Self {
            task_id: Id(task.task_id.0),
            kind: task.kind,
            state: task.state,
            source_segment_id: task.source_segment_id.map(Id),
            target_segment_id: task.target_segment_id.map(Id),
            attempt: task.attempt,
            failures: task.failures,
            outages: task.outages,
            total_files: Count(task.total_files),
            done_files: Count(task.done_files),
            total_bytes: Count(task.total_bytes),
            done_bytes: Count(task.done_bytes),
            retries: Count(task.retries),
            last_error: task.last_error,
            worker_id: task.worker_id.map(|id| id.to_string()),
            lease_expires_at: task.lease_expires_at.map(rfc3339),
            run_at: rfc3339(task.run_at),
            finished_at: task.finished_at.map(rfc3339),
        }
    }
}

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListRestoreJobsQuery {
    /// Only targets in this database; every database when absent.
    db_name: Option<String>,
    /// Only jobs with this target.
    collection_name: Option<String>,
    /// Only jobs of snapshots of this name.
    snapshot_name: Option<String>,
    /// Only jobs in this state.
    #[param(inline)]
    state: Option<JobStateText>,
    /// Entries of the page, 1 to 1000.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    page_size: Option<i64>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// Which page of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListRestoreTasksQuery {
    /// Entries of the page, 1 to 1000.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    page_size: Option<i64>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

impl ListRestoreTasksQuery {
    /// The page that is asked for.
    pub(super) fn page(self) -> Result<PageRequest, ApiError> {
        Ok(PageRequest::new(self.page_size, self.page_token)?)
    }
}

pub(super) fn job_id(text: &str) -> Result<JobId, ApiError> {
    Ok(JobId(Id::in_path("job_id", text)?))
}

/// Restore a snapshot
///
/// Into a new collection, by copying files inside the object storage. Answers at once with a job; the new collection becomes visible, whole, when the job is completed.
#[utoipa::path(post, path = "/v1/snapshots/{snapshot_name}/restore", operation_id = "restore_snapshot", tag = "restores",
    params(("snapshot_name" = String, Path, description = "Name", example = "backup_20240101"), SnapshotQuery),
    request_body = RestoreSnapshotRequest,
    responses((status = 202, description = "The job; `Location` leads to it", body = RestoreJobResponse,
        headers(("location" = String, description = "Path of the job")))))]
pub async fn restore_snapshot(
    State(state): State<ApiState>,
    Name(snapshot_name): Name,
    Query(query): Query<SnapshotQuery>,
    Body(body): Body<RestoreSnapshotRequest>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<RestoreJobResponse>), ApiError> {
    let request = body.into_request(query.of(snapshot_name));
    let job = state.service.start_restore(&request).await?;
    let location = format!("/v1/restore-jobs/{}", job.job_id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(job.into())))
}

/// List restore jobs
///
/// Newest first. Ended jobs are kept for 30 days unless set otherwise.
#[utoipa::path(get, path = "/v1/restore-jobs", operation_id = "list_restore_jobs", tag = "restores", params(ListRestoreJobsQuery),
    responses((status = 200, description = "A page of jobs", body = List<RestoreJobResponse>)))]
pub async fn list_restore_jobs(
    State(state): State<ApiState>,
    Query(query): Query<ListRestoreJobsQuery>,
) -> Result<Json<List<RestoreJobResponse>>, ApiError> {
    let page = PageRequest::new(query.page_size, query.page_token)?;
    let state_wanted = query.state.map(JobState::from);
    let found = state
        .service
        .list_restore_jobs(
            query.db_name.as_deref(),
            query.collection_name,
            query.snapshot_name,
            state_wanted,
            &page,
        )
        .await?;
    Ok(Json(List::of(found, RestoreJobResponse::from)))
}

/// Describe a restore job
#[utoipa::path(get, path = "/v1/restore-jobs/{job_id}", operation_id = "get_restore_job", tag = "restores",
    params(("job_id" = Id, Path, description = "The job", example = "470700000000000100")),
    responses((status = 200, description = "The job", body = RestoreJobResponse)))]
pub async fn get_restore_job(State(state): State<ApiState>, Name(id): Name) -> Result<Json<RestoreJobResponse>, ApiError> {
    Ok(Json(state.service.restore_job(job_id(&id)?).await?.into()))
}

/// List the tasks of a restore job
///
/// By id: one per segment, and those that check, publish and clean up.
#[utoipa::path(get, path = "/v1/restore-jobs/{job_id}/tasks", operation_id = "list_restore_tasks", tag = "restores",
    params(("job_id" = Id, Path, description = "The job", example = "470700000000000100"), ListRestoreTasksQuery),
    responses((status = 200, description = "A page of tasks", body = List<RestoreTaskResponse>)))]
pub async fn list_restore_tasks(
    State(state): State<ApiState>,
    Name(id): Name,
    Query(query): Query<ListRestoreTasksQuery>,
) -> Result<Json<List<RestoreTaskResponse>>, ApiError> {
    let page = query.page()?;
    Ok(Json(List::of(
        state.service.list_restore_tasks(job_id(&id)?, &page).await?,
        RestoreTaskResponse::from,
    )))
}
