//! What every answer has: a status.

use crate::milvus::proto::common::Status;
use crate::milvus::proto::milvus as m;

/// An answer that can say that the call failed.
pub trait Reply: prost::Message + Default + Send + 'static {
    /// The answer of a call that failed: its status and nothing else.
    fn refused(status: Status) -> Self;
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
