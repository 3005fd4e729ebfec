//! Ollama's API, as far as clients of a server use it.
//!
//! Its clients send no key, so its routes take guests, and are there only where the operator has said so.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use rbee_jobs::{Answer, Failed, Json, Permission, Principal, Routes, Translate};
use rbee_protocol::{
    ApiError, EmbedRequest, End, ErrorCode, FinishReason, InferRequest, JobEvent, Message, ModelInfo,
    ModelList, ModelRef, ModelReport, Operation, Role, Timings, Tool, ToolCall, ToolCallPart, WorkerInfo,
    WorkerList,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use utoipa::{OpenApi, ToSchema};

use super::answer::{self, Call, Whole};
use super::fields::{Fields, bad};
use super::openai::message;
use super::{Api, Asked, Names, date, model_ref, stream, whole, with_job};

/// Whose API it is, in narration.
const API: &str = "Ollama's";

/// What is called otherwise there.
const NAMES: Names = &[
    ("max_tokens", "options.num_predict"),
    ("repetition_penalty", "options.repeat_penalty"),
    ("penalty_last_n", "options.repeat_last_n"),
    ("json_schema", "format"),
];

/// What of the description in `rbee_jobs::describe` stands with the handlers. They answer only where `queen.ollama` is set.
#[derive(OpenApi)]
#[openapi(
    paths(root, generate, chat, embed, tags, show, ps, pull, version),
    tags((
        name = "ollama",
        description = "Ollama's API, for clients that speak it, where `queen.ollama` is set. It needs no key. \
                       docs/compatibility.md tells of each field whether it is supported, ignored or refused."
    ))
)]
pub(crate) struct OllamaApi;

pub(super) fn routes(api: Api) -> Routes {
    use Permission::Guest;
    Routes::default()
        .add(Method::GET, "/", Guest, root)
        .add(Method::POST, "/api/generate", Guest, generate)
        .add(Method::POST, "/api/chat", Guest, chat)
        .add(Method::POST, "/api/embed", Guest, embed)
        .add(Method::GET, "/api/tags", Guest, tags)
        .add(Method::POST, "/api/show", Guest, show)
        .add(Method::GET, "/api/ps", Guest, ps)
        .add(Method::POST, "/api/pull", Guest, pull)
        .add(Method::GET, "/api/version", Guest, version)
        .with_state(api)
        .shaped(shape)
}

/// A failure in Ollama's words.
fn shape(error: &ApiError) -> (StatusCode, Value) {
    let status = StatusCode::from_u16(error.code.http_status()).expect("codes have statuses of HTTP's");
    (status, json!({"error": message(error), "code": error.code}))
}

/// A request to go on with a prompt; docs/compatibility.md tells of all fields.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used: fields are taken one by one")]
struct OllamaGenerateRequest {
    /// The name of a model, or an alias.
    model: String,
    /// What the model is asked; none has it loaded.
    prompt: Option<String>,
    /// Whether the answer comes as a stream; it does unless this is false.
    stream: Option<bool>,
}

/// A request for a chat's next message; docs/compatibility.md tells of all fields.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used: fields are taken one by one")]
struct OllamaChatRequest {
    /// The name of a model, or an alias.
    model: String,
    /// The chat so far; none has the model loaded.
    messages: Option<Vec<super::openai::ChatMessage>>,
    /// Whether the answer comes as a stream; it does unless this is false.
    stream: Option<bool>,
}

/// A request for the vectors of texts; docs/compatibility.md tells of all fields.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used: fields are taken one by one")]
struct OllamaEmbedRequest {
    /// The name of a model, or an alias.
    model: String,
    /// The text, or several.
    input: super::Texts,
}

/// A model's name.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used: fields are taken one by one")]
struct OllamaModel {
    /// The name of a model, or an alias.
    model: String,
}

/// What is to be done with a request, and how its answer is to be given.
struct Plan {
    asked: Asked,
    streams: bool,
    kind: Kind,
    /// Whether nothing but the model is wanted.
    loads: bool,
}

