//! Anthropic's API: messages, and counting their tokens.

use axum::Extension;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use rbee_jobs::{Exchange, Failed, Json, Permission, Principal, Routes, Translate};
use rbee_protocol::{
    ApiError, End, FinishReason, InferRequest, JobEvent, Message, Operation, Phase, Role, Tool, ToolCall,
    ToolCallPart, ToolChoice,
};
use serde_json::{Map, Value, json};
use utoipa::{OpenApi, ToSchema};

use super::answer::{self, Whole};
use super::fields::{Fields, bad, text_of, typed};
use super::openai::{json_schema, message};
use super::{Api, Asked, Names, SseEvent, comment, digits, model_ref, sse, status, stream, whole};

/// Whose API it is, in narration.
const API: &str = "Anthropic's";

/// What is called otherwise there.
const NAMES: Names =
    &[("stop", "stop_sequences"), ("json_schema", "output_config.format"), (".parameters", ".input_schema")];

const TEXTS: [&str; 1] = ["text"];

/// What of the description in `rbee_jobs::describe` stands with the handlers.
#[derive(OpenApi)]
#[openapi(
    paths(create, count_tokens),
    tags((
        name = "anthropic",
        description = "Anthropic's API, for clients that speak it. docs/compatibility.md tells of each field whether it \
                       is supported, ignored or refused."
    ))
)]
pub(crate) struct AnthropicApi;

pub(super) fn routes(api: Api) -> Routes {
    Routes::default()
        .add(Method::POST, "/v1/messages", Permission::User, create)
        .add(Method::POST, "/v1/messages/count_tokens", Permission::User, count_tokens)
        .with_state(api)
        .shaped(shape)
}

/// A failure in Anthropic's words.
fn shape(error: &ApiError) -> (StatusCode, Value) {
    (status(error), error_object(error))
}

fn error_object(error: &ApiError) -> Value {
    let kind = match error.code.http_status() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": message(error), "code": error.code}})
}

/// A request for a conversation's next message; docs/compatibility.md tells of all fields.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used: fields are taken one by one")]
struct MessagesRequest {
    /// The conversation so far.
    #[schema(min_items = 1)]
    messages: Vec<ConversationMessage>,
    /// How many tokens to generate at most.
    #[schema(minimum = 1, format = "uint32", maximum = 4_294_967_295_u32)]
    max_tokens: u32,
    /// The name of a model, or an alias.
    model: Option<String>,
    /// What the model is to heed before the conversation.
    system: Option<String>,
    /// Whether the answer comes as a stream.
    stream: Option<bool>,
}

/// A request to count a conversation's tokens, with the fields of one to answer it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used: fields are taken one by one")]
struct CountTokensRequest {
    /// The conversation so far.
    #[schema(min_items = 1)]
    messages: Vec<ConversationMessage>,
    /// The name of a model, or an alias.
    model: Option<String>,
    /// What the model is to heed before the conversation.
    system: Option<String>,
}

/// A message of a conversation.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used: fields are taken one by one")]
struct ConversationMessage {
    /// Who speaks.
    role: Speaker,
    /// What they say.
    content: String,
}

/// Who speaks in a conversation.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used: fields are taken one by one")]
enum Speaker {
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
}

