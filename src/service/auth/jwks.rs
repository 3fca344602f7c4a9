//! The public keys of an OpenID provider, as it publishes them (RFC 7517).

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::{Host, Url};

/// Keys are fetched again after this time, so that one that was withdrawn is no longer taken.
pub const REFRESH: Duration = Duration::from_secs(600);
/// Between two fetches at least: anybody can send tokens with unknown key ids.
pub const PAUSE: Duration = Duration::from_secs(10);
/// A provider that takes longer is down.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a document at most.
const MAX_BYTES: usize = 1 << 20;
/// Keys at most that one token is tried with.
const MAX_TRIED: usize = 16;

/// A key that verifies.
#[derive(Clone)]
pub struct VerifyingKey {
    pub key: DecodingKey,
    /// What it may be used with: what the provider says, else what fits its type. Never a
    /// symmetric one: its "public" key would be the secret.
    pub algorithms: Vec<Algorithm>,
}

#[derive(Default)]
struct Fetched {
    /// As the provider lists them, each with its id where it has one. Nothing keeps a provider from publishing
    /// several without, or several under one id.
    keys: Vec<(Option<String>, VerifyingKey)>,
    at: Option<Instant>,
}

/// The keys of a provider, as they were fetched last. An outage of the provider does not take
/// away what is known.
pub struct Jwks {
    issuer: String,
    /// None: the provider's discovery document says it.
    url: Option<String>,
    http: reqwest::Client,
    fetched: RwLock<Arc<Fetched>>,
    /// Held while fetching; when that was begun last.
    fetching: Mutex<Option<Instant>>,
    pause: Duration,
    refresh: Duration,
}

impl std::fmt::Debug for Jwks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Jwks({})", self.issuer)
    }
}

/// Whether keys may be fetched from here: nobody in between may change them.
pub fn is_safe(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => return false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && local)
}

impl Jwks {
    pub fn new(issuer: String, url: Option<String>, pause: Duration, refresh: Duration) -> Self {
        Self {
            pause,
            refresh,
            issuer,
            url,
            // a redirect may lead to where anybody in between can change the keys
            http: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .expect("a client without settings of its own can always be made"),
            fetched: RwLock::default(),
            fetching: Mutex::default(),
        }
    }

    fn known(&self) -> Arc<Fetched> {
        self.fetched.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The keys that a token may be signed with: those of its key id; of one without, the only key there is, or those
    /// that have no id either.
    pub async fn keys(self: &Arc<Self>, kid: Option<&str>) -> Vec<VerifyingKey> {
        let known = self.known();
        let found = pick(&known, kid);
        if found.is_empty() {
            self.refresh(known.at).await;
            return pick(&self.known(), kid);
        }
        if known.at.is_none_or(|at| at.elapsed() > self.refresh) {
            let this = self.clone();
            tokio::spawn(async move { this.refresh(known.at).await });
        }
        found
    }

    /// Fetches the keys unless somebody has done so since, or tried a moment ago.
    async fn refresh(&self, seen: Option<Instant>) {
        let mut last = self.fetching.lock().await;
        if self.known().at != seen || last.is_some_and(|at| at.elapsed() < self.pause) {
            return;
        }
        *last = Some(Instant::now());
        match self.fetch().await {
            Ok(keys) => {
                tracing::info!(
                    issuer = self.issuer,
                    keys = keys.len(),
                    "fetched the keys of the OpenID provider"
                );
                let fetched = Fetched {
                    keys,
                    at: Some(Instant::now()),
                };
                *self.fetched.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fetched);
            }
            Err(why) => tracing::warn!(
                issuer = self.issuer,
                why,
                "can't fetch the keys of the OpenID provider; those that are known stay"
            ),
        }
    }

    async fn fetch(&self) -> Result<Vec<(Option<String>, VerifyingKey)>, String> {
        #[derive(Deserialize)]
        struct Discovery {
            issuer: String,
            jwks_uri: String,
        }
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let url = match &self.url {
            Some(url) => url.clone(),
            None => {
                let at = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
                let found: Discovery = self.document(&at).await?;
                if found.issuer != self.issuer {
                    return Err(format!("{at} is of another issuer, {:?}", found.issuer));
                }
                if !is_safe(&found.jwks_uri) {
                    return Err(format!("{at} names keys that are not at https://"));
                }
                found.jwks_uri
            }
        };
        let set: Set = self.document(&url).await?;
        // one by one: a key of a kind that is not known here spoils none of the others
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        Ok(keys.filter_map(usable).collect())
    }

    async fn document<T: serde::de::DeserializeOwned>(&self, url: &str) -> Result<T, String> {
        let fetch = async {
            let failed = |e: reqwest::Error| format!("{url}: {e}");
            let sent = self.http.get(url).send().await.map_err(failed)?;
            let mut answer = sent.error_for_status().map_err(failed)?;
            if answer.status().is_redirection() {
                return Err(format!("{url} redirects; set the address that it leads to"));
            }
            let mut bytes = Vec::new();
            while let Some(piece) = answer.chunk().await.map_err(failed)? {
                if bytes.len() + piece.len() > MAX_BYTES {
                    return Err(format!("{url} gives more than {MAX_BYTES} bytes"));
                }
                bytes.extend_from_slice(&piece);
            }
            Ok(bytes)
        };
        let bytes = tokio::time::timeout(TIMEOUT, fetch)
            .await
            .map_err(|_| format!("{url} does not answer"))??;
        serde_json::from_slice(&bytes).map_err(|e| format!("{url} can't be read: {e}"))
    }
}

fn pick(fetched: &Fetched, kid: Option<&str>) -> Vec<VerifyingKey> {
    let keys = match (kid, fetched.keys.as_slice()) {
        (None, [(_, only)]) => return vec![only.clone()],
        (kid, keys) => keys.iter().filter(move |(id, _)| id.as_deref() == kid),
    };
    keys.take(MAX_TRIED).map(|(_, key)| key.clone()).collect()
}

fn usable(jwk: Jwk) -> Option<(Option<String>, VerifyingKey)> {
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let fitting: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(_) => &[Algorithm::EdDSA],
        _ => return None,
    };
    let algorithms = match jwk.common.key_algorithm {
        None => fitting.to_vec(),
        Some(named) => {
            let named = Algorithm::try_from(named).ok()?;
            fitting.iter().copied().filter(|a| *a == named).collect()
        }
    };
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some((jwk.common.key_id, VerifyingKey { key, algorithms }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_by_tls_or_from_this_machine() {
        for url in [
            "https://id.example.com/keys",
            "http://127.0.0.1:1/keys",
            "http://localhost/keys",
            "http://[::1]/",
        ] {
            assert!(is_safe(url), "{url}");
        }
        for url in ["http://id.example.com/keys", "file:///etc/keys", "keys", "ftp://localhost/"] {
            assert!(!is_safe(url), "{url}");
        }
    }

    #[test]
    fn a_symmetric_key_and_one_for_encryption_verify_nothing() {
        for jwk in [
            r#"{"kty": "oct", "kid": "a", "alg": "HS256", "k": "c2VjcmV0"}"#,
            r#"{"kty": "EC", "use": "enc", "kid": "a", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
        ] {
            let jwk: Jwk = serde_json::from_str(jwk).expect("a key");
            assert!(usable(jwk).is_none());
        }
    }
}
