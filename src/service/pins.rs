//! Pinning snapshots, and taking dropped ones back.

use super::snapshots::{find, find_dropped, not_found};
use super::{Service, SnapshotRef, commit};
use crate::crash_point;
use crate::domain::id::PinId;
use crate::domain::page::{Page, PageRequest};
use crate::domain::snapshot::{Pin, Snapshot};
use crate::domain::{Code, Error, Result};
use crate::store;

/// Bytes of an owner at most, and of a reason.
const MAX_TEXT: (usize, usize) = (255, 4096);
/// Ten years.
const MAX_TTL_SECONDS: i64 = 315_360_000;

/// Checks who does something and why.
pub(super) fn check_owner(pointer: &str, owner: &str, reason: &str) -> Result<()> {
    if owner.is_empty() || owner.len() > MAX_TEXT.0 {
        let why = format!("must have 1 to {} bytes: say who", MAX_TEXT.0);
        return Err(Error::invalid(format!("{pointer}/owner"), why));
    }
    if reason.len() > MAX_TEXT.1 {
        return Err(Error::invalid(
            format!("{pointer}/reason"),
            format!("must have at most {} bytes", MAX_TEXT.1),
        ));
    }
    Ok(())
}

impl Service {
    /// Pins a snapshot: it can't be dropped until the pin expires or is deleted. Without
    /// `ttl_seconds` it never expires.
    ///
    /// # Errors
    /// `invalid_request`, `snapshot_not_found`, `snapshot_name_ambiguous`.
    pub async fn pin_snapshot(&self, wanted: &SnapshotRef, owner: &str, reason: &str, ttl_seconds: Option<i64>) -> Result<Pin> {
        check_owner("", owner, reason)?;
        if ttl_seconds.is_some_and(|ttl| !(1..=MAX_TTL_SECONDS).contains(&ttl)) {
            return Err(Error::invalid(
                "/ttl_seconds",
                format!("must be from 1 to {MAX_TTL_SECONDS} (ten years); leave it out for a pin that stays"),
            ));
        }
        let mut tx = self.begin().await?;
        let snapshot = find(&mut tx, &self.caller, wanted, true).await?;
        if !store::snapshots::hold(&mut tx, snapshot.snapshot_id).await? {
            return Err(not_found(wanted));
        }
        let id = PinId(store::catalog::allocate_ids(&mut tx, 1).await?);
        self.caller.note(format!("pin {id}"));
        let pin = store::pins::insert(&mut tx, id, snapshot.snapshot_id, owner, reason, ttl_seconds).await?;
        commit(tx).await?;
        Ok(pin)
    }

    /// Lists the pins of a snapshot that have not expired.
    ///
    /// # Errors
    /// `snapshot_not_found`, `snapshot_name_ambiguous`.
    pub async fn list_pins(&self, wanted: &SnapshotRef, page: &PageRequest) -> Result<Page<Pin>> {
        let mut conn = self.conn().await?;
        let snapshot = find(&mut conn, &self.caller, wanted, false).await?;
        let list = format!("pins?{}", snapshot.snapshot_id);
        let after: Option<i64> = page.cursor(&list)?;
        let items = store::pins::list(&mut conn, snapshot.snapshot_id, after, page.limit()).await?;
        Ok(page.page(&list, items, |p| p.pin_id.0))
    }

    /// Deletes a pin.
    ///
    /// # Errors
    /// `pin_not_found`, `snapshot_not_found`, `snapshot_name_ambiguous`.
    pub async fn unpin_snapshot(&self, wanted: &SnapshotRef, pin: PinId) -> Result<()> {
        self.caller.note(format!("pin {pin}"));
        let mut tx = self.begin().await?;
        let snapshot = find(&mut tx, &self.caller, wanted, true).await?;
        if !store::pins::delete(&mut tx, snapshot.snapshot_id, pin).await? {
            return Err(Code::PinNotFound.error(format!("snapshot {:?} has no pin {pin}, or it has expired", snapshot.name)));
        }
        commit(tx).await
    }

    /// Deletes a pin by its id alone; one that is not there, or not there for the caller, is as good as
    /// deleted.
    ///
    /// # Errors
    /// `permission_denied` to who may only read the snapshot.
    pub async fn delete_pin(&self, pin: PinId) -> Result<()> {
        self.caller.note(format!("pin {pin}"));
        let mut tx = self.begin().await?;
        let place = store::pins::place(&mut tx, pin).await?;
        let (db_name, collection_name) = place.clone().unwrap_or_default();
        if !self.caller.sees(&db_name, &collection_name) || place.is_none() {
            return Ok(());
        }
        self.caller.need_collection(&db_name, &collection_name)?;
        store::pins::delete_any(&mut tx, pin).await?;
        commit(tx).await
    }

    /// Takes a dropped snapshot back, as long as the collector has not taken it up.
    ///
    /// # Errors
    /// `snapshot_not_found` also when it is too late, `snapshot_name_ambiguous`,
    /// `snapshot_already_exists` when the name has been given again, `collection_being_materialized`.
    pub async fn undelete_snapshot(&self, wanted: &SnapshotRef) -> Result<Snapshot> {
        let mut tx = self.begin().await?;
        let dropped = find_dropped(&mut tx, &self.caller, wanted).await?;
        // refuses while the collection is being materialized; that it may be dropped is all right
        store::collections::hold(&mut tx, dropped.collection_id).await?;
        if !store::snapshots::undelete(&mut tx, dropped.snapshot_id).await? {
            return Err(not_found(wanted));
        }
        commit(tx).await?;
        crash_point::reached("snapshot.undeleted");
        let again = SnapshotRef {
            snapshot_id: Some(dropped.snapshot_id),
            ..wanted.clone()
        };
        find(&mut *self.conn().await?, &self.caller, &again, false).await
    }
}
