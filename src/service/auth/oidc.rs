//! Bearer tokens of an OpenID provider: JWTs that it signed for us (RFC 7519, RFC 8725).

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::jwks::Jwks;
use super::refused;
use crate::domain::access::{Grant, Principal, PrincipalKind};
use crate::domain::{Code, Result};

/// Seconds by which the provider's clock and ours may differ.
const LEEWAY_SECONDS: u64 = 30;
/// Characters of a token at most.
const MAX_TOKEN: usize = 16 * 1024;
/// Characters of a subject at most, as it stands in the audit log.
const MAX_SUBJECT: usize = 255;

/// Which tokens are accepted, and what they grant.
#[derive(Debug, Clone)]
pub struct OidcSettings {
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must be or hold.
    pub audience: String,
    /// Where the keys are; none: the issuer's discovery document says it.
    pub jwks_url: Option<String>,
    /// Claim whose values are granted something: a text, words, or a list; dots lead into objects.
    pub claim: String,
    /// A value of that claim and what it grants.
    pub grants: Vec<(String, Grant)>,
    /// Between two fetches of the provider's keys at least.
    pub pause: Duration,
    /// The keys are fetched again when they are older.
    pub refresh: Duration,
}

impl OidcSettings {
    /// Pause between fetches of the keys unless a test wants another.
    pub const PAUSE: Duration = super::jwks::PAUSE;
    /// Age of the keys unless a test wants another.
    pub const REFRESH: Duration = super::jwks::REFRESH;

    /// Whether the provider is asked in a way that nobody in between can change.
    pub fn is_safe(&self) -> bool {
        super::jwks::is_safe(self.jwks_url.as_deref().unwrap_or(&self.issuer))
    }
}

/// Verifies tokens.
#[derive(Debug)]
pub struct Oidc {
    settings: OidcSettings,
    jwks: Arc<Jwks>,
}

impl Oidc {
    pub fn new(settings: OidcSettings) -> Self {
        let jwks = Jwks::new(
            settings.issuer.clone(),
            settings.jwks_url.clone(),
            settings.pause,
            settings.refresh,
        );
        let jwks = Arc::new(jwks);
        Self { settings, jwks }
    }

    /// The principal of a token.
    ///
    /// # Errors
    /// `unauthenticated`.
    pub async fn principal(&self, token: &str) -> Result<Principal> {
        if token.len() > MAX_TOKEN {
            return Err(refused());
        }
        let header = decode_header(token).map_err(|e| refused().because(e))?;
        // extensions that must be understood (RFC 7515 §4.1.11): none is
        if header.crit.is_some() {
            return Err(refused());
        }
        let mut validation = Validation::new(header.alg);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_audience(&[&self.settings.audience]);
        validation.set_issuer(&[&self.settings.issuer]);
        // else a token without them would pass
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let mut verified =
            Err(Code::Unauthenticated.error("the token is signed with a key that the OpenID provider does not publish"));
        for key in self.jwks.keys(header.kid.as_deref()).await {
            // what the key is for decides, not what the token says
            validation.algorithms = key.algorithms;
            verified = decode::<Map<String, Value>>(token, &key.key, &validation).map_err(|e| refused().because(e));
            if verified.is_ok() {
                break;
            }
        }
        let token = verified?;
        let subject = token.claims.get("sub").and_then(Value::as_str).filter(|s| !s.is_empty());
        let values = values(&token.claims, &self.settings.claim);
        let grants = self
            .settings
            .grants
            .iter()
            .filter(|(value, _)| values.contains(&value.as_str()));
        Ok(Principal {
            kind: PrincipalKind::Token,
            name: subject.ok_or_else(refused)?.chars().take(MAX_SUBJECT).collect(),
            key_id: None,
            grants: grants.map(|(_, grant)| grant.clone()).collect(),
        })
    }
}

/// The values of a claim: by its whole name, else along its dots.
fn values<'a>(claims: &'a Map<String, Value>, claim: &str) -> Vec<&'a str> {
    let found = claims.get(claim).or_else(|| {
        let (first, rest) = claim.split_once('.')?;
        rest.split('.').try_fold(claims.get(first)?, |value, part| value.get(part))
    });
    match found {
        Some(Value::String(text)) => text.split_ascii_whitespace().collect(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_claim_are_found_as_providers_write_them() {
        let claims = serde_json::json!({
            "scope": "a b", "groups": ["x", 1, "y z"], "realm_access": {"roles": ["r"]}, "https://x.y/roles": ["w"]
        });
        let claims = claims.as_object().expect("an object");
        assert_eq!(values(claims, "scope"), ["a", "b"]);
        assert_eq!(values(claims, "groups"), ["x", "y z"]);
        assert_eq!(values(claims, "realm_access.roles"), ["r"]);
        assert_eq!(values(claims, "https://x.y/roles"), ["w"]);
        assert!(values(claims, "realm_access.no").is_empty() && values(claims, "no").is_empty());
    }
}
