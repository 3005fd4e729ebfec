//! Where each job runs, and in which order: decided here, done by the driver.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use rbee_narration::count;
use rbee_protocol::{
    ApiError, ErrorCode, HiveId, HiveState, HiveSummary, JobId, PrincipalId, WatchedWorker, WorkerId,
    WorkerInfo, WorkerWatch, nearest,
};

/// A worker is given so many jobs at once until it has told how many it answers.
const SLOTS_UNTIL_TOLD: usize = 1;
/// How long a wait will be is estimated from so many of a model's last jobs.
const DURATIONS_KEPT: usize = 16;
/// The key of all names that no worker goes by, of jobs that another model may do: one after the other is found out about.
/// With a key for each, whoever makes names up would wait for no turn. No model can have this name.
const UNKNOWN: &str = "\0";

/// What a job needs in order to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// This hive, in whatever state its workers are.
    Hive(HiveId),
    /// A free slot of a worker of this model, or in its place of another, on whichever hive; for an answer, or for
    /// embeddings.
    Worker { model: String, falls_back: bool, embeds: bool },
    /// This hive, on which a worker of this model has the job already.
    Again { hive: HiveId, model: String },
}

impl Need {
    /// The model that the job takes a slot of while it runs.
    fn model(&self) -> Option<&str> {
        match self {
            Self::Worker { model, .. } | Self::Again { model, .. } => Some(model),
            Self::Hive(_) => None,
        }
    }

    /// Whether another model may do it where there is none of that name.
    fn falls_back(&self) -> bool {
        matches!(self, Self::Worker { falls_back: true, .. })
    }

    /// Whether it is known to be for embeddings. A worker computes those one after the other, so that one more of them
    /// would hold a slot in which an answer could begin.
    fn embeds(&self) -> bool {
        matches!(self, Self::Worker { embeds: true, .. })
    }
}

/// How many jobs may wait for a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    /// Of all principals together.
    pub(crate) jobs: usize,
    /// Of one principal.
    pub(crate) jobs_per_principal: usize,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A job wants to run. One that was accepted before is not refused for the queue's length.
    Submit { job: JobId, principal: PrincipalId, need: Need, is_new: bool },
    /// A job has ended, wherever it was.
    Finished { job: JobId },
    /// A hive is about to be reached.
    Connecting { hive: HiveId },
    /// A hive tells of its workers and of itself, and so that it is there.
    Report { hive: HiveId, watch: WorkerWatch },
    /// A hive cannot be reached.
    Down { hive: HiveId, reason: String },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Run the job on the hive.
    Dispatch { job: JobId, hive: HiveId },
    /// Tell the job its place.
    Wait { job: JobId, place: Place },
    /// Fail the job.
    Refuse { job: JobId, error: ApiError },
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// So many jobs have to end before this one begins, unless others come whose turn is sooner.
    pub(crate) ahead: u64,
    /// How long that will be, going by the jobs before.
    pub(crate) estimate: Option<Duration>,
}

/// A hive on which a job might run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Considered {
    pub(crate) hive: HiveId,
    pub(crate) outlook: Outlook,
}

/// What a job has to expect of a hive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outlook {
    Down(Option<String>),
    Connecting,
    Ready {
        /// The one that has the job's model.
        worker: Option<WorkerId>,
        /// How many jobs of that model it takes at once.
        slots: usize,
        /// How many of them it has.
        taken: usize,
        /// How many jobs of all models it has.
        jobs: usize,
    },
}

impl fmt::Display for Considered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hive = &self.hive;
        match &self.outlook {
            Outlook::Down(reason) => {
                write!(out, "Hive {hive} is down: {}", reason.as_deref().unwrap_or("it does not answer"))
            }
            Outlook::Connecting => write!(out, "Hive {hive} is coming up"),
            Outlook::Ready { worker: Some(worker), slots, taken, .. } => {
                write!(out, "Hive {hive} has the model in {worker}, where {taken} of {slots} slots are taken")
            }
            Outlook::Ready { worker: None, jobs: 0, .. } => {
                write!(out, "Hive {hive} has no worker with the model yet")
            }
            Outlook::Ready { worker: None, jobs, .. } => {
                let jobs = count(*jobs as u64, "other job");
                write!(out, "Hive {hive} has no worker with the model yet, and {jobs}")
            }
        }
    }
}

