//! The collector: the only part that deletes data.
//!
//! Each kind goes through the same steps: find candidates, lock them, check again that nothing
//! references them and condemn them in one transaction, delete objects outside any transaction,
//! then delete rows. A crash in between leaves condemned rows that the next run takes up; two
//! runs never overlap: each holds a session lock of the database.

use std::collections::HashSet;

use super::{Service, commit};
use crate::domain::gc::{GcRun, Report};
use crate::domain::id::{CollectionId, RunId, SegmentId};
use crate::domain::page::{Page, PageRequest};
use crate::domain::{Code, Error, Result};
use crate::objects::{keys, marker};
use crate::store::gc::{Condemned, DroppedSnapshot, Scope};
use crate::store::{self, PgConnection};

/// Things handled at a time; bounds memory and the length of locks.
const BATCH: i64 = 500;

/// What is collected.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Build,
    Segment,
}

impl Service {
    /// Runs the collector once and keeps its report. A dry run changes nothing.
    ///
    /// # Errors
    /// Database errors; objects that could not be deleted are in the report.
    pub async fn collect(&self, dry_run: bool, grace_seconds: Option<i64>) -> Result<GcRun> {
        let service = self.clone();
        // a caller that hangs up does not stop a run half way
        tokio::spawn(async move { service.collect_to_the_end(dry_run, grace_seconds).await })
            .await
            .map_err(Error::internal)?
    }

    async fn collect_to_the_end(&self, dry_run: bool, grace_seconds: Option<i64>) -> Result<GcRun> {
        let grace_seconds = grace_seconds.unwrap_or(self.settings.gc_grace_seconds);
        let mut conn = self.conn().await?;
        let run_id = RunId(store::catalog::allocate_ids(&mut conn, 1).await?);
        store::gc_runs::start(&mut conn, run_id, dry_run, grace_seconds).await?;
        drop(conn);
        let mut report = Report::default();
        let alone = self.collect_alone().await?;
        let outcome = self.collect_all(dry_run, grace_seconds, &mut report).await;
        drop(alone);
        let mut conn = self.conn().await?;
        store::gc_runs::finish(&mut conn, run_id, outcome.is_ok(), &report).await?;
        outcome?;
        if report.objects > 0 || report.failed_objects > 0 {
            tracing::info!(run.id = %run_id, dry_run, objects = report.objects, bytes = report.bytes, failed = report.failed_objects, "collected");
        }
        store::gc_runs::list(&mut conn, Some(run_id), None, 1)
            .await?
            .pop()
            .ok_or_else(|| run_not_found(run_id))
    }

    /// The right to collect, for as long as the connection lives: it is taken out of the pool, so
    /// that dropping it ends the session and frees the lock whatever happens.
    async fn collect_alone(&self) -> Result<PgConnection> {
        let mut conn = self.conn().await?.detach();
        store::gc::lock_collector(&mut conn).await?;
        // what is not there would count as deleted
        let catalog_id = store::catalog::id(&mut conn).await?;
        marker::verify(&self.objects, catalog_id).await?;
        Ok(conn)
    }

    async fn collect_all(&self, dry_run: bool, grace_seconds: i64, report: &mut Report) -> Result<()> {
        let scope = Scope {
            grace_seconds,
            collection: None,
            dry_run,
        };
        report.pending_snapshots = store::gc::expire_pending_snapshots(&mut *self.conn().await?, dry_run).await?;
        self.collect_snapshots(dry_run, grace_seconds, report).await?;
        self.collect_kind(Kind::Build, scope, dry_run, report).await?;
        self.collect_kind(Kind::Segment, scope, dry_run, report).await?;
        self.collect_empty(scope, dry_run, report).await?;
        let mut conn = self.conn().await?;
        (report.kept_by_snapshots, report.kept_by_grace) = store::gc::kept(&mut conn, grace_seconds).await?;
        if !dry_run {
            self.objects.sweep_temporary().await?;
            store::jobs::expire(&mut conn, self.settings.history_seconds).await?;
            store::gc_runs::expire(&mut conn, self.settings.history_seconds).await?;
        }
        drop(conn);
        self.collect_receipts(dry_run, grace_seconds, report).await?;
        Ok(())
    }

    /// Collects what an unsuccessful restore left of its target, at once.
    pub(super) async fn collect_collection(&self, collection: CollectionId) -> Result<Report> {
        let scope = Scope {
            grace_seconds: 0,
            collection: Some(collection),
            dry_run: false,
        };
        let alone = self.collect_alone().await?;
        let mut report = Report::default();
        self.collect_kind(Kind::Build, scope, false, &mut report).await?;
        self.collect_kind(Kind::Segment, scope, false, &mut report).await?;
        self.collect_empty(scope, false, &mut report).await?;
        drop(alone);
        Ok(report)
    }

    async fn collect_kind(&self, kind: Kind, scope: Scope, dry_run: bool, report: &mut Report) -> Result<()> {
        let mut after = -1;
        loop {
            let candidates = candidates(&mut *self.conn().await?, kind, scope, after).await?;
            let Some(last) = candidates.last() else { return Ok(()) };
            after = *last;
            let chosen = if dry_run {
                candidates
            } else {
                self.condemn(kind, &candidates).await?
            };
            let condemned = files(&mut *self.conn().await?, kind, &chosen).await?;
            let gone = if dry_run {
                condemned
            } else {
                self.delete_objects(condemned, report).await?
            };
            for thing in &gone {
                report.objects += thing.paths.len() as i64;
                report.bytes += thing.size_bytes;
            }
            let ids: Vec<i64> = gone.iter().map(|c| c.id).collect();
            let rows = if dry_run {
                ids.len() as u64
            } else {
                delete_rows(&mut *self.conn().await?, kind, &ids).await?
            };
            match kind {
                Kind::Build => report.index_builds += i64::try_from(rows).unwrap_or(i64::MAX),
                Kind::Segment => report.segments += i64::try_from(rows).unwrap_or(i64::MAX),
            }
        }
    }

