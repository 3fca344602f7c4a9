//! First phase of a restore job: are the sources whole? Meanwhile the target is laid out.

use std::collections::HashMap;

use super::child_deletes::refuse_one_name;
use super::collections::channel_name;
use super::restore_check::{Inspection, check_aliases, files};
use super::restore_control::join_line;
use super::restore_run::{Outcome, RunError};
use super::source::Source;
use super::{Service, commit};
use crate::crash_point;
use crate::domain::collection::{Channel, Partition};
use crate::domain::id::{BuildId, CollectionId, PartitionId, SegmentId, TaskId};
use crate::domain::index::IndexBuild;
use crate::domain::key::{DataPath, Target};
use crate::domain::manifest::Manifest;
use crate::domain::restore::{ClaimedTask, JobState, RestoreJob, TaskKind};
use crate::domain::segment::{Level, Segment, SegmentState};
use crate::domain::snapshot::CapturedCollection;
use crate::domain::verification::Level as CheckLevel;
use crate::domain::{Code, Error, Result};
use crate::store::id_blocks::Purpose;
use crate::store::tasks::{LaidOut, NewCopy};
use crate::store::{self, PgConnection};
use sqlx::{Postgres, Transaction};

/// How captured ids and names become the target's.
pub(super) struct Mapping {
    collection: CollectionId,
    /// By captured id; a captured partition that is not restored is missing.
    partitions: HashMap<PartitionId, PartitionId>,
    /// Shard number by captured channel name.
    shards: HashMap<String, i32>,
}

impl Service {
    /// Checks that every source file is there with its recorded size, and meanwhile inserts the target's segments
    /// and the copy tasks, page by page and fenced by the task's attempt. Where a file is missing or wrong, nothing
    /// more is inserted, and the job fails when all have been looked at.
    pub(super) async fn validate_restore(&self, task: &ClaimedTask, job: &RestoreJob) -> Result<Outcome, RunError> {
        self.begin_validation(task).await?;
        let source = self.restore_source(job).await?;
        let Some(captured) = &source.captured else {
            return Err(RunError::Fail(Error::internal("a restore without a snapshot")));
        };
        self.refuse_taken_aliases(job, captured).await?;
        let mut done = store::tasks::laid_out(&mut *self.conn().await?, job.job_id).await?;
        let mut found = Inspection::default();
        let mut after = None;
        loop {
            let page = source.page(&mut *self.conn().await?, after).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.segment.segment_id.0);
            let chosen = source.chosen(page);
            // an earlier attempt may have got further
            let open = &chosen[chosen.partition_point(|m| Some(m.segment.segment_id.0) <= done.last)..];
            let open = if found.problems.total == 0 { open } else { &[] };
            let looked_at = self.inspect_page(&chosen, CheckLevel::Checksum, &mut found);
            let laid_out = self.lay_out_page(task, job, &source, open, &mut done);
            let (looked_at, laid_out) = tokio::join!(looked_at, laid_out);
            looked_at?;
            match laid_out {
                Ok(true) => {}
                Ok(false) => return Ok(Outcome::Lost),
                // the files that are missing or wrong say more
                Err(_) if found.problems.total > 0 => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = found.problems.error() {
            return Err(RunError::Fail(error));
        }
        if let Some(error) = self.room(&mut *self.conn().await?).await?.lacks(found.bytes) {
            return Err(RunError::Fail(error));
        }
        self.refuse_taken_aliases(job, captured).await?;
        let tx = self.begin_with_room(done.bytes).await?;
        self.end_validation(tx, task, job, &done).await
    }

    async fn refuse_taken_aliases(&self, job: &RestoreJob, captured: &CapturedCollection) -> Result<(), RunError> {
        let mut conn = self.conn().await?;
        let taken = check_aliases(&mut conn, job.db_id, captured, &job.options, &job.collection_name).await?;
        taken.into_iter().next().map_or(Ok(()), |error| Err(RunError::Fail(error)))
    }

    /// Moves a job that has just been claimed for the first time on.
    pub(super) async fn begin_validation(&self, task: &ClaimedTask) -> Result<()> {
        let mut tx = self.begin().await?;
        if store::jobs::lock(&mut tx, task.job_id).await? == Some(JobState::Pending) {
            store::jobs::advance(&mut tx, task.job_id, &[JobState::Pending], JobState::Validating).await?;
        }
        commit(tx).await?;
        crash_point::reached("restore.validating");
        Ok(())
    }

    /// Inserts the target's segments and the copy tasks, and ends the first phase; a later attempt goes on after
    /// the last page of an earlier one.
    pub(super) async fn lay_out(&self, task: &ClaimedTask, job: &RestoreJob, source: &Source) -> Result<Outcome, RunError> {
        let mut done = store::tasks::laid_out(&mut *self.conn().await?, job.job_id).await?;
        let mut after = done.last;
        loop {
            let page = source.page(&mut *self.conn().await?, after).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.segment.segment_id.0);
            if !self.lay_out_page(task, job, source, &source.chosen(page), &mut done).await? {
                return Ok(Outcome::Lost);
            }
        }
        let tx = self.begin_with_room(done.bytes).await?;
        self.end_validation(tx, task, job, &done).await
    }

