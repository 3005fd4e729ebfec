use std::collections::BTreeMap;
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use rbee_jobs::{Answer, Exchange, Failed, Json, Principal, Translate};
use rbee_protocol::{
    ApiError, End, EndState, ErrorCode, FinishReason, InferRequest, JobEvent, JobId, Message, Operation,
    Role, ToolCall, ToolCallPart,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use super::{API, json_schema, message, sampling, tool_choice, tools};
use crate::api::answer;
use crate::api::fields::{Fields, bad, text_of, typed};
use crate::api::{
    API_REQUEST, Api, Asked, Names, SseEvent, comment, digits, job_header, model_ref, sse, stream, with_job,
};

/// Types of parts of a message that are texts.
const TEXTS: [&str; 4] = ["input_text", "output_text", "text", "refusal"];

/// What is called otherwise in responses.
const NAMES: Names =
    &[("max_tokens", "max_output_tokens"), ("json_schema", "text.format"), ("messages", "input")];

/// So long a job that is told to stop is waited for.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// A request for a response; docs/compatibility.md tells of all fields.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used: fields are taken one by one")]
pub(super) struct ResponseRequest {
    /// What to respond to: a text, or a conversation's items.
    input: Input,
    /// The name of a model, or an alias.
    model: Option<String>,
    /// What the model is to heed before the input.
    instructions: Option<String>,
    /// Whether the answer comes as a stream.
    stream: Option<bool>,
    /// Whether the answer is for later: the request is answered at once, and its job goes on whoever has gone.
    background: Option<bool>,
    /// How many tokens to generate at most.
    #[schema(minimum = 1, format = "uint32", maximum = 4_294_967_295_u32)]
    max_output_tokens: Option<u32>,
}

/// What to respond to.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used: fields are taken one by one")]
enum Input {
    /// A text.
    Text(String),
    /// Messages, calls of functions and their outputs.
    Items(Vec<BTreeMap<String, Value>>),
}

/// Create a response
///
/// In one piece, or with `stream` as server-sent events. A connection that closes cancels the job, unless it is a
/// `background` one.
#[utoipa::path(
    post, path = "/v1/responses", tag = "openai", operation_id = "create_response",
    request_body(content = ResponseRequest, example = json!({"input": "hello"})),
    responses(
        (
            status = 200, description = "The response.",
            content((Object = "application/json"), (SseEvent = "text/event-stream"))
        ),
        (status = 404, description = "`not_found`: there is no such model."),
        (status = 409, description = "`cancelled`: somebody cancelled the job."),
        (status = 422, description = "`bad_model`: the model's file is not one that can be used."),
        (status = 500, description = "`internal`, `io`, `worker_crashed`, `worker_hung`, `quota`, `abandoned`: it failed."),
        (status = 503, description = "`unavailable`, `does_not_fit`, `interrupted`: nobody can answer it now."),
        (status = 507, description = "`disk_full`: there is no room to keep the job."),
    )
)]
pub(super) async fn create(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
    Json(fields): Json<Map<String, Value>>,
) -> Result<Response, Failed> {
    let (asked, streams, echo) = asked(Fields::new(fields))?;
    let model = asked.model.clone();
    let exchange = api.ask(&principal, asked).await?;
    // The line that says so may not be stored yet.
    let builder = Builder { model, ..Builder::new(&exchange, echo) };
    if streams {
        return Ok(stream(exchange, Stream { builder, after: None }).await);
    }
    let job = job_header(&exchange);
    let answer = if exchange.is_detached() {
        so_far(exchange, builder).await
    } else {
        to_end(exchange, builder).await
    };
    Ok(with_job(Answer(StatusCode::OK, answer).into_response(), job))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Resume {
    /// Whether the response comes as a stream, from its first event or from where a reader left off.
    #[serde(default)]
    #[param(default = false)]
    stream: bool,
    /// The `sequence_number` of the last event that was received.
    #[param(format = "uint64", maximum = 18_446_744_073_709_551_615_u64)]
    starting_after: Option<u64>,
}

/// Read a response again
///
/// As far as it is. For its owner.
#[utoipa::path(
    get, path = "/v1/responses/{id}", tag = "openai", operation_id = "show_response",
    params(("id" = String, Path, description = "The response."), Resume),
    responses(
        (
            status = 200, description = "The response.",
            content((Object = "application/json"), (SseEvent = "text/event-stream"))
        ),
        (status = 400, description = "`bad_request`: the position to go on after is no number."),
        (status = 404, description = "`not_found`: there is no such response for whoever asks."),
        (status = 429, description = "`busy`: whoever asks reads as many streams as they may."),
        (status = 500, description = "`io`: it cannot be read."),
    )
)]
pub(super) async fn show(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
    id: Result<Path<String>, PathRejection>,
    resume: Result<Query<Resume>, QueryRejection>,
) -> Result<Response, Failed> {
    let job = job(&api, &principal, id)?;
    let Query(Resume { stream, starting_after }) = resume.map_err(|_| {
        bad("`starting_after` is a number, and `stream` is `true` or `false`", "leave them out, or mend them")
    })?;
    let exchange = api.jobs.attend(&principal, &job)?;
    let header = job_header(&exchange);
    let builder = Builder::new(&exchange, Echo::unknown());
    if stream {
        return Ok(with_job(exchange.into_response(Stream { builder, after: starting_after }), header));
    }
    Ok(with_job(Answer(StatusCode::OK, so_far(exchange, builder).await).into_response(), header))
}

