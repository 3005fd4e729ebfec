//! A queen that is killed at any moment, again and again, under load: what a client has seen stays as
//! it was, nothing is lost, nothing comes twice, and every job that was accepted ends.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use rbee_protocol::{ErrorCode, Event as JobLine, JobEvent, JobId, JobList, JobState, Submitted};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api;
use crate::canary::token_index;
use crate::daemons::{Daemons, infer};
use crate::http::{Connection, Request};
use crate::printer::say;
use crate::report::{Failures, Report};
use crate::stats::Samples;
use crate::stream::{Event, Kind, Next, Opened, Stream};

/// A job that has not ended after so long does not end any more.
const FOLLOW_LIMIT: Duration = Duration::from_secs(60);
/// A queen that answers nobody is tried again so soon.
const RETRY_DELAY: Duration = Duration::from_millis(5);

struct Size {
    kills: usize,
    clients: usize,
    models: usize,
    /// A job has up to so many tokens.
    tokens_max: u64,
    /// A queen lives so long, in milliseconds, before it is killed.
    life_max_ms: u64,
}

const FULL: Size = Size { kills: 500, clients: 20, models: 4, tokens_max: 120, life_max_ms: 500 };
const SHORT: Size = Size { kills: 8, clients: 6, models: 2, tokens_max: 60, life_max_ms: 400 };

/// What the harness knows while queens come and go.
struct Field {
    address: SocketAddr,
    key: String,
    size: &'static Size,
    /// How many queens have become ready.
    queens: watch::Sender<u64>,
    /// Set when no queen is killed any more.
    over: watch::Sender<bool>,
    failures: Failures,
    jobs: Mutex<Vec<Seen>>,
    accepted: AtomicU64,
    resumed: AtomicU64,
}

/// What one reader saw of one job.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) job: JobId,
    /// For each event, in order, a hash of its bytes.
    pub(crate) events: Vec<u64>,
    /// The place that the next token must have.
    pub(crate) next_index: u64,
    pub(crate) end: Option<(JobState, Option<ErrorCode>)>,
    resumed: bool,
}

/// Kills queens under load, and reports.
pub(crate) async fn run(programs: &Path, short: bool, seed: u64) -> Result<Report> {
    let size = if short { &SHORT } else { &FULL };
    let mut rng = Rng::with_seed(seed);
    let mut daemons = Daemons::start(programs, size.models, &[]).await?;
    let field = Arc::new(Field {
        address: daemons.address(),
        key: daemons.operator_key().to_owned(),
        size,
        queens: watch::Sender::new(1),
        over: watch::Sender::new(false),
        failures: Failures::default(),
        jobs: Mutex::default(),
        accepted: AtomicU64::new(0),
        resumed: AtomicU64::new(0),
    });
    let mut clients = JoinSet::new();
    for me in 0..size.clients {
        clients.spawn(client(field.clone(), me, rng.fork()));
    }
    let mut ready = Samples::default();
    let killed = kill(&field, &mut daemons, &mut rng, &mut ready).await;
    field.over.send_replace(true);
    killed?;
    while let Some(joined) = clients.join_next().await {
        joined.context("a client's task panicked")?;
    }

    let mut jobs = std::mem::take(&mut *field.jobs.lock().unwrap_or_else(PoisonError::into_inner));
    let mut connection = Connection::open(field.address).await?;
    let orphans = orphans(&mut connection, &field, &jobs).await?;
    let orphaned = orphans.len();
    for job in orphans {
        jobs.push(follow(&field, job, &mut rng).await);
    }
    say(&format!("kill: reading {} jobs anew", jobs.len()));
    for seen in &jobs {
        let outcome = look_again(&mut connection, &field.key, seen).await;
        if outcome.is_err() {
            connection = Connection::open(field.address).await?;
        }
        field.failures.check(&format!("job {}", seen.job), outcome);
    }
    daemons.stop().await?;
    let mut report = report(&field, &jobs, ready, seed);
    report.figure("jobs_accepted_unheard", orphaned);
    Ok(report)
}

