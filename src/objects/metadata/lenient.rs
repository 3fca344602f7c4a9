//! What protobuf takes in JSON beside what it writes, for messages that serde derives: `null` for a
//! default, names in lowerCamelCase, and 32-bit integers as strings or as numbers like `1e3`.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{BorrowedStrDeserializer, CowStrDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Reads a message.
///
/// # Errors
/// Bytes that are no JSON, or not of this message.
pub(super) fn from_slice<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> serde_json::Result<T> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = T::deserialize(Lenient(&mut json))?;
    json.end()?;
    Ok(read)
}

/// The integer that a number or a text is, where it is one.
pub(super) fn integral(value: f64) -> Option<i64> {
    /// 2^53: up to here every integer is a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "in range, and without a fraction")]
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)
}

/// The same of a text: `7`, `7.0`, `1e3`.
pub(super) fn integral_text(text: &str) -> Option<i64> {
    // what Rust takes beside JSON's numbers
    let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && text.ends_with(|c: char| c.is_ascii_digit());
    let exact = || text.parse().ok();
    is_number.then(|| exact().or_else(|| integral(text.parse().ok()?))).flatten()
}

struct Lenient<D>(D);

macro_rules! forward {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method(visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Lenient<D> {
    type Error = D::Error;

    forward! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string
        deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(Int32(visitor))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_option(Inside(visitor))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_seq(Inside(visitor))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Message { visitor, names: &[] })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_struct(name, names, Message { visitor, names })
    }

    // serde_json's raw values: as they are
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple(len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, name: &'static str, len: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple_struct(name, len, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }
}

/// A value, read as leniently.
struct Seed<S>(S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Lenient(deserializer))
    }
}

/// An integer of 32 bits.
struct Int32<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Int32<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<V::Value, E> {
        self.0.visit_i64(v)
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<V::Value, E> {
        self.0.visit_u64(v)
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<V::Value, E> {
        match integral(v) {
            Some(v) => self.0.visit_i64(v),
            None => self.0.visit_f64(v),
        }
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<V::Value, E> {
        match integral_text(v) {
            Some(v) => self.0.visit_i64(v),
            None => self.0.visit_str(v),
        }
    }
}

/// An optional value, or the items of a list.
struct Inside<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Inside<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Lenient(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Items(seq))
    }
}

struct Items<A>(A);

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Seed(seed))
    }
}

/// A message with these names, or a map without any.
struct Message<V> {
    visitor: V,
    names: &'static [&'static str],
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Message<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let names = self.names;
        self.visitor.visit_map(Fields { map, names })
    }
}

struct Fields<A> {
    map: A,
    names: &'static [&'static str],
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Fields<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let Some(key) = self.map.next_key::<Cow<'de, str>>()? else {
            return Ok(None);
        };
        match known(self.names, &key) {
            Some(name) => seed.deserialize(BorrowedStrDeserializer::new(name)),
            None => seed.deserialize(CowStrDeserializer::new(key)),
        }
        .map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(OrDefault(seed))
    }
}

/// The name that a key is, in either form.
pub(super) fn known(names: &'static [&'static str], key: &str) -> Option<&'static str> {
    let name = names.iter().find(|name| **name == key);
    name.or_else(|| names.iter().find(|name| is_camel_case(name, key))).copied()
}

/// Whether `key` is what protobuf makes of a name: an underscore goes, and the letter after it is large.
fn is_camel_case(name: &str, key: &str) -> bool {
    let mut large = false;
    let made = name.chars().filter_map(|c| {
        if c == '_' {
            large = true;
            return None;
        }
        let c = if large { c.to_ascii_uppercase() } else { c };
        large = false;
        Some(c)
    });
    made.eq(key.chars())
}

/// The value of a key; `null` is its type's default.
struct OrDefault<S>(S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for OrDefault<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for OrDefault<S> {
    type Value = S::Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value or null")
    }

    fn visit_none<E: Error>(self) -> Result<S::Value, E> {
        self.0.deserialize(Zero(PhantomData))
    }

    fn visit_unit<E: Error>(self) -> Result<S::Value, E> {
        self.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Lenient(deserializer))
    }
}

/// Says the default of whatever is asked for; none of those that look at what is there.
struct Zero<E>(PhantomData<E>);

macro_rules! default {
    ($($method:ident: $visit:ident($value:expr);)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
            visitor.$visit($value)
        }
    )*};
}

impl<'de, E: Error> Deserializer<'de> for Zero<E> {
    type Error = E;

