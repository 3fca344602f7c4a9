//! `/healthz`, `/readyz`, `/metrics`.

use super::guard::State;
use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::problem::ApiError;

/// The process is alive, or can do its work.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"status": "ok"})))]
pub struct HealthResponse {
    /// Always `ok`; anything else is a problem document.
    pub status: String,
}

fn ok() -> Json<HealthResponse> {
    Json(HealthResponse { status: "ok".into() })
}

/// Is the process alive?
#[utoipa::path(get, path = "/healthz", operation_id = "healthz", tag = "operations",
    responses((status = 200, description = "Yes", body = HealthResponse)))]
pub async fn healthz() -> Json<HealthResponse> {
    ok()
}

/// Can the service do its work?
///
/// Asks the catalog database and the object storage.
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "operations",
    responses((status = 200, description = "Yes", body = HealthResponse)))]
pub async fn readyz(State(state): State<ApiState>) -> Result<Json<HealthResponse>, ApiError> {
    state.service.ready().await?;
    Ok(ok())
}

/// Metrics for Prometheus
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "operations",
    responses((status = 200, description = "Prometheus text format", body = String, content_type = "text/plain", example = json!("stillframe_http_requests_total{method=\"GET\",route=\"/healthz\",status=\"200\"} 1"))))]
pub async fn prometheus(State(state): State<ApiState>) -> ([(axum::http::HeaderName, &'static str); 1], String) {
    use crate::telemetry::{CONNECTIONS, CONNECTIONS_MAX, COPY_LIMIT};
    let (open, idle, max) = state.service.connections();
    metrics::gauge!(CONNECTIONS, "state" => "idle").set(idle as f64);
    metrics::gauge!(CONNECTIONS, "state" => "in_use").set(f64::from(open) - idle as f64);
    metrics::gauge!(CONNECTIONS_MAX).set(f64::from(max));
    metrics::gauge!(COPY_LIMIT).set(state.service.copy_limit() as f64);
    let catalog = crate::telemetry::render(&state.service.catalog_samples().await);
    (
        [(axum::http::header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        state.metrics.render() + &catalog,
    )
}
