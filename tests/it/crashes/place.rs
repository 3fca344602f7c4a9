//! A catalog and a storage on which services come and go.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use stillframe::objects::StorageUrl;
use stillframe::store;
use tempfile::TempDir;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::cli::process::{Running, directory, stillframe};
use crate::support::faults::Faults;
use crate::support::{postgres, s3};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A database and a storage directory of a test.
pub struct Place {
    pub pool: PgPool,
    database_url: String,
    directory: TempDir,
    /// The storage setting where it is no directory.
    s3: Option<String>,
    clock: Cell<i64>,
}

/// A running service.
pub struct Server {
    process: Running,
    url: String,
    client: reqwest::Client,
}

impl Place {
    pub async fn new() -> Self {
        let (name, pool) = postgres::database().await;
        Self {
            pool,
            database_url: postgres::url(&name),
            directory: directory(),
            s3: None,
            clock: Cell::new(0),
        }
    }

    /// The same on an S3 server behind faults.
    pub async fn on_s3(faults: Faults) -> Self {
        let mut place = Self::new().await;
        let (url, _) = s3::start_behind(&place.directory.path().join("objects"), faults).await;
        let StorageUrl::S3 {
            endpoint: Some(endpoint),
            ..
        } = url
        else {
            panic!("an S3 server: {url}");
        };
        place.s3 = Some(format!("s3://bucket/some/prefix?endpoint={endpoint}&region=us-east-1"));
        place
    }

    /// The storage root; of an S3 server where it keeps what lies below the prefix.
    pub fn root(&self) -> PathBuf {
        let objects = self.directory.path().join("objects");
        match self.s3 {
            Some(_) => objects.join("bucket/some/prefix"),
            None => objects,
        }
    }

    /// What the S3 server keeps of multipart uploads that were neither completed nor aborted.
    pub fn open_uploads(&self) -> Vec<String> {
        s3::open_uploads(&self.directory.path().join("objects"))
    }

    /// The root of a store beside it, as the setting `--store shared=...` has it.
    pub fn shared(&self) -> PathBuf {
        self.directory.path().join("shared")
    }

    /// Every object of that store, as [`Place::objects`].
    pub fn shared_objects(&self) -> BTreeMap<String, u64> {
        inodes(&self.shared())
    }

    /// Starts a service that dies at a crash point.
    pub fn serve_until(&self, crash_point: &str, args: &[&str]) -> Server {
        self.start(&[("TEST_STILLFRAME_CRASH_AT", crash_point)], args)
    }

    /// Starts a service that falls silent at a crash point, as when its host goes away.
    pub fn serve_until_silent(&self, crash_point: &str, args: &[&str]) -> Server {
        let silent = [
            ("TEST_STILLFRAME_CRASH_AT", crash_point),
            ("TEST_STILLFRAME_CRASH_BY", "SIGSTOP"),
        ];
        self.start(&silent, args)
    }

    /// Starts a service with more in its environment.
    pub fn serve_with(&self, environment: &[(&str, &str)], args: &[&str]) -> Server {
        self.start(environment, args)
    }

    /// Starts a service whose worker brings it to a crash point by itself, it may be before it listens.
    pub fn dies_by_itself(&self, crash_point: &str) {
        self.launch(&[("TEST_STILLFRAME_CRASH_AT", crash_point)], &[])
            .ended_by(Signal::SIGKILL);
    }

    /// Starts a service that comes to a crash point before it listens.
    pub fn dies_at_start(&self, crash_point: &str, args: &[&str]) {
        self.launch(&[("TEST_STILLFRAME_CRASH_AT", crash_point)], args)
            .ended_by(Signal::SIGKILL);
    }

    /// Starts a service.
    pub fn serve(&self, args: &[&str]) -> Server {
        self.start(&[], args)
    }

