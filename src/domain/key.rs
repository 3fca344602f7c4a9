//! Paths of data files: which are acceptable, whose directory they lie in, and how a restore maps
//! them. Layouts are Milvus' (facts §5) and one plain layout for other engines.
//!
//! A path is relative to the storage root. It is parsed into its parts and rebuilt from them,
//! never edited as text: replacing a substring hits the wrong part sooner or later.

use std::fmt::Write as _;

use super::id::{BuildId, CollectionId, PartitionId, SegmentId};

/// Bytes a path may have at most (S3 allows keys of 1,024 bytes; the root needs some of them).
pub const MAX_PATH_LENGTH: usize = 900;

/// Checks the form of a path, whatever it names.
///
/// # Errors
/// One sentence that says which rule it breaks.
pub fn check(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("is empty".into());
    }
    if path.len() > MAX_PATH_LENGTH {
        return Err(format!("has {} bytes, at most {MAX_PATH_LENGTH} are allowed", path.len()));
    }
    if path.starts_with('/') {
        return Err("is absolute; paths are relative to the storage root".into());
    }
    if path.contains("://") {
        return Err("has a scheme; paths are relative to the storage root".into());
    }
    if path.chars().any(char::is_control) {
        return Err("has a control character".into());
    }
    if path.contains('\\') {
        return Err("has a backslash".into());
    }
    for part in path.split('/') {
        match part {
            "" => return Err("has an empty part".into()),
            "." | ".." => return Err(format!("has the part {part:?}")),
            _ => {}
        }
    }
    Ok(())
}

/// Whose files a directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Segment,
    Build,
}

/// Where the ids stand in the paths of one layout.
struct Layout {
    keyword: &'static str,
    owner: Owner,
    /// The part that must follow at offset 2, for the plain layout.
    literal: Option<&'static str>,
    collection: Option<usize>,
    partition: Option<usize>,
    segment: Option<usize>,
    build: Option<usize>,
    /// Parts of the owner's directory, the keyword included.
    directory: usize,
}

const fn segment_layout(keyword: &'static str) -> Layout {
    Layout {
        keyword,
        owner: Owner::Segment,
        literal: None,
        collection: Some(1),
        partition: Some(2),
        segment: Some(3),
        build: None,
        directory: 4,
    }
}

const fn text_layout(keyword: &'static str, shift: usize) -> Layout {
    Layout {
        keyword,
        owner: Owner::Segment,
        literal: None,
        build: Some(1 + shift),
        collection: Some(3 + shift),
        partition: Some(4 + shift),
        segment: Some(5 + shift),
        directory: 6 + shift,
    }
}

const PLAIN: &str = "collections";
const DELETE_LOG: &str = "delta_log";

const LAYOUTS: &[Layout] = &[
    segment_layout("insert_log"),
    segment_layout(DELETE_LOG),
    segment_layout("stats_log"),
    segment_layout("bm25_stats"),
    text_layout("text_log", 0),
    text_layout("json_key_index_log", 0),
    text_layout("json_stats", 1),
    Layout {
        keyword: "index_files",
        owner: Owner::Build,
        literal: None,
        build: Some(1),
        collection: None,
        partition: Some(3),
        segment: Some(4),
        directory: 5,
    },
    Layout {
        keyword: "index_v1",
        owner: Owner::Build,
        literal: None,
        collection: Some(1),
        partition: Some(2),
        segment: Some(3),
        build: Some(4),
        directory: 5,
    },
    Layout {
        keyword: PLAIN,
        owner: Owner::Segment,
        literal: Some("segments"),
        collection: Some(1),
        partition: None,
        segment: Some(3),
        build: None,
        directory: 4,
    },
    Layout {
        keyword: PLAIN,
        owner: Owner::Build,
        literal: Some("index_builds"),
        collection: Some(1),
        partition: None,
        segment: None,
        build: Some(3),
        directory: 4,
    },
];

/// The top directories of the known layouts, each with its slash.
pub fn managed_directories() -> impl Iterator<Item = &'static str> {
    const DIRECTORIES: [&str; 10] = [
        "insert_log/",
        "delta_log/",
        "stats_log/",
        "bm25_stats/",
        "text_log/",
        "json_key_index_log/",
        "json_stats/",
        "index_files/",
        "index_v1/",
        "collections/",
    ];
    debug_assert!(
        LAYOUTS
            .iter()
            .all(|l| DIRECTORIES.iter().any(|d| d.strip_suffix('/') == Some(l.keyword)))
    );
    DIRECTORIES.into_iter()
}

