//! The slots: several requests in one context, brought further together.
//!
//! A slot's sequence holds the computed values of its tokens, one cell for each. A request whose
//! tokens lack but the last one decodes; any other reads, whether its prompt is new or the slot had
//! to give its cells away in between. An idle slot keeps its cells for the next request of its scope
//! until they are needed.

use std::time::Instant;

use llama_cpp_2::token::LlamaToken;

use crate::answer::{AnswerEvent, AnswerParser};
use crate::constraint::Constraint;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::logprobs::{Pending, TokenLogprobs};
use crate::lookup::Lookup;
use crate::prompter::Prompt;
use crate::request::{FinishReason, GenerateEvent, Generated};
use crate::sampling::{self, Sampler};
use crate::saved::common_prefix;
use crate::text::{Flow, TextStream};
use crate::tools::call_id;
use crate::turns::Waiting;

mod held;

/// The most that is drafted in one step, for all slots. A batch of one token and these is where
/// decoding gains most from batches on small machines.
const DRAFT_TOKENS_MAX: usize = 15;

/// Drafts are written for so many streams at once.
const DRAFTING_MAX: usize = 3;

/// A request is begun beside others when so many tokens of its answer will fit, too.
const ANSWER_ROOM: usize = 64;

/// One request in its slot. Each request has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotId(u64);

/// What became of a prompt that was to begin.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Begin {
    /// It has this slot.
    Begun(SlotId),
    /// All slots are taken, or what they hold leaves no room for this prompt. It can be begun when
    /// another has ended.
    Full(Prompt),
}

/// The end of a request, whose slot is free again.
#[derive(Debug)]
pub struct Ended {
    /// The slot that it had.
    pub slot: SlotId,
    /// Its account, or why it failed.
    pub outcome: Result<Generated, EngineError>,
}

/// A sequence in the context, and the request that it serves, if any.
#[derive(Default)]
pub(crate) struct Slot {
    scope: Option<String>,
    tokens: Vec<LlamaToken>,
    /// The cells of the tokens that are computed: of all, or of the first ones.
    cells: Vec<u32>,
    /// When the last request had it; rises.
    used: u64,
    answer: Option<Answer>,
}

/// Smaller batches than this are over soon enough.
const ABORT_TOKENS: i32 = 16;

/// The state of a request in its slot.
struct Answer {
    id: SlotId,
    prompt_tokens: usize,
    cached_tokens: usize,
    /// The most tokens to generate.
    limit: u32,
    completion_tokens: u32,
    sampler: Sampler,
    constraint: Option<Constraint>,
    text: TextStream,
    /// How many of the likeliest tokens are told with each, if any are.
    logprobs: Option<usize>,
    pending: Pending,
    parser: AnswerParser,
    /// The number of the first call's id.
    call_ids: u64,
    lookup: Lookup<LlamaToken>,
    /// Whether the draft that is verified is the draft model's.
    is_draft_a_models: bool,
    seed: u64,
    /// Tokens that were read for it.
    read: u64,
    /// It had to give its cells away, and reads again when there is room.
    paused: bool,
    began: Instant,
    /// When its prompt had been read.
    prefilled: Option<Instant>,
}

/// What one slot has in a decode call.
#[derive(Debug, Clone)]
struct Part {
    slot: usize,
    /// How many of the slot's tokens are computed before.
    from: usize,
    /// How many more are computed.
    count: usize,
    /// What may follow them, if all of the slot's tokens are among them.
    draft: Vec<LlamaToken>,
}

