//! Checks of segments and index builds that the engine registers.
//!
//! A segment and an index build own their directories: a file must lie where the path carries
//! its owner's id and names no other collection, partition or segment. Ids are unique, the
//! layouts are a closed set, so no owner's directory lies inside another's and a reference to a
//! segment or build protects every file of it. (Of another system's files, which are never deleted here, the delete
//! logs of a compaction's child may be its parents', too: `child_deletes`.)

use std::collections::{HashMap, HashSet};

use super::child_deletes::{is_of_child, refuse_one_name};
use crate::domain::access::{Caller, Permission};
use crate::domain::collection::{Channel, Collection, Ownership, Partition};
use crate::domain::id::{BuildId, FieldId, IndexId, PartitionId, SegmentId};
use crate::domain::index::{BuildContent, Index, IndexBuild};
use crate::domain::key::DataPath;
use crate::domain::segment::{File, Level, Segment, SegmentState};
use crate::domain::{Code, Error, FieldError, Result, timestamp};
use crate::objects::{Directories, Entry, Expected, Objects};
use crate::store::{self, PgConnection};

/// Whether files are looked for at registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Every file must be there with its size; its ETag is recorded.
    Size,
    /// Every file must be there; the size that it has is recorded, whatever the request says.
    Exists,
    /// Trust the request.
    None,
}

/// How a request names a partition.
#[derive(Debug, Clone, PartialEq)]
pub enum PartitionRef {
    Name(String),
    Id(PartitionId),
}

/// An index build to be registered.
#[derive(Debug, Clone)]
pub struct NewBuild {
    pub build_id: BuildId,
    pub index_id: Option<IndexId>,
    pub index_name: Option<String>,
    pub content: BuildContent,
}

/// A segment to be registered.
#[derive(Debug, Clone)]
pub struct NewSegment {
    /// `partition_id` and `collection_id` are set here, from `partition` and the collection.
    pub segment: Segment,
    pub partition: PartitionRef,
    pub builds: Vec<NewBuild>,
}

/// Bytes of a file at most: 64 TiB, more than any object storage holds in one object.
const MAX_FILE_BYTES: u64 = 1 << 46;
/// Files of a segment at most.
const MAX_FILES: usize = 100_000;
/// Rows of a segment at most.
const MAX_ROWS: i64 = 1 << 46;

/// How far above the present time, as [`timestamp::from_millis`] makes ids of it, chosen ids may lie:
/// the clocks of engines differ from the database's.
pub(super) const ID_SLACK_MS: i64 = 10 * 60 * 1000;

/// The highest segment or build id that a caller may choose. Ids are one set over the whole catalog,
/// and new ones are given out by the time: whoever might take those of the future would stand in the
/// way of everybody's restores. An engine's ids are of the past. Whoever may write everywhere may
/// choose any.
pub(super) async fn highest_choice(conn: &mut PgConnection, caller: &Caller) -> Result<i64> {
    if caller.principal().may_everywhere(Permission::Write) {
        return Ok(i64::MAX);
    }
    let now = store::catalog::now_millis(conn).await?;
    Ok(timestamp::from_millis(now.saturating_add(ID_SLACK_MS)))
}

/// What segments of a collection are checked against.
pub(super) struct Context<'a> {
    pub collection: &'a Collection,
    pub partitions: &'a [Partition],
    pub channels: &'a [Channel],
    pub indexes: &'a [Index],
    pub fields: HashSet<FieldId>,
    /// Another system's files may lie below a prefix; this is what all of their paths begin with.
    below: Option<String>,
    /// Ids of segments and builds at most.
    highest_id: i64,
}

impl<'a> Context<'a> {
    pub fn new(collection: &'a Collection, partitions: &'a [Partition], channels: &'a [Channel], indexes: &'a [Index]) -> Self {
        Self {
            collection,
            partitions,
            channels,
            indexes,
            fields: collection.schema.field_ids(),
            below: None,
            highest_id: i64::MAX,
        }
    }

    /// Refuses ids of segments and builds above this one, see [`highest_choice`].
    pub fn up_to(mut self, highest_id: i64) -> Self {
        self.highest_id = highest_id;
        self
    }

    /// Takes paths of another system, below this prefix.
    pub fn below(mut self, prefix: &str) -> Self {
        self.below = Some(prefix.to_string());
        self
    }

