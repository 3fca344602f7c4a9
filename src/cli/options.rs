//! Which options and variables belong to which command.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory as _};

use super::Cli;

/// Commands that talk to no server.
const NOT_CLIENTS: [&str; 7] = ["serve", "demo", "bench", "migrate", "openapi", "catalog", "doctor"];

/// Those of them that print JSON when they are told.
const WITH_JSON: [&str; 2] = ["catalog", "doctor"];

/// The options of [`super::args::ClientArgs`].
const CLIENT_OPTIONS: [(&str, &str, ArgAction); 5] = [
    ("server", "server", ArgAction::Set),
    ("api_key", "api-key", ArgAction::Set),
    ("ca_file", "ca-file", ArgAction::Set),
    ("json", "json", ArgAction::SetTrue),
    ("db", "db", ArgAction::Set),
];

/// The whole command line. What is global for clients is hidden from the other commands, and
/// refused by [`misplaced`]: nothing that is said may go unheard.
pub fn command() -> clap::Command {
    NOT_CLIENTS.iter().fold(Cli::command(), |command, name| {
        command.mut_subcommand(name, |sub| {
            let hidden = |(id, long, action)| Arg::new(id).long(long).action(action).hide(true);
            let strange = CLIENT_OPTIONS.into_iter().filter(|(id, ..)| !means_something(name, id));
            sub.args(strange.map(hidden))
        })
    })
}

fn means_something(command: &str, option: &str) -> bool {
    option == "json" && WITH_JSON.contains(&command)
}

/// A client's option given to a command that is no client.
pub fn misplaced(matches: &ArgMatches) -> Option<String> {
    let (name, sub) = matches.subcommand().filter(|(name, _)| NOT_CLIENTS.contains(name))?;
    let said = |id: &str| {
        [matches, sub]
            .iter()
            .any(|m| m.value_source(id) == Some(ValueSource::CommandLine))
    };
    CLIENT_OPTIONS
        .iter()
        .find(|(id, ..)| said(id) && !means_something(name, id))
        .map(|(_, long, _)| format!("--{long} means nothing to `stillframe {name}`"))
}

/// Every environment variable that some command reads.
pub fn known_variables(command: &clap::Command) -> Vec<String> {
    let own = command
        .get_arguments()
        .filter_map(|a| a.get_env())
        .map(|name| name.to_string_lossy().into_owned());
    own.chain(command.get_subcommands().flat_map(known_variables)).collect()
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

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
            "stillframe catalog --server http://x rebuild --from-storage",
            "stillframe doctor --db x",
            "stillframe --server http://x doctor",
        ] {
            assert!(misplaced(&parse(line)).is_some(), "{line}");
        }
        for line in [
            "stillframe serve --insecure",
            "stillframe doctor --json",
            "stillframe --json doctor",
        ] {
            assert_eq!(misplaced(&parse(line)), None, "{line}");
        }
        let rebuild = parse("stillframe catalog rebuild --from-storage --json");
        assert_eq!(misplaced(&rebuild), None);
        assert!(Cli::from_arg_matches(&rebuild).expect("valid").client.json);
    }

    #[test]
    fn variables_of_every_command_are_known() {
        let known = known_variables(&command());
        for name in ["STILLFRAME_LISTEN", "STILLFRAME_SERVER", "DATABASE_URL"] {
            assert!(known.iter().any(|k| k == name), "{name}");
        }
    }
}