impl Engine {
    /// Gives a prompt a slot, if one is free and has room for it. Nothing is computed.
    ///
    /// # Errors
    /// [`EngineError::Internal`] when the system has no random number for the seed.
    pub fn begin(&mut self, prompt: Prompt) -> Result<Begin, EngineError> {
        let seed = sampling::seed(prompt.sampling.seed)?;
        let Some(index) = self.slot_for(&prompt) else { return Ok(Begin::Full(prompt)) };
        self.next_order += 1;
        let id = SlotId(self.next_order);
        let cached_tokens = self.recall(index, &prompt);
        let room = self.info().context_length - prompt.token_count();
        let slot = &mut self.slots[index];
        if let Some(drafter) = &mut self.drafter {
            drafter.begin(index, prompt.scope.is_some() && slot.scope == prompt.scope);
        }
        slot.used = self.next_order;
        slot.answer = Some(Answer {
            id,
            prompt_tokens: prompt.tokens.len(),
            cached_tokens,
            limit: prompt.max_tokens.map_or(room, |most| most.min(room)),
            completion_tokens: 0,
            sampler: Sampler::new(&prompt.sampling, seed, &prompt.tokens),
            constraint: prompt.constraint,
            text: TextStream::new(prompt.stop),
            logprobs: prompt.logprobs.map(|count| count as usize),
            pending: Pending::default(),
            parser: prompt.parser,
            call_ids: sampling::random()?,
            lookup: Lookup::new(),
            is_draft_a_models: false,
            seed,
            read: 0,
            paused: false,
            began: Instant::now(),
            prefilled: None,
        });
        slot.scope = prompt.scope;
        slot.tokens = prompt.tokens;
        Ok(Begin::Begun(id))
    }

    /// Brings all begun requests further with one decode call, if there is anything to decode, and
    /// returns those that ended.
    ///
    /// `cancelled` is asked for each request before the call, and before each token. Text
    /// that was held back comes even for those. A request that fails does so alone.
    pub fn step(
        &mut self,
        cancelled: &dyn Fn(SlotId) -> bool,
        on_event: &mut dyn FnMut(SlotId, GenerateEvent<'_>),
    ) -> Vec<Ended> {
        let mut ended = Vec::new();
        for index in 0..self.slots.len() {
            let answer = self.slots[index].answer.as_ref();
            if answer.is_some_and(|answer| cancelled(answer.id)) {
                ended.push(self.end(index, FinishReason::Cancelled, on_event));
            }
        }
        let began = Instant::now();
        let blocked = self.adopt_prefixes();
        let parts = self.parts(&blocked);
        if parts.is_empty() {
            return ended;
        }
        let computed = self.compute(&parts, cancelled);
        match computed {
            Err(_) if self.is_unwanted(&parts, cancelled) => {}
            Ok(()) => {
                self.take_results(&parts, cancelled, on_event, &mut ended);
                self.follow();
            }
            Err(error) => self.compute_one_by_one(&parts, error, cancelled, on_event, &mut ended),
        }
        self.pace.measured(began.elapsed(), parts.iter().map(Part::len).sum());
        ended
    }

    /// How many requests have a slot.
    pub fn busy(&self) -> usize {
        self.slots.iter().filter(|slot| slot.answer.is_some()).count()
    }

    /// Saves what idle slots hold, so that the context is small for what comes next. To be called
    /// when there is nothing else to do.
    pub fn rest(&mut self) {
        while self.evict_idle() {}
        if let Some(drafter) = &mut self.drafter {
            drafter.forget_idle(&self.slots, 0);
        }
    }

    /// The slot that a prompt gets: one that holds its beginning, an empty one, or the one that was
    /// not used for longest.
    fn slot_for(&self, prompt: &Prompt) -> Option<usize> {
        let running = self.running().count();
        if running > 0 {
            let paused = self.running().any(|(_, answer)| answer.paused);
            let idle = self.slots.iter().filter(|slot| slot.answer.is_none());
            let idle: usize = idle.map(|slot| self.cells.owned_alone(&slot.cells)).sum();
            let unread = self.running().map(|(index, _)| self.slots[index].unread());
            let shared = self.running().map(|(index, _)| {
                let of_scope = self.can_share(index, prompt.scope.as_deref());
                if of_scope { common_prefix(&self.slots[index].tokens, &prompt.tokens) } else { 0 }
            });
            let needed = prompt.tokens.len() - shared.max().unwrap_or(0) + ANSWER_ROOM;
            if paused || needed + unread.sum::<usize>() > self.cells.free() + idle {
                return None;
            }
        }
        let free = (0..self.slots.len()).filter(|&index| self.slots[index].answer.is_none());
        free.max_by_key(|&index| {
            let slot = &self.slots[index];
            let common = self.reusable(index, prompt.scope.as_deref(), &prompt.tokens);
            let continued = if common * 2 > slot.cells.len() { common } else { 0 };
            (continued, slot.cells.is_empty(), std::cmp::Reverse(slot.used))
        })
    }

    fn running(&self) -> impl Iterator<Item = (usize, &Answer)> + Clone {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(index, slot)| slot.answer.as_ref().map(|answer| (index, answer)))
    }

