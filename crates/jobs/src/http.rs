use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router, middleware};
use futures_util::stream;
use rbee_protocol::{
    ApiError, DaemonInfo, ErrorCode, Health, JobId, JobInfo, JobList, StopRequest, SubmitRequest, Submitted,
};
use serde::{Deserialize, Serialize};

use crate::door::{self, Access, Json, Principal, error_response};
use crate::reader::JobReader;
use crate::registry::Jobs;
use crate::render::{Form, Renderer};
use crate::service::Service;

/// A stream that has nothing to say says so this often, so that nobody takes it for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

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
    Router::new()
        .route("/health", get(health))
        .route("/v1/info", get(info::<S>))
        .route("/v1/jobs", post(submit::<S>).get(list::<S>))
        .route("/v1/jobs/{id}", get(show::<S>).delete(cancel::<S>))
        .route("/v1/jobs/{id}/stream", get(read::<S>))
        .route("/v1/system/stop", post(stop::<S>))
        .fallback(door::no_such_path)
        .method_not_allowed_fallback(door::no_such_method)
        .layer(middleware::from_fn_with_state(access, door::guard))
        .with_state(Api { jobs, service })
}

/// An answer in JSON, or the error that takes its place.
struct Answer<T>(StatusCode, Result<T, ApiError>);

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match self.1 {
            Ok(answer) => (self.0, [(header::CACHE_CONTROL, "no-store")], axum::Json(answer)).into_response(),
            Err(error) => error_response(&error),
        }
    }
}

async fn health() -> Answer<Health> {
    Answer(StatusCode::OK, Ok(Health { status: "ok".to_owned() }))
}

async fn info<S: Service>(State(api): State<Api<S>>) -> Answer<DaemonInfo> {
    Answer(StatusCode::OK, Ok(api.service.info()))
}

async fn submit<S: Service>(
    State(api): State<Api<S>>,
    Extension(principal): Extension<Principal>,
    Json(request): Json<SubmitRequest>,
) -> Answer<Submitted> {
    Answer(StatusCode::CREATED, api.jobs.submit(&api.service, &principal.id, request))
}

async fn list<S: Service>(
    State(api): State<Api<S>>,
    Extension(principal): Extension<Principal>,
) -> Answer<JobList> {
    Answer(StatusCode::OK, Ok(api.jobs.list(&principal.id)))
}

async fn show<S: Service>(
    State(api): State<Api<S>>,
    Extension(principal): Extension<Principal>,
    id: Result<Path<String>, PathRejection>,
) -> Answer<JobInfo> {
    Answer(StatusCode::OK, job_id(id).and_then(|id| api.jobs.info(&principal.id, &id)))
}

async fn cancel<S: Service>(
    State(api): State<Api<S>>,
    Extension(principal): Extension<Principal>,
    id: Result<Path<String>, PathRejection>,
) -> Answer<JobInfo> {
    Answer(StatusCode::ACCEPTED, job_id(id).and_then(|id| api.jobs.cancel(&principal.id, &id)))
}

async fn stop<S: Service>(
    State(api): State<Api<S>>,
    Extension(principal): Extension<Principal>,
    Json(request): Json<StopRequest>,
) -> Answer<DaemonInfo> {
    if !principal.operator {
        let error = ApiError::new(ErrorCode::Denied, "only an operator may stop a daemon");
        return Answer(StatusCode::ACCEPTED, Err(error.hint("use the operator's key")));
    }
    api.service.stop(request);
    Answer(StatusCode::ACCEPTED, Ok(api.service.info()))
}

#[derive(Deserialize)]
struct Cursor {
    after: Option<String>,
}

async fn read<S: Service>(
    State(api): State<Api<S>>,
    Extension(principal): Extension<Principal>,
    id: Result<Path<String>, PathRejection>,
    cursor: Result<Query<Cursor>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let reader = job_id(id).and_then(|id| {
        let after = after(cursor, &headers)?;
        api.jobs.reader(&principal.id, &id, after)
    });
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    match reader {
        Ok(reader) => stream_response(reader, Form::accepted(accept.unwrap_or_default())),
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

fn stream_response(reader: JobReader, form: Form) -> Response {
    let start = Some((reader, Renderer::new(form)));
    let body = stream::unfold(start, move |place| async move {
        let (mut reader, mut renderer) = place?;
        loop {
            match tokio::time::timeout(HEARTBEAT, reader.next()).await {
                Ok(Some(frames)) => {
                    let bytes = renderer.frames(&frames);
                    return Some((Ok::<_, Infallible>(bytes), Some((reader, renderer))));
                }
                Ok(None) => return Some((Ok(renderer.done().to_vec()), None)),
                Err(_) if form == Form::Sse => {
                    return Some((Ok(b": heartbeat\n\n".to_vec()), Some((reader, renderer))));
                }
                // The other forms have nothing that a reader would skip.
                Err(_) => {}
            }
        }
    });
    Response::builder()
        .header(header::CONTENT_TYPE, form.content_type())
        .header(header::CACHE_CONTROL, "no-store")
        .header("X-Accel-Buffering", "no")
        .body(Body::from_stream(body))
        .expect("the parts are constants")
}
