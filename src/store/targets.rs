//! Target collections of restore jobs: their segments and builds before and after publishing.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::builds::{BuildRow, group};
use super::codec::{decode, encode};
use super::failed;
use super::segments::SegmentRow;
use crate::domain::id::{CollectionId, JobId, SegmentId};
use crate::domain::manifest::Manifest;
use crate::domain::segment::SegmentContent;
use crate::domain::{Error, Result};

/// Records which new build id a captured build got.
pub async fn insert_build_ids(conn: &mut PgConnection, job: JobId, ids: &[(i64, i64, i64)]) -> Result<()> {
    sqlx::query!(
        "insert into restore_builds (job_id, source_build_id, target_build_id, target_segment_id)
         select $1, source, target, segment
           from unnest($2::bigint[], $3::bigint[], $4::bigint[]) as u (source, target, segment)",
        job.0,
        &ids.iter().map(|i| i.0).collect::<Vec<_>>(),
        &ids.iter().map(|i| i.1).collect::<Vec<_>>(),
        &ids.iter().map(|i| i.2).collect::<Vec<_>>()
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// A segment in one of its versions, the newest when none is given, whatever its state, with those of its
/// builds that are in `builds`.
pub async fn manifest(
    conn: &mut PgConnection,
    segment: SegmentId,
    version: Option<i32>,
    builds: &[i64],
) -> Result<Option<Manifest>> {
    let row = sqlx::query_as!(
        SegmentRow,
        "select s.segment_id, s.collection_id, s.partition_id, s.channel_name, s.level, s.state, v.version, v.num_of_rows,
                v.commit_timestamp, v.content, s.created_at
           from segments s join segment_versions v using (segment_id)
          where s.segment_id = $1 and v.version = coalesce($2, s.version)",
        segment.0,
        version
    )
    .fetch_optional(&mut *conn)
    .await
    .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let rows = match builds {
        [] => Vec::new(),
        builds => sqlx::query_as!(
            BuildRow,
            "select build_id, segment_id, index_id, content from index_builds where build_id = any($1) order by build_id",
            builds
        )
        .fetch_all(conn)
        .await
        .map_err(failed)?,
    };
    Ok(Some(Manifest {
        segment: row.try_into()?,
        builds: group(rows)?.remove(&segment.0).unwrap_or_default(),
    }))
}

/// Writes the contents of a target segment and its builds anew, before it is published. Other versions of
/// the segment, as a materialized one has, are told the ETags of those files that they name too.
pub async fn set_contents(conn: &mut PgConnection, target: &Manifest) -> Result<()> {
    // one round trip, since nearly no segment has others
    let others = sqlx::query!(
        "with told as (update segment_versions set content = $3 where segment_id = $1 and version = $2)
         select version, content from segment_versions where segment_id = $1 and version <> $2",
        target.segment.segment_id.0,
        target.segment.version,
        encode(&target.segment.content)?
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(failed)?;
    let logs = target.segment.content.files.files();
    let etags: HashMap<&str, &Option<String>> = logs.map(|(file, _)| (file.path.as_str(), &file.etag)).collect();
    for other in others {
        let mut content: SegmentContent = decode(&other.content)?;
        for (file, _) in content.files.files_mut() {
            file.etag = etags.get(file.path.as_str()).and_then(|etag| (*etag).clone());
        }
        sqlx::query!(
            "update segment_versions set content = $3 where segment_id = $1 and version = $2",
            target.segment.segment_id.0,
            other.version,
            encode(&content)?
        )
        .execute(&mut *conn)
        .await
        .map_err(failed)?;
    }
    if target.builds.is_empty() {
        return Ok(());
    }
    let contents: Vec<Vec<u8>> = target.builds.iter().map(|b| encode(&b.content)).collect::<Result<_>>()?;
    sqlx::query!(
        "update index_builds b set content = u.content
           from unnest($1::bigint[], $2::bytea[]) as u (build_id, content) where b.build_id = u.build_id",
        &target.builds.iter().map(|b| b.build_id.0).collect::<Vec<_>>(),
        &contents
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Makes every segment and build of a target visible; gives their numbers.
pub async fn publish(conn: &mut PgConnection, collection: CollectionId) -> Result<(u64, u64)> {
    let segments = sqlx::query!(
        "update segments set state = 'flushed' where collection_id = $1 and state = 'importing'",
        collection.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    let builds = sqlx::query!(
        "update index_builds set state = 'finished' where collection_id = $1 and state = 'importing'",
        collection.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok((segments.rows_affected(), builds.rows_affected()))
}

/// Drops a target that will not be published: its name is free at once. Its segments stay
/// `importing`, which nothing reads or collects, until [`drop_contents`].
pub async fn discard(conn: &mut PgConnection, collection: CollectionId) -> Result<()> {
    super::names::release(conn, collection).await?;
    let dropped = sqlx::query!(
        "update collections set state = 'dropped', dropped_at = stillframe_now() where collection_id = $1 and state = 'restoring'",
        collection.0
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    if dropped.rows_affected() != 1 {
        return Err(Error::internal("the target collection is not being restored"));
    }
    Ok(())
}

/// Gives segments of a dropped target, and their builds, to the collector: at most `limit`
/// segments. Gives their number.
pub async fn drop_contents(conn: &mut PgConnection, collection: CollectionId, limit: i64) -> Result<usize> {
    let segments = sqlx::query_scalar!(
        "select s.segment_id from segments s join collections c using (collection_id)
          where s.collection_id = $1 and s.state = 'importing' and c.state = 'dropped'
          order by s.segment_id limit $2 for update of s",
        collection.0,
        limit
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "update index_builds set state = 'dropped', dropped_at = (select stillframe_now())
          where segment_id = any($1) and state = 'importing'",
        &segments
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "update segments set state = 'dropped', dropped_at = (select stillframe_now()) where segment_id = any($1)",
        &segments
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(segments.len())
}
