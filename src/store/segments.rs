//! Segments and their versions.

use std::collections::HashSet;

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::codec::{decode, encode};
use super::failed;
use crate::domain::access::Visible;
use crate::domain::id::{CollectionId, PartitionId, SegmentId};
use crate::domain::segment::{Level, Segment, SegmentState};
use crate::domain::{Error, Result};

pub(super) struct SegmentRow {
    pub segment_id: i64,
    pub collection_id: i64,
    pub partition_id: i64,
    pub channel_name: String,
    pub level: String,
    pub state: String,
    pub version: i32,
    pub num_of_rows: i64,
    pub commit_timestamp: i64,
    pub content: Vec<u8>,
    pub created_at: OffsetDateTime,
}

impl TryFrom<SegmentRow> for Segment {
    type Error = Error;
    fn try_from(row: SegmentRow) -> Result<Self> {
        let unknown = |what: &str| Error::internal(format!("segment {} has an unknown {what}", row.segment_id));
        Ok(Self {
            segment_id: SegmentId(row.segment_id),
            collection_id: CollectionId(row.collection_id),
            partition_id: PartitionId(row.partition_id),
            channel_name: row.channel_name,
            level: Level::parse(&row.level).ok_or_else(|| unknown("level"))?,
            state: SegmentState::parse(&row.state).ok_or_else(|| unknown("state"))?,
            version: row.version,
            num_of_rows: row.num_of_rows,
            commit_timestamp: row.commit_timestamp,
            content: decode(&row.content)?,
            created_at: row.created_at,
        })
    }
}

fn count(segment: &Segment) -> i32 {
    i32::try_from(segment.content.files.count()).unwrap_or(i32::MAX)
}

fn size(segment: &Segment) -> i64 {
    i64::try_from(segment.content.files.size_bytes()).unwrap_or(i64::MAX)
}

