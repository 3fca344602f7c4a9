//! Looks at each thing that serving needs, and says what to do about what is wrong. Changes
//! nothing but objects of its own, which it removes, and starts a private Postgres only where
//! there is one already.

mod database;
mod finding;
mod place;
mod storage;

pub use finding::{Finding, Outcome, Report};

use crate::config::{Config, ServeArgs};

/// Looks at everything, with the settings of `serve`.
pub async fn examine(args: ServeArgs) -> Report {
    let mut report = Report::default();
    let config = match Config::new(args) {
        Ok(config) => config,
        Err(error) => {
            let advice = "correct the setting; `stillframe serve --help` explains each";
            report.failed("configuration", format!("{error:#}"), advice);
            return report;
        }
    };
    place::listen(&config, &mut report).await;
    let catalog = database::examine(&config, &mut report).await;
    storage::examine(&config, catalog, &mut report).await;
    report
}
