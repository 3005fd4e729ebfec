use std::fmt;

use rbee_narration::Line;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{error::ApiError, error::ErrorCode, job::JobState};

/// One event of a job's stream, as its `data:` line carries it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its place in the stream: 1, 2, 3 …
    pub seq: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: JobEvent,
}

/// What happens in a job's stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobEvent {
    /// A component said what it does.
    Narration(Line),
    /// A phase went on.
    Progress(Progress),
    /// A piece of the answer.
    Token(Token),
    /// The vector of one text.
    Embedding(Embedding),
    /// A piece of a call: the model wants a tool called.
    ToolCall(ToolCallPart),
    /// The answer of a question-like operation.
    Result {
        /// The answer itself: a `QueenReport` for `status`, a `HiveReport` for `hive_status`, an
        /// `EmbedReport` for `embed`, a `TokenCount` for `count_tokens`, a `ModelAlias` for `model_alias`, and a
        /// `HiveList`, a `WorkerList` or a `ModelList` for the others.
        result: Value,
    },
    /// How the job ended. Nothing follows it.
    End(Box<End>),
}

impl JobEvent {
    /// The event's name on the wire, the same as its `kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Narration(_) => "narration",
            Self::Progress(_) => "progress",
            Self::Token(_) => "token",
            Self::Embedding(_) => "embedding",
            Self::ToolCall(_) => "tool_call",
            Self::Result { .. } => "result",
            Self::End(_) => "end",
        }
    }
}

/// How far a phase has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// Which phase.
    pub phase: Phase,
    /// How much is done, in `unit`.
    pub done: u64,
    /// How much there is in all, in `unit`; absent when nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What `done` and `total` count.
    pub unit: Unit,
    /// In about so many milliseconds the phase will be over, going by jobs before; absent when nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate_ms: Option<u64>,
}

impl Progress {
    /// So much of so much, without a word on how long the rest will take.
    pub fn new(phase: Phase, done: u64, total: Option<u64>, unit: Unit) -> Self {
        Self { phase, done, total, unit, estimate_ms: None }
    }
}

/// The phases that a job can be in before its answer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waiting for its turn; `done` counts up to `total`, the most that were ahead.
    Queued,
    /// A model is being downloaded.
    Download,
    /// A model's files are being compared with their digests.
    Verify,
    /// A model is being loaded into memory.
    Load,
    /// The prompt is being read by the model.
    Prefill,
}

/// What a [`Progress`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Jobs ahead in the queue.
    Jobs,
    /// Bytes.
    Bytes,
    /// Percent of the phase's work.
    Percent,
    /// Tokens of the prompt.
    Tokens,
}

/// A piece of the answer: whole UTF-8, and empty only where it carries `logprobs` of tokens without a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// The text.
    pub text: String,
    /// The piece's place in the answer, from 0.
    pub index: u64,
    /// Whether the model was thinking aloud rather than answering.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reasoning: bool,
    /// How likely the tokens of this piece were, where the request asked for that. A piece may be of several
    /// tokens, since a text that may turn out to be the beginning of a stop string is held back, as are parts
    /// of characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<TokenLogprobs>,
}

impl Token {
    /// A piece of the answer itself.
    pub fn new(text: impl Into<String>, index: u64) -> Self {
        Self { text: text.into(), index, reasoning: false, logprobs: Vec::new() }
    }
}

/// How likely a token of the answer was, and what else the model might have said in its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenLogprobs {
    /// The token that was chosen.
    #[serde(flatten)]
    pub chosen: Logprob,
    /// The tokens that the model held to be the likeliest, the likeliest first; as many as were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<Logprob>,
}

/// How likely the model held a token to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Logprob {
    /// Its number in the model's vocabulary.
    pub id: u32,
    /// Its text, or the name of a control token; of a token of over 256 bytes, the beginning.
    pub text: String,
    /// Its bytes, where they are no whole characters and `text` stands for them with U+FFFD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Vec<u8>>,
    /// The natural logarithm of its probability, which is the model's own: before temperature, penalties, bias,
    /// grammar and whatever else narrows the choice.
    pub logprob: f32,
}