    /// Checks a segment and fills in its ids; `at` is where it stands in the request.
    pub fn segment(&self, new: NewSegment, at: &str) -> Result<(Segment, Vec<IndexBuild>)> {
        let mut segment = new.segment;
        self.chosen(segment.segment_id.0, &format!("{at}/segment_id"))?;
        segment.collection_id = self.collection.collection_id;
        segment.partition_id = self.partition(&new.partition, segment.level, at)?;
        if matches!(segment.state, SegmentState::Dropped | SegmentState::Condemned) {
            return Err(Error::invalid(
                format!("{at}/state"),
                "must be importing, growing, sealed or flushed",
            ));
        }
        if !self.channels.iter().any(|c| c.channel_name == segment.channel_name) {
            let why = format!(
                "collection {:?} has no channel {:?}",
                self.collection.name, segment.channel_name
            );
            return Err(Error::invalid(format!("{at}/channel_name"), why));
        }
        self.content(&segment, at)?;
        let mut builds = Vec::with_capacity(new.builds.len());
        for (n, build) in new.builds.into_iter().enumerate() {
            builds.push(self.build(build, &segment, &format!("{at}/index_builds/{n}"))?);
        }
        Ok((segment, builds))
    }

    fn chosen(&self, id: i64, at: &str) -> Result<()> {
        if id <= self.highest_id {
            return Ok(());
        }
        let why = format!(
            "{id} is an id of the future (now at most {}), which needs the permission \"write\" on every database",
            self.highest_id
        );
        Err(Code::PermissionDenied
            .error(why.clone())
            .with_fields(vec![FieldError::new(at, why)]))
    }

    fn partition(&self, partition: &PartitionRef, level: Level, at: &str) -> Result<PartitionId> {
        let found = match partition {
            PartitionRef::Id(PartitionId::ALL) if level == Level::L0 => return Ok(PartitionId::ALL),
            PartitionRef::Id(PartitionId::ALL) => {
                return Err(Error::invalid(
                    format!("{at}/partition_id"),
                    "-1 (all partitions) is for L0 segments only",
                ));
            }
            PartitionRef::Id(id) => self.partitions.iter().find(|p| p.partition_id == *id),
            PartitionRef::Name(name) => self.partitions.iter().find(|p| p.name == *name),
        };
        found.map(|p| p.partition_id).ok_or_else(|| {
            let (key, what) = match partition {
                PartitionRef::Id(id) => ("partition_id", id.to_string()),
                PartitionRef::Name(name) => ("partition_name", format!("{name:?}")),
            };
            Error::invalid(
                format!("{at}/{key}"),
                format!("collection {:?} has no partition {what}", self.collection.name),
            )
        })
    }

    /// Checks fields, storage version and paths of a segment's content.
    pub fn content(&self, segment: &Segment, at: &str) -> Result<()> {
        let content = &segment.content;
        if segment.num_of_rows > MAX_ROWS {
            return Err(Error::invalid(
                format!("{at}/num_of_rows"),
                format!("must be at most {MAX_ROWS}"),
            ));
        }
        // such a manifest is no file of ours to protect, copy and map yet
        if !content.manifest_path.is_empty() {
            return Err(Code::UnsupportedStorageVersion
                .error(format!(
                    "{at}/manifest_path: segments with a manifest of their own are not supported"
                ))
                .with_fields(vec![FieldError::new(format!("{at}/manifest_path"), "must be empty")]));
        }
        // version 3 keeps files that no list names (recursive listing, LOB files shared by a partition)
        if !(0..=2).contains(&content.storage_version) {
            return Err(Code::UnsupportedStorageVersion
                .error(format!(
                    "{at}/storage_version: storage version {} is not supported, 0 to 2 are",
                    content.storage_version
                ))
                .with_fields(vec![FieldError::new(format!("{at}/storage_version"), "must be 0, 1 or 2")]));
        }
        if segment.level == Level::L0 && content.files.binlogs.iter().any(|g| !g.logs.is_empty()) {
            return Err(Error::invalid(format!("{at}/binlogs"), "an L0 segment holds deletes only"));
        }
        // column groups of storage version 2 are numbered, not fields
        if content.storage_version < 2
            && let Some(unknown) = content.files.field_ids().find(|f| !self.fields.contains(f))
        {
            return Err(Error::invalid(
                at,
                format!(
                    "field {unknown} is not in the schema of collection {:?}",
                    self.collection.name
                ),
            ));
        }
        if content.files.count() > MAX_FILES {
            return Err(Error::invalid(at, format!("a segment has at most {MAX_FILES} files")));
        }
        let mut seen = HashSet::new();
        for (file, build) in content.files.files() {
            self.path(file, segment, build, false, at)?;
            if !seen.insert(file.path.as_str()) {
                return Err(bad_path(at, &file.path, "is given twice"));
            }
        }
        if self.below.is_some() {
            refuse_one_name(segment).map_err(|why| {
                let why = format!("segment {} {why}", segment.segment_id);
                Code::InvalidPath
                    .error(why.clone())
                    .with_fields(vec![FieldError::new(at, why)])
            })?;
        }
        Ok(())
    }

