//! Restore jobs.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::codec::{from_json, to_json};
use super::control::{held, notify_watchers};
use super::text::can_all_be;
use super::{failed, job_history};
use crate::domain::access::Visible;
use crate::domain::id::TaskId;
use crate::domain::id::{CollectionId, DatabaseId, JobId, SnapshotId};
use crate::domain::restore::{JobKind, JobState, Recent, RestoreJob, RestoreOptions, TaskView, Waiting};
use crate::domain::schedule::Control;
use crate::domain::{Code, Error, Result};

/// A job about to be inserted.
#[derive(Debug)]
pub struct NewJob<'a> {
    pub job_id: JobId,
    pub kind: JobKind,
    /// None: a bundle.
    pub snapshot_id: Option<SnapshotId>,
    pub snapshot_name: &'a str,
    pub source_collection_name: &'a str,
    pub db_id: DatabaseId,
    pub collection_name: &'a str,
    pub collection_id: CollectionId,
    pub options: &'a RestoreOptions,
    pub control: &'a Control,
}

/// Inserts a pending job.
pub async fn insert(conn: &mut PgConnection, job: &NewJob<'_>) -> Result<()> {
    sqlx::query!(
        "insert into restore_jobs (job_id, snapshot_id, snapshot_name, source_collection_name, db_id, collection_name,
                                   collection_id, options, priority, max_concurrency, max_bytes_per_second, state, kind)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'Pending', $12)",
        job.job_id.0,
        job.snapshot_id.map(|s| s.0),
        job.snapshot_name,
        job.source_collection_name,
        job.db_id.0,
        job.collection_name,
        job.collection_id.0,
        to_json(job.options)?,
        job.control.priority,
        job.control.max_concurrency,
        job.control.max_bytes_per_second,
        job.kind.as_str()
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

struct JobRow {
    job_id: i64,
    kind: String,
    bundle_uri: Option<String>,
    snapshot_id: Option<i64>,
    snapshot_name: String,
    source_collection_name: String,
    db_id: i64,
    db_name: Option<String>,
    collection_name: String,
    present_name: String,
    collection_id: i64,
    options: serde_json::Value,
    priority: i32,
    max_concurrency: Option<i32>,
    max_bytes_per_second: Option<i64>,
    state: String,
    resume_state: Option<String>,
    reason: String,
    error_code: Option<String>,
    total_files: i64,
    total_bytes: i64,
    total_segments: i64,
    done_files: i64,
    done_bytes: i64,
    done_segments: i64,
    retries: i64,
    warnings: serde_json::Value,
    cleanup: String,
    created_at: OffsetDateTime,
    finished_at: Option<OffsetDateTime>,
    time_cost_ms: i64,
    copy_ms: Option<i64>,
    recent_files: Option<f64>,
    recent_bytes: Option<f64>,
    recent_ms: Option<i64>,
    waiting_since: Option<OffsetDateTime>,
    waiting_error: Option<String>,
}

impl TryFrom<JobRow> for RestoreJob {
    type Error = Error;
    fn try_from(row: JobRow) -> Result<Self> {
        Ok(Self {
            job_id: JobId(row.job_id),
            kind: JobKind::parse(&row.kind).ok_or_else(|| Error::internal("a job has an unknown kind"))?,
            bundle_uri: row.bundle_uri,
            snapshot_id: row.snapshot_id.map(SnapshotId),
            snapshot_name: row.snapshot_name,
            source_collection_name: row.source_collection_name,
            db_id: DatabaseId(row.db_id),
            db_name: row.db_name.unwrap_or_default(),
            collection_name: row.collection_name,
            present_name: row.present_name,
            collection_id: CollectionId(row.collection_id),
            options: from_json(row.options)?,
            control: Control {
                priority: row.priority,
                max_concurrency: row.max_concurrency,
                max_bytes_per_second: row.max_bytes_per_second,
            },
            resume_state: row.resume_state.as_deref().and_then(JobState::parse),
            state: JobState::parse(&row.state).ok_or_else(|| Error::internal("a restore job has an unknown state"))?,
            reason: row.reason,
            error_code: row.error_code,
            total_files: row.total_files,
            total_bytes: row.total_bytes,
            total_segments: row.total_segments,
            done_files: row.done_files,
            done_bytes: row.done_bytes,
            done_segments: row.done_segments,
            retries: row.retries,
            warnings: from_json(row.warnings)?,
            cleanup: row.cleanup,
            created_at: row.created_at,
            finished_at: row.finished_at,
            time_cost_ms: row.time_cost_ms,
            copy_ms: row.copy_ms,
            recent: row.recent_ms.map(|ms| Recent {
                files: row.recent_files.unwrap_or_default(),
                bytes: row.recent_bytes.unwrap_or_default(),
                ms: ms.max(1),
            }),
            waiting: row.waiting_since.map(|since| Waiting {
                since,
                error: row.waiting_error.unwrap_or_default(),
            }),
        })
    }
}

