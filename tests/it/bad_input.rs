//! What bad input gets: a clear error with a stable code, nothing written, nothing lost.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::support::TestApp;

const C: i64 = 100;

async fn app() -> TestApp {
    let app = TestApp::local().await;
    app.small_collection("c", C).await;
    app
}

/// A copy of a body with one value changed.
fn with(body: &Value, pointer: &str, value: Value) -> Value {
    let mut body = body.clone();
    match body.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => {
            let (parent, key) = pointer.rsplit_once('/').expect("a parent");
            body.pointer_mut(parent).expect("a parent")[key] = value;
        }
    }
    body
}

#[tokio::test]
async fn unknown_missing_and_wrong_fields_are_refused_with_a_pointer() {
    let app = app().await;
    let answer = app
        .post(
            "/v1/snapshots",
            &json!({"collection_name": "c", "snapshot_name": "s", "descriptoin": "x"}),
        )
        .await;
    assert_eq!(answer.refused(422, "invalid_request").pointers(), ["/descriptoin"]);
    let answer = app.post("/v1/snapshots", &json!({"collection_name": "c"})).await;
    assert_eq!(answer.refused(422, "invalid_request").pointers(), ["/snapshot_name"]);
    let answer = app
        .post("/v1/snapshots", &json!({"collection_name": 5, "snapshot_name": "s"}))
        .await;
    assert_eq!(answer.refused(422, "invalid_request").pointers(), ["/collection_name"]);
    let answer = app.post("/v1/snapshots", &json!([])).await;
    answer.refused(422, "invalid_request");
    let segment = app.small_segment(C, 5).await;
    let answer = app
        .post(
            "/v1/collections/c/segments:batch",
            &json!({"segments": [segment, {"segment_id": "x"}]}),
        )
        .await;
    assert_eq!(answer.refused(422, "invalid_request").pointers(), ["/segments/1/segment_id"]);
    let answer = app.get("/v1/snapshots?colection_name=c").await;
    assert_eq!(answer.refused(422, "invalid_request").pointers(), ["?colection_name"]);
    let answer = app.get("/v1/snapshots?page_size=many").await;
    assert_eq!(answer.refused(422, "invalid_request").pointers(), ["?page_size"]);
    // also where an operation has none: a dry run must not become a real one
    app.post("/v1/gc/runs?dry_run=true", &json!({}))
        .await
        .refused(422, "invalid_request");
    app.post(
        "/v1/snapshots?db_name=x",
        &json!({"collection_name": "c", "snapshot_name": "s"}),
    )
    .await
    .refused(422, "invalid_request");
    app.post("/v1/gc/runs", &json!([true, "0"]))
        .await
        .refused(422, "invalid_request");
    app.get("/v1/snapshots?page_size=0").await.refused(422, "invalid_request");
    app.get("/v1/snapshots?page_size=1001").await.refused(422, "invalid_request");
    app.get("/v1/snapshots?created_from=yesterday")
        .await
        .refused(422, "invalid_request");
    assert_eq!(app.get("/v1/snapshots").await.ok().json["items"], json!([]));
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let app = app().await;
    let send = |content_type: Option<&'static str>, body: Vec<u8>| {
        let mut request = Request::post("/v1/snapshots");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        app.send(request.body(Body::from(body)).expect("a request"))
    };
    send(Some("application/json"), b"{".to_vec())
        .await
        .refused(400, "malformed_request");
    send(Some("application/json"), vec![0xff, 0xfe])
        .await
        .refused(400, "malformed_request");
    send(Some("application/json"), Vec::new())
        .await
        .refused(400, "malformed_request");
    send(Some("text/plain"), b"{}".to_vec())
        .await
        .refused(415, "unsupported_media_type");
    send(None, b"{}".to_vec()).await.refused(415, "unsupported_media_type");
    send(Some("application/json"), vec![b' '; 17 * 1024 * 1024])
        .await
        .refused(413, "payload_too_large");
}

