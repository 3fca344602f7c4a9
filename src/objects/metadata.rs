use crate::domain::Result;
pub fn encode(_m: &crate::domain::manifest::SnapshotMetadata, _root: &str) -> Vec<u8> { vec![] }
