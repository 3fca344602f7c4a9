//! Connections: how many, and how long each may take to say what it wants.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Limits of connections.
#[derive(Debug, Clone, Copy)]
pub struct Serving {
    /// Connections at the same time. One more closes the one that has been idle longest.
    pub max_clients: usize,
    /// How long a TLS handshake and the head of a request may take, and how long a connection may be idle.
    pub header_timeout: Duration,
}

/// Bytes of the head of a request at most, and of what is read ahead of a connection.
const MAX_HEAD: usize = 64 * 1024;
/// Requests at the same time on one connection of HTTP/2.
const MAX_STREAMS: u32 = 200;
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
    let idle = Arc::new(Mutex::new(Idle::default()));
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
                lock(&idle).close_longest();
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        if full && !lock(&idle).close_longest() {
            tracing::debug!(%peer, "refused a connection: all are busy");
            continue;
        }
        let slot = Slot::new(idle.clone());
        let connection = Connection {
            peer,
            router: router.clone(),
            limits,
            slot,
            stop: stop.clone(),
        };
        connections.spawn(connection.accepted(stream, tls.clone()));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// A connection that was accepted.
struct Connection {
    peer: SocketAddr,
    router: Router,
    limits: Serving,
    slot: Slot,
    stop: CancellationToken,
}

impl Connection {
    async fn accepted(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let _ = stream.set_nodelay(true);
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
        slot,
        stop,
    } = connection;
    let close = slot.close.clone();
    let seen = slot.seen.clone();
    let slot = Arc::new(slot);
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let busy = Busy::new(slot.clone());
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = router.clone().oneshot(request);
        async move {
            let response = answer.await?;
            Ok::<_, Infallible>(response.map(|body| Guarded { body, _busy: busy }))
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
        () = stop.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error, "a connection ended early");
    }
}

fn lock(idle: &Mutex<Idle>) -> std::sync::MutexGuard<'_, Idle> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections without a request, in the order in which they became so.
#[derive(Debug, Default)]
struct Idle {
    next: u64,
    waiting: BTreeMap<u64, CancellationToken>,
}

impl Idle {
    /// Closes the one that has been idle longest; false when every connection is busy.
    fn close_longest(&mut self) -> bool {
        match self.waiting.pop_first() {
            Some((_, close)) => {
                close.cancel();
                true
            }
            None => false,
        }
    }
}

/// The place of a connection. Its lock is always taken before that of the idle ones.
#[derive(Debug)]
struct Slot {
    idle: Arc<Mutex<Idle>>,
    state: Mutex<SlotState>,
    close: CancellationToken,
    /// The first request has come.
    seen: CancellationToken,
}

#[derive(Debug, Default)]
struct SlotState {
    requests: usize,
    /// Where it waits while it is idle.
    place: Option<u64>,
}

impl Slot {
    fn new(idle: Arc<Mutex<Idle>>) -> Self {
        let slot = Self {
            idle,
            state: Mutex::default(),
            close: CancellationToken::new(),
            seen: CancellationToken::new(),
        };
        slot.change(|_| {});
        slot
    }

    /// Changes the number of requests; the connection is idle when there is none.
    fn change(&self, change: impl FnOnce(&mut usize)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state.requests);
        let mut idle = lock(&self.idle);
        if let Some(place) = state.place.take() {
            idle.waiting.remove(&place);
        }
        if state.requests == 0 {
            let place = idle.next;
            idle.next += 1;
            idle.waiting.insert(place, self.close.clone());
            state.place = Some(place);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.change(|requests| *requests = 1);
    }
}

/// A request that is being answered.
#[derive(Debug)]
struct Busy(Arc<Slot>);

impl Busy {
    fn new(slot: Arc<Slot>) -> Self {
        slot.seen.cancel();
        slot.change(|requests| *requests += 1);
        Self(slot)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.change(|requests| *requests -= 1);
    }
}

/// The body of an answer: its connection is busy until it has been sent.
struct Guarded {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