#[tokio::test]
async fn a_body_that_may_be_left_out_may_be_empty_in_any_way() {
    let app = app().await;
    let send = |body: Body| app.send(Request::post("/v1/collections/c/flush").body(body).expect("a request"));
    send(Body::empty()).await.ok();
    let no_chunk = futures::stream::iter(Vec::<Result<Vec<u8>, std::io::Error>>::new());
    send(Body::from_stream(no_chunk)).await.ok();
    send(Body::from("{}")).await.refused(415, "unsupported_media_type");
}

#[tokio::test]
async fn unknown_routes_and_wrong_methods_are_problems_too() {
    let app = app().await;
    app.get("/nothing").await.refused(404, "route_not_found");
    app.get("/v1/collections/c/unknown").await.refused(404, "route_not_found");
    let answer = app.delete("/v1/snapshots").await.refused(405, "method_not_allowed");
    assert!(answer.headers["allow"].to_str().expect("text").contains("GET"));
}

#[tokio::test]
async fn a_request_id_is_taken_over_when_it_is_fit_and_made_otherwise() {
    let app = app().await;
    let id = |text: &'static str| {
        app.send(
            Request::get("/nothing")
                .header("x-request-id", text)
                .body(Body::empty())
                .expect("a request"),
        )
    };
    assert_eq!(id("abc-123").await.json["request_id"], "abc-123");
    assert_ne!(id("<script>").await.json["request_id"], "<script>");
}

#[tokio::test]
async fn names_against_the_rule_are_refused() {
    let app = app().await;
    let long = "a".repeat(256);
    for name in ["", "1abc", "a b", "a/b", "ä", "a\u{7}", long.as_str()] {
        let answer = app
            .post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": name}))
            .await;
        assert_eq!(
            answer.refused(422, "invalid_request").pointers(),
            ["/snapshot_name"],
            "{name:?}"
        );
        app.post("/v1/databases", &json!({"name": name}))
            .await
            .refused(422, "invalid_request");
        app.post("/v1/aliases", &json!({"alias": name, "collection_name": "c"}))
            .await
            .refused(422, "invalid_request");
        app.post("/v1/collections/c/partitions", &json!({"name": name}))
            .await
            .refused(422, "invalid_request");
    }
    app.post(
        "/v1/snapshots",
        &json!({"collection_name": "c", "snapshot_name": "a".repeat(255)}),
    )
    .await
    .created();
}

#[tokio::test]
async fn ids_out_of_range_are_refused() {
    let app = app().await;
    let segment = app.small_segment(C, 5).await;
    for id in [
        json!(-1),
        json!("-1"),
        json!("9223372036854775808"),
        json!(1.5),
        json!(""),
        json!(null),
        json!("0x10"),
    ] {
        let answer = app
            .post("/v1/collections/c/segments", &with(&segment, "/segment_id", id.clone()))
            .await;
        assert_eq!(answer.refused(422, "invalid_request").pointers(), ["/segment_id"], "{id}");
    }
    app.get("/v1/collections/c/segments/abc")
        .await
        .refused(422, "invalid_request");
    app.get("/v1/restore-jobs/-5").await.refused(422, "invalid_request");
    app.get("/v1/restore-jobs/99999999999999999999")
        .await
        .refused(422, "invalid_request");
    app.get("/v1/restore-jobs/12345").await.refused(404, "restore_job_not_found");
}

#[tokio::test]
async fn hostile_paths_are_refused() {
    let app = app().await;
    let segment = app.small_segment(C, 5).await;
    let path = "/binlogs/0/logs/0/path";
    for bad in [
        "../../etc/passwd",
        "insert_log/100/101/5/100/../../6/100/7",
        "/insert_log/100/101/5/100/1",
        "s3://bucket/insert_log/100/101/5/100/1",
        "insert_log/100/101/5//1",
        "insert_log/100/101/5/100/a\u{0}b",
        "insert_log/100/101/6/100/1",
        "insert_log/100/102/5/100/1",
        "insert_log/999/101/5/100/1",
        "index_files/5000/1/101/5/x",
        "snapshots/100/metadata/1.json",
        "stillframe.json",
        "",
        "insert_log/100/101/05/100/1",
        "insert_log\\100\\101\\5\\100\\1",
    ] {
        for check in ["size", "none"] {
            let answer = app
                .post(
                    &format!("/v1/collections/c/segments?check={check}"),
                    &with(&segment, path, json!(bad)),
                )
                .await;
            answer.refused(422, "invalid_path");
        }
    }
    let build = "/index_builds/0/files/0/path";
    for bad in [
        "index_files/5001/1/101/5/IVF",
        "index_files/5000/1/101/6/IVF",
        "index_files/5000/1/102/5/IVF",
        "insert_log/100/101/5/100/150",
    ] {
        app.post("/v1/collections/c/segments", &with(&segment, build, json!(bad)))
            .await
            .refused(422, "invalid_path");
    }
    assert_eq!(app.get("/v1/collections/c/segments").await.ok().json["items"], json!([]));
    app.post("/v1/collections/c/segments", &segment).await.created();
}

