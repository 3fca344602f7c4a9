//! Several services on one catalog and one storage.

use std::time::{Duration, Instant};

use serde_json::json;

use super::content;
use super::place::{Place, Server};

const C: i64 = 100;
/// 12 segments of 50 files.
const FILES: usize = 600;

#[tokio::test]
async fn of_three_replicas_one_is_killed_and_the_others_end_its_restore() {
    let place = Place::new().await;
    // two large tasks each, one file at a time: whoever is killed is in the middle of some
    let slow = ["--workers", "2", "--copy-concurrency", "1"];
    let mut replicas: Vec<Server> = (0..3).map(|_| place.serve(&slow)).collect();
    content::collection(&replicas[0], "c", C).await;
    let expected = content::add(&replicas[0], &place, "c", C, 1000..1012, 24).await;
    replicas[0]
        .post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await;
    let before = place.objects().len();

    let job = replicas[1]
        .post("/v1/snapshots/s/restore", &json!({"collection_name": "r"}))
        .await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while place.objects().len() < before + FILES / 5 {
        assert!(Instant::now() < deadline, "nothing is copied");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    replicas.pop().expect("three").kill();
    let at_the_kill = place.objects();
    assert!(at_the_kill.len() < before + FILES, "killed too late to tell anything");

    let ended = replicas[0].completes(&job).await;
    assert_eq!(ended["done_files"], FILES, "{ended}");
    let now = place.objects();
    let again = at_the_kill
        .iter()
        .filter(|(key, inode)| now.get(*key) != Some(*inode))
        .count();
    let copied = at_the_kill.len() - before;
    assert!(again * 100 < copied, "{again} of {copied} files were copied again");
    assert!(
        content::of_collection(&replicas[1], &place, "r").await == expected,
        "the restored bytes differ"
    );
    // the killed one had a task in its hands, that another one took over
    let id = ended["job_id"].as_str().expect("an id");
    let tasks = replicas[0].get(&format!("/v1/restore-jobs/{id}/tasks?page_size=1000")).await;
    let taken_over = tasks["items"].as_array().expect("items").iter().filter(|t| t["attempt"] != 1);
    assert!(taken_over.count() > 0, "the killed one had nothing: {tasks}");
    place.ends_empty(&replicas[0]).await;
}
