//! Create, drop, list and describe snapshots.

use super::{Facade, every_page};
use crate::domain::id::CollectionId;
use crate::domain::page::PageRequest;
use crate::domain::schema::Params;
use crate::domain::snapshot::{CapturedCollection, Shown, Snapshot};
use crate::domain::{Code, Error};
use crate::milvus::names;
use crate::milvus::status::{Refusal, code};
use crate::service::{CreateSnapshot, SnapshotDetails, SnapshotList, SnapshotRef};

/// Which snapshot a call is about.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotCall<'a> {
    pub db_name: &'a str,
    pub snapshot_name: &'a str,
    /// Name or alias; empty in calls of older clients.
    pub collection_name: &'a str,
}

/// Seconds of compaction protection at most: seven days.
const MAX_PROTECTION_SECONDS: i64 = 604_800;

impl SnapshotCall<'_> {
    /// The snapshot for a call that reads.
    pub(super) fn to_read(self) -> Result<SnapshotRef, Refusal> {
        let snapshot_name = names::snapshot(self.snapshot_name)?.to_string();
        let collection_name = Some(self.collection_name.trim()).filter(|name| !name.is_empty());
        Ok(SnapshotRef {
            db_name: self.db_name.to_string(),
            snapshot_name,
            collection_name: collection_name.map(str::to_string),
            snapshot_id: None,
        })
    }

    /// The same for a call that writes, which must name the collection; `call` is what Milvus' texts call it.
    pub(super) fn to_write(self, call: &str) -> Result<SnapshotRef, Refusal> {
        let wanted = self.to_read()?;
        match wanted.collection_name {
            Some(_) => Ok(wanted),
            None => Err(missing_collection(call)),
        }
    }
}

fn missing_collection(call: &str) -> Refusal {
    Refusal::missing(format!("collection_name is required for {call}"))
}

/// A failure of a call about a snapshot, in Milvus' words. `call` is what Milvus' texts call it.
fn explained(error: Error, wanted: &SnapshotRef, call: &str) -> Refusal {
    let name = &wanted.snapshot_name;
    let ours = error.code();
    let detail = error.detail().to_string();
    let refusal = Refusal::from(error);
    match ours {
        Code::SnapshotNotFound => not_found(refusal, name),
        Code::SnapshotNameAmbiguous => refusal.say(
            code::PARAMETER_MISSING,
            format!("collection_name is required for {call}: {detail}"),
        ),
        Code::SnapshotAlreadyExists => refusal.say(code::PARAMETER_INVALID, format!("snapshot name {name} already exists")),
        // Milvus' exports pin their snapshot, too
        Code::SnapshotPinned | Code::SnapshotBeingExported => {
            refusal.say(code::PARAMETER_INVALID, format!("snapshot pinned[snapshot={name}]: {detail}"))
        }
        Code::SnapshotBeingRestored => refusal.say(code::SERVICE_INTERNAL, format!("snapshot {name} is restoring: {detail}")),
        _ => refusal,
    }
}

fn not_found(refusal: Refusal, name: &str) -> Refusal {
    refusal.say(code::PARAMETER_INVALID, format!("snapshot not found[snapshot={name}]"))
}

impl Facade {
    /// A failure of a call about a snapshot, in Milvus' words. Where there is no such snapshot it says so
    /// of the collection that was named, or that there is no such collection either.
    pub(super) async fn explained(&self, error: Error, wanted: &SnapshotRef, call: &str) -> Refusal {
        let refusal = explained(error, wanted, call);
        let ours = refusal.error().map(Error::code);
        if matches!(ours, Some(Code::SnapshotPinned | Code::SnapshotBeingExported)) {
            return self.with_pins(refusal, wanted).await;
        }
        let is_missing = ours == Some(Code::SnapshotNotFound);
        let Some(collection) = wanted.collection_name.as_deref().filter(|_| is_missing) else {
            return refusal;
        };
        match self.collection_by_name(&wanted.db_name, collection).await {
            Ok(id) => {
                let text = format!("collection {id}: {}", refusal.reason());
                refusal.say(code::PARAMETER_INVALID, text)
            }
            Err(why) => why.into(),
        }
    }

    /// Milvus says how many pins there are. One that has expired meanwhile was there all the same, and an export is
    /// none here, but one in Milvus.
    async fn with_pins(&self, refusal: Refusal, wanted: &SnapshotRef) -> Refusal {
        let found = self.service.describe_snapshot(wanted, false).await;
        let pins = found.map_or(1, |details| details.snapshot.pins.max(1));
        let text = format!("{pins} active pins, unpin before dropping: {}", refusal.reason());
        refusal.say(code::PARAMETER_INVALID, text)
    }

    /// The collection that a name or an alias stands for; else the dropped one whose snapshots, dropped
    /// ones too, are found by the name.
    async fn collection_by_name(&self, db_name: &str, name: &str) -> Result<CollectionId, Error> {
        let unknown = match self.service.collection(db_name, name).await {
            Ok(found) => return Ok(found.collection_id),
            Err(error) if error.code() == Code::CollectionNotFound => error,
            Err(error) => return Err(error),
        };
        for shown in [Shown::Committed, Shown::Dropped] {
            let list = SnapshotList {
                db_name: db_name.to_string(),
                collection_name: Some(name.to_string()),
                shown,
                ..SnapshotList::default()
            };
            let first = self.service.list_snapshots(&list, &PageRequest::new(Some(1), None)?).await?;
            if let Some(found) = first.items.first() {
                return Ok(found.collection_id);
            }
        }
        Err(unknown)
    }

