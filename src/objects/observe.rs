//! Counts and times storage calls, and puts each into a span of its own.

use std::time::Instant;

use opendal::layers::{RetryEvent, RetryInterceptor};
use tracing::Instrument as _;

use super::copy::CopyOutcome;
use crate::domain::{Code, Error, Result};
use crate::telemetry::{STORAGE_CALLS, STORAGE_RETRIES, STORAGE_SECONDS};

/// What a storage call came to, for the label `outcome`.
pub(super) trait Outcome {
    fn outcome(&self) -> &'static str;
}

fn of_error(error: &Error) -> &'static str {
    match error.code() {
        Code::StorageAccessDenied => "refused",
        Code::InsufficientStorage => "full",
        Code::FileChanged => "changed",
        _ => "failed",
    }
}

impl<T> Outcome for Result<T> {
    fn outcome(&self) -> &'static str {
        self.as_ref().map_or_else(of_error, |_| "ok")
    }
}

impl Outcome for Result<(), CopyOutcome> {
    fn outcome(&self) -> &'static str {
        match self {
            Ok(()) => "ok",
            Err(CopyOutcome::SourceMissing) => "missing",
            Err(CopyOutcome::Throttled(_)) => "throttled",
            Err(CopyOutcome::Retry(error) | CopyOutcome::Fail(error)) => of_error(error),
        }
    }
}

/// Counts and times a call. One that is dropped before its end counts nowhere.
pub(super) async fn observed<T>(operation: &'static str, call: impl Future<Output = T>) -> T
where
    T: Outcome,
{
    let began = Instant::now();
    let span = tracing::info_span!("storage", operation, outcome = tracing::field::Empty);
    let done = call.instrument(span.clone()).await;
    span.record("outcome", done.outcome());
    metrics::counter!(STORAGE_CALLS, "operation" => operation, "outcome" => done.outcome()).increment(1);
    metrics::histogram!(STORAGE_SECONDS, "operation" => operation).record(began.elapsed().as_secs_f64());
    done
}

/// Counts the tries of the library and logs them.
pub(super) struct CountRetries;

impl RetryInterceptor for CountRetries {
    fn intercept(&self, event: RetryEvent<'_>) {
        metrics::counter!(STORAGE_RETRIES).increment(1);
        tracing::debug!(error = %event.err, "the object storage failed, trying again");
    }
}
