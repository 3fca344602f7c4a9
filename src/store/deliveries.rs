//! The outbox: what webhooks are still to be told, and what became of it. Triggers write it, in
//! the transaction of the change itself (migration 11).

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::failed;
use crate::domain::id::WebhookId;
use crate::domain::webhook::{ClaimedDelivery, Delivery, DeliveryState};
use crate::domain::{Error, Result};

/// Claims deliveries that are due, of webhooks whose secret was derived from the key with this
/// check: at most `limit`, and `each` of one webhook, so that a slow one holds up no other. The
/// lease is over when the delivery is due again.
pub async fn claim(
    conn: &mut PgConnection,
    key_check: &[u8],
    lease_ms: i64,
    each: i64,
    limit: i64,
) -> Result<Vec<ClaimedDelivery>> {
    let rows = sqlx::query!(
        r#"with n as materialized (select stillframe_now() as now),
           due as materialized (
             select d.delivery_id from n, webhooks w cross join lateral (
                    select o.delivery_id from webhook_deliveries o
                     where o.webhook_id = w.webhook_id and o.state = 'pending' and o.due_at <= n.now
                     order by o.due_at limit $3 for update skip locked) d
              where w.key_check = $1 limit $4
           )
           update webhook_deliveries t
              set attempt = t.attempt + 1, last_tried_at = n.now, due_at = n.now + $2::bigint * interval '1 millisecond'
             from n, due, webhooks w
            where t.delivery_id = due.delivery_id and w.webhook_id = t.webhook_id
        returning t.delivery_id, t.webhook_id, w.url, w.salt, t.body, t.attempt, t.failures,
                  extract(epoch from n.now)::bigint as "now_seconds!""#,
        key_check,
        lease_ms,
        each,
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|row| ClaimedDelivery {
            delivery_id: row.delivery_id,
            webhook_id: WebhookId(row.webhook_id),
            url: row.url,
            salt: row.salt,
            body: row.body,
            attempt: row.attempt,
            failures: row.failures,
            now_seconds: row.now_seconds,
        })
        .collect())
}

/// How a try failed.
#[derive(Debug, Clone)]
pub struct FailedTry {
    /// Of the answer, where there was one.
    pub status: Option<i32>,
    pub error: String,
    /// Milliseconds until the next try; none: there is none.
    pub pause_ms: Option<i64>,
}

/// Notes that a claimed delivery was made; nothing when the claim is not the newest any more.
pub async fn delivered(conn: &mut PgConnection, claimed: &ClaimedDelivery, status: i32) -> Result<()> {
    sqlx::query!(
        "update webhook_deliveries set state = 'delivered', finished_at = stillframe_now(), last_status = $3, last_error = ''
          where delivery_id = $1 and attempt = $2 and state = 'pending'",
        claimed.delivery_id,
        claimed.attempt,
        status
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Notes that a try of a claimed delivery failed; gives whether it was the last one.
pub async fn failed_try(conn: &mut PgConnection, claimed: &ClaimedDelivery, how: &FailedTry) -> Result<bool> {
    let state = sqlx::query_scalar!(
        "with n as materialized (select stillframe_now() as now),
         next as (select now, now + $3::bigint * interval '1 millisecond' as at from n)
         update webhook_deliveries d
            set failures = failures + 1, last_status = $4, last_error = $5,
                state = case when next.at < give_up_at then 'pending' else 'gave_up' end,
                finished_at = case when next.at < give_up_at then null else next.now end,
                due_at = coalesce(next.at, due_at)
           from next
          where delivery_id = $1 and attempt = $2 and state = 'pending' returning d.state",
        claimed.delivery_id,
        claimed.attempt,
        how.pause_ms,
        how.status,
        how.error
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(state.as_deref() == Some("gave_up"))
}

struct DeliveryRow {
    delivery_id: Uuid,
    webhook_id: i64,
    event: String,
    body: String,
    state: String,
    attempt: i32,
    created_at: OffsetDateTime,
    due_at: OffsetDateTime,
    last_tried_at: Option<OffsetDateTime>,
    finished_at: Option<OffsetDateTime>,
    last_status: Option<i32>,
    last_error: String,
}

impl TryFrom<DeliveryRow> for Delivery {
    type Error = Error;

    fn try_from(row: DeliveryRow) -> Result<Self> {
        Ok(Self {
            delivery_id: row.delivery_id,
            webhook_id: WebhookId(row.webhook_id),
            event: row.event,
            body: row.body,
            state: DeliveryState::parse(&row.state).ok_or_else(|| Error::internal(format!("delivery state {:?}", row.state)))?,
            attempt: row.attempt,
            created_at: row.created_at,
            due_at: row.due_at,
            last_tried_at: row.last_tried_at,
            finished_at: row.finished_at,
            last_status: row.last_status,
            last_error: row.last_error,
        })
    }
}

/// Lists deliveries of a webhook, newest first, after a cursor of time and id.
pub async fn list(
    conn: &mut PgConnection,
    webhook: WebhookId,
    state: Option<DeliveryState>,
    before: Option<(OffsetDateTime, Uuid)>,
    limit: i64,
) -> Result<Vec<Delivery>> {
    let (at, id) = before.unzip();
    let rows = sqlx::query_as!(
        DeliveryRow,
        "select delivery_id, webhook_id, event, body, state, attempt, created_at, due_at, last_tried_at, finished_at,
                last_status, last_error
           from webhook_deliveries
          where webhook_id = $1 and ($2::text is null or state = $2)
            and ($3::timestamptz is null or (created_at, delivery_id) < ($3, $4))
          order by created_at desc, delivery_id desc limit $5",
        webhook.0,
        state.map(DeliveryState::as_str),
        at,
        id,
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    rows.into_iter().map(Delivery::try_from).collect()
}

/// Makes a delivery due again, whatever became of it; none when the webhook has no such one.
pub async fn replay(conn: &mut PgConnection, webhook: WebhookId, delivery: Uuid) -> Result<Option<Delivery>> {
    let row = sqlx::query_as!(
        DeliveryRow,
        "with n as materialized (select stillframe_now() as now)
         update webhook_deliveries d
            set state = 'pending', finished_at = null, failures = 0, due_at = n.now, give_up_at = n.now + interval '3 days'
           from n
          where webhook_id = $1 and delivery_id = $2
         returning delivery_id, webhook_id, event, body, state, attempt, created_at, due_at, last_tried_at, finished_at,
                   last_status, last_error",
        webhook.0,
        delivery
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    row.map(Delivery::try_from).transpose()
}

/// Gives up what is pending past its time (nobody had the key for it), and forgets what ended
/// before an age. Gives how many were given up.
pub async fn expire(conn: &mut PgConnection, age_seconds: i64) -> Result<u64> {
    let given_up = sqlx::query!(
        "update webhook_deliveries set state = 'gave_up', finished_at = stillframe_now(),
                last_error = case when last_error = '' then 'no replica with the key of this webhook has tried in time' else last_error end
          where state = 'pending' and give_up_at <= (select stillframe_now()) and due_at <= (select stillframe_now())"
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "delete from webhook_deliveries
          where state <> 'pending' and finished_at < (select stillframe_now()) - $1::bigint * interval '1 second'",
        age_seconds
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(given_up.rows_affected())
}
