//! Partitions.

use sqlx::PgConnection;

use super::{error::on_constraint, failed};
use crate::domain::collection::Partition;
use crate::domain::id::{CollectionId, PartitionId};
use crate::domain::{Code, Error, Result};

/// Inserts a partition.
///
/// # Errors
/// `partition_already_exists` when the name or the id is taken.
pub async fn insert(conn: &mut PgConnection, collection: CollectionId, partition: &Partition) -> Result<()> {
    let inserted = sqlx::query!(
        "insert into partitions (collection_id, partition_id, name) values ($1, $2, $3)",
        collection.0,
        partition.partition_id.0,
        partition.name
    )
    .execute(conn)
    .await;
    let taken = |what: String| Code::PartitionAlreadyExists.error(what);
    match inserted {
        Err(e) if super::error::violates(&e, "partitions_pkey") => {
            Err(taken(format!("partition id {} is in use", partition.partition_id)))
        }
        other => on_constraint(other, "partitions_name_key", || {
            taken(format!("partition {:?} exists already", partition.name))
        })
        .map(|_| ()),
    }
}

/// Lists the living partitions of a collection by name.
pub async fn list(
    conn: &mut PgConnection,
    collection: CollectionId,
    after: Option<&str>,
    limit: Option<i64>,
) -> Result<Vec<Partition>> {
    let rows = sqlx::query!(
        "select partition_id, name from partitions
          where collection_id = $1 and state = 'active' and ($2::text is null or name > $2)
          order by name limit $3",
        collection.0,
        after,
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|r| Partition {
            partition_id: PartitionId(r.partition_id),
            name: r.name,
        })
        .collect())
}

/// Marks a partition as dropped.
///
/// # Errors
/// `internal` when it was dropped in between.
pub async fn mark_dropped(conn: &mut PgConnection, partition: PartitionId) -> Result<()> {
    let updated = sqlx::query!(
        "update partitions set state = 'dropped' where partition_id = $1 and state = 'active'",
        partition.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    if updated.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Error::internal("the partition was dropped in between"))
    }
}
