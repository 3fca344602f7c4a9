//! Calls over gRPC, without a socket.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::http::uri::PathAndQuery;
use prost::Message as _;
use stillframe::milvus::proto::common::Status;
use stillframe::milvus::proto::milvus as m;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;
use tower::ServiceExt as _;

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
    axum::http::Uri::from_static("http://stillframe")
}

/// A message as gRPC frames it.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("small");
    [&[0], &length.to_be_bytes()[..], message].concat()
}

/// The status in the first message of an answer, wherever it has it.
pub fn status_of(answer: &[u8]) -> Status {
    let (head, rest) = answer.split_at(5);
    let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes")) as usize;
    let message = &rest[..length];
    let inside = m::RefusedResponse::decode(message).ok().and_then(|answer| answer.status);
    // else the answer is the status
    inside.unwrap_or_else(|| Status::decode(message).expect("a status"))
}

/// Sends an encoded message under a name of the service and with metadata; gives the bytes of the answer.
pub async fn send_encoded(router: Router, host: &str, call: &str, message: &[u8], metadata: &[(&'static str, &str)]) -> Vec<u8> {
    let mut request = Request::post(format!("http://{host}/milvus.proto.milvus.MilvusService/{call}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in metadata {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(framed(message))).expect("a request");
    let answer = router.oneshot(request).await.expect("never fails");
    to_bytes(answer.into_body(), usize::MAX).await.expect("a body").to_vec()
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
