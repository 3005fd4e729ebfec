use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use rbee_narration::{JobNarrator, JobSink, Line, Log};
use rbee_protocol::{
    ApiError, End, EndState, ErrorCode, JobEvent, JobId, JobInfo, JobState, Phase, PrincipalId, Progress,
    SubmitRequest,
};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::committer::Committer;
use crate::limits::Limits;
use crate::metrics::Observer;
use crate::service::now_ms;
use crate::store::{Change, Frame, JobRecord, Placement, StoreError, StoredJob};
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, lock_core};

/// Progress of one phase is appended at most so often, its first and last word excepted.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Kept free within every quota, so that the end event always finds room.
const END_RESERVE_BYTES: u64 = 8 << 10;
/// A log with a store keeps so many of its newest events in memory as well, and so many bytes of them.
const WINDOW_EVENTS: usize = 1000;
const WINDOW_BYTES: usize = 256 << 10;
/// A log that has so many events which are not stored yet takes no more from the next hop for now.
const UNSTORED_EVENTS_MAX: u64 = 1000;

/// The job has ended; what was appended is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the job has ended")]
pub struct Closed;

/// Bytes of all jobs' logs together, and the most that there may be.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) used: AtomicU64,
    pub(crate) job_bytes: u64,
    pub(crate) total_bytes: u64,
    /// Bytes of those events in memory that are in a store as well, and how many there may be.
    pub(crate) window_used: AtomicU64,
    pub(crate) window_bytes: u64,
    /// Events that came for a job that had ended.
    pub(crate) dropped: AtomicU64,
    /// What other jobs can be made to give way by.
    pub(crate) relief: OnceLock<Weak<dyn Relief>>,
}

/// Makes room among all jobs' streams.
pub(crate) trait Relief: Send + Sync {
    /// Has other jobs give way to so many bytes more of this one, and returns whether they do.
    fn relieve(&self, log: &JobLog, bytes: u64) -> bool;
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            used: AtomicU64::new(0),
            job_bytes: limits.job_bytes,
            total_bytes: limits.total_bytes,
            window_used: AtomicU64::new(0),
            window_bytes: limits.window_bytes,
            dropped: AtomicU64::new(0),
            relief: OnceLock::new(),
        }
    }

    /// Whether all jobs' streams together may have so many bytes more.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.used.load(Ordering::Relaxed).saturating_add(bytes) <= self.total_bytes
    }
}

/// How far a log can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visible {
    pub(crate) seq: u64,
    pub(crate) state: JobState,
}

impl Visible {
    pub(crate) fn ended(&self) -> bool {
        self.state.has_ended()
    }
}

/// One job: what is known about it, its log, and who watches it.
pub(crate) struct JobLog {
    pub(crate) record: JobRecord,
    /// Whose computations the job may use, as the hop above says.
    scope: Option<String>,
    pub(crate) visible: watch::Sender<Visible>,
    pub(crate) readers: watch::Sender<u64>,
    pub(crate) cancel: CancellationToken,
    stopped: OnceLock<(ApiError, Instant)>,
    inner: Mutex<Inner>,
    /// What stores the log before it can be read, if anything does.
    committer: Option<Arc<Committer>>,
    budget: Arc<Budget>,
    observer: Arc<Observer>,
    log: Log,
    me: Weak<Self>,
}

#[derive(Default)]
struct Inner {
    /// The number of the last event.
    seq: u64,
    /// The newest events: without a store all of them, else those that are not stored yet and some
    /// before them.
    frames: VecDeque<Frame>,
    frames_bytes: usize,
    /// How and when the job ended, once its end is among the events.
    end: Option<(JobState, u64)>,
    /// What kind of failure its end tells of.
    error: Option<ErrorCode>,
    /// What counts towards the quota.
    bytes: u64,
    progress: HashMap<Phase, Instant>,
    storing: Storing,
}

/// What of a log its store does not have yet.
#[derive(Default)]
struct Storing {
    /// The number of the last event that is stored.
    seq: u64,
    /// The request, until the job itself is stored.
    create: Option<SubmitRequest>,
    /// Why the job cannot be stored at all.
    refused: Option<StoreError>,
    /// Whether the committer will come for what there is.
    queued: bool,
    child_seq: u64,
    placement: Option<Placement>,
    placement_is_stored: bool,
}

/// How far a log is stored once the store has written what it was given.
pub(crate) struct Unstored {
    seq: u64,
    bytes: usize,
    placed: bool,
}

