//! What the question-like operations answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::{HiveId, ModelRef, WorkerId};

/// What `status` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueenReport {
    /// The queen's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Where it listens.
    pub url: String,
    /// Since when it runs, in milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// Jobs of whoever asked that have not ended, this one excluded.
    pub active_jobs: u64,
    /// The hives.
    pub hives: Vec<HiveSummary>,
    /// Their workers.
    pub workers: Vec<WorkerInfo>,
}

/// What `worker_stop` answers, once the worker has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerStopped {
    /// Which worker.
    pub worker: WorkerId,
}

/// What `hive_pause` and `hive_resume` answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HivePause {
    /// Which hive.
    pub hive: HiveId,
    /// Whether it begins no work for models from now on.
    pub paused: bool,
}

/// What `embed` tells of the vectors, once all have come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EmbedReport {
    /// How many numbers a vector has.
    pub dimensions: u32,
    /// How the vectors of a text's tokens become that of the text.
    pub pooling: Pooling,
    /// Whether the model says so itself. Where it says nothing it is the mean, for which the model may not be made.
    pub pooling_is_the_models: bool,
}

/// How the vectors of a text's tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first one.
    First,
    /// The last one.
    Last,
}

/// What `hive_list` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HiveList {
    /// The hives.
    pub hives: Vec<HiveSummary>,
}

/// A hive as the queen sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HiveSummary {
    /// Its name.
    pub hive: HiveId,
    /// Whether it can be used.
    pub state: HiveState,
    /// How many workers it runs.
    pub workers: u64,
    /// How many jobs run there.
    pub running_jobs: u64,
    /// Why it cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it begins no work for models at the moment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Its version, once it has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Whether a hive can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HiveState {
    /// The queen is about to reach it.
    Connecting,
    /// It takes jobs.
    Ready,
    /// The queen could not reach it.
    Down,
}

/// What `hive_status` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HiveReport {
    /// Its name.
    pub hive: HiveId,
    /// The name of its machine.
    pub host: String,
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Since when it runs, in milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// Whether it begins no work for models at the moment.
    #[serde(default)]
    pub paused: bool,
    /// Memory of the machine, or as much of it as this hive may use, in bytes.
    pub memory_total_bytes: u64,
    /// Memory that programs could still take, in bytes.
    pub memory_available_bytes: u64,
    /// What the processor's instructions do for models.
    #[serde(default)]
    pub instructions: Instructions,
    /// What models can run on.
    pub devices: Vec<Device>,
    /// What models there are.
    pub models: Vec<ModelInfo>,
    /// What workers run.
    pub workers: Vec<WorkerInfo>,
}

/// What `rbee-hive --machine` prints, without a hive that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineFacts {
    /// Memory of the machine, or as much of it as a hive may use, in bytes.
    pub memory_total_bytes: u64,
    /// Memory that programs could still take, in bytes.
    pub memory_available_bytes: u64,
    /// What the processor's instructions do for models.
    pub instructions: Instructions,
    /// What models can run on.
    pub devices: Vec<Device>,
}

/// Those instruction sets of a processor that models run faster with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Instructions {
    /// What workers of this build use.
    pub used: Vec<String>,
    /// What the processor has besides, and a build for it would use.
    pub unused: Vec<String>,
}

/// Something a model can run on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// CPU or GPU.
    pub kind: DeviceKind,
    /// What it is called.
    pub name: String,
    /// Hardware threads, of a CPU those available to us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u64>,
    /// Physical cores of a CPU that are available to us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u64>,
    /// Its memory, in bytes.
    pub memory_total_bytes: u64,
    /// How much of that is free, in bytes.
    pub memory_free_bytes: u64,
}

/// The kinds of [`Device`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// The processor, with the machine's memory.
    Cpu,
    /// An NVIDIA graphics card, with its own.
    Nvidia,
}

/// What `model_list` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelList {
    /// The models.
    pub models: Vec<ModelInfo>,
    /// Which model each alias stands for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, ModelRef>,
}

/// What `model_alias` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelAlias {
    /// The name.
    pub alias: String,
    /// What it stands for from now on; absent when it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
}

/// What `count_tokens` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenCount {
    /// Tokens of the prompt, template included, whether or not they fit the context.
    pub prompt_tokens: u64,
}

/// A model that a hive has or knows how to get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelInfo {
    /// What to call it with `-m`.
    pub model: String,
    /// On which hive.
    pub hive: HiveId,
    /// Size of its file in bytes.
    pub size_bytes: u64,
    /// Whether the file is there; if not, it is missing where there is a `path`, else downloaded when first asked for.
    pub downloaded: bool,
    /// Whether it is what `infer` takes when no model is named.
    pub default: bool,
    /// When its file was last changed, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_at_ms: Option<u64>,
    /// Where its file is, on the hive's machine; of a model of several files, the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whose files these are.
    #[serde(default)]
    pub place: Place,
    /// How many numbers its weights are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// How they are stored, e.g. `Q4_K_M`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
}

/// Whose files a model's files are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The hive's own.
    #[default]
    Store,
    /// Somebody's file, which the operator has named.
    File,
    /// Those of Hugging Face's programs.
    HuggingFace,
    /// Ollama's.
    Ollama,
    /// LM Studio's.
    LmStudio,
    /// llama.cpp's.
    LlamaCpp,
}

