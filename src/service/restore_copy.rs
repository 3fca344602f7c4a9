//! Second phase of a restore job: copy the files of one segment, and prove them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use futures::{StreamExt as _, stream};

use super::restore_prove::FileCopy;
use super::restore_run::{Outcome, RunError};
use super::throttle::Throttle;
use super::{Service, commit};
use crate::crash_point;
use crate::domain::id::{SegmentId, TaskId};
use crate::domain::manifest::Manifest;
use crate::domain::restore::{ClaimedTask, JobKind, JobState, Progress, TaskKind, backoff_ms};
use crate::domain::segment::File;
use crate::domain::{Code, Error, Result};
use crate::objects::{CopyFile, CopyOutcome, Route};
use crate::store;

/// Counters of a running copy task, read by its heartbeat.
#[derive(Debug, Default)]
pub struct CopyProgress {
    files: AtomicI64,
    bytes: AtomicI64,
    retries: AtomicI64,
    /// How fast the task may copy.
    pub(super) throttle: Throttle,
}

impl CopyProgress {
    /// Counters of one attempt of a task; retries of earlier ones stay counted.
    pub fn of(task: &ClaimedTask) -> Self {
        Self {
            retries: AtomicI64::new(task.retries),
            ..Self::default()
        }
    }

    pub fn read(&self) -> Progress {
        Progress {
            files: self.files.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }

    fn done(&self, file: &FileCopy) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes
            .fetch_add(i64::try_from(file.size_bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

/// Longest pause between tries of a file.
const MAX_PAUSE_MS: u64 = 10_000;
/// Times that one file waits for a store that asks to slow down (some ten minutes) before its task
/// is put back.
const MAX_THROTTLED: u32 = 60;

impl Service {
    /// Copies the files of one segment and proves them by listing the target.
    ///
    /// A later attempt first lists what an earlier one left: a copy appears whole or not at all,
    /// and nobody else writes under the new ids, so a file that is there with its size is done.
    pub(super) async fn copy_segment(&self, task: &ClaimedTask, progress: &CopyProgress) -> Result<Outcome, RunError> {
        let bundle = store::bundles::find(&mut *self.conn().await?, task.job_id).await?;
        let route = self.route(task.job_id, bundle.as_ref())?;
        let copies = self.plan_copies(task).await?;
        let there = if task.attempt > 1 {
            self.list_targets(&route, &copies).await?
        } else {
            HashMap::new()
        };
        let failed = AtomicBool::new(false);
        let mut running = Vec::with_capacity(copies.len());
        for file in &copies {
            let is_there = there.get(&file.target).is_some_and(|e| e.size_bytes == file.size_bytes);
            running.push(self.copy_unless(is_there, &route, file, progress, &failed));
        }
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
        let targets: Vec<String> = copies.iter().map(|c| route.to.key(&c.target)).collect();
        route.to.objects().sync_parents(targets.iter().map(String::as_str)).await?;
        let methods = self.prove(&route, &copies).await?;
        crash_point::reached("restore.proved");
        self.finish_copy(task, progress, &methods).await
    }

    /// The files of one segment: those that the catalog has of it, or the job noted of it.
    async fn plan_copies(&self, task: &ClaimedTask) -> Result<Vec<FileCopy>, RunError> {
        let mut conn = self.conn().await?;
        let copy = store::tasks::copy_task(&mut conn, task.task_id).await?;
        let target = SegmentId(copy.target_segment);
        let ids = store::targets::build_ids(&mut conn, task.job_id, target).await?;
        let from: Vec<i64> = ids.keys().copied().collect();
        let to: Vec<i64> = ids.values().copied().collect();
        let gone = |what: &str| RunError::Fail(Error::internal(format!("the {what} of copy task {} is gone", task.task_id)));
        let source_segment = SegmentId(copy.source_segment);
        let source = match copy.job_kind {
            JobKind::External | JobKind::Materialize => store::bundles::source(&mut conn, task.job_id, source_segment).await?,
            JobKind::Restore | JobKind::Export => {
                store::targets::manifest(&mut conn, source_segment, Some(copy.source_version), &from).await?
            }
        };
        if copy.job_kind == JobKind::Export {
            // a bundle keeps paths
            let source = source.ok_or_else(|| gone("source"))?;
            return Ok(files(&source).map(|f| FileCopy::new(f, f)).collect());
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
        let pairs: Vec<FileCopy> = files(&source).zip(files(&target)).map(|(s, t)| FileCopy::new(s, t)).collect();
        if files(&source).count() != pairs.len() || files(&target).count() != pairs.len() {
            return Err(RunError::Fail(Error::internal("source and target have different files")));
        }
        Ok(pairs)
    }

    async fn copy_unless(
        &self,
        is_there: bool,
        route: &Route,
        file: &FileCopy,
        progress: &CopyProgress,
        failed: &AtomicBool,
    ) -> Result<(), RunError> {
        if failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        if !is_there {
            progress.throttle.take(file.size_bytes).await;
            self.copy_file(route, file, progress).await?;
            crash_point::reached("restore.file_copied");
        }
        progress.done(file);
        Ok(())
    }

    async fn copy_file(&self, route: &Route, file: &FileCopy, progress: &CopyProgress) -> Result<(), RunError> {
        let (mut tries, mut throttled) = (0, 0);
        let copy = CopyFile {
            source: &file.source,
            target: &file.target,
            size_bytes: file.size_bytes,
            etag: file.etag.as_deref(),
        };
        loop {
            match route.copy(&copy).await {
                Ok(()) => return Ok(()),
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
            progress.retries.fetch_add(1, Ordering::Relaxed);
            let base = u64::try_from(self.settings.copy_backoff.as_millis()).unwrap_or(MAX_PAUSE_MS);
            let pause = backoff_ms(tries + throttled, base, MAX_PAUSE_MS, rand::random());
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn finish_copy(&self, task: &ClaimedTask, progress: &CopyProgress, methods: &str) -> Result<Outcome, RunError> {
        let mut tx = self.begin().await?;
        // the job's row first: of two copies that end together one must see the other's end
        store::jobs::lock(&mut tx, task.job_id).await?;
        if !store::tasks::succeed(&mut tx, task, Some(progress.read())).await? {
            return Ok(Outcome::Lost);
        }
        store::receipts::add_proof(&mut tx, task.task_id, methods).await?;
        if !store::tasks::has_open_copies(&mut tx, task.job_id).await? {
            store::jobs::advance(&mut tx, task.job_id, &[JobState::InProgress], JobState::Publishing).await?;
            let publish = TaskId(store::catalog::allocate_ids(&mut tx, 1).await?);
            store::tasks::enqueue(&mut tx, publish, task.job_id, TaskKind::Publish, None).await?;
        }
        commit(tx).await?;
        crash_point::reached("restore.segment_done");
        Ok(Outcome::Done)
    }
}

fn files(manifest: &Manifest) -> impl Iterator<Item = &File> {
    let logs = manifest.segment.content.files.files().map(|(file, _)| file);
    logs.chain(manifest.builds.iter().flat_map(|b| &b.content.files))
}
