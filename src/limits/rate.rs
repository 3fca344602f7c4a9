//! How many requests a client may send: a bucket of tokens per client, in bounded memory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Client;
use crate::domain::{Code, Error};

/// What a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second in the long run.
    pub per_second: u32,
    /// Requests at once after a pause.
    pub burst: u32,
}

/// A request too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany {
    rate: u32,
    /// How long to wait for the next one.
    pub wait: Duration,
}

impl TooMany {
    /// The wait in whole seconds, at least one.
    pub fn seconds(&self) -> u32 {
        let seconds = self.wait.as_millis().div_ceil(1000).max(1);
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }
}

impl From<TooMany> for Error {
    fn from(refused: TooMany) -> Self {
        let (rate, seconds) = (refused.rate, refused.seconds());
        Code::RateLimited.error(format!("more than {rate} requests a second; try again in {seconds} s"))
    }
}

/// Clients that are told apart; any further ones share a bucket.
const MAX_CLIENTS: usize = 10_000;

/// Buckets of clients. A bucket is the time at which it will be full again.
#[derive(Debug)]
pub struct RateLimiter {
    rate: Rate,
    full_at: Mutex<HashMap<Client, Instant>>,
}

impl RateLimiter {
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            full_at: Mutex::default(),
        }
    }

    /// Whether there is a token.
    pub fn look(&self, client: &Client, now: Instant) -> Result<(), TooMany> {
        let buckets = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let crowded = buckets.len() >= MAX_CLIENTS && !buckets.contains_key(client);
        let client = if crowded { &Client::Anybody } else { client };
        let full_at = buckets.get(client).copied().unwrap_or(now);
        self.after(full_at, now).map(|_| ())
    }

    /// Takes a token, or says how long to wait for one.
    pub fn take(&self, client: &Client, now: Instant) -> Result<(), TooMany> {
        let mut buckets = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let mut client = client;
        if buckets.len() >= MAX_CLIENTS && !buckets.contains_key(client) {
            buckets.retain(|_, full_at| *full_at > now);
            if buckets.len() >= MAX_CLIENTS {
                client = &Client::Anybody;
            }
        }
        let full_at = buckets.entry(client.clone()).or_insert(now);
        *full_at = self.after(*full_at, now)?;
        Ok(())
    }

    /// When a bucket will be full again after another request.
    fn after(&self, full_at: Instant, now: Instant) -> Result<Instant, TooMany> {
        let step = Duration::from_secs(1) / self.rate.per_second.max(1);
        let depth = step * self.rate.burst.max(1);
        let after = full_at.max(now) + step;
        if after <= now + depth {
            return Ok(after);
        }
        Err(TooMany {
            rate: self.rate.per_second,
            wait: after - (now + depth),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn address(n: u32) -> Client {
        Client::at(IpAddr::V4(n.into()))
    }

    #[test]
    fn a_client_has_a_burst_and_then_its_rate_and_others_have_their_own() {
        let limiter = RateLimiter::new(Rate { per_second: 2, burst: 3 });
        let began = Instant::now();
        for _ in 0..3 {
            assert!(limiter.look(&address(1), began).is_ok());
            assert!(limiter.take(&address(1), began).is_ok());
        }
        let refused = limiter.take(&address(1), began).expect_err("a fourth");
        assert_eq!((refused.wait, refused.seconds()), (Duration::from_millis(500), 1));
        assert_eq!(limiter.look(&address(1), began), Err(refused));
        assert!(limiter.take(&address(2), began).is_ok());
        assert!(limiter.take(&address(1), began + Duration::from_millis(500)).is_ok());
        assert!(limiter.take(&address(1), began + Duration::from_millis(500)).is_err());
    }

    #[test]
    fn memory_is_bounded_whatever_the_number_of_clients() {
        let limiter = RateLimiter::new(Rate { per_second: 1, burst: 1 });
        let began = Instant::now();
        let allowed = (0..20_000).filter(|n| limiter.take(&address(*n), began).is_ok()).count();
        assert_eq!(allowed, MAX_CLIENTS + 1, "the others share one bucket");
        assert_eq!(limiter.full_at.lock().expect("sound").len(), MAX_CLIENTS + 1);
        assert!(limiter.look(&address(30_000), began).is_err(), "that of the others is empty");
        assert!(limiter.take(&address(30_000), began + Duration::from_secs(2)).is_ok());
        assert_eq!(limiter.full_at.lock().expect("sound").len(), 1, "full buckets are forgotten");
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_client() {
        let at = |text: &str| Client::at(text.parse().expect("an address"));
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
    }
}
