//! Postgres: what is stored durably and why.
//!
//! The catalog is the only truth about which files exist and who needs them: collections with
//! their segments and index builds (content encoded by [`codec`], one row per segment version,
//! not per file), manifests that need one segment version and its index builds, snapshots that
//! need manifests, restore jobs with their tasks and receipts, verifications, and runs of the
//! collector. Losing a row here can lose a file; so every state is guarded by a CHECK, every
//! reference by a foreign key or a trigger that refuses to delete what is referenced.
//!
//! Free functions on `&mut PgConnection`. None begins or commits a transaction: the service does.
//! Never take a second connection inside a transaction.

pub mod audit;
pub mod builds;
pub mod bundles;
pub mod catalog;
pub mod channels;
pub mod claims;
pub mod codec;
pub mod collections;
pub mod control;
pub mod databases;
pub mod deliveries;
mod error;
pub mod explain;
pub mod facts;
pub mod file_sums;
pub mod gauges;
pub mod gc;
pub mod gc_runs;
pub mod id_blocks;
pub mod idempotency;
pub mod indexes;
pub mod job_history;
pub mod jobs;
pub mod keys;
pub mod manifests;
pub mod materialize;
pub mod names;
pub mod orphans;
pub mod partitions;
pub mod pins;
pub mod proofs;
pub mod receipts;
pub mod segments;
pub mod snapshots;
pub mod stored;
pub mod stored_newest;
pub mod targets;
pub mod tasks;
mod text;
pub mod uploads;
pub mod usage;
pub mod verifications;
pub mod webhooks;

pub use error::failed;
pub use sqlx::{PgConnection, PgPool};

/// The migrations, compiled in.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();