    /// Inserts a page of the target in a transaction of its own, so that no lock is held for long; false when the
    /// attempt has lost its task. Nothing of it is seen or claimed before the job moves on.
    async fn lay_out_page(
        &self,
        task: &ClaimedTask,
        job: &RestoreJob,
        source: &Source,
        page: &[Manifest],
        done: &mut LaidOut,
    ) -> Result<bool, RunError> {
        let Some(last) = page.last() else { return Ok(true) };
        let before = *done;
        let mut jumps = 0;
        loop {
            let mut tx = self.begin().await?;
            if let Some(taken) = insert_targets(&mut tx, job, &source.mapping, page, done).await? {
                tx.rollback().await.map_err(store::failed)?;
                self.jump_over(taken, &mut jumps).await?;
                *done = before;
                continue;
            }
            // the fence comes last: a heartbeat waits for whoever has locked the task's row
            if !store::tasks::holds(&mut tx, task).await? {
                return Ok(false);
            }
            commit(tx).await?;
            done.last = Some(last.segment.segment_id.0);
            return Ok(true);
        }
    }

    /// Ends the first phase in the given transaction: its totals are known, its copies wait.
    pub(super) async fn end_validation(
        &self,
        mut tx: Transaction<'static, Postgres>,
        task: &ClaimedTask,
        job: &RestoreJob,
        done: &LaidOut,
    ) -> Result<Outcome, RunError> {
        store::jobs::lock(&mut tx, task.job_id).await?;
        if !store::tasks::succeed(&mut tx, task, None).await? {
            return Ok(Outcome::Lost);
        }
        store::jobs::set_totals(&mut tx, job.job_id, done.segments, done.files, done.bytes).await?;
        let running = [JobState::Validating, JobState::Pending];
        if done.segments == 0 {
            store::jobs::advance(&mut tx, job.job_id, &running, JobState::Publishing).await?;
            let publish = TaskId(store::catalog::allocate_ids(&mut tx, 1).await?);
            store::tasks::enqueue(&mut tx, publish, job.job_id, TaskKind::Publish, None).await?;
        } else {
            store::jobs::advance(&mut tx, job.job_id, &running, JobState::InProgress).await?;
            join_line(&mut tx, job.job_id).await?;
            store::catalog::notify_workers(&mut tx).await?;
        }
        crash_point::reached("restore.laying_out");
        commit(tx).await?;
        crash_point::reached("restore.laid_out");
        Ok(Outcome::Done)
    }
}

impl Mapping {
    pub fn new(job: &RestoreJob, channels: &[Channel], captured: &CapturedCollection, targets: &[Partition]) -> Result<Self> {
        let wanted = |name: &str| job.options.partitions.is_empty() || job.options.partitions.iter().any(|p| p == name);
        let mut partitions = HashMap::new();
        for partition in captured.partitions.iter().filter(|p| wanted(&p.name)) {
            let target = targets.iter().find(|t| t.name == job.options.partition_name(&partition.name));
            let target =
                target.ok_or_else(|| Error::internal(format!("the target has no partition for {:?}", partition.name)))?;
            partitions.insert(partition.partition_id, target.partition_id);
        }
        // deletes that concern every partition come along with any subset
        partitions.insert(PartitionId::ALL, PartitionId::ALL);
        let shards = channels.iter().map(|c| (c.channel_name.clone(), c.shard_no)).collect();
        Ok(Self {
            collection: job.collection_id,
            partitions,
            shards,
        })
    }

    /// Of a collection that is copied as it is: partitions keep their order, channels their shards.
    pub fn of_whole(job: &RestoreJob, channels: &[Channel], mut partitions: HashMap<PartitionId, PartitionId>) -> Self {
        partitions.insert(PartitionId::ALL, PartitionId::ALL);
        Self {
            collection: job.collection_id,
            partitions,
            shards: channels.iter().map(|c| (c.channel_name.clone(), c.shard_no)).collect(),
        }
    }

    pub fn collection(&self) -> CollectionId {
        self.collection
    }

    pub fn takes(&self, segment: &Segment) -> bool {
        self.partitions.contains_key(&segment.partition_id)
    }
}

