//! Restore jobs and their tasks, as the service shows them.

use std::io::Write as _;

use serde::Deserialize;
use serde_json::Value;

use super::super::failure::Failure;
use super::super::http::{Client, Query, decode};
use super::super::text;

/// Where jobs are found that are no exports.
pub const RESTORES: &str = "restore-jobs";
/// Where exports are.
pub const EXPORTS: &str = "export-jobs";

/// A job: a restore, an export, or one that makes an external collection our own.
#[derive(Debug, Deserialize)]
pub struct Job {
    pub job_id: String,
    pub state: String,
    pub progress: u64,
    pub snapshot_name: String,
    /// `export`, `materialize`, or a kind of restore.
    #[serde(default)]
    pub kind: String,
    /// Of an export that is completed, and of a restore of a bundle.
    pub snapshot_metadata_uri: Option<String>,
    #[serde(default)]
    pub source_collection_name: String,
    pub db_name: String,
    pub collection_name: String,
    pub collection_id: String,
    pub reason: String,
    pub error_code: Option<String>,
    pub time_cost: u64,
    pub total_segments: u64,
    pub done_segments: u64,
    pub total_files: u64,
    pub done_files: u64,
    pub total_bytes: u64,
    pub done_bytes: u64,
    pub bytes_per_second: Option<u64>,
    pub eta_seconds: Option<u64>,
    pub waiting_for: Option<String>,
    pub priority: i32,
    pub max_concurrency: Option<u32>,
    pub max_bytes_per_second: Option<u64>,
    pub retries: u64,
    #[serde(default)]
    pub warnings: Vec<String>,
    pub cleanup: String,
    pub created_at: String,
}

impl Job {
    /// Whether nothing more will happen to it.
    pub fn has_ended(&self) -> bool {
        matches!(self.state.as_str(), "Completed" | "Failed" | "Cancelled")
    }

    /// Says its warnings on standard error: standard output is for the answer.
    pub fn warn(&self) {
        for warning in &self.warnings {
            let _ = writeln!(std::io::stderr(), "warning: {warning}");
        }
    }

    /// How much of its bytes is copied.
    pub fn bytes(&self) -> String {
        format!("{} of {}", text::bytes(self.done_bytes), text::bytes(self.total_bytes))
    }

    /// How fast it copies and how long the rest takes; empty before anything is known.
    pub fn rate(&self) -> String {
        let rate = self.bytes_per_second.map(|n| format!("{}/s", text::bytes(n)));
        let left = self.eta_seconds.map(|s| format!(", about {} left", text::millis(s * 1000)));
        rate.map(|rate| rate + &left.unwrap_or_default()).unwrap_or_default()
    }

    /// Its priority and limits, in words.
    pub fn control(&self) -> String {
        let concurrency = self
            .max_concurrency
            .map(|n| format!(", {} at once", text::counted(n.into(), "segment")));
        let rate = self.max_bytes_per_second.map(|n| format!(", {}/s", text::bytes(n)));
        format!(
            "{}{}{}",
            self.priority,
            concurrency.unwrap_or_default(),
            rate.unwrap_or_default()
        )
    }

    /// Whether it is an export.
    pub fn is_export(&self) -> bool {
        self.kind == "export"
    }

    /// Whether it makes an external collection our own.
    pub fn is_materialize(&self) -> bool {
        self.kind == "materialize"
    }

    /// What it is, in a word.
    pub fn noun(&self) -> &'static str {
        match self.kind.as_str() {
            "export" => "export",
            "materialize" => "materialize",
            _ => "restore",
        }
    }

    /// The path below which it is found.
    pub fn family(&self) -> &'static str {
        match self.is_export() {
            true => EXPORTS,
            false => RESTORES,
        }
    }

    /// Reads it again, with its JSON.
    ///
    /// # Errors
    /// What the service answered, or that it did not.
    pub async fn fetch_again(&self, client: &Client) -> Result<(Self, Value), Failure> {
        Self::fetch_of(client, self.family(), &self.job_id).await
    }

    /// Reads a job of any kind from the service, with its JSON.
    ///
    /// # Errors
    /// What the service answered, or that it did not.
    pub async fn fetch(client: &Client, id: &str) -> Result<(Self, Value), Failure> {
        match Self::fetch_of(client, RESTORES, id).await {
            Err(unknown) if unknown.has_code("restore_job_not_found") => match Self::fetch_of(client, EXPORTS, id).await {
                Err(too) if too.has_code("export_job_not_found") => Err(unknown),
                found => found,
            },
            found => found,
        }
    }

    async fn fetch_of(client: &Client, family: &str, id: &str) -> Result<(Self, Value), Failure> {
        let found = client.get(&["v1", family, id], Query::default()).await?;
        Ok((decode(&found)?, found))
    }
}

/// A task of a job.
#[derive(Debug, Deserialize)]
pub struct Task {
    pub kind: String,
    pub state: String,
    pub source_segment_id: Option<String>,
    pub target_segment_id: Option<String>,
    pub attempt: u64,
    pub total_files: u64,
    pub done_files: u64,
    pub done_bytes: u64,
    pub total_bytes: u64,
    pub last_error: String,
}

/// The tasks of a job.
///
/// # Errors
/// What the service answered, or that it did not.
pub async fn tasks(client: &Client, job: &Job) -> Result<Vec<Value>, Failure> {
    client
        .list(&["v1", job.family(), &job.job_id, "tasks"], Query::default(), None)
        .await
}
