//! Delivers what the outbox holds to webhooks: signed, with a time limit, never to an address of
//! the inside unless that is allowed, and without following redirects.

use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::domain::webhook::ClaimedDelivery;
use crate::service::{Service, Tried};

/// Pause between two looks at the outbox that found nothing.
const POLL: Duration = Duration::from_secs(1);
/// Deliveries claimed at a time.
const BATCH: i64 = 32;
/// Time of one try, and of its connecting.
const TIMEOUT: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// Delivers to webhooks. Any number of replicas may.
#[derive(Debug, Clone)]
pub struct Deliverer {
    service: Service,
    client: reqwest::Client,
}

/// Resolves names, and refuses those that lead inside. The connection goes to the address that
/// was looked at, so that a name can't change its mind in between.
struct Guarded(Service);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let service = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if found.iter().all(|a| service.may_deliver_to(a.ip())) {
                Ok(Box::new(found.into_iter()) as Addrs)
            } else {
                Err(INSIDE.into())
            }
        })
    }
}

const INSIDE: &str = "the URL leads to a loopback, private or link-local address; --webhook-private-addresses allows those";

impl Deliverer {
    /// # Errors
    /// When the HTTP client can't be made.
    pub fn new(service: Service) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("stillframe/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            // a proxy would connect to addresses that were never looked at
            .no_proxy()
            .dns_resolver(Arc::new(Guarded(service.clone())))
            .timeout(TIMEOUT.0)
            .connect_timeout(TIMEOUT.1)
            .build()?;
        Ok(Self { service, client })
    }

    /// Delivers what is due, until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let tried = match self.deliver_due().await {
                Ok(tried) => tried,
                Err(error) => {
                    tracing::warn!(error = %error, cause = error.cause_chain(), "can't read what webhooks are to be told, trying again");
                    0
                }
            };
            if tried == 0 {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(POLL) => {}
                }
            }
        }
    }

    /// Tries a batch of what is due once; gives their number.
    ///
    /// # Errors
    /// Database errors when claiming.
    pub async fn deliver_due(&self) -> crate::domain::Result<usize> {
        let claimed = self.service.claim_deliveries(BATCH).await?;
        let tried = claimed.len();
        stream::iter(claimed)
            .for_each_concurrent(None, |claimed| async move {
                let span = tracing::info_span!("webhook", webhook.id = %claimed.webhook_id, delivery.id = %claimed.delivery_id, attempt = claimed.attempt);
                async {
                    let tried = self.send(&claimed).await;
                    if let Err(error) = self.service.delivery_tried(&claimed, tried).await {
                        tracing::warn!(error = %error, cause = error.cause_chain(), "what became of a delivery could not be recorded, it is made again");
                    }
                }
                .instrument(span)
                .await;
            })
            .await;
        Ok(tried)
    }

    async fn send(&self, claimed: &ClaimedDelivery) -> Tried {
        let signature = match self.service.sign_delivery(claimed) {
            Ok(signature) => signature,
            Err(error) => return Tried::Failed(error.to_string()),
        };
        if let Some(why) = self.leads_inside(&claimed.url) {
            return Tried::Failed(why);
        }
        let mut trace = reqwest::header::HeaderMap::new();
        crate::telemetry::inject(&mut trace);
        let request = self
            .client
            .post(&claimed.url)
            .headers(trace)
            .header("content-type", "application/json")
            .header("webhook-id", claimed.delivery_id.to_string())
            .header("webhook-timestamp", claimed.now_seconds)
            .header("webhook-signature", signature)
            .body(claimed.body.clone());
        match request.send().await {
            // its body is of no use here, and is not read
            Ok(response) => Tried::Answered(response.status().as_u16()),
            Err(error) => Tried::Failed(explained(error)),
        }
    }

    /// An address that stands in the URL itself is asked of no resolver.
    fn leads_inside(&self, text: &str) -> Option<String> {
        let url = match url::Url::parse(text) {
            Ok(url) => url,
            Err(error) => return Some(format!("the URL can't be read: {error}")),
        };
        let address = match url.host() {
            Some(url::Host::Ipv4(v4)) => IpAddr::V4(v4),
            Some(url::Host::Ipv6(v6)) => IpAddr::V6(v6),
            _ => return None,
        };
        (!self.service.may_deliver_to(address)).then(|| INSIDE.to_string())
    }
}

/// Why a request came to no answer, without its URL.
fn explained(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
