//! Finding metadata files, and reading them.

use std::pin::pin;

use futures::TryStreamExt as _;

use super::super::Service;
use super::{Candidate, Opened};
use crate::domain::{Code, Result};
use crate::objects::keys::{self, SnapshotObject};
use crate::objects::metadata;

impl Service {
    /// Every metadata file below a prefix, which is empty or ends in a slash, by collection and snapshot.
    pub(super) async fn find_stored(&self, below: &str) -> Result<Vec<Candidate>> {
        let mut found = Vec::new();
        let mut listing = pin!(self.objects.walk(&format!("{below}{}", keys::SNAPSHOTS)).await?);
        while let Some((key, _)) = listing.try_next().await? {
            let relative = key.strip_prefix(below).unwrap_or(&key);
            if let (Some(SnapshotObject::Metadata(snapshot_id)), Some(collection_id)) =
                (keys::parse(relative), keys::collection_of(relative))
            {
                found.push(Candidate {
                    collection_id,
                    snapshot_id,
                    key,
                });
            }
        }
        found.sort_by_key(|c| (c.collection_id, c.snapshot_id));
        Ok(found)
    }

    /// Reads a metadata file.
    ///
    /// # Errors
    /// `corrupt_snapshot`: it can't be read, or is of another snapshot than its key; storage errors.
    pub(super) async fn open_stored(&self, candidate: &Candidate) -> Result<Opened> {
        let bytes = self.objects.get(&candidate.key, metadata::MAX_BYTES as u64).await?;
        let bytes = bytes.ok_or_else(|| Code::FileMissing.error("the metadata file has just been deleted"))?;
        let size = bytes.len() as u64;
        let stored = tokio::task::spawn_blocking(move || metadata::decode_stored(&bytes))
            .await
            .map_err(crate::domain::Error::internal)??;
        let said = &stored.metadata;
        if (said.collection_id, said.snapshot_id) != (candidate.collection_id, candidate.snapshot_id) {
            return Err(Code::CorruptSnapshot.error(format!(
                "the metadata file is of snapshot {} of collection {}",
                said.snapshot_id, said.collection_id
            )));
        }
        Ok(Opened {
            candidate: candidate.clone(),
            stored,
            bytes: size,
        })
    }
}
