//! The compact encoding of segment and index build content in catalog rows.
//!
//! A version byte, then postcard. A new version is a new byte and a new arm here; rows of old
//! versions stay readable.

use serde::{Serialize, de::DeserializeOwned};

use crate::domain::{Error, Result};

const VERSION: u8 = 1;

/// Encodes content for a row.
pub fn encode<T: Serialize>(content: &T) -> Result<Vec<u8>> {
    postcard::to_extend(content, vec![VERSION]).map_err(Error::internal)
}

/// Decodes content of a row.
///
/// # Errors
/// `internal` when the row was written by a newer version or is damaged.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(Error::internal),
        Some((version, _)) => Err(Error::internal(format!("catalog content has the unknown version {version}"))),
        None => Err(Error::internal("catalog content is empty")),
    }
}

/// Decodes a JSON column.
pub fn from_json<T: DeserializeOwned>(value: serde_json::Value) -> Result<T> {
    serde_json::from_value(value).map_err(Error::internal)
}

/// Encodes a JSON column.
pub fn to_json<T: Serialize>(value: &T) -> Result<serde_json::Value> {
    serde_json::to_value(value).map_err(Error::internal)
}
