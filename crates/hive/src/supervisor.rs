use std::collections::HashMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rbee_home::{Announcement, Config, Home, HomeError, Lifelines, SLOTS_MAX, Start, Started, program};
use rbee_jobs::{Child, JobWriter, Relayed, lock, now_ms, relay};
use rbee_narration::{Level, Log, SystemNarrator, count};
use rbee_protocol::{
    ApiError, Client, ClientError, End, ErrorCode, HiveId, Loaded, ModelRef, Operation, SubmitRequest,
    WatchedWorker, WorkerId, WorkerInfo, WorkerState, WorkerStopped, nearest,
};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::devices;
use crate::models::{LocalModel, ModelKey};

/// A worker that does not confirm a cancellation for so long is killed: its slot must come free.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);
/// A worker that has jobs and makes no progress for so long is killed unless the settings say otherwise.
const WATCHDOG: Duration = Duration::from_secs(120);
/// In that time its progress is looked at so often: a hive that is stopped or starved looks rarely, and must not take its
/// own silence for its workers'.
const LOOKS: u32 = 10;
/// So many names of one model are told to the queen; any others have a slot each there.
const NAMES_MAX: usize = 64;
/// Of names that are not the model's own, of which anybody may make up more, so many are, and none that is longer.
const OTHER_NAMES_MAX: usize = NAMES_MAX / 2;
const OTHER_NAME_BYTES_MAX: usize = 256;
/// The pause before a model's worker is started again grows with each crash in a row.
const RESTART_DELAY_MAX: Duration = Duration::from_secs(30);

/// How the process of a worker ends that is ended by its hive.
const KILLED: &str = "signal: 9";

/// A model that nobody uses stays loaded for so long unless something else is said.
const KEEP_ALIVE_S: i64 = 300;

/// Starts this machine's workers, one for each model, and watches over them. A cheap handle.
#[derive(Clone)]
pub(crate) struct Supervisor(Arc<Inner>);

struct Inner {
    home: Home,
    config: Config,
    hive: HiveId,
    system: SystemNarrator,
    lifelines: Lifelines,
    models: Mutex<HashMap<ModelKey, Arc<Slot>>>,
    /// The memory that the weights of each worker's model take, or will: the size of its files until it has said so.
    weights: Mutex<HashMap<WorkerId, u64>>,
    /// What a worker of each model took the last time.
    needed: Mutex<HashMap<ModelKey, u64>>,
    started: AtomicU64,
    /// Changes whenever what [`Supervisor::watched`] tells may have changed.
    changed: watch::Sender<u64>,
    /// Whether no work for models is begun.
    paused: watch::Sender<bool>,
    /// Held while workers are ended to make room for another, so that each that needs room sees what is there then.
    making_room: tokio::sync::Mutex<()>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

/// What a job calls the model that works on it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameKind {
    /// A name or a path that the model goes by.
    Own,
    /// A name that no model goes by.
    Other,
}

/// What jobs called a model so far.
#[derive(Default)]
struct Names {
    names: Vec<String>,
    /// How many of them are not the model's own.
    others: usize,
}

impl Names {
    /// Notes what a job called the model, and returns whether that is new.
    fn add(&mut self, name: &str, kind: NameKind) -> bool {
        let has_room = match kind {
            NameKind::Own => self.names.len() < NAMES_MAX,
            NameKind::Other => self.others < OTHER_NAMES_MAX && name.len() <= OTHER_NAME_BYTES_MAX,
        };
        let is_new = has_room && !self.names.iter().any(|known| known == name);
        if is_new {
            self.names.push(name.to_owned());
            self.others += usize::from(kind == NameKind::Other);
        }
        is_new
    }
}

/// The place of one model's worker.
#[derive(Default)]
struct Slot {
    /// Held while a worker is being started, so that one is.
    starting: tokio::sync::Mutex<()>,
    state: Mutex<SlotState>,
}

#[derive(Default)]
struct SlotState {
    worker: Option<Arc<Worker>>,
    crashes: u32,
    crashed_at: Option<Instant>,
}

/// Who uses a worker, and for how long it may be without use.
struct Usage {
    jobs: u64,
    idle_since: Instant,
    /// For ever where it is absent.
    keep_alive: Option<Duration>,
    pinned: bool,
    /// Whether it takes no more jobs.
    closed: bool,
    /// When the jobs that it has then are to have ended.
    deadline: Option<Instant>,
}

impl Usage {
    fn new(keep_alive_s: i64) -> Self {
        Self {
            jobs: 0,
            idle_since: Instant::now(),
            keep_alive: keep_alive(keep_alive_s),
            pinned: false,
            closed: false,
            deadline: None,
        }
    }

