//! Fields of Milvus' messages that the domain keeps by their names only.

use serde_json::{Value, json};

use crate::domain::schema::Extra;

/// A key with its value; none where the value is protobuf's default.
pub type Entry = Option<(&'static str, Value)>;

/// Those that are set.
pub fn of<const N: usize>(entries: [Entry; N]) -> Extra {
    entries
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.to_string(), value))
        .collect()
}

/// A text.
pub fn named(key: &'static str, text: &str) -> Entry {
    (!text.is_empty()).then(|| (key, json!(text)))
}

/// A flag.
pub fn flagged(key: &'static str, on: bool) -> Entry {
    on.then_some((key, Value::Bool(true)))
}

/// A list of ids, which are strings in protobuf's JSON.
pub fn listed(key: &'static str, ids: &[i64]) -> Entry {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    (!ids.is_empty()).then(|| (key, json!(ids)))
}

/// The text under a key; empty where there is none.
pub fn text(extra: &Extra, key: &str) -> String {
    extra.get(key).and_then(Value::as_str).unwrap_or_default().to_string()
}

/// The flag under a key.
pub fn flag(extra: &Extra, key: &str) -> bool {
    extra.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// The ids under a key, strings or numbers.
pub fn ids(extra: &Extra, key: &str) -> Vec<i64> {
    let id = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
    let list = extra.get(key).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(id).collect()
}
