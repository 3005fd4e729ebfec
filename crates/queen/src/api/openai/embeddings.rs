use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rbee_jobs::{Failed, Json, Principal};
use rbee_protocol::{ApiError, EmbedRequest, Embedding, Operation};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::API;
use crate::api::answer::Whole;
use crate::api::fields::{Fields, bad, typed};
use crate::api::{Api, Asked, Texts, model_ref, whole};

/// A request for the vectors of texts; docs/compatibility.md tells of all fields.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used: fields are taken one by one")]
pub(super) struct EmbeddingRequest {
    /// The texts.
    input: Texts,
    /// The name of a model, or an alias.
    model: Option<String>,
    /// How numbers are written.
    encoding_format: Option<EncodingFormat>,
}

/// How the numbers of a vector are written.
#[derive(Clone, Copy, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum EncodingFormat {
    /// As numbers.
    Float,
    /// As the Base64 of their 32 bits each, the lowest byte first.
    Base64,
}

/// Turn texts into vectors
///
/// The answer's `pooling` says how the vectors of a text's tokens became one, and whether the model says so itself.
#[utoipa::path(
    post, path = "/v1/embeddings", tag = "openai", operation_id = "create_embedding",
    request_body(content = EmbeddingRequest, example = json!({"input": ["hello"]})),
    responses(
        (status = 200, description = "The vectors.", body = Object),
        (status = 404, description = "`not_found`: there is no such model."),
        (status = 409, description = "`cancelled`: somebody cancelled the job."),
        (status = 422, description = "`bad_model`: the model's file is not one that can be used."),
        (status = 500, description = "`internal`, `io`, `worker_crashed`, `worker_hung`, `quota`, `abandoned`: it failed."),
        (status = 503, description = "`unavailable`, `does_not_fit`, `interrupted`: nobody can answer it now."),
        (status = 507, description = "`disk_full`: there is no room to keep the job."),
    )
)]
pub(super) async fn create(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
    Json(fields): Json<Map<String, Value>>,
) -> Result<Response, Failed> {
    let (asked, format) = asked(Fields::new(fields))?;
    let model = asked.model.clone();
    let exchange = api.ask(&principal, asked).await?;
    Ok(whole(exchange, |answers| embeddings(model, answers, format)).await)
}

fn asked(mut fields: Fields) -> Result<(Asked, EncodingFormat), ApiError> {
    let model: Option<String> = fields.take("model")?;
    let input = match fields.need("input")? {
        Value::String(text) => vec![text],
        Value::Array(tokens) if tokens.first().is_some_and(|text| !text.is_string()) => {
            return Err(bad("`input` is not supported as tokens", "send texts"));
        }
        texts => typed("input", texts)?,
    };
    let format = match fields.take::<String>("encoding_format")?.as_deref() {
        None | Some("float") => EncodingFormat::Float,
        Some("base64") => EncodingFormat::Base64,
        Some(_) => return Err(bad("`encoding_format` is none that is known", "it is `float` or `base64`")),
    };
    fields.refuse("dimensions", &[], "a model's vectors have one length here")?;
    fields.ignore(&["user"]);
    let model_named = model_ref(model.as_deref());
    let request = EmbedRequest { model: model_named, fallback: true, input, ..EmbedRequest::default() };
    let model = model.unwrap_or_default();
    Ok((Asked::new(API, model, Operation::Embed(request), fields.notes()), format))
}

/// The vectors, in numbers as short as they are exact.
#[derive(Serialize)]
struct Embeddings {
    object: &'static str,
    data: Vec<Vector>,
    model: String,
    usage: Value,
    pooling: Option<Value>,
}

#[derive(Serialize)]
struct Vector {
    object: &'static str,
    index: u64,
    embedding: Numbers,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Numbers {
    Float(Vec<f32>),
    Base64(String),
}

fn embeddings(model: String, answers: Vec<Whole>, format: EncodingFormat) -> Embeddings {
    let whole = answers.into_iter().next().unwrap_or_default();
    let tokens = whole.usage().prompt_tokens;
    let mut data: Vec<Vector> = whole
        .embeddings
        .into_iter()
        .map(|Embedding { index, values, .. }| {
            let embedding = match format {
                EncodingFormat::Float => Numbers::Float(values),
                EncodingFormat::Base64 => {
                    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                    Numbers::Base64(STANDARD.encode(bytes))
                }
            };
            Vector { object: "embedding", index, embedding }
        })
        .collect();
    data.sort_by_key(|vector| vector.index);
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Embeddings { object: "list", data, model, usage, pooling: whole.result }
}
