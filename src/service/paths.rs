//! Names to things: databases, collections, partitions. Here the caller's rights are judged, by the
//! names that a request gives and before they are looked up: a refusal does not tell what exists.

use sqlx::PgConnection;

use super::Service;
use crate::domain::access::Caller;
use crate::domain::collection::{Collection, Database, Partition};
use crate::domain::{Code, Error, Result, name};
use crate::store;

/// Checks a name in a request.
pub(super) fn check_name(pointer: &str, text: &str) -> Result<()> {
    name::check(text).map_err(|why| Error::invalid(pointer, why))
}

/// Finds a database in which the caller may do something of this operation. What exactly is judged
/// by whoever goes on from here.
pub(super) async fn database(conn: &mut PgConnection, caller: &Caller, name: &str) -> Result<Database> {
    caller.need_in_database(name)?;
    store::databases::find(conn, name)
        .await?
        .ok_or_else(|| Code::DatabaseNotFound.error(format!("database {name:?} does not exist")))
}

/// Finds a living collection by name or alias; the caller must be permitted to do this by both.
pub(super) async fn collection(conn: &mut PgConnection, caller: &Caller, db_name: &str, name: &str) -> Result<Collection> {
    caller.need_collection(db_name, name)?;
    let db = database(conn, caller, db_name).await?;
    let found = store::collections::find(conn, db.db_id, name)
        .await?
        .ok_or_else(|| Code::CollectionNotFound.error(format!("collection {name:?} does not exist in database {db_name:?}")))?;
    caller.need_named(db_name, name, &found.name)?;
    Ok(found)
}

/// Finds a living partition by name.
pub(super) async fn partition(conn: &mut PgConnection, collection: &Collection, name: &str) -> Result<Partition> {
    let partitions = store::partitions::list(conn, collection.collection_id, None, None).await?;
    partitions.into_iter().find(|p| p.name == name).ok_or_else(|| {
        Code::PartitionNotFound.error(format!(
            "partition {name:?} does not exist in collection {:?}",
            collection.name
        ))
    })
}

/// The error of a collection that went away between being found and being locked.
pub(super) fn gone(collection: &Collection) -> Error {
    Code::CollectionNotFound.error(format!("collection {:?} has just been dropped", collection.name))
}

impl Service {
    /// Finds a living collection by name or alias.
    ///
    /// # Errors
    /// `database_not_found`, `collection_not_found`.
    pub async fn collection(&self, db_name: &str, name: &str) -> Result<Collection> {
        collection(&mut *self.conn().await?, &self.caller, db_name, name).await
    }
}
