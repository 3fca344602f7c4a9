//! A dry run of a restore. Nothing is written anywhere.

use super::Service;
use super::paths::{check_name, database};
use super::restore::{RestoreRequest, may_take_aliases};
use super::restore_check::{check_aliases, check_options, warnings};
use super::snapshots::find;
use crate::domain::access::Permission;
use crate::domain::id::PartitionId;
use crate::domain::plan::RestorePlan;
use crate::domain::verification::Level;
use crate::domain::{Code, Error, Result};
use crate::store;

impl Service {
    /// Says what a restore would do and what stands against it. Looks for every source file, so it
    /// may take long for a big snapshot; holds no transaction meanwhile.
    ///
    /// # Errors
    /// `invalid_request`, `snapshot_not_found`, `snapshot_name_ambiguous`, `database_not_found`,
    /// storage errors. What a restore would otherwise be refused for is in the plan.
    pub async fn plan_restore(&self, request: &RestoreRequest) -> Result<RestorePlan> {
        check_name("/collection_name", &request.collection_name)?;
        self.caller.need_collection(&request.db_name, &request.collection_name)?;
        let mut conn = self.conn().await?;
        let snapshot = find(&mut conn, &self.caller, &request.source, false).await?;
        let captured = store::snapshots::description(&mut conn, snapshot.snapshot_id).await?;
        let db = database(&mut conn, &self.caller, &request.db_name).await?;
        may_take_aliases(&self.caller, request, &captured)?;
        let mut conflicts = Vec::new();
        let names = [request.collection_name.clone()];
        if !store::names::taken(&mut conn, db.db_id, &names).await?.is_empty() {
            conflicts.push(name_taken(&request.collection_name));
        }
        for error in check_options(&captured, &request.options) {
            match error.code() {
                Code::InvalidRequest => return Err(error),
                _ => conflicts.push(error),
            }
        }
        conflicts.extend(check_aliases(&mut conn, db.db_id, &captured, &request.options, &request.collection_name).await?);
        let now_ms = store::catalog::now_millis(&mut conn).await?;
        drop(conn);

        let chosen = request.options.partitions.as_slice();
        let mut partitions: Vec<PartitionId> = captured
            .partitions
            .iter()
            .filter(|p| chosen.is_empty() || chosen.contains(&p.name))
            .map(|p| p.partition_id)
            .collect();
        partitions.push(PartitionId::ALL);
        let found = self
            .inspect(snapshot.snapshot_id, Level::Checksum, |s| {
                partitions.contains(&s.partition_id)
            })
            .await?;
        let mut conn = self.conn().await?;
        Ok(RestorePlan {
            segments: found.segments,
            index_builds: found.index_builds,
            files: found.files,
            bytes: found.bytes,
            list_requests: 2 * found.requests,
            copy_requests: found.files,
            conflicts,
            problems: found.problems,
            room: self.room(&mut conn).await?,
            shows_quota: self.caller.principal().may_everywhere(Permission::Read),
            warnings: warnings(&snapshot, &captured, &request.options, now_ms),
            pace: store::job_history::pace(&mut conn).await?,
            max_bytes_per_second: request.control.max_bytes_per_second,
        })
    }
}

/// The error of a target's name that is taken.
pub(super) fn name_taken(name: &str) -> Error {
    Code::CollectionAlreadyExists.error(format!(
        "collection already exists: the name {name:?} is taken by a collection, an alias or a running restore"
    ))
}
