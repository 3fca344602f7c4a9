//! What both stored formats share: full keys, and errors about what a file says.

use std::fmt::Display;

use crate::domain::{Code, Error, Result, key};

/// Bytes of an object key at most; S3's limit.
pub(super) const MAX_KEY_LENGTH: usize = 1024;

/// An error about a stored file: it can't be read, or says something it must not say.
pub(super) fn corrupt(what: impl Display) -> Error {
    Code::CorruptSnapshot.error(what.to_string())
}

/// The full key of a path: as it stands in the files, the root included (facts §4.3).
pub(super) fn full_key(root: &str, path: &str) -> String {
    if root.is_empty() {
        path.to_string()
    } else {
        format!("{root}/{path}")
    }
}

/// The path, relative to the root, of a full key read from a file.
///
/// # Errors
/// `corrupt_snapshot` when the key is too long, lies outside the root, or breaks a rule of
/// [`key::check`]; `what` names the place.
pub(super) fn strip_root<'a>(root: &str, what: &str, full: &'a str) -> Result<&'a str> {
    if full.len() > MAX_KEY_LENGTH {
        return Err(corrupt(format_args!(
            "{what} has {} bytes, at most {MAX_KEY_LENGTH} are allowed",
            full.len()
        )));
    }
    let path = if root.is_empty() {
        Some(full)
    } else {
        full.strip_prefix(root).and_then(|rest| rest.strip_prefix('/'))
    };
    let path = path.ok_or_else(|| corrupt(format_args!("{what} {full:?} lies outside the storage root {root:?}")))?;
    key::check(path).map_err(|why| corrupt(format_args!("{what} {full:?} {why}")))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_inside_the_root_loses_it() {
        for (root, full) in [("", "a/b"), ("files", "files/a/b"), ("x/y", "x/y/a/b")] {
            assert_eq!(full_key(root, "a/b"), full);
            assert_eq!(strip_root(root, "key", full).expect("inside"), "a/b");
        }
    }

    #[test]
    fn hostile_keys_are_refused() {
        let long = format!("files/{}", "a".repeat(MAX_KEY_LENGTH));
        for full in [
            "a/b",
            "files",
            "files/",
            "filesx/a",
            "files//a",
            "/files/a",
            "files/../a",
            "files/a/..",
            "s3://files/a",
            "files/s3://a",
            "files/a\u{0}",
            "files\\a",
            &long,
        ] {
            let error = strip_root("files", "log_path", full).expect_err(full);
            assert_eq!(error.code(), Code::CorruptSnapshot);
            assert!(error.to_string().starts_with("log_path "), "{error}");
        }
    }
}
