//! The numbers of messages, fields and enums are Milvus': compared with those in pymilvus.

use std::process::Command;

use stillframe::milvus::{CALLS, UNSERVED};

use crate::support::python;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Runs a script with a file of the repository, the calls that are served, and those that are not; gives what it says.
fn run(script: &str, path: &str, unserved: &[String]) -> String {
    let output = Command::new(python())
        .arg(format!("{ROOT}/tests/it/milvus/{script}"))
        .arg(format!("{ROOT}/{path}"))
        .arg(CALLS.join(","))
        .arg(unserved.join(","))
        .output()
        .expect("Python starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn the_page_about_milvus_lists_every_method_of_pymilvus_client() {
    let unserved: Vec<String> = UNSERVED.iter().map(|(name, ..)| name.to_string()).collect();
    run("client_methods.py", "docs/milvus.md", &unserved);
}

#[test]
fn every_number_is_the_one_that_pymilvus_has_and_every_call_is_known() {
    let unserved: Vec<String> = UNSERVED.iter().map(|(name, _, shape)| format!("{name}:{shape:?}")).collect();
    let said = run("compare_numbers.py", "src/milvus/proto", &unserved);
    // something was compared
    let fields: usize = said.trim().rsplit(' ').nth(1).and_then(|n| n.parse().ok()).expect("a count");
    assert!(fields > 200, "{said}");
}
