//! What is known about the owner of an object.

use futures::TryStreamExt as _;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};

use super::codec::decode;
use super::failed;
use crate::domain::Result;
use crate::domain::explain::Keeper;
use crate::domain::id::{BuildId, CollectionId, JobId, PinId, SegmentId, SnapshotId};
use crate::domain::index::BuildContent;
use crate::domain::segment::SegmentContent;
use crate::domain::snapshot::Pin;

/// The row of a segment or an index build, as far as it matters for its files.
#[derive(Debug, Clone)]
pub struct Owner {
    pub collection: CollectionId,
    pub external: bool,
    /// `growing`, `flushed`, `dropped` and so on.
    pub state: String,
    pub dropped_at: Option<OffsetDateTime>,
    /// A worker may still write its files until then.
    pub collect_after: Option<OffsetDateTime>,
    /// Its collection is the target of a restore that is not published: one that runs, or one that did not end well.
    pub target: Option<Target>,
}

/// The restore that a target is of.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// None: its history has expired.
    pub job: Option<JobId>,
    /// It will never be published: its clean-up deletes it.
    pub given_up: bool,
}

fn target(segment_state: &str, collection_state: &str, job: Option<i64>) -> Option<Target> {
    (segment_state == "importing").then_some(Target {
        job: job.map(JobId),
        given_up: collection_state == "dropped",
    })
}