/// Inserts a page of the target. Gives a new id that is in use already, chosen by somebody who registered
/// it: the caller must then roll back.
async fn insert_targets(
    conn: &mut PgConnection,
    job: &RestoreJob,
    mapping: &Mapping,
    sources: &[Manifest],
    totals: &mut LaidOut,
) -> Result<Option<i64>, RunError> {
    if sources.is_empty() {
        return Ok(None);
    }
    let build_count = |m: &Manifest| m.builds.len() + m.segment.content.files.build_ids().count();
    let ids = 2 * sources.len() + sources.iter().map(build_count).sum::<usize>();
    let mut next = store::id_blocks::allocate(conn, ids as i64, Purpose::Restore).await?;
    let mut take = || {
        next += 1;
        next - 1
    };
    let (mut segments, mut builds, mut copies, mut build_ids) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for source in sources {
        let target = SegmentId(take());
        let mut new_builds: HashMap<BuildId, BuildId> = HashMap::new();
        let own = source
            .builds
            .iter()
            .map(|b| b.build_id)
            .chain(source.segment.content.files.build_ids());
        for build in own {
            new_builds.entry(build).or_insert_with(|| BuildId(take()));
        }
        build_ids.extend(new_builds.iter().map(|(from, to)| (from.0, to.0, target.0)));
        let mapped = map_manifest(source, mapping, target, &new_builds)?;
        let (files, bytes) = files(source).fold((0, 0), |(n, bytes): (i64, i64), (f, _)| {
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
        segments.push(mapped.segment);
        builds.extend(mapped.builds);
    }
    let taken = store::segments::insert_many(conn, &segments).await?;
    if let Some(id) = taken.first() {
        return Ok(Some(id.0));
    }
    let taken = store::builds::insert_many(conn, mapping.collection, &builds, true).await?;
    if let Some(id) = taken.first() {
        return Ok(Some(id.0));
    }
    store::targets::insert_build_ids(conn, job.job_id, &build_ids).await?;
    store::tasks::enqueue_copies(conn, job.job_id, &copies).await?;
    Ok(None)
}

/// A captured segment under the target's ids, with all paths mapped. Field, index and log ids
/// are kept; segment and build ids are new.
pub(super) fn map_manifest(
    source: &Manifest,
    mapping: &Mapping,
    target: SegmentId,
    builds: &HashMap<BuildId, BuildId>,
) -> Result<Manifest> {
    let gap = |what: &str| Error::internal(format!("segment {} has an unmapped {what}", source.segment.segment_id));
    let partition = *mapping
        .partitions
        .get(&source.segment.partition_id)
        .ok_or_else(|| gap("partition"))?;
    let shard = *mapping
        .shards
        .get(&source.segment.channel_name)
        .ok_or_else(|| gap("channel"))?;
    let channel = channel_name(mapping.collection, shard);
    let remap = |path: &str, build: Option<BuildId>| -> Result<String> {
        let parsed = DataPath::parse_below(path).map_err(|why| Error::internal(format!("captured path {path:?} {why}")))?;
        let build = match build.filter(|b| b.0 != 0) {
            Some(build) => Some(*builds.get(&build).ok_or_else(|| gap("build"))?),
            None => None,
        };
        Ok(parsed.remap(&Target {
            collection: mapping.collection,
            partition,
            segment: target,
            build,
        }))
    };

    // of several versions together, nobody has looked yet
    refuse_one_name(&source.segment)
        .map_err(|why| Code::InvalidPath.error(format!("segment {} {why}", source.segment.segment_id)))?;
    let mut segment = source.segment.clone();
    segment.segment_id = target;
    segment.collection_id = mapping.collection;
    segment.partition_id = partition;
    segment.state = SegmentState::Importing;
    segment.version = 1;
    for position in [&mut segment.content.start_position, &mut segment.content.dml_position] {
        if !position.channel_name.is_empty() {
            position.channel_name.clone_from(&channel);
        }
    }
    segment.channel_name = channel;
    for (file, build) in segment.content.files.files_mut() {
        file.path = remap(&file.path, build)?;
        file.etag = None;
    }
    let indexes = segment
        .content
        .files
        .text_index_files
        .iter_mut()
        .chain(&mut segment.content.files.json_key_index_files);
    for index in indexes.filter(|i| i.build_id != 0) {
        index.build_id = builds.get(&BuildId(index.build_id)).ok_or_else(|| gap("build"))?.0;
    }
    debug_assert!(segment.level == Level::L0 || partition != PartitionId::ALL);

    let mut mapped = Vec::with_capacity(source.builds.len());
    for build in &source.builds {
        let mut content = build.content.clone();
        for file in &mut content.files {
            file.path = remap(&file.path, Some(build.build_id))?;
            file.etag = None;
        }
        let build_id = *builds.get(&build.build_id).ok_or_else(|| gap("build"))?;
        mapped.push(IndexBuild {
            build_id,
            segment_id: target,
            index_id: build.index_id,
            content,
        });
    }
    Ok(Manifest { segment, builds: mapped })
}
