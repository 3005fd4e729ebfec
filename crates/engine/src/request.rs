//! What the engine is asked and what it answers.

use crate::constraint::Constraint;
use crate::error::EngineError;
use crate::logprobs::TokenLogprobs;
use crate::tools::{self, Tool, ToolCall, ToolChoice};

/// The most stop strings a request may have.
pub const MAX_STOP_STRINGS: usize = 16;

/// The longest stop string, in bytes. It bounds how much text is held back while decoding.
pub const MAX_STOP_BYTES: usize = 256;

/// The most tokens that a request may give a bias.
pub const MAX_LOGIT_BIASES: usize = 1024;

/// The most likeliest tokens that a request may ask about.
pub const MAX_LOGPROBS: u32 = 20;

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Instructions that hold for the whole conversation.
    System,
    /// The person, or the program, that asks.
    User,
    /// The model.
    Assistant,
    /// A tool that the model has called.
    Tool,
}

impl Role {
    /// The name that chat templates know the role by.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// The text, taken literally: the name of a control token in it is only text. So are all other
    /// texts here.
    pub content: String,
    /// What the model called, if this is its message.
    pub tool_calls: Vec<ToolCall>,
    /// Which call this is the result of, if it is a tool's message.
    pub tool_call_id: Option<String>,
    /// The name of who says it; of a tool's message, the tool's.
    pub name: Option<String>,
}

impl Message {
    /// A message that is a text and nothing else.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new(), tool_call_id: None, name: None }
    }
}

/// How tokens are picked. The order is llama.cpp's: bias, penalties, top-k, typical, top-p, min-p,
/// temperature, draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 to 100. Up to 0.001 the likeliest token is always taken and the rest is ignored.
    pub temperature: f32,
    /// Only the `top_k` likeliest tokens are considered; 0 considers all.
    pub top_k: u32,
    /// Only the likeliest tokens that together reach this probability, 0 to 1; 1 considers all.
    pub top_p: f32,
    /// Only tokens at least this likely relative to the likeliest, 0 to 1; 0 considers all.
    pub min_p: f32,
    /// Only the most typical tokens that together reach this probability, above 0 up to 1; 1 considers
    /// all.
    pub typical_p: f32,
    /// The logits of recent tokens are divided by this where they are positive, and else multiplied:
    /// above 0 up to 10; 1 changes nothing.
    pub repetition_penalty: f32,
    /// What is taken off the logits of recent tokens, -2 to 2.
    pub presence_penalty: f32,
    /// What is taken off the logits of recent tokens for each time they came, -2 to 2.
    pub frequency_penalty: f32,
    /// How many of the last tokens are recent, those of the prompt included.
    pub penalty_last_n: u32,
    /// What is added to the logits of single tokens, by their numbers in the vocabulary: -100 to 100,
    /// for at most [`MAX_LOGIT_BIASES`].
    pub logit_bias: Vec<(u32, f32)>,
    /// The same seed and request give the same text with the same model, thread count and machine
    /// if the request has the engine to itself and finds nothing of an earlier one to go on from.
    /// Otherwise the same random numbers meet the same probabilities up to rounding: llama.cpp's
    /// sums depend on how many tokens are decoded together, so where two tokens are nearly equally
    /// likely, company can decide between them. `None` draws one, which [`Generated::seed`] tells.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    /// The defaults of llama.cpp's server.
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            penalty_last_n: 64,
            logit_bias: Vec::new(),
            seed: None,
        }
    }
}

