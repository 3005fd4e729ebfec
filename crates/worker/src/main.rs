//! One process with one loaded model.
#![forbid(unsafe_code)]

mod confine;
mod constrain;
mod embedding;
mod engine_thread;
mod line;
mod service;

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use rbee_engine::{Adapter, LoadOptions, Renderer, model_files};
use rbee_home::{Announcer, Home, end_with_starter, keep_memory_private};
use rbee_jobs::{Access, Jobs, Limits, Listener, bind_unix, router, run};
use rbee_narration::{Level, Log, SystemNarrator, bytes};
use rbee_protocol::{Loaded, WorkerMemory};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::confine::{Confinement, confine};
use crate::engine_thread::{Engine, STACK_BYTES};
use crate::service::WorkerService;

/// Ended jobs are kept this long; the hive has copied them.
const RETENTION: Duration = Duration::from_secs(60);

/// A worker whose engine goes on says so to its hive at most so often.
const SIGN_INTERVAL: Duration = Duration::from_millis(500);

/// One process with one loaded model. Its hive starts it, and it ends when its stdin does.
#[derive(Parser)]
#[command(name = "rbee-worker", version)]
struct Args {
    /// The model's GGUF file.
    #[arg(long)]
    model: PathBuf,
    /// An adapter to add to the model, a LoRA in GGUF.
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// How much of the adapter to add.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    adapter_scale: f32,
    /// A smaller model with the same vocabulary, which writes drafts.
    #[arg(long)]
    draft: Option<PathBuf>,
    /// What to call the model.
    #[arg(long)]
    name: String,
    /// The Unix socket to serve on.
    #[arg(long)]
    socket: PathBuf,
    /// Tokens that a prompt and its answer may have together.
    #[arg(long)]
    context_length: Option<u32>,
    /// How many jobs to work on at once.
    #[arg(long)]
    slots: Option<u32>,
    /// Threads to compute with; as many as there are processors for us when absent.
    #[arg(long)]
    threads: Option<usize>,
    /// What to keep at most of conversations that no slot has any more, in MB; what the machine's memory allows when absent.
    #[arg(long)]
    saved_mb: Option<u32>,
    /// Memory that seems to be free and holds the models of other workers, in bytes.
    #[arg(long, default_value_t = 0)]
    taken_bytes: u64,
}

fn main() -> ExitCode {
    rbee_engine::die_of_faults();
    match start_and_serve(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Announcer::new().stopped(format!("{error:#}"), error.downcast_ref()),
    }
}

fn start_and_serve(args: Args) -> anyhow::Result<()> {
    keep_memory_private().context("this process's memory cannot be protected")?;
    // Before there is anything open that it would have, too. What this process can be confined to, it can be.
    let renderer = Renderer::start(|| drop(confine(&[], true)));
    let renderer = renderer.context("the process for chat templates cannot be started")?;
    let log =
        Log::to_file(&Home::from_env()?.log_file("worker")).context("the worker's log cannot be opened")?;
    let system = SystemNarrator::new("worker", log.clone());
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from));
    let threads = threads.unwrap_or(1);
    let options = LoadOptions {
        context_length: args.context_length,
        slots: args.slots,
        threads,
        saved_bytes: args.saved_mb.map(|mb| u64::from(mb) * 1_000_000),
        adapter: args.adapter.clone().map(|path| Adapter { path, scale: args.adapter_scale }),
        draft: args.draft.clone(),
        taken_bytes: args.taken_bytes,
    };
    let socket = bind_unix(&args.socket).context("the worker's socket cannot be opened")?;

    // Threads are confined as the one that starts them, so that here, before the first, is the time.
    let mut files = model_files(&args.model);
    files.extend(options.adapter.iter().map(|adapter| adapter.path.clone()));
    files.extend(options.draft.iter().flat_map(|path| model_files(path)));
    let confinement = confine(&files, false);
    let Confinement { files, calls, capabilities } = &confinement;
    let is_whole = files.is_ok() && calls.is_ok() && capabilities.is_ok();
    let level = if is_whole { Level::Info } else { Level::Warn };
    system.action("confine").level(level).context(&confinement).human("Confined: {}").emit();

    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().thread_stack_size(STACK_BYTES).build()?;
    runtime.block_on(serve(args, options, renderer, socket, log, system))
}

async fn serve(
    args: Args,
    options: LoadOptions,
    renderer: Renderer,
    socket: UnixListener,
    log: Log,
    system: SystemNarrator,
) -> anyhow::Result<()> {
    let listener = Listener::bound(socket).context("the worker's socket cannot be used")?;
    let shutdown = CancellationToken::new();
    let announcer = Announcer::new();
    announcer.ready(serde_json::Value::Null);
    end_with_starter();

    let threads = options.threads;
    let engine = Engine::spawn(args.model, options, renderer)?;
    let mut loading = engine.loading();
    let signs = tokio::spawn(say_that_it_works(engine.steps()));
    let jobs =
        Jobs::new("worker", Limits { retention: RETENTION, ..Limits::default() }, log, shutdown.clone());
    let service = Arc::new(WorkerService::new(args.name.clone(), engine, shutdown.clone()));
    let router = router(jobs.clone(), service, Access::Socket);

    let loaded = tokio::spawn(async move {
        // The engine's thread sets the outcome before it lets go of the sender.
        let Ok(state) = loading.wait_for(|loading| loading.outcome.is_some()).await else { return };
        match state.outcome.as_ref().expect("waited for") {
            Err(error) => {
                // Those who wait for the model hear it too; the hive ends this worker then.
                let name = rbee_narration::printable(&args.name);
                system
                    .action("load_failed")
                    .target(&name)
                    .context(&name)
                    .context(error)
                    .human("Cannot load {}: {}")
                    .emit();
                announcer.failed(error.message.clone(), error.hint.clone(), error.code);
            }
            Ok(model) => {
                system
                    .action("loaded")
                    .target(&args.name)
                    .context(&args.name)
                    .context(model.slots)
                    .context(model.context_length)
                    .context(bytes(model.memory.total_bytes()))
                    .human("Loaded {} with {} slots of {} tokens, in {} of memory")
                    .emit();
                let loaded = Loaded {
                    slots: model.slots,
                    context_length: model.context_length,
                    threads: u32::try_from(threads).unwrap_or(u32::MAX),
                    memory: Some(WorkerMemory {
                        weights_bytes: model.memory.weights_bytes,
                        context_bytes: model.memory.context_bytes,
                        buffers_bytes: model.memory.buffers_bytes,
                        process_bytes: model.memory.process_bytes,
                        device_bytes: model.memory.device_bytes,
                        saved_bytes_max: model.memory.saved_bytes_max,
                    }),
                };
                announcer.ready(serde_json::to_value(loaded).expect("facts are plain data"));
            }
        }
    });
    run(listener, router, &jobs, shutdown).await;
    loaded.await?;
    signs.abort();
    Ok(())
}

/// Tells the hive that the engine goes on. What comes of its jobs does not show that always: tokens may be without text for
/// as long as an answer goes on.
async fn say_that_it_works(mut steps: watch::Receiver<u64>) {
    let announcer = Announcer::new();
    while steps.changed().await.is_ok() {
        announcer.working();
        // The pace itself.
        tokio::time::sleep(SIGN_INTERVAL).await;
    }
}
