//! The calls with which clients begin.

use super::call::Call;
use crate::milvus::proto::common::ServerInfo;
use crate::milvus::proto::milvus::{
    AllocTimestampRequest, AllocTimestampResponse, CheckHealthRequest, CheckHealthResponse, ConnectRequest, ConnectResponse,
    GetVersionRequest, GetVersionResponse,
};
use crate::milvus::status::{Refusal, success};

/// Clients read the generation of Milvus' API from its beginning.
const VERSION: &str = concat!("3.0.0-stillframe-", env!("CARGO_PKG_VERSION"));

/// Greets a client.
pub async fn connect(call: Call<ConnectRequest>) -> Result<ConnectResponse, Refusal> {
    let client = call.message.client_info.unwrap_or_default();
    tracing::info!(sdk = client.sdk_type, sdk_version = client.sdk_version, "client connected");
    Ok(ConnectResponse {
        status: Some(success()),
        server_info: Some(ServerInfo {
            build_tags: VERSION.into(),
            deploy_mode: "STANDALONE".into(),
            ..ServerInfo::default()
        }),
        identifier: call.facade.service.timestamp().await?,
    })
}

/// Gives the version.
pub async fn get_version(_: Call<GetVersionRequest>) -> Result<GetVersionResponse, Refusal> {
    Ok(GetVersionResponse {
        status: Some(success()),
        version: VERSION.into(),
    })
}

/// Says whether the catalog answers.
pub async fn check_health(call: Call<CheckHealthRequest>) -> Result<CheckHealthResponse, Refusal> {
    let reason = call.facade.service.timestamp().await.err().map(|e| e.detail().to_string());
    Ok(CheckHealthResponse {
        status: Some(success()),
        is_healthy: reason.is_none(),
        reasons: reason.into_iter().collect(),
    })
}

/// Gives the catalog's time.
pub async fn alloc_timestamp(call: Call<AllocTimestampRequest>) -> Result<AllocTimestampResponse, Refusal> {
    let timestamp = call.facade.service.timestamp().await?;
    Ok(AllocTimestampResponse {
        status: Some(success()),
        timestamp: timestamp.unsigned_abs(),
    })
}
