//! API keys: `sf_` and 256 random bits. They are kept as plain SHA-256: what makes slow hashes
//! necessary for passwords, that people choose guessable ones, does not exist here, and a slow
//! one would cost every request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use sha2::{Digest as _, Sha256};

use super::super::paths::check_name;
use super::super::{Service, commit};
use super::Secret;
use crate::domain::access::{Grant, Principal, PrincipalKind};
use crate::domain::api_key::ApiKey;
use crate::domain::id::KeyId;
use crate::domain::page::{Page, PageRequest};
use crate::domain::{Code, Error, Result};
use crate::store::keys::NewKey;
use crate::store::{self, PgConnection};

/// What every key begins with, so that scanners of leaked secrets know it.
const PREFIX: &str = "sf_";
/// Characters of 32 bytes in base64.
const LENGTH: usize = 43;
/// How long a key is taken as good without a look at the catalog: a key that is deleted through
/// another replica is refused here after that time.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Keys remembered at most.
const MAX_REMEMBERED: usize = 10_000;
/// Grants of a key at most.
const MAX_GRANTS: usize = 100;
/// Ten years.
const MAX_TTL_SECONDS: i64 = 315_360_000;

/// SHA-256 of a key.
pub type Hash = [u8; 32];

/// The hash by which a key is kept.
pub fn hash(key: &str) -> Hash {
    Sha256::digest(key.as_bytes()).into()
}

/// Whether a credential looks like one of our keys.
pub fn has_form(credential: &str) -> bool {
    credential.strip_prefix(PREFIX).is_some_and(|rest| rest.len() == LENGTH)
}

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    pub name: String,
    pub grants: Vec<Grant>,
    /// None: never expires.
    pub ttl_seconds: Option<i64>,
}

/// A key that was made; the only place where it is seen.
#[derive(Debug)]
pub struct CreatedKey {
    pub secret: Secret,
    pub key: ApiKey,
}

struct Known {
    principal: Arc<Principal>,
    until: Instant,
}

/// Keys that were good a moment ago.
#[derive(Default)]
pub struct KeyCache(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    keys: HashMap<Hash, Known>,
    /// Deletions so far: what was looked up before one may be of the deleted key.
    deletions: u64,
}

impl std::fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyCache")
    }
}

impl KeyCache {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a key was good once, as far as that is remembered.
    pub fn has_seen(&self, hash: &Hash) -> bool {
        self.lock().keys.contains_key(hash)
    }

    /// The principal of a key that is remembered; else the moment from which on it is looked up.
    fn get(&self, hash: &Hash) -> std::result::Result<Arc<Principal>, u64> {
        let remembered = self.lock();
        let good = remembered.keys.get(hash).filter(|known| known.until > Instant::now());
        good.map(|known| known.principal.clone()).ok_or(remembered.deletions)
    }

    /// Remembers a key that was looked up from this moment on, unless a key has been deleted since.
    fn put(&self, hash: Hash, principal: Arc<Principal>, left: Duration, since: u64) {
        let mut remembered = self.lock();
        if remembered.deletions != since {
            return;
        }
        let now = Instant::now();
        if remembered.keys.len() >= MAX_REMEMBERED {
            remembered.keys.retain(|_, known| known.until > now);
        }
        if remembered.keys.len() < MAX_REMEMBERED {
            let until = now + left.min(REMEMBERED);
            remembered.keys.insert(hash, Known { principal, until });
        }
    }

    /// Forgets a key that has been deleted.
    fn forget(&self, key: KeyId) {
        let mut remembered = self.lock();
        remembered.deletions += 1;
        remembered.keys.retain(|_, known| known.principal.key_id != Some(key));
    }
}

fn not_found(id: KeyId) -> Error {
    Code::KeyNotFound.error(format!("there is no API key {id}"))
}

