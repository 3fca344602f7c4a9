//! Proofs of copied segments: whether they are of late, and what becomes of segments that are not there
//! any more.

use sqlx::PgConnection;

use super::failed;
use crate::domain::Result;
use crate::domain::id::{JobId, TaskId};
use crate::domain::restore::ClaimedTask;

/// Whether the copies of a job have to be proved again: a proof is older than so many seconds, or gone (a
/// pause takes them along), or a segment is to be copied again.
pub async fn are_old(conn: &mut PgConnection, job: JobId, seconds: i64) -> Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (
             select from restore_tasks t
              where t.job_id = $1 and t.kind = 'copy'
                and (t.state <> 'succeeded' or t.finished_at < (select stillframe_now()) - $2::bigint * interval '1 second'
                     or not exists (select from restore_proofs p where p.task_id = t.task_id))) as "old!""#,
        job.0,
        seconds
    )
    .fetch_one(conn)
    .await
    .map_err(failed)
}

/// A segment that was copied.
#[derive(Debug, Clone, Copy)]
pub struct Copy {
    pub task_id: TaskId,
    /// Attempts that failed.
    pub failures: i32,
}

/// The segments of a job that were copied, by task after a cursor.
pub async fn copies(conn: &mut PgConnection, job: JobId, after: i64, limit: i64) -> Result<Vec<Copy>> {
    let rows = sqlx::query!(
        "select task_id, failures from restore_tasks
          where job_id = $1 and kind = 'copy' and state = 'succeeded' and task_id > $2 order by task_id limit $3",
        job.0,
        after,
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    let copy = |task_id, failures| Copy {
        task_id: TaskId(task_id),
        failures,
    };
    Ok(rows.into_iter().map(|r| copy(r.task_id, r.failures)).collect())
}

/// Records how segments were proved now: one letter per file.
pub async fn set(conn: &mut PgConnection, proved: &[(TaskId, String)]) -> Result<()> {
    sqlx::query!(
        "insert into restore_proofs (task_id, methods) select * from unnest($1::bigint[], $2::text[])
         on conflict (task_id) do update set methods = excluded.methods",
        &proved.iter().map(|(task, _)| task.0).collect::<Vec<_>>(),
        &proved.iter().map(|(_, methods)| methods.clone()).collect::<Vec<_>>()
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Lets segments be copied again, each with the reason, which counts as a failure. Nobody claims them before
/// their job copies again.
pub async fn copy_again(conn: &mut PgConnection, gone: &[(TaskId, String)]) -> Result<()> {
    sqlx::query!(
        "update restore_tasks t
            set state = 'available', finished_at = null, run_at = stillframe_now(), failures = t.failures + 1,
                done_files = 0, done_bytes = 0, last_error = u.error
           from unnest($1::bigint[], $2::text[]) as u (task_id, error)
          where t.task_id = u.task_id and t.kind = 'copy' and t.state = 'succeeded'",
        &gone.iter().map(|(task, _)| task.0).collect::<Vec<_>>(),
        &gone.iter().map(|(_, error)| error.clone()).collect::<Vec<_>>()
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Ends a task that publishes too early: another one comes when all is copied. False when the lease was lost.
pub async fn call_off_publishing(conn: &mut PgConnection, task: &ClaimedTask) -> Result<bool> {
    let updated = sqlx::query!(
        "update restore_tasks set state = 'cancelled', finished_at = stillframe_now(), lease_expires_at = null,
                last_ended = attempt, waiting_since = null, last_error = 'segments have to be copied again'
          where task_id = $1 and attempt = $2 and state = 'running'",
        task.task_id.0,
        task.attempt
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(updated.rows_affected() == 1)
}

/// Forgets the proofs of a job.
pub async fn forget(conn: &mut PgConnection, job: JobId) -> Result<()> {
    sqlx::query!(
        "delete from restore_proofs where task_id in (select task_id from restore_tasks where job_id = $1 and kind = 'copy')",
        job.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}
