//! Objects without a row, and since when they are known.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::failed;
use crate::domain::Result;
use crate::domain::id::RunId;

/// Notes objects that a run found to be orphans; those known before keep their age.
pub async fn see(conn: &mut PgConnection, run: RunId, keys: &[String], sizes: &[i64]) -> Result<()> {
    sqlx::query!(
        "insert into orphans (key, size_bytes, last_seen_run)
         select key, size_bytes, $1 from unnest($2::text[], $3::bigint[]) as u (key, size_bytes)
         on conflict (key) do update set size_bytes = excluded.size_bytes, last_seen_run = excluded.last_seen_run",
        run.0,
        keys,
        sizes
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Forgets those that this run did not find again: they are gone, or have a row now.
pub async fn forget_unseen(conn: &mut PgConnection, run: RunId) -> Result<()> {
    sqlx::query!("delete from orphans where last_seen_run <> $1", run.0)
        .execute(conn)
        .await
        .map_err(failed)?;
    Ok(())
}

/// An orphan.
#[derive(Debug, Clone)]
pub struct Orphan {
    pub key: String,
    pub size_bytes: i64,
    /// By the run that found it first.
    pub first_seen_at: OffsetDateTime,
}

/// Orphans of a run that have been known for so long, by key after a cursor.
pub async fn ripe(conn: &mut PgConnection, run: RunId, tolerance_seconds: i64, after: &str, limit: i64) -> Result<Vec<Orphan>> {
    sqlx::query_as!(
        Orphan,
        "select key, size_bytes, first_seen_at from orphans
          where last_seen_run = $1 and key > $3
            and first_seen_at <= (select stillframe_now()) - $2::bigint * interval '1 second'
          order by key limit $4",
        run.0,
        tolerance_seconds,
        after,
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// The first orphans of a run that have been known for less.
pub async fn young(conn: &mut PgConnection, run: RunId, tolerance_seconds: i64, limit: i64) -> Result<Vec<Orphan>> {
    sqlx::query_as!(
        Orphan,
        "select key, size_bytes, first_seen_at from orphans
          where last_seen_run = $1 and first_seen_at > (select stillframe_now()) - $2::bigint * interval '1 second'
          order by key limit $3",
        run.0,
        tolerance_seconds,
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// Forgets orphans that were deleted.
pub async fn forget(conn: &mut PgConnection, keys: &[String]) -> Result<()> {
    sqlx::query!("delete from orphans where key = any($1)", keys)
        .execute(conn)
        .await
        .map_err(failed)?;
    Ok(())
}

/// Which of these segment ids have a row.
pub async fn known_segments(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<i64>> {
    sqlx::query_scalar!("select segment_id from segments where segment_id = any($1)", ids)
        .fetch_all(conn)
        .await
        .map_err(failed)
}

/// Which of these build ids have a row, of an index build or among the files of a segment being
/// restored or restored (text and JSON key index files have build ids of their own).
pub async fn known_builds(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<i64>> {
    sqlx::query_scalar!("select build_id from index_builds where build_id = any($1)", ids)
        .fetch_all(conn)
        .await
        .map_err(failed)
}

/// Which of these snapshot ids have a row, or are those of snapshots that a running job writes anew.
pub async fn known_snapshots(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        r#"select snapshot_id as "id!" from snapshots where snapshot_id = any($1)
           union all
           select n.target_snapshot_id from materialized_snapshots n join restore_jobs j using (job_id)
            where n.target_snapshot_id = any($1) and (j.finished_at is null or j.cleanup = 'pending')"#,
        ids
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// Which of these manifests, by owner and segment, have a row.
pub async fn known_manifests(conn: &mut PgConnection, manifests: &[(i64, i64)]) -> Result<Vec<(i64, i64)>> {
    let rows = sqlx::query!(
        "select m.owner_snapshot_id, m.segment_id from manifests m
           join unnest($1::bigint[], $2::bigint[]) as w (owner_snapshot_id, segment_id) using (owner_snapshot_id, segment_id)",
        &manifests.iter().map(|m| m.0).collect::<Vec<_>>(),
        &manifests.iter().map(|m| m.1).collect::<Vec<_>>()
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(|r| (r.owner_snapshot_id, r.segment_id)).collect())
}

/// Whether orphans may be deleted; off after a rebuild or a take-over.
pub async fn may_delete(conn: &mut PgConnection) -> Result<bool> {
    sqlx::query_scalar!("select delete_orphans from catalog")
        .fetch_one(conn)
        .await
        .map_err(failed)
}

/// Allows or forbids that orphans are deleted.
pub async fn set_may_delete(conn: &mut PgConnection, allowed: bool) -> Result<()> {
    sqlx::query!("update catalog set delete_orphans = $1", allowed)
        .execute(conn)
        .await
        .map_err(failed)?;
    Ok(())
}