/// Whether a part of a path is the keyword of a layout.
fn is_keyword(part: &str) -> bool {
    LAYOUTS.iter().any(|layout| layout.keyword == part)
}

/// Checks a prefix below which another system keeps its files, and gives it with a slash at its end;
/// empty for the storage root itself.
///
/// # Errors
/// One sentence that says which rule it breaks: as [`check`], and no part of it may be one that data
/// files or the service's own files begin with, so that it is always clear where a file's own path begins.
pub fn check_prefix(prefix: &str) -> Result<String, String> {
    if prefix.is_empty() {
        return Ok(String::new());
    }
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    check(prefix)?;
    let own = |part: &&str| is_keyword(part) || *part == "snapshots" || part.starts_with(".stillframe");
    match prefix.split('/').find(own) {
        Some(part) => Err(format!("has the part {part:?}, which files themselves begin with")),
        None => Ok(format!("{prefix}/")),
    }
}

/// The ids in a path of a known layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataPath<'a> {
    path: &'a str,
    layout: usize,
    /// Parts before the layout's keyword: where another system's files lie below the root.
    below: usize,
    pub collection: Option<CollectionId>,
    pub partition: Option<PartitionId>,
    pub segment: Option<SegmentId>,
    pub build: Option<BuildId>,
}

/// New ids of a restored segment's files.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub collection: CollectionId,
    pub partition: PartitionId,
    pub segment: SegmentId,
    /// The new build id, for paths that have one.
    pub build: Option<BuildId>,
}

impl<'a> DataPath<'a> {
    /// Reads a path.
    ///
    /// # Errors
    /// One sentence: the form is bad, no layout fits, or an id in it is none.
    pub fn parse(path: &'a str) -> Result<Self, String> {
        check(path)?;
        let parts: Vec<&str> = path.split('/').collect();
        match layout_of(&parts) {
            Some(layout) => Self::read(path, &parts, layout, 0),
            None => Err(format!("begins with no known layout ({LAYOUT_NAMES})")),
        }
    }

    /// Reads the path of a file that another system wrote, which keeps its files in a directory of
    /// its own below the storage root (Milvus: `minio.rootPath`). As in Milvus, the first part
    /// that begins a layout counts.
    ///
    /// # Errors
    /// As [`DataPath::parse`].
    pub fn parse_below(path: &'a str) -> Result<Self, String> {
        check(path)?;
        let parts: Vec<&str> = path.split('/').collect();
        let found = (0..parts.len()).find_map(|below| Some((layout_of(&parts[below..])?, below)));
        match found {
            Some((layout, below)) => Self::read(path, &parts[below..], layout, below),
            None => Err(format!("holds no known layout ({LAYOUT_NAMES})")),
        }
    }

    fn read(path: &'a str, parts: &[&str], layout: usize, below: usize) -> Result<Self, String> {
        let shape = &LAYOUTS[layout];
        if parts.len() <= shape.directory {
            return Err(format!("is too short for the layout {}", shape.keyword));
        }
        let id = |offset: Option<usize>, what: &str| match offset {
            None => Ok(None),
            Some(offset) => canonical(parts[offset])
                .map(Some)
                .ok_or_else(|| format!("has no {what} id at part {}", offset + 1)),
        };
        let partition = match shape.partition {
            Some(offset) if parts[offset] == "-1" => Some(-1),
            offset => id(offset, "partition")?,
        };
        Ok(Self {
            path,
            layout,
            below,
            collection: id(shape.collection, "collection")?.map(CollectionId),
            partition: partition.map(PartitionId),
            segment: id(shape.segment, "segment")?.map(SegmentId),
            build: id(shape.build, "build")?.map(BuildId),
        })
    }

