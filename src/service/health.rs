//! Whether the service can do its work.

use super::Service;
use crate::domain::Result;
use crate::store;

impl Service {
    /// Asks the catalog and the storage.
    ///
    /// # Errors
    /// `database_unavailable` or a storage error.
    pub async fn ready(&self) -> Result<()> {
        store::catalog::now(&mut *self.conn().await?).await?;
        self.objects.get(crate::objects::keys::MARKER, 4096).await?;
        Ok(())
    }

    /// Connections of the pool: open, and idle.
    pub fn connections(&self) -> (u32, usize) {
        (self.pool.size(), self.pool.num_idle())
    }
}
