//! `stillframe doctor`, on sound and on broken settings.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _};

use crate::cli::process::{Ran, directory, stillframe};
use crate::cli::service::Service;
use crate::support::{postgres, s3};

/// The findings of a run with JSON: check, outcome, and the whole.
struct Findings(Value);

impl Findings {
    fn of(ran: &Ran) -> Self {
        let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
        let healthy = report["healthy"].as_bool().expect("said");
        assert_eq!(ran.code, Some(if healthy { 0 } else { 1 }), "{ran:?}");
        for finding in report["findings"].as_array().expect("findings") {
            let bad = matches!(finding["outcome"].as_str(), Some("failed" | "warning"));
            assert_eq!(
                bad,
                finding["advice"].is_string(),
                "what is wrong comes with advice: {finding}"
            );
        }
        Self(report)
    }

    #[track_caller]
    fn one(&self, check: &str) -> &Value {
        let findings = self.0["findings"].as_array().expect("findings");
        findings
            .iter()
            .find(|f| f["check"] == check)
            .unwrap_or_else(|| panic!("no {check} in {:#}", self.0))
    }

    #[track_caller]
    fn is(&self, check: &str, outcome: &str) -> &Self {
        assert_eq!(self.one(check)["outcome"], outcome, "{:#}", self.0);
        self
    }

    /// A failure whose detail and advice hold these words.
    #[track_caller]
    fn failed(&self, check: &str, detail: &str, advice: &str) -> &Self {
        let finding = self.is(check, "failed").one(check);
        assert!(finding["detail"].as_str().expect("text").contains(detail), "{finding:#}");
        assert!(finding["advice"].as_str().expect("text").contains(advice), "{finding:#}");
        self
    }
}

fn command(data: &Path, args: &[&str]) -> Command {
    let data = data.to_str().expect("UTF-8");
    stillframe(&[&["doctor", "--json", "--listen", "127.0.0.1:0", "--data-dir", data], args].concat())
}

fn doctor(data: &Path, args: &[&str]) -> Findings {
    Findings::of(&command(data, args).output().expect("runs").into())
}

