//! Readers that hardly read beside readers that do, of the same jobs and of others: nobody loses
//! anything, and the slow ones hold nobody up.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use memchr::memmem;
use rbee_protocol::SubmitRequest;
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api;
use crate::canary::{Course, Ids, Watch, token_index};
use crate::daemons::{Daemons, infer};
use crate::http::Connection;
use crate::printer::say;
use crate::report::{Failures, Report};
use crate::stats::{self, Samples, mib, now_us};
use crate::stream::{Event, Kind, Next, Opened, Stream};

/// A slow reader takes an event so seldom while the others read.
const SLOW_INTERVAL: Duration = Duration::from_millis(500);
/// The fast readers' 99th percentile may be so much longer beside slow ones.
const P99_RATIO_MAX: f64 = 1.1;
/// What the system receives on a slow reader's behalf before the server has to wait, in bytes.
const SLOW_BUFFER_BYTES: u32 = 4096;
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);
/// The latency of this first part of the tokens is not measured: readers are still connecting, and the
/// system still takes off the server's hands what slow readers do not read.
const WARM_UP: f64 = 0.5;

struct Size {
    /// Jobs that have fast readers.
    jobs: usize,
    /// Further jobs that have slow readers only.
    slow_jobs: usize,
    fast_readers: usize,
    slow_readers: usize,
    tokens: u64,
    apart_ms: u64,
    text_bytes: usize,
    /// More than the system takes off a server's hands, so that the server itself waits for its reader.
    slow_text_bytes: usize,
    /// How often it is measured, without slow readers and with them in turn.
    rounds: usize,
}

const FULL: Size = Size {
    jobs: 10,
    slow_jobs: 10,
    fast_readers: 1000,
    slow_readers: 1000,
    tokens: 100,
    apart_ms: 200,
    text_bytes: 1000,
    slow_text_bytes: 10_000,
    rounds: 5,
};

const SHORT: Size = Size {
    jobs: 2,
    slow_jobs: 2,
    fast_readers: 40,
    slow_readers: 40,
    tokens: 60,
    apart_ms: 20,
    text_bytes: 1000,
    slow_text_bytes: 10_000,
    rounds: 1,
};

struct Field {
    address: SocketAddr,
    key: String,
    size: &'static Size,
    ids: Ids,
    failures: Failures,
}

/// What one round measured.
struct Round {
    latency_ms: Samples,
    rss_max_bytes: u64,
    /// How much of one core the queen took while the fast readers read.
    queen_cores: f64,
}

/// Has the fast readers read without the slow ones, then with them, and reports.
pub(crate) async fn run(programs: &Path, short: bool) -> Result<Report> {
    let size = if short { &SHORT } else { &FULL };
    let models = size.jobs + size.slow_jobs;
    let daemons = Daemons::start(programs, models, &[]).await?;
    let field = Arc::new(Field {
        address: daemons.address(),
        key: daemons.operator_key().to_owned(),
        size,
        ids: Ids::default(),
        failures: Failures::default(),
    });
    say("slow: starting the workers");
    for model in 0..models {
        start(&field, model, 1, 1).await?.finish_reading(&field).await?;
    }
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        say(&format!("slow: {} readers that read", size.fast_readers));
        without.push(round(&field, &daemons, 0).await?);
        say(&format!("slow: the same beside {} that hardly do", size.slow_readers));
        with.push(round(&field, &daemons, size.slow_readers).await?);
    }
    daemons.stop().await?;

    let mut report = Report::new("slow");
    report.figure("fast_readers", size.fast_readers);
    report.figure("slow_readers", size.slow_readers);
    let p99_without = describe(&mut report, "alone", &mut without);
    let p99_with = describe(&mut report, "beside", &mut with);
    report.figure("p99_ratio", p99_with / p99_without);
    let rss_max_bytes = without.iter().chain(&with).map(|round| round.rss_max_bytes).max();
    report.figure("queen_rss_max_mib", mib(rss_max_bytes.unwrap_or_default()));
    report.failed(&field.failures);
    // Of a few samples on a busy machine only this is to be said: nobody waited for a slow reader.
    let held_up_ms = SLOW_INTERVAL.as_secs_f64() * 1e3 / 2.0;
    let limit_ms = if short { held_up_ms } else { p99_without * P99_RATIO_MAX };
    report.require(p99_with < limit_ms, || {
        format!("slow readers brought the others' p99 from {p99_without:.1} to {p99_with:.1} ms")
    });
    Ok(report)
}

