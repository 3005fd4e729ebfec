use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rbee_narration::{Level, Log};
use rbee_protocol::{ApiError, ErrorCode, JobId, JobInfo, JobList, PrincipalId, SubmitRequest, Submitted};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::log::{Budget, JobLog, JobMeta, JobWriter, Visible};
use crate::reader::JobReader;
use crate::service::{Service, now_ms};
use crate::store::{JobStore, MemoryStore};

/// How much a daemon's jobs may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Jobs kept at once, ended ones included.
    pub jobs: usize,
    /// Bytes of one job's stream.
    pub job_bytes: u64,
    /// Bytes of all jobs' streams together. A job is taken only while `job_bytes` of them are free, and
    /// ended jobs are removed until they are.
    pub total_bytes: u64,
    /// How long a job is kept after its end.
    pub retention: Duration,
    /// After so long without a reader, a job that was not submitted detached is cancelled.
    pub unread: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            jobs: 10_000,
            job_bytes: 64 << 20,
            total_bytes: 1 << 30,
            retention: Duration::from_secs(3600),
            unread: Duration::from_secs(30),
        }
    }
}

/// The jobs of one daemon, found by id. A cheap handle.
#[derive(Clone)]
pub struct Jobs(Arc<Registry>);

struct Registry {
    actor: &'static str,
    limits: Limits,
    store: Box<dyn JobStore>,
    log: Log,
    budget: Arc<Budget>,
    table: Mutex<Table>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

#[derive(Default)]
struct Table {
    jobs: HashMap<JobId, Arc<JobLog>>,
    /// Ended jobs, first ended first; those that have been removed since are skipped.
    ended: VecDeque<JobId>,
}

impl Jobs {
    /// The jobs of the daemon that narrates as `actor`, kept in memory. They end when `shutdown` is
    /// cancelled.
    pub fn new(actor: &'static str, limits: Limits, log: Log, shutdown: CancellationToken) -> Self {
        let budget = Budget {
            used: AtomicU64::new(0),
            job_bytes: limits.job_bytes,
            total_bytes: limits.total_bytes,
            dropped: AtomicU64::new(0),
        };
        Self(Arc::new(Registry {
            actor,
            limits,
            store: Box::new(MemoryStore::default()),
            log,
            budget: Arc::new(budget),
            table: Mutex::default(),
            tasks: TaskTracker::new(),
            shutdown,
        }))
    }

    /// Creates a job for `principal` and has `service` run it. The job's log exists, and its first
    /// line is in it, before this returns.
    ///
    /// # Errors
    /// What `service` has against it, or `busy` when there is no room for another job.
    pub fn submit<S: Service>(
        &self,
        service: &Arc<S>,
        principal: &PrincipalId,
        request: SubmitRequest,
    ) -> Result<Submitted, ApiError> {
        service.check(&request)?;
        let job = self.create(principal, &request)?;
        let submitted = Submitted {
            job_id: job.id().clone(),
            sse_url: format!("/v1/jobs/{}/stream", job.id()),
            state: job.state(),
        };
        let run = service.clone().run(request.operation, job.clone());
        self.0.tasks.spawn(async move {
            // A task of its own, so that a panic ends this job and nothing else.
            let outcome = tokio::spawn(run).await.unwrap_or_else(|panic| {
                Err(ApiError::new(ErrorCode::Internal, format!("the daemon failed at this job: {panic}"))
                    .hint("this is a bug in rbee; its log may say more"))
            });
            job.finish(outcome);
        });
        Ok(submitted)
    }

    /// Creates a job without anything that runs it; who holds the writer does.
    ///
    /// # Errors
    /// `busy` when there is no room for another job.
    pub fn create(&self, principal: &PrincipalId, request: &SubmitRequest) -> Result<JobWriter, ApiError> {
        if self.0.shutdown.is_cancelled() {
            return Err(ApiError::new(ErrorCode::Unavailable, "the daemon is stopping").hint("try again"));
        }
        let mut bits = [0; 16];
        getrandom::fill(&mut bits)
            .map_err(|error| ApiError::new(ErrorCode::Internal, format!("no randomness: {error}")))?;
        let meta = JobMeta {
            id: JobId::from_bits(u128::from_be_bytes(bits)),
            operation: request.operation.name(),
            principal: principal.clone(),
            detached: request.detached,
            origin: request.origin.clone(),
            created_at_ms: now_ms(),
            request_bytes: serde_json::to_string(request).map_or(0, |text| text.len() as u64),
        };
        let stored = self.0.store.create(&meta.id);
        let cancel = self.0.shutdown.child_token();
        let log = Arc::new(JobLog::new(meta, stored, cancel, self.0.budget.clone(), self.0.log.clone()));
        self.0.admit(&log)?;

        let job = JobWriter::new(log.clone());
        let narrator = job.narrator(self.0.actor);
        let draft = narrator.action("job_create").target(job.id()).context(job.id());
        match &log.meta.origin {
            // The owner's own job has said so already.
            Some(_) => draft.human("Child job {} created").level(Level::Debug).emit(),
            None => draft.human("Job {} created").emit(),
        }
        self.0.tasks.spawn(look_after(Arc::downgrade(&self.0), log));
        Ok(job)
    }

    /// A reader of `principal`'s job from the event after number `after`.
    ///
    /// # Errors
    /// `not_found`, for somebody else's job too; `cursor_ahead` when there is no event `after`.
    pub fn reader(&self, principal: &PrincipalId, id: &JobId, after: u64) -> Result<JobReader, ApiError> {
        let log = self.0.find(principal, id)?;
        let seq = log.visible.borrow().seq;
        if after > seq {
            let message =
                format!("the stream has {seq} events so far, so it cannot go on after event {after}");
            return Err(ApiError::new(ErrorCode::CursorAhead, message)
                .hint("resume with the id of the last event you received"));
        }
        Ok(JobReader::new(log, after))
    }