/// Where a reader finds what it wants.
pub(crate) enum Page {
    Frames(Vec<Frame>),
    InStore(Arc<Committer>),
}

/// What all logs of a daemon share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) committer: Option<Arc<Committer>>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) observer: Arc<Observer>,
    pub(crate) log: Log,
}

impl JobLog {
    /// The log of a new job.
    pub(crate) fn new(
        record: JobRecord,
        request: &SubmitRequest,
        cancel: CancellationToken,
        shared: Shared,
    ) -> Arc<Self> {
        let create = shared.committer.is_some().then(|| request.clone());
        // A request is held while its job waits, so it counts.
        let bytes = serde_json::to_string(request).map_or(0, |text| text.len() as u64);
        let storing = Storing { create, ..Storing::default() };
        let inner = Inner { bytes, storing, ..Inner::default() };
        let visible = Visible { seq: 0, state: JobState::Queued };
        Self::build(record, request.scope.clone(), visible, inner, cancel, shared)
    }

    /// The log of a job that a store has.
    pub(crate) fn restored(stored: StoredJob, cancel: CancellationToken, shared: Shared) -> Arc<Self> {
        let StoredJob { record, placement, child_seq, state, ended_at_ms, seq, bytes, .. } = stored;
        let visible = Visible { seq, state };
        // What a clock that ran ahead wrote must not keep the job for longer.
        let end = visible.ended().then(|| (state, ended_at_ms.unwrap_or(record.created_at_ms).min(now_ms())));
        let placement_is_stored = placement.is_some();
        let storing = Storing { seq, child_seq, placement, placement_is_stored, ..Storing::default() };
        let inner = Inner { seq, end, bytes, storing, ..Inner::default() };
        Self::build(record, None, visible, inner, cancel, shared)
    }

    fn build(
        record: JobRecord,
        scope: Option<String>,
        visible: Visible,
        inner: Inner,
        cancel: CancellationToken,
        Shared { committer, budget, observer, log }: Shared,
    ) -> Arc<Self> {
        budget.used.fetch_add(inner.bytes, Ordering::Relaxed);
        Arc::new_cyclic(|me| Self {
            record,
            scope,
            visible: watch::Sender::new(visible),
            readers: watch::Sender::new(0),
            cancel,
            stopped: OnceLock::new(),
            inner: Mutex::new(inner),
            committer,
            budget,
            observer,
            log,
            me: me.clone(),
        })
    }

    pub(crate) fn info(&self) -> JobInfo {
        let (Visible { seq, state }, end) = {
            let inner = self.lock();
            (*self.visible.borrow(), inner.end)
        };
        let ended = (Visible { seq, state }).ended();
        JobInfo {
            job_id: self.record.id.clone(),
            operation: self.record.operation.clone(),
            state,
            principal: self.record.principal.clone(),
            detached: self.record.detached,
            created_at_ms: self.record.created_at_ms,
            ended_at_ms: end.filter(|_| ended).map(|(_, at_ms)| at_ms),
            events: seq,
            readers: *self.readers.borrow(),
        }
    }

    /// When the job ended, in milliseconds since the Unix epoch.
    pub(crate) fn ended_at_ms(&self) -> Option<u64> {
        self.lock().end.map(|(_, at_ms)| at_ms)
    }

    /// How the job ended, and with what kind of failure if it was one.
    pub(crate) fn outcome(&self) -> Option<(JobState, Option<ErrorCode>)> {
        let inner = self.lock();
        inner.end.map(|(state, _)| (state, inner.error))
    }

    /// Tells whoever works on the job to stop. The first reason given is the one that counts.
    pub(crate) fn stop(&self, reason: ApiError) {
        self.stopped.get_or_init(|| (reason, Instant::now()));
        self.cancel.cancel();
    }

    /// Appends an event, which has `child_seq` for its number in the stream of the job's child if it
    /// comes from there.
    fn append(&self, event: &JobEvent, child_seq: Option<u64>) -> Result<(), Closed> {
        let mut others_give_way = None;
        loop {
            let mut inner = self.lock();
            if inner.end.is_some() {
                self.budget.dropped.fetch_add(1, Ordering::Relaxed);
                return Err(Closed);
            }
            let frame = Frame::encode(inner.seq + 1, event);
            let bytes = frame.len() as u64;
            let is_end = matches!(event, JobEvent::End(_));
            let has_room = inner.bytes + bytes + END_RESERVE_BYTES <= self.budget.job_bytes;
            if is_end || has_room && (others_give_way == Some(true) || self.budget.has_room(bytes)) {
                inner.storing.child_seq = child_seq.unwrap_or(inner.storing.child_seq);
                self.push(&mut inner, frame, event);
                return Ok(());
            }
            if !has_room || others_give_way.is_some() {
                self.end_over_quota(inner, bytes);
                return Err(Closed);
            }
            // It takes the locks of others.
            drop(inner);
            let relief = self.budget.relief.get().and_then(Weak::upgrade);
            others_give_way = Some(relief.is_some_and(|relief| relief.relieve(self, bytes)));
        }
    }

