//! Ids: non-negative 64-bit integers, one type per thing.
//!
//! JavaScript can't hold them, so JSON carries them as strings (protobuf's JSON rule); a number
//! is accepted all the same. Binary encodings carry the integer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Says why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an integer from 0 to 9223372036854775807, as a string or a number")]
pub struct InvalidId;

/// Reads a non-negative 64-bit integer written in decimal digits only.
///
/// # Errors
/// [`InvalidId`] for a sign, a blank, anything out of range.
pub fn parse_non_negative(text: &str) -> Result<i64, InvalidId> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(InvalidId);
    }
    text.parse().map_err(|_| InvalidId)
}

macro_rules! id_types {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_non_negative(text).map(Self)
            }
        }

        impl From<i64> for $name {
            fn from(value: i64) -> Self {
                Self(value)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(&self.0)
                } else {
                    serializer.serialize_i64(self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    integer(deserializer).map(Self)
                } else {
                    i64::deserialize(deserializer).map(Self)
                }
            }
        }
    )+};
}

id_types! {
    /// A database.
    DatabaseId,
    /// A collection.
    CollectionId,
    /// A partition; -1 stands for all partitions and is legal for L0 segments only.
    PartitionId,
    /// A segment.
    SegmentId,
    /// A field of a schema; kept by a restore.
    FieldId,
    /// An index definition; unique in its collection, kept by a restore.
    IndexId,
    /// An index build: the files of one index on one segment.
    BuildId,
    /// A snapshot.
    SnapshotId,
    /// A restore job.
    JobId,
    /// A task of a restore job.
    TaskId,
    /// A run of the collector.
    RunId,
    /// A pin of a snapshot.
    PinId,
    /// A webhook.
    WebhookId,
    /// An API key.
    KeyId,
}

impl PartitionId {
    /// The partition of an L0 segment whose deletes concern every partition.
    pub const ALL: PartitionId = PartitionId(-1);
}

/// Deserializes a non-negative integer from a JSON string or number.
///
/// # Errors
/// A message that says which range is accepted.
pub fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    struct Visitor;
    impl serde::de::Visitor<'_> for Visitor {
        type Value = i64;
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("an integer from 0 to 9223372036854775807, as a string or a number")
        }
        fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<i64, E> {
            if v < 0 { Err(E::custom(InvalidId)) } else { Ok(v) }
        }
        fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<i64, E> {
            i64::try_from(v).map_err(|_| E::custom(InvalidId))
        }
        fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<i64, E> {
            parse_non_negative(v).map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Visitor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_string_in_json_and_a_number_is_accepted() {
        assert_eq!(serde_json::to_string(&SegmentId(12)).expect("serializes"), "\"12\"");
        for json in ["\"12\"", "12"] {
            assert_eq!(serde_json::from_str::<SegmentId>(json).expect("accepted"), SegmentId(12));
        }
        for json in [
            "-1",
            "\"-1\"",
            "\"+1\"",
            "\" 1\"",
            "1.5",
            "9223372036854775808",
            "\"\"",
            "true",
            "null",
        ] {
            assert!(serde_json::from_str::<SegmentId>(json).is_err(), "{json} must be refused");
        }
    }
}
