//! The schema of a collection: fields, functions, flags. Names and numbers are Milvus' (facts §3).

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::error::FieldError;
use super::id::FieldId;
use super::name;

/// Text to text, in a stable order.
pub type Params = BTreeMap<String, String>;

/// Keys of a message of Milvus that have no name here, in protobuf's JSON form with the names of the
/// `.proto` file; kept as they came.
pub type Extra = BTreeMap<String, serde_json::Value>;

/// Keys that a message has beside its named ones, at most.
const MAX_EXTRA: usize = 64;
/// Levels of arrays and objects in a value that is kept as it is: what holds it elsewhere (snapshots, jobs, bundles) has
/// levels of its own, and no parser takes more than 127.
pub const MAX_LEVELS: usize = 64;

/// The names that Milvus' own messages have for what is named here (facts §3): not to be given again
/// among the further keys.
pub const FIELD_KEYS: &[&str] = &[
    "fieldID",
    "name",
    "is_primary_key",
    "description",
    "data_type",
    "type_params",
    "index_params",
    "autoID",
    "element_type",
    "default_value",
    "is_dynamic",
    "is_partition_key",
    "is_clustering_key",
    "nullable",
    "is_function_output",
];
/// The same of a function.
pub const FUNCTION_KEYS: &[&str] = &[
    "name",
    "id",
    "description",
    "type",
    "input_field_names",
    "input_field_ids",
    "output_field_names",
    "output_field_ids",
    "params",
];
/// The same of a struct array field.
pub const STRUCT_ARRAY_FIELD_KEYS: &[&str] = &["fieldID", "name", "description", "fields", "type_params", "nullable"];
/// The same of a schema.
pub const SCHEMA_KEYS: &[&str] = &[
    "name",
    "description",
    "autoID",
    "fields",
    "enable_dynamic_field",
    "properties",
    "functions",
    "dbName",
    "struct_array_fields",
    "version",
];

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
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
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
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
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
    #[serde(default, skip_serializing_if = "Params::is_empty")]
    pub type_params: Params,
    #[serde(default, skip_serializing_if = "is_false")]
    pub nullable: bool,
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
}

