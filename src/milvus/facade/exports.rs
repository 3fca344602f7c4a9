//! Exports of snapshots as bundles, and restores from bundles (facts §6.6).

use super::restores::{target_exists, unknown_job};
use super::{Facade, SnapshotCall};
use crate::domain::Code;
use crate::domain::id::JobId;
use crate::domain::restore::{JobState, RestoreJob, RestoreOptions};
use crate::domain::schedule::Control;
use crate::milvus::names;
use crate::milvus::proto::milvus::ExportSnapshotState;
use crate::milvus::status::{Refusal, code};
use crate::service::{ExportRequest, ExternalRequest, ExternalSpec};

/// An export to be started. Not `Debug`: `external_spec` may hold secrets.
#[derive(Clone, Copy)]
pub struct ExportCall<'a> {
    pub source: SnapshotCall<'a>,
    /// A path in our own storage, or the whole URI of a place in any store that may be used.
    pub target_s3_path: &'a str,
    /// JSON text; empty: the place is one that the service reaches by itself.
    pub external_spec: &'a str,
}

/// A restore from a bundle to be started. Not `Debug`: `external_spec` may hold secrets.
#[derive(Clone, Copy)]
pub struct ExternalCall<'a> {
    /// Database of the target.
    pub db_name: &'a str,
    pub target_collection_name: &'a str,
    /// Where the bundle's metadata file is.
    pub snapshot_metadata_uri: &'a str,
    /// As [`ExportCall::external_spec`].
    pub external_spec: &'a str,
}

/// An export job as Milvus shows one.
#[derive(Debug)]
pub struct ExportInfo {
    pub state: ExportSnapshotState,
    /// Percent.
    pub progress: i32,
    /// Empty unless the job is completed: before that the bundle is not whole.
    pub snapshot_metadata_uri: String,
    pub job: RestoreJob,
}

impl From<RestoreJob> for ExportInfo {
    fn from(mut job: RestoreJob) -> Self {
        let uri = job.bundle_uri.take();
        Self {
            state: export_state(job.state),
            // Milvus says so of every job that publishes, of one without files too
            progress: if job.state == JobState::Publishing {
                99
            } else {
                job.progress()
            },
            snapshot_metadata_uri: uri.filter(|_| job.state == JobState::Completed).unwrap_or_default(),
            job,
        }
    }
}

fn export_state(state: JobState) -> ExportSnapshotState {
    match state {
        JobState::Pending => ExportSnapshotState::ExportSnapshotPending,
        JobState::Validating | JobState::InProgress | JobState::Publishing | JobState::Paused => {
            ExportSnapshotState::ExportSnapshotExecuting
        }
        JobState::Completed => ExportSnapshotState::ExportSnapshotCompleted,
        JobState::Failed | JobState::Cancelled => ExportSnapshotState::ExportSnapshotFailed,
    }
}

impl Facade {
    /// Starts an export; gives the job's id.
    ///
    /// # Errors
    /// In Milvus' words; no gRPC or HTTP failure.
    pub async fn export_snapshot(&self, call: ExportCall<'_>) -> Result<JobId, Refusal> {
        let source = call.source.to_read()?;
        let target = call.target_s3_path.trim();
        if target.is_empty() {
            return Err(Refusal::missing("target_s3_path is required"));
        }
        let request = ExportRequest {
            source: source.clone(),
            target_path: target.to_string(),
            store: None,
            external_spec: ExternalSpec::from_text(call.external_spec)?,
            control: Control::default(),
        };
        match self.service.start_export(&request).await {
            Ok(job) => Ok(job.job_id),
            Err(error) => Err(in_milvus_fields(self.explained(error, &source, "export snapshot").await)),
        }
    }

    /// Finds an export.
    ///
    /// # Errors
    /// In Milvus' words; no gRPC or HTTP failure.
    pub async fn export_job(&self, job_id: i64) -> Result<ExportInfo, Refusal> {
        let text = || format!("snapshot export job {job_id} not found");
        let found = self.service.export_job(JobId(job_id)).await;
        let job = found.map_err(|error| unknown_job(error, Code::ExportJobNotFound, code::PARAMETER_INVALID, text))?;
        Ok(job.into())
    }

    /// Starts a restore from a bundle; gives the job's id. The job is among those of other restores.
    ///
    /// # Errors
    /// In Milvus' words; no gRPC or HTTP failure.
    pub async fn restore_external(&self, call: ExternalCall<'_>) -> Result<JobId, Refusal> {
        let (target, uri) = (call.target_collection_name.trim(), call.snapshot_metadata_uri.trim());
        if target.is_empty() {
            return Err(Refusal::missing(
                "target_collection_name is required for restore external snapshot",
            ));
        }
        let target = names::collection(target)?;
        if uri.is_empty() {
            return Err(Refusal::missing("snapshot_s3_location is required"));
        }
        let request = ExternalRequest {
            metadata_uri: uri.to_string(),
            store: None,
            external_spec: ExternalSpec::from_text(call.external_spec)?,
            db_name: call.db_name.to_string(),
            collection_name: target.to_string(),
            options: RestoreOptions::default(),
            control: Control::default(),
        };
        match self.service.start_external_restore(&request).await {
            Ok(job) => Ok(job.job_id),
            Err(error) => Err(target_exists(error, code::PARAMETER_INVALID, target, call.db_name)),
        }
    }
}

/// Our request calls the target otherwise.
fn in_milvus_fields(refusal: Refusal) -> Refusal {
    match refusal.reason().strip_prefix("/target_path: ") {
        Some(why) if refusal.code() == code::PARAMETER_INVALID => {
            let text = format!("target_s3_path {why}");
            refusal.say(code::PARAMETER_INVALID, text)
        }
        _ => refusal,
    }
}
