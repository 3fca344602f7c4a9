//! Collections.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::codec::{from_json, to_json};
use super::text::can_be;
use super::{error::on_constraint, failed};
use crate::domain::access::Visible;
use crate::domain::collection::{Collection, Ownership};
use crate::domain::id::{CollectionId, DatabaseId};
use crate::domain::schema::Params;
use crate::domain::{Code, Error, Result};

struct CollectionRow {
    collection_id: i64,
    db_id: i64,
    db_name: String,
    name: String,
    state: String,
    ownership: String,
    num_shards: i32,
    consistency_level: String,
    schema: serde_json::Value,
    properties: serde_json::Value,
    created_at: OffsetDateTime,
}

impl TryFrom<CollectionRow> for Collection {
    type Error = Error;
    fn try_from(row: CollectionRow) -> Result<Self> {
        Ok(Self {
            collection_id: CollectionId(row.collection_id),
            db_id: DatabaseId(row.db_id),
            db_name: row.db_name,
            name: row.name,
            ownership: if row.ownership == "external" {
                Ownership::External
            } else {
                Ownership::Owned
            },
            dropped: row.state == "dropped",
            num_shards: row.num_shards,
            consistency_level: row.consistency_level,
            schema: from_json(row.schema)?,
            properties: from_json(row.properties)?,
            created_at: row.created_at,
        })
    }
}

/// Inserts a collection; `restoring` hides it until it is published.
///
/// # Errors
/// `collection_already_exists` when the id is taken.
pub async fn insert(conn: &mut PgConnection, collection: &Collection, restoring: bool) -> Result<()> {
    let inserted = sqlx::query!(
        "insert into collections (collection_id, db_id, name, state, ownership, num_shards, consistency_level, schema, properties)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        collection.collection_id.0,
        collection.db_id.0,
        collection.name,
        if restoring { "restoring" } else { "active" },
        collection.ownership.as_str(),
        collection.num_shards,
        collection.consistency_level,
        to_json(&collection.schema)?,
        to_json(&collection.properties)?,
    )
    .execute(conn)
    .await;
    on_constraint(inserted, "collections_pkey", || {
        Code::CollectionAlreadyExists.error(format!(
            "collection id {} is in use, by a collection of any database or by one dropped but not yet collected",
            collection.collection_id
        ))
    })?;
    Ok(())
}

