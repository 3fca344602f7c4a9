//! Finding, listing, describing, changing and dropping snapshots.

use time::OffsetDateTime;

use super::paths::database;
use super::pins::check_owner;
use super::{Service, commit};
use crate::crash_point;
use crate::domain::access::Caller;
use crate::domain::collection::Database;
use crate::domain::id::SnapshotId;
use crate::domain::manifest::Manifest;
use crate::domain::page::{Page, PageRequest};
use crate::domain::schema::Params;
use crate::domain::snapshot::{CapturedCollection, Shown, Snapshot};
use crate::domain::timestamp::rfc3339;
use crate::domain::verification::Verification;
use crate::domain::{Code, Error, Result};
use crate::store::snapshots::SnapshotFilter;
use crate::store::{self, PgConnection};

/// How a request names a snapshot.
#[derive(Debug, Clone, Default)]
pub struct SnapshotRef {
    pub db_name: String,
    pub snapshot_name: String,
    pub collection_name: Option<String>,
    pub snapshot_id: Option<SnapshotId>,
}

/// Which snapshots to list.
#[derive(Debug, Clone, Default)]
pub struct SnapshotList {
    pub db_name: String,
    pub collection_name: Option<String>,
    pub name_prefix: Option<String>,
    pub labels: Params,
    pub created_from: Option<OffsetDateTime>,
    pub created_before: Option<OffsetDateTime>,
    pub oldest_first: bool,
    pub shown: Shown,
}

/// What to change of a snapshot.
#[derive(Debug, Clone, Default)]
pub struct SnapshotChange {
    pub description: Option<String>,
    /// Labels to set, or to remove where there is no value.
    pub labels: Vec<(String, Option<String>)>,
    /// Put it on hold by this owner for this reason, or lift the hold.
    pub hold: Option<Option<(String, String)>>,
}

/// A snapshot, with the collection as it was captured when asked for.
#[derive(Debug, Clone)]
pub struct SnapshotDetails {
    pub snapshot: Snapshot,
    pub captured: Option<CapturedCollection>,
    /// The newest of each level, the newest of all first.
    pub verifications: Vec<Verification>,
}

/// Narrows a filter to a collection by name: a living one, else dropped ones of that name.
/// A write never goes through an alias: it may have been moved since.
async fn of_collection(
    conn: &mut PgConnection,
    caller: &Caller,
    db: &Database,
    name: &str,
    may_be_alias: bool,
    filter: &mut SnapshotFilter,
) -> Result<()> {
    caller.need_collection(&db.name, name)?;
    match store::collections::find(conn, db.db_id, name).await? {
        Some(found) if !caller.sees(&db.name, &found.name) => return caller.need_named(&db.name, name, &found.name),
        Some(found) if may_be_alias || found.name == name => filter.collection = Some(found.collection_id),
        Some(found) => {
            return Err(Code::CollectionNotFound.error(format!(
                "{name:?} is an alias of {:?}; name the collection itself, or give snapshot_id",
                found.name
            )));
        }
        None => filter.dropped_collection_name = Some(name.to_string()),
    }
    Ok(())
}

/// Finds the one committed snapshot that a request names. Those of collections that the caller
/// may not read are not there; on the others the caller needs the operation's permission.
pub(super) async fn find(conn: &mut PgConnection, caller: &Caller, wanted: &SnapshotRef, for_write: bool) -> Result<Snapshot> {
    find_shown(conn, caller, wanted, for_write, Shown::Committed).await
}

/// Finds the one dropped snapshot that a request names, as long as it can be taken back.
pub(super) async fn find_dropped(conn: &mut PgConnection, caller: &Caller, wanted: &SnapshotRef) -> Result<Snapshot> {
    find_shown(conn, caller, wanted, true, Shown::Dropped).await
}

