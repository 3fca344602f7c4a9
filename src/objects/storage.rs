//! The handle on object storage.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use opendal::layers::{RetryLayer, TimeoutLayer};
use opendal::{Operator, services};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::copy::CopyFallback;
use super::delete::is_absent;
use super::error::{io_error, storage_error};
use super::limiter::CopyLimiter;
use super::listing::{Directories, Listing};
use super::local::LocalRoot;
use super::observe::{CountRetries, observed};
use super::parts;
use super::together::{Asked, Together};
use super::uploads::Multipart;
use super::url::StorageUrl;
use crate::domain::{Error, Result};

/// How the storage is used.
#[derive(Debug, Clone)]
pub struct StorageOptions {
    /// Local storage: sync every written file to the disk.
    pub fsync: bool,
    /// Small objects written at the same time by one call.
    pub write_concurrency: usize,
    /// Requests to copy at the same time at most.
    pub copy_concurrency: usize,
    /// Bytes above which an object is copied in parts.
    pub multipart_above: u64,
    /// Where the store can't copy parts.
    pub copy_fallback: CopyFallback,
    /// One storage call may take so long.
    pub timeout: Duration,
    /// Of `s3:` storage; those of the usual AWS chain when none.
    pub credentials: Option<Credentials>,
}

impl StorageOptions {
    /// The same with other credentials.
    #[must_use]
    pub fn with_credentials(&self, credentials: Option<Credentials>) -> Self {
        Self {
            credentials,
            ..self.clone()
        }
    }
}

/// A static key of S3 storage. Its secret is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self {
            fsync: true,
            write_concurrency: 16,
            copy_concurrency: 32,
            multipart_above: 256 * 1024 * 1024,
            copy_fallback: CopyFallback::Off,
            timeout: Duration::from_secs(60),
            credentials: None,
        }
    }
}

/// What a listing says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub size_bytes: u64,
    pub etag: Option<String>,
}

/// Object storage. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Objects {
    pub(super) url: Arc<StorageUrl>,
    /// Tries a failed call again.
    pub(super) operator: Operator,
    /// Tries once: for copies, whose retries are counted where they happen.
    pub(super) once: Operator,
    pub(super) local: Option<Arc<LocalRoot>>,
    pub(super) options: StorageOptions,
    /// Whether the probe saw that ETags are MD5 sums of the content, also of a copy.
    pub(super) md5_etags: Arc<AtomicBool>,
    pub(super) limiter: CopyLimiter,
    /// Groups of small files that are copied at the same time.
    pub(super) groups: Arc<Semaphore>,
    /// Multipart uploads that run or are being aborted.
    pub(super) uploads: TaskTracker,
    pub(super) streams: Arc<Semaphore>,
    /// What lists and aborts multipart uploads, where the storage has them.
    pub(super) multipart: Option<Arc<Multipart>>,
    /// Listings that several wait for.
    pub(super) listing: Together<Directories, Listing>,
    /// The same of what was just copied, which may wait for more.
    pub(super) listing_copies: Together<Directories, Listing>,
    /// Syncs of directories that several wait for.
    pub(super) syncing: Together<Vec<String>, io::Result<()>>,
}

impl Objects {
    /// Opens the storage; makes no call yet but creating a local root directory.
    ///
    /// # Errors
    /// `storage_unavailable`, `storage_access_denied` when a local directory can't be made, or the
    /// configuration is not accepted.
    pub fn open(url: StorageUrl, options: StorageOptions) -> Result<Self> {
        let bad = |e| storage_error("opening the object storage", e);
        let multipart = Multipart::of(&url, &options).map(Arc::new);
        let (once, local) = match &url {
            StorageUrl::Memory => (Operator::new(services::Memory::default()).map_err(bad)?, None),
            StorageUrl::Local { path } => {
                std::fs::create_dir_all(path).map_err(|e| io_error(&format!("creating {}", path.display()), e))?;
                let root = path
                    .to_str()
                    .ok_or_else(|| Error::internal("the storage path is not UTF-8"))?;
                let operator = Operator::new(services::Fs::default().root(root)).map_err(bad)?;
                (
                    operator,
                    Some(Arc::new(LocalRoot {
                        path: path.clone(),
                        fsync: options.fsync,
                    })),
                )
            }
            StorageUrl::S3 {
                bucket,
                prefix,
                endpoint,
                region,
                virtual_host_style,
            } => {
                // the HTTP client of the library; doing it again is harmless
                opendal::install_default();
                let mut service = services::S3::default().bucket(bucket).root(&format!("/{prefix}"));
                if let Some(endpoint) = endpoint {
                    service = service.endpoint(endpoint);
                }
                if let Some(region) = region {
                    service = service.region(region);
                }
                if let Some(credentials) = &options.credentials {
                    service = service
                        .access_key_id(&credentials.access_key_id)
                        .secret_access_key(&credentials.secret_access_key)
                        // nothing of the environment may mix with a static key, a session token least of all
                        .disable_config_load()
                        .disable_ec2_metadata();
                }
                if *virtual_host_style {
                    service = service.enable_virtual_host_style();
                }
                (Operator::new(service).map_err(bad)?, None)
            }
        };
        let groups = match &local {
            // they wait for locks of the filesystem: more threads only wait for one another
            Some(local) if !local.fsync => 2 * std::thread::available_parallelism().map_or(1, NonZero::get),
            // here for the disk, which several syncs share
            _ => options.copy_concurrency.max(1),
        };
        let once = once.layer(
            TimeoutLayer::new()
                .with_timeout(options.timeout)
                .with_io_timeout(options.timeout),
        );
        let operator = once
            .clone()
            .layer(RetryLayer::new().with_max_times(3).with_jitter().with_notify(CountRetries));
        Ok(Self {
            url: Arc::new(url),
            operator,
            once,
            local,
            limiter: CopyLimiter::new(options.copy_concurrency),
            groups: Arc::new(Semaphore::new(groups)),
            uploads: TaskTracker::new(),
            streams: parts::streams(),
            multipart,
            listing: Together::default(),
            listing_copies: Together::default(),
            syncing: Together::default(),
            options,
            md5_etags: Arc::default(),
        })
    }