/// Answer a conversation
///
/// In one piece, or with `stream` as server-sent events. A connection that closes cancels the job.
#[utoipa::path(
    post, path = "/v1/messages", tag = "anthropic", operation_id = "create_message",
    request_body(content = MessagesRequest, example = json!({
        "max_tokens": 64, "messages": [{"role": "user", "content": "hello"}]
    })),
    responses(
        (
            status = 200, description = "The answer.",
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
async fn create(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
    Json(fields): Json<Map<String, Value>>,
) -> Result<Response, Failed> {
    let (model, request, streams, notes) = asked(Fields::new(fields), true)?;
    let asked = Asked::new(API, model.clone(), Operation::Infer(request), notes);
    let exchange = api.ask(&principal, Asked { names: NAMES, ..asked }).await?;
    let head = head(&exchange, &model);
    if streams {
        let translate = Stream { head, has_begun: false, prompt_tokens: 0, block: None, blocks: 0 };
        return Ok(stream(exchange, translate).await);
    }
    Ok(whole(exchange, |answers| message_of(head, answers)).await)
}

/// Count a conversation's tokens
///
/// As the model's chat template has them, without computing anything.
#[utoipa::path(
    post, path = "/v1/messages/count_tokens", tag = "anthropic", operation_id = "count_tokens",
    request_body(content = CountTokensRequest, example = json!({
        "messages": [{"role": "user", "content": "hello"}]
    })),
    responses(
        (status = 200, description = "How many there are.", body = Object),
        (status = 404, description = "`not_found`: there is no such model."),
        (status = 409, description = "`cancelled`: somebody cancelled the job."),
        (status = 422, description = "`bad_model`: the model's file is not one that can be used."),
        (status = 500, description = "`internal`, `io`, `worker_crashed`, `worker_hung`, `quota`, `abandoned`: it failed."),
        (status = 503, description = "`unavailable`, `does_not_fit`, `interrupted`: nobody can answer it now."),
        (status = 507, description = "`disk_full`: there is no room to keep the job."),
    )
)]
async fn count_tokens(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
    Json(fields): Json<Map<String, Value>>,
) -> Result<Response, Failed> {
    let (model, request, _, notes) = asked(Fields::new(fields), false)?;
    let asked = Asked::new(API, model, Operation::CountTokens(request), notes);
    let exchange = api.ask(&principal, Asked { names: NAMES, ..asked }).await?;
    let count = |answers: Vec<Whole>| {
        let count = answers.first().and_then(|whole| whole.result.as_ref());
        json!({"input_tokens": count.map_or(Value::Null, |count| count["prompt_tokens"].clone())})
    };
    Ok(whole(exchange, count).await)
}

/// What a request asks for: the model's name, the request itself, whether as a stream, and what to tell its job.
fn asked(
    mut fields: Fields,
    is_answered: bool,
) -> Result<(String, InferRequest, bool, Vec<String>), ApiError> {
    let model: Option<String> = fields.take("model")?;
    let mut request =
        InferRequest { model: model_ref(model.as_deref()), fallback: true, ..Default::default() };
    if let Some(system) = fields.take("system")? {
        let system = text_of("system", system, &TEXTS)?;
        if !system.is_empty() {
            request.messages.push(Message::new(Role::System, system));
        }
    }
    let messages: Vec<Map<String, Value>> = fields.need("messages")?;
    for (index, said) in messages.into_iter().enumerate() {
        add_message(&mut request.messages, index, said)?;
    }
    let max_tokens = fields.take("max_tokens")?;
    if is_answered && max_tokens.is_none() {
        return Err(bad("`max_tokens` is missing", "every request needs it"));
    }
    request.max_tokens = max_tokens;
    request.temperature = fields.take("temperature")?;
    request.top_p = fields.take("top_p")?;
    request.top_k = fields.take("top_k")?;
    request.stop = fields.list("stop_sequences")?;
    request.truncate = fields.take("truncate")?.unwrap_or(false);
    request.tools = tools(&mut fields)?;
    if let Some(choice) = fields.take("tool_choice")? {
        add_tool_choice(&mut request, typed("tool_choice", choice)?)?;
    }
    let output: Map<String, Value> = fields.take("output_config")?.unwrap_or_default();
    let mut output = Fields::within("output_config", output);
    if let Some(format) = output.take("format")? {
        request.json_schema = json_schema("output_config.format", format)?;
    }
    output.ignore(&["effort"]);
    output.notes().into_iter().for_each(|note| fields.note(note));
    let streams = fields.take("stream")?.unwrap_or(false);
    fields.refuse("mcp_servers", &[json!([])], "nothing here calls other servers")?;
    fields.refuse("container", &[], "nothing here runs code")?;
    fields.ignore(&["metadata", "service_tier", "thinking", "context_management", "cache_control"]);
    Ok((model.unwrap_or_default(), request, streams, fields.notes()))
}