    fn shape(&self) -> &'static Layout {
        &LAYOUTS[self.layout]
    }

    /// Whether the layout begins below a directory of another system, not at the storage root.
    pub fn is_below(&self) -> bool {
        self.below > 0
    }

    /// The directory of another system that the layout lies in, with its slash, or nothing; and the
    /// path from the layout's keyword on.
    pub fn split(&self) -> (&'a str, &'a str) {
        let before = self.below.checked_sub(1).and_then(|n| self.path.match_indices('/').nth(n));
        self.path.split_at(before.map_or(0, |(at, _)| at + 1))
    }

    /// Whether the file lies in the directory of an index build; otherwise in that of a segment.
    pub fn is_of_build(&self) -> bool {
        self.shape().owner == Owner::Build
    }

    /// Whether it is a delete log, whose name in a segment's directory is an id of its own.
    pub fn is_delete_log(&self) -> bool {
        self.shape().keyword == DELETE_LOG
    }

    /// What follows the owner's directory.
    pub fn name(&self) -> &'a str {
        &self.path[self.directory().len()..]
    }

    /// The directory that belongs to the owner of this file, with a trailing slash.
    pub fn directory(&self) -> &'a str {
        let end = self
            .path
            .match_indices('/')
            .nth(self.below + self.shape().directory - 1)
            .map_or(self.path.len(), |(at, _)| at + 1);
        &self.path[..end]
    }

    /// The path of the same file under the ids of a restore's target, which lies at the storage root.
    pub fn remap(&self, target: &Target) -> String {
        let shape = self.shape();
        // once for each of a million files: one text, which grows at most once
        let mut mapped = String::with_capacity(self.path.len() + 32);
        for (at, part) in self.path.split('/').skip(self.below).enumerate() {
            if at > 0 {
                mapped.push('/');
            }
            let at = Some(at);
            let id = if at == shape.collection {
                Some(target.collection.0)
            } else if at == shape.partition {
                Some(target.partition.0)
            } else if at == shape.segment {
                Some(target.segment.0)
            } else if at == shape.build {
                target.build.map(|b| b.0)
            } else {
                None
            };
            match id {
                // a String takes everything
                Some(id) => _ = write!(mapped, "{id}"),
                None => mapped.push_str(part),
            }
        }
        mapped
    }
}

const LAYOUT_NAMES: &str = "insert_log, delta_log, stats_log, bm25_stats, text_log, json_key_index_log, json_stats, index_files, index_v1, collections/{id}/segments, collections/{id}/index_builds";

/// The layout that these parts begin with.
fn layout_of(parts: &[&str]) -> Option<usize> {
    let begins = |l: &Layout| parts.first() == Some(&l.keyword) && l.literal.is_none_or(|word| parts.get(2) == Some(&word));
    LAYOUTS.iter().position(begins)
}

/// What a bundle calls a file: its path without the directory of another system that it lies in here,
/// so that the layout's keyword comes first. A path of no known layout stays as it is.
pub fn own_path(path: &str) -> &str {
    DataPath::parse_below(path).map_or(path, |parsed| parsed.split().1)
}

