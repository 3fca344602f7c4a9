//! `/v1/collections/{collection_name}/segments` and what belongs to it: the engine's side.

use std::time::Duration;

use super::guard::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::collections::{DatabaseQuery, db};
use super::extract::{Body, Name, Names, OptionalBody, Query};
use super::layers::Patience;
use super::problem::ApiError;
use super::segment_body::{IndexBuildBody, PositionBody, SegmentBody, SegmentFilesBody, SegmentStateText};
use super::types::{Count, Id, List};
use super::{ApiState, MAX_WAIT};
use crate::domain::Error;
use crate::domain::id::SegmentId;
use crate::domain::page::PageRequest;
use crate::service::{Check, Compaction, SegmentChange};

/// Whether files are looked for.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckText {
    /// Every file must be there with its size; its ETag is recorded.
    #[default]
    Size,
    /// Every file must be there; its size and ETag are recorded, whatever size the request gives.
    Exists,
    /// Trust the request.
    None,
}

impl From<CheckText> for Check {
    fn from(text: CheckText) -> Self {
        match text {
            CheckText::Size => Check::Size,
            CheckText::Exists => Check::Exists,
            CheckText::None => Check::None,
        }
    }
}

/// How to register.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RegisterQuery {
    /// Database, `default` when absent.
    db_name: Option<String>,
    /// Whether every file is looked for, and its size compared (`size`, when absent) or recorded (`exists`).
    #[serde(default)]
    #[param(inline)]
    check: CheckText,
}

impl RegisterQuery {
    fn db(&self) -> &str {
        db(self.db_name.as_deref())
    }
}

/// Which segments.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListSegmentsQuery {
    /// Database, `default` when absent.
    db_name: Option<String>,
    /// Only segments in this state; `sealed` is the feed of what the engine has to flush.
    #[param(inline)]
    state: Option<SegmentStateText>,
    /// Only segments of this partition.
    partition_name: Option<String>,
    /// Entries of the page, 1 to 1000.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    page_size: Option<i64>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// Segments to register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"segments": [{"segment_id": "470644622231801182", "partition_name": "_default", "channel_name": "by-dev-rootcoord-dml_1_470644622231601173v1", "num_of_rows": 0}]})))]
pub struct RegisterSegmentsRequest {
    /// At most 10,000.
    pub segments: Vec<SegmentBody>,
}

/// What was registered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"segment_count": 4, "file_count": 48, "size_bytes": 8964728})))]
pub struct RegisterSegmentsResponse {
    pub segment_count: Count,
    /// Index files included.
    pub file_count: Count,
    pub size_bytes: Count,
}

/// A change of a segment; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"state": "flushed"})))]
pub struct ChangeSegmentRequest {
    /// `growing` to `sealed` or `flushed`, `sealed` to `flushed`, `importing` to `flushed`.
    #[serde(default)]
    pub state: Option<SegmentStateText>,
    #[serde(default)]
    pub num_of_rows: Option<Count>,
    #[serde(default)]
    pub commit_timestamp: Option<Id>,
    #[serde(default)]
    pub dml_position: Option<PositionBody>,
    /// Files to add; they make a new version of the segment.
    #[serde(default)]
    pub append: Option<SegmentFilesBody>,
}

/// Segments to replace by others.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"inputs": ["470644622231801192", "470644622231801193"], "outputs": []})))]
pub struct CompactSegmentsRequest {
    /// Living segments to drop.
    pub inputs: Vec<Id>,
    /// Segments to add.
    pub outputs: Vec<SegmentBody>,
}

/// What a compaction did.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"dropped": ["470644622231801192", "470644622231801193"], "added": ["470644622231801999"]})))]
pub struct CompactSegmentsResponse {
    pub dropped: Vec<Id>,
    pub added: Vec<Id>,
}

/// How long to wait.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"timeout_ms": 0})))]
pub struct FlushRequest {
    /// Milliseconds to wait for the engine to flush what is sealed; 0: don't wait.
    #[serde(default)]
    #[schema(maximum = 3_600_000)]
    pub timeout_ms: Count,
}

/// What a flush left.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"flushed": false, "unflushed_segments": ["470644622231801192"]})))]
pub struct FlushResponse {
    /// Nothing is left to be flushed.
    pub flushed: bool,
    /// Sealed segments that the engine has still to flush.
    pub unflushed_segments: Vec<Id>,
}

/// Reads a time to wait in milliseconds.
///
/// # Errors
/// `invalid_request` over an hour.
pub fn wait(pointer: &str, millis: Count) -> Result<Duration, Error> {
    let wait = Duration::from_millis(millis.bytes());
    if wait > MAX_WAIT {
        return Err(Error::invalid(
            pointer,
            format!("must be at most {} (an hour)", MAX_WAIT.as_millis()),
        ));
    }
    Ok(wait)
}

/// List segments
///
/// Living ones with their files and index builds, by id.
#[utoipa::path(get, path = "/v1/collections/{collection_name}/segments", operation_id = "list_segments", tag = "engine",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"), ListSegmentsQuery),
    responses((status = 200, description = "A page of segments", body = List<SegmentBody>)))]
