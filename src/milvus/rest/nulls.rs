//! JSON as Go's decoder, which Milvus uses, reads it into a message: a field that is `null` is as good as absent.

use std::fmt;

use serde::de::value::{MapDeserializer, StringDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Error;
use serde_json::value::RawValue;

/// Reads a message from a JSON object, or from `null`: then every field is absent.
///
/// # Errors
/// It is not JSON, another value than an object (a list too: serde would read it as the fields, one by one),
/// or not this message.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let message = T::deserialize(Object(&mut json))?;
    json.end()?;
    Ok(message)
}

struct Object<D>(D);

impl<'de, D: Deserializer<'de, Error = Error>> Deserializer<'de> for Object<D> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.0.deserialize_option(Whole(visitor))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Whole<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Whole<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        let nothing = std::iter::empty::<(StringDeserializer<E>, StringDeserializer<E>)>();
        self.0.visit_map(MapDeserializer::new(nothing))
    }

    fn visit_some<D: Deserializer<'de>>(self, given: D) -> Result<V::Value, D::Error> {
        given.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Given { map, value: None })
    }
}

/// The fields that are not `null`.
struct Given<'de, A> {
    map: A,
    value: Option<&'de RawValue>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Given<'de, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some((key, value)) = self.map.next_entry::<String, &RawValue>()? {
            if value.get() != "null" {
                self.value = Some(value);
                let key: StringDeserializer<A::Error> = key.into_deserializer();
                return seed.deserialize(key).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let text = self.value.take().map_or("null", RawValue::get);
        let mut json = serde_json::Deserializer::from_str(text);
        seed.deserialize(&mut json).map_err(A::Error::custom)
    }
}
