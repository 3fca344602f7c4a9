//! `/v1/collections/{collection_name}/channels`.

use super::guard::State;
use axum::Json;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::collections::{ChannelBody, DatabaseQuery, db};
use super::extract::{Body, Name, Names, Query};
use super::problem::ApiError;
use super::segment_body::PositionBody;
use super::types::List;
use crate::domain::page::PageRequest;

/// The position that the engine reports.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"seek_position": {"msg_id_base64": "0QKAU8oQiAY=", "msg_group": "", "timestamp": "470644641416347649"}})))]
pub struct ReportChannelRequest {
    pub seek_position: PositionBody,
}

/// Which page of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListChannelsQuery {
    /// Database, `default` when absent.
    db_name: Option<String>,
    /// Entries of the page, 1 to 1000.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    page_size: Option<i64>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// List channels
///
/// By shard number.
#[utoipa::path(get, path = "/v1/collections/{collection_name}/channels", operation_id = "list_channels", tag = "engine",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"), ListChannelsQuery),
    responses((status = 200, description = "A page of channels", body = List<ChannelBody>)))]
pub async fn list_channels(
    State(state): State<ApiState>,
    Name(collection_name): Name,
    Query(query): Query<ListChannelsQuery>,
) -> Result<Json<List<ChannelBody>>, ApiError> {
    let page = PageRequest::new(query.page_size, query.page_token)?;
    let found = state
        .service
        .list_channels(db(query.db_name.as_deref()), &collection_name, &page)
        .await?;
    Ok(Json(List::of(found, ChannelBody::from)))
}

/// Report a channel's seek position
///
/// The engine says up to where the channel's data is persisted. Positions only move forward: an older report changes nothing and is answered with the position that is known.
#[utoipa::path(put, path = "/v1/collections/{collection_name}/channels/{channel}", operation_id = "report_channel", tag = "engine",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"),
           ("channel" = String, Path, description = "Name of the channel", example = "by-dev-rootcoord-dml_0_470644622231601173v0"), DatabaseQuery),
    request_body = ReportChannelRequest,
    responses((status = 200, description = "The channel as it is now", body = ChannelBody)))]
pub async fn report_channel(
    State(state): State<ApiState>,
    Names(collection_name, channel): Names,
    Query(query): Query<DatabaseQuery>,
    Body(body): Body<ReportChannelRequest>,
) -> Result<Json<ChannelBody>, ApiError> {
    let position = body.seek_position.into_position("/seek_position")?;
    Ok(Json(
        state
            .service
            .report_channel(query.name(), &collection_name, &channel, &position)
            .await?
            .into(),
    ))
}
