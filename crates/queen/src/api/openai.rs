//! OpenAI's API: chat completions, completions, embeddings, models and responses.

mod chat;
mod completions;
mod embeddings;
mod models;
mod responses;
mod sampling;

use axum::http::{Method, StatusCode};
use rbee_jobs::{Permission, Routes};
use rbee_protocol::{ApiError, ErrorCode, FinishReason, Logprob, TokenLogprobs, Tool, ToolChoice, Usage};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

pub(in crate::api) use chat::ChatMessage;

use super::fields::{Fields, bad, typed};
use super::{Api, Names, status};

/// Whose API it is, in narration.
const API: &str = "OpenAI's";

/// What is called otherwise in chats and completions.
const NAMES: Names = &[("json_schema", "response_format"), ("logprobs", "top_logprobs")];

/// What of the description in `rbee_jobs::describe` stands with the handlers.
#[derive(OpenApi)]
#[openapi(
    paths(
        chat::create,
        completions::create,
        embeddings::create,
        models::list,
        models::show,
        responses::create,
        responses::show,
        responses::cancel
    ),
    tags((
        name = "openai",
        description = "OpenAI's API, for clients that speak it. docs/compatibility.md tells of each field whether it is \
                       supported, ignored or refused."
    ))
)]
pub(crate) struct OpenAiApi;

pub(super) fn routes(api: Api) -> Routes {
    use Permission::User;
    Routes::default()
        .add(Method::POST, "/v1/chat/completions", User, chat::create)
        .add(Method::POST, "/v1/completions", User, completions::create)
        .add(Method::POST, "/v1/embeddings", User, embeddings::create)
        .add(Method::GET, "/v1/models", User, models::list)
        .add(Method::GET, "/v1/models/{model}", User, models::show)
        .add(Method::POST, "/v1/responses", User, responses::create)
        .add(Method::GET, "/v1/responses/{id}", User, responses::show)
        .add(Method::POST, "/v1/responses/{id}/cancel", User, responses::cancel)
        .with_state(api)
        .shaped(shape)
}

/// A failure in OpenAI's words.
fn shape(error: &ApiError) -> (StatusCode, Value) {
    (status(error), json!({"error": error_object(error)}))
}

fn error_object(error: &ApiError) -> Value {
    let kind = match error.code.http_status() {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    };
    let code = match error.code {
        ErrorCode::ContextFull => "context_length_exceeded",
        ErrorCode::Unauthorized => "invalid_api_key",
        code => code.name(),
    };
    // Messages about a field begin with its name.
    let param = error.message.strip_prefix('`').and_then(|rest| rest.split_once('`')).map(|(name, _)| name);
    let is_name =
        |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.[]".contains(&byte));
    let param = param.filter(is_name);
    json!({"message": message(error), "type": kind, "param": param, "code": code})
}

/// What happened and what to do next, for clients that show one text.
pub(in crate::api) fn message(error: &ApiError) -> String {
    match &error.hint {
        Some(hint) => format!("{}: {hint}", error.message),
        None => error.message.clone(),
    }
}

fn finish_reason(reason: Option<FinishReason>) -> &'static str {
    match reason {
        Some(FinishReason::Length) => "length",
        Some(FinishReason::ToolCalls) => "tool_calls",
        Some(FinishReason::Stop | FinishReason::Cancelled) | None => "stop",
    }
}

fn usage(usage: Usage) -> Value {
    let Usage { prompt_tokens, cached_tokens, completion_tokens } = usage;
    json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    })
}

/// The usage of several answers to one prompt, which is counted once.
fn usage_of(all: impl Iterator<Item = Usage>) -> Usage {
    let sum = |sum: Option<Usage>, next: Usage| match sum {
        None => Some(next),
        Some(sum) => Some(Usage { completion_tokens: sum.completion_tokens + next.completion_tokens, ..sum }),
    };
    all.fold(None, sum).unwrap_or(Usage { prompt_tokens: 0, cached_tokens: 0, completion_tokens: 0 })
}

fn logprobs(all: &[TokenLogprobs]) -> Value {
    let one = |logprob: &Logprob| {
        let bytes = logprob.bytes.clone().unwrap_or_else(|| logprob.text.clone().into_bytes());
        json!({"token": logprob.text, "logprob": logprob.logprob, "bytes": bytes})
    };
    let content = all.iter().map(|token| {
        let mut entry = one(&token.chosen);
        entry["top_logprobs"] = token.top.iter().map(one).collect();
        entry
    });
    json!({"content": content.collect::<Vec<_>>(), "refusal": null})
}

