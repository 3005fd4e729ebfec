//! From sampling parameters to the choice of a token.
//!
//! llama.cpp's samplers take an array of all the vocabulary's tokens, which for 262,000 of them
//! costs a good part of what a small model's decoding does, once for each slot. So what decides most
//! is done here before, straight on the logits: the likeliest token, or the `top_k` likeliest.

use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;

use crate::constraint::Allowed;
use crate::error::EngineError;
use crate::penalties::Changes;
use crate::request::Sampling;

/// Up to here the likeliest token is certain in effect, and dividing by less would overflow.
const GREEDY_TEMPERATURE: f32 = 0.001;

/// llama.cpp takes this seed as the wish for a random one.
const RANDOM_SEED: u32 = u32::MAX;

/// Beyond this, keeping the likeliest in order costs more than llama.cpp's sorting.
const TOP_K_MAX: usize = 256;

/// Logits that are looked at together, to pass over those that cannot matter.
const BLOCK: usize = 64;

/// Chooses one request's tokens. Each choice takes one step of its random numbers, so the order of
/// the choices decides them and nothing else does.
pub(crate) struct Sampler {
    method: Method,
    changes: Option<Changes>,
    /// The logits with the changes, where there are any.
    changed: Vec<f32>,
    candidates: LlamaTokenDataArray,
}

enum Method {
    Likeliest,
    /// Of so many of the likeliest one is chosen by the chain, which gets them in order.
    AmongLikeliest(usize, LlamaSampler),
    AmongAll(LlamaSampler),
}

/// A logit is not a number or has no bounds, or no token is possible: the model's computation has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotNumbers;

impl Sampler {
    /// The sampler for an answer to `prompt`, in the order of llama.cpp's tools.
    pub(crate) fn new(sampling: &Sampling, seed: u64, prompt: &[LlamaToken]) -> Self {
        /// However small the probabilities allowed, one token is left to choose.
        const MIN_KEEP: usize = 1;

        let method = if sampling.temperature <= GREEDY_TEMPERATURE {
            Method::Likeliest
        } else {
            let top_k = usize::try_from(sampling.top_k).unwrap_or(usize::MAX);
            let few = (1..=TOP_K_MAX).contains(&top_k);
            let mut chain = Vec::new();
            if top_k > TOP_K_MAX {
                chain.push(LlamaSampler::top_k(i32::try_from(top_k).unwrap_or(i32::MAX)));
            }
            if sampling.typical_p < 1.0 {
                chain.push(LlamaSampler::typical(sampling.typical_p, MIN_KEEP));
            }
            chain.push(LlamaSampler::top_p(sampling.top_p, MIN_KEEP));
            chain.push(LlamaSampler::min_p(sampling.min_p, MIN_KEEP));
            chain.push(LlamaSampler::temp(sampling.temperature));
            chain.push(LlamaSampler::dist(llama_seed(seed)));
            let chain = LlamaSampler::chain(chain, true);
            if few { Method::AmongLikeliest(top_k, chain) } else { Method::AmongAll(chain) }
        };
        Self {
            method,
            changes: Changes::new(sampling, prompt),
            changed: Vec::new(),
            candidates: LlamaTokenDataArray::new(Vec::new(), false),
        }
    }

    /// Chooses by `logits`, one for each token of the vocabulary, among the tokens that are `allowed`.
    pub(crate) fn sample(
        &mut self,
        logits: &[f32],
        allowed: Option<&Allowed>,
    ) -> Result<LlamaToken, NotNumbers> {
        let Self { method, changes, changed, candidates } = self;
        let logits = if changes.is_some() || allowed.is_some() {
            // Afterwards it could not be told any more.
            likeliest(logits)?;
            changed.clear();
            changed.extend_from_slice(logits);
            if let Some(changes) = changes {
                changes.apply(changed);
            }
            if let Some(allowed) = allowed {
                allowed.apply(changed);
            }
            changed
        } else {
            logits
        };
        let token = choose(method, candidates, logits)?;
        if let Some(changes) = changes {
            changes.accept(token);
        }
        Ok(token)
    }
}

