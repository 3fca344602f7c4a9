//! Index definitions.

use std::collections::HashMap;

use super::paths::{check_name, collection, gone};
use super::{Service, commit};
use crate::domain::id::{FieldId, IndexId};
use crate::domain::index::Index;
use crate::domain::page::{Page, PageRequest};
use crate::domain::schema::Params;
use crate::domain::{Code, Error, Result};
use crate::store;

/// An index to be registered. An id that is given is kept.
#[derive(Debug, Clone)]
pub struct NewIndex {
    pub index_id: Option<IndexId>,
    pub field_id: FieldId,
    pub index_name: String,
    pub type_params: Params,
    pub index_params: Params,
    pub user_index_params: Params,
    pub is_auto_index: bool,
}

/// A change of an index.
#[derive(Debug, Clone, Default)]
pub struct IndexChange {
    /// Parameters to set; none removes one.
    pub params: Vec<(String, Option<String>)>,
}

/// How much of a collection its indexes cover.
#[derive(Debug, Clone, Default)]
pub struct IndexCoverage {
    pub total_rows: i64,
    pub indexed_rows: HashMap<IndexId, i64>,
}

impl Service {
    /// Registers an index.
    ///
    /// # Errors
    /// `invalid_request`, `collection_not_found`, `index_already_exists`.
    pub async fn create_index(&self, db_name: &str, collection_name: &str, new: NewIndex) -> Result<Index> {
        check_name("/index_name", &new.index_name)?;
        self.caller.note(format!("index {:?}", new.index_name));
        let mut tx = self.begin().await?;
        let found = collection(&mut tx, &self.caller, db_name, collection_name).await?;
        if !store::collections::hold(&mut tx, found.collection_id).await? {
            return Err(gone(&found));
        }
        if !found.schema.field_ids().contains(&new.field_id) {
            return Err(Error::invalid(
                "/field_id",
                format!("collection {:?} has no field {}", found.name, new.field_id),
            ));
        }
        let index_id = match new.index_id {
            Some(id) => id,
            None => IndexId(store::catalog::allocate_ids(&mut tx, 1).await?),
        };
        let index = Index {
            index_id,
            field_id: new.field_id,
            index_name: new.index_name,
            type_params: new.type_params,
            index_params: new.index_params,
            user_index_params: new.user_index_params,
            is_auto_index: new.is_auto_index,
        };
        store::indexes::insert(&mut tx, found.collection_id, &index).await?;
        commit(tx).await?;
        Ok(index)
    }

    /// Finds an index by name.
    ///
    /// # Errors
    /// `collection_not_found`, `index_not_found`.
    pub async fn index(&self, db_name: &str, collection_name: &str, index_name: &str) -> Result<Index> {
        let mut conn = self.conn().await?;
        let found = collection(&mut conn, &self.caller, db_name, collection_name).await?;
        let indexes = store::indexes::list(&mut conn, found.collection_id, None, None).await?;
        indexes.into_iter().find(|i| i.index_name == index_name).ok_or_else(|| {
            Code::IndexNotFound.error(format!("index {index_name:?} does not exist in collection {:?}", found.name))
        })
    }

    /// Lists indexes by name.
    pub async fn list_indexes(&self, db_name: &str, collection_name: &str, page: &PageRequest) -> Result<Page<Index>> {
        let mut conn = self.conn().await?;
        let found = collection(&mut conn, &self.caller, db_name, collection_name).await?;
        let list = format!("indexes?{}", found.collection_id);
        let after: Option<String> = page.cursor(&list)?;
        let items = store::indexes::list(&mut conn, found.collection_id, after.as_deref(), Some(page.limit())).await?;
        Ok(page.page(&list, items, |i| i.index_name.clone()))
    }

    /// Changes the parameters of an index; its builds stay as they are.
    ///
    /// # Errors
    /// `collection_not_found`, `index_not_found`.
    pub async fn change_index(
        &self,
        db_name: &str,
        collection_name: &str,
        index_name: &str,
        change: IndexChange,
    ) -> Result<Index> {
        self.caller.note(format!("index {index_name:?}"));
        let mut tx = self.begin().await?;
        let found = collection(&mut tx, &self.caller, db_name, collection_name).await?;
        if !store::collections::lock(&mut tx, found.collection_id).await? {
            return Err(gone(&found));
        }
        let indexes = store::indexes::list(&mut tx, found.collection_id, None, None).await?;
        let mut index = indexes.into_iter().find(|i| i.index_name == index_name).ok_or_else(|| {
            Code::IndexNotFound.error(format!("index {index_name:?} does not exist in collection {:?}", found.name))
        })?;
        for (key, value) in change.params {
            for params in [&mut index.index_params, &mut index.user_index_params] {
                match &value {
                    Some(value) => params.insert(key.clone(), value.clone()),
                    None => params.remove(&key),
                };
            }
        }
        store::indexes::set_params(&mut tx, found.collection_id, &index).await?;
        commit(tx).await?;
        Ok(index)
    }

    /// Rows of the living, flushed segments of a collection, and how many of them each index has
    /// builds for. Segments with deletes only don't count.
    ///
    /// # Errors
    /// `collection_not_found`.
    pub async fn index_coverage(&self, db_name: &str, collection_name: &str) -> Result<IndexCoverage> {
        let mut conn = self.conn().await?;
        let found = collection(&mut conn, &self.caller, db_name, collection_name).await?;
        let (total_rows, indexed_rows) = store::indexes::coverage(&mut conn, found.collection_id).await?;
        Ok(IndexCoverage {
            total_rows,
            indexed_rows,
        })
    }

    /// Drops an index and its builds. What snapshots need of them stays.
    ///
    /// # Errors
    /// `collection_not_found`, `index_not_found`.
    pub async fn drop_index(&self, db_name: &str, collection_name: &str, index_name: &str) -> Result<()> {
        self.caller.note(format!("index {index_name:?}"));
        let index = self.index(db_name, collection_name, index_name).await?;
        let mut tx = self.begin().await?;
        let found = collection(&mut tx, &self.caller, db_name, collection_name).await?;
        if !store::collections::lock(&mut tx, found.collection_id).await? {
            return Err(gone(&found));
        }
        if !store::indexes::drop(&mut tx, found.collection_id, index.index_id).await? {
            return Err(Code::IndexNotFound.error(format!("index {index_name:?} has just been dropped")));
        }
        commit(tx).await
    }
}
