//! Webhooks.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::failed;
use crate::domain::Result;
use crate::domain::id::WebhookId;
use crate::domain::webhook::{Event, Webhook};

struct WebhookRow {
    webhook_id: i64,
    url: String,
    events: Vec<String>,
    description: String,
    salt: Vec<u8>,
    key_check: Vec<u8>,
    created_at: OffsetDateTime,
}

impl From<WebhookRow> for Webhook {
    fn from(row: WebhookRow) -> Self {
        Self {
            webhook_id: WebhookId(row.webhook_id),
            url: row.url,
            events: row.events.iter().filter_map(|e| Event::parse(e)).collect(),
            description: row.description,
            salt: row.salt,
            key_check: row.key_check,
            created_at: row.created_at,
        }
    }
}

/// Adds a webhook, unless there are `max` already; gives when it was made.
pub async fn insert(
    conn: &mut PgConnection,
    id: WebhookId,
    url: &str,
    events: &[Event],
    description: &str,
    key: (&[u8], &[u8]),
    max: i64,
) -> Result<Option<OffsetDateTime>> {
    let events: Vec<String> = events.iter().map(|e| e.as_str().to_string()).collect();
    sqlx::query_scalar!(
        "insert into webhooks (webhook_id, url, events, description, salt, key_check)
         select $1, $2, $3, $4, $5, $6 where (select count(*) from webhooks) < $7 returning created_at",
        id.0,
        url,
        &events,
        description,
        key.0,
        key.1,
        max
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)
}

/// Lists webhooks by id.
pub async fn list(conn: &mut PgConnection, only: Option<WebhookId>, after: Option<i64>, limit: i64) -> Result<Vec<Webhook>> {
    let rows = sqlx::query_as!(
        WebhookRow,
        "select webhook_id, url, events, description, salt, key_check, created_at from webhooks
          where ($1::bigint is null or webhook_id = $1) and webhook_id > $2 order by webhook_id limit $3",
        only.map(|id| id.0),
        after.unwrap_or(-1),
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(Webhook::from).collect())
}

/// Deletes a webhook and its deliveries; false when there is none.
pub async fn delete(conn: &mut PgConnection, id: WebhookId) -> Result<bool> {
    let deleted = sqlx::query!("delete from webhooks where webhook_id = $1", id.0)
        .execute(conn)
        .await
        .map_err(failed)?;
    Ok(deleted.rows_affected() == 1)
}
