//! How a model holds a conversation: what its template makes of messages and tools.
//!
//! Control tokens come from the template alone. What a request says may contain the text of one, and there
//! it is text; otherwise a user, or a page that a tool has read, could speak as the system.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aho_corasick::AhoCorasick;
use serde_json::{Map, Value, json};

use crate::answer::{AnswerParser, Format};
use crate::error::EngineError;
use crate::renderer::{Renderer, Unrendered};
use crate::request::{GenerateRequest, Message, Role};
use crate::template::{Conversation, Outcome, Rendering};
use crate::tools::{self, Tool, ToolCall, ToolChoice};

/// The longest template; it is compiled for each prompt. Those of today have some ten thousand bytes.
const MOST_SOURCE_BYTES: usize = 1 << 20;

/// Turns conversations into prompts. It can be shared between threads.
#[derive(Debug)]
pub(crate) struct Chat {
    renderer: Arc<Renderer>,
    /// `None` for a model that is not made for chats, which still goes on with a text.
    template: Option<Template>,
    control: ControlTexts,
    length: Length,
}

/// What tells of a text without a look that it cannot fit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length {
    pub(crate) longest_token_bytes: usize,
    pub(crate) context_length: u32,
}

impl Length {
    /// # Errors
    /// [`EngineError::ContextFull`] for a text that does not fit however it is divided into tokens.
    pub(crate) fn check(self, bytes: usize) -> Result<(), EngineError> {
        let Self { longest_token_bytes, context_length } = self;
        let fewest_tokens = bytes / longest_token_bytes;
        if fewest_tokens > context_length as usize {
            return Err(EngineError::ContextFull {
                prompt_tokens: u32::try_from(fewest_tokens).unwrap_or(u32::MAX),
                context_length,
            });
        }
        Ok(())
    }
}

/// The texts of a model's control tokens.
#[derive(Debug, Clone)]
pub(crate) struct ControlTexts {
    /// Finds any of them, the pattern's number being the index.
    pub(crate) finder: AhoCorasick,
    pub(crate) texts: Arc<[String]>,
}

/// A chat template, and what it understands.
#[derive(Debug)]
struct Template {
    source: String,
    bos_token: String,
    eos_token: String,
    dialect: Dialect,
    format: Format,
}

/// How a template is told of tools, their calls and results. There is no standard, only customs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// In fields of their own, as Hugging Face has them.
    Fields {
        /// Whether a call's arguments are an object, or the text of one.
        object_arguments: bool,
        /// Whether a message that is nothing but calls has an empty text, or null.
        empty_content: bool,
    },
    /// In the messages' text, because the template knows nothing of tools. What is to be said to the model
    /// first is the system's message, or stands before the user's first where it takes no other.
    Text { system: bool },
}

impl Dialect {
    /// What is tried of a template, in this order.
    const ALL: [Self; 6] = [
        Self::Fields { object_arguments: true, empty_content: true },
        Self::Fields { object_arguments: true, empty_content: false },
        Self::Fields { object_arguments: false, empty_content: true },
        Self::Fields { object_arguments: false, empty_content: false },
        Self::Text { system: true },
        Self::Text { system: false },
    ];
}

/// A request as the model will read it, with what it takes to understand the answer.
#[derive(Debug)]
pub(crate) struct Rendered {
    /// All of the prompt. What is next to each other is of different kinds, or is one piece.
    pub(crate) pieces: Vec<Piece>,
    pub(crate) parser: AnswerParser,
}

/// A part of a rendered prompt, by where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The template, and messages in which nothing looks like a control token.
    Template(String),
    Content(String),
}

impl Chat {
    /// A model without a chat template: it goes on with texts.
    pub(crate) fn without_template(renderer: Arc<Renderer>, control: ControlTexts, length: Length) -> Self {
        Self { renderer, template: None, control, length }
    }

