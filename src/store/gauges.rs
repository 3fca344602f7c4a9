//! Counts for metrics: one bounded look each.

use sqlx::PgConnection;

use super::failed;
use crate::domain::Result;
use crate::domain::gauges::{CollectionAge, Gauges, JobsOf};

/// Counts by state, and ages. Reads every row of snapshots, but only what is not over of jobs,
/// tasks and deliveries; gives the age of the newest snapshot of at most `collections`
/// collections, those where it is oldest.
pub async fn read(conn: &mut PgConnection, collections: i64) -> Result<Gauges> {
    let snapshots = by_state(
        sqlx::query!(r#"select state, count(*) as "count!" from snapshots group by state"#)
            .fetch_all(&mut *conn)
            .await
            .map_err(failed)?
            .into_iter()
            .map(|row| (row.state, row.count)),
    );
    let jobs = sqlx::query_as!(
        JobsOf,
        r#"select case kind when 'export' then 'export' else 'restore' end as "kind!", state, count(*) as "count!"
             from restore_jobs where finished_at is null group by 1, 2"#
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(failed)?;
    let counts = sqlx::query!(
        r#"with n as materialized (select stillframe_now() as now)
           select (select count(*) from restore_tasks where state = 'available') as "available!",
                  (select count(*) from restore_tasks where state = 'running' and lease_expires_at > n.now) as "running!",
                  (select count(*) from restore_tasks where state = 'running' and lease_expires_at <= n.now) as "expired!",
                  (select count(distinct job_id) from restore_tasks t join restore_jobs j using (job_id)
                    where t.waiting_since is not null and j.finished_at is null and j.state <> 'Paused') as "waiting!",
                  (select count(*) from restore_jobs where cleanup = 'pending' and finished_at is not null and kind <> 'export')
                      as "restore_cleanups!",
                  (select count(*) from restore_jobs where cleanup = 'pending' and finished_at is not null and kind = 'export')
                      as "export_cleanups!",
                  (select extract(epoch from n.now - coalesce(
                      (select finished_at from gc_runs where state = 'completed' and not dry_run order by run_id desc limit 1),
                      created_at))::float8 from catalog) as "gc_age!",
                  (select count(*) from webhook_deliveries where state = 'pending') as "pending!",
                  (select coalesce(extract(epoch from n.now - min(created_at)), 0)::float8 from webhook_deliveries
                    where state = 'pending') as "pending_age!",
                  (select count(*) from webhook_deliveries where state = 'gave_up') as "gave_up!",
                  (select count(*) from collections c where c.state = 'active' and not exists (
                        select from snapshots s where s.collection_id = c.collection_id and s.state = 'committed')) as "without!"
             from n"#
    )
    .fetch_one(&mut *conn)
    .await
    .map_err(failed)?;
    let newest = sqlx::query!(
        r#"with newest as (
             select collection_id, max(committed_at) as at from snapshots where state = 'committed' group by collection_id
           )
           select d.name as db, c.name, c.collection_id,
                  greatest(extract(epoch from (select stillframe_now()) - newest.at), 0)::float8 as "age!"
             from newest join collections c using (collection_id) join databases d using (db_id)
            where c.state = 'active' order by newest.at, c.collection_id limit $1"#,
        collections
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(Gauges {
        snapshots,
        jobs,
        available_tasks: counts.available,
        running_tasks: counts.running,
        expired_tasks: counts.expired,
        waiting_jobs: counts.waiting,
        pending_cleanups: (counts.restore_cleanups, counts.export_cleanups),
        gc_age_seconds: counts.gc_age,
        webhook_pending: counts.pending,
        webhook_pending_age_seconds: counts.pending_age,
        webhook_gave_up: counts.gave_up,
        collections_without_snapshot: counts.without,
        newest_snapshots: newest
            .into_iter()
            .map(|row| CollectionAge {
                db_name: row.db,
                collection_name: row.name,
                collection_id: row.collection_id,
                age_seconds: row.age,
            })
            .collect(),
    })
}

fn by_state(rows: impl Iterator<Item = (String, i64)>) -> std::collections::BTreeMap<String, i64> {
    rows.collect()
}
