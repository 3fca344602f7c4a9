//! Reading of one Avro datum by the schema with which it was written, into whatever serde type:
//! fields meet by name, so that more or fewer of them are no obstacle.
//!
//! Neither bytes nor schema are trusted. Nothing is allocated by a claimed length or count, and
//! the work is bounded: by the bytes, by [`MAX_ITEMS`], and by [`MAX_DEPTH`].

use serde::de::value::Error;
use serde::de::{self, Deserialize, DeserializeSeed, Error as _, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::schema::{Schema, Type};

/// Items of all arrays and maps of a datum at most.
pub(super) const MAX_ITEMS: usize = 1_000_000;

/// Levels of nesting at most; a manifest has six.
const MAX_DEPTH: u8 = 32;

type Result<T> = std::result::Result<T, Error>;

/// Reads a datum; every byte must belong to it.
///
/// # Errors
/// A sentence: what is wrong and at which byte.
pub(super) fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8], schema: &Schema) -> std::result::Result<T, String> {
    let mut input = Input::new(bytes);
    let value = T::deserialize(Datum {
        input: &mut input,
        schema,
        of: &schema.root,
        depth: MAX_DEPTH,
    });
    match value {
        Ok(value) if input.rest.is_empty() => Ok(value),
        Ok(_) => Err(format!("has {} bytes after its end", input.rest.len())),
        Err(why) => Err(format!(
            "can't be read at byte {} of {}: {why}",
            bytes.len() - input.rest.len(),
            bytes.len()
        )),
    }
}

/// Bytes that are being read.
pub(super) struct Input<'de> {
    pub(super) rest: &'de [u8],
    /// Values that may still be read. One takes a byte at least, unless it is null, empty or a
    /// record; a schema could say billions of those in a few bytes.
    values: usize,
    /// Items of arrays and maps that may still be read.
    items: usize,
}

impl<'de> Input<'de> {
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Self {
            rest: bytes,
            values: bytes.len().saturating_mul(4).saturating_add(1024),
            items: MAX_ITEMS,
        }
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'de [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| Error::custom("the bytes end too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// A zig-zag varint.
    pub(super) fn long(&mut self) -> Result<i64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(Error::custom("an integer has more than 64 bits"))
    }

    /// Bytes with their length before them.
    pub(super) fn bytes(&mut self) -> Result<&'de [u8]> {
        let length = usize::try_from(self.long()?).map_err(|_| Error::custom("a length is negative"))?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<&'de str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Error::custom("a string is not UTF-8"))
    }
}

/// The blocks of an array or a map.
#[derive(Default)]
pub(super) struct Blocks {
    left: u64,
    /// What must be left of the bytes after the block, where it says its size.
    rest_after: Option<usize>,
    ended: bool,
}

impl Blocks {
    /// Whether there is another item; to be called before each.
    pub(super) fn next(&mut self, input: &mut Input) -> Result<bool> {
        if self.left == 0 && !self.ended {
            if self.rest_after.take().is_some_and(|expected| expected != input.rest.len()) {
                return Err(Error::custom("a block has another size than it says"));
            }
            let count = input.long()?;
            if count < 0 {
                let size = usize::try_from(input.long()?).ok();
                let rest = size.and_then(|size| input.rest.len().checked_sub(size));
                self.rest_after = Some(rest.ok_or_else(|| Error::custom("a block has an impossible size"))?);
            }
            self.left = count.unsigned_abs();
            self.ended = count == 0;
        }
        if self.ended {
            return Ok(false);
        }
        self.left -= 1;
        input.items = input
            .items
            .checked_sub(1)
            .filter(|left| self.left <= *left as u64)
            .ok_or_else(|| Error::custom(format_args!("there are more than {MAX_ITEMS} items")))?;
        Ok(true)
    }
}

/// A value that is to be read next.
struct Datum<'i, 's, 'de> {
    input: &'i mut Input<'de>,
    schema: &'s Schema,
    of: &'s Type,
    depth: u8,
}

