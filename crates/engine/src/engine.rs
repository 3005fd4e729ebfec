//! One model in memory, answering one request at a time.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::path::Path;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use llama_cpp_2::LlamaModelLoadError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;

use crate::error::EngineError;
use crate::gguf;
use crate::llama::Llama;
use crate::model_info::ModelInfo;
use crate::request::{FinishReason, GenerateEvent, GenerateRequest, Generated, Sampling};
use crate::sampling;
use crate::text::{Flow, TextStream};
use crate::tokenizer::PromptTokenizer;

const DEFAULT_CONTEXT_LENGTH: u32 = 8192;

/// llama.cpp's limit.
const MAX_THREADS: usize = 512;

/// The only sequence in the context.
const SEQUENCE: i32 = 0;

/// How a model is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// Tokens that prompt and answer may have together. More than the model was trained with is
    /// reduced to that. `None` takes what the model was trained with, up to 8192.
    pub context_length: Option<u32>,
    /// Threads to compute with, at most the physical cores that are free for it: llama.cpp's
    /// threads wait for one another by spinning, and one too many makes it many times slower.
    pub threads: usize,
}

/// A loaded model with its context.
///
/// There is at most one in a process. It answers one request at a time and may be moved to the
/// thread that does so.
pub struct Engine {
    // Fields are dropped in this order, which llama.cpp relies on.
    context: LlamaContext<'static>,
    model: LlamaModel,
    llama: Llama,
    tokenizer: PromptTokenizer,
    info: ModelInfo,
    prefill_chunk: usize,
}

/// A request that was found to fit, ready to be answered by the engine that prepared it.
#[derive(Debug)]
pub struct Prompt {
    tokens: Vec<LlamaToken>,
    sampling: Sampling,
    max_tokens: Option<u32>,
    stop: Vec<String>,
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
    /// - [`EngineError::Template`] when the model has no usable chat template
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
        gguf::check(path)?;
        let llama = Llama::init()?;
        let model = load_model(&llama, path, on_progress)?;
        let tokenizer = PromptTokenizer::new(&model)?;

        let context_length =
            options.context_length.unwrap_or(DEFAULT_CONTEXT_LENGTH).min(model.n_ctx_train().max(1));
        let prefill_chunk = prefill_chunk(model.n_params(), threads);
        let context = create_context(&llama, &model, context_length, prefill_chunk, threads)?;
        // SAFETY: the lifetime stands for the pointer to the C++ model within the context; there
        // is no reference to `model` itself, which may therefore move. The model outlives the
        // context, for `Engine` drops its fields in order, and neither leaves it.
        let context = unsafe { std::mem::transmute::<LlamaContext<'_>, LlamaContext<'static>>(context) };
        Ok(Self {
            info: ModelInfo::read(&model, path, context_length),
            context,
            model,
            llama,
            tokenizer,
            prefill_chunk,
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
    /// - [`EngineError::Template`] when the chat template fails
    pub fn prepare(&self, request: &GenerateRequest) -> Result<Prompt, EngineError> {
        request.validate()?;
        let context_length = self.info.context_length;
        let tokens = self.tokenizer.tokenize(
            &self.model.vocab(),
            &request.messages,
            SystemTime::now(),
            context_length,
        )?;
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
            sampling: request.sampling.clone(),
            max_tokens: request.max_tokens,
            stop: request.stop.clone(),
        })
    }

    /// Answers a prompt. Blocks until the answer is complete, `max_tokens` are generated, the
    /// context is full or `cancelled` returns `true`, which is asked before each decode call. Text
    /// that was held back comes even then.
    ///
    /// Nothing of the request remains in the context afterwards, however it ends.
    ///
    /// # Errors
    /// [`EngineError::Internal`] when llama.cpp fails. The engine can be used again.
    pub fn generate(
        &mut self,
        prompt: Prompt,
        cancelled: &dyn Fn() -> bool,
        on_event: &mut dyn FnMut(GenerateEvent<'_>),
    ) -> Result<Generated, EngineError> {
        let seed = sampling::seed(prompt.sampling.seed)?;
        let answer = Answer {
            batch: LlamaBatch::new(self.prefill_chunk, 1),
            sampler: sampling::chain(&prompt.sampling, seed),
            text: TextStream::new(prompt.stop),
            engine: self,
            cancelled,
            on_event,
            completion_tokens: 0,
        };
        let result = answer.run(&prompt.tokens, prompt.max_tokens, seed);
        // Removing all of a sequence cannot fail.
        let _ = self.context.clear_kv_cache_seq(None, None, None);
        result
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
    context_length: u32,
    prefill_chunk: usize,
    threads: usize,
) -> Result<LlamaContext<'model>, EngineError> {
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(context_length))
        .with_n_batch(prefill_chunk as u32)
        .with_n_ubatch(prefill_chunk as u32)
        .with_n_threads(threads as i32)
        .with_n_threads_batch(threads as i32);
    model.new_context(&llama.backend, params).map_err(|_| {
        llama.internal(format_args!("a context of {context_length} tokens could not be created"))
    })
}

