use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use rbee_narration::{Level, Log, SystemNarrator};
use rbee_protocol::{
    ApiError, End, ErrorCode, JobId, JobInfo, JobList, JobState, PrincipalId, SubmitRequest, Submitted,
    SystemEventKind,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Act, JobAct, Principal, authorize};
use crate::committer::Committer;
use crate::events::SystemLog;
use crate::kept::{Kept, Scarce};
use crate::limits::Limits;
use crate::log::{Budget, JobLog, JobWriter, Relief, Shared, Visible};
use crate::metrics::{Exposition, Observer};
use crate::reader::{JobReader, cursor_ahead};
use crate::service::{Service, now_ms};
use crate::store::{JobRecord, JobStore, StoreError};
use crate::streams::{OpenStream, Streams};
use crate::sync::{Ordering, lock};

/// A store that cannot take the ends of jobs in this time is given up when the daemon stops.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// The jobs of one daemon, found by id. A cheap handle.
#[derive(Clone)]
pub struct Jobs(Arc<Registry>);

struct Registry {
    actor: &'static str,
    limits: Limits,
    shared: Shared,
    table: Mutex<Table>,
    streams: Arc<Streams>,
    /// Told when a job has ended.
    ended: Arc<Notify>,
    /// What works on jobs.
    runs: TaskTracker,
    /// What looks after them until their ends can be seen.
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

#[derive(Default)]
struct Table {
    jobs: HashMap<JobId, Arc<JobLog>>,
    /// Those of them that have ended, as has been noticed.
    ended: Kept,
    /// How many jobs of each principal have not ended, or have so just now.
    active: HashMap<PrincipalId, usize>,
}

/// A job that a predecessor of this process left unfinished.
pub struct Unfinished {
    job: JobWriter,
    request: Option<SubmitRequest>,
}

impl Jobs {
    /// The jobs of the daemon that narrates as `actor`, kept in memory. They end when `shutdown` is
    /// cancelled.
    pub fn new(actor: &'static str, limits: Limits, log: Log, shutdown: CancellationToken) -> Self {
        Self::build(actor, limits, log, shutdown, None)
    }

    /// Like [`Jobs::new`], but kept in `store`, with those that are there already. The ones that a
    /// predecessor left unfinished are for [`Jobs::resume`].
    ///
    /// # Errors
    /// What keeps the store from being read.
    pub fn open(
        actor: &'static str,
        limits: Limits,
        log: Log,
        shutdown: CancellationToken,
        store: Arc<dyn JobStore>,
    ) -> Result<(Self, Vec<Unfinished>), StoreError> {
        let stored = store.load()?;
        let committer = Committer::new(store, SystemNarrator::new(actor, log.clone()));
        let jobs = Self::build(actor, limits, log, shutdown, Some(committer.clone()));
        // A thread of its own: writing to a disk blocks.
        std::thread::spawn(move || committer.run());

        let mut unfinished = Vec::new();
        let mut ended = Vec::new();
        for mut stored in stored {
            let request = stored.request.take();
            let log = JobLog::restored(stored, jobs.0.shutdown.child_token(), jobs.0.shared.clone());
            jobs.0.table().jobs.insert(log.record.id.clone(), log.clone());
            if log.ended_at_ms().is_none() {
                *jobs.0.table().active.entry(log.record.principal.clone()).or_default() += 1;
            }
            match log.ended_at_ms() {
                Some(at_ms) => ended.push((at_ms, log)),
                None => {
                    unfinished.push(Unfinished { job: JobWriter::new(log.clone()), request });
                    jobs.0.tasks.spawn(look_after(Arc::downgrade(&jobs.0), log));
                }
            }
        }
        // Stable: those of one millisecond stay in the order in which they were created.
        ended.sort_by_key(|(at_ms, _)| *at_ms);
        ended.iter().for_each(|(at_ms, log)| jobs.0.table().keep(log, *at_ms));
        jobs.0.ended.notify_one();
        Ok((jobs, unfinished))
    }