/// What an answer's lines are like.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Generate,
    Chat,
}

impl Api {
    async fn answer_ollama(&self, principal: &Principal, plan: Plan) -> Result<Response, Failed> {
        let Plan { asked, streams, kind, loads } = plan;
        let model = asked.model.clone();
        let exchange = self.ask(principal, asked).await?;
        let lines = Lines { kind, loads, model, created_at: date(exchange.created_at_ms()), call: None };
        if streams {
            return Ok(stream(exchange, lines).await);
        }
        Ok(whole(exchange, |answers| lines.whole(answers.into_iter().next().unwrap_or_default())).await)
    }
}

/// Go on with a prompt
#[utoipa::path(
    post, path = "/api/generate", tag = "ollama", operation_id = "ollama_generate", security(()),
    request_body(content = OllamaGenerateRequest, example = json!({"model": "SmolLM2-135M-Instruct.Q4_1", "prompt": "hello"})),
    responses(
        (
            status = 200, description = "The answer, a line of JSON for each piece.",
            content((Object = "application/json"), (Object = "application/x-ndjson"))
        ),
        (status = 404, description = "`not_found`: there is no such model."),
        (status = 409, description = "`cancelled`: somebody cancelled the job."),
        (status = 422, description = "`bad_model`, `context_full`: the model cannot answer it."),
        (status = 500, description = "`internal`, `io`, `worker_crashed`, `worker_hung`, `quota`, `abandoned`: it failed."),
        (status = 503, description = "`unavailable`, `does_not_fit`, `interrupted`: nobody can answer it now."),
        (status = 507, description = "`disk_full`: there is no room to keep the job."),
    )
)]
async fn generate(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
    Json(fields): Json<Map<String, Value>>,
) -> Result<Response, Failed> {
    api.answer_ollama(&principal, generate_plan(Fields::new(fields))?).await
}

fn generate_plan(mut fields: Fields) -> Result<Plan, ApiError> {
    let (model, mut request, streams) = common(&mut fields)?;
    let prompt: String = fields.take("prompt")?.unwrap_or_default();
    let system: Option<String> = fields.take("system")?;
    let is_raw = fields.take("raw")?.unwrap_or(false);
    fields.refuse("suffix", &[json!("")], "put what is to follow into the prompt, with `raw`")?;
    fields.refuse("template", &[json!("")], "the model's own is used; with `raw` none is")?;
    fields.refuse("context", &[json!([])], "use /api/chat with the messages so far")?;
    fields.refuse("images", &[json!([])], "the models here read text alone")?;
    let loads = prompt.is_empty();
    if is_raw {
        request.prompt = Some(prompt);
    } else {
        request.messages = system.map(|system| Message::new(Role::System, system)).into_iter().collect();
        request.messages.push(Message::new(Role::User, prompt));
    }
    Ok(plan(fields, model, request, streams, Kind::Generate, loads))
}

/// Answer a chat
#[utoipa::path(
    post, path = "/api/chat", tag = "ollama", operation_id = "ollama_chat", security(()),
    request_body(content = OllamaChatRequest, example = json!({
        "model": "SmolLM2-135M-Instruct.Q4_1", "messages": [{"role": "user", "content": "hello"}]
    })),
    responses(
        (
            status = 200, description = "The answer, a line of JSON for each piece.",
            content((Object = "application/json"), (Object = "application/x-ndjson"))
        ),
        (status = 404, description = "`not_found`: there is no such model."),
        (status = 409, description = "`cancelled`: somebody cancelled the job."),
        (status = 422, description = "`bad_model`, `context_full`: the model cannot answer it."),
        (status = 500, description = "`internal`, `io`, `worker_crashed`, `worker_hung`, `quota`, `abandoned`: it failed."),
        (status = 503, description = "`unavailable`, `does_not_fit`, `interrupted`: nobody can answer it now."),
        (status = 507, description = "`disk_full`: there is no room to keep the job."),
    )
)]
async fn chat(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
    Json(fields): Json<Map<String, Value>>,
) -> Result<Response, Failed> {
    api.answer_ollama(&principal, chat_plan(Fields::new(fields))?).await
}

