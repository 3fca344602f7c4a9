//! Server-side copies.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::error::{io_error, is_throttle, says, storage_error};
use super::limiter::CopySlot;
use super::observe::observed;
use super::storage::Objects;
use super::url::StorageUrl;
use crate::domain::{Code, Error};

/// A file to copy inside the store.
#[derive(Debug, Clone, Copy)]
pub struct CopyFile<'a> {
    pub source: &'a str,
    pub target: &'a str,
    pub size_bytes: u64,
    /// Of the source when it was registered, without quotes; none where the store has no such.
    pub etag: Option<&'a str>,
}

/// How one try to copy a file ended, when it did not succeed.
#[derive(Debug)]
pub enum CopyOutcome {
    /// The source is not there: trying again is useless.
    SourceMissing,
    /// The store asks to slow down: trying again later will help, and says nothing against the file.
    Throttled(Error),
    /// Trying again may help.
    Retry(Error),
    /// Trying again is useless.
    Fail(Error),
}

/// What to do with an object over the threshold where the store can't copy parts of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFallback {
    /// It is an error.
    Off,
    /// Its bytes go through this process.
    Stream,
}

/// Sets the flag when the waiting side goes away, so that a blocking copy does not appear later.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The largest object that S3 copies in one call.
pub const SINGLE_COPY_MAX: u64 = 5 * 1024 * 1024 * 1024;

impl Objects {
    /// How long a copy may still appear after whoever asked for it has gone: a server finishes
    /// what it began.
    pub fn copy_margin(&self) -> Duration {
        match self.url.as_ref() {
            StorageUrl::S3 { .. } => self.options.timeout,
            StorageUrl::Local { .. } | StorageUrl::Memory => Duration::from_secs(1),
        }
    }

    /// The same of any store that is used as this one is.
    pub fn longest_copy_margin(&self) -> Duration {
        self.copy_margin().max(self.options.timeout)
    }

    /// Requests to copy that this process may have under way at the same time, now: fewer while
    /// the store asks to slow down.
    pub fn copy_limit(&self) -> usize {
        self.limiter.limit()
    }

    /// Copies an object inside the store; no byte passes through here, unless in parts where the
    /// store can't and the fallback says so. Waits for a slot, then tries once. On local storage
    /// [`Objects::sync_parents`] makes the new names last.
    ///
    /// # Errors
    /// What to do about it.
    pub async fn copy(&self, file: &CopyFile<'_>) -> Result<(), CopyOutcome> {
        let remote = self.local.is_none() && *self.url != StorageUrl::Memory;
        if remote && file.size_bytes > self.options.multipart_above.min(SINGLE_COPY_MAX) {
            // each part takes a slot of its own
            return observed("copy_in_parts", self.copy_in_parts(file)).await;
        }
        if self.local.is_some() {
            let pair = (file.source.to_string(), file.target.to_string());
            return observed("copy", self.copy_local(vec![pair], |_| {}, None)).await;
        }
        let slot = self.limiter.acquire().await;
        let copied = observed("copy", self.copy_once(file)).await;
        settle(slot, &copied);
        copied
    }

    /// Whether [`Objects::copy_together`] can do it.
    pub fn copies_together(&self) -> bool {
        self.local.is_some()
    }

    /// Copies small files, from a key to a key, one after the other and together faster than by
    /// [`Objects::copy`] one by one: on local storage only. Takes one slot. Tells `done` the
    /// position of each that has appeared, in order; none after one that failed has.
    ///
    /// # Errors
    /// What to do about the first that is not done.
    pub async fn copy_together(
        &self,
        files: Vec<(String, String)>,
        done: impl FnMut(usize) + Send + 'static,
    ) -> Result<(), CopyOutcome> {
        let turn = self.groups.clone().acquire_owned().await;
        // an error would say that the semaphore was closed, which nobody does
        observed("copy_many", self.copy_local(files, done, turn.ok())).await
    }