    fn build(
        actor: &'static str,
        limits: Limits,
        log: Log,
        shutdown: CancellationToken,
        committer: Option<Arc<Committer>>,
    ) -> Self {
        let budget = Arc::new(Budget::new(&limits));
        let shared = Shared { committer, budget, observer: Arc::default(), log };
        let jobs = Self(Arc::new(Registry {
            actor,
            limits,
            shared,
            table: Mutex::default(),
            streams: Arc::new(Streams::new(limits.streams_per_principal)),
            ended: Arc::default(),
            runs: TaskTracker::new(),
            tasks: TaskTracker::new(),
            shutdown,
        }));
        let relief: Weak<Registry> = Arc::downgrade(&jobs.0);
        let is_first = jobs.0.shared.budget.relief.set(relief).is_ok();
        assert!(is_first, "the budget was made above");
        tokio::spawn(remove_in_time(Arc::downgrade(&jobs.0), jobs.0.ended.clone()));
        jobs
    }

    /// Tells `events`, from now on, of what becomes of jobs, and ends it with them.
    ///
    /// # Panics
    /// When it tells another already.
    pub fn tell(&self, events: SystemLog) {
        let told = self.0.shared.observer.events.set(events);
        assert!(told.is_ok(), "there is one log of events");
    }

    /// Creates a job for `by` and has `service` run it. The job's log exists, its first line
    /// is in it and it is stored before this returns.
    ///
    /// # Errors
    /// What `service` has against it, `busy` when there is no room for another job, or what keeps it
    /// from being stored.
    pub async fn submit<S: Service>(
        &self,
        service: &Arc<S>,
        by: &Principal,
        request: SubmitRequest,
    ) -> Result<Submitted, ApiError> {
        let log = self.begin(service, by, request, &|_| {})?;
        log.created().await?;
        let state = log.visible.borrow().state;
        let id = log.record.id.clone();
        Ok(Submitted { sse_url: format!("/v1/jobs/{id}/stream"), job_id: id, state })
    }

    /// Creates a job for `by`, has `tell` add to its log, and has `service` run it.
    pub(crate) fn begin<S: Service>(
        &self,
        service: &Arc<S>,
        by: &Principal,
        request: SubmitRequest,
        tell: &dyn Fn(&JobWriter),
    ) -> Result<Arc<JobLog>, ApiError> {
        // The request's body may have taken its time.
        if by.revoked.is_cancelled() {
            let error = ApiError::new(ErrorCode::Unauthorized, "the key has been revoked");
            return Err(error.hint("ask an operator for another"));
        }
        service.check(&request, by)?;
        let (job, log) = self.new_job(&by.id, &request)?;
        tell(&job);
        self.spawn(service.clone().run(request.operation, job.clone()), job);
        Ok(log)
    }

    /// Has `service` go on with jobs that a predecessor of this process left unfinished.
    pub fn resume<S: Service>(&self, service: &Arc<S>, unfinished: Vec<Unfinished>) {
        if !unfinished.is_empty() {
            let jobs = unfinished.len() as u64;
            self.observer().tell(|| SystemEventKind::JobsResumed { jobs });
        }
        for Unfinished { job, request } in unfinished {
            let narrator = job.narrator(self.0.actor);
            let draft = narrator.action("job_resume").target(job.id()).level(Level::Warn);
            draft.context(job.id()).human("Job {} is taken up again after a restart").emit();
            let operation = request.map(|request| request.operation);
            self.spawn(service.clone().resume(operation, job.clone()), job);
        }
    }

    fn spawn(&self, run: impl Future<Output = Result<End, ApiError>> + Send + 'static, job: JobWriter) {
        self.0.runs.spawn(async move {
            // A task of its own, so that a panic ends this job and nothing else.
            let outcome = tokio::spawn(run).await.unwrap_or_else(|panic| {
                Err(ApiError::new(ErrorCode::Internal, format!("the daemon failed at this job: {panic}"))
                    .hint("this is a bug in rbee; its log may say more"))
            });
            job.finish(outcome);
        });
    }

