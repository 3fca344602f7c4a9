//! The swap: the copy takes the place of the external collection, in the caller's transaction.

use sqlx::PgConnection;

use super::super::failed;
use crate::domain::id::{CollectionId, JobId};
use crate::domain::{Error, Result};
use crate::store::segments::DropScope;
use crate::store::{collections, segments};

/// Locks the collection that a job materializes; false when it is not there as it was.
pub async fn lock_source(conn: &mut PgConnection, source: CollectionId, job: JobId) -> Result<bool> {
    collections::queue(conn, source, false).await?;
    let row = sqlx::query_scalar!(
        "select collection_id from collections
          where collection_id = $1 and state = 'active' and materialize_job_id = $2 for update",
        source.0,
        job.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(row.is_some())
}

/// Locks the committed snapshots of a collection: no job begins to read one until the transaction ends.
pub async fn lock_snapshots(conn: &mut PgConnection, source: CollectionId) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select snapshot_id from snapshots where collection_id = $1 and state = 'committed' order by snapshot_id for update",
        source.0
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// A running job that reads one of a collection's snapshots.
pub async fn reader(conn: &mut PgConnection, source: CollectionId) -> Result<Option<i64>> {
    sqlx::query_scalar!(
        "select j.job_id from restore_jobs j join snapshots s using (snapshot_id)
          where s.collection_id = $1 and j.finished_at is null order by j.job_id limit 1",
        source.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)
}

/// Whether anything of a locked source is other than what was copied. Nothing of it can change while the job
/// runs; this makes sure.
pub async fn has_changed(conn: &mut PgConnection, job: JobId, source: CollectionId) -> Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (
               select from snapshots s where s.collection_id = $2 and s.state = 'committed'
                  and not exists (select from materialized_snapshots n
                                   where n.job_id = $1 and n.source_snapshot_id = s.snapshot_id and n.s3_location is not null)
           ) or exists (
               select from materialized_snapshots n where n.job_id = $1
                  and not exists (select from snapshots s where s.snapshot_id = n.source_snapshot_id and s.state = 'committed')
           ) or exists (
               select from segments s where s.collection_id = $2 and s.state not in ('dropped', 'condemned')
                  and not exists (select from restore_tasks t
                                    join segment_versions v on v.segment_id = t.target_segment_id and v.version = s.version
                                   where t.job_id = $1 and t.kind = 'copy' and t.source_segment_id = s.segment_id)
           ) or exists (
               select from index_builds b where b.collection_id = $2 and b.state = 'finished'
                  and not exists (select from restore_builds n join restore_tasks t
                                      on t.job_id = $1 and t.kind = 'copy' and t.target_segment_id = n.target_segment_id
                                   where n.job_id = $1 and n.source_build_id = b.build_id and t.source_segment_id = b.segment_id)
           ) or exists (
               select from snapshot_manifests r join materialized_snapshots n on n.source_snapshot_id = r.snapshot_id
                where n.job_id = $1
                  and not exists (select from snapshot_manifests w join restore_tasks t
                                      on t.job_id = $1 and t.kind = 'copy' and t.target_segment_id = w.segment_id
                                   where w.snapshot_id = n.target_snapshot_id and t.source_segment_id = r.segment_id)
           ) as "changed!""#,
        job.0,
        source.0
    )
    .fetch_one(conn)
    .await
    .map_err(failed)
}

