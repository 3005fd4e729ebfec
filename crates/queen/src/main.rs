//! The daemon that takes jobs, decides where they run, and serves their streams.
#![forbid(unsafe_code)]

mod aliases;
mod api;
mod driver;
mod hives;
mod http;
mod keys;
mod printer;
mod state;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use rbee_home::{
    Announcer, Config, Home, HomeError, JournalKind, Lock, QueenAddress, allow_open_files, asked_to_end,
    journal_hint, keep_memory_private,
};
use rbee_jobs::{Access, Jobs, Limits, Listener, StoreError, SystemLog, Unfinished, run};
use rbee_journal::Journal;
use rbee_narration::{Level, Log, SystemNarrator};
use rbee_protocol::{Client, ErrorCode, StopRequest, SystemEventKind};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::aliases::Aliases;
use crate::driver::Queen;
use crate::keys::Keys;
use crate::state::{Input, QueueLimits};

const USUAL_PORT: u16 = 7833;

/// So many jobs that have not ended, and so many open streams, may each principal have unless the settings
/// say otherwise.
const JOBS_PER_KEY: usize = 1000;
const STREAMS_PER_KEY: usize = 2048;
/// So many jobs may wait for a turn, of all principals and of each; more could not hope for one soon.
const WAITING_JOBS: usize = 1024;
const WAITING_JOBS_PER_KEY: usize = 256;
/// As many files may be open, sockets included, where the system allows it.
const OPEN_FILES: u64 = 20_000;

/// A hive that takes longer to stop than this is left behind.
const HIVE_STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// The daemon that takes jobs, decides where they run, and serves their streams.
///
/// `rbee` starts it when a command needs it; `rbee queen run` runs it in the foreground.
#[derive(Parser)]
#[command(name = "rbee-queen", version)]
struct Args {
    /// Print the description of what the queen answers, as OpenAPI, and run nothing
    #[arg(long)]
    openapi: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    if Args::parse().openapi {
        return printer::data(&http::description());
    }
    match start_and_serve().await {
        // At once: a hive that would not stop may still be waited for on another thread.
        Ok(()) => std::process::exit(0),
        Err(error) => Announcer::new().stopped(format!("{error:#}"), error.downcast_ref()),
    }
}