pub async fn list_segments(
    State(state): State<ApiState>,
    Name(collection_name): Name,
    Query(query): Query<ListSegmentsQuery>,
) -> Result<Json<List<SegmentBody>>, ApiError> {
    let page = PageRequest::new(query.page_size, query.page_token)?;
    let (db_name, partition) = (db(query.db_name.as_deref()), query.partition_name.as_deref());
    let found = state
        .service
        .list_segments(db_name, &collection_name, query.state.map(Into::into), partition, &page)
        .await?;
    Ok(Json(List::of(found, |(segment, builds)| SegmentBody::of(&segment, &builds))))
}

/// Register a segment
///
/// With its files and index builds. Every file must lie in a directory that carries the segment's or the build's own id.
#[utoipa::path(post, path = "/v1/collections/{collection_name}/segments", operation_id = "register_segment", tag = "engine",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"), RegisterQuery),
    request_body = SegmentBody,
    responses((status = 201, description = "Registered", body = SegmentBody)))]
pub async fn register_segment(
    State(state): State<ApiState>,
    Name(collection_name): Name,
    Query(query): Query<RegisterQuery>,
    Body(body): Body<SegmentBody>,
) -> Result<(StatusCode, Json<SegmentBody>), ApiError> {
    let new = vec![body.into_new("")?];
    let registered = state
        .service
        .register_segments(query.db(), &collection_name, new, query.check.into(), |_| String::new())
        .await?;
    let id = registered[0].0.segment_id;
    let (segment, builds) = state.service.segment(query.db(), &collection_name, id).await?;
    Ok((StatusCode::CREATED, Json(SegmentBody::of(&segment, &builds))))
}

/// Register many segments
///
/// All or none, in one transaction.
#[utoipa::path(post, path = "/v1/collections/{collection_name}/segments:batch", operation_id = "register_segments", tag = "engine",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"), RegisterQuery),
    request_body = RegisterSegmentsRequest,
    responses((status = 201, description = "Registered", body = RegisterSegmentsResponse)))]
pub async fn register_segments(
    State(state): State<ApiState>,
    Name(collection_name): Name,
    Query(query): Query<RegisterQuery>,
    Body(body): Body<RegisterSegmentsRequest>,
) -> Result<(StatusCode, Json<RegisterSegmentsResponse>), ApiError> {
    let at = |n: usize| format!("/segments/{n}");
    let new = body
        .segments
        .into_iter()
        .enumerate()
        .map(|(n, s)| s.into_new(&at(n)))
        .collect::<Result<Vec<_>, _>>()?;
    let registered = state
        .service
        .register_segments(query.db(), &collection_name, new, query.check.into(), at)
        .await?;
    let mut response = RegisterSegmentsResponse {
        segment_count: Count(registered.len() as i64),
        file_count: Count(0),
        size_bytes: Count(0),
    };
    for (segment, builds) in &registered {
        let index_files: usize = builds.iter().map(|b| b.content.files.len()).sum();
        let index_bytes: u64 = builds.iter().map(|b| b.content.size_bytes()).sum();
        response.file_count.0 += (segment.content.files.count() + index_files) as i64;
        let bytes = Count::of(segment.content.files.size_bytes().saturating_add(index_bytes)).0;
        response.size_bytes.0 = response.size_bytes.0.saturating_add(bytes);
    }
    Ok((StatusCode::CREATED, Json(response)))
}

/// Describe a segment
#[utoipa::path(get, path = "/v1/collections/{collection_name}/segments/{segment_id}", operation_id = "get_segment", tag = "engine",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"),
           ("segment_id" = Id, Path, description = "The segment", example = "470644622231801182"), DatabaseQuery),
    responses((status = 200, description = "The segment", body = SegmentBody)))]
pub async fn get_segment(
    State(state): State<ApiState>,
    Names(collection_name, segment_id): Names,
    Query(query): Query<DatabaseQuery>,
) -> Result<Json<SegmentBody>, ApiError> {
    let id = SegmentId(Id::in_path("segment_id", &segment_id)?);
    let (segment, builds) = state.service.segment(query.name(), &collection_name, id).await?;
    Ok(Json(SegmentBody::of(&segment, &builds)))
}

/// Change a segment
///
/// Seals or flushes it, or appends files. Snapshots keep the version that they captured.
#[utoipa::path(patch, path = "/v1/collections/{collection_name}/segments/{segment_id}", operation_id = "change_segment", tag = "engine",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"),
           ("segment_id" = Id, Path, description = "The segment", example = "470644622231801182"), RegisterQuery),
    request_body = ChangeSegmentRequest,
    responses((status = 200, description = "The segment as it is now", body = SegmentBody)))]
