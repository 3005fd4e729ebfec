//! Jobs created, run and removed for a long time: neither memory nor descriptors grow.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use rbee_protocol::{Operation, SubmitRequest};
use rustix::process::Pid;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::api;
use crate::daemons::{Daemons, Settings, infer};
use crate::http::Connection;
use crate::printer::say;
use crate::report::{Failures, Report};
use crate::stats::{Descriptors, Samples, Usage, mib, rss_bytes};
use crate::stream::{Kind, Next, Opened, Stream};

const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Samples for each line of progress.
const SAMPLES_PER_LINE: usize = 15;
/// Memory counts as what it is at the middle of so many samples, since it goes up and down with what
/// is under way.
const SAMPLES_PER_MEASURE: usize = 30;
/// Sockets are back to where they began within this: idle connections are kept for 90 s.
const SETTLE_LIMIT: Duration = Duration::from_secs(100);
const MODELS: usize = 4;
/// A journal keeps a connection, two files, for each reading that there ever was at once.
const FILES_PER_CLIENT: usize = 2;
/// Few, so that jobs are removed at the rate at which they are created nearly all the time.
const RETENTION: Settings<'static> = &[("RBEE_RETENTION_JOBS", "1000")];

struct Size {
    /// So long everything runs before anything is measured: workers, threads and connections that are kept.
    warm_up: Duration,
    duration: Duration,
    /// Jobs are submitted at this rate in all, however fast they end.
    jobs_per_s: u32,
    clients: u32,
    jobs: u64,
    /// Over so much of the end memory is measured, and grows by so many bytes at most.
    growth: Option<(Duration, u64)>,
}

const FULL: Size = Size {
    warm_up: Duration::from_secs(20),
    duration: Duration::from_secs(15 * 60),
    jobs_per_s: 130,
    clients: 26,
    jobs: 100_000,
    growth: Some((Duration::from_secs(10 * 60), 1 << 20)),
};

const SHORT: Size = Size {
    warm_up: Duration::from_secs(2),
    duration: Duration::from_secs(8),
    jobs_per_s: 60,
    clients: 12,
    jobs: 300,
    growth: None,
};

struct Field {
    address: SocketAddr,
    key: String,
    size: &'static Size,
    until: Instant,
    failures: Failures,
    jobs: AtomicU64,
}

