//! The start-up probe: does this storage do what we need?

use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::copy::{CopyFile, CopyOutcome};
use super::keys::PROBE_DIRECTORY;
use super::storage::Objects;
use super::stream::md5_of;
use crate::domain::{Code, Result};

const CONTENT: &[u8] = b"stillframe storage probe";

impl Objects {
    /// Writes, copies, reads, lists and deletes an object.
    ///
    /// # Errors
    /// The first thing that does not work, by name.
    pub async fn probe(&self) -> Result<()> {
        let directory = format!("{PROBE_DIRECTORY}{}/", Uuid::new_v4());
        let (first, second) = (format!("{directory}a"), format!("{directory}b"));
        self.put(&first, CONTENT.to_vec()).await?;
        let checked = self.probe_copy(&directory, &first, &second).await;
        let leftovers = self.delete(vec![first, second]).await;
        checked?;
        leftovers.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    async fn probe_copy(&self, directory: &str, first: &str, second: &str) -> Result<()> {
        let unfit = |what: &str| Code::StorageUnavailable.error(format!("the storage {} {what}", self.url()));
        let file = CopyFile {
            source: first,
            target: second,
            size_bytes: CONTENT.len() as u64,
            etag: None,
        };
        self.copy(&file).await.map_err(|outcome| match outcome {
            CopyOutcome::SourceMissing => unfit("does not find an object right after it was written"),
            CopyOutcome::Throttled(error) | CopyOutcome::Retry(error) | CopyOutcome::Fail(error) => error,
        })?;
        if self.get(second, 1024).await?.as_deref() != Some(CONTENT) {
            return Err(unfit("gives other bytes than were copied"));
        }
        let listed = self.list(directory).await?;
        let md5 = md5_of(CONTENT);
        let are_md5 = [first, second]
            .iter()
            .all(|key| listed.get(*key).and_then(|e| e.etag.as_deref()) == Some(md5.as_str()));
        self.md5_etags.store(are_md5, Ordering::Relaxed);
        let sizes = [first, second].map(|key| listed.get(key).map(|e| e.size_bytes));
        if sizes != [Some(CONTENT.len() as u64); 2] {
            return Err(unfit("does not list what was just written with its size"));
        }
        Ok(())
    }
}
