//! Collections whose files another system wrote, in a directory of its own below the storage root.

use serde_json::{Value, json};

use crate::support::TestApp;

const ROWS: &str = "files/insert_log/900/901/902/100/7";
const INDEX: &str = "files/index_files/903/1/901/902/IVF";

async fn app() -> TestApp {
    let app = TestApp::local().await;
    let content = |path: &str| (path.to_string(), format!("content of {path}").into_bytes());
    app.objects
        .put_many(vec![content(ROWS), content(INDEX)])
        .await
        .expect("written");
    app
}

async fn collection(app: &TestApp, name: &str, id: i64, ownership: &str) {
    let body = json!({"name": name, "collection_id": id.to_string(), "ownership": ownership,
        "fields": [{"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true}],
        "partitions": [{"partition_id": (id + 1).to_string(), "name": "_default"}],
        "channels": [{"channel_name": format!("ch_{id}"), "seek_position": {"timestamp": "1000"}}]});
    app.post("/v1/collections", &body).await.created();
    let index = json!({"index_id": (id + 7).to_string(), "field_id": "100", "index_name": "idx"});
    app.post(&format!("/v1/collections/{name}/indexes"), &index).await.created();
}

fn segment(rows: &str, index: &str) -> Value {
    json!({"segment_id": "902", "partition_name": "_default", "channel_name": "ch_900", "num_of_rows": 5, "start_position": {"timestamp": "10"},
        "binlogs": [{"field_id": "100", "logs": [{"log_id": "7", "path": rows, "size_bytes": 0, "entries_num": 5}]}],
        "index_builds": [{"build_id": "903", "index_name": "idx", "num_rows": 5, "files": [{"path": index, "size_bytes": 0}]}]})
}

#[tokio::test]
async fn only_what_is_external_may_lie_below_another_systems_directory() {
    let app = app().await;
    collection(&app, "own", 900, "owned").await;
    let path = "/v1/collections/own/segments?check=none";
    app.post(path, &segment(ROWS, INDEX)).await.refused(422, "invalid_path");
    app.delete("/v1/collections/own").await.expect(204);

    collection(&app, "theirs", 910, "external").await;
    let path = "/v1/collections/theirs/segments?check=none";
    // another collection's directory, and ways out
    for rows in [
        ROWS,
        "files/../insert_log/910/911/902/100/7",
        "/files/insert_log/910/911/902/100/7",
    ] {
        app.post(path, &segment(rows, INDEX)).await.expect(422);
    }
}

#[tokio::test]
async fn sizes_can_be_taken_from_the_storage_and_a_restore_leads_out_of_the_directory() {
    let app = app().await;
    collection(&app, "theirs", 900, "external").await;
    let path = "/v1/collections/theirs/segments";
    app.post(path, &segment(ROWS, INDEX)).await.refused(422, "file_size_mismatch");
    let gone = ROWS.replace("/7", "/8");
    app.post(&format!("{path}?check=exists"), &segment(&gone, INDEX))
        .await
        .refused(422, "file_missing");
    let made = app
        .post(&format!("{path}?check=exists"), &segment(ROWS, INDEX))
        .await
        .created();
    let size = |path: &str| format!("content of {path}").len();
    assert_eq!(made.json["binlogs"][0]["logs"][0]["size_bytes"], size(ROWS));
    assert_eq!(made.json["index_builds"][0]["files"][0]["size_bytes"], size(INDEX));

    let explained = app.get(&format!("/v1/objects/explain?key={ROWS}")).await.ok();
    assert_eq!(
        explained.json["kept_by"][0]["kind"], "external_collection",
        "{}",
        explained.text
    );
    assert_eq!(
        explained.json["kept_by"][1],
        json!({"kind": "segment", "id": "902"}),
        "{}",
        explained.text
    );

    app.post("/v1/snapshots", &json!({"collection_name": "theirs", "snapshot_name": "s1"}))
        .await
        .created();
    let verified = app.post("/v1/snapshots/s1/verify", &json!({"level": "size"})).await.ok();
    assert_eq!(verified.json["problem_count"], 0, "{}", verified.text);
    app.post("/v1/snapshots/s1/restore", &json!({"collection_name": "copy"}))
        .await
        .expect(202);
    app.drain().await;
    let copy = app.get("/v1/collections/copy/segments").await.ok();
    let copied = copy.json["items"][0]["binlogs"][0]["logs"][0]["path"]
        .as_str()
        .expect("a path");
    assert!(copied.starts_with("insert_log/") && copied.ends_with("/100/7"), "{copied}");
    let content = app.objects.get(copied, 1000).await.expect("there").expect("there");
    assert_eq!(content, format!("content of {ROWS}").as_bytes());

    // the same ids in a directory that nobody registered say nothing about a segment that is ours
    let id = copy.json["items"][0]["segment_id"].as_str().expect("an id");
    let explained = app
        .get(&format!("/v1/objects/explain?key=files/insert_log/1/2/{id}/100/7"))
        .await
        .ok();
    assert_eq!(explained.json["kind"], "unmanaged", "{}", explained.text);
}

#[tokio::test]
async fn the_service_says_where_its_storage_root_is() {
    let app = TestApp::local().await;
    let url = format!("file://{}/", app.directory.path().display());
    assert_eq!(app.get("/v1/storage").await.ok().json, json!({"root": url}));
    let app = TestApp::s3().await;
    let storage = app.get("/v1/storage").await.ok().json;
    assert!(
        storage["root"]
            .as_str()
            .is_some_and(|r| r.starts_with("s3://") && r.ends_with('/')),
        "{storage}"
    );
    assert!(
        storage["endpoint"]
            .as_str()
            .is_some_and(|e| e.starts_with("http://127.0.0.1:")),
        "{storage}"
    );
    assert!(!storage.to_string().contains("test-secret"));
}