    /// Finds out what the template understands. `bos_token` and `eos_token` are the texts of the model's
    /// tokens, for templates that write them.
    ///
    /// # Errors
    /// [`EngineError::Template`] when the template does not compile, or takes all that it may.
    pub(crate) fn with_template(
        renderer: Arc<Renderer>,
        control: ControlTexts,
        length: Length,
        source: String,
        bos_token: String,
        eos_token: String,
    ) -> Result<Self, EngineError> {
        if source.len() > MOST_SOURCE_BYTES {
            let reason = format!("it is longer than {MOST_SOURCE_BYTES} bytes");
            return Err(EngineError::Template { reason });
        }
        let mut template =
            Template { source, bos_token, eos_token, dialect: Dialect::ALL[0], format: Format::default() };
        let trial = trial();
        let conversations = Dialect::ALL.map(|dialect| conversation(&trial, dialect));
        let outcomes = template.render(&renderer, conversations.into(), SystemTime::now())?;
        let is_understood = |outcome: &Outcome| matches!(outcome, Outcome::Text(text) if tells_all(text));
        let understood = Dialect::ALL.into_iter().zip(&outcomes).find(|(_, outcome)| is_understood(outcome));
        // What refuses or forgets even plain texts says so when it is asked.
        template.dialect = understood.map_or(Dialect::Text { system: true }, |(dialect, _)| dialect);
        template.format = Format::of(&template.source, template.dialect);
        Ok(Self { renderer, template: Some(template), control, length })
    }

    /// How the model writes what is not plain text.
    pub(crate) fn format(&self) -> Format {
        self.template.as_ref().map(|template| template.format).unwrap_or_default()
    }

    /// The prompt that a request makes.
    ///
    /// # Errors
    /// - [`EngineError::BadRequest`] when the template refuses the messages,
    ///   such as two of the user's in a row, and for the text of a control token where it cannot be told from
    ///   the template's own
    /// - [`EngineError::ContextFull`] for messages so long that their tokens need not be counted
    /// - [`EngineError::Template`] when the template fails, or the model has none
    /// - [`EngineError::Internal`] when no process can be started for it
    pub(crate) fn render(&self, request: &GenerateRequest) -> Result<Rendered, EngineError> {
        self.render_at(request, SystemTime::now())
    }

    fn render_at(&self, request: &GenerateRequest, now: SystemTime) -> Result<Rendered, EngineError> {
        if let Some(prompt) = &request.prompt {
            let pieces = vec![Piece::Content(prompt.clone())];
            return Ok(Rendered { pieces, parser: AnswerParser::plain() });
        }
        let Some(template) = &self.template else {
            return Err(EngineError::Template {
                reason: "the model has none, so it is not made for chats".to_owned(),
            });
        };
        self.length.check(request.messages.iter().map(|message| message.content.len()).sum())?;
        let plain = conversation(request, template.dialect);
        let mut marks = Marks::new(&self.control, &plain, &template.source);
        let marked = marks.mark(&plain)?;
        let mut conversations = vec![plain];
        if !marks.contents.is_empty() {
            conversations.push(marked);
        }
        let mut texts = Vec::new();
        for outcome in template.render(&self.renderer, conversations, now)? {
            texts.push(match outcome {
                Outcome::Text(text) => text,
                Outcome::Refused(reason) => {
                    return Err(EngineError::bad_request(format!(
                        "the model's chat template refuses the messages: {reason}"
                    )));
                }
                Outcome::Failed(reason) => return Err(EngineError::Template { reason }),
            });
        }
        let tools = offered(request);
        let end = texts.first().map_or("", |text| text.as_str());
        let (beginning, parser) = match tools::required(request) {
            Some(_) => (template.format.call_beginning(end), AnswerParser::one_call(tools)),
            None => (String::new(), AnswerParser::new(template.format, tools, request.single_tool_call, end)),
        };
        let mut pieces = match texts.as_slice() {
            [text] => vec![Piece::Template(text.clone())],
            [text, marked] => marks.divide(text, marked).ok_or_else(|| refuse(&marks.found))?,
            _ => return Err(EngineError::Internal { reason: "a rendering is missing".to_owned() }),
        };
        if let Some(Piece::Template(last)) = pieces.last_mut() {
            last.push_str(&beginning);
        }
        Ok(Rendered { pieces, parser })
    }