    fn launch(&self, environment: &[(&str, &str)], args: &[&str]) -> Running {
        let storage = self.s3.clone().unwrap_or_else(|| format!("file://{}", self.root().display()));
        let data_dir = self.directory.path().join("data").display().to_string();
        let own = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            &data_dir,
            "--storage",
            &storage,
        ];
        let quick = [
            "--gc-interval-seconds",
            "0",
            "--task-lease-seconds",
            "3",
            "--max-connections",
            "8",
        ];
        let local: &[&str] = if self.s3.is_none() { &["--no-fsync"] } else { &[] };
        let mut command = stillframe(&[&own[..], &quick, local, args].concat());
        command.env("DATABASE_URL", &self.database_url);
        if self.s3.is_some() {
            command
                .env("AWS_ACCESS_KEY_ID", s3::KEY)
                .env("AWS_SECRET_ACCESS_KEY", s3::SECRET);
        }
        command.envs(environment.iter().copied());
        Running::start(command)
    }

    fn start(&self, environment: &[(&str, &str)], args: &[&str]) -> Server {
        let mut process = self.launch(environment, args);
        let line = process.err_line("listening");
        let port: String = line
            .split("http://127.0.0.1:")
            .nth(1)
            .expect("a URL")
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        Server {
            process,
            url: format!("http://127.0.0.1:{port}"),
            client: reqwest::Client::builder().no_proxy().build().expect("a client"),
        }
    }

    /// Moves the clock of ages and leases on. Best while no service works.
    pub async fn pass(&self, seconds: i64) {
        self.clock.set(self.clock.get() + seconds * 1000);
        let mut conn = self.pool.acquire().await.expect("a connection");
        store::catalog::set_clock_offset(&mut conn, self.clock.get())
            .await
            .expect("set");
    }

    /// Every object but the half-copied ones, with the inode that tells a copy from its like.
    pub fn objects(&self) -> BTreeMap<String, u64> {
        inodes(&self.root())
    }

    /// Drops and collects everything: no object and no row stays.
    pub async fn ends_empty(&self, server: &Server) {
        for collection in server.items("/v1/collections?page_size=1000").await {
            let name = collection["name"].as_str().expect("a name");
            server.delete(&format!("/v1/collections/{name}?cascade=true")).await;
        }
        for snapshot in server.items("/v1/snapshots?page_size=1000").await {
            let (name, id) = (&snapshot["snapshot_name"], &snapshot["snapshot_id"]);
            let (name, id) = (name.as_str().expect("a name"), id.as_str().expect("an id"));
            server.delete(&format!("/v1/snapshots/{name}?snapshot_id={id}")).await;
        }
        self.pass(10 * 24 * 3600).await;
        for job in server.items("/v1/restore-jobs?page_size=1000").await {
            if job["cleanup"] == "pending" {
                server.wait_for(&job, |job| job["cleanup"] == "done").await;
            }
        }
        // as if the killed process had died long ago: half-copied files go by the age of the file
        walk(&self.root().join(".stillframe-tmp"), &mut |path, _| {
            let long_ago = SystemTime::now() - Duration::from_secs(3600);
            let file = std::fs::File::options().write(true).open(path).expect("opens");
            file.set_modified(long_ago).expect("set");
        });
        let everything = json!({"grace_seconds": 0, "orphans": true, "orphan_tolerance_seconds": 0});
        for _ in 0..2 {
            let run = server.post("/v1/gc/runs", &everything).await;
            assert_eq!(run["failed_objects"], 0, "{run}");
        }
        let mut left = Vec::new();
        walk(&self.root(), &mut |_, key| left.push(key.to_string()));
        assert_eq!(left, ["stillframe.json"], "objects are left");
        for table in [
            "collections",
            "segments",
            "segment_versions",
            "index_builds",
            "snapshots",
            "manifests",
            "snapshot_manifests",
            "orphans",
        ] {
            let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from {table}")))
                .fetch_one(&self.pool)
                .await
                .expect("counts");
            assert_eq!(rows, 0, "rows are left in {table}");
        }
        let half: i64 = sqlx::query_scalar(
            "select (select count(*) from restore_jobs where finished_at is null)
                  + (select count(*) from restore_tasks where state in ('available', 'running'))
                  + (select count(*) from gc_runs where state = 'running')",
        )
        .fetch_one(&self.pool)
        .await
        .expect("counts");
        assert_eq!(half, 0, "jobs, tasks or runs of the collector never ended");
    }
}

