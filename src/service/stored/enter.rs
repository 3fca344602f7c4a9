//! Entering one stored snapshot into the catalog, in the caller's transaction.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use time::OffsetDateTime;

use super::super::Service;
use super::super::collections::{NewCollection, check_collection};
use super::super::registration::Context;
use super::Opened;
use super::files::{Place, place};
use crate::domain::collection::{Collection, Database, Ownership};
use crate::domain::id::SegmentId;
use crate::domain::manifest::{SnapshotMetadata, WrittenManifest};
use crate::domain::problem::Problems;
use crate::domain::snapshot::CapturedCollection;
use crate::domain::{Code, Result, name, timestamp};
use crate::store::names::NameKind;
use crate::store::stored::{KnownVersion, StoredObject, StoredSnapshot, WrittenElsewhere};
use crate::store::{self, PgConnection};

/// Manifests read at a time; bounds the memory.
const PAGE: usize = 250;

/// A snapshot to be entered.
pub(super) struct Entering<'a> {
    pub opened: &'a Opened,
    /// The prefix before every path of it, empty or with a slash at its end.
    pub below: &'a str,
    /// Another system wrote it and keeps it.
    pub adopted: bool,
    pub db: &'a Database,
    pub collection_name: &'a str,
}

impl Entering<'_> {
    fn metadata(&self) -> &SnapshotMetadata {
        &self.opened.stored.metadata
    }

    fn ownership(&self) -> Ownership {
        match self.adopted || self.metadata().external {
            true => Ownership::External,
            false => Ownership::Owned,
        }
    }

    fn adopted_from(&self) -> Option<&str> {
        self.adopted.then_some(self.below)
    }

    fn collection(&self) -> Collection {
        let metadata = self.metadata();
        Collection {
            collection_id: metadata.collection_id,
            db_id: self.db.db_id,
            db_name: self.db.name.clone(),
            name: self.collection_name.to_string(),
            ownership: self.ownership(),
            dropped: false,
            num_shards: metadata.num_shards,
            consistency_level: metadata.consistency_level.clone(),
            schema: metadata.schema.clone(),
            properties: metadata.properties.clone(),
            created_at: self.db.created_at,
        }
    }

    /// As a request that creates it would be checked.
    fn check(&self) -> Result<()> {
        let metadata = self.metadata();
        name::check(&metadata.name)
            .map_err(|why| Code::UnreadableSnapshot.error(format!("the snapshot's name {:?} {why}", metadata.name)))?;
        let mut aliases = HashSet::new();
        for alias in &metadata.aliases {
            if !aliases.insert(alias) {
                return Err(Code::UnreadableSnapshot.error(format!("the alias {alias:?} is there twice")));
            }
            name::check(alias).map_err(|why| Code::UnreadableSnapshot.error(format!("the alias {alias:?} {why}")))?;
        }
        let collection = NewCollection {
            db_name: self.db.name.clone(),
            name: self.collection_name.to_string(),
            collection_id: Some(metadata.collection_id),
            ownership: self.ownership(),
            num_shards: metadata.num_shards,
            consistency_level: metadata.consistency_level.clone(),
            schema: metadata.schema.clone(),
            properties: metadata.properties.clone(),
            partitions: metadata
                .partitions
                .iter()
                .map(|p| (p.name.clone(), Some(p.partition_id)))
                .collect(),
            channels: metadata.channels.clone(),
        };
        check_collection(&collection, collection.schema.check(""))
    }
}

impl Service {
    /// Enters a snapshot with all that it references, its collection too where it has no row. The
    /// caller lets the collection show its newest snapshot (`store::stored_newest::show`).
    ///
    /// # Errors
    /// What is wrong with the stored files, or what collides with what the catalog has; see
    /// [`super::is_of_content`]. The caller must roll back.
    pub(super) async fn enter_stored(&self, conn: &mut PgConnection, entering: &Entering<'_>) -> Result<()> {
        entering.check()?;
        let metadata = entering.metadata();
        enter_collection(conn, entering).await?;
        store::stored::insert_parts(conn, metadata).await?;
        let location = self.objects.url().location(&entering.opened.candidate.key);
        let snapshot = StoredSnapshot {
            metadata,
            db_id: entering.db.db_id,
            s3_location: &location,
            adopted_from: entering.adopted_from(),
            created_at: allocated_at(metadata.snapshot_id.0),
        };
        store::stored::insert_snapshot(conn, &snapshot).await?;
        store::snapshots::insert_description(conn, metadata.snapshot_id, &captured(metadata)).await?;

        let collection = entering.collection();
        let context = Context::new(&collection, &metadata.partitions, &metadata.channels, &metadata.indexes);
        let context = match entering.ownership() {
            Ownership::External => context.below(entering.below),
            Ownership::Owned => context,
        };
        let (mut bytes, mut problems) = (entering.opened.bytes, Problems::default());
        for page in metadata.manifests.chunks(PAGE) {
            bytes += self.enter_page(conn, entering, &context, page, &mut problems).await?;
        }
        problems.error().map_or(Ok(()), Err)?;
        let bytes = match entering.adopted {
            // nothing was written here
            true => 0,
            false => i64::try_from(bytes).unwrap_or(i64::MAX),
        };
        store::stored::set_totals(conn, metadata.snapshot_id, bytes).await
    }

