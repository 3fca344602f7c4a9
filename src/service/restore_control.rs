//! Restore jobs that run: pause them, let them go on, change their share and limits, and cancel
//! them.

use super::export::export_not_found;
use super::restore::{end_unsuccessfully, job_not_found, one_job, permitted, seen_job};
use super::{Service, commit};
use crate::crash_point;
use crate::domain::access::Caller;
use crate::domain::id::JobId;
use crate::domain::restore::{JobKind, JobState, RestoreJob};
use crate::domain::schedule::{self, Control};
use crate::domain::{Code, Result};
use crate::store::{self, PgConnection};

/// What to change about a job; absent: as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ControlChange {
    pub priority: Option<i32>,
    pub max_concurrency: Option<Option<i32>>,
    pub max_bytes_per_second: Option<Option<i64>>,
}

impl ControlChange {
    fn apply(self, control: Control) -> Control {
        Control {
            priority: self.priority.unwrap_or(control.priority),
            max_concurrency: self.max_concurrency.unwrap_or(control.max_concurrency),
            max_bytes_per_second: self.max_bytes_per_second.unwrap_or(control.max_bytes_per_second),
        }
    }
}

impl Service {
    /// Pauses a job: nothing of it is claimed from now on, what runs stops at its next heartbeat.
    /// A paused job stays as it is.
    ///
    /// # Errors
    /// `restore_job_not_found`, `restore_job_ended`.
    pub async fn pause_restore(&self, id: JobId) -> Result<RestoreJob> {
        self.pause_job(id, Family::Restores).await
    }

    pub(super) async fn pause_job(&self, id: JobId, family: Family) -> Result<RestoreJob> {
        let mut tx = self.begin().await?;
        lock_running(&mut tx, &self.caller, id, family).await?;
        store::control::lock_claims(&mut tx).await?;
        store::control::pause(&mut tx, id).await?;
        let job = one_job(&mut tx, &self.caller, id).await?;
        commit(tx).await?;
        Ok(job)
    }

    /// Lets a paused job go on from where it was. A running one stays as it is.
    ///
    /// # Errors
    /// `restore_job_not_found`, `restore_job_ended`.
    pub async fn resume_restore(&self, id: JobId) -> Result<RestoreJob> {
        self.resume_job(id, Family::Restores).await
    }

    pub(super) async fn resume_job(&self, id: JobId, family: Family) -> Result<RestoreJob> {
        let mut tx = self.begin().await?;
        let (state, _) = lock_running(&mut tx, &self.caller, id, family).await?;
        if state == JobState::Paused {
            store::control::resume(&mut tx, id).await?;
            join_line(&mut tx, id).await?;
            store::catalog::notify_workers(&mut tx).await?;
        }
        let job = one_job(&mut tx, &self.caller, id).await?;
        commit(tx).await?;
        Ok(job)
    }

    /// Changes the priority and the limits of a job; running tasks hear of it at their next
    /// heartbeat.
    ///
    /// # Errors
    /// `restore_job_not_found`, `restore_job_ended`, `invalid_request`.
    pub async fn change_restore(&self, id: JobId, change: ControlChange) -> Result<RestoreJob> {
        self.change_job(id, Family::Restores, change).await
    }

    pub(super) async fn change_job(&self, id: JobId, family: Family, change: ControlChange) -> Result<RestoreJob> {
        change.apply(Control::default()).check()?;
        let mut tx = self.begin().await?;
        let (_, before) = lock_running(&mut tx, &self.caller, id, family).await?;
        store::control::lock_claims(&mut tx).await?;
        let after = change.apply(before);
        if after != before {
            store::control::set(&mut tx, id, &after).await?;
            join_line(&mut tx, id).await?;
            store::catalog::notify_workers(&mut tx).await?;
        }
        let job = one_job(&mut tx, &self.caller, id).await?;
        commit(tx).await?;
        Ok(job)
    }

    /// Cancels a job, a paused one too: its state and the target's name are free at once; what
    /// was copied is deleted when no worker can write any more.
    ///
    /// # Errors
    /// `restore_job_not_found`, `restore_job_ended`.
    pub async fn cancel_restore(&self, id: JobId) -> Result<RestoreJob> {
        self.cancel_job(id, Family::Restores).await
    }

    pub(super) async fn cancel_job(&self, id: JobId, family: Family) -> Result<RestoreJob> {
        let mut tx = self.begin().await?;
        lock_running(&mut tx, &self.caller, id, family).await?;
        end_unsuccessfully(&mut tx, id, JobState::Cancelled, None, "cancelled on request", self.margins()).await?;
        let job = one_job(&mut tx, &self.caller, id).await?;
        commit(tx).await?;
        crash_point::reached("restore.cancelled");
        Ok(job)
    }
}

/// Which jobs a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Restores,
    Exports,
}

/// Locks a job that has not ended, and on whose collection the caller may do this.
async fn lock_running(conn: &mut PgConnection, caller: &Caller, id: JobId, family: Family) -> Result<(JobState, Control)> {
    let unknown = || match family {
        Family::Restores => job_not_found(id),
        Family::Exports => export_not_found(id),
    };
    let seen = seen_job(conn, caller, id).await.map_err(|error| match error.code() {
        Code::RestoreJobNotFound => unknown(),
        _ => error,
    })?;
    if (seen.kind == JobKind::Export) != (family == Family::Exports) {
        return Err(unknown());
    }
    permitted(caller, seen)?;
    let (state, control, kind) = store::control::lock(conn, id).await?.ok_or_else(unknown)?;
    if (kind == JobKind::Export) != (family == Family::Exports) {
        return Err(unknown());
    }
    if state.is_final() {
        return Err(match family {
            Family::Restores => Code::RestoreJobEnded.error(format!("restore job {id} is {} already", state.as_str())),
            Family::Exports => Code::ExportJobEnded.error(format!("export job {id} is {} already", state.as_str())),
        });
    }
    Ok((state, control))
}

/// Puts a job where the other jobs are now: it neither waits for what they did before it came nor
/// catches up on the time in which it could not run.
pub(super) async fn join_line(conn: &mut PgConnection, id: JobId) -> Result<()> {
    let Some((_, control, _)) = store::control::lock(conn, id).await? else {
        return Ok(());
    };
    let now = store::control::line(conn, id).await?;
    let turn = store::control::next_turn(conn, id).await?.unwrap_or(0);
    store::control::set_place(conn, id, schedule::place(now, turn.into(), control.priority)).await
}