    fn decoding(&self) -> Vec<usize> {
        let running = self.running().filter(|(_, answer)| !answer.paused && answer.prefilled.is_some());
        running.map(|(index, _)| index).filter(|&index| self.slots[index].unread() == 1).collect()
    }

    /// What is computed next: a token for each stream, drafts where they pay, and as much of the
    /// prompts as the time for a step allows.
    fn parts(&mut self, blocked: &[usize]) -> Vec<Part> {
        self.resume();
        while self.cells.free() < self.decoding().len() && (self.evict_idle() || self.pause_youngest()) {}
        let mut decoding = self.decoding();
        let unread: usize = self.reading(blocked).iter().map(|&index| self.slots[index].unread()).sum();
        let wanted = unread.min(self.pace.prefill_tokens(decoding.len()));
        self.pace.streams_wait = wanted > 0 && !decoding.is_empty() && self.pace.streams_can_wait(unread);
        if self.pace.streams_wait {
            decoding.clear();
        }
        while self.cells.free() < decoding.len() + wanted && self.evict_idle() {}
        while decoding.is_empty() && wanted > 0 && self.cells.free() == 0 && self.pause_youngest() {}

        let room = self.cells.free().saturating_sub(decoding.len());
        let readable = wanted.min(room);
        let mut room = room - readable;
        let most = draft_tokens(decoding.len());
        // Behind a prompt that is read to its end, a token is sampled too.
        room = room.min(outputs(self.slots.len()) - self.busy());
        let mut parts = Vec::new();
        for index in decoding {
            let draft = self.draft(index, most.min(room));
            room -= draft.len();
            parts.push(Part { slot: index, from: self.slots[index].cells.len(), count: 1, draft });
        }
        let reading = self.reading(blocked);
        let mut waiting: Vec<Waiting<'_>> = Vec::with_capacity(reading.len());
        for index in reading {
            let slot = &self.slots[index];
            let answer = slot.answer.as_ref().expect("only requests read");
            let (order, scope, read) = (answer.id.0, slot.scope.as_deref(), answer.read);
            waiting.push(Waiting { slot: index, order, scope, read });
        }
        self.turns.order(&mut waiting);
        let mut left = readable;
        for waiting in waiting {
            let slot = &self.slots[waiting.slot];
            let count = part_of_prompt(slot.unread(), left, readable);
            if count == 0 {
                continue;
            }
            left -= count;
            self.turns.count(waiting.scope, count);
            parts.push(Part { slot: waiting.slot, from: slot.cells.len(), count, draft: Vec::new() });
        }
        parts
    }

    /// The slots that read.
    fn reading(&self, blocked: &[usize]) -> Vec<usize> {
        let running = self.running().filter(|(_, answer)| !answer.paused);
        let reading =
            running.filter(|&(index, answer)| answer.prefilled.is_none() || self.slots[index].unread() > 1);
        reading.map(|(index, _)| index).filter(|index| !blocked.contains(index)).collect()
    }

    fn draft(&mut self, index: usize, most: usize) -> Vec<LlamaToken> {
        let slot = &mut self.slots[index];
        let Some(answer) = slot.answer.as_mut().filter(|_| self.can_cut) else { return Vec::new() };
        // The last token that may come is sampled and needs no place in the batch.
        let useful = (answer.limit - answer.completion_tokens).saturating_sub(1) as usize;
        let most = most.min(useful);
        let draft = answer.lookup.draft(&slot.tokens, most);
        let Some(drafter) = self.drafter.as_mut().filter(|_| draft.is_empty()) else { return draft };
        let draft = drafter.draft(index, &slot.tokens, most);
        answer.is_draft_a_models = !draft.is_empty();
        draft
    }

    /// Has the draft model, if there is one, read what has been computed, while there are few enough for drafts.
    fn follow(&mut self) {
        if self.busy() > DRAFTING_MAX {
            return;
        }
        let Some(drafter) = &mut self.drafter else { return };
        drafter.follow(&self.slots);
        let (has_failed, is_useless) = drafter.has_failed();
        if has_failed {
            // They are no errors of a request's.
            self.llama.take_errors();
        }
        if is_useless {
            self.drafter = None;
        }
    }