/// Adds a message, whose blocks may be several of ours.
fn add_message(messages: &mut Vec<Message>, index: usize, said: Map<String, Value>) -> Result<(), ApiError> {
    let path = format!("messages[{index}]");
    let mut said = Fields::within(&path, said);
    let role = match said.need::<String>("role")?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => return Err(bad(format!("`{path}.role` is none that is known"), "it is `user` or `assistant`")),
    };
    let blocks: Vec<Map<String, Value>> = match said.need("content")? {
        Value::String(text) => {
            messages.push(Message::new(role, text));
            return Ok(());
        }
        blocks => typed(&format!("{path}.content"), blocks)?,
    };
    let mut text = Vec::new();
    let mut tool_calls = Vec::new();
    for (at, block) in blocks.into_iter().enumerate() {
        let path = format!("{path}.content[{at}]");
        let mut block = Fields::within(&path, block);
        match (block.need::<String>("type")?.as_str(), role) {
            ("text", _) => text.push(block.need::<String>("text")?),
            ("tool_use", Role::Assistant) => tool_calls.push(ToolCall {
                id: block.need("id")?,
                name: block.need("name")?,
                arguments: Value::Object(block.need("input")?),
            }),
            ("tool_result", Role::User) => {
                let id = block.need("tool_use_id")?;
                let content = block.take("content")?.unwrap_or_else(|| json!(""));
                let result = Message::new(Role::Tool, text_of(&format!("{path}.content"), content, &TEXTS)?);
                messages.push(Message { tool_call_id: Some(id), ..result });
            }
            // What a model thought is for no other turn.
            ("thinking" | "redacted_thinking", Role::Assistant) => {}
            _ => {
                let message = format!("`{path}.type`: blocks of this type are not taken here");
                return Err(bad(message, "the models here read text, and results of tools"));
            }
        }
    }
    if !text.is_empty() || !tool_calls.is_empty() {
        let content = (!text.is_empty()).then(|| text.join("\n"));
        messages.push(Message { role, content, tool_calls, tool_call_id: None, name: None });
    }
    Ok(())
}

fn tools(fields: &mut Fields) -> Result<Vec<Tool>, ApiError> {
    let tools: Vec<Map<String, Value>> = fields.list("tools")?;
    let tool = |(index, tool)| {
        let path = format!("tools[{index}]");
        let mut tool = Fields::within(&path, tool);
        if tool.take::<String>("type")?.is_some_and(|kind| kind != "custom") {
            let message = format!("`{path}.type`: there are no tools of this type here");
            return Err(bad(message, "define tools with an `input_schema`, and call them yourself"));
        }
        Ok(Tool {
            name: tool.need("name")?,
            description: tool.take("description")?,
            parameters: tool.take("input_schema")?,
        })
    };
    (0..).zip(tools).map(tool).collect()
}

fn add_tool_choice(request: &mut InferRequest, choice: Map<String, Value>) -> Result<(), ApiError> {
    let mut choice = Fields::within("tool_choice", choice);
    request.tool_choice = Some(match choice.need::<String>("type")?.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Name(choice.need("name")?),
        _ => {
            let hint = "it is `auto`, `any`, `none` or `tool`";
            return Err(bad("`tool_choice.type` is none that is known", hint));
        }
    });
    let is_single: Option<bool> = choice.take("disable_parallel_tool_use")?;
    request.parallel_tool_calls = is_single.map(|is_single| !is_single);
    Ok(())
}

