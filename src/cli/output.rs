//! Standard output. A reader that has seen enough (`| head`) is no error and no panic.

use std::io::{ErrorKind, Write as _};

use serde_json::Value;

use super::failure::Failure;

/// Prints text and a line end, at once.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::ReaderGone,
        _ => Failure::Other(anyhow::Error::new(error).context("can't write to standard output")),
    })
}

/// Prints JSON for programs; indented, since people read it too.
pub fn json(value: &Value) -> Result<(), Failure> {
    line(&format!("{value:#}"))
}