/// Which jobs a list is about.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    pub job: Option<JobId>,
    pub db: Option<DatabaseId>,
    /// Name that the target had when the job was asked for.
    pub collection_name: Option<String>,
    /// The target, whatever it is called now.
    pub collection: Option<CollectionId>,
    /// What the target is called now, or was called last.
    pub present_name: Option<String>,
    pub snapshot_name: Option<String>,
    pub state: Option<JobState>,
    /// Only exports, or only restores.
    pub exports: Option<bool>,
    /// Only those whose target may be seen.
    pub visible: Visible,
}

/// Where a page of jobs begins: after this creation time (nanoseconds) and id.
pub type JobCursor = (i64, i64);

/// Lists jobs, newest first, with the progress of their copies. The tasks of those that have ended
/// are not read: their sums were kept ([`job_history::keep_sums`]).
pub async fn list(conn: &mut PgConnection, filter: &JobFilter, after: Option<JobCursor>, limit: i64) -> Result<Vec<RestoreJob>> {
    if !can_all_be(&[&filter.collection_name, &filter.present_name, &filter.snapshot_name]) {
        return Ok(Vec::new());
    }
    let cursor = match after {
        None => None,
        Some((nanos, id)) => {
            let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(nanos))
                .map_err(|e| Code::InvalidPageToken.error("the page token is damaged").because(e))?;
            Some((at, id))
        }
    };
    let rows = sqlx::query_as!(
        JobRow,
        r#"select j.job_id, j.kind, b.location as "bundle_uri?", j.snapshot_id, j.snapshot_name, j.source_collection_name, j.db_id, d.name as "db_name?",
                  j.collection_name, coalesce(c.name, j.collection_name) as "present_name!", j.collection_id, j.options, j.priority,
                  j.max_concurrency, j.max_bytes_per_second, j.state, j.resume_state, j.reason, j.error_code, j.total_files, j.total_bytes,
                  j.total_segments, coalesce(j.done_files, p.files) as "done_files!", coalesce(j.done_bytes, p.bytes) as "done_bytes!",
                  coalesce(j.done_segments, p.segments) as "done_segments!", coalesce(j.retries, p.retries) as "retries!",
                  j.warnings, j.cleanup, j.created_at, j.finished_at,
                  (extract(epoch from coalesce(j.finished_at, (select stillframe_now())) - j.created_at) * 1000)::bigint as "time_cost_ms!",
                  -- of a job that ended before this was kept: the time since copying began
                  coalesce(j.copy_ms, case when j.finished_at > j.copy_began_at
                       then (extract(epoch from j.finished_at - j.copy_began_at) * 1000)::bigint end) as copy_ms,
                  q.files as "recent_files?", q.bytes as "recent_bytes?", q.ms as "recent_ms?",
                  w.since as "waiting_since?", w.error as "waiting_error?"
             from restore_jobs j
             left join databases d on d.db_id = j.db_id
             left join job_bundles b on b.job_id = j.job_id
             left join collections c on c.collection_id = j.collection_id
             cross join lateral (
               select coalesce(sum(t.done_files), 0)::bigint as files, least(coalesce(sum(t.done_bytes), 0), 9223372036854775807)::bigint as bytes,
                      count(*) filter (where t.state = 'succeeded') as segments, coalesce(sum(t.retries), 0)::bigint as retries
                 from restore_tasks t where t.job_id = j.job_id and t.kind = 'copy' and j.done_files is null
             ) p
             -- the parts of tasks' progress since their marks that lie in the last half minute
             cross join lateral (
               select sum((t.done_files - t.mark_files) * r.share) as files, sum((t.done_bytes - t.mark_bytes) * r.share) as bytes,
                      (extract(epoch from (select stillframe_now()) - min(r.since)) * 1000)::bigint as ms
                 from restore_tasks t
                cross join lateral (
                   select l.since, case when l.until > t.mark_at
                               then extract(epoch from l.until - l.since)::float8 / extract(epoch from l.until - t.mark_at)::float8 else 1 end as share
                     from (select greatest(t.mark_at, (select stillframe_now()) - interval '30 seconds') as since,
                                  coalesce(t.finished_at, t.beat_at) as until) l
                 ) r
                where t.job_id = j.job_id and t.kind = 'copy' and t.mark_at is not null and j.finished_at is null
                  and coalesce(t.finished_at, t.beat_at) >= (select stillframe_now()) - interval '30 seconds'
             ) q
             left join lateral (
               select t.waiting_since as since, t.last_error as error
                 from restore_tasks t where t.job_id = j.job_id and t.waiting_since is not null and j.finished_at is null and j.state <> 'Paused'
                order by t.waiting_since limit 1
             ) w on true
            where ($1::bigint is null or j.job_id = $1)
              and ($2::bigint is null or j.db_id = $2)
              and ($3::text is null or j.collection_name = $3)
              and ($4::text is null or j.snapshot_name = $4)
              and ($5::text is null or j.state = $5)
              and ($6::timestamptz is null or (j.created_at, j.job_id) < ($6, $7))
              and ($9::boolean is null or (j.kind = 'export') = $9)
              and ($10::text[] is null or exists (select from unnest($10::text[], $11::text[]) as g (db, collection)
                                                  where coalesce(d.name, '') like g.db and j.collection_name like g.collection))
              and ($12::bigint is null or j.collection_id = $12)
              and ($13::text is null or coalesce(c.name, j.collection_name) = $13)
            order by j.created_at desc, j.job_id desc limit $8"#,
        filter.job.map(|j| j.0),
        filter.db.map(|d| d.0),
        filter.collection_name,
        filter.snapshot_name,
        filter.state.map(|s| s.as_str()),
        cursor.map(|c| c.0),
        cursor.map(|c| c.1),
        limit,
        filter.exports,
        filter.visible.databases() as _,
        filter.visible.collections() as _,
        filter.collection.map(|c| c.0),
        filter.present_name
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    rows.into_iter().map(RestoreJob::try_from).collect()
}

