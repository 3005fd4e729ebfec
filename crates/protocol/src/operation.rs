use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AdditionalProperties, Object, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type,
};
use utoipa::{PartialSchema, ToSchema};

use crate::error::{ApiError, ErrorCode};
use crate::id::{HiveId, JobId, ModelRef, WorkerId};
use crate::read::read;
use crate::tool::{self, Tool, ToolCall, ToolChoice};

/// A request has so many texts to stop at, each of so many bytes. It bounds what is held back of an answer.
const STOP_MAX: usize = 16;
const STOP_MAX_BYTES: usize = 256;

const LOGIT_BIAS_MAX: usize = 1024;
const LOGPROBS_MAX: u32 = 20;
/// Grammars that people write have a few kilobytes.
const GRAMMAR_MAX_BYTES: usize = 16 << 10;

/// What a job does.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(tag = "operation", rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    /// Answers a chat, or goes on with a text, with a model's tokens.
    Infer(InferRequest),
    /// Turns texts into vectors that tell how near they are in meaning.
    Embed(EmbedRequest),
    /// Counts the tokens of the prompt that `infer` would make of the same fields, and computes nothing.
    CountTokens(InferRequest),
    /// Tells about the queen and what it has at its disposal.
    Status {},
    /// Tells about one hive: devices, memory, models, workers.
    HiveStatus {
        /// Which hive; the local one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hive: Option<HiveId>,
    },
    /// Lists the hives.
    HiveList {},
    /// Lists the workers of all hives.
    WorkerList {},
    /// Loads a model before anybody asks for it. For operators.
    WorkerStart {
        /// Which one; the default model when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<ModelRef>,
        /// For so many seconds without a job it stays loaded: as the hive's settings say when absent, for ever below 0.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keep_alive_s: Option<i64>,
        /// Whether it stays loaded where another needs its room.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pinned: bool,
    },
    /// Has a worker take no more jobs, and end. For operators.
    WorkerStop {
        /// Which one.
        worker: WorkerId,
        /// It has so many seconds for the jobs that it has, which fail after that: none when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(format = "uint32", maximum = 4_294_967_295_u32)]
        deadline_s: Option<u32>,
    },
    /// Has a hive begin no more work for models, and unload those that nobody uses: its machine is wanted for something
    /// else. For operators.
    HivePause {
        /// Which hive; the local one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hive: Option<HiveId>,
    },
    /// Has a hive that was paused go on. For operators.
    HiveResume {
        /// Which hive; the local one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hive: Option<HiveId>,
    },
    /// Lists the models of all hives, and the aliases.
    ModelList {},
    /// Has a name of one's own stand for a model, or no longer. For operators.
    ModelAlias {
        /// The name, at most 128 bytes without a `/`. It goes before a model's own name.
        #[schema(min_length = 1, max_length = 128, pattern = "^[^/]*$")]
        alias: String,
        /// What it is to stand for; nothing any more when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<ModelRef>,
    },
    /// Brings a model from where `model` says, so that it is here and verified. For operators.
    ModelPull {
        /// `hf:owner/repository` with `:quantization` or `:file.gguf` behind it or not, `ollama:name:tag`, the URL of a
        /// GGUF file, a short name of the list that `model_search` shows, or the path of a file on the hive's machine.
        model: ModelRef,
    },
    /// Tells about one model.
    ModelShow {
        /// Which one; the default model when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<ModelRef>,
    },
    /// Takes a model off the hive, and what no other model needs. For operators.
    ModelRemove {
        /// Which one.
        model: ModelRef,
    },
    /// Looks for models that could be pulled.
    ModelSearch {
        /// Words of their names.
        #[schema(min_length = 1, max_length = 256)]
        query: String,
        /// How many at most; 20 when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(minimum = 1, maximum = 100, format = "uint32")]
        limit: Option<u32>,
    },
    /// Reads models' files and compares them with what they were when they came. For operators.
    ModelVerify {
        /// Which one; all whose digest is known when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<ModelRef>,
    },
    /// Tells of a hive's workers, and again whenever they change, until the hive goes. Hives take
    /// this from their queen.
    HiveWatch {},
}

/// The fields of an operation that has none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {}

