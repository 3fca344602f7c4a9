//! Texts and numbers as they stand in JSON.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use crate::domain::id::integer;
pub use crate::domain::timestamp::rfc3339;
use crate::domain::{Error, Result};

/// An id or hybrid timestamp: a 64-bit integer as a string, since JavaScript's numbers can't
/// hold it. A number is accepted in requests all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ToSchema)]
#[schema(value_type = String, pattern = "^[0-9]{1,19}$", examples("470644622231601173"))]
pub struct Id(pub i64);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        integer(deserializer).map(Self)
    }
}

impl Id {
    /// Reads an id in a path; `name` is the parameter.
    ///
    /// # Errors
    /// `invalid_request`.
    pub fn in_path(name: &str, text: &str) -> Result<i64> {
        crate::domain::id::parse_non_negative(text).map_err(|e| Error::invalid(format!("{{{name}}}"), e.to_string()))
    }
}

/// The id of a partition, or `-1` for all partitions (L0 segments).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, pattern = "^(-1|[0-9]{1,19})$", examples("470644622231601174"))]
pub struct PartitionIdText(pub i64);

impl Serialize for PartitionIdText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PartitionIdText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(i64),
            Text(String),
        }
        let number = match Form::deserialize(deserializer).map_err(|_| serde::de::Error::custom(PARTITION_ID))? {
            Form::Number(number) => Some(number),
            Form::Text(text) if text == "-1" => Some(-1),
            Form::Text(text) => crate::domain::id::parse_non_negative(&text).ok(),
        };
        number
            .filter(|n| *n >= -1)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom(PARTITION_ID))
    }
}

const PARTITION_ID: &str = "expected an integer from 0 to 9223372036854775807, or -1 for all partitions, as a string or a number";

/// A count or a number of bytes, not negative. A string of digits is accepted in requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ToSchema)]
#[schema(value_type = i64, minimum = 0, examples(4013))]
pub struct Count(pub i64);

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        integer(deserializer).map(Self)
    }
}

impl Count {
    pub fn of(size: u64) -> Self {
        Self(i64::try_from(size).unwrap_or(i64::MAX))
    }

    pub fn bytes(self) -> u64 {
        u64::try_from(self.0).unwrap_or_default()
    }
}

/// Reads a time in a query parameter.
///
/// # Errors
/// `invalid_request`.
pub fn parse_time(name: &str, text: Option<&str>) -> Result<Option<OffsetDateTime>> {
    let parse = |text| {
        OffsetDateTime::parse(text, &Rfc3339)
            .ok()
            .and_then(|time| time.checked_to_offset(time::UtcOffset::UTC))
            .ok_or_else(|| Error::invalid(format!("?{name}"), "expected a time such as 2024-01-01T00:00:00Z (RFC 3339)"))
    };
    text.map(parse).transpose()
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T: ToSchema> {
    pub items: Vec<T>,
    /// Give it as `page_token` to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

impl<T: ToSchema> List<T> {
    pub fn of<S>(page: crate::domain::page::Page<S>, convert: impl Fn(S) -> T) -> Self {
        Self {
            items: page.items.into_iter().map(convert).collect(),
            next_page_token: page.next_page_token,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_number_in_json_and_a_text_of_digits_is_accepted() {
        assert_eq!(serde_json::to_string(&Count(12)).expect("serializes"), "12");
        for json in ["12", "\"12\""] {
            assert_eq!(serde_json::from_str::<Count>(json).expect("accepted"), Count(12));
        }
        for json in ["-1", "\"-1\"", "1.0", "\"\"", "\"1e3\"", "9223372036854775808", "null"] {
            assert!(serde_json::from_str::<Count>(json).is_err(), "{json} must be refused");
        }
    }
}
