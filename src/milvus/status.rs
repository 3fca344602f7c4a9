//! Milvus' error codes and texts (facts §8). They are named nowhere else.
//!
//! Milvus answers every failure inside a successful answer: over gRPC in the message's `Status`,
//! over REST v2 in the envelope's `code` and `message`.

use super::proto::common::{ErrorCode, Status};
use crate::domain::error::Kind;
use crate::domain::restore::{JobKind, JobState, RestoreJob};
use crate::domain::{Code, Error};

/// Milvus' error codes, as far as they are answered here.
pub mod code {
    pub const SERVICE_UNAVAILABLE: i32 = 2;
    pub const SERVICE_INTERNAL: i32 = 5;
    pub const RATE_LIMIT: i32 = 8;
    pub const COLLECTION_NOT_FOUND: i32 = 100;
    pub const PARTITION_NOT_FOUND: i32 = 200;
    pub const CHANNEL_NOT_FOUND: i32 = 500;
    pub const SEGMENT_NOT_FOUND: i32 = 600;
    pub const INDEX_NOT_FOUND: i32 = 700;
    pub const INDEX_DUPLICATE: i32 = 702;
    pub const DATABASE_NOT_FOUND: i32 = 800;
    pub const IO_KEY_NOT_FOUND: i32 = 1000;
    pub const IO_FAILED: i32 = 1001;
    pub const PARAMETER_INVALID: i32 = 1100;
    pub const PARAMETER_MISSING: i32 = 1101;
    pub const PARAMETER_TOO_LARGE: i32 = 1102;
    pub const NOT_AUTHENTICATED: i32 = 1400;
    pub const PRIVILEGE_NOT_PERMITTED: i32 = 1401;
    pub const ALIAS_NOT_FOUND: i32 = 1600;
    /// A collection has the name.
    pub const ALIAS_NAME_TAKEN: i32 = 1601;
    /// An alias of another collection has it.
    pub const ALIAS_ALREADY_EXISTS: i32 = 1602;
    pub const FIELD_NOT_FOUND: i32 = 1700;
    /// REST v2 only: the body is not JSON.
    pub const BAD_JSON: i32 = 1801;
    /// REST v2 only: a field of the body is missing.
    pub const MISSING_BODY_FIELD: i32 = 1802;
    /// REST v2 only: what [`RATE_LIMIT`] is over gRPC.
    pub const REJECTED_BY_LIMITER: i32 = 1807;
    pub const IMPORT_FAILED: i32 = 2100;
    pub const NOT_SUPPORTED: i32 = 3000;
    pub const TIMEOUT: i32 = 10_001;
    /// Errors to which Milvus gives no code of their own.
    pub const UNTYPED: i32 = 65_535;
}

/// A call that failed, in Milvus' words.
#[derive(Debug)]
pub struct Refusal {
    code: i32,
    reason: String,
    retriable: bool,
    error: Option<Error>,
}

impl Refusal {
    /// With one of the [`code`]s and a text for the caller.
    pub fn new(code: i32, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            retriable: false,
            error: None,
        }
    }

    /// A parameter breaks a rule.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::new(code::PARAMETER_INVALID, reason)
    }

    /// A parameter is missing.
    pub fn missing(reason: impl Into<String>) -> Self {
        Self::new(code::PARAMETER_MISSING, reason)
    }

    pub fn code(&self) -> i32 {
        self.code
    }

    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The same as REST v2 says it.
    #[must_use]
    pub fn over_rest(mut self) -> Self {
        if self.code == code::RATE_LIMIT {
            self.code = code::REJECTED_BY_LIMITER;
            let why = self.error.as_ref().map(Error::detail).unwrap_or_default();
            self.reason = format!("request is rejected by limiter, error: rate limit exceeded: {why}");
        }
        self
    }

    /// Our own error behind it, where there is one.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// The same failure in other words.
    #[must_use]
    pub fn say(mut self, code: i32, reason: impl Into<String>) -> Self {
        self.code = code;
        self.reason = reason.into();
        self
    }

    /// Whether something here is broken, and not the request wrong: such a failure is logged.
    pub fn is_ours(&self) -> bool {
        matches!(
            self.code,
            code::SERVICE_UNAVAILABLE | code::SERVICE_INTERNAL | code::IO_FAILED | code::TIMEOUT
        )
    }

    /// As gRPC answers carry it.
    pub fn status(&self) -> Status {
        Status {
            error_code: legacy(self.code).into(),
            reason: self.reason.clone(),
            code: self.code,
            retriable: self.retriable,
            detail: self.reason.clone(),
            extra_info: Default::default(),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let ours = error.code();
        Self {
            code: of(ours),
            reason: format!("{}{}", words(ours), error.detail()),
            retriable: matches!(error.kind(), Kind::Unavailable | Kind::TooMany),
            error: Some(error),
        }
    }
}

/// The status of a call that succeeded.
pub fn success() -> Status {
    Status::default()
}

