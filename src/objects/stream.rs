//! Large objects, written and read piece by piece, so that memory stays flat.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use md5::Md5;
use sha2::{Digest as _, Sha256};
use tokio_util::task::TaskTracker;

use super::error::{io_error, storage_error};
use super::local::LocalRoot;
use super::observe::observed;
use super::parts::{GRACE, abort};
use super::storage::Objects;
use crate::domain::{Error, Result};

/// Bytes of a part of an object that is written in parts.
const PART_BYTES: usize = 8 * 1024 * 1024;

/// An object being written; it appears whole when it is finished.
#[derive(Debug)]
pub struct Sink {
    key: String,
    to: To,
}

enum To {
    Local {
        root: Arc<LocalRoot>,
        temporary: PathBuf,
        file: Arc<File>,
    },
    /// None while a step is under way, and after one that was lost.
    Remote(Option<Upload>),
}

/// A multipart upload. One that is dropped before its end (its task was called off) is aborted in
/// the background, and waited for as those of copies are. Requests run in tasks of their own: one whose
/// asker is gone comes to its end first, since its answer may name the upload.
struct Upload {
    key: String,
    writer: Option<Box<opendal::Writer>>,
    uploads: TaskTracker,
}

/// What is asked of an upload.
enum Step {
    Write(Vec<u8>),
    Complete,
}

impl Upload {
    /// Does one step; gives the upload back.
    async fn step(mut self, step: Step) -> (Self, opendal::Result<()>) {
        let completes = matches!(step, Step::Complete);
        let done = match (self.writer.as_deref_mut(), step) {
            (None, _) => Err(opendal::Error::new(opendal::ErrorKind::Unexpected, "the upload has ended")),
            (Some(writer), Step::Write(bytes)) => writer.write(bytes).await,
            (Some(writer), Step::Complete) => writer.close().await.map(drop),
        };
        if completes && done.is_ok() {
            self.writer = None;
        }
        (self, done)
    }

    /// The same in a task that nobody can call off.
    async fn step_to_its_end(self, step: Step) -> Result<(Self, opendal::Result<()>)> {
        let (mut give, given) = tokio::sync::oneshot::channel();
        self.uploads.clone().spawn(async move {
            let unasked = async {
                give.closed().await;
                tokio::time::sleep(GRACE).await;
            };
            let ended = tokio::select! {
                ended = self.step(step) => Some(ended),
                () = unasked => None,
            };
            // where nobody takes it any more, dropping it aborts
            if let Some(ended) = ended {
                let _ = give.send(ended);
            }
        });
        given.await.map_err(Error::internal)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            let key = std::mem::take(&mut self.key);
            self.uploads.spawn(async move { abort(&mut writer, &key).await });
        }
    }
}

impl std::fmt::Debug for To {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            To::Local { temporary, .. } => write!(f, "Local({})", temporary.display()),
            To::Remote(_) => f.write_str("Remote"),
        }
    }
}

impl Objects {
    /// Begins to write an object; one of that key is replaced at the end.
    ///
    /// # Errors
    /// A storage error that names the key.
    pub async fn sink(&self, key: &str) -> Result<Sink> {
        let to = if let Some(root) = self.local.clone() {
            let at = root.clone();
            let begun = blocking(move || at.begin_temporary()).await?;
            let (temporary, file) = begun.map_err(|e| io_error(&format!("writing {key}"), e))?;
            To::Local {
                root,
                temporary,
                file: Arc::new(file),
            }
        } else {
            let writer = self.operator.writer_with(key).chunk(PART_BYTES).await;
            To::Remote(Some(Upload {
                key: key.to_string(),
                writer: Some(Box::new(writer.map_err(|e| storage_error(&format!("writing {key}"), e))?)),
                uploads: self.uploads.clone(),
            }))
        };
        Ok(Sink {
            key: key.to_string(),
            to,
        })
    }