    /// Decodes the parts. When that fails, all slots are as they were, or empty where the model cannot take them back.
    fn compute(&mut self, parts: &[Part], cancelled: &dyn Fn(SlotId) -> bool) -> Result<(), EngineError> {
        self.batch.clear();
        for part in parts {
            let slot = &mut self.slots[part.slot];
            self.cells.take(part.len(), &mut slot.cells);
            let known = &slot.tokens[part.from..part.from + part.count];
            // Every token from the last known one on is sampled behind.
            let first_sampled = slot.tokens.len() - 1;
            for (position, &token) in (part.from..).zip(known.iter().chain(&part.draft)) {
                let sequence = [part.slot as i32];
                let added = self.batch.add(token, position as i32, &sequence, position >= first_sampled);
                added.expect("the batch has room for a chunk, all slots and the drafts");
            }
        }
        let seen = self.spin.begin();
        let decoded = if self.batch.n_tokens() < ABORT_TOKENS {
            self.context.decode(&mut self.batch)
        } else {
            let ids: Vec<SlotId> = self.ids(parts).collect();
            let unwanted = || ids.iter().all(|&id| cancelled(id));
            self.abort.during(&unwanted, || self.context.decode(&mut self.batch))
        };
        self.spin.end(&seen);
        decoded.map_err(|error| {
            let error = self.llama.internal(error);
            for part in parts {
                self.cut(part.slot, part.from);
            }
            error
        })
    }

    fn ids(&self, parts: &[Part]) -> impl Iterator<Item = SlotId> {
        parts.iter().filter_map(|part| self.slots[part.slot].answer.as_ref()).map(|answer| answer.id)
    }

    /// Whether all that a call is for has been cancelled.
    fn is_unwanted(&self, parts: &[Part], cancelled: &dyn Fn(SlotId) -> bool) -> bool {
        self.ids(parts).all(cancelled)
    }

