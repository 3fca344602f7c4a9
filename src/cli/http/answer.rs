//! Reading what the service answered.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::failure::Failure;

/// One page of a list.
#[derive(Deserialize)]
pub struct Page {
    pub items: Vec<Value>,
    pub next_page_token: Option<String>,
}

/// Reads an answer.
///
/// # Errors
/// When it is not what was expected, as of a service of another version.
pub fn decode<T: DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    serde_path_to_error::deserialize(value).map_err(|e| {
        Failure::Other(anyhow::anyhow!(
            "the service's answer can't be read: {e}; is it of another version?"
        ))
    })
}

/// Reads the entries of a list.
///
/// # Errors
/// As [`decode`].
pub fn decode_all<T: DeserializeOwned>(values: &[Value]) -> Result<Vec<T>, Failure> {
    values.iter().map(decode).collect()
}

/// A list, as the service would give it on one page.
pub fn as_list(items: Vec<Value>) -> Value {
    json!({"items": items})
}
