//! Settings of `stillframe serve`: command line and environment, validated once, passed by value.

mod security;
mod stores;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use self::stores::StoresConfig;
use crate::api::{Rate, RequestLimits};
use crate::domain::manifest::ManifestEncoding;
use crate::domain::webhook::WebhookKey;
use crate::milvus::MilvusSettings;
use crate::objects::{CopyFallback, SINGLE_COPY_MAX, StorageOptions, StorageUrl};
use crate::service::{AuthSettings, ServiceSettings};
use crate::serving::Serving;
use crate::telemetry::{LogFormat, TraceSettings};
use crate::tls::TlsSettings;

pub use security::SecurityArgs;

/// How manifests are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ManifestEncodingText {
    /// Avro object container files: any Avro reader opens them.
    Container,
    /// Bare Avro datums of Milvus' format version 4: for Milvus readers.
    Milvus,
}

/// What to do where the storage can't copy parts of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CopyFallbackText {
    /// Fail, and say so.
    Off,
    /// Send the bytes through the service.
    Stream,
}

/// Settings as they are given.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Address to listen on
    #[arg(long, env = "STILLFRAME_LISTEN", default_value = "127.0.0.1:19530")]
    pub listen: SocketAddr,

    /// Directory of the private Postgres and of local objects
    #[arg(long, env = "STILLFRAME_DATA_DIR", default_value = "./stillframe-data")]
    pub data_dir: PathBuf,

    /// Catalog database, postgres://...; without it a private Postgres runs under the data directory
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,

    /// Object storage: file:///path, s3://bucket/prefix?endpoint=http://host:port&region=us-east-1, or memory: (lost at the end);
    /// without it a directory under the data directory. Credentials of s3: come from the usual AWS environment
    #[arg(long, env = "STILLFRAME_STORAGE")]
    pub storage: Option<String>,

    /// Another store that exports may write to and restores may read from: NAME=URL, in the form of --storage; may be given again, in
    /// the environment with blanks between
    #[arg(long = "store", env = "STILLFRAME_STORES", value_delimiter = ' ', value_name = "NAME=URL")]
    pub stores: Vec<String>,

    /// File with the credentials of these stores: {"NAME": {"access_key_id": "...", "secret_access_key": "..."}}. Those that are not in
    /// it use the usual AWS environment
    #[arg(long, env = "STILLFRAME_STORE_CREDENTIALS_FILE", value_name = "FILE")]
    pub store_credentials_file: Option<PathBuf>,

    /// A server that exports and restores with credentials of their own may use, beside those of the stores: https://host; may be
    /// given again, in the environment with blanks between
    #[arg(
        long = "external-endpoint",
        env = "STILLFRAME_EXTERNAL_ENDPOINTS",
        value_delimiter = ' ',
        value_name = "URL"
    )]
    pub external_endpoints: Vec<String>,

    /// File with a secret of at least 32 bytes, the same for every replica, under which credentials of requests are encrypted. Without it
    /// they end with the process that was asked, and their job fails when another one gets it
    #[arg(long, env = "STILLFRAME_SECRET_KEY_FILE", value_name = "FILE")]
    pub secret_key_file: Option<PathBuf>,

    /// Use the storage although its marker names another catalog
    #[arg(long, env = "STILLFRAME_TAKE_OVER")]
    pub take_over: bool,

    /// Listen beyond loopback although there is no authentication
    #[arg(long, env = "STILLFRAME_INSECURE")]
    pub insecure: bool,

    #[command(flatten)]
    pub security: SecurityArgs,

    /// Refuse to start when migrations are missing, instead of applying them
    #[arg(long, env = "STILLFRAME_NO_MIGRATE")]
    pub no_migrate: bool,

    /// Connections to Postgres at most
    #[arg(long, env = "STILLFRAME_MAX_CONNECTIONS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(5..=1000))]
    pub max_connections: u32,

    /// Local storage and private Postgres: don't sync writes to the disk. A power cut may lose data
    #[arg(long, env = "STILLFRAME_NO_FSYNC")]
    pub no_fsync: bool,

    /// How manifests are written
    #[arg(long, env = "STILLFRAME_MANIFEST_ENCODING", value_enum, default_value_t = ManifestEncodingText::Container)]
    pub manifest_encoding: ManifestEncodingText,

    /// Restore tasks (segments) that this process works on at the same time, and as many more that wait for their proofs; 0: none,
    /// other replicas do
    #[arg(long, env = "STILLFRAME_WORKERS", default_value_t = 8)]
    pub workers: usize,

    /// Files and parts of files that this process copies at the same time at most; fewer while the storage asks to slow down
    #[arg(long, env = "STILLFRAME_COPY_CONCURRENCY", default_value_t = 32, value_parser = positive)]
    pub copy_concurrency: usize,

    /// Tries of one file before its task fails
    #[arg(long, env = "STILLFRAME_COPY_TRIES", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub copy_tries: u32,

    /// Hours for which a restore tries in vain to reach an object storage or a database, since the last file that it copied, before it fails
    #[arg(long, env = "STILLFRAME_OUTAGE_HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(0..=87_600))]
    pub outage_hours: u32,

    /// Bytes above which an object of S3 storage is copied in parts, 10 MiB to 5 GiB
    #[arg(long, env = "STILLFRAME_MULTIPART_ABOVE_BYTES", default_value_t = 256 * 1024 * 1024, value_parser = clap::value_parser!(u64).range(10 * 1024 * 1024..=SINGLE_COPY_MAX))]
    pub multipart_above_bytes: u64,

    /// What to do with such an object where the storage can't copy parts
    #[arg(long, env = "STILLFRAME_COPY_FALLBACK", value_enum, default_value_t = CopyFallbackText::Off)]
    pub copy_fallback: CopyFallbackText,

    /// Seconds after which the task of a silent worker is given to another one
    #[arg(long, env = "STILLFRAME_TASK_LEASE_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(3..=3600))]
    pub task_lease_seconds: u64,

    /// Seconds between runs of the collector; 0: only on request
    #[arg(long, env = "STILLFRAME_GC_INTERVAL_SECONDS", default_value_t = 600)]
    pub gc_interval_seconds: u64,

    /// Seconds for which dropped segments, index builds and snapshots are kept
    #[arg(long, env = "STILLFRAME_GC_GRACE_SECONDS", default_value_t = 10_800)]
    pub gc_grace_seconds: u32,

    /// Hours between the collector's looks for objects without a row; each lists the whole storage root
    #[arg(long, env = "STILLFRAME_ORPHAN_INTERVAL_HOURS", default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..))]
    pub orphan_interval_hours: u16,

    /// Days for which objects without a row are known before the collector deletes them
    #[arg(long, env = "STILLFRAME_ORPHAN_TOLERANCE_DAYS", default_value_t = 7)]
    pub orphan_tolerance_days: u16,

    /// Days for which ended restore jobs and collector runs are kept
    #[arg(long, env = "STILLFRAME_HISTORY_DAYS", default_value_t = 30)]
    pub history_days: u16,

    /// Bytes that the files of owned collections may take, dropped ones that are not yet collected included; a restore that needs
    /// more is refused. No limit without it
    #[arg(long, env = "STILLFRAME_QUOTA_BYTES")]
    pub quota_bytes: Option<u64>,

    /// Bytes of a request body at most
    #[arg(long, env = "STILLFRAME_MAX_BODY_BYTES", default_value_t = 64 * 1024 * 1024, value_parser = positive)]
    pub max_body_bytes: usize,

    /// Seconds after which a request is given up; waiting for a flush that was asked for is not counted
    #[arg(long, env = "STILLFRAME_REQUEST_TIMEOUT_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub request_timeout_seconds: u64,

    /// Seconds in which a request body must come with 1 KiB for each of them, or it is given up
    #[arg(long, env = "STILLFRAME_BODY_TIMEOUT_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub body_timeout_seconds: u64,

    /// Seconds that the head of a request may take, and that a connection may be idle
    #[arg(long, env = "STILLFRAME_HEADER_TIMEOUT_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub header_timeout_seconds: u64,

    /// Seconds in which a client must take some of its answer, or its connection is closed
    #[arg(long, env = "STILLFRAME_SEND_TIMEOUT_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub send_timeout_seconds: u64,

    /// Connections of clients at the same time; one more closes the one that has been idle longest. Fewer where the limit of open files is lower
    #[arg(long, env = "STILLFRAME_MAX_CLIENTS", default_value_t = 8192, value_parser = positive)]
    pub max_clients: usize,

    /// Connections of one address (of IPv6: a network of 64 bits) at the same time, `--trusted-proxy` excepted; half of
    /// `--max-clients` when absent
    #[arg(long, env = "STILLFRAME_MAX_CLIENTS_PER_ADDRESS", value_parser = positive)]
    pub max_clients_per_address: Option<usize>,

    /// Requests a second that one client (its key or token, else its address) may send in the long run; no limit without it
    #[arg(long, env = "STILLFRAME_RATE_LIMIT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate_limit: Option<u32>,

    /// Requests that it may send at once after a pause; twice the rate when absent
    #[arg(long, env = "STILLFRAME_RATE_BURST", requires = "rate_limit", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate_burst: Option<u32>,

    /// Origin of pages, such as `https://dashboard.example.com`, that may read answers of `/v1` (not of Milvus' REST v2); several with commas, `*` for any
    #[arg(long, env = "STILLFRAME_CORS_ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<String>,

    /// Seconds after which one call to the object storage is given up
    #[arg(long, env = "STILLFRAME_STORAGE_TIMEOUT_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub storage_timeout_seconds: u64,

    /// Seconds that running work gets to end after the first signal
    #[arg(long, env = "STILLFRAME_SHUTDOWN_SECONDS", default_value_t = 20)]
    pub shutdown_seconds: u64,

    /// Dropping a collection through Milvus' API (gRPC, REST v2) drops its snapshots too, as Milvus does
    #[arg(long, env = "STILLFRAME_MILVUS_DROP_COLLECTION_CASCADES")]
    pub milvus_drop_collection_cascades: bool,
    /// Collections whose newest snapshot's age is a metric, at most: those where it is oldest
    #[arg(long, env = "STILLFRAME_METRICS_COLLECTIONS", default_value_t = 100, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub metrics_collections: u16,

    /// Secret that the signing secrets of webhooks are derived from, 32 characters or more, the same for every replica; with a
    /// private Postgres it is made and kept under the data directory
    #[arg(long, env = "STILLFRAME_WEBHOOK_KEY", hide_env_values = true)]
    pub webhook_key: Option<String>,

    /// Let webhooks lead to loopback, private and link-local addresses
    #[arg(long, env = "STILLFRAME_WEBHOOK_PRIVATE_ADDRESSES")]
    pub webhook_private_addresses: bool,

    /// Send traces to this receiver of OTLP over HTTP, such as http://127.0.0.1:4318
    #[arg(long, env = "STILLFRAME_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,

    /// Share of the requests that are traced, 0 to 1; a caller's `traceparent` decides for its own
    #[arg(long, env = "STILLFRAME_OTLP_SAMPLED", default_value_t = 1.0, value_parser = share, requires = "otlp_endpoint")]
    pub otlp_sampled: f64,

    /// Form of log lines on standard error
    #[arg(long, env = "STILLFRAME_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What to log, in the form of RUST_LOG
    #[arg(long, env = "STILLFRAME_LOG", default_value = "info")]
    pub log: String,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err("must be a number from 0 to 1".into()),
    }
}

