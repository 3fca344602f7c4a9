//! `/v1/snapshots/{snapshot_name}/plan-restore`.

use super::guard::State;
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Body, Name, Query};
use super::layers::Patience;
use super::problem::ApiError;
use super::restores::RestoreSnapshotRequest;
use super::snapshots::SnapshotQuery;
use super::types::{Count, Id};
use super::{ApiState, MAX_WAIT};
use crate::domain::plan::RestorePlan;
use crate::domain::problem::FileProblem;

/// What a restore would be refused for.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConflictBody {
    /// The stable code of the refusal.
    #[schema(example = "collection_already_exists")]
    pub code: String,
    pub detail: String,
}

/// A file with which something is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct FileProblemBody {
    /// Relative to the storage root.
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_id: Option<Id>,
    /// `missing`, `wrong_size`, `wrong_etag`, `wrong_checksum` or `unreadable`.
    pub problem: String,
    pub detail: String,
}

impl From<FileProblem> for FileProblemBody {
    fn from(problem: FileProblem) -> Self {
        Self {
            path: problem.path,
            segment_id: problem.segment_id.map(|s| Id(s.0)),
            problem: problem.kind.as_str().into(),
            detail: problem.detail,
        }
    }
}

/// Requests to the object storage, without retries and parts of large files.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlannedRequestsBody {
    /// At most: the pages of the source directories to check them, and of the target directories to prove the
    /// copies. Small directories that follow one another share a page.
    pub list: Count,
    pub copy: Count,
}

/// What a restore would do, and what stands against it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "feasible": false, "segments": 4, "index_builds": 4, "files": 48, "bytes": 8964728, "requests": {"list": 32, "copy": 48},
    "conflicts": [{"code": "collection_already_exists", "detail": "collection already exists: the name \"restored_collection\" is taken by a collection, an alias or a running restore"}],
    "problem_count": 1,
    "problems": [{"path": "stats_log/100/101/501/100/5110", "segment_id": "501", "problem": "missing", "detail": "file stats_log/100/101/501/100/5110 of segment 501 is missing"}],
    "free_bytes": 1000000000, "warnings": [], "estimated_ms": 1200, "estimated_from_jobs": 3
})))]
pub struct RestorePlanResponse {
    /// Whether nothing that was checked stands against the restore.
    pub feasible: bool,
    pub segments: Count,
    pub index_builds: Count,
    /// Files to copy.
    pub files: Count,
    /// Bytes to copy. Each counts, also where the filesystem would share them between copies.
    pub bytes: Count,
    pub requests: PlannedRequestsBody,
    pub conflicts: Vec<ConflictBody>,
    /// Source files that are not as the snapshot recorded them.
    pub problem_count: Count,
    /// The first 100 of them.
    pub problems: Vec<FileProblemBody>,
    /// Free bytes of the filesystem, less those that running jobs have yet to copy there; absent where the store does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<Count>,
    /// The setting; absent: no quota, or the caller may not read everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<Count>,
    /// How much of the quota everybody together uses; absent as `quota_bytes` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_used_bytes: Option<Count>,
    /// Why there is not enough room, with the figures; absent when there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insufficient_storage: Option<String>,
    pub warnings: Vec<String>,
    /// Milliseconds by the pace of past completed jobs; null when there is none.
    pub estimated_ms: Option<Count>,
    /// Completed jobs that the estimate is made from, the last 20 at most.
    pub estimated_from_jobs: Count,
    /// Why there is no estimate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate_reason: Option<String>,
}

impl From<RestorePlan> for RestorePlanResponse {
    fn from(plan: RestorePlan) -> Self {
        let estimated_ms = plan.estimated_ms().map(Count);
        Self {
            feasible: plan.is_feasible(),
            segments: Count(plan.segments),
            index_builds: Count(plan.index_builds),
            files: Count(plan.files),
            bytes: Count(plan.bytes),
            requests: PlannedRequestsBody {
                list: Count(plan.list_requests),
                copy: Count(plan.copy_requests),
            },
            conflicts: plan
                .conflicts
                .iter()
                .map(|c| ConflictBody {
                    code: c.code().as_str().into(),
                    detail: c.detail().into(),
                })
                .collect(),
            problem_count: Count(plan.problems.total),
            problems: plan.problems.listed.into_iter().map(FileProblemBody::from).collect(),
            free_bytes: plan.room.free_bytes.map(Count),
            quota_bytes: plan.room.quota_bytes.filter(|_| plan.shows_quota).map(Count),
            quota_used_bytes: plan.room.used_bytes.filter(|_| plan.shows_quota).map(Count),
            insufficient_storage: plan.room.lacks(plan.bytes).map(|e| e.detail().into()),
            warnings: plan.warnings,
            estimated_ms,
            estimated_from_jobs: Count(plan.pace.map_or(0, |p| p.jobs)),
            estimate_reason: plan
                .pace
                .is_none()
                .then(|| "no restore job that copied files has completed yet".into()),
        }
    }
}

/// Plan a restore
///
/// A dry run without side effects: what a restore with this body would copy and what stands against it. Looks for every source file, as the job does before its first copy, so it takes longer for a big snapshot: up to an hour more than other calls may.
#[utoipa::path(post, path = "/v1/snapshots/{snapshot_name}/plan-restore", operation_id = "plan_restore", tag = "restores",
    params(("snapshot_name" = String, Path, description = "Name", example = "backup_20240101"), SnapshotQuery),
    request_body = RestoreSnapshotRequest,
    responses((status = 200, description = "The plan", body = RestorePlanResponse)))]
pub async fn plan_restore(
    State(state): State<ApiState>,
    Extension(patience): Extension<Patience>,
    Name(snapshot_name): Name,
    Query(query): Query<SnapshotQuery>,
    Body(body): Body<RestoreSnapshotRequest>,
) -> Result<Json<RestorePlanResponse>, ApiError> {
    patience.extend(MAX_WAIT);
    let request = body.into_request(query.of(snapshot_name));
    Ok(Json(state.service.plan_restore(&request).await?.into()))
}