    /// Enters segments, builds and manifests that have no rows yet, and references them all; gives the
    /// bytes of the manifests that were written for this snapshot.
    async fn enter_page(
        &self,
        conn: &mut PgConnection,
        entering: &Entering<'_>,
        context: &Context<'_>,
        page: &[WrittenManifest],
        problems: &mut Problems,
    ) -> Result<u64> {
        let metadata = entering.metadata();
        let mut places: Vec<Place> = Vec::with_capacity(page.len());
        for written in page {
            places.push(place(written, metadata.collection_id)?);
        }
        let wanted: Vec<(i64, i64)> = places.iter().map(|p| (p.owner.0, p.segment.0)).collect();
        let known = store::stored::known_manifests(conn, metadata.collection_id, &wanted).await?;
        let known: HashSet<(i64, i64)> = known.into_iter().collect();
        let mut reads = Vec::new();
        for (written, place) in page.iter().zip(&places) {
            // shared with a snapshot that is entered already
            if !known.contains(&(place.owner.0, place.segment.0)) {
                reads.push(self.read_stored(entering.opened, entering.below, context, written, *place));
            }
        }
        let read: Vec<(Option<StoredObject>, Problems)> = stream::iter(reads)
            .buffered(self.settings.list_concurrency)
            .try_collect()
            .await?;
        let mut objects = Vec::with_capacity(read.len());
        for (object, wrong) in read {
            objects.extend(object);
            let unlisted = wrong.total - wrong.listed.len() as i64;
            wrong.listed.into_iter().for_each(|p| problems.add(p));
            problems.total += unlisted;
        }
        // what is wrong is to be found to the end; nothing of it will stay
        if problems.total > 0 {
            return Ok(0);
        }
        enter_segments(conn, &mut objects).await?;
        enter_builds(conn, &objects).await?;
        let written = WrittenElsewhere {
            format_version: entering.opened.stored.format_version,
            root: &entering.opened.stored.root,
            adopted_from: entering.adopted_from(),
        };
        store::stored::insert_manifests(conn, &objects, written).await?;
        store::stored::reference(conn, metadata.snapshot_id, &wanted).await?;
        let own = objects.iter().filter(|o| o.owner == metadata.snapshot_id);
        Ok(own.map(|o| o.size_bytes).sum())
    }
}

/// Inserts the collection with its name and channels, or makes sure that the one that is there is
/// the same.
async fn enter_collection(conn: &mut PgConnection, entering: &Entering<'_>) -> Result<()> {
    let metadata = entering.metadata();
    let id = metadata.collection_id;
    if let Some(known) = store::stored::collection(conn, id).await? {
        if !known.active || known.adopted_from.as_deref() != entering.adopted_from() {
            return Err(Code::CollectionAlreadyExists.error(format!(
                "collection id {id} is in use here, by {:?}, which was not adopted from this prefix or is dropped",
                known.name
            )));
        }
        let channels = store::channels::list(conn, id).await?;
        let names = |channels: &[crate::domain::collection::Channel]| -> Vec<(i32, String)> {
            channels.iter().map(|c| (c.shard_no, c.channel_name.clone())).collect()
        };
        if names(&channels) != names(&metadata.channels) {
            return Err(Code::UnreadableSnapshot.error(format!(
                "collection {:?} has other channels in another of its snapshots",
                known.name
            )));
        }
        return Ok(());
    }
    store::collections::insert(conn, &entering.collection(), false).await?;
    if entering.adopted {
        store::stored::set_adopted(conn, id, entering.below).await?;
    }
    let name = entering.collection_name;
    store::names::take(conn, entering.db.db_id, name, NameKind::Collection, id, || {
        Code::CollectionAlreadyExists.error(format!(
            "the name {name:?} is taken by a collection, an alias or a running restore"
        ))
    })
    .await?;
    for channel in &metadata.channels {
        store::channels::insert(conn, id, channel).await?;
    }
    Ok(())
}

