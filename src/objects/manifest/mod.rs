//! Manifests: one Avro file per segment of a snapshot, in Milvus' fields (facts §4.3).
//!
//! Two forms are written: an Avro object container file, which any Avro reader opens, and
//! Milvus' bare datum, which needs the format version from the metadata to be read. Both forms
//! are read, of every version that Milvus wrote so far, and neither is trusted.

mod container;
mod datum;
mod read;
mod schema;
mod versions;
mod wire;
mod write;

use super::stored::{MAX_KEY_LENGTH, corrupt};
use crate::domain::id::CollectionId;
use crate::domain::manifest::{Manifest, ManifestEncoding};
use crate::domain::{Code, Result};

/// Added to Milvus' format version when manifests are container files: a Milvus reader then
/// answers "too new" instead of misreading.
pub const CONTAINER: i32 = 1000;

/// The newest of Milvus' format versions that can be read.
pub const NEWEST_MILVUS: i32 = versions::NEWEST;

/// Bytes of a manifest at most, as stored and as inflated.
pub const MAX_BYTES: usize = container::MAX_INFLATED;

/// The `format_version` that the metadata declares for an encoding: 1004 or 4.
pub const fn format_version(encoding: ManifestEncoding) -> i32 {
    match encoding {
        ManifestEncoding::Container => CONTAINER + container::SCHEMA_VERSION,
        ManifestEncoding::Milvus => container::SCHEMA_VERSION,
    }
}

/// How manifests of a format version are encoded; none when the version is unknown (facts §4.4).
pub fn encoding_of(format_version: i32) -> Option<ManifestEncoding> {
    if versions::schemas(format_version).is_some() {
        Some(ManifestEncoding::Milvus)
    } else {
        let version = format_version.checked_sub(CONTAINER).filter(|version| *version > 0)?;
        versions::schemas(version).map(|_| ManifestEncoding::Container)
    }
}

/// Writes the manifest of a segment. Equal manifests give equal bytes.
///
/// `root` is the key prefix of the storage root within its bucket, without slashes at its ends;
/// paths of the manifest are relative to it, keys in the file are full (facts §4.3).
/// `manifest_path` is not in a manifest: the metadata has it.
///
/// # Errors
/// `invalid_path` when root and path together are too long for a key.
pub fn encode(manifest: &Manifest, root: &str, encoding: ManifestEncoding) -> Result<Vec<u8>> {
    let (datum, longest_key) = write::datum(manifest, root);
    if longest_key > MAX_KEY_LENGTH {
        return Err(Code::InvalidPath.error(format!(
            "segment {}: a key has {longest_key} bytes with the storage root, at most {MAX_KEY_LENGTH} are allowed",
            manifest.segment.segment_id
        )));
    }
    Ok(match encoding {
        ManifestEncoding::Container => container::write(&datum),
        ManifestEncoding::Milvus => datum,
    })
}

/// Reads a manifest: a container file of any Avro writer (codecs `null` and `deflate`; fields
/// meet by name), or Milvus' bare datum of format version 0 to 5. Where branches of Milvus may
/// differ under one version, the other forms are tried when the likeliest one does not take every
/// byte.
///
/// `format_version` is the metadata's, `root` as in [`encode`]. A manifest does not name its
/// collection: `collection_id` goes into the result. What a manifest does not hold comes out as
/// state flushed, version 1, no ETags, created at the epoch, an empty `manifest_path`, and size 0
/// for the files of indexes.
///
/// # Errors
/// `corrupt_snapshot`, with a text that says what is wrong: the version is unknown, the bytes are
/// too many, cut off or too few for it, a limit is passed, a key lies outside the root.
pub fn decode(bytes: &[u8], format_version: i32, root: &str, collection_id: CollectionId) -> Result<Manifest> {
    let encoding = encoding_of(format_version)
        .ok_or_else(|| corrupt(format_args!("unsupported manifest schema version: {format_version}")))?;
    if bytes.len() > MAX_BYTES {
        return Err(corrupt(format_args!(
            "the manifest has {} bytes, at most {MAX_BYTES} are allowed",
            bytes.len()
        )));
    }
    let wrong = |why: String| corrupt(format_args!("the manifest {why}"));
    let inflated;
    // a bare datum that begins like this would have a negative segment id
    let (datum, own_schema, version) = if bytes.starts_with(container::MAGIC) {
        let content = container::read(bytes).map_err(wrong)?;
        inflated = content.datum;
        (inflated.as_slice(), content.schema, container::SCHEMA_VERSION)
    } else if encoding == ManifestEncoding::Container {
        return Err(wrong("is not an Avro object container file".into()));
    } else {
        (bytes, None, format_version)
    };
    let schemas = match (&own_schema, versions::schemas(version)) {
        (Some(own), _) => std::slice::from_ref(own),
        // what we write has one form
        (None, Some(known)) if bytes.starts_with(container::MAGIC) => &known[..1],
        (None, Some(known)) => known,
        (None, None) => return Err(corrupt(format_args!("unsupported manifest schema version: {version}"))),
    };
    // a bare datum does not say which branch of Milvus wrote it: the form is right that takes every byte
    let (mut misfit, mut unsound) = (None, None);
    for schema in schemas {
        match datum::read(datum, schema) {
            Err(why) => drop(misfit.get_or_insert(why)),
            Ok(entry) => match read::manifest(entry, root, collection_id) {
                Ok(manifest) => return Ok(manifest),
                Err(error) => drop(unsound.get_or_insert(format!("is wrong: {error}"))),
            },
        }
    }
    Err(wrong(unsound.or(misfit).unwrap_or_default()))
}