/// The hives, what runs on them, and what waits for them.
#[derive(Debug)]
pub(crate) struct State {
    limits: QueueLimits,
    hives: BTreeMap<HiveId, Hive>,
    /// In the order of their turns.
    waiting: Vec<Waiting>,
    arrivals: u64,
    running: HashMap<JobId, Running>,
    /// By the model's key.
    turns: HashMap<String, Turns>,
}

#[derive(Debug)]
struct Hive {
    state: HiveState,
    workers: Vec<WatchedWorker>,
    paused: bool,
    version: Option<String>,
    reason: Option<String>,
}

#[derive(Debug)]
struct Waiting {
    job: JobId,
    principal: PrincipalId,
    need: Need,
    arrival: u64,
    /// How many it was last told are ahead of it.
    told: u64,
}

#[derive(Debug)]
struct Running {
    hive: HiveId,
    need: Need,
    since: Instant,
}

/// Whose turn it is at a model, and how long turns took.
///
/// Principals take turns in rounds, in each of which everybody who waits has one job. Whoever comes begins in the
/// round that is under way, so nothing is gained by having stayed away.
#[derive(Debug, Default)]
struct Turns {
    /// The round of the job that began last.
    round: u64,
    /// The first round in which a principal may have another job, where that is later than `round`.
    next_rounds: HashMap<PrincipalId, u64>,
    /// How long the last jobs took, the newest last.
    durations: VecDeque<Duration>,
}

enum Placement {
    Here(HiveId),
    Later,
    Never(ApiError),
}

impl Turns {
    fn next_round(&self, principal: &PrincipalId) -> u64 {
        self.next_rounds.get(principal).copied().unwrap_or(self.round)
    }

    /// A job of `principal` begins.
    fn begin(&mut self, principal: &PrincipalId) {
        self.round = self.next_round(principal);
        self.next_rounds.insert(principal.clone(), self.round + 1);
        let round = self.round;
        self.next_rounds.retain(|_, next| *next > round);
    }

    fn end(&mut self, took: Duration) {
        if self.durations.len() == DURATIONS_KEPT {
            self.durations.pop_front();
        }
        self.durations.push_back(took);
    }

    /// How long it takes until so many jobs have ended, on so many slots.
    fn estimate(&self, jobs: u64, slots: usize) -> Option<Duration> {
        let mut durations: Vec<Duration> = self.durations.iter().copied().collect();
        durations.sort_unstable();
        let median = durations.get(durations.len() / 2)?;
        Some(median.mul_f64(jobs as f64 / slots.max(1) as f64))
    }
}