    /// Creates a job without anything that runs it; who holds the writer does.
    ///
    /// # Errors
    /// `busy` when there is no room for another job.
    pub fn create(&self, principal: &PrincipalId, request: &SubmitRequest) -> Result<JobWriter, ApiError> {
        self.new_job(principal, request).map(|(job, _)| job)
    }

    fn new_job(
        &self,
        principal: &PrincipalId,
        request: &SubmitRequest,
    ) -> Result<(JobWriter, Arc<JobLog>), ApiError> {
        if self.0.shutdown.is_cancelled() {
            return Err(ApiError::new(ErrorCode::Unavailable, "the daemon is stopping").hint("try again"));
        }
        if let Some(committer) = &self.0.shared.committer {
            committer.store().check_room()?;
        }
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).map_err(|error| {
            ApiError::new(ErrorCode::Internal, format!("the system gives no randomness: {error}"))
                .hint("see what its log says; nothing can be kept apart without")
        })?;
        let record = JobRecord {
            id: JobId::from_bits(u128::from_be_bytes(bits)),
            operation: request.operation.name().to_owned(),
            principal: principal.clone(),
            detached: request.detached,
            origin: request.origin.clone(),
            created_at_ms: now_ms(),
        };
        let log = JobLog::new(record, request, self.0.shutdown.child_token(), self.0.shared.clone());
        self.0.admit(&log)?;
        self.observer().job_created(&log.record);

        let job = JobWriter::new(log.clone());
        let narrator = job.narrator(self.0.actor);
        let draft = narrator.action("job_create").target(job.id()).context(job.id());
        match &log.record.origin {
            // The owner's own job has said so already.
            Some(_) => draft.human("Child job {} created").level(Level::Debug).emit(),
            None => draft.human("Job {} created").emit(),
        }
        self.0.tasks.spawn(look_after(Arc::downgrade(&self.0), log.clone()));
        Ok((job, log))
    }

    /// A reader, for `principal`, of their job from the event after number `after`.
    ///
    /// # Errors
    /// `not_found`, for somebody else's job too; `cursor_ahead` when there is no event `after`.
    pub fn reader(&self, principal: &Principal, id: &JobId, after: u64) -> Result<JobReader, ApiError> {
        let log = self.0.find(principal, JobAct::Read, id)?;
        let seq = log.visible.borrow().seq;
        if after > seq {
            return Err(cursor_ahead(seq, after));
        }
        Ok(JobReader::new(log, after))
    }

    /// What is known about a job besides its stream, for `principal`, whose job it is or who is an operator.
    ///
    /// # Errors
    /// `not_found`, for a job that is not for them too.
    pub fn info(&self, principal: &Principal, id: &JobId) -> Result<JobInfo, ApiError> {
        Ok(self.0.find(principal, JobAct::Inspect, id)?.info())
    }

    /// The jobs of `principal`, newest first.
    pub fn list(&self, principal: &PrincipalId) -> JobList {
        self.0.list(|log| log.record.principal == *principal)
    }

    /// The jobs of everybody, newest first, for `principal`, an operator.
    ///
    /// # Errors
    /// `denied` when they are none.
    pub fn list_all(&self, principal: &Principal) -> Result<JobList, ApiError> {
        authorize(Some(principal), Act::ListAll)?;
        Ok(self.0.list(|_| true))
    }

    /// Tells a job to stop, for `principal`, whose job it is or who is an operator; its end event says
    /// when it has.
    ///
    /// # Errors
    /// `not_found`, for a job that is not for them too.
    pub fn cancel(&self, principal: &Principal, id: &JobId) -> Result<JobInfo, ApiError> {
        let log = self.0.find(principal, JobAct::Cancel, id)?;
        let reason = ApiError::new(ErrorCode::Cancelled, "the job was cancelled");
        log.stop(reason.hint("submit it again if it is wanted after all"));
        Ok(log.info())
    }

