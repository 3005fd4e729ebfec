use std::sync::Arc;
use std::time::{Duration, Instant};

use rbee_narration::JobNarrator;
use rbee_protocol::{ApiError, End, EndState, ErrorCode, JobEvent, JobId, JobState, PrincipalId, Progress};
use serde::Serialize;

use super::{Closed, JobLog, Visible};
use crate::store::Placement;

/// Progress of one phase is appended at most so often, its first and last word excepted.
pub(super) const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// A log that has so many events which are not stored yet takes no more from the next hop for now.
const UNSTORED_EVENTS_MAX: u64 = 1000;

/// Appends to one job's log. Clone it into whatever works for the job.
///
/// When the last writer goes without an end event, the job fails as abandoned.
#[derive(Clone)]
pub struct JobWriter(pub(super) Arc<Writer>);

pub(super) struct Writer {
    pub(super) log: Arc<JobLog>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.log.lock().end.is_none() {
            let error =
                ApiError::new(ErrorCode::Abandoned, "whatever worked on the job dropped it unfinished")
                    .hint("this is a bug in rbee; its log may say more");
            let _ = self.log.append(&JobEvent::End(Box::new(End::stopped(error))), None);
        }
    }
}

impl JobWriter {
    pub(crate) fn new(log: Arc<JobLog>) -> Self {
        Self(Arc::new(Writer { log }))
    }

    /// The job's id.
    pub fn id(&self) -> &JobId {
        &self.0.log.record.id
    }

    /// The id by which the job's owner knows it: the queen's, also on a hive and in a worker.
    pub fn origin(&self) -> &JobId {
        self.0.log.record.origin.as_ref().unwrap_or(self.id())
    }

    /// Whose computations the job may use again, as the hop above says; `None` shares with nobody. On a
    /// hive and in a worker all jobs belong to the hop above, so the principal does not tell.
    pub fn scope(&self) -> Option<&str> {
        self.0.log.scope.as_deref()
    }

    /// To whom the job belongs.
    pub fn principal(&self) -> &PrincipalId {
        &self.0.log.record.principal
    }

    /// Where the job stands, though its readers may not see yet that it has ended.
    pub fn state(&self) -> JobState {
        let inner = self.0.log.lock();
        inner.end.map_or_else(|| self.0.log.visible.borrow().state, |(state, _)| state)
    }

    /// How many events the job's stream has, also those that cannot be read yet.
    pub(crate) fn seq(&self) -> u64 {
        self.0.log.lock().seq
    }

    /// Whether the job runs on when nobody reads it.
    pub fn is_detached(&self) -> bool {
        self.0.log.record.detached
    }

    /// Which hive has the job.
    pub fn placement(&self) -> Option<Placement> {
        self.0.log.lock().storing.placement.clone()
    }

    /// Notes which hive has the job, for whoever takes it up after a crash of this daemon.
    pub(crate) fn place(&self, placement: Placement) {
        let mut inner = self.0.log.lock();
        inner.storing.placement = Some(placement);
        let Some(committer) = &self.0.log.committer else { return };
        self.0.log.enqueue(&mut inner, committer);
    }

    /// The last event of the job's child that is in its log; 0 for none.
    pub(crate) fn child_seq(&self) -> u64 {
        self.0.log.lock().storing.child_seq
    }

    /// Appends an event of the job's child, which has number `child_seq` there.
    pub(crate) fn append_from_child(&self, event: &JobEvent, child_seq: u64) -> Result<(), Closed> {
        self.0.log.append(event, Some(child_seq))
    }

    /// Waits until the store has caught up enough for more events.
    pub(crate) async fn room(&self) {
        // Looked up before the wait, which holds a lock that is taken after the log's own.
        let seq = self.seq();
        let caught_up =
            |visible: &Visible| visible.ended() || seq.saturating_sub(visible.seq) < UNSTORED_EVENTS_MAX;
        if !caught_up(&self.0.log.visible.borrow()) {
            // The log, held here, holds the sender.
            let _ = self.0.log.visible.subscribe().wait_for(caught_up).await;
        }
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
        self.0.log.append(event, None)
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
        let is_first = self.0.log.visible.send_if_modified(|visible| {
            let queued = visible.state == JobState::Queued;
            if queued {
                visible.state = JobState::Running;
            }
            queued
        });
        if is_first {
            self.0.log.observer.job_started(&self.0.log.record);
        }
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
        let reason = self.0.log.stopped.get().map(|(reason, _)| reason.clone());
        reason.unwrap_or_else(|| {
            ApiError::new(ErrorCode::Interrupted, "the daemon is stopping").hint("try again when it is back")
        })
    }

    /// Ends the job. An end that says no more than that it was stopped gets the reason added.
    pub(crate) fn finish(&self, outcome: Result<End, ApiError>) {
        let mut end = outcome.unwrap_or_else(End::stopped);
        if self.is_cancelled() && end.state == EndState::Cancelled {
            let reason = End::stopped(self.cancel_error());
            end.state = reason.state;
            end.error = reason.error;
            end.cancel_ms = self.0.log.stopped.get().map(|(_, at)| at.elapsed().as_secs_f64() * 1e3);
        }
        // A job that its quota has ended has its end already.
        let _ = self.append(&JobEvent::End(Box::new(end)));
    }
}