/// The fields of `model_alias`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AliasFields {
    alias: String,
    #[serde(default)]
    model: Option<ModelRef>,
}

/// The fields of `worker_start`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StartFields {
    #[serde(default)]
    model: Option<ModelRef>,
    #[serde(default)]
    keep_alive_s: Option<i64>,
    #[serde(default)]
    pinned: bool,
}

/// The fields of `worker_stop`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StopFields {
    worker: WorkerId,
    #[serde(default)]
    deadline_s: Option<u32>,
}

/// The fields of an operation on one model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelFields {
    model: ModelRef,
}

/// The fields of an operation on one model or another.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MaybeModelFields {
    #[serde(default)]
    model: Option<ModelRef>,
}

/// The fields of `model_search`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchFields {
    query: String,
    #[serde(default)]
    limit: Option<u32>,
}

/// The fields of an operation on one hive.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HiveFields {
    #[serde(default)]
    hive: Option<HiveId>,
}

impl Operation {
    /// What a queen can be asked for. [`Operation::HiveWatch`] is between daemons.
    const PUBLIC: [&str; 18] = [
        "infer",
        "embed",
        "count_tokens",
        "status",
        "hive_status",
        "hive_list",
        "hive_pause",
        "hive_resume",
        "worker_list",
        "worker_start",
        "worker_stop",
        "model_list",
        "model_alias",
        "model_pull",
        "model_show",
        "model_remove",
        "model_search",
        "model_verify",
    ];

    /// The operation's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Infer(_) => "infer",
            Self::Embed(_) => "embed",
            Self::CountTokens(_) => "count_tokens",
            Self::Status {} => "status",
            Self::HiveStatus { .. } => "hive_status",
            Self::HiveList {} => "hive_list",
            Self::HivePause { .. } => "hive_pause",
            Self::HiveResume { .. } => "hive_resume",
            Self::WorkerList {} => "worker_list",
            Self::WorkerStart { .. } => "worker_start",
            Self::WorkerStop { .. } => "worker_stop",
            Self::ModelList {} => "model_list",
            Self::ModelAlias { .. } => "model_alias",
            Self::ModelPull { .. } => "model_pull",
            Self::ModelShow { .. } => "model_show",
            Self::ModelRemove { .. } => "model_remove",
            Self::ModelSearch { .. } => "model_search",
            Self::ModelVerify { .. } => "model_verify",
            Self::HiveWatch {} => "hive_watch",
        }
    }

    /// Which model a worker is to do it with, nothing standing for the default model, where it is a worker's work.
    pub fn model(&self) -> Option<Option<&ModelRef>> {
        match self {
            Self::Infer(request) | Self::CountTokens(request) => Some(request.model.as_ref()),
            Self::Embed(request) => Some(request.model.as_ref()),
            _ => None,
        }
    }

    /// Has a worker do it with this model, where it is a worker's work.
    pub fn set_model(&mut self, model: ModelRef) {
        match self {
            Self::Infer(request) | Self::CountTokens(request) => request.model = Some(model),
            Self::Embed(request) => request.model = Some(model),
            _ => {}
        }
    }

    /// Whether the model that is loaded may do it where there is none of that name.
    pub fn falls_back(&self) -> bool {
        match self {
            Self::Infer(request) | Self::CountTokens(request) => request.fallback,
            Self::Embed(request) => request.fallback,
            _ => false,
        }
    }

    /// Whether it is only to be said where it would run.
    pub fn is_dry_run(&self) -> bool {
        matches!(self, Self::Infer(request) if request.dry_run)
    }

    /// For how many seconds without a job its model is to stay loaded, if it says so; for ever below 0.
    pub fn keep_alive_s(&self) -> Option<i64> {
        match self {
            Self::Infer(request) | Self::CountTokens(request) => request.keep_alive_s,
            Self::Embed(request) => request.keep_alive_s,
            Self::WorkerStart { keep_alive_s, .. } => *keep_alive_s,
            _ => None,
        }
    }

    /// The operation of this name. By hand: read as a tagged enum it would lose which field is wrong, and show
    /// whoever mistypes its name what is not for them.
    fn read(name: &str, fields: Value) -> Result<Self, String> {
        let none = |operation| read::<NoFields, _>(fields.clone()).map(|_| operation);
        match name {
            "infer" => read(fields).map(Self::Infer),
            "embed" => read(fields).map(Self::Embed),
            "count_tokens" => read(fields).map(Self::CountTokens),
            "status" => none(Self::Status {}),
            "hive_status" => read(fields).map(|HiveFields { hive }| Self::HiveStatus { hive }),
            "hive_list" => none(Self::HiveList {}),
            "hive_pause" => read(fields).map(|HiveFields { hive }| Self::HivePause { hive }),
            "hive_resume" => read(fields).map(|HiveFields { hive }| Self::HiveResume { hive }),
            "worker_list" => none(Self::WorkerList {}),
            "worker_start" => read(fields).map(|StartFields { model, keep_alive_s, pinned }| {
                Self::WorkerStart { model, keep_alive_s, pinned }
            }),
            "worker_stop" => {
                read(fields).map(|StopFields { worker, deadline_s }| Self::WorkerStop { worker, deadline_s })
            }
            "model_list" => none(Self::ModelList {}),
            "model_alias" => {
                read(fields).map(|AliasFields { alias, model }| Self::ModelAlias { alias, model })
            }
            "model_pull" => read(fields).map(|ModelFields { model }| Self::ModelPull { model }),
            "model_show" => read(fields).map(|MaybeModelFields { model }| Self::ModelShow { model }),
            "model_remove" => read(fields).map(|ModelFields { model }| Self::ModelRemove { model }),
            "model_search" => {
                read(fields).map(|SearchFields { query, limit }| Self::ModelSearch { query, limit })
            }
            "model_verify" => read(fields).map(|MaybeModelFields { model }| Self::ModelVerify { model }),
            "hive_watch" => none(Self::HiveWatch {}),
            _ => Err(format!("there is no operation `{name}`: it is one of {}", Self::PUBLIC.join(", "))),
        }
    }
}

