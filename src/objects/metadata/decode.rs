//! From the metadata file to the domain, with the reader's integrity checks of facts §4.5.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::json::{Enum, Int64};
use super::schema::{CONSISTENCY_LEVEL, field_id, params, read_schema};
use super::wire;
use crate::domain::Result;
use crate::domain::collection::{Channel, Partition, Position};
use crate::domain::id::{CollectionId, IndexId, PartitionId, SegmentId, SnapshotId};
use crate::domain::index::Index;
use crate::domain::manifest::{SnapshotMetadata, WrittenManifest};
use crate::domain::schema::{CONSISTENCY_LEVELS, Params};
use crate::objects::manifest::{NEWEST_MILVUS, encoding_of};
use crate::objects::stored::{corrupt, strip_root};

/// What the file says, with paths relative to the root.
///
/// # Errors
/// `corrupt_snapshot`, with the place.
pub(super) fn metadata(file: wire::Metadata, root: &str) -> Result<SnapshotMetadata> {
    let version = file.format_version;
    // Milvus' own text (facts §4.4)
    let encoding = encoding_of(version).ok_or_else(|| {
        corrupt(format_args!(
            "incompatible snapshot format: snapshot format version {version} is too new, current supported version: {NEWEST_MILVUS} (please upgrade Milvus)"
        ))
    })?;
    let info = file.snapshot_info.ok_or_else(|| corrupt("snapshot_info is missing"))?;
    let mut collection = file.collection.ok_or_else(|| corrupt("collection is missing"))?;
    let mut schema = collection.schema.take().unwrap_or_default();
    let ours = file.stillframe.unwrap_or_default();
    let manifests = manifests(file.manifest_list, ours.manifests, &file.segment_ids, root)?;

    // early Milvus writers fill only the schema's properties
    let of_schema = params(std::mem::take(&mut schema.message.properties));
    let consistency_level = consistency_level(collection.consistency_level, &of_schema)?;
    let mut properties = params(collection.properties);
    if properties.is_empty() {
        properties = of_schema;
        properties.remove(CONSISTENCY_LEVEL);
    }
    Ok(SnapshotMetadata {
        snapshot_id: SnapshotId(natural("snapshot_info.id", info.id)?),
        name: info.name,
        description: info.description,
        collection_id: CollectionId(natural("snapshot_info.collection_id", info.collection_id)?),
        external: ours.external,
        aliases: ours.aliases,
        create_ts: info.create_ts.0,
        db_name: std::mem::take(&mut schema.message.db_name),
        collection_name: std::mem::take(&mut schema.message.name),
        num_shards: i32::try_from(natural("num_shards", collection.num_shards)?)
            .map_err(|_| corrupt(format_args!("num_shards is {}, which is too much", collection.num_shards.0)))?,
        consistency_level,
        schema: read_schema(schema)?,
        properties,
        partitions: partitions(collection.partitions, &info.partition_ids)?,
        channels: channels(collection.virtual_channel_names, info.channel_seek_positions)?,
        indexes: file.indexes.into_iter().map(index).collect::<Result<_>>()?,
        encoding,
        storagev2_manifests: storage_manifests(file.storagev2_manifest_list, &manifests, root)?,
        manifests,
        build_ids: file
            .build_ids
            .into_iter()
            .map(|id| natural("build_ids", id))
            .collect::<Result<_>>()?,
        num_of_rows: natural("totals.num_of_rows", Int64(ours.totals.num_of_rows))?,
        file_count: natural("totals.file_count", Int64(ours.totals.file_count))?,
        size_bytes: natural("totals.size_bytes", Int64(ours.totals.size_bytes))?,
    })
}

fn natural(what: &str, value: Int64) -> Result<i64> {
    if value.0 < 0 {
        return Err(corrupt(format_args!("{what} is {}, it must not be negative", value.0)));
    }
    Ok(value.0)
}

/// The manifests with their sizes and sums where our own object gives them; without it the segment
/// id is the last part of the key (facts §4.1).
fn manifests(keys: Vec<String>, ours: Vec<wire::Manifest>, segment_ids: &[Int64], root: &str) -> Result<Vec<WrittenManifest>> {
    if !ours.is_empty() && ours.len() != keys.len() {
        return Err(corrupt(format_args!(
            "manifest_list has {} manifests, stillframe.manifests {}",
            keys.len(),
            ours.len()
        )));
    }
    let mut ours = ours.into_iter();
    let manifests = keys.into_iter().map(|full| {
        let key = strip_root(root, "manifest_list", &full)?.to_string();
        let (segment_id, size_bytes, sha256) = match ours.next() {
            Some(known) => (
                natural("stillframe.manifests.segment_id", known.segment_id)?,
                known.size_bytes,
                known.sha256,
            ),
            None => {
                let name = key.rsplit('/').next().and_then(|name| name.strip_suffix(".avro"));
                let id = name.and_then(|name| crate::domain::id::parse_non_negative(name).ok());
                (
                    id.ok_or_else(|| corrupt(format_args!("manifest_list {full:?} does not end in a segment id")))?,
                    0,
                    String::new(),
                )
            }
        };
        Ok(WrittenManifest {
            segment_id: SegmentId(segment_id),
            key,
            size_bytes,
            sha256,
        })
    });
    let manifests: Vec<_> = manifests.collect::<Result<_>>()?;
    check_ids(&manifests, segment_ids)?;
    Ok(manifests)
}

