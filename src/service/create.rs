//! Creating a snapshot, in two phases.
//!
//! 1. One read-committed transaction inserts a `pending` row under a lease, and the references
//!    to the chosen segments and builds under share locks: from its commit on nothing that the
//!    snapshot needs can be collected.
//! 2. Manifests are written in parallel, then the metadata file, then the row is committed,
//!    fenced by the lease. A crash leaves a pending row; its expired lease frees the name, and
//!    the collector removes what was written.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::paths::{check_name, collection, gone};
use super::snapshots::check_texts;
use super::{Service, commit};
use crate::domain::collection::{Channel, Collection, Partition};
use crate::domain::id::{SegmentId, SnapshotId};
use crate::domain::index::Index;
use crate::domain::manifest::{Manifest, SnapshotMetadata, WrittenManifest};
use crate::domain::schema::Params;
use crate::domain::snapshot::{CapturedCollection, LeftOut, LeftOutReason, Snapshot, Totals};
use crate::domain::{Code, Error, Result, timestamp};
use crate::objects::{keys, manifest, marker, metadata};
use crate::store::snapshots::{Captured, NewSnapshot, SnapshotFilter};
use crate::store::{self, PgConnection};

/// A snapshot to be created.
#[derive(Debug, Clone)]
pub struct CreateSnapshot {
    pub db_name: String,
    pub collection_name: String,
    pub snapshot_name: String,
    pub description: String,
    pub labels: Params,
    /// Seal growing segments first and wait so long for the engine to flush them.
    pub flush: Option<Duration>,
    /// Capture every flushed segment of a collection whose channels report no positions.
    pub allow_unbounded: bool,
}

/// A created snapshot and how long it took.
#[derive(Debug, Clone)]
pub struct CreatedSnapshot {
    pub snapshot: Snapshot,
    pub took: Duration,
}

/// What the first phase captured.
struct Pending {
    snapshot_id: SnapshotId,
    token: Uuid,
    collection: Collection,
    captured: CapturedCollection,
    channels: Vec<Channel>,
    create_ts: i64,
    counts: Captured,
    left_out: Vec<LeftOut>,
}

/// What the second phase wrote.
#[derive(Default)]
struct Written {
    manifests: Vec<WrittenManifest>,
    storagev2: Vec<(SegmentId, String)>,
    build_ids: Vec<i64>,
    bytes: i64,
}

/// Keys and bytes.
type EncodedObjects = Vec<(String, Vec<u8>)>;

/// Segments of which manifests are made at a time, while as many are read; bounds the memory of a call.
const PAGE: i64 = 250;
/// Segments whose manifests are encoded and written by one worker at a time.
const CHUNK: usize = 63;

impl Service {
    /// Creates a snapshot of a collection.
    ///
    /// # Errors
    /// `invalid_request`, `collection_not_found`, `channel_without_position`, `flush_timeout`,
    /// `snapshot_already_exists`, `snapshot_interrupted`, storage errors. Nothing visible is
    /// left by any of them.
    pub async fn create_snapshot(&self, request: CreateSnapshot) -> Result<CreatedSnapshot> {
        // a caller that hangs up must not leave a half-written snapshot behind for a whole lease
        let service = self.clone();
        tokio::spawn(async move { service.create_to_the_end(request).await })
            .await
            .map_err(Error::internal)?
    }

    async fn create_to_the_end(&self, request: CreateSnapshot) -> Result<CreatedSnapshot> {
        check_name("/snapshot_name", &request.snapshot_name)?;
        check_texts(&request.description, &request.labels)?;
        let began = Instant::now();
        if let Some(timeout) = request.flush {
            let found = self.collection(&request.db_name, &request.collection_name).await?;
            let flushed = self.flush_collection(&found, timeout).await?;
            if !flushed.unflushed.is_empty() {
                return Err(Code::FlushTimeout.error(format!(
                    "the engine has not flushed {} sealed segments in {} ms; no snapshot was taken",
                    flushed.unflushed.len(),
                    timeout.as_millis()
                )));
            }
        }
        let pending = self.capture(&request).await?;
        let outcome = tokio::select! {
            written = self.write_and_commit(&request, &pending) => written,
            lost = self.keep_pending(&pending) => Err(lost),
        };
        match outcome {
            Ok(snapshot) => Ok(CreatedSnapshot {
                snapshot,
                took: began.elapsed(),
            }),
            Err(error) => {
                // frees the name at once; should this fail too, the lease frees it later
                if let Ok(mut conn) = self.conn().await
                    && let Err(e) = store::snapshots::abandon(&mut conn, pending.snapshot_id, pending.token).await
                {
                    tracing::warn!(snapshot.id = %pending.snapshot_id, error = %e.cause_chain(), "could not abandon the snapshot");
                }
                Err(error)
            }
        }
    }

