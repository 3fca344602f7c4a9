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
    /// An engine may be writing it.
    pub engine_writes: bool,
}

/// An upload that a run found.
#[derive(Debug, Clone)]
pub struct Seen {
    pub key: String,
    pub upload_id: String,
    /// By the store's time, where it tells it.
    pub initiated_at: Option<OffsetDateTime>,
    pub engine_writes: bool,
}

/// Notes uploads that a run found; those known before keep their age.
pub async fn see(conn: &mut PgConnection, run: RunId, uploads: &[Seen]) -> Result<()> {
    let initiated_at: Vec<Option<OffsetDateTime>> = uploads.iter().map(|u| u.initiated_at).collect();
    sqlx::query!(
        "insert into open_uploads (key, upload_id, initiated_at, engine_writes, last_seen_run)
         select key, upload_id, initiated_at, engine_writes, $1
           from unnest($2::text[], $3::text[], $4::timestamptz[], $5::boolean[]) as u (key, upload_id, initiated_at, engine_writes)
         on conflict (key, upload_id) do update set last_seen_run = excluded.last_seen_run, engine_writes = excluded.engine_writes",
        run.0,
        &uploads.iter().map(|u| u.key.clone()).collect::<Vec<_>>(),
        &uploads.iter().map(|u| u.upload_id.clone()).collect::<Vec<_>>(),
        &initiated_at as &[Option<OffsetDateTime>],
        &uploads.iter().map(|u| u.engine_writes).collect::<Vec<_>>()
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

/// Seconds for which an upload must have been known before it is aborted.
#[derive(Debug, Clone, Copy)]
pub struct Margins {
    /// Where only this service writes.
    pub own: i64,
    /// Where an engine may write.
    pub engine: i64,
}

/// Uploads of a run, ripe ones or the others, by key after a cursor. Ripe is what has been known for so long, or was begun a
/// day before that by the store's time: clocks differ by less.
pub async fn list(
    conn: &mut PgConnection,
    run: RunId,
    margins: Margins,
    ripe: bool,
    after: (&str, &str),
    limit: i64,
) -> Result<Vec<Upload>> {
    sqlx::query_as!(
        Upload,
        "select o.key, o.upload_id, o.first_seen_at, o.engine_writes
           from open_uploads o
          cross join lateral (select (select stillframe_now()) - case when o.engine_writes then $7::bigint else $2::bigint end * interval '1 second' as at) since
          where o.last_seen_run = $1 and (o.key, o.upload_id) > ($4, $5)
            and (o.first_seen_at <= since.at or coalesce(o.initiated_at <= since.at - interval '1 day', false)) = $3
          order by o.key, o.upload_id limit $6",
        run.0,
        margins.own,
        ripe,
        after.0,
        after.1,
        limit,
        margins.engine
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

/// Who may still write the files of a segment or an index build.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    pub id: i64,
    /// A worker: of a running job's target, and of one whose clean-up has not begun.
    pub worker: bool,
    /// An engine: what lives in a collection that is visible.
    pub engine: bool,
}

/// Who may still write these segments; those without a row nobody.
pub async fn written_segments(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<Written>> {
    sqlx::query_as!(
        Written,
        r#"select s.segment_id as id,
                  coalesce(s.state = 'importing' or s.collect_after > (select stillframe_now()), false)
                  or exists (select from restore_jobs j where j.collection_id = s.collection_id and j.kind <> 'export' and j.finished_at is null)
                     as "worker!",
                  c.state = 'active' and s.state in ('growing', 'sealed', 'flushed') as "engine!"
             from segments s join collections c using (collection_id)
            where s.segment_id = any($1)"#,
        ids
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// Who may still write these index builds; those without a row nobody.
pub async fn written_builds(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<Written>> {
    sqlx::query_as!(
        Written,
        r#"select b.build_id as id,
                  coalesce(b.state = 'importing' or b.collect_after > (select stillframe_now()), false)
                  or exists (select from restore_jobs j where j.collection_id = b.collection_id and j.kind <> 'export' and j.finished_at is null)
                     as "worker!",
                  c.state = 'active' and b.state = 'finished' as "engine!"
             from index_builds b join collections c using (collection_id)
            where b.build_id = any($1)"#,
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