impl State {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            hives: BTreeMap::new(),
            waiting: Vec::new(),
            arrivals: 0,
            running: HashMap::new(),
            turns: HashMap::new(),
        }
    }

    /// Takes in what happened at `now` and says what is to be done.
    pub(crate) fn handle(&mut self, now: Instant, input: Input) -> Vec<Action> {
        match input {
            Input::Submit { job, principal, need, is_new } => {
                if is_new && let Err(error) = self.check_room(&principal, &need) {
                    return vec![Action::Refuse { job, error }];
                }
                self.arrivals += 1;
                self.waiting.push(Waiting { job, principal, need, arrival: self.arrivals, told: 0 });
            }
            Input::Finished { job } => {
                if let Some(Running { need, since, .. }) = self.running.remove(&job)
                    && let Some(key) = self.key(&need).map(str::to_owned)
                {
                    self.turns.entry(key).or_default().end(now.saturating_duration_since(since));
                }
                self.waiting.retain(|waiting| waiting.job != job);
            }
            Input::Connecting { hive } => self.set(hive, HiveState::Connecting, None, None),
            Input::Report { hive, watch } => self.set(hive, HiveState::Ready, Some(watch), None),
            Input::Down { hive, reason } => self.set(hive, HiveState::Down, None, Some(reason)),
        }
        self.order();
        let mut actions = self.place_waiting(now);
        self.tell_places(&mut actions);
        self.forget();
        actions
    }

    /// Whether a job of `principal` with this need may wait where it has to.
    ///
    /// # Errors
    /// `busy` when the queue is full.
    pub(crate) fn check_room(&self, principal: &PrincipalId, need: &Need) -> Result<(), ApiError> {
        if need.model().is_none() || !matches!(self.placement(need), Placement::Later) {
            return Ok(());
        }
        let all = || self.waiting.iter().filter(|waiting| waiting.need.model().is_some());
        let theirs = || all().filter(|waiting| waiting.principal == *principal);
        let QueueLimits { jobs, jobs_per_principal } = self.limits;
        let (message, until) = if theirs().count() >= jobs_per_principal {
            let message =
                format!("{jobs_per_principal} jobs of yours wait for their turn, and that is the limit");
            (message, self.first_turn(theirs()))
        } else if all().count() >= jobs {
            (format!("{jobs} jobs wait for their turn, and that is the limit"), self.first_turn(all()))
        } else {
            return Ok(());
        };
        let busy = ApiError::new(ErrorCode::Busy, message);
        // Sooner than in a second is no advice.
        let seconds = until.map(|until| until.as_secs_f64().ceil().max(1.0) as u64);
        Err(match seconds {
            None => busy.hint("try again when some have had theirs"),
            Some(seconds) => ApiError {
                retry_after_s: Some(seconds),
                ..busy.hint(format!("try again when some have had theirs, in about {seconds} s"))
            },
        })
    }

    /// How long it takes until the first of those who wait has its turn, going by the jobs before.
    fn first_turn<'s>(&'s self, waiting: impl Iterator<Item = &'s Waiting>) -> Option<Duration> {
        let turns = waiting.filter_map(|Waiting { need, told, .. }| {
            let model = need.model()?;
            let slots = self.ready_hives().map(|(_, hive)| slots(hive, model)).sum();
            self.turns.get(self.key(need)?)?.estimate(*told, slots)
        });
        turns.min()
    }

    /// What speaks for and against each hive as the place of a job with this need, which is yet to come.
    pub(crate) fn consider(&self, need: &Need) -> Vec<Considered> {
        let Some((model, key)) = need.model().zip(self.key(need)) else { return Vec::new() };
        let consider = |(id, hive): (&HiveId, &Hive)| Considered {
            hive: id.clone(),
            outlook: match hive.state {
                HiveState::Down => Outlook::Down(hive.reason.clone()),
                HiveState::Connecting => Outlook::Connecting,
                HiveState::Ready => Outlook::Ready {
                    worker: hive
                        .workers
                        .iter()
                        .find(|worker| goes_by(worker, model))
                        .map(|worker| worker.worker.worker.clone()),
                    slots: slots(hive, model),
                    taken: self.running_at(key).filter(|(hive, _)| *hive == id).count(),
                    jobs: self
                        .running
                        .values()
                        .filter(|at| at.hive == *id && at.need.model().is_some())
                        .count(),
                },
            },
        };
        self.hives.iter().map(consider).collect()
    }

    /// Where a job with this need would run, had it come now and nothing been in its way.
    pub(crate) fn likely(&self, need: &Need) -> Option<HiveId> {
        match self.placement(need) {
            Placement::Here(hive) => Some(hive),
            Placement::Later => {
                self.hives.iter().find(|(_, hive)| hive.state != HiveState::Down).map(|(id, _)| id.clone())
            }
            Placement::Never(_) => self.hives.keys().next().cloned(),
        }
    }

    /// The hives as they are now.
    pub(crate) fn hives(&self) -> Vec<HiveSummary> {
        let summary = |(id, hive): (&HiveId, &Hive)| HiveSummary {
            hive: id.clone(),
            state: hive.state,
            workers: hive.workers.len() as u64,
            running_jobs: self.jobs_on(id) as u64,
            reason: hive.reason.clone(),
            paused: hive.paused,
            version: hive.version.clone(),
        };
        self.hives.iter().map(summary).collect()
    }

    /// The workers of all hives, as those last told.
    pub(crate) fn workers(&self) -> Vec<WorkerInfo> {
        let workers = self.hives.values().flat_map(|hive| &hive.workers);
        workers.map(|watched| watched.worker.clone()).collect()
    }

    fn set(&mut self, hive: HiveId, state: HiveState, watch: Option<WorkerWatch>, reason: Option<String>) {
        let (workers, paused, version) =
            watch.map(|watch| (watch.workers, watch.paused, watch.version)).unwrap_or_default();
        self.hives.insert(hive, Hive { state, workers, paused, version, reason });
    }

    /// What the model of a job is known by here, whatever the job calls it: one that a worker goes by has the first of
    /// its names.
    fn key<'n>(&'n self, need: &'n Need) -> Option<&'n str> {
        let model = need.model()?;
        let mut workers = self.hives.values().flat_map(|hive| &hive.workers);
        let known = workers.find(|worker| goes_by(worker, model)).and_then(|worker| worker.names.first());
        let unknown = if need.falls_back() { UNKNOWN } else { model };
        Some(known.map_or(unknown, String::as_str))
    }

    fn jobs_on(&self, hive: &HiveId) -> usize {
        self.running.values().filter(|running| running.hive == *hive).count()
    }

    /// The hives on which jobs of the model with this key run, once for each, and whether they are for embeddings.
    fn running_at<'s>(&'s self, key: &'s str) -> impl Iterator<Item = (&'s HiveId, bool)> {
        let at = move |running: &&Running| self.key(&running.need) == Some(key);
        self.running.values().filter(at).map(|running| (&running.hive, running.need.embeds()))
    }

    /// Brings those who wait into the order of their turns. Those whose jobs run already come first.
    fn order(&mut self) {
        let mut next: HashMap<(&str, bool, &PrincipalId), u64> = HashMap::new();
        let mut rounds = HashMap::new();
        // Each principal's own are in the order in which they came, here and afterwards.
        for Waiting { job, principal, need, .. } in &self.waiting {
            let (Need::Worker { embeds, .. }, Some(key)) = (need, self.key(need)) else { continue };
            let first = || self.turns.get(key).map_or(0, |turns| turns.next_round(principal));
            let round = next.entry((key, *embeds, principal)).or_insert_with(first);
            rounds.insert(job.clone(), *round);
            *round += 1;
        }
        self.waiting.sort_by_cached_key(|waiting| (rounds.get(&waiting.job).copied(), waiting.arrival));
    }

    fn place_waiting(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        // Models without a free slot, for answers or for embeddings: most who wait need not be looked at one by one.
        let mut full: Vec<(String, bool)> = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            if let Need::Worker { embeds, .. } = &waiting.need
                && let Some(own) = self.key(&waiting.need)
                && full.iter().any(|(key, of_embeddings)| of_embeddings == embeds && key == own)
            {
                self.waiting.push(waiting);
                continue;
            }
            match self.placement(&waiting.need) {
                Placement::Here(hive) => {
                    let Waiting { job, principal, need, .. } = waiting;
                    if matches!(need, Need::Worker { .. })
                        && let Some(key) = self.key(&need).map(str::to_owned)
                    {
                        self.turns.entry(key).or_default().begin(&principal);
                    }
                    self.running.insert(job.clone(), Running { hive: hive.clone(), need, since: now });
                    actions.push(Action::Dispatch { job, hive });
                }
                Placement::Never(error) => actions.push(Action::Refuse { job: waiting.job, error }),
                Placement::Later => {
                    if let Need::Worker { embeds, .. } = &waiting.need
                        && let Some(key) = self.key(&waiting.need)
                    {
                        full.push((key.to_owned(), *embeds));
                    }
                    self.waiting.push(waiting);
                }
            }
        }
        actions
    }

    /// Tells those who wait for a slot their places, where these have changed.
    fn tell_places(&mut self, actions: &mut Vec<Action>) {
        struct Line {
            waiting: usize,
            excess: usize,
            slots: usize,
        }
        let mut lines: HashMap<(String, bool), Line> = HashMap::new();
        let mut waiting = std::mem::take(&mut self.waiting);
        for Waiting { job, need, told, .. } in &mut waiting {
            let (Some(model), Some(key)) = (need.model(), self.key(need)) else { continue };
            let line = lines.entry((key.to_owned(), need.embeds())).or_insert_with(|| {
                let slots = || self.ready_hives().map(move |(_, hive)| slots(hive, model));
                // Where there is no slot yet, all go before.
                let excess = |running: usize, slots: usize| {
                    if slots == 0 { running } else { (running + 1).saturating_sub(slots) }
                };
                let mut line = Line {
                    waiting: 0,
                    excess: excess(self.running_at(key).count(), slots().sum()),
                    slots: slots().sum(),
                };
                if need.embeds() {
                    line.slots = slots().map(embedding_slots).sum();
                    let running = self.running_at(key).filter(|(_, embeds)| *embeds).count();
                    line.excess = line.excess.max(excess(running, line.slots));
                }
                line
            });
            let ahead = (line.waiting + line.excess) as u64;
            line.waiting += 1;
            if ahead != *told {
                *told = ahead;
                let estimate = self.turns.get(key).filter(|_| line.slots > 0);
                let estimate = estimate.and_then(|turns| turns.estimate(ahead, line.slots));
                actions.push(Action::Wait { job: job.clone(), place: Place { ahead, estimate } });
            }
        }
        self.waiting = waiting;
    }

    /// Forgets turns at models that no worker has and no job wants: jobs may ask for any name.
    fn forget(&mut self) {
        let mut turns = std::mem::take(&mut self.turns);
        let wanted = self.waiting.iter().map(|waiting| &waiting.need);
        let wanted = wanted.chain(self.running.values().map(|running| &running.need));
        let mut keys: Vec<&str> = wanted.filter_map(|need| self.key(need)).collect();
        let workers = self.hives.values().flat_map(|hive| &hive.workers);
        keys.extend(workers.filter_map(|worker| worker.names.first()).map(String::as_str));
        turns.retain(|key, _| keys.contains(&key.as_str()));
        self.turns = turns;
    }

    fn ready_hives(&self) -> impl Iterator<Item = (&HiveId, &Hive)> {
        self.hives.iter().filter(|(_, hive)| hive.state == HiveState::Ready)
    }

    fn placement(&self, need: &Need) -> Placement {
        match need {
            Need::Hive(id) | Need::Again { hive: id, .. } => match self.hives.get(id) {
                None => {
                    let near = nearest(id.as_str(), self.hives.keys().map(HiveId::as_str));
                    let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
                    Placement::Never(
                        ApiError::new(ErrorCode::NotFound, format!("there is no hive `{id}`"))
                            .hint(format!("{near}`rbee hive list` shows the hives")),
                    )
                }
                Some(hive) => match hive.state {
                    HiveState::Ready => Placement::Here(id.clone()),
                    HiveState::Connecting => Placement::Later,
                    HiveState::Down => Placement::Never(unavailable(id, hive)),
                },
            },
            Need::Worker { model, embeds, .. } => {
                self.place_on_worker(model, self.key(need).unwrap_or(model), *embeds)
            }
        }
    }

    /// The ready hive with a free slot for the model: one that has a worker of it if there is one,
    /// the one with the fewest jobs among those.
    fn place_on_worker(&self, model: &str, key: &str, embeds: bool) -> Placement {
        let free = self.ready_hives().filter(|(id, hive)| {
            let (slots, on) =
                (slots(hive, model), || self.running_at(key).filter(move |(hive, _)| hive == id));
            on().count() < slots
                && (!embeds || on().filter(|(_, embeds)| *embeds).count() < embedding_slots(slots))
        });
        let best = free.min_by_key(|(id, hive)| {
            let is_loaded = hive.workers.iter().any(|worker| goes_by(worker, model));
            (!is_loaded, self.jobs_on(id))
        });
        if let Some((id, _)) = best {
            return Placement::Here(id.clone());
        }
        if self.hives.values().any(|hive| hive.state != HiveState::Down) {
            return Placement::Later;
        }
        Placement::Never(match self.hives.iter().next() {
            Some((id, hive)) => unavailable(id, hive),
            None => ApiError::new(ErrorCode::Unavailable, "there is no hive to run this on")
                .hint("`rbee hive list` shows the hives"),
        })
    }
}

fn goes_by(worker: &WatchedWorker, model: &str) -> bool {
    worker.names.iter().any(|name| name == model)
}

/// How many jobs of the model the hive takes at once. Of one that has no worker of it yet, one job starts that.
fn slots(hive: &Hive, model: &str) -> usize {
    let workers = hive.workers.iter().filter(|worker| goes_by(worker, model));
    let told =
        workers.map(|worker| worker.worker.loaded.map_or(SLOTS_UNTIL_TOLD, |loaded| loaded.slots as usize));
    told.sum::<usize>().max(SLOTS_UNTIL_TOLD)
}

/// How many of a worker's slots jobs for embeddings may have, so that there is always one for an answer where there are two.
fn embedding_slots(slots: usize) -> usize {
    (slots / 2).max(1)
}

fn unavailable(id: &HiveId, hive: &Hive) -> ApiError {
    let reason = hive.reason.as_deref().unwrap_or("it does not answer");
    ApiError::new(ErrorCode::Unavailable, format!("hive {id} is down: {reason}"))
        .hint("`rbee queen logs` tells more; the queen goes on trying")
}

#[cfg(test)]
mod tests;
