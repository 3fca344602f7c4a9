//! Stillframe: snapshots and restores for vector collections on object storage.
//!
//! Who may know whom (checked by a test, `tests/it/architecture.rs`):
//!
//! ```text
//! domain <- store, objects <- service <- {api, jobs} <- app <- cli
//! ```
//!
//! `tls` knows nothing and is used by `config` and `app`. `crash_point` knows nothing and may be used by `service`.

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod crash_point;
pub mod domain;
pub mod jobs;
pub mod lifecycle;
pub mod objects;
pub mod private_postgres;
pub mod service;

pub mod store;
pub mod telemetry;
pub mod tls;
