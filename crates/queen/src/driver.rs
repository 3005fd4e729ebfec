use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rbee_jobs::{JobWriter, Jobs, Relayed, Service, daemon_info, now_ms, relay};
use rbee_narration::Level;
use rbee_protocol::{
    ApiError, Client, ClientError, DaemonInfo, End, ErrorCode, HiveId, HiveList, HiveState, InferRequest,
    JobEvent, JobId, ModelInfo, ModelList, Operation, Phase, PrincipalId, Progress, QueenReport, Role,
    StopRequest, SubmitRequest, Unit, WorkerInfo, WorkerList,
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::hives;
use crate::state::{Action, Input, Need, State};

/// A hive confirms a cancellation within this, since it kills a worker that does not sooner.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(20);

/// What the queen does with its jobs.
pub(crate) struct Queen {
    url: String,
    jobs: Jobs,
    started_at_ms: u64,
    keep_hive: AtomicBool,
    shutdown: CancellationToken,
    inner: Mutex<Inner>,
}

#[derive(Default)]
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
    Ahead(u64),
    Go(HiveId, Reach),
    Refused(ApiError),
}

impl Queen {
    pub(crate) fn new(url: String, jobs: Jobs, shutdown: CancellationToken) -> Self {
        Self {
            url,
            jobs,
            started_at_ms: now_ms(),
            keep_hive: AtomicBool::new(false),
            shutdown,
            inner: Mutex::default(),
        }
    }

    /// Whether the local hive is to outlive this queen.
    pub(crate) fn keeps_hive(&self) -> bool {
        self.keep_hive.load(Ordering::Relaxed)
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
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `job` may run, and says where.
    async fn place(&self, job: &JobWriter, need: Need) -> Result<Placed<'_>, ApiError> {
        let (sender, mut news) = watch::channel(News::Ahead(0));
        let turn = {
            let mut inner = self.lock();
            inner.waiting.insert(job.id().clone(), sender);
            inner.handle(Input::Submit { job: job.id().clone(), need });
            // From here on, whatever happens, the job leaves the state when this goes.
            Turn { queen: self, job: job.id().clone() }
        };
        let mut most_ahead = 0;
        if matches!(*news.borrow(), News::Ahead(0)) {
            job.narrator("queen").action("schedule").human("Waiting for a hive to come up").emit();
        }
        loop {
            let latest = news.borrow_and_update().clone();
            match latest {
                News::Ahead(0) if most_ahead == 0 => {}
                News::Ahead(ahead) => {
                    if most_ahead == 0 {
                        let narrator = job.narrator("queen");
                        let draft = narrator.action("queue").context(ahead);
                        draft.human("Waiting for {} job(s) of the same model").emit();
                    }
                    most_ahead = ahead.max(most_ahead);
                    job.progress(queued(most_ahead - ahead, most_ahead));
                }
                News::Go(hive, reach) => {
                    if most_ahead > 0 {
                        job.progress(queued(most_ahead, most_ahead));
                    }
                    job.start();
                    return Ok(Placed { hive, reach, _turn: turn });
                }
                News::Refused(error) => return Err(error),
            }
            tokio::select! {
                changed = news.changed() => changed.expect("the sender stays until the job's turn ends"),
                () = job.cancelled() => return Err(job.cancel_error()),
            }
        }
    }

    async fn infer(&self, request: InferRequest, job: &JobWriter) -> Result<End, ApiError> {
        let model = request.model.as_ref().map_or(String::new(), |model| model.as_str().to_owned());
        let asked = Instant::now();
        let placed = self.place(job, Need::Worker { model }).await?;
        let queue_ms = asked.elapsed().as_secs_f64() * 1e3;
        let narrator = job.narrator("queen");
        narrator
            .action("schedule")
            .target(&placed.hive)
            .context(&placed.hive)
            .human("Hive {} runs it")
            .emit();
        let mut end = self.relay(job, &placed, Operation::Infer(request)).await?;
        if let Some(timings) = &mut end.timings {
            timings.queue_ms += queue_ms;
        }
        Ok(end)
    }

    async fn relay(
        &self,
        job: &JobWriter,
        placed: &Placed<'_>,
        operation: Operation,
    ) -> Result<End, ApiError> {
        let Placed { hive, reach, .. } = placed;
        let request = SubmitRequest::child(operation, job.id().clone());
        match relay(job, &reach.client, request, CANCEL_TIMEOUT, reach.gone.cancelled()).await {
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

    /// Puts a question to every hive that is there, and gathers the answers.
    async fn ask_all<T: DeserializeOwned>(
        &self,
        operation: &Operation,
        job: &JobWriter,
    ) -> Result<Vec<T>, ApiError> {
        let hives = self.lock().state.hives();
        let mut answers = Vec::new();
        for hive in hives.into_iter().filter(|hive| hive.state != HiveState::Down) {
            let placed = self.place(job, Need::Hive(hive.hive)).await?;
            answers.push(ask(&placed, operation, job).await?);
        }
        Ok(answers)
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
        for action in self.state.handle(input) {
            let (job, news) = match action {
                Action::Dispatch { job, hive } => match self.hives.get(&hive) {
                    Some(reach) => (job, News::Go(hive, reach.clone())),
                    None => unreachable!("a hive is reachable before its first report"),
                },
                Action::Wait { job, ahead } => (job, News::Ahead(ahead)),
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

fn queued(done: u64, total: u64) -> Progress {
    Progress { phase: Phase::Queued, done, total: Some(total), unit: Unit::Jobs }
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

    fn check(&self, request: &SubmitRequest) -> Result<(), ApiError> {
        let bad = |message: &str, hint: &str| Err(ApiError::new(ErrorCode::BadRequest, message).hint(hint));
        if request.origin.is_some() {
            return bad("`origin` is for hives and workers", "leave it out");
        }
        match &request.operation {
            Operation::Infer(infer) => {
                infer.check()?;
                if !infer.messages.iter().any(|message| message.role == Role::User) {
                    return bad("there is no message of the role `user`", "send at least one");
                }
                if infer.model.as_ref().is_some_and(|model| model.as_str().is_empty()) {
                    return bad("the model's name is empty", "leave `model` out for the default model");
                }
                Ok(())
            }
            Operation::HiveWatch {} => bad("a queen does not do `hive_watch`", "hives do it for their queen"),
            _ => Ok(()),
        }
    }

    async fn run(self: Arc<Self>, operation: Operation, job: JobWriter) -> Result<End, ApiError> {
        match operation {
            Operation::Infer(request) => self.infer(request, &job).await,
            Operation::HiveStatus { hive } => {
                let hive = hive.unwrap_or_else(hives::local);
                let placed = self.place(&job, Need::Hive(hive.clone())).await?;
                self.relay(&job, &placed, Operation::HiveStatus { hive: Some(hive) }).await
            }
            Operation::WorkerList {} => {
                let lists: Vec<WorkerList> = self.ask_all(&Operation::WorkerList {}, &job).await?;
                let workers: Vec<WorkerInfo> = lists.into_iter().flat_map(|list| list.workers).collect();
                job.answer(&WorkerList { workers });
                Ok(End::succeeded())
            }
            Operation::ModelList {} => {
                let lists: Vec<ModelList> = self.ask_all(&Operation::ModelList {}, &job).await?;
                let models: Vec<ModelInfo> = lists.into_iter().flat_map(|list| list.models).collect();
                job.answer(&ModelList { models });
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

    fn stop(&self, request: StopRequest) {
        self.keep_hive.store(request.keep_hive, Ordering::Relaxed);
        self.shutdown.cancel();
    }
}
