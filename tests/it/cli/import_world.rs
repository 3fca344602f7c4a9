//! A service beside Milvus' files, and the keys of its etcd, as a real Milvus 2.3.5 wrote them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::{Ran, directory};
use super::service::Service;
use crate::support::{fixture, postgres};

/// Keys of Milvus' etcd with their values.
pub type Dump = BTreeMap<String, Vec<u8>>;

pub fn dump() -> Dump {
    let text = std::fs::read(fixture::directory().join("etcd-dump.json")).expect("is there");
    let json: Value = serde_json::from_slice(&text).expect("JSON");
    let bytes = |value: &Value| STANDARD.decode(value.as_str().unwrap_or_default()).expect("base64");
    let kvs = json["kvs"].as_array().expect("keys").iter();
    kvs.map(|kv| (String::from_utf8(bytes(&kv["key"])).expect("text"), bytes(&kv["value"])))
        .collect()
}

pub fn encoded(dump: &Dump) -> Vec<(String, String)> {
    dump.iter().map(|(k, v)| (STANDARD.encode(k), STANDARD.encode(v))).collect()
}

/// A service with Milvus' files in a directory of its storage.
pub struct World {
    pub service: Service,
    pub dir: TempDir,
    /// Where Milvus keeps its files.
    pub milvus: PathBuf,
}

impl World {
    /// `below`: Milvus' root as seen from the storage root.
    pub async fn new(below: &str) -> Self {
        let world = Self::empty(below).await;
        for (key, content) in fixture::files() {
            let path = world.milvus.join(key);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, content).expect("written");
        }
        world
    }

    /// Without any file of Milvus.
    pub async fn empty(below: &str) -> Self {
        let dir = directory();
        let milvus = dir.path().join("objects").join(below);
        std::fs::create_dir_all(&milvus).expect("made");
        let database = postgres::url(&postgres::empty_database().await);
        let service = Service::start(dir.path(), &["--no-fsync", "--database-url", &database]);
        Self { service, dir, milvus }
    }

    pub fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).expect("written");
        path.to_str().expect("UTF-8").to_string()
    }

    /// Imports from keys that are written as a dump.
    pub fn import(&self, dump: &Dump, more: &[&str]) -> Ran {
        let kvs: Vec<Value> = encoded(dump).iter().map(|(k, v)| json!({"key": k, "value": v})).collect();
        let text = json!({"header": {"revision": 126}, "kvs": kvs}).to_string();
        let file = self.file("dump.json", text.as_bytes());
        self.import_from(&["--dump", &file], more)
    }

    pub fn import_from(&self, from: &[&str], more: &[&str]) -> Ran {
        let storage = format!("file://{}", self.milvus.display());
        let args: Vec<&str> = [&["import", "milvus", "--storage", &storage], from, more].concat();
        self.service.run(&args)
    }

    pub async fn get(&self, path: &str) -> Value {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let answer = client
            .get(format!("{}{path}", self.service.url))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        answer.json().await.expect("JSON")
    }

    /// The collection as the fixture's `catalog.json` has it.
    pub async fn catalog(&self) -> Value {
        let items = async |path: &str| self.get(&format!("/v1/collections/feas/{path}?page_size=1000")).await["items"].clone();
        json!({"collection": self.get("/v1/collections/feas").await, "indexes": items("indexes").await, "segments": items("segments").await})
    }
}

/// Everything that is expected stands there, whatever else does; numbers may be texts.
pub fn assert_holds(expected: &Value, found: &Value, at: &str) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(_)) => {
            for (key, value) in expected {
                assert_holds(value, &found[key], &format!("{at}/{key}"));
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            assert_eq!(expected.len(), found.len(), "{at}");
            for (n, (expected, found)) in expected.iter().zip(found).enumerate() {
                assert_holds(expected, found, &format!("{at}/{n}"));
            }
        }
        _ => {
            let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), String::from);
            assert_eq!(text(expected), text(found), "{at}");
        }
    }
}

pub fn by_id(mut catalog: Value) -> Value {
    for (list, id) in [("indexes", "index_id"), ("segments", "segment_id")] {
        let items = catalog[list].as_array_mut().expect("a list");
        items.sort_by_key(|i| i[id].as_str().map(String::from));
    }
    catalog
}

pub fn expected() -> Value {
    let mut catalog = fixture::catalog();
    catalog.as_object_mut().expect("an object").remove("about");
    by_id(catalog)
}

/// What an import says of its one collection: result, added, changed, dropped, index builds.
pub fn outcome(ran: &Ran) -> (String, [u64; 4]) {
    let json = ran.json();
    let c = &json["collections"][0];
    let number = |key: &str| c[key].as_u64().unwrap_or_else(|| panic!("{key} in {json}"));
    (
        c["result"].as_str().expect("a result").to_string(),
        [
            number("segments_added"),
            number("segments_changed"),
            number("segments_dropped"),
            number("index_builds_added"),
        ],
    )
}

pub fn prefix_paths(value: &mut Value, prefix: &str) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(path) if key == "path" => path.insert_str(0, prefix),
                    other => prefix_paths(other, prefix),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|v| prefix_paths(v, prefix)),
        _ => {}
    }
}
