//! Index definitions. Nothing is built here: the engine builds, and registers its builds.

use serde_json::Value;

use super::call::Call;
use super::schema::{field_name, pairs, params};
use crate::domain::Code;
use crate::domain::collection::Collection;
use crate::domain::index::Index;
use crate::domain::schema::Params;
use crate::milvus::facade::every_page;
use crate::milvus::proto::common::{IndexState, KeyValuePair, Status};
use crate::milvus::proto::milvus::{
    AlterIndexRequest, CreateIndexRequest, DescribeIndexRequest, DescribeIndexResponse, DropIndexRequest, IndexDescription,
};
use crate::milvus::status::{Refusal, code, success};
use crate::service::{IndexChange, NewIndex};

/// Creates an index definition; the same one again is success, as in Milvus.
pub async fn create_index(call: Call<CreateIndexRequest>) -> Result<Status, Refusal> {
    let message = &call.message;
    let db = call.db(&message.db_name);
    let found = call.facade.service.collection(db, &message.collection_name).await?;
    let nested = found.schema.struct_array_fields.iter().flat_map(|s| s.fields.iter());
    let mut fields = found.schema.fields.iter().chain(nested);
    let field = fields.find(|f| f.name == message.field_name).ok_or_else(|| {
        Refusal::new(
            code::FIELD_NOT_FOUND,
            format!("field not found[field={}]", message.field_name),
        )
    })?;
    let user_index_params = params(&message.extra_params);
    let index_name = match message.index_name.as_str() {
        "" => message.field_name.clone(),
        name => name.to_string(),
    };
    let there = indexes(&call, db, &found).await?;
    if let Some(there) = there.iter().find(|i| i.index_name == index_name) {
        if there.field_id == field.field_id && there.user_index_params == user_index_params {
            return Ok(success());
        }
        return Err(Refusal::new(
            code::INDEX_DUPLICATE,
            format!("at most one distinct index is allowed per field: index {index_name} exists already with other parameters"),
        ));
    }
    let index_params = flat(&message.extra_params);
    let new = NewIndex {
        index_id: None,
        field_id: field.field_id,
        index_name,
        type_params: field.type_params.clone(),
        is_auto_index: index_params.get("index_type").is_some_and(|t| t == "AUTOINDEX"),
        index_params,
        user_index_params,
    };
    call.facade.service.create_index(db, &found.name, new).await?;
    Ok(success())
}

/// Parameters one by one: clients put some of them into one JSON text, `params`.
fn flat(given: &[KeyValuePair]) -> Params {
    let mut all = Params::new();
    for pair in given {
        match serde_json::from_str(&pair.value) {
            Ok(Value::Object(inner)) if pair.key == "params" => {
                all.extend(inner.into_iter().map(|(key, value)| match value {
                    Value::String(text) => (key, text),
                    other => (key, other.to_string()),
                }));
            }
            _ => {
                all.insert(pair.key.clone(), pair.value.clone());
            }
        }
    }
    all
}

async fn indexes<T>(call: &Call<T>, db: &str, collection: &Collection) -> Result<Vec<Index>, Refusal> {
    let service = &call.facade.service;
    let name = &collection.name;
    Ok(every_page(|page| async move { service.list_indexes(db, name, &page).await }).await?)
}

/// Describes the indexes of a collection, or those that are named. An index is finished when every
/// flushed row has a build of it.
pub async fn describe_index(call: Call<DescribeIndexRequest>) -> Result<DescribeIndexResponse, Refusal> {
    let message = &call.message;
    let db = call.db(&message.db_name);
    let found = call.facade.service.collection(db, &message.collection_name).await?;
    let coverage = call.facade.service.index_coverage(db, &found.name).await?;
    let mut index_descriptions = Vec::new();
    for index in indexes(&call, db, &found).await? {
        let field = field_name(&found.schema, index.field_id).unwrap_or_default();
        let named = message.index_name.is_empty() || message.index_name == index.index_name;
        let on_field = message.field_name.is_empty() || message.field_name == field;
        if !named || !on_field {
            continue;
        }
        let indexed = coverage.indexed_rows.get(&index.index_id).copied().unwrap_or(0);
        let pending = (coverage.total_rows - indexed).max(0);
        let shown = if index.user_index_params.is_empty() {
            &index.index_params
        } else {
            &index.user_index_params
        };
        index_descriptions.push(IndexDescription {
            index_id: index.index_id.0,
            params: pairs(shown),
            field_name: field.to_string(),
            indexed_rows: indexed,
            total_rows: coverage.total_rows,
            state: match pending {
                0 => IndexState::Finished.into(),
                _ => IndexState::InProgress.into(),
            },
            pending_index_rows: pending,
            index_name: index.index_name,
        });
    }
    if index_descriptions.is_empty() {
        let what = [&message.index_name, &message.field_name]
            .into_iter()
            .find(|name| !name.is_empty())
            .map(|name| format!("[indexName={name}]"))
            .unwrap_or_default();
        return Err(Refusal::new(
            code::INDEX_NOT_FOUND,
            format!("index not found{what}[collection={}]", found.name),
        ));
    }
    Ok(DescribeIndexResponse {
        status: Some(success()),
        index_descriptions,
    })
}

/// Changes the parameters of an index.
pub async fn alter_index(call: Call<AlterIndexRequest>) -> Result<Status, Refusal> {
    let message = &call.message;
    let db = call.db(&message.db_name);
    if message.index_name.is_empty() {
        return Err(Refusal::invalid("index name is empty"));
    }
    if !message.extra_params.is_empty() && !message.delete_keys.is_empty() {
        return Err(Refusal::invalid("cannot provide both delete_keys and extra_params"));
    }
    let set = flat(&message.extra_params).into_iter().map(|(key, value)| (key, Some(value)));
    let dropped = message.delete_keys.iter().map(|key| (key.clone(), None));
    let change = IndexChange {
        params: set.chain(dropped).collect(),
    };
    let changed = call
        .facade
        .service
        .change_index(db, &message.collection_name, &message.index_name, change);
    changed.await?;
    Ok(success())
}

/// Drops an index by its name, or by its field; one that is not there is success, as in Milvus.
pub async fn drop_index(call: Call<DropIndexRequest>) -> Result<Status, Refusal> {
    let message = &call.message;
    let db = call.db(&message.db_name);
    let found = call.facade.service.collection(db, &message.collection_name).await?;
    for index in indexes(&call, db, &found).await? {
        let wanted = match message.index_name.as_str() {
            "" => field_name(&found.schema, index.field_id) == Some(message.field_name.as_str()),
            name => index.index_name == name,
        };
        if wanted {
            match call.facade.service.drop_index(db, &found.name, &index.index_name).await {
                Err(error) if error.code() != Code::IndexNotFound => return Err(error.into()),
                _ => {}
            }
        }
    }
    Ok(success())
}