fn chat_plan(mut fields: Fields) -> Result<Plan, ApiError> {
    let (model, mut request, streams) = common(&mut fields)?;
    let messages: Vec<Map<String, Value>> = fields.list("messages")?;
    let messages = (0..).zip(messages).map(|(index, said)| chat_message(index, said));
    request.messages = messages.collect::<Result<_, _>>()?;
    let tools: Vec<Map<String, Value>> = fields.list("tools")?;
    let tools =
        (0..).zip(tools).map(|(index, fields)| super::openai::tool(&format!("tools[{index}]"), fields));
    request.tools = tools.collect::<Result<Vec<Tool>, _>>()?;
    let loads = request.messages.is_empty();
    Ok(plan(fields, model, request, streams, Kind::Chat, loads))
}

fn chat_message(index: usize, said: Map<String, Value>) -> Result<Message, ApiError> {
    let path = format!("messages[{index}]");
    let mut said = Fields::within(&path, said);
    let role = match said.need::<String>("role")?.as_str() {
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        _ => {
            let message = format!("`{path}.role` is none that is known");
            return Err(bad(message, "it is `system`, `user`, `assistant` or `tool`"));
        }
    };
    said.refuse("images", &[json!([])], "the models here read text alone")?;
    let calls: Vec<Value> = said.list("tool_calls")?;
    // Its calls have no ids: the results follow in the order of the calls.
    let call = |(at, call): (usize, Value)| {
        let function = &call["function"];
        let name = function["name"].as_str();
        let name =
            name.ok_or_else(|| bad(format!("`{path}.tool_calls[{at}].function.name` is missing"), "add it"))?;
        let arguments = match &function["arguments"] {
            Value::Null => json!({}),
            arguments @ Value::Object(_) => arguments.clone(),
            _ => {
                let message = format!("`{path}.tool_calls[{at}].function.arguments` is no object");
                return Err(bad(message, "send them as they came"));
            }
        };
        Ok(ToolCall { id: format!("call{at:05}"), name: name.to_owned(), arguments })
    };
    let tool_calls = calls.into_iter().enumerate().map(call).collect::<Result<Vec<_>, ApiError>>()?;
    let content: Option<String> = said.take("content")?;
    Ok(Message {
        role,
        content: content.or_else(|| tool_calls.is_empty().then(String::new)),
        tool_calls,
        tool_call_id: said.take("tool_call_id")?,
        name: said.take("tool_name")?,
    })
}

