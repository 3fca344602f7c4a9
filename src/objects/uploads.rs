//! Multipart uploads that were neither completed nor aborted: listing and aborting them.
//!
//! The library has no call for this. The requests are made here, and signed and sent by the parts that the library itself
//! uses, with the same credentials.

use std::time::Duration;

use http::{Method, Request, header};
use opendal::{Buffer, HttpTransporter};
use reqsign_aws_v4::{Credential, DefaultCredentialProvider, RequestSigner, StaticCredentialProvider};
use reqsign_core::{Context, OsEnv, ProvideCredentialChain, Signer};
use reqsign_file_read_tokio::TokioFileRead;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::observe::observed;
use super::storage::{Objects, StorageOptions};
use super::url::StorageUrl;
use crate::domain::restore::backoff_ms;
use crate::domain::{Code, Error, Result};

/// Tries of a request that fails in a way that may pass.
const TRIES: u32 = 4;
/// Bytes of an answer's body that an error shows.
const SHOWN: usize = 300;

/// A multipart upload that was begun and not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpload {
    /// Of the object that it would make, relative to the storage root.
    pub key: String,
    pub upload_id: String,
    /// By the store's time.
    pub initiated_at: Option<OffsetDateTime>,
}

/// Where a page of uploads ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadMarker {
    key: String,
    upload_id: String,
}

/// What a store says of its open uploads.
#[derive(Debug)]
pub enum Uploads {
    /// A page of them, and where the next begins.
    Page(Vec<OpenUpload>, Option<UploadMarker>),
    /// The storage has no multipart uploads.
    None,
    /// It does not list them: why.
    Unlisted(String),
}

