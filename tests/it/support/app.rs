//! The whole service without a socket: router, service, worker, on real parts.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use serde_json::Value;
use sqlx::PgPool;
use stillframe::api::{self, ApiState, RequestLimits};
use stillframe::jobs::{Worker, WorkerSettings};
use stillframe::milvus::MilvusSettings;
use stillframe::objects::{Objects, StorageOptions, StorageUrl, marker};
use stillframe::service::{Auth, AuthSettings, Service, ServiceSettings, Stores};
use stillframe::{store, telemetry};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::etags::Spoil;
use super::faults::Faults;
use super::{postgres, s3};

pub struct TestApp {
    pub pool: PgPool,
    pub objects: Objects,
    pub service: Service,
    pub worker: Worker,
    router: Router,
    /// Local storage, or that of the S3 server.
    pub directory: tempfile::TempDir,
}

/// What a call was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub json: Value,
    pub text: String,
    call: String,
}

/// Settings that make failing and retrying quick.
pub fn quick() -> ServiceSettings {
    ServiceSettings {
        copy_backoff: std::time::Duration::from_millis(1),
        ..ServiceSettings::default()
    }
}

impl TestApp {
    /// On a local directory.
    pub async fn local() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let url = StorageUrl::Local {
            path: directory.path().to_path_buf(),
        };
        Self::start(
            url,
            StorageOptions {
                fsync: false,
                ..StorageOptions::default()
            },
            quick(),
            directory,
        )
        .await
    }

    /// On memory.
    pub async fn memory() -> Self {
        Self::start(
            StorageUrl::Memory,
            StorageOptions::default(),
            quick(),
            tempfile::tempdir().expect("a directory"),
        )
        .await
    }

    /// On an S3 server.
    pub async fn s3() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (url, options) = s3::start(directory.path()).await;
        Self::start(url, options, quick(), directory).await
    }

    /// On an S3 server whose listings carry ETags and whose copies can be spoiled.
    pub async fn s3_with_etags() -> (Self, Spoil) {
        let directory = tempfile::tempdir().expect("a directory");
        let spoil = Spoil::default();
        let (url, options) = s3::start_with_etags(directory.path(), spoil.clone()).await;
        (Self::start(url, options, quick(), directory).await, spoil)
    }

    /// On an S3 server behind faults, with other settings.
    pub async fn s3_behind(faults: Faults, settings: ServiceSettings, change: impl FnOnce(&mut StorageOptions)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (url, mut options) = s3::start_behind(directory.path(), faults).await;
        change(&mut options);
        Self::start(url, options, settings, directory).await
    }

    /// On an S3 server that lists multipart uploads, behind faults.
    pub async fn s3_listing_uploads(faults: Faults, change: impl FnOnce(&mut StorageOptions)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (url, mut options) = s3::start_listing_uploads(directory.path(), faults).await;
        change(&mut options);
        Self::start(url, options, quick(), directory).await
    }

    /// On local storage with other settings.
    pub async fn with_settings(settings: ServiceSettings) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let url = StorageUrl::Local {
            path: directory.path().to_path_buf(),
        };
        Self::start(
            url,
            StorageOptions {
                fsync: false,
                ..StorageOptions::default()
            },
            settings,
            directory,
        )
        .await
    }

    /// On any storage, with other stores beside it.
    pub async fn with_stores(
        url: StorageUrl,
        options: StorageOptions,
        directory: tempfile::TempDir,
        stores: impl FnOnce(&Objects) -> Stores,
    ) -> Self {
        Self::start_with(url, options, quick(), directory, stores, AuthSettings::default()).await
    }

    /// On memory, with authentication or other settings of it.
    pub async fn with_auth(auth: AuthSettings) -> Self {
        Self::with_auth_and(auth, quick()).await
    }

    /// The same with other settings of the service too.
    pub async fn with_auth_and(auth: AuthSettings, settings: ServiceSettings) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let options = StorageOptions::default();
        Self::start_with(StorageUrl::Memory, options, settings, directory, |_| Stores::default(), auth).await
    }

    async fn start(url: StorageUrl, options: StorageOptions, settings: ServiceSettings, directory: tempfile::TempDir) -> Self {
        let stores = |_: &Objects| Stores::default();
        Self::start_with(url, options, settings, directory, stores, AuthSettings::default()).await
    }

    async fn start_with(
        url: StorageUrl,
        options: StorageOptions,
        settings: ServiceSettings,
        directory: tempfile::TempDir,
        stores: impl FnOnce(&Objects) -> Stores,
        auth: AuthSettings,
    ) -> Self {
        let (_, pool) = postgres::database().await;
        let objects = Objects::open(url, options).expect("opens");
        objects.probe().await.expect("usable");
        let id = store::catalog::id(&mut pool.acquire().await.expect("a connection"))
            .await
            .expect("an id");
        marker::claim(&objects, id, false, false).await.expect("ours");
        let stores = stores(&objects);
        Self::assemble(pool, objects, settings, directory, stores, auth)
    }

    /// The same storage with an empty catalog that has taken it over: what is left after the loss of the database.
    pub async fn after_losing_the_catalog(self) -> Self {
        let (_, pool) = postgres::database().await;
        let id = store::catalog::id(&mut pool.acquire().await.expect("a connection"))
            .await
            .expect("an id");
        marker::claim(&self.objects, id, false, true).await.expect("taken over");
        let settings = self.service.settings().clone();
        Self::assemble(
            pool,
            self.objects,
            settings,
            self.directory,
            Stores::default(),
            AuthSettings::default(),
        )
    }

    fn assemble(
        pool: PgPool,
        objects: Objects,
        settings: ServiceSettings,
        directory: tempfile::TempDir,
        stores: Stores,
        auth: AuthSettings,
    ) -> Self {
        let lease = settings.task_lease;
        let service = Service::new(pool.clone(), objects.clone(), settings)
            .with_stores(stores)
            .with_auth(Auth::new(auth).expect("the audit log's file can be opened"));
        let worker_settings = WorkerSettings {
            slots: 4,
            lease,
            poll: std::time::Duration::from_millis(50),
            listen: Some(pool.clone()),
        };
        let worker = Worker::new(
            service.clone(),
            worker_settings,
            CancellationToken::new(),
            CancellationToken::new(),
        );
        let state = ApiState {
            service: service.clone(),
            metrics: telemetry::start_metrics().expect("metrics"),
        };
        let limits = RequestLimits {
            timeout: std::time::Duration::from_secs(60),
            body_bytes: 16 * 1024 * 1024,
            ..RequestLimits::default()
        };
        let milvus = MilvusSettings {
            drop_collection_cascades: false,
            timeout: limits.timeout,
            body_bytes: limits.body_bytes,
        };
        Self {
            pool,
            objects,
            service,
            worker,
            router: stillframe::app::router(state, limits, milvus),
            directory,
        }
    }

    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// The same service with other limits.
    pub fn router_with(&self, limits: RequestLimits) -> Router {
        let state = ApiState {
            service: self.service.clone(),
            metrics: telemetry::start_metrics().expect("metrics"),
        };
        api::router(state, limits)
    }

    /// Moves the only clock of ages and leases.
    pub async fn set_clock(&self, offset: std::time::Duration) {
        let millis = i64::try_from(offset.as_millis()).expect("in range");
        store::catalog::set_clock_offset(&mut self.pool.acquire().await.expect("a connection"), millis)
            .await
            .expect("set");
    }

    /// Runs every due task; gives their number.
    pub async fn drain(&self) -> usize {
        self.worker.drain().await.expect("drained")
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or(Body::empty(), |b| Body::from(b.to_string()));
        self.send(request.body(body).expect("a request")).await
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let method = request.method().clone();
        let path = request.uri().path().to_string();
        let call = format!("{method} {}", request.uri());
        let response = self.router.clone().oneshot(request).await.expect("never fails");
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let answer = Answer {
            status,
            headers,
            json,
            text,
            call,
        };
        answer.check_form(&method, &path);
        answer
    }

    /// Keys of every object below a directory.
    pub async fn keys(&self, directory: &str) -> Vec<String> {
        let mut keys: Vec<String> = self.objects.list(directory).await.expect("listed").into_keys().collect();
        keys.sort();
        keys
    }
}

