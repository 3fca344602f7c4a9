//! `/v1/gc/runs`.

use super::guard::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Body, Name, OptionalBody, Query};
use super::layers::Patience;
use super::problem::ApiError;
use super::types::{Count, Id, List, rfc3339};
use super::{ApiState, MAX_WAIT};
use crate::domain::Error;
use crate::domain::gc::{GcRun, Item, ItemKind, Outcome};
use crate::domain::id::RunId;
use crate::domain::page::PageRequest;
use crate::service::CollectRequest;

/// How to run the collector.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(examples(json!({"dry_run": true})))]
pub struct StartGcRunRequest {
    /// Only say what would be deleted.
    pub dry_run: bool,
    /// Seconds for which dropped things are left alone in this run; the setting when absent.
    pub grace_seconds: Option<Count>,
    /// Also look for objects without a row, in the whole storage root.
    pub orphans: bool,
    /// Seconds for which those must be known before they are deleted; the setting when absent.
    pub orphan_tolerance_seconds: Option<Count>,
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
    "run_id": "470700000000000200", "dry_run": true, "grace_seconds": 10800, "state": "completed", "candidates": 14, "snapshots": 1, "pending_snapshots": 0,
    "manifests": 4, "segments": 4, "index_builds": 4, "collections": 1, "partitions": 0, "indexes": 0, "uploads_found": 0, "uploads_aborted": 0, "orphans_found": 0, "orphans_deleted": 0, "objects": 53, "bytes": 8984022, "kept_by_snapshots": 0, "kept_by_grace": 0,
    "failed_objects": 0, "failures": [], "started_at": "2024-01-01T00:00:00Z", "finished_at": "2024-01-01T00:00:01Z"
})))]
pub struct GcRunResponse {
    pub run_id: Id,
    /// Nothing was changed: the counts say what would be deleted.
    pub dry_run: bool,
    pub grace_seconds: Count,
    /// `running`, `completed` or `failed`.
    pub state: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Snapshots, manifests, index builds, segments, collections, receipts, orphans and multipart uploads that the run found to be needed by nothing: it deleted them, or says below why it could not.
    pub candidates: Count,
    /// Pending snapshots whose creating call is gone.
    pub pending_snapshots: Count,
    /// Dropped snapshots whose metadata and manifests were deleted.
    pub snapshots: Count,
    /// Manifests that no snapshot needs any more.
    pub manifests: Count,
    pub segments: Count,
    pub index_builds: Count,
    /// Dropped collections of which nothing is left.
    pub collections: Count,
    /// Dropped partitions of living collections that no segment names any more: their rows.
    pub partitions: Count,
    /// Dropped index definitions of living collections that no index build names any more: their rows.
    pub indexes: Count,
    pub objects: Count,
    pub bytes: Count,
    /// Seconds for which objects without a row were left alone; absent when the run did not look for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orphan_tolerance_seconds: Option<Count>,
    /// Objects without a row that were found.
    pub orphans_found: Count,
    /// Those of them that were deleted.
    pub orphans_deleted: Count,
    /// Why the look for orphans or for multipart uploads came to no end; it is tried again within the hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orphan_error: Option<String>,
    /// Multipart uploads, begun by restores and left behind, that were found.
    pub uploads_found: Count,
    /// Those of them that were aborted.
    pub uploads_aborted: Count,
    /// Why the storage's multipart uploads could not be listed: a lifecycle rule of the bucket has to abort them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uploads_unlisted: Option<String>,
    /// Dropped segments and index builds that a snapshot still needs.
    pub kept_by_snapshots: Count,
    /// Dropped segments, index builds and snapshots that only their grace period keeps.
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
            error: run.error,
            candidates: Count(report.candidates),
            pending_snapshots: Count(report.pending_snapshots),
            snapshots: Count(report.snapshots),
            manifests: Count(report.manifests),
            segments: Count(report.segments),
            index_builds: Count(report.index_builds),
            collections: Count(report.collections),
            partitions: Count(report.partitions),
            indexes: Count(report.indexes),
            objects: Count(report.objects),
            bytes: Count(report.bytes),
            orphan_tolerance_seconds: run.orphan_tolerance_seconds.map(Count),
            orphans_found: Count(report.orphans_found),
            orphans_deleted: Count(report.orphans_deleted),
            orphan_error: report.orphan_error,
            uploads_found: Count(report.uploads_found),
            uploads_aborted: Count(report.uploads_aborted),
            uploads_unlisted: report.uploads_unlisted,
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
/// Deletes what is dropped, past its grace period, and needed by nobody. The call answers when the run has ended: up to an hour later than other calls may take. A run goes on when its caller hangs up, and is found in the list.
#[utoipa::path(post, path = "/v1/gc/runs", operation_id = "start_gc_run", tag = "operations", request_body = StartGcRunRequest,
    responses((status = 201, description = "The run and its report", body = GcRunResponse)))]