impl ServeArgs {
    /// Where traces go; none without an endpoint.
    ///
    /// # Errors
    /// An endpoint that is no URL of HTTP.
    pub fn traces(&self) -> anyhow::Result<Option<TraceSettings>> {
        let Some(endpoint) = &self.otlp_endpoint else {
            return Ok(None);
        };
        let url = url::Url::parse(endpoint).with_context(|| format!("the OTLP endpoint {endpoint:?} is no URL"))?;
        ensure!(
            matches!(url.scheme(), "http" | "https"),
            "the OTLP endpoint must begin with http:// or https://"
        );
        Ok(Some(TraceSettings {
            endpoint: endpoint.clone(),
            sampled: self.otlp_sampled,
        }))
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("must be a whole number from 1".into()),
    }
}

/// Whether a browser may name this as the origin of a page.
fn is_origin(text: &str) -> bool {
    text == "*"
        || url::Url::parse(text)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text)
}

/// Validated settings.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    pub database_url: Option<String>,
    pub storage: StorageUrl,
    pub storage_options: StorageOptions,
    pub stores: StoresConfig,
    pub take_over: bool,
    pub migrate: bool,
    pub max_connections: u32,
    pub fsync: bool,
    pub workers: usize,
    pub gc_interval: Option<Duration>,
    pub shutdown: Duration,
    pub service: ServiceSettings,
    pub limits: RequestLimits,
    pub milvus: MilvusSettings,
    pub serving: Serving,
    pub auth: AuthSettings,
    pub tls: Option<TlsSettings>,
}

