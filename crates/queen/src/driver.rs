use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rbee_home::quoted;
use rbee_jobs::{
    Child, Exposition, JobWriter, Jobs, Placement, Principal, Relayed, Service, SystemLog, daemon_info,
    interrupted_by_restart, lock, now_ms, relay,
};
use rbee_narration::{Level, count};
use rbee_protocol::{
    ApiError, Client, ClientError, DaemonInfo, End, EndState, ErrorCode, HiveId, HiveList, HiveState,
    JobEvent, JobId, ModelAlias, ModelInfo, ModelList, ModelRef, ModelReport, Operation, Phase, PrincipalId,
    Progress, QueenReport, Role, StopRequest, SubmitRequest, SystemEventKind, Unit, WorkerInfo, WorkerList,
    WorkerState,
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::aliases::{self, Aliases};
use crate::hives;
use crate::state::{Action, Input, Need, Place, QueueLimits, State};

/// A hive confirms a cancellation within this, since it kills a worker that does not sooner.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(20);

/// A job that a hive has not begun is given to the next so often, once that hive is seen to be gone or so
/// much time has passed.
const HIVE_LOSSES_MAX: u32 = 3;
const HIVE_LOSS_TIMEOUT: Duration = Duration::from_secs(2);

/// The slot of what a hive does without a worker. No model has such a name; the default one has none.
const NO_SLOT: &str = "\0hive";

/// A job is told its place at most so often for each job that is ahead of it, up to so many: the log leaves out progress that
/// comes more often still, and many who wait for long would fill the journal with their places.
const PLACE_INTERVAL: Duration = Duration::from_millis(300);
const PLACE_INTERVALS_MAX: u64 = 60;

/// What hubs are asked for has no more.
const SEARCH_BYTES_MAX: usize = 256;
const SEARCH_LIMIT_MAX: u32 = 100;

/// What the queen does with its jobs.
pub(crate) struct Queen {
    url: String,
    jobs: Jobs,
    /// What operators are told.
    pub(crate) events: SystemLog,
    started_at_ms: u64,
    keep_hive: AtomicBool,
    stopping: AtomicBool,
    shutdown: CancellationToken,
    aliases: Aliases,
    inner: Mutex<Inner>,
}

struct Inner {
    state: State,
    hives: HashMap<HiveId, Reach>,
    waiting: HashMap<JobId, watch::Sender<News>>,
}

/// How to reach a hive that is there, until it is gone.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) client: Client,
    pub(crate) gone: CancellationToken,
}

/// What a waiting job is told. Only the latest counts: a place replaces the place before it, and a
/// verdict comes last.
#[derive(Clone)]
enum News {
    Wait(Place),
    Go(HiveId, Reach),
    Refused(ApiError),
}

impl Queen {
    pub(crate) fn new(
        url: String,
        jobs: Jobs,
        events: SystemLog,
        queue: QueueLimits,
        aliases: Aliases,
        shutdown: CancellationToken,
    ) -> Self {
        let inner = Inner { state: State::new(queue), hives: HashMap::new(), waiting: HashMap::new() };
        Self {
            url,
            jobs,
            events,
            started_at_ms: now_ms(),
            keep_hive: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            shutdown,
            aliases,
            inner: Mutex::new(inner),
        }
    }

    /// Whether the local hive is to outlive this queen.
    pub(crate) fn keeps_hive(&self) -> bool {
        self.keep_hive.load(Ordering::Relaxed)
    }

    /// Begins to stop the queen, if nobody has yet.
    pub(crate) fn begin_to_stop(&self) {
        if !self.stopping.swap(true, Ordering::Relaxed) {
            self.events.append(SystemEventKind::QueenStopping {});
        }
        self.shutdown.cancel();
    }

