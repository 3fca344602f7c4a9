//! The composition root: from settings to a running service.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::api::{self, ApiState, RequestLimits};
use crate::config::Config;
use crate::crash_point;
use crate::domain::access::{Grant, Permission, Principal, PrincipalKind};
use crate::domain::audit::{AuditOutcome, NewAuditEvent};
use crate::domain::rebuild::RebuildReport;
use crate::jobs::{Deliverer, Worker, WorkerSettings, run_collector, run_job_watch};
use crate::lifecycle::Lifecycle;
use crate::milvus::{self, Facade, MilvusSettings};
use crate::objects::marker::{self, Owner};
use crate::objects::{Objects, StorageOptions, StorageUrl};
use crate::private_postgres::{self, PrivatePostgres};
use crate::service::{Auth, CreatedKey, NewApiKey, Service, ServiceSettings, Stores, insert_key};
use crate::serving::{self, Serving};
use crate::tls::TlsSettings;
use crate::{store, telemetry};

mod webhook_key;

/// A running service.
#[derive(Debug)]
pub struct App {
    address: SocketAddr,
    lifecycle: Lifecycle,
    pool: PgPool,
    objects: Objects,
    postgres: Option<PrivatePostgres>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
    config: Config,
}

/// The parts of a running service that need stopping.
type Started = (
    SocketAddr,
    Lifecycle,
    PgPool,
    Objects,
    tokio::task::JoinHandle<std::io::Result<()>>,
);

/// How long stopping waits for multipart uploads to be aborted.
const ABORTS: std::time::Duration = std::time::Duration::from_secs(10);

