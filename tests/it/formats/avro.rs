//! Apache Avro's own library as the other side: it shares no code with ours.

use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Codec, Reader, Schema, Writer};
use base64::Engine;
use serde_json::json;

/// The records of a container file.
pub fn read_container(bytes: &[u8]) -> Vec<Value> {
    let reader = Reader::new(bytes).expect("a container");
    reader.map(|value| value.expect("a record")).collect()
}

pub fn write_datum(schema: &str, value: &Value) -> Vec<u8> {
    let schema = Schema::parse_str(schema).expect("a schema");
    let writer = GenericDatumWriter::builder(&schema).build().expect("a writer");
    writer.write_value_to_vec(value.clone()).expect("it fits the schema")
}

pub fn write_container(schema: &str, values: &[Value], codec: Codec) -> Vec<u8> {
    let schema = Schema::parse_str(schema).expect("a schema");
    let mut writer = Writer::with_codec(&schema, Vec::new(), codec).expect("a writer");
    for value in values {
        writer.append_value(value.clone()).expect("it fits the schema");
    }
    writer.into_inner().expect("flushes")
}

pub fn record(fields: Vec<(&str, Value)>) -> Value {
    Value::Record(fields.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
}

/// As `tests/read_manifest.py` prints it: bytes as base64.
pub fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Int(n) => json!(n),
        Value::Long(n) => json!(n),
        Value::Boolean(b) => json!(b),
        Value::String(s) => json!(s),
        Value::Bytes(b) => json!(base64::engine::general_purpose::STANDARD.encode(b)),
        Value::Array(items) => items.iter().map(to_json).collect(),
        Value::Record(fields) => fields.iter().map(|(name, value)| (name.clone(), to_json(value))).collect(),
        other => panic!("no manifest has {other:?}"),
    }
}
