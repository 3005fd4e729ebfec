//! One model in memory, and the context that its slots share.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::path::Path;
use std::rc::Rc;
use std::time::SystemTime;

use llama_cpp_2::LlamaModelLoadError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::context::session::SeqState;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_sys_2::LLAMA_FLASH_ATTN_TYPE_AUTO;

use crate::cells::Cells;
use crate::error::EngineError;
use crate::gguf;
use crate::llama::Llama;
use crate::model_info::ModelInfo;
use crate::request::{GenerateEvent, GenerateRequest, Generated, Sampling};
use crate::room::{self, Needs, Room};
use crate::saved::SavedStates;
use crate::slots::{Begin, DRAFT_TOKENS_MAX, Pace, Slot};
use crate::tokenizer::PromptTokenizer;
use crate::turns::Turns;

/// llama.cpp's limit.
const MAX_THREADS: usize = 512;

/// Far more than a machine of this kind is quick with; llama.cpp's own limit is 256.
const MAX_SLOTS: u32 = 64;

/// How a model is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// Tokens that prompt and answer may have together. More than the model was trained with is
    /// reduced to that. `None` takes what the model was trained with, up to 8192 and to what half of
    /// the free memory holds.
    pub context_length: Option<u32>,
    /// How many requests are worked on at once, 1 to 64. `None` takes 8, or fewer where memory is
    /// short.
    pub slots: Option<u32>,
    /// Threads to compute with, at most the physical cores that are free for it: llama.cpp's
    /// threads wait for one another by spinning, and one too many makes it many times slower.
    pub threads: usize,
}

/// A loaded model with its context.
///
/// There is at most one in a process. It answers as many requests at once as it has slots, and may
/// be moved to the thread that has it do so.
pub struct Engine {
    // Fields are dropped in this order, which llama.cpp relies on.
    pub(crate) context: LlamaContext<'static>,
    pub(crate) model: LlamaModel,
    pub(crate) llama: Llama,
    tokenizer: PromptTokenizer,
    info: ModelInfo,
    pub(crate) batch: LlamaBatch<'static>,
    /// The index is the number of the sequence in the context.
    pub(crate) slots: Vec<Slot>,
    pub(crate) cells: Cells,
    pub(crate) saved: SavedStates<SeqState>,
    pub(crate) turns: Turns,
    pub(crate) pace: Pace,
    /// Rises with each request.
    pub(crate) next_order: u64,
    /// Whether a sequence can be cut back to a part of its tokens.
    pub(crate) can_cut: bool,
}

/// A request that was found to fit, ready to be answered by the engine that prepared it.
#[derive(Debug)]
pub struct Prompt {
    pub(crate) tokens: Vec<LlamaToken>,
    pub(crate) scope: Option<String>,
    pub(crate) sampling: Sampling,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) stop: Vec<String>,
}

impl Prompt {
    /// The prompt's tokens, with those that the chat template adds.
    pub fn token_count(&self) -> u32 {
        self.tokens.len() as u32
    }
}

