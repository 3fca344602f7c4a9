//! Made-up calls, allowed and not, by schemathesis: nothing answers 5xx, everything answers as the
//! document says, and every operation succeeds at least once, with authentication and without.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::process::{Ran, directory};
use crate::clients::{KEY, catalog, document, program, service, source};

/// What schemathesis writes when it is done with an operation, as far as it is looked at here.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "ScenarioFinished")]
    scenario: Option<Scenario>,
}

#[derive(Deserialize)]
struct Scenario {
    recorder: Recorder,
}

#[derive(Deserialize)]
struct Recorder {
    #[serde(default)]
    cases: HashMap<String, Case>,
    #[serde(default)]
    interactions: HashMap<String, Interaction>,
}

#[derive(Deserialize)]
struct Case {
    value: Call,
}

#[derive(Deserialize)]
struct Call {
    method: String,
    path: String,
}

#[derive(Deserialize)]
struct Interaction {
    response: Option<Response>,
}

#[derive(Deserialize)]
struct Response {
    status_code: u16,
    content: Option<Content>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(rename = "$base64")]
    base64: String,
}

impl Response {
    /// Milvus' paths answer 200 whatever happens, and say it in `code`.
    fn succeeded(&self, path: &str) -> bool {
        let code = || {
            let text = BASE64_STANDARD.decode(&self.content.as_ref()?.base64).ok()?;
            serde_json::from_slice::<Value>(&text).ok()?["code"].as_i64()
        };
        (200..300).contains(&self.status_code) && (!path.starts_with("/v2/") || code() == Some(0))
    }
}

/// What a run did.
struct Report {
    said: String,
    /// Operations of which no call succeeded.
    unreached: BTreeSet<String>,
}

impl Report {
    /// Cases that were generated.
    fn cases(&self) -> usize {
        let line = self.said.lines().find(|l| l.contains(" generated")).unwrap_or_default();
        line.split_whitespace()
            .next()
            .and_then(|n| n.replace(',', "").parse().ok())
            .unwrap_or_default()
    }
}

/// Operations of the document by method and path.
fn operations(document: &Path) -> BTreeMap<(String, String), String> {
    let document: Value = serde_json::from_slice(&std::fs::read(document).expect("is there")).expect("JSON");
    let paths = document["paths"].as_object().expect("paths").iter();
    let named = paths.flat_map(|(path, item)| {
        let operations = item.as_object().expect("operations").iter();
        operations.map(move |(method, operation)| {
            let id = operation["operationId"].as_str().expect("an id");
            ((method.to_uppercase(), path.clone()), id.to_string())
        })
    });
    named.collect()
}

fn unreached(report: &Path, document: &Path) -> BTreeSet<String> {
    let operations = operations(document);
    let mut left: BTreeSet<String> = operations.values().cloned().collect();
    for line in BufReader::new(std::fs::File::open(report).expect("a report")).lines() {
        let line: Line = serde_json::from_str(&line.expect("text")).expect("JSON");
        let Some(Scenario { recorder }) = line.scenario else {
            continue;
        };
        for (id, interaction) in recorder.interactions {
            let (Some(case), Some(response)) = (recorder.cases.get(&id), interaction.response) else {
                continue;
            };
            let call = &case.value;
            if let Some(operation) = operations.get(&(call.method.clone(), call.path.clone()))
                && response.succeeded(&call.path)
            {
                left.remove(operation);
            }
        }
    }
    left
}

/// Operations that need not succeed, from the committed list.
fn excused() -> BTreeSet<String> {
    let list = std::fs::read_to_string(source("schemathesis/unreached.txt")).expect("is there");
    let lines = list.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines
        .map(|line| {
            let (operation, reason) = line.split_once(' ').unwrap_or_default();
            assert!(!reason.trim().is_empty(), "{line:?} has no reason");
            operation.to_string()
        })
        .collect()
}

async fn examine(key: Option<&str>, args: &[&str]) -> Report {
    let directory = directory();
    let here = directory.path();
    let webhooks = [
        "--webhook-private-addresses",
        "--webhook-key",
        "webhooks-0123456789abcdef0123456789abcdef",
    ];
    let settings = [&["--log", "warn,stillframe::app=info"], &webhooks[..]].concat();
    let service = service(here, key, &settings).await;
    let named = here.join("document.json");
    let made = program("schemathesis/bin/python")
        .arg(source("schemathesis/world.py"))
        .arg(&service.url)
        .arg(catalog(here))
        .arg(document("openapi.json"))
        .arg(&named)
        .args(key)
        .output();
    let made = Ran::from(made.expect("runs"));
    assert_eq!(made.code, Some(0), "{made:#?}");
    let lines = here.join("report.ndjson");
    let output = program("schemathesis/bin/schemathesis")
        .arg("--config-file")
        .arg(source("schemathesis/schemathesis.toml"))
        .arg("run")
        .arg(&named)
        .args([
            "--url",
            &service.url,
            "--no-color",
            "--continue-on-failure",
            "--request-timeout",
            "60",
        ])
        .args(["--report", "ndjson", "--report-ndjson-path"])
        .arg(&lines)
        .args(args)
        .current_dir(here)
        .env("NO_PROXY", "127.0.0.1")
        .env("STILLFRAME_KEY", key.unwrap_or_default())
        .env("SCHEMATHESIS_HOOKS", source("schemathesis/hooks.py"))
        .output();
    let ran = Ran::from(output.expect("runs"));
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.out, ran.err);
    // it is still there, and has noted no error of its own
    let mut listing = service.client(&["collection", "list", "--json"]);
    listing.envs(key.map(|key| ("STILLFRAME_API_KEY", key)));
    Ran::from(listing.output().expect("runs")).json();
    Report {
        said: ran.out,
        unreached: unreached(&lines, &named),
    }
}

/// The same calls each time.
const THE_SAME: [&str; 3] = ["--seed", "20261122", "--generation-deterministic"];

#[tokio::test]
async fn made_up_calls_are_answered_as_the_document_says() {
    let report = examine(None, &[&["--phases", "examples,coverage"], &THE_SAME[..]].concat()).await;
    assert!(report.cases() >= 500, "{}", report.said);
    assert_eq!(
        report.unreached,
        excused(),
        "operations that never succeeded, and those listed"
    );
}

#[tokio::test]
async fn made_up_calls_with_a_key_are_answered_as_the_document_says() {
    let phases = ["--phases", "examples,fuzzing", "--max-examples", "8"];
    let report = examine(Some(KEY), &[&phases, &THE_SAME[..]].concat()).await;
    assert!(report.cases() >= 500, "{}", report.said);
    assert_eq!(
        report.unreached,
        excused(),
        "operations that never succeeded, and those listed"
    );
}

async fn ten_thousand(key: Option<&str>) {
    let phases = ["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "100"];
    let report = examine(key, &[&phases[..], &["--generation-database", "none"]].concat()).await;
    println!("{}", report.said);
    assert!(report.cases() >= 10_000, "{}", report.said);
    assert_eq!(
        report.unreached,
        excused(),
        "operations that never succeeded, and those listed"
    );
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn ten_thousand_made_up_calls_are_answered_as_the_document_says() {
    ten_thousand(None).await;
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn ten_thousand_made_up_calls_with_a_key_are_answered_as_the_document_says() {
    ten_thousand(Some(KEY)).await;
}
