//! What the collector may take. Candidates are found by one statement, then locked, checked
//! again and condemned in one transaction; only then are objects deleted, then rows.

use sqlx::PgConnection;

use super::codec::decode;
use super::failed;
use crate::domain::Result;
use crate::domain::id::{CollectionId, SnapshotId};
use crate::domain::index::BuildContent;
use crate::domain::segment::SegmentContent;

/// Which things a run looks at.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// Seconds since the drop that must have passed.
    pub grace_seconds: i64,
    /// Only this collection; every one when none.
    pub collection: Option<CollectionId>,
    /// Nothing will be changed: look past the snapshots that a real run would delete first.
    pub dry_run: bool,
}

/// Waits until this session is the only one that collects, until it ends. Two collectors at once
/// could otherwise meet in this way: one has read what to delete, the other finishes it, the
/// engine registers the same id anew, and the first deletes living files.
pub async fn lock_collector(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("select pg_advisory_lock(7234689102)")
        .fetch_one(conn)
        .await
        .map_err(failed)?;
    Ok(())
}

/// Whether a segment or a build of a collection has a row.
pub async fn anything_left(conn: &mut PgConnection, collection: CollectionId) -> Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from segments where collection_id = $1)
               or exists (select from index_builds b join segments s using (segment_id) where s.collection_id = $1) as "left!""#,
        collection.0
    )
    .fetch_one(conn)
    .await
    .map_err(failed)
}

/// Something whose objects are to be deleted.
#[derive(Debug, Clone)]
pub struct Condemned {
    pub id: i64,
    /// Paths relative to the storage root; empty for external collections.
    pub paths: Vec<String>,
    pub size_bytes: i64,
}

