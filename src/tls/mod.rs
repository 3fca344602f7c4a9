//! TLS: its settings, and accepting connections that speak it.

mod settings;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub use settings::TlsSettings;

/// A handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes under way at most; further connections wait in the kernel.
const HANDSHAKES: usize = 1024;
/// Pause after an error of accepting, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts TLS connections for `axum::serve`. Handshakes run beside each other: one that is slow
/// or never ends holds nobody else up.
#[derive(Debug)]
pub struct TlsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    accepting: tokio::task::JoinHandle<()>,
}

impl TlsListener {
    /// Begins to accept.
    ///
    /// # Errors
    /// When a file of the settings can't be read or used.
    pub fn new(listener: TcpListener, settings: &TlsSettings) -> anyhow::Result<Self> {
        let acceptor = TlsAcceptor::from(settings.load()?);
        let address = listener.local_addr()?;
        let (send, ready) = mpsc::channel(64);
        let accepting = tokio::spawn(accept_all(listener, acceptor, send));
        Ok(Self {
            address,
            ready,
            accepting,
        })
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept_all(listener: TcpListener, acceptor: TlsAcceptor, send: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>) {
    let room = std::sync::Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (acceptor, send) = (acceptor.clone(), send.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                // the listener is gone: nobody wants it any more
                Ok(Ok(stream)) => drop(send.send((stream, peer)).await),
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
            }
            drop(permit);
        });
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            // only when the accepting task panicked; the server is told nothing it could use
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}
