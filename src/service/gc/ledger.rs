//! What a run did: counts, and the first items of each outcome; and its right to run.

use super::alone::Alone;
use crate::domain::Result;
use crate::domain::gc::{Item, ItemKind, MAX_LISTED_ITEMS, Outcome, Report};
use crate::domain::id::RunId;
use crate::store::{self, PgConnection};

/// The book of a run; without a run it only counts.
#[derive(Debug)]
pub(super) struct Ledger {
    pub report: Report,
    alone: Alone,
    run: Option<RunId>,
    written: i64,
    listed: [i64; 3],
}

impl Ledger {
    pub fn new(alone: Alone, run: Option<RunId>) -> Self {
        Self {
            report: Report::default(),
            alone,
            run,
            written: 0,
            listed: [0; 3],
        }
    }

    /// As [`Alone::still`].
    pub async fn still_alone(&mut self) -> Result<()> {
        self.alone.still().await
    }

    /// Keeps items, as long as there are not too many of their outcome.
    pub async fn add(&mut self, conn: &mut PgConnection, items: Vec<Item>) -> Result<()> {
        let Some(run) = self.run else { return Ok(()) };
        let mut chosen = Vec::with_capacity(items.len());
        for item in items {
            let listed = &mut self.listed[item.outcome as usize];
            if *listed < MAX_LISTED_ITEMS {
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

    /// Counts objects that are gone, and gives the item that says so.
    pub fn deleted(&mut self, kind: ItemKind, name: String, objects: i64, size_bytes: i64) -> Item {
        self.report.objects += objects;
        self.report.bytes += size_bytes;
        Item {
            kind,
            name,
            outcome: Outcome::Deleted,
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
