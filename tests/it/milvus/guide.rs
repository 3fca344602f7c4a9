//! `examples/guide/` run with Milvus' own SDKs against the real server, gRPC and REST on its one
//! port.

use std::path::Path;
use std::process::{Command, Output};

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

/// Writes the real collection's files again, under other ids, and registers them over REST under
/// this name, as an engine would.
pub async fn load(service: &Service, dir: &Path, name: &str, copy: u64) {
    for (key, content) in fixture::files() {
        let path = dir.join("objects").join(moved(&key, copy));
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, content).expect("written");
    }
    let mut catalog: Value = serde_json::from_str(&moved(&fixture::catalog().to_string(), copy)).expect("JSON");
    catalog["collection"]["name"] = name.into();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
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

/// Runs one of the Python scripts.
async fn run(service: &Service, script: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/guide/python")
        .join(script);
    let mut command = Command::new(python());
    // the machine's proxies are not for this
    for (name, _) in std::env::vars().filter(|(name, _)| name.to_lowercase().ends_with("_proxy")) {
        command.env_remove(name);
    }
    command
        .env("MILVUS_URI", &service.url)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(path);
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
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_call_around_snapshots_works_with_pymilvus() {
    let dir = directory();
    let service = service(dir.path()).await;
    let said = run(&service, "around_snapshots.py").await;
    assert!(said.contains("done"), "{said}");
}