/// Milvus' code of one of ours. Where Milvus has several failures under one code, ours share it.
fn of(ours: Code) -> i32 {
    match ours {
        Code::Unauthenticated => code::NOT_AUTHENTICATED,
        Code::PermissionDenied | Code::HostNotAllowed | Code::CrossSiteRequest => code::PRIVILEGE_NOT_PERMITTED,
        Code::DatabaseNotFound => code::DATABASE_NOT_FOUND,
        Code::CollectionNotFound => code::COLLECTION_NOT_FOUND,
        Code::PartitionNotFound => code::PARTITION_NOT_FOUND,
        Code::ChannelNotFound => code::CHANNEL_NOT_FOUND,
        Code::SegmentNotFound => code::SEGMENT_NOT_FOUND,
        Code::IndexNotFound => code::INDEX_NOT_FOUND,
        Code::IndexAlreadyExists => code::INDEX_DUPLICATE,
        Code::AliasNotFound => code::ALIAS_NOT_FOUND,
        Code::AliasAlreadyExists => code::ALIAS_NAME_TAKEN,
        Code::DatabaseAlreadyExists | Code::DatabaseNotEmpty | Code::CollectionAlreadyExists => code::UNTYPED,
        Code::RestoreJobNotFound | Code::RestoreFailed | Code::RestoreJobEnded => code::IMPORT_FAILED,
        Code::SnapshotBeingRestored | Code::SnapshotInterrupted => code::SERVICE_INTERNAL,
        Code::FileMissing | Code::ExternalSnapshotNotFound => code::IO_KEY_NOT_FOUND,
        Code::FileSizeMismatch | Code::FileChanged | Code::CorruptSnapshot | Code::StorageUnavailable => code::IO_FAILED,
        Code::UnsupportedStorageVersion | Code::PartCopyUnsupported => code::NOT_SUPPORTED,
        Code::FlushTimeout => code::TIMEOUT,
        _ => by_kind(ours.kind()),
    }
}

/// The words with which Milvus, or its snapshot guide, begins the text of a failure: callers look for them.
fn words(ours: Code) -> &'static str {
    match ours {
        Code::InsufficientStorage => return "insufficient storage: ",
        // the guide says it of the object storage's credentials too
        Code::PermissionDenied | Code::StorageAccessDenied => return "permission denied: ",
        _ => {}
    }
    match of(ours) {
        code::COLLECTION_NOT_FOUND => "collection not found: ",
        code::PARTITION_NOT_FOUND => "partition not found: ",
        code::SEGMENT_NOT_FOUND => "segment not found: ",
        code::INDEX_NOT_FOUND => "index not found: ",
        code::DATABASE_NOT_FOUND => "database not found: ",
        code::ALIAS_NOT_FOUND => "alias not found: ",
        code::RATE_LIMIT => "request is rejected by grpc RateLimiter middleware, please retry later: rate limit exceeded: ",
        _ => "",
    }
}

/// Why a job failed or was cancelled, as Milvus' calls show it: behind the words of the snapshot guide. Empty of a
/// job that did neither.
pub fn job_reason(job: &RestoreJob) -> String {
    if !matches!(job.state, JobState::Failed | JobState::Cancelled) {
        return job.reason.clone();
    }
    let what = match job.kind {
        JobKind::Restore | JobKind::External | JobKind::Materialize => "restore",
        JobKind::Export => "export",
    };
    let ours = Code::ALL.iter().find(|code| job.error_code.as_deref() == Some(code.as_str()));
    let words = ours.map_or("", |code| words(*code));
    format!("{what} snapshot failed: {words}{}", job.reason)
}

fn by_kind(kind: Kind) -> i32 {
    match kind {
        Kind::TooLarge => code::PARAMETER_TOO_LARGE,
        Kind::Timeout => code::TIMEOUT,
        Kind::Refused | Kind::Full => code::IO_FAILED,
        Kind::Unavailable => code::SERVICE_UNAVAILABLE,
        Kind::TooMany => code::RATE_LIMIT,
        Kind::Internal => code::SERVICE_INTERNAL,
        Kind::MethodNotAllowed | Kind::UnsupportedMediaType => code::NOT_SUPPORTED,
        _ => code::PARAMETER_INVALID,
    }
}

/// The number by which older clients go.
fn legacy(code: i32) -> ErrorCode {
    match code {
        0 => ErrorCode::Success,
        code::COLLECTION_NOT_FOUND => ErrorCode::CollectionNotExists,
        code::PARTITION_NOT_FOUND => ErrorCode::MetaFailed,
        code::SEGMENT_NOT_FOUND => ErrorCode::SegmentNotFound,
        code::INDEX_NOT_FOUND => ErrorCode::IndexNotExist,
        code::RATE_LIMIT => ErrorCode::RateLimit,
        code::PARAMETER_INVALID | code::PARAMETER_MISSING | code::PARAMETER_TOO_LARGE => ErrorCode::IllegalArgument,
        _ => ErrorCode::UnexpectedError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_a_code_and_none_says_success() {
        for ours in Code::ALL {
            let refusal = Refusal::from(ours.error("why"));
            assert!(refusal.code() > 0, "{ours:?}");
            let status = refusal.status();
            assert_ne!(status.error_code, 0, "{ours:?}");
            assert_eq!(status.code, refusal.code());
            assert!(status.reason.ends_with("why"), "{status:?}");
        }
        assert_eq!((success().code, success().error_code), (0, 0));
    }

    #[test]
    fn the_snapshot_guides_words_stand_in_front() {
        for (ours, code, words) in [
            (Code::InsufficientStorage, code::IO_FAILED, "insufficient storage: why"),
            (
                Code::PermissionDenied,
                code::PRIVILEGE_NOT_PERMITTED,
                "permission denied: why",
            ),
            (Code::StorageAccessDenied, code::IO_FAILED, "permission denied: why"),
        ] {
            let refusal = Refusal::from(ours.error("why"));
            assert_eq!((refusal.code(), refusal.reason()), (code, words));
        }
    }
}
