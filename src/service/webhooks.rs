//! Webhooks: making, listing and deleting them; their deliveries, and how a try ended.

use std::net::IpAddr;
use std::time::Duration;

use uuid::Uuid;

use super::Service;
use crate::domain::address::is_public;
use crate::domain::id::WebhookId;
use crate::domain::page::{Page, PageRequest};
use crate::domain::webhook::{ClaimedDelivery, Delivery, DeliveryState, Event, MAX_FAILURES, Webhook, WebhookKey, pause_ms};
use crate::domain::{Code, Error, Result};
use crate::store;
use crate::store::deliveries::FailedTry;
use crate::telemetry::WEBHOOK_TRIES;

/// Webhooks at most: every state change looks at all of them.
const MAX_WEBHOOKS: i64 = 100;
/// Bytes of a URL at most, and of a description.
const MAX_TEXT: (usize, usize) = (2048, 1024);
/// Longer than a try can take.
const LEASE: Duration = Duration::from_secs(60);
/// Deliveries to one webhook at the same time, by one replica.
const EACH: i64 = 4;
/// Bytes of an error that are kept.
const MAX_ERROR: usize = 500;

/// What came of one try to deliver.
#[derive(Debug, Clone)]
pub enum Tried {
    /// The receiver answered with a status.
    Answered(u16),
    /// It did not; why, without secrets.
    Failed(String),
}

impl Service {
    /// Makes a webhook; gives it with its signing secret, which is shown only now.
    ///
    /// # Errors
    /// `webhooks_disabled` without a key, `invalid_request`, `too_many_webhooks`.
    pub async fn create_webhook(&self, url: &str, events: Vec<Event>, description: &str) -> Result<(Webhook, String)> {
        let key = self.webhook_key()?;
        self.check_webhook(url, &events, description)?;
        let (salt, key_check) = (rand::random::<[u8; 16]>().to_vec(), key.check());
        let secret = key.secret(&salt);
        let mut conn = self.conn().await?;
        let webhook_id = WebhookId(store::catalog::allocate_ids(&mut conn, 1).await?);
        let made = store::webhooks::insert(
            &mut conn,
            webhook_id,
            url,
            &events,
            description,
            (&salt, &key_check),
            MAX_WEBHOOKS,
        )
        .await?;
        let created_at = made.ok_or_else(|| Code::TooManyWebhooks.error(format!("there are {MAX_WEBHOOKS} webhooks already")))?;
        self.caller.note(format!("webhook {webhook_id}"));
        let webhook = Webhook {
            webhook_id,
            url: url.to_string(),
            events,
            description: description.to_string(),
            salt,
            key_check,
            created_at,
        };
        Ok((webhook, secret))
    }

    fn webhook_key(&self) -> Result<&WebhookKey> {
        self.settings.webhook_key.as_ref().ok_or_else(|| {
            Code::WebhooksDisabled.error("this service has no key for webhooks; set --webhook-key (STILLFRAME_WEBHOOK_KEY)")
        })
    }

    fn check_webhook(&self, url: &str, events: &[Event], description: &str) -> Result<()> {
        if description.len() > MAX_TEXT.1 {
            let why = format!("must have at most {} bytes", MAX_TEXT.1);
            return Err(Error::invalid("/description", why));
        }
        if events.is_empty() {
            return Err(Error::invalid("/events", "must name at least one event"));
        }
        if let Some((at, _)) = events.iter().enumerate().find(|(at, e)| events[..*at].contains(e)) {
            return Err(Error::invalid(format!("/events/{at}"), "is named twice"));
        }
        let wrong = |why: &str| Err(Error::invalid("/url", why));
        if url.len() > MAX_TEXT.0 {
            return wrong("must have at most 2048 bytes");
        }
        let Ok(parsed) = url::Url::parse(url) else {
            return wrong("is not a URL");
        };
        if !matches!(parsed.scheme(), "http" | "https") {
            return wrong("must begin with http:// or https://");
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return wrong("must not carry a user name or a password: it is shown to whoever lists webhooks");
        }
        // a name is looked at when it is resolved, at every delivery
        let address = match parsed.host() {
            Some(url::Host::Ipv4(v4)) => Some(IpAddr::V4(v4)),
            Some(url::Host::Ipv6(v6)) => Some(IpAddr::V6(v6)),
            Some(url::Host::Domain(_)) => None,
            None => return wrong("names no host"),
        };
        if address.is_some_and(|a| !self.may_deliver_to(a)) {
            return wrong("leads to a loopback, private or link-local address; --webhook-private-addresses allows those");
        }
        Ok(())
    }

    /// Whether deliveries may go to an address.
    pub fn may_deliver_to(&self, address: IpAddr) -> bool {
        self.settings.webhook_private_addresses || is_public(address)
    }

    /// Whether this service can sign what a webhook is told.
    pub fn can_sign(&self, webhook: &Webhook) -> bool {
        self.settings
            .webhook_key
            .as_ref()
            .is_some_and(|key| key.check() == webhook.key_check)
    }

