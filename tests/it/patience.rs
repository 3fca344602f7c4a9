//! Waiting is not failing: outages of the storage are waited out, and told from other failures.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use stillframe::service::{Outcome, ServiceSettings};

use crate::support::TestApp;
use crate::support::app::quick;
use crate::support::jobs::*;

/// The directory of a job's target is away, and a file stands where it was: every copy fails as
/// it does where a store does not answer.
struct Outage {
    directory: PathBuf,
    aside: PathBuf,
}

impl Outage {
    async fn of(app: &TestApp, id: &str) -> Self {
        let collection = job(app, id).await["collection_id"].as_str().expect("id").to_string();
        let directory = app.directory.path().join(format!("insert_log/{collection}"));
        let aside = app.directory.path().join("aside");
        if directory.exists() {
            std::fs::rename(&directory, &aside).expect("moved");
        }
        std::fs::write(&directory, b"in the way").expect("written");
        Self { directory, aside }
    }

    fn ends(self) {
        std::fs::remove_file(&self.directory).expect("removed");
        if self.aside.exists() {
            std::fs::rename(&self.aside, &self.directory).expect("moved");
        }
    }
}

#[tokio::test]
async fn an_outage_of_an_hour_is_waited_out_and_nothing_is_copied_twice() {
    let settings = ServiceSettings {
        copy_tries: 1,
        ..quick()
    };
    let app = TestApp::with_settings(settings).await;
    snapshot(&app, 3).await;
    let id = start(&app, json!({"collection_name": "r"})).await;
    run_next(&app, 2).await;
    // what is copied already is marked, to see whether it is copied again
    let collection = job(&app, &id).await["collection_id"].as_str().expect("id").to_string();
    let key = app.keys(&format!("insert_log/{collection}/")).await.pop().expect("copied");
    let content = app.objects.get(&key, 1000).await.expect("read").expect("there");
    app.objects.put(&key, vec![b'x'; content.len()]).await.expect("written");
    let outage = Outage::of(&app, &id).await;
    for minute in 0..60 {
        app.set_clock(Duration::from_secs(61 * minute)).await;
        app.drain().await;
    }
    let waiting = job(&app, &id).await;
    assert_eq!(
        (&waiting["state"], &waiting["eta_seconds"]),
        (&json!("InProgress"), &json!(null)),
        "{waiting}"
    );
    assert!(
        waiting["waiting_for"]
            .as_str()
            .expect("it says why")
            .contains("insert_log/100/101/50"),
        "{waiting}"
    );
    assert!(waiting["waiting_since"].is_string(), "{waiting}");
    let copies = tasks(&app, &id, "copy").await;
    let kept_waiting: Vec<_> = copies.iter().filter(|t| t["outages"].as_i64() > Some(30)).collect();
    assert_eq!(kept_waiting.len(), 2, "{copies:?}");
    assert!(copies.iter().all(|t| t["failures"] == 0), "{copies:?}");
    let metrics = app.get("/metrics").await.ok().text;
    assert!(metrics.contains("stillframe_restore_waiting_jobs 1"), "{metrics}");
    outage.ends();
    app.set_clock(Duration::from_secs(3720)).await;
    app.drain().await;
    let completed = job(&app, &id).await;
    assert_eq!(
        (&completed["state"], completed.get("waiting_for")),
        (&json!("Completed"), None),
        "{completed}"
    );
    assert_eq!(
        app.objects.get(&key, 1000).await.expect("read").expect("there"),
        vec![b'x'; content.len()]
    );
}

