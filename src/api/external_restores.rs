//! `/v1/restores/external`: restores from bundles.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::{HeaderName, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::ApiState;
use super::collections::db;
use super::extract::Body;
use super::guard::State;
use super::job_body::job_request;
use super::problem::ApiError;
use super::restores::RestoreJobResponse;
use crate::domain::restore::RestoreOptions;
use crate::service::{ExternalRequest, ExternalSpec};

/// `external_spec` as it came. It may hold secrets, so it is never shown.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub struct Spec(pub Value);

impl std::fmt::Debug for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spec(..)")
    }
}

job_request! {
    /// Which bundle to restore, and whereto.
    #[derive(Debug, Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    #[schema(examples(json!({
        "snapshot_metadata_uri": "s3://backups/nightly/exports/0b8f2c1e-54a7-4a53-9d3e-3c2f6f3e1a11/snapshots/470644622231601173/metadata/470700000000000001.json",
        "collection_name": "restored_collection"
    })))]
    pub struct RestoreExternalRequest {
        /// Whole URI of the bundle's metadata file, as an export's answer has it; or its path in a store.
        pub snapshot_metadata_uri: String,
        /// The store of the configuration that a path is in; the service's own storage when absent.
        #[serde(default)]
        pub store: Option<String>,
        /// Credentials for a bucket that is in no store of the configuration, as Milvus' clients give them. They are kept encrypted until the job has ended, and never shown.
        #[serde(default)]
        #[schema(value_type = Option<Object>)]
        pub external_spec: Spec,
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
    }
}

/// Restore a bundle
///
/// That this service or Milvus exported, into a new collection, by copying its files here. The metadata file is read and checked before the answer; the rest is a restore job like any other.
#[utoipa::path(post, path = "/v1/restores/external", operation_id = "restore_external_snapshot", tag = "exports",
    request_body = RestoreExternalRequest,
    responses((status = 202, description = "The job; `Location` leads to it", body = RestoreJobResponse,
        headers(("location" = String, description = "Path of the job")))))]
pub async fn restore_external_snapshot(
    State(state): State<ApiState>,
    Body(body): Body<RestoreExternalRequest>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<RestoreJobResponse>), ApiError> {
    let request = ExternalRequest {
        control: body.control(),
        metadata_uri: body.snapshot_metadata_uri,
        store: body.store,
        external_spec: ExternalSpec::from_json(body.external_spec.0)?,
        db_name: db(body.db_name.as_deref()).to_string(),
        collection_name: body.collection_name,
        options: RestoreOptions {
            partitions: body.partitions,
            properties: body.properties,
            rename: body.rename,
            aliases: false,
        },
    };
    let job = state.service.start_external_restore(&request).await?;
    let location = format!("/v1/restore-jobs/{}", job.job_id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(job.into())))
}
