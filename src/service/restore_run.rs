//! Running claimed tasks. Whether an error is tried again is decided where it is met.

use super::restore::{end_unsuccessfully, one_job};
use super::restore_check::alias_taken;
use super::restore_copy::CopyProgress;
use super::{Service, commit};
use crate::crash_point;
use crate::domain::id::TaskId;
use crate::domain::restore::{Beat, ClaimedTask, JobKind, JobState, RestoreJob, TaskKind, backoff_ms};
use crate::domain::{Code, Error, Result};
use crate::store;
use crate::store::names::NameKind;
use crate::store::tasks::Release;
use uuid::Uuid;

/// How a task ended for its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, and that is recorded.
    Done,
    /// It failed and will be tried again.
    Retried,
    /// It failed for good, and its job with it.
    Failed,
    /// Another worker has it: nothing was written.
    Lost,
    /// Its job was paused meanwhile, or another one needs the worker: it is for later.
    HandedBack,
}

/// Why a task could not be done.
#[derive(Debug)]
pub(super) enum RunError {
    /// Trying again may help.
    Retry(Error),
    /// Trying again is useless: the job fails.
    Fail(Error),
}

impl From<Error> for RunError {
    /// What is not said to be final may pass: a database that restarts, a storage that is slow.
    fn from(error: Error) -> Self {
        match error.code() {
            Code::InsufficientStorage => RunError::Fail(error),
            _ => RunError::Retry(error),
        }
    }
}

/// Claims of one task in a row that never ended, whatever became of the workers, before its job fails.
const MAX_UNENDED: i32 = 50;
/// Rows that a clean-up marks at a time; bounds the length of locks.
const CLEANUP_PAGE: i64 = 1000;
/// Pause before a clean-up that met another run of the collector is tried again.
const CLEANUP_WAIT_MS: i64 = 1000;
/// Pauses before a failed task is tried again.
const RETRY_BASE_MS: u64 = 1000;
const RETRY_CAP_MS: u64 = 60_000;