/// Dropped segments that nothing needs, by id after a cursor.
pub async fn segment_candidates(conn: &mut PgConnection, scope: Scope, after: i64, limit: i64) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select s.segment_id from segments s
          where s.state in ('dropped', 'condemned') and s.segment_id > $3
            and s.dropped_at <= (select stillframe_now()) - $1::bigint * interval '1 second'
            and (s.collect_after is null or s.collect_after <= (select stillframe_now()))
            and ($2::bigint is null or s.collection_id = $2)
            and not exists (
                  select from snapshot_segments r join snapshots p using (snapshot_id)
                   where r.segment_id = s.segment_id
                     and not ($5 and p.state = 'deleting'
                              and p.dropped_at <= (select stillframe_now()) - $1::bigint * interval '1 second'
                              and not exists (select from restore_jobs j where j.snapshot_id = p.snapshot_id and j.finished_at is null)))
            and not exists (select from index_builds b where b.segment_id = s.segment_id and b.state not in ('dropped', 'condemned'))
          order by s.segment_id limit $4",
        scope.grace_seconds,
        scope.collection.map(|c| c.0),
        after,
        limit,
        scope.dry_run
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// Locks segments, checks again that nothing references them, and condemns them. From here no
/// snapshot can take them up: only flushed segments are ever referenced.
pub async fn condemn_segments(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<i64>> {
    let locked = sqlx::query_scalar!(
        "select segment_id from segments where segment_id = any($1) and state in ('dropped', 'condemned')
          order by segment_id for update skip locked",
        ids
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(failed)?;
    // a new statement, so that it sees every reference committed before the locks were granted
    sqlx::query_scalar!(
        "update segments s set state = 'condemned'
          where s.segment_id = any($1)
            and not exists (select from snapshot_segments r where r.segment_id = s.segment_id)
         returning s.segment_id",
        &locked
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// The files of segments, every version's.
pub async fn segment_files(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<Condemned>> {
    let rows = sqlx::query!(
        "select s.segment_id, s.size_bytes, v.content, c.ownership
           from segments s join segment_versions v using (segment_id, version) join collections c using (collection_id)
          where s.segment_id = any($1) order by s.segment_id",
        ids
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            // versions only ever append, so the newest names every file
            let content: SegmentContent = decode(&row.content)?;
            let paths = content.files.files().map(|(file, _)| file.path.clone()).collect();
            Ok(owned(row.segment_id, paths, row.size_bytes, &row.ownership))
        })
        .collect()
}

fn owned(id: i64, paths: Vec<String>, size_bytes: i64, ownership: &str) -> Condemned {
    if ownership == "owned" {
        Condemned { id, paths, size_bytes }
    } else {
        Condemned {
            id,
            paths: Vec::new(),
            size_bytes: 0,
        }
    }
}

/// Deletes the rows of condemned segments whose objects are gone; those that still have index
/// build rows wait for the next run.
pub async fn delete_segments(conn: &mut PgConnection, ids: &[i64]) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from segments s where s.segment_id = any($1) and s.state = 'condemned'
            and not exists (select from index_builds b where b.segment_id = s.segment_id)",
        ids
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected())
}

/// Dropped index builds that nothing needs, by id after a cursor.
pub async fn build_candidates(conn: &mut PgConnection, scope: Scope, after: i64, limit: i64) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select b.build_id from index_builds b
          where b.state in ('dropped', 'condemned') and b.build_id > $3
            and b.dropped_at <= (select stillframe_now()) - $1::bigint * interval '1 second'
            and (b.collect_after is null or b.collect_after <= (select stillframe_now()))
            and ($2::bigint is null or b.collection_id = $2)
            and not exists (
                  select from snapshot_builds r join snapshots p using (snapshot_id)
                   where r.build_id = b.build_id
                     and not ($5 and p.state = 'deleting'
                              and p.dropped_at <= (select stillframe_now()) - $1::bigint * interval '1 second'
                              and not exists (select from restore_jobs j where j.snapshot_id = p.snapshot_id and j.finished_at is null)))
          order by b.build_id limit $4",
        scope.grace_seconds,
        scope.collection.map(|c| c.0),
        after,
        limit,
        scope.dry_run
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// Locks builds, checks again that nothing references them, and condemns them.
pub async fn condemn_builds(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<i64>> {
    let locked = sqlx::query_scalar!(
        "select build_id from index_builds where build_id = any($1) and state in ('dropped', 'condemned')
          order by build_id for update skip locked",
        ids
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(failed)?;
    sqlx::query_scalar!(
        "update index_builds b set state = 'condemned'
          where b.build_id = any($1)
            and not exists (select from snapshot_builds r where r.build_id = b.build_id)
         returning b.build_id",
        &locked
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// The files of builds.
pub async fn build_files(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<Condemned>> {
    let rows = sqlx::query!(
        "select b.build_id, b.size_bytes, b.content, c.ownership
           from index_builds b join collections c using (collection_id)
          where b.build_id = any($1) order by b.build_id",
        ids
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            let content: BuildContent = decode(&row.content)?;
            let paths = content.files.into_iter().map(|f| f.path).collect();
            Ok(owned(row.build_id, paths, row.size_bytes, &row.ownership))
        })
        .collect()
}

/// Deletes the rows of condemned builds whose objects are gone.
pub async fn delete_builds(conn: &mut PgConnection, ids: &[i64]) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from index_builds where build_id = any($1) and state = 'condemned'",
        ids
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected())
}

/// Marks pending snapshots whose lease has expired; in a dry run only counts them.
pub async fn expire_pending_snapshots(conn: &mut PgConnection, dry_run: bool) -> Result<i64> {
    if dry_run {
        return sqlx::query_scalar!(
            r#"select count(*) as "count!" from snapshots where state = 'pending' and lease_expires_at <= (select stillframe_now())"#
        )
        .fetch_one(conn)
        .await
        .map_err(failed);
    }
    let expired = sqlx::query!(
        "update snapshots set state = 'deleting', dropped_at = stillframe_now(), lease_token = null, lease_expires_at = null
          where state = 'pending' and lease_expires_at <= (select stillframe_now())"
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(i64::try_from(expired.rows_affected()).unwrap_or(i64::MAX))
}

/// A dropped snapshot past its grace period.
#[derive(Debug, Clone, Copy)]
pub struct DroppedSnapshot {
    pub snapshot_id: SnapshotId,
    pub collection_id: CollectionId,
    pub metadata_bytes: i64,
}

/// Dropped snapshots past their grace period that no job is reading, by id after a cursor.
pub async fn dropped_snapshots(
    conn: &mut PgConnection,
    grace_seconds: i64,
    after: i64,
    limit: i64,
) -> Result<Vec<DroppedSnapshot>> {
    let rows = sqlx::query!(
        "select s.snapshot_id, s.collection_id, s.metadata_bytes from snapshots s
          where s.state = 'deleting' and s.snapshot_id > $2
            and s.dropped_at <= (select stillframe_now()) - $1::bigint * interval '1 second'
            and not exists (select from restore_jobs j where j.snapshot_id = s.snapshot_id and j.finished_at is null)
          order by s.snapshot_id limit $3",
        grace_seconds,
        after,
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|r| DroppedSnapshot {
            snapshot_id: SnapshotId(r.snapshot_id),
            collection_id: CollectionId(r.collection_id),
            metadata_bytes: r.metadata_bytes,
        })
        .collect())
}

/// Segment ids that a snapshot references, by id after a cursor.
pub async fn referenced_segments(conn: &mut PgConnection, snapshot: SnapshotId, after: i64, limit: i64) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select segment_id from snapshot_segments where snapshot_id = $1 and segment_id > $2 order by segment_id limit $3",
        snapshot.0,
        after,
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// Deletes the row of a dropped snapshot and its references, once its objects are gone.
pub async fn delete_snapshot(conn: &mut PgConnection, snapshot: SnapshotId) -> Result<()> {
    sqlx::query!("delete from snapshot_builds where snapshot_id = $1", snapshot.0)
        .execute(&mut *conn)
        .await
        .map_err(failed)?;
    sqlx::query!("delete from snapshot_segments where snapshot_id = $1", snapshot.0)
        .execute(&mut *conn)
        .await
        .map_err(failed)?;
    sqlx::query!(
        "delete from snapshots where snapshot_id = $1 and state = 'deleting'",
        snapshot.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Dropped collections of which nothing is left: no segment, no build, no snapshot.
pub async fn empty_collections(conn: &mut PgConnection, scope: Scope) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select c.collection_id from collections c
          where c.state = 'dropped'
            and c.dropped_at <= (select stillframe_now()) - $1::bigint * interval '1 second'
            and ($2::bigint is null or c.collection_id = $2)
            and not exists (select from segments s where s.collection_id = c.collection_id)
            and not exists (select from snapshots s where s.collection_id = c.collection_id)
          order by c.collection_id limit 1000",
        scope.grace_seconds,
        scope.collection.map(|c| c.0)
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// Deletes the rows of collections of which nothing is left.
pub async fn delete_collections(conn: &mut PgConnection, ids: &[i64]) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from collections c where c.collection_id = any($1) and c.state = 'dropped'
            and not exists (select from segments s where s.collection_id = c.collection_id)
            and not exists (select from snapshots s where s.collection_id = c.collection_id)",
        ids
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected())
}

/// Counts what is dropped and kept: needed by snapshots, and within the grace period.
pub async fn kept(conn: &mut PgConnection, grace_seconds: i64) -> Result<(i64, i64)> {
    let row = sqlx::query!(
        r#"select (select count(*) from segments s where s.state = 'dropped'
                      and exists (select from snapshot_segments r where r.segment_id = s.segment_id))
                + (select count(*) from index_builds b where b.state = 'dropped'
                      and exists (select from snapshot_builds r where r.build_id = b.build_id)) as "snapshots!",
                  (select count(*) from segments s where s.state = 'dropped'
                      and s.dropped_at > (select stillframe_now()) - $1::bigint * interval '1 second')
                + (select count(*) from index_builds b where b.state = 'dropped'
                      and b.dropped_at > (select stillframe_now()) - $1::bigint * interval '1 second')
                + (select count(*) from snapshots s where s.state = 'deleting'
                      and s.dropped_at > (select stillframe_now()) - $1::bigint * interval '1 second') as "grace!""#,
        grace_seconds
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    Ok((row.snapshots, row.grace))
}
