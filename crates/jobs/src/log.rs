use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rbee_narration::{JobNarrator, JobSink, Line, Log};
use rbee_protocol::{
    ApiError, End, ErrorCode, JobEvent, JobId, JobInfo, JobState, Phase, PrincipalId, Progress,
};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::service::now_ms;
use crate::store::{Frame, StoredLog};

/// Progress of one phase is appended at most so often, its first and last word excepted.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Kept free within every quota, so that the end event always finds room.
const END_RESERVE_BYTES: u64 = 8 << 10;

/// The job has ended; what was appended is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the job has ended")]
pub struct Closed;

/// What stays the same about a job.
pub(crate) struct JobMeta {
    pub(crate) id: JobId,
    pub(crate) operation: &'static str,
    pub(crate) principal: PrincipalId,
    pub(crate) detached: bool,
    pub(crate) origin: Option<JobId>,
    pub(crate) created_at_ms: u64,
    /// The request's own size, which counts as the job's: it is held while the job waits.
    pub(crate) request_bytes: u64,
}

/// Bytes of all jobs' logs together, and the most that there may be.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) used: AtomicU64,
    pub(crate) job_bytes: u64,
    pub(crate) total_bytes: u64,
    /// Events that came for a job that had ended.
    pub(crate) dropped: AtomicU64,
}

/// How far a log can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visible {
    pub(crate) seq: u64,
    pub(crate) state: JobState,
}

impl Visible {
    pub(crate) fn ended(&self) -> bool {
        !matches!(self.state, JobState::Queued | JobState::Running)
    }
}

/// One job: what is known about it, its log, and who watches it.
pub(crate) struct JobLog {
    pub(crate) meta: JobMeta,
    pub(crate) stored: Arc<dyn StoredLog>,
    pub(crate) visible: watch::Sender<Visible>,
    pub(crate) readers: watch::Sender<u64>,
    pub(crate) cancel: CancellationToken,
    cancel_error: OnceLock<ApiError>,
    inner: Mutex<Inner>,
    budget: Arc<Budget>,
    log: Log,
}

#[derive(Default)]
struct Inner {
    bytes: u64,
    progress: HashMap<Phase, Instant>,
    ended_at_ms: Option<u64>,
}

impl JobLog {
    pub(crate) fn new(
        meta: JobMeta,
        stored: Arc<dyn StoredLog>,
        cancel: CancellationToken,
        budget: Arc<Budget>,
        log: Log,
    ) -> Self {
        let bytes = meta.request_bytes;
        budget.used.fetch_add(bytes, Ordering::Relaxed);
        Self {
            meta,
            stored,
            visible: watch::Sender::new(Visible { seq: 0, state: JobState::Queued }),
            readers: watch::Sender::new(0),
            cancel,
            cancel_error: OnceLock::new(),
            inner: Mutex::new(Inner { bytes, ..Inner::default() }),
            budget,
            log,
        }
    }

    pub(crate) fn info(&self) -> JobInfo {
        let (Visible { seq, state }, ended_at_ms) = {
            let inner = self.lock();
            (*self.visible.borrow(), inner.ended_at_ms)
        };
        JobInfo {
            job_id: self.meta.id.clone(),
            operation: self.meta.operation.to_owned(),
            state,
            principal: self.meta.principal.clone(),
            detached: self.meta.detached,
            created_at_ms: self.meta.created_at_ms,
            ended_at_ms,
            events: seq,
            readers: *self.readers.borrow(),
        }
    }

    /// Tells whoever works on the job to stop. The first reason given is the one that counts.
    pub(crate) fn stop(&self, reason: ApiError) {
        self.cancel_error.get_or_init(|| reason);
        self.cancel.cancel();
    }

    fn append(&self, event: &JobEvent) -> Result<(), Closed> {
        let mut inner = self.lock();
        let Visible { seq, state } = *self.visible.borrow();
        if (Visible { seq, state }).ended() {
            self.budget.dropped.fetch_add(1, Ordering::Relaxed);
            return Err(Closed);
        }
        let frame = Frame::encode(seq + 1, event);
        let bytes = frame.len() as u64;
        let is_end = matches!(event, JobEvent::End(_));
        let used = self.budget.used.load(Ordering::Relaxed);
        if !is_end
            && (inner.bytes + bytes + END_RESERVE_BYTES > self.budget.job_bytes
                || used + bytes > self.budget.total_bytes)
        {
            let error = over_quota(inner.bytes + bytes, &self.budget);
            self.keep(&mut inner, &JobEvent::End(Box::new(End::stopped(error.clone()))), seq + 1);
            drop(inner);
            self.stop(error);
            return Err(Closed);
        }
        self.keep_frame(&mut inner, frame, event);
        Ok(())
    }

    fn keep(&self, inner: &mut Inner, event: &JobEvent, seq: u64) {
        self.keep_frame(inner, Frame::encode(seq, event), event);
    }