/// A chat to answer or a text to go on with, and how. What is absent is the model's or the engine's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InferRequest {
    /// Which model; the default model when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
    /// Where there is no model of that name, has the one do it that is loaded, if that is one alone, and else the
    /// default model, if it is the only one there is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fallback: bool,
    /// For so many seconds without a job the model stays loaded after this: as its hive's settings say when absent, for
    /// ever below 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_alive_s: Option<i64>,
    /// Has the queen and a hive say where it would run and why, and nothing done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The chat so far, oldest first; at least one message is of the role `user`. Either this or `prompt`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    /// A text to go on with as it is, without the model's chat template, for models that are not made for
    /// chats. The name of a control token in it is only text. Either this or `messages`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1)]
    pub prompt: Option<String>,
    /// How many tokens to generate at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, format = "uint32", maximum = 4_294_967_295_u32)]
    pub max_tokens: Option<u32>,
    /// How freely to choose: 0 always takes the likeliest token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 100)]
    pub temperature: Option<f32>,
    /// Choose among so many of the likeliest tokens; 0 for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "uint32", maximum = 4_294_967_295_u32)]
    pub top_k: Option<u32>,
    /// Choose among the likeliest tokens that make up this probability together, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub top_p: Option<f32>,
    /// Choose among tokens at least this likely compared with the likeliest, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub min_p: Option<f32>,
    /// Makes the choice repeatable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "uint64", maximum = 18_446_744_073_709_551_615_u64)]
    pub seed: Option<u64>,
    /// Texts at which the answer ends; they are not part of it. At most 16, none empty, none over 256
    /// bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16)]
    pub stop: Vec<String>,
    /// Choose among tokens whose likelihood is the most typical and that make up this probability together,
    /// above 0 up to 1; 1 for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(exclusive_minimum = 0, maximum = 1)]
    pub typical_p: Option<f32>,
    /// Divides the logits of tokens that came lately, in the prompt or the answer, where they are positive, and
    /// multiplies them where they are not: above 1 against repetition, 1 for nothing. Above 0 up to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(exclusive_minimum = 0, maximum = 10)]
    pub repetition_penalty: Option<f32>,
    /// Is taken off the logits of tokens that came lately, -2 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = -2, maximum = 2)]
    pub presence_penalty: Option<f32>,
    /// Is taken off the logits of tokens that came lately, once for each time, -2 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = -2, maximum = 2)]
    pub frequency_penalty: Option<f32>,
    /// How many of the last tokens came lately in the penalties' sense: 64 when absent, at most the context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "uint32", maximum = 4_294_967_295_u32)]
    pub penalty_last_n: Option<u32>,
    /// Is added to the logits of these tokens, which are named by their numbers in the model's vocabulary: -100
    /// to 100 each, at most 1,024 tokens.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(schema_with = logit_bias_schema)]
    pub logit_bias: BTreeMap<u32, f32>,
    /// Has the answer say of each token how likely the model held it to be, and so many others that it held to
    /// be the likeliest, 0 to 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "uint32", maximum = 20)]
    pub logprobs: Option<u32>,
    /// Has a prompt that does not fit into the context lose its beginning instead of being refused: whole
    /// messages, but never the system's nor the last one of the role `user` nor what follows that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncate: bool,
    /// Has the answer be JSON that meets this JSON Schema, of the keywords that are supported; `true` or `{}`
    /// for any JSON. Either this or `grammar`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = json_schema_schema)]
    pub json_schema: Option<Value>,
    /// Has the answer be a text of this grammar, which is written in GBNF as for llama.cpp. Either this or
    /// `json_schema`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 16384)]
    pub grammar: Option<String>,
    /// What the model can ask for, in a chat; at most 128.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 128)]
    pub tools: Vec<Tool>,
    /// Whether it calls them; `auto` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Whether the answer may have several calls; it may when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
}

