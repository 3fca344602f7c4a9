//! Dropped snapshots and the manifests that nothing needs any more.

use sqlx::PgConnection;

use super::{Going, Scope, keep_captures_away};
use crate::domain::Result;
use crate::domain::id::{CollectionId, SegmentId, SnapshotId};
use crate::store::failed;

/// Marks pending snapshots whose lease has expired; in a dry run only counts them.
pub async fn expire_pending(conn: &mut PgConnection, dry_run: bool) -> Result<i64> {
    if dry_run {
        return sqlx::query_scalar!(
            r#"select count(*) as "count!" from snapshots where state = 'pending' and lease_expires_at <= (select stillframe_now())"#
        )
        .fetch_one(conn)
        .await
        .map_err(failed);
    }
    let expired = sqlx::query!(
        "update snapshots set state = 'deleting', dropped_at = stillframe_now(), lease_token = null, lease_expires_at = null
          where state = 'pending' and lease_expires_at <= (select stillframe_now())"
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(i64::try_from(expired.rows_affected()).unwrap_or(i64::MAX))
}

/// A dropped snapshot past its grace period.
#[derive(Debug, Clone, Copy)]
pub struct DroppedSnapshot {
    pub snapshot_id: SnapshotId,
    pub collection_id: CollectionId,
    /// Of the metadata file alone, where the manifests' sizes are known; zero of a snapshot that was
    /// never committed.
    pub metadata_bytes: i64,
    /// Another system wrote it: its file stays.
    pub adopted: bool,
}

/// Dropped snapshots past their grace period that no job is reading, by id after a cursor. In a dry run without any grace
/// also those that [`expire_pending`] would drop now.
pub async fn candidates(conn: &mut PgConnection, scope: Scope, after: i64, limit: i64) -> Result<Vec<DroppedSnapshot>> {
    let rows = sqlx::query!(
        r#"select s.snapshot_id, s.collection_id, s.adopted_from is not null as "adopted!",
                  greatest(s.metadata_bytes - coalesce((select sum(m.size_bytes) from manifests m
                                                         where m.owner_snapshot_id = s.snapshot_id), 0), 0)::bigint as "metadata_bytes!"
             from snapshots s
            where s.snapshot_id > $2
              and ((s.state in ('deleting', 'condemned')
                    and s.dropped_at <= (select stillframe_now()) - $1::bigint * interval '1 second')
                   or ($4 and $1::bigint = 0 and s.state = 'pending' and s.lease_expires_at <= (select stillframe_now())))
              and not exists (select from restore_jobs j where j.snapshot_id = s.snapshot_id and j.finished_at is null)
            order by s.snapshot_id limit $3"#,
        scope.grace_seconds,
        after,
        limit,
        scope.dry_run
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|r| DroppedSnapshot {
            snapshot_id: SnapshotId(r.snapshot_id),
            collection_id: CollectionId(r.collection_id),
            metadata_bytes: r.metadata_bytes,
            adopted: r.adopted,
        })
        .collect())
}