    /// Opens a stream for `principal`, which is counted as long as what this returns is there.
    ///
    /// # Errors
    /// `busy` when they have as many open as they may.
    pub(crate) fn open_stream(&self, principal: &PrincipalId) -> Result<OpenStream, ApiError> {
        self.0.streams.open(principal)
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn observer(&self) -> &Arc<Observer> {
        &self.0.shared.observer
    }

    /// Adds what is counted of jobs, their streams and their store.
    pub fn expose(&self, exposition: &mut Exposition) {
        let Shared { committer, budget, observer, .. } = &self.0.shared;
        observer.expose(exposition);
        let mut states =
            [JobState::Queued, JobState::Running, JobState::Succeeded, JobState::Failed, JobState::Cancelled]
                .map(|state| (state, 0));
        for log in self.0.table().jobs.values() {
            let now = log.visible.borrow().state;
            states.iter_mut().filter(|(state, _)| *state == now).for_each(|(_, count)| *count += 1);
        }
        let states = states.map(|(state, count)| (state.name(), count));
        exposition.gauges("rbee_jobs", "Jobs that are kept.", "state", states);
        exposition.gauge("rbee_streams", "Streams that are being read.", self.0.streams.count());
        let help = "Events that came for a job that had ended.";
        exposition.counter("rbee_events_dropped_total", help, self.dropped_events());
        let used = budget.used.load(Ordering::Relaxed);
        exposition.gauge("rbee_log_bytes", "Bytes of all jobs' streams.", used);
        if let Some(committer) = committer {
            let help = "Bytes of streams that are in memory besides being in the journal.";
            exposition.gauge("rbee_window_bytes", help, budget.window_used.load(Ordering::Relaxed));
            let help = "How long the journal took to commit.";
            exposition.histogram("rbee_journal_commit_seconds", help, &committer.commits);
            let help = "Commits that the journal did not take.";
            let failures = committer.failures.load(Ordering::Relaxed);
            exposition.counter("rbee_journal_failures_total", help, failures);
        }
    }

    /// How many jobs there are, ended ones included.
    pub fn count(&self) -> usize {
        self.0.table().jobs.len()
    }

    /// How many events came for a job that had ended, and were dropped.
    pub fn dropped_events(&self) -> u64 {
        self.0.shared.budget.dropped.load(Ordering::Relaxed)
    }

    /// Waits, once the daemon is stopping, until every job has its end event. A store that does not take
    /// it any more is given up after a while; whoever opens it next ends the job then.
    pub async fn ended(&self) {
        self.0.runs.close();
        self.0.tasks.close();
        self.0.runs.wait().await;
        match &self.0.shared.committer {
            None => self.0.tasks.wait().await,
            Some(committer) => {
                let _ = tokio::time::timeout(STORE_TIMEOUT, self.0.tasks.wait()).await;
                committer.close();
                // It leaves the store tidy.
                let _ = tokio::time::timeout(STORE_TIMEOUT, committer.closed()).await;
            }
        }
        if let Some(events) = self.observer().events.get() {
            events.close();
        }
    }
}

impl Registry {
    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    /// Enters the job, in place of jobs that have ended where there is no room otherwise.
    fn admit(&self, log: &Arc<JobLog>) -> Result<(), ApiError> {
        let Limits { jobs: jobs_max, jobs_per_principal, job_bytes, total_bytes, .. } = self.limits;
        let mut table = self.table();
        let principal = &log.record.principal;
        let counted = table.active.get(principal).copied().unwrap_or_default();
        // What has ended just now is counted still, but nobody who has seen the end is refused for it.
        if counted >= jobs_per_principal && table.count_active(principal) >= jobs_per_principal {
            let message = format!("{jobs_per_principal} jobs of yours have not ended, and that is the limit");
            return Err(ApiError::new(ErrorCode::Busy, message).hint("try again when one has ended"));
        }
        let used = || self.shared.budget.used.load(Ordering::Relaxed);
        let fits = |used: u64| used.saturating_add(job_bytes) <= total_bytes;
        // Nothing is given up for a job that finds no room even so.
        if !fits(used()) && !fits(used().saturating_sub(self.evictable_bytes(&table))) {
            return Err(table.full());
        }
        // Whoever has the most may have as much as is left then: half of it alone, a third beside another one like that.
        let unfinished = used().saturating_sub(table.ended.bytes());
        let left = total_bytes.saturating_sub(unfinished);
        if unfinished > left && table.active_bytes(principal) + log.bytes() > left {
            let message = "your jobs that have not ended take more than others have left";
            return Err(ApiError::new(ErrorCode::Busy, message).hint("try again when one has ended"));
        }
        loop {
            let scarce = if table.jobs.len() >= jobs_max {
                Scarce::Jobs
            } else if !fits(used()) {
                Scarce::Bytes
            } else {
                break;
            };
            if !self.evict(&mut table, scarce, Some(principal)) {
                return Err(table.full());
            }
        }
        *table.active.entry(principal.clone()).or_default() += 1;
        table.jobs.insert(log.record.id.clone(), log.clone());
        Ok(())
    }

