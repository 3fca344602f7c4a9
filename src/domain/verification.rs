//! Verifications of snapshots.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::problem::Problems;

/// How closely files are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// They are there.
    Exists,
    /// And have the recorded size.
    Size,
    /// And are read; their checksum is compared where one was recorded.
    Checksum,
}

impl Level {
    pub const ALL: [Level; 3] = [Level::Exists, Level::Size, Level::Checksum];

    pub fn as_str(self) -> &'static str {
        match self {
            Level::Exists => "exists",
            Level::Size => "size",
            Level::Checksum => "checksum",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.as_str() == text)
    }
}

/// What a verification saw.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Data files looked for.
    pub files: i64,
    /// Recorded bytes of them.
    pub bytes: i64,
    /// Manifests looked for.
    pub manifests: i64,
    /// Data files and manifests that were read, and their bytes.
    pub read_files: i64,
    pub read_bytes: i64,
    /// Of those that were read: without a recorded checksum to compare with.
    pub not_comparable: i64,
    /// Of these: data files whose sum was recorded now, for the next time.
    pub recorded: i64,
    pub problems: Problems,
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq)]
pub struct Verification {
    pub level: Level,
    /// Fraction of the data files that level `checksum` read, above 0 and at most 1.
    pub sample: f64,
    pub report: Report,
    pub started_at: OffsetDateTime,
    pub finished_at: OffsetDateTime,
}

impl Verification {
    /// Whether nothing wrong was seen.
    pub fn passed(&self) -> bool {
        self.report.problems.total == 0
    }

    /// Whether every file was read and is as it was recorded; none below level `checksum`, which proves no content.
    pub fn proved(&self) -> Option<bool> {
        let all = self.sample >= 1.0 && self.report.not_comparable == 0;
        (self.level == Level::Checksum).then(|| self.passed() && all)
    }
}
