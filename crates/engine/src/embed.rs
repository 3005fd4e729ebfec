//! Embeddings: texts as vectors, whose angles tell how near the texts are.
//!
//! They are computed in a context of their own, a part of the texts in each step, so that no stream
//! waits for more than that. The context gives every token's vector, and pooling is done here:
//! llama.cpp would need each text in one batch for it.

use std::num::NonZeroU32;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{LlamaContextParams, LlamaPoolingType};
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_sys_2::LLAMA_FLASH_ATTN_TYPE_AUTO;

use crate::abort::Abort;
use crate::context;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::llama::Llama;
use crate::memory;
use crate::tokenizer::check_runs;

/// More texts than this are several requests.
pub const MAX_TEXTS: usize = 1024;

/// Texts that are computed at once; more gain little.
const SEQUENCES: usize = 8;

/// Tokens of a step, at most: unlike a prompt's, each of them costs a row of logits, which llama.cpp computes and nobody
/// reads.
const STEP_TOKENS: usize = 64;

/// Makes contexts of few sizes.
const CELLS_STEP: usize = 512;

/// How the vectors of a text's tokens become that of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first one.
    First,
    /// The last one.
    Last,
}

/// What a model's embeddings are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddingInfo {
    /// Numbers in a vector.
    pub dimensions: u32,
    /// How the vectors of tokens become one.
    pub pooling: Pooling,
    /// Whether the model's file says so; where it does not, it is the mean.
    pub is_declared: bool,
    /// The most tokens that a text may have.
    pub max_tokens: u32,
}

/// Texts that were found to fit, and how far they are computed.
#[derive(Debug)]
pub struct Texts {
    tokens: Vec<Vec<LlamaToken>>,
    /// The texts before it are all begun.
    next: usize,
    begun: Vec<Begun>,
}

/// A text that is computed at the moment.
#[derive(Debug)]
struct Begun {
    text: usize,
    /// Of its context, from 0 to [`SEQUENCES`].
    sequence: usize,
    computed: usize,
    sum: Vec<f64>,
}

/// The vector of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// The text's place in the request, from 0.
    pub index: usize,
    /// Of length 1, so that the cosine of two is their product.
    pub values: Vec<f32>,
    /// The text's tokens, with those that the model wants around each text.
    pub tokens: u32,
}

impl Texts {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Whether all are computed.
    pub fn is_done(&self) -> bool {
        self.next == self.tokens.len() && self.begun.is_empty()
    }

    /// Tokens of all texts together.
    pub fn token_count(&self) -> u64 {
        self.tokens.iter().map(|tokens| tokens.len() as u64).sum()
    }
}

/// A context for embeddings.
pub(crate) struct Embedder {
    context: LlamaContext<'static>,
    /// Is let go of after the context.
    abort: Abort,
    batch: LlamaBatch<'static>,
    cells: usize,
    /// Whose texts it has been computing; another's begin with an empty context.
    holds: Option<u64>,
}

impl Engine {
    /// What the model's embeddings are like.
    ///
    /// # Errors
    /// [`EngineError::BadRequest`] for a model that ranks texts and has no embeddings.
    pub fn embedding_info(&self) -> Result<EmbeddingInfo, EngineError> {
        let declared = self.fact("pooling_type").and_then(|number| number.parse::<u32>().ok());
        let (pooling, is_declared) = match declared {
            None | Some(0) => (Pooling::Mean, false),
            Some(1) => (Pooling::Mean, true),
            Some(2) => (Pooling::First, true),
            Some(3) => (Pooling::Last, true),
            Some(_) => {
                return Err(EngineError::bad_request(
                    "the model ranks texts, and makes no embeddings of them",
                ));
            }
        };
        let dimensions = u32::try_from(self.model.n_embd_out()).unwrap_or(0);
        Ok(EmbeddingInfo { dimensions, pooling, is_declared, max_tokens: self.text_tokens_max })
    }