    /// Removes the ended job that gives way, if there is one, to a job of `to` where that is to come.
    fn evict(&self, table: &mut Table, scarce: Scarce, to: Option<&PrincipalId>) -> bool {
        let Table { jobs, ended, active } = &mut *table;
        let others = |whose: &PrincipalId| {
            active.get(whose).copied().unwrap_or_default() + usize::from(to == Some(whose))
        };
        let may_go = |id: &JobId| matches!(scarce, Scarce::Jobs) || self.gives_room(jobs, id);
        let given_up = ended.take_for(scarce, others, may_go);
        given_up.inspect(|id| self.drop_job(table, id)).is_some()
    }

    /// Whether an ended job takes nothing any more once it is removed. One without a store is whoever's who still reads it.
    fn gives_room(&self, jobs: &HashMap<JobId, Arc<JobLog>>, id: &JobId) -> bool {
        self.shared.committer.is_some() || jobs.get(id).is_some_and(|log| Arc::strong_count(log) == 1)
    }

    fn evictable_bytes(&self, table: &Table) -> u64 {
        table.ended.bytes_of(|id| self.gives_room(&table.jobs, id))
    }

    /// Removes an ended job, here and from the store.
    fn drop_job(&self, table: &mut Table, id: &JobId) {
        if let Some(log) = table.jobs.remove(id)
            && let Some(committer) = &self.shared.committer
        {
            log.give_back();
            committer.remove(id.clone());
        }
    }

    fn list(&self, wanted: impl Fn(&JobLog) -> bool) -> JobList {
        let mut jobs: Vec<JobInfo> =
            self.table().jobs.values().filter(|log| wanted(log)).map(|log| log.info()).collect();
        jobs.sort_by(|a, b| b.created_at_ms.cmp(&a.created_at_ms).then_with(|| a.job_id.cmp(&b.job_id)));
        JobList { jobs }
    }

    /// The job, if there is one with which `principal` may do this; it does not exist for others.
    fn find(&self, principal: &Principal, act: JobAct, id: &JobId) -> Result<Arc<JobLog>, ApiError> {
        let allowed =
            |log: &&Arc<JobLog>| authorize(Some(principal), Act::Job(act, &log.record.principal)).is_ok();
        let found = self.table().jobs.get(id).filter(allowed).cloned();
        found.ok_or_else(|| {
            ApiError::new(ErrorCode::NotFound, format!("there is no job {id}"))
                .hint("`rbee job list` shows yours")
        })
    }

    /// Notes that the job has ended, from when on its retention counts.
    fn ended(&self, log: &JobLog) {
        if let Some((state, error)) = log.outcome() {
            self.shared.observer.job_ended(&log.record, state, error);
        }
        let id = &log.record.id;
        let mut table = self.table();
        table.drop_active(&log.record.principal);
        if log.refused().is_some() {
            table.jobs.remove(id);
        } else {
            table.keep(log, log.ended_at_ms().unwrap_or(0));
            drop(table);
            self.remove_expired();
            self.ended.notify_one();
        }
    }

