//! Listing many directories with few requests.
//!
//! A page of a LIST holds up to 1,000 objects, and the directory of a segment or an index build is often
//! far smaller. Where a store lists in the order of keys and from a key on, neighbours share a page: one
//! request takes what lies from the first of them to the last. Where every expected object is there, that
//! never costs more requests than listing each: what lies between may fill the page, but at least the first
//! directory is seen whole.
//!
//! A directory that holds many files, and nothing below them, is worth a request of its own: with a delimiter,
//! a store that keeps directories looks into no other one, and nobody waits for what others ask.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::error::{io_error, storage_error};
use super::observe::observed;
use super::storage::{Entry, Objects};
use super::together::{Asked, Together};
use crate::domain::{Error, Result};

/// Objects of a page at most. Source: S3's `ListObjectsV2`, `MaxKeys`.
pub const PAGE_KEYS: usize = 1000;
/// Files that are worth a request of their own: 2% beside the requests that copy them.
const OWN_REQUEST: usize = 50;
/// Requests of one call at the same time.
const AT_ONCE: usize = 16;
/// Requests that a caller may bring into a listing that others wait for.
const SHARED_REQUESTS: usize = 4;
/// How long the listing of copies waits for more of them.
const SHARED_WAIT: Duration = Duration::from_millis(250);
/// How long a caller waits for others' listings before it lists by itself.
const SHARED_PATIENCE: Duration = Duration::from_secs(10);

/// Directories, each with what is expected in it. Each ends in a slash: a prefix without one would also take
/// the siblings whose names begin with it.
pub type Directories = BTreeMap<String, Expected>;

/// What is expected in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    pub files: usize,
    /// They lie in the directory itself; what lies deeper is not asked for.
    pub flat: bool,
}

impl Expected {
    /// Files that lie somewhere below the directory.
    pub fn below(files: usize) -> Self {
        Self { files, flat: false }
    }

    /// Files that lie in the directory itself.
    pub fn inside(files: usize) -> Self {
        Self { files, flat: true }
    }

    fn takes_own_request(&self) -> bool {
        self.flat && self.files >= OWN_REQUEST
    }
}

/// What directories hold, by key.
pub type Listing = HashMap<String, Entry>;

/// Requests that listing each by itself takes; [`Objects::list_all`] takes no more where all is there.
pub fn requests_at_most(directories: &Directories) -> usize {
    directories.values().map(|e| e.files.div_ceil(PAGE_KEYS).max(1)).sum()
}

impl Objects {
    /// Lists every object below a directory, which ends in a slash.
    ///
    /// # Errors
    /// A storage error that names the directory.
    pub async fn list(&self, directory: &str) -> Result<Listing> {
        assert!(directory.ends_with('/'), "a directory ends in a slash: {directory:?}");
        observed("list", self.list_whole(directory, false)).await
    }

    async fn list_whole(&self, directory: &str, flat: bool) -> Result<Listing> {
        if self.local.is_some() {
            return self.list_local(vec![directory.to_string()]).await;
        }
        let failed = |e| storage_error(&format!("listing {directory}"), e);
        let mut found = Listing::new();
        let mut lister = match self.operator.lister_with(directory).recursive(!flat).await {
            Ok(lister) => lister,
            Err(e) if e.kind() == opendal::ErrorKind::NotFound => return Ok(found),
            Err(e) => return Err(failed(e)),
        };
        while let Some(entry) = lister.try_next().await.map_err(failed)? {
            found.extend(object(&entry));
        }
        Ok(found)
    }

    async fn list_local(&self, directories: Vec<String>) -> Result<Listing> {
        let Some(local) = self.local.clone() else {
            return Err(Error::internal("the storage is no directory"));
        };
        let walking = tokio::task::spawn_blocking(move || {
            let mut found = Listing::new();
            for directory in directories {
                let walked = local.list(&directory);
                let walked = walked.map_err(|e| io_error(&format!("listing {directory}"), e))?;
                found.extend(
                    walked
                        .into_iter()
                        .map(|(key, size_bytes)| (key, Entry { size_bytes, etag: None })),
                );
            }
            Ok(found)
        });
        walking.await.map_err(Error::internal)?
    }

    /// Lists directories; neighbours share requests.
    ///
    /// # Errors
    /// A storage error that names a directory.
    pub async fn list_all(&self, directories: &Directories) -> Result<Listing> {
        let listed: Vec<_> = ranges(directories, self.joins())
            .into_iter()
            .map(|range| self.list_range(range))
            .collect();
        let mut listed = stream::iter(listed).buffer_unordered(AT_ONCE);
        let mut found = Listing::new();
        while let Some(part) = listed.try_next().await? {
            match found.is_empty() {
                true => found = part,
                false => found.extend(part),
            }
        }
        Ok(found)
    }