#[tokio::test]
async fn a_file_that_is_absent_or_of_another_size_is_named() {
    let app = app().await;
    let segment = app.small_segment(C, 5).await;
    let absent = with(&segment, "/binlogs/0/logs/0/path", json!("insert_log/100/101/5/100/999"));
    let answer = app
        .post("/v1/collections/c/segments", &absent)
        .await
        .refused(422, "file_missing");
    assert!(
        answer.json["detail"]
            .as_str()
            .expect("text")
            .contains("insert_log/100/101/5/100/999")
    );
    let longer = with(&segment, "/index_builds/0/files/0/size_bytes", json!(1));
    let answer = app
        .post("/v1/collections/c/segments", &longer)
        .await
        .refused(422, "file_size_mismatch");
    assert!(
        answer.json["detail"]
            .as_str()
            .expect("text")
            .contains("index_files/5000/1/101/5/IVF")
    );
    let other = app.small_segment(C, 6).await;
    let batch = json!({"segments": [other, longer]});
    assert_eq!(
        app.post("/v1/collections/c/segments:batch", &batch)
            .await
            .refused(422, "file_size_mismatch")
            .pointers(),
        ["/segments/1"]
    );
    assert_eq!(
        app.get("/v1/collections/c/segments").await.ok().json["items"],
        json!([]),
        "a batch is all or none"
    );
    app.post("/v1/collections/c/segments?check=none", &longer).await.created();
}

#[tokio::test]
async fn a_segment_of_an_unknown_partition_channel_field_or_index_is_refused() {
    let app = app().await;
    let segment = app.small_segment(C, 5).await;
    let refused = async |pointer: &str, value: Value, at: &str| {
        let answer = app.post("/v1/collections/c/segments", &with(&segment, pointer, value)).await;
        assert_eq!(answer.refused(422, "invalid_request").pointers(), [at]);
    };
    refused("/partition_name", json!("nowhere"), "/partition_name").await;
    refused("/partition_id", json!("101"), "/partition_name").await;
    refused("/channel_name", json!("nowhere"), "/channel_name").await;
    refused("/binlogs/0/field_id", json!("555"), "").await;
    refused("/index_builds/0/index_id", json!("8"), "/index_builds/0/index_id").await;
    refused("/state", json!("dropped"), "/state").await;
    refused("/state", json!("melted"), "/state").await;
    app.post("/v1/collections/c/segments", &with(&segment, "/storage_version", json!(3)))
        .await
        .refused(422, "unsupported_storage_version");
    app.post("/v1/collections/nowhere/segments", &segment)
        .await
        .refused(404, "collection_not_found");
    app.post("/v1/collections/c/segments?db_name=nowhere", &segment)
        .await
        .refused(404, "database_not_found");
}

