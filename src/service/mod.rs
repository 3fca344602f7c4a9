//! Use cases. They own transactions and the order of effects between Postgres and object storage.

mod aliases;
mod auth;
mod catalog_state;
mod channels;
mod child_deletes;
mod collections;
mod create;
mod create_write;
mod databases;
mod explain;
mod export;
mod export_run;
mod external;
mod external_check;
mod external_read;
mod external_spec;
mod flush;
mod gauges;
pub mod gc;
mod health;
mod idempotency;
mod indexes;
mod job_watch;
mod materialize;
mod materialize_lay_out;
mod materialize_publish;
mod new_ids;
mod paths;
mod pins;
mod plan;
mod receipt;
mod registration;
pub mod restore;
mod restore_check;
mod restore_control;
mod restore_copy;
mod restore_prove;
mod restore_prove_again;
mod restore_run;
mod restore_validate;
mod sealed;
mod segments;
mod snapshots;
mod source;
mod store_uri;
mod stored;
mod stores;
mod throttle;
mod usage;
mod verify;
mod webhooks;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres, Transaction};

use crate::domain::Result;
use crate::domain::access::Caller;
use crate::domain::manifest::ManifestEncoding;
use crate::domain::webhook::WebhookKey;
use crate::objects::Objects;
use crate::store;

pub use auth::{
    AuditLines, AuditSettings, Auth, AuthSettings, CallOrigin, CallRecord, CreatedKey, NewApiKey, OidcSettings, Secret,
    insert_key,
};
pub use catalog_state::CatalogState;
pub use collections::{CollectionChange, CollectionDescription, NewCollection};
pub use create::{CreateSnapshot, CreatedSnapshot};
pub use export::ExportRequest;
pub use external::ExternalRequest;
pub use external_spec::ExternalSpec;
pub use flush::Flushed;
pub use gc::CollectRequest;
pub use idempotency::{Begun, ConditionLock, KeyedCall, StoredAnswer};
pub use indexes::{IndexChange, IndexCoverage, NewIndex};
pub use job_watch::{JobWatch, MAX_LISTENERS, MAX_OF_ONE};
pub use materialize::MaterializeRequest;
pub use registration::{Check, NewBuild, NewSegment, PartitionRef};
pub use restore::{JobTarget, RestoreRequest};
pub use restore_control::ControlChange;
pub use restore_copy::CopyProgress;
pub use restore_run::Outcome;
pub use sealed::Sealer;
pub use segments::{Compacted, Compaction, SegmentChange};
pub use snapshots::{SnapshotChange, SnapshotDetails, SnapshotList, SnapshotRef};
pub use stored::{Adopt, Adopted};
pub use stores::Stores;
pub use webhooks::Tried;

/// What use cases may be told by the configuration.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    pub manifest_encoding: ManifestEncoding,
    /// Lease of a snapshot being written.
    pub create_lease: Duration,
    /// Lease of a task of a restore job.
    pub task_lease: Duration,
    /// Seconds for which dropped things are kept.
    pub gc_grace_seconds: i64,
    /// How long a run of the collector that was asked for waits for one that is under way.
    pub gc_patience: Duration,
    /// Seconds for which objects without a row are left alone.
    pub orphan_tolerance_seconds: i64,
    /// Seconds between the looks for them.
    pub orphan_interval_seconds: i64,
    /// Files of one segment copied at the same time; the storage bounds those of all.
    pub copy_concurrency: usize,
    /// Tries of one file before its task fails.
    pub copy_tries: u32,
    /// First pause between tries of a file; doubles.
    pub copy_backoff: Duration,
    /// Failed attempts of a task before its job fails.
    pub task_failures: i32,
    /// How long a task tries in vain to reach a storage or a database that does not answer, since the last
    /// file that it copied, before its job fails; pauses, which grow to a minute, count, and time
    /// without a worker does not.
    pub outage_patience: Duration,
    /// Attempts in a row of a task to which the storage refuses access before its job fails.
    /// Credentials that expire may come back; a job that has copied nothing fails at once.
    pub denied_tries: i32,
    /// Listings at the same time by one call.
    pub list_concurrency: usize,
    /// Seconds for which ended jobs and runs are kept.
    pub history_seconds: i64,
    /// Bytes that the owned files of the catalog may take; none: no limit.
    pub quota_bytes: Option<u64>,
    /// Collections whose newest snapshot's age is a metric, at most.
    pub metrics_collections: i64,
    /// What secrets of webhooks are derived from; none: there are no webhooks.
    pub webhook_key: Option<WebhookKey>,
    /// Webhooks may lead to loopback, private and link-local addresses.
    pub webhook_private_addresses: bool,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            manifest_encoding: ManifestEncoding::Container,
            create_lease: Duration::from_secs(60),
            task_lease: Duration::from_secs(30),
            gc_grace_seconds: 3 * 3600,
            gc_patience: Duration::from_secs(30),
            orphan_tolerance_seconds: 7 * 24 * 3600,
            orphan_interval_seconds: 24 * 3600,
            copy_concurrency: 32,
            copy_tries: 5,
            copy_backoff: Duration::from_millis(100),
            task_failures: 3,
            outage_patience: Duration::from_secs(24 * 3600),
            denied_tries: 10,
            list_concurrency: 16,
            history_seconds: 30 * 24 * 3600,
            quota_bytes: None,
            metrics_collections: 100,
            webhook_key: None,
            webhook_private_addresses: false,
        }
    }
}