    /// Checks an index build of a segment.
    pub fn build(&self, new: NewBuild, segment: &Segment, at: &str) -> Result<IndexBuild> {
        self.chosen(new.build_id.0, &format!("{at}/build_id"))?;
        let index = match (new.index_id, &new.index_name) {
            (Some(id), _) => self.indexes.iter().find(|i| i.index_id == id),
            (None, Some(name)) => self.indexes.iter().find(|i| i.index_name == *name),
            (None, None) => return Err(Error::invalid(format!("{at}/index_id"), "index_id or index_name is required")),
        };
        let Some(index) = index else {
            let key = if new.index_id.is_some() { "index_id" } else { "index_name" };
            return Err(Error::invalid(
                format!("{at}/{key}"),
                format!("collection {:?} has no such index", self.collection.name),
            ));
        };
        let mut content = new.content;
        if content.field_id != 0 && content.field_id != index.field_id.0 {
            let why = format!("index {:?} is on field {}", index.index_name, index.field_id);
            return Err(Error::invalid(format!("{at}/field_id"), why));
        }
        content.field_id = index.field_id.0;
        content.index_name.clone_from(&index.index_name);
        if content.index_params.is_empty() {
            content.index_params = index.index_params.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        }
        let mut seen = HashSet::new();
        for file in &content.files {
            self.path(file, segment, Some(new.build_id), true, at)?;
            if !seen.insert(file.path.as_str()) {
                return Err(bad_path(at, &file.path, "is given twice"));
            }
        }
        Ok(IndexBuild {
            build_id: new.build_id,
            segment_id: segment.segment_id,
            index_id: index.index_id,
            content,
        })
    }

    fn path(&self, file: &File, segment: &Segment, build: Option<BuildId>, of_build: bool, at: &str) -> Result<()> {
        if file.size_bytes > MAX_FILE_BYTES {
            return Err(Error::invalid(
                at,
                format!(
                    "{} has {} bytes, at most {MAX_FILE_BYTES} are possible",
                    file.path, file.size_bytes
                ),
            ));
        }
        // what is only read here may lie where another system keeps it
        let parsed = match (&self.below, self.collection.ownership) {
            (Some(prefix), _) if !file.path.starts_with(prefix) => Err(format!("does not lie below {prefix}")),
            (None, Ownership::Owned) => DataPath::parse(&file.path),
            (Some(_), _) | (None, Ownership::External) => DataPath::parse_below(&file.path),
        };
        let path = parsed.map_err(|why| bad_path(at, &file.path, &why))?;
        let refuse = |why: String| Err(bad_path(at, &file.path, &why));
        if path.is_of_build() != of_build {
            let whose = if of_build { "an index build" } else { "a segment" };
            return refuse(format!("does not lie in a directory of {whose}"));
        }
        if let Some(collection) = path.collection
            && collection != self.collection.collection_id
        {
            return refuse(format!(
                "is a path of collection {collection}, not of {}",
                self.collection.collection_id
            ));
        }
        if let Some(partition) = path.partition
            && partition != segment.partition_id
        {
            return refuse(format!("is a path of partition {partition}, not of {}", segment.partition_id));
        }
        if let Some(owner) = path.segment
            && owner != segment.segment_id
            && !(self.below.is_some() && is_of_child(&path, segment.segment_id))
        {
            return refuse(format!("is a path of segment {owner}, not of {}", segment.segment_id));
        }
        if let Some(owner) = path.build
            && Some(owner) != build
        {
            return refuse(format!("is a path of build {owner}, not of {}", build.map_or(-1, |b| b.0)));
        }
        Ok(())
    }
}

fn bad_path(at: &str, path: &str, why: &str) -> Error {
    let shown: String = path.chars().take(200).collect();
    Code::InvalidPath
        .error(format!("the path {shown:?} {why}"))
        .with_fields(vec![FieldError::new(at, format!("the path {shown:?} {why}"))])
}

