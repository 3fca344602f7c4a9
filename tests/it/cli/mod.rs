//! The real binary, run as people and scripts run it.

mod bench;
mod catalog;
mod clients;
mod control;
mod demo;
mod etcd;
mod import_world;
mod imports;
mod imports_26;
mod looking;
mod milvus_26;
mod paging;
pub mod process;
mod restores;
mod serve;
pub mod service;
