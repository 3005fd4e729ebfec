use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rbee_protocol::{ErrorCode, JobEvent, JobRef, JobState, SystemEventKind};

use crate::events::SystemLog;
use crate::store::JobRecord;
use crate::sync::lock;

/// Upper ends of the buckets in which times are counted, in microseconds.
const BUCKETS_US: [u64; 12] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000];

/// Takes note of what jobs and their readers do: counts it, and tells the operators' log where there is one.
#[derive(Default)]
pub(crate) struct Observer {
    pub(crate) events: OnceLock<SystemLog>,
    appended: AtomicU64,
    tokens: AtomicU64,
    created: AtomicU64,
    ended: Mutex<HashMap<JobState, u64>>,
    refused: Mutex<HashMap<ErrorCode, u64>>,
    pub(crate) connections: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
}

impl Observer {
    pub(crate) fn tell(&self, kind: impl FnOnce() -> SystemEventKind) {
        if let Some(events) = self.events.get() {
            events.append(kind());
        }
    }

    pub(crate) fn appended(&self, event: &JobEvent) {
        self.appended.fetch_add(1, Ordering::Relaxed);
        if matches!(event, JobEvent::Token(_)) {
            self.tokens.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn job_created(&self, record: &JobRecord) {
        self.created.fetch_add(1, Ordering::Relaxed);
        self.tell(|| SystemEventKind::JobCreated(job_ref(record)));
    }

    pub(crate) fn job_started(&self, record: &JobRecord) {
        self.tell(|| SystemEventKind::JobStarted(job_ref(record)));
    }

    pub(crate) fn job_ended(&self, record: &JobRecord, state: JobState, error: Option<ErrorCode>) {
        count(&self.ended, state);
        self.tell(|| SystemEventKind::JobEnded { job: job_ref(record), state, error });
    }

    /// A request was answered with this error.
    pub(crate) fn refused(&self, code: ErrorCode) {
        count(&self.refused, code);
    }

    pub(crate) fn expose(&self, exposition: &mut Exposition) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        exposition.counter("rbee_events_appended_total", "Events of jobs.", read(&self.appended));
        exposition.counter("rbee_tokens_total", "Events of jobs that are tokens.", read(&self.tokens));
        exposition.counter("rbee_jobs_created_total", "Jobs that were created.", read(&self.created));
        let ended = [JobState::Succeeded, JobState::Failed, JobState::Cancelled];
        let ended = ended.map(|state| (state.name(), counted(&self.ended, state)));
        exposition.counters("rbee_jobs_ended_total", "Jobs that have ended.", "state", ended);
        let mut refused: Vec<(&str, u64)> = {
            let refused = lock(&self.refused);
            refused.iter().map(|(code, count)| (code.name(), *count)).collect()
        };
        refused.sort_unstable();
        exposition.counters(
            "rbee_requests_refused_total",
            "Requests that were answered with an error.",
            "code",
            refused,
        );
        let help = "Connections that are open.";
        exposition.gauge("rbee_connections", help, read(&self.connections));
        let help = "Connections that were refused because too many were open.";
        exposition.counter("rbee_connections_refused_total", help, read(&self.connections_refused));
    }
}

fn count<K: Eq + std::hash::Hash>(counts: &Mutex<HashMap<K, u64>>, key: K) {
    *lock(counts).entry(key).or_default() += 1;
}

fn counted<K: Eq + std::hash::Hash>(counts: &Mutex<HashMap<K, u64>>, key: K) -> u64 {
    lock(counts).get(&key).copied().unwrap_or_default()
}

fn job_ref(record: &JobRecord) -> JobRef {
    JobRef {
        job_id: record.id.clone(),
        operation: record.operation.clone(),
        principal: record.principal.clone(),
    }
}

/// How often things took how long.
#[derive(Default)]
pub(crate) struct Histogram {
    /// One for each of [`BUCKETS_US`], and one for what took longer.
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    pub(crate) fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[BUCKETS_US.partition_point(|end| *end < us)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }
}

/// Figures as Prometheus reads them: its text format, version 0.0.4.
///
/// Names and labels are part of the program, so that nothing a request brings can be among them.
#[derive(Default)]
pub struct Exposition(String);

impl Exposition {
    /// The content type of the text.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// A figure that only grows. Its name ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.head(name, help, "counter");
        self.sample(name, "", value);
    }

    /// The same by the values of a label.
    pub fn counters(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'static str, u64)>,
    ) {
        self.head(name, help, "counter");
        self.samples(name, label, values);
    }

    /// A figure that comes and goes.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.head(name, help, "gauge");
        self.sample(name, "", value);
    }

    /// The same by the values of a label.
    pub fn gauges(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'static str, u64)>,
    ) {
        self.head(name, help, "gauge");
        self.samples(name, label, values);
    }

    /// How often things took how long, in seconds.
    pub(crate) fn histogram(&mut self, name: &'static str, help: &'static str, histogram: &Histogram) {
        self.head(name, help, "histogram");
        let mut count = 0;
        let ends = BUCKETS_US.iter().map(|us| seconds(*us).to_string()).chain(["+Inf".to_owned()]);
        for (end, bucket) in ends.zip(&histogram.buckets) {
            count += bucket.load(Ordering::Relaxed);
            self.line(&format!("{name}_bucket{{le=\"{end}\"}} {count}"));
        }
        let sum = seconds(histogram.sum_us.load(Ordering::Relaxed));
        self.line(&format!("{name}_sum {sum}"));
        self.line(&format!("{name}_count {count}"));
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.0
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.line(&format!("# HELP {name} {help}"));
        self.line(&format!("# TYPE {name} {kind}"));
    }

    fn samples(&mut self, name: &str, label: &str, values: impl IntoIterator<Item = (&'static str, u64)>) {
        for (value, count) in values {
            self.sample(name, &format!("{{{label}=\"{value}\"}}"), count);
        }
    }

    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        self.line(&format!("{name}{labels} {value}"));
    }

    fn line(&mut self, line: &str) {
        writeln!(self.0, "{line}").expect("a text takes a line");
    }
}

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_prometheus_reads_them() {
        let mut exposition = Exposition::default();
        exposition.counter("a_total", "All of them.", 7);
        exposition.gauges("b", "By state.", "state", [("ready", 1), ("down", 0)]);
        assert_eq!(
            exposition.into_text(),
            "# HELP a_total All of them.\n# TYPE a_total counter\na_total 7\n\
             # HELP b By state.\n# TYPE b gauge\nb{state=\"ready\"} 1\nb{state=\"down\"} 0\n"
        );
    }

    #[test]
    fn a_histograms_buckets_hold_what_took_no_longer_than_they_say() {
        let histogram = Histogram::default();
        for us in [1, 500, 501, 3_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let mut exposition = Exposition::default();
        exposition.histogram("c_seconds", "How long.", &histogram);
        let text = exposition.into_text();
        for line in [
            "# TYPE c_seconds histogram",
            "c_seconds_bucket{le=\"0.0005\"} 2",
            "c_seconds_bucket{le=\"0.001\"} 3",
            "c_seconds_bucket{le=\"2.5\"} 3",
            "c_seconds_bucket{le=\"+Inf\"} 4",
            "c_seconds_sum 3.001002",
            "c_seconds_count 4",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in {text}");
        }
    }
}
