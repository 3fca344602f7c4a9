//! `stillframe gc`.

use std::time::Duration;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::json;

use super::args::LimitArgs;
use super::failure::Failure;
use super::http::{Client, Query, as_list, decode, decode_all};
use super::table::{Table, pairs};
use super::{output, text};

/// A run may delete for long.
const LONGEST_RUN: Duration = Duration::from_secs(3600);

#[derive(Debug, Subcommand)]
pub enum GcCommand {
    /// Run the collector now, and say what it deleted
    Run {
        /// Only say what would be deleted
        #[arg(long)]
        dry_run: bool,
        /// Seconds for which dropped things are left alone; the service's setting when absent
        #[arg(long, value_name = "N")]
        grace_seconds: Option<u64>,
    },
    /// List runs of the collector, newest first
    List {
        #[command(flatten)]
        limit: LimitArgs,
    },
}

#[derive(Deserialize)]
struct Run {
    run_id: String,
    dry_run: bool,
    state: String,
    snapshots: u64,
    segments: u64,
    index_builds: u64,
    objects: u64,
    bytes: u64,
    kept_by_snapshots: u64,
    kept_by_grace: u64,
    failed_objects: u64,
    failures: Vec<Failed>,
    started_at: String,
}

#[derive(Deserialize)]
struct Failed {
    key: String,
    reason: String,
}

pub async fn run(client: &Client, command: GcCommand) -> Result<(), Failure> {
    match command {
        GcCommand::Run { dry_run, grace_seconds } => collect(client, dry_run, grace_seconds).await,
        GcCommand::List { limit } => list(client, limit.limit).await,
    }
}

async fn collect(client: &Client, dry_run: bool, grace_seconds: Option<u64>) -> Result<(), Failure> {
    let body = json!({"dry_run": dry_run, "grace_seconds": grace_seconds});
    let answer = client
        .post(&["v1", "gc", "runs"], Query::default(), &body, LONGEST_RUN)
        .await?;
    if client.json {
        return output::json(&answer);
    }
    let run: Run = decode(&answer)?;
    let deleted = format!("{}, {}", text::counted(run.objects, "object"), text::bytes(run.bytes));
    output::line(&pairs(&[
        ("run id", run.run_id),
        ("state", run.state),
        (if run.dry_run { "would delete" } else { "deleted" }, deleted),
        ("snapshots", text::count(run.snapshots)),
        ("segments", text::count(run.segments)),
        ("index builds", text::count(run.index_builds)),
        ("kept by snapshots", text::count(run.kept_by_snapshots)),
        ("kept by grace", text::count(run.kept_by_grace)),
        ("not deleted", text::count(run.failed_objects)),
    ]))?;
    for failed in run.failures {
        output::line(&text::clean(&format!("{}: {}", failed.key, failed.reason)))?;
    }
    Ok(())
}

async fn list(client: &Client, limit: Option<u64>) -> Result<(), Failure> {
    let found = client.list(&["v1", "gc", "runs"], Query::default(), limit).await?;
    if client.json {
        return output::json(&as_list(found));
    }
    let mut table = Table::new(&[
        ">RUN ID",
        "STATE",
        "DRY RUN",
        ">OBJECTS",
        ">SIZE",
        ">SEGMENTS",
        ">NOT DELETED",
        "STARTED (UTC)",
    ]);
    for run in decode_all::<Run>(&found)? {
        table.row([
            run.run_id,
            run.state,
            if run.dry_run { "yes" } else { "no" }.into(),
            text::count(run.objects),
            text::bytes(run.bytes),
            text::count(run.segments),
            text::count(run.failed_objects),
            text::utc(&run.started_at),
        ]);
    }
    output::line(&table.render())
}
