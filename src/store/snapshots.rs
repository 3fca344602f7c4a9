//! Snapshots and their references.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::codec::{from_json, to_json};
use super::text::{can_all_be, can_be};
use super::{error::on_constraint, failed};
use crate::domain::access::Visible;
use crate::domain::id::{CollectionId, DatabaseId, SnapshotId};
use crate::domain::schema::Params;
use crate::domain::snapshot::{CapturedCollection, Hold, Shown, Snapshot, Totals};
use crate::domain::{Code, Error, Result};

struct SnapshotRow {
    snapshot_id: i64,
    collection_id: i64,
    db_id: i64,
    db_name: String,
    collection_name: String,
    collection_state: String,
    ownership: String,
    name: String,
    description: String,
    labels: serde_json::Value,
    state: String,
    create_ts: i64,
    channels: serde_json::Value,
    segment_count: i64,
    index_build_count: i64,
    num_of_rows: i64,
    file_count: i64,
    size_bytes: i64,
    metadata_bytes: i64,
    left_out: serde_json::Value,
    s3_location: String,
    adopted_from: Option<String>,
    created_at: OffsetDateTime,
    committed_at: Option<OffsetDateTime>,
    dropped_at: Option<OffsetDateTime>,
    hold_owner: Option<String>,
    hold_reason: Option<String>,
    held_at: Option<OffsetDateTime>,
    pins: i64,
}

impl TryFrom<SnapshotRow> for Snapshot {
    type Error = Error;
    fn try_from(row: SnapshotRow) -> Result<Self> {
        Ok(Self {
            snapshot_id: SnapshotId(row.snapshot_id),
            name: row.name,
            description: row.description,
            labels: from_json(row.labels)?,
            db_id: DatabaseId(row.db_id),
            db_name: row.db_name,
            collection_id: CollectionId(row.collection_id),
            collection_name: row.collection_name,
            collection_dropped: row.collection_state == "dropped",
            external: row.ownership == "external",
            state: row.state,
            create_ts: row.create_ts,
            channels: from_json(row.channels)?,
            totals: Totals {
                segments: row.segment_count,
                index_builds: row.index_build_count,
                rows: row.num_of_rows,
                files: row.file_count,
                size_bytes: row.size_bytes,
                metadata_bytes: row.metadata_bytes,
            },
            left_out: from_json(row.left_out)?,
            s3_location: row.s3_location,
            adopted_from: row.adopted_from,
            created_at: row.created_at,
            committed_at: row.committed_at,
            dropped_at: row.dropped_at,
            hold: row.held_at.map(|since| Hold {
                owner: row.hold_owner.unwrap_or_default(),
                reason: row.hold_reason.unwrap_or_default(),
                since,
            }),
            pins: row.pins,
        })
    }
}

/// Which snapshots a call is about.
#[derive(Debug, Clone, Default)]
pub struct SnapshotFilter {
    pub db: Option<DatabaseId>,
    pub collection: Option<CollectionId>,
    /// Of a dropped collection: its old name.
    pub dropped_collection_name: Option<String>,
    pub name: Option<String>,
    pub name_prefix: Option<String>,
    pub snapshot: Option<SnapshotId>,
    /// All of these labels.
    pub labels: Params,
    pub created_from: Option<OffsetDateTime>,
    pub created_before: Option<OffsetDateTime>,
    pub shown: Shown,
    /// Only those of collections that may be seen.
    pub visible: Visible,
}

/// Where a page of snapshots begins: after this creation time (nanoseconds) and id.
pub type SnapshotCursor = (i64, i64);

