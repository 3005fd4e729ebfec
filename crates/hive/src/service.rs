use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rbee_jobs::{JobWriter, Principal, Service, daemon_info, now_ms};
use rbee_narration::{Level, bytes, count};
use rbee_protocol::{
    ApiError, DaemonInfo, DeviceKind, End, EndState, ErrorCode, HiveId, HivePause, HiveReport, InferRequest,
    ModelList, ModelRef, Operation, StopRequest, SubmitRequest, WorkerList, WorkerWatch,
};
use tokio_util::sync::CancellationToken;

use crate::catalog;
use crate::devices::{self, Machine};
use crate::models::{LocalModel, ModelStore};
use crate::supervisor::{NameKind, Supervisor};

/// A log of more reports than this is worth less than the memory that it takes.
const WATCH_REPORTS_MAX: u32 = 1000;
/// So are reports of more bytes together, of which a job's stream may not have more than twice as many.
const WATCH_BYTES_MAX: usize = 32 << 20;

/// So many models are looked for unless it is said.
const SEARCH_LIMIT: u32 = 20;

/// What a hive does with its jobs.
pub(crate) struct HiveService {
    hive: HiveId,
    models: Arc<ModelStore>,
    supervisor: Supervisor,
    started_at_ms: u64,
    shutdown: CancellationToken,
}

impl HiveService {
    pub(crate) fn new(
        hive: HiveId,
        models: Arc<ModelStore>,
        supervisor: Supervisor,
        shutdown: CancellationToken,
    ) -> Self {
        Self { hive, models, supervisor, started_at_ms: now_ms(), shutdown }
    }

    async fn report(&self) -> Result<HiveReport, ApiError> {
        let machine = Machine::look().await.map_err(|error| {
            let message = format!("this machine's devices cannot be looked at: {error}");
            ApiError::new(ErrorCode::Internal, message)
                .hint("`hive.log` in rbee's state folder may tell more")
        })?;
        let info = self.info();
        Ok(HiveReport {
            hive: self.hive.clone(),
            host: machine.host,
            version: info.version,
            pid: info.pid,
            started_at_ms: info.started_at_ms,
            paused: self.supervisor.is_paused(),
            memory_total_bytes: machine.memory_total_bytes,
            memory_available_bytes: machine.memory_available_bytes,
            instructions: devices::instructions(),
            devices: machine.devices,
            models: self.models.list().await,
            workers: self.supervisor.workers(),
        })
    }

    fn pause(&self, paused: bool, job: &JobWriter) -> End {
        if let Err(error) = self.supervisor.pause(paused) {
            let narrator = job.narrator("hive");
            let draft = narrator.action("pause").level(Level::Warn).context(error);
            draft.human("That ends with this hive, since it could not be noted: {}").emit();
        }
        job.answer(&HivePause { hive: self.hive.clone(), paused });
        End::succeeded()
    }

    async fn verify(&self, model: Option<&ModelRef>, job: &JobWriter) -> Result<End, ApiError> {
        let verification = self.models.verify(model, job).await?;
        let damaged: Vec<&str> = verification
            .models
            .iter()
            .filter(|model| !model.intact)
            .map(|model| model.model.as_str())
            .collect();
        job.answer(&verification);
        if damaged.is_empty() {
            return Ok(End::succeeded());
        }
        let message = format!("these models are not known to be intact: {}", damaged.join(", "));
        Err(ApiError::new(ErrorCode::BadModel, message)
            .hint("`rbee model rm` takes one away, and `rbee model pull` brings it again"))
    }

    /// The model that takes the place of the one that `operation` names, where that is not here and need not be.
    async fn stand_in(&self, operation: &Operation, job: &JobWriter) -> Result<Option<LocalModel>, ApiError> {
        let named = operation.model().flatten().filter(|_| operation.falls_back());
        let Some(name) = named.map(ModelRef::as_str) else { return Ok(None) };
        if self.models.knows(name).await {
            return Ok(None);
        }
        self.models.stand_in(name, self.supervisor.loaded(), job).await.map(Some)
    }

