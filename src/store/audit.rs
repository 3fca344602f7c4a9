//! The audit log.

use sqlx::PgConnection;

use super::failed;
use super::text::{can_all_be, shown};
use crate::domain::Result;
use crate::domain::audit::{AuditEvent, AuditFilter, NewAuditEvent};
use crate::domain::id::KeyId;
use crate::domain::timestamp::rfc3339;

/// Adds an event; gives its time (RFC 3339). Its texts come from callers: what the catalog can't hold of them
/// is shown, so that no call goes unrecorded for it.
pub async fn insert(conn: &mut PgConnection, event: &NewAuditEvent) -> Result<String> {
    let optional = |text: &Option<String>| text.as_deref().map(|text| shown(text).into_owned());
    let at = sqlx::query_scalar!(
        "insert into audit_events (principal_kind, principal, key_id, operation, permission, db_name, collection_name, subject,
                                   method, path, peer, outcome, status, code, request_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) returning at",
        event.principal_kind,
        &shown(&event.principal),
        event.key_id.map(|k| k.0),
        &shown(&event.operation),
        event.permission,
        optional(&event.db_name),
        optional(&event.collection_name),
        optional(&event.subject),
        event.method,
        &shown(&event.path),
        event.peer,
        event.outcome,
        event.status.map(i32::from),
        event.code,
        event.request_id
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    Ok(rfc3339(at))
}

/// Lists events, newest first.
pub async fn list(conn: &mut PgConnection, filter: &AuditFilter, before: Option<i64>, limit: i64) -> Result<Vec<AuditEvent>> {
    let AuditFilter {
        principal,
        operation,
        db_name,
        collection_name,
        request_id,
        ..
    } = filter;
    if !can_all_be(&[principal, operation, db_name, collection_name, request_id]) {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        "select event_id, at, principal_kind, principal, key_id, operation, permission, db_name, collection_name, subject, method,
                path, peer, outcome, status, code, request_id
           from audit_events
          where ($1::text is null or principal = $1)
            and ($2::bigint is null or key_id = $2)
            and ($3::text is null or operation = $3)
            and ($4::text is null or outcome = $4)
            and ($5::text is null or db_name = $5)
            and ($6::text is null or collection_name = $6)
            and ($7::text is null or request_id = $7)
            and ($8::timestamptz is null or at >= $8)
            and ($9::timestamptz is null or at < $9)
            and ($10::bigint is null or event_id < $10)
          order by event_id desc limit $11",
        filter.principal,
        filter.key_id.map(|k| k.0),
        filter.operation,
        filter.outcome.map(|o| o.as_str()),
        filter.db_name,
        filter.collection_name,
        filter.request_id,
        filter.from,
        filter.before,
        before,
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|r| AuditEvent {
            event_id: r.event_id,
            at: r.at,
            principal_kind: r.principal_kind,
            principal: r.principal,
            key_id: r.key_id.map(KeyId),
            operation: r.operation,
            permission: r.permission,
            db_name: r.db_name,
            collection_name: r.collection_name,
            subject: r.subject,
            method: r.method,
            path: r.path,
            peer: r.peer,
            outcome: r.outcome,
            status: r.status,
            code: r.code,
            request_id: r.request_id,
        })
        .collect())
}

/// Deletes events older than an age; gives their number.
pub async fn expire(conn: &mut PgConnection, age_seconds: i64) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from audit_events where at < (select stillframe_now()) - $1::bigint * interval '1 second'",
        age_seconds
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected())
}
