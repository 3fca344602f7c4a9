//! Milvus' own API: gRPC and REST v2, on the same port as REST (design §8). It calls the service like any
//! other outer part; what both of its forms mean stands in [`Facade`].

mod facade;
mod grpc;
mod guard;
pub mod names;
pub mod proto;
mod rest;
pub mod status;

use std::time::Duration;

use axum::Router;

pub use facade::{ExportCall, ExternalCall, Facade, RestoreCall, SnapshotCall};
pub use grpc::{CALLS, UNSERVED};
pub use rest::openapi;

/// What the facade may be told by the configuration.
#[derive(Debug, Clone, Copy)]
pub struct MilvusSettings {
    /// Dropping a collection through Milvus' API drops its snapshots too, as in Milvus.
    pub drop_collection_cascades: bool,
    /// A call that takes longer is answered with Milvus' code for a timeout.
    pub timeout: Duration,
    /// Bytes of a message at most, as far as [`MAX_MESSAGE`] allows.
    pub body_bytes: usize,
}

/// Bytes of a message at most, whatever the setting says: the calls that are served are about names and
/// definitions.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;

impl MilvusSettings {
    fn message_bytes(&self) -> usize {
        self.body_bytes.min(MAX_MESSAGE)
    }
}

/// Both forms of the API, to be merged with the other routes of the port.
pub fn router(facade: Facade) -> Router {
    grpc::router(facade.clone()).merge(rest::router(facade))
}
