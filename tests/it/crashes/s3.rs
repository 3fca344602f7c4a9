//! Crashes and signals on an S3 server.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::content;
use super::place::{Place, Server};
use crate::support::faults::{Call, Fault, Faults};

const C: i64 = 100;
/// Over the threshold of one copy that these services have.
const LARGE: usize = 11 * 1024 * 1024;

fn is_data(call: &Call) -> bool {
    call.path.contains("/insert_log/")
}

/// Makes a collection of three segments of one large file each, and a snapshot of it.
async fn three_large_files(server: &Server, place: &Place) {
    content::collection(server, "c", C).await;
    let mut segments = Vec::new();
    for id in 501..504i64 {
        let path = format!("insert_log/{C}/{}/{id}/100/{id}000", C + 1);
        let at = place.root().join(&path);
        std::fs::create_dir_all(at.parent().expect("a parent")).expect("made");
        std::fs::write(at, vec![id.to_le_bytes()[0]; LARGE]).expect("written");
        segments.push(json!({
            "segment_id": id.to_string(), "partition_name": "_default", "channel_name": format!("ch_{C}"), "num_of_rows": 5,
            "start_position": {"timestamp": "10"},
            "binlogs": [{"field_id": "100", "logs": [{"log_id": format!("{id}000"), "size_bytes": LARGE, "path": path, "entries_num": 5}]}]
        }));
    }
    let segments = json!({"segments": segments});
    server.post("/v1/collections/c/segments:batch", &segments).await;
    let snapshot = json!({"collection_name": "c", "snapshot_name": "s"});
    server.post("/v1/snapshots", &snapshot).await;
}

/// The first byte and the size of the files of a restored collection, in order.
async fn files(server: &Server, place: &Place, name: &str) -> Vec<(u8, usize)> {
    let mut found = Vec::new();
    for segment in server.items(&format!("/v1/collections/{name}/segments")).await {
        let path = segment["binlogs"][0]["logs"][0]["path"].as_str().expect("a path");
        let bytes = std::fs::read(place.root().join(path)).expect("there");
        assert!(bytes.iter().all(|b| *b == bytes[0]), "bytes of several files in {path}");
        found.push((bytes[0], bytes.len()));
    }
    found.sort_unstable();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_killed_among_the_parts_of_large_objects_is_followed_by_one_that_ends_the_job() {
    let faults = Faults::default();
    let place = Place::on_s3(faults.clone()).await;
    let args = ["--workers", "1", "--multipart-above-bytes", "10485760"];
    let server = place.serve(&args);
    three_large_files(&server, &place).await;
    // the parts of the first object are copied, those of the second are never answered
    let mut completed = false;
    faults.set(move |call| {
        let held = completed && call.is_part_copy();
        completed |= call.is_complete();
        held.then_some(Fault::Slow(Duration::from_secs(600)))
    });
    let job = server.post("/v1/snapshots/s/restore", &json!({"collection_name": "r"})).await;
    faults.seen(Call::is_complete).await;
    let parts = faults.calls(Call::is_part_copy).len();
    let deadline = Instant::now() + Duration::from_secs(60);
    while faults.calls(Call::is_part_copy).len() == parts {
        assert!(Instant::now() < deadline, "no second object");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    server.kill();
    assert!(!place.open_uploads().is_empty(), "killed in the middle of an upload");
    faults.clear();
    let server = place.serve(&args);
    let ended = server.completes(&job).await;
    assert_eq!(ended["done_files"], 3, "{ended}");
    let expected: Vec<(u8, usize)> = (501..504i64).map(|id| (id.to_le_bytes()[0], LARGE)).collect();
    assert_eq!(files(&server, &place, "r").await, expected);
    assert_eq!(faults.calls(Call::is_complete).len(), 3, "what was whole is not copied again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_a_service_at_once_also_while_a_copy_is_held() {
    let faults = Faults::default();
    let place = Place::on_s3(faults.clone()).await;
    let server = place.serve(&["--shutdown-seconds", "300"]);
    content::collection(&server, "c", C).await;
    content::add(&server, &place, "c", C, 501..503, 2).await;
    server
        .post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await;
    let is_copy = |call: &Call| call.is_copy() && is_data(call);
    faults.set(move |call| is_copy(call).then_some(Fault::Slow(Duration::from_secs(300))));
    let job = server.post("/v1/snapshots/s/restore", &json!({"collection_name": "r"})).await;
    faults.seen(is_copy).await;
    // heartbeats come and go meanwhile
    for _ in 0..20 {
        let open: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'stillframe'
                and state like 'idle in transaction%' and clock_timestamp() - xact_start > interval '1 second'",
        )
        .fetch_one(&place.pool)
        .await
        .expect("counts");
        assert_eq!(open, 0, "a transaction is open while bytes move");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut process = server.into_process();
    process.signal(Signal::SIGTERM);
    process.err_line("SIGTERM: stopping");
    let began = Instant::now();
    process.signal(Signal::SIGTERM);
    let ended = process.ended();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    assert!(ended.err.contains("aborted by a second signal"), "{ended:?}");
    faults.clear();
    let server = place.serve(&[]);
    let completed: Value = server.completes(&job).await;
    assert_eq!(completed["done_segments"], 2, "{completed}");
}