/// What speaks to the store.
#[derive(Debug)]
pub(super) struct Multipart {
    /// The bucket's own URL, without a slash at its end.
    bucket: String,
    /// Before every key, with its slash; empty where the root is the bucket.
    prefix: String,
    signer: Signer<Credential>,
    timeout: Duration,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ListMultipartUploadsResult {
    is_truncated: bool,
    next_key_marker: String,
    next_upload_id_marker: String,
    upload: Vec<UploadElement>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct UploadElement {
    key: String,
    upload_id: String,
    initiated: String,
}

/// What a request came to that was answered.
struct Answer {
    /// Of HTTP.
    status: u16,
    body: Vec<u8>,
}

impl Multipart {
    /// For S3 storage; none for others.
    pub fn of(url: &StorageUrl, options: &StorageOptions) -> Option<Self> {
        let StorageUrl::S3 {
            bucket,
            prefix,
            endpoint,
            region,
            virtual_host_style,
        } = url
        else {
            return None;
        };
        // what is not given comes from where the library looks for it
        let variable = |names: &[&str]| names.iter().find_map(|name| std::env::var(name).ok());
        let region = region.clone().or_else(|| variable(&["AWS_REGION", "AWS_DEFAULT_REGION"]))?;
        let of_environment = || match options.credentials {
            Some(_) => None,
            None => variable(&["AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_S3_ENDPOINT"]),
        };
        let endpoint = match endpoint.clone().or_else(of_environment) {
            Some(endpoint) if endpoint.contains("://") => endpoint,
            Some(endpoint) => format!("https://{endpoint}"),
            None => format!("https://s3.{region}.amazonaws.com"),
        };
        let endpoint = endpoint.trim_end_matches('/').replace(&format!("//{bucket}."), "//");
        let bucket = match virtual_host_style {
            true => endpoint.replacen("//", &format!("//{bucket}."), 1),
            false => format!("{endpoint}/{bucket}"),
        };
        let provider = match &options.credentials {
            Some(key) => {
                ProvideCredentialChain::new().push(StaticCredentialProvider::new(&key.access_key_id, &key.secret_access_key))
            }
            None => ProvideCredentialChain::new().push(DefaultCredentialProvider::builder().build()),
        };
        let context = Context::new()
            .with_file_read(TokioFileRead)
            .with_http_send(HttpTransporter::default())
            .with_env(OsEnv);
        Some(Self {
            bucket,
            prefix: if prefix.is_empty() {
                String::new()
            } else {
                format!("{prefix}/")
            },
            signer: Signer::new(context, provider, RequestSigner::new("s3", &region)),
            timeout: options.timeout,
        })
    }

    /// One request, tried again while that may help.
    async fn call(&self, method: Method, uri: &str) -> Result<Answer> {
        let mut tries = 0;
        loop {
            tries += 1;
            let answered = match tokio::time::timeout(self.timeout, self.send(method.clone(), uri)).await {
                Ok(answered) => answered,
                Err(_) => Err(Code::StorageUnavailable.error("the object storage did not answer in time")),
            };
            let passes = match &answered {
                Ok(answer) => answer.status == 429 || answer.is_broken(),
                Err(_) => true,
            };
            if !passes || tries == TRIES {
                return answered;
            }
            let pause = backoff_ms(tries, 200, 5000, rand::random());
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn send(&self, method: Method, uri: &str) -> Result<Answer> {
        let failed = |what: &str| Code::StorageUnavailable.error(format!("multipart uploads: {what}"));
        let request = Request::builder().method(method).uri(uri).body(());
        let (mut head, ()) = request.map_err(Error::internal)?.into_parts();
        let signed = self.signer.sign(&mut head, None).await;
        signed.map_err(|e| failed("the request could not be signed").because(e))?;
        // the client sets it again, by the version of HTTP
        head.headers.remove(header::HOST);
        let answer = HttpTransporter::default()
            .send(Request::from_parts(head, Buffer::new()))
            .await;
        let answer = answer.map_err(|e| failed("the object storage was not reached").because(e))?;
        Ok(Answer {
            status: answer.status().as_u16(),
            body: answer.into_body().to_vec(),
        })
    }

    async fn list(&self, after: Option<&UploadMarker>) -> Result<Uploads> {
        let mut uri = format!(
            "{}?uploads&max-uploads=1000&prefix={}",
            self.bucket,
            encoded(&self.prefix, false)
        );
        if let Some(marker) = after {
            let (key, upload_id) = (encoded(&marker.key, false), encoded(&marker.upload_id, false));
            uri.push_str(&format!("&key-marker={key}&upload-id-marker={upload_id}"));
        }
        let answer = self.call(Method::GET, &uri).await?;
        if answer.is_broken() || answer.status == 429 {
            return Err(Code::StorageUnavailable.error(format!("listing multipart uploads: {}", answer.shown())));
        }
        if !answer.is_success() {
            return Ok(Uploads::Unlisted(answer.shown()));
        }
        let text = String::from_utf8_lossy(&answer.body);
        let Ok(listed) = quick_xml::de::from_str::<ListMultipartUploadsResult>(&text) else {
            return Ok(Uploads::Unlisted(format!("it answers in another form: {}", answer.shown())));
        };
        let next = UploadMarker {
            key: listed.next_key_marker,
            upload_id: listed.next_upload_id_marker,
        };
        let goes_on = listed.is_truncated && !next.key.is_empty() && after != Some(&next);
        let found = listed.upload.into_iter().filter_map(|upload| {
            Some(OpenUpload {
                key: upload.key.strip_prefix(&self.prefix)?.to_string(),
                upload_id: upload.upload_id,
                initiated_at: OffsetDateTime::parse(&upload.initiated, &Rfc3339).ok(),
            })
        });
        Ok(Uploads::Page(found.collect(), goes_on.then_some(next)))
    }

    async fn abort(&self, key: &str, upload_id: &str) -> Result<()> {
        let key = encoded(&format!("{}{key}", self.prefix), true);
        let uri = format!("{}/{key}?uploadId={}", self.bucket, encoded(upload_id, false));
        let answer = self.call(Method::DELETE, &uri).await?;
        match answer.status {
            200..=299 => Ok(()),
            // somebody else ended it
            404 => Ok(()),
            401 | 403 => Err(Code::StorageAccessDenied.error(answer.shown())),
            _ => Err(Code::StorageUnavailable.error(answer.shown())),
        }
    }
}

impl Answer {
    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Something is wrong on the store's side, but not that it has no such call (501).
    fn is_broken(&self) -> bool {
        self.status >= 500 && self.status != 501
    }

    fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let text: String = text.chars().take(SHOWN).collect();
        format!("{} {text}", self.status)
    }
}

impl Objects {
    /// Lists multipart uploads below the storage root that were neither completed nor aborted, a page of at most 1,000.
    ///
    /// # Errors
    /// `storage_unavailable`.
    pub async fn open_uploads(&self, after: Option<&UploadMarker>) -> Result<Uploads> {
        match &self.multipart {
            Some(multipart) => observed("list_uploads", multipart.list(after)).await,
            None => Ok(Uploads::None),
        }
    }

    /// Aborts a multipart upload; one that is not there is fine.
    ///
    /// # Errors
    /// A storage error.
    pub async fn abort_upload(&self, key: &str, upload_id: &str) -> Result<()> {
        match &self.multipart {
            Some(multipart) => observed("abort_upload", multipart.abort(key, upload_id)).await,
            None => Ok(()),
        }
    }
}

/// Percent-encoded as a signature wants it, with or without its slashes.
fn encoded(text: &str, slashes: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            b'/' if slashes => encoded.push('/'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_uploads_is_read_also_with_what_is_not_known_and_in_any_order() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
            <ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Bucket>b</Bucket><KeyMarker/>
              <IsTruncated>true</IsTruncated><NextKeyMarker>p/b</NextKeyMarker><NextUploadIdMarker>2</NextUploadIdMarker>
              <Upload><UploadId>1</UploadId><Key>p/a &amp; a</Key><Initiated>2024-01-01T00:00:00.000Z</Initiated>
                <Owner><ID>x</ID></Owner></Upload>
              <Upload><Key>p/b</Key><UploadId>2</UploadId></Upload></ListMultipartUploadsResult>"#;
        let listed: ListMultipartUploadsResult = quick_xml::de::from_str(text).expect("read");
        assert!(listed.is_truncated);
        assert_eq!((&*listed.next_key_marker, &*listed.next_upload_id_marker), ("p/b", "2"));
        let keys: Vec<&str> = listed.upload.iter().map(|u| u.key.as_str()).collect();
        assert_eq!(keys, ["p/a & a", "p/b"]);
        let empty = "<ListMultipartUploadsResult><Bucket>b</Bucket><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>";
        let listed: ListMultipartUploadsResult = quick_xml::de::from_str(empty).expect("read");
        assert!(!listed.is_truncated && listed.upload.is_empty());
    }

    #[test]
    fn keys_are_encoded_once() {
        assert_eq!(encoded("a b/ü+~", true), "a%20b/%C3%BC%2B~");
        assert_eq!(encoded("a/b", false), "a%2Fb");
    }
}
