//! The Avro object container file (Avro 1.11 specification, "Object Container Files") around the
//! one record of a manifest.
//!
//! Ours always has the same header: magic, schema, codec, and a sync marker that is fixed, so
//! that equal manifests are equal files. It is made once; writing it per file, as Avro libraries
//! do, takes longer than all the rest.

use std::cell::RefCell;
use std::sync::LazyLock;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::datum::{Blocks, Input};
use super::schema::Schema;
use super::versions;
use super::write::Writer;

pub(super) const MAGIC: &[u8; 4] = b"Obj\x01";

/// The version of Milvus' schema in the containers that we write.
pub(super) const SCHEMA_VERSION: i32 = 4;

/// Bytes that a block may inflate to at most.
pub(super) const MAX_INFLATED: usize = 64 * 1024 * 1024;

const SYNC: &[u8; 16] = b"stillframe-sync\x04";

static SCHEMA: LazyLock<String> = LazyLock::new(|| versions::definition(SCHEMA_VERSION));

static HEADER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut header = Writer::new("", 4096);
    header.raw(MAGIC);
    header.long(2);
    for (key, value) in [("avro.schema", SCHEMA.as_str()), ("avro.codec", "deflate")] {
        header.text(key);
        header.text(value);
    }
    header.long(0);
    header.raw(SYNC);
    header.into_bytes()
});

/// Puts the record's datum into a file.
pub(super) fn write(datum: &[u8]) -> Vec<u8> {
    let deflated = deflate(datum);
    let mut file = Writer::new("", HEADER.len() + deflated.len() + 32);
    file.raw(&HEADER);
    file.long(1);
    file.bytes(&deflated);
    file.raw(SYNC);
    file.into_bytes()
}

thread_local! {
    /// Kept: its hundreds of kilobytes take longer to allocate and clear than a manifest to deflate.
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    COMPRESS.with_borrow_mut(|compress| {
        compress.reset();
        deflate_with(compress, bytes)
    })
}

fn deflate_with(compress: &mut Compress, bytes: &[u8]) -> Vec<u8> {
    let mut deflated = Vec::with_capacity(bytes.len() + 64);
    loop {
        let rest = &bytes[usize::try_from(compress.total_in()).expect("no more than there is")..];
        match compress.compress_vec(rest, &mut deflated, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => return deflated,
            Ok(Status::Ok | Status::BufError) => deflated.reserve(bytes.len() / 2 + 64),
            Err(_) => unreachable!("a fresh stream with room in its buffer can't fail"),
        }
    }
}

/// What stands in a container: its schema and the bytes of its one record.
pub(super) struct Content {
    /// None: the one that we write.
    pub(super) schema: Option<Schema>,
    pub(super) datum: Vec<u8>,
}

/// Reads a file of any Avro writer that has one record; codecs `null` and `deflate`.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(super) fn read(bytes: &[u8]) -> Result<Content, String> {
    let mut input = Input::new(bytes);
    let header = read_header(&mut input)?;
    let schema = if header.schema == SCHEMA.as_bytes() {
        None
    } else {
        Some(Schema::parse(header.schema).map_err(|why| format!("has a schema that {why}"))?)
    };
    if input.rest.is_empty() {
        return Err("has no record".into());
    }
    let (count, block) = read_block(&mut input, header.sync).map_err(|e| format!("has a broken block: {e}"))?;
    if count != 1 || !input.rest.is_empty() {
        return Err("has not exactly one record".into());
    }
    let datum = match header.codec {
        Codec::Null => block.to_vec(),
        Codec::Deflate => inflate(block)?,
    };
    Ok(Content { schema, datum })
}

enum Codec {
    Null,
    Deflate,
}

struct Header<'a> {
    schema: &'a [u8],
    codec: Codec,
    sync: &'a [u8],
}

fn read_header<'a>(input: &mut Input<'a>) -> Result<Header<'a>, String> {
    let broken = |e| format!("has a broken header: {e}");
    input.take(MAGIC.len()).map_err(broken)?;
    let (mut schema, mut codec) = (None, Codec::Null);
    let mut blocks = Blocks::default();
    while blocks.next(input).map_err(broken)? {
        let key = input.bytes().map_err(broken)?;
        let value = input.bytes().map_err(broken)?;
        match (key, value) {
            (b"avro.schema", text) => schema = Some(text),
            (b"avro.codec", b"null" | b"") => codec = Codec::Null,
            (b"avro.codec", b"deflate") => codec = Codec::Deflate,
            (b"avro.codec", name) => {
                let name: String = String::from_utf8_lossy(name).chars().take(32).collect();
                return Err(format!("has the codec {name:?}; null and deflate can be read"));
            }
            _ => {}
        }
    }
    let sync = input.take(SYNC.len()).map_err(broken)?;
    let schema = schema.ok_or("has no schema")?;
    Ok(Header { schema, codec, sync })
}

fn read_block<'a>(input: &mut Input<'a>, sync: &[u8]) -> Result<(i64, &'a [u8]), serde::de::value::Error> {
    use serde::de::Error;
    let count = input.long()?;
    let block = input.bytes()?;
    if input.take(sync.len())? != sync {
        return Err(Error::custom("the sync marker does not follow it"));
    }
    Ok((count, block))
}

/// Inflates a whole block, never to more than [`MAX_INFLATED`] bytes.
fn inflate(block: &[u8]) -> Result<Vec<u8>, String> {
    let mut inflated = Vec::with_capacity(block.len().saturating_mul(6).clamp(1024, MAX_INFLATED));
    let mut stream = Decompress::new(false);
    loop {
        let read = usize::try_from(stream.total_in()).expect("no more than there is");
        let status = stream.decompress_vec(&block[read..], &mut inflated, FlushDecompress::None);
        match status.map_err(|_| "has a block that is not deflated data")? {
            Status::StreamEnd if stream.total_in() == block.len() as u64 => return Ok(inflated),
            Status::StreamEnd => return Err("has bytes after the deflated data of a block".into()),
            // it stops with room left only when its input ends
            _ if inflated.len() < inflated.capacity() => return Err("has a block that ends too early".into()),
            _ if inflated.len() >= MAX_INFLATED => {
                return Err(format!("has a block that inflates to more than {MAX_INFLATED} bytes"));
            }
            _ => inflated.reserve_exact(inflated.len().max(1024).min(MAX_INFLATED - inflated.len())),
        }
    }
}