/// Environment variables that belong to other commands of this binary.
const OTHER_VARIABLES: &[&str] = &["STILLFRAME_SERVER", "STILLFRAME_TEST_PYTHON", "STILLFRAME_TEST_ETCD"];

/// Variables beginning with `STILLFRAME_` that no setting reads: most likely misspelt.
pub fn unknown_variables(names: impl Iterator<Item = String>, known: &[String]) -> Vec<String> {
    // Kubernetes sets these in every pod beside a service called stillframe
    let injected = |n: &str| n.starts_with("STILLFRAME_SERVICE_") || n == "STILLFRAME_PORT" || n.starts_with("STILLFRAME_PORT_");
    names
        .filter(|n| !injected(n))
        .filter(|n| n.starts_with("STILLFRAME_") && !known.contains(n) && !OTHER_VARIABLES.contains(&n.as_str()))
        .collect()
}

/// Every setting as a Markdown table, from the same place as `--help`.
pub fn settings_table() -> String {
    let command = ServeArgs::augment_args(clap::Command::new("serve"));
    let mut table = String::from("| option | environment | default | |\n|---|---|---|---|\n");
    for arg in command.get_arguments() {
        let Some(option) = arg.get_long() else { continue };
        let environment = arg
            .get_env()
            .map(|e| format!("`{}`", e.to_string_lossy()))
            .unwrap_or_default();
        let is_flag = matches!(arg.get_action(), clap::ArgAction::SetTrue);
        let default = arg
            .get_default_values()
            .iter()
            .filter(|_| !is_flag)
            .map(|v| format!("`{}`", v.to_string_lossy()))
            .collect::<String>();
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let values: Vec<String> = match arg.get_possible_values() {
            values if !is_flag => values.iter().map(|v| format!("`{}`", v.get_name())).collect(),
            _ => Vec::new(),
        };
        let values = if values.is_empty() {
            String::new()
        } else {
            format!(": {}", values.join(", "))
        };
        table.push_str(&format!("| `--{option}` | {environment} | {default} | {help}{values} |\n"));
    }
    table
}

