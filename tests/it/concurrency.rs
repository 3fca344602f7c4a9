//! Calls at the same time.

use serde_json::json;

use crate::support::TestApp;

const C: i64 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_five_creates_of_one_name_exactly_one_wins() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    let body = json!({"collection_name": "c", "snapshot_name": "s"});
    let answers = futures::future::join_all((0..5).map(|_| app.post("/v1/snapshots", &body))).await;
    let mut statuses: Vec<u16> = answers.iter().map(|a| a.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409]);
    // and nothing of the losers is left
    assert_eq!(app.keys("snapshots/").await.len(), 2);
    let rows: i64 = sqlx::query_scalar("select count(*) from snapshots")
        .fetch_one(&app.pool)
        .await
        .expect("counts");
    assert_eq!(rows, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_restores_to_one_target_exactly_one_wins() {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 5).await;
    app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
        .await
        .created();
    let body = json!({"collection_name": "r"});
    let answers = futures::future::join_all((0..4).map(|_| app.post("/v1/snapshots/s/restore", &body))).await;
    let mut statuses: Vec<u16> = answers.iter().map(|a| a.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409, 409, 409]);
    for answer in answers.into_iter().filter(|a| a.status != 202) {
        answer.refused(409, "collection_already_exists");
    }
    assert_eq!(app.drain().await, 3);
    app.get("/v1/collections/r").await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_drops_of_one_snapshot_all_succeed() {
    for _ in 0..5 {
        let app = TestApp::memory().await;
        app.small_collection("c", C).await;
        app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
            .await
            .created();
        let answers = futures::future::join_all((0..5).map(|_| app.delete("/v1/snapshots/s"))).await;
        for answer in answers {
            answer.expect(204);
        }
        // also one whose look comes after the end of the others
        app.delete("/v1/snapshots/s").await.expect(204);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_drop_and_a_restore_of_one_snapshot_never_both_win() {
    for round in 0..10 {
        let app = TestApp::memory().await;
        app.small_collection("c", C).await;
        app.add_segment("c", C, 5).await;
        app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": "s"}))
            .await
            .created();
        app.delete("/v1/collections/c").await.expect(204);
        let body = json!({"collection_name": "r"});
        let (dropped, restored) = tokio::join!(app.delete("/v1/snapshots/s"), app.post("/v1/snapshots/s/restore", &body));
        app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created();
        app.drain().await;
        match (dropped.status.as_u16(), restored.status.as_u16()) {
            (204, 404) => drop(restored.refused(404, "snapshot_not_found")),
            (409, 202) => {
                dropped.refused(409, "snapshot_being_restored");
                assert_eq!(app.get("/v1/collections/r").await.ok().json["segment_count"], 1);
            }
            other => panic!("round {round}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_snapshot_during_compactions_has_every_row_once() {
    let app = TestApp::memory().await;
    app.small_collection("c", C).await;
    app.add_segment("c", C, 1000).await;
    let compactions = async {
        for n in 0..20 {
            let output = app.small_segment(C, 1001 + n).await;
            let body = json!({"inputs": [(1000 + n).to_string()], "outputs": [output]});
            app.post("/v1/collections/c/compactions", &body).await.ok();
        }
    };
    let snapshots = async {
        for n in 0..20 {
            let body = json!({"collection_name": "c", "snapshot_name": format!("s{n}")});
            let created = app.post("/v1/snapshots", &body).await.created().json;
            assert_eq!(
                (&created["segment_count"], &created["num_of_rows"]),
                (&json!(1), &json!(5)),
                "the inputs or the outputs, never both, never neither"
            );
        }
    };
    let collections = async {
        for _ in 0..20 {
            let run = app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created().json;
            assert_eq!(run["failed_objects"], 0);
        }
    };
    tokio::join!(compactions, snapshots, collections);
    // whatever the order was, every snapshot can be restored
    for n in 0..20 {
        app.post(
            &format!("/v1/snapshots/s{n}/restore"),
            &json!({"collection_name": format!("r{n}")}),
        )
        .await
        .expect(202);
    }
    app.drain().await;
    let completed = app.get("/v1/restore-jobs?state=Completed").await.ok().json;
    assert_eq!(completed["items"].as_array().expect("items").len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_create_and_a_drop_of_the_collection_end_clearly() {
    for _ in 0..10 {
        let app = TestApp::memory().await;
        app.small_collection("c", C).await;
        app.add_segment("c", C, 5).await;
        let body = json!({"collection_name": "c", "snapshot_name": "s"});
        let (created, dropped) = tokio::join!(app.post("/v1/snapshots", &body), app.delete("/v1/collections/c"));
        dropped.expect(204);
        app.post("/v1/gc/runs", &json!({"grace_seconds": 0})).await.created();
        if created.status == 201 {
            app.post("/v1/snapshots/s/restore", &json!({"collection_name": "r"}))
                .await
                .expect(202);
            app.drain().await;
            assert_eq!(app.get("/v1/collections/r").await.ok().json["segment_count"], 1);
        } else {
            created.refused(404, "collection_not_found");
        }
    }
}
