use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rbee_narration::{Level, SystemNarrator};
use rbee_protocol::JobId;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::log::JobLog;
use crate::metrics::Histogram;
use crate::store::{Change, Frame, JobStore, StoreError};
use crate::sync::{AtomicU64, Condvar, Mutex, Ordering, lock_core};

/// In company, a commit waits so long for what is just coming, and carries that as well.
const GATHER: Duration = Duration::from_millis(1);
/// A commit for so many jobs means company: what a worker has to tell of its jobs comes in bursts.
const COMPANY: usize = 3;
/// So many pages are read from the store at once; each takes a connection of the store's, and a thread.
const READS_MAX: usize = 4;
/// The store is tidied when there was nothing to write for so long.
const IDLE_DELAY: Duration = Duration::from_secs(1);
/// The pause before what could not be written is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Writes what is new in the logs to their store, many logs in one commit, and makes it visible then.
pub(crate) struct Committer {
    store: Arc<dyn JobStore>,
    system: SystemNarrator,
    has_closed: CancellationToken,
    reads: Semaphore,
    queue: Mutex<Queue>,
    wake: Condvar,
    /// How long each commit took.
    pub(crate) commits: Histogram,
    /// Commits that the store did not take.
    pub(crate) failures: AtomicU64,
}

#[derive(Default)]
struct Queue {
    logs: Vec<Arc<JobLog>>,
    removed: Vec<JobId>,
    closed: bool,
}

impl Committer {
    pub(crate) fn new(store: Arc<dyn JobStore>, system: SystemNarrator) -> Arc<Self> {
        Arc::new(Self {
            store,
            system,
            has_closed: CancellationToken::new(),
            reads: Semaphore::new(READS_MAX),
            queue: Mutex::default(),
            wake: Condvar::new(),
            commits: Histogram::default(),
            failures: AtomicU64::new(0),
        })
    }

    pub(crate) fn store(&self) -> &Arc<dyn JobStore> {
        &self.store
    }

    /// Reads a page of the job's log from the store.
    pub(crate) async fn read(
        &self,
        job: &JobId,
        after: u64,
        max_bytes: usize,
    ) -> Result<Vec<Frame>, StoreError> {
        let _turn = self.reads.acquire().await.expect("it is never closed");
        let (store, job) = (self.store.clone(), job.clone());
        let read = tokio::task::spawn_blocking(move || store.read(&job, after, max_bytes));
        read.await.expect("a store does not panic")
    }

    /// Comes for what `log` has to write.
    pub(crate) fn enqueue(&self, log: Arc<JobLog>) {
        lock_core(&self.queue).logs.push(log);
        self.wake.notify_one();
    }

    /// Removes the job from the store.
    pub(crate) fn remove(&self, job: JobId) {
        lock_core(&self.queue).removed.push(job);
        self.wake.notify_one();
    }

    /// Has [`Committer::run`] return once everything is written.
    pub(crate) fn close(&self) {
        lock_core(&self.queue).closed = true;
        self.wake.notify_one();
    }

    /// Waits until [`Committer::run`] has returned.
    pub(crate) async fn closed(&self) {
        self.has_closed.cancelled().await;
    }

    /// Writes what comes until the committer is closed. Blocks the thread.
    pub(crate) fn run(&self) {
        let mut retried = Queue::default();
        let (mut is_tidy, mut is_failing, mut in_company) = (false, false, false);
        loop {
            let patience = match (self.store.check_room(), is_tidy) {
                // The disk cannot tell when it has room again.
                (Err(_), _) => Some(RETRY_DELAY),
                (Ok(()), false) => Some(IDLE_DELAY),
                (Ok(()), true) => None,
            };
            let Some(mut batch) = self.next(&mut retried, patience, in_company) else {
                self.store.tidy();
                is_tidy = true;
                continue;
            };
            if batch.logs.is_empty() && batch.removed.is_empty() {
                self.store.tidy();
                self.has_closed.cancel();
                return;
            }
            is_tidy = false;
            in_company = batch.logs.len() >= COMPANY;
            let outcome = self.write(&mut batch);
            if is_failing != outcome.is_err() {
                is_failing = outcome.is_err();
                self.tell(outcome.as_ref().err());
            }
            if outcome.is_err() {
                if batch.closed {
                    self.has_closed.cancel();
                    return;
                }
                retried = batch;
                // The disk cannot tell when it has room again.
                std::thread::sleep(RETRY_DELAY);
            }
        }
    }

    fn tell(&self, failure: Option<&StoreError>) {
        let draft = self.system.action("journal");
        match failure {
            Some(error) => {
                draft.level(Level::Error).context(error).human("Jobs cannot be stored: {}").emit();
            }
            None => draft.human("Jobs are stored again").emit(),
        }
    }

    /// What there is to write, `retried` included, once there is something or the committer is closed;
    /// `None` when there has not been anything for as long as `patience`.
    fn next(&self, retried: &mut Queue, patience: Option<Duration>, in_company: bool) -> Option<Queue> {
        let mut batch = std::mem::take(retried);
        let mut queue = lock_core(&self.queue);
        while batch.logs.is_empty()
            && batch.removed.is_empty()
            && queue.logs.is_empty()
            && queue.removed.is_empty()
            && !queue.closed
        {
            let Some(patience) = patience else {
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (guard, waited) =
                self.wake.wait_timeout(queue, patience).unwrap_or_else(PoisonError::into_inner);
            queue = guard;
            if waited.timed_out() && queue.logs.is_empty() && queue.removed.is_empty() && !queue.closed {
                return None;
            }
        }
        if in_company && !queue.closed {
            drop(queue);
            // The window itself: what comes in it shares the commit.
            std::thread::sleep(GATHER);
            queue = lock_core(&self.queue);
        }
        batch.logs.append(&mut queue.logs);
        batch.removed.append(&mut queue.removed);
        batch.closed = queue.closed;
        Some(batch)
    }

    /// Writes the batch in one commit. What is left of it then has to be tried again.
    fn write(&self, batch: &mut Queue) -> Result<(), StoreError> {
        let mut changes = Vec::new();
        let unstored: Vec<_> = batch.logs.iter().map(|log| log.unstored(&mut changes)).collect();
        changes.extend(batch.removed.iter().map(|job| Change::Remove { job: job.clone() }));
        let began = Instant::now();
        let outcome = self.store.write(&changes);
        match &outcome {
            Ok(()) => {
                self.commits.observe(began.elapsed());
                for (log, unstored) in batch.logs.drain(..).zip(&unstored) {
                    log.stored(unstored);
                }
                batch.removed.clear();
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                batch.logs.retain(|log| log.break_off(error));
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests;
