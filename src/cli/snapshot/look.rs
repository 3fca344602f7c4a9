//! Looking at snapshots: verify, plan a restore, usage. Nothing is changed.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::SnapshotArgs;
use crate::cli::failure::Failure;
use crate::cli::http::{Client, decode};
use crate::cli::restore::OptionArgs;
use crate::cli::table::pairs;
use crate::cli::usage::Freed;
use crate::cli::{exit, output, text};

/// The service takes up to an hour more for these.
const LONGEST: Duration = Duration::from_secs(3600);

#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    which: SnapshotArgs,
    /// How closely: files are there, and have their sizes, and are read and compared with recorded checksums
    #[arg(long, value_parser = ["exists", "size", "checksum"], default_value = "size")]
    level: String,
    /// Fraction of the data files to read at level checksum, chosen at random; all when absent
    #[arg(long, value_name = "FRACTION")]
    sample: Option<f64>,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    source: SnapshotArgs,
    /// Name of the collection that would be created
    target: String,
    #[command(flatten)]
    options: OptionArgs,
}

/// A file with which something is wrong.
#[derive(Deserialize)]
struct FileProblem {
    detail: String,
}

#[derive(Deserialize)]
struct Verification {
    level: String,
    outcome: String,
    files: u64,
    bytes: u64,
    manifests: u64,
    read_files: u64,
    read_bytes: u64,
    not_comparable: u64,
    problem_count: u64,
    problems: Vec<FileProblem>,
}

#[derive(Deserialize)]
struct Plan {
    feasible: bool,
    segments: u64,
    files: u64,
    bytes: u64,
    requests: Requests,
    conflicts: Vec<Conflict>,
    problem_count: u64,
    problems: Vec<FileProblem>,
    free_bytes: Option<u64>,
    insufficient_storage: Option<String>,
    warnings: Vec<String>,
    estimated_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Requests {
    list: u64,
    copy: u64,
}

#[derive(Deserialize)]
struct Conflict {
    code: String,
    detail: String,
}

#[derive(Deserialize)]
struct SnapshotUsage {
    logical_bytes: u64,
    shared_bytes: u64,
    exclusive: Freed,
}

/// Says what is wrong with files, and that there is more.
fn problems(count: u64, listed: &[FileProblem]) -> Result<(), Failure> {
    for problem in listed {
        output::line(&text::clean(&problem.detail))?;
    }
    match count.saturating_sub(listed.len() as u64) {
        0 => Ok(()),
        more => output::line(&format!("and {} more", text::count(more))),
    }
}

pub async fn verify(client: &Client, args: VerifyArgs) -> Result<(), Failure> {
    let mut body = json!({"level": args.level});
    if let Some(sample) = args.sample {
        body["sample"] = sample.into();
    }
    let path = ["v1", "snapshots", &args.which.name, "verify"];
    let answer = client.post(&path, args.which.query(client), &body, LONGEST).await?;
    let seen: Verification = decode(&answer)?;
    if client.json {
        output::json(&answer)?;
    } else {
        output::line(&pairs(&[
            ("outcome", seen.outcome.clone()),
            ("level", seen.level),
            ("files", text::count(seen.files)),
            ("size", text::bytes(seen.bytes)),
            ("manifests", text::count(seen.manifests)),
            (
                "read",
                format!("{}, {}", text::counted(seen.read_files, "file"), text::bytes(seen.read_bytes)),
            ),
            ("without checksum", text::count(seen.not_comparable)),
            ("wrong", text::counted(seen.problem_count, "file")),
        ]))?;
        problems(seen.problem_count, &seen.problems)?;
    }
    if seen.outcome == "passed" {
        return Ok(());
    }
    let wrong = text::counted(seen.problem_count, "file");
    Err(failed(
        "verification_failed",
        format!("snapshot {}: {wrong} not as recorded", args.which.name),
    ))
}

pub async fn plan(client: &Client, args: PlanArgs) -> Result<(), Failure> {
    let body = Value::Object(args.options.body(client, &args.target)?);
    let path = ["v1", "snapshots", &args.source.name, "plan-restore"];
    let answer = client.post(&path, args.source.query(client), &body, LONGEST).await?;
    let plan: Plan = decode(&answer)?;
    if client.json {
        output::json(&answer)?;
    } else {
        let took = plan.estimated_ms.map(text::millis);
        output::line(&pairs(&[
            ("feasible", if plan.feasible { "yes" } else { "no" }.into()),
            ("segments", text::count(plan.segments)),
            ("files", text::count(plan.files)),
            ("size", text::bytes(plan.bytes)),
            (
                "requests",
                format!(
                    "{}, {}",
                    text::counted(plan.requests.list, "listing"),
                    match plan.requests.copy {
                        1 => "1 copy".into(),
                        n => format!("{} copies", text::count(n)),
                    }
                ),
            ),
            ("free", plan.free_bytes.map(text::bytes).unwrap_or_default()),
            ("estimated", took.unwrap_or_else(|| "not known yet".into())),
        ]))?;
        for warning in &plan.warnings {
            output::line(&text::clean(&format!("warning: {warning}")))?;
        }
        for conflict in &plan.conflicts {
            output::line(&text::clean(&format!("conflict: {} ({})", conflict.detail, conflict.code)))?;
        }
        if let Some(why) = &plan.insufficient_storage {
            output::line(&text::clean(why))?;
        }
        problems(plan.problem_count, &plan.problems)?;
    }
    match plan.feasible {
        true => Ok(()),
        false => Err(failed(
            "not_feasible",
            format!(
                "snapshot {} can't be restored to {} as it is now",
                args.source.name, args.target
            ),
        )),
    }
}

pub async fn usage(client: &Client, which: &SnapshotArgs) -> Result<(), Failure> {
    let path = ["v1", "snapshots", &which.name, "usage"];
    let found = client.get(&path, which.query(client)).await?;
    if client.json {
        return output::json(&found);
    }
    let usage: SnapshotUsage = decode(&found)?;
    let mut said = vec![
        ("size", text::bytes(usage.logical_bytes)),
        ("shared", text::bytes(usage.shared_bytes)),
    ];
    said.extend(usage.exclusive.pairs());
    output::line(&pairs(&said))
}

/// A look that was answered, and whose answer is not good.
fn failed(code: &str, text: String) -> Failure {
    Failure::Restore {
        exit_code: exit::FAILURE,
        code: code.into(),
        text,
    }
}
