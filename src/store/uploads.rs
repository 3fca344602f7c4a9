//! Multipart uploads that nobody ends, and since when they are known; who may still write what they would make.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::failed;
use crate::domain::Result;
use crate::domain::id::{CollectionId, RunId};

/// An open upload, by what the store calls it.
#[derive(Debug, Clone)]
pub struct Upload {
    pub key: String,
    pub upload_id: String,
    pub first_seen_at: OffsetDateTime,
}

/// Notes uploads that a run found; those known before keep their age.
pub async fn see(
    conn: &mut PgConnection,
    run: RunId,
    keys: &[String],
    upload_ids: &[String],
    initiated_at: &[Option<OffsetDateTime>],
) -> Result<()> {
    sqlx::query!(
        "insert into open_uploads (key, upload_id, initiated_at, last_seen_run)
         select key, upload_id, initiated_at, $1 from unnest($2::text[], $3::text[], $4::timestamptz[]) as u (key, upload_id, initiated_at)
         on conflict (key, upload_id) do update set last_seen_run = excluded.last_seen_run",
        run.0,
        keys,
        upload_ids,
        initiated_at as &[Option<OffsetDateTime>]
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Forgets those that this run did not find again.
pub async fn forget_unseen(conn: &mut PgConnection, run: RunId) -> Result<()> {
    sqlx::query!("delete from open_uploads where last_seen_run <> $1", run.0)
        .execute(conn)
        .await
        .map_err(failed)?;
    Ok(())
}

/// Uploads of a run, ripe ones or the others, by key after a cursor. Ripe is what has been known for so long, or was begun a
/// day before that by the store's time: clocks differ by less.
pub async fn list(
    conn: &mut PgConnection,
    run: RunId,
    margin_seconds: i64,
    ripe: bool,
    after: (&str, &str),
    limit: i64,
) -> Result<Vec<Upload>> {
    sqlx::query_as!(
        Upload,
        "select key, upload_id, first_seen_at from open_uploads
          where last_seen_run = $1 and (key, upload_id) > ($4, $5)
            and (first_seen_at <= (select stillframe_now()) - $2::bigint * interval '1 second'
                 or coalesce(initiated_at <= (select stillframe_now()) - $2::bigint * interval '1 second' - interval '1 day', false)) = $3
          order by key, upload_id limit $6",
        run.0,
        margin_seconds,
        ripe,
        after.0,
        after.1,
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// Forgets an upload that was aborted.
pub async fn forget(conn: &mut PgConnection, key: &str, upload_id: &str) -> Result<()> {
    sqlx::query!("delete from open_uploads where key = $1 and upload_id = $2", key, upload_id)
        .execute(conn)
        .await
        .map_err(failed)?;
    Ok(())
}

/// Which of these segments a worker may still write: those of a running job's target, and those of one whose clean-up has
/// not begun.
pub async fn written_segments(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select s.segment_id from segments s
          where s.segment_id = any($1)
            and (s.state = 'importing' or s.collect_after > (select stillframe_now())
                 or exists (select from restore_jobs j where j.collection_id = s.collection_id and j.kind <> 'export' and j.finished_at is null))",
        ids
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// Which of these index builds a worker may still write.
pub async fn written_builds(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select b.build_id from index_builds b
          where b.build_id = any($1)
            and (b.state = 'importing' or b.collect_after > (select stillframe_now())
                 or exists (select from restore_jobs j where j.collection_id = b.collection_id and j.kind <> 'export' and j.finished_at is null))",
        ids
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// Which of these jobs have ended: nobody writes their receipts any more.
pub async fn ended_jobs(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select job_id from restore_jobs where job_id = any($1) and finished_at is not null and cleanup <> 'pending'",
        ids
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// Which of these segments and builds are of a collection.
pub async fn of_collection(
    conn: &mut PgConnection,
    collection: CollectionId,
    segments: &[i64],
    builds: &[i64],
) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        r#"select segment_id as "id!" from segments where segment_id = any($2) and collection_id = $1
           union all
           select build_id from index_builds where build_id = any($3) and collection_id = $1"#,
        collection.0,
        segments,
        builds
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}
