//! Asking either server for an answer, and noting when each piece of its text came.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rbee_protocol::{
    EndState, Event as JobLine, InferRequest, JobEvent, JobId, Message, Operation, SubmitRequest, Submitted,
    Timings,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::daemons::{Daemons, model};
use crate::http::{Connection, Request};
use crate::stream::Blocks;

/// How freely a question with a seed is answered; the other settings are the servers' own, which are the same.
const TEMPERATURE: f32 = 0.8;

/// Is added to the logits of tokens that are not to come.
const NEVER: f32 = -100.0;

/// What is to be answered.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) input: Input,
    /// What chance follows from; without one the likeliest token is always taken. Small models repeat
    /// themselves then, which would be too easy for whoever drafts what was said before.
    pub(crate) seed: Option<u64>,
    /// Tokens that are not to come, by their numbers.
    pub(crate) without: Vec<u32>,
}

/// The question itself.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Chat(Vec<Message>),
    /// A text to go on with.
    Text(String),
}

/// A server that can be asked.
#[derive(Clone, Debug)]
pub(crate) enum Server {
    /// The queen, with the key of whoever asks.
    Rbee { address: SocketAddr, key: String },
    /// Another server, of the OpenAI API's style, with the name of its model.
    Peer { address: SocketAddr, model: String },
}

impl Server {
    pub(crate) fn rbee(daemons: &Daemons) -> Self {
        Self::Rbee { address: daemons.address(), key: daemons.operator_key().to_owned() }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Rbee { address, .. } | Self::Peer { address, .. } => *address,
        }
    }

    /// Asks for at most `max_tokens` tokens. The clock runs from when there is a connection.
    pub(crate) async fn ask(&self, question: &Question, max_tokens: u32) -> Result<Asked> {
        let mut connection = Connection::open(self.address()).await?;
        let asked = Instant::now();
        let job = match self {
            Self::Rbee { key, .. } => Some(submit(&mut connection, key, question, max_tokens).await?),
            Self::Peer { model, .. } => {
                let (path, body) = request(model, question, max_tokens);
                let request = Request { method: "POST", path, body: Some(&body), ..Request::default() };
                connection.send(&[request]).await?;
                None
            }
        };
        let status = connection.head().await?;
        if status != 200 {
            let mut body = Vec::new();
            while connection.read(&mut body).await.context("cannot read an answer")? {}
            bail!("the server refuses: {status} {}", String::from_utf8_lossy(&body));
        }
        let answer = Answer {
            asked,
            ended: asked,
            arrivals: Vec::new(),
            text: String::new(),
            prompt_tokens: 0,
            tokens: 0,
            timings: None,
        };
        let blocks = Blocks::default();
        Ok(Asked { server: self.clone(), job, connection, blocks, answer, has_ended: false })
    }
}

/// Submits the job and asks for its stream.
async fn submit(
    connection: &mut Connection,
    key: &str,
    question: &Question,
    max_tokens: u32,
) -> Result<JobId> {
    let mut infer = InferRequest {
        model: Some(model(0)),
        max_tokens: Some(max_tokens),
        temperature: Some(temperature(question)),
        seed: question.seed,
        logit_bias: question.without.iter().map(|&token| (token, NEVER)).collect(),
        ..Default::default()
    };
    match &question.input {
        Input::Chat(messages) => infer.messages.clone_from(messages),
        Input::Text(text) => infer.prompt = Some(text.clone()),
    }
    let body = serde_json::to_string(&SubmitRequest::new(Operation::Infer(infer)));
    let body = body.context("a request is plain data")?;
    let request = Request { body: Some(&body), ..Request::new("POST", "/v1/jobs", key) };
    let answer = connection.ask(request).await?;
    if answer.status != 201 {
        bail!("the job was not taken: {} {}", answer.status, answer.body);
    }
    let submitted: Submitted =
        serde_json::from_str(&answer.body).context("a submission that makes no sense")?;
    connection.send(&[Request::new("GET", &submitted.sse_url, key)]).await?;
    Ok(submitted.job_id)
}