    fn ends_at(&self) -> Option<Instant> {
        match (self.jobs, self.closed) {
            (0, true) => Some(self.idle_since),
            (0, false) => Some(self.idle_since + self.keep_alive?),
            (_, true) => self.deadline,
            (_, false) => None,
        }
    }
}

fn keep_alive(seconds: i64) -> Option<Duration> {
    // Longer than anything lasts, and no overflow.
    u64::try_from(seconds).ok().filter(|seconds| *seconds <= u32::MAX.into()).map(Duration::from_secs)
}

struct Worker {
    id: WorkerId,
    model: LocalModel,
    pid: u32,
    client: Client,
    /// What it said about itself when its model was loaded, if that could be understood.
    loaded: OnceLock<Option<Loaded>>,
    /// When it last said of itself that it goes on, in milliseconds since the Unix epoch; 0 for never.
    worked_at_ms: AtomicU64,
    /// What jobs called its model so far.
    names: Mutex<Names>,
    /// For how long it had made no progress when it was killed for that.
    hung: OnceLock<Duration>,
    /// Why it cannot load its model, when it cannot.
    load_error: OnceLock<ApiError>,
    usage: watch::Sender<Usage>,
    ended: watch::Sender<Option<String>>,
    kill: CancellationToken,
}

impl Worker {
    /// Waits until the worker's process has ended and returns how.
    async fn ended(&self) -> String {
        let mut ended = self.ended.subscribe();
        let how = ended.wait_for(Option::is_some).await.expect("the worker, held here, holds the sender");
        how.clone().unwrap_or_default()
    }

    fn info(&self, hive: &HiveId) -> WorkerInfo {
        let Usage { jobs, closed, keep_alive, pinned, .. } = *self.usage.borrow();
        WorkerInfo {
            worker: self.id.clone(),
            hive: hive.clone(),
            model: self.model.name.clone(),
            state: match (self.loaded.get(), jobs) {
                _ if closed => WorkerState::Draining,
                (None, _) => WorkerState::Loading,
                (Some(_), 0) => WorkerState::Idle,
                (Some(_), _) => WorkerState::Busy,
            },
            pid: self.pid,
            jobs,
            loaded: self.loaded.get().copied().flatten(),
            keep_alive_s: keep_alive.map(|keep_alive| keep_alive.as_secs()),
            pinned,
            progress_at_ms: self.progress().1,
        }
    }

    /// What came from it so far, and when the last of that did, in milliseconds since the Unix epoch.
    fn progress(&self) -> (u64, Option<u64>) {
        let heard = self.client.heard();
        let worked_at_ms = self.worked_at_ms.load(Ordering::Relaxed);
        (heard.events, heard.last_at_ms.max((worked_at_ms > 0).then_some(worked_at_ms)))
    }

    /// Whether it has its model, or will as far as anybody knows.
    fn has_model(&self) -> bool {
        self.load_error.get().is_none() && !self.kill.is_cancelled()
    }

    /// Returns when the worker has had jobs, and nothing came from any of them nor a word of its own, for as long as
    /// `limit`. While one of them goes on, the others wait for their turn.
    async fn hangs(&self, limit: Duration) {
        if limit.is_zero() {
            return std::future::pending().await;
        }
        let mut looks = tokio::time::interval(limit / LOOKS);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = self.progress();
        let mut silent = 0;
        // The first is silent for a part of the time only.
        while silent <= LOOKS {
            looks.tick().await;
            let progress = self.progress();
            let is_silent = progress == before && self.jobs() > 0;
            silent = if is_silent { silent + 1 } else { 0 };
            before = progress;
        }
    }

    fn jobs(&self) -> u64 {
        self.usage.borrow().jobs
    }

    /// Counts one more job, unless it takes none any more.
    fn count(&self) -> bool {
        self.usage.send_if_modified(|usage| {
            usage.jobs += u64::from(!usage.closed);
            !usage.closed
        })
    }

    /// Has it take no more jobs, if it has none, is `unwanted` and was not closed before. Returns whether so.
    fn close_if_idle(&self, unwanted: impl Fn(&Usage) -> bool) -> bool {
        self.usage.send_if_modified(|usage| {
            let closes = usage.jobs == 0 && !usage.closed && unwanted(usage);
            usage.closed |= closes;
            closes
        })
    }

