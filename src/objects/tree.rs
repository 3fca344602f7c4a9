//! Data files below a prefix of a store, and copies from one such place to another: by the server
//! where both lie in one store, through this process otherwise.

use std::sync::Arc;

use futures::StreamExt as _;
use md5::{Digest as _, Md5};

use super::copy::{CopyFile, CopyOutcome, changed, settle};
use super::error::is_throttle;
use super::listing::{Directories, Expected, Listing};
use super::storage::{Entry, Objects};
use super::stored::full_key;
use super::stream::hex;
use super::url::StorageUrl;
use crate::domain::segment::is_md5;
use crate::domain::{Code, Error, Result};

/// Bytes above which a streamed file is written in parts and not held in memory.
const WHOLE: u64 = 8 * 1024 * 1024;

/// A directory of a store that holds data files by their paths.
#[derive(Debug, Clone)]
pub struct Tree {
    objects: Objects,
    /// Empty, or ends in a slash.
    prefix: String,
}

impl Tree {
    /// The files below a directory of a store; `directory` is empty or ends in a slash.
    pub fn new(objects: Objects, directory: impl Into<String>) -> Self {
        let prefix = directory.into();
        assert!(
            prefix.is_empty() || prefix.ends_with('/'),
            "a directory ends in a slash: {prefix:?}"
        );
        Self { objects, prefix }
    }

    /// The store.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The key of a file in its store.
    pub fn key(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// Lists the files below directories, by their paths; those who ask at the same time share requests.
    ///
    /// # Errors
    /// A storage error that names a directory.
    pub async fn list_all(&self, directories: Directories) -> Result<Listing> {
        if self.prefix.is_empty() {
            return self.objects.list_together(directories).await;
        }
        Ok(self.paths(self.objects.list_together(self.keys(directories)).await?))
    }

    /// The same of what was just copied; see [`Objects::list_copies`].
    ///
    /// # Errors
    /// A storage error that names a directory.
    pub async fn list_copies(&self, directories: Directories) -> Result<Listing> {
        if self.prefix.is_empty() {
            return self.objects.list_copies(directories).await;
        }
        Ok(self.paths(self.objects.list_copies(self.keys(directories)).await?))
    }

    fn keys(&self, directories: Directories) -> Directories {
        let key = |(directory, expected): (String, Expected)| (self.key(&directory), expected);
        directories.into_iter().map(key).collect()
    }

    fn paths(&self, found: Listing) -> Listing {
        let path = |(key, entry): (String, Entry)| Some((key.strip_prefix(&self.prefix)?.to_string(), entry));
        found.into_iter().filter_map(path).collect()
    }

    /// Size and MD5 of a file's bytes; see [`Objects::md5`].
    ///
    /// # Errors
    /// A storage error that names the key.
    pub async fn md5(&self, path: &str) -> Result<Option<(u64, String)>> {
        self.objects.md5(&self.key(path)).await
    }

    fn is_in_store_of(&self, other: &Tree) -> bool {
        Arc::ptr_eq(&self.objects.url, &other.objects.url)
    }
}

/// From where to where files are copied.
#[derive(Debug, Clone)]
pub struct Route {
    pub from: Tree,
    pub to: Tree,
    /// The store that has both, if any: its prefix is that of neither.
    joint: Option<Objects>,
}

impl Route {
    /// Inside one store, from a path to another.
    pub fn inside(objects: &Objects) -> Self {
        let tree = Tree::new(objects.clone(), "");
        Self {
            from: tree.clone(),
            to: tree,
            joint: None,
        }
    }

    /// From one place to another.
    ///
    /// # Errors
    /// When the storage library refuses the configuration.
    pub fn new(from: Tree, to: Tree) -> Result<Self> {
        let joint = match (from.objects.url(), to.objects.url()) {
            (a, b) if !from.is_in_store_of(&to) && is_one_bucket(a, b) && from.has_credentials_of(&to) => {
                let mut joint = from
                    .objects
                    .beside(whole_bucket(a), from.objects.options.credentials.clone(), true)?;
                // what was seen of one prefix holds for its bucket
                joint.md5_etags = if from.objects.compares_etags() {
                    from.objects.md5_etags.clone()
                } else {
                    to.objects.md5_etags.clone()
                };
                Some(joint)
            }
            _ => None,
        };
        Ok(Self { from, to, joint })
    }

    /// Whether bytes pass through this process.
    pub fn is_streamed(&self) -> bool {
        self.joint.is_none() && !self.from.is_in_store_of(&self.to)
    }

    /// Whether ETags of both sides are known to be MD5 sums.
    pub fn compares_etags(&self) -> bool {
        match &self.joint {
            Some(joint) => joint.compares_etags(),
            None => self.from.objects.compares_etags() && self.to.objects.compares_etags(),
        }
    }

