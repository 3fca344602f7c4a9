//! The Python client and the examples of the user guide, against the real binary.

mod client;
mod guide;
mod spark;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::python;

/// The Python package.
fn package() -> PathBuf {
    root().join("clients/python")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Python that has the package.
fn interpreter() -> Command {
    let mut command = Command::new(python());
    command
        .env("PYTHONPATH", package().join("src"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    without_proxies(&mut command);
    command
}

fn without_proxies(command: &mut Command) {
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
}

/// Runs it to its end; gives what it printed.
#[track_caller]
fn succeeds(mut command: Command) -> String {
    let output = command.output().expect("runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}
