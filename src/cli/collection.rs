//! `stillframe collection`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::Value;

use super::args::LimitArgs;
use super::failure::Failure;
use super::http::{Client, as_list, decode, decode_all};
use super::job::{ControlArgs, Job};
use super::table::{Table, pairs};
use super::{output, text, waiting};

#[derive(Debug, Subcommand)]
pub enum CollectionCommand {
    /// List collections, by name
    List {
        /// Only names that begin so
        #[arg(long)]
        prefix: Option<String>,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Show a collection with its fields, partitions, channels and indexes
    Describe {
        /// Name or alias
        name: String,
    },
    /// Copy the files of an external collection here, of its snapshots too: then it is owned, and they are protected
    Materialize {
        /// Name or alias
        name: String,
        #[command(flatten)]
        control: ControlArgs,
        /// Don't wait for the end: print the job and leave
        #[arg(long)]
        no_wait: bool,
    },
    /// Drop a collection. Its snapshots stay, with every file they need
    Drop {
        /// Name; not an alias
        name: String,
        /// Drop its snapshots too
        #[arg(long)]
        cascade: bool,
    },
}

#[derive(Deserialize)]
struct Summary {
    collection_id: String,
    name: String,
    ownership: String,
    num_shards: u32,
    created_at: String,
    description: String,
}

#[derive(Deserialize)]
struct Description {
    #[serde(flatten)]
    summary: Summary,
    db_name: String,
    consistency_level: String,
    fields: Vec<Field>,
    properties: BTreeMap<String, String>,
    partitions: Vec<Partition>,
    channels: Vec<Channel>,
    aliases: Vec<String>,
    segment_count: u64,
    num_of_rows: u64,
    size_bytes: u64,
}

#[derive(Deserialize)]
struct Field {
    field_id: String,
    name: String,
    data_type: String,
    #[serde(default)]
    is_primary_key: bool,
    #[serde(default)]
    type_params: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Partition {
    partition_id: String,
    name: String,
}

#[derive(Deserialize)]
struct Channel {
    channel_name: String,
    shard_no: u32,
    seek_position: Option<Position>,
}

#[derive(Deserialize)]
struct Position {
    timestamp: String,
}

#[derive(Deserialize)]
struct Index {
    index_id: String,
    index_name: String,
    field_id: String,
    index_params: BTreeMap<String, String>,
}

pub async fn run(client: &Client, command: CollectionCommand) -> Result<(), Failure> {
    match command {
        CollectionCommand::List { prefix, limit } => list(client, prefix, limit.limit).await,
        CollectionCommand::Describe { name } => describe(client, &name).await,
        CollectionCommand::Materialize { name, control, no_wait } => materialize(client, &name, &control, no_wait).await,
        CollectionCommand::Drop { name, cascade } => {
            client
                .delete(
                    &["v1", "collections", &name],
                    client.query().and("cascade", cascade.then_some(true)),
                )
                .await?;
            if client.json {
                return Ok(());
            }
            let snapshots = if cascade {
                ", and its snapshots"
            } else {
                "; its snapshots stay"
            };
            output::line(&format!("dropped collection {name}{snapshots}"))
        }
    }
}

async fn materialize(client: &Client, name: &str, control: &ControlArgs, no_wait: bool) -> Result<(), Failure> {
    let path = ["v1", "collections", name, "materialize"];
    let body = Value::Object(control.fields());
    let started = client.post(&path, client.query(), &body, Duration::ZERO).await?;
    let job: Job = decode(&started)?;
    job.warn();
    if no_wait {
        return match client.json {
            true => output::json(&started),
            false => output::line(&format!(
                "materialize job {} is {}; `stillframe job wait {0}` waits for its end",
                job.job_id, job.state
            )),
        };
    }
    waiting::to_the_end(client, job).await
}

async fn list(client: &Client, prefix: Option<String>, limit: Option<u64>) -> Result<(), Failure> {
    let found = client
        .list(&["v1", "collections"], client.query().and("name_prefix", prefix), limit)
        .await?;
    if client.json {
        return output::json(&as_list(found));
    }
    let mut table = Table::new(&[
        "NAME",
        ">COLLECTION ID",
        ">SHARDS",
        "OWNERSHIP",
        "CREATED (UTC)",
        "DESCRIPTION",
    ]);
    for c in decode_all::<Summary>(&found)? {
        let shards = text::count(c.num_shards.into());
        table.row([
            c.name,
            c.collection_id,
            shards,
            c.ownership,
            text::utc(&c.created_at),
            c.description,
        ]);
    }
    output::line(&table.render())
}

async fn describe(client: &Client, name: &str) -> Result<(), Failure> {
    let found = client.get(&["v1", "collections", name], client.query()).await?;
    if client.json {
        return output::json(&found);
    }
    let c: Description = decode(&found)?;
    let indexes = client
        .list(&["v1", "collections", name, "indexes"], client.query(), None)
        .await?;
    output::line(&pairs(&[
        ("name", c.summary.name),
        ("collection id", c.summary.collection_id),
        ("database", c.db_name),
        ("description", c.summary.description),
        ("ownership", c.summary.ownership),
        ("aliases", c.aliases.join(", ")),
        ("shards", text::count(c.summary.num_shards.into())),
        ("consistency", c.consistency_level),
        ("properties", settings(&c.properties)),
        ("segments", text::count(c.segment_count)),
        ("rows", text::count(c.num_of_rows)),
        ("size", text::bytes(c.size_bytes)),
        ("created (UTC)", text::utc(&c.summary.created_at)),
    ]))?;
    let mut fields = Table::new(&[">FIELD ID", "FIELD", "TYPE", "KEY", "PARAMETERS"]);
    for f in c.fields {
        let key = if f.is_primary_key { "primary" } else { "" };
        fields.row([f.field_id, f.name, f.data_type, key.into(), settings(&f.type_params)]);
    }
    let mut partitions = Table::new(&[">PARTITION ID", "PARTITION"]);
    c.partitions
        .into_iter()
        .for_each(|p| partitions.row([p.partition_id, p.name]));
    let mut channels = Table::new(&[">SHARD", "CHANNEL", ">POSITION"]);
    for ch in c.channels {
        let position = ch
            .seek_position
            .map_or_else(|| "never reported".into(), |p| text::hybrid(&p.timestamp));
        channels.row([text::count(ch.shard_no.into()), ch.channel_name, position]);
    }
    let mut builds = Table::new(&[">INDEX ID", "INDEX", ">FIELD ID", "PARAMETERS"]);
    for i in decode_all::<Index>(&indexes)? {
        builds.row([i.index_id, i.index_name, i.field_id, settings(&i.index_params)]);
    }
    for table in [fields, partitions, channels, builds] {
        output::line(&format!("\n{}", table.render()))?;
    }
    Ok(())
}

/// Settings on one line.
pub fn settings(map: &BTreeMap<String, String>) -> String {
    map.iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(" ")
}
