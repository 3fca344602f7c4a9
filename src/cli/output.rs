//! Standard output. A reader that has seen enough (`| head`) is no error and no panic.

use std::io::{ErrorKind, Write as _};

use serde_json::Value;

use super::failure::Failure;

/// Prints text and a line end, at once.
pub fn line(text: &str) -> Result<(), Failure> {
    write(&[text.as_bytes(), b"\n"])
}

/// Prints bytes as they are.
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    write(&[bytes])
}

fn write(pieces: &[&[u8]]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = pieces.iter().try_for_each(|piece| out.write_all(piece));
    written.and_then(|()| out.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::ReaderGone,
        _ => Failure::Other(anyhow::Error::new(error).context("can't write to standard output")),
    })
}

/// Prints JSON for programs; indented, since people read it too.
pub fn json(value: &Value) -> Result<(), Failure> {
    line(&format!("{value:#}"))
}