/// What `model_pull` and `model_show` answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelReport {
    /// What `model_list` has of it.
    #[serde(flatten)]
    pub model: ModelInfo,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Under what licence it may be used, as its file or its source says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Its files.
    pub files: Vec<ModelFile>,
    /// What its file says of it; absent when it is not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<ModelFacts>,
}

/// One of a model's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelFile {
    /// Where it is, on the hive's machine.
    pub path: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The SHA-256 that it had when it came, as 64 hexadecimal digits, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// What a GGUF file says of its model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelFacts {
    /// The family it is of, e.g. `llama`.
    pub architecture: String,
    /// What its makers call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Tokens that a prompt and its answer may have together.
    pub context_length: u32,
    /// How many layers it has.
    pub layers: u32,
    /// How many numbers stand for a token within it.
    pub embedding_length: u32,
    /// How many tokens it knows.
    pub vocabulary: u64,
    /// Whether it says how a chat is to be put.
    pub has_chat_template: bool,
    /// About what it takes of the memory, at some context lengths.
    pub memory: Vec<MemoryAt>,
}

/// About what a model takes of the memory with a context of some length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemoryAt {
    /// Tokens that its context has room for.
    pub context_length: u32,
    /// Its weights and the keys and values of so many tokens, in bytes. What a worker computes before it loads the
    /// model is more exact, and counts its buffers as well.
    pub bytes: u64,
}

/// What `model_remove` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelRemoved {
    /// Which model went.
    pub model: String,
    /// Bytes on the disk that are free again.
    pub freed_bytes: u64,
}

/// What `model_search` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelSearch {
    /// What was found, the short names of rbee's own list first.
    pub models: Vec<FoundModel>,
}

/// A model that could be pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FoundModel {
    /// What `model_pull` takes.
    pub reference: String,
    /// What it is, or whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Under what licence it may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// How often it was downloaded lately, going by its hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downloads: Option<u64>,
}

/// What `model_verify` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelVerification {
    /// The models that were looked at.
    pub models: Vec<VerifiedModel>,
}

/// What became of one model's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerifiedModel {
    /// Which model.
    pub model: String,
    /// Whether its files are what they were.
    pub intact: bool,
    /// What is wrong with them, or why nobody can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What `worker_list` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerList {
    /// The workers.
    pub workers: Vec<WorkerInfo>,
}

/// One worker process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerInfo {
    /// Its name.
    pub worker: WorkerId,
    /// Its hive.
    pub hive: HiveId,
    /// The model it runs.
    pub model: String,
    /// What it does.
    pub state: WorkerState,
    /// Its process id.
    pub pid: u32,
    /// How many jobs it has.
    pub jobs: u64,
    /// What its model came to be, once that is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<Loaded>,
    /// For so many seconds without a job its model stays loaded; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_alive_s: Option<u64>,
    /// Whether its model stays loaded also where another would need the room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// When the last event of any of its jobs came, in milliseconds since the Unix epoch; a queen knows it only by
    /// asking the hive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_at_ms: Option<u64>,
}

/// What a worker says about itself when its model is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Loaded {
    /// How many jobs it answers at once.
    pub slots: u32,
    /// Tokens that a prompt and its answer may have together.
    pub context_length: u32,
    /// Threads that it computes with.
    pub threads: u32,
    /// What it takes of the machine's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<WorkerMemory>,
}

/// What a worker takes of its machine's memory, as it computed before it loaded its model, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerMemory {
    /// The model's weights. They lie in its file, so that the system counts them as memory that it could free.
    pub weights_bytes: u64,
    /// The computed keys and values of tokens, or the states of a recurrent model.
    pub context_bytes: u64,
    /// What lies in between while tokens are computed.
    pub buffers_bytes: u64,
    /// The program itself, with the model's vocabulary.
    pub process_bytes: u64,
    /// What lies in the memory of graphics cards instead.
    #[serde(default)]
    pub device_bytes: u64,
    /// What is kept besides of conversations that do not run may come to this.
    pub saved_bytes_max: u64,
}

impl WorkerMemory {
    /// All that the worker takes from the first job on, without what it keeps of conversations.
    pub fn total_bytes(&self) -> u64 {
        self.weights_bytes + self.context_bytes + self.buffers_bytes + self.process_bytes
    }
}

/// What a hive tells its queen of its workers, as the result of `hive_watch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerWatch {
    /// The workers.
    pub workers: Vec<WatchedWorker>,
    /// Whether it begins no work for models at the moment.
    #[serde(default)]
    pub paused: bool,
    /// Its version; one that does not say is older.
    #[serde(default)]
    pub version: Option<String>,
}

/// What a hive tells its queen of one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedWorker {
    /// What everybody may know.
    #[serde(flatten)]
    pub worker: WorkerInfo,
    /// What jobs called its model so far: names, paths, and nothing for the default model.
    #[serde(default)]
    pub names: Vec<String>,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Loads its model.
    Loading,
    /// Waits for a job.
    Idle,
    /// Works on one.
    Busy,
    /// Takes no more jobs, and ends after those that it has.
    Draining,
}
