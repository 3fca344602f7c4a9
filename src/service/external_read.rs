//! First phase of a restore from a bundle: its metadata and manifests are read and checked, its files
//! looked for, and what was found is noted in the job's own rows; then the target is laid out as that
//! of any restore.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use super::external_check::{check_totals, fill_sizes, refuse_foreign};
use super::registration::directories;
use super::restore_check::{PAGE, files, listed_together};
use super::restore_run::{Outcome, RunError};
use super::{Service, commit, stores};
use crate::crash_point;
use crate::domain::id::{CollectionId, SnapshotId};
use crate::domain::manifest::{Manifest, WrittenManifest};
use crate::domain::problem::Problems;
use crate::domain::restore::{ClaimedTask, RestoreJob};
use crate::domain::{Code, Error, Result};
use crate::objects::keys::{self, SnapshotObject};
use crate::objects::metadata::{BundleMetadata, decode_bundle};
use crate::objects::{Objects, Tree, bundle, hex, manifest, metadata};
use crate::store;
use crate::store::bundles::Bundle;

/// What the key of a metadata file says.
pub(super) struct MetadataName {
    /// Key of the bundle's root, without slashes at its ends.
    pub root: String,
    pub collection: CollectionId,
    pub snapshot: SnapshotId,
}

/// Reads the key of a metadata file: `{root}/snapshots/{collection_id}/metadata/{snapshot_id}.json`.
pub(super) fn metadata_name(key: &str) -> Option<MetadataName> {
    let at = match key.rfind(&format!("/{}", keys::SNAPSHOTS)) {
        Some(at) => at + 1,
        None => key.starts_with(keys::SNAPSHOTS).then_some(0)?,
    };
    let SnapshotObject::Metadata(snapshot) = keys::parse(&key[at..])? else {
        return None;
    };
    let collection = key[at..].split('/').nth(1)?.parse().ok()?;
    Some(MetadataName {
        root: key[..at].trim_end_matches('/').to_string(),
        collection,
        snapshot,
    })
}

/// What is wrong with somebody's bundle is no failure of ours.
pub(super) fn invalid(error: Error) -> Error {
    match error.code() {
        Code::CorruptSnapshot => Code::InvalidExternalSnapshot.error(error.detail().to_string()),
        _ => error,
    }
}

/// A found bundle counts up what it consists of.
#[derive(Default)]
struct Counted {
    files: i64,
    bytes: i64,
    problems: Problems,
}

impl Service {
    /// Reads the metadata file of a bundle.
    ///
    /// # Errors
    /// `external_snapshot_not_found`, `invalid_external_snapshot` when it is too large, storage errors.
    pub(super) async fn read_bundle_metadata(&self, objects: &Objects, key: &str) -> Result<Vec<u8>> {
        let limit = metadata::MAX_BYTES as u64;
        let too_large = |size: u64| {
            Code::InvalidExternalSnapshot.error(format!(
                "the metadata file {key} has {size} bytes, at most {limit} are allowed"
            ))
        };
        if let Some(size) = objects.size(key).await?.filter(|size| *size > limit) {
            return Err(too_large(size));
        }
        objects.get(key, limit).await?.ok_or_else(|| {
            Code::ExternalSnapshotNotFound.error(format!("there is no metadata file {}", objects.url().whole_location(key)))
        })
    }

    pub(super) async fn validate_external(&self, task: &ClaimedTask, job: &RestoreJob) -> Result<Outcome, RunError> {
        self.begin_validation(task).await?;
        let found = store::bundles::find(&mut *self.conn().await?, job.job_id).await?;
        let found = found.ok_or_else(|| RunError::Fail(Error::internal("the job has no bundle")))?;
        let tree = self.bundle_tree(job.job_id, &found)?;
        let bundle = self.reread_metadata(tree.objects(), &found).await?;
        let source = self.restore_source(job).await?;
        let mut counted = Counted::default();
        let mut left = bundle.metadata.manifests.clone();
        left.sort_by_key(|m| m.segment_id);
        for page in left.chunks(PAGE as usize) {
            let mut manifests = self.read_manifests(tree.objects(), &found, &bundle, page).await?;
            manifests.retain(|m| source.mapping.takes(&m.segment));
            for manifest in &manifests {
                refuse_foreign(manifest, &bundle.metadata).map_err(fail)?;
            }
            self.look_for_files(&tree, &mut manifests, &mut counted).await?;
            if counted.problems.total > 0 {
                // the rest is looked at too, so that every missing file is named
                continue;
            }
            let mut tx = self.begin().await?;
            store::bundles::set_sources(&mut tx, job.job_id, &manifests).await?;
            if !store::tasks::holds(&mut tx, task).await? {
                return Ok(Outcome::Lost);
            }
            commit(tx).await?;
        }
        if let Some(error) = counted.problems.error() {
            return Err(RunError::Fail(error));
        }
        if job.options.partitions.is_empty() {
            check_totals(&bundle.metadata, counted.files, counted.bytes).map_err(fail)?;
        }
        if let Some(error) = self.room(&mut *self.conn().await?).await?.lacks(counted.bytes) {
            return Err(RunError::Fail(error));
        }
        crash_point::reached("external.sources_noted");
        self.lay_out(task, job, &source).await
    }