    /// Turns texts into tokens, for [`Engine::embed_step`]. Nothing is computed. With `truncate`, what does not
    /// fit is cut off at its end.
    ///
    /// # Errors
    /// - [`EngineError::BadRequest`] for no texts, too many, one that is empty, or a model without embeddings
    /// - [`EngineError::TextTooLong`] for a text that does not fit
    pub fn prepare_texts(&self, texts: &[String], truncate: bool) -> Result<Texts, EngineError> {
        let most = self.embedding_info()?.max_tokens;
        let vocab = self.model.vocab();
        let has_end = vocab.should_add_eos() || vocab.should_add_sep();
        if texts.is_empty() || texts.len() > MAX_TEXTS {
            return Err(EngineError::bad_request(format!(
                "1 to {MAX_TEXTS} texts are allowed, not {}",
                texts.len()
            )));
        }
        let tokens = texts.iter().enumerate().map(|(index, text)| {
            if text.is_empty() {
                return Err(EngineError::bad_request(format!("the text at {index} is empty")));
            }
            let too_long = |tokens: usize| EngineError::TextTooLong { index, tokens: tokens as u64, most };
            // What cannot fit however it is divided is not worth dividing.
            let fewest = self.prompter.tokenizer.fewest_tokens(text);
            let text = match (fewest > most as usize, truncate) {
                (true, false) => return Err(too_long(fewest)),
                (true, true) => self.prompter.tokenizer.beginning(text, most as usize),
                (false, _) => text,
            };
            check_runs(text)?;
            let mut tokens = vocab.tokenize(text.as_bytes(), true, false);
            if tokens.len() > most as usize && !truncate {
                return Err(too_long(tokens.len()));
            }
            truncate_tokens(&mut tokens, most as usize, has_end);
            Ok(tokens)
        });
        let tokens = tokens.collect::<Result<Vec<_>, _>>()?;
        if let Some(index) = tokens.iter().position(Vec::is_empty) {
            return Err(EngineError::bad_request(format!("the text at {index} has no tokens")));
        }
        Ok(Texts { tokens, next: 0, begun: Vec::new() })
    }

