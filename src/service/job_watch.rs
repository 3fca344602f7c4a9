//! Watching jobs: one look at the catalog per watched job and second, whatever the number of
//! listeners; a notification of Postgres makes it look at once. No connection is held meanwhile,
//! and a listener that is slow sees the newest state, not every one before it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::Service;
use crate::domain::id::JobId;
use crate::domain::restore::RestoreJob;
use crate::domain::{Code, Result};

/// Listeners of this process at most.
pub const MAX_LISTENERS: usize = 256;
/// Those of one client.
pub const MAX_OF_ONE: usize = 64;
/// Pause between two looks when no notification comes.
const POLL: Duration = Duration::from_secs(1);

/// The watched jobs of a process.
#[derive(Debug)]
pub(super) struct Watches {
    jobs: Mutex<HashMap<JobId, Weak<Watched>>>,
    listeners: Arc<Semaphore>,
    by_client: ByClient,
    stop: CancellationToken,
}

/// Listeners of each client.
type ByClient = Arc<Mutex<HashMap<String, usize>>>;

/// One of them, until it is dropped.
#[derive(Debug)]
struct Listener {
    client: String,
    by_client: ByClient,
}

impl Listener {
    fn new(client: String, by_client: &ByClient) -> Result<Self> {
        let mut listeners = by_client.lock().unwrap_or_else(PoisonError::into_inner);
        let theirs = listeners.entry(client.clone()).or_default();
        if *theirs >= MAX_OF_ONE {
            return Err(Code::TooManyStreams.error(format!(
                "this client has {MAX_OF_ONE} event streams open already; GET /v1/restore-jobs/{{job_id}} always answers"
            )));
        }
        *theirs += 1;
        let by_client = by_client.clone();
        Ok(Self { client, by_client })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut listeners = self.by_client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(theirs) = listeners.get_mut(&self.client) {
            *theirs -= 1;
            if *theirs == 0 {
                listeners.remove(&self.client);
            }
        }
    }
}

impl Default for Watches {
    fn default() -> Self {
        Self {
            jobs: Mutex::default(),
            listeners: Arc::new(Semaphore::new(MAX_LISTENERS)),
            by_client: Arc::default(),
            stop: CancellationToken::new(),
        }
    }
}

#[derive(Debug)]
struct Watched {
    newest: watch::Sender<RestoreJob>,
    look: Notify,
}

/// The place of one listener among all, and among its client's.
type Listening = (OwnedSemaphorePermit, Option<Listener>);

/// A job being watched. Ends with its value.
#[derive(Debug)]
pub struct JobWatch {
    newest: watch::Receiver<RestoreJob>,
    _watched: Arc<Watched>,
    _listener: Listening,
    stop: CancellationToken,
}

impl JobWatch {
    /// The job as it was seen last.
    pub fn job(&self) -> RestoreJob {
        self.newest.borrow().clone()
    }

    /// Waits for a change; none when the process stops, or the job is gone.
    pub async fn changed(&mut self) -> Option<RestoreJob> {
        tokio::select! {
            () = self.stop.cancelled() => None,
            changed = self.newest.changed() => changed.ok().map(|()| self.newest.borrow_and_update().clone()),
        }
    }
}

impl Service {
    /// Watches a job that is no export. `client` is who does, where that is known: each has a share.
    ///
    /// # Errors
    /// `restore_job_not_found`, `too_many_streams`.
    pub async fn watch_restore(&self, id: JobId, client: Option<String>) -> Result<JobWatch> {
        let listener = self.listener(&format!("/v1/restore-jobs/{id}"), client)?;
        let now = self.restore_job(id).await?;
        Ok(self.watch(id, now, listener))
    }

    /// Watches an export; see [`Service::watch_restore`].
    ///
    /// # Errors
    /// `export_job_not_found`, `too_many_streams`.
    pub async fn watch_export(&self, id: JobId, client: Option<String>) -> Result<JobWatch> {
        let listener = self.listener(&format!("/v1/export-jobs/{id}"), client)?;
        let now = self.export_job(id).await?;
        Ok(self.watch(id, now, listener))
    }

    fn listener(&self, path: &str, client: Option<String>) -> Result<Listening> {
        let theirs = client.map(|client| Listener::new(client, &self.watches.by_client));
        let theirs = theirs.transpose()?;
        let listener = self.watches.listeners.clone().try_acquire_owned().map_err(|_| {
            Code::TooManyStreams.error(format!(
                "{MAX_LISTENERS} event streams are open already; another replica may have room, and GET {path} always answers"
            ))
        })?;
        Ok((listener, theirs))
    }

    fn watch(&self, id: JobId, now: RestoreJob, listener: Listening) -> JobWatch {
        let watched = self.watched(id, now);
        JobWatch {
            newest: watched.newest.subscribe(),
            _watched: watched,
            _listener: listener,
            stop: self.watches.stop.clone(),
        }
    }

    /// The one look-out for a job, whoever listens to it.
    fn watched(&self, id: JobId, now: RestoreJob) -> Arc<Watched> {
        let mut jobs = self.watches.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.retain(|_, watched| watched.strong_count() > 0);
        if let Some(watched) = jobs.get(&id).and_then(Weak::upgrade) {
            watched.newest.send_if_modified(|newest| {
                // what was read a moment ago must not hide the end
                let running = !newest.state.is_final();
                if running {
                    *newest = now;
                }
                running
            });
            return watched;
        }
        let watched = Arc::new(Watched {
            newest: watch::Sender::new(now),
            look: Notify::new(),
        });
        jobs.insert(id, Arc::downgrade(&watched));
        tokio::spawn(self.for_itself().look_out(id, Arc::downgrade(&watched)));
        watched
    }

    /// Looks at a job as long as somebody listens, it runs, and the process does.
    async fn look_out(self, id: JobId, watched: Weak<Watched>) {
        loop {
            let Some(current) = watched.upgrade() else { return };
            if current.newest.borrow().state.is_final() {
                return;
            }
            tokio::select! {
                () = self.watches.stop.cancelled() => return,
                () = tokio::time::sleep(POLL) => {}
                () = current.look.notified() => {}
            }
            match self.job(id).await {
                Ok(job) => {
                    current.newest.send_if_modified(|newest| {
                        let changed = is_news(newest, &job);
                        *newest = job;
                        changed
                    });
                }
                Err(error) => {
                    tracing::warn!(job.id = %id, error = %error, cause = error.cause_chain(), "can't look at a watched job, trying again");
                }
            }
        }
    }

    /// Looks at a watched job at once: something is known to have happened to it. None: at all
    /// of them.
    pub fn look_at(&self, id: Option<JobId>) {
        let jobs = self.watches.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let concerned = jobs.iter().filter(|(job, _)| id.is_none_or(|id| id == **job));
        for watched in concerned.filter_map(|(_, watched)| watched.upgrade()) {
            watched.look.notify_one();
        }
    }

    /// Ends every watch, also later ones: the process is stopping.
    pub fn end_watches(&self) {
        self.watches.stop.cancel();
    }
}

/// Whether there is more to say than that time has passed.
fn is_news(before: &RestoreJob, after: &RestoreJob) -> bool {
    let told = |job: &RestoreJob| {
        let mut job = job.clone();
        (job.time_cost_ms, job.copy_ms, job.recent) = (0, None, None);
        job
    };
    told(before) != told(after)
}
