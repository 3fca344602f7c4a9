//! Databases.

use time::OffsetDateTime;

use super::call::Call;
use crate::domain::Code;
use crate::domain::timestamp::from_millis;
use crate::milvus::facade::every_page;
use crate::milvus::names;
use crate::milvus::proto::common::Status;
use crate::milvus::proto::milvus::{
    CreateDatabaseRequest, DescribeDatabaseRequest, DescribeDatabaseResponse, DropDatabaseRequest, ListDatabasesRequest,
    ListDatabasesResponse,
};
use crate::milvus::status::{Refusal, code, success};

/// Milliseconds since 1970.
pub fn millis(time: OffsetDateTime) -> u64 {
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
}

/// The hybrid timestamp of a time.
pub fn hybrid(time: OffsetDateTime) -> u64 {
    from_millis(i64::try_from(millis(time)).unwrap_or(0)).unsigned_abs()
}

/// Lists every database.
pub async fn list_databases(call: Call<ListDatabasesRequest>) -> Result<ListDatabasesResponse, Refusal> {
    let service = &call.facade.service;
    let all = every_page(|page| async move { service.list_databases(&page).await }).await?;
    Ok(ListDatabasesResponse {
        status: Some(success()),
        created_timestamp: all.iter().map(|d| hybrid(d.created_at)).collect(),
        db_ids: all.iter().map(|d| d.db_id.0).collect(),
        db_names: all.into_iter().map(|d| d.name).collect(),
    })
}

/// Creates a database. It has no properties here: ones that are given are refused.
pub async fn create_database(call: Call<CreateDatabaseRequest>) -> Result<Status, Refusal> {
    let name = names::checked("database", &call.message.db_name)?;
    if let Some(property) = call.message.properties.first() {
        return Err(Refusal::new(
            code::NOT_SUPPORTED,
            format!("databases have no properties here, not even {}", property.key),
        ));
    }
    match call.facade.service.create_database(name).await {
        Err(error) if error.code() == Code::DatabaseAlreadyExists => {
            Err(Refusal::from(error).say(code::UNTYPED, format!("database already exist: {name}")))
        }
        Err(error) => Err(error.into()),
        Ok(_) => Ok(success()),
    }
}

/// Drops an empty database; one that is not there is success, as in Milvus.
pub async fn drop_database(call: Call<DropDatabaseRequest>) -> Result<Status, Refusal> {
    let name = names::checked("database", &call.message.db_name)?;
    match call.facade.service.drop_database(name).await {
        Err(error) if error.code() != Code::DatabaseNotFound => Err(error.into()),
        _ => Ok(success()),
    }
}

/// Describes a database.
pub async fn describe_database(call: Call<DescribeDatabaseRequest>) -> Result<DescribeDatabaseResponse, Refusal> {
    let found = call.facade.service.database(call.db(&call.message.db_name)).await?;
    Ok(DescribeDatabaseResponse {
        status: Some(success()),
        db_id: found.db_id.0,
        created_timestamp: hybrid(found.created_at),
        db_name: found.name,
        properties: Vec::new(),
    })
}
