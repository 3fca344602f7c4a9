//! Runs the collector now and then; not while another one runs, here or in another replica.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::Code;
use crate::service::Service;

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
            Ok(_) => {}
            Err(error) if error.code() == Code::GcRunInProgress => {
                tracing::debug!("another run of the collector is under way, this one is left out");
            }
            Err(error) => {
                tracing::error!(error = %error, cause = error.cause_chain(), "the collector failed, it runs again later")
            }
        }
    }
}