/// A segment.
pub async fn segment(conn: &mut PgConnection, id: SegmentId) -> Result<Option<Owner>> {
    let row = sqlx::query!(
        r#"select s.collection_id, c.ownership = 'external' as "external!", s.state, s.dropped_at, s.collect_after,
                  c.state as collection_state,
                  (select max(j.job_id) from restore_jobs j where j.collection_id = s.collection_id and j.kind <> 'export') as job_id
             from segments s join collections c using (collection_id) where s.segment_id = $1"#,
        id.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(row.map(|r| Owner {
        collection: CollectionId(r.collection_id),
        external: r.external,
        target: target(&r.state, &r.collection_state, r.job_id),
        state: r.state,
        dropped_at: r.dropped_at,
        collect_after: r.collect_after,
    }))
}

/// An index build.
pub async fn build(conn: &mut PgConnection, id: BuildId) -> Result<Option<Owner>> {
    let row = sqlx::query!(
        r#"select b.collection_id, c.ownership = 'external' as "external!", b.state, b.dropped_at, b.collect_after,
                  c.state as collection_state,
                  (select max(j.job_id) from restore_jobs j where j.collection_id = b.collection_id and j.kind <> 'export') as job_id
             from index_builds b join collections c using (collection_id) where b.build_id = $1"#,
        id.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(row.map(|r| Owner {
        collection: CollectionId(r.collection_id),
        external: r.external,
        target: target(&r.state, &r.collection_state, r.job_id),
        state: r.state,
        dropped_at: r.dropped_at,
        collect_after: r.collect_after,
    }))
}

/// Whether a path is among the recorded files of a segment, of whichever version.
pub async fn segment_names(conn: &mut PgConnection, id: SegmentId, path: &str) -> Result<bool> {
    let mut versions = sqlx::query_scalar!("select content from segment_versions where segment_id = $1", id.0).fetch(conn);
    while let Some(content) = versions.try_next().await.map_err(failed)? {
        let content: SegmentContent = decode(&content)?;
        if content.files.files().any(|(file, _)| file.path == path) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a path is among the recorded files of an index build.
pub async fn build_names(conn: &mut PgConnection, id: BuildId, path: &str) -> Result<bool> {
    let content = sqlx::query_scalar!("select content from index_builds where build_id = $1", id.0)
        .fetch_optional(conn)
        .await
        .map_err(failed)?;
    let content: Option<BuildContent> = content.map(|bytes| decode(&bytes)).transpose()?;
    Ok(content.is_some_and(|c| c.files.iter().any(|file| file.path == path)))
}

/// The snapshots that need something, the first of them, and how many there are.
#[derive(Debug, Default)]
pub struct Snapshots {
    pub keepers: Vec<Keeper>,
    pub total: i64,
    /// Committed or pending ones among them.
    pub living: i64,
    /// When the last dropped one of them was dropped.
    pub last_dropped_at: Option<OffsetDateTime>,
}

/// What snapshots need: a whole segment, one build of it, or one manifest.
#[derive(Debug, Clone, Copy, Default)]
pub struct Needed {
    pub segment: Option<SegmentId>,
    pub build: Option<BuildId>,
    /// The snapshot that the manifest was written for.
    pub manifest_owner: Option<SnapshotId>,
    pub snapshot: Option<SnapshotId>,
}

/// Finds the snapshots that need something.
pub async fn snapshots(conn: &mut PgConnection, needed: Needed, limit: i64) -> Result<Snapshots> {
    let rows = sqlx::query!(
        r#"with needing as (
             select distinct r.snapshot_id
               from manifests m join snapshot_manifests r using (segment_id, owner_snapshot_id)
              where ($1::bigint is not null and m.segment_id = $1 and ($2::bigint is null or $2 = any (m.build_ids))
                     and ($3::bigint is null or m.owner_snapshot_id = $3))
                 or ($1::bigint is null and $2::bigint is not null
                     and m.segment_id = (select b.segment_id from index_builds b where b.build_id = $2) and $2 = any (m.build_ids))
             union
             select $4::bigint where $4::bigint is not null
           )
           select s.snapshot_id, s.name, s.state, s.dropped_at, s.held_at is not null as "on_hold!",
                  (select count(*) from pins p where p.snapshot_id = s.snapshot_id
                      and (p.expires_at is null or p.expires_at > (select stillframe_now()))) as "pins!",
                  count(*) over () as "total!", count(*) filter (where s.state in ('pending', 'committed')) over () as "living!",
                  max(s.dropped_at) over () as last_dropped_at
             from needing join snapshots s using (snapshot_id)
            order by s.state in ('deleting', 'condemned'), s.snapshot_id limit $5"#,
        needed.segment.map(|s| s.0),
        needed.build.map(|b| b.0),
        needed.manifest_owner.map(|s| s.0),
        needed.snapshot.map(|s| s.0),
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(Snapshots {
        total: rows.first().map_or(0, |r| r.total),
        living: rows.first().map_or(0, |r| r.living),
        last_dropped_at: rows.first().and_then(|r| r.last_dropped_at),
        keepers: rows
            .into_iter()
            .map(|r| Keeper::Snapshot {
                id: SnapshotId(r.snapshot_id),
                name: r.name,
                dropped: r.dropped_at.is_some(),
                pins: r.pins,
                pinned_by: Vec::new(),
                on_hold: r.on_hold,
            })
            .collect(),
    })
}

/// The pins of snapshots that have not expired, at most `limit` of them by id.
pub async fn pins(conn: &mut PgConnection, snapshots: &[i64], limit: i64) -> Result<Vec<Pin>> {
    let rows = sqlx::query!(
        "select pin_id, snapshot_id, owner, reason, created_at, expires_at from pins
          where snapshot_id = any($1) and (expires_at is null or expires_at > (select stillframe_now()))
          order by pin_id limit $2",
        snapshots,
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|r| Pin {
            pin_id: PinId(r.pin_id),
            snapshot_id: SnapshotId(r.snapshot_id),
            owner: r.owner,
            reason: r.reason,
            created_at: r.created_at,
            expires_at: r.expires_at,
        })
        .collect())
}

/// Running restores that read one of these snapshots, or write this collection.
pub async fn jobs(conn: &mut PgConnection, snapshots: &[i64], target: Option<CollectionId>) -> Result<Vec<Keeper>> {
    let ids = sqlx::query_scalar!(
        "select job_id from restore_jobs
          where finished_at is null and (snapshot_id = any($1) or (collection_id = $2 and kind <> 'export')) order by job_id limit 100",
        snapshots,
        target.map(|t| t.0)
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(ids.into_iter().map(|id| Keeper::RestoreJob(JobId(id))).collect())
}

/// Whether a manifest has a row.
pub async fn manifest_is_known(conn: &mut PgConnection, owner: SnapshotId, segment: SegmentId) -> Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from manifests where owner_snapshot_id = $1 and segment_id = $2) as "known!""#,
        owner.0,
        segment.0
    )
    .fetch_one(conn)
    .await
    .map_err(failed)
}

/// Whether another system wrote a snapshot's metadata file, or the manifest of a segment that was written for it,
/// into the storage root itself.
pub async fn is_adopted(conn: &mut PgConnection, snapshot: SnapshotId, segment: Option<SegmentId>) -> Result<bool> {
    sqlx::query_scalar!(
        r#"select case when $2::bigint is null
                  then exists (select from snapshots where snapshot_id = $1 and adopted_from = '')
                  else exists (select from manifests where owner_snapshot_id = $1 and segment_id = $2 and adopted_from = '')
                  end as "adopted!""#,
        snapshot.0,
        segment.map(|s| s.0)
    )
    .fetch_one(conn)
    .await
    .map_err(failed)
}

/// The receipt of a restore job: the job, whether it has not ended, and since when it has.
#[derive(Debug, Clone, Copy)]
pub struct ReceiptOf {
    /// None: its history has expired.
    pub job: Option<JobId>,
    pub finished_at: Option<OffsetDateTime>,
}

/// Finds a receipt; none when it has no row.
pub async fn receipt(conn: &mut PgConnection, job: JobId) -> Result<Option<ReceiptOf>> {
    let row = sqlx::query!(
        r#"select j.job_id as "job_id?", j.finished_at from restore_receipts r left join restore_jobs j using (job_id)
            where r.job_id = $1"#,
        job.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(row.map(|r| ReceiptOf {
        job: r.job_id.map(JobId),
        finished_at: r.finished_at,
    }))
}

/// Since when an object is known to have no row.
pub async fn orphan_since(conn: &mut PgConnection, key: &str) -> Result<Option<OffsetDateTime>> {
    sqlx::query_scalar!("select first_seen_at from orphans where key = $1", key)
        .fetch_optional(conn)
        .await
        .map_err(failed)
}

/// A time after another.
pub fn later(at: OffsetDateTime, seconds: i64) -> OffsetDateTime {
    at.checked_add(Duration::seconds(seconds)).unwrap_or(at)
}
