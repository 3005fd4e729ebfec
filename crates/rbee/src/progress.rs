//! How far a job has come before its answer begins.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rbee_protocol::{Phase, Progress, Unit};

use crate::human;

/// Without a terminal, a phase is mentioned when it has lasted this long, and so often from then on.
const MENTION_EVERY: Duration = Duration::from_secs(5);

/// Where progress goes.
pub(crate) enum Display {
    /// A bar on the terminal; the function says where to draw it.
    Bar(Box<dyn Fn() -> ProgressDrawTarget + Send>),
    /// A line now and then.
    Lines,
    /// Nowhere.
    Off,
}

/// Shows the phase that a job is in.
pub(crate) struct Indicator {
    display: Display,
    phase: Option<Current>,
}

struct Current {
    progress: Progress,
    told: Instant,
    since: Instant,
    mentioned: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl Indicator {
    /// An indicator with nothing to show yet.
    pub(crate) fn new(display: Display) -> Self {
        Self { display, phase: None }
    }

    /// Whether [`Indicator::tick`] has something to do.
    pub(crate) fn is_active(&self) -> bool {
        self.phase.is_some() && !matches!(self.display, Display::Off)
    }

    /// Takes note of progress. Nothing is shown before the next tick, so that a phase that is over at
    /// once does not flicker.
    pub(crate) fn update(&mut self, progress: Progress, now: Instant) {
        if progress.total.is_some_and(|total| progress.done >= total) {
            self.end();
            return;
        }
        match &mut self.phase {
            Some(current) if current.progress.phase == progress.phase => {
                current.progress = progress;
                current.told = now;
            }
            _ => {
                self.end();
                self.phase = Some(Current { progress, told: now, since: now, mentioned: None, bar: None });
            }
        }
    }

    /// Draws the bar, or gives the line that is due.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<String> {
        let current = self.phase.as_mut()?;
        match &self.display {
            Display::Bar(target) => {
                current.draw(target, now);
                None
            }
            Display::Lines => {
                let due = now.duration_since(current.mentioned.unwrap_or(current.since)) >= MENTION_EVERY;
                due.then(|| {
                    current.mentioned = Some(now);
                    format!("{}: {}", label(current.progress.phase), current.measure(now))
                })
            }
            Display::Off => None,
        }
    }

    /// Takes the bar from the terminal until the next tick.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.phase.as_mut().and_then(|current| current.bar.take()) {
            bar.finish_and_clear();
        }
    }

    /// The phase is over.
    pub(crate) fn end(&mut self) {
        self.clear();
        self.phase = None;
    }
}

impl Current {
    fn draw(&mut self, target: &dyn Fn() -> ProgressDrawTarget, now: Instant) {
        let Progress { phase, done, total, unit, .. } = self.progress;
        // A queue has no pace that a bar could show.
        let total = total.filter(|_| unit != Unit::Jobs);
        let message = self.measure(now);
        let bar = self.bar.get_or_insert_with(|| {
            let template = match total {
                Some(_) => "{spinner} {prefix} [{bar:24}] {wide_msg}",
                None => "{spinner} {prefix}: {wide_msg}",
            };
            let style = ProgressStyle::with_template(template).expect("the templates are constants");
            ProgressBar::with_draw_target(total, target())
                .with_style(style.progress_chars("=> "))
                .with_prefix(label(phase))
                .with_elapsed(self.since.elapsed())
        });
        bar.set_message(message);
        bar.set_position(done);
        bar.tick();
    }

    fn measure(&self, now: Instant) -> String {
        let measure = measure(&self.progress);
        let passed = u64::try_from(now.duration_since(self.told).as_millis()).unwrap_or(u64::MAX);
        // What takes longer than it was estimated to has no estimate.
        match self.progress.estimate_ms.map(|ms| ms.saturating_sub(passed)) {
            None | Some(0) => measure,
            // Finer than a second is nothing that an estimate could be.
            Some(ms) => format!("{measure}, about {}", human::duration(ms.next_multiple_of(1000))),
        }
    }
}

