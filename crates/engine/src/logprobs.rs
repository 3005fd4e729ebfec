//! How likely tokens were, as the model computed it.

use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::vocab::LlamaVocab;

use crate::sampling::{NotNumbers, top};

/// Longer than any token of an ordinary model; it bounds what a strange one makes an event carry.
const PIECE_BYTES_MAX: usize = 256;

/// How likely the model held a token to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprob {
    /// The token's number in the vocabulary.
    pub id: u32,
    /// Its bytes, at most 256, which need not be whole characters; the name of a control token.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability by the model's logits alone: before temperature,
    /// penalties, bias, grammar and whatever else narrows the choice.
    pub logprob: f32,
}

/// How likely a token of the answer was, and which ones the model held to be the likeliest.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// The token that was chosen.
    pub chosen: Logprob,
    /// The likeliest, the likeliest first; as many as the request asked for.
    pub top: Vec<Logprob>,
}

impl TokenLogprobs {
    /// Of `chosen`, where the model had these logits, with so many of the likeliest.
    pub(crate) fn new(
        logits: &[f32],
        chosen: LlamaToken,
        count: usize,
        vocab: &LlamaVocab<'_>,
    ) -> Result<Self, NotNumbers> {
        let mut likeliest = Vec::with_capacity(count.max(1));
        top(logits, count.max(1), &mut likeliest)?;
        let largest = likeliest.first().ok_or(NotNumbers)?.logit();
        let sum: f64 = logits.iter().map(|&logit| f64::from((logit - largest).exp())).sum();
        let log_sum = sum.ln() as f32;
        let logprob = |token: LlamaToken| {
            let mut bytes = vocab.token_to_piece(token, true, None);
            bytes.truncate(PIECE_BYTES_MAX);
            Logprob { id: token.0 as u32, bytes, logprob: logits[token.0 as usize] - largest - log_sum }
        };
        let top = likeliest.iter().take(count).map(|data| logprob(data.id())).collect();
        Ok(Self { chosen: logprob(chosen), top })
    }
}

/// Logprobs of tokens whose text is not all out yet.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// With how many bytes each token added to the text.
    tokens: Vec<(usize, TokenLogprobs)>,
}

impl Pending {
    /// A text of tokens is held back for a stop string or a character; those without a text could be
    /// without end.
    const MOST: usize = 300;

    pub(crate) fn push(&mut self, bytes: usize, logprobs: TokenLogprobs) {
        self.tokens.push((bytes, logprobs));
    }

    /// Takes those whose text is out when so many bytes of it are not.
    pub(crate) fn take(&mut self, mut held_bytes: usize) -> Vec<TokenLogprobs> {
        let mut out = self.tokens.len();
        for (bytes, _) in self.tokens.iter().rev() {
            if held_bytes == 0 || *bytes > held_bytes {
                break;
            }
            held_bytes -= bytes;
            out -= 1;
        }
        self.tokens.drain(..out).map(|(_, logprobs)| logprobs).collect()
    }

