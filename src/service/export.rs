//! Export jobs as their callers see them: ask, look, control.

use uuid::Uuid;

use super::external_spec::ExternalSpec;
use super::restore::{belongs_to_this_trace, one_job, permitted, seen_job, tasks_of};
use super::restore_control::{ControlChange, Family};
use super::snapshots::{SnapshotRef, find};
use super::stores::below;
use super::{Service, commit};
use crate::crash_point;
use crate::domain::access::Caller;
use crate::domain::bundle::Place;
use crate::domain::id::{JobId, TaskId};
use crate::domain::page::{Page, PageRequest};
use crate::domain::restore::{JobKind, JobState, RestoreJob, RestoreOptions, TaskKind, TaskView};
use crate::domain::schedule::Control;
use crate::domain::{Code, Error, Result, key};
use crate::objects::keys;
use crate::store::bundles::Bundle;
use crate::store::jobs::{JobFilter, NewJob};
use crate::store::{self, PgConnection};

/// An export to be started.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    pub source: SnapshotRef,
    /// A path in a store, or a whole URI; the bundle goes into a directory of its own below it.
    pub target_path: String,
    /// The store of the configuration that a path is in; none: our own.
    pub store: Option<String>,
    /// How to reach a place that is in none of the configuration's stores.
    pub external_spec: ExternalSpec,
    /// Its share and limits at first.
    pub control: Control,
}

/// Directory below the target, as Milvus has it (facts §6.6).
pub(super) const EXPORTS: &str = "exports";
/// Bytes of a target path at most: what comes below it must fit into a key.
const MAX_TARGET: usize = 500;

impl Service {
    /// Starts an export: finds the place, makes up the bundle's directory, and queues the job. While it
    /// runs the snapshot can be neither dropped nor collected.
    ///
    /// # Errors
    /// `invalid_request`, `snapshot_not_found`, `snapshot_name_ambiguous`.
    pub async fn start_export(&self, request: &ExportRequest) -> Result<RestoreJob> {
        request.control.check()?;
        let at = "/target_path";
        let found = self.stores.find(
            &self.objects,
            at,
            &request.target_path,
            request.store.as_deref(),
            request.external_spec.clone(),
        )?;
        if found.place == Place::Own {
            refuse_managed(at, &found.key)?;
        }
        if found.key.len() > MAX_TARGET {
            return Err(Error::invalid(at, format!("must have at most {MAX_TARGET} bytes")));
        }
        let root = below(&found.key, &format!("{EXPORTS}/{}", Uuid::new_v4()));
        let mut tx = self.begin().await?;
        let snapshot = find(&mut tx, &self.caller, &request.source, false).await?;
        if !store::snapshots::hold(&mut tx, snapshot.snapshot_id).await? {
            return Err(Code::SnapshotNotFound.error(format!("snapshot {:?} has just been dropped", snapshot.name)));
        }
        let first = store::catalog::allocate_ids(&mut tx, 2).await?;
        let (job_id, task_id) = (JobId(first), TaskId(first + 1));
        let metadata_key = below(&root, &keys::metadata(snapshot.collection_id, snapshot.snapshot_id));
        let objects = self.stores.reach(&self.objects, &found.place, found.credentials.clone())?;
        let sealed = match &found.credentials {
            Some(credentials) => Some(self.stores.sealer().seal(job_id, credentials)?),
            None => None,
        };
        store::jobs::insert(
            &mut tx,
            &NewJob {
                job_id,
                kind: JobKind::Export,
                snapshot_id: Some(snapshot.snapshot_id),
                snapshot_name: &snapshot.name,
                source_collection_name: &snapshot.collection_name,
                db_id: snapshot.db_id,
                collection_name: &snapshot.collection_name,
                collection_id: snapshot.collection_id,
                options: &RestoreOptions::default(),
                control: &request.control,
            },
        )
        .await?;
        let bundle = Bundle {
            kind: JobKind::Export,
            place: found.place,
            root,
            location: objects.url().whole_location(&metadata_key),
            metadata_key,
            sealed,
            metadata_sha256: None,
        };
        store::bundles::insert(&mut tx, job_id, &bundle, None).await?;
        if snapshot.external {
            let warning = "the snapshot's files belong to another system, which may delete them while they are copied";
            store::jobs::set_warnings(&mut tx, job_id, &[warning.into()]).await?;
        }
        belongs_to_this_trace(&mut tx, job_id).await?;
        store::tasks::enqueue(&mut tx, task_id, job_id, TaskKind::Validate, None).await?;
        let job = one_job(&mut tx, &self.caller, job_id).await?;
        commit(tx).await?;
        crash_point::reached("export.queued");
        Ok(job)
    }

