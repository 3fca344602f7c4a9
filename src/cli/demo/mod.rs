//! `stillframe demo`: the whole way once, on files that a real Milvus wrote, in this process and
//! through the service's own HTTP API. Every number that it prints was measured.

mod check;
mod compare;
mod fixture;
mod last;
mod model;
mod place;
mod steps;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, FromArgMatches as _};

use self::place::Place;
use self::steps::Demo;
use super::failure::Failure;
use super::output;
use crate::app::App;
use crate::config::{Config, ServeArgs};
use crate::lifecycle::Lifecycle;
use crate::telemetry::{self, LogFormat};

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Directory of the private Postgres and of the objects: absent or empty, and kept. Without it a temporary one is
    /// used and removed at the end
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Keep the directory, and leave the service up until Ctrl-C: on port 19530 where that is free
    #[arg(long)]
    keep: bool,
}

/// Little, so that the steps can be read; sqlx warns of a `.pgpass` that nobody needs.
const LOGS: &str = "warn,sqlx_postgres=error";

/// Runs the demo.
///
/// # Errors
/// A step that could not be done, or a check that failed.
pub async fn run(args: DemoArgs) -> Result<(), Failure> {
    let _telemetry = telemetry::start_logs(LogFormat::Text, LOGS, None)?;
    let place = Place::prepare(args.data_dir, args.keep)?;
    let outcome = run_in(&place, args.keep).await;
    let removed = place.leave();
    outcome.and(removed.map_err(Failure::Other))
}

async fn run_in(place: &Place, keep: bool) -> Result<(), Failure> {
    let listen = if keep {
        place::free_default_address()
    } else {
        "127.0.0.1:0".into()
    };
    let began = std::time::Instant::now();
    // one listener for the whole time: a signal between two of them would be lost
    let mut interrupted = std::pin::pin!(interrupted());
    let app = tokio::select! {
        biased;
        interrupted = &mut interrupted => return Err(interrupted),
        started = App::start(config(place, &listen)?) => started?,
    };
    let outcome = tokio::select! {
        biased;
        interrupted = &mut interrupted => Err(interrupted),
        outcome = async { Demo::new(place, &app.url(), began.elapsed())?.run().await } => outcome,
    };
    match outcome {
        Ok(()) if keep => {
            last::what_next(&app.url(), place)?;
            Ok(app.run_until_signal().await?)
        }
        outcome => {
            let stopped = app.stop().await;
            outcome.map_err(|failure| match failure {
                // a check that failed, whatever the service called it
                Failure::Refused(_) | Failure::Restore { .. } | Failure::Unreachable(_) => {
                    Failure::Other(anyhow::Error::msg(failure.text()))
                }
                other => other,
            })?;
            Ok(stopped?)
        }
    }
}

async fn interrupted() -> Failure {
    match Lifecycle::signalled().await {
        Ok(()) => Failure::Interrupted("interrupted".into()),
        Err(error) => Failure::Other(anyhow::Error::new(error)),
    }
}

/// The defaults of `serve`, whatever the environment says: the demo touches nothing of anybody's.
fn config(place: &Place, listen: &str) -> anyhow::Result<Config> {
    let defaults = ServeArgs::augment_args(clap::Command::new("demo")).mut_args(|arg| arg.env(None::<&str>));
    let mut matches = defaults.try_get_matches_from(["demo", "--listen", listen])?;
    let mut settings = ServeArgs::from_arg_matches_mut(&mut matches)?;
    settings.data_dir = place.data_dir().to_path_buf();
    Config::new(settings).context("the settings of the demo")
}

/// Prints the steps with their numbers.
#[derive(Debug, Default)]
struct Story {
    steps: u32,
}

impl Story {
    /// Tells what the next step did.
    fn tell(&mut self, text: &str) -> Result<(), Failure> {
        self.steps += 1;
        output::line(&format!("{}. {text}", self.steps))
    }
}
