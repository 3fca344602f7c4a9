//! Second phase of a restore job: copy the files of one segment, and prove them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::restore_prove::{FileCopy, Proved, targets};
use super::restore_run::{Outcome, RunError};
use super::throttle::Throttle;
use super::{Service, commit};
use crate::crash_point;
use crate::domain::id::{JobId, SegmentId, TaskId};
use crate::domain::manifest::Manifest;
use crate::domain::restore::{ClaimedTask, JobKind, JobState, Progress, TaskKind, backoff_ms};
use crate::domain::segment::{File, is_md5};
use crate::domain::{Code, Error, Result};
use crate::objects::{CopyFile, CopyOutcome, Route};
use crate::store;

/// Counters of a running copy task, read by its heartbeat.
#[derive(Debug, Default)]
pub struct CopyProgress {
    counts: Arc<Counts>,
    /// Retries of earlier attempts.
    retries_before: i64,
    /// How fast the task may copy.
    pub(super) throttle: Throttle,
    /// Another job waits for the worker: what is under way ends, nothing begins.
    making_room: CancellationToken,
    /// Every file is copied; they have yet to be proved, and may wait for others with that.
    copied_all: CancellationToken,
}

#[derive(Debug, Default)]
struct Counts {
    files: AtomicI64,
    bytes: AtomicI64,
    /// Those of them that an earlier attempt has left.
    found_files: AtomicI64,
    found_bytes: AtomicI64,
    retries: AtomicI64,
}

impl CopyProgress {
    /// Counters of one attempt of a task; retries of earlier ones stay counted.
    pub fn of(task: &ClaimedTask) -> Self {
        Self::after(task.retries)
    }

    fn after(retries_before: i64) -> Self {
        let progress = Self {
            retries_before,
            ..Self::default()
        };
        progress.counts.retries.store(retries_before, Ordering::Relaxed);
        progress
    }

    /// What there is of the task's files, whichever attempt copied it, and the retries of all attempts.
    pub fn read(&self) -> Progress {
        Progress {
            files: self.counts.files.load(Ordering::Relaxed),
            bytes: self.counts.bytes.load(Ordering::Relaxed),
            retries: self.counts.retries.load(Ordering::Relaxed),
        }
    }

    /// What this attempt did itself: neither files that it found there already, nor retries of earlier ones.
    pub fn copied(&self) -> Progress {
        let all = self.read();
        Progress {
            files: all.files - self.counts.found_files.load(Ordering::Relaxed),
            bytes: all.bytes - self.counts.found_bytes.load(Ordering::Relaxed),
            retries: all.retries - self.retries_before,
        }
    }

    /// Waits until the task has copied every file, and has them only to be proved where that may wait for others.
    pub async fn copied_all(&self) {
        self.copied_all.cancelled().await;
    }

    /// Lets the task end the files that are under way, and then hand itself back.
    pub fn make_room(&self) {
        self.making_room.cancel();
    }
}

impl Counts {
    fn done(&self, size_bytes: u64) {
        let size = i64::try_from(size_bytes).unwrap_or(i64::MAX);
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(size, Ordering::Relaxed);
    }

    /// A file that an earlier attempt has copied.
    fn found(&self, size_bytes: u64) {
        let size = i64::try_from(size_bytes).unwrap_or(i64::MAX);
        self.found_files.fetch_add(1, Ordering::Relaxed);
        self.found_bytes.fetch_add(size, Ordering::Relaxed);
        self.done(size_bytes);
    }
}

/// Longest pause between tries of a file.
const MAX_PAUSE_MS: u64 = 10_000;
/// Times that one file waits for a store that asks to slow down (some ten minutes) before its task
/// is put back.
const MAX_THROTTLED: u32 = 60;
/// Copy tasks of a process that record their end at the same time.
pub(super) const ENDS_AT_ONCE: usize = 4;
/// Files, and their bytes, that are copied together where the storage can: few enough that the
/// segments of several workers share the copies at the same time evenly.
const GROUP_FILES: usize = 32;
const GROUP_BYTES: u64 = 4 * 1024 * 1024;

