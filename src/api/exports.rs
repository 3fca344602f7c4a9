//! `/v1/snapshots/{snapshot_name}/export` and `/v1/export-jobs`.

use axum::Json;
use axum::http::{HeaderName, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::external_restores::Spec;
use super::extract::{Body, Name, Query};
use super::guard::State;
use super::job_body::{job_request, job_response};
use super::problem::ApiError;
use super::restore_control::ChangeRestoreJobRequest;
use super::restores::{JobStateText, ListRestoreTasksQuery, RestoreTaskResponse, job_id};
use super::snapshots::SnapshotQuery;
use super::types::{Count, Id, List, rfc3339};
use crate::domain::page::PageRequest;
use crate::domain::restore::{JobState, RestoreJob};
use crate::service::{ExportRequest, ExternalSpec};
use crate::telemetry::count_export;

job_request! {
    /// Where to export to.
    #[derive(Debug, Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    #[schema(examples(json!({"target_path": "s3://backups/nightly"})))]
    pub struct ExportSnapshotRequest {
        /// A path in a store, or a whole URI (`s3://bucket/prefix`, `https://server/bucket/prefix`, `file:///directory`) in one.
        /// The bundle goes into a new directory `exports/{uuid}` below it.
        pub target_path: String,
        /// The store of the configuration that a path is in; the service's own storage when absent.
        #[serde(default)]
        pub store: Option<String>,
        /// Credentials for a bucket that is in no store of the configuration, as Milvus' clients give them. They are kept encrypted until the job has ended, and never shown.
        #[serde(default)]
        #[schema(value_type = Option<Object>)]
        pub external_spec: Spec,
    }
}

job_response! {
    /// An export job.
    #[derive(Debug, Serialize, ToSchema)]
    #[schema(examples(json!({
        "job_id": "470700000000000300", "kind": "export", "state": "Completed", "progress": 100, "snapshot_id": "470700000000000001",
        "snapshot_name": "backup_20240101", "db_name": "default", "collection_name": "my_collection", "collection_id": "470644622231601173",
        "snapshot_metadata_uri": "s3://backups/nightly/exports/0b8f2c1e-54a7-4a53-9d3e-3c2f6f3e1a11/snapshots/470644622231601173/metadata/470700000000000001.json",
        "reason": "", "time_cost": 1234, "total_segments": 4, "done_segments": 4, "total_files": 48, "done_files": 48,
        "total_bytes": 8964728, "done_bytes": 8964728, "bytes_per_second": 12550616, "files_per_second": 66.7, "eta_seconds": null, "priority": 0,
        "max_concurrency": null, "max_bytes_per_second": null, "retries": 0, "warnings": [], "cleanup": "none",
        "created_at": "2024-01-01T00:00:00Z", "finished_at": "2024-01-01T00:00:01Z"
    })))]
    pub struct ExportJobResponse of job {
        job_id: Id = Id(job.job_id.0),
        /// `export`.
        kind: String = job.kind.as_str().into(),
        state: JobStateText = job.state.into(),
        /// Of a paused job: the state that it goes on from.
        #[serde(skip_serializing_if = "Option::is_none")]
        resume_state: Option<JobStateText> = job.resume_state.map(JobStateText::from),
        /// Percent by bytes, 0 to 100. 100 is said of a completed job only.
        #[schema(minimum = 0, maximum = 100)]
        progress: i32 = job.progress(),
        /// Absent when the snapshot has been collected since.
        #[serde(skip_serializing_if = "Option::is_none")]
        snapshot_id: Option<Id> = job.snapshot_id.map(|s| Id(s.0)),
        snapshot_name: String = job.snapshot_name,
        /// Database of the snapshot.
        db_name: String = job.db_name,
        /// The snapshot's collection, by its name when the export was asked for.
        collection_name: String = job.collection_name,
        collection_id: Id = Id(job.collection_id.0),
        /// Whole URI of the bundle's metadata file, from which it is restored; of a completed job only.
        #[serde(skip_serializing_if = "Option::is_none")]
        snapshot_metadata_uri: Option<String> = job.bundle_uri.filter(|_| job.state == JobState::Completed),
    }
    cleanup {
        /// Of a failed or cancelled job: `pending` until everything it copied is deleted, then `done`; `abandoned` when the credentials for that were lost.
    }
}

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListExportJobsQuery {
    /// Only snapshots of this database; every database when absent.
    db_name: Option<String>,
    /// Only snapshots of this collection.
    collection_name: Option<String>,
    /// Only snapshots of this name.
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

/// Export a snapshot
///
/// As a bundle in Milvus' layout: its data files, manifests and metadata under one prefix, readable without this service, by Milvus too. Answers at once with a job. The metadata file is written last, so that a reader sees a whole bundle or none. While the job runs the snapshot can't be dropped.
#[utoipa::path(post, path = "/v1/snapshots/{snapshot_name}/export", operation_id = "export_snapshot", tag = "exports",
    params(("snapshot_name" = String, Path, description = "Name", example = "backup_20240101"), SnapshotQuery),
    request_body = ExportSnapshotRequest,
    responses((status = 202, description = "The job; `Location` leads to it", body = ExportJobResponse,
        headers(("location" = String, description = "Path of the job")))))]
