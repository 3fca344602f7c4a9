//! `/v1/webhooks` and their deliveries.

use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::ApiState;
use super::extract::{Body, Name, Names, Query};
use super::guard::State;
use super::problem::ApiError;
use super::types::{Id, List, rfc3339};
use crate::domain::Error;
use crate::domain::id::WebhookId;
use crate::domain::page::PageRequest;
use crate::domain::webhook::{Delivery, DeliveryState, Event, Webhook};

/// What a webhook may be told of.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub enum WebhookEvent {
    /// A snapshot was committed.
    #[serde(rename = "snapshot.created")]
    SnapshotCreated,
    /// A snapshot was dropped.
    #[serde(rename = "snapshot.dropped")]
    SnapshotDropped,
    /// A dropped snapshot was taken back.
    #[serde(rename = "snapshot.undeleted")]
    SnapshotUndeleted,
    /// A verification found something wrong.
    #[serde(rename = "snapshot.verify_failed")]
    SnapshotVerifyFailed,
    /// A restore job was completed, failed, or was cancelled.
    #[serde(rename = "restore_job.ended")]
    RestoreJobEnded,
    /// An export job was completed, failed, or was cancelled.
    #[serde(rename = "export_job.ended")]
    ExportJobEnded,
}

impl From<WebhookEvent> for Event {
    fn from(event: WebhookEvent) -> Self {
        match event {
            WebhookEvent::SnapshotCreated => Event::SnapshotCreated,
            WebhookEvent::SnapshotDropped => Event::SnapshotDropped,
            WebhookEvent::SnapshotUndeleted => Event::SnapshotUndeleted,
            WebhookEvent::SnapshotVerifyFailed => Event::SnapshotVerifyFailed,
            WebhookEvent::RestoreJobEnded => Event::RestoreJobEnded,
            WebhookEvent::ExportJobEnded => Event::ExportJobEnded,
        }
    }
}

impl From<Event> for WebhookEvent {
    fn from(event: Event) -> Self {
        match event {
            Event::SnapshotCreated => WebhookEvent::SnapshotCreated,
            Event::SnapshotDropped => WebhookEvent::SnapshotDropped,
            Event::SnapshotUndeleted => WebhookEvent::SnapshotUndeleted,
            Event::SnapshotVerifyFailed => WebhookEvent::SnapshotVerifyFailed,
            Event::RestoreJobEnded => WebhookEvent::RestoreJobEnded,
            Event::ExportJobEnded => WebhookEvent::ExportJobEnded,
        }
    }
}

/// A webhook to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"url": "https://example.com/hooks/stillframe", "events": ["restore_job.ended"], "description": "pages the operator"})))]
pub struct CreateWebhookRequest {
    /// Where deliveries are posted: http or https, not to an address of the inside unless the service allows it.
    pub url: String,
    /// What it wants to hear of.
    pub events: Vec<WebhookEvent>,
    #[serde(default)]
    pub description: String,
}

/// A receiver of state changes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "webhook_id": "470700000000000400", "url": "https://example.com/hooks/stillframe", "events": ["restore_job.ended"],
    "description": "pages the operator", "created_at": "2024-01-01T00:00:00Z", "can_sign": true
})))]
pub struct WebhookResponse {
    pub webhook_id: Id,
    pub url: String,
    pub events: Vec<WebhookEvent>,
    pub description: String,
    pub created_at: String,
    /// False when the service has another key than the one that the secret was derived from: nothing is delivered then.
    pub can_sign: bool,
}

