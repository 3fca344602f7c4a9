//! `/v1/collections`.

use std::collections::BTreeMap;

use super::guard::State;
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::extract::{Body, Name, Query};
use super::problem::ApiError;
use super::schema_body::{FieldBody, FunctionBody, SchemaBody, StructArrayFieldBody};
use super::segment_body::PositionBody;
use super::types::{Count, Id, List, rfc3339};
use crate::domain::collection::{Channel, Collection, DEFAULT_DATABASE, Ownership, Partition};
use crate::domain::id::{CollectionId, PartitionId};
use crate::domain::page::PageRequest;
use crate::domain::schema::Extra;
use crate::domain::{Error, Result};
use crate::service::{CollectionChange, CollectionDescription, NewCollection};

/// Who may delete the collection's files.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OwnershipText {
    /// Its files are the collector's to delete.
    Owned,
    /// Its files are only read here.
    External,
}

/// A partition.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"partition_id": "470644622231601174", "name": "_default"})))]
pub struct PartitionBody {
    /// Allocated when absent from a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_id: Option<Id>,
    pub name: String,
}

impl From<Partition> for PartitionBody {
    fn from(partition: Partition) -> Self {
        Self {
            partition_id: Some(Id(partition.partition_id.0)),
            name: partition.name,
        }
    }
}

/// A channel.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"channel_name": "by-dev-rootcoord-dml_0_470644622231601173v0", "shard_no": 0, "seek_position": {"msg_id_base64": "0QKAU8oQiAY=", "msg_group": "", "timestamp": "470644641416347649"}})))]
pub struct ChannelBody {
    pub channel_name: String,
    /// Shard number; in a request the place in the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard_no: Option<i32>,
    /// Up to where the channel's data is persisted; absent: never reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seek_position: Option<PositionBody>,
}

impl From<Channel> for ChannelBody {
    fn from(channel: Channel) -> Self {
        let seek_position = channel.seek_position.as_ref().map(|p| PositionBody::of(p, None));
        Self {
            channel_name: channel.channel_name,
            shard_no: Some(channel.shard_no),
            seek_position,
        }
    }
}

/// A collection to create. Ids that are given are kept.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({
    "name": "my_collection", "num_shards": 1,
    "fields": [
        {"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true},
        {"field_id": "101", "name": "vec", "data_type": "FloatVector", "type_params": {"dim": "128"}}
    ]
})))]
pub struct CreateCollectionRequest {
    pub name: String,
    #[serde(default)]
    pub db_name: Option<String>,
    #[serde(default)]
    pub collection_id: Option<Id>,
    #[serde(default)]
    pub ownership: Option<OwnershipText>,
    #[serde(default)]
    pub description: String,
    #[serde(default = "one")]
    pub num_shards: i32,
    /// `Strong`, `Session`, `Bounded`, `Eventually` or `Customized`.
    #[serde(default = "bounded")]
    pub consistency_level: String,
    #[serde(default)]
    pub auto_id: bool,
    #[serde(default)]
    pub enable_dynamic_field: bool,
    #[serde(default)]
    pub schema_version: i32,
    pub fields: Vec<FieldBody>,
    #[serde(default)]
    pub functions: Vec<FunctionBody>,
    #[serde(default)]
    pub struct_array_fields: Vec<StructArrayFieldBody>,
    /// Keys of Milvus' schema that have no name here, in protobuf's JSON form; kept as they are.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub extra: Extra,
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    /// `_default` when empty.
    #[serde(default)]
    pub partitions: Vec<PartitionBody>,
    /// One per shard, in the order of shards; generated when empty.
    #[serde(default)]
    pub channels: Vec<ChannelBody>,
}

fn one() -> i32 {
    1
}

fn bounded() -> String {
    "Bounded".into()
}

