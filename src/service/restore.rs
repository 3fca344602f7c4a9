//! Restore jobs as their callers see them: ask and look.

use super::collections::channel_name;
use super::paths::{check_name, database};
use super::plan::name_taken;
use super::restore_check::{check_aliases, check_options, warnings};
use super::snapshots::{SnapshotRef, find};
use super::{Service, commit};
use crate::crash_point;
use crate::domain::access::Caller;
use crate::domain::bundle::Place;
use crate::domain::collection::{Channel, Collection, Ownership, Partition};
use crate::domain::id::{CollectionId, DatabaseId, JobId, PartitionId, TaskId};
use crate::domain::page::{Page, PageRequest};
use crate::domain::restore::{JobKind, JobState, RestoreJob, RestoreOptions, TaskKind, TaskView};
use crate::domain::schedule::Control;
use crate::domain::snapshot::CapturedCollection;
use crate::domain::{Code, Error, Result};
use crate::store::jobs::{JobFilter, NewJob};
use crate::store::{self, PgConnection};
use crate::telemetry;
use std::time::Duration;
use time::OffsetDateTime;

/// A restore to be started.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    pub source: SnapshotRef,
    /// Database of the target.
    pub db_name: String,
    /// Name of the target; must be free.
    pub collection_name: String,
    pub options: RestoreOptions,
    /// Its share and limits at first.
    pub control: Control,
}

impl Service {
    /// Starts a restore: checks what is cheap, reserves the target's name, and queues the job.
    ///
    /// # Errors
    /// `snapshot_not_found`, `snapshot_name_ambiguous`, `database_not_found`,
    /// `collection_already_exists`, `partition_not_found`, `partition_required`,
    /// `alias_already_exists`, `invalid_request`.
    pub async fn start_restore(&self, request: &RestoreRequest) -> Result<RestoreJob> {
        check_name("/collection_name", &request.collection_name)?;
        request.control.check()?;
        self.caller.need_collection(&request.db_name, &request.collection_name)?;
        let mut tx = self.begin().await?;
        let snapshot = find(&mut tx, &self.caller, &request.source, false).await?;
        if !store::snapshots::hold(&mut tx, snapshot.snapshot_id).await? {
            return Err(Code::SnapshotNotFound.error(format!("snapshot {:?} has just been dropped", snapshot.name)));
        }
        let captured = store::snapshots::description(&mut tx, snapshot.snapshot_id).await?;
        check_options(&captured, &request.options)
            .into_iter()
            .next()
            .map_or(Ok(()), Err)?;
        may_take_aliases(&self.caller, request, &captured)?;
        let first = store::catalog::allocate_ids(&mut tx, 3 + captured.partitions.len() as i64).await?;
        let (job_id, collection_id, task_id) = (JobId(first), CollectionId(first + 1), TaskId(first + 2));
        let target = NewTarget {
            db_name: &request.db_name,
            collection_name: &request.collection_name,
            options: &request.options,
            captured: &captured,
            channels: &snapshot.channels,
        };
        reserve_target(&mut tx, &self.caller, &target, collection_id, first + 3).await?;
        let db = database(&mut tx, &self.caller, &request.db_name).await?;
        let taken = check_aliases(&mut tx, db.db_id, &captured, &request.options, &request.collection_name).await?;
        taken.into_iter().next().map_or(Ok(()), Err)?;
        store::jobs::insert(
            &mut tx,
            &NewJob {
                job_id,
                kind: JobKind::Restore,
                snapshot_id: Some(snapshot.snapshot_id),
                snapshot_name: &snapshot.name,
                source_collection_name: &snapshot.collection_name,
                db_id: db.db_id,
                collection_name: &request.collection_name,
                collection_id,
                options: &request.options,
                control: &request.control,
            },
        )
        .await?;
        let now_ms = store::catalog::now_millis(&mut tx).await?;
        let warnings = warnings(&snapshot, &captured, &request.options, now_ms);
        store::jobs::set_warnings(&mut tx, job_id, &warnings).await?;
        belongs_to_this_trace(&mut tx, job_id).await?;
        store::tasks::enqueue(&mut tx, task_id, job_id, TaskKind::Validate, None).await?;
        let job = one_job(&mut tx, &self.caller, job_id).await?;
        crash_point::reached("restore.reserved");
        commit(tx).await?;
        crash_point::reached("restore.queued");
        Ok(job)
    }

    /// Finds a job of any kind.
    ///
    /// # Errors
    /// `restore_job_not_found`, also when its history has expired.
    pub async fn job(&self, id: JobId) -> Result<RestoreJob> {
        one_job(&mut *self.conn().await?, &self.caller, id).await
    }

    /// The trace of the request that a job came from, as a W3C `traceparent`; none when that was not
    /// traced.
    ///
    /// # Errors
    /// Database errors.
    pub async fn job_traceparent(&self, id: JobId) -> Result<Option<String>> {
        store::jobs::traceparent(&mut *self.conn().await?, id).await
    }

