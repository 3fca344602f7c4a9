//! The service without a socket, on a Postgres and a directory of its own.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request};
use serde_json::Value;
use sqlx::PgPool;
use stillframe::api::{self, ApiState, RequestLimits};
use stillframe::objects::{Objects, StorageOptions, StorageUrl, marker};
use stillframe::private_postgres::{PrivatePostgres, Settings};
use stillframe::service::{Service, ServiceSettings};
use stillframe::{app, store, telemetry};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

const CONNECTIONS: u32 = 20;

pub struct App {
    pub pool: PgPool,
    router: Router,
    runtime: Runtime,
    postgres: Postgres,
}

impl App {
    /// Starts with everything synced to the disk, or nothing.
    pub fn start(fsync: bool) -> Self {
        let directory = directory();
        let postgres = Postgres::start(directory.join("postgres"), fsync);
        let runtime = Runtime::new().expect("a runtime");
        let (pool, service) = runtime.block_on(async {
            let pool = app::connect(&postgres.url, CONNECTIONS).await.expect("connects");
            app::migrate(&pool, true).await.expect("migrates");
            let url = StorageUrl::Local {
                path: directory.join("objects"),
            };
            let options = StorageOptions {
                fsync,
                ..StorageOptions::default()
            };
            let objects = Objects::open(url, options).expect("opens");
            let id = store::catalog::id(&mut pool.acquire().await.expect("a connection")).await;
            let claimed = marker::claim(&objects, id.expect("an id"), false, false).await;
            claimed.expect("ours");
            let service = Service::new(pool.clone(), objects, ServiceSettings::default());
            (pool, service)
        });
        let state = ApiState {
            service,
            metrics: telemetry::start_metrics().expect("metrics"),
        };
        let limits = RequestLimits {
            timeout: Duration::from_secs(60),
            body_bytes: 64 * 1024 * 1024,
            ..RequestLimits::default()
        };
        Self {
            pool,
            router: api::router(state, limits),
            runtime,
            postgres,
        }
    }

    /// One call; gives the time until the whole answer was there, and the answer.
    pub fn call(&self, method: Method, path: &str, body: impl Into<Body>) -> (Duration, Bytes) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(body.into())
            .expect("a request");
        let router = self.router.clone();
        // on a worker, as the HTTP server does
        let call = async move {
            let began = Instant::now();
            let response = router.oneshot(request).await.expect("never fails");
            let status = response.status();
            let answer = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
            let took = began.elapsed();
            assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&answer));
            (took, answer)
        };
        self.runtime.block_on(async { tokio::spawn(call).await.expect("no panic") })
    }

    pub fn post(&self, path: &str, body: &Value) -> (Duration, Bytes) {
        self.call(Method::POST, path, body.to_string())
    }

    pub fn get(&self, path: &str) -> (Duration, Bytes) {
        self.call(Method::GET, path, Body::empty())
    }

    pub fn url(&self) -> &str {
        &self.postgres.url
    }

    /// A statement of set-up.
    pub fn execute(&self, statement: &'static str) {
        let done = sqlx::raw_sql(statement).execute(&self.pool);
        self.runtime.block_on(done).expect(statement);
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.runtime.block_on(self.pool.close());
    }
}

/// Removed at the end.
static DIRECTORIES: Mutex<Vec<TempDir>> = Mutex::new(Vec::new());

/// A fresh directory; the user of Postgres may enter it when this runs as root.
///
/// Nothing in it may be deleted before the last bench has ended: for five minutes ext4 steps over
/// the inodes of deleted files one by one when it looks for a free one, so that whoever creates
/// files after a large deletion takes ten times as long.
pub fn directory() -> PathBuf {
    let parent = std::env::var_os("BENCH_DIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    let directory = tempfile::Builder::new()
        .prefix("stillframe-bench-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(parent)
        .expect("a directory");
    let path = directory.path().to_path_buf();
    DIRECTORIES.lock().expect("no panic").push(directory);
    path
}

/// Removes every directory.
pub fn remove_directories() {
    DIRECTORIES.lock().expect("no panic").clear();
}

/// A private Postgres. The thread that started it must live as long as it does: the kernel stops
/// Postgres when that thread goes.
struct Postgres {
    url: String,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Postgres {
    fn start(data_dir: PathBuf, fsync: bool) -> Self {
        let (ready, is_ready) = mpsc::channel();
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = Runtime::new().expect("a runtime");
            let settings = Settings {
                data_dir,
                fsync,
                max_connections: CONNECTIONS + 10,
            };
            let postgres = runtime.block_on(PrivatePostgres::start(&settings)).expect("Postgres starts");
            ready.send(postgres.database_url().to_string()).expect("somebody waits");
            // an error means that the other end is gone
            let _ = stopped.recv();
            runtime.block_on(postgres.stop()).expect("Postgres stops");
        });
        Self {
            url: is_ready.recv().expect("Postgres starts"),
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("Postgres stopped");
        }
    }
}
