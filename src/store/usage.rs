//! What takes how much room, and what a drop would free.
//!
//! Sizes and rows are what was registered, with `check=none` unseen: their sums may be larger than a `bigint` and
//! are capped, here and wherever else they are made.

use sqlx::PgConnection;

use super::failed;
use crate::domain::Result;
use crate::domain::usage::{Freed, Usage};

/// The bytes of the catalog, of one database or of all.
pub async fn totals(conn: &mut PgConnection, db: Option<i64>) -> Result<Usage> {
    let row = sqlx::query!(
        r#"with things as (
             select c.ownership, s.state in ('dropped', 'condemned') or (s.state = 'importing' and c.state = 'dropped') as gone,
                    s.size_bytes, s.file_count::bigint as files,
                    exists (select from manifests m where m.segment_id = s.segment_id) as needed
               from segments s join collections c using (collection_id) where ($1::bigint is null or c.db_id = $1)
             union all
             select c.ownership, b.state in ('dropped', 'condemned') or (b.state = 'importing' and c.state = 'dropped'),
                    b.size_bytes, b.file_count::bigint,
                    exists (select from manifests m where m.segment_id = b.segment_id and b.build_id = any (m.build_ids))
               from index_builds b join collections c using (collection_id) where ($1::bigint is null or c.db_id = $1)
           ), sums as (
             select least(coalesce(sum(size_bytes) filter (where ownership = 'owned' and not gone), 0), 9223372036854775807)::bigint as live,
                    least(coalesce(sum(size_bytes) filter (where ownership = 'owned' and not gone and needed), 0), 9223372036854775807)::bigint as shared,
                    least(coalesce(sum(size_bytes) filter (where ownership = 'owned' and gone and needed), 0), 9223372036854775807)::bigint as held,
                    least(coalesce(sum(size_bytes) filter (where ownership = 'owned' and gone and not needed), 0), 9223372036854775807)::bigint as waiting,
                    least(coalesce(sum(size_bytes) filter (where ownership <> 'owned' and not gone), 0), 9223372036854775807)::bigint as external,
                    least(coalesce(sum(files) filter (where ownership = 'owned'), 0), 9223372036854775807)::bigint as files
               from things
           )
           select sums.*,
                  (select coalesce(sum(s.metadata_bytes), 0)::bigint from snapshots s where s.state <> 'pending' and ($1::bigint is null or s.db_id = $1))
                  + (select coalesce(sum(m.size_bytes), 0)::bigint from manifests m join collections c using (collection_id)
                      where ($1::bigint is null or c.db_id = $1)
                        and not exists (select from snapshots s where s.snapshot_id = m.owner_snapshot_id)) as "metadata!",
                  (select coalesce(sum(r.size_bytes), 0)::bigint from restore_receipts r left join restore_jobs j using (job_id)
                    where ($1::bigint is null or j.db_id = $1)) as "receipts!",
                  (select count(*) from snapshots s where s.state = 'committed' and ($1::bigint is null or s.db_id = $1)) as "snapshots!",
                  (select coalesce(sum(size_bytes), 0)::bigint from orphans where $1::bigint is null) as "orphans!"
             from sums"#,
        db
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    Ok(Usage {
        live_bytes: row.live.unwrap_or_default(),
        shared_bytes: row.shared.unwrap_or_default(),
        held_by_snapshots_bytes: row.held.unwrap_or_default(),
        waiting_bytes: row.waiting.unwrap_or_default(),
        external_bytes: row.external.unwrap_or_default(),
        owned_files: row.files.unwrap_or_default(),
        metadata_bytes: row.metadata + row.receipts,
        orphan_bytes: row.orphans,
        snapshots: row.snapshots,
    })
}

