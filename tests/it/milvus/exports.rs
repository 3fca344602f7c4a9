//! Exports and restores of them over gRPC.

use serde_json::json;
use stillframe::milvus::proto::common::Status;
use stillframe::milvus::proto::milvus as m;
use stillframe::milvus::proto::milvus::{ExportSnapshotState as State, RestoreSnapshotState};

use super::snapshots::{create, describe, drop_};
use crate::exports::contents;
use crate::support::fixture::{self, BYTES, COLLECTION, FILES};
use crate::support::{TestApp, jobs, s3};

fn export(name: &str, collection: &str, target: &str) -> m::ExportSnapshotRequest {
    m::ExportSnapshotRequest {
        name: name.into(),
        collection_name: collection.into(),
        target_s3_path: target.into(),
        ..Default::default()
    }
}

fn restore(uri: &str, target: &str) -> m::RestoreExternalSnapshotRequest {
    m::RestoreExternalSnapshotRequest {
        target_collection_name: target.into(),
        snapshot_metadata_uri: uri.into(),
        ..Default::default()
    }
}

async fn started(app: &TestApp, request: m::ExportSnapshotRequest) -> i64 {
    let answer: m::ExportSnapshotResponse = app.milvus_ok("ExportSnapshot", request).await;
    assert_eq!(answer.snapshot_metadata_uri, "", "known when the job is completed");
    answer.job_id
}

async fn job(app: &TestApp, job_id: i64) -> m::ExportSnapshotInfo {
    let found: m::GetExportSnapshotStateResponse = app
        .milvus_ok("GetExportSnapshotState", m::GetExportSnapshotStateRequest { job_id })
        .await;
    found.info.expect("a job")
}

/// Restores a bundle to its end.
async fn restored(app: &TestApp, request: m::RestoreExternalSnapshotRequest) -> m::RestoreSnapshotInfo {
    let answer: m::RestoreExternalSnapshotResponse = app.milvus_ok("RestoreExternalSnapshot", request).await;
    app.drain().await;
    let wanted = m::GetRestoreSnapshotStateRequest { job_id: answer.job_id };
    let found: m::GetRestoreSnapshotStateResponse = app.milvus_ok("GetRestoreSnapshotState", wanted).await;
    found.info.expect("a job")
}

/// The real collection with a snapshot `s`.
async fn with_snapshot(app: &TestApp) {
    app.load_fixture().await;
    app.milvus_ok::<Status>("CreateSnapshot", create("s", COLLECTION)).await;
}

fn sorted_fixture() -> Vec<Vec<u8>> {
    let mut bytes: Vec<Vec<u8>> = fixture::files().into_iter().map(|(_, bytes)| bytes).collect();
    bytes.sort();
    bytes
}

