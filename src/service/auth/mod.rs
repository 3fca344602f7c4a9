//! Who calls: API keys and bearer tokens to principals; and what is recorded of calls.

mod audit;
mod jwks;
mod keys;
mod oidc;
mod record;
mod secret;

use std::sync::Arc;

pub use audit::{AuditLines, AuditSettings};
pub use keys::{CreatedKey, NewApiKey, insert_key};
pub use oidc::OidcSettings;
pub use record::{CallOrigin, CallRecord};
pub use secret::Secret;

use self::keys::KeyCache;
use self::oidc::Oidc;
use super::Service;
use crate::domain::access::{Access, Approach, Caller, Doors, Network, Principal, PrincipalKind, needed};
use crate::domain::{Code, Error, Result};

/// Who is let in, and what is recorded.
#[derive(Debug, Clone, Default)]
pub struct AuthSettings {
    /// Every call needs a credential; else everybody may do everything.
    pub required: bool,
    /// A key that is in no table: everything is granted to it.
    pub admin_key: Option<Secret>,
    pub oidc: Option<OidcSettings>,
    /// Metrics need no credential.
    pub open_monitoring: bool,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    pub audit: AuditSettings,
    /// Names of the service and pages of others, which matter where no credential is needed.
    pub doors: Doors,
}

/// What knows the callers of a process.
#[derive(Debug)]
pub struct Auth {
    settings: AuthSettings,
    anybody: Arc<Principal>,
    nobody: Arc<Principal>,
    admin: Option<(keys::Hash, Arc<Principal>)>,
    keys: KeyCache,
    oidc: Option<Oidc>,
    audit: audit::Sink,
}

impl Auth {
    /// # Errors
    /// When the file of the audit log can't be opened.
    pub fn new(settings: AuthSettings) -> std::io::Result<Self> {
        let sink = audit::Sink::open(&settings.audit)?;
        Ok(Self::with_sink(settings, sink))
    }

    /// Authentication is off, and only the table records calls.
    pub(super) fn off() -> Self {
        Self::with_sink(AuthSettings::default(), audit::Sink::none())
    }

    fn with_sink(settings: AuthSettings, audit: audit::Sink) -> Self {
        let admin = settings.admin_key.as_ref().map(|key| {
            let principal = Principal {
                name: "admin-key".into(),
                ..Principal::unrestricted(PrincipalKind::Key)
            };
            (keys::hash(key.expose()), Arc::new(principal))
        });
        Self {
            anybody: Arc::new(Principal::unrestricted(PrincipalKind::Anybody)),
            nobody: Arc::new(Principal {
                grants: Vec::new(),
                ..Principal::unrestricted(PrincipalKind::Nobody)
            }),
            admin,
            keys: KeyCache::default(),
            oidc: settings.oidc.clone().map(Oidc::new),
            audit,
            settings,
        }
    }
}

/// The one text for all credentials that are no good: it helps nobody to find out why.
fn refused() -> Error {
    Code::Unauthenticated.error("the credential is not valid here, or has expired")
}

impl Service {
    /// The principal of a credential, as [`crate::domain::access::bearer`] or
    /// [`crate::domain::access::milvus`] read it; everybody where authentication is off.
    ///
    /// # Errors
    /// `unauthenticated`; `database_unavailable` when a key can't be looked up.
    pub async fn authenticate(&self, credential: Option<&str>) -> Result<Arc<Principal>> {
        if !self.auth.settings.required {
            return Ok(self.auth.anybody.clone());
        }
        let Some(credential) = credential else {
            return Err(Code::Unauthenticated.error("this needs an API key or a token, as \"Authorization: Bearer ...\""));
        };
        let hash = keys::hash(credential);
        if let Some((admin, principal)) = &self.auth.admin
            && *admin == hash
        {
            return Ok(principal.clone());
        }
        if keys::has_form(credential) {
            return self.principal_of_key(hash).await?.ok_or_else(refused);
        }
        match &self.auth.oidc {
            Some(oidc) => oidc.principal(credential).await.map(Arc::new),
            None => Err(refused()),
        }
    }

    /// The principal of a call of an operation; nobody in particular where it is open, unless it tells some
    /// callers more.
    ///
    /// # Errors
    /// As [`Service::authenticate`].
    pub async fn principal_for(&self, operation: &str, credential: Option<&str>) -> Result<Arc<Principal>> {
        if self.is_open(operation) && (credential.is_none() || !self.tells_more(operation)) {
            return Ok(self.auth.nobody.clone());
        }
        self.authenticate(credential).await
    }

    /// Whether an operation that is open tells some callers more.
    pub fn tells_more(&self, operation: &str) -> bool {
        needed(operation) == Some(Access::Monitoring)
    }

    /// Refuses what a stranger's page makes a browser send; where a credential is needed, it can't have one.
    ///
    /// # Errors
    /// `host_not_allowed`, `cross_site_request`.
    pub fn judge_approach(&self, approach: &Approach) -> Result<()> {
        match self.auth.settings.required {
            true => Ok(()),
            false => self.auth.settings.doors.judge(approach),
        }
    }

    /// Whether an operation needs no credential.
    pub fn is_open(&self, operation: &str) -> bool {
        match needed(operation) {
            Some(Access::Open) => true,
            Some(Access::Monitoring) => self.auth.settings.open_monitoring,
            _ => false,
        }
    }

    /// Whether finding out whose credential this is takes a look at the catalog, of a key that was never seen to
    /// be good.
    pub fn must_look_up(&self, credential: &str) -> bool {
        self.auth.settings.required && keys::has_form(credential) && {
            let hash = keys::hash(credential);
            !self.auth.keys.has_seen(&hash) && self.auth.admin.as_ref().is_none_or(|(admin, _)| *admin != hash)
        }
    }

    /// Proxies whose word on who calls is believed.
    pub fn trusted_proxies(&self) -> &[Network] {
        &self.auth.settings.trusted_proxies
    }

    /// Begins a call of an operation, by its id in the table of operations.
    ///
    /// # Errors
    /// `permission_denied`.
    pub fn begin_call(&self, principal: Arc<Principal>, operation: &str) -> Result<Caller> {
        Caller::new(principal, operation, self.auth.settings.open_monitoring)
    }

    /// The service as one call uses it: it does what that caller may do, and nothing else.
    #[must_use]
    pub fn called_by(&self, caller: Caller) -> Self {
        Self {
            shared: self.shared.clone(),
            caller,
        }
    }

    /// The service as it uses itself, whoever asked for it.
    pub(super) fn for_itself(&self) -> Self {
        self.called_by(Caller::service())
    }
}
