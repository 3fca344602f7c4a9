//! `/v1/snapshots/{snapshot_name}/verify`.

use super::guard::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Body, Name, Query};
use super::layers::Patience;
use super::plans::FileProblemBody;
use super::problem::ApiError;
use super::snapshots::SnapshotQuery;
use super::types::{Count, rfc3339};
use super::{ApiState, MAX_WAIT};
use crate::domain::verification::{Level, Verification};

/// How closely the files are looked at.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerifyLevelText {
    /// They are there.
    Exists,
    /// And have the recorded size.
    Size,
    /// And are read; compared are the SHA-256 of manifests, and of data files the MD5: with the recorded ETag where that is one, else with the MD5 that the first verification at this level recorded.
    Checksum,
}

/// How to verify a snapshot.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"level": "checksum", "sample": 0.1})))]
pub struct VerifySnapshotRequest {
    pub level: VerifyLevelText,
    /// At level `checksum`: the fraction of the data files to read, chosen at random; all of them when absent. Manifests are all read.
    #[serde(default = "everything")]
    #[schema(exclusive_minimum = 0.0, maximum = 1.0, default = 1.0)]
    pub sample: f64,
}

fn everything() -> f64 {
    1.0
}

/// Result of a verification.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeText {
    /// Nothing wrong was seen; `proved` says whether everything was looked at.
    Passed,
    Failed,
}

/// What a verification saw.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "level": "checksum", "sample": 1.0, "outcome": "passed", "files": 48, "bytes": 8964728, "manifests": 4, "read_files": 52,
    "read_bytes": 8984022, "not_comparable": 48, "recorded": 48, "proved": false, "problem_count": 0, "problems": [],
    "started_at": "2024-01-01T00:00:00Z", "finished_at": "2024-01-01T00:00:01Z"
})))]
pub struct VerificationResponse {
    pub level: VerifyLevelText,
    pub sample: f64,
    pub outcome: OutcomeText,
    /// Data files that were looked for.
    pub files: Count,
    /// Recorded bytes of them.
    pub bytes: Count,
    /// Manifests that were looked for.
    pub manifests: Count,
    /// Data files and manifests that were read.
    pub read_files: Count,
    pub read_bytes: Count,
    /// Of those that were read: without a recorded checksum to compare with. They could be read and have their size.
    pub not_comparable: Count,
    /// Of these: data files whose checksum was recorded now; the next verification at this level compares with it.
    pub recorded: Count,
    /// At level `checksum`: whether every data file and manifest was read and compared with a recorded checksum, and is as it was then. False where some had none, in a sample, and when it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proved: Option<bool>,
    /// Files with which something is wrong, the metadata file and manifests included.
    pub problem_count: Count,
    /// The first 100 of them.
    pub problems: Vec<FileProblemBody>,
    pub started_at: String,
    pub finished_at: String,
}

impl From<Verification> for VerificationResponse {
    fn from(done: Verification) -> Self {
        Self {
            level: match done.level {
                Level::Exists => VerifyLevelText::Exists,
                Level::Size => VerifyLevelText::Size,
                Level::Checksum => VerifyLevelText::Checksum,
            },
            sample: done.sample,
            outcome: if done.passed() {
                OutcomeText::Passed
            } else {
                OutcomeText::Failed
            },
            files: Count(done.report.files),
            bytes: Count(done.report.bytes),
            manifests: Count(done.report.manifests),
            read_files: Count(done.report.read_files),
            read_bytes: Count(done.report.read_bytes),
            not_comparable: Count(done.report.not_comparable),
            recorded: Count(done.report.recorded),
            proved: done.proved(),
            problem_count: Count(done.report.problems.total),
            problems: done.report.problems.listed.into_iter().map(FileProblemBody::from).collect(),
            started_at: rfc3339(done.started_at),
            finished_at: rfc3339(done.finished_at),
        }
    }
}

/// Verify a snapshot
///
/// Looks for its metadata file, its manifests and every data file that it references. The last result of each level is kept, and shown by describe. The answer comes at the end: up to an hour later than other calls may take. A verification goes on when its caller hangs up, and its result is kept. A process runs two at the same time; others wait.
#[utoipa::path(post, path = "/v1/snapshots/{snapshot_name}/verify", operation_id = "verify_snapshot", tag = "snapshots",
    params(("snapshot_name" = String, Path, description = "Name", example = "backup_20240101"), SnapshotQuery),
    request_body = VerifySnapshotRequest,
    responses((status = 200, description = "What was seen, whether it is well or not", body = VerificationResponse)))]
pub async fn verify_snapshot(
    State(state): State<ApiState>,
    Extension(patience): Extension<Patience>,
    Name(snapshot_name): Name,
    Query(query): Query<SnapshotQuery>,
    Body(body): Body<VerifySnapshotRequest>,
) -> Result<Json<VerificationResponse>, ApiError> {
    patience.extend(MAX_WAIT);
    let level = match body.level {
        VerifyLevelText::Exists => Level::Exists,
        VerifyLevelText::Size => Level::Size,
        VerifyLevelText::Checksum => Level::Checksum,
    };
    let done = state
        .service
        .verify_snapshot(&query.of(snapshot_name), level, body.sample)
        .await?;
    Ok(Json(done.into()))
}