    /// Finds a job that is no export.
    ///
    /// # Errors
    /// `restore_job_not_found`, also when its history has expired.
    pub async fn restore_job(&self, id: JobId) -> Result<RestoreJob> {
        one_restore(&mut *self.conn().await?, &self.caller, id).await
    }

    /// Lists restores, newest first.
    ///
    /// # Errors
    /// `database_not_found`, `invalid_page_token`.
    pub async fn list_restore_jobs(
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
            exports: Some(false),
            ..JobFilter::default()
        };
        self.list_jobs("restore-jobs", db_name, wanted, page).await
    }

    /// Lists jobs of a family, newest first, of a database where one is named.
    pub(super) async fn list_jobs(
        &self,
        family: &str,
        db_name: Option<&str>,
        wanted: JobFilter,
        page: &PageRequest,
    ) -> Result<Page<RestoreJob>> {
        let mut conn = self.conn().await?;
        if let (Some(db), Some(name)) = (db_name, &wanted.collection_name) {
            self.caller.need_collection(db, name)?;
        }
        let db = match db_name {
            Some(name) => Some(database(&mut conn, &self.caller, name).await?.db_id),
            None => None,
        };
        let filter = JobFilter {
            db,
            visible: self.caller.visible(),
            ..wanted
        };
        let list = format!("{family}?{filter:?}");
        let items = store::jobs::list(&mut conn, &filter, page.cursor(&list)?, page.limit()).await?;
        Ok(page.page(&list, items, store::jobs::cursor))
    }

    /// Lists the restore jobs of one target, newest first, whatever it was called when they were asked for.
    ///
    /// # Errors
    /// `database_not_found`, `invalid_page_token`.
    pub async fn list_restore_jobs_of(&self, db_name: &str, target: &JobTarget, page: &PageRequest) -> Result<Page<RestoreJob>> {
        let (collection, present_name) = match target {
            JobTarget::Living(id) => (Some(*id), None),
            JobTarget::Named(name) => (None, Some(name.clone())),
        };
        let wanted = JobFilter {
            collection,
            present_name,
            exports: Some(false),
            ..JobFilter::default()
        };
        self.list_jobs("restore-jobs", Some(db_name), wanted, page).await
    }

    /// The present name of a job's target; the one that it had where the caller may not know the present one.
    pub fn name_of_target<'a>(&self, job: &'a RestoreJob) -> &'a str {
        if self.caller.sees(&job.db_name, &job.present_name) {
            &job.present_name
        } else {
            &job.collection_name
        }
    }

    /// Lists the tasks of a job by id.
    ///
    /// # Errors
    /// `restore_job_not_found`.
    pub async fn list_restore_tasks(&self, id: JobId, page: &PageRequest) -> Result<Page<TaskView>> {
        let mut conn = self.conn().await?;
        one_restore(&mut conn, &self.caller, id).await?;
        tasks_of(&mut conn, "restore-tasks", id, page).await
    }
}

/// Lists the tasks of a job that the caller may see, by id.
pub(super) async fn tasks_of(conn: &mut PgConnection, family: &str, id: JobId, page: &PageRequest) -> Result<Page<TaskView>> {
    let list = format!("{family}?{id}");
    let after: Option<i64> = page.cursor(&list)?;
    let items = store::jobs::tasks(conn, id, after, page.limit()).await?;
    Ok(page.page(&list, items, |t| t.task_id.0))
}

pub(super) fn job_not_found(id: JobId) -> Error {
    Code::RestoreJobNotFound.error(format!("restore job not found: {id}; its history may have expired"))
}

/// Notes the trace that asks for a job, so that the job's tasks go on with it.
pub(super) async fn belongs_to_this_trace(conn: &mut PgConnection, job: JobId) -> Result<()> {
    match telemetry::traceparent() {
        Some(traceparent) => store::jobs::set_traceparent(conn, job, &traceparent).await,
        None => Ok(()),
    }
}

/// Finds a job that is a restore.
pub(super) async fn one_restore(conn: &mut PgConnection, caller: &Caller, id: JobId) -> Result<RestoreJob> {
    match seen_job(conn, caller, id).await? {
        job if job.kind == JobKind::Export => Err(job_not_found(id)),
        job => permitted(caller, job),
    }
}

/// Finds a job of any kind whose collection the caller may read; on that it needs the operation's
/// permission. The collection of a restore is its target, that of an export its source.
pub(super) async fn one_job(conn: &mut PgConnection, caller: &Caller, id: JobId) -> Result<RestoreJob> {
    permitted(caller, seen_job(conn, caller, id).await?)
}

/// Finds a job of any kind that exists for the caller.
pub(super) async fn seen_job(conn: &mut PgConnection, caller: &Caller, id: JobId) -> Result<RestoreJob> {
    caller.note(format!("job {id}"));
    let job = any_job(conn, id).await?;
    if caller.sees(&job.db_name, &job.collection_name) {
        Ok(job)
    } else {
        Err(job_not_found(id))
    }
}

/// Whether the caller may do this to a job that it sees.
pub(super) fn permitted(caller: &Caller, job: RestoreJob) -> Result<RestoreJob> {
    caller.need_collection(&job.db_name, &job.collection_name)?;
    Ok(job)
}