    /// The same for many callers: whoever asks while a LIST runs shares the next one with all others who do.
    ///
    /// # Errors
    /// A storage error that names a directory.
    pub async fn list_together(&self, directories: Directories) -> Result<Listing> {
        self.list_shared(&self.listing, Duration::ZERO, directories).await
    }

    /// The same of what was just copied: while more is copied, and others ask, small directories wait for a page's worth
    /// of files, a quarter of a second at most.
    ///
    /// # Errors
    /// A storage error that names a directory.
    pub async fn list_copies(&self, directories: Directories) -> Result<Listing> {
        self.list_shared(&self.listing_copies, SHARED_WAIT, directories).await
    }

    async fn list_shared(
        &self,
        with: &Together<Directories, Listing>,
        longest: Duration,
        directories: Directories,
    ) -> Result<Listing> {
        if !self.lists_together() {
            return self.list_all(&directories).await;
        }
        let (mut own, shared): (Directories, Directories) = directories.into_iter().partition(|(_, e)| e.takes_own_request());
        if requests_at_most(&shared) > SHARED_REQUESTS {
            own.extend(shared);
            return self.list_all(&own).await;
        }
        let with_others = async {
            match shared.is_empty() {
                true => Ok(Listing::new()),
                false => self.list_with_others(with, longest, shared).await,
            }
        };
        let (mut found, of_shared) = tokio::try_join!(self.list_all(&own), with_others)?;
        found.extend(of_shared);
        Ok(found)
    }

    async fn list_with_others(
        &self,
        with: &Together<Directories, Listing>,
        longest: Duration,
        directories: Directories,
    ) -> Result<Listing> {
        let objects = self.clone();
        let limiter = self.limiter.clone();
        let is_worth_it = move |asked: &[Asked<Directories, Listing>]| {
            let files = asked.iter().flat_map(|a| a.what.values()).map(|e| e.files).sum::<usize>();
            files >= PAGE_KEYS || !limiter.is_busy()
        };
        let listed = with.ask_when(directories.clone(), longest, is_worth_it, move |asked| {
            objects.clone().answer_all(asked)
        });
        match tokio::time::timeout(SHARED_PATIENCE, listed).await {
            Ok(Some(listing)) => Ok(listing),
            // what went wrong for all of them together may concern one only, as may what takes long
            Ok(None) | Err(_) => self.list_all(&directories).await,
        }
    }

    /// Lists for those who asked; none of them gets an answer when that fails.
    async fn answer_all(self, asked: Vec<Asked<Directories, Listing>>) {
        let mut all = Directories::new();
        for (directory, expected) in asked.iter().flat_map(|a| &a.what) {
            let most = all.entry(directory.clone()).or_insert(*expected);
            most.files = most.files.max(expected.files);
            most.flat &= expected.flat;
        }
        let Ok(found) = self.list_all(&all).await else { return };
        let found: BTreeMap<String, Entry> = found.into_iter().collect();
        for asked in asked {
            let listing = asked.what.keys().flat_map(|directory| below(&found, directory)).collect();
            asked.answer(listing);
        }
    }

    /// Whether several callers share LISTs.
    pub fn lists_together(&self) -> bool {
        self.joins() == Joins::Neighbours
    }

    fn joins(&self) -> Joins {
        if self.local.is_some() {
            Joins::Any
        } else if self.operator.info().capability().list_with_start_after {
            Joins::Neighbours
        } else {
            Joins::None
        }
    }

    async fn list_range(&self, range: Vec<(&str, Expected)>) -> Result<Listing> {
        if self.local.is_some() {
            let directories = range.into_iter().map(|(directory, _)| directory.to_string()).collect();
            return observed("list", self.list_local(directories)).await;
        }
        let mut found = Listing::new();
        let mut left = range.as_slice();
        let mut by_itself = Vec::new();
        while left.len() > 1 {
            // what a store refuses of several, it may give of each
            let Ok(Some(page)) = observed("list", self.first_page(left)).await else {
                break;
            };
            let whole = left.iter().take_while(|(directory, _)| page.shows(directory)).count();
            for (directory, expected) in &left[..whole] {
                let there: Vec<_> = below(&page.objects, directory).collect();
                let is_whole = there.len() >= expected.files;
                found.extend(there);
                if !is_whole {
                    // something is missing: only the directory's own listing may say that
                    by_itself.push((directory, expected));
                }
            }
            left = &left[whole..];
            if whole < 2 {
                // what lies between them fills pages: each by itself is less to read, and several are read at once
                break;
            }
        }
        by_itself.extend(left.iter().map(|(directory, expected)| (directory, expected)));
        let each: Vec<_> = by_itself
            .into_iter()
            .map(|(directory, expected)| observed("list", self.list_whole(directory, expected.flat)))
            .collect();
        let mut each = stream::iter(each).buffer_unordered(AT_ONCE);
        while let Some(part) = each.try_next().await? {
            found.extend(part);
        }
        Ok(found)
    }

