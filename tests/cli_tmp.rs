#[path = "it/cli/mod.rs"]
mod cli;
#[path = "it/support/mod.rs"]
#[allow(dead_code, unused)]
mod support;
