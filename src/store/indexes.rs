//! Index definitions.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::codec::{from_json, to_json};
use super::{error::on_constraint, failed};
use crate::domain::id::{CollectionId, FieldId, IndexId};
use crate::domain::index::Index;
use crate::domain::{Code, Error, Result};

struct IndexRow {
    index_id: i64,
    field_id: i64,
    index_name: String,
    type_params: serde_json::Value,
    index_params: serde_json::Value,
    user_index_params: serde_json::Value,
    is_auto_index: bool,
}

impl TryFrom<IndexRow> for Index {
    type Error = Error;
    fn try_from(row: IndexRow) -> Result<Self> {
        Ok(Self {
            index_id: IndexId(row.index_id),
            field_id: FieldId(row.field_id),
            index_name: row.index_name,
            type_params: from_json(row.type_params)?,
            index_params: from_json(row.index_params)?,
            user_index_params: from_json(row.user_index_params)?,
            is_auto_index: row.is_auto_index,
        })
    }
}

/// Inserts an index definition.
///
/// # Errors
/// `index_already_exists` when the name or the id is taken in the collection.
pub async fn insert(conn: &mut PgConnection, collection: CollectionId, index: &Index) -> Result<()> {
    let inserted = sqlx::query!(
        "insert into indexes (collection_id, index_id, field_id, index_name, type_params, index_params, user_index_params, is_auto_index)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        collection.0,
        index.index_id.0,
        index.field_id.0,
        index.index_name,
        to_json(&index.type_params)?,
        to_json(&index.index_params)?,
        to_json(&index.user_index_params)?,
        index.is_auto_index
    )
    .execute(conn)
    .await;
    match inserted {
        Err(e) if super::error::violates(&e, "indexes_pkey") => {
            Err(Code::IndexAlreadyExists.error(format!("index id {} is in use in this collection", index.index_id)))
        }
        other => on_constraint(other, "indexes_name_key", || {
            Code::IndexAlreadyExists.error(format!("index {:?} exists already", index.index_name))
        })
        .map(|_| ()),
    }
}

/// Lists the living indexes of a collection by name.
pub async fn list(
    conn: &mut PgConnection,
    collection: CollectionId,
    after: Option<&str>,
    limit: Option<i64>,
) -> Result<Vec<Index>> {
    let rows = sqlx::query_as!(
        IndexRow,
        "select index_id, field_id, index_name, type_params, index_params, user_index_params, is_auto_index
           from indexes
          where collection_id = $1 and state = 'active' and ($2::text is null or index_name > $2)
          order by index_name limit $3",
        collection.0,
        after,
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    rows.into_iter().map(Index::try_from).collect()
}

/// Replaces the parameters of an index.
pub async fn set_params(conn: &mut PgConnection, collection: CollectionId, index: &Index) -> Result<()> {
    sqlx::query!(
        "update indexes set index_params = $3, user_index_params = $4
          where collection_id = $1 and index_id = $2 and state = 'active'",
        collection.0,
        index.index_id.0,
        to_json(&index.index_params)?,
        to_json(&index.user_index_params)?
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Rows of flushed segments, and of those that have a build, by index. Levels with deletes only
/// are left out.
pub async fn coverage(conn: &mut PgConnection, collection: CollectionId) -> Result<(i64, HashMap<IndexId, i64>)> {
    let total = sqlx::query_scalar!(
        r#"select least(coalesce(sum(num_of_rows), 0), 9223372036854775807)::bigint as "rows!" from segments
            where collection_id = $1 and state = 'flushed' and level <> 'L0'"#,
        collection.0
    )
    .fetch_one(&mut *conn)
    .await
    .map_err(failed)?;
    let rows = sqlx::query!(
        r#"select b.index_id, least(sum(s.num_of_rows), 9223372036854775807)::bigint as "rows!"
             from index_builds b join segments s using (segment_id)
            where b.collection_id = $1 and b.state = 'finished' and s.state = 'flushed' and s.level <> 'L0'
            group by b.index_id"#,
        collection.0
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok((total, rows.into_iter().map(|r| (IndexId(r.index_id), r.rows)).collect()))
}

/// Drops an index and its builds; false when there is none of this name.
pub async fn drop(conn: &mut PgConnection, collection: CollectionId, index: IndexId) -> Result<bool> {
    let updated = sqlx::query!(
        "update indexes set state = 'dropped' where collection_id = $1 and index_id = $2 and state = 'active'",
        collection.0,
        index.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    if updated.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!(
        "update index_builds set state = 'dropped', dropped_at = (select stillframe_now())
          where collection_id = $1 and index_id = $2 and state = 'finished'",
        collection.0,
        index.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(true)
}
