//! Stillframe: snapshots and restores for vector collections on object storage.
//!
//! Who may know whom (checked by a test, `tests/it/architecture.rs`):
//!
//! ```text
//! domain <- store, objects <- service <- {api, milvus, jobs} <- app <- cli
//! ```
//!
//! `crash_point` knows nothing and may be used by `service` and `app`; `telemetry` (names of metrics) knows
//! nothing and may be used by all but `domain` and `store`.
//! `limits` (what clients may take) knows `domain` and is used by all that listens; `serving` knows both and is
//! used by `app`; `tls` knows nothing and is used by `config` and `app`.

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod crash_point;
pub mod doctor;
pub mod domain;
pub mod jobs;
pub mod lifecycle;
pub mod limits;
pub mod milvus;
pub mod objects;
pub mod private_postgres;
pub mod service;
pub mod serving;
pub mod store;
pub mod telemetry;
pub mod tls;
