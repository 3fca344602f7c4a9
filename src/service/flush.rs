//! Flush: seal what is growing, and wait for the engine when asked to.

use std::time::{Duration, Instant};

use super::Service;
use super::commit;
use super::paths::{collection, gone};
use crate::domain::collection::Collection;
use crate::domain::id::SegmentId;
use crate::domain::{Result, timestamp};
use crate::store;

/// What a flush found.
#[derive(Debug, Clone)]
pub struct Flushed {
    /// Sealed segments that the engine has still to flush.
    pub unflushed: Vec<SegmentId>,
}

/// Pause between looks at the segments while a call waits for the engine.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Service {
    /// Seals every growing segment. With a timeout it waits until the engine has flushed all
    /// sealed ones, or the time is over; what is left is in the answer.
    ///
    /// # Errors
    /// `collection_not_found`.
    pub async fn flush(&self, db_name: &str, collection_name: &str, timeout: Duration) -> Result<Flushed> {
        let found = self.collection(db_name, collection_name).await?;
        self.flush_collection(&found, timeout).await
    }

    /// Whether the engine has flushed these segments; ones that are gone count as flushed, and ones that the
    /// caller may not see are as good as gone.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn are_flushed(&self, segments: &[SegmentId]) -> Result<bool> {
        let ids: Vec<i64> = segments.iter().map(|s| s.0).collect();
        store::segments::are_flushed(&mut *self.conn().await?, &ids, &self.caller.visible()).await
    }

    /// The hybrid timestamp of now.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn timestamp(&self) -> Result<i64> {
        let now = store::catalog::now_millis(&mut *self.conn().await?).await?;
        Ok(timestamp::from_millis(now))
    }

    pub(super) async fn flush_collection(&self, found: &Collection, timeout: Duration) -> Result<Flushed> {
        let began = Instant::now();
        let mut tx = self.begin().await?;
        if !store::collections::hold(&mut tx, found.collection_id).await? {
            return Err(gone(found));
        }
        let mut unflushed = store::segments::seal_growing(&mut tx, found.collection_id).await?;
        commit(tx).await?;
        while !unflushed.is_empty() && began.elapsed() < timeout {
            tokio::time::sleep(LOOK_EVERY.min(timeout.saturating_sub(began.elapsed()))).await;
            // a collection that was dropped meanwhile has nothing left to flush
            collection(&mut *self.conn().await?, &self.caller, &found.db_name, &found.name).await?;
            unflushed = store::segments::unflushed(&mut *self.conn().await?, found.collection_id).await?;
        }
        Ok(Flushed {
            unflushed: unflushed.into_iter().map(SegmentId).collect(),
        })
    }
}
