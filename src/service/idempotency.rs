//! Calls with a key: the same call again gets the answer of the first one. And the lock under
//! which a call with a condition on its resource runs.

use std::time::Duration;

use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::Service;
use crate::domain::{Code, Result};
use crate::store;
use crate::store::idempotency::KeyOf;
pub use crate::store::idempotency::StoredAnswer;

/// How long an answer is kept.
pub const KEEP: Duration = Duration::from_secs(24 * 3600);
/// How long a process that does not renew may hold a key.
const LEASE: Duration = Duration::from_secs(60);

/// What to do with a call that has a key.
#[derive(Debug)]
pub enum Begun {
    /// It is the first: run it, then [`KeyedCall::finish`] or [`KeyedCall::release`].
    Run(Box<KeyedCall>),
    /// It ran before, with this answer.
    Answered(StoredAnswer),
}

/// A call that holds its key.
#[derive(Debug, Clone)]
pub struct KeyedCall {
    service: Service,
    of: KeyOf,
    owner: Uuid,
}

/// Held while a call with a condition runs: no other one with the same condition does.
#[derive(Debug)]
pub struct ConditionLock(#[expect(dead_code, reason = "the lock ends with the transaction")] Transaction<'static, Postgres>);

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

impl Service {
    /// Begins a call with a key. The fingerprint is the SHA-256 of everything that makes the call.
    ///
    /// # Errors
    /// `idempotency_key_reused` when the key belongs to another call, `idempotency_key_in_use`
    /// when the same call is still running.
    pub async fn begin_keyed(&self, principal: &str, key: &str, fingerprint: &[u8]) -> Result<Begun> {
        let of = KeyOf {
            principal: principal.into(),
            key: key.into(),
        };
        let owner = Uuid::new_v4();
        let mut conn = self.conn().await?;
        if store::idempotency::begin(&mut conn, &of, fingerprint, owner, seconds(LEASE), seconds(KEEP)).await? {
            return Ok(Begun::Run(Box::new(KeyedCall {
                service: self.clone(),
                of,
                owner,
            })));
        }
        match store::idempotency::find(&mut conn, &of).await? {
            Some(found) if found.fingerprint != fingerprint => {
                Err(Code::IdempotencyKeyReused
                    .error("this idempotency key was used for another call; a key is for one call only"))
            }
            Some(store::idempotency::Recorded {
                answer: Some(answer), ..
            }) => Ok(Begun::Answered(answer)),
            // running, or it ended without an effect a moment ago
            _ => Err(Code::IdempotencyKeyInUse.error("the same call is still running; try again for its answer")),
        }
    }

    /// Forgets the answers of calls that have been kept for long enough.
    pub(super) async fn expire_keys(&self, conn: &mut PgConnection) -> Result<()> {
        store::idempotency::expire(conn, seconds(KEEP)).await
    }

    /// Waits for the lock of a condition. Calls whose conditions differ don't wait for each other.
    ///
    /// # Errors
    /// Database errors, and when it takes longer than a minute.
    pub async fn lock_condition(&self, condition: &str) -> Result<ConditionLock> {
        let mut tx = self.begin().await?;
        store::idempotency::lock_text(&mut tx, condition).await?;
        Ok(ConditionLock(tx))
    }
}

impl KeyedCall {
    /// Renews the lease until it is lost or the future is dropped.
    pub async fn keep(&self) {
        loop {
            tokio::time::sleep(LEASE / 4).await;
            let renewed = async {
                let mut conn = self.service.conn().await?;
                store::idempotency::renew(&mut conn, &self.of, self.owner, seconds(LEASE)).await
            };
            match renewed.await {
                Ok(true) => {}
                Ok(false) => std::future::pending().await,
                Err(error) => tracing::warn!(error = %error, cause = error.cause_chain(), "could not renew an idempotency key"),
            }
        }
    }

    /// Records the answer. When that fails the answer is good all the same, but the call runs
    /// again when it comes again after the lease.
    pub async fn finish(&self, answer: &StoredAnswer) {
        let recorded = async {
            let mut conn = self.service.conn().await?;
            store::idempotency::finish(&mut conn, &self.of, self.owner, answer).await
        };
        self.note(recorded.await);
    }

    /// Frees the key: the call had no effect.
    pub async fn release(&self) {
        let released = async {
            let mut conn = self.service.conn().await?;
            store::idempotency::release(&mut conn, &self.of, self.owner).await
        };
        self.note(released.await);
    }

    fn note(&self, outcome: Result<()>) {
        if let Err(error) = outcome {
            tracing::warn!(error = %error, cause = error.cause_chain(), "could not record the end of a call with an idempotency key");
        }
    }
}