/// The vector of one text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Embedding {
    /// The text's place in the request, from 0.
    pub index: u64,
    /// The vector, of length 1: the cosine of two texts is the sum of their products.
    pub values: Vec<f32>,
    /// The text's tokens, with those that the model wants around each text.
    pub tokens: u64,
}

impl fmt::Display for Embedding {
    /// The numbers, with spaces in between.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for value in &self.values {
            write!(out, "{between}{value}")?;
            between = " ";
        }
        Ok(())
    }
}

/// A piece of a call of a tool. The first of each call has its `id` and `name`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ToolCallPart {
    /// Which of the answer's calls, from 0.
    pub index: u32,
    /// By what the tool's result says whose it is: nine letters and digits, which is what the strictest
    /// models take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The tool's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The next part of the arguments' JSON text; empty in a first piece. What all pieces have together is an
    /// object, unless the answer ended in the middle of it. Whether it is what the tool takes is for the tool
    /// to check.
    pub arguments: String,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct End {
    /// Succeeded, failed or cancelled.
    pub state: EndState,
    /// Why the answer stops where it stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
    /// Which of the request's stop strings ended it, if one did and not the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
    /// What went wrong, or who cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
    /// How many tokens were read and written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Where the time went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    /// How long it took from the word to stop until the work had stopped and its slot was free, in
    /// milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "rounded_option")]
    pub cancel_ms: Option<f64>,
}

impl End {
    /// The end of a job that did what it was asked to.
    pub fn succeeded() -> Self {
        Self {
            state: EndState::Succeeded,
            finish_reason: None,
            stop: None,
            error: None,
            usage: None,
            timings: None,
            cancel_ms: None,
        }
    }

    /// The end of a job that `error` stopped: cancelled if that is its code, else failed.
    pub fn stopped(error: ApiError) -> Self {
        let state = if error.code == ErrorCode::Cancelled { EndState::Cancelled } else { EndState::Failed };
        Self { state, error: Some(error), ..Self::succeeded() }
    }
}

/// The three ways in which a job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndState {
    /// It did what it was asked to.
    Succeeded,
    /// It could not.
    Failed,
    /// It was told to stop.
    Cancelled,
}

impl From<EndState> for JobState {
    fn from(state: EndState) -> Self {
        match state {
            EndState::Succeeded => Self::Succeeded,
            EndState::Failed => Self::Failed,
            EndState::Cancelled => Self::Cancelled,
        }
    }
}

/// Why an answer stops where it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended it, or a stop string came up.
    Stop,
    /// The model ended it with calls of tools, whose results it waits for.
    ToolCalls,
    /// `max_tokens` or the context's end was reached.
    Length,
    /// The job was cancelled.
    Cancelled,
}

/// How many tokens were read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Tokens of the prompt, template included.
    pub prompt_tokens: u64,
    /// Of these, the ones that did not have to be read, because an earlier prompt of the same owner began
    /// with them.
    #[serde(default)]
    pub cached_tokens: u64,
    /// Tokens that the model generated.
    pub completion_tokens: u64,
}

/// Where a job's time went. Durations are wall time in milliseconds, from the monotonic clock of the
/// process that did the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Timings {
    /// Waiting for a hive and a free worker.
    #[serde(serialize_with = "rounded")]
    pub queue_ms: f64,
    /// Waiting for the worker to start and load the model.
    #[serde(serialize_with = "rounded")]
    pub load_ms: f64,
    /// Reading the prompt.
    #[serde(serialize_with = "rounded")]
    pub prefill_ms: f64,
    /// Generating.
    #[serde(serialize_with = "rounded")]
    pub decode_ms: f64,
    /// Prompt tokens read per second.
    #[serde(serialize_with = "rounded")]
    pub prefill_tokens_per_s: f64,
    /// Tokens generated per second.
    #[serde(serialize_with = "rounded")]
    pub decode_tokens_per_s: f64,
}

/// Microseconds and thousandths of a token are as much as anybody can use.
fn rounded<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value * 1e3).round() / 1e3)
}

#[expect(clippy::ref_option, reason = "serde hands the field over so")]
fn rounded_option<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    rounded(&value.unwrap_or_default(), serializer)
}
