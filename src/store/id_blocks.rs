//! Blocks of ids under which only this catalog writes objects.

use sqlx::PgConnection;

use super::{catalog, failed};
use crate::domain::Result;

/// What the ids of a block are given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Snapshot,
    /// Segments and index builds of a restore's target.
    Restore,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Purpose::Snapshot => "snapshot",
            Purpose::Restore => "restore",
        }
    }
}

/// Allocates ids as [`catalog::allocate_ids`] does and remembers what for, in the caller's
/// transaction: so before any object is written under them. Gives the first id.
pub async fn allocate(conn: &mut PgConnection, amount: i64, purpose: Purpose) -> Result<i64> {
    let first = catalog::allocate_ids(conn, amount).await?;
    sqlx::query!(
        "insert into id_blocks (first_id, last_id, purpose) values ($1, $2, $3)",
        first,
        first + amount - 1,
        purpose.as_str()
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(first)
}

/// A block: its first and last id.
pub type Block = (i64, i64);

/// Every block of a purpose, ascending.
pub async fn list(conn: &mut PgConnection, purpose: Purpose) -> Result<Vec<Block>> {
    let rows = sqlx::query!(
        "select first_id, last_id from id_blocks where purpose = $1 order by first_id",
        purpose.as_str()
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(|r| (r.first_id, r.last_id)).collect())
}