/// Tell a response to stop
///
/// It has stopped when this answers, or soon after. For its owner.
#[utoipa::path(
    post, path = "/v1/responses/{id}/cancel", tag = "openai", operation_id = "cancel_response",
    params(("id" = String, Path, description = "The response.")),
    responses(
        (status = 200, description = "The response, as far as it came.", body = Object),
        (status = 404, description = "`not_found`: there is no such response for whoever asks."),
        (status = 429, description = "`busy`: whoever asks reads as many streams as they may."),
        (status = 500, description = "`io`: it cannot be read."),
    )
)]
pub(super) async fn cancel(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Failed> {
    let job = job(&api, &principal, id)?;
    // Before a stream is asked for, of which there may be none left.
    api.jobs.cancel(&principal, &job)?;
    let exchange = api.jobs.attend(&principal, &job)?;
    let header = job_header(&exchange);
    let mut builder = Builder::new(&exchange, Echo::unknown());
    let answer = builder.until_end(exchange, CANCEL_TIMEOUT).await.map(|()| builder.response());
    Ok(with_job(Answer(StatusCode::OK, answer).into_response(), header))
}

/// The job that a response is, of `principal`'s own.
fn job(api: &Api, principal: &Principal, id: Result<Path<String>, PathRejection>) -> Result<JobId, ApiError> {
    let id = id.map_or_else(|_| char::REPLACEMENT_CHARACTER.into(), |Path(id)| id);
    let digits = id.strip_prefix("resp_").unwrap_or_default();
    let job = format!("job-{digits}").parse::<JobId>().ok();
    let job = job.filter(|job| {
        let info = api.jobs.info(principal, job);
        // Operators may look after jobs of others, and read none.
        info.is_ok_and(|info| info.principal == principal.id && info.operation == "infer")
    });
    job.ok_or_else(|| {
        let message = format!("there is no response {}", rbee_narration::printable(&id));
        ApiError::new(ErrorCode::NotFound, message).hint("ask for one that `/v1/responses` has made")
    })
}

/// What a response says of its request.
struct Echo(Map<String, Value>);

impl Echo {
    /// Of a response that is read again: prompts are not kept, nor what came with them.
    fn unknown() -> Self {
        let mut echo = Self::default();
        for (name, value) in &mut echo.0 {
            if !["metadata", "tools", "reasoning", "text"].contains(&name.as_str()) {
                *value = Value::Null;
            }
        }
        echo
    }
}

impl Default for Echo {
    fn default() -> Self {
        let fields = json!({
            "instructions": null, "max_output_tokens": null, "metadata": {}, "parallel_tool_calls": true,
            "previous_response_id": null, "reasoning": {"effort": null, "summary": null}, "store": true,
            "temperature": null, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
            "top_p": null, "truncation": "disabled", "user": null,
        });
        let Value::Object(fields) = fields else { unreachable!("it is an object") };
        Self(fields)
    }
}

fn asked(fields: Fields) -> Result<(Asked, bool, Echo), ApiError> {
    let mut fields = fields;
    let mut echo = Echo::default();
    for (name, value) in &mut echo.0 {
        if let Some(said) = fields.peek(name) {
            *value = said.clone();
        }
    }
    let model: Option<String> = fields.take("model")?;
    let mut request =
        InferRequest { model: model_ref(model.as_deref()), fallback: true, ..Default::default() };
    if let Some(instructions) = fields.take::<String>("instructions")? {
        request.messages.push(Message::new(Role::System, instructions));
    }
    match fields.need("input")? {
        Value::String(text) => request.messages.push(Message::new(Role::User, text)),
        items => add_items(&mut request.messages, typed("input", items)?)?,
    }
    sampling::take(&mut fields, &mut request)?;
    request.max_tokens = fields.take("max_output_tokens")?;
    request.tools = tools(&mut fields)?;
    request.tool_choice = tool_choice(&mut fields)?;
    request.parallel_tool_calls = fields.take("parallel_tool_calls")?;
    let mut text = Fields::within("text", fields.take("text")?.unwrap_or_default());
    if let Some(format) = text.take("format")? {
        request.json_schema = json_schema("text.format", format)?;
    }
    text.ignore(&["verbosity"]);
    text.notes().into_iter().for_each(|note| fields.note(note));
    request.truncate = match fields.take::<String>("truncation")?.as_deref() {
        None | Some("disabled") => false,
        Some("auto") => true,
        Some(_) => return Err(bad("`truncation` is none that is known", "it is `auto` or `disabled`")),
    };
    request.truncate |= fields.take("truncate")?.unwrap_or(false);
    let streams = fields.take("stream")?.unwrap_or(false);
    let detached = fields.take("background")?.unwrap_or(false);

    let whole = "send the whole conversation as `input`: prompts are not kept here";
    fields.refuse("previous_response_id", &[], whole)?;
    fields.refuse("conversation", &[], whole)?;
    fields.refuse("prompt", &[], "send the text itself")?;
    fields.refuse("top_logprobs", &[json!(0)], "ask /v1/chat/completions for `logprobs`")?;
    if fields.take("store")? == Some(false) {
        fields.note("`store` does nothing here: jobs are kept as the queen's settings say");
    }
    fields.ignore(&[
        "include",
        "max_tool_calls",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "stream_options",
        "user",
    ]);
    let model = model.unwrap_or_default();
    let asked = Asked::new(API, model, Operation::Infer(request), fields.notes());
    Ok((Asked { detached, names: NAMES, ..asked }, streams, echo))
}

/// Adds a conversation's items as messages.
fn add_items(messages: &mut Vec<Message>, items: Vec<Map<String, Value>>) -> Result<(), ApiError> {
    for (index, item) in items.into_iter().enumerate() {
        let path = |field: &str| format!("input[{index}].{field}");
        let mut item = Fields::within(&format!("input[{index}]"), item);
        let kind: Option<String> = item.take("type")?;
        match kind.as_deref().unwrap_or("message") {
            "message" => {
                let role: String = item.need("role")?;
                let role = match role.as_str() {
                    "system" | "developer" => Role::System,
                    "user" => Role::User,
                    "assistant" => Role::Assistant,
                    _ => {
                        let hint = "it is `system`, `developer`, `user` or `assistant`";
                        return Err(bad(format!("`{}` is none that is known", path("role")), hint));
                    }
                };
                let content = item.need("content")?;
                messages.push(Message::new(role, text_of(&path("content"), content, &TEXTS)?));
            }
            "function_call" => {
                let call = ToolCall {
                    id: item.need("call_id")?,
                    name: item.need("name")?,
                    arguments: Value::String(item.need("arguments")?),
                };
                // Calls that were made together, and what was said before them, are one message.
                match messages.last_mut().filter(|last| last.role == Role::Assistant) {
                    Some(last) => last.tool_calls.push(call),
                    None => messages.push(Message {
                        role: Role::Assistant,
                        content: None,
                        tool_calls: vec![call],
                        tool_call_id: None,
                        name: None,
                    }),
                }
            }
            "function_call_output" => {
                let output = item.need("output")?;
                let id = item.need("call_id")?;
                let result = Message::new(Role::Tool, text_of(&path("output"), output, &TEXTS)?);
                messages.push(Message { tool_call_id: Some(id), ..result });
            }
            // What a model thought is for no other turn.
            "reasoning" => {}
            _ => {
                let message = format!("`{}`: there are no items of this type here", path("type"));
                return Err(bad(message, "send messages, function calls and their outputs"));
            }
        }
    }
    Ok(())
}

/// The response, once its job has ended.
async fn to_end(mut exchange: Exchange, mut builder: Builder) -> Result<Value, ApiError> {
    while let Some((_, event)) = exchange.next().await? {
        if let JobEvent::End(end) = &event
            && let Some(error) = answer::failed(end)
        {
            return Err(error);
        }
        builder.take(event, &mut |_| {});
    }
    Ok(builder.response())
}

/// The response, as far as its job is.
async fn so_far(mut exchange: Exchange, mut builder: Builder) -> Result<Value, ApiError> {
    exchange.so_far(|event| builder.take(event, &mut |_| {})).await?;
    Ok(builder.response())
}

/// A response that grows with its job's events.
///
/// Which events it tells of on the way depends on those of the job alone, so that their numbers are the same each time
/// they are read.
struct Builder {
    id: String,
    digits: String,
    created_at: u64,
    is_background: bool,
    model: String,
    echo: Echo,
    sequence_number: u64,
    status: &'static str,
    output: Vec<Value>,
    /// The item that is being written, which is the last of `output`.
    open: Option<Open>,
    end: Option<Box<End>>,
}

/// What the item that is being written is.
#[derive(Clone, Copy, PartialEq)]
enum Open {
    Message,
    Reasoning,
    Call,
}

/// Takes an event of the response's stream.
type Tell<'t> = &'t mut dyn FnMut(Value);

impl Builder {
    fn new(exchange: &Exchange, echo: Echo) -> Self {
        let digits = exchange.jobs().next().map(digits).unwrap_or_default().to_owned();
        Self {
            id: format!("resp_{digits}"),
            digits,
            created_at: exchange.created_at_ms() / 1000,
            is_background: exchange.is_detached(),
            model: String::new(),
            echo,
            sequence_number: 0,
            status: "queued",
            output: Vec::new(),
            open: None,
            end: None,
        }
    }

    /// Takes the events of a job that was told to stop, until it has or `timeout` is over.
    async fn until_end(&mut self, mut exchange: Exchange, timeout: Duration) -> Result<(), ApiError> {
        let read = async {
            while let Some((_, event)) = exchange.next().await? {
                self.take(event, &mut |_| {});
            }
            Ok(())
        };
        tokio::time::timeout(timeout, read).await.unwrap_or(Ok(()))
    }

    fn take(&mut self, event: JobEvent, tell: Tell<'_>) {
        match event {
            JobEvent::Narration(line) if line.action == API_REQUEST => {
                if self.sequence_number == 0 {
                    self.model = line.target.unwrap_or_default();
                    self.tell_response("response.created", tell);
                }
            }
            JobEvent::Token(token) => {
                self.begin();
                let (kind, event) = if token.reasoning {
                    (Open::Reasoning, "response.reasoning_text.delta")
                } else {
                    (Open::Message, "response.output_text.delta")
                };
                self.turn_to(kind, tell);
                let part = &mut self.output.last_mut().expect("it was opened")["content"][0];
                if let Value::String(text) = &mut part["text"] {
                    text.push_str(&token.text);
                }
                let mut delta = json!({"content_index": 0, "delta": token.text});
                if kind == Open::Message {
                    delta["logprobs"] = json!([]);
                }
                self.tell_of_item(event, delta, tell);
            }
            JobEvent::ToolCall(ToolCallPart { id, name, arguments, .. }) => {
                self.begin();
                if let Some(name) = name {
                    self.close(tell);
                    let item = json!({
                        "id": self.item_id("fc"), "type": "function_call", "status": "in_progress",
                        "call_id": id, "name": name, "arguments": "",
                    });
                    self.open(Open::Call, item, tell);
                }
                if self.open == Some(Open::Call) && !arguments.is_empty() {
                    let item = self.output.last_mut().expect("it was opened");
                    if let Value::String(all) = &mut item["arguments"] {
                        all.push_str(&arguments);
                    }
                    self.tell_of_item(
                        "response.function_call_arguments.delta",
                        json!({"delta": arguments}),
                        tell,
                    );
                }
            }
            JobEvent::End(end) => {
                self.status = match (end.state, end.finish_reason) {
                    (EndState::Succeeded, Some(FinishReason::Length)) => "incomplete",
                    (EndState::Succeeded, _) => "completed",
                    (EndState::Failed, _) => "failed",
                    (EndState::Cancelled, _) => "cancelled",
                };
                self.close(tell);
                self.end = Some(end);
                self.tell_response(&format!("response.{}", self.status), tell);
            }
            JobEvent::Narration(_)
            | JobEvent::Progress(_)
            | JobEvent::Embedding(_)
            | JobEvent::Result { .. } => {}
        }
        if self.status == "queued" && self.sequence_number == 1 {
            self.status = "in_progress";
            self.tell_response("response.in_progress", tell);
        }
    }

    fn begin(&mut self) {
        self.status = "in_progress";
    }

    fn item_id(&self, kind: &str) -> String {
        format!("{kind}_{}_{}", self.digits, self.output.len())
    }

    /// Has the item that is being written be of this kind.
    fn turn_to(&mut self, kind: Open, tell: Tell<'_>) {
        if self.open == Some(kind) {
            return;
        }
        self.close(tell);
        let (item, part) = match kind {
            Open::Reasoning => (
                json!({"id": self.item_id("rs"), "type": "reasoning", "summary": [], "content": []}),
                json!({"type": "reasoning_text", "text": ""}),
            ),
            Open::Message | Open::Call => (
                json!({
                    "id": self.item_id("msg"), "type": "message", "role": "assistant", "content": [],
                    "status": "in_progress",
                }),
                json!({"type": "output_text", "text": "", "annotations": [], "logprobs": []}),
            ),
        };
        self.open(kind, item, tell);
        self.output.last_mut().expect("it was opened")["content"] = json!([part]);
        self.tell_of_item("response.content_part.added", json!({"content_index": 0, "part": part}), tell);
    }

    fn open(&mut self, kind: Open, item: Value, tell: Tell<'_>) {
        self.output.push(item.clone());
        self.open = Some(kind);
        let index = self.output.len() - 1;
        self.tell("response.output_item.added", json!({"output_index": index, "item": item}), tell);
    }

    /// Ends the item that is being written, if there is one.
    fn close(&mut self, tell: Tell<'_>) {
        let Some(kind) = self.open.take() else { return };
        let index = self.output.len() - 1;
        let item = &mut self.output[index];
        if kind != Open::Reasoning {
            // Only what the model went on from is whole for certain.
            let is_cut = matches!(self.status, "incomplete" | "failed" | "cancelled");
            item["status"] = if is_cut { "incomplete" } else { "completed" }.into();
        }
        let item = item.clone();
        match kind {
            Open::Call => {
                let done = json!({"arguments": item["arguments"], "name": item["name"]});
                self.tell_of_item("response.function_call_arguments.done", done, tell);
            }
            Open::Message | Open::Reasoning => {
                let part = &item["content"][0];
                let mut done = json!({"content_index": 0, "text": part["text"]});
                let event = if kind == Open::Message {
                    done["logprobs"] = json!([]);
                    "response.output_text.done"
                } else {
                    "response.reasoning_text.done"
                };
                self.tell_of_item(event, done, tell);
                self.tell_of_item(
                    "response.content_part.done",
                    json!({"content_index": 0, "part": part}),
                    tell,
                );
            }
        }
        self.tell("response.output_item.done", json!({"output_index": index, "item": item}), tell);
    }

    fn tell_of_item(&mut self, event: &str, mut fields: Value, tell: Tell<'_>) {
        let index = self.output.len() - 1;
        fields["output_index"] = index.into();
        fields["item_id"] = self.output[index]["id"].clone();
        self.tell(event, fields, tell);
    }

    fn tell_response(&mut self, event: &str, tell: Tell<'_>) {
        let response = self.response();
        self.tell(event, json!({"response": response}), tell);
    }

    fn tell(&mut self, event: &str, mut fields: Value, tell: Tell<'_>) {
        fields["type"] = event.into();
        fields["sequence_number"] = self.sequence_number.into();
        self.sequence_number += 1;
        tell(fields);
    }

    fn response(&self) -> Value {
        let end = self.end.as_deref();
        let error = end.and_then(answer::failed).filter(|_| self.status == "failed");
        let usage = end.filter(|end| end.usage.is_some()).map(|end| {
            let usage = answer::usage(Some(end));
            json!({
                "input_tokens": usage.prompt_tokens,
                "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
                "output_tokens": usage.completion_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            })
        });
        let mut response = Value::Object(self.echo.0.clone());
        let own = json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": self.status,
            "background": self.is_background,
            "error": error.map(|error| json!({"code": error.code, "message": message(&error)})),
            "incomplete_details": (self.status == "incomplete").then(|| json!({"reason": "max_output_tokens"})),
            "model": self.model,
            "output": self.output,
            "usage": usage,
        });
        if let (Value::Object(response), Value::Object(own)) = (&mut response, own) {
            response.extend(own);
        }
        response
    }
}