    /// Adds what is counted of hives and workers.
    pub(crate) fn expose(&self, exposition: &mut Exposition) {
        let (hives, workers) = {
            let inner = self.lock();
            (inner.state.hives(), inner.state.workers())
        };
        let hives =
            [("connecting", HiveState::Connecting), ("ready", HiveState::Ready), ("down", HiveState::Down)]
                .map(|(name, state)| (name, hives.iter().filter(|hive| hive.state == state).count() as u64));
        exposition.gauges("rbee_hives", "Hives that the queen knows.", "state", hives);
        let workers = [
            ("loading", WorkerState::Loading),
            ("idle", WorkerState::Idle),
            ("busy", WorkerState::Busy),
            ("draining", WorkerState::Draining),
        ]
        .map(|(name, state)| (name, workers.iter().filter(|worker| worker.state == state).count() as u64));
        exposition.gauges("rbee_workers", "Workers of hives that are there.", "state", workers);
    }

    /// Takes in what happened to a hive; `reach` comes with its first report.
    pub(crate) fn hive_changed(&self, input: Input, reach: Option<(HiveId, Reach)>) {
        let mut inner = self.lock();
        if let Some((hive, reach)) = reach {
            inner.hives.insert(hive, reach);
        }
        inner.handle(input);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Waits until `job` may run, and says where. One that is new may find the queue full.
    async fn place(&self, job: &JobWriter, need: Need, is_new: bool) -> Result<Placed<'_>, ApiError> {
        let (sender, mut news) = watch::channel(News::Wait(Place::default()));
        // What runs on a hive already is reached first: there it has to be cancelled.
        let may_stop = job.placement().is_none();
        let turn = {
            let mut inner = self.lock();
            let (id, principal) = (job.id().clone(), job.principal().clone());
            inner.waiting.insert(id.clone(), sender);
            inner.handle(Input::Submit { job: id.clone(), principal, need, is_new });
            // From here on, whatever happens, the job leaves the state when this goes.
            Turn { queen: self, job: id }
        };
        let mut most_ahead = 0;
        let mut told_at = None;
        if matches!(*news.borrow(), News::Wait(Place { ahead: 0, .. })) {
            job.narrator("queen").action("schedule").human("Waiting for a hive to come up").emit();
        }
        loop {
            let latest = news.borrow_and_update().clone();
            let mut held_back = None;
            match latest {
                News::Wait(Place { ahead: 0, .. }) if most_ahead == 0 => {}
                News::Wait(Place { ahead, .. }) if let Some(due) = place_due(told_at, ahead) => {
                    held_back = Some(due);
                }
                News::Wait(Place { ahead, estimate }) => {
                    if most_ahead == 0 {
                        let narrator = job.narrator("queen");
                        let draft = narrator.action("queue").context(count(ahead, "job"));
                        draft.human("Waiting for {} of the same model").emit();
                    }
                    most_ahead = ahead.max(most_ahead);
                    job.progress(queued(most_ahead - ahead, most_ahead, estimate));
                    told_at = Some(Instant::now());
                }
                News::Go(hive, reach) => {
                    if most_ahead > 0 {
                        job.progress(queued(most_ahead, most_ahead, None));
                    }
                    job.start();
                    return Ok(Placed { hive, reach, _turn: turn });
                }
                News::Refused(error) => return Err(error),
            }
            tokio::select! {
                changed = news.changed() => changed.expect("the sender stays until the job's turn ends"),
                () = job.cancelled(), if may_stop => return Err(job.cancel_error()),
                // The pace itself.
                () = sleep_until(held_back.unwrap_or_else(Instant::now).into()), if held_back.is_some() => {}
            }
        }
    }

