//! Restore jobs and their tasks.
//!
//! A job: `Pending -> Validating -> InProgress -> Publishing -> Completed`, from each of the first
//! four to `Paused` and back, and from all of these to `Failed` or `Cancelled`. A task: `available -> running -> succeeded | failed |
//! cancelled`; a retry goes back to `available` with a later `run_at`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::id::{CollectionId, DatabaseId, JobId, SnapshotId, TaskId};
use super::schedule::Control;
use super::schema::Params;

/// State of a restore job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    Pending,
    Validating,
    InProgress,
    Publishing,
    /// Nothing runs; it goes on from where it was when it is resumed.
    Paused,
    Completed,
    Failed,
    Cancelled,
}

impl JobState {
    pub const ALL: [JobState; 8] = [
        JobState::Pending,
        JobState::Validating,
        JobState::InProgress,
        JobState::Publishing,
        JobState::Paused,
        JobState::Completed,
        JobState::Failed,
        JobState::Cancelled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Pending => "Pending",
            JobState::Validating => "Validating",
            JobState::InProgress => "InProgress",
            JobState::Publishing => "Publishing",
            JobState::Paused => "Paused",
            JobState::Completed => "Completed",
            JobState::Failed => "Failed",
            JobState::Cancelled => "Cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// Whether the job has ended.
    pub fn is_final(self) -> bool {
        matches!(self, JobState::Completed | JobState::Failed | JobState::Cancelled)
    }
}

/// What a job copies, and whereto.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// A snapshot into a new collection.
    Restore,
    /// A snapshot into a bundle.
    Export,
    /// A bundle into a new collection.
    External,
    /// An external collection, with its snapshots, into one of our own that takes its place.
    Materialize,
}

impl JobKind {
    pub fn as_str(self) -> &'static str {
        match self {
            JobKind::Restore => "restore",
            JobKind::Export => "export",
            JobKind::External => "external",
            JobKind::Materialize => "materialize",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Restore, Self::Export, Self::External, Self::Materialize]
            .into_iter()
            .find(|k| k.as_str() == text)
    }
}

/// What a restore request asked for beyond the names.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RestoreOptions {
    /// Names of the partitions to restore; empty: all.
    #[serde(default)]
    pub partitions: Vec<String>,
    /// Properties to set; `null` drops one.
    #[serde(default)]
    pub properties: BTreeMap<String, Option<String>>,
    /// New names of partitions, by captured name.
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
    /// Give the target the aliases that the source had.
    #[serde(default)]
    pub aliases: bool,
}

impl RestoreOptions {
    /// The name that a captured partition gets.
    pub fn partition_name<'a>(&'a self, captured: &'a str) -> &'a str {
        self.rename.get(captured).map_or(captured, String::as_str)
    }

    /// The properties of the target, from those of the source.
    pub fn apply(&self, source: &Params) -> Params {
        let mut properties = source.clone();
        for (key, value) in &self.properties {
            match value {
                Some(value) => properties.insert(key.clone(), value.clone()),
                None => properties.remove(key),
            };
        }
        properties
    }
}

/// A job: a restore, or an export.
#[derive(Debug, Clone, PartialEq)]
pub struct RestoreJob {
    pub job_id: JobId,
    pub kind: JobKind,
    /// Whole URI of the metadata file of the bundle that it writes or reads.
    pub bundle_uri: Option<String>,
    pub snapshot_id: Option<SnapshotId>,
    pub snapshot_name: String,
    pub source_collection_name: String,
    pub db_id: DatabaseId,
    pub db_name: String,
    /// As it was called when the job was asked for.
    pub collection_name: String,
    /// As it is called now, or was called last.
    pub present_name: String,
    pub collection_id: CollectionId,
    pub options: RestoreOptions,
    pub control: Control,
    pub state: JobState,
    /// Of a paused job: the state that it goes on from.
    pub resume_state: Option<JobState>,
    pub reason: String,
    pub error_code: Option<String>,
    /// Files and bytes to copy; zero until validated.
    pub total_files: i64,
    pub total_bytes: i64,
    pub total_segments: i64,
    pub done_files: i64,
    pub done_bytes: i64,
    pub done_segments: i64,
    /// Copies of single files that were tried again.
    pub retries: i64,
    /// What the operator should know although it does not stop the job.
    pub warnings: Vec<String>,
    /// `none`, `pending`, `done` or `abandoned`: whether the objects of an unsuccessful job are gone.
    pub cleanup: String,
    pub created_at: OffsetDateTime,
    pub finished_at: Option<OffsetDateTime>,
    /// Milliseconds from the request to the end, or to now.
    pub time_cost_ms: i64,
    /// Of an ended job: milliseconds in which it copied; pauses, outages and waiting for workers are
    /// left out.
    pub copy_ms: Option<i64>,
    /// Of a running job: what was copied lately.
    pub recent: Option<Recent>,
    /// What it waits for.
    pub waiting: Option<Waiting>,
}

/// What a running job copied in the last half minute, or since it went on if that is shorter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recent {
    pub files: f64,
    pub bytes: f64,
    pub ms: i64,
}

/// The object storage or the database does not answer, or access is refused, and the job waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub since: OffsetDateTime,
    /// The last error.
    pub error: String,
}