    /// What is known about `principal`'s job besides its stream.
    ///
    /// # Errors
    /// `not_found`, for somebody else's job too.
    pub fn info(&self, principal: &PrincipalId, id: &JobId) -> Result<JobInfo, ApiError> {
        Ok(self.0.find(principal, id)?.info())
    }

    /// The jobs of `principal`, newest first.
    pub fn list(&self, principal: &PrincipalId) -> JobList {
        let mut jobs: Vec<JobInfo> = {
            let table = self.0.table();
            let own = table.jobs.values().filter(|log| log.meta.principal == *principal);
            own.map(|log| log.info()).collect()
        };
        jobs.sort_by(|a, b| b.created_at_ms.cmp(&a.created_at_ms).then_with(|| a.job_id.cmp(&b.job_id)));
        JobList { jobs }
    }

    /// Tells `principal`'s job to stop; its end event says when it has.
    ///
    /// # Errors
    /// `not_found`, for somebody else's job too.
    pub fn cancel(&self, principal: &PrincipalId, id: &JobId) -> Result<JobInfo, ApiError> {
        let log = self.0.find(principal, id)?;
        log.stop(ApiError::new(ErrorCode::Cancelled, "the job was cancelled"));
        Ok(log.info())
    }

    /// How many jobs there are, ended ones included.
    pub fn count(&self) -> usize {
        self.0.table().jobs.len()
    }

    /// How many events came for a job that had ended, and were dropped.
    pub fn dropped_events(&self) -> u64 {
        self.0.budget.dropped.load(Ordering::Relaxed)
    }

    /// Waits, once the daemon is stopping, until every job has its end event.
    pub async fn ended(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl Registry {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters the job, in place of the jobs that ended longest ago where there is no room otherwise.
    fn admit(&self, log: &Arc<JobLog>) -> Result<(), ApiError> {
        let mut table = self.table();
        loop {
            let used = self.budget.used.load(Ordering::Relaxed);
            if table.jobs.len() < self.limits.jobs
                && used.saturating_add(self.limits.job_bytes) <= self.limits.total_bytes
            {
                break;
            }
            // Nothing is given up for a job that finds no room even so.
            let ended = table.ended.iter().filter_map(|id| table.jobs.get(id));
            let freed: u64 = ended.clone().map(|log| log.bytes()).sum();
            let kept = used.saturating_sub(freed).saturating_add(self.limits.job_bytes);
            if ended.count() == 0 || kept > self.limits.total_bytes {
                let message = format!("{} jobs are running, and there is room for no more", table.jobs.len());
                return Err(ApiError::new(ErrorCode::Busy, message).hint("try again when one has ended"));
            }
            if let Some(oldest) = table.ended.pop_front() {
                table.jobs.remove(&oldest);
            }
        }
        table.jobs.insert(log.meta.id.clone(), log.clone());
        Ok(())
    }

    fn find(&self, principal: &PrincipalId, id: &JobId) -> Result<Arc<JobLog>, ApiError> {
        let found = self.table().jobs.get(id).filter(|log| log.meta.principal == *principal).cloned();
        found.ok_or_else(|| {
            ApiError::new(ErrorCode::NotFound, format!("there is no job {id}"))
                .hint("`rbee job list` shows yours")
        })
    }

    fn remove(&self, id: &JobId) {
        let mut table = self.table();
        table.jobs.remove(id);
        while table.ended.front().is_some_and(|first| !table.jobs.contains_key(first)) {
            table.ended.pop_front();
        }
    }
}

/// Cancels the job when nobody reads it, and removes it when its time is up.
async fn look_after(registry: std::sync::Weak<Registry>, log: Arc<JobLog>) {
    let Some((limits, shutdown)) = registry.upgrade().map(|r| (r.limits, r.shutdown.clone())) else { return };
    if !log.meta.detached {
        tokio::select! {
            () = ended(&log) => {}
            () = unread(&log, limits.unread) => {
                let seconds = limits.unread.as_secs();
                let message = format!("nobody read the job for {seconds} s, so it was cancelled");
                let hint = "follow its stream, or submit it detached";
                log.stop(ApiError::new(ErrorCode::Cancelled, message).hint(hint));
            }
        }
    }
    ended(&log).await;
    if let Some(registry) = registry.upgrade() {
        registry.table().ended.push_back(log.meta.id.clone());
    }
    let id = log.meta.id.clone();
    let mut visible = log.visible.subscribe();
    drop(log);
    tokio::select! {
        // The retention itself.
        () = tokio::time::sleep(limits.retention) => {}
        () = shutdown.cancelled() => {}
        // Nothing follows an end: what there is to notice is that the log has gone, to make room.
        _ = visible.changed() => {}
    }
    if let Some(registry) = registry.upgrade() {
        registry.remove(&id);
    }
}

/// Returns when the job has its end event.
async fn ended(log: &JobLog) {
    // The log, held here, holds the sender.
    let _ = log.visible.subscribe().wait_for(Visible::ended).await;
}

/// Returns when the job has had no reader for as long as `limit`.
async fn unread(log: &JobLog, limit: Duration) {
    let mut readers = log.readers.subscribe();
    loop {
        let _ = readers.wait_for(|readers| *readers == 0).await;
        let read = readers.wait_for(|readers| *readers > 0);
        if tokio::time::timeout(limit, read).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