    /// Renews the lease of a snapshot that is being written; ends only when it is lost.
    async fn keep_pending(&self, pending: &Pending) -> Error {
        loop {
            tokio::time::sleep(self.settings.create_lease / 3).await;
            let renewed = async {
                let mut conn = self.conn().await?;
                store::snapshots::renew(&mut conn, pending.snapshot_id, pending.token, self.lease_ms()).await
            };
            match renewed.await {
                Ok(true) => {}
                Ok(false) => return interrupted("that was being written"),
                Err(error) => {
                    tracing::warn!(snapshot.id = %pending.snapshot_id, error = %error, "could not renew the lease of the snapshot")
                }
            }
        }
    }

    async fn capture(&self, request: &CreateSnapshot) -> Result<Pending> {
        let mut tx = self.begin().await?;
        let found = collection(&mut tx, &request.db_name, &request.collection_name).await?;
        if !store::collections::hold(&mut tx, found.collection_id).await? {
            return Err(gone(&found));
        }
        let id = found.collection_id;
        // every statement sees its own moment: what was chosen by must not move until the end
        store::channels::hold(&mut tx, id).await?;
        let channels = store::channels::list(&mut tx, id).await?;
        let silent = channels.iter().find(|c| c.seek_position.is_none());
        if let (Some(channel), false) = (silent, request.allow_unbounded) {
            return Err(Code::ChannelWithoutPosition.error(format!(
                "channel {:?} has never reported a seek position, so what belongs to the snapshot is not known; \
                 report it, or set allow_unbounded to capture every flushed segment",
                channel.channel_name
            )));
        }
        let unbounded = silent.is_some();
        let create_ts = match channels
            .iter()
            .filter_map(|c| c.seek_position.as_ref())
            .map(|p| p.timestamp)
            .min()
        {
            Some(least) if !unbounded => least,
            _ => timestamp::from_millis(store::catalog::now_millis(&mut tx).await?),
        };
        let (snapshot_id, token) = self.insert_pending(&mut tx, request, &found, &channels, create_ts).await?;
        let counts = store::snapshots::reference_segments(&mut tx, snapshot_id, id, unbounded).await?;
        // after the segments and builds, so that every partition and index they name is in it; none can
        // be dropped meanwhile
        let captured = CapturedCollection {
            num_shards: found.num_shards,
            consistency_level: found.consistency_level.clone(),
            schema: found.schema.clone(),
            properties: found.properties.clone(),
            partitions: store::partitions::list(&mut tx, id, None, None).await?,
            indexes: store::indexes::list(&mut tx, id, None, None).await?,
            aliases: store::names::list_aliases(&mut tx, found.db_id, Some(id), None, i64::MAX)
                .await?
                .into_iter()
                .map(|a| a.alias)
                .collect(),
        };
        store::snapshots::insert_description(&mut tx, snapshot_id, &captured).await?;
        let left_out = left_out(store::snapshots::left_out(&mut tx, snapshot_id, id).await?);
        commit(tx).await?;
        Ok(Pending {
            snapshot_id,
            token,
            collection: found,
            captured,
            channels,
            create_ts,
            counts,
            left_out,
        })
    }

