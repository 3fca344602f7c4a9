//! API keys as they are kept: never the key itself.

use time::OffsetDateTime;

use super::access::Grant;
use super::id::KeyId;

/// An API key.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiKey {
    pub key_id: KeyId,
    /// Who uses it.
    pub name: String,
    pub grants: Vec<Grant>,
    /// Who made it.
    pub created_by: String,
    pub created_at: OffsetDateTime,
    pub expires_at: Option<OffsetDateTime>,
    /// Written once a minute at most.
    pub last_used_at: Option<OffsetDateTime>,
}
