//! Copies of large objects, in parts: a multipart upload that is completed or aborted, whatever
//! becomes of whoever asked for it.
//!
//! The library aborts nothing by itself, and forgets the upload when its future is dropped. So a
//! task of its own drives each upload; when the asking future is dropped (a job cancelled, a lease
//! lost, a shutdown) the task stops after what is under way and aborts. [`Objects::settle`] waits
//! for these tasks. What a kill of the process leaves is found and aborted by the collector
//! ([`super::uploads`]) where the store lists uploads, else by a lifecycle rule of the bucket.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opendal::raw::BoxedStaticFuture;
use opendal::{ErrorKind, Execute, Executor, OperationContext, Writer};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::copy::{CopyFallback, CopyFile, CopyOutcome, changed, is_md5, outcome};
use super::error::{is_throttle, says, storage_error};
use super::limiter::CopySlot;
use super::storage::Objects;
use crate::domain::restore::backoff_ms;
use crate::domain::{Code, Error};

/// Bytes of a part that the server copies, unless the object has more than `MAX_PARTS` of them.
const PART_BYTES: u64 = 128 * 1024 * 1024;
/// Bytes of a part that goes through this process.
const STREAM_PART_BYTES: u64 = 8 * 1024 * 1024;
/// Parts of an object at most; S3's limit.
const MAX_PARTS: u64 = 10_000;
/// Parts of one object under way at the same time at most.
const PARTS_AT_ONCE: usize = 4;
/// Objects whose bytes go through this process at the same time; with the parts of each, this
/// bounds the memory to some 160 MiB.
pub(super) const STREAMS_AT_ONCE: usize = 4;
/// Failures of requests of one upload, other than throttling, before it is aborted.
const TRIES: u32 = 5;
/// Throttled requests of one upload before it is aborted.
const PATIENCE: u32 = 30;
/// What is under way gets so long to end before an abort: an abort may miss a part that the
/// server is still writing.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// One object on its way.
struct Upload {
    objects: Objects,
    source: String,
    target: String,
    size_bytes: u64,
    /// The ETag that the source must have, with quotes.
    if_match: Option<String>,
    asked: CancellationToken,
    parts: Arc<Parts>,
}

/// Runs the parts of an upload: each gives its slot back when it ends.
#[derive(Default)]
struct Parts {
    running: TaskTracker,
    next: Mutex<Option<CopySlot>>,
    timeout: Duration,
}

impl Parts {
    /// Sets the slot of the next part to begin; gives the one that was set.
    fn set_next(&self, slot: Option<CopySlot>) -> Option<CopySlot> {
        std::mem::replace(&mut self.next.lock().unwrap_or_else(PoisonError::into_inner), slot)
    }
}

/// What is asked of the library next.
enum Step {
    Copy(Range<u64>),
    Write(opendal::Buffer),
    Complete,
}

/// As the library wants it.
struct PartsExecutor(Arc<Parts>);

impl Execute for PartsExecutor {
    fn execute(&self, part: BoxedStaticFuture<()>) {
        // none: a part that failed is tried again in the place of another
        let slot = self.0.set_next(None);
        self.0.running.spawn(async move {
            part.await;
            drop(slot);
        });
    }

    fn timeout(&self) -> Option<BoxedStaticFuture<()>> {
        Some(Box::pin(tokio::time::sleep(self.0.timeout)))
    }
}

/// Why an upload came to no end.
enum Broken {
    /// Nobody waits for it any more.
    Unasked,
    Failed(opendal::Error),
}