pub async fn change_segment(
    State(state): State<ApiState>,
    Names(collection_name, segment_id): Names,
    Query(query): Query<RegisterQuery>,
    Body(body): Body<ChangeSegmentRequest>,
) -> Result<Json<SegmentBody>, ApiError> {
    let id = SegmentId(Id::in_path("segment_id", &segment_id)?);
    let dml_position = match body.dml_position {
        Some(position) => {
            let (segment, _) = state.service.segment(query.db(), &collection_name, id).await?;
            Some(position.into_segment_position(&segment.channel_name, "/dml_position")?)
        }
        None => None,
    };
    let change = SegmentChange {
        state: body.state.map(Into::into),
        num_of_rows: body.num_of_rows.map(|n| n.0),
        commit_timestamp: body.commit_timestamp.map(|t| t.0),
        dml_position,
        append: body.append.map(SegmentFilesBody::into_files),
    };
    let (segment, builds) = state
        .service
        .change_segment(query.db(), &collection_name, id, change, query.check.into())
        .await?;
    Ok(Json(SegmentBody::of(&segment, &builds)))
}

/// Drop a segment
///
/// With its index builds; what snapshots need of them stays.
#[utoipa::path(delete, path = "/v1/collections/{collection_name}/segments/{segment_id}", operation_id = "drop_segment", tag = "engine",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"),
           ("segment_id" = Id, Path, description = "The segment", example = "470644622231801182"), DatabaseQuery),
    responses((status = 204, description = "Dropped")))]
pub async fn drop_segment(
    State(state): State<ApiState>,
    Names(collection_name, segment_id): Names,
    Query(query): Query<DatabaseQuery>,
) -> Result<StatusCode, ApiError> {
    let id = SegmentId(Id::in_path("segment_id", &segment_id)?);
    state.service.drop_segment(query.name(), &collection_name, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Register an index build
///
/// The files of one index on one segment, finished by the engine.
#[utoipa::path(post, path = "/v1/collections/{collection_name}/segments/{segment_id}/index-builds", operation_id = "register_index_build", tag = "engine",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"),
           ("segment_id" = Id, Path, description = "The segment", example = "470644622231801182"), RegisterQuery),
    request_body = IndexBuildBody,
    responses((status = 201, description = "Registered", body = IndexBuildBody)))]
pub async fn register_index_build(
    State(state): State<ApiState>,
    Names(collection_name, segment_id): Names,
    Query(query): Query<RegisterQuery>,
    Body(body): Body<IndexBuildBody>,
) -> Result<(StatusCode, Json<IndexBuildBody>), ApiError> {
    let id = SegmentId(Id::in_path("segment_id", &segment_id)?);
    let build = state
        .service
        .register_build(query.db(), &collection_name, id, body.into_new(), query.check.into())
        .await?;
    Ok((StatusCode::CREATED, Json(IndexBuildBody::of(&build))))
}

/// Report a compaction
///
/// Drops the input segments and registers the outputs, all or none. A snapshot that is being created captures the inputs or the outputs, never both, never neither.
#[utoipa::path(post, path = "/v1/collections/{collection_name}/compactions", operation_id = "compact_segments", tag = "engine",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"), RegisterQuery),
    request_body = CompactSegmentsRequest,
    responses((status = 200, description = "Done", body = CompactSegmentsResponse)))]
pub async fn compact_segments(
    State(state): State<ApiState>,
    Name(collection_name): Name,
    Query(query): Query<RegisterQuery>,
    Body(body): Body<CompactSegmentsRequest>,
) -> Result<Json<CompactSegmentsResponse>, ApiError> {
    let outputs = body.outputs.into_iter().enumerate();
    let compaction = Compaction {
        inputs: body.inputs.iter().map(|i| SegmentId(i.0)).collect(),
        outputs: outputs
            .map(|(n, s)| s.into_new(&format!("/outputs/{n}")))
            .collect::<Result<Vec<_>, _>>()?,
    };
    let done = state
        .service
        .compact(query.db(), &collection_name, compaction, query.check.into())
        .await?;
    let ids = |segments: Vec<SegmentId>| segments.into_iter().map(|s| Id(s.0)).collect();
    Ok(Json(CompactSegmentsResponse {
        dropped: ids(done.dropped),
        added: ids(done.added),
    }))
}

/// Flush a collection
///
/// Seals every growing segment; the engine then flushes them. With `timeout_ms` the call waits for the engine.
#[utoipa::path(post, path = "/v1/collections/{collection_name}/flush", operation_id = "flush_collection", tag = "engine",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"), DatabaseQuery),
    request_body = FlushRequest,
    responses((status = 200, description = "What is left to be flushed", body = FlushResponse)))]
pub async fn flush_collection(
    State(state): State<ApiState>,
    Extension(patience): Extension<Patience>,
    Name(collection_name): Name,
    Query(query): Query<DatabaseQuery>,
    OptionalBody(body): OptionalBody<FlushRequest>,
) -> Result<Json<FlushResponse>, ApiError> {
    let timeout = wait("/timeout_ms", body.timeout_ms)?;
    patience.extend(timeout);
    let flushed = state.service.flush(query.name(), &collection_name, timeout).await?;
    let unflushed_segments: Vec<Id> = flushed.unflushed.into_iter().map(|s| Id(s.0)).collect();
    Ok(Json(FlushResponse {
        flushed: unflushed_segments.is_empty(),
        unflushed_segments,
    }))
}