fn choose(
    method: &mut Method,
    candidates: &mut LlamaTokenDataArray,
    logits: &[f32],
) -> Result<LlamaToken, NotNumbers> {
    candidates.data.clear();
    candidates.selected = None;
    let chain = match method {
        Method::Likeliest => return likeliest(logits),
        Method::AmongLikeliest(count, chain) => {
            top(logits, *count, &mut candidates.data)?;
            candidates.sorted = true;
            chain
        }
        Method::AmongAll(chain) => {
            likeliest(logits)?;
            let all = (0..).zip(logits).filter(|(_, logit)| **logit > f32::NEG_INFINITY);
            let all = all.map(|(id, &logit)| LlamaTokenData::new(LlamaToken(id), logit, 0.0));
            candidates.data.extend(all);
            candidates.sorted = false;
            chain
        }
    };
    if candidates.data.is_empty() {
        return Err(NotNumbers);
    }
    chain.apply(candidates);
    let token = candidates.selected_token().expect("the chain ends with a draw, which selects one");
    chain.accept(token);
    Ok(token)
}

/// The token with the largest logit, of equals the first.
pub(crate) fn likeliest(logits: &[f32]) -> Result<LlamaToken, NotNumbers> {
    let (mut best, mut best_block) = (f32::NEG_INFINITY, 0);
    for (index, block) in logits.chunks(BLOCK).enumerate() {
        let largest = largest(block)?;
        if largest > best {
            (best, best_block) = (largest, index);
        }
    }
    if best == f32::NEG_INFINITY {
        return Err(NotNumbers);
    }
    let block = logits.chunks(BLOCK).nth(best_block).ok_or(NotNumbers)?;
    let within = block.iter().position(|&logit| logit == best).ok_or(NotNumbers)?;
    Ok(LlamaToken((best_block * BLOCK + within) as i32))
}

/// The `count` tokens with the largest logits, the largest first, of equals those that come first. Those
/// that are impossible are none.
pub(crate) fn top(logits: &[f32], count: usize, top: &mut Vec<LlamaTokenData>) -> Result<(), NotNumbers> {
    let mut least = f32::NEG_INFINITY;
    for (index, block) in logits.chunks(BLOCK).enumerate() {
        if largest(block)? <= least {
            continue;
        }
        for (within, &logit) in block.iter().enumerate() {
            if logit <= least {
                continue;
            }
            if top.len() == count {
                top.pop();
            }
            let place = top.partition_point(|other| other.logit() >= logit);
            let token = LlamaToken((index * BLOCK + within) as i32);
            top.insert(place, LlamaTokenData::new(token, logit, 0.0));
            if top.len() == count {
                least = top[count - 1].logit();
            }
        }
    }
    Ok(())
}

/// Written for the compiler to do many at a time.
fn largest(block: &[f32]) -> Result<f32, NotNumbers> {
    const LANES: usize = 16;

    let (mut largest, mut sane) = ([f32::NEG_INFINITY; LANES], [true; LANES]);
    let (whole, rest) = block.as_chunks::<LANES>();
    let mut take = |lane: usize, logit: f32| {
        largest[lane] = if logit > largest[lane] { logit } else { largest[lane] };
        sane[lane] &= logit < f32::INFINITY;
    };
    for chunk in whole {
        for (lane, &logit) in chunk.iter().enumerate() {
            take(lane, logit);
        }
    }
    for (lane, &logit) in rest.iter().enumerate() {
        take(lane, logit);
    }
    if sane.contains(&false) {
        return Err(NotNumbers);
    }
    Ok(largest.into_iter().fold(f32::NEG_INFINITY, f32::max))
}

/// The seed asked for, or a random one, small enough to pass unchanged through any JSON parser.
pub(crate) fn seed(asked: Option<u64>) -> Result<u64, EngineError> {
    match asked {
        Some(seed) => Ok(seed),
        // llama.cpp's seeds have 32 bits.
        None => Ok(random()? >> 32),
    }
}

/// A random number.
///
/// # Errors
/// [`EngineError::Internal`] when the system has none.
pub(crate) fn random() -> Result<u64, EngineError> {
    getrandom::u64().map_err(|error| EngineError::Internal {
        reason: format!("the system gave no random number: {error}"),
    })
}