impl Objects {
    /// Copies an object in parts, pinned to the ETag of its registration, or else to today's.
    ///
    /// An ETag that is no MD5 sum goes by how the object was written, not by what is in it: another tool that
    /// copied the bucket has given it another one. So where the source has another than such a recorded one,
    /// its size decides, and the copy is pinned to what it has today.
    pub(super) async fn copy_in_parts(&self, file: &CopyFile<'_>) -> Result<(), CopyOutcome> {
        let mut if_match = match file.etag {
            Some(etag) => Some(format!("\"{etag}\"")),
            None => self.etag_today(file).await?,
        };
        let mut may_differ = file.etag.is_some_and(|etag| !is_md5(etag));
        let asked = CancellationToken::new();
        let _unasked_when_dropped = asked.clone().drop_guard();
        let mut stream = false;
        loop {
            let upload = Upload {
                objects: self.clone(),
                source: file.source.to_string(),
                target: file.target.to_string(),
                size_bytes: file.size_bytes,
                if_match: if_match.clone(),
                asked: asked.clone(),
                parts: Arc::new(Parts {
                    timeout: self.options.timeout,
                    ..Parts::default()
                }),
            };
            let run = self.uploads.spawn(upload.run(stream));
            match run.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(Broken::Unasked)) => return Err(CopyOutcome::Retry(Error::internal("the copy was stopped"))),
                Ok(Err(Broken::Failed(error))) if !stream && is_unsupported(&error) => {
                    if self.options.copy_fallback == CopyFallback::Off {
                        return Err(CopyOutcome::Fail(unsupported(file).because(error)));
                    }
                    tracing::warn!(
                        key = file.source,
                        "the storage can't copy parts, the bytes go through this process"
                    );
                    stream = true;
                }
                Ok(Err(Broken::Failed(error))) if may_differ && error.kind() == ErrorKind::ConditionNotMatch => {
                    // what changes from now on is a change
                    may_differ = false;
                    if_match = self.etag_today(file).await?;
                    tracing::warn!(
                        key = file.source,
                        recorded = file.etag,
                        now = if_match,
                        "the source has another ETag than was recorded, which says nothing about its bytes; its size is the same"
                    );
                }
                Ok(Err(Broken::Failed(error))) => return Err(outcome(file.source, file.target, error)),
                Err(panic) => return Err(CopyOutcome::Retry(Error::internal(panic))),
            }
        }
    }

    /// The ETag that a source of the recorded size has now, with quotes; none where the store tells none.
    async fn etag_today(&self, file: &CopyFile<'_>) -> Result<Option<String>, CopyOutcome> {
        let found = self.operator.stat(file.source).await;
        let found = found.map_err(|e| outcome(file.source, file.target, e))?;
        if found.content_length() != file.size_bytes {
            return Err(CopyOutcome::Fail(changed(file.source)));
        }
        Ok(found.etag().map(|e| format!("\"{}\"", e.trim_matches('"'))))
    }

    /// Waits until every upload that nobody asks for any more was aborted, at most so long. No
    /// copy may begin after it.
    pub async fn settle(&self, bound: Duration) {
        self.uploads.close();
        if tokio::time::timeout(bound, self.uploads.wait()).await.is_err() {
            let left = self.uploads.len();
            tracing::warn!(
                left,
                "multipart uploads could not be aborted in time; the collector or the lifecycle rule of the bucket removes them"
            );
        }
    }
}

impl Upload {
    async fn run(self, stream: bool) -> Result<(), Broken> {
        let context = OperationContext::new().with_executor(Executor::with(PartsExecutor(self.parts.clone())));
        let operator = self.objects.once.clone().with_context(context);
        let opened = operator.writer_with(&self.target).concurrent(PARTS_AT_ONCE).await;
        let mut writer = opened.map_err(Broken::Failed)?;
        let written = self.write(&mut writer, stream).await;
        if written.is_err() {
            self.abort(&mut writer).await;
        }
        written
    }

    async fn write(&self, writer: &mut Writer, stream: bool) -> Result<(), Broken> {
        // bounds the memory
        let _stream = if stream {
            Some(self.while_asked(self.objects.streams.acquire()).await?)
        } else {
            None
        };
        let part_bytes = part_bytes(self.size_bytes, if stream { STREAM_PART_BYTES } else { PART_BYTES });
        let mut from = 0;
        while from < self.size_bytes {
            let range = from..(from + part_bytes).min(self.size_bytes);
            from = range.end;
            let step = if stream {
                Step::Write(self.read(range).await?)
            } else {
                Step::Copy(range)
            };
            self.persist(writer, step).await?;
        }
        self.parts.running.close();
        self.while_asked(self.parts.running.wait()).await?;
        self.parts.running.reopen();
        self.persist(writer, Step::Complete).await
    }

    async fn step(&self, writer: &mut Writer, step: &Step) -> Result<(), Broken> {
        if let Step::Complete = step {
            return self.under_way(writer.close()).await.map(drop);
        }
        let slot = self.while_asked(self.objects.limiter.acquire()).await?;
        self.parts.set_next(Some(slot));
        let part = match step {
            Step::Write(bytes) => self.under_way(writer.write(bytes.clone())).await,
            Step::Copy(range) => {
                let options = opendal::options::ReadOptions {
                    range: range.clone().into(),
                    if_match: self.if_match.clone(),
                    ..Default::default()
                };
                self.under_way(writer.copy_from_options(&self.source, options)).await
            }
            Step::Complete => Ok(()),
        };
        // still there when nothing was begun: the library keeps the last bytes back
        drop(self.parts.set_next(None));
        part
    }

