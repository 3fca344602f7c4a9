//! The schema of a collection, to and from the metadata file (facts §3 `schema.CollectionSchema`).

use super::json::{Enum, Int64, Opaque};
use super::kept::Kept;
use super::wire::{self, Pair};
use crate::domain::Result;
use crate::domain::id::FieldId;
use crate::domain::manifest::SnapshotMetadata;
use crate::domain::schema::{DATA_TYPES, Extra, Field, Function, Params, Schema, StructArrayField};
use crate::objects::stored::corrupt;

/// The key under which Milvus puts the consistency level, as a number, into the schema's
/// properties: its restore reads it there and nowhere else.
pub(super) const CONSISTENCY_LEVEL: &str = "consistency_level";

/// Milvus' function types by name and number.
const FUNCTION_TYPES: &[(&str, i32)] = &[
    ("Unknown", 0),
    ("BM25", 1),
    ("TextEmbedding", 2),
    ("Rerank", 3),
    ("MinHash", 4),
    ("MolFingerprint", 5),
];

pub(super) fn pairs(params: &Params) -> Vec<Pair> {
    let pairs = params.iter().map(|(key, value)| Pair {
        key: key.clone(),
        value: value.clone(),
    });
    pairs.collect()
}

pub(super) fn params(pairs: Vec<Pair>) -> Params {
    pairs.into_iter().map(|pair| (pair.key, pair.value)).collect()
}

/// The schema as it is written; `level` is the number of the consistency level.
pub(super) fn schema(metadata: &SnapshotMetadata, level: usize) -> Kept<wire::Schema> {
    let schema = &metadata.schema;
    let mut properties = pairs(&metadata.properties);
    properties.retain(|pair| pair.key != CONSISTENCY_LEVEL);
    properties.push(Pair {
        key: CONSISTENCY_LEVEL.into(),
        value: level.to_string(),
    });
    let message = wire::Schema {
        name: metadata.collection_name.clone(),
        description: schema.description.clone(),
        auto_id: schema.auto_id,
        fields: schema.fields.iter().map(field).collect(),
        enable_dynamic_field: schema.enable_dynamic_field,
        properties,
        functions: schema.functions.iter().map(|f| function(f, schema)).collect(),
        db_name: metadata.db_name.clone(),
        struct_array_fields: schema.struct_array_fields.iter().map(struct_array_field).collect(),
        version: schema.version,
    };
    kept(message, &schema.extra)
}

fn kept<T>(message: T, extra: &Extra) -> Kept<T> {
    let extra = extra.clone();
    Kept { message, extra }
}

fn data_type(name: &str) -> Enum {
    // the enum's zero is left out
    Enum(if name == "None" { String::new() } else { name.into() })
}

fn field(field: &Field) -> Kept<wire::Field> {
    let message = wire::Field {
        field_id: Int64(field.field_id.0),
        name: field.name.clone(),
        is_primary_key: field.is_primary_key,
        description: field.description.clone(),
        data_type: data_type(&field.data_type),
        type_params: pairs(&field.type_params),
        index_params: pairs(&field.index_params),
        auto_id: field.auto_id,
        element_type: data_type(field.element_type.as_deref().unwrap_or_default()),
        default_value: field.default_value.clone().map(Opaque),
        is_dynamic: field.is_dynamic,
        is_partition_key: field.is_partition_key,
        is_clustering_key: field.is_clustering_key,
        nullable: field.nullable,
        is_function_output: field.is_function_output,
    };
    kept(message, &field.extra)
}

