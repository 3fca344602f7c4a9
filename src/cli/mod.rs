//! The command line.
//!
//! `serve`, `migrate`, `demo` and `bench` run the application in this process. The other commands are
//! clients: they speak HTTP with a running service and know nothing else of it.

mod args;
mod bench;
mod catalog;
mod collection;
mod demo;
mod doctor;
mod exit;
mod failure;
mod gc;
mod http;
mod import;
mod job;
mod key;
mod object;
mod options;
mod output;
mod progress;
mod restore;
mod server;
mod snapshot;
mod table;
mod text;
mod usage;
mod waiting;

use std::process::ExitCode;

use clap::{FromArgMatches as _, Parser, Subcommand};

use self::args::ClientArgs;
use self::failure::Failure;
use self::http::Client;
use crate::config::ServeArgs;

/// Snapshots and restores for vector collections on object storage.
#[derive(Debug, Parser)]
#[command(name = "stillframe", version, arg_required_else_help = true, after_help = exit::HELP)]
struct Cli {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    Serve(Box<ServeArgs>),
    /// Watch a snapshot and a restore of a real collection, proved byte for byte
    Demo(demo::DemoArgs),
    /// Measure restores on this machine and the store that is named
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Apply missing migrations to the catalog database
    Migrate(server::MigrateArgs),
    /// Rebuild a catalog whose database was lost
    #[command(subcommand)]
    Catalog(catalog::CatalogCommand),
    /// Look at everything that `serve` needs with these settings, and say what to do about what is wrong
    Doctor(Box<ServeArgs>),
    /// Print the OpenAPI document of the service
    Openapi(server::OpenapiArgs),
    /// List, describe, materialize and drop collections
    #[command(subcommand)]
    Collection(collection::CollectionCommand),
    /// Create, list, describe, verify, keep, export and drop snapshots
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Restore a snapshot into a new collection
    Restore(restore::RestoreArgs),
    /// List, describe, wait for, pause, resume, change and cancel jobs: restores, exports, materializations
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Register collections that another system wrote, where its files lie
    #[command(subcommand)]
    Import(import::ImportCommand),
    /// Run the collector, list its runs and what they did
    #[command(subcommand)]
    Gc(gc::GcCommand),
    /// Say what an object of the storage is, and why it is kept
    #[command(subcommand)]
    Object(object::ObjectCommand),
    /// Say what takes how much room, or what dropping snapshots would free
    Usage(usage::UsageArgs),
    /// Make, list and delete API keys
    #[command(subcommand)]
    Key(key::KeyCommand),
}

fn refuse_unknown_variables() -> Result<(), Failure> {
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let unknown = crate::config::unknown_variables(names, &options::known_variables(&options::command()));
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "no setting has this environment variable: {}; see `stillframe serve --help`",
        unknown.join(", ")
    )))
}

/// Parses, dispatches, and says how it went.
pub fn main() -> ExitCode {
    let parsed = options::command()
        .try_get_matches()
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // nobody may be reading: not worth more than trying
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(exit::USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let json = cli.client.json;
    let done = match options::misplaced(&matches) {
        Some(what) => Err(Failure::Usage(what)),
        None => refuse_unknown_variables().and_then(|()| run(cli)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(json);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    if let Command::Openapi(args) = &cli.command {
        return server::print_openapi(args);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::new)?;
    runtime.block_on(async {
        match cli.command {
            Command::Serve(args) => server::serve(*args).await,
            Command::Migrate(args) => server::migrate(&args).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Bench(command) => bench::run(command).await,
            Command::Catalog(command) => catalog::run(command, cli.client.json).await,
            Command::Doctor(args) => doctor::run(*args, cli.client.json).await,
            Command::Openapi(_) => Ok(()),
            Command::Collection(command) => collection::run(&Client::new(cli.client)?, command).await,
            Command::Snapshot(command) => snapshot::run(&Client::new(cli.client)?, command).await,
            Command::Restore(args) => restore::run(&Client::new(cli.client)?, args).await,
            Command::Job(command) => job::run(&Client::new(cli.client)?, command).await,
            Command::Import(command) => import::run(&Client::new(cli.client)?, command).await,
            Command::Key(command) => key::run(cli.client, command).await,
            Command::Gc(command) => gc::run(&Client::new(cli.client)?, command).await,
            Command::Object(command) => object::run(&Client::new(cli.client)?, command).await,
            Command::Usage(args) => usage::run(&Client::new(cli.client)?, args).await,
        }
    })
}