/// What chats and prompts have in common: the model's name, how to choose tokens, and whether the answer is a stream.
fn common(fields: &mut Fields) -> Result<(String, InferRequest, bool), ApiError> {
    let model: String = fields.need("model")?;
    let mut request = infer(&model);
    let mut options = Fields::within("options", fields.take("options")?.unwrap_or_default());
    request.temperature = options.take("temperature")?;
    request.top_k = options.take("top_k")?;
    request.top_p = options.take("top_p")?;
    request.min_p = options.take("min_p")?;
    request.typical_p = options.take("typical_p")?;
    request.repetition_penalty = options.take("repeat_penalty")?;
    request.presence_penalty = options.take("presence_penalty")?;
    request.frequency_penalty = options.take("frequency_penalty")?;
    // Below 0 is all that there is.
    let last_n: Option<i64> = options.take("repeat_last_n")?;
    request.penalty_last_n = last_n.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    let predicted: Option<i64> = options.take("num_predict")?;
    request.max_tokens = predicted.and_then(|count| u32::try_from(count).ok());
    request.seed = options.take::<i64>("seed")?.map(i64::cast_unsigned);
    request.stop = options.texts("stop")?;
    options.ignore(&[
        "num_ctx",
        "num_keep",
        "num_batch",
        "num_gpu",
        "main_gpu",
        "num_thread",
        "use_mmap",
        "use_mlock",
        "numa",
        "low_vram",
        "f16_kv",
        "vocab_only",
        "logits_all",
        "mirostat_tau",
        "mirostat_eta",
        "penalize_newline",
    ]);
    options.refuse("mirostat", &[json!(0)], "leave it out")?;
    options.refuse("tfs_z", &[json!(0), json!(1), json!(1.0)], "leave it out")?;
    options.notes().into_iter().for_each(|note| fields.note(note));
    match fields.take("format")? {
        None => {}
        Some(Value::String(format)) if format.is_empty() => {}
        Some(Value::String(format)) if format == "json" => {
            request.json_schema = Some(json!({"type": "object"}))
        }
        Some(schema @ Value::Object(_)) => request.json_schema = Some(schema),
        Some(_) => return Err(bad("`format` is none that is known", "it is `json`, or a JSON schema")),
    }
    request.truncate = fields.take("truncate")?.unwrap_or(true);
    let streams = fields.take("stream")?.unwrap_or(true);
    fields.refuse("logprobs", &[json!(false)], "ask /v1/chat/completions for them")?;
    request.keep_alive_s = keep_alive_s(fields)?;
    fields.ignore(&["think", "shift", "top_logprobs"]);
    Ok((model, request, streams))
}

/// For how many seconds without a request the model is to stay loaded: a number of them, or a duration such as `5m`; for
/// ever below 0.
fn keep_alive_s(fields: &mut Fields) -> Result<Option<i64>, ApiError> {
    let wrong =
        || bad("`keep_alive` is no duration", "it is a number of seconds, or a text such as `\"10m\"`");
    let seconds = match fields.take::<Value>("keep_alive")? {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(seconds)) => seconds.as_f64().ok_or_else(wrong)?,
        Some(Value::String(text)) => match (text.parse::<f64>(), text.strip_prefix('-')) {
            (Ok(seconds), _) => seconds,
            (Err(_), Some(_)) => -1.0,
            (Err(_), None) => fraction(&text)
                .or_else(|| humantime::parse_duration(&text).ok().map(|duration| duration.as_secs_f64()))
                .ok_or_else(wrong)?,
        },
        Some(_) => return Err(wrong()),
    };
    Ok(Some(if seconds < 0.0 { -1 } else { seconds as i64 }))
}

/// The seconds of a duration of one unit such as `1.5h`, of which Ollama takes fractions.
fn fraction(text: &str) -> Option<f64> {
    let (number, unit) = text.split_at(text.find(|character: char| character.is_ascii_alphabetic())?);
    let seconds = match unit {
        "h" => 3600.0,
        "m" => 60.0,
        "s" => 1.0,
        "ms" => 1e-3,
        _ => return None,
    };
    Some(number.parse::<f64>().ok().filter(|number| number.is_finite())? * seconds)
}

fn plan(
    fields: Fields,
    model: String,
    request: InferRequest,
    streams: bool,
    kind: Kind,
    loads: bool,
) -> Plan {
    let operation = if loads {
        // The model is loaded before anything can be counted.
        let prompt = Some(" ".to_owned());
        Operation::CountTokens(InferRequest { prompt, keep_alive_s: request.keep_alive_s, ..infer(&model) })
    } else {
        Operation::Infer(request)
    };
    let asked = Asked::new(API, model, operation, fields.notes());
    Plan { asked: Asked { names: NAMES, ..asked }, streams, kind, loads }
}

/// A request to the model of this name, to which clients add the tag that stands for none.
fn infer(model: &str) -> InferRequest {
    InferRequest { model: model_ref(Some(untagged(model))), fallback: true, ..Default::default() }
}

