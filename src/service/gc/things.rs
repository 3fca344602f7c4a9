//! Collecting segments, index builds, and collections of which nothing is left.

use std::collections::HashMap;

use super::super::{Service, commit};
use super::BATCH;
use super::ledger::Ledger;
use crate::crash_point;
use crate::domain::gc::ItemKind;
use crate::domain::id::CollectionId;
use crate::domain::{Code, Result};
use crate::store::gc::{Condemned, Scope, builds, leftovers, segments};
use crate::store::{self, PgConnection};

/// What is collected.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Build,
    Segment,
}

impl Service {
    pub(super) async fn collect_kind(&self, kind: Kind, scope: Scope, ledger: &mut Ledger) -> Result<()> {
        let mut after = -1;
        loop {
            let candidates = kind
                .candidates(&mut *self.conn().await?, scope, &ledger.going.snapshots, after)
                .await?;
            let Some(last) = candidates.last() else { return Ok(()) };
            after = *last;
            ledger.report.candidates += candidates.len() as i64;
            let chosen = if scope.dry_run {
                candidates
            } else {
                let condemned = self.condemn(kind, &candidates).await?;
                crash_point::reached("collect.condemned");
                condemned
            };
            let condemned = kind.files(&mut *self.conn().await?, &chosen).await?;
            let mut items = Vec::with_capacity(condemned.len());
            let gone = if scope.dry_run {
                condemned
            } else {
                let failed = self.delete_files(&condemned, ledger).await?;
                crash_point::reached("collect.objects_deleted");
                let (stays, gone): (Vec<_>, Vec<_>) = condemned.into_iter().partition(|c| failed.contains_key(&c.id));
                for thing in stays {
                    for (key, reason) in &failed[&thing.id] {
                        items.push(ledger.failed(kind.item(), thing.id.to_string(), key, reason));
                    }
                }
                gone
            };
            let ids: Vec<i64> = gone.iter().map(|c| c.id).collect();
            for thing in gone {
                items.push(ledger.deleted(kind.item(), thing.id.to_string(), thing.paths.len() as i64, thing.size_bytes));
            }
            let mut conn = self.conn().await?;
            if scope.dry_run {
                match kind {
                    Kind::Build => ledger.going.builds.extend(&ids),
                    Kind::Segment => ledger.going.segments.extend(&ids),
                }
            }
            let rows = match scope.dry_run {
                true => ids.len() as u64,
                false => kind.delete(&mut conn, &ids).await?,
            };
            crash_point::reached("collect.rows_deleted");
            let rows = i64::try_from(rows).unwrap_or(i64::MAX);
            match kind {
                Kind::Build => ledger.report.index_builds += rows,
                Kind::Segment => ledger.report.segments += rows,
            }
            ledger.add(&mut conn, items).await?;
        }
    }

