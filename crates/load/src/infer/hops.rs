//! What queen and hive cost for each token that passes through them.
//!
//! The streams of one job are read at the worker's socket, at the hive's and at the queen's, and the times at
//! which each token is there are compared. Each reader is the same client in the same process.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rbee_protocol::{Client, JobEvent, JobId};

use crate::daemons::Daemons;
use crate::infer::Model;
use crate::infer::ask::Server;
use crate::infer::prompts;
use crate::report::Report;
use crate::stats::{self, Samples};

const TOKENS: u32 = 256;
/// The readers further down join late and are sent the first tokens at once.
const SKIPPED_TOKENS: u64 = 32;

/// When each token was where it was read.
type Arrivals = BTreeMap<u64, Instant>;

/// Measures so many streams, one after the other.
pub(crate) async fn measure(
    daemons: &Daemons,
    model: Model,
    streams: usize,
    report: &mut Report,
) -> Result<()> {
    let workers = daemons.workers().await?;
    let (worker, _) = workers.first().context("there is no worker")?;
    let places = [daemons.socket("hive"), daemons.socket(worker.as_str())];
    let (mut hive_us, mut queen_us) = (Samples::default(), Samples::default());
    for stream in 0..streams {
        let number = 9100 + stream;
        let [at_queen, at_hive, at_worker] = follow(daemons, model, number, &places).await?;
        delays(&at_worker, &at_hive, &mut hive_us);
        delays(&at_hive, &at_queen, &mut queen_us);
    }
    if hive_us.count() == 0 || queen_us.count() == 0 {
        bail!("no token was seen at every hop");
    }
    // Apart, because reading at every hop costs the daemons more.
    let [queen_cpu, hive_cpu] = cpu_us_per_token(daemons, model, streams).await?;
    let name = model.name();
    for (what, samples) in [("hive", &mut hive_us), ("queen", &mut queen_us)] {
        report.figure(format!("{name}: a token passes the {what} in, p50 µs"), samples.quantile(0.5).round());
        report
            .figure(format!("{name}: a token passes the {what} in, p99 µs"), samples.quantile(0.99).round());
    }
    report.figure(format!("{name}: CPU time of the hive for a token, µs"), hive_cpu.round());
    report.figure(format!("{name}: CPU time of the queen for a token, µs"), queen_cpu.round());
    Ok(())
}

/// Follows one answer at the queen and at the sockets of `places`.
async fn follow(
    daemons: &Daemons,
    model: Model,
    number: usize,
    places: &[std::path::PathBuf; 2],
) -> Result<[Arrivals; 3]> {
    let mut asked = Server::rbee(daemons).ask(&prompts::story(model.manner(), number), TOKENS).await?;
    asked.next().await?;
    let job = asked.job().context("rbee has jobs")?.clone();
    let queen = Client::tcp(&format!("http://{}", daemons.address()), daemons.operator_key())?;
    let further_down = async |socket| {
        let client = Client::unix(socket)?;
        let newest = client.jobs().await?.jobs.into_iter().find(|job| job.operation == "infer");
        let newest = newest.context("the job is not there")?.job_id;
        arrivals(&client, &newest).await
    };
    let (read, at_queen, at_hive, at_worker) = tokio::join!(
        asked.finish(),
        arrivals(&queen, &job),
        further_down(&places[0]),
        further_down(&places[1]),
    );
    read?;
    Ok([at_queen?, at_hive?, at_worker?])
}

async fn arrivals(client: &Client, job: &JobId) -> Result<Arrivals> {
    let mut arrivals = Arrivals::new();
    let mut follow = client.follow(job, 0);
    while let Some(followed) = follow.next().await? {
        if let JobEvent::Token(token) = followed.event {
            arrivals.insert(token.index, Instant::now());
        }
    }
    Ok(arrivals)
}

/// How much later tokens were at the hop above than at the one below.
fn delays(below: &Arrivals, above: &Arrivals, delays_us: &mut Samples) {
    for (index, below) in below.range(SKIPPED_TOKENS..) {
        if let Some(above) = above.get(index) {
            // A reader may be told of a token before one that was sent it earlier.
            let earlier = below.saturating_duration_since(*above).as_secs_f64();
            delays_us.add((above.saturating_duration_since(*below).as_secs_f64() - earlier) * 1e6);
        }
    }
}

/// How long queen and hive compute for each token of answers that are read by one reader.
#[expect(clippy::cast_precision_loss, reason = "some thousand tokens")]
async fn cpu_us_per_token(daemons: &Daemons, model: Model, streams: usize) -> Result<[f64; 2]> {
    let processes = [daemons.queen()?, daemons.hive()];
    let now = || -> Result<[Duration; 2]> { Ok([stats::cpu(processes[0])?, stats::cpu(processes[1])?]) };
    let (before, mut tokens) = (now()?, 0);
    for stream in 0..streams {
        let question = prompts::story(model.manner(), 9500 + stream);
        tokens += Server::rbee(daemons).ask(&question, TOKENS).await?.finish().await?.tokens;
    }
    let after = now()?;
    let per_token =
        |place: usize| after[place].saturating_sub(before[place]).as_secs_f64() * 1e6 / tokens.max(1) as f64;
    Ok([per_token(0), per_token(1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_is_as_slow_as_tokens_are_later_above_it() {
        let began = Instant::now();
        let at = |us: u64| began + Duration::from_micros(us);
        let below = Arrivals::from([(1, at(0)), (40, at(100)), (41, at(500)), (42, at(900))]);
        let above = Arrivals::from([(1, at(5000)), (40, at(180)), (41, at(490))]);
        let mut samples = Samples::default();
        delays(&below, &above, &mut samples);
        let got = [0.0, 1.0].map(|part| samples.quantile(part).round());
        assert_eq!((samples.count(), got), (2, [-10.0, 80.0]));
    }
}
