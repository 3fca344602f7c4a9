//! What is checked before a restore copies anything: by a dry run and by the `Validating` phase,
//! with the same code.

use std::collections::HashSet;

use super::Service;
use super::registration::directories;
use crate::domain::collection::DEFAULT_PARTITION;
use crate::domain::id::{BuildId, DatabaseId, SegmentId, SnapshotId};
use crate::domain::manifest::Manifest;
use crate::domain::plan::{Room, ttl_warning};
use crate::domain::problem::{FileProblem, ProblemKind, Problems};
use crate::domain::restore::RestoreOptions;
use crate::domain::segment::{File, Segment, is_md5};
use crate::domain::snapshot::{CapturedCollection, Snapshot};
use crate::domain::verification::Level;
use crate::domain::{Code, Error, FieldError, Result, name, timestamp};
use crate::objects::{Entry, requests_at_most};
use crate::store::{self, PgConnection};
use sqlx::{Postgres, Transaction};

/// Segments handled at a time; bounds the memory.
pub(super) const PAGE: i64 = 500;
/// Files that are listed together; bounds the memory too.
const LISTED_FILES: usize = 20_000;

/// Tries to hold the room, of five seconds each at most.
const ROOM_TRIES: u32 = 6;

/// What a look at the files of a snapshot found.
#[derive(Debug, Default)]
pub(super) struct Inspection {
    pub segments: i64,
    pub index_builds: i64,
    pub files: i64,
    pub bytes: i64,
    /// LIST calls at most.
    pub requests: i64,
    pub problems: Problems,
    /// Paths of what is wrong in the page that was looked at last.
    pub wrong: HashSet<String>,
}

