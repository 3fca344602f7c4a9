//! Restores from bundles as their callers ask for them: the bundle's metadata is read and checked
//! before a job is made of it.

use sha2::{Digest as _, Sha256};

use super::external_check::check_captured;
use super::external_read::{invalid, metadata_name};
use super::external_spec::ExternalSpec;
use super::paths::check_name;
use super::restore::{NewTarget, belongs_to_this_trace, one_job, reserve_target};
use super::restore_check::check_options;
use super::{Service, commit};
use crate::crash_point;
use crate::domain::access::Permission;
use crate::domain::bundle::{CapturedBundle, Place};
use crate::domain::id::{CollectionId, JobId, TaskId};
use crate::domain::plan::ttl_warning;
use crate::domain::restore::{JobKind, RestoreJob, RestoreOptions, TaskKind};
use crate::domain::schedule::Control;
use crate::domain::snapshot::CapturedCollection;
use crate::domain::{Error, Result, timestamp};
use crate::objects::metadata::{self, decode_bundle};
use crate::store;
use crate::store::bundles::Bundle;
use crate::store::jobs::NewJob;

/// A restore from a bundle to be started.
#[derive(Debug, Clone)]
pub struct ExternalRequest {
    /// Where its metadata file is: a whole URI, or a path in a store.
    pub metadata_uri: String,
    /// The store of the configuration that a path is in; none: our own.
    pub store: Option<String>,
    /// How to reach a place that is in none of the configuration's stores.
    pub external_spec: ExternalSpec,
    /// Database of the target.
    pub db_name: String,
    /// Name of the target; must be free.
    pub collection_name: String,
    pub options: RestoreOptions,
    /// Its share and limits at first.
    pub control: Control,
}

impl Service {
    /// Starts a restore from a bundle, ours or one that Milvus exported: reads its metadata file,
    /// reserves the target's name, and queues the job.
    ///
    /// # Errors
    /// `invalid_request`, `external_snapshot_not_found`, `invalid_external_snapshot`,
    /// `database_not_found`, `collection_already_exists`, `partition_not_found`, storage errors.
    pub async fn start_external_restore(&self, request: &ExternalRequest) -> Result<RestoreJob> {
        check_name("/collection_name", &request.collection_name)?;
        request.control.check()?;
        self.caller.need_collection(&request.db_name, &request.collection_name)?;
        let at = "/snapshot_metadata_uri";
        let found = self.stores.find(
            &self.objects,
            at,
            &request.metadata_uri,
            request.store.as_deref(),
            request.external_spec.clone(),
        )?;
        if found.place == Place::Own {
            // everybody's snapshots lie there, under ids that can be guessed
            self.caller.need_everywhere(Permission::Operate)?;
        }
        let name = metadata_name(&found.key).ok_or_else(|| {
            Error::invalid(
                at,
                "must end in snapshots/{collection_id}/metadata/{snapshot_id}.json, as an export's answer does",
            )
        })?;
        let objects = self.stores.reach(&self.objects, &found.place, found.credentials.clone())?;
        let bytes = self.read_bundle_metadata(&objects, &found.key).await?;
        let sum = Sha256::digest(&bytes).to_vec();
        let decoded = tokio::task::spawn_blocking(move || decode_bundle(&bytes, name.collection, name.snapshot))
            .await
            .map_err(Error::internal)?;
        let of_bundle = captured_bundle(decoded.map_err(invalid)?);
        check_captured(&of_bundle)?;
        let captured = &of_bundle.captured;
        let breaches = check_options(captured, &request.options);
        breaches.into_iter().next().map_or(Ok(()), Err)?;

        let mut tx = self.begin().await?;
        let first = store::catalog::allocate_ids(&mut tx, 3 + captured.partitions.len() as i64).await?;
        let (job_id, collection_id, task_id) = (JobId(first), CollectionId(first + 1), TaskId(first + 2));
        let target = NewTarget {
            db_name: &request.db_name,
            collection_name: &request.collection_name,
            options: &request.options,
            captured,
            channels: &of_bundle.channels,
        };
        let db_id = reserve_target(&mut tx, &self.caller, &target, collection_id, first + 3).await?;
        let sealed = match &found.credentials {
            Some(credentials) => Some(self.stores.sealer().seal(job_id, credentials)?),
            None => None,
        };
        store::jobs::insert(
            &mut tx,
            &NewJob {
                job_id,
                kind: JobKind::External,
                snapshot_id: None,
                snapshot_name: &of_bundle.snapshot_name,
                // its name where it comes from is not ours to resolve
                source_collection_name: "",
                db_id,
                collection_name: &request.collection_name,
                collection_id,
                options: &request.options,
                control: &request.control,
            },
        )
        .await?;
        let bundle = Bundle {
            kind: JobKind::External,
            place: found.place,
            root: name.root,
            location: objects.url().whole_location(&found.key),
            metadata_key: found.key,
            sealed,
            metadata_sha256: Some(sum),
        };
        store::bundles::insert(&mut tx, job_id, &bundle, Some(&of_bundle)).await?;
        let now_ms = store::catalog::now_millis(&mut tx).await?;
        let age_ms = now_ms.saturating_sub(timestamp::to_millis(of_bundle.create_ts));
        let warnings: Vec<String> = ttl_warning(&request.options.apply(&captured.properties), age_ms)
            .into_iter()
            .collect();
        store::jobs::set_warnings(&mut tx, job_id, &warnings).await?;
        belongs_to_this_trace(&mut tx, job_id).await?;
        store::tasks::enqueue(&mut tx, task_id, job_id, TaskKind::Validate, None).await?;
        let job = one_job(&mut tx, &self.caller, job_id).await?;
        commit(tx).await?;
        crash_point::reached("external.queued");
        Ok(job)
    }
}

fn captured_bundle(decoded: metadata::BundleMetadata) -> CapturedBundle {
    let metadata = decoded.metadata;
    CapturedBundle {
        snapshot_id: metadata.snapshot_id,
        snapshot_name: metadata.name,
        collection_id: metadata.collection_id,
        create_ts: metadata.create_ts,
        captured: CapturedCollection {
            num_shards: metadata.num_shards,
            consistency_level: metadata.consistency_level,
            schema: metadata.schema,
            properties: metadata.properties,
            partitions: metadata.partitions,
            indexes: metadata.indexes,
            // a metadata file has no place for them
            aliases: Vec::new(),
        },
        channels: metadata.channels,
    }
}