async fn start_and_serve() -> anyhow::Result<()> {
    keep_memory_private().context("this process's memory cannot be protected")?;
    let home = Home::from_env()?;
    let config = Config::load(&home)?;
    let lock = Arc::new(home.claim("queen")?);
    QueenAddress::blank(&home)?;
    let log = Log::to_file(&home.log_file("queen")).context("the queen's log cannot be opened")?;
    let system = SystemNarrator::new("queen", log.clone());
    system.action("start").human("Queen starting").emit();

    let shutdown = CancellationToken::new();
    let events = SystemLog::default();
    events.append(SystemEventKind::QueenStarted { version: env!("CARGO_PKG_VERSION").to_owned() });
    // Connections are as many as this allows.
    allow_open_files(OPEN_FILES);
    let keys = Arc::new(Keys::load(home.keys_file(), &home.operator_key_file())?);
    let aliases = Aliases::load(home.aliases_file())?;
    let listener = listen(config.queen_listen, &system).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let asked = asked_to_end()?;
    let address = QueenAddress {
        url: url.clone(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    address.publish(&home)?;
    // Last of what can fail: from here on there are jobs, which must not be dropped.
    let (jobs, unfinished) = open_jobs(&home, &config, &system, log.clone(), shutdown.clone())?;
    jobs.tell(events.clone());
    let queue = QueueLimits {
        jobs: setting(config.waiting_jobs, WAITING_JOBS),
        jobs_per_principal: setting(config.waiting_jobs_per_key, WAITING_JOBS_PER_KEY),
    };
    let queen = Arc::new(Queen::new(url, jobs.clone(), events, queue, aliases, shutdown.clone()));
    // Before the first request can ask for it.
    queen.hive_changed(Input::Connecting { hive: hives::local() }, None);
    jobs.resume(&queen, unfinished);
    let routes = http::routes(jobs.clone(), queen.clone(), keys.clone(), system.clone(), config.ollama);
    let router = routes.guarded(Access::Keys(keys), config.origins);

    let ending = queen.clone();
    let held = Arc::clone(&lock);
    tokio::spawn(async move {
        tokio::select! {
            () = asked => {}
            () = held.lost() => {}
        }
        ending.begin_to_stop();
    });
    system.action("ready").target(&address.url).context(&address.url).human("Queen ready on {}").emit();
    Announcer::new().ready(serde_json::to_value(&address)?);

    // Jobs that are being cancelled still need the hive.
    let done = CancellationToken::new();
    let keeper = tokio::spawn(hives::keep_local(home.clone(), queen.clone(), system.clone(), done.clone()));
    run(Listener::Tcp(listener), router, &jobs, shutdown).await;
    done.cancel();
    keeper.await?;
    if !queen.keeps_hive() {
        stop_local_hive(&home, &system).await;
    }
    let _ = std::fs::remove_file(home.queen_address_file());
    system.action("stop").human("Queen stopped").emit();
    Ok(())
}

/// The queen's jobs, and those among them that the queen before this one left unfinished.
fn open_jobs(
    home: &Home,
    config: &Config,
    system: &SystemNarrator,
    log: Log,
    shutdown: CancellationToken,
) -> Result<(Jobs, Vec<Unfinished>), HomeError> {
    let hours = config.retention_hours.unwrap_or(match config.journal {
        JournalKind::Disk => 7 * 24,
        JournalKind::Memory => 1,
    });
    let mut limits = Limits { retention: Duration::from_secs(u64::from(hours) * 3600), ..Limits::default() };
    limits.jobs = setting(config.retention_jobs, limits.jobs);
    limits.jobs_per_principal = setting(config.jobs_per_key, JOBS_PER_KEY);
    // Whoever reads all that they may leaves room for others.
    limits.streams_per_principal =
        setting(config.streams_per_key, STREAMS_PER_KEY).min(limits.connections / 2);
    let path = home.journal_file();
    match config.journal {
        JournalKind::Memory => {
            if path.exists() {
                let draft = system.action("journal").level(Level::Warn).context(path.display());
                draft.human("{} still holds the jobs of before; remove it if they are to be gone").emit();
            }
            Ok((Jobs::new("queen", limits, log, shutdown), Vec::new()))
        }
        JournalKind::Disk => {
            let journal = Journal::open(&path);
            let opened =
                journal.and_then(|journal| Jobs::open("queen", limits, log, shutdown, Arc::new(journal)));
            opened.map_err(|error| {
                let (code, hint) = match &error {
                    StoreError::DiskFull { .. } => {
                        (ErrorCode::DiskFull, "free some room on that disk, then try again".to_owned())
                    }
                    StoreError::Damaged { .. } => (ErrorCode::BadData, journal_hint(&path)),
                    StoreError::Failed { .. } => {
                        let hint = format!(
                            "check its permissions, or use the rbee that wrote it; with {} moved away the queen \
                             begins a new one, without the jobs in it",
                            path.display()
                        );
                        (ErrorCode::Io, hint)
                    }
                };
                HomeError::NotStarted { message: error.to_string(), hint: Some(hint), code }
            })
        }
    }
}

fn setting(setting: Option<u32>, default: usize) -> usize {
    setting.map_or(default, |number| usize::try_from(number).unwrap_or(usize::MAX))
}

/// Listens where the settings say; without a setting on the usual port, or on any free one where
/// somebody else has that.
async fn listen(setting: Option<SocketAddr>, system: &SystemNarrator) -> Result<TcpListener, HomeError> {
    let wanted = setting.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, USUAL_PORT)));
    let listener = match TcpListener::bind(wanted).await {
        Err(error) if setting.is_none() && error.kind() == io::ErrorKind::AddrInUse => {
            let draft = system.action("port").level(Level::Warn).context(USUAL_PORT);
            draft.human("Port {} belongs to somebody else; taking a free one").emit();
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
        }
        listener => listener,
    };
    listener.map_err(|error| HomeError::NotStarted {
        message: format!("the queen cannot listen on {wanted}: {error}"),
        hint: Some("`RBEE_QUEEN_LISTEN=127.0.0.1:0` takes any free port".to_owned()),
        code: ErrorCode::Unavailable,
    })
}

async fn stop_local_hive(home: &Home, system: &SystemNarrator) {
    let lock_file = home.lock_file("hive");
    if !Lock::is_held(&lock_file).unwrap_or(false) {
        return;
    }
    let stop = async {
        Client::unix(&home.socket("hive"))?.stop(StopRequest::default()).await?;
        tokio::task::spawn_blocking(move || Lock::acquire(&lock_file)).await??;
        anyhow::Ok(())
    };
    let outcome = tokio::time::timeout(HIVE_STOP_TIMEOUT, stop).await;
    let draft = system.action("hive_stop").target("local");
    match outcome {
        Ok(Ok(())) => draft.human("Hive local stopped").emit(),
        Ok(Err(error)) => {
            draft.level(Level::Error).context(error).human("Hive local could not be stopped: {}").emit();
        }
        Err(_) => {
            draft.level(Level::Error).human("Hive local did not stop in time and is left behind").emit()
        }
    }
}
