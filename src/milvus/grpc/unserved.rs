//! Calls that Milvus has and this service has not. They are answered all the same: with a status
//! that says so, since a client tells its user that and not what gRPC says.

use axum::extract::Path;
use axum::response::Response;
use axum::routing::MethodRouter;

use super::call::{self, Call};
use super::reply::Unanswered;
use crate::milvus::Facade;
use crate::milvus::guard::NOT_SERVED;
use crate::milvus::proto::common::Status;
use crate::milvus::proto::milvus::{GetVersionRequest, RefusedResponse};
use crate::milvus::status::{Refusal, code};

/// Why a call is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It reads or writes rows.
    Rows,
    /// It is about what a catalog does not have.
    NotACatalogs,
}

/// Where the answer of a call has its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The answer is the status.
    Status,
    /// It is the first field of the answer, or of the one message of a stream.
    First,
    /// The answer has none, or has it elsewhere: gRPC's own status says it.
    Grpc,
}

use Shape::{First, Grpc, Status as Whole};
use Why::{NotACatalogs as Other, Rows};

/// The calls that are answered with "not served here".
pub const UNSERVED: &[(&str, Why, Shape)] = &[
    ("Insert", Rows, First),
    ("Delete", Rows, First),
    ("Upsert", Rows, First),
    ("Search", Rows, First),
    ("HybridSearch", Rows, First),
    ("Query", Rows, First),
    ("CalcDistance", Rows, First),
    ("Import", Rows, First),
    ("GetImportState", Rows, First),
    ("ListImportTasks", Rows, First),
    ("TruncateCollection", Rows, First),
    ("AddCollectionField", Other, Whole),
    ("AddCollectionFunction", Other, Whole),
    ("AddCollectionStructField", Other, Whole),
    ("AddFileResource", Other, Whole),
    ("AddUserTags", Other, Whole),
    ("AlterCollectionField", Other, Whole),
    ("AlterCollectionFunction", Other, Whole),
    ("AlterCollectionSchema", Other, First),
    ("AlterDatabase", Other, Whole),
    ("AlterRole", Other, Whole),
    ("BackupRBAC", Other, First),
    ("BatchDescribeCollection", Other, First),
    ("BatchUpdateManifest", Other, Whole),
    ("ComputePhraseMatchSlop", Other, First),
    ("CreateCredential", Other, Whole),
    ("CreateNamespace", Other, First),
    ("CreatePrivilegeGroup", Other, Whole),
    ("CreateReplicateStream", Other, Grpc),
    ("CreateResourceGroup", Other, Whole),
    ("CreateRole", Other, Whole),
    ("CreateRowPolicy", Other, Whole),
    ("DeleteCredential", Other, Whole),
    ("DeleteUserTags", Other, Whole),
    ("DescribeNamespace", Other, First),
    ("DescribePrewarmTask", Other, First),
    ("DescribeResourceGroup", Other, First),
    ("DescribeSegmentIndexData", Other, First),
    ("DropCollectionFunction", Other, Whole),
    ("DropNamespace", Other, First),
    ("DropPrivilegeGroup", Other, Whole),
    ("DropResourceGroup", Other, Whole),
    ("DropRole", Other, Whole),
    ("DropRowPolicy", Other, Whole),
    ("Dummy", Other, Grpc),
    ("DumpMessages", Other, First),
    ("FlushAll", Other, First),
    ("GetCompactionState", Other, First),
    ("GetCompactionStateWithPlans", Other, First),
    ("GetComponentStates", Other, Grpc),
    ("GetFlushAllState", Other, First),
    ("GetIndexBuildProgress", Other, First),
    ("GetIndexState", Other, First),
    ("GetIndexStatistics", Other, First),
    ("GetMetrics", Other, First),
    ("GetNamespaceStats", Other, First),
    ("GetPartitionStatistics", Other, First),
    ("GetQuerySegmentInfo", Other, First),
    ("GetRefreshExternalCollectionProgress", Other, First),
    ("GetReplicas", Other, First),
    ("GetReplicateConfiguration", Other, First),
    ("GetReplicateInfo", Other, Grpc),
    ("GetUserTags", Other, First),
    ("HasNamespace", Other, First),
    ("ListCredUsers", Other, First),
    ("ListFileResources", Other, First),
    ("ListIndexedSegment", Other, First),
    ("ListNamespaces", Other, First),
    ("ListPrivilegeGroups", Other, First),
    ("ListRefreshExternalCollectionJobs", Other, First),
    ("ListResourceGroups", Other, First),
    ("ListRowPolicies", Other, First),
    ("ListUsersWithTag", Other, First),
    ("LoadBalance", Other, Whole),
    ("ManualCompaction", Other, First),
    ("OperatePrivilege", Other, Whole),
    ("OperatePrivilegeGroup", Other, Whole),
    ("OperatePrivilegeV2", Other, Whole),
    ("OperateUserRole", Other, Whole),
    ("Prewarm", Other, First),
    ("RefreshExternalCollection", Other, First),
    ("RegisterLink", Other, Grpc),
    ("RemoveFileResource", Other, Whole),
    ("ReplicateMessage", Other, First),
    ("RestoreRBAC", Other, Whole),
    ("RunAnalyzer", Other, First),
    ("SelectGrant", Other, First),
    ("SelectRole", Other, First),
    ("SelectUser", Other, First),
    ("TransferNode", Other, Whole),
    ("TransferReplica", Other, Whole),
    ("UpdateCredential", Other, Whole),
    ("UpdateReplicateConfiguration", Other, Whole),
    ("UpdateResourceGroups", Other, Whole),
];

/// What is served, in a sentence.
const SERVED: &str = "served are the calls about databases, collections, partitions, aliases, index definitions, flushing, \
                      segment information, snapshots, pins, restores and exports";

fn refusal(name: &str, why: Why) -> Refusal {
    let reason = match why {
        Why::Rows => format!("{name} is not served here: this is Stillframe, a catalog of snapshots, without rows; {SERVED}"),
        Why::NotACatalogs => format!("{name} is not served here: this is Stillframe, a catalog of snapshots; {SERVED}"),
    };
    Refusal::new(code::NOT_SUPPORTED, reason)
}

/// The route of a call that is not served. Its message is not looked at.
pub fn refused(name: &'static str, why: Why, shape: Shape) -> MethodRouter<Facade> {
    // any message can be read as one without fields
    match shape {
        Shape::Status => call::unary(name, NOT_SERVED, move |_: Call<GetVersionRequest>| async move {
            Err::<Status, _>(refusal(name, why))
        }),
        Shape::First => call::unary(name, NOT_SERVED, move |_: Call<GetVersionRequest>| async move {
            Err::<RefusedResponse, _>(refusal(name, why))
        }),
        Shape::Grpc => call::unary(name, NOT_SERVED, move |_: Call<GetVersionRequest>| async move {
            Err::<Unanswered, _>(refusal(name, why))
        }),
    }
}

/// Answers a call that this service has never heard of.
pub async fn unknown(Path(name): Path<String>) -> Response {
    tonic::Status::unimplemented(format!("unknown method {name} for service milvus.proto.milvus.MilvusService")).into_http()
}