impl Service {
    /// Copies the files of one segment and proves them by listing the target.
    ///
    /// A later attempt first lists what an earlier one left: a copy appears whole or not at all,
    /// and nobody else writes under the new ids, so a file that is there with its size is done.
    pub(super) async fn copy_segment(&self, task: &ClaimedTask, progress: &CopyProgress) -> Result<Outcome, RunError> {
        let plan = self.plan_copies(task.job_id, task.task_id, false).await?;
        progress.throttle.set(plan.bytes_per_second);
        let Plan {
            route, copies, target, ..
        } = plan;
        let there = if task.attempt > 1 {
            route.to.list_all(targets(&copies)?).await?
        } else {
            HashMap::new()
        };
        let is_there = |file: &FileCopy| there.get(&file.target).is_some_and(|e| e.size_bytes == file.size_bytes);
        let (done, open): (Vec<&FileCopy>, Vec<&FileCopy>) = copies.iter().partition(|file| is_there(file));
        done.iter().for_each(|file| progress.counts.found(file.size_bytes));
        let failed = AtomicBool::new(false);
        let running: Vec<_> = groups(&open, route.copies_together())
            .map(|group| self.copy_group(group, &route, progress, &failed))
            .collect();
        // copies that have begun are waited for also after a failure: none may appear later
        let mut running = stream::iter(running).buffer_unordered(self.settings.copy_concurrency);
        let mut first_failure = None;
        while let Some(ended) = running.next().await {
            if let Err(error) = ended {
                failed.store(true, Ordering::Relaxed);
                first_failure.get_or_insert(error);
            }
        }
        if let Some(error) = first_failure {
            return Err(error);
        }
        if progress.read().files < i64::try_from(copies.len()).unwrap_or(i64::MAX) {
            // it makes room; what is copied stays
            self.make_room(task).await?;
            return Ok(Outcome::HandedBack);
        }
        if route.to.objects().lists_together() {
            progress.copied_all.cancel();
        }
        let keys: Vec<String> = copies.iter().map(|c| route.to.key(&c.target)).collect();
        route.to.objects().sync_parents(keys.iter().map(String::as_str)).await?;
        let found = route.to.list_copies(targets(&copies)?).await?;
        let proved = self.prove(&route, &copies, found).await?;
        crash_point::reached("restore.proved");
        self.finish_copy(task, progress, &proved, target).await
    }

    /// The files of one segment: those that the catalog has of it, or the job noted of it.
    /// `without_source`: nothing is read where the files come from, so its store is not opened.
    pub(super) async fn plan_copies(&self, job: JobId, task: TaskId, without_source: bool) -> Result<Plan, RunError> {
        let mut conn = self.conn().await?;
        let copy = store::tasks::copy_task(&mut conn, task).await?;
        let bytes_per_second = copy.bytes_per_second;
        let bundle = match copy.kind {
            JobKind::Restore | JobKind::Materialize => None,
            JobKind::Export | JobKind::External => store::bundles::find(&mut conn, job).await?,
        };
        let route = match without_source {
            true => Route::inside(&self.objects),
            false => self.route(job, bundle.as_ref())?,
        };
        let target = SegmentId(copy.target_segment);
        let ids = copy.builds;
        let from: Vec<i64> = ids.keys().copied().collect();
        let to: Vec<i64> = ids.values().copied().collect();
        let gone = |what: &str| RunError::Fail(Error::internal(format!("the {what} of copy task {task} is gone")));
        let source_segment = SegmentId(copy.source_segment);
        let source = match copy.kind {
            JobKind::External | JobKind::Materialize => store::bundles::source(&mut conn, job, source_segment).await?,
            JobKind::Restore | JobKind::Export => {
                store::targets::manifest(&mut conn, source_segment, Some(copy.source_version), &from).await?
            }
        };
        if copy.kind == JobKind::Export {
            let source = source.ok_or_else(|| gone("source"))?;
            let copies = files(&source).map(FileCopy::into_bundle).collect();
            return Ok(Plan {
                route,
                copies,
                target: None,
                bytes_per_second,
            });
        }
        let target = store::targets::manifest(&mut conn, target, None, &to).await?;
        let (source, mut target) = (source.ok_or_else(|| gone("source"))?, target.ok_or_else(|| gone("target"))?);
        // builds pair by their ids, not by their order
        let position: HashMap<i64, usize> = source
            .builds
            .iter()
            .enumerate()
            .filter_map(|(at, b)| ids.get(&b.build_id.0).map(|new| (*new, at)))
            .collect();
        target.builds.sort_by_key(|b| position.get(&b.build_id.0).copied());
        let copies: Vec<FileCopy> = files(&source).zip(files(&target)).map(|(s, t)| FileCopy::new(s, t)).collect();
        if files(&source).count() != copies.len() || files(&target).count() != copies.len() {
            return Err(RunError::Fail(Error::internal("source and target have different files")));
        }
        Ok(Plan {
            route,
            copies,
            target: Some(target),
            bytes_per_second,
        })
    }

