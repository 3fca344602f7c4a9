//! A schema as clients are shown it: Milvus' own columns and the dynamic field are left out.

use super::{FIRST_USER_FIELD, default_value, extra, pairs};
use crate::domain::collection::Collection;
use crate::domain::id::FieldId;
use crate::domain::schema::{CONSISTENCY_LEVELS, DATA_TYPES, Field, Function, Schema, StructArrayField};
use crate::milvus::proto::schema::{CollectionSchema, FieldSchema, FunctionSchema, FunctionType, StructArrayFieldSchema};

/// The number of a consistency level.
pub fn consistency(name: &str) -> i32 {
    let place = CONSISTENCY_LEVELS.iter().position(|known| *known == name);
    place.and_then(|at| i32::try_from(at).ok()).unwrap_or(0)
}

fn data_type(name: &str) -> i32 {
    DATA_TYPES
        .iter()
        .find(|(known, _)| *known == name)
        .map_or(0, |(_, number)| *number)
}

/// The name of a field, those of struct array fields included.
pub fn field_name(schema: &Schema, id: FieldId) -> Option<&str> {
    let nested = schema.struct_array_fields.iter().flat_map(|s| s.fields.iter());
    let mut all = schema.fields.iter().chain(nested);
    all.find(|f| f.field_id == id).map(|f| f.name.as_str())
}

/// The schema of a collection.
pub fn show(collection: &Collection) -> CollectionSchema {
    let schema = &collection.schema;
    let visible = |f: &&Field| f.field_id.0 >= FIRST_USER_FIELD && !f.is_dynamic;
    CollectionSchema {
        name: collection.name.clone(),
        description: schema.description.clone(),
        auto_id: schema.auto_id,
        fields: schema.fields.iter().filter(visible).map(field).collect(),
        enable_dynamic_field: schema.enable_dynamic_field,
        properties: pairs(&collection.properties),
        functions: schema.functions.iter().map(|f| function(schema, f)).collect(),
        db_name: collection.db_name.clone(),
        struct_array_fields: schema.struct_array_fields.iter().map(group).collect(),
        version: schema.version,
        external_source: extra::text(&schema.extra, "external_source"),
        external_spec: extra::text(&schema.extra, "external_spec"),
        do_physical_backfill: extra::flag(&schema.extra, "do_physical_backfill"),
        file_resource_ids: extra::ids(&schema.extra, "file_resource_ids"),
        enable_namespace: extra::flag(&schema.extra, "enable_namespace"),
    }
}

fn field(field: &Field) -> FieldSchema {
    FieldSchema {
        field_id: field.field_id.0,
        name: field.name.clone(),
        is_primary_key: field.is_primary_key,
        description: field.description.clone(),
        data_type: data_type(&field.data_type),
        type_params: pairs(&field.type_params),
        index_params: pairs(&field.index_params),
        auto_id: field.auto_id,
        element_type: field.element_type.as_deref().map_or(0, data_type),
        default_value: field.default_value.as_ref().and_then(default_value::from_json),
        is_dynamic: field.is_dynamic,
        is_partition_key: field.is_partition_key,
        is_clustering_key: field.is_clustering_key,
        nullable: field.nullable,
        is_function_output: field.is_function_output,
        external_field: extra::text(&field.extra, "external_field"),
    }
}

fn group(group: &StructArrayField) -> StructArrayFieldSchema {
    StructArrayFieldSchema {
        field_id: group.field_id.0,
        name: group.name.clone(),
        description: group.description.clone(),
        // the long names are Milvus' own business
        fields: group
            .fields
            .iter()
            .map(|f| FieldSchema {
                name: group.short_name(f).to_string(),
                ..field(f)
            })
            .collect(),
        type_params: pairs(&group.type_params),
        nullable: group.nullable,
    }
}

fn function(schema: &Schema, function: &Function) -> FunctionSchema {
    let names = |ids: &[FieldId]| {
        let found = ids.iter().filter_map(|id| field_name(schema, *id));
        found.map(str::to_string).collect()
    };
    FunctionSchema {
        name: function.name.clone(),
        id: function.function_id.0,
        description: function.description.clone(),
        r#type: FunctionType::from_str_name(&function.function_type)
            .unwrap_or_default()
            .into(),
        input_field_names: names(&function.input_field_ids),
        input_field_ids: function.input_field_ids.iter().map(|id| id.0).collect(),
        output_field_names: names(&function.output_field_ids),
        output_field_ids: function.output_field_ids.iter().map(|id| id.0).collect(),
        params: pairs(&function.params),
    }
}
