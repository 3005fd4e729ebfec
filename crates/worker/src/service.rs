use std::sync::Arc;
use std::time::Instant;

use rbee_engine::{
    Form, GenerateRequest, Memory, Message as EngineMessage, Prompt, Role as EngineRole, Sampling,
    Tool as EngineTool, ToolCall as EngineToolCall, ToolChoice as EngineToolChoice,
};
use rbee_jobs::{JobWriter, Principal, Service, daemon_info, now_ms};
use rbee_narration::bytes;
use rbee_protocol::{
    ApiError, DaemonInfo, End, ErrorCode, InferRequest, Message, Operation, Phase, Progress, Role,
    StopRequest, SubmitRequest, TokenCount, Tool, ToolCall, ToolChoice, Unit,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::engine_thread::{Engine, Task, thread_ended};

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
        let (mut waited, mut told_needs) = (false, false);
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
            if let Some((memory, free_bytes)) = state.needs
                && !std::mem::replace(&mut told_needs, true)
            {
                self.tell_needs(memory, free_bytes, job);
            }
            job.progress(Progress::new(Phase::Load, state.percent, Some(100), Unit::Percent));
            tokio::select! {
                changed = loading.changed() => changed.map_err(|_| thread_ended())?,
                () = job.cancelled() => return Err(job.cancel_error()),
            }
        }
    }

    /// Makes a request's prompt, with what its answer must be like.
    async fn prepare(&self, request: InferRequest, scope: Option<&str>) -> Result<Prompt, ApiError> {
        let form = form(&request);
        let mut request = generate_request(request, scope);
        let call = || self.engine.prompter().map(|prompter| prompter.required_call(&request));
        let form = if form.is_some() { form } else { call()?.map(Form::JsonSchema) };
        if matches!(request.tool_choice, EngineToolChoice::Required | EngineToolChoice::Named(_)) {
            // They are for texts, and would cut the call.
            request.stop.clear();
        }
        if let Some(form) = form {
            request.constraint = Some(self.engine.constrain(form).await?);
        }
        self.engine.prepare(request).await
    }

    fn tell_needs(&self, memory: Memory, free_bytes: Option<u64>, job: &JobWriter) {
        let narrator = job.narrator("worker");
        let draft = narrator.action("memory").target(&self.model).context(&self.model);
        let draft = draft.context(bytes(memory.total_bytes()));
        match free_bytes {
            Some(free) => {
                draft.context(bytes(free)).human("{} needs {} of memory, and {} are free").emit();
            }
            None => draft.human("{} needs {} of memory").emit(),
        }
    }
}

impl Service for WorkerService {
    fn info(&self) -> DaemonInfo {
        daemon_info("worker", self.started_at_ms)
    }

    fn check(&self, request: &SubmitRequest, _by: &Principal) -> Result<(), ApiError> {
        match request.operation {
            Operation::Infer(_)
            | Operation::Embed(_)
            | Operation::CountTokens(_)
            | Operation::WorkerStart { .. } => Ok(()),
            _ => {
                let message = format!("a worker does not do `{}`", request.operation.name());
                Err(ApiError::new(ErrorCode::BadRequest, message).hint("ask the queen"))
            }
        }
    }

    async fn run(self: Arc<Self>, operation: Operation, job: JobWriter) -> Result<End, ApiError> {
        job.start();
        let began = Instant::now();
        self.loaded(&job).await?;
        let load_ms = began.elapsed().as_secs_f64() * 1e3;
        let task = match operation {
            Operation::Infer(request) => tokio::select! {
                prompt = self.prepare(request, job.scope()) => Task::Generate(prompt?),
                () = job.cancelled() => return Err(job.cancel_error()),
            },
            Operation::Embed(request) => Task::Embed(request),
            Operation::CountTokens(request) => {
                let prompt_tokens = tokio::select! {
                    count = self.engine.count(generate_request(request, None)) => u64::from(count?),
                    () = job.cancelled() => return Err(job.cancel_error()),
                };
                job.answer(&TokenCount { prompt_tokens });
                return Ok(End::succeeded());
            }
            // It was to be loaded, and is.
            Operation::WorkerStart { .. } => return Ok(End::succeeded()),
            _ => unreachable!("refused by `check`"),
        };
        let mut end = self.engine.work(task, &job).await?;
        if let Some(timings) = &mut end.timings {
            timings.load_ms = load_ms;
        }
        Ok(end)
    }

    fn stop(&self, _request: StopRequest) {
        self.shutdown.cancel();
    }
}

/// What the answer must be like, if the request says so.
fn form(request: &InferRequest) -> Option<Form> {
    let schema = request.json_schema.clone().map(Form::JsonSchema);
    schema.or_else(|| request.grammar.clone().map(Form::Gbnf))
}

fn generate_request(request: InferRequest, scope: Option<&str>) -> GenerateRequest {
    let default = Sampling::default();
    GenerateRequest {
        messages: request.messages.into_iter().map(message).collect(),
        scope: scope.map(str::to_owned),
        prompt: request.prompt,
        sampling: Sampling {
            temperature: request.temperature.unwrap_or(default.temperature),
            top_k: request.top_k.unwrap_or(default.top_k),
            top_p: request.top_p.unwrap_or(default.top_p),
            min_p: request.min_p.unwrap_or(default.min_p),
            typical_p: request.typical_p.unwrap_or(default.typical_p),
            repetition_penalty: request.repetition_penalty.unwrap_or(default.repetition_penalty),
            presence_penalty: request.presence_penalty.unwrap_or(default.presence_penalty),
            frequency_penalty: request.frequency_penalty.unwrap_or(default.frequency_penalty),
            penalty_last_n: request.penalty_last_n.unwrap_or(default.penalty_last_n),
            logit_bias: request.logit_bias.into_iter().collect(),
            seed: request.seed,
        },
        max_tokens: request.max_tokens,
        stop: request.stop,
        logprobs: request.logprobs,
        truncate: request.truncate,
        constraint: None,
        tools: request.tools.into_iter().map(tool).collect(),
        tool_choice: match request.tool_choice {
            None | Some(ToolChoice::Auto) => EngineToolChoice::Auto,
            Some(ToolChoice::None) => EngineToolChoice::None,
            Some(ToolChoice::Required) => EngineToolChoice::Required,
            Some(ToolChoice::Name(name)) => EngineToolChoice::Named(name),
        },
        single_tool_call: request.parallel_tool_calls == Some(false),
    }
}

fn message(message: Message) -> EngineMessage {
    EngineMessage {
        role: match message.role {
            Role::System => EngineRole::System,
            Role::User => EngineRole::User,
            Role::Assistant => EngineRole::Assistant,
            Role::Tool => EngineRole::Tool,
        },
        content: message.content.unwrap_or_default(),
        tool_calls: message.tool_calls.into_iter().map(tool_call).collect(),
        tool_call_id: message.tool_call_id,
        name: message.name,
    }
}

fn tool(tool: Tool) -> EngineTool {
    let Tool { name, description, parameters } = tool;
    EngineTool { name, description, parameters }
}

fn tool_call(call: ToolCall) -> EngineToolCall {
    let arguments = match call.arguments {
        // Text is what streams have, and clients send back.
        Value::String(text) => match serde_json::from_str(&text) {
            Ok(object @ Value::Object(_)) => object,
            _ => Value::String(text),
        },
        object => object,
    };
    EngineToolCall { id: call.id, name: call.name, arguments }
}