/// The path and the body of the same question in the OpenAI API's style.
fn request(model: &str, question: &Question, max_tokens: u32) -> (&'static str, String) {
    let mut body = json!({
        "model": model,
        "max_tokens": max_tokens,
        "temperature": temperature(question),
        "seed": question.seed.unwrap_or_default(),
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    let bias = question.without.iter().map(|token| (token.to_string(), json!(NEVER)));
    if !question.without.is_empty() {
        body["logit_bias"] = Value::Object(bias.collect());
    }
    let path = match &question.input {
        Input::Chat(messages) => {
            body["messages"] = json!(messages);
            "/v1/chat/completions"
        }
        Input::Text(text) => {
            body["prompt"] = json!(text);
            "/v1/completions"
        }
    };
    (path, body.to_string())
}

fn temperature(question: &Question) -> f32 {
    if question.seed.is_some() { TEMPERATURE } else { 0.0 }
}

/// An answer that is coming.
pub(crate) struct Asked {
    server: Server,
    job: Option<JobId>,
    connection: Connection,
    blocks: Blocks,
    answer: Answer,
    has_ended: bool,
}

/// An answer, and when it came.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) asked: Instant,
    pub(crate) ended: Instant,
    /// When each piece of text was here.
    pub(crate) arrivals: Vec<Instant>,
    pub(crate) text: String,
    pub(crate) prompt_tokens: u64,
    /// How many tokens were generated, as the server counts.
    pub(crate) tokens: u64,
    /// Where rbee says that the time went.
    pub(crate) timings: Option<Timings>,
}

/// What a block of a stream is to whoever measures.
#[derive(Debug, PartialEq)]
enum Said {
    Text(String),
    /// Tokens of the prompt and of the answer.
    Usage(u64, u64),
    Ended(Option<Box<Timings>>, Option<(u64, u64)>),
    Nothing,
}

impl Asked {
    pub(crate) fn answer(&self) -> &Answer {
        &self.answer
    }

    pub(crate) fn job(&self) -> Option<&JobId> {
        self.job.as_ref()
    }

    /// Waits for the next piece of text; `false` once the answer has ended. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<bool> {
        while !self.has_ended {
            let block = self.blocks.next(&mut self.connection).await?;
            let Some(block) = block else { bail!("the stream ended without `[DONE]`") };
            let Some(data) = data(self.blocks.bytes(block)) else { continue };
            let now = Instant::now();
            let is_done = data == b"[DONE]";
            let said = match (&self.server, is_done) {
                (_, true) => Said::Nothing,
                (Server::Rbee { .. }, false) => said_by_rbee(data)?,
                (Server::Peer { .. }, false) => said_by_peer(data)?,
            };
            let answer = &mut self.answer;
            match said {
                Said::Text(text) => {
                    answer.arrivals.push(now);
                    answer.text.push_str(&text);
                    return Ok(true);
                }
                Said::Usage(prompt, generated) => (answer.prompt_tokens, answer.tokens) = (prompt, generated),
                Said::Ended(timings, usage) => {
                    answer.timings = timings.map(|timings| *timings);
                    (answer.prompt_tokens, answer.tokens) = usage.unwrap_or_default();
                }
                Said::Nothing => {}
            }
            if is_done {
                answer.ended = now;
                if answer.tokens == 0 {
                    // Not every server counts; most send a token at a time.
                    answer.tokens = answer.arrivals.len() as u64;
                }
                self.has_ended = true;
            }
        }
        Ok(false)
    }

    /// Waits for the whole answer.
    pub(crate) async fn finish(mut self) -> Result<Answer> {
        while self.next().await? {}
        if self.answer.arrivals.is_empty() {
            bail!("the answer is empty");
        }
        Ok(self.answer)
    }

    /// Waits for the whole answer, which may be empty.
    pub(crate) async fn stop_at_end(mut self) -> Result<Answer> {
        while self.next().await? {}
        Ok(self.answer)
    }

    /// Has the server end the answer where it is, if it has not ended yet.
    pub(crate) async fn stop(mut self) -> Result<Answer> {
        if let (Server::Rbee { key, .. }, Some(job), false) = (&self.server, &self.job, self.has_ended) {
            let mut control = Connection::open(self.server.address()).await?;
            let path = format!("/v1/jobs/{job}");
            let answer = control.ask(Request::new("DELETE", &path, key)).await?;
            if answer.status != 202 {
                bail!("the job cannot be cancelled: {} {}", answer.status, answer.body);
            }
            while self.next().await? {}
        }
        // Other servers notice that the connection is closed.
        Ok(self.answer)
    }
}

