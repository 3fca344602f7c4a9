//! `/v1/snapshots:adopt`.

use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::collections::db;
use super::extract::Body;
use super::guard::State;
use super::problem::ApiError;
use super::snapshot_body::SnapshotSummary;
use super::types::Id;
use crate::domain::id::SnapshotId;
use crate::service::Adopt;

/// Snapshots of another system to adopt.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"prefix": "files", "collection_name": "from_milvus"})))]
pub struct AdoptSnapshotsRequest {
    /// Where the other system keeps its files (Milvus' `rootPath`), relative to the storage root; empty: the root itself.
    pub prefix: String,
    #[serde(default)]
    pub db_name: Option<String>,
    /// Another name for the collection; only where all the snapshots are of one.
    #[serde(default)]
    pub collection_name: Option<String>,
    /// Only these snapshots; all that lie there when empty.
    #[serde(default)]
    pub snapshot_ids: Vec<Id>,
}

/// What was adopted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"snapshots": [], "already_adopted": ["470700000000000001"]})))]
pub struct AdoptSnapshotsResponse {
    /// By collection, the oldest first.
    pub snapshots: Vec<SnapshotSummary>,
    /// Those that had been adopted from there before.
    pub already_adopted: Vec<Id>,
}

/// Adopt snapshots that another system wrote
///
/// Reads the metadata files and manifests that a Milvus server, or another Stillframe, keeps below a prefix of the own storage, looks for every file that they name, and registers snapshots, collections, segments and index builds: all of them or none. Copies nothing, and never deletes or changes the other system's files: the collections are external, and the snapshots' `protection` is `none`, since the other system may delete them. A restore copies the files here. A collection shows what its newest adopted snapshot captured.
#[utoipa::path(post, path = "/v1/snapshots:adopt", operation_id = "adopt_snapshots", tag = "snapshots", request_body = AdoptSnapshotsRequest,
    responses((status = 201, description = "Adopted", body = AdoptSnapshotsResponse)))]
pub async fn adopt_snapshots(
    State(state): State<ApiState>,
    Body(body): Body<AdoptSnapshotsRequest>,
) -> Result<(StatusCode, Json<AdoptSnapshotsResponse>), ApiError> {
    let request = Adopt {
        db_name: db(body.db_name.as_deref()).to_string(),
        prefix: body.prefix,
        collection_name: body.collection_name,
        snapshot_ids: body.snapshot_ids.into_iter().map(|id| SnapshotId(id.0)).collect(),
    };
    let adopted = state.service.adopt_snapshots(&request).await?;
    Ok((
        StatusCode::CREATED,
        Json(AdoptSnapshotsResponse {
            snapshots: adopted.snapshots.into_iter().map(SnapshotSummary::from).collect(),
            already_adopted: adopted.already_adopted.into_iter().map(|id| Id(id.0)).collect(),
        }),
    ))
}