#[tokio::test]
async fn what_exists_already_is_a_conflict() {
    let app = app().await;
    app.add_segment("c", C, 5).await;
    let segment = app.small_segment(C, 5).await;
    app.post("/v1/collections/c/segments", &segment)
        .await
        .refused(409, "segment_already_exists");
    let other = with(&app.small_segment(C, 6).await, "/index_builds", json!([]));
    let twice = json!({"segments": [other, other]});
    assert_eq!(
        app.post("/v1/collections/c/segments:batch", &twice)
            .await
            .refused(422, "invalid_request")
            .pointers(),
        ["/segments/1"]
    );
    let build = segment["index_builds"][0].clone();
    app.post("/v1/collections/c/segments/5/index-builds", &build)
        .await
        .refused(409, "index_build_already_exists");
    app.post(
        "/v1/collections",
        &json!({"name": "c", "fields": [{"field_id": "1", "name": "id", "data_type": "Int64", "is_primary_key": true}]}),
    )
    .await
    .refused(409, "collection_already_exists");
    app.post(
        "/v1/collections",
        &json!({"name": "d", "collection_id": "100", "fields": [{"field_id": "1", "name": "id", "data_type": "Int64", "is_primary_key": true}]}),
    )
    .await
    .refused(409, "collection_already_exists");
    app.post("/v1/collections/c/partitions", &json!({"name": "p2"}))
        .await
        .refused(409, "partition_already_exists");
    app.post(
        "/v1/collections/c/indexes",
        &json!({"index_id": "7", "field_id": "101", "index_name": "other"}),
    )
    .await
    .refused(409, "index_already_exists");
    app.post(
        "/v1/collections/c/indexes",
        &json!({"field_id": "101", "index_name": "vec_idx"}),
    )
    .await
    .refused(409, "index_already_exists");
    app.post("/v1/aliases", &json!({"alias": "c", "collection_name": "c"}))
        .await
        .refused(409, "alias_already_exists");
    app.post("/v1/databases", &json!({"name": "default"}))
        .await
        .refused(409, "database_already_exists");
    app.delete("/v1/databases/default").await.refused(409, "database_not_empty");
    app.delete("/v1/collections/c/partitions/_default")
        .await
        .refused(409, "partition_required");
}

#[tokio::test]
async fn a_schema_that_breaks_a_rule_is_refused_place_by_place() {
    let app = app().await;
    let answer = app
        .post(
            "/v1/collections",
            &json!({"name": "9", "num_shards": 0, "consistency_level": "Sometimes", "fields": [
                {"field_id": "1", "name": "a", "data_type": "Int64"}, {"field_id": "1", "name": "a", "data_type": "Int65"}],
                "partitions": [{"name": "x"}, {"name": "x"}]}),
        )
        .await
        .refused(422, "invalid_request");
    let pointers = answer.pointers();
    for expected in [
        "/name",
        "/num_shards",
        "/consistency_level",
        "/fields/1/field_id",
        "/fields/1/name",
        "/fields/1/data_type",
        "/fields",
        "/partitions/1/name",
    ] {
        assert!(pointers.contains(&expected), "{expected} in {pointers:?}");
    }
}

#[tokio::test]
async fn a_page_token_from_elsewhere_is_refused() {
    let app = app().await;
    for name in ["a", "b", "c"] {
        app.post("/v1/snapshots", &json!({"collection_name": "c", "snapshot_name": name}))
            .await
            .created();
    }
    let token = app.get("/v1/snapshots?page_size=1").await.ok().json["next_page_token"]
        .as_str()
        .expect("more")
        .to_string();
    assert_eq!(
        app.get(&format!("/v1/snapshots?page_size=2&page_token={token}"))
            .await
            .ok()
            .json["items"]
            .as_array()
            .expect("items")
            .len(),
        2
    );
    app.get(&format!("/v1/snapshots?name_prefix=a&page_token={token}"))
        .await
        .refused(400, "invalid_page_token");
    app.get(&format!("/v1/restore-jobs?page_token={token}"))
        .await
        .refused(400, "invalid_page_token");
    app.get("/v1/snapshots?page_token=bm9uc2Vuc2U")
        .await
        .refused(400, "invalid_page_token");
}

