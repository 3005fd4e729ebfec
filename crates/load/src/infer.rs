//! Answers side by side with another server's: the same models and prompts, on as many threads, in turns.

pub(crate) mod ask;
mod hops;
mod peer;
mod prompts;
mod scenario;
mod summary;

pub(crate) use peer::PeerAt;
pub(crate) use scenario::Scenario;

use std::env;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use rustix::process::Pid;

use crate::api;
use crate::daemons::Daemons;
use crate::http::Connection;
use crate::infer::ask::Server;
use crate::infer::peer::{Peer, Room};
use crate::infer::prompts::Manner;
use crate::infer::scenario::Contestant;
use crate::infer::summary::{COLUMNS, Comparison};
use crate::printer::say;
use crate::report::{Failures, Report};
use crate::stats;

/// The variable with the path of the model that tests run.
const TEST_MODEL_VARIABLE: &str = "RBEE_TEST_MODEL";

/// The peer answers so many requests at once.
const SLOTS: usize = 8;

/// A server that is not asked may compute for so long, and for this part of the time, and counts as idle.
const IDLE_MAX: Duration = Duration::from_millis(50);
const IDLE_MAX_PART: f64 = 0.02;
/// A server is at rest when it did not compute for so long, which it must be within the limit.
const REST: Duration = Duration::from_millis(60);
const REST_LIMIT: Duration = Duration::from_secs(60);

/// What is measured, beside what, and how often.
pub(crate) struct Plan {
    pub(crate) peer: PeerAt,
    /// Either server computes on so many threads.
    pub(crate) threads: usize,
    pub(crate) pairs: usize,
    pub(crate) only: Vec<Scenario>,
    pub(crate) models: Vec<Model>,
}

/// A model that both servers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Model {
    /// SmolLM2 135M Instruct Q4_1, asked by chats
    Smollm2,
    /// Gemma 3 270M Q4_K_M, a base model without a chat template: it goes on with texts
    Gemma,
}

impl Model {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Smollm2 => "SmolLM2 135M Q4_1",
            Self::Gemma => "Gemma 3 270M Q4_K_M",
        }
    }

    fn manner(self) -> Manner {
        match self {
            Self::Smollm2 => Manner::Chat,
            Self::Gemma => Manner::Text,
        }
    }

    /// Its file, which `cargo xtask` puts among the models; that of the one that tests run may lie elsewhere.
    pub(crate) fn file(self, programs: &Path) -> Result<PathBuf> {
        let models = programs.join("../models");
        let (path, hint) = match self {
            Self::Smollm2 => {
                let named = env::var_os(TEST_MODEL_VARIABLE).map(PathBuf::from);
                let path = named.unwrap_or_else(|| models.join("SmolLM2-135M-Instruct.Q4_1.gguf"));
                (path, "`cargo xtask test` fetches it, or say where it is in RBEE_TEST_MODEL")
            }
            Self::Gemma => (models.join("gemma-3-270m-q4_k_m.gguf"), "`cargo xtask bench infer` fetches it"),
        };
        if !path.is_file() {
            bail!("there is no {}: {hint}", path.display());
        }
        Ok(path)
    }
}

/// Measures both servers with each model in each scenario, and reports.
pub(crate) async fn run(programs: &Path, plan: &Plan) -> Result<Report> {
    let chosen = |all: &[Scenario]| if plan.only.is_empty() { all.to_vec() } else { plan.only.clone() };
    let mut scenarios = chosen(Scenario::value_variants());
    if matches!(plan.peer, PeerAt::Running(_)) {
        // Whether one that runs drafts was for others to say.
        scenarios.retain(|scenario| *scenario != Scenario::EditDrafting);
    }
    let models = if plan.models.is_empty() { Model::value_variants() } else { &plan.models };
    if models.len() > 1 && matches!(plan.peer, PeerAt::Running(_)) {
        bail!("a server that runs already has one model: say which with `--models`");
    }
    let mut report = Report::new("infer");
    let failures = Failures::default();
    report.row(COLUMNS.map(str::to_owned).to_vec());
    for model in models {
        measure_model(programs, plan, *model, &scenarios, &mut report, &failures)
            .await
            .with_context(|| model.name())?;
    }
    report.failed(&failures);
    Ok(report)
}