/// A message before its first block.
fn head(exchange: &Exchange, model: &str) -> Value {
    let digits = exchange.jobs().next().map(digits).unwrap_or_default();
    json!({
        "id": format!("msg_{digits}"), "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": usage(0, 0, 0),
    })
}

fn usage(prompt_tokens: u64, cached_tokens: u64, completion_tokens: u64) -> Value {
    json!({
        // Those that were read from a cache are counted apart.
        "input_tokens": prompt_tokens.saturating_sub(cached_tokens),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached_tokens,
        "output_tokens": completion_tokens,
    })
}

fn usage_of(end: Option<&End>) -> Value {
    let all = answer::usage(end);
    usage(all.prompt_tokens, all.cached_tokens, all.completion_tokens)
}

/// Why an answer stops, and at which stop sequence if at one.
fn stop(end: Option<&End>) -> (&'static str, Value) {
    let sequence = end.and_then(|end| end.stop.clone());
    let reason = match end.and_then(|end| end.finish_reason) {
        Some(FinishReason::Length) => "max_tokens",
        Some(FinishReason::ToolCalls) => "tool_use",
        _ if sequence.is_some() => "stop_sequence",
        _ => "end_turn",
    };
    (reason, sequence.into())
}

/// The message that an answer is.
fn message_of(mut message: Value, answers: Vec<Whole>) -> Value {
    let whole = answers.into_iter().next().unwrap_or_default();
    let mut content = Vec::new();
    if !whole.reasoning.is_empty() {
        content.push(json!({"type": "thinking", "thinking": whole.reasoning, "signature": ""}));
    }
    if !whole.text.is_empty() {
        content.push(json!({"type": "text", "text": whole.text}));
    }
    for call in whole.calls {
        let input: Value = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
        content.push(json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input}));
    }
    message["content"] = content.into();
    let end = whole.end.as_deref();
    let (reason, sequence) = stop(end);
    message["stop_reason"] = reason.into();
    message["stop_sequence"] = sequence;
    message["usage"] = usage_of(end);
    message
}

/// A message as a stream of what becomes of it.
struct Stream {
    head: Value,
    has_begun: bool,
    prompt_tokens: u64,
    /// The block that is being written.
    block: Option<Block>,
    /// How many blocks have been ended.
    blocks: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Block {
    Text,
    Thinking,
    Call,
}

impl Stream {
    fn tell(event: Value, out: &mut Vec<u8>) {
        sse(out, event["type"].as_str(), &event);
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.head["usage"] = usage(self.prompt_tokens, 0, 0);
            Self::tell(json!({"type": "message_start", "message": self.head}), out);
        }
    }

    fn open(&mut self, block: Block, content: Value, out: &mut Vec<u8>) {
        self.begin(out);
        self.close(out);
        self.block = Some(block);
        let start = json!({"type": "content_block_start", "index": self.blocks, "content_block": content});
        Self::tell(start, out);
    }

    fn delta(&self, delta: Value, out: &mut Vec<u8>) {
        Self::tell(json!({"type": "content_block_delta", "index": self.blocks, "delta": delta}), out);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.block.take().is_some() {
            Self::tell(json!({"type": "content_block_stop", "index": self.blocks}), out);
            self.blocks += 1;
        }
    }

    fn end(&mut self, end: &End, out: &mut Vec<u8>) {
        if let Some(error) = answer::failed(end) {
            return Self::tell(error_object(&error), out);
        }
        self.begin(out);
        self.close(out);
        let (reason, sequence) = stop(Some(end));
        let delta = json!({"stop_reason": reason, "stop_sequence": sequence});
        Self::tell(json!({"type": "message_delta", "delta": delta, "usage": usage_of(Some(end))}), out);
        Self::tell(json!({"type": "message_stop"}), out);
    }
}