    /// Takes all when they have become too many to wait for their text.
    pub(crate) fn take_too_many(&mut self) -> Option<Vec<TokenLogprobs>> {
        (self.tokens.len() >= Self::MOST).then(|| self.take(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::{TestEngine, greedy, request};
    use crate::request::{GenerateEvent, GenerateRequest};

    /// The pieces of an answer with their logprobs.
    fn pieces(engine: &mut TestEngine, request: &GenerateRequest) -> Vec<(String, Vec<TokenLogprobs>)> {
        let prompt = engine.engine.prompter().prepare(request).expect("it fits");
        let mut pieces = Vec::new();
        let generated = engine.engine.generate(prompt, &|| false, &mut |event| {
            if let GenerateEvent::Token { text, logprobs, .. } = event {
                pieces.push((text.to_owned(), logprobs.to_vec()));
            }
        });
        let generated = generated.expect("it is answered");
        if request.logprobs.is_some() && request.stop.is_empty() {
            let entries: usize = pieces.iter().map(|(_, logprobs)| logprobs.len()).sum();
            assert_eq!(entries, generated.completion_tokens as usize);
        }
        pieces
    }

    #[test]
    fn logprobs_belong_to_the_tokens_of_the_text() {
        let mut engine = TestEngine::load();
        let asked = GenerateRequest { logprobs: Some(5), ..greedy("hello") };
        for (text, logprobs) in pieces(&mut engine, &asked) {
            let bytes: Vec<u8> = logprobs.iter().flat_map(|token| token.chosen.bytes.clone()).collect();
            assert_eq!(text.as_bytes(), bytes);
            for token in logprobs {
                assert_eq!(token.top.len(), 5);
                // The likeliest is what a greedy answer is made of.
                assert_eq!(token.chosen, token.top[0]);
                assert!(token.top.is_sorted_by(|one, next| one.logprob >= next.logprob));
                assert!(token.top.iter().map(|token| token.logprob.exp()).sum::<f32>() <= 1.0001);
            }
        }
        let none = GenerateRequest { logprobs: Some(0), ..greedy("hello") };
        let tokens: Vec<_> =
            pieces(&mut engine, &none).into_iter().flat_map(|(_, logprobs)| logprobs).collect();
        assert!(tokens.iter().all(|token| token.top.is_empty() && token.chosen.logprob <= 0.0));
        assert!(pieces(&mut engine, &greedy("hello")).iter().all(|(_, logprobs)| logprobs.is_empty()));
    }

    #[test]
    fn all_tokens_together_are_certain() {
        let engine = TestEngine::load();
        let vocab = engine.engine.model.vocab();
        let logits: Vec<f32> = (0..500).map(|id| (id * 7919 % 997) as f32 / 40.0).collect();
        let of = |id| TokenLogprobs::new(&logits, LlamaToken(id), 0, &vocab).expect("numbers").chosen.logprob;
        let sum: f32 = (0..500).map(|id| of(id).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-4, "{sum}");
    }

    #[test]
    fn logprobs_are_the_models_own_whatever_narrows_the_choice() {
        let mut engine = TestEngine::load();
        let mut asked = GenerateRequest { logprobs: Some(3), max_tokens: Some(1), ..request("hello", 2.0) };
        let first = |engine: &mut TestEngine, asked: &GenerateRequest| {
            pieces(engine, asked).into_iter().flat_map(|(_, logprobs)| logprobs).next().expect("one token")
        };
        let plain = first(&mut engine, &asked);
        let unlikely = plain.top[2].clone();
        asked.sampling.logit_bias = vec![(unlikely.id, 100.0)];
        asked.sampling.repetition_penalty = 1.5;
        let biased = first(&mut engine, &asked);
        assert_eq!(biased.chosen, unlikely);
        assert_eq!(biased.top, plain.top);
    }

    #[test]
    fn what_a_stop_string_cuts_off_has_no_logprobs() {
        let mut engine = TestEngine::load();
        let asked =
            GenerateRequest { logprobs: Some(0), stop: vec!["can I ass".to_owned()], ..greedy("hello") };
        let pieces = pieces(&mut engine, &asked);
        let bytes: Vec<u8> = pieces
            .iter()
            .flat_map(|(_, logprobs)| logprobs)
            .flat_map(|token| token.chosen.bytes.clone())
            .collect();
        // A token of which a part is in the text is told whole.
        assert!(String::from_utf8_lossy(&bytes).starts_with("Hello! How"), "{pieces:?}");
        assert!(!String::from_utf8_lossy(&bytes).contains("ass"), "{pieces:?}");
    }

    #[test]
    fn held_tokens_come_with_their_text_and_too_many_come_without() {
        let entry =
            || TokenLogprobs { chosen: Logprob { id: 0, bytes: Vec::new(), logprob: 0.0 }, top: Vec::new() };
        let mut pending = Pending::default();
        for bytes in [3, 2, 0, 4] {
            pending.push(bytes, entry());
        }
        assert_eq!(pending.take(5).len(), 2);
        // What has no text waits for nothing.
        assert_eq!(pending.take(4).len(), 1);
        assert_eq!(pending.take(4).len(), 0);
        assert_eq!(pending.take(0).len(), 1);
        for _ in 0..Pending::MOST - 1 {
            pending.push(0, entry());
        }
        assert!(pending.take_too_many().is_none());
        pending.push(0, entry());
        assert_eq!(pending.take_too_many().map(|all| all.len()), Some(Pending::MOST));
    }
}