/// Whether what a request names has just been dropped: of one collection all of that name are, and can be taken back.
async fn was_dropped(conn: &mut PgConnection, caller: &Caller, wanted: &SnapshotRef) -> Result<bool> {
    let filter = named(conn, caller, wanted, true, Shown::Dropped).await?;
    let found = store::snapshots::list(conn, &filter, false, None, NAMESAKES).await?;
    let Some(first) = found.first() else { return Ok(false) };
    caller.need_collection(&first.db_name, &first.collection_name)?;
    Ok(found.iter().all(|s| s.collection_id == first.collection_id))
}

/// Dropped snapshots of one name that are looked at.
const NAMESAKES: i64 = 1000;

async fn find_shown(
    conn: &mut PgConnection,
    caller: &Caller,
    wanted: &SnapshotRef,
    for_write: bool,
    shown: Shown,
) -> Result<Snapshot> {
    caller.note(format!("snapshot {:?}", wanted.snapshot_name));
    let filter = named(conn, caller, wanted, for_write, shown).await?;
    let mut found = store::snapshots::list(conn, &filter, false, None, 2).await?;
    if found.len() > 1 {
        return Err(Code::SnapshotNameAmbiguous.error(format!(
            "several snapshots are named {:?}, for example of the collections {:?} ({}) and {:?} ({}); add collection_name or snapshot_id",
            wanted.snapshot_name, found[0].collection_name, found[0].snapshot_id, found[1].collection_name, found[1].snapshot_id
        )));
    }
    let found = found.pop().ok_or_else(|| not_found(wanted))?;
    caller.need_collection(&found.db_name, &found.collection_name)?;
    Ok(found)
}

/// The snapshots that a request may mean.
async fn named(
    conn: &mut PgConnection,
    caller: &Caller,
    wanted: &SnapshotRef,
    for_write: bool,
    shown: Shown,
) -> Result<SnapshotFilter> {
    let db = database(conn, caller, &wanted.db_name).await?;
    let mut filter = SnapshotFilter {
        db: Some(db.db_id),
        name: Some(wanted.snapshot_name.clone()),
        snapshot: wanted.snapshot_id,
        shown,
        visible: caller.visible(),
        ..SnapshotFilter::default()
    };
    if let Some(name) = &wanted.collection_name {
        of_collection(conn, caller, &db, name, !for_write, &mut filter).await?;
    }
    Ok(filter)
}

pub(super) fn not_found(wanted: &SnapshotRef) -> Error {
    let of = wanted
        .collection_name
        .as_ref()
        .map(|c| format!(" of collection {c:?}"))
        .unwrap_or_default();
    let id = wanted.snapshot_id.map(|id| format!(" with id {id}")).unwrap_or_default();
    Code::SnapshotNotFound.error(format!(
        "snapshot not found: {:?}{id}{of} in database {:?}",
        wanted.snapshot_name, wanted.db_name
    ))
}

fn because(reason: &str) -> String {
    match reason {
        "" => String::new(),
        reason => format!(" ({reason})"),
    }
}

/// Marks a committed snapshot as dropped unless it is in use. True when this call did it.
pub(super) async fn drop_locked(conn: &mut PgConnection, id: SnapshotId) -> Result<bool> {
    if !store::snapshots::lock(conn, id).await? {
        return Ok(false);
    }
    let filter = SnapshotFilter {
        snapshot: Some(id),
        ..SnapshotFilter::default()
    };
    let found = store::snapshots::list(conn, &filter, false, None, 1).await?.pop();
    let found = found.ok_or_else(|| Error::internal("a locked snapshot is not there"))?;
    if let Some(hold) = found.hold {
        return Err(Code::SnapshotHeld.error(format!(
            "snapshot {:?} ({id}) is on hold by {:?}{}; lift the hold first",
            found.name,
            hold.owner,
            because(&hold.reason)
        )));
    }
    if let Some(pin) = store::pins::list(conn, id, None, 1).await?.pop() {
        let until = pin.expires_at.map_or_else(|| "it is deleted".to_string(), rfc3339);
        let others = match found.pins {
            0 | 1 => String::new(),
            n => format!("; it has {n} pins"),
        };
        return Err(Code::SnapshotPinned.error(format!(
            "snapshot {:?} ({id}) is pinned by {:?}{} until {until} (pin {}){others}",
            found.name,
            pin.owner,
            because(&pin.reason),
            pin.pin_id
        )));
    }
    if let Some((job, exports)) = store::snapshots::running_job(conn, id).await? {
        if exports {
            return Err(Code::SnapshotBeingExported.error(format!(
                "snapshot {id} is being exported by job {job}; wait for it, or cancel it"
            )));
        }
        return Err(Code::SnapshotBeingRestored.error(format!(
            "snapshot {id} is being restored by job {job}; wait for it, or cancel it"
        )));
    }
    store::snapshots::mark_dropped(conn, id).await?;
    Ok(true)
}

