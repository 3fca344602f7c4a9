//! Manifests of bundles. We put their data files under [`FILES`] of the bundle's root; in a bundle of
//! another writer they may lie under any directory of it, as its own root was called.

use super::manifest;
use crate::domain::Result;
use crate::domain::bundle::FILES;
use crate::domain::id::CollectionId;
use crate::domain::key::own_path;
use crate::domain::manifest::{Manifest, ManifestEncoding};
use crate::domain::segment::File;

fn files(manifest: &mut Manifest) -> impl Iterator<Item = &mut File> {
    let logs = manifest.segment.content.files.files_mut().map(|(file, _)| file);
    logs.chain(manifest.builds.iter_mut().flat_map(|b| &mut b.content.files))
}

/// Writes the manifest of a segment into a bundle. `root` is the whole key of the bundle's root in
/// its bucket, paths of the manifest are those of the data files in the storage; what another system
/// has before a layout's keyword is left out (see [`own_path`]).
///
/// # Errors
/// As [`manifest::encode`].
pub fn encode(mut manifest: Manifest, root: &str, encoding: ManifestEncoding) -> Result<Vec<u8>> {
    for file in files(&mut manifest) {
        file.path = format!("{FILES}{}", own_path(&file.path));
    }
    manifest::encode(&manifest, root, encoding)
}

/// Reads a manifest of a bundle. `written_root` is the bundle's root where it was written; paths are
/// relative to it.
///
/// # Errors
/// As [`manifest::decode`]: also when a file lies outside the bundle.
pub fn decode(bytes: &[u8], format_version: i32, written_root: &str, collection: CollectionId) -> Result<Manifest> {
    manifest::decode(bytes, format_version, written_root, collection)
}