    /// Reads an object piece by piece; none when there is no such object.
    ///
    /// # Errors
    /// A storage error that names the key; later ones are items of the stream.
    pub async fn read_stream(&self, key: &str) -> Result<Option<BoxStream<'static, Result<Vec<u8>>>>> {
        // what comes after the opening is not counted
        observed("read_stream", self.open_stream(key)).await
    }

    async fn open_stream(&self, key: &str) -> Result<Option<BoxStream<'static, Result<Vec<u8>>>>> {
        let failed = |e| storage_error(&format!("reading {key}"), e);
        let size = match self.operator.stat(key).await {
            Ok(metadata) => metadata.content_length(),
            Err(e) if e.kind() == opendal::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        if size == 0 {
            return Ok(Some(stream::empty().boxed()));
        }
        let reader = self.operator.reader(key).await.map_err(failed)?;
        let pieces = reader.into_stream(0..size).await.map_err(failed)?;
        let key = key.to_string();
        let pieces = pieces.map(move |piece| {
            piece
                .map(|buffer| buffer.to_vec())
                .map_err(|e| storage_error(&format!("reading {key}"), e))
        });
        Ok(Some(pieces.boxed()))
    }

    /// Reads a whole object piece by piece; gives its size, none when there is no such object.
    async fn read_through(&self, key: &str, mut each: impl FnMut(&[u8]) + Send) -> Result<Option<u64>> {
        let Some(mut pieces) = self.read_stream(key).await? else {
            return Ok(None);
        };
        let mut size = 0;
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            size += piece.len() as u64;
            each(&piece);
        }
        Ok(Some(size))
    }

    /// Size and MD5 of an object's bytes, which are all read; none when there is no such object.
    ///
    /// # Errors
    /// A storage error that names the key.
    pub async fn md5(&self, key: &str) -> Result<Option<(u64, String)>> {
        let mut sum = Md5::default();
        let size = self.read_through(key, |piece| md5::Digest::update(&mut sum, piece)).await?;
        Ok(size.map(|size| (size, hex(&md5::Digest::finalize(sum)))))
    }

    /// Size and SHA-256 of an object's bytes, which are all read; none when there is no such object.
    ///
    /// # Errors
    /// A storage error that names the key.
    pub async fn sha256(&self, key: &str) -> Result<Option<(u64, String)>> {
        let mut sum = Sha256::new();
        let size = self.read_through(key, |piece| sum.update(piece)).await?;
        Ok(size.map(|size| (size, hex(&sum.finalize()))))
    }

    /// Bytes free for us on the filesystem of a local storage; none where the store does not tell.
    ///
    /// # Errors
    /// A storage error.
    pub async fn free_bytes(&self) -> Result<Option<u64>> {
        let Some(local) = self.local.clone() else { return Ok(None) };
        let stat = blocking(move || nix::sys::statvfs::statvfs(&local.path)).await?;
        let stat = stat.map_err(|e| io_error("asking for the free space of the object storage", e.into()))?;
        Ok(Some(stat.blocks_available().saturating_mul(stat.fragment_size())))
    }
}

impl Sink {
    /// Adds bytes.
    ///
    /// # Errors
    /// A storage error that names the key; the object must then be abandoned.
    pub async fn write(&mut self, bytes: Vec<u8>) -> Result<()> {
        let what = || format!("writing {}", self.key);
        match &mut self.to {
            To::Local { file, .. } => {
                let file = file.clone();
                let written = blocking(move || std::io::Write::write_all(&mut &*file, &bytes)).await?;
                written.map_err(|e| io_error(&what(), e))
            }
            To::Remote(upload) => {
                let begun = upload.take().ok_or_else(|| Error::internal("the upload has ended"))?;
                let (begun, written) = begun.step_to_its_end(Step::Write(bytes)).await?;
                *upload = Some(begun);
                written.map_err(|e| storage_error(&what(), e))
            }
        }
    }

    /// Makes the object appear.
    ///
    /// # Errors
    /// A storage error that names the key.
    pub async fn finish(self) -> Result<()> {
        observed("write_stream", self.complete()).await
    }

    async fn complete(self) -> Result<()> {
        let what = format!("writing {}", self.key);
        match self.to {
            To::Local { root, temporary, file } => {
                let key = self.key;
                let done = blocking(move || {
                    let done = root.finish_temporary(&file, &temporary, &key);
                    if done.is_err() {
                        let _ = std::fs::remove_file(&temporary);
                    }
                    done
                })
                .await?;
                done.map_err(|e| io_error(&what, e))
            }
            To::Remote(upload) => {
                let begun = upload.ok_or_else(|| Error::internal("the upload has ended"))?;
                let (_, closed) = begun.step_to_its_end(Step::Complete).await?;
                // what failed is aborted as it is dropped
                closed.map_err(|e| storage_error(&what, e))
            }
        }
    }

    /// Gives up: nothing appears, and what was written so far is removed where that works.
    pub async fn abandon(self) {
        match self.to {
            To::Local { temporary, .. } => {
                let _ = blocking(move || std::fs::remove_file(temporary)).await;
            }
            // dropping it aborts
            To::Remote(upload) => drop(upload),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The MD5 of bytes in memory.
pub(super) fn md5_of(bytes: &[u8]) -> String {
    hex(&<Md5 as md5::Digest>::digest(bytes))
}
