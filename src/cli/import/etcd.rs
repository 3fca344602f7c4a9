//! Reading etcd through the JSON gateway that every etcd 3.4 and newer has on its client port.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use reqwest::{Certificate, Identity};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use super::super::failure::Failure;
use super::source::Keys;

const TIMEOUT: Duration = Duration::from_secs(60);
/// Keys of a page.
const PAGE: u32 = 1000;

/// How to speak to etcd.
#[derive(Debug, Args)]
pub struct EtcdArgs {
    /// Milvus' etcd, http://host:2379 or https://...; it is only read
    #[arg(long, value_name = "URL")]
    pub etcd: Option<String>,

    /// User of etcd, where it wants one
    #[arg(long, value_name = "NAME", requires = "etcd")]
    pub etcd_user: Option<String>,

    /// Password of that user; better in the environment than on the command line, which others can see
    #[arg(long, env = "STILLFRAME_ETCD_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    pub etcd_password: Option<String>,

    /// PEM file with the authorities that etcd's certificate is checked against, instead of the system's
    #[arg(long, value_name = "FILE", requires = "etcd")]
    pub etcd_ca: Option<PathBuf>,

    /// PEM file with a client certificate for etcd
    #[arg(long, value_name = "FILE", requires = "etcd_key")]
    pub etcd_cert: Option<PathBuf>,

    /// PEM file with the key of the client certificate
    #[arg(long, value_name = "FILE", requires = "etcd_cert")]
    pub etcd_key: Option<PathBuf>,
}

/// A running etcd.
pub struct Etcd {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

impl Etcd {
    /// Prepares the connection, and logs in where a user is named.
    ///
    /// # Errors
    /// A wrong setting; an etcd that does not answer or does not know the user.
    pub async fn connect(url: &str, args: &EtcdArgs) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::Usage(format!("--etcd {url:?} {why}; expected http://host:2379"));
        let base = Url::parse(url).map_err(|e| wrong(&format!("is no URL ({e})")))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(wrong("is no HTTP URL"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(Failure::Usage(
                "--etcd must not carry a password; use --etcd-user and STILLFRAME_ETCD_PASSWORD".into(),
            ));
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("stillframe/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            // etcd stands beside Milvus, not beyond a proxy
            .no_proxy()
            .timeout(TIMEOUT);
        if let Some(path) = &args.etcd_ca {
            let authorities = Certificate::from_pem_bundle(&read(path)?)
                .with_context(|| format!("{} holds no certificates", path.display()))?;
            builder = builder.tls_certs_only(authorities);
        } else if base.scheme() == "http" {
            builder = builder.tls_certs_only([]);
        }
        if let (Some(cert), Some(key)) = (&args.etcd_cert, &args.etcd_key) {
            let pem = [read(cert)?, read(key)?].join(&b'\n');
            let identity = Identity::from_pem(&pem).context("--etcd-cert and --etcd-key hold no certificate with its key")?;
            builder = builder.identity(identity);
        }
        let http = builder.build().context("the HTTP client can't be set up")?;
        let mut etcd = Self { http, base, token: None };
        if let Some(user) = &args.etcd_user {
            #[derive(Deserialize)]
            struct Token {
                token: String,
            }
            let password = args.etcd_password.as_deref().unwrap_or_default();
            let body = json!({"name": user, "password": password});
            etcd.token = Some(etcd.post::<Token>("auth/authenticate", &body).await?.token);
        }
        Ok(etcd)
    }

    /// The revision of this moment.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub async fn revision(&self, root: &str) -> Result<i64, Failure> {
        let body = json!({"key": STANDARD.encode(root), "count_only": true});
        let answer: Keys = self.post("kv/range", &body).await?;
        let header = answer.header.ok_or_else(|| anyhow!("{} named no revision", self.base))?;
        Ok(header.revision)
    }

    /// Every key that begins so, with its value, at this revision.
    ///
    /// # Errors
    /// When etcd does not answer, or has compacted the revision away.
    pub async fn range(&self, begin: &[u8], revision: i64) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Failure> {
        let mut found = Vec::new();
        let mut from = begin.to_vec();
        loop {
            let body = json!({"key": STANDARD.encode(&from), "range_end": STANDARD.encode(end_of(begin)),
                "limit": PAGE.to_string(), "revision": revision.to_string()});
            let page: Keys = self.post("kv/range", &body).await?;
            let last = page.kvs.last().map(|kv| kv.key.clone());
            found.extend(page.kvs.into_iter().map(|kv| (kv.key, kv.value)));
            match last {
                // the first key after it
                Some(last) if page.more => from = [last.as_slice(), &[0]].concat(),
                _ => return Ok(found),
            }
        }
    }

    async fn post<T: DeserializeOwned>(&self, call: &str, body: &Value) -> Result<T, Failure> {
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().push("v3").extend(call.split('/'));
        }
        let mut request = self.http.post(url).json(body);
        if let Some(token) = &self.token {
            request = request.header("authorization", token);
        }
        let unreachable = |e: reqwest::Error| {
            Failure::Unreachable(format!(
                "no answer from etcd at {}: {:#}",
                self.base,
                anyhow::Error::new(e.without_url())
            ))
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(unreachable)?;
        if status.is_success() {
            return Ok(serde_json::from_slice(&bytes)
                .with_context(|| format!("{} does not answer as etcd's JSON gateway does", self.base))?);
        }
        let said: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let why = said["message"]
            .as_str()
            .or(said["error"].as_str())
            .unwrap_or("no reason given");
        let hint = match why {
            _ if why.contains("compacted") => "; etcd forgot the revision while it was read: run the import again",
            _ if why.contains("auth") || why.contains("user") || why.contains("permission") => {
                "; see --etcd-user and STILLFRAME_ETCD_PASSWORD"
            }
            _ if status.as_u16() == 404 => "; is it etcd 3.4 or newer, with its JSON gateway on?",
            _ => "",
        };
        Err(Failure::Other(anyhow!(
            "etcd at {} answered {}: {why}{hint}",
            self.base,
            status.as_u16()
        )))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    Ok(std::fs::read(path).with_context(|| format!("can't read {}", path.display()))?)
}

/// The first key that no longer begins so.
fn end_of(begin: &[u8]) -> Vec<u8> {
    let mut end = begin.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    // all the keys there are
    vec![0]
}
