//! Segments whose every file has bytes of its own, and looks at what became of them.

use std::path::Path;

use serde_json::{Value, json};

use super::place::{Place, Server};

/// What identifies a file inside its segment, and its bytes.
pub type Content = Vec<(String, Vec<u8>)>;

fn write(root: &Path, key: &str) -> usize {
    let path = root.join(key);
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    let bytes = key.repeat(30 + key.len() % 7);
    std::fs::write(path, &bytes).expect("written");
    bytes.len()
}

/// Writes the files of a segment and gives its body: two fields of `logs` binlogs each, a
/// statslog, an index build of one file.
fn segment(root: &Path, collection: i64, id: i64, logs: i64) -> Value {
    let partition = collection + 1;
    let log = |kind: &str, field: i64, n: i64| {
        let log_id = id * 1000 + n;
        let path = format!("{kind}/{collection}/{partition}/{id}/{field}/{log_id}");
        json!({"log_id": log_id.to_string(), "size_bytes": write(root, &path), "path": path, "entries_num": 5})
    };
    let field = |field: i64| {
        let logs: Vec<Value> = (0..logs).map(|n| log("insert_log", field, n)).collect();
        json!({"field_id": field.to_string(), "logs": logs})
    };
    let index = format!("index_files/{}/1/{partition}/{id}/IVF", id * 1000);
    json!({
        "segment_id": id.to_string(), "partition_name": "_default", "channel_name": format!("ch_{collection}"), "num_of_rows": 5,
        "start_position": {"timestamp": "10"}, "binlogs": [field(100), field(101)],
        "statslogs": [{"field_id": "100", "logs": [log("stats_log", 100, 0)]}],
        "index_builds": [{"build_id": (id * 1000).to_string(), "index_id": "7", "num_rows": 5,
            "files": [{"size_bytes": write(root, &index), "path": index}]}]
    })
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

/// Reads what a segment's body names.
fn read(root: &Path, segment: &Value) -> Content {
    let mut found = Vec::new();
    let mut add = |name: String, path: &Value| {
        let bytes = std::fs::read(root.join(text(path))).unwrap_or_else(|e| panic!("{path}: {e}"));
        found.push((name, bytes));
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for kind in ["binlogs", "statslogs", "deltalogs"] {
        for group in list(&segment[kind]) {
            for log in list(&group["logs"]) {
                add(
                    format!("{kind}/{}/{}", text(&group["field_id"]), text(&log["log_id"])),
                    &log["path"],
                );
            }
        }
    }
    for build in list(&segment["index_builds"]) {
        for file in list(&build["files"]) {
            let name = text(&file["path"]).rsplit('/').next().expect("a name").to_string();
            add(format!("index/{}/{name}", text(&build["index_id"])), &file["path"]);
        }
    }
    found.sort();
    found
}

/// Makes a collection of one channel, with an index.
pub async fn collection(server: &Server, name: &str, id: i64) {
    make(server, name, id, "owned").await;
}

/// The same, whose files are another system's.
pub async fn external_collection(server: &Server, name: &str, id: i64) {
    make(server, name, id, "external").await;
}

async fn make(server: &Server, name: &str, id: i64, ownership: &str) {
    let body = json!({"name": name, "ownership": ownership, "collection_id": id.to_string(), "fields": [
            {"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true},
            {"field_id": "101", "name": "vec", "data_type": "FloatVector", "type_params": {"dim": "4"}}],
        "partitions": [{"partition_id": (id + 1).to_string(), "name": "_default"}],
        "channels": [{"channel_name": format!("ch_{id}"), "seek_position": {"timestamp": "1000"}}]});
    server.post("/v1/collections", &body).await;
    let index = json!({"index_id": "7", "field_id": "101", "index_name": "vec_idx"});
    server.post(&format!("/v1/collections/{name}/indexes"), &index).await;
}

/// Adds segments to it; gives what must be found in them ever after.
pub async fn add(
    server: &Server,
    place: &Place,
    name: &str,
    collection: i64,
    ids: std::ops::Range<i64>,
    logs: i64,
) -> Vec<Content> {
    let root = place.root();
    let segments: Vec<Value> = ids.map(|id| segment(&root, collection, id, logs)).collect();
    let path = format!("/v1/collections/{name}/segments:batch");
    server.post(&path, &json!({"segments": segments})).await;
    sorted(segments.iter().map(|s| read(&root, s)).collect())
}

/// What is in a collection's segments.
pub async fn of_collection(server: &Server, place: &Place, name: &str) -> Vec<Content> {
    let segments = server.items(&format!("/v1/collections/{name}/segments?page_size=1000")).await;
    sorted(segments.iter().map(|s| read(&place.root(), s)).collect())
}

/// Segments get new ids when they are restored, so that their order says nothing.
pub fn sorted(mut segments: Vec<Content>) -> Vec<Content> {
    segments.sort();
    segments
}