    /// The JSON schema that the answer must follow, if the request requires a call.
    pub(crate) fn required_call(&self, request: &GenerateRequest) -> Option<Value> {
        let tools = tools::required(request)?;
        Some(tools::call_schema(&tools, self.format().arguments_key()))
    }
}

impl Template {
    fn render(
        &self,
        renderer: &Renderer,
        conversations: Vec<Conversation>,
        now: SystemTime,
    ) -> Result<Vec<Outcome>, EngineError> {
        let rendering = Rendering {
            source: self.source.clone(),
            bos_token: self.bos_token.clone(),
            eos_token: self.eos_token.clone(),
            now: now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            conversations,
        };
        let request = serde_json::to_vec(&rendering).expect("texts can be written as JSON");
        let answer = renderer.render(&request).map_err(|error| match error {
            Unrendered::Died => EngineError::Template {
                reason: "it takes more time or memory than a template may".to_owned(),
            },
            Unrendered::Unavailable(error) => {
                EngineError::Internal { reason: format!("no process for the chat template: {error}") }
            }
        })?;
        let outcomes: Result<Vec<Outcome>, String> = serde_json::from_slice(&answer)
            .map_err(|_| EngineError::Template { reason: "it ended in the middle".to_owned() })?;
        outcomes.map_err(|reason| EngineError::Template { reason })
    }
}

/// The tools that the model is told of.
fn offered(request: &GenerateRequest) -> &[Tool] {
    if request.tool_choice == ToolChoice::None { &[] } else { &request.tools }
}

/// A request's conversation as a template of this dialect gets to see it.
pub(crate) fn conversation(request: &GenerateRequest, dialect: Dialect) -> Conversation {
    let tools = offered(request);
    match dialect {
        Dialect::Fields { object_arguments, empty_content } => {
            let messages = request.messages.iter();
            let messages = messages.map(|message| fields(message, object_arguments, empty_content)).collect();
            let listed = tools.iter().map(function).collect();
            Conversation {
                messages: Value::Array(messages),
                tools: if tools.is_empty() { Value::Null } else { Value::Array(listed) },
            }
        }
        Dialect::Text { system } => {
            let messages = in_text(&request.messages, tools, system);
            let messages = messages.map(|(role, content)| json!({"role": role.as_str(), "content": content}));
            Conversation { messages: messages.collect(), tools: Value::Null }
        }
    }
}

/// A tool as Hugging Face and OpenAI describe it.
fn function(tool: &Tool) -> Value {
    let mut function = Map::new();
    function.insert("name".to_owned(), json!(tool.name));
    function.insert("description".to_owned(), json!(tool.description.as_deref().unwrap_or_default()));
    let nothing = || json!({"type": "object", "properties": {}});
    function.insert("parameters".to_owned(), tool.parameters.clone().unwrap_or_else(nothing));
    json!({"type": "function", "function": function})
}

fn fields(message: &Message, object_arguments: bool, empty_content: bool) -> Value {
    let mut fields = Map::new();
    let content = match message.content.as_str() {
        "" if !empty_content && !message.tool_calls.is_empty() => Value::Null,
        content => json!(content),
    };
    fields.insert("role".to_owned(), json!(message.role.as_str()));
    fields.insert("content".to_owned(), content);
    if !message.tool_calls.is_empty() {
        let call = |call: &ToolCall| {
            let arguments = match &call.arguments {
                object @ Value::Object(_) if object_arguments => object.clone(),
                object @ Value::Object(_) => json!(object.to_string()),
                text => text.clone(),
            };
            json!({"id": call.id, "type": "function",
                   "function": {"name": call.name, "arguments": arguments}})
        };
        fields.insert("tool_calls".to_owned(), message.tool_calls.iter().map(call).collect());
    }
    if let Some(id) = &message.tool_call_id {
        fields.insert("tool_call_id".to_owned(), json!(id));
    }
    if let Some(name) = &message.name {
        fields.insert("name".to_owned(), json!(name));
    }
    Value::Object(fields)
}