/// Bytes of a description at most.
const MAX_DESCRIPTION: usize = 64 * 1024;
/// Labels of a snapshot at most.
const MAX_LABELS: usize = 64;
/// Bytes of a label's key and value at most.
const MAX_LABEL: (usize, usize) = (255, 4096);

/// Checks what a request says about a snapshot: lists show it, a thousand at a time.
pub(super) fn check_texts(description: &str, labels: &Params) -> Result<()> {
    if description.len() > MAX_DESCRIPTION {
        return Err(Error::invalid(
            "/description",
            format!("must have at most {MAX_DESCRIPTION} bytes"),
        ));
    }
    if labels.len() > MAX_LABELS {
        return Err(Error::invalid("/labels", format!("at most {MAX_LABELS} labels are possible")));
    }
    match labels
        .iter()
        .find(|(key, value)| key.is_empty() || key.len() > MAX_LABEL.0 || value.len() > MAX_LABEL.1)
    {
        Some(_) => Err(Error::invalid(
            "/labels",
            format!("a key has 1 to {} bytes, a value at most {}", MAX_LABEL.0, MAX_LABEL.1),
        )),
        None => Ok(()),
    }
}

impl Service {
    /// Lists committed snapshots, or dropped ones that can be taken back; newest first unless asked
    /// otherwise.
    ///
    /// # Errors
    /// `database_not_found`, `invalid_page_token`. An unknown collection gives an empty list of
    /// the snapshots of dropped collections of that name.
    pub async fn list_snapshots(&self, wanted: &SnapshotList, page: &PageRequest) -> Result<Page<Snapshot>> {
        let mut conn = self.conn().await?;
        let db = database(&mut conn, &self.caller, &wanted.db_name).await?;
        let mut filter = SnapshotFilter {
            db: Some(db.db_id),
            name_prefix: wanted.name_prefix.clone(),
            labels: wanted.labels.clone(),
            created_from: wanted.created_from,
            created_before: wanted.created_before,
            shown: wanted.shown,
            visible: self.caller.visible(),
            ..SnapshotFilter::default()
        };
        if let Some(name) = &wanted.collection_name {
            of_collection(&mut conn, &self.caller, &db, name, true, &mut filter).await?;
        }
        let list = format!("snapshots?{wanted:?}");
        let after = page.cursor(&list)?;
        let items = store::snapshots::list(&mut conn, &filter, wanted.oldest_first, after, page.limit()).await?;
        Ok(page.page(&list, items, store::snapshots::cursor))
    }

    /// The location of a snapshot's metadata file as Milvus and its clients read one: with the server.
    pub fn told_to_milvus(&self, location: &str) -> String {
        self.objects.url().told_to_milvus(location)
    }

    /// Describes a snapshot.
    ///
    /// # Errors
    /// `snapshot_not_found`, `snapshot_name_ambiguous`.
    pub async fn describe_snapshot(&self, wanted: &SnapshotRef, include_collection_info: bool) -> Result<SnapshotDetails> {
        let mut conn = self.conn().await?;
        let snapshot = find(&mut conn, &self.caller, wanted, false).await?;
        let captured = if include_collection_info {
            Some(store::snapshots::description(&mut conn, snapshot.snapshot_id).await?)
        } else {
            None
        };
        let verifications = store::verifications::last(&mut conn, snapshot.snapshot_id).await?;
        Ok(SnapshotDetails {
            snapshot,
            captured,
            verifications,
        })
    }