    /// Stores the frame and makes it visible, an end together with the state that it brings.
    fn keep_frame(&self, inner: &mut Inner, frame: Frame, event: &JobEvent) {
        let bytes = frame.len() as u64;
        inner.bytes += bytes;
        self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        let seq = frame.seq();
        self.stored.append(frame);
        let end = match event {
            JobEvent::End(end) => Some(JobState::from(end.state)),
            _ => None,
        };
        if end.is_some() {
            inner.ended_at_ms = Some(now_ms());
        }
        self.visible.send_modify(|visible| {
            visible.seq = seq;
            visible.state = end.unwrap_or(visible.state);
        });
    }

    /// What the job takes of the budget.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for JobLog {
    fn drop(&mut self) {
        let bytes = self.lock().bytes;
        self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl JobSink for JobLog {
    /// The id that people know: a child's lines stand under the job that it works for.
    fn job_id(&self) -> &str {
        self.meta.origin.as_ref().unwrap_or(&self.meta.id).as_str()
    }

    fn narrate(&self, line: Line) {
        // A line for a job that has ended is dropped, and counted where it is dropped.
        let _ = self.append(&JobEvent::Narration(line));
    }
}

fn over_quota(job_bytes: u64, budget: &Budget) -> ApiError {
    let (what, limit) = if job_bytes + END_RESERVE_BYTES > budget.job_bytes {
        ("the job's stream", budget.job_bytes)
    } else {
        ("all jobs' streams together", budget.total_bytes)
    };
    ApiError::new(ErrorCode::Quota, format!("{what} would have grown past {limit} bytes"))
        .hint("ask for fewer tokens, or for fewer jobs at once")
}

/// Appends to one job's log. Clone it into whatever works for the job.
///
/// When the last writer goes without an end event, the job fails as abandoned.
#[derive(Clone)]
pub struct JobWriter(Arc<Writer>);

struct Writer {
    log: Arc<JobLog>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.log.visible.borrow().ended() {
            let error =
                ApiError::new(ErrorCode::Abandoned, "whatever worked on the job dropped it unfinished")
                    .hint("this is a bug in rbee; its log may say more");
            let _ = self.log.append(&JobEvent::End(Box::new(End::stopped(error))));
        }
    }
}

impl JobWriter {
    pub(crate) fn new(log: Arc<JobLog>) -> Self {
        Self(Arc::new(Writer { log }))
    }

    /// The job's id.
    pub fn id(&self) -> &JobId {
        &self.0.log.meta.id
    }

    /// The id by which the job's owner knows it: the queen's, also on a hive and in a worker.
    pub fn origin(&self) -> &JobId {
        self.0.log.meta.origin.as_ref().unwrap_or(self.id())
    }

    /// To whom the job belongs.
    pub fn principal(&self) -> &PrincipalId {
        &self.0.log.meta.principal
    }

    /// Where the job stands.
    pub fn state(&self) -> JobState {
        self.0.log.visible.borrow().state
    }

    /// How many events the job's stream has.
    pub(crate) fn seq(&self) -> u64 {
        self.0.log.visible.borrow().seq
    }

    /// A narrator that speaks as `actor` in this job's stream.
    pub fn narrator(&self, actor: &'static str) -> JobNarrator {
        JobNarrator::new(actor, self.0.log.clone(), self.0.log.log.clone())
    }

    /// Appends an event.
    ///
    /// # Errors
    /// [`Closed`] when the job has ended, also by the quota that this event would have exceeded.
    pub fn append(&self, event: &JobEvent) -> Result<(), Closed> {
        self.0.log.append(event)
    }

    /// Appends the answer of a question-like operation.
    pub fn answer(&self, answer: &impl Serialize) {
        let result = serde_json::to_value(answer).expect("an answer is plain data");
        // Of a job that has ended nobody waits for an answer.
        let _ = self.append(&JobEvent::Result { result });
    }

    /// Appends progress, unless the last word on its phase is younger than a quarter of a second.
    pub fn progress(&self, progress: Progress) {
        let now = Instant::now();
        let whole = progress.total == Some(progress.done);
        {
            let mut inner = self.0.log.lock();
            let last = inner.progress.get(&progress.phase);
            if !whole && last.is_some_and(|last| now - *last < PROGRESS_INTERVAL) {
                return;
            }
            inner.progress.insert(progress.phase, now);
        }
        // Of a job that has ended nobody wants to know how far it is.
        let _ = self.append(&JobEvent::Progress(progress));
    }

    /// Marks the job as being worked on.
    pub fn start(&self) {
        let _inner = self.0.log.lock();
        self.0.log.visible.send_if_modified(|visible| {
            let queued = visible.state == JobState::Queued;
            if queued {
                visible.state = JobState::Running;
            }
            queued
        });
    }

    /// Waits until the job is to stop.
    pub async fn cancelled(&self) {
        self.0.log.cancel.cancelled().await;
    }

    /// Whether the job is to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.log.cancel.is_cancelled()
    }

    /// Why the job is to stop.
    pub fn cancel_error(&self) -> ApiError {
        let reason = self.0.log.cancel_error.get().cloned();
        reason.unwrap_or_else(|| ApiError::new(ErrorCode::Interrupted, "the daemon is stopping"))
    }

