//! `stillframe bench`: measures this machine and the user's own store, through the real service
//! and its workers, and leaves nothing behind.

mod collection;
mod contenders;
mod memory;
mod place;
mod report;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use self::contenders::Bench;
use self::place::Place;
use super::failure::Failure;
use crate::app::App;
use crate::lifecycle::Lifecycle;
use crate::objects::{Objects, StorageUrl};
use crate::telemetry::{self, LogFormat};

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Restore a made-up collection, beside plain loops of copies on the same store in the same run
    Restore(BenchArgs),
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Object storage, as for `serve`; a directory of its own is made in it, and removed. Without it a temporary directory
    #[arg(long, env = "STILLFRAME_STORAGE")]
    storage: Option<String>,

    /// Catalog database; a schema of its own is made in it, and removed. Without it a private Postgres runs
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,

    /// Where the private Postgres and the temporary storage lie
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    scratch: PathBuf,

    /// Files of the collection
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    files: u64,

    /// Size of each, in bytes or as 64KiB or 64MiB
    #[arg(long, default_value = "64KiB", value_parser = size)]
    file_size: u64,

    /// Files of a segment
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    segment_files: u64,

    /// Copies at the same time, of the service and of the plain loops
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,

    /// Times that each is measured, in turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// Measure the service only
    #[arg(long)]
    no_plain: bool,

    /// A binary of s5cmd to measure too, with 64 workers (S3 storage only)
    #[arg(long, value_name = "PATH")]
    s5cmd: Option<PathBuf>,

    /// Local storage and private Postgres: don't sync writes to the disk
    #[arg(long)]
    no_fsync: bool,
}

fn size(text: &str) -> Result<u64, String> {
    let (number, factor) = [("KiB", 1024), ("MiB", 1024 * 1024), ("", 1)]
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .unwrap_or((text, 1));
    let number: Option<u64> = number.trim().parse().ok();
    number
        .and_then(|n| n.checked_mul(factor))
        .filter(|bytes| *bytes <= 1024 * 1024 * 1024)
        .ok_or_else(|| "expected bytes, or a number with KiB or MiB, up to 1024MiB".into())
}

/// Runs a benchmark.
///
/// # Errors
/// What could not be done; what was made is removed all the same.
pub async fn run(command: BenchCommand) -> Result<(), Failure> {
    let BenchCommand::Restore(args) = command;
    let _telemetry = telemetry::start_logs(LogFormat::Text, "warn,sqlx_postgres=error", None)?;
    let place = Place::prepare(&args).await?;
    let outcome = measure(&args, &place).await;
    let left = place.leave().await;
    outcome.and(left.map_err(Failure::Other))
}

async fn measure(args: &BenchArgs, place: &Place) -> Result<(), Failure> {
    let config = place.config(args)?;
    // a client of its own for the files and the loops, with the same settings
    let objects = Objects::open(config.storage.clone(), config.storage_options.clone()).map_err(anyhow::Error::new)?;
    if args.s5cmd.is_some() && !matches!(objects.url(), StorageUrl::S3 { .. }) {
        return Err(Failure::Usage("--s5cmd needs S3 storage".into()));
    }
    // one listener for the whole time: a signal between two of them would be lost
    let mut interrupted = std::pin::pin!(interrupted());
    let app = tokio::select! {
        biased;
        interrupted = &mut interrupted => return Err(interrupted),
        started = App::start(config) => started?,
    };
    let url = app.url();
    let outcome = tokio::select! {
        biased;
        interrupted = &mut interrupted => Err(interrupted),
        outcome = async { Bench::new(args, objects, &url)?.run().await } => outcome,
    };
    app.stop().await.context("stopping the service")?;
    outcome
}

async fn interrupted() -> Failure {
    match Lifecycle::signalled().await {
        Ok(()) => Failure::Interrupted("interrupted".into()),
        Err(error) => Failure::Other(anyhow::Error::new(error)),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        for (text, bytes) in [("0", 0), ("17", 17), ("64KiB", 65_536), ("64MiB", 67_108_864)] {
            assert_eq!(super::size(text), Ok(bytes));
        }
        for text in ["", "KiB", "-1", "1GB", "2000MiB", "99999999999999999999"] {
            assert!(super::size(text).is_err(), "{text:?}");
        }
    }
}
