//! What the paths do, and the forms of requests and answers.

use serde_json::json;

use super::{PATHS, Rest};
use crate::support::fixture::COLLECTION;

const NUMBERS: (&str, &str) = ("accept-type-allow-int64", "true");

#[tokio::test]
async fn a_snapshot_goes_the_whole_way_by_rest_v2() {
    let rest = Rest::start().await;
    rest.app.load_fixture().await;
    let named = json!({"collectionName": COLLECTION, "snapshotName": "backup_20240101"});
    let mut new = named.clone();
    new["description"] = json!("daily");
    new["compactionProtectionSeconds"] = json!(604_800);
    assert_eq!(rest.done("snapshots/create", new).await, json!({}));
    assert_eq!(
        rest.done("snapshots/list", json!({"collectionName": COLLECTION})).await,
        json!(["backup_20240101"])
    );
    let native = rest.app.get("/v1/snapshots/backup_20240101").await.ok().json;
    assert_eq!(
        rest.done("snapshots/describe", named.clone()).await,
        json!({"snapshotName": "backup_20240101", "description": "daily", "collectionName": COLLECTION,
            "partitionNames": ["_default", "p2"], "createTs": "470644641416347649", "s3Location": native["s3_location"]})
    );

    let restore =
        json!({"snapshotName": "backup_20240101", "sourceCollectionName": COLLECTION, "targetCollectionName": "restored"});
    let started = rest.done("snapshots/restore", restore).await;
    let id = started["jobId"].as_str().expect("a string").to_string();
    let job = rest.done("jobs/snapshot/describe", json!({"jobId": id})).await;
    assert_eq!(
        (&job["state"], &job["progress"]),
        (&json!("RestoreSnapshotPending"), &json!(0))
    );
    rest.app.drain().await;
    let job = rest.done("jobs/snapshot/describe", json!({"jobId": id})).await;
    let number = |key: &str| {
        job[key]
            .as_str()
            .and_then(|t| t.parse::<i64>().ok())
            .expect("a number in a string")
    };
    assert!(number("startTime") > 1_700_000_000_000 && number("timeCost") > 0, "{job}");
    assert_eq!(
        job,
        json!({"jobId": id, "snapshotName": "backup_20240101", "dbName": "default", "collectionName": "restored",
            "state": "RestoreSnapshotCompleted", "progress": 100, "reason": "", "startTime": job["startTime"], "timeCost": job["timeCost"]})
    );
    for filter in [json!({"collectionName": "restored"}), json!({}), json!({"dbName": "default"})] {
        assert_eq!(rest.done("jobs/snapshot/list", filter).await, json!({"records": [job]}));
    }
    rest.refused("jobs/snapshot/list", json!({"collectionName": "other"}), 100, "other")
        .await;
    rest.app
        .post("/v1/aliases", &json!({"alias": "live", "collection_name": "restored"}))
        .await
        .created();
    assert_eq!(
        rest.done("jobs/snapshot/list", json!({"collectionName": "live"})).await,
        json!({"records": [job]})
    );
    rest.app.get("/v1/collections/restored").await.ok();

    let mut wanted = named.clone();
    wanted["ttlSeconds"] = json!(60);
    let pin = rest.done("snapshots/pin", wanted).await["pinId"].clone();
    assert!(pin.is_string());
    rest.refused("snapshots/drop", named.clone(), 1100, "active pins, unpin before dropping")
        .await;
    for _ in 0..2 {
        assert_eq!(rest.done("snapshots/unpin", json!({"pinId": pin})).await, json!({}));
    }
    for _ in 0..2 {
        assert_eq!(
            rest.done("snapshots/drop", named.clone()).await,
            json!({}),
            "drop is idempotent"
        );
    }
    assert_eq!(
        rest.done("snapshots/list", json!({"collectionName": COLLECTION})).await,
        json!([])
    );
    let metrics = rest.app.get("/metrics").await.ok().text;
    let counted = |line: &&str| line.contains("stillframe_milvus_calls_total") && line.contains("/v2/vectordb/snapshots/drop");
    assert!(
        metrics.lines().any(|line| counted(&line) && line.contains("1100")),
        "{metrics}"
    );
}