#[tokio::test]
async fn a_snapshot_is_exported_and_restored_byte_for_byte_over_grpc() {
    let app = TestApp::local().await;
    with_snapshot(&app).await;
    let id = started(&app, export("s", COLLECTION, "/backups/nightly/")).await;
    let pending = job(&app, id).await;
    assert_eq!(
        (pending.state(), pending.progress, pending.snapshot_metadata_uri.as_str()),
        (State::ExportSnapshotPending, 0, "")
    );
    assert_eq!(
        (
            pending.job_id,
            pending.snapshot_name.as_str(),
            pending.db_name.as_str(),
            pending.collection_name.as_str()
        ),
        (id, "s", "default", COLLECTION)
    );
    assert!(
        (1_600_000_000_000..4_000_000_000_000).contains(&pending.start_time),
        "{pending:?}"
    );
    let said = app
        .milvus_refused::<Status>("DropSnapshot", drop_("s", COLLECTION), 1100)
        .await;
    assert!(
        said.starts_with("1 active pins, unpin before dropping: snapshot pinned[snapshot=s]") && said.contains(&id.to_string()),
        "{said}"
    );

    // one task to check, one per segment; the last one publishes
    jobs::run_next(&app, 2).await;
    let copying = job(&app, id).await;
    assert_eq!(copying.state(), State::ExportSnapshotExecuting);
    assert!(
        copying.total_files == FILES as i64 && copying.total_bytes == BYTES && (1..FILES as i64).contains(&copying.copied_files),
        "{copying:?}"
    );
    jobs::run_next(&app, 3).await;
    let publishing = job(&app, id).await;
    assert_eq!(
        (
            publishing.state(),
            publishing.progress,
            publishing.snapshot_metadata_uri.as_str()
        ),
        (State::ExportSnapshotExecuting, 99, "")
    );
    app.drain().await;
    let done = job(&app, id).await;
    assert_eq!(
        (done.state(), done.progress, done.reason.as_str()),
        (State::ExportSnapshotCompleted, 100, "")
    );
    assert_eq!(
        (done.total_files, done.copied_files, done.total_bytes),
        (FILES as i64, FILES as i64, BYTES)
    );
    assert!(done.time_cost > 0, "{done:?}");
    let uri = done.snapshot_metadata_uri;
    assert!(
        uri.starts_with("file:///") && uri.contains("/backups/nightly/exports/"),
        "{uri}"
    );

    let back = restored(&app, restore(&uri, "back")).await;
    assert_eq!(
        (back.state(), back.progress, back.reason.as_str()),
        (RestoreSnapshotState::RestoreSnapshotCompleted, 100, "")
    );
    assert_eq!(
        (
            back.snapshot_name.as_str(),
            back.db_name.as_str(),
            back.collection_name.as_str()
        ),
        ("s", "default", "back")
    );
    assert_eq!(contents(&app, "back").await, sorted_fixture());
    let listed: m::ListRestoreSnapshotJobsResponse = app
        .milvus_ok("ListRestoreSnapshotJobs", m::ListRestoreSnapshotJobsRequest::default())
        .await;
    assert_eq!(listed.jobs.iter().map(|j| j.job_id).collect::<Vec<_>>(), [back.job_id]);
    app.milvus_ok::<Status>("DropSnapshot", drop_("s", COLLECTION)).await;
}

#[tokio::test]
async fn another_bucket_of_the_server_is_reached_with_the_key_in_external_spec() {
    let app = TestApp::s3().await;
    with_snapshot(&app).await;
    let key = json!({"extfs": {"access_key_id": s3::KEY, "access_key_value": s3::SECRET, "region": "us-east-1",
                               "use_ssl": "false", "cloud_provider": "minio", "storage_type": "remote"}});
    // the same bucket, outside our prefix: not ours without the key
    let target = "s3://bucket/elsewhere";
    let said = app
        .milvus_refused::<m::ExportSnapshotResponse>("ExportSnapshot", export("s", COLLECTION, target), 1100)
        .await;
    assert!(said.starts_with("target_s3_path lies in no store"), "{said}");
    let request = m::ExportSnapshotRequest {
        external_spec: key.to_string(),
        ..export("s", COLLECTION, target)
    };
    let id = started(&app, request).await;
    app.drain().await;
    let done = job(&app, id).await;
    assert_eq!(done.state(), State::ExportSnapshotCompleted, "{done:?}");
    let uri = done.snapshot_metadata_uri;
    assert!(uri.contains("/bucket/elsewhere/exports/"), "{uri}");
    app.milvus_refused::<m::RestoreExternalSnapshotResponse>("RestoreExternalSnapshot", restore(&uri, "back"), 1100)
        .await;
    let request = m::RestoreExternalSnapshotRequest {
        external_spec: key.to_string(),
        ..restore(&uri, "back")
    };
    let back = restored(&app, request).await;
    assert_eq!(back.state(), RestoreSnapshotState::RestoreSnapshotCompleted, "{back:?}");
    assert_eq!(contents(&app, "back").await, sorted_fixture());
}

#[tokio::test]
async fn an_export_without_files_says_99_while_it_publishes() {
    let app = TestApp::local().await;
    app.small_collection("c", 100).await;
    app.milvus_ok::<Status>("CreateSnapshot", create("s", "c")).await;
    let id = started(&app, export("s", "c", "x")).await;
    jobs::run_next(&app, 1).await;
    let publishing = job(&app, id).await;
    assert_eq!(
        (publishing.state(), publishing.progress, publishing.total_files),
        (State::ExportSnapshotExecuting, 99, 0)
    );
    app.drain().await;
    assert_eq!(job(&app, id).await.state(), State::ExportSnapshotCompleted);
}