    /// Removes the jobs whose time is up, and says how long it is until the next one's is.
    fn remove_expired(&self) -> Option<Duration> {
        let mut table = self.table();
        loop {
            let ended_at_ms = table.ended.first_ended_at_ms()?;
            let age = Duration::from_millis(now_ms().saturating_sub(ended_at_ms));
            let left = self.limits.retention.saturating_sub(age);
            if !left.is_zero() {
                return Some(left);
            }
            let oldest = table.ended.take_first()?;
            self.drop_job(&mut table, &oldest);
        }
    }
}

impl Relief for Registry {
    /// Those that have ended give way first, then the largest job of whoever has the most: not whoever happens to be the
    /// next to append.
    fn relieve(&self, log: &JobLog, bytes: u64) -> bool {
        let budget = &self.shared.budget;
        let largest = {
            let mut table = self.table();
            while !budget.has_room(bytes) && self.evict(&mut table, Scarce::Bytes, None) {}
            if budget.has_room(bytes) {
                return true;
            }
            // What others were made to give up, and is not removed yet.
            let ended: u64 =
                table.jobs.values().filter(|log| log.ended_at_ms().is_some()).map(|log| log.bytes()).sum();
            let given_up = ended.saturating_sub(table.ended.bytes());
            if budget.used.load(Ordering::Relaxed).saturating_add(bytes) <= budget.total_bytes + given_up {
                return true;
            }
            let Some(most) = table.most_active() else { return false };
            if most.record.principal == log.record.principal {
                return false;
            }
            most
        };
        largest.give_way();
        true
    }
}

impl Table {
    fn active_jobs(&self) -> impl Iterator<Item = &Arc<JobLog>> {
        self.jobs.values().filter(|log| log.ended_at_ms().is_none())
    }

    /// The bytes of the principal's jobs that have not ended.
    fn active_bytes(&self, principal: &PrincipalId) -> u64 {
        self.active_jobs().filter(|log| log.record.principal == *principal).map(|log| log.bytes()).sum()
    }

    /// The largest job of the principal whose jobs that have not ended take the most bytes.
    fn most_active(&self) -> Option<Arc<JobLog>> {
        let mut held: HashMap<&PrincipalId, (u64, u64, &Arc<JobLog>)> = HashMap::new();
        for log in self.active_jobs() {
            let bytes = log.bytes();
            let (all, most, largest) = held.entry(&log.record.principal).or_insert((0, 0, log));
            *all += bytes;
            if bytes > *most {
                (*most, *largest) = (bytes, log);
            }
        }
        held.into_values().max_by_key(|(all, ..)| *all).map(|(.., largest)| largest.clone())
    }

    /// Notes that the job has ended.
    fn keep(&mut self, log: &JobLog, ended_at_ms: u64) {
        let JobRecord { id, principal, .. } = &log.record;
        self.ended.add(id.clone(), principal.clone(), ended_at_ms, log.bytes());
    }

    fn full(&self) -> ApiError {
        let running = self.jobs.len() - self.ended.len();
        let message = format!("{running} jobs are running, and there is room for no more");
        ApiError::new(ErrorCode::Busy, message).hint("try again when one has ended")
    }

    /// How many jobs of `principal` have not ended.
    fn count_active(&self, principal: &PrincipalId) -> usize {
        let active = |log: &&Arc<JobLog>| log.record.principal == *principal && !log.visible.borrow().ended();
        self.jobs.values().filter(active).count()
    }

    fn drop_active(&mut self, principal: &PrincipalId) {
        if let Some(active) = self.active.get_mut(principal) {
            *active -= 1;
            if *active == 0 {
                self.active.remove(principal);
            }
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(committer) = &self.shared.committer {
            committer.close();
        }
        // What waits for it sees then that there is nothing left to wait for.
        self.ended.notify_one();
    }
}

/// Removes ended jobs when their time is up.
async fn remove_in_time(registry: Weak<Registry>, ended: Arc<Notify>) {
    loop {
        let Some(left) = registry.upgrade().map(|registry| registry.remove_expired()) else { return };
        let expiry = async {
            match left {
                // The retention itself.
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = expiry => {}
            () = ended.notified() => {}
        }
    }
}

/// Cancels the job when nobody reads it.
async fn look_after(registry: Weak<Registry>, log: Arc<JobLog>) {
    let Some(limits) = registry.upgrade().map(|registry| registry.limits) else { return };
    if !log.record.detached {
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
        registry.ended(&log);
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