    /// Copies files that belong together; what that leaves open, one by one with its tries.
    async fn copy_group(
        &self,
        group: &[&FileCopy],
        route: &Route,
        progress: &CopyProgress,
        failed: &AtomicBool,
    ) -> Result<(), RunError> {
        let begins = || !failed.load(Ordering::Relaxed) && !progress.making_room.is_cancelled();
        let mut open = group;
        // files under a limit are paid for one by one
        if group.len() > 1 && begins() && !progress.throttle.is_on() {
            let sizes: Vec<u64> = group.iter().map(|file| file.size_bytes).collect();
            let (copied, counters) = (Arc::new(AtomicUsize::new(0)), progress.counts.clone());
            let count = copied.clone();
            let done = move |at: usize| {
                count.store(at + 1, Ordering::SeqCst);
                counters.done(sizes[at]);
                crash_point::reached("restore.file_copied");
            };
            let pairs = group.iter().map(|file| (file.source.as_str(), file.target.as_str()));
            // whatever went wrong, the file gets its tries and its error below
            let _ = route.copy_together(pairs, done).await;
            open = &group[copied.load(Ordering::SeqCst)..];
        }
        for file in open {
            let paid = progress.throttle.take(file.size_bytes);
            if !begins()
                || progress.making_room.run_until_cancelled(paid).await.is_none()
                || !self.copy_file(route, file, progress).await?
            {
                return Ok(());
            }
            crash_point::reached("restore.file_copied");
            progress.counts.done(file.size_bytes);
        }
        Ok(())
    }

    /// Tries to copy a file until it is there; false when it was given up in a pause to make room.
    async fn copy_file(&self, route: &Route, file: &FileCopy, progress: &CopyProgress) -> Result<bool, RunError> {
        let (mut tries, mut throttled) = (0, 0);
        let copy = CopyFile {
            source: &file.source,
            target: &file.target,
            size_bytes: file.size_bytes,
            etag: file.etag.as_deref(),
        };
        loop {
            match route.copy(&copy).await {
                Ok(()) => return Ok(true),
                Err(CopyOutcome::SourceMissing) => {
                    return Err(RunError::Fail(
                        Code::FileMissing.error(format!("source file {} is missing", file.source)),
                    ));
                }
                Err(CopyOutcome::Fail(error)) => return Err(RunError::Fail(error)),
                // waiting is not failing: it costs the file no try
                Err(CopyOutcome::Throttled(_)) if throttled < MAX_THROTTLED => throttled += 1,
                Err(CopyOutcome::Throttled(error)) => return Err(RunError::Retry(error)),
                Err(CopyOutcome::Retry(error)) => {
                    tries += 1;
                    if tries >= self.settings.copy_tries {
                        return Err(RunError::Retry(error));
                    }
                    tracing::warn!(key = file.source, tries, error = %error, cause = error.cause_chain(), "copy failed, trying again");
                }
            }
            progress.counts.retries.fetch_add(1, Ordering::Relaxed);
            let base = u64::try_from(self.settings.copy_backoff.as_millis()).unwrap_or(MAX_PAUSE_MS);
            let pause = backoff_ms(tries + throttled, base, MAX_PAUSE_MS, rand::random());
            let pause = tokio::time::sleep(Duration::from_millis(pause));
            if progress.making_room.run_until_cancelled(pause).await.is_none() {
                return Ok(false);
            }
        }
    }