    /// Has a worker do `operation`.
    async fn work(&self, operation: Operation, job: &JobWriter, is_new: bool) -> Result<End, ApiError> {
        let need = need(&operation, operation.model().flatten());
        if operation.is_dry_run() {
            return self.rehearse(&need, operation, job).await;
        }
        let model = name_of_model(operation.model().flatten());
        let asked = Instant::now();
        let narrator = job.narrator("queen");
        self.consider(&need, job, Level::Debug);
        let mut losses = 0;
        loop {
            let is_new = is_new && losses == 0;
            let placed = self.place(job, need.clone(), is_new).await?;
            let queue_ms = asked.elapsed().as_secs_f64() * 1e3;
            let draft = narrator.action("schedule").target(&placed.hive).context(&placed.hive);
            draft.human("Hive {} runs it").emit();
            let mut child = SubmitRequest::child(operation.clone(), job.id().clone());
            // So that it does not depend on there being a queen all the time either.
            child.detached = job.is_detached();
            child.scope = Some(job.principal().to_string());
            let child = Child::New(Box::new(child), Some((&placed.hive, &model)));
            match self.relay(job, &placed, child).await {
                Err(error) => self.wait_for_next(error, &mut losses, &placed, job).await?,
                Ok(mut end) => {
                    if let Some(timings) = &mut end.timings {
                        timings.queue_ms += queue_ms;
                    }
                    return Ok(end);
                }
            }
        }
    }

    /// Says which hives might run a job, and how they stand.
    fn consider(&self, need: &Need, job: &JobWriter, level: Level) {
        let considered = self.lock().state.consider(need);
        let narrator = job.narrator("queen");
        for considered in considered {
            let draft = narrator.action("consider").target(&considered.hive).level(level);
            draft.context(&considered).human("{}").emit();
        }
    }

    /// Says where `operation` would run, and has the hive there say how.
    async fn rehearse(&self, need: &Need, operation: Operation, job: &JobWriter) -> Result<End, ApiError> {
        let hive = self.lock().state.likely(need).unwrap_or_else(hives::local);
        // Until it is up, there is nothing to say of it.
        let placed = self.place(job, Need::Hive(hive.clone()), true).await?;
        self.consider(need, job, Level::Info);
        let narrator = job.narrator("queen");
        let draft = narrator.action("schedule").target(&hive).context(&hive);
        draft.human("Asking hive {} how it would run there").emit();
        let child = SubmitRequest::child(operation, job.id().clone());
        self.relay(job, &placed, Child::New(Box::new(child), None)).await
    }

    /// Takes up a job that a hive has from the queen before this one.
    async fn work_again(&self, at: Placement, job: &JobWriter) -> Result<End, ApiError> {
        let Placement { hive, child, slot: model } = at;
        let need = match model.as_str() {
            NO_SLOT => Need::Hive(hive.clone()),
            _ => Need::Again { hive: hive.clone(), model },
        };
        let placed = self.place(job, need, false).await;
        let placed = placed.map_err(|error| interrupted(&hive, &error.message))?;
        self.relay(job, &placed, Child::Existing(child)).await
    }

    async fn relay(&self, job: &JobWriter, placed: &Placed<'_>, child: Child<'_>) -> Result<End, ApiError> {
        let Placed { hive, reach, .. } = placed;
        match relay(job, &reach.client, child, CANCEL_TIMEOUT, reach.gone.cancelled()).await {
            Relayed::Ended(end) => Ok(end),
            Relayed::Gone(()) => Err(interrupted(hive, "it went away")),
            Relayed::Failed(ClientError::Api(error)) if error.code == ErrorCode::NotFound => {
                Err(interrupted(hive, "it no longer knows the job"))
            }
            Relayed::Failed(ClientError::Api(error)) => Err(error),
            Relayed::Failed(error) => Err(interrupted(hive, &error.to_string())),
            Relayed::Unconfirmed => {
                let narrator = job.narrator("queen");
                let draft = narrator.action("cancel").target(hive).level(Level::Warn);
                draft.context(hive).human("Hive {} did not confirm that it stopped").emit();
                Err(job.cancel_error())
            }
        }
    }

