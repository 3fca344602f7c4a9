//! Pausing jobs, and what may be changed about running ones.

use sqlx::PgConnection;

use super::{failed, proofs};
use crate::domain::id::JobId;
use crate::domain::restore::{JobKind, JobState};
use crate::domain::schedule::Control;
use crate::domain::{Code, Error, Result};

/// Numbers of the advisory locks of transactions.
const CLAIMS: i64 = 7_234_689_103;
const ROOM: i64 = 7_234_689_104;

/// Waits until no claim is under way and keeps further ones waiting until the transaction ends:
/// what is changed here holds for every claim after it. Whoever also locks a job locks that first:
/// a claim waits for no job, so nobody waits in a circle, and a stuck job stops no claim.
///
/// # Errors
/// `database_unavailable`, also when others hold it for five seconds.
pub async fn lock_claims(conn: &mut PgConnection) -> Result<()> {
    take(conn, CLAIMS, "the queue of tasks").await
}

/// Waits until no other transaction is between adding to what is used and its end.
///
/// # Errors
/// As [`lock_claims`].
pub async fn lock_room(conn: &mut PgConnection) -> Result<()> {
    take(conn, ROOM, "the room for restores").await
}

/// Takes a lock of the transaction. The server ends the transaction when it hears nothing for three seconds,
/// so that a process that is cut off stops no other one.
async fn take(conn: &mut PgConnection, number: i64, what: &str) -> Result<()> {
    sqlx::query!(
        "select set_config('idle_in_transaction_session_timeout', '3s', true) as idle, set_config('lock_timeout', '5s', true) as lock,
                pg_advisory_xact_lock($1)::text",
        number
    )
    .fetch_one(conn)
    .await
    .map_err(|e| held(e, what))?;
    Ok(())
}

/// The error of a lock; says what others hold when that is why.
pub(super) fn held(error: sqlx::Error, what: &str) -> Error {
    let timed_out = error
        .as_database_error()
        .is_some_and(|e| e.code().is_some_and(|c| c == "55P03"));
    if timed_out {
        let text = format!("{what} is held by another call or worker, for longer than 5 seconds; try again");
        Code::DatabaseUnavailable.error(text).because(error)
    } else {
        failed(error)
    }
}

/// Tells event streams that a job has changed.
pub async fn notify_watchers(conn: &mut PgConnection, job: JobId) -> Result<()> {
    sqlx::query!("select pg_notify('stillframe_jobs', $1::text)", job.to_string())
        .execute(conn)
        .await
        .map_err(failed)?;
    Ok(())
}

/// Pauses a locked job that has neither ended nor is paused.
pub async fn pause(conn: &mut PgConnection, job: JobId) -> Result<()> {
    sqlx::query!(
        "update restore_jobs set resume_state = state, state = 'Paused', paused_at = stillframe_now()
          where job_id = $1 and state <> 'Paused' and finished_at is null",
        job.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    notify_watchers(conn, job).await
}

/// Lets a locked, paused job go on from where it was. The pause does not count as time of copying; what was proved before it
/// does not count as proved.
pub async fn resume(conn: &mut PgConnection, job: JobId) -> Result<()> {
    sqlx::query!(
        "update restore_jobs set state = resume_state, resume_state = null, paused_at = null,
                copy_began_at = copy_began_at + (stillframe_now() - greatest(paused_at, copy_began_at))
          where job_id = $1 and state = 'Paused'",
        job.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    proofs::forget(conn, job).await?;
    // patience is for tries: the pause has had none
    sqlx::query!(
        "update restore_tasks set waiting_since = null, waited_ms = 0, outages = 0, denials = 0
          where job_id = $1 and state = 'available' and waiting_since is not null",
        job.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    notify_watchers(conn, job).await
}

/// Locks a job until the transaction ends; gives its state, what may be changed about it, and its kind.
/// The server ends the transaction when it hears nothing for three seconds: a host that goes away
/// now keeps nobody from the job.
///
/// # Errors
/// `database_unavailable`, also when others hold it for five seconds.
pub async fn lock(conn: &mut PgConnection, job: JobId) -> Result<Option<(JobState, Control, JobKind)>> {
    let row = sqlx::query!(
        "with fence as materialized (
             select set_config('idle_in_transaction_session_timeout', '3s', true), set_config('lock_timeout', '5s', true)
         )
         select j.state, j.kind, j.priority, j.max_concurrency, j.max_bytes_per_second
           from restore_jobs j cross join fence where j.job_id = $1 for update of j",
        job.0
    )
    .fetch_optional(conn)
    .await
    .map_err(|e| held(e, &format!("job {job}")))?;
    Ok(row.and_then(|r| {
        let control = Control {
            priority: r.priority,
            max_concurrency: r.max_concurrency,
            max_bytes_per_second: r.max_bytes_per_second,
        };
        Some((JobState::parse(&r.state)?, control, JobKind::parse(&r.kind)?))
    }))
}

/// Changes a locked job.
pub async fn set(conn: &mut PgConnection, job: JobId, control: &Control) -> Result<()> {
    sqlx::query!(
        "update restore_jobs set priority = $2, max_concurrency = $3, max_bytes_per_second = $4 where job_id = $1",
        job.0,
        control.priority,
        control.max_concurrency,
        control.max_bytes_per_second
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    notify_watchers(conn, job).await
}

/// Where the line is now: the first waiting copy of any other job. Jobs with a limit of their own
/// lag behind it and count only where there is nobody else.
pub async fn line(conn: &mut PgConnection, job: JobId) -> Result<Option<i64>> {
    sqlx::query_scalar!(
        "select coalesce(min(o.point) filter (where o.unlimited), min(o.point))
           from (select j.running_limit is null as unlimited, j.place + n.turn * (1::bigint << (10 - j.priority)) as point
                   from restore_jobs j
                  cross join lateral (select t.turn from restore_tasks t
                                       where t.job_id = j.job_id and t.kind = 'copy' and t.state = 'available'
                                       order by t.turn, t.task_id limit 1) n
                  where j.finished_at is null and j.state = 'InProgress' and j.job_id <> $1) o",
        job.0
    )
    .fetch_one(conn)
    .await
    .map_err(failed)
}

/// The turn of a job's next waiting copy; none when none waits.
pub async fn next_turn(conn: &mut PgConnection, job: JobId) -> Result<Option<i32>> {
    sqlx::query_scalar!(
        "select turn from restore_tasks where job_id = $1 and kind = 'copy' and state = 'available'
          order by turn, task_id limit 1",
        job.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)
}

/// Puts a job at a place on the line.
pub async fn set_place(conn: &mut PgConnection, job: JobId, place: i64) -> Result<()> {
    sqlx::query!("update restore_jobs set place = $2 where job_id = $1", job.0, place)
        .execute(conn)
        .await
        .map_err(failed)?;
    Ok(())
}
