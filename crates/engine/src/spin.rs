//! How long the threads that compute spin for one another before they sleep.
//!
//! They meet some hundred times for each token. While each has a processor of its own, those that wait do
//! best to spin: a sleep is a tenth of a token's time longer, in all. Beside other busy programs they spin on the
//! processor that the thread they wait for needs, and take several times as long as they do asleep. Which it is
//! shows in the processor time that they get while they spin.

use std::time::{Duration, Instant};

/// Some hundred microseconds, in OpenMP's rounds.
const LONG: u64 = 100_000;
const SHORT: u64 = 300;

/// So long they are looked at before it is decided.
const LOOK: Duration = Duration::from_millis(60);
/// With less of the time that there was, they do not have the processors for themselves.
const SHARE_MIN: f64 = 0.8;
/// So soon another look is worth its time, and so late at most, for looks that find no change.
const REST_MIN: Duration = Duration::from_millis(500);
const REST_MAX: Duration = Duration::from_secs(8);

/// Decides how long they spin, by what it sees of each step.
#[derive(Debug)]
pub(crate) struct Spin {
    threads: usize,
    /// What was seen since they began to spin long.
    wall: Duration,
    processor: Duration,
    /// They spin short until then.
    short_until: Option<Instant>,
    rest: Duration,
}

/// A step that has begun.
pub(crate) struct Seen {
    began: Instant,
    processor: Duration,
}

impl Spin {
    pub(crate) fn new(threads: usize) -> Self {
        let nothing = Duration::ZERO;
        Self { threads, wall: nothing, processor: nothing, short_until: None, rest: REST_MIN }
    }

    /// Call this right before they compute.
    pub(crate) fn begin(&mut self) -> Seen {
        let began = Instant::now();
        set(self.next(began));
        Seen { began, processor: processor_time() }
    }

    /// Call this right after.
    pub(crate) fn end(&mut self, seen: &Seen) {
        let now = Instant::now();
        self.saw(now - seen.began, processor_time().saturating_sub(seen.processor), now);
    }

    fn next(&mut self, now: Instant) -> u64 {
        if self.threads > 1 && self.short_until.is_some_and(|until| now < until) {
            return SHORT;
        }
        self.short_until = None;
        LONG
    }

    fn saw(&mut self, wall: Duration, processor: Duration, now: Instant) {
        if self.short_until.is_some() {
            return;
        }
        self.wall += wall;
        self.processor += processor;
        if self.wall < LOOK {
            return;
        }
        let share = self.processor.as_secs_f64() / (self.wall.as_secs_f64() * self.threads as f64);
        (self.wall, self.processor) = (Duration::ZERO, Duration::ZERO);
        if share < SHARE_MIN {
            self.short_until = Some(now + self.rest);
            self.rest = (self.rest * 2).min(REST_MAX);
        } else {
            self.rest = REST_MIN;
        }
    }
}

/// The time that this process has had of all processors.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[cfg(all(target_os = "linux", not(feature = "dynamic-backends")))]
fn set(rounds: u64) {
    use std::sync::atomic::{AtomicU64, Ordering};

    unsafe extern "C" {
        /// OpenMP's own, of the library that is linked into this program.
        static mut gomp_spin_count_var: u64;
    }
    // SAFETY: the library reads it as a whole each time that a thread begins to wait, and never writes it after its
    // start; it is as large and as aligned as an `AtomicU64`.
    let count = unsafe { AtomicU64::from_ptr(&raw mut gomp_spin_count_var) };
    count.store(rounds, Ordering::Relaxed);
}

/// Where the library is another, it does as it thinks best.
#[cfg(not(all(target_os = "linux", not(feature = "dynamic-backends"))))]
fn set(_rounds: u64) {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step of 10 ms in which two threads had this share of their processors.
    fn step(spin: &mut Spin, now: &mut Instant, share: f64) -> u64 {
        let rounds = spin.next(*now);
        let wall = Duration::from_millis(10);
        *now += wall;
        spin.saw(wall, wall.mul_f64(2.0 * share), *now);
        rounds
    }

    #[test]
    fn threads_that_are_alone_spin() {
        let (mut spin, mut now) = (Spin::new(2), Instant::now());
        assert!((0..1000).all(|n| step(&mut spin, &mut now, if n % 7 == 0 { 0.5 } else { 0.97 }) == LONG));
    }

    #[test]
    fn beside_others_they_hardly_spin_and_look_ever_more_rarely() {
        let (mut spin, mut now) = (Spin::new(2), Instant::now());
        let long = (0..6000).filter(|_| step(&mut spin, &mut now, 0.6) == LONG).count();
        assert!((30..150).contains(&long), "{long} of 6000");
        let again =
            (0..1000).position(|_| step(&mut spin, &mut now, 0.97) == LONG).expect("the others have gone");
        assert!((0..1000).all(|_| step(&mut spin, &mut now, 0.97) == LONG), "after {again}");
    }

    #[test]
    fn one_thread_waits_for_nobody() {
        let (mut spin, mut now) = (Spin::new(1), Instant::now());
        assert!((0..1000).all(|_| step(&mut spin, &mut now, 0.2) == LONG));
    }
}
