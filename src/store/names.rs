//! The one name table of a database: collections, aliases, and targets of running restores.

use sqlx::PgConnection;

use super::control::held;
use super::error::{on_constraint, violates};
use super::failed;
use super::text::can_be;
use crate::domain::access::Visible;
use crate::domain::collection::Alias;
use crate::domain::id::{CollectionId, DatabaseId};
use crate::domain::{Code, Error, Result};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    Collection,
    Alias,
}

impl NameKind {
    fn as_str(self) -> &'static str {
        match self {
            NameKind::Collection => "collection",
            NameKind::Alias => "alias",
        }
    }
}

/// Takes a name; `taken` makes the error when somebody has it.
pub async fn take(
    conn: &mut PgConnection,
    db: DatabaseId,
    name: &str,
    kind: NameKind,
    collection: CollectionId,
    taken: impl FnOnce() -> Error,
) -> Result<()> {
    let inserted = sqlx::query!(
        "insert into collection_names (db_id, name, kind, collection_id) values ($1, $2, $3, $4)",
        db.0,
        name,
        kind.as_str(),
        collection.0
    )
    .execute(conn)
    .await;
    on_constraint(inserted, "collection_names_pkey", taken)?;
    Ok(())
}

/// Reserves the name of a restore's target; `taken` makes the error when somebody has it. Whoever asks for the same
/// name waits for the caller's transaction, so the server ends that when it hears nothing for three seconds, as after
/// [`super::control::lock`]: a host that goes away now keeps nobody from the name, and leaves nothing.
///
/// # Errors
/// `database_unavailable`, also when others are about to take it for five seconds.
pub async fn reserve(
    conn: &mut PgConnection,
    db: DatabaseId,
    name: &str,
    collection: CollectionId,
    taken: impl FnOnce() -> Error,
) -> Result<()> {
    let inserted = sqlx::query!(
        "with fence as materialized (
             select set_config('idle_in_transaction_session_timeout', '3s', true), set_config('lock_timeout', '5s', true)
         )
         insert into collection_names (db_id, name, kind, collection_id) select $1, $2, 'reserved', $3 from fence",
        db.0,
        name,
        collection.0
    )
    .execute(conn)
    .await;
    match inserted {
        Err(error) if violates(&error, "collection_names_pkey") => Err(taken().because(error)),
        Err(error) => Err(held(error, &format!("the name {name:?}"))),
        Ok(_) => Ok(()),
    }
}

/// Which of these names are taken in a database, by name.
pub async fn taken(conn: &mut PgConnection, db: DatabaseId, names: &[String]) -> Result<Vec<String>> {
    sqlx::query_scalar!(
        "select name from collection_names where db_id = $1 and name = any($2) order by name",
        db.0,
        names
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// Turns the reserved name of a restore's target into a collection name.
///
/// # Errors
/// `internal` when the name is not reserved for it.
pub async fn publish(conn: &mut PgConnection, collection: CollectionId) -> Result<()> {
    let updated = sqlx::query!(
        "update collection_names set kind = 'collection' where collection_id = $1 and kind = 'reserved'",
        collection.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    if updated.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Error::internal("the target's name was not reserved"))
    }
}

/// Frees every name of a collection, its aliases too.
pub async fn release(conn: &mut PgConnection, collection: CollectionId) -> Result<()> {
    sqlx::query!("delete from collection_names where collection_id = $1", collection.0)
        .execute(conn)
        .await
        .map_err(failed)?;
    Ok(())
}

/// Gives a collection another name.
///
/// # Errors
/// `collection_already_exists`.
pub async fn rename(conn: &mut PgConnection, db: DatabaseId, collection: CollectionId, name: &str) -> Result<()> {
    let renamed = sqlx::query!(
        "update collection_names set name = $3 where db_id = $1 and collection_id = $2 and kind = 'collection'",
        db.0,
        collection.0,
        name
    )
    .execute(&mut *conn)
    .await;
    on_constraint(renamed, "collection_names_pkey", || {
        Code::CollectionAlreadyExists.error(format!(
            "the name {name:?} is taken by a collection, an alias or a running restore"
        ))
    })?;
    sqlx::query!(
        "update collections set name = $2 where collection_id = $1",
        collection.0,
        name
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Lists aliases of a database, or of one collection, by name.
pub async fn list_aliases(
    conn: &mut PgConnection,
    db: DatabaseId,
    collection: Option<CollectionId>,
    visible: &Visible,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Alias>> {
    let rows = sqlx::query!(
        "select n.name as alias, n.collection_id, c.name
           from collection_names n join collections c using (collection_id) join databases d on d.db_id = n.db_id
          where n.db_id = $1 and n.kind = 'alias'
            and ($2::bigint is null or n.collection_id = $2)
            and ($3::text is null or n.name > $3)
            and ($5::text[] is null
                 or (exists (select from unnest($5::text[], $6::text[]) as g (db, collection)
                              where d.name like g.db and n.name like g.collection)
                     and exists (select from unnest($5::text[], $6::text[]) as g (db, collection)
                                  where d.name like g.db and c.name like g.collection)))
          order by n.name limit $4",
        db.0,
        collection.map(|c| c.0),
        after,
        limit,
        visible.databases() as _,
        visible.collections() as _
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|r| Alias {
            alias: r.alias,
            collection_id: CollectionId(r.collection_id),
            collection_name: r.name,
        })
        .collect())
}

/// Finds an alias.
pub async fn find_alias(conn: &mut PgConnection, db: DatabaseId, alias: &str) -> Result<Option<Alias>> {
    if !can_be(alias) {
        return Ok(None);
    }
    let row = sqlx::query!(
        "select n.name as alias, n.collection_id, c.name
           from collection_names n join collections c using (collection_id)
          where n.db_id = $1 and n.kind = 'alias' and n.name = $2",
        db.0,
        alias
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(row.map(|r| Alias {
        alias: r.alias,
        collection_id: CollectionId(r.collection_id),
        collection_name: r.name,
    }))
}

/// Finds an alias for changing it: it stays as it is until the end of the transaction.
pub async fn hold_alias(conn: &mut PgConnection, db: DatabaseId, alias: &str) -> Result<Option<Alias>> {
    if !can_be(alias) {
        return Ok(None);
    }
    let row = sqlx::query!(
        r#"select n.collection_id, (select c.name from collections c where c.collection_id = n.collection_id) as "name!"
             from collection_names n where n.db_id = $1 and n.kind = 'alias' and n.name = $2 for update"#,
        db.0,
        alias
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(row.map(|r| Alias {
        alias: alias.to_string(),
        collection_id: CollectionId(r.collection_id),
        collection_name: r.name,
    }))
}

/// Points an existing alias to another collection; false when there is no such alias.
pub async fn move_alias(conn: &mut PgConnection, db: DatabaseId, alias: &str, to: CollectionId) -> Result<bool> {
    let updated = sqlx::query!(
        "update collection_names set collection_id = $3 where db_id = $1 and name = $2 and kind = 'alias'",
        db.0,
        alias,
        to.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(updated.rows_affected() == 1)
}

/// Deletes an alias; false when there is none.
pub async fn delete_alias(conn: &mut PgConnection, db: DatabaseId, alias: &str) -> Result<bool> {
    let deleted = sqlx::query!(
        "delete from collection_names where db_id = $1 and name = $2 and kind = 'alias'",
        db.0,
        alias
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected() == 1)
}
