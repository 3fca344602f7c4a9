//! Hears from Postgres which jobs have changed and lets the listeners of this process know.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio_util::sync::CancellationToken;

use crate::domain::id::JobId;
use crate::service::Service;

/// Pause before another try to listen; watched jobs are looked at every second meanwhile.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens until told to stop, then ends every event stream, so that none holds the process.
pub async fn run(service: Service, pool: PgPool, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = listen(&service, &pool) => {}
    }
    service.end_watches();
}

async fn listen(service: &Service, pool: &PgPool) {
    loop {
        if let Err(error) = hear(service, pool).await {
            tracing::warn!(%error, "can't listen for changes of jobs, looking at them every second");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn hear(service: &Service, pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen("stillframe_jobs").await?;
    // what happened before somebody listened
    service.look_at(None);
    loop {
        let id = listener.recv().await?.payload().parse().ok().map(JobId);
        service.look_at(id);
    }
}
