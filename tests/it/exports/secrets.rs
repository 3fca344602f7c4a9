//! Credentials of requests: never stored in clear, never logged, never answered; and what becomes of a
//! job whose credentials are gone.

use std::time::Duration;

use prost::Message as _;
use serde_json::{Value, json};
use stillframe::milvus::proto::milvus as m;
use stillframe::service::{Sealer, Service, Stores};

use super::round_trip::with_snapshot;
use super::{contents, export, export_job, local_url, quick};
use crate::cli::process::{Running, directory, stillframe};
use crate::milvus::wire::{framed, status_of};
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
    let lines = dir.path().join("audit.jsonl").display().to_string();
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
        "--audit-reads",
        "--audit-lines",
        &lines,
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
            // what is kept to be given again must not keep a secret
            Some(body) => client
                .post(format!("{url}{path}"))
                .header("idempotency-key", uuid::Uuid::new_v4().to_string())
                .json(body),
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
    let ended = async |job_id: String| {
        let path = format!("/v1/export-jobs/{job_id}");
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            let (_, job) = call(&path, None).await;
            if job.get("finished_at").is_some() {
                assert_eq!(job["error_code"], "storage_access_denied", "{job}");
                break path;
            }
            assert!(std::time::Instant::now() < deadline, "{job}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let path = ended(job["job_id"].as_str().expect("an id").to_string()).await;
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
    // and by the two forms of Milvus' API, where the spec is a text
    let grpc = async |name: &str, message: Vec<u8>| {
        let request = client.post(format!("{url}/milvus.proto.milvus.MilvusService/{name}"));
        let request = request.header("content-type", "application/grpc").body(framed(&message));
        let answer = request.send().await.expect("an answer").bytes().await.expect("a body");
        assert!(!holds_secret(&String::from_utf8_lossy(&answer)), "{name}: {answer:?}");
        answer.to_vec()
    };
    let export = |spec: &Value| m::ExportSnapshotRequest {
        name: "s".into(),
        collection_name: "c".into(),
        target_s3_path: target.clone(),
        external_spec: spec.to_string(),
        ..Default::default()
    };
    let restore = |spec: &Value| m::RestoreExternalSnapshotRequest {
        target_collection_name: "b".into(),
        snapshot_metadata_uri: uri.clone(),
        external_spec: spec.to_string(),
        ..Default::default()
    };
    let answer = grpc("ExportSnapshot", export(&spec()).encode_to_vec()).await;
    assert_eq!(status_of(&answer).code, 0);
    let started = m::ExportSnapshotResponse::decode(&answer[5..]).expect("an answer");
    ended(started.job_id.to_string()).await;
    for (name, message) in [
        ("ExportSnapshot", export(&bad).encode_to_vec()),
        ("ExportSnapshot", export(&json!([SECRET])).encode_to_vec()),
        ("RestoreExternalSnapshot", restore(&spec()).encode_to_vec()),
        ("RestoreExternalSnapshot", restore(&bad).encode_to_vec()),
    ] {
        assert_ne!(status_of(&grpc(name, message).await).code, 0, "{name}");
    }
    let v2 = "/v2/vectordb/jobs/snapshot";
    let export = |spec: &Value| json!({"collectionName": "c", "snapshotName": "s", "targetS3Path": target, "externalSpec": spec.to_string()});
    let restore =
        |spec: &Value| json!({"targetCollectionName": "b", "snapshotMetadataURI": uri, "externalSpec": spec.to_string()});
    // as a text, and as an object
    let as_object = json!({"collectionName": "c", "snapshotName": "s", "targetS3Path": target, "externalSpec": spec()});
    for body in [export(&spec()), as_object] {
        let (_, started) = call(&format!("{v2}/export"), Some(body)).await;
        ended(started["data"]["jobId"].as_str().expect("an id").to_string()).await;
    }
    for (path, body) in [
        ("export", export(&bad)),
        ("restore_external", restore(&spec())),
        ("restore_external", restore(&bad)),
    ] {
        let (_, answer) = call(&format!("{v2}/{path}"), Some(body)).await;
        assert_ne!(answer["code"], 0, "{path}: {answer}");
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
    let recorded = std::fs::read_to_string(&lines).expect("readable");
    assert!(!holds_secret(&recorded), "the audit log has it");
    assert!(recorded.contains("milvus.ExportSnapshot") && recorded.contains("milvus_restore_external_snapshot"));
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
