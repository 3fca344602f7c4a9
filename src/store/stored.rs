//! Entering snapshots that were found in the object storage: rows of segments, index builds,
//! manifests and snapshots that exist already as files.
//!
//! What is entered begins as dropped, needed by its snapshots only; [`super::stored_newest::show`]
//! then makes living what the newest snapshot of the collection captured.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::codec::{decode, encode, to_json};
use super::error::violates;
use super::failed;
use crate::domain::id::{CollectionId, DatabaseId, SegmentId, SnapshotId};
use crate::domain::index::{BuildContent, Index, IndexBuild};
use crate::domain::manifest::{Manifest, SnapshotMetadata};
use crate::domain::segment::{Segment, SegmentContent};
use crate::domain::{Code, Result};

/// A collection that has a row, whatever its state.
#[derive(Debug, Clone)]
pub struct KnownCollection {
    pub db_id: DatabaseId,
    pub name: String,
    pub active: bool,
    pub adopted_from: Option<String>,
}

/// Finds a collection by its id, and keeps it as it is until the transaction ends.
pub async fn collection(conn: &mut PgConnection, id: CollectionId) -> Result<Option<KnownCollection>> {
    super::collections::queue(conn, id, false).await?;
    let row = sqlx::query!(
        r#"select db_id, name, state = 'active' as "active!", adopted_from from collections where collection_id = $1 for update"#,
        id.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(row.map(|r| KnownCollection {
        db_id: DatabaseId(r.db_id),
        name: r.name,
        active: r.active,
        adopted_from: r.adopted_from,
    }))
}

/// Notes that a collection was adopted from below a prefix.
pub async fn set_adopted(conn: &mut PgConnection, id: CollectionId, below: &str) -> Result<()> {
    sqlx::query!(
        "update collections set adopted_from = $2 where collection_id = $1",
        id.0,
        below
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Whether a snapshot id has a row.
pub async fn snapshot_is_known(conn: &mut PgConnection, id: SnapshotId) -> Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from snapshots where snapshot_id = $1) as "known!""#,
        id.0
    )
    .fetch_one(conn)
    .await
    .map_err(failed)
}

