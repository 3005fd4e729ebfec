//! Tools: what a model is told that it can call, and its calls.

use serde_json::{Map, Value, json};

use crate::error::EngineError;
use crate::request::GenerateRequest;

/// The most tools that a request may have.
pub const MAX_TOOLS: usize = 128;

/// The longest name of a tool, in bytes.
pub const MAX_TOOL_NAME_BYTES: usize = 64;

/// How deep a schema or the arguments of a call may be nested.
pub const MAX_TOOL_DEPTH: usize = 64;

/// Something that the model can ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// 1 to 64 ASCII letters, digits, `_`, `-` and `.`, and no other tool's.
    pub name: String,
    /// What it does, for the model to read.
    pub description: Option<String>,
    /// The JSON schema of the object that it takes; without one it takes nothing.
    pub parameters: Option<Value>,
}

/// Whether the model calls tools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it sees fit.
    #[default]
    Auto,
    /// No: it is not told of them.
    None,
    /// It calls one at least.
    Required,
    /// It calls this one.
    Named(String),
}

/// A call that the model made earlier in the conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// By what the result says whose it is.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// An object; or, where a model wrote no whole object, the text that it wrote.
    pub arguments: Value,
}

/// Checks what can be checked of a request's tools without a model.
pub(crate) fn validate(request: &GenerateRequest) -> Result<(), EngineError> {
    let GenerateRequest { tools, tool_choice: choice, .. } = request;
    let refuse = |reason: String| Err(EngineError::bad_request(reason));
    if tools.len() > MAX_TOOLS {
        return refuse(format!("at most {MAX_TOOLS} tools are allowed, not {}", tools.len()));
    }
    for (index, tool) in tools.iter().enumerate() {
        if !is_name(&tool.name) {
            return refuse(format!(
                "a tool's name must have 1 to {MAX_TOOL_NAME_BYTES} letters, digits, `_`, `-` and `.`"
            ));
        }
        if tools[..index].iter().any(|earlier| earlier.name == tool.name) {
            return refuse(format!("there are two tools of the name `{}`", tool.name));
        }
        if tool.parameters.as_ref().is_some_and(|parameters| !parameters.is_object()) {
            return refuse(format!("the parameters of the tool `{}` must be a JSON schema", tool.name));
        }
    }
    let calls = request.messages.iter().flat_map(|message| &message.tool_calls).map(|call| &call.arguments);
    let mut values = tools.iter().filter_map(|tool| tool.parameters.as_ref()).chain(calls);
    if values.any(|value| depth(value) > MAX_TOOL_DEPTH) {
        return refuse(format!(
            "the parameters of tools and the arguments of calls may be nested {MAX_TOOL_DEPTH} deep at most"
        ));
    }
    match choice {
        ToolChoice::Required if tools.is_empty() => {
            refuse("a call is required, but there are no tools".to_owned())
        }
        ToolChoice::Named(name) if tools.iter().all(|tool| tool.name != *name) => {
            refuse(format!("a call of `{name:.64}` is required, but there is no such tool"))
        }
        _ => Ok(()),
    }
}

/// The tools of which one must be called, if one must.
pub(crate) fn required(request: &GenerateRequest) -> Option<Vec<&Tool>> {
    match &request.tool_choice {
        ToolChoice::Auto | ToolChoice::None => None,
        ToolChoice::Required => Some(request.tools.iter().collect()),
        ToolChoice::Named(name) => Some(request.tools.iter().filter(|tool| tool.name == *name).collect()),
    }
}

/// The JSON schema of a call of one of `tools`, with its arguments under `key`.
pub(crate) fn call_schema(tools: &[&Tool], key: &str) -> Value {
    let mut definitions = Map::new();
    let calls = tools.iter().enumerate().map(|(index, tool)| {
        let place = format!("tool{index}");
        let mut parameters = tool.parameters.clone().unwrap_or_else(|| json!({"type": "object"}));
        move_references(&mut parameters, &format!("#/$defs/{place}"));
        definitions.insert(place.clone(), parameters);
        json!({
            "type": "object",
            "properties": {"name": {"const": tool.name}, key: {"$ref": format!("#/$defs/{place}")}},
            "required": ["name", key],
            "additionalProperties": false,
        })
    });
    let calls: Vec<Value> = calls.collect();
    json!({"anyOf": calls, "$defs": definitions})
}

/// Has references within a schema point to where it lies now.
fn move_references(schema: &mut Value, to: &str) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| move_references(item, to)),
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(target) if name == "$ref" && target.starts_with('#') => {
                        target.replace_range(..1, to);
                    }
                    field => move_references(field, to),
                }
            }
        }
        _ => {}
    }
}

/// Whether a text can be a tool's name.
pub(crate) fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=MAX_TOOL_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// A call's id: nine letters and digits, which is what the strictest chat templates take.
pub(crate) fn call_id(number: u64) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let digit = |place: u32| char::from(DIGITS[(number / 62_u64.pow(place) % 62) as usize]);
    (0..9).map(digit).collect()
}

/// How deep a value is nested: 1 for one that has nothing in it.
fn depth(value: &Value) -> usize {
    let within = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(fields) => fields.values().map(depth).max(),
        _ => None,
    };
    1 + within.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_nine_letters_and_digits_and_differ() {
        let ids: Vec<String> = [0, 1, 61, 62, u64::MAX].map(call_id).into();
        for (index, id) in ids.iter().enumerate() {
            assert!(id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
            assert!(!ids[..index].contains(id), "{id}");
        }
    }

    #[test]
    fn a_calls_schema_has_a_place_for_each_tools_own() {
        let tool = |name: &str, parameters| Tool { name: name.to_owned(), description: None, parameters };
        let node = json!({"type": "object", "properties": {"next": {"$ref": "#"}, "a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {}}});
        let tools = [tool("f", Some(node)), tool("g", None)];
        let schema = call_schema(&tools.iter().collect::<Vec<_>>(), "arguments");
        assert_eq!(schema["$defs"]["tool0"]["properties"]["next"]["$ref"], "#/$defs/tool0");
        assert_eq!(schema["$defs"]["tool0"]["properties"]["a"]["$ref"], "#/$defs/tool0/$defs/a");
        assert_eq!(schema["anyOf"][1]["properties"]["name"]["const"], "g");
        assert_eq!(schema["anyOf"][1]["properties"]["arguments"]["$ref"], "#/$defs/tool1");
    }

    #[test]
    fn what_is_nested_too_deep_is_refused() {
        let nested = |depth| (1..depth).fold(json!({}), |value, _| json!({"a": value}));
        let validate = |parameters| {
            let tool = Tool { name: "f".to_owned(), description: None, parameters: Some(parameters) };
            super::validate(&GenerateRequest { tools: vec![tool], ..GenerateRequest::default() })
        };
        assert!(validate(nested(MAX_TOOL_DEPTH)).is_ok());
        assert!(validate(nested(MAX_TOOL_DEPTH + 1)).is_err());
    }
}