#[tokio::test]
async fn an_export_may_leave_out_the_collection_where_the_name_is_enough() {
    let app = TestApp::local().await;
    app.small_collection("c", 100).await;
    app.milvus_ok::<Status>("CreateSnapshot", create("s", "c")).await;
    let id = started(&app, export("s", "", "x")).await;
    assert_eq!(job(&app, id).await.collection_name, "c");
}

#[tokio::test]
async fn the_location_of_a_snapshot_names_its_server() {
    let app = TestApp::s3().await;
    app.small_collection("c", 100).await;
    app.milvus_ok::<Status>("CreateSnapshot", create("s", "c")).await;
    let found: m::DescribeSnapshotResponse = app.milvus_ok("DescribeSnapshot", describe("s", "c")).await;
    let location = found.s3_location;
    let native = app.get("/v1/snapshots/s").await.ok().json["s3_location"].clone();
    let native = native.as_str().and_then(|uri| uri.strip_prefix("s3://")).expect("a URI");
    assert!(
        location.starts_with("minio://127.0.0.1:") && location.ends_with(native),
        "{location}"
    );
    // an external restore finds it, and that it is of no bundle
    let said = app
        .milvus_refused::<m::RestoreExternalSnapshotResponse>("RestoreExternalSnapshot", restore(&location, "r"), 1100)
        .await;
    assert!(said.contains("export it first"), "{said}");
}

#[tokio::test]
async fn a_failed_export_says_which_file_is_missing() {
    let app = TestApp::local().await;
    with_snapshot(&app).await;
    let (lost, _) = fixture::files()
        .into_iter()
        .find(|(path, _)| path.starts_with("stats_log/"))
        .expect("one");
    std::fs::remove_file(app.directory.path().join(&lost)).expect("removed");
    let id = started(&app, export("s", COLLECTION, "x")).await;
    app.drain().await;
    let failed = job(&app, id).await;
    assert_eq!(failed.state(), State::ExportSnapshotFailed, "{failed:?}");
    assert!(failed.reason.contains(&lost) && failed.progress < 100, "{failed:?}");
    assert_eq!(failed.snapshot_metadata_uri, "");
}

#[tokio::test]
async fn a_paused_export_is_executing_and_a_cancelled_one_failed() {
    let app = TestApp::local().await;
    app.small_collection("c", 100).await;
    app.milvus_ok::<Status>("CreateSnapshot", create("s", "c")).await;
    let id = started(&app, export("s", "c", "x")).await;
    for (action, state) in [
        ("pause", State::ExportSnapshotExecuting),
        ("cancel", State::ExportSnapshotFailed),
    ] {
        app.post(&format!("/v1/export-jobs/{id}/{action}"), &json!({})).await.ok();
        assert_eq!(job(&app, id).await.state(), state, "{action}");
    }
    let cancelled = job(&app, id).await;
    assert!(cancelled.reason.contains("cancelled"), "{cancelled:?}");
}

