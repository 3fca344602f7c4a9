//! Pins as Milvus has them: no owner, no reason, and a pin is deleted by its id alone.

use super::{Facade, SnapshotCall};
use crate::domain::id::PinId;
use crate::milvus::status::{Refusal, code};

/// Seconds of a pin at most: thirty days.
const MAX_TTL_SECONDS: i64 = 2_592_000;
/// The owner of pins that came through Milvus' API.
const OWNER: &str = "milvus client";

impl Facade {
    /// Pins a snapshot for so many seconds, 0: until it is unpinned; gives the pin's id.
    ///
    /// # Errors
    /// In Milvus' words; no gRPC or HTTP failure.
    pub async fn pin_snapshot(&self, call: SnapshotCall<'_>, ttl_seconds: i64) -> Result<i64, Refusal> {
        let wanted = call.to_write("pin snapshot data")?;
        if ttl_seconds < 0 {
            return Err(Refusal::invalid("ttl_seconds must be non-negative"));
        }
        if ttl_seconds > MAX_TTL_SECONDS {
            return Err(Refusal::invalid(format!(
                "ttl_seconds exceeds maximum of {MAX_TTL_SECONDS} (30 days)"
            )));
        }
        let name = wanted.snapshot_name.clone();
        let Some(wanted) = self.for_write(wanted, "pin snapshot data").await? else {
            return Err(Refusal::new(
                code::PARAMETER_INVALID,
                format!("snapshot not found[snapshot={name}]"),
            ));
        };
        let ttl = (ttl_seconds > 0).then_some(ttl_seconds);
        let pinned = self.service.pin_snapshot(&wanted, OWNER, "PinSnapshotData", ttl).await;
        match pinned {
            Ok(pin) => Ok(pin.pin_id.0),
            Err(error) => Err(self.explained(error, &wanted, "pin snapshot data").await),
        }
    }

    /// Deletes a pin; one that is not there is success, as in Milvus.
    ///
    /// # Errors
    /// In Milvus' words; no gRPC or HTTP failure.
    pub async fn unpin_snapshot(&self, pin_id: i64) -> Result<(), Refusal> {
        if pin_id <= 0 {
            return Err(Refusal::missing("pin_id is required for unpin snapshot data"));
        }
        Ok(self.service.delete_pin(PinId(pin_id)).await?)
    }
}
