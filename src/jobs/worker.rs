//! The workers of a process: claim tasks, keep their leases, run them.
//!
//! A worker acts on a task only while it trusts its lease: from the start of the claim, or of the last
//! heartbeat that succeeded, for the length of the lease less a margin. After that another process may
//! have the task, so the work is dropped whatever it is doing.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::PgListener;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::domain::id::TaskId;
use crate::domain::restore::{Beat, ClaimedTask, JobKind, TaskKind};
use crate::service::{CopyProgress, Outcome, Service};
use crate::telemetry::{
    self, COPIED_BYTES, COPIED_FILES, COPY_RETRIES, LEASE_LOSSES, LEASE_TAKEOVERS, RUNNING_TASKS, TASKS, count_export, count_job,
};

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Tasks at the same time, and as many more whose files are copied and have yet to be proved.
    pub slots: usize,
    /// Lease of a task.
    pub lease: Duration,
    /// Longest pause between looks at the queue, when no notification comes.
    pub poll: Duration,
    /// Where to listen for notifications; none: only poll.
    pub listen: Option<sqlx::PgPool>,
}

/// How long a worker with a free slot waits for more of them before it claims.
const GATHER: Duration = Duration::from_millis(10);

/// The workers of one process.
#[derive(Debug, Clone)]
pub struct Worker {
    id: Uuid,
    service: Service,
    settings: WorkerSettings,
    soft: CancellationToken,
    hard: CancellationToken,
    slots: Arc<Semaphore>,
    /// As many tasks as there are slots may be proved beside those that have a slot: proofs of several take few
    /// requests, and meanwhile others copy.
    proofs: Arc<Semaphore>,
    /// Those tasks.
    proving: Arc<Mutex<HashSet<TaskId>>>,
    /// A task of this process has ended: another one of its job may begin.
    ended: Arc<Notify>,
}

/// A task that is proved, and has no slot any more.
struct Proving<'a> {
    among: &'a Mutex<HashSet<TaskId>>,
    task: TaskId,
}

impl<'a> Proving<'a> {
    fn enter(among: &'a Mutex<HashSet<TaskId>>, task: TaskId) -> Self {
        among.lock().unwrap_or_else(PoisonError::into_inner).insert(task);
        Self { among, task }
    }

    fn all(among: &Mutex<HashSet<TaskId>>) -> Vec<TaskId> {
        among.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

impl Drop for Proving<'_> {
    fn drop(&mut self) {
        self.among.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.task);
    }
}

/// Why running a task came to an end before the task did.
enum Stopped {
    /// The job was cancelled, or another worker has the task.
    LeaseLost,
    /// The process is stopping, or the job is paused or runs more than it may.
    Aborted,
    /// Another job waits for a worker.
    MakesRoom,
}

impl Worker {
    pub fn new(service: Service, settings: WorkerSettings, soft: CancellationToken, hard: CancellationToken) -> Self {
        Self {
            id: Uuid::new_v4(),
            slots: Arc::new(Semaphore::new(settings.slots)),
            proofs: Arc::new(Semaphore::new(settings.slots)),
            proving: Arc::default(),
            service,
            settings,
            soft,
            hard,
            ended: Arc::default(),
        }
    }

    /// Claims and runs tasks until told to stop softly; then waits for those that run.
    pub async fn run(self) {
        let slots = self.slots.clone();
        let running = TaskTracker::new();
        let mut listener = None;
        while !self.soft.is_cancelled() {
            // listening begins before the look at the queue: nothing falls in between
            if listener.is_none() {
                listener = self.listen().await;
            }
            let free = slots.available_permits();
            if free == 0 {
                self.wait(&mut listener, Some(&slots)).await;
                continue;
            }
            // the lease begins somewhere in the claim
            let began = Instant::now();
            let claimed = self.claim(free).await;
            let found = claimed.len();
            for task in claimed {
                let Ok(slot) = slots.clone().try_acquire_owned() else { break };
                let worker = self.clone();
                running.spawn(async move {
                    let progress = Arc::new(CopyProgress::of(&task));
                    let held = worker.hold(slot, task.task_id, &progress);
                    tokio::select! {
                        biased;
                        () = worker.work(task, began, &progress) => {}
                        () = held => {}
                    }
                    worker.ended.notify_one();
                });
            }
            if found == 0 {
                self.wait(&mut listener, None).await;
            }
        }
        running.close();
        running.wait().await;
    }

    /// Claims and runs what is due, one task after the other, until nothing is; for tests. Gives
    /// the number of tasks run.
    ///
    /// # Errors
    /// Database errors.
    pub async fn drain(&self) -> crate::domain::Result<usize> {
        let mut ran = 0;
        loop {
            let began = Instant::now();
            let Some(task) = self.service.claim_tasks(self.id, 1).await?.pop() else {
                return Ok(ran);
            };
            let progress = Arc::new(CopyProgress::of(&task));
            self.work(task, began, &progress).await;
            ran += 1;
        }
    }