/// Inserts segments that have no row, adds versions to those that had other files, and sets the
/// version of each.
async fn enter_segments(conn: &mut PgConnection, objects: &mut [StoredObject]) -> Result<()> {
    let ids: Vec<i64> = objects.iter().map(|o| o.manifest.segment.segment_id.0).collect();
    let mut known: HashMap<SegmentId, Vec<KnownVersion>> = HashMap::new();
    for version in store::stored::versions(conn, &ids).await? {
        known.entry(version.segment_id).or_default().push(version);
    }
    let mut new = Vec::new();
    for object in objects {
        let segment = &mut object.manifest.segment;
        let Some(versions) = known.get(&segment.segment_id) else {
            new.push(segment.clone());
            continue;
        };
        if versions[0].collection != segment.collection_id {
            return Err(taken(segment.segment_id));
        }
        let same = |v: &&KnownVersion| {
            v.content == segment.content && (v.num_of_rows, v.commit_timestamp) == (segment.num_of_rows, segment.commit_timestamp)
        };
        if let Some(same) = versions.iter().find(same) {
            segment.version = same.version;
        } else {
            segment.version = versions[versions.len() - 1].version + 1;
            store::stored::add_version(conn, segment).await?;
        }
    }
    if new.is_empty() {
        return Ok(());
    }
    match store::segments::insert_many(conn, &new).await?.first() {
        None => Ok(()),
        Some(id) => Err(taken(*id)),
    }
}

fn taken(id: SegmentId) -> crate::domain::Error {
    Code::SegmentAlreadyExists.error(format!("segment id {id} is in use in another collection"))
}

async fn enter_builds(conn: &mut PgConnection, objects: &[StoredObject]) -> Result<()> {
    let ids: Vec<i64> = objects
        .iter()
        .flat_map(|o| o.manifest.builds.iter().map(|b| b.build_id.0))
        .collect();
    let mut known: HashMap<i64, _> = store::stored::builds(conn, &ids)
        .await?
        .into_iter()
        .map(|(id, collection, segment, content)| (id, (collection, segment, content)))
        .collect();
    let mut new = Vec::new();
    for (object, build) in objects.iter().flat_map(|o| o.manifest.builds.iter().map(move |b| (o, b))) {
        let segment = &object.manifest.segment;
        let id = build.build_id;
        match known.get(&id.0) {
            None => {
                known.insert(id.0, (segment.collection_id, segment.segment_id, build.content.clone()));
                new.push(build);
            }
            Some((collection, of, _)) if (*collection, *of) != (segment.collection_id, segment.segment_id) => {
                return Err(Code::IndexBuildAlreadyExists.error(format!("index build id {id} is in use, of segment {of}")));
            }
            Some((_, _, content)) if content.files != build.content.files => {
                return Err(Code::UnreadableSnapshot.error(format!("index build {id} has other files in another snapshot")));
            }
            Some(_) => {}
        }
    }
    match new.is_empty() {
        true => Ok(()),
        false => store::stored::insert_builds(conn, objects[0].manifest.segment.collection_id, &new).await,
    }
}

fn captured(metadata: &SnapshotMetadata) -> CapturedCollection {
    CapturedCollection {
        num_shards: metadata.num_shards,
        consistency_level: metadata.consistency_level.clone(),
        schema: metadata.schema.clone(),
        properties: metadata.properties.clone(),
        partitions: metadata.partitions.clone(),
        indexes: metadata.indexes.clone(),
        aliases: metadata.aliases.clone(),
    }
}

/// When an id was allocated, where it is one of physical milliseconds and a counter (as ours and
/// Milvus' are); none for others.
fn allocated_at(id: i64) -> Option<OffsetDateTime> {
    /// 2015: nothing of the kind existed before.
    const BEGIN_MS: i64 = 1_420_070_400_000;
    let ms = Some(timestamp::to_millis(id)).filter(|ms| *ms >= BEGIN_MS)?;
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()
}