/// Runs the clients, measures the queen meanwhile, and reports.
pub(crate) async fn run(programs: &Path, short: bool, seed: u64) -> Result<Report> {
    let size = if short { &SHORT } else { &FULL };
    let mut rng = Rng::with_seed(seed);
    let daemons = Daemons::start(programs, MODELS, RETENTION).await?;
    let (queen, hive) = (daemons.queen()?, daemons.hive());
    let failures = Failures::default();
    let field = |duration| {
        Arc::new(Field {
            address: daemons.address(),
            key: daemons.operator_key().to_owned(),
            size,
            until: Instant::now() + duration,
            failures: failures.clone(),
            jobs: AtomicU64::new(0),
        })
    };
    say("soak: warming up");
    load(&field(size.warm_up), queen, &mut rng).await?;
    let queen_before = settled(queen, None).await?;
    let hive_before = settled(hive, None).await?;

    let began = Instant::now();
    let field = field(size.duration);
    let rss = load(&field, queen, &mut rng).await?;
    let elapsed = began.elapsed();
    let queen_after = settled(queen, queen_before.descriptors).await?;
    let hive_after = settled(hive, hive_before.descriptors).await?;
    daemons.stop().await?;

    let jobs = field.jobs.load(Ordering::Relaxed);
    let mut report = Report::new("soak");
    report.figure("seed", seed);
    report.figure("elapsed_s", elapsed.as_secs_f64());
    report.figure("jobs", jobs);
    report.figure("queen_rss_begin_mib", mib(queen_before.usage.rss_bytes));
    report.figure("queen_rss_end_mib", mib(queen_after.usage.rss_bytes));
    report.figure("queen_rss_max_mib", mib(rss.iter().copied().max().unwrap_or_default()));
    report.figure("hive_rss_begin_mib", mib(hive_before.usage.rss_bytes));
    report.figure("hive_rss_end_mib", mib(hive_after.usage.rss_bytes));
    let cpu = queen_after.usage.cpu.saturating_sub(queen_before.usage.cpu);
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    report.figure("queen_cpu_us_per_job", cpu.as_secs_f64() * 1e6 / jobs.max(1) as f64);
    if let Some((over, most)) = size.growth {
        let growth = growth(&rss, over);
        report.figure("queen_rss_growth_mib", growth / f64::from(1 << 20));
        #[expect(clippy::cast_precision_loss, reason = "a few bytes")]
        report.require(growth <= most as f64, || {
            format!("the queen grew by {growth:.0} bytes over the last {} s", over.as_secs())
        });
    }
    report.failed(&field.failures);
    report.require(jobs >= size.jobs, || format!("{jobs} jobs were run instead of {}", size.jobs));
    for (who, before, after) in [("queen", queen_before, queen_after), ("hive", hive_before, hive_after)] {
        let Some((before, after)) = before.descriptors.zip(after.descriptors) else {
            say(&format!("soak: skipped the {who}'s descriptors, which it shows to root alone"));
            report.figure(format!("{who}_descriptors"), "skipped, they are for root to see");
            continue;
        };
        for (what, count) in [
            ("sockets_begin", before.sockets),
            ("sockets_end", after.sockets),
            ("files_begin", before.files),
            ("files_end", after.files),
        ] {
            report.figure(format!("{who}_{what}"), count);
        }
        report.require(after.sockets <= before.sockets, || {
            format!("the {who} had {} sockets and has {}", before.sockets, after.sockets)
        });
        let files_max = before.files + FILES_PER_CLIENT * size.clients as usize;
        report.require(after.files <= files_max, || {
            format!("the {who} had {} files open and has {}", before.files, after.files)
        });
    }
    Ok(report)
}

/// Runs all clients for as long as there is time, and returns the queen's memory, sample by sample.
async fn load(field: &Arc<Field>, queen: Pid, rng: &mut Rng) -> Result<Vec<u64>> {
    let mut clients = JoinSet::new();
    for _ in 0..field.size.clients {
        clients.spawn(client(field.clone(), rng.fork()));
    }
    let rss = sample(field, queen).await?;
    while let Some(joined) = clients.join_next().await {
        joined.context("a client's task panicked")?;
    }
    Ok(rss)
}

/// One job after the other, at an even rate.
async fn client(field: Arc<Field>, mut rng: Rng) {
    let mut ticks = interval(Duration::from_secs(1) * field.size.clients / field.size.jobs_per_s);
    // What was late is made up for, so that the rate holds on the whole.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut connection = None;
    while Instant::now() < field.until {
        ticks.tick().await;
        let request = request(&mut rng);
        let outcome = async {
            let connection = match &mut connection {
                Some(connection) => connection,
                None => connection.insert(Connection::open(field.address).await?),
            };
            job(connection, &field.key, &request).await
        };
        let outcome = outcome.await;
        // Now and then a client comes anew.
        if outcome.is_err() || rng.u8(..16) == 0 {
            connection = None;
        }
        field.failures.check(request.operation.name(), outcome);
        field.jobs.fetch_add(1, Ordering::Relaxed);
    }
}

fn request(rng: &mut Rng) -> SubmitRequest {
    match rng.u8(..8) {
        0..3 => SubmitRequest::new(Operation::HiveList {}),
        3 => SubmitRequest::new(Operation::Status {}),
        4 => SubmitRequest::new(Operation::WorkerList {}),
        _ => infer(rng.usize(..MODELS), format!("tokens {} 0 soak", rng.u8(1..20))),
    }
}