    /// The metadata again; it must be what the request saw.
    async fn reread_metadata(&self, objects: &Objects, found: &Bundle) -> Result<BundleMetadata, RunError> {
        let bytes = match self.read_bundle_metadata(objects, &found.metadata_key).await {
            Err(error) if error.code() == Code::ExternalSnapshotNotFound => return Err(RunError::Fail(error)),
            read => read?,
        };
        if found.metadata_sha256.as_deref() != Some(&Sha256::digest(&bytes)[..]) {
            // Milvus' own text (facts §6.6)
            let changed = Code::ExternalSnapshotChanged.error("external snapshot changed after preflight validation");
            return Err(RunError::Fail(changed));
        }
        let name = metadata_name(&found.metadata_key).ok_or_else(|| RunError::Fail(Error::internal("no name of metadata")))?;
        let decoded = tokio::task::spawn_blocking(move || decode_bundle(&bytes, name.collection, name.snapshot)).await;
        decoded.map_err(Error::internal)?.map_err(fail)
    }

    async fn read_manifests(
        &self,
        objects: &Objects,
        found: &Bundle,
        bundle: &BundleMetadata,
        page: &[WrittenManifest],
    ) -> Result<Vec<Manifest>, RunError> {
        let reads = page.iter().map(|m| read_manifest(objects, found, bundle, m));
        let reads: Vec<_> = reads.collect();
        stream::iter(reads)
            .buffered(self.settings.list_concurrency)
            .try_collect()
            .await
    }

    /// Looks for every file of some segments. What a listing says of a file's size goes where the manifest
    /// does not.
    async fn look_for_files(&self, tree: &Tree, manifests: &mut [Manifest], counted: &mut Counted) -> Result<(), RunError> {
        let mut left = manifests;
        while !left.is_empty() {
            let (part, others) = left.split_at_mut(listed_together(left));
            let paths = part.iter().flat_map(files).map(|(file, _)| file.path.as_str());
            let listed = tree.list_all(directories(paths)?).await?;
            for manifest in part {
                fill_sizes(manifest, &listed, &mut counted.problems);
                for (file, _) in files(manifest) {
                    counted.files += 1;
                    counted.bytes += i64::try_from(file.size_bytes).unwrap_or(i64::MAX);
                }
            }
            left = others;
        }
        Ok(())
    }
}

async fn read_manifest(
    objects: &Objects,
    found: &Bundle,
    of: &BundleMetadata,
    written: &WrittenManifest,
) -> Result<Manifest, RunError> {
    let key = stores::below(&found.root, &written.key);
    let wrong = |why: String| RunError::Fail(Code::InvalidExternalSnapshot.error(format!("the manifest {key} {why}")));
    let limit = manifest::MAX_BYTES as u64;
    let size = objects.size(&key).await?;
    if size.is_some_and(|size| size > limit) {
        return Err(wrong(format!("has more than {limit} bytes")));
    }
    let Some(bytes) = objects.get(&key, limit).await? else {
        return Err(RunError::Fail(
            Code::FileMissing.error(format!("the manifest {key} is missing")),
        ));
    };
    if !written.sha256.is_empty() && hex(&Sha256::digest(&bytes)) != written.sha256 {
        return Err(wrong("is not the one that the metadata names: it has another SHA-256".into()));
    }
    let (version, root, collection) = (of.format_version, of.written_root.clone(), of.metadata.collection_id);
    let decoded = tokio::task::spawn_blocking(move || bundle::decode(&bytes, version, &root, collection)).await;
    let decoded = decoded
        .map_err(Error::internal)?
        .map_err(|e| wrong(format!("can't be read: {e}")))?;
    if decoded.segment.segment_id != written.segment_id {
        return Err(wrong(format!(
            "is of segment {}, its name says {}",
            decoded.segment.segment_id, written.segment_id
        )));
    }
    Ok(decoded)
}

/// What is wrong with a bundle stays wrong.
fn fail(error: Error) -> RunError {
    RunError::Fail(invalid(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_metadata_file_names_root_collection_and_snapshot() {
        let name = metadata_name("a/snapshots/exports/u/snapshots/1/metadata/2.json").expect("one");
        assert_eq!(
            (name.root.as_str(), name.collection, name.snapshot),
            ("a/snapshots/exports/u", CollectionId(1), SnapshotId(2))
        );
        assert_eq!(metadata_name("snapshots/1/metadata/2.json").expect("one").root, "");
        for other in [
            "a/snapshots/1/metadata/02.json",
            "a/snapshots/1/manifests/2/3.avro",
            "asnapshots/1/metadata/2.json",
            "a/snapshots/1/metadata/2.json/x",
            "",
        ] {
            assert!(metadata_name(other).is_none(), "{other}");
        }
    }
}
