//! Who calls, over gRPC and REST v2: every call shows a credential where authentication is on, does what
//! its caller may do by the table of operations, and is recorded.

use std::net::SocketAddr;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, header};

use super::Facade;
use super::status::{Refusal, code};
use crate::domain::access::{Approach, Caller, Touched, milvus};
use crate::domain::audit::AuditOutcome;
use crate::domain::{Code, Error};
use crate::limits::{Account, Client, ClientId, Unread};
use crate::service::{CallOrigin, CallRecord};

/// The entry in the table of operations of whatever is answered with "not served here".
pub const NOT_SERVED: &str = "milvus.unserved";

/// What a request says of who sends it.
#[derive(Debug)]
pub struct Arrival {
    origin: CallOrigin,
    approach: Approach,
    credential: Option<String>,
}

impl Arrival {
    pub fn of(request: &Request, request_id: &str) -> Self {
        let header = |name| {
            let values = request.headers().get_all(name).iter();
            values.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect()
        };
        Self {
            origin: origin(request, request_id),
            // every call is a POST, whatever it does
            approach: Approach::new(true, request.uri().authority().map(|a| a.as_str()), header),
            credential: credential(request.headers()),
        }
    }
}

/// A call that was let in.
#[derive(Debug)]
pub struct Admitted {
    /// The service as the caller may use it.
    pub facade: Facade,
    caller: Caller,
    client: Client,
    record: CallRecord,
}

/// A call that was not let in.
#[derive(Debug)]
pub struct TurnedAway {
    refusal: Refusal,
    /// Of who shows who they are and may do this nowhere: it is recorded when its message was read.
    unread: Option<(CallRecord, Client)>,
}

impl TurnedAway {
    /// Records the call, if it is not yet, with what its message names; gives the refusal, which does not depend on that.
    /// Nothing is read of who shows nothing.
    pub async fn recorded(self, facade: &Facade, body: Body, name: impl FnOnce(&[u8]) -> Touched) -> Refusal {
        if let Some((mut record, client)) = self.unread {
            if let Some((bytes, _account)) = facade.limits.glance(client, body).await {
                record.names(name(&bytes));
            }
            let code = self.refusal.error().map(Error::code);
            record.finish(AuditOutcome::of(code), None, code).await;
        }
        self.refusal
    }
}

impl From<Refusal> for TurnedAway {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, unread: None }
    }
}

/// Finds out who calls, counts the call for them, and lets in who may call this operation. Unlike over our own
/// REST, who shows nothing is refused open calls too, as in Milvus: clients find out when they connect.
///
/// # Errors
/// Not authenticated, or sent by a page of a stranger (that is recorded here), too many calls, or not permitted: that is
/// recorded by [`TurnedAway::recorded`].
pub async fn admit(facade: &Facade, operation: &str, arrival: Arrival) -> Result<Admitted, TurnedAway> {
    let Arrival {
        origin,
        approach,
        credential,
    } = arrival;
    let (service, limits) = (&facade.service, &facade.limits);
    let mut client = limits.at(origin.peer, origin.forwarded.iter().map(String::as_str));
    let mut record = CallRecord::begin(service, operation, origin);
    let begun = async {
        if let Err(error) = service.judge_approach(&approach) {
            limits.count(&client)?;
            return Err(error);
        }
        if credential.as_deref().is_some_and(|c| service.must_look_up(c)) {
            // made-up keys would cost a look each
            limits.look(&client)?;
        }
        let principal = match service.authenticate(credential.as_deref()).await {
            Ok(principal) => principal,
            Err(error) => {
                if error.code() == Code::Unauthenticated {
                    limits.count(&client)?;
                }
                return Err(error);
            }
        };
        record.by(&principal);
        if let Some(id) = principal.client_id() {
            client = Client::Known(ClientId(id));
        }
        limits.count(&client)?;
        service.begin_call(principal, operation)
    };
    match begun.await {
        Ok(caller) => {
            record.called_by(caller.clone());
            Ok(Admitted {
                facade: Facade {
                    service: service.called_by(caller.clone()),
                    settings: facade.settings,
                    limits: limits.clone(),
                },
                caller,
                client,
                record,
            })
        }
        Err(error) if error.code() == Code::RateLimited => {
            record.leave_out();
            Err(Refusal::from(error).into())
        }
        Err(error) if error.code() == Code::PermissionDenied => {
            record.is_denied(error.code());
            Err(TurnedAway {
                refusal: error.into(),
                unread: Some((record, client)),
            })
        }
        Err(error) => {
            let code = error.code();
            record.finish(AuditOutcome::of(Some(code)), None, Some(code)).await;
            Err(Refusal::from(error).into())
        }
    }
}

impl Admitted {
    /// Reads the message of the call; its memory is counted until the account is dropped.
    ///
    /// # Errors
    /// Too large, too slow, or no room.
    pub async fn read(&self, body: Body) -> Result<(Bytes, Account), Refusal> {
        let most = self.facade.settings.message_bytes();
        let read = self.facade.limits.read(self.client.clone(), body, most);
        read.await.map_err(|unread| match unread {
            Unread::TooLarge => Refusal::new(code::PARAMETER_TOO_LARGE, format!("the message has more than {most} bytes")),
            Unread::NoRoom => Code::Overloaded
                .error("too many large requests at the same time; try again")
                .into(),
            Unread::TooSlow => Refusal::new(code::TIMEOUT, unread.to_string()),
            Unread::Broken => Refusal::invalid(unread.to_string()),
        })
    }

    /// Records how the call ended. Gives what must be answered instead of a success that came about without
    /// a look at the caller's rights.
    pub async fn end(self, operation: &str, refusal: Option<&Refusal>) -> Option<Refusal> {
        let unjudged = (refusal.is_none() && !self.caller.touched().judged).then(|| {
            Refusal::from(Error::internal(format!(
                "{operation} answered without a look at the caller's rights"
            )))
        });
        let code = |refusal: &Refusal| refusal.error().map(Error::code);
        let (outcome, code) = match unjudged.as_ref().or(refusal) {
            None => (AuditOutcome::Ok, None),
            Some(refusal) => match code(refusal) {
                // refused in Milvus' words before the service was asked
                None => (AuditOutcome::Failed, None),
                code => (AuditOutcome::of(code), code),
            },
        };
        self.record.finish(outcome, None, code).await;
        unjudged
    }
}

/// The credential of a call; none when it brings none, or one in no known form.
fn credential(headers: &HeaderMap) -> Option<String> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let first = given.next()?;
    first.to_str().ok().filter(|_| given.next().is_none()).and_then(milvus)
}

/// What the audit log shall know of a request.
fn origin(request: &Request, request_id: &str) -> CallOrigin {
    let forwarded = request.headers().get_all("x-forwarded-for").iter();
    CallOrigin {
        method: request.method().as_str().into(),
        path: request.uri().path().into(),
        only_reads: false,
        request_id: request_id.into(),
        peer: request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip()),
        forwarded: forwarded.filter_map(|v| v.to_str().ok()).map(str::to_string).collect(),
    }
}