    async fn condemn(&self, kind: Kind, ids: &[i64]) -> Result<Vec<i64>> {
        let mut tx = self.begin().await?;
        let condemned = match kind {
            Kind::Build => store::gc::condemn_builds(&mut tx, ids).await?,
            Kind::Segment => store::gc::condemn_segments(&mut tx, ids).await?,
        };
        commit(tx).await?;
        Ok(condemned)
    }

    /// Deletes the objects of condemned things; gives those of which none is left.
    async fn delete_objects(&self, condemned: Vec<Condemned>, report: &mut Report) -> Result<Vec<Condemned>> {
        let keys = condemned.iter().flat_map(|c| c.paths.iter().cloned()).collect();
        let failed = self.objects.delete(keys).await;
        for (key, error) in &failed {
            tracing::warn!(key, error = %error, cause = error.cause_chain(), "could not delete an object, its row stays");
            report.fail(key, &error.to_string());
        }
        let failed: HashSet<&str> = failed.iter().map(|(key, _)| key.as_str()).collect();
        let stays = |c: &Condemned| c.paths.iter().any(|p| failed.contains(p.as_str()));
        Ok(condemned.into_iter().filter(|c| !stays(c)).collect())
    }

    async fn collect_snapshots(&self, dry_run: bool, grace_seconds: i64, report: &mut Report) -> Result<()> {
        let mut after = -1;
        loop {
            let page = store::gc::dropped_snapshots(&mut *self.conn().await?, grace_seconds, after, BATCH).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.snapshot_id.0;
            for snapshot in page {
                self.collect_snapshot(snapshot, dry_run, report).await?;
            }
        }
    }

    /// Metadata first, then manifests, each by its own key, then the references and the row.
    async fn collect_snapshot(&self, snapshot: DroppedSnapshot, dry_run: bool, report: &mut Report) -> Result<()> {
        let mut keys = vec![keys::metadata(snapshot.collection_id, snapshot.snapshot_id)];
        let mut objects = 0;
        let mut after = -1;
        loop {
            objects += keys.len() as i64;
            if !dry_run {
                let failed = self.objects.delete(std::mem::take(&mut keys)).await;
                for (key, error) in &failed {
                    tracing::warn!(key, error = %error, cause = error.cause_chain(), "could not delete an object, its snapshot's row stays");
                    report.fail(key, &error.to_string());
                }
                if !failed.is_empty() {
                    return Ok(());
                }
            }
            let mut conn = self.conn().await?;
            let page = store::gc::referenced_segments(&mut conn, snapshot.snapshot_id, after, BATCH).await?;
            let Some(last) = page.last() else { break };
            after = *last;
            keys = page
                .iter()
                .map(|s| keys::manifest(snapshot.collection_id, snapshot.snapshot_id, SegmentId(*s)))
                .collect();
        }
        if !dry_run {
            let mut tx = self.begin().await?;
            store::gc::delete_snapshot(&mut tx, snapshot.snapshot_id).await?;
            commit(tx).await?;
        }
        report.snapshots += 1;
        report.objects += objects;
        report.bytes += snapshot.metadata_bytes;
        Ok(())
    }

    async fn collect_empty(&self, scope: Scope, dry_run: bool, report: &mut Report) -> Result<()> {
        let mut conn = self.conn().await?;
        let empty = store::gc::empty_collections(&mut conn, scope).await?;
        let deleted = if dry_run {
            empty.len() as u64
        } else {
            store::gc::delete_collections(&mut conn, &empty).await?
        };
        report.collections += i64::try_from(deleted).unwrap_or(i64::MAX);
        Ok(())
    }

    /// Finds a run of the collector.
    ///
    /// # Errors
    /// `gc_run_not_found`.
    pub async fn gc_run(&self, id: RunId) -> Result<GcRun> {
        store::gc_runs::list(&mut *self.conn().await?, Some(id), None, 1)
            .await?
            .pop()
            .ok_or_else(|| run_not_found(id))
    }

    /// Lists runs of the collector, newest first.
    pub async fn list_gc_runs(&self, page: &PageRequest) -> Result<Page<GcRun>> {
        let before: Option<i64> = page.cursor("gc-runs")?;
        let items = store::gc_runs::list(&mut *self.conn().await?, None, before, page.limit()).await?;
        Ok(page.page("gc-runs", items, |r| r.run_id.0))
    }
}

fn run_not_found(id: RunId) -> Error {
    Code::GcRunNotFound.error(format!("collector run {id} does not exist"))
}

async fn candidates(conn: &mut PgConnection, kind: Kind, scope: Scope, after: i64) -> Result<Vec<i64>> {
    match kind {
        Kind::Build => store::gc::build_candidates(conn, scope, after, BATCH).await,
        Kind::Segment => store::gc::segment_candidates(conn, scope, after, BATCH).await,
    }
}

async fn files(conn: &mut PgConnection, kind: Kind, ids: &[i64]) -> Result<Vec<Condemned>> {
    match kind {
        Kind::Build => store::gc::build_files(conn, ids).await,
        Kind::Segment => store::gc::segment_files(conn, ids).await,
    }
}

async fn delete_rows(conn: &mut PgConnection, kind: Kind, ids: &[i64]) -> Result<u64> {
    match kind {
        Kind::Build => store::gc::delete_builds(conn, ids).await,
        Kind::Segment => store::gc::delete_segments(conn, ids).await,
    }
}