/// Inserts segments with their first version. Gives the ids that are in use already; the caller
/// must then roll back.
pub async fn insert_many(conn: &mut PgConnection, segments: &[Segment]) -> Result<Vec<SegmentId>> {
    let column = |f: fn(&Segment) -> i64| segments.iter().map(f).collect::<Vec<i64>>();
    let ids = column(|s| s.segment_id.0);
    let files: Vec<i32> = segments.iter().map(count).collect();
    let sizes: Vec<i64> = segments.iter().map(size).collect();
    let rows = column(|s| s.num_of_rows);
    let inserted = sqlx::query_scalar!(
        "insert into segments (segment_id, collection_id, partition_id, channel_name, level, state, num_of_rows,
                               start_timestamp, commit_timestamp, has_data, file_count, size_bytes, created_at)
         select u.*, (select stillframe_now())
           from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[],
                       $8::bigint[], $9::bigint[], $10::boolean[], $11::int[], $12::bigint[]) u
         on conflict on constraint segments_pkey do nothing
         returning segment_id",
        &ids,
        &column(|s| s.collection_id.0),
        &column(|s| s.partition_id.0),
        &segments.iter().map(|s| s.channel_name.clone()).collect::<Vec<_>>(),
        &segments.iter().map(|s| s.level.as_str().to_string()).collect::<Vec<_>>(),
        &segments.iter().map(|s| s.state.as_str().to_string()).collect::<Vec<_>>(),
        &rows,
        &column(|s| s.content.start_position.position.timestamp),
        &column(|s| s.commit_timestamp),
        &segments.iter().map(|s| s.content.files.has_data()).collect::<Vec<_>>(),
        &files,
        &sizes,
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(failed)?;
    if inserted.len() != segments.len() {
        let inserted: HashSet<i64> = inserted.into_iter().collect();
        return Ok(segments
            .iter()
            .map(|s| s.segment_id)
            .filter(|id| !inserted.contains(&id.0))
            .collect());
    }
    let contents: Vec<Vec<u8>> = segments.iter().map(|s| encode(&s.content)).collect::<Result<_>>()?;
    sqlx::query!(
        "insert into segment_versions (segment_id, version, content, file_count, size_bytes, num_of_rows, commit_timestamp)
         select segment_id, 1, content, file_count, size_bytes, num_of_rows, commit_timestamp
           from unnest($1::bigint[], $2::bytea[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[])
                as u (segment_id, content, file_count, size_bytes, num_of_rows, commit_timestamp)",
        &ids,
        &contents,
        &files,
        &sizes,
        &rows,
        &column(|s| s.commit_timestamp)
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(Vec::new())
}

/// Finds a segment that is not dropped, with its newest version.
pub async fn find(conn: &mut PgConnection, collection: CollectionId, id: SegmentId) -> Result<Option<Segment>> {
    sqlx::query_as!(
        SegmentRow,
        "select s.segment_id, s.collection_id, s.partition_id, s.channel_name, s.level, s.state, s.version, s.num_of_rows,
                s.commit_timestamp, v.content, s.created_at
           from segments s join segment_versions v using (segment_id, version)
          where s.collection_id = $1 and s.segment_id = $2 and s.state not in ('dropped', 'condemned')",
        collection.0,
        id.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?
    .map(Segment::try_from)
    .transpose()
}

/// Locks a segment for a change and gives its state and newest version; none when it is dropped.
pub async fn lock(conn: &mut PgConnection, collection: CollectionId, id: SegmentId) -> Result<Option<SegmentState>> {
    let state = sqlx::query_scalar!(
        "select state from segments
          where collection_id = $1 and segment_id = $2 and state not in ('dropped', 'condemned') for update",
        collection.0,
        id.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(state.as_deref().and_then(SegmentState::parse))
}

/// What a list of segments is about.
#[derive(Debug, Clone, Copy, Default)]
pub struct SegmentFilter {
    pub state: Option<SegmentState>,
    pub partition: Option<PartitionId>,
}

/// Lists the living segments of a collection by id.
pub async fn list(
    conn: &mut PgConnection,
    collection: CollectionId,
    filter: SegmentFilter,
    after: Option<i64>,
    limit: i64,
) -> Result<Vec<Segment>> {
    let rows = sqlx::query_as!(
        SegmentRow,
        "select s.segment_id, s.collection_id, s.partition_id, s.channel_name, s.level, s.state, s.version, s.num_of_rows,
                s.commit_timestamp, v.content, s.created_at
           from segments s join segment_versions v using (segment_id, version)
          where s.collection_id = $1 and s.state not in ('dropped', 'condemned')
            and ($2::text is null or s.state = $2)
            and ($3::bigint is null or s.partition_id = $3)
            and s.segment_id > $4
          order by s.segment_id limit $5",
        collection.0,
        filter.state.map(|s| s.as_str()),
        filter.partition.map(|p| p.0),
        after.unwrap_or(-1),
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    rows.into_iter().map(Segment::try_from).collect()
}

/// Which of these segments of a collection can take an index build: not dropped.
pub async fn living(conn: &mut PgConnection, collection: CollectionId, ids: &[i64]) -> Result<HashSet<i64>> {
    let rows = sqlx::query_scalar!(
        "select segment_id from segments
          where collection_id = $1 and segment_id = any($2) and state not in ('dropped', 'condemned') for share",
        collection.0,
        ids
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().collect())
}

/// Writes a locked segment back: its state, and a new version when `new_version` is set.
pub async fn update(conn: &mut PgConnection, segment: &Segment, new_version: bool) -> Result<()> {
    if new_version {
        sqlx::query!(
            "insert into segment_versions (segment_id, version, content, file_count, size_bytes, num_of_rows, commit_timestamp)
             values ($1, $2, $3, $4, $5, $6, $7)",
            segment.segment_id.0,
            segment.version,
            encode(&segment.content)?,
            count(segment),
            size(segment),
            segment.num_of_rows,
            segment.commit_timestamp
        )
        .execute(&mut *conn)
        .await
        .map_err(failed)?;
        // the segment's row is locked, so no snapshot is taking one of these up
        sqlx::query!(
            "delete from segment_versions v where v.segment_id = $1 and v.version < $2
                and not exists (select from manifests m where m.segment_id = v.segment_id and m.version = v.version)
                and v.version <> (select s.version from segments s where s.segment_id = $1)",
            segment.segment_id.0,
            segment.version
        )
        .execute(&mut *conn)
        .await
        .map_err(failed)?;
    }
    sqlx::query!(
        "update segments set state = $2, version = $3, num_of_rows = $4, commit_timestamp = $5, has_data = $6,
                file_count = $7, size_bytes = $8, start_timestamp = $9
          where segment_id = $1 and state not in ('dropped', 'condemned')",
        segment.segment_id.0,
        segment.state.as_str(),
        segment.version,
        segment.num_of_rows,
        segment.commit_timestamp,
        segment.content.files.has_data(),
        count(segment),
        size(segment),
        segment.content.start_position.position.timestamp
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Which segments a drop is about.
#[derive(Debug, Clone, Copy)]
pub enum DropScope<'a> {
    Collection,
    Partition(PartitionId),
    Segments(&'a [i64]),
}

/// Drops living segments of a collection and their index builds; gives the ids dropped.
pub async fn drop(conn: &mut PgConnection, collection: CollectionId, scope: DropScope<'_>) -> Result<Vec<i64>> {
    let (partition, ids) = match scope {
        DropScope::Collection => (None, None),
        DropScope::Partition(partition) => (Some(partition.0), None),
        DropScope::Segments(ids) => (None, Some(ids)),
    };
    let dropped = sqlx::query_scalar!(
        "update segments set state = 'dropped', dropped_at = (select stillframe_now())
          where collection_id = $1 and state not in ('dropped', 'condemned')
            and ($2::bigint is null or partition_id = $2)
            and ($3::bigint[] is null or segment_id = any($3))
         returning segment_id",
        collection.0,
        partition,
        ids
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "update index_builds set state = 'dropped', dropped_at = (select stillframe_now())
          where segment_id = any($1) and state not in ('dropped', 'condemned')",
        &dropped
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(dropped)
}

/// Seals every growing segment of a collection; gives all that wait for the engine's flush.
pub async fn seal_growing(conn: &mut PgConnection, collection: CollectionId) -> Result<Vec<i64>> {
    sqlx::query!(
        "update segments set state = 'sealed' where collection_id = $1 and state = 'growing'",
        collection.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    unflushed(conn, collection).await
}

/// Sealed segments of a collection that the engine has not flushed yet.
pub async fn unflushed(conn: &mut PgConnection, collection: CollectionId) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select segment_id from segments where collection_id = $1 and state = 'sealed' order by segment_id",
        collection.0
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// Whether none of these segments is growing or sealed, as far as they may be seen.
pub async fn are_flushed(conn: &mut PgConnection, ids: &[i64], visible: &Visible) -> Result<bool> {
    sqlx::query_scalar!(
        r#"select not exists (
               select from segments s
                 join collections c on c.collection_id = s.collection_id
                 join databases d on d.db_id = c.db_id
                where s.segment_id = any($1) and s.state in ('growing', 'sealed')
                  and ($2::text[] is null or exists (select from unnest($2::text[], $3::text[]) as g (db, collection)
                                                      where d.name like g.db and c.name like g.collection))) as "flushed!""#,
        ids,
        visible.databases() as _,
        visible.collections() as _
    )
    .fetch_one(conn)
    .await
    .map_err(failed)
}
