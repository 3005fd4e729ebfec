//! What slots hold of requests that have ended, or that wait: beginnings that others of their scope
//! use again, that are saved when room is needed, and fetched when somebody asks for them.

use llama_cpp_2::context::session::LlamaStateSeqFlags;
use llama_cpp_2::token::LlamaToken;

use crate::engine::Engine;
use crate::prompter::Prompt;
use crate::saved::common_prefix;
use crate::slots::{ANSWER_ROOM, Answer, Slot};

/// Shorter beginnings than this are neither waited for nor saved: computing them is as quick.
const WORTH_TOKENS: usize = 16;

/// So many tokens idle slots may keep in the context while others work: each step passes over them.
pub(super) const IDLE_TOKENS_MAX: usize = 512;

impl Engine {
    /// Keeps of a free slot what the prompt begins with, or fetches it from what was saved. Returns
    /// how many tokens that is.
    pub(super) fn recall(&mut self, index: usize, prompt: &Prompt) -> usize {
        let scope = prompt.scope.as_deref();
        let common = self.reusable(index, scope, &prompt.tokens);
        if common * 2 <= self.slots[index].cells.len() {
            self.save(index);
        }
        self.cut(index, common);
        let elsewhere = (0..self.slots.len()).map(|other| self.reusable(other, scope, &prompt.tokens));
        let known = elsewhere.max().unwrap_or(0);
        if let Some(scope) = scope {
            self.fetch(index, scope, &prompt.tokens, known);
        }
        self.slots[index].cells.len()
    }

    /// Puts into a slot what was saved of the beginning of `tokens`, if it is much more than `known`.
    fn fetch(&mut self, index: usize, scope: &str, tokens: &[LlamaToken], known: usize) {
        let Some((saved, state)) = self.saved.find(scope, tokens, known + WORTH_TOKENS) else { return };
        if saved.len() > self.cells.free() {
            return;
        }
        let common = common_prefix(saved, &tokens[..tokens.len() - 1]);
        let slot = &mut self.slots[index];
        self.cells.cut(&mut slot.cells, 0);
        // What cannot be fetched is computed.
        let fetched = self.context.state_seq_set(state, index as i32).is_ok();
        if fetched {
            self.cells.take(saved.len(), &mut slot.cells);
        }
        if slot.answer.is_none() {
            slot.tokens = saved.to_vec();
        }
        self.cut(index, if fetched { common } else { 0 });
    }

