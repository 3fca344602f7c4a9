//! The collector: the only part that deletes data.
//!
//! Each kind goes through the same steps: find candidates, lock them, check again that nothing
//! references them and condemn them in one transaction, delete objects outside any transaction,
//! then delete rows. Snapshots go first, then manifests, index builds, segments, collections. A
//! crash in between leaves condemned rows that the next run takes up; two runs never overlap:
//! each holds a session lock of the database.

mod alone;
mod ledger;
mod orphans;
mod receipts;
mod snapshots;
mod things;
mod uploads;

use std::time::Duration;

use super::Service;
use crate::crash_point;
use crate::domain::gc::{GcRun, Item, ItemKind, Outcome, Report};
use crate::domain::id::{CollectionId, RunId};
use crate::domain::page::{Page, PageRequest};
use crate::domain::{Code, Error, Result};
use crate::store::gc::Scope;
use crate::store::{self, PgConnection};
use crate::telemetry;
use ledger::Ledger;
use things::Kind;

/// Things handled at a time; bounds memory and the length of locks.
const BATCH: i64 = 500;
/// Kept things of each kind that a run lists at most.
const KEPT_LISTED: i64 = 1000;
/// Runs whose history is deleted by one statement.
const HISTORY_BATCH: i64 = 20;
/// Seconds after which a look for orphans that failed is tried again, at most.
const LOOK_AGAIN_SECONDS: i64 = 3600;

/// How to run the collector.
#[derive(Debug, Clone, Copy, Default)]
pub struct CollectRequest {
    /// Only say what would be deleted.
    pub dry_run: bool,
    /// Seconds for which dropped things are left alone; the setting when absent.
    pub grace_seconds: Option<i64>,
    /// Look for objects without a row too.
    pub orphans: bool,
    /// Seconds for which those are left alone; the setting when absent.
    pub orphan_tolerance_seconds: Option<i64>,
    /// Somebody asked for it: it waits for a run that is under way, and lists everything. Runs of the timer list what is kept
    /// and why only when they look for orphans, and few failures: every one would say the same again.
    pub asked: bool,
}

impl Service {
    /// Runs the collector once and keeps its report. A dry run changes nothing.
    ///
    /// # Errors
    /// `gc_run_in_progress`, `storage_unavailable`, database errors; objects that could not be deleted are
    /// in the report.
    pub async fn collect(&self, request: CollectRequest) -> Result<GcRun> {
        let service = self.clone();
        // a caller that hangs up does not stop a run half way
        let ran = tokio::spawn(async move { service.collect_to_the_end(request).await }).await;
        let ran = ran.map_err(Error::internal)?;
        count_run(&ran);
        ran
    }

    /// Runs the collector as its timer does: with a look for orphans when the last one is old
    /// enough.
    ///
    /// # Errors
    /// As [`Service::collect`].
    pub async fn collect_on_time(&self) -> Result<GcRun> {
        let ago = store::gc_runs::last_looks(&mut *self.conn().await?).await?;
        let interval = self.settings.orphan_interval_seconds;
        let due = |age: Option<i64>, interval: i64| age.is_none_or(|age| age >= interval);
        self.collect(CollectRequest {
            // one that failed is tried again sooner, and not in every run
            orphans: due(ago.whole, interval) && due(ago.any, interval.min(LOOK_AGAIN_SECONDS)),
            ..CollectRequest::default()
        })
        .await
    }