    /// After the first answer of the default model, names a better one.
    async fn hint(&self, job: &JobWriter) {
        if !self.models.should_hint().await {
            return;
        }
        let Ok(machine) = Machine::look().await else { return };
        let cards = machine.devices.iter().filter(|device| device.kind == DeviceKind::Nvidia);
        let card_bytes = cards.map(|card| card.memory_free_bytes).max().unwrap_or(0);
        let Some((name, about)) = catalog::best(machine.memory_available_bytes, card_bytes) else { return };
        let narrator = job.narrator("hive");
        let draft = narrator.action("hint").target(name).context(name).context(about);
        draft.human("The default model is tiny and often wrong; one that fits here is better: rbee model pull {} ({})").emit();
    }

    /// Says how `operation` would be done here.
    async fn rehearse(&self, operation: &Operation, job: &JobWriter) -> Result<End, ApiError> {
        let model = match self.stand_in(operation, job).await? {
            Some(model) => model,
            None => match self.models.look(operation.model().flatten()).await? {
                Some(model) => model,
                None => {
                    job.narrator("hive")
                        .action("model_fetch")
                        .human("The default model would be fetched first")
                        .emit();
                    return Ok(End::succeeded());
                }
            },
        };
        if self.supervisor.is_paused() {
            let narrator = job.narrator("hive");
            let draft = narrator.action("pause").context(&self.hive);
            draft.human("Hive {} is paused: the job would wait until `rbee hive resume`").emit();
        }
        if self.supervisor.consider(&model, Level::Info, job) {
            return Ok(End::succeeded());
        }
        let needed = match self.supervisor.needed_before(&model) {
            Some(bytes) => Some((bytes, "as it did the last time".to_owned())),
            None => self.models.memory(&model).await?.map(|memory| {
                let context = count(memory.context_length.into(), "token");
                (memory.bytes, format!("at the least: its weights and {context} of context"))
            }),
        };
        let free = Machine::look().await.ok().map(|machine| machine.memory_available_bytes);
        let narrator = job.narrator("hive");
        if let Some(((needed, of), free)) = needed.zip(free) {
            let draft =
                narrator.action("memory").target(&model.name).context(&model.name).context(bytes(needed));
            draft
                .context(of)
                .context(bytes(free))
                .human("{} would need {} of memory ({}); {} are free")
                .emit();
            if needed > free {
                self.supervisor.consider_eviction(job);
            }
        }
        Ok(End::succeeded())
    }

    /// Tells of the workers now and after every change, until it is told to stop or has said so much
    /// that whoever listens had better ask anew.
    async fn watch(&self, job: &JobWriter) -> Result<End, ApiError> {
        let mut changes = self.supervisor.changes();
        let mut bytes = 0;
        for _ in 0..WATCH_REPORTS_MAX {
            changes.mark_unchanged();
            let report = WorkerWatch {
                workers: self.supervisor.watched(),
                paused: self.supervisor.is_paused(),
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            };
            bytes += serde_json::to_vec(&report).expect("a report is plain data").len();
            job.answer(&report);
            if bytes > WATCH_BYTES_MAX {
                break;
            }
            tokio::select! {
                changed = changes.changed() => changed.expect("the supervisor, held here, holds the sender"),
                () = job.cancelled() => return Err(job.cancel_error()),
            }
        }
        Ok(End::succeeded())
    }
}

/// What comes of `work` until the job is cancelled. Work that sees that itself may say how far it has come.
async fn unless_cancelled<T>(
    work: impl Future<Output = Result<T, ApiError>>,
    job: &JobWriter,
) -> Result<T, ApiError> {
    tokio::select! {
        biased;
        done = work => done,
        () = job.cancelled() => Err(job.cancel_error()),
    }
}

impl Service for HiveService {
    fn info(&self) -> DaemonInfo {
        daemon_info("hive", self.started_at_ms)
    }

    fn check(&self, request: &SubmitRequest, _by: &Principal) -> Result<(), ApiError> {
        match request.operation {
            Operation::Infer(_)
            | Operation::Embed(_)
            | Operation::CountTokens(_)
            | Operation::HiveStatus { .. }
            | Operation::HiveWatch {}
            | Operation::ModelList {}
            | Operation::ModelPull { .. }
            | Operation::ModelShow { .. }
            | Operation::ModelRemove { .. }
            | Operation::ModelSearch { .. }
            | Operation::ModelVerify { .. }
            | Operation::HivePause { .. }
            | Operation::HiveResume { .. }
            | Operation::WorkerStart { .. }
            | Operation::WorkerStop { .. }
            | Operation::WorkerList {} => Ok(()),
            Operation::Status {} | Operation::HiveList {} | Operation::ModelAlias { .. } => {
                let message = format!("a hive does not do `{}`", request.operation.name());
                Err(ApiError::new(ErrorCode::BadRequest, message).hint("ask the queen"))
            }
        }
    }