    async fn listen(&self) -> Option<PgListener> {
        let pool = self.settings.listen.as_ref()?;
        let listening = async {
            let mut listener = PgListener::connect_with(pool).await?;
            listener.listen("stillframe_tasks").await?;
            Ok::<_, sqlx::Error>(listener)
        };
        match listening.await {
            Ok(listener) => Some(listener),
            Err(error) => {
                tracing::warn!(%error, "can't listen for notifications, polling");
                None
            }
        }
    }

    async fn claim(&self, free: usize) -> Vec<ClaimedTask> {
        match self.service.claim_tasks(self.id, free).await {
            Ok(tasks) => tasks,
            Err(error) => {
                tracing::warn!(error = %error, cause = error.cause_chain(), "can't claim tasks, trying again");
                Vec::new()
            }
        }
    }

    /// Waits for one of these slots, none of which was free; else for a notification, for the next due task, or for the end
    /// of a task.
    async fn wait(&self, listener: &mut Option<PgListener>, slots: Option<&Semaphore>) {
        let full = slots.is_some();
        let due = if full {
            None
        } else {
            self.service.next_task_due_ms().await.ok().flatten()
        };
        let pause = due.map_or(self.settings.poll, |ms| {
            Duration::from_millis(u64::try_from(ms).unwrap_or(0).max(5))
        });
        let pause = pause.min(self.settings.poll).mul_f64(1.0 + 0.1 * rand::random::<f64>());
        let notified = async {
            match listener {
                Some(listener) if !full => listener.recv().await.map(|_| ()),
                _ => std::future::pending().await,
            }
        };
        let slot = async {
            if let Some(slots) = slots {
                // permits that are dropped at once: slots have become free
                drop(slots.acquire().await);
                // tasks claimed together cost the database little more than one
                let several = u32::try_from(self.settings.slots / 2).unwrap_or(1);
                let _ = tokio::time::timeout(GATHER, slots.acquire_many(several)).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let lost = tokio::select! {
            () = self.soft.cancelled() => false,
            () = tokio::time::sleep(pause) => false,
            () = slot => false,
            () = self.ended.notified(), if !full => false,
            heard = notified => heard.is_err(),
        };
        if lost {
            *listener = None;
        }
    }

    /// Holds a task's slot until all is copied and its proof has a place. Never ends.
    async fn hold(&self, slot: OwnedSemaphorePermit, task: TaskId, progress: &CopyProgress) {
        progress.copied_all().await;
        let _place = self.proofs.acquire().await;
        let _proving = Proving::enter(&self.proving, task);
        drop(slot);
        std::future::pending().await
    }

    /// Runs a task whose claim began then.
    async fn work(&self, task: ClaimedTask, claimed: Instant, progress: &Arc<CopyProgress>) {
        let span = tracing::info_span!("job", job.id = %task.job_id, task.id = %task.task_id, kind = task.kind.as_str(), attempt = task.attempt);
        if telemetry::traces_on()
            && let Ok(Some(traceparent)) = self.service.job_traceparent(task.job_id).await
        {
            telemetry::follow(&span, &traceparent);
        }
        async {
            if let Some(lost) = task.taken_from {
                tracing::warn!(worker.id = %lost, "taken over from a worker that let its lease run out");
                metrics::counter!(LEASE_TAKEOVERS).increment(1);
            }
            metrics::gauge!(RUNNING_TASKS).increment(1.0);
            let outcome = self.run_under_lease(&task, claimed, progress).await;
            metrics::gauge!(RUNNING_TASKS).decrement(1.0);
            self.count(&task, progress, outcome);
            if outcome == "failed" || (outcome == "done" && task.kind == TaskKind::Publish) {
                self.count_job(&task).await;
            }
        }
        .instrument(span)
        .await;
    }

    async fn run_under_lease(&self, task: &ClaimedTask, claimed: Instant, progress: &Arc<CopyProgress>) -> &'static str {
        if Instant::now() >= self.trust(claimed) {
            tracing::warn!("the claim took longer than its lease can be trusted, the task is not begun");
            return "lost";
        }
        // in a task of its own, so that a panic is an error like others
        let (service, running, counters) = (self.service.clone(), task.clone(), progress.clone());
        let mut work = tokio::spawn(async move { service.run_task(&running, &counters).await }.in_current_span());
        let stopped = tokio::select! {
            done = &mut work => return self.ended(task, done).await,
            stopped = self.keep_lease(task, claimed, progress) => stopped,
        };
        work.abort();
        // what it was doing is over before anybody else is told
        let last = work.await;
        match stopped {
            Stopped::LeaseLost => "lost",
            // it has ended in the same moment
            _ if last.is_ok() => self.ended(task, last).await,
            Stopped::Aborted => {
                if self.service.hand_back(task).await.is_ok() {
                    tracing::info!("handed back unfinished");
                }
                "handed_back"
            }
            Stopped::MakesRoom => {
                if self.service.make_room(task).await.is_ok() {
                    tracing::info!("handed back unfinished: another job has been waiting for a worker");
                }
                "handed_back"
            }
        }
    }

    async fn ended(
        &self,
        task: &ClaimedTask,
        done: Result<crate::domain::Result<Outcome>, tokio::task::JoinError>,
    ) -> &'static str {
        let (recorded, end) = match done {
            Ok(recorded) => (recorded, "done"),
            Err(panic) => {
                tracing::error!(%panic, "the task panicked");
                (self.service.task_panicked(task, &panic.to_string()).await, "panicked")
            }
        };
        match recorded {
            Ok(Outcome::Done) => end,
            Ok(Outcome::Retried) => "retried",
            Ok(Outcome::Failed) => "failed",
            Ok(Outcome::Lost) => "lost",
            Ok(Outcome::HandedBack) => "handed_back",
            Err(error) => {
                tracing::warn!(error = %error, cause = error.cause_chain(), "the end of the task could not be recorded, its lease runs out");
                "unrecorded"
            }
        }
    }