/// What segments are in the database against what is in the storage.
pub(super) async fn check_files(
    objects: &Objects,
    segments: &mut [(Segment, Vec<IndexBuild>)],
    check: Check,
    at: impl Fn(usize) -> String + Sync,
) -> Result<()> {
    if check == Check::None {
        return Ok(());
    }
    let paths = segments
        .iter()
        .flat_map(|(segment, builds)| files_of(segment, builds))
        .map(|f| f.path.as_str());
    let found = objects.list_all(&directories(paths)?).await?;
    for (n, (segment, builds)) in segments.iter_mut().enumerate() {
        let logs = segment.content.files.files_mut().map(|(file, _)| file);
        for file in logs.chain(builds.iter_mut().flat_map(|b| b.content.files.iter_mut())) {
            match found.get(&file.path) {
                None => return Err(missing(&at(n), file)),
                Some(entry) if check == Check::Size && entry.size_bytes != file.size_bytes => {
                    return Err(wrong_size(&at(n), file, entry));
                }
                Some(entry) => {
                    file.size_bytes = entry.size_bytes;
                    file.etag.clone_from(&entry.etag);
                }
            }
        }
    }
    Ok(())
}

fn files_of<'a>(segment: &'a Segment, builds: &'a [IndexBuild]) -> impl Iterator<Item = &'a File> {
    segment
        .content
        .files
        .files()
        .map(|(file, _)| file)
        .chain(builds.iter().flat_map(|b| &b.content.files))
}

/// The owners' directories that hold these paths, each with how many; of an owner all of whose files lie in one
/// directory, only that one.
pub(super) fn directories<'a>(paths: impl Iterator<Item = &'a str>) -> Result<Directories> {
    // how many lie below the owner's directory, and the directory in which all of them do, if it is one
    let mut owners: HashMap<&str, (usize, Option<&str>)> = HashMap::new();
    for path in paths {
        // checked when it was registered: only another system's has a prefix
        let parsed = DataPath::parse_below(path).map_err(|why| Error::internal(format!("the path {path:?} {why}")))?;
        let parent = &path[..=path.rfind('/').unwrap_or_default()];
        let (files, inside) = owners.entry(parsed.directory()).or_insert((0, Some(parent)));
        *files += 1;
        *inside = inside.filter(|of_others| *of_others == parent);
    }
    let expected = |(owner, (files, inside)): (&str, (usize, Option<&str>))| match inside {
        Some(directory) => (directory.to_string(), Expected::inside(files)),
        None => (owner.to_string(), Expected::below(files)),
    };
    Ok(owners.into_iter().map(expected).collect())
}

fn missing(at: &str, file: &File) -> Error {
    let text = format!("{} is not in the object storage", file.path);
    Code::FileMissing
        .error(text.clone())
        .with_fields(vec![FieldError::new(at, text)])
}

fn wrong_size(at: &str, file: &File, entry: &Entry) -> Error {
    let text = format!(
        "{} has {} bytes in the object storage, not {}",
        file.path, entry.size_bytes, file.size_bytes
    );
    Code::FileSizeMismatch
        .error(text.clone())
        .with_fields(vec![FieldError::new(at, text)])
}

/// Segment ids that stand twice in a request.
pub(super) fn refuse_twice(segments: &[(Segment, Vec<IndexBuild>)], at: impl Fn(usize) -> String) -> Result<()> {
    let mut ids: HashSet<SegmentId> = HashSet::new();
    let mut builds: HashSet<BuildId> = HashSet::new();
    for (n, (segment, own)) in segments.iter().enumerate() {
        if !ids.insert(segment.segment_id) {
            return Err(Error::invalid(
                at(n),
                format!("segment {} is given twice", segment.segment_id),
            ));
        }
        if let Some(twice) = own.iter().find(|b| !builds.insert(b.build_id)) {
            return Err(Error::invalid(
                at(n),
                format!("index build {} is given twice", twice.build_id),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_goes_no_further_up_than_the_files_of_an_owner_need() {
        let paths = [
            // one directory below the segment's
            "insert_log/1/2/10/100/1",
            "insert_log/1/2/10/100/2",
            // two of them
            "insert_log/1/2/11/100/3",
            "insert_log/1/2/11/101/4",
            // the segment's own
            "delta_log/1/2/10/5",
            // a build, in the directory of another system
            "other/index_files/7/1/2/10/6",
        ];
        let found = directories(paths.into_iter()).expect("known layouts");
        let wanted = Directories::from([
            ("insert_log/1/2/10/100/".into(), Expected::inside(2)),
            ("insert_log/1/2/11/".into(), Expected::below(2)),
            ("delta_log/1/2/10/".into(), Expected::inside(1)),
            ("other/index_files/7/1/2/10/".into(), Expected::inside(1)),
        ]);
        assert_eq!(found, wanted);
    }
}