/// Makes the segments and builds of a target what those of its source are: living or dropped. Gives the
/// number of segments.
pub async fn publish(conn: &mut PgConnection, job: JobId, source: CollectionId, target: CollectionId) -> Result<u64> {
    let living = sqlx::query!(
        "update segments t set state = 'flushed'
           from restore_tasks c join segments s on s.segment_id = c.source_segment_id
          where c.job_id = $1 and c.kind = 'copy' and t.segment_id = c.target_segment_id
            and t.state = 'importing' and s.collection_id = $2 and s.state = 'flushed'",
        job.0,
        source.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    // where no version of the source names every file, the row shows one that does: on top of it
    // comes what the source shows
    sqlx::query!(
        "with shown as (
           select c.target_segment_id as segment_id, t.version + 1 as version, v.content, v.file_count, v.size_bytes,
                  v.num_of_rows, v.commit_timestamp
             from restore_tasks c
             join segments s on s.segment_id = c.source_segment_id
             join segments t on t.segment_id = c.target_segment_id
             join segment_versions v on v.segment_id = t.segment_id and v.version = s.version
            where c.job_id = $1 and c.kind = 'copy' and t.state = 'flushed' and t.version <> s.version
         ), added as (
           insert into segment_versions (segment_id, version, content, file_count, size_bytes, num_of_rows, commit_timestamp)
           select segment_id, version, content, file_count, size_bytes, num_of_rows, commit_timestamp from shown
         )
         update segments t set version = w.version, file_count = w.file_count, size_bytes = w.size_bytes,
                num_of_rows = w.num_of_rows, commit_timestamp = w.commit_timestamp
           from shown w where w.segment_id = t.segment_id",
        job.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    let dropped = sqlx::query!(
        "update segments set state = 'dropped', dropped_at = (select stillframe_now())
          where collection_id = $1 and state = 'importing'",
        target.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "update index_builds set state = 'finished' where collection_id = $1 and state = 'importing'",
        target.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    super::let_go(conn, target).await?;
    Ok(living.rows_affected() + dropped.rows_affected())
}

/// Puts a published target in the place of its locked source: its snapshots with their pins and holds, its
/// names. The source is dropped, its snapshots are condemned: the collector takes their rows, and of their
/// objects only those that were written here.
pub async fn swap(conn: &mut PgConnection, job: JobId, source: CollectionId, target: CollectionId) -> Result<()> {
    sqlx::query!(
        "insert into snapshots (snapshot_id, collection_id, db_id, name, description, labels, state, create_ts, channels,
                                segment_count, index_build_count, num_of_rows, file_count, size_bytes, metadata_bytes, left_out,
                                s3_location, created_at, committed_at, hold_owner, hold_reason, held_at)
         select n.target_snapshot_id, $2, s.db_id, s.name, s.description, s.labels, s.state, s.create_ts, n.channels,
                s.segment_count, s.index_build_count, s.num_of_rows, s.file_count, s.size_bytes, n.metadata_bytes, s.left_out,
                n.s3_location, s.created_at, s.committed_at, s.hold_owner, s.hold_reason, s.held_at
           from materialized_snapshots n join snapshots s on s.snapshot_id = n.source_snapshot_id
          where n.job_id = $1",
        job.0,
        target.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "insert into snapshot_descriptions (snapshot_id, description)
         select target_snapshot_id, description from materialized_snapshots where job_id = $1",
        job.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "update pins p set snapshot_id = n.target_snapshot_id from materialized_snapshots n
          where n.job_id = $1 and p.snapshot_id = n.source_snapshot_id",
        job.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    // the history of jobs, and with it their receipts, follows the snapshots
    sqlx::query!(
        "update restore_jobs j set snapshot_id = n.target_snapshot_id from materialized_snapshots n
          where n.job_id = $1 and j.snapshot_id = n.source_snapshot_id",
        job.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "update snapshots s set state = 'condemned', dropped_at = stillframe_now(), hold_owner = null, hold_reason = null, held_at = null
           from materialized_snapshots n where n.job_id = $1 and s.snapshot_id = n.source_snapshot_id",
        job.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    // the source has been the one that channels were reported to and properties were set of
    sqlx::query!(
        "update channels t set seek_timestamp = s.seek_timestamp, seek_msg_id = s.seek_msg_id, seek_msg_group = s.seek_msg_group
           from channels s where t.collection_id = $2 and s.collection_id = $1 and s.shard_no = t.shard_no",
        source.0,
        target.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    segments::drop(conn, source, DropScope::Collection).await?;
    let moved = sqlx::query!(
        "update collection_names set collection_id = $2 where collection_id = $1",
        source.0,
        target.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    if moved.rows_affected() == 0 {
        return Err(Error::internal("the external collection has no name"));
    }
    sqlx::query!(
        "update collections t set name = s.name, properties = s.properties, created_at = s.created_at
           from collections s where t.collection_id = $2 and s.collection_id = $1",
        source.0,
        target.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    collections::mark_dropped(conn, source).await?;
    sqlx::query!(
        "update collections set materialize_job_id = null where collection_id = $1",
        source.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    collections::publish(conn, target).await
}