    /// The first page of what lies from the first directory on to the last, and those that the first and the
    /// last directory go on in; none where the storage lists in no order, so that a page tells nothing of what
    /// it does not hold.
    async fn first_page(&self, range: &[(&str, Expected)]) -> Result<Option<Page>> {
        let (first, last) = (range[0].0, range[range.len() - 1].0);
        let failed = |e| storage_error(&format!("listing from {first} to {last}"), e);
        let lister = self.operator.lister_with(common_prefix(first, last));
        let mut lister = lister.recursive(true).start_after(first).await.map_err(failed)?;
        let mut page = Page::default();
        let mut keys = 0;
        // another page is worth its request only for the end of a directory that must be seen
        while keys % PAGE_KEYS != 0 || keys == 0 || page.end.starts_with(first) || page.end.starts_with(last) {
            let Some(entry) = lister.try_next().await.map_err(failed)? else {
                page.is_last = true;
                break;
            };
            let key = entry.path();
            if key <= page.end.as_str() {
                return Ok(None);
            }
            keys += 1;
            page.end = key.to_string();
            if is_past(key, last) {
                break;
            }
            page.objects.extend(object(&entry));
        }
        Ok(Some(page))
    }
}

/// Which directories may be listed with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joins {
    Any,
    /// Those that follow one another.
    Neighbours,
    None,
}

#[derive(Debug, Default)]
struct Page {
    objects: BTreeMap<String, Entry>,
    /// The key that it ends with; empty when it holds none.
    end: String,
    /// Nothing comes after it.
    is_last: bool,
}

impl Page {
    /// Whether it holds all of a directory.
    fn shows(&self, directory: &str) -> bool {
        self.is_last || is_past(&self.end, directory)
    }
}

/// Whether a key comes after all keys of a directory.
fn is_past(key: &str, directory: &str) -> bool {
    key > directory && !key.starts_with(directory)
}

/// The objects below a directory.
fn below<'a>(objects: &'a BTreeMap<String, Entry>, directory: &'a str) -> impl Iterator<Item = (String, Entry)> + 'a {
    objects
        .range::<str, _>((Bound::Included(directory), Bound::Unbounded))
        .take_while(move |(key, _)| key.starts_with(directory))
        .map(|(key, entry)| (key.clone(), entry.clone()))
}

/// Cuts directories into ranges whose objects fit into a page each; those that take a request of their own stand
/// in nobody's way.
fn ranges(directories: &Directories, joins: Joins) -> Vec<Vec<(&str, Expected)>> {
    let named = directories.iter().map(|(directory, expected)| {
        assert!(directory.ends_with('/'), "a directory ends in a slash: {directory:?}");
        (directory.as_str(), *expected)
    });
    let (own, others): (Vec<_>, Vec<_>) = named.partition(|(_, e)| joins == Joins::Neighbours && e.takes_own_request());
    let mut ranges: Vec<Vec<(&str, Expected)>> = Vec::new();
    let mut room = 0;
    for (directory, expected) in others {
        let follows = |last: &&mut Vec<(&str, Expected)>| match joins {
            Joins::Any => true,
            Joins::None => false,
            // between directories of two kinds lies all that others have of them
            Joins::Neighbours => last.last().is_some_and(|(before, _)| kind(before) == kind(directory)),
        };
        match ranges.last_mut().filter(|_| expected.files <= room).filter(follows) {
            Some(range) => range.push((directory, expected)),
            None => {
                ranges.push(vec![(directory, expected)]);
                room = PAGE_KEYS;
            }
        }
        room = room.saturating_sub(expected.files.max(1));
    }
    ranges.extend(own.into_iter().map(|one| vec![one]));
    ranges
}

fn kind(directory: &str) -> Option<&str> {
    directory.split('/').next()
}

fn common_prefix<'a>(one: &'a str, other: &str) -> &'a str {
    let same = one.char_indices().zip(other.chars()).find(|((_, a), b)| a != b);
    &one[..same.map_or(one.len().min(other.len()), |((at, _), _)| at)]
}

fn object(entry: &opendal::Entry) -> Option<(String, Entry)> {
    let metadata = entry.metadata();
    let entry_of = || Entry {
        size_bytes: metadata.content_length(),
        etag: metadata.etag().map(|e| e.trim_matches('"').to_string()),
    };
    metadata.is_file().then(|| (entry.path().to_string(), entry_of()))
}
