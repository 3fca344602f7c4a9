//! From the domain to the metadata file.

use super::json::{Bytes, Enum, Int64};
use super::schema::{pairs, schema};
use super::wire;
use crate::domain::collection::Channel;
use crate::domain::index::Index;
use crate::domain::manifest::{ManifestEncoding, SnapshotMetadata};
use crate::domain::schema::CONSISTENCY_LEVELS;
use crate::objects::manifest::format_version;
use crate::objects::stored::full_key;

/// The file's content, with full keys.
pub(super) fn metadata(metadata: &SnapshotMetadata, root: &str) -> wire::Metadata {
    wire::Metadata {
        format_version: format_version(metadata.encoding),
        snapshot_info: Some(snapshot_info(metadata)),
        collection: Some(collection(metadata)),
        indexes: metadata.indexes.iter().map(|index| self::index(index, metadata)).collect(),
        manifest_list: metadata
            .manifests
            .iter()
            .map(|written| full_key(root, &written.key))
            .collect(),
        storagev2_manifest_list: metadata
            .storagev2_manifests
            .iter()
            .map(|(segment_id, manifest)| wire::StorageV2Manifest {
                segment_id: Int64(segment_id.0),
                manifest: storage_manifest(manifest, root),
            })
            .collect(),
        segment_ids: metadata.manifests.iter().map(|written| Int64(written.segment_id.0)).collect(),
        build_ids: metadata.build_ids.iter().copied().map(Int64).collect(),
        layout: Enum("SnapshotLayoutReferenced".into()),
        stillframe: Some(stillframe(metadata)),
    }
}

/// A V2 manifest is a path; a V3 one is a JSON text and stays as it is (facts §4.3).
fn storage_manifest(manifest: &str, root: &str) -> String {
    if manifest.starts_with('{') {
        manifest.to_string()
    } else {
        full_key(root, manifest)
    }
}

fn snapshot_info(metadata: &SnapshotMetadata) -> wire::SnapshotInfo {
    let positions = in_shard_order(&metadata.channels).into_iter().filter_map(|channel| {
        channel.seek_position.as_ref().map(|position| wire::Position {
            channel_name: channel.channel_name.clone(),
            msg_id: Bytes(position.msg_id.clone()),
            msg_group: position.msg_group.clone(),
            timestamp: Int64(position.timestamp),
        })
    });
    wire::SnapshotInfo {
        name: metadata.name.clone(),
        id: Int64(metadata.snapshot_id.0),
        description: metadata.description.clone(),
        collection_id: Int64(metadata.collection_id.0),
        partition_ids: metadata.partitions.iter().map(|p| Int64(p.partition_id.0)).collect(),
        create_ts: Int64(metadata.create_ts),
        // of a bundle only
        s3_location: String::new(),
        // written before the commit, and so said by Milvus as well (facts §4.2)
        state: Enum("SnapshotStatePending".into()),
        channel_seek_positions: positions.collect(),
    }
}

fn in_shard_order(channels: &[Channel]) -> Vec<&Channel> {
    let mut channels: Vec<_> = channels.iter().collect();
    channels.sort_by_key(|channel| channel.shard_no);
    channels
}

fn collection(metadata: &SnapshotMetadata) -> wire::Collection {
    let names = in_shard_order(&metadata.channels).into_iter().map(|c| c.channel_name.clone());
    let partitions = metadata.partitions.iter().map(|p| (p.name.clone(), Int64(p.partition_id.0)));
    let level = CONSISTENCY_LEVELS.iter().position(|name| *name == metadata.consistency_level);
    wire::Collection {
        schema: Some(schema(metadata, level.unwrap_or_default())),
        num_partitions: Int64(i64::try_from(metadata.partitions.len()).unwrap_or(i64::MAX)),
        num_shards: Int64(metadata.num_shards.into()),
        // the enum's zero is left out
        consistency_level: match level {
            Some(0) => Enum::default(),
            _ => Enum(metadata.consistency_level.clone()),
        },
        properties: pairs(&metadata.properties),
        partitions: partitions.collect(),
        virtual_channel_names: names.collect(),
    }
}

fn index(index: &Index, metadata: &SnapshotMetadata) -> wire::Index {
    wire::Index {
        collection_id: Int64(metadata.collection_id.0),
        field_id: Int64(index.field_id.0),
        index_name: index.index_name.clone(),
        index_id: Int64(index.index_id.0),
        type_params: pairs(&index.type_params),
        index_params: pairs(&index.index_params),
        is_auto_index: index.is_auto_index,
        user_index_params: pairs(&index.user_index_params),
    }
}

fn stillframe(metadata: &SnapshotMetadata) -> wire::Stillframe {
    let manifests = metadata.manifests.iter().map(|written| wire::Manifest {
        segment_id: Int64(written.segment_id.0),
        size_bytes: written.size_bytes,
        sha256: written.sha256.clone(),
    });
    wire::Stillframe {
        writer: wire::Writer {
            name: "stillframe".into(),
            version: env!("CARGO_PKG_VERSION").into(),
        },
        manifest_encoding: match metadata.encoding {
            ManifestEncoding::Container => "container".into(),
            ManifestEncoding::Milvus => "milvus".into(),
        },
        external: metadata.external,
        aliases: metadata.aliases.clone(),
        totals: wire::Totals {
            num_of_rows: metadata.num_of_rows,
            file_count: metadata.file_count,
            size_bytes: metadata.size_bytes,
        },
        manifests: manifests.collect(),
    }
}
