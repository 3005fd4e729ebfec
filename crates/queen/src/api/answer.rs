use rbee_jobs::{Exchange, failure};
use rbee_protocol::{
    ApiError, Embedding, End, EndState, FinishReason, JobEvent, TokenLogprobs, ToolCallPart, Usage,
};
use serde_json::Value;

/// What a job's events amount to.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    pub(crate) text: String,
    pub(crate) reasoning: String,
    pub(crate) logprobs: Vec<TokenLogprobs>,
    pub(crate) calls: Vec<Call>,
    pub(crate) embeddings: Vec<Embedding>,
    pub(crate) result: Option<Value>,
    pub(crate) end: Option<Box<End>>,
}

/// A call of a tool.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The JSON text of an object.
    pub(crate) arguments: String,
}

impl Whole {
    pub(crate) fn take(&mut self, event: JobEvent) {
        match event {
            JobEvent::Token(token) if token.reasoning => self.reasoning.push_str(&token.text),
            JobEvent::Token(token) => {
                self.text.push_str(&token.text);
                self.logprobs.extend(token.logprobs);
            }
            JobEvent::ToolCall(ToolCallPart { id, name, arguments, .. }) => {
                if let Some(name) = name {
                    self.calls.push(Call { id: id.unwrap_or_default(), name, arguments: String::new() });
                }
                if let Some(call) = self.calls.last_mut() {
                    call.arguments.push_str(&arguments);
                }
            }
            JobEvent::Embedding(embedding) => self.embeddings.push(embedding),
            JobEvent::Result { result } => self.result = Some(result),
            JobEvent::End(end) => self.end = Some(end),
            JobEvent::Narration(_) | JobEvent::Progress(_) => {}
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        usage(self.end.as_deref())
    }

    pub(crate) fn finish_reason(&self) -> Option<FinishReason> {
        self.end.as_ref().and_then(|end| end.finish_reason)
    }
}

/// What was read and written, nothing where a job does not say.
pub(crate) fn usage(end: Option<&End>) -> Usage {
    let none = Usage { prompt_tokens: 0, cached_tokens: 0, completion_tokens: 0 };
    end.and_then(|end| end.usage).unwrap_or(none)
}

/// Why a job failed, if it did.
pub(crate) fn failed(end: &End) -> Option<ApiError> {
    (end.state != EndState::Succeeded).then(|| failure(end.clone()))
}

/// Reads jobs to their ends.
///
/// # Errors
/// What one of them failed with.
pub(crate) async fn whole(mut exchange: Exchange) -> Result<Vec<Whole>, ApiError> {
    let mut answers: Vec<Whole> = exchange.jobs().map(|_| Whole::default()).collect();
    while let Some((job, event)) = exchange.next().await? {
        if let JobEvent::End(end) = &event
            && let Some(error) = failed(end)
        {
            return Err(error);
        }
        answers[job].take(event);
    }
    Ok(answers)
}