    /// Copies a file from a path to a path; see [`Objects::copy`].
    ///
    /// # Errors
    /// What to do about it.
    pub async fn copy(&self, file: &CopyFile<'_>) -> Result<(), CopyOutcome> {
        let (source, target) = (self.from.key(file.source), self.to.key(file.target));
        if self.from.is_in_store_of(&self.to) {
            let keyed = CopyFile {
                source: &source,
                target: &target,
                ..*file
            };
            return self.from.objects.copy(&keyed).await;
        }
        if let Some(joint) = &self.joint {
            let source = full_key(self.from.objects.url().root(), &source);
            let target = full_key(self.to.objects.url().root(), &target);
            let keyed = CopyFile {
                source: &source,
                target: &target,
                ..*file
            };
            return joint.copy(&keyed).await;
        }
        let slot = self.to.objects.limiter.acquire().await;
        // large ones take memory for their parts
        let _part_of_few = match file.size_bytes > WHOLE {
            true => Some(self.to.objects.streams.acquire().await),
            false => None,
        };
        let copied = self.stream(&source, &target, file).await;
        settle(slot, &copied);
        copied
    }

    /// Whether [`Route::copy_together`] can do it.
    pub fn copies_together(&self) -> bool {
        self.from.is_in_store_of(&self.to) && self.to.objects.copies_together()
    }

    /// Copies small files, from a path to a path; see [`Objects::copy_together`].
    ///
    /// # Errors
    /// What to do about the first that is not done.
    pub async fn copy_together(
        &self,
        files: impl Iterator<Item = (&str, &str)>,
        done: impl FnMut(usize) + Send + 'static,
    ) -> Result<(), CopyOutcome> {
        let keyed = files.map(|(source, target)| (self.from.key(source), self.to.key(target)));
        self.to.objects.copy_together(keyed.collect(), done).await
    }

    /// Sends the bytes of a file through this process. It appears whole or not at all, and only with
    /// the size that the source must have.
    async fn stream(&self, source: &str, target: &str, file: &CopyFile<'_>) -> Result<(), CopyOutcome> {
        let pieces = self.from.objects.read_stream(source).await.map_err(broken)?;
        let mut pieces = pieces.ok_or(CopyOutcome::SourceMissing)?;
        let mut whole = Vec::new();
        let mut sink = match file.size_bytes > WHOLE {
            true => Some(self.to.objects.sink(target).await.map_err(broken)?),
            false => None,
        };
        let (mut sum, mut size) = (Md5::default(), 0);
        let mut outcome = Ok(());
        while let Some(piece) = pieces.next().await {
            let written = async {
                let piece = piece?;
                size += piece.len() as u64;
                sum.update(&piece);
                match &mut sink {
                    Some(sink) => sink.write(piece).await,
                    None => {
                        whole.extend_from_slice(&piece);
                        Ok(())
                    }
                }
            };
            outcome = written.await.map_err(broken);
            // one that grew must not fill the memory
            if outcome.is_err() || size > file.size_bytes {
                break;
            }
        }
        if outcome.is_ok() && (size != file.size_bytes || self.is_another(file, &hex(&sum.finalize()))) {
            outcome = Err(CopyOutcome::Fail(changed(source)));
        }
        match (outcome, sink) {
            (Ok(()), Some(sink)) => sink.finish().await.map_err(broken),
            (Ok(()), None) => self.to.objects.put(target, whole).await.map_err(broken),
            (Err(outcome), Some(sink)) => {
                sink.abandon().await;
                Err(outcome)
            }
            (Err(outcome), None) => Err(outcome),
        }
    }

    fn is_another(&self, file: &CopyFile<'_>, md5: &str) -> bool {
        file.etag
            .is_some_and(|etag| self.from.objects.compares_etags() && is_md5(etag) && etag != md5)
    }
}

impl Tree {
    fn has_credentials_of(&self, other: &Tree) -> bool {
        self.objects.options.credentials == other.objects.options.credentials
    }
}

fn is_one_bucket(a: &StorageUrl, b: &StorageUrl) -> bool {
    matches!((a, b), (StorageUrl::S3 { .. }, StorageUrl::S3 { .. })) && whole_bucket(a) == whole_bucket(b)
}

fn whole_bucket(url: &StorageUrl) -> StorageUrl {
    let mut url = url.clone();
    if let StorageUrl::S3 { prefix, .. } = &mut url {
        prefix.clear();
    }
    url
}

/// What to do about a failed read or write.
fn broken(error: Error) -> CopyOutcome {
    use std::error::Error as _;
    let cause = error.source().and_then(|cause| cause.downcast_ref::<opendal::Error>());
    match error.code() {
        _ if cause.is_some_and(is_throttle) => CopyOutcome::Throttled(error),
        Code::StorageAccessDenied | Code::InsufficientStorage => CopyOutcome::Fail(error),
        _ => CopyOutcome::Retry(error),
    }
}