/// The cursor of a job in a list.
pub fn cursor(job: &RestoreJob) -> JobCursor {
    (
        i64::try_from(job.created_at.unix_timestamp_nanos()).unwrap_or(i64::MAX),
        job.job_id.0,
    )
}

/// Locks a job until the transaction ends, as [`super::control::lock`], and gives its state; none
/// when there is no such job.
///
/// # Errors
/// `database_unavailable`, also when others hold it for five seconds.
pub async fn lock(conn: &mut PgConnection, job: JobId) -> Result<Option<JobState>> {
    let state = sqlx::query_scalar!(
        "with fence as materialized (
             select set_config('idle_in_transaction_session_timeout', '3s', true), set_config('lock_timeout', '5s', true)
         )
         select j.state from restore_jobs j cross join fence where j.job_id = $1 for update of j",
        job.0
    )
    .fetch_optional(conn)
    .await
    .map_err(|e| held(e, &format!("job {job}")))?;
    Ok(state.as_deref().and_then(JobState::parse))
}

/// Moves a locked job from one state to a running state; a paused one will go on from there.
///
/// # Errors
/// `internal` when it is in another state.
pub async fn advance(conn: &mut PgConnection, job: JobId, from: &[JobState], to: JobState) -> Result<()> {
    let from: Vec<String> = from.iter().map(|s| s.as_str().to_string()).collect();
    let updated = sqlx::query!(
        "update restore_jobs
            set state = case when state = 'Paused' then state else $3::text end,
                resume_state = case when state = 'Paused' then $3 end,
                copy_began_at = case when $3 = 'InProgress' then coalesce(copy_began_at, stillframe_now()) else copy_began_at end
          where job_id = $1 and coalesce(resume_state, state) = any($2)",
        job.0,
        &from,
        to.as_str()
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    if updated.rows_affected() == 1 {
        notify_watchers(conn, job).await
    } else {
        Err(Error::internal(format!("restore job {job} can't become {}", to.as_str())))
    }
}

/// Records what a validated job has to copy.
pub async fn set_totals(conn: &mut PgConnection, job: JobId, segments: i64, files: i64, bytes: i64) -> Result<()> {
    sqlx::query!(
        "update restore_jobs set total_segments = $2, total_files = $3, total_bytes = $4 where job_id = $1",
        job.0,
        segments,
        files,
        bytes
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Records what the operator should know.
pub async fn set_warnings(conn: &mut PgConnection, job: JobId, warnings: &[String]) -> Result<()> {
    sqlx::query!(
        "update restore_jobs set warnings = $2 where job_id = $1",
        job.0,
        to_json(&warnings)?
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Ends a locked job.
///
/// # Errors
/// `internal` when it has ended already.
pub async fn finish(
    conn: &mut PgConnection,
    job: JobId,
    state: JobState,
    code: Option<&str>,
    reason: &str,
    cleanup: bool,
) -> Result<()> {
    let updated = sqlx::query!(
        "update restore_jobs set state = $2, error_code = $3, reason = $4, finished_at = stillframe_now(),
                resume_state = null, paused_at = null, cleanup = case when $5 then 'pending' else 'none' end
          where job_id = $1 and finished_at is null",
        job.0,
        state.as_str(),
        code,
        reason,
        cleanup
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    if updated.rows_affected() == 1 {
        notify_watchers(conn, job).await
    } else {
        Err(Error::internal(format!("restore job {job} has ended already")))
    }
}

/// Notes that the objects of an unsuccessful job are gone, or that they can't be reached any more,
/// and what its tasks add up to.
pub async fn set_cleaned(conn: &mut PgConnection, job: JobId, abandoned: bool) -> Result<()> {
    let sums = job_history::sums(conn, job).await?;
    job_history::keep_sums(conn, job, &sums).await?;
    sqlx::query!(
        "update restore_jobs set cleanup = case when $2 then 'abandoned' else 'done' end where job_id = $1 and cleanup = 'pending'",
        job.0,
        abandoned
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Notes the trace of the request that a job came from.
pub async fn set_traceparent(conn: &mut PgConnection, job: JobId, traceparent: &str) -> Result<()> {
    sqlx::query!(
        "update restore_jobs set traceparent = $2 where job_id = $1",
        job.0,
        traceparent
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// The trace of the request that a job came from.
pub async fn traceparent(conn: &mut PgConnection, job: JobId) -> Result<Option<String>> {
    let found = sqlx::query_scalar!("select traceparent from restore_jobs where job_id = $1", job.0)
        .fetch_optional(conn)
        .await
        .map_err(failed)?;
    Ok(found.flatten())
}

/// Lists the tasks of a job by id.
pub async fn tasks(conn: &mut PgConnection, job: JobId, after: Option<i64>, limit: i64) -> Result<Vec<TaskView>> {
    let rows = sqlx::query!(
        // what waits in a job that has ended is as good as cancelled, though not marked yet
        r#"select t.task_id, t.kind,
                  case when t.state = 'available' and t.kind <> 'cleanup' and j.finished_at is not null then 'cancelled'
                       else t.state end as "state!",
                  t.source_segment_id, t.target_segment_id, t.attempt, t.failures, t.outages + t.denials as "outages!", t.total_files, t.total_bytes, t.done_files,
                  t.done_bytes, t.retries, t.last_error, t.worker_id, t.lease_expires_at, t.run_at, t.finished_at
             from restore_tasks t join restore_jobs j using (job_id)
            where t.job_id = $1 and t.task_id > $2 order by t.task_id limit $3"#,
        job.0,
        after.unwrap_or(-1),
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|r| TaskView {
            task_id: TaskId(r.task_id),
            kind: r.kind,
            state: r.state,
            source_segment_id: r.source_segment_id,
            target_segment_id: r.target_segment_id,
            attempt: r.attempt,
            failures: r.failures,
            outages: r.outages,
            total_files: r.total_files,
            total_bytes: r.total_bytes,
            done_files: r.done_files,
            done_bytes: r.done_bytes,
            retries: r.retries,
            last_error: r.last_error,
            worker_id: r.worker_id,
            lease_expires_at: r.lease_expires_at,
            run_at: r.run_at,
            finished_at: r.finished_at,
        })
        .collect())
}
