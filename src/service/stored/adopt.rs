//! Adopting snapshots that another system wrote, where they lie.

use std::collections::BTreeMap;

use super::super::paths::database;
use super::super::{Service, commit};
use super::enter::Entering;
use super::{Candidate, about};
use crate::domain::id::{CollectionId, SnapshotId};
use crate::domain::snapshot::Snapshot;
use crate::domain::{Code, Error, FieldError, Result, key, name};
use crate::store;
use crate::store::snapshots::SnapshotFilter;

/// Snapshots to adopt.
#[derive(Debug, Clone)]
pub struct Adopt {
    /// Below the storage root; empty: the root itself.
    pub prefix: String,
    /// Database of the collections; must be there.
    pub db_name: String,
    /// Another name for the collection, where all snapshots are of one.
    pub collection_name: Option<String>,
    /// Only these; all that are there when empty.
    pub snapshot_ids: Vec<SnapshotId>,
}

/// What was adopted.
#[derive(Debug, Clone)]
pub struct Adopted {
    /// By collection, the oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Those that had been adopted from there before.
    pub already_adopted: Vec<SnapshotId>,
}

/// A snapshot to be adopted, as far as it is remembered from the first look.
struct Wanted {
    candidate: Candidate,
    create_ts: i64,
    collection_name: String,
}

/// Snapshots adopted by one call at most.
const MAX_SNAPSHOTS: usize = 1000;

impl Service {
    /// Registers the snapshots below a prefix, with their collections, segments and index builds, after
    /// looking for every file that they name. Copies nothing and changes nothing in the storage; the
    /// collections are external. All of them, or none.
    ///
    /// # Errors
    /// `invalid_request`, `database_not_found`, `snapshot_not_found`; what is wrong with a stored snapshot:
    /// `unreadable_snapshot`, `file_missing`, `file_size_mismatch`, `invalid_path`,
    /// `unsupported_storage_version`; what collides: `collection_already_exists`,
    /// `partition_already_exists`, `segment_already_exists`, `index_build_already_exists`,
    /// `snapshot_already_exists`; storage errors.
    pub async fn adopt_snapshots(&self, request: &Adopt) -> Result<Adopted> {
        self.caller.note(format!("prefix {:?}", request.prefix));
        let below = key::check_prefix(&request.prefix).map_err(|why| Error::invalid("/prefix", why))?;
        if let Some(given) = &request.collection_name {
            name::check(given).map_err(|why| Error::invalid("/collection_name", why))?;
        }
        let candidates = self.chosen(request, &below).await?;
        let mut tx = self.begin().await?;
        let db = database(&mut tx, &self.caller, &request.db_name).await?;
        let (mut wanted, mut already_adopted) = (Vec::new(), Vec::new());
        for candidate in candidates {
            if adopted_before(&mut tx, &candidate, &below).await? {
                already_adopted.push(candidate.snapshot_id);
                continue;
            }
            let opened = self.open_stored(&candidate).await;
            // only what orders and names them: of large snapshots not all fit in memory
            let metadata = opened.map_err(|e| about(&candidate.key, e))?.stored.metadata;
            wanted.push(Wanted {
                candidate,
                create_ts: metadata.create_ts,
                collection_name: metadata.collection_name,
            });
        }
        wanted.sort_by_key(|w| (w.candidate.collection_id, w.create_ts, w.candidate.snapshot_id));
        let names = collection_names(&wanted, request)?;
        for Wanted { candidate, .. } in &wanted {
            let entered = async {
                let opened = self.open_stored(candidate).await?;
                let entering = Entering {
                    opened: &opened,
                    below: &below,
                    adopted: true,
                    db: &db,
                    collection_name: &names[&candidate.collection_id],
                };
                self.enter_stored(&mut tx, &entering).await
            };
            entered.await.map_err(|e| about(&candidate.key, e))?;
        }
        for collection in names.keys() {
            store::stored_newest::show(&mut tx, *collection).await?;
        }
        let mut snapshots = Vec::with_capacity(wanted.len());
        for Wanted { candidate, .. } in &wanted {
            let filter = SnapshotFilter {
                snapshot: Some(candidate.snapshot_id),
                ..SnapshotFilter::default()
            };
            snapshots.extend(store::snapshots::list(&mut tx, &filter, false, None, 1).await?);
        }
        commit(tx).await?;
        tracing::info!(prefix = below, snapshots = snapshots.len(), "adopted");
        Ok(Adopted {
            snapshots,
            already_adopted,
        })
    }

    async fn chosen(&self, request: &Adopt, below: &str) -> Result<Vec<Candidate>> {
        let mut found = self.find_stored(below).await?;
        let place = format!("{below}snapshots/");
        let ids = &request.snapshot_ids;
        if !ids.is_empty() {
            if let Some((at, id)) = ids
                .iter()
                .enumerate()
                .find(|(_, id)| !found.iter().any(|c| c.snapshot_id == **id))
            {
                let why = format!("no metadata file of snapshot {id} lies below {place}");
                let field = FieldError::new(format!("/snapshot_ids/{at}"), why.clone());
                return Err(Code::SnapshotNotFound.error(why).with_fields(vec![field]));
            }
            found.retain(|c| ids.contains(&c.snapshot_id));
        }
        if found.is_empty() {
            return Err(Code::SnapshotNotFound.error(format!("no snapshot's metadata file lies below {place}")));
        }
        if found.len() > MAX_SNAPSHOTS {
            let why = format!(
                "{} snapshots lie there, at most {MAX_SNAPSHOTS} can be adopted at once",
                found.len()
            );
            return Err(Error::invalid("/snapshot_ids", why));
        }
        Ok(found)
    }
}

/// Whether a snapshot was adopted from this place before.
async fn adopted_before(conn: &mut store::PgConnection, candidate: &Candidate, below: &str) -> Result<bool> {
    let filter = SnapshotFilter {
        snapshot: Some(candidate.snapshot_id),
        ..SnapshotFilter::default()
    };
    let found = store::snapshots::list(conn, &filter, false, None, 1).await?;
    Ok(found
        .iter()
        .any(|s| s.collection_id == candidate.collection_id && s.adopted_from.as_deref() == Some(below)))
}

/// The name of each collection: the one asked for, or that of its newest snapshot.
fn collection_names(wanted: &[Wanted], request: &Adopt) -> Result<BTreeMap<CollectionId, String>> {
    let mut names: BTreeMap<CollectionId, String> = wanted
        .iter()
        .map(|w| (w.candidate.collection_id, w.collection_name.clone()))
        .collect();
    if let Some(given) = &request.collection_name {
        if names.len() > 1 {
            let why = format!(
                "the snapshots are of {} collections; choose some by snapshot_ids",
                names.len()
            );
            return Err(Error::invalid("/collection_name", why));
        }
        names.values_mut().for_each(|name| name.clone_from(given));
    }
    Ok(names)
}
