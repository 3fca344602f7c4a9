//! The queue: claim, heartbeat, end. Every write of a worker names the attempt it belongs to.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{catalog, failed};
use crate::domain::id::{JobId, TaskId};
use crate::domain::restore::{Beat, ClaimedTask, Progress, TaskKind};
use crate::domain::{Error, Result};

/// Adds a task without a segment.
pub async fn enqueue(
    conn: &mut PgConnection,
    id: TaskId,
    job: JobId,
    kind: TaskKind,
    run_at: Option<OffsetDateTime>,
) -> Result<()> {
    sqlx::query!(
        "insert into restore_tasks (task_id, job_id, kind, run_at) values ($1, $2, $3, coalesce($4, stillframe_now()))",
        id.0,
        job.0,
        kind.as_str(),
        run_at
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    catalog::notify_workers(conn).await
}

/// A copy task about to be added.
#[derive(Debug, Clone)]
pub struct NewCopy {
    pub task_id: i64,
    pub source_segment: i64,
    pub source_version: i32,
    pub target_segment: i64,
    pub files: i64,
    pub bytes: i64,
    /// Its place among the copies of its job.
    pub turn: i32,
}

/// Adds copy tasks.
pub async fn enqueue_copies(conn: &mut PgConnection, job: JobId, copies: &[NewCopy]) -> Result<()> {
    let column = |f: fn(&NewCopy) -> i64| copies.iter().map(f).collect::<Vec<i64>>();
    sqlx::query!(
        "insert into restore_tasks (task_id, job_id, kind, source_segment_id, source_version, target_segment_id, total_files,
                                    total_bytes, turn, run_at)
         select task_id, $1, 'copy', source_segment_id, source_version, target_segment_id, files, bytes, turn, (select stillframe_now())
           from unnest($2::bigint[], $3::bigint[], $4::int[], $5::bigint[], $6::bigint[], $7::bigint[], $8::int[])
                as u (task_id, source_segment_id, source_version, target_segment_id, files, bytes, turn)",
        job.0,
        &column(|c| c.task_id),
        &column(|c| c.source_segment),
        &copies.iter().map(|c| c.source_version).collect::<Vec<_>>(),
        &column(|c| c.target_segment),
        &column(|c| c.files),
        &column(|c| c.bytes),
        &copies.iter().map(|c| c.turn).collect::<Vec<_>>(),
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Claims tasks: those whose lease has expired first, then due ones by turn, so that the first
/// segments of a small job come before the thousandth of a huge one. One statement; a task that
/// another worker is claiming at this moment is skipped.
pub async fn claim(conn: &mut PgConnection, worker: Uuid, lease_ms: i64, limit: i64) -> Result<Vec<ClaimedTask>> {
    let rows = sqlx::query!(
        "with now as materialized (
             select stillframe_now() as at
         ), abandoned as materialized (
             -- leases that ran out: their worker is gone or cut off
             select task_id from restore_tasks
              where state = 'running' and lease_expires_at <= (select at from now)
              order by lease_expires_at limit $3
                for update skip locked
         ), due as materialized (
             select task_id from restore_tasks
              where state = 'available' and run_at <= (select at from now)
              order by turn, task_id limit $3
                for update skip locked
         ), chosen as (
             select task_id from (select task_id, 0 as rank from abandoned union all select task_id, 1 from due) c
              order by rank limit $3
         )
         update restore_tasks t
            set state = 'running', attempt = t.attempt + 1, worker_id = $1,
                lease_expires_at = (select at from now) + $2::bigint * interval '1 millisecond'
           from chosen
          where t.task_id = chosen.task_id
         returning t.task_id, t.job_id, t.kind, t.attempt, t.failures, t.retries",
        worker,
        lease_ms,
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|r| {
            Ok(ClaimedTask {
                task_id: TaskId(r.task_id),
                job_id: JobId(r.job_id),
                kind: TaskKind::parse(&r.kind).ok_or_else(|| Error::internal("a task has an unknown kind"))?,
                attempt: r.attempt,
                failures: r.failures,
                retries: r.retries,
            })
        })
        .collect()
}

/// Milliseconds until the next task is due or a lease expires; none when there is nothing.
pub async fn next_due_ms(conn: &mut PgConnection) -> Result<Option<i64>> {
    sqlx::query_scalar!(
        r#"select (extract(epoch from min(at) - (select stillframe_now())) * 1000)::bigint
             from (select min(run_at) as at from restore_tasks where state = 'available'
                   union all
                   select min(lease_expires_at) from restore_tasks where state = 'running') d"#
    )
    .fetch_one(conn)
    .await
    .map_err(failed)
}

/// Renews the lease, reports progress, and learns whether to go on.
pub async fn heartbeat(conn: &mut PgConnection, task: &ClaimedTask, progress: Progress, lease_ms: i64) -> Result<Beat> {
    let updated = sqlx::query!(
        "update restore_tasks t
            set lease_expires_at = (select stillframe_now()) + $3::bigint * interval '1 millisecond',
                done_files = $4, done_bytes = $5, retries = $6
           from restore_jobs j
          where t.task_id = $1 and t.attempt = $2 and t.state = 'running'
            and j.job_id = t.job_id and (j.finished_at is null or t.kind = 'cleanup')",
        task.task_id.0,
        task.attempt,
        lease_ms,
        progress.files,
        progress.bytes,
        progress.retries
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(if updated.rows_affected() == 1 {
        Beat::Continue
    } else {
        Beat::Stop
    })
}

/// Ends a task well; false when the lease was lost.
pub async fn succeed(conn: &mut PgConnection, task: &ClaimedTask, progress: Option<Progress>) -> Result<bool> {
    let progress = progress.map(|p| (p.files, p.bytes, p.retries));
    let updated = sqlx::query!(
        "update restore_tasks set state = 'succeeded', finished_at = stillframe_now(), lease_expires_at = null,
                done_files = coalesce($3, done_files), done_bytes = coalesce($4, done_bytes), retries = coalesce($5, retries)
          where task_id = $1 and attempt = $2 and state = 'running'",
        task.task_id.0,
        task.attempt,
        progress.map(|p| p.0),
        progress.map(|p| p.1),
        progress.map(|p| p.2)
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(updated.rows_affected() == 1)
}

/// Hands a task back to be tried again later; false when the lease was lost. A failure is
/// counted unless it is a mere hand-back at shutdown.
pub async fn release(conn: &mut PgConnection, task: &ClaimedTask, failure: Option<&str>, delay_ms: i64) -> Result<bool> {
    let updated = sqlx::query!(
        "update restore_tasks set state = 'available', lease_expires_at = null,
                run_at = stillframe_now() + $4::bigint * interval '1 millisecond',
                failures = failures + case when $3::text is null then 0 else 1 end,
                last_error = coalesce($3, last_error)
          where task_id = $1 and attempt = $2 and state = 'running'",
        task.task_id.0,
        task.attempt,
        failure,
        delay_ms
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(updated.rows_affected() == 1)
}

/// Ends a task badly; false when the lease was lost.
pub async fn fail(conn: &mut PgConnection, task: &ClaimedTask, reason: &str) -> Result<bool> {
    let updated = sqlx::query!(
        "update restore_tasks set state = 'failed', finished_at = stillframe_now(), lease_expires_at = null,
                failures = failures + 1, last_error = $3
          where task_id = $1 and attempt = $2 and state = 'running'",
        task.task_id.0,
        task.attempt,
        reason
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(updated.rows_affected() == 1)
}

/// Whether a job has copy tasks that have not succeeded.
pub async fn has_open_copies(conn: &mut PgConnection, job: JobId) -> Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from restore_tasks where job_id = $1 and kind = 'copy' and state <> 'succeeded') as "open!""#,
        job.0
    )
    .fetch_one(conn)
    .await
    .map_err(failed)
}

/// Cancels what is open in a job. Gives the time after which no worker can still write: the
/// last lease among the running ones, or now.
pub async fn cancel_open(conn: &mut PgConnection, job: JobId) -> Result<OffsetDateTime> {
    let last_lease = sqlx::query_scalar!(
        r#"with open as (
             select task_id, lease_expires_at from restore_tasks where job_id = $1 and state in ('available', 'running') for update
           ), cancelled as (
             update restore_tasks t set state = 'cancelled', finished_at = stillframe_now(), lease_expires_at = null
               from open where t.task_id = open.task_id
           )
           select greatest(max(lease_expires_at), stillframe_now()) as "at!" from open"#,
        job.0
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    Ok(last_lease)
}

/// What a copy task copies.
#[derive(Debug, Clone, Copy)]
pub struct CopyTask {
    pub source_segment: i64,
    pub source_version: i32,
    pub target_segment: i64,
}

/// Reads what a copy task copies.
pub async fn copy_task(conn: &mut PgConnection, task: TaskId) -> Result<CopyTask> {
    let row = sqlx::query!(
        r#"select source_segment_id as "source!", source_version as "version!", target_segment_id as "target!"
             from restore_tasks where task_id = $1 and kind = 'copy'"#,
        task.0
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    Ok(CopyTask {
        source_segment: row.source,
        source_version: row.version,
        target_segment: row.target,
    })
}