/// llama.cpp's seeds have 32 bits. Those that fit are taken as they are, so that they mean the
/// same as in llama.cpp's own tools.
fn llama_seed(seed: u64) -> u32 {
    let folded = (seed ^ (seed >> 32)) as u32;
    match folded {
        RANDOM_SEED => RANDOM_SEED - 1,
        seed => seed,
    }
}

#[cfg(test)]
mod tests {
    use llama_cpp_2::token::logit_bias::LlamaLogitBias;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_likeliest_are_those_that_sorting_gives(
            logits in prop::collection::vec((-50_i32..50).prop_map(|logit| logit as f32), 1..700),
            count in 1_usize..80,
        ) {
            let mut sorted: Vec<usize> = (0..logits.len()).collect();
            sorted.sort_by(|&one, &other| logits[other].total_cmp(&logits[one]));
            let expected: Vec<i32> = sorted.iter().take(count).map(|&id| id as i32).collect();
            let mut found = Vec::new();
            top(&logits, count, &mut found).expect("they are numbers");
            prop_assert_eq!(found.iter().map(|data| data.id().0).collect::<Vec<_>>(), expected);
            prop_assert_eq!(likeliest(&logits), Ok(LlamaToken(sorted[0] as i32)));
        }

        #[test]
        fn what_is_no_number_is_found_wherever_it_stands(
            at in 0_usize..700,
            wrong in prop_oneof![Just(f32::NAN), Just(f32::INFINITY)],
            top_k in prop_oneof![Just(0_u32), Just(40), Just(1000)],
            temperature in prop_oneof![Just(0.0_f32), Just(1.0)],
        ) {
            let mut logits = vec![0.5; 700];
            logits[at] = wrong;
            let sampling = Sampling { temperature, top_k, ..Sampling::default() };
            prop_assert_eq!(Sampler::new(&sampling, 1, &[]).sample(&logits, None), Err(NotNumbers));
        }
    }

    #[test]
    fn choosing_among_the_likeliest_equals_llama_cpps_own_choice() {
        let logits: Vec<f32> =
            (0..5000).map(|id: i32| (id.wrapping_mul(7919) % 997) as f32 / 50.0 + id as f32 * 1e-5).collect();
        let sampling = Sampling { temperature: 1.5, top_p: 0.99, min_p: 0.01, ..Sampling::default() };
        let mut sampler = Sampler::new(&sampling, 7, &[]);
        let mut theirs = LlamaSampler::chain(
            [
                LlamaSampler::top_k(40),
                LlamaSampler::top_p(0.99, 1),
                LlamaSampler::min_p(0.01, 1),
                LlamaSampler::temp(1.5),
                LlamaSampler::dist(7),
            ],
            true,
        );
        for _ in 0..50 {
            let all = (0..).zip(&logits).map(|(id, &logit)| LlamaTokenData::new(LlamaToken(id), logit, 0.0));
            let mut all = LlamaTokenDataArray::from_iter(all, false);
            theirs.apply(&mut all);
            assert_eq!(sampler.sample(&logits, None).ok(), all.selected_token());
        }
    }

    /// Logits of which some are nearly equal.
    fn logits(step: usize) -> Vec<f32> {
        let noise =
            |id: i32| (id.wrapping_mul(7919).wrapping_add(step as i32 * 31) % 997) as f32 / 50.0 - 8.0;
        (0..5000).map(|id: i32| noise(id) + id as f32 * 1e-5).collect()
    }

    /// Has both choose a number of tokens, each after what it chose before.
    fn check_against_llama_cpp(sampling: &Sampling, prompt: &[LlamaToken], theirs: Vec<LlamaSampler>) {
        let mut sampler = Sampler::new(sampling, 7, prompt);
        let mut theirs = LlamaSampler::chain(theirs, true);
        theirs.accept_many(prompt);
        for step in 0..60 {
            let logits = logits(step / 10);
            let all = (0..).zip(&logits).map(|(id, &logit)| LlamaTokenData::new(LlamaToken(id), logit, 0.0));
            let mut all = LlamaTokenDataArray::from_iter(all, false);
            theirs.apply(&mut all);
            let token = all.selected_token().expect("it ends with a draw");
            theirs.accept(token);
            assert_eq!(sampler.sample(&logits, None), Ok(token), "{sampling:?}, step {step}");
        }
    }

    #[test]
    fn penalties_bias_and_typical_equal_llama_cpps_own() {
        let likely =
            logits(0).iter().enumerate().max_by(|one, other| one.1.total_cmp(other.1)).expect("some").0;
        let prompt: Vec<LlamaToken> =
            (0..90).map(|n| LlamaToken(if n % 3 == 0 { likely as i32 } else { n * 53 })).collect();
        let bias = vec![(likely as u32, -2.5), (17, 11.0), (4999, 100.0), (4998, 97.0)];
        let base = Sampling { min_p: 0.01, top_p: 0.99, temperature: 1.3, ..Sampling::default() };
        let penalised = Sampling {
            repetition_penalty: 1.3,
            frequency_penalty: 0.4,
            presence_penalty: -0.7,
            penalty_last_n: 48,
            ..base.clone()
        };
        for sampling in [
            base.clone(),
            Sampling { typical_p: 0.6, ..base.clone() },
            Sampling { typical_p: 0.3, top_k: 0, ..base.clone() },
            penalised.clone(),
            Sampling { penalty_last_n: 1000, top_k: 0, ..penalised.clone() },
            Sampling { penalty_last_n: 0, ..penalised.clone() },
            Sampling { repetition_penalty: 0.4, top_k: 300, ..penalised.clone() },
            Sampling { logit_bias: bias.clone(), ..base.clone() },
            Sampling { logit_bias: bias.clone(), typical_p: 0.8, ..penalised.clone() },
            Sampling { logit_bias: bias, temperature: 0.0, ..penalised },
        ] {
            let theirs: Vec<_> = sampling
                .logit_bias
                .iter()
                .map(|&(id, bias)| LlamaLogitBias::new(LlamaToken(id as i32), bias))
                .collect();
            let mut chain = vec![
                LlamaSampler::logit_bias(5000, &theirs),
                LlamaSampler::penalties(
                    5000,
                    sampling.penalty_last_n as i32,
                    sampling.repetition_penalty,
                    sampling.frequency_penalty,
                    sampling.presence_penalty,
                ),
            ];
            if sampling.temperature == 0.0 {
                chain.push(LlamaSampler::greedy());
            } else {
                chain.extend([
                    LlamaSampler::top_k(sampling.top_k as i32),
                    LlamaSampler::typical(sampling.typical_p, 1),
                    LlamaSampler::top_p(sampling.top_p, 1),
                    LlamaSampler::min_p(sampling.min_p, 1),
                    LlamaSampler::temp(sampling.temperature),
                    LlamaSampler::dist(7),
                ]);
            }
            check_against_llama_cpp(&sampling, &prompt, chain);
        }
    }

    #[test]
    fn the_strongest_changes_leave_numbers() {
        let strong = Sampling {
            repetition_penalty: f32::MIN_POSITIVE,
            frequency_penalty: 2.0,
            logit_bias: vec![(3, 100.0), (999_999, 1.0)],
            temperature: 0.0,
            ..Sampling::default()
        };
        let mut sampler = Sampler::new(&strong, 1, &[LlamaToken(3), LlamaToken(4), LlamaToken(999_999)]);
        for _ in 0..10 {
            assert_eq!(sampler.sample(&[0.5, -1.0, 2.0, f32::MAX, f32::MAX], None), Ok(LlamaToken(3)));
        }
    }

    #[test]
    fn a_small_seed_is_taken_as_it_is() {
        assert_eq!(llama_seed(0), 0);
        assert_eq!(llama_seed(42), 42);
    }

    #[test]
    fn no_seed_becomes_the_random_one() {
        for seed in [u64::from(u32::MAX), 0xffff_ffff_0000_0000] {
            assert_ne!(llama_seed(seed), RANDOM_SEED);
        }
    }

    #[test]
    fn the_upper_half_counts() {
        assert_ne!(llama_seed(1), llama_seed((1 << 32) | 1));
    }

    #[test]
    fn a_seed_asked_for_is_kept_and_others_differ() {
        let seed = |asked| seed(asked).expect("the system has random numbers");
        assert_eq!(seed(Some(7)), 7);
        let drawn: std::collections::HashSet<u64> = (0..8).map(|_| seed(None)).collect();
        assert!(drawn.len() > 1);
    }
}
