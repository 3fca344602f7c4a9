//! Settings of `stillframe serve`: command line and environment, validated once, passed by value.

mod security;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::api::RequestLimits;
use crate::domain::manifest::ManifestEncoding;
use crate::objects::{CopyFallback, SINGLE_COPY_MAX, StorageOptions, StorageUrl};
use crate::service::{AuthSettings, ServiceSettings};
use crate::telemetry::LogFormat;
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

    /// Restore tasks (segments) that this process works on at the same time; 0: none, other replicas do
    #[arg(long, env = "STILLFRAME_WORKERS", default_value_t = 8)]
    pub workers: usize,

    /// Files and parts of files that this process copies at the same time at most; fewer while the storage asks to slow down
    #[arg(long, env = "STILLFRAME_COPY_CONCURRENCY", default_value_t = 32, value_parser = positive)]
    pub copy_concurrency: usize,

    /// Tries of one file before its task fails
    #[arg(long, env = "STILLFRAME_COPY_TRIES", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub copy_tries: u32,

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

    /// Seconds after which one call to the object storage is given up
    #[arg(long, env = "STILLFRAME_STORAGE_TIMEOUT_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub storage_timeout_seconds: u64,

    /// Seconds that running work gets to end after the first signal
    #[arg(long, env = "STILLFRAME_SHUTDOWN_SECONDS", default_value_t = 20)]
    pub shutdown_seconds: u64,

    /// Form of log lines on standard error
    #[arg(long, env = "STILLFRAME_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What to log, in the form of RUST_LOG
    #[arg(long, env = "STILLFRAME_LOG", default_value = "info")]
    pub log: String,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("must be a whole number from 1".into()),
    }
}

/// Validated settings.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    pub database_url: Option<String>,
    pub storage: StorageUrl,
    pub storage_options: StorageOptions,
    pub take_over: bool,
    pub migrate: bool,
    pub max_connections: u32,
    pub fsync: bool,
    pub workers: usize,
    pub gc_interval: Option<Duration>,
    pub shutdown: Duration,
    pub service: ServiceSettings,
    pub limits: RequestLimits,
    pub auth: AuthSettings,
    pub tls: Option<TlsSettings>,
}

/// Environment variables that belong to other commands of this binary.
const OTHER_VARIABLES: &[&str] = &["STILLFRAME_SERVER", "STILLFRAME_TEST_PYTHON"];

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
        let auth = args.security.auth()?;
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
        let data_dir =
            std::path::absolute(&args.data_dir).with_context(|| format!("data directory {}", args.data_dir.display()))?;
        let storage = match &args.storage {
            Some(text) => StorageUrl::parse(text).map_err(anyhow::Error::msg)?,
            None => StorageUrl::Local {
                path: data_dir.join("objects"),
            },
        };
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
                history_seconds: i64::from(args.history_days) * 24 * 3600,
                quota_bytes: args.quota_bytes,
                ..ServiceSettings::default()
            },
            auth,
            tls: args.security.tls(),
            limits: RequestLimits {
                timeout: Duration::from_secs(args.request_timeout_seconds),
                body_bytes: args.max_body_bytes,
            },
        })
    }
}
