//! Restores and their jobs.

use super::{Facade, SnapshotCall, every_page};
use crate::domain::id::JobId;
use crate::domain::restore::{JobState, RestoreJob, RestoreOptions};
use crate::domain::schedule::Control;
use crate::domain::{Code, Error};
use crate::milvus::names;
use crate::milvus::proto::milvus::RestoreSnapshotState;
use crate::milvus::status::{Refusal, code};
use crate::service::RestoreRequest;

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

/// A failure to start a restore; that the target exists already has the words of Milvus and of its guide.
pub(super) fn target_exists(error: Error, target: &str, db_name: &str) -> Refusal {
    match error.code() {
        Code::CollectionAlreadyExists => Refusal::from(error).say(
            code::UNTYPED,
            format!(
                "collection already exists (duplicate collection): target collection {target} already exists in database {db_name}"
            ),
        ),
        _ => error.into(),
    }
}

/// A failure to find a job; that there is none has Milvus' text.
pub(super) fn unknown_job(error: Error, unknown: Code, text: impl Fn() -> String) -> Refusal {
    if error.code() == unknown {
        Refusal::from(error).say(code::IMPORT_FAILED, text())
    } else {
        error.into()
    }
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
            Err(error) if error.code() == Code::CollectionAlreadyExists => Err(target_exists(error, target, target_db)),
            Err(error) => Err(self.explained(error, &wanted, "restore snapshot").await),
        }
    }

    /// Finds a job.
    ///
    /// # Errors
    /// In Milvus' words; no gRPC or HTTP failure.
    pub async fn restore_job(&self, job_id: i64) -> Result<RestoreJob, Refusal> {
        let found = self.service.restore_job(JobId(job_id)).await;
        let text = || format!("restore job not found: jobID={job_id}");
        found.map_err(|error| unknown_job(error, Code::RestoreJobNotFound, text))
    }

    /// Lists jobs, newest first: to a target, of a database, or all.
    ///
    /// # Errors
    /// In Milvus' words; no gRPC or HTTP failure.
    pub async fn restore_jobs(&self, db_name: Option<&str>, collection_name: &str) -> Result<Vec<RestoreJob>, Refusal> {
        let target = Some(collection_name.trim()).filter(|name| !name.is_empty());
        let jobs = every_page(|page| async move {
            self.service
                .list_restore_jobs(db_name, target.map(str::to_string), None, None, &page)
                .await
        });
        Ok(jobs.await?)
    }
}
