//! Load and release, as a catalog answers them: nothing is ever held in memory here, so there is
//! nothing to wait for. A collection that exists counts as loaded, so that clients go on.

use super::call::Call;
use crate::domain::Code;
use crate::milvus::proto::common::{LoadState, Status};
use crate::milvus::proto::milvus::{
    GetLoadStateRequest, GetLoadStateResponse, GetLoadingProgressRequest, GetLoadingProgressResponse, LoadCollectionRequest,
    LoadPartitionsRequest, ReleaseCollectionRequest, ReleasePartitionsRequest,
};
use crate::milvus::status::{Refusal, success};

/// Checks that the collection and the partitions are there.
async fn are_there<T>(call: &Call<T>, db_name: &str, collection: &str, partitions: &[String]) -> Result<(), Refusal> {
    let (service, db) = (&call.facade.service, call.db(db_name));
    service.collection(db, collection).await?;
    for partition in partitions {
        service.partition(db, collection, partition).await?;
    }
    Ok(())
}

/// Does nothing.
pub async fn load_collection(call: Call<LoadCollectionRequest>) -> Result<Status, Refusal> {
    are_there(&call, &call.message.db_name, &call.message.collection_name, &[]).await?;
    Ok(success())
}

/// Does nothing.
pub async fn release_collection(call: Call<ReleaseCollectionRequest>) -> Result<Status, Refusal> {
    are_there(&call, &call.message.db_name, &call.message.collection_name, &[]).await?;
    Ok(success())
}

/// Does nothing.
pub async fn load_partitions(call: Call<LoadPartitionsRequest>) -> Result<Status, Refusal> {
    let message = &call.message;
    are_there(&call, &message.db_name, &message.collection_name, &message.partition_names).await?;
    Ok(success())
}

/// Does nothing.
pub async fn release_partitions(call: Call<ReleasePartitionsRequest>) -> Result<Status, Refusal> {
    let message = &call.message;
    are_there(&call, &message.db_name, &message.collection_name, &message.partition_names).await?;
    Ok(success())
}

/// Says that loading has ended.
pub async fn get_loading_progress(call: Call<GetLoadingProgressRequest>) -> Result<GetLoadingProgressResponse, Refusal> {
    let message = &call.message;
    are_there(&call, &message.db_name, &message.collection_name, &message.partition_names).await?;
    Ok(GetLoadingProgressResponse {
        status: Some(success()),
        progress: 100,
        refresh_progress: 100,
    })
}

/// Says whether the collection exists.
pub async fn get_load_state(call: Call<GetLoadStateRequest>) -> Result<GetLoadStateResponse, Refusal> {
    let message = &call.message;
    let there = call
        .facade
        .service
        .collection(call.db(&message.db_name), &message.collection_name)
        .await;
    let state = match there {
        Ok(_) => LoadState::Loaded,
        Err(error) if error.code() == Code::CollectionNotFound => LoadState::NotExist,
        Err(error) => return Err(error.into()),
    };
    Ok(GetLoadStateResponse {
        status: Some(success()),
        state: state.into(),
    })
}
