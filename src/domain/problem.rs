//! What a look at files found wrong: at the sources of a restore, or at a snapshot's own files.

use serde::{Deserialize, Serialize};

use super::id::SegmentId;
use super::{Code, Error};

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// It is not there.
    Missing,
    /// It has another size than was recorded.
    WrongSize,
    /// It has another ETag than was recorded: it was overwritten.
    WrongEtag,
    /// Its bytes have another checksum than was recorded.
    WrongChecksum,
    /// It can't be read as what it should be.
    Unreadable,
}

impl ProblemKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ProblemKind::Missing => "missing",
            ProblemKind::WrongSize => "wrong_size",
            ProblemKind::WrongEtag => "wrong_etag",
            ProblemKind::WrongChecksum => "wrong_checksum",
            ProblemKind::Unreadable => "unreadable",
        }
    }

    fn code(self) -> Code {
        match self {
            ProblemKind::Missing => Code::FileMissing,
            ProblemKind::WrongSize => Code::FileSizeMismatch,
            ProblemKind::WrongEtag | ProblemKind::WrongChecksum => Code::FileChanged,
            ProblemKind::Unreadable => Code::CorruptSnapshot,
        }
    }
}

/// One file with which something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileProblem {
    /// Relative to the storage root.
    pub path: String,
    pub segment_id: Option<SegmentId>,
    pub kind: ProblemKind,
    /// A sentence that names the file.
    pub detail: String,
}

/// Problems that are listed at most; the count goes on.
pub const MAX_LISTED_PROBLEMS: usize = 100;

/// What is wrong, bounded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Problems {
    pub total: i64,
    /// The first [`MAX_LISTED_PROBLEMS`].
    pub listed: Vec<FileProblem>,
}

impl Problems {
    pub fn add(&mut self, problem: FileProblem) {
        self.total += 1;
        if self.listed.len() < MAX_LISTED_PROBLEMS {
            self.listed.push(problem);
        }
    }

    /// All of it as one error, which names every listed file; none when nothing is wrong. Its code
    /// is that of the first.
    pub fn error(&self) -> Option<Error> {
        let first = self.listed.first()?;
        if self.total == 1 {
            return Some(first.kind.code().error(first.detail.clone()));
        }
        let mut text = format!("{} files are not as they were recorded: ", self.total);
        for (at, problem) in self.listed.iter().enumerate() {
            if at > 0 {
                text.push_str("; ");
            }
            text.push_str(&problem.detail);
        }
        let more = self.total - i64::try_from(self.listed.len()).unwrap_or_default();
        if more > 0 {
            text.push_str(&format!("; and {more} more"));
        }
        Some(first.kind.code().error(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_every_listed_file_and_counts_the_rest() {
        let mut problems = Problems::default();
        assert!(problems.error().is_none());
        for n in 0..150 {
            problems.add(FileProblem {
                path: format!("a/{n}"),
                segment_id: None,
                kind: ProblemKind::Missing,
                detail: format!("file a/{n} is missing"),
            });
        }
        let error = problems.error().expect("wrong");
        assert_eq!(error.code(), Code::FileMissing);
        assert!(error.to_string().contains("a/99 is missing; and 50 more"), "{error}");
        assert!(!error.to_string().contains("a/100 "), "{error}");
    }
}