/// The data in a block; `None` where it is only a comment.
fn data(block: &[u8]) -> Option<&[u8]> {
    let mut lines = block.split(|byte| *byte == b'\n');
    lines.find_map(|line| line.strip_prefix(b"data:")).map(<[u8]>::trim_ascii)
}

fn said_by_rbee(data: &[u8]) -> Result<Said> {
    let line: JobLine = serde_json::from_slice(data).context("an event that makes no sense")?;
    Ok(match line.event {
        JobEvent::Token(token) => Said::Text(token.text),
        JobEvent::End(end) if end.state == EndState::Failed => bail!("the job failed: {:?}", end.error),
        JobEvent::End(end) => {
            let usage = end.usage.map(|usage| (usage.prompt_tokens, usage.completion_tokens));
            Said::Ended(end.timings.map(Box::new), usage)
        }
        _ => Said::Nothing,
    })
}

fn said_by_peer(data: &[u8]) -> Result<Said> {
    #[derive(Deserialize)]
    struct Chunk {
        #[serde(default)]
        choices: Vec<Choice>,
        usage: Option<PeerUsage>,
        error: Option<Value>,
    }
    #[derive(Deserialize)]
    struct Choice {
        delta: Option<Delta>,
        text: Option<String>,
    }
    #[derive(Deserialize)]
    struct Delta {
        content: Option<String>,
    }
    #[derive(Deserialize)]
    struct PeerUsage {
        prompt_tokens: u64,
        completion_tokens: u64,
    }

    let chunk: Chunk = serde_json::from_slice(data).context("a chunk that makes no sense")?;
    if let Some(error) = chunk.error {
        bail!("the server failed: {error}");
    }
    let text = chunk.choices.into_iter().next();
    let text = text.and_then(|choice| choice.text.or_else(|| choice.delta?.content));
    Ok(match (text.filter(|text| !text.is_empty()), chunk.usage) {
        (Some(text), _) => Said::Text(text),
        (None, Some(usage)) => Said::Usage(usage.prompt_tokens, usage.completion_tokens),
        (None, None) => Said::Nothing,
    })
}

impl Answer {
    /// From the question to the first piece of text.
    pub(crate) fn first_ms(&self) -> f64 {
        self.arrivals.first().map_or(f64::INFINITY, |first| (*first - self.asked).as_secs_f64() * 1e3)
    }

    /// How fast tokens came from the first piece of text to the last.
    #[expect(clippy::cast_precision_loss, reason = "some hundred tokens")]
    pub(crate) fn decode_tokens_per_s(&self) -> f64 {
        match (self.arrivals.first(), self.arrivals.last()) {
            (Some(first), Some(last)) if last > first => {
                self.tokens.saturating_sub(1) as f64 / (*last - *first).as_secs_f64()
            }
            _ => 0.0,
        }
    }