/// Condemns a dropped snapshot: from here it can't be taken back. False when it has been.
pub async fn condemn(conn: &mut PgConnection, snapshot: SnapshotId, grace_seconds: i64) -> Result<bool> {
    let updated = sqlx::query!(
        "update snapshots s set state = 'condemned'
          where s.snapshot_id = $1 and s.state in ('deleting', 'condemned')
            and s.dropped_at <= (select stillframe_now()) - $2::bigint * interval '1 second'
            and not exists (select from restore_jobs j where j.snapshot_id = s.snapshot_id and j.finished_at is null)",
        snapshot.0,
        grace_seconds
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(updated.rows_affected() == 1)
}

/// Takes up to `limit` references of a condemned snapshot away, and condemns the manifests that
/// no snapshot needs any more. Gives the number of references taken: zero when none is left.
pub async fn release(conn: &mut PgConnection, snapshot: DroppedSnapshot, limit: i64) -> Result<u64> {
    keep_captures_away(conn, snapshot.collection_id).await?;
    let released = sqlx::query!(
        "delete from snapshot_manifests where snapshot_id = $1 and segment_id in (
             select segment_id from snapshot_manifests where snapshot_id = $1 order by segment_id limit $2)
         returning segment_id, owner_snapshot_id",
        snapshot.snapshot_id.0,
        limit
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(failed)?;
    // a new statement: it sees what was deleted
    sqlx::query!(
        "update manifests m set state = 'condemned'
           from unnest($1::bigint[], $2::bigint[]) as r (segment_id, owner_snapshot_id)
          where m.segment_id = r.segment_id and m.owner_snapshot_id = r.owner_snapshot_id and m.state = 'live'
            and not exists (select from snapshot_manifests o
                             where o.segment_id = m.segment_id and o.owner_snapshot_id = m.owner_snapshot_id)",
        &released.iter().map(|r| r.segment_id).collect::<Vec<_>>(),
        &released.iter().map(|r| r.owner_snapshot_id).collect::<Vec<_>>()
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(released.len() as u64)
}

/// Deletes the row of a condemned snapshot, once its references and its metadata file are gone.
pub async fn delete(conn: &mut PgConnection, snapshot: SnapshotId) -> Result<()> {
    sqlx::query!(
        "delete from snapshots where snapshot_id = $1 and state = 'condemned'",
        snapshot.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// A condemned manifest.
#[derive(Debug, Clone, Copy)]
pub struct CondemnedManifest {
    pub owner: SnapshotId,
    pub segment_id: SegmentId,
    pub collection_id: CollectionId,
    /// Zero where it is not known.
    pub size_bytes: i64,
    /// Another system wrote it: its object stays.
    pub adopted: bool,
}

/// Condemned manifests, and in a dry run those that only snapshots which are `going` need; by owner and segment after a cursor.
pub async fn condemned_manifests(
    conn: &mut PgConnection,
    going: &Going,
    after: (i64, i64),
    limit: i64,
) -> Result<Vec<CondemnedManifest>> {
    let rows = sqlx::query!(
        r#"with going as materialized (
             select r.owner_snapshot_id, r.segment_id from snapshot_manifests r
              where cardinality($4::bigint[]) > 0
                and r.snapshot_id in (select unnest($4::bigint[])) and (r.owner_snapshot_id, r.segment_id) > ($1, $2)
                and not exists (select from snapshot_manifests o
                                 where o.segment_id = r.segment_id and o.owner_snapshot_id = r.owner_snapshot_id
                                   and o.snapshot_id not in (select unnest($4::bigint[])))
              group by 1, 2 order by 1, 2 limit $3
           ), condemned as materialized (
             select owner_snapshot_id, segment_id from manifests
              where state = 'condemned' and (owner_snapshot_id, segment_id) > ($1, $2)
              order by owner_snapshot_id, segment_id limit $3
           )
           select m.owner_snapshot_id, m.segment_id, m.collection_id, coalesce(m.size_bytes, 0) as "size_bytes!",
                  m.adopted_from is not null as "adopted!"
             from (select * from going union select * from condemned) c join manifests m using (owner_snapshot_id, segment_id)
            order by m.owner_snapshot_id, m.segment_id limit $3"#,
        after.0,
        after.1,
        limit,
        &going.snapshots
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|r| CondemnedManifest {
            owner: SnapshotId(r.owner_snapshot_id),
            segment_id: SegmentId(r.segment_id),
            collection_id: CollectionId(r.collection_id),
            size_bytes: r.size_bytes,
            adopted: r.adopted,
        })
        .collect())
}

/// Deletes the rows of condemned manifests whose objects are gone.
pub async fn delete_manifests(conn: &mut PgConnection, manifests: &[CondemnedManifest]) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from manifests m using unnest($1::bigint[], $2::bigint[]) as d (owner_snapshot_id, segment_id)
          where m.owner_snapshot_id = d.owner_snapshot_id and m.segment_id = d.segment_id and m.state = 'condemned'",
        &manifests.iter().map(|m| m.owner.0).collect::<Vec<_>>(),
        &manifests.iter().map(|m| m.segment_id.0).collect::<Vec<_>>()
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected())
}