impl Engine {
    /// Loads the GGUF file at `path`. Blocks until the model can answer.
    ///
    /// `on_progress` gets the part that is loaded, rising from 0 to 1; when it returns `false`,
    /// the load is abandoned. It must not panic: it is called from C++.
    ///
    /// # Errors
    /// - [`EngineError::NotFound`], [`EngineError::Io`] and [`EngineError::BadModel`] for the file
    /// - [`EngineError::Template`] when the model has a chat template that is not usable
    /// - [`EngineError::BadRequest`] for options that are not allowed
    /// - [`EngineError::Cancelled`] when `on_progress` abandoned the load
    /// - [`EngineError::Internal`] when the context cannot be created, usually for lack of memory,
    ///   or when this process has another engine
    pub fn load(
        path: &Path,
        options: &LoadOptions,
        on_progress: impl FnMut(f32) -> bool + 'static,
    ) -> Result<Self, EngineError> {
        let threads = options.threads;
        if !(1..=MAX_THREADS).contains(&threads) {
            return Err(EngineError::bad_request(format!(
                "threads must be between 1 and {MAX_THREADS}, not {threads}"
            )));
        }
        if options.context_length == Some(0) {
            return Err(EngineError::bad_request("the context length must be at least 1"));
        }
        if let Some(slots) = options.slots.filter(|slots| !(1..=MAX_SLOTS).contains(slots)) {
            return Err(EngineError::bad_request(format!(
                "slots must be between 1 and {MAX_SLOTS}, not {slots}"
            )));
        }
        gguf::check(path)?;
        let llama = Llama::init()?;
        let model = load_model(&llama, path, on_progress)?;
        let tokenizer = PromptTokenizer::new(&model)?;

        let needs =
            Needs { train_context_length: model.n_ctx_train(), bytes_per_token: bytes_per_token(&model) };
        let room = Room::choose(options, needs, room::free_bytes());
        let prefill_chunk = prefill_chunk(model.n_params(), threads);
        let batch_tokens = prefill_chunk + room.slots as usize + DRAFT_TOKENS_MAX;
        let context = create_context(&llama, &model, &room, batch_tokens, threads)?;
        // SAFETY: the lifetime stands for the pointer to the C++ model within the context; there
        // is no reference to `model` itself, which may therefore move. The model outlives the
        // context, for `Engine` drops its fields in order, and neither leaves it.
        let context = unsafe { std::mem::transmute::<LlamaContext<'_>, LlamaContext<'static>>(context) };
        Ok(Self {
            info: ModelInfo::read(&model, path, &room),
            batch: LlamaBatch::new(batch_tokens, 1),
            slots: (0..room.slots).map(|_| Slot::default()).collect(),
            cells: Cells::new(room.cells),
            saved: SavedStates::new(room.saved_bytes),
            turns: Turns::default(),
            pace: Pace::new(prefill_chunk),
            next_order: 0,
            can_cut: !model.is_recurrent() && !model.is_hybrid(),
            context,
            model,
            llama,
            tokenizer,
        })
    }

    /// What the model is.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Checks a request and turns it into the tokens of a prompt. Nothing is computed.
    ///
    /// # Errors
    /// - [`EngineError::BadRequest`] for values that are not allowed, and messages that the
    ///   model's chat template refuses
    /// - [`EngineError::ContextFull`] when the prompt leaves no room for an answer
    /// - [`EngineError::Template`] when the chat template fails, or the model has none
    pub fn prepare(&self, request: &GenerateRequest) -> Result<Prompt, EngineError> {
        request.validate()?;
        let context_length = self.info.context_length;
        let tokens =
            self.tokenizer.tokenize(&self.model.vocab(), request, SystemTime::now(), context_length)?;
        if tokens.is_empty() {
            return Err(EngineError::Template {
                reason: "it makes an empty prompt of the messages".to_owned(),
            });
        }
        if tokens.len() >= context_length as usize {
            return Err(EngineError::ContextFull {
                prompt_tokens: u32::try_from(tokens.len()).unwrap_or(u32::MAX),
                context_length,
            });
        }
        Ok(Prompt {
            tokens,
            scope: request.scope.clone(),
            sampling: request.sampling.clone(),
            max_tokens: request.max_tokens,
            stop: request.stop.clone(),
        })
    }

