//! Schemas between Milvus' messages and the domain.

mod default_value;
mod extra;
mod from_wire;
mod to_wire;
mod unknown;

use crate::domain::schema::Params;
use crate::milvus::proto::common::KeyValuePair;

pub use from_wire::read;
pub use to_wire::{consistency, field_name, show};

/// First id of a user's field; smaller ones are Milvus' own columns.
const FIRST_USER_FIELD: i64 = 100;
/// Name of the field that takes what has no field of its own.
const DYNAMIC_FIELD: &str = "$meta";

/// Texts as Milvus writes them.
pub fn pairs(params: &Params) -> Vec<KeyValuePair> {
    let pair = |(key, value): (&String, &String)| KeyValuePair {
        key: key.clone(),
        value: value.clone(),
    };
    params.iter().map(pair).collect()
}

/// Texts as Milvus writes them, the last of a key counting.
pub fn params(pairs: &[KeyValuePair]) -> Params {
    pairs.iter().map(|p| (p.key.clone(), p.value.clone())).collect()
}
