//! Index builds.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use super::codec::{decode, encode};
use super::{error::on_constraint, failed};
use crate::domain::id::{BuildId, CollectionId, IndexId, SegmentId};
use crate::domain::index::IndexBuild;
use crate::domain::{Code, Error, Result};

pub(super) struct BuildRow {
    pub build_id: i64,
    pub segment_id: i64,
    pub index_id: i64,
    pub content: Vec<u8>,
}

impl TryFrom<BuildRow> for IndexBuild {
    type Error = Error;
    fn try_from(row: BuildRow) -> Result<Self> {
        Ok(Self {
            build_id: BuildId(row.build_id),
            segment_id: SegmentId(row.segment_id),
            index_id: IndexId(row.index_id),
            content: decode(&row.content)?,
        })
    }
}

/// Inserts index builds; `importing` hides them until a restore publishes them. Gives the build
/// ids that are in use already; the caller must then roll back.
///
/// # Errors
/// `index_build_already_exists` when a segment has a build of the index already.
pub async fn insert_many(
    conn: &mut PgConnection,
    collection: CollectionId,
    builds: &[IndexBuild],
    importing: bool,
) -> Result<Vec<BuildId>> {
    if builds.is_empty() {
        return Ok(Vec::new());
    }
    let column = |f: fn(&IndexBuild) -> i64| builds.iter().map(f).collect::<Vec<i64>>();
    let contents: Vec<Vec<u8>> = builds.iter().map(|b| encode(&b.content)).collect::<Result<_>>()?;
    let inserted = sqlx::query_scalar!(
        "insert into index_builds (build_id, collection_id, segment_id, index_id, state, content, file_count, size_bytes, created_at)
         select build_id, $1, segment_id, index_id, $2, content, file_count, size_bytes, (select stillframe_now())
           from unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[], $7::int[], $8::bigint[])
                as u (build_id, segment_id, index_id, content, file_count, size_bytes)
         on conflict on constraint index_builds_pkey do nothing
         returning build_id",
        collection.0,
        if importing { "importing" } else { "finished" },
        &column(|b| b.build_id.0),
        &column(|b| b.segment_id.0),
        &column(|b| b.index_id.0),
        &contents,
        &builds.iter().map(|b| i32::try_from(b.content.files.len()).unwrap_or(i32::MAX)).collect::<Vec<_>>(),
        &column(|b| i64::try_from(b.content.size_bytes()).unwrap_or(i64::MAX)),
    )
    .fetch_all(conn)
    .await;
    let inserted = on_constraint(inserted, "index_builds_segment_key", || {
        Code::IndexBuildAlreadyExists.error("a segment has a build of this index already")
    })?;
    let inserted: HashSet<i64> = inserted.into_iter().collect();
    Ok(builds
        .iter()
        .map(|b| b.build_id)
        .filter(|id| !inserted.contains(&id.0))
        .collect())
}

/// The finished builds of segments, by segment.
pub async fn of_segments(conn: &mut PgConnection, segments: &[i64]) -> Result<HashMap<i64, Vec<IndexBuild>>> {
    let rows = sqlx::query_as!(
        BuildRow,
        "select build_id, segment_id, index_id, content from index_builds
          where segment_id = any($1) and state = 'finished' order by build_id",
        segments
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    group(rows)
}

pub(super) fn group(rows: Vec<BuildRow>) -> Result<HashMap<i64, Vec<IndexBuild>>> {
    let mut grouped: HashMap<i64, Vec<IndexBuild>> = HashMap::new();
    for row in rows {
        grouped.entry(row.segment_id).or_default().push(row.try_into()?);
    }
    Ok(grouped)
}
