//! Materializing an external collection: what is needed of it, its target, and the swap.

mod snapshots;
mod source;
mod swap;

use std::collections::HashMap;

use sqlx::PgConnection;

use super::codec::{from_json, to_json};
use super::{failed, segments};
use crate::domain::id::{CollectionId, JobId, PartitionId};
use crate::domain::index::IndexBuild;
use crate::domain::segment::Segment;
use crate::domain::{Error, Result};

pub use snapshots::{
    ToWrite, insert_manifests, insert_snapshots, next_to_write, release_references, set_written, unreferenced_manifests, written,
};
pub use source::{NeededSegment, needed, unflushed, unsettled_snapshots};
pub use swap::{has_changed, lock_snapshots, lock_source, publish, reader, swap};

/// What a job that materializes a collection knows beyond other jobs.
#[derive(Debug, Clone)]
pub struct Materialization {
    pub source: CollectionId,
    /// The ids of the target's partitions by those of the source, dropped ones too.
    pub partitions: HashMap<PartitionId, PartitionId>,
}

/// Ids of every partition that a collection has or had.
pub async fn partition_ids(conn: &mut PgConnection, collection: CollectionId) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select partition_id from partitions where collection_id = $1 order by partition_id",
        collection.0
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// Gives a target the partitions of its source, under the given ids in the order of
/// [`partition_ids`], and its indexes, dropped ones too: older snapshots name them.
pub async fn copy_definitions(
    conn: &mut PgConnection,
    source: CollectionId,
    target: CollectionId,
    partitions: &[(i64, i64)],
) -> Result<()> {
    sqlx::query!(
        "insert into partitions (collection_id, partition_id, name, state, created_at)
         select $2, u.target, p.name, p.state, p.created_at
           from unnest($3::bigint[], $4::bigint[]) as u (source, target)
           join partitions p on p.partition_id = u.source and p.collection_id = $1",
        source.0,
        target.0,
        &partitions.iter().map(|p| p.0).collect::<Vec<_>>(),
        &partitions.iter().map(|p| p.1).collect::<Vec<_>>()
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "insert into indexes (collection_id, index_id, field_id, index_name, type_params, index_params, user_index_params,
                              is_auto_index, state, created_at)
         select $2, index_id, field_id, index_name, type_params, index_params, user_index_params, is_auto_index, state, created_at
           from indexes where collection_id = $1",
        source.0,
        target.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Records what a job needs to know, and marks its locked source: from the commit on nothing of that
/// may change until the job has ended.
pub async fn begin(conn: &mut PgConnection, job: JobId, source: CollectionId, partitions: &[(i64, i64)]) -> Result<()> {
    sqlx::query!(
        "insert into materializations (job_id, source_collection_id, partitions) values ($1, $2, $3)",
        job.0,
        source.0,
        to_json(&partitions)?
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "update collections set materialize_job_id = $2 where collection_id = $1",
        source.0,
        job.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Lets the source of a job that ends unsuccessfully be changed again.
pub async fn release(conn: &mut PgConnection, job: JobId) -> Result<()> {
    sqlx::query!(
        "update collections set materialize_job_id = null where materialize_job_id = $1",
        job.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// What such a job knows.
///
/// # Errors
/// `internal` of other jobs.
pub async fn find(conn: &mut PgConnection, job: JobId) -> Result<Materialization> {
    let row = sqlx::query!(
        "select source_collection_id, partitions from materializations where job_id = $1",
        job.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    let row = row.ok_or_else(|| Error::internal(format!("job {job} materializes nothing")))?;
    let pairs: Vec<(i64, i64)> = from_json(row.partitions)?;
    Ok(Materialization {
        source: CollectionId(row.source_collection_id),
        partitions: pairs
            .into_iter()
            .map(|(from, to)| (PartitionId(from), PartitionId(to)))
            .collect(),
    })
}

/// Inserts target segments, each with the version that names every file and others that snapshots
/// captured; the row shows the former. Gives the ids that are in use already; the caller must then
/// roll back.
pub async fn insert_segments(conn: &mut PgConnection, whole: &[Segment], captured: &[Segment]) -> Result<Vec<i64>> {
    let taken = segments::insert_many(conn, whole).await?;
    if !taken.is_empty() {
        return Ok(taken.into_iter().map(|id| id.0).collect());
    }
    for segment in whole.iter().filter(|s| s.version != 1) {
        sqlx::query!(
            "with row as (update segments set version = $2 where segment_id = $1)
             update segment_versions set version = $2 where segment_id = $1 and version = 1",
            segment.segment_id.0,
            segment.version
        )
        .execute(&mut *conn)
        .await
        .map_err(failed)?;
    }
    for segment in captured {
        let files = &segment.content.files;
        sqlx::query!(
            "insert into segment_versions (segment_id, version, content, file_count, size_bytes, num_of_rows, commit_timestamp)
             values ($1, $2, $3, $4, $5, $6, $7)",
            segment.segment_id.0,
            segment.version,
            super::codec::encode(&segment.content)?,
            i32::try_from(files.count()).unwrap_or(i32::MAX),
            i64::try_from(files.size_bytes()).unwrap_or(i64::MAX),
            segment.num_of_rows,
            segment.commit_timestamp
        )
        .execute(&mut *conn)
        .await
        .map_err(failed)?;
    }
    Ok(Vec::new())
}

/// Inserts index builds of a target that only snapshots need: dropped, and out of the collector's
/// reach until the job has ended. Gives a build id that is in use already; the caller must then roll
/// back.
pub async fn insert_dropped_builds(
    conn: &mut PgConnection,
    collection: CollectionId,
    builds: &[IndexBuild],
) -> Result<Option<i64>> {
    let column = |f: fn(&IndexBuild) -> i64| builds.iter().map(f).collect::<Vec<i64>>();
    let contents: Vec<Vec<u8>> = builds
        .iter()
        .map(|b| super::codec::encode(&b.content))
        .collect::<Result<_>>()?;
    let inserted = sqlx::query_scalar!(
        "insert into index_builds (build_id, collection_id, segment_id, index_id, state, content, file_count, size_bytes,
                                   created_at, dropped_at, collect_after)
         select build_id, $1, segment_id, index_id, 'dropped', content, file_count, size_bytes, (select stillframe_now()),
                (select stillframe_now()), (select stillframe_now()) + interval '100 years'
           from unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::int[], $7::bigint[])
                as u (build_id, segment_id, index_id, content, file_count, size_bytes)
         on conflict on constraint index_builds_pkey do nothing
         returning build_id",
        collection.0,
        &column(|b| b.build_id.0),
        &column(|b| b.segment_id.0),
        &column(|b| b.index_id.0),
        &contents,
        &builds
            .iter()
            .map(|b| i32::try_from(b.content.files.len()).unwrap_or(i32::MAX))
            .collect::<Vec<_>>(),
        &column(|b| i64::try_from(b.content.size_bytes()).unwrap_or(i64::MAX)),
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    let ids = builds.iter().map(|b| b.build_id.0);
    Ok(ids.into_iter().find(|id| !inserted.contains(id)))
}

/// Gives what was kept out of the collector's reach back to it.
pub async fn let_go(conn: &mut PgConnection, collection: CollectionId) -> Result<()> {
    sqlx::query!(
        "update index_builds set collect_after = null where collection_id = $1 and collect_after is not null",
        collection.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}
