//! `/v1/gc/runs`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::extract::{Name, OptionalBody, Query};
use super::problem::ApiError;
use super::types::{Count, Id, List, rfc3339};
use crate::domain::Error;
use crate::domain::gc::GcRun;
use crate::domain::id::RunId;
use crate::domain::page::PageRequest;

/// How to run the collector.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(examples(json!({"dry_run": true})))]
pub struct StartGcRunRequest {
    /// Only say what would be deleted.
    pub dry_run: bool,
    /// Seconds for which dropped things are left alone in this run; the setting when absent.
    pub grace_seconds: Option<Count>,
}

/// An object that could not be deleted; it is tried again by the next run.
#[derive(Debug, Serialize, ToSchema)]
pub struct GcFailureBody {
    pub key: String,
    pub reason: String,
}

/// A run of the collector.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "run_id": "470700000000000200", "dry_run": true, "grace_seconds": 10800, "state": "completed", "snapshots": 1, "pending_snapshots": 0,
    "segments": 4, "index_builds": 4, "collections": 1, "objects": 53, "bytes": 8984022, "kept_by_snapshots": 0, "kept_by_grace": 0,
    "failed_objects": 0, "failures": [], "started_at": "2024-01-01T00:00:00Z", "finished_at": "2024-01-01T00:00:01Z"
})))]
pub struct GcRunResponse {
    pub run_id: Id,
    /// Nothing was changed: the counts say what would be deleted.
    pub dry_run: bool,
    pub grace_seconds: Count,
    /// `running`, `completed` or `failed`.
    pub state: String,
    /// Pending snapshots whose creating call is gone.
    pub pending_snapshots: Count,
    /// Dropped snapshots whose metadata and manifests were deleted.
    pub snapshots: Count,
    pub segments: Count,
    pub index_builds: Count,
    /// Dropped collections of which nothing is left.
    pub collections: Count,
    pub objects: Count,
    pub bytes: Count,
    /// Dropped segments and index builds that a snapshot still needs.
    pub kept_by_snapshots: Count,
    /// Dropped segments, index builds and snapshots whose grace period still runs.
    pub kept_by_grace: Count,
    pub failed_objects: Count,
    /// The first hundred of them.
    pub failures: Vec<GcFailureBody>,
    pub started_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
}

impl From<GcRun> for GcRunResponse {
    fn from(run: GcRun) -> Self {
        let report = run.report;
        Self {
            run_id: Id(run.run_id.0),
            dry_run: run.dry_run,
            grace_seconds: Count(run.grace_seconds),
            state: run.state,
            pending_snapshots: Count(report.pending_snapshots),
            snapshots: Count(report.snapshots),
            segments: Count(report.segments),
            index_builds: Count(report.index_builds),
            collections: Count(report.collections),
            objects: Count(report.objects),
            bytes: Count(report.bytes),
            kept_by_snapshots: Count(report.kept_by_snapshots),
            kept_by_grace: Count(report.kept_by_grace),
            failed_objects: Count(report.failed_objects),
            failures: report
                .failures
                .into_iter()
                .map(|f| GcFailureBody {
                    key: f.key,
                    reason: f.reason,
                })
                .collect(),
            started_at: rfc3339(run.started_at),
            finished_at: run.finished_at.map(rfc3339),
        }
    }
}

/// Which page of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListGcRunsQuery {
    /// Entries of the page, 1 to 1000.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    page_size: Option<i64>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// List collector runs
///
/// Newest first.
#[utoipa::path(get, path = "/v1/gc/runs", operation_id = "list_gc_runs", tag = "operations", params(ListGcRunsQuery),
    responses((status = 200, description = "A page of runs", body = List<GcRunResponse>)))]
pub async fn list_gc_runs(
    State(state): State<ApiState>,
    Query(query): Query<ListGcRunsQuery>,
) -> Result<Json<List<GcRunResponse>>, ApiError> {
    let page = PageRequest::new(query.page_size, query.page_token)?;
    Ok(Json(List::of(state.service.list_gc_runs(&page).await?, GcRunResponse::from)))
}

/// Ten years.
const MAX_GRACE_SECONDS: i64 = 315_360_000;

/// Run the collector
///
/// Deletes what is dropped, past its grace period, and needed by nobody. The call answers when the run has ended.
#[utoipa::path(post, path = "/v1/gc/runs", operation_id = "start_gc_run", tag = "operations", request_body = StartGcRunRequest,
    responses((status = 201, description = "The run and its report", body = GcRunResponse)))]
pub async fn start_gc_run(
    State(state): State<ApiState>,
    OptionalBody(body): OptionalBody<StartGcRunRequest>,
) -> Result<(StatusCode, Json<GcRunResponse>), ApiError> {
    if body.grace_seconds.is_some_and(|s| s.0 > MAX_GRACE_SECONDS) {
        return Err(Error::invalid("/grace_seconds", format!("must be at most {MAX_GRACE_SECONDS} (ten years)")).into());
    }
    let run = state.service.collect(body.dry_run, body.grace_seconds.map(|s| s.0)).await?;
    Ok((StatusCode::CREATED, Json(run.into())))
}

/// Describe a collector run
#[utoipa::path(get, path = "/v1/gc/runs/{run_id}", operation_id = "get_gc_run", tag = "operations",
    params(("run_id" = Id, Path, description = "The run", example = "470700000000000200")),
    responses((status = 200, description = "The run and its report", body = GcRunResponse)))]
pub async fn get_gc_run(State(state): State<ApiState>, Name(id): Name) -> Result<Json<GcRunResponse>, ApiError> {
    let id = RunId(Id::in_path("run_id", &id)?);
    Ok(Json(state.service.gc_run(id).await?.into()))
}