    /// Has a hive itself do `operation`, and no worker.
    async fn have_hive_do(
        &self,
        hive: HiveId,
        operation: Operation,
        job: &JobWriter,
    ) -> Result<End, ApiError> {
        let lasts = lasts(&operation);
        let mut losses = 0;
        loop {
            let placed = self.place(job, Need::Hive(hive.clone()), losses == 0).await?;
            let mut child = SubmitRequest::child(operation.clone(), job.id().clone());
            child.detached = job.is_detached();
            let noted = lasts.then_some((&placed.hive, NO_SLOT));
            match self.relay(job, &placed, Child::New(Box::new(child), noted)).await {
                Err(error) if lasts => self.wait_for_next(error, &mut losses, &placed, job).await?,
                end => return end,
            }
        }
    }

    /// Waits until a hive that went before it had the job may have come back. Any other error is the job's.
    async fn wait_for_next(
        &self,
        error: ApiError,
        losses: &mut u32,
        placed: &Placed<'_>,
        job: &JobWriter,
    ) -> Result<(), ApiError> {
        let is_begun = job.placement().is_some();
        if error.code != ErrorCode::Interrupted || is_begun || *losses == HIVE_LOSSES_MAX {
            return Err(error);
        }
        *losses += 1;
        tokio::select! {
            () = placed.reach.gone.cancelled() => Ok(()),
            () = job.cancelled() => Err(job.cancel_error()),
            // It is there after all, whatever it was.
            () = tokio::time::sleep(HIVE_LOSS_TIMEOUT) => Ok(()),
        }
    }

    /// Puts the model's own name where `operation` has an alias, and says so; returns both.
    fn resolve(&self, operation: &mut Operation, job: &JobWriter) -> Option<(ModelRef, ModelRef)> {
        let alias = named_model(operation).flatten()?.clone();
        let model = self.aliases.get(alias.as_str())?;
        match operation {
            // What goes is named by its own name: an alias would stand for nothing then.
            Operation::ModelRemove { .. } => return None,
            Operation::ModelPull { model: named } => *named = model.clone(),
            Operation::ModelShow { model: named }
            | Operation::ModelVerify { model: named }
            | Operation::WorkerStart { model: named, .. } => *named = Some(model.clone()),
            operation => operation.set_model(model.clone()),
        }
        let narrator = job.narrator("queen");
        let draft = narrator.action("alias").target(&model);
        draft.context(&alias).context(&model).human("{} stands for {}").emit();
        Some((alias, model))
    }

    /// Has a hive take a model away, and says which aliases stand for nothing then.
    async fn remove_model(&self, model: ModelRef, job: &JobWriter) -> Result<End, ApiError> {
        let aliases = self.aliases.all();
        let mut standing = Vec::new();
        for (alias, stands_for) in &aliases {
            match self.is_known(stands_for, job).await {
                Ok(true) => standing.push((alias, stands_for)),
                Err(error) if job.is_cancelled() => return Err(error),
                _ => {}
            }
        }
        let removal = Operation::ModelRemove { model: model.clone() };
        let end = self.have_hive_do(hives::local(), removal, job).await?;
        if let (Some(ErrorCode::NotFound), Some(stands_for)) =
            (end.error.as_ref().map(|error| error.code), aliases.get(model.as_str()))
        {
            let message = format!("{model} is no model, but an alias of {stands_for}");
            let error = ApiError::new(ErrorCode::NotFound, message);
            return Err(error.hint(format!("{} takes it away", removal_of(model.as_str()))));
        }
        if end.state != EndState::Succeeded {
            return Ok(end);
        }
        for (alias, stands_for) in standing {
            if self.is_known(stands_for, job).await == Ok(false) {
                let narrator = job.narrator("queen");
                let draft = narrator.action("alias").target(alias).level(Level::Warn).context(alias);
                draft
                    .context(removal_of(alias))
                    .human("{} stands for a model that is gone: {} ends that")
                    .emit();
            }
        }
        Ok(end)
    }