    /// Has requests that still read go on from what other slots of their scope have computed since.
    /// Returns which slots had better wait, because another is about to compute what they need.
    pub(super) fn adopt_prefixes(&mut self) -> Vec<usize> {
        let mut blocked = Vec::new();
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            let reads = |answer: &&Answer| answer.prefilled.is_none() && !answer.paused;
            let Some(answer) = slot.answer.as_ref().filter(reads) else { continue };
            let (order, scope, have) = (answer.id.0, slot.scope.as_deref(), slot.cells.len());
            let others = (0..self.slots.len()).filter(|&other| other != index);
            let computed = others.clone().map(|other| (self.reusable(other, scope, &slot.tokens), other));
            let (common, source) = computed.max().unwrap_or((0, index));
            let to_come = others.filter(|&other| {
                let earlier = self.slots[other].answer.as_ref();
                earlier.is_some_and(|earlier| earlier.id.0 < order && earlier.prefilled.is_none())
                    && self.can_share(other, scope)
            });
            let to_come = to_come.map(|other| common_prefix(&self.slots[other].tokens, &slot.tokens));
            if to_come.max().unwrap_or(0) >= common.max(have) + WORTH_TOKENS {
                blocked.push(index);
            }
            if common > have {
                self.copy(source, index, have, common);
            }
        }
        blocked
    }

    fn copy(&mut self, source: usize, index: usize, from: usize, to: usize) {
        let range = (Some(from as u32), Some(to as u32));
        let copied = self.context.copy_kv_cache_seq(source as i32, index as i32, range.0, range.1);
        copied.expect("positions are far below 2^31");
        let shared = self.slots[source].cells[from..to].to_vec();
        let slot = &mut self.slots[index];
        self.cells.share(&shared, &mut slot.cells);
        if let Some(answer) = &mut slot.answer {
            answer.cached_tokens += to - from;
        }
    }

    /// How many of `tokens`, but the last, a slot holds computed and may share with `scope`.
    pub(super) fn reusable(&self, index: usize, scope: Option<&str>, tokens: &[LlamaToken]) -> usize {
        let slot = &self.slots[index];
        // Of a model with a sliding window, llama.cpp may have let go of what is outside it.
        if !self.can_share(index, scope) || self.context.kv_cache_seq_pos_min(index as i32) != 0 {
            return 0;
        }
        common_prefix(slot.held(), &tokens[..tokens.len() - 1])
    }

    /// Whether a request of `scope` may use what a slot holds.
    pub(super) fn can_share(&self, index: usize, scope: Option<&str>) -> bool {
        self.can_cut && scope.is_some() && self.slots[index].scope.as_deref() == scope
    }

    /// Keeps what a slot holds for later requests, as far as there is a use and room for it.
    pub(super) fn let_go(&mut self, index: usize) {
        let computed = self.slots[index].cells.len();
        let useful = self.can_cut && self.slots[index].scope.is_some();
        self.cut(index, if useful { computed } else { 0 });
        loop {
            let idle = self.slots.iter().filter(|slot| slot.answer.is_none());
            let kept: usize = idle.map(|slot| self.cells.owned_alone(&slot.cells)).sum();
            // With nothing else to do, `rest` takes care of it at leisure.
            if self.busy() == 0 || kept <= IDLE_TOKENS_MAX || !self.evict_idle() {
                return;
            }
        }
    }

    /// Saves and empties the idle slot that was not used for longest, if there is one with anything
    /// in it.
    pub(super) fn evict_idle(&mut self) -> bool {
        let idle = self.slots.iter().enumerate().filter(|(_, slot)| slot.answer.is_none());
        let oldest = idle.filter(|(_, slot)| !slot.cells.is_empty()).min_by_key(|(_, slot)| slot.used);
        let Some((index, _)) = oldest else { return false };
        self.save(index);
        self.cut(index, 0);
        true
    }

    /// Takes the cells of the request that came last, if it is not the only one. It reads its tokens
    /// again when there is room.
    pub(super) fn pause_youngest(&mut self) -> bool {
        let holding =
            self.running().filter(|&(index, answer)| !answer.paused && !self.slots[index].cells.is_empty());
        let mut holding: Vec<(u64, usize)> = holding.map(|(index, answer)| (answer.id.0, index)).collect();
        holding.sort_unstable();
        let Some(&(_, youngest)) = holding.get(1..).and_then(<[_]>::last) else { return false };
        self.save(youngest);
        self.cut_cells(youngest, 0);
        if let Some(answer) = &mut self.slots[youngest].answer {
            answer.paused = true;
            if answer.prefilled.is_none() {
                // What it will be given when it goes on counts anew.
                answer.cached_tokens = 0;
            }
        }
        true
    }

    /// Lets paused requests go on, those that came first first, as far as there is room.
    pub(super) fn resume(&mut self) {
        let mut paused: Vec<(u64, usize)> = self
            .running()
            .filter(|(_, answer)| answer.paused)
            .map(|(index, answer)| (answer.id.0, index))
            .collect();
        paused.sort_unstable();
        for (order, index) in paused {
            let others = self.running().filter(|(_, answer)| !answer.paused);
            // Who came first never waits for those who came later to begin.
            let first = others.clone().all(|(_, answer)| answer.id.0 > order);
            let held: usize = others.map(|(other, _)| self.slots[other].cells.len()).sum();
            let needed = self.slots[index].tokens.len() + ANSWER_ROOM;
            while self.cells.free() < needed && self.evict_idle() {}
            let unread = self.reading(&[]).into_iter().map(|other| self.slots[other].unread());
            let unread: usize = if first { 0 } else { unread.sum() };
            if self.cells.free() < needed + unread && !(first && held == 0) {
                return;
            }
            if let Some(answer) = &mut self.slots[index].answer {
                answer.paused = false;
            }
            let (scope, tokens) = (self.slots[index].scope.clone(), self.slots[index].tokens.clone());
            if let Some(scope) = scope {
                self.fetch(index, &scope, &tokens, 0);
            }
        }
    }

    /// Saves what a slot has computed, if somebody may ask for it again.
    fn save(&mut self, index: usize) {
        let slot = &self.slots[index];
        let tokens = slot.held();
        let Some(scope) = slot.scope.as_ref().filter(|_| self.can_cut) else { return };
        let elsewhere = self.slots.iter().enumerate().any(|(other, slot)| {
            other != index && slot.scope.as_ref() == Some(scope) && slot.held().starts_with(tokens)
        });
        if tokens.len() < WORTH_TOKENS || elsewhere || self.saved.covers(scope, tokens) {
            return;
        }
        let whole = self.context.kv_cache_seq_pos_min(index as i32) == 0;
        let flags = LlamaStateSeqFlags::empty();
        let bytes = self.context.state_seq_get_size_ext(index as i32, flags);
        // Before the state is there as well.
        if whole
            && self.saved.make_room(scope, tokens, bytes)
            && let Ok(state) = self.context.state_seq_get(index as i32, flags)
        {
            self.saved.insert(scope.clone(), tokens.to_vec(), state, bytes);
        }
    }

    /// Takes a slot back to its first `len` computed tokens.
    pub(super) fn cut(&mut self, index: usize, len: usize) {
        self.cut_cells(index, len);
        let slot = &mut self.slots[index];
        if slot.answer.is_none() {
            slot.tokens.truncate(slot.cells.len());
        }
    }

    /// Takes a slot's sequence back to `len` tokens, or to none where the model cannot do that.
    fn cut_cells(&mut self, index: usize, len: usize) {
        let sequence = Some(index as u32);
        let removed = self.context.clear_kv_cache_seq(sequence, Some(len as u32), None);
        let removed = removed.expect("positions are far below 2^31");
        if !removed {
            // Removing all of a sequence cannot fail.
            let _ = self.context.clear_kv_cache_seq(sequence, None, None);
        }
        self.cells.cut(&mut self.slots[index].cells, if removed { len } else { 0 });
    }
}

impl Slot {
    /// Those of its tokens that are computed. While the results of a step are taken, there are cells of drafts
    /// besides.
    pub(crate) fn held(&self) -> &[LlamaToken] {
        &self.tokens[..self.cells.len().min(self.tokens.len())]
    }
}
