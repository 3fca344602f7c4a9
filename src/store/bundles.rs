//! Bundles that exports write and restores read, and what restores found in them.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::codec::{decode, encode, from_json, to_json};
use super::failed;
use crate::domain::bundle::{CapturedBundle, Place};
use crate::domain::id::{BuildId, CollectionId, IndexId, JobId, PartitionId, SegmentId};
use crate::domain::index::{BuildContent, IndexBuild};
use crate::domain::manifest::Manifest;
use crate::domain::restore::JobKind;
use crate::domain::segment::{Level, Segment, SegmentContent, SegmentState};
use crate::domain::{Error, Result};

/// The bundle of a job.
#[derive(Clone, PartialEq)]
pub struct Bundle {
    pub kind: JobKind,
    pub place: Place,
    /// Key of its directory in its store, without slashes at its ends.
    pub root: String,
    pub metadata_key: String,
    /// Whole URI of its metadata file.
    pub location: String,
    /// Credentials of the request, encrypted.
    pub sealed: Option<Vec<u8>>,
    /// Of a restore: of the metadata file when the job was asked for.
    pub metadata_sha256: Option<Vec<u8>>,
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bundle")
            .field("kind", &self.kind)
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

/// Records the bundle of a job; a restore keeps what its metadata says.
pub async fn insert(conn: &mut PgConnection, job: JobId, bundle: &Bundle, captured: Option<&CapturedBundle>) -> Result<()> {
    let captured = match captured {
        Some(captured) => Some(to_json(captured)?),
        None => None,
    };
    sqlx::query!(
        "insert into job_bundles (job_id, place, root, metadata_key, location, sealed, captured, metadata_sha256)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        job.0,
        to_json(&bundle.place)?,
        bundle.root,
        bundle.metadata_key,
        bundle.location,
        bundle.sealed,
        captured,
        bundle.metadata_sha256
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// The bundle of a job; none of a plain restore.
pub async fn find(conn: &mut PgConnection, job: JobId) -> Result<Option<Bundle>> {
    let row = sqlx::query!(
        "select j.kind, b.place, b.root, b.metadata_key, b.location, b.sealed, b.metadata_sha256
           from job_bundles b join restore_jobs j using (job_id) where job_id = $1",
        job.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Bundle {
        kind: JobKind::parse(&row.kind).ok_or_else(|| Error::internal("a job has an unknown kind"))?,
        place: from_json(row.place)?,
        root: row.root,
        metadata_key: row.metadata_key,
        location: row.location,
        sealed: row.sealed,
        metadata_sha256: row.metadata_sha256,
    }))
}

/// What a restore keeps of its bundle's metadata; none of other jobs.
pub async fn captured(conn: &mut PgConnection, job: JobId) -> Result<Option<CapturedBundle>> {
    let value = sqlx::query_scalar!("select captured from job_bundles where job_id = $1", job.0)
        .fetch_optional(conn)
        .await
        .map_err(failed)?;
    value.flatten().map(from_json).transpose()
}

/// Forgets the credentials of a request.
pub async fn forget_credentials(conn: &mut PgConnection, job: JobId) -> Result<()> {
    sqlx::query!(
        "update job_bundles set sealed = null where job_id = $1 and sealed is not null",
        job.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// A manifest but its own id.
#[derive(Serialize, Deserialize)]
struct Source {
    partition_id: i64,
    channel_name: String,
    level: i64,
    num_of_rows: i64,
    commit_timestamp: i64,
    content: SegmentContent,
    builds: Vec<(i64, i64, BuildContent)>,
}

/// Records segments of a bundle; what an earlier attempt recorded is replaced.
pub async fn set_sources(conn: &mut PgConnection, job: JobId, sources: &[Manifest]) -> Result<()> {
    let mut contents = Vec::with_capacity(sources.len());
    for Manifest { segment, builds } in sources {
        contents.push(encode(&Source {
            partition_id: segment.partition_id.0,
            channel_name: segment.channel_name.clone(),
            level: segment.level.number(),
            num_of_rows: segment.num_of_rows,
            commit_timestamp: segment.commit_timestamp,
            content: segment.content.clone(),
            builds: builds
                .iter()
                .map(|b| (b.build_id.0, b.index_id.0, b.content.clone()))
                .collect(),
        })?);
    }
    sqlx::query!(
        "insert into job_sources (job_id, segment_id, content)
         select $1, segment_id, content from unnest($2::bigint[], $3::bytea[]) as u (segment_id, content)
         on conflict (job_id, segment_id) do update set content = excluded.content",
        job.0,
        &sources.iter().map(|m| m.segment.segment_id.0).collect::<Vec<_>>(),
        &contents
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// A page of the segments that a restore found in its bundle, by id.
pub async fn sources(conn: &mut PgConnection, job: JobId, after: Option<i64>, limit: i64) -> Result<Vec<Manifest>> {
    let rows = sqlx::query!(
        "select segment_id, content from job_sources where job_id = $1 and segment_id > $2 order by segment_id limit $3",
        job.0,
        after.unwrap_or(-1),
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    rows.into_iter().map(|r| manifest(r.segment_id, &r.content)).collect()
}

/// One of them.
pub async fn source(conn: &mut PgConnection, job: JobId, segment: SegmentId) -> Result<Option<Manifest>> {
    let content = sqlx::query_scalar!(
        "select content from job_sources where job_id = $1 and segment_id = $2",
        job.0,
        segment.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    content.map(|content| manifest(segment.0, &content)).transpose()
}

/// Forgets them, at most `limit`; gives their number.
pub async fn forget_sources(conn: &mut PgConnection, job: JobId, limit: i64) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from job_sources where job_id = $1 and segment_id in (
             select segment_id from job_sources where job_id = $1 order by segment_id limit $2)",
        job.0,
        limit
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected())
}

fn manifest(segment_id: i64, content: &[u8]) -> Result<Manifest> {
    let source: Source = decode(content)?;
    let level = Level::ALL.into_iter().find(|l| l.number() == source.level);
    let builds = source.builds.into_iter().map(|(build, index, content)| IndexBuild {
        build_id: BuildId(build),
        segment_id: SegmentId(segment_id),
        index_id: IndexId(index),
        content,
    });
    Ok(Manifest {
        builds: builds.collect(),
        segment: Segment {
            segment_id: SegmentId(segment_id),
            // of another catalog: it means nothing here
            collection_id: CollectionId(0),
            partition_id: PartitionId(source.partition_id),
            channel_name: source.channel_name,
            level: level.ok_or_else(|| Error::internal("a source has an unknown level"))?,
            state: SegmentState::Flushed,
            version: 1,
            num_of_rows: source.num_of_rows,
            commit_timestamp: source.commit_timestamp,
            content: source.content,
            created_at: OffsetDateTime::UNIX_EPOCH,
        },
    })
}
