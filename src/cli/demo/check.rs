//! Checks that name what is wrong.

use super::super::failure::Failure;

/// A check that failed.
pub fn failed(what: impl std::fmt::Display) -> Failure {
    Failure::Other(anyhow::anyhow!("check failed: {what}"))
}

/// Both must be the same.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, found: &T) -> Result<(), Failure> {
    if expected == found {
        return Ok(());
    }
    Err(failed(format!("{what}: expected {expected:?}, found {found:?}")))
}
