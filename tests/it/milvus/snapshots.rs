//! Snapshots and pins over gRPC.

use serde_json::json;
use stillframe::milvus::proto::common::Status;
use stillframe::milvus::proto::milvus as m;

use crate::support::TestApp;
use crate::support::fixture::COLLECTION;

pub fn create(name: &str, collection: &str) -> m::CreateSnapshotRequest {
    m::CreateSnapshotRequest {
        name: name.into(),
        collection_name: collection.into(),
        ..Default::default()
    }
}

pub fn describe(name: &str, collection: &str) -> m::DescribeSnapshotRequest {
    m::DescribeSnapshotRequest {
        name: name.into(),
        collection_name: collection.into(),
        ..Default::default()
    }
}

pub fn drop_(name: &str, collection: &str) -> m::DropSnapshotRequest {
    m::DropSnapshotRequest {
        name: name.into(),
        collection_name: collection.into(),
        ..Default::default()
    }
}

pub fn list(collection: &str) -> m::ListSnapshotsRequest {
    m::ListSnapshotsRequest {
        collection_name: collection.into(),
        ..Default::default()
    }
}

fn pin(name: &str, collection: &str, ttl_seconds: i64) -> m::PinSnapshotDataRequest {
    m::PinSnapshotDataRequest {
        name: name.into(),
        collection_name: collection.into(),
        ttl_seconds,
        ..Default::default()
    }
}

/// Two small collections with a segment each.
async fn two(app: &TestApp) {
    for (name, id) in [("c", 100), ("d", 200)] {
        app.small_collection(name, id).await;
        app.add_segment(name, id, id * 10).await;
    }
}

#[tokio::test]
async fn a_snapshot_is_the_same_over_grpc_and_rest() {
    let app = TestApp::local().await;
    app.load_fixture().await;
    let request = m::CreateSnapshotRequest {
        description: "daily".into(),
        ..create("backup_20240101", COLLECTION)
    };
    app.milvus_ok::<Status>("CreateSnapshot", request).await;
    let described: m::DescribeSnapshotResponse = app
        .milvus_ok("DescribeSnapshot", describe("backup_20240101", COLLECTION))
        .await;
    let rest = app.get("/v1/snapshots/backup_20240101").await.ok().json;
    assert_eq!(described.create_ts, 470_644_641_416_347_649);
    assert_eq!(rest["create_ts"], described.create_ts.to_string());
    assert_eq!(described.s3_location, rest["s3_location"]);
    assert_eq!(
        (
            described.name.as_str(),
            described.description.as_str(),
            described.collection_name.as_str()
        ),
        ("backup_20240101", "daily", COLLECTION)
    );
    assert_eq!(described.partition_names, ["_default", "p2"]);
    assert_eq!(rest["segment_count"], 4);
    let listed: m::ListSnapshotsResponse = app.milvus_ok("ListSnapshots", list(COLLECTION)).await;
    assert_eq!(listed.snapshots, ["backup_20240101"]);

    app.milvus_ok::<Status>("DropSnapshot", drop_("backup_20240101", COLLECTION))
        .await;
    app.get("/v1/snapshots/backup_20240101")
        .await
        .refused(404, "snapshot_not_found");
    // again, and one that never was
    app.milvus_ok::<Status>("DropSnapshot", drop_("backup_20240101", COLLECTION))
        .await;
    app.milvus_ok::<Status>("DropSnapshot", drop_("never", COLLECTION)).await;
}

