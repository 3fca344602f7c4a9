//! Snapshots and their references.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::builds::{BuildRow, group};
use super::codec::{from_json, to_json};
use super::failed;
use super::segments::SegmentRow;
use crate::domain::id::{CollectionId, DatabaseId, SnapshotId};
use crate::domain::manifest::Manifest;
use crate::domain::schema::Params;
use crate::domain::segment::Segment;
use crate::domain::snapshot::{CapturedCollection, Snapshot, Totals};
use crate::domain::{Code, Error, Result};

struct SnapshotRow {
    snapshot_id: i64,
    collection_id: i64,
    db_id: i64,
    db_name: String,
    collection_name: String,
    collection_state: String,
    ownership: String,
    name: String,
    description: String,
    labels: serde_json::Value,
    state: String,
    create_ts: i64,
    channels: serde_json::Value,
    segment_count: i64,
    index_build_count: i64,
    num_of_rows: i64,
    file_count: i64,
    size_bytes: i64,
    metadata_bytes: i64,
    left_out: serde_json::Value,
    s3_location: String,
    created_at: OffsetDateTime,
    committed_at: Option<OffsetDateTime>,
}

impl TryFrom<SnapshotRow> for Snapshot {
    type Error = Error;
    fn try_from(row: SnapshotRow) -> Result<Self> {
        Ok(Self {
            snapshot_id: SnapshotId(row.snapshot_id),
            name: row.name,
            description: row.description,
            labels: from_json(row.labels)?,
            db_id: DatabaseId(row.db_id),
            db_name: row.db_name,
            collection_id: CollectionId(row.collection_id),
            collection_name: row.collection_name,
            collection_dropped: row.collection_state == "dropped",
            external: row.ownership == "external",
            state: row.state,
            create_ts: row.create_ts,
            channels: from_json(row.channels)?,
            totals: Totals {
                segments: row.segment_count,
                index_builds: row.index_build_count,
                rows: row.num_of_rows,
                files: row.file_count,
                size_bytes: row.size_bytes,
                metadata_bytes: row.metadata_bytes,
            },
            left_out: from_json(row.left_out)?,
            s3_location: row.s3_location,
            created_at: row.created_at,
            committed_at: row.committed_at,
        })
    }
}

/// Which snapshots a call is about.
#[derive(Debug, Clone, Default)]
pub struct SnapshotFilter {
    pub db: Option<DatabaseId>,
    pub collection: Option<CollectionId>,
    /// Of a dropped collection: its old name.
    pub dropped_collection_name: Option<String>,
    pub name: Option<String>,
    pub name_prefix: Option<String>,
    pub snapshot: Option<SnapshotId>,
    /// All of these labels.
    pub labels: Params,
    pub created_from: Option<OffsetDateTime>,
    pub created_before: Option<OffsetDateTime>,
}

/// Where a page of committed snapshots begins: after this creation time (nanoseconds) and id.
pub type SnapshotCursor = (i64, i64);

/// Lists committed snapshots, newest first or oldest first.
pub async fn list(
    conn: &mut PgConnection,
    filter: &SnapshotFilter,
    oldest_first: bool,
    after: Option<SnapshotCursor>,
    limit: i64,
) -> Result<Vec<Snapshot>> {
    let cursor = match after {
        None => None,
        Some((nanos, id)) => {
            let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(nanos))
                .map_err(|e| Code::InvalidPageToken.error("the page token is damaged").because(e))?;
            Some((at, id))
        }
    };
    // two statements, one per direction: each reads its index in order and stops at the limit
    macro_rules! page {
        ($order:literal, $beyond:literal) => {
            sqlx::query_as!(
                SnapshotRow,
                "select s.snapshot_id, s.collection_id, s.db_id, d.name as db_name, c.name as collection_name,
                        c.state as collection_state, c.ownership, s.name, s.description, s.labels, s.state, s.create_ts,
                        s.channels, s.segment_count, s.index_build_count, s.num_of_rows, s.file_count, s.size_bytes,
                        s.metadata_bytes, s.left_out, s.s3_location, s.created_at, s.committed_at
                   from snapshots s
                   join databases d on d.db_id = s.db_id
                   join collections c on c.collection_id = s.collection_id
                  where s.state = 'committed'
                    and ($1::bigint is null or s.db_id = $1)
                    and ($2::bigint is null or s.collection_id = $2)
                    and ($3::text is null or (c.name = $3 and c.state = 'dropped'))
                    and ($4::text is null or s.name = $4)
                    and ($5::text is null or starts_with(s.name, $5))
                    and ($6::bigint is null or s.snapshot_id = $6)
                    and ($7::jsonb is null or s.labels @> $7)
                    and ($8::timestamptz is null or s.created_at >= $8)
                    and ($9::timestamptz is null or s.created_at < $9)
                    and ($10::timestamptz is null or (s.created_at, s.snapshot_id) "
                    + $beyond
                    + " ($10, $11))
                  order by s.created_at "
                    + $order
                    + ", s.snapshot_id "
                    + $order
                    + " limit $12",
                filter.db.map(|d| d.0),
                filter.collection.map(|c| c.0),
                filter.dropped_collection_name,
                filter.name,
                filter.name_prefix,
                filter.snapshot.map(|s| s.0),
                if filter.labels.is_empty() {
                    None
                } else {
                    Some(to_json(&filter.labels)?)
                },
                filter.created_from,
                filter.created_before,
                cursor.map(|c| c.0),
                cursor.map(|c| c.1),
                limit
            )
            .fetch_all(conn)
            .await
            .map_err(failed)?
        };
    }
    let rows = if oldest_first { page!("asc", ">") } else { page!("desc", "<") };
    rows.into_iter().map(Snapshot::try_from).collect()
}