    /// How long it was silent, each time, that overlaps with the time from `from` to `to`.
    pub(crate) fn gaps_ms(&self, from: Instant, to: Instant) -> impl Iterator<Item = f64> {
        let pairs = self.arrivals.windows(2).map(|pair| (pair[0], pair[1]));
        pairs
            .filter(move |(before, after)| *after > from && *before < to)
            .map(|(before, after)| (after - before).as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rbee_protocol::Role;

    use super::*;

    #[test]
    fn what_rbee_says_is_understood() {
        let said = |data: &str| said_by_rbee(data.as_bytes()).expect("an event");
        let token = r#"{"seq":7,"kind":"token","text":" bee","index":0}"#;
        assert_eq!(said(token), Said::Text(" bee".into()));
        let progress = r#"{"seq":5,"kind":"progress","phase":"prefill","done":1,"total":2,"unit":"tokens"}"#;
        assert_eq!(said(progress), Said::Nothing);
        let end =
            r#"{"seq":9,"kind":"end","state":"succeeded","usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
        assert_eq!(said(end), Said::Ended(None, Some((3, 2))));
        said_by_rbee(br#"{"seq":9,"kind":"end","state":"failed"}"#).expect_err("it failed");
    }

    #[test]
    fn what_the_peer_says_is_understood_in_chats_and_completions() {
        let said = |data: &str| said_by_peer(data.as_bytes()).expect("a chunk");
        let role = r#"{"choices":[{"delta":{"role":"assistant","content":null},"index":0}],"id":"x"}"#;
        assert_eq!(said(role), Said::Nothing);
        assert_eq!(said(r#"{"choices":[{"delta":{"content":" bee"}}]}"#), Said::Text(" bee".into()));
        assert_eq!(said(r#"{"choices":[{"text":" bee","index":0}]}"#), Said::Text(" bee".into()));
        assert_eq!(said(r#"{"choices":[{"finish_reason":"stop","delta":{}}]}"#), Said::Nothing);
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
        assert_eq!(said(usage), Said::Usage(3, 2));
        said_by_peer(br#"{"error":{"code":400,"message":"no"}}"#).expect_err("it failed");
    }

    #[test]
    fn data_is_found_among_the_lines_of_a_block() {
        assert_eq!(data(b"id: 1\nevent: token\ndata: {}"), Some(b"{}".as_slice()));
        assert_eq!(data(b"data: [DONE]"), Some(b"[DONE]".as_slice()));
        assert_eq!(data(b": still here"), None);
    }

    #[test]
    fn the_same_is_asked_in_the_other_style() {
        let message = Message::new(Role::User, "hi");
        let question = |input, seed| Question { input, seed, without: vec![2] };
        let (path, body) = request("m", &question(Input::Chat(vec![message]), None), 3);
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(path, "/v1/chat/completions");
        assert_eq!(body["messages"], json!([{"role": "user", "content": "hi"}]));
        assert_eq!((&body["max_tokens"], &body["stream"]), (&json!(3), &json!(true)));
        assert_eq!(body["temperature"], 0.0);
        let (path, body) = request("m", &question(Input::Text("hi".into()), Some(7)), 3);
        assert_eq!(path, "/v1/completions");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((&body["prompt"], &body["seed"]), (&json!("hi"), &json!(7)));
    }

    #[test]
    fn figures_follow_from_when_text_came() {
        let asked = Instant::now();
        let at = |ms: u64| asked + Duration::from_millis(ms);
        let answer = Answer {
            asked,
            ended: at(700),
            arrivals: [100, 200, 300, 600].map(at).to_vec(),
            text: String::new(),
            prompt_tokens: 1,
            tokens: 6,
            timings: None,
        };
        assert_eq!(answer.first_ms(), 100.0);
        assert_eq!(answer.decode_tokens_per_s(), 10.0);
        assert_eq!(answer.gaps_ms(at(250), at(400)).collect::<Vec<_>>(), [100.0, 300.0]);
        assert_eq!(answer.gaps_ms(at(600), at(900)).count(), 0);
    }
}
