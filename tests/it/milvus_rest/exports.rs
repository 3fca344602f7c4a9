//! Exports and restores of them.

use serde_json::{Value, json};

use super::Rest;
use crate::exports::contents;
use crate::support::fixture::{self, BYTES, COLLECTION, FILES};

const NUMBERS: (&str, &str) = ("accept-type-allow-int64", "true");

async fn export(rest: &Rest) -> String {
    let body = json!({"collectionName": COLLECTION, "snapshotName": "s", "targetS3Path": "backups/nightly"});
    let started = rest.done("jobs/snapshot/export", body).await;
    started["jobId"].as_str().expect("a string").to_string()
}

async fn job(rest: &Rest, id: &str) -> Value {
    rest.done("jobs/snapshot/export/describe", json!({"jobId": id})).await
}

#[tokio::test]
async fn a_snapshot_is_exported_and_restored_byte_for_byte_by_rest_v2() {
    let rest = Rest::with_snapshot().await;
    let id = export(&rest).await;
    let pending = job(&rest, &id).await;
    assert_eq!(
        (&pending["state"], &pending["progress"], &pending["snapshotMetadataURI"]),
        (&json!("ExportSnapshotPending"), &json!(0), &json!(""))
    );
    let named = json!({"collectionName": COLLECTION, "snapshotName": "s"});
    rest.refused("snapshots/drop", named, 1100, "1 active pins, unpin before dropping")
        .await;
    rest.app.drain().await;
    let done = job(&rest, &id).await;
    let uri = done["snapshotMetadataURI"].as_str().expect("text");
    assert!(
        uri.starts_with("file:///") && uri.contains("/backups/nightly/exports/"),
        "{uri}"
    );
    let number = |key: &str| {
        let text = done[key].as_str().expect("a string");
        text.parse::<i64>().expect("a number")
    };
    assert!(number("startTime") > 1_700_000_000_000 && number("timeCost") > 0, "{done}");
    assert_eq!(
        done,
        json!({"jobId": id, "snapshotName": "s", "dbName": "default", "collectionName": COLLECTION, "state": "ExportSnapshotCompleted",
            "progress": 100, "reason": "", "startTime": done["startTime"], "timeCost": done["timeCost"], "totalFiles": FILES.to_string(),
            "copiedFiles": FILES.to_string(), "totalBytes": BYTES.to_string(), "snapshotMetadataURI": uri})
    );
    let numbers = rest
        .post("jobs/snapshot/export/describe", &[NUMBERS], json!({"jobId": id}))
        .await["data"]
        .clone();
    for key in ["jobId", "startTime", "timeCost", "totalFiles", "copiedFiles", "totalBytes"] {
        assert!(numbers[key].is_i64(), "{key}: {numbers}");
    }

    let body = json!({"targetCollectionName": "back", "snapshotMetadataURI": uri, "externalSpec": ""});
    let started = rest.done("jobs/snapshot/restore_external", body).await;
    rest.app.drain().await;
    let restored = rest.done("jobs/snapshot/describe", started.clone()).await;
    assert_eq!(
        (&restored["state"], &restored["collectionName"], &restored["snapshotName"]),
        (&json!("RestoreSnapshotCompleted"), &json!("back"), &json!("s")),
        "{restored}"
    );
    let mut wanted: Vec<Vec<u8>> = fixture::files().into_iter().map(|(_, bytes)| bytes).collect();
    wanted.sort();
    assert_eq!(contents(&rest.app, "back").await, wanted);
}

#[tokio::test]
async fn a_failed_export_says_which_file_is_missing() {
    let rest = Rest::with_snapshot().await;
    let (lost, _) = fixture::files()
        .into_iter()
        .find(|(path, _)| path.starts_with("delta_log/"))
        .expect("one");
    std::fs::remove_file(rest.app.directory.path().join(&lost)).expect("removed");
    let id = export(&rest).await;
    rest.app.drain().await;
    let failed = job(&rest, &id).await;
    assert_eq!(
        (&failed["state"], &failed["snapshotMetadataURI"]),
        (&json!("ExportSnapshotFailed"), &json!(""))
    );
    assert!(failed["reason"].as_str().expect("text").contains(&lost), "{failed}");
}

#[tokio::test]
async fn refusals_have_milvus_codes_and_texts_and_repeat_no_secret() {
    let rest = Rest::with_snapshot().await;
    let export = |target: &str, spec: Value| json!({"snapshotName": "s", "targetS3Path": target, "externalSpec": spec});
    let restore = |uri: &str, target: &str| json!({"snapshotMetadataURI": uri, "targetCollectionName": target});
    for (path, body, code, text) in [
        (
            "jobs/snapshot/export",
            export(" ", json!("")),
            1101,
            "target_s3_path is required",
        ),
        (
            "jobs/snapshot/export",
            json!({"snapshotName": "n", "targetS3Path": "x"}),
            1100,
            "snapshot not found[snapshot=n]",
        ),
        (
            "jobs/snapshot/export",
            export("s3://elsewhere/x", json!("{}")),
            1100,
            "target_s3_path lies in no store",
        ),
        // the text of Milvus' clients, and the object itself
        (
            "jobs/snapshot/export",
            export("s3://b/x", json!("{\"extfs\": {\"access_key_id\": \"planted\"}}")),
            1100,
            "access_key_id and access_key_value are given together",
        ),
        (
            "jobs/snapshot/export",
            export("s3://b/x", json!({"extfs": {"access_key_id": "planted"}})),
            1100,
            "access_key_id and access_key_value are given together",
        ),
        (
            "jobs/snapshot/export",
            export("s3://b/x", json!("{planted")),
            1100,
            "is no JSON",
        ),
        (
            "jobs/snapshot/export/describe",
            json!({"jobId": "1"}),
            1100,
            "snapshot export job 1 not found",
        ),
        (
            "jobs/snapshot/export/describe",
            json!({"jobId": "x"}),
            1100,
            "jobId must be a positive decimal int64, got \"x\"",
        ),
        (
            "jobs/snapshot/restore_external",
            restore("x", " "),
            1101,
            "target_collection_name is required",
        ),
        (
            "jobs/snapshot/restore_external",
            restore(" ", "t"),
            1101,
            "snapshot_s3_location is required",
        ),
        (
            "jobs/snapshot/restore_external",
            restore("x/snapshots/1/metadata/2.json", "t"),
            1000,
            "x/snapshots/1/metadata/2.json",
        ),
    ] {
        rest.refused(path, body.clone(), code, text).await;
        let message = rest.post(path, &[], body).await["message"].to_string();
        assert!(!message.contains("planted"), "{message}");
    }
    assert_eq!(rest.app.get("/v1/export-jobs").await.ok().json["items"], json!([]));
}