impl App {
    /// Starts Postgres where it is private, migrates, opens and probes the storage, starts the
    /// background work, and listens.
    ///
    /// # Errors
    /// The first thing that does not work; nothing is left running.
    pub async fn start(mut config: Config) -> anyhow::Result<Self> {
        // first of all: nothing is made for a service that can't be reached
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("can't listen on {}; --listen takes another address", config.listen))?;
        let (postgres, url) = match &config.database_url {
            Some(url) => (None, url.clone()),
            None => {
                let settings = private_postgres::Settings {
                    data_dir: config.data_dir.join("postgres"),
                    fsync: config.fsync,
                    max_connections: config.max_connections + 10,
                };
                let postgres = PrivatePostgres::start(&settings)
                    .await
                    .context("the private Postgres did not start")?;
                let url = postgres.database_url().to_string();
                (Some(postgres), url)
            }
        };
        let kept = match (&postgres, &config.service.webhook_key) {
            (Some(_), None) => webhook_key::kept_in(&config.data_dir).map(|key| config.service.webhook_key = Some(key)),
            _ => Ok(()),
        };
        let started = match kept {
            Ok(()) => Self::start_with(&config, &url, listener).await,
            Err(error) => Err(error),
        };
        match started {
            Ok((address, lifecycle, pool, objects, server)) => Ok(Self {
                address,
                lifecycle,
                pool,
                objects,
                postgres,
                server,
                config,
            }),
            Err(error) => {
                if let Some(postgres) = postgres {
                    postgres.stop().await.context("while stopping after an error")?;
                }
                Err(error)
            }
        }
    }

    async fn start_with(config: &Config, url: &str, listener: TcpListener) -> anyhow::Result<Started> {
        let pool = connect(url, config.max_connections).await?;
        migrate(&pool, config.migrate).await?;
        let catalog_id = store::catalog::id(&mut *pool.acquire().await?).await?;
        let objects = Objects::open(config.storage.clone(), config.storage_options.clone())?;
        objects
            .probe()
            .await
            .map_err(explained)
            .context("the object storage is not usable")?;
        let in_use = store::catalog::is_in_use(&mut *pool.acquire().await?).await?;
        let owner = marker::owner(&objects).await.map_err(explained)?;
        if config.take_over && owner != Owner::Nobody && owner != Owner::Catalog(catalog_id) {
            // what the other catalog knew is not known here; first, since after a crash in between nobody would say it
            store::orphans::set_may_delete(&mut *pool.acquire().await?, false).await?;
        }
        marker::claim(&objects, catalog_id, in_use, config.take_over)
            .await
            .map_err(explained)?;
        crash_point::reached("serve.claimed");
        objects.sweep_temporary().await?;
        tracing::info!(
            storage = %objects.url(), fsync = ?objects.local_fsync(), %catalog_id,
            "storage probed: write, copy, read, list and delete work"
        );

        let stores = open_stores(config, &objects).await?;
        let auth = Auth::new(config.auth.clone()).context("the file of the audit log can't be opened")?;
        let service = Service::new(pool.clone(), objects.clone(), config.service.clone())
            .with_stores(stores)
            .with_auth(auth);
        let lifecycle = Lifecycle::default();
        if config.workers > 0 {
            let settings = WorkerSettings {
                slots: config.workers,
                lease: config.service.task_lease,
                poll: std::time::Duration::from_secs(1),
                listen: Some(pool.clone()),
            };
            let worker = Worker::new(service.clone(), settings, lifecycle.soft.clone(), lifecycle.hard.clone());
            lifecycle.tasks.spawn(worker.run());
        }
        lifecycle
            .tasks
            .spawn(run_job_watch(service.clone(), pool.clone(), lifecycle.soft.clone()));
        if let Some(interval) = config.gc_interval {
            lifecycle
                .tasks
                .spawn(run_collector(service.clone(), interval, lifecycle.soft.clone()));
        }

        if config.service.webhook_key.is_some() {
            let deliverer = Deliverer::new(service.clone())?;
            lifecycle.tasks.spawn(deliverer.run(lifecycle.soft.clone()));
        }
        let metrics = telemetry::start_metrics()?;
        let (upkeep, stop) = (telemetry::keep_metrics_small(metrics.clone()), lifecycle.soft.clone());
        lifecycle.tasks.spawn(async move { stop.run_until_cancelled(upkeep).await });
        let state = ApiState { service, metrics };
        let router = router(state, config.limits.clone(), config.milvus);
        let address = listener.local_addr()?;
        let stop = lifecycle.soft.clone();
        let limits = Serving {
            max_clients: serving::clients_that_fit(config.serving.max_clients),
            ..config.serving.clone()
        };
        let tls = config.tls.as_ref().map(TlsSettings::load).transpose();
        let tls = tls.context("TLS can't be set up")?.map(TlsAcceptor::from);
        let server = tokio::spawn(async move { serving::serve(listener, tls, router, limits, stop).await });
        let url = base_url(config, address);
        tracing::info!(%url, docs = %format!("{url}/docs"), auth = config.auth.required, "listening");
        if !config.auth.required && !address.ip().is_loopback() && config.auth.doors.hosts.is_empty() {
            tracing::info!("asked for under a name with a dot the service refuses; --allowed-hosts names those that are its own");
        }
        if config.auth.required && config.tls.is_none() && !address.ip().is_loopback() {
            tracing::warn!("keys and tokens come without TLS; set --tls-cert, or let a proxy speak TLS");
        }
        Ok((address, lifecycle, pool, objects, server))
    }

    /// Base URL of the API.
    pub fn url(&self) -> String {
        base_url(&self.config, self.address)
    }

    /// Runs until a signal, then stops.
    ///
    /// # Errors
    /// When the server ended by itself, or stopping failed.
    pub async fn run_until_signal(mut self) -> anyhow::Result<()> {
        tokio::select! {
            signalled = Lifecycle::signalled() => signalled?,
            ended = &mut self.server => {
                ended?.context("the HTTP server failed")?;
                anyhow::bail!("the HTTP server ended by itself");
            }
            () = postgres_ended(self.postgres.as_ref()) => {
                // whoever supervises this process starts it again, and Postgres with it
                anyhow::bail!("the private Postgres has ended, see postgres.log in the data directory; nothing is lost, start the service again");
            }
        }
        let stopping = self.stop();
        tokio::select! {
            stopped = stopping => stopped,
            signalled = Lifecycle::signalled() => {
                signalled?;
                anyhow::bail!("aborted by a second signal");
            }
        }
    }

    /// Stops: no new work, running work ends or is handed back, then the private Postgres.
    ///
    /// # Errors
    /// When Postgres did not stop.
    pub async fn stop(self) -> anyhow::Result<()> {
        let drained = self.lifecycle.stop(self.config.shutdown).await;
        if !drained {
            tracing::warn!("work was still running at the end of the grace period and was handed back");
        }
        self.objects.settle(ABORTS).await;
        // idle keep-alive connections must not hold the process
        let abort = self.server.abort_handle();
        if tokio::time::timeout(std::time::Duration::from_secs(2), self.server)
            .await
            .is_err()
        {
            abort.abort();
        }
        self.pool.close().await;
        if let Some(postgres) = self.postgres {
            postgres.stop().await?;
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Everything that is served on the one port: REST, and Milvus' API over gRPC.
pub fn router(state: ApiState, limits: RequestLimits, settings: MilvusSettings) -> axum::Router {
    // one for both: whoever speaks both APIs has no more than who speaks one
    let lent = limits.lent(&state.service);
    let facade = Facade {
        service: state.service.clone(),
        settings,
        limits: lent.clone(),
    };
    api::router_with(state, limits, lent, document()).merge(milvus::router(facade))
}

/// The OpenAPI document of everything that is served over REST.
pub fn document() -> utoipa::openapi::OpenApi {
    api::document().merge_from(milvus::openapi())
}

/// The same as text, in OpenAPI 3.1, or in 3.0 for generators that need it.
pub fn document_text(as_30: bool) -> String {
    api::text_of(&document(), as_30)
}

/// What a rebuild of the catalog works on.
#[derive(Debug, Clone)]
pub struct RebuildSettings {
    pub data_dir: PathBuf,
    /// None: the private Postgres under the data directory.
    pub database_url: Option<String>,
    pub storage: StorageUrl,
    pub storage_options: StorageOptions,
    /// Take the storage over from the catalog that its marker names.
    pub take_over: bool,
}

/// Rebuilds an empty catalog from the snapshots in the storage; see `Service::rebuild_catalog`.
///
/// # Errors
/// When the database or the storage does not answer, the storage belongs to another catalog and is not to be taken
/// over, or the catalog is not empty. Nothing is entered then.
pub async fn rebuild(settings: &RebuildSettings) -> anyhow::Result<RebuildReport> {
    let postgres = match settings.database_url {
        Some(_) => None,
        None => {
            let settings = private_postgres::Settings {
                data_dir: settings.data_dir.join("postgres"),
                fsync: true,
                max_connections: 10,
            };
            let started = PrivatePostgres::start(&settings).await;
            Some(started.context("the private Postgres did not start")?)
        }
    };
    let url = match (&settings.database_url, &postgres) {
        (Some(url), _) => url.clone(),
        (None, Some(postgres)) => postgres.database_url().to_string(),
        (None, None) => unreachable!("one of them is there"),
    };
    let done = rebuild_at(&url, settings).await;
    if let Some(postgres) = postgres {
        postgres.stop().await?;
    }
    done
}

async fn rebuild_at(url: &str, settings: &RebuildSettings) -> anyhow::Result<RebuildReport> {
    let pool = connect(url, 5).await?;
    migrate(&pool, true).await?;
    let objects = Objects::open(settings.storage.clone(), settings.storage_options.clone())?;
    let catalog_id = store::catalog::id(&mut *pool.acquire().await?).await?;
    let service = Service::new(pool.clone(), objects.clone(), ServiceSettings::default());
    service.check_catalog_is_empty().await.map_err(explained)?;
    objects
        .probe()
        .await
        .map_err(explained)
        .context("the object storage is not usable")?;
    marker::claim(&objects, catalog_id, false, settings.take_over)
        .await
        .map_err(explained)?;
    let report = service.rebuild_catalog().await.map_err(explained)?;
    pool.close().await;
    Ok(report)
}

/// Opens the stores that exports write to and restores read from. They are not probed: one that can
/// only be read is good for restores.
async fn open_stores(config: &Config, own: &Objects) -> anyhow::Result<Stores> {
    let mut named = BTreeMap::new();
    for (name, (url, credentials)) in &config.stores.named {
        let opened = own.beside(url.clone(), credentials.clone(), false).map_err(explained);
        let opened = opened.with_context(|| format!("--store {name} can't be opened"))?;
        opened.sweep_temporary().await?;
        tracing::info!(store = name, storage = %opened.url(), "store for exports and restores of bundles");
        named.insert(name.clone(), opened);
    }
    Ok(Stores::new(named, &config.stores.endpoints, config.stores.sealer.clone()))
}

fn base_url(config: &Config, address: SocketAddr) -> String {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{address}")
}

/// Ends when the private Postgres does; never where there is none.
async fn postgres_ended(postgres: Option<&PrivatePostgres>) {
    match postgres {
        Some(postgres) => postgres.ended().await,
        None => std::future::pending().await,
    }
}

/// An error of ours with its internal cause: at start the operator reads it, not a client.
fn explained(error: crate::domain::Error) -> anyhow::Error {
    let cause = error.cause_chain();
    if cause.is_empty() {
        anyhow::Error::new(error)
    } else {
        anyhow::anyhow!("{error} ({cause})")
    }
}

/// What every session is set to. The server notices within half a minute that a host is gone, and
/// frees what it held; on a Unix socket, where that is noticed at once, the last four do nothing.
const SESSION: [(&str, &str); 6] = [
    ("lock_timeout", "60s"),
    ("idle_in_transaction_session_timeout", "300s"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "30000"),
];

/// Opens the connection pool.
///
/// # Errors
/// When the URL can't be read or the database does not answer.
pub async fn connect(url: &str, max_connections: u32) -> anyhow::Result<PgPool> {
    let options: PgConnectOptions = url.parse().context("the database URL can't be read")?;
    let options = options
        .application_name("stillframe")
        .disable_statement_logging()
        .options(SESSION);
    // once without the pool, which would hide why it does not work
    let first = PgConnection::connect_with(&options)
        .await
        .context("the catalog database does not answer")?;
    first.close().await?;
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(std::time::Duration::from_secs(10))
        .connect_with(options)
        .await
        .context("the catalog database does not answer")
}

/// Who makes a key without a service, as its row and the audit log say.
const IN_DATABASE: &str = "stillframe key create";

/// Makes an API key in a catalog database, without a running service. It stands in the audit log as every other: in the
/// table, as no service is there that would write lines.
///
/// # Errors
/// When the database does not answer, lacks migrations, or the key is refused.
pub async fn create_key(url: &str, name: &str, grants: Vec<Grant>, ttl_seconds: Option<i64>) -> anyhow::Result<CreatedKey> {
    let pool = connect(url, 1).await?;
    migrate(&pool, false).await?;
    let new = NewApiKey {
        name: name.into(),
        grants,
        ttl_seconds,
    };
    let mut tx = pool.begin().await?;
    let created = insert_key(&mut tx, new, IN_DATABASE).await.map_err(explained)?;
    let mut event = NewAuditEvent::begin("create_key", Some(Permission::Administer));
    event.by(&Principal::unrestricted(PrincipalKind::Service));
    event.path = IN_DATABASE.into();
    event.subject = Some(format!("key {}", created.key.key_id));
    event.outcome = AuditOutcome::Ok.as_str();
    store::audit::insert(&mut tx, &event).await.map_err(explained)?;
    tx.commit().await?;
    pool.close().await;
    Ok(created)
}

/// Applies missing migrations under sqlx' advisory lock, or refuses when they are missing.
///
/// # Errors
/// When a migration fails, or is missing and `apply` is false.
pub async fn migrate(pool: &PgPool, apply: bool) -> anyhow::Result<()> {
    if apply {
        return store::MIGRATOR
            .run(pool)
            .await
            .context("migrating the catalog database failed");
    }
    let applied = store::catalog::applied_migrations(pool).await?;
    let missing: Vec<i64> = store::MIGRATOR
        .iter()
        .map(|m| m.version)
        .filter(|v| !applied.contains(v))
        .collect();
    anyhow::ensure!(
        missing.is_empty(),
        "migrations are missing: {missing:?}; run `stillframe migrate`, or serve without --no-migrate"
    );
    Ok(())
}
