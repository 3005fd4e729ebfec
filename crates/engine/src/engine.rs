//! One model in memory, and the context that its slots share.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use llama_cpp_2::LlamaModelLoadError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::session::SeqState;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::model::{LlamaLoraAdapter, LlamaModel};
use rbee_gguf::{self as gguf, MIN_CONTEXT_LENGTH};

use crate::abort::Abort;
use crate::attention::Attention;
use crate::cells::Cells;
use crate::chat::Chat;
use crate::constraint::Constraints;
use crate::context::{self, Shape};
use crate::drafter::{DraftPlan, Drafter, HollowDraft};
use crate::embed::{self, Embedder};
use crate::error::EngineError;
use crate::llama::{ContextSizes, Llama};
use crate::memory::{self, HollowModel, Memory};
use crate::model_info::ModelInfo;
use crate::offload::{self, Offload};
use crate::pace::Pace;
use crate::prompter::{Prompt, Prompter};
use crate::renderer::Renderer;
use crate::request::{GenerateEvent, Generated};
use crate::room::{self, Needs, Room};
use crate::saved::SavedStates;
use crate::slots::{Begin, Slot};
use crate::spin::Spin;
use crate::tokenizer::PromptTokenizer;
use crate::turns::Turns;

/// llama.cpp's limit.
const MAX_THREADS: usize = 512;

/// Far more than a machine of this kind is quick with; llama.cpp's own limit is 256.
const MAX_SLOTS: u32 = 64;

/// Tokens of a prompt that graphics cards compute at once.
const CARD_PREFILL_CHUNK: usize = 512;

/// What a context takes is a part that it always takes and one for each of its cells; these two tell them apart.
const FEW_CELLS: u32 = 1024;
const MANY_CELLS: u32 = 8192;

/// How a model is loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadOptions {
    /// Tokens that prompt and answer may have together, at least 8. More than the model was trained with is
    /// reduced to that. `None` takes what the model was trained with, up to 8192 and to what half of
    /// the free memory holds.
    pub context_length: Option<u32>,
    /// How many requests are worked on at once, 1 to 64. `None` takes 8, or fewer where memory is
    /// short.
    pub slots: Option<u32>,
    /// Threads to compute with, at most the physical cores that are free for it: llama.cpp's
    /// threads wait for one another by spinning, and one too many makes it many times slower.
    pub threads: usize,
    /// What may be kept of conversations that no slot has any more, in bytes. `None` takes an eighth of the memory that the
    /// model leaves free, up to 1 GiB.
    pub saved_bytes: Option<u64>,
    /// What is added to the model.
    pub adapter: Option<Adapter>,
    /// The GGUF file of a smaller model with the same vocabulary, which writes drafts of the answers.
    pub draft: Option<PathBuf>,
    /// Memory that the system counts as free and other models lie in, in bytes: their files.
    pub taken_bytes: u64,
}

/// A LoRA: small matrices that are added to some of a model's.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// Its GGUF file.
    pub path: PathBuf,
    /// How much of it is added: 1 is as much as it was made for.
    pub scale: f32,
}

impl LoadOptions {
    fn validate(&self) -> Result<(), EngineError> {
        let refuse = |reason: String| Err(EngineError::bad_request(reason));
        let threads = self.threads;
        if !(1..=MAX_THREADS).contains(&threads) {
            return refuse(format!("threads must be between 1 and {MAX_THREADS}, not {threads}"));
        }
        if self.context_length.is_some_and(|length| length < MIN_CONTEXT_LENGTH) {
            return refuse(format!("the context length must be at least {MIN_CONTEXT_LENGTH}"));
        }
        if let Some(slots) = self.slots.filter(|slots| !(1..=MAX_SLOTS).contains(slots)) {
            return refuse(format!("slots must be between 1 and {MAX_SLOTS}, not {slots}"));
        }
        Ok(())
    }
}

/// A loaded model with its context.
///
/// There is at most one in a process. It answers as many requests at once as it has slots, and may
/// be moved to the thread that has it do so.
pub struct Engine {
    // Fields are dropped in this order, which llama.cpp relies on.
    pub(crate) embedder: Option<Embedder>,
    pub(crate) context: LlamaContext<'static>,
    pub(crate) abort: Abort,
    pub(crate) _attention: Option<Attention>,
    /// Its memory is the model's.
    pub(crate) adapter: Option<LoadedAdapter>,
    pub(crate) model: Arc<LlamaModel>,
    pub(crate) drafter: Option<Drafter>,
    pub(crate) llama: Arc<Llama>,
    pub(crate) prompter: Arc<Prompter>,
    info: ModelInfo,
    pub(crate) threads: usize,
    /// Tokens of a prompt that are computed at once.
    pub(crate) prefill_chunk: usize,
    /// The most tokens of a text that becomes a vector.
    pub(crate) text_tokens_max: u32,
    /// What a token takes in a context.
    pub(crate) bytes_per_token: u64,
    /// The model's file.
    pub(crate) path: PathBuf,
    pub(crate) batch: LlamaBatch<'static>,
    /// The index is the number of the sequence in the context.
    pub(crate) slots: Vec<Slot>,
    pub(crate) cells: Cells,
    pub(crate) saved: SavedStates<SeqState>,
    pub(crate) turns: Turns,
    pub(crate) pace: Pace,
    pub(crate) spin: Spin,
    /// Rises with each request.
    pub(crate) next_order: u64,
    /// Whether a sequence can be cut back to a part of its tokens.
    pub(crate) can_cut: bool,
}

