//! What it costs to serve streams, side by side with servers that are known for it.

mod generate;
mod protocol;
mod serve;
mod servers;

pub(crate) use generate::{Measured, Plan, run as generate};
pub(crate) use serve::run as serve;
pub(crate) use servers::free_port;

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;

use crate::printer::say;
use crate::report::Report;
use crate::stats::Samples;
use crate::streams::protocol::Protocol;
use crate::streams::servers::{GENERATOR_CORE, Server, missing, pinned};

struct Size {
    /// Channels, and readers of each.
    shapes: &'static [(usize, usize)],
    /// In the open loop so many messages are published per second, but no more than make so many deliveries.
    messages_per_s: f64,
    deliveries_per_s: f64,
    open_loop_ms: u64,
    saturation_ms: u64,
    resume_ms: u64,
}

const FULL: Size = Size {
    shapes: &[(10_000, 1), (1, 10_000), (100, 100)],
    messages_per_s: 2000.0,
    deliveries_per_s: 10_000.0,
    open_loop_ms: 10_000,
    saturation_ms: 5000,
    resume_ms: 2000,
};

const SHORT: Size = Size {
    shapes: &[(100, 1), (1, 100), (10, 10)],
    messages_per_s: 1000.0,
    deliveries_per_s: 1000.0,
    open_loop_ms: 500,
    saturation_ms: 300,
    resume_ms: 200,
};

/// With more readers of a channel than this nothing is read anew: filling the channel would be a test
/// of its own.
const RESUME_READERS_MAX: usize = 1000;

const COLUMNS: [&str; 11] = [
    "channels × readers",
    "server",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "deliveries/s",
    "CPU µs/delivery",
    "RSS KiB/stream",
    "resume MB/s",
    "lost",
    "disordered",
];

/// Measures every server in every shape, in turns, and reports the middle of all runs.
pub(crate) async fn run(short: bool, runs: usize) -> Result<Report> {
    let size = if short { &SHORT } else { &FULL };
    let mut report = Report::new("streams");
    let mut servers = Vec::new();
    for protocol in Protocol::ALL {
        match missing(protocol) {
            None => servers.push(protocol),
            Some(reason) => say(&format!("streams: {} is skipped: {reason}", protocol.name())),
        }
    }
    report.row(COLUMNS.map(str::to_owned).to_vec());
    for (channels, readers) in size.shapes {
        let mut measured: Vec<Vec<Measured>> = vec![Vec::new(); servers.len()];
        for run in 0..runs {
            for (place, protocol) in servers.iter().enumerate() {
                let (run, name) = (run + 1, protocol.name());
                say(&format!("streams: {channels} × {readers}, run {run} of {runs}, {name}"));
                let one = measure(size, *protocol, *channels, *readers).await.with_context(|| name)?;
                measured[place].push(one);
            }
        }
        for (protocol, runs) in servers.iter().zip(&measured) {
            let lost: u64 = runs.iter().map(|run| run.lost + run.disordered).sum();
            report.require(!protocol.is_ours() || lost == 0, || {
                format!("{lost} messages were lost or disordered at {channels} × {readers}")
            });
            report.row(row(*protocol, *channels, *readers, runs));
        }
    }
    Ok(report)
}

fn row(protocol: Protocol, channels: usize, readers: usize, runs: &[Measured]) -> Vec<String> {
    let middle = |figure: &dyn Fn(&Measured) -> Option<f64>, decimals: usize| {
        let mut samples = Samples::default();
        runs.iter().filter_map(figure).for_each(|value| samples.add(value));
        if samples.count() == 0 {
            return "–".to_owned();
        }
        format!("{:.decimals$}", samples.quantile(0.5))
    };
    let sum = |figure: &dyn Fn(&Measured) -> u64| runs.iter().map(figure).sum::<u64>().to_string();
    vec![
        format!("{channels} × {readers}"),
        protocol.name().to_owned(),
        middle(&|run| Some(run.p50_ms), 2),
        middle(&|run| Some(run.p99_ms), 2),
        middle(&|run| Some(run.p999_ms), 2),
        middle(&|run| Some(run.deliveries_per_s), 0),
        middle(&|run| Some(run.cpu_us_per_delivery), 2),
        middle(&|run| Some(run.rss_kib_per_stream), 1),
        middle(&|run| run.resume_mb_per_s, 1),
        sum(&|run| run.lost),
        sum(&|run| run.disordered),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand readers")]
fn count(readers: usize) -> f64 {
    readers as f64
}

/// One run: a server of its own on one core, a generator of its own on another.
async fn measure(size: &Size, protocol: Protocol, channels: usize, readers: usize) -> Result<Measured> {
    let server = Server::start(protocol, channels).await?;
    let plan = Plan {
        protocol,
        port: server.port,
        feed_port: server.feed_port,
        server: server.process.id().and_then(|pid| pid.try_into().ok()).context("the server has ended")?,
        channels: server.channels.clone(),
        readers_per_channel: readers,
        messages_per_s: size.messages_per_s.min(size.deliveries_per_s / count(readers)),
        open_loop_ms: size.open_loop_ms,
        saturation_ms: size.saturation_ms,
        resume_ms: if readers > RESUME_READERS_MAX { 0 } else { size.resume_ms },
    };
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let mut generator = pinned(GENERATOR_CORE, &program)
        .arg("generate")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the load generator")?;
    let mut stdin = generator.stdin.take().context("stdin was asked to be piped")?;
    let text = serde_json::to_vec(&plan).context("a plan is plain data")?;
    stdin.write_all(&text).await.context("the load generator does not listen")?;
    drop(stdin);
    let ended = generator.wait_with_output().await.context("cannot wait for the load generator")?;
    if !ended.status.success() {
        bail!("the load generator failed");
    }
    serde_json::from_slice(&ended.stdout).context("the load generator makes no sense")
}
