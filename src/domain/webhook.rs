//! Webhooks: who is told of state changes, how a delivery is signed, and when it is tried again.
//!
//! Signatures follow the Standard Webhooks specification, so that its libraries verify them:
//! `webhook-signature: v1,<base64 of HMAC-SHA256 over "{webhook-id}.{webhook-timestamp}.{body}">`.
//! A secret is derived from the service's key and the webhook's salt; no table holds it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2_hmac::{Digest as _, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use super::id::WebhookId;

macro_rules! events {
    ($($variant:ident $name:literal $doc:literal),+ $(,)?) => {
        /// What a webhook may be told of.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Event { $(#[doc = $doc] $variant),+ }

        impl Event {
            pub const ALL: &[Event] = &[$(Event::$variant),+];

            /// Its name in the API and in deliveries. A contract: never renamed.
            pub fn as_str(self) -> &'static str {
                match self { $(Event::$variant => $name),+ }
            }
        }
    };
}

events! {
    SnapshotCreated "snapshot.created" "A snapshot was committed.",
    SnapshotDropped "snapshot.dropped" "A snapshot was dropped.",
    SnapshotUndeleted "snapshot.undeleted" "A dropped snapshot was taken back.",
    SnapshotVerifyFailed "snapshot.verify_failed" "A verification found something wrong.",
    RestoreJobEnded "restore_job.ended" "A restore job was completed, failed, or was cancelled.",
    ExportJobEnded "export_job.ended" "An export job was completed, failed, or was cancelled.",
}

impl Event {
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|e| e.as_str() == text)
    }
}

/// A receiver.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    pub webhook_id: WebhookId,
    pub url: String,
    pub events: Vec<Event>,
    pub description: String,
    pub salt: Vec<u8>,
    /// Of the key that its secret was derived from.
    pub key_check: Vec<u8>,
    pub created_at: OffsetDateTime,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    Pending,
    Delivered,
    GaveUp,
}

impl DeliveryState {
    pub const ALL: [DeliveryState; 3] = [DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::GaveUp];

    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Pending => "pending",
            DeliveryState::Delivered => "delivered",
            DeliveryState::GaveUp => "gave_up",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// What a webhook is told, or was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// The same at every try: receivers drop what they have seen.
    pub delivery_id: Uuid,
    pub webhook_id: WebhookId,
    pub event: String,
    /// The JSON that is posted.
    pub body: String,
    pub state: DeliveryState,
    /// Tries begun, replays included.
    pub attempt: i32,
    pub created_at: OffsetDateTime,
    /// When the next try may begin, of a pending one.
    pub due_at: OffsetDateTime,
    pub last_tried_at: Option<OffsetDateTime>,
    pub finished_at: Option<OffsetDateTime>,
    pub last_status: Option<i32>,
    pub last_error: String,
}

/// A delivery that a replica has under a lease.
#[derive(Debug, Clone)]
pub struct ClaimedDelivery {
    pub delivery_id: Uuid,
    pub webhook_id: WebhookId,
    pub url: String,
    pub salt: Vec<u8>,
    pub body: String,
    /// What is written about this try names it.
    pub attempt: i32,
    /// Tries that failed before.
    pub failures: i32,
    /// Now, in seconds since 1970, by the database.
    pub now_seconds: i64,
}

/// Tries after which a delivery is given up; three days come first, unless it is replayed.
pub const MAX_FAILURES: i32 = 30;

/// Milliseconds to wait after so many failures: 5 seconds, doubling to 4 hours, less up to a
/// fifth by chance (`random` in 0..1), so that receivers that come back are not overrun.
pub fn pause_ms(failures: i32, random: f64) -> i64 {
    const LONGEST: i64 = 4 * 3600 * 1000;
    let doublings = u32::try_from(failures - 1).unwrap_or(0).min(20);
    let pause = (5000_i64 << doublings).min(LONGEST);
    pause - (pause as f64 * 0.2 * random) as i64
}

/// The key of a service. Its content is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookKey([u8; 32]);

impl std::fmt::Debug for WebhookKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookKey(..)")
    }
}

impl WebhookKey {
    /// Reads the setting: any text of at least 32 characters.
    ///
    /// # Errors
    /// One sentence when it is too short to be a secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.chars().count() < 32 {
            return Err("the webhook key must have 32 characters or more; `openssl rand -base64 32` makes one".into());
        }
        Ok(Self(Sha256::digest(text).into()))
    }

    /// The signing secret of the webhook with this salt, in the form of the specification.
    pub fn secret(&self, salt: &[u8]) -> String {
        format!("whsec_{}", STANDARD.encode(self.derived(b"stillframe webhook secret", salt)))
    }

    /// Tells whether a secret was derived from this key; says nothing about either.
    pub fn check(&self) -> Vec<u8> {
        self.derived(b"stillframe webhook key check", b"")[..8].to_vec()
    }

    /// The signature of a delivery; `timestamp` in seconds since 1970.
    pub fn sign(&self, salt: &[u8], delivery_id: &Uuid, timestamp: i64, body: &str) -> String {
        let secret = self.derived(b"stillframe webhook secret", salt);
        let signed = format!("{delivery_id}.{timestamp}.{body}");
        format!("v1,{}", STANDARD.encode(mac(&secret, &[signed.as_bytes()])))
    }

    fn derived(&self, purpose: &[u8], salt: &[u8]) -> [u8; 32] {
        mac(&self.0, &[purpose, &[0], salt])
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_seconds_to_hours_and_never_shrink_by_more_than_a_fifth() {
        let pauses: Vec<i64> = (1..=20).map(|failures| pause_ms(failures, 0.0) / 1000).collect();
        assert_eq!(pauses[..4], [5, 10, 20, 40]);
        assert_eq!(pauses[19], 4 * 3600);
        assert_eq!(pause_ms(3, 1.0), 16_000);
        assert_eq!(pause_ms(i32::MAX, 0.0), 4 * 3600 * 1000);
    }

    #[test]
    fn a_key_must_be_a_secret_and_is_never_shown() {
        assert!(WebhookKey::parse("too short").is_err());
        let text = "0123456789abcdef0123456789abcdef";
        let key = WebhookKey::parse(text).expect("long enough");
        assert_eq!(format!("{key:?}"), "WebhookKey(..)");
        assert_eq!(WebhookKey::parse(&format!("{text}\n")).expect("a file's last line"), key);
        assert_ne!(key.secret(b"a"), key.secret(b"b"));
    }
}
