//! Schemas of collections in JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::types::Id;
use crate::domain::id::FieldId;
use crate::domain::schema::{Extra, Field, Function, Schema, StructArrayField};

/// A field.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true})))]
pub struct FieldBody {
    pub field_id: Id,
    pub name: String,
    /// Milvus' name of the type, for example `Int64`, `VarChar`, `FloatVector`.
    pub data_type: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_primary_key: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub auto_id: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_dynamic: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_partition_key: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_clustering_key: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub nullable: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_function_output: bool,
    /// Type of the elements of an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub type_params: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub index_params: BTreeMap<String, String>,
    /// Milvus' `ValueField` in protobuf's JSON form; kept as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub default_value: Option<serde_json::Value>,
    /// Keys of Milvus' message that have no name here, in protobuf's JSON form; kept as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Option<Object>)]
    pub extra: Extra,
}

/// A function, for example BM25.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FunctionBody {
    pub function_id: Id,
    pub name: String,
    pub function_type: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub input_field_ids: Vec<Id>,
    #[serde(default)]
    pub output_field_ids: Vec<Id>,
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// Keys of Milvus' message that have no name here, in protobuf's JSON form; kept as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Option<Object>)]
    pub extra: Extra,
}

/// A field that holds an array of structs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StructArrayFieldBody {
    pub field_id: Id,
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub fields: Vec<FieldBody>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub type_params: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub nullable: bool,
    /// Keys of Milvus' message that have no name here, in protobuf's JSON form; kept as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Option<Object>)]
    pub extra: Extra,
}

/// What a collection's rows look like.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SchemaBody {
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub auto_id: bool,
    #[serde(default)]
    pub enable_dynamic_field: bool,
    #[serde(default)]
    pub schema_version: i32,
    pub fields: Vec<FieldBody>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<FunctionBody>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub struct_array_fields: Vec<StructArrayFieldBody>,
    /// Keys of Milvus' message that have no name here, in protobuf's JSON form; kept as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Option<Object>)]
    pub extra: Extra,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

fn field(body: FieldBody) -> Field {
    Field {
        field_id: FieldId(body.field_id.0),
        name: body.name,
        data_type: body.data_type,
        description: body.description,
        is_primary_key: body.is_primary_key,
        auto_id: body.auto_id,
        is_dynamic: body.is_dynamic,
        is_partition_key: body.is_partition_key,
        is_clustering_key: body.is_clustering_key,
        nullable: body.nullable,
        is_function_output: body.is_function_output,
        element_type: body.element_type,
        type_params: body.type_params,
        index_params: body.index_params,
        default_value: body.default_value,
        extra: body.extra,
    }
}

fn field_body(field: Field) -> FieldBody {
    FieldBody {
        field_id: Id(field.field_id.0),
        name: field.name,
        data_type: field.data_type,
        description: field.description,
        is_primary_key: field.is_primary_key,
        auto_id: field.auto_id,
        is_dynamic: field.is_dynamic,
        is_partition_key: field.is_partition_key,
        is_clustering_key: field.is_clustering_key,
        nullable: field.nullable,
        is_function_output: field.is_function_output,
        element_type: field.element_type,
        type_params: field.type_params,
        index_params: field.index_params,
        default_value: field.default_value,
        extra: field.extra,
    }
}

impl From<SchemaBody> for Schema {
    fn from(body: SchemaBody) -> Self {
        let ids = |ids: Vec<Id>| ids.into_iter().map(|i| FieldId(i.0)).collect();
        Self {
            description: body.description,
            auto_id: body.auto_id,
            enable_dynamic_field: body.enable_dynamic_field,
            version: body.schema_version,
            fields: body.fields.into_iter().map(field).collect(),
            functions: body
                .functions
                .into_iter()
                .map(|f| Function {
                    function_id: FieldId(f.function_id.0),
                    name: f.name,
                    function_type: f.function_type,
                    description: f.description,
                    input_field_ids: ids(f.input_field_ids),
                    output_field_ids: ids(f.output_field_ids),
                    params: f.params,
                    extra: f.extra,
                })
                .collect(),
            struct_array_fields: body
                .struct_array_fields
                .into_iter()
                .map(|s| StructArrayField {
                    field_id: FieldId(s.field_id.0),
                    name: s.name,
                    description: s.description,
                    fields: s.fields.into_iter().map(field).collect(),
                    type_params: s.type_params,
                    nullable: s.nullable,
                    extra: s.extra,
                })
                .collect(),
            extra: body.extra,
        }
    }
}

impl From<Schema> for SchemaBody {
    fn from(schema: Schema) -> Self {
        let ids = |ids: Vec<FieldId>| ids.into_iter().map(|i| Id(i.0)).collect();
        Self {
            description: schema.description,
            auto_id: schema.auto_id,
            enable_dynamic_field: schema.enable_dynamic_field,
            schema_version: schema.version,
            fields: schema.fields.into_iter().map(field_body).collect(),
            functions: schema
                .functions
                .into_iter()
                .map(|f| FunctionBody {
                    function_id: Id(f.function_id.0),
                    name: f.name,
                    function_type: f.function_type,
                    description: f.description,
                    input_field_ids: ids(f.input_field_ids),
                    output_field_ids: ids(f.output_field_ids),
                    params: f.params,
                    extra: f.extra,
                })
                .collect(),
            struct_array_fields: schema
                .struct_array_fields
                .into_iter()
                .map(|s| StructArrayFieldBody {
                    field_id: Id(s.field_id.0),
                    name: s.name,
                    description: s.description,
                    fields: s.fields.into_iter().map(field_body).collect(),
                    type_params: s.type_params,
                    nullable: s.nullable,
                    extra: s.extra,
                })
                .collect(),
            extra: schema.extra,
        }
    }
}