    /// Computes as much of `texts` as fits into a step, half as much beside streams, and gives `on_done` the vectors
    /// that are complete with it. `request` tells one request's texts from another's. `cancelled` is asked many times on
    /// the way, where the processor computes: of a model that sees texts whole, a step may take long.
    ///
    /// # Errors
    /// - [`EngineError::Cancelled`] when that was the answer
    /// - [`EngineError::Internal`] when llama.cpp fails, usually for lack of memory
    pub fn embed_step(
        &mut self,
        request: u64,
        texts: &mut Texts,
        cancelled: &dyn Fn() -> bool,
        on_done: &mut dyn FnMut(Embedding),
    ) -> Result<(), EngineError> {
        let pooling = self.embedding_info()?.pooling;
        let longest = texts.tokens.iter().map(Vec::len).max().unwrap_or(0);
        let is_whole = !self.is_causal();
        let beside = if self.busy() > 0 { 2 } else { 1 };
        let most = self.prefill_chunk.min(STEP_TOKENS) / beside;
        let mut embedder = match self.embedder.take() {
            Some(embedder) if embedder.fits(longest) => embedder,
            other => {
                // Before the next is made, for the memory.
                drop(other);
                if !is_whole {
                    self.check_room(longest)?;
                }
                let mut embedder = Embedder::new(&self.llama, &self.model, longest, is_whole, self.threads)?;
                if let Some(adapter) = &mut self.adapter {
                    adapter.add_to(&self.llama, &mut embedder.context)?;
                }
                embedder
            }
        };
        if embedder.holds != Some(request) {
            embedder.context.clear_kv_cache();
            texts.begin_anew();
            embedder.holds = Some(request);
        }
        let rows = texts.fill(&mut embedder.batch, most, is_whole);
        let seen = self.spin.begin();
        let Embedder { context, abort, batch, .. } = &mut embedder;
        let decoded = abort.during(cancelled, || context.decode(batch));
        self.spin.end(&seen);
        decoded
            .map_err(|error| if cancelled() { EngineError::Cancelled } else { self.llama.internal(error) })?;
        for (row, (slot, is_last)) in rows.into_iter().enumerate() {
            let vector =
                embedder.context.embeddings_ith(row as i32).map_err(|error| self.llama.internal(error))?;
            let begun = &mut texts.begun[slot];
            let is_first = begun.computed == 0;
            begun.computed += 1;
            let counts = match pooling {
                Pooling::Mean => true,
                Pooling::First => is_first,
                Pooling::Last => is_last,
            };
            if counts {
                begun.sum.resize(vector.len(), 0.0);
                begun.sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += f64::from(*value));
            }
        }
        let (done, begun) = std::mem::take(&mut texts.begun)
            .into_iter()
            .partition::<Vec<_>, _>(|begun| begun.computed == texts.tokens[begun.text].len());
        texts.begun = begun;
        for Begun { text, sequence, computed, sum } in done {
            let cleared = embedder.context.clear_kv_cache_seq(Some(sequence as u32), None, None);
            cleared.expect("sequences are few");
            let values = normalised(&sum).ok_or_else(|| EngineError::Internal {
                reason: "the model computes values that are not numbers; its file is probably damaged"
                    .to_owned(),
            })?;
            on_done(Embedding { index: text, values, tokens: computed as u32 });
        }
        self.embedder = Some(embedder);
        Ok(())
    }

    /// Gives the memory for embeddings back. What was not complete begins anew with the next step.
    pub fn rest_embedding(&mut self) {
        self.embedder = None;
    }

    /// A model that writes answers has its vectors computed in a second context, while there is room for it.
    fn check_room(&self, longest: usize) -> Result<(), EngineError> {
        let rows = STEP_TOKENS as u64 * row_bytes(&self.model);
        let needed_bytes = Embedder::cells(longest) as u64 * self.bytes_per_token + rows;
        match memory::free_bytes().filter(|&free| needed_bytes > free) {
            None => Ok(()),
            Some(free_bytes) => {
                let context_length = Embedder::cells(longest) as u32;
                Err(EngineError::DoesNotFit {
                    path: self.path.clone(),
                    needed_bytes,
                    free_bytes,
                    context_length,
                })
            }
        }
    }

    /// What the model's file says under this key of its family.
    fn fact(&self, key: &str) -> Option<String> {
        self.model.meta_val_str(&format!("{}.{key}", self.info().architecture)).ok()
    }

    /// Whether a token's vector depends only on what stands before it, so that a text can be computed in parts.
    pub(crate) fn is_causal(&self) -> bool {
        self.prompter.is_causal
    }
}

impl Texts {
    /// Forgets what was computed of texts that are not complete.
    fn begin_anew(&mut self) {
        for begun in &mut self.begun {
            begun.computed = 0;
            begun.sum.clear();
        }
    }

    /// Fills a batch with up to `most` tokens, or with whole texts. Says for each token to which of those begun it
    /// belongs, and whether it is the last one.
    fn fill(&mut self, batch: &mut LlamaBatch<'_>, most: usize, whole: bool) -> Vec<(usize, bool)> {
        batch.clear();
        let mut rows = Vec::new();
        for slot in 0.. {
            if slot == self.begun.len() {
                let sequence =
                    (0..SEQUENCES).find(|sequence| self.begun.iter().all(|b| b.sequence != *sequence));
                let Some(sequence) = sequence.filter(|_| self.next < self.tokens.len() && rows.len() < most)
                else {
                    break;
                };
                if whole && !rows.is_empty() && rows.len() + self.tokens[self.next].len() > most {
                    break;
                }
                self.begun.push(Begun { text: self.next, sequence, computed: 0, sum: Vec::new() });
                self.next += 1;
            }
            let begun = &self.begun[slot];
            let tokens = &self.tokens[begun.text];
            let unread = &tokens[begun.computed..];
            let count = if whole { unread.len() } else { unread.len().min(most - rows.len()) };
            for (position, &token) in (begun.computed..).zip(&unread[..count]) {
                let added = batch.add(token, position as i32, &[begun.sequence as i32], true);
                added.expect("the batch has room for a step, or for the longest text");
                rows.push((slot, position + 1 == tokens.len()));
            }
            if rows.len() >= most {
                break;
            }
        }
        rows
    }
}

