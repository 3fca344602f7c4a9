//! Keeping snapshots: pins, holds, and taking dropped ones back.

use std::fmt;
use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::SnapshotArgs;
use crate::cli::args::LimitArgs;
use crate::cli::failure::Failure;
use crate::cli::http::{Client, as_list, decode, decode_all};
use crate::cli::table::Table;
use crate::cli::{output, text};

#[derive(Debug, Subcommand)]
pub enum PinCommand {
    /// List the pins of a snapshot that have not expired
    List {
        #[command(flatten)]
        which: SnapshotArgs,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Pin a snapshot: it can't be dropped meanwhile
    Add {
        #[command(flatten)]
        which: SnapshotArgs,
        #[command(flatten)]
        who: WhoArgs,
        /// Seconds after which it ends by itself; it stays until it is removed when absent
        #[arg(long, value_name = "N")]
        ttl_seconds: Option<u64>,
    },
    /// Remove a pin
    Remove {
        #[command(flatten)]
        which: SnapshotArgs,
        pin_id: String,
    },
}

/// Who keeps it, and why.
#[derive(Debug, Args)]
pub struct WhoArgs {
    /// Who keeps it
    #[arg(long, value_name = "NAME")]
    owner: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

#[derive(Debug, Args)]
pub struct HoldArgs {
    #[command(flatten)]
    which: SnapshotArgs,
    #[command(flatten)]
    who: WhoArgs,
}

/// A hold.
#[derive(Deserialize)]
pub struct Hold {
    owner: String,
    reason: String,
    since: String,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by {} since {}", self.owner, text::utc(&self.since))?;
        match self.reason.as_str() {
            "" => Ok(()),
            reason => write!(f, ": {reason}"),
        }
    }
}

#[derive(Deserialize)]
struct Pin {
    pin_id: String,
    owner: String,
    reason: String,
    created_at: String,
    expires_at: Option<String>,
}

impl Pin {
    fn until(&self) -> String {
        self.expires_at.as_deref().map_or_else(|| "it is removed".into(), text::utc)
    }
}

pub async fn pin(client: &Client, command: PinCommand) -> Result<(), Failure> {
    match command {
        PinCommand::List { which, limit } => list(client, &which, limit.limit).await,
        PinCommand::Add { which, who, ttl_seconds } => {
            let body = json!({"owner": who.owner, "reason": who.reason, "ttl_seconds": ttl_seconds});
            let path = ["v1", "snapshots", &which.name, "pins"];
            let answer = client.post(&path, which.query(client), &body, Duration::ZERO).await?;
            if client.json {
                return output::json(&answer);
            }
            let pin: Pin = decode(&answer)?;
            output::line(&format!(
                "pinned snapshot {} until {}: pin {}",
                which.name,
                pin.until(),
                pin.pin_id
            ))
        }
        PinCommand::Remove { which, pin_id } => {
            let path = ["v1", "snapshots", &which.name, "pins", &pin_id];
            client.delete(&path, which.query(client)).await?;
            say(
                client,
                &Value::Null,
                &format!("removed pin {pin_id} of snapshot {}", which.name),
            )
        }
    }
}

async fn list(client: &Client, which: &SnapshotArgs, limit: Option<u64>) -> Result<(), Failure> {
    let path = ["v1", "snapshots", &which.name, "pins"];
    let found = client.list(&path, which.query(client), limit).await?;
    if client.json {
        return output::json(&as_list(found));
    }
    let mut table = Table::new(&[">PIN ID", "OWNER", "CREATED (UTC)", "UNTIL (UTC)", "REASON"]);
    for pin in decode_all::<Pin>(&found)? {
        let (created, until) = (text::utc(&pin.created_at), pin.until());
        table.row([pin.pin_id, pin.owner, created, until, pin.reason]);
    }
    output::line(&table.render())
}

pub async fn undelete(client: &Client, which: &SnapshotArgs) -> Result<(), Failure> {
    let path = ["v1", "snapshots", &which.name, "undelete"];
    let answer = client.post(&path, which.query(client), &json!({}), Duration::ZERO).await?;
    say(client, &answer, &format!("snapshot {} is there again", which.name))
}

pub async fn hold(client: &Client, args: HoldArgs) -> Result<(), Failure> {
    let hold = json!({"owner": args.who.owner, "reason": args.who.reason});
    let answer = change(client, &args.which, hold).await?;
    let text = format!(
        "snapshot {} is on hold; `stillframe snapshot unhold {0}` lifts it",
        args.which.name
    );
    say(client, &answer, &text)
}

pub async fn unhold(client: &Client, which: &SnapshotArgs) -> Result<(), Failure> {
    let answer = change(client, which, Value::Null).await?;
    say(client, &answer, &format!("the hold of snapshot {} is lifted", which.name))
}

async fn change(client: &Client, which: &SnapshotArgs, hold: Value) -> Result<Value, Failure> {
    let path = ["v1", "snapshots", &which.name];
    client
        .send(Method::PATCH, &path, which.query(client), &json!({"hold": hold}))
        .await
}

/// The service's answer for programs, where there is one; a sentence for people.
fn say(client: &Client, answer: &Value, text: &str) -> Result<(), Failure> {
    match (client.json, answer) {
        (true, Value::Null) => Ok(()),
        (true, answer) => output::json(answer),
        (false, _) => output::line(text),
    }
}
