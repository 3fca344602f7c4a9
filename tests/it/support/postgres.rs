//! One private Postgres per test run, a migrated template in it, and a clone of it per test.

use std::path::PathBuf;
use std::sync::OnceLock;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use stillframe::private_postgres::{PrivatePostgres, Settings};
use tokio::sync::OnceCell;

/// Starts Postgres on a thread that lives as long as the tests: the kernel stops Postgres when
/// that thread goes. The directory is kept for the next run, which saves the set-up.
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

/// Reachable for the unprivileged user as whom Postgres runs when the tests run as root.
fn data_dir() -> PathBuf {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    env!("CARGO_MANIFEST_DIR").hash(&mut hasher);
    let parent = std::env::temp_dir().join(format!("stillframe-test-{:016x}", hasher.finish()));
    std::fs::create_dir_all(&parent).expect("a directory");
    parent.join("postgres")
}

fn options(database: &str) -> PgConnectOptions {
    server().parse::<PgConnectOptions>().expect("a URL").database(database)
}

async fn template() -> &'static str {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    TEMPLATE
        .get_or_init(|| async {
            let versions: String = stillframe::store::MIGRATOR
                .iter()
                .map(|m| m.checksum.iter().map(|b| format!("{b:02x}")).collect::<String>())
                .collect();
            let name = format!("template_{:x}", crc(versions.as_bytes()));
            let mut admin = PgConnection::connect_with(&options("stillframe")).await.expect("connects");
            // databases of earlier runs
            let old: Vec<String> = sqlx::query_scalar("select datname from pg_database where datname like 't\\_%'")
                .fetch_all(&mut admin)
                .await
                .expect("lists");
            for database in old {
                admin
                    .execute(sqlx::AssertSqlSafe(format!("drop database \"{database}\" with (force)")))
                    .await
                    .expect("drops");
            }
            let there: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
                .bind(&name)
                .fetch_one(&mut admin)
                .await
                .expect("looks");
            if !there {
                let draft = format!("draft_{name}");
                admin
                    .execute(sqlx::AssertSqlSafe(format!("drop database if exists {draft}")))
                    .await
                    .expect("drops");
                admin
                    .execute(sqlx::AssertSqlSafe(format!("create database {draft}")))
                    .await
                    .expect("creates");
                let mut conn = PgConnection::connect_with(&options(&draft)).await.expect("connects");
                stillframe::store::MIGRATOR.run(&mut conn).await.expect("migrates");
                conn.close().await.expect("closes");
                admin
                    .execute(sqlx::AssertSqlSafe(format!("alter database {draft} rename to {name}")))
                    .await
                    .expect("renames");
            }
            name
        })
        .await
}

fn crc(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| {
        (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)
    })
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
    template().await;
    let name = create(Some(template().await)).await;
    let pool = PgPoolOptions::new()
        .max_connections(12)
        .connect_with(options(&name))
        .await
        .expect("connects");
    (name, pool)
}