/// One request for text.
#[derive(Debug, Clone, Default)]
pub struct GenerateRequest {
    /// The conversation to answer; at least one message, unless there is a `prompt`.
    pub messages: Vec<Message>,
    /// Whose request this is. What was computed for one scope is used again within it, and never for
    /// another; `None` shares with nobody.
    pub scope: Option<String>,
    /// A text to go on with, in place of a conversation: not empty, taken literally, and without the
    /// chat template, which the model need not have.
    pub prompt: Option<String>,
    /// How tokens are picked.
    pub sampling: Sampling,
    /// The most tokens to generate; `None` goes on until the context is full.
    pub max_tokens: Option<u32>,
    /// Texts that end the answer and are not part of it: at most [`MAX_STOP_STRINGS`], none empty,
    /// none longer than [`MAX_STOP_BYTES`].
    pub stop: Vec<String>,
    /// Has the text's events say how likely their tokens were, and which so many tokens were the
    /// likeliest: at most [`MAX_LOGPROBS`].
    pub logprobs: Option<u32>,
    /// Has a prompt that does not fit lose its beginning instead of being refused: the oldest messages,
    /// though never a system's nor the last one of the user nor what follows it, or the beginning of the
    /// `prompt`. What is left then leaves room for `max_tokens`, for a quarter of the context where there
    /// are none, and for half of it at most.
    pub truncate: bool,
    /// What the answer must be like, besides stopping; compiled for the same model.
    pub constraint: Option<Constraint>,
    /// What the model is told that it can call; at most [`crate::MAX_TOOLS`]. A prompt has none.
    pub tools: Vec<Tool>,
    /// Whether it calls them.
    pub tool_choice: ToolChoice,
    /// Has the answer end with its first call.
    pub single_tool_call: bool,
}

impl GenerateRequest {
    /// Checks everything that can be checked without a model.
    ///
    /// # Errors
    /// [`EngineError::BadRequest`] naming the first value that is not allowed.
    pub fn validate(&self) -> Result<(), EngineError> {
        let Sampling { temperature, top_p, min_p, typical_p, .. } = self.sampling;
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = self.sampling;
        let refuse = |reason: String| Err(EngineError::bad_request(reason));
        match &self.prompt {
            None if self.messages.is_empty() => {
                return refuse("a request needs at least one message, or a prompt".to_owned());
            }
            Some(_) if !self.messages.is_empty() => {
                return refuse("a request has either messages or a prompt, not both".to_owned());
            }
            Some(prompt) if prompt.is_empty() => {
                return refuse("a prompt must not be empty".to_owned());
            }
            Some(_) if !self.tools.is_empty() => {
                return refuse("a prompt goes without tools: only a conversation has them".to_owned());
            }
            _ => {}
        }
        if !(0.0..=100.0).contains(&temperature) {
            return refuse(format!("temperature must be between 0 and 100, not {temperature}"));
        }
        if !(0.0..=1.0).contains(&top_p) {
            return refuse(format!("top_p must be between 0 and 1, not {top_p}"));
        }
        if !(0.0..=1.0).contains(&min_p) {
            return refuse(format!("min_p must be between 0 and 1, not {min_p}"));
        }
        if !(typical_p > 0.0 && typical_p <= 1.0) {
            return refuse(format!("typical_p must be above 0 and at most 1, not {typical_p}"));
        }
        if !(repetition_penalty > 0.0 && repetition_penalty <= 10.0) {
            return refuse(format!(
                "repetition_penalty must be above 0 and at most 10, not {repetition_penalty}"
            ));
        }
        for (name, penalty) in
            [("presence_penalty", presence_penalty), ("frequency_penalty", frequency_penalty)]
        {
            if !(-2.0..=2.0).contains(&penalty) {
                return refuse(format!("{name} must be between -2 and 2, not {penalty}"));
            }
        }
        let biases = &self.sampling.logit_bias;
        if biases.len() > MAX_LOGIT_BIASES {
            return refuse(format!(
                "at most {MAX_LOGIT_BIASES} tokens may have a bias, not {}",
                biases.len()
            ));
        }
        if let Some((token, bias)) = biases.iter().find(|(_, bias)| !(-100.0..=100.0).contains(bias)) {
            return refuse(format!("logit_bias must be between -100 and 100, not {bias} for token {token}"));
        }
        if let Some(count) = self.logprobs.filter(|&count| count > MAX_LOGPROBS) {
            return refuse(format!("logprobs must be at most {MAX_LOGPROBS}, not {count}"));
        }
        if self.max_tokens == Some(0) {
            return refuse("max_tokens must be at least 1".to_owned());
        }
        if self.stop.len() > MAX_STOP_STRINGS {
            return refuse(format!(
                "at most {MAX_STOP_STRINGS} stop strings are allowed, not {}",
                self.stop.len()
            ));
        }
        if self.stop.iter().any(String::is_empty) {
            return refuse("a stop string must not be empty".to_owned());
        }
        if let Some(long) = self.stop.iter().find(|stop| stop.len() > MAX_STOP_BYTES) {
            return refuse(format!(
                "a stop string must have at most {MAX_STOP_BYTES} bytes, not {}",
                long.len()
            ));
        }
        tools::validate(self)
    }
}

