//! First phase of materializing: are the sources whole? Then the target is laid out.
//!
//! A segment that snapshots captured in several versions is copied once: its target gets every version,
//! under the same number, and one that names the files of all of them, which is what is copied.

use std::collections::{HashMap, HashSet};

use super::restore_check::{Inspection, PAGE, files};
use super::restore_run::{Outcome, RunError};
use super::restore_validate::{Mapping, map_manifest};
use super::{Service, commit};
use crate::crash_point;
use crate::domain::Result;
use crate::domain::id::{BuildId, SegmentId};
use crate::domain::index::IndexBuild;
use crate::domain::manifest::Manifest;
use crate::domain::restore::{ClaimedTask, RestoreJob};
use crate::domain::segment::{FieldIndexFiles, FieldLogs, Segment, SegmentFiles};
use crate::domain::verification::Level;
use crate::store::id_blocks::Purpose;
use crate::store::materialize::NeededSegment;
use crate::store::tasks::{LaidOut, NewCopy};
use crate::store::{self, PgConnection};

impl Service {
    /// Checks that every file that lives or that a snapshot captured is there with its recorded size, then
    /// inserts the target's segments and the copy tasks page by page, fenced by the task's attempt.
    pub(super) async fn validate_materialize(&self, task: &ClaimedTask, job: &RestoreJob) -> Result<Outcome, RunError> {
        self.begin_validation(task).await?;
        let source = store::materialize::find(&mut *self.conn().await?, job.job_id).await?.source;
        let mut found = Inspection::default();
        let mut after = None;
        loop {
            let page = store::materialize::needed(&mut *self.conn().await?, source, after, PAGE).await?;
            let whole: Vec<Manifest> = page.into_iter().map(whole).collect();
            let Some(last) = whole.last() else { break };
            after = Some(last.segment.segment_id.0);
            self.inspect_page(&whole, Level::Checksum, &mut found).await?;
        }
        if let Some(error) = found.problems.error() {
            return Err(RunError::Fail(error));
        }
        if let Some(error) = self.room(&mut *self.conn().await?).await?.lacks(found.bytes) {
            return Err(RunError::Fail(error));
        }
        let mapping = self.restore_source(job).await?.mapping;
        let mut done = store::tasks::laid_out(&mut *self.conn().await?, job.job_id).await?;
        let mut jumps = 0;
        loop {
            let before = done;
            let mut tx = self.begin().await?;
            let page = store::materialize::needed(&mut tx, source, done.last, PAGE).await?;
            if page.is_empty() {
                break;
            }
            if let Some(taken) = insert_targets(&mut tx, job, &mapping, page, &mut done).await? {
                tx.rollback().await.map_err(store::failed)?;
                self.jump_over(taken, &mut jumps).await?;
                done = before;
                continue;
            }
            // the fence comes last: a heartbeat waits for whoever has locked the task's row
            if !store::tasks::holds(&mut tx, task).await? {
                return Ok(Outcome::Lost);
            }
            commit(tx).await?;
        }
        let tx = self.begin_with_room(done.bytes).await?;
        let outcome = self.end_validation(tx, task, job, &done).await?;
        crash_point::reached("materialize.laid_out");
        Ok(outcome)
    }
}

/// Inserts a page of the target. Gives a new id that is in use already: the caller must then roll back.
async fn insert_targets(
    conn: &mut PgConnection,
    job: &RestoreJob,
    mapping: &Mapping,
    page: Vec<NeededSegment>,
    totals: &mut LaidOut,
) -> Result<Option<i64>, RunError> {
    let count = |n: &NeededSegment| {
        let of_files = |s: &Segment| s.content.files.build_ids().count();
        2 + n.builds.len() + n.dropped_builds.len() + n.versions.iter().map(of_files).sum::<usize>()
    };
    let ids = page.iter().map(count).sum::<usize>();
    let mut next = store::id_blocks::allocate(conn, ids as i64, Purpose::Restore).await?;
    let mut take = || {
        next += 1;
        next - 1
    };
    let (mut sources, mut segments, mut captured) = (Vec::new(), Vec::new(), Vec::new());
    let (mut builds, mut dropped_builds) = (Vec::new(), Vec::new());
    let (mut copies, mut build_ids) = (Vec::new(), Vec::new());
    for needed in page {
        let target = SegmentId(take());
        let dropped: HashSet<BuildId> = needed.dropped_builds.iter().map(|b| b.build_id).collect();
        let versions = needed.versions.clone();
        let source = whole(needed);
        totals.last = Some(source.segment.segment_id.0);
        let mut new_builds: HashMap<BuildId, BuildId> = HashMap::new();
        let of_files = versions.iter().flat_map(|v| v.content.files.build_ids());
        for build in source.builds.iter().map(|b| b.build_id).chain(of_files) {
            new_builds.entry(build).or_insert_with(|| BuildId(take()));
        }
        build_ids.extend(new_builds.iter().map(|(from, to)| (from.0, to.0, target.0)));
        let mapped = map_manifest(&source, mapping, target, &new_builds)?;
        for version in versions.iter().filter(|v| v.version != source.segment.version) {
            let only = Manifest {
                segment: version.clone(),
                builds: Vec::new(),
            };
            let mut segment = map_manifest(&only, mapping, target, &new_builds)?.segment;
            segment.version = version.version;
            captured.push(segment);
        }
        let (files, bytes) = files(&source).fold((0, 0), |(n, bytes): (i64, i64), (f, _)| {
            (n + 1, bytes.saturating_add(i64::try_from(f.size_bytes).unwrap_or(i64::MAX)))
        });
        copies.push(NewCopy {
            task_id: take(),
            source_segment: source.segment.segment_id.0,
            source_version: source.segment.version,
            target_segment: target.0,
            files,
            bytes,
            turn: i32::try_from(totals.segments).unwrap_or(i32::MAX),
        });
        totals.segments += 1;
        totals.files += files;
        totals.bytes = totals.bytes.saturating_add(bytes);
        let new_dropped: HashSet<BuildId> = dropped.iter().filter_map(|b| new_builds.get(b).copied()).collect();
        for build in mapped.builds {
            match new_dropped.contains(&build.build_id) {
                true => dropped_builds.push(build),
                false => builds.push(build),
            }
        }
        segments.push(Segment {
            version: source.segment.version,
            ..mapped.segment
        });
        sources.push(source);
    }
    if let Some(id) = store::materialize::insert_segments(conn, &segments, &captured).await?.first() {
        return Ok(Some(*id));
    }
    let taken = store::builds::insert_many(conn, mapping.collection(), &builds, true).await?;
    if let Some(id) = taken.first() {
        return Ok(Some(id.0));
    }
    if let Some(id) = store::materialize::insert_dropped_builds(conn, mapping.collection(), &dropped_builds).await? {
        return Ok(Some(id));
    }
    store::bundles::set_sources(conn, job.job_id, &sources).await?;
    store::targets::insert_build_ids(conn, job.job_id, &build_ids).await?;
    store::tasks::enqueue_copies(conn, job.job_id, &copies).await?;
    Ok(None)
}