    /// Returns when it was idle for as long as it may, or is to end for another reason; it takes no jobs any more then.
    async fn outstays(&self) {
        let mut changes = self.usage.subscribe();
        loop {
            let due = changes.borrow_and_update().ends_at();
            let is_due = |usage: &mut Usage| {
                let is_due = usage.ends_at().is_some_and(|due| due <= Instant::now());
                usage.closed |= is_due;
                is_due
            };
            if self.usage.send_if_modified(is_due) {
                return;
            }
            tokio::select! {
                changed = changes.changed() => changed.expect("the worker, held here, holds the sender"),
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {}
            }
        }
    }

    /// Ends a worker that has no model once nobody waits for its word on that.
    fn end_if_useless(&self) {
        if self.load_error.get().is_some() && self.jobs() == 0 {
            self.kill.cancel();
        }
    }

    fn died(&self, how: &str) -> ApiError {
        if let Some(error) = self.load_error.get() {
            return error.clone();
        }
        if let Some(silence) = self.hung.get() {
            let message = format!("{} made no progress for {silence:?}, so it was killed", self.id);
            return ApiError::new(ErrorCode::WorkerHung, message).hint(
                "try again: the next job gets a new worker; where models are that slow, raise `worker.watchdog_s`",
            );
        }
        if self.usage.borrow().closed && how.starts_with(KILLED) {
            let message = format!("{} was stopped in the middle of the job", self.id);
            return ApiError::new(ErrorCode::Interrupted, message)
                .hint("try again: the next job gets a new worker");
        }
        ApiError::new(ErrorCode::WorkerCrashed, format!("{} died in the middle of the job ({how})", self.id))
            .hint("try again: the next job gets a new worker; `rbee hive status` shows what runs")
    }
}

