//! The audit log: who did what, on what, when, from where, and how it ended.

use serde::Serialize;
use time::OffsetDateTime;

use super::access::{Permission, Principal, PrincipalKind, Touched};
use super::error::Code;
use super::id::KeyId;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditOutcome {
    Ok,
    /// Not authenticated, not permitted, or sent by a page of a stranger.
    Denied,
    Failed,
    /// The caller hung up, or the time was over, before the end: the call may have done its work.
    Unknown,
}

impl AuditOutcome {
    pub const ALL: [AuditOutcome; 4] = [Self::Ok, Self::Denied, Self::Failed, Self::Unknown];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// The outcome of a call that ended with this code, or without one.
    pub fn of(code: Option<Code>) -> Self {
        match code {
            None => Self::Ok,
            Some(Code::Unauthenticated | Code::PermissionDenied | Code::HostNotAllowed | Code::CrossSiteRequest) => Self::Denied,
            Some(_) => Self::Failed,
        }
    }
}

/// A call about to be recorded; the fields are the columns of the table.
#[derive(Debug, Clone, Serialize)]
pub struct NewAuditEvent {
    pub principal_kind: &'static str,
    pub principal: String,
    pub key_id: Option<KeyId>,
    pub operation: String,
    pub permission: Option<&'static str>,
    pub db_name: Option<String>,
    pub collection_name: Option<String>,
    pub subject: Option<String>,
    pub method: String,
    pub path: String,
    pub peer: Option<String>,
    pub outcome: &'static str,
    pub status: Option<u16>,
    pub code: Option<&'static str>,
    pub request_id: String,
}

impl NewAuditEvent {
    /// Of a call by somebody who is not known (yet).
    pub fn begin(operation: &str, permission: Option<Permission>) -> Self {
        Self {
            principal_kind: PrincipalKind::Nobody.as_str(),
            principal: String::new(),
            key_id: None,
            operation: operation.into(),
            permission: permission.map(Permission::as_str),
            db_name: None,
            collection_name: None,
            subject: None,
            method: String::new(),
            path: String::new(),
            peer: None,
            outcome: AuditOutcome::Unknown.as_str(),
            status: None,
            code: None,
            request_id: String::new(),
        }
    }

    /// Notes who calls.
    pub fn by(&mut self, principal: &Principal) {
        self.principal_kind = principal.kind.as_str();
        self.principal.clone_from(&principal.name);
        self.key_id = principal.key_id;
    }

    /// Notes what the call was about.
    pub fn about(&mut self, touched: Touched) {
        self.db_name = touched.db_name;
        self.collection_name = touched.collection_name;
        self.subject = (!touched.subjects.is_empty()).then(|| touched.subjects.join(", "));
    }
}

/// A recorded call.
#[derive(Debug, Clone)]
pub struct AuditEvent {
    pub event_id: i64,
    pub at: OffsetDateTime,
    pub principal_kind: String,
    pub principal: String,
    pub key_id: Option<KeyId>,
    pub operation: String,
    pub permission: Option<String>,
    pub db_name: Option<String>,
    pub collection_name: Option<String>,
    pub subject: Option<String>,
    pub method: String,
    pub path: String,
    pub peer: Option<String>,
    pub outcome: String,
    pub status: Option<i32>,
    pub code: Option<String>,
    pub request_id: String,
}

/// Which recorded calls to list; what is absent is not asked for.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    pub principal: Option<String>,
    pub key_id: Option<KeyId>,
    pub operation: Option<String>,
    pub outcome: Option<AuditOutcome>,
    pub db_name: Option<String>,
    pub collection_name: Option<String>,
    pub request_id: Option<String>,
    pub from: Option<OffsetDateTime>,
    pub before: Option<OffsetDateTime>,
}
