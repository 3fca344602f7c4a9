//! `stillframe usage`, and what a drop frees.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::Failure;
use super::http::{Client, Query, decode};
use super::table::pairs;
use super::{output, text};

#[derive(Debug, Args)]
pub struct UsageArgs {
    /// Say what dropping this snapshot would free, all of them together when given again
    #[arg(long = "drop", value_name = "SNAPSHOT")]
    drop: Vec<String>,
    /// The collection of the snapshots that --drop names
    #[arg(long, value_name = "NAME", requires = "drop")]
    collection: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    live_bytes: u64,
    shared_bytes: u64,
    held_by_snapshots_bytes: u64,
    waiting_bytes: u64,
    external_bytes: u64,
    metadata_bytes: u64,
    orphan_bytes: u64,
    owned_file_count: u64,
    snapshot_count: u64,
}

/// What a drop frees.
#[derive(Deserialize)]
pub struct Freed {
    segment_count: u64,
    index_build_count: u64,
    data_file_count: u64,
    data_bytes: u64,
    metadata_object_count: u64,
    metadata_bytes: u64,
    total_bytes: u64,
}

impl Freed {
    /// Its figures, by name.
    pub fn pairs(&self) -> [(&'static str, String); 5] {
        [
            ("a drop frees", text::bytes(self.total_bytes)),
            ("segments", text::count(self.segment_count)),
            ("index builds", text::count(self.index_build_count)),
            (
                "data",
                format!(
                    "{}, {}",
                    text::counted(self.data_file_count, "file"),
                    text::bytes(self.data_bytes)
                ),
            ),
            (
                "metadata",
                format!(
                    "{}, {}",
                    text::counted(self.metadata_object_count, "object"),
                    text::bytes(self.metadata_bytes)
                ),
            ),
        ]
    }
}

/// Runs it.
///
/// # Errors
/// What the service answered, or that it did not.
pub async fn run(client: &Client, args: UsageArgs) -> Result<(), Failure> {
    if args.drop.is_empty() {
        return usage(client).await;
    }
    let dropped: Vec<Value> = args
        .drop
        .iter()
        .map(|name| json!({"snapshot_name": name, "collection_name": args.collection}))
        .collect();
    let body = json!({"db_name": client.db, "drop": dropped});
    let answer = client
        .post(&["v1", "usage", "simulate"], Query::default(), &body, Duration::ZERO)
        .await?;
    if client.json {
        return output::json(&answer);
    }
    output::line(&pairs(&decode::<Freed>(&answer)?.pairs()))
}

async fn usage(client: &Client) -> Result<(), Failure> {
    let found = client.get(&["v1", "usage"], client.query()).await?;
    if client.json {
        return output::json(&found);
    }
    let u: Usage = decode(&found)?;
    output::line(&pairs(&[
        ("live", text::bytes(u.live_bytes)),
        ("of that shared", text::bytes(u.shared_bytes)),
        ("held by snapshots", text::bytes(u.held_by_snapshots_bytes)),
        ("to be collected", text::bytes(u.waiting_bytes)),
        ("external", text::bytes(u.external_bytes)),
        ("metadata", text::bytes(u.metadata_bytes)),
        ("orphans", text::bytes(u.orphan_bytes)),
        ("owned files", text::count(u.owned_file_count)),
        ("snapshots", text::count(u.snapshot_count)),
    ]))
}