    /// Decodes the parts of a call that failed again, each alone, to find whose fault it was.
    fn compute_one_by_one(
        &mut self,
        parts: &[Part],
        mut error: EngineError,
        cancelled: &dyn Fn(SlotId) -> bool,
        on_event: &mut dyn FnMut(SlotId, GenerateEvent<'_>),
        ended: &mut Vec<Ended>,
    ) {
        for part in parts {
            let as_it_was = self.slots[part.slot].cells.len() == part.from;
            let alone = std::slice::from_ref(part);
            match if parts.len() > 1 && as_it_was { self.compute(alone, cancelled) } else { Err(error) } {
                Ok(()) => {
                    self.take_results(alone, cancelled, on_event, ended);
                    error =
                        EngineError::Internal { reason: "decoding together with others failed".to_owned() };
                }
                Err(own) => {
                    error = EngineError::Internal { reason: own.to_string() };
                    ended.extend(self.fail(part.slot, own));
                }
            }
        }
    }

    /// Samples what follows each part, as far as the drafts were right.
    fn take_results(
        &mut self,
        parts: &[Part],
        cancelled: &dyn Fn(SlotId) -> bool,
        on_event: &mut dyn FnMut(SlotId, GenerateEvent<'_>),
        ended: &mut Vec<Ended>,
    ) {
        let mut row = 0;
        for part in parts {
            let last = row + part.count - 1;
            row += part.len();
            let slot = &mut self.slots[part.slot];
            let Some(answer) = &mut slot.answer else { continue };
            let whole = part.from + part.count == slot.tokens.len();
            if answer.prefilled.is_none() {
                answer.read += part.count as u64;
                let (done, total) = (slot.cells.len() as u32, answer.prompt_tokens as u32);
                on_event(answer.id, GenerateEvent::Prefill { done, total });
                if whole {
                    answer.prefilled = Some(Instant::now());
                }
            }
            if !whole {
                continue;
            }
            if let Some(result) = self.sample(part, last as i32, cancelled, on_event) {
                ended.extend(match result {
                    Ok(reason) => Some(self.end(part.slot, reason, on_event)),
                    Err(error) => self.fail(part.slot, error),
                });
            }
        }
    }

    /// Samples at `row` of the batch and, while the draft is right, at those after it. Returns how
    /// the request ends, if it does.
    fn sample(
        &mut self,
        part: &Part,
        row: i32,
        cancelled: &dyn Fn(SlotId) -> bool,
        on_event: &mut dyn FnMut(SlotId, GenerateEvent<'_>),
    ) -> Option<Result<FinishReason, EngineError>> {
        let slot = &mut self.slots[part.slot];
        let answer = slot.answer.as_mut()?;
        let vocab = self.model.vocab();
        let (mut right, before) = (0, answer.completion_tokens);
        let end = loop {
            if cancelled(answer.id) {
                break Some(Ok(FinishReason::Cancelled));
            }
            let allowed = match answer.constraint.as_mut().map(Constraint::allowed).transpose() {
                Ok(allowed) => allowed,
                Err(error) => break Some(Err(error)),
            };
            let logits = self.context.get_logits_ith(row + right as i32);
            let Ok(token) = answer.sampler.sample(logits, allowed.as_ref()) else {
                break Some(Err(not_numbers()));
            };
            if vocab.is_eog(token) {
                break Some(Ok(FinishReason::Stop));
            }
            answer.completion_tokens += 1;
            slot.tokens.push(token);
            let is_sign = answer.parser.knows_signs() && self.prompter.is_marker(token);
            let bytes = vocab.token_to_piece(token, is_sign, None);
            if let Some(count) = answer.logprobs {
                let Ok(logprobs) = TokenLogprobs::new(logits, token, count, &vocab) else {
                    break Some(Err(not_numbers()));
                };
                answer.pending.push(bytes.len(), logprobs);
            }
            if answer.push(&bytes, on_event) == Flow::Stop {
                break Some(Ok(FinishReason::Stop));
            }
            match answer.constraint.as_mut().map(|constraint| constraint.accept(token)).transpose() {
                Ok(Some(true)) => break Some(Ok(FinishReason::Stop)),
                Ok(_) => {}
                Err(error) => break Some(Err(error)),
            }
            if answer.completion_tokens == answer.limit {
                break Some(Ok(FinishReason::Length));
            }
            if part.draft.get(right) != Some(&token) {
                break None;
            }
            right += 1;
        };
        let (generated, drafted) = ((answer.completion_tokens - before) as usize, part.draft.len());
        answer.lookup.generated(generated);
        if let Some(drafter) = &mut self.drafter {
            drafter.generated(part.slot, generated);
        }
        match self.drafter.as_mut().filter(|_| std::mem::take(&mut answer.is_draft_a_models)) {
            Some(drafter) => drafter.verified(part.slot, drafted, right),
            None => answer.lookup.verified(drafted, right),
        }
        if right < part.draft.len() {
            self.cut(part.slot, part.from + part.count + right);
        }
        end
    }

    fn end(
        &mut self,
        index: usize,
        finish_reason: FinishReason,
        on_event: &mut dyn FnMut(SlotId, GenerateEvent<'_>),
    ) -> Ended {
        let slot = &mut self.slots[index];
        let mut answer = slot.answer.take().expect("only a request ends");
        let stopped_by = answer.finish_text(on_event);
        let has_called = finish_reason == FinishReason::Stop && answer.parser.has_called();
        let finish_reason = if has_called { FinishReason::ToolCalls } else { finish_reason };
        let ms = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
        let now = Instant::now();
        let prefilled = answer.prefilled.unwrap_or(now);
        let generated = Generated {
            finish_reason,
            stop: stopped_by.filter(|_| finish_reason == FinishReason::Stop),
            prompt_tokens: answer.prompt_tokens as u32,
            cached_tokens: answer.cached_tokens as u32,
            completion_tokens: answer.completion_tokens,
            seed: answer.seed,
            prefill_ms: ms(answer.began, prefilled),
            decode_ms: ms(prefilled, now),
        };
        self.let_go(index);
        Ended { slot: answer.id, outcome: Ok(generated) }
    }

    /// Ends a request that failed. What it computed is not to be trusted.
    fn fail(&mut self, index: usize, error: EngineError) -> Option<Ended> {
        let answer = self.slots[index].answer.take()?;
        self.cut(index, 0);
        Some(Ended { slot: answer.id, outcome: Err(error) })
    }
}

impl Answer {
    /// Takes the bytes of a token, and tells what is certain by now.
    fn push(&mut self, bytes: &[u8], on_event: &mut dyn FnMut(SlotId, GenerateEvent<'_>)) -> Flow {
        let (mut events, mut is_over) = (Vec::new(), false);
        let parser = &mut self.parser;
        let flow = self.text.push(bytes, &mut |text| {
            is_over = parser.push(text, &mut |event| events.push(event));
        });
        let logprobs = match events.is_empty() {
            false => self.pending.take(self.text.held_bytes()),
            true => self.pending.take_too_many().unwrap_or_default(),
        };
        self.tell(events, logprobs, on_event);
        if is_over { Flow::Stop } else { flow }
    }

    /// Tells what was held back, and returns the stop string that ended the text.
    fn finish_text(&mut self, on_event: &mut dyn FnMut(SlotId, GenerateEvent<'_>)) -> Option<String> {
        let (parser, mut events) = (&mut self.parser, Vec::new());
        let mut push = |event| events.push(event);
        // What a stop string cut off is not part of the answer.
        let cut_bytes = if self.text.is_stopped() { self.text.held_bytes() } else { 0 };
        let finished = self.text.finish(&mut |text| {
            parser.push(text, &mut push);
        });
        parser.finish(&mut push);
        let is_whole = finished == Flow::Continue && cut_bytes == 0;
        let logprobs = if is_whole || !events.is_empty() { self.pending.take(cut_bytes) } else { Vec::new() };
        self.tell(events, logprobs, on_event);
        self.text.stopped_by().map(str::to_owned)
    }

    /// Tells events, the first text of them with the logprobs.
    fn tell(
        &self,
        events: Vec<AnswerEvent>,
        logprobs: Vec<TokenLogprobs>,
        on_event: &mut dyn FnMut(SlotId, GenerateEvent<'_>),
    ) {
        if events.is_empty() && !logprobs.is_empty() {
            let event = GenerateEvent::Token { text: "", logprobs: &logprobs, is_reasoning: false };
            on_event(self.id, event);
        }
        let mut logprobs = logprobs.as_slice();
        for event in &events {
            let id;
            let event = match event {
                AnswerEvent::Text(text) | AnswerEvent::Reasoning(text) => {
                    let is_reasoning = matches!(event, AnswerEvent::Reasoning(_));
                    GenerateEvent::Token { text, logprobs: std::mem::take(&mut logprobs), is_reasoning }
                }
                AnswerEvent::Call { index, name } => {
                    id = call_id(self.call_ids.wrapping_add((*index).into()));
                    GenerateEvent::ToolCall { index: *index, begins: Some((&id, name)), arguments: "" }
                }
                AnswerEvent::Arguments { index, text } => {
                    GenerateEvent::ToolCall { index: *index, begins: None, arguments: text }
                }
            };
            on_event(self.id, event);
        }
    }
}

fn not_numbers() -> EngineError {
    let reason = "the model computes values that are not numbers; its file is probably damaged";
    EngineError::Internal { reason: reason.to_owned() }
}

impl Slot {
    pub(crate) fn is_running(&self) -> bool {
        self.answer.is_some()
    }

    /// How many of its tokens are not computed yet.
    fn unread(&self) -> usize {
        self.tokens.len() - self.cells.len()
    }
}

impl Part {
    fn len(&self) -> usize {
        self.count + self.draft.len()
    }
}

/// How many of a prompt's `unread` tokens are read in a step in which `left` are left of `most`. What is read of
/// a prompt that does not fit are equal parts, since a small rest costs more than its share; and where others fill
/// half of the step, it waits for the next one, so that those are not answered later for its sake.
fn part_of_prompt(unread: usize, left: usize, most: usize) -> usize {
    if unread <= left {
        unread
    } else if left * 2 <= most {
        0
    } else {
        unread.div_ceil(unread.div_ceil(left))
    }
}

/// How many tokens are sampled in a step at most, with so many slots.
pub(crate) fn outputs(slots: usize) -> usize {
    slots.max(1 + DRAFT_TOKENS_MAX)
}

/// How much to draft for each stream when so many decode. The more there are, the less a larger batch
/// gains.
fn draft_tokens(decoding: usize) -> usize {
    match decoding {
        1 => DRAFT_TOKENS_MAX,
        2 => 7,
        DRAFTING_MAX => 4,
        _ => 0,
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
