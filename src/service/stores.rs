//! Which stores exports and restores of bundles may use.
//!
//! The service's own storage and the stores of the configuration are used with their own credentials,
//! and only below their own prefixes. Any other bucket needs credentials in the request, and a server
//! that the configuration knows: a request can't make the service talk to other hosts, nor lend it the
//! service's own rights, nor read a directory of its machine.

use std::collections::{BTreeMap, BTreeSet};

use super::external_spec::ExternalSpec;
use super::sealed::Sealer;
use super::store_uri::{Host, Server, Uri, endpoint};
use crate::domain::bundle::Place;
use crate::domain::id::JobId;
use crate::domain::{Code, Error, Result, key};
use crate::objects::{Credentials, Objects, StorageUrl};
use crate::store::bundles::Bundle;

/// Stores beside the service's own.
#[derive(Debug, Clone)]
pub struct Stores {
    named: BTreeMap<String, Objects>,
    /// Servers that requests with credentials of their own may use, as [`endpoint`] writes them.
    allowed_endpoints: BTreeSet<String>,
    sealer: Sealer,
}

impl Default for Stores {
    fn default() -> Self {
        Self {
            named: BTreeMap::new(),
            allowed_endpoints: BTreeSet::new(),
            sealer: Sealer::of_this_process(),
        }
    }
}

/// A place that a request named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub place: Place,
    /// Key in that store, without slashes at its ends; may be empty.
    pub key: String,
    /// Those of the request, where it brought some.
    pub credentials: Option<Credentials>,
}

impl Stores {
    /// The stores of a configuration, and what seals credentials.
    pub fn new(named: BTreeMap<String, Objects>, allowed_endpoints: &[String], sealer: Sealer) -> Self {
        Self {
            named,
            allowed_endpoints: allowed_endpoints.iter().map(|e| endpoint(Some(e))).collect(),
            sealer,
        }
    }

    /// The stores of the configuration.
    pub fn named(&self) -> impl Iterator<Item = &Objects> {
        self.named.values()
    }

    pub(super) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Finds the place that a request names: a path in the store that it names (or in our own), or
    /// the whole URI of a place in any store that may be used.
    ///
    /// # Errors
    /// `invalid_request` about `at`: the form is bad, or the place may not be used.
    pub(super) fn find(&self, own: &Objects, at: &str, text: &str, store: Option<&str>, spec: ExternalSpec) -> Result<Found> {
        let invalid = |why: &str| Error::invalid(at, why);
        if !text.contains("://") {
            if spec != ExternalSpec::default() {
                return Err(invalid("must be a whole URI where external_spec says how to reach it"));
            }
            let place = match store {
                None => Place::Own,
                Some(name) if self.named.contains_key(name) => Place::Named { store: name.into() },
                Some(_) => return Err(Error::invalid("/store", "is no store of the configuration")),
            };
            let key = text.trim_matches('/').to_string();
            return checked(at, place, key, None);
        }
        if store.is_some() {
            return Err(Error::invalid("/store", "is for paths; a whole URI names its store"));
        }
        let uri = Uri::parse(text, |host, bucket| self.is_server(own, host, bucket)).map_err(|why| invalid(&why))?;
        if let Some(credentials) = spec.credentials.clone() {
            return self.called(own, at, uri, spec, credentials);
        }
        // the longest prefix wins
        let ours = std::iter::once((Place::Own, own));
        let named = self
            .named
            .iter()
            .map(|(name, objects)| (Place::Named { store: name.clone() }, objects));
        let found = ours.chain(named).filter_map(|(place, objects)| {
            let (key, depth) = uri.below(objects.url(), spec.use_ssl)?;
            Some((depth, place, key))
        });
        let (_, place, key) = found
            .max_by_key(|(depth, place, _)| (*depth, *place == Place::Own))
            .ok_or_else(|| invalid("lies in no store of the configuration, and external_spec has no access key for it"))?;
        checked(at, place, key, None)
    }

