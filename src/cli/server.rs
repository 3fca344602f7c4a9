//! Commands that run the application itself: `serve`, `migrate`, `openapi`.

use anyhow::Context as _;
use clap::Args;

use super::failure::Failure;
use super::output;
use crate::app::{self, App};
use crate::config::{Config, ServeArgs};
use crate::telemetry;

#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Catalog database, postgres://...
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

#[derive(Debug, Args)]
pub struct OpenapiArgs {
    /// Version of OpenAPI to write it in
    #[arg(long = "as", default_value = "3.1", value_parser = ["3.0", "3.1"])]
    dialect: String,
}

/// Runs the service until a signal.
///
/// # Errors
/// Wrong settings, and what keeps the service from starting, running or stopping.
pub async fn serve(args: ServeArgs) -> Result<(), Failure> {
    let wrong = |error: anyhow::Error| Failure::Usage(format!("{error:#}"));
    let traces = args.traces().map_err(wrong)?;
    let telemetry = telemetry::start_logs(args.log_format, &args.log, traces.as_ref())
        .context("the setting of logs or traces can't be used")
        .map_err(wrong)?;
    let config = Config::new(args).map_err(wrong)?;
    let ran = async { App::start(config).await?.run_until_signal().await }.await;
    telemetry.end().await;
    Ok(ran?)
}

/// Applies missing migrations.
///
/// # Errors
/// When the database does not answer, or a migration fails.
pub async fn migrate(args: &MigrateArgs) -> Result<(), Failure> {
    if !["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| args.database_url.starts_with(scheme))
    {
        return Err(Failure::Usage(
            "the database URL must begin with postgres:// or postgresql://".into(),
        ));
    }
    let pool = app::connect(&args.database_url, 1).await?;
    app::migrate(&pool, true).await?;
    pool.close().await;
    output::line("the catalog database has every migration")
}

/// Prints the OpenAPI document.
///
/// # Errors
/// When standard output can't be written.
pub fn print_openapi(args: &OpenapiArgs) -> Result<(), Failure> {
    output::line(&app::document_text(args.dialect == "3.0"))
}
