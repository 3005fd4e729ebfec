use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use rbee_jobs::{Failed, Json, Principal, Translate};
use rbee_protocol::{ApiError, End, InferRequest, JobEvent, Token, TokenLogprobs, Usage};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::chat::{CHOICES_MAX, choices, operations};
use super::{API, NAMES, error_object, finish_reason, sampling, usage, with_usage};
use crate::api::answer::{self, Whole};
use crate::api::fields::{Fields, bad, typed};
use crate::api::{Api, Asked, SseEvent, Texts, comment, digits, model_ref, sse, stream, whole};

/// What OpenAI has for `max_tokens` where a request says nothing.
const MAX_TOKENS: u32 = 16;

/// A request to go on with a text; docs/compatibility.md tells of all fields.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used: fields are taken one by one")]
pub(super) struct CompletionRequest {
    /// The text, or several.
    prompt: Texts,
    /// The name of a model, or an alias.
    model: Option<String>,
    /// Whether the answer comes as a stream.
    stream: Option<bool>,
    /// How many tokens to generate at most; 16 when absent.
    #[schema(minimum = 1, format = "uint32", maximum = 4_294_967_295_u32)]
    max_tokens: Option<u32>,
}

/// Go on with a text
///
/// As it is, without the model's chat template. In one piece, or with `stream` as server-sent events.
#[utoipa::path(
    post, path = "/v1/completions", tag = "openai", operation_id = "create_completion",
    request_body(content = CompletionRequest, example = json!({"prompt": "Once upon a time", "max_tokens": 16})),
    responses(
        (
            status = 200, description = "The answer.",
            content((Object = "application/json"), (SseEvent = "text/event-stream"))
        ),
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
    let (asked, form) = asked(Fields::new(fields))?;
    let model = asked.model.clone();
    let exchange = api.ask(&principal, asked).await?;
    let id = exchange.jobs().next().map(|job| format!("cmpl-{}", digits(job))).unwrap_or_default();
    let head = json!({
        "id": id, "object": "text_completion", "created": exchange.created_at_ms() / 1000, "model": model,
    });
    if form.streams {
        let usages = exchange.jobs().map(|_| None).collect();
        return Ok(stream(exchange, Stream { head, form, usages, has_failed: false }).await);
    }
    let translate = |answers: Vec<Whole>| {
        let choice = |(index, whole): (usize, &Whole)| {
            choice(index, &whole.text, &whole.logprobs, form, Some(finish_reason(whole.finish_reason())))
        };
        let mut answer = head;
        answer["choices"] = answers.iter().enumerate().map(choice).collect();
        answer["usage"] = usage(form.usage_of(answers.iter().map(Whole::usage)));
        answer
    };
    Ok(whole(exchange, translate).await)
}

/// How an answer is to be given.
#[derive(Clone, Copy)]
struct Form {
    streams: bool,
    with_usage: bool,
    with_logprobs: bool,
    /// How many answers each prompt has.
    choices: usize,
}

impl Form {
    /// What was read of all prompts and written for them.
    fn usage_of(self, usages: impl Iterator<Item = Usage>) -> Usage {
        let none = Usage { prompt_tokens: 0, cached_tokens: 0, completion_tokens: 0 };
        usages.enumerate().fold(none, |mut all, (index, usage)| {
            all.completion_tokens += usage.completion_tokens;
            // A prompt counts once, however many answers it has.
            if index % self.choices == 0 {
                all.prompt_tokens += usage.prompt_tokens;
                all.cached_tokens += usage.cached_tokens;
            }
            all
        })
    }
}

fn asked(mut fields: Fields) -> Result<(Asked, Form), ApiError> {
    let model: Option<String> = fields.take("model")?;
    let prompts: Vec<String> = match fields.need("prompt")? {
        Value::String(prompt) => vec![prompt],
        Value::Array(prompts) if prompts.first().is_some_and(|prompt| !prompt.is_string()) => {
            return Err(bad("`prompt` is not supported as tokens", "send it as a text"));
        }
        prompts => typed("prompt", prompts)?,
    };
    let mut request =
        InferRequest { model: model_ref(model.as_deref()), fallback: true, ..Default::default() };
    sampling::take(&mut fields, &mut request)?;
    request.max_tokens = Some(fields.take("max_tokens")?.unwrap_or(MAX_TOKENS));
    request.logprobs = fields.take("logprobs")?;
    request.grammar = fields.take("grammar")?;
    request.truncate = fields.take("truncate")?.unwrap_or(false);
    let choices = choices(&mut fields)?;
    let form = Form {
        streams: fields.take("stream")?.unwrap_or(false),
        with_usage: with_usage(&mut fields)?,
        with_logprobs: request.logprobs.is_some(),
        choices,
    };
    if prompts.is_empty() || prompts.len() * choices > CHOICES_MAX {
        return Err(bad(
            "`prompt` is out of its range",
            &format!("ask for 1 to {CHOICES_MAX} answers in all"),
        ));
    }
    fields.refuse("best_of", &[json!(choices)], "use `n`")?;
    fields.refuse("echo", &[json!(false)], "put the prompt before the answer yourself")?;
    fields.refuse("suffix", &[json!("")], "put what is to follow into the prompt, in the model's own way")?;
    fields.ignore(&["user"]);
    let operations = prompts.into_iter().flat_map(move |prompt| {
        operations(InferRequest { prompt: Some(prompt), ..request.clone() }, choices)
    });
    let model = model.unwrap_or_default();
    let (operations, notes) = (Box::new(operations), fields.notes());
    Ok((Asked { api: API, model, operations, detached: false, names: NAMES, notes }, form))
}