/// What happens while a request is worked on, in order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GenerateEvent<'a> {
    /// A part of the prompt was decoded.
    Prefill {
        /// Prompt tokens decoded so far, with those found computed.
        done: u32,
        /// Prompt tokens in all.
        total: u32,
    },
    /// More of the answer.
    Token {
        /// Whole characters. Text that may turn out to be the beginning of a stop string comes with a
        /// later token, so not every token has an event of its own. Empty only where there are
        /// `logprobs` of many tokens without a text.
        text: &'a str,
        /// Of the tokens of this text, if the request asked for them. A token whose text comes in two
        /// events is with the first. Tokens that a stop string cut off are with none.
        logprobs: &'a [TokenLogprobs],
        /// Whether the model thinks aloud rather than answers.
        is_reasoning: bool,
    },
    /// More of a call of a tool. The first piece of each has the name; the arguments of all pieces
    /// together are what the model wrote: a JSON object, if it was not cut short.
    ToolCall {
        /// Which of the answer's calls, from 0.
        index: u32,
        /// In the call's first piece, its id and the tool's name.
        begins: Option<(&'a str, &'a str)>,
        /// The next part of the arguments' text.
        arguments: &'a str,
    },
}

/// Why the answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it, or a stop string did.
    Stop,
    /// The model ended it to have tools called.
    ToolCalls,
    /// `max_tokens` were generated, or the context is full.
    Length,
    /// The caller cancelled.
    Cancelled,
}

