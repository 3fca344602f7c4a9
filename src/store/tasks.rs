//! The queue: claim, heartbeat, end. Every write of a worker names the attempt it belongs to.

use std::collections::HashMap;

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

/// Renews the lease, reports progress, and learns whether and how fast to go on. A file more than
/// any attempt had copied is progress: whatever it waited for is there again.
pub async fn heartbeat(conn: &mut PgConnection, task: &ClaimedTask, progress: Progress, lease_ms: i64) -> Result<Heard> {
    let row = sqlx::query!(
        r#"update restore_tasks t
            set lease_expires_at = n.now + $3::bigint * interval '1 millisecond', beat_at = n.now,
                -- an attempt counts from 0 again: what an earlier one had copied is known to be there
                done_files = greatest(t.done_files, $4), done_bytes = greatest(t.done_bytes, $5), retries = $6,
                outages = case when $4 > t.done_files then 0 else t.outages end,
                denials = case when $4 > t.done_files then 0 else t.denials end,
                waiting_since = case when $4 > t.done_files then null else t.waiting_since end,
                waited_ms = case when $4 > t.done_files then 0 else t.waited_ms end,
                copied_at = case when $4 > t.done_files then n.now else t.copied_at end,
                made_room = case when $4 > t.done_files then 0 else t.made_room end,
                mark_files = case when t.mark_at < n.now - interval '30 seconds' then t.done_files else t.mark_files end,
                mark_bytes = case when t.mark_at < n.now - interval '30 seconds' then t.done_bytes else t.mark_bytes end,
                mark_at = case when t.mark_at < n.now - interval '30 seconds' then t.beat_at else t.mark_at end
           from restore_jobs j, (select stillframe_now() as now) n
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

/// Ends a task well; false when the lease was lost.
pub async fn succeed(conn: &mut PgConnection, task: &ClaimedTask, progress: Option<Progress>) -> Result<bool> {
    let progress = progress.map(|p| (p.files, p.bytes, p.retries));
    let updated = sqlx::query!(
        "update restore_tasks set state = 'succeeded', finished_at = stillframe_now(), lease_expires_at = null,
                last_ended = attempt, waiting_since = null,
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

/// How the end of a copy task was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyEnd {
    /// The attempt held the task; else nothing was written.
    pub held: bool,
    /// Every copy task of the job has succeeded.
    pub was_last: bool,
}

/// Ends a copy task well, with how its files were proved: one letter per file. The caller has
/// locked the job's row in a statement before, so that the others' ends are seen.
pub async fn succeed_copy(conn: &mut PgConnection, task: &ClaimedTask, progress: Progress, methods: &str) -> Result<CopyEnd> {
    let row = sqlx::query!(
        r#"with ended as (
             update restore_tasks set state = 'succeeded', finished_at = stillframe_now(), lease_expires_at = null, last_ended = attempt,
                    waiting_since = null,                    done_files = $4, done_bytes = $5, retries = $6
              where task_id = $1 and attempt = $2 and state = 'running'
             returning task_id
           ), proved as (
             insert into restore_proofs (task_id, methods) select task_id, $7 from ended
             on conflict (task_id) do update set methods = excluded.methods
           )
           select exists (select from ended) as "held!",
                  not exists (select from restore_tasks where job_id = $3 and kind = 'copy' and state <> 'succeeded' and task_id <> $1)
                    as "was_last!""#,
        task.task_id.0,
        task.attempt,
        task.job_id.0,
        progress.files,
        progress.bytes,
        progress.retries,
        methods
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    Ok(CopyEnd {
        held: row.held,
        was_last: row.was_last,
    })
}

/// Why a task goes back to be claimed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release<'a> {
    /// Shutdown, pause, a lowered limit: not charged to the task.
    HandedBack,
    /// Something else has to end first, and this says what: not charged either.
    Waits(&'a str),
    /// Another job had been waiting for a worker: not charged, but its job stands behind all
    /// others for two seconds.
    MadeRoom,
    /// The object storage or the database did not answer.
    Outage(&'a str),
    /// The object storage refused access.
    Denied(&'a str),
    /// Another error.
    Failed(&'a str),
}

/// Hands a task back to be tried again later; false when the lease was lost. Outages, denials and
/// failures are counted apart. An outage has kept it waiting for the pause, and for the attempt, or what came after the last
/// file that it copied; for the pause only when the attempt was the first that ended so, which may have gone well for long.
pub async fn release(conn: &mut PgConnection, task: &ClaimedTask, why: Release<'_>, delay_ms: i64) -> Result<bool> {
    let (why, error) = match why {
        Release::HandedBack => ("handed_back", None),
        Release::Waits(what) => ("handed_back", Some(what)),
        Release::MadeRoom => ("made_room", None),
        Release::Outage(error) => ("outage", Some(error)),
        Release::Denied(error) => ("denied", Some(error)),
        Release::Failed(error) => ("failed", Some(error)),
    };
    let updated = sqlx::query!(
        "update restore_tasks t set state = 'available', lease_expires_at = null, last_ended = t.attempt,
                run_at = n.now + $4::bigint * interval '1 millisecond',
                failures = t.failures + case when $5 = 'failed' then 1 else 0 end,
                hand_backs = t.hand_backs + case when $5 in ('handed_back', 'made_room') then 1 else 0 end,
                made_room = t.made_room + case when $5 = 'made_room' then 1 else 0 end,
                room_until = case when $5 = 'made_room' then n.now + interval '2 seconds' end,
                -- whatever fails otherwise was answered
                outages = case $5 when 'outage' then t.outages + 1 when 'failed' then 0 else t.outages end,
                denials = case $5 when 'denied' then t.denials + 1 else t.denials end,
                waiting_since = case when $5 in ('outage', 'denied') then coalesce(t.waiting_since, n.now)
                                     when $5 = 'failed' then null else t.waiting_since end,
                waited_ms = case when $5 in ('outage', 'denied') then t.waited_ms + $4 + case when t.waiting_since is null then 0
                                      else greatest(0, coalesce((extract(epoch from
                                           n.now - greatest(t.claimed_at, t.copied_at)) * 1000)::bigint, 0)) end
                                 when $5 = 'failed' then 0 else t.waited_ms end,
                last_error = coalesce($3, t.last_error)
           from (select stillframe_now() as now) n
          where t.task_id = $1 and t.attempt = $2 and t.state = 'running'",
        task.task_id.0,
        task.attempt,
        error,
        delay_ms,
        why
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
                last_ended = attempt, waiting_since = null, failures = failures + 1, last_error = $3
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

/// How a running task has been kept waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waited {
    /// Attempts in a row that ended in an outage.
    pub outages: i32,
    /// The same that were refused access.
    pub denials: i32,
    /// Milliseconds for which these and the one that runs have tried in vain, pauses between them included; time in which
    /// no worker had the task is not.
    pub ms: i64,
}

/// How a running task has been kept waiting; none when the lease was lost.
pub async fn waited(conn: &mut PgConnection, task: &ClaimedTask) -> Result<Option<Waited>> {
    let row = sqlx::query!(
        r#"select outages, denials,
                  waited_ms + case when waiting_since is null then 0
                       else greatest(0, coalesce((extract(epoch from
                            stillframe_now() - greatest(claimed_at, copied_at)) * 1000)::bigint, 0)) end as "ms!"
             from restore_tasks where task_id = $1 and attempt = $2 and state = 'running'"#,
        task.task_id.0,
        task.attempt
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(row.map(|r| Waited {
        outages: r.outages,
        denials: r.denials,
        ms: r.ms,
    }))
}

/// Whether a job has copied any file.
pub async fn has_copied(conn: &mut PgConnection, job: JobId) -> Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from restore_tasks where job_id = $1 and kind = 'copy' and done_files > 0) as "copied!""#,
        job.0
    )
    .fetch_one(conn)
    .await
    .map_err(failed)
}

/// Whether every segment of a job is copied.
pub async fn is_copied(conn: &mut PgConnection, job: JobId) -> Result<bool> {
    sqlx::query_scalar!(
        r#"select not exists (select from restore_tasks where job_id = $1 and kind = 'copy' and state <> 'succeeded') as "copied!""#,
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

/// Whether an attempt still holds its task; if so nobody takes it before the transaction ends,
/// which it does by itself as after [`super::control::lock`].
pub async fn holds(conn: &mut PgConnection, task: &ClaimedTask) -> Result<bool> {
    let held = sqlx::query_scalar!(
        "with fence as materialized (
             select set_config('idle_in_transaction_session_timeout', '3s', true), set_config('lock_timeout', '5s', true)
         )
         select t.task_id from restore_tasks t cross join fence
          where t.task_id = $1 and t.attempt = $2 and t.state = 'running' for share of t",
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
                  least(coalesce(sum(total_bytes), 0), 9223372036854775807)::bigint as "bytes!", max(source_segment_id) as last
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
#[derive(Debug, Clone)]
pub struct CopyTask {
    pub kind: JobKind,
    pub source_segment: i64,
    pub source_version: i32,
    pub target_segment: i64,
    /// New build ids of the target, by captured build id.
    pub builds: HashMap<i64, i64>,
    /// Bytes a second that it may copy, as heartbeats say it; none: no limit.
    pub bytes_per_second: Option<i64>,
}

/// Reads what a copy task copies.
pub async fn copy_task(conn: &mut PgConnection, task: TaskId) -> Result<CopyTask> {
    let row = sqlx::query!(
        r#"select j.kind, t.source_segment_id as "source!", t.source_version as "version!", t.target_segment_id as "target!",
                  case when j.max_bytes_per_second is not null then greatest(j.max_bytes_per_second / greatest((
                       select count(*) from restore_tasks o
                        where o.job_id = j.job_id and o.kind = 'copy' and o.state = 'running'), 1), 1) end as bytes_per_second,
                  array(select b.source_build_id from restore_builds b
                         where b.job_id = t.job_id and b.target_segment_id = t.target_segment_id order by b.source_build_id) as "from!",
                  array(select b.target_build_id from restore_builds b
                         where b.job_id = t.job_id and b.target_segment_id = t.target_segment_id order by b.source_build_id) as "to!"
             from restore_tasks t join restore_jobs j using (job_id) where t.task_id = $1 and t.kind = 'copy'"#,
        task.0
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    Ok(CopyTask {
        kind: JobKind::parse(&row.kind).ok_or_else(|| Error::internal("a job has an unknown kind"))?,
        source_segment: row.source,
        source_version: row.version,
        target_segment: row.target,
        builds: row.from.into_iter().zip(row.to).collect(),
        bytes_per_second: row.bytes_per_second,
    })
}
