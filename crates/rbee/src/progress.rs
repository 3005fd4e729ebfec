//! How far a job has come before its answer begins.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rbee_protocol::{Phase, Progress, Unit};

use crate::human;

/// Without a terminal, a phase is mentioned when it has lasted this long, and so often from then on.
const MENTION_EVERY: Duration = Duration::from_secs(5);

/// A pace is that of this time, and told when it is that of so long at least.
const PACE_OVER: Duration = Duration::from_secs(5);
const PACE_FROM: Duration = Duration::from_secs(2);

/// Where progress goes.
pub(crate) enum Display {
    /// Bars on the terminal; the function says where to draw them.
    Bar(Box<dyn Fn() -> ProgressDrawTarget + Send>),
    /// A line now and then.
    Lines,
    /// Nowhere.
    Off,
}

/// Shows the phases that a job is in.
pub(crate) struct Indicator {
    display: Display,
    /// In the order in which they began.
    phases: Vec<Current>,
    /// The bars' place on the terminal, while there are any.
    bars: Option<MultiProgress>,
    mentioned: Option<Instant>,
}

struct Current {
    progress: Progress,
    told: Instant,
    since: Instant,
    /// What was done when, going back as far as the pace does.
    past: VecDeque<(Instant, u64)>,
    bar: Option<ProgressBar>,
}

impl Indicator {
    /// An indicator with nothing to show yet.
    pub(crate) fn new(display: Display) -> Self {
        Self { display, phases: Vec::new(), bars: None, mentioned: None }
    }

    /// Whether [`Indicator::tick`] has something to do.
    pub(crate) fn is_active(&self) -> bool {
        !self.phases.is_empty() && !matches!(self.display, Display::Off)
    }

    /// Takes note of progress. Nothing is shown before the next tick, so that a phase that is over at
    /// once does not flicker.
    pub(crate) fn update(&mut self, progress: Progress, now: Instant) {
        let phase = progress.phase;
        if progress.total.is_some_and(|total| progress.done >= total) {
            self.end_those(|current| current.progress.phase == phase || !go_on_together(current, phase));
            return;
        }
        self.end_those(|current| current.progress.phase != phase && !go_on_together(current, phase));
        match self.phases.iter_mut().find(|current| current.progress.phase == phase) {
            Some(current) => current.update(progress, now),
            None => self.phases.push(Current {
                past: VecDeque::from([(now, progress.done)]),
                progress,
                told: now,
                since: now,
                bar: None,
            }),
        }
    }

    /// Draws the bars, or gives the line that is due.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<String> {
        match &self.display {
            Display::Bar(target) => {
                let bars = self.bars.get_or_insert_with(|| MultiProgress::with_draw_target(target()));
                self.phases.iter_mut().for_each(|current| current.draw(bars, now));
                None
            }
            Display::Lines => {
                // Of those that go on together, the one that moves.
                let current = self.phases.iter().max_by_key(|current| current.told)?;
                let before = self.mentioned.max(Some(current.since))?;
                (now.duration_since(before) >= MENTION_EVERY).then(|| {
                    self.mentioned = Some(now);
                    format!("{}: {}", label(current.progress.phase), current.measure(now))
                })
            }
            Display::Off => None,
        }
    }

    /// Takes the bars from the terminal until the next tick.
    pub(crate) fn clear(&mut self) {
        if let Some(bars) = self.bars.take() {
            // A terminal that cannot be cleared cannot be written to either.
            let _ = bars.clear();
            // What becomes of the bars from here on is not to be seen.
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        self.phases.iter_mut().for_each(|current| current.bar = None);
    }

    /// The phases are over.
    pub(crate) fn end(&mut self) {
        self.end_those(|_| true);
    }

    fn end_those(&mut self, are_over: impl Fn(&Current) -> bool) {
        if self.phases.iter().any(&are_over) {
            self.clear();
            self.phases.retain(|current| !are_over(current));
        }
    }
}

/// Whether a phase may go on beside another: a model of several files has some verified while others come.
fn go_on_together(current: &Current, other: Phase) -> bool {
    let fetches = |phase| matches!(phase, Phase::Download | Phase::Verify);
    fetches(current.progress.phase) && fetches(other)
}

