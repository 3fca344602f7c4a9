//! Made-up calls, allowed and not, by schemathesis: nothing answers 5xx, and everything answers as
//! the document says.

use std::path::Path;
use std::process::Command;

use crate::cli::process::{Ran, directory};
use crate::cli::service::Service;
use crate::support::postgres;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

async fn examine(args: &[&str]) -> String {
    let program = Path::new(ROOT).join("target/clients/schemathesis/bin/schemathesis");
    assert!(program.exists(), "{} is missing: run `make setup`", program.display());
    let directory = directory();
    let database = postgres::url(&postgres::empty_database().await);
    let service = Service::start(
        directory.path(),
        &[
            "--no-fsync",
            "--log",
            "warn,stillframe::app=info",
            "--database-url",
            &database,
        ],
    );
    service.load_fixture(directory.path()).await;
    service.run(&["snapshot", "create", "feas", "s1", "--json"]).json();
    let document = directory.path().join("openapi.json");
    std::fs::copy(Path::new(ROOT).join("openapi/openapi.json"), &document).expect("copied");
    let output = Command::new(program)
        .args([
            "--config-file",
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/schemathesis/schemathesis.toml"),
            "run",
        ])
        .arg(&document)
        .args([
            "--url",
            &service.url,
            "--no-color",
            "--continue-on-failure",
            "--request-timeout",
            "60",
        ])
        .args(["--report", "junit", "--report-junit-path"])
        .arg(directory.path().join("report.xml"))
        .args(args)
        .current_dir(directory.path())
        .env("NO_PROXY", "127.0.0.1")
        .output();
    let ran = Ran::from(output.expect("runs"));
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.out, ran.err);
    // it is still there, and has noted no error of its own
    service.run(&["collection", "list", "--json"]).json();
    ran.out
}

/// Cases that were generated.
fn cases(report: &str) -> usize {
    let line = report.lines().find(|l| l.contains(" generated")).unwrap_or_default();
    line.split_whitespace()
        .next()
        .and_then(|n| n.replace(',', "").parse().ok())
        .unwrap_or_default()
}

#[tokio::test]
async fn made_up_calls_are_answered_as_the_document_says() {
    let report = examine(&[
        "--phases",
        "examples,coverage",
        "--seed",
        "20261122",
        "--generation-deterministic",
    ])
    .await;
    assert!(cases(&report) >= 500, "{report}");
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn ten_thousand_made_up_calls_are_answered_as_the_document_says() {
    let report = examine(&[
        "--phases",
        "examples,coverage,fuzzing,stateful",
        "--max-examples",
        "100",
        "--generation-database",
        "none",
    ])
    .await;
    assert!(cases(&report) >= 10_000, "{report}");
}