/// Reports the rounds' medians, and returns that of the 99th percentiles.
fn describe(report: &mut Report, name: &str, rounds: &mut [Round]) -> f64 {
    let mut median = |figure: &str, value: &mut dyn FnMut(&mut Round) -> f64| {
        let mut values = Samples::default();
        rounds.iter_mut().for_each(|round| values.add(value(round)));
        let median = values.quantile(0.5);
        report.figure(format!("{name}_{figure}"), median);
        median
    };
    median("p50_ms", &mut |round| round.latency_ms.quantile(0.5));
    median("p999_ms", &mut |round| round.latency_ms.quantile(0.999));
    median("queen_cores", &mut |round| round.queen_cores);
    median("p99_ms", &mut |round| round.latency_ms.quantile(0.99))
}

async fn round(field: &Arc<Field>, daemons: &Daemons, slow_readers: usize) -> Result<Round> {
    let size = field.size;
    let fast = open_all(field.address, size.fast_readers, None).await?;
    let slow = open_all(field.address, slow_readers, Some(SLOW_BUFFER_BYTES)).await?;
    let mut jobs = Vec::new();
    // The same jobs in each round, so that the slow readers are all the difference.
    for model in 0..size.jobs + size.slow_jobs {
        let bytes = if model < size.jobs { size.text_bytes } else { size.slow_text_bytes };
        jobs.push(Arc::new(start(field, model, size.tokens, bytes).await?));
    }
    let hurry = watch::Sender::new(false);
    let mut slow_tasks = JoinSet::new();
    for (place, connection) in slow.into_iter().enumerate() {
        let (job, hurry) = (jobs[place % jobs.len()].clone(), hurry.subscribe());
        let field = field.clone();
        slow_tasks.spawn(async move {
            let outcome = job.read_slowly(&field, connection, hurry).await;
            field.failures.check("a slow reader", outcome);
        });
    }
    let mut fast_tasks = JoinSet::new();
    for (place, connection) in fast.into_iter().enumerate() {
        let (field, job) = (field.clone(), jobs[place % size.jobs].clone());
        fast_tasks.spawn(async move {
            job.read(&field, connection).await.unwrap_or_else(|error| {
                field.failures.add(format!("a fast reader: {error:#}"));
                Samples::default()
            })
        });
    }
    let mut latency_ms = Samples::default();
    let mut rss_max_bytes = 0;
    let (began, cpu) = (Instant::now(), stats::cpu(daemons.queen()?)?);
    let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
    loop {
        tokio::select! {
            joined = fast_tasks.join_next() => match joined {
                Some(samples) => latency_ms.extend(samples.context("a reader's task panicked")?),
                None => break,
            },
            _ = ticks.tick() => {
                rss_max_bytes = rss_max_bytes.max(stats::rss_bytes(daemons.queen()?)?);
            }
        }
    }
    let cpu = stats::cpu(daemons.queen()?)?.saturating_sub(cpu);
    let queen_cores = cpu.as_secs_f64() / began.elapsed().as_secs_f64();
    hurry.send_replace(true);
    while let Some(joined) = slow_tasks.join_next().await {
        joined.context("a slow reader's task panicked")?;
    }
    rss_max_bytes = rss_max_bytes.max(stats::rss_bytes(daemons.queen()?)?);
    Ok(Round { latency_ms, rss_max_bytes, queen_cores })
}