    /// The slot and the turn are held until the copies have ended, also when nobody waits for them any more.
    async fn copy_local(
        &self,
        files: Vec<(String, String)>,
        done: impl FnMut(usize) + Send + 'static,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Result<(), CopyOutcome> {
        let Some(local) = self.local.clone() else {
            let what = Error::internal("files are copied together on local storage only");
            return Err(CopyOutcome::Fail(what));
        };
        let slot = self.limiter.acquire().await;
        let flag = StopOnDrop(Arc::new(AtomicBool::new(false)));
        let stop = flag.0.clone();
        let copying = tokio::task::spawn_blocking(move || {
            let copied = local.copy_many(&files, &stop, done);
            let copied = copied.map_err(|(at, error)| local_outcome(&files[at].0, &files[at].1, error));
            settle(slot, &copied);
            drop(turn);
            copied
        });
        copying.await.map_err(|e| CopyOutcome::Retry(Error::internal(e)))?
    }

    async fn copy_once(&self, file: &CopyFile<'_>) -> Result<(), CopyOutcome> {
        let CopyFile { source, target, .. } = *file;
        match self.url.as_ref() {
            // the memory service can't copy; it is for tests, whose objects are small
            StorageUrl::Memory => {
                let bytes = self.once.read(source).await.map_err(|e| outcome(source, target, e))?;
                self.once.write(target, bytes).await.map_err(|e| outcome(source, target, e))?;
            }
            _ => {
                // the known length saves the library's look at the source: one request, not two
                let copied = self
                    .once
                    .copy_with(source, target)
                    .source_content_length_hint(file.size_bytes)
                    .await;
                let made = copied.map_err(|e| outcome(source, target, e))?;
                self.same_source(file, made.etag()).await?;
            }
        }
        Ok(())
    }

    /// The library can't pin a single copy to an ETag without a request more per file; but a copy
    /// of a small object has its source's ETag, which the answer tells. Where it is another one
    /// (also so where the store encrypts each object with its own key) the source is looked at.
    async fn same_source(&self, file: &CopyFile<'_>, made: Option<&str>) -> Result<(), CopyOutcome> {
        let (Some(wanted), Some(made)) = (file.etag, made.map(|e| e.trim_matches('"'))) else {
            return Ok(());
        };
        if wanted == made || !is_md5(wanted) || !is_md5(made) {
            return Ok(());
        }
        let now = self.operator.stat(file.source).await;
        let now = now.map_err(|e| outcome(file.source, file.target, e))?;
        match now.etag().map(|e| e.trim_matches('"')) {
            Some(now) if now != wanted => Err(CopyOutcome::Fail(changed(file.source))),
            _ => Ok(()),
        }
    }
}

/// Tells the limiter how it went.
pub(super) fn settle(slot: CopySlot, copied: &Result<(), CopyOutcome>) {
    match copied {
        Ok(()) => slot.succeeded(),
        Err(CopyOutcome::Throttled(_)) => slot.throttled(),
        // neither a sign of room nor of too much
        Err(_) => drop(slot),
    }
}

/// Whether an ETag is that of an object written in one piece.
pub(super) fn is_md5(etag: &str) -> bool {
    etag.len() == 32 && etag.bytes().all(|b| b.is_ascii_hexdigit())
}

pub(super) fn changed(source: &str) -> Error {
    Code::FileChanged.error(format!("source file {source} was changed after it was registered"))
}

fn what(source: &str, target: &str) -> String {
    format!("copying {source} to {target}")
}

pub(super) fn outcome(source: &str, target: &str, error: opendal::Error) -> CopyOutcome {
    use opendal::ErrorKind::{ConditionNotMatch, ConfigInvalid, NotFound, PermissionDenied, Unsupported};
    let kind = error.kind();
    let (throttled, upload_gone) = (is_throttle(&error), says(&error, "NoSuchUpload"));
    let error = storage_error(&what(source, target), error);
    match kind {
        _ if throttled => CopyOutcome::Throttled(error),
        _ if error.code() == Code::InsufficientStorage => CopyOutcome::Fail(error),
        NotFound if !upload_gone => CopyOutcome::SourceMissing,
        ConditionNotMatch => CopyOutcome::Fail(changed(source).because(error)),
        PermissionDenied | Unsupported | ConfigInvalid => CopyOutcome::Fail(error),
        _ => CopyOutcome::Retry(error),
    }
}

fn local_outcome(source: &str, target: &str, error: io::Error) -> CopyOutcome {
    let missing = error.kind() == io::ErrorKind::NotFound;
    let error = io_error(&what(source, target), error);
    match error.code() {
        _ if missing => CopyOutcome::SourceMissing,
        Code::StorageAccessDenied | Code::InsufficientStorage => CopyOutcome::Fail(error),
        _ => CopyOutcome::Retry(error),
    }
}