async fn measure_model(
    programs: &Path,
    plan: &Plan,
    model: Model,
    scenarios: &[Scenario],
    report: &mut Report,
    failures: &Failures,
) -> Result<()> {
    let file = model.file(programs)?;
    let settings = [("RBEE_THREADS", &*plan.threads.to_string())];
    let daemons = Daemons::start_real(programs, &file, 1, &settings).await?;
    let rbee = rbee(&daemons).await?;
    rbee.warm_up(model.manner()).await?;
    let mut rbee_processes = vec![daemons.queen()?, daemons.hive()];
    rbee_processes.extend(daemons.workers().await?.into_iter().map(|(_, pid)| pid));

    // Which of the peers is measured depends on how much context a slot needs.
    let rooms = [Room::Divided, Room::Shared, Room::Drafting];
    let mut peers = Vec::new();
    for room in rooms
        .into_iter()
        .filter(|room| scenarios.iter().any(|scenario| scenario.is_compared() && scenario.room() == *room))
    {
        let peer = Peer::start(&plan.peer, &file, room, plan.threads).await.context("the peer")?;
        let contestant = Contestant { server: peer.server.clone(), neighbour: peer.server.clone() };
        contestant.warm_up(model.manner()).await.context("the peer")?;
        peers.push((room, contestant, peer));
    }
    let peer_processes: Vec<Pid> = peers.iter().filter_map(|(_, _, peer)| peer.pid()).collect();

    for scenario in scenarios {
        if !scenario.is_compared() {
            hops::measure(&daemons, model, plan.pairs, report).await?;
            continue;
        }
        let peer = peers.iter().find(|(room, _, _)| *room == scenario.room());
        let (_, peer, _) = peer.context("a peer was started for each division")?;
        let mut comparison = Comparison::new(scenario.measures(model));
        for pair in 0..plan.pairs {
            // Who is first may have it easier, or harder.
            let order = if pair % 2 == 0 { [true, false] } else { [false, true] };
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for is_ours in order {
                let (asked, idle) = if is_ours { (&rbee, &peer_processes) } else { (peer, &rbee_processes) };
                rest(&rbee_processes).await?;
                rest(&peer_processes).await?;
                let watch = IdleWatch::begin(idle)?;
                let name = if is_ours { "rbee" } else { "the peer" };
                let measured = scenario.measure(asked, model.manner(), pair, name, failures).await;
                let measured = measured.with_context(|| format!("{scenario:?}, pair {pair}, {name}"))?;
                watch.end(idle, &format!("{scenario:?}: {name} was not alone"), failures)?;
                *(if is_ours { &mut ours } else { &mut theirs }) = measured;
            }
            say(&format!(
                "{}, {scenario:?}, {} of {}: {ours:.1?} {theirs:.1?}",
                model.name(),
                pair + 1,
                plan.pairs
            ));
            comparison.add(&ours, &theirs);
        }
        for (row, failure) in comparison.rows(model.name()) {
            say(&row.join(" | "));
            report.row(row);
            report.require(failure.is_none(), || failure.unwrap_or_default());
        }
    }
    daemons.stop().await
}

/// The queen, as one principal asks it, and as another does.
async fn rbee(daemons: &Daemons) -> Result<Contestant> {
    let mut connection = Connection::open(daemons.address()).await?;
    let key = api::create_key(&mut connection, daemons.operator_key(), "neighbour").await?.key;
    let server = Server::rbee(daemons);
    Ok(Contestant { server, neighbour: Server::Rbee { address: daemons.address(), key } })
}

fn cpu(processes: &[Pid]) -> Result<Duration> {
    processes.iter().map(|pid| stats::cpu(*pid)).sum()
}

/// Waits until none of these processes computes.
async fn rest(processes: &[Pid]) -> Result<()> {
    let deadline = Instant::now() + REST_LIMIT;
    loop {
        let before = cpu(processes)?;
        // A process does not tell when it is done with what nobody waits for any more.
        tokio::time::sleep(REST).await;
        if cpu(processes)?.saturating_sub(before) <= REST / 5 {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("a server computes though nobody asks it");
        }
    }
}

/// Looks whether servers that are not asked compute all the same.
struct IdleWatch {
    cpu: Duration,
    began: Instant,
}

impl IdleWatch {
    fn begin(idle: &[Pid]) -> Result<Self> {
        Ok(Self { cpu: cpu(idle)?, began: Instant::now() })
    }

    fn end(&self, idle: &[Pid], failure: &str, failures: &Failures) -> Result<()> {
        let computed = cpu(idle)?.saturating_sub(self.cpu);
        if computed > IDLE_MAX.max(self.began.elapsed().mul_f64(IDLE_MAX_PART)) {
            failures.add(format!("{failure}: the other computed for {} ms", computed.as_millis()));
        }
        Ok(())
    }
}
