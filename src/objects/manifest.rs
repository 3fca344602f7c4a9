use crate::domain::Result;
pub fn encode(_m: &crate::domain::manifest::Manifest, _root: &str, _e: crate::domain::manifest::ManifestEncoding) -> Result<Vec<u8>> { Ok(vec![]) }