impl Translate for Stream {
    fn content_type(&self) -> &'static str {
        "text/event-stream"
    }

    fn event(&mut self, _job: usize, event: JobEvent, out: &mut Vec<u8>) {
        match event {
            JobEvent::Token(token) => {
                let (block, content, delta) = if token.reasoning {
                    let delta = json!({"type": "thinking_delta", "thinking": token.text});
                    (Block::Thinking, json!({"type": "thinking", "thinking": "", "signature": ""}), delta)
                } else {
                    let delta = json!({"type": "text_delta", "text": token.text});
                    (Block::Text, json!({"type": "text", "text": ""}), delta)
                };
                if self.block != Some(block) {
                    self.open(block, content, out);
                }
                self.delta(delta, out);
            }
            JobEvent::ToolCall(ToolCallPart { id, name, arguments, .. }) => {
                if let Some(name) = name {
                    let call = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                    self.open(Block::Call, call, out);
                }
                if !arguments.is_empty() {
                    self.delta(json!({"type": "input_json_delta", "partial_json": arguments}), out);
                }
            }
            JobEvent::End(end) => self.end(&end, out),
            event => {
                if let JobEvent::Progress(progress) = &event
                    && progress.phase == Phase::Prefill
                {
                    self.prompt_tokens = progress.total.unwrap_or(self.prompt_tokens);
                }
                comment(out, &event);
            }
        }
    }

    fn done(&mut self, _out: &mut Vec<u8>) {}

    fn heartbeat(&self) -> &'static [u8] {
        b"event: ping\ndata: {\"type\":\"ping\"}\n\n"
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::tests::{answer, cases, joined, told};

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn a_stream_is_the_answer_in_pieces(events in answer()) {
            let stream = Stream { head: json!({}), has_begun: false, prompt_tokens: 0, block: None, blocks: 0 };
            let told = told(&events, stream);
            let message = message_of(json!({}), vec![crate::api::tests::whole(&events)]);
            let content = message["content"].as_array().expect("a list");
            for (delta, field) in [("text", "/text"), ("thinking", "/thinking")] {
                assert_eq!(joined(&told, &format!("/delta/{delta}")), joined(content, field));
            }
            let names = joined(&told, "/content_block/name");
            assert_eq!(names, joined(content, "/name"));
            let inputs = content.iter().filter_map(|block| block.get("input"));
            let deltas = joined(&told, "/delta/partial_json");
            let streamed = serde_json::Deserializer::from_str(&deltas).into_iter::<Value>();
            let streamed: Vec<Value> = streamed.map(|input| input.expect("JSON")).collect();
            assert!(streamed.iter().eq(inputs));
            assert_eq!(joined(&told, "/delta/stop_reason"), message["stop_reason"]);
            let ends: Vec<_> = told.iter().filter(|event| event["type"] == "message_delta").collect();
            assert_eq!((ends.len(), &ends[0]["usage"]), (1, &message["usage"]));
            let starts = told.iter().filter(|event| event["type"] == "content_block_start").count();
            let stops = told.iter().filter(|event| event["type"] == "content_block_stop").count();
            assert_eq!(starts, stops);
        }
    }

    #[test]
    fn blocks_become_messages() {
        let mut messages = Vec::new();
        let mut add = |said: Value| add_message(&mut messages, 0, typed("message", said).expect("an object"));
        add(json!({"role": "assistant", "content": [
            {"type": "thinking", "thinking": "a", "signature": "b"}, {"type": "text", "text": "c"},
            {"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}},
        ]}))
        .expect("blocks");
        add(json!({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "d"}]},
            {"type": "text", "text": "e"},
        ]}))
        .expect("blocks");
        let error = add(json!({"role": "user", "content": [{"type": "image", "source": {}}]}));
        assert!(error.expect_err("it is a picture").message.starts_with("`messages[0].content[0].type`"));
        let roles: Vec<Role> = messages.iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::Assistant, Role::Tool, Role::User]);
        assert_eq!(messages[0].tool_calls[0].arguments, json!({"x": 1}));
        assert_eq!(messages[1].tool_call_id.as_deref(), Some("1"));
    }
}
