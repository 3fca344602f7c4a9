//! Index definitions and index builds.

use serde::{Deserialize, Serialize};

use super::id::{BuildId, FieldId, IndexId, SegmentId};
use super::schema::Params;
use super::segment::File;

/// An index of a collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Index {
    pub index_id: IndexId,
    pub field_id: FieldId,
    pub index_name: String,
    pub type_params: Params,
    pub index_params: Params,
    pub user_index_params: Params,
    pub is_auto_index: bool,
}

/// What an index build is made of: everything that a manifest says about it but its ids.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BuildContent {
    pub field_id: i64,
    pub index_name: String,
    /// Key and value, in the order in which they came.
    pub index_params: Vec<(String, String)>,
    pub index_version: i64,
    pub num_rows: i64,
    pub current_index_version: i32,
    pub current_scalar_index_version: i32,
    pub index_store_path_version: i32,
    /// Bytes as the engine counts them; 0: the sum of the files.
    pub serialized_size: u64,
    pub mem_size: u64,
    pub files: Vec<File>,
}

impl BuildContent {
    pub fn size_bytes(&self) -> u64 {
        // what was registered unseen may be anything
        self.files.iter().fold(0, |sum, f| sum.saturating_add(f.size_bytes))
    }
}

/// The files of one index on one segment.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexBuild {
    pub build_id: BuildId,
    pub segment_id: SegmentId,
    pub index_id: IndexId,
    pub content: BuildContent,
}
