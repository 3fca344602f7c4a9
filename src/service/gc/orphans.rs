//! Objects without a row: what a crash or a worker cut off from the database left behind.
//!
//! Only under ids that this catalog gave out for things whose objects it alone writes, in a root
//! whose marker names this catalog. Rows are committed before their objects are written and ids
//! are never given out twice; so an object under such an id that has no row when it is looked up
//! after the listing never gets one again.

use std::collections::{BTreeMap, HashSet};
use std::pin::pin;

use futures::TryStreamExt as _;

use super::super::Service;
use super::BATCH;
use super::ledger::Ledger;
use crate::crash_point;
use crate::domain::Result;
use crate::domain::gc::{Item, ItemKind, MAX_LISTED_ITEMS, Outcome};
use crate::domain::id::RunId;
use crate::domain::key::{self, DataPath};
use crate::domain::timestamp::rfc3339;
use crate::objects::keys::{self, SnapshotObject};
use crate::store::explain::later;
use crate::store::id_blocks::{Block, Purpose};
use crate::store::{self, PgConnection};

/// Orphans that are too young, listed at most.
const LISTED: i64 = 1000;

/// What must have a row for an object to be no orphan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum Owner {
    Segment(i64),
    Build(i64),
    Snapshot(i64),
    Manifest(i64, i64),
}

/// The ids that this catalog gave out for things whose objects it alone writes.
pub(in crate::service) struct Given {
    snapshots: Blocks,
    restores: Blocks,
}

impl Given {
    /// What must have a row for an object to be no orphan; none where it is not for us to say.
    pub fn owner(&self, key: &str) -> Option<Owner> {
        if key.starts_with(keys::SNAPSHOTS) {
            return match keys::parse(key)? {
                SnapshotObject::Metadata(s) => self.snapshots.hold(s.0).then_some(Owner::Snapshot(s.0)),
                SnapshotObject::Manifest(s, segment) => self.snapshots.hold(s.0).then_some(Owner::Manifest(s.0, segment.0)),
                // it has a row as long as it is there, and goes before it
                SnapshotObject::Receipt(_) => None,
            };
        }
        let path = DataPath::parse(key).ok()?;
        let id = match path.is_of_build() {
            true => path.build.map(|b| (b.0, Owner::Build(b.0))),
            false => path.segment.map(|s| (s.0, Owner::Segment(s.0))),
        };
        id.filter(|(id, _)| self.restores.hold(*id)).map(|(_, owner)| owner)
    }
}

/// Blocks of ids, by their first.
struct Blocks(BTreeMap<i64, i64>);

impl Blocks {
    fn of(blocks: Vec<Block>) -> Self {
        Self(blocks.into_iter().collect())
    }

    fn hold(&self, id: i64) -> bool {
        self.0.range(..=id).next_back().is_some_and(|(_, last)| id <= *last)
    }
}

impl Service {
    pub(in crate::service) async fn given_ids(&self) -> Result<Given> {
        let mut conn = self.conn().await?;
        Ok(Given {
            snapshots: Blocks::of(store::id_blocks::list(&mut conn, Purpose::Snapshot).await?),
            restores: Blocks::of(store::id_blocks::list(&mut conn, Purpose::Restore).await?),
        })
    }

    pub(super) async fn collect_orphans(&self, run: RunId, tolerance: i64, dry_run: bool, ledger: &mut Ledger) -> Result<()> {
        let given = self.given_ids().await?;
        for directory in key::managed_directories().chain([keys::SNAPSHOTS]) {
            let mut listing = pin!(self.objects.walk(directory).await?);
            let mut batch = Vec::new();
            while let Some((key, size_bytes)) = listing.try_next().await? {
                if let Some(owner) = given.owner(&key) {
                    batch.push((owner, key, size_bytes));
                }
                if batch.len() >= BATCH as usize {
                    self.note_orphans(run, std::mem::take(&mut batch), ledger).await?;
                }
            }
            self.note_orphans(run, batch, ledger).await?;
        }
        let mut conn = self.conn().await?;
        store::orphans::forget_unseen(&mut conn, run).await?;
        crash_point::reached("collect.orphans_noted");
        let allowed = store::orphans::may_delete(&mut conn).await?;
        self.list_young(run, tolerance, ledger, &mut conn).await?;
        drop(conn);
        if !dry_run && !allowed {
            return self.keep_orphans(run, tolerance, ledger).await;
        }
        self.delete_orphans(run, tolerance, dry_run, ledger).await
    }

    async fn note_orphans(&self, run: RunId, seen: Vec<(Owner, String, i64)>, ledger: &mut Ledger) -> Result<()> {
        if seen.is_empty() {
            return Ok(());
        }
        let mut conn = self.conn().await?;
        let known = Known::of(&mut conn, &seen).await?;
        let (keys, sizes): (Vec<String>, Vec<i64>) = seen
            .into_iter()
            .filter(|(owner, ..)| !known.has(*owner))
            .map(|(_, key, size)| (key, size))
            .unzip();
        ledger.report.orphans_found += keys.len() as i64;
        store::orphans::see(&mut conn, run, &keys, &sizes).await
    }

