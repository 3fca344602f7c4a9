//! The marker object `stillframe.json`: which catalog owns this storage root.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::keys::MARKER;
use super::storage::Objects;
use crate::domain::{Code, Error, Result};

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    catalog_id: Uuid,
}

const MAX_MARKER_BYTES: u64 = 4096;

/// Makes sure that the storage root belongs to this catalog; claims one that nobody owns, unless
/// the catalog is `in_use` and must have one already. Gives whether it was taken over from
/// another catalog.
///
/// # Errors
/// `storage_unavailable` naming the other catalog, unless `take_over`; storage errors.
pub async fn claim(objects: &Objects, catalog_id: Uuid, in_use: bool, take_over: bool) -> Result<bool> {
    let mut taken_over = false;
    if let Some(bytes) = objects.get(MARKER, MAX_MARKER_BYTES).await? {
        match serde_json::from_slice::<Marker>(&bytes) {
            Ok(marker) if marker.catalog_id == catalog_id => return Ok(false),
            found if !take_over => {
                let owner = found.map_or_else(
                    |_| "an unreadable marker".to_string(),
                    |m| format!("catalog {}", m.catalog_id),
                );
                return Err(Code::StorageUnavailable.error(format!(
                    "the storage {} belongs to {owner}, this is catalog {catalog_id}; use another prefix, or --take-over if the other catalog is gone",
                    objects.url()
                )));
            }
            _ => {
                tracing::warn!(%catalog_id, "taking over the storage from another catalog");
                taken_over = true;
            }
        }
    } else if in_use && !take_over {
        return Err(Code::StorageUnavailable.error(format!(
            "the catalog knows segments or snapshots, and the storage {} has no {MARKER}: is it the right one, and mounted? \
             --take-over goes on without what is missing",
            objects.url()
        )));
    }
    let bytes = serde_json::to_vec_pretty(&Marker { catalog_id }).map_err(Error::internal)?;
    objects.put(MARKER, bytes).await?;
    Ok(taken_over)
}

/// Whom a storage root belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Nobody,
    Catalog(Uuid),
    /// There is a marker that says nothing.
    Unreadable,
}

/// Looks at the marker, without claiming anything.
///
/// # Errors
/// Storage errors.
pub async fn owner(objects: &Objects) -> Result<Owner> {
    let marker = objects.get(MARKER, MAX_MARKER_BYTES).await?;
    Ok(match marker.map(|bytes| serde_json::from_slice::<Marker>(&bytes)) {
        None => Owner::Nobody,
        Some(Ok(marker)) => Owner::Catalog(marker.catalog_id),
        Some(Err(_)) => Owner::Unreadable,
    })
}

/// Makes sure that the storage root still is the one that this catalog owns: a disk that is not
/// mounted looks like an empty one.
///
/// # Errors
/// `storage_unavailable` when the marker is not there or names another catalog; storage errors.
pub async fn verify(objects: &Objects, catalog_id: Uuid) -> Result<()> {
    let marker = objects.get(MARKER, MAX_MARKER_BYTES).await?;
    let marker = marker.and_then(|bytes| serde_json::from_slice::<Marker>(&bytes).ok());
    match marker {
        Some(marker) if marker.catalog_id == catalog_id => Ok(()),
        Some(marker) => Err(Code::StorageUnavailable.error(format!(
            "{MARKER} at the storage root names another catalog, {}",
            marker.catalog_id
        ))),
        None => {
            Err(Code::StorageUnavailable.error(format!("the storage root has no {MARKER}: is it the right one, and mounted?")))
        }
    }
}
