//! Failures: Milvus' codes and texts.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{PATHS, Rest};
use crate::support::fixture::COLLECTION;

#[tokio::test]
async fn deeply_nested_json_is_passed_over_where_it_is_ignored_and_refused_where_it_is_read() {
    let rest = Rest::start().await;
    rest.app.small_collection("c", 100).await;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        let send = async |path: &str, body: String| rest.send(Method::POST, path, &[], body).await["code"].clone();
        let ignored = format!("{{\"more\": {deep}, \"collectionName\": \"c\"}}");
        assert_eq!(send("snapshots/list", ignored).await, 0);
        let read = format!("{{\"collectionName\": {deep}}}");
        assert_eq!(send("snapshots/list", read).await, 1801);
        let spec = format!("{{\"snapshotName\": \"s\", \"targetS3Path\": \"x\", \"externalSpec\": {deep}}}");
        assert_eq!(send("jobs/snapshot/export", spec).await, 1801);
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_milvus_reads_has_its_codes() {
    let rest = Rest::start().await;
    for (path, required) in PATHS {
        for body in [
            "",
            "{",
            "[]",
            "[null]",
            "5",
            "nul",
            "{} {}",
            "{\"dbName\": nul}",
            "{\"dbName\": 5, \"collectionName\": 5, \"pinId\": [], \"jobId\": {}}",
        ] {
            let envelope = rest.send(Method::POST, path, &[], body.into()).await;
            assert_eq!(envelope["code"], 1801, "{path} {body:?}: {envelope}");
            let message = envelope["message"].as_str().expect("text");
            assert!(message.starts_with("can only accept json format request"), "{message}");
        }
        for missing in required {
            let whole = required.iter().map(|name| (name.to_string(), json!("1")));
            let mut body: serde_json::Map<String, Value> = whole.collect();
            // and null, which is nothing to Go's decoder
            for absent in [Some(json!("")), Some(Value::Null), None] {
                body.remove(*missing);
                body.extend(absent.map(|value| (missing.to_string(), value)));
                let text = format!("missing required parameters, error: field {missing} is required");
                rest.refused(path, Value::Object(body.clone()), 1802, &text).await;
            }
        }
    }
    for (path, required) in PATHS {
        let nulls = "{\"dbName\": null, \"collectionName\": null, \"snapshotName\": null, \"pinId\": null, \"jobId\": null,
            \"ttlSeconds\": null, \"compactionProtectionSeconds\": null, \"externalSpec\": null, \"targetS3Path\": null,
            \"targetCollectionName\": null, \"snapshotMetadataURI\": null, \"description\": null, \"unknown\": null}";
        for body in ["null", " null ", "{}", nulls] {
            let code = if required.is_empty() { 0 } else { 1802 };
            let envelope = rest.send(Method::POST, path, &[], body.into()).await;
            assert_eq!(envelope["code"], code, "{path} {body}: {envelope}");
        }
    }
    let large = format!("{{\"dbName\": \"{}\"}}", "x".repeat(17 * 1024 * 1024));
    assert_eq!(rest.send(Method::POST, "snapshots/list", &[], large).await["code"], 1102);
}

#[tokio::test]
async fn failures_have_milvus_codes_and_texts() {
    let rest = Rest::with_snapshot().await;
    let of = |fields: Value| {
        let mut body = json!({"collectionName": COLLECTION, "snapshotName": "s"});
        for (key, value) in fields.as_object().expect("fields") {
            body[key] = value.clone();
        }
        body
    };
    let cases = [
        ("snapshots/create", of(json!({})), 1100, "snapshot name s already exists"),
        (
            "snapshots/create",
            of(json!({"snapshotName": "  "})),
            1100,
            "snapshot name should be not empty",
        ),
        (
            "snapshots/create",
            of(json!({"snapshotName": "1a"})),
            1100,
            "the first character of snapshot name must be an underscore or letter",
        ),
        (
            "snapshots/create",
            of(json!({"snapshotName": "a b"})),
            1100,
            "snapshot name can only contain numbers, letters, underscores",
        ),
        (
            "snapshots/create",
            of(json!({"snapshotName": "a".repeat(256)})),
            1100,
            "the length of snapshot name must be not greater than limit",
        ),
        (
            "snapshots/create",
            of(json!({"snapshotName": "n", "collectionName": "nowhere"})),
            100,
            "nowhere",
        ),
        (
            "snapshots/create",
            of(json!({"snapshotName": "n", "compactionProtectionSeconds": 604_801})),
            1100,
            "compaction_protection_seconds must not exceed 604800",
        ),
        ("snapshots/drop", of(json!({"dbName": "nowhere"})), 800, "nowhere"),
        ("snapshots/list", json!({"collectionName": "nowhere"}), 100, "nowhere"),
        (
            "snapshots/drop",
            of(json!({"collectionName": "typo"})),
            100,
            "collection not found",
        ),
        ("snapshots/describe", of(json!({"collectionName": "typo"})), 100, "typo"),
        ("snapshots/pin", of(json!({"collectionName": "typo"})), 100, "typo"),
        (
            "snapshots/restore",
            json!({"snapshotName": "s", "sourceCollectionName": "typo", "targetCollectionName": "t"}),
            100,
            "typo",
        ),
        (
            "snapshots/describe",
            of(json!({"snapshotName": "nothing"})),
            1100,
            "snapshot not found[snapshot=nothing]",
        ),
        (
            "snapshots/restore",
            json!({"snapshotName": "nothing", "targetCollectionName": "t"}),
            1100,
            "snapshot not found[snapshot=nothing]",
        ),
        (
            "snapshots/restore",
            json!({"snapshotName": "s", "targetCollectionName": COLLECTION}),
            65_535,
            "duplicate collection",
        ),
        (
            "snapshots/restore",
            json!({"snapshotName": "s", "targetCollectionName": " "}),
            1100,
            "collection name should be not empty",
        ),
        (
            "snapshots/restore",
            json!({"snapshotName": "s", "targetCollectionName": "t", "targetDbName": "nowhere"}),
            800,
            "nowhere",
        ),
        (
            "snapshots/pin",
            of(json!({"snapshotName": "nothing"})),
            1100,
            "snapshot not found[snapshot=nothing]",
        ),
        (
            "snapshots/pin",
            of(json!({"ttlSeconds": -1})),
            1100,
            "ttl_seconds must be non-negative",
        ),
        (
            "snapshots/pin",
            of(json!({"ttlSeconds": 2_592_001})),
            1100,
            "ttl_seconds exceeds maximum of 2592000 (30 days)",
        ),
        (
            "snapshots/unpin",
            json!({"pinId": "x"}),
            1100,
            "pinId must be a positive decimal int64, got \"x\"",
        ),
        (
            "snapshots/unpin",
            json!({"pinId": "0"}),
            1100,
            "pinId must be a positive decimal int64, got \"0\"",
        ),
        (
            "snapshots/unpin",
            json!({"pinId": "+1"}),
            1100,
            "pinId must be a positive decimal int64, got \"+1\"",
        ),
        (
            "snapshots/unpin",
            json!({"pinId": "9223372036854775808"}),
            1100,
            "pinId must be a positive decimal int64",
        ),
        (
            "jobs/snapshot/describe",
            json!({"jobId": "1"}),
            2100,
            "restore job not found: jobID=1",
        ),
        (
            "jobs/snapshot/describe",
            json!({"jobId": "-1"}),
            1100,
            "jobId must be a positive decimal int64, got \"-1\"",
        ),
        (
            "entities/search",
            json!({}),
            3000,
            "/v2/vectordb/entities/search is not served here",
        ),
        ("jobs/snapshot/nothing", json!({}), 3000, "is not served here"),
    ];
    for (path, body, code, text) in cases {
        rest.refused(path, body, code, text).await;
    }
    let got = rest.send(Method::GET, "snapshots/list", &[], String::new()).await;
    assert_eq!(got["code"], 3000, "{got}");
    assert_eq!(
        rest.done("snapshots/list", json!({})).await,
        json!(["s"]),
        "nothing was created"
    );
}

#[tokio::test]
async fn a_call_without_a_database_behind_it_is_retriable_and_tells_nothing() {
    let rest = Rest::start().await;
    rest.app.pool.close().await;
    let answer = tokio::time::timeout(Duration::from_secs(60), rest.post("snapshots/list", &[], json!({}))).await;
    let envelope = answer.expect("soon");
    assert_eq!(envelope["code"], 2, "{envelope}");
    assert!(
        !envelope["message"].as_str().expect("text").to_lowercase().contains("pool"),
        "{envelope}"
    );
}
