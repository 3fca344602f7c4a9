//! The guide's Spark use case, and our example of it. Needs Java and PySpark: `make test-spark`.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::guide::{examples, run_examples, service};
use super::{package, root, succeeds, without_proxies};
use crate::cli::process::directory;
use crate::cli::service::Service;
use crate::support::postgres;

/// The environment that has PySpark; the Makefile makes it.
fn venv() -> PathBuf {
    let path = root().join("target/venv-spark");
    assert!(path.exists(), "{} is missing: run `make test-spark`", path.display());
    path
}

fn with_spark(program: &str) -> Command {
    let mut command = Command::new(venv().join("bin").join(program));
    let paths = [
        package().join("src"),
        root().join("examples/spark"),
        root().join("tests/it/python"),
    ];
    command
        .env("PYTHONPATH", std::env::join_paths(paths).expect("no colons"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYSPARK_PYTHON", venv().join("bin/python"))
        .env("SPARK_LOCAL_IP", "127.0.0.1");
    without_proxies(&mut command);
    command
}

/// The expected numbers come from the program that made the fixture (`m235.py`), whose vectors follow
/// from a seed, computed with numpy: nothing of ours has a part in them.
#[tokio::test]
#[ignore = "needs Java and PySpark: make test-spark"]
async fn statistics_of_the_vectors_are_computed_from_the_files_of_a_snapshot() {
    let dir = directory();
    let database = postgres::url(&postgres::empty_database().await);
    let service = Service::start(dir.path(), &["--no-fsync", "--database-url", &database]);
    service.load_fixture(dir.path()).await;
    assert_eq!(service.run(&["snapshot", "create", "feas", "backup_20240101"]).code, Some(0));
    // what is read is the snapshot, not the collection
    assert_eq!(service.run(&["collection", "drop", "feas"]).code, Some(0));

    let example = root().join("examples/spark");
    let files = format!("{0}/binlog.py,{0}/snapshot.py", example.display());
    let mut submit = with_spark("spark-submit");
    submit
        .args(["--master", "local[2]", "--conf", "spark.ui.enabled=false"])
        .args(["--conf", "spark.sql.shuffle.partitions=4"])
        .args(["--conf", &format!("spark.jars.ivy={}", root().join("target/ivy").display())])
        .args(["--packages", "org.apache.spark:spark-avro_2.13:4.0.1", "--py-files", &files])
        .arg(example.join("vector_statistics.py"))
        .args(["--uri", &service.url, "backup_20240101", "vec"]);
    let said = succeeds(submit);
    for column in [
        "id: long",
        "tag: string",
        "score: float",
        "meta: string",
        "vec: array",
        "$meta: string",
    ] {
        assert!(said.contains(&format!(" |-- {column} ")), "{column}: {said}");
    }
    for row in [
        ["_default", "7992", "128", "5.5344", "6.5274", "7.5572"].as_slice(),
        &["p2", "1000", "128", "5.6388", "6.5254", "7.4267"],
        &["0", "0.4981", "0.2889"],
        &["1", "0.4967", "0.2912"],
        &["2", "0.4943", "0.2883"],
        &["3", "0.4963", "0.2887"],
    ] {
        let found = said.lines().any(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            cells == row
        });
        assert!(found, "{row:?}: {said}");
    }
    let last: serde_json::Value = serde_json::from_str(said.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last, json!({"stored": 9000, "deletes": 8, "rows": 8992}));
    let pins = service.run(&["snapshot", "describe", "backup_20240101", "--json"]).json()["pin_count"].clone();
    assert_eq!(pins, 0, "the example leaves no pin");
}

#[tokio::test]
#[ignore = "needs Java and PySpark: make test-spark"]
async fn every_example_of_the_guide_runs_the_one_with_spark_included() {
    let dir = directory();
    let service = service(dir.path()).await;
    let bucket = dir.path().join("analytics-results");
    std::fs::create_dir(&bucket).expect("made");
    let mut run = with_spark("python");
    run.arg(root().join("tests/it/python/run_guide.py"))
        .arg(examples())
        .arg("--spark")
        .arg(&bucket);
    let said = run_examples(run, &service);
    assert!(said.ends_with("13 examples ran\n"), "{said}");
    let written = std::fs::read_dir(bucket.join("daily_stats")).expect("written");
    let names = written.map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8"));
    assert!(names.into_iter().any(|n| n.ends_with(".parquet")));
}