impl InferRequest {
    /// Checks what can be checked without the model.
    ///
    /// # Errors
    /// `bad_request` names the field that is out of its range.
    pub fn check(&self) -> Result<(), ApiError> {
        if self.prompt.is_some() && !self.messages.is_empty() {
            let error = ApiError::new(ErrorCode::BadRequest, "there are both `messages` and a `prompt`");
            return Err(error.hint("leave one of them out"));
        }
        for (index, message) in self.messages.iter().enumerate() {
            if let Err(problem) = message.check() {
                let error = ApiError::new(ErrorCode::BadRequest, format!("`messages[{index}]`: {problem}"));
                return Err(error.hint("send it as it came, or as a text"));
            }
        }
        if self.prompt.as_ref().is_some_and(String::is_empty) {
            let error = ApiError::new(ErrorCode::BadRequest, "`prompt` is empty");
            return Err(error.hint("give it the text to go on with"));
        }
        let ranges = [
            ("temperature", self.temperature, 0.0, 100.0),
            ("top_p", self.top_p, 0.0, 1.0),
            ("min_p", self.min_p, 0.0, 1.0),
            ("presence_penalty", self.presence_penalty, -2.0, 2.0),
            ("frequency_penalty", self.frequency_penalty, -2.0, 2.0),
        ];
        for (field, value, min, max) in ranges {
            if value.is_some_and(|value| !(min..=max).contains(&value)) {
                return out_of_range(field, format!("give it a number from {min} to {max}"));
            }
        }
        let ranges =
            [("typical_p", self.typical_p, 1.0), ("repetition_penalty", self.repetition_penalty, 10.0)];
        for (field, value, max) in ranges {
            if value.is_some_and(|value| !(value > 0.0 && value <= max)) {
                return out_of_range(field, format!("give it a number above 0, up to {max}"));
            }
        }
        let biases = self.logit_bias.values();
        if self.logit_bias.len() > LOGIT_BIAS_MAX || !biases.clone().all(|bias| bias.abs() <= 100.0) {
            let hint =
                format!("give it at most {LOGIT_BIAS_MAX} tokens, each with a number from -100 to 100");
            return out_of_range("logit_bias", hint);
        }
        if self.logprobs.is_some_and(|count| count > LOGPROBS_MAX) {
            return out_of_range("logprobs", format!("give it a number from 0 to {LOGPROBS_MAX}"));
        }
        if self.json_schema.is_some() && self.grammar.is_some() {
            let error =
                ApiError::new(ErrorCode::BadRequest, "there are both a `json_schema` and a `grammar`");
            return Err(error.hint("leave one of them out"));
        }
        if self.json_schema.as_ref().is_some_and(|schema| !schema.is_object() && !schema.is_boolean()) {
            let error = ApiError::new(ErrorCode::BadRequest, "`json_schema` is no JSON Schema");
            return Err(error.hint("give it an object, or `true` for any JSON"));
        }
        if self.grammar.as_ref().is_some_and(|text| text.is_empty() || text.len() > GRAMMAR_MAX_BYTES) {
            return out_of_range("grammar", format!("give it 1 to {GRAMMAR_MAX_BYTES} bytes"));
        }
        let long = |stop: &String| stop.is_empty() || stop.len() > STOP_MAX_BYTES;
        if self.stop.len() > STOP_MAX || self.stop.iter().any(long) {
            let hint = format!("give it at most {STOP_MAX} texts, each of 1 to {STOP_MAX_BYTES} bytes");
            return out_of_range("stop", hint);
        }
        if self.max_tokens == Some(0) {
            let error = ApiError::new(ErrorCode::BadRequest, "`max_tokens` is 0, which leaves nothing to do");
            return Err(error.hint("ask for one token at least, or leave it out"));
        }
        tool::check(self)
    }
}

