//! Every Python example of Milvus' snapshot user guide, run by our client.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;

use super::{interpreter, root, succeeds};
use crate::cli::process::directory;
use crate::cli::service::Service;
use crate::support::{fixture, postgres};

/// The collections that the examples name.
const COLLECTIONS: [&str; 5] = [
    "my_collection",
    "production_vectors",
    "user_embeddings",
    "ml_embeddings",
    "test_collection",
];
/// The job that an example asks for.
const JOB: i64 = 12345;

pub fn examples() -> PathBuf {
    root().join("tests/fixtures/guide")
}

/// The examples as they came, by file.
fn given() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(examples().join("guide.md")).expect("is there");
    let blocks = text.split("\n## ").skip(1).map(|block| {
        let (name, rest) = block.split_once('\n').expect("a heading");
        let (_, code) = rest.split_once("```python\n").expect("code");
        (name.to_string(), code.split_once("\n```").expect("its end").0.to_string())
    });
    blocks.collect()
}

/// The user guide itself lies beside the repository on the machines where this project is developed.
const GUIDE: &str = "../shared/docs/snapshot-user-guide.md";
/// SHA-256 of the tokens of its Python blocks, as it was there: a token a line, an empty line behind each block.
const TOKENS_SHA256: &str = "7201902d29a817ba11a4839f5992bd1aedee9263cdd666d9535410419d23f899";

/// The tokens of blocks of code.
fn tokens<'a>(blocks: impl Iterator<Item = &'a str>) -> String {
    let each = blocks.map(|text| text.split_whitespace().collect::<Vec<_>>().join("\n") + "\n\n");
    each.collect()
}

/// Where the guide is not at hand its recorded sum is what the blocks are compared with.
#[test]
fn the_blocks_are_those_of_the_guide_token_by_token() {
    let given = given();
    let given = tokens(given.values().map(String::as_str));
    assert_eq!(format!("{:x}", Sha256::digest(&given)), TOKENS_SHA256);
    match std::fs::read_to_string(root().join(GUIDE)) {
        Ok(guide) => {
            let blocks = guide.split("```python\n").skip(1);
            assert_eq!(given, tokens(blocks.map(|rest| rest.split("```").next().expect("code"))));
        }
        // the harness keeps what is printed by a test that passes
        Err(_) => {
            let note = format!("note: there is no {GUIDE}; the examples were compared with its recorded sum only\n");
            std::io::stderr().write_all(note.as_bytes()).expect("written");
        }
    }
}

#[test]
fn the_examples_differ_from_the_guide_in_white_space_only() {
    let given = given();
    assert_eq!(given.len(), 13, "the guide has 13 blocks of Python");
    let files = std::fs::read_dir(examples())
        .expect("a directory")
        .map(|e| e.expect("an entry").path());
    let files: Vec<PathBuf> = files.filter(|p| p.extension().is_some_and(|e| e == "py")).collect();
    assert_eq!(files.len(), given.len());
    for file in files {
        let name = file.file_name().expect("a name").to_str().expect("UTF-8");
        let text = std::fs::read_to_string(&file).expect("readable");
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words, given[name].split_whitespace().collect::<Vec<_>>(), "{name}");
        // a lost line break turns code into a comment without changing a word
        for line in text.lines().filter(|line| line.trim_start().starts_with('#')) {
            assert!(
                !["(", "=", "import "].iter().any(|code| line.contains(code)),
                "{name}: {line}"
            );
        }
    }
}

/// A service with the collections, snapshots and the job that the examples name.
pub async fn service(dir: &Path) -> Service {
    let (database, pool) = postgres::database().await;
    let service = Service::start(dir, &["--no-fsync", "--database-url", &postgres::url(&database)]);
    service.load_fixture(dir).await;
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let snapshot = async |name: &str| {
        let body = json!({"collection_name": "feas", "snapshot_name": name});
        let request = client.post(format!("{}/v1/snapshots", service.url)).json(&body);
        assert_eq!(request.send().await.expect("an answer").status().as_u16(), 201, "{name}");
    };
    for name in ["seed", "snapshot_v0", "snapshot_v1", "snapshot_v2"] {
        snapshot(name).await;
    }
    for target in COLLECTIONS {
        let done = service.run(&["restore", "seed", target, "--json"]);
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    rename_job(&pool, COLLECTIONS[0]).await;
    service
}

/// Ids are allocated by the service; the one in the guide is given to a job that has ended.
async fn rename_job(pool: &PgPool, target: &str) {
    let mut tx = pool.begin().await.expect("begins");
    // foreign keys are triggers
    sqlx::query("set local session_replication_role = replica")
        .execute(&mut *tx)
        .await
        .expect("allowed");
    for table in ["restore_tasks", "restore_builds", "restore_jobs"] {
        let of = "(select job_id from restore_jobs where collection_name = $2)";
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "update {table} set job_id = $1 where job_id = {of}"
        )))
        .bind(JOB)
        .bind(target)
        .execute(&mut *tx)
        .await
        .expect("renamed");
    }
    tx.commit().await.expect("commits");
}

/// Contents of the files of a collection, sorted.
async fn contents(service: &Service, dir: &Path, collection: &str) -> Vec<Vec<u8>> {
    fn paths<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("path").and_then(Value::as_str));
                map.values().for_each(|v| paths(v, found));
            }
            Value::Array(list) => list.iter().for_each(|v| paths(v, found)),
            _ => {}
        }
    }
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("{}/v1/collections/{collection}/segments", service.url);
    let text = client.get(url).send().await.expect("an answer").text().await.expect("a body");
    let list: Value = serde_json::from_str(&text).expect("JSON");
    let mut found = Vec::new();
    paths(&list, &mut found);
    let read = |path: &&str| std::fs::read(dir.join("objects").join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut contents: Vec<Vec<u8>> = found.iter().map(read).collect();
    contents.sort();
    contents
}

/// Runs `run_guide.py`; the guide's address leads to the service.
pub fn run_examples(mut run: Command, service: &Service) -> String {
    run.env("HTTP_PROXY", &service.url);
    succeeds(run)
}

#[tokio::test]
async fn every_example_runs_after_its_import_line_is_changed() {
    let dir = directory();
    let service = service(dir.path()).await;
    let mut run = interpreter();
    run.arg(root().join("tests/it/python/run_guide.py"))
        .arg(examples())
        .args(["--without", "09_spark.py"]);
    let said = run_examples(run, &service);
    assert!(said.ends_with("12 examples ran\n"), "{said}");
    let mut files: Vec<Vec<u8>> = fixture::files().into_iter().map(|(_, content)| content).collect();
    files.sort();
    for collection in ["restored_collection", "test_environment", "test_env_2"] {
        assert!(contents(&service, dir.path(), collection).await == files, "{collection}");
    }
}