    /// Creates a snapshot. Compaction protection is checked and has no further effect: compaction
    /// is the engine's, and what a snapshot needs is kept all the same.
    ///
    /// # Errors
    /// In Milvus' words; no gRPC or HTTP failure.
    pub async fn create_snapshot(
        &self,
        call: SnapshotCall<'_>,
        description: &str,
        protection_seconds: i64,
    ) -> Result<Snapshot, Refusal> {
        let snapshot_name = names::snapshot(call.snapshot_name)?.to_string();
        let collection_name = names::collection(call.collection_name)?.to_string();
        if protection_seconds < 0 {
            return Err(Refusal::invalid("compaction_protection_seconds must be non-negative"));
        }
        if protection_seconds > MAX_PROTECTION_SECONDS {
            return Err(Refusal::invalid(format!(
                "compaction_protection_seconds must not exceed {MAX_PROTECTION_SECONDS}"
            )));
        }
        let wanted = SnapshotRef {
            db_name: call.db_name.to_string(),
            snapshot_name: snapshot_name.clone(),
            collection_name: Some(collection_name.clone()),
            snapshot_id: None,
        };
        let request = CreateSnapshot {
            db_name: call.db_name.to_string(),
            collection_name,
            snapshot_name,
            description: description.to_string(),
            labels: Params::default(),
            flush: None,
            allow_unbounded: false,
        };
        let created = match self.service.create_snapshot(request).await {
            Ok(created) => created,
            Err(error) => return Err(self.explained(error, &wanted, "create snapshot").await),
        };
        metrics::counter!(crate::telemetry::SNAPSHOTS_CREATED).increment(1);
        metrics::histogram!(crate::telemetry::SNAPSHOT_SECONDS).record(created.took.as_secs_f64());
        Ok(created.snapshot)
    }

    /// Drops a snapshot; one that is not there is success, as in Milvus. A collection that is not there
    /// is none.
    ///
    /// # Errors
    /// In Milvus' words; no gRPC or HTTP failure.
    pub async fn drop_snapshot(&self, call: SnapshotCall<'_>) -> Result<(), Refusal> {
        let wanted = call.to_write("drop snapshot")?;
        let Some(wanted) = self.for_write(wanted, "drop snapshot").await? else {
            return Ok(());
        };
        match self.service.drop_snapshot(&wanted, true).await {
            Err(error) => {
                let is_missing = error.code() == Code::SnapshotNotFound;
                let refusal = self.explained(error, &wanted, "drop snapshot").await;
                match is_missing && refusal.code() != code::COLLECTION_NOT_FOUND {
                    true => Ok(()),
                    false => Err(refusal),
                }
            }
            Ok(()) => Ok(()),
        }
    }

    /// Names of snapshots, newest first: of a collection, or of the whole database.
    ///
    /// # Errors
    /// In Milvus' words; no gRPC or HTTP failure.
    pub async fn list_snapshots(&self, db_name: &str, collection_name: &str) -> Result<Vec<String>, Refusal> {
        let collection_name = collection_name.trim();
        let list = SnapshotList {
            db_name: db_name.to_string(),
            collection_name: (!collection_name.is_empty()).then(|| collection_name.to_string()),
            ..SnapshotList::default()
        };
        let list = &list;
        let all = every_page(|page| async move { self.service.list_snapshots(list, &page).await }).await?;
        if all.is_empty() && !collection_name.is_empty() {
            // nothing of a dropped collection either: say so when there was never such a collection
            self.service.collection(db_name, collection_name).await?;
        }
        Ok(all.into_iter().map(|s| s.name).collect())
    }

    /// Describes a snapshot, with the collection as it was captured. Its location names the server too, as one in
    /// Milvus does.
    ///
    /// # Errors
    /// In Milvus' words; no gRPC or HTTP failure.
    pub async fn describe_snapshot(&self, call: SnapshotCall<'_>) -> Result<(Snapshot, CapturedCollection), Refusal> {
        let wanted = call.to_read()?;
        let details = self.details(&wanted, "describe snapshot").await?;
        let captured = details
            .captured
            .ok_or_else(|| Refusal::from(crate::domain::Error::internal("a described snapshot has no description")))?;
        let s3_location = self.service.told_to_milvus(&details.snapshot.s3_location);
        let snapshot = Snapshot {
            s3_location,
            ..details.snapshot
        };
        Ok((snapshot, captured))
    }

    async fn details(&self, wanted: &SnapshotRef, call: &str) -> Result<SnapshotDetails, Refusal> {
        match self.service.describe_snapshot(wanted, true).await {
            Ok(details) => Ok(details),
            Err(error) => Err(self.explained(error, wanted, call).await),
        }
    }

    /// The snapshot for a call that writes, its collection by its real name. An alias counts only
    /// where the snapshot captured it: one that was moved since must not reach another
    /// collection's snapshot (design §5). None: there is no such snapshot.
    pub(super) async fn for_write(&self, wanted: SnapshotRef, call: &str) -> Result<Option<SnapshotRef>, Refusal> {
        let Some(given) = wanted.collection_name.clone() else {
            return Err(missing_collection(call));
        };
        let real = self.real_name(&wanted.db_name, &given).await?;
        let by_name = SnapshotRef {
            collection_name: Some(real.clone()),
            ..wanted
        };
        if real == given {
            return Ok(Some(by_name));
        }
        let details = match self.service.describe_snapshot(&by_name, true).await {
            Err(error) if error.code() == Code::SnapshotNotFound => return Ok(None),
            Err(error) => return Err(self.explained(error, &by_name, call).await),
            Ok(details) => details,
        };
        let captured = details.captured.map(|c| c.aliases).unwrap_or_default();
        if !captured.contains(&given) {
            return Err(Refusal::invalid(format!(
                "{given} is an alias of {real} that it did not have when snapshot {} was taken; name the collection itself",
                by_name.snapshot_name
            )));
        }
        Ok(Some(by_name))
    }
}
