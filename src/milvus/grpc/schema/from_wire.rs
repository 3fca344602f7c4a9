//! A schema that a client sends: ids are given out here, as Milvus does.

use prost::Message as _;

use super::{DYNAMIC_FIELD, FIRST_USER_FIELD, default_value, extra, params, unknown};
use crate::domain::id::FieldId;
use crate::domain::schema::{DATA_TYPES, Extra, Field, Function, Schema, StructArrayField};
use crate::milvus::proto::schema::{CollectionSchema, FieldSchema, FunctionSchema, FunctionType};
use crate::milvus::status::{Refusal, code};

/// What the bytes of a schema say.
#[derive(Debug)]
pub struct Wanted {
    pub schema: Schema,
    /// The partitions are by a field of the rows, and not the user's to name.
    pub has_partition_key: bool,
}

/// Reads a schema as it stands in `CreateCollectionRequest`.
///
/// # Errors
/// Bytes that are no schema, types that are not known, external collections; fields of a newer Milvus, which
/// would be lost here.
pub fn read(bytes: &[u8]) -> Result<Wanted, Refusal> {
    let wire = CollectionSchema::decode(bytes).map_err(|e| Refusal::invalid(format!("the schema can't be read: {e}")))?;
    if !wire.external_source.is_empty() || !wire.external_spec.is_empty() {
        return Err(Refusal::new(
            code::NOT_SUPPORTED,
            "external collections (external_source, external_spec) are not served here",
        ));
    }
    if let Some(what) = unknown::in_schema(bytes) {
        return Err(Refusal::new(
            code::NOT_SUPPORTED,
            format!("the schema says what is not known here and would be lost: {what}"),
        ));
    }
    let mut ids = FIRST_USER_FIELD..;
    let mut next = || FieldId(ids.next().unwrap_or(i64::MAX));
    let mut fields = Vec::with_capacity(wire.fields.len() + 3);
    for field in &wire.fields {
        fields.push(one(field, next())?);
    }
    if wire.enable_dynamic_field && !fields.iter().any(|f| f.is_dynamic) {
        fields.push(Field {
            description: "dynamic schema".into(),
            is_dynamic: true,
            ..plain(next(), DYNAMIC_FIELD, "JSON")
        });
    }
    let mut struct_array_fields = Vec::new();
    for group in &wire.struct_array_fields {
        let field_id = next();
        let inner: Result<Vec<Field>, Refusal> = group.fields.iter().map(|f| one(f, next())).collect();
        struct_array_fields.push(StructArrayField {
            field_id,
            name: group.name.clone(),
            description: group.description.clone(),
            fields: inner?,
            type_params: params(&group.type_params),
            nullable: group.nullable,
            extra: Extra::new(),
        });
    }
    let functions: Result<Vec<Function>, Refusal> = wire
        .functions
        .iter()
        .zip(FIRST_USER_FIELD..)
        .map(|(f, id)| function(f, FieldId(id), &fields))
        .collect();
    let functions = functions?;
    for field in &mut fields {
        field.is_function_output |= functions.iter().any(|f| f.output_field_ids.contains(&field.field_id));
    }
    // the two columns that every Milvus segment has
    for (id, name, description) in [(0, "RowID", "row id"), (1, "Timestamp", "time stamp")] {
        fields.push(Field {
            description: description.into(),
            ..plain(FieldId(id), name, "Int64")
        });
    }
    Ok(Wanted {
        has_partition_key: fields.iter().any(|f| f.is_partition_key),
        schema: Schema {
            description: wire.description,
            auto_id: wire.auto_id || fields.iter().any(|f| f.is_primary_key && f.auto_id),
            enable_dynamic_field: wire.enable_dynamic_field,
            version: wire.version,
            fields,
            functions,
            struct_array_fields,
            extra: extra::of([
                extra::flagged("do_physical_backfill", wire.do_physical_backfill),
                extra::listed("file_resource_ids", &wire.file_resource_ids),
                extra::flagged("enable_namespace", wire.enable_namespace),
            ]),
        },
    })
}

fn plain(field_id: FieldId, name: &str, data_type: &str) -> Field {
    Field {
        field_id,
        name: name.into(),
        data_type: data_type.into(),
        description: String::new(),
        is_primary_key: false,
        auto_id: false,
        is_dynamic: false,
        is_partition_key: false,
        is_clustering_key: false,
        nullable: false,
        is_function_output: false,
        element_type: None,
        type_params: Default::default(),
        index_params: Default::default(),
        default_value: None,
        extra: Extra::new(),
    }
}

fn data_type(number: i32, field: &str) -> Result<&'static str, Refusal> {
    let known = DATA_TYPES.iter().find(|(_, n)| *n == number);
    known
        .map(|(name, _)| *name)
        .ok_or_else(|| Refusal::invalid(format!("field {field} has data type {number}, which is not known")))
}

fn one(wire: &FieldSchema, field_id: FieldId) -> Result<Field, Refusal> {
    let element_type = match wire.element_type {
        0 => None,
        number => Some(data_type(number, &wire.name)?.to_string()),
    };
    Ok(Field {
        description: wire.description.clone(),
        is_primary_key: wire.is_primary_key,
        auto_id: wire.auto_id,
        is_dynamic: wire.is_dynamic,
        is_partition_key: wire.is_partition_key,
        is_clustering_key: wire.is_clustering_key,
        nullable: wire.nullable,
        is_function_output: wire.is_function_output,
        element_type,
        type_params: params(&wire.type_params),
        index_params: params(&wire.index_params),
        default_value: wire.default_value.as_ref().and_then(default_value::to_json),
        extra: extra::of([extra::named("external_field", &wire.external_field)]),
        ..plain(field_id, &wire.name, data_type(wire.data_type, &wire.name)?)
    })
}

fn function(wire: &FunctionSchema, function_id: FieldId, fields: &[Field]) -> Result<Function, Refusal> {
    let id_of = |name: &String| {
        let field = fields.iter().find(|f| f.name == *name);
        field.map(|f| f.field_id).ok_or_else(|| {
            Refusal::invalid(format!(
                "function {} names field {name}, which the schema does not have",
                wire.name
            ))
        })
    };
    Ok(Function {
        function_id,
        name: wire.name.clone(),
        function_type: FunctionType::try_from(wire.r#type)
            .unwrap_or_default()
            .as_str_name()
            .to_string(),
        description: wire.description.clone(),
        input_field_ids: wire.input_field_names.iter().map(id_of).collect::<Result<_, _>>()?,
        output_field_ids: wire.output_field_names.iter().map(id_of).collect::<Result<_, _>>()?,
        params: params(&wire.params),
        extra: Extra::new(),
    })
}