    /// Renews the lease until it is lost, the task is to be handed back, or the process stops hard.
    async fn keep_lease(&self, task: &ClaimedTask, claimed: Instant, progress: &CopyProgress) -> Stopped {
        // often enough for a progress bar; far more often than the lease needs
        let beat_every = (self.settings.lease / 3).min(Duration::from_secs(1));
        let mut trusted_until = self.trust(claimed);
        loop {
            // not longer than the claim is trusted: it may have taken a while
            let pause = beat_every.min(trusted_until.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = self.hard.cancelled() => return Stopped::Aborted,
                () = tokio::time::sleep(pause) => {}
            }
            let began = Instant::now();
            let left = trusted_until.saturating_duration_since(began);
            match tokio::time::timeout(left, self.service.heartbeat(task, progress)).await {
                Ok(Ok(Beat::Continue)) => {
                    trusted_until = self.trust(began);
                    if self.should_make_room(task).await {
                        if task.kind != TaskKind::Copy {
                            return Stopped::MakesRoom;
                        }
                        // a copy ends its files first, so that each turn of it copies something
                        progress.make_room();
                    }
                }
                Ok(Ok(Beat::HandBack)) => return Stopped::Aborted,
                Ok(Ok(Beat::Stop)) => return Stopped::LeaseLost,
                Ok(Err(error)) => tracing::warn!(error = %error, cause = error.cause_chain(), "heartbeat failed"),
                Err(_) => tracing::warn!("heartbeat took longer than the lease"),
            }
            if Instant::now() >= trusted_until {
                tracing::warn!("the lease could not be renewed in time");
                return Stopped::LeaseLost;
            }
        }
    }

    /// Until when a lease is trusted that was taken or renewed by a call which began then.
    fn trust(&self, began: Instant) -> Instant {
        began + self.settings.lease - self.settings.lease / 10
    }

    /// Whether to hand a task back, since every worker of this process is busy and another job
    /// waits for one.
    async fn should_make_room(&self, task: &ClaimedTask) -> bool {
        let proving = Proving::all(&self.proving);
        if self.slots.available_permits() > 0 || proving.contains(&task.task_id) {
            return false;
        }
        // no answer in time is no reason to stop
        let asked = tokio::time::timeout(Duration::from_secs(1), self.service.should_make_room(task, &proving));
        asked.await.is_ok_and(|answer| answer.unwrap_or(false))
    }

    /// Counts the job that this task ended.
    async fn count_job(&self, task: &ClaimedTask) {
        // a count that is lost in an outage is not worth more than this
        if let Ok(job) = self.service.job(task.job_id).await
            && job.state.is_final()
        {
            match job.kind {
                JobKind::Export => count_export(job.state.as_str()),
                JobKind::Restore | JobKind::External | JobKind::Materialize => count_job(job.state.as_str(), job.time_cost_ms),
            }
        }
    }

    fn count(&self, task: &ClaimedTask, progress: &CopyProgress, outcome: &'static str) {
        metrics::counter!(TASKS, "kind" => task.kind.as_str(), "outcome" => outcome).increment(1);
        if outcome == "lost" {
            metrics::counter!(LEASE_LOSSES).increment(1);
        }
        if task.kind == TaskKind::Copy {
            // a later attempt finds what this one copies: each file counts once
            let done = progress.copied();
            let count = |n: i64| u64::try_from(n).unwrap_or_default();
            metrics::counter!(COPIED_FILES).increment(count(done.files));
            metrics::counter!(COPIED_BYTES).increment(count(done.bytes));
            metrics::counter!(COPY_RETRIES).increment(count(done.retries));
        }
    }
}
