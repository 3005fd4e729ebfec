//! How much is done in a step.

use std::time::{Duration, Instant};

/// How long steps take, to keep streams smooth beside prompts.
#[derive(Debug)]
pub(crate) struct Pace {
    prefill_chunk: usize,
    /// Recent steps' time for a token, of steps of some tokens.
    ms_per_token: Option<f64>,
    /// How long the last step took.
    last: Duration,
    /// When no stream waited for its next token.
    served: Instant,
    /// Whether those that there are wait in this step.
    pub(crate) streams_wait: bool,
    /// For so long streams wait for prompts, and for those that are soon read.
    pub(crate) gap: Duration,
    pub(crate) long_gap: Duration,
}

impl Pace {
    /// What a step beside streams should take.
    const STEP_MS: f64 = 200.0;
    /// A tick of writing every so often shows that a stream lives, while a long prompt is read.
    const GAP: Duration = Duration::from_millis(400);
    /// Several answers that begin together are written together, which takes less for each: streams wait
    /// for prompts that are all read within this.
    const LONG_GAP: Duration = Duration::from_millis(800);
    /// Smaller parts cost more for each token.
    const LEAST_TOKENS: usize = 16;

    pub(crate) fn new(prefill_chunk: usize) -> Self {
        Self {
            prefill_chunk,
            ms_per_token: None,
            last: Duration::ZERO,
            served: Instant::now(),
            streams_wait: false,
            gap: Self::GAP,
            long_gap: Self::LONG_GAP,
        }
    }

    pub(crate) fn measured(&mut self, took: Duration, tokens: usize) {
        if tokens >= Self::LEAST_TOKENS {
            let now = took.as_secs_f64() * 1e3 / tokens as f64;
            self.ms_per_token = Some(self.ms_per_token.map_or(now, |before| before * 0.8 + now * 0.2));
        }
        self.last = took;
        if !self.streams_wait {
            self.served = Instant::now();
        }
    }

    /// Whether streams get their next tokens early enough if the next step has none for them, but some of `unread`
    /// tokens of prompts.
    pub(crate) fn streams_can_wait(&self, unread: usize) -> bool {
        let waited = self.served.elapsed();
        let reading = self.ms_per_token.map(|ms| Duration::from_secs_f64(ms * unread as f64 / 1e3));
        // Until all is read, or the next step and, with their tokens, the one after it.
        reading.is_some_and(|reading| waited + reading + self.last < self.long_gap)
            || waited + 2 * self.last < self.gap
    }

    /// How many tokens of prompts a step takes at most beside so many streams.
    pub(crate) fn prefill_tokens(&self, streams: usize) -> usize {
        if streams == 0 {
            return self.prefill_chunk;
        }
        let affordable = self.ms_per_token.map_or(2 * Self::LEAST_TOKENS, |ms| (Self::STEP_MS / ms) as usize);
        affordable.saturating_sub(streams).max(Self::LEAST_TOKENS).min(self.prefill_chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_wait_for_prompts_no_longer_than_a_gap() {
        const LONG: usize = 4000;
        let mut pace = Pace::new(64);
        let ms = Duration::from_millis;
        pace.measured(ms(100), 64);
        assert!(pace.streams_can_wait(LONG));
        pace.streams_wait = true;
        pace.served -= ms(201);
        assert!(!pace.streams_can_wait(LONG), "two more steps would take longer");
        pace.measured(ms(10), 64);
        assert!(pace.streams_can_wait(LONG));
        pace.streams_wait = false;
        pace.measured(ms(210), 64);
        assert!(!pace.streams_can_wait(LONG), "steps are too long for that");
    }

    #[test]
    fn streams_wait_longer_for_what_is_soon_read() {
        let mut pace = Pace::new(64);
        let ms = Duration::from_millis;
        pace.measured(ms(100), 100);
        pace.streams_wait = true;
        pace.served -= ms(400);
        assert!(pace.streams_can_wait(250));
        assert!(!pace.streams_can_wait(350));
    }
}
