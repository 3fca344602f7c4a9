//! The proof of a copied segment: what its target directories list, before anything is published.

use std::collections::HashMap;

use super::Service;
use super::registration::{directories, list_all};
use super::restore_run::RunError;
use crate::domain::receipt::Proof;
use crate::domain::segment::is_md5;
use crate::domain::{Code, Result};
use crate::objects::Entry;

/// One file to copy.
pub(super) struct FileCopy {
    pub source: String,
    pub target: String,
    pub size_bytes: u64,
    /// Of the source, as it was recorded at registration.
    pub etag: Option<String>,
}

impl Service {
    /// What the target directories hold: one LIST each.
    pub(super) async fn list_targets(&self, copies: &[FileCopy]) -> Result<HashMap<String, Entry>> {
        list_all(&self.objects, directories(copies.iter().map(|c| c.target.as_str()))?).await
    }

    /// Every file is there with its size, and with its source's ETag where both are comparable.
    /// Gives how each was proved, one letter per file.
    pub(super) async fn prove(&self, copies: &[FileCopy]) -> Result<String, RunError> {
        let found = self.list_targets(copies).await?;
        let mut methods = String::with_capacity(copies.len());
        for copy in copies {
            let Some(entry) = found.get(&copy.target) else {
                return Err(RunError::Retry(Code::FileMissing.error(format!(
                    "the copy {} of {} is not there after it was made",
                    copy.target, copy.source
                ))));
            };
            if entry.size_bytes != copy.size_bytes {
                return Err(RunError::Fail(Code::FileSizeMismatch.error(format!(
                    "the copy {} of {} has {} bytes, not {}",
                    copy.target, copy.source, entry.size_bytes, copy.size_bytes
                ))));
            }
            let proof = match (&copy.etag, &entry.etag) {
                (Some(recorded), Some(now)) if self.objects.compares_etags() && is_md5(recorded) && is_md5(now) => {
                    if recorded == now {
                        Proof::Etag
                    } else {
                        self.prove_by_content(copy, recorded, now).await?
                    }
                }
                _ => Proof::Size,
            };
            methods.push(proof.letter());
        }
        Ok(methods)
    }

    /// Decides about a copy with another ETag than its source had. On an object that the store has
    /// encrypted under a key an ETag only looks like a checksum, so the bytes have the last word.
    async fn prove_by_content(&self, copy: &FileCopy, recorded: &str, now: &str) -> Result<Proof, RunError> {
        let wrong = |why: &str| {
            RunError::Fail(Code::FileChanged.error(format!(
                "the copy {} of {} has the ETag {now}, {recorded} was recorded of its source: {why}",
                copy.target, copy.source
            )))
        };
        let listed = list_all(&self.objects, directories([copy.source.as_str()].into_iter())?).await?;
        let source_now = listed.get(&copy.source).and_then(|e| e.etag.as_deref());
        if source_now != Some(recorded) {
            return Err(wrong("the source was overwritten"));
        }
        let gone = |key: &str| RunError::Retry(Code::FileMissing.error(format!("{key} is not there any more")));
        let source = self.objects.md5(&copy.source).await?.ok_or_else(|| gone(&copy.source))?;
        let target = self.objects.md5(&copy.target).await?.ok_or_else(|| gone(&copy.target))?;
        if source == target {
            Ok(Proof::Content)
        } else {
            Err(wrong("their bytes differ"))
        }
    }
}