async fn open_all(address: SocketAddr, count: usize, buffer: Option<u32>) -> Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = TcpSocket::new_v4().context("cannot make a socket")?;
        if let Some(bytes) = buffer {
            socket.set_recv_buffer_size(bytes).context("cannot set up a socket")?;
        }
        let stream = socket.connect(address).await.context("cannot connect to the queen")?;
        connections.push(Connection::over(address, stream)?);
    }
    Ok(connections)
}

/// A job whose tokens tell when they were due.
struct Timed {
    watch: Watch,
    /// The first token whose latency counts.
    first: u64,
}

async fn start(field: &Field, model: usize, tokens: u64, text_bytes: usize) -> Result<Timed> {
    let canary = format!("canary-slow-{model}-{:08x}-", fastrand::u32(..));
    let padding = "x".repeat(text_bytes);
    let script = format!("tokens {tokens} {} {{us}} {canary} {padding}", field.size.apart_ms);
    let mut connection = Connection::open(field.address).await?;
    let request = SubmitRequest { detached: true, ..infer(model, script) };
    let job = api::submit(&mut connection, &field.key, &request).await?.job_id;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a part of a few hundred"
    )]
    let first = (tokens as f64 * WARM_UP) as u64;
    Ok(Timed { watch: Watch::new(job, canary, tokens, &field.ids), first })
}

impl Timed {
    async fn finish_reading(&self, field: &Field) -> Result<()> {
        self.read(field, Connection::open(field.address).await?).await.map(drop)
    }

    /// Reads the job to its end, and returns how late, in milliseconds, each token was.
    async fn read(&self, field: &Field, mut connection: Connection) -> Result<Samples> {
        let mut stream = self.open(&mut connection, &field.key).await?;
        let mut course = Course::new(&self.watch, 0);
        let mut latency_ms = Samples::default();
        while let Next::Event(event) = stream.next().await? {
            course.take(&event)?;
            if let Some(latency) = self.latency_ms(&event)? {
                latency_ms.add(latency);
            }
        }
        course.finish()?;
        Ok(latency_ms)
    }

    /// Reads hardly anything until `hurry` says so, and then the rest.
    async fn read_slowly(
        &self,
        field: &Field,
        mut connection: Connection,
        mut hurry: watch::Receiver<bool>,
    ) -> Result<()> {
        let mut stream = self.open(&mut connection, &field.key).await?;
        let mut course = Course::new(&self.watch, 0);
        while let Next::Event(event) = stream.next().await? {
            course.take(&event)?;
            // Being slow is what it is there for.
            let _ = tokio::time::timeout(SLOW_INTERVAL, hurry.wait_for(|hurry| *hurry)).await;
        }
        course.finish()
    }

    async fn open<'c>(&self, connection: &'c mut Connection, key: &str) -> Result<Stream<'c>> {
        match Stream::open(connection, key, self.watch.job(), 0).await? {
            Opened::Stream(stream) => Ok(stream),
            Opened::Refused(status, body) => bail!("the stream was refused: {status} {body}"),
        }
    }

    /// How late this event is, if it is a token that counts.
    fn latency_ms(&self, event: &Event<'_>) -> Result<Option<f64>> {
        if event.kind != Kind::Token || token_index(event.data).is_none_or(|index| index < self.first) {
            return Ok(None);
        }
        let due_us = due_us(event.data).context("a token that does not tell when it was due")?;
        // Less than a microsecond early is the clock's.
        let late_us = now_us().saturating_sub(due_us);
        Ok(Some(Duration::from_micros(late_us).as_secs_f64() * 1e3))
    }
}

/// When a token was due: the number that its text begins with.
fn due_us(data: &[u8]) -> Option<u64> {
    const TEXT: &[u8] = b"\"text\":\"";
    let text = &data[memmem::find(data, TEXT)? + TEXT.len()..];
    let digits = &text[..memchr::memchr(b' ', text)?];
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_when_it_was_due() {
        assert_eq!(due_us(br#"{"seq":3,"kind":"token","text":"1700 canary-1- x","index":0}"#), Some(1700));
        assert_eq!(due_us(br#"{"seq":3,"kind":"token","text":"x","index":0}"#), None);
    }
}