/// A model that can be loaded, and what it will take.
pub struct Plan {
    // Dropped before `llama`, like those of the engine.
    tokenizer: PromptTokenizer,
    chat: Chat,
    draft: Option<DraftPlan>,
    llama: Llama,
    path: PathBuf,
    adapter: Option<Adapter>,
    threads: usize,
    gpu_layers: u32,
    room: Room,
    prefill_chunk: usize,
    has_memory: bool,
    text_tokens_max: u32,
    bytes_per_token: u64,
    memory: Memory,
    free_bytes: Option<u64>,
}

impl Plan {
    /// Looks at the GGUF file at `path` and at the machine's memory. No weight is read. The model's chat
    /// template runs in processes of `renderer`.
    ///
    /// # Errors
    /// - [`EngineError::NotFound`], [`EngineError::Io`] and [`EngineError::BadModel`] for the file
    /// - [`EngineError::Template`] when the model has a chat template that is not usable
    /// - [`EngineError::BadRequest`] for options that are not allowed
    /// - [`EngineError::DoesNotFit`] when the memory does not suffice
    /// - [`EngineError::Internal`] when this process has another engine
    pub fn new(path: &Path, options: &LoadOptions, renderer: Arc<Renderer>) -> Result<Self, EngineError> {
        options.validate()?;
        let mut weights_bytes = gguf::check(path)?;
        if let Some(adapter) = &options.adapter {
            weights_bytes += gguf::check_adapter(&adapter.path)?;
        }
        let llama = Llama::init()?;
        let hollow = HollowModel::load(&llama, path)?;
        if hollow.model.meta_val_str("general.architecture").is_ok_and(|name| name.starts_with("t5")) {
            let reason = "models with an encoder and a decoder are not supported".to_owned();
            return Err(EngineError::BadModel { path: path.to_owned(), reason });
        }
        let draft = options.draft.as_ref().map(|path| HollowDraft::load(&llama, path, &hollow.model));
        let draft = draft.transpose()?;
        let tokenizer = PromptTokenizer::new(&hollow.model)?;
        let threads = options.threads;
        let mut prefill_chunk = prefill_chunk(&hollow.model, threads);

        let free_bytes = memory::free_bytes().map(|free| free.saturating_sub(options.taken_bytes));
        let slots = options.slots.unwrap_or(room::DEFAULT_SLOTS);
        let bytes_with = |cells: u32| -> Result<u64, EngineError> {
            let shape =
                Shape::new(&Room { slots, context_length: cells, cells, saved_bytes: 0 }, prefill_chunk);
            let sizes = hollow.context_sizes(&llama, &shape, threads)?;
            let drafts = draft.as_ref().map(|draft| draft.context_sizes(&llama, &shape, threads));
            let drafts = drafts.transpose()?.unwrap_or_default();
            Ok(sizes.memory_bytes + sizes.compute_bytes + drafts.memory_bytes + drafts.compute_bytes)
        };
        let (few, many) = (bytes_with(FEW_CELLS)?, bytes_with(MANY_CELLS)?);
        let bytes_per_token = many.saturating_sub(few) / u64::from(MANY_CELLS - FEW_CELLS);
        let process_bytes = hollow.process_bytes();
        let fixed_bytes = few.saturating_sub(bytes_per_token * u64::from(FEW_CELLS))
            + weights_bytes
            + process_bytes
            + draft.as_ref().map_or(0, |draft| draft.weights_bytes);
        let train_context_length = hollow.model.n_ctx_train();
        let room =
            Room::choose(options, Needs { train_context_length, fixed_bytes, bytes_per_token }, free_bytes);

        let chat = tokenizer.chat(&hollow.model, renderer, room.context_length)?;

        let layers = hollow.model.n_layer();
        let on_cards = |sizes: &ContextSizes| {
            let (context, buffers) = (sizes.memory_bytes, sizes.compute_bytes);
            Offload::choose(layers, weights_bytes, context, buffers, offload::free_bytes())
        };
        let mut sizes = hollow.context_sizes(&llama, &Shape::new(&room, prefill_chunk), threads)?;
        let mut offload = on_cards(&sizes);
        if offload.layers > layers {
            prefill_chunk = CARD_PREFILL_CHUNK;
            sizes = hollow.context_sizes(&llama, &Shape::new(&room, prefill_chunk), threads)?;
            offload = on_cards(&sizes);
        }
        let (context_bytes, mut buffers_bytes) = (sizes.memory_bytes, sizes.compute_bytes);
        let has_memory = context_bytes > 0;
        let mut text_tokens_max = room.context_length;
        if !has_memory {
            // Such a model computes a text as a whole.
            let row_bytes = embed::row_bytes(&hollow.model);
            let affordable = free_bytes.map_or(u64::MAX, |free| free / 4 / row_bytes);
            text_tokens_max = text_tokens_max.min(u32::try_from(affordable).unwrap_or(u32::MAX));
            buffers_bytes += embed::whole_text_bytes(&llama, &hollow.model, text_tokens_max, threads)?;
        }
        let mut memory = Memory {
            weights_bytes: weights_bytes - offload.weights_bytes,
            context_bytes: context_bytes - offload.context_bytes,
            buffers_bytes,
            process_bytes,
            device_bytes: offload.weights_bytes + offload.context_bytes,
            saved_bytes_max: room.saved_bytes as u64,
        };
        drop(hollow);
        let draft = draft.map(|draft| {
            let left = offload::free_bytes().saturating_sub(memory.device_bytes + buffers_bytes);
            draft.plan(&llama, &Shape::new(&room, prefill_chunk), threads, left)
        });
        let draft = draft.transpose()?;
        if let Some(draft) = &draft {
            draft.add_to(&mut memory);
        }
        if let Some(free_bytes) = free_bytes.filter(|&free| memory.total_bytes() > free) {
            let (path, needed_bytes) = (path.to_owned(), memory.total_bytes());
            let context_length = room.context_length;
            return Err(EngineError::DoesNotFit { path, needed_bytes, free_bytes, context_length });
        }
        let (path, gpu_layers) = (path.to_owned(), offload.layers);
        let adapter = options.adapter.clone();
        Ok(Self {
            tokenizer,
            chat,
            draft,
            llama,
            path,
            adapter,
            threads,
            gpu_layers,
            room,
            prefill_chunk,
            has_memory,
            text_tokens_max,
            bytes_per_token,
            memory,
            free_bytes,
        })
    }

