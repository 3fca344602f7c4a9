//! Whether anything was committed since: what makes an answer worth keeping.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use super::Service;
use crate::domain::Result;
use crate::store;

/// A look takes no longer: whoever waits for it can do without.
const PATIENCE: Duration = Duration::from_millis(200);

/// What of the catalog can be seen at some time. Two that are equal show the same rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogState(Arc<str>);

/// The looks of a process at the catalog's state.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// The number of the look that began last.
    begun: AtomicU64,
    last: Mutex<Look>,
}

/// A look that has ended.
#[derive(Debug, Default)]
struct Look {
    number: u64,
    /// None when the database did not answer in time.
    seen: Option<CatalogState>,
}

impl Service {
    /// The state of the catalog, not before this call; none when the database does not answer within some 400 ms.
    /// One look, for which this process holds one connection, is enough for all who waited when it began.
    pub async fn catalog_state(&self) -> Option<CatalogState> {
        let begun = self.looks.begun.load(Ordering::SeqCst);
        let mut last = self.looks.last.lock().await;
        // an older look may have missed what was committed just before this call
        if last.number <= begun {
            let number = self.looks.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let look = async { store::catalog::visible(&mut *self.conn().await?).await };
            let seen = timeout(PATIENCE, look).await.ok().and_then(Result::ok);
            *last = Look {
                number,
                seen: seen.map(|text| CatalogState(text.into())),
            };
        }
        last.seen.clone()
    }
}
