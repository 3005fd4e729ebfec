//! What a request has changed of single logits before the choice: a bias for tokens of its own choosing,
//! and penalties on those that came lately.

use std::collections::{HashMap, VecDeque};

use llama_cpp_2::token::LlamaToken;

use crate::request::Sampling;

/// The changes, with what they need to know of the tokens so far.
pub(crate) struct Changes {
    bias: Vec<(LlamaToken, f32)>,
    penalties: Option<Penalties>,
}

impl Changes {
    /// For an answer to `prompt`; `None` where nothing is to be changed.
    pub(crate) fn new(sampling: &Sampling, prompt: &[LlamaToken]) -> Option<Self> {
        let bias: Vec<_> =
            sampling.logit_bias.iter().map(|&(id, bias)| (LlamaToken(id as i32), bias)).collect();
        let penalties = Penalties::new(sampling, prompt);
        (!bias.is_empty() || penalties.is_some()).then_some(Self { bias, penalties })
    }

    /// Makes the changes, in llama.cpp's order. The logits must be numbers, and stay so.
    pub(crate) fn apply(&self, logits: &mut [f32]) {
        for &(token, bias) in &self.bias {
            if let Some(logit) = logits.get_mut(token.0 as usize) {
                *logit += bias;
            }
        }
        if let Some(penalties) = &self.penalties {
            penalties.apply(logits);
        }
    }

    /// Notes the token that was chosen.
    pub(crate) fn accept(&mut self, token: LlamaToken) {
        if let Some(penalties) = &mut self.penalties {
            penalties.accept(token);
        }
    }
}

/// llama.cpp's penalties. Its own sampler looks at every token of the vocabulary.
struct Penalties {
    repetition: f32,
    presence: f32,
    frequency: f32,
    last_n: usize,
    recent: VecDeque<LlamaToken>,
    counts: HashMap<LlamaToken, u32>,
}

impl Penalties {
    fn new(sampling: &Sampling, prompt: &[LlamaToken]) -> Option<Self> {
        let &Sampling { repetition_penalty, presence_penalty, frequency_penalty, penalty_last_n, .. } =
            sampling;
        let none = (repetition_penalty, presence_penalty, frequency_penalty) == (1.0, 0.0, 0.0);
        let last_n = usize::try_from(penalty_last_n).unwrap_or(usize::MAX);
        if none || last_n == 0 {
            return None;
        }
        let mut penalties = Self {
            repetition: repetition_penalty,
            presence: presence_penalty,
            frequency: frequency_penalty,
            last_n,
            recent: VecDeque::new(),
            counts: HashMap::new(),
        };
        prompt[prompt.len().saturating_sub(last_n)..].iter().for_each(|&token| penalties.accept(token));
        Some(penalties)
    }

    fn accept(&mut self, token: LlamaToken) {
        if self.recent.len() == self.last_n
            && let Some(oldest) = self.recent.pop_front()
            && let Some(count) = self.counts.get_mut(&oldest)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&oldest);
            }
        }
        self.recent.push_back(token);
        *self.counts.entry(token).or_default() += 1;
    }

    fn apply(&self, logits: &mut [f32]) {
        for (token, &count) in &self.counts {
            // What the model holds to be impossible stays so.
            let possible = |logit: &&mut f32| **logit != f32::NEG_INFINITY;
            let Some(logit) = logits.get_mut(token.0 as usize).filter(possible) else { continue };
            let repeated = if *logit <= 0.0 { *logit * self.repetition } else { *logit / self.repetition };
            let penalised = repeated - (count as f32 * self.frequency + self.presence);
            // A penalty near 0 makes numbers that have no bounds.
            *logit = penalised.clamp(f32::MIN, f32::MAX);
        }
    }
}