    /// What the model will take.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// Memory that is there for it, in bytes; `None` where the system does not say.
    pub fn free_bytes(&self) -> Option<u64> {
        self.free_bytes
    }

    /// Loads the model. Blocks until it can answer.
    ///
    /// `on_progress` gets the part that is loaded, rising from 0 to 1; when it returns `false`,
    /// the load is abandoned. It must not panic: it is called from C++.
    ///
    /// # Errors
    /// - [`EngineError::BadModel`] for the file
    /// - [`EngineError::Cancelled`] when `on_progress` abandoned the load
    /// - [`EngineError::Internal`] when the context cannot be created
    pub fn load(self, on_progress: impl FnMut(f32) -> bool + 'static) -> Result<Engine, EngineError> {
        let shape = Shape::new(&self.room, self.prefill_chunk);
        let on_progress = Rc::new(RefCell::new(on_progress));
        let within = |from: f32, to: f32| {
            let on_progress = Rc::clone(&on_progress);
            move |progress: f32| on_progress.borrow_mut()(from + (to - from) * progress)
        };
        let share = self.draft.as_ref().map_or(0.0, |draft| draft.share_of(&self.memory));
        let load_draft =
            |draft: &DraftPlan| draft.load(&self.llama, &shape, self.threads, within(0.0, share));
        let drafter = self.draft.as_ref().map(load_draft).transpose()?;
        let mut model = load_model(&self.llama, &self.path, self.gpu_layers, within(share, 1.0))?;
        let load_adapter = |adapter| LoadedAdapter::load(&self.llama, &mut model, adapter);
        let mut adapter = self.adapter.as_ref().map(load_adapter).transpose()?;
        memory::give_back_file_pages(&gguf::model_files(&self.path));
        let abort = Abort::new();
        let attention = Attention::new(self.threads, self.gpu_layers);
        let mut context =
            context::create(&self.llama, &model, &shape, self.threads, Some(&abort), attention.as_ref())?;
        if let Some(adapter) = &mut adapter {
            adapter.add_to(&self.llama, &mut context)?;
        }
        // SAFETY: the lifetime stands for the pointer to the C++ model within the context; there
        // is no reference to `model` itself, which may therefore move. The model outlives the
        // context, for `Engine` drops its fields in order, and neither leaves it.
        let context = unsafe { std::mem::transmute::<LlamaContext<'_>, LlamaContext<'static>>(context) };
        let info = ModelInfo::read(&model, &self.path, &self.room, self.memory);
        let (model, llama) = (Arc::new(model), Arc::new(self.llama));
        let prompter = Prompter::new(
            self.chat,
            self.tokenizer,
            (Arc::clone(&model), Arc::clone(&llama)),
            info.context_length,
            self.has_memory,
        );
        Ok(Engine {
            prompter: Arc::new(prompter),
            info,
            batch: LlamaBatch::new(shape.batch_tokens, 1),
            slots: (0..self.room.slots).map(|_| Slot::default()).collect(),
            cells: Cells::new(self.room.cells),
            saved: SavedStates::new(self.room.saved_bytes),
            turns: Turns::default(),
            pace: Pace::new(self.prefill_chunk),
            spin: Spin::new(self.threads),
            next_order: 0,
            can_cut: !model.is_recurrent() && !model.is_hybrid(),
            adapter,
            drafter,
            embedder: None,
            context,
            abort,
            _attention: attention,
            model,
            llama,
            threads: self.threads,
            prefill_chunk: self.prefill_chunk,
            text_tokens_max: self.text_tokens_max,
            bytes_per_token: self.bytes_per_token,
            path: self.path,
        })
    }
}

