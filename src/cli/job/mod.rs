//! `stillframe job`.

mod model;

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::args::LimitArgs;
use super::failure::Failure;
use super::http::{Client, Query, as_list, decode, decode_all};
use super::table::{Table, pairs};
use super::{output, text, waiting};

pub use self::model::{EXPORTS, Job, RESTORES, Task, tasks};

#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// List jobs, newest first; of every database unless --db names one
    List {
        /// Exports, not restores and their like
        #[arg(long)]
        exports: bool,
        /// Only with this target collection; of exports: only of this collection
        #[arg(long, value_name = "COLLECTION")]
        target: Option<String>,
        /// Only of snapshots of this name
        #[arg(long, value_name = "NAME")]
        snapshot: Option<String>,
        /// Only in this state
        #[arg(long, value_parser = ["Pending", "Validating", "InProgress", "Publishing", "Paused", "Completed", "Failed", "Cancelled"])]
        state: Option<String>,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Show a job
    Describe {
        job_id: String,
        /// Show its tasks, one per segment, too
        #[arg(long)]
        tasks: bool,
    },
    /// Wait for the end of a job, as `restore` does
    Wait { job_id: String },
    /// Pause a job. What is copied stays; nothing is lost
    Pause { job_id: String },
    /// Let a paused job go on from where it was
    Resume { job_id: String },
    /// Change the priority and the limits of a running job
    Change {
        job_id: String,
        #[command(flatten)]
        control: ControlArgs,
        /// Lift the limit of segments
        #[arg(long, conflicts_with = "max_concurrency")]
        no_max_concurrency: bool,
        /// Lift the limit of bytes
        #[arg(long, conflicts_with = "max_bytes_per_second")]
        no_max_bytes_per_second: bool,
    },
    /// Cancel a job. The name of its target is free at once, what was copied is deleted
    Cancel { job_id: String },
    /// Print the receipt of a completed job that is no export, as JSON: each file, its target, and how its copy was proved
    Receipt { job_id: String },
}

/// The share and the limits of a job.
#[derive(Debug, Args)]
pub struct ControlArgs {
    /// -10 to 10: a point more doubles its share of the workers
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// Segments copied at the same time at most, over all replicas
    #[arg(long, value_name = "N")]
    max_concurrency: Option<u32>,
    /// Bytes copied in a second at most, over all replicas
    #[arg(long, value_name = "BYTES")]
    max_bytes_per_second: Option<u64>,
}

impl ControlArgs {
    /// What was said, as fields of a request.
    pub fn fields(&self) -> Map<String, Value> {
        let said = [
            ("priority", self.priority.map(Value::from)),
            ("max_concurrency", self.max_concurrency.map(Value::from)),
            ("max_bytes_per_second", self.max_bytes_per_second.map(Value::from)),
        ];
        said.into_iter()
            .filter_map(|(name, value)| Some((name.to_string(), value?)))
            .collect()
    }
}

async fn act(client: &Client, job_id: &str, action: &str, said: impl Fn(&Job) -> String) -> Result<(), Failure> {
    let (job, _) = Job::fetch(client, job_id).await?;
    let path = ["v1", job.family(), job_id, action];
    let answer = client.post(&path, Query::default(), &json!({}), Duration::ZERO).await?;
    if client.json {
        return output::json(&answer);
    }
    output::line(&said(&decode(&answer)?))
}

pub async fn run(client: &Client, command: JobCommand) -> Result<(), Failure> {
    match command {
        JobCommand::List {
            exports,
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
            list(client, exports, query, limit.limit).await
        }
        JobCommand::Describe { job_id, tasks } => describe(client, &job_id, tasks).await,
        JobCommand::Wait { job_id } => {
            let (job, _) = Job::fetch(client, &job_id).await?;
            waiting::to_the_end(client, job).await
        }
        JobCommand::Pause { job_id } => {
            let said = |job: &Job| {
                format!(
                    "paused {} job {job_id}; `stillframe job resume {job_id}` lets it go on",
                    job.noun()
                )
            };
            act(client, &job_id, "pause", said).await
        }
        JobCommand::Resume { job_id } => {
            let said = |job: &Job| format!("{} job {job_id} goes on, it is {}", job.noun(), job.state);
            act(client, &job_id, "resume", said).await
        }
        JobCommand::Change {
            job_id,
            control,
            no_max_concurrency,
            no_max_bytes_per_second,
        } => {
            let mut fields = control.fields();
            for (lifted, name) in [
                (no_max_concurrency, "max_concurrency"),
                (no_max_bytes_per_second, "max_bytes_per_second"),
            ] {
                if lifted {
                    fields.insert(name.into(), Value::Null);
                }
            }
            if fields.is_empty() {
                return Err(Failure::Usage(
                    "nothing to change was said; see `stillframe job change --help`".into(),
                ));
            }
            let (job, _) = Job::fetch(client, &job_id).await?;
            let path = ["v1", job.family(), &job_id];
            let answer = client.patch(&path, &Value::Object(fields)).await?;
            if client.json {
                return output::json(&answer);
            }
            let job: Job = decode(&answer)?;
            output::line(&format!("{} job {job_id} has priority {}", job.noun(), job.control()))
        }
        JobCommand::Cancel { job_id } => {
            let said = |job: &Job| match job.noun() {
                "export" => format!("cancelled export job {job_id}; what it copied is deleted"),
                "materialize" => format!(
                    "cancelled materialize job {job_id}; collection {} stays as it was",
                    job.collection_name
                ),
                _ => format!(
                    "cancelled restore job {job_id}; the name {} is free again",
                    job.collection_name
                ),
            };
            act(client, &job_id, "cancel", said).await
        }
        JobCommand::Receipt { job_id } => client.print(&["v1", RESTORES, &job_id, "receipt"]).await,
    }
}

async fn list(client: &Client, exports: bool, query: Query, limit: Option<u64>) -> Result<(), Failure> {
    let family = if exports { EXPORTS } else { RESTORES };
    let found = client.list(&["v1", family], query, limit).await?;
    if client.json {
        return output::json(&as_list(found));
    }
    let mut table = Table::new(&[
        ">JOB ID",
        "STATE",
        ">PERCENT",
        "SNAPSHOT",
        if exports { "COLLECTION" } else { "TARGET" },
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
    let tasks = if with_tasks { tasks(client, &job).await? } else { Vec::new() };
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
    let (snapshot, target) = match job.noun() {
        "export" => (
            format!("{} of {}", job.snapshot_name, job.collection_name),
            job.snapshot_metadata_uri.clone().unwrap_or_default(),
        ),
        noun => (
            match noun {
                "materialize" => format!("all of {}", job.source_collection_name),
                _ => format!("{} of {}", job.snapshot_name, job.source_collection_name),
            },
            format!(
                "{} in database {}, id {}",
                job.collection_name, job.db_name, job.collection_id
            ),
        ),
    };
    output::line(&pairs(&[
        ("job id", job.job_id.clone()),
        ("kind", job.kind.clone()),
        ("state", job.state.clone()),
        ("progress", format!("{}%, {}", job.progress, job.bytes())),
        ("snapshot", snapshot),
        ("target", target),
        ("reason", reason),
        (
            "segments",
            format!("{} of {}", text::count(job.done_segments), text::count(job.total_segments)),
        ),
        (
            "files",
            format!("{} of {}", text::count(job.done_files), text::count(job.total_files)),
        ),
        ("rate", job.rate()),
        ("waits for", job.waiting_for.clone().unwrap_or_default()),
        ("priority", job.control()),
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
