//! `stillframe key`.

use std::time::Duration;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::json;

use super::args::{ClientArgs, LimitArgs};
use super::failure::Failure;
use super::http::{Client, Query, as_list, decode, decode_all};
use super::table::Table;
use super::{output, text};
use crate::app;
use crate::domain::access::Grant;

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key, and print it: it is not shown again
    Create {
        /// Who uses it
        name: String,
        /// ROLE, ROLE@DB or ROLE@DB/COLLECTION: reader, writer, operator or admin, on names that fit the patterns. Repeated
        #[arg(long = "role", value_name = "GRANT", required = true, value_parser = Grant::parse)]
        roles: Vec<Grant>,
        /// Days until it expires; never when absent
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=3650))]
        days: Option<u16>,
        /// Write it into the catalog database of DATABASE_URL, not through a service: for the first key
        #[arg(long)]
        in_database: bool,
    },
    /// List keys, without what is secret of them
    List {
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Delete a key: it is no longer accepted
    Delete { key_id: String },
}

#[derive(Deserialize)]
struct Key {
    key_id: String,
    name: String,
    grants: Vec<Granted>,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
}

#[derive(Deserialize)]
struct Granted {
    role: String,
    db_name: String,
    collection_name: String,
}

/// Runs it.
///
/// # Errors
/// What the service answered, or that it did not.
pub async fn run(args: ClientArgs, command: KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::Create {
            name,
            roles,
            days,
            in_database: true,
        } => create_in_database(&name, roles, days, args.json).await,
        KeyCommand::Create { name, roles, days, .. } => create(&Client::new(args)?, &name, &roles, days).await,
        KeyCommand::List { limit } => list(&Client::new(args)?, limit.limit).await,
        KeyCommand::Delete { key_id } => {
            let client = Client::new(args)?;
            client.delete(&["v1", "keys", &key_id], Query::default()).await?;
            if client.json {
                return Ok(());
            }
            output::line(&format!("key {key_id} is deleted"))
        }
    }
}

fn ttl_seconds(days: Option<u16>) -> Option<i64> {
    days.map(|days| i64::from(days) * 24 * 3600)
}

async fn create(client: &Client, name: &str, roles: &[Grant], days: Option<u16>) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Created {
        key: String,
    }
    let mut body = json!({"name": name, "grants": roles});
    if let Some(ttl) = ttl_seconds(days) {
        body["ttl_seconds"] = ttl.into();
    }
    let answer = client.post(&["v1", "keys"], Query::default(), &body, Duration::ZERO).await?;
    if client.json {
        return output::json(&answer);
    }
    output::line(&decode::<Created>(&answer)?.key)
}

/// The first key can't be made through a service that lets nobody in.
async fn create_in_database(name: &str, roles: Vec<Grant>, days: Option<u16>, json: bool) -> Result<(), Failure> {
    let url =
        std::env::var("DATABASE_URL").map_err(|_| Failure::Usage("--in-database needs the variable DATABASE_URL".into()))?;
    let created = app::create_key(&url, name, roles, ttl_seconds(days)).await?;
    if json {
        return output::json(&json!({"key": created.secret.expose(), "key_id": created.key.key_id, "name": created.key.name}));
    }
    output::line(created.secret.expose())
}

async fn list(client: &Client, limit: Option<u64>) -> Result<(), Failure> {
    let found = client.list(&["v1", "keys"], Query::default(), limit).await?;
    if client.json {
        return output::json(&as_list(found));
    }
    let mut table = Table::new(&[
        ">KEY ID",
        "NAME",
        "ROLES",
        "CREATED (UTC)",
        "EXPIRES (UTC)",
        "LAST USED (UTC)",
    ]);
    let time = |time: Option<String>| time.map_or_else(|| "never".to_string(), |t| text::utc(&t));
    for key in decode_all::<Key>(&found)? {
        let roles = key
            .grants
            .iter()
            .map(|g| match (g.db_name.as_str(), g.collection_name.as_str()) {
                ("*", "*") => g.role.clone(),
                (db, "*") => format!("{}@{db}", g.role),
                (db, collection) => format!("{}@{db}/{collection}", g.role),
            });
        table.row([
            key.key_id,
            key.name,
            roles.collect::<Vec<_>>().join(" "),
            text::utc(&key.created_at),
            time(key.expires_at),
            time(key.last_used_at),
        ]);
    }
    output::line(&table.render())
}
