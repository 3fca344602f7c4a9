//! Background work: the workers of restore jobs, the collector's timer, and the ear for
//! changes of jobs.

mod collector;
mod watch;
mod webhooks;
mod worker;

pub use collector::run as run_collector;
pub use watch::run as run_job_watch;
pub use webhooks::Deliverer;
pub use worker::{Worker, WorkerSettings};