/// A webhook that was made, with its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "webhook_id": "470700000000000400", "url": "https://example.com/hooks/stillframe", "events": ["restore_job.ended"],
    "description": "pages the operator", "created_at": "2024-01-01T00:00:00Z", "can_sign": true,
    "secret": "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
})))]
pub struct CreateWebhookResponse {
    #[serde(flatten)]
    pub webhook: WebhookResponse,
    /// Signs deliveries, as the Standard Webhooks specification says. Shown only now.
    pub secret: String,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookDeliveryState {
    /// Still to be made.
    Pending,
    Delivered,
    /// Not tried again, unless it is replayed.
    GaveUp,
}

impl From<WebhookDeliveryState> for DeliveryState {
    fn from(state: WebhookDeliveryState) -> Self {
        match state {
            WebhookDeliveryState::Pending => DeliveryState::Pending,
            WebhookDeliveryState::Delivered => DeliveryState::Delivered,
            WebhookDeliveryState::GaveUp => DeliveryState::GaveUp,
        }
    }
}

impl From<DeliveryState> for WebhookDeliveryState {
    fn from(state: DeliveryState) -> Self {
        match state {
            DeliveryState::Pending => WebhookDeliveryState::Pending,
            DeliveryState::Delivered => WebhookDeliveryState::Delivered,
            DeliveryState::GaveUp => WebhookDeliveryState::GaveUp,
        }
    }
}

/// What a webhook is told, or was told.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "delivery_id": "3f0f2c1e-6a52-4f0e-9d0c-8f2f4f1f6a11", "event": "restore_job.ended", "state": "delivered", "attempts": 1,
    "body": "{\"type\": \"restore_job.ended\", \"timestamp\": \"2024-01-01T00:00:00.000Z\", \"data\": {\"job_id\": \"470700000000000100\", \"state\": \"Completed\"}}",
    "created_at": "2024-01-01T00:00:00Z", "last_tried_at": "2024-01-01T00:00:01Z", "finished_at": "2024-01-01T00:00:01Z", "last_status": 200
})))]
pub struct WebhookDeliveryResponse {
    /// Also the header `webhook-id`, at every try.
    #[schema(format = "uuid")]
    pub delivery_id: String,
    pub event: String,
    pub state: WebhookDeliveryState,
    /// Tries begun, replays included.
    pub attempts: i32,
    /// What is posted, byte for byte.
    pub body: String,
    /// When it happened.
    pub created_at: String,
    /// Of a pending one: when the next try may begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_tried_at: Option<String>,
    /// When it was delivered or given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// HTTP status of the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_status: Option<i32>,
    /// Why the last try failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl From<Delivery> for WebhookDeliveryResponse {
    fn from(delivery: Delivery) -> Self {
        let pending = delivery.state == DeliveryState::Pending;
        Self {
            delivery_id: delivery.delivery_id.to_string(),
            event: delivery.event,
            state: delivery.state.into(),
            attempts: delivery.attempt,
            body: delivery.body,
            created_at: rfc3339(delivery.created_at),
            due_at: pending.then(|| rfc3339(delivery.due_at)),
            last_tried_at: delivery.last_tried_at.map(rfc3339),
            finished_at: delivery.finished_at.map(rfc3339),
            last_status: delivery.last_status,
            last_error: Some(delivery.last_error).filter(|e| !e.is_empty()),
        }
    }
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListWebhooksQuery {
    /// Entries of the page, 1 to 1000.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    page_size: Option<i64>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// Which deliveries, and which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListDeliveriesQuery {
    /// Only those in this state.
    #[param(inline)]
    state: Option<WebhookDeliveryState>,
    /// Entries of the page, 1 to 1000.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    page_size: Option<i64>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

fn shown(state: &ApiState, webhook: Webhook) -> WebhookResponse {
    WebhookResponse {
        webhook_id: Id(webhook.webhook_id.0),
        can_sign: state.service.can_sign(&webhook),
        url: webhook.url,
        events: webhook.events.into_iter().map(WebhookEvent::from).collect(),
        description: webhook.description,
        created_at: rfc3339(webhook.created_at),
    }
}

fn webhook_id(text: &str) -> Result<WebhookId, Error> {
    Id::in_path("webhook_id", text).map(WebhookId)
}

/// List webhooks
///
/// By id.
#[utoipa::path(get, path = "/v1/webhooks", operation_id = "list_webhooks", tag = "operations", params(ListWebhooksQuery),
    responses((status = 200, description = "A page of webhooks", body = List<WebhookResponse>)))]
pub async fn list_webhooks(
    State(state): State<ApiState>,
    Query(query): Query<ListWebhooksQuery>,
) -> Result<Json<List<WebhookResponse>>, ApiError> {
    let page = PageRequest::new(query.page_size, query.page_token)?;
    let found = state.service.list_webhooks(&page).await?;
    Ok(Json(List::of(found, |webhook| shown(&state, webhook))))
}