/// How many tokens of a prompt to decode at a time, for about 200 ms on an ordinary core.
///
/// A decode call cannot be interrupted, so this is how long a cancel may wait. It depends only on
/// the model and the threads, not on a measurement, because other chunks may give other roundings
/// and with them another answer for the same seed.
fn prefill_chunk(parameters: u64, threads: usize) -> usize {
    /// Parameters times tokens that one thread gets through in 200 ms.
    const WORK_PER_THREAD: u64 = 4_000_000_000;
    /// Larger chunks are hardly faster.
    const MOST: u64 = 128;
    const LEAST: u64 = 8;

    let tokens = WORK_PER_THREAD * threads as u64 / parameters.max(1);
    (tokens / LEAST * LEAST).clamp(LEAST, MOST) as usize
}

/// The state of one call of [`Engine::generate`].
struct Answer<'a> {
    engine: &'a mut Engine,
    batch: LlamaBatch<'static>,
    sampler: LlamaSampler,
    text: TextStream,
    cancelled: &'a dyn Fn() -> bool,
    on_event: &'a mut dyn FnMut(GenerateEvent<'_>),
    completion_tokens: u32,
}

impl Answer<'_> {
    fn run(
        mut self,
        prompt: &[LlamaToken],
        max_tokens: Option<u32>,
        seed: u64,
    ) -> Result<Generated, EngineError> {
        let prompt_tokens = prompt.len() as u32;
        let room = self.engine.info.context_length - prompt_tokens;
        let limit = max_tokens.map_or(room, |max_tokens| max_tokens.min(room));

        let started = Instant::now();
        let prefilled = self.prefill(prompt)?;
        let prefill_ms = started.elapsed().as_secs_f64() * 1000.0;

        let started = Instant::now();
        let finish_reason = match prefilled {
            Flow::Continue => self.decode(prompt_tokens, limit)?,
            Flow::Stop => FinishReason::Cancelled,
        };
        let on_event = self.on_event;
        self.text.finish(&mut |text| on_event(GenerateEvent::Token { text }));
        Ok(Generated {
            finish_reason,
            prompt_tokens,
            completion_tokens: self.completion_tokens,
            seed,
            prefill_ms,
            decode_ms: started.elapsed().as_secs_f64() * 1000.0,
        })
    }

    /// Decodes the prompt; [`Flow::Stop`] when cancelled.
    fn prefill(&mut self, prompt: &[LlamaToken]) -> Result<Flow, EngineError> {
        let mut done = 0;
        for chunk in prompt.chunks(self.engine.prefill_chunk) {
            if (self.cancelled)() {
                return Ok(Flow::Stop);
            }
            self.decode_call(chunk, done)?;
            done += chunk.len() as u32;
            (self.on_event)(GenerateEvent::Prefill { done, total: prompt.len() as u32 });
        }
        // Sampling from such values would end the process.
        let last = self.batch.n_tokens() - 1;
        if self.engine.context.get_logits_ith(last).iter().any(|logit| logit.is_nan()) {
            return Err(EngineError::Internal {
                reason: "the model computes values that are not numbers; its file is probably \
                         damaged"
                    .to_owned(),
            });
        }
        Ok(if (self.cancelled)() { Flow::Stop } else { Flow::Continue })
    }

    /// Generates up to `limit` tokens.
    fn decode(&mut self, prompt_tokens: u32, limit: u32) -> Result<FinishReason, EngineError> {
        loop {
            let last = self.batch.n_tokens() - 1;
            let token = self.sampler.sample(&self.engine.context, last);
            if self.engine.model.vocab().is_eog(token) {
                return Ok(FinishReason::Stop);
            }
            self.completion_tokens += 1;
            let bytes = self.engine.model.vocab().token_to_piece(token, false, None);
            let on_event = &mut *self.on_event;
            let mut emit = |text: &str| on_event(GenerateEvent::Token { text });
            if self.text.push(&bytes, &mut emit) == Flow::Stop {
                return Ok(FinishReason::Stop);
            }
            if self.completion_tokens == limit {
                return Ok(FinishReason::Length);
            }
            if (self.cancelled)() {
                return Ok(FinishReason::Cancelled);
            }
            self.decode_call(&[token], prompt_tokens + self.completion_tokens - 1)?;
        }
    }

    /// One decode call for tokens at `position` and after, with logits for the last of them.
    fn decode_call(&mut self, tokens: &[LlamaToken], position: u32) -> Result<(), EngineError> {
        self.batch.clear();
        for (index, &token) in tokens.iter().enumerate() {
            let position = position as i32 + index as i32;
            let last = index + 1 == tokens.len();
            self.batch.add(token, position, &[SEQUENCE], last).expect("the batch has room for a chunk");
        }
        self.engine.context.decode(&mut self.batch).map_err(|error| self.engine.llama.internal(error))
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
