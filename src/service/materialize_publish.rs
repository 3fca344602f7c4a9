//! Last phase of materializing: the snapshots are written anew, and the copy takes the place of the
//! external collection.

use std::collections::HashMap;

use super::collections::channel_name;
use super::create::{CreateSnapshot, Pending};
use super::restore_run::{Outcome, RunError};
use super::{Service, commit};
use crate::crash_point;
use crate::domain::collection::{Channel, Collection, Ownership, Partition};
use crate::domain::id::{PartitionId, SnapshotId};
use crate::domain::restore::{ClaimedTask, JobState, RestoreJob};
use crate::domain::snapshot::{CapturedCollection, Snapshot};
use crate::domain::{Code, Error, Result};
use crate::objects::{keys, manifest, marker};
use crate::store;
use crate::store::gc::snapshots::CondemnedManifest;
use crate::store::id_blocks::Purpose;
use crate::store::manifests::{Captured, WrittenAs};
use crate::store::materialize::{Materialization, ToWrite};
use crate::store::snapshots::SnapshotFilter;
use uuid::Uuid;

/// Pause before a swap that a reader of a snapshot keeps waiting is tried again.
const SWAP_WAIT_MS: i64 = 1000;
/// Manifests of an unsuccessful job that are deleted at a time.
const DELETE_PAGE: i64 = 1000;

impl Service {
    /// Writes the receipt and the snapshots, then swaps in one transaction. A later attempt writes the same
    /// again, under the same ids.
    pub(super) async fn publish_materialized(&self, task: &ClaimedTask, job: &RestoreJob) -> Result<Outcome, RunError> {
        let of = store::materialize::find(&mut *self.conn().await?, job.job_id).await?;
        // before the work, which would be in vain
        if store::materialize::reader(&mut *self.conn().await?, of.source)
            .await?
            .is_some()
        {
            return self.wait_for_readers(task).await;
        }
        if let Some(outcome) = self.prove_again(task, job).await? {
            return Ok(outcome);
        }
        let Some(receipt) = self.write_receipt(job).await? else {
            return Ok(Outcome::Lost);
        };
        if !self.number_snapshots(task, job, &of).await? {
            return Ok(Outcome::Lost);
        }
        let mut after = None;
        loop {
            let next = store::materialize::next_to_write(&mut *self.conn().await?, job.job_id, after).await?;
            let Some(next) = next else { break };
            self.write_snapshot_anew(job, &of, next).await?;
            after = Some(next.source);
        }
        crash_point::reached("materialize.snapshots_written");

        let mut tx = self.begin().await?;
        let changed = || RunError::Fail(Error::internal("the collection was changed while it was copied"));
        // the job's row before its source, as a cancel takes them: neither waits for the other in a circle
        if store::jobs::lock(&mut tx, task.job_id).await? == Some(JobState::Paused) {
            // nothing of a paused job may appear
            drop(tx);
            self.hand_back(task).await?;
            return Ok(Outcome::HandedBack);
        }
        if !store::materialize::lock_source(&mut tx, of.source, job.job_id).await? {
            return Ok(Outcome::Lost);
        }
        store::materialize::lock_snapshots(&mut tx, of.source).await?;
        if store::materialize::reader(&mut tx, of.source).await?.is_some() {
            drop(tx);
            return self.wait_for_readers(task).await;
        }
        if store::materialize::has_changed(&mut tx, job.job_id, of.source).await? {
            return Err(changed());
        }
        let segments = store::materialize::publish(&mut tx, job.job_id, of.source, job.collection_id).await?;
        if i64::try_from(segments).unwrap_or(i64::MAX) != job.total_segments {
            return Err(changed());
        }
        store::materialize::swap(&mut tx, job.job_id, of.source, job.collection_id).await?;
        let sums = store::job_history::sums(&mut tx, task.job_id).await?;
        // the fence comes last: a heartbeat waits for whoever has written the task's row
        if !store::tasks::succeed(&mut tx, task, None).await? {
            return Ok(Outcome::Lost);
        }
        store::receipts::complete(&mut tx, job.job_id, &receipt).await?;
        store::jobs::finish(&mut tx, job.job_id, JobState::Completed, None, "", false).await?;
        store::job_history::keep_sums(&mut tx, job.job_id, &sums).await?;
        crash_point::reached("materialize.swapping");
        commit(tx).await?;
        crash_point::reached("materialize.swapped");
        // of no use any more; what an outage keeps goes with the job's history
        if let Err(error) = self.forget_sources(job).await {
            tracing::warn!(job.id = %job.job_id, error = %error, cause = error.cause_chain(), "can't forget the segments of a job");
        }
        tracing::info!(
            job.id = %job.job_id, collection.id = %job.collection_id, collection.name = job.collection_name, segments,
            bytes = job.total_bytes, took_ms = job.time_cost_ms, "collection materialized"
        );
        Ok(Outcome::Done)
    }

