//! Settings about stores beside the service's own.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use super::ServeArgs;
use crate::objects::{Credentials, StorageUrl};
use crate::service::Sealer;

/// A secret must be hard to guess.
const SECRET_BYTES: usize = 32;

/// Validated settings about other stores.
#[derive(Debug, Clone)]
pub struct StoresConfig {
    /// By name, with credentials where the file has them.
    pub named: BTreeMap<String, (StorageUrl, Option<Credentials>)>,
    pub endpoints: Vec<String>,
    pub sealer: Sealer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StaticKey {
    access_key_id: String,
    secret_access_key: String,
}

impl StoresConfig {
    pub(super) fn new(args: &ServeArgs, own: &StorageUrl) -> anyhow::Result<Self> {
        let mut credentials = match &args.store_credentials_file {
            Some(path) => read_credentials(path)?,
            None => BTreeMap::new(),
        };
        let mut named = BTreeMap::new();
        for text in args.stores.iter().filter(|s| !s.is_empty()) {
            let (name, url) = text
                .split_once('=')
                .with_context(|| "--store takes NAME=URL, such as backups=s3://bucket/prefix")?;
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
            ensure!(is_name, "the store name {name:?} must have letters, digits, - and _ only");
            let url = StorageUrl::parse(url)
                .map_err(anyhow::Error::msg)
                .with_context(|| format!("--store {name}"))?;
            ensure!(url != StorageUrl::Memory, "--store {name}: memory: is no store to export to");
            ensure!(
                !overlap(&url, own),
                "--store {name} and --storage overlap: bundles could lie among the service's own files; paths of its own storage need no store"
            );
            let key = credentials.remove(name);
            ensure!(
                named.insert(name.to_string(), (url, key)).is_none(),
                "--store {name} is given twice"
            );
        }
        if let Some(name) = credentials.keys().next() {
            bail!("the store {name:?} of --store-credentials-file is no --store");
        }
        for endpoint in args.external_endpoints.iter().filter(|e| !e.is_empty()) {
            let parsed = url::Url::parse(endpoint).with_context(|| format!("--external-endpoint {endpoint:?} is no URL"))?;
            ensure!(
                matches!(parsed.scheme(), "http" | "https") && parsed.host_str().is_some() && parsed.path() == "/",
                "--external-endpoint {endpoint:?} must be http:// or https:// and a host"
            );
        }
        let sealer = match &args.secret_key_file {
            Some(path) => {
                let secret = std::fs::read(path).with_context(|| format!("--secret-key-file {}", path.display()))?;
                let secret = secret.trim_ascii();
                ensure!(
                    secret.len() >= SECRET_BYTES,
                    "--secret-key-file {} has {} bytes, at least {SECRET_BYTES} are needed (head -c 32 /dev/urandom | base64)",
                    path.display(),
                    secret.len()
                );
                Sealer::new(secret)
            }
            None => Sealer::of_this_process(),
        };
        Ok(Self {
            named,
            endpoints: args.external_endpoints.clone(),
            sealer,
        })
    }
}

fn read_credentials(path: &Path) -> anyhow::Result<BTreeMap<String, Credentials>> {
    let at = || format!("--store-credentials-file {}", path.display());
    let bytes = std::fs::read(path).with_context(at)?;
    // the parser's own error may quote a secret
    let keys: BTreeMap<String, StaticKey> = serde_json::from_slice(&bytes)
        .map_err(|e| {
            anyhow::anyhow!(
                "is not of the form {{\"NAME\": {{\"access_key_id\": \"...\", \"secret_access_key\": \"...\"}}}} (line {})",
                e.line()
            )
        })
        .with_context(at)?;
    let keys = keys.into_iter().map(|(name, key)| {
        let credentials = Credentials {
            access_key_id: key.access_key_id,
            secret_access_key: key.secret_access_key,
        };
        (name, credentials)
    });
    Ok(keys.collect())
}

/// Whether one store lies in the other.
fn overlap(a: &StorageUrl, b: &StorageUrl) -> bool {
    match (a, b) {
        (StorageUrl::Local { path: a }, StorageUrl::Local { path: b }) => a.starts_with(b) || b.starts_with(a),
        (
            StorageUrl::S3 {
                bucket,
                prefix,
                endpoint,
                ..
            },
            StorageUrl::S3 {
                bucket: other_bucket,
                prefix: other_prefix,
                endpoint: other_endpoint,
                ..
            },
        ) => {
            let within = |a: &str, b: &str| b.is_empty() || a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
            bucket == other_bucket && endpoint == other_endpoint && (within(prefix, other_prefix) || within(other_prefix, prefix))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_overlap_when_one_lies_in_the_other() {
        let url = |text: &str| StorageUrl::parse(text).expect("valid");
        for (a, b, wanted) in [
            ("s3://b/p", "s3://b/p", true),
            ("s3://b/p/q", "s3://b/p", true),
            ("s3://b", "s3://b/p", true),
            ("s3://b/pq", "s3://b/p", false),
            ("s3://b/p", "s3://c/p", false),
            ("s3://b/p?endpoint=http://x", "s3://b/p", false),
            ("file:///a/b", "file:///a", true),
            ("file:///ab", "file:///a", false),
            ("file:///a", "s3://b/a", false),
        ] {
            assert_eq!(
                (overlap(&url(a), &url(b)), overlap(&url(b), &url(a))),
                (wanted, wanted),
                "{a} {b}"
            );
        }
    }
}
