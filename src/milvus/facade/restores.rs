//! Restores and their jobs.

use super::{Facade, SnapshotCall, every_page_as};
use crate::domain::collection::DEFAULT_DATABASE;
use crate::domain::id::JobId;
use crate::domain::restore::{JobKind, JobState, RestoreJob, RestoreOptions};
use crate::domain::schedule::Control;
use crate::domain::{Code, Error};
use crate::milvus::names;
use crate::milvus::proto::milvus::RestoreSnapshotState;
use crate::milvus::status::{Refusal, code};
use crate::service::{JobTarget, RestoreRequest};

/// A restore to be started.
#[derive(Debug, Clone, Copy)]
pub struct RestoreCall<'a> {
    pub source: SnapshotCall<'a>,
    /// Empty: the source's.
    pub target_db_name: &'a str,
    /// Empty, in the older form of the call: what it names as collection is the target.
    pub target_collection_name: &'a str,
}

/// Milvus' state of a job: it knows no more than these (design §5).
pub fn state_number(state: JobState) -> RestoreSnapshotState {
    match state {
        JobState::Pending => RestoreSnapshotState::RestoreSnapshotPending,
        JobState::Validating | JobState::InProgress | JobState::Publishing | JobState::Paused => {
            RestoreSnapshotState::RestoreSnapshotExecuting
        }
        JobState::Completed => RestoreSnapshotState::RestoreSnapshotCompleted,
        JobState::Failed | JobState::Cancelled => RestoreSnapshotState::RestoreSnapshotFailed,
    }
}

/// A failure to start a restore; that the target exists already has the words of Milvus and of its guide. `code` is
/// Milvus' for the call: its restore meets it while it creates the collection, its external restore looks first.
pub(super) fn target_exists(error: Error, code: i32, target: &str, db_name: &str) -> Refusal {
    match error.code() {
        Code::CollectionAlreadyExists => Refusal::from(error).say(
            code,
            format!(
                "collection already exists (duplicate collection): target collection {target} already exists in database {db_name}"
            ),
        ),
        _ => error.into(),
    }
}

/// A failure to find a job; that there is none has Milvus' text. `code` is Milvus' for the call: a restore job is one of
/// its imports, the id of an export job a parameter.
pub(super) fn unknown_job(error: Error, unknown: Code, code: i32, text: impl Fn() -> String) -> Refusal {
    if error.code() == unknown {
        Refusal::from(error).say(code, text())
    } else {
        error.into()
    }
}

fn of_a_snapshot(job: RestoreJob) -> Option<RestoreJob> {
    (job.kind != JobKind::Materialize).then_some(job)
}

impl Facade {
    /// Starts a restore; gives the job's id.
    ///
    /// # Errors
    /// In Milvus' words; no gRPC or HTTP failure.
    pub async fn restore_snapshot(&self, call: RestoreCall<'_>) -> Result<JobId, Refusal> {
        let mut source = call.source;
        let mut target = call.target_collection_name.trim();
        if target.is_empty() {
            // the guide's form: restore_snapshot(snapshot_name, collection_name), the target
            target = source.collection_name.trim();
            source.collection_name = "";
        }
        let wanted = source.to_read()?;
        if target.is_empty() {
            return Err(Refusal::missing("target_collection_name is required for restore snapshot"));
        }
        let target = names::collection(target)?;
        let target_db = names::database(call.target_db_name, Some(source.db_name));
        let request = RestoreRequest {
            source: wanted.clone(),
            db_name: target_db.to_string(),
            collection_name: target.to_string(),
            options: RestoreOptions::default(),
            control: Control::default(),
        };
        match self.service.start_restore(&request).await {
            Ok(job) => Ok(job.job_id),
            Err(error) if error.code() == Code::CollectionAlreadyExists => {
                Err(target_exists(error, code::UNTYPED, target, target_db))
            }
            Err(error) => Err(self.explained(error, &wanted, "restore snapshot").await),
        }
    }

    /// Finds a job. Its target is called as it is now.
    ///
    /// # Errors
    /// In Milvus' words; no gRPC or HTTP failure.
    pub async fn restore_job(&self, job_id: i64) -> Result<RestoreJob, Refusal> {
        let found = self.service.restore_job(JobId(job_id)).await;
        let text = || format!("restore job not found: jobID={job_id}");
        let found = found.map_err(|error| unknown_job(error, Code::RestoreJobNotFound, code::IMPORT_FAILED, text))?;
        Ok(self.by_present_name(found))
    }

    /// Lists jobs, newest first: of a database, or all; or those of one target, by its name or alias in a
    /// database. Targets are called as they are now. Jobs that materialize a collection, which are of no one
    /// snapshot, are not among them: Milvus has none.
    ///
    /// # Errors
    /// In Milvus' words; no gRPC or HTTP failure.
    pub async fn restore_jobs(&self, db_name: Option<&str>, collection_name: &str) -> Result<Vec<RestoreJob>, Refusal> {
        let name = collection_name.trim();
        let jobs = if name.is_empty() {
            let read = |page| async move { self.service.list_restore_jobs(db_name, None, None, None, &page).await };
            every_page_as(read, of_a_snapshot).await?
        } else {
            self.jobs_of_target(db_name.unwrap_or(DEFAULT_DATABASE), name).await?
        };
        Ok(jobs.into_iter().map(|job| self.by_present_name(job)).collect())
    }

    /// In Milvus a target is there from the request on, and stays when the job fails. Here it is not there while
    /// the job runs and after it failed: such jobs are found by the name that the target has, or had.
    async fn jobs_of_target(&self, db_name: &str, name: &str) -> Result<Vec<RestoreJob>, Refusal> {
        let (target, unknown) = match self.service.collection(db_name, name).await {
            Ok(found) => (JobTarget::Living(found.collection_id), None),
            Err(error) if error.code() == Code::CollectionNotFound => (JobTarget::Named(name.to_string()), Some(error)),
            Err(error) => return Err(error.into()),
        };
        let target = &target;
        let read = |page| async move { self.service.list_restore_jobs_of(db_name, target, &page).await };
        let jobs = every_page_as(read, of_a_snapshot).await?;
        match unknown {
            Some(error) if jobs.is_empty() => Err(error.into()),
            _ => Ok(jobs),
        }
    }

    fn by_present_name(&self, job: RestoreJob) -> RestoreJob {
        let collection_name = self.service.name_of_target(&job).to_string();
        RestoreJob { collection_name, ..job }
    }
}