    /// Finds an export.
    ///
    /// # Errors
    /// `export_job_not_found`, also when its history has expired.
    pub async fn export_job(&self, id: JobId) -> Result<RestoreJob> {
        one_export(&mut *self.conn().await?, &self.caller, id).await
    }

    /// Lists exports, newest first.
    ///
    /// # Errors
    /// `database_not_found`, `invalid_page_token`.
    pub async fn list_export_jobs(
        &self,
        db_name: Option<&str>,
        collection_name: Option<String>,
        snapshot_name: Option<String>,
        state: Option<JobState>,
        page: &PageRequest,
    ) -> Result<Page<RestoreJob>> {
        let wanted = JobFilter {
            collection_name,
            snapshot_name,
            state,
            exports: Some(true),
            ..JobFilter::default()
        };
        self.list_jobs("export-jobs", db_name, wanted, page).await
    }

    /// Lists the tasks of an export by id.
    ///
    /// # Errors
    /// `export_job_not_found`.
    pub async fn list_export_tasks(&self, id: JobId, page: &PageRequest) -> Result<Page<TaskView>> {
        let mut conn = self.conn().await?;
        one_export(&mut conn, &self.caller, id).await?;
        tasks_of(&mut conn, "export-tasks", id, page).await
    }

    /// Pauses an export; see [`Service::pause_restore`].
    ///
    /// # Errors
    /// `export_job_not_found`, `export_job_ended`.
    pub async fn pause_export(&self, id: JobId) -> Result<RestoreJob> {
        self.pause_job(id, Family::Exports).await
    }

    /// Lets a paused export go on.
    ///
    /// # Errors
    /// `export_job_not_found`, `export_job_ended`.
    pub async fn resume_export(&self, id: JobId) -> Result<RestoreJob> {
        self.resume_job(id, Family::Exports).await
    }

    /// Changes the priority and the limits of an export.
    ///
    /// # Errors
    /// `export_job_not_found`, `export_job_ended`, `invalid_request`.
    pub async fn change_export(&self, id: JobId, change: ControlChange) -> Result<RestoreJob> {
        self.change_job(id, Family::Exports, change).await
    }

    /// Cancels an export; what was copied is deleted when no worker can write any more.
    ///
    /// # Errors
    /// `export_job_not_found`, `export_job_ended`.
    pub async fn cancel_export(&self, id: JobId) -> Result<RestoreJob> {
        self.cancel_job(id, Family::Exports).await
    }
}

/// Where the collector looks no bundle may lie.
fn refuse_managed(at: &str, path: &str) -> Result<()> {
    let first = path.split('/').next().unwrap_or_default();
    let managed = key::managed_directories()
        .chain([keys::SNAPSHOTS])
        .any(|directory| directory.strip_suffix('/') == Some(first));
    if managed || first.starts_with(".stillframe") || first == keys::MARKER {
        return Err(Error::invalid(
            at,
            format!("must not lie in {first:?}, which the service manages"),
        ));
    }
    Ok(())
}

pub(super) fn export_not_found(id: JobId) -> Error {
    Code::ExportJobNotFound.error(format!("snapshot export job {id} not found; its history may have expired"))
}

/// Finds an export of a collection that the caller may read; on that it needs the operation's permission.
async fn one_export(conn: &mut PgConnection, caller: &Caller, id: JobId) -> Result<RestoreJob> {
    match seen_job(conn, caller, id).await {
        Ok(job) if job.kind == JobKind::Export => permitted(caller, job),
        Ok(_) => Err(export_not_found(id)),
        Err(error) if error.code() == Code::RestoreJobNotFound => Err(export_not_found(id)),
        Err(error) => Err(error),
    }
}
