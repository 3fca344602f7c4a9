//! A real etcd, with the fixture's keys, and a server before it that sees every request.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::Running;

fn binary() -> PathBuf {
    let path = std::env::var_os("STILLFRAME_TEST_ETCD").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/etcd/usr/bin/etcd"),
        Into::into,
    );
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    path
}

/// A running etcd, alone in its cluster; ends with its value.
pub struct Etcd {
    pub url: String,
    http: reqwest::Client,
    _process: Running,
    _directory: TempDir,
}

impl Etcd {
    /// Starts one on free ports, and waits until it answers.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        // bound together, so that they differ
        let [client, peer] = {
            let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
            taken.map(|t| format!("http://{}", t.local_addr().expect("bound")))
        };
        let mut command = Command::new(binary());
        command.arg("--data-dir").arg(directory.path());
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.arg("--initial-cluster").arg(format!("default={peer}"));
        command.stdin(Stdio::null());
        let started = Self {
            url: client,
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
            _process: Running::start(command),
            _directory: directory,
        };
        let patience = Instant::now() + Duration::from_secs(60);
        while started.ask("kv/range", &json!({"key": "AA=="})).await.is_none() {
            assert!(Instant::now() < patience, "etcd does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        started
    }

    async fn ask(&self, call: &str, body: &Value) -> Option<Value> {
        let answer = self
            .http
            .post(format!("{}/v3/{call}", self.url))
            .json(body)
            .send()
            .await
            .ok()?;
        answer.status().is_success().then_some(())?;
        answer.json().await.ok()
    }

    pub async fn call(&self, call: &str, body: Value) -> Value {
        self.ask(call, &body).await.unwrap_or_else(|| panic!("{call} {body} failed"))
    }

    /// Writes keys with their values, both base64.
    pub async fn put(&self, kvs: &[(String, String)]) {
        // at most 128 in one transaction
        for batch in kvs.chunks(100) {
            let puts = batch
                .iter()
                .map(|(key, value)| json!({"requestPut": {"key": key, "value": value}}));
            self.call("kv/txn", json!({"success": puts.collect::<Vec<_>>()})).await;
        }
    }
}

/// What happens before a request is handed on.
type Before = Box<dyn FnMut(usize) -> Option<(&'static str, Value)> + Send>;

#[derive(Clone)]
struct Watched {
    etcd: String,
    http: reqwest::Client,
    paths: Arc<Mutex<Vec<String>>>,
    before: Arc<Mutex<Before>>,
}

/// A server before etcd.
pub struct Watch {
    pub url: String,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Watch {
    /// Every path that was asked for.
    pub fn paths(&self) -> Vec<String> {
        self.paths.lock().expect("no panic").clone()
    }

    /// Hands requests on to etcd; `before` is given the number of each, and may give another one
    /// that etcd gets first.
    pub async fn before(etcd: &Etcd, before: impl FnMut(usize) -> Option<(&'static str, Value)> + Send + 'static) -> Self {
        let watched = Watched {
            etcd: etcd.url.clone(),
            http: etcd.http.clone(),
            paths: Arc::default(),
            before: Arc::new(Mutex::new(Box::new(before))),
        };
        let paths = watched.paths.clone();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let router = Router::new().fallback(hand_on).with_state(watched);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, paths }
    }
}

async fn hand_on(State(watched): State<Watched>, uri: Uri, body: Bytes) -> (StatusCode, Vec<u8>) {
    let number = {
        let mut paths = watched.paths.lock().expect("no panic");
        paths.push(uri.path().to_string());
        paths.len()
    };
    let post = async |path: &str, body: Vec<u8>| {
        let sent = watched.http.post(format!("{}{path}", watched.etcd)).body(body).send().await;
        sent.expect("etcd answers")
    };
    let first = (watched.before.lock().expect("no panic"))(number);
    if let Some((call, body)) = first {
        assert!(
            post(&format!("/v3/{call}"), body.to_string().into())
                .await
                .status()
                .is_success()
        );
    }
    let answer = post(uri.path(), body.to_vec()).await;
    let status = StatusCode::from_u16(answer.status().as_u16()).expect("a status");
    (status, answer.bytes().await.expect("a body").to_vec())
}