impl Engine {
    /// Loads the GGUF file at `path`. Blocks until the model can answer.
    ///
    /// # Errors
    /// Those of [`Plan::new`] and of [`Plan::load`].
    pub fn load(
        path: &Path,
        options: &LoadOptions,
        renderer: Arc<Renderer>,
        on_progress: impl FnMut(f32) -> bool + 'static,
    ) -> Result<Self, EngineError> {
        Plan::new(path, options, renderer)?.load(on_progress)
    }

    /// What the model is.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// What makes the constraints that requests for this engine can have.
    pub fn constraints(&self) -> Constraints {
        Constraints::new(Arc::clone(&self.model), Arc::clone(&self.llama))
    }

    /// What makes prompts for this engine.
    pub fn prompter(&self) -> &Arc<Prompter> {
        &self.prompter
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

/// An adapter beside its model.
pub(crate) struct LoadedAdapter {
    adapter: LlamaLoraAdapter,
    scale: f32,
}

impl LoadedAdapter {
    fn load(
        llama: &Llama,
        model: &mut LlamaModel,
        Adapter { path, scale }: &Adapter,
    ) -> Result<Self, EngineError> {
        let adapter = model.lora_adapter_init(path).map_err(|_| llama.bad_model(path))?;
        Ok(Self { adapter, scale: *scale })
    }

    /// Has a context compute with it.
    pub(crate) fn add_to(
        &mut self,
        llama: &Llama,
        context: &mut LlamaContext<'_>,
    ) -> Result<(), EngineError> {
        let added = context.lora_adapter_set(&mut self.adapter, self.scale);
        added.map_err(|error| llama.internal(error))
    }
}

pub(crate) fn load_model(
    llama: &Llama,
    path: &Path,
    gpu_layers: u32,
    mut on_progress: impl FnMut(f32) -> bool + 'static,
) -> Result<LlamaModel, EngineError> {
    let abandoned = Rc::new(Cell::new(false));
    let params = LlamaModelParams::default().with_n_gpu_layers(gpu_layers).with_progress_callback({
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
        Err(LlamaModelLoadError::NullResult) => Err(llama.bad_model(path)),
        Err(error) => Err(EngineError::BadModel { path: path.to_owned(), reason: error.to_string() }),
    }
}

/// How many tokens of a prompt to decode at a time, for about 400 ms on an ordinary core.
///
/// A decode call for several requests is not interrupted, so this is how long a cancel may wait. It depends only on
/// the model and the threads, not on a measurement, because other chunks may give other roundings
/// and with them another answer for the same seed. Beside streams that decode, [`Pace`] takes less.
fn prefill_chunk(model: &LlamaModel, threads: usize) -> usize {
    /// Parameters times tokens that one thread gets through in 400 ms.
    const WORK_PER_THREAD: u64 = 8_000_000_000;
    /// Larger chunks are hardly faster.
    const MOST: u64 = 128;
    const LEAST: u64 = 8;

    // A prompt's tokens are looked up in the embeddings, which small models mostly consist of.
    let embeddings = u64::from(model.n_vocab().unsigned_abs()) * u64::from(model.n_embd().unsigned_abs());
    let parameters = model.n_params().saturating_sub(embeddings).max(1);
    let tokens = WORK_PER_THREAD * threads as u64 / parameters;
    (tokens / LEAST * LEAST).clamp(LEAST, MOST) as usize
}

#[cfg(test)]
#[path = "engine_tests.rs"]
pub(crate) mod tests;
