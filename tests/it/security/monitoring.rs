//! What monitoring tells whom, and that no tenant can blind it.

use serde_json::{Value, json};
use stillframe::service::{AuthSettings, ServiceSettings};

use super::who::{Who, required};
use crate::support::TestApp;
use crate::support::app::quick;

const AGE: &str = "stillframe_newest_snapshot_age_seconds";

/// Tenant `a` has a snapshot; open metrics.
async fn open_app() -> TestApp {
    let auth = AuthSettings {
        open_monitoring: true,
        ..required()
    };
    let app = TestApp::with_auth(auth).await;
    Who::admin(&app)
        .post("/v1/databases", &json!({"name": "secret_db"}))
        .await
        .created();
    let a = Who::new(&app, "a", &[("writer", "secret_db", "*"), ("operator", "secret_db", "*")]).await;
    a.collection_with_segment("secret_db", "merger_docs", 51).await;
    let body = json!({"db_name": "secret_db", "collection_name": "merger_docs", "snapshot_name": "s"});
    a.post("/v1/snapshots", &body).await.created();
    app
}

#[tokio::test]
async fn open_metrics_name_nobodys_collections_to_who_may_not_read_everything() {
    let app = open_app().await;
    let tenant = Who::new(&app, "t", &[("admin", "other", "*")]).await;
    let named = Who::with(&app, "sf_made_up_0123456789abcdefghijklmnopqrstuvwxyz0123456789");
    let answers = [
        app.get("/metrics").await.ok(),
        tenant.get("/metrics").await.ok(),
        named.get("/metrics").await.ok(),
        Who::with(&app, "no key at all").get("/metrics").await.ok(),
    ];
    for answer in answers {
        let text = &answer.text;
        assert!(!text.contains("secret_db") && !text.contains("merger_docs"), "{text}");
        // alerts hear of it all the same
        assert!(
            text.contains(&format!("\n{AGE}{{db=\"\",collection=\"\",collection_id=\"\"}} ")),
            "{text}"
        );
        assert!(text.contains("stillframe_snapshots{state=\"committed\"} 1\n"), "{text}");
    }
    for who in [Who::admin(&app), Who::new(&app, "prometheus", &[("reader", "*", "*")]).await] {
        let text = who.get("/metrics").await.ok().text;
        assert!(
            text.contains(&format!("\n{AGE}{{db=\"secret_db\",collection=\"merger_docs\",")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn sizes_that_nobody_checked_blind_neither_monitoring_nor_usage() {
    let settings = ServiceSettings {
        quota_bytes: Some(1_000_000),
        ..quick()
    };
    let app = TestApp::with_auth_and(required(), settings).await;
    let admin = Who::admin(&app);
    admin.collection_with_segment("default", "docs", 51).await;
    let described = admin.get("/v1/collections/docs").await.ok().json;
    let (id, channel) = (&described["collection_id"], &described["channels"][0]["channel_name"]);
    let id = id.as_str().expect("an id");
    for segment in [52, 53] {
        let path = format!("collections/{id}/segments/{segment}/100/1");
        let body = json!({"segment_id": segment.to_string(), "partition_name": "_default", "channel_name": channel,
            "num_of_rows": 1, "start_position": {"timestamp": "10"},
            "binlogs": [{"field_id": "100", "logs": [{"log_id": "1", "path": path, "size_bytes": 1_u64 << 46, "entries_num": 1}]}]});
        admin.post("/v1/collections/docs/segments?check=none", &body).await.created();
    }
    // as with 100,000 such files in each, and rows in as many segments
    for table in ["segments", "segment_versions"] {
        let statement = format!("update {table} set size_bytes = 9223372036854775807, num_of_rows = 9223372036854775807");
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&app.pool)
            .await
            .expect("set");
    }
    let most = json!(i64::MAX);
    assert_eq!(admin.get("/v1/usage").await.ok().json["live_bytes"], most);
    assert_eq!(admin.get("/v1/usage?db_name=default").await.ok().json["live_bytes"], most);
    let collection = admin.get("/v1/collections/docs").await.ok().json;
    assert_eq!(
        (&collection["size_bytes"], &collection["num_of_rows"]),
        (&most, &most),
        "{collection}"
    );
    let body = json!({"collection_name": "docs", "snapshot_name": "s"});
    let snapshot = admin.post("/v1/snapshots", &body).await.created().json;
    assert_eq!(snapshot["num_of_rows"], most, "{snapshot}");
    admin.get("/v1/snapshots/s/usage").await.ok();
    let simulated = json!({"drop": [{"snapshot_name": "s"}]});
    admin.post("/v1/usage/simulate", &simulated).await.ok();
    admin.delete("/v1/collections/docs").await.expect(204);
    admin.post("/v1/usage/simulate", &simulated).await.ok();
    assert_eq!(admin.get("/v1/usage").await.ok().json["held_by_snapshots_bytes"], most);
    let plan = admin
        .post("/v1/snapshots/s/plan-restore", &json!({"collection_name": "copy"}))
        .await
        .ok()
        .json;
    assert_eq!(plan["quota_used_bytes"], most, "{plan}");
    let text = admin.get("/metrics").await.ok().text;
    assert!(text.contains("\nstillframe_catalog_up 1\n"), "{text}");
    assert!(
        text.contains("\nstillframe_bytes{kind=\"held_by_snapshots\"} 9223372036854775807\n")
            || text.contains("\nstillframe_bytes{kind=\"held_by_snapshots\"} 9223372036854776000\n"),
        "{text}"
    );
}

#[tokio::test]
async fn bytes_that_can_not_be_summed_take_no_counts_away() {
    let app = TestApp::with_auth(required()).await;
    // of the two statements only that of bytes reads it
    sqlx::query("alter table orphans rename to elsewhere")
        .execute(&app.pool)
        .await
        .expect("renamed");
    let text = Who::admin(&app).get("/metrics").await.ok().text;
    assert!(text.contains("\nstillframe_catalog_up 0\n"), "{text}");
    assert!(text.contains("\nstillframe_snapshots{state=\"committed\"} 0\n"), "{text}");
    assert!(!text.contains("\nstillframe_bytes{"), "{text}");
}

#[tokio::test]
async fn a_plan_tells_who_may_read_everything_how_much_everybody_uses_and_nobody_else() {
    let settings = ServiceSettings {
        quota_bytes: Some(20),
        ..quick()
    };
    let app = TestApp::with_auth_and(required(), settings).await;
    let admin = Who::admin(&app);
    for name in ["a", "b"] {
        admin.post("/v1/databases", &json!({"name": name})).await.created();
    }
    let a = Who::new(&app, "a", &[("writer", "a", "*"), ("operator", "a", "*")]).await;
    a.collection_with_segment("a", "docs", 51).await;
    admin.collection_with_segment("b", "docs", 61).await;
    let body = json!({"db_name": "a", "collection_name": "docs", "snapshot_name": "s"});
    a.post("/v1/snapshots", &body).await.created();
    let at = "/v1/snapshots/s/plan-restore?db_name=a";
    let body = json!({"db_name": "a", "collection_name": "copy"});
    let seen: Value = a.post(at, &body).await.ok().json;
    assert_eq!(seen["feasible"], false, "{seen}");
    assert!(
        seen.get("quota_bytes").is_none() && seen.get("quota_used_bytes").is_none(),
        "{seen}"
    );
    let text = seen["insufficient_storage"].as_str().expect("text");
    assert!(text.contains("needs 10 bytes, 0 are available within the quota"), "{text}");
    let seen = admin.post(at, &body).await.ok().json;
    assert_eq!((&seen["quota_bytes"], &seen["quota_used_bytes"]), (&json!(20), &json!(20)));
    // nor does the job that fails for it
    let job = a.post("/v1/snapshots/s/restore?db_name=a", &body).await.expect(202).json;
    app.drain().await;
    let job = a
        .get(&format!("/v1/restore-jobs/{}", job["job_id"].as_str().expect("an id")))
        .await
        .ok();
    let reason = job.json["reason"].as_str().expect("text");
    assert_eq!(job.json["state"], "Failed");
    assert!(reason.contains("within the quota") && !reason.contains("20"), "{reason}");
}