    /// Ends the job, if it has not ended, because all jobs' streams together take too much.
    pub(crate) fn give_way(&self) {
        let inner = self.lock();
        if inner.end.is_none() {
            self.end_over_quota(inner, 0);
        }
    }

    /// Ends the job, which so many bytes more would have been too many for.
    fn end_over_quota(&self, mut inner: MutexGuard<'_, Inner>, bytes: u64) {
        let error = over_quota(inner.bytes + bytes, &self.budget);
        self.end(&mut inner, error.clone());
        drop(inner);
        self.stop(error);
    }

    fn end(&self, inner: &mut Inner, error: ApiError) {
        let event = JobEvent::End(Box::new(End::stopped(error)));
        let frame = Frame::encode(inner.seq + 1, &event);
        self.push(inner, frame, &event);
    }

    /// Takes the frame in, and makes it visible unless it has to be stored first.
    fn push(&self, inner: &mut Inner, frame: Frame, event: &JobEvent) {
        inner.bytes += frame.len() as u64;
        self.budget.used.fetch_add(frame.len() as u64, Ordering::Relaxed);
        inner.seq = frame.seq();
        inner.frames_bytes += frame.len();
        inner.frames.push_back(frame);
        if let JobEvent::End(end) = event {
            inner.end = Some((end.state.into(), now_ms()));
            inner.error = end.error.as_ref().map(|error| error.code);
        }
        self.observer.appended(event);
        match &self.committer {
            None => self.publish(inner, inner.seq),
            Some(committer) => self.enqueue(inner, committer),
        }
    }

    fn enqueue(&self, inner: &mut Inner, committer: &Committer) {
        if !std::mem::replace(&mut inner.storing.queued, true) {
            committer.enqueue(self.me.upgrade().expect("whoever appends holds the log"));
        }
    }

    fn publish(&self, inner: &Inner, seq: u64) {
        let end = inner.end.filter(|_| seq == inner.seq);
        self.visible.send_modify(|visible| {
            visible.seq = seq;
            visible.state = end.map_or(visible.state, |(state, _)| state);
        });
    }

    /// Adds what the store does not have yet to `changes`. What is appended from now on needs the
    /// committer again.
    pub(crate) fn unstored(&self, changes: &mut Vec<Change>) -> Unstored {
        let mut inner = self.lock();
        let Inner { seq, frames, end, storing, .. } = &mut *inner;
        storing.queued = false;
        let job = &self.record.id;
        if let Some(request) = &storing.create {
            changes.push(Change::Create { record: self.record.clone(), request: Box::new(request.clone()) });
        }
        // Nobody takes up a job that has ended, and where there is no room its end must need no more.
        let is_wanted = !storing.placement_is_stored && end.is_none();
        let placement = storing.placement.as_ref().filter(|_| is_wanted);
        if let Some(placement) = placement {
            changes.push(Change::Place { job: job.clone(), placement: placement.clone() });
        }
        let new = usize::try_from(*seq - storing.seq).expect("events in memory can be counted");
        let new: Vec<Frame> = frames.range(frames.len() - new..).cloned().collect();
        let unstored =
            Unstored { seq: *seq, bytes: new.iter().map(Frame::len).sum(), placed: placement.is_some() };
        if !new.is_empty() {
            let child_seq = (storing.child_seq > 0).then_some(storing.child_seq);
            changes.push(Change::Append { job: job.clone(), frames: new, child_seq, end: *end });
        }
        unstored
    }

    /// What the store was given is written, and can be read from now on.
    pub(crate) fn stored(&self, unstored: &Unstored) {
        let mut inner = self.lock();
        inner.storing.create = None;
        inner.storing.placement_is_stored |= unstored.placed;
        inner.storing.seq = unstored.seq;
        self.budget.window_used.fetch_add(unstored.bytes as u64, Ordering::Relaxed);
        self.publish(&inner, unstored.seq);
        self.trim(&mut inner);
    }

