//! Milvus' gRPC API: called as its clients call it, and by its clients.

mod catalog;
mod exports;
pub mod go;
mod guide;
mod numbers;
mod restores;
mod snapshots;
mod unserved;
pub mod wire;