/// Finds a living collection by its name or an alias.
pub async fn find(conn: &mut PgConnection, db: DatabaseId, name: &str) -> Result<Option<Collection>> {
    if !can_be(name) {
        return Ok(None);
    }
    sqlx::query_as!(
        CollectionRow,
        "select c.collection_id, c.db_id, d.name as db_name, c.name, c.state, c.ownership, c.num_shards, c.consistency_level,
                c.schema, c.properties, c.created_at
           from collection_names n
           join collections c using (collection_id)
           join databases d on d.db_id = c.db_id
          where n.db_id = $1 and n.name = $2 and n.kind in ('collection', 'alias')",
        db.0,
        name
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?
    .map(Collection::try_from)
    .transpose()
}

/// Queues up for a collection. Row locks alone are not fair: holders that overlap keep a lock
/// waiting for ever.
pub(super) async fn queue(conn: &mut PgConnection, id: CollectionId, shared: bool) -> Result<()> {
    if shared {
        sqlx::query!("select pg_advisory_xact_lock_shared(1, hashint8($1))", id.0)
            .fetch_one(conn)
            .await
            .map_err(failed)?;
    } else {
        sqlx::query!("select pg_advisory_xact_lock(1, hashint8($1))", id.0)
            .fetch_one(conn)
            .await
            .map_err(failed)?;
    }
    Ok(())
}

/// False when there is no such collection.
fn unchanging(row: Option<Option<i64>>) -> Result<bool> {
    match row {
        None => Ok(false),
        Some(None) => Ok(true),
        Some(Some(job)) => Err(being_materialized(job)),
    }
}

/// The error of a change to a collection that a job copies to take its place.
fn being_materialized(job: i64) -> Error {
    Code::CollectionBeingMaterialized.error(format!(
        "job {job} is materializing the collection, nothing of it can change meanwhile; wait for it, or cancel it"
    ))
}

/// Holds a living collection against being dropped until the transaction ends; false when it
/// has been dropped.
///
/// # Errors
/// `collection_being_materialized`.
pub async fn hold(conn: &mut PgConnection, id: CollectionId) -> Result<bool> {
    queue(conn, id, true).await?;
    let row = sqlx::query_scalar!(
        "select materialize_job_id from collections where collection_id = $1 and state = 'active' for share",
        id.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    unchanging(row)
}

/// Locks a living collection for a change; false when it has been dropped.
///
/// # Errors
/// `collection_being_materialized`.
pub async fn lock(conn: &mut PgConnection, id: CollectionId) -> Result<bool> {
    queue(conn, id, false).await?;
    let row = sqlx::query_scalar!(
        "select materialize_job_id from collections where collection_id = $1 and state = 'active' for update",
        id.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    unchanging(row)
}

/// Lists living collections of a database by name.
pub async fn list(
    conn: &mut PgConnection,
    db: DatabaseId,
    visible: &Visible,
    prefix: &str,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Collection>> {
    if !can_be(prefix) {
        return Ok(Vec::new());
    }
    let rows = sqlx::query_as!(
        CollectionRow,
        "select c.collection_id, c.db_id, d.name as db_name, c.name, c.state, c.ownership, c.num_shards, c.consistency_level,
                c.schema, c.properties, c.created_at
           from collections c join databases d on d.db_id = c.db_id
          where c.db_id = $1 and c.state = 'active' and starts_with(c.name, $2) and ($3::text is null or c.name > $3)
            and ($5::text[] is null or exists (select from unnest($5::text[], $6::text[]) as g (db, collection)
                                                where d.name like g.db and c.name like g.collection))
          order by c.name limit $4",
        db.0,
        prefix,
        after,
        limit,
        visible.databases() as _,
        visible.collections() as _
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    rows.into_iter().map(Collection::try_from).collect()
}

/// Replaces the properties.
pub async fn set_properties(conn: &mut PgConnection, id: CollectionId, properties: &Params) -> Result<()> {
    sqlx::query!(
        "update collections set properties = $2 where collection_id = $1",
        id.0,
        to_json(properties)?
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Marks a collection as dropped.
pub async fn mark_dropped(conn: &mut PgConnection, id: CollectionId) -> Result<()> {
    sqlx::query!(
        "update collections set state = 'dropped', dropped_at = stillframe_now() where collection_id = $1 and state <> 'dropped'",
        id.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Makes a restored collection visible.
///
/// # Errors
/// `internal` when it is not being restored.
pub async fn publish(conn: &mut PgConnection, id: CollectionId) -> Result<()> {
    let updated = sqlx::query!(
        "update collections set state = 'active' where collection_id = $1 and state = 'restoring'",
        id.0
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    if updated.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Error::internal("the target collection is not being restored"))
    }
}

/// Counts of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    pub segments: i64,
    pub rows: i64,
    pub size_bytes: i64,
}

/// Counts the living segments of a collection, index files included in the bytes.
pub async fn statistics(conn: &mut PgConnection, id: CollectionId) -> Result<Statistics> {
    let row = sqlx::query!(
        r#"select count(*) as "segments!", least(coalesce(sum(num_of_rows) filter (where level <> 'L0'), 0), 9223372036854775807)::bigint as "rows!",
                  least(coalesce(sum(size_bytes), 0) + (select coalesce(sum(b.size_bytes), 0) from index_builds b
                     where b.collection_id = $1 and b.state = 'finished'), 9223372036854775807)::bigint as "bytes!"
             from segments where collection_id = $1 and state not in ('dropped', 'condemned')"#,
        id.0
    )
    .fetch_one(conn)
    .await
    .map_err(failed)?;
    Ok(Statistics {
        segments: row.segments,
        rows: row.rows,
        size_bytes: row.bytes,
    })
}