/// The cursor of a snapshot in a list.
pub fn cursor(snapshot: &Snapshot) -> SnapshotCursor {
    (
        i64::try_from(snapshot.created_at.unix_timestamp_nanos()).unwrap_or(i64::MAX),
        snapshot.snapshot_id.0,
    )
}

/// A snapshot about to be written.
#[derive(Debug)]
pub struct NewSnapshot<'a> {
    pub snapshot_id: SnapshotId,
    pub collection_id: CollectionId,
    pub db_id: DatabaseId,
    pub name: &'a str,
    pub description: &'a str,
    pub labels: &'a Params,
    pub create_ts: i64,
    pub channels: &'a serde_json::Value,
    pub lease_token: Uuid,
    pub lease_ms: i64,
}

/// Inserts a pending snapshot; false when the collection has one of this name.
pub async fn insert_pending(conn: &mut PgConnection, new: &NewSnapshot<'_>) -> Result<bool> {
    let inserted = sqlx::query!(
        "insert into snapshots (snapshot_id, collection_id, db_id, name, description, labels, state, create_ts, channels,
                                lease_token, lease_expires_at)
         values ($1, $2, $3, $4, $5, $6, 'pending', $7, $8, $9, stillframe_now() + $10::bigint * interval '1 millisecond')
         on conflict (collection_id, name) where state in ('pending', 'committed') do nothing",
        new.snapshot_id.0,
        new.collection_id.0,
        new.db_id.0,
        new.name,
        new.description,
        to_json(new.labels)?,
        new.create_ts,
        new.channels,
        new.lease_token,
        new.lease_ms
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    Ok(inserted.rows_affected() == 1)
}

