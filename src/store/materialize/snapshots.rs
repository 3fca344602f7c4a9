//! Snapshots that are written anew. Their manifests and references have rows before the snapshots
//! themselves do; so nobody sees them, and no collector takes what they need.

use sqlx::PgConnection;

use super::super::codec::to_json;
use super::super::failed;
use crate::domain::collection::Channel;
use crate::domain::id::{CollectionId, JobId, SegmentId, SnapshotId};
use crate::domain::snapshot::CapturedCollection;
use crate::domain::{Error, Result};
use crate::store::gc::snapshots::CondemnedManifest;
use crate::store::manifests::WrittenAs;

/// Gives ids to the committed snapshots of the source that have none yet, from `first` on and in the order of
/// their own ids.
pub async fn insert_snapshots(conn: &mut PgConnection, job: JobId, sources: &[i64], first: i64) -> Result<()> {
    sqlx::query!(
        "insert into materialized_snapshots (job_id, source_snapshot_id, target_snapshot_id)
         select $1, source, $3 + at - 1 from unnest($2::bigint[]) with ordinality as u (source, at)",
        job.0,
        sources,
        first
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Inserts manifests and references of the new snapshots, as the old ones share them. What is there from
/// an earlier attempt stays, as it will be written now.
pub async fn insert_manifests(
    conn: &mut PgConnection,
    job: JobId,
    target: CollectionId,
    written_as: WrittenAs<'_>,
) -> Result<()> {
    sqlx::query!(
        "insert into snapshot_manifests (snapshot_id, segment_id, owner_snapshot_id)
         select n.target_snapshot_id, t.target_segment_id,
                min(n.target_snapshot_id) over (partition by r.owner_snapshot_id, r.segment_id)
           from materialized_snapshots n
           join snapshot_manifests r on r.snapshot_id = n.source_snapshot_id
           join restore_tasks t on t.job_id = $1 and t.kind = 'copy' and t.source_segment_id = r.segment_id
          where n.job_id = $1
         on conflict on constraint snapshot_manifests_pkey do nothing",
        job.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "insert into manifests (owner_snapshot_id, segment_id, collection_id, version, build_ids, format_version, root)
         select n.target_snapshot_id, t.target_segment_id, $2, m.version,
                coalesce((select array_agg(b.target_build_id order by b.target_build_id) from restore_builds b
                           where b.job_id = $1 and b.target_segment_id = t.target_segment_id
                             and b.source_build_id = any (m.build_ids)), '{}'), $3, $4
           from materialized_snapshots n
           join snapshot_manifests w on w.snapshot_id = n.target_snapshot_id and w.owner_snapshot_id = w.snapshot_id
           join restore_tasks t on t.job_id = $1 and t.kind = 'copy' and t.target_segment_id = w.segment_id
           join snapshot_manifests r on r.snapshot_id = n.source_snapshot_id and r.segment_id = t.source_segment_id
           join manifests m on m.segment_id = r.segment_id and m.owner_snapshot_id = r.owner_snapshot_id
          where n.job_id = $1
         on conflict on constraint manifests_pkey do update set format_version = excluded.format_version, root = excluded.root",
        job.0,
        target.0,
        written_as.format_version,
        written_as.root
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// A snapshot to be written anew.
#[derive(Debug, Clone, Copy)]
pub struct ToWrite {
    pub source: SnapshotId,
    pub target: SnapshotId,
}

/// The next snapshot of a job, by its own id.
pub async fn next_to_write(conn: &mut PgConnection, job: JobId, after: Option<SnapshotId>) -> Result<Option<ToWrite>> {
    let row = sqlx::query!(
        "select source_snapshot_id, target_snapshot_id from materialized_snapshots
          where job_id = $1 and source_snapshot_id > $2 order by source_snapshot_id limit 1",
        job.0,
        after.map_or(-1, |id| id.0)
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(row.map(|r| ToWrite {
        source: SnapshotId(r.source_snapshot_id),
        target: SnapshotId(r.target_snapshot_id),
    }))
}

/// Notes that the files of a snapshot are written.
///
/// # Errors
/// `internal` when it does not belong to the job.
pub async fn set_written(
    conn: &mut PgConnection,
    job: JobId,
    snapshot: ToWrite,
    channels: &[Channel],
    captured: &CapturedCollection,
    metadata_bytes: i64,
    location: &str,
) -> Result<()> {
    let updated = sqlx::query!(
        "update materialized_snapshots set channels = $3, description = $4, metadata_bytes = $5, s3_location = $6
          where job_id = $1 and source_snapshot_id = $2",
        job.0,
        snapshot.source.0,
        to_json(&channels)?,
        to_json(captured)?,
        metadata_bytes,
        location
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    match updated.rows_affected() {
        1 => Ok(()),
        _ => Err(Error::internal("a snapshot to be written anew has no row")),
    }
}

/// Ids of the new snapshots of a job: those whose metadata file may have been written.
pub async fn written(conn: &mut PgConnection, job: JobId) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select target_snapshot_id from materialized_snapshots where job_id = $1 order by target_snapshot_id",
        job.0
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// Takes references of a job's new snapshots away, at most `limit`, and condemns the manifests that nothing
/// references any more. Gives the number of references taken.
pub async fn release_references(conn: &mut PgConnection, job: JobId, limit: i64) -> Result<u64> {
    let released = sqlx::query!(
        "delete from snapshot_manifests r using (
             select w.snapshot_id, w.segment_id from snapshot_manifests w
               join materialized_snapshots n on n.target_snapshot_id = w.snapshot_id
              where n.job_id = $1 order by w.snapshot_id desc, w.segment_id limit $2) gone
          where r.snapshot_id = gone.snapshot_id and r.segment_id = gone.segment_id",
        job.0,
        limit
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "update manifests m set state = 'condemned' from materialized_snapshots n
          where n.job_id = $1 and m.owner_snapshot_id = n.target_snapshot_id and m.state = 'live'
            and not exists (select from snapshot_manifests o
                             where o.segment_id = m.segment_id and o.owner_snapshot_id = m.owner_snapshot_id)",
        job.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(released.rows_affected())
}

/// Condemned manifests of a target that is given up.
pub async fn unreferenced_manifests(conn: &mut PgConnection, target: CollectionId, limit: i64) -> Result<Vec<CondemnedManifest>> {
    let rows = sqlx::query!(
        r#"select owner_snapshot_id, segment_id, coalesce(size_bytes, 0) as "size_bytes!" from manifests
            where collection_id = $1 and state = 'condemned' order by owner_snapshot_id, segment_id limit $2"#,
        target.0,
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|r| CondemnedManifest {
            owner: SnapshotId(r.owner_snapshot_id),
            segment_id: SegmentId(r.segment_id),
            collection_id: target,
            size_bytes: r.size_bytes,
            adopted: false,
        })
        .collect())
}
