//! A worker for tests: in place of a model, it does what the user's message says.
//!
//! `escapes` answers with control characters, `echo` with the messages as it got them, `wait`
//! not at all until it is cancelled, `taken` with the bytes that it was told others take,
//! `quiet N MS` with nothing after N signs that it works, MS milliseconds apart, `tokens N MS TEXT` with N tokens TEXT,
//! as far apart, and anything else with that text, a token for each character. `{us}` in TEXT stands for when the
//! token was due, in microseconds since the Unix epoch. A model whose name begins with `large` fits only where no other
//! is loaded.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use rbee_home::{Announcer, end_with_starter};
use rbee_jobs::{
    Access, JobWriter, Jobs, Limits, Listener, Principal, Service, daemon_info, now_ms, router, run,
};
use rbee_narration::Log;
use rbee_protocol::{
    ApiError, DaemonInfo, EmbedReport, EmbedRequest, Embedding, End, ErrorCode, InferRequest, JobEvent,
    Loaded, Operation, Pooling, Role, StopRequest, SubmitRequest, Token, TokenCount,
};
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    model: PathBuf,
    #[arg(long)]
    name: String,
    #[arg(long)]
    socket: PathBuf,
    #[arg(long)]
    context_length: Option<u32>,
    #[arg(long)]
    threads: Option<u32>,
    #[arg(long)]
    slots: Option<u32>,
    #[arg(long, default_value_t = 0)]
    taken_bytes: u64,
}

struct Scripted {
    name: String,
    taken_bytes: u64,
}

impl Scripted {
    fn fits(&self) -> Result<(), ApiError> {
        if self.taken_bytes == 0 || !self.name.starts_with("large") {
            return Ok(());
        }
        Err(ApiError::new(ErrorCode::DoesNotFit, "it needs all there is").hint("leave it"))
    }
}

impl Service for Scripted {
    fn info(&self) -> DaemonInfo {
        daemon_info("worker", now_ms())
    }

    fn check(&self, _request: &SubmitRequest, _by: &Principal) -> Result<(), ApiError> {
        Ok(())
    }

    async fn run(self: Arc<Self>, operation: Operation, job: JobWriter) -> Result<End, ApiError> {
        self.fits()?;
        let InferRequest { messages, prompt, .. } = match operation {
            Operation::Infer(request) => request,
            Operation::WorkerStart { .. } => return Ok(End::succeeded()),
            Operation::CountTokens(_) => {
                job.answer(&TokenCount { prompt_tokens: 1 });
                return Ok(End::succeeded());
            }
            Operation::Embed(request) => return embed(&request, &job),
            _ => unreachable!("tests ask it for nothing else"),
        };
        let user = messages.iter().rfind(|message| message.role == Role::User);
        let script =
            user.and_then(|message| message.content.as_ref()).or(prompt.as_ref()).map_or("", String::as_str);
        let text = match script {
            "escapes" => "\u{1b}[2J\u{1b}[1;1H\u{9b}31m\u{1b}]0;pwned\u{7}\r\u{202e}end".to_owned(),
            "echo" => serde_json::to_string(&messages).expect("messages are plain data"),
            "taken" => self.taken_bytes.to_string(),
            "wait" => {
                job.cancelled().await;
                return Err(job.cancel_error());
            }
            other => match (tokens(other), other.strip_prefix("quiet ")) {
                (Some(tokens), _) => return tokens.append(&job).await,
                (None, Some(signs)) => return quiet(signs).await,
                (None, None) => other.to_owned(),
            },
        };
        for (index, c) in text.chars().enumerate() {
            let token = Token::new(c.to_string(), index as u64);
            if job.append(&JobEvent::Token(token)).is_err() {
                break;
            }
        }
        Ok(End::succeeded())
    }

    fn stop(&self, _request: StopRequest) {}
}

/// Gives each text the same vector.
fn embed(request: &EmbedRequest, job: &JobWriter) -> Result<End, ApiError> {
    for index in 0..request.input.len() as u64 {
        // A job that has ended is told nothing more.
        let _ = job.append(&JobEvent::Embedding(Embedding { index, values: vec![1.0], tokens: 1 }));
    }
    job.answer(&EmbedReport { dimensions: 1, pooling: Pooling::Mean, pooling_is_the_models: true });
    Ok(End::succeeded())
}

/// Says so often that it works: `N MS`.
async fn quiet(signs: &str) -> Result<End, ApiError> {
    let numbers: Vec<u64> = signs.split(' ').filter_map(|number| number.parse().ok()).collect();
    let [count, apart_ms] = numbers[..] else { unreachable!("tests give two numbers") };
    for _ in 0..count {
        Announcer::new().working();
        // The pace itself.
        tokio::time::sleep(Duration::from_millis(apart_ms)).await;
    }
    Ok(End::succeeded())
}

/// Many tokens of one text.
struct Tokens<'t> {
    count: u64,
    apart: Duration,
    text: &'t str,
}

/// Reads `tokens N MS TEXT`.
fn tokens(script: &str) -> Option<Tokens<'_>> {
    let mut words = script.strip_prefix("tokens ")?.splitn(3, ' ');
    let count = words.next()?.parse().ok()?;
    let apart = Duration::from_millis(words.next()?.parse().ok()?);
    Some(Tokens { count, apart, text: words.next()? })
}

impl Tokens<'_> {
    async fn append(&self, job: &JobWriter) -> Result<End, ApiError> {
        let start = tokio::time::Instant::now();
        let start_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let mut due = Duration::ZERO;
        for index in 0..self.count {
            tokio::select! {
                biased;
                () = job.cancelled() => return Err(job.cancel_error()),
                // The pace itself; without one there is nothing to wait for.
                () = tokio::time::sleep_until(start + due), if !self.apart.is_zero() => {}
                () = tokio::task::yield_now(), if self.apart.is_zero() => {}
            }
            let text = self.text.replace("{us}", &(start_us + due.as_micros()).to_string());
            if job.append(&JobEvent::Token(Token::new(text, index))).is_err() {
                break;
            }
            due += self.apart;
        }
        Ok(End::succeeded())
    }
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let listener = Listener::unix(&args.socket).expect("the hive names a socket in a folder of ours");
    Announcer::new().ready(serde_json::Value::Null);
    end_with_starter();
    let loaded = Loaded {
        slots: args.slots.unwrap_or(1),
        context_length: args.context_length.unwrap_or(4096),
        threads: args.threads.unwrap_or(1),
        memory: None,
    };
    Announcer::new().ready(serde_json::to_value(loaded).expect("facts are plain data"));
    let shutdown = CancellationToken::new();
    let jobs = Jobs::new("worker", Limits::default(), Log::to_stderr(), shutdown.clone());
    let scripted = Scripted { name: args.name, taken_bytes: args.taken_bytes };
    if let Err(error) = scripted.fits() {
        Announcer::new().failed(error.message, error.hint, error.code);
    }
    let router = router(jobs.clone(), Arc::new(scripted), Access::Socket);
    run(listener, router, &jobs, shutdown).await;
}
