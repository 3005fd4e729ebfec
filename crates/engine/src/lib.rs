//! Safe inference with llama.cpp: load a GGUF model, prefill a prompt, decode an answer.
//!
//! An [`Engine`] is one model in memory with slots for several requests. Its [`Prompter`] makes a [`Prompt`] of
//! a request with the model's own chat template, [`Engine::begin`] gives it a slot, and each [`Engine::step`]
//! brings all slots further with one decode call, an event per piece of text. All are ordinary blocking calls: a
//! program gives the engine a thread of its own and talks to that, and prepares prompts on others.
//!
//! This crate holds all of the project's `unsafe`. C++ code aborts the process where it meets the
//! unexpected, so what can be checked before is: the file's header, the request, the prompt's
//! length.

mod abort;
mod answer;
#[cfg(target_arch = "x86_64")]
mod attention;
#[cfg(not(target_arch = "x86_64"))]
#[path = "attention/absent.rs"]
mod attention;
mod cells;
mod chat;
mod constraint;
mod context;
mod drafter;
mod embed;
mod engine;
mod error;
mod gbnf;
#[cfg(test)]
mod gguf_tests;
mod llama;
mod logprobs;
mod lookup;
mod memory;
mod model_info;
mod offload;
mod pace;
mod penalties;
mod prompter;
mod python;
mod renderer;
mod request;
mod room;
mod sampling;
mod saved;
mod slots;
mod spin;
mod template;
#[cfg(test)]
mod test_models;
mod text;
mod tokenizer;
mod tools;
mod truncate;
mod turns;

pub use constraint::{Constraint, Constraints, Form};
pub use embed::{Embedding, EmbeddingInfo, MAX_TEXTS, Pooling, Texts};
pub use engine::{Adapter, Engine, LoadOptions, Plan};
pub use error::EngineError;
pub use llama::die_of_faults;
pub use logprobs::{Logprob, TokenLogprobs};
pub use memory::Memory;
pub use model_info::ModelInfo;
pub use prompter::{Prompt, Prompter};
pub use rbee_gguf::model_files;
pub use renderer::Renderer;
pub use request::{
    FinishReason, GenerateEvent, GenerateRequest, Generated, MAX_LOGIT_BIASES, MAX_LOGPROBS, MAX_STOP_BYTES,
    MAX_STOP_STRINGS, Message, Role, Sampling,
};
pub use slots::{Begin, Ended, SlotId};
pub use tools::{MAX_TOOL_DEPTH, MAX_TOOL_NAME_BYTES, MAX_TOOLS, Tool, ToolCall, ToolChoice};
pub use truncate::LeftOut;