    /// Opens another store that is used in the same way; together they stay within the limits of memory.
    /// With `one_limit` they also share the limit of copies at the same time.
    ///
    /// # Errors
    /// As [`Objects::open`].
    pub fn beside(&self, url: StorageUrl, credentials: Option<Credentials>, one_limit: bool) -> Result<Self> {
        let mut opened = Self::open(url, self.options.with_credentials(credentials))?;
        if one_limit {
            opened.limiter = self.limiter.clone();
        }
        opened.uploads = self.uploads.clone();
        opened.streams = self.streams.clone();
        Ok(opened)
    }

    /// Whether ETags of the form of an MD5 sum can be compared between objects of this store: the
    /// probe saw that they are one. False before the probe and where listings have no ETags.
    pub fn compares_etags(&self) -> bool {
        self.md5_etags.load(Ordering::Relaxed)
    }

    /// Where it is.
    pub fn url(&self) -> &StorageUrl {
        &self.url
    }

    /// The local directory and whether writes are synced, where the storage is one.
    pub fn local_fsync(&self) -> Option<bool> {
        self.local.as_ref().map(|l| l.fsync)
    }

    /// Writes an object, replacing one that is there; it appears whole or not at all.
    ///
    /// # Errors
    /// A storage error that names the key.
    pub async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<()> {
        let Some(local) = self.local.clone() else {
            return self.put_many(vec![(key.to_string(), bytes)]).await;
        };
        let at = key.to_string();
        observed("write", async {
            let written = tokio::task::spawn_blocking(move || local.put_whole(&at, &bytes))
                .await
                .map_err(Error::internal)?;
            written.map_err(|e| io_error(&format!("writing {key}"), e))
        })
        .await
    }

    /// Writes many small objects, several at a time. On local storage one may be seen half written,
    /// so they must be such as nobody looks for yet.
    ///
    /// # Errors
    /// The first storage error; other objects may have been written.
    pub async fn put_many(&self, objects: Vec<(String, Vec<u8>)>) -> Result<()> {
        if let Some(local) = &self.local {
            return observed("write_many", put_local(local, objects, self.options.write_concurrency)).await;
        }
        stream::iter(objects)
            .map(|(key, bytes)| {
                observed("write", async move {
                    let written = self.operator.write(&key, bytes).await;
                    written.map(|_| ()).map_err(|e| storage_error(&format!("writing {key}"), e))
                })
            })
            .buffer_unordered(self.options.write_concurrency)
            .try_collect()
            .await
    }

    /// Reads an object of at most `limit` bytes; none when there is no such object.
    ///
    /// # Errors
    /// A storage error that names the key; `storage_unavailable` when it is larger.
    pub async fn get(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        observed("read", self.get_bounded(key, limit)).await
    }

    async fn get_bounded(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let failed = |e| storage_error(&format!("reading {key}"), e);
        let metadata = match self.operator.stat(key).await {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == opendal::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        if metadata.content_length() > limit {
            return Err(crate::domain::Code::StorageUnavailable.error(format!(
                "{key} has {} bytes, at most {limit} are read",
                metadata.content_length()
            )));
        }
        match self.operator.read(key).await {
            Ok(buffer) => Ok(Some(buffer.to_vec())),
            Err(e) if e.kind() == opendal::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed(e)),
        }
    }