fn report(field: &Field, jobs: &[Seen], mut ready: Samples, seed: u64) -> Report {
    let count = |wanted: &dyn Fn(&Seen) -> bool| jobs.iter().filter(|seen| wanted(seen)).count();
    let state = |state: JobState| count(&|seen| seen.end.as_ref().is_some_and(|end| end.0 == state));
    let interrupted =
        |seen: &Seen| seen.end.as_ref().is_some_and(|end| end.1 == Some(ErrorCode::Interrupted));
    let succeeded = |seen: &Seen| seen.end.as_ref().is_some_and(|end| end.0 == JobState::Succeeded);
    let resumed = count(&|seen| seen.resumed);
    let mut report = Report::new("kill");
    report.figure("seed", seed);
    report.figure("kills", field.size.kills);
    report.figure("jobs_accepted", field.accepted.load(Ordering::Relaxed));
    report.figure("events_seen", jobs.iter().map(|seen| seen.events.len()).sum::<usize>());
    report.figure("streams_resumed", field.resumed.load(Ordering::Relaxed));
    report.figure("jobs_resumed", resumed);
    report.figure("jobs_resumed_succeeded", count(&|seen| seen.resumed && succeeded(seen)));
    report.figure("jobs_resumed_interrupted", count(&|seen| seen.resumed && interrupted(seen)));
    report.figure("jobs_succeeded", state(JobState::Succeeded));
    report.figure("jobs_failed", state(JobState::Failed));
    report.figure("jobs_failed_interrupted", count(&|seen| interrupted(seen)));
    report.figure("jobs_cancelled", state(JobState::Cancelled));
    report.figure("ready_p50_ms", ready.quantile(0.5));
    report.figure("ready_p99_ms", ready.quantile(0.99));
    report.figure("ready_max_ms", ready.quantile(1.0));
    report.failed(&field.failures);
    report.require(resumed > 0, || "no stream was resumed, so nothing was tried".to_owned());
    report
}

/// Kills one queen after the other, and sees that there is a next one.
async fn kill(field: &Field, daemons: &mut Daemons, rng: &mut Rng, ready: &mut Samples) -> Result<()> {
    for kill in 1..=field.size.kills {
        // The moment is what is being varied.
        tokio::time::sleep(Duration::from_millis(rng.u64(..field.size.life_max_ms))).await;
        daemons.kill_queen().await?;
        if rng.u8(..8) == 0 {
            // One that dies while it is coming up.
            daemons.start_and_kill_queen(Duration::from_millis(rng.u64(..40))).await?;
        }
        let took = daemons.start_queen().await.with_context(|| format!("after kill {kill}"))?;
        ready.add(took.as_secs_f64() * 1e3);
        field.queens.send_modify(|queens| *queens += 1);
        if kill % 10 == 0 || kill == field.size.kills {
            say(&format!(
                "kill: {kill} of {} kills, {} jobs, {} streams resumed, {} failures",
                field.size.kills,
                field.accepted.load(Ordering::Relaxed),
                field.resumed.load(Ordering::Relaxed),
                field.failures.count(),
            ));
        }
    }
    Ok(())
}

/// Submits jobs and follows each to its end, whatever happens to the queen, until no more are killed.
async fn client(field: Arc<Field>, me: usize, mut rng: Rng) {
    while !*field.over.borrow() {
        let script = format!("tokens {} {} client-{me}", rng.u64(1..field.size.tokens_max), rng.u64(..8));
        let submitted = submit(&field, rng.usize(..field.size.models), script).await;
        let Some(submitted) = submitted else { continue };
        field.accepted.fetch_add(1, Ordering::Relaxed);
        let seen = follow(&field, submitted.job_id, &mut rng).await;
        field.jobs.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }
}

/// Submits a job; `None` when the answer was lost, and perhaps the job with it.
async fn submit(field: &Field, model: usize, script: String) -> Option<Submitted> {
    let mut connection = connect(field).await;
    let request = infer(model, script);
    match api::submit(&mut connection, &field.key, &request).await {
        Ok(submitted) => Some(submitted),
        Err(error) if is_cut(&error) => None,
        Err(error) => {
            field.failures.add(format!("a job was not taken: {error:#}"));
            None
        }
    }
}

/// Connects to a queen, to the next one if there is none just now.
async fn connect(field: &Field) -> Connection {
    let mut queens = field.queens.subscribe();
    loop {
        queens.mark_unchanged();
        if let Ok(connection) = Connection::open(field.address).await {
            return connection;
        }
        // The next queen, or a little later the one that came up in the meantime.
        let _ = tokio::time::timeout(RETRY_DELAY, queens.changed()).await;
    }
}

/// Reads a job to its end through however many queens, and returns what was seen of it.
async fn follow(field: &Field, job: JobId, rng: &mut Rng) -> Seen {
    let mut seen = Seen::nothing_of(job);
    let outcome = tokio::time::timeout(FOLLOW_LIMIT, follow_to_end(field, &mut seen, rng)).await;
    let outcome = outcome.unwrap_or_else(|_| bail!("no end after {} s", FOLLOW_LIMIT.as_secs()));
    field.failures.check(&format!("job {}", seen.job), outcome);
    seen
}

