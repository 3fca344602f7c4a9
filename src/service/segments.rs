//! Segments: registration, changes, compaction.

use std::collections::{HashMap, HashSet};

use super::paths::{collection, gone, partition};
use super::registration::{Check, Context, NewBuild, NewSegment, check_files, highest_choice, refuse_twice};
use super::{Service, commit};
use crate::domain::collection::Collection;
use crate::domain::id::{IndexId, PartitionId, SegmentId};
use crate::domain::index::IndexBuild;
use crate::domain::page::{Page, PageRequest};
use crate::domain::segment::{Segment, SegmentContent, SegmentFiles, SegmentPosition, SegmentState};
use crate::domain::{Code, Error, Result};
use crate::store::segments::{DropScope, SegmentFilter};
use crate::store::{self, PgConnection};

/// A change of a segment.
#[derive(Debug, Clone, Default)]
pub struct SegmentChange {
    pub state: Option<SegmentState>,
    pub num_of_rows: Option<i64>,
    pub commit_timestamp: Option<i64>,
    pub dml_position: Option<SegmentPosition>,
    /// Files to add; they make a new version.
    pub append: Option<SegmentFiles>,
}

/// Inputs to drop and outputs to add at once.
#[derive(Debug, Clone)]
pub struct Compaction {
    pub inputs: Vec<SegmentId>,
    pub outputs: Vec<NewSegment>,
}

/// What a compaction did.
#[derive(Debug, Clone)]
pub struct Compacted {
    pub dropped: Vec<SegmentId>,
    pub added: Vec<SegmentId>,
}

/// Segments of one request at most.
pub const MAX_BATCH: usize = 10_000;

impl Service {
    /// Registers segments with their index builds, all or none. `at` says where the n-th stands
    /// in the request.
    ///
    /// # Errors
    /// `invalid_request`, `invalid_path`, `file_missing`, `file_size_mismatch`,
    /// `unsupported_storage_version`, `collection_not_found`, `segment_already_exists`,
    /// `index_build_already_exists`, `permission_denied` for ids of the future; nothing is written
    /// then.
    pub async fn register_segments(
        &self,
        db_name: &str,
        collection_name: &str,
        segments: Vec<NewSegment>,
        check: Check,
        at: impl Fn(usize) -> String + Sync,
    ) -> Result<Vec<(Segment, Vec<IndexBuild>)>> {
        let (found, checked) = self.check_segments(db_name, collection_name, segments, check, at).await?;
        let mut tx = self.begin().await?;
        if !store::collections::hold(&mut tx, found.collection_id).await? {
            return Err(gone(&found));
        }
        insert(&mut tx, &found, &checked).await?;
        commit(tx).await?;
        Ok(checked)
    }

    async fn check_segments(
        &self,
        db_name: &str,
        collection_name: &str,
        segments: Vec<NewSegment>,
        check: Check,
        at: impl Fn(usize) -> String + Sync,
    ) -> Result<(Collection, Vec<(Segment, Vec<IndexBuild>)>)> {
        if segments.len() > MAX_BATCH {
            return Err(Error::invalid(
                "/segments",
                format!("at most {MAX_BATCH} segments can be given at once"),
            ));
        }
        self.caller
            .note_all("segment", segments.iter().map(|s| s.segment.segment_id.0));
        let mut conn = self.conn().await?;
        let found = collection(&mut conn, &self.caller, db_name, collection_name).await?;
        let partitions = store::partitions::list(&mut conn, found.collection_id, None, None).await?;
        let channels = store::channels::list(&mut conn, found.collection_id).await?;
        let indexes = store::indexes::list(&mut conn, found.collection_id, None, None).await?;
        let highest = highest_choice(&mut conn, &self.caller).await?;
        drop(conn);
        let context = Context::new(&found, &partitions, &channels, &indexes).up_to(highest);
        let mut checked = Vec::with_capacity(segments.len());
        for (n, segment) in segments.into_iter().enumerate() {
            checked.push(context.segment(segment, &at(n))?);
        }
        refuse_twice(&checked, &at)?;
        check_files(&self.objects, &mut checked, check, &at).await?;
        Ok((found, checked))
    }

