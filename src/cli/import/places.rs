//! Where Milvus keeps its files, and how the service reaches them.

use serde::Deserialize;

use super::super::failure::Failure;
use super::messages::{FieldIndexStats, SegmentIndex, SegmentInfo};
use crate::objects::StorageUrl;

/// Milvus' root as seen from the service's storage root: empty, or ends in a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    below: String,
}

/// What `GET /v1/storage` answers.
#[derive(Debug, Deserialize)]
pub struct ServiceStorage {
    pub root: String,
    pub endpoint: Option<String>,
}

impl Place {
    /// Finds Milvus' root below the service's.
    ///
    /// # Errors
    /// When it does not lie there.
    pub fn find(milvus: Option<&str>, service: &ServiceStorage) -> Result<Self, Failure> {
        let Some(milvus) = milvus else {
            return Ok(Self { below: String::new() });
        };
        let url = StorageUrl::parse(milvus).map_err(|why| Failure::Usage(format!("--storage: {why}")))?;
        let root = format!("{}/", url.location("").trim_end_matches('/'));
        let shown = match &service.endpoint {
            Some(endpoint) => format!("{} at {endpoint}", service.root),
            None => service.root.clone(),
        };
        let apart = |why: &str| {
            Failure::Usage(format!(
                "Milvus' files lie in {root}, the service keeps its own in {shown}: {why}. Start the service on the bucket \
                 or directory that holds Milvus' (`stillframe serve --storage`), or a prefix of it that Milvus' lies below"
            ))
        };
        if let (
            StorageUrl::S3 {
                endpoint: Some(named), ..
            },
            known,
        ) = (&url, &service.endpoint)
            && known.as_deref() != Some(named.as_str())
        {
            return Err(apart(&format!("{named} is another server")));
        }
        match root.strip_prefix(&service.root) {
            Some(below) => Ok(Self {
                below: below.to_string(),
            }),
            None => Err(apart("the first is not in the second")),
        }
    }

    /// Whether a restore would write into Milvus' own directories.
    pub fn is_shared(&self) -> bool {
        self.below.is_empty()
    }

    /// The directories of a segment.
    pub fn segment<'a>(&'a self, info: &'a SegmentInfo) -> SegmentPlace<'a> {
        SegmentPlace {
            below: &self.below,
            info,
        }
    }
}

/// The directories of a segment and its index builds; each ends in a slash. Layouts: Milvus' own.
pub struct SegmentPlace<'a> {
    below: &'a str,
    info: &'a SegmentInfo,
}

impl SegmentPlace<'_> {
    fn ids(&self) -> String {
        format!("{}/{}/{}", self.info.collection_id, self.info.partition_id, self.info.id)
    }

    /// Log files of a field; delete logs belong to none.
    pub fn logs(&self, kind: &str, field_id: i64) -> String {
        let ids = self.ids();
        match kind {
            "delta_log" => format!("{}{kind}/{ids}/", self.below),
            _ => format!("{}{kind}/{ids}/{field_id}/", self.below),
        }
    }

    /// Files of a text index.
    pub fn text(&self, s: &FieldIndexStats) -> String {
        let (below, ids) = (self.below, self.ids());
        format!("{below}text_log/{}/{}/{ids}/{}/", s.build_id, s.version, s.field_id)
    }

    /// Files of a JSON key index.
    pub fn json(&self, s: &FieldIndexStats) -> String {
        let (below, ids) = (self.below, self.ids());
        let kind = match s.data_format {
            0 | 1 => "json_key_index_log".to_string(),
            format => format!("json_stats/{format}"),
        };
        format!("{below}{kind}/{}/{}/{ids}/{}/", s.build_id, s.version, s.field_id)
    }

    /// Files of an index build.
    pub fn build(&self, b: &SegmentIndex) -> String {
        let (below, ids) = (self.below, self.ids());
        let (build, version) = (b.build_id, b.index_version);
        match b.index_store_path_version {
            0 => format!(
                "{below}index_files/{build}/{version}/{}/{}/",
                self.info.partition_id, self.info.id
            ),
            _ => format!("{below}index_v1/{ids}/{build}/{version}/"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(root: &str, endpoint: Option<&str>) -> ServiceStorage {
        ServiceStorage {
            root: root.into(),
            endpoint: endpoint.map(String::from),
        }
    }

    #[test]
    fn milvus_root_is_found_below_the_services() {
        let here = Some("http://h:9000");
        for (milvus, service, below) in [
            (None, service("s3://b/", here), ""),
            (
                Some("s3://b/files?endpoint=http://h:9000"),
                service("s3://b/", here),
                "files/",
            ),
            (Some("s3://b/a/files"), service("s3://b/a/", here), "files/"),
            (Some("s3://b/files/"), service("s3://b/files/", None), ""),
            (Some("file:///var/milvus/data"), service("file:///var/milvus/", None), "data/"),
        ] {
            let place = Place::find(milvus, &service).unwrap_or_else(|e| panic!("{milvus:?} {e:?}"));
            assert_eq!(place.below, below, "{milvus:?}");
            assert_eq!(place.is_shared(), below.is_empty());
        }
    }

    #[test]
    fn another_bucket_server_or_directory_is_refused_with_both_names() {
        for milvus in [
            "s3://c/files?endpoint=http://h:9000",
            "s3://b/files?endpoint=http://h:9001",
            "s3://bb/files",
            "file:///b/files",
        ] {
            let refused = Place::find(Some(milvus), &service("s3://b/", Some("http://h:9000"))).expect_err(milvus);
            assert_eq!(refused.exit_code(), super::super::super::exit::USAGE);
            assert!(refused.text().contains("s3://b/ at http://h:9000"), "{}", refused.text());
        }
        assert!(Place::find(Some("s3://b/ab"), &service("s3://b/a/", None)).is_err());
    }
}