impl RestoreJob {
    /// Percentage by bytes. 100 is said of a completed job only.
    pub fn progress(&self) -> i32 {
        match self.state {
            JobState::Completed => 100,
            _ => percentage(self.done_bytes, self.total_bytes).min(99),
        }
    }

    /// Bytes and files a second: of a running job lately, none when nothing was copied in the last
    /// half minute; of an ended one over the time in which it copied.
    pub fn rates(&self) -> Option<(f64, f64)> {
        let (bytes, files, ms) = match self.recent {
            _ if self.state.is_final() => (self.done_bytes as f64, self.done_files as f64, self.copy_ms?),
            recent => recent.map(|r| (r.bytes, r.files, r.ms))?,
        };
        let seconds = (ms > 0).then_some(ms as f64 / 1000.0)?;
        Some((bytes / seconds, files / seconds)).filter(|_| self.state.is_final() || files > 0.0 || bytes > 0.0)
    }

    /// Seconds that the rest will take at the recent rate; none unless it is copying.
    pub fn eta_seconds(&self) -> Option<i64> {
        if self.state != JobState::InProgress {
            return None;
        }
        let (bytes, _) = self.rates().filter(|(bytes, _)| *bytes > 0.0)?;
        let left = self.total_bytes.saturating_sub(self.done_bytes).max(0);
        Some((left as f64 / bytes).ceil() as i64)
    }
}

fn percentage(done: i64, total: i64) -> i32 {
    if total <= 0 {
        return 0;
    }
    i32::try_from(i128::from(done.clamp(0, total)) * 100 / i128::from(total)).unwrap_or(100)
}

/// Kind of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// Check the sources and lay out the target.
    Validate,
    /// Copy the files of one segment.
    Copy,
    /// Make the target visible.
    Publish,
    /// Delete what an unsuccessful job copied.
    Cleanup,
}

impl TaskKind {
    pub fn as_str(self) -> &'static str {
        match self {
            TaskKind::Validate => "validate",
            TaskKind::Copy => "copy",
            TaskKind::Publish => "publish",
            TaskKind::Cleanup => "cleanup",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Validate, Self::Copy, Self::Publish, Self::Cleanup]
            .into_iter()
            .find(|k| k.as_str() == text)
    }
}

/// A claimed task. Every write about it names `attempt`.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedTask {
    pub task_id: TaskId,
    pub job_id: JobId,
    pub kind: TaskKind,
    pub attempt: i32,
    pub failures: i32,
    /// The last attempt whose end was recorded, well or not; those after it never ended.
    pub last_ended: i32,
    /// Copies of single files that earlier attempts tried again.
    pub retries: i64,
    /// The worker that had it and let its lease run out: it is gone or cut off.
    pub taken_from: Option<Uuid>,
}

/// What a heartbeat tells a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// The lease is renewed: go on.
    Continue,
    /// Stop and hand the task back: its job is paused, or has more running tasks than it may.
    HandBack,
    /// The job has ended (cancelled, failed) or the lease is lost: stop, write nothing more.
    Stop,
}

/// Progress of a running copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    pub files: i64,
    pub bytes: i64,
    pub retries: i64,
}

/// A task as the API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskView {
    pub task_id: TaskId,
    pub kind: String,
    pub state: String,
    pub source_segment_id: Option<i64>,
    pub target_segment_id: Option<i64>,
    pub attempt: i32,
    pub failures: i32,
    /// Attempts since the last progress for which the storage or the database did not answer, or refused access.
    pub outages: i32,
    pub total_files: i64,
    pub total_bytes: i64,
    pub done_files: i64,
    pub done_bytes: i64,
    pub retries: i64,
    pub last_error: String,
    /// The process that holds or held the lease.
    pub worker_id: Option<Uuid>,
    /// Of a running task: when another worker may take it.
    pub lease_expires_at: Option<OffsetDateTime>,
    /// Not before this time.
    pub run_at: OffsetDateTime,
    pub finished_at: Option<OffsetDateTime>,
}

/// Milliseconds to wait before the given attempt (1 = first retry): doubling from `base_ms`,
/// at most `cap_ms`, with the upper half random. `random` lies in 0..1.
pub fn backoff_ms(attempt: u32, base_ms: u64, cap_ms: u64, random: f64) -> u64 {
    let full = base_ms
        .saturating_mul(1u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX))
        .min(cap_ms);
    let half = full / 2;
    half + (half as f64 * random.clamp(0.0, 1.0)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_by_bytes_and_never_says_100_too_early() {
        assert_eq!(percentage(0, 0), 0);
        assert_eq!(percentage(1, 3), 33);
        assert_eq!(percentage(i64::MAX, i64::MAX), 100);
    }

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        assert_eq!(backoff_ms(1, 100, 1000, 1.0), 100);
        assert_eq!(backoff_ms(3, 100, 1000, 1.0), 400);
        assert_eq!(backoff_ms(3, 100, 1000, 0.0), 200);
        assert_eq!(backoff_ms(64, 100, 1000, 1.0), 1000);
        assert_eq!(backoff_ms(1000, 100, 1000, 1.0), 1000);
    }
}