    /// Lists the segments of a snapshot with their index builds, by segment id.
    ///
    /// # Errors
    /// `snapshot_not_found`, `snapshot_name_ambiguous`.
    pub async fn snapshot_segments(&self, wanted: &SnapshotRef, page: &PageRequest) -> Result<Page<Manifest>> {
        let mut conn = self.conn().await?;
        let snapshot = find(&mut conn, &self.caller, wanted, false).await?;
        let list = format!("snapshot-segments?{}", snapshot.snapshot_id);
        let after: Option<i64> = page.cursor(&list)?;
        let items = store::snapshots::manifests(&mut conn, snapshot.snapshot_id, after, page.limit()).await?;
        Ok(page.page(&list, items, |m| m.segment.segment_id.0))
    }

    /// Changes the description, labels, and the hold.
    ///
    /// # Errors
    /// `snapshot_not_found`, `snapshot_name_ambiguous`.
    pub async fn change_snapshot(&self, wanted: &SnapshotRef, change: SnapshotChange) -> Result<Snapshot> {
        if let Some(Some((owner, reason))) = &change.hold {
            check_owner("/hold", owner, reason)?;
        }
        let mut tx = self.begin().await?;
        let found = find(&mut tx, &self.caller, wanted, true).await?;
        if !store::snapshots::lock(&mut tx, found.snapshot_id).await? {
            return Err(not_found(wanted));
        }
        // read again under the lock: two changes of different labels must both count
        let mut snapshot = find(&mut tx, &self.caller, wanted, true).await?;
        for (key, value) in change.labels {
            match value {
                Some(value) => snapshot.labels.insert(key, value),
                None => snapshot.labels.remove(&key),
            };
        }
        snapshot.description = change.description.unwrap_or(snapshot.description);
        check_texts(&snapshot.description, &snapshot.labels)?;
        if !store::snapshots::set_texts(&mut tx, snapshot.snapshot_id, &snapshot.description, &snapshot.labels).await? {
            return Err(not_found(wanted));
        }
        if let Some(hold) = &change.hold {
            let hold = hold.as_ref().map(|(owner, reason)| (owner.as_str(), reason.as_str()));
            store::snapshots::set_hold(&mut tx, snapshot.snapshot_id, hold).await?;
        }
        let changed = find(&mut tx, &self.caller, wanted, true).await?;
        commit(tx).await?;
        Ok(changed)
    }

    /// Drops a snapshot: it is gone for every reader at once; the collector deletes its files
    /// after the grace period. Calls that drop the same snapshot at the same time all succeed; so does,
    /// unless `must_be_there`, one that comes later, as long as the dropped one can be taken back.
    ///
    /// # Errors
    /// `snapshot_not_found`, `snapshot_name_ambiguous`, `snapshot_being_restored`, `snapshot_held`,
    /// `snapshot_pinned`, `collection_being_materialized`.
    pub async fn drop_snapshot(&self, wanted: &SnapshotRef, must_be_there: bool) -> Result<()> {
        let mut tx = self.begin().await?;
        let snapshot = match find(&mut tx, &self.caller, wanted, true).await {
            Err(error) if error.code() == Code::SnapshotNotFound && !must_be_there => {
                return if was_dropped(&mut tx, &self.caller, wanted).await? {
                    Ok(())
                } else {
                    Err(error)
                };
            }
            found => found?,
        };
        // refuses while the collection is being materialized; that it may be dropped is all right
        store::collections::hold(&mut tx, snapshot.collection_id).await?;
        drop_locked(&mut tx, snapshot.snapshot_id).await?;
        commit(tx).await?;
        crash_point::reached("snapshot.dropped");
        Ok(())
    }
}