async fn follow_to_end(field: &Field, seen: &mut Seen, rng: &mut Rng) -> Result<()> {
    while seen.end.is_none() {
        let before = seen.events.len();
        let mut connection = connect(field).await;
        // Some read again what they have seen: it must be the same.
        let after = if rng.bool() { before } else { rng.usize(..=before) };
        match read_on(&mut connection, &field.key, seen, after).await {
            Ok(()) => {}
            Err(error) if is_cut(&error) => {
                field.resumed.fetch_add(1, Ordering::Relaxed);
                seen.resumed = true;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The jobs whose submitters never heard that they were accepted.
async fn orphans(connection: &mut Connection, field: &Field, heard: &[Seen]) -> Result<Vec<JobId>> {
    let answer = connection.ask(Request::new("GET", "/v1/jobs", &field.key)).await?;
    let list: JobList = serde_json::from_str(&answer.body).context("a list that makes no sense")?;
    let heard: HashSet<&JobId> = heard.iter().map(|seen| &seen.job).collect();
    let infers = list.jobs.into_iter().filter(|job| job.operation == "infer").map(|job| job.job_id);
    Ok(infers.filter(|job| !heard.contains(job)).collect())
}

/// Reads on after event number `after`, which may have been seen long ago, to the end or a cut.
pub(crate) async fn read_on(
    connection: &mut Connection,
    key: &str,
    seen: &mut Seen,
    after: usize,
) -> Result<()> {
    let mut stream = match Stream::open(connection, key, &seen.job, after as u64).await? {
        Opened::Stream(stream) => stream,
        Opened::Refused(status, body) => {
            bail!("event {after} was seen, and now the stream is refused: {status} {body}")
        }
    };
    let mut place = after;
    loop {
        match stream.next().await? {
            Next::Event(event) => seen.take(place, &event)?,
            Next::Done if seen.end.is_some() => return Ok(()),
            Next::Done => bail!("the stream is done without an end"),
        }
        place += 1;
    }
}

/// Whether a queen that was killed explains `error`.
fn is_cut(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() != io::ErrorKind::InvalidData)
}

impl Seen {
    pub(crate) fn nothing_of(job: JobId) -> Self {
        Self { job, events: Vec::new(), next_index: 0, end: None, resumed: false }
    }

    /// Takes the event at `place`, from 0, or compares it with the one that was there before.
    fn take(&mut self, place: usize, event: &Event<'_>) -> Result<()> {
        let shown = || String::from_utf8_lossy(event.bytes).into_owned();
        if event.seq != place as u64 + 1 {
            bail!("event {} where {} was due: {}", event.seq, place + 1, shown());
        }
        let mut hasher = DefaultHasher::new();
        event.bytes.hash(&mut hasher);
        let hash = hasher.finish();
        if let Some(before) = self.events.get(place) {
            if *before != hash {
                bail!("event {} is another than it was: {}", event.seq, shown());
            }
            return Ok(());
        }
        if self.end.is_some() {
            bail!("event {} follows the end: {}", event.seq, shown());
        }
        self.events.push(hash);
        match event.kind {
            Kind::Token => {
                if token_index(event.data) != Some(self.next_index) {
                    bail!("token {} was due: {}", self.next_index, shown());
                }
                self.next_index += 1;
            }
            Kind::End => {
                let line: JobLine = serde_json::from_slice(event.data).with_context(shown)?;
                let JobEvent::End(end) = line.event else { bail!("no end: {}", shown()) };
                self.end = Some((end.state.into(), end.error.map(|error| error.code)));
            }
            Kind::Other => {}
        }
        Ok(())
    }
}

/// Checks, after everything, that the job has ended and that its stream is what its reader saw.
pub(crate) async fn look_again(connection: &mut Connection, key: &str, seen: &Seen) -> Result<()> {
    let info = api::info(connection, key, &seen.job).await?;
    if !api::is_terminal(info.state) {
        bail!("it is still {:?}", info.state);
    }
    if seen.end.as_ref().is_some_and(|end| end.0 != info.state) {
        bail!("its stream ended {:?}, and now it is {:?}", seen.end, info.state);
    }
    let path = format!("/v1/jobs/{}/stream", seen.job);
    let mut again = Seen::nothing_of(seen.job.clone());
    read_on(connection, key, &mut again, 0).await.with_context(|| path.clone())?;
    if again.events != seen.events {
        bail!("{path} has {} events and not the {} that were seen", again.events.len(), seen.events.len());
    }
    let answer = connection.ask(Request::new("GET", "/v1/info", key)).await?;
    if answer.status != 200 {
        bail!("the connection is of no use after {path}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64, text: &str) -> Event<'_> {
        Event { seq, kind: Kind::Other, bytes: text.as_bytes(), data: text.as_bytes() }
    }

    #[test]
    fn what_was_seen_must_stay_as_it_was() {
        let mut seen = Seen::nothing_of(JobId::from_bits(1));
        seen.take(0, &event(1, "a")).expect("the first");
        seen.take(1, &event(2, "b")).expect("the second");
        seen.take(0, &event(1, "a")).expect("the first again");
        seen.take(1, &event(2, "c")).expect_err("another second");
        seen.take(1, &event(1, "a")).expect_err("the first once more");
        seen.take(2, &event(4, "d")).expect_err("the fourth in place of the third");
        assert_eq!(seen.events.len(), 2);
    }
}
