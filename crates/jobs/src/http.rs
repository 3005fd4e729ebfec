use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use axum::{Extension, Router};
use rbee_protocol::{
    ApiError, DaemonInfo, EmbedReport, ErrorBody, ErrorCode, Event, Health, HiveList, HivePause, HiveReport,
    JobId, JobInfo, JobList, ModelAlias, ModelList, ModelRemoved, ModelReport, ModelSearch,
    ModelVerification, QueenReport, StopRequest, SubmitRequest, Submitted, SystemEvent, TokenCount,
    WorkerInfo, WorkerList, WorkerStopped,
};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::access::{Permission, Principal};
use crate::door::{Access, Answer, Json, error_response};
use crate::events::SystemLog;
use crate::registry::Jobs;
use crate::render::Form;
use crate::routes::Routes;
use crate::service::Service;
use crate::stream_answer::{Source, StreamAnswer};
use crate::streams::OpenStream;

struct Api<S> {
    jobs: Jobs,
    service: Arc<S>,
}

impl<S> Clone for Api<S> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone(), service: self.service.clone() }
    }
}

/// The job API over `jobs`, which `service` runs, for those whom `access` lets in.
pub fn router<S: Service>(jobs: Jobs, service: Arc<S>, access: Access) -> Router {
    job_routes(jobs, service).guarded(access, Vec::new())
}

/// The routes of the job API over `jobs`, which `service` runs.
pub fn job_routes<S: Service>(jobs: Jobs, service: Arc<S>) -> Routes {
    use Permission::{Open, Operator, User};
    Routes::default()
        .add(Method::GET, "/health", Open, health)
        .add(Method::GET, "/v1/info", User, info::<S>)
        .add(Method::POST, "/v1/jobs", User, submit::<S>)
        .add(Method::GET, "/v1/jobs", User, list::<S>)
        .add(Method::GET, "/v1/jobs/{id}", User, show::<S>)
        .add(Method::DELETE, "/v1/jobs/{id}", User, cancel::<S>)
        .add(Method::GET, "/v1/jobs/{id}/stream", User, read::<S>)
        .add(Method::POST, "/v1/system/stop", Operator, stop::<S>)
        .with_state(Api { jobs, service })
}

/// The route of what happens to the service, which `events` tells of.
pub fn system_routes(jobs: Jobs, events: SystemLog) -> Routes {
    Routes::default()
        .add(Method::GET, "/v1/system/events", Permission::Operator, read_system)
        .with_state(SystemApi { jobs, events })
}

#[derive(Clone)]
struct SystemApi {
    jobs: Jobs,
    events: SystemLog,
}

/// What of the description in `openapi.rs` stands with the handlers below.
#[derive(OpenApi)]
#[openapi(
    paths(health, info, submit, list, show, cancel, read, stop, read_system),
    components(schemas(Event, ErrorBody, QueenReport, HiveReport, HiveList, WorkerList, ModelList, EmbedReport, ModelAlias, ModelReport, ModelRemoved, ModelSearch, ModelVerification, HivePause, WorkerInfo, WorkerStopped, TokenCount)),
    tags(
        (name = "jobs", description = "Submitting jobs, reading their streams, cancelling them."),
        (name = "daemon", description = "The daemon itself, and what happens to it."),
    )
)]
pub(crate) struct JobApi;

/// Whether the daemon answers
///
/// The one answer that needs no key.
#[utoipa::path(
    get, path = "/health", tag = "daemon", security(()),
    responses((status = 200, description = "It does.", body = Health, example = json!({"status": "ok"})))
)]
async fn health() -> Answer<Health> {
    Answer(StatusCode::OK, Ok(Health { status: "ok".to_owned() }))
}

/// Which program answers, and since when
#[utoipa::path(
    get, path = "/v1/info", tag = "daemon",
    responses((
        status = 200, description = "The program.", body = DaemonInfo,
        example = json!({"daemon": "queen", "version": "0.1.0", "pid": 4711, "started_at_ms": 1_750_000_000_000_u64})
    ))
)]
async fn info<S: Service>(State(api): State<Api<S>>) -> Answer<DaemonInfo> {
    Answer(StatusCode::OK, Ok(api.service.info()))
}

