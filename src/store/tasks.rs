//! The queue: claim, heartbeat, end. Every write of a worker names the attempt it belongs to.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{catalog, failed};
use crate::domain::id::{JobId, TaskId};
use crate::domain::restore::{Beat, ClaimedTask, JobKind, Progress, TaskKind};
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

/// Adds copy tasks; nobody claims them before their job is copying.
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

/// What a heartbeat learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    pub beat: Beat,
    /// Bytes a second that the task may copy: the job's limit, in equal shares for its running
    /// copies; none: no limit.
    pub bytes_per_second: Option<i64>,
}

/// Renews the lease, reports progress, and learns whether and how fast to go on.
pub async fn heartbeat(conn: &mut PgConnection, task: &ClaimedTask, progress: Progress, lease_ms: i64) -> Result<Heard> {
    let row = sqlx::query!(
        r#"update restore_tasks t
            set lease_expires_at = (select stillframe_now()) + $3::bigint * interval '1 millisecond',
                done_files = $4, done_bytes = $5, retries = $6
           from restore_jobs j
          where t.task_id = $1 and t.attempt = $2 and t.state = 'running'
            and j.job_id = t.job_id and (j.finished_at is null or t.kind = 'cleanup')
         returning j.state = 'Paused' or coalesce(t.kind = 'copy' and j.running_limit <= (
                        select count(*) from restore_tasks o
                         where o.job_id = t.job_id and o.kind = 'copy' and o.state = 'running' and o.task_id < t.task_id), false)
                        as "hand_back!",
                   case when j.max_bytes_per_second is not null then greatest(j.max_bytes_per_second / greatest((
                        select count(*) from restore_tasks o
                         where o.job_id = t.job_id and o.kind = 'copy' and o.state = 'running'), 1), 1) end as bytes_per_second"#,
        task.task_id.0,
        task.attempt,
        lease_ms,
        progress.files,
        progress.bytes,
        progress.retries
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(Heard {
        beat: match &row {
            None => Beat::Stop,
            Some(row) if row.hand_back => Beat::HandBack,
            Some(_) => Beat::Continue,
        },
        bytes_per_second: row.and_then(|row| row.bytes_per_second),
    })
}

/// Bytes a second that a copy task of a job may copy, as heartbeats say it.
pub async fn bytes_per_second(conn: &mut PgConnection, job: JobId) -> Result<Option<i64>> {
    sqlx::query_scalar!(
        "select case when j.max_bytes_per_second is not null then greatest(j.max_bytes_per_second / greatest((
                    select count(*) from restore_tasks o
                     where o.job_id = j.job_id and o.kind = 'copy' and o.state = 'running'), 1), 1) end
           from restore_jobs j where j.job_id = $1",
        job.0
    )
    .fetch_one(conn)
    .await
    .map_err(failed)
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
/// counted; a mere hand-back (shutdown, pause, a lowered limit) is not charged to the task.
pub async fn release(conn: &mut PgConnection, task: &ClaimedTask, failure: Option<&str>, delay_ms: i64) -> Result<bool> {
    let updated = sqlx::query!(
        "update restore_tasks set state = 'available', lease_expires_at = null,
                run_at = stillframe_now() + $4::bigint * interval '1 millisecond',
                failures = failures + case when $3::text is null then 0 else 1 end,
                hand_backs = hand_backs + case when $3::text is null then 1 else 0 end,
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

/// Stops the running tasks of a job that is ending. Gives the time after which no worker can
/// still write: the last lease among them, or now. What merely waits is never claimed again,
/// since its job has ended; [`cancel_waiting`] marks it, later and in small parts.
pub async fn cancel_running(conn: &mut PgConnection, job: JobId) -> Result<OffsetDateTime> {
    let last_lease = sqlx::query_scalar!(
        r#"with open as (
             select task_id, lease_expires_at from restore_tasks where job_id = $1 and state = 'running' for update
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

/// Marks waiting tasks of an ended job as cancelled, at most `limit`; gives their number.
pub async fn cancel_waiting(conn: &mut PgConnection, job: JobId, limit: i64) -> Result<u64> {
    let cancelled = sqlx::query!(
        "update restore_tasks set state = 'cancelled', finished_at = stillframe_now()
          where state = 'available' and task_id in (
                select t.task_id from restore_tasks t join restore_jobs j using (job_id)
                 where t.job_id = $1 and t.state = 'available' and t.kind <> 'cleanup' and j.finished_at is not null limit $2)",
        job.0,
        limit
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(cancelled.rows_affected())
}

/// Whether an attempt still holds its task; if so nobody takes it before the transaction ends.
pub async fn holds(conn: &mut PgConnection, task: &ClaimedTask) -> Result<bool> {
    let held = sqlx::query_scalar!(
        "select task_id from restore_tasks where task_id = $1 and attempt = $2 and state = 'running' for share",
        task.task_id.0,
        task.attempt
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(held.is_some())
}

/// What is laid out of a target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaidOut {
    pub segments: i64,
    pub files: i64,
    pub bytes: i64,
    /// The last captured segment that has its copy task.
    pub last: Option<i64>,
}

/// Sums the copy tasks of a job.
pub async fn laid_out(conn: &mut PgConnection, job: JobId) -> Result<LaidOut> {
    let row = sqlx::query!(
        r#"select count(*) as "segments!", coalesce(sum(total_files), 0)::bigint as "files!",
                  coalesce(sum(total_bytes), 0)::bigint as "bytes!", max(source_segment_id) as last
             from restore_tasks where job_id = $1 and kind = 'copy'"#,
        job.0
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    Ok(LaidOut {
        segments: row.segments,
        files: row.files,
        bytes: row.bytes,
        last: row.last,
    })
}

/// What a copy task copies.
#[derive(Debug, Clone, Copy)]
pub struct CopyTask {
    pub job_kind: JobKind,
    pub source_segment: i64,
    pub source_version: i32,
    pub target_segment: i64,
}

/// Reads what a copy task copies.
pub async fn copy_task(conn: &mut PgConnection, task: TaskId) -> Result<CopyTask> {
    let row = sqlx::query!(
        r#"select j.kind as job_kind, t.source_segment_id as "source!", t.source_version as "version!", t.target_segment_id as "target!"
             from restore_tasks t join restore_jobs j using (job_id) where t.task_id = $1 and t.kind = 'copy'"#,
        task.0
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    Ok(CopyTask {
        job_kind: JobKind::parse(&row.job_kind).ok_or_else(|| Error::internal("a job has an unknown kind"))?,
        source_segment: row.source,
        source_version: row.version,
        target_segment: row.target,
    })
}
