//! Where the catalog is read from: etcd, or a dump of it. Both are only read, at one revision.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};

use super::super::failure::Failure;
use super::etcd::Etcd;

/// What Milvus writes over a key that it has removed.
const TOMBSTONE: &[u8] = &[0xE2, 0x9B, 0xBC];

/// A key with its value, as etcd's gateway and `etcdctl get -w json` give them.
#[derive(Deserialize)]
pub struct KeyValue {
    #[serde(deserialize_with = "base64_bytes")]
    pub key: Vec<u8>,
    #[serde(default, deserialize_with = "base64_bytes")]
    pub value: Vec<u8>,
}

/// A page of keys, or a whole dump.
#[derive(Deserialize)]
pub struct Keys {
    pub header: Option<Header>,
    #[serde(default)]
    pub kvs: Vec<KeyValue>,
    #[serde(default)]
    pub more: bool,
}

#[derive(Deserialize)]
pub struct Header {
    #[serde(deserialize_with = "number")]
    pub revision: i64,
}

fn base64_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

/// The gateway writes 64-bit numbers as texts, `etcdctl` as numbers.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }
    match Either::deserialize(from)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

/// The keys of one revision below Milvus' root.
pub struct Source {
    from: From,
    /// `by-dev/meta`.
    root: String,
    pub revision: i64,
}

enum From {
    Etcd(Box<Etcd>),
    Dump(BTreeMap<Vec<u8>, Vec<u8>>),
}

impl Source {
    /// A running etcd, at its revision of this moment.
    ///
    /// # Errors
    /// When etcd does not answer, or holds no Milvus there.
    pub async fn etcd(etcd: Etcd, root: &str) -> Result<Self, Failure> {
        let root = root.trim_matches('/').to_string();
        let revision = etcd.revision(&root).await?;
        let source = Self {
            from: From::Etcd(Box::new(etcd)),
            root,
            revision,
        };
        if source.range("root-coord/").await?.is_empty() {
            return Err(Failure::Other(anyhow!(
                "etcd holds no Milvus catalog below {:?}; --etcd-root must be `etcd.rootPath`/`etcd.metaSubPath` of Milvus' configuration",
                source.root
            )));
        }
        Ok(source)
    }

    /// What `etcdctl get --prefix '' -w json` wrote.
    ///
    /// # Errors
    /// A file that is none, or holds no Milvus there.
    pub fn dump(path: &Path, root: &str) -> Result<Self, Failure> {
        let root = root.trim_matches('/').to_string();
        let name = path.display();
        let text = std::fs::read(path).with_context(|| format!("can't read {name}"))?;
        let keys: Keys = serde_json::from_slice(&text)
            .with_context(|| format!("{name} is no dump of etcd; expected what `etcdctl get --prefix '' -w json` writes"))?;
        let revision = keys.header.map_or(0, |h| h.revision);
        let kvs: BTreeMap<_, _> = keys.kvs.into_iter().map(|kv| (kv.key, kv.value)).collect();
        let begin = format!("{root}/root-coord/").into_bytes();
        if !kvs.keys().any(|key| key.starts_with(&begin)) {
            return Err(Failure::Other(anyhow!(
                "{name} holds no Milvus catalog below {root:?}{}",
                roots(&kvs)
            )));
        }
        Ok(Self {
            from: From::Dump(kvs),
            root,
            revision,
        })
    }

    /// Keys below a directory with their values, in the order of the keys, which are relative to it.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub async fn range(&self, directory: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let begin = format!("{}/{directory}", self.root).into_bytes();
        let found = match &self.from {
            From::Etcd(etcd) => etcd.range(&begin, self.revision).await?,
            From::Dump(kvs) => {
                let from = (Bound::Included(begin.clone()), Bound::Unbounded);
                let below = kvs.range(from).take_while(|(key, _)| key.starts_with(&begin));
                below.map(|(key, value)| (key.clone(), value.clone())).collect()
            }
        };
        let living = found.into_iter().filter(|(_, value)| value != TOMBSTONE);
        living
            .map(|(key, value)| match String::from_utf8(key[begin.len()..].to_vec()) {
                Ok(key) => Ok((key, value)),
                Err(_) => Err(Failure::Other(anyhow!("a key below {directory} is no text"))),
            })
            .collect()
    }

    /// The messages below a directory, by their keys relative to it.
    ///
    /// # Errors
    /// A value that is no such message; when etcd does not answer.
    pub async fn messages<M: prost::Message + Default>(&self, directory: &str) -> Result<Vec<(String, M)>, Failure> {
        let read = |(key, value): (String, Vec<u8>)| match M::decode(value.as_slice()) {
            Ok(message) => Ok((key, message)),
            Err(error) => Err(Failure::Other(anyhow!(
                "the value of {}/{directory}{key} can't be read: {error}",
                self.root
            ))),
        };
        self.range(directory).await?.into_iter().map(read).collect()
    }
}

/// Where a dump holds Milvus catalogs, as a hint.
fn roots(kvs: &BTreeMap<Vec<u8>, Vec<u8>>) -> String {
    let mut found: Vec<String> = Vec::new();
    for key in kvs.keys().filter_map(|key| std::str::from_utf8(key).ok()) {
        let root = key.split("/root-coord/").next().unwrap_or_default();
        if root.len() < key.len() && !root.ends_with("/snapshots") && found.iter().all(|f| f != root) {
            found.push(root.to_string());
        }
    }
    match found.is_empty() {
        true => String::new(),
        false => format!("; --etcd-root may be {}", found.join(" or ")),
    }
}
