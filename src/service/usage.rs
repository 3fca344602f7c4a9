//! What things cost.

use super::paths::database;
use super::snapshots::find;
use super::{Service, SnapshotRef};
use crate::domain::Result;
use crate::domain::access::Permission;
use crate::domain::usage::{Freed, SnapshotUsage, Usage};
use crate::store;

impl Service {
    /// Bytes of a database, or of the whole catalog. Reads every segment's row.
    ///
    /// # Errors
    /// `database_not_found`.
    pub async fn usage(&self, db_name: Option<&str>) -> Result<Usage> {
        match db_name {
            Some(name) => self.caller.need_whole_database(name)?,
            None => self.caller.need_everywhere(Permission::Read)?,
        }
        let mut conn = self.conn().await?;
        let db = match db_name {
            Some(name) => Some(database(&mut conn, &self.caller, name).await?.db_id.0),
            None => None,
        };
        store::usage::totals(&mut conn, db).await
    }

    /// What a snapshot takes, and what its drop would free.
    ///
    /// # Errors
    /// `snapshot_not_found`, `snapshot_name_ambiguous`.
    pub async fn snapshot_usage(&self, wanted: &SnapshotRef) -> Result<SnapshotUsage> {
        let mut conn = self.conn().await?;
        let snapshot = find(&mut conn, &self.caller, wanted, false).await?;
        let freed = store::usage::freed_by(&mut conn, &[snapshot.snapshot_id.0]).await?;
        Ok(SnapshotUsage {
            logical_bytes: snapshot.totals.size_bytes,
            shared_bytes: snapshot.totals.size_bytes.saturating_sub(freed.captured_bytes),
            freed,
        })
    }

    /// What the drop of several snapshots together would free: more than the sum of the single
    /// drops where they share what nothing else needs.
    ///
    /// # Errors
    /// `snapshot_not_found`, `snapshot_name_ambiguous`.
    pub async fn simulate_drop(&self, wanted: &[SnapshotRef]) -> Result<Freed> {
        let mut conn = self.conn().await?;
        let mut ids = Vec::with_capacity(wanted.len());
        for one in wanted {
            ids.push(find(&mut conn, &self.caller, one, false).await?.snapshot_id.0);
        }
        ids.sort_unstable();
        ids.dedup();
        store::usage::freed_by(&mut conn, &ids).await
    }
}
