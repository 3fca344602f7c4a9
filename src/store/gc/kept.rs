//! Dropped things that stay, and why.

use sqlx::PgConnection;

use super::Scope;
use crate::domain::Result;
use crate::domain::gc::{Item, ItemKind, Outcome};
use crate::store::failed;

/// Counts of what is dropped and stays.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// Segments and index builds past their grace period that a snapshot needs.
    pub by_snapshots: i64,
    /// Things whose grace period still runs and that nothing else keeps.
    pub by_grace: i64,
}

/// Counts them. A dry run counts the snapshots `going` as gone, and what they alone need.
pub async fn count(conn: &mut PgConnection, scope: Scope, going: &[i64]) -> Result<Kept> {
    let row = sqlx::query!(
        r#"with cut as materialized (
             select stillframe_now() - $1::bigint * interval '1 second' as at
           ), things as (
             select s.dropped_at, exists (select from manifests m where m.segment_id = s.segment_id
                                             and (not $2 or exists (select from snapshot_manifests r
                                                  where r.segment_id = m.segment_id and r.owner_snapshot_id = m.owner_snapshot_id
                                                    and r.snapshot_id <> all ($3)))) as needed
               from segments s where s.state = 'dropped'
             union all
             select b.dropped_at, exists (select from manifests m where m.segment_id = b.segment_id and b.build_id = any (m.build_ids)
                                             and (not $2 or exists (select from snapshot_manifests r
                                                  where r.segment_id = m.segment_id and r.owner_snapshot_id = m.owner_snapshot_id
                                                    and r.snapshot_id <> all ($3))))
               from index_builds b where b.state = 'dropped'
             union all
             select s.dropped_at, false from snapshots s where s.state = 'deleting'
           )
           select count(*) filter (where needed) as "snapshots!",
                  count(*) filter (where not needed and dropped_at > (select at from cut)) as "grace!"
             from things"#,
        scope.grace_seconds,
        scope.dry_run,
        going
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    Ok(Kept {
        by_snapshots: row.snapshots,
        by_grace: row.grace,
    })
}

/// The first dropped segments, index builds and snapshots that stay, at most `limit` of each, with the reason; in a dry run
/// without those that a real one would delete.
pub async fn list(conn: &mut PgConnection, scope: Scope, going: &[i64], limit: i64) -> Result<Vec<Item>> {
    let rows = sqlx::query!(
        r#"with cut as materialized (
             select stillframe_now() - $1::bigint * interval '1 second' as at
           ), segments_kept as (
             select 'segment' as kind, s.segment_id as id, s.size_bytes, s.file_count::bigint as objects, s.dropped_at, s.collect_after,
                    (select count(*) from (select from snapshot_manifests r
                      where r.segment_id = s.segment_id and r.snapshot_id <> all ($4) limit 100) few) as snapshots,
                    (select p.name from snapshot_manifests r join snapshots p using (snapshot_id)
                      where r.segment_id = s.segment_id and r.snapshot_id <> all ($4) limit 1) as snapshot, false as being_read
               from segments s where s.state = 'dropped'
                and not ($3 and s.dropped_at <= (select at from cut)
                         and (s.collect_after is null or s.collect_after <= (select stillframe_now()))
                         and not exists (select from snapshot_manifests r where r.segment_id = s.segment_id and r.snapshot_id <> all ($4))
                         and not exists (select from index_builds b where b.segment_id = s.segment_id and b.state not in ('dropped', 'condemned')))
              order by s.segment_id limit $2
           ), builds_kept as (
             select 'index_build' as kind, b.build_id as id, b.size_bytes, b.file_count::bigint as objects, b.dropped_at, b.collect_after,
                    (select count(*) from (select from manifests m join snapshot_manifests r using (segment_id, owner_snapshot_id)
                      where m.segment_id = b.segment_id and b.build_id = any (m.build_ids) and r.snapshot_id <> all ($4) limit 100) few) as snapshots,
                    (select p.name from manifests m join snapshot_manifests r using (segment_id, owner_snapshot_id)
                       join snapshots p using (snapshot_id)
                      where m.segment_id = b.segment_id and b.build_id = any (m.build_ids) and r.snapshot_id <> all ($4) limit 1) as snapshot,
                    false as being_read
               from index_builds b where b.state = 'dropped'
                and not ($3 and b.dropped_at <= (select at from cut)
                         and (b.collect_after is null or b.collect_after <= (select stillframe_now()))
                         and not exists (select from manifests m join snapshot_manifests r using (segment_id, owner_snapshot_id)
                                          where m.segment_id = b.segment_id and b.build_id = any (m.build_ids) and r.snapshot_id <> all ($4)))
              order by b.build_id limit $2
           ), snapshots_kept as (
             select 'snapshot' as kind, s.snapshot_id as id, s.metadata_bytes as size_bytes, 1::bigint as objects, s.dropped_at,
                    null::timestamptz as collect_after, 0::bigint as snapshots, null::text as snapshot,
                    exists (select from restore_jobs j where j.snapshot_id = s.snapshot_id and j.finished_at is null) as being_read
               from snapshots s where s.state = 'deleting' and s.snapshot_id <> all ($4) order by s.snapshot_id limit $2
           )
           select being_read as "being_read!", kind as "kind!", id as "id!", size_bytes as "size_bytes!", objects as "objects!", snapshots as "snapshots!",
                  snapshot, dropped_at > (select at from cut) as "in_grace!",
                  coalesce(collect_after > (select stillframe_now()), false) as "leased!"
             from (select * from segments_kept union all select * from builds_kept union all select * from snapshots_kept) k
            order by kind, id"#,
        scope.grace_seconds,
        limit,
        scope.dry_run,
        going
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|r| Item {
            kind: ItemKind::parse(&r.kind).unwrap_or(ItemKind::Segment),
            name: r.id.to_string(),
            outcome: Outcome::Kept,
            reason: match (r.snapshot, r.snapshots) {
                (Some(name), 1) => format!("snapshot {name:?} needs it"),
                (Some(name), 2) => format!("snapshot {name:?} and another one need it"),
                (Some(name), n) if n < 100 => format!("snapshot {name:?} and {} others need it", n - 1),
                (Some(name), _) => format!("snapshot {name:?} and many others need it"),
                _ if r.in_grace => "its grace period still runs".to_string(),
                _ if r.being_read => "a restore or an export is reading it".to_string(),
                _ if r.leased => "a worker of a restore may still write it".to_string(),
                _ => "something that goes first is still there".to_string(),
            },
            objects: r.objects,
            size_bytes: r.size_bytes,
        })
        .collect())
}
