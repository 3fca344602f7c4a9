//! Second phase of creating a snapshot: new manifests, the metadata file, the commit.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest, Sha256};

use super::Service;
use super::create::{CreateSnapshot, Pending, interrupted};
use crate::crash_point;
use crate::domain::collection::Ownership;
use crate::domain::manifest::{Manifest, ManifestEncoding, SnapshotMetadata, StoredManifest, WrittenManifest};
use crate::domain::snapshot::{Snapshot, Totals};
use crate::domain::{Error, Result};
use crate::objects::{keys, manifest, marker, metadata};
use crate::store::manifests::NewlyWritten;
use crate::store::snapshots::SnapshotFilter;
use crate::store::{self};

/// Segments of which manifests are made at a time, while as many are read; bounds the memory of a call.
const PAGE: i64 = 250;
/// Segments whose manifests are encoded and written by one worker at a time.
const CHUNK: usize = 63;

/// Manifests by segment, and their keys with bytes.
type Encoded = (Vec<NewlyWritten>, Vec<(String, Vec<u8>)>);

impl Service {
    pub(super) async fn write_and_commit(&self, request: &CreateSnapshot, pending: &Pending) -> Result<Snapshot> {
        let catalog_id = store::catalog::id(&mut *self.conn().await?).await?;
        marker::verify(&self.objects, catalog_id).await?;
        let mut metadata_bytes = self.write_manifests(pending).await?;
        let manifests = store::manifests::of_snapshot(&mut *self.conn().await?, pending.snapshot_id).await?;
        let (key, bytes) = self.encode_metadata(request, pending, manifests, None).await?;
        metadata_bytes += bytes.len() as u64;
        self.objects.put(&key, bytes).await?;
        crash_point::reached("create.metadata_written");

        let totals = Totals {
            segments: pending.counts.segments,
            index_builds: pending.counts.builds,
            rows: pending.counts.rows,
            files: pending.counts.files,
            size_bytes: pending.counts.size_bytes,
            metadata_bytes: i64::try_from(metadata_bytes).unwrap_or(i64::MAX),
        };
        let left_out = serde_json::to_value(&pending.left_out).map_err(Error::internal)?;
        let location = self.objects.url().location(&key);
        let mut conn = self.conn().await?;
        if !store::snapshots::commit(&mut conn, pending.snapshot_id, pending.token, &totals, &left_out, &location).await? {
            return Err(interrupted(&request.snapshot_name));
        }
        crash_point::reached("create.committed");
        let filter = SnapshotFilter {
            snapshot: Some(pending.snapshot_id),
            ..SnapshotFilter::default()
        };
        let found = store::snapshots::list(&mut conn, &filter, false, None, 1).await?;
        // dropped again between the commit and the look: as good as created
        found.into_iter().next().ok_or_else(|| interrupted(&request.snapshot_name))
    }

    /// Writes the new manifests, those of one page while the next one is read and the last one is
    /// recorded; gives their bytes.
    pub(super) async fn write_manifests(&self, pending: &Pending) -> Result<u64> {
        let mut bytes = 0;
        if pending.counts.new_manifests == 0 {
            return Ok(bytes);
        }
        let mut page = self.read_page(pending, None).await?;
        let mut written = Vec::new();
        while let Some(last) = page.last() {
            let after = Some(last.segment.segment_id.0);
            let more = page.len() as i64 == PAGE;
            let next = async {
                match more {
                    true => self.read_page(pending, after).await,
                    false => Ok(Vec::new()),
                }
            };
            (written, page, ()) = tokio::try_join!(self.write_page(pending, page), next, self.record(pending, &written))?;
            bytes += written.iter().map(|w| w.size_bytes).sum::<u64>();
        }
        self.record(pending, &written).await?;
        Ok(bytes)
    }

    async fn record(&self, pending: &Pending, written: &[NewlyWritten]) -> Result<()> {
        if !written.is_empty() {
            store::manifests::set_written(&mut *self.conn().await?, pending.snapshot_id, written).await?;
            crash_point::reached("create.manifests_recorded");
        }
        Ok(())
    }

    async fn read_page(&self, pending: &Pending, after: Option<i64>) -> Result<Vec<Manifest>> {
        store::manifests::page(&mut *self.conn().await?, pending.snapshot_id, true, after, PAGE).await
    }

    async fn write_page(&self, pending: &Pending, mut page: Vec<Manifest>) -> Result<Vec<NewlyWritten>> {
        let mut chunks = Vec::new();
        while !page.is_empty() {
            let rest = page.split_off(page.len().min(CHUNK));
            chunks.push(std::mem::replace(&mut page, rest));
        }
        let written: Vec<Vec<NewlyWritten>> = stream::iter(chunks)
            .map(|chunk| self.write_chunk(pending, chunk))
            .buffered(4)
            .try_collect()
            .await?;
        Ok(written.into_iter().flatten().collect())
    }