    /// Drops the inputs and registers the outputs of a compaction, all or none.
    ///
    /// # Errors
    /// As [`Service::register_segments`]; `segment_not_found` for an input that is not living.
    pub async fn compact(&self, db_name: &str, collection_name: &str, compaction: Compaction, check: Check) -> Result<Compacted> {
        if compaction.inputs.len() > MAX_BATCH {
            return Err(Error::invalid(
                "/inputs",
                format!("at most {MAX_BATCH} segments can be given at once"),
            ));
        }
        let at = |n: usize| format!("/outputs/{n}");
        let (found, outputs) = self
            .check_segments(db_name, collection_name, compaction.outputs, check, at)
            .await?;
        let inputs: Vec<i64> = compaction.inputs.iter().map(|s| s.0).collect();
        self.caller.note_all("input segment", inputs.iter().copied());
        let mut tx = self.begin().await?;
        // not only held: a snapshot that is choosing segments must see the inputs or the outputs,
        // never neither
        if !store::collections::lock(&mut tx, found.collection_id).await? {
            return Err(gone(&found));
        }
        let dropped = store::segments::drop(&mut tx, found.collection_id, DropScope::Segments(&inputs)).await?;
        let dropped: HashSet<i64> = dropped.into_iter().collect();
        if let Some((n, id)) = inputs.iter().enumerate().find(|(_, id)| !dropped.contains(id)) {
            return Err(Code::SegmentNotFound
                .error(format!(
                    "input segment {id} is not a living segment of collection {:?}",
                    found.name
                ))
                .with_fields(vec![crate::domain::FieldError::new(
                    format!("/inputs/{n}"),
                    "is not a living segment",
                )]));
        }
        insert(&mut tx, &found, &outputs).await?;
        commit(tx).await?;
        Ok(Compacted {
            dropped: compaction.inputs,
            added: outputs.iter().map(|(s, _)| s.segment_id).collect(),
        })
    }

    /// Finds a segment with its index builds.
    ///
    /// # Errors
    /// `collection_not_found`, `segment_not_found`.
    pub async fn segment(&self, db_name: &str, collection_name: &str, id: SegmentId) -> Result<(Segment, Vec<IndexBuild>)> {
        let mut conn = self.conn().await?;
        let found = collection(&mut conn, &self.caller, db_name, collection_name).await?;
        let segment = store::segments::find(&mut conn, found.collection_id, id)
            .await?
            .ok_or_else(|| not_found(id, &found))?;
        let builds = store::builds::of_segments(&mut conn, &[id.0])
            .await?
            .remove(&id.0)
            .unwrap_or_default();
        Ok((segment, builds))
    }