async fn migrated() -> String {
    let (name, pool) = postgres::database().await;
    pool.close().await;
    postgres::url(&name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_well_with_a_database_and_a_directory() {
    let data = directory();
    let objects = directory();
    let storage = format!("file://{}", objects.path().display());
    let findings = doctor(data.path(), &["--database-url", &migrated().await, "--storage", &storage]);
    for check in [
        "listen",
        "database",
        "clock",
        "migrations",
        "storage_write",
        "storage_read",
        "storage_list",
    ] {
        findings.is(check, "ok");
    }
    for check in [
        "storage_copy",
        "storage_delete",
        "copy_speed",
        "marker",
        "database_connections",
    ] {
        findings.is(check, "ok");
    }
    let left: Vec<_> = walk(objects.path());
    assert_eq!(left, Vec::<String>::new(), "it leaves nothing behind");
    assert_eq!(std::fs::read_dir(data.path()).expect("a directory").count(), 0);
}

/// Files below a directory.
fn walk(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        if entry.path().is_dir() {
            found.extend(walk(&entry.path()));
        } else {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_s3_server_is_examined_for_what_it_supports() {
    let data = directory();
    let buckets = directory();
    let (url, options) = s3::start(buckets.path()).await;
    let key = options.credentials.expect("a key");
    let endpoint = url.to_string().rsplit_once(" at ").expect("an endpoint").1.to_string();
    let database = migrated().await;
    let examine = |endpoint: &str, secret: &str| {
        let storage = format!("s3://bucket/some/prefix?endpoint={endpoint}&region=us-east-1");
        let mut command = command(data.path(), &["--database-url", &database, "--storage", &storage]);
        command
            .env("AWS_ACCESS_KEY_ID", &key.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .env("AWS_EC2_METADATA_DISABLED", "true");
        async move {
            let output = tokio::task::spawn_blocking(move || command.output().expect("runs")).await;
            Findings::of(&output.expect("ran").into())
        }
    };
    let findings = examine(&endpoint, &key.secret_access_key).await;
    for check in [
        "storage_write",
        "storage_copy",
        "storage_copy_in_parts",
        "storage_conditional_write",
        "copy_speed",
    ] {
        findings.is(check, "ok");
    }
    assert_eq!(
        walk(buckets.path().join("bucket").as_path())
            .into_iter()
            .filter(|f| f.contains("probe"))
            .count(),
        0
    );
    // s3s-fs makes buckets as it needs them; other servers say this
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let without = format!("http://{}", listener.local_addr().expect("an address"));
    let answer = || async {
        let body = "<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>";
        (axum::http::StatusCode::NOT_FOUND, [("content-type", "application/xml")], body)
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    examine(&without, &key.secret_access_key)
        .await
        .failed("storage_write", "NoSuchBucket", "make the bucket");
    examine(&endpoint, "wrong")
        .await
        .failed("storage_write", "refused access", "AWS_SECRET_ACCESS_KEY");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_answer_or_refuses_is_told_apart() {
    let data = directory();
    let nobody = doctor(data.path(), &["--database-url", "postgres://u:planted-secret@127.0.0.1:1/x"]);
    nobody.failed("database", "does not answer", "is Postgres up");
    assert!(!nobody.0.to_string().contains("planted-secret"));
    let url = migrated().await;
    let missing = url.replace("/t_", "/missing_");
    doctor(data.path(), &["--database-url", &missing]).failed("database", "does not exist", "createdb");
}

/// The private Postgres trusts its socket, so a server with passwords is made of it for this.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_as_such() {
    let data = directory();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    // what Postgres says to a wrong password, byte by byte: no server here asks for one
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut bytes = [0_u8; 1024];
            let count = socket.read(&mut bytes).await.unwrap_or(0);
            // a request for TLS is eight bytes long
            if count == 8 {
                let _ = socket.write_all(b"N").await;
                let _ = socket.read(&mut bytes).await;
            }
            let fields = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user \"u\"\0\0";
            let length = u32::try_from(fields.len() + 4).expect("short").to_be_bytes();
            let _ = socket.write_all(&[b"E", &length[..], fields].concat()).await;
            let _ = socket.shutdown().await;
        }
    });
    let url = format!("postgres://u:planted-secret@{address}/x");
    let path = data.path().to_path_buf();
    let ran = tokio::task::spawn_blocking(move || doctor(&path, &["--database-url", &url]))
        .await
        .expect("ran");
    ran.failed(
        "database",
        "password authentication failed",
        "the role or its password is wrong",
    );
    assert!(!ran.0.to_string().contains("planted-secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_migrations_and_a_moved_clock_are_found() {
    let data = directory();
    let empty = postgres::url(&postgres::empty_database().await);
    let findings = doctor(data.path(), &["--database-url", &empty]);
    assert!(
        findings.is("migrations", "ok").one("migrations")["detail"]
            .as_str()
            .is_some_and(|d| d.contains("next start"))
    );
    doctor(data.path(), &["--database-url", &empty, "--no-migrate"]).failed("migrations", "are missing", "stillframe migrate");
    let url = migrated().await;
    let mut conn = sqlx::PgConnection::connect(&url).await.expect("connects");
    conn.execute("update clock set offset_ms = 60000").await.expect("moved");
    doctor(data.path(), &["--database-url", &url]).is("clock", "warning");
    conn.execute("insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (99990101000001, 'x', true, '', 0)")
        .await
        .expect("inserted");
    doctor(data.path(), &["--database-url", &url]).failed("migrations", "not known", "newer version");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_that_belongs_to_another_catalog_is_refused_with_both_names() {
    let data = directory();
    let objects = directory();
    let marker = json!({"catalog_id": uuid::Uuid::from_u128(7)}).to_string();
    std::fs::write(objects.path().join("stillframe.json"), marker).expect("written");
    let storage = format!("file://{}", objects.path().display());
    let url = migrated().await;
    doctor(data.path(), &["--database-url", &url, "--storage", &storage])
        .failed("marker", "00000000-0000-0000-0000-000000000007", "--take-over")
        .is("storage_write", "ok");
    std::fs::write(objects.path().join("stillframe.json"), "no JSON").expect("written");
    doctor(data.path(), &["--database-url", &url, "--storage", &storage]).failed("marker", "can't be read", "--take-over");
    // and the marker of a catalog that knows files must be there
    std::fs::remove_file(objects.path().join("stillframe.json")).expect("removed");
    let mut conn = sqlx::PgConnection::connect(&url).await.expect("connects");
    for statement in [
        "insert into collections (collection_id, db_id, name, state, ownership, num_shards, consistency_level, schema)
         values (7, 1, 'c', 'active', 'owned', 1, 'Bounded', '{}')",
        "insert into snapshots (snapshot_id, collection_id, db_id, name, state, create_ts, committed_at)
         values (8, 7, 1, 's', 'committed', 1, now())",
    ] {
        conn.execute(statement).await.expect("inserted");
    }
    doctor(data.path(), &["--database-url", &url, "--storage", &storage]).failed("marker", "has no marker", "mounted");
    let gone = format!("{storage}/not-mounted");
    doctor(data.path(), &["--database-url", &url, "--storage", &gone]).failed("storage", "does not exist", "mounted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_can_not_be_written_is_found_also_by_root() {
    let data = directory();
    let url = migrated().await;
    doctor(data.path(), &["--database-url", &url, "--storage", "file:///proc"]).is("storage_write", "failed");
    let file = data.path().join("file");
    std::fs::write(&file, "").expect("written");
    let below = format!("file://{}/objects", file.display());
    doctor(data.path(), &["--database-url", &url, "--storage", &below]).is("storage", "failed");
}

#[test]
fn wrong_settings_are_a_finding_and_the_text_says_what_to_do() {
    let data = directory();
    let args = [
        "doctor",
        "--listen",
        "0.0.0.0:1",
        "--data-dir",
        data.path().to_str().expect("UTF-8"),
    ];
    let ran: Ran = stillframe(&args).output().expect("runs").into();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.starts_with("FAILED  configuration"), "{ran:?}");
    assert!(ran.out.contains("-> correct the setting"), "{ran:?}");
}

#[test]
fn without_settings_a_private_postgres_is_looked_for_used_and_left_alone_while_a_service_runs() {
    let data = directory();
    let fresh = data.path().join("not-yet");
    doctor(&fresh, &[])
        .is("private_postgres", "ok")
        .is("database", "skipped")
        .is("storage", "skipped");
    assert!(!fresh.exists(), "it makes nothing");
    let service = Service::start(data.path(), &["--no-fsync"]);
    let running = doctor(data.path(), &["--no-fsync"]);
    running
        .is("database", "skipped")
        .is("storage_write", "ok")
        .is("marker", "warning");
    let address = service.url.trim_start_matches("http://").to_string();
    let ran: Ran = stillframe(&[
        "doctor",
        "--json",
        "--listen",
        &address,
        "--data-dir",
        data.path().to_str().expect("UTF-8"),
    ])
    .output()
    .expect("runs")
    .into();
    Findings::of(&ran).is("listen", "warning");
    drop(service);
    doctor(data.path(), &["--no-fsync"])
        .is("database", "ok")
        .is("migrations", "ok")
        .is("marker", "ok");
}
