//! The collection of a real Milvus 2.3.5, and small made-up segments.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::TestApp;

pub const COLLECTION: &str = "feas";
pub const FILES: usize = 48;
pub const BYTES: i64 = 8_964_728;

pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/milvus-2.3.5")
}

pub fn catalog() -> Value {
    serde_json::from_slice(&std::fs::read(directory().join("catalog.json")).expect("is there")).expect("JSON")
}

/// Every data file of the collection: its path and its bytes.
pub fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for kind in ["insert_log", "delta_log", "stats_log", "index_files"] {
        walk(&directory(), &directory().join(kind), &mut files);
    }
    assert_eq!(files.len(), FILES);
    files
}

fn walk(root: &Path, directory: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(root, &path, files);
        } else {
            let key = path.strip_prefix(root).expect("below").to_str().expect("UTF-8").to_string();
            files.push((key, std::fs::read(&path).expect("readable")));
        }
    }
}

impl TestApp {
    /// Writes the real collection's files and registers it as an engine would.
    pub async fn load_fixture(&self) {
        self.objects.put_many(files()).await.expect("written");
        let catalog = catalog();
        self.post("/v1/collections", &catalog["collection"]).await.created();
        for index in catalog["indexes"].as_array().expect("indexes") {
            self.post("/v1/collections/feas/indexes", index).await.created();
        }
        let answer = self
            .post(
                "/v1/collections/feas/segments:batch",
                &json!({"segments": catalog["segments"]}),
            )
            .await
            .created();
        assert_eq!(
            answer.json,
            json!({"segment_count": 4, "file_count": FILES, "size_bytes": BYTES})
        );
    }

    /// A small collection with one channel at a seek position.
    pub async fn small_collection(&self, name: &str, id: i64) {
        let channel = format!("ch_{id}");
        self.post(
            "/v1/collections",
            &json!({"name": name, "collection_id": id.to_string(), "fields": [
                {"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true},
                {"field_id": "101", "name": "vec", "data_type": "FloatVector", "type_params": {"dim": "4"}}],
                "partitions": [{"partition_id": (id + 1).to_string(), "name": "_default"}, {"partition_id": (id + 2).to_string(), "name": "p2"}],
                "channels": [{"channel_name": channel, "seek_position": {"timestamp": "1000"}}]}),
        )
        .await
        .created();
        self.post(
            &format!("/v1/collections/{name}/indexes"),
            &json!({"index_id": "7", "field_id": "101", "index_name": "vec_idx"}),
        )
        .await
        .created();
    }

    /// Writes the files of a small segment and gives its body: two binlogs, a statslog, and an
    /// index build with one file.
    pub async fn small_segment(&self, collection: i64, segment: i64) -> Value {
        let partition = collection + 1;
        let file = |kind: &str, field: i64| format!("{kind}/{collection}/{partition}/{segment}/{field}/{}", segment * 10 + field);
        let (rows, vectors, stats) = (file("insert_log", 100), file("insert_log", 101), file("stats_log", 100));
        let index = format!("index_files/{}/1/{partition}/{segment}/IVF", segment * 1000);
        let content = |path: &str| format!("content of {path}").into_bytes();
        let paths = [&rows, &vectors, &stats, &index];
        self.objects
            .put_many(paths.map(|p| (p.clone(), content(p))).to_vec())
            .await
            .expect("written");
        let log = |path: &str, id: i64| json!({"log_id": id.to_string(), "path": path, "size_bytes": content(path).len(), "entries_num": 5});
        json!({
            "segment_id": segment.to_string(), "partition_name": "_default", "channel_name": format!("ch_{collection}"), "num_of_rows": 5,
            "start_position": {"timestamp": "10"},
            "binlogs": [{"field_id": "100", "logs": [log(&rows, segment * 10 + 100)]}, {"field_id": "101", "logs": [log(&vectors, segment * 10 + 101)]}],
            "statslogs": [{"field_id": "100", "logs": [log(&stats, segment * 10 + 100)]}],
            "index_builds": [{"build_id": (segment * 1000).to_string(), "index_id": "7", "num_rows": 5,
                "files": [{"path": index, "size_bytes": content(&index).len()}]}]
        })
    }

    /// Registers a small segment.
    pub async fn add_segment(&self, name: &str, collection: i64, segment: i64) {
        let body = self.small_segment(collection, segment).await;
        self.post(&format!("/v1/collections/{name}/segments"), &body).await.created();
    }

    /// The same with a file of every other class: deltas, BM25 statistics, a text index, and JSON key indexes of both
    /// layouts. Ids of builds begin with the segment's.
    pub async fn full_segment(&self, collection: i64, segment: i64) -> Value {
        let mut body = self.small_segment(collection, segment).await;
        let own = format!("{collection}/{}/{segment}", collection + 1);
        let build = |n: i64| segment * 1000 + n;
        let delta = format!("delta_log/{own}/1");
        let bm25 = format!("bm25_stats/{own}/101/2");
        let text = format!("text_log/{}/1/{own}/100/text_index", build(1));
        let keys = format!("json_key_index_log/{}/1/{own}/100/json_key_index", build(2));
        let stats = format!("json_stats/2/{}/1/{own}/100/shared_key_index/inverted_index_0", build(3));
        let content = |path: &str| format!("content of {path}").into_bytes();
        let paths = [&delta, &bm25, &text, &keys, &stats];
        self.objects
            .put_many(paths.map(|p| (p.clone(), content(p))).to_vec())
            .await
            .expect("written");
        let log = |field: &str, path: &str, id: &str| json!([{"field_id": field, "logs": [{"log_id": id, "path": path, "size_bytes": content(path).len(), "entries_num": 1}]}]);
        let index = |path: &str, n: i64, format: i64| {
            json!({"field_id": "100", "version": 1, "build_id": build(n).to_string(), "json_key_stats_data_format": format,
                "files": [{"path": path, "size_bytes": content(path).len()}]})
        };
        body["deltalogs"] = log("0", &delta, "1");
        body["bm25_statslogs"] = log("101", &bm25, "2");
        body["text_index_files"] = json!([index(&text, 1, 0)]);
        body["json_key_index_files"] = json!([index(&keys, 2, 0), index(&stats, 3, 2)]);
        body
    }
}

/// Every path in a body.
pub fn paths(body: &Value) -> Vec<String> {
    match body {
        Value::Array(parts) => parts.iter().flat_map(paths).collect(),
        Value::Object(parts) => parts
            .iter()
            .flat_map(|(name, part)| match part {
                Value::String(path) if name == "path" => vec![path.clone()],
                part => paths(part),
            })
            .collect(),
        _ => Vec::new(),
    }
}
