//! Protobuf's JSON rules (facts §4.2): 64-bit integers are strings, enums names, bytes base64,
//! and what is zero, false or empty is left out. Readers take numbers for both kinds of strings.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::lenient::{integral, integral_text};

/// Whether a value is its type's default: such are left out.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A 64-bit integer: a string when written, a string or a number when read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Int64(pub(super) i64);

impl Serialize for Int64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Int64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Integer;
        impl Visitor<'_> for Integer {
            type Value = Int64;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a 64-bit integer, as a string or a number")
            }
            fn visit_i64<E: Error>(self, v: i64) -> Result<Int64, E> {
                Ok(Int64(v))
            }
            fn visit_none<E: Error>(self) -> Result<Int64, E> {
                Ok(Int64(0))
            }
            fn visit_f64<E: Error>(self, v: f64) -> Result<Int64, E> {
                let whole = integral(v).map(Int64);
                whole.ok_or_else(|| E::invalid_value(serde::de::Unexpected::Float(v), &self))
            }
            fn visit_u64<E: Error>(self, v: u64) -> Result<Int64, E> {
                // uint64 is cast to signed, as manifests do it (facts §4.3)
                Ok(Int64(v.cast_signed()))
            }
            fn visit_str<E: Error>(self, v: &str) -> Result<Int64, E> {
                let unsigned = || v.parse().ok().filter(|_| !v.starts_with('+')).map(u64::cast_signed);
                integral_text(v)
                    .or_else(unsigned)
                    .map(Int64)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(v), &self))
            }
        }
        deserializer.deserialize_any(Integer)
    }
}

/// An enum value by its name; a number is kept as decimal text, to be looked up by [`Enum::name`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Enum(pub(super) String);

impl Enum {
    /// The name, where a number is looked up and unknown ones stay decimal text.
    pub(super) fn name(self, known: &[(&str, i32)]) -> String {
        let number = self.0.parse::<i32>();
        match number.ok().and_then(|number| known.iter().find(|(_, n)| *n == number)) {
            Some((name, _)) => (*name).to_string(),
            None => self.0,
        }
    }
}

impl<'de> Deserialize<'de> for Enum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Enum;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an enum value, as a name or a number")
            }
            fn visit_none<E: Error>(self) -> Result<Enum, E> {
                Ok(Enum::default())
            }
            fn visit_i64<E: Error>(self, v: i64) -> Result<Enum, E> {
                Ok(Enum(v.to_string()))
            }
            fn visit_u64<E: Error>(self, v: u64) -> Result<Enum, E> {
                Ok(Enum(v.to_string()))
            }
            fn visit_str<E: Error>(self, v: &str) -> Result<Enum, E> {
                Ok(Enum(v.to_string()))
            }
        }
        deserializer.deserialize_any(Name)
    }
}

/// Bytes: standard base64 when written; with or without padding, or of the URL alphabet when read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?.replace('-', "+").replace('_', "/");
        let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('=')).map_err(D::Error::custom)?;
        Ok(Self(bytes))
    }
}

/// A JSON value that is kept as it came, if it is small.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub(super) struct Opaque(pub(super) Value);

const MAX_OPAQUE: usize = 256 * 1024;

impl<'de> Deserialize<'de> for Opaque {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // a tree takes many times the memory of its text: look at the length first
        let text = <&RawValue>::deserialize(deserializer)?.get();
        if text.len() > MAX_OPAQUE {
            return Err(D::Error::custom(format_args!("a value has more than {MAX_OPAQUE} bytes")));
        }
        serde_json::from_str(text).map(Self).map_err(D::Error::custom)
    }
}

/// Reads a list of at most `MAX` items.
pub(super) fn list<'de, const MAX: usize, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Vec<T>, D::Error> {
    struct Items<const MAX: usize, T>(PhantomData<T>);
    impl<'de, const MAX: usize, T: Deserialize<'de>> Visitor<'de> for Items<MAX, T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            write!(f, "a list of at most {MAX} items")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = seq.next_element()? {
                if items.len() == MAX {
                    return Err(A::Error::invalid_length(MAX + 1, &self));
                }
                items.push(item);
            }
            Ok(items)
        }
    }
    d.deserialize_seq(Items::<MAX, T>(PhantomData))
}

/// Reads a map of at most `MAX` entries.
pub(super) fn map<'de, const MAX: usize, T: Deserialize<'de>, D: Deserializer<'de>>(
    d: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    struct Entries<const MAX: usize, T>(PhantomData<T>);
    impl<'de, const MAX: usize, T: Deserialize<'de>> Visitor<'de> for Entries<MAX, T> {
        type Value = BTreeMap<String, T>;
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            write!(f, "an object of at most {MAX} entries")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = BTreeMap::new();
            while let Some((key, value)) = map.next_entry()? {
                if entries.len() == MAX {
                    return Err(A::Error::invalid_length(MAX + 1, &self));
                }
                entries.insert(key, value);
            }
            Ok(entries)
        }
    }
    d.deserialize_map(Entries::<MAX, T>(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_strings_and_read_from_both() {
        assert_eq!(serde_json::to_string(&Int64(-7)).expect("writes"), "\"-7\"");
        for (text, value) in [
            ("7", 7),
            ("\"7\"", 7),
            ("-7", -7),
            ("1e3", 1000),
            ("\"18446744073709551615\"", -1),
        ] {
            assert_eq!(serde_json::from_str::<Int64>(text).expect("reads"), Int64(value));
        }
        for text in ["\"\"", "\" 7\"", "\"7x\"", "1.5", "true", "null", "\"18446744073709551616\""] {
            assert!(serde_json::from_str::<Int64>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn enums_are_names_and_read_from_numbers() {
        let known = &[("Bounded", 2)];
        for (text, name) in [("\"Bounded\"", "Bounded"), ("2", "Bounded"), ("77", "77"), ("\"New\"", "New")] {
            assert_eq!(serde_json::from_str::<Enum>(text).expect("reads").name(known), name);
        }
    }

    #[test]
    fn base64_of_every_kind_is_read() {
        assert_eq!(
            serde_json::to_string(&Bytes(vec![0xfb, 0xff, 1, 2])).expect("writes"),
            "\"+/8BAg==\""
        );
        for text in ["\"+/8BAg==\"", "\"+/8BAg\"", "\"-_8BAg\""] {
            assert_eq!(serde_json::from_str::<Bytes>(text).expect("reads").0, [0xfb, 0xff, 1, 2]);
        }
        assert!(serde_json::from_str::<Bytes>("\"*\"").is_err());
    }
}