impl Answer {
    /// Every failure is a whole problem document, and one that the OpenAPI document announces.
    fn check_form(&self, method: &Method, path: &str) {
        assert!(self.headers.contains_key("x-request-id"), "{}: no request id", self.call);
        if !(self.status.is_client_error() || self.status.is_server_error()) {
            return;
        }
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.call);
        for key in ["type", "title", "detail", "instance", "code", "request_id"] {
            assert!(
                self.json[key].as_str().is_some_and(|t| !t.is_empty()),
                "{}: {key} in {}",
                self.call,
                self.text
            );
        }
        assert_eq!(self.json["status"], self.status.as_u16(), "{}", self.call);
        assert_eq!(
            self.json["request_id"],
            self.headers["x-request-id"].to_str().expect("text"),
            "{}",
            self.call
        );
        let code = self.json["code"].as_str().expect("text");
        if let Some(announced) = announced(method, path, self.status) {
            assert!(
                announced.contains(&code.to_string()),
                "{}: {code} ({}) is not in the OpenAPI document",
                self.call,
                self.status
            );
        }
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}: {}", self.call, self.text);
        self
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        self.expect(200)
    }

    #[track_caller]
    pub fn created(self) -> Self {
        self.expect(201)
    }

    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.json["code"], code, "{}: {}", answer.call, answer.text);
        answer
    }

    /// The pointers of a refusal.
    pub fn pointers(&self) -> Vec<&str> {
        self.json["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|e| e["pointer"].as_str())
            .collect()
    }
}

/// Codes that the OpenAPI document announces for a call with this status; none when the call is
/// not in it.
fn announced(method: &Method, path: &str, status: StatusCode) -> Option<Vec<String>> {
    static DOCUMENT: std::sync::LazyLock<Value> =
        std::sync::LazyLock::new(|| serde_json::to_value(api::document()).expect("JSON"));
    let fits = |template: &str| {
        let (mut wanted, mut given) = (template.split('/'), path.split('/'));
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return true,
                (Some(w), Some(g)) if w == g || w.starts_with('{') => {}
                _ => return false,
            }
        }
    };
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    // the one that names most parts literally
    let (_, item) = paths
        .iter()
        .filter(|(template, _)| fits(template))
        .min_by_key(|(template, _)| template.matches('{').count())?;
    let operation = item.get(method.as_str().to_lowercase())?;
    let content = &operation["responses"][status.as_str()]["content"]["application/problem+json"];
    Some(
        content["examples"]
            .as_object()
            .map(|e| e.keys().cloned().collect())
            .unwrap_or_default(),
    )
}