#[tokio::test]
async fn integers_are_strings_unless_the_request_allows_numbers() {
    let rest = Rest::with_snapshot().await;
    let named = json!({"collectionName": COLLECTION, "snapshotName": "s"});
    let described = rest.post("snapshots/describe", &[NUMBERS], named.clone()).await;
    assert_eq!(described["data"]["createTs"], 470_644_641_416_347_649_i64);
    // as Go reads a bool, in Milvus
    for (text, is_number) in [
        ("1", true),
        ("t", true),
        ("T", true),
        ("TRUE", true),
        ("True", true),
        ("false", false),
        ("0", false),
        ("tRUE", false),
        ("yes", false),
        ("", false),
    ] {
        let header = [("accept-type-allow-int64", text)];
        let described = rest.post("snapshots/describe", &header, named.clone()).await;
        assert_eq!(described["data"]["createTs"].is_i64(), is_number, "{text:?}: {described}");
    }
    let pin = rest.post("snapshots/pin", &[NUMBERS], named).await["data"]["pinId"].clone();
    assert!(pin.is_i64(), "{pin}");
    rest.done("snapshots/unpin", json!({"pinId": pin})).await;
    rest.app.delete("/v1/snapshots/s").await.expect(204);
    rest.app.post("/v1/snapshots/s/undelete", &json!({})).await.ok();
    let restore = json!({"snapshotName": "s", "targetCollectionName": "t"});
    let id = rest.post("snapshots/restore", &[NUMBERS], restore).await["data"]["jobId"].clone();
    assert!(id.is_i64(), "{id}");
    let job = rest.post("jobs/snapshot/describe", &[NUMBERS], json!({"jobId": id})).await["data"].clone();
    for key in ["jobId", "startTime", "timeCost", "progress"] {
        assert!(job[key].is_i64(), "{key}: {job}");
    }
    let job = rest.done("jobs/snapshot/describe", json!({"jobId": id.to_string()})).await;
    for key in ["jobId", "startTime", "timeCost"] {
        assert!(job[key].is_string(), "{key}: {job}");
    }
}

