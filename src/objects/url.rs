//! The storage setting: `file:///path`, `s3://bucket/prefix?endpoint=...&region=...`, `memory:`.

use std::path::PathBuf;

/// Where objects are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageUrl {
    /// A directory of this machine.
    Local { path: PathBuf },
    /// A bucket, and a prefix in it without slashes at its ends (may be empty).
    S3 {
        bucket: String,
        prefix: String,
        endpoint: Option<String>,
        region: Option<String>,
        virtual_host_style: bool,
    },
    /// The memory of this process; for tests.
    Memory,
}

impl StorageUrl {
    /// Reads the setting. Unknown schemes and parameters are errors, never a silent default.
    ///
    /// # Errors
    /// One sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "memory:" {
            return Ok(StorageUrl::Memory);
        }
        let url = ::url::Url::parse(text)
            .map_err(|e| format!("storage {text:?} is no URL ({e}); expected file:///path or s3://bucket/prefix"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the storage URL must not carry credentials; they come from the usual AWS environment".into());
        }
        match url.scheme() {
            "file" => {
                if url.query().is_some() || url.fragment().is_some() {
                    return Err("a file: storage URL takes no parameters".into());
                }
                let path = url
                    .to_file_path()
                    .map_err(|()| format!("storage {text:?} names no absolute path; expected file:///path"))?;
                Ok(StorageUrl::Local { path })
            }
            "s3" => Self::s3(&url),
            other => Err(format!(
                "unknown storage scheme {other:?}; expected file:///path, s3://bucket/prefix or memory:"
            )),
        }
    }

    fn s3(url: &::url::Url) -> Result<Self, String> {
        let bucket = url
            .host_str()
            .filter(|b| !b.is_empty())
            .ok_or("the storage URL names no bucket; expected s3://bucket/prefix")?;
        if url.port().is_some() {
            return Err("the bucket of a storage URL has no port; give the server as ?endpoint=http://host:port".into());
        }
        let prefix = url.path().trim_matches('/').to_string();
        if !prefix.is_empty() {
            crate::domain::key::check(&prefix).map_err(|why| format!("the prefix {prefix:?} of the storage URL {why}"))?;
        }
        let (mut endpoint, mut region, mut virtual_host_style) = (None, None, None);
        for (key, value) in url.query_pairs() {
            match key.as_ref() {
                "endpoint" => {
                    let parsed = ::url::Url::parse(&value).map_err(|e| format!("the endpoint {value:?} is no URL ({e})"))?;
                    if !matches!(parsed.scheme(), "http" | "https") {
                        return Err(format!("the endpoint {value:?} must begin with http:// or https://"));
                    }
                    endpoint = Some(value.trim_end_matches('/').to_string());
                }
                "region" => region = Some(value.into_owned()),
                "virtual_host_style" => {
                    virtual_host_style = Some(
                        value
                            .parse()
                            .map_err(|_| format!("virtual_host_style must be true or false, not {value:?}"))?,
                    );
                }
                other => {
                    return Err(format!(
                        "unknown parameter {other:?} of the storage URL; known: endpoint, region, virtual_host_style"
                    ));
                }
            }
        }
        // AWS itself wants the bucket in the host name, servers of one's own mostly in the path
        let virtual_host_style = virtual_host_style.unwrap_or(endpoint.is_none());
        Ok(StorageUrl::S3 {
            bucket: bucket.to_string(),
            prefix,
            endpoint,
            region,
            virtual_host_style,
        })
    }

    /// The prefix of every key within its bucket; empty for a directory and for memory.
    pub fn root(&self) -> &str {
        match self {
            StorageUrl::S3 { prefix, .. } => prefix,
            StorageUrl::Local { .. } | StorageUrl::Memory => "",
        }
    }

    /// The whole URI of an object in the form of Milvus' own `s3_location` (facts §4.1), which names the
    /// server where it is not AWS; without parameters.
    pub fn whole_location(&self, key: &str) -> String {
        match self {
            StorageUrl::S3 {
                bucket,
                prefix,
                endpoint: Some(endpoint),
                ..
            } => {
                let slash = if prefix.is_empty() { "" } else { "/" };
                format!("{endpoint}/{bucket}/{prefix}{slash}{key}")
            }
            _ => self.location(key),
        }
    }

    /// The URI by which a file that Milvus is to read says where it lies: `https` with the server's name where that is
    /// AWS; `minio`, which says nothing of TLS, at any other server. Milvus writes the same since some builds of it refuse
    /// `http`.
    pub fn milvus_location(&self, key: &str) -> String {
        let StorageUrl::S3 {
            bucket,
            prefix,
            endpoint,
            region,
            ..
        } = self
        else {
            return self.location(key);
        };
        let slash = if prefix.is_empty() { "" } else { "/" };
        let server = match endpoint {
            None => {
                let region = region.as_ref().map(|region| format!(".{region}")).unwrap_or_default();
                format!("https://s3{region}.amazonaws.com")
            }
            Some(endpoint) if is_aws(endpoint) => endpoint.clone(),
            Some(endpoint) => match endpoint.split_once("://") {
                Some((_, server)) => format!("minio://{server}"),
                None => endpoint.clone(),
            },
        };
        format!("{server}/{bucket}/{prefix}{slash}{key}")
    }

    /// A [`location`](Self::location) in this storage as [`milvus_location`](Self::milvus_location) has it; another one as
    /// it is.
    pub fn told_to_milvus(&self, location: &str) -> String {
        let key = match self {
            StorageUrl::S3 { .. } => location.strip_prefix(&self.location("")),
            StorageUrl::Local { .. } | StorageUrl::Memory => None,
        };
        key.map_or_else(|| location.to_string(), |key| self.milvus_location(key))
    }

    /// The whole URI of an object, without parameters.
    pub fn location(&self, key: &str) -> String {
        match self {
            StorageUrl::S3 { bucket, prefix, .. } if prefix.is_empty() => format!("s3://{bucket}/{key}"),
            StorageUrl::S3 { bucket, prefix, .. } => format!("s3://{bucket}/{prefix}/{key}"),
            StorageUrl::Local { path } => match ::url::Url::from_file_path(path.join(key)) {
                Ok(url) => url.to_string(),
                Err(()) => format!("file://{}/{key}", path.display()),
            },
            StorageUrl::Memory => format!("memory:///{key}"),
        }
    }
}

