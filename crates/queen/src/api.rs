//! The APIs that other programs speak.
//!
//! Each is a translation: of a request into operations, which become jobs like any other, and of those jobs' events into
//! an answer, in one piece or as a stream. There is no other way from them to a model.

mod answer;
mod anthropic;
mod fields;
mod ollama;
mod openai;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use rbee_jobs::{Answer, Exchange, JobWriter, Jobs, Principal, Routes, Translate, error_response};
use rbee_protocol::{
    ApiError, ErrorCode, JobEvent, JobId, ModelRef, Operation, Phase, Progress, SubmitRequest,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::ToSchema;

use crate::driver::Queen;

pub(crate) use anthropic::AnthropicApi;
pub(crate) use ollama::OllamaApi;
pub(crate) use openai::OpenAiApi;

/// Has every answer say which job it is of.
const JOB: HeaderName = HeaderName::from_static("x-rbee-job");

/// The action of the line that says what a job was asked for in another API; its target is the model's name.
const API_REQUEST: &str = "api_request";

/// A stream's head waits so long for the answer to begin, so that what fails before has a status of its own.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the translations need.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) jobs: Jobs,
    pub(crate) queen: Arc<Queen>,
}

/// All routes of other APIs. Ollama's, which ask for no key, are there only where the operator wants them.
pub(crate) fn routes(api: &Api, ollama: bool) -> Routes {
    let routes = openai::routes(api.clone()).and(anthropic::routes(api.clone()));
    if ollama { routes.and(ollama::routes(api.clone())) } else { routes }
}

/// One event of an answer's stream. There may be more fields of the JSON in it than a client knows.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used: events are written as they come")]
struct SseEvent {
    /// What happened, where the API names its events.
    event: Option<String>,
    /// An object in JSON, or `[DONE]` after the last one of those APIs that say so.
    data: String,
}

/// A text, or several.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used: fields are taken one by one")]
enum Texts {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// A request of another API, translated.
struct Asked {
    /// Whose API it is, for people.
    api: &'static str,
    /// What it calls the model; empty where it names none.
    model: String,
    operations: Box<dyn Iterator<Item = Operation> + Send>,
    /// Whether it goes on when whoever asked has gone.
    detached: bool,
    /// What fields are called here and there, where that differs.
    names: Names,
    /// What to tell the jobs about it.
    notes: Vec<String>,
}

type Names = &'static [(&'static str, &'static str)];

impl Asked {
    fn new(api: &'static str, model: String, operation: Operation, notes: Vec<String>) -> Self {
        let operations = Box::new(std::iter::once(operation));
        Self { api, model, operations, detached: false, names: &[], notes }
    }
}

impl Api {
    /// Has a request done as jobs of `by`.
    async fn ask(&self, by: &Principal, asked: Asked) -> Result<Exchange, ApiError> {
        let Asked { api, model, operations, detached, names, notes } = asked;
        let requests =
            operations.map(|operation| SubmitRequest { detached, ..SubmitRequest::new(operation) });
        let tell = |job: &JobWriter| {
            let narrator = job.narrator("queen");
            let action = || narrator.action(API_REQUEST).target(&model);
            match model.as_str() {
                "" => action().context(api).human("A request of {} API").emit(),
                model => {
                    action().context(api).context(model).human("A request of {} API for the model {}").emit();
                }
            }
            notes.iter().for_each(|note| action().human("{}").context(note).emit());
        };
        let exchange = self.jobs.exchange(&self.queen, by, requests, tell).await;
        exchange.map_err(|error| renamed(error, names))
    }

    /// What a question-like operation of `by` answers, and its job.
    async fn question<T: DeserializeOwned>(
        &self,
        by: &Principal,
        api: &'static str,
        operation: Operation,
    ) -> Result<(T, HeaderValue), ApiError> {
        let exchange = self.ask(by, Asked::new(api, String::new(), operation, Vec::new())).await?;
        let job = job_header(&exchange);
        let answer = answer::whole(exchange).await?.pop().and_then(|whole| whole.result);
        let answer = serde_json::from_value(answer.unwrap_or_default()).map_err(|error| {
            ApiError::new(ErrorCode::Internal, format!("the hives' answer makes no sense: {error}"))
                .hint("they may be of another version: `rbee queen stop`, then again")
        });
        Ok((answer?, job))
    }
}

/// An error of ours with the fields' names of another API.
fn renamed(mut error: ApiError, names: Names) -> ApiError {
    for (ours, theirs) in names {
        // What begins with a dot is the name of a field within another.
        let quote = if ours.starts_with('.') { "" } else { "`" };
        let (ours, theirs) = (format!("{quote}{ours}`"), format!("{quote}{theirs}`"));
        error.message = error.message.replace(&ours, &theirs);
        error.hint = error.hint.map(|hint| hint.replace(&ours, &theirs));
    }
    error
}

/// The answer that is `exchange` as `translate` has it, event by event.
async fn stream(mut exchange: Exchange, translate: impl Translate) -> Response {
    let job = job_header(&exchange);
    match exchange.begun(PATIENCE).await {
        Ok(()) => with_job(exchange.into_response(translate), job),
        Err(error) => with_job(error_response(&error), job),
    }
}

/// The answer that is what `translate` makes of whole jobs.
async fn whole<T: Serialize>(
    exchange: Exchange,
    translate: impl FnOnce(Vec<answer::Whole>) -> T,
) -> Response {
    let job = job_header(&exchange);
    let answer = answer::whole(exchange).await.map(translate);
    with_job(Answer(StatusCode::OK, answer).into_response(), job)
}

/// The status with which another API says what went wrong. A prompt that is too long is a bad request there.
fn status(error: &ApiError) -> StatusCode {
    let status = match error.code {
        ErrorCode::ContextFull => 400,
        code => code.http_status(),
    };
    StatusCode::from_u16(status).expect("codes have statuses of HTTP's")
}

/// The reference of a model's name as clients have it. Of none, and of an empty one, it is that of the default model.
fn model_ref(name: Option<&str>) -> Option<ModelRef> {
    name.filter(|name| !name.is_empty()).map(ModelRef::new)
}

fn job_header(exchange: &Exchange) -> HeaderValue {
    let ids: Vec<&str> = exchange.jobs().map(JobId::as_str).collect();
    HeaderValue::try_from(ids.join(", ")).expect("ids are letters and digits")
}

fn with_job(mut response: Response, job: HeaderValue) -> Response {
    response.headers_mut().insert(JOB, job);
    response
}

/// The digits of a job's id, from which other APIs' ids are made.
fn digits(job: &JobId) -> &str {
    job.as_str().trim_start_matches("job-")
}

/// The last millisecond that RFC 3339 has.
const LAST_MS: u64 = 253_402_300_799_999;

/// A time in milliseconds since the Unix epoch, as RFC 3339 has it.
fn date(at_ms: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at_ms.min(LAST_MS))).to_string()
}

