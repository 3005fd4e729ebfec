//! A worker for tests: in place of a model, it does what the user's message says.
//!
//! `escapes` answers with control characters, `echo` with the messages as it got them, `wait`
//! not at all until it is cancelled, and anything else with that text.
#![forbid(unsafe_code)]

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use rbee_home::Announcer;
use rbee_jobs::{Access, JobWriter, Jobs, Limits, Listener, Service, daemon_info, now_ms, router, run};
use rbee_narration::Log;
use rbee_protocol::{
    ApiError, DaemonInfo, End, InferRequest, JobEvent, Operation, Role, StopRequest, SubmitRequest, Token,
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
    threads: Option<usize>,
}

struct Scripted;

impl Service for Scripted {
    fn info(&self) -> DaemonInfo {
        daemon_info("worker", now_ms())
    }

    fn check(&self, _request: &SubmitRequest) -> Result<(), ApiError> {
        Ok(())
    }

    async fn run(self: Arc<Self>, operation: Operation, job: JobWriter) -> Result<End, ApiError> {
        let Operation::Infer(InferRequest { messages, .. }) = operation else {
            unreachable!("a hive sends its workers nothing else")
        };
        let user = messages.iter().rfind(|message| message.role == Role::User);
        let script = user.map_or("", |message| message.content.as_str());
        let text = match script {
            "escapes" => "\u{1b}[2J\u{1b}[1;1H\u{9b}31m\u{1b}]0;pwned\u{7}\r\u{202e}end".to_owned(),
            "echo" => serde_json::to_string(&messages).expect("messages are plain data"),
            "wait" => {
                job.cancelled().await;
                return Err(job.cancel_error());
            }
            other => other.to_owned(),
        };
        for (index, c) in text.chars().enumerate() {
            let token = Token { text: c.to_string(), index: index as u64, reasoning: false };
            if job.append(&JobEvent::Token(token)).is_err() {
                break;
            }
        }
        Ok(End::succeeded())
    }

    fn stop(&self, _request: StopRequest) {}
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let listener = Listener::unix(&args.socket).expect("the hive names a socket in a folder of ours");
    Announcer::new().ready(serde_json::Value::Null);
    Announcer::new().ready(serde_json::Value::Null);
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let shutdown = CancellationToken::new();
    let jobs = Jobs::new("worker", Limits::default(), Log::to_stderr(), shutdown.clone());
    let router = router(jobs.clone(), Arc::new(Scripted), Access::Socket);
    run(listener, router, &jobs, shutdown).await;
}