#[tokio::test]
async fn what_can_not_be_exported_is_refused_in_milvus_words() {
    let app = TestApp::local().await;
    for (name, id) in [("c", 100), ("d", 200)] {
        app.small_collection(name, id).await;
        app.milvus_ok::<Status>("CreateSnapshot", create("s", name)).await;
    }
    let with = |spec: &str| m::ExportSnapshotRequest {
        external_spec: spec.into(),
        ..export("s", "c", "s3://bucket/x")
    };
    for (request, code, text) in [
        (export("s", "c", ""), 1101, "target_s3_path is required"),
        (export("s", "c", "  "), 1101, "target_s3_path is required"),
        (export("", "c", "x"), 1100, "snapshot name should be not empty"),
        (
            export("never", "c", "x"),
            1100,
            "collection 100: snapshot not found[snapshot=never]",
        ),
        (export("s", "", "x"), 1101, "collection_name is required for export snapshot"),
        (export("s", "c", "insert_log/x"), 1100, "target_s3_path must not lie in"),
        (export("s", "c", "a/../b"), 1100, "target_s3_path "),
        (export("s", "c", "s3://elsewhere/x"), 1100, "target_s3_path lies in no store"),
        (
            export("s", "c", "s3://u:planted@b/x"),
            1100,
            "target_s3_path must not carry credentials",
        ),
        (with("{planted"), 1100, "/external_spec: is no JSON"),
        (
            with(r#"{"extfs": {"role_arn": "planted"}}"#),
            1100,
            "/external_spec/extfs/role_arn",
        ),
    ] {
        let said = app
            .milvus_refused::<m::ExportSnapshotResponse>("ExportSnapshot", request, code)
            .await;
        assert!(said.starts_with(text) && !said.contains("planted"), "{said}");
    }
    let none = app.get("/v1/export-jobs").await.ok().json;
    assert_eq!(none["items"], json!([]), "nothing was started");
}

#[tokio::test]
async fn what_can_not_be_restored_from_a_bundle_is_refused_in_milvus_words() {
    let app = TestApp::local().await;
    app.small_collection("c", 100).await;
    app.milvus_ok::<Status>("CreateSnapshot", create("s", "c")).await;
    let id = started(&app, export("s", "c", "x")).await;
    app.drain().await;
    let uri = job(&app, id).await.snapshot_metadata_uri;
    let nowhere = m::RestoreExternalSnapshotRequest {
        db_name: "nowhere".into(),
        ..restore(&uri, "r")
    };
    for (request, code, text) in [
        (restore(&uri, ""), 1101, "target_collection_name is required"),
        (restore(&uri, "1r"), 1100, "the first character of collection name"),
        (restore("", "r"), 1101, "snapshot_s3_location is required"),
        (restore("s3://elsewhere/x", "r"), 1100, "/snapshot_metadata_uri"),
        (restore("x/exports", "r"), 1100, "must end in snapshots/"),
        (
            restore("x/snapshots/100/metadata/1.json", "r"),
            1000,
            "x/snapshots/100/metadata/1.json",
        ),
        (
            restore(&uri, "c"),
            1100,
            "target collection c already exists in database default",
        ),
        (nowhere, 800, "nowhere"),
    ] {
        let said = app
            .milvus_refused::<m::RestoreExternalSnapshotResponse>("RestoreExternalSnapshot", request, code)
            .await;
        assert!(said.contains(text), "{said}");
    }
    // exports and restores are told apart
    let other: m::RestoreExternalSnapshotResponse = app.milvus_ok("RestoreExternalSnapshot", restore(&uri, "r")).await;
    for unknown in [12_345, 0, -1, other.job_id] {
        let said = app
            .milvus_refused::<m::GetExportSnapshotStateResponse>(
                "GetExportSnapshotState",
                m::GetExportSnapshotStateRequest { job_id: unknown },
                1100,
            )
            .await;
        assert_eq!(said, format!("snapshot export job {unknown} not found"));
    }
    let said = app
        .milvus_refused::<m::GetRestoreSnapshotStateResponse>(
            "GetRestoreSnapshotState",
            m::GetRestoreSnapshotStateRequest { job_id: id },
            2100,
        )
        .await;
    assert_eq!(said, format!("restore job not found: jobID={id}"));
}

#[tokio::test]
async fn the_database_is_that_of_the_message_else_of_the_metadata() {
    let app = TestApp::local().await;
    app.post("/v1/databases", &json!({"name": "prod"})).await.created();
    app.small_collection("c", 100).await;
    app.milvus_ok::<Status>("CreateSnapshot", create("s", "c")).await;
    let metadata = [("dbname", "prod")];
    let refused: m::ExportSnapshotResponse = app.milvus_with("ExportSnapshot", export("s", "c", "x"), &metadata).await;
    assert_eq!(refused.status.expect("a status").code, 100, "no such collection there");
    let request = m::ExportSnapshotRequest {
        db_name: "default".into(),
        ..export("s", "c", "x")
    };
    let answer: m::ExportSnapshotResponse = app.milvus_with("ExportSnapshot", request, &metadata).await;
    app.drain().await;
    let uri = job(&app, answer.job_id).await.snapshot_metadata_uri;
    let answer: m::RestoreExternalSnapshotResponse = app
        .milvus_with("RestoreExternalSnapshot", restore(&uri, "back"), &metadata)
        .await;
    assert_eq!(answer.status.expect("a status").code, 0);
    app.drain().await;
    app.get("/v1/collections/back?db_name=prod").await.ok();
}
