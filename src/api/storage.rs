//! `/v1/storage`.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::guard::State;

/// Where objects are kept.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"root": "s3://bucket/prefix/", "endpoint": "http://127.0.0.1:9000"})))]
pub struct StorageResponse {
    /// URL of the storage root, to which paths of files are relative; ends in a slash.
    pub root: String,
    /// Address of the S3 server; absent for AWS itself and for a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// Describe the storage
///
/// Where its root is; no credentials.
#[utoipa::path(get, path = "/v1/storage", operation_id = "get_storage", tag = "operations",
    responses((status = 200, description = "The storage", body = StorageResponse)))]
pub async fn get_storage(State(state): State<ApiState>) -> Json<StorageResponse> {
    let (root, endpoint) = state.service.storage_root();
    Json(StorageResponse { root, endpoint })
}
