//! `stillframe restore`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::args::{map, pair};
use super::failure::Failure;
use super::http::{Client, decode};
use super::job::Job;
use super::progress::Progress;
use super::snapshot::SnapshotArgs;
use super::{exit, output, text};

/// Pause between two looks at a job: short at first, since small restores take no time.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long the service may be away while a restore is waited for; a restart is no failure.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    source: SnapshotArgs,
    /// Name of the collection to create
    target: String,
    /// Database of the new collection; that of --db when absent
    #[arg(long, value_name = "NAME")]
    target_db: Option<String>,
    /// Restore only this partition; may be given again
    #[arg(long = "partition", value_name = "NAME")]
    partitions: Vec<String>,
    /// Set a property of the new collection, the others are kept; may be given again. The value may be empty
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = pair)]
    properties: Vec<(String, String)>,
    /// Leave a property of the source out; may be given again
    #[arg(long = "drop-property", value_name = "KEY")]
    drop_properties: Vec<String>,
    /// Don't wait for the end: print the job and leave
    #[arg(long)]
    no_wait: bool,
}

/// Properties of the request: texts to set, nulls to leave out.
fn changes(set: Vec<(String, String)>, dropped: Vec<String>) -> Result<BTreeMap<String, Value>, Failure> {
    let mut changes: BTreeMap<String, Value> = map("--property", set)?
        .into_iter()
        .map(|(k, v)| (k, Value::String(v)))
        .collect();
    for key in dropped {
        if changes
            .insert(key.clone(), Value::Null)
            .is_some_and(|before| !before.is_null())
        {
            return Err(Failure::Usage(format!("property {key:?} is both set and dropped")));
        }
    }
    Ok(changes)
}

pub async fn run(client: &Client, args: RestoreArgs) -> Result<(), Failure> {
    let target_db = args.target_db.as_ref().or(client.db.as_ref());
    let body = json!({
        "collection_name": args.target, "db_name": target_db, "partitions": args.partitions,
        "properties": changes(args.properties, args.drop_properties)?,
    });
    let path = ["v1", "snapshots", &args.source.name, "restore"];
    let started = client.post(&path, args.source.query(client), &body, Duration::ZERO).await?;
    let job: Job = decode(&started)?;
    if args.no_wait {
        return match client.json {
            true => output::json(&started),
            false => output::line(&format!(
                "restore job {} is {}; see `stillframe job describe {0}`",
                job.job_id, job.state
            )),
        };
    }
    let id = job.job_id.clone();
    let (job, answer) = tokio::select! {
        ended = wait(client, job, Progress::new(client.json)) => ended?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(anyhow::Error::new)?;
            return Err(Failure::Interrupted(format!("stopped waiting; the restore goes on, `stillframe job cancel {id}` ends it")));
        }
    };
    if client.json {
        output::json(&answer)?;
    }
    completed(&job)?;
    if client.json {
        Ok(())
    } else {
        output::line(&format!(
            "restored snapshot {} into collection {}",
            job.snapshot_name,
            done(&job)
        ))
    }
}

/// What a completed job did, on one line that begins with its target.
pub fn done(job: &Job) -> String {
    let (segments, files) = (
        text::counted(job.done_segments, "segment"),
        text::counted(job.done_files, "file"),
    );
    let (size, took) = (text::bytes(job.done_bytes), text::millis(job.time_cost));
    format!("{}: {segments}, {files}, {size} in {took}", job.collection_name)
}

/// An ended job that is not completed is a failure of its own kind.
///
/// # Errors
/// Then.
pub fn completed(job: &Job) -> Result<(), Failure> {
    let (exit_code, default_code, how) = match job.state.as_str() {
        "Completed" => return Ok(()),
        "Cancelled" => (exit::RESTORE_CANCELLED, "restore_cancelled", "was cancelled"),
        _ => (exit::RESTORE_FAILED, "restore_failed", "failed"),
    };
    let reason = if job.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", job.reason)
    };
    let text = format!("restore job {} {how}{reason}", job.job_id);
    Err(Failure::Restore {
        exit_code,
        code: job.error_code.clone().unwrap_or_else(|| default_code.into()),
        text,
    })
}

/// Waits until a job has ended, and gives it with the service's JSON.
///
/// # Errors
/// When the service is away for too long, or does not know the job.
pub async fn wait(client: &Client, mut job: Job, mut progress: Progress) -> Result<(Job, Value), Failure> {
    let mut pause = FIRST_PAUSE;
    let mut heard = Instant::now();
    loop {
        progress.show(&job);
        tokio::time::sleep(pause).await;
        pause = pause.mul_f64(1.5).min(LONGEST_PAUSE);
        match Job::fetch(client, &job.job_id).await {
            Ok((now, answer)) => {
                heard = Instant::now();
                job = now;
                if job.has_ended() {
                    progress.show(&job);
                    return Ok((job, answer));
                }
            }
            Err(failure) if failure.may_pass() && heard.elapsed() < PATIENCE => {}
            Err(failure) => return Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_set_or_dropped_but_not_both() {
        let set = || vec![("ttl".to_string(), String::new())];
        let found = changes(set(), vec!["mmap".into(), "mmap".into()]).expect("valid");
        assert_eq!(
            serde_json::to_value(found).expect("serializes"),
            json!({"ttl": "", "mmap": null})
        );
        assert!(changes(set(), vec!["ttl".into()]).is_err());
    }
}