    /// Restores and exports read the old snapshots to their end. Waiting is not failing, and keeps no worker
    /// busy.
    async fn wait_for_readers(&self, task: &ClaimedTask) -> Result<Outcome, RunError> {
        let kept = store::tasks::release(
            &mut *self.conn().await?,
            task,
            store::tasks::Release::HandedBack,
            SWAP_WAIT_MS,
        )
        .await?;
        Ok(if kept { Outcome::HandedBack } else { Outcome::Lost })
    }

    /// Gives the new snapshots ids, and their manifests rows, once; false when the lease was lost.
    async fn number_snapshots(&self, task: &ClaimedTask, job: &RestoreJob, of: &Materialization) -> Result<bool> {
        let written_as = WrittenAs {
            format_version: manifest::format_version(self.settings.manifest_encoding),
            root: self.objects.url().root(),
        };
        let mut tx = self.begin().await?;
        if store::materialize::next_to_write(&mut tx, job.job_id, None).await?.is_none() {
            let sources = store::snapshots::of_collection(&mut tx, of.source).await?;
            if !sources.is_empty() {
                let first = store::id_blocks::allocate(&mut tx, sources.len() as i64, Purpose::Snapshot).await?;
                store::materialize::insert_snapshots(&mut tx, job.job_id, &sources, first).await?;
            }
        }
        store::materialize::insert_manifests(&mut tx, job.job_id, job.collection_id, written_as).await?;
        if !store::tasks::holds(&mut tx, task).await? {
            return Ok(false);
        }
        commit(tx).await?;
        Ok(true)
    }

    /// Writes the manifests that a snapshot owns, then its metadata file.
    async fn write_snapshot_anew(&self, job: &RestoreJob, of: &Materialization, which: ToWrite) -> Result<(), RunError> {
        let mut conn = self.conn().await?;
        let filter = SnapshotFilter {
            snapshot: Some(which.source),
            ..SnapshotFilter::default()
        };
        let source = store::snapshots::list(&mut conn, &filter, false, None, 1).await?.pop();
        let gone = || Code::SnapshotNotFound.error(format!("snapshot not found: {} is gone", which.source));
        let source = source.ok_or_else(|| RunError::Fail(gone()))?;
        let captured = store::snapshots::description(&mut conn, which.source).await?;
        let catalog_id = store::catalog::id(&mut conn).await?;
        drop(conn);
        marker::verify(&self.objects, catalog_id).await?;
        let partitions = captured.partitions.iter().map(|p| mapped(p, &of.partitions));
        let partitions: Vec<Partition> = partitions.collect::<Result<_>>()?;
        let pending = Pending {
            snapshot_id: which.target,
            // nobody else writes under its id
            token: Uuid::nil(),
            collection: target_of(job, &source, &captured),
            captured: CapturedCollection { partitions, ..captured },
            channels: source.channels.iter().map(|c| renamed(c, job)).collect(),
            create_ts: source.create_ts,
            counts: Captured {
                segments: source.totals.segments,
                builds: source.totals.index_builds,
                rows: source.totals.rows,
                files: source.totals.files,
                size_bytes: source.totals.size_bytes,
                // those that it owns are looked up
                new_manifests: source.totals.segments,
                outrun: false,
            },
            left_out: source.left_out.clone(),
        };
        let request = CreateSnapshot {
            db_name: source.db_name.clone(),
            collection_name: job.collection_name.clone(),
            snapshot_name: source.name.clone(),
            description: source.description.clone(),
            labels: source.labels.clone(),
            flush: None,
            allow_unbounded: false,
        };
        let mut bytes = self.write_manifests(&pending).await?;
        let manifests = store::manifests::of_snapshot(&mut *self.conn().await?, which.target).await?;
        let original = self.metadata_of_another_writer(&source).await?;
        let (key, metadata) = self.encode_metadata(&request, &pending, manifests, original).await?;
        bytes += metadata.len() as u64;
        self.objects.put(&key, metadata).await?;
        crash_point::reached("materialize.snapshot_written");
        store::materialize::set_written(
            &mut *self.conn().await?,
            job.job_id,
            which,
            &pending.channels,
            &pending.captured,
            i64::try_from(bytes).unwrap_or(i64::MAX),
            &self.objects.url().location(&key),
        )
        .await?;
        Ok(())
    }