pub async fn export_snapshot(
    State(state): State<ApiState>,
    Name(snapshot_name): Name,
    Query(query): Query<SnapshotQuery>,
    Body(body): Body<ExportSnapshotRequest>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<ExportJobResponse>), ApiError> {
    let request = ExportRequest {
        control: body.control(),
        source: query.of(snapshot_name),
        target_path: body.target_path,
        store: body.store,
        external_spec: ExternalSpec::from_json(body.external_spec.0)?,
    };
    let job = state.service.start_export(&request).await?;
    let location = format!("/v1/export-jobs/{}", job.job_id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(job.into())))
}

/// List export jobs
///
/// Newest first. Ended jobs are kept for 30 days unless set otherwise; their bundles stay.
#[utoipa::path(get, path = "/v1/export-jobs", operation_id = "list_export_jobs", tag = "exports", params(ListExportJobsQuery),
    responses((status = 200, description = "A page of jobs", body = List<ExportJobResponse>)))]
pub async fn list_export_jobs(
    State(state): State<ApiState>,
    Query(query): Query<ListExportJobsQuery>,
) -> Result<Json<List<ExportJobResponse>>, ApiError> {
    let page = PageRequest::new(query.page_size, query.page_token)?;
    let wanted = query.state.map(JobState::from);
    let db = query.db_name.as_deref();
    let found = state
        .service
        .list_export_jobs(db, query.collection_name, query.snapshot_name, wanted, &page)
        .await?;
    Ok(Json(List::of(found, ExportJobResponse::from)))
}

/// Describe an export job
#[utoipa::path(get, path = "/v1/export-jobs/{job_id}", operation_id = "get_export_job", tag = "exports",
    params(("job_id" = Id, Path, description = "The job", example = "470700000000000300")),
    responses((status = 200, description = "The job", body = ExportJobResponse)))]
pub async fn get_export_job(State(state): State<ApiState>, Name(id): Name) -> Result<Json<ExportJobResponse>, ApiError> {
    Ok(Json(state.service.export_job(job_id(&id)?).await?.into()))
}

/// Change an export job
///
/// Its share of the workers and its limits, also while it runs.
#[utoipa::path(patch, path = "/v1/export-jobs/{job_id}", operation_id = "change_export_job", tag = "exports",
    params(("job_id" = Id, Path, description = "The job", example = "470700000000000300")), request_body = ChangeRestoreJobRequest,
    responses((status = 200, description = "The job, changed", body = ExportJobResponse)))]
pub async fn change_export_job(
    State(state): State<ApiState>,
    Name(id): Name,
    Body(body): Body<ChangeRestoreJobRequest>,
) -> Result<Json<ExportJobResponse>, ApiError> {
    let job = state.service.change_export(job_id(&id)?, body.into_change()).await?;
    Ok(Json(job.into()))
}

/// List the tasks of an export job
///
/// By id: one per segment, and those that check, publish and clean up.
#[utoipa::path(get, path = "/v1/export-jobs/{job_id}/tasks", operation_id = "list_export_tasks", tag = "exports",
    params(("job_id" = Id, Path, description = "The job", example = "470700000000000300"), ListRestoreTasksQuery),
    responses((status = 200, description = "A page of tasks", body = List<RestoreTaskResponse>)))]
pub async fn list_export_tasks(
    State(state): State<ApiState>,
    Name(id): Name,
    Query(query): Query<ListRestoreTasksQuery>,
) -> Result<Json<List<RestoreTaskResponse>>, ApiError> {
    let page = query.page()?;
    let found = state.service.list_export_tasks(job_id(&id)?, &page).await?;
    Ok(Json(List::of(found, RestoreTaskResponse::from)))
}

/// Pause an export job
///
/// Nothing of it runs until it is resumed; what is copied stays.
#[utoipa::path(post, path = "/v1/export-jobs/{job_id}/pause", operation_id = "pause_export_job", tag = "exports",
    params(("job_id" = Id, Path, description = "The job", example = "470700000000000300")),
    responses((status = 200, description = "The job, paused", body = ExportJobResponse)))]
pub async fn pause_export_job(State(state): State<ApiState>, Name(id): Name) -> Result<Json<ExportJobResponse>, ApiError> {
    Ok(Json(state.service.pause_export(job_id(&id)?).await?.into()))
}

/// Resume an export job
///
/// It goes on from where it was.
#[utoipa::path(post, path = "/v1/export-jobs/{job_id}/resume", operation_id = "resume_export_job", tag = "exports",
    params(("job_id" = Id, Path, description = "The job", example = "470700000000000300")),
    responses((status = 200, description = "The job, running", body = ExportJobResponse)))]
pub async fn resume_export_job(State(state): State<ApiState>, Name(id): Name) -> Result<Json<ExportJobResponse>, ApiError> {
    Ok(Json(state.service.resume_export(job_id(&id)?).await?.into()))
}

/// Cancel an export job
///
/// What was copied is deleted when no worker can still write: everything in the bundle's own directory, and nothing else.
#[utoipa::path(post, path = "/v1/export-jobs/{job_id}/cancel", operation_id = "cancel_export_job", tag = "exports",
    params(("job_id" = Id, Path, description = "The job", example = "470700000000000300")),
    responses((status = 200, description = "The job, cancelled", body = ExportJobResponse)))]
pub async fn cancel_export_job(State(state): State<ApiState>, Name(id): Name) -> Result<Json<ExportJobResponse>, ApiError> {
    let job = state.service.cancel_export(job_id(&id)?).await?;
    count_export(job.state.as_str());
    Ok(Json(job.into()))
}