fn untagged(model: &str) -> &str {
    model.strip_suffix(":latest").unwrap_or(model)
}

/// Turn texts into vectors
#[utoipa::path(
    post, path = "/api/embed", tag = "ollama", operation_id = "ollama_embed", security(()),
    request_body(content = OllamaEmbedRequest, example = json!({"model": "SmolLM2-135M-Instruct.Q4_1", "input": ["hello"]})),
    responses(
        (status = 200, description = "The vectors.", body = Object),
        (status = 404, description = "`not_found`: there is no such model."),
        (status = 409, description = "`cancelled`: somebody cancelled the job."),
        (status = 422, description = "`bad_model`, `context_full`: the model cannot answer it."),
        (status = 500, description = "`internal`, `io`, `worker_crashed`, `worker_hung`, `quota`, `abandoned`: it failed."),
        (status = 503, description = "`unavailable`, `does_not_fit`, `interrupted`: nobody can answer it now."),
        (status = 507, description = "`disk_full`: there is no room to keep the job."),
    )
)]
async fn embed(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
    Json(fields): Json<Map<String, Value>>,
) -> Result<Response, Failed> {
    let asked = embed_asked(Fields::new(fields))?;
    let model = asked.model.clone();
    let exchange = api.ask(&principal, asked).await?;
    let vectors = |answers: Vec<Whole>| {
        let mut whole = answers.into_iter().next().unwrap_or_default();
        whole.embeddings.sort_by_key(|embedding| embedding.index);
        let embeddings = std::mem::take(&mut whole.embeddings);
        let embeddings = embeddings.into_iter().map(|embedding| embedding.values).collect();
        Vectors { model, embeddings, figures: figures(whole.end.as_deref()) }
    };
    Ok(whole(exchange, vectors).await)
}

/// Vectors, in numbers as short as they are exact.
#[derive(Serialize)]
struct Vectors {
    model: String,
    embeddings: Vec<Vec<f32>>,
    #[serde(flatten)]
    figures: Map<String, Value>,
}

fn embed_asked(mut fields: Fields) -> Result<Asked, ApiError> {
    let model: String = fields.need("model")?;
    let input = fields.texts("input")?;
    fields.refuse("dimensions", &[], "a model's vectors have one length here")?;
    let truncate = fields.take("truncate")?.unwrap_or(true);
    let keep_alive_s = keep_alive_s(&mut fields)?;
    fields.ignore(&["options"]);
    let model_named = model_ref(Some(untagged(&model)));
    let request = EmbedRequest { model: model_named, fallback: true, keep_alive_s, input, truncate };
    Ok(Asked::new(API, model, Operation::Embed(request), fields.notes()))
}

/// List the models
#[utoipa::path(
    get, path = "/api/tags", tag = "ollama", operation_id = "ollama_tags", security(()),
    responses(
        (status = 200, description = "The models.", body = Object),
        (status = 500, description = "`internal`, `io`: it failed."),
        (status = 503, description = "`unavailable`, `interrupted`: no hive can be reached."),
        (status = 507, description = "`disk_full`: there is no room to keep the job."),
    )
)]
async fn tags(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
) -> Result<Response, Failed> {
    let (ModelList { models, aliases }, job) = api.question(&principal, API, Operation::ModelList {}).await?;
    let named = |name: &str| models.iter().find(|model| model.model == name);
    let aliases = aliases.iter().filter_map(|(alias, model)| Some(tag(alias, named(model.as_str())?)));
    let tags = models.iter().map(|model| tag(&model.model, model)).chain(aliases);
    Ok(respond(json!({"models": tags.collect::<Vec<_>>()}), job))
}