    /// A bucket that the request has the credentials of.
    fn called(&self, own: &Objects, at: &str, uri: Uri, spec: ExternalSpec, credentials: Credentials) -> Result<Found> {
        let Uri::S3 { server, bucket, key } = uri else {
            return Err(Error::invalid("/external_spec", "is for S3 stores only"));
        };
        let server = match (server, own.url()) {
            (Some(Server::Origin(origin)), _) => Some(origin),
            // the first that is known; without one it is refused below, whatever its scheme
            (Some(Server::Host(host)), _) => {
                let known = self.endpoints(own).find_map(|known| host.origin_at(&known, spec.use_ssl));
                Some(known.unwrap_or_else(|| host.origin(spec.use_ssl.unwrap_or(true))))
            }
            // as Milvus has it: the server is the same unless it is named
            (None, StorageUrl::S3 { endpoint, .. }) => endpoint.clone(),
            (None, _) => None,
        };
        if let (Some(ssl), Some(server)) = (spec.use_ssl, &server)
            && ssl != server.starts_with("https://")
        {
            return Err(Error::invalid(
                "/external_spec/extfs/use_ssl",
                "contradicts the scheme of the server",
            ));
        }
        let wanted = endpoint(server.as_deref());
        if !self.endpoints(own).any(|known| known == wanted) {
            return Err(Error::invalid(
                at,
                format!("the server {wanted} is not allowed (external_endpoints)"),
            ));
        }
        if server.is_none() && spec.region.is_none() {
            return Err(Error::invalid(
                "/external_spec/extfs/region",
                "is needed where no server is named",
            ));
        }
        let place = Place::Called {
            virtual_host_style: spec.virtual_host_style.unwrap_or(server.is_none()),
            bucket,
            endpoint: server,
            region: spec.region,
        };
        checked(at, place, key, Some(credentials))
    }

    /// The servers that are known, as [`endpoint`] writes them: of our own storage and the stores, then those
    /// that requests may use.
    fn endpoints<'a>(&'a self, own: &'a Objects) -> impl Iterator<Item = String> + 'a {
        let of_stores = std::iter::once(own).chain(self.named.values());
        of_stores
            .filter_map(|objects| match objects.url() {
                StorageUrl::S3 { endpoint: known, .. } => Some(endpoint(known.as_deref())),
                _ => None,
            })
            .chain(self.allowed_endpoints.iter().cloned())
    }

    /// Whether what stands for the bucket in `s3://bucket/key` is a known server, as Milvus writes it too; a
    /// known store's bucket of that name goes first.
    fn is_server(&self, own: &Objects, host: &Host, bucket: &str) -> bool {
        let mut stores = std::iter::once(own).chain(self.named.values());
        let is_bucket = host.0 == bucket
            && stores.any(|objects| matches!(objects.url(), StorageUrl::S3 { bucket: known, .. } if known == bucket));
        !is_bucket && self.endpoints(own).any(|known| host.is(&known, None))
    }

    /// Opens the store of a job's bundle.
    ///
    /// # Errors
    /// `credentials_lost`; `storage_unavailable` when the store is not in the configuration any more.
    pub(super) fn open(&self, own: &Objects, job: JobId, bundle: &Bundle) -> Result<Objects> {
        match &bundle.place {
            Place::Called { .. } => {
                let sealed = bundle.sealed.as_deref().unwrap_or_default();
                self.reach(own, &bundle.place, Some(self.sealer.open(job, sealed)?))
            }
            place => self.reach(own, place, None),
        }
    }

    /// Opens a store.
    ///
    /// # Errors
    /// `storage_unavailable` when it is not in the configuration any more.
    pub(super) fn reach(&self, own: &Objects, place: &Place, credentials: Option<Credentials>) -> Result<Objects> {
        match place {
            Place::Own => Ok(own.clone()),
            Place::Named { store } => self.named.get(store).cloned().ok_or_else(|| {
                Code::StorageUnavailable.error(format!("the store {store:?} is not in the configuration of this process"))
            }),
            Place::Called {
                bucket,
                endpoint,
                region,
                virtual_host_style,
            } => own.beside(
                StorageUrl::S3 {
                    bucket: bucket.clone(),
                    prefix: String::new(),
                    endpoint: endpoint.clone(),
                    region: region.clone().or_else(|| Some("us-east-1".into())),
                    virtual_host_style: *virtual_host_style,
                },
                credentials,
                true,
            ),
        }
    }
}

/// A key below a directory; without one at the root.
pub(super) fn below(directory: &str, key: &str) -> String {
    if directory.is_empty() {
        key.to_string()
    } else {
        format!("{directory}/{key}")
    }
}

