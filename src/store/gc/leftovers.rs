//! Rows of dropped partitions and index definitions in living collections. They are kept for the segments and builds that
//! name them; snapshots have copies of their own. (Those of a dropped collection go with it. An external one keeps its own:
//! materializing it gives new ids to all that its snapshots captured.)

use sqlx::PgConnection;

use super::Going;
use crate::domain::Result;
use crate::store::failed;

/// Dropped partitions of living collections that no segment names but those that are `going`, at most `limit`. None of them is
/// ever named again: a segment is registered in a living partition only.
pub async fn partitions(conn: &mut PgConnection, going: &Going, limit: i64) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select p.partition_id from partitions p join collections c using (collection_id)
          where p.state = 'dropped' and c.state = 'active' and c.ownership <> 'external'
            and not exists (select from segments s where s.collection_id = p.collection_id and s.partition_id = p.partition_id
                               and s.segment_id not in (select unnest($2::bigint[])))
          order by p.partition_id limit $1",
        limit,
        &going.segments
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// Deletes their rows.
pub async fn delete_partitions(conn: &mut PgConnection, ids: &[i64]) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from partitions p where p.partition_id = any($1) and p.state = 'dropped'
            and not exists (select from segments s where s.collection_id = p.collection_id and s.partition_id = p.partition_id)",
        ids
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected())
}

/// A dropped index definition.
#[derive(Debug, Clone, Copy)]
pub struct Index {
    pub collection_id: i64,
    pub index_id: i64,
}

/// Dropped index definitions of living collections that no build names but those that are `going`, at most `limit`.
pub async fn indexes(conn: &mut PgConnection, going: &Going, limit: i64) -> Result<Vec<Index>> {
    sqlx::query_as!(
        Index,
        "select i.collection_id, i.index_id from indexes i join collections c using (collection_id)
          where i.state = 'dropped' and c.state = 'active' and c.ownership <> 'external'
            and not exists (select from index_builds b where b.collection_id = i.collection_id and b.index_id = i.index_id
                               and b.build_id not in (select unnest($2::bigint[])))
          order by i.collection_id, i.index_id limit $1",
        limit,
        &going.builds
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// Deletes their rows.
pub async fn delete_indexes(conn: &mut PgConnection, indexes: &[Index]) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from indexes i using unnest($1::bigint[], $2::bigint[]) as d (collection_id, index_id)
          where i.collection_id = d.collection_id and i.index_id = d.index_id and i.state = 'dropped'
            and not exists (select from index_builds b where b.collection_id = i.collection_id and b.index_id = i.index_id)",
        &indexes.iter().map(|i| i.collection_id).collect::<Vec<_>>(),
        &indexes.iter().map(|i| i.index_id).collect::<Vec<_>>()
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected())
}
