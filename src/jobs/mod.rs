//! Background work: the workers of restore jobs, and the collector's timer.

mod collector;
mod worker;

pub use collector::run as run_collector;
pub use worker::{Worker, WorkerSettings};
