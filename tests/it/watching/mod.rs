//! How the service is watched: metrics, dashboard, alerts, webhooks, doctor, traces; and what is
//! under `deploy/`.

mod deploy;
mod doctor;
mod logs;
mod metrics;
mod own_process;
mod rules;
mod traces;
mod webhook_outages;
mod webhook_receiver;
pub mod webhooks;

use std::path::{Path, PathBuf};

/// A file of the repository.
fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The Python that can read YAML, PromQL and Kubernetes' schemas; `.ci/setup deploy` makes it.
fn python() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/deploy-venv/bin/python");
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    path
}

/// Runs a script of this directory with a text on its standard input; gives what it printed.
#[track_caller]
fn script(name: &str, input: &str) -> String {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/watching").join(name);
    let mut child = Command::new(python())
        .arg(script)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("written");
    drop(stdin);
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}
