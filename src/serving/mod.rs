//! Connections: how many, how long each may take to say what it wants, and how long to take the answer.

mod pace;
mod places;
mod sending;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use self::pace::Paced;
use self::places::{Busy, Places, Slot, lock};
pub use self::sending::PIECE;
use self::sending::Sending;
use crate::domain::access::Network;
use crate::limits::{Client, Held, Room};

/// Limits of connections.
#[derive(Debug, Clone)]
pub struct Serving {
    /// Connections at the same time. One more closes the one that has been idle longest.
    pub max_clients: usize,
    /// Those of one address (of IPv6: a network of 64 bits), unless it is a proxy's.
    pub max_clients_per_address: usize,
    /// How long a TLS handshake and the head of a request may take, and how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long a client may take none of its answer.
    pub send_timeout: Duration,
    /// Addresses that stand for many clients.
    pub proxies: Vec<Network>,
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            max_clients: 8192,
            max_clients_per_address: 4096,
            header_timeout: Duration::from_secs(30),
            send_timeout: Duration::from_secs(30),
            proxies: Vec::new(),
        }
    }
}

impl Serving {
    /// Whose connections are counted together with those from an address.
    fn client(&self, address: IpAddr) -> Client {
        match self.proxies.iter().any(|proxy| proxy.holds(address.to_canonical())) {
            true => Client::Anybody,
            false => Client::at(address),
        }
    }
}

/// Bytes of the head of a request at most, and of what is read ahead of a connection.
pub const MAX_HEAD: usize = 64 * 1024;
/// Requests at the same time on one connection of HTTP/2.
pub const MAX_STREAMS: u32 = 200;
/// Bytes of requests that a connection of HTTP/2 may send ahead.
const H2_WINDOW: u32 = 256 * 1024;
/// Bytes of answers that wait for their clients at most, all together and those of one address. Small answers
/// are counted apart, so that large ones keep none of them out.
const UNSENT: usize = 512 * 1024 * 1024;
const UNSENT_OF_ONE: usize = UNSENT / 4;
const UNSENT_SMALL: usize = 256 * 1024 * 1024;
const UNSENT_SMALL_OF_ONE: usize = UNSENT_SMALL / 4;
const SMALL: usize = 64 * 1024;
/// Files that are left for Postgres, storage and everything else.
const SPARE_FILES: u64 = 256;

/// Raises the limit of open files as far as it goes and says how many of these connections may
/// take.
pub fn clients_that_fit(wanted: usize) -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return wanted;
    };
    let limit = if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() {
        hard
    } else {
        soft
    };
    let fit = usize::try_from(limit.saturating_sub(SPARE_FILES))
        .unwrap_or(usize::MAX)
        .max(16);
    if fit < wanted {
        tracing::warn!(
            wanted,
            fit,
            "the limit of open files allows fewer connections than --max-clients"
        );
    }
    wanted.min(fit)
}

/// Serves until it is told to stop; then running requests end. With `tls` nothing is served without it.
///
/// # Errors
/// Never; the type is that of servers that can fail.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Serving,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let places = Arc::new(Mutex::new(Places::default()));
    let unsent = Unsent {
        small: Room::new(UNSENT_SMALL, UNSENT_SMALL_OF_ONE),
        large: Room::new(UNSENT, UNSENT_OF_ONE),
    };
    let limits = Arc::new(limits);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        let full = connections.len() >= limits.max_clients;
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // most likely no more files: the idle ones make room
                tracing::warn!(%error, "could not accept a connection");
                lock(&places).close_longest();
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let client = limits.client(peer.ip());
        if !lock(&places).make_room(&client, full, limits.max_clients_per_address) {
            tracing::debug!(%peer, "refused a connection: all are busy");
            continue;
        }
        let connection = Connection {
            peer,
            router: router.clone(),
            limits: limits.clone(),
            unsent: unsent.clone(),
            slot: Slot::new(places.clone(), client),
            stop: stop.clone(),
        };
        connections.spawn(connection.accepted(stream, tls.clone()));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Room for what clients have not taken yet.
#[derive(Debug, Clone)]
struct Unsent {
    small: Arc<Room>,
    large: Arc<Room>,
}

impl Unsent {
    /// Counts an answer for a client; none when it leaves too much untaken.
    fn count(&self, client: &Client, body: &Body) -> Option<Held> {
        // what is made as it is sent holds nothing
        let size = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let room = if size > SMALL { &self.large } else { &self.small };
        let mut held = room.enter(client.clone());
        held.try_more(size).then_some(held)
    }
}

/// A connection that was accepted.
struct Connection {
    peer: SocketAddr,
    router: Router,
    limits: Arc<Serving>,
    unsent: Unsent,
    slot: Slot,
    stop: CancellationToken,
}

impl Connection {
    async fn accepted(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let _ = stream.set_nodelay(true);
        let stream = Paced::new(stream, self.limits.send_timeout);
        let Some(tls) = tls else {
            return speak(self, stream).await;
        };
        let handshake = tokio::time::timeout(self.limits.header_timeout, tls.accept(stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            () = self.slot.close.cancelled() => return,
            () = self.stop.cancelled() => return,
        };
        match shaken {
            Ok(Ok(stream)) => speak(self, stream).await,
            Ok(Err(error)) => tracing::debug!(peer = %self.peer, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(peer = %self.peer, "a TLS handshake took too long"),
        }
    }
}

/// Speaks HTTP/1.1 or HTTP/2, whichever the client begins.
async fn speak<S>(connection: Connection, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Connection {
        peer,
        router,
        limits,
        unsent,
        slot,
        stop,
    } = connection;
    let close = slot.close.clone();
    let seen = slot.seen.clone();
    let slot = Arc::new(slot);
    let sender = slot.clone();
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let busy = Busy::new(slot.clone());
        let unsent = unsent.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = router.clone().oneshot(request);
        async move {
            let response = answer.await?;
            let held = unsent.count(busy.0.client(), response.body());
            if held.is_none() {
                tracing::warn!(%peer, "closing a connection: its client does not take its answers");
                busy.0.close.cancel();
            }
            Ok::<_, Infallible>(response.map(|body| Sending::new(body, busy, held)))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(MAX_HEAD);
    // gRPC keeps its connections; one whose other end is gone is found by asking
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.header_timeout)
        .initial_stream_window_size(H2_WINDOW)
        .initial_connection_window_size(H2_WINDOW)
        .max_send_buf_size(MAX_HEAD)
        .max_header_list_size(MAX_HEAD as u32)
        .max_concurrent_streams(MAX_STREAMS);
    let mut serving = std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    // whatever the protocol does before its first request
    let silent = async {
        if tokio::time::timeout(limits.header_timeout, seen.cancelled()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = silent => return,
        () = close.cancelled() => return,
        () = sender.stuck(limits.send_timeout) => {
            tracing::debug!(%peer, "closed a connection: its client does not take its answer");
            return;
        }
        () = stop.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                ended = serving => ended,
                () = close.cancelled() => return,
                () = sender.stuck(limits.send_timeout) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error, "a connection ended early");
    }
}