impl Config {
    /// Checks the settings.
    ///
    /// # Errors
    /// One sentence about the first thing that is wrong.
    pub fn new(args: ServeArgs) -> anyhow::Result<Self> {
        let auth = args.security.auth(&args.cors_origins)?;
        let proxies = auth.trusted_proxies.clone();
        ensure!(!(auth.required && args.insecure), "--insecure has no effect with --auth");
        if !args.listen.ip().is_loopback() && !auth.required && !args.insecure {
            bail!(
                "refusing to listen on {} without authentication; say --auth, listen on 127.0.0.1, or say --insecure",
                args.listen
            );
        }
        if let Some(url) = &args.database_url {
            ensure!(
                url.starts_with("postgres://") || url.starts_with("postgresql://"),
                "the database URL must begin with postgres:// or postgresql://"
            );
        }
        for origin in &args.cors_origins {
            ensure!(
                is_origin(origin),
                "--cors-origins: {origin:?} is no origin; expected https://host, http://host:port or *"
            );
        }
        let data_dir =
            std::path::absolute(&args.data_dir).with_context(|| format!("data directory {}", args.data_dir.display()))?;
        let storage = match &args.storage {
            Some(text) => StorageUrl::parse(text).map_err(anyhow::Error::msg)?,
            None => StorageUrl::Local {
                path: data_dir.join("objects"),
            },
        };
        let stores = StoresConfig::new(&args, &storage)?;
        if args.no_fsync && !matches!(storage, StorageUrl::Local { .. }) && args.database_url.is_some() {
            bail!("--no-fsync has no effect here: neither the storage is local nor the Postgres private");
        }
        Ok(Self {
            listen: args.listen,
            data_dir,
            database_url: args.database_url,
            storage,
            storage_options: StorageOptions {
                fsync: !args.no_fsync,
                timeout: Duration::from_secs(args.storage_timeout_seconds),
                copy_concurrency: args.copy_concurrency,
                multipart_above: args.multipart_above_bytes,
                copy_fallback: match args.copy_fallback {
                    CopyFallbackText::Off => CopyFallback::Off,
                    CopyFallbackText::Stream => CopyFallback::Stream,
                },
                ..StorageOptions::default()
            },
            stores,
            take_over: args.take_over,
            migrate: !args.no_migrate,
            max_connections: args.max_connections,
            fsync: !args.no_fsync,
            workers: args.workers,
            gc_interval: (args.gc_interval_seconds > 0).then(|| Duration::from_secs(args.gc_interval_seconds)),
            shutdown: Duration::from_secs(args.shutdown_seconds),
            service: ServiceSettings {
                manifest_encoding: match args.manifest_encoding {
                    ManifestEncodingText::Container => ManifestEncoding::Container,
                    ManifestEncodingText::Milvus => ManifestEncoding::Milvus,
                },
                task_lease: Duration::from_secs(args.task_lease_seconds),
                gc_grace_seconds: i64::from(args.gc_grace_seconds),
                orphan_interval_seconds: i64::from(args.orphan_interval_hours) * 3600,
                orphan_tolerance_seconds: i64::from(args.orphan_tolerance_days) * 24 * 3600,
                copy_concurrency: args.copy_concurrency,
                copy_tries: args.copy_tries,
                outage_patience: Duration::from_secs(u64::from(args.outage_hours) * 3600),
                history_seconds: i64::from(args.history_days) * 24 * 3600,
                quota_bytes: args.quota_bytes,
                metrics_collections: i64::from(args.metrics_collections),
                webhook_key: args
                    .webhook_key
                    .as_deref()
                    .map(WebhookKey::parse)
                    .transpose()
                    .map_err(anyhow::Error::msg)?,
                webhook_private_addresses: args.webhook_private_addresses,
                ..ServiceSettings::default()
            },
            auth,
            tls: args.security.tls(),
            limits: RequestLimits {
                timeout: Duration::from_secs(args.request_timeout_seconds),
                body_bytes: args.max_body_bytes,
                body_timeout: Duration::from_secs(args.body_timeout_seconds),
                rate: args.rate_limit.map(|per_second| Rate {
                    per_second,
                    burst: args.rate_burst.unwrap_or(per_second.saturating_mul(2)),
                }),
                cors_origins: args.cors_origins,
            },
            serving: Serving {
                max_clients: args.max_clients,
                max_clients_per_address: args.max_clients_per_address.unwrap_or(args.max_clients.div_ceil(2)),
                header_timeout: Duration::from_secs(args.header_timeout_seconds),
                send_timeout: Duration::from_secs(args.send_timeout_seconds),
                proxies,
            },
            milvus: MilvusSettings {
                drop_collection_cascades: args.milvus_drop_collection_cascades,
                timeout: Duration::from_secs(args.request_timeout_seconds),
                body_bytes: args.max_body_bytes,
            },
        })
    }
}