/// Adds the collection as it was captured.
pub async fn insert_description(conn: &mut PgConnection, snapshot: SnapshotId, captured: &CapturedCollection) -> Result<()> {
    sqlx::query!(
        "insert into snapshot_descriptions (snapshot_id, description) values ($1, $2)",
        snapshot.0,
        to_json(captured)?
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Takes the name away from a pending snapshot whose lease has expired.
pub async fn expire_pending(conn: &mut PgConnection, collection: CollectionId, name: &str) -> Result<bool> {
    let expired = sqlx::query!(
        "update snapshots set state = 'deleting', dropped_at = stillframe_now(), lease_token = null, lease_expires_at = null
          where collection_id = $1 and name = $2 and state = 'pending' and lease_expires_at <= (select stillframe_now())",
        collection.0,
        name
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(expired.rows_affected() > 0)
}

/// What a capture took.
#[derive(Debug, Clone, Copy)]
pub struct Captured {
    pub segments: i64,
    pub builds: i64,
    pub rows: i64,
    pub files: i64,
    pub size_bytes: i64,
}

/// Locks and references the segments that belong to a snapshot, and their finished builds.
///
/// Chosen: flushed, with an insert or delete file, whose commit timestamp, or else start
/// position, lies before the seek position of their own channel; with `unbounded` also every
/// such segment of a channel without position. Share locks keep them from being dropped until the references are committed.
pub async fn reference_segments(
    conn: &mut PgConnection,
    snapshot: SnapshotId,
    collection: CollectionId,
    unbounded: bool,
) -> Result<Captured> {
    let segments = sqlx::query!(
        r#"with chosen as materialized (
             select s.segment_id, s.version, s.num_of_rows, s.file_count, s.size_bytes, s.level
               from segments s join channels ch using (collection_id, channel_name)
              where s.collection_id = $2 and s.state = 'flushed' and s.has_data
                and (($3 and ch.seek_timestamp is null)
                     or coalesce(nullif(s.commit_timestamp, 0), s.start_timestamp) < ch.seek_timestamp)
                for share of s
           ), referenced as (
             insert into snapshot_segments (snapshot_id, segment_id, version)
             select $1, segment_id, version from chosen
           )
           select count(*) as "segments!", coalesce(sum(num_of_rows) filter (where level <> 'L0'), 0)::bigint as "rows!",
                  coalesce(sum(file_count), 0)::bigint as "files!", coalesce(sum(size_bytes), 0)::bigint as "bytes!"
             from chosen"#,
        snapshot.0,
        collection.0,
        unbounded
    )
    .fetch_one(&mut *conn)
    .await
    .map_err(failed)?;
    let builds = sqlx::query!(
        r#"with chosen as materialized (
             select b.build_id, b.segment_id, b.file_count, b.size_bytes
               from snapshot_segments r join index_builds b using (segment_id)
              where r.snapshot_id = $1 and b.state = 'finished'
                for share of b
           ), referenced as (
             insert into snapshot_builds (snapshot_id, segment_id, build_id)
             select $1, segment_id, build_id from chosen
           )
           select count(*) as "builds!", coalesce(sum(file_count), 0)::bigint as "files!",
                  coalesce(sum(size_bytes), 0)::bigint as "bytes!"
             from chosen"#,
        snapshot.0
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    Ok(Captured {
        segments: segments.segments,
        builds: builds.builds,
        rows: segments.rows,
        files: segments.files + builds.files,
        size_bytes: segments.bytes + builds.bytes,
    })
}

/// Counts the living segments that a snapshot did not capture, by state; flushed ones with data
/// begin after their channel's position.
pub async fn left_out(
    conn: &mut PgConnection,
    snapshot: SnapshotId,
    collection: CollectionId,
) -> Result<Vec<(String, bool, i64, i64)>> {
    let rows = sqlx::query!(
        r#"select s.state, s.has_data, count(*) as "segments!", coalesce(sum(s.num_of_rows), 0)::bigint as "rows!"
             from segments s
            where s.collection_id = $2 and s.state not in ('dropped', 'condemned')
              and not exists (select from snapshot_segments r where r.snapshot_id = $1 and r.segment_id = s.segment_id)
            group by s.state, s.has_data order by s.state, s.has_data"#,
        snapshot.0,
        collection.0
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(|r| (r.state, r.has_data, r.segments, r.rows)).collect())
}

/// A page of what a snapshot references, by segment id.
pub async fn manifests(conn: &mut PgConnection, snapshot: SnapshotId, after: Option<i64>, limit: i64) -> Result<Vec<Manifest>> {
    let rows = sqlx::query_as!(
        SegmentRow,
        "select s.segment_id, s.collection_id, s.partition_id, s.channel_name, s.level, s.state, v.version, v.num_of_rows,
                v.commit_timestamp, v.content, s.created_at
           from snapshot_segments r
           join segments s using (segment_id)
           join segment_versions v on v.segment_id = r.segment_id and v.version = r.version
          where r.snapshot_id = $1 and r.segment_id > $2
          order by r.segment_id limit $3",
        snapshot.0,
        after.unwrap_or(-1),
        limit
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(failed)?;
    let ids: Vec<i64> = rows.iter().map(|r| r.segment_id).collect();
    let mut builds = referenced_builds(conn, snapshot, &ids).await?;
    rows.into_iter()
        .map(|row| {
            let segment = Segment::try_from(row)?;
            let builds = builds.remove(&segment.segment_id.0).unwrap_or_default();
            Ok(Manifest { segment, builds })
        })
        .collect()
}

async fn referenced_builds(
    conn: &mut PgConnection,
    snapshot: SnapshotId,
    segments: &[i64],
) -> Result<std::collections::HashMap<i64, Vec<crate::domain::index::IndexBuild>>> {
    let rows = sqlx::query_as!(
        BuildRow,
        "select b.build_id, b.segment_id, b.index_id, b.content
           from snapshot_builds r join index_builds b using (build_id)
          where r.snapshot_id = $1 and r.segment_id = any($2)
          order by b.build_id",
        snapshot.0,
        segments
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    group(rows)
}

/// Renews the lease of a pending snapshot; false when it was taken away.
pub async fn renew(conn: &mut PgConnection, snapshot: SnapshotId, token: Uuid, lease_ms: i64) -> Result<bool> {
    let updated = sqlx::query!(
        "update snapshots set lease_expires_at = stillframe_now() + $3::bigint * interval '1 millisecond'
          where snapshot_id = $1 and lease_token = $2 and state = 'pending'",
        snapshot.0,
        token,
        lease_ms
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(updated.rows_affected() == 1)
}

/// Makes a pending snapshot visible; false when the lease was lost.
pub async fn commit(
    conn: &mut PgConnection,
    snapshot: SnapshotId,
    token: Uuid,
    totals: &Totals,
    left_out: &serde_json::Value,
    s3_location: &str,
) -> Result<bool> {
    let updated = sqlx::query!(
        "update snapshots set state = 'committed', committed_at = stillframe_now(), lease_token = null, lease_expires_at = null,
                segment_count = $3, index_build_count = $4, num_of_rows = $5, file_count = $6, size_bytes = $7,
                metadata_bytes = $8, left_out = $9, s3_location = $10
          where snapshot_id = $1 and lease_token = $2 and state = 'pending'",
        snapshot.0,
        token,
        totals.segments,
        totals.index_builds,
        totals.rows,
        totals.files,
        totals.size_bytes,
        totals.metadata_bytes,
        left_out,
        s3_location
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(updated.rows_affected() == 1)
}

/// Gives up a pending snapshot: the name is free, the collector removes what was written.
pub async fn abandon(conn: &mut PgConnection, snapshot: SnapshotId, token: Uuid) -> Result<()> {
    sqlx::query!(
        "update snapshots set state = 'deleting', dropped_at = stillframe_now(), lease_token = null, lease_expires_at = null
          where snapshot_id = $1 and lease_token = $2 and state = 'pending'",
        snapshot.0,
        token
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// The collection as a snapshot captured it.
pub async fn description(conn: &mut PgConnection, snapshot: SnapshotId) -> Result<CapturedCollection> {
    let value = sqlx::query_scalar!(
        "select description from snapshot_descriptions where snapshot_id = $1",
        snapshot.0
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    from_json(value)
}

/// Replaces description and labels.
pub async fn set_texts(conn: &mut PgConnection, snapshot: SnapshotId, description: &str, labels: &Params) -> Result<bool> {
    let updated = sqlx::query!(
        "update snapshots set description = $2, labels = $3 where snapshot_id = $1 and state = 'committed'",
        snapshot.0,
        description,
        to_json(labels)?
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(updated.rows_affected() == 1)
}

/// Holds a committed snapshot against being dropped until the transaction ends; false when it
/// has been.
pub async fn hold(conn: &mut PgConnection, snapshot: SnapshotId) -> Result<bool> {
    let row = sqlx::query_scalar!(
        "select snapshot_id from snapshots where snapshot_id = $1 and state = 'committed' for share",
        snapshot.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(row.is_some())
}

/// Locks a committed snapshot for its drop; false when another call dropped it.
pub async fn lock(conn: &mut PgConnection, snapshot: SnapshotId) -> Result<bool> {
    let row = sqlx::query_scalar!(
        "select snapshot_id from snapshots where snapshot_id = $1 and state = 'committed' for update",
        snapshot.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(row.is_some())
}

/// The restore job that is running on a snapshot, if any.
pub async fn running_restore(conn: &mut PgConnection, snapshot: SnapshotId) -> Result<Option<i64>> {
    sqlx::query_scalar!(
        "select job_id from restore_jobs where snapshot_id = $1 and finished_at is null order by job_id limit 1",
        snapshot.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)
}

/// Marks a locked snapshot as dropped.
pub async fn mark_dropped(conn: &mut PgConnection, snapshot: SnapshotId) -> Result<()> {
    sqlx::query!(
        "update snapshots set state = 'deleting', dropped_at = stillframe_now() where snapshot_id = $1 and state = 'committed'",
        snapshot.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Takes the pending snapshots of a collection away from their creating calls, whose commit then
/// fails.
pub async fn abandon_pending(conn: &mut PgConnection, collection: CollectionId) -> Result<()> {
    sqlx::query!(
        "update snapshots set state = 'deleting', dropped_at = stillframe_now(), lease_token = null, lease_expires_at = null
          where collection_id = $1 and state = 'pending'",
        collection.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Ids of the committed snapshots of a collection.
pub async fn of_collection(conn: &mut PgConnection, collection: CollectionId) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select snapshot_id from snapshots where collection_id = $1 and state = 'committed' order by snapshot_id",
        collection.0
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}