/// The messages with all that concerns tools as text, in the form that Hermes models made common.
fn in_text(messages: &[Message], tools: &[Tool], system: bool) -> impl Iterator<Item = (Role, String)> {
    let mut said: Vec<(Role, String)> = Vec::new();
    for message in messages {
        match message.role {
            Role::Tool => {
                let result = format!("<tool_response>\n{}\n</tool_response>", message.content);
                match said.last_mut() {
                    Some((Role::User, results)) if results.ends_with("</tool_response>") => {
                        *results += "\n";
                        *results += &result;
                    }
                    _ => said.push((Role::User, result)),
                }
            }
            role => {
                let mut content = message.content.clone();
                for call in &message.tool_calls {
                    let separator = if content.is_empty() { "" } else { "\n" };
                    let call = json!({"name": call.name, "arguments": call.arguments});
                    content += &format!("{separator}<tool_call>\n{call}\n</tool_call>");
                }
                said.push((role, content));
            }
        }
    }
    if !tools.is_empty() {
        let introduction = introduction(tools);
        match said.first_mut() {
            Some((Role::System, content)) if system => *content = format!("{content}\n\n{introduction}"),
            Some((Role::User, content)) if !system => *content = format!("{introduction}\n\n{content}"),
            _ => said.insert(0, (if system { Role::System } else { Role::User }, introduction)),
        }
    }
    said.into_iter()
}

/// Tells a model of tools.
fn introduction(tools: &[Tool]) -> String {
    let tools: Vec<String> = tools.iter().map(|tool| function(tool)["function"].to_string()).collect();
    format!(
        "You can call functions. They are listed here with what they do and the JSON schema of their \
         arguments:\n<tools>\n{}\n</tools>\n\nTo call one, write its name and arguments as a JSON object, like \
         this:\n<tool_call>\n{{\"name\": \"function_name\", \"arguments\": {{\"argument\": \"value\"}}}}\n\
         </tool_call>\nIts result will come between <tool_response> and </tool_response>.",
        tools.join("\n")
    )
}

/// A conversation with all there is, by which templates are tried.
fn trial() -> GenerateRequest {
    let call = ToolCall {
        id: "trial1234".to_owned(),
        name: "trial_tool".to_owned(),
        arguments: json!({"trial_key": "trial_value"}),
    };
    let parameters = json!({
        "type": "object",
        "properties": {"trial_key": {"type": "string", "description": "trial"}},
        "required": ["trial_key"],
    });
    GenerateRequest {
        messages: vec![
            Message::new(Role::User, "trial question"),
            Message { tool_calls: vec![call], ..Message::new(Role::Assistant, "") },
            Message {
                tool_call_id: Some("trial1234".to_owned()),
                name: Some("trial_tool".to_owned()),
                ..Message::new(Role::Tool, "trial result")
            },
        ],
        tools: vec![Tool {
            name: "trial_tool".to_owned(),
            description: Some("trial description".to_owned()),
            parameters: Some(parameters),
        }],
        ..GenerateRequest::default()
    }
}

