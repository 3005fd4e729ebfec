//! From sampling parameters to llama.cpp's chain of samplers.

use llama_cpp_2::sampling::LlamaSampler;

use crate::error::EngineError;
use crate::request::Sampling;

/// Up to here the likeliest token is certain in effect, and dividing by less would overflow.
const GREEDY_TEMPERATURE: f32 = 0.001;

/// llama.cpp takes this seed as the wish for a random one.
const RANDOM_SEED: u32 = u32::MAX;

/// The chain for one request, in the order of llama.cpp's tools.
pub(crate) fn chain(sampling: &Sampling, seed: u64) -> LlamaSampler {
    /// However small the probabilities allowed, one token is left to choose.
    const MIN_KEEP: usize = 1;

    if sampling.temperature <= GREEDY_TEMPERATURE {
        return LlamaSampler::chain([LlamaSampler::greedy()], true);
    }
    let mut chain = Vec::new();
    if sampling.top_k > 0 {
        let top_k = i32::try_from(sampling.top_k).unwrap_or(i32::MAX);
        chain.push(LlamaSampler::top_k(top_k));
    }
    chain.push(LlamaSampler::top_p(sampling.top_p, MIN_KEEP));
    chain.push(LlamaSampler::min_p(sampling.min_p, MIN_KEEP));
    chain.push(LlamaSampler::temp(sampling.temperature));
    chain.push(LlamaSampler::dist(llama_seed(seed)));
    LlamaSampler::chain(chain, true)
}

/// The seed asked for, or a random one, small enough to pass unchanged through any JSON parser.
pub(crate) fn seed(asked: Option<u64>) -> Result<u64, EngineError> {
    match asked {
        Some(seed) => Ok(seed),
        None => match getrandom::u32() {
            Ok(seed) => Ok(seed.into()),
            Err(error) => Err(EngineError::Internal {
                reason: format!("the system gave no random number for the seed: {error}"),
            }),
        },
    }
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
    use super::*;

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
