//! What this catalog's files take.

use sqlx::PgConnection;

use super::failed;
use crate::domain::Result;

/// Bytes of every owned segment and index build that has a row, dropped ones and targets of
/// running restores included: their files are there, or will be.
pub async fn owned_bytes(conn: &mut PgConnection) -> Result<i64> {
    sqlx::query_scalar!(
        r#"select (coalesce((select sum(s.size_bytes) from segments s join collections c using (collection_id)
                              where c.ownership = 'owned'), 0)
                 + coalesce((select sum(b.size_bytes) from index_builds b join collections c using (collection_id)
                              where c.ownership = 'owned'), 0))::bigint as "bytes!""#
    )
    .fetch_one(conn)
    .await
    .map_err(failed)
}

/// Waits until no other transaction is between adding to what is used and its end.
pub async fn lock_quota(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("select pg_advisory_xact_lock(7234689104)")
        .fetch_one(conn)
        .await
        .map_err(failed)?;
    Ok(())
}
