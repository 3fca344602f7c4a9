//! The server's side of TLS, from PEM files. They are read at start only: a new certificate needs a
//! restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{NoClientAuth, WebPkiClientVerifier};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Files of a server that speaks TLS.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// The chain, the server's own certificate first.
    pub certificates: PathBuf,
    pub key: PathBuf,
    /// Whoever has no certificate of these authorities gets no connection.
    pub client_authorities: Option<PathBuf>,
}

impl TlsSettings {
    /// Reads the files; TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// Which file can't be read or used.
    pub fn load(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = match &self.client_authorities {
            None => Arc::new(NoClientAuth),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots
                        .add(certificate)
                        .with_context(|| format!("a certificate in {}", path.display()))?;
                }
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .build()
                    .with_context(|| format!("the authorities in {}", path.display()))?
            }
        };
        let key =
            PrivateKeyDer::from_pem_file(&self.key).with_context(|| format!("the private key in {}", self.key.display()))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates(&self.certificates)?, key)
            .with_context(|| format!("the certificate in {} and its key", self.certificates.display()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let found = read().with_context(|| format!("the certificates in {}", path.display()))?;
    ensure!(!found.is_empty(), "there is no certificate in {}", path.display());
    Ok(found)
}