pub async fn start_gc_run(
    State(state): State<ApiState>,
    Extension(patience): Extension<Patience>,
    OptionalBody(body): OptionalBody<StartGcRunRequest>,
) -> Result<(StatusCode, Json<GcRunResponse>), ApiError> {
    patience.extend(MAX_WAIT);
    for (field, seconds) in [
        ("/grace_seconds", body.grace_seconds),
        ("/orphan_tolerance_seconds", body.orphan_tolerance_seconds),
    ] {
        if seconds.is_some_and(|s| s.0 > MAX_GRACE_SECONDS) {
            return Err(Error::invalid(field, format!("must be at most {MAX_GRACE_SECONDS} (ten years)")).into());
        }
    }
    let request = CollectRequest {
        dry_run: body.dry_run,
        grace_seconds: body.grace_seconds.map(|s| s.0),
        orphans: body.orphans,
        orphan_tolerance_seconds: body.orphan_tolerance_seconds.map(|s| s.0),
        asked: true,
    };
    let run = state.service.collect(request).await?;
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

/// What a run dealt with.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GcItemKindText {
    Snapshot,
    Manifest,
    Segment,
    IndexBuild,
    Collection,
    /// Of a restore job.
    Receipt,
    /// An object without a row.
    Orphan,
    /// The row of a dropped partition.
    Partition,
    /// The row of a dropped index definition.
    Index,
    /// One that a restore began and nobody ends.
    MultipartUpload,
}

/// What became of it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GcOutcomeText {
    Deleted,
    /// In a dry run: a real one would delete it. (Dry runs of older versions said `deleted`.)
    WouldDelete,
    Kept,
    /// Should have been deleted and could not be; the next run tries again.
    Failed,
}

/// One thing that a run dealt with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "kind": "segment", "name": "470644622231601180", "outcome": "kept", "reason": "snapshot \"backup_20240101\" needs it", "objects": 12,
    "size_bytes": 2241182
})))]
pub struct GcItemBody {
    pub kind: GcItemKindText,
    /// Id of the thing, or key of the object.
    pub name: String,
    pub outcome: GcOutcomeText,
    /// Why it was kept or failed; else empty.
    pub reason: String,
    pub objects: Count,
    pub size_bytes: Count,
}

impl From<Item> for GcItemBody {
    fn from(item: Item) -> Self {
        Self {
            kind: match item.kind {
                ItemKind::Snapshot => GcItemKindText::Snapshot,
                ItemKind::Manifest => GcItemKindText::Manifest,
                ItemKind::Segment => GcItemKindText::Segment,
                ItemKind::IndexBuild => GcItemKindText::IndexBuild,
                ItemKind::Collection => GcItemKindText::Collection,
                ItemKind::Receipt => GcItemKindText::Receipt,
                ItemKind::Orphan => GcItemKindText::Orphan,
                ItemKind::Partition => GcItemKindText::Partition,
                ItemKind::Index => GcItemKindText::Index,
                ItemKind::MultipartUpload => GcItemKindText::MultipartUpload,
            },
            name: item.name,
            outcome: match item.outcome {
                Outcome::Deleted => GcOutcomeText::Deleted,
                Outcome::WouldDelete => GcOutcomeText::WouldDelete,
                Outcome::Kept => GcOutcomeText::Kept,
                Outcome::Failed => GcOutcomeText::Failed,
            },
            reason: item.reason,
            objects: Count(item.objects),
            size_bytes: Count(item.size_bytes),
        }
    }
}

