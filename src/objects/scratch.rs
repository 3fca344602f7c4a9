//! Objects to try a storage with.

use uuid::Uuid;

use super::error::storage_error;
use super::keys::PROBE_DIRECTORY;
use super::storage::Objects;
use crate::domain::Result;

/// Objects at most.
const KEYS: usize = 65;

/// Keys of a directory of their own, for one who tries a storage; that one deletes them.
#[derive(Debug)]
pub struct Scratch {
    directory: String,
    keys: Vec<String>,
}

impl Scratch {
    /// Ends in a slash.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// 65 of them.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }
}

impl Objects {
    /// Keys that nobody else uses.
    pub fn scratch(&self) -> Scratch {
        let directory = format!("{PROBE_DIRECTORY}{}/", Uuid::new_v4());
        let keys = (0..KEYS).map(|n| format!("{directory}{n}")).collect();
        Scratch { directory, keys }
    }

    /// Whether the store refuses to write an object that exists, on request. `key` exists.
    ///
    /// # Errors
    /// A storage error that names the key.
    pub async fn honours_conditions(&self, key: &str) -> Result<bool> {
        if !self.operator.info().capability().write_with_if_not_exists {
            return Ok(false);
        }
        let written = self.once.write_with(key, "x").if_not_exists(true).await;
        match written {
            Ok(_) => Ok(false),
            Err(e) if e.kind() == opendal::ErrorKind::ConditionNotMatch => Ok(true),
            Err(e) if e.kind() == opendal::ErrorKind::Unsupported => Ok(false),
            Err(e) => Err(storage_error(&format!("writing {key} on a condition"), e)),
        }
    }
}