#[tokio::test]
async fn ten_outages_and_another_error_do_not_fail_a_job() {
    let settings = ServiceSettings {
        copy_tries: 1,
        ..quick()
    };
    let app = TestApp::with_settings(settings).await;
    snapshot(&app, 1).await;
    let id = start(&app, json!({"collection_name": "r"})).await;
    run_next(&app, 1).await;
    for round in 0..2 {
        let outage = Outage::of(&app, &id).await;
        for minute in 1..=10 {
            app.set_clock(Duration::from_secs(61 * (20 * round + minute))).await;
            assert_eq!(run(&app, &claim_one(&app).await).await, Outcome::Retried);
        }
        outage.ends();
        app.set_clock(Duration::from_secs(61 * (20 * round + 15))).await;
        let panicked = app.service.task_panicked(&claim_one(&app).await, "a panic").await;
        assert_eq!(panicked.expect("recorded"), Outcome::Retried);
    }
    let copy = tasks(&app, &id, "copy").await.pop().expect("one");
    assert_eq!(
        json!([copy["failures"], copy["outages"]]),
        json!([2, 0]),
        "a panic is no outage: {copy}"
    );
    app.set_clock(Duration::from_secs(61 * 60)).await;
    app.drain().await;
    assert_eq!(job(&app, &id).await["state"], "Completed");
}

#[tokio::test]
async fn only_time_in_which_it_was_tried_in_vain_is_counted_against_an_outage() {
    const DAY: u64 = 24 * 3600;
    let settings = ServiceSettings {
        copy_tries: 1,
        outage_patience: Duration::from_secs(300),
        ..quick()
    };
    let app = TestApp::with_settings(settings).await;
    snapshot(&app, 1).await;
    let id = start(&app, json!({"collection_name": "r"})).await;
    run_next(&app, 1).await;
    let outage = Outage::of(&app, &id).await;
    assert_eq!(run(&app, &claim_one(&app).await).await, Outcome::Retried);
    // every replica is away for a day, and another one after it has claimed the task
    app.set_clock(Duration::from_secs(DAY)).await;
    assert_eq!(run(&app, &claim_one(&app).await).await, Outcome::Retried);
    app.set_clock(Duration::from_secs(2 * DAY)).await;
    claim_one(&app).await;
    app.set_clock(Duration::from_secs(3 * DAY)).await;
    assert_eq!(run(&app, &claim_one(&app).await).await, Outcome::Retried);
    // an attempt that itself takes long counts, and what it takes after its last file
    app.set_clock(Duration::from_secs(4 * DAY)).await;
    let task = claim_one(&app).await;
    app.set_clock(Duration::from_secs(4 * DAY + 20)).await;
    assert_eq!(run(&app, &task).await, Outcome::Retried);
    // and so do the pauses between tries, until it is enough
    let mut tries = 0;
    loop {
        tries += 1;
        app.set_clock(Duration::from_secs(4 * DAY + 20 + 61 * tries)).await;
        match run(&app, &claim_one(&app).await).await {
            Outcome::Retried => assert!(tries < 20),
            ended => break assert_eq!(ended, Outcome::Failed),
        }
    }
    assert!(tries > 5, "{tries} tries are not five minutes");
    assert_eq!(job(&app, &id).await["error_code"], "storage_unavailable");
    outage.ends();
}

#[tokio::test]
async fn workers_that_die_over_a_task_fifty_times_in_a_row_fail_its_job_and_not_before() {
    let app = TestApp::local().await;
    snapshot(&app, 1).await;
    let id = start(&app, json!({"collection_name": "r"})).await;
    run_next(&app, 1).await;
    for round in 0..40 {
        app.set_clock(Duration::from_secs(31 * round)).await;
        claim_one(&app).await;
    }
    // one end in between, and it counts anew
    app.set_clock(Duration::from_secs(31 * 40)).await;
    let task = claim_one(&app).await;
    app.service.hand_back(&task).await.expect("handed back");
    for round in 41..91 {
        app.set_clock(Duration::from_secs(31 * round)).await;
        claim_one(&app).await;
    }
    assert_eq!(job(&app, &id).await["state"], "InProgress");
    app.set_clock(Duration::from_secs(31 * 91)).await;
    assert_eq!(run(&app, &claim_one(&app).await).await, Outcome::Failed);
    let failed = job(&app, &id).await;
    assert!(
        failed["reason"].as_str().expect("text").contains("50 times in a row"),
        "{failed}"
    );
}