    /// Lists living segments by id.
    pub async fn list_segments(
        &self,
        db_name: &str,
        collection_name: &str,
        state: Option<SegmentState>,
        partition_name: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<(Segment, Vec<IndexBuild>)>> {
        let mut conn = self.conn().await?;
        let found = collection(&mut conn, &self.caller, db_name, collection_name).await?;
        let list = format!("segments?{}&{state:?}&{partition_name:?}", found.collection_id);
        let after: Option<i64> = page.cursor(&list)?;
        let in_partition = match partition_name {
            Some(name) => Some(partition(&mut conn, &found, name).await?.partition_id),
            None => None,
        };
        let filter = SegmentFilter {
            state,
            partition: in_partition,
        };
        let segments = store::segments::list(&mut conn, found.collection_id, filter, after, page.limit()).await?;
        let ids: Vec<i64> = segments.iter().map(|s| s.segment_id.0).collect();
        let mut builds: HashMap<i64, Vec<IndexBuild>> = store::builds::of_segments(&mut conn, &ids).await?;
        let with_builds = |s: Segment| {
            let own = builds.remove(&s.segment_id.0).unwrap_or_default();
            (s, own)
        };
        Ok(page.page(&list, segments.into_iter().map(with_builds).collect(), |(s, _)| {
            s.segment_id.0
        }))
    }

    /// Seals, flushes, or appends files to a segment.
    ///
    /// # Errors
    /// As [`Service::register_segments`]; `segment_not_found`, `segment_state` when the state does
    /// not allow it.
    pub async fn change_segment(
        &self,
        db_name: &str,
        collection_name: &str,
        id: SegmentId,
        change: SegmentChange,
        check: Check,
    ) -> Result<(Segment, Vec<IndexBuild>)> {
        self.caller.note(format!("segment {id}"));
        let mut appended = change.append.clone();
        if let Some(files) = &mut appended {
            let (mut only_new, _) = self.segment(db_name, collection_name, id).await?;
            only_new.content = SegmentContent {
                storage_version: only_new.content.storage_version,
                files: std::mem::take(files),
                ..SegmentContent::default()
            };
            // the paths are checked before they are listed
            let found = self.collection(db_name, collection_name).await?;
            Context::new(&found, &[], &[], &[]).content(&only_new, "/append")?;
            let mut pair = [(only_new, Vec::new())];
            let at = |_| "/append".to_string();
            check_files(&self.objects, &mut pair, check, at).await?;
            *files = std::mem::take(&mut pair[0].0.content.files);
        }
        let mut tx = self.begin().await?;
        let found = collection(&mut tx, &self.caller, db_name, collection_name).await?;
        if !store::collections::hold(&mut tx, found.collection_id).await? {
            return Err(gone(&found));
        }
        store::segments::lock(&mut tx, found.collection_id, id)
            .await?
            .ok_or_else(|| not_found(id, &found))?;
        let mut segment = store::segments::find(&mut tx, found.collection_id, id)
            .await?
            .ok_or_else(|| not_found(id, &found))?;
        if let Some(state) = change.state {
            if !segment.state.may_become(state) {
                return Err(Code::SegmentState.error(format!(
                    "segment {id} is {} and can't become {}",
                    segment.state.as_str(),
                    state.as_str()
                )));
            }
            segment.state = state;
        }
        let new_version = appended.is_some()
            || change.num_of_rows.is_some()
            || change.commit_timestamp.is_some()
            || change.dml_position.is_some();
        if new_version {
            segment.version += 1;
        }
        segment.num_of_rows = change.num_of_rows.unwrap_or(segment.num_of_rows);
        segment.commit_timestamp = change.commit_timestamp.unwrap_or(segment.commit_timestamp);
        if let Some(position) = change.dml_position {
            segment.content.dml_position = position;
        }
        if let Some(files) = appended {
            segment.content.files.append(files);
        }
        Context::new(&found, &[], &[], &[]).content(&segment, "/append")?;
        store::segments::update(&mut tx, &segment, new_version).await?;
        let builds = store::builds::of_segments(&mut tx, &[id.0])
            .await?
            .remove(&id.0)
            .unwrap_or_default();
        commit(tx).await?;
        Ok((segment, builds))
    }

    /// Drops a segment and its index builds. What snapshots need of them stays.
    ///
    /// # Errors
    /// `collection_not_found`, `segment_not_found`.
    pub async fn drop_segment(&self, db_name: &str, collection_name: &str, id: SegmentId) -> Result<()> {
        self.caller.note(format!("segment {id}"));
        let mut tx = self.begin().await?;
        let found = collection(&mut tx, &self.caller, db_name, collection_name).await?;
        if !store::collections::hold(&mut tx, found.collection_id).await? {
            return Err(gone(&found));
        }
        if store::segments::drop(&mut tx, found.collection_id, DropScope::Segments(&[id.0]))
            .await?
            .is_empty()
        {
            return Err(not_found(id, &found));
        }
        commit(tx).await
    }

    /// Registers a finished index build of a segment.
    ///
    /// # Errors
    /// As [`Service::register_segments`]; `segment_not_found`.
    pub async fn register_build(
        &self,
        db_name: &str,
        collection_name: &str,
        id: SegmentId,
        new: NewBuild,
        check: Check,
    ) -> Result<IndexBuild> {
        self.caller.note(format!("segment {id}"));
        self.caller.note(format!("index build {}", new.build_id));
        let mut conn = self.conn().await?;
        let found = collection(&mut conn, &self.caller, db_name, collection_name).await?;
        let indexes = store::indexes::list(&mut conn, found.collection_id, None, None).await?;
        let segment = store::segments::find(&mut conn, found.collection_id, id)
            .await?
            .ok_or_else(|| not_found(id, &found))?;
        let highest = highest_choice(&mut conn, &self.caller).await?;
        drop(conn);
        let build = Context::new(&found, &[], &[], &indexes)
            .up_to(highest)
            .build(new, &segment, "")?;
        let mut pair = [(
            Segment {
                content: Default::default(),
                ..segment
            },
            vec![build],
        )];
        check_files(&self.objects, &mut pair, check, |_| String::new()).await?;
        let mut tx = self.begin().await?;
        if !store::collections::hold(&mut tx, found.collection_id).await? {
            return Err(gone(&found));
        }
        still_there(&mut tx, &found, &pair).await?;
        let [(_, builds)] = pair;
        if !store::segments::living(&mut tx, found.collection_id, &[id.0])
            .await?
            .contains(&id.0)
        {
            return Err(not_found(id, &found));
        }
        insert_builds(&mut tx, &found, &builds).await?;
        commit(tx).await?;
        builds
            .into_iter()
            .next()
            .ok_or_else(|| Error::internal("one build was given"))
    }
}

fn not_found(id: SegmentId, collection: &Collection) -> Error {
    Code::SegmentNotFound.error(format!("segment {id} does not exist in collection {:?}", collection.name))
}

/// Checks again, under the collection's lock, what was checked before the files were listed: a
/// partition or index may have been dropped meanwhile.
async fn still_there(conn: &mut PgConnection, collection: &Collection, checked: &[(Segment, Vec<IndexBuild>)]) -> Result<()> {
    let partitions = store::partitions::list(conn, collection.collection_id, None, None).await?;
    let partitions: HashSet<PartitionId> = partitions
        .into_iter()
        .map(|p| p.partition_id)
        .chain([PartitionId::ALL])
        .collect();
    let indexes = store::indexes::list(conn, collection.collection_id, None, None).await?;
    let indexes: HashSet<IndexId> = indexes.into_iter().map(|i| i.index_id).collect();
    for (segment, builds) in checked {
        if !partitions.contains(&segment.partition_id) {
            return Err(Code::PartitionNotFound.error(format!("partition {} has just been dropped", segment.partition_id)));
        }
        if let Some(build) = builds.iter().find(|b| !indexes.contains(&b.index_id)) {
            return Err(Code::IndexNotFound.error(format!("index {} has just been dropped", build.index_id)));
        }
    }
    Ok(())
}

async fn insert(conn: &mut PgConnection, collection: &Collection, checked: &[(Segment, Vec<IndexBuild>)]) -> Result<()> {
    still_there(conn, collection, checked).await?;
    let segments: Vec<Segment> = checked.iter().map(|(s, _)| s.clone()).collect();
    let taken = store::segments::insert_many(conn, &segments).await?;
    if let Some(id) = taken.first() {
        return Err(Code::SegmentAlreadyExists.error(format!(
            "segment {id} is registered already, in this or another collection, or dropped and not yet collected ({} of {} segments are)",
            taken.len(),
            segments.len()
        )));
    }
    let builds: Vec<IndexBuild> = checked.iter().flat_map(|(_, b)| b.iter().cloned()).collect();
    insert_builds(conn, collection, &builds).await
}

async fn insert_builds(conn: &mut PgConnection, collection: &Collection, builds: &[IndexBuild]) -> Result<()> {
    let taken = store::builds::insert_many(conn, collection.collection_id, builds, false).await?;
    match taken.first() {
        None => Ok(()),
        Some(id) => Err(Code::IndexBuildAlreadyExists.error(format!("index build {id} is registered already"))),
    }
}