fn inodes(root: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    walk(root, &mut |path, key| {
        if !key.starts_with(".stillframe-tmp/") {
            // one that goes at this moment is not there
            if let Ok(metadata) = std::fs::metadata(path) {
                found.insert(key.to_string(), metadata.ino());
            }
        }
    });
    found
}

/// Calls `see` with every file below a directory, and its key in the storage.
fn walk(directory: &Path, see: &mut impl FnMut(&Path, &str)) {
    fn below(root: &Path, directory: &Path, see: &mut impl FnMut(&Path, &str)) {
        let Ok(entries) = std::fs::read_dir(directory) else { return };
        let mut entries: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                below(root, &path, see);
            } else {
                let key = path.strip_prefix(root).expect("below").to_str().expect("UTF-8");
                see(&path, key);
            }
        }
    }
    below(directory, directory, see);
}

impl Server {
    /// A call that may not be answered: then none.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let response = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let response = response.send().await.ok()?;
        let status = response.status().as_u16();
        let text = response.text().await.ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    async fn succeed(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let called = format!("{method} {path}");
        let (status, answer) = self
            .call(method, path, body)
            .await
            .unwrap_or_else(|| panic!("{called}: no answer"));
        assert!((200..300).contains(&status), "{called}: {status} {answer}");
        answer
    }

    pub async fn get(&self, path: &str) -> Value {
        self.succeed(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Value {
        self.succeed(Method::POST, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) {
        self.succeed(Method::DELETE, path, None).await;
    }

    /// The items of one page of a list.
    pub async fn items(&self, path: &str) -> Vec<Value> {
        self.get(path).await["items"].as_array().expect("items").clone()
    }

    /// The code of a refusal.
    pub async fn refusal(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, String) {
        let (status, answer) = self.call(method, path, body).await.expect("an answer");
        (status, answer["code"].as_str().unwrap_or_default().to_string())
    }

    /// A call in which the service dies.
    pub async fn dies_in(self, method: Method, path: &str, body: Option<&Value>) {
        if let Some(answer) = self.call(method, path, body).await {
            panic!("{path} was answered: {answer:?}");
        }
        self.dies();
    }

    /// Waits until the service is killed by itself.
    pub fn dies(self) {
        self.process.ended_by(Signal::SIGKILL);
    }

    /// What time it believes it is.
    pub async fn date(&self) -> OffsetDateTime {
        let answer = self
            .client
            .get(format!("{}/healthz", self.url))
            .send()
            .await
            .expect("an answer");
        let date = answer.headers()["date"].to_str().expect("text").replace("GMT", "+0000");
        OffsetDateTime::parse(&date, &Rfc2822).expect("a date")
    }

    /// Waits until the service has fallen silent.
    pub async fn is_silent(&self) {
        let deadline = Instant::now() + PATIENCE;
        // the state stands after the name, which is in parentheses
        let stat = format!("/proc/{}/stat", self.process.id());
        while !std::fs::read_to_string(&stat).expect("it lives").contains(") T ") {
            assert!(Instant::now() < deadline, "it still runs");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// The process by itself.
    pub fn into_process(self) -> Running {
        self.process
    }

    /// Kills the service.
    pub fn kill(self) {
        self.process.signal(Signal::SIGKILL);
        self.process.ended_by(Signal::SIGKILL);
    }

    /// Waits until a job is as wanted.
    pub async fn wait_for(&self, job: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
        let kind = if job["kind"] == "export" { "export" } else { "restore" };
        let path = format!("/v1/{kind}-jobs/{}", job["job_id"].as_str().expect("an id"));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let job = self.get(&path).await;
            if wanted(&job) {
                return job;
            }
            assert!(Instant::now() < deadline, "it never came to that: {job}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for the end of a job, which must be a good one.
    pub async fn completes(&self, job: &Value) -> Value {
        let ended = self.wait_for(job, |job| job.get("finished_at").is_some()).await;
        assert_eq!(ended["state"], "Completed", "{ended}");
        ended
    }
}
