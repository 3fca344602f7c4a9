//! Exports of snapshots, and restores from exports.

use super::call::Call;
use super::databases::millis;
use crate::milvus::facade::ExportInfo;
use crate::milvus::proto::milvus::{
    ExportSnapshotInfo, ExportSnapshotRequest, ExportSnapshotResponse, GetExportSnapshotStateRequest,
    GetExportSnapshotStateResponse, RestoreExternalSnapshotRequest, RestoreExternalSnapshotResponse,
};
use crate::milvus::status::{Refusal, job_reason, success};
use crate::milvus::{ExportCall, ExternalCall, SnapshotCall};

/// Starts an export.
pub async fn export_snapshot(call: Call<ExportSnapshotRequest>) -> Result<ExportSnapshotResponse, Refusal> {
    let message = &call.message;
    let request = ExportCall {
        source: SnapshotCall {
            db_name: call.db(&message.db_name),
            snapshot_name: &message.name,
            collection_name: &message.collection_name,
        },
        target_s3_path: &message.target_s3_path,
        external_spec: &message.external_spec,
    };
    let job_id = call.facade.export_snapshot(request).await?;
    Ok(ExportSnapshotResponse {
        status: Some(success()),
        // the job's state has it when it is known
        snapshot_metadata_uri: String::new(),
        job_id: job_id.0,
    })
}

/// Finds an export.
pub async fn get_export_snapshot_state(
    call: Call<GetExportSnapshotStateRequest>,
) -> Result<GetExportSnapshotStateResponse, Refusal> {
    let found = call.facade.export_job(call.message.job_id).await?;
    Ok(GetExportSnapshotStateResponse {
        status: Some(success()),
        info: Some(info(found)),
    })
}

fn info(found: ExportInfo) -> ExportSnapshotInfo {
    let job = found.job;
    ExportSnapshotInfo {
        job_id: job.job_id.0,
        state: found.state.into(),
        progress: found.progress,
        start_time: millis(job.created_at),
        time_cost: u64::try_from(job.time_cost_ms).unwrap_or(0),
        total_files: job.total_files,
        copied_files: job.done_files,
        total_bytes: job.total_bytes,
        snapshot_metadata_uri: found.snapshot_metadata_uri,
        reason: job_reason(&job),
        snapshot_name: job.snapshot_name,
        db_name: job.db_name,
        collection_name: job.collection_name,
    }
}

/// Starts a restore from an export.
pub async fn restore_external_snapshot(
    call: Call<RestoreExternalSnapshotRequest>,
) -> Result<RestoreExternalSnapshotResponse, Refusal> {
    let message = &call.message;
    let request = ExternalCall {
        db_name: call.db(&message.db_name),
        target_collection_name: &message.target_collection_name,
        snapshot_metadata_uri: &message.snapshot_metadata_uri,
        external_spec: &message.external_spec,
    };
    let job_id = call.facade.restore_external(request).await?;
    Ok(RestoreExternalSnapshotResponse {
        status: Some(success()),
        job_id: job_id.0,
    })
}