    async fn read(&self, range: Range<u64>) -> Result<opendal::Buffer, Broken> {
        let slot = self.while_asked(self.objects.limiter.acquire()).await?;
        let read = self.objects.operator.read_with(&self.source).range(range);
        let read = match &self.if_match {
            Some(etag) => read.if_match(etag.as_str()),
            None => read,
        };
        let bytes = self.under_way(read).await;
        drop(slot);
        bytes
    }

    /// Tries a step again while that may help.
    async fn persist(&self, writer: &mut Writer, step: Step) -> Result<(), Broken> {
        let limiter = &self.objects.limiter;
        let (mut failures, mut throttled) = (0, 0);
        loop {
            let cuts = limiter.cuts();
            let error = match self.step(writer, &step).await {
                Ok(()) => {
                    limiter.succeeded();
                    return Ok(());
                }
                Err(Broken::Failed(error)) if error.is_temporary() || is_throttle(&error) => error,
                Err(broken) => return Err(broken),
            };
            if is_throttle(&error) {
                limiter.throttled(cuts);
                throttled += 1;
            } else {
                failures += 1;
            }
            if failures >= TRIES || throttled >= PATIENCE {
                return Err(Broken::Failed(error));
            }
            let pause = backoff_ms(failures + throttled, 100, 5000, rand::random());
            self.while_asked(tokio::time::sleep(Duration::from_millis(pause))).await?;
        }
    }

    /// Waits for something that may be dropped at any time.
    async fn while_asked<T>(&self, wait: impl Future<Output = T>) -> Result<T, Broken> {
        tokio::select! {
            () = self.asked.cancelled() => Err(Broken::Unasked),
            done = wait => Ok(done),
        }
    }

    /// Waits for a request that should not be dropped: its answer may name the upload to abort.
    async fn under_way<T>(&self, request: impl IntoFuture<Output = opendal::Result<T>>) -> Result<T, Broken> {
        let unasked = async {
            self.asked.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            () = unasked => Err(Broken::Unasked),
            done = request.into_future() => done.map_err(Broken::Failed),
        }
    }

    async fn abort(&self, writer: &mut Writer) {
        self.parts.running.close();
        let _ = tokio::time::timeout(GRACE, self.parts.running.wait()).await;
        abort(writer, &self.target).await;
    }
}

/// Aborts an upload, with some tries: what is left behind costs money until somebody finds it.
pub(super) async fn abort(writer: &mut Writer, key: &str) {
    for attempt in 1..=TRIES {
        match writer.abort().await {
            Ok(()) => return,
            Err(error) if says(&error, "NoSuchUpload") => return,
            Err(error) if attempt == TRIES => {
                let error = storage_error(&format!("aborting the multipart upload of {key}"), error);
                tracing::error!(error = %error, cause = error.cause_chain(), "a multipart upload is left behind");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(backoff_ms(attempt, 100, 2000, rand::random()))).await,
        }
    }
}

/// Parts of equal size: the last one must not be smaller than a part may be.
fn part_bytes(size: u64, wanted: u64) -> u64 {
    let parts = size.div_ceil(wanted).clamp(2, MAX_PARTS);
    size.div_ceil(parts)
}

fn is_unsupported(error: &opendal::Error) -> bool {
    error.kind() == ErrorKind::Unsupported || says(error, "NotImplemented") || says(error, "status: 501")
}

fn unsupported(file: &CopyFile<'_>) -> Error {
    Code::PartCopyUnsupported.error(format!(
        "source file {} has {} bytes, and the object storage can't copy parts of objects; \
         the setting copy_fallback=stream sends its bytes through the service",
        file.source, file.size_bytes
    ))
}

/// Bounds the objects whose bytes go through this process.
pub(super) fn streams() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(STREAMS_AT_ONCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_equal_and_never_too_small_or_too_many() {
        const MIB: u64 = 1024 * 1024;
        for (size, parts) in [
            (10 * MIB, 2),
            (10 * MIB + 1, 2),
            (257 * MIB, 3),
            (5 * 1024 * MIB + 1, 41),
            (5 * 1024 * 1024 * MIB, 10_000),
        ] {
            let part = part_bytes(size, PART_BYTES);
            assert_eq!(size.div_ceil(part), parts, "{size}");
            let last = size - part * (parts - 1);
            assert!(
                part >= 5 * MIB && last >= 5 * MIB - 1 && part <= 5 * 1024 * MIB,
                "{size}: {part} {last}"
            );
        }
    }
}
