//! What Milvus' snapshot calls mean here, whatever they came over.

mod aliases;
mod exports;
mod pages;
mod pins;
mod restores;
mod snapshots;

use crate::limits::Limits;
use crate::milvus::MilvusSettings;
use crate::milvus::status::Refusal;
use crate::service::Service;

pub use exports::{ExportCall, ExportInfo, ExternalCall};
pub use pages::{every_page, every_page_as};
pub use restores::{RestoreCall, state_number};
pub use snapshots::SnapshotCall;

/// The service as Milvus' clients see it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Facade {
    pub service: Service,
    pub settings: MilvusSettings,
    /// What the process lends its clients.
    pub limits: Limits,
}

impl Facade {
    /// The real name of the collection that a name or an alias stands for now; a name that stands
    /// for nothing stays as it is (snapshots of a dropped collection are found by its old name).
    ///
    /// # Errors
    /// Database not found.
    pub async fn real_name(&self, db_name: &str, name: &str) -> Result<String, Refusal> {
        match self.service.collection(db_name, name).await {
            Ok(found) => Ok(found.name),
            Err(error) if error.code() == crate::domain::Code::CollectionNotFound => Ok(name.to_string()),
            Err(error) => Err(error.into()),
        }
    }
}