    /// Whether a hive has this model, or gets it when it is wanted.
    async fn is_known(&self, model: &ModelRef, job: &JobWriter) -> Result<bool, ApiError> {
        let question = Operation::ModelShow { model: Some(model.clone()) };
        match self.ask_all::<ModelReport>(&question, job).await {
            Ok(shown) => Ok(!shown.is_empty()),
            Err(error) if error.code == ErrorCode::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts a question to every hive that is there, and gathers the answers.
    async fn ask_all<T: DeserializeOwned>(
        &self,
        operation: &Operation,
        job: &JobWriter,
    ) -> Result<Vec<T>, ApiError> {
        let hives = self.lock().state.hives();
        let mut answers = Vec::new();
        for hive in hives.into_iter().filter(|hive| hive.state != HiveState::Down) {
            let placed = self.place(job, Need::Hive(hive.hive), true).await?;
            answers.push(ask(&placed, operation, job).await?);
        }
        Ok(answers)
    }

    /// Says so if no hive has this model, which may come later.
    async fn tell_missing(&self, model: &ModelRef, job: &JobWriter) {
        let question = Operation::ModelShow { model: Some(model.clone()) };
        if let Err(error) = self.ask_all::<ModelReport>(&question, job).await
            && error.code == ErrorCode::NotFound
        {
            let narrator = job.narrator("queen");
            let draft = narrator.action("alias").target(model).level(Level::Warn).context(error.message);
            draft.context(error.hint.unwrap_or_default()).human("For now, {}: {}").emit();
        }
    }

    /// Says so if there is a model of this name, which is now the alias of another.
    async fn tell_hidden(&self, alias: &str, model: &ModelRef, job: &JobWriter) {
        let question = Operation::ModelShow { model: Some(ModelRef::new(alias)) };
        let shown = self.ask_all::<ModelReport>(&question, job).await.unwrap_or_default();
        if shown.iter().any(|shown| shown.model.model == alias) {
            let narrator = job.narrator("queen");
            let draft = narrator.action("alias").target(alias).level(Level::Warn).context(alias);
            draft.context(model).human("{} is also the name of a model: from now on it means {}").emit();
        }
    }

    fn report(&self, principal: &PrincipalId) -> QueenReport {
        let info = self.info();
        let jobs = self.jobs.list(principal).jobs;
        let active = jobs.iter().filter(|job| job.ended_at_ms.is_none()).count() as u64;
        let inner = self.lock();
        QueenReport {
            version: info.version,
            pid: info.pid,
            url: self.url.clone(),
            started_at_ms: info.started_at_ms,
            active_jobs: active.saturating_sub(1),
            hives: inner.state.hives(),
            workers: inner.state.workers(),
        }
    }
}

impl Inner {
    fn handle(&mut self, input: Input) {
        for action in self.state.handle(Instant::now(), input) {
            let (job, news) = match action {
                Action::Dispatch { job, hive } => match self.hives.get(&hive) {
                    Some(reach) => (job, News::Go(hive, reach.clone())),
                    None => unreachable!("a hive is reachable before its first report"),
                },
                Action::Wait { job, place } => (job, News::Wait(place)),
                Action::Refuse { job, error } => (job, News::Refused(error)),
            };
            if let Some(sender) = self.waiting.get(&job) {
                sender.send_replace(news);
            }
        }
    }
}

/// Where a job runs. Its slot is free again when this goes.
struct Placed<'q> {
    hive: HiveId,
    reach: Reach,
    _turn: Turn<'q>,
}

struct Turn<'q> {
    queen: &'q Queen,
    job: JobId,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut inner = self.queen.lock();
        inner.waiting.remove(&self.job);
        inner.handle(Input::Finished { job: self.job.clone() });
    }
}

/// When a job that so many are ahead of is to be told of its place again, if that is yet to come.
fn place_due(told_at: Option<Instant>, ahead: u64) -> Option<Instant> {
    let interval = PLACE_INTERVAL.mul_f64(ahead.clamp(1, PLACE_INTERVALS_MAX) as f64);
    told_at.map(|at| at + interval).filter(|due| *due > Instant::now())
}

