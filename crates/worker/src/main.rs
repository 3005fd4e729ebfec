//! One process with one loaded model.
#![forbid(unsafe_code)]

mod engine_thread;
mod service;

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use rbee_engine::LoadOptions;
use rbee_home::{Announcer, Home, keep_memory_private};
use rbee_jobs::{Access, Jobs, Limits, Listener, router, run};
use rbee_narration::{Log, SystemNarrator};
use tokio_util::sync::CancellationToken;

use crate::engine_thread::Engine;
use crate::service::WorkerService;

/// Ended jobs are kept this long; the hive has copied them.
const RETENTION: Duration = Duration::from_secs(60);

/// One process with one loaded model. Its hive starts it, and it ends when its stdin does.
#[derive(Parser)]
#[command(name = "rbee-worker", version)]
struct Args {
    /// The model's GGUF file.
    #[arg(long)]
    model: PathBuf,
    /// What to call the model.
    #[arg(long)]
    name: String,
    /// The Unix socket to serve on.
    #[arg(long)]
    socket: PathBuf,
    /// Tokens that a prompt and its answer may have together.
    #[arg(long)]
    context_length: Option<u32>,
    /// Threads to compute with; as many as there are processors for us when absent.
    #[arg(long)]
    threads: Option<usize>,
}

#[tokio::main]
async fn main() -> ExitCode {
    rbee_engine::die_of_faults();
    match start_and_serve(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Announcer::new().stopped(format!("{error:#}"), error.downcast_ref()),
    }
}

async fn start_and_serve(args: Args) -> anyhow::Result<()> {
    keep_memory_private().context("this process's memory cannot be protected")?;
    let log =
        Log::to_file(&Home::from_env()?.log_file("worker")).context("the worker's log cannot be opened")?;
    let system = SystemNarrator::new("worker", log.clone());
    let shutdown = CancellationToken::new();
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from));
    let options = LoadOptions { context_length: args.context_length, threads: threads.unwrap_or(1) };

    let listener = Listener::unix(&args.socket).context("the worker's socket cannot be opened")?;
    let announcer = Announcer::new();
    announcer.ready(serde_json::Value::Null);
    end_with_stdin();

    let engine = Engine::spawn(args.model, options)?;
    let mut loading = engine.loading();
    let jobs =
        Jobs::new("worker", Limits { retention: RETENTION, ..Limits::default() }, log, shutdown.clone());
    let service = Arc::new(WorkerService::new(args.name.clone(), engine, shutdown.clone()));
    let router = router(jobs.clone(), service, Access::Socket);

    let loaded = tokio::spawn(async move {
        // The engine's thread sets the outcome before it lets go of the sender.
        let Ok(state) = loading.wait_for(|loading| loading.outcome.is_some()).await else { return };
        match state.outcome.as_ref() {
            Some(Err(error)) => {
                // Those who wait for the model hear it too; the hive ends this worker then.
                let name = rbee_narration::printable(&args.name);
                system
                    .action("load_failed")
                    .target(&name)
                    .context(&name)
                    .context(error)
                    .human("Cannot load {}: {}")
                    .emit();
                announcer.failed(error.message.clone(), error.hint.clone(), error.code.exit_code());
            }
            _ => {
                system
                    .action("loaded")
                    .target(&args.name)
                    .context(&args.name)
                    .human("Model {} loaded")
                    .emit();
                announcer.ready(serde_json::Value::Null);
            }
        }
    });
    run(listener, router, &jobs, shutdown).await;
    loaded.await?;
    Ok(())
}

/// Ends this process at once when its stdin does, which is when its hive has gone, also while C++
/// computes: a gentle end would wait for that.
fn end_with_stdin() {
    std::thread::spawn(|| {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1..)) {}
        let own = rustix::process::getpid();
        let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
    });
}