/// Adds an event of a stream of server-sent events.
fn sse(out: &mut Vec<u8>, name: Option<&str>, data: &Value) {
    if let Some(name) = name {
        out.extend_from_slice(format!("event: {name}\n").as_bytes());
    }
    out.extend_from_slice(b"data: ");
    serde_json::to_writer(&mut *out, data).expect("JSON can be written to memory");
    out.extend_from_slice(b"\n\n");
}

/// Adds a comment that says how far a job is; readers skip it.
fn comment(out: &mut Vec<u8>, event: &JobEvent) {
    let JobEvent::Progress(Progress { phase, done, total: Some(total), .. }) = event else { return };
    let phase = match phase {
        Phase::Queued => "queued",
        Phase::Download => "download",
        Phase::Load => "load",
        Phase::Verify => "verify",
        Phase::Prefill => "prefill",
    };
    out.extend_from_slice(format!(": {phase} {done}/{total}\n\n").as_bytes());
}

#[cfg(test)]
mod tests {
    //! What the tests of all translations need.

    use proptest::prelude::*;
    use rbee_protocol::{End, FinishReason, Token, ToolCallPart, Usage};

    use super::*;

    /// So many answers are streamed and given in one piece.
    pub(super) fn cases() -> ProptestConfig {
        ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() }
    }

    /// What models answer: thoughts, texts, calls of tools, and an end that says how much it was.
    pub(super) fn answer() -> impl Strategy<Value = Vec<JobEvent>> {
        let piece = prop_oneof![
            4 => any::<(String, bool)>().prop_map(|(text, reasoning)| {
                vec![JobEvent::Token(Token { reasoning, ..Token::new(text, 0) })]
            }),
            1 => ("[a-z]{1,9}", -1e6..1e6).prop_map(|(name, number)| {
                let part = |id: Option<&str>, name: Option<String>, arguments: &str| {
                    let (id, arguments) = (id.map(str::to_owned), arguments.to_owned());
                    JobEvent::ToolCall(ToolCallPart { index: 0, id, name, arguments })
                };
                vec![part(Some("abcdefghi"), Some(name), "{\"a\":"), part(None, None, &format!("{number}}}"))]
            }),
        ];
        let end = any::<(u32, u32, bool)>().prop_map(|(prompt, completion, is_cut)| {
            let reason = if is_cut { FinishReason::Length } else { FinishReason::Stop };
            let usage = Usage {
                prompt_tokens: prompt.into(),
                cached_tokens: u64::from(prompt / 2),
                completion_tokens: completion.into(),
            };
            JobEvent::End(Box::new(End {
                finish_reason: Some(reason),
                usage: Some(usage),
                ..End::succeeded()
            }))
        });
        (prop::collection::vec(piece, 0..12), end).prop_map(|(pieces, end)| {
            let mut calls = 0;
            let mut events: Vec<JobEvent> = pieces.into_iter().flatten().chain([end]).collect();
            for event in &mut events {
                if let JobEvent::ToolCall(part) = event {
                    calls += u32::from(part.name.is_some());
                    part.index = calls - 1;
                }
            }
            events
        })
    }

    /// What a stream's events or lines carry, comments left out.
    pub(super) fn told(events: &[JobEvent], mut translate: impl Translate) -> Vec<Value> {
        let mut out = Vec::new();
        events.iter().for_each(|event| translate.event(0, event.clone(), &mut out));
        translate.done(&mut out);
        let text = String::from_utf8(out).expect("streams are text");
        let lines = text.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
        let lines = lines.filter(|line| line.starts_with('{'));
        lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The same in one piece.
    pub(super) fn whole(events: &[JobEvent]) -> answer::Whole {
        let mut whole = answer::Whole::default();
        events.iter().for_each(|event| whole.take(event.clone()));
        whole
    }

    /// All the texts at `pointer`, one after the other.
    pub(super) fn joined(told: &[Value], pointer: &str) -> String {
        told.iter().filter_map(|event| event.pointer(pointer)?.as_str()).collect()
    }
}
