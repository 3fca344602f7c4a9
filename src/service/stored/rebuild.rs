//! Rebuilding the catalog from the storage that it owned, after the loss of its database.
//!
//! The database is lost, the bucket is not: metadata files and manifests say what each snapshot
//! needs. What they do not say is gone: labels, holds, pins, jobs, receipts, and everything
//! of collections that no snapshot captured. An alias belongs to the collection whose newest snapshot
//! captured it last.
//!
//! A collection comes back *living*, as its newest snapshot captured it, not as dropped: the engine
//! most likely still uses its files, and dropping a snapshot must then not take them away. Whoever
//! does not need it drops it. What only older snapshots captured was dropped between them, so it comes back
//! as dropped, and stays as long as one of them needs it. Nothing else is known, so nothing else is deleted:
//! orphans stay until an operator allows it.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;

use futures::TryStreamExt as _;
use sqlx::Acquire as _;

use super::super::{Service, commit};
use super::enter::Entering;
use super::{Candidate, is_of_content};
use crate::domain::collection::{DEFAULT_DATABASE, Database};
use crate::domain::id::{CollectionId, DatabaseId, SnapshotId};
use crate::domain::key::{self, DataPath};
use crate::domain::rebuild::{RebuildReport, RebuiltSnapshot, RenamedCollection, SkippedSnapshot};
use crate::domain::{Code, Error, Result, name};
use crate::objects::keys::{self, SnapshotObject};
use crate::store::snapshots::SnapshotFilter;
use crate::store::{self, PgConnection};

/// Ids above this are not followed: there would be too few left. Ours and Milvus' get there in the year 2527.
const HIGHEST: i64 = 1 << 62;

/// What the first look at a metadata file told.
struct Known {
    candidate: Candidate,
    create_ts: i64,
    name: String,
    db_name: String,
    collection_name: String,
    aliases: Vec<String>,
}

impl Service {
    /// Enters every snapshot of the storage whose files are all there into this catalog, which must be empty,
    /// and forbids that orphans are deleted. All of it is one transaction.
    ///
    /// # Errors
    /// `invalid_request` when the catalog is not empty; storage and database errors: nothing is entered then.
    pub async fn rebuild_catalog(&self) -> Result<RebuildReport> {
        let mut report = RebuildReport::default();
        let collections = self.look(&mut report).await?;
        report.highest_id = self.highest_id().await?;
        let mut tx = self.begin().await?;
        empty(&mut tx).await?;
        let names = name_collections(&collections, &mut report);
        for (id, snapshots) in &collections {
            let collection_name = &names[id];
            for known in snapshots {
                match self.enter_own(&mut tx, known, collection_name).await {
                    Ok(rebuilt) => report.snapshots.push(rebuilt),
                    Err(error) if is_of_content(&error) => skip(&mut report, &known.candidate, &error.to_string()),
                    Err(error) => return Err(error),
                }
            }
            store::stored_newest::show(&mut tx, *id).await?;
        }
        take_aliases(&mut tx, &collections, &report).await?;
        report
            .renamed
            .retain(|r| report.snapshots.iter().any(|s| s.collection_id == r.collection_id));
        store::catalog::skip_ids(&mut tx, report.highest_id).await?;
        store::orphans::set_may_delete(&mut tx, false).await?;
        commit(tx).await?;
        Ok(report)
    }

    /// Makes sure that there is nothing in the catalog, before anything else is done.
    ///
    /// # Errors
    /// `invalid_request` when there is; database errors.
    pub async fn check_catalog_is_empty(&self) -> Result<()> {
        empty(&mut *self.begin().await?).await
    }

