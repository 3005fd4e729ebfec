//! Rendering a model's chat template, which is Jinja in Hugging Face's dialect.
//!
//! What is here bounds a template's instructions and what it writes. What one instruction takes is bounded
//! by [`crate::renderer`].

use std::fmt;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::python;

/// Instructions a rendering may take; a message costs some dozens.
const FUEL: u64 = 10_000_000;
/// Levels of nesting, a macro call being ten of them.
const RECURSION_LIMIT: usize = 200;
/// The most text a template may add to the messages, and the most it may repeat them.
const MAX_ADDED_BYTES: usize = 1 << 20;
const MAX_REPETITION: usize = 4;

const NAME: &str = "chat_template";

/// What is to be rendered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rendering {
    /// The template.
    pub(crate) source: String,
    /// The texts of the model's tokens, for templates that write them.
    pub(crate) bos_token: String,
    pub(crate) eos_token: String,
    /// The time, in seconds since 1970.
    pub(crate) now: u64,
    /// One rendering for each.
    pub(crate) conversations: Vec<Conversation>,
}

/// What a template gets to see, as it gets to see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Conversation {
    /// A list of objects.
    pub(crate) messages: Json,
    /// A list of objects, or null.
    pub(crate) tools: Json,
}

/// What became of one rendering.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The prompt, up to where the assistant's answer begins.
    Text(String),
    /// The template refuses the messages, such as two of the user's in a row. It says why.
    Refused(String),
    /// It fails; what the template engine said.
    Failed(String),
}

/// Does a [`Rendering`] that was written as JSON. The answer is the JSON of its outcomes, or of what is wrong
/// with the template itself.
///
/// It takes as much memory and time as the template likes.
pub(crate) fn answer(request: &[u8]) -> Vec<u8> {
    let outcomes = match serde_json::from_slice(request) {
        Ok(rendering) => render(&rendering),
        Err(error) => Err(error.to_string()),
    };
    serde_json::to_vec(&outcomes).expect("texts can be written as JSON")
}

/// Renders each conversation.
///
/// # Errors
/// What is wrong with the template.
pub(crate) fn render(rendering: &Rendering) -> Result<Vec<Outcome>, String> {
    let environment = compile(&rendering.source)?;
    let outcomes =
        rendering.conversations.iter().map(|conversation| render_one(&environment, rendering, conversation));
    Ok(outcomes.collect())
}

fn compile(source: &str) -> Result<Environment<'static>, String> {
    if !source.contains("{{") {
        return Err("it never inserts a message".to_owned());
    }
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .expect("the delimiters are the default ones");
    environment.set_syntax(syntax);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION_LIMIT);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", python::to_json);
    environment.add_function("raise_exception", raise_exception);
    let added = environment.add_template_owned(NAME, without_generation_blocks(source));
    added.map_err(|error| error.to_string())?;
    Ok(environment)
}

fn render_one(environment: &Environment<'_>, rendering: &Rendering, conversation: &Conversation) -> Outcome {
    let Conversation { messages, tools } = conversation;
    let now = UNIX_EPOCH + Duration::from_secs(rendering.now);
    let context = context! {
        messages => value(messages),
        add_generation_prompt => true,
        bos_token => rendering.bos_token.as_str(),
        eos_token => rendering.eos_token.as_str(),
        tools => value(tools),
        documents => (),
        strftime_now => Value::from_function(move |format: &str| python::strftime(format, now)),
    };
    let content_bytes = messages.to_string().len() + tools.to_string().len();
    let mut output = Bounded { bytes: Vec::new(), limit: MAX_ADDED_BYTES + MAX_REPETITION * content_bytes };
    let template = environment.get_template(NAME).expect("it was compiled");
    match template.render_captured_to(context, &mut output) {
        Ok(_) => Outcome::Text(String::from_utf8(output.bytes).expect("templates write text")),
        Err(error) => match refusal(&error) {
            Some(refusal) => Outcome::Refused(refusal.to_string()),
            None => Outcome::Failed(error.to_string()),
        },
    }
}

/// JSON as the template engine has it.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(bool) => Value::from(*bool),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64()),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(value).collect(),
        Json::Object(fields) => {
            Value::from_pairs(fields.iter().map(|(name, field)| (name.as_str(), value(field))))
        }
    }
}

/// Hugging Face's `{% generation %}` marks the assistant's text for training; here it means
/// nothing.
fn without_generation_blocks(source: &str) -> String {
    let mut output = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(len) = rest[start..].find("%}") else {
            break;
        };
        let (tag, after) = rest[start..].split_at(len);
        let inner = tag[2..].trim_start_matches(['-', '+']);
        let inner = inner.trim_end_matches(['-', '+']);
        output.push_str(&rest[..start]);
        match inner.trim() {
            "generation" => output.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => output.push_str(&tag.replace("endgeneration", "endif")),
            _ => output.push_str(tag),
        }
        rest = after;
    }
    output + rest
}

/// What a template says with `raise_exception`.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

fn raise_exception(message: String) -> Result<Value, Error> {
    let error = Error::new(ErrorKind::InvalidOperation, message.clone());
    Err(error.with_source(Refusal(message)))
}

fn refusal(error: &Error) -> Option<&Refusal> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(refusal) = error.downcast_ref() {
            return Some(refusal);
        }
        source = error.source();
    }
    None
}

/// Output that ends in an error where a template writes without end.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.bytes.len() {
            return Err(io::Error::other("the prompt it writes is too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
