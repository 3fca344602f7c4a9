//! `/v1/restore-jobs/{job_id}/receipt`.

use super::guard::State;
use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::extract::Name;
use super::problem::ApiError;
use super::restores::job_id;
use super::types::{Count, Id};

/// A copied file.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptFileBody {
    /// Relative to the storage root.
    pub source: String,
    /// Relative to the storage root.
    pub target: String,
    pub size_bytes: Count,
    /// What of the listed copy was compared with what was recorded of the source: `size`; `etag`: the size and the ETag; `content`: the size, and all bytes of both, since their ETags differ and say nothing.
    pub verified: String,
}

/// Files by how they were verified.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptCountsBody {
    pub size: Count,
    pub etag: Count,
    pub content: Count,
}

/// The receipt of a completed restore job. It is stored beside the metadata of the snapshot, with one line per file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "job_id": "470700000000000100", "snapshot_id": "470700000000000001", "snapshot_name": "backup_20240101",
    "source_collection_name": "my_collection", "db_name": "default", "collection_name": "restored_collection",
    "collection_id": "470700000000000101",
    "files": [{"source": "stats_log/100/101/501/100/5110", "target": "stats_log/470700000000000101/470700000000000103/470700000000000120/100/5110", "size_bytes": 41, "verified": "etag"}],
    "file_count": 1, "size_bytes": 41, "verified": {"size": 0, "etag": 1, "content": 0},
    "sha256": "0b4ae84ca6cf1b0c5a1d65d2e5f06f03c7e4aee4f2f4d2a8f1b4d1b1c0a0f3aa"
})))]
pub struct ReceiptResponse {
    pub job_id: Id,
    /// `0` of a collection that was materialized, with all its snapshots.
    pub snapshot_id: Id,
    pub snapshot_name: String,
    pub source_collection_name: String,
    pub db_name: String,
    pub collection_name: String,
    pub collection_id: Id,
    pub files: Vec<ReceiptFileBody>,
    pub file_count: Count,
    /// Bytes of the files.
    pub size_bytes: Count,
    pub verified: ReceiptCountsBody,
    /// SHA-256 over the entries of `files` in compact form, each followed by a line feed: what `jq -c '.files[]' | sha256sum` says.
    pub sha256: String,
}

/// Get the receipt of a restore job
///
/// Of a completed job: every file, where it was copied to, and how the copy was verified. Read piece by piece from the object storage. Kept as long as the job and its snapshot are.
#[utoipa::path(get, path = "/v1/restore-jobs/{job_id}/receipt", operation_id = "get_restore_receipt", tag = "restores",
    params(("job_id" = Id, Path, description = "The job", example = "470700000000000100")),
    responses((status = 200, description = "The receipt", body = ReceiptResponse)))]
pub async fn get_restore_receipt(State(state): State<ApiState>, Name(id): Name) -> Result<Response, ApiError> {
    let (size, pieces) = state.service.receipt(job_id(&id)?).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_string()),
        (header::CONTENT_LENGTH, size.to_string()),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}
