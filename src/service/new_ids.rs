//! New ids that somebody else has chosen before.

use super::Service;
use super::registration::ID_SLACK_MS;
use crate::domain::{Error, Result, timestamp};
use crate::store;

/// Blocks of new ids in a row that may have one that is in use.
const MAX_JUMPS: u32 = 8;

impl Service {
    /// Makes new ids begin where nobody can choose any for a while: twice as far in the future as ids can be chosen. So
    /// the next block has none that is in use, whoever goes on registering; of ids that were chosen by
    /// somebody who may choose any, it is the next block after those. `jumps` counts the calls.
    ///
    /// # Errors
    /// That the id is in use, after too many calls.
    pub(super) async fn jump_over(&self, taken: i64, jumps: &mut u32) -> Result<()> {
        *jumps += 1;
        if *jumps > MAX_JUMPS {
            return Err(Error::internal(format!("the new id {taken} is in use")));
        }
        let mut conn = self.conn().await?;
        let now = store::catalog::now_millis(&mut conn).await?;
        tracing::warn!(id = taken, "a new id is in use, as somebody chose it; new ids jump ahead");
        // in a task of its own: called off in between, its connection would go on holding the allocator's lock
        let skipping = async move { store::catalog::skip_ids(&mut conn, timestamp::from_millis(now + 2 * ID_SLACK_MS)).await };
        tokio::spawn(skipping).await.map_err(Error::internal)?
    }
}
