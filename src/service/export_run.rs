//! What the tasks of an export do before and after the copies: check the sources, write the
//! bundle's own files, clean up.

use std::collections::HashSet;

use sha2::{Digest as _, Sha256};

use super::restore_check::{PAGE, files};
use super::restore_run::{Outcome, RunError};
use super::source::job_snapshot;
use super::stores::below;
use super::{Service, commit};
use crate::crash_point;
use crate::domain::manifest::{Manifest, ManifestEncoding, SnapshotMetadata, WrittenManifest};
use crate::domain::plan::Room;
use crate::domain::restore::{ClaimedTask, JobKind, JobState, RestoreJob};
use crate::domain::snapshot::{CapturedCollection, Snapshot};
use crate::domain::verification::Level;
use crate::domain::{Code, Error, Result, key};
use crate::objects::{Objects, bundle, hex, keys, metadata};
use crate::store;
use crate::store::bundles::Bundle;
use crate::store::tasks::NewCopy;

/// Where Milvus writes the metadata first (facts §6.6).
const STAGING: &str = "_staging/metadata.json";
/// Objects deleted at a time.
const DELETE_PAGE: usize = 1000;
/// Bytes of an object key at most; S3's limit.
const MAX_KEY: usize = 1024;

impl Service {
    /// Checks that every source file is there with its recorded size, then inserts the copy tasks page
    /// by page, fenced by the task's attempt.
    pub(super) async fn validate_export(&self, task: &ClaimedTask, job: &RestoreJob) -> Result<Outcome, RunError> {
        self.begin_validation(task).await?;
        let bundle = self.bundle_of(job).await?;
        let tree = self.bundle_tree(job.job_id, &bundle)?;
        let snapshot = job_snapshot(&mut *self.conn().await?, job).await?;
        let found = self.inspect(snapshot.snapshot_id, Level::Checksum, |_| true).await?;
        if let Some(error) = found.problems.error() {
            return Err(RunError::Fail(error));
        }
        let free_bytes = tree.objects().free_bytes().await?;
        let room = Room {
            free_bytes: free_bytes.map(|n| i64::try_from(n).unwrap_or(i64::MAX)),
            claimed_bytes: 0,
            quota_bytes: None,
            used_bytes: None,
        };
        if let Some(error) = room.lacks(found.bytes) {
            return Err(RunError::Fail(error));
        }
        let longest = below(tree.objects().url().root(), &tree.key("")).len();
        let mut done = store::tasks::laid_out(&mut *self.conn().await?, job.job_id).await?;
        loop {
            let mut tx = self.begin().await?;
            let page = store::snapshots::manifests(&mut tx, snapshot.snapshot_id, done.last, PAGE).await?;
            let Some(last) = page.last() else { break };
            done.last = Some(last.segment.segment_id.0);
            let (mut copies, mut kept) = (Vec::with_capacity(page.len()), Vec::new());
            let first = store::catalog::allocate_ids(&mut tx, page.len() as i64).await?;
            for (task_id, manifest) in (first..).zip(&page) {
                refuse_unfit(manifest, longest)?;
                let mut ids: Vec<i64> = builds(manifest).collect();
                ids.sort_unstable();
                ids.dedup();
                // a bundle keeps ids
                kept.extend(ids.into_iter().map(|id| (id, id, manifest.segment.segment_id.0)));
                let copy = copy_of(manifest, task_id, done.segments);
                done.segments += 1;
                done.files += copy.files;
                done.bytes += copy.bytes;
                copies.push(copy);
            }
            store::targets::insert_build_ids(&mut tx, job.job_id, &kept).await?;
            store::tasks::enqueue_copies(&mut tx, job.job_id, &copies).await?;
            // the fence comes last: a heartbeat waits for whoever has locked the task's row
            if !store::tasks::holds(&mut tx, task).await? {
                return Ok(Outcome::Lost);
            }
            commit(tx).await?;
        }
        let tx = self.begin().await?;
        let outcome = self.end_validation(tx, task, job, &done).await?;
        crash_point::reached("export.laid_out");
        Ok(outcome)
    }

