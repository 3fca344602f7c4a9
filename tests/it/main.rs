//! One binary for every integration test.

mod architecture;
mod bad_input;
mod cli;
mod collector;
mod concurrency;
mod formats;
mod job_control;
mod job_events;
mod job_sharing;
mod keeping;
mod migrations;
mod openapi;
mod orphans;
mod plans;
mod private_postgres;
mod readme;
mod receipts;
mod restores;
mod sharing;
mod snapshots;
mod storage;
mod support;
mod usage;
mod verifications;
mod whole_way;
