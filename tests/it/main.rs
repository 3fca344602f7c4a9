//! One binary for every integration test.

mod architecture;
mod bad_input;
mod cli;
mod collector;
mod concurrency;
mod crashes;
mod formats;
mod migrations;
mod model;
mod openapi;
mod private_postgres;
mod readme;
mod restores;
mod snapshots;
mod storage;
mod support;
mod whole_way;