/// A segment with the files of every version of it and every build: its newest version where that names
/// all of them, as where files are only ever added; else one more version.
fn whole(needed: NeededSegment) -> Manifest {
    let NeededSegment {
        versions,
        builds,
        dropped_builds,
    } = needed;
    let mut versions = versions.into_iter().rev();
    let mut segment = versions.next().expect("a needed segment has a version");
    let mut is_newest = true;
    for older in versions {
        let known: HashSet<String> = segment.content.files.files().map(|(f, _)| f.path.clone()).collect();
        let more = without(older.content.files, &known);
        if more.count() > 0 {
            segment.content.files.append(more);
            is_newest = false;
        }
    }
    if !is_newest {
        segment.version += 1;
    }
    let mut builds: Vec<IndexBuild> = builds.into_iter().chain(dropped_builds).collect();
    builds.sort_by_key(|b| b.build_id.0);
    Manifest { segment, builds }
}

/// What of these files is not known.
fn without(files: SegmentFiles, known: &HashSet<String>) -> SegmentFiles {
    let logs = |groups: Vec<FieldLogs>| -> Vec<FieldLogs> {
        let only = groups.into_iter().map(|mut group| {
            group.logs.retain(|log| !known.contains(&log.file.path));
            group
        });
        only.filter(|group| !group.logs.is_empty()).collect()
    };
    let indexes = |groups: Vec<FieldIndexFiles>| -> Vec<FieldIndexFiles> {
        let only = groups.into_iter().map(|mut group| {
            group.files.retain(|file| !known.contains(&file.path));
            group
        });
        only.filter(|group| !group.files.is_empty()).collect()
    };
    SegmentFiles {
        binlogs: logs(files.binlogs),
        deltalogs: logs(files.deltalogs),
        statslogs: logs(files.statslogs),
        bm25_statslogs: logs(files.bm25_statslogs),
        text_index_files: indexes(files.text_index_files),
        json_key_index_files: indexes(files.json_key_index_files),
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::domain::id::{CollectionId, PartitionId};
    use crate::domain::segment::{File, Level as SegmentLevel, Log, SegmentContent, SegmentState};

    fn version(number: i32, deltas: &[&str]) -> Segment {
        let logs = deltas.iter().map(|path| Log {
            file: File {
                path: (*path).to_string(),
                ..File::default()
            },
            ..Log::default()
        });
        let deltalogs = vec![FieldLogs {
            logs: logs.collect(),
            ..FieldLogs::default()
        }];
        Segment {
            segment_id: SegmentId(1),
            collection_id: CollectionId(2),
            partition_id: PartitionId(3),
            channel_name: "c".into(),
            level: SegmentLevel::L1,
            state: SegmentState::Flushed,
            version: number,
            num_of_rows: 0,
            commit_timestamp: 0,
            content: SegmentContent {
                files: SegmentFiles {
                    deltalogs,
                    ..SegmentFiles::default()
                },
                ..SegmentContent::default()
            },
            created_at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    fn whole_of(versions: Vec<Segment>) -> (i32, Vec<String>) {
        let segment = whole(NeededSegment {
            versions,
            builds: Vec::new(),
            dropped_builds: Vec::new(),
        })
        .segment;
        let paths = segment.content.files.files().map(|(f, _)| f.path.clone()).collect();
        (segment.version, paths)
    }

    #[test]
    fn the_newest_version_is_whole_where_files_were_only_added() {
        let (number, paths) = whole_of(vec![version(1, &["a"]), version(3, &["a", "b"])]);
        assert_eq!((number, paths), (3, vec!["a".to_string(), "b".to_string()]));
    }

    #[test]
    fn where_files_went_one_more_version_names_them_all_and_each_once() {
        let (number, paths) = whole_of(vec![
            version(1, &["a", "b"]),
            version(2, &["b", "c"]),
            version(4, &["c", "d"]),
        ]);
        assert_eq!(number, 5);
        assert_eq!(paths, ["c", "d", "b", "a"]);
    }
}
