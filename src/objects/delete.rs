//! Deleting objects.

use super::error::{is_throttle, storage_error};
use super::observe::observed;
use super::storage::Objects;
use crate::domain::{Error, Result};

/// Objects of one batch delete request (the limit of S3).
pub const DELETE_BATCH: usize = 1000;

/// Why not all objects of a batch could be deleted.
#[derive(Debug)]
pub enum BatchFailure {
    /// The store asks to slow down, in these words: one by one they would be more requests still.
    Throttled(String),
    /// One of them may have failed, or all.
    Unclear,
}

impl Objects {
    /// Deletes objects; one that is not there is fine. Gives those that could not be deleted,
    /// with the reason.
    pub async fn delete(&self, keys: Vec<String>) -> Vec<(String, Error)> {
        let mut failed = Vec::new();
        for batch in keys.chunks(DELETE_BATCH) {
            if self.delete_batch(batch).await.is_ok() {
                continue;
            }
            // one bad key fails a batch: find out which
            for key in batch {
                if let Err(error) = self.delete_one(key).await {
                    failed.push((key.clone(), error));
                }
            }
        }
        self.prune(keys).await;
        failed
    }

    /// Deletes at most [`DELETE_BATCH`] objects by one request, which is tried again for some seconds.
    ///
    /// # Errors
    /// Some of them may be there still.
    pub async fn delete_batch(&self, batch: &[String]) -> std::result::Result<(), BatchFailure> {
        let mut throttled = None;
        let deleted = observed("delete_many", async {
            let deleted = self.operator.delete_iter(batch.iter().cloned()).await;
            deleted.map_err(|e| {
                let asks = is_throttle(&e);
                let error = storage_error("deleting objects", e);
                throttled = asks.then(|| error.to_string());
                error
            })
        });
        let deleted = deleted.await;
        match (deleted, throttled) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(words)) => Err(BatchFailure::Throttled(words)),
            (Err(_), None) => Err(BatchFailure::Unclear),
        }
    }

    /// Deletes an object; one that is not there is fine.
    ///
    /// # Errors
    /// A storage error that names the key.
    pub async fn delete_one(&self, key: &str) -> Result<()> {
        observed("delete", async {
            match self.operator.delete(key).await {
                Err(e) if !is_absent(&e) => Err(storage_error(&format!("deleting {key}"), e)),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Removes the directories that deletions left empty on local storage. Only tidies up: one that stays harms nobody.
    pub async fn prune(&self, keys: Vec<String>) {
        if let Some(local) = self.local.clone() {
            let _ = tokio::task::spawn_blocking(move || local.prune(&keys)).await;
        }
    }
}

/// Whether a failed deletion means that there was nothing to delete: on a directory also when a
/// part of the path is a file.
pub(super) fn is_absent(error: &opendal::Error) -> bool {
    use std::error::Error as _;
    let io = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let not_a_directory = io.is_some_and(|e| e.kind() == std::io::ErrorKind::NotADirectory);
    not_a_directory || matches!(error.kind(), opendal::ErrorKind::NotFound | opendal::ErrorKind::NotADirectory)
}