impl Supervisor {
    /// # Errors
    /// What keeps processes from being started.
    pub(crate) fn new(home: Home, config: Config, hive: HiveId, log: Log) -> io::Result<Self> {
        let paused = watch::Sender::new(home.paused_file().exists());
        Ok(Self(Arc::new(Inner {
            home,
            config,
            hive,
            system: SystemNarrator::new("hive", log),
            lifelines: Lifelines::new()?,
            models: Mutex::default(),
            weights: Mutex::default(),
            needed: Mutex::default(),
            started: AtomicU64::new(0),
            changed: watch::Sender::new(0),
            paused,
            making_room: tokio::sync::Mutex::default(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })))
    }

    /// The workers that run at the moment.
    pub(crate) fn workers(&self) -> Vec<WorkerInfo> {
        self.running().iter().map(|worker| worker.info(&self.0.hive)).collect()
    }

    /// The same for a queen, which is told after every change of this, but not of progress.
    pub(crate) fn watched(&self) -> Vec<WatchedWorker> {
        let watched = |worker: &Arc<Worker>| WatchedWorker {
            worker: WorkerInfo { progress_at_ms: None, ..worker.info(&self.0.hive) },
            names: lock(&worker.names).names.clone(),
        };
        self.running().iter().map(watched).collect()
    }

    /// The models that are loaded, or about to be.
    pub(crate) fn loaded(&self) -> Vec<LocalModel> {
        let running = self.running().into_iter().filter(|worker| worker.has_model());
        running.map(|worker| worker.model.clone()).collect()
    }

    fn running(&self) -> Vec<Arc<Worker>> {
        let running = |slot: &Arc<Slot>| lock(&slot.state).worker.clone();
        let mut workers: Vec<_> = lock(&self.0.models).values().filter_map(running).collect();
        workers.sort_by(|a, b| a.id.cmp(&b.id));
        workers
    }

    /// Changes whenever what [`Supervisor::watched`] tells may have changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Has a worker of `model`, which the job calls by its own or another name, do `operation`; a worker that is
    /// started where there is none.
    pub(crate) async fn work(
        &self,
        model: LocalModel,
        kind: NameKind,
        operation: Operation,
        job: &JobWriter,
    ) -> Result<End, ApiError> {
        let asked = Instant::now();
        self.may_begin(job).await?;
        let slot = lock(&self.0.models).entry(model.key()).or_default().clone();
        self.consider(&model, Level::Debug, job);
        loop {
            let counted = tokio::select! {
                counted = self.worker(&slot, &model, job) => counted?,
                () = job.cancelled() => return Err(job.cancel_error()),
            };
            let outcome = self.work_on(&slot, &counted, kind, &operation, asked, job).await;
            let does_not_fit = match &outcome {
                Ok(end) => end.error.as_ref().is_some_and(|error| error.code == ErrorCode::DoesNotFit),
                Err(error) => error.code == ErrorCode::DoesNotFit,
            };
            let worker = counted.worker.clone();
            drop(counted);
            if !does_not_fit || !self.make_room(&slot, &worker, job).await? {
                return outcome;
            }
        }
    }

    /// Says of each worker whether it might work with `model`; returns whether one has it.
    pub(crate) fn consider(&self, model: &LocalModel, level: Level, job: &JobWriter) -> bool {
        let narrator = job.narrator("hive");
        let mut has_model = false;
        for worker in self.running() {
            let Usage { jobs, closed, pinned, .. } = *worker.usage.borrow();
            let is_its = worker.model.key() == model.key();
            let usable = is_its && !closed && worker.has_model();
            has_model |= usable;
            let does = match jobs {
                0 if pinned => "is idle and pinned".to_owned(),
                0 => "is idle".to_owned(),
                jobs => format!("has {}", count(jobs, "job")),
            };
            let verdict = match (is_its, usable) {
                (true, true) if worker.model.version != model.version => {
                    "has an earlier file of the model, and".to_owned()
                }
                (true, true) => "has the model, and".to_owned(),
                (true, false) => "takes no more jobs, and".to_owned(),
                (false, _) => format!("has another model, {}, and", worker.model.name),
            };
            let draft = narrator.action("consider").target(&worker.id).level(level).context(&worker.id);
            draft.context(verdict).context(does).human("{} {} {}").emit();
        }
        if !has_model {
            let draft = narrator.action("consider").target(&model.name).level(level).context(&model.name);
            draft.human("No worker has {}: one has to start").emit();
        }
        has_model
    }

    /// Says which worker would be ended to make room.
    pub(crate) fn consider_eviction(&self, job: &JobWriter) {
        let narrator = job.narrator("hive");
        match self.idle().first() {
            Some(idle) => {
                let draft = narrator.action("consider").target(&idle.id).context(&idle.id);
                draft
                    .context(&idle.model.name)
                    .human("{} of {}, which is idle, would be ended to make room")
                    .emit();
            }
            None => {
                let draft = narrator.action("consider").level(Level::Warn);
                draft.human("No worker is idle that could be ended to make room").emit();
            }
        }
    }

    /// What a worker took for this model the last time.
    pub(crate) fn needed_before(&self, model: &LocalModel) -> Option<u64> {
        lock(&self.0.needed).get(&model.key()).copied()
    }

    /// The workers that may be ended to make room, the longest idle first.
    fn idle(&self) -> Vec<Arc<Worker>> {
        let mut idle = self.running();
        idle.retain(|worker| {
            let usage = worker.usage.borrow();
            usage.jobs == 0 && !usage.closed && !usage.pinned
        });
        idle.sort_by_key(|worker| worker.usage.borrow().idle_since);
        idle
    }

    /// Waits until work may begin.
    async fn may_begin(&self, job: &JobWriter) -> Result<(), ApiError> {
        let mut paused = self.0.paused.subscribe();
        if !*paused.borrow() {
            return Ok(());
        }
        let narrator = job.narrator("hive");
        let draft =
            narrator.action("hive_wait").target(&self.0.hive).level(Level::Warn).context(&self.0.hive);
        draft.human("Hive {} is paused: waiting until `rbee hive resume`").emit();
        tokio::select! {
            resumed = paused.wait_for(|paused| !paused) => {
                resumed.expect("the supervisor, held here, holds the sender");
                Ok(())
            }
            () = job.cancelled() => Err(job.cancel_error()),
        }
    }

    /// Ends the worker that was idle for the longest time, since `refused` found no room beside it. Returns whether
    /// another try makes sense.
    async fn make_room(&self, slot: &Slot, refused: &Worker, job: &JobWriter) -> Result<bool, ApiError> {
        let making_room = async {
            let _making_room = self.0.making_room.lock().await;
            refused.ended().await;
            // Somebody else who needed the same model has made room for it, and may be starting its worker.
            if slot.starting.try_lock().is_err() {
                return true;
            }
            if lock(&slot.state).worker.as_ref().is_some_and(|worker| worker.load_error.get().is_none()) {
                return true;
            }
            let idle = self.idle();
            let Some(evicted) = idle.iter().find(|worker| worker.close_if_idle(|usage| !usage.pinned)) else {
                return false;
            };
            let narrator = job.narrator("hive");
            let draft = narrator.action("worker_evict").target(&evicted.id).context(&evicted.id);
            draft.context(&evicted.model.name).human("Ending {} of {}, which is idle, to make room").emit();
            evicted.ended().await;
            true
        };
        tokio::select! {
            made = making_room => Ok(made),
            () = job.cancelled() => Err(job.cancel_error()),
        }
    }

    /// Has a worker do `operation`, and returns how that ended.
    async fn work_on(
        &self,
        slot: &Slot,
        counted: &Counted,
        kind: NameKind,
        operation: &Operation,
        asked: Instant,
        job: &JobWriter,
    ) -> Result<End, ApiError> {
        let worker = &counted.worker;
        let is_start = matches!(operation, Operation::WorkerStart { .. });
        let named = match operation {
            Operation::WorkerStart { model, .. } => model.as_ref(),
            operation => operation.model().flatten(),
        };
        if lock(&worker.names).add(named.map_or("", ModelRef::as_str), kind) {
            self.0.changed();
        }
        if let Some(seconds) = operation.keep_alive_s() {
            // Whoever pinned it has said for how long it stays.
            worker.usage.send_modify(|usage| {
                if is_start || !usage.pinned {
                    usage.keep_alive = keep_alive(seconds);
                }
            });
        }
        let start_ms = asked.elapsed().as_secs_f64() * 1e3;

        let mut child = SubmitRequest::child(operation.clone(), job.origin().clone());
        child.scope = job.scope().map(str::to_owned);
        let child = Child::New(Box::new(child), None);
        match relay(job, &worker.client, child, CANCEL_TIMEOUT, worker.ended()).await {
            Relayed::Ended(mut end) => {
                lock(&slot.state).crashes = 0;
                if let Some(timings) = &mut end.timings {
                    timings.load_ms += start_ms;
                }
                Ok(end)
            }
            Relayed::Gone(how) => Err(worker.died(&how)),
            Relayed::Failed(ClientError::Api(error)) => Err(error),
            Relayed::Failed(error) => {
                // A worker that answers nonsense, or nothing, is most likely about to be gone.
                worker.kill.cancel();
                let how = worker.ended().await;
                if worker.hung.get().is_some() {
                    return Err(worker.died(&how));
                }
                let error = ApiError::from(error);
                Err(ApiError::new(
                    ErrorCode::WorkerCrashed,
                    format!("{} ({how}): {}", worker.id, error.message),
                )
                .hint("try again: the next job gets a new worker"))
            }
            Relayed::Unconfirmed => {
                job.narrator("hive")
                    .action("worker_kill")
                    .target(&worker.id)
                    .level(Level::Warn)
                    .context(&worker.id)
                    .context(CANCEL_TIMEOUT.as_secs())
                    .human("{} did not stop within {} s and is killed")
                    .emit();
                worker.kill.cancel();
                worker.ended().await;
                Err(job.cancel_error())
            }
        }
    }

    /// The worker that was started for `model`, which stays loaded whatever else is needed if it is `pinned`.
    pub(crate) fn started(&self, model: &LocalModel, pinned: bool) -> Option<WorkerInfo> {
        let worker =
            lock(&self.0.models).get(&model.key()).and_then(|slot| lock(&slot.state).worker.clone())?;
        worker.usage.send_modify(|usage| usage.pinned = pinned);
        self.0.changed();
        Some(worker.info(&self.0.hive))
    }

    /// Ends a worker: at once, or when it has done the jobs that it has, but at the latest after `deadline`.
    ///
    /// # Errors
    /// `not_found` where there is no such worker.
    pub(crate) async fn stop_worker(
        &self,
        id: &WorkerId,
        deadline: Duration,
        job: &JobWriter,
    ) -> Result<WorkerStopped, ApiError> {
        let running = self.running();
        let Some(worker) = running.iter().find(|worker| worker.id == *id) else {
            let message = format!("there is no worker `{}`", rbee_narration::printable(id.as_str()));
            let near = nearest(id.as_str(), running.iter().map(|worker| worker.id.as_str()));
            let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
            let hint = format!("{near}`rbee worker list` shows those that run");
            return Err(ApiError::new(ErrorCode::NotFound, message).hint(hint));
        };
        worker.usage.send_modify(|usage| {
            usage.closed = true;
            usage.deadline = Instant::now().checked_add(deadline);
        });
        self.0.changed();
        let jobs = worker.jobs();
        if jobs > 0 && !deadline.is_zero() {
            let narrator = job.narrator("hive");
            let draft = narrator.action("worker_drain").target(id).context(id).context(deadline.as_secs());
            draft.context(jobs).human("{} takes no more jobs, and has {} s for the {} that it has").emit();
        }
        tokio::select! {
            _ = worker.ended() => Ok(WorkerStopped { worker: id.clone() }),
            () = job.cancelled() => Err(job.cancel_error()),
        }
    }

    /// Ends the workers of the model with this name that nobody uses.
    pub(crate) fn unload(&self, name: &str) {
        for worker in self.running().iter().filter(|worker| worker.model.name == name) {
            worker.close_if_idle(|_| true);
        }
        self.0.changed();
    }

    /// Begins no more work, and ends the workers that nobody uses; or goes on. The hives after this one do so, too.
    ///
    /// # Errors
    /// What keeps the hives after this one from it.
    pub(crate) fn pause(&self, paused: bool) -> io::Result<()> {
        let path = self.0.home.paused_file();
        let noted = match paused {
            true => File::create(&path).map(drop),
            false => fs::remove_file(&path),
        };
        self.0.paused.send_replace(paused);
        if paused {
            for worker in self.running() {
                worker.close_if_idle(|_| true);
            }
        }
        self.0.changed();
        match noted {
            Err(error) if paused || error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        *self.0.paused.borrow()
    }

    /// Ends all workers and returns when they have.
    pub(crate) async fn stop(&self) {
        self.0.stopping.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// The worker in `slot`, started where there is none, with this job counted as its own: a worker
    /// that has a job is not replaced under it.
    async fn worker(
        &self,
        slot: &Arc<Slot>,
        model: &LocalModel,
        job: &JobWriter,
    ) -> Result<Counted, ApiError> {
        let _starting = slot.starting.lock().await;
        let (worker, delay) = {
            let state = lock(&slot.state);
            let since_crash = state.crashed_at.map(|at| at.elapsed());
            let delay = restart_delay(state.crashes).saturating_sub(since_crash.unwrap_or(Duration::MAX));
            (state.worker.clone(), delay)
        };
        let narrator = job.narrator("hive");
        if let Some(worker) = worker {
            // Counted first, so that nobody ends it as idle between the look and the use.
            let counted = self.count(&worker);
            let is_ours_alone = worker.jobs() == 1;
            // One that is busy goes on with the file that it has; the next job after it gets the new one.
            let is_usable = worker.model.version == model.version || !is_ours_alone;
            if let Some(counted) = counted
                && !worker.kill.is_cancelled()
                && is_usable
            {
                return Ok(counted);
            }
            if worker.usage.borrow().closed {
                let draft = narrator.action("worker_wait").target(&worker.id).context(&worker.id);
                draft.human("Waiting for {} to end, which takes no more jobs").emit();
                worker.ended().await;
            } else if !worker.kill.is_cancelled() {
                let draft = narrator.action("worker_replace").target(&worker.id).context(&model.name);
                draft.human("The file of {} has changed, so its worker is replaced").emit();
            }
            worker.kill.cancel();
            worker.ended().await;
        }
        if !delay.is_zero() {
            narrator
                .action("worker_backoff")
                .target(&model.name)
                .level(Level::Warn)
                .context(format!("{:.1}", delay.as_secs_f64()))
                .human("Its worker crashed before; starting another in {} s")
                .emit();
            // The back-off itself: there is no state to wait for. A cancelled job drops this.
            tokio::time::sleep(delay).await;
        }
        let id = WorkerId::new(format!("worker-{}", self.0.started.fetch_add(1, Ordering::Relaxed) + 1));
        narrator
            .action("worker_start")
            .target(&id)
            .context(&id)
            .context(&model.name)
            .human("Starting {} for {}")
            .emit();
        let worker = self.start(id, slot, model).await.map_err(|error| {
            let hint = error
                .hint()
                .unwrap_or_else(|| "`worker.log` in rbee's state folder may tell more".to_owned());
            ApiError::new(error.code(), format!("the worker did not start: {error}")).hint(hint)
        })?;
        match self.count(&worker) {
            Some(counted) => Ok(counted),
            None => Err(worker.died("it was stopped")),
        }
    }

    async fn start(
        &self,
        id: WorkerId,
        slot: &Arc<Slot>,
        model: &LocalModel,
    ) -> Result<Arc<Worker>, HomeError> {
        let inner = &self.0;
        let program = match &inner.config.worker_program {
            Some(path) => path.clone(),
            None => program("rbee-worker")?,
        };
        let socket = inner.home.socket(id.as_str());
        let mut args = vec!["--model".into(), model.path.clone().into_os_string()];
        args.extend(["--name".into(), model.name.clone().into()]);
        if let Some((path, scale)) = &model.adapter {
            args.extend(["--adapter".into(), path.clone().into_os_string()]);
            args.push(format!("--adapter-scale={scale}").into());
        }
        if let Some(path) = &model.draft {
            args.extend(["--draft".into(), path.clone().into_os_string()]);
        }
        args.extend(["--socket".into(), socket.clone().into_os_string()]);
        if let Some(context_length) = inner.config.context_length {
            args.extend(["--context-length".into(), context_length.to_string().into()]);
        }
        if let Some(threads) = inner.config.threads.or_else(devices::cores) {
            args.extend(["--threads".into(), threads.to_string().into()]);
        }
        if let Some(slots) = inner.config.slots {
            args.extend(["--slots".into(), slots.to_string().into()]);
        }
        if let Some(saved_mb) = inner.config.saved_mb {
            args.extend(["--saved-mb".into(), saved_mb.to_string().into()]);
        }
        // The system counts what lies in files as memory that it could free, which other workers' models are not.
        let (weights, taken) = Weights::note(inner.clone(), id.clone(), model.size_bytes());
        if taken > 0 {
            args.extend(["--taken-bytes".into(), taken.to_string().into()]);
        }
        let log = inner.home.log_file("worker");
        let lifelines = Some(&inner.lifelines);
        let started = Start { program: &program, args, stderr: &log, lifelines }.spawn().await?;
        let client = Client::unix_patient(&socket).map_err(|error| HomeError::NotStarted {
            message: error.to_string(),
            hint: None,
            code: ErrorCode::Internal,
        })?;
        let worker = Arc::new(Worker {
            id,
            model: model.clone(),
            pid: started.child.id().unwrap_or_default(),
            client,
            loaded: OnceLock::new(),
            worked_at_ms: AtomicU64::new(0),
            names: Mutex::default(),
            hung: OnceLock::new(),
            load_error: OnceLock::new(),
            usage: watch::Sender::new(Usage::new(inner.config.keep_alive_s.unwrap_or(KEEP_ALIVE_S))),
            ended: watch::Sender::new(None),
            kill: CancellationToken::new(),
        });
        lock(&slot.state).worker = Some(worker.clone());
        inner.changed();
        let watch = watch_over(inner.clone(), slot.clone(), worker.clone(), started, weights, socket);
        inner.tasks.spawn(watch);
        Ok(worker)
    }

    fn count(&self, worker: &Arc<Worker>) -> Option<Counted> {
        if !worker.count() {
            return None;
        }
        self.0.changed();
        Some(Counted { inner: self.0.clone(), worker: worker.clone() })
    }
}

/// The memory that is noted for a worker's model, until this goes.
struct Weights {
    inner: Arc<Inner>,
    worker: WorkerId,
}

impl Weights {
    /// Notes what the model of another worker takes, and says what those of the others do. Of two that start at once,
    /// so, the second knows of the first.
    fn note(inner: Arc<Inner>, worker: WorkerId, bytes: u64) -> (Self, u64) {
        let mut weights = lock(&inner.weights);
        let others = weights.values().fold(0, |all: u64, bytes| all.saturating_add(*bytes));
        weights.insert(worker.clone(), bytes);
        drop(weights);
        (Self { inner, worker }, others)
    }

    fn are(&self, bytes: u64) {
        lock(&self.inner.weights).insert(self.worker.clone(), bytes);
    }
}

impl Drop for Weights {
    fn drop(&mut self) {
        lock(&self.inner.weights).remove(&self.worker);
    }
}

/// A job that a worker has; it has one less when this goes.
struct Counted {
    inner: Arc<Inner>,
    worker: Arc<Worker>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.worker.usage.send_modify(|usage| {
            usage.jobs -= 1;
            usage.idle_since = Instant::now();
        });
        if *self.inner.paused.borrow() {
            self.worker.close_if_idle(|_| true);
        }
        self.worker.end_if_useless();
        self.inner.changed();
    }
}

impl Inner {
    fn changed(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

/// Stays with a worker's process until it has ended, and takes the worker out of its slot then.
async fn watch_over(
    inner: Arc<Inner>,
    slot: Arc<Slot>,
    worker: Arc<Worker>,
    started: Started,
    weights: Weights,
    socket: PathBuf,
) {
    let Started { mut child, mut stdout, .. } = started;
    let mut talking = true;
    let limit = inner.config.watchdog.unwrap_or(WATCHDOG);
    let mut hangs = pin!(worker.hangs(limit));
    let mut outstays = pin!(worker.outstays());
    let (status, expected) = loop {
        tokio::select! {
            line = stdout.next_line(), if talking => match line {
                Ok(Some(line)) => hear(&inner, &worker, &weights, &line),
                Ok(None) => talking = false,
                // It does not speak as our workers do, who knows why.
                Err(_) => {
                    talking = false;
                    worker.kill.cancel();
                }
            },
            status = child.wait() => break (status, false),
            () = inner.stopping.cancelled() => break (end(&mut child).await, true),
            () = worker.kill.cancelled() => break (end(&mut child).await, true),
            () = &mut outstays => break (end(&mut child).await, true),
            () = &mut hangs => {
                let _ = worker.hung.set(limit);
                let draft = inner.system.action("worker_hung").target(&worker.id).level(Level::Warn);
                let draft = draft.context(&worker.id).context(worker.pid).context(format!("{limit:?}"));
                draft.human("{} (process {}) made no progress for {} and is killed").emit();
                break (end(&mut child).await, false);
            }
        }
    };
    let how = status.map_or_else(|error| error.to_string(), describe);
    {
        let mut state = lock(&slot.state);
        state.worker = None;
        if !expected {
            state.crashes += 1;
            state.crashed_at = Some(Instant::now());
        }
    }
    let _ = std::fs::remove_file(&socket);
    let level = if expected { Level::Info } else { Level::Warn };
    inner
        .system
        .action("worker_end")
        .target(&worker.id)
        .level(level)
        .context(&worker.id)
        .context(worker.pid)
        .context(&how)
        .human("{} (process {}) ended: {}")
        .emit();
    // Whoever waits for the end reckons with the memory.
    drop(weights);
    worker.ended.send_replace(Some(how));
    inner.changed();
}

/// Takes in what a worker says on its stdout.
fn hear(inner: &Inner, worker: &Worker, weights: &Weights, line: &str) {
    match Announcement::parse(line) {
        // The second time it says so, its model is loaded.
        Some(Announcement::Ready(facts)) => {
            let loaded: Option<Loaded> = serde_json::from_value(facts).ok();
            // More than there can be would have the queen send it everything.
            let loaded = loaded.map(|loaded| Loaded { slots: loaded.slots.min(SLOTS_MAX), ..loaded });
            if let Some(memory) = loaded.and_then(|loaded| loaded.memory) {
                weights.are(memory.weights_bytes);
                lock(&inner.needed).insert(worker.model.key(), memory.total_bytes());
            }
            let _ = worker.loaded.set(loaded);
            inner.changed();
        }
        Some(Announcement::Working) => worker.worked_at_ms.store(now_ms(), Ordering::Relaxed),
        Some(Announcement::Failed { message, hint, code }) => {
            weights.are(0);
            let hint = hint.unwrap_or_else(|| "`worker.log` in rbee's state folder may tell more".to_owned());
            worker.load_error.get_or_init(|| ApiError::new(code, message).hint(hint));
            worker.end_if_useless();
        }
        None => {}
    }
}

/// Ends a worker's process for certain. It keeps nothing that would need a gentle end.
async fn end(child: &mut tokio::process::Child) -> io::Result<ExitStatus> {
    child.start_kill()?;
    child.wait().await
}

fn describe(status: ExitStatus) -> String {
    let mut text = status.to_string();
    if let Some(code) = status.code() {
        text.clear();
        // Writing to a String cannot fail.
        let _ = write!(text, "exit code {code}");
    }
    text
}

/// How long to wait after so many crashes in a row: not at all after the first, then 1, 2, 4 … s.
fn restart_delay(crashes: u32) -> Duration {
    match crashes {
        0 | 1 => Duration::ZERO,
        n => Duration::from_secs(1 << (n - 2).min(10)).min(RESTART_DELAY_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_made_up_leave_room_for_a_models_own() {
        let mut names = Names::default();
        for number in 0..100 {
            let is_new = names.add(&format!("made-up-{number}"), NameKind::Other);
            assert_eq!(is_new, number < OTHER_NAMES_MAX, "{number}");
        }
        assert!(names.add("m", NameKind::Own) && !names.add("m", NameKind::Own));
        assert!(!names.add("made-up-1", NameKind::Own), "it is known");
        assert_eq!(names.names.len(), OTHER_NAMES_MAX + 1);
        for number in 0..100 {
            names.add(&format!("/path/{number}"), NameKind::Own);
        }
        assert_eq!(names.names.len(), NAMES_MAX);

        let long = "x".repeat(OTHER_NAME_BYTES_MAX + 1);
        assert!(!Names::default().add(&long, NameKind::Other) && Names::default().add(&long, NameKind::Own));
    }

    #[test]
    fn the_restart_delay_doubles_up_to_its_bound() {
        let seconds: Vec<u64> = (0..9).map(|crashes| restart_delay(crashes).as_secs()).collect();
        assert_eq!(seconds, [0, 0, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(restart_delay(u32::MAX), RESTART_DELAY_MAX);
    }
}