/// Makes a key.
///
/// # Errors
/// `invalid_request`, `key_already_exists`.
pub async fn insert_key(conn: &mut PgConnection, new: NewApiKey, created_by: &str) -> Result<CreatedKey> {
    check_name("/name", &new.name)?;
    if new.grants.is_empty() || new.grants.len() > MAX_GRANTS {
        return Err(Error::invalid("/grants", format!("a key has 1 to {MAX_GRANTS} grants")));
    }
    if new.ttl_seconds.is_some_and(|ttl| !(1..=MAX_TTL_SECONDS).contains(&ttl)) {
        return Err(Error::invalid(
            "/ttl_seconds",
            format!("must be from 1 to {MAX_TTL_SECONDS} (ten years); leave it out for a key that never expires"),
        ));
    }
    let mut bytes = [0; 32];
    OsRng.try_fill_bytes(&mut bytes).map_err(Error::internal)?;
    let secret = Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)));
    let key_id = KeyId(store::catalog::allocate_ids(conn, 1).await?);
    let key = store::keys::insert(
        conn,
        &NewKey {
            key_id,
            name: &new.name,
            sha256: &hash(secret.expose()),
            grants: &new.grants,
            created_by,
            ttl_seconds: new.ttl_seconds,
        },
    )
    .await?;
    Ok(CreatedKey { secret, key })
}

impl Service {
    /// The principal of a key by its hash; none when there is no such key, or it has expired.
    pub(super) async fn principal_of_key(&self, hash: Hash) -> Result<Option<Arc<Principal>>> {
        let since = match self.auth.keys.get(&hash) {
            Ok(known) => return Ok(Some(known)),
            Err(since) => since,
        };
        let mut conn = self.conn().await?;
        let Some(found) = store::keys::find_good(&mut conn, &hash).await? else {
            return Ok(None);
        };
        drop(conn);
        let principal = Arc::new(Principal {
            kind: PrincipalKind::Key,
            name: found.name,
            key_id: Some(found.key_id),
            grants: found.grants,
        });
        let left = found
            .left_ms
            .map_or(REMEMBERED, |ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
        self.auth.keys.put(hash, principal.clone(), left, since);
        if found.note_use {
            // the request need not wait for it
            let service = self.clone();
            tokio::spawn(async move {
                let noted = async { store::keys::note_use(&mut *service.conn().await?, found.key_id).await };
                if let Err(error) = noted.await {
                    tracing::warn!(key.id = %found.key_id, error = %error.cause_chain(), "could not note the use of an API key");
                }
            });
        }
        Ok(Some(principal))
    }

    /// Makes a key. It is seen in this answer only.
    ///
    /// # Errors
    /// `invalid_request`, `key_already_exists`.
    pub async fn create_key(&self, new: NewApiKey) -> Result<CreatedKey> {
        let mut tx = self.begin().await?;
        let created = insert_key(&mut tx, new, &self.caller.principal().label()).await?;
        commit(tx).await?;
        self.caller.note(format!("key {}", created.key.key_id));
        Ok(created)
    }

    /// Lists keys by id.
    pub async fn list_keys(&self, page: &PageRequest) -> Result<Page<ApiKey>> {
        let after: Option<i64> = page.cursor("keys")?;
        let items = store::keys::list(&mut *self.conn().await?, None, after, page.limit()).await?;
        Ok(page.page("keys", items, |k| k.key_id.0))
    }

    /// Finds a key.
    ///
    /// # Errors
    /// `key_not_found`.
    pub async fn key(&self, id: KeyId) -> Result<ApiKey> {
        let found = store::keys::list(&mut *self.conn().await?, Some(id), None, 1).await?;
        found.into_iter().next().ok_or_else(|| not_found(id))
    }

    /// Deletes a key: it is refused here at once, by other replicas after some seconds.
    ///
    /// # Errors
    /// `key_not_found`.
    pub async fn delete_key(&self, id: KeyId) -> Result<()> {
        self.caller.note(format!("key {id}"));
        let deleted = store::keys::delete(&mut *self.conn().await?, id).await?;
        self.auth.keys.forget(id);
        if deleted { Ok(()) } else { Err(not_found(id)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_deleted_while_it_is_looked_up_is_not_remembered() {
        let cache = KeyCache::default();
        let of = |id| {
            Arc::new(Principal {
                key_id: Some(KeyId(id)),
                ..Principal::unrestricted(PrincipalKind::Key)
            })
        };
        let (first, second) = (hash("first"), hash("second"));
        let since = cache.get(&first).expect_err("nothing is remembered");
        // another call deletes it between the look and its end
        cache.forget(KeyId(1));
        cache.put(first, of(1), REMEMBERED, since);
        let since = cache.get(&first).expect_err("it would be good for five more seconds");
        cache.put(second, of(2), REMEMBERED, since);
        assert!(cache.get(&second).is_ok());
        cache.forget(KeyId(2));
        assert!(cache.get(&second).is_err());
    }
}
