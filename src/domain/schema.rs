//! The schema of a collection: fields, functions, flags. Names and numbers are Milvus' (facts §3).

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::error::FieldError;
use super::id::FieldId;
use super::name;

/// Text to text, in a stable order.
pub type Params = BTreeMap<String, String>;

/// Milvus' data types by name and number.
pub const DATA_TYPES: &[(&str, i32)] = &[
    ("Bool", 1),
    ("Int8", 2),
    ("Int16", 3),
    ("Int32", 4),
    ("Int64", 5),
    ("Float", 10),
    ("Double", 11),
    ("String", 20),
    ("VarChar", 21),
    ("Array", 22),
    ("JSON", 23),
    ("Geometry", 24),
    ("Text", 25),
    ("Timestamptz", 26),
    ("Mol", 27),
    ("Date", 28),
    ("Time", 29),
    ("Decimal", 30),
    ("UUID", 31),
    ("BinaryVector", 100),
    ("FloatVector", 101),
    ("Float16Vector", 102),
    ("BFloat16Vector", 103),
    ("SparseFloatVector", 104),
    ("Int8Vector", 105),
    ("ArrayOfVector", 106),
    ("ArrayOfStruct", 200),
    ("Struct", 201),
];

/// Milvus' consistency levels; the place in the list is the number.
pub const CONSISTENCY_LEVELS: &[&str] = &["Strong", "Session", "Bounded", "Eventually", "Customized"];

/// A field of a collection, or of a struct array field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Field {
    pub field_id: FieldId,
    pub name: String,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element_type: Option<String>,
    #[serde(default, skip_serializing_if = "Params::is_empty")]
    pub type_params: Params,
    #[serde(default, skip_serializing_if = "Params::is_empty")]
    pub index_params: Params,
    /// A `ValueField` in protobuf's JSON form, kept as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_value: Option<serde_json::Value>,
}

/// A function of the schema, for example BM25.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Function {
    pub function_id: FieldId,
    pub name: String,
    pub function_type: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub input_field_ids: Vec<FieldId>,
    #[serde(default)]
    pub output_field_ids: Vec<FieldId>,
    #[serde(default)]
    pub params: Params,
}

/// A field that holds an array of structs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StructArrayField {
    pub field_id: FieldId,
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub fields: Vec<Field>,
}

/// What a collection's rows look like.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Schema {
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub auto_id: bool,
    #[serde(default)]
    pub enable_dynamic_field: bool,
    #[serde(default)]
    pub version: i32,
    pub fields: Vec<Field>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<Function>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub struct_array_fields: Vec<StructArrayField>,
}

fn is_false(value: &bool) -> bool {
    !*value
}

impl Schema {
    /// Every field id of the schema, those of struct array fields included.
    pub fn field_ids(&self) -> HashSet<FieldId> {
        let nested = self.struct_array_fields.iter();
        let fields = self.fields.iter().map(|f| f.field_id);
        fields
            .chain(nested.flat_map(|s| std::iter::once(s.field_id).chain(s.fields.iter().map(|f| f.field_id))))
            .collect()
    }

    /// Checks the rules of a schema; `pointer` is where it stands in the request.
    pub fn check(&self, pointer: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut ids = HashSet::new();
        let mut names = HashSet::new();
        let mut check_fields = |fields: &[Field], base: &str| {
            for (at, field) in fields.iter().enumerate() {
                let here = format!("{base}/{at}");
                if !ids.insert(field.field_id) {
                    errors.push(FieldError::new(
                        format!("{here}/field_id"),
                        format!("field id {} is given twice", field.field_id),
                    ));
                }
                if !names.insert(field.name.clone()) {
                    errors.push(FieldError::new(
                        format!("{here}/name"),
                        format!("field name {:?} is given twice", field.name),
                    ));
                }
                // system and dynamic fields have names of their own ($meta)
                if let Err(why) = name::check(field.name.trim_start_matches('$')) {
                    errors.push(FieldError::new(format!("{here}/name"), why));
                }
                for (key, data_type) in [
                    ("data_type", Some(&field.data_type)),
                    ("element_type", field.element_type.as_ref()),
                ] {
                    if let Some(data_type) = data_type
                        && !DATA_TYPES.iter().any(|(known, _)| known == data_type)
                    {
                        errors.push(FieldError::new(
                            format!("{here}/{key}"),
                            format!("unknown data type {data_type:?}"),
                        ));
                    }
                }
            }
        };
        check_fields(&self.fields, &format!("{pointer}/fields"));
        for (at, group) in self.struct_array_fields.iter().enumerate() {
            check_fields(&group.fields, &format!("{pointer}/struct_array_fields/{at}/fields"));
        }
        if self.fields.is_empty() {
            errors.push(FieldError::new(
                format!("{pointer}/fields"),
                "a collection needs at least one field",
            ));
        }
        let keys = self.fields.iter().filter(|f| f.is_primary_key).count();
        if !self.fields.is_empty() && keys != 1 {
            errors.push(FieldError::new(
                format!("{pointer}/fields"),
                format!("exactly one field must be the primary key, {keys} are"),
            ));
        }
        errors
    }
}
