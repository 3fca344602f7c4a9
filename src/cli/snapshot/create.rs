//! `stillframe snapshot create`.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::super::args::{map, pair};
use super::super::failure::Failure;
use super::super::http::{Client, Query, decode};
use super::super::output;
use super::{Snapshot, content};

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Collection, by name or alias
    collection: String,
    /// Name of the snapshot
    name: String,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    /// Label; may be given again
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// Seal growing segments first and wait until the engine has flushed them
    #[arg(long)]
    flush: bool,
    /// Milliseconds to wait for that
    #[arg(long, value_name = "MS", requires = "flush", default_value_t = 30_000)]
    flush_timeout_ms: u64,
    /// Capture every flushed segment although a channel has never reported a seek position
    #[arg(long)]
    allow_unbounded: bool,
}

pub async fn run(client: &Client, args: CreateArgs) -> Result<(), Failure> {
    let body = json!({
        "db_name": client.db, "collection_name": args.collection, "snapshot_name": args.name, "description": args.description,
        "labels": map("--label", args.labels)?, "flush": args.flush, "flush_timeout_ms": args.flush_timeout_ms,
        "allow_unbounded": args.allow_unbounded,
    });
    let wait = if args.flush {
        Duration::from_millis(args.flush_timeout_ms)
    } else {
        Duration::ZERO
    };
    let created = client.post(&["v1", "snapshots"], Query::default(), &body, wait).await?;
    if client.json {
        return output::json(&created);
    }
    let s: Snapshot = decode(&created)?;
    let of = format!("{} of collection {}", s.snapshot_name, s.collection_name);
    output::line(&format!("created snapshot {of} in {:.1} ms: {}", s.took_ms, content(&s)))?;
    s.left_out
        .iter()
        .try_for_each(|left| output::line(&format!("left out: {left}")))
}
