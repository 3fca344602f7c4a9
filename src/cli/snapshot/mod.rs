//! `stillframe snapshot`.

mod create;
mod export;
mod keep;
mod look;

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde::Deserialize;

pub use self::export::PlaceArgs;
use super::args::{LimitArgs, map, pair};
use super::collection::settings;
use super::failure::Failure;
use super::http::{Client, Query, as_list, decode, decode_all};
use super::table::{Table, pairs};
use super::{output, text};

#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Create a snapshot of a collection, by writing metadata only
    Create(create::CreateArgs),
    /// List snapshots, newest first
    List {
        /// Only of this collection; by its old name when it is dropped
        collection: Option<String>,
        /// Only names that begin so
        #[arg(long)]
        prefix: Option<String>,
        /// Those that are dropped and can still be taken back
        #[arg(long)]
        dropped: bool,
        /// Only with this label; all of them when given again
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
        labels: Vec<(String, String)>,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Show a snapshot
    Describe {
        #[command(flatten)]
        which: SnapshotArgs,
    },
    /// Export a snapshot as a bundle in Milvus' layout, to another prefix or store
    Export(export::ExportArgs),
    /// Drop a snapshot. The collector deletes what only it needed
    Drop {
        #[command(flatten)]
        which: SnapshotArgs,
    },
    /// Take a dropped snapshot back, as long as the collector has not taken it up
    Undelete {
        #[command(flatten)]
        which: SnapshotArgs,
    },
    /// Keep a snapshot from being dropped for a time: list, add and remove pins
    #[command(subcommand)]
    Pin(keep::PinCommand),
    /// Keep a snapshot from being dropped until the hold is lifted
    Hold(keep::HoldArgs),
    /// Lift the hold of a snapshot
    Unhold {
        #[command(flatten)]
        which: SnapshotArgs,
    },
    /// Look for every file of a snapshot; exit code 1 when something is wrong
    Verify(look::VerifyArgs),
    /// Say what a restore would do and what stands against it; changes nothing
    Plan(look::PlanArgs),
    /// Say what a snapshot takes, and what its drop would free
    Usage {
        #[command(flatten)]
        which: SnapshotArgs,
    },
}

/// Which snapshot.
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    /// Name of the snapshot
    #[arg(value_name = "SNAPSHOT")]
    pub name: String,
    /// Its collection, needed when several have a snapshot of this name
    #[arg(long, value_name = "NAME")]
    pub collection: Option<String>,
    /// Its id
    #[arg(long, value_name = "SNAPSHOT_ID")]
    pub id: Option<u64>,
}

impl SnapshotArgs {
    /// The query parameters that say which.
    pub fn query(&self, client: &Client) -> Query {
        client
            .query()
            .and("collection_name", self.collection.as_deref())
            .and("snapshot_id", self.id)
    }
}

#[derive(Deserialize)]
pub struct Snapshot {
    pub snapshot_id: String,
    pub snapshot_name: String,
    description: String,
    labels: BTreeMap<String, String>,
    db_name: String,
    collection_name: String,
    collection_id: String,
    collection_dropped: bool,
    protection: String,
    create_ts: String,
    s3_location: String,
    hold: Option<keep::Hold>,
    #[serde(default)]
    pin_count: u64,
    pub segment_count: u64,
    index_build_count: u64,
    pub num_of_rows: u64,
    pub file_count: u64,
    pub size_bytes: u64,
    pub metadata_bytes: u64,
    left_out: Vec<LeftOut>,
    created_at: String,
    /// Of one that was just created.
    #[serde(default)]
    pub took_ms: f64,
}

#[derive(Deserialize)]
struct LeftOut {
    reason: String,
    segment_count: u64,
    num_of_rows: u64,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (segments, rows) = (
            text::counted(self.segment_count, "segment"),
            text::counted(self.num_of_rows, "row"),
        );
        write!(f, "{segments} with {rows} ({})", self.reason)
    }
}

