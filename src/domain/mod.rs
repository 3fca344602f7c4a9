//! The words of the product and their rules. Pure: no I/O, no clock, no async.

pub mod access;
pub mod address;
pub mod api_key;
pub mod audit;
pub mod bundle;
pub mod collection;
pub mod error;
pub mod explain;
pub mod gauges;
pub mod gc;
pub mod id;
pub mod index;
pub mod key;
pub mod manifest;
pub mod name;
pub mod page;
pub mod plan;
pub mod problem;
pub mod rebuild;
pub mod receipt;
pub mod restore;
pub mod schedule;
pub mod schema;
pub mod segment;
pub mod snapshot;
pub mod timestamp;
pub mod usage;
pub mod verification;
pub mod webhook;

pub use error::{Code, Error, FieldError, Result};