    async fn collect_to_the_end(&self, request: CollectRequest) -> Result<GcRun> {
        let scope = Scope {
            grace_seconds: request.grace_seconds.unwrap_or(self.settings.gc_grace_seconds),
            collection: None,
            dry_run: request.dry_run,
        };
        let tolerance = request
            .orphan_tolerance_seconds
            .unwrap_or(self.settings.orphan_tolerance_seconds);
        let tolerance = request.orphans.then_some(tolerance);
        let alone = self
            .collect_alone(if request.asked {
                self.settings.gc_patience
            } else {
                Duration::ZERO
            })
            .await?;
        let mut conn = self.conn().await?;
        let run_id = RunId(store::catalog::allocate_ids(&mut conn, 1).await?);
        store::gc_runs::start(&mut conn, run_id, request.dry_run, scope.grace_seconds, tolerance).await?;
        self.caller.note(match request.dry_run {
            true => format!("dry collector run {run_id}"),
            false => format!("collector run {run_id}"),
        });
        crash_point::reached("collect.started");
        drop(conn);
        let mut ledger = Ledger::new(alone, Some(run_id)).dry(request.dry_run).on_time(!request.asked);
        let list_kept = request.asked || request.orphans;
        let outcome = self.collect_all(scope, tolerance, list_kept, run_id, &mut ledger).await;
        if !request.dry_run {
            // what is gone is gone, however the run ended
            count_deleted(&ledger.report);
        }
        let mut conn = self.conn().await?;
        let error = outcome.as_ref().err().map(ToString::to_string);
        store::gc_runs::finish(&mut conn, run_id, error.as_deref(), &ledger.report).await?;
        // the session ends, and the lock with it
        let report = ledger.report.clone();
        drop(ledger);
        outcome?;
        if report.objects > 0 || report.failed_objects > 0 {
            tracing::info!(run.id = %run_id, dry_run = request.dry_run, objects = report.objects, bytes = report.bytes, failed = report.failed_objects, "collected");
        }
        one_run(&mut conn, run_id).await
    }

    async fn collect_all(
        &self,
        scope: Scope,
        tolerance: Option<i64>,
        list_kept: bool,
        run_id: RunId,
        ledger: &mut Ledger,
    ) -> Result<()> {
        let expired = store::gc::snapshots::expire_pending(&mut *self.conn().await?, scope.dry_run).await?;
        ledger.report.pending_snapshots = expired;
        crash_point::reached("collect.expired");
        self.collect_snapshots(scope, ledger).await?;
        self.collect_manifests(scope, ledger).await?;
        self.collect_kind(Kind::Build, scope, ledger).await?;
        self.collect_kind(Kind::Segment, scope, ledger).await?;
        self.collect_empty(scope, ledger).await?;
        self.collect_leftovers(scope, ledger).await?;
        if let Some(tolerance) = tolerance
            && let Err(error) = self.look_for_orphans(run_id, tolerance, scope.dry_run, ledger).await
        {
            // what can't be listed keeps nothing else from being done
            tracing::warn!(error = %error, cause = error.cause_chain(), "the look for orphans failed");
            ledger.report.fail("", &format!("the look for orphans failed: {error}"));
            ledger.report.orphan_error = Some(error.to_string());
        }
        let mut conn = self.conn().await?;
        let kept = store::gc::kept::count(&mut conn, scope, &ledger.going.snapshots).await?;
        (ledger.report.kept_by_snapshots, ledger.report.kept_by_grace) = (kept.by_snapshots, kept.by_grace);
        if list_kept {
            let listed = store::gc::kept::list(&mut conn, scope, &ledger.going.snapshots, KEPT_LISTED).await?;
            ledger.add(&mut conn, listed).await?;
        }
        if !scope.dry_run {
            self.objects.sweep_temporary().await?;
            store::pins::expire(&mut conn).await?;
            self.expire_keys(&mut conn).await?;
            store::job_history::expire(&mut conn, self.settings.history_seconds).await?;
            while store::gc_runs::expire(&mut conn, self.settings.history_seconds, HISTORY_BATCH).await? > 0 {}
            let given_up = store::deliveries::expire(&mut conn, self.settings.history_seconds).await?;
            metrics::counter!(telemetry::WEBHOOK_TRIES, "outcome" => "expired").increment(given_up);
            store::audit::expire(&mut conn, self.audit_seconds()).await?;
        }
        drop(conn);
        self.collect_receipts(scope, ledger).await
    }

    async fn look_for_orphans(&self, run_id: RunId, tolerance: i64, dry_run: bool, ledger: &mut Ledger) -> Result<()> {
        self.collect_orphans(run_id, tolerance, dry_run, ledger).await?;
        self.collect_uploads(run_id, tolerance, dry_run, ledger).await
    }