impl Embedder {
    fn new(
        llama: &Llama,
        model: &LlamaModel,
        longest: usize,
        is_whole: bool,
        threads: usize,
    ) -> Result<Self, EngineError> {
        let cells = Self::cells(longest);
        let batch_tokens = if is_whole { cells } else { STEP_TOKENS };
        let abort = Abort::new();
        let context = create_context(llama, model, cells, batch_tokens, threads, Some(&abort))?;
        // SAFETY: as that of the engine's own context: it points to the C++ model, which the engine drops after it.
        let context = unsafe { std::mem::transmute::<LlamaContext<'_>, LlamaContext<'static>>(context) };
        Ok(Self { context, abort, batch: LlamaBatch::new(batch_tokens, 1), cells, holds: None })
    }

    /// Of a context for texts up to this length.
    fn cells(longest: usize) -> usize {
        (longest + STEP_TOKENS).next_multiple_of(CELLS_STEP)
    }

    /// Whether texts up to this length have room, without a waste of it.
    fn fits(&self, longest: usize) -> bool {
        (longest + STEP_TOKENS..=longest + STEP_TOKENS + 8 * CELLS_STEP).contains(&self.cells)
    }
}

fn create_context<'model>(
    llama: &Llama,
    model: &'model LlamaModel,
    cells: usize,
    batch_tokens: usize,
    threads: usize,
    abort: Option<&Abort>,
) -> Result<LlamaContext<'model>, EngineError> {
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(cells as u32))
        .with_n_seq_max(SEQUENCES as u32)
        .with_kv_unified(true)
        .with_swa_full(true)
        .with_flash_attention_policy(LLAMA_FLASH_ATTN_TYPE_AUTO)
        .with_embeddings(true)
        .with_pooling_type(LlamaPoolingType::None)
        .with_n_batch(batch_tokens as u32)
        .with_n_ubatch(batch_tokens as u32)
        .with_n_threads(threads as i32)
        .with_n_threads_batch(threads as i32);
    let params = match abort {
        Some(abort) => context::with_abort(params, abort),
        None => params,
    };
    let context = model.new_context(&llama.backend, params);
    context.map_err(|_| llama.internal("a context for embeddings could not be created"))
}

/// What comes out for each token: llama.cpp makes room for its logits even where nobody computes them.
pub(crate) fn row_bytes(model: &LlamaModel) -> u64 {
    4 * (u64::from(model.n_vocab().unsigned_abs()) + u64::from(model.n_embd().unsigned_abs()))
}

/// What a context takes in which a text of so many tokens is computed as a whole.
pub(crate) fn whole_text_bytes(
    llama: &Llama,
    model: &LlamaModel,
    tokens: u32,
    threads: usize,
) -> Result<u64, EngineError> {
    let cells = Embedder::cells(tokens as usize);
    let (context, sizes) = llama.sizes_of(|| create_context(llama, model, cells, cells, threads, None));
    drop(context?);
    Ok(sizes.memory_bytes + sizes.compute_bytes + cells as u64 * row_bytes(model))
}

/// Takes a text back to `most` tokens, of which the one that ends it stays where there is one.
fn truncate_tokens(tokens: &mut Vec<LlamaToken>, most: usize, has_end: bool) {
    if let Some(&last) = tokens.last().filter(|_| tokens.len() > most) {
        tokens.truncate(most);
        if has_end && let Some(end) = tokens.last_mut() {
            *end = last;
        }
    }
}

/// The vector of length 1 in the direction of `sum`; `None` where that has none.
fn normalised(sum: &[f64]) -> Option<Vec<f32>> {
    let length = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
    (length.is_finite() && length > 0.0).then(|| sum.iter().map(|value| (value / length) as f32).collect())
}

#[cfg(test)]
#[path = "embed_tests.rs"]
mod tests;