fn queued(done: u64, total: u64, estimate: Option<Duration>) -> Progress {
    let estimate_ms = estimate.map(|estimate| u64::try_from(estimate.as_millis()).unwrap_or(u64::MAX));
    Progress { estimate_ms, ..Progress::new(Phase::Queued, done, Some(total), Unit::Jobs) }
}

/// What a worker's work with this model needs.
fn need(operation: &Operation, model: Option<&ModelRef>) -> Need {
    let (falls_back, embeds) = (operation.falls_back(), matches!(operation, Operation::Embed(_)));
    Need::Worker { model: name_of_model(model), falls_back, embeds }
}

/// The model that an operation names or leaves open, where it is about one.
fn named_model(operation: &Operation) -> Option<Option<&ModelRef>> {
    match operation {
        Operation::ModelPull { model } | Operation::ModelRemove { model } => Some(Some(model)),
        Operation::ModelShow { model }
        | Operation::ModelVerify { model }
        | Operation::WorkerStart { model, .. } => Some(model.as_ref()),
        operation => operation.model(),
    }
}

/// What failed for want of a model that an alias stands for names the alias, too.
fn explained(alias: Option<(ModelRef, ModelRef)>, done: Result<End, ApiError>) -> Result<End, ApiError> {
    let Some((alias, model)) = alias else { return done };
    let explain = |error: ApiError| match error.code {
        ErrorCode::NotFound => {
            ApiError { message: format!("{alias} stands for {model}: {}", error.message), ..error }
        }
        _ => error,
    };
    match done {
        Ok(end) => Ok(End { error: end.error.map(explain), ..end }),
        Err(error) => Err(explain(error)),
    }
}

/// Whether a hive may take its time over this, which then outlives a queen, and begins again where no hive had it. To stop
/// a worker does not: the next hive gives its name to another.
fn lasts(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::ModelPull { .. } | Operation::ModelVerify { .. } | Operation::WorkerStart { .. }
    )
}

/// The command that takes an alias away.
fn removal_of(alias: &str) -> String {
    format!("`rbee model alias {} --remove`", quoted(Path::new(alias)))
}

/// What a request calls its model; nothing stands for the default model.
fn name_of_model(model: Option<&ModelRef>) -> String {
    model.map_or(String::new(), |model| model.as_str().to_owned())
}

fn interrupted(hive: &HiveId, reason: &str) -> ApiError {
    ApiError::new(ErrorCode::Interrupted, format!("hive {hive} was lost in the middle of the job: {reason}"))
        .hint("try again; `hive.log` in rbee's state folder may tell more")
}

/// Puts a question to one hive and waits for its answer, which does not go into the job's log.
async fn ask<T: DeserializeOwned>(
    placed: &Placed<'_>,
    operation: &Operation,
    job: &JobWriter,
) -> Result<T, ApiError> {
    let client = &placed.reach.client;
    let question = async {
        let child = client.submit(&SubmitRequest::child(operation.clone(), job.id().clone())).await?;
        let mut follow = client.follow(&child.job_id, 0);
        let mut answer = None;
        while let Some(followed) = follow.next().await? {
            match followed.event {
                JobEvent::Result { result } => answer = Some(result),
                JobEvent::End(end) => {
                    if let Some(error) = end.error {
                        return Err(error);
                    }
                }
                event => drop(job.append(&event)),
            }
        }
        let answer = answer.and_then(|answer| serde_json::from_value(answer).ok());
        answer.ok_or_else(|| {
            let message = format!("hive {} answered in a way that makes no sense", placed.hive);
            ApiError::new(ErrorCode::Internal, message)
                .hint("it may be of another version: `rbee queen stop`, then again")
        })
    };
    tokio::select! {
        answer = question => answer,
        () = placed.reach.gone.cancelled() => Err(interrupted(&placed.hive, "it went away")),
        () = job.cancelled() => Err(job.cancel_error()),
    }
}

