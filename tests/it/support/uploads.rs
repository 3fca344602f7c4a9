//! An S3 server that lists multipart uploads, as most real ones do and s3s-fs does not: by the files that s3s-fs keeps of
//! them.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s3s::dto::*;
use s3s::{S3, S3Request};

use super::etags::{Answer, hand_on};

/// Uploads of a page at most, whatever is asked for: so that several pages come.
const PAGE: usize = 2;

pub struct ListsUploads {
    inner: s3s_fs::FileSystem,
    root: PathBuf,
}

impl ListsUploads {
    pub fn new(root: &Path) -> Self {
        Self {
            inner: s3s_fs::FileSystem::new(root).expect("a directory"),
            root: root.to_path_buf(),
        }
    }

    /// Key, id and beginning of every upload of a bucket, in their order.
    fn uploads(&self, bucket: &str) -> Vec<(String, String, std::time::SystemTime)> {
        let before = format!(".bucket-{}.object-", URL_SAFE_NO_PAD.encode(bucket));
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.root).expect("a directory").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(rest) = name
                .strip_prefix(&before)
                .and_then(|rest| rest.strip_suffix(".metadata.json"))
            else {
                continue;
            };
            let Some((key, id)) = rest.split_once(".upload-") else {
                continue;
            };
            let key = String::from_utf8(URL_SAFE_NO_PAD.decode(key).expect("base64")).expect("UTF-8");
            let begun = entry.metadata().and_then(|m| m.modified()).expect("a time");
            if self.root.join(format!(".upload-{id}.json")).exists() {
                found.push((key, id.to_string(), begun));
            }
        }
        found.sort();
        found
    }
}

impl S3 for ListsUploads {
    hand_on! {
        put_object PutObjectInput PutObjectOutput,
        get_object GetObjectInput GetObjectOutput,
        head_object HeadObjectInput HeadObjectOutput,
        copy_object CopyObjectInput CopyObjectOutput,
        delete_object DeleteObjectInput DeleteObjectOutput,
        delete_objects DeleteObjectsInput DeleteObjectsOutput,
        list_objects_v2 ListObjectsV2Input ListObjectsV2Output,
        create_multipart_upload CreateMultipartUploadInput CreateMultipartUploadOutput,
        upload_part UploadPartInput UploadPartOutput,
        upload_part_copy UploadPartCopyInput UploadPartCopyOutput,
        list_parts ListPartsInput ListPartsOutput,
        complete_multipart_upload CompleteMultipartUploadInput CompleteMultipartUploadOutput,
        abort_multipart_upload AbortMultipartUploadInput AbortMultipartUploadOutput,
    }

    fn list_multipart_uploads<'life0, 'async_trait>(
        &'life0 self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> Answer<'async_trait, ListMultipartUploadsOutput>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let input = request.input;
        let after = (
            input.key_marker.unwrap_or_default(),
            input.upload_id_marker.unwrap_or_default(),
        );
        let prefix = input.prefix.unwrap_or_default();
        let mut found = self.uploads(&input.bucket);
        found.retain(|(key, id, _)| key.starts_with(&prefix) && (key, id) > (&after.0, &after.1));
        let is_truncated = found.len() > PAGE;
        found.truncate(PAGE);
        let last = found.last().cloned();
        let upload = |(key, id, begun): (String, String, std::time::SystemTime)| MultipartUpload {
            key: Some(key),
            upload_id: Some(id),
            initiated: Some(Timestamp::from(begun)),
            ..Default::default()
        };
        let output = ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            is_truncated: Some(is_truncated),
            next_key_marker: last.as_ref().filter(|_| is_truncated).map(|(key, ..)| key.clone()),
            next_upload_id_marker: last.filter(|_| is_truncated).map(|(_, id, _)| id),
            uploads: Some(found.into_iter().map(upload).collect()),
            ..Default::default()
        };
        Box::pin(async move { Ok(s3s::S3Response::new(output)) })
    }
}
