//! The catalog as a whole: its identity, its clock, its ids.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::failed;
use crate::domain::Result;

/// The identity of this catalog.
pub async fn id(conn: &mut PgConnection) -> Result<Uuid> {
    sqlx::query_scalar!("select catalog_id from catalog")
        .fetch_one(conn)
        .await
        .map_err(failed)
}

/// Whether the catalog knows anything that lies in the storage.
pub async fn is_in_use(conn: &mut PgConnection) -> Result<bool> {
    sqlx::query_scalar!(r#"select exists (select from segments) or exists (select from snapshots) as "in_use!""#)
        .fetch_one(conn)
        .await
        .map_err(failed)
}

/// Now, by the only clock of ages and leases.
pub async fn now(conn: &mut PgConnection) -> Result<OffsetDateTime> {
    sqlx::query_scalar!(r#"select stillframe_now() as "now!""#)
        .fetch_one(conn)
        .await
        .map_err(failed)
}

/// Now, in milliseconds since 1970.
pub async fn now_millis(conn: &mut PgConnection) -> Result<i64> {
    sqlx::query_scalar!(r#"select (extract(epoch from stillframe_now()) * 1000)::bigint as "now!""#)
        .fetch_one(conn)
        .await
        .map_err(failed)
}

/// Which transactions' effects can be seen. When it is the same twice, none that wrote has ended between, in the
/// whole server (PostgreSQL, "Transaction ID and Snapshot Information Functions").
pub async fn visible(conn: &mut PgConnection) -> Result<String> {
    sqlx::query_scalar!(r#"select pg_current_snapshot()::text as "visible!""#)
        .fetch_one(conn)
        .await
        .map_err(failed)
}

/// Reserves a block of ids and gives its first. Not undone by a rollback.
pub async fn allocate_ids(conn: &mut PgConnection, amount: i64) -> Result<i64> {
    sqlx::query_scalar!(r#"select allocate_ids($1) as "first!""#, amount.max(1))
        .fetch_one(conn)
        .await
        .map_err(failed)
}

/// Whether nothing at all was ever entered, and keeps it so for others until the transaction ends.
pub async fn is_empty(conn: &mut PgConnection) -> Result<bool> {
    // whoever registers something waits
    sqlx::query!("lock table collections, snapshots in share row exclusive mode")
        .execute(&mut *conn)
        .await
        .map_err(failed)?;
    sqlx::query_scalar!(
        r#"select not exists (select from collections) and not exists (select from snapshots)
              and not exists (select from restore_jobs) as "empty!""#
    )
    .fetch_one(conn)
    .await
    .map_err(failed)
}

/// Makes sure that ids given out from now on are above this one. Not undone by a rollback.
pub async fn skip_ids(conn: &mut PgConnection, highest: i64) -> Result<()> {
    // as allocate_ids does it: one at a time
    sqlx::query!("select pg_advisory_lock(7234689101)")
        .fetch_one(&mut *conn)
        .await
        .map_err(failed)?;
    let moved = sqlx::query!(
        "select setval('id_allocator', greatest(last_value, $1)) from id_allocator",
        highest
    )
    .fetch_one(&mut *conn)
    .await
    .map_err(failed);
    sqlx::query!("select pg_advisory_unlock(7234689101)")
        .fetch_one(conn)
        .await
        .map_err(failed)?;
    moved.map(drop)
}

/// Moves the clock; for tests.
pub async fn set_clock_offset(conn: &mut PgConnection, millis: i64) -> Result<()> {
    sqlx::query!("update clock set offset_ms = $1", millis)
        .execute(conn)
        .await
        .map_err(failed)?;
    Ok(())
}

/// Wakes the workers of every replica when the transaction commits.
pub async fn notify_workers(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("select pg_notify('stillframe_tasks', '')")
        .execute(conn)
        .await
        .map_err(failed)?;
    Ok(())
}

/// Versions of the migrations that were applied; none when there is no catalog yet.
///
/// # Errors
/// Database errors.
pub async fn applied_migrations(pool: &sqlx::PgPool) -> Result<Vec<i64>> {
    // the table is sqlx' own and not part of our schema, so the macros can't check this
    let there: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(pool)
        .await
        .map_err(failed)?;
    if !there {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("select version from _sqlx_migrations where success")
        .fetch_all(pool)
        .await
        .map_err(failed)
}
