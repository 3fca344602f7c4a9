//! Server-side copies.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::error::{io_error, storage_error};
use super::storage::Objects;
use super::url::StorageUrl;
use crate::domain::{Error, Result};

/// How one try to copy a file ended, when it did not succeed.
#[derive(Debug)]
pub enum CopyOutcome {
    /// The source is not there: trying again is useless.
    SourceMissing,
    /// Trying again may help.
    Retry(Error),
    /// Trying again is useless.
    Fail(Error),
}

/// Sets the flag when the waiting side goes away, so that a blocking copy does not appear later.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Above this size a copy goes in parts: S3's single copy ends at 5 GiB, and a part must be done
/// within the timeout of a call.
const MULTIPART_ABOVE: u64 = 512 * 1024 * 1024;
/// Bytes of a part.
const PART_BYTES: usize = 128 * 1024 * 1024;
/// Parts of one file copied at the same time.
const PARTS_AT_ONCE: usize = 4;

impl Objects {
    /// How long a copy may still appear after whoever asked for it has gone: a server finishes
    /// what it began.
    pub fn copy_margin(&self) -> Duration {
        match self.url.as_ref() {
            StorageUrl::S3 { .. } => self.options.timeout,
            StorageUrl::Local { .. } | StorageUrl::Memory => Duration::from_secs(1),
        }
    }

    /// Copies an object of a known size inside the store; no byte passes through here. Tries once.
    ///
    /// # Errors
    /// What to do about it.
    pub async fn copy(&self, source: &str, target: &str, size_bytes: u64) -> Result<(), CopyOutcome> {
        match (&self.local, self.url.as_ref()) {
            (Some(local), _) => {
                let flag = StopOnDrop(Arc::new(AtomicBool::new(false)));
                let (local, stop) = (local.clone(), flag.0.clone());
                let (from, to) = (source.to_string(), target.to_string());
                let copied = tokio::task::spawn_blocking(move || local.copy(&from, &to, &stop)).await;
                copied
                    .map_err(|e| CopyOutcome::Retry(Error::internal(e)))?
                    .map_err(|e| local_outcome(source, target, e))?;
            }
            // the memory service can't copy; it is for tests, whose objects are small
            (None, StorageUrl::Memory) => {
                let bytes = self.once.read(source).await.map_err(|e| outcome(source, target, e))?;
                self.once.write(target, bytes).await.map_err(|e| outcome(source, target, e))?;
            }
            (None, _) => {
                let copy = self.once.copy_with(source, target);
                let copied = if size_bytes > MULTIPART_ABOVE {
                    // without a hint the library looks at the source first and pins its ETag
                    copy.chunk(PART_BYTES).concurrent(PARTS_AT_ONCE).await
                } else {
                    copy.source_content_length_hint(size_bytes).await
                };
                copied.map_err(|e| outcome(source, target, e))?;
            }
        }
        Ok(())
    }
}

fn what(source: &str, target: &str) -> String {
    format!("copying {source} to {target}")
}

fn outcome(source: &str, target: &str, error: opendal::Error) -> CopyOutcome {
    use opendal::ErrorKind::{ConfigInvalid, NotFound, PermissionDenied, Unsupported};
    match error.kind() {
        NotFound => CopyOutcome::SourceMissing,
        PermissionDenied | Unsupported | ConfigInvalid => CopyOutcome::Fail(storage_error(&what(source, target), error)),
        _ => CopyOutcome::Retry(storage_error(&what(source, target), error)),
    }
}

fn local_outcome(source: &str, target: &str, error: io::Error) -> CopyOutcome {
    match error.kind() {
        io::ErrorKind::NotFound => CopyOutcome::SourceMissing,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            CopyOutcome::Fail(io_error(&what(source, target), error))
        }
        _ => CopyOutcome::Retry(io_error(&what(source, target), error)),
    }
}
