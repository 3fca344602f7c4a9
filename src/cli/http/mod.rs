//! The HTTP client of all client commands.

mod answer;

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Method};
use serde_json::Value;
use url::{Host, Url};

use self::answer::Page;
pub use self::answer::{as_list, decode, decode_all};
use super::args::ClientArgs;
use super::failure::{Failure, Problem};
use super::output;

/// The service gives up a request after five minutes unless set otherwise.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Entries of a page; the service gives no more.
const PAGE: u64 = 1000;

/// Query parameters.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Adds a parameter unless it is absent.
    #[must_use]
    pub fn and(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.0.extend(value.map(|v| (name, v.to_string())));
        self
    }
}

/// A service to talk to.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    /// Whether the service's JSON is wanted, not tables.
    pub json: bool,
    /// The database that was named.
    pub db: Option<String>,
}

impl Client {
    /// # Errors
    /// A server that is no HTTP URL.
    pub fn new(args: ClientArgs) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::Usage(format!("the server {:?} {why}; expected http://host:port", args.server));
        let base = Url::parse(&args.server).map_err(|e| wrong(&format!("is no URL ({e})")))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(wrong("is no HTTP URL"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(wrong("has parameters"));
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("stillframe/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT);
        if is_loopback(&base) {
            // a proxy of the environment can't reach this machine's own services
            builder = builder.no_proxy();
        }
        if base.scheme() == "http" && args.ca_file.is_none() {
            // needs no certificates, so a machine without any is fine
            builder = builder.tls_certs_only([]);
        }
        if let Some(path) = &args.ca_file {
            builder = builder.tls_certs_merge(authorities(path)?);
        }
        if let Some(key) = &args.api_key {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.0))
                .map_err(|_| Failure::Usage("the API key can't stand in a header".into()))?;
            value.set_sensitive(true);
            builder = builder.default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)]));
        }
        let http = builder
            .build()
            .map_err(|e| anyhow::Error::new(e).context("the HTTP client can't be set up"))?;
        Ok(Self {
            http,
            base,
            json: args.json,
            db: args.db,
        })
    }

    /// A query that names the database, where one was named.
    pub fn query(&self) -> Query {
        Query::default().and("db_name", self.db.as_deref())
    }

    /// # Errors
    /// What the service answered, or that it did not.
    pub async fn get(&self, path: &[&str], query: Query) -> Result<Value, Failure> {
        self.call(Method::GET, path, query, None, Duration::ZERO).await
    }

    /// `wait` is the time that the service was asked to wait for something.
    ///
    /// # Errors
    /// What the service answered, or that it did not.
    pub async fn post(&self, path: &[&str], query: Query, body: &Value, wait: Duration) -> Result<Value, Failure> {
        self.call(Method::POST, path, query, Some(body), wait).await
    }

    /// # Errors
    /// What the service answered, or that it did not.
    pub async fn patch(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.call(Method::PATCH, path, Query::default(), Some(body), Duration::ZERO)
            .await
    }

    /// Any method with a body.
    ///
    /// # Errors
    /// What the service answered, or that it did not.
    pub async fn send(&self, method: Method, path: &[&str], query: Query, body: &Value) -> Result<Value, Failure> {
        self.call(method, path, query, Some(body), Duration::ZERO).await
    }

    /// Prints an answer as it comes, however large it is.
    ///
    /// # Errors
    /// What the service answered, or that it did not.
    pub async fn print(&self, path: &[&str]) -> Result<(), Failure> {
        let request = self.request(Method::GET, path, &Query::default())?;
        let mut response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        if !status.is_success() {
            let bytes = response.bytes().await.map_err(|e| self.unreachable(&e))?;
            return Err(self.refusal(status.as_u16(), &bytes));
        }
        while let Some(piece) = response.chunk().await.map_err(|e| self.unreachable(&e))? {
            output::bytes(&piece)?;
        }
        Ok(())
    }

    /// # Errors
    /// What the service answered, or that it did not.
    pub async fn delete(&self, path: &[&str], query: Query) -> Result<(), Failure> {
        self.call(Method::DELETE, path, query, None, Duration::ZERO).await.map(|_| ())
    }

    /// Every entry of a list, page by page; not more than `limit` if there is one.
    ///
    /// # Errors
    /// What the service answered, or that it did not.
    pub async fn list(&self, path: &[&str], query: Query, limit: Option<u64>) -> Result<Vec<Value>, Failure> {
        let mut items: Vec<Value> = Vec::new();
        let mut token = None;
        loop {
            let wanted = limit.map_or(PAGE, |limit| PAGE.min(limit - items.len() as u64));
            let page = self
                .get(
                    path,
                    query.clone().and("page_size", Some(wanted)).and("page_token", token.take()),
                )
                .await?;
            let Page {
                items: found,
                next_page_token,
            } = decode(&page)?;
            items.extend(found);
            match next_page_token {
                Some(next) if limit.is_none_or(|limit| (items.len() as u64) < limit) => token = Some(next),
                _ => return Ok(items),
            }
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: Query,
        body: Option<&Value>,
        wait: Duration,
    ) -> Result<Value, Failure> {
        let mut request = self.request(method, path, &query)?.timeout(ANSWER_TIMEOUT + wait);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        if !status.is_success() {
            return Err(self.refusal(status.as_u16(), &bytes));
        }
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|_| self.stranger(status.as_u16()))
    }

    fn request(&self, method: Method, path: &[&str], query: &Query) -> Result<reqwest::RequestBuilder, Failure> {
        // a URL would lose such a part, and mean something else
        if let Some(part) = path.iter().find(|part| matches!(**part, "" | "." | "..")) {
            return Err(Failure::Usage(format!("{part:?} is no name")));
        }
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.0.is_empty() {
            url.query_pairs_mut().extend_pairs(&query.0);
        }
        Ok(self.http.request(method, url))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let mut cause = error.source();
        while let Some(deeper) = cause.and_then(|c| c.source()) {
            cause = Some(deeper);
        }
        let why = cause.map_or_else(|| error.to_string(), ToString::to_string);
        Failure::Unreachable(format!(
            "no answer from {}: {why}; start it with `stillframe serve`, or name it with --server",
            self.base
        ))
    }

    fn refusal(&self, status: u16, bytes: &[u8]) -> Failure {
        let raw: Value = serde_json::from_slice(bytes).unwrap_or_default();
        match serde_json::from_value::<Problem>(raw.clone()) {
            Ok(problem) => Failure::Refused(Box::new(Problem { status, raw, ..problem })),
            Err(_) => self.stranger(status),
        }
    }

    fn stranger(&self, status: u16) -> Failure {
        let text = format!(
            "{} answered with status {status} and not as this service does; is it another server?",
            self.base
        );
        match status {
            // what stands before a service that is down says so, too
            502..=504 => Failure::Unreachable(text),
            _ => Failure::Other(anyhow::Error::msg(text)),
        }
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, Failure> {
    let wrong = |why: String| Failure::Usage(format!("the file of authorities {}: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(wrong("has no certificate".into())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
