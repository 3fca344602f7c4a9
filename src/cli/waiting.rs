//! Waiting for the end of a job.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::failure::Failure;
use super::http::Client;
use super::job::Job;
use super::progress::Progress;
use super::{exit, output, text};

/// Pause between two looks at a job: short at first, since small restores take no time.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long the service may be away while a restore is waited for; a restart is no failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits, shows the progress, and says how the job ended.
///
/// # Errors
/// When it did not end completed, Ctrl-C, or a service that is away for too long.
pub async fn to_the_end(client: &Client, job: Job) -> Result<(), Failure> {
    let how_to_end = format!(
        "the {} job goes on, `stillframe job cancel {}` ends it",
        job.noun(),
        job.job_id
    );
    let (job, answer) = tokio::select! {
        // first, so that it listens for Ctrl-C before it says that it waits
        biased;
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(anyhow::Error::new)?;
            return Err(Failure::Interrupted(format!("stopped waiting; {how_to_end}")));
        }
        ended = until_ended(client, job, Progress::new(client.json)) => ended?,
    };
    if client.json {
        output::json(&answer)?;
        return completed(&job);
    }
    completed(&job)?;
    if job.is_export() {
        let uri = job.snapshot_metadata_uri.as_deref().unwrap_or_default();
        return output::line(&format!("exported snapshot {} to {uri}: {}", job.snapshot_name, amount(&job)));
    }
    if job.is_materialize() {
        return output::line(&format!("materialized collection {}", done(&job)));
    }
    output::line(&format!(
        "restored snapshot {} into collection {}",
        job.snapshot_name,
        done(&job)
    ))
}

/// What a completed job did, on one line that begins with its target.
pub fn done(job: &Job) -> String {
    format!("{}: {}", job.collection_name, amount(job))
}

fn amount(job: &Job) -> String {
    let segments = text::counted(job.done_segments, "segment");
    let files = text::counted(job.done_files, "file");
    let (size, took) = (text::bytes(job.done_bytes), text::millis(job.time_cost));
    format!("{segments}, {files}, {size} in {took}")
}

/// An ended job that is not completed is a failure of its own kind.
///
/// # Errors
/// Then.
pub fn completed(job: &Job) -> Result<(), Failure> {
    let (exit_code, end, how) = match job.state.as_str() {
        "Completed" => return Ok(()),
        "Cancelled" => (exit::RESTORE_CANCELLED, "cancelled", "was cancelled"),
        _ => (exit::RESTORE_FAILED, "failed", "failed"),
    };
    let reason = if job.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", job.reason)
    };
    let kind = job.noun();
    let text = format!("{kind} job {} {how}{reason}", job.job_id);
    let code = job.error_code.clone().unwrap_or_else(|| format!("{kind}_{end}"));
    Err(Failure::Restore { exit_code, code, text })
}

/// Waits until a job has ended, and gives it with the service's JSON.
///
/// # Errors
/// When the service is away for too long, or does not know the job.
pub async fn until_ended(client: &Client, mut job: Job, mut progress: Progress) -> Result<(Job, Value), Failure> {
    let mut pause = FIRST_PAUSE;
    let mut heard = Instant::now();
    loop {
        progress.show(&job);
        match job.fetch_again(client).await {
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
        tokio::time::sleep(pause).await;
        pause = pause.mul_f64(1.5).min(LONGEST_PAUSE);
    }
}
