//! Aliases.

use super::call::Call;
use crate::milvus::facade::every_page;
use crate::milvus::names;
use crate::milvus::proto::common::Status;
use crate::milvus::proto::milvus::{
    AlterAliasRequest, CreateAliasRequest, DescribeAliasRequest, DescribeAliasResponse, DropAliasRequest, ListAliasesRequest,
    ListAliasesResponse,
};
use crate::milvus::status::{Refusal, success};

/// Creates an alias.
pub async fn create_alias(call: Call<CreateAliasRequest>) -> Result<Status, Refusal> {
    let message = &call.message;
    let alias = names::checked("alias", &message.alias)?;
    let collection = names::collection(&message.collection_name)?;
    let db = call.db(&message.db_name);
    call.facade.create_alias(db, alias, collection).await?;
    Ok(success())
}

/// Points an existing alias to another collection.
pub async fn alter_alias(call: Call<AlterAliasRequest>) -> Result<Status, Refusal> {
    let message = &call.message;
    let alias = names::checked("alias", &message.alias)?;
    let collection = names::collection(&message.collection_name)?;
    let db = call.db(&message.db_name);
    call.facade.service.alias(db, alias).await?;
    call.facade.service.set_alias(db, alias, collection, true).await?;
    Ok(success())
}

/// Deletes an alias.
pub async fn drop_alias(call: Call<DropAliasRequest>) -> Result<Status, Refusal> {
    let db = call.db(&call.message.db_name);
    call.facade.service.drop_alias(db, &call.message.alias).await?;
    Ok(success())
}

/// Says what an alias stands for.
pub async fn describe_alias(call: Call<DescribeAliasRequest>) -> Result<DescribeAliasResponse, Refusal> {
    let db = call.db(&call.message.db_name);
    let found = call.facade.service.alias(db, &call.message.alias).await?;
    Ok(DescribeAliasResponse {
        status: Some(success()),
        db_name: db.to_string(),
        alias: found.alias,
        collection: found.collection_name,
    })
}

/// Lists the aliases of a collection, or of the database.
pub async fn list_aliases(call: Call<ListAliasesRequest>) -> Result<ListAliasesResponse, Refusal> {
    let db = call.db(&call.message.db_name);
    let of = Some(call.message.collection_name.as_str()).filter(|name| !name.is_empty());
    let service = &call.facade.service;
    let all = every_page(|page| async move { service.list_aliases(db, of, &page).await }).await?;
    Ok(ListAliasesResponse {
        status: Some(success()),
        db_name: db.to_string(),
        collection_name: of.unwrap_or_default().to_string(),
        aliases: all.into_iter().map(|a| a.alias).collect(),
    })
}
