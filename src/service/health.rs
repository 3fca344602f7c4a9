//! Whether the service can do its work.

use super::Service;
use crate::domain::Result;
use crate::objects::StorageUrl;
use crate::store;

impl Service {
    /// Asks the catalog and the storage.
    ///
    /// # Errors
    /// `database_unavailable` or a storage error.
    pub async fn ready(&self) -> Result<()> {
        let catalog_id = store::catalog::id(&mut *self.conn().await?).await?;
        crate::objects::marker::verify(&self.objects, catalog_id).await
    }

    /// The URL of the storage root, which ends in a slash, and the address of its server where that is
    /// not the provider's own. Holds no secret.
    pub fn storage_root(&self) -> (String, Option<String>) {
        let url = self.objects.url();
        let endpoint = match url {
            StorageUrl::S3 { endpoint, .. } => endpoint.clone(),
            StorageUrl::Local { .. } | StorageUrl::Memory => None,
        };
        let root = url.location("");
        (format!("{}/", root.trim_end_matches('/')), endpoint)
    }

    /// Connections of the pool: open, idle, and allowed.
    pub fn connections(&self) -> (u32, usize, u32) {
        (
            self.pool.size(),
            self.pool.num_idle(),
            self.pool.options().get_max_connections(),
        )
    }

    /// Requests to copy that this process may have under way at the same time, now.
    pub fn copy_limit(&self) -> usize {
        self.objects.copy_limit()
    }
}