/// Tell about a model
#[utoipa::path(
    post, path = "/api/show", tag = "ollama", operation_id = "ollama_show", security(()),
    request_body(content = OllamaModel, example = json!({"model": "SmolLM2-135M-Instruct.Q4_1"})),
    responses(
        (status = 200, description = "The model.", body = Object),
        (status = 404, description = "`not_found`: there is no such model."),
        (status = 500, description = "`internal`, `io`: it failed."),
        (status = 503, description = "`unavailable`, `interrupted`: no hive can be reached."),
        (status = 507, description = "`disk_full`: there is no room to keep the job."),
    )
)]
async fn show(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
    Json(fields): Json<Map<String, Value>>,
) -> Result<Response, Failed> {
    let (model, _) = named(&api, &principal, fields).await?;
    let operation = Operation::ModelShow { model: Some(ModelRef::new(model.model)) };
    let (report, job): (ModelReport, _) = api.question(&principal, API, operation).await?;
    let mut details = details(Some(&report.model));
    let mut info =
        json!({"general.name": report.model.model, "general.parameter_count": report.model.parameters});
    if let Some(facts) = report.facts {
        let family = facts.architecture;
        info["general.architecture"] = family.clone().into();
        for (name, value) in [
            ("context_length", facts.context_length),
            ("embedding_length", facts.embedding_length),
            ("block_count", facts.layers),
        ] {
            info[format!("{family}.{name}")] = value.into();
        }
        details["family"] = family.into();
    }
    let answer = json!({
        "license": report.license,
        "modified_at": date(report.model.modified_at_ms.unwrap_or_default()),
        "details": details,
        "model_info": info,
    });
    Ok(respond(answer, job))
}

/// List the models that are loaded
#[utoipa::path(
    get, path = "/api/ps", tag = "ollama", operation_id = "ollama_ps", security(()),
    responses(
        (status = 200, description = "The models.", body = Object),
        (status = 500, description = "`internal`, `io`: it failed."),
        (status = 503, description = "`unavailable`, `interrupted`: no hive can be reached."),
        (status = 507, description = "`disk_full`: there is no room to keep the job."),
    )
)]
async fn ps(State(api): State<Api>, Extension(principal): Extension<Principal>) -> Result<Response, Failed> {
    let (WorkerList { workers }, job) = api.question(&principal, API, Operation::WorkerList {}).await?;
    let model = |worker: &WorkerInfo| {
        let memory = worker.loaded.and_then(|loaded| loaded.memory);
        json!({
            "name": worker.model, "model": worker.model, "digest": digest(&worker.model), "details": details(None),
            "size": memory.map(|memory| memory.total_bytes() + memory.device_bytes),
            "size_vram": memory.map(|memory| memory.device_bytes),
            "context_length": worker.loaded.map(|loaded| loaded.context_length),
        })
    };
    Ok(respond(json!({"models": workers.iter().map(model).collect::<Vec<_>>()}), job))
}

/// See that a model is there
///
/// One that is not here is refused: operators bring models, and whoever asks here has shown no key.
#[utoipa::path(
    post, path = "/api/pull", tag = "ollama", operation_id = "ollama_pull", security(()),
    request_body(content = OllamaModel, example = json!({"model": "SmolLM2-135M-Instruct.Q4_1"})),
    responses(
        (status = 200, description = "It is.", body = Object),
        (status = 404, description = "`not_found`: there is no such model."),
        (status = 500, description = "`internal`, `io`: it failed."),
        (status = 503, description = "`unavailable`, `interrupted`: no hive can be reached."),
        (status = 507, description = "`disk_full`: there is no room to keep the job."),
    )
)]
async fn pull(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
    Json(fields): Json<Map<String, Value>>,
) -> Result<Response, Failed> {
    let (model, job) = named(&api, &principal, fields).await?;
    if !model.downloaded {
        let message = format!("the model `{}` is not here yet", rbee_narration::printable(&model.model));
        return Err(ApiError::new(ErrorCode::NotFound, message)
            .hint(match model.path {
                Some(_) => "its file has gone: `rbee model show` says what helps",
                None => "it comes with the first answer, or with `rbee model pull`",
            })
            .into());
    }
    Ok(respond(json!({"status": "success"}), job))
}