#[tokio::test]
async fn restores_that_cannot_be_are_refused_at_once() {
    let app = app().await;
    app.small_collection("d", 200).await;
    let restore = async |name: &str, body: Value| {
        let (name, query) = name.split_once('?').unwrap_or((name, ""));
        app.post(&format!("/v1/snapshots/{name}/restore?{query}"), &body).await
    };
    restore("nothing", json!({"collection_name": "x"}))
        .await
        .refused(404, "snapshot_not_found");
    for collection in ["c", "d"] {
        app.post(
            "/v1/snapshots",
            &json!({"collection_name": collection, "snapshot_name": "same"}),
        )
        .await
        .created();
    }
    restore("same", json!({"collection_name": "x"}))
        .await
        .refused(409, "snapshot_name_ambiguous");
    app.delete("/v1/snapshots/same").await.refused(409, "snapshot_name_ambiguous");
    restore("same?collection_name=c", json!({"collection_name": "c"}))
        .await
        .refused(409, "collection_already_exists");
    restore("same?collection_name=c", json!({"collection_name": "1x"}))
        .await
        .refused(422, "invalid_request");
    restore(
        "same?collection_name=c",
        json!({"collection_name": "x", "db_name": "nowhere"}),
    )
    .await
    .refused(404, "database_not_found");
    restore(
        "same?collection_name=c",
        json!({"collection_name": "x", "partitions": ["nowhere"]}),
    )
    .await
    .refused(404, "partition_not_found");
    restore("same?collection_name=c", json!({"collection_name": "x"}))
        .await
        .expect(202);
    restore("same?collection_name=c", json!({"collection_name": "x"}))
        .await
        .refused(409, "collection_already_exists");
    app.post(
        "/v1/collections",
        &json!({"name": "x", "fields": [{"field_id": "1", "name": "id", "data_type": "Int64", "is_primary_key": true}]}),
    )
    .await
    .refused(409, "collection_already_exists");
}

#[tokio::test]
async fn texts_that_no_database_can_hold_and_sizes_beyond_reason_are_refused() {
    let app = app().await;
    let body = |description: &str, label: &str| json!({"collection_name": "c", "snapshot_name": "s", "description": description, "labels": {"a": label}});
    app.post("/v1/snapshots", &body("nul \u{0} here", ""))
        .await
        .refused(422, "invalid_request");
    app.post("/v1/snapshots", &body("", "nul \u{0} here"))
        .await
        .refused(422, "invalid_request");
    let segment = app.small_segment(C, 5).await;
    let huge = with(&segment, "/binlogs/0/logs/0/size_bytes", json!("9223372036854775807"));
    app.post("/v1/collections/c/segments?check=none", &huge)
        .await
        .refused(422, "invalid_request");
    let huge = with(&segment, "/num_of_rows", json!("9223372036854775807"));
    app.post("/v1/collections/c/segments?check=none", &huge)
        .await
        .refused(422, "invalid_request");
}

#[tokio::test]
async fn a_name_that_no_database_can_hold_names_nothing_and_its_call_is_recorded() {
    let app = app().await;
    app.get("/v1/snapshots/a%00b").await.refused(404, "snapshot_not_found");
    app.get("/v1/snapshots?db_name=%00").await.refused(404, "database_not_found");
    app.get("/v1/usage?db_name=a%00").await.refused(404, "database_not_found");
    app.get("/v1/collections/c%00").await.refused(404, "collection_not_found");
    app.delete("/v1/aliases/c%00").await.refused(404, "alias_not_found");
    app.delete("/v1/collections/c%00?db_name=default").await;
    for list in [
        "snapshots?name_prefix=%00",
        "snapshots?collection_name=c%00",
        "snapshots?labels=a%3D%00",
        "collections?name_prefix=%00",
        "restore-jobs?collection_name=%00",
        "restore-jobs?snapshot_name=%00",
        "audit?principal=%00",
    ] {
        let listed = app.get(&format!("/v1/{list}")).await.ok().json;
        let items: Vec<&Value> = listed
            .as_object()
            .expect("a page")
            .values()
            .filter(|v| v.is_array())
            .collect();
        assert_eq!(items, [&json!([])], "{list}");
    }
    let recorded = app.get("/v1/audit?operation=drop_collection").await.ok().json;
    let dropped = &recorded["items"][0];
    assert_eq!(
        (&dropped["db_name"], &dropped["collection_name"]),
        (&json!("default"), &json!("c\u{fffd}")),
        "{recorded}"
    );
}
