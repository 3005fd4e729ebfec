use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::TrySendError;
use std::time::{Duration, Instant};

use rbee_engine::{
    Begin, Constraint, Ended, Engine as Model, EngineError, FinishReason as EngineFinish, Form,
    GenerateEvent, GenerateRequest, Generated, LeftOut, LoadOptions, Memory, ModelInfo, Plan, Prompt,
    Prompter, Renderer, SlotId,
};
use rbee_jobs::JobWriter;
use rbee_narration::{bytes, count};
use rbee_protocol::{
    ApiError, EmbedRequest, End, EndState, ErrorCode, FinishReason, JobEvent, Logprob, Phase, Progress,
    Timings, Token, TokenLogprobs, ToolCallPart, Unit, Usage,
};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::constrain::{Compiler, Tasks};
use crate::embedding::Embeddings;
use crate::line::{Entrance, Line, Waits, line};

/// So many jobs wait for a slot at most. The queen sends as many as there are slots, so more than a
/// few wait only when somebody else uses the socket.
const QUEUE_CAPACITY: usize = 64;

/// Who asks one thing after the other finds the slot as it was; the context is tidied up only when
/// nobody does.
const REST_AFTER: Duration = Duration::from_millis(100);

/// Tokens of streams that are quicker than anybody reads go out together, so often, and more rarely where there are
/// more streams. Each costs all daemons on the way a part of the processor that would compute the next token.
const GATHER: Duration = Duration::from_millis(50);
const GATHER_OF_EACH: Duration = Duration::from_millis(12);

/// How long a first token's way through the daemons takes while nothing else is computed. Beside the next token's
/// computation, which has all processors, it takes several times as long.
const FIRST_TOKENS_WAY: Duration = Duration::from_millis(1);

/// So many prompts are prepared at once. Each may take 64 MiB and half a second, should the chat template be
/// made to; one that does leaves the others a way past it.
const PREPARATIONS_MAX: usize = 2;

/// llama.cpp splits some models' text with recursive regular expressions.
pub(crate) const STACK_BYTES: usize = 64 << 20;

/// How far the loading of the model is.
#[derive(Clone, Default)]
pub(crate) struct Loading {
    /// In percent.
    pub(crate) percent: u64,
    /// What the model will take of the memory, and how much is free, once that is known.
    pub(crate) needs: Option<(Memory, Option<u64>)>,
    /// What makes the model's prompts, once it is loaded.
    prompter: Option<Arc<Prompter>>,
    /// How it ended, once it has.
    pub(crate) outcome: Option<Result<ModelInfo, ApiError>>,
}

/// The one thread that owns the model. llama.cpp computes there and nowhere else.
pub(crate) struct Engine {
    loading: watch::Receiver<Loading>,
    work: Entrance<(Task, Work)>,
    /// How many steps have been made.
    steps: watch::Receiver<u64>,
    compiler: Compiler,
    /// Who may have a prompt prepared.
    preparing: Arc<Semaphore>,
}

/// What a job is about.
#[expect(clippy::large_enum_variant, reason = "nearly all that there are are of the largest")]
pub(crate) enum Task {
    /// An answer.
    Generate(Prompt),
    /// The vectors of texts.
    Embed(EmbedRequest),
}

/// A job that the engine is to end.
pub(crate) struct Work {
    pub(crate) job: JobWriter,
    /// Set when it has a slot, or is past needing one.
    pub(crate) begun: Arc<AtomicBool>,
    outcome: oneshot::Sender<Result<End, ApiError>>,
}

impl Waits for (Task, Work) {
    fn has_left(&self) -> bool {
        self.1.outcome.is_closed()
    }
}

impl Engine {
    /// Starts the thread, which begins to load the model at `path`.
    pub(crate) fn spawn(path: PathBuf, options: LoadOptions, renderer: Renderer) -> std::io::Result<Self> {
        let (loading_sender, loading) = watch::channel(Loading::default());
        let (steps_sender, steps) = watch::channel(0);
        let (work, queue) = line(QUEUE_CAPACITY);
        let (compiler, tasks) = Compiler::new();
        std::thread::Builder::new().name("engine".to_owned()).stack_size(STACK_BYTES).spawn(move || {
            own_model(&path, &options, renderer, &loading_sender, queue, steps_sender, tasks);
        })?;
        let preparing = Arc::new(Semaphore::new(PREPARATIONS_MAX));
        Ok(Self { loading, work, steps, compiler, preparing })
    }

