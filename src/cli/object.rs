//! `stillframe object`.

use clap::Subcommand;
use serde::Deserialize;

use super::failure::Failure;
use super::http::{Client, Query, decode};
use super::table::{Table, pairs};
use super::{output, text};

#[derive(Debug, Subcommand)]
pub enum ObjectCommand {
    /// Say what an object is, what keeps it, and when it could go
    Explain {
        /// Its key relative to the storage root, its full key, or its whole URI
        key: String,
    },
}

#[derive(Deserialize)]
struct Explanation {
    key: String,
    kind: String,
    size_bytes: Option<u64>,
    collection_id: Option<String>,
    segment_id: Option<String>,
    build_id: Option<String>,
    snapshot_id: Option<String>,
    kept_by: Vec<Keeper>,
    kept_by_total: u64,
    may_go_at: Option<String>,
    reason: String,
}

#[derive(Deserialize)]
struct Keeper {
    kind: String,
    id: String,
    snapshot_name: Option<String>,
    dropped: Option<bool>,
    pin_count: Option<u64>,
    on_hold: Option<bool>,
}

impl Keeper {
    /// What else is to be known of it.
    fn more(&self) -> String {
        let pins = self.pin_count.filter(|n| *n > 0).map(|n| text::counted(n, "pin"));
        let said = [
            self.dropped.unwrap_or_default().then(|| "dropped".to_string()),
            pins,
            self.on_hold.unwrap_or_default().then(|| "on hold".to_string()),
        ];
        said.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// Runs it.
///
/// # Errors
/// What the service answered, or that it did not.
pub async fn run(client: &Client, command: ObjectCommand) -> Result<(), Failure> {
    let ObjectCommand::Explain { key } = command;
    let query = Query::default().and("key", Some(key));
    let found = client.get(&["v1", "objects", "explain"], query).await?;
    if client.json {
        return output::json(&found);
    }
    let e: Explanation = decode(&found)?;
    output::line(&pairs(&[
        ("key", e.key),
        ("kind", e.kind),
        ("size", e.size_bytes.map_or_else(|| "no such object".into(), text::bytes)),
        ("collection id", e.collection_id.unwrap_or_default()),
        ("segment id", e.segment_id.unwrap_or_default()),
        ("build id", e.build_id.unwrap_or_default()),
        ("snapshot id", e.snapshot_id.unwrap_or_default()),
        ("reason", e.reason),
        ("may go (UTC)", e.may_go_at.as_deref().map(text::utc).unwrap_or_default()),
        ("kept by", text::counted(e.kept_by_total, "thing")),
    ]))?;
    if e.kept_by.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["KEPT BY", ">ID", "SNAPSHOT", "NOTE"]);
    for keeper in e.kept_by {
        let more = keeper.more();
        table.row([keeper.kind, keeper.id, keeper.snapshot_name.unwrap_or_default(), more]);
    }
    output::line(&format!("\n{}", table.render()))
}
