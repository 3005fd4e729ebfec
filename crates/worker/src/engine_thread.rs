use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rbee_engine::{
    Engine as Model, EngineError, FinishReason as EngineFinish, GenerateEvent, GenerateRequest, Generated,
    LoadOptions, ModelInfo,
};
use rbee_jobs::JobWriter;
use rbee_protocol::{
    ApiError, End, EndState, ErrorCode, FinishReason, JobEvent, Phase, Progress, Timings, Token, Unit, Usage,
};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

/// So many jobs wait for the engine at most. The queen sends as many as there are slots, so more
/// than a few wait only when somebody else uses the socket.
const QUEUE_CAPACITY: usize = 64;

/// llama.cpp splits some models' text with recursive regular expressions.
const STACK_BYTES: usize = 64 << 20;

/// How far the loading of the model is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loading {
    /// In percent.
    pub(crate) percent: u64,
    /// How it ended, once it has.
    pub(crate) outcome: Option<Result<ModelInfo, ApiError>>,
}

/// The one thread that owns the model. llama.cpp computes there and nowhere else.
pub(crate) struct Engine {
    loading: watch::Receiver<Loading>,
    work: mpsc::Sender<Work>,
}

struct Work {
    request: GenerateRequest,
    job: JobWriter,
    /// Set when the engine turns to this.
    begun: Arc<AtomicBool>,
    outcome: oneshot::Sender<Result<End, ApiError>>,
}

impl Engine {
    /// Starts the thread, which begins to load the model at `path`.
    pub(crate) fn spawn(path: PathBuf, options: LoadOptions) -> std::io::Result<Self> {
        let (loading_sender, loading) = watch::channel(Loading::default());
        let (work, queue) = mpsc::channel(QUEUE_CAPACITY);
        std::thread::Builder::new()
            .name("engine".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || own_model(&path, &options, &loading_sender, queue))?;
        Ok(Self { loading, work })
    }

    /// How far the loading is.
    pub(crate) fn loading(&self) -> watch::Receiver<Loading> {
        self.loading.clone()
    }

    /// Has the model answer `request`, and returns when its slot is free again.
    pub(crate) async fn generate(&self, request: GenerateRequest, job: &JobWriter) -> Result<End, ApiError> {
        let (outcome, answered) = oneshot::channel();
        let begun = Arc::new(AtomicBool::new(false));
        let work = Work { request, job: job.clone(), begun: begun.clone(), outcome };
        let gone = || ApiError::new(ErrorCode::Internal, "the engine's thread has ended");
        self.work.try_send(work).map_err(|error| match error {
            TrySendError::Full(_) => {
                ApiError::new(ErrorCode::Busy, "the worker's queue is full").hint("try again in a moment")
            }
            TrySendError::Closed(_) => gone(),
        })?;
        let cancelled_before_its_turn = async {
            job.cancelled().await;
            if begun.load(Ordering::Acquire) {
                // It has the slot, and answers for giving it back.
                std::future::pending().await
            }
        };
        tokio::select! {
            outcome = answered => outcome.map_err(|_| gone())?,
            () = cancelled_before_its_turn => Err(job.cancel_error()),
        }
    }
}

/// A worker whose engine is gone is of no use; its hive starts another.
struct EndWithThread;

