//! One binary for every integration test.

mod architecture;
mod formats;
mod private_postgres;
mod support;
mod whole_way;
