mod writer;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use rbee_narration::{JobSink, Line, Log};
use rbee_protocol::{ApiError, End, ErrorCode, JobEvent, JobInfo, JobState, Phase, SubmitRequest};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::writer::JobWriter;
use crate::committer::Committer;
use crate::limits::Limits;
use crate::metrics::Observer;
use crate::service::now_ms;
use crate::store::{Change, Frame, JobRecord, Placement, StoreError, StoredJob};
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, lock_core};

/// Kept free within every quota, so that the end event always finds room.
const END_RESERVE_BYTES: u64 = 8 << 10;
/// A log with a store keeps so many of its newest events in memory as well, and so many bytes of them.
const WINDOW_EVENTS: usize = 1000;
const WINDOW_BYTES: usize = 256 << 10;

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

    /// Waits until the job can be seen: its first line is stored.
    ///
    /// # Errors
    /// Why it could not be stored.
    pub(crate) async fn created(&self) -> Result<(), ApiError> {
        // The log, held here, holds the sender.
        let _ = self.visible.subscribe().wait_for(|visible| visible.seq > 0 || visible.ended()).await;
        self.refused().map_or(Ok(()), |refused| Err(refused.into()))
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

#[cfg(test)]
pub(crate) mod tests;
