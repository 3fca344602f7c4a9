//! Why a command did not succeed, and how that is said.

use std::io::Write as _;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{exit, text};

/// A problem document that the service answered.
#[derive(Debug, Deserialize)]
pub struct Problem {
    #[serde(default)]
    pub status: u16,
    pub code: String,
    pub detail: String,
    #[serde(default)]
    pub request_id: String,
    #[serde(default)]
    pub errors: Vec<ProblemField>,
    /// The document as it came.
    #[serde(skip)]
    pub raw: Value,
}

/// One thing that is wrong in a request.
#[derive(Debug, Deserialize)]
pub struct ProblemField {
    pub pointer: String,
    pub detail: String,
}

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The service said no.
    Refused(Box<Problem>),
    /// The service did not answer.
    Unreachable(String),
    /// The command line or a setting is wrong.
    Usage(String),
    /// A restore ended otherwise than completed.
    Restore {
        exit_code: u8,
        code: String,
        text: String,
    },
    /// Ctrl-C; the text says what goes on without us.
    Interrupted(String),
    /// Nobody reads standard output any more.
    ReaderGone,
    Other(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl Failure {
    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(problem) => exit::of_problem(problem.status, &problem.code),
            Self::Unreachable(_) => exit::UNAVAILABLE,
            Self::Usage(_) => exit::USAGE,
            Self::Restore { exit_code, .. } => *exit_code,
            Self::Interrupted(_) => exit::INTERRUPTED,
            // as for any other program in a pipe whose reader has seen enough
            Self::ReaderGone => 0,
            Self::Other(_) => exit::FAILURE,
        }
    }

    /// Whether the service refused it with this code.
    pub fn has_code(&self, code: &str) -> bool {
        matches!(self, Self::Refused(problem) if problem.code == code)
    }

    /// Whether the same call may succeed in a moment.
    pub fn may_pass(&self) -> bool {
        self.exit_code() == exit::UNAVAILABLE
    }

    fn code(&self) -> &str {
        match self {
            Self::Refused(problem) => &problem.code,
            Self::Unreachable(_) => "server_unreachable",
            Self::Usage(_) => "usage",
            Self::Restore { code, .. } => code,
            Self::Interrupted(_) => "interrupted",
            Self::ReaderGone | Self::Other(_) => "failed",
        }
    }

    /// What is wrong, for people; may have several lines.
    pub fn text(&self) -> String {
        match self {
            Self::Refused(problem) => refused(problem),
            Self::Unreachable(what) | Self::Usage(what) => what.clone(),
            Self::Restore { code, text, .. } => format!("{} ({code})", text::clean(text)),
            Self::Interrupted(what) => what.clone(),
            Self::ReaderGone => String::new(),
            Self::Other(error) => format!("{error:#}"),
        }
    }

    /// Says it on standard error; for programs as the problem document, or in its form.
    pub fn report(&self, json: bool) {
        let line = match self {
            Self::ReaderGone => return,
            Self::Refused(problem) if json => problem.raw.to_string(),
            Self::Restore { code, text, .. } if json => json!({"code": code, "detail": text}).to_string(),
            _ if json => json!({"code": self.code(), "detail": self.text()}).to_string(),
            Self::Interrupted(what) => what.clone(),
            _ => format!("error: {}", self.text()),
        };
        // nowhere left to complain about standard error
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

fn refused(problem: &Problem) -> String {
    let mut lines = format!("{} ({})", text::clean(&problem.detail), problem.code);
    for field in &problem.errors {
        // the detail of a single fault says it all already
        if !(problem.detail.contains(&field.pointer) && problem.detail.contains(&field.detail)) {
            lines.push_str(&format!(
                "\n  {}: {}",
                text::clean(&field.pointer),
                text::clean(&field.detail)
            ));
        }
    }
    if problem.status >= 500 {
        lines.push_str(&format!(
            "\n  request id {}, see the log of the service",
            text::clean(&problem.request_id)
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_once_and_with_its_pointers() {
        let field = |pointer: &str| ProblemField {
            pointer: pointer.into(),
            detail: "must not be empty".into(),
        };
        let mut problem = Problem {
            status: 422,
            code: "invalid_request".into(),
            detail: "/name: must not be empty".into(),
            request_id: "r".into(),
            errors: vec![field("/name")],
            raw: Value::Null,
        };
        assert_eq!(refused(&problem), "/name: must not be empty (invalid_request)");
        problem.detail = "2 faults".into();
        problem.errors.push(field("/other"));
        assert_eq!(
            refused(&problem),
            "2 faults (invalid_request)\n  /name: must not be empty\n  /other: must not be empty"
        );
    }
}