impl Service for Queen {
    fn info(&self) -> DaemonInfo {
        daemon_info("queen", self.started_at_ms)
    }

    fn check(&self, request: &SubmitRequest, by: &Principal) -> Result<(), ApiError> {
        let bad = |message: &str, hint: &str| Err(ApiError::new(ErrorCode::BadRequest, message).hint(hint));
        if request.origin.is_some() {
            return bad("`origin` is for hives and workers", "leave it out");
        }
        if request.scope.is_some() {
            return bad("`scope` is for hives and workers", "leave it out");
        }
        match &request.operation {
            Operation::Infer(infer) | Operation::CountTokens(infer) => {
                infer.check()?;
                let is_chat = infer.prompt.is_none();
                if is_chat && !infer.messages.iter().any(|message| message.role == Role::User) {
                    let hint = "send at least one, or a `prompt` to go on with";
                    return bad("there is no message of the role `user`", hint);
                }
            }
            Operation::Embed(embed) => embed.check()?,
            Operation::ModelAlias { .. } if !by.operator => {
                let error = ApiError::new(ErrorCode::Denied, "only operators may say what a name stands for");
                return Err(error.hint("`rbee model list` shows what there is"));
            }
            Operation::ModelAlias { alias, model } => aliases::check(alias, model.as_ref())?,
            Operation::ModelPull { .. } | Operation::ModelRemove { .. } | Operation::ModelVerify { .. }
                if !by.operator =>
            {
                let message = "only operators may bring models, take them away and verify them";
                return Err(ApiError::new(ErrorCode::Denied, message)
                    .hint("ask whoever has the operator's key; `rbee model list` shows what there is"));
            }
            Operation::WorkerStart { .. }
            | Operation::WorkerStop { .. }
            | Operation::HivePause { .. }
            | Operation::HiveResume { .. }
                if !by.operator =>
            {
                let message = "only operators may start and stop workers and pause hives";
                return Err(
                    ApiError::new(ErrorCode::Denied, message).hint("ask whoever has the operator's key")
                );
            }
            Operation::ModelSearch { query, limit } => {
                if query.trim().is_empty() || query.len() > SEARCH_BYTES_MAX {
                    return bad("`query` is empty or long", "give it some words of a model's name");
                }
                if limit.is_some_and(|limit| !(1..=SEARCH_LIMIT_MAX).contains(&limit)) {
                    return bad("`limit` is out of its range", "give it a number from 1 to 100");
                }
            }
            Operation::HiveWatch {} => {
                return bad("a queen does not do `hive_watch`", "hives do it for their queen");
            }
            _ => {}
        }
        let Some(model) = named_model(&request.operation) else { return Ok(()) };
        if let Some(model) = model {
            model.check_login()?;
            let is_elsewhere = model.is_elsewhere();
            let model = model.as_str();
            if model.is_empty() {
                return bad("the model's name is empty", "leave `model` out for the default model");
            }
            if model.len() > aliases::MODEL_BYTES_MAX || model.contains('\0') {
                return bad(
                    "the model's name is none that a file can have",
                    "`rbee model list` shows what there is",
                );
            }
            // What there is to say about a file is not for everybody with a key. Names of models elsewhere have a `/` in
            // them, too.
            let is_path = match request.operation.falls_back() {
                true => model.starts_with('/'),
                false => model.contains('/') && !is_elsewhere,
            };
            if !by.operator && is_path {
                let message = "only operators may name a model by the path of its file";
                let hint = "`rbee model list` shows the models that have names";
                return Err(ApiError::new(ErrorCode::Denied, message).hint(hint));
            }
        }
        if request.operation.model().is_none() {
            return Ok(());
        }
        let stands_for = model.and_then(|model| self.aliases.get(model.as_str()));
        let need = need(&request.operation, stands_for.as_ref().or(model));
        self.lock().state.check_room(&by.id, &need)
    }