/// The use cases, as the service itself uses them, or as one call of somebody does
/// ([`Service::called_by`]). Cheap to clone: every layer that a request passes does it.
#[derive(Debug, Clone)]
pub struct Service {
    shared: Arc<Shared>,
    caller: Caller,
}

/// What all clones share.
#[derive(Debug, Clone)]
pub struct Shared {
    pool: PgPool,
    objects: Objects,
    settings: Arc<ServiceSettings>,
    stores: Arc<Stores>,
    watches: Arc<job_watch::Watches>,
    /// Held by what collects.
    collecting: Arc<tokio::sync::Mutex<()>>,
    /// Turns of verifications, which read much.
    verifying: Arc<tokio::sync::Semaphore>,
    /// Turns of the ends of copy tasks.
    ending: Arc<tokio::sync::Semaphore>,
    counts: Arc<gauges::Cache<crate::domain::gauges::Gauges>>,
    bytes: Arc<gauges::Cache<crate::domain::usage::Usage>>,
    /// Whether it could do its work, a moment ago.
    looked: Arc<tokio::sync::Mutex<Option<health::Look>>>,
    looks: Arc<catalog_state::Looks>,
    auth: Arc<Auth>,
}

impl Deref for Service {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Service {
    pub fn new(pool: PgPool, objects: Objects, settings: ServiceSettings) -> Self {
        let shared = Shared {
            pool,
            objects,
            settings: Arc::new(settings),
            stores: Arc::default(),
            watches: Arc::default(),
            collecting: Arc::default(),
            verifying: Arc::new(tokio::sync::Semaphore::new(verify::AT_ONCE)),
            ending: Arc::new(tokio::sync::Semaphore::new(restore_copy::ENDS_AT_ONCE)),
            counts: Arc::default(),
            bytes: Arc::default(),
            looked: Arc::default(),
            looks: Arc::default(),
            auth: Arc::new(Auth::off()),
        };
        Self {
            shared: Arc::new(shared),
            caller: Caller::service(),
        }
    }

    /// With stores beside its own, for exports and restores of bundles.
    #[must_use]
    pub fn with_stores(mut self, stores: Stores) -> Self {
        Arc::make_mut(&mut self.shared).stores = Arc::new(stores);
        self
    }

    /// With authentication, and what else is set of it.
    #[must_use]
    pub fn with_auth(mut self, auth: Auth) -> Self {
        Arc::make_mut(&mut self.shared).auth = Arc::new(auth);
        self
    }

    /// A service whose database nobody reaches, for tests of what stands before it.
    #[cfg(test)]
    pub fn on_nothing() -> Self {
        let pool = PgPool::connect_lazy("postgres://127.0.0.1:1/none").expect("a URL");
        let objects = Objects::open(crate::objects::StorageUrl::Memory, crate::objects::StorageOptions::default());
        Self::new(pool, objects.expect("opens"), ServiceSettings::default())
    }

    pub fn settings(&self) -> &ServiceSettings {
        &self.settings
    }

    async fn conn(&self) -> Result<PoolConnection<Postgres>> {
        self.pool.acquire().await.map_err(store::failed)
    }

    async fn begin(&self) -> Result<Transaction<'static, Postgres>> {
        self.pool.begin().await.map_err(store::failed)
    }
}

async fn commit(tx: Transaction<'static, Postgres>) -> Result<()> {
    tx.commit().await.map_err(store::failed)
}
