//! Commands that run the application itself: `serve`, `migrate`, `openapi`.

use anyhow::Context as _;
use clap::Args;

use super::failure::Failure;
use super::output;
use crate::app::{self, App};
use crate::config::{Config, ServeArgs};
use crate::{api, telemetry};

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
    telemetry::start_logs(args.log_format, &args.log)
        .context("the log setting can't be read")
        .map_err(wrong)?;
    let config = Config::new(args).map_err(wrong)?;
    let app = App::start(config).await?;
    Ok(app.run_until_signal().await?)
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
    output::line(&api::document_text(args.dialect == "3.0"))
}
