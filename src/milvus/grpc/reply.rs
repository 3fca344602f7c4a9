//! What every answer has: a status.

use crate::milvus::proto::common::Status;
use crate::milvus::proto::milvus as m;
use crate::milvus::status::code;

/// An answer that can say that the call failed.
pub trait Reply: prost::Message + Default + Send + 'static {
    /// The answer of a call that failed: its status and nothing else.
    fn refused(status: Status) -> Self;

    /// What gRPC sends: the answer.
    ///
    /// # Errors
    /// Its own status, of an answer that can't say why the call failed.
    fn sent(self) -> Result<tonic::Response<Self>, tonic::Status> {
        Ok(tonic::Response::new(self))
    }
}

impl Reply for Status {
    fn refused(status: Status) -> Self {
        status
    }
}

macro_rules! replies {
    ($($name:ident),+ $(,)?) => {$(
        impl Reply for m::$name {
            fn refused(status: Status) -> Self {
                Self { status: Some(status), ..Self::default() }
            }
        }
    )+};
}

replies! {
    AllocTimestampResponse,
    BoolResponse,
    CheckHealthResponse,
    ConnectResponse,
    DescribeAliasResponse,
    DescribeCollectionResponse,
    DescribeDatabaseResponse,
    DescribeIndexResponse,
    DescribeSnapshotResponse,
    ExportSnapshotResponse,
    FlushResponse,
    GetCollectionStatisticsResponse,
    GetExportSnapshotStateResponse,
    GetFlushStateResponse,
    GetLoadStateResponse,
    GetLoadingProgressResponse,
    GetPersistentSegmentInfoResponse,
    GetRestoreSnapshotStateResponse,
    GetVersionResponse,
    ListAliasesResponse,
    ListDatabasesResponse,
    ListRestoreSnapshotJobsResponse,
    ListSnapshotsResponse,
    PinSnapshotDataResponse,
    RestoreExternalSnapshotResponse,
    RestoreSnapshotResponse,
    ShowCollectionsResponse,
    ShowPartitionsResponse,
}

impl Reply for m::RefusedResponse {
    fn refused(status: Status) -> Self {
        Self { status: Some(status) }
    }
}

/// In the place of an answer that has no status: it is never sent.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Unanswered {
    #[prost(message, required, tag = "1")]
    status: Status,
}

impl Reply for Unanswered {
    fn refused(status: Status) -> Self {
        Self { status }
    }

    fn sent(self) -> Result<tonic::Response<Self>, tonic::Status> {
        let code = match self.status.code {
            code::NOT_SUPPORTED => tonic::Code::Unimplemented,
            code::NOT_AUTHENTICATED => tonic::Code::Unauthenticated,
            code::PRIVILEGE_NOT_PERMITTED => tonic::Code::PermissionDenied,
            code::RATE_LIMIT => tonic::Code::ResourceExhausted,
            code::TIMEOUT => tonic::Code::DeadlineExceeded,
            code::SERVICE_UNAVAILABLE => tonic::Code::Unavailable,
            _ => tonic::Code::Internal,
        };
        Err(tonic::Status::new(code, self.status.reason))
    }
}
