//! Fields of a schema's bytes that have no place here: reading drops them without a word.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// A message: its name, the numbers that are read (or mean nothing here), and the messages in it.
struct Shape {
    name: &'static str,
    known: &'static [u32],
    inner: &'static [(u32, &'static Shape)],
}

const PAIR: Shape = Shape {
    name: "KeyValuePair",
    known: &[1, 2],
    inner: &[],
};
const VALUE: Shape = Shape {
    name: "ValueField",
    known: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    inner: &[],
};
const FIELD: Shape = Shape {
    name: "FieldSchema",
    // 9, the state, is of a change that goes on in Milvus
    known: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17],
    inner: &[(6, &PAIR), (7, &PAIR), (11, &VALUE)],
};
const FUNCTION: Shape = Shape {
    name: "FunctionSchema",
    known: &[1, 2, 3, 4, 5, 6, 7, 8, 9],
    inner: &[(9, &PAIR)],
};
const STRUCT: Shape = Shape {
    name: "StructArrayFieldSchema",
    known: &[1, 2, 3, 4, 5, 6],
    inner: &[(4, &FIELD), (5, &PAIR)],
};
const SCHEMA: Shape = Shape {
    name: "CollectionSchema",
    known: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    inner: &[(4, &FIELD), (6, &PAIR), (7, &FUNCTION), (9, &STRUCT)],
};

/// The first field that is not known in a `CollectionSchema`, or in a message in it. Bytes that are none
/// have none: reading them says what is wrong.
pub fn in_schema(bytes: &[u8]) -> Option<String> {
    SCHEMA.unknown(bytes)
}

impl Shape {
    fn unknown(&self, mut bytes: &[u8]) -> Option<String> {
        while !bytes.is_empty() {
            let (number, kind) = decode_key(&mut bytes).ok()?;
            if !self.known.contains(&number) {
                return Some(format!("field {number} of {}", self.name));
            }
            match self.inner.iter().find(|(n, _)| *n == number) {
                Some((_, shape)) if kind == WireType::LengthDelimited => {
                    let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
                    let (message, rest) = bytes.split_at_checked(length)?;
                    if let Some(found) = shape.unknown(message) {
                        return Some(found);
                    }
                    bytes = rest;
                }
                _ => skip_field(kind, number, &mut bytes, DecodeContext::default()).ok()?,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::milvus::proto::common::KeyValuePair;
    use crate::milvus::proto::schema::value_field::Data;
    use crate::milvus::proto::schema::{CollectionSchema, FieldSchema, FunctionSchema, StructArrayFieldSchema, ValueField};

    fn whole() -> CollectionSchema {
        let pair = || KeyValuePair {
            key: "k".into(),
            value: "v".into(),
        };
        let field = FieldSchema {
            name: "f".into(),
            type_params: vec![pair()],
            default_value: Some(ValueField {
                data: Some(Data::TimeData(7)),
            }),
            external_field: "x".into(),
            ..FieldSchema::default()
        };
        CollectionSchema {
            name: "c".into(),
            fields: vec![field.clone()],
            struct_array_fields: vec![StructArrayFieldSchema {
                fields: vec![field],
                nullable: true,
                ..StructArrayFieldSchema::default()
            }],
            functions: vec![FunctionSchema {
                params: vec![pair()],
                ..FunctionSchema::default()
            }],
            file_resource_ids: vec![1, 2],
            enable_namespace: true,
            ..CollectionSchema::default()
        }
    }

    #[test]
    fn what_is_known_is_everything_that_the_messages_have() {
        assert_eq!(in_schema(&whole().encode_to_vec()), None);
        assert_eq!(in_schema(b"\xff\xff"), None, "no message at all");
    }

    #[test]
    fn what_a_newer_client_says_is_found_wherever_it_stands() {
        // field 19, true
        let newer = [0x98, 0x01, 0x01];
        let mut bytes = whole().encode_to_vec();
        bytes.extend(newer);
        assert_eq!(in_schema(&bytes).as_deref(), Some("field 19 of CollectionSchema"));
        for (outer, inner) in [
            (vec![0x22], "FieldSchema"),
            (vec![0x3a], "FunctionSchema"),
            (vec![0x4a], "StructArrayFieldSchema"),
        ] {
            let mut bytes = outer;
            bytes.push(3);
            bytes.extend(newer);
            assert_eq!(in_schema(&bytes), Some(format!("field 19 of {inner}")));
        }
        // a field of a struct
        let deep = [0x4a, 5, 0x22, 3, 0x98, 0x01, 0x01];
        assert_eq!(in_schema(&deep).as_deref(), Some("field 19 of FieldSchema"));
    }
}