impl<'s, 'de> Datum<'_, 's, 'de> {
    fn inner(&mut self, of: &'s Type) -> Datum<'_, 's, 'de> {
        Datum {
            input: &mut *self.input,
            schema: self.schema,
            of,
            depth: self.depth,
        }
    }

    /// Begins a value.
    fn enter(&mut self) -> Result<()> {
        self.depth = self
            .depth
            .checked_sub(1)
            .ok_or_else(|| Error::custom("it is nested too deeply"))?;
        let left = self.input.values.checked_sub(1);
        self.input.values = left.ok_or_else(|| Error::custom("it has far more values than bytes"))?;
        Ok(())
    }

    fn branch(&mut self, branches: &'s [Type]) -> Result<&'s Type> {
        let branch = usize::try_from(self.input.long()?).ok().and_then(|at| branches.get(at));
        branch.ok_or_else(|| Error::custom("a union has no such branch"))
    }
}

impl<'de> de::Deserializer<'de> for Datum<'_, '_, 'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        self.enter()?;
        match self.of {
            Type::Null => visitor.visit_unit(),
            Type::Boolean => match self.input.take(1)? {
                [0] => visitor.visit_bool(false),
                [1] => visitor.visit_bool(true),
                _ => Err(Error::custom("a boolean is neither 0 nor 1")),
            },
            Type::Int | Type::Long => visitor.visit_i64(self.input.long()?),
            // no field of a manifest takes these: good for being passed over only
            Type::Float => self.input.take(4).and_then(|_| visitor.visit_unit()),
            Type::Double => self.input.take(8).and_then(|_| visitor.visit_unit()),
            Type::Enum => self.input.long().and_then(|_| visitor.visit_unit()),
            Type::Fixed(size) => visitor.visit_borrowed_bytes(self.input.take(*size)?),
            Type::Bytes => visitor.visit_borrowed_bytes(self.input.bytes()?),
            Type::String => visitor.visit_borrowed_str(self.input.text()?),
            Type::Array(of) => visitor.visit_seq(Items {
                datum: self,
                of,
                blocks: Blocks::default(),
            }),
            Type::Map(_) => Err(Error::custom("a map stands where none is expected")),
            Type::Union(branches) => {
                let of = self.branch(branches)?;
                self.inner(of).deserialize_any(visitor)
            }
            Type::Record(at) => {
                let fields = &self.schema.records[*at];
                visitor.visit_map(RecordFields {
                    datum: self,
                    fields,
                    at: 0,
                })
            }
        }
    }

    /// Passes over the value of a field that nobody asked for. Only what would be refused where
    /// it is wanted needs a way of its own; items and fields are ignored in turn.
    fn deserialize_ignored_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        match self.of {
            Type::Map(of) => {
                self.enter()?;
                let mut blocks = Blocks::default();
                while blocks.next(self.input)? {
                    self.input.bytes()?;
                    IgnoredAny::deserialize(self.inner(of))?;
                }
                visitor.visit_unit()
            }
            Type::Union(branches) => {
                self.enter()?;
                let of = self.branch(branches)?;
                self.inner(of).deserialize_ignored_any(visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
    }
}

struct Items<'i, 's, 'de> {
    datum: Datum<'i, 's, 'de>,
    of: &'s Type,
    blocks: Blocks,
}

impl<'de> SeqAccess<'de> for Items<'_, '_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        if !self.blocks.next(self.datum.input)? {
            return Ok(None);
        }
        seed.deserialize(self.datum.inner(self.of)).map(Some)
    }
}

struct RecordFields<'i, 's, 'de> {
    datum: Datum<'i, 's, 'de>,
    fields: &'s [(String, Type)],
    at: usize,
}

impl<'de> MapAccess<'de> for RecordFields<'_, '_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let name = self.fields.get(self.at).map(|(name, _)| name.as_str());
        name.map(|name| seed.deserialize(name.into_deserializer())).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        let (_, of) = &self.fields[self.at];
        self.at += 1;
        seed.deserialize(self.datum.inner(of))
    }
}

#[cfg(test)]
mod tests {
    use super::super::write::Writer;
    use super::*;

    #[test]
    fn integers_are_read_as_they_are_written() {
        let around = |n: i64| [n.wrapping_sub(1), n, n.wrapping_add(1)];
        for value in (0..64).flat_map(|bit| around(1 << bit)) {
            let mut writer = Writer::new("", 16);
            writer.long(value);
            let bytes = writer.into_bytes();
            let mut input = Input::new(&bytes);
            assert_eq!(input.long(), Ok(value));
            assert!(input.rest.is_empty());
        }
    }

    #[test]
    fn integers_of_more_than_64_bits_are_refused() {
        let nine = [0xff; 9];
        assert_eq!(Input::new(&[&nine[..], &[1]].concat()).long(), Ok(i64::MIN));
        assert!(Input::new(&[&nine[..], &[2]].concat()).long().is_err());
        assert!(Input::new(&[&nine[..], &[0x81, 0]].concat()).long().is_err());
        assert!(Input::new(&nine).long().is_err());
    }
}
