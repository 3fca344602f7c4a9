//! Dropped index builds.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::{Condemned, Scope, keep_captures_away, owned};
use crate::domain::Result;
use crate::domain::id::CollectionId;
use crate::domain::index::BuildContent;
use crate::store::codec::decode;
use crate::store::failed;

/// Dropped index builds that nothing needs, by id after a cursor. `going` are the snapshots that a
/// dry run counts as gone.
pub async fn candidates(conn: &mut PgConnection, scope: Scope, going: &[i64], after: i64, limit: i64) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select b.build_id from index_builds b
          where b.state in ('dropped', 'condemned') and b.build_id > $3
            and b.dropped_at <= (select stillframe_now()) - $1::bigint * interval '1 second'
            and (b.collect_after is null or b.collect_after <= (select stillframe_now()))
            and ($2::bigint is null or b.collection_id = $2)
            and not exists (
                  select from manifests m where m.segment_id = b.segment_id and b.build_id = any (m.build_ids) and (not $5 or exists (
                       select from snapshot_manifests r
                        where r.segment_id = m.segment_id and r.owner_snapshot_id = m.owner_snapshot_id
                          and r.snapshot_id <> all ($6))))
          order by b.build_id limit $4",
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

/// The collections of index builds, each with those of it.
pub async fn by_collection(conn: &mut PgConnection, ids: &[i64]) -> Result<BTreeMap<i64, Vec<i64>>> {
    let rows = sqlx::query!(
        "select collection_id, build_id as id from index_builds where build_id = any($1)",
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

/// Locks builds of a collection, checks again that nothing references them, and condemns
/// them.
pub async fn condemn(conn: &mut PgConnection, collection: CollectionId, ids: &[i64]) -> Result<Vec<i64>> {
    keep_captures_away(conn, collection).await?;
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
            and not exists (select from manifests m where m.segment_id = b.segment_id and b.build_id = any (m.build_ids))
         returning b.build_id",
        &locked
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// The files of builds.
pub async fn files(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<Condemned>> {
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
pub async fn delete(conn: &mut PgConnection, ids: &[i64]) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from index_builds where build_id = any($1) and state = 'condemned'",
        ids
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected())
}
