//! The proof of a copied segment: what its target directories list, before anything is published.

use super::Service;
use super::registration::directories;
use super::restore_run::RunError;
use crate::domain::receipt::Proof;
use crate::domain::segment::{File, is_md5};
use crate::domain::{Code, Result, key};
use crate::objects::{Directories, Listing, Route};

/// One file to copy.
pub(super) struct FileCopy {
    pub source: String,
    pub target: String,
    pub size_bytes: u64,
    /// Of the source, as it was recorded at registration.
    pub etag: Option<String>,
}

impl FileCopy {
    pub fn new(source: &File, target: &File) -> Self {
        Self {
            source: source.path.clone(),
            target: target.path.clone(),
            size_bytes: source.size_bytes,
            etag: source.etag.clone(),
        }
    }

    /// Into a bundle, which keeps ids and paths, but for the directory of another system.
    pub fn into_bundle(source: &File) -> Self {
        Self {
            target: key::own_path(&source.path).to_string(),
            ..Self::new(source, source)
        }
    }
}

/// How the files of a segment were proved, each at its place.
pub(super) struct Proved {
    /// One letter per file.
    pub methods: String,
    /// What the store says of each copy.
    pub etags: Vec<Option<String>>,
}

/// The directories that copies are made in.
pub(super) fn targets(copies: &[FileCopy]) -> Result<Directories> {
    directories(copies.iter().map(|c| c.target.as_str()))
}

impl Service {
    /// Every file is there with its size, and with its source's ETag where both are comparable, by what the target
    /// directories hold.
    pub(super) async fn prove(&self, route: &Route, copies: &[FileCopy], mut found: Listing) -> Result<Proved, RunError> {
        let mut methods = String::with_capacity(copies.len());
        let mut etags = Vec::with_capacity(copies.len());
        for copy in copies {
            let Some(entry) = found.remove(&copy.target) else {
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
                // two stores that agree on a sum have both looked at the bytes
                (Some(recorded), Some(now))
                    if recorded == now && is_md5(now) && (route.is_streamed() || route.compares_etags()) =>
                {
                    Proof::Etag
                }
                (Some(recorded), Some(now)) if is_md5(recorded) && is_md5(now) && route.compares_etags() => {
                    self.prove_by_content(route, copy, recorded, now).await?
                }
                _ => Proof::Size,
            };
            methods.push(proof.letter());
            etags.push(entry.etag);
        }
        Ok(Proved { methods, etags })
    }

    /// Decides about a copy with another ETag than its source had. On an object that the store has
    /// encrypted under a key an ETag only looks like a checksum, so the bytes have the last word.
    async fn prove_by_content(&self, route: &Route, copy: &FileCopy, recorded: &str, now: &str) -> Result<Proof, RunError> {
        let wrong = |why: &str| {
            RunError::Fail(Code::FileChanged.error(format!(
                "the copy {} of {} has the ETag {now}, {recorded} was recorded of its source: {why}",
                copy.target, copy.source
            )))
        };
        let listed = route.from.list_all(directories([copy.source.as_str()].into_iter())?).await?;
        let source_now = listed.get(&copy.source).and_then(|e| e.etag.as_deref());
        if source_now != Some(recorded) {
            return Err(wrong("the source was overwritten"));
        }
        let gone = |key: &str| RunError::Retry(Code::FileMissing.error(format!("{key} is not there any more")));
        let source = route.from.md5(&copy.source).await?.ok_or_else(|| gone(&copy.source))?;
        let target = route.to.md5(&copy.target).await?.ok_or_else(|| gone(&copy.target))?;
        if source == target {
            Ok(Proof::Content)
        } else {
            Err(wrong("their bytes differ"))
        }
    }
}