fn function(function: &Function, schema: &Schema) -> Kept<wire::Function> {
    let nested = schema.struct_array_fields.iter().flat_map(|s| &s.fields);
    let fields: Vec<_> = schema.fields.iter().chain(nested).collect();
    let names = |ids: &[FieldId]| {
        let known = |id: &FieldId| fields.iter().find(|f| f.field_id == *id).map(|f| f.name.clone());
        ids.iter().filter_map(known).collect()
    };
    let ids = |ids: &[FieldId]| ids.iter().map(|id| Int64(id.0)).collect();
    let message = wire::Function {
        name: function.name.clone(),
        id: Int64(function.function_id.0),
        description: function.description.clone(),
        function_type: Enum(match function.function_type.as_str() {
            "Unknown" => String::new(),
            name => name.into(),
        }),
        input_field_names: names(&function.input_field_ids),
        input_field_ids: ids(&function.input_field_ids),
        output_field_names: names(&function.output_field_ids),
        output_field_ids: ids(&function.output_field_ids),
        params: pairs(&function.params),
    };
    kept(message, &function.extra)
}

fn struct_array_field(group: &StructArrayField) -> Kept<wire::StructArrayField> {
    let message = wire::StructArrayField {
        field_id: Int64(group.field_id.0),
        name: group.name.clone(),
        description: group.description.clone(),
        fields: group.fields.iter().map(field).collect(),
        type_params: pairs(&group.type_params),
        nullable: group.nullable,
    };
    kept(message, &group.extra)
}

/// The schema that was read, without what the domain keeps elsewhere.
pub(super) fn read_schema(schema: Kept<wire::Schema>) -> Result<Schema> {
    let Kept { message: schema, extra } = schema;
    let groups = schema.struct_array_fields.into_iter().map(|group| {
        let Kept { message: group, extra } = group;
        Ok(StructArrayField {
            field_id: field_id(group.field_id)?,
            name: group.name,
            description: group.description,
            fields: group.fields.into_iter().map(read_field).collect::<Result<_>>()?,
            type_params: params(group.type_params),
            nullable: group.nullable,
            extra,
        })
    });
    Ok(Schema {
        struct_array_fields: groups.collect::<Result<_>>()?,
        description: schema.description,
        auto_id: schema.auto_id,
        enable_dynamic_field: schema.enable_dynamic_field,
        version: schema.version,
        fields: schema.fields.into_iter().map(read_field).collect::<Result<_>>()?,
        functions: schema.functions.into_iter().map(read_function).collect::<Result<_>>()?,
        extra,
    })
}

pub(super) fn field_id(id: Int64) -> Result<FieldId> {
    if id.0 < 0 {
        return Err(corrupt(format_args!("fieldID is {}, it must not be negative", id.0)));
    }
    Ok(FieldId(id.0))
}

fn read_field(field: Kept<wire::Field>) -> Result<Field> {
    let Kept { message: field, extra } = field;
    let element_type = Some(field.element_type.name(DATA_TYPES)).filter(|name| !matches!(name.as_str(), "" | "None" | "0"));
    Ok(Field {
        field_id: field_id(field.field_id)?,
        data_type: match field.data_type.name(DATA_TYPES) {
            name if name.is_empty() || name == "0" => "None".into(),
            name => name,
        },
        name: field.name,
        description: field.description,
        is_primary_key: field.is_primary_key,
        auto_id: field.auto_id,
        is_dynamic: field.is_dynamic,
        is_partition_key: field.is_partition_key,
        is_clustering_key: field.is_clustering_key,
        nullable: field.nullable,
        is_function_output: field.is_function_output,
        element_type,
        type_params: params(field.type_params),
        index_params: params(field.index_params),
        default_value: field.default_value.map(|value| value.0),
        extra,
    })
}

fn read_function(function: Kept<wire::Function>) -> Result<Function> {
    let Kept {
        message: function,
        extra,
    } = function;
    let ids = |ids: Vec<Int64>| ids.into_iter().map(field_id).collect::<Result<_>>();
    Ok(Function {
        function_id: field_id(function.id)?,
        name: function.name,
        function_type: match function.function_type.name(FUNCTION_TYPES) {
            name if name.is_empty() => "Unknown".into(),
            name => name,
        },
        description: function.description,
        input_field_ids: ids(function.input_field_ids)?,
        output_field_ids: ids(function.output_field_ids)?,
        params: params(function.params),
        extra,
    })
}
