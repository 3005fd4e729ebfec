//! The daemon on each machine: its devices, its models, its workers.
#![forbid(unsafe_code)]

mod caches;
mod catalog;
mod devices;
mod download;
mod hub;
mod models;
mod printer;
mod proxy;
mod pypi;
mod reference;
mod registry;
mod service;
mod sources;
mod store;
mod supervisor;
mod web;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use rbee_home::{Announcer, Config, Home, asked_to_end, keep_memory_private};
use rbee_jobs::{Access, Jobs, Limits, Listener, router, run};
use rbee_narration::{Log, SystemNarrator};
use rbee_protocol::{HiveId, MachineFacts};
use tokio_util::sync::CancellationToken;

use crate::devices::Machine;
use crate::models::ModelStore;
use crate::service::HiveService;
use crate::supervisor::Supervisor;

/// Ended jobs are kept this long, and not more of them, for a queen that lost sight of them; it has
/// copied all others.
const RETENTION: Duration = Duration::from_secs(600);
const JOBS_MAX: usize = 2000;

/// The daemon of one machine. A queen starts it; it outlives that queen and serves the next one.
#[derive(Parser)]
#[command(name = "rbee-hive", version)]
struct Args {
    /// Print what this machine has for models, as JSON, and run nothing
    #[arg(long)]
    machine: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if Args::parse().machine {
        return print_machine().await;
    }
    match start_and_serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Announcer::new().stopped(format!("{error:#}"), error.downcast_ref()),
    }
}

async fn print_machine() -> ExitCode {
    match Machine::look().await {
        Ok(machine) => {
            let facts = MachineFacts {
                memory_total_bytes: machine.memory_total_bytes,
                memory_available_bytes: machine.memory_available_bytes,
                instructions: devices::instructions(),
                devices: machine.devices,
            };
            printer::data(&serde_json::to_string(&facts).expect("facts are plain data"))
        }
        Err(error) => printer::failed(&format!("this machine's devices cannot be looked at: {error}")),
    }
}

async fn start_and_serve() -> anyhow::Result<()> {
    keep_memory_private().context("this process's memory cannot be protected")?;
    let home = Home::from_env()?;
    let config = Config::load(&home)?;
    let lock = Arc::new(home.claim("hive")?);
    let log = Log::to_file(&home.log_file("hive")).context("the hive's log cannot be opened")?;
    let system = SystemNarrator::new("hive", log.clone());
    system.action("start").human("Hive starting").emit();

    let shutdown = CancellationToken::new();
    let hive = HiveId::new("local");
    let models = ModelStore::open(home.models_dir(), config.models.clone(), hive.clone())?;
    let supervisor = Supervisor::new(home.clone(), config, hive.clone(), log.clone())
        .context("no worker could be started")?;
    let jobs = Jobs::new(
        "hive",
        Limits { retention: RETENTION, jobs: JOBS_MAX, ..Limits::default() },
        log,
        shutdown.clone(),
    );
    let service = Arc::new(HiveService::new(hive, models, supervisor.clone(), shutdown.clone()));

    let socket = home.socket("hive");
    let listener = Listener::unix(&socket).context("the hive's socket cannot be opened")?;
    let router = router(jobs.clone(), service, Access::Socket);

    let asked = asked_to_end()?;
    let ending = shutdown.clone();
    let held = Arc::clone(&lock);
    tokio::spawn(async move {
        tokio::select! {
            () = asked => {}
            () = held.lost() => {}
        }
        ending.cancel();
    });
    system
        .action("ready")
        .target(socket.display())
        .context(socket.display())
        .human("Hive ready on {}")
        .emit();
    Announcer::new().ready(serde_json::Value::Null);

    run(listener, router, &jobs, shutdown).await;
    supervisor.stop().await;
    let _ = std::fs::remove_file(&socket);
    system.action("stop").human("Hive stopped").emit();
    Ok(())
}
