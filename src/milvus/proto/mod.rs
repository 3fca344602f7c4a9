//! Messages of Milvus' calls. The `.rs` files are written from the `.proto` files beside them by
//! `make proto`; `make lint` checks that they are up to date, a test that the numbers are Milvus'.

#[allow(clippy::all, missing_docs)]
#[rustfmt::skip]
pub mod common;
#[allow(clippy::all, missing_docs)]
#[rustfmt::skip]
#[allow(clippy::module_inception)]
pub mod milvus;
#[allow(clippy::all, missing_docs)]
#[rustfmt::skip]
pub mod schema;
