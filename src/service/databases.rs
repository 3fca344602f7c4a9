//! Databases.

use super::paths::{check_name, database};
use super::{Service, commit};
use crate::domain::collection::{DEFAULT_DATABASE, Database};
use crate::domain::id::DatabaseId;
use crate::domain::page::{Page, PageRequest};
use crate::domain::{Code, Result};
use crate::store;

impl Service {
    /// Creates a database.
    ///
    /// # Errors
    /// `invalid_request` for the name, `database_already_exists`.
    pub async fn create_database(&self, name: &str) -> Result<Database> {
        self.caller.need_whole_database(name)?;
        check_name("/name", name)?;
        let mut tx = self.begin().await?;
        let id = DatabaseId(store::catalog::allocate_ids(&mut tx, 1).await?);
        store::databases::insert(&mut tx, id, name).await?;
        let created = database(&mut tx, &self.caller, name).await?;
        commit(tx).await?;
        Ok(created)
    }

    /// Finds a database.
    ///
    /// # Errors
    /// `database_not_found`.
    pub async fn database(&self, name: &str) -> Result<Database> {
        database(&mut *self.conn().await?, &self.caller, name).await
    }

    /// Lists databases by name.
    pub async fn list_databases(&self, page: &PageRequest) -> Result<Page<Database>> {
        let after: Option<String> = page.cursor("databases")?;
        let items = store::databases::list(
            &mut *self.conn().await?,
            &self.caller.visible(),
            after.as_deref(),
            page.limit(),
        )
        .await?;
        Ok(page.page("databases", items, |d| d.name.clone()))
    }

    /// Deletes an empty database.
    ///
    /// # Errors
    /// `database_not_found`; `database_not_empty` while anything, a living snapshot too, is inside.
    pub async fn drop_database(&self, name: &str) -> Result<()> {
        self.caller.need_whole_database(name)?;
        if name == DEFAULT_DATABASE {
            return Err(Code::DatabaseNotEmpty.error("the database \"default\" can't be dropped"));
        }
        let mut tx = self.begin().await?;
        let db = database(&mut tx, &self.caller, name).await?;
        store::databases::delete(&mut tx, db.db_id, name).await?;
        commit(tx).await
    }
}