    async fn write_chunk(&self, pending: &Pending, chunk: Vec<Manifest>) -> Result<Vec<NewlyWritten>> {
        let encoding = self.settings.manifest_encoding;
        let root = self.objects.url().root().to_string();
        let (collection, snapshot) = (pending.collection.collection_id, pending.snapshot_id);
        let encode = move || -> Result<Encoded> {
            let mut written = Vec::with_capacity(chunk.len());
            let mut objects = Vec::with_capacity(chunk.len());
            for manifest in &chunk {
                let bytes = manifest::encode(manifest, &root, encoding)?;
                let segment_id = manifest.segment.segment_id;
                written.push(NewlyWritten {
                    segment_id,
                    content_build_ids: manifest.segment.content.files.build_ids().map(|b| b.0).collect(),
                    size_bytes: bytes.len() as u64,
                    sha256: Sha256::digest(&bytes).into(),
                });
                objects.push((keys::manifest(collection, snapshot, segment_id), bytes));
            }
            Ok((written, objects))
        };
        let (written, objects) = tokio::task::spawn_blocking(encode).await.map_err(Error::internal)??;
        self.objects.put_many(objects).await?;
        crash_point::reached("create.manifests_written");
        Ok(written)
    }

    /// The metadata file: its key and its bytes. Of a copy of what another system wrote, `original` is that one's.
    pub(super) async fn encode_metadata(
        &self,
        request: &CreateSnapshot,
        pending: &Pending,
        manifests: Vec<StoredManifest>,
        original: Option<Vec<u8>>,
    ) -> Result<(String, Vec<u8>)> {
        let metadata = snapshot_metadata(request, pending, manifests, self.settings.manifest_encoding);
        let key = keys::metadata(pending.collection.collection_id, pending.snapshot_id);
        let root = self.objects.url().root().to_string();
        // a large snapshot's takes long enough to hold up others
        let bytes = tokio::task::spawn_blocking(move || encode(&metadata, original.as_deref(), &root))
            .await
            .map_err(Error::internal)?;
        Ok((key, bytes))
    }
}

/// The metadata file, with what only its `original` says where there is one.
fn encode(metadata: &SnapshotMetadata, original: Option<&[u8]>, root: &str) -> Vec<u8> {
    match original.map(|original| metadata::rewrite_copy(original, metadata, root)) {
        Some(Ok(bytes)) => return bytes,
        // a copy goes by the catalog
        Some(Err(error)) => tracing::warn!(
            snapshot.id = %metadata.snapshot_id, error = %error,
            "the metadata file of another system can't be read any more: what only it says is not copied"
        ),
        None => {}
    }
    metadata::encode(metadata, root)
}

fn snapshot_metadata(
    request: &CreateSnapshot,
    pending: &Pending,
    stored: Vec<StoredManifest>,
    encoding: ManifestEncoding,
) -> SnapshotMetadata {
    let captured = &pending.captured;
    let mut build_ids: Vec<i64> = stored.iter().flat_map(|m| m.build_ids.iter().copied()).collect();
    build_ids.sort_unstable();
    build_ids.dedup();
    let collection = pending.collection.collection_id;
    let manifests = stored
        .into_iter()
        .map(|m| WrittenManifest {
            segment_id: m.segment_id,
            key: keys::manifest(collection, m.owner, m.segment_id),
            size_bytes: m.size_bytes,
            sha256: m.sha256.iter().map(|b| format!("{b:02x}")).collect(),
        })
        .collect();
    SnapshotMetadata {
        snapshot_id: pending.snapshot_id,
        name: request.snapshot_name.clone(),
        description: request.description.clone(),
        collection_id: pending.collection.collection_id,
        external: pending.collection.ownership == Ownership::External,
        aliases: captured.aliases.clone(),
        create_ts: pending.create_ts,
        db_name: pending.collection.db_name.clone(),
        collection_name: pending.collection.name.clone(),
        num_shards: captured.num_shards,
        consistency_level: captured.consistency_level.clone(),
        schema: captured.schema.clone(),
        properties: captured.properties.clone(),
        partitions: captured.partitions.clone(),
        channels: pending.channels.clone(),
        indexes: captured.indexes.clone(),
        encoding,
        manifests,
        // segments that have one are refused at registration
        storagev2_manifests: Vec::new(),
        build_ids,
        num_of_rows: pending.counts.rows,
        file_count: pending.counts.files,
        size_bytes: pending.counts.size_bytes,
    }
}
