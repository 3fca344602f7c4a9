//! What a look at one thing found.

use serde::Serialize;

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok,
    /// It will work, and should be looked at.
    Warning,
    /// Serving will not work.
    Failed,
    /// It was not looked at.
    Skipped,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable: programs may rely on it.
    pub check: &'static str,
    pub outcome: Outcome,
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// Everything that was looked at, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing failed.
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|f| f.outcome != Outcome::Failed)
    }

    pub(super) fn ok(&mut self, check: &'static str, detail: impl Into<String>) {
        self.add(check, Outcome::Ok, detail, None);
    }

    pub(super) fn warning(&mut self, check: &'static str, detail: impl Into<String>, advice: &str) {
        self.add(check, Outcome::Warning, detail, Some(advice));
    }

    pub(super) fn failed(&mut self, check: &'static str, detail: impl Into<String>, advice: &str) {
        self.add(check, Outcome::Failed, detail, Some(advice));
    }

    pub(super) fn skipped(&mut self, check: &'static str, detail: impl Into<String>) {
        self.add(check, Outcome::Skipped, detail, None);
    }

    fn add(&mut self, check: &'static str, outcome: Outcome, detail: impl Into<String>, advice: Option<&str>) {
        self.findings.push(Finding {
            check,
            outcome,
            detail: detail.into(),
            advice: advice.map(str::to_string),
        });
    }
}