impl Service {
    /// Claims due tasks for a worker, at most `limit`.
    ///
    /// # Errors
    /// Database errors.
    pub async fn claim_tasks(&self, worker: Uuid, limit: usize) -> Result<Vec<ClaimedTask>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut tx = self.begin().await?;
        store::control::lock_claims(&mut tx).await?;
        let claimed = store::claims::claim(&mut tx, worker, self.task_lease_ms(), limit).await?;
        commit(tx).await?;
        Ok(claimed)
    }

    fn task_lease_ms(&self) -> i64 {
        i64::try_from(self.settings.task_lease.as_millis()).unwrap_or(i64::MAX)
    }

    /// Milliseconds until a task is due or a lease expires; none when there is nothing.
    ///
    /// # Errors
    /// Database errors.
    pub async fn next_task_due_ms(&self) -> Result<Option<i64>> {
        store::claims::next_due_ms(&mut *self.conn().await?).await
    }

    /// Renews the lease of a task with its progress.
    ///
    /// # Errors
    /// Database errors; the lease runs on meanwhile.
    pub async fn heartbeat(&self, task: &ClaimedTask, progress: &CopyProgress) -> Result<Beat> {
        let heard = store::tasks::heartbeat(&mut *self.conn().await?, task, progress.read(), self.task_lease_ms()).await?;
        progress.throttle.set(heard.bytes_per_second);
        Ok(heard.beat)
    }

    /// Whether a task on a full worker should be handed back for a job that waits with nothing
    /// running; `proving` take no place of the worker.
    ///
    /// # Errors
    /// Database errors.
    pub async fn should_make_room(&self, task: &ClaimedTask, proving: &[TaskId]) -> Result<bool> {
        store::claims::should_make_room(&mut *self.conn().await?, task, proving).await
    }

    /// Hands a task back unfinished (shutdown, pause, a lowered limit); it is charged neither a
    /// failure nor the claim.
    ///
    /// # Errors
    /// Database errors; the lease then runs out by itself.
    pub async fn hand_back(&self, task: &ClaimedTask) -> Result<()> {
        let mut conn = self.conn().await?;
        store::tasks::release(&mut conn, task, Release::HandedBack, 0).await?;
        store::catalog::notify_workers(&mut conn).await
    }

    /// The same for a job that waits with nothing running; this task's job stands behind it.
    ///
    /// # Errors
    /// Database errors; the lease then runs out by itself.
    pub async fn make_room(&self, task: &ClaimedTask) -> Result<()> {
        let mut conn = self.conn().await?;
        store::tasks::release(&mut conn, task, Release::MadeRoom, 0).await?;
        store::catalog::notify_workers(&mut conn).await
    }

    /// Runs a claimed task to its recorded end: done, to be tried again, or failed with its job.
    ///
    /// # Errors
    /// Database errors while the end was recorded; the lease then runs out and the task is
    /// claimed again.
    pub async fn run_task(&self, task: &ClaimedTask, progress: &CopyProgress) -> Result<Outcome> {
        let unended = task.attempt - 1 - task.last_ended;
        if unended >= MAX_UNENDED && task.kind != TaskKind::Cleanup {
            let error = Code::RestoreFailed.error(format!(
                "task {} was claimed {unended} times in a row and never ended",
                task.task_id
            ));
            return self.fail_task(task, &error).await;
        }
        let result = match task.kind {
            TaskKind::Validate => match one_job(&mut *self.conn().await?, &self.caller, task.job_id).await {
                Ok(job) => match job.kind {
                    JobKind::Restore => self.validate_restore(task, &job).await,
                    JobKind::Export => self.validate_export(task, &job).await,
                    JobKind::External => self.validate_external(task, &job).await,
                    JobKind::Materialize => self.validate_materialize(task, &job).await,
                },
                Err(e) => Err(e.into()),
            },
            TaskKind::Copy => self.copy_segment(task, progress).await,
            TaskKind::Publish => match one_job(&mut *self.conn().await?, &self.caller, task.job_id).await {
                Ok(job) => match job.kind {
                    JobKind::Restore | JobKind::External => self.publish_restore(task, &job).await,
                    JobKind::Export => self.publish_export(task, &job).await,
                    JobKind::Materialize => self.publish_materialized(task, &job).await,
                },
                Err(e) => Err(e.into()),
            },
            TaskKind::Cleanup => match one_job(&mut *self.conn().await?, &self.caller, task.job_id).await {
                Ok(job) if job.kind == JobKind::Export => self.clean_up_export(task, &job).await,
                Ok(job) => self.clean_up_restore(task, &job).await,
                Err(e) => Err(e.into()),
            },
        };
        if result.is_err() {
            // what was done and tried again counts, also when it was in vain
            self.heartbeat(task, progress).await?;
        }
        match result {
            Ok(outcome) => Ok(outcome),
            Err(error) => self.end_attempt(task, error).await,
        }
    }

    /// Records that an attempt of a task panicked; it is tried again like after other failures.
    ///
    /// # Errors
    /// As [`Service::run_task`].
    pub async fn task_panicked(&self, task: &ClaimedTask, panic: &str) -> Result<Outcome> {
        self.end_attempt(task, RunError::Retry(Error::internal(format!("panic: {panic}"))))
            .await
    }

    async fn end_attempt(&self, task: &ClaimedTask, error: RunError) -> Result<Outcome> {
        let Some(waited) = store::tasks::waited(&mut *self.conn().await?, task).await? else {
            return Ok(Outcome::Lost);
        };
        let (RunError::Retry(cause) | RunError::Fail(cause)) = &error;
        let text = cause.to_string();
        let (patient, tries, why) = match cause.code() {
            // waiting is not failing: an outage of what lies below costs no try
            Code::StorageUnavailable | Code::DatabaseUnavailable => {
                let patience = i64::try_from(self.settings.outage_patience.as_millis()).unwrap_or(i64::MAX);
                let patient = waited.ms < patience && matches!(error, RunError::Retry(_));
                (patient, waited.outages, Release::Outage(&text))
            }
            // a job that has copied nothing loses nothing by failing at once
            Code::StorageAccessDenied => {
                let patient = waited.denials + 1 < self.settings.denied_tries
                    && store::tasks::has_copied(&mut *self.conn().await?, task.job_id).await?;
                (patient, waited.denials, Release::Denied(&text))
            }
            _ => {
                let patient = task.failures + 1 < self.settings.task_failures && matches!(error, RunError::Retry(_));
                (patient, task.failures, Release::Failed(&text))
            }
        };
        // leftovers are tried for ever: giving up would leak them
        if patient || task.kind == TaskKind::Cleanup {
            self.retry_task(task, cause, tries, why).await
        } else {
            self.fail_task(task, cause).await
        }
    }

    async fn retry_task(&self, task: &ClaimedTask, error: &Error, tries: i32, why: Release<'_>) -> Result<Outcome> {
        let tries = u32::try_from(tries + 1).unwrap_or(1);
        let delay = backoff_ms(tries, RETRY_BASE_MS, RETRY_CAP_MS, rand::random());
        tracing::warn!(
            job.id = %task.job_id, task.id = %task.task_id, kind = task.kind.as_str(), delay_ms = delay,
            error = %error, cause = error.cause_chain(), "task failed, trying again"
        );
        let mut conn = self.conn().await?;
        let delay = i64::try_from(delay).unwrap_or(i64::MAX);
        let kept = store::tasks::release(&mut conn, task, why, delay).await?;
        Ok(if kept { Outcome::Retried } else { Outcome::Lost })
    }

    async fn fail_task(&self, task: &ClaimedTask, error: &Error) -> Result<Outcome> {
        tracing::error!(
            job.id = %task.job_id, task.id = %task.task_id, kind = task.kind.as_str(),
            error = %error, cause = error.cause_chain(), "job failed"
        );
        let mut tx = self.begin().await?;
        let state = store::jobs::lock(&mut tx, task.job_id).await?;
        if !store::tasks::fail(&mut tx, task, &error.to_string()).await? {
            return Ok(Outcome::Lost);
        }
        if state.is_some_and(|s| !s.is_final()) {
            end_unsuccessfully(
                &mut tx,
                task.job_id,
                JobState::Failed,
                Some(error.code()),
                &error.to_string(),
                self.margins(),
            )
            .await?;
        }
        commit(tx).await?;
        crash_point::reached("restore.failed");
        Ok(Outcome::Failed)
    }

    /// Makes the target visible: collection, segments and builds in one transaction.
    async fn publish_restore(&self, task: &ClaimedTask, job: &RestoreJob) -> Result<Outcome, RunError> {
        if let Some(outcome) = self.prove_again(task, job).await? {
            return Ok(outcome);
        }
        // before the job is completed, and outside of any transaction
        let Some(receipt) = self.write_receipt(job).await? else {
            return Ok(Outcome::Lost);
        };
        let aliases = self.aliases_to_restore(job).await?;
        let mut tx = self.begin().await?;
        let (segments, builds) = store::targets::publish(&mut tx, job.collection_id).await?;
        if i64::try_from(segments).unwrap_or(i64::MAX) != job.total_segments {
            let why = format!("{segments} segments would be published, {} were restored", job.total_segments);
            return Err(RunError::Fail(Error::internal(why)));
        }
        let sums = store::job_history::sums(&mut tx, task.job_id).await?;
        // the fence comes last: a heartbeat waits for whoever has written the task's row
        let state = store::jobs::lock(&mut tx, task.job_id).await?;
        if state == Some(JobState::Paused) {
            // nothing of a paused job may appear
            drop(tx);
            self.hand_back(task).await?;
            return Ok(Outcome::HandedBack);
        }
        if !store::tasks::succeed(&mut tx, task, None).await? {
            return Ok(Outcome::Lost);
        }
        store::names::publish(&mut tx, job.collection_id).await?;
        for alias in &aliases {
            let taken = store::names::take(&mut tx, job.db_id, alias, NameKind::Alias, job.collection_id, || {
                alias_taken(alias)
            })
            .await;
            taken.map_err(|error| match error.code() {
                Code::AliasAlreadyExists => RunError::Fail(error),
                _ => RunError::Retry(error),
            })?;
        }
        store::receipts::complete(&mut tx, job.job_id, &receipt).await?;
        store::collections::publish(&mut tx, job.collection_id).await?;
        store::jobs::finish(&mut tx, job.job_id, JobState::Completed, None, "", false).await?;
        store::job_history::keep_sums(&mut tx, job.job_id, &sums).await?;
        store::bundles::forget_credentials(&mut tx, job.job_id).await?;
        crash_point::reached("restore.publishing");
        commit(tx).await?;
        crash_point::reached("restore.published");
        // of no use any more; what an outage keeps goes with the job's history
        if let Err(error) = self.forget_sources(job).await {
            tracing::warn!(job.id = %job.job_id, error = %error, cause = error.cause_chain(), "can't forget the segments of a bundle");
        }
        tracing::info!(
            job.id = %job.job_id, collection.id = %job.collection_id, collection.name = job.collection_name, segments, builds,
            bytes = job.total_bytes, took_ms = job.time_cost_ms, "restore completed"
        );
        Ok(Outcome::Done)
    }

    /// Deletes what a restore noted of its bundle, a part at a time.
    pub(super) async fn forget_sources(&self, job: &RestoreJob) -> Result<()> {
        while store::bundles::forget_sources(&mut *self.conn().await?, job.job_id, CLEANUP_PAGE).await? > 0 {}
        Ok(())
    }

    /// Marks the waiting tasks of an unsuccessful job as cancelled, a part at a time.
    pub(super) async fn cancel_waiting_tasks(&self, job: &RestoreJob) -> Result<()> {
        while store::tasks::cancel_waiting(&mut *self.conn().await?, job.job_id, CLEANUP_PAGE).await? > 0 {}
        Ok(())
    }

    /// Marks what is left of an unsuccessful job, a part at a time: its waiting tasks as
    /// cancelled, its target's segments and builds as dropped.
    async fn give_up_target(&self, job: &RestoreJob) -> Result<()> {
        self.cancel_waiting_tasks(job).await?;
        self.forget_sources(job).await?;
        loop {
            let mut tx = self.begin().await?;
            let dropped = store::targets::drop_contents(&mut tx, job.collection_id, CLEANUP_PAGE).await?;
            commit(tx).await?;
            if dropped == 0 {
                return Ok(());
            }
        }
    }

    /// The aliases that the source had, where the request wants them.
    async fn aliases_to_restore(&self, job: &RestoreJob) -> Result<Vec<String>> {
        match job.snapshot_id {
            Some(snapshot) if job.options.aliases => {
                let captured = store::snapshots::description(&mut *self.conn().await?, snapshot).await?;
                Ok(captured.aliases)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Deletes what an unsuccessful job copied.
    async fn clean_up_restore(&self, task: &ClaimedTask, job: &RestoreJob) -> Result<Outcome, RunError> {
        self.give_up_target(job).await?;
        if job.kind == JobKind::Materialize {
            self.give_up_snapshots(job).await?;
        }
        let report = match self.collect_collection(job.collection_id).await {
            Ok(report) => report,
            // waiting is not failing, and keeps no worker busy
            Err(error) if error.code() == Code::GcRunInProgress => {
                let mut conn = self.conn().await?;
                let what = match store::gc_runs::running(&mut conn).await? {
                    Some(run) => format!("waits for collector run {run}"),
                    None => "waits for the clean-up of another job".to_string(),
                };
                let kept = store::tasks::release(&mut conn, task, Release::Waits(&what), CLEANUP_WAIT_MS).await?;
                return Ok(if kept { Outcome::HandedBack } else { Outcome::Lost });
            }
            Err(error) => return Err(error.into()),
        };
        crash_point::reached("restore.cleaned_up");
        if report.failed_objects > 0 {
            let first = report
                .failures
                .first()
                .map(|f| format!("{}: {}", f.key, f.reason))
                .unwrap_or_default();
            let why = format!("{} objects could not be deleted, for example {first}", report.failed_objects);
            return Err(RunError::Retry(Code::StorageUnavailable.error(why)));
        }
        let mut tx = self.begin().await?;
        if store::gc::anything_left(&mut tx, job.collection_id).await? {
            return Err(RunError::Retry(
                Code::StorageUnavailable.error("something of the target is still there"),
            ));
        }
        if !store::tasks::succeed(&mut tx, task, None).await? {
            return Ok(Outcome::Lost);
        }
        store::jobs::set_cleaned(&mut tx, job.job_id, false).await?;
        commit(tx).await?;
        Ok(Outcome::Done)
    }
}