#[tokio::test]
async fn older_clients_may_leave_out_the_collection_where_the_name_is_enough() {
    let app = TestApp::local().await;
    two(&app).await;
    for (name, collection) in [("only", "c"), ("both", "c"), ("both", "d")] {
        app.milvus_ok::<Status>("CreateSnapshot", create(name, collection)).await;
    }
    let found: m::DescribeSnapshotResponse = app.milvus_ok("DescribeSnapshot", describe("only", "")).await;
    assert_eq!(found.collection_name, "c");
    let text = app
        .milvus_refused::<m::DescribeSnapshotResponse>("DescribeSnapshot", describe("both", ""), 1101)
        .await;
    assert!(
        text.starts_with("collection_name is required for describe snapshot"),
        "{text}"
    );
    let all: m::ListSnapshotsResponse = app.milvus_ok("ListSnapshots", list("")).await;
    assert_eq!(all.snapshots, ["both", "both", "only"]);

    // what changes something must say what
    let text = app.milvus_refused::<Status>("DropSnapshot", drop_("only", ""), 1101).await;
    assert_eq!(text, "collection_name is required for drop snapshot");
    let text = app
        .milvus_refused::<m::PinSnapshotDataResponse>("PinSnapshotData", pin("only", "", 0), 1101)
        .await;
    assert_eq!(text, "collection_name is required for pin snapshot data");
    app.milvus_refused::<Status>("CreateSnapshot", create("new", ""), 1100).await;
    app.milvus_ok::<m::DescribeSnapshotResponse>("DescribeSnapshot", describe("only", "c"))
        .await;
}

#[tokio::test]
async fn names_and_limits_are_refused_in_milvus_words() {
    let app = TestApp::local().await;
    two(&app).await;
    for (name, text) in [
        ("", "snapshot name should be not empty"),
        ("1st", "the first character of snapshot name must be an underscore or letter"),
        (
            "a b",
            "snapshot name can only contain numbers, letters, underscores, and allowed characters",
        ),
        (&"a".repeat(256), "the length of snapshot name must be not greater than limit"),
    ] {
        let said = app.milvus_refused::<Status>("CreateSnapshot", create(name, "c"), 1100).await;
        assert!(said.contains(text), "{said}");
    }
    app.milvus_ok::<Status>("CreateSnapshot", create("v2.1_production-release", "c"))
        .await;
    let said = app
        .milvus_refused::<Status>("CreateSnapshot", create("v2.1_production-release", "c"), 1100)
        .await;
    assert_eq!(said, "snapshot name v2.1_production-release already exists");
    // names belong to a collection
    app.milvus_ok::<Status>("CreateSnapshot", create("v2.1_production-release", "d"))
        .await;

    let protected = |seconds| m::CreateSnapshotRequest {
        compaction_protection_seconds: seconds,
        ..create("protected", "c")
    };
    let said = app.milvus_refused::<Status>("CreateSnapshot", protected(604_801), 1100).await;
    assert_eq!(said, "compaction_protection_seconds must not exceed 604800");
    app.milvus_refused::<Status>("CreateSnapshot", protected(-1), 1100).await;
    app.milvus_ok::<Status>("CreateSnapshot", protected(604_800)).await;

    let said = app
        .milvus_refused::<Status>("CreateSnapshot", create("s", "nowhere"), 100)
        .await;
    assert!(said.starts_with("collection not found"), "{said}");
    app.milvus_refused::<m::ListSnapshotsResponse>("ListSnapshots", list("nowhere"), 100)
        .await;
    let said = app
        .milvus_refused::<m::DescribeSnapshotResponse>("DescribeSnapshot", describe("never", "c"), 1100)
        .await;
    assert!(said.contains("snapshot not found[snapshot=never]"), "{said}");
    let c = app.get("/v1/collections/c").await.ok().json["collection_id"].clone();
    let c = c.as_str().expect("an id");
    assert_eq!(said, format!("collection {c}: snapshot not found[snapshot=never]"));
    let elsewhere = m::ListSnapshotsRequest {
        db_name: "nowhere".into(),
        ..list("c")
    };
    app.milvus_refused::<m::ListSnapshotsResponse>("ListSnapshots", elsewhere, 800)
        .await;
}

