//! The command line.
//!
//! `serve`, `migrate` and `demo` run the application in this process. The other commands are
//! clients: they speak HTTP with a running service and know nothing else of it.

mod args;
mod collection;
mod demo;
mod exit;
mod failure;
mod http;
mod job;
mod output;
mod progress;
mod restore;
mod server;
mod snapshot;
mod table;
mod text;

use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

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
    /// Apply missing migrations to the catalog database
    Migrate(server::MigrateArgs),
    /// Print the OpenAPI document of the service
    Openapi,
    /// List, describe and drop collections
    #[command(subcommand)]
    Collection(collection::CollectionCommand),
    /// Create, list, describe and drop snapshots
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Restore a snapshot into a new collection
    Restore(restore::RestoreArgs),
    /// List, describe and cancel restore jobs
    #[command(subcommand)]
    Job(job::JobCommand),
}

/// Commands that talk to no server.
const NOT_CLIENTS: [&str; 4] = ["serve", "demo", "migrate", "openapi"];

/// The options of [`ClientArgs`].
const CLIENT_OPTIONS: [(&str, ArgAction); 3] = [
    ("server", ArgAction::Set),
    ("json", ArgAction::SetTrue),
    ("db", ArgAction::Set),
];

/// The whole command line. What is global for clients is hidden from the other commands, and
/// refused by [`misplaced`]: nothing that is said may go unheard.
fn command() -> clap::Command {
    NOT_CLIENTS.iter().fold(Cli::command(), |command, name| {
        command.mut_subcommand(name, |sub| {
            let hidden = |(id, action)| Arg::new(id).long(id).action(action).hide(true);
            sub.args(CLIENT_OPTIONS.map(hidden))
        })
    })
}

/// A client's option given to a command that is no client.
fn misplaced(matches: &ArgMatches) -> Option<String> {
    let (name, sub) = matches.subcommand().filter(|(name, _)| NOT_CLIENTS.contains(name))?;
    let said = |id: &str| {
        [matches, sub]
            .iter()
            .any(|m| m.value_source(id) == Some(ValueSource::CommandLine))
    };
    CLIENT_OPTIONS
        .iter()
        .find(|(id, _)| said(id))
        .map(|(id, _)| format!("--{id} means nothing to `stillframe {name}`"))
}

/// Every environment variable that some command reads.
fn known_variables(command: &clap::Command) -> Vec<String> {
    let own = command
        .get_arguments()
        .filter_map(|a| a.get_env())
        .map(|name| name.to_string_lossy().into_owned());
    own.chain(command.get_subcommands().flat_map(known_variables)).collect()
}

fn refuse_unknown_variables() -> Result<(), Failure> {
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let unknown = crate::config::unknown_variables(names, &known_variables(&command()));
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
    let parsed = command()
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
    let done = match misplaced(&matches) {
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
    if let Command::Openapi = cli.command {
        return server::print_openapi();
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
            Command::Openapi => Ok(()),
            Command::Collection(command) => collection::run(&Client::new(cli.client)?, command).await,
            Command::Snapshot(command) => snapshot::run(&Client::new(cli.client)?, command).await,
            Command::Restore(args) => restore::run(&Client::new(cli.client)?, args).await,
            Command::Job(command) => job::run(&Client::new(cli.client)?, command).await,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verify_cli() {
        command().debug_assert();
    }

    #[test]
    fn client_options_are_accepted_anywhere_by_clients_and_nowhere_by_others() {
        let parse = |line: &str| command().try_get_matches_from(line.split(' ')).expect("valid");
        for line in [
            "stillframe --server http://x collection list --json",
            "stillframe job list --db a --server http://x",
        ] {
            let matches = parse(line);
            assert_eq!(misplaced(&matches), None, "{line}");
            assert_eq!(Cli::from_arg_matches(&matches).expect("valid").client.server, "http://x");
        }
        for line in [
            "stillframe --json serve",
            "stillframe demo --server http://x",
            "stillframe openapi --db x",
        ] {
            assert!(misplaced(&parse(line)).is_some(), "{line}");
        }
        assert_eq!(misplaced(&parse("stillframe serve --insecure")), None);
    }

    #[test]
    fn variables_of_every_command_are_known() {
        let known = known_variables(&command());
        for name in ["STILLFRAME_LISTEN", "STILLFRAME_SERVER", "DATABASE_URL"] {
            assert!(known.iter().any(|k| k == name), "{name}");
        }
    }
}
