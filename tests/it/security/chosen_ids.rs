//! Ids of segments and index builds are one set over the whole catalog, and who registers some chooses them.

use std::time::Duration;

use serde_json::{Value, json};

use super::who::{Who, required};
use crate::support::TestApp;

/// A writer `b` with a collection of its own: who attacks.
struct Attacker<'a> {
    b: Who<'a>,
    channel: String,
}

const AT: &str = "/v1/collections/mine/segments?db_name=b";

impl<'a> Attacker<'a> {
    async fn new(app: &'a TestApp) -> Self {
        Who::admin(app).post("/v1/databases", &json!({"name": "b"})).await.created();
        let b = Who::new(app, "b", &[("writer", "b", "*")]).await;
        b.collection_with_segment("b", "mine", 61).await;
        let index = json!({"index_id": "7", "field_id": "100", "index_name": "i"});
        b.post("/v1/collections/mine/indexes?db_name=b", &index).await.created();
        let described = b.get("/v1/collections/mine?db_name=b").await.ok().json;
        let channel = described["channels"][0]["channel_name"]
            .as_str()
            .expect("a channel")
            .to_string();
        Self { b, channel }
    }

    /// A segment without files.
    fn empty(&self, id: i64) -> Value {
        json!({"segment_id": id.to_string(), "partition_name": "_default", "channel_name": self.channel, "num_of_rows": 0})
    }

    /// Takes so many ids from this one on, of segments and of builds.
    async fn take(&self, first: i64, count: i64) {
        let segments: Vec<Value> = (first..first + count).map(|id| self.empty(id)).collect();
        let batch = json!({"segments": segments});
        self.b
            .post("/v1/collections/mine/segments:batch?db_name=b", &batch)
            .await
            .created();
    }
}

/// The first id of so many milliseconds from now, by the clock of the database.
async fn id_in(app: &TestApp, ms: i64) -> i64 {
    let mut conn = app.pool.acquire().await.expect("a connection");
    let now = stillframe::store::catalog::now_millis(&mut conn).await.expect("now");
    (now + ms) << 18
}

/// What new ids are above of.
async fn last_id(app: &TestApp) -> i64 {
    sqlx::query_scalar("select last_value from id_allocator")
        .fetch_one(&app.pool)
        .await
        .expect("an id")
}

async fn failures(app: &TestApp, job: &Value) -> i64 {
    sqlx::query_scalar("select coalesce(sum(failures), 0)::bigint from restore_tasks where job_id = $1")
        .bind(job["job_id"].as_str().expect("an id").parse::<i64>().expect("a number"))
        .fetch_one(&app.pool)
        .await
        .expect("a count")
}

#[tokio::test]
async fn ids_of_the_future_are_for_who_may_write_everywhere() {
    let app = TestApp::with_auth(required()).await;
    let attacker = Attacker::new(&app).await;
    let b = &attacker.b;
    let minute = 60_000;
    for id in [id_in(&app, 11 * minute).await, id_in(&app, 1000 * minute).await, i64::MAX] {
        let segment = attacker.empty(id);
        let refused = b.post(AT, &segment).await.refused(403, "permission_denied");
        assert_eq!(refused.pointers(), ["/segment_id"], "{}", refused.text);
        assert!(refused.text.contains("an id of the future"), "{}", refused.text);
        let batch = json!({"segments": [attacker.empty(62), segment]});
        let refused = b
            .post("/v1/collections/mine/segments:batch?db_name=b", &batch)
            .await
            .refused(403, "permission_denied");
        assert_eq!(refused.pointers(), ["/segments/1/segment_id"]);
        let compaction = json!({"inputs": ["61"], "outputs": [segment]});
        b.post("/v1/collections/mine/compactions?db_name=b", &compaction)
            .await
            .refused(403, "permission_denied");
        let build = json!({"build_id": id.to_string(), "index_id": "7", "num_rows": 1, "files": []});
        let refused = b
            .post("/v1/collections/mine/segments/61/index-builds?db_name=b", &build)
            .await
            .refused(403, "permission_denied");
        assert_eq!(refused.pointers(), ["/build_id"]);
        let mut with_build = attacker.empty(62);
        with_build["index_builds"] = json!([build]);
        let refused = b.post(AT, &with_build).await.refused(403, "permission_denied");
        assert_eq!(refused.pointers(), ["/index_builds/0/build_id"]);
    }
    // an engine whose clock is ahead, and one that may do as it likes
    b.post(AT, &attacker.empty(id_in(&app, 5 * minute).await)).await.created();
    Who::admin(&app)
        .post(AT, &attacker.empty(id_in(&app, 1000 * minute).await))
        .await
        .created();
    b.post(AT, &attacker.empty(i64::from(i32::MAX))).await.created();
}

