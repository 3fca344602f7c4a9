//! Partitions.

use super::call::Call;
use super::databases::{hybrid, millis};
use crate::domain::Code;
use crate::milvus::facade::every_page;
use crate::milvus::names;
use crate::milvus::proto::common::Status;
use crate::milvus::proto::milvus::{
    BoolResponse, CreatePartitionRequest, DropPartitionRequest, HasPartitionRequest, ShowPartitionsRequest,
    ShowPartitionsResponse,
};
use crate::milvus::status::{Refusal, success};

/// Creates a partition; one that is there is success, as in Milvus.
pub async fn create_partition(call: Call<CreatePartitionRequest>) -> Result<Status, Refusal> {
    let message = &call.message;
    let name = names::checked("partition", &message.partition_name)?;
    let db = call.db(&message.db_name);
    let created = call.facade.service.create_partition(db, &message.collection_name, name, None);
    match created.await {
        Err(error) if error.code() != Code::PartitionAlreadyExists => Err(error.into()),
        _ => Ok(success()),
    }
}

/// Says whether there is a partition.
pub async fn has_partition(call: Call<HasPartitionRequest>) -> Result<BoolResponse, Refusal> {
    let message = &call.message;
    let db = call.db(&message.db_name);
    let found = call
        .facade
        .service
        .partition(db, &message.collection_name, &message.partition_name);
    let value = match found.await {
        Ok(_) => true,
        Err(error) if error.code() == Code::PartitionNotFound => false,
        Err(error) => return Err(error.into()),
    };
    Ok(BoolResponse {
        status: Some(success()),
        value,
    })
}

/// Lists the partitions of a collection, or those that are named.
pub async fn show_partitions(call: Call<ShowPartitionsRequest>) -> Result<ShowPartitionsResponse, Refusal> {
    let message = &call.message;
    let service = &call.facade.service;
    let db = call.db(&message.db_name);
    let found = service.collection(db, &message.collection_name).await?;
    let name = &found.name;
    let mut all = every_page(|page| async move { service.list_partitions(db, name, &page).await }).await?;
    if !message.partition_names.is_empty() {
        for name in &message.partition_names {
            if !all.iter().any(|p| p.name == *name) {
                return Err(Code::PartitionNotFound
                    .error(format!("{name:?} in collection {:?}", found.name))
                    .into());
            }
        }
        all.retain(|p| message.partition_names.contains(&p.name));
    }
    let count = all.len();
    Ok(ShowPartitionsResponse {
        status: Some(success()),
        // partitions have no time of their own here
        created_timestamps: vec![hybrid(found.created_at); count],
        created_utc_timestamps: vec![millis(found.created_at); count],
        in_memory_percentages: vec![100; count],
        partition_i_ds: all.iter().map(|p| p.partition_id.0).collect(),
        partition_names: all.into_iter().map(|p| p.name).collect(),
    })
}

/// Drops a partition; one that is not there is success, as in Milvus.
pub async fn drop_partition(call: Call<DropPartitionRequest>) -> Result<Status, Refusal> {
    let message = &call.message;
    let db = call.db(&message.db_name);
    let dropped = call
        .facade
        .service
        .drop_partition(db, &message.collection_name, &message.partition_name);
    match dropped.await {
        Err(error) if error.code() != Code::PartitionNotFound => Err(error.into()),
        _ => Ok(success()),
    }
}
