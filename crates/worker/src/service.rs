use std::sync::Arc;
use std::time::Instant;

use rbee_engine::{GenerateRequest, Message as EngineMessage, Role as EngineRole, Sampling};
use rbee_jobs::{JobWriter, Principal, Service, daemon_info, now_ms};
use rbee_protocol::{
    ApiError, DaemonInfo, End, ErrorCode, InferRequest, Operation, Phase, Progress, Role, StopRequest,
    SubmitRequest, Unit,
};
use tokio_util::sync::CancellationToken;

use crate::engine_thread::{Engine, thread_ended};

/// What a worker does with its jobs.
pub(crate) struct WorkerService {
    model: String,
    engine: Engine,
    started_at_ms: u64,
    shutdown: CancellationToken,
}

impl WorkerService {
    pub(crate) fn new(model: String, engine: Engine, shutdown: CancellationToken) -> Self {
        Self { model, engine, started_at_ms: now_ms(), shutdown }
    }

    /// Waits until the model is loaded, telling the job how far it is.
    async fn loaded(&self, job: &JobWriter) -> Result<(), ApiError> {
        let mut loading = self.engine.loading();
        if loading.borrow().outcome.is_none() {
            let narrator = job.narrator("worker");
            narrator.action("load").target(&self.model).context(&self.model).human("Loading {}").emit();
        }
        let began = Instant::now();
        let mut waited = false;
        loop {
            let state = loading.borrow_and_update().clone();
            match state.outcome {
                Some(Ok(model)) if waited => {
                    let ms = format!("{:.0}", began.elapsed().as_secs_f64() * 1e3);
                    let narrator = job.narrator("worker");
                    let draft = narrator.action("load").target(&self.model);
                    let draft = draft.context(&self.model).context(model.slots).context(model.context_length);
                    draft.context(ms).human("Loaded {} with {} slots of {} tokens in {} ms").emit();
                    return Ok(());
                }
                Some(outcome) => return outcome.map(drop),
                None => {}
            }
            waited = true;
            job.progress(Progress::new(Phase::Load, state.percent, Some(100), Unit::Percent));
            tokio::select! {
                changed = loading.changed() => changed.map_err(|_| thread_ended())?,
                () = job.cancelled() => return Err(job.cancel_error()),
            }
        }
    }
}

impl Service for WorkerService {
    fn info(&self) -> DaemonInfo {
        daemon_info("worker", self.started_at_ms)
    }

    fn check(&self, request: &SubmitRequest, _by: &Principal) -> Result<(), ApiError> {
        match request.operation {
            Operation::Infer(_) => Ok(()),
            _ => {
                let message = format!("a worker does not do `{}`", request.operation.name());
                Err(ApiError::new(ErrorCode::BadRequest, message).hint("ask the queen"))
            }
        }
    }

    async fn run(self: Arc<Self>, operation: Operation, job: JobWriter) -> Result<End, ApiError> {
        let Operation::Infer(request) = operation else { unreachable!("refused by `check`") };
        job.start();
        let began = Instant::now();
        self.loaded(&job).await?;
        let load_ms = began.elapsed().as_secs_f64() * 1e3;
        let mut end = self.engine.generate(generate_request(request, job.scope()), &job).await?;
        if let Some(timings) = &mut end.timings {
            timings.load_ms = load_ms;
        }
        Ok(end)
    }

    fn stop(&self, _request: StopRequest) {
        self.shutdown.cancel();
    }
}

fn generate_request(request: InferRequest, scope: Option<&str>) -> GenerateRequest {
    let default = Sampling::default();
    let messages = request.messages.into_iter().map(|message| EngineMessage {
        role: match message.role {
            Role::System => EngineRole::System,
            Role::User => EngineRole::User,
            Role::Assistant => EngineRole::Assistant,
        },
        content: message.content,
    });
    GenerateRequest {
        messages: messages.collect(),
        scope: scope.map(str::to_owned),
        prompt: request.prompt,
        sampling: Sampling {
            temperature: request.temperature.unwrap_or(default.temperature),
            top_k: request.top_k.unwrap_or(default.top_k),
            top_p: request.top_p.unwrap_or(default.top_p),
            min_p: request.min_p.unwrap_or(default.min_p),
            seed: request.seed,
        },
        max_tokens: request.max_tokens,
        stop: request.stop,
    }
}
