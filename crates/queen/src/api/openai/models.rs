use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use rbee_jobs::{Answer, Failed, Principal};
use rbee_protocol::{ApiError, ErrorCode, ModelList, Operation};
use serde_json::{Value, json};

use super::API;
use crate::api::{Api, date, with_job};

/// List the models
///
/// Those of all hives, and their aliases.
#[utoipa::path(
    get, path = "/v1/models", tag = "openai", operation_id = "list_models_openai",
    responses(
        (status = 200, description = "The models.", body = Object),
        (status = 500, description = "`internal`, `io`: it failed."),
        (status = 503, description = "`unavailable`, `interrupted`: no hive can be reached."),
        (status = 507, description = "`disk_full`: there is no room to keep the job."),
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
) -> Result<Response, Failed> {
    let (models, job) = models(&api, &principal).await?;
    let id = |model: Option<&Value>| model.map(|model| model["id"].clone());
    let (first, last) = (id(models.first()), id(models.last()));
    let list = json!({
        "object": "list", "first_id": first, "last_id": last, "has_more": false, "data": models,
    });
    Ok(with_job(Answer(StatusCode::OK, Ok(list)).into_response(), job))
}

/// Tell about a model
#[utoipa::path(
    get, path = "/v1/models/{model}", tag = "openai", operation_id = "show_model_openai",
    params(("model" = String, Path, description = "The model's name, or an alias.")),
    responses(
        (status = 200, description = "The model.", body = Object),
        (status = 404, description = "`not_found`: there is no such model."),
        (status = 500, description = "`internal`, `io`: it failed."),
        (status = 503, description = "`unavailable`, `interrupted`: no hive can be reached."),
        (status = 507, description = "`disk_full`: there is no room to keep the job."),
    )
)]
pub(super) async fn show(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Failed> {
    let name = name.map_or_else(|_| char::REPLACEMENT_CHARACTER.into(), |Path(name)| name);
    let (models, job) = models(&api, &principal).await?;
    let found = models.into_iter().find(|model| model["id"] == name);
    let found = found.ok_or_else(|| {
        let message = format!("there is no model `{}`", rbee_narration::printable(&name));
        ApiError::new(ErrorCode::NotFound, message).hint("`rbee model list` shows what there is")
    });
    Ok(with_job(Answer(StatusCode::OK, found).into_response(), job))
}

/// The models, as OpenAI has them and as Anthropic does.
async fn models(api: &Api, principal: &Principal) -> Result<(Vec<Value>, axum::http::HeaderValue), ApiError> {
    let (list, job): (ModelList, _) = api.question(principal, API, Operation::ModelList {}).await?;
    let at = |name: &str| list.models.iter().find(|model| model.model == name)?.modified_at_ms;
    // An alias goes before a model of that name.
    let own = list.models.iter().filter(|model| !list.aliases.contains_key(&model.model));
    let own = own.map(|model| (model.model.as_str(), model.modified_at_ms));
    let aliases = list.aliases.iter().map(|(alias, model)| (alias.as_str(), at(model.as_str())));
    let model = |(name, at_ms): (&str, Option<u64>)| {
        let at_ms = at_ms.unwrap_or_default();
        json!({
            "id": name, "object": "model", "created": at_ms / 1000, "owned_by": "rbee",
            "type": "model", "display_name": name, "created_at": date(at_ms),
        })
    };
    Ok((own.chain(aliases).map(model).collect(), job))
}