impl CreateCollectionRequest {
    fn into_new(self) -> Result<NewCollection> {
        let mut channels = Vec::with_capacity(self.channels.len());
        for (at, channel) in self.channels.into_iter().enumerate() {
            let here = format!("/channels/{at}");
            let shard_no = i32::try_from(at).map_err(Error::internal)?;
            if channel.shard_no.is_some_and(|s| s != shard_no) {
                return Err(Error::invalid(
                    format!("{here}/shard_no"),
                    "channels must be given in the order of their shards, from 0",
                ));
            }
            let seek_position = match channel.seek_position {
                Some(position) => Some(position.into_position(&format!("{here}/seek_position"))?),
                None => None,
            };
            channels.push(Channel {
                channel_name: channel.channel_name,
                shard_no,
                seek_position,
            });
        }
        Ok(NewCollection {
            db_name: self.db_name.unwrap_or_else(|| DEFAULT_DATABASE.into()),
            name: self.name,
            collection_id: self.collection_id.map(|i| CollectionId(i.0)),
            ownership: match self.ownership {
                Some(OwnershipText::External) => Ownership::External,
                Some(OwnershipText::Owned) | None => Ownership::Owned,
            },
            num_shards: self.num_shards,
            consistency_level: self.consistency_level,
            schema: SchemaBody {
                description: self.description,
                auto_id: self.auto_id,
                enable_dynamic_field: self.enable_dynamic_field,
                schema_version: self.schema_version,
                fields: self.fields,
                functions: self.functions,
                struct_array_fields: self.struct_array_fields,
                extra: self.extra,
            }
            .into(),
            properties: self.properties,
            partitions: self
                .partitions
                .into_iter()
                .map(|p| (p.name, p.partition_id.map(|i| PartitionId(i.0))))
                .collect(),
            channels,
        })
    }
}

/// A collection in a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"collection_id": "470644622231601173", "db_name": "default", "name": "my_collection", "ownership": "owned", "num_shards": 1, "consistency_level": "Bounded", "description": "", "created_at": "2024-01-01T00:00:00Z"})))]
pub struct CollectionSummary {
    pub collection_id: Id,
    pub db_name: String,
    pub name: String,
    pub ownership: OwnershipText,
    pub num_shards: i32,
    pub consistency_level: String,
    pub description: String,
    pub created_at: String,
}

fn ownership(of: Ownership) -> OwnershipText {
    match of {
        Ownership::Owned => OwnershipText::Owned,
        Ownership::External => OwnershipText::External,
    }
}

impl From<Collection> for CollectionSummary {
    fn from(collection: Collection) -> Self {
        Self {
            collection_id: Id(collection.collection_id.0),
            db_name: collection.db_name,
            name: collection.name,
            ownership: ownership(collection.ownership),
            num_shards: collection.num_shards,
            consistency_level: collection.consistency_level,
            description: collection.schema.description,
            created_at: rfc3339(collection.created_at),
        }
    }
}

/// A collection.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "collection_id": "470644622231601173", "db_name": "default", "name": "my_collection", "ownership": "owned", "num_shards": 1,
    "consistency_level": "Bounded", "description": "", "auto_id": false, "enable_dynamic_field": false, "schema_version": 0,
    "fields": [{"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true}], "properties": {},
    "partitions": [{"partition_id": "470644622231601174", "name": "_default"}],
    "channels": [{"channel_name": "stillframe-dml_0_470644622231601173v0", "shard_no": 0}], "aliases": [],
    "segment_count": 4, "num_of_rows": 9000, "size_bytes": 8964728, "created_at": "2024-01-01T00:00:00Z"
})))]
pub struct CollectionResponse {
    pub collection_id: Id,
    pub db_name: String,
    pub name: String,
    pub ownership: OwnershipText,
    pub num_shards: i32,
    pub consistency_level: String,
    #[serde(flatten)]
    pub schema: SchemaBody,
    pub properties: BTreeMap<String, String>,
    pub partitions: Vec<PartitionBody>,
    pub channels: Vec<ChannelBody>,
    pub aliases: Vec<String>,
    /// Living segments.
    pub segment_count: Count,
    /// Rows in living segments, deletes not subtracted.
    pub num_of_rows: Count,
    /// Bytes of the files of living segments, index files included.
    pub size_bytes: Count,
    pub created_at: String,
}

impl From<CollectionDescription> for CollectionResponse {
    fn from(description: CollectionDescription) -> Self {
        let collection = description.collection;
        Self {
            collection_id: Id(collection.collection_id.0),
            db_name: collection.db_name,
            name: collection.name,
            ownership: ownership(collection.ownership),
            num_shards: collection.num_shards,
            consistency_level: collection.consistency_level,
            schema: collection.schema.into(),
            properties: collection.properties,
            partitions: description.partitions.into_iter().map(PartitionBody::from).collect(),
            channels: description.channels.into_iter().map(ChannelBody::from).collect(),
            aliases: description.aliases,
            segment_count: Count(description.statistics.segments),
            num_of_rows: Count(description.statistics.rows),
            size_bytes: Count(description.statistics.size_bytes),
            created_at: rfc3339(collection.created_at),
        }
    }
}

/// A change of a collection; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"properties": {"collection.ttl.seconds": "3600", "mmap.enabled": null}})))]
pub struct ChangeCollectionRequest {
    /// The new name.
    #[serde(default)]
    pub name: Option<String>,
    /// Properties to set; `null` removes one.
    #[serde(default)]
    pub properties: BTreeMap<String, Option<String>>,
}