/// A response as a stream of what becomes of it.
struct Stream {
    builder: Builder,
    /// Events up to this number have been received before.
    after: Option<u64>,
}

impl Translate for Stream {
    fn content_type(&self) -> &'static str {
        "text/event-stream"
    }

    fn event(&mut self, _job: usize, event: JobEvent, out: &mut Vec<u8>) {
        comment(out, &event);
        let after = self.after;
        self.builder.take(event, &mut |event| {
            if after.is_none_or(|after| event["sequence_number"].as_u64() > Some(after)) {
                sse(out, event["type"].as_str(), &event);
            }
        });
    }

    fn done(&mut self, _out: &mut Vec<u8>) {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::tests::{answer, cases, joined, told};

    fn builder() -> Builder {
        Builder {
            id: "resp_1".to_owned(),
            digits: "1".to_owned(),
            created_at: 1,
            is_background: false,
            model: String::new(),
            echo: Echo::default(),
            sequence_number: 0,
            status: "queued",
            output: Vec::new(),
            open: None,
            end: None,
        }
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn a_stream_is_the_answer_in_pieces_and_goes_on_anywhere(events in answer(), after in 0..40_u64) {
            let all = told(&events, Stream { builder: builder(), after: None });
            let mut whole = builder();
            events.iter().for_each(|event| whole.take(event.clone(), &mut |_| {}));
            let response = whole.response();
            assert_eq!(all.last().expect("there is an end")["response"], response);
            for (event, kind, pointer) in [
                ("response.output_text.delta", "message", "/content/0/text"),
                ("response.reasoning_text.delta", "reasoning", "/content/0/text"),
                ("response.function_call_arguments.delta", "function_call", "/arguments"),
            ] {
                let deltas: Vec<_> = all.iter().filter(|told| told["type"] == event).cloned().collect();
                let items = response["output"].as_array().expect("a list").iter();
                let items: Vec<_> = items.filter(|item| item["type"] == kind).cloned().collect();
                assert_eq!(joined(&deltas, "/delta"), joined(&items, pointer));
            }
            for (number, event) in all.iter().enumerate() {
                assert_eq!(event["sequence_number"], number);
            }
            let rest = told(&events, Stream { builder: builder(), after: Some(after) });
            let skipped = usize::try_from(after + 1).expect("it is small").min(all.len());
            assert_eq!(rest, all[skipped..]);
        }
    }

    #[test]
    fn a_conversations_items_become_messages() {
        let items = json!([
            {"role": "user", "content": "a"},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "2", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "c"},
        ]);
        let mut messages = Vec::new();
        add_items(&mut messages, typed("input", items).expect("items")).expect("they can be read");
        let roles: Vec<Role> = messages.iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool]);
        assert_eq!(messages[1].tool_calls.len(), 2);
        assert_eq!(messages[2].tool_call_id.as_deref(), Some("1"));
        let refused =
            add_items(&mut messages, typed("input", json!([{"type": "computer_call"}])).expect("items"));
        assert!(refused.expect_err("nobody does it").message.starts_with("`input[0].type`"));
    }
}
