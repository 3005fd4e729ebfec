//! The daemon that takes jobs, decides where they run, and serves their streams.
#![forbid(unsafe_code)]

mod driver;
mod hives;
mod keys;
mod state;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use rbee_home::{Announcer, Config, Home, HomeError, Lock, QueenAddress, asked_to_end, read_or_create_key};
use rbee_jobs::{Access, Jobs, Limits, Listener, router, run};
use rbee_narration::{Level, Log, SystemNarrator};
use rbee_protocol::{Client, StopRequest};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::driver::Queen;
use crate::keys::OperatorKey;
use crate::state::Input;

const USUAL_PORT: u16 = 7833;

/// A hive that takes longer to stop than this is left behind.
const HIVE_STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// The daemon that takes jobs, decides where they run, and serves their streams.
///
/// `rbee` starts it when a command needs it; `rbee queen run` runs it in the foreground.
#[derive(Parser)]
#[command(name = "rbee-queen", version)]
struct Args {}

#[tokio::main]
async fn main() -> ExitCode {
    Args::parse();
    match start_and_serve().await {
        // At once: a hive that would not stop may still be waited for on another thread.
        Ok(()) => std::process::exit(0),
        Err(error) => Announcer::new().stopped(format!("{error:#}"), error.downcast_ref()),
    }
}

async fn start_and_serve() -> anyhow::Result<()> {
    let home = Home::from_env()?;
    let config = Config::load(&home)?;
    let _lock = home.claim("queen")?;
    let _ = std::fs::remove_file(home.queen_address_file());
    let log = Log::to_file(&home.log_file("queen")).context("the queen's log cannot be opened")?;
    let system = SystemNarrator::new("queen", log.clone());
    system.action("start").human("Queen starting").emit();

    let shutdown = CancellationToken::new();
    let keys = OperatorKey::new(read_or_create_key(&home.operator_key_file())?);
    let listener = listen(config.queen_listen, &system).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let jobs = Jobs::new("queen", Limits::default(), log.clone(), shutdown.clone());
    let queen = Arc::new(Queen::new(url.clone(), jobs.clone(), shutdown.clone()));
    // Before the first request can ask for it.
    queen.hive_changed(Input::Connecting { hive: hives::local() }, None);
    let router = router(jobs.clone(), queen.clone(), Access::Keys(Arc::new(keys)));

    let asked = asked_to_end()?;
    let ending = shutdown.clone();
    tokio::spawn(async move {
        asked.await;
        ending.cancel();
    });
    let address =
        QueenAddress { url, pid: std::process::id(), version: env!("CARGO_PKG_VERSION").to_owned() };
    address.publish(&home)?;
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
        exit_code: 69,
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
