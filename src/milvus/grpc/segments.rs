//! Flush and segments.

use super::call::Call;
use crate::domain::id::SegmentId;
use crate::domain::index::IndexBuild;
use crate::domain::segment::{Level, Segment, SegmentState};
use crate::domain::timestamp::to_millis;
use crate::milvus::facade::every_page_as;
use crate::milvus::proto::common::{SegmentLevel as WireLevel, SegmentState as WireState};
use crate::milvus::proto::milvus::{
    FlushRequest, FlushResponse, GetFlushStateRequest, GetFlushStateResponse, GetPersistentSegmentInfoRequest,
    GetPersistentSegmentInfoResponse, PersistentSegmentInfo,
};
use crate::milvus::proto::schema::LongArray;
use crate::milvus::status::{Refusal, success};

/// Seals what is growing. The segments that the engine has still to flush are answered; the client
/// asks `GetFlushState` about them.
pub async fn flush(call: Call<FlushRequest>) -> Result<FlushResponse, Refusal> {
    let message = &call.message;
    let db = call.db(&message.db_name);
    if message.collection_names.is_empty() {
        return Err(Refusal::missing("collection_names is required for flush"));
    }
    let mut response = FlushResponse {
        status: Some(success()),
        db_name: db.to_string(),
        ..FlushResponse::default()
    };
    for name in &message.collection_names {
        let flushed = call.facade.service.flush(db, name, std::time::Duration::ZERO).await?;
        let now = call.facade.service.timestamp().await?;
        let sealed = LongArray {
            data: flushed.unflushed.iter().map(|s| s.0).collect(),
        };
        response.coll_seg_i_ds.insert(name.clone(), sealed);
        response.flush_coll_seg_i_ds.insert(name.clone(), LongArray::default());
        response.coll_seal_times.insert(name.clone(), to_millis(now) / 1000);
        response.coll_flush_ts.insert(name.clone(), now.unsigned_abs());
    }
    Ok(response)
}

/// Says whether the engine has flushed the segments.
pub async fn get_flush_state(call: Call<GetFlushStateRequest>) -> Result<GetFlushStateResponse, Refusal> {
    let message = &call.message;
    if !message.collection_name.is_empty() {
        let db = call.db(&message.db_name);
        call.facade.service.collection(db, &message.collection_name).await?;
    }
    let ids: Vec<SegmentId> = message.segment_i_ds.iter().map(|id| SegmentId(*id)).collect();
    Ok(GetFlushStateResponse {
        status: Some(success()),
        flushed: call.facade.service.are_flushed(&ids).await?,
    })
}

fn state(state: SegmentState) -> WireState {
    match state {
        SegmentState::Importing => WireState::Importing,
        SegmentState::Growing => WireState::Growing,
        SegmentState::Sealed => WireState::Sealed,
        SegmentState::Flushed => WireState::Flushed,
        SegmentState::Dropped | SegmentState::Condemned => WireState::Dropped,
    }
}

fn level(level: Level) -> WireLevel {
    match level {
        Level::Legacy => WireLevel::Legacy,
        Level::L0 => WireLevel::L0,
        Level::L1 => WireLevel::L1,
        Level::L2 => WireLevel::L2,
    }
}

/// Lists the segments that are in files: flushed ones, or those in the states that are named.
pub async fn get_persistent_segment_info(
    call: Call<GetPersistentSegmentInfoRequest>,
) -> Result<GetPersistentSegmentInfoResponse, Refusal> {
    let message = &call.message;
    let db = call.db(&message.db_name);
    let (service, name) = (&call.facade.service, &message.collection_name);
    let info = |(segment, _): (Segment, Vec<IndexBuild>)| {
        let wire = state(segment.state);
        let wanted = match message.states.as_slice() {
            [] => matches!(wire, WireState::Flushed | WireState::Sealed),
            states => states.contains(&wire.into()),
        };
        wanted.then(|| PersistentSegmentInfo {
            segment_id: segment.segment_id.0,
            collection_id: segment.collection_id.0,
            partition_id: segment.partition_id.0,
            num_rows: segment.num_of_rows,
            state: wire.into(),
            level: level(segment.level).into(),
            is_sorted: segment.content.is_sorted,
            storage_version: segment.content.storage_version,
            insert_channel: segment.channel_name,
        })
    };
    let read = |page| async move { service.list_segments(db, name, None, None, &page).await };
    Ok(GetPersistentSegmentInfoResponse {
        status: Some(success()),
        infos: every_page_as(read, info).await?,
    })
}