    async fn run(self: Arc<Self>, mut operation: Operation, job: JobWriter) -> Result<End, ApiError> {
        let alias = self.resolve(&mut operation, &job);
        explained(alias, self.perform(operation, &job).await)
    }

    /// What a hive has goes on there; an answer or a download that nobody had begun yet begins. Questions are quickly asked
    /// anew.
    async fn resume(self: Arc<Self>, operation: Option<Operation>, job: JobWriter) -> Result<End, ApiError> {
        match (job.placement(), operation) {
            (Some(at), _) => self.work_again(at, &job).await,
            (None, Some(mut operation)) if operation.model().is_some() => {
                let alias = self.resolve(&mut operation, &job);
                explained(alias, self.work(operation, &job, false).await)
            }
            (None, Some(operation)) if lasts(&operation) => self.run(operation, job).await,
            (None, _) => Err(interrupted_by_restart()),
        }
    }

    fn stop(&self, request: StopRequest) {
        self.keep_hive.store(request.keep_hive, Ordering::Relaxed);
        self.begin_to_stop();
    }
}

impl Queen {
    /// Does what is asked for, of a model by its own name.
    async fn perform(self: &Arc<Self>, operation: Operation, job: &JobWriter) -> Result<End, ApiError> {
        match operation {
            Operation::Infer(_) | Operation::Embed(_) | Operation::CountTokens(_) => {
                self.work(operation, job, true).await
            }
            Operation::HiveStatus { hive } => {
                let hive = hive.unwrap_or_else(hives::local);
                self.have_hive_do(hive.clone(), Operation::HiveStatus { hive: Some(hive) }, job).await
            }
            Operation::HivePause { ref hive } | Operation::HiveResume { ref hive } => {
                let hive = hive.clone().unwrap_or_else(hives::local);
                self.have_hive_do(hive, operation, job).await
            }
            Operation::ModelRemove { model } => self.remove_model(model, job).await,
            Operation::ModelPull { .. }
            | Operation::ModelShow { .. }
            | Operation::ModelSearch { .. }
            | Operation::ModelVerify { .. }
            | Operation::WorkerStart { .. }
            | Operation::WorkerStop { .. } => self.have_hive_do(hives::local(), operation, job).await,
            Operation::WorkerList {} => {
                let lists: Vec<WorkerList> = self.ask_all(&Operation::WorkerList {}, job).await?;
                let workers: Vec<WorkerInfo> = lists.into_iter().flat_map(|list| list.workers).collect();
                job.answer(&WorkerList { workers });
                Ok(End::succeeded())
            }
            Operation::ModelList {} => {
                let lists: Vec<ModelList> = self.ask_all(&Operation::ModelList {}, job).await?;
                let models: Vec<ModelInfo> = lists.into_iter().flat_map(|list| list.models).collect();
                job.answer(&ModelList { models, aliases: self.aliases.all() });
                Ok(End::succeeded())
            }
            Operation::ModelAlias { alias, model } => {
                job.start();
                let answer = ModelAlias { alias, model };
                let (queen, ModelAlias { alias, model }) = (self.clone(), answer.clone());
                let set = tokio::task::spawn_blocking(move || queen.aliases.set(&alias, model)).await;
                set.expect("keeping an alias does not panic")?;
                if let Some(model) = &answer.model {
                    self.tell_missing(model, job).await;
                    self.tell_hidden(&answer.alias, model, job).await;
                }
                job.answer(&answer);
                Ok(End::succeeded())
            }
            Operation::HiveList {} => {
                job.start();
                let hives = self.lock().state.hives();
                job.answer(&HiveList { hives });
                Ok(End::succeeded())
            }
            Operation::Status {} => {
                job.start();
                job.answer(&self.report(job.principal()));
                Ok(End::succeeded())
            }
            Operation::HiveWatch {} => unreachable!("refused by `check`"),
        }
    }
}