    default! {
        deserialize_bool: visit_bool(false);
        deserialize_i32: visit_i32(0);
        deserialize_i64: visit_i64(0);
        deserialize_u64: visit_u64(0);
        deserialize_str: visit_borrowed_str("");
        deserialize_string: visit_borrowed_str("");
        deserialize_seq: visit_seq(SeqDeserializer::new(std::iter::empty::<()>()));
        deserialize_map: visit_map(MapDeserializer::new(std::iter::empty::<((), ())>()));
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_none()
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, E> {
        self.deserialize_map(visitor)
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u32 u128 f32 f64 char bytes byte_buf option unit unit_struct newtype_struct tuple tuple_struct enum
        identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::{Enum, Int64, list, map};
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, serde::Deserialize, std::default::Default)]
    #[serde(default)]
    struct Inner {
        #[serde(rename = "fieldID")]
        field_id: Int64,
        is_primary_key: bool,
    }

    #[derive(Debug, PartialEq, serde::Deserialize, std::default::Default)]
    #[serde(default)]
    struct Outer {
        format_version: i32,
        #[serde(rename = "WAL_name")]
        wal_name: String,
        data_type: Enum,
        inner: Option<Inner>,
        always: Inner,
        #[serde(deserialize_with = "list::<3, _, _>")]
        build_ids: Vec<Int64>,
        #[serde(deserialize_with = "list::<3, _, _>")]
        inners: Vec<Inner>,
        #[serde(deserialize_with = "map::<3, _, _>")]
        partition_ids: BTreeMap<String, Int64>,
    }

    fn read(text: &str) -> Result<Outer, String> {
        from_slice(text.as_bytes()).map_err(|e| e.to_string())
    }

    #[test]
    fn null_is_the_default_of_every_kind_of_field() {
        let nulls = r#"{"format_version": null, "WAL_name": null, "data_type": null, "inner": null, "always": null, "build_ids": null,
            "inners": null, "partition_ids": null, "unknown": null}"#;
        assert_eq!(read(nulls), Ok(Outer::default()));
        let deep = read(r#"{"inner": {"fieldID": null, "is_primary_key": null}}"#).expect("reads");
        assert_eq!(deep.inner, Some(Inner::default()));
        // and of no item of a list, as in protobuf
        for bad in [
            r#"{"build_ids": [null]}"#,
            r#"{"inners": [null]}"#,
            "null",
            "[]",
            r#"{"always": []}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_taken_in_both_forms_and_not_twice() {
        let read_one = read(
            r#"{"formatVersion": 7, "WALName": "x", "dataType": "JSON", "buildIds": ["1", 2],
                "inners": [{"fieldID": 3, "isPrimaryKey": true}], "partitionIds": {"a_b": "4"}}"#,
        );
        let wanted = Outer {
            format_version: 7,
            wal_name: "x".into(),
            data_type: Enum("JSON".into()),
            build_ids: vec![Int64(1), Int64(2)],
            inners: vec![Inner {
                field_id: Int64(3),
                is_primary_key: true,
            }],
            partition_ids: BTreeMap::from([("a_b".into(), Int64(4))]),
            ..Outer::default()
        };
        assert_eq!(read_one, Ok(wanted));
        let twice = read(r#"{"format_version": 1, "formatVersion": 1}"#).expect_err("twice");
        assert!(twice.contains("duplicate field `format_version`"), "{twice}");
        assert_eq!(read(r#"{"Format_Version": 5, "formatversion": 5}"#), Ok(Outer::default()));
    }

    #[test]
    fn integers_are_taken_as_numbers_with_exponents_where_they_are_whole() {
        for (text, value) in [
            ("1e3", 1000),
            ("7.0", 7),
            ("\"7\"", 7),
            ("\"1e3\"", 1000),
            ("-2", -2),
            ("-2.0e0", -2),
        ] {
            let both = format!(r#"{{"format_version": {text}, "build_ids": [{text}]}}"#);
            let found = read(&both).expect(text);
            assert_eq!(
                (i64::from(found.format_version), found.build_ids),
                (value, vec![Int64(value)]),
                "{text}"
            );
        }
        for text in [
            "1.5", "1e30", "true", "\"\"", "\"1.5\"", "\"inf\"", "\"0x10\"", "\" 7\"", "\"+7\"", "{}",
        ] {
            assert!(read(&format!(r#"{{"build_ids": [{text}]}}"#)).is_err(), "{text}");
            assert!(read(&format!(r#"{{"format_version": {text}}}"#)).is_err(), "{text}");
        }
        assert!(read(r#"{"format_version": 2147483648}"#).is_err());
        assert_eq!(
            read(r#"{"build_ids": ["9223372036854775807"]}"#).map(|o| o.build_ids),
            Ok(vec![Int64(i64::MAX)])
        );
    }
}
