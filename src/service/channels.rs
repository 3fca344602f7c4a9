//! Seek positions of channels.

use super::Service;
use super::paths::collection;
use crate::domain::collection::{Channel, Position};
use crate::domain::page::{Page, PageRequest};
use crate::domain::{Code, Result};
use crate::store;

impl Service {
    /// Reports the seek position of a channel. Positions only move forward: a report that stands
    /// further back is answered with the position that is known.
    ///
    /// # Errors
    /// `collection_not_found`, `channel_not_found`.
    pub async fn report_channel(
        &self,
        db_name: &str,
        collection_name: &str,
        channel: &str,
        position: &Position,
    ) -> Result<Channel> {
        self.caller.note(format!("channel {channel:?}"));
        let mut conn = self.conn().await?;
        let found = collection(&mut conn, &self.caller, db_name, collection_name).await?;
        store::channels::report(&mut conn, found.collection_id, channel, position).await?;
        let channels = store::channels::list(&mut conn, found.collection_id).await?;
        channels
            .into_iter()
            .find(|c| c.channel_name == channel)
            .ok_or_else(|| Code::ChannelNotFound.error(format!("collection {:?} has no channel {channel:?}", found.name)))
    }

    /// Lists the channels of a collection by shard number.
    pub async fn list_channels(&self, db_name: &str, collection_name: &str, page: &PageRequest) -> Result<Page<Channel>> {
        let mut conn = self.conn().await?;
        let found = collection(&mut conn, &self.caller, db_name, collection_name).await?;
        let list = format!("channels?{}", found.collection_id);
        let after: i32 = page.cursor(&list)?.unwrap_or(-1);
        let channels = store::channels::list(&mut conn, found.collection_id).await?;
        Ok(
            page.page(&list, channels.into_iter().filter(|c| c.shard_no > after).collect(), |c| {
                c.shard_no
            }),
        )
    }
}
