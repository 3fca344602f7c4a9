//! Credentials of a request, encrypted for the row of their job.
//!
//! AES-256-GCM with a random nonce, bound to the job's id. The key comes from the settings; without
//! one each process makes its own, which ends with it: what it sealed can't be opened any more then,
//! and the job says so.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::domain::id::JobId;
use crate::domain::{Code, Error, Result};
use crate::objects::Credentials;

/// Seals and opens credentials. Its key is never shown.
#[derive(Clone)]
pub struct Sealer {
    key: [u8; 32],
    from_settings: bool,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("from_settings", &self.from_settings)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct Secret {
    access_key_id: String,
    secret_access_key: String,
}

impl Sealer {
    /// With a key derived from a secret of the settings: the same in every process.
    pub fn new(secret: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"stillframe credentials of requests 1\0");
        hash.update(secret);
        Self {
            key: hash.finalize().into(),
            from_settings: true,
        }
    }

    /// With a key that nobody else has.
    pub fn of_this_process() -> Self {
        Self {
            key: rand::random(),
            from_settings: false,
        }
    }

    fn cipher(&self) -> Result<RandomizedNonceKey> {
        RandomizedNonceKey::new(&AES_256_GCM, &self.key).map_err(|_| Error::internal("the key can't be used"))
    }

    /// Encrypts credentials for a job: the nonce, then what is sealed.
    ///
    /// # Errors
    /// `internal`.
    pub fn seal(&self, job: JobId, credentials: &Credentials) -> Result<Vec<u8>> {
        let secret = Secret {
            access_key_id: credentials.access_key_id.clone(),
            secret_access_key: credentials.secret_access_key.clone(),
        };
        let mut bytes = serde_json::to_vec(&secret).map_err(Error::internal)?;
        let sealed = self
            .cipher()?
            .seal_in_place_append_tag(Aad::from(job.0.to_be_bytes()), &mut bytes);
        let nonce = sealed.map_err(|_| Error::internal("the credentials can't be sealed"))?;
        Ok([nonce.as_ref().as_slice(), &bytes].concat())
    }

    /// Decrypts the credentials of a job.
    ///
    /// # Errors
    /// `credentials_lost` when they were sealed with another key.
    pub fn open(&self, job: JobId, sealed: &[u8]) -> Result<Credentials> {
        let lost = || {
            Code::CredentialsLost.error(if self.from_settings {
                "the credentials of the request can't be read: they were sealed with another key than that of the setting secret_key_file; ask again"
            } else {
                "the credentials of the request went with the process that had them; ask again, or set secret_key_file, with which they outlive it"
            })
        };
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or_else(lost)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| lost())?;
        let mut bytes = sealed.to_vec();
        let opened = self
            .cipher()?
            .open_in_place(nonce, Aad::from(job.0.to_be_bytes()), &mut bytes)
            .map_err(|_| lost())?;
        // an error would tell what stands there
        let secret: Secret = serde_json::from_slice(opened).map_err(|_| lost())?;
        Ok(Credentials {
            access_key_id: secret.access_key_id,
            secret_access_key: secret.secret_access_key,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_opened_by_the_same_key_and_job_only() {
        let credentials = Credentials {
            access_key_id: "planted-id".into(),
            secret_access_key: "planted-secret".into(),
        };
        let (one, other) = (Sealer::new(b"a secret of the settings"), Sealer::of_this_process());
        let sealed = one.seal(JobId(7), &credentials).expect("sealed");
        assert!(!String::from_utf8_lossy(&sealed).contains("planted"));
        assert_ne!(
            sealed,
            one.seal(JobId(7), &credentials).expect("sealed"),
            "a nonce of its own"
        );
        let again = Sealer::new(b"a secret of the settings");
        assert!(again.open(JobId(7), &sealed).is_ok_and(|opened| opened == credentials));
        let mut bent = sealed.clone();
        *bent.last_mut().expect("bytes") ^= 1;
        for lost in [
            one.open(JobId(8), &sealed),
            other.open(JobId(7), &sealed),
            one.open(JobId(7), &bent),
            one.open(JobId(7), b"short"),
        ] {
            assert_eq!(lost.expect_err("refused").code(), Code::CredentialsLost);
        }
        assert!(!format!("{one:?}{credentials:?}").contains("planted-secret"));
    }
}