/// Which version answers
#[utoipa::path(
    get, path = "/api/version", tag = "ollama", operation_id = "ollama_version", security(()),
    responses((status = 200, description = "The version of rbee, not of Ollama.", body = Object))
)]
async fn version() -> Answer<Value> {
    Answer(StatusCode::OK, Ok(json!({"version": env!("CARGO_PKG_VERSION")})))
}

/// Whether somebody answers
///
/// Clients ask this before anything else.
#[utoipa::path(
    get, path = "/", tag = "ollama", operation_id = "ollama_root", security(()),
    responses((status = 200, description = "The queen does.", body = String, content_type = "text/plain"))
)]
async fn root() -> &'static str {
    "rbee is running"
}

fn respond(answer: Value, job: HeaderValue) -> Response {
    with_job(Answer(StatusCode::OK, Ok(answer)).into_response(), job)
}

/// The model that a request names.
async fn named(
    api: &Api,
    principal: &Principal,
    fields: Map<String, Value>,
) -> Result<(ModelInfo, HeaderValue), ApiError> {
    let mut fields = Fields::new(fields);
    let name: Option<String> = fields.take("model")?;
    let name = name.map_or_else(|| fields.need("name"), Ok)?;
    let (list, job): (ModelList, _) = api.question(principal, API, Operation::ModelList {}).await?;
    let wanted = untagged(&name);
    let wanted = list.aliases.get(wanted).map_or(wanted, ModelRef::as_str);
    let found = list.models.into_iter().find(|model| model.model == wanted);
    let found = found.ok_or_else(|| {
        let message = format!("there is no model `{}`", rbee_narration::printable(&name));
        ApiError::new(ErrorCode::NotFound, message).hint("`rbee model list` shows what there is")
    });
    Ok((found?, job))
}

fn tag(name: &str, model: &ModelInfo) -> Value {
    json!({
        "name": name,
        "model": name,
        "modified_at": date(model.modified_at_ms.unwrap_or_default()),
        "size": model.size_bytes,
        "digest": digest(&model.model),
        "details": details(Some(model)),
    })
}