fn choice(index: usize, text: &str, all: &[TokenLogprobs], form: Form, reason: Option<&str>) -> Value {
    let logprobs = form.with_logprobs.then(|| logprobs(all));
    json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason})
}

fn logprobs(all: &[TokenLogprobs]) -> Value {
    let top = |token: &TokenLogprobs| -> Map<String, Value> {
        token.top.iter().map(|top| (top.text.clone(), top.logprob.into())).collect()
    };
    json!({
        "tokens": all.iter().map(|token| token.chosen.text.as_str()).collect::<Vec<_>>(),
        "token_logprobs": all.iter().map(|token| token.chosen.logprob).collect::<Vec<_>>(),
        "top_logprobs": all.iter().map(top).collect::<Vec<_>>(),
    })
}

/// An answer in chunks.
struct Stream {
    head: Value,
    form: Form,
    usages: Vec<Option<Usage>>,
    has_failed: bool,
}

impl Stream {
    fn chunk(&self, choices: Value, usage: Value, out: &mut Vec<u8>) {
        let mut chunk = self.head.clone();
        chunk["choices"] = choices;
        if self.form.with_usage {
            chunk["usage"] = usage;
        }
        sse(out, None, &chunk);
    }

    fn end(&mut self, job: usize, end: &End, out: &mut Vec<u8>) {
        if let Some(error) = answer::failed(end) {
            self.has_failed = true;
            return sse(out, None, &json!({"error": error_object(&error)}));
        }
        self.usages[job] = Some(answer::usage(Some(end)));
        let last = choice(job, "", &[], self.form, Some(finish_reason(end.finish_reason)));
        self.chunk(json!([last]), Value::Null, out);
    }
}

impl Translate for Stream {
    fn content_type(&self) -> &'static str {
        "text/event-stream"
    }

    fn event(&mut self, job: usize, event: JobEvent, out: &mut Vec<u8>) {
        match event {
            // After a failure nothing may look like an answer.
            _ if self.has_failed => {}
            // A text that is gone on with has no thoughts that were anything else than text.
            JobEvent::Token(Token { text, logprobs, reasoning: false, .. }) => {
                self.chunk(json!([choice(job, &text, &logprobs, self.form, None)]), Value::Null, out);
            }
            JobEvent::End(end) => self.end(job, &end, out),
            event => comment(out, &event),
        }
    }

    fn done(&mut self, out: &mut Vec<u8>) {
        if self.has_failed {
            return;
        }
        if self.form.with_usage {
            let all = self.form.usage_of(self.usages.iter().flatten().copied());
            self.chunk(json!([]), usage(all), out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn is_over(&self) -> bool {
        self.has_failed
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
            let form = Form { streams: true, with_usage: true, with_logprobs: false, choices: 1 };
            let stream = Stream { head: json!({}), form, usages: vec![None], has_failed: false };
            let told = told(&events, stream);
            let whole = crate::api::tests::whole(&events);
            assert_eq!(joined(&told, "/choices/0/text"), whole.text);
            assert_eq!(joined(&told, "/choices/0/finish_reason"), finish_reason(whole.finish_reason()));
            assert_eq!(told.last().expect("there is an end")["usage"], usage(whole.usage()));
        }
    }

    #[test]
    fn a_prompt_counts_once_however_many_answers_it_has() {
        let form = Form { streams: false, with_usage: false, with_logprobs: false, choices: 2 };
        let usage = |tokens| Usage { prompt_tokens: tokens, cached_tokens: 0, completion_tokens: 1 };
        let all = form.usage_of([usage(10), usage(10), usage(7), usage(7)].into_iter());
        assert_eq!((all.prompt_tokens, all.completion_tokens), (17, 4));
    }
}