/// Make a webhook
///
/// State changes are posted to it as JSON, signed, at least once, tried again with growing pauses for three days. The answer shows the signing secret, and no later one does.
#[utoipa::path(post, path = "/v1/webhooks", operation_id = "create_webhook", tag = "operations", request_body = CreateWebhookRequest,
    responses((status = 201, description = "The webhook and its secret", body = CreateWebhookResponse)))]
pub async fn create_webhook(
    State(state): State<ApiState>,
    Body(body): Body<CreateWebhookRequest>,
) -> Result<(StatusCode, Json<CreateWebhookResponse>), ApiError> {
    let events = body.events.into_iter().map(Event::from).collect();
    let (webhook, secret) = state.service.create_webhook(&body.url, events, &body.description).await?;
    let webhook = shown(&state, webhook);
    Ok((StatusCode::CREATED, Json(CreateWebhookResponse { webhook, secret })))
}

/// Describe a webhook
#[utoipa::path(get, path = "/v1/webhooks/{webhook_id}", operation_id = "get_webhook", tag = "operations",
    params(("webhook_id" = Id, Path, description = "The webhook", example = "470700000000000400")),
    responses((status = 200, description = "The webhook", body = WebhookResponse)))]
pub async fn get_webhook(State(state): State<ApiState>, Name(id): Name) -> Result<Json<WebhookResponse>, ApiError> {
    let webhook = state.service.webhook(webhook_id(&id)?).await?;
    Ok(Json(shown(&state, webhook)))
}

/// Delete a webhook
///
/// What it was still to be told, it is not told.
#[utoipa::path(delete, path = "/v1/webhooks/{webhook_id}", operation_id = "delete_webhook", tag = "operations",
    params(("webhook_id" = Id, Path, description = "The webhook", example = "470700000000000400")),
    responses((status = 204, description = "Deleted")))]
pub async fn delete_webhook(State(state): State<ApiState>, Name(id): Name) -> Result<StatusCode, ApiError> {
    state.service.delete_webhook(webhook_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the deliveries of a webhook
///
/// Newest first; those that have ended are kept as long as the history of jobs.
#[utoipa::path(get, path = "/v1/webhooks/{webhook_id}/deliveries", operation_id = "list_webhook_deliveries", tag = "operations",
    params(("webhook_id" = Id, Path, description = "The webhook", example = "470700000000000400"), ListDeliveriesQuery),
    responses((status = 200, description = "A page of deliveries", body = List<WebhookDeliveryResponse>)))]
pub async fn list_webhook_deliveries(
    State(state): State<ApiState>,
    Name(id): Name,
    Query(query): Query<ListDeliveriesQuery>,
) -> Result<Json<List<WebhookDeliveryResponse>>, ApiError> {
    let page = PageRequest::new(query.page_size, query.page_token)?;
    let wanted = query.state.map(DeliveryState::from);
    let found = state.service.list_deliveries(webhook_id(&id)?, wanted, &page).await?;
    Ok(Json(List::of(found, WebhookDeliveryResponse::from)))
}

/// Replay a delivery
///
/// It is made again, at once and under the same id, whatever became of it; one that was given up gets another three days.
#[utoipa::path(post, path = "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/replay", operation_id = "replay_webhook_delivery", tag = "operations",
    params(("webhook_id" = Id, Path, description = "The webhook", example = "470700000000000400"),
        ("delivery_id" = String, Path, description = "The delivery", example = "3f0f2c1e-6a52-4f0e-9d0c-8f2f4f1f6a11")),
    responses((status = 202, description = "The delivery, pending", body = WebhookDeliveryResponse)))]
pub async fn replay_webhook_delivery(
    State(state): State<ApiState>,
    Names(id, delivery): Names,
) -> Result<(StatusCode, Json<WebhookDeliveryResponse>), ApiError> {
    let delivery = Uuid::parse_str(&delivery).map_err(|_| Error::invalid("{delivery_id}", "expected a UUID"))?;
    let replayed = state.service.replay_delivery(webhook_id(&id)?, delivery).await?;
    Ok((StatusCode::ACCEPTED, Json(replayed.into())))
}
