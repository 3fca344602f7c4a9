//! How many requests a client may send: a bucket of tokens per client, in bounded memory.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{Extensions, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::ApiError;
use crate::domain::Code;

/// Who sends a request, where that is known better than by the address: set by a layer around this
/// one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientId(pub String);

/// What a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second in the long run.
    pub per_second: u32,
    /// Requests at once after a pause.
    pub burst: u32,
}

/// Clients that are told apart; any further ones share a bucket.
const MAX_CLIENTS: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Client {
    Known(ClientId),
    /// An IPv6 client has a whole network of 64 bits.
    Address(IpAddr),
    Anybody,
}

/// Buckets of clients. A bucket is the time at which it will be full again.
#[derive(Debug)]
pub struct RateLimiter {
    rate: Rate,
    full_at: Mutex<HashMap<Client, Instant>>,
}

impl RateLimiter {
    pub fn new(rate: Rate) -> Arc<Self> {
        Arc::new(Self {
            rate,
            full_at: Mutex::default(),
        })
    }

    /// Counts a request, by its extensions; gives the refusal of one that is too many.
    pub fn refuse(&self, extensions: &Extensions) -> Option<Response> {
        let wait = self.take(client(extensions), Instant::now()).err()?;
        let rate = self.rate.per_second;
        let error = Code::RateLimited.error(format!("more than {rate} requests a second; see the Retry-After header"));
        let mut response = ApiError::from(error).into_response();
        let seconds = HeaderValue::from(wait.as_millis().div_ceil(1000).max(1).min(u128::from(u32::MAX)) as u32);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
        Some(response)
    }

    /// Takes a token, or says how long to wait for one.
    fn take(&self, client: Client, now: Instant) -> Result<(), Duration> {
        let step = Duration::from_secs(1) / self.rate.per_second.max(1);
        let depth = step * self.rate.burst.max(1);
        let mut buckets = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let mut client = client;
        if buckets.len() >= MAX_CLIENTS && !buckets.contains_key(&client) {
            buckets.retain(|_, full_at| *full_at > now);
            if buckets.len() >= MAX_CLIENTS {
                client = Client::Anybody;
            }
        }
        let full_at = buckets.entry(client).or_insert(now);
        let after = (*full_at).max(now) + step;
        if after <= now + depth {
            *full_at = after;
            return Ok(());
        }
        Err(after - (now + depth))
    }
}

fn client(extensions: &Extensions) -> Client {
    if let Some(id) = extensions.get::<ClientId>() {
        return Client::Known(id.clone());
    }
    match extensions.get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip().to_canonical()) {
        Some(IpAddr::V6(ip)) => Client::Address(IpAddr::V6((ip.to_bits() >> 64 << 64).into())),
        Some(ip) => Client::Address(ip),
        None => Client::Anybody,
    }
}

/// The layer. Probes and metrics are never refused.
pub async fn limited(State(limiter): State<Option<Arc<RateLimiter>>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("", |m| m.as_str());
    let free = matches!(route, "/healthz" | "/readyz" | "/metrics");
    match limiter
        .filter(|_| !free)
        .and_then(|limiter| limiter.refuse(request.extensions()))
    {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> Client {
        Client::Address(IpAddr::V4(n.into()))
    }

    #[test]
    fn a_client_has_a_burst_and_then_its_rate_and_others_have_their_own() {
        let limiter = RateLimiter::new(Rate { per_second: 2, burst: 3 });
        let began = Instant::now();
        for _ in 0..3 {
            assert!(limiter.take(address(1), began).is_ok());
        }
        assert_eq!(limiter.take(address(1), began), Err(Duration::from_millis(500)));
        assert!(limiter.take(address(2), began).is_ok());
        assert!(limiter.take(address(1), began + Duration::from_millis(500)).is_ok());
        assert!(limiter.take(address(1), began + Duration::from_millis(500)).is_err());
    }

    #[test]
    fn memory_is_bounded_whatever_the_number_of_clients() {
        let limiter = RateLimiter::new(Rate { per_second: 1, burst: 1 });
        let began = Instant::now();
        let allowed = (0..20_000).filter(|n| limiter.take(address(*n), began).is_ok()).count();
        assert_eq!(allowed, MAX_CLIENTS + 1, "the others share one bucket");
        assert_eq!(limiter.full_at.lock().expect("sound").len(), MAX_CLIENTS + 1);
        assert!(limiter.take(address(30_000), began + Duration::from_secs(2)).is_ok());
        assert_eq!(limiter.full_at.lock().expect("sound").len(), 1, "full buckets are forgotten");
    }
}
