//! Aliases, as far as Milvus' words for them need more than the service's answer.

use super::Facade;
use crate::domain::Code;
use crate::milvus::status::{Refusal, code};

impl Facade {
    /// Creates an alias; that it stands for this collection already is success, as in Milvus.
    ///
    /// # Errors
    /// In Milvus' words; no gRPC or HTTP failure.
    pub async fn create_alias(&self, db_name: &str, alias: &str, collection_name: &str) -> Result<(), Refusal> {
        let error = match self.service.set_alias(db_name, alias, collection_name, false).await {
            Ok(_) => return Ok(()),
            Err(error) if error.code() == Code::AliasAlreadyExists => error,
            Err(error) => return Err(error.into()),
        };
        let of = format!("[database={db_name}][alias={alias}]");
        let held = match self.service.alias(db_name, alias).await {
            Ok(held) => held,
            // a collection has the name, or will have it when it is restored
            Err(why) if why.code() == Code::AliasNotFound => {
                let text = format!("alias and collection name conflict{of}: {}", error.detail());
                return Err(Refusal::from(error).say(code::ALIAS_NAME_TAKEN, text));
            }
            Err(why) => return Err(why.into()),
        };
        if self.service.collection(db_name, collection_name).await?.collection_id == held.collection_id {
            return Ok(());
        }
        let text = format!(
            "{alias} is alias to another collection: {}: alias already exist{of}",
            held.collection_name
        );
        Err(Refusal::from(error).say(code::ALIAS_ALREADY_EXISTS, text))
    }
}
