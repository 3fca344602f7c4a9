//! `stillframe gc`.

use std::time::Duration;

use clap::Subcommand;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

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
        /// Look for objects without a row too
        #[arg(long)]
        orphans: bool,
        /// Seconds for which those must have been known; the service's setting when absent
        #[arg(long, value_name = "N", requires = "orphans")]
        orphan_tolerance_seconds: Option<u64>,
    },
    /// List what a run deleted, kept and why, and could not delete
    Items {
        run_id: String,
        /// Only with this outcome
        #[arg(long, value_parser = ["deleted", "kept", "failed"])]
        outcome: Option<String>,
        /// Only of this kind
        #[arg(long, value_parser = ["snapshot", "manifest", "segment", "index_build", "collection", "receipt", "orphan"])]
        kind: Option<String>,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Say whether the collector may delete objects without a row; allow or forbid it
    OrphanDeletion {
        /// Allow it. Look first at what `gc run --dry-run --orphans` finds
        #[arg(long, conflicts_with = "forbid")]
        allow: bool,
        /// Forbid it
        #[arg(long)]
        forbid: bool,
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
    orphan_tolerance_seconds: Option<u64>,
    orphans_found: u64,
    orphans_deleted: u64,
    kept_by_snapshots: u64,
    kept_by_grace: u64,
    failed_objects: u64,
    failures: Vec<Failed>,
    started_at: String,
}

#[derive(Deserialize)]
struct Item {
    kind: String,
    name: String,
    outcome: String,
    reason: String,
    objects: u64,
    size_bytes: u64,
}

#[derive(Deserialize)]
struct OrphanDeletion {
    allowed: bool,
}

#[derive(Deserialize)]
struct Failed {
    key: String,
    reason: String,
}

pub async fn run(client: &Client, command: GcCommand) -> Result<(), Failure> {
    match command {
        GcCommand::Run {
            dry_run,
            grace_seconds,
            orphans,
            orphan_tolerance_seconds,
        } => {
            let body = json!({
                "dry_run": dry_run, "grace_seconds": grace_seconds, "orphans": orphans,
                "orphan_tolerance_seconds": orphan_tolerance_seconds,
            });
            collect(client, &body).await
        }
        GcCommand::Items {
            run_id,
            outcome,
            kind,
            limit,
        } => {
            let query = Query::default().and("outcome", outcome).and("kind", kind);
            items(client, &run_id, query, limit.limit).await
        }
        GcCommand::OrphanDeletion { allow, forbid } => orphan_deletion(client, allow, forbid).await,
        GcCommand::List { limit } => list(client, limit.limit).await,
    }
}

async fn collect(client: &Client, body: &Value) -> Result<(), Failure> {
    let answer = client
        .post(&["v1", "gc", "runs"], Query::default(), body, LONGEST_RUN)
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
        (
            "orphans",
            match run.orphan_tolerance_seconds {
                None => "not looked for".into(),
                Some(_) => format!(
                    "{} found, {} {}",
                    text::count(run.orphans_found),
                    text::count(run.orphans_deleted),
                    if run.dry_run { "would go" } else { "deleted" }
                ),
            },
        ),
        ("kept by snapshots", text::count(run.kept_by_snapshots)),
        ("kept by grace", text::count(run.kept_by_grace)),
        ("not deleted", text::count(run.failed_objects)),
    ]))?;
    for failed in run.failures {
        output::line(&text::clean(&format!("{}: {}", failed.key, failed.reason)))?;
    }
    Ok(())
}

async fn items(client: &Client, run_id: &str, query: Query, limit: Option<u64>) -> Result<(), Failure> {
    let found = client.list(&["v1", "gc", "runs", run_id, "items"], query, limit).await?;
    if client.json {
        return output::json(&as_list(found));
    }
    let mut table = Table::new(&["KIND", "NAME", "OUTCOME", ">OBJECTS", ">SIZE", "REASON"]);
    for item in decode_all::<Item>(&found)? {
        table.row([
            item.kind,
            item.name,
            item.outcome,
            text::count(item.objects),
            text::bytes(item.size_bytes),
            item.reason,
        ]);
    }
    output::line(&table.render())
}

async fn orphan_deletion(client: &Client, allow: bool, forbid: bool) -> Result<(), Failure> {
    let path = ["v1", "gc", "orphan-deletion"];
    let answer = match allow || forbid {
        true => {
            let body = json!({"allowed": allow});
            client.send(Method::PUT, &path, Query::default(), &body).await?
        }
        false => client.get(&path, Query::default()).await?,
    };
    if client.json {
        return output::json(&answer);
    }
    let now: OrphanDeletion = decode(&answer)?;
    output::line(match now.allowed {
        true => "orphans are deleted when they have been known for long enough",
        false => "orphans are not deleted; `stillframe gc orphan-deletion --allow` allows it",
    })
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
