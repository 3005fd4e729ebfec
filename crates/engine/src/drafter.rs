//! Guesses how an answer goes on with a smaller model of the same vocabulary.
//!
//! That one reads what the slots have computed, in a context of its own, and writes some tokens ahead as long as it
//! is sure of them. Those are drafts: each is sampled as if it had not been guessed, so that a draft model changes
//! how long an answer takes and nothing else.

use std::path::{Path, PathBuf};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use rbee_gguf as gguf;

use crate::attention::Attention;
use crate::context::{self, Shape};
use crate::engine::load_model;
use crate::error::EngineError;
use crate::llama::{ContextSizes, Llama};
use crate::memory::{self, HollowModel, Memory};
use crate::offload::Offload;
use crate::sampling::likeliest;
use crate::saved::common_prefix;
use crate::slots::Slot;

/// The most tokens of a draft.
const DRAFT_MAX: usize = 8;

/// The draft model goes on while it gives its likeliest token so much.
const SURE: f32 = 0.6;

/// So many tokens are read with the next draft rather than before it.
const LAG_MAX: usize = 16;

/// The longest that a slot rests after drafts that were wrong, in tokens.
const REST_MAX: u32 = 64;

/// Families pad their vocabularies differently: so many tokens may be one model's only.
const PADDING_MAX: usize = 128;

/// A context of so many tokens shows what a model keeps.
const LEAST_CELLS: u32 = 256;

/// So many tokens of idle slots are kept while others work: each draft passes over them.
const IDLE_TOKENS_MAX: usize = 512;

/// A draft model that fails so often in a row is given up.
const FAILURES_MAX: u32 = 3;

/// A draft model without its weights.
pub(crate) struct HollowDraft {
    path: PathBuf,
    hollow: HollowModel,
    pub(crate) weights_bytes: u64,
    vocabulary: usize,
}

impl HollowDraft {
    /// Looks at the GGUF file at `path`, which is to draft for `model`.
    ///
    /// # Errors
    /// Those of [`gguf::check`], and [`EngineError::BadModel`] for a model that cannot draft for this one.
    pub(crate) fn load(llama: &Llama, path: &Path, model: &LlamaModel) -> Result<Self, EngineError> {
        let weights_bytes = gguf::check(path)?;
        let hollow = HollowModel::load(llama, path)?;
        let refuse = |reason: &str| {
            let reason = format!("it cannot write drafts for the other model: {reason}");
            Err(EngineError::BadModel { path: path.to_owned(), reason })
        };
        if !can_go_back(model) {
            return refuse("what that one has computed cannot be taken back");
        }
        if !can_go_back(&hollow.model) {
            return refuse("what it has computed cannot be taken back");
        }
        let Some(vocabulary) = common_vocabulary(model, &hollow.model) else {
            return refuse("its tokens are others");
        };
        let plan = Self { path: path.to_owned(), hollow, weights_bytes, vocabulary };
        let (cells, slots, batch_tokens) = (LEAST_CELLS, 1, LAG_MAX);
        let shape = Shape { cells, slots, batch_tokens, outputs: 1 };
        if plan.context_sizes(llama, &shape, 1)?.memory_bytes == 0 {
            return refuse("it keeps nothing of what it has read");
        }
        Ok(plan)
    }

    /// The most tokens that it was made to read.
    fn longest(&self) -> u32 {
        self.hollow.model.n_ctx_train().max(1)
    }

    /// What its context would take beside one of this shape.
    pub(crate) fn context_sizes(
        &self,
        llama: &Llama,
        shape: &Shape,
        threads: usize,
    ) -> Result<ContextSizes, EngineError> {
        self.hollow.context_sizes(llama, &own_shape(shape, self.longest()), threads)
    }