impl Service {
    /// Looks for every file of the segments that are taken, by listing. Sizes are compared above
    /// level `exists`, comparable ETags at `checksum`.
    pub(super) async fn inspect(
        &self,
        snapshot: SnapshotId,
        level: Level,
        takes: impl Fn(&Segment) -> bool + Send,
    ) -> Result<Inspection> {
        let mut found = Inspection::default();
        let mut after = None;
        loop {
            let page = store::snapshots::manifests(&mut *self.conn().await?, snapshot, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = Some(last.segment.segment_id.0);
            let chosen: Vec<Manifest> = page.into_iter().filter(|m| takes(&m.segment)).collect();
            self.inspect_page(&chosen, level, &mut found).await?;
        }
    }

    /// The same of some segments.
    pub(super) async fn inspect_page(&self, manifests: &[Manifest], level: Level, found: &mut Inspection) -> Result<()> {
        found.wrong.clear();
        let compares_etags = level == Level::Checksum && self.objects.compares_etags();
        let mut left = manifests;
        while !left.is_empty() {
            let part;
            (part, left) = left.split_at(listed_together(left));
            let paths = part.iter().flat_map(files).map(|(file, _)| file.path.as_str());
            let wanted = directories(paths)?;
            found.requests += i64::try_from(requests_at_most(&wanted)).unwrap_or(i64::MAX);
            let listed = self.objects.list_all(&wanted).await?;
            for manifest in part {
                found.segments += 1;
                found.index_builds += manifest.builds.len() as i64;
                for (file, _) in files(manifest) {
                    found.files += 1;
                    found.bytes = found.bytes.saturating_add(i64::try_from(file.size_bytes).unwrap_or(i64::MAX));
                    let segment = manifest.segment.segment_id;
                    if let Some(problem) = judge(file, segment, listed.get(&file.path), level, compares_etags) {
                        found.wrong.insert(problem.path.clone());
                        found.problems.add(problem);
                    }
                }
            }
        }
        Ok(())
    }

    /// The room that a restore has now: what running jobs have yet to copy is not free any more.
    pub(super) async fn room(&self, conn: &mut PgConnection) -> Result<Room> {
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let quota_bytes = self.settings.quota_bytes.map(signed);
        // asked before the storage: what is copied in between counts twice, never not at all
        let claimed_bytes = store::usage::claimed_bytes(conn).await?;
        let free_bytes = self.objects.free_bytes().await?.map(signed);
        Ok(Room {
            free_bytes: free_bytes.map(|free| free.saturating_sub(claimed_bytes).max(0)),
            claimed_bytes,
            quota_bytes,
            used_bytes: match quota_bytes {
                Some(_) => Some(store::usage::owned_bytes(conn).await?),
                None => None,
            },
        })
    }

    /// Begins the transaction in which a job moves on, and holds what was laid out against the room in it: of
    /// two jobs that fit only one by one, the second fails.
    pub(super) async fn begin_with_room(&self, needed: i64) -> Result<Transaction<'static, Postgres>> {
        let mut tries = 1;
        loop {
            let mut tx = self.begin().await?;
            match self.hold_room(&mut tx, needed).await {
                Ok(()) => return Ok(tx),
                // others hold it: all that was checked and laid out would be thrown away for that
                Err(error) if error.code() == Code::DatabaseUnavailable && tries < ROOM_TRIES => {
                    tries += 1;
                    tracing::warn!(error = %error, cause = error.cause_chain(), "can't hold the room, trying again");
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn hold_room(&self, conn: &mut PgConnection, needed: i64) -> Result<()> {
        if self.settings.quota_bytes.is_none() && self.objects.free_bytes().await?.is_none() {
            return Ok(());
        }
        store::control::lock_room(conn).await?;
        self.room(conn).await?.lacks(needed).map_or(Ok(()), Err)
    }
}

/// What is wrong with a file, by what a listing says of it.
fn judge(file: &File, segment: SegmentId, found: Option<&Entry>, level: Level, compares_etags: bool) -> Option<FileProblem> {
    let path = &file.path;
    let (kind, detail) = match found {
        None => (ProblemKind::Missing, format!("file {path} of segment {segment} is missing")),
        Some(_) if level == Level::Exists => return None,
        Some(entry) if entry.size_bytes != file.size_bytes => (
            ProblemKind::WrongSize,
            format!(
                "file {path} of segment {segment} has {} bytes, {} were recorded",
                entry.size_bytes, file.size_bytes
            ),
        ),
        Some(entry) => match (&file.etag, &entry.etag) {
            (Some(recorded), Some(now)) if compares_etags && is_md5(recorded) && is_md5(now) && recorded != now => (
                ProblemKind::WrongEtag,
                format!("file {path} of segment {segment} has the ETag {now}, {recorded} was recorded: it was overwritten"),
            ),
            _ => return None,
        },
    };
    Some(FileProblem {
        path: path.clone(),
        segment_id: Some(segment),
        kind,
        detail,
    })
}

/// How many of these segments are listed together: at least one.
pub(super) fn listed_together(manifests: &[Manifest]) -> usize {
    let mut listed = 0;
    let fits = |manifest: &&Manifest| {
        listed += files(manifest).count();
        listed <= LISTED_FILES
    };
    manifests.iter().take_while(fits).count().max(1)
}

/// The files of a segment and its builds, each with its build, in the order of their manifest.
pub(super) fn files(manifest: &Manifest) -> impl Iterator<Item = (&File, Option<BuildId>)> {
    let builds = manifest
        .builds
        .iter()
        .flat_map(|b| b.content.files.iter().map(|f| (f, Some(b.build_id))));
    manifest.segment.content.files.files().chain(builds)
}

/// Breaches of a request that are listed at most.
const MAX_BREACHES: usize = 100;

/// What the options of a restore break, judged by the snapshot alone.
pub(super) fn check_options(captured: &CapturedCollection, options: &RestoreOptions) -> Vec<Error> {
    let is_known = |name: &String| captured.partitions.iter().any(|p| p.name == *name);
    let unknown = |pointer: String, name: &str| {
        let why = format!("the snapshot has no partition {name:?}");
        Code::PartitionNotFound
            .error(why.clone())
            .with_fields(vec![FieldError::new(pointer, why)])
    };
    let mut errors = Vec::new();
    for (at, name) in options.partitions.iter().enumerate().filter(|(_, name)| !is_known(name)) {
        errors.push(unknown(format!("/partitions/{at}"), name));
    }
    for (from, to) in &options.rename {
        let pointer = format!("/rename/{}", from.replace('~', "~0").replace('/', "~1"));
        if !is_known(from) {
            errors.push(unknown(pointer, from));
            continue;
        }
        if let Err(why) = name::check(to) {
            errors.push(Error::invalid(pointer, why));
            continue;
        }
        let takers = captured.partitions.iter().filter(|p| options.partition_name(&p.name) == to);
        if takers.count() > 1 {
            errors.push(Error::invalid(pointer, format!("several partitions would be named {to:?}")));
        }
    }
    let has_default = |mut names: Box<dyn Iterator<Item = &str> + '_>| names.any(|n| n == DEFAULT_PARTITION);
    let before = captured.partitions.iter().map(|p| p.name.as_str());
    let after = captured.partitions.iter().map(|p| options.partition_name(&p.name));
    if has_default(Box::new(before)) && !has_default(Box::new(after)) {
        let why = format!("a collection must keep a partition {DEFAULT_PARTITION:?}");
        let pointer = format!("/rename/{DEFAULT_PARTITION}");
        errors.push(
            Code::PartitionRequired
                .error(why.clone())
                .with_fields(vec![FieldError::new(pointer, why)]),
        );
    }
    errors.truncate(MAX_BREACHES);
    errors
}

/// The aliases that the target can't get: a name is taken, or is the target's own.
pub(super) async fn check_aliases(
    conn: &mut PgConnection,
    db: DatabaseId,
    captured: &CapturedCollection,
    options: &RestoreOptions,
    collection_name: &str,
) -> Result<Vec<Error>> {
    if !options.aliases {
        return Ok(Vec::new());
    }
    let mut taken = store::names::taken(conn, db, &captured.aliases).await?;
    // a running job has taken its target's name itself
    taken.retain(|name| name != collection_name);
    if let Some(own) = captured.aliases.iter().find(|a| *a == collection_name) {
        taken.push(own.clone());
    }
    Ok(taken.iter().map(|alias| alias_taken(alias)).collect())
}

/// The error of an alias that the target can't get.
pub(super) fn alias_taken(alias: &str) -> Error {
    let why = format!("the alias {alias:?} can't be recreated: the name is taken by a collection, an alias or a restore");
    Code::AliasAlreadyExists
        .error(why.clone())
        .with_fields(vec![FieldError::new("/aliases", why)])
}

/// What the operator should know although it does not stop a restore.
pub(super) fn warnings(snapshot: &Snapshot, captured: &CapturedCollection, options: &RestoreOptions, now_ms: i64) -> Vec<String> {
    let age_ms = now_ms.saturating_sub(timestamp::to_millis(snapshot.create_ts));
    let mut warnings: Vec<String> = ttl_warning(&options.apply(&captured.properties), age_ms)
        .into_iter()
        .collect();
    if snapshot.external {
        warnings.push("the snapshot's files belong to another system, which may delete them while they are copied".into());
    }
    if options.aliases && captured.aliases.is_empty() {
        warnings.push("aliases were asked for, and the snapshot has none".into());
    }
    warnings
}
