//! The database cuts every connection of the service, again and again: it recovers by itself.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::content;
use super::place::Place;

const C: i64 = 100;

impl Place {
    /// Cuts the service's connections every few milliseconds, until told to stop; gives how many.
    async fn cut(&self, every: Duration, stop: CancellationToken) -> i64 {
        let mut cut = 0;
        while !stop.is_cancelled() {
            cut += sqlx::query_scalar::<_, i64>(
                "select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity
                  where datname = current_database() and application_name = 'stillframe'",
            )
            .fetch_one(&self.pool)
            .await
            .expect("cuts");
            tokio::time::sleep(every).await;
        }
        cut
    }
}

#[tokio::test]
async fn a_restore_survives_that_its_connections_are_cut() {
    let place = Place::new().await;
    let server = place.serve(&["--workers", "4", "--copy-concurrency", "1"]);
    content::collection(&server, "c", C).await;
    let expected = content::add(&server, &place, "c", C, 1000..1030, 4).await;
    server
        .post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await;
    let job = server.post("/v1/snapshots/s/restore", &json!({"collection_name": "r"})).await;
    let stop = CancellationToken::new();
    let working = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        stop.cancel();
    };
    let (cut, ()) = tokio::join!(place.cut(Duration::from_millis(50), stop.clone()), working);
    assert!(cut > 10, "only {cut} connections were cut");
    // its tasks are free again when their leases have run out, its pauses are over
    let ended = server.completes(&job).await;
    assert_eq!(ended["done_files"], 300, "{ended}");
    assert!(
        content::of_collection(&server, &place, "r").await == expected,
        "the restored bytes differ"
    );
    place.ends_empty(&server).await;
}

#[tokio::test]
async fn snapshots_are_whole_or_not_there_when_connections_are_cut() {
    let place = Place::new().await;
    let server = place.serve(&[]);
    content::collection(&server, "c", C).await;
    let expected = content::add(&server, &place, "c", C, 1000..1020, 1).await;
    let stop = CancellationToken::new();
    let body = |n: i64| json!({"collection_name": "c", "snapshot_name": format!("s{n}")});
    let creating = async {
        let mut created = Vec::new();
        for n in 0..20 {
            let (status, answer) = server
                .call(Method::POST, "/v1/snapshots", Some(&body(n)))
                .await
                .expect("an answer");
            assert!(matches!(status, 201 | 500..=599), "{status} {answer}");
            created.push(status == 201);
        }
        stop.cancel();
        created
    };
    let (cut, created) = tokio::join!(place.cut(Duration::from_millis(15), stop.clone()), creating);
    assert!(cut > 0 && created.contains(&false), "{cut} {created:?}");
    let visible = server.items("/v1/snapshots").await;
    place.pass(61).await;
    for (n, created) in created.into_iter().enumerate() {
        let is_visible = visible.iter().any(|s| s["snapshot_name"] == format!("s{n}"));
        assert!(is_visible || !created, "s{n} was acknowledged");
        if !is_visible {
            server.post("/v1/snapshots", &body(n as i64)).await;
        }
        if n % 5 == 0 {
            let target = format!("r{n}");
            let path = format!("/v1/snapshots/s{n}/restore");
            let job = server.post(&path, &json!({"collection_name": target})).await;
            server.completes(&job).await;
            assert!(
                content::of_collection(&server, &place, &target).await == expected,
                "the restored bytes differ"
            );
        }
    }
    place.ends_empty(&server).await;
}

#[tokio::test]
async fn a_collector_whose_connections_are_cut_is_followed_by_one_that_ends_its_work() {
    let place = Place::new().await;
    let server = place.serve(&[]);
    content::collection(&server, "c", C).await;
    let expected = content::add(&server, &place, "c", C, 501..506, 1).await;
    server
        .post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await;
    for round in 0..5 {
        let name = format!("d{round}");
        let id = 1000 * (round + 1);
        content::collection(&server, &name, id).await;
        content::add(&server, &place, &name, id, (id + 10)..(id + 40), 1).await;
        let snapshot = json!({"collection_name": name, "snapshot_name": name});
        server.post("/v1/snapshots", &snapshot).await;
        server.delete(&format!("/v1/collections/{name}?cascade=true")).await;
    }
    let everything = json!({"grace_seconds": 0});
    let stop = CancellationToken::new();
    let collecting = async {
        for _ in 0..5 {
            let (status, answer) = server
                .call(Method::POST, "/v1/gc/runs", Some(&everything))
                .await
                .expect("an answer");
            assert!(matches!(status, 201 | 500..=599), "{status} {answer}");
        }
        stop.cancel();
    };
    let (cut, ()) = tokio::join!(place.cut(Duration::from_millis(10), stop.clone()), collecting);
    assert!(cut > 0);
    let run = server.post("/v1/gc/runs", &everything).await;
    assert_eq!((&run["state"], &run["failed_objects"]), (&json!("completed"), &json!(0)));
    let there = place.objects();
    assert_eq!(
        there.len(),
        1 + 20 + 6,
        "the marker, the living segments, their snapshot: {there:?}"
    );
    assert!(content::of_collection(&server, &place, "c").await == expected);
    place.ends_empty(&server).await;
}

#[tokio::test]
async fn a_busy_service_opens_no_more_connections_than_it_may() {
    let place = Place::new().await;
    // --max-connections 8
    let server = place.serve(&["--workers", "32", "--copy-concurrency", "64"]);
    content::collection(&server, "c", C).await;
    content::add(&server, &place, "c", C, 1000..1100, 2).await;
    server
        .post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await;
    let mut jobs = Vec::new();
    for n in 0..4 {
        let target = json!({"collection_name": format!("r{n}")});
        jobs.push(server.post("/v1/snapshots/s/restore", &target).await);
    }
    let stop = CancellationToken::new();
    let looking = async {
        let mut most = 0;
        while !stop.is_cancelled() {
            let now: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'stillframe'",
            )
            .fetch_one(&place.pool)
            .await
            .expect("counts");
            most = most.max(now);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        most
    };
    let ending = async {
        for job in &jobs {
            server.completes(job).await;
        }
        stop.cancel();
    };
    let (most, ()) = tokio::join!(looking, ending);
    // and the three that docs/operations.md speaks of
    assert!((4..=8 + 3).contains(&most), "{most} connections");
}