/// Submit a job
///
/// It begins at once, and its stream exists already when this answers. Unless it is `detached`, a job that
/// nobody reads for 30 s is cancelled.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "jobs", operation_id = "submit_job",
    request_body(
        content = SubmitRequest,
        examples(
            ("infer" = (value = json!({
                "operation": "infer",
                "messages": [{"role": "user", "content": "hello"}],
                "max_tokens": 64, "temperature": 0.7, "seed": 7, "stop": ["\n\n"]
            }))),
            ("detached" = (value = json!({"operation": "hive_status", "hive": "local", "detached": true}))),
            ("hive_list" = (value = json!({"operation": "hive_list"}))),
        )
    ),
    responses(
        (
            status = 201, description = "It has been created.", body = Submitted,
            example = json!({
                "job_id": "job-dd7b4a3fba570c6d1529f887f6f1eecf",
                "sse_url": "/v1/jobs/job-dd7b4a3fba570c6d1529f887f6f1eecf/stream",
                "state": "queued"
            })
        ),
        (
            status = 429,
            description = "`busy`: whoever asks has as many jobs as they may, or there is no room for another."
        ),
        (status = 500, description = "`internal`, `io`: it could not be kept."),
        (status = 503, description = "`unavailable`: the daemon is stopping."),
        (status = 507, description = "`disk_full`: there is no room to keep it."),
    )
)]
async fn submit<S: Service>(
    State(api): State<Api<S>>,
    Extension(principal): Extension<Principal>,
    Json(request): Json<SubmitRequest>,
) -> Answer<Submitted> {
    Answer(StatusCode::CREATED, api.jobs.submit(&api.service, &principal, request).await)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Scope {
    /// Whether to list everybody's, which is for operators.
    #[serde(default)]
    #[param(default = false)]
    all: bool,
}

/// List jobs, newest first
#[utoipa::path(
    get, path = "/v1/jobs", tag = "jobs", operation_id = "list_jobs", params(Scope),
    responses(
        (
            status = 200, description = "The jobs of whoever asks, or of everybody.", body = JobList,
            example = json!({"jobs": [{
                "job_id": "job-dd7b4a3fba570c6d1529f887f6f1eecf", "operation": "infer", "state": "succeeded",
                "principal": "ada", "detached": false, "created_at_ms": 1_750_000_000_000_u64,
                "ended_at_ms": 1_750_000_000_420_u64, "events": 24, "readers": 0
            }]})
        ),
        (status = 400, description = "`bad_request`: `all` is neither `true` nor `false`."),
        (status = 403, description = "`denied`: `all` is for operators."),
    )
)]
async fn list<S: Service>(
    State(api): State<Api<S>>,
    Extension(principal): Extension<Principal>,
    scope: Result<Query<Scope>, QueryRejection>,
) -> Answer<JobList> {
    let list = match scope {
        Ok(Query(Scope { all: true })) => api.jobs.list_all(&principal),
        Ok(Query(Scope { all: false })) => Ok(api.jobs.list(&principal.id)),
        Err(_) => Err(ApiError::new(ErrorCode::BadRequest, "`all` is either `true` or `false`")
            .hint("leave it out for your own jobs")),
    };
    Answer(StatusCode::OK, list)
}

/// What is known about a job besides its stream
///
/// For its owner and for operators.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "show_job",
    params(("id" = JobId, Path, description = "The job.")),
    responses(
        (status = 200, description = "The job.", body = JobInfo),
        (status = 404, description = "`not_found`: there is no such job for whoever asks."),
    )
)]
async fn show<S: Service>(
    State(api): State<Api<S>>,
    Extension(principal): Extension<Principal>,
    id: Result<Path<String>, PathRejection>,
) -> Answer<JobInfo> {
    Answer(StatusCode::OK, job_id(id).and_then(|id| api.jobs.info(&principal, &id)))
}

/// Tell a job to stop
///
/// It has when its stream's `end` event says so, or that it had ended before. For its owner and for operators.
#[utoipa::path(
    delete, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "cancel_job",
    params(("id" = JobId, Path, description = "The job.")),
    responses(
        (status = 202, description = "It has been told.", body = JobInfo),
        (status = 404, description = "`not_found`: there is no such job for whoever asks."),
    )
)]
async fn cancel<S: Service>(
    State(api): State<Api<S>>,
    Extension(principal): Extension<Principal>,
    id: Result<Path<String>, PathRejection>,
) -> Answer<JobInfo> {
    Answer(StatusCode::ACCEPTED, job_id(id).and_then(|id| api.jobs.cancel(&principal, &id)))
}

/// Stop the daemon
///
/// It answers no more, and its jobs have ended, soon after. For operators.
#[utoipa::path(
    post, path = "/v1/system/stop", tag = "daemon", operation_id = "stop",
    request_body(content = StopRequest, example = json!({"keep_hive": false})),
    responses((status = 202, description = "It begins to stop.", body = DaemonInfo))
)]
async fn stop<S: Service>(State(api): State<Api<S>>, Json(request): Json<StopRequest>) -> Answer<DaemonInfo> {
    api.service.stop(request);
    Answer(StatusCode::ACCEPTED, Ok(api.service.info()))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Cursor {
    /// The number of the event to go on after; 0, or none, for the first one. `Last-Event-ID` beats it.
    #[param(value_type = Option<u64>, format = "uint64", maximum = 18_446_744_073_709_551_615_u64)]
    after: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its description is used: the header is read where it beats the query")]
struct LastEventId {
    /// The number of the last event received, as an `EventSource` sends it.
    #[param(
        rename = "Last-Event-ID",
        nullable = false,
        format = "uint64",
        maximum = 18_446_744_073_709_551_615_u64
    )]
    last_event_id: Option<u64>,
}