/// No segment twice, and those of `segment_ids`, where it is there, exactly (facts §4.5).
fn check_ids(manifests: &[WrittenManifest], segment_ids: &[Int64]) -> Result<()> {
    let wrong = |what: &str, id: i64| {
        Err(corrupt(format_args!(
            "snapshot segment IDs do not match manifests: {what} segment {id}"
        )))
    };
    let mut found = HashSet::with_capacity(manifests.len());
    for manifest in manifests {
        if !found.insert(manifest.segment_id.0) {
            return wrong("duplicate", manifest.segment_id.0);
        }
    }
    if segment_ids.is_empty() {
        return Ok(());
    }
    let mut listed = HashSet::with_capacity(segment_ids.len());
    for id in segment_ids {
        if !listed.insert(id.0) {
            return wrong("duplicate", id.0);
        }
        if !found.contains(&id.0) {
            return wrong("missing", id.0);
        }
    }
    match found.difference(&listed).min() {
        Some(id) => wrong("unexpected", *id),
        None => Ok(()),
    }
}

fn storage_manifests(list: Vec<wire::StorageV2Manifest>, of: &[WrittenManifest], root: &str) -> Result<Vec<(SegmentId, String)>> {
    let mut open: HashSet<i64> = if list.is_empty() {
        HashSet::new()
    } else {
        of.iter().map(|m| m.segment_id.0).collect()
    };
    let manifests = list.into_iter().map(|entry| {
        let id = entry.segment_id.0;
        if !open.remove(&id) {
            return Err(corrupt(format_args!(
                "storagev2_manifest_list has segment {id} twice, or it has no manifest"
            )));
        }
        // V3's is a JSON text
        let manifest = if entry.manifest.starts_with('{') {
            entry.manifest
        } else {
            strip_root(root, "storagev2_manifest_list", &entry.manifest)?.to_string()
        };
        Ok((SegmentId(id), manifest))
    });
    manifests.collect()
}

/// By name or number, or else the number in the schema's properties, or else the enum's zero.
fn consistency_level(level: Enum, of_schema: &Params) -> Result<String> {
    let known: Vec<_> = CONSISTENCY_LEVELS.iter().copied().zip(0..).collect();
    let level = if level == Enum::default() {
        Enum(of_schema.get(CONSISTENCY_LEVEL).map_or("0", String::as_str).to_string())
    } else {
        level
    };
    let name = level.name(&known);
    if !CONSISTENCY_LEVELS.contains(&name.as_str()) {
        return Err(corrupt(format_args!("consistency_level {name:?} is unknown")));
    }
    Ok(name)
}

/// In the order of `partition_ids`, then by name.
fn partitions(by_name: BTreeMap<String, Int64>, order: &[Int64]) -> Result<Vec<Partition>> {
    let place: HashMap<i64, usize> = order.iter().enumerate().map(|(at, id)| (id.0, at)).collect();
    let partitions = by_name.into_iter().map(|(name, id)| {
        let partition_id = PartitionId(natural("partitions", id)?);
        Ok(Partition { partition_id, name })
    });
    let mut partitions: Vec<_> = partitions.collect::<Result<_>>()?;
    partitions.sort_by_key(|partition| place.get(&partition.partition_id.0).copied().unwrap_or(usize::MAX));
    Ok(partitions)
}

/// One channel per name; without names, one per position, by name.
fn channels(names: Vec<String>, positions: Vec<wire::Position>) -> Result<Vec<Channel>> {
    let mut found = BTreeMap::new();
    for position in positions {
        let seek = Position {
            timestamp: position.timestamp.0,
            msg_id: position.msg_id.0,
            msg_group: position.msg_group,
        };
        if let Some(_twice) = found.insert(position.channel_name.clone(), seek) {
            return Err(corrupt(format_args!(
                "channel_seek_positions has {:?} twice",
                position.channel_name
            )));
        }
    }
    let names = if names.is_empty() {
        found.keys().cloned().collect()
    } else {
        names
    };
    let channels: Vec<_> = names
        .into_iter()
        .zip(0..)
        .map(|(channel_name, shard_no)| Channel {
            seek_position: found.remove(&channel_name),
            channel_name,
            shard_no,
        })
        .collect();
    match found.into_keys().next() {
        Some(name) => Err(corrupt(format_args!(
            "channel_seek_positions has {name:?}, virtual_channel_names has not"
        ))),
        None => Ok(channels),
    }
}

fn index(index: wire::Index) -> Result<Index> {
    Ok(Index {
        index_id: IndexId(natural("indexID", index.index_id)?),
        field_id: field_id(index.field_id)?,
        index_name: index.index_name,
        type_params: params(index.type_params),
        index_params: params(index.index_params),
        user_index_params: params(index.user_index_params),
        is_auto_index: index.is_auto_index,
    })
}