    /// What the store was to write cannot be written, so it has not happened: a job that is not even
    /// created is refused, any other fails after its last event that is stored.
    ///
    /// Returns whether somebody has to come for what there still is to write.
    pub(crate) fn break_off(&self, error: &StoreError) -> bool {
        let mut inner = self.lock();
        if inner.storing.refused.is_some() {
            return false;
        }
        let lost = usize::try_from(inner.seq - inner.storing.seq).expect("events in memory can be counted");
        let kept = inner.frames.len() - lost;
        let lost_bytes: usize = inner.frames.drain(kept..).map(|frame| frame.len()).sum();
        inner.frames_bytes -= lost_bytes;
        inner.bytes -= lost_bytes as u64;
        self.budget.used.fetch_sub(lost_bytes as u64, Ordering::Relaxed);
        inner.seq = inner.storing.seq;
        let is_new = inner.storing.create.take().is_some();
        let is_queued = inner.storing.queued;
        if is_new {
            inner.end = Some((JobState::Failed, now_ms()));
            inner.error = Some(ApiError::from(error.clone()).code);
            inner.storing.refused = Some(error.clone());
            self.publish(&inner, 0);
        } else {
            // Before the end goes in, so that the committer, which is here, is not asked to come.
            inner.storing.queued = true;
            self.end(&mut inner, error.clone().into());
        }
        drop(inner);
        self.stop(error.clone().into());
        !is_new && !is_queued
    }

    /// Why the job could not be stored, so that it does not exist.
    pub(crate) fn refused(&self) -> Option<StoreError> {
        self.lock().storing.refused.clone()
    }

    /// Lets go of events that are stored, as far as they are not likely to be read soon.
    fn trim(&self, inner: &mut Inner) {
        if self.committer.is_none() {
            return;
        }
        let budget = &self.budget;
        let ended = inner.end.is_some() && *self.readers.borrow() == 0;
        while let Some(first) = inner.frames.front()
            && first.seq() <= inner.storing.seq
            && (ended
                || inner.frames.len() > WINDOW_EVENTS
                || inner.frames_bytes > WINDOW_BYTES
                || budget.window_used.load(Ordering::Relaxed) > budget.window_bytes)
        {
            let bytes = first.len();
            inner.frames.pop_front();
            inner.frames_bytes -= bytes;
            budget.window_used.fetch_sub(bytes as u64, Ordering::Relaxed);
        }
        if ended {
            inner.frames.shrink_to_fit();
        }
    }

    /// The frames after number `after`, up to number `upto`, until they amount to `max_bytes`, at least
    /// one of them.
    pub(crate) fn page(&self, after: u64, upto: u64, max_bytes: usize) -> Page {
        let inner = self.lock();
        let before_first = inner.seq - inner.frames.len() as u64;
        if let Some(committer) = self.committer.as_ref().filter(|_| after < before_first) {
            return Page::InStore(committer.clone());
        }
        let skipped = usize::try_from(after - before_first).expect("events in memory can be counted");
        let mut bytes = 0;
        let page = inner.frames.iter().skip(skipped).take_while(|frame| {
            let first = bytes == 0;
            bytes += frame.len();
            frame.seq() <= upto && (first || bytes <= max_bytes)
        });
        Page::Frames(page.cloned().collect())
    }

    pub(crate) fn reader_came(&self) {
        self.readers.send_modify(|readers| *readers += 1);
    }

    pub(crate) fn reader_went(&self) {
        self.readers.send_modify(|readers| *readers -= 1);
        self.trim(&mut self.lock());
    }

    /// What the job takes of the budget.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Has the job count no longer towards what all jobs may have. For one that is removed from its store, of which
    /// those that still read it hold no more than the window.
    pub(crate) fn give_back(&self) {
        let bytes = std::mem::take(&mut self.lock().bytes);
        self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock_core(&self.inner)
    }
}

impl Drop for JobLog {
    fn drop(&mut self) {
        self.give_back();
        let inner = lock_core(&self.inner);
        let windowed = inner.frames.iter().filter(|frame| frame.seq() <= inner.storing.seq);
        let windowed: usize = windowed.map(Frame::len).sum();
        self.budget.window_used.fetch_sub(windowed as u64, Ordering::Relaxed);
    }
}

impl JobSink for JobLog {
    /// The id that people know: a child's lines stand under the job that it works for.
    fn job_id(&self) -> &str {
        self.record.origin.as_ref().unwrap_or(&self.record.id).as_str()
    }