#[tokio::test]
async fn the_database_is_that_of_the_body_else_of_the_header_else_the_default_one() {
    let rest = Rest::start().await;
    rest.app.post("/v1/databases", &json!({"name": "prod"})).await.created();
    let collection = json!({"name": "c", "db_name": "prod", "fields": [{"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true}],
        "channels": [{"channel_name": "c0", "seek_position": {"timestamp": "1000"}}]});
    rest.app.post("/v1/collections", &collection).await.created();
    let named = json!({"collectionName": "c", "snapshotName": "s"});
    let header = [("db-name", "prod")];
    rest.refused("snapshots/create", named.clone(), 100, "c").await;
    let body = json!({"dbName": "default", "collectionName": "c", "snapshotName": "s"});
    assert_eq!(
        rest.post("snapshots/create", &header, body).await["code"],
        100,
        "the body wins"
    );
    assert_eq!(rest.post("snapshots/create", &header, named).await["code"], 0);
    assert_eq!(rest.post("snapshots/list", &header, json!({})).await["data"], json!(["s"]));
    assert_eq!(rest.done("snapshots/list", json!({"dbName": "prod"})).await, json!(["s"]));
    assert_eq!(rest.done("snapshots/list", json!({})).await, json!([]));
    rest.refused("snapshots/list", json!({"dbName": "nowhere"}), 800, "nowhere")
        .await;

    // the target's database is the header's, else the default one, and never the source's
    let restore = |target: &str| json!({"dbName": "prod", "snapshotName": "s", "targetCollectionName": target});
    rest.done("snapshots/restore", restore("in_default")).await;
    assert_eq!(rest.post("snapshots/restore", &header, restore("in_prod")).await["code"], 0);
    let mut named = restore("named");
    named["targetDbName"] = json!("default");
    assert_eq!(rest.post("snapshots/restore", &header, named).await["code"], 0);
    rest.app.drain().await;
    for (target, db) in [("in_default", "default"), ("in_prod", "prod"), ("named", "default")] {
        rest.app.get(&format!("/v1/collections/{target}?db_name={db}")).await.ok();
    }
    let jobs = rest.post("jobs/snapshot/list", &header, json!({})).await;
    assert_eq!(jobs["data"]["records"].as_array().expect("records").len(), 1);
    assert_eq!(
        rest.done("jobs/snapshot/list", json!({})).await["records"]
            .as_array()
            .expect("records")
            .len(),
        3
    );
}

#[tokio::test]
async fn a_snapshot_is_found_without_its_collection_where_only_one_has_the_name() {
    let rest = Rest::start().await;
    for (name, id) in [("a", 100), ("b", 200)] {
        rest.app.small_collection(name, id).await;
        rest.done("snapshots/create", json!({"collectionName": name, "snapshotName": "both"}))
            .await;
    }
    rest.done("snapshots/create", json!({"collectionName": "a", "snapshotName": "one"}))
        .await;
    let described = rest.done("snapshots/describe", json!({"snapshotName": "one"})).await;
    assert_eq!(described["collectionName"], "a");
    let ambiguous = "collection_name is required for describe snapshot";
    rest.refused("snapshots/describe", json!({"snapshotName": "both"}), 1101, ambiguous)
        .await;
    let restore = json!({"snapshotName": "both", "targetCollectionName": "t"});
    rest.refused(
        "snapshots/restore",
        restore,
        1101,
        "collection_name is required for restore snapshot",
    )
    .await;
    assert_eq!(rest.done("snapshots/list", json!({})).await, json!(["one", "both", "both"]));
}

#[tokio::test]
async fn an_alias_stands_for_its_collection() {
    let rest = Rest::start().await;
    rest.app.small_collection("c", 100).await;
    let alias = json!({"alias": "a", "collection_name": "c"});
    rest.app.post("/v1/aliases", &alias).await.created();
    let named = json!({"collectionName": "a", "snapshotName": "s"});
    rest.done("snapshots/create", named.clone()).await;
    let described = rest.done("snapshots/describe", named.clone()).await;
    assert_eq!(described["collectionName"], "c", "the real name is told");
    assert_eq!(
        rest.done("snapshots/list", json!({"collectionName": "a"})).await,
        json!(["s"])
    );
    let pin = rest.done("snapshots/pin", named.clone()).await;
    rest.refused("snapshots/drop", named.clone(), 1100, "1 active pins").await;
    rest.done("snapshots/unpin", pin).await;

    let restore = json!({"snapshotName": "s", "sourceCollectionName": "a", "targetCollectionName": "r"});
    let started = rest.done("snapshots/restore", restore).await;
    let id = started["jobId"].as_str().expect("an id");
    let native = rest.app.get(&format!("/v1/restore-jobs/{id}")).await.ok().json;
    assert_eq!(native["source_collection_name"], "c");
    let export = json!({"snapshotName": "s", "collectionName": "a", "targetS3Path": "x"});
    let exported = rest.done("jobs/snapshot/export", export).await;
    rest.app.drain().await;
    let exported = rest.done("jobs/snapshot/export/describe", exported).await;
    assert_eq!(
        (&exported["state"], &exported["collectionName"]),
        (&json!("ExportSnapshotCompleted"), &json!("c"))
    );
    rest.done("snapshots/drop", named).await;
    assert_eq!(rest.done("snapshots/list", json!({"collectionName": "c"})).await, json!([]));
}

#[tokio::test]
async fn a_collection_that_is_made_our_own_is_no_job_of_milvus() {
    let rest = Rest::start().await;
    crate::materialize::in_our_own_root(&rest.app).await;
    crate::materialize::materialize(&rest.app, "c").await;
    for filter in [json!({}), json!({"collectionName": "c"})] {
        assert_eq!(rest.done("jobs/snapshot/list", filter).await, json!({"records": []}));
    }
}

#[tokio::test]
async fn a_paused_job_is_executing_and_a_cancelled_one_failed() {
    let rest = Rest::with_snapshot().await;
    let restore = json!({"snapshotName": "s", "targetCollectionName": "t"});
    let id = rest.done("snapshots/restore", restore).await["jobId"]
        .as_str()
        .expect("id")
        .to_string();
    for (action, state) in [("pause", "RestoreSnapshotExecuting"), ("cancel", "RestoreSnapshotFailed")] {
        rest.app
            .post(&format!("/v1/restore-jobs/{id}/{action}"), &json!({}))
            .await
            .ok();
        let job = rest.done("jobs/snapshot/describe", json!({"jobId": id})).await;
        assert_eq!(job["state"], state, "{job}");
    }
    let job = rest.done("jobs/snapshot/describe", json!({"jobId": id})).await;
    assert!(job["reason"].as_str().expect("text").contains("cancel"), "{job}");
}

#[tokio::test]
async fn a_bearer_token_and_unknown_fields_are_no_obstacle() {
    let rest = Rest::start().await;
    rest.app.small_collection("c", 100).await;
    let body = json!({"collectionName": "c", "snapshotName": "s", "skipIndex": true, "more": {"x": []}});
    let headers = [
        ("authorization", "Bearer root:Milvus"),
        ("content-type", "application/json;charset=utf-8"),
        ("x-request-id", "mine-1"),
    ];
    assert_eq!(rest.post("snapshots/create", &headers, body).await["code"], 0);
    // programs may leave the type out
    let request = rest
        .http
        .post(format!("{}/snapshots/list", rest.url))
        .header("x-request-id", "mine-1")
        .body("{}");
    assert_eq!(request.send().await.expect("an answer").headers()["x-request-id"], "mine-1");
}

#[test]
fn the_openapi_document_has_them_under_a_tag_of_their_own() {
    let document = serde_json::to_value(stillframe::app::document()).expect("JSON");
    let tag = document["tags"]
        .as_array()
        .expect("tags")
        .iter()
        .find(|t| t["name"] == "milvus");
    assert!(
        tag.expect("the tag")["description"]
            .as_str()
            .expect("text")
            .starts_with("Compatibility")
    );
    let paths = document["paths"].as_object().expect("paths");
    let tagged = paths.iter().filter(|(path, _)| path.starts_with("/v2/"));
    let tagged: Vec<_> = tagged.collect();
    assert_eq!(tagged.len(), PATHS.len());
    for (path, item) in tagged {
        let operation = &item["post"];
        assert_eq!(operation["tags"], json!(["milvus"]), "{path}");
        assert!(
            operation["summary"].is_string() && operation["operationId"].is_string(),
            "{path}"
        );
        let answers = operation["responses"].as_object().expect("responses");
        assert_eq!(answers.keys().collect::<Vec<_>>(), ["200"], "{path}");
        assert_eq!(answers["200"]["content"]["application/json"]["example"]["code"], 0, "{path}");
        let (_, required) = PATHS.iter().find(|(p, _)| path.ends_with(p)).expect("known");
        let schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            .as_str()
            .expect("a reference");
        let schema = &document["components"]["schemas"][schema.rsplit('/').next().expect("a name")];
        let announced = schema["required"].as_array().cloned().unwrap_or_default();
        assert_eq!(announced, required.iter().map(|r| json!(r)).collect::<Vec<_>>(), "{path}");
        assert!(schema["examples"][0].is_object(), "{path}");
    }
}
