//! Making a collection show what its newest snapshot captured.

use sqlx::PgConnection;

use super::codec::{from_json, to_json};
use super::failed;
use super::snapshots::description;
use crate::domain::Result;
use crate::domain::collection::Channel;
use crate::domain::id::{CollectionId, SnapshotId};

/// Makes living what the newest committed snapshot of a collection captured, and leaves the rest of
/// what snapshots captured to them, as dropped. Segments that no snapshot captured are not touched.
///
/// # Errors
/// Database errors.
pub async fn show(conn: &mut PgConnection, id: CollectionId) -> Result<()> {
    let newest = sqlx::query!(
        "select snapshot_id, channels from snapshots where collection_id = $1 and state = 'committed'
          order by create_ts desc, snapshot_id desc limit 1",
        id.0
    )
    .fetch_optional(&mut *conn)
    .await
    .map_err(failed)?;
    let Some(newest) = newest else { return Ok(()) };
    let channels: Vec<Channel> = from_json(newest.channels)?;
    let newest = SnapshotId(newest.snapshot_id);
    show_definitions(conn, id, newest).await?;
    for channel in &channels {
        if let Some(position) = &channel.seek_position {
            super::channels::report(conn, id, &channel.channel_name, position).await?;
        }
    }
    show_segments(conn, id, newest).await?;
    show_builds(conn, id, newest).await
}

async fn show_definitions(conn: &mut PgConnection, id: CollectionId, newest: SnapshotId) -> Result<()> {
    let captured = description(conn, newest).await?;
    sqlx::query!(
        "update collections set schema = $2, properties = $3, consistency_level = $4 where collection_id = $1",
        id.0,
        to_json(&captured.schema)?,
        to_json(&captured.properties)?,
        captured.consistency_level
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    let partitions: Vec<i64> = captured.partitions.iter().map(|p| p.partition_id.0).collect();
    let indexes: Vec<i64> = captured.indexes.iter().map(|i| i.index_id.0).collect();
    // first all that go: names are unique among the living ones
    for state in ["dropped", "active"] {
        sqlx::query!(
            "update partitions set state = $3 where collection_id = $1 and (partition_id = any($2)) = ($3 = 'active')",
            id.0,
            &partitions,
            state
        )
        .execute(&mut *conn)
        .await
        .map_err(failed)?;
        sqlx::query!(
            "update indexes set state = $3 where collection_id = $1 and (index_id = any($2)) = ($3 = 'active')",
            id.0,
            &indexes,
            state
        )
        .execute(&mut *conn)
        .await
        .map_err(failed)?;
    }
    Ok(())
}

async fn show_segments(conn: &mut PgConnection, id: CollectionId, newest: SnapshotId) -> Result<()> {
    sqlx::query!(
        "update segments s set state = 'dropped', dropped_at = (select stillframe_now())
          where s.collection_id = $1 and s.state = 'flushed'
            and exists (select from manifests m where m.segment_id = s.segment_id)
            and not exists (select from snapshot_manifests r where r.snapshot_id = $2 and r.segment_id = s.segment_id)",
        id.0,
        newest.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "update segments s set state = 'flushed', dropped_at = null
           from snapshot_manifests r
          where r.snapshot_id = $2 and r.segment_id = s.segment_id and s.collection_id = $1 and s.state = 'dropped'",
        id.0,
        newest.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    // an older snapshot that was entered later has left its version on top
    sqlx::query!(
        "with behind as (
           select s.segment_id, s.version + 1 as version, v.content, v.file_count, v.size_bytes, v.num_of_rows, v.commit_timestamp
             from snapshot_manifests r
             join manifests m using (segment_id, owner_snapshot_id)
             join segments s using (segment_id)
             join segment_versions v on v.segment_id = m.segment_id and v.version = m.version
             join segment_versions top on top.segment_id = s.segment_id and top.version = s.version
            where r.snapshot_id = $2 and s.collection_id = $1
              and (v.content, v.num_of_rows, v.commit_timestamp) <> (top.content, top.num_of_rows, top.commit_timestamp)
         ), again as (
           insert into segment_versions (segment_id, version, content, file_count, size_bytes, num_of_rows, commit_timestamp)
           select * from behind
         )
         update segments s set version = b.version, file_count = b.file_count, size_bytes = b.size_bytes, num_of_rows = b.num_of_rows,
                commit_timestamp = b.commit_timestamp
           from behind b where b.segment_id = s.segment_id",
        id.0,
        newest.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

async fn show_builds(conn: &mut PgConnection, id: CollectionId, newest: SnapshotId) -> Result<()> {
    sqlx::query!(
        "update index_builds b set state = 'dropped', dropped_at = (select stillframe_now())
          where b.collection_id = $1 and b.state = 'finished'
            and exists (select from manifests m where m.segment_id = b.segment_id)
            and not exists (select from snapshot_manifests r join manifests m using (segment_id, owner_snapshot_id)
                             where r.snapshot_id = $2 and r.segment_id = b.segment_id and b.build_id = any (m.build_ids))",
        id.0,
        newest.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "update index_builds b set state = 'finished', dropped_at = null
           from snapshot_manifests r join manifests m using (segment_id, owner_snapshot_id)
          where r.snapshot_id = $2 and r.segment_id = b.segment_id and b.build_id = any (m.build_ids)
            and b.collection_id = $1 and b.state = 'dropped'",
        id.0,
        newest.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}
