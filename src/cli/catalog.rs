//! `stillframe catalog`: the catalog as a whole, without a running service.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::to_value;

use super::failure::Failure;
use super::table::{Table, pairs};
use super::{output, text};
use crate::app::{self, RebuildSettings};
use crate::domain::rebuild::RebuildReport;
use crate::objects::{StorageOptions, StorageUrl};

#[derive(Debug, Subcommand)]
pub enum CatalogCommand {
    /// Rebuild an empty catalog from the snapshots in its storage, after the loss of its database
    Rebuild(RebuildArgs),
}

#[derive(Debug, Args)]
pub struct RebuildArgs {
    /// From the metadata files and manifests of snapshots; there is no other source
    #[arg(long, required = true)]
    from_storage: bool,

    /// The storage's marker names the catalog that was lost: take the storage over from it. Nothing may use the lost one any more
    #[arg(long)]
    take_over: bool,

    /// Directory of the private Postgres and of local objects, as for `serve`
    #[arg(long, env = "STILLFRAME_DATA_DIR", default_value = "./stillframe-data")]
    data_dir: PathBuf,

    /// Catalog database, postgres://..., as for `serve`; it must be empty
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,

    /// Object storage, as for `serve`
    #[arg(long, env = "STILLFRAME_STORAGE")]
    storage: Option<String>,
}

/// Runs a command.
///
/// # Errors
/// Wrong settings, a catalog that is not empty, a storage or database that does not answer.
pub async fn run(command: CatalogCommand, json: bool) -> Result<(), Failure> {
    let CatalogCommand::Rebuild(args) = command;
    debug_assert!(args.from_storage, "clap requires it");
    let settings = settings(args).map_err(|error| Failure::Usage(format!("{error:#}")))?;
    let report = app::rebuild(&settings).await?;
    if json {
        return output::json(&to_value(&report).context("the report is not JSON")?);
    }
    print(&report)
}

fn settings(args: RebuildArgs) -> anyhow::Result<RebuildSettings> {
    let data_dir = std::path::absolute(&args.data_dir).with_context(|| format!("data directory {}", args.data_dir.display()))?;
    let storage = match &args.storage {
        Some(text) => StorageUrl::parse(text).map_err(anyhow::Error::msg)?,
        None => StorageUrl::Local {
            path: data_dir.join("objects"),
        },
    };
    Ok(RebuildSettings {
        data_dir,
        database_url: args.database_url,
        storage,
        storage_options: StorageOptions::default(),
        take_over: args.take_over,
    })
}

fn print(report: &RebuildReport) -> Result<(), Failure> {
    let number = |n: i64| text::count(u64::try_from(n).unwrap_or_default());
    let mut rebuilt = Table::new(&[
        "SNAPSHOT",
        ">SNAPSHOT ID",
        "DATABASE",
        "COLLECTION",
        ">SEGMENTS",
        ">FILES",
        ">SIZE",
    ]);
    for snapshot in &report.snapshots {
        rebuilt.row([
            snapshot.snapshot_name.clone(),
            snapshot.snapshot_id.to_string(),
            snapshot.db_name.clone(),
            snapshot.collection_name.clone(),
            number(snapshot.segment_count),
            number(snapshot.file_count),
            text::bytes(u64::try_from(snapshot.size_bytes).unwrap_or_default()),
        ]);
    }
    output::line(&rebuilt.render())?;
    if !report.skipped.is_empty() {
        let mut skipped = Table::new(&["NOT REBUILT", "WHY"]);
        for snapshot in &report.skipped {
            skipped.row([snapshot.key.clone(), snapshot.reason.clone()]);
        }
        output::line("")?;
        output::line(&skipped.render())?;
    }
    output::line("")?;
    for renamed in &report.renamed {
        output::line(&text::clean(&format!(
            "collection {} is named {:?}: another one has the name {:?}",
            renamed.collection_id, renamed.is, renamed.was
        )))?;
    }
    output::line(&pairs(&[
        ("rebuilt", text::counted(report.snapshots.len() as u64, "snapshot")),
        ("not rebuilt", text::count(report.skipped.len() as u64)),
        ("ids go on above", report.highest_id.to_string()),
        ("orphan deletion", "off, until PUT /v1/gc/orphan-deletion allows it".into()),
    ]))
}