impl Drop for EndWithThread {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

fn own_model(
    path: &std::path::Path,
    options: &LoadOptions,
    loading: &watch::Sender<Loading>,
    mut queue: mpsc::Receiver<Work>,
) {
    let _end = EndWithThread;
    let progress = loading.clone();
    let on_progress = move |part: f32| {
        let percent = (f64::from(part) * 100.0) as u64;
        progress.send_if_modified(|loading| std::mem::replace(&mut loading.percent, percent) != percent);
        true
    };
    let mut model = match Model::load(path, options, on_progress) {
        Ok(model) => model,
        Err(error) => {
            loading.send_modify(|loading| loading.outcome = Some(Err(api_error(&error))));
            return;
        }
    };
    loading.send_modify(|loading| loading.outcome = Some(Ok(model.info().clone())));
    while let Some(Work { request, job, begun, outcome }) = queue.blocking_recv() {
        begun.store(true, Ordering::Release);
        let end =
            if job.is_cancelled() { Err(job.cancel_error()) } else { answer(&mut model, &request, &job) };
        // A job that nobody waits for any more has ended without its answer.
        let _ = outcome.send(end);
    }
}

fn answer(model: &mut Model, request: &GenerateRequest, job: &JobWriter) -> Result<End, ApiError> {
    let narrator = job.narrator("worker");
    let prompt = model.prepare(request).map_err(|error| api_error(&error))?;
    let total = u64::from(prompt.token_count());
    narrator.action("prefill").context(total).human("Reading a prompt of {} tokens").emit();

    let mut index = 0;
    let mut first_token = None;
    let began = Instant::now();
    let generated = model.generate(prompt, &|| job.is_cancelled(), &mut |event| match event {
        GenerateEvent::Prefill { done, total } => {
            let (done, total) = (u64::from(done), Some(u64::from(total)));
            job.progress(Progress { phase: Phase::Prefill, done, total, unit: Unit::Tokens });
        }
        GenerateEvent::Token { text } => {
            first_token.get_or_insert_with(|| began.elapsed());
            // A job that has ended, by its quota, is cancelled with that.
            let _ = job.append(&JobEvent::Token(Token { text: text.to_owned(), index, reasoning: false }));
            index += 1;
        }
    });
    let generated = generated.map_err(|error| api_error(&error))?;
    let end = end(&generated);
    let draft = narrator.action("done").context(generated.completion_tokens);
    let draft = draft.context(format!("{:.0}", generated.decode_ms));
    match generated.finish_reason {
        EngineFinish::Cancelled => draft.human("Cancelled after {} tokens and {} ms of decoding").emit(),
        _ => draft
            .context(format!("{:.0}", end.timings.map_or(0.0, |timings| timings.decode_tokens_per_s)))
            .context(format!("{:.0}", generated.prefill_ms))
            .human("Generated {} tokens in {} ms ({} tokens/s), after {} ms of prefill")
            .emit(),
    }
    Ok(end)
}

fn end(generated: &Generated) -> End {
    let per_second = |tokens: u32, ms: f64| if ms > 0.0 { f64::from(tokens) / ms * 1e3 } else { 0.0 };
    let finish_reason = match generated.finish_reason {
        EngineFinish::Stop => FinishReason::Stop,
        EngineFinish::Length => FinishReason::Length,
        EngineFinish::Cancelled => FinishReason::Cancelled,
    };
    let cancelled = finish_reason == FinishReason::Cancelled;
    End {
        state: if cancelled { EndState::Cancelled } else { EndState::Succeeded },
        finish_reason: Some(finish_reason),
        error: None,
        usage: Some(Usage {
            prompt_tokens: generated.prompt_tokens.into(),
            completion_tokens: generated.completion_tokens.into(),
        }),
        timings: Some(Timings {
            queue_ms: 0.0,
            load_ms: 0.0,
            prefill_ms: generated.prefill_ms,
            decode_ms: generated.decode_ms,
            prefill_tokens_per_s: per_second(generated.prompt_tokens, generated.prefill_ms),
            decode_tokens_per_s: per_second(generated.completion_tokens, generated.decode_ms),
        }),
        cancel_ms: None,
    }
}

fn api_error(error: &EngineError) -> ApiError {
    let (code, hint) = match error {
        EngineError::NotFound { .. } => (ErrorCode::NotFound, "check the path"),
        EngineError::Io { .. } => (ErrorCode::Io, "check the file's permissions"),
        EngineError::BadModel { .. } => (ErrorCode::BadModel, "fetch the file again, or use another one"),
        EngineError::BadRequest { .. } => (ErrorCode::BadRequest, "change the request, then try again"),
        EngineError::ContextFull { .. } => (
            ErrorCode::ContextFull,
            "shorten the prompt, or set `context_length` under `[worker]` in config.toml if the model takes more",
        ),
        EngineError::Template { .. } => (ErrorCode::BadModel, "use a model that is made for chats"),
        EngineError::Cancelled => (ErrorCode::Cancelled, "run it again"),
        EngineError::Internal { .. } => {
            (ErrorCode::Internal, "`worker.log` in rbee's state folder may tell more")
        }
    };
    let message = match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    ApiError::new(code, message).hint(hint)
}
