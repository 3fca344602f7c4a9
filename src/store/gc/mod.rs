//! What the collector may take. Candidates are found by one statement, then locked, checked
//! again and condemned in one transaction; only then are objects deleted, then rows.

pub mod builds;
pub mod kept;
pub mod leftovers;
pub mod segments;
pub mod snapshots;

use sqlx::PgConnection;

use super::failed;
use crate::domain::Result;
use crate::domain::id::CollectionId;

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

/// What a dry run counts as gone, by id: what the real one would delete first. Empty in a real run.
#[derive(Debug, Clone, Default)]
pub struct Going {
    pub snapshots: Vec<i64>,
    pub builds: Vec<i64>,
    pub segments: Vec<i64>,
}

/// Makes this session the only one that collects, until it ends; false when another one is. Two collectors at once
/// could otherwise meet in this way: one has read what to delete, the other finishes it, the
/// engine registers the same id anew, and the first deletes living files.
pub async fn try_lock_collector(conn: &mut PgConnection) -> Result<bool> {
    sqlx::query_scalar!(r#"select pg_try_advisory_lock(7234689102) as "locked!""#)
        .fetch_one(conn)
        .await
        .map_err(failed)
}

/// Makes sure that the session which locked the collector still exists.
///
/// # Errors
/// `database_unavailable` when it does not.
pub async fn holds_collector(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("select 1 as one").fetch_one(conn).await.map_err(failed)?;
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

/// Waits a moment until no capture of a collection is under way, and keeps new ones away until the
/// transaction ends: what a capture that shares a manifest relies on is locked by nothing else.
///
/// # Errors
/// `database_unavailable` when it takes longer: whoever waits here makes others wait.
async fn keep_captures_away(conn: &mut PgConnection, collection: CollectionId) -> Result<()> {
    sqlx::query!("select set_config('lock_timeout', '2s', true)")
        .fetch_one(&mut *conn)
        .await
        .map_err(failed)?;
    super::collections::queue(conn, collection, false).await
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

/// Dropped collections of which nothing is left: no segment, no build, no snapshot; but for what is going.
pub async fn empty_collections(conn: &mut PgConnection, scope: Scope, going: &Going) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select c.collection_id from collections c
          where c.state = 'dropped'
            and c.dropped_at <= (select stillframe_now()) - $1::bigint * interval '1 second'
            and ($2::bigint is null or c.collection_id = $2)
            and not exists (select from segments s where s.collection_id = c.collection_id
                               and s.segment_id not in (select unnest($3::bigint[])))
            and not exists (select from snapshots s where s.collection_id = c.collection_id
                               and s.snapshot_id not in (select unnest($4::bigint[])))
          order by c.collection_id limit 1000",
        scope.grace_seconds,
        scope.collection.map(|c| c.0),
        &going.segments,
        &going.snapshots
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
