//! Channels and their seek positions.

use sqlx::PgConnection;

use super::{error::on_constraint, failed};
use crate::domain::collection::{Channel, Position};
use crate::domain::id::CollectionId;
use crate::domain::{Error, Result};

/// Inserts a channel.
///
/// # Errors
/// `invalid_request` when the collection has one of this name.
pub async fn insert(conn: &mut PgConnection, collection: CollectionId, channel: &Channel) -> Result<()> {
    let position = channel.seek_position.as_ref();
    let inserted = sqlx::query!(
        "insert into channels (collection_id, channel_name, shard_no, seek_timestamp, seek_msg_id, seek_msg_group)
         values ($1, $2, $3, $4, $5, $6)",
        collection.0,
        channel.channel_name,
        channel.shard_no,
        position.map(|p| p.timestamp),
        position.map_or(&[][..], |p| &p.msg_id),
        position.map_or("", |p| &p.msg_group),
    )
    .execute(conn)
    .await;
    on_constraint(inserted, "channels_pkey", || {
        Error::invalid("/channels", format!("channel {:?} is given twice", channel.channel_name))
    })?;
    Ok(())
}

/// The channels of a collection by shard number.
pub async fn list(conn: &mut PgConnection, collection: CollectionId) -> Result<Vec<Channel>> {
    let rows = sqlx::query!(
        "select channel_name, shard_no, seek_timestamp, seek_msg_id, seek_msg_group
           from channels where collection_id = $1 order by shard_no",
        collection.0
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(rows
        .into_iter()
        .map(|r| Channel {
            channel_name: r.channel_name,
            shard_no: r.shard_no,
            seek_position: r.seek_timestamp.map(|timestamp| Position {
                timestamp,
                msg_id: r.seek_msg_id,
                msg_group: r.seek_msg_group,
            }),
        })
        .collect())
}

/// Keeps the positions of a collection's channels as they are until the transaction ends.
pub async fn hold(conn: &mut PgConnection, collection: CollectionId) -> Result<()> {
    sqlx::query!(
        "select channel_name from channels where collection_id = $1 order by shard_no for share",
        collection.0
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Reports a seek position; positions only move forward. False when there is no such channel or
/// it stands further already.
pub async fn report(conn: &mut PgConnection, collection: CollectionId, channel: &str, position: &Position) -> Result<bool> {
    let updated = sqlx::query!(
        "update channels set seek_timestamp = $3, seek_msg_id = $4, seek_msg_group = $5
          where collection_id = $1 and channel_name = $2 and coalesce(seek_timestamp, 0) <= $3",
        collection.0,
        channel,
        position.timestamp,
        position.msg_id,
        position.msg_group
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(updated.rows_affected() == 1)
}
