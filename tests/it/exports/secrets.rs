//! Credentials of requests: never stored in clear, never logged, never answered; and what becomes of a
//! job whose credentials are gone.

use std::time::Duration;

use serde_json::{Value, json};
use stillframe::service::{Sealer, Service, Stores};

use super::round_trip::with_snapshot;
use super::{contents, export, export_job, local_url, quick};
use crate::cli::process::{Running, directory, stillframe};
use crate::support::{TestApp, jobs, postgres, s3};

const ID: &str = "planted-access-key-id-7f3a";
const SECRET: &str = "planted-secret-9c1e";

fn spec() -> Value {
    json!({"extfs": {"access_key_id": ID, "access_key_value": SECRET, "region": "us-east-1"}})
}

/// Every value of every row of the database, as text.
async fn rows(pool: &sqlx::PgPool) -> String {
    let tables: Vec<String> = sqlx::query_scalar("select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'public' and c.relkind = 'r'")
        .fetch_all(pool)
        .await
        .expect("lists");
    let mut found = String::new();
    for table in tables {
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select t::text from {table} t")))
            .fetch_all(pool)
            .await
            .expect("reads");
        found.push_str(&rows.join("\n"));
    }
    found
}

fn holds_secret(text: &str) -> bool {
    let hexadecimal = |s: &str| s.bytes().map(|b| format!("{b:02x}")).collect::<String>();
    [ID, SECRET]
        .iter()
        .any(|s| text.contains(s) || text.contains(&hexadecimal(s)))
}