    /// How far the loading is.
    pub(crate) fn loading(&self) -> watch::Receiver<Loading> {
        self.loading.clone()
    }

    /// Changes with each step that the engine has made, of whatever job, and within long ones: a sign that it goes on, also
    /// where tokens have no text.
    pub(crate) fn steps(&self) -> watch::Receiver<u64> {
        self.steps.clone()
    }

    /// What makes the model's prompts. The model must have been loaded.
    pub(crate) fn prompter(&self) -> Result<Arc<Prompter>, ApiError> {
        self.loading.borrow().prompter.clone().ok_or_else(thread_ended)
    }

    /// Compiles what an answer must be like. The model must have been loaded.
    pub(crate) async fn constrain(&self, form: Form) -> Result<Constraint, ApiError> {
        self.compiler.compile(form).await
    }

    /// Makes a request's prompt beside the engine's thread, because a chat template or a long text may take its
    /// time. The model must have been loaded.
    pub(crate) async fn prepare(&self, request: GenerateRequest) -> Result<Prompt, ApiError> {
        self.beside(move |prompter| prompter.prepare(&request)).await
    }

    /// Counts the tokens of a request's prompt, likewise.
    pub(crate) async fn count(&self, request: GenerateRequest) -> Result<u32, ApiError> {
        self.beside(move |prompter| prompter.count(&request)).await
    }

