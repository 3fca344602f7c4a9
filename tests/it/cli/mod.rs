//! The real binary, run as people and scripts run it.

mod bench;
mod clients;
mod control;
mod demo;
mod paging;
pub mod process;
mod restores;
mod serve;
pub mod service;