fn logit_bias_schema() -> Object {
    let bias = ObjectBuilder::new().schema_type(Type::Number).minimum(Some(-100)).maximum(Some(100));
    let description = "Is added to the logits of these tokens, which are named by their numbers in the model's \
                       vocabulary: -100 to 100 each, at most 1,024 tokens.";
    ObjectBuilder::new()
        .property_names(Some(
            ObjectBuilder::new().schema_type(Type::String).pattern(Some("^(0|[1-9][0-9]{0,8})$")),
        ))
        .additional_properties(Some(bias))
        .max_properties(Some(LOGIT_BIAS_MAX))
        .description(Some(description))
        .build()
}

fn json_schema_schema() -> Object {
    let description = "Has the answer be JSON that meets this JSON Schema, of the keywords that are supported; `true` \
                       or `{}` for any JSON. Either this or `grammar`.";
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Boolean]))
        .description(Some(description))
        .build()
}

fn out_of_range(field: &str, hint: String) -> Result<(), ApiError> {
    Err(ApiError::new(ErrorCode::BadRequest, format!("`{field}` is out of its range")).hint(hint))
}

/// So many texts one request turns into vectors.
const TEXTS_MAX: usize = 1024;

/// Texts to turn into vectors, which come as the job's `embedding` events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbedRequest {
    /// Which model; the default model when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
    /// Where there is no model of that name, has the one do it that is loaded, if that is one alone, and else the
    /// default model, if it is the only one there is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fallback: bool,
    /// For so many seconds without a job the model stays loaded after this: as its hive's settings say when absent, for
    /// ever below 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_alive_s: Option<i64>,
    /// The texts, each taken literally and not empty; at most 1024.
    #[schema(min_items = 1, max_items = 1024)]
    pub input: Vec<String>,
    /// Whether what does not fit is cut off at a text's end. Without, a text that does not fit is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncate: bool,
}

impl EmbedRequest {
    /// Checks what can be checked without the model.
    ///
    /// # Errors
    /// `bad_request` says what is wrong with the texts.
    pub fn check(&self) -> Result<(), ApiError> {
        if self.input.is_empty() || self.input.len() > TEXTS_MAX {
            let error = ApiError::new(ErrorCode::BadRequest, "`input` is out of its range");
            return Err(error.hint(format!("give it 1 to {TEXTS_MAX} texts, and the rest to another job")));
        }
        if let Some(index) = self.input.iter().position(String::is_empty) {
            let error = ApiError::new(ErrorCode::BadRequest, format!("`input[{index}]` is empty"));
            return Err(error.hint("leave it out: there is nothing to tell of it"));
        }
        Ok(())
    }
}

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, try_from = "MessageFields")]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What they say; the result, if it is a tool's. Only a message with calls may go without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The tools that the model called, if it is the model's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The `id` of the call that it is the result of, if it is a tool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// The name of who speaks, for models that know several; of a tool's message, the tool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The fields of a message, before it is known whether they go together.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageFields {
    role: Role,
    content: Option<String>,
    #[serde(default)]
    tool_calls: Vec<ToolCall>,
    tool_call_id: Option<String>,
    name: Option<String>,
}

