//! Messages with the keys that have no name here.

use std::marker::PhantomData;
use std::ops::Deref;

use serde::Serialize;
use serde::de::value::{CowStrDeserializer, MapAccessDeserializer};
use serde::de::{Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::json::Opaque;
use super::rewrite::keys;
use crate::domain::schema::Extra;

/// Keys without a name, at most.
const MAX: usize = 64;

/// A message, and what else stands in it.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Kept<T> {
    #[serde(flatten)]
    pub(super) message: T,
    #[serde(flatten)]
    pub(super) extra: Extra,
}

impl<T> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.message
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Kept<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("message", keys::<T>(), Whole(PhantomData))
    }
}

struct Whole<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for Whole<T> {
    type Value = Kept<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Kept<T>, A::Error> {
        let mut extra = Extra::new();
        let named = Named {
            map,
            names: keys::<T>(),
            extra: &mut extra,
        };
        let message = T::deserialize(MapAccessDeserializer::new(named))?;
        Ok(Kept { message, extra })
    }
}

/// Hands on what has a name, and puts the rest aside.
struct Named<'a, A> {
    map: A,
    names: &'static [&'static str],
    extra: &'a mut Extra,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Named<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<String>()? {
            if self.names.contains(&key.as_str()) {
                return seed.deserialize(CowStrDeserializer::new(key.into())).map(Some);
            }
            // null is the default, which is left out
            if let Some(Opaque(value)) = self.map.next_value()? {
                if self.extra.len() == MAX {
                    return Err(A::Error::custom(format_args!("a message has more than {MAX} unknown keys")));
                }
                self.extra.insert(key, value);
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