/// One server-sent event of a stream.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used: frames are encoded by the store")]
enum ServerSentEvent {
    /// Something happened.
    Event {
        /// The event's number, to resume after.
        #[schema(pattern = "^[1-9][0-9]*$")]
        id: String,
        /// The event's `kind`.
        event: String,
        /// An `Event`, or a `SystemEvent`, in JSON, on one line.
        #[schema(content_media_type = "application/json", pattern = r"^\{")]
        data: String,
    },
    /// The stream is whole. This comes once, after the last event.
    Done {
        /// Always this.
        #[schema(pattern = r"^\[DONE\]$")]
        data: String,
    },
}

/// Read a job's stream
///
/// Server-sent events, each with a schema `Event` in JSON for its data, from the job's first one or from where a
/// reader left off, up to the `end` event; then `data: [DONE]`. `Accept` chooses another form. For its owner.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/stream", tag = "jobs", operation_id = "read_job",
    params(
        ("id" = JobId, Path, description = "The job."),
        Cursor,
        LastEventId,
    ),
    responses(
        (
            status = 200,
            description = "The stream: the schemas are those of each server-sent event, and of each line of JSON.",
            content(
                (ServerSentEvent = "text/event-stream"),
                (Event = "application/x-ndjson"),
                (String = "text/plain"),
            )
        ),
        (status = 400, description = "`bad_request`: the position to go on after is no number."),
        (status = 404, description = "`not_found`: there is no such job for whoever asks."),
        (status = 409, description = "`cursor_ahead`: the stream is not that long yet."),
        (status = 429, description = "`busy`: whoever asks reads as many streams as they may."),
    )
)]
async fn read<S: Service>(
    State(api): State<Api<S>>,
    Extension(principal): Extension<Principal>,
    id: Result<Path<String>, PathRejection>,
    cursor: Result<Query<Cursor>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let reader = job_id(id).and_then(|id| {
        let after = after(cursor, &headers)?;
        // Before it is looked up, so that the answer to one who has too many open tells nothing about the job.
        let open = api.jobs.open_stream(&principal.id)?;
        Ok((api.jobs.reader(&principal, &id, after)?, open))
    });
    match reader {
        Ok((reader, open)) => stream_response(|form| Source::job(reader, form), open, &headers),
        Err(error) => error_response(&error),
    }
}

/// Read what happens to the service
///
/// Server-sent events, each with a schema `SystemEvent` in JSON for its data, from the first one that is kept or from
/// where a reader left off, until the queen stops; then `data: [DONE]`. `Accept` chooses another form. The numbers
/// begin anew with each queen. For operators.
#[utoipa::path(
    get, path = "/v1/system/events", tag = "daemon", operation_id = "read_system",
    params(Cursor, LastEventId),
    responses(
        (
            status = 200,
            description = "The stream: the schemas are those of each server-sent event, and of each line of JSON.",
            content(
                (ServerSentEvent = "text/event-stream"),
                (SystemEvent = "application/x-ndjson"),
                (String = "text/plain"),
            )
        ),
        (status = 400, description = "`bad_request`: the position to go on after is no number."),
        (status = 409, description = "`cursor_ahead`: the stream is not that long yet."),
        (status = 429, description = "`busy`: whoever asks reads as many streams as they may."),
    )
)]
async fn read_system(
    State(api): State<SystemApi>,
    Extension(principal): Extension<Principal>,
    cursor: Result<Query<Cursor>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let reader = after(cursor, &headers).and_then(|after| {
        let open = api.jobs.open_stream(&principal.id)?;
        Ok((api.events.reader(after)?, open))
    });
    match reader {
        Ok((reader, open)) => stream_response(|form| Source::system(reader, form), open, &headers),
        Err(error) => error_response(&error),
    }
}

/// What is not even an id, or not even text, cannot be a job's either.
fn job_id(path: Result<Path<String>, PathRejection>) -> Result<JobId, ApiError> {
    let text = path.map_or_else(|_| char::REPLACEMENT_CHARACTER.into(), |Path(text)| text);
    text.parse().map_err(|_| {
        let text = rbee_narration::printable(&text);
        ApiError::new(ErrorCode::NotFound, format!("there is no job {text}"))
            .hint("`rbee job list` shows yours")
    })
}

fn after(cursor: Result<Query<Cursor>, QueryRejection>, headers: &HeaderMap) -> Result<u64, ApiError> {
    let query = cursor.map_or_else(|_| Some("?".to_owned()), |Query(cursor)| cursor.after);
    let header = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
    let Some(text) = header.or(query.as_deref()) else { return Ok(0) };
    text.parse().map_err(|_| {
        let message = "the position to resume after must be the id of an event, a number";
        ApiError::new(ErrorCode::BadRequest, message).hint("send the last id you received, or none")
    })
}

fn stream_response(source: impl FnOnce(Form) -> Source, open: OpenStream, headers: &HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    StreamAnswer::new(source(Form::accepted(accept.unwrap_or_default())), open).into_response()
}
