//! `/v1/audit`.

use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::extract::Query;
use super::guard::State;
use super::problem::ApiError;
use super::types::{Id, List, parse_time, rfc3339};
use crate::domain::audit::{AuditEvent, AuditFilter, AuditOutcome};
use crate::domain::id::KeyId;
use crate::domain::page::PageRequest;

/// How a recorded call ended.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcomeText {
    Ok,
    /// Not authenticated, or not permitted.
    Denied,
    Failed,
    /// The caller hung up, or the time was over, before the end.
    Unknown,
}

/// A recorded call.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "event_id": "4711", "at": "2024-01-01T00:00:00Z", "principal_kind": "key", "principal": "nightly-backup",
    "key_id": "470700000000000700", "operation": "create_snapshot", "permission": "operate", "db_name": "default",
    "collection_name": "my_collection", "subject": "snapshot \"backup_20240101\"", "method": "POST", "path": "/v1/snapshots",
    "peer": "10.1.2.3", "outcome": "ok", "status": 201, "request_id": "0193a1de-8c5b-7bb2-a7a4-1f0b6b1f3c11"
})))]
pub struct AuditEventBody {
    pub event_id: Id,
    pub at: String,
    /// `nobody` (not authenticated), `anybody` (authentication is off), `key`, `token`, `service`.
    pub principal_kind: String,
    /// Name of the key, subject of the token.
    pub principal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<Id>,
    /// Operation id of this document.
    pub operation: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permission: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub db_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection_name: Option<String>,
    /// Names of snapshots, ids of jobs and keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub method: String,
    pub path: String,
    /// Address of the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    pub outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    pub request_id: String,
}

impl From<AuditEvent> for AuditEventBody {
    fn from(event: AuditEvent) -> Self {
        Self {
            event_id: Id(event.event_id),
            at: rfc3339(event.at),
            principal_kind: event.principal_kind,
            principal: event.principal,
            key_id: event.key_id.map(|id| Id(id.0)),
            operation: event.operation,
            permission: event.permission,
            db_name: event.db_name,
            collection_name: event.collection_name,
            subject: event.subject,
            method: event.method,
            path: event.path,
            peer: event.peer,
            outcome: event.outcome,
            status: event.status,
            code: event.code,
            request_id: event.request_id,
        }
    }
}

/// Which recorded calls.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListAuditEventsQuery {
    /// Only of the principal with this name.
    principal: Option<String>,
    /// Only of this API key.
    key_id: Option<Id>,
    /// Only of this operation.
    operation: Option<String>,
    /// Only those that ended so.
    #[param(inline)]
    outcome: Option<AuditOutcomeText>,
    /// Only those about this database.
    db_name: Option<String>,
    /// Only those about this collection.
    collection_name: Option<String>,
    /// Only the call with this request id.
    request_id: Option<String>,
    /// Not before this time (RFC 3339).
    #[param(example = "2024-01-01T00:00:00Z")]
    from: Option<String>,
    /// Before this time (RFC 3339).
    #[param(example = "2024-02-01T00:00:00Z")]
    before: Option<String>,
    /// Entries of the page, 1 to 1000.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    page_size: Option<i64>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// List recorded calls
///
/// Newest first: calls that change something, refused ones, and where it is set those that only read.
#[utoipa::path(get, path = "/v1/audit", operation_id = "list_audit_events", tag = "access", params(ListAuditEventsQuery),
    responses((status = 200, description = "A page of calls", body = List<AuditEventBody>)))]
pub async fn list_audit_events(
    State(state): State<ApiState>,
    Query(query): Query<ListAuditEventsQuery>,
) -> Result<Json<List<AuditEventBody>>, ApiError> {
    let page = PageRequest::new(query.page_size, query.page_token)?;
    let filter = AuditFilter {
        principal: query.principal,
        key_id: query.key_id.map(|id| KeyId(id.0)),
        operation: query.operation,
        outcome: query.outcome.map(|o| match o {
            AuditOutcomeText::Ok => AuditOutcome::Ok,
            AuditOutcomeText::Denied => AuditOutcome::Denied,
            AuditOutcomeText::Failed => AuditOutcome::Failed,
            AuditOutcomeText::Unknown => AuditOutcome::Unknown,
        }),
        db_name: query.db_name,
        collection_name: query.collection_name,
        request_id: query.request_id,
        from: parse_time("from", query.from.as_deref())?,
        before: parse_time("before", query.before.as_deref())?,
    };
    let found = state.service.list_audit_events(&filter, &page).await?;
    Ok(Json(List::of(found, AuditEventBody::from)))
}