/// The account of a finished request.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The stop string that ended it, if one did.
    pub stop: Option<String>,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Of these, the ones that were found computed, by an earlier request of the scope or by one
    /// beside this.
    pub cached_tokens: u32,
    /// Tokens generated, without the one by which the model ends its answer.
    pub completion_tokens: u32,
    /// The seed that was used; [`Sampling::seed`] says what asking with it again gives.
    pub seed: u64,
    /// Wall time from the slot's beginning to the end of prefill, in milliseconds, from the monotonic
    /// clock. Others' prompts may have been read in between.
    pub prefill_ms: f64,
    /// Wall time from the end of prefill to the end of the answer, in milliseconds, likewise.
    pub decode_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> GenerateRequest {
        GenerateRequest { messages: vec![Message::new(Role::User, "hello")], ..GenerateRequest::default() }
    }

    fn tool(name: &str) -> Tool {
        Tool { name: name.to_owned(), description: None, parameters: None }
    }

    fn check(change: impl FnOnce(&mut GenerateRequest), expected: &str) {
        let mut request = request();
        change(&mut request);
        let error = request.validate().expect_err("the change is not allowed");
        assert!(matches!(error, EngineError::BadRequest { .. }), "{error:?} is not BadRequest");
        assert!(error.to_string().contains(expected), "`{error}` does not say `{expected}`");
    }

    #[test]
    fn defaults_are_allowed() {
        request().validate().expect("the defaults are allowed");
    }

    #[test]
    fn the_limits_themselves_are_allowed() {
        let mut request = request();
        request.sampling.temperature = 100.0;
        request.sampling.top_p = 0.0;
        request.sampling.min_p = 1.0;
        request.sampling.typical_p = 1.0;
        request.sampling.repetition_penalty = 10.0;
        request.sampling.presence_penalty = -2.0;
        request.sampling.frequency_penalty = 2.0;
        request.sampling.penalty_last_n = u32::MAX;
        request.sampling.logit_bias = vec![(u32::MAX, 100.0); MAX_LOGIT_BIASES];
        request.logprobs = Some(MAX_LOGPROBS);
        request.stop = vec!["x".repeat(MAX_STOP_BYTES); MAX_STOP_STRINGS];
        request.tools = (0..128).map(|n| tool(&format!("{n}{}", "f".repeat(60)))).collect();
        request.tool_choice = ToolChoice::Named(request.tools[9].name.clone());
        request.validate().expect("limits are inclusive");
    }

    #[test]
    fn values_outside_the_limits_are_refused_by_name() {
        check(|r| r.messages.clear(), "at least one message");
        check(|r| r.prompt = Some("x".to_owned()), "not both");
        check(
            |r| {
                r.messages.clear();
                r.prompt = Some(String::new());
            },
            "empty",
        );
        check(
            |r| {
                r.messages.clear();
                r.prompt = Some("x".to_owned());
                r.tools = vec![tool("f")];
            },
            "without tools",
        );
        check(|r| r.tools = (0..129).map(|n| tool(&format!("f{n}"))).collect(), "129");
        check(|r| r.tools = vec![tool("f"), tool("g"), tool("f")], "two tools");
        check(|r| r.tools = vec![tool("")], "name");
        check(|r| r.tools = vec![tool("<|im_end|>")], "name");
        check(|r| r.tools = vec![tool(&"f".repeat(65))], "name");
        check(|r| r.tools = vec![Tool { parameters: Some(true.into()), ..tool("f") }], "schema");
        check(|r| r.tool_choice = ToolChoice::Required, "no tools");
        check(
            |r| {
                r.tools = vec![tool("f")];
                r.tool_choice = ToolChoice::Named("g".to_owned());
            },
            "`g`",
        );
        check(|r| r.sampling.temperature = f32::NAN, "temperature");
        check(|r| r.sampling.temperature = -0.1, "temperature");
        check(|r| r.sampling.temperature = 100.1, "temperature");
        check(|r| r.sampling.temperature = f32::INFINITY, "temperature");
        check(|r| r.sampling.top_p = 1.1, "top_p");
        check(|r| r.sampling.top_p = f32::NAN, "top_p");
        check(|r| r.sampling.min_p = -1.0, "min_p");
        check(|r| r.sampling.min_p = f32::NAN, "min_p");
        check(|r| r.sampling.typical_p = 0.0, "typical_p");
        check(|r| r.sampling.typical_p = f32::NAN, "typical_p");
        check(|r| r.sampling.repetition_penalty = 0.0, "repetition_penalty");
        check(|r| r.sampling.repetition_penalty = 10.1, "repetition_penalty");
        check(|r| r.sampling.presence_penalty = -2.1, "presence_penalty");
        check(|r| r.sampling.frequency_penalty = f32::NAN, "frequency_penalty");
        check(|r| r.sampling.logit_bias = vec![(7, -100.5)], "-100.5 for token 7");
        check(|r| r.sampling.logit_bias = vec![(7, f32::NAN)], "logit_bias");
        check(|r| r.sampling.logit_bias = vec![(7, 1.0); 1025], "1025");
        check(|r| r.logprobs = Some(21), "logprobs");
        check(|r| r.max_tokens = Some(0), "max_tokens");
        check(|r| r.stop = vec!["x".to_owned(); 17], "17");
        check(|r| r.stop = vec![String::new()], "empty");
        check(|r| r.stop = vec!["x".repeat(257)], "257");
    }
}
