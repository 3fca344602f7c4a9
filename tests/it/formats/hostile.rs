//! Input that means harm: nothing panics, nothing takes much memory or time, and what is wrong is
//! said.

use std::time::{Duration, Instant};

use apache_avro::types::Value;
use apache_avro::{Codec, DeflateSettings};
use stillframe::domain::manifest::{Manifest, ManifestEncoding};
use stillframe::domain::{Code, Result};
use stillframe::objects::{manifest, metadata};

use super::avro::{record, write_container};
use super::sample::{COLLECTION, ROOT, as_read, full_manifest};

const BOTH: [ManifestEncoding; 2] = [ManifestEncoding::Container, ManifestEncoding::Milvus];

fn encode(manifest: &Manifest, encoding: ManifestEncoding) -> Vec<u8> {
    manifest::encode(manifest, ROOT, encoding).expect("encodes")
}

fn decode(bytes: &[u8], encoding: ManifestEncoding) -> Result<Manifest> {
    manifest::decode(bytes, manifest::format_version(encoding), ROOT, COLLECTION)
}

/// What is said of bytes that must be refused, and soon.
fn refusal(bytes: &[u8], encoding: ManifestEncoding) -> String {
    let started = Instant::now();
    let error = decode(bytes, encoding).expect_err("refused");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(error.code(), Code::CorruptSnapshot);
    error.to_string()
}

/// A small generator (xorshift), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

fn long(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// A container file made by hand.
fn container(schema: &str, codec: &str, count: i64, block: &[u8]) -> Vec<u8> {
    let text = |text: &[u8]| [long(text.len() as i64), text.to_vec()].concat();
    let sync = [7_u8; 16];
    [
        b"Obj\x01".to_vec(),
        long(2),
        text(b"avro.schema"),
        text(schema.as_bytes()),
        text(b"avro.codec"),
        text(codec.as_bytes()),
        long(0),
        sync.to_vec(),
        long(count),
        text(block),
        sync.to_vec(),
    ]
    .concat()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut block = bytes.to_vec();
    Codec::Deflate(DeflateSettings::default())
        .compress(&mut block)
        .expect("compresses");
    block
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    for encoding in BOTH {
        let bytes = encode(&full_manifest(), encoding);
        for length in 0..bytes.len() {
            refusal(&bytes[..length], encoding);
        }
    }
}

#[test]
fn trailing_bytes_are_refused() {
    for encoding in BOTH {
        let mut bytes = encode(&full_manifest(), encoding);
        bytes.push(0);
        let text = refusal(&bytes, encoding);
        assert!(
            text.contains("after its end") || text.contains("not exactly one record"),
            "{text}"
        );
    }
    // inside the block, and behind the deflated data inside the block
    let schema = r#"{"type":"record","name":"R","fields":[]}"#;
    let text = refusal(&container(schema, "null", 1, &[0]), ManifestEncoding::Container);
    assert!(text.contains("missing field") || text.contains("after its end"), "{text}");
    let deflated = [deflate(b"abc"), vec![0]].concat();
    let text = refusal(&container(schema, "deflate", 1, &deflated), ManifestEncoding::Container);
    assert!(text.contains("has bytes after the deflated data"), "{text}");
}

#[test]
fn mutations_never_panic() {
    let mut random = Random(0x5eed);
    let (mut accepted, mut refused) = (0, 0);
    for encoding in BOTH {
        let whole = encode(&full_manifest(), encoding);
        for _ in 0..20_000 {
            let mut bytes = whole.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                match random.below(4) {
                    0 => bytes[at] ^= 1 << random.below(8),
                    1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
                    2 => drop(bytes.drain(at..(at + 1 + random.below(9)).min(bytes.len()))),
                    _ => drop(bytes.splice(at..at, long(i64::MIN >> random.below(64)))),
                }
                if bytes.is_empty() {
                    break;
                }
            }
            match decode(&bytes, encoding) {
                Ok(_) => accepted += 1,
                Err(error) => {
                    assert_eq!(error.code(), Code::CorruptSnapshot);
                    refused += 1;
                }
            }
        }
    }
    assert!(accepted > 100 && refused > 10_000, "{accepted} accepted, {refused} refused");
}

#[test]
fn mutated_metadata_never_panics() {
    let mut random = Random(0xfeed);
    let whole = metadata::encode(&super::sample::metadata(ManifestEncoding::Container), ROOT);
    for length in 0..whole.len() {
        assert!(metadata::decode(&whole[..length], ROOT).is_err());
    }
    for _ in 0..5_000 {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] = b"{}[],:\"-0e\\\0\xff"[random.below(13)];
        }
        if let Err(error) = metadata::decode(&bytes, ROOT) {
            assert_eq!(error.code(), Code::CorruptSnapshot);
        }
    }
    for text in ["[".repeat(1_000_000), "{\"a\":".repeat(1_000_000)] {
        assert!(metadata::decode(text.as_bytes(), ROOT).is_err());
    }
}