    fn narrate(&self, line: Line) {
        // A line for a job that has ended is dropped, and counted where it is dropped.
        let _ = self.append(&JobEvent::Narration(line), None);
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

/// A log without a registry around it.
#[cfg(test)]
pub(crate) fn test_log(committer: Option<Arc<Committer>>) -> Arc<JobLog> {
    test_log_with(committer, Log::capture().0)
}

/// The same, for a test that makes so many that the making of their narration's log counts.
#[cfg(test)]
pub(crate) fn test_log_with(committer: Option<Arc<Committer>>, log: Log) -> Arc<JobLog> {
    test_log_of(1, committer, log)
}

/// The same, of the job of this number.
#[cfg(test)]
pub(crate) fn test_log_of(number: u128, committer: Option<Arc<Committer>>, log: Log) -> Arc<JobLog> {
    let record = JobRecord {
        id: JobId::from_bits(number),
        operation: "infer".to_owned(),
        principal: PrincipalId::new("ada"),
        detached: false,
        origin: None,
        created_at_ms: 0,
    };
    let budget = Arc::new(Budget::new(&crate::Limits {
        job_bytes: u64::MAX,
        total_bytes: u64::MAX,
        ..crate::Limits::default()
    }));
    let request = SubmitRequest::new(rbee_protocol::Operation::Status {});
    let shared = Shared { committer, budget, observer: Arc::default(), log };
    JobLog::new(record, &request, CancellationToken::new(), shared)
}

#[cfg(test)]
mod tests {
    use rbee_protocol::{EndState, Unit};

    use super::*;

    fn progress(phase: Phase, done: u64) -> Progress {
        Progress::new(phase, done, Some(1_000_000), Unit::Bytes)
    }

    /// How the log's last event says that the job ended.
    fn end(job: &JobWriter) -> End {
        let Page::Frames(frames) = job.0.log.page(job.seq() - 1, job.seq(), usize::MAX) else {
            panic!("a log without a store is in memory")
        };
        let event = serde_json::from_slice(frames[0].json()).expect("a frame holds an event");
        let rbee_protocol::Event { event: JobEvent::End(end), .. } = event else { panic!("{event:?}") };
        *end
    }

    #[test]
    fn progress_is_thinned_out_by_phase_and_its_last_word_always_kept() {
        let job = JobWriter::new(test_log(None));
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
        let job = JobWriter::new(test_log(None));
        assert_eq!(job.state(), JobState::Queued);
        job.start();
        assert_eq!(job.state(), JobState::Running);
        job.finish(Ok(End::succeeded()));
        job.start();
        assert_eq!(job.state(), JobState::Succeeded);
    }

    #[test]
    fn only_an_end_that_says_cancelled_gets_the_reason_for_the_cancellation() {
        let unread = || ApiError::new(ErrorCode::Cancelled, "nobody read it").hint("read it");
        let check = |outcome: Result<End, ApiError>, state, message: Option<&str>| {
            let job = JobWriter::new(test_log(None));
            job.0.log.stop(unread());
            job.finish(outcome);
            assert_eq!(end(&job).state, state);
            assert_eq!(end(&job).error.map(|error| error.message).as_deref(), message);
        };
        let stopped = ApiError::new(ErrorCode::Cancelled, "stopped").hint("again");
        check(Err(stopped), EndState::Cancelled, Some("nobody read it"));
        check(Ok(End::succeeded()), EndState::Succeeded, None);
        check(
            Err(ApiError::new(ErrorCode::Io, "the disk").hint("another")),
            EndState::Failed,
            Some("the disk"),
        );
    }

    #[test]
    fn nothing_is_appended_after_an_end() {
        let job = JobWriter::new(test_log(None));
        job.finish(Ok(End::succeeded()));
        let seq = job.seq();
        job.narrator("late").action("speak").human("too late").emit();
        job.finish(Err(ApiError::new(ErrorCode::Io, "too late").hint("earlier")));
        job.progress(progress(Phase::Load, 1));
        assert_eq!((job.seq(), end(&job).state), (seq, EndState::Succeeded));
        assert_eq!(job.0.log.budget.dropped.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn many_writers_at_once_number_their_events_without_a_gap() {
        let log = test_log(None);
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
        let Page::Frames(frames) = log.page(0, u64::MAX, usize::MAX) else {
            panic!("a log without a store is in memory")
        };
        let seqs: Vec<u64> = frames.iter().map(Frame::seq).collect();
        assert_eq!(seqs, (1..=8 * 500 + 1).collect::<Vec<_>>());
    }
}