#[tokio::test]
async fn a_collection_that_never_was_is_told_from_one_without_the_snapshot() {
    let app = TestApp::local().await;
    two(&app).await;
    for name in ["s", "t"] {
        app.milvus_ok::<Status>("CreateSnapshot", create(name, "c")).await;
    }
    let unknown = |said: String| assert!(said.starts_with("collection not found: ") && said.contains("typo"), "{said}");
    unknown(app.milvus_refused::<Status>("DropSnapshot", drop_("s", "typo"), 100).await);
    unknown(
        app.milvus_refused::<m::DescribeSnapshotResponse>("DescribeSnapshot", describe("s", "typo"), 100)
            .await,
    );
    unknown(
        app.milvus_refused::<m::PinSnapshotDataResponse>("PinSnapshotData", pin("s", "typo", 0), 100)
            .await,
    );
    let restore = m::RestoreSnapshotRequest {
        name: "s".into(),
        collection_name: "typo".into(),
        target_collection_name: "r".into(),
        ..Default::default()
    };
    unknown(
        app.milvus_refused::<m::RestoreSnapshotResponse>("RestoreSnapshot", restore, 100)
            .await,
    );
    let export = m::ExportSnapshotRequest {
        name: "s".into(),
        collection_name: "typo".into(),
        target_s3_path: "x".into(),
        ..Default::default()
    };
    unknown(
        app.milvus_refused::<m::ExportSnapshotResponse>("ExportSnapshot", export, 100)
            .await,
    );
    // of a collection that is there a drop is idempotent, of one that was there too
    app.milvus_ok::<Status>("DropSnapshot", drop_("never", "c")).await;
    let gone = m::DropCollectionRequest {
        collection_name: "c".into(),
        ..Default::default()
    };
    app.milvus_ok::<Status>("DropCollection", gone).await;
    let id = "collection ";
    for name in ["s", "t"] {
        let said = app
            .milvus_refused::<m::DescribeSnapshotResponse>("DescribeSnapshot", describe("never", "c"), 1100)
            .await;
        assert!(
            said.starts_with(id) && said.ends_with(": snapshot not found[snapshot=never]"),
            "{said}"
        );
        for _twice in 0..2 {
            app.milvus_ok::<Status>("DropSnapshot", drop_(name, "c")).await;
        }
    }
}

#[tokio::test]
async fn the_database_comes_from_the_message_or_the_metadata_and_aliases_count_as_names() {
    let app = TestApp::local().await;
    two(&app).await;
    app.post("/v1/databases", &json!({"name": "other"})).await.created();
    app.post("/v1/aliases", &json!({"alias": "a", "collection_name": "c"}))
        .await
        .created();
    app.milvus_ok::<Status>("CreateSnapshot", create("s", "a")).await;
    let found: m::DescribeSnapshotResponse = app.milvus_ok("DescribeSnapshot", describe("s", "a")).await;
    assert_eq!(found.collection_name, "c", "the real name is told");

    let dbname = [("dbname", "other")];
    let listed: m::ListSnapshotsResponse = app.milvus_with("ListSnapshots", list(""), &dbname).await;
    let status = listed.status.expect("a status");
    assert_eq!((status.code, status.error_code), (0, 0), "{status:?}");
    assert_eq!(listed.snapshots, Vec::<String>::new());
    let in_message = m::ListSnapshotsRequest {
        db_name: "default".into(),
        ..list("")
    };
    let listed: m::ListSnapshotsResponse = app.milvus_with("ListSnapshots", in_message, &dbname).await;
    assert_eq!(listed.snapshots, ["s"], "the message goes first");

    // an alias that was moved since must not reach another collection's snapshot of the same name
    app.milvus_ok::<Status>("CreateSnapshot", create("s", "d")).await;
    app.milvus_ok::<Status>(
        "AlterAlias",
        m::AlterAliasRequest {
            alias: "a".into(),
            collection_name: "d".into(),
            ..Default::default()
        },
    )
    .await;
    let said = app.milvus_refused::<Status>("DropSnapshot", drop_("s", "a"), 1100).await;
    assert!(said.contains("a is an alias of d"), "{said}");
    app.milvus_ok::<m::DescribeSnapshotResponse>("DescribeSnapshot", describe("s", "d"))
        .await;
    // one that was captured with the snapshot does
    app.milvus_ok::<Status>("CreateSnapshot", create("later", "a")).await;
    app.milvus_ok::<Status>("DropSnapshot", drop_("later", "a")).await;
    app.milvus_refused::<m::DescribeSnapshotResponse>("DescribeSnapshot", describe("later", "d"), 1100)
        .await;
}