impl TryFrom<MessageFields> for Message {
    type Error = &'static str;

    fn try_from(fields: MessageFields) -> Result<Self, Self::Error> {
        let MessageFields { role, content, tool_calls, tool_call_id, name } = fields;
        let message = Self { role, content, tool_calls, tool_call_id, name };
        message.check().map(|()| message)
    }
}

impl Message {
    /// A message that is a text and nothing else.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: Some(content.into()), tool_calls: Vec::new(), tool_call_id: None, name: None }
    }

    /// Says what is wrong with the message, if something is.
    fn check(&self) -> Result<(), &'static str> {
        if self.content.is_none() && self.tool_calls.is_empty() {
            return Err("missing field `content`");
        }
        if self.role != Role::Assistant && !self.tool_calls.is_empty() {
            return Err("only messages of the role `assistant` have `tool_calls`");
        }
        Ok(())
    }
}

/// Who speaks in a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Whoever set the scene.
    System,
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
    /// A tool that the model has called.
    Tool,
}

/// The body of `POST /v1/jobs`: an operation with its fields, and how to run it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct SubmitRequest {
    /// What to do.
    #[serde(flatten)]
    pub operation: Operation,
    /// Whether the job runs on when nobody reads it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub detached: bool,
    /// The queen's job that this one works for. Only hives and workers heed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<JobId>,
    /// Whose computations a worker may use again for this job, and keep: jobs of one scope share them.
    /// The queen says so; only hives and workers heed it. Without one, nothing is shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

impl SubmitRequest {
    /// A job that somebody will read.
    pub fn new(operation: Operation) -> Self {
        Self { operation, detached: false, origin: None, scope: None }
    }

    /// The part of `origin` that the next daemon does.
    pub fn child(operation: Operation, origin: JobId) -> Self {
        Self { origin: Some(origin), ..Self::new(operation) }
    }
}

// Not derived: a flattened enum would let unknown fields pass.
impl TryFrom<Map<String, Value>> for SubmitRequest {
    type Error = String;

    fn try_from(mut fields: Map<String, Value>) -> Result<Self, String> {
        let name: String = take(&mut fields, "operation")?.ok_or("missing field `operation`")?;
        let detached = take(&mut fields, "detached")?.unwrap_or_default();
        let origin = take(&mut fields, "origin")?;
        let scope = take(&mut fields, "scope")?;
        let operation = Operation::read(&name, Value::Object(fields))?;
        Ok(Self { operation, detached, origin, scope })
    }
}

fn take<T: DeserializeOwned>(fields: &mut Map<String, Value>, name: &str) -> Result<Option<T>, String> {
    let value = fields.remove(name).map(serde_json::from_value).transpose();
    value.map_err(|error| format!("`{name}`: {error}"))
}

// Not derived, for the same reason: every operation with its fields is an object of its own here, and closed.
// What only daemons ask of one another is left out.
impl PartialSchema for SubmitRequest {
    fn schema() -> RefOr<Schema> {
        let RefOr::T(Schema::OneOf(operations)) = Operation::schema() else {
            unreachable!("an enum whose variants have fields is one of several schemas")
        };
        let requests = operations.items.into_iter().map(request_schema);
        let public = requests.filter(is_public);
        let one_of = public.fold(OneOfBuilder::new(), |one_of, request| one_of.item(request));
        one_of.description(Some("An operation with its fields, and how to run it.")).into()
    }
}

impl ToSchema for SubmitRequest {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        InferRequest::schemas(schemas);
        EmbedRequest::schemas(schemas);
        schemas.push((HiveId::name().into_owned(), HiveId::schema()));
        schemas.push((ModelRef::name().into_owned(), ModelRef::schema()));
    }
}

fn request_schema(operation: RefOr<Schema>) -> Object {
    let detached = ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .description(Some("Whether the job runs on when nobody reads it."))
        .default(Some(false.into()));
    let mut request = ObjectBuilder::new().property("detached", detached).build();
    add_fields(&mut request, operation);
    request.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    request
}