/// Which collections.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListCollectionsQuery {
    /// Database, `default` when absent.
    db_name: Option<String>,
    /// Only names that begin so.
    name_prefix: Option<String>,
    /// Entries of the page, 1 to 1000.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    page_size: Option<i64>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// Which database.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DatabaseQuery {
    /// Database, `default` when absent.
    pub db_name: Option<String>,
}

impl DatabaseQuery {
    pub fn name(&self) -> &str {
        db(self.db_name.as_deref())
    }
}

/// The database that a call is about.
pub fn db(name: Option<&str>) -> &str {
    name.unwrap_or(DEFAULT_DATABASE)
}

/// How to drop.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DropCollectionQuery {
    /// Database, `default` when absent.
    db_name: Option<String>,
    /// Drop the collection's snapshots too.
    #[serde(default)]
    #[param(default = false)]
    cascade: bool,
}

/// List collections
///
/// Living ones, by name.
#[utoipa::path(get, path = "/v1/collections", operation_id = "list_collections", tag = "collections", params(ListCollectionsQuery),
    responses((status = 200, description = "A page of collections", body = List<CollectionSummary>)))]
pub async fn list_collections(
    State(state): State<ApiState>,
    Query(query): Query<ListCollectionsQuery>,
) -> Result<Json<List<CollectionSummary>>, ApiError> {
    let page = PageRequest::new(query.page_size, query.page_token)?;
    let prefix = query.name_prefix.unwrap_or_default();
    let found = state
        .service
        .list_collections(db(query.db_name.as_deref()), &prefix, &page)
        .await?;
    Ok(Json(List::of(found, CollectionSummary::from)))
}

/// Create a collection
///
/// Registers a collection of the engine with its partitions and channels. Ids that are given are kept, others are allocated.
#[utoipa::path(post, path = "/v1/collections", operation_id = "create_collection", tag = "collections", request_body = CreateCollectionRequest,
    responses((status = 201, description = "Created", body = CollectionResponse)))]
pub async fn create_collection(
    State(state): State<ApiState>,
    Body(body): Body<CreateCollectionRequest>,
) -> Result<(StatusCode, Json<CollectionResponse>), ApiError> {
    let created = state.service.create_collection(body.into_new()?).await?;
    Ok((StatusCode::CREATED, Json(created.into())))
}

/// Describe a collection
#[utoipa::path(get, path = "/v1/collections/{collection_name}", operation_id = "get_collection", tag = "collections",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"), DatabaseQuery),
    responses((status = 200, description = "The collection", body = CollectionResponse)))]
pub async fn get_collection(
    State(state): State<ApiState>,
    Name(collection_name): Name,
    Query(query): Query<DatabaseQuery>,
) -> Result<Json<CollectionResponse>, ApiError> {
    Ok(Json(
        state
            .service
            .describe_collection(query.name(), &collection_name)
            .await?
            .into(),
    ))
}

/// Change a collection
///
/// Renames it or changes its properties.
#[utoipa::path(patch, path = "/v1/collections/{collection_name}", operation_id = "change_collection", tag = "collections",
    params(("collection_name" = String, Path, description = "Name or alias", example = "my_collection"), DatabaseQuery),
    request_body = ChangeCollectionRequest,
    responses((status = 200, description = "The collection as it is now", body = CollectionResponse)))]
pub async fn change_collection(
    State(state): State<ApiState>,
    Name(collection_name): Name,
    Query(query): Query<DatabaseQuery>,
    Body(body): Body<ChangeCollectionRequest>,
) -> Result<Json<CollectionResponse>, ApiError> {
    let change = CollectionChange {
        name: body.name,
        properties: body.properties.into_iter().collect(),
    };
    Ok(Json(
        state
            .service
            .change_collection(query.name(), &collection_name, change)
            .await?
            .into(),
    ))
}

/// Drop a collection
///
/// Its snapshots stay, with every file they need, unless `cascade` is set. The collector deletes the other files after the grace period.
#[utoipa::path(delete, path = "/v1/collections/{collection_name}", operation_id = "drop_collection", tag = "collections",
    params(("collection_name" = String, Path, description = "Name; not an alias", example = "my_collection"), DropCollectionQuery),
    responses((status = 204, description = "Dropped")))]
pub async fn drop_collection(
    State(state): State<ApiState>,
    Name(collection_name): Name,
    Query(query): Query<DropCollectionQuery>,
) -> Result<StatusCode, ApiError> {
    state
        .service
        .drop_collection(db(query.db_name.as_deref()), &collection_name, query.cascade)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