#[tokio::test]
async fn a_pin_keeps_a_snapshot_until_it_is_taken_away_or_expires() {
    let app = TestApp::local().await;
    two(&app).await;
    app.milvus_ok::<Status>("CreateSnapshot", create("s", "c")).await;
    let first: m::PinSnapshotDataResponse = app.milvus_ok("PinSnapshotData", pin("s", "c", 0)).await;
    let second: m::PinSnapshotDataResponse = app.milvus_ok("PinSnapshotData", pin("s", "c", 60)).await;
    assert!(first.pin_id > 0 && second.pin_id > 0 && first.pin_id != second.pin_id);
    let said = app.milvus_refused::<Status>("DropSnapshot", drop_("s", "c"), 1100).await;
    assert!(
        said.starts_with("2 active pins, unpin before dropping: snapshot pinned[snapshot=s]"),
        "{said}"
    );
    let unpin = |pin_id| m::UnpinSnapshotDataRequest { pin_id };
    app.milvus_ok::<Status>("UnpinSnapshotData", unpin(first.pin_id)).await;
    let said = app.milvus_refused::<Status>("DropSnapshot", drop_("s", "c"), 1100).await;
    assert!(said.starts_with("1 active pins, unpin before dropping"), "{said}");
    app.set_clock(std::time::Duration::from_secs(61)).await;
    // gone already: success
    app.milvus_ok::<Status>("UnpinSnapshotData", unpin(second.pin_id)).await;
    app.milvus_ok::<Status>("UnpinSnapshotData", unpin(12_345)).await;
    app.milvus_ok::<Status>("DropSnapshot", drop_("s", "c")).await;

    app.milvus_ok::<Status>("CreateSnapshot", create("t", "c")).await;
    for (request, code, text) in [
        (pin("t", "c", -1), 1100, "ttl_seconds must be non-negative"),
        (
            pin("t", "c", 2_592_001),
            1100,
            "ttl_seconds exceeds maximum of 2592000 (30 days)",
        ),
        (pin("never", "c", 0), 1100, "snapshot not found[snapshot=never]"),
    ] {
        let said = app
            .milvus_refused::<m::PinSnapshotDataResponse>("PinSnapshotData", request, code)
            .await;
        assert!(said.contains(text), "{said}");
    }
    let said = app.milvus_refused::<Status>("UnpinSnapshotData", unpin(0), 1101).await;
    assert_eq!(said, "pin_id is required for unpin snapshot data");
}

#[tokio::test]
async fn snapshots_outlive_their_collection_unless_the_setting_says_as_milvus() {
    let app = TestApp::local().await;
    two(&app).await;
    let dropped = |name: &str| m::DropCollectionRequest {
        collection_name: name.into(),
        ..Default::default()
    };
    for name in ["c", "d"] {
        app.milvus_ok::<Status>("CreateSnapshot", create("s", name)).await;
    }
    app.milvus_ok::<Status>("DropCollection", dropped("c")).await;
    app.milvus_ok::<m::DescribeSnapshotResponse>("DescribeSnapshot", describe("s", "c"))
        .await;

    let facade = stillframe::milvus::Facade {
        service: app.service.clone(),
        settings: stillframe::milvus::MilvusSettings {
            drop_collection_cascades: true,
            timeout: std::time::Duration::from_secs(60),
            body_bytes: 1024,
        },
        limits: stillframe::api::RequestLimits::default().lent(&app.service),
    };
    let as_milvus = stillframe::milvus::router(facade);
    let status: Status = super::wire::send(as_milvus, "DropCollection", dropped("d"), &[])
        .await
        .expect("answered");
    assert_eq!(status.code, 0, "{status:?}");
    app.milvus_refused::<m::DescribeSnapshotResponse>("DescribeSnapshot", describe("s", "d"), 1100)
        .await;
}