    /// Deletes the snapshots that an unsuccessful job wrote: nobody ever saw them. Its target's segments are
    /// the collector's again.
    pub(super) async fn give_up_snapshots(&self, job: &RestoreJob) -> Result<(), RunError> {
        let snapshots = store::materialize::written(&mut *self.conn().await?, job.job_id).await?;
        let metadata = snapshots.iter().map(|id| keys::metadata(job.collection_id, SnapshotId(*id)));
        self.delete_all(metadata.collect()).await?;
        loop {
            let mut conn = self.conn().await?;
            let released = store::materialize::release_references(&mut conn, job.job_id, DELETE_PAGE).await?;
            let page = store::materialize::unreferenced_manifests(&mut conn, job.collection_id, DELETE_PAGE).await?;
            drop(conn);
            if page.is_empty() && released == 0 {
                break;
            }
            let of = |m: &CondemnedManifest| keys::manifest(m.collection_id, m.owner, m.segment_id);
            self.delete_all(page.iter().map(of).collect()).await?;
            store::gc::snapshots::delete_manifests(&mut *self.conn().await?, &page).await?;
        }
        store::materialize::let_go(&mut *self.conn().await?, job.collection_id).await?;
        Ok(())
    }

    async fn delete_all(&self, keys: Vec<String>) -> Result<(), RunError> {
        match self.objects.delete(keys).await.into_iter().next() {
            None => Ok(()),
            Some((key, error)) => Err(RunError::Retry(
                Code::StorageUnavailable.error(format!("{key} could not be deleted: {error}")),
            )),
        }
    }
}

/// The target as a snapshot's metadata file names it.
fn target_of(job: &RestoreJob, source: &Snapshot, captured: &CapturedCollection) -> Collection {
    Collection {
        collection_id: job.collection_id,
        db_id: source.db_id,
        db_name: source.db_name.clone(),
        name: job.collection_name.clone(),
        ownership: Ownership::Owned,
        dropped: false,
        num_shards: captured.num_shards,
        consistency_level: captured.consistency_level.clone(),
        schema: captured.schema.clone(),
        properties: captured.properties.clone(),
        created_at: source.created_at,
    }
}

fn mapped(partition: &Partition, ids: &HashMap<PartitionId, PartitionId>) -> Result<Partition> {
    let id = ids.get(&partition.partition_id);
    let id = id.ok_or_else(|| Error::internal(format!("the target has no partition for {:?}", partition.name)))?;
    Ok(Partition {
        partition_id: *id,
        name: partition.name.clone(),
    })
}

/// A captured channel by the name that the target gives it.
fn renamed(channel: &Channel, job: &RestoreJob) -> Channel {
    Channel {
        channel_name: channel_name(job.collection_id, channel.shard_no),
        ..channel.clone()
    }
}