    /// Lists what has not been known for long enough.
    async fn list_young(&self, run: RunId, tolerance: i64, ledger: &mut Ledger, conn: &mut PgConnection) -> Result<()> {
        let young = store::orphans::young(conn, run, tolerance, LISTED).await?;
        let items = young.into_iter().map(|orphan| Item {
            kind: ItemKind::Orphan,
            name: orphan.key,
            outcome: Outcome::Kept,
            reason: format!(
                "known since {}, and deleted after {}",
                rfc3339(orphan.first_seen_at),
                rfc3339(later(orphan.first_seen_at, tolerance))
            ),
            objects: 1,
            size_bytes: orphan.size_bytes,
        });
        ledger.add(conn, items.collect()).await
    }

    /// Lists what would be deleted if that were allowed.
    async fn keep_orphans(&self, run: RunId, tolerance: i64, ledger: &mut Ledger) -> Result<()> {
        let mut conn = self.conn().await?;
        let ripe = store::orphans::ripe(&mut conn, run, tolerance, "", MAX_LISTED_ITEMS).await?;
        let items = ripe.into_iter().map(|orphan| Item {
            kind: ItemKind::Orphan,
            name: orphan.key,
            outcome: Outcome::Kept,
            reason: "deleting orphans is not allowed at present".into(),
            objects: 1,
            size_bytes: orphan.size_bytes,
        });
        ledger.add(&mut conn, items.collect()).await
    }

    /// Deletes what has been known for long enough; in a dry run only says so.
    async fn delete_orphans(&self, run: RunId, tolerance: i64, dry_run: bool, ledger: &mut Ledger) -> Result<()> {
        let mut after = String::new();
        loop {
            let ripe = store::orphans::ripe(&mut *self.conn().await?, run, tolerance, &after, BATCH).await?;
            let Some(last) = ripe.last() else { return Ok(()) };
            after.clone_from(&last.key);
            ledger.report.candidates += ripe.len() as i64;
            let failed: Vec<(String, String)> = if dry_run {
                Vec::new()
            } else {
                let keys = ripe.iter().map(|o| o.key.clone()).collect();
                let failed = ledger.delete(&self.objects, keys).await?;
                crash_point::reached("collect.orphans_deleted");
                failed.into_iter().map(|(key, error)| (key, error.to_string())).collect()
            };
            let stays: HashSet<&str> = failed.iter().map(|(key, _)| key.as_str()).collect();
            let mut items = Vec::with_capacity(ripe.len());
            let mut gone = Vec::with_capacity(ripe.len());
            for orphan in ripe.iter().filter(|o| !stays.contains(o.key.as_str())) {
                items.push(ledger.deleted(ItemKind::Orphan, orphan.key.clone(), 1, orphan.size_bytes));
                ledger.report.orphans_deleted += 1;
                gone.push(orphan.key.clone());
            }
            for (key, reason) in &failed {
                tracing::warn!(key, reason, "could not delete an orphan");
                items.push(ledger.failed(ItemKind::Orphan, key.clone(), key, reason));
            }
            let mut conn = self.conn().await?;
            if !dry_run {
                store::orphans::forget(&mut conn, &gone).await?;
            }
            ledger.add(&mut conn, items).await?;
        }
    }
}

/// Which owners of a batch have a row.
struct Known {
    segments: HashSet<i64>,
    builds: HashSet<i64>,
    snapshots: HashSet<i64>,
    manifests: HashSet<(i64, i64)>,
}

impl Known {
    async fn of(conn: &mut PgConnection, seen: &[(Owner, String, i64)]) -> Result<Self> {
        let (mut segments, mut builds, mut snapshots, mut manifests) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (owner, ..) in seen {
            match owner {
                Owner::Segment(id) => segments.push(*id),
                Owner::Build(id) => builds.push(*id),
                Owner::Snapshot(id) => snapshots.push(*id),
                Owner::Manifest(owner, segment) => manifests.push((*owner, *segment)),
            }
        }
        Ok(Self {
            segments: store::orphans::known_segments(conn, &segments).await?.into_iter().collect(),
            builds: store::orphans::known_builds(conn, &builds).await?.into_iter().collect(),
            snapshots: store::orphans::known_snapshots(conn, &snapshots).await?.into_iter().collect(),
            manifests: store::orphans::known_manifests(conn, &manifests).await?.into_iter().collect(),
        })
    }

    fn has(&self, owner: Owner) -> bool {
        match owner {
            Owner::Segment(id) => self.segments.contains(&id),
            Owner::Build(id) => self.builds.contains(&id),
            Owner::Snapshot(id) => self.snapshots.contains(&id),
            Owner::Manifest(owner, segment) => self.manifests.contains(&(owner, segment)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_between_the_ends_of_a_block_are_in_it() {
        let blocks = Blocks::of(vec![(10, 12), (20, 20)]);
        let held: Vec<i64> = (0..30).filter(|id| blocks.hold(*id)).collect();
        assert_eq!(held, [10, 11, 12, 20]);
    }
}