/// An id in its one canonical form: no sign, no leading zero, in range.
fn canonical(part: &str) -> Option<i64> {
    if part.len() > 1 && part.starts_with('0') {
        return None;
    }
    super::id::parse_non_negative(part).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target = Target {
        collection: CollectionId(91),
        partition: PartitionId(92),
        segment: SegmentId(93),
        build: Some(BuildId(94)),
    };

    #[test]
    fn what_stands_before_the_keyword_is_told_from_the_path_itself() {
        for (path, before, own) in [
            ("insert_log/1/2/3/100/7", "", "insert_log/1/2/3/100/7"),
            ("files/insert_log/1/2/3/100/7", "files/", "insert_log/1/2/3/100/7"),
            ("a/b/index_files/4/1/2/3/insert_log", "a/b/", "index_files/4/1/2/3/insert_log"),
            (
                "files/collections/1/segments/3/insert_log",
                "files/",
                "collections/1/segments/3/insert_log",
            ),
        ] {
            let parsed = DataPath::parse_below(path).expect(path);
            assert_eq!(parsed.split(), (before, own));
            assert_eq!(own_path(path), own);
        }
        assert_eq!(own_path("no/layout"), "no/layout");
    }

    #[test]
    fn every_layout_is_mapped_part_by_part() {
        for (source, target) in [
            ("insert_log/1/2/3/100/7", "insert_log/91/92/93/100/7"),
            ("insert_log/3/3/3/3/3", "insert_log/91/92/93/3/3"),
            ("delta_log/1/-1/3/7", "delta_log/91/92/93/7"),
            ("stats_log/1/2/3/100/1", "stats_log/91/92/93/100/1"),
            ("bm25_stats/1/2/3/100/7", "bm25_stats/91/92/93/100/7"),
            ("index_files/4/1/2/3/HNSW", "index_files/94/1/92/93/HNSW"),
            ("index_v1/1/2/3/4/1/HNSW", "index_v1/91/92/93/94/1/HNSW"),
            ("text_log/4/1/1/2/3/100/f", "text_log/94/1/91/92/93/100/f"),
            ("json_key_index_log/4/1/1/2/3/100/f", "json_key_index_log/94/1/91/92/93/100/f"),
            (
                "json_stats/2/4/1/1/2/3/100/shared_key_index/f",
                "json_stats/2/94/1/91/92/93/100/shared_key_index/f",
            ),
            (
                "collections/1/segments/3/a/b.parquet",
                "collections/91/segments/93/a/b.parquet",
            ),
            ("collections/1/index_builds/4/x.idx", "collections/91/index_builds/94/x.idx"),
        ] {
            let parsed = DataPath::parse(source).unwrap_or_else(|e| panic!("{source} {e}"));
            assert_eq!(parsed.remap(&TARGET), target);
        }
    }

    #[test]
    fn a_directory_ends_in_a_slash_and_holds_its_file_only_for_its_owner() {
        let path = DataPath::parse("insert_log/1/2/12/100/7").expect("parses");
        assert_eq!(path.directory(), "insert_log/1/2/12/");
        assert!(!"insert_log/1/2/123/100/7".starts_with(path.directory()));
    }

    #[test]
    fn files_of_another_system_are_mapped_out_of_its_directory() {
        for (source, directory, target) in [
            (
                "files/insert_log/1/2/3/100/7",
                "files/insert_log/1/2/3/",
                "insert_log/91/92/93/100/7",
            ),
            (
                "a/b/index_files/4/1/2/3/HNSW",
                "a/b/index_files/4/1/2/3/",
                "index_files/94/1/92/93/HNSW",
            ),
            ("insert_log/1/2/3/100/7", "insert_log/1/2/3/", "insert_log/91/92/93/100/7"),
        ] {
            let parsed = DataPath::parse_below(source).unwrap_or_else(|e| panic!("{source} {e}"));
            assert_eq!((parsed.directory(), parsed.remap(&TARGET)), (directory, target.to_string()));
            assert_eq!(parsed.is_below(), DataPath::parse(source).is_err(), "{source}");
        }
        for path in ["files/1/2/3", "../insert_log/1/2/3/4", "files/insert_log/1/2/3", ""] {
            assert!(DataPath::parse_below(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_delete_log_is_told_from_other_files_and_has_a_name() {
        for (path, is_delete_log, name) in [
            ("files/delta_log/1/2/3/7", true, "7"),
            ("delta_log/1/-1/3/7", true, "7"),
            ("insert_log/1/2/3/100/7", false, "100/7"),
        ] {
            let parsed = DataPath::parse_below(path).expect(path);
            assert_eq!((parsed.is_delete_log(), parsed.name()), (is_delete_log, name), "{path}");
        }
    }

    #[test]
    fn hostile_paths_are_refused() {
        for path in [
            "",
            "/insert_log/1/2/3/4",
            "insert_log/1/2/3/../4",
            "insert_log/1/2/3//4",
            "insert_log/./1/2/3/4",
            "s3://b/insert_log/1/2/3/4",
            "insert_log/1/2/3/a\nb",
            "insert_log\\1",
            "insert_log/1/2/3",
            "insert_log/1/2/03/4",
            "insert_log/1/2/+3/4",
            "insert_log/1/2/lobs/100/f",
            "elsewhere/1/2/3/4",
            "insert_log/1/-2/3/4",
            "insert_log/-1/2/3/4",
            "collections/1/other/3/4",
            "snapshots/1/metadata/2.json",
        ] {
            assert!(DataPath::parse(path).is_err(), "{path:?}");
        }
    }
}
