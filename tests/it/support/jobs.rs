//! Restore jobs of one small snapshot, driven step by step.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stillframe::domain::restore::{Beat, ClaimedTask};
use stillframe::jobs::{Worker, WorkerSettings};
use stillframe::service::{CopyProgress, Outcome, Service};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::TestApp;

pub const C: i64 = 100;
/// Far more than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub async fn snapshot(app: &TestApp, segments: i64) {
    app.small_collection("c", C).await;
    for segment in 0..segments {
        app.add_segment("c", C, 500 + segment).await;
    }
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
}

pub async fn start(app: &TestApp, body: Value) -> String {
    start_of(app, "s", body).await
}

pub async fn start_of(app: &TestApp, snapshot: &str, body: Value) -> String {
    let path = format!("/v1/snapshots/{snapshot}/restore");
    let job = app.post(&path, &body).await.expect(202).json;
    job["job_id"].as_str().expect("id").to_string()
}

pub async fn job(app: &TestApp, id: &str) -> Value {
    app.get(&format!("/v1/restore-jobs/{id}")).await.ok().json
}

pub async fn act(app: &TestApp, id: &str, action: &str) -> Value {
    app.post(&format!("/v1/restore-jobs/{id}/{action}"), &json!({}))
        .await
        .ok()
        .json
}

pub async fn change(app: &TestApp, id: &str, body: Value) -> Value {
    app.patch(&format!("/v1/restore-jobs/{id}"), &body).await.ok().json
}

pub async fn tasks(app: &TestApp, id: &str, kind: &str) -> Vec<Value> {
    let list = app
        .get(&format!("/v1/restore-jobs/{id}/tasks?page_size=1000"))
        .await
        .ok()
        .json;
    let items = list["items"].as_array().expect("items").iter();
    items.filter(|t| t["kind"] == kind).cloned().collect()
}

pub async fn claim(app: &TestApp, limit: usize) -> Vec<ClaimedTask> {
    app.service.claim_tasks(Uuid::new_v4(), limit).await.expect("claims")
}

pub async fn claim_one(app: &TestApp) -> ClaimedTask {
    claim(app, 1).await.pop().expect("due")
}

pub async fn run(app: &TestApp, task: &ClaimedTask) -> Outcome {
    app.service.run_task(task, &CopyProgress::default()).await.expect("runs")
}

pub async fn beat(app: &TestApp, task: &ClaimedTask) -> Beat {
    app.service.heartbeat(task, &CopyProgress::default()).await.expect("beats")
}

/// Runs the next tasks one by one; gives the jobs they were of.
pub async fn run_next(app: &TestApp, tasks: usize) -> Vec<String> {
    let mut jobs = Vec::new();
    for _ in 0..tasks {
        let task = claim_one(app).await;
        jobs.push(task.job_id.to_string());
        run(app, &task).await;
    }
    jobs
}

pub fn worker(service: &Service, pool: &sqlx::PgPool, slots: usize, soft: &CancellationToken) -> tokio::task::JoinHandle<()> {
    let settings = WorkerSettings {
        slots,
        lease: Duration::from_secs(30),
        poll: Duration::from_millis(50),
        listen: Some(pool.clone()),
    };
    tokio::spawn(Worker::new(service.clone(), settings, soft.clone(), CancellationToken::new()).run())
}

pub async fn until(app: &TestApp, id: &str, what: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let now = job(app, id).await;
        if what(&now) {
            return now;
        }
        assert!(began.elapsed() < PATIENCE, "{now}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