    /// Writes manifests and metadata of a bundle whose files are all there. The metadata file comes last,
    /// so that a reader sees a whole bundle or none. A later attempt writes the same again.
    pub(super) async fn publish_export(&self, task: &ClaimedTask, job: &RestoreJob) -> Result<Outcome, RunError> {
        if let Some(outcome) = self.prove_again(task, job).await? {
            return Ok(outcome);
        }
        let target = self.bundle_of(job).await?;
        let objects = self.bundle_tree(job.job_id, &target)?.objects().clone();
        let mut conn = self.conn().await?;
        let snapshot = job_snapshot(&mut conn, job).await?;
        let captured = store::snapshots::description(&mut conn, snapshot.snapshot_id).await?;
        drop(conn);
        let (manifests, mut build_ids) = self.write_bundle_manifests(&objects, &target, &snapshot).await?;
        crash_point::reached("export.manifests_written");
        build_ids.sort_unstable();
        build_ids.dedup();
        let content = bundle_metadata(&snapshot, captured, manifests, build_ids);
        let original = self.metadata_of_another_writer(&snapshot).await?;
        let root = whole_root(&objects, &target);
        let location = objects.url().milvus_location(&target.metadata_key);
        let bytes = tokio::task::spawn_blocking(move || encode_bundle(&content, original.as_deref(), &root, &location))
            .await
            .map_err(Error::internal)?;
        let staging = below(&target.root, STAGING);
        objects.put(&staging, bytes.clone()).await?;
        crash_point::reached("export.staged");
        let mut tx = self.begin().await?;
        if store::jobs::lock(&mut tx, task.job_id).await? == Some(JobState::Paused) {
            // nothing of a paused job may appear
            drop(tx);
            self.hand_back(task).await?;
            return Ok(Outcome::HandedBack);
        }
        if !store::tasks::holds(&mut tx, task).await? {
            return Ok(Outcome::Lost);
        }
        drop(tx);
        objects.put(&target.metadata_key, bytes).await?;
        crash_point::reached("export.metadata_written");
        for (key, error) in objects.delete(vec![staging]).await {
            tracing::warn!(key, error = %error, cause = error.cause_chain(), "could not delete the staged metadata of a bundle, it stays");
        }
        let mut tx = self.begin().await?;
        let sums = store::job_history::sums(&mut tx, task.job_id).await?;
        store::jobs::lock(&mut tx, task.job_id).await?;
        if !store::tasks::succeed(&mut tx, task, None).await? {
            return Ok(Outcome::Lost);
        }
        store::jobs::finish(&mut tx, job.job_id, JobState::Completed, None, "", false).await?;
        store::job_history::keep_sums(&mut tx, job.job_id, &sums).await?;
        store::bundles::forget_credentials(&mut tx, job.job_id).await?;
        commit(tx).await?;
        crash_point::reached("export.published");
        tracing::info!(
            job.id = %job.job_id, snapshot.id = %snapshot.snapshot_id, snapshot.name = job.snapshot_name, bundle = target.location,
            bytes = job.total_bytes, took_ms = job.time_cost_ms, "export completed"
        );
        Ok(Outcome::Done)
    }

