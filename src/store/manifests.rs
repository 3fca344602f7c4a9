//! Manifests: what a snapshot needs of each segment. A manifest is written once and may be
//! shared by later snapshots of the collection, as long as the segment is the same.

use sqlx::PgConnection;

use super::builds::{BuildRow, group};
use super::failed;
use super::segments::SegmentRow;
use crate::domain::Result;
use crate::domain::id::{CollectionId, SegmentId, SnapshotId};
use crate::domain::manifest::{Manifest, StoredManifest};
use crate::domain::segment::Segment;

/// What a capture took.
#[derive(Debug, Clone, Copy)]
pub struct Captured {
    pub segments: i64,
    pub builds: i64,
    pub rows: i64,
    pub files: i64,
    pub size_bytes: i64,
    /// Segments that need a manifest of their own; the others share one.
    pub new_manifests: i64,
    /// A segment changed at this very moment: roll back and capture again.
    pub outrun: bool,
}

/// How a manifest is written; only equal ones are shared.
#[derive(Debug, Clone, Copy)]
pub struct WrittenAs<'a> {
    /// As the metadata file says it.
    pub format_version: i32,
    /// Key prefix of the storage root, which keys in the manifest begin with.
    pub root: &'a str,
}

/// References what belongs to a snapshot: each chosen segment by the manifest of an earlier
/// snapshot where segment version, index builds and format are the same, else by a new one.
///
/// Chosen: flushed, with an insert or delete file, whose commit timestamp, or else start
/// position, lies before the seek position of their own channel; with `unbounded` also every
/// such segment of a channel without position. One statement chooses, so the choice is one
/// moment's. Share locks keep the version of a segment with a new manifest; the caller's hold on
/// the collection keeps the collector away from all of it until the references are committed.
pub async fn capture(
    conn: &mut PgConnection,
    snapshot: SnapshotId,
    collection: CollectionId,
    unbounded: bool,
    written_as: WrittenAs<'_>,
) -> Result<Captured> {
    let row = sqlx::query!(
        r#"with chosen as materialized (
             select s.segment_id, s.version, s.num_of_rows, s.file_count, s.size_bytes, s.level
               from segments s join channels ch using (collection_id, channel_name)
              where s.collection_id = $2 and s.state = 'flushed' and s.has_data
                and (($3 and ch.seek_timestamp is null)
                     or coalesce(nullif(s.commit_timestamp, 0), s.start_timestamp) < ch.seek_timestamp)
           ), built as materialized (
             select b.segment_id, array_agg(b.build_id order by b.build_id) as build_ids, count(*) as builds,
                    sum(b.file_count) as files, sum(b.size_bytes) as bytes
               from chosen c join index_builds b using (segment_id)
              where b.state = 'finished'
              group by b.segment_id
           ), matched as materialized (
             select c.segment_id, c.version, coalesce(b.build_ids, '{}') as build_ids,
                    case when c.level = 'L0' then 0 else c.num_of_rows end as rows,
                    coalesce(b.builds, 0) as builds, c.file_count + coalesce(b.files, 0) as files,
                    c.size_bytes + coalesce(b.bytes, 0) as bytes,
                    (select max(m.owner_snapshot_id) from manifests m
                      where m.segment_id = c.segment_id and m.version = c.version and m.format_version = $4 and m.root = $5
                        and m.state = 'live' and m.sha256 is not null
                        and m.build_ids = coalesce(b.build_ids, '{}')) as owner
               from chosen c left join built b using (segment_id)
           ), locked as materialized (
             select s.segment_id, m.version, m.build_ids
               from matched m join segments s using (segment_id)
              where m.owner is null and s.state = 'flushed' and s.version = m.version
                for share of s
           ), written as (
             insert into manifests (owner_snapshot_id, segment_id, collection_id, version, build_ids, format_version, root)
             select $1, segment_id, $2, version, build_ids, $4, $5 from locked
           ), referenced as (
             insert into snapshot_manifests (snapshot_id, segment_id, owner_snapshot_id)
             select $1, segment_id, coalesce(owner, $1) from matched
           )
           select count(*) as "segments!", coalesce(sum(builds), 0)::bigint as "builds!", least(coalesce(sum(rows), 0), 9223372036854775807)::bigint as "rows!",
                  coalesce(sum(files), 0)::bigint as "files!", least(coalesce(sum(bytes), 0), 9223372036854775807)::bigint as "bytes!",
                  count(*) filter (where owner is null) as "new!", (select count(*) from locked) as "locked!"
             from matched"#,
        snapshot.0,
        collection.0,
        unbounded,
        written_as.format_version,
        written_as.root
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    Ok(Captured {
        segments: row.segments,
        builds: row.builds,
        rows: row.rows,
        files: row.files,
        size_bytes: row.bytes,
        new_manifests: row.new,
        outrun: row.new != row.locked,
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
        r#"select s.state, s.has_data, count(*) as "segments!", least(coalesce(sum(s.num_of_rows), 0), 9223372036854775807)::bigint as "rows!"
             from segments s
            where s.collection_id = $2 and s.state not in ('dropped', 'condemned')
              and not exists (select from snapshot_manifests r where r.snapshot_id = $1 and r.segment_id = s.segment_id)
            group by s.state, s.has_data order by s.state, s.has_data"#,
        snapshot.0,
        collection.0
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(|r| (r.state, r.has_data, r.segments, r.rows)).collect())
}

/// A page of what a snapshot captured, by segment id; with `own` only what it needs a manifest
/// of its own for.
pub async fn page(
    conn: &mut PgConnection,
    snapshot: SnapshotId,
    own: bool,
    after: Option<i64>,
    limit: i64,
) -> Result<Vec<Manifest>> {
    let rows = sqlx::query!(
        "with chosen as materialized (
             -- the page first: whatever the planner believes, a page costs a page
             select segment_id, owner_snapshot_id from snapshot_manifests
              where snapshot_id = $1 and segment_id > $2 and (not $3 or owner_snapshot_id = snapshot_id)
              order by segment_id limit $4
           )
           select s.segment_id, s.collection_id, s.partition_id, s.channel_name, s.level, s.state, v.version, v.num_of_rows,
                  v.commit_timestamp, v.content, s.created_at, m.build_ids
             from chosen
             join manifests m using (segment_id, owner_snapshot_id)
             join segments s using (segment_id)
             join segment_versions v on v.segment_id = m.segment_id and v.version = m.version
            order by s.segment_id",
        snapshot.0,
        after.unwrap_or(-1),
        own,
        limit
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(failed)?;
    let build_ids: Vec<i64> = rows.iter().flat_map(|r| r.build_ids.iter().copied()).collect();
    let builds = sqlx::query_as!(
        BuildRow,
        "select build_id, segment_id, index_id, content from index_builds where build_id = any($1) order by build_id",
        &build_ids
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    let mut builds = group(builds)?;
    rows.into_iter()
        .map(|r| {
            let builds = builds.remove(&r.segment_id).unwrap_or_default();
            let segment = Segment::try_from(SegmentRow {
                segment_id: r.segment_id,
                collection_id: r.collection_id,
                partition_id: r.partition_id,
                channel_name: r.channel_name,
                level: r.level,
                state: r.state,
                version: r.version,
                num_of_rows: r.num_of_rows,
                commit_timestamp: r.commit_timestamp,
                content: r.content,
                created_at: r.created_at,
            })?;
            Ok(Manifest { segment, builds })
        })
        .collect()
}

/// A manifest whose object has just been written.
#[derive(Debug, Clone)]
pub struct NewlyWritten {
    pub segment_id: SegmentId,
    /// Build ids among the segment's own files.
    pub content_build_ids: Vec<i64>,
    pub size_bytes: u64,
    pub sha256: [u8; 32],
}

/// Records that manifests are written; from then on other snapshots may share them.
pub async fn set_written(conn: &mut PgConnection, owner: SnapshotId, written: &[NewlyWritten]) -> Result<()> {
    // Row by row through the primary key, whatever the planner believes of a table that fills this
    // fast: a join reads all rows of the owner for each page. Nobody else updates these rows; one
    // that the collector takes away meanwhile belongs to a snapshot that lost its lease.
    sqlx::query!(
        "update manifests m set size_bytes = w.size_bytes, sha256 = w.sha256
           from (select n.size_bytes, n.sha256,
                        (select k.ctid from manifests k where k.owner_snapshot_id = $1 and k.segment_id = n.segment_id) as row
                   from unnest($2::bigint[], $3::bigint[], $4::bytea[]) as n (segment_id, size_bytes, sha256)) w
          where m.ctid = w.row",
        owner.0,
        &written.iter().map(|w| w.segment_id.0).collect::<Vec<_>>(),
        &written
            .iter()
            .map(|w| i64::try_from(w.size_bytes).unwrap_or(i64::MAX))
            .collect::<Vec<_>>(),
        &written.iter().map(|w| w.sha256.to_vec()).collect::<Vec<_>>()
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    // few segments have any, and arrays of arrays of different lengths can't be sent at once
    for one in written.iter().filter(|w| !w.content_build_ids.is_empty()) {
        sqlx::query!(
            "update manifests set content_build_ids = $3 where owner_snapshot_id = $1 and segment_id = $2",
            owner.0,
            one.segment_id.0,
            &one.content_build_ids
        )
        .execute(&mut *conn)
        .await
        .map_err(failed)?;
    }
    Ok(())
}

/// Every manifest of a snapshot, shared ones too, by segment id.
pub async fn of_snapshot(conn: &mut PgConnection, snapshot: SnapshotId) -> Result<Vec<StoredManifest>> {
    let rows = sqlx::query!(
        r#"select m.segment_id, m.owner_snapshot_id, m.build_ids, m.content_build_ids,
                  coalesce(m.size_bytes, 0) as "size_bytes!", coalesce(m.sha256, '') as "sha256!"
             from snapshot_manifests r join manifests m using (segment_id, owner_snapshot_id)
            where r.snapshot_id = $1 order by r.segment_id"#,
        snapshot.0
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|r| StoredManifest {
            segment_id: SegmentId(r.segment_id),
            owner: SnapshotId(r.owner_snapshot_id),
            build_ids: r.build_ids.into_iter().chain(r.content_build_ids).collect(),
            size_bytes: u64::try_from(r.size_bytes).unwrap_or_default(),
            sha256: r.sha256,
        })
        .collect())
}