    async fn insert_pending(
        &self,
        conn: &mut PgConnection,
        request: &CreateSnapshot,
        collection: &Collection,
        channels: &[Channel],
        create_ts: i64,
    ) -> Result<(SnapshotId, Uuid)> {
        let snapshot_id = SnapshotId(store::catalog::allocate_ids(conn, 1).await?);
        let channels = serde_json::to_value(channels).map_err(Error::internal)?;
        let new = NewSnapshot {
            snapshot_id,
            collection_id: collection.collection_id,
            db_id: collection.db_id,
            name: &request.snapshot_name,
            description: &request.description,
            labels: &request.labels,
            create_ts,
            channels: &channels,
            lease_token: Uuid::new_v4(),
            lease_ms: self.lease_ms(),
        };
        if store::snapshots::insert_pending(conn, &new).await? {
            return Ok((snapshot_id, new.lease_token));
        }
        // a pending row of a call that died holds the name only until its lease expires
        let freed = store::snapshots::expire_pending(conn, collection.collection_id, &request.snapshot_name).await?;
        if freed && store::snapshots::insert_pending(conn, &new).await? {
            return Ok((snapshot_id, new.lease_token));
        }
        Err(Code::SnapshotAlreadyExists.error(format!(
            "collection {:?} has a snapshot {:?} already, or one is being created",
            collection.name, request.snapshot_name
        )))
    }

    fn lease_ms(&self) -> i64 {
        i64::try_from(self.settings.create_lease.as_millis()).unwrap_or(i64::MAX)
    }

    async fn write_and_commit(&self, request: &CreateSnapshot, pending: &Pending) -> Result<Snapshot> {
        let catalog_id = store::catalog::id(&mut *self.conn().await?).await?;
        marker::verify(&self.objects, catalog_id).await?;
        let written = self.write_manifests(pending).await?;
        let metadata = snapshot_metadata(request, pending, &written, self.settings.manifest_encoding);
        let key = keys::metadata(pending.collection.collection_id, pending.snapshot_id);
        let bytes = metadata::encode(&metadata, self.objects.url().root());
        let metadata_bytes = written.bytes + i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        self.objects.put(&key, bytes).await?;

        let totals = Totals {
            segments: pending.counts.segments,
            index_builds: pending.counts.builds,
            rows: pending.counts.rows,
            files: pending.counts.files,
            size_bytes: pending.counts.size_bytes,
            metadata_bytes,
        };
        let left_out = serde_json::to_value(&pending.left_out).map_err(Error::internal)?;
        let location = self.objects.url().location(&key);
        let mut conn = self.conn().await?;
        if !store::snapshots::commit(&mut conn, pending.snapshot_id, pending.token, &totals, &left_out, &location).await? {
            return Err(interrupted(&request.snapshot_name));
        }
        let filter = SnapshotFilter {
            snapshot: Some(pending.snapshot_id),
            ..SnapshotFilter::default()
        };
        let found = store::snapshots::list(&mut conn, &filter, false, None, 1).await?;
        // dropped again between the commit and the look: as good as created
        found.into_iter().next().ok_or_else(|| interrupted(&request.snapshot_name))
    }

    /// Writes the manifests of one page while the next one is read.
    async fn write_manifests(&self, pending: &Pending) -> Result<Written> {
        let mut written = Written::default();
        let mut page = self.read_page(pending, None).await?;
        while let Some(last) = page.last() {
            let after = Some(last.segment.segment_id.0);
            let more = page.len() as i64 == PAGE;
            for manifest in &page {
                let content = &manifest.segment.content;
                written.build_ids.extend(manifest.builds.iter().map(|b| b.build_id.0));
                written.build_ids.extend(content.files.build_ids().map(|b| b.0));
                if !content.manifest_path.is_empty() {
                    written
                        .storagev2
                        .push((manifest.segment.segment_id, content.manifest_path.clone()));
                }
            }
            let next = async {
                match more {
                    true => self.read_page(pending, after).await,
                    false => Ok(Vec::new()),
                }
            };
            let (manifests, next) = tokio::try_join!(self.write_page(pending, page), next)?;
            for manifest in manifests {
                written.bytes += i64::try_from(manifest.size_bytes).unwrap_or(i64::MAX);
                written.manifests.push(manifest);
            }
            page = next;
        }
        written.build_ids.sort_unstable();
        written.build_ids.dedup();
        Ok(written)
    }

    async fn read_page(&self, pending: &Pending, after: Option<i64>) -> Result<Vec<Manifest>> {
        store::snapshots::manifests(&mut *self.conn().await?, pending.snapshot_id, after, PAGE).await
    }

