//! Load for real daemons: that streams stay apart, that nothing is lost, and what it costs.
#![forbid(unsafe_code)]

mod api;
mod apis;
mod canary;
mod cancel;
mod daemons;
mod disk;
mod hostile;
mod http;
mod infer;
mod isolation;
mod kill;
mod memory;
mod printer;
mod reading;
mod report;
mod restart;
mod slow;
mod soak;
mod start;
mod stats;
mod stream;
mod streams;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use rbee_home::asked_to_end;

use crate::infer::{Model, PeerAt, Plan, Scenario};
use crate::printer::{Output, say};
use crate::report::Report;

/// No run takes longer, whatever hangs.
const LIMIT: Duration = Duration::from_secs(45 * 60);
const SHORT_LIMIT: Duration = Duration::from_secs(180);
/// But for the comparison of answers, which are thousands.
const INFER_LIMIT: Duration = Duration::from_secs(4 * 60 * 60);

/// Loads real daemons in a temporary home, and exits with 1 when a condition is not met.
#[derive(Parser)]
#[command(name = "rbee-load")]
struct Arguments {
    /// Take seconds, not minutes
    #[arg(long, global = true)]
    short: bool,
    /// How to write the result
    #[arg(long, global = true, default_value = "text")]
    output: Output,
    /// What chance follows from; another each time unless given
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// The folder with rbee-queen, rbee-hive and examples/scripted_worker
    #[arg(long, global = true, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Many principals, none of whom may see a byte of another's job
    Isolation,
    /// A queen that is killed again and again under load
    Kill,
    /// Jobs for a long time, during which neither memory nor descriptors grow
    Soak,
    /// Readers that hardly read beside readers that do
    Slow,
    /// A disk that is full while jobs run
    Disk,
    /// A queen that is killed with a full journal
    Restart,
    /// Answers of a real model that are cancelled
    Cancel,
    /// Streams side by side with those of nchan, Redis and NATS
    Streams {
        /// How often each server is measured in each shape
        #[arg(long, default_value_t = 3)]
        runs: usize,
    },
    /// Answers side by side with those of llama-server, or another server of the OpenAI API's style
    Infer {
        /// The path of llama-server, or the URL of a server that runs
        #[arg(long, value_name = "PROGRAM|URL")]
        peer: PeerAt,
        /// How many pairs of measurements are made in each scenario
        #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=60))]
        pairs: u16,
        /// How many threads each server computes on
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=512))]
        threads: u16,
        /// Which scenarios; all without
        #[arg(long, value_delimiter = ',')]
        only: Vec<Scenario>,
        /// Which models; all without
        #[arg(long, value_delimiter = ',')]
        models: Vec<Model>,
    },
    /// Workers' memory beside what they computed beforehand, and after many requests
    Memory,
    /// What it costs the queen to speak other APIs
    Apis,
    /// How long commands take that do next to nothing
    Cli,
    /// Be the server that `streams` measures
    #[command(hide = true)]
    Serve {
        #[arg(long)]
        channels: usize,
        /// Keep the streams in this file
        #[arg(long)]
        journal: Option<PathBuf>,
    },
    /// Be the load generator of `streams`, which says on stdin what to do
    #[command(hide = true)]
    Generate,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.command {
        Command::Serve { channels, journal } => {
            streams::serve(*channels, journal.as_deref()).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Generate => generate().await.map(|()| ExitCode::SUCCESS),
        _ => run(&arguments).await.map(|report| {
            printer::report(&report, arguments.output);
            if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }),
    };
    outcome.unwrap_or_else(|error| {
        say(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

async fn generate() -> Result<()> {
    let plan = serde_json::from_reader(std::io::stdin()).context("no plan on stdin")?;
    let measured = streams::generate(plan).await?;
    printer::data(&serde_json::to_string(&measured).context("figures are plain data")?);
    Ok(())
}

/// Runs what was asked for; daemons end with it, also when it is broken off.
async fn run(arguments: &Arguments) -> Result<Report> {
    let programs = match &arguments.programs {
        Some(folder) => std::path::absolute(folder).context("no such folder")?,
        None => daemons::programs_beside()?,
    };
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let short = arguments.short;
    let limit = match &arguments.command {
        Command::Infer { .. } => INFER_LIMIT,
        _ if short => SHORT_LIMIT,
        _ => LIMIT,
    };
    let running = async {
        match &arguments.command {
            Command::Isolation => isolation::run(&programs, short, seed).await,
            Command::Kill => kill::run(&programs, short, seed).await,
            Command::Slow => slow::run(&programs, short).await,
            Command::Soak => soak::run(&programs, short, seed).await,
            Command::Disk => disk::run(&programs, short).await,
            Command::Restart => restart::run(&programs, short, seed).await,
            Command::Cancel => cancel::run(&programs, short).await,
            Command::Apis => apis::run(&programs, short).await,
            Command::Cli => start::run(&programs, short).await,
            Command::Memory => memory::run(&programs, short, seed).await,
            Command::Streams { runs } => streams::run(short, *runs).await,
            Command::Infer { peer, pairs, threads, only, models } => {
                let pairs = if short { 1 } else { usize::from(*pairs) };
                let (peer, only, models) = (peer.clone(), only.clone(), models.clone());
                let plan = Plan { peer, threads: usize::from(*threads), pairs, only, models };
                infer::run(&programs, &plan).await
            }
            Command::Serve { .. } | Command::Generate => unreachable!("these are no tests"),
        }
    };
    let interrupted = asked_to_end().context("cannot listen for Ctrl-C")?;
    tokio::select! {
        outcome = tokio::time::timeout(limit, running) => {
            outcome.with_context(|| format!("not finished after {} s", limit.as_secs()))?
        }
        () = interrupted => bail!("interrupted"),
    }
}