/// Whether a server is AWS' by its name.
fn is_aws(endpoint: &str) -> bool {
    let host = ::url::Url::parse(endpoint)
        .ok()
        .and_then(|url| url.host_str().map(str::to_string));
    host.is_some_and(|host| host.ends_with(".amazonaws.com"))
}

impl std::fmt::Display for StorageUrl {
    /// Where it is, for logs; holds no secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StorageUrl::S3 {
                endpoint: Some(endpoint),
                ..
            } => write!(f, "{} at {endpoint}", self.location("")),
            _ => f.write_str(&self.location("")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_s3_url_is_read_with_its_parameters() {
        let url = StorageUrl::parse("s3://bucket/a/b/?endpoint=http://127.0.0.1:9000/&region=us-east-1").expect("valid");
        assert_eq!(url.root(), "a/b");
        assert_eq!(url.location("k"), "s3://bucket/a/b/k");
        assert!(matches!(
            url,
            StorageUrl::S3 {
                virtual_host_style: false,
                ..
            }
        ));
    }

    #[test]
    fn milvus_is_told_the_server_in_a_form_that_all_its_builds_read() {
        for (url, whole, milvus) in [
            (
                "s3://bucket/a?region=eu-central-1",
                "s3://bucket/a/k",
                "https://s3.eu-central-1.amazonaws.com/bucket/a/k",
            ),
            ("s3://bucket", "s3://bucket/k", "https://s3.amazonaws.com/bucket/k"),
            (
                "s3://bucket/a?endpoint=http://minio:9000",
                "http://minio:9000/bucket/a/k",
                "minio://minio:9000/bucket/a/k",
            ),
            (
                "s3://bucket?endpoint=https://s3.example.com",
                "https://s3.example.com/bucket/k",
                "minio://s3.example.com/bucket/k",
            ),
            (
                "s3://bucket?endpoint=https://s3.eu-central-1.amazonaws.com",
                "https://s3.eu-central-1.amazonaws.com/bucket/k",
                "https://s3.eu-central-1.amazonaws.com/bucket/k",
            ),
            (
                "s3://bucket?endpoint=https://s3.amazonaws.com.example.com",
                "https://s3.amazonaws.com.example.com/bucket/k",
                "minio://s3.amazonaws.com.example.com/bucket/k",
            ),
            ("file:///a", "file:///a/k", "file:///a/k"),
        ] {
            let url = StorageUrl::parse(url).expect("valid");
            assert_eq!(
                (url.whole_location("k").as_str(), url.milvus_location("k").as_str()),
                (whole, milvus)
            );
            assert_eq!(url.told_to_milvus(&url.location("k")), milvus);
            for elsewhere in ["", "s3://another/a/k", "file:///elsewhere/k"] {
                assert_eq!(url.told_to_milvus(elsewhere), elsewhere);
            }
        }
    }

    #[test]
    fn nothing_falls_back_to_something_else_silently() {
        for text in [
            "",
            "bucket",
            "/path",
            "gs://b",
            "s3://",
            "s3://b?endpont=http://x",
            "s3://b?endpoint=x",
            "s3://key:secret@b/p",
            "file://host/path",
            "file:///p?x=1",
            "s3://b/../c?virtual_host_style=maybe",
            "memory:x",
        ] {
            assert!(StorageUrl::parse(text).is_err(), "{text:?}");
        }
    }
}