    async fn write_bundle_manifests(
        &self,
        objects: &Objects,
        target: &Bundle,
        snapshot: &Snapshot,
    ) -> Result<(Vec<WrittenManifest>, Vec<i64>)> {
        let (mut written, mut build_ids, mut after) = (Vec::new(), Vec::new(), None);
        loop {
            let page = store::snapshots::manifests(&mut *self.conn().await?, snapshot.snapshot_id, after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok((written, build_ids));
            };
            after = Some(last.segment.segment_id.0);
            for manifest in &page {
                build_ids.extend(builds(manifest));
            }
            let root = whole_root(objects, target);
            let (collection, id) = (snapshot.collection_id, snapshot.snapshot_id);
            let encode = move || -> Result<Vec<(WrittenManifest, Vec<u8>)>> {
                let encoded = page.into_iter().map(|manifest| {
                    let segment_id = manifest.segment.segment_id;
                    let bytes = bundle::encode(manifest, &root, ManifestEncoding::Milvus)?;
                    let manifest = WrittenManifest {
                        segment_id,
                        key: keys::manifest(collection, id, segment_id),
                        size_bytes: bytes.len() as u64,
                        sha256: hex(&Sha256::digest(&bytes)),
                    };
                    Ok((manifest, bytes))
                });
                encoded.collect()
            };
            let encoded = tokio::task::spawn_blocking(encode).await.map_err(Error::internal)??;
            let mut objects_of_page = Vec::with_capacity(encoded.len());
            for (manifest, bytes) in encoded {
                objects_of_page.push((below(&target.root, &manifest.key), bytes));
                written.push(manifest);
            }
            objects.put_many(objects_of_page).await?;
        }
    }

    /// The metadata file of a snapshot that another system wrote: it may have what we have no name for.
    pub(super) async fn metadata_of_another_writer(&self, snapshot: &Snapshot) -> Result<Option<Vec<u8>>, RunError> {
        let Some(below) = &snapshot.adopted_from else {
            return Ok(None);
        };
        let key = format!("{below}{}", keys::metadata(snapshot.collection_id, snapshot.snapshot_id));
        Ok(self.objects.get(&key, metadata::MAX_BYTES as u64).await?)
    }

    /// Deletes what an unsuccessful export wrote: everything below the directory that is its own, the
    /// metadata file first.
    pub(super) async fn clean_up_export(&self, task: &ClaimedTask, job: &RestoreJob) -> Result<Outcome, RunError> {
        self.cancel_waiting_tasks(job).await?;
        let target = self.bundle_of(job).await?;
        let abandoned = match self.bundle_tree(job.job_id, &target) {
            Ok(tree) => {
                delete_bundle(tree.objects(), &target).await?;
                false
            }
            // nobody can reach it any more: trying for ever would help nobody
            Err(RunError::Fail(error)) => {
                tracing::error!(
                    job.id = %job.job_id, bundle = target.location, error = %error,
                    "what the export copied can't be deleted any more, it stays"
                );
                true
            }
            Err(error) => return Err(error),
        };
        crash_point::reached("export.cleaned_up");
        let mut tx = self.begin().await?;
        if !store::tasks::succeed(&mut tx, task, None).await? {
            return Ok(Outcome::Lost);
        }
        store::jobs::set_cleaned(&mut tx, job.job_id, abandoned).await?;
        store::bundles::forget_credentials(&mut tx, job.job_id).await?;
        commit(tx).await?;
        Ok(Outcome::Done)
    }

    async fn bundle_of(&self, job: &RestoreJob) -> Result<Bundle, RunError> {
        let found = store::bundles::find(&mut *self.conn().await?, job.job_id).await?;
        match found {
            Some(found) if found.kind == JobKind::Export => Ok(found),
            _ => Err(RunError::Fail(Error::internal("the job has no bundle"))),
        }
    }
}

/// The metadata file, with what only its `original` says where there is one.
fn encode_bundle(content: &SnapshotMetadata, original: Option<&[u8]>, root: &str, location: &str) -> Vec<u8> {
    let rewritten = original.map(|original| metadata::rewrite_bundle(original, content, root, location));
    match rewritten {
        Some(Ok(bytes)) => return bytes,
        // a restore goes by the catalog, and so does an export
        Some(Err(error)) => tracing::warn!(
            snapshot.id = %content.snapshot_id, error = %error,
            "the metadata file of another system can't be read any more: what only it says is not exported"
        ),
        None => {}
    }
    metadata::encode_bundle(content, root, location)
}