    async fn run(self: Arc<Self>, operation: Operation, job: JobWriter) -> Result<End, ApiError> {
        job.start();
        match operation {
            Operation::Infer(_) if operation.is_dry_run() => self.rehearse(&operation, &job).await,
            Operation::Infer(_) | Operation::Embed(_) | Operation::CountTokens(_) => {
                if let Some(model) = self.stand_in(&operation, &job).await? {
                    return self.supervisor.work(model, NameKind::Other, operation, &job).await;
                }
                let model =
                    unless_cancelled(self.models.find(operation.model().flatten(), &job), &job).await?;
                let is_default = matches!(operation, Operation::Infer(InferRequest { model: None, .. }));
                let end = self.supervisor.work(model, NameKind::Own, operation, &job).await?;
                if is_default && end.state == EndState::Succeeded {
                    self.hint(&job).await;
                }
                Ok(end)
            }
            Operation::HiveStatus { .. } => {
                job.narrator("hive")
                    .action("hive_status")
                    .target(&self.hive)
                    .context(&self.hive)
                    .human("Looking at the devices, models and workers of hive {}")
                    .emit();
                job.answer(&self.report().await?);
                Ok(End::succeeded())
            }
            Operation::ModelList {} => {
                job.answer(&ModelList { models: self.models.list().await, aliases: BTreeMap::new() });
                Ok(End::succeeded())
            }
            Operation::ModelPull { model } => {
                job.answer(&unless_cancelled(self.models.pull(&model, &job), &job).await?);
                Ok(End::succeeded())
            }
            Operation::ModelShow { model } => {
                job.answer(&self.models.show(model).await?);
                Ok(End::succeeded())
            }
            Operation::ModelRemove { model } => {
                let models = self.models.clone();
                let removed = tokio::task::spawn_blocking(move || models.remove(&model)).await;
                let removed = removed.expect("removing files does not panic")?;
                self.supervisor.unload(&removed.model);
                if self.models.is_default(&removed.model) {
                    let narrator = job.narrator("hive");
                    let draft =
                        narrator.action("model_remove").target(&removed.model).context(&removed.model);
                    draft.human("{} is the default model: a job that names none fetches it again").emit();
                }
                job.answer(&removed);
                Ok(End::succeeded())
            }
            Operation::ModelSearch { query, limit } => {
                let limit = limit.unwrap_or(SEARCH_LIMIT);
                job.answer(&self.models.search(&query, limit, &job).await?);
                Ok(End::succeeded())
            }
            Operation::ModelVerify { model } => self.verify(model.as_ref(), &job).await,
            Operation::WorkerList {} => {
                job.answer(&WorkerList { workers: self.supervisor.workers() });
                Ok(End::succeeded())
            }
            Operation::WorkerStart { ref model, pinned, .. } => {
                let model = unless_cancelled(self.models.find(model.as_ref(), &job), &job).await?;
                let end = self.supervisor.work(model.clone(), NameKind::Own, operation, &job).await?;
                if end.error.is_none()
                    && let Some(worker) = self.supervisor.started(&model, pinned)
                {
                    job.answer(&worker);
                }
                Ok(end)
            }
            Operation::WorkerStop { worker, deadline_s } => {
                let deadline = Duration::from_secs(deadline_s.unwrap_or(0).into());
                job.answer(&self.supervisor.stop_worker(&worker, deadline, &job).await?);
                Ok(End::succeeded())
            }
            Operation::HivePause { .. } => Ok(self.pause(true, &job)),
            Operation::HiveResume { .. } => Ok(self.pause(false, &job)),
            Operation::HiveWatch {} => self.watch(&job).await,
            Operation::Status {} | Operation::HiveList {} | Operation::ModelAlias { .. } => {
                unreachable!("refused by `check`")
            }
        }
    }

    fn stop(&self, _request: StopRequest) {
        self.shutdown.cancel();
    }
}
