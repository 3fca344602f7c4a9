//! Avro schemas, read from JSON that nobody vouches for.

use std::collections::HashMap;

use serde_json::Value;

/// Bytes of a schema at most; ours has about 3,000.
const MAX_BYTES: usize = 256 * 1024;

/// A type of a schema that has been read.
#[derive(Debug, Clone)]
pub(super) enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Enum,
    Fixed(usize),
    Array(Box<Type>),
    Map(Box<Type>),
    Union(Vec<Type>),
    /// By its place in [`Schema::records`].
    Record(usize),
}

/// The name and type of each field of a record, in the order in which they are stored.
pub(super) type Fields = Vec<(String, Type)>;

/// A schema that has been read. A record may contain itself: whoever walks it counts the depth.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) root: Type,
    pub(super) records: Vec<Fields>,
}

impl Schema {
    /// Reads a schema that came with a file.
    ///
    /// # Errors
    /// A sentence: it is too large, no JSON, or no Avro schema.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("has {} bytes, at most {MAX_BYTES} are allowed", text.len()));
        }
        // serde_json refuses more than 128 levels, so the recursion below is bounded
        let json: Value = serde_json::from_slice(text).map_err(|e| format!("is not JSON: {e}"))?;
        let mut parser = Parser::default();
        let root = parser.read(&json, "")?;
        Ok(Self {
            root,
            records: parser.records,
        })
    }
}

#[derive(Default)]
struct Parser {
    records: Vec<Fields>,
    names: HashMap<String, Type>,
}

impl Parser {
    fn read(&mut self, json: &Value, namespace: &str) -> Result<Type, String> {
        match json {
            Value::String(name) => self.named(name, namespace),
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.read(branch, namespace));
                Ok(Type::Union(branches.collect::<Result<_, _>>()?))
            }
            Value::Object(_) => self.complex(json, namespace),
            _ => Err("has something that is no type".into()),
        }
    }

    fn named(&self, name: &str, namespace: &str) -> Result<Type, String> {
        Ok(match name {
            "null" => Type::Null,
            "boolean" => Type::Boolean,
            "int" => Type::Int,
            "long" => Type::Long,
            "float" => Type::Float,
            "double" => Type::Double,
            "bytes" => Type::Bytes,
            "string" => Type::String,
            _ => self
                .names
                .get(&full_name(name, namespace))
                .or_else(|| self.names.get(name))
                .ok_or_else(|| format!("uses the type {name:?} before it is defined"))?
                .clone(),
        })
    }

    fn complex(&mut self, json: &Value, namespace: &str) -> Result<Type, String> {
        let kind = match json.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(nested) => return self.read(nested, namespace),
            None => return Err("has an object without a type".into()),
        };
        match kind {
            "array" | "map" => {
                let key = if kind == "array" { "items" } else { "values" };
                let inner = json.get(key).ok_or_else(|| format!("has {kind} without {key}"))?;
                let inner = Box::new(self.read(inner, namespace)?);
                Ok(if kind == "array" {
                    Type::Array(inner)
                } else {
                    Type::Map(inner)
                })
            }
            "record" | "error" | "enum" | "fixed" => {
                let name = text(json, "name").ok_or_else(|| format!("has {kind} without a name"))?;
                let name = full_name(name, text(json, "namespace").unwrap_or(namespace));
                let inner = name.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_string();
                match kind {
                    "enum" => self.define(name, Type::Enum),
                    "fixed" => {
                        let size = json.get("size").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
                        self.define(name, Type::Fixed(size.ok_or("has fixed without a size")?))
                    }
                    _ => self.record(json, name, &inner),
                }
            }
            simple => self.named(simple, namespace),
        }
    }

    fn record(&mut self, json: &Value, name: String, namespace: &str) -> Result<Type, String> {
        let at = self.records.len();
        self.records.push(Fields::new());
        let record = self.define(name, Type::Record(at))?;
        let fields = json
            .get("fields")
            .and_then(Value::as_array)
            .ok_or("has record without fields")?;
        for field in fields {
            let name = text(field, "name").ok_or("has a field without a name")?;
            let of = field
                .get("type")
                .ok_or_else(|| format!("has the field {name:?} without a type"))?;
            let of = self.read(of, namespace)?;
            if self.records[at].iter().any(|(known, _)| known == name) {
                return Err(format!("has the field {name:?} twice in one record"));
            }
            self.records[at].push((name.to_string(), of));
        }
        Ok(record)
    }

    fn define(&mut self, name: String, as_type: Type) -> Result<Type, String> {
        if self.names.contains_key(&name) {
            return Err(format!("defines {name:?} twice"));
        }
        self.names.insert(name, as_type.clone());
        Ok(as_type)
    }
}

fn text<'a>(json: &'a Value, key: &str) -> Option<&'a str> {
    json.get(key).and_then(Value::as_str)
}

fn full_name(name: &str, namespace: &str) -> String {
    if namespace.is_empty() || name.contains('.') {
        name.to_string()
    } else {
        format!("{namespace}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_with_namespaces_references_and_itself_is_read() {
        let schema = Schema::parse(
            br#"{"type":"record","name":"a.b.R","fields":[
                {"name":"x","type":{"type":"fixed","name":"F","size":3}},
                {"name":"y","type":["null","F","a.b.R"]},
                {"name":"z","type":{"type":{"type":"map","values":"R"}}}]}"#,
        )
        .expect("valid");
        assert!(matches!(schema.root, Type::Record(0)));
        assert!(matches!(&schema.records[0][1].1, Type::Union(branches) if matches!(branches[1], Type::Fixed(3))));
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "1",
            "\"unknown\"",
            "{}",
            r#"{"type":"array"}"#,
            r#"{"type":"record","fields":[]}"#,
            r#"{"type":"record","name":"A"}"#,
            r#"{"type":"record","name":"A","fields":[{"type":"long"}]}"#,
            r#"{"type":"record","name":"A","fields":[{"name":"x","type":"long"},{"name":"x","type":"long"}]}"#,
            r#"{"type":"fixed","name":"A","size":-1}"#,
            r#"[{"type":"enum","name":"A"},{"type":"enum","name":"A"}]"#,
            &deep,
        ] {
            assert!(Schema::parse(text.as_bytes()).is_err(), "{text:.40}");
        }
    }
}
