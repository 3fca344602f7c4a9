//! Pins: leases that keep a snapshot from being dropped.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::failed;
use crate::domain::Result;
use crate::domain::id::{PinId, SnapshotId};
use crate::domain::snapshot::Pin;

struct PinRow {
    pin_id: i64,
    snapshot_id: i64,
    owner: String,
    reason: String,
    created_at: OffsetDateTime,
    expires_at: Option<OffsetDateTime>,
}

impl From<PinRow> for Pin {
    fn from(row: PinRow) -> Self {
        Self {
            pin_id: PinId(row.pin_id),
            snapshot_id: SnapshotId(row.snapshot_id),
            owner: row.owner,
            reason: row.reason,
            created_at: row.created_at,
            expires_at: row.expires_at,
        }
    }
}

/// Pins a snapshot, for so many seconds or until the pin is deleted.
pub async fn insert(
    conn: &mut PgConnection,
    pin: PinId,
    snapshot: SnapshotId,
    owner: &str,
    reason: &str,
    ttl_seconds: Option<i64>,
) -> Result<Pin> {
    sqlx::query_as!(
        PinRow,
        "insert into pins (pin_id, snapshot_id, owner, reason, expires_at)
         values ($1, $2, $3, $4, (select stillframe_now()) + $5::bigint * interval '1 second')
         returning pin_id, snapshot_id, owner, reason, created_at, expires_at",
        pin.0,
        snapshot.0,
        owner,
        reason,
        ttl_seconds
    )
    .fetch_one(conn)
    .await
    .map_err(failed)
    .map(Pin::from)
}

/// Lists the pins of a snapshot that have not expired, by id.
pub async fn list(conn: &mut PgConnection, snapshot: SnapshotId, after: Option<i64>, limit: i64) -> Result<Vec<Pin>> {
    let rows = sqlx::query_as!(
        PinRow,
        "select pin_id, snapshot_id, owner, reason, created_at, expires_at from pins
          where snapshot_id = $1 and pin_id > $2 and (expires_at is null or expires_at > (select stillframe_now()))
          order by pin_id limit $3",
        snapshot.0,
        after.unwrap_or(-1),
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(Pin::from).collect())
}

/// Deletes a pin; false when the snapshot has no such pin, or it has expired.
pub async fn delete(conn: &mut PgConnection, snapshot: SnapshotId, pin: PinId) -> Result<bool> {
    let deleted = sqlx::query!(
        "delete from pins where snapshot_id = $1 and pin_id = $2
            and (expires_at is null or expires_at > (select stillframe_now()))",
        snapshot.0,
        pin.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected() == 1)
}

/// Database and collection of the snapshot that a pin is of.
pub async fn place(conn: &mut PgConnection, pin: PinId) -> Result<Option<(String, String)>> {
    let row = sqlx::query!(
        r#"select d.name as db_name, c.name as collection_name from pins p
             join snapshots s on s.snapshot_id = p.snapshot_id
             join databases d on d.db_id = s.db_id
             join collections c on c.collection_id = s.collection_id
            where p.pin_id = $1"#,
        pin.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(row.map(|r| (r.db_name, r.collection_name)))
}

/// Deletes a pin of whatever snapshot, when there is one.
pub async fn delete_any(conn: &mut PgConnection, pin: PinId) -> Result<()> {
    sqlx::query!("delete from pins where pin_id = $1", pin.0)
        .execute(conn)
        .await
        .map_err(failed)?;
    Ok(())
}

/// Deletes expired pins.
pub async fn expire(conn: &mut PgConnection) -> Result<u64> {
    let deleted = sqlx::query!("delete from pins where expires_at <= (select stillframe_now())")
        .execute(conn)
        .await
        .map_err(failed)?;
    Ok(deleted.rows_affected())
}