/// Whether nothing of [`trial`] is missing in a prompt, nor written as what it is not.
fn tells_all(text: &str) -> bool {
    let wanted = ["trial question", "trial description", "trial_key", "trial_value", "trial result"];
    // Once as the tool's, once as the call's.
    let named = text.matches("trial_tool").count() >= 2;
    named && wanted.iter().all(|wanted| text.contains(wanted)) && !text.contains(r#"\"trial_value"#)
}

/// Tells what a request says in a prompt from what the template says, where it matters.
struct Marks<'a> {
    control: &'a ControlTexts,
    /// Characters of the private use area, numbered until they are in neither.
    mark: String,
    /// The texts that contain a control token's.
    contents: Vec<String>,
    /// The first of the control tokens' texts.
    found: String,
}

/// What ends the number of a content behind a mark.
const MARK_END: char = '\u{f8ff}';

impl<'a> Marks<'a> {
    fn new(control: &'a ControlTexts, conversation: &Conversation, source: &str) -> Self {
        let said = format!("{}{}", conversation.messages, conversation.tools);
        let mark = (0..)
            .map(|n| format!("\u{f8fe}{n}\u{f8fe}"))
            .find(|mark| !said.contains(mark) && !source.contains(mark))
            .expect("a text does not contain every number");
        Self { control, mark, contents: Vec::new(), found: String::new() }
    }

    /// The conversation with a mark in place of each text that contains a control token's.
    fn mark(&mut self, conversation: &Conversation) -> Result<Conversation, EngineError> {
        let mut marked = conversation.clone();
        self.mark_value(&mut marked.messages)?;
        self.mark_value(&mut marked.tools)?;
        Ok(marked)
    }

    fn mark_value(&mut self, value: &mut Value) -> Result<(), EngineError> {
        match value {
            Value::String(text) => {
                if let Some(found) = self.find(text) {
                    let mark = format!("{}{}{MARK_END}", self.mark, self.contents.len());
                    self.contents.push(std::mem::replace(text, mark));
                    self.found = found;
                }
                Ok(())
            }
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.mark_value(item)),
            Value::Object(fields) => {
                // A template may look for names, so that they cannot be marked.
                if let Some(found) = fields.keys().find_map(|name| self.find(name)) {
                    return Err(refuse(&found));
                }
                fields.values_mut().try_for_each(|field| self.mark_value(field))
            }
            _ => Ok(()),
        }
    }

    fn find(&self, text: &str) -> Option<String> {
        let found = self.control.finder.find(text)?;
        self.control.texts.get(found.pattern().as_usize()).cloned()
    }

    /// Divides `rendered` where `marked` has its marks. `None` when the template does more with a content than
    /// insert or trim it, as it is or as JSON.
    fn divide(&self, rendered: &str, marked: &str) -> Option<Vec<Piece>> {
        self.divide_as(rendered, marked, |content| content)
            .or_else(|| self.divide_as(rendered, marked, str::trim))
    }

    fn divide_as(&self, rendered: &str, marked: &str, inserted: fn(&str) -> &str) -> Option<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut parts = marked.split(&self.mark);
        let mut rest = rendered.strip_prefix(parts.next()?)?;
        pieces.push(Piece::Template(rendered[..rendered.len() - rest.len()].to_owned()));
        for part in parts {
            let (index, template) = part.split_once(MARK_END)?;
            let content = inserted(self.contents.get(index.parse::<usize>().ok()?)?);
            let escaped = json_escaped(content);
            let content = if rest.starts_with(content) { content } else { escaped.as_str() };
            rest = rest.strip_prefix(content)?.strip_prefix(template)?;
            pieces.push(Piece::Content(content.to_owned()));
            pieces.push(Piece::Template(template.to_owned()));
        }
        rest.is_empty().then_some(pieces)
    }
}

/// A text as it stands within the quotes of JSON.
fn json_escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// The error of a control token's text that is where it cannot be.
pub(crate) fn refuse(control: &str) -> EngineError {
    EngineError::bad_request(format!(
        "the request contains `{control}`, which is a control token of this model: leave it out or \
         write it differently"
    ))
}

#[cfg(test)]
#[path = "chat_tests.rs"]
mod tests;
