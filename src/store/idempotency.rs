//! Idempotency keys: one row per call with a key, with its lease while it runs and its answer
//! afterwards.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::failed;
use crate::domain::Result;

/// Whose key it is, and the key.
#[derive(Debug, Clone)]
pub struct KeyOf {
    /// Empty: nobody in particular.
    pub principal: String,
    pub key: String,
}

/// A recorded call.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// SHA-256 of the call.
    pub fingerprint: Vec<u8>,
    /// None while it runs.
    pub answer: Option<StoredAnswer>,
}

/// The answer of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// HTTP status, 200 to 299.
    pub status: i16,
    /// By name; what can't be a name is not for the client.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// Begins a call: true when the key is free, has been kept for long enough, or belongs to the same
/// call whose lease has run out.
pub async fn begin(
    conn: &mut PgConnection,
    of: &KeyOf,
    fingerprint: &[u8],
    owner: Uuid,
    lease_seconds: i64,
    keep_seconds: i64,
) -> Result<bool> {
    let won = sqlx::query!(
        "insert into idempotency_keys as k (principal, key, fingerprint, owner, lease_until, created_at)
         select $1, $2, $3, $4, now + $5::bigint * interval '1 second', now from (select stillframe_now() as now) clock
         on conflict (principal, key) do update
            set fingerprint = excluded.fingerprint, owner = excluded.owner, lease_until = excluded.lease_until,
                created_at = excluded.created_at, status = null, headers = null, body = null
          where (k.created_at <= excluded.created_at - $6::bigint * interval '1 second' or (k.status is null and k.fingerprint = excluded.fingerprint))
            and (k.lease_until is null or k.lease_until <= excluded.created_at)",
        of.principal,
        of.key,
        fingerprint,
        owner,
        lease_seconds,
        keep_seconds
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(won.rows_affected() == 1)
}

/// The call that has the key.
pub async fn find(conn: &mut PgConnection, of: &KeyOf) -> Result<Option<Recorded>> {
    let row = sqlx::query!(
        r#"select fingerprint, status, headers as "headers: Json<BTreeMap<String, String>>", body
             from idempotency_keys where principal = $1 and key = $2"#,
        of.principal,
        of.key
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(row.map(|r| Recorded {
        fingerprint: r.fingerprint,
        answer: match (r.status, r.headers, r.body) {
            (Some(status), Some(Json(headers)), Some(body)) => Some(StoredAnswer { status, headers, body }),
            _ => None,
        },
    }))
}

/// Renews the lease of a running call; false when another one has taken over.
pub async fn renew(conn: &mut PgConnection, of: &KeyOf, owner: Uuid, lease_seconds: i64) -> Result<bool> {
    let renewed = sqlx::query!(
        "update idempotency_keys set lease_until = (select stillframe_now()) + $4::bigint * interval '1 second'
          where principal = $1 and key = $2 and owner = $3 and status is null",
        of.principal,
        of.key,
        owner,
        lease_seconds
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(renewed.rows_affected() == 1)
}

/// Records the answer of a call, unless another one has taken over.
pub async fn finish(conn: &mut PgConnection, of: &KeyOf, owner: Uuid, answer: &StoredAnswer) -> Result<()> {
    sqlx::query!(
        "update idempotency_keys set status = $4, headers = $5, body = $6, lease_until = null
          where principal = $1 and key = $2 and owner = $3 and status is null",
        of.principal,
        of.key,
        owner,
        answer.status,
        Json(&answer.headers) as _,
        answer.body
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Frees the key of a call that did nothing, unless another one has taken over.
pub async fn release(conn: &mut PgConnection, of: &KeyOf, owner: Uuid) -> Result<()> {
    sqlx::query!(
        "delete from idempotency_keys where principal = $1 and key = $2 and owner = $3 and status is null",
        of.principal,
        of.key,
        owner
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Deletes keys that have been kept for long enough and are not running.
pub async fn expire(conn: &mut PgConnection, keep_seconds: i64) -> Result<()> {
    sqlx::query!(
        "delete from idempotency_keys where created_at <= (select stillframe_now()) - $1::bigint * interval '1 second'
            and (lease_until is null or lease_until <= (select stillframe_now()))",
        keep_seconds
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Waits until no other transaction has the lock of this text; it is held until the end of the
/// transaction.
pub async fn lock_text(conn: &mut PgConnection, text: &str) -> Result<()> {
    sqlx::query!(
        r#"select pg_advisory_xact_lock(hashtextextended($1, 12)) as "locked!: ()""#,
        text
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}
