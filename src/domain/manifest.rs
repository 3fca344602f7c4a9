//! What a stored snapshot says, apart from how it is written (see `objects::manifest`,
//! `objects::metadata`). Field names are Milvus' (facts §3, §4).

use super::collection::{Channel, Partition};
use super::id::{CollectionId, SegmentId, SnapshotId};
use super::index::{Index, IndexBuild};
use super::schema::{Params, Schema};
use super::segment::Segment;

/// One segment of a snapshot, as its manifest holds it. Paths are relative to the storage root.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    pub segment: Segment,
    pub builds: Vec<IndexBuild>,
}

/// How manifests are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestEncoding {
    /// An Avro object container file, schema inside: any Avro reader opens it.
    Container,
    /// A bare Avro datum of Milvus' format version 4: for Milvus readers.
    Milvus,
}

/// A manifest in the object storage, as the catalog knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredManifest {
    pub segment_id: SegmentId,
    /// The snapshot that it was written for, in whose directory it lies.
    pub owner: SnapshotId,
    /// Index builds, and build ids among the segment's own files.
    pub build_ids: Vec<i64>,
    pub size_bytes: u64,
    /// Empty in snapshots from before manifests were shared.
    pub sha256: Vec<u8>,
}

/// A manifest that has been written.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenManifest {
    pub segment_id: SegmentId,
    /// Key relative to the storage root.
    pub key: String,
    pub size_bytes: u64,
    /// Lower-case hexadecimal.
    pub sha256: String,
}

/// The metadata file of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotMetadata {
    pub snapshot_id: SnapshotId,
    pub name: String,
    pub description: String,
    pub collection_id: CollectionId,
    /// The collection's files are another system's.
    pub external: bool,
    /// That the collection had, by name.
    pub aliases: Vec<String>,
    pub create_ts: i64,
    pub db_name: String,
    pub collection_name: String,
    pub num_shards: i32,
    pub consistency_level: String,
    pub schema: Schema,
    pub properties: Params,
    pub partitions: Vec<Partition>,
    pub channels: Vec<Channel>,
    pub indexes: Vec<Index>,
    pub encoding: ManifestEncoding,
    pub manifests: Vec<WrittenManifest>,
    /// Segment id and V2 manifest path, for segments that have one.
    pub storagev2_manifests: Vec<(SegmentId, String)>,
    pub build_ids: Vec<i64>,
    pub num_of_rows: i64,
    pub file_count: i64,
    pub size_bytes: i64,
}