    /// The bytes of an object; none when there is no such object.
    ///
    /// # Errors
    /// A storage error that names the key.
    pub async fn size(&self, key: &str) -> Result<Option<u64>> {
        observed("stat", async {
            match self.operator.stat(key).await {
                Ok(metadata) if metadata.is_file() => Ok(Some(metadata.content_length())),
                Ok(_) => Ok(None),
                Err(e) if is_absent(&e) => Ok(None),
                Err(e) => Err(storage_error(&format!("reading {key}"), e)),
            }
        })
        .await
    }

    /// Lists every object below a directory as its pages come, with bytes: for directories of any
    /// size. The directory must end in a slash.
    ///
    /// # Errors
    /// A storage error that names the directory; the items of the stream have such errors too.
    pub async fn walk(&self, directory: &str) -> Result<impl Stream<Item = Result<(String, i64)>> + use<>> {
        assert!(directory.ends_with('/'), "a directory ends in a slash: {directory:?}");
        let directory = directory.to_string();
        // its first page; later ones are not counted
        let lister = observed("list", async {
            match self.operator.lister_with(&directory).recursive(true).await {
                Ok(lister) => Ok(Some(lister)),
                Err(e) if e.kind() == opendal::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(storage_error(&format!("listing {directory}"), e)),
            }
        })
        .await?;
        let entries = stream::iter(lister).flatten();
        Ok(entries
            .try_filter_map(|entry| async move { Ok(entry.metadata().is_file().then(|| sized(&entry))) })
            .map_err(move |e| storage_error(&format!("listing {directory}"), e)))
    }

    /// Makes the names of copies last on local storage that is synced: each directory once.
    ///
    /// # Errors
    /// A storage error.
    pub async fn sync_parents(&self, keys: impl Iterator<Item = &str>) -> Result<()> {
        let Some(local) = self.local.clone().filter(|l| l.fsync) else {
            return Ok(());
        };
        let keys: Vec<String> = keys.map(str::to_string).collect();
        let for_all = local.clone();
        let synced = self
            .syncing
            .ask(keys.clone(), move |asked| sync_for_all(for_all.clone(), asked));
        // several segments have most of what lies above them in common
        match synced.await {
            Some(synced) => synced.map_err(sync_error),
            None => sync_parents(local, keys).await.map_err(sync_error),
        }
    }

    /// Removes what crashed copies left on local storage; gives the number of files.
    ///
    /// # Errors
    /// A storage error.
    pub async fn sweep_temporary(&self) -> Result<usize> {
        let Some(local) = self.local.clone() else { return Ok(0) };
        let swept = tokio::task::spawn_blocking(move || local.sweep_temporary())
            .await
            .map_err(Error::internal)?;
        swept.map_err(|e| io_error("sweeping temporary files", e))
    }
}

async fn sync_parents(local: Arc<LocalRoot>, keys: Vec<String>) -> io::Result<()> {
    let synced = tokio::task::spawn_blocking(move || local.sync_parents(&keys)).await;
    synced.map_err(io::Error::other)?
}

fn sync_error(error: io::Error) -> Error {
    io_error("syncing the directories of copies", error)
}

/// An error goes to all of them: the kernel tells it once, and whoever syncs anew may hear of success. But a
/// directory that is gone is one's own.
async fn sync_for_all(local: Arc<LocalRoot>, asked: Vec<Asked<Vec<String>, io::Result<()>>>) {
    let keys = asked.iter().flat_map(|a| a.what.clone()).collect();
    let synced = sync_parents(local, keys).await;
    let again = |e: &io::Error| e.raw_os_error().map_or_else(|| e.kind().into(), io::Error::from_raw_os_error);
    match synced {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        synced => asked
            .into_iter()
            .for_each(|a| a.answer(synced.as_ref().copied().map_err(again))),
    }
}

fn sized(entry: &opendal::Entry) -> (String, i64) {
    let size = i64::try_from(entry.metadata().content_length()).unwrap_or(i64::MAX);
    (entry.path().to_string(), size)
}

/// Writes files in a few blocking tasks. Creating files in one directory is serial in the kernel,
/// so that several tasks only help where each waits for the disk.
async fn put_local(local: &Arc<LocalRoot>, mut objects: Vec<(String, Vec<u8>)>, concurrency: usize) -> Result<()> {
    let tasks = if local.fsync { concurrency.max(1) } else { 1 };
    let share = objects.len().div_ceil(tasks).max(8);
    let mut writers = Vec::new();
    while !objects.is_empty() {
        let part = objects.split_off(objects.len().saturating_sub(share));
        let local = local.clone();
        writers.push(tokio::task::spawn_blocking(move || {
            local
                .put_many(&part)
                .map_err(|(key, e)| io_error(&format!("writing {key}"), e))
        }));
    }
    // every one is waited for, also after an error: none may write later
    let mut outcome = Ok(());
    for writer in writers {
        let written = writer.await.map_err(Error::internal).and_then(|written| written);
        outcome = outcome.and(written);
    }
    outcome
}
