//! What is needed of an external collection: what lives, and what its committed snapshots captured.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use crate::domain::Result;
use crate::domain::id::CollectionId;
use crate::domain::index::IndexBuild;
use crate::domain::segment::Segment;
use crate::store::builds::BuildRow;
use crate::store::failed;
use crate::store::segments::SegmentRow;

/// A segment in every version that is needed, the newest last, with every build that is.
#[derive(Debug, Clone)]
pub struct NeededSegment {
    pub versions: Vec<Segment>,
    /// Finished ones, which belong to the collection as it is now; none of a dropped segment.
    pub builds: Vec<IndexBuild>,
    /// Those that only snapshots need.
    pub dropped_builds: Vec<IndexBuild>,
}

/// A page of what is needed, by segment id.
pub async fn needed(conn: &mut PgConnection, source: CollectionId, after: Option<i64>, limit: i64) -> Result<Vec<NeededSegment>> {
    let chosen = sqlx::query!(
        r#"select s.segment_id, s.version, s.state = 'flushed' as "living!"
             from segments s
            where s.collection_id = $1 and s.segment_id > $2
              and (s.state = 'flushed' or exists (
                   select from manifests m
                     join snapshot_manifests r using (segment_id, owner_snapshot_id)
                     join snapshots p using (snapshot_id)
                    where m.segment_id = s.segment_id and p.state = 'committed'))
            order by s.segment_id limit $3"#,
        source.0,
        after.unwrap_or(-1),
        limit
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(failed)?;
    let ids: Vec<i64> = chosen.iter().map(|c| c.segment_id).collect();
    let captured = sqlx::query!(
        "select distinct m.segment_id, m.version, m.build_ids from manifests m
          where m.segment_id = any($1) and exists (
                select from snapshot_manifests r join snapshots p using (snapshot_id)
                 where r.segment_id = m.segment_id and r.owner_snapshot_id = m.owner_snapshot_id and p.state = 'committed')",
        &ids
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(failed)?;
    let living = chosen.iter().filter(|c| c.living).map(|c| (c.segment_id, c.version));
    let versions: HashSet<(i64, i32)> = captured.iter().map(|m| (m.segment_id, m.version)).chain(living).collect();
    let of_snapshots: HashSet<i64> = captured.iter().flat_map(|m| m.build_ids.iter().copied()).collect();

    let rows = sqlx::query_as!(
        SegmentRow,
        "select s.segment_id, s.collection_id, s.partition_id, s.channel_name, s.level, s.state, v.version, v.num_of_rows,
                v.commit_timestamp, v.content, s.created_at
           from unnest($1::bigint[], $2::int[]) as u (segment_id, version)
           join segment_versions v using (segment_id, version)
           join segments s using (segment_id)
          order by s.segment_id, v.version",
        &versions.iter().map(|v| v.0).collect::<Vec<_>>(),
        &versions.iter().map(|v| v.1).collect::<Vec<_>>()
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(failed)?;
    let mut of_segment: HashMap<i64, NeededSegment> = HashMap::new();
    for row in rows {
        let needed = of_segment.entry(row.segment_id).or_insert_with(|| NeededSegment {
            versions: Vec::new(),
            builds: Vec::new(),
            dropped_builds: Vec::new(),
        });
        needed.versions.push(row.try_into()?);
    }
    let builds = sqlx::query!(
        r#"select build_id, segment_id, index_id, content, state = 'finished' as "finished!" from index_builds
            where segment_id = any($1) and (state = 'finished' or build_id = any($2)) order by build_id"#,
        &ids,
        &of_snapshots.iter().copied().collect::<Vec<_>>()
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    for row in builds {
        let Some(needed) = of_segment.get_mut(&row.segment_id) else {
            continue;
        };
        let build = IndexBuild::try_from(BuildRow {
            build_id: row.build_id,
            segment_id: row.segment_id,
            index_id: row.index_id,
            content: row.content,
        })?;
        match row.finished {
            true => needed.builds.push(build),
            false => needed.dropped_builds.push(build),
        }
    }
    Ok(ids.into_iter().filter_map(|id| of_segment.remove(&id)).collect())
}

/// Living segments of a collection whose rows are not all in files, by state.
pub async fn unflushed(conn: &mut PgConnection, source: CollectionId) -> Result<Vec<(String, i64)>> {
    let rows = sqlx::query!(
        r#"select state, count(*) as "count!" from segments
            where collection_id = $1 and state in ('importing', 'growing', 'sealed') group by state order by state"#,
        source.0
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(|r| (r.state, r.count)).collect())
}

/// A snapshot of a collection that is being written.
pub async fn unsettled_snapshots(conn: &mut PgConnection, source: CollectionId) -> Result<Option<String>> {
    sqlx::query_scalar!(
        "select name from snapshots
          where collection_id = $1 and state = 'pending' and lease_expires_at > (select stillframe_now()) limit 1",
        source.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)
}
