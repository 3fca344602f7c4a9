//! A small OpenID provider: its keys and its tokens, signed here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use parking::Mutex;
use serde_json::{Value, json};

/// `std`'s mutex without its poison.
mod parking {
    pub struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> std::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}

/// A key that signs.
pub enum Signer {
    Ec(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl Signer {
    pub fn ec() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"))
    }

    pub fn rsa() -> Self {
        Self::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")))
    }

    fn alg(&self) -> &'static str {
        match self {
            Self::Ec(_) => "ES256",
            Self::Rsa(_) => "RS256",
        }
    }

    /// As the provider publishes it.
    pub fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Ec(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..65])})
            }
            Self::Rsa(key) => {
                let public = key.public_key();
                let number = |bytes: &[u8]| BASE64.encode(bytes);
                json!({"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256",
                    "n": number(public.modulus().big_endian_without_leading_zero()),
                    "e": number(public.exponent().big_endian_without_leading_zero())})
            }
        }
    }

    /// The public key's bytes, which everybody has.
    pub fn public(&self) -> Vec<u8> {
        match self {
            Self::Ec(key) => key.public_key().as_ref().to_vec(),
            Self::Rsa(key) => key.public_key().as_ref().to_vec(),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ec(key) => key.sign(&random, message).expect("signed").as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("signed");
                signature
            }
        }
    }

    /// A token with these claims.
    pub fn token(&self, kid: &str, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.alg(), "typ": "JWT", "kid": kid}), claims)
    }

    /// A token with this header, whatever it says.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let signature = BASE64.encode(self.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// Header and claims, as they are signed.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

struct Shared {
    keys: Mutex<Option<Vec<Value>>>,
    /// Where the keys are said to be instead.
    moved_to: Mutex<Option<String>>,
    fetches: AtomicUsize,
}

/// A provider on this machine.
pub struct Provider {
    pub issuer: String,
    shared: Arc<Shared>,
}

impl Provider {
    pub async fn start(keys: Vec<Value>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let issuer = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared {
            keys: Mutex::new(Some(keys)),
            moved_to: Mutex::new(None),
            fetches: AtomicUsize::new(0),
        });
        let (own, of_keys) = (issuer.clone(), shared.clone());
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(move || async move { Json(json!({"issuer": own, "jwks_uri": format!("{own}/keys")})) }),
            )
            .route(
                "/keys",
                get(move || async move {
                    of_keys.fetches.fetch_add(1, Ordering::SeqCst);
                    let keys = of_keys.keys.lock().clone();
                    let moved = of_keys.moved_to.lock().clone();
                    match (moved, keys) {
                        (Some(to), _) => Redirect::temporary(&to).into_response(),
                        (None, Some(keys)) => Json(json!({"keys": keys})).into_response(),
                        (None, None) => axum::http::StatusCode::BAD_GATEWAY.into_response(),
                    }
                }),
            );
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { issuer, shared }
    }

    /// Publishes other keys; none: it is down.
    pub fn publish(&self, keys: Option<Vec<Value>>) {
        *self.shared.keys.lock() = keys;
    }

    /// Redirects whoever asks for the keys.
    pub fn redirect(&self, to: &str) {
        *self.shared.moved_to.lock() = Some(to.into());
    }

    pub fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }
}