/// What clients tell models apart by. It is of the name: to read whole files for a list would take minutes.
fn digest(model: &str) -> String {
    Sha256::digest(model).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn details(model: Option<&ModelInfo>) -> Value {
    let size = model.and_then(|model| model.parameters).map(|parameters| match parameters {
        0..1_000_000_000 => format!("{:.0}M", parameters as f64 / 1e6),
        _ => format!("{:.1}B", parameters as f64 / 1e9),
    });
    let quantization = model.and_then(|model| model.quantization.as_deref());
    json!({"format": "gguf", "parameter_size": size, "quantization_level": quantization})
}

/// An answer as lines of JSON, or as one.
struct Lines {
    kind: Kind,
    loads: bool,
    model: String,
    created_at: String,
    /// The call that is being written: calls are given whole.
    call: Option<Call>,
}

impl Lines {
    fn whole(&self, whole: Whole) -> Value {
        let mut line = self.piece(&whole.text, &whole.reasoning);
        if self.kind == Kind::Chat && !whole.calls.is_empty() {
            line["message"]["tool_calls"] = whole.calls.iter().map(call).collect();
        }
        self.end(&mut line, whole.end.as_deref());
        line
    }

    /// A line with a piece of the answer.
    fn piece(&self, text: &str, thinking: &str) -> Value {
        let mut line = json!({"model": self.model, "created_at": self.created_at, "done": false});
        let (place, field) = match self.kind {
            Kind::Chat => {
                line["message"] = json!({"role": "assistant"});
                (&mut line["message"], "content")
            }
            Kind::Generate => (&mut line, "response"),
        };
        place[field] = text.into();
        if !thinking.is_empty() {
            place["thinking"] = thinking.into();
        }
        line
    }

    fn end(&self, line: &mut Value, end: Option<&End>) {
        line["done"] = true.into();
        line["done_reason"] = match end.and_then(|end| end.finish_reason) {
            _ if self.loads => "load",
            Some(FinishReason::Length) => "length",
            _ => "stop",
        }
        .into();
        if let Value::Object(line) = line {
            line.extend(figures(end));
        }
    }

    fn tell_call(&mut self, out: &mut Vec<u8>) {
        if let Some(whole) = self.call.take() {
            let mut line = self.piece("", "");
            line["message"]["tool_calls"] = json!([call(&whole)]);
            tell(&line, out);
        }
    }
}

fn call(call: &Call) -> Value {
    let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
    json!({"function": {"name": call.name, "arguments": arguments}})
}

/// How much it was, and how many nanoseconds it took.
fn figures(end: Option<&End>) -> Map<String, Value> {
    let ns = |ms: f64| (ms * 1e6) as u64;
    let Timings { queue_ms, load_ms, prefill_ms, decode_ms, .. } =
        end.and_then(|end| end.timings).unwrap_or_default();
    let usage = answer::usage(end);
    let figures = [
        ("total_duration", ns(queue_ms + load_ms + prefill_ms + decode_ms)),
        ("load_duration", ns(load_ms)),
        ("prompt_eval_count", usage.prompt_tokens),
        ("prompt_eval_duration", ns(prefill_ms)),
        ("eval_count", usage.completion_tokens),
        ("eval_duration", ns(decode_ms)),
    ];
    figures.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

fn tell(line: &Value, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, line).expect("JSON can be written to memory");
    out.push(b'\n');
}

impl Translate for Lines {
    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn event(&mut self, _job: usize, event: JobEvent, out: &mut Vec<u8>) {
        match event {
            JobEvent::Token(token) if token.reasoning => tell(&self.piece("", &token.text), out),
            JobEvent::Token(token) => tell(&self.piece(&token.text, ""), out),
            JobEvent::ToolCall(ToolCallPart { id, name, arguments, .. }) => {
                if let Some(name) = name {
                    self.tell_call(out);
                    self.call = Some(Call { id: id.unwrap_or_default(), name, arguments: String::new() });
                }
                if let Some(call) = &mut self.call {
                    call.arguments.push_str(&arguments);
                }
            }
            JobEvent::End(end) => {
                if let Some(error) = answer::failed(&end) {
                    return tell(&json!({"error": message(&error)}), out);
                }
                self.tell_call(out);
                let mut line = self.piece("", "");
                self.end(&mut line, Some(&end));
                tell(&line, out);
            }
            JobEvent::Narration(_)
            | JobEvent::Progress(_)
            | JobEvent::Embedding(_)
            | JobEvent::Result { .. } => {}
        }
    }

    fn done(&mut self, _out: &mut Vec<u8>) {}

    fn heartbeat(&self) -> &'static [u8] {
        // There are no comments in it.
        b""
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::tests::{answer, cases, joined, told};

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn a_stream_is_the_answer_in_pieces(events in answer()) {
            let lines = || Lines {
                kind: Kind::Chat, loads: false, model: "m".to_owned(), created_at: date(0), call: None,
            };
            let told = told(&events, lines());
            let whole = lines().whole(crate::api::tests::whole(&events));
            for field in ["content", "thinking"] {
                let streamed = joined(&told, &format!("/message/{field}"));
                assert_eq!(streamed, whole["message"][field].as_str().unwrap_or_default());
            }
            let calls = told.iter().filter_map(|line| line["message"]["tool_calls"].as_array()).flatten();
            assert!(calls.eq(whole["message"]["tool_calls"].as_array().into_iter().flatten()));
            let last = told.last().expect("there is an end");
            assert_eq!(last["done_reason"], whole["done_reason"]);
            assert_eq!(last["eval_count"], whole["eval_count"]);
            assert!(told.iter().rev().skip(1).all(|line| line["done"] == false));
        }
    }
}
