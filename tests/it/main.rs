//! One binary for every integration test.

mod architecture;
mod bad_input;
mod cli;
mod collector;
mod concurrency;
mod formats;
mod migrations;
mod openapi;
mod plans;
mod private_postgres;
mod readme;
mod receipts;
mod restores;
mod snapshots;
mod storage;
mod support;
mod verifications;
mod whole_way;