/// Runs one job to its end, which must be that it succeeded.
async fn job(connection: &mut Connection, key: &str, request: &SubmitRequest) -> Result<()> {
    let job = api::submit(connection, key, request).await?.job_id;
    let mut stream = match Stream::open(connection, key, &job, 0).await? {
        Opened::Stream(stream) => stream,
        Opened::Refused(status, body) => bail!("the stream of {job} was refused: {status} {body}"),
    };
    let mut succeeded = false;
    loop {
        match stream.next().await? {
            Next::Event(event) if event.kind == Kind::End => {
                let end = String::from_utf8_lossy(event.data);
                if !end.contains("\"state\":\"succeeded\"") {
                    bail!("{job} ended so: {end}");
                }
                succeeded = true;
            }
            Next::Event(_) => {}
            Next::Done if succeeded => return Ok(()),
            Next::Done => bail!("{job} is done without an end"),
        }
    }
}

/// The queen's memory, sample by sample, until time is up.
async fn sample(field: &Field, queen: Pid) -> Result<Vec<u64>> {
    let mut ticks = interval(SAMPLE_INTERVAL);
    let mut samples = Vec::new();
    while Instant::now() < field.until {
        ticks.tick().await;
        let rss_bytes = rss_bytes(queen)?;
        samples.push(rss_bytes);
        if samples.len().is_multiple_of(SAMPLES_PER_LINE) {
            say(&format!(
                "soak: {} jobs, queen at {:.1} MiB, {} s left, {} failures",
                field.jobs.load(Ordering::Relaxed),
                mib(rss_bytes),
                field.until.saturating_duration_since(Instant::now()).as_secs(),
                field.failures.count(),
            ));
        }
    }
    Ok(samples)
}

/// By how many bytes memory grew from the beginning to the end of the last so many samples.
fn growth(samples: &[u64], over: Duration) -> f64 {
    let count = usize::try_from(over.as_secs() / SAMPLE_INTERVAL.as_secs()).unwrap_or(usize::MAX);
    let last = &samples[samples.len().saturating_sub(count)..];
    let middle = |samples: &[u64]| {
        let mut measure = Samples::default();
        #[expect(clippy::cast_precision_loss, reason = "memory is far below where bytes are lost")]
        samples.iter().for_each(|bytes| measure.add(*bytes as f64));
        measure.quantile(0.5)
    };
    let part = SAMPLES_PER_MEASURE.min(last.len());
    middle(&last[last.len() - part..]) - middle(&last[..part])
}

/// What a process uses once it is at rest.
#[derive(Clone, Copy)]
struct AtRest {
    usage: Usage,
    /// `None` where it does not show them.
    descriptors: Option<Descriptors>,
}

impl AtRest {
    fn of(pid: Pid) -> Result<Self> {
        Ok(Self { usage: Usage::of(pid)?, descriptors: Descriptors::of(pid)? })
    }

    /// Whether it has as many sockets as before; where it does not show them, whether it has not computed.
    fn is_as(&self, before: &Self) -> bool {
        match self.descriptors.zip(before.descriptors) {
            Some((now, before)) => now.sockets == before.sockets,
            None => self.usage.cpu == before.usage.cpu,
        }
    }
}

/// What a process uses once its sockets are down to those that it `had`, or else after a while; where that is
/// not known, once it stays as it is.
async fn settled(pid: Pid, had: Option<Descriptors>) -> Result<AtRest> {
    let deadline = Instant::now() + SETTLE_LIMIT;
    let mut last = AtRest::of(pid)?;
    let mut unchanged = 0;
    loop {
        // Nothing tells when another process closes a socket.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = AtRest::of(pid)?;
        unchanged = if now.is_as(&last) { unchanged + 1 } else { 0 };
        last = now;
        let settled =
            now.descriptors.zip(had).map_or(unchanged >= 20, |(now, had)| now.sockets <= had.sockets);
        if settled || Instant::now() > deadline {
            return Ok(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_between_the_middles_of_the_first_and_the_last_samples() {
        let samples: Vec<u64> = (0..900).map(|second| 1000 + second + 500 * (second % 7)).collect();
        let grown = growth(&samples, Duration::from_secs(600));
        assert!((565.0..576.0).contains(&grown), "{grown}");
        assert_eq!(growth(&[7; 900], Duration::from_secs(600)), 0.0);
        assert_eq!(growth(&[], Duration::from_secs(600)), 0.0);
    }
}
