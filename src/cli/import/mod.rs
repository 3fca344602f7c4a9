//! `stillframe import`: registers what another system's catalog holds. Its files stay where they
//! are and are only read; its catalog is only read.

mod bodies;
mod catalog;
mod etcd;
mod existing;
mod messages;
mod places;
mod plan;
mod report;
mod source;
mod sync;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, Subcommand};

use self::etcd::{Etcd, EtcdArgs};
use self::existing::Summary;
use self::places::{Place, ServiceStorage};
use self::report::{Outcome, Report};
use self::source::Source;
use self::sync::Service;
use super::failure::Failure;
use super::http::{Client, Query, decode};
use super::output;

#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Register the collections of a running Milvus 2.3 or newer, or of a dump of its etcd
    ///
    /// Run it again to follow Milvus: new segments are added, compacted and dropped ones are dropped here too, files and
    /// index builds that came since are added. Collections become external: their files stay where Milvus keeps them,
    /// and are never deleted from here. Without --db collections of every database are imported.
    Milvus(Box<MilvusArgs>),
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("catalog").required(true).args(["etcd", "dump"]))]
pub struct MilvusArgs {
    #[command(flatten)]
    etcd: EtcdArgs,

    /// Instead of a running etcd: what `etcdctl get --prefix '' -w json` wrote
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,

    /// Where Milvus' catalog begins in etcd: its `etcd.rootPath`/`etcd.metaSubPath`
    #[arg(long, value_name = "KEY", default_value = "by-dev/meta")]
    etcd_root: String,

    /// Where Milvus keeps its files, as its `minio.bucketName` and `minio.rootPath` say: s3://bucket/files or file:///path. It
    /// must lie in the service's storage; without it they lie directly in the storage root
    #[arg(long, value_name = "URL")]
    storage: Option<String>,

    /// Only this collection; may be given several times
    #[arg(long, value_name = "NAME")]
    collection: Vec<String>,

    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(client: &Client, command: ImportCommand) -> Result<(), Failure> {
    let ImportCommand::Milvus(args) = command;
    let source = match (&args.etcd.etcd, &args.dump) {
        (Some(url), _) => Source::etcd(Etcd::connect(url, &args.etcd).await?, &args.etcd_root).await?,
        (None, Some(path)) => Source::dump(path, &args.etcd_root)?,
        (None, None) => return Err(Failure::Usage("--etcd or --dump must be given".into())),
    };
    let storage: ServiceStorage = decode(&client.get(&["v1", "storage"], Query::default()).await?)?;
    let place = Place::find(args.storage.as_deref(), &storage)?;
    let mut report = Report::new(source.revision, args.dry_run, place.is_shared());
    let service = Service::new(client, &storage, &place, args.dry_run);
    report.outcomes = collections(client, &source, &service, &args).await?;
    if client.json {
        output::json(&report.json())?;
    } else {
        output::line(&report.text())?;
    }
    report.failure().map_or(Ok(()), Err)
}

async fn collections(
    client: &Client,
    source: &Source,
    service: &Service<'_>,
    args: &MilvusArgs,
) -> Result<Vec<Outcome>, Failure> {
    let (mut dbs, mut listed) = catalog::list(source).await?;
    if let Some(db) = &client.db {
        dbs.retain(|name| name == db);
        listed.retain(|c| c.db_name == *db);
    }
    if let Some(missing) = args.collection.iter().find(|name| listed.iter().all(|c| c.name() != **name)) {
        return Err(Failure::Usage(format!("Milvus' catalog has no collection {missing:?}")));
    }
    let mut here: BTreeMap<String, Vec<Summary>> = BTreeMap::new();
    for db in dbs {
        let collections = existing::list(client, &db).await?;
        here.insert(db, collections);
    }
    let in_milvus: HashSet<String> = listed.iter().map(|c| c.collection_id.to_string()).collect();

    let wanted: HashSet<&str> = args.collection.iter().map(String::as_str).collect();
    listed.retain(|c| wanted.is_empty() || wanted.contains(c.name()));

    let mut aliases = catalog::aliases(source).await?;
    let mut outcomes = Vec::new();
    for collection in listed {
        let mut outcome = Outcome::of(&collection);
        if collection.is_half() {
            outcome.skip("being created or dropped in Milvus");
            outcomes.push(outcome);
            continue;
        }
        let id = collection.collection_id.to_string();
        let known = here
            .get(&collection.db_name)
            .into_iter()
            .flatten()
            .find(|c| c.collection_id == id);
        let ours = here
            .get(&collection.db_name)
            .into_iter()
            .flatten()
            .find(|c| c.name == collection.name() && c.collection_id != id && c.ownership == "owned");
        if let (None, Some(ours)) = (known, ours) {
            outcome.fail(&Failure::Other(anyhow!(
                "{} is the service's own collection here (id {}): it was materialized, restored or created here, and does not follow \
                 Milvus. Give it another name here, or drop it (its snapshots stay), and import again",
                ours.name,
                ours.collection_id
            )));
            outcomes.push(outcome);
            continue;
        }
        let own = aliases.remove(&collection.collection_id).unwrap_or_default();
        let done = async {
            let whole = catalog::read(source, collection, own).await?;
            service.follow(&whole, known.map(|c| c.name.as_str()), &mut outcome).await
        };
        match done.await {
            Ok(()) => {}
            // the others would fail like it
            Err(failure) if failure.may_pass() => return Err(failure),
            Err(failure) => outcome.fail(&failure),
        }
        outcomes.push(outcome);
    }
    if wanted.is_empty() {
        for (db, collections) in &here {
            let gone = collections
                .iter()
                .filter(|c| c.ownership == "external" && !in_milvus.contains(&c.collection_id));
            outcomes.extend(gone.map(|c| Outcome::absent(db, c)));
        }
    }
    Ok(outcomes)
}
