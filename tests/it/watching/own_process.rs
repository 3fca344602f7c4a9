//! Metrics of a process of its own: nothing else moves them, so they are exact.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::metrics::{samples, sum, value};
use crate::cli::process::directory;
use crate::cli::service::Service;
use crate::support::{fixture, postgres};

/// A service, and calls of it.
struct Watched {
    service: Service,
    client: Client,
}

impl Watched {
    async fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.service.url);
        let request = match method {
            Method::GET => self.client.get(url),
            _ => self.client.request(method, url).json(body),
        };
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.expect("JSON")
    }

    async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, path, &Value::Null).await
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.call(Method::POST, path, &body).await
    }

    async fn metrics(&self) -> BTreeMap<String, f64> {
        let answer = self.client.get(format!("{}/metrics", self.service.url)).send().await;
        samples(&answer.expect("an answer").text().await.expect("text"))
    }

    async fn until(&self, path: &str, what: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let now = self.get(path).await;
            if what(&now) {
                return now;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{path}: {now}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_paused_counts_each_file_that_it_copies_once() {
    let data = directory();
    let database = postgres::url(&postgres::empty_database().await);
    let settings = [
        "--no-fsync",
        "--gc-interval-seconds",
        "0",
        "--workers",
        "1",
        "--database-url",
        &database,
    ];
    let service = Service::start(data.path(), &settings);
    service.load_fixture(data.path()).await;
    let client = Client::builder().no_proxy().build().expect("a client");
    let watched = Watched { service, client };
    let before = watched.metrics().await;
    let version = format!("stillframe_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(value(&before, &version), 1.0);
    for name in ["stillframe_restore_running_tasks", "stillframe_restore_copied_files_total"] {
        assert_eq!(sum(&before, name, &[]), 0.0, "{name}");
    }
    let snapshot = json!({"collection_name": "feas", "snapshot_name": "s"});
    watched.post("/v1/snapshots", snapshot).await;
    // small files come at once, and a large one takes longer than all the rest of this test
    let restore = json!({"collection_name": "t", "max_bytes_per_second": 40_000});
    let job = watched.post("/v1/snapshots/s/restore", restore).await;
    let job = format!("/v1/restore-jobs/{}", job["job_id"].as_str().expect("an id"));
    let begun = |tasks: &Value| {
        let mut tasks = tasks["items"].as_array().expect("items").iter();
        tasks.any(|t| t["state"] == "running" && t["done_files"].as_i64() > Some(0))
    };
    watched.until(&format!("{job}/tasks"), begun).await;
    assert_eq!(value(&watched.metrics().await, "stillframe_restore_running_tasks"), 1.0);
    watched.post(&format!("{job}/pause"), json!({})).await;
    let is_left = |tasks: &Value| {
        tasks["items"]
            .as_array()
            .expect("items")
            .iter()
            .all(|t| t["state"] != "running")
    };
    watched.until(&format!("{job}/tasks"), is_left).await;
    watched
        .call(Method::PATCH, &job, &json!({"max_bytes_per_second": null}))
        .await;
    watched.post(&format!("{job}/resume"), json!({})).await;
    let done = watched.until(&job, |job| job["state"] == "Completed").await;
    assert_eq!(done["done_files"], fixture::FILES);
    let after = watched.metrics().await;
    let copies = |outcome: &str| {
        let outcome = format!("outcome=\"{outcome}\"");
        sum(&after, "stillframe_restore_tasks_total", &["kind=\"copy\"", &outcome])
    };
    assert_eq!((copies("handed_back"), copies("done")), (1.0, 4.0));
    assert_eq!(value(&after, "stillframe_restore_copied_files_total"), fixture::FILES as f64);
    assert_eq!(value(&after, "stillframe_restore_copied_bytes_total"), fixture::BYTES as f64);
    assert_eq!(value(&after, "stillframe_restore_running_tasks"), 0.0);
}
