//! One private Postgres per test run, a migrated template in it, and a clone of it per test.

use std::path::PathBuf;
use std::sync::OnceLock;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use stillframe::private_postgres::{PrivatePostgres, Settings};
use tokio::sync::OnceCell;

/// Starts Postgres on a thread that lives as long as the tests: the kernel stops Postgres when
/// that thread goes. What a run leaves on the disk is removed by the next one.
fn server() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let settings = Settings {
                data_dir: data_dir(),
                fsync: false,
                max_connections: 300,
            };
            let postgres = runtime.block_on(PrivatePostgres::start(&settings)).expect("Postgres starts");
            send.send(postgres.database_url().to_string()).expect("somebody waits");
            std::thread::park();
            drop(postgres);
        });
        receive.recv().expect("Postgres starts")
    })
}

/// A directory of this run, where the unprivileged user as whom Postgres runs can reach it when
/// the tests run as root.
fn data_dir() -> PathBuf {
    const PREFIX: &str = "stillframe-test-";
    for entry in std::fs::read_dir(std::env::temp_dir()).expect("a directory").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix(PREFIX).and_then(|pid| pid.parse::<u32>().ok()) else {
            continue;
        };
        if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
            // its lock file names the directory of its socket
            let lock = std::fs::read_to_string(entry.path().join("postgres.lock")).unwrap_or_default();
            if let Some(socket) = lock.lines().nth(1).filter(|l| l.contains("stillframe-pg-")) {
                let _ = std::fs::remove_dir_all(socket);
            }
            // somebody else's, or being removed by another run: not ours to care about
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let parent = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
    std::fs::create_dir_all(&parent).expect("a directory");
    parent.join("postgres")
}

fn options(database: &str) -> PgConnectOptions {
    server().parse::<PgConnectOptions>().expect("a URL").database(database)
}

/// A migrated database that others are cloned from.
async fn template() -> &'static str {
    static TEMPLATE: OnceCell<&str> = OnceCell::const_new();
    TEMPLATE
        .get_or_init(|| async {
            let mut admin = PgConnection::connect_with(&options("stillframe")).await.expect("connects");
            admin.execute("create database migrated").await.expect("creates");
            let mut conn = PgConnection::connect_with(&options("migrated")).await.expect("connects");
            stillframe::store::MIGRATOR.run(&mut conn).await.expect("migrates");
            conn.close().await.expect("closes");
            "migrated"
        })
        .await
}

/// An empty database of its own, without migrations.
pub async fn empty_database() -> String {
    create(None).await
}

async fn create(from: Option<&str>) -> String {
    let name = format!("t_{}", uuid::Uuid::new_v4().simple());
    let mut admin = PgConnection::connect_with(&options("stillframe")).await.expect("connects");
    let template = from.map(|t| format!(" template {t}")).unwrap_or_default();
    admin
        .execute(sqlx::AssertSqlSafe(format!("create database {name}{template}")))
        .await
        .expect("creates");
    name
}

/// The URL of a database of the test Postgres.
pub fn url(database: &str) -> String {
    let (head, query) = server().split_once('?').expect("a query");
    let (server, _) = head.rsplit_once('/').expect("a database");
    format!("{server}/{database}?{query}")
}

/// A migrated database of its own: its name, and a pool on it.
pub async fn database() -> (String, PgPool) {
    let name = create(Some(template().await)).await;
    let pool = PgPoolOptions::new()
        .max_connections(12)
        .connect_with(options(&name))
        .await
        .expect("connects");
    (name, pool)
}

/// Waits until a query says that it is so.
pub async fn until(pool: &PgPool, query: &'static str) {
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let is_so: bool = sqlx::query_scalar(query).fetch_one(pool).await.expect("asked");
        if is_so {
            return;
        }
        assert!(std::time::Instant::now() < patience, "it never came to that: {query}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
