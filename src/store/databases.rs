//! Databases.

use sqlx::PgConnection;

use super::text::can_be;
use super::{error::on_constraint, failed};
use crate::domain::access::Visible;
use crate::domain::collection::Database;
use crate::domain::id::DatabaseId;
use crate::domain::{Code, Result};

/// Inserts a database.
///
/// # Errors
/// `database_already_exists`.
pub async fn insert(conn: &mut PgConnection, id: DatabaseId, name: &str) -> Result<()> {
    let inserted = sqlx::query!("insert into databases (db_id, name) values ($1, $2)", id.0, name)
        .execute(conn)
        .await;
    on_constraint(inserted, "databases_name_key", || {
        Code::DatabaseAlreadyExists.error(format!("database {name:?} exists already"))
    })?;
    Ok(())
}

/// Finds a database by name.
pub async fn find(conn: &mut PgConnection, name: &str) -> Result<Option<Database>> {
    if !can_be(name) {
        return Ok(None);
    }
    let row = sqlx::query!("select db_id, name, created_at from databases where name = $1", name)
        .fetch_optional(conn)
        .await
        .map_err(failed)?;
    Ok(row.map(|r| Database {
        db_id: DatabaseId(r.db_id),
        name: r.name,
        created_at: r.created_at,
    }))
}

/// Lists databases by name.
pub async fn list(conn: &mut PgConnection, visible: &Visible, after: Option<&str>, limit: i64) -> Result<Vec<Database>> {
    let rows = sqlx::query!(
        "select db_id, name, created_at from databases
          where ($1::text is null or name > $1) and ($3::text[] is null or name like any($3))
          order by name limit $2",
        after,
        limit,
        visible.databases() as _
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|r| Database {
            db_id: DatabaseId(r.db_id),
            name: r.name,
            created_at: r.created_at,
        })
        .collect())
}

/// Deletes a database; none of its collections, snapshots or jobs may be left.
///
/// # Errors
/// `database_not_empty`.
pub async fn delete(conn: &mut PgConnection, id: DatabaseId, name: &str) -> Result<()> {
    let in_use = sqlx::query_scalar!(
        r#"select exists (select from collections where db_id = $1)
               or exists (select from snapshots where db_id = $1) as "in_use!""#,
        id.0
    )
    .fetch_one(&mut *conn)
    .await
    .map_err(failed)?;
    let not_empty = || {
        Code::DatabaseNotEmpty.error(format!(
            "database {name:?} still holds collections, or snapshots of dropped ones"
        ))
    };
    if in_use {
        return Err(not_empty());
    }
    let deleted = sqlx::query!("delete from databases where db_id = $1", id.0)
        .execute(conn)
        .await;
    on_constraint(deleted, "collections_db_id_fkey", not_empty)?;
    Ok(())
}