#[tokio::test]
async fn who_takes_the_ids_that_come_next_fails_nobodys_restore() {
    let app = TestApp::with_auth(required()).await;
    let attacker = Attacker::new(&app).await;
    let admin = Who::admin(&app);
    admin.post("/v1/databases", &json!({"name": "a"})).await.created();
    let a = Who::new(&app, "a", &[("writer", "a", "*"), ("operator", "a", "*")]).await;
    a.collection_with_segment("a", "docs", 51).await;
    let body = json!({"db_name": "a", "collection_name": "docs", "snapshot_name": "s"});
    a.post("/v1/snapshots", &body).await.created();
    // new ids come from a few minutes ahead, so that it is known which
    let ahead = id_in(&app, 5 * 60_000).await;
    sqlx::query("select setval('id_allocator', $1)")
        .bind(ahead)
        .execute(&app.pool)
        .await
        .expect("set");
    attacker.take(ahead, 3000).await;
    let started = a
        .post(
            "/v1/snapshots/s/restore?db_name=a",
            &json!({"db_name": "a", "collection_name": "copy"}),
        )
        .await
        .expect(202)
        .json;
    app.drain().await;
    let at = format!("/v1/restore-jobs/{}", started["job_id"].as_str().expect("an id"));
    let job = a.get(&at).await.ok().json;
    assert_eq!(job["state"], "Completed", "{job}");
    assert_eq!(failures(&app, &job).await, 0, "an id that is taken uses up no try");
    let jumped = last_id(&app).await;
    assert!(
        jumped > id_in(&app, 10 * 60_000).await,
        "new ids begin where nobody may choose any"
    );
    assert!(jumped < id_in(&app, 21 * 60_000).await, "and no further ahead than needed");
    let segments = a.get("/v1/collections/copy/segments?db_name=a").await.ok().json;
    assert_eq!(segments["items"].as_array().expect("items").len(), 1);
    // the next ones are out of the attacker's reach
    attacker
        .b
        .post(AT, &attacker.empty(jumped + 1))
        .await
        .refused(403, "permission_denied");
    let body = json!({"db_name": "a", "collection_name": "copy2"});
    a.post("/v1/snapshots/s/restore?db_name=a", &body).await.expect(202);
    app.drain().await;
    assert_eq!(a.get("/v1/collections/copy2?db_name=a").await.ok().json["segment_count"], 1);
    let again = last_id(&app).await;
    assert!(again - jumped < 1 << 18, "it did not jump again");
}

#[tokio::test]
async fn ids_that_are_taken_far_ahead_fail_a_job_after_a_bounded_number_of_jumps() {
    let app = TestApp::with_auth(required()).await;
    let attacker = Attacker::new(&app).await;
    let admin = Who::admin(&app);
    let body = json!({"db_name": "b", "collection_name": "mine", "snapshot_name": "s"});
    admin.post("/v1/snapshots", &body).await.created();
    // only who may write everywhere can do so
    let ahead = id_in(&app, 1000 * 60_000).await;
    sqlx::query("select setval('id_allocator', $1)")
        .bind(ahead)
        .execute(&app.pool)
        .await
        .expect("set");
    for first in (ahead..ahead + 10_000).step_by(5000) {
        let segments: Vec<Value> = (first..first + 5000).map(|id| attacker.empty(id)).collect();
        admin
            .post(
                "/v1/collections/mine/segments:batch?db_name=b",
                &json!({"segments": segments}),
            )
            .await
            .created();
    }
    let body = json!({"db_name": "b", "collection_name": "copy"});
    let started = admin.post("/v1/snapshots/s/restore?db_name=b", &body).await.expect(202).json;
    // tries that failed wait before the next
    for minutes in 0..5 {
        app.set_clock(Duration::from_secs(60 * minutes)).await;
        app.drain().await;
    }
    let at = format!("/v1/restore-jobs/{}", started["job_id"].as_str().expect("an id"));
    let job = admin.get(&at).await.ok().json;
    assert_eq!(job["state"], "Failed", "{job}");
    // what exactly is for the log
    assert_eq!(job["error_code"], "internal", "{job}");
}
