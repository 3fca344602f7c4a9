//! Writing a metadata file anew that another writer made: what this version does not know stays.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor, value::Error};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{MAX_BYTES, encode, lenient, wire};
use crate::domain::Result;
use crate::domain::manifest::SnapshotMetadata;
use crate::objects::stored::corrupt;

/// Bytes of one top-level value at most; those of lists as long as the snapshot are not read.
const MAX_VALUE: usize = 16 * 1024 * 1024;

/// Known, but written into bundles only: elsewhere it stays as it was.
const NOT_OURS: [&str; 1] = ["s3_location"];

/// Of a snapshot's info: what its writer's catalog says of it, which is not true of another snapshot.
const OF_ITS_CATALOG: [&str; 5] = [
    "s3_location",
    "pending_start_time",
    "compaction_expire_time",
    "pin_ids",
    "pin_expire_at_ms",
];

/// Writes the metadata file as [`super::encode()`] does, with every key of `original` that this version
/// does not know at its place. Members of lists are told by their ids, or names where they have none;
/// what was taken out of `metadata` is not put back.
///
/// The format version is that of `metadata.encoding`: the manifests must be written anew too.
///
/// # Errors
/// `corrupt_snapshot`: `original` is no JSON object, or too large.
pub fn rewrite(original: &[u8], metadata: &SnapshotMetadata, root: &str) -> Result<Vec<u8>> {
    with_unknown_of(original, &encode::metadata(metadata, root), &HashSet::new())
}

/// The same of a copy of the snapshot under other ids: without what its catalog says of the original, and without
/// every unknown key in which one of the original's own ids stands (of the snapshot, its collection, partitions,
/// channels, segments and index builds).
///
/// # Errors
/// As [`rewrite`]; `original` can't be read.
pub fn rewrite_copy(original: &[u8], metadata: &SnapshotMetadata, root: &str) -> Result<Vec<u8>> {
    let wrong = |why: &dyn fmt::Display| corrupt(format_args!("the metadata file can't be rewritten: {why}"));
    let of: wire::Metadata = lenient::from_slice(original).map_err(|e| wrong(&e))?;
    with_unknown_of(original, &encode::metadata(metadata, root), &ids(of))
}

/// What is another one in a copy.
fn ids(of: wire::Metadata) -> HashSet<String> {
    let info = of.snapshot_info.unwrap_or_default();
    let collection = of.collection.unwrap_or_default();
    let numbers = [info.id, info.collection_id]
        .into_iter()
        .chain(info.partition_ids)
        .chain(collection.partitions.into_values())
        .chain(of.segment_ids)
        .chain(of.build_ids);
    let channels = info.channel_seek_positions.into_iter().map(|position| position.channel_name);
    numbers
        .map(|id| id.0.to_string())
        .chain(channels)
        .chain(collection.virtual_channel_names)
        .collect()
}

/// Whether one of the ids stands anywhere in a value.
fn names_one(value: &Value, ids: &HashSet<String>) -> bool {
    match value {
        Value::String(text) => ids.contains(text),
        Value::Number(number) => ids.contains(&number.to_string()),
        Value::Array(items) => items.iter().any(|item| names_one(item, ids)),
        Value::Object(map) => map.iter().any(|(key, value)| ids.contains(key) || names_one(value, ids)),
        Value::Null | Value::Bool(_) => false,
    }
}

/// A file with what another one has beside it; of a copy, whose original had these ids, without what is the
/// original's alone.
///
/// # Errors
/// As [`rewrite`].
pub(super) fn with_unknown_of(original: &[u8], file: &wire::Metadata, ids: &HashSet<String>) -> Result<Vec<u8>> {
    let wrong = |why: &dyn fmt::Display| corrupt(format_args!("the metadata file can't be rewritten: {why}"));
    if original.len() > MAX_BYTES {
        return Err(wrong(&format_args!("it has {} bytes", original.len())));
    }
    let original: BTreeMap<String, &RawValue> = serde_json::from_slice(original).map_err(|e| wrong(&e))?;
    let shape = Shape::metadata();
    let mut old = Map::new();
    for (key, value) in original {
        let name = shape.name(&key);
        // the others are as long as the snapshot, and hold nothing unknown
        if name.is_some_and(|name| shape.inner(name).is_none()) {
            continue;
        }
        let text = value.get();
        if text.len() > MAX_VALUE {
            return Err(wrong(&format_args!("{key} has {} bytes", text.len())));
        }
        let mut value: Value = serde_json::from_str(text).map_err(|e| wrong(&e))?;
        if let (false, Some("snapshot_info"), Value::Object(info)) = (ids.is_empty(), name, &mut value) {
            info.retain(|key, _| lenient::known(&OF_ITS_CATALOG, key).is_none());
        }
        old.insert(name.map_or(key, str::to_string), value);
    }
    let mut new = serde_json::to_value(file).map_err(|e| wrong(&e))?;
    if let Value::Object(new) = &mut new {
        shape.keep(old, new, ids);
    }
    serde_json::to_vec_pretty(&new).map_err(|e| wrong(&e))
}

/// Which keys of a message are known, and which of them are messages again.
struct Shape {
    keys: &'static [&'static str],
    inner: Vec<Inner>,
}