/// A place's key must be one; where it may lie in our own storage is for the caller.
fn checked(at: &str, place: Place, key: String, credentials: Option<Credentials>) -> Result<Found> {
    if !key.is_empty() {
        key::check(&key).map_err(|why| Error::invalid(at, why))?;
    }
    Ok(Found { place, key, credentials })
}

#[cfg(test)]
mod tests {
    use super::super::store_uri::AWS;
    use super::*;
    use crate::objects::StorageOptions;

    fn open(text: &str) -> Objects {
        let url = StorageUrl::parse(text).expect("a URL");
        Objects::open(url, StorageOptions::default()).expect("opens")
    }

    fn stores() -> (Objects, Stores) {
        let own = open("s3://bucket/data?endpoint=http://127.0.0.1:9000&region=us-east-1");
        let named = BTreeMap::from([
            (
                "backups".to_string(),
                open("s3://bucket/backups?endpoint=http://127.0.0.1:9000&region=us-east-1"),
            ),
            (
                "local".to_string(),
                open(&format!("file://{}/stillframe-stores", std::env::temp_dir().display())),
            ),
        ]);
        let allowed = ["https://Other.Example.com:443/".to_string()];
        (own, Stores::new(named, &allowed, Sealer::of_this_process()))
    }

    fn with_key(region: Option<&str>) -> ExternalSpec {
        ExternalSpec {
            credentials: Some(Credentials {
                access_key_id: "i".into(),
                secret_access_key: "v".into(),
            }),
            region: region.map(str::to_string),
            ..ExternalSpec::default()
        }
    }

    #[test]
    fn a_place_is_found_in_the_store_that_has_it() {
        let (own, stores) = stores();
        let named = |store: &str| Place::Named { store: store.into() };
        let local = format!("file://{}/stillframe-stores/a/b", std::env::temp_dir().display());
        for (text, store, place, key) in [
            ("a/b", None, Place::Own, "a/b"),
            ("/a/b/", Some("backups"), named("backups"), "a/b"),
            ("s3://bucket/data/a", None, Place::Own, "a"),
            ("s3://bucket/backups", None, named("backups"), ""),
            ("s3://bucket/backups/a/b/", None, named("backups"), "a/b"),
            ("http://127.0.0.1:9000/bucket/backups/a", None, named("backups"), "a"),
            ("minio://127.0.0.1:9000/bucket/backups/a", None, named("backups"), "a"),
            ("s3://127.0.0.1:9000/bucket/data/a", None, Place::Own, "a"),
            (local.as_str(), None, named("local"), "a/b"),
        ] {
            let found = stores.find(&own, "/x", text, store, ExternalSpec::default()).expect(text);
            assert_eq!((found.place, found.key.as_str()), (place, key), "{text}");
        }
    }

    #[test]
    fn aws_is_one_server_by_all_its_names() {
        for name in [
            None,
            Some("https://s3.amazonaws.com"),
            Some("https://s3.eu-central-1.amazonaws.com"),
        ] {
            assert_eq!(endpoint(name), AWS);
        }
        for other in [
            "http://s3.eu-central-1.amazonaws.com",
            "https://s3.a.b.amazonaws.com",
            "https://s3.x@evil.example/.amazonaws.com",
            "https://s3.eu-central-1.amazonaws.com.evil.example",
        ] {
            assert_ne!(endpoint(Some(other)), AWS, "{other}");
        }
    }

    #[test]
    fn a_host_without_a_scheme_is_a_known_server_and_else_a_bucket() {
        let own = open("s3://bucket/data?endpoint=http://minio&region=us-east-1");
        let named = BTreeMap::from([
            (
                "a".to_string(),
                open("s3://minio/backups?endpoint=https://minio&region=us-east-1"),
            ),
            ("b".to_string(), open("s3://of-aws/backups?region=eu-central-1")),
        ]);
        let stores = Stores::new(named, &[], Sealer::of_this_process());
        let a = Place::Named { store: "a".into() };
        let b = Place::Named { store: "b".into() };
        for (text, use_ssl, place) in [
            // a known bucket goes before a server of that name
            ("s3://minio/backups/x", None, a.clone()),
            ("minio://minio/minio/backups/x", None, a.clone()),
            ("minio://minio:443/minio/backups/x", Some(true), a.clone()),
            ("minio://minio:80/bucket/data/x", None, Place::Own),
            ("s3://minio:80/bucket/data/x", None, Place::Own),
            ("s3://s3.eu-central-1.amazonaws.com/of-aws/backups/x", None, b.clone()),
            ("s3://s3.amazonaws.com/of-aws/backups/x", None, b.clone()),
            ("https://s3.eu-central-1.amazonaws.com/of-aws/backups/x", None, b),
        ] {
            let spec = ExternalSpec {
                use_ssl,
                ..ExternalSpec::default()
            };
            let found = stores.find(&own, "/x", text, None, spec).expect(text);
            assert_eq!((found.place, found.key.as_str()), (place, "x"), "{text}");
        }
        let spec = ExternalSpec {
            use_ssl: Some(true),
            ..ExternalSpec::default()
        };
        assert!(stores.find(&own, "/x", "minio://minio/bucket/data/x", None, spec).is_err());
    }