    /// Collects what an unsuccessful restore left of its target, at once.
    ///
    /// # Errors
    /// `gc_run_in_progress` at once when another run is under way.
    pub(super) async fn collect_collection(&self, collection: CollectionId) -> Result<Report> {
        let scope = Scope {
            grace_seconds: 0,
            collection: Some(collection),
            dry_run: false,
        };
        let mut ledger = Ledger::new(self.collect_alone(Duration::ZERO).await?, None);
        // while the rows still say which are its own
        self.abort_uploads_of(collection).await?;
        self.collect_kind(Kind::Build, scope, &mut ledger).await?;
        self.collect_kind(Kind::Segment, scope, &mut ledger).await?;
        self.collect_empty(scope, &mut ledger).await?;
        Ok(ledger.report)
    }

    /// Finds a run of the collector.
    ///
    /// # Errors
    /// `gc_run_not_found`.
    pub async fn gc_run(&self, id: RunId) -> Result<GcRun> {
        one_run(&mut *self.conn().await?, id).await
    }

    /// Lists runs of the collector, newest first.
    pub async fn list_gc_runs(&self, page: &PageRequest) -> Result<Page<GcRun>> {
        let before: Option<i64> = page.cursor("gc-runs")?;
        let items = store::gc_runs::list(&mut *self.conn().await?, None, before, page.limit()).await?;
        Ok(page.page("gc-runs", items, |r| r.run_id.0))
    }

    /// Lists what a run dealt with, in its order.
    ///
    /// # Errors
    /// `gc_run_not_found`, `invalid_page_token`.
    pub async fn list_gc_run_items(
        &self,
        id: RunId,
        outcome: Option<Outcome>,
        kind: Option<ItemKind>,
        page: &PageRequest,
    ) -> Result<Page<Item>> {
        let mut conn = self.conn().await?;
        one_run(&mut conn, id).await?;
        let list = format!("gc-run-items?{id}{outcome:?}{kind:?}");
        let after: Option<i64> = page.cursor(&list)?;
        let items = store::gc_runs::items(&mut conn, id, outcome, kind, after.unwrap_or(0), page.limit()).await?;
        Ok(page.page(&list, items, |(at, _)| *at).map(|(_, item)| item))
    }

    /// Allows or forbids that the collector deletes orphans.
    ///
    /// # Errors
    /// Database errors.
    pub async fn allow_orphan_deletion(&self, allowed: bool) -> Result<()> {
        self.caller.note(match allowed {
            true => "orphan deletion allowed",
            false => "orphan deletion forbidden",
        });
        store::orphans::set_may_delete(&mut *self.conn().await?, allowed).await
    }

    /// Whether the collector may delete orphans.
    ///
    /// # Errors
    /// Database errors.
    pub async fn orphan_deletion_allowed(&self) -> Result<bool> {
        store::orphans::may_delete(&mut *self.conn().await?).await
    }
}

async fn one_run(conn: &mut PgConnection, id: RunId) -> Result<GcRun> {
    store::gc_runs::list(conn, Some(id), None, 1)
        .await?
        .pop()
        .ok_or_else(|| Code::GcRunNotFound.error(format!("collector run {id} does not exist")))
}

/// Counts a run, whoever asked for it.
fn count_run(ran: &Result<GcRun>) {
    let outcome = match ran {
        Ok(run) if run.dry_run => "dry_run",
        Ok(_) => "completed",
        Err(error) if error.code() == Code::GcRunInProgress => "in_progress",
        Err(_) => "failed",
    };
    metrics::counter!(telemetry::GC_RUNS, "outcome" => outcome).increment(1);
}

/// Counts what a run that is no dry one has deleted, or could not delete.
fn count_deleted(report: &Report) {
    let count = |n: i64| u64::try_from(n).unwrap_or_default();
    metrics::counter!(telemetry::COLLECTED_OBJECTS).increment(count(report.objects));
    metrics::counter!(telemetry::COLLECTED_BYTES).increment(count(report.bytes));
    metrics::counter!(telemetry::COLLECT_FAILURES).increment(count(report.failed_objects));
}
