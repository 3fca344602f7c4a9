//! Aliases.

use super::paths::{check_name, collection, database, gone};
use super::{Service, commit};
use crate::domain::collection::Alias;
use crate::domain::page::{Page, PageRequest};
use crate::domain::{Code, Error, Result};
use crate::store;
use crate::store::names::NameKind;

fn not_found(alias: &str, db_name: &str) -> Error {
    Code::AliasNotFound.error(format!("alias {alias:?} does not exist in database {db_name:?}"))
}

impl Service {
    /// Creates an alias, or with `or_move` points an existing one to another collection. Taking it away from a collection
    /// changes what callers of that one get, so it needs the permission there too.
    ///
    /// # Errors
    /// `collection_not_found`, `alias_already_exists`, `invalid_request`.
    pub async fn set_alias(&self, db_name: &str, alias: &str, collection_name: &str, or_move: bool) -> Result<Alias> {
        self.caller.need_collection(db_name, collection_name)?;
        self.caller.need_collection(db_name, alias)?;
        check_name("/alias", alias)?;
        self.caller.note(format!("alias {alias:?}"));
        let mut tx = self.begin().await?;
        let found = collection(&mut tx, &self.caller, db_name, collection_name).await?;
        if !store::collections::hold(&mut tx, found.collection_id).await? {
            return Err(gone(&found));
        }
        let held = match or_move {
            true => store::names::hold_alias(&mut tx, found.db_id, alias).await?,
            false => None,
        };
        if let Some(held) = &held {
            self.caller.need_named(db_name, alias, &held.collection_name)?;
        }
        let moved = held.is_some() && store::names::move_alias(&mut tx, found.db_id, alias, found.collection_id).await?;
        if !moved {
            store::names::take(&mut tx, found.db_id, alias, NameKind::Alias, found.collection_id, || {
                Code::AliasAlreadyExists.error(format!(
                    "the name {alias:?} is taken by a collection, an alias or a running restore"
                ))
            })
            .await?;
        }
        commit(tx).await?;
        Ok(Alias {
            alias: alias.to_string(),
            collection_id: found.collection_id,
            collection_name: found.name,
        })
    }

    /// Finds an alias.
    ///
    /// # Errors
    /// `alias_not_found`.
    pub async fn alias(&self, db_name: &str, alias: &str) -> Result<Alias> {
        self.caller.need_collection(db_name, alias)?;
        let mut conn = self.conn().await?;
        let db = database(&mut conn, &self.caller, db_name).await?;
        let found = store::names::find_alias(&mut conn, db.db_id, alias)
            .await?
            .ok_or_else(|| not_found(alias, db_name))?;
        self.caller.need_named(db_name, alias, &found.collection_name)?;
        Ok(found)
    }

    /// Lists aliases by name, of one collection when given.
    pub async fn list_aliases(&self, db_name: &str, collection_name: Option<&str>, page: &PageRequest) -> Result<Page<Alias>> {
        let list = format!("aliases?{db_name}&{}", collection_name.unwrap_or_default());
        let after: Option<String> = page.cursor(&list)?;
        let mut conn = self.conn().await?;
        let db = database(&mut conn, &self.caller, db_name).await?;
        let of = match collection_name {
            Some(name) => Some(collection(&mut conn, &self.caller, db_name, name).await?.collection_id),
            None => None,
        };
        let items = store::names::list_aliases(
            &mut conn,
            db.db_id,
            of,
            &self.caller.visible(),
            after.as_deref(),
            page.limit(),
        )
        .await?;
        Ok(page.page(&list, items, |a| a.alias.clone()))
    }

    /// Deletes an alias; as when it is moved, the permission is needed on its collection too.
    ///
    /// # Errors
    /// `alias_not_found`.
    pub async fn drop_alias(&self, db_name: &str, alias: &str) -> Result<()> {
        self.caller.note(format!("alias {alias:?}"));
        self.caller.need_collection(db_name, alias)?;
        let mut tx = self.begin().await?;
        let db = database(&mut tx, &self.caller, db_name).await?;
        let held = store::names::hold_alias(&mut tx, db.db_id, alias).await?;
        let held = held.ok_or_else(|| not_found(alias, db_name))?;
        self.caller.need_named(db_name, alias, &held.collection_name)?;
        store::names::delete_alias(&mut tx, db.db_id, alias).await?;
        commit(tx).await
    }
}