async fn any_job(conn: &mut PgConnection, id: JobId) -> Result<RestoreJob> {
    let filter = JobFilter {
        job: Some(id),
        ..JobFilter::default()
    };
    store::jobs::list(conn, &filter, None, 1)
        .await?
        .pop()
        .ok_or_else(|| job_not_found(id))
}

/// How long a copy may still appear after its worker has gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Margins {
    own: Duration,
    elsewhere: Duration,
}

impl Service {
    pub(super) fn margins(&self) -> Margins {
        Margins {
            own: self.objects.copy_margin(),
            elsewhere: self.objects.longest_copy_margin(),
        }
    }
}

/// Ends a locked job as failed or cancelled: frees the name, drops the target, and queues the
/// deletion of what was copied for when the last lease has run out. The cost does not grow with
/// the target: what it consists of is marked by the clean-up.
pub(super) async fn end_unsuccessfully(
    conn: &mut PgConnection,
    id: JobId,
    state: JobState,
    code: Option<Code>,
    reason: &str,
    margins: Margins,
) -> Result<()> {
    let job = any_job(conn, id).await?;
    // a claim that is under way would not be seen, and its task would run on in an ended job
    store::control::lock_claims(conn).await?;
    let last_lease = store::tasks::cancel_running(conn, id).await?;
    // and for copies that a worker sent off before its lease ran out
    let is_elsewhere = match job.kind {
        JobKind::Export => store::bundles::find(conn, id).await?.is_some_and(|b| b.place != Place::Own),
        JobKind::Restore | JobKind::External | JobKind::Materialize => false,
    };
    let no_writer_after = last_lease + if is_elsewhere { margins.elsewhere } else { margins.own };
    match job.kind {
        JobKind::Restore => store::targets::discard(conn, job.collection_id).await?,
        JobKind::External => {
            store::targets::discard(conn, job.collection_id).await?;
            // only the clean-up of an export goes to where they lead
            store::bundles::forget_credentials(conn, id).await?;
        }
        JobKind::Materialize => {
            store::targets::discard(conn, job.collection_id).await?;
            store::materialize::release(conn, id).await?;
        }
        JobKind::Export => {}
    }
    store::jobs::finish(conn, id, state, code.map(Code::as_str), reason, true).await?;
    let task = TaskId(store::catalog::allocate_ids(conn, 1).await?);
    store::tasks::enqueue(conn, task, id, TaskKind::Cleanup, Some(no_writer_after)).await
}

/// Whether the caller may give the target the captured aliases, where that is asked for.
pub(super) fn may_take_aliases(caller: &Caller, request: &RestoreRequest, captured: &CapturedCollection) -> Result<()> {
    let aliases = captured.aliases.iter().filter(|_| request.options.aliases);
    for alias in aliases {
        caller.need_collection(&request.db_name, alias)?;
    }
    Ok(())
}

/// Whose jobs are listed.
#[derive(Debug, Clone)]
pub enum JobTarget {
    Living(CollectionId),
    /// One that is not there yet, or not any more, by its last name.
    Named(String),
}

/// The target of a restore about to be inserted.
pub(super) struct NewTarget<'a> {
    pub db_name: &'a str,
    pub collection_name: &'a str,
    pub options: &'a RestoreOptions,
    pub captured: &'a CapturedCollection,
    pub channels: &'a [Channel],
}

/// Inserts the invisible target with its name reserved, its partitions, channels and indexes. Gives its
/// database.
pub(super) async fn reserve_target(
    conn: &mut PgConnection,
    caller: &Caller,
    new: &NewTarget<'_>,
    collection_id: CollectionId,
    first_partition: i64,
) -> Result<DatabaseId> {
    let captured = new.captured;
    let db = database(conn, caller, new.db_name).await?;
    let target = Collection {
        collection_id,
        db_id: db.db_id,
        db_name: db.name,
        name: new.collection_name.to_string(),
        ownership: Ownership::Owned,
        dropped: false,
        num_shards: captured.num_shards,
        consistency_level: captured.consistency_level.clone(),
        schema: captured.schema.clone(),
        properties: new.options.apply(&captured.properties),
        // the catalog sets its own time
        created_at: OffsetDateTime::UNIX_EPOCH,
    };
    store::collections::insert(conn, &target, true).await?;
    store::names::reserve(conn, db.db_id, &target.name, collection_id, || name_taken(&target.name)).await?;
    for (at, partition) in captured.partitions.iter().enumerate() {
        let partition = Partition {
            partition_id: PartitionId(first_partition + at as i64),
            name: new.options.partition_name(&partition.name).to_string(),
        };
        store::partitions::insert(conn, collection_id, &partition).await?;
    }
    for channel in new.channels {
        let channel = Channel {
            channel_name: channel_name(collection_id, channel.shard_no),
            shard_no: channel.shard_no,
            // inherited, so that a snapshot of the restored collection works
            seek_position: channel.seek_position.clone(),
        };
        store::channels::insert(conn, collection_id, &channel).await?;
    }
    for index in &captured.indexes {
        store::indexes::insert(conn, collection_id, index).await?;
    }
    Ok(target.db_id)
}
