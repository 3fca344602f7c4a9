//! `stillframe restore`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::args::{map, pair};
use super::failure::Failure;
use super::http::{Client, Query, decode};
use super::job::{ControlArgs, Job};
use super::snapshot::{PlaceArgs, SnapshotArgs};
use super::{output, waiting};

#[derive(Debug, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    source: SnapshotArgs,
    /// Name of the collection to create
    #[arg(required_unless_present = "external")]
    target: Option<String>,
    /// Restore the bundle whose metadata file is here, not a snapshot of the service: then only the name of the collection to create is
    /// given beside it
    #[arg(long, value_name = "URI")]
    external: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    options: OptionArgs,
    #[command(flatten)]
    control: ControlArgs,
    /// Don't wait for the end: print the job and leave
    #[arg(long)]
    no_wait: bool,
}

/// What the new collection is to be like.
#[derive(Debug, Args)]
pub struct OptionArgs {
    /// Database of the new collection; that of --db when absent
    #[arg(long, value_name = "NAME")]
    target_db: Option<String>,
    /// Restore only this partition; may be given again
    #[arg(long = "partition", value_name = "NAME")]
    partitions: Vec<String>,
    /// Give a partition another name; may be given again
    #[arg(long = "rename", value_name = "PARTITION=NAME", value_parser = pair)]
    rename: Vec<(String, String)>,
    /// Give the new collection the aliases that the snapshot's had; they must be free
    #[arg(long)]
    aliases: bool,
    /// Set a property of the new collection, the others are kept; may be given again. The value may be empty
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = pair)]
    properties: Vec<(String, String)>,
    /// Leave a property of the source out; may be given again
    #[arg(long = "drop-property", value_name = "KEY")]
    drop_properties: Vec<String>,
}

impl OptionArgs {
    /// The request for a restore to a collection, as the service reads it.
    ///
    /// # Errors
    /// Something is said twice.
    pub fn body(self, client: &Client, target: &str) -> Result<Map<String, Value>, Failure> {
        let target_db = self.target_db.as_ref().or(client.db.as_ref());
        let mut body = Map::new();
        body.insert("collection_name".into(), target.into());
        body.insert("db_name".into(), json!(target_db));
        body.insert("partitions".into(), json!(self.partitions));
        body.insert("rename".into(), json!(map("--rename", self.rename)?));
        body.insert("properties".into(), json!(changes(self.properties, self.drop_properties)?));
        if self.aliases {
            body.insert("aliases".into(), true.into());
        }
        Ok(body)
    }
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
    let (path, target) = match (&args.external, args.target) {
        (None, Some(_)) if !args.place.is_empty() => {
            return Err(Failure::Usage("--store and --external-spec-file need --external".into()));
        }
        (None, Some(target)) => (vec!["v1", "snapshots", &args.source.name, "restore"], target),
        (Some(_), None) if args.source.collection.is_some() || args.source.id.is_some() => {
            return Err(Failure::Usage(
                "--collection and --id are of snapshots, --external is of a bundle".into(),
            ));
        }
        (Some(_), None) => (vec!["v1", "restores", "external"], args.source.name.clone()),
        (Some(_), Some(_)) | (None, None) => {
            return Err(Failure::Usage(
                "with --external URI only the collection to create is named, without it the snapshot and the collection".into(),
            ));
        }
    };
    if args.external.is_some() && args.options.aliases {
        return Err(Failure::Usage("a bundle has no aliases: --aliases is of snapshots".into()));
    }
    let mut body = args.options.body(client, &target)?;
    body.extend(args.control.fields());
    let query = match &args.external {
        None => args.source.query(client),
        Some(uri) => {
            if let Value::Object(place) = args.place.fields()? {
                body.extend(place);
            }
            body.insert("snapshot_metadata_uri".into(), uri.as_str().into());
            Query::default()
        }
    };
    let started = client.post(&path, query, &Value::Object(body), Duration::ZERO).await?;
    let job: Job = decode(&started)?;
    job.warn();
    if args.no_wait {
        return match client.json {
            true => output::json(&started),
            false => output::line(&format!(
                "restore job {} is {}; `stillframe job wait {0}` waits for its end",
                job.job_id, job.state
            )),
        };
    }
    waiting::to_the_end(client, job).await
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