#[tokio::test]
async fn planted_secrets_are_in_no_row_no_log_and_no_answer() {
    let dir = directory();
    let (_server_url, _) = s3::start(dir.path().join("s3").as_path()).await;
    let server = match &_server_url {
        stillframe::objects::StorageUrl::S3 { endpoint, .. } => endpoint.clone().expect("one"),
        other => panic!("{other}"),
    };
    let (name, pool) = postgres::database().await;
    let data = dir.path().join("data").display().to_string();
    let args = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        &data,
        "--no-fsync",
        "--log",
        "trace,sqlx=info",
        "--external-endpoint",
        &server,
    ];
    let mut command = stillframe(&args);
    command.env("DATABASE_URL", postgres::url(&name));
    let mut process = Running::start(command);
    let line = process.err_line("listening");
    let url = line
        .split_whitespace()
        .find_map(|w| w.strip_prefix("url="))
        .expect("a URL")
        .to_string();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let call = async |path: &str, body: Option<Value>| -> (u16, Value) {
        let request = match &body {
            Some(body) => client.post(format!("{url}{path}")).json(body),
            None => client.get(format!("{url}{path}")),
        };
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let text = response.text().await.expect("text");
        assert!(!holds_secret(&text), "{path}: {text}");
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    };
    call(
        "/v1/collections",
        Some(json!({"name": "c", "fields": [
        {"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true},
        {"field_id": "101", "name": "vec", "data_type": "FloatVector", "type_params": {"dim": "4"}}],
        "channels": [{"channel_name": "ch", "seek_position": {"timestamp": "1000"}}]})),
    )
    .await;
    call("/v1/snapshots", Some(json!({"collection_name": "c", "snapshot_name": "s"}))).await;
    let target = format!("{server}/bucket/x");
    let (status, job) = call(
        "/v1/snapshots/s/export",
        Some(json!({"target_path": target, "external_spec": spec()})),
    )
    .await;
    assert_eq!(status, 202, "{job}");
    // while it runs, and after its end: the server does not know the key
    assert!(!holds_secret(&rows(&pool).await));
    let path = format!("/v1/export-jobs/{}", job["job_id"].as_str().expect("an id"));
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let ended = loop {
        let (_, job) = call(&path, None).await;
        if job.get("finished_at").is_some() {
            break job;
        }
        assert!(std::time::Instant::now() < deadline, "{job}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(ended["error_code"], "storage_access_denied", "{ended}");
    // requests that are refused for every reason
    let mut bad = spec();
    bad["extfs"]["role_arn"] = json!(SECRET);
    let uri = format!("{server}/bucket/x/snapshots/1/metadata/2.json");
    for (path, body) in [
        ("/v1/snapshots/s/export", json!({"target_path": target, "external_spec": bad})),
        (
            "/v1/snapshots/s/export",
            json!({"target_path": "http://other:1/bucket/x", "external_spec": spec()}),
        ),
        (
            "/v1/snapshots/s/export",
            json!({"target_path": format!("https://{ID}:{SECRET}@h/b/x")}),
        ),
        (
            "/v1/snapshots/s/export",
            json!({"target_path": target, "external_spec": spec(), "unknown": 1}),
        ),
        (
            "/v1/snapshots/s/export",
            json!({"target_path": target, "external_spec": [SECRET]}),
        ),
        (
            "/v1/restores/external",
            json!({"snapshot_metadata_uri": uri, "collection_name": "b", "external_spec": spec()}),
        ),
        (
            "/v1/restores/external",
            json!({"snapshot_metadata_uri": uri, "collection_name": "b", "external_spec": spec().to_string()}),
        ),
    ] {
        let (status, answer) = call(path, Some(body)).await;
        assert!(status >= 400, "{answer}");
    }
    call(&format!("{path}/tasks"), None).await;
    call("/v1/export-jobs", None).await;
    call("/metrics", None).await;
    assert!(!holds_secret(&rows(&pool).await));
    process.signal(nix::sys::signal::Signal::SIGTERM);
    let ran = process.ended();
    let told: Vec<&str> = ran
        .err
        .lines()
        .chain(ran.out.lines())
        .filter(|line| holds_secret(line))
        .collect();
    assert_eq!(told, Vec::<&str>::new(), "the log has it");
    assert!(
        ran.err.contains("job failed") && ran.err.contains("TRACE"),
        "it is the log that was looked at"
    );
}

/// A service on a directory that may use a server with credentials of requests.
async fn with_key(server: &str, sealer: Sealer) -> TestApp {
    let allowed = [server.to_string()];
    let directory = tempfile::tempdir().expect("a directory");
    let app = TestApp::with_stores(local_url(directory.path()), quick(), directory, |_| {
        Stores::new(std::collections::BTreeMap::new(), &allowed, sealer)
    })
    .await;
    with_snapshot(&app).await;
    app
}

/// Another process on the same catalog and storage.
fn successor(app: &TestApp, server: &str, sealer: Sealer) -> Service {
    let stores = Stores::new(std::collections::BTreeMap::new(), &[server.to_string()], sealer);
    Service::new(app.pool.clone(), app.objects.clone(), app.service.settings().clone()).with_stores(stores)
}

async fn works(app: &TestApp, service: &Service, id: &str) -> Value {
    let soft = tokio_util::sync::CancellationToken::new();
    let worker = jobs::worker(service, &app.pool, 4, &soft);
    let began = std::time::Instant::now();
    let ended = loop {
        let job = export_job(app, id).await;
        if job.get("finished_at").is_some() {
            break job;
        }
        assert!(began.elapsed() < jobs::PATIENCE, "{job}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    soft.cancel();
    worker.await.expect("ends");
    ended
}

async fn server() -> (tempfile::TempDir, String, Value) {
    let there = tempfile::tempdir().expect("a directory");
    let (url, options) = s3::start(there.path()).await;
    let stillframe::objects::StorageUrl::S3 { endpoint, .. } = url else {
        panic!("{url}")
    };
    let server = endpoint.expect("one");
    let key = options.credentials.expect("a key");
    let body = json!({"target_path": format!("{server}/bucket/x"), "external_spec": {"extfs": {
        "access_key_id": key.access_key_id, "access_key_value": key.secret_access_key, "region": "us-east-1"}}});
    (there, server, body)
}

#[tokio::test]
async fn with_a_key_of_the_settings_credentials_outlive_the_process() {
    let (_there, server, body) = server().await;
    let app = with_key(&server, Sealer::new(b"the same secret in every replica")).await;
    let id = export(&app, "s", body.clone()).await;
    let other = successor(&app, &server, Sealer::new(b"the same secret in every replica"));
    let job = works(&app, &other, &id).await;
    assert_eq!(job["state"], "Completed", "{job}");
    let kept: i64 = sqlx::query_scalar("select count(*) from job_bundles where sealed is not null")
        .fetch_one(&app.pool)
        .await
        .expect("counts");
    assert_eq!(kept, 0, "they are forgotten at the end");
    let restore = json!({"snapshot_metadata_uri": job["snapshot_metadata_uri"], "collection_name": "back",
                         "external_spec": body["external_spec"]});
    super::restored(&app, restore).await;
    assert_eq!(contents(&app, "back").await.len(), crate::support::fixture::FILES);
}

#[tokio::test]
async fn without_one_a_job_whose_process_is_gone_fails_and_says_so() {
    let (there, server, body) = server().await;
    let app = with_key(&server, Sealer::of_this_process()).await;
    let id = export(&app, "s", body).await;
    // the first process copies something, then it is gone
    for _ in 0..2 {
        jobs::run(&app, &jobs::claim_one(&app).await).await;
    }
    let other = successor(&app, &server, Sealer::of_this_process());
    let job = works(&app, &other, &id).await;
    assert_eq!(
        (&job["state"], &job["error_code"]),
        (&json!("Failed"), &json!("credentials_lost")),
        "{job}"
    );
    assert!(job["reason"].as_str().expect("a reason").contains("secret_key_file"), "{job}");
    // nobody can delete what was copied; the job does not say otherwise
    app.set_clock(Duration::from_secs(300)).await;
    let soft = tokio_util::sync::CancellationToken::new();
    let worker = jobs::worker(&other, &app.pool, 1, &soft);
    let began = std::time::Instant::now();
    while export_job(&app, &id).await["cleanup"] == "pending" {
        assert!(began.elapsed() < jobs::PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    soft.cancel();
    worker.await.expect("ends");
    assert_eq!(export_job(&app, &id).await["cleanup"], "abandoned");
    assert!(there.path().join("bucket/x/exports").is_dir());
}