/// Which items of a run.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListGcRunItemsQuery {
    /// Only things with this outcome.
    #[param(inline)]
    outcome: Option<GcOutcomeText>,
    /// Only things of this kind.
    #[param(inline)]
    kind: Option<GcItemKindText>,
    /// Entries of the page, 1 to 1000.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    page_size: Option<i64>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// List what a collector run dealt with
///
/// What it deleted, what it kept and why, what it could not delete. At most 10,000 of each outcome are listed: of what was kept 1,000 of each kind, in runs that were asked for or looked for orphans; of failures 100 in runs of the timer. The counts of the run are complete.
#[utoipa::path(get, path = "/v1/gc/runs/{run_id}/items", operation_id = "list_gc_run_items", tag = "operations",
    params(("run_id" = Id, Path, description = "The run", example = "470700000000000200"), ListGcRunItemsQuery),
    responses((status = 200, description = "A page of items", body = List<GcItemBody>)))]
pub async fn list_gc_run_items(
    State(state): State<ApiState>,
    Name(id): Name,
    Query(query): Query<ListGcRunItemsQuery>,
) -> Result<Json<List<GcItemBody>>, ApiError> {
    let page = PageRequest::new(query.page_size, query.page_token)?;
    let id = RunId(Id::in_path("run_id", &id)?);
    let outcome = query.outcome.map(|o| match o {
        GcOutcomeText::Deleted => Outcome::Deleted,
        GcOutcomeText::WouldDelete => Outcome::WouldDelete,
        GcOutcomeText::Kept => Outcome::Kept,
        GcOutcomeText::Failed => Outcome::Failed,
    });
    let kind = query.kind.map(|k| match k {
        GcItemKindText::Snapshot => ItemKind::Snapshot,
        GcItemKindText::Manifest => ItemKind::Manifest,
        GcItemKindText::Segment => ItemKind::Segment,
        GcItemKindText::IndexBuild => ItemKind::IndexBuild,
        GcItemKindText::Collection => ItemKind::Collection,
        GcItemKindText::Receipt => ItemKind::Receipt,
        GcItemKindText::Orphan => ItemKind::Orphan,
        GcItemKindText::Partition => ItemKind::Partition,
        GcItemKindText::Index => ItemKind::Index,
        GcItemKindText::MultipartUpload => ItemKind::MultipartUpload,
    });
    let items = state.service.list_gc_run_items(id, outcome, kind, &page).await?;
    Ok(Json(List::of(items, GcItemBody::from)))
}

/// Whether the collector may delete objects without a row.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"allowed": true})))]
pub struct OrphanDeletion {
    /// Off after a rebuild or a take-over of the storage, until somebody allows it.
    pub allowed: bool,
}

/// Whether orphans are deleted
#[utoipa::path(get, path = "/v1/gc/orphan-deletion", operation_id = "get_orphan_deletion", tag = "operations",
    responses((status = 200, description = "Whether it is allowed", body = OrphanDeletion)))]
pub async fn get_orphan_deletion(State(state): State<ApiState>) -> Result<Json<OrphanDeletion>, ApiError> {
    let allowed = state.service.orphan_deletion_allowed().await?;
    Ok(Json(OrphanDeletion { allowed }))
}

/// Allow or forbid that orphans are deleted
///
/// Before allowing it look at what a run with `dry_run` and `orphans` lists.
#[utoipa::path(put, path = "/v1/gc/orphan-deletion", operation_id = "set_orphan_deletion", tag = "operations", request_body = OrphanDeletion,
    responses((status = 200, description = "As it is now", body = OrphanDeletion)))]
pub async fn set_orphan_deletion(
    State(state): State<ApiState>,
    Body(body): Body<OrphanDeletion>,
) -> Result<Json<OrphanDeletion>, ApiError> {
    state.service.allow_orphan_deletion(body.allowed).await?;
    Ok(Json(body))
}
