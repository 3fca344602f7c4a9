//! `examples/guide/` run with Milvus' own SDKs against the real server, gRPC and REST on its one
//! port.

use std::path::Path;
use std::process::{Command, Output};

use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde_json::Value;

use crate::cli::process::directory;
use crate::cli::service::Service;
use crate::support::{fixture, postgres, python};

/// A service on a database of its own.
pub async fn service(dir: &Path) -> Service {
    let database = postgres::url(&postgres::empty_database().await);
    Service::start(dir, &["--no-fsync", "--database-url", &database])
}

/// Every id in a text moved by as much as `copy` says: another collection with files of its own.
fn moved(text: &str, copy: u64) -> String {
    const BEGIN: &str = "4706446";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let (before, found) = rest.split_at(at);
        let digits = found.bytes().take_while(u8::is_ascii_digit).count();
        let id: u64 = found[..digits].parse().expect("an id");
        out.push_str(before);
        out.push_str(&(id + copy * 10_000_000).to_string());
        rest = &found[digits..];
    }
    out + rest
}

/// A client of REST that shows this key; none where it is empty.
fn client(key: &str) -> reqwest::Client {
    let mut headers = HeaderMap::new();
    if !key.is_empty() {
        headers.insert(AUTHORIZATION, format!("Bearer {key}").parse().expect("ASCII"));
    }
    let builder = reqwest::Client::builder().no_proxy().default_headers(headers);
    builder.build().expect("a client")
}

/// Writes the real collection's files again, under other ids, and registers them over REST under
/// this name, as an engine would.
pub async fn load(service: &Service, dir: &Path, name: &str, copy: u64) {
    load_with("", service, dir, name, copy).await;
}

async fn load_with(key: &str, service: &Service, dir: &Path, name: &str, copy: u64) {
    for (key, content) in fixture::files() {
        let path = dir.join("objects").join(moved(&key, copy));
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, content).expect("written");
    }
    let mut catalog: Value = serde_json::from_str(&moved(&fixture::catalog().to_string(), copy)).expect("JSON");
    catalog["collection"]["name"] = name.into();
    let client = client(key);
    let post = async |path: String, body: &Value| {
        let url = format!("{}{path}", service.url);
        let response = client.post(url).json(body).send().await.expect("an answer");
        assert_eq!(response.version(), reqwest::Version::HTTP_11);
        assert_eq!(response.status().as_u16(), 201, "{path}: {:?}", response.text().await);
    };
    post("/v1/collections".into(), &catalog["collection"]).await;
    for index in catalog["indexes"].as_array().expect("indexes") {
        post(format!("/v1/collections/{name}/indexes"), index).await;
    }
    let segments = serde_json::json!({"segments": catalog["segments"]});
    post(format!("/v1/collections/{name}/segments:batch"), &segments).await;
}

/// Has a client meet each of the guide's errors for which a server must lack something: runs `meet` with the server,
/// the error's name, and the key that the client shows.
pub async fn server_errors(dir: &Path, meet: impl AsyncFn(&Service, &str, &str) -> String) {
    const ADMIN: &str = "the-operators-own-key-of-more-than-32-characters";
    // the collection has almost nine million bytes
    const QUOTA: &str = "12000000";
    let database = postgres::url(&postgres::empty_database().await);
    let settings = ["--quota-bytes", QUOTA, "--auth", "--admin-key", ADMIN];
    let service = Service::start(dir, &[&["--no-fsync", "--database-url", &database][..], &settings].concat());
    load_with(ADMIN, &service, dir, "my_collection", 0).await;
    let asked = serde_json::json!({"name": "looks_on", "grants": [{"role": "reader"}]});
    let made = client(ADMIN)
        .post(format!("{}/v1/keys", service.url))
        .json(&asked)
        .send()
        .await;
    let made = made.expect("an answer").text().await.expect("a body");
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let reader = made["key"].as_str().unwrap_or_else(|| panic!("{made}"));
    for (error, key, words) in [
        (
            "permission_denied",
            reader,
            "permission denied: this needs the permission \"operate\"",
        ),
        (
            "insufficient_storage",
            ADMIN,
            "restore snapshot failed: insufficient storage: the restore needs",
        ),
        ("restore_failed", ADMIN, "restore snapshot failed: file insert_log/"),
    ] {
        if error == "restore_failed" {
            let files = fixture::files();
            let (lost, _) = files.iter().find(|(path, _)| path.starts_with("insert_log/")).expect("one");
            std::fs::remove_file(dir.join("objects").join(lost)).expect("removed");
        }
        let said = meet(&service, error, key).await;
        assert!(said.contains(words), "{error}: {said}");
    }
}

/// Runs one of the Python scripts.
async fn run(service: &Service, script: &str) -> String {
    run_with(service, script, &[], "").await
}

/// Runs one with arguments, and with the key that it shows.
async fn run_with(service: &Service, script: &str, arguments: &[&str], key: &str) -> String {
    run_at(service, &format!("examples/guide/python/{script}"), arguments, key).await
}

async fn run_at(service: &Service, script: &str, arguments: &[&str], key: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    let mut command = Command::new(python());
    // the machine's proxies are not for this
    for (name, _) in std::env::vars().filter(|(name, _)| name.to_lowercase().ends_with("_proxy")) {
        command.env_remove(name);
    }
    command
        .env("MILVUS_URI", &service.url)
        .env("MILVUS_TOKEN", key)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(path)
        .args(arguments);
    succeeded(script, command).await
}

/// Runs a command, which must succeed; gives what it printed.
pub async fn succeeded(what: &str, mut command: Command) -> String {
    let ran = tokio::task::spawn_blocking(move || command.output());
    let Output { status, stdout, stderr } = ran.await.expect("ran").expect("starts");
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{what}: {out}{err}");
    out.into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guides_use_cases_work_with_pymilvus() {
    let dir = directory();
    let service = service(dir.path()).await;
    let collections = ["production_vectors", "ml_embeddings", "test_collection", "my_collection"];
    for (copy, name) in (0..).zip(collections) {
        load(&service, dir.path(), name, copy).await;
    }
    let said = run(&service, "backup_and_recovery.py").await;
    assert!(said.contains("Rows: 9000"), "{said}");
    run(&service, "versioning.py").await;
    let said = run(&service, "test_environment.py").await;
    assert!(said.contains("Test environment ready!"), "{said}");
    // in this order: the others look at what the first leaves
    for script in [
        "several_restores.py",
        "job_listing.py",
        "error_messages.py",
        "async_client.py",
    ] {
        run(&service, script).await;
    }
    let said = run(&service, "every_snapshot_call.py").await;
    assert!(said.contains("12 calls and REST v2"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guides_errors_of_a_server_that_lacks_something_are_met_with_pymilvus() {
    let dir = directory();
    server_errors(dir.path(), async |service, error, key| {
        run_with(service, "server_errors.py", &[error], key).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_call_around_snapshots_works_with_pymilvus() {
    let dir = directory();
    let service = service(dir.path()).await;
    let said = run(&service, "around_snapshots.py").await;
    assert!(said.contains("done"), "{said}");
    let said = run_at(&service, "tests/it/milvus/not_served.py", &[], "").await;
    assert!(said.contains("done"), "{said}");
}