/// A tool's definition, whose fields stand under `function` in chat completions.
pub(in crate::api) fn tool(path: &str, mut fields: Map<String, Value>) -> Result<Tool, ApiError> {
    let kind = fields.remove("type");
    if kind.as_ref().is_some_and(|kind| kind != "function") {
        let message = format!("`{path}.type`: there are no tools of this type here");
        return Err(bad(message, "use tools of the type `function`, and call them yourself"));
    }
    let path = if fields.contains_key("function") { format!("{path}.function") } else { path.to_owned() };
    let fields = match fields.remove("function") {
        Some(function) => typed(&path, function)?,
        None => fields,
    };
    let mut fields = Fields::within(&path, fields);
    let name = fields.need("name")?;
    let description = fields.take("description")?;
    Ok(Tool { name, description, parameters: fields.take("parameters")? })
}

fn tools(fields: &mut Fields) -> Result<Vec<Tool>, ApiError> {
    let tools: Vec<Map<String, Value>> = fields.list("tools")?;
    (0..).zip(tools).map(|(index, fields)| tool(&format!("tools[{index}]"), fields)).collect()
}

fn tool_choice(fields: &mut Fields) -> Result<Option<ToolChoice>, ApiError> {
    let unknown = || {
        bad("`tool_choice` is none that is known", "it is `auto`, `none`, `required`, or names one function")
    };
    Ok(match fields.take::<Value>("tool_choice")? {
        None => None,
        Some(Value::String(choice)) => Some(match choice.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Required,
            _ => return Err(unknown()),
        }),
        Some(choice) => {
            let name = choice.pointer("/function/name").or_else(|| choice.get("name"));
            let name = name.filter(|_| choice["type"] == "function").and_then(Value::as_str);
            Some(ToolChoice::Name(name.ok_or_else(unknown)?.to_owned()))
        }
    })
}

/// Whether a stream is to end with how much it was.
fn with_usage(fields: &mut Fields) -> Result<bool, ApiError> {
    let mut options = Fields::within("stream_options", fields.take("stream_options")?.unwrap_or_default());
    let with_usage = options.take("include_usage")?.unwrap_or(false);
    options.ignore(&["include_obfuscation"]);
    options.notes().into_iter().for_each(|note| fields.note(note));
    Ok(with_usage)
}

/// The schema that an answer's format asks for, if it asks for one.
pub(in crate::api) fn json_schema(path: &str, format: Value) -> Result<Option<Value>, ApiError> {
    match format["type"].as_str() {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(json!({"type": "object"}))),
        Some("json_schema") => {
            let schema = format.pointer("/json_schema/schema").or_else(|| format.get("schema"));
            let missing =
                || bad(format!("`{path}` has no `schema`"), "give it the JSON schema of the answer");
            schema.cloned().map(Some).ok_or_else(missing)
        }
        _ => Err(bad(
            format!("`{path}.type` is none that is known"),
            "it is `text`, `json_object` or `json_schema`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_said_in_openais_words() {
        let error = ApiError::new(ErrorCode::ContextFull, "the prompt has 9 tokens").hint("send less");
        let (status, body) = shape(&error);
        assert_eq!(status, 400);
        let expected = json!({
            "message": "the prompt has 9 tokens: send less", "type": "invalid_request_error", "param": null,
            "code": "context_length_exceeded"
        });
        assert_eq!(body["error"], expected);
        let (status, body) = shape(&bad("`n` is not supported", "leave it out"));
        assert_eq!((status.as_u16(), body["error"]["param"].as_str()), (400, Some("n")));
    }

    #[test]
    fn tools_are_those_of_both_apis() {
        let parameters = json!({"type": "object"});
        let chat =
            json!({"type": "function", "function": {"name": "f", "parameters": parameters, "strict": true}});
        let responses = json!({"type": "function", "name": "f", "parameters": parameters});
        for shape in [chat, responses] {
            let tool = tool("tools[0]", typed("tool", shape).expect("an object")).expect("it is one");
            assert_eq!((tool.name.as_str(), tool.parameters), ("f", Some(parameters.clone())));
        }
        let of = |shape| {
            tool("tools[1]", typed("tool", shape).expect("an object")).expect_err("it is none").message
        };
        assert!(of(json!({"type": "web_search"})).starts_with("`tools[1].type`"));
        assert!(of(json!({"type": "function", "function": {}})).starts_with("`tools[1].function.name`"));
    }
}
