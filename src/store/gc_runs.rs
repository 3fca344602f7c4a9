//! Runs of the collector.

use sqlx::PgConnection;

use super::codec::{from_json, to_json};
use super::failed;
use crate::domain::gc::{GcRun, Item, ItemKind, Outcome, Report};
use crate::domain::id::RunId;
use crate::domain::{Error, Result};

/// Notes the start of a run. The caller has the collector's lock, so that another run which
/// still counts as running has died.
pub async fn start(
    conn: &mut PgConnection,
    id: RunId,
    dry_run: bool,
    grace_seconds: i64,
    orphan_tolerance_seconds: Option<i64>,
) -> Result<()> {
    sqlx::query!(
        "update gc_runs set state = 'failed', error = 'the process that ran it has died, or lost the database', finished_at = stillframe_now()
          where state = 'running'"
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "insert into gc_runs (run_id, dry_run, grace_seconds, orphan_tolerance_seconds) values ($1, $2, $3, $4)",
        id.0,
        dry_run,
        grace_seconds,
        orphan_tolerance_seconds
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// The run that is under way; one that has died counts until the next begins.
pub async fn running(conn: &mut PgConnection) -> Result<Option<RunId>> {
    let found = sqlx::query_scalar!("select run_id from gc_runs where state = 'running' order by run_id desc limit 1")
        .fetch_optional(conn)
        .await
        .map_err(failed)?;
    Ok(found.map(RunId))
}

/// Adds items to a run, in their order after `first`.
pub async fn add_items(conn: &mut PgConnection, id: RunId, first: i64, items: &[Item]) -> Result<()> {
    let text = |f: fn(&Item) -> String| items.iter().map(f).collect::<Vec<String>>();
    sqlx::query!(
        "insert into gc_run_items (run_id, item_no, kind, name, outcome, reason, objects, size_bytes)
         select $1, $2 + u.at, kind, name, outcome, reason, objects, size_bytes
           from unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[])
                with ordinality as u (kind, name, outcome, reason, objects, size_bytes, at)",
        id.0,
        first,
        &text(|i| i.kind.as_str().to_string()),
        &text(|i| i.name.clone()),
        &text(|i| i.outcome.as_str().to_string()),
        &text(|i| i.reason.clone()),
        &items.iter().map(|i| i.objects).collect::<Vec<_>>(),
        &items.iter().map(|i| i.size_bytes).collect::<Vec<_>>()
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// A page of the items of a run in their order, with the cursor of each.
pub async fn items(
    conn: &mut PgConnection,
    id: RunId,
    outcome: Option<Outcome>,
    kind: Option<ItemKind>,
    after: i64,
    limit: i64,
) -> Result<Vec<(i64, Item)>> {
    let rows = sqlx::query!(
        "select item_no, kind, name, outcome, reason, objects, size_bytes from gc_run_items
          where run_id = $1 and ($2::text is null or outcome = $2) and ($3::text is null or kind = $3) and item_no > $4
          order by item_no limit $5",
        id.0,
        outcome.map(Outcome::as_str),
        kind.map(ItemKind::as_str),
        after,
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|r| {
            let unknown = || Error::internal("an item of a collector run is of an unknown sort");
            let item = Item {
                kind: ItemKind::parse(&r.kind).ok_or_else(unknown)?,
                name: r.name,
                outcome: Outcome::parse(&r.outcome).ok_or_else(unknown)?,
                reason: r.reason,
                objects: r.objects,
                size_bytes: r.size_bytes,
            };
            Ok((r.item_no, item))
        })
        .collect()
}

/// Seconds since runs that looked for orphans began; none when there is none.
#[derive(Debug, Clone, Copy)]
pub struct LastLooks {
    /// The last one that came to its end.
    pub whole: Option<i64>,
    /// The last one, whatever became of it.
    pub any: Option<i64>,
}

/// Finds them.
pub async fn last_looks(conn: &mut PgConnection) -> Result<LastLooks> {
    let row = sqlx::query!(
        "select (select extract(epoch from (select stillframe_now()) - started_at)::bigint from gc_runs
                  where orphan_tolerance_seconds is not null and not dry_run and state = 'completed' and report ->> 'orphan_error' is null
                  order by run_id desc limit 1) as whole,
                (select extract(epoch from (select stillframe_now()) - started_at)::bigint from gc_runs
                  where orphan_tolerance_seconds is not null and not dry_run
                  order by run_id desc limit 1) as last_one"
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    Ok(LastLooks {
        whole: row.whole,
        any: row.last_one,
    })
}

/// Notes the end of a run, and why it failed if it did.
pub async fn finish(conn: &mut PgConnection, id: RunId, error: Option<&str>, report: &Report) -> Result<()> {
    sqlx::query!(
        "update gc_runs set state = $2, error = $3, report = $4, finished_at = stillframe_now() where run_id = $1 and state = 'running'",
        id.0,
        if error.is_none() { "completed" } else { "failed" },
        error,
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
        "select run_id, dry_run, grace_seconds, orphan_tolerance_seconds, state, error, report, started_at, finished_at from gc_runs
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
                orphan_tolerance_seconds: r.orphan_tolerance_seconds,
                state: r.state,
                error: r.error,
                report: from_json(r.report)?,
                started_at: r.started_at,
                finished_at: r.finished_at,
            })
        })
        .collect()
}

/// Deletes the history of runs that began before an age, with their items: at most `limit` runs. Gives their number.
pub async fn expire(conn: &mut PgConnection, age_seconds: i64, limit: i64) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from gc_runs where run_id in (
             select run_id from gc_runs where started_at < (select stillframe_now()) - $1::bigint * interval '1 second'
              order by run_id limit $2)",
        age_seconds,
        limit
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected())
}