/// Lists snapshots, newest first or oldest first.
pub async fn list(
    conn: &mut PgConnection,
    filter: &SnapshotFilter,
    oldest_first: bool,
    after: Option<SnapshotCursor>,
    limit: i64,
) -> Result<Vec<Snapshot>> {
    let labels = filter.labels.iter().flat_map(|(key, value)| [key, value]);
    if !can_all_be(&[&filter.name, &filter.name_prefix, &filter.dropped_collection_name])
        || !labels.into_iter().all(|text| can_be(text))
    {
        return Ok(Vec::new());
    }
    let cursor = match after {
        None => None,
        Some((nanos, id)) => {
            let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(nanos))
                .map_err(|e| Code::InvalidPageToken.error("the page token is damaged").because(e))?;
            Some((at, id))
        }
    };
    // a statement for each direction and state: each reads its index in order and stops at the limit
    macro_rules! page {
        ($state:literal, $order:literal, $beyond:literal) => {
            sqlx::query_as!(
                SnapshotRow,
                r#"select s.snapshot_id, s.collection_id, s.db_id, d.name as db_name, c.name as collection_name,
                        c.state as collection_state, c.ownership, s.name, s.description, s.labels, s.state, s.create_ts,
                        s.channels, s.segment_count, s.index_build_count, s.num_of_rows, s.file_count, s.size_bytes,
                        s.metadata_bytes, s.left_out, s.s3_location, s.adopted_from, s.created_at, s.committed_at, s.dropped_at,
                        s.hold_owner, s.hold_reason, s.held_at,
                        (select count(*) from pins p where p.snapshot_id = s.snapshot_id
                            and (p.expires_at is null or p.expires_at > (select stillframe_now()))) as "pins!"
                   from snapshots s
                   join databases d on d.db_id = s.db_id
                   join collections c on c.collection_id = s.collection_id
                  where "#
                    + $state
                    + r#" and ($1::bigint is null or s.db_id = $1)
                    and ($2::bigint is null or s.collection_id = $2)
                    and ($3::text is null or (c.name = $3 and c.state = 'dropped'))
                    and ($4::text is null or s.name = $4)
                    and ($5::text is null or starts_with(s.name, $5))
                    and ($6::bigint is null or s.snapshot_id = $6)
                    and ($7::jsonb is null or s.labels @> $7)
                    and ($8::timestamptz is null or s.created_at >= $8)
                    and ($9::timestamptz is null or s.created_at < $9)
                    and ($13::text[] is null or exists (select from unnest($13::text[], $14::text[]) as g (db, collection)
                                                         where d.name like g.db and c.name like g.collection))
                    and ($10::timestamptz is null or (s.created_at, s.snapshot_id) "#
                    + $beyond
                    + " ($10, $11))
                  order by s.created_at "
                    + $order
                    + ", s.snapshot_id "
                    + $order
                    + " limit $12",
                filter.db.map(|d| d.0),
                filter.collection.map(|c| c.0),
                filter.dropped_collection_name,
                filter.name,
                filter.name_prefix,
                filter.snapshot.map(|s| s.0),
                if filter.labels.is_empty() {
                    None
                } else {
                    Some(to_json(&filter.labels)?)
                },
                filter.created_from,
                filter.created_before,
                cursor.map(|c| c.0),
                cursor.map(|c| c.1),
                limit,
                filter.visible.databases() as _,
                filter.visible.collections() as _
            )
            .fetch_all(conn)
            .await
            .map_err(failed)?
        };
    }
    let rows = match (filter.shown, oldest_first) {
        (Shown::Committed, false) => page!("s.state = 'committed'", "desc", "<"),
        (Shown::Committed, true) => page!("s.state = 'committed'", "asc", ">"),
        // those that were never committed can't be taken back
        (Shown::Dropped, false) => page!("s.state = 'deleting' and s.committed_at is not null", "desc", "<"),
        (Shown::Dropped, true) => page!("s.state = 'deleting' and s.committed_at is not null", "asc", ">"),
    };
    rows.into_iter().map(Snapshot::try_from).collect()
}

/// The cursor of a snapshot in a list.
pub fn cursor(snapshot: &Snapshot) -> SnapshotCursor {
    (
        i64::try_from(snapshot.created_at.unix_timestamp_nanos()).unwrap_or(i64::MAX),
        snapshot.snapshot_id.0,
    )
}

/// A snapshot about to be written.
#[derive(Debug)]
pub struct NewSnapshot<'a> {
    pub snapshot_id: SnapshotId,
    pub collection_id: CollectionId,
    pub db_id: DatabaseId,
    pub name: &'a str,
    pub description: &'a str,
    pub labels: &'a Params,
    pub create_ts: i64,
    pub channels: &'a serde_json::Value,
    pub lease_token: Uuid,
    pub lease_ms: i64,
}

