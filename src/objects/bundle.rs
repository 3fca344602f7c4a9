//! Manifests of bundles: their data files lie under [`FILES`] of the bundle's root.

use super::manifest;
use super::stored::corrupt;
use crate::domain::Result;
use crate::domain::bundle::FILES;
use crate::domain::id::CollectionId;
use crate::domain::manifest::{Manifest, ManifestEncoding};
use crate::domain::segment::File;

fn files(manifest: &mut Manifest) -> impl Iterator<Item = &mut File> {
    let logs = manifest.segment.content.files.files_mut().map(|(file, _)| file);
    logs.chain(manifest.builds.iter_mut().flat_map(|b| &mut b.content.files))
}

/// Writes the manifest of a segment into a bundle. `root` is the whole key of the bundle's root in
/// its bucket, paths of the manifest are those of the data files.
///
/// # Errors
/// As [`manifest::encode`].
pub fn encode(mut manifest: Manifest, root: &str, encoding: ManifestEncoding) -> Result<Vec<u8>> {
    for file in files(&mut manifest) {
        file.path.insert_str(0, FILES);
    }
    manifest::encode(&manifest, root, encoding)
}

/// Reads a manifest of a bundle. `written_root` is the bundle's root where it was written.
///
/// # Errors
/// As [`manifest::decode`]; also when a file lies outside the bundle's files.
pub fn decode(bytes: &[u8], format_version: i32, written_root: &str, collection: CollectionId) -> Result<Manifest> {
    let mut manifest = manifest::decode(bytes, format_version, written_root, collection)?;
    for file in files(&mut manifest) {
        let path = file.path.strip_prefix(FILES);
        let path = path.ok_or_else(|| corrupt(format_args!("the file {:?} lies outside {FILES} of the bundle", file.path)))?;
        file.path = path.to_string();
    }
    Ok(manifest)
}
