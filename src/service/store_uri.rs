//! How a request names a place of a bundle: a URI, and the server in it.

use crate::objects::StorageUrl;

/// The server of AWS itself, where a store names none.
pub(super) const AWS: &str = "https://s3.amazonaws.com";

/// A server as it is compared: scheme, host, port.
pub(super) fn endpoint(text: Option<&str>) -> String {
    let text = text.unwrap_or(AWS);
    // AWS by the name of a region, as the metadata files of bundles have it
    let regional = text
        .strip_prefix("https://s3.")
        .and_then(|rest| rest.strip_suffix(".amazonaws.com"));
    if regional.is_some_and(|region| region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')) {
        return AWS.to_string();
    }
    match url::Url::parse(text) {
        Ok(url) => url.origin().ascii_serialization(),
        Err(_) => text.to_string(),
    }
}

/// A server's name, and its port where one is given; in small letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host(pub(super) String);

impl Host {
    fn of(url: &url::Url) -> Self {
        let name = url.host_str().unwrap_or_default().to_ascii_lowercase();
        Self(match url.port() {
            Some(port) => format!("{name}:{port}"),
            None => name,
        })
    }

    pub(super) fn origin(&self, ssl: bool) -> String {
        let scheme = if ssl { "https" } else { "http" };
        format!("{scheme}://{}", self.0)
    }

    /// Its origin, where that is a known server: by the scheme that `ssl` asks for, else by either.
    pub(super) fn origin_at(&self, known: &str, ssl: Option<bool>) -> Option<String> {
        let schemes = [false, true]
            .into_iter()
            .filter(|scheme| ssl.is_none_or(|ssl| ssl == *scheme));
        schemes
            .map(|scheme| self.origin(scheme))
            .find(|origin| endpoint(Some(origin)) == known)
    }

    pub(super) fn is(&self, known: &str, ssl: Option<bool>) -> bool {
        self.origin_at(known, ssl).is_some()
    }
}

/// The server that a URI names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Server {
    /// Scheme, host, port.
    Origin(String),
    /// Without a scheme: `minio://` and `s3://` don't say whether it speaks TLS.
    Host(Host),
}

impl Server {
    /// Whether it is a known server; `ssl` is what the request says of one without a scheme.
    fn is(&self, known: &str, ssl: Option<bool>) -> bool {
        match self {
            Server::Origin(origin) => endpoint(Some(origin)) == known,
            Server::Host(host) => host.is(known, ssl),
        }
    }
}

/// A whole URI of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Uri {
    /// `s3://bucket/key`; `http(s)://host:port/bucket/key`; `minio://host:port/bucket/key`, and the same with
    /// `s3`, as Milvus writes them.
    S3 {
        server: Option<Server>,
        bucket: String,
        key: String,
    },
    File {
        path: std::path::PathBuf,
    },
}

impl Uri {
    /// `is_server` says whether a host, which may be a bucket's name, is that of a known server.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn parse(text: &str, is_server: impl Fn(&Host, &str) -> bool) -> Result<Self, String> {
        // the error must not repeat what may be a password
        let url = url::Url::parse(text).map_err(|_| "is no URI".to_string())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not carry credentials".into());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must have no query and no fragment".into());
        }
        // what the parser makes of dots and escapes must not differ from what was written
        let path = text
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once('/'))
            .map_or("", |(_, path)| path);
        if path.split('/').any(|part| part == "." || part == "..") || path.contains('\\') {
            return Err("has a part that leads elsewhere".into());
        }
        // a key is taken as it is written
        if url.scheme() != "file" && path.contains('%') {
            return Err("must not be escaped".into());
        }
        let path = path.trim_matches('/');
        let at = |server| {
            let (name, key) = path.split_once('/').unwrap_or((path, ""));
            Ok(Uri::S3 {
                server: Some(server),
                bucket: bucket(name)?,
                key: key.to_string(),
            })
        };
        let host = Host::of(&url);
        let name = url.host_str().unwrap_or_default();
        match url.scheme() {
            "s3" if is_server(&host, name) => at(Server::Host(host)),
            "s3" if url.port().is_some() => Err("names a server that is none of a known store".into()),
            "s3" => Ok(Uri::S3 {
                server: None,
                bucket: bucket(name)?,
                key: path.to_string(),
            }),
            "minio" => at(Server::Host(host)),
            "http" | "https" => at(Server::Origin(url.origin().ascii_serialization())),
            "file" => Ok(Uri::File {
                path: url.to_file_path().map_err(|()| "names no absolute path".to_string())?,
            }),
            other => Err(format!(
                "has the scheme {other:?}; s3, minio, https, http and file are supported"
            )),
        }
    }

    /// The key of this place in a store, and how deep the store's own prefix is. `ssl` is what the request says
    /// of a server without a scheme.
    pub(super) fn below(&self, store: &StorageUrl, ssl: Option<bool>) -> Option<(String, usize)> {
        match (self, store) {
            (
                Uri::S3 { server, bucket, key },
                StorageUrl::S3 {
                    bucket: own,
                    prefix,
                    endpoint: known,
                    ..
                },
            ) if bucket == own => {
                if server
                    .as_ref()
                    .is_some_and(|server| !server.is(&endpoint(known.as_deref()), ssl))
                {
                    return None;
                }
                if prefix.is_empty() {
                    return Some((key.clone(), 0));
                }
                let rest = key.strip_prefix(prefix.as_str())?;
                let rest = if rest.is_empty() { rest } else { rest.strip_prefix('/')? };
                Some((rest.to_string(), prefix.len()))
            }
            (Uri::File { path }, StorageUrl::Local { path: root }) => {
                let key = path.strip_prefix(root).ok()?.to_str()?;
                Some((key.trim_matches('/').to_string(), root.as_os_str().len()))
            }
            _ => None,
        }
    }
}

/// It becomes part of a host name on some servers.
fn bucket(name: &str) -> Result<String, String> {
    let is_plain = (3..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        && !name.starts_with('.')
        && !name.contains("..");
    if is_plain {
        Ok(name.to_string())
    } else {
        Err("names no bucket".into())
    }
}
