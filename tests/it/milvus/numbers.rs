//! The numbers of messages, fields and enums are Milvus': compared with those in pymilvus.

use std::process::Command;

use stillframe::milvus::{CALLS, UNSERVED};

use crate::support::python;

#[test]
fn every_number_is_the_one_that_pymilvus_has() {
    let root = env!("CARGO_MANIFEST_DIR");
    let calls: Vec<&str> = CALLS.to_vec();
    let unserved: Vec<String> = UNSERVED.iter().map(|(name, _, shape)| format!("{name}:{shape:?}")).collect();
    let output = Command::new(python())
        .arg(format!("{root}/tests/it/milvus/compare_numbers.py"))
        .arg(format!("{root}/src/milvus/proto"))
        .arg(calls.join(","))
        .arg(unserved.join(","))
        .output()
        .expect("Python starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // something was compared
    let fields: usize = said.trim().rsplit(' ').nth(1).and_then(|n| n.parse().ok()).expect("a count");
    assert!(fields > 200, "{said}");
}