    /// Records that a segment is copied, and what the store says of its copies.
    async fn finish_copy(
        &self,
        task: &ClaimedTask,
        progress: &CopyProgress,
        proved: &Proved,
        target: Option<Manifest>,
    ) -> Result<Outcome, RunError> {
        let recorded = target.and_then(|target| with_etags(target, &proved.etags, self.objects.compares_etags()));
        // each waits for the job's row with a connection, and a listing answers many at once
        let _turn = self.ending.acquire().await;
        let mut tx = self.begin().await?;
        // the job's row first: of two copies that end together one must see the other's end
        store::jobs::lock(&mut tx, task.job_id).await?;
        let ended = store::tasks::succeed_copy(&mut tx, task, progress.read(), &proved.methods).await?;
        if !ended.held {
            return Ok(Outcome::Lost);
        }
        if let Some(target) = recorded {
            store::targets::set_contents(&mut tx, &target).await?;
        }
        if ended.was_last {
            store::jobs::advance(&mut tx, task.job_id, &[JobState::InProgress], JobState::Publishing).await?;
            let publish = TaskId(store::catalog::allocate_ids(&mut tx, 1).await?);
            store::tasks::enqueue(&mut tx, publish, task.job_id, TaskKind::Publish, None).await?;
        }
        commit(tx).await?;
        crash_point::reached("restore.segment_done");
        Ok(Outcome::Done)
    }
}

/// What a copy task is to do.
pub(super) struct Plan {
    pub route: Route,
    pub copies: Vec<FileCopy>,
    /// What the copies make, its files in their order; an export makes nothing of the catalog.
    target: Option<Manifest>,
    /// How fast they may be copied before the first heartbeat says it; none: no limit.
    bytes_per_second: Option<i64>,
}

/// The target with the ETags of its files, so that a later restore of it is pinned and proved by
/// them; none where the store tells none.
///
/// What looks like an MD5 sum and is none here (`are_sums` is false) is not recorded: a later probe
/// may find that ETags are sums now.
fn with_etags(mut target: Manifest, etags: &[Option<String>], are_sums: bool) -> Option<Manifest> {
    let tells = |etag: &&String| are_sums || !is_md5(etag);
    if !etags.iter().flatten().any(|etag| tells(&etag)) {
        return None;
    }
    let logs = target.segment.content.files.files_mut().map(|(file, _)| file);
    let all = logs.chain(target.builds.iter_mut().flat_map(|b| &mut b.content.files));
    all.zip(etags)
        .for_each(|(file, etag)| file.etag = etag.as_ref().filter(tells).cloned());
    Some(target)
}

/// Neighbours that may be copied together; each by itself where the storage can't.
fn groups<'a, 'f>(files: &'a [&'f FileCopy], together: bool) -> impl Iterator<Item = &'a [&'f FileCopy]> {
    let mut rest = files;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let (mut count, mut bytes) = (1, first.size_bytes);
        while together && count < GROUP_FILES.min(rest.len()) {
            bytes = bytes.saturating_add(rest[count].size_bytes);
            if bytes > GROUP_BYTES {
                break;
            }
            count += 1;
        }
        let (group, after) = rest.split_at(count);
        rest = after;
        Some(group)
    })
}

fn files(manifest: &Manifest) -> impl Iterator<Item = &File> {
    let logs = manifest.segment.content.files.files().map(|(file, _)| file);
    logs.chain(manifest.builds.iter().flat_map(|b| &b.content.files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_attempt_left_is_progress_and_copied_by_nobody_twice() {
        let progress = CopyProgress::after(3);
        progress.counts.found(100);
        progress.counts.found(20);
        progress.counts.done(7);
        progress.counts.retries.fetch_add(2, Ordering::Relaxed);
        let of = |p: Progress| (p.files, p.bytes, p.retries);
        assert_eq!(of(progress.read()), (3, 127, 5));
        assert_eq!(of(progress.copied()), (1, 7, 2));
    }
}