    /// Lists webhooks by id.
    ///
    /// # Errors
    /// `invalid_page_token`.
    pub async fn list_webhooks(&self, page: &PageRequest) -> Result<Page<Webhook>> {
        let after: Option<i64> = page.cursor("webhooks")?;
        let items = store::webhooks::list(&mut *self.conn().await?, None, after, page.limit()).await?;
        Ok(page.page("webhooks", items, |w| w.webhook_id.0))
    }

    /// Finds a webhook.
    ///
    /// # Errors
    /// `webhook_not_found`.
    pub async fn webhook(&self, id: WebhookId) -> Result<Webhook> {
        let found = store::webhooks::list(&mut *self.conn().await?, Some(id), None, 1)
            .await?
            .pop();
        found.ok_or_else(|| no_webhook(id))
    }

    /// Deletes a webhook; what it was still to be told, it is not told.
    ///
    /// # Errors
    /// `webhook_not_found`.
    pub async fn delete_webhook(&self, id: WebhookId) -> Result<()> {
        self.caller.note(format!("webhook {id}"));
        if store::webhooks::delete(&mut *self.conn().await?, id).await? {
            Ok(())
        } else {
            Err(no_webhook(id))
        }
    }

    /// Lists deliveries of a webhook, newest first.
    ///
    /// # Errors
    /// `webhook_not_found`, `invalid_page_token`.
    pub async fn list_deliveries(
        &self,
        id: WebhookId,
        state: Option<DeliveryState>,
        page: &PageRequest,
    ) -> Result<Page<Delivery>> {
        self.webhook(id).await?;
        let list = format!("webhook-deliveries?{id}{state:?}");
        let before = page.cursor(&list)?;
        let items = store::deliveries::list(&mut *self.conn().await?, id, state, before, page.limit()).await?;
        Ok(page.page(&list, items, |d| (d.created_at, d.delivery_id)))
    }

    /// Has a delivery made again, under the same id.
    ///
    /// # Errors
    /// `webhook_not_found`, `webhook_delivery_not_found`.
    pub async fn replay_delivery(&self, id: WebhookId, delivery: Uuid) -> Result<Delivery> {
        self.caller.note(format!("webhook {id}"));
        self.caller.note(format!("delivery {delivery}"));
        self.webhook(id).await?;
        let replayed = store::deliveries::replay(&mut *self.conn().await?, id, delivery).await?;
        replayed.ok_or_else(|| {
            Code::WebhookDeliveryNotFound.error(format!("webhook {id} has no delivery {delivery}, or it ended too long ago"))
        })
    }

    /// Claims deliveries that are due and that this service can sign.
    ///
    /// # Errors
    /// Database errors.
    pub async fn claim_deliveries(&self, limit: i64) -> Result<Vec<ClaimedDelivery>> {
        let Some(key) = &self.settings.webhook_key else {
            return Ok(Vec::new());
        };
        let lease = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
        store::deliveries::claim(&mut *self.conn().await?, &key.check(), lease, EACH, limit).await
    }

    /// The signature of a claimed delivery.
    ///
    /// # Errors
    /// `webhooks_disabled`.
    pub fn sign_delivery(&self, claimed: &ClaimedDelivery) -> Result<String> {
        let key = self.webhook_key()?;
        Ok(key.sign(&claimed.salt, &claimed.delivery_id, claimed.now_seconds, &claimed.body))
    }

    /// Writes down how a try ended: 2xx is delivered, 410 is the receiver's wish to be left alone,
    /// all else is tried again later, for three days.
    ///
    /// # Errors
    /// Database errors; the delivery is then tried again when its lease is over.
    pub async fn delivery_tried(&self, claimed: &ClaimedDelivery, tried: Tried) -> Result<()> {
        let mut conn = self.conn().await?;
        let (status, error) = match tried {
            Tried::Answered(status @ 200..=299) => {
                metrics::counter!(WEBHOOK_TRIES, "outcome" => "delivered").increment(1);
                return store::deliveries::delivered(&mut conn, claimed, i32::from(status)).await;
            }
            Tried::Answered(status @ 300..=399) => (Some(status), "redirects are not followed".to_string()),
            Tried::Answered(status) => (Some(status), format!("the receiver answered {status}")),
            Tried::Failed(why) => (None, why.chars().take(MAX_ERROR).collect()),
        };
        let failures = claimed.failures + 1;
        let again = status != Some(410) && failures < MAX_FAILURES;
        let how = FailedTry {
            status: status.map(i32::from),
            error,
            pause_ms: again.then(|| pause_ms(failures, rand::random())),
        };
        let gave_up = store::deliveries::failed_try(&mut conn, claimed, &how).await?;
        let outcome = if gave_up { "gave_up" } else { "failed" };
        metrics::counter!(WEBHOOK_TRIES, "outcome" => outcome).increment(1);
        // the URL may carry a token of the receiver: it is not for the log
        tracing::warn!(webhook.id = %claimed.webhook_id, delivery.id = %claimed.delivery_id, gave_up, error = how.error, "a webhook was not reached");
        Ok(())
    }
}

fn no_webhook(id: WebhookId) -> Error {
    Code::WebhookNotFound.error(format!("webhook {id} does not exist"))
}