pub async fn run(client: &Client, command: SnapshotCommand) -> Result<(), Failure> {
    match command {
        SnapshotCommand::Create(args) => create::run(client, args).await,
        SnapshotCommand::List {
            collection,
            prefix,
            dropped,
            labels,
            limit,
        } => {
            let query = client
                .query()
                .and("state", dropped.then_some("deleting"))
                .and("collection_name", collection)
                .and("name_prefix", prefix)
                .and("labels", wanted(labels)?);
            list(client, query, limit.limit).await
        }
        SnapshotCommand::Describe { which } => describe(client, &which).await,
        SnapshotCommand::Export(args) => export::run(client, args).await,
        SnapshotCommand::Undelete { which } => keep::undelete(client, &which).await,
        SnapshotCommand::Pin(command) => keep::pin(client, command).await,
        SnapshotCommand::Hold(args) => keep::hold(client, args).await,
        SnapshotCommand::Unhold { which } => keep::unhold(client, &which).await,
        SnapshotCommand::Verify(args) => look::verify(client, args).await,
        SnapshotCommand::Plan(args) => look::plan(client, args).await,
        SnapshotCommand::Usage { which } => look::usage(client, &which).await,
        SnapshotCommand::Drop { which } => {
            client.delete(&["v1", "snapshots", &which.name], which.query(client)).await?;
            if client.json {
                Ok(())
            } else {
                output::line(&format!("dropped snapshot {}", which.name))
            }
        }
    }
}

/// The labels of a list, as its parameter has them.
fn wanted(labels: Vec<(String, String)>) -> Result<Option<String>, Failure> {
    let labels = map("--label", labels)?;
    let mut parts = labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
    if let Some(part) = parts.iter_mut().find(|part| part.contains(',')) {
        return Err(Failure::Usage(format!("can't look for the label {part:?}: it has a comma")));
    }
    Ok((!parts.is_empty()).then(|| parts.join(",")))
}

/// What is inside, on one line.
pub fn content(s: &Snapshot) -> String {
    let (segments, rows, files) = (
        text::counted(s.segment_count, "segment"),
        text::counted(s.num_of_rows, "row"),
        text::counted(s.file_count, "file"),
    );
    format!("{segments}, {rows}, {files}, {}", text::bytes(s.size_bytes))
}

async fn list(client: &Client, query: Query, limit: Option<u64>) -> Result<(), Failure> {
    let found = client.list(&["v1", "snapshots"], query, limit).await?;
    if client.json {
        return output::json(&as_list(found));
    }
    let mut table = Table::new(&[
        "SNAPSHOT",
        "COLLECTION",
        ">SEGMENTS",
        ">ROWS",
        ">FILES",
        ">SIZE",
        "CREATED (UTC)",
        "LABELS",
    ]);
    for s in decode_all::<Snapshot>(&found)? {
        let collection = if s.collection_dropped {
            format!("{} (dropped)", s.collection_name)
        } else {
            s.collection_name
        };
        let [segments, rows, files] = [s.segment_count, s.num_of_rows, s.file_count].map(text::count);
        let (size, created) = (text::bytes(s.size_bytes), text::utc(&s.created_at));
        table.row([
            s.snapshot_name,
            collection,
            segments,
            rows,
            files,
            size,
            created,
            settings(&s.labels),
        ]);
    }
    output::line(&table.render())
}

async fn describe(client: &Client, which: &SnapshotArgs) -> Result<(), Failure> {
    let found = client.get(&["v1", "snapshots", &which.name], which.query(client)).await?;
    if client.json {
        return output::json(&found);
    }
    let s: Snapshot = decode(&found)?;
    let dropped = if s.collection_dropped { " (dropped)" } else { "" };
    let left_out: Vec<String> = s.left_out.iter().map(ToString::to_string).collect();
    output::line(&pairs(&[
        ("name", s.snapshot_name),
        ("snapshot id", s.snapshot_id),
        ("database", s.db_name),
        (
            "collection",
            format!("{}{dropped}, id {}", s.collection_name, s.collection_id),
        ),
        ("description", s.description),
        ("labels", settings(&s.labels)),
        ("created (UTC)", text::utc(&s.created_at)),
        ("captured up to", text::hybrid(&s.create_ts)),
        ("protection", s.protection),
        ("hold", s.hold.map(|hold| hold.to_string()).unwrap_or_default()),
        ("pins", text::count(s.pin_count)),
        ("segments", text::count(s.segment_count)),
        ("index builds", text::count(s.index_build_count)),
        ("rows", text::count(s.num_of_rows)),
        ("files", text::count(s.file_count)),
        ("size", text::bytes(s.size_bytes)),
        ("own metadata", text::bytes(s.metadata_bytes)),
        (
            "left out",
            if left_out.is_empty() {
                "nothing".into()
            } else {
                left_out.join("; ")
            },
        ),
        ("location", s.s3_location),
    ]))
}