    /// What it takes beside a context of this shape, with as much as fits on graphics cards of which so much is free.
    pub(crate) fn plan(
        self,
        llama: &Llama,
        shape: &Shape,
        threads: usize,
        free_bytes: u64,
    ) -> Result<DraftPlan, EngineError> {
        let sizes = self.context_sizes(llama, shape, threads)?;
        let layers = self.hollow.model.n_layer();
        let (context_bytes, buffers_bytes) = (sizes.memory_bytes, sizes.compute_bytes);
        let offload = Offload::choose(layers, self.weights_bytes, context_bytes, buffers_bytes, free_bytes);
        let (longest, vocabulary) = (self.longest(), self.vocabulary);
        Ok(DraftPlan {
            path: self.path,
            weights_bytes: self.weights_bytes,
            sizes,
            offload,
            longest,
            vocabulary,
        })
    }
}

/// A draft model that can be loaded, and what it will take.
pub(crate) struct DraftPlan {
    path: PathBuf,
    weights_bytes: u64,
    sizes: ContextSizes,
    offload: Offload,
    longest: u32,
    vocabulary: usize,
}

impl DraftPlan {
    pub(crate) fn add_to(&self, memory: &mut Memory) {
        let Offload { weights_bytes, context_bytes, .. } = self.offload;
        memory.weights_bytes += self.weights_bytes - weights_bytes;
        memory.context_bytes += self.sizes.memory_bytes - context_bytes;
        memory.buffers_bytes += self.sizes.compute_bytes;
        memory.device_bytes += weights_bytes + context_bytes;
    }

    /// How much of what `memory` says is loaded from its file.
    pub(crate) fn share_of(&self, memory: &Memory) -> f32 {
        let all = memory.weights_bytes + memory.device_bytes;
        self.weights_bytes as f32 / all.max(1) as f32
    }

    /// Loads the model, and makes its context beside one of this shape.
    ///
    /// # Errors
    /// As [`load_model`], and [`EngineError::Internal`] when the context cannot be created.
    pub(crate) fn load(
        &self,
        llama: &Llama,
        shape: &Shape,
        threads: usize,
        on_progress: impl FnMut(f32) -> bool + 'static,
    ) -> Result<Drafter, EngineError> {
        let model = load_model(llama, &self.path, self.offload.layers, on_progress)?;
        memory::give_back_file_pages(&gguf::model_files(&self.path));
        let shape = own_shape(shape, self.longest);
        let attention = Attention::new(threads, self.offload.layers);
        let context = context::create(llama, &model, &shape, threads, None, attention.as_ref())?;
        // SAFETY: the lifetime stands for the pointer to the C++ model, which outlives the context: the
        // drafter drops its fields in order, and neither leaves it.
        let context = unsafe { std::mem::transmute::<LlamaContext<'_>, LlamaContext<'static>>(context) };
        Ok(Drafter {
            context,
            _attention: attention,
            model,
            batch: LlamaBatch::new(shape.batch_tokens, 1),
            batch_tokens: shape.batch_tokens,
            cells: shape.cells as usize,
            longest: self.longest as usize,
            vocabulary: self.vocabulary,
            sequences: (0..shape.slots).map(|_| Sequence::default()).collect(),
            next: 0,
            failures: 0,
        })
    }
}

/// Of each batch one row at most is looked at, but llama.cpp wants one for each sequence.
fn own_shape(shape: &Shape, longest: u32) -> Shape {
    Shape {
        cells: shape.cells.min(longest.saturating_mul(shape.slots)),
        slots: shape.slots,
        batch_tokens: shape.batch_tokens.max(LAG_MAX),
        outputs: shape.slots as usize,
    }
}

/// Whether a model's sequences can be cut back to a part of their tokens.
fn can_go_back(model: &LlamaModel) -> bool {
    !model.is_recurrent() && !model.is_hybrid()
}

/// How many tokens two models have in common, if those are all but some padding.
fn common_vocabulary(model: &LlamaModel, other: &LlamaModel) -> Option<usize> {
    let (vocab, others) = (model.vocab(), other.vocab());
    let counts = (model.n_vocab().unsigned_abs() as usize, other.n_vocab().unsigned_abs() as usize);
    let common = counts.0.min(counts.1);
    let same = |token| {
        let token = LlamaToken(token);
        vocab.token_to_piece(token, true, None) == others.token_to_piece(token, true, None)
    };
    (counts.0.abs_diff(counts.1) <= PADDING_MAX && (0..common as i32).all(same)).then_some(common)
}