    /// Ends the job. An end that says no more than that it was stopped gets the reason added.
    pub(crate) fn finish(&self, outcome: Result<End, ApiError>) {
        let mut end = outcome.unwrap_or_else(End::stopped);
        if self.is_cancelled() && end.state == rbee_protocol::EndState::Cancelled {
            let reason = End::stopped(self.cancel_error());
            end.state = reason.state;
            end.error = reason.error;
        }
        // A job that its quota has ended has its end already.
        let _ = self.append(&JobEvent::End(Box::new(end)));
    }
}

/// A log without a registry around it.
#[cfg(test)]
pub(crate) fn test_log() -> Arc<JobLog> {
    use crate::store::{JobStore, MemoryStore};

    let meta = JobMeta {
        id: JobId::from_bits(1),
        operation: "infer",
        principal: PrincipalId::new("ada"),
        detached: false,
        origin: None,
        created_at_ms: 0,
        request_bytes: 0,
    };
    let budget = Budget {
        used: AtomicU64::new(0),
        job_bytes: u64::MAX,
        total_bytes: u64::MAX,
        dropped: AtomicU64::new(0),
    };
    let stored = MemoryStore::default().create(&meta.id);
    let log = Log::capture().0;
    Arc::new(JobLog::new(meta, stored, CancellationToken::new(), Arc::new(budget), log))
}

#[cfg(test)]
mod tests {
    use rbee_protocol::{EndState, Unit};

    use super::*;

    fn progress(phase: Phase, done: u64) -> Progress {
        Progress { phase, done, total: Some(1_000_000), unit: Unit::Bytes }
    }

    /// How the log's last event says that the job ended.
    fn end(job: &JobWriter) -> End {
        let frames = job.0.log.stored.read(job.seq() - 1, usize::MAX);
        let event = serde_json::from_slice(frames[0].json()).expect("a frame holds an event");
        let rbee_protocol::Event { event: JobEvent::End(end), .. } = event else { panic!("{event:?}") };
        *end
    }

    #[test]
    fn progress_is_thinned_out_by_phase_and_its_last_word_always_kept() {
        let job = JobWriter::new(test_log());
        let begun = Instant::now();
        for done in 0..50_000 {
            job.progress(progress(Phase::Load, done));
        }
        let due = 1 + begun.elapsed().as_millis() / PROGRESS_INTERVAL.as_millis();
        assert!(u128::from(job.seq()) <= due, "{} events where {due} were due", job.seq());

        let before = job.seq();
        job.progress(progress(Phase::Prefill, 1));
        assert_eq!(job.seq(), before + 1, "another phase is another matter");
        job.progress(progress(Phase::Prefill, 1_000_000));
        assert_eq!(job.seq(), before + 2, "the last word is kept");
    }

    #[test]
    fn a_job_runs_once_it_is_started_until_it_has_ended() {
        let job = JobWriter::new(test_log());
        assert_eq!(job.state(), JobState::Queued);
        job.start();
        assert_eq!(job.state(), JobState::Running);
        job.finish(Ok(End::succeeded()));
        job.start();
        assert_eq!(job.state(), JobState::Succeeded);
    }

    #[test]
    fn only_an_end_that_says_cancelled_gets_the_reason_for_the_cancellation() {
        let unread = || ApiError::new(ErrorCode::Cancelled, "nobody read it");
        let check = |outcome: Result<End, ApiError>, state, message: Option<&str>| {
            let job = JobWriter::new(test_log());
            job.0.log.stop(unread());
            job.finish(outcome);
            assert_eq!(end(&job).state, state);
            assert_eq!(end(&job).error.map(|error| error.message).as_deref(), message);
        };
        let stopped = ApiError::new(ErrorCode::Cancelled, "stopped");
        check(Err(stopped), EndState::Cancelled, Some("nobody read it"));
        check(Ok(End::succeeded()), EndState::Succeeded, None);
        check(Err(ApiError::new(ErrorCode::Io, "the disk")), EndState::Failed, Some("the disk"));
    }

    #[test]
    fn nothing_is_appended_after_an_end() {
        let job = JobWriter::new(test_log());
        job.finish(Ok(End::succeeded()));
        let seq = job.seq();
        job.narrator("late").action("speak").human("too late").emit();
        job.finish(Err(ApiError::new(ErrorCode::Io, "too late")));
        job.progress(progress(Phase::Load, 1));
        assert_eq!((job.seq(), end(&job).state), (seq, EndState::Succeeded));
        assert_eq!(job.0.log.budget.dropped.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn many_writers_at_once_number_their_events_without_a_gap() {
        let log = test_log();
        let job = JobWriter::new(log.clone());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let job = job.clone();
                scope.spawn(move || {
                    for _ in 0..500 {
                        job.narrator("many").action("speak").human("at once").emit();
                    }
                });
            }
        });
        drop(job);
        let seqs: Vec<u64> = log.stored.read(0, usize::MAX).iter().map(Frame::seq).collect();
        assert_eq!(seqs, (1..=8 * 500 + 1).collect::<Vec<_>>());
    }
}
