//! One call that is being recorded, whatever it came over and whatever becomes of it.

use std::net::IpAddr;

use tokio::sync::Semaphore;

use super::super::Service;
use crate::domain::Code;
use crate::domain::access::{Caller, Permission, Principal, Touched, caller_address, needed};
use crate::domain::audit::{AuditOutcome, NewAuditEvent};

/// Reads of which the recording may be under way; more wait for theirs.
static RECORDING: Semaphore = Semaphore::const_new(256);
/// Characters of a path that are recorded.
const MAX_PATH: usize = 1024;

/// Where a call came from.
#[derive(Debug, Clone, Default)]
pub struct CallOrigin {
    /// Of HTTP.
    pub method: String,
    pub path: String,
    /// The method says that it changes nothing.
    pub only_reads: bool,
    pub request_id: String,
    /// The other end of the connection.
    pub peer: Option<IpAddr>,
    /// Values of `X-Forwarded-For`; believed only from the proxies of the settings.
    pub forwarded: Vec<String>,
}

/// A call under way. Dropped without an end it is recorded as one whose outcome is not known.
#[derive(Debug)]
pub struct CallRecord {
    service: Service,
    event: NewAuditEvent,
    caller: Option<Caller>,
    /// How it ends, where that is known although it has not ended.
    denied: Option<Code>,
    /// None: the operation is open, and nothing to record.
    changes: Option<bool>,
    finished: bool,
}

impl CallRecord {
    /// Begins with a call of somebody who is not known yet.
    pub fn begin(service: &Service, operation: &str, origin: CallOrigin) -> Self {
        let permission = needed(operation).and_then(|access| access.permission());
        let mut event = NewAuditEvent::begin(operation, permission);
        event.peer = origin.peer.map(|peer| {
            let forwarded = origin.forwarded.iter().map(String::as_str);
            caller_address(peer, forwarded, service.trusted_proxies()).to_string()
        });
        event.method = origin.method;
        event.path = origin.path.chars().take(MAX_PATH).collect();
        event.request_id = origin.request_id;
        Self {
            service: service.clone(),
            event,
            caller: None,
            denied: None,
            changes: permission.map(|p| p != Permission::Read && !origin.only_reads),
            finished: false,
        }
    }

    /// Notes who calls.
    pub fn by(&mut self, principal: &Principal) {
        self.event.by(principal);
    }

    /// Notes the call that was let in; what it turns out to be about is recorded with it.
    pub fn called_by(&mut self, caller: Caller) {
        self.caller = Some(caller);
    }

    /// Notes that the call is refused, whatever becomes of it until its end.
    pub fn is_denied(&mut self, code: Code) {
        self.denied = Some(code);
    }

    /// Notes what the request of a call names that is not let in.
    pub fn names(&mut self, named: Touched) {
        self.event.about(named);
    }

    /// Whether it is to be recorded.
    fn counts(&self, denied: bool) -> bool {
        match self.changes {
            _ if denied => true,
            None => false,
            Some(changes) => changes || self.service.audits_reads(),
        }
    }

    /// Ends the call without a record of it.
    pub fn leave_out(mut self) {
        self.finished = true;
    }

    /// Records the call: before its answer goes out, unless it only read. `status` is that of HTTP.
    pub async fn finish(mut self, outcome: AuditOutcome, status: Option<u16>, code: Option<Code>) {
        self.finished = true;
        if !self.counts(outcome == AuditOutcome::Denied) {
            return;
        }
        let mut event = self.event.clone();
        event.outcome = outcome.as_str();
        event.status = status;
        event.code = code.map(Code::as_str);
        if let Some(caller) = &self.caller {
            event.about(caller.touched());
        }
        let service = self.service.clone();
        let is_read = outcome == AuditOutcome::Ok && self.changes == Some(false);
        let free = RECORDING.try_acquire().ok().filter(|_| is_read);
        // in a task of its own: a caller that hangs up must not stop it
        let waits = free.is_none();
        let recording = tokio::spawn(async move {
            service.audit(event).await;
            drop(free);
        });
        if waits && let Err(error) = recording.await {
            tracing::error!(%error, "recording a call failed");
        }
    }
}

impl Drop for CallRecord {
    /// The caller hung up, the time was over, or a handler panicked.
    fn drop(&mut self) {
        if self.finished || !self.counts(self.denied.is_some()) {
            return;
        }
        let mut event = self.event.clone();
        event.outcome = match self.denied {
            Some(code) => AuditOutcome::of(Some(code)),
            None => AuditOutcome::Unknown,
        }
        .as_str();
        event.code = self.denied.map(Code::as_str);
        if let Some(caller) = &self.caller {
            event.about(caller.touched());
        }
        let service = self.service.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { service.audit(event).await });
        }
    }
}
