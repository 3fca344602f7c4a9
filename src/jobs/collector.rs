//! Runs the collector now and then; not while another one runs, here or in another replica.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::Code;
use crate::service::Service;
use crate::telemetry::{COLLECT_FAILURES, COLLECTED_BYTES, COLLECTED_OBJECTS};

/// Collects every `interval` until told to stop; the pause varies by a tenth, so that replicas
/// which started together drift apart.
pub async fn run(service: Service, interval: Duration, stop: CancellationToken) {
    loop {
        let pause = interval.mul_f64(0.9 + 0.2 * rand::random::<f64>());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        match service.collect_on_time().await {
            Ok(run) => {
                let count = |n: i64| u64::try_from(n).unwrap_or_default();
                metrics::counter!(COLLECTED_OBJECTS).increment(count(run.report.objects));
                metrics::counter!(COLLECTED_BYTES).increment(count(run.report.bytes));
                metrics::counter!(COLLECT_FAILURES).increment(count(run.report.failed_objects));
            }
            Err(error) if error.code() == Code::GcRunInProgress => {
                tracing::debug!("another run of the collector is under way, this one is left out");
            }
            Err(error) => {
                tracing::error!(error = %error, cause = error.cause_chain(), "the collector failed, it runs again later")
            }
        }
    }
}
