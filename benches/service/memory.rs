//! Peak of the resident memory of the real service, driven over HTTP.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::runtime::Runtime;

use super::data::Collection;
use super::{app, lists, summary};

/// Runs the service on a catalog of 10,000 snapshots, and prints the peak of each kind of work.
pub fn measure() {
    let app = lists::prepare();
    let service = Server::start(app.url());
    println!("peak resident memory of `stillframe serve`");
    service.note("start");
    for _ in 0..300 {
        service.get("/v1/snapshots");
        service.get("/v1/snapshots/nightly_42_17?include_collection_info=true");
    }
    service.note("300 times describe and first page of 10000 snapshots");

    let large = Collection(lists::COLLECTIONS);
    service.add(large, 10_000);
    service.note("register 10 batches of 1000 segments");
    service.create(large, 5);
    service.note("create 5 snapshots of 10000 segments");
    let small = Collection(lists::COLLECTIONS + 1);
    service.add(small, 1000);
    service.create(small, 20);
    service.note("create 20 snapshots of 1000 segments");
}

/// `stillframe serve`; stopped when dropped.
struct Server {
    child: Child,
    url: String,
    runtime: Runtime,
    client: reqwest::Client,
}

impl Server {
    fn start(database_url: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0")
            .expect("a port")
            .local_addr()
            .expect("an address");
        let mut command = Command::new(env!("CARGO_BIN_EXE_stillframe"));
        // settings of whoever runs this must not lead to another database
        for (name, _) in std::env::vars_os() {
            if name == "DATABASE_URL" || name.to_string_lossy().starts_with("STILLFRAME_") {
                command.env_remove(name);
            }
        }
        let child = command
            // a storage of its own, which the catalog of the lists has never seen
            .args(["serve", "--no-fsync", "--take-over", "--database-url", database_url])
            .args(["--listen", &free.to_string()])
            .arg("--data-dir")
            .arg(app::directory())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let server = Self {
            child,
            url: format!("http://{free}"),
            runtime: Runtime::new().expect("a runtime"),
            client: reqwest::Client::new(),
        };
        for _ in 0..100 {
            let ready = server.client.get(format!("{}/readyz", server.url)).send();
            if server.runtime.block_on(ready).is_ok_and(|r| r.status().is_success()) {
                return server;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the service is not ready after 10 seconds");
    }

    fn send(&self, request: reqwest::RequestBuilder) {
        self.runtime.block_on(async {
            let response = request.send().await.expect("an answer");
            let status = response.status();
            let text = response.text().await.expect("a body");
            assert!(status.is_success(), "{status}: {text}");
        });
    }

    fn get(&self, path: &str) {
        self.send(self.client.get(format!("{}{path}", self.url)));
    }

    fn post(&self, path: &str, body: String) {
        let request = self.client.post(format!("{}{path}", self.url));
        self.send(request.header("content-type", "application/json").body(body));
    }

    fn add(&self, collection: Collection, segments: i64) {
        self.post("/v1/collections", collection.body().to_string());
        for index in collection.index_bodies() {
            self.post(&collection.indexes_path(), index.to_string());
        }
        for first in (0..segments).step_by(1000) {
            self.post(&collection.segments_path(), collection.segments_body(first..first + 1000));
        }
    }

    fn create(&self, collection: Collection, times: i64) {
        for n in 0..times {
            let body = json!({"snapshot_name": format!("snapshot_{n}"), "collection_name": collection.name()});
            self.post("/v1/snapshots", body.to_string());
        }
    }

    /// Prints the peak since the last one.
    fn note(&self, after: &str) {
        let process = self.child.id().to_string();
        let peak = summary::peak_mb(&process).expect("/proc of the service");
        let verdict = if peak < 200 { "" } else { "  MISSED" };
        println!("{after:<55} {peak:>6} MB, target 200 MB{verdict}");
        summary::reset_peak(&process);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        // gone already: nothing to stop
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
        let _ = self.child.wait();
    }
}