    /// Reads every metadata file once; gives those of snapshots that can be entered by collection, the oldest
    /// first.
    async fn look(&self, report: &mut RebuildReport) -> Result<BTreeMap<CollectionId, Vec<Known>>> {
        let mut found: BTreeMap<CollectionId, Vec<Known>> = BTreeMap::new();
        for candidate in self.find_stored("").await? {
            let opened = match self.open_stored(&candidate).await {
                Ok(opened) => opened,
                Err(error) if is_of_content(&error) => {
                    skip(report, &candidate, &error.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            };
            if !opened.stored.ours {
                let why = "another system wrote it; it can be adopted (POST /v1/snapshots:adopt)";
                skip(report, &candidate, why);
                continue;
            }
            let metadata = opened.stored.metadata;
            found.entry(candidate.collection_id).or_default().push(Known {
                candidate,
                create_ts: metadata.create_ts,
                name: metadata.name,
                db_name: match metadata.db_name.as_str() {
                    "" => DEFAULT_DATABASE.to_string(),
                    name => name.to_string(),
                },
                collection_name: metadata.collection_name,
                aliases: metadata.aliases,
            });
        }
        for snapshots in found.values_mut() {
            snapshots.sort_by_key(|k| (k.create_ts, k.candidate.snapshot_id));
            skip_replaced(snapshots, report);
        }
        Ok(found)
    }

    /// One snapshot in a savepoint: what is wrong with it leaves the others alone.
    async fn enter_own(
        &self,
        tx: &mut sqlx::Transaction<'static, sqlx::Postgres>,
        known: &Known,
        collection_name: &str,
    ) -> Result<RebuiltSnapshot> {
        let opened = self.open_stored(&known.candidate).await?;
        let mut savepoint = tx.begin().await.map_err(store::failed)?;
        let db = own_database(&mut savepoint, &known.db_name).await?;
        let entering = Entering {
            opened: &opened,
            below: "",
            adopted: false,
            db: &db,
            collection_name,
        };
        self.enter_stored(&mut savepoint, &entering).await?;
        let filter = SnapshotFilter {
            snapshot: Some(known.candidate.snapshot_id),
            ..SnapshotFilter::default()
        };
        let entered = store::snapshots::list(&mut savepoint, &filter, false, None, 1).await?.pop();
        let entered = entered.ok_or_else(|| Error::internal("a snapshot that was just entered is not there"))?;
        savepoint.commit().await.map_err(store::failed)?;
        Ok(RebuiltSnapshot {
            snapshot_id: entered.snapshot_id,
            snapshot_name: entered.name,
            db_name: entered.db_name,
            collection_id: entered.collection_id,
            collection_name: entered.collection_name,
            segment_count: entered.totals.segments,
            file_count: entered.totals.files,
            size_bytes: entered.totals.size_bytes,
        })
    }

    /// The highest id that any key of the storage carries: files of things that no snapshot captured are
    /// there too, and their ids must not be given out again.
    async fn highest_id(&self) -> Result<i64> {
        let mut highest = 0;
        for directory in key::managed_directories().chain([keys::SNAPSHOTS]) {
            let mut listing = pin!(self.objects.walk(directory).await?);
            while let Some((key, _)) = listing.try_next().await? {
                let ids = ids_in(&key).into_iter().flatten().filter(|id| *id <= HIGHEST);
                highest = ids.fold(highest, i64::max);
            }
        }
        Ok(highest)
    }
}

/// Keeps others from entering anything, too, until the transaction ends.
async fn empty(conn: &mut PgConnection) -> Result<()> {
    match store::catalog::is_empty(conn).await? {
        true => Ok(()),
        false => Err(Code::InvalidRequest
            .error("the catalog is not empty: a rebuild is for a new one, whose database has nothing but its tables")),
    }
}

fn skip(report: &mut RebuildReport, candidate: &Candidate, reason: &str) {
    tracing::warn!(key = candidate.key, reason, "a snapshot is not rebuilt");
    report.skipped.push(SkippedSnapshot {
        key: candidate.key.clone(),
        snapshot_id: candidate.snapshot_id,
        reason: reason.to_string(),
    });
}

/// Of several snapshots of one name only the newest was not dropped: names are unique. The files of the
/// others were waiting for the collector.
fn skip_replaced(snapshots: &mut Vec<Known>, report: &mut RebuildReport) {
    let newest: HashMap<String, SnapshotId> = snapshots.iter().map(|k| (k.name.clone(), k.candidate.snapshot_id)).collect();
    snapshots.retain(|known| {
        let by = newest[&known.name];
        let stays = by == known.candidate.snapshot_id;
        if !stays {
            let why = format!("snapshot {by} has its name, so it must have been dropped");
            skip(report, &known.candidate, &why);
        }
        stays
    });
}

/// The name of each collection: that of its newest snapshot. Where several would have one, the collection
/// with the newest snapshot gets it, and the others, which were renamed or dropped, get their id behind it.
fn name_collections(
    collections: &BTreeMap<CollectionId, Vec<Known>>,
    report: &mut RebuildReport,
) -> HashMap<CollectionId, String> {
    let mut newest: Vec<(CollectionId, &Known)> = collections.iter().filter_map(|(id, all)| Some((*id, all.last()?))).collect();
    newest.sort_by_key(|(_, known)| std::cmp::Reverse((known.create_ts, known.candidate.snapshot_id)));
    let mut taken = std::collections::HashSet::new();
    let mut names = HashMap::new();
    for (id, known) in newest {
        let was = known.collection_name.clone();
        let is = match taken.insert((known.db_name.clone(), was.clone())) {
            true => was.clone(),
            false => {
                let cut: String = was.chars().take(name::MAX_NAME_LENGTH - 20).collect();
                format!("{cut}_{id}")
            }
        };
        if is != was {
            taken.insert((known.db_name.clone(), is.clone()));
            report.renamed.push(RenamedCollection {
                collection_id: id,
                was,
                is: is.clone(),
            });
        }
        names.insert(id, is);
    }
    // those of which every snapshot was skipped are not asked for
    for id in collections.keys() {
        names.entry(*id).or_default();
    }
    names
}

/// Gives the collections the aliases that their newest snapshots captured. Where several captured one, it was
/// moved: to the collection with the newest snapshot. A name that is taken is left.
async fn take_aliases(
    conn: &mut PgConnection,
    collections: &BTreeMap<CollectionId, Vec<Known>>,
    report: &RebuildReport,
) -> Result<()> {
    let entered = |known: &&Known| report.snapshots.iter().any(|s| s.snapshot_id == known.candidate.snapshot_id);
    let mut newest: Vec<&Known> = collections
        .values()
        .filter_map(|all| all.iter().rev().find(entered))
        .collect();
    newest.sort_by_key(|known| std::cmp::Reverse((known.create_ts, known.candidate.snapshot_id)));
    for known in newest {
        let db = own_database(conn, &known.db_name).await?;
        let taken = store::names::taken(conn, db.db_id, &known.aliases).await?;
        for alias in known.aliases.iter().filter(|alias| !taken.contains(alias)) {
            let id = known.candidate.collection_id;
            store::names::take(conn, db.db_id, alias, store::names::NameKind::Alias, id, || {
                Error::internal(format!("the alias {alias:?} is there twice"))
            })
            .await?;
        }
    }
    Ok(())
}

async fn own_database(conn: &mut PgConnection, name: &str) -> Result<Database> {
    if let Some(found) = store::databases::find(conn, name).await? {
        return Ok(found);
    }
    name::check(name).map_err(|why| Code::UnreadableSnapshot.error(format!("the database's name {name:?} {why}")))?;
    let id = DatabaseId(store::catalog::allocate_ids(conn, 1).await?);
    store::databases::insert(conn, id, name).await?;
    let found = store::databases::find(conn, name).await?;
    found.ok_or_else(|| Error::internal("a database that was just made is not there"))
}

/// The ids in a key of ours, or of an engine's file.
fn ids_in(key: &str) -> [Option<i64>; 4] {
    if let Some(object) = keys::parse(key) {
        let collection = keys::collection_of(key).map(|c| c.0);
        return match object {
            SnapshotObject::Metadata(snapshot) => [collection, Some(snapshot.0), None, None],
            SnapshotObject::Manifest(snapshot, segment) => [collection, Some(snapshot.0), Some(segment.0), None],
            SnapshotObject::Receipt(job) => [collection, Some(job.0), None, None],
        };
    }
    match DataPath::parse(key) {
        Ok(path) => [
            path.collection.map(|i| i.0),
            path.partition.map(|i| i.0),
            path.segment.map(|i| i.0),
            path.build.map(|i| i.0),
        ],
        Err(_) => [None; 4],
    }
}