    async fn condemn(&self, kind: Kind, ids: &[i64]) -> Result<Vec<i64>> {
        let groups = match kind {
            Kind::Build => builds::by_collection(&mut *self.conn().await?, ids).await?,
            Kind::Segment => segments::by_collection(&mut *self.conn().await?, ids).await?,
        };
        let mut all = Vec::with_capacity(ids.len());
        for (collection, ids) in groups {
            match self.condemn_in(kind, CollectionId(collection), &ids).await {
                Ok(condemned) => all.extend(condemned),
                // in use: the next run takes them, and nobody has waited for long
                Err(error) if error.code() == Code::DatabaseUnavailable => {
                    tracing::warn!(collection.id = collection, error = %error, cause = error.cause_chain(), "a collection is busy, its dropped things are left for the next run");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// One collection in a transaction: others are not held up by it.
    async fn condemn_in(&self, kind: Kind, collection: CollectionId, ids: &[i64]) -> Result<Vec<i64>> {
        let mut tx = self.begin().await?;
        let condemned = match kind {
            Kind::Build => builds::condemn(&mut tx, collection, ids).await?,
            Kind::Segment => segments::condemn(&mut tx, collection, ids).await?,
        };
        commit(tx).await?;
        Ok(condemned)
    }

    /// Deletes the objects of condemned things; gives those that could not be deleted, with the
    /// reason, by the id of the thing.
    async fn delete_files(&self, condemned: &[Condemned], ledger: &mut Ledger) -> Result<HashMap<i64, Vec<(String, String)>>> {
        let owners: HashMap<&str, i64> = condemned
            .iter()
            .flat_map(|c| c.paths.iter().map(|p| (p.as_str(), c.id)))
            .collect();
        let mut failed: HashMap<i64, Vec<(String, String)>> = HashMap::new();
        let keys = owners.keys().map(ToString::to_string).collect();
        for (key, error) in ledger.delete(&self.objects, keys).await? {
            tracing::warn!(key, error = %error, cause = error.cause_chain(), "could not delete an object, its row stays");
            if let Some(owner) = owners.get(key.as_str()) {
                failed.entry(*owner).or_default().push((key, error.to_string()));
            }
        }
        Ok(failed)
    }

    pub(super) async fn collect_empty(&self, scope: Scope, ledger: &mut Ledger) -> Result<()> {
        let mut conn = self.conn().await?;
        let empty = store::gc::empty_collections(&mut conn, scope, &ledger.going).await?;
        if !scope.dry_run {
            store::gc::delete_collections(&mut conn, &empty).await?;
            crash_point::reached("collect.collections_deleted");
        }
        ledger.report.collections += empty.len() as i64;
        ledger.report.candidates += empty.len() as i64;
        let items = empty
            .iter()
            .map(|id| ledger.deleted(ItemKind::Collection, id.to_string(), 0, 0))
            .collect();
        ledger.add(&mut conn, items).await
    }

    /// Deletes rows of dropped partitions and index definitions that nothing names any more: of each so many per run.
    pub(super) async fn collect_leftovers(&self, scope: Scope, ledger: &mut Ledger) -> Result<()> {
        let mut conn = self.conn().await?;
        let partitions = leftovers::partitions(&mut conn, &ledger.going, BATCH).await?;
        let indexes = leftovers::indexes(&mut conn, &ledger.going, BATCH).await?;
        if !scope.dry_run {
            leftovers::delete_partitions(&mut conn, &partitions).await?;
            leftovers::delete_indexes(&mut conn, &indexes).await?;
            crash_point::reached("collect.leftovers_deleted");
        }
        ledger.report.partitions += partitions.len() as i64;
        ledger.report.indexes += indexes.len() as i64;
        let mut items = Vec::with_capacity(partitions.len() + indexes.len());
        for id in partitions {
            items.push(ledger.deleted(ItemKind::Partition, id.to_string(), 0, 0));
        }
        for index in indexes {
            let name = format!("{} of collection {}", index.index_id, index.collection_id);
            items.push(ledger.deleted(ItemKind::Index, name, 0, 0));
        }
        ledger.add(&mut conn, items).await
    }
}

impl Kind {
    fn item(self) -> ItemKind {
        match self {
            Kind::Build => ItemKind::IndexBuild,
            Kind::Segment => ItemKind::Segment,
        }
    }

    async fn candidates(self, conn: &mut PgConnection, scope: Scope, going: &[i64], after: i64) -> Result<Vec<i64>> {
        match self {
            Kind::Build => builds::candidates(conn, scope, going, after, BATCH).await,
            Kind::Segment => segments::candidates(conn, scope, going, after, BATCH).await,
        }
    }

    async fn files(self, conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<Condemned>> {
        match self {
            Kind::Build => builds::files(conn, ids).await,
            Kind::Segment => segments::files(conn, ids).await,
        }
    }

    async fn delete(self, conn: &mut PgConnection, ids: &[i64]) -> Result<u64> {
        match self {
            Kind::Build => builds::delete(conn, ids).await,
            Kind::Segment => segments::delete(conn, ids).await,
        }
    }
}