    /// Answers a prompt alone: begins it and steps until it has ended. `cancelled` is asked before
    /// each decode call. Text that was held back comes even then.
    ///
    /// # Errors
    /// [`EngineError::Internal`] when llama.cpp fails, and when no slot is free for it. The engine can
    /// be used again.
    pub fn generate(
        &mut self,
        prompt: Prompt,
        cancelled: &dyn Fn() -> bool,
        on_event: &mut dyn FnMut(GenerateEvent<'_>),
    ) -> Result<Generated, EngineError> {
        let Begin::Begun(slot) = self.begin(prompt)? else {
            return Err(EngineError::Internal { reason: "all slots are taken".to_owned() });
        };
        loop {
            let ended = self.step(&|of| of == slot && cancelled(), &mut |of, event| {
                if of == slot {
                    on_event(event);
                }
            });
            if let Some(own) = ended.into_iter().find(|ended| ended.slot == slot) {
                return own.outcome;
            }
        }
    }
}

fn load_model(
    llama: &Llama,
    path: &Path,
    mut on_progress: impl FnMut(f32) -> bool + 'static,
) -> Result<LlamaModel, EngineError> {
    let bad_model = |reason: String| EngineError::BadModel { path: path.to_owned(), reason };
    let abandoned = Rc::new(Cell::new(false));
    let params = LlamaModelParams::default().with_progress_callback({
        let abandoned = Rc::clone(&abandoned);
        move |progress| {
            let go_on = on_progress(progress);
            abandoned.set(!go_on);
            go_on
        }
    });
    match LlamaModel::load_from_file(&llama.backend, path, &params) {
        Ok(model) => Ok(model),
        Err(_) if abandoned.get() => Err(EngineError::Cancelled),
        Err(LlamaModelLoadError::NullResult) => {
            Err(bad_model(llama.take_errors().unwrap_or_else(|| "llama.cpp does not say why".to_owned())))
        }
        Err(error) => Err(bad_model(error.to_string())),
    }
}

fn create_context<'model>(
    llama: &Llama,
    model: &'model LlamaModel,
    room: &Room,
    batch_tokens: usize,
    threads: usize,
) -> Result<LlamaContext<'model>, EngineError> {
    let Room { slots, cells, .. } = *room;
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(cells))
        .with_n_seq_max(slots)
        // Sequences share their cells, so that one may be as long as all together, and so that a
        // common beginning is there once. Flash attention passes over others' cells.
        .with_kv_unified(true)
        .with_flash_attention_policy(LLAMA_FLASH_ATTN_TYPE_AUTO)
        // A sequence can be taken back to its beginning only if all of it is still there.
        .with_swa_full(true)
        .with_n_batch(batch_tokens as u32)
        .with_n_ubatch(batch_tokens as u32)
        .with_n_threads(threads as i32)
        .with_n_threads_batch(threads as i32);
    model
        .new_context(&llama.backend, params)
        .map_err(|_| llama.internal(format_args!("a context of {cells} tokens could not be created")))
}

/// What keys and values of one token take, in all layers. The context holds them as 16-bit numbers.
fn bytes_per_token(model: &LlamaModel) -> u64 {
    let number = |key: &str| {
        let architecture = model.meta_val_str("general.architecture").ok()?;
        model.meta_val_str(&format!("{architecture}.{key}")).ok()?.parse::<u64>().ok()
    };
    let heads = u64::from(model.n_head().max(1));
    let per_head = u64::try_from(model.n_embd()).unwrap_or(0) / heads;
    let keys = number("attention.key_length").unwrap_or(per_head);
    let values = number("attention.value_length").unwrap_or(per_head);
    u64::from(model.n_layer()) * u64::from(model.n_head_kv().max(1)) * (keys + values) * 2
}

/// How many tokens of a prompt to decode at a time, for about 200 ms on an ordinary core.
///
/// A decode call cannot be interrupted, so this is how long a cancel may wait. It depends only on
/// the model and the threads, not on a measurement, because other chunks may give other roundings
/// and with them another answer for the same seed. Beside streams that decode, [`Pace`] takes less.
fn prefill_chunk(parameters: u64, threads: usize) -> usize {
    /// Parameters times tokens that one thread gets through in 200 ms.
    const WORK_PER_THREAD: u64 = 4_000_000_000;
    /// Larger chunks are hardly faster.
    const MOST: u64 = 128;
    const LEAST: u64 = 8;

    let tokens = WORK_PER_THREAD * threads as u64 / parameters.max(1);
    (tokens / LEAST * LEAST).clamp(LEAST, MOST) as usize
}

#[cfg(test)]
#[path = "engine_tests.rs"]
pub(crate) mod tests;
