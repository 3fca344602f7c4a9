//! Calls over gRPC, without a socket.

use axum::Router;
use axum::http::uri::PathAndQuery;
use stillframe::milvus::proto::common::Status;
use stillframe::milvus::proto::milvus as m;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use crate::support::TestApp;

/// Sends one message; gives what gRPC says.
pub async fn send<Req, Rep>(
    router: Router,
    call: &str,
    message: Req,
    metadata: &[(&'static str, &str)],
) -> Result<Rep, tonic::Status>
where
    Req: prost::Message + Default + 'static,
    Rep: prost::Message + Default + 'static,
{
    let path: PathAndQuery = format!("/milvus.proto.milvus.MilvusService/{call}").parse().expect("a path");
    let mut request = tonic::Request::new(message);
    for (key, value) in metadata {
        request.metadata_mut().insert(*key, value.parse().expect("a value"));
    }
    let origin = http_origin();
    let mut client = Grpc::with_origin(router, origin);
    client.ready().await.expect("a router is always ready");
    let codec = ProstCodec::<Req, Rep>::default();
    Ok(client.unary(request, path, codec).await?.into_inner())
}

fn http_origin() -> axum::http::Uri {
    axum::http::Uri::from_static("http://stillframe.test")
}

/// An answer, with its status.
pub trait Answer: prost::Message + Default + 'static {
    fn taken(&self) -> Status;
}

impl Answer for Status {
    fn taken(&self) -> Status {
        self.clone()
    }
}

macro_rules! answers {
    ($($name:ident),+ $(,)?) => {$(
        impl Answer for m::$name {
            fn taken(&self) -> Status {
                self.status.clone().expect("every answer has a status")
            }
        }
    )+};
}

answers! {
    BoolResponse, ConnectResponse, DescribeAliasResponse, DescribeCollectionResponse, DescribeDatabaseResponse,
    DescribeIndexResponse, DescribeSnapshotResponse, ExportSnapshotResponse, FlushResponse, GetCollectionStatisticsResponse, GetFlushStateResponse,
    GetExportSnapshotStateResponse, RestoreExternalSnapshotResponse,
    GetLoadStateResponse, GetLoadingProgressResponse, GetPersistentSegmentInfoResponse, GetRestoreSnapshotStateResponse,
    ListAliasesResponse, ListDatabasesResponse, ListRestoreSnapshotJobsResponse, ListSnapshotsResponse,
    PinSnapshotDataResponse, RestoreSnapshotResponse, ShowCollectionsResponse, ShowPartitionsResponse, RefusedResponse,
}

impl TestApp {
    /// A call that is answered, well or not.
    pub async fn milvus<Rep: Answer>(&self, call: &str, message: impl prost::Message + Default + 'static) -> Rep {
        self.milvus_with(call, message, &[]).await
    }

    /// The same with metadata.
    pub async fn milvus_with<Rep: Answer>(
        &self,
        call: &str,
        message: impl prost::Message + Default + 'static,
        metadata: &[(&'static str, &str)],
    ) -> Rep {
        let answered = send(self.router(), call, message, metadata).await;
        answered.unwrap_or_else(|status| panic!("{call}: gRPC itself says {status:?}"))
    }

    /// A call that succeeds.
    pub async fn milvus_ok<Rep: Answer>(&self, call: &str, message: impl prost::Message + Default + 'static) -> Rep {
        let answer: Rep = self.milvus(call, message).await;
        let status = answer.taken();
        assert_eq!((status.code, status.error_code), (0, 0), "{call}: {status:?}");
        answer
    }

    /// A call that is refused with this code; gives the text.
    pub async fn milvus_refused<Rep: Answer>(
        &self,
        call: &str,
        message: impl prost::Message + Default + 'static,
        code: i32,
    ) -> String {
        let status = self.milvus::<Rep>(call, message).await.taken();
        assert_eq!(status.code, code, "{call}: {status:?}");
        assert_ne!(status.error_code, 0, "{call}: older clients go by this number");
        status.reason
    }
}
