//! The right to collect: one run at a time over all replicas.

use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use super::super::Service;
use crate::domain::{Code, Error, Result};
use crate::objects::{Objects, marker};
use crate::store::{self, PgConnection};

/// Pause between two looks at the lock.
const LOOK: Duration = Duration::from_millis(100);

/// The right to collect, for as long as this lives. Its connection is taken out of the pool, so
/// that dropping it ends the session and frees the lock whatever happens; there is at most one of
/// them in a process.
#[derive(Debug)]
pub(super) struct Alone {
    conn: PgConnection,
    objects: Objects,
    catalog_id: Uuid,
    _one_in_this_process: OwnedMutexGuard<()>,
}

impl Alone {
    /// Makes sure that the lock is still there, and the storage still ours. The lock goes with its session when the
    /// database cuts the connection: another run may begin, and the engine may register an id anew that this one is about
    /// to delete. On a disk that was unmounted every deletion seems to succeed. To be called before objects are deleted,
    /// and before their rows are.
    ///
    /// # Errors
    /// `database_unavailable`, `storage_unavailable`.
    pub async fn still(&mut self) -> Result<()> {
        store::gc::holds_collector(&mut self.conn).await?;
        marker::verify(&self.objects, self.catalog_id).await
    }
}

impl Service {
    /// Gets the right to collect, and makes sure that the storage is ours: what is not there would
    /// count as deleted.
    ///
    /// # Errors
    /// `gc_run_in_progress` when others keep it for longer than `patience`; `storage_unavailable`.
    pub(super) async fn collect_alone(&self, patience: Duration) -> Result<Alone> {
        let began = Instant::now();
        let slot = tokio::time::timeout(patience.max(LOOK), self.collecting.clone().lock_owned())
            .await
            .map_err(|_| busy())?;
        let mut conn = self.conn().await?.detach();
        while !store::gc::try_lock_collector(&mut conn).await? {
            if began.elapsed() >= patience {
                return Err(busy());
            }
            tokio::time::sleep(LOOK).await;
        }
        let catalog_id = store::catalog::id(&mut conn).await?;
        marker::verify(&self.objects, catalog_id).await?;
        Ok(Alone {
            conn,
            objects: self.objects.clone(),
            catalog_id,
            _one_in_this_process: slot,
        })
    }
}

fn busy() -> Error {
    Code::GcRunInProgress.error("another run of the collector is under way, or the clean-up of a restore; try again")
}
