//! What a process lends its clients, whichever of its APIs they speak: requests a second, and memory
//! for what they send.

mod client;
mod intake;
mod rate;
mod room;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody as _};
use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};

use crate::domain::access::{Network, caller_address};

pub use client::{Client, ClientId};
pub use intake::{Account, LARGE_BODIES, LARGE_SHARE, MIN_RATE, SMALL, Unread, why};
pub use rate::{Rate, TooMany};
pub use room::{Held, Room};

use intake::Intake;
use rate::RateLimiter;

/// Bytes that are read at most of the body of a call that is refused whatever it says, and for how long.
const GLANCE: usize = 1024 * 1024;
const GLANCE_TIME: Duration = Duration::from_secs(5);

/// The limits of a process. Cheap to clone; clones share what is counted.
#[derive(Debug, Clone)]
pub struct Limits {
    rate: Option<Arc<RateLimiter>>,
    intake: Intake,
    proxies: Arc<[Network]>,
}

impl Limits {
    /// `body_bytes`: of one body at most. `pause`: the time in which something of it must come. `proxies`: those
    /// whose `X-Forwarded-For` is believed.
    pub fn new(rate: Option<Rate>, body_bytes: usize, pause: Duration, proxies: &[Network]) -> Self {
        Self {
            rate: rate.map(|rate| Arc::new(RateLimiter::new(rate))),
            intake: Intake::new(body_bytes, pause),
            proxies: proxies.into(),
        }
    }

    /// Who is at the other end of a connection, by their address.
    pub fn at<'a>(&self, peer: Option<IpAddr>, forwarded: impl DoubleEndedIterator<Item = &'a str>) -> Client {
        peer.map_or(Client::Anybody, |peer| {
            Client::at(caller_address(peer, forwarded, &self.proxies))
        })
    }

    /// The same of a request.
    pub fn sender(&self, extensions: &Extensions, headers: &HeaderMap) -> Client {
        let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let lines: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        self.at(peer, lines.into_iter())
    }

    /// Counts a request.
    ///
    /// # Errors
    /// When the client sends more than it may; the request is not counted then.
    pub fn count(&self, client: &Client) -> Result<(), TooMany> {
        self.rate.as_ref().map_or(Ok(()), |rate| rate.take(client, Instant::now()))
    }

    /// Whether a request would be counted, without counting it.
    ///
    /// # Errors
    /// As [`Limits::count`].
    pub fn look(&self, client: &Client) -> Result<(), TooMany> {
        self.rate.as_ref().map_or(Ok(()), |rate| rate.look(client, Instant::now()))
    }

    /// A body that fails when it comes too slowly, or has no room. The room is taken until the account is
    /// dropped.
    pub fn take_in(&self, client: Client, body: Body) -> (Body, Account) {
        self.intake.take_in(client, body, usize::MAX)
    }

    /// Reads a body of this size at most.
    ///
    /// # Errors
    /// Why it could not be read.
    pub async fn read(&self, client: Client, body: Body, most: usize) -> Result<(axum::body::Bytes, Account), Unread> {
        self.intake.read(client, body, most).await
    }

    /// The body of a call that is refused whatever it says, for the audit log; none when it is larger or slower than
    /// is worth it.
    pub async fn glance(&self, client: Client, body: Body) -> Option<(axum::body::Bytes, Account)> {
        if body.size_hint().lower() > GLANCE as u64 {
            return None;
        }
        let read = self.intake.read(client, body, GLANCE);
        tokio::time::timeout(GLANCE_TIME, read).await.ok()?.ok()
    }
}
