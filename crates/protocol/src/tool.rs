use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::error::{ApiError, ErrorCode};
use crate::operation::InferRequest;

const TOOLS_MAX: usize = 128;
const NAME_MAX_BYTES: usize = 64;

/// Something that the model can ask for. What it asks for, whoever sent the request does, and sends the result
/// with the next one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// What it is called by: 1 to 64 ASCII letters, digits, `_`, `-` and `.`, and no other tool's name.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.-]*$")]
    pub name: String,
    /// What it does, for the model to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON schema of the object that it takes; without one it takes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Value>,
}

/// Whether the model calls tools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// As it sees fit.
    Auto,
    /// No: it is not told of them.
    None,
    /// It calls one at least.
    Required,
    /// It calls the one of this name.
    Name(String),
}

/// A call that the model made earlier in the chat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// By what the result says whose it is.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// What it was called with: an object, or the JSON text of one, as the stream has it.
    #[serde(deserialize_with = "arguments")]
    #[schema(value_type = Object)]
    pub arguments: Value,
}

fn arguments<'de, D: Deserializer<'de>>(reader: D) -> Result<Value, D::Error> {
    match Value::deserialize(reader)? {
        arguments @ (Value::Object(_) | Value::String(_)) => Ok(arguments),
        _ => Err(D::Error::custom("it is no object, nor the JSON text of one")),
    }
}

/// Checks what a request says of tools.
pub(crate) fn check(request: &InferRequest) -> Result<(), ApiError> {
    let bad = |message: String, hint: &str| Err(ApiError::new(ErrorCode::BadRequest, message).hint(hint));
    let tools = &request.tools;
    if tools.len() > TOOLS_MAX {
        return bad(format!("there are {} tools", tools.len()), "give it at most 128");
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    for (index, tool) in tools.iter().enumerate() {
        let name = tool.name.as_bytes();
        if !(1..=NAME_MAX_BYTES).contains(&name.len()) || !name.iter().all(|byte| is_allowed(*byte)) {
            let hint = "use 1 to 64 ASCII letters, digits, `_`, `-` and `.`";
            return bad(format!("`tools[{index}].name` is no name of a tool"), hint);
        }
        if tools[..index].iter().any(|earlier| earlier.name == tool.name) {
            return bad(format!("there are two tools of the name `{}`", tool.name), "rename one of them");
        }
        if tool.parameters.as_ref().is_some_and(|parameters| !parameters.is_object()) {
            let hint = "give it a JSON schema: an object";
            return bad(format!("`tools[{index}].parameters` is no schema of an object"), hint);
        }
    }
    if !tools.is_empty() && request.prompt.is_some() {
        return bad("there are `tools`, but no chat".to_owned(), "use `messages` in place of the `prompt`");
    }
    match &request.tool_choice {
        Some(ToolChoice::Required) if tools.is_empty() => {
            return bad("`tool_choice` requires a call, but there are no `tools`".to_owned(), "add some");
        }
        Some(ToolChoice::Name(name)) if tools.iter().all(|tool| tool.name != *name) => {
            return bad("`tool_choice` names no tool of `tools`".to_owned(), "add it, or choose another");
        }
        _ => {}
    }
    if matches!(&request.tool_choice, Some(ToolChoice::Required | ToolChoice::Name(_))) {
        if request.json_schema.is_some() || request.grammar.is_some() {
            let message = "`tool_choice` requires a call, and the answer is to have another form".to_owned();
            return bad(message, "leave `json_schema` and `grammar` out, or the choice");
        }
        let is_object = |tool: &Tool| {
            let kind = tool.parameters.as_ref().and_then(|parameters| parameters.get("type"));
            kind.is_none_or(|kind| kind == "object")
        };
        if let Some(index) = tools.iter().position(|tool| !is_object(tool)) {
            let hint = "a call has an object of arguments: give it the `type` `object`, or none";
            return bad(format!("`tools[{index}].parameters` describes no object"), hint);
        }
    }
    Ok(())
}
