use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use rbee_jobs::{Failed, Json, Principal, Translate};
use rbee_protocol::{
    ApiError, End, InferRequest, JobEvent, Message, Operation, Role, Token, ToolCall, ToolCallPart, Usage,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{
    API, NAMES, error_object, finish_reason, json_schema, logprobs, sampling, tool_choice, tools, usage,
    usage_of, with_usage,
};
use crate::api::answer::{self, Call, Whole};
use crate::api::fields::{Fields, bad, text_of};
use crate::api::{Api, Asked, SseEvent, comment, digits, model_ref, sse, stream, whole};

/// One request has so many answers at most, each a job.
pub(super) const CHOICES_MAX: usize = 8;

/// Types of parts of a message that are texts.
const TEXTS: [&str; 2] = ["text", "refusal"];

/// A request for a chat's next message; docs/compatibility.md tells of all fields.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used: fields are taken one by one")]
pub(super) struct ChatCompletionRequest {
    /// The chat so far.
    #[schema(min_items = 1)]
    messages: Vec<ChatMessage>,
    /// The name of a model, or an alias.
    model: Option<String>,
    /// Whether the answer comes as a stream.
    stream: Option<bool>,
    /// How many tokens to generate at most.
    #[schema(minimum = 1, format = "uint32", maximum = 4_294_967_295_u32)]
    max_completion_tokens: Option<u32>,
}

/// A message of a chat.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used: fields are taken one by one")]
pub(in crate::api) struct ChatMessage {
    /// Who speaks.
    role: Role,
    /// What they say.
    content: String,
}

/// Answer a chat
///
/// In one piece, or with `stream` as server-sent events. A connection that closes cancels the job.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "openai", operation_id = "create_chat_completion",
    request_body(content = ChatCompletionRequest, example = json!({
        "model": "SmolLM2-135M-Instruct.Q4_1", "messages": [{"role": "user", "content": "hello"}]
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
pub(super) async fn create(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
    Json(fields): Json<Map<String, Value>>,
) -> Result<Response, Failed> {
    let (asked, form) = asked(Fields::new(fields))?;
    let model = asked.model.clone();
    let exchange = api.ask(&principal, asked).await?;
    let id = exchange.jobs().next().map(|job| format!("chatcmpl-{}", digits(job))).unwrap_or_default();
    let head = Head { id, created: exchange.created_at_ms() / 1000, model };
    if form.streams {
        let choices = exchange.jobs().map(|_| Choice::default()).collect();
        return Ok(stream(exchange, Stream { head, choices, form, has_failed: false }).await);
    }
    Ok(whole(exchange, |answers| completion(&head, &answers, form)).await)
}

/// How an answer is to be given.
#[derive(Clone, Copy)]
struct Form {
    streams: bool,
    with_usage: bool,
    with_logprobs: bool,
}

/// What all parts of an answer begin with.
struct Head {
    id: String,
    created: u64,
    model: String,
}

fn asked(mut fields: Fields) -> Result<(Asked, Form), ApiError> {
    let model: Option<String> = fields.take("model")?;
    let mut request =
        InferRequest { model: model_ref(model.as_deref()), fallback: true, ..Default::default() };
    let messages: Vec<Said> = fields.need("messages")?;
    let messages = (0..).zip(messages).map(|(index, said)| said.message(index));
    request.messages = messages.collect::<Result<_, _>>()?;
    sampling::take(&mut fields, &mut request)?;
    let max_tokens = fields.take("max_tokens")?;
    request.max_tokens = fields.take("max_completion_tokens")?.or(max_tokens);
    request.tools = tools(&mut fields)?;
    request.tool_choice = tool_choice(&mut fields)?;
    request.parallel_tool_calls = fields.take("parallel_tool_calls")?;
    if let Some(format) = fields.take("response_format")? {
        request.json_schema = json_schema("response_format", format)?;
    }
    request.grammar = fields.take("grammar")?;
    request.truncate = fields.take("truncate")?.unwrap_or(false);
    let with_logprobs = fields.take("logprobs")?.unwrap_or(false);
    let top_logprobs = fields.take("top_logprobs")?;
    if top_logprobs.is_some() && !with_logprobs {
        return Err(bad("`top_logprobs` needs `logprobs`", "set `logprobs` to true"));
    }
    request.logprobs = with_logprobs.then(|| top_logprobs.unwrap_or(0));
    let form = Form {
        streams: fields.take("stream")?.unwrap_or(false),
        with_usage: with_usage(&mut fields)?,
        with_logprobs,
    };
    let choices = choices(&mut fields)?;

    fields.refuse("audio", &[], "the models here write text alone")?;
    fields.refuse("modalities", &[json!(["text"])], "the models here write text alone")?;
    fields.refuse("functions", &[json!([])], "use `tools`")?;
    fields.refuse("function_call", &[json!("none"), json!("auto")], "use `tool_choice`")?;
    fields.refuse("web_search_options", &[], "nothing here searches the web")?;
    fields.ignore(&[
        "user",
        "store",
        "metadata",
        "service_tier",
        "prediction",
        "reasoning_effort",
        "verbosity",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
    ]);
    let operations = Box::new(operations(request, choices));
    let model = model.unwrap_or_default();
    let notes = fields.notes();
    Ok((Asked { api: API, model, operations, detached: false, names: NAMES, notes }, form))
}

/// How many answers are wanted.
pub(super) fn choices(fields: &mut Fields) -> Result<usize, ApiError> {
    let choices = fields.take("n")?.unwrap_or(1);
    if !(1..=CHOICES_MAX).contains(&choices) {
        return Err(bad("`n` is out of its range", &format!("give it a number from 1 to {CHOICES_MAX}")));
    }
    Ok(choices)
}

/// The same request so many times, with seeds that follow one another, so that the answers differ.
pub(super) fn operations(request: InferRequest, choices: usize) -> impl Iterator<Item = Operation> + Send {
    (0..choices as u64).map(move |choice| {
        let seed = request.seed.map(|seed| seed.wrapping_add(choice));
        Operation::Infer(InferRequest { seed, ..request.clone() })
    })
}

/// A message as clients send it. What else they send with it, e.g. what they got with an answer, does nothing.
#[derive(Deserialize)]
#[serde(expecting = "a message")]
struct Said {
    role: String,
    #[serde(default)]
    content: Value,
    refusal: Option<String>,
    tool_calls: Option<Vec<SaidCall>>,
    function_call: Option<Value>,
    tool_call_id: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "a call of a tool")]
struct SaidCall {
    id: String,
    function: SaidFunction,
}

#[derive(Deserialize)]
#[serde(expecting = "a function's name and arguments")]
struct SaidFunction {
    name: String,
    #[serde(default)]
    arguments: String,
}

impl Said {
    fn message(self, index: usize) -> Result<Message, ApiError> {
        let path = |field: &str| format!("messages[{index}].{field}");
        let role = match self.role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            _ => {
                let message = format!("`{}` is none that is known", path("role"));
                return Err(bad(message, "it is `system`, `developer`, `user`, `assistant` or `tool`"));
            }
        };
        if self.function_call.is_some() {
            let message = format!("`{}` is not supported", path("function_call"));
            return Err(bad(message, "use `tool_calls`"));
        }
        let content = match self.content {
            Value::Null => self.refusal,
            content => Some(text_of(&path("content"), content, &TEXTS)?),
        };
        let tool_calls: Vec<ToolCall> = self.tool_calls.into_iter().flatten().map(tool_call).collect();
        Ok(Message { role, content, tool_calls, tool_call_id: self.tool_call_id, name: self.name })
    }
}

fn tool_call(call: SaidCall) -> ToolCall {
    let SaidCall { id, function: SaidFunction { name, arguments } } = call;
    ToolCall { id, name, arguments: Value::String(arguments) }
}

fn completion(head: &Head, answers: &[Whole], form: Form) -> Value {
    let choice = |(index, whole): (usize, &Whole)| {
        let mut message = json!({"role": "assistant", "content": whole.text, "refusal": null});
        if !whole.reasoning.is_empty() {
            message["reasoning_content"] = whole.reasoning.clone().into();
        }
        if !whole.calls.is_empty() {
            if whole.text.is_empty() {
                message["content"] = Value::Null;
            }
            message["tool_calls"] = whole.calls.iter().map(call).collect();
        }
        json!({
            "index": index,
            "message": message,
            "logprobs": form.with_logprobs.then(|| logprobs(&whole.logprobs)),
            "finish_reason": finish_reason(whole.finish_reason()),
        })
    };
    json!({
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": answers.iter().enumerate().map(choice).collect::<Vec<_>>(),
        "usage": usage(usage_of(answers.iter().map(Whole::usage))),
    })
}

fn call(call: &Call) -> Value {
    let Call { id, name, arguments } = call;
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

/// An answer in chunks.
struct Stream {
    head: Head,
    choices: Vec<Choice>,
    form: Form,
    has_failed: bool,
}

/// How far one of the answers is.
#[derive(Default)]
struct Choice {
    has_begun: bool,
    usage: Option<Usage>,
}

impl Stream {
    fn chunk(&self, choices: Value, usage: Value, out: &mut Vec<u8>) {
        let Head { id, created, model } = &self.head;
        let mut chunk = json!({
            "id": id, "object": "chat.completion.chunk", "created": created, "model": model, "choices": choices,
        });
        if self.form.with_usage {
            chunk["usage"] = usage;
        }
        sse(out, None, &chunk);
    }

    fn delta(
        &mut self,
        job: usize,
        delta: Value,
        logprobs: Option<Value>,
        reason: Option<&str>,
        out: &mut Vec<u8>,
    ) {
        if !std::mem::replace(&mut self.choices[job].has_begun, true) {
            self.delta(job, json!({"role": "assistant", "content": ""}), None, None, out);
        }
        let choice = json!([{"index": job, "delta": delta, "logprobs": logprobs, "finish_reason": reason}]);
        self.chunk(choice, Value::Null, out);
    }

    fn end(&mut self, job: usize, end: &End, out: &mut Vec<u8>) {
        if let Some(error) = answer::failed(end) {
            self.has_failed = true;
            return sse(out, None, &json!({"error": error_object(&error)}));
        }
        self.choices[job].usage = Some(answer::usage(Some(end)));
        self.delta(job, json!({}), None, Some(finish_reason(end.finish_reason)), out);
    }
}

impl Translate for Stream {
    fn content_type(&self) -> &'static str {
        "text/event-stream"
    }

    fn event(&mut self, job: usize, event: JobEvent, out: &mut Vec<u8>) {
        match event {
            // After a failure nothing may look like an answer.
            _ if self.has_failed => {}
            JobEvent::Token(Token { text, reasoning: true, .. }) => {
                self.delta(job, json!({"reasoning_content": text}), None, None, out);
            }
            JobEvent::Token(token) => {
                let logprobs = self.form.with_logprobs.then(|| logprobs(&token.logprobs));
                self.delta(job, json!({"content": token.text}), logprobs, None, out);
            }
            JobEvent::ToolCall(ToolCallPart { index, id, name, arguments }) => {
                let mut call = json!({"index": index, "function": {"arguments": arguments}});
                if let Some(name) = name {
                    call["id"] = id.into();
                    call["type"] = "function".into();
                    call["function"]["name"] = name.into();
                }
                self.delta(job, json!({"tool_calls": [call]}), None, None, out);
            }
            JobEvent::End(end) => self.end(job, &end, out),
            event => comment(out, &event),
        }
    }

    fn done(&mut self, out: &mut Vec<u8>) {
        if self.has_failed {
            return;
        }
        if self.form.with_usage {
            let all = usage_of(self.choices.iter().filter_map(|choice| choice.usage));
            self.chunk(json!([]), usage(all), out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn is_over(&self) -> bool {
        self.has_failed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::tests::{answer, cases, joined, told, whole};

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn a_stream_is_the_answer_in_pieces(events in answer()) {
            let head = || Head { id: "a".to_owned(), created: 1, model: "m".to_owned() };
            let form = Form { streams: true, with_usage: true, with_logprobs: false };
            let stream = Stream { head: head(), choices: vec![Choice::default()], form, has_failed: false };
            let told = told(&events, stream);
            let whole = completion(&head(), &[whole(&events)], form);
            let message = &whole["choices"][0]["message"];
            for field in ["content", "reasoning_content"] {
                let streamed = joined(&told, &format!("/choices/0/delta/{field}"));
                assert_eq!(streamed, message[field].as_str().unwrap_or_default());
            }
            let calls = message["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
            for (field, pointer) in [("name", "/function/name"), ("arguments", "/function/arguments")] {
                let streamed = joined(&told, &format!("/choices/0/delta/tool_calls/0/function/{field}"));
                assert_eq!(streamed, joined(calls, pointer));
            }
            assert_eq!(joined(&told, "/choices/0/finish_reason"), whole["choices"][0]["finish_reason"]);
            assert_eq!(told.last().expect("there is an end")["usage"], whole["usage"]);
        }
    }

    #[test]
    fn messages_are_read_as_clients_send_them() {
        let said = |message| serde_json::from_value::<Said>(message).expect("a message").message(3);
        let calls = json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
        let message =
            said(json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": calls}));
        assert_eq!(message.expect("it is one").tool_calls[0].name, "f");
        let message = said(json!({"role": "developer", "content": [{"type": "text", "text": "a"}]}));
        assert_eq!(message.expect("it is one"), Message::new(Role::System, "a"));
        for message in [
            json!({"role": "king", "content": "a"}),
            json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}),
        ] {
            let error = said(message.clone()).expect_err("it is none").message;
            assert!(error.starts_with("`messages[3]."), "{error} for {message}");
        }
    }
}