    async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Prompter) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let prompter = self.prompter()?;
        let turn = Arc::clone(&self.preparing).acquire_owned().await.map_err(|_| thread_ended())?;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&prompter)
        });
        match done.await {
            Ok(done) => done.map_err(|error| api_error(&error)),
            Err(error) => Err(api_error(&EngineError::Internal { reason: error.to_string() })),
        }
    }

    /// Has the model do `task`, and returns when it no longer works on it.
    pub(crate) async fn work(&self, task: Task, job: &JobWriter) -> Result<End, ApiError> {
        let (outcome, answered) = oneshot::channel();
        let begun = Arc::new(AtomicBool::new(false));
        let work = Work { job: job.clone(), begun: begun.clone(), outcome };
        self.work.join((task, work)).map_err(|error| match error {
            TrySendError::Full(_) => {
                ApiError::new(ErrorCode::Busy, "the worker's queue is full").hint("try again in a moment")
            }
            TrySendError::Disconnected(_) => thread_ended(),
        })?;
        let cancelled_before_its_turn = async {
            job.cancelled().await;
            if begun.load(Ordering::Acquire) {
                // It has the slot, and answers for giving it back.
                std::future::pending().await
            }
        };
        tokio::select! {
            outcome = answered => outcome.map_err(|_| thread_ended())?,
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
    renderer: Renderer,
    loading: &watch::Sender<Loading>,
    queue: Line<(Task, Work)>,
    steps: watch::Sender<u64>,
    tasks: Tasks,
) {
    let _end = EndWithThread;
    let progress = loading.clone();
    let on_progress = move |part: f32| {
        let percent = (f64::from(part) * 100.0) as u64;
        progress.send_if_modified(|loading| std::mem::replace(&mut loading.percent, percent) != percent);
        true
    };
    let planned = Plan::new(path, options, Arc::new(renderer)).and_then(|plan| {
        loading.send_modify(|loading| loading.needs = Some((plan.memory(), plan.free_bytes())));
        plan.load(on_progress)
    });
    let model = match planned {
        Ok(model) => model,
        Err(error) => {
            loading.send_modify(|loading| loading.outcome = Some(Err(api_error(&error))));
            return;
        }
    };
    if let Err(source) = tasks.work(model.constraints()) {
        let error = EngineError::Internal { reason: format!("a thread cannot be started: {source}") };
        loading.send_modify(|loading| loading.outcome = Some(Err(api_error(&error))));
        return;
    }
    loading.send_modify(|loading| {
        loading.prompter = Some(Arc::clone(model.prompter()));
        loading.outcome = Some(Ok(model.info().clone()));
    });
    let (held, taken) = (None, HashMap::new());
    let (sent, embedding) = (Instant::now(), Embeddings::default());
    Slots { model, queue, steps, held, taken, sent, embedding }.run();
}

/// The model with the jobs that have its slots.
struct Slots {
    model: Model,
    queue: Line<(Task, Work)>,
    steps: watch::Sender<u64>,
    /// A job whose prompt has no room beside the others at the moment.
    held: Option<(Work, Prompt)>,
    taken: HashMap<SlotId, Taken>,
    /// When their tokens went out last.
    sent: Instant,
    embedding: Embeddings,
}

/// A job that has a slot.
struct Taken {
    job: JobWriter,
    outcome: oneshot::Sender<Result<End, ApiError>>,
    /// The number of the next piece of text.
    index: u64,
    /// Text that is not in the job's stream yet.
    gathered: Vec<JobEvent>,
    /// Whether there is any in it.
    has_sent: bool,
}

impl Slots {
    /// Works until nobody can send any more work.
    fn run(mut self) {
        while self.fill() {
            let began = Instant::now();
            self.embedding.step(&mut self.model, &|| self.steps.send_modify(|steps| *steps += 1));
            let taken = RefCell::new(&mut self.taken);
            let cancelled = |slot| taken.borrow().get(&slot).is_some_and(|taken| taken.job.is_cancelled());
            let ended = self.model.step(&cancelled, &mut |slot, event| {
                if let Some(taken) = taken.borrow_mut().get_mut(&slot) {
                    taken.tell(event);
                }
            });
            for Ended { slot, outcome } in ended {
                if let Some(taken) = self.taken.remove(&slot) {
                    taken.end(outcome);
                }
            }
            self.steps.send_modify(|steps| *steps += 1);
            // Not before all of them have their tokens, so that the next daemon comes once for all.
            let now = Instant::now();
            let gather = GATHER.max(GATHER_OF_EACH * self.taken.len() as u32);
            let is_time = now + began.elapsed() > self.sent + gather;
            if is_time {
                self.sent = now;
            }
            let is_first = |taken: &Taken| !taken.has_sent && !taken.gathered.is_empty();
            let has_firsts = self.taken.values().any(is_first);
            self.taken.values_mut().filter(|taken| is_time || !taken.has_sent).for_each(Taken::send);
            if has_firsts {
                std::thread::sleep(FIRST_TOKENS_WAY);
            }
        }
    }

    /// Gives waiting jobs the slots that are free, and waits for one if there is nothing to do. Says
    /// whether there will ever be work.
    fn fill(&mut self) -> bool {
        loop {
            if let Some((work, prompt)) = self.held.take() {
                self.begin(work, prompt);
            }
            if self.held.is_some()
                || self.taken.len() + self.embedding.len() >= self.model.info().slots as usize
            {
                return true;
            }
            let idle = self.taken.is_empty() && self.embedding.is_empty();
            let work = if idle { self.wait() } else { self.queue.try_next() };
            let Some((task, work)) = work else { return !idle };
            match task {
                Task::Embed(request) => match self.model.prepare_texts(&request.input, request.truncate) {
                    Ok(texts) => self.embedding.begin(work, texts, &self.model),
                    Err(error) => work.end(Err(api_error(&error))),
                },
                Task::Generate(prompt) => self.begin(work, prompt),
            }
        }
    }

    /// Waits for work; `None` when there will be none.
    fn wait(&mut self) -> Option<(Task, Work)> {
        self.queue.next_within(REST_AFTER).or_else(|| {
            self.model.rest();
            self.model.rest_embedding();
            self.queue.next()
        })
    }

    fn begin(&mut self, work: Work, prompt: Prompt) {
        if work.job.is_cancelled() {
            let error = work.job.cancel_error();
            work.end(Err(error));
            return;
        }
        let (total, left_out) = (u64::from(prompt.token_count()), prompt.left_out());
        match self.model.begin(prompt) {
            Ok(Begin::Begun(slot)) => {
                let Work { job, begun, outcome } = work;
                begun.store(true, Ordering::Release);
                let narrator = job.narrator("worker");
                match left_out {
                    Some(LeftOut::Messages(count)) => {
                        let draft = narrator.action("truncate").context(count);
                        draft.human("Left out {} of the oldest messages, which did not fit").emit();
                    }
                    Some(LeftOut::Characters(count)) => {
                        let draft = narrator.action("truncate").context(count);
                        draft
                            .human("Left out the first {} characters of the prompt, which did not fit")
                            .emit();
                    }
                    None => {}
                }
                let draft = narrator.action("prefill").context(count(total, "token"));
                draft.human("Reading a prompt of {}").emit();
                // Reading it may take a while, before which the others get what they have.
                self.taken.values_mut().for_each(Taken::send);
                let taken = Taken { job, outcome, index: 0, gathered: Vec::new(), has_sent: false };
                self.taken.insert(slot, taken);
            }
            Ok(Begin::Full(prompt)) => self.held = Some((work, prompt)),
            Err(error) => work.end(Err(api_error(&error))),
        }
    }
}

impl Work {
    /// Ends a job that has begun, or will not.
    pub(crate) fn end(self, outcome: Result<End, ApiError>) {
        self.begun.store(true, Ordering::Release);
        // A job that nobody waits for any more has ended without its answer.
        let _ = self.outcome.send(outcome);
    }
}

impl Taken {
    fn tell(&mut self, event: GenerateEvent<'_>) {
        match event {
            GenerateEvent::Prefill { done, total } => {
                let (done, total) = (u64::from(done), Some(u64::from(total)));
                self.job.progress(Progress::new(Phase::Prefill, done, total, Unit::Tokens));
            }
            GenerateEvent::Token { text, logprobs, is_reasoning } => {
                let logprobs = logprobs.iter().map(token_logprobs).collect();
                let token = Token { logprobs, reasoning: is_reasoning, ..Token::new(text, self.index) };
                self.gathered.push(JobEvent::Token(token));
                self.index += 1;
            }
            GenerateEvent::ToolCall { index, begins, arguments } => {
                let (id, name) = begins.map(|(id, name)| (id.to_owned(), name.to_owned())).unzip();
                let part = ToolCallPart { index, id, name, arguments: arguments.to_owned() };
                self.gathered.push(JobEvent::ToolCall(part));
            }
        }
    }

    fn send(&mut self) {
        self.has_sent |= !self.gathered.is_empty();
        for event in self.gathered.drain(..) {
            // A job that has ended, by its quota, is cancelled with that.
            let _ = self.job.append(&event);
        }
    }

    fn end(mut self, outcome: Result<Generated, EngineError>) {
        self.send();
        let end = match outcome {
            Ok(generated) => {
                let end = end(&generated);
                self.narrate(&generated, &end);
                Ok(end)
            }
            Err(error) => Err(api_error(&error)),
        };
        // A job that nobody waits for any more has ended without its answer.
        let _ = self.outcome.send(end);
    }

    fn narrate(&self, generated: &Generated, end: &End) {
        let narrator = self.job.narrator("worker");
        let draft = narrator.action("done").context(count(generated.completion_tokens.into(), "token"));
        let draft = draft.context(format!("{:.0}", generated.decode_ms));
        match generated.finish_reason {
            EngineFinish::Cancelled => draft.human("Cancelled after {} and {} ms of decoding").emit(),
            _ => draft
                .context(format!("{:.0}", end.timings.map_or(0.0, |timings| timings.decode_tokens_per_s)))
                .context(format!("{:.0}", generated.prefill_ms))
                .human("Generated {} in {} ms ({} tokens/s), after {} ms of prefill")
                .emit(),
        }
    }
}

fn token_logprobs(of: &rbee_engine::TokenLogprobs) -> TokenLogprobs {
    let logprob = |of: &rbee_engine::Logprob| {
        let text = String::from_utf8_lossy(&of.bytes);
        let bytes = matches!(text, Cow::Owned(_)).then(|| of.bytes.clone());
        Logprob { id: of.id, bytes, logprob: of.logprob, text: text.into_owned() }
    };
    TokenLogprobs { chosen: logprob(&of.chosen), top: of.top.iter().map(logprob).collect() }
}

fn end(generated: &Generated) -> End {
    let per_second = |tokens: u32, ms: f64| if ms > 0.0 { f64::from(tokens) / ms * 1e3 } else { 0.0 };
    let finish_reason = match generated.finish_reason {
        EngineFinish::Stop => FinishReason::Stop,
        EngineFinish::ToolCalls => FinishReason::ToolCalls,
        EngineFinish::Length => FinishReason::Length,
        EngineFinish::Cancelled => FinishReason::Cancelled,
    };
    let cancelled = finish_reason == FinishReason::Cancelled;
    End {
        state: if cancelled { EndState::Cancelled } else { EndState::Succeeded },
        finish_reason: Some(finish_reason),
        stop: generated.stop.clone(),
        error: None,
        usage: Some(Usage {
            prompt_tokens: generated.prompt_tokens.into(),
            cached_tokens: generated.cached_tokens.into(),
            completion_tokens: generated.completion_tokens.into(),
        }),
        timings: Some(Timings {
            queue_ms: 0.0,
            load_ms: 0.0,
            prefill_ms: generated.prefill_ms,
            decode_ms: generated.decode_ms,
            prefill_tokens_per_s: per_second(
                generated.prompt_tokens - generated.cached_tokens,
                generated.prefill_ms,
            ),
            decode_tokens_per_s: per_second(
                generated.completion_tokens.saturating_sub(1),
                generated.decode_ms,
            ),
        }),
        cancel_ms: None,
    }
}

/// The error of what the engine's thread can no longer do.
pub(crate) fn thread_ended() -> ApiError {
    ApiError::new(ErrorCode::Internal, "the engine's thread has ended")
        .hint("try again: the next job gets a new worker; `worker.log` in rbee's state folder may tell more")
}

/// The error, with sizes as they are told everywhere, of which the engine knows nothing.
fn in_words(error: &EngineError) -> String {
    match error {
        EngineError::DoesNotFit { path, needed_bytes, free_bytes, context_length } => format!(
            "`{}` needs {} of memory with a context of {}, but {} are free",
            path.display(),
            bytes(*needed_bytes),
            count((*context_length).into(), "token"),
            bytes(*free_bytes)
        ),
        error => error.to_string(),
    }
}

pub(crate) fn api_error(error: &EngineError) -> ApiError {
    let (code, hint) = match error {
        EngineError::NotFound { .. } => (ErrorCode::NotFound, "check the path"),
        EngineError::Io { .. } => (ErrorCode::Io, "check the file's permissions"),
        EngineError::BadModel { .. } => (ErrorCode::BadModel, "fetch the file again, or use another one"),
        EngineError::BadRequest { .. } => (ErrorCode::BadRequest, "change the request, then try again"),
        EngineError::ContextFull { .. } => (
            ErrorCode::ContextFull,
            "shorten the prompt (with `truncate`, `rbee infer --truncate`, a chat loses its oldest messages, though not its last), or set `context_length` under `[worker]` in config.toml if the model takes more",
        ),
        EngineError::TextTooLong { .. } => (
            ErrorCode::ContextFull,
            "divide the text, or have what does not fit cut off: `truncate`, `rbee embed --truncate`",
        ),
        EngineError::DoesNotFit { .. } => (
            ErrorCode::DoesNotFit,
            "use a smaller model, or set a shorter `context_length` under `[worker]` in config.toml; `rbee hive status` \
             shows what else is loaded",
        ),
        EngineError::Template { .. } => (
            ErrorCode::BadModel,
            "use a model that is made for chats, or have this one go on with a text: `rbee infer --raw`",
        ),
        EngineError::Cancelled => (ErrorCode::Cancelled, "run it again"),
        EngineError::Internal { .. } => {
            (ErrorCode::Internal, "`worker.log` in rbee's state folder may tell more")
        }
    };
    let message = match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => in_words(error),
    };
    ApiError::new(code, message).hint(hint)
}