impl Current {
    fn update(&mut self, progress: Progress, now: Instant) {
        if progress.done < self.progress.done {
            // It has begun anew, and so does its pace.
            self.past.clear();
        }
        self.past.push_back((now, progress.done));
        while self.past.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= PACE_OVER) {
            self.past.pop_front();
        }
        self.progress = progress;
        self.told = now;
    }

    fn draw(&mut self, bars: &MultiProgress, now: Instant) {
        let Progress { phase, done, total, unit, .. } = self.progress;
        // A queue has no pace that a bar could show.
        let total = total.filter(|_| unit != Unit::Jobs);
        let message = self.measure(now);
        let bar = self.bar.get_or_insert_with(|| {
            let template = match total {
                Some(_) => "{spinner} {prefix} [{bar:10}] {wide_msg}",
                None => "{spinner} {prefix}: {wide_msg}",
            };
            let style = ProgressStyle::with_template(template).expect("the templates are constants");
            let bar = ProgressBar::no_length()
                .with_style(style.progress_chars("=> "))
                .with_prefix(label(phase))
                .with_elapsed(self.since.elapsed());
            bars.add(bar)
        });
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_message(message);
        bar.set_position(done);
        bar.tick();
    }

    fn measure(&self, now: Instant) -> String {
        let mut measure = measure(&self.progress);
        let pace = self.pace(now);
        if let Some(pace) = pace {
            match self.progress.unit {
                Unit::Bytes => measure += &format!(", {}/s", human::bytes(pace as u64)),
                Unit::Tokens => measure += &format!(", {pace:.0}/s"),
                Unit::Jobs | Unit::Percent => {}
            }
        }
        let passed = u64::try_from(now.duration_since(self.told).as_millis()).unwrap_or(u64::MAX);
        let estimate_ms = self.progress.estimate_ms.or_else(|| self.estimate_ms(pace?));
        // What takes longer than it was estimated to has no estimate.
        match estimate_ms.map(|ms| ms.saturating_sub(passed)) {
            None | Some(0) => measure,
            // Finer than a second is nothing that an estimate could be.
            Some(ms) => format!("{measure}, about {}", human::duration(ms.next_multiple_of(1000))),
        }
    }

    /// How much was done lately in a second, once there is enough to tell.
    fn pace(&self, now: Instant) -> Option<f64> {
        // Some phases tell of themselves in large steps; one that has not for so long has come to a halt.
        let until = if now.duration_since(self.told) < PACE_OVER { self.told } else { now };
        let mut back = self.past.iter().rev();
        let (at, done) = back.find(|(at, _)| until.duration_since(*at) >= PACE_OVER).or(self.past.front())?;
        let elapsed = until.duration_since(*at);
        // Turns come one by one.
        (elapsed >= PACE_FROM && self.progress.unit != Unit::Jobs)
            .then(|| self.progress.done.saturating_sub(*done) as f64 / elapsed.as_secs_f64())
    }

    /// How long what is missing takes at this pace.
    fn estimate_ms(&self, pace: f64) -> Option<u64> {
        let missing = self.progress.total?.saturating_sub(self.progress.done);
        (pace > 0.0).then(|| (missing as f64 / pace * 1000.0) as u64)
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
        (Unit::Bytes, Some(total)) => human::bytes_of(done, total),
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
                (10_000, "Loading the model: 60 %, about 17 s".to_owned()),
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
        check(Unit::Bytes, 1 << 30, Some(4 << 30), "1.0 of 4.0 GiB");
        check(Unit::Bytes, 1 << 20, Some(4 << 30), "1.0 MiB of 4.0 GiB");
        check(Unit::Bytes, 1 << 20, None, "1.0 MiB");
        check(Unit::Percent, 7, Some(100), "7 %");
        check(Unit::Tokens, 512, Some(2048), "512 of 2048 tokens");
    }

    fn bytes(phase: Phase, done_mib: u64) -> Progress {
        Progress::new(phase, done_mib << 20, Some(400 << 20), Unit::Bytes)
    }

    /// What is said at `seconds` of a download that has got so far at the seconds before.
    fn said(past: &[(u64, u64)], seconds: u64) -> String {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut indicator = Indicator::new(Display::Lines);
        for (seconds, done_mib) in past {
            indicator.update(bytes(Phase::Download, *done_mib), at(*seconds));
        }
        indicator.tick(at(seconds)).expect("it is due")
    }

    #[test]
    fn the_pace_is_that_of_the_last_seconds_and_says_how_long_the_rest_takes() {
        let steady: Vec<_> = (0..=20).map(|second| (second, 100 + second * 10)).collect();
        assert_eq!(said(&steady, 20), "Downloading the model: 300.0 of 400.0 MiB, 10.0 MiB/s, about 10 s");
        // What was here before has no pace, and what does not move has no end.
        assert_eq!(said(&[(0, 399)], 5), "Downloading the model: 399.0 of 400.0 MiB, 0 B/s");
        assert_eq!(said(&[(0, 0), (1, 200)], 30), "Downloading the model: 200.0 of 400.0 MiB, 0 B/s");
        // A server without ranges begins anew.
        assert_eq!(
            said(&[(0, 200), (1, 300), (2, 0), (6, 40)], 6),
            "Downloading the model: 40.0 of 400.0 MiB, 10.0 MiB/s, about 36 s"
        );
    }

    #[test]
    fn a_phase_that_tells_of_itself_in_large_steps_has_a_steady_pace() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut indicator = Indicator::new(Display::Lines);
        for (seconds, done) in [(0, 0), (4, 400), (8, 800)] {
            indicator.update(Progress::new(Phase::Prefill, done, Some(1600), Unit::Tokens), at(seconds));
        }
        let line = "Reading the prompt: 800 of 1600 tokens, 100/s, about 6 s";
        assert_eq!(indicator.tick(at(10)).as_deref(), Some(line));
    }

    #[test]
    fn phases_that_go_on_together_share_the_5_s_between_lines() {
        let start = Instant::now();
        let mut indicator = Indicator::new(Display::Lines);
        let mut mentioned = Vec::new();
        for second in 0..30 {
            let now = start + Duration::from_secs(second);
            let phase = if second % 4 == 3 { Phase::Verify } else { Phase::Download };
            indicator.update(bytes(phase, second), now);
            mentioned.extend(indicator.tick(now).map(|_| second));
        }
        assert_eq!(mentioned, [5, 10, 15, 20, 25]);
        indicator.update(LOAD, start + Duration::from_secs(30));
        assert_eq!(indicator.phases.len(), 1, "loading ends what was before");
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
