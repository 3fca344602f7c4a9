//! Claiming: which tasks a worker gets next.

use sqlx::PgConnection;
use uuid::Uuid;

use super::failed;
use crate::domain::id::{JobId, TaskId};
use crate::domain::restore::{ClaimedTask, TaskKind};
use crate::domain::{Error, Result};

/// Claims tasks, in this order: those whose lease has expired; those that check, publish and
/// clean up; one copy of each job of which none runs; the other copies; both by their point on
/// the line of all jobs (`domain::schedule`), not more of a job than it may run; last of all what
/// is of a job that has just made room. Of a paused job nothing. The caller holds `control::lock_claims`, so that
/// limits are exact; tasks that somebody is writing at this moment are skipped.
///
/// The cost is that of a few index look-ups per running job, however many tasks they have.
pub async fn claim(conn: &mut PgConnection, worker: Uuid, lease_ms: i64, limit: i64) -> Result<Vec<ClaimedTask>> {
    let rows = sqlx::query!(
        "with now as materialized (
             select stillframe_now() as at
         ), resting as materialized (
             -- few at any time, and an index holds no others; row by row the planner would not use it
             select y.job_id from restore_tasks y where y.room_until > (select at from now)
         ), active as materialized (
             select j.job_id, j.state, j.finished_at, j.priority, j.place, 1::bigint << (10 - j.priority) as step, r.running,
                    j.job_id in (select job_id from resting) as resting,
                    case when j.running_limit is null then $3 else least($3, greatest(j.running_limit - r.running, 0)) end as room
               from restore_jobs j
              cross join lateral (select count(*) as running from restore_tasks r
                                   where r.job_id = j.job_id and r.kind = 'copy' and r.state = 'running') r
              where (j.finished_at is null or j.cleanup = 'pending') and j.state <> 'Paused'
         ), abandoned as (
             -- leases that ran out: their worker is gone or cut off
             select t.task_id, 0 as rank, 0::bigint as point, 0 as priority
               from restore_tasks t join active a using (job_id)
              where t.state = 'running' and t.lease_expires_at <= (select at from now)
                and (t.kind = 'cleanup') = (a.finished_at is not null)
              order by t.lease_expires_at limit $3
         ), others as (
             select t.task_id, case when a.resting then 4 else 1 end as rank, 0::bigint as point, a.priority
               from active a join restore_tasks t using (job_id)
              where t.state = 'available' and t.kind <> 'copy' and t.run_at <= (select at from now)
                and (t.kind = 'cleanup') = (a.finished_at is not null)
              order by rank, a.priority desc, t.task_id limit $3
         ), copies as (
             select c.task_id, case when a.resting then 4 when a.running = 0 and c.nth = 1 then 2 else 3 end as rank, a.place + c.turn * a.step as point, a.priority
               from active a cross join lateral (
                    select t.task_id, t.turn, row_number() over (order by t.turn, t.task_id) as nth from restore_tasks t
                     where t.job_id = a.job_id and t.kind = 'copy' and t.state = 'available' and t.run_at <= (select at from now)
                     order by t.turn, t.task_id limit a.room) c
              where a.state = 'InProgress'
              order by rank, point, a.priority desc, c.task_id limit $3
         ), chosen as (
             select task_id from (select * from abandoned union all select * from others union all select * from copies) c
              order by rank, point, priority desc, task_id limit $3
         ), locked as materialized (
             select t.task_id, case when t.state = 'running' then t.worker_id end as taken_from
               from restore_tasks t join chosen using (task_id)
              where t.state = 'available' or (t.state = 'running' and t.lease_expires_at <= (select at from now))
                for update of t skip locked
         )
         update restore_tasks t
            set state = 'running', attempt = t.attempt + 1, worker_id = $1,
                lease_expires_at = now.at + $2::bigint * interval '1 millisecond',
                claimed_at = now.at, beat_at = now.at, mark_at = now.at, mark_files = t.done_files, mark_bytes = t.done_bytes,
                room_until = null
           from locked, now
          where t.task_id = locked.task_id
         returning t.task_id, t.job_id, t.kind, t.attempt, t.failures, t.last_ended, t.retries, locked.taken_from",
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
                last_ended: r.last_ended,
                retries: r.retries,
                taken_from: r.taken_from,
            })
        })
        .collect()
}

/// Milliseconds until the next task becomes due or a lease expires; none when there is nothing.
/// What is due already and was not claimed waits for something else: a job that is paused or
/// runs as much as it may.
pub async fn next_due_ms(conn: &mut PgConnection) -> Result<Option<i64>> {
    sqlx::query_scalar!(
        r#"with now as materialized (select stillframe_now() as at)
           select (extract(epoch from min(d.at) - (select at from now)) * 1000)::bigint
             from (select min(run_at) as at from restore_tasks where state = 'available' and run_at > (select at from now)
                   union all
                   select min(lease_expires_at) from restore_tasks where state = 'running' and lease_expires_at > (select at from now)) d"#
    )
    .fetch_one(conn)
    .await
    .map_err(failed)
}

/// Whether a task should make room, on a worker that is full: a job has been waiting for five
/// seconds with nothing running, and of what this worker runs, this task can best be spared: a
/// copy of a job that has several here, then any copy, of these the one that has got least far;
/// then a clean-up, then a check. Those in `proving` take no place of the worker and are not counted. Never before it has run for five seconds, and for twice as long
/// each time that it made room without a file more: a check begins anew, and a copy with a limit
/// must pay for its next file anew.
pub async fn should_make_room(conn: &mut PgConnection, task: &ClaimedTask, proving: &[TaskId]) -> Result<bool> {
    sqlx::query_scalar!(
        r#"with late as materialized (select stillframe_now() - interval '5 seconds' as at),
           resting as materialized (select y.job_id from restore_tasks y where y.room_until > (select at from late)),
           spared as (
               select m.task_id from restore_tasks m
                where m.state = 'running' and m.kind <> 'publish' and m.task_id <> all($3)
                  and m.worker_id = (select worker_id from restore_tasks where task_id = $1 and attempt = $2 and state = 'running')
                  and m.lease_expires_at > (select at from late) + interval '5 seconds'
                  and m.claimed_at <= (select at from late)
                      - ((1 << least(m.made_room, 9)) - 1) * interval '5 seconds'
                order by m.kind <> 'copy', not exists (
                             select from restore_tasks o
                              where o.job_id = m.job_id and o.kind = 'copy' and o.state = 'running'
                                and o.worker_id = m.worker_id and o.task_id <> m.task_id and o.task_id <> all($3)),
                         m.kind <> 'cleanup', m.done_bytes, m.task_id limit 1
           )
           select exists (select from spared where task_id = $1) and exists (
               select from restore_jobs j
                where j.finished_at is null and j.state <> 'Paused'
                  and not exists (select from restore_tasks r where r.job_id = j.job_id and r.state = 'running')
                  and j.job_id not in (select job_id from resting)
                  and (exists (select from restore_tasks w
                                where w.job_id = j.job_id and w.kind <> 'copy' and w.state = 'available' and w.run_at <= (select at from late))
                       or (j.state = 'InProgress' and exists (
                               select from restore_tasks w
                                where w.job_id = j.job_id and w.kind = 'copy' and w.state = 'available' and w.run_at <= (select at from late))))
           ) as "room!""#,
        task.task_id.0,
        task.attempt,
        &proving.iter().map(|t| t.0).collect::<Vec<i64>>()
    )
    .fetch_one(conn)
    .await
    .map_err(failed)
}