struct Inner {
    key: &'static str,
    /// Of a list: the key that tells its members apart.
    by: Option<&'static str>,
    shape: Shape,
}

impl Shape {
    fn of<T: for<'de> Deserialize<'de>>(inner: Vec<Inner>) -> Self {
        Self {
            keys: keys::<T>(),
            inner,
        }
    }

    fn metadata() -> Self {
        let one = |key, shape| Inner { key, by: None, shape };
        let many = |key, by, shape| Inner {
            key,
            by: Some(by),
            shape,
        };
        let fields = || many("fields", "fieldID", Shape::of::<wire::Field>(vec![]));
        let schema = Shape::of::<wire::Schema>(vec![
            fields(),
            many("functions", "name", Shape::of::<wire::Function>(vec![])),
            many(
                "struct_array_fields",
                "fieldID",
                Shape::of::<wire::StructArrayField>(vec![fields()]),
            ),
        ]);
        let position = Shape::of::<wire::Position>(vec![]);
        let info = Shape::of::<wire::SnapshotInfo>(vec![many("channel_seek_positions", "channel_name", position)]);
        Shape::of::<wire::Metadata>(vec![
            one("snapshot_info", info),
            one("collection", Shape::of::<wire::Collection>(vec![one("schema", schema)])),
            many("indexes", "indexID", Shape::of::<wire::Index>(vec![])),
        ])
    }

    /// The name that a key of this message is, also in lowerCamelCase.
    fn name(&self, key: &str) -> Option<&'static str> {
        lenient::known(self.keys, key)
    }

    /// An id as a string or a number, or a name; what is left out is zero or empty.
    fn identity(&self, member: &Map<String, Value>, by: &str) -> String {
        let found = member.iter().find(|(key, _)| self.name(key) == Some(by));
        match found.map(|(_, value)| value) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        }
    }

    fn inner(&self, key: &str) -> Option<&Inner> {
        self.inner.iter().find(|inner| inner.key == key)
    }

    /// Moves what is unknown from the old message to the new one.
    fn keep(&self, old: Map<String, Value>, new: &mut Map<String, Value>, ids: &HashSet<String>) {
        for (key, value) in old {
            let name = self.name(&key);
            let key = name.map_or(key, str::to_string);
            if let Some(inner) = self.inner(&key) {
                match (inner.by, value, new.get_mut(&key)) {
                    (None, Value::Object(old), Some(Value::Object(new))) => inner.shape.keep(old, new, ids),
                    (Some(by), Value::Array(old), Some(Value::Array(new))) => inner.shape.keep_members(by, old, new, ids),
                    // not there any more
                    _ => {}
                }
            } else if (name.is_none() || NOT_OURS.contains(&key.as_str())) && !names_one(&value, ids) {
                new.entry(key).or_insert(value);
            }
        }
    }

    /// Members that can't be told apart, as several of one id, get nothing.
    fn keep_members(&self, by: &str, old: Vec<Value>, new: &mut [Value], ids: &HashSet<String>) {
        let mut of_id: BTreeMap<String, (Vec<Map<String, Value>>, usize)> = BTreeMap::new();
        for member in old {
            if let Value::Object(member) = member {
                of_id.entry(self.identity(&member, by)).or_default().0.push(member);
            }
        }
        for member in new.iter().filter_map(Value::as_object) {
            of_id.entry(self.identity(member, by)).or_default().1 += 1;
        }
        for member in new.iter_mut().filter_map(Value::as_object_mut) {
            if let Some((old, 1)) = of_id.get_mut(&self.identity(member, by))
                && let [_] = old[..]
                && let Some(old) = old.pop()
            {
                self.keep(old, member, ids);
            }
        }
    }
}

/// The keys that a struct is read from, as its own `Deserialize` names them.
pub(super) fn keys<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    struct Names<'a>(&'a Cell<&'static [&'static str]>);

    impl<'de> Deserializer<'de> for Names<'_> {
        type Error = Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> std::result::Result<V::Value, Error> {
            Err(Error::custom("only names are asked for"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> std::result::Result<V::Value, Error> {
            self.0.set(fields);
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
            unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let found = Cell::new(&[][..]);
    let _ = T::deserialize(Names(&found));
    found.get()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema;

    #[test]
    fn what_the_domain_has_names_for_is_what_the_messages_have() {
        assert_eq!(keys::<wire::Field>(), schema::FIELD_KEYS);
        assert_eq!(keys::<wire::Function>(), schema::FUNCTION_KEYS);
        assert_eq!(keys::<wire::StructArrayField>(), schema::STRUCT_ARRAY_FIELD_KEYS);
        assert_eq!(keys::<wire::Schema>(), schema::SCHEMA_KEYS);
    }

    #[test]
    fn the_keys_of_a_message_are_those_that_it_is_read_from() {
        assert_eq!(keys::<wire::Position>(), ["channel_name", "msgID", "msgGroup", "timestamp"]);
        let shape = Shape::metadata();
        assert!(shape.keys.contains(&"stillframe") && shape.inner("indexes").is_some());
        for inner in &shape.inner {
            assert!(
                !inner.shape.keys.is_empty() && shape.keys.contains(&inner.key),
                "{}",
                inner.key
            );
        }
    }
}
