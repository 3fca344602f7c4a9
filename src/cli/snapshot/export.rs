//! `stillframe snapshot export`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::SnapshotArgs;
use crate::cli::failure::Failure;
use crate::cli::http::{Client, decode};
use crate::cli::job::{ControlArgs, Job};
use crate::cli::{output, waiting};

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    source: SnapshotArgs,
    /// Where to: a path in a store, or s3://bucket/prefix, https://server/bucket/prefix, file:///directory
    #[arg(value_name = "TARGET")]
    target: String,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    control: ControlArgs,
    /// Don't wait for the end: print the job and leave
    #[arg(long)]
    no_wait: bool,
}

/// How to reach the place of a bundle.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// The store of the service's configuration that a path is in; its own storage when absent
    #[arg(long, value_name = "NAME")]
    store: Option<String>,
    /// File with credentials for a bucket of no such store: {"extfs": {"access_key_id": "...", "access_key_value": "..."}}
    #[arg(long, value_name = "FILE")]
    external_spec_file: Option<PathBuf>,
}

impl PlaceArgs {
    /// Whether anything was said.
    pub fn is_empty(&self) -> bool {
        self.store.is_none() && self.external_spec_file.is_none()
    }

    /// What was said, as fields of a request.
    ///
    /// # Errors
    /// A file that can't be read; what stands in it is not shown.
    pub fn fields(&self) -> Result<Value, Failure> {
        let spec = self.external_spec_file.as_deref().map(read_spec).transpose()?;
        Ok(json!({"store": self.store, "external_spec": spec}))
    }
}

fn read_spec(path: &Path) -> Result<Value, Failure> {
    let wrong = |why: String| Failure::Usage(format!("--external-spec-file {}: {why}", path.display()));
    let text = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    serde_json::from_slice(&text).map_err(|e| wrong(format!("is no JSON (line {})", e.line())))
}

pub async fn run(client: &Client, args: ExportArgs) -> Result<(), Failure> {
    let mut body = args.place.fields()?;
    if let Some(fields) = body.as_object_mut() {
        fields.insert("target_path".into(), args.target.into());
        fields.extend(args.control.fields());
    }
    let path = ["v1", "snapshots", &args.source.name, "export"];
    let started = client.post(&path, args.source.query(client), &body, Duration::ZERO).await?;
    let job: Job = decode(&started)?;
    if args.no_wait {
        return match client.json {
            true => output::json(&started),
            false => output::line(&format!(
                "export job {} is {}; `stillframe job wait {0}` waits for its end",
                job.job_id, job.state
            )),
        };
    }
    waiting::to_the_end(client, job).await
}
