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
    /// For so long streams wait for prompts.
    pub(crate) gap: Duration,
    /// For so long they wait for prompts that are soon read.
    pub(crate) long_gap: Duration,
}

impl Pace {
    /// What a step beside streams should take.
    const STEP_MS: f64 = 400.0;
    /// While a long prompt is read, something new so often shows that a stream lives.
    const GAP: Duration = Duration::from_millis(400);
    /// Several answers that begin together are written together, which takes less for each: streams wait
    /// for prompts that are all read within this.
    const LONG_GAP: Duration = Duration::from_millis(800);
    /// llama.cpp's attention takes so many rows of a batch together, and one more costs as much as all of them.
    const ROWS: usize = 64;
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
        let affordable = self.ms_per_token.map_or(Self::ROWS, |ms| (Self::STEP_MS / ms) as usize);
        let mut rows = affordable.min(self.prefill_chunk);
        if rows > Self::ROWS {
            rows -= rows % Self::ROWS;
        }
        rows.saturating_sub(streams).max(Self::LEAST_TOKENS).min(self.prefill_chunk)
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
    fn steps_beside_streams_fill_their_rows() {
        let mut pace = Pace::new(128);
        assert_eq!((pace.prefill_tokens(0), pace.prefill_tokens(1)), (128, 63));
        pace.measured(Duration::from_millis(100), 100);
        assert_eq!((pace.prefill_tokens(1), pace.prefill_tokens(8)), (127, 120));
        pace.measured(Duration::from_secs(100), 100);
        assert_eq!((pace.prefill_tokens(1), pace.prefill_tokens(60)), (16, 16));
        assert_eq!(Pace::new(8).prefill_tokens(1), 8);
    }

    #[test]
    fn streams_wait_longer_for_what_is_soon_read() {
        let mut pace = Pace::new(64);
        let ms = Duration::from_millis;
        pace.measured(ms(100), 100);
        pace.streams_wait = true;
        pace.served -= ms(400);
        assert!(pace.streams_can_wait(50));
        assert!(!pace.streams_can_wait(350));
    }
}
