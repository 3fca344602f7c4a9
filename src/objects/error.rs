//! From a storage library's error to ours: the user guide's own words where they fit.

use std::error::Error as _;
use std::io;

use crate::domain::{Code, Error};

/// Says which of our errors a failed storage call is; `what` names the call and its key.
pub fn storage_error(what: &str, error: opendal::Error) -> Error {
    let (code, text) = if is_full(&error) {
        (Code::InsufficientStorage, "the object storage has no room left")
    } else {
        match error.kind() {
            opendal::ErrorKind::PermissionDenied => (Code::StorageAccessDenied, "the object storage refused access"),
            opendal::ErrorKind::NotFound => (Code::StorageUnavailable, "the object storage has no such object or bucket"),
            opendal::ErrorKind::RateLimited => (Code::StorageUnavailable, "the object storage asks to slow down"),
            _ => (Code::StorageUnavailable, "the object storage did not do it"),
        }
    };
    code.error(format!("{what}: {text}")).because(error)
}

/// The same for a call of the standard library on local storage.
pub fn io_error(what: &str, error: io::Error) -> Error {
    let (code, text) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (Code::InsufficientStorage, "the object storage has no room left")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (Code::StorageAccessDenied, "the object storage refused access")
        }
        io::ErrorKind::NotFound => (Code::StorageUnavailable, "the object storage has no such object"),
        _ => (Code::StorageUnavailable, "the object storage did not do it"),
    };
    code.error(format!("{what}: {text}")).because(error)
}

/// Whether the store asks to slow down: 429, any 503, or a code that says so.
pub(super) fn is_throttle(error: &opendal::Error) -> bool {
    error.kind() == opendal::ErrorKind::RateLimited || says(error, "status: 503")
}

/// Whether an error's text, which shows the status and the body of the answer, has these words:
/// the library has no kind of its own for them.
pub(super) fn says(error: &opendal::Error, words: &str) -> bool {
    error.to_string().contains(words)
}

fn is_full(error: &opendal::Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>()
            && matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        {
            return true;
        }
        next = cause.source();
    }
    // S3 servers have no common code for a full disk; these are the ones of MinIO, Ceph and AWS
    let text = error.to_string();
    [
        "XMinioStorageFull",
        "QuotaExceeded",
        "InsufficientStorage",
        "EntityTooLargeForQuota",
    ]
    .iter()
    .any(|code| text.contains(code))
}
