//! Whether the service can do its work.

use std::time::{Duration, Instant};

use super::Service;
use crate::domain::{Code, Result};
use crate::objects::StorageUrl;
use crate::store;

/// How long a look at the catalog and the storage is good for.
const KEPT: Duration = Duration::from_secs(1);

/// What was seen, and when that had been seen.
#[derive(Debug)]
pub(super) struct Look {
    at: Instant,
    found: std::result::Result<(), (Code, String)>,
}

impl Service {
    /// Asks the catalog and the storage, about once a second however many want to know.
    ///
    /// # Errors
    /// `database_unavailable` or a storage error.
    pub async fn ready(&self) -> Result<()> {
        let asked = Instant::now();
        let mut looked = self.looked.lock().await;
        if let Some(look) = looked.as_ref()
            && look.at + KEPT > asked
        {
            return look.found.clone().map_err(|(code, detail)| code.error(detail));
        }
        let found = self.look_whether_ready().await;
        let kept = found.as_ref().copied().map_err(|e| (e.code(), e.detail().to_string()));
        *looked = Some(Look {
            at: Instant::now(),
            found: kept,
        });
        found
    }

    async fn look_whether_ready(&self) -> Result<()> {
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
