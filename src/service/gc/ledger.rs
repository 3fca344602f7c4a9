//! What a run did: counts, and the first items of each outcome; and its right to run.

use super::alone::Alone;
use crate::domain::gc::{Item, ItemKind, MAX_LISTED_ITEMS, MAX_LISTED_ON_TIME, Outcome, Report};
use crate::domain::id::RunId;
use crate::domain::{Code, Error, Result};
use crate::objects::{BatchFailure, DELETE_BATCH, Objects};
use crate::store::gc::Going;
use crate::store::{self, PgConnection};

/// Deletions one by one between two looks at the right to delete.
const ONE_BY_ONE: usize = 20;
/// Refused deletions in a row after which no more is tried: the service may not delete, or not here.
const MAX_REFUSED: usize = 10;

/// The book of a run; without a run it only counts.
#[derive(Debug)]
pub(super) struct Ledger {
    pub report: Report,
    /// What a dry run counts as gone.
    pub going: Going,
    alone: Alone,
    run: Option<RunId>,
    dry_run: bool,
    failed_listed_at_most: i64,
    written: i64,
    listed: [i64; 4],
}

impl Ledger {
    pub fn new(alone: Alone, run: Option<RunId>) -> Self {
        Self {
            report: Report::default(),
            going: Going::default(),
            alone,
            run,
            dry_run: false,
            failed_listed_at_most: MAX_LISTED_ITEMS,
            written: 0,
            listed: [0; 4],
        }
    }

    /// Of a run that deletes nothing.
    #[must_use]
    pub fn dry(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Of a run that nobody asked for: it comes again soon, and keeps few of the items that failed.
    #[must_use]
    pub fn on_time(mut self, on_time: bool) -> Self {
        if on_time {
            self.failed_listed_at_most = MAX_LISTED_ON_TIME;
        }
        self
    }

    /// As [`Alone::still`].
    pub async fn still_alone(&mut self) -> Result<()> {
        self.alone.still().await
    }

    /// Deletes objects; gives those that could not be deleted, with the reason. Looks again and again whether this run may
    /// still delete ([`Alone::still`]): before each request for many, now and then where they go one by one, and at the
    /// end. Gives up the rest of the call after [`MAX_REFUSED`] refusals in a row.
    ///
    /// # Errors
    /// As [`Alone::still`]: some objects may be gone, and their rows must stay for the next run.
    pub async fn delete(&mut self, objects: &Objects, keys: Vec<String>) -> Result<Vec<(String, Error)>> {
        let mut failed = Vec::new();
        let mut refused = 0;
        for batch in keys.chunks(DELETE_BATCH) {
            self.alone.still().await?;
            if refused < MAX_REFUSED {
                match objects.delete_batch(batch).await {
                    Ok(()) => {
                        refused = 0;
                        continue;
                    }
                    Err(BatchFailure::Throttled(reason)) => {
                        // many requests in its place would not be better
                        let throttled = |key: &String| (key.clone(), Code::StorageUnavailable.error(reason.clone()));
                        failed.extend(batch.iter().map(throttled));
                        continue;
                    }
                    Err(BatchFailure::Unclear) => {}
                }
            }
            // one bad key fails a batch: find out which
            for (n, key) in batch.iter().enumerate() {
                if refused >= MAX_REFUSED {
                    let why = "not tried: the object storage refused access again and again";
                    failed.push((key.clone(), Code::StorageAccessDenied.error(why)));
                    continue;
                }
                if n > 0 && n % ONE_BY_ONE == 0 {
                    self.alone.still().await?;
                }
                match objects.delete_one(key).await {
                    Ok(()) => refused = 0,
                    Err(error) => {
                        if error.code() == Code::StorageAccessDenied {
                            refused += 1;
                        }
                        failed.push((key.clone(), error));
                    }
                }
            }
        }
        if !keys.is_empty() {
            self.alone.still().await?;
        }
        objects.prune(keys).await;
        Ok(failed)
    }

    /// Keeps items, as long as there are not too many of their outcome.
    pub async fn add(&mut self, conn: &mut PgConnection, items: Vec<Item>) -> Result<()> {
        let Some(run) = self.run else { return Ok(()) };
        let mut chosen = Vec::with_capacity(items.len());
        for item in items {
            let listed = &mut self.listed[item.outcome as usize];
            let at_most = match item.outcome {
                Outcome::Failed => self.failed_listed_at_most,
                _ => MAX_LISTED_ITEMS,
            };
            if *listed < at_most {
                *listed += 1;
                chosen.push(item);
            }
        }
        if chosen.is_empty() {
            return Ok(());
        }
        store::gc_runs::add_items(conn, run, self.written, &chosen).await?;
        self.written += chosen.len() as i64;
        Ok(())
    }

    /// Counts objects that are gone, or in a dry run would be, and gives the item that says so.
    pub fn deleted(&mut self, kind: ItemKind, name: String, objects: i64, size_bytes: i64) -> Item {
        self.report.objects += objects;
        self.report.bytes = self.report.bytes.saturating_add(size_bytes);
        let outcome = match self.dry_run {
            true => Outcome::WouldDelete,
            false => Outcome::Deleted,
        };
        Item {
            kind,
            name,
            outcome,
            reason: String::new(),
            objects,
            size_bytes,
        }
    }

    /// Counts an object that could not be deleted, and gives the item of its owner.
    pub fn failed(&mut self, kind: ItemKind, name: String, key: &str, reason: &str) -> Item {
        self.report.fail(key, reason);
        Item {
            kind,
            name,
            outcome: Outcome::Failed,
            reason: format!("{key}: {reason}"),
            objects: 1,
            size_bytes: 0,
        }
    }
}
