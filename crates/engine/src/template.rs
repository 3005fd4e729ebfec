//! Rendering a model's chat template, which is Jinja in Hugging Face's dialect.

use std::fmt;
use std::io;
use std::time::SystemTime;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};

use crate::error::EngineError;
use crate::python;
use crate::request::Message;

/// Instructions a rendering may take; a message costs some dozens.
const FUEL: u64 = 10_000_000;
/// Levels of nesting, a macro call being ten of them.
const RECURSION_LIMIT: usize = 200;
/// The most text a template may add to the messages, and the most it may repeat them.
const MAX_ADDED_BYTES: usize = 1 << 20;
const MAX_REPETITION: usize = 4;

const NAME: &str = "chat_template";

/// A compiled chat template.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

/// A part of a rendered prompt, by where it comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Template(&'a str),
    Content(&'a str),
}

impl ChatTemplate {
    /// `bos_token` and `eos_token` are the texts of the model's tokens, for templates that write
    /// them.
    pub(crate) fn compile(source: &str, bos_token: String, eos_token: String) -> Result<Self, EngineError> {
        if !source.contains("{{") {
            return Err(EngineError::Template { reason: "it never inserts a message".to_owned() });
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
        environment
            .add_template_owned(NAME, without_generation_blocks(source))
            .map_err(|error| template_error(&error))?;
        Ok(Self { environment, bos_token, eos_token })
    }

    /// The prompt for `messages`, up to where the assistant's answer begins.
    ///
    /// # Errors
    /// [`EngineError::BadRequest`] when the template refuses the messages, such as two of the
    /// user's in a row; [`EngineError::Template`] when it fails.
    pub(crate) fn render(&self, messages: &[Message], now: SystemTime) -> Result<String, EngineError> {
        self.render_with(messages, now, |message, _| message.content.clone())
    }

    /// Divides `rendered`, which is what [`Self::render`] gave for the same `messages` and `now`,
    /// into what the template wrote and what are the messages' contents.
    ///
    /// `None` when the template does more with a content than insert or trim it.
    pub(crate) fn pieces<'a>(
        &self,
        rendered: &'a str,
        messages: &[Message],
        now: SystemTime,
    ) -> Result<Option<Vec<Piece<'a>>>, EngineError> {
        // Characters of the private use area, numbered until they are not in the prompt itself.
        let mark = (0..)
            .map(|n| format!("\u{f8fe}{n}\u{f8fe}"))
            .find(|mark| !rendered.contains(mark))
            .expect("a text does not contain every number");
        let marked = self.render_with(messages, now, |_, index| format!("{mark}{index}\u{f8ff}"))?;
        Ok(divide(rendered, &marked, &mark, messages, |content| content)
            .or_else(|| divide(rendered, &marked, &mark, messages, str::trim)))
    }

    fn render_with(
        &self,
        messages: &[Message],
        now: SystemTime,
        content: impl Fn(&Message, usize) -> String,
    ) -> Result<String, EngineError> {
        let message_bytes: usize = messages.iter().map(|message| message.content.len()).sum();
        let messages: Vec<Value> = messages
            .iter()
            .enumerate()
            .map(|(index, message)| {
                context! { role => message.role.as_str(), content => content(message, index) }
            })
            .collect();
        let context = context! {
            messages,
            add_generation_prompt => true,
            bos_token => self.bos_token.as_str(),
            eos_token => self.eos_token.as_str(),
            tools => (),
            documents => (),
            strftime_now => Value::from_function(move |format: &str| python::strftime(format, now)),
        };
        let mut output =
            Bounded { bytes: Vec::new(), limit: MAX_ADDED_BYTES + MAX_REPETITION * message_bytes };
        let template = self.environment.get_template(NAME).expect("compiled when the engine was loaded");
        match template.render_captured_to(context, &mut output) {
            Ok(_) => Ok(String::from_utf8(output.bytes).expect("templates write text")),
            Err(error) => Err(match refusal(&error) {
                Some(refusal) => EngineError::bad_request(format!(
                    "the model's chat template refuses the messages: {refusal}"
                )),
                None => template_error(&error),
            }),
        }
    }
}

/// Cuts `rendered` where `marked` has its marks. `None` unless the pieces are all of it.
fn divide<'a>(
    rendered: &'a str,
    marked: &str,
    mark: &str,
    messages: &[Message],
    as_inserted: impl Fn(&str) -> &str,
) -> Option<Vec<Piece<'a>>> {
    let mut pieces = Vec::new();
    let mut rest = rendered;
    let mut take = |text: &str| {
        let after = rest.strip_prefix(text)?;
        let taken = &rest[..text.len()];
        rest = after;
        Some(taken)
    };
    let mut parts = marked.split(mark);
    pieces.push(Piece::Template(take(parts.next()?)?));
    for part in parts {
        let (index, template) = part.split_once('\u{f8ff}')?;
        let message = messages.get(index.parse::<usize>().ok()?)?;
        pieces.push(Piece::Content(take(as_inserted(&message.content))?));
        pieces.push(Piece::Template(take(template)?));
    }
    rest.is_empty().then_some(pieces)
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

fn template_error(error: &Error) -> EngineError {
    EngineError::Template { reason: error.to_string() }
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
