//! Runs of the collector.

use sqlx::PgConnection;

use super::codec::{from_json, to_json};
use super::failed;
use crate::domain::Result;
use crate::domain::gc::{GcRun, Report};
use crate::domain::id::RunId;

/// Notes the start of a run.
pub async fn start(conn: &mut PgConnection, id: RunId, dry_run: bool, grace_seconds: i64) -> Result<()> {
    sqlx::query!(
        "insert into gc_runs (run_id, dry_run, grace_seconds) values ($1, $2, $3)",
        id.0,
        dry_run,
        grace_seconds
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Notes the end of a run.
pub async fn finish(conn: &mut PgConnection, id: RunId, completed: bool, report: &Report) -> Result<()> {
    sqlx::query!(
        "update gc_runs set state = $2, report = $3, finished_at = stillframe_now() where run_id = $1 and state = 'running'",
        id.0,
        if completed { "completed" } else { "failed" },
        to_json(report)?
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Lists runs, newest first; one of them when `id` is given.
pub async fn list(conn: &mut PgConnection, id: Option<RunId>, before: Option<i64>, limit: i64) -> Result<Vec<GcRun>> {
    let rows = sqlx::query!(
        "select run_id, dry_run, grace_seconds, state, report, started_at, finished_at from gc_runs
          where ($1::bigint is null or run_id = $1) and ($2::bigint is null or run_id < $2)
          order by run_id desc limit $3",
        id.map(|i| i.0),
        before,
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|r| {
            Ok(GcRun {
                run_id: RunId(r.run_id),
                dry_run: r.dry_run,
                grace_seconds: r.grace_seconds,
                state: r.state,
                report: from_json(r.report)?,
                started_at: r.started_at,
                finished_at: r.finished_at,
            })
        })
        .collect()
}

/// Deletes the history of runs that began before an age.
pub async fn expire(conn: &mut PgConnection, age_seconds: i64) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from gc_runs where started_at < (select stillframe_now()) - $1::bigint * interval '1 second'",
        age_seconds
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected())
}
