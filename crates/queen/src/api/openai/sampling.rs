use std::collections::BTreeMap;

use rbee_protocol::{ApiError, InferRequest};
use serde_json::Value;

use crate::api::fields::{Fields, typed};

/// Takes what says how tokens are chosen, under the names that OpenAI and other servers of its API have for it.
///
/// # Errors
/// `bad_request` names the field that is of another type.
pub(super) fn take(fields: &mut Fields, request: &mut InferRequest) -> Result<(), ApiError> {
    request.temperature = fields.take("temperature")?;
    request.top_p = fields.take("top_p")?;
    request.top_k = fields.take("top_k")?;
    request.min_p = fields.take("min_p")?;
    request.typical_p = fields.take("typical_p")?;
    request.repetition_penalty = fields.take("repetition_penalty")?;
    request.presence_penalty = fields.take("presence_penalty")?;
    request.frequency_penalty = fields.take("frequency_penalty")?;
    request.penalty_last_n = fields.take("penalty_last_n")?;
    request.logit_bias = fields.take::<BTreeMap<u32, f32>>("logit_bias")?.unwrap_or_default();
    // There it may be below 0, and is no less a seed.
    request.seed = fields.take::<Value>("seed")?.map(seed).transpose()?;
    request.stop = fields.texts("stop")?;
    Ok(())
}

fn seed(value: Value) -> Result<u64, ApiError> {
    match value.as_i64() {
        Some(seed) => Ok(seed.cast_unsigned()),
        None => typed("seed", value),
    }
}
