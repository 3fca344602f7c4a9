//! API keys. Only the hash of a key is here.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::codec::{from_json, to_json};
use super::{error::on_constraint, failed};
use crate::domain::access::Grant;
use crate::domain::api_key::ApiKey;
use crate::domain::id::KeyId;
use crate::domain::{Code, Error, Result};

struct KeyRow {
    key_id: i64,
    name: String,
    grants: serde_json::Value,
    created_by: String,
    created_at: OffsetDateTime,
    expires_at: Option<OffsetDateTime>,
    last_used_at: Option<OffsetDateTime>,
}

impl TryFrom<KeyRow> for ApiKey {
    type Error = Error;
    fn try_from(row: KeyRow) -> Result<Self> {
        Ok(Self {
            key_id: KeyId(row.key_id),
            name: row.name,
            grants: from_json(row.grants)?,
            created_by: row.created_by,
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        })
    }
}

/// A key about to be inserted.
#[derive(Debug)]
pub struct NewKey<'a> {
    pub key_id: KeyId,
    pub name: &'a str,
    pub sha256: &'a [u8],
    pub grants: &'a [Grant],
    pub created_by: &'a str,
    /// None: never expires.
    pub ttl_seconds: Option<i64>,
}

/// Inserts a key.
///
/// # Errors
/// `key_already_exists` when the name is taken.
pub async fn insert(conn: &mut PgConnection, key: &NewKey<'_>) -> Result<ApiKey> {
    let inserted = sqlx::query_as!(
        KeyRow,
        "insert into api_keys (key_id, name, key_sha256, grants, created_by, expires_at)
         values ($1, $2, $3, $4, $5, (select stillframe_now()) + $6::bigint * interval '1 second')
         returning key_id, name, grants, created_by, created_at, expires_at, last_used_at",
        key.key_id.0,
        key.name,
        key.sha256,
        to_json(&key.grants)?,
        key.created_by,
        key.ttl_seconds
    )
    .fetch_one(conn)
    .await;
    on_constraint(inserted, "api_keys_name_key", || {
        Code::KeyAlreadyExists.error(format!("there is an API key {:?} already", key.name))
    })?
    .try_into()
}

/// A key that was shown and is good.
#[derive(Debug)]
pub struct GoodKey {
    pub key_id: KeyId,
    pub name: String,
    pub grants: Vec<Grant>,
    /// Milliseconds for which it stays good; none: for ever.
    pub left_ms: Option<i64>,
    /// Whether its last use is so long ago that this one is to be noted.
    pub note_use: bool,
}

/// Finds the key with this hash, unless it has expired.
pub async fn find_good(conn: &mut PgConnection, sha256: &[u8]) -> Result<Option<GoodKey>> {
    let row = sqlx::query!(
        r#"select key_id, name, grants,
                  (extract(epoch from expires_at - n.at) * 1000)::bigint as left_ms,
                  coalesce(last_used_at < n.at - interval '1 minute', true) as "note_use!"
             from api_keys cross join (select stillframe_now() as at) n
            where key_sha256 = $1 and (expires_at is null or expires_at > n.at)"#,
        sha256
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    row.map(|r| {
        Ok(GoodKey {
            key_id: KeyId(r.key_id),
            name: r.name,
            grants: from_json(r.grants)?,
            left_ms: r.left_ms,
            note_use: r.note_use,
        })
    })
    .transpose()
}

/// Notes that a key was used, once a minute at most whatever the number of replicas.
pub async fn note_use(conn: &mut PgConnection, key: KeyId) -> Result<()> {
    sqlx::query!(
        "update api_keys set last_used_at = n.at from (select stillframe_now() as at) n
          where key_id = $1 and coalesce(last_used_at < n.at - interval '1 minute', true)",
        key.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Lists keys by id; one of them when it is given.
pub async fn list(conn: &mut PgConnection, one: Option<KeyId>, after: Option<i64>, limit: i64) -> Result<Vec<ApiKey>> {
    let rows = sqlx::query_as!(
        KeyRow,
        "select key_id, name, grants, created_by, created_at, expires_at, last_used_at from api_keys
          where ($1::bigint is null or key_id = $1) and ($2::bigint is null or key_id > $2)
          order by key_id limit $3",
        one.map(|k| k.0),
        after,
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    rows.into_iter().map(ApiKey::try_from).collect()
}

/// Deletes a key; false when there is none.
pub async fn delete(conn: &mut PgConnection, key: KeyId) -> Result<bool> {
    let deleted = sqlx::query!("delete from api_keys where key_id = $1", key.0)
        .execute(conn)
        .await
        .map_err(failed)?;
    Ok(deleted.rows_affected() == 1)
}