#[test]
fn a_bomb_is_refused() {
    // 65 MiB of zeros in 65 KiB
    let bomb = deflate(&vec![0; manifest::MAX_BYTES + 1]);
    assert!(bomb.len() < 100_000);
    let text = refusal(&container("\"bytes\"", "deflate", 1, &bomb), ManifestEncoding::Container);
    assert!(text.contains("inflates to more than 67108864 bytes"), "{text}");
    let large = vec![0; manifest::MAX_BYTES + 1];
    let text = refusal(&large, ManifestEncoding::Milvus);
    assert!(text.contains("at most 67108864 are allowed"), "{text}");
}

#[test]
fn claimed_counts_and_lengths_are_not_believed() {
    let head = |schema: &str| format!(r#"{{"type":"record","name":"R","fields":[{{"name":"x","type":{schema}}}]}}"#);
    for (schema, data, expected) in [
        // a billion nulls
        (r#"{"type":"array","items":"null"}"#, long(1 << 60), "more than 1000000 items"),
        (
            r#"{"type":"array","items":"null"}"#,
            long(999_999),
            "far more values than bytes",
        ),
        // as a block with a size
        (
            r#"{"type":"array","items":"long"}"#,
            [long(-(1 << 60)), long(0)].concat(),
            "more than 1000000 items",
        ),
        (
            r#"{"type":"array","items":"long"}"#,
            [long(i64::MIN), long(0)].concat(),
            "more than 1000000 items",
        ),
        (
            r#"{"type":"array","items":"long"}"#,
            [long(-1), long(1 << 40)].concat(),
            "impossible size",
        ),
        (
            r#"{"type":"array","items":"long"}"#,
            [long(-1), long(-1)].concat(),
            "impossible size",
        ),
        (
            r#"{"type":"array","items":"long"}"#,
            [long(-1), long(2), long(5), long(0), long(0)].concat(),
            "another size than it says",
        ),
        (r#"{"type":"map","values":"null"}"#, long(1 << 60), "more than 1000000 items"),
        (r#""string""#, long(1 << 60), "end too early"),
        (r#""bytes""#, long(-1), "a length is negative"),
        (r#""string""#, [long(1), vec![0xff]].concat(), "not UTF-8"),
        (r#""boolean""#, vec![2], "neither 0 nor 1"),
        (r#"["null"]"#, long(1), "no such branch"),
        (r#"["null"]"#, long(-1), "no such branch"),
        (r#""long""#, vec![0xff; 11], "more than 64 bits"),
        (r#""R""#, vec![], "nested too deeply"),
        (r#"["null", "R"]"#, vec![2; 1000], "nested too deeply"),
    ] {
        let text = refusal(&container(&head(schema), "null", 1, &data), ManifestEncoding::Container);
        assert!(text.contains(expected), "{schema} {data:?}: {text}");
    }
}

#[test]
fn a_schema_that_multiplies_is_refused() {
    // each record has ten of the one before it: 10^20 nulls in no byte
    let mut schema = r#""null""#.to_string();
    for level in 0..20 {
        let fields: Vec<_> = (0..10)
            .map(|n| {
                format!(
                    r#"{{"name":"f{n}","type":{}}}"#,
                    if n == 0 {
                        schema.clone()
                    } else if level == 0 {
                        r#""null""#.into()
                    } else {
                        format!("\"R{}\"", level - 1)
                    }
                )
            })
            .collect();
        schema = format!(r#"{{"type":"record","name":"R{level}","fields":[{}]}}"#, fields.join(","));
    }
    let text = refusal(&container(&schema, "null", 1, b""), ManifestEncoding::Container);
    assert!(text.contains("far more values than bytes"), "{text}");
    let wide = format!("\"{}\"", "x".repeat(300_000));
    let text = refusal(&container(&wide, "null", 1, b""), ManifestEncoding::Container);
    assert!(text.contains("has a schema that has 300002 bytes"), "{text}");
}

#[test]
fn containers_in_another_form_are_refused() {
    let cases = [
        (
            container("\"long\"", "snappy", 1, &[0]),
            "has the codec \"snappy\"; null and deflate can be read",
        ),
        (container("{", "null", 1, &[0]), "has a schema that is not JSON"),
        (container("\"long\"", "null", 0, &[]), "has not exactly one record"),
        (container("\"long\"", "null", 2, &[0, 0]), "has not exactly one record"),
        (container("\"long\"", "null", 1, &[0]), "invalid type: integer `0`"),
        (container("\"long\"", "deflate", 1, &[0xff; 8]), "is not deflated data"),
        (container("\"long\"", "deflate", 1, &[]), "ends too early"),
        (b"Obj\x01\x00".to_vec(), "has a broken header"),
        (b"Obj\x01\x00AAAAAAAAAAAAAAAA".to_vec(), "has no schema"),
    ];
    for (bytes, expected) in cases {
        let text = refusal(&bytes, ManifestEncoding::Container);
        assert!(text.contains(expected), "{text}");
    }
    let mut bytes = encode(&full_manifest(), ManifestEncoding::Container);
    *bytes.last_mut().expect("not empty") ^= 1;
    let text = refusal(&bytes, ManifestEncoding::Container);
    assert!(text.contains("the sync marker does not follow"), "{text}");
}

#[test]
fn values_against_the_rules_are_refused() {
    type Change = fn(&mut Manifest);
    let changes: [(Change, &str); 15] = [
        (|m| m.segment.segment_id.0 = -1, "segment_id is -1, it must not be negative"),
        (|m| m.segment.partition_id.0 = -2, "partition_id is -2"),
        (|m| m.segment.num_of_rows = -1, "num_of_rows is -1"),
        (|m| m.segment.content.storage_version = -1, "storage_version is -1"),
        (
            |m| m.segment.content.files.binlogs[0].field_id = -1,
            "binlog_files: field_id is -1",
        ),
        (
            |m| m.segment.content.files.binlogs[0].child_fields[0] = -1,
            "binlog_files: child_fields is -1",
        ),
        (
            |m| m.segment.content.files.deltalogs[0].logs[0].log_id = -1,
            "deltalog_files: log_id is -1",
        ),
        (
            |m| m.segment.content.files.statslogs[0].logs[0].entries_num = -1,
            "statslog_files: entries_num is -1",
        ),
        (
            |m| m.segment.content.files.statslogs[0].logs[0].memory_size = -1,
            "memory_size is -1",
        ),
        (
            |m| m.segment.content.files.bm25_statslogs[0].logs[0].file.path = "a/../b".into(),
            "bm25_statslog_files: log_path \"files/a/../b\" has the part \"..\"",
        ),
        (
            |m| m.segment.content.files.text_index_files[0].build_id = -1,
            "text_index_files: build_id is -1",
        ),
        (
            |m| m.segment.content.files.json_key_index_files[0].data_format = -1,
            "json_key_stats_data_format is -1",
        ),
        (|m| m.builds[0].build_id.0 = -1, "index_files: build_id is -1"),
        (
            |m| m.builds[0].segment_id.0 += 1,
            "index_files: segment_id is 470644622231801183, not 470644622231801182",
        ),
        (
            |m| m.builds[0].content.files[0].path = "/x".into(),
            "index_file_paths \"files//x\" is absolute",
        ),
    ];
    for (change, expected) in changes {
        let mut manifest = full_manifest();
        change(&mut manifest);
        for encoding in BOTH {
            let text = refusal(&encode(&manifest, encoding), encoding);
            assert!(
                text.starts_with("the manifest is wrong: ") && text.contains(expected),
                "{text}"
            );
        }
    }
}

#[test]
fn blocks_with_sizes_and_split_arrays_are_read() {
    // an array of two logs' child fields, written as two blocks with their sizes
    let whole = encode(&full_manifest(), ManifestEncoding::Milvus);
    let plain = [long(3), long(0), long(1), long(100), long(0)].concat();
    let at = whole
        .windows(plain.len())
        .position(|window| window == plain)
        .expect("child_fields");
    let blocks = [long(-2), long(2), long(0), long(1), long(-1), long(2), long(100), long(0)].concat();
    let bytes = [&whole[..at], &blocks, &whole[at + plain.len()..]].concat();
    let read = decode(&bytes, ManifestEncoding::Milvus).expect("decodes");
    assert_eq!(read, as_read(full_manifest()));
}

#[test]
fn a_container_of_one_small_record_is_no_manifest() {
    let schema = r#"{"type":"record","name":"R","fields":[{"name":"segment_id","type":"long"}]}"#;
    let bytes = write_container(schema, &[record(vec![("segment_id", Value::Long(1))])], Codec::Null);
    let text = refusal(&bytes, ManifestEncoding::Container);
    assert!(text.contains("missing field `partition_id`"), "{text}");
}