/// What the drop of all these committed snapshots together would free once every grace period
/// is over: what only they need. What is dropped already counts as gone.
pub async fn freed_by(conn: &mut PgConnection, snapshots: &[i64]) -> Result<Freed> {
    let row = sqlx::query!(
        r#"with touched as materialized (
             select distinct segment_id, owner_snapshot_id from snapshot_manifests where snapshot_id = any($1)
           ), gone as materialized (
             select m.segment_id, m.owner_snapshot_id, m.version, m.build_ids, m.size_bytes
               from touched t join manifests m using (segment_id, owner_snapshot_id)
              where not exists (
                    select from snapshot_manifests r join snapshots p using (snapshot_id)
                     where r.segment_id = t.segment_id and r.owner_snapshot_id = t.owner_snapshot_id
                       and p.state in ('pending', 'committed') and p.snapshot_id <> all($1))
           ), free_segments as materialized (
             select distinct on (s.segment_id) s.segment_id, s.file_count, c.ownership, v.size_bytes as captured,
                    case when c.ownership = 'owned' then s.size_bytes else 0 end as size_bytes
               from gone g join segments s using (segment_id) join collections c using (collection_id)
               join segment_versions v on v.segment_id = g.segment_id and v.version = g.version
              where s.state in ('dropped', 'condemned')
                and not exists (
                    select from manifests m join snapshot_manifests r using (segment_id, owner_snapshot_id)
                      join snapshots p using (snapshot_id)
                     where m.segment_id = s.segment_id and p.state in ('pending', 'committed') and p.snapshot_id <> all($1))
              order by s.segment_id, g.version desc
           ), free_builds as materialized (
             select distinct b.build_id, b.file_count, c.ownership, b.size_bytes as captured,
                    case when c.ownership = 'owned' then b.size_bytes else 0 end as size_bytes
               from gone g join index_builds b on b.segment_id = g.segment_id and b.build_id = any (g.build_ids)
               join collections c using (collection_id)
              where b.state in ('dropped', 'condemned')
                and not exists (
                    select from manifests m join snapshot_manifests r using (segment_id, owner_snapshot_id)
                      join snapshots p using (snapshot_id)
                     where m.segment_id = b.segment_id and b.build_id = any (m.build_ids)
                       and p.state in ('pending', 'committed') and p.snapshot_id <> all($1))
           )
           , receipts as (
             select r.size_bytes from restore_receipts r join restore_jobs j using (job_id) where j.snapshot_id = any($1)
           )
           select (select count(*) from free_segments) as "segments!",
                  (select count(*) from free_builds) as "builds!",
                  (select count(*) from gone) as "manifests!",
                  least((select coalesce(sum(size_bytes), 0) from free_segments)
                        + (select coalesce(sum(size_bytes), 0) from free_builds), 9223372036854775807)::bigint as "data_bytes!",
                  least((select coalesce(sum(captured), 0) from free_segments)
                        + (select coalesce(sum(captured), 0) from free_builds), 9223372036854775807)::bigint as "captured_bytes!",
                  (select coalesce(sum(file_count) filter (where ownership = 'owned'), 0)::bigint from free_segments)
                  + (select coalesce(sum(file_count) filter (where ownership = 'owned'), 0)::bigint from free_builds) as "files!",
                  (select coalesce(sum(s.metadata_bytes - (select coalesce(sum(m.size_bytes), 0) from manifests m
                                                            where m.owner_snapshot_id = s.snapshot_id)), 0)::bigint
                     from snapshots s where s.snapshot_id = any($1))
                  + (select coalesce(sum(size_bytes), 0)::bigint from gone)
                  + (select coalesce(sum(size_bytes), 0)::bigint from receipts) as "metadata_bytes!",
                  (select count(*) from receipts) as "receipts!""#,
        snapshots
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    Ok(Freed {
        segments: row.segments,
        index_builds: row.builds,
        data_files: row.files,
        data_bytes: row.data_bytes,
        captured_bytes: row.captured_bytes,
        metadata_objects: row.manifests + row.receipts + snapshots.len() as i64,
        metadata_bytes: row.metadata_bytes,
    })
}

/// Bytes of every owned segment and index build that has a row, dropped ones and targets of
/// running restores included: their files are there, or will be. Not of targets whose files are
/// still being checked, which are admitted one after the other, nor of those that were not admitted:
/// none of their files was ever copied, since only an admitted job has totals.
pub async fn owned_bytes(conn: &mut PgConnection) -> Result<i64> {
    sqlx::query_scalar!(
        r#"with counted as (
             select c.collection_id from collections c
              where c.ownership = 'owned'
                and not exists (select from restore_jobs j where j.collection_id = c.collection_id and j.kind <> 'export'
                                   and (coalesce(j.resume_state, j.state) in ('Pending', 'Validating')
                                        or j.state in ('Failed', 'Cancelled') and j.total_segments = 0))
           )
           select least(coalesce((select sum(s.size_bytes) from segments s join counted using (collection_id)), 0)
                      + coalesce((select sum(b.size_bytes) from index_builds b join counted using (collection_id)), 0),
                        9223372036854775807)::bigint as "bytes!""#
    )
    .fetch_one(conn)
    .await
    .map_err(failed)
}

/// Bytes that running jobs have yet to copy into the own storage. What a heartbeat has not told yet counts
/// too: somewhat too much, never too little.
pub async fn claimed_bytes(conn: &mut PgConnection) -> Result<i64> {
    sqlx::query_scalar!(
        r#"select least(coalesce(sum(greatest(t.total_bytes - t.done_bytes, 0)), 0), 9223372036854775807)::bigint as "bytes!"
             from restore_jobs j join restore_tasks t using (job_id)
            where j.finished_at is null and j.kind <> 'export' and coalesce(j.resume_state, j.state) not in ('Pending', 'Validating')
              and t.kind = 'copy' and t.state <> 'succeeded'"#
    )
    .fetch_one(conn)
    .await
    .map_err(failed)
}
