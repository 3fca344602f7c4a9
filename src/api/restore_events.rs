//! `/v1/restore-jobs/{job_id}/events` and `/v1/export-jobs/{job_id}/events`: what happens to a job, as it
//! happens.

use std::convert::Infallible;
use std::time::Duration;

use super::guard::State;
use axum::Extension;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};

use super::ApiState;
use super::exports::ExportJobResponse;
use super::extract::Name;
use super::problem::ApiError;
use super::restores::{RestoreJobResponse, job_id};
use super::types::Id;
use crate::domain::restore::{JobState, RestoreJob};
use crate::limits::Client;
use crate::service::JobWatch;

/// Pause between comments that keep proxies from closing a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Follow a restore job
///
/// Server-sent events, through any replica. Every event carries the whole job as `get_restore_job` answers it, so none before it is needed: `state` at first and whenever the state changes, `progress` in between, about once a second, `end` when the job has ended; then the stream ends. A client that connects again with `Last-Event-ID` is told only what it has not seen, and gets 204 when it has seen the end. A slow client misses events in between, never the newest.
#[utoipa::path(get, path = "/v1/restore-jobs/{job_id}/events", operation_id = "stream_restore_events", tag = "restores",
    params(("job_id" = Id, Path, description = "The job", example = "470700000000000100"),
        ("last-event-id" = Option<String>, Header, description = "`id` of the last event that was seen", example = "InProgress-20-3765185-0-0--")),
    responses(
        (status = 200, description = "Events until the job has ended", content_type = "text/event-stream", body = String,
            example = "id: Completed-48-8964728-0-0--\nevent: end\ndata: {\"job_id\":\"470700000000000100\",\"state\":\"Completed\"}\n\n"),
        (status = 204, description = "The job has ended, and the client has seen that")))]
pub async fn stream_restore_events(
    State(state): State<ApiState>,
    Name(id): Name,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let watch = state.service.watch_restore(job_id(&id)?, known(&client)).await?;
    Ok(stream(watch, &headers, |event, job| {
        event.json_data(RestoreJobResponse::from(job))
    }))
}

/// Follow an export job
///
/// As the events of a restore job; every event carries the whole job as `get_export_job` answers it.
#[utoipa::path(get, path = "/v1/export-jobs/{job_id}/events", operation_id = "stream_export_events", tag = "exports",
    params(("job_id" = Id, Path, description = "The job", example = "470700000000000300"),
        ("last-event-id" = Option<String>, Header, description = "`id` of the last event that was seen", example = "InProgress-20-3765185-0-0--")),
    responses(
        (status = 200, description = "Events until the job has ended", content_type = "text/event-stream", body = String,
            example = "id: Completed-48-8964728-0-0--\nevent: end\ndata: {\"job_id\":\"470700000000000300\",\"state\":\"Completed\"}\n\n"),
        (status = 204, description = "The job has ended, and the client has seen that")))]
pub async fn stream_export_events(
    State(state): State<ApiState>,
    Name(id): Name,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let watch = state.service.watch_export(job_id(&id)?, known(&client)).await?;
    Ok(stream(watch, &headers, |event, job| {
        event.json_data(ExportJobResponse::from(job))
    }))
}

/// Who listens, where that is known.
fn known(client: &Client) -> Option<String> {
    (*client != Client::Anybody).then(|| client.to_string())
}

/// Puts a job into an event.
type Tell = fn(Event, RestoreJob) -> Result<Event, axum::Error>;

/// The events of a watched job that its listener has not seen.
fn stream(watch: JobWatch, headers: &HeaderMap, tell: Tell) -> Response {
    let job = watch.job();
    let seen = headers
        .get("last-event-id")
        .is_some_and(|seen| *seen == event_id(&job).as_str());
    if seen && job.state.is_final() {
        return StatusCode::NO_CONTENT.into_response();
    }
    let told = Told {
        watch,
        tell,
        state: seen.then_some(job.state),
        next: (!seen).then_some(job),
        ended: false,
    };
    let events = futures::stream::unfold(told, |mut told| async move { told.next().await.map(|event| (event, told)) });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Sse::new(events).keep_alive(keep_alive).into_response()
}

/// What a stream has told its client.
struct Told {
    watch: JobWatch,
    tell: Tell,
    state: Option<JobState>,
    next: Option<RestoreJob>,
    ended: bool,
}

impl Told {
    async fn next(&mut self) -> Option<Result<Event, Infallible>> {
        if self.ended {
            return None;
        }
        let job = match self.next.take() {
            Some(job) => job,
            None => self.watch.changed().await?,
        };
        let kind = match job.state {
            state if state.is_final() => "end",
            state if self.state != Some(state) => "state",
            _ => "progress",
        };
        (self.state, self.ended) = (Some(job.state), job.state.is_final());
        let event = Event::default().event(kind).id(event_id(&job));
        // numbers and texts always serialize
        Some(Ok((self.tell)(event, job).unwrap_or_default()))
    }
}

/// Says what an event told, not when: the same through every replica.
fn event_id(job: &RestoreJob) -> String {
    let limit = |limit: Option<i64>| limit.map(|n| n.to_string()).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}-{}-{}",
        job.state.as_str(),
        job.done_files,
        job.done_bytes,
        job.retries,
        job.control.priority,
        limit(job.control.max_concurrency.map(i64::from)),
        limit(job.control.max_bytes_per_second)
    )
}
