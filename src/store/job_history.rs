//! What is kept of jobs that have ended, for how long, and what it says about later ones.

use sqlx::PgConnection;

use super::failed;
use crate::domain::Result;
use crate::domain::id::JobId;
use crate::domain::plan::Pace;

/// What the tasks of a job add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    files: i64,
    bytes: i64,
    segments: i64,
    retries: i64,
    copy_ms: i64,
    work_ms: i64,
}

/// Adds up the tasks of a job. Its times are those in which a task that ended well ran, each
/// moment once.
pub async fn sums(conn: &mut PgConnection, job: JobId) -> Result<Sums> {
    let row = sqlx::query!(
        r#"with spans as (
             select c.copies, t.claimed_at as since, coalesce(t.finished_at, stillframe_now()) as until
               from restore_tasks t cross join (values (true), (false)) c (copies)
              where t.job_id = $1 and t.kind <> 'cleanup' and t.state in ('succeeded', 'running') and t.claimed_at is not null
                and (t.kind = 'copy' or not c.copies)
           ), apart as (
             select copies, until, greatest(since, max(until) over (
                        partition by copies order by since, until rows between unbounded preceding and 1 preceding)) as since from spans
           ), times as (
             select coalesce(sum(extract(epoch from until - since)) filter (where copies and until > since), 0) as copying,
                    coalesce(sum(extract(epoch from until - since)) filter (where not copies and until > since), 0) as working from apart
           )
           select coalesce(sum(t.done_files), 0)::bigint as "files!", least(coalesce(sum(t.done_bytes), 0), 9223372036854775807)::bigint as "bytes!",
                  count(*) filter (where t.state = 'succeeded') as "segments!", coalesce(sum(t.retries), 0)::bigint as "retries!",
                  (select ceil(copying * 1000) from times)::bigint as "copy_ms!", (select ceil(working * 1000) from times)::bigint as "work_ms!"
             from restore_tasks t where t.job_id = $1 and t.kind = 'copy'"#,
        job.0
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    Ok(Sums {
        files: row.files,
        bytes: row.bytes,
        segments: row.segments,
        retries: row.retries,
        copy_ms: row.copy_ms,
        work_ms: row.work_ms,
    })
}

/// Keeps what the tasks of an ended job add up to, so that nobody has to add it up again.
pub async fn keep_sums(conn: &mut PgConnection, job: JobId, sums: &Sums) -> Result<()> {
    sqlx::query!(
        "update restore_jobs set done_files = $2, done_bytes = $3, done_segments = $4, retries = $5, copy_ms = $6, work_ms = $7
          where job_id = $1 and finished_at is not null",
        job.0,
        sums.files,
        sums.bytes,
        sums.segments,
        sums.retries,
        sums.copy_ms,
        sums.work_ms
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// How fast the last completed jobs that copied anything went, over the time in which workers had
/// them; none when there is no such job. Those with a limit of bytes say nothing about speed.
pub async fn pace(conn: &mut PgConnection) -> Result<Option<Pace>> {
    let row = sqlx::query!(
        r#"select count(*) as "jobs!", coalesce(sum(total_files), 0)::bigint as "files!", least(coalesce(sum(total_bytes), 0), 9223372036854775807)::bigint as "bytes!",
                  coalesce(sum(coalesce(work_ms, (extract(epoch from finished_at - created_at) * 1000)::bigint)), 0)::bigint as "millis!"
             from (select * from restore_jobs
                    where state = 'Completed' and kind = 'restore' and total_files > 0 and max_bytes_per_second is null
                    order by created_at desc, job_id desc limit 20) recent"#
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    Ok((row.jobs > 0).then_some(Pace {
        jobs: row.jobs,
        files: row.files,
        bytes: row.bytes,
        millis: row.millis,
    }))
}

/// Rows that one statement of [`expire`] deletes at most.
const EXPIRE_PAGE: i64 = 2000;

/// Deletes the history of jobs that ended before an age; gives their number. What belongs to
/// them goes first, a part at a time, so that no statement of it is long.
pub async fn expire(conn: &mut PgConnection, age_seconds: i64) -> Result<u64> {
    let mut expired = 0;
    loop {
        let jobs = sqlx::query_scalar!(
            "select job_id from restore_jobs
              where finished_at < (select stillframe_now()) - $1::bigint * interval '1 second' and cleanup <> 'pending'
              order by finished_at limit 100",
            age_seconds
        )
        .fetch_all(&mut *conn)
        .await
        .map_err(failed)?;
        if jobs.is_empty() {
            return Ok(expired);
        }
        while delete_some_tasks(conn, &jobs).await? > 0 {}
        while delete_some_builds(conn, &jobs).await? > 0 {}
        expired += sqlx::query!("delete from restore_jobs where job_id = any($1)", &jobs)
            .execute(&mut *conn)
            .await
            .map_err(failed)?
            .rows_affected();
    }
}

async fn delete_some_tasks(conn: &mut PgConnection, jobs: &[i64]) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from restore_tasks where task_id in (select task_id from restore_tasks where job_id = any($1) limit $2)",
        jobs,
        EXPIRE_PAGE
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected())
}

async fn delete_some_builds(conn: &mut PgConnection, jobs: &[i64]) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from restore_builds where ctid in (select ctid from restore_builds where job_id = any($1) limit $2)",
        jobs,
        EXPIRE_PAGE
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected())
}