fn label(phase: Phase) -> &'static str {
    match phase {
        Phase::Queued => "Waiting for a turn",
        Phase::Download => "Downloading the model",
        Phase::Verify => "Verifying the model",
        Phase::Load => "Loading the model",
        Phase::Prefill => "Reading the prompt",
    }
}

fn measure(progress: &Progress) -> String {
    let Progress { done, total, unit, .. } = *progress;
    match (unit, total) {
        (Unit::Jobs, Some(total)) => format!("{} ahead", human::count(total.saturating_sub(done), "job")),
        (Unit::Jobs, None) => format!("{} ahead", human::count(done, "job")),
        (Unit::Bytes, Some(total)) => format!("{} of {}", human::bytes(done), human::bytes(total)),
        (Unit::Bytes, None) => human::bytes(done),
        (Unit::Percent, _) => format!("{done} %"),
        (Unit::Tokens, Some(total)) => format!("{done} of {}", human::count(total, "token")),
        (Unit::Tokens, None) => human::count(done, "token"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Progress =
        Progress { phase: Phase::Load, done: 40, total: Some(100), unit: Unit::Percent, estimate_ms: None };

    #[test]
    fn without_a_terminal_a_phase_is_mentioned_after_5_s_and_then_every_5_s() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut indicator = Indicator::new(Display::Lines);
        assert!(!indicator.is_active());
        indicator.update(LOAD, start);
        assert!(indicator.is_active());

        let mut mentioned = Vec::new();
        for ms in (0..=16_000).step_by(100) {
            if ms == 9_000 {
                indicator.update(Progress { done: 60, ..LOAD }, at(ms));
            }
            mentioned.extend(indicator.tick(at(ms)).map(|line| (ms, line)));
        }
        assert_eq!(
            mentioned,
            [
                (5_000, "Loading the model: 40 %".to_owned()),
                (10_000, "Loading the model: 60 %".to_owned()),
                (15_000, "Loading the model: 60 %".to_owned()),
            ]
        );
    }

    #[test]
    fn a_new_phase_is_timed_anew_and_a_complete_one_is_over() {
        let start = Instant::now();
        let mut indicator = Indicator::new(Display::Lines);
        indicator.update(LOAD, start);
        let later = start + Duration::from_secs(4);
        indicator.update(Progress { phase: Phase::Prefill, ..LOAD }, later);
        assert_eq!(indicator.tick(start + Duration::from_secs(6)), None);
        indicator.update(Progress { phase: Phase::Prefill, done: 100, ..LOAD }, later);
        assert!(!indicator.is_active());
        assert_eq!(indicator.tick(start + Duration::from_secs(60)), None);
    }

    #[test]
    fn progress_is_told_in_its_own_unit() {
        let check = |unit, done, total, expected: &str| {
            assert_eq!(measure(&Progress::new(Phase::Load, done, total, unit)), expected);
        };
        check(Unit::Jobs, 1, Some(3), "2 jobs ahead");
        check(Unit::Jobs, 2, Some(3), "1 job ahead");
        check(Unit::Bytes, 1 << 30, Some(4 << 30), "1.0 GiB of 4.0 GiB");
        check(Unit::Bytes, 1 << 20, None, "1.0 MiB");
        check(Unit::Percent, 7, Some(100), "7 %");
        check(Unit::Tokens, 512, Some(2048), "512 of 2048 tokens");
    }

    #[test]
    fn an_estimate_runs_down_and_out() {
        let start = Instant::now();
        let mut indicator = Indicator::new(Display::Lines);
        let queued = Progress::new(Phase::Queued, 1, Some(3), Unit::Jobs);
        indicator.update(Progress { estimate_ms: Some(14_300), ..queued }, start);
        let mut mentioned = Vec::new();
        for seconds in [5, 10, 15] {
            mentioned.extend(indicator.tick(start + Duration::from_secs(seconds)));
        }
        let ahead = "Waiting for a turn: 2 jobs ahead";
        assert_eq!(
            mentioned,
            [format!("{ahead}, about 10 s"), format!("{ahead}, about 5 s"), ahead.to_owned()]
        );
    }
}
