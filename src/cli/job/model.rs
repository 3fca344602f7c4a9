//! Restore jobs and their tasks, as the service shows them.

use serde::Deserialize;
use serde_json::Value;

use super::super::failure::Failure;
use super::super::http::{Client, Query, decode};
use super::super::text;

/// A restore job.
#[derive(Debug, Deserialize)]
pub struct Job {
    pub job_id: String,
    pub state: String,
    pub progress: u64,
    pub snapshot_name: String,
    /// `export`, or a kind of restore.
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

    /// Reads it again, with its JSON.
    ///
    /// # Errors
    /// What the service answered, or that it did not.
    pub async fn fetch_again(&self, client: &Client) -> Result<(Self, Value), Failure> {
        if !self.is_export() {
            return Self::fetch(client, &self.job_id).await;
        }
        let found = client.get(&["v1", "export-jobs", &self.job_id], Query::default()).await?;
        Ok((decode(&found)?, found))
    }

    /// Reads it from the service, with its JSON.
    ///
    /// # Errors
    /// What the service answered, or that it did not.
    pub async fn fetch(client: &Client, id: &str) -> Result<(Self, Value), Failure> {
        let found = client.get(&["v1", "restore-jobs", id], Query::default()).await?;
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
pub async fn tasks(client: &Client, id: &str) -> Result<Vec<Value>, Failure> {
    client
        .list(&["v1", "restore-jobs", id, "tasks"], Query::default(), None)
        .await
}