/// Inserts a pending snapshot; false when the collection has one of this name.
pub async fn insert_pending(conn: &mut PgConnection, new: &NewSnapshot<'_>) -> Result<bool> {
    let inserted = sqlx::query!(
        "insert into snapshots (snapshot_id, collection_id, db_id, name, description, labels, state, create_ts, channels,
                                lease_token, lease_expires_at)
         values ($1, $2, $3, $4, $5, $6, 'pending', $7, $8, $9, stillframe_now() + $10::bigint * interval '1 millisecond')
         on conflict (collection_id, name) where state in ('pending', 'committed') do nothing",
        new.snapshot_id.0,
        new.collection_id.0,
        new.db_id.0,
        new.name,
        new.description,
        to_json(new.labels)?,
        new.create_ts,
        new.channels,
        new.lease_token,
        new.lease_ms
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    Ok(inserted.rows_affected() == 1)
}

/// Adds the collection as it was captured.
pub async fn insert_description(conn: &mut PgConnection, snapshot: SnapshotId, captured: &CapturedCollection) -> Result<()> {
    sqlx::query!(
        "insert into snapshot_descriptions (snapshot_id, description) values ($1, $2)",
        snapshot.0,
        to_json(captured)?
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Takes the name away from a pending snapshot whose lease has expired.
pub async fn expire_pending(conn: &mut PgConnection, collection: CollectionId, name: &str) -> Result<bool> {
    let expired = sqlx::query!(
        "update snapshots set state = 'deleting', dropped_at = stillframe_now(), lease_token = null, lease_expires_at = null
          where collection_id = $1 and name = $2 and state = 'pending' and lease_expires_at <= (select stillframe_now())",
        collection.0,
        name
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(expired.rows_affected() > 0)
}

/// A page of what a snapshot captured, by segment id.
pub async fn manifests(
    conn: &mut PgConnection,
    snapshot: SnapshotId,
    after: Option<i64>,
    limit: i64,
) -> Result<Vec<crate::domain::manifest::Manifest>> {
    super::manifests::page(conn, snapshot, false, after, limit).await
}

/// Renews the lease of a pending snapshot; false when it was taken away.
pub async fn renew(conn: &mut PgConnection, snapshot: SnapshotId, token: Uuid, lease_ms: i64) -> Result<bool> {
    let updated = sqlx::query!(
        "update snapshots set lease_expires_at = stillframe_now() + $3::bigint * interval '1 millisecond'
          where snapshot_id = $1 and lease_token = $2 and state = 'pending'",
        snapshot.0,
        token,
        lease_ms
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(updated.rows_affected() == 1)
}

/// Makes a pending snapshot visible; false when the lease was lost.
pub async fn commit(
    conn: &mut PgConnection,
    snapshot: SnapshotId,
    token: Uuid,
    totals: &Totals,
    left_out: &serde_json::Value,
    s3_location: &str,
) -> Result<bool> {
    let updated = sqlx::query!(
        "update snapshots set state = 'committed', committed_at = stillframe_now(), lease_token = null, lease_expires_at = null,
                segment_count = $3, index_build_count = $4, num_of_rows = $5, file_count = $6, size_bytes = $7,
                metadata_bytes = $8, left_out = $9, s3_location = $10
          where snapshot_id = $1 and lease_token = $2 and state = 'pending'",
        snapshot.0,
        token,
        totals.segments,
        totals.index_builds,
        totals.rows,
        totals.files,
        totals.size_bytes,
        totals.metadata_bytes,
        left_out,
        s3_location
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(updated.rows_affected() == 1)
}

/// Gives up a pending snapshot: the name is free, the collector removes what was written.
pub async fn abandon(conn: &mut PgConnection, snapshot: SnapshotId, token: Uuid) -> Result<()> {
    sqlx::query!(
        "update snapshots set state = 'deleting', dropped_at = stillframe_now(), lease_token = null, lease_expires_at = null
          where snapshot_id = $1 and lease_token = $2 and state = 'pending'",
        snapshot.0,
        token
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// The collection as a snapshot captured it.
pub async fn description(conn: &mut PgConnection, snapshot: SnapshotId) -> Result<CapturedCollection> {
    let value = sqlx::query_scalar!(
        "select description from snapshot_descriptions where snapshot_id = $1",
        snapshot.0
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    from_json(value)
}

/// Puts a committed snapshot on hold, since now, or lifts its hold.
pub async fn set_hold(conn: &mut PgConnection, snapshot: SnapshotId, hold: Option<(&str, &str)>) -> Result<()> {
    sqlx::query!(
        "update snapshots set hold_owner = $2, hold_reason = $3,
                held_at = case when $2::text is null then null else coalesce(held_at, (select stillframe_now())) end
          where snapshot_id = $1 and state = 'committed'",
        snapshot.0,
        hold.map(|h| h.0),
        hold.map(|h| h.1)
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Takes a dropped snapshot back; false when the collector has condemned it.
///
/// # Errors
/// `snapshot_already_exists` when the name has been given again.
pub async fn undelete(conn: &mut PgConnection, snapshot: SnapshotId) -> Result<bool> {
    let updated = sqlx::query!(
        "update snapshots set state = 'committed', dropped_at = null
          where snapshot_id = $1 and state = 'deleting' and committed_at is not null",
        snapshot.0
    )
    .execute(conn)
    .await;
    let updated = on_constraint(updated, "snapshots_name_key", || {
        Code::SnapshotAlreadyExists.error("the collection has another snapshot of this name now; drop it, or leave this one")
    })?;
    Ok(updated.rows_affected() == 1)
}

/// Replaces description and labels.
pub async fn set_texts(conn: &mut PgConnection, snapshot: SnapshotId, description: &str, labels: &Params) -> Result<bool> {
    let updated = sqlx::query!(
        "update snapshots set description = $2, labels = $3 where snapshot_id = $1 and state = 'committed'",
        snapshot.0,
        description,
        to_json(labels)?
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(updated.rows_affected() == 1)
}

/// Holds a committed snapshot against being dropped until the transaction ends; false when it
/// has been.
pub async fn hold(conn: &mut PgConnection, snapshot: SnapshotId) -> Result<bool> {
    let row = sqlx::query_scalar!(
        "select snapshot_id from snapshots where snapshot_id = $1 and state = 'committed' for share",
        snapshot.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(row.is_some())
}

/// Locks a committed snapshot for its drop; false when another call dropped it.
pub async fn lock(conn: &mut PgConnection, snapshot: SnapshotId) -> Result<bool> {
    let row = sqlx::query_scalar!(
        "select snapshot_id from snapshots where snapshot_id = $1 and state = 'committed' for update",
        snapshot.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(row.is_some())
}

/// The job that is reading a snapshot, if any, and whether it is an export.
pub async fn running_job(conn: &mut PgConnection, snapshot: SnapshotId) -> Result<Option<(i64, bool)>> {
    let row = sqlx::query!(
        "select job_id, kind from restore_jobs where snapshot_id = $1 and finished_at is null order by job_id limit 1",
        snapshot.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(row.map(|r| (r.job_id, r.kind == "export")))
}

/// Marks a locked snapshot as dropped.
pub async fn mark_dropped(conn: &mut PgConnection, snapshot: SnapshotId) -> Result<()> {
    sqlx::query!(
        "update snapshots set state = 'deleting', dropped_at = stillframe_now() where snapshot_id = $1 and state = 'committed'",
        snapshot.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Takes the pending snapshots of a collection away from their creating calls, whose commit then
/// fails.
pub async fn abandon_pending(conn: &mut PgConnection, collection: CollectionId) -> Result<()> {
    sqlx::query!(
        "update snapshots set state = 'deleting', dropped_at = stillframe_now(), lease_token = null, lease_expires_at = null
          where collection_id = $1 and state = 'pending'",
        collection.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Ids of the committed snapshots of a collection.
pub async fn of_collection(conn: &mut PgConnection, collection: CollectionId) -> Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select snapshot_id from snapshots where collection_id = $1 and state = 'committed' order by snapshot_id",
        collection.0
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}
