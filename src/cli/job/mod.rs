//! `stillframe job`.

mod model;

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::args::LimitArgs;
use super::failure::Failure;
use super::http::{Client, Query, as_list, decode, decode_all};
use super::table::{Table, pairs};
use super::{output, text, waiting};

pub use self::model::{Job, Task, tasks};

#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// List restore jobs, newest first; of every database unless --db names one
    List {
        /// Only with this target collection
        #[arg(long, value_name = "COLLECTION")]
        target: Option<String>,
        /// Only of snapshots of this name
        #[arg(long, value_name = "NAME")]
        snapshot: Option<String>,
        /// Only in this state
        #[arg(long, value_parser = ["Pending", "Validating", "InProgress", "Publishing", "Completed", "Failed", "Cancelled"])]
        state: Option<String>,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Show a restore job
    Describe {
        job_id: String,
        /// Show its tasks, one per segment, too
        #[arg(long)]
        tasks: bool,
    },
    /// Wait for the end of a restore job, as `restore` does
    Wait { job_id: String },
    /// Cancel a restore job. The name of its target is free at once, what was copied is deleted
    Cancel { job_id: String },
}

pub async fn run(client: &Client, command: JobCommand) -> Result<(), Failure> {
    match command {
        JobCommand::List {
            target,
            snapshot,
            state,
            limit,
        } => {
            let query = client
                .query()
                .and("collection_name", target)
                .and("snapshot_name", snapshot)
                .and("state", state);
            list(client, query, limit.limit).await
        }
        JobCommand::Describe { job_id, tasks } => describe(client, &job_id, tasks).await,
        JobCommand::Wait { job_id } => {
            let (job, _) = Job::fetch(client, &job_id).await?;
            waiting::to_the_end(client, job).await
        }
        JobCommand::Cancel { job_id } => {
            let path = ["v1", "restore-jobs", &job_id, "cancel"];
            let cancelled = client.post(&path, Query::default(), &json!({}), Duration::ZERO).await?;
            if client.json {
                return output::json(&cancelled);
            }
            let job: Job = decode(&cancelled)?;
            output::line(&format!(
                "cancelled restore job {job_id}; the name {} is free again",
                job.collection_name
            ))
        }
    }
}

async fn list(client: &Client, query: Query, limit: Option<u64>) -> Result<(), Failure> {
    let found = client.list(&["v1", "restore-jobs"], query, limit).await?;
    if client.json {
        return output::json(&as_list(found));
    }
    let mut table = Table::new(&[
        ">JOB ID",
        "STATE",
        ">PERCENT",
        "SNAPSHOT",
        "TARGET",
        ">SIZE",
        "CREATED (UTC)",
        ">TOOK",
    ]);
    for job in decode_all::<Job>(&found)? {
        let (size, created, took) = (
            text::bytes(job.total_bytes),
            text::utc(&job.created_at),
            text::millis(job.time_cost),
        );
        table.row([
            job.job_id,
            job.state,
            job.progress.to_string(),
            job.snapshot_name,
            job.collection_name,
            size,
            created,
            took,
        ]);
    }
    output::line(&table.render())
}

async fn describe(client: &Client, id: &str, with_tasks: bool) -> Result<(), Failure> {
    let (job, mut found) = Job::fetch(client, id).await?;
    let tasks = if with_tasks { tasks(client, id).await? } else { Vec::new() };
    if client.json {
        if let (true, Some(fields)) = (with_tasks, found.as_object_mut()) {
            fields.insert("tasks".into(), Value::Array(tasks));
        }
        return output::json(&found);
    }
    let reason = job
        .error_code
        .as_ref()
        .map_or_else(|| job.reason.clone(), |code| format!("{} ({code})", job.reason));
    output::line(&pairs(&[
        ("job id", job.job_id.clone()),
        ("state", job.state.clone()),
        ("progress", format!("{}%, {}", job.progress, job.bytes())),
        ("snapshot", format!("{} of {}", job.snapshot_name, job.source_collection_name)),
        (
            "target",
            format!(
                "{} in database {}, id {}",
                job.collection_name, job.db_name, job.collection_id
            ),
        ),
        ("reason", reason),
        (
            "segments",
            format!("{} of {}", text::count(job.done_segments), text::count(job.total_segments)),
        ),
        (
            "files",
            format!("{} of {}", text::count(job.done_files), text::count(job.total_files)),
        ),
        ("retries", text::count(job.retries)),
        ("cleanup", job.cleanup),
        ("created (UTC)", text::utc(&job.created_at)),
        ("took", text::millis(job.time_cost)),
    ]))?;
    if !with_tasks {
        return Ok(());
    }
    let mut table = Table::new(&[
        "TASK",
        "STATE",
        ">SOURCE SEGMENT",
        ">TARGET SEGMENT",
        ">ATTEMPT",
        ">FILES",
        ">BYTES",
        "LAST ERROR",
    ]);
    for t in decode_all::<Task>(&tasks)? {
        let of = |done: String, total: String| format!("{done} of {total}");
        let files = of(text::count(t.done_files), text::count(t.total_files));
        let bytes = of(text::bytes(t.done_bytes), text::bytes(t.total_bytes));
        let [source, target] = [t.source_segment_id, t.target_segment_id].map(Option::unwrap_or_default);
        table.row([
            t.kind,
            t.state,
            source,
            target,
            t.attempt.to_string(),
            files,
            bytes,
            t.last_error,
        ]);
    }
    output::line(&format!("\n{}", table.render()))
}