    async fn write_page(&self, pending: &Pending, mut page: Vec<Manifest>) -> Result<Vec<WrittenManifest>> {
        let mut chunks = Vec::new();
        while !page.is_empty() {
            let rest = page.split_off(page.len().min(CHUNK));
            chunks.push(std::mem::replace(&mut page, rest));
        }
        let written: Vec<Vec<WrittenManifest>> = stream::iter(chunks)
            .map(|chunk| self.write_chunk(pending, chunk))
            .buffered(4)
            .try_collect()
            .await?;
        Ok(written.into_iter().flatten().collect())
    }

    async fn write_chunk(&self, pending: &Pending, chunk: Vec<Manifest>) -> Result<Vec<WrittenManifest>> {
        let encoding = self.settings.manifest_encoding;
        let root = self.objects.url().root().to_string();
        let (collection, snapshot) = (pending.collection.collection_id, pending.snapshot_id);
        let encode = move || -> Result<(Vec<WrittenManifest>, EncodedObjects)> {
            let mut written = Vec::with_capacity(chunk.len());
            let mut objects = Vec::with_capacity(chunk.len());
            for manifest in &chunk {
                let bytes = manifest::encode(manifest, &root, encoding)?;
                let key = keys::manifest(collection, snapshot, manifest.segment.segment_id);
                let sha256 = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
                let size_bytes = bytes.len() as u64;
                written.push(WrittenManifest {
                    segment_id: manifest.segment.segment_id,
                    key: key.clone(),
                    size_bytes,
                    sha256,
                });
                objects.push((key, bytes));
            }
            Ok((written, objects))
        };
        let (written, objects) = tokio::task::spawn_blocking(encode).await.map_err(Error::internal)??;
        self.objects.put_many(objects).await?;
        Ok(written)
    }
}

fn interrupted(name: &str) -> Error {
    Code::SnapshotInterrupted.error(format!(
        "the snapshot {name} took longer than its lease and was taken away; try again"
    ))
}

fn left_out(counts: Vec<(String, bool, i64, i64)>) -> Vec<LeftOut> {
    let reason = |state: &str, has_data| match (state, has_data) {
        ("growing", _) => LeftOutReason::Growing,
        ("sealed", _) => LeftOutReason::Sealed,
        ("importing", _) => LeftOutReason::Importing,
        (_, false) => LeftOutReason::NoFiles,
        (_, true) => LeftOutReason::AfterPosition,
    };
    let mut all: Vec<LeftOut> = Vec::new();
    for (state, has_data, segments, rows) in counts {
        let reason = reason(&state, has_data);
        match all.iter_mut().find(|l| l.reason == reason) {
            Some(known) => {
                known.segments += segments;
                known.rows += rows;
            }
            None => all.push(LeftOut { reason, segments, rows }),
        }
    }
    all
}

fn snapshot_metadata(
    request: &CreateSnapshot,
    pending: &Pending,
    written: &Written,
    encoding: crate::domain::manifest::ManifestEncoding,
) -> SnapshotMetadata {
    let captured = &pending.captured;
    let partitions: Vec<Partition> = captured.partitions.clone();
    let indexes: Vec<Index> = captured.indexes.clone();
    SnapshotMetadata {
        snapshot_id: pending.snapshot_id,
        name: request.snapshot_name.clone(),
        description: request.description.clone(),
        collection_id: pending.collection.collection_id,
        create_ts: pending.create_ts,
        db_name: pending.collection.db_name.clone(),
        collection_name: pending.collection.name.clone(),
        num_shards: captured.num_shards,
        consistency_level: captured.consistency_level.clone(),
        schema: captured.schema.clone(),
        properties: captured.properties.clone(),
        partitions,
        channels: pending.channels.clone(),
        indexes,
        encoding,
        manifests: written.manifests.clone(),
        storagev2_manifests: written.storagev2.clone(),
        build_ids: written.build_ids.clone(),
        num_of_rows: pending.counts.rows,
        file_count: pending.counts.files,
        size_bytes: pending.counts.size_bytes,
    }
}