/// A loaded draft model with its context.
pub(crate) struct Drafter {
    // Fields are dropped in this order, which llama.cpp relies on.
    context: LlamaContext<'static>,
    _attention: Option<Attention>,
    model: LlamaModel,
    batch: LlamaBatch<'static>,
    batch_tokens: usize,
    cells: usize,
    /// The most tokens of a sequence.
    longest: usize,
    /// The tokens that both models know are the first so many.
    vocabulary: usize,
    /// One for each slot.
    sequences: Vec<Sequence>,
    /// Which slot is followed first in the next step.
    next: usize,
    /// Computations in a row that failed.
    failures: u32,
}

/// What was computed of a slot's tokens, and how its drafts went.
#[derive(Debug, Default)]
struct Sequence {
    tokens: Vec<LlamaToken>,
    /// Drafts in a row that were mostly wrong.
    wrong: u32,
    /// Tokens to generate before the next draft.
    rest: u32,
}

impl Drafter {
    /// Begins a request in a slot. What was computed there before is kept if it is of the same scope.
    pub(crate) fn begin(&mut self, slot: usize, same_scope: bool) {
        if !same_scope {
            self.cut(slot, 0);
        }
        let sequence = &mut self.sequences[slot];
        (sequence.wrong, sequence.rest) = (0, 0);
    }

    /// A draft of at most `most` tokens behind `tokens`, none where it is not sure of any, or has not read so far.
    pub(crate) fn draft(&mut self, slot: usize, tokens: &[LlamaToken], most: usize) -> Vec<LlamaToken> {
        let most = most.min(DRAFT_MAX).min(self.longest.saturating_sub(tokens.len()));
        if most == 0 || self.sequences[slot].rest > 0 {
            return Vec::new();
        }
        // The last one has to be computed for what follows it, even where it was before.
        let known = self.keep(slot, &tokens[..tokens.len() - 1]);
        let mut next = tokens[known..].to_vec();
        let mut draft = Vec::new();
        while next.len() <= LAG_MAX
            && draft.len() < most
            && self.has_room(next.len())
            && let Some(token) = self.read(slot, &next)
        {
            draft.push(token);
            next = vec![token];
        }
        draft
    }

    /// Reads tokens, and says what follows if it is sure.
    fn read(&mut self, slot: usize, tokens: &[LlamaToken]) -> Option<LlamaToken> {
        self.batch.clear();
        self.add(slot, tokens, true)?;
        self.decode()?;
        let logits = self.context.get_logits_ith(self.batch.n_tokens() - 1);
        let logits = logits.get(..self.vocabulary)?;
        let token = likeliest(logits).ok()?;
        let largest = logits[token.0 as usize];
        let sum: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        (1.0 / sum >= SURE && !self.model.vocab().is_eog(token)).then_some(token)
    }

    /// Puts tokens of a slot into the batch; none if there are some that the model does not know.
    fn add(&mut self, slot: usize, tokens: &[LlamaToken], is_last_sampled: bool) -> Option<()> {
        if tokens.iter().any(|token| token.0 as usize >= self.vocabulary) {
            return None;
        }
        let sequence = &mut self.sequences[slot];
        let last = tokens.len().checked_sub(1)?;
        for (at, &token) in tokens.iter().enumerate() {
            let position = sequence.tokens.len() as i32;
            let is_sampled = is_last_sampled && at == last;
            self.batch.add(token, position, &[slot as i32], is_sampled).ok()?;
            sequence.tokens.push(token);
        }
        Some(())
    }

    /// Computes the batch. When that fails, nothing is known any more.
    fn decode(&mut self) -> Option<()> {
        let decoded = self.context.decode(&mut self.batch);
        if decoded.is_ok() {
            self.failures = 0;
        } else {
            self.failures += 1;
            (0..self.sequences.len()).for_each(|slot| self.cut(slot, 0));
        }
        decoded.ok()
    }

