//! Signals and stopping: the first signal drains, the second one, or the end of the grace
//! period, aborts.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tells the parts of a process when to stop, and waits for them.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    /// Take on no new work; finish or hand back what is running.
    pub soft: CancellationToken,
    /// Stop now.
    pub hard: CancellationToken,
    pub tasks: TaskTracker,
}

impl Lifecycle {
    /// Waits for the first SIGINT or SIGTERM.
    ///
    /// # Errors
    /// When the process can't listen for signals.
    pub async fn signalled() -> std::io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping; once more to abort"),
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping; once more to abort"),
        }
        Ok(())
    }

    /// Stops everything: softly, and hard when the time is over. True when all work ended softly.
    pub async fn stop(&self, grace: std::time::Duration) -> bool {
        self.soft.cancel();
        self.tasks.close();
        let drained = tokio::time::timeout(grace, self.tasks.wait()).await.is_ok();
        self.hard.cancel();
        if !drained {
            // what listens to the hard token needs a moment to hand its work back
            let _ = tokio::time::timeout(std::time::Duration::from_secs(2), self.tasks.wait()).await;
        }
        drained
    }
}
