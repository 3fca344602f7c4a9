//! TLS, client certificates, and connections that never finish their handshake.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Version};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Certificate, Identity};
use stillframe::serving::{self, Serving};
use stillframe::tls::TlsSettings;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

use super::who::{ADMIN_KEY, required};
use crate::milvus::wire::{framed, status_of};
use crate::support::TestApp;

/// An authority, and what it has signed, as files.
pub struct Certificates {
    directory: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("ca.pem"), authority.pem()).expect("written");
        Self { directory, authority }
    }

    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A certificate and its key, signed by the authority.
    pub fn signed(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.authority).expect("signed");
        let at = |end: &str| self.directory.path().join(format!("{name}.{end}"));
        std::fs::write(at("pem"), certificate.pem()).expect("written");
        std::fs::write(at("key"), key.serialize_pem()).expect("written");
        (at("pem"), at("key"))
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("readable")
}

async fn serve(settings: &TlsSettings) -> SocketAddr {
    serve_router(settings, Router::new().route("/", get(|| async { "here" }))).await
}

async fn serve_router(settings: &TlsSettings, router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let tls = TlsAcceptor::from(settings.load().expect("TLS"));
    let limits = Serving {
        max_clients: 1000,
        header_timeout: Duration::from_secs(10),
        ..Serving::default()
    };
    tokio::spawn(serving::serve(listener, Some(tls), router, limits, CancellationToken::new()));
    address
}

fn client(certificates: &Certificates) -> reqwest::ClientBuilder {
    let authority = Certificate::from_pem(&read(&certificates.authority())).expect("a certificate");
    reqwest::Client::builder().no_proxy().tls_certs_only([authority])
}

#[tokio::test]
async fn only_tls_is_spoken_and_idle_connections_hold_nobody_up() {
    let certificates = Certificates::new();
    let (chain, key) = certificates.signed("server");
    let address = serve(&TlsSettings {
        certificates: chain,
        key,
        client_authorities: None,
    })
    .await;
    // connections that say nothing, and some that say nonsense
    let mut idle = Vec::new();
    for n in 0..100 {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        if n % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
        }
        idle.push(stream);
    }
    let client = client(&certificates)
        .timeout(Duration::from_secs(5))
        .build()
        .expect("a client");
    let answer = client
        .get(format!("https://localhost:{}/", address.port()))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.text().await.expect("a text"), "here");
    let plain = reqwest::Client::builder().no_proxy().build().expect("a client");
    assert!(plain.get(format!("http://{address}/")).send().await.is_err(), "no plain HTTP");
    let other = Certificates::new();
    let stranger = self::client(&other).build().expect("a client");
    assert!(
        stranger.get(format!("https://{address}/")).send().await.is_err(),
        "the client sees who it is"
    );
}

#[tokio::test]
async fn grpc_is_spoken_over_tls_by_the_same_rules() {
    let certificates = Certificates::new();
    let (chain, key) = certificates.signed("server");
    let app = TestApp::with_auth(required()).await;
    let settings = TlsSettings {
        certificates: chain,
        key,
        client_authorities: None,
    };
    let address = serve_router(&settings, app.router()).await;

    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(certificates.authority()).expect("a certificate");
    roots.add(authority).expect("taken");
    let versions =
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions();
    let mut config = versions
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // as every client of gRPC offers it
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.expect("connects");
    let name = ServerName::try_from("localhost").expect("a name");
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .expect("a handshake");
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls));
    let (mut sender, connection) = handshake.await.expect("HTTP/2");
    tokio::spawn(connection);

    let token = STANDARD.encode(ADMIN_KEY);
    for (credential, code) in [(Some(&token), 0), (None, 1400)] {
        let mut request = Request::post("https://localhost/milvus.proto.milvus.MilvusService/ListDatabases")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(credential) = credential {
            request = request.header("authorization", credential.as_str());
        }
        let request = request.body(Body::from(framed(&[]))).expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        assert_eq!((answer.version(), answer.status().as_u16()), (Version::HTTP_2, 200));
        assert_eq!(answer.headers()["content-type"], "application/grpc");
        let bytes = to_bytes(Body::new(answer.into_body()), usize::MAX).await.expect("a body");
        assert_eq!(status_of(&bytes).code, code);
    }
}

#[tokio::test]
async fn a_client_needs_a_certificate_where_that_is_set() {
    let certificates = Certificates::new();
    let (chain, key) = certificates.signed("server");
    let address = serve(&TlsSettings {
        certificates: chain,
        key,
        client_authorities: Some(certificates.authority()),
    })
    .await;
    let url = format!("https://localhost:{}/", address.port());
    let identity =
        |(chain, key): (PathBuf, PathBuf)| Identity::from_pem(&[read(&chain), read(&key)].concat()).expect("an identity");
    let good = client(&certificates)
        .identity(identity(certificates.signed("client")))
        .build()
        .expect("a client");
    assert_eq!(
        good.get(&url).send().await.expect("an answer").text().await.expect("a text"),
        "here"
    );
    let without = client(&certificates).build().expect("a client");
    assert!(without.get(&url).send().await.is_err(), "no certificate");
    let other = Certificates::new();
    let wrong = client(&certificates)
        .identity(identity(other.signed("client")))
        .build()
        .expect("a client");
    assert!(wrong.get(&url).send().await.is_err(), "one of another authority");
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let certificates = Certificates::new();
    let (chain, key) = certificates.signed("server");
    let empty = certificates.authority().with_file_name("empty.pem");
    std::fs::write(&empty, "").expect("written");
    let (_, other) = certificates.signed("other");
    let settings = |certificates: &Path, key: &Path, client: Option<&Path>| TlsSettings {
        certificates: certificates.into(),
        key: key.into(),
        client_authorities: client.map(Into::into),
    };
    for (wrong, named) in [
        (settings(&empty, &key, None), "empty.pem"),
        (settings(Path::new("/no/such.pem"), &key, None), "such.pem"),
        (settings(&chain, &chain, None), "server.pem"),
        (settings(&chain, &other, None), "server.pem"),
        (settings(&chain, &key, Some(&empty)), "empty.pem"),
    ] {
        let error = format!("{:#}", wrong.load().expect_err("unusable"));
        assert!(error.contains(named) && !error.contains("PRIVATE"), "{error}");
    }
}