    fn has_room(&self, tokens: usize) -> bool {
        self.sequences.iter().map(|sequence| sequence.tokens.len()).sum::<usize>() + tokens <= self.cells
    }

    /// Keeps of a slot what `tokens` begin with. Returns how many that is.
    fn keep(&mut self, slot: usize, tokens: &[LlamaToken]) -> usize {
        // Of a model with a sliding window, llama.cpp may have let go of what is outside it.
        let is_whole = self.context.kv_cache_seq_pos_min(slot as i32) <= 0;
        let common = common_prefix(&self.sequences[slot].tokens, tokens);
        self.cut(slot, if is_whole || common == self.sequences[slot].tokens.len() { common } else { 0 });
        self.sequences[slot].tokens.len()
    }

    /// How many tokens of a slot's it has read.
    #[cfg(test)]
    pub(crate) fn known(&self, slot: usize) -> usize {
        self.sequences[slot].tokens.len()
    }

    /// Takes a sequence back to `len` tokens, or to none where the model cannot do that.
    fn cut(&mut self, slot: usize, len: usize) {
        if self.sequences[slot].tokens.len() > len {
            let sequence = Some(slot as u32);
            let cut = self.context.clear_kv_cache_seq(sequence, Some(len as u32), None);
            let len = if cut.expect("positions are far below 2^31") { len } else { 0 };
            if len == 0 {
                // Removing all of a sequence cannot fail.
                let _ = self.context.clear_kv_cache_seq(sequence, None, None);
            }
            self.sequences[slot].tokens.truncate(len);
        }
    }

    /// Takes the record of a draft: `accepted` of its `drafted` tokens were what was sampled.
    pub(crate) fn verified(&mut self, slot: usize, drafted: usize, accepted: usize) {
        let sequence = &mut self.sequences[slot];
        if accepted * 2 >= drafted {
            sequence.wrong = 0;
        } else {
            sequence.wrong += 1;
            sequence.rest = if sequence.wrong > 1 { (2 << sequence.wrong.min(16)).min(REST_MAX) } else { 0 };
        }
    }

    /// Takes note of `count` generated tokens.
    pub(crate) fn generated(&mut self, slot: usize, count: usize) {
        let sequence = &mut self.sequences[slot];
        sequence.rest = sequence.rest.saturating_sub(count as u32);
    }

    /// Reads on, a batch at most, what slots have computed.
    pub(crate) fn follow(&mut self, slots: &[Slot]) {
        self.forget_idle(slots, IDLE_TOKENS_MAX);
        self.batch.clear();
        let mut left = self.batch_tokens;
        let count = slots.len();
        let turns = (self.next..self.next + count).map(|index| index % count);
        self.next = (self.next + 1) % count;
        for index in turns.filter(|&index| slots[index].is_running()) {
            let held = slots[index].held();
            let known = self.keep(index, held);
            let missing = held.len() - known;
            if missing < LAG_MAX || left == 0 || held.len() > self.longest {
                continue;
            }
            let count = missing.min(left);
            if !self.has_room(count) {
                self.forget_idle(slots, 0);
            }
            if !self.has_room(count) || self.add(index, &held[known..known + count], false).is_none() {
                continue;
            }
            left -= count;
        }
        if self.batch.n_tokens() > 0 {
            // What cannot be read is not drafted.
            let _ = self.decode();
        }
    }

    /// Forgets what idle slots held, until it is at most so many tokens.
    pub(crate) fn forget_idle(&mut self, slots: &[Slot], most: usize) {
        let mut kept = 0;
        for (index, _) in slots.iter().enumerate().filter(|(_, slot)| !slot.is_running()) {
            kept += self.sequences[index].tokens.len();
            if kept > most {
                kept -= self.sequences[index].tokens.len();
                self.cut(index, 0);
            }
        }
    }

    /// Whether its last computation failed, and whether it has done so too often.
    pub(crate) fn has_failed(&self) -> (bool, bool) {
        (self.failures > 0, self.failures >= FAILURES_MAX)
    }
}