/// Adds the partitions and indexes of a snapshot that the collection lacks, as dropped ones.
///
/// # Errors
/// `partition_already_exists` when another collection has the id of one.
pub async fn insert_parts(conn: &mut PgConnection, metadata: &SnapshotMetadata) -> Result<()> {
    let id = metadata.collection_id.0;
    let ids: Vec<i64> = metadata.partitions.iter().map(|p| p.partition_id.0).collect();
    sqlx::query!(
        "insert into partitions (collection_id, partition_id, name, state)
         select $1, partition_id, name, 'dropped' from unnest($2::bigint[], $3::text[]) as u (partition_id, name)
         on conflict on constraint partitions_pkey do nothing",
        id,
        &ids,
        &metadata.partitions.iter().map(|p| p.name.clone()).collect::<Vec<_>>()
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    let taken = sqlx::query_scalar!(
        "select partition_id from partitions where partition_id = any($1) and collection_id <> $2 limit 1",
        &ids,
        id
    )
    .fetch_optional(&mut *conn)
    .await
    .map_err(failed)?;
    if let Some(taken) = taken {
        return Err(Code::PartitionAlreadyExists.error(format!("partition id {taken} is in use in another collection")));
    }
    for index in &metadata.indexes {
        insert_index(conn, metadata.collection_id, index).await?;
    }
    Ok(())
}

async fn insert_index(conn: &mut PgConnection, collection: CollectionId, index: &Index) -> Result<()> {
    sqlx::query!(
        "insert into indexes (collection_id, index_id, field_id, index_name, type_params, index_params, user_index_params,
                              is_auto_index, state)
         values ($1, $2, $3, $4, $5, $6, $7, $8, 'dropped')
         on conflict on constraint indexes_pkey do nothing",
        collection.0,
        index.index_id.0,
        index.field_id.0,
        index.index_name,
        to_json(&index.type_params)?,
        to_json(&index.index_params)?,
        to_json(&index.user_index_params)?,
        index.is_auto_index
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Which of these manifests, by owner and segment, the collection has.
pub async fn known_manifests(
    conn: &mut PgConnection,
    collection: CollectionId,
    wanted: &[(i64, i64)],
) -> Result<Vec<(i64, i64)>> {
    let rows = sqlx::query!(
        "select m.owner_snapshot_id, m.segment_id from manifests m
           join unnest($2::bigint[], $3::bigint[]) as w (owner_snapshot_id, segment_id) using (owner_snapshot_id, segment_id)
          where m.collection_id = $1 and m.state = 'live'",
        collection.0,
        &wanted.iter().map(|m| m.0).collect::<Vec<_>>(),
        &wanted.iter().map(|m| m.1).collect::<Vec<_>>()
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(|r| (r.owner_snapshot_id, r.segment_id)).collect())
}

/// A version of a segment that has a row.
#[derive(Debug, Clone)]
pub struct KnownVersion {
    pub segment_id: SegmentId,
    pub collection: CollectionId,
    pub version: i32,
    pub num_of_rows: i64,
    pub commit_timestamp: i64,
    pub content: SegmentContent,
}

/// Every version of these segments, ascending.
pub async fn versions(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<KnownVersion>> {
    let rows = sqlx::query!(
        "select s.segment_id, s.collection_id, v.version, v.num_of_rows, v.commit_timestamp, v.content
           from segments s join segment_versions v using (segment_id)
          where s.segment_id = any($1) order by s.segment_id, v.version",
        ids
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|r| {
            Ok(KnownVersion {
                segment_id: SegmentId(r.segment_id),
                collection: CollectionId(r.collection_id),
                version: r.version,
                num_of_rows: r.num_of_rows,
                commit_timestamp: r.commit_timestamp,
                content: decode(&r.content)?,
            })
        })
        .collect()
}

/// Adds a version, the newest, to a segment that has others.
pub async fn add_version(conn: &mut PgConnection, segment: &Segment) -> Result<()> {
    let files = &segment.content.files;
    let count = i32::try_from(files.count()).unwrap_or(i32::MAX);
    let size = i64::try_from(files.size_bytes()).unwrap_or(i64::MAX);
    sqlx::query!(
        "insert into segment_versions (segment_id, version, content, file_count, size_bytes, num_of_rows, commit_timestamp)
         values ($1, $2, $3, $4, $5, $6, $7)",
        segment.segment_id.0,
        segment.version,
        encode(&segment.content)?,
        count,
        size,
        segment.num_of_rows,
        segment.commit_timestamp
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "update segments set version = $2, file_count = $3, size_bytes = $4, num_of_rows = $5, commit_timestamp = $6, has_data = $7
          where segment_id = $1",
        segment.segment_id.0,
        segment.version,
        count,
        size,
        segment.num_of_rows,
        segment.commit_timestamp,
        files.has_data()
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// The builds among these that have a row, with the collection they belong to.
pub async fn builds(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<(i64, CollectionId, SegmentId, BuildContent)>> {
    let rows = sqlx::query!(
        "select build_id, collection_id, segment_id, content from index_builds where build_id = any($1)",
        ids
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|r| {
            Ok((
                r.build_id,
                CollectionId(r.collection_id),
                SegmentId(r.segment_id),
                decode(&r.content)?,
            ))
        })
        .collect()
}

/// Inserts index builds, as dropped ones.
pub async fn insert_builds(conn: &mut PgConnection, collection: CollectionId, builds: &[&IndexBuild]) -> Result<()> {
    let column = |f: fn(&IndexBuild) -> i64| builds.iter().map(|b| f(b)).collect::<Vec<i64>>();
    let contents: Vec<Vec<u8>> = builds.iter().map(|b| encode(&b.content)).collect::<Result<_>>()?;
    let counts = builds
        .iter()
        .map(|b| i32::try_from(b.content.files.len()).unwrap_or(i32::MAX));
    let inserted = sqlx::query!(
        "insert into index_builds (build_id, collection_id, segment_id, index_id, state, content, file_count, size_bytes,
                                   created_at, dropped_at)
         select build_id, $1, segment_id, index_id, 'dropped', content, file_count, size_bytes,
                (select stillframe_now()), (select stillframe_now())
           from unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::int[], $7::bigint[])
                as u (build_id, segment_id, index_id, content, file_count, size_bytes)",
        collection.0,
        &column(|b| b.build_id.0),
        &column(|b| b.segment_id.0),
        &column(|b| b.index_id.0),
        &contents,
        &counts.collect::<Vec<_>>(),
        &column(|b| i64::try_from(b.content.size_bytes()).unwrap_or(i64::MAX))
    )
    .execute(conn)
    .await;
    match inserted {
        Err(e) if violates(&e, "index_builds_pkey") => {
            Err(Code::IndexBuildAlreadyExists.error("an index build has just been registered under an id of this snapshot"))
        }
        other => other.map(drop).map_err(failed),
    }
}

/// A manifest whose object is there.
#[derive(Debug, Clone)]
pub struct StoredObject {
    pub owner: SnapshotId,
    pub manifest: Manifest,
    pub size_bytes: u64,
    pub sha256: [u8; 32],
}

/// How manifests came to be where they are.
#[derive(Debug, Clone, Copy)]
pub struct WrittenElsewhere<'a> {
    pub format_version: i32,
    /// Keys in them begin with it.
    pub root: &'a str,
    /// Another system's, below this prefix; none: our own, to be shared and deleted like those that we wrote.
    pub adopted_from: Option<&'a str>,
}

/// Inserts manifests of which the segments and builds have rows.
pub async fn insert_manifests(conn: &mut PgConnection, objects: &[StoredObject], written: WrittenElsewhere<'_>) -> Result<()> {
    let own = written.adopted_from.is_none();
    // arrays of arrays of different lengths can't be sent: as text they can
    let array = |ids: &mut dyn Iterator<Item = i64>| -> String {
        let mut ids: Vec<i64> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        format!("{{{}}}", ids.iter().map(i64::to_string).collect::<Vec<_>>().join(","))
    };
    let builds = objects
        .iter()
        .map(|o| array(&mut o.manifest.builds.iter().map(|b| b.build_id.0)));
    let content_builds = objects
        .iter()
        .map(|o| array(&mut o.manifest.segment.content.files.build_ids().map(|b| b.0)));
    sqlx::query!(
        "insert into manifests (owner_snapshot_id, segment_id, collection_id, version, build_ids, content_build_ids,
                                format_version, root, size_bytes, sha256, adopted_from)
         select owner, segment_id, collection_id, version, builds::bigint[], content_builds::bigint[], $1, $2,
                case when $3 then size_bytes end, case when $3 then sha256 end, $4
           from unnest($5::bigint[], $6::bigint[], $7::bigint[], $8::int[], $9::text[], $10::text[], $11::bigint[], $12::bytea[])
                as u (owner, segment_id, collection_id, version, builds, content_builds, size_bytes, sha256)",
        written.format_version,
        written.root,
        own,
        written.adopted_from,
        &objects.iter().map(|o| o.owner.0).collect::<Vec<_>>(),
        &objects.iter().map(|o| o.manifest.segment.segment_id.0).collect::<Vec<_>>(),
        &objects.iter().map(|o| o.manifest.segment.collection_id.0).collect::<Vec<_>>(),
        &objects.iter().map(|o| o.manifest.segment.version).collect::<Vec<_>>(),
        &builds.collect::<Vec<_>>(),
        &content_builds.collect::<Vec<_>>(),
        &objects
            .iter()
            .map(|o| i64::try_from(o.size_bytes).unwrap_or(i64::MAX))
            .collect::<Vec<_>>(),
        &objects.iter().map(|o| o.sha256.to_vec()).collect::<Vec<_>>()
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// References manifests, by owner and segment.
pub async fn reference(conn: &mut PgConnection, snapshot: SnapshotId, manifests: &[(i64, i64)]) -> Result<()> {
    sqlx::query!(
        "insert into snapshot_manifests (snapshot_id, segment_id, owner_snapshot_id)
         select $1, segment_id, owner from unnest($2::bigint[], $3::bigint[]) as u (owner, segment_id)",
        snapshot.0,
        &manifests.iter().map(|m| m.0).collect::<Vec<_>>(),
        &manifests.iter().map(|m| m.1).collect::<Vec<_>>()
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// A snapshot to be entered, committed.
#[derive(Debug)]
pub struct StoredSnapshot<'a> {
    pub metadata: &'a SnapshotMetadata,
    pub db_id: DatabaseId,
    pub s3_location: &'a str,
    pub adopted_from: Option<&'a str>,
    /// As far as its id tells; now when it does not.
    pub created_at: Option<OffsetDateTime>,
}

/// Inserts a snapshot without references and totals.
///
/// # Errors
/// `snapshot_already_exists`: its id, or its name in the collection.
pub async fn insert_snapshot(conn: &mut PgConnection, new: &StoredSnapshot<'_>) -> Result<()> {
    let metadata = new.metadata;
    let inserted = sqlx::query!(
        "insert into snapshots (snapshot_id, collection_id, db_id, name, description, state, create_ts, channels, s3_location,
                                created_at, committed_at, adopted_from)
         select $1, $2, $3, $4, $5, 'committed', $6, $7, $8, at, at, $9
           from (select least(coalesce($10, stillframe_now()), stillframe_now()) as at) t",
        metadata.snapshot_id.0,
        metadata.collection_id.0,
        new.db_id.0,
        metadata.name,
        metadata.description,
        metadata.create_ts,
        to_json(&metadata.channels)?,
        new.s3_location,
        new.adopted_from,
        new.created_at
    )
    .execute(conn)
    .await;
    let taken = |what: String| Err(Code::SnapshotAlreadyExists.error(what));
    match inserted {
        Err(e) if violates(&e, "snapshots_pkey") => taken(format!("snapshot id {} is in use", metadata.snapshot_id)),
        Err(e) if violates(&e, "snapshots_name_key") => taken(format!(
            "collection {:?} has another snapshot {:?}",
            metadata.collection_name, metadata.name
        )),
        other => other.map(drop).map_err(failed),
    }
}

/// Fills in the totals of a snapshot from what it references. `metadata_bytes` as
/// `domain::snapshot::Totals` has it.
pub async fn set_totals(conn: &mut PgConnection, snapshot: SnapshotId, metadata_bytes: i64) -> Result<()> {
    sqlx::query!(
        "update snapshots p set segment_count = t.segments, index_build_count = t.builds, num_of_rows = t.rows,
                file_count = t.files, size_bytes = t.bytes, metadata_bytes = $2
           from (select count(*) as segments, coalesce(sum(b.builds), 0)::bigint as builds,
                        least(coalesce(sum(v.num_of_rows) filter (where s.level <> 'L0'), 0), 9223372036854775807)::bigint as rows,
                        coalesce(sum(v.file_count + b.files), 0)::bigint as files,
                        least(coalesce(sum(v.size_bytes + b.bytes), 0), 9223372036854775807)::bigint as bytes
                   from snapshot_manifests r
                   join manifests m using (segment_id, owner_snapshot_id)
                   join segments s using (segment_id)
                   join segment_versions v on v.segment_id = m.segment_id and v.version = m.version
                   cross join lateral (select count(*) as builds, coalesce(sum(file_count), 0) as files,
                                              coalesce(sum(size_bytes), 0) as bytes
                                         from index_builds where build_id = any (m.build_ids)) b
                  where r.snapshot_id = $1) t
          where p.snapshot_id = $1",
        snapshot.0,
        metadata_bytes
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}