/// The bundle's root as keys within its bucket have it.
fn whole_root(objects: &Objects, target: &Bundle) -> String {
    below(objects.url().root(), &target.root)
}

/// Build ids of a segment: of index builds, and among its own files.
fn builds(manifest: &Manifest) -> impl Iterator<Item = i64> {
    let own = manifest.segment.content.files.build_ids();
    manifest.builds.iter().map(|b| b.build_id).chain(own).map(|b| b.0)
}

fn copy_of(manifest: &Manifest, task_id: i64, turn: i64) -> NewCopy {
    let segment = &manifest.segment;
    let (files, bytes) = files(manifest).fold((0, 0), |(n, bytes), (f, _)| {
        (n + 1, bytes + i64::try_from(f.size_bytes).unwrap_or(i64::MAX))
    });
    NewCopy {
        task_id,
        source_segment: segment.segment_id.0,
        source_version: segment.version,
        target_segment: segment.segment_id.0,
        files,
        bytes,
        turn: i32::try_from(turn).unwrap_or(i32::MAX),
    }
}

/// Whether every file has a place of its own in the bundle, whose key is not too long.
fn refuse_unfit(manifest: &Manifest, prefix: usize) -> Result<(), RunError> {
    let mut seen = HashSet::new();
    for (file, _) in files(manifest) {
        let path = key::own_path(&file.path);
        if prefix + 1 + path.len() > MAX_KEY {
            return Err(RunError::Fail(Code::InvalidPath.error(format!(
                "the key of {path} would have more than {MAX_KEY} bytes in the bundle; take a shorter target path"
            ))));
        }
        if !seen.insert(path) {
            return Err(RunError::Fail(Code::InvalidPath.error(format!(
                "segment {} has two files that a bundle would call {path}",
                manifest.segment.segment_id
            ))));
        }
    }
    Ok(())
}

async fn delete_bundle(objects: &Objects, target: &Bundle) -> Result<(), RunError> {
    let refused = |failed: Vec<(String, Error)>| match failed.into_iter().next() {
        None => Ok(()),
        Some((key, error)) => Err(RunError::Retry(
            Code::StorageUnavailable.error(format!("{key} could not be deleted: {error}")),
        )),
    };
    // without it there is no bundle for anybody
    refused(objects.delete(vec![target.metadata_key.clone()]).await)?;
    debug_assert!(target.root.contains("exports/"));
    let mut left: Vec<String> = objects.list(&format!("{}/", target.root)).await?.into_keys().collect();
    left.sort();
    for page in left.chunks(DELETE_PAGE) {
        refused(objects.delete(page.to_vec()).await)?;
    }
    Ok(())
}

fn bundle_metadata(
    snapshot: &Snapshot,
    captured: CapturedCollection,
    manifests: Vec<WrittenManifest>,
    build_ids: Vec<i64>,
) -> SnapshotMetadata {
    SnapshotMetadata {
        snapshot_id: snapshot.snapshot_id,
        name: snapshot.name.clone(),
        description: snapshot.description.clone(),
        collection_id: snapshot.collection_id,
        create_ts: snapshot.create_ts,
        db_name: snapshot.db_name.clone(),
        collection_name: snapshot.collection_name.clone(),
        num_shards: captured.num_shards,
        consistency_level: captured.consistency_level,
        schema: captured.schema,
        properties: captured.properties,
        partitions: captured.partitions,
        channels: snapshot.channels.clone(),
        indexes: captured.indexes,
        // the bundle has its own copies of the files
        external: false,
        // names of this catalog
        aliases: Vec::new(),
        encoding: ManifestEncoding::Milvus,
        manifests,
        // segments that have one are refused at registration
        storagev2_manifests: Vec::new(),
        build_ids,
        num_of_rows: snapshot.totals.rows,
        file_count: snapshot.totals.files,
        size_bytes: snapshot.totals.size_bytes,
    }
}
