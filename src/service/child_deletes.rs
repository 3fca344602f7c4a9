//! Deletes that a segment of a Milvus snapshot has from its compaction's children.
//!
//! A snapshot may capture a segment that has been compacted since. Deletes that came after that are held by the
//! child, and Milvus names them in the parent's manifest where they lie (facts §6.1): in the child's directory of
//! the same partition. They are still the child's files, so only what never deletes them may name them: adopted
//! snapshots, whose collections are external, and restores from bundles. Copies lie in the segment's own directory.

use std::collections::HashMap;

use crate::domain::id::SegmentId;
use crate::domain::key::DataPath;
use crate::domain::segment::Segment;

/// Whether the file is a delete log that another segment holds.
pub(super) fn is_of_child(path: &DataPath<'_>, of: SegmentId) -> bool {
    path.is_delete_log() && path.segment.is_some_and(|owner| owner != of)
}

/// Refuses delete logs of a segment that would have one name in a copy.
///
/// # Errors
/// One sentence that names both.
pub(super) fn refuse_one_name(segment: &Segment) -> Result<(), String> {
    let mut names: HashMap<&str, &str> = HashMap::new();
    for (file, _) in segment.content.files.files() {
        let path = DataPath::parse_below(&file.path)?;
        if !path.is_delete_log() {
            continue;
        }
        if let Some(other) = names.insert(path.name(), &file.path) {
            return Err(format!(
                "has the delete logs {other:?} and {:?}, which a copy would call the same",
                file.path
            ));
        }
    }
    Ok(())
}
