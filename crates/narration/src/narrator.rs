use std::fmt::Display;
use std::sync::Arc;

use crate::{
    line::{Level, Line},
    log::Log,
};

/// One job's stream, as far as narration knows it.
pub trait JobSink: Send + Sync {
    /// The id that stands beside the job's lines in the log.
    fn job_id(&self) -> &str;

    /// Appends a line to the job's stream. A stream that has ended drops and counts it.
    fn narrate(&self, line: Line);
}

/// Narrates one job: its lines go to the job's stream, to stderr and to the log.
#[derive(Clone)]
pub struct JobNarrator {
    actor: &'static str,
    job: Arc<dyn JobSink>,
    log: Log,
}

impl JobNarrator {
    /// A narrator that speaks as `actor` in the stream of `job`.
    pub fn new(actor: &'static str, job: Arc<dyn JobSink>, log: Log) -> Self {
        Self { actor, job, log }
    }

    /// Begins a line about `action`, e.g. `job_create`.
    pub fn action(&self, action: &'static str) -> Draft<'_> {
        Draft::new(self.actor, Some(&*self.job), &self.log, action)
    }
}

/// Narrates the daemon itself: its lines go to stderr and to the log, and to no job.
#[derive(Clone)]
pub struct SystemNarrator {
    actor: &'static str,
    log: Log,
}

impl SystemNarrator {
    /// A narrator that speaks as `actor`.
    pub fn new(actor: &'static str, log: Log) -> Self {
        Self { actor, log }
    }

    /// Begins a line about `action`, e.g. `ready`.
    pub fn action(&self, action: &'static str) -> Draft<'_> {
        Draft::new(self.actor, None, &self.log, action)
    }
}

/// A line that is being composed; [`Draft::emit`] sends it.
#[must_use = "a line is sent by `emit`"]
pub struct Draft<'n> {
    actor: &'static str,
    job: Option<&'n dyn JobSink>,
    log: &'n Log,
    action: &'static str,
    target: Option<String>,
    context: Vec<String>,
    human: String,
    level: Level,
}

impl<'n> Draft<'n> {
    fn new(actor: &'static str, job: Option<&'n dyn JobSink>, log: &'n Log, action: &'static str) -> Self {
        Self {
            actor,
            job,
            log,
            action,
            target: None,
            context: Vec::new(),
            human: String::new(),
            level: Level::Info,
        }
    }

    /// Names what the action was done to.
    pub fn target(mut self, target: impl Display) -> Self {
        self.target = Some(target.to_string());
        self
    }

    /// Adds a value for the next `{}` of the text.
    pub fn context(mut self, value: impl Display) -> Self {
        self.context.push(value.to_string());
        self
    }

    /// Sets the text; the context values fill its `{}` in order.
    pub fn human(mut self, text: &str) -> Self {
        self.human = text.to_owned();
        self
    }

    /// Sets the level, which is [`Level::Info`] otherwise.
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Sends the line where its narrator leads.
    pub fn emit(self) {
        let (job, log) = (self.job, self.log);
        let line = self.into_line();
        log.write(job.map(JobSink::job_id), &line);
        if let Some(job) = job {
            job.narrate(line);
        }
    }

    /// The line itself, for a program that shows it to whoever started it.
    pub fn into_line(self) -> Line {
        let human = fill(&self.human, &self.context);
        Line::new(self.actor, self.action, self.target.as_deref(), &human, self.level, self.log.redactor())
    }
}

/// Puts `values` into the `{}` of `text`, in order; a `{}` without a value stays.
fn fill(text: &str, values: &[String]) -> String {
    let mut pieces = text.split("{}");
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    let mut values = values.iter();
    for piece in pieces {
        filled.push_str(values.next().map_or("{}", String::as_str));
        filled.push_str(piece);
    }
    filled
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Stream(&'static str, Mutex<Vec<String>>);

    impl JobSink for Stream {
        fn job_id(&self) -> &str {
            self.0
        }
        fn narrate(&self, line: Line) {
            self.1.lock().expect("the test does not panic while holding it").push(line.formatted);
        }
    }

    #[test]
    fn context_values_fill_the_text_in_order() {
        let values = ["job-1".to_owned(), "{}".to_owned()];
        assert_eq!(fill("Job {} has {} and {}", &values), "Job job-1 has {} and {}");
        assert_eq!(fill("nothing", &values), "nothing");
    }

    #[test]
    fn a_jobs_line_goes_to_its_stream_and_to_the_log() {
        let (log, capture) = Log::capture();
        let a = Arc::new(Stream("job-a", Mutex::default()));
        let b = Arc::new(Stream("job-b", Mutex::default()));
        let narrator = JobNarrator::new("queen", a.clone(), log.clone());
        let _other = JobNarrator::new("queen", b.clone(), log);

        let job_id = "job-a";
        narrator.action("job_create").context(job_id).human("Job {} created").emit();

        let expected = "[queen     ] job_create     : Job job-a created";
        assert_eq!(*a.1.lock().expect("not poisoned"), [expected]);
        assert!(b.1.lock().expect("not poisoned").is_empty());
        assert_eq!(capture.job("job-a")[0].formatted, expected);
        assert!(capture.system().is_empty());
    }

    #[test]
    fn system_narration_goes_to_the_log_only() {
        let (log, capture) = Log::capture();
        SystemNarrator::new("queen", log).action("ready").target("queen").human("Queen ready").emit();
        let lines = capture.system();
        assert_eq!(lines[0].formatted, "[queen     ] ready          : Queen ready");
        assert_eq!(lines[0].target.as_deref(), Some("queen"));
    }
}