impl StructArrayField {
    /// The name of a field in it, as clients know it: Milvus from 2.6 on keeps it as `struct[field]`.
    pub fn short_name<'a>(&self, field: &'a Field) -> &'a str {
        let inner = field.name.strip_prefix(self.name.as_str());
        let inner = inner.and_then(|rest| rest.strip_prefix('[')?.strip_suffix(']'));
        inner.unwrap_or(&field.name)
    }
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
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
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

    /// Checks the rules of a schema that somebody wants to have; `pointer` is where it stands in the request.
    pub fn check_new(&self, pointer: &str) -> Vec<FieldError> {
        self.checked(pointer, Some(MAX_LEVELS))
    }

    /// The same of one that a snapshot has: its values may be nested as they are, it could be read.
    pub fn check(&self, pointer: &str) -> Vec<FieldError> {
        self.checked(pointer, None)
    }

    fn checked(&self, pointer: &str, max_levels: Option<usize>) -> Vec<FieldError> {
        let mut check = Check {
            max_levels,
            ..Check::default()
        };
        let mut names = HashSet::new();
        check.fields(&self.fields, &mut names, None, &format!("{pointer}/fields"));
        for (at, group) in self.struct_array_fields.iter().enumerate() {
            let here = format!("{pointer}/struct_array_fields/{at}");
            check.id(group.field_id, &here);
            check.name(&group.name, &group.name, &mut names, &here);
            check.extra(&group.extra, STRUCT_ARRAY_FIELD_KEYS, &here);
            // two structs may have a field of one name
            check.fields(&group.fields, &mut HashSet::new(), Some(group), &format!("{here}/fields"));
        }
        for (at, function) in self.functions.iter().enumerate() {
            check.extra(&function.extra, FUNCTION_KEYS, &format!("{pointer}/functions/{at}"));
        }
        check.extra(&self.extra, SCHEMA_KEYS, pointer);
        let mut errors = check.errors;
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

/// Levels of arrays and objects in a value. It has as many as a parser takes at most.
fn levels(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(list) => 1 + list.iter().map(levels).max().unwrap_or(0),
        serde_json::Value::Object(map) => 1 + map.values().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}

fn too_deep() -> String {
    format!("is nested more than {MAX_LEVELS} deep")
}

/// What a check of a schema has found so far.
#[derive(Default)]
struct Check {
    errors: Vec<FieldError>,
    ids: HashSet<FieldId>,
    /// Levels of arrays and objects in a value; none: as many as it has.
    max_levels: Option<usize>,
}

impl Check {
    fn is_too_deep(&self, value: &serde_json::Value) -> bool {
        self.max_levels.is_some_and(|most| levels(value) > most)
    }

    fn add(&mut self, at: String, why: impl Into<String>) {
        self.errors.push(FieldError::new(at, why));
    }

    fn id(&mut self, id: FieldId, here: &str) {
        if !self.ids.insert(id) {
            self.add(format!("{here}/field_id"), format!("field id {id} is given twice"));
        }
    }

    /// `short` is what the rule of names is for, where more stands around it.
    fn name(&mut self, name: &str, short: &str, names: &mut HashSet<String>, here: &str) {
        if !names.insert(short.to_string()) {
            self.add(format!("{here}/name"), format!("field name {name:?} is given twice"));
        }
        // system and dynamic fields have names of their own ($meta)
        if let Err(why) = name::check(short.trim_start_matches('$')) {
            self.add(format!("{here}/name"), why);
        }
    }

    fn fields(&mut self, fields: &[Field], names: &mut HashSet<String>, of: Option<&StructArrayField>, base: &str) {
        for (at, field) in fields.iter().enumerate() {
            let here = format!("{base}/{at}");
            self.id(field.field_id, &here);
            let short = of.map_or(field.name.as_str(), |group| group.short_name(field));
            self.name(&field.name, short, names, &here);
            for (key, data_type) in [
                ("data_type", Some(&field.data_type)),
                ("element_type", field.element_type.as_ref()),
            ] {
                if let Some(data_type) = data_type
                    && !DATA_TYPES.iter().any(|(known, _)| known == data_type)
                {
                    self.add(format!("{here}/{key}"), format!("unknown data type {data_type:?}"));
                }
            }
            if let Some(value) = &field.default_value
                && self.is_too_deep(value)
            {
                self.add(format!("{here}/default_value"), too_deep());
            }
            self.extra(&field.extra, FIELD_KEYS, &here);
        }
    }

    fn extra(&mut self, extra: &Extra, known: &[&str], here: &str) {
        // a name is the same in protobuf's lowerCamelCase
        let plain = |name: &str| name.replace('_', "").to_lowercase();
        if let Some(taken) = extra.keys().find(|key| known.iter().any(|k| plain(k) == plain(key))) {
            self.add(format!("{here}/extra"), format!("{taken:?} has a name of its own here"));
        }
        if extra.values().any(|value| self.is_too_deep(value)) {
            self.add(format!("{here}/extra"), too_deep());
        }
        if extra.len() > MAX_EXTRA {
            self.add(
                format!("{here}/extra"),
                format!("has {} keys, at most {MAX_EXTRA} are allowed", extra.len()),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(field_id: i64, name: &str) -> Field {
        let json = serde_json::json!({"field_id": field_id.to_string(), "name": name, "data_type": "Int64"});
        serde_json::from_value(json).expect("a field")
    }

    fn structs(groups: &[(&str, &[&str])]) -> Vec<String> {
        let mut ids = 101..;
        let mut next = || FieldId(ids.next().expect("endless"));
        let mut key = field(100, "id");
        key.is_primary_key = true;
        let groups = groups.iter().map(|(name, fields)| StructArrayField {
            field_id: next(),
            name: (*name).into(),
            description: String::new(),
            fields: fields.iter().map(|name| field(next().0, name)).collect(),
            type_params: Params::new(),
            nullable: false,
            extra: Extra::new(),
        });
        let schema = Schema {
            struct_array_fields: groups.collect(),
            fields: vec![key],
            ..Schema::default()
        };
        schema.check("").into_iter().map(|e| e.pointer).collect()
    }

    #[test]
    fn fields_of_structs_have_milvus_long_names_or_short_ones_of_their_own_struct() {
        assert_eq!(
            structs(&[("clip", &["clip[text]", "clip[vec]"]), ("shot", &["shot[text]"])]),
            [""; 0]
        );
        assert_eq!(structs(&[("clip", &["text", "vec"]), ("shot", &["text"])]), [""; 0]);
        for (group, fields) in [
            ("clip", ["clip[text]", "text"]),
            ("clip", ["x", "other[text]"]),
            ("clip", ["x", "clip[]"]),
            ("clip", ["x", "clip[a[b]]"]),
            ("clip", ["x", "clip[text"]),
        ] {
            assert_eq!(
                structs(&[(group, &fields)]),
                ["/struct_array_fields/0/fields/1/name"],
                "{fields:?}"
            );
        }
        assert_eq!(structs(&[("id", &["a"])]), ["/struct_array_fields/0/name"]);
        assert_eq!(structs(&[("a[b]", &["a"])]), ["/struct_array_fields/0/name"]);
    }

    #[test]
    fn further_keys_are_none_of_the_named_ones() {
        let mut schema = Schema {
            fields: vec![field(100, "id")],
            ..Schema::default()
        };
        schema.fields[0].is_primary_key = true;
        schema.fields[0].extra.insert("element_nullable".into(), true.into());
        schema.extra.insert("external_source".into(), "s3://x".into());
        assert_eq!(schema.check("").len(), 0);
        schema.fields[0].extra.insert("isPrimaryKey".into(), true.into());
        schema.extra.insert("dbName".into(), "x".into());
        let at: Vec<String> = schema.check("").into_iter().map(|e| e.pointer).collect();
        assert_eq!(at, ["/fields/0/extra", "/extra"]);
    }

    #[test]
    fn values_are_nested_so_deep_and_no_deeper() {
        let nested = |levels: usize| {
            let value = serde_json::from_str(&format!("{}1{}", r#"{"a":["#.repeat(levels / 2), "]}".repeat(levels / 2)));
            Some(value.expect("JSON"))
        };
        let mut schema = Schema {
            fields: vec![field(100, "id")],
            ..Schema::default()
        };
        schema.fields[0].is_primary_key = true;
        let mut at = |default: Option<serde_json::Value>, extra: Option<serde_json::Value>| -> Vec<String> {
            schema.fields[0].default_value = default;
            schema.fields[0].extra = extra.map(|value| ("more".to_string(), value)).into_iter().collect();
            assert_eq!(schema.check("").len(), 0, "what is stored is read as it is");
            schema.check_new("").into_iter().map(|e| e.pointer).collect()
        };
        assert_eq!(at(nested(MAX_LEVELS), nested(MAX_LEVELS)), [""; 0]);
        assert_eq!(at(nested(MAX_LEVELS + 2), None), ["/fields/0/default_value"]);
        assert_eq!(at(None, nested(MAX_LEVELS + 2)), ["/fields/0/extra"]);
    }
}
