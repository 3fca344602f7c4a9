//! Dropped segments.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;

use super::{Condemned, Scope, keep_captures_away, owned};
use crate::domain::Result;
use crate::domain::id::CollectionId;
use crate::domain::segment::SegmentContent;
use crate::store::codec::decode;
use crate::store::failed;

/// Dropped segments that nothing needs, by id after a cursor. `going` are the snapshots that a
/// dry run counts as gone.
pub async fn candidates(conn: &mut PgConnection, scope: Scope, going: &[i64], after: i64, limit: i64) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select s.segment_id from segments s
          where s.state in ('dropped', 'condemned') and s.segment_id > $3
            and s.dropped_at <= (select stillframe_now()) - $1::bigint * interval '1 second'
            and (s.collect_after is null or s.collect_after <= (select stillframe_now()))
            and ($2::bigint is null or s.collection_id = $2)
            and not exists (
                  select from manifests m where m.segment_id = s.segment_id and (not $5 or exists (
                       select from snapshot_manifests r
                        where r.segment_id = m.segment_id and r.owner_snapshot_id = m.owner_snapshot_id
                          and r.snapshot_id <> all ($6))))
            and not exists (select from index_builds b where b.segment_id = s.segment_id and b.state not in ('dropped', 'condemned'))
          order by s.segment_id limit $4",
        scope.grace_seconds,
        scope.collection.map(|c| c.0),
        after,
        limit,
        scope.dry_run,
        going
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// The collections of segments, each with those of it.
pub async fn by_collection(conn: &mut PgConnection, ids: &[i64]) -> Result<BTreeMap<i64, Vec<i64>>> {
    let rows = sqlx::query!(
        "select collection_id, segment_id as id from segments where segment_id = any($1)",
        ids
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    let mut found: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for row in rows {
        found.entry(row.collection_id).or_default().push(row.id);
    }
    Ok(found)
}

/// Locks segments of a collection, checks again that nothing references them, and condemns
/// them. From here no snapshot can take them up: only flushed segments are ever referenced.
pub async fn condemn(conn: &mut PgConnection, collection: CollectionId, ids: &[i64]) -> Result<Vec<i64>> {
    keep_captures_away(conn, collection).await?;
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
            and not exists (select from manifests m where m.segment_id = s.segment_id)
         returning s.segment_id",
        &locked
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// The files of segments, every version's: of a materialized segment the newest need not name them all.
pub async fn files(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<Condemned>> {
    let rows = sqlx::query!(
        "select s.segment_id, s.size_bytes, v.content, c.ownership
           from segments s join segment_versions v using (segment_id) join collections c using (collection_id)
          where s.segment_id = any($1) order by s.segment_id, v.version",
        ids
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    let mut found: BTreeMap<i64, (BTreeSet<String>, i64, String)> = BTreeMap::new();
    for row in rows {
        let content: SegmentContent = decode(&row.content)?;
        let of_segment = found
            .entry(row.segment_id)
            .or_insert_with(|| (BTreeSet::new(), row.size_bytes, row.ownership));
        of_segment.0.extend(content.files.files().map(|(file, _)| file.path.clone()));
    }
    let condemned = found
        .into_iter()
        .map(|(id, (paths, size_bytes, ownership))| owned(id, paths.into_iter().collect(), size_bytes, &ownership));
    Ok(condemned.collect())
}

/// Deletes the rows of condemned segments whose objects are gone; those that still have index
/// build rows wait for the next run.
pub async fn delete(conn: &mut PgConnection, ids: &[i64]) -> Result<u64> {
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