    #[test]
    fn a_request_reaches_no_other_place() {
        let (own, stores) = stores();
        for text in [
            "s3://bucket/other/a",
            "s3://bucket/database",
            "s3://elsewhere/data/a",
            "http://127.0.0.1:9001/bucket/data/a",
            "https://127.0.0.1:9000/bucket/data/a",
            "minio://127.0.0.1:9001/bucket/data/a",
            "minio://127.0.0.1/bucket/data/a",
            "minio://127.0.0.1:9000/bucket/data/../other",
            "minio://user:planted@127.0.0.1:9000/bucket/data/a",
            "s3://127.0.0.1:9001/bucket/data/a",
            "s3://bucket:9000/data/a",
            "s3://127.0.0.1:9000/elsewhere/a",
            "file:///etc/passwd",
            "file:///etc",
            "s3://bucket/data/../other",
            "s3://bucket/data/%2e%2e/other",
            "s3://user:planted@bucket/data/a",
            "s3://bucket/data/a?x=planted",
            "s3://bucket/data/a#planted",
            "gs://bucket/data/a",
            "a/../b",
            "a//b",
        ] {
            let error = stores.find(&own, "/x", text, None, ExternalSpec::default());
            let error = error.expect_err(text);
            assert_eq!(error.code(), Code::InvalidRequest);
            assert!(!error.to_string().contains("planted"), "{error}");
        }
        assert!(
            stores
                .find(&own, "/x", "a", Some("unknown"), ExternalSpec::default())
                .is_err()
        );
    }

    #[test]
    fn credentials_of_a_request_go_to_allowed_servers_only() {
        let (own, stores) = stores();
        for (text, server) in [
            ("s3://elsewhere/a", Some("http://127.0.0.1:9000")),
            ("https://other.example.com/elsewhere/a", Some("https://other.example.com")),
            ("minio://Other.example.com/elsewhere/a", Some("https://other.example.com")),
            (
                "minio://other.example.com:443/elsewhere/a",
                Some("https://other.example.com:443"),
            ),
            ("s3://other.example.com/elsewhere/a", Some("https://other.example.com")),
            ("minio://127.0.0.1:9000/elsewhere/a", Some("http://127.0.0.1:9000")),
        ] {
            let found = stores.find(&own, "/x", text, None, with_key(None)).expect(text);
            assert!(
                matches!(found.place, Place::Called { endpoint, .. } if endpoint.as_deref() == server),
                "{text}"
            );
        }
        for text in [
            "http://169.254.169.254/latest/meta-data",
            "http://other.example.com/elsewhere/a",
            "https://other.example.com:8443/elsewhere/a",
            "https://other.example.com.evil.example/elsewhere/a",
            "minio://other.example.com:80/elsewhere/a",
            "minio://other.example.com.evil.example/elsewhere/a",
            "minio://169.254.169.254/latest/meta-data",
            "file:///etc/passwd",
            "https://other.example.com/../a",
        ] {
            assert!(stores.find(&own, "/x", text, None, with_key(None)).is_err(), "{text}");
        }
        // the scheme that use_ssl says must be the known server's
        let over_http = ExternalSpec {
            use_ssl: Some(false),
            ..with_key(None)
        };
        let text = "minio://other.example.com/elsewhere/a";
        assert!(stores.find(&own, "/x", text, None, over_http).is_err());
        let plain = open("memory:");
        let none = Stores::default();
        for region in [None, Some("us-east-1")] {
            assert!(none.find(&plain, "/x", "s3://elsewhere/a", None, with_key(region)).is_err());
        }
    }
}