fn add_fields(request: &mut Object, part: RefOr<Schema>) {
    match part {
        RefOr::T(Schema::AllOf(parts)) => {
            parts.items.into_iter().for_each(|part| add_fields(request, part));
            request.description = parts.description.or(request.description.take());
        }
        RefOr::T(Schema::Object(part)) => {
            request.properties.extend(part.properties);
            request.required.extend(part.required);
            request.description = part.description.or(request.description.take());
        }
        // Of the operations whose fields are a type.
        RefOr::Ref(of) => match of.ref_location.rsplit('/').next() {
            Some("EmbedRequest") => add_fields(request, EmbedRequest::schema()),
            Some("InferRequest") => add_fields(request, InferRequest::schema()),
            _ => unreachable!("no operation has the fields of {}", of.ref_location),
        },
        RefOr::T(_) => unreachable!("an operation is an object"),
    }
}

fn is_public(request: &Object) -> bool {
    match request.properties.get("operation") {
        Some(RefOr::T(Schema::Object(tag))) => {
            tag.enum_values.iter().flatten().any(|name| Operation::PUBLIC.iter().any(|public| name == public))
        }
        _ => unreachable!("every operation says its name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<SubmitRequest, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn a_submission_survives_a_round_trip() {
        let request = SubmitRequest {
            operation: Operation::Infer(InferRequest {
                messages: vec![Message::new(Role::User, "hi")],
                seed: Some(7),
                ..Default::default()
            }),
            detached: true,
            origin: Some(JobId::from_bits(3)),
            scope: Some("alice".into()),
        };
        let json = serde_json::to_string(&request).expect("plain data");
        assert_eq!(parse(&json).expect("its own text"), request);
    }

    #[test]
    fn values_out_of_their_range_are_named() {
        let check = |json: &str| serde_json::from_str::<InferRequest>(json).expect("a request").check();
        for allowed in [
            r#"{"messages":[],"temperature":0,"top_p":1}"#,
            r#"{"messages":[],"typical_p":1,"repetition_penalty":10,"presence_penalty":-2,"frequency_penalty":2}"#,
            r#"{"messages":[],"logit_bias":{"0":-100,"4294967295":100},"logprobs":20,"json_schema":true}"#,
        ] {
            assert_eq!(check(allowed), Ok(()), "{allowed}");
        }
        for (json, field) in [
            (r#"{"messages":[],"temperature":-1}"#, "temperature"),
            (r#"{"messages":[],"temperature":1e39}"#, "temperature"),
            (r#"{"messages":[],"top_p":1.5}"#, "top_p"),
            (r#"{"messages":[],"min_p":-0.1}"#, "min_p"),
            (r#"{"messages":[],"max_tokens":0}"#, "max_tokens"),
            (r#"{"prompt":""}"#, "prompt"),
            (r#"{"prompt":"x","messages":[{"role":"user","content":"x"}]}"#, "both"),
            (r#"{"messages":[],"stop":["x",""]}"#, "stop"),
            (r#"{"messages":[],"tools":[{"name":""}]}"#, "tools[0].name"),
            (r#"{"messages":[],"tools":[{"name":"f"},{"name":"<f>"}]}"#, "tools[1].name"),
            (r#"{"messages":[],"tools":[{"name":"f"},{"name":"f"}]}"#, "`f`"),
            (r#"{"messages":[],"tools":[{"name":"f","parameters":[]}]}"#, "parameters"),
            (r#"{"messages":[],"tool_choice":"required"}"#, "tool_choice"),
            (r#"{"messages":[],"tools":[{"name":"f"}],"tool_choice":{"name":"g"}}"#, "tool_choice"),
            (r#"{"prompt":"x","tools":[{"name":"f"}]}"#, "tools"),
            (
                r#"{"messages":[],"tools":[{"name":"f"}],"tool_choice":"required","json_schema":true}"#,
                "another form",
            ),
            (
                r#"{"messages":[],"tools":[{"name":"f"}],"tool_choice":{"name":"f"},"grammar":"root ::= \"a\""}"#,
                "form",
            ),
            (
                r#"{"messages":[],"tools":[{"name":"f","parameters":{"type":"string"}}],"tool_choice":"required"}"#,
                "object",
            ),
            (&format!(r#"{{"messages":[],"stop":["{}"]}}"#, "x".repeat(257)), "stop"),
            (&format!(r#"{{"messages":[],"stop":["x"{}]}}"#, r#","x""#.repeat(16)), "stop"),
            (r#"{"messages":[],"typical_p":0}"#, "typical_p"),
            (r#"{"messages":[],"typical_p":1.01}"#, "typical_p"),
            (r#"{"messages":[],"repetition_penalty":0}"#, "repetition_penalty"),
            (r#"{"messages":[],"repetition_penalty":1e39}"#, "repetition_penalty"),
            (r#"{"messages":[],"presence_penalty":-2.1}"#, "presence_penalty"),
            (r#"{"messages":[],"frequency_penalty":3}"#, "frequency_penalty"),
            (r#"{"messages":[],"logit_bias":{"5":100.5}}"#, "logit_bias"),
            (r#"{"messages":[],"logit_bias":{"5":-1e39}}"#, "logit_bias"),
            (r#"{"messages":[],"logprobs":21}"#, "logprobs"),
            (r#"{"messages":[],"json_schema":{},"grammar":"root ::= \"a\""}"#, "both"),
            (r#"{"messages":[],"json_schema":5}"#, "json_schema"),
            (r#"{"messages":[],"grammar":""}"#, "grammar"),
            (&format!(r#"{{"messages":[],"grammar":"{}"}}"#, "x".repeat(16_385)), "grammar"),
        ] {
            let error = check(json).expect_err(json);
            assert!(error.message.contains(field), "{error}");
        }
    }

    #[test]
    fn unknown_fields_and_operations_are_named() {
        let error = |json| parse(json).expect_err("must be refused").to_string();
        assert!(error(r#"{"operation":"hive_list","colour":1}"#).contains("colour"));
        assert!(error(r#"{"operation":"infer","messages":[],"temprature":1}"#).contains("temprature"));
        assert!(error(r#"{"operation":"explode"}"#).contains("explode"));
        assert!(error(r#"{}"#).contains("operation"));
        assert!(!error(r#"{"operation":"explode"}"#).contains("hive_watch"), "it is between daemons");
    }

    #[test]
    fn every_operation_can_be_read() {
        for name in Operation::PUBLIC.iter().filter(|name| **name != "infer").chain(&["hive_watch"]) {
            let fields = match *name {
                "embed" => r#","input":["text"]"#,
                "count_tokens" => r#","prompt":"text""#,
                "model_alias" => r#","alias":"name""#,
                "model_pull" | "model_remove" => r#","model":"name""#,
                "model_search" => r#","query":"name""#,
                "worker_stop" => r#","worker":"worker-1""#,
                _ => "",
            };
            let request = parse(&format!(r#"{{"operation":"{name}"{fields}}}"#)).expect(name);
            assert_eq!(request.operation.name(), *name);
        }
    }

    #[test]
    fn a_field_with_the_wrong_value_is_named() {
        for (json, start) in [
            (r#"{"operation":"infer","messages":[],"max_tokens":"many"}"#, "`max_tokens`: invalid type"),
            (r#"{"operation":"infer","messages":[{"role":"king"}]}"#, "`messages[0].role`: unknown variant"),
            (r#"{"operation":"infer","messages":[{"role":"user"}]}"#, "`messages[0]`: missing field"),
            (
                r#"{"operation":"infer","messages":[{"role":"assistant","tool_calls":[]}]}"#,
                "`messages[0]`: missing field",
            ),
            (
                r#"{"operation":"infer","messages":[{"role":"tool","tool_calls":[{"id":"1","name":"f","arguments":{}}]}]}"#,
                "`messages[0]`: only",
            ),
            (
                r#"{"operation":"infer","messages":[{"role":"assistant","tool_calls":[{"id":"1","name":"f","arguments":[]}]}]}"#,
                "`messages[0].tool_calls[0].arguments`: it is",
            ),
            (r#"{"operation":"hive_status","hive":7}"#, "`hive`: invalid type"),
            (r#"{"operation":"hive_list","detached":"yes"}"#, "`detached`: invalid type"),
            (r#"{"operation":"hive_list","origin":"../x"}"#, "`origin`: `../x` is not"),
            (r#"{"operation":7}"#, "`operation`: invalid type"),
        ] {
            let error = parse(json).expect_err("must be refused").to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
