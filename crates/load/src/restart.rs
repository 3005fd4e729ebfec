//! A queen that is killed with a full journal: how long it takes until the next one is there.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use rbee_jobs::{Change, Frame, JobRecord, JobStore, now_ms};
use rbee_journal::Journal;
use rbee_protocol::{End, JobEvent, JobId, JobList, JobState, PrincipalId, SubmitRequest, Token};

use crate::daemons::{Daemons, Settings, infer};
use crate::http::{Connection, Request};
use crate::printer::say;
use crate::report::Report;
use crate::stats::{Samples, mib, rss_bytes};

/// Room for all that the journal holds, however many that is.
const RETENTION: Settings<'static> = &[("RBEE_RETENTION_JOBS", "100000"), ("RBEE_JOBS_PER_KEY", "100000")];
/// A queen is there again within this, its jobs listed.
const LIMIT: Duration = Duration::from_secs(2);
const RESTARTS: usize = 5;
/// So many jobs are written in one commit.
const JOBS_PER_COMMIT: usize = 100;
/// Whose jobs they are: of whoever lists them.
const PRINCIPAL: &str = "operator";

struct Size {
    ended: usize,
    unfinished: usize,
    events_per_job: u64,
}

const FULL: Size = Size { ended: 10_000, unfinished: 100, events_per_job: 50 };
const SHORT: Size = Size { ended: 500, unfinished: 10, events_per_job: 20 };

/// What restarts took.
#[derive(Default)]
struct Restarts {
    ready_ms: Samples,
    listed_ms: Samples,
    rss_bytes: u64,
}

/// Fills a journal, restarts queens on it, and reports.
pub(crate) async fn run(programs: &Path, short: bool, seed: u64) -> Result<Report> {
    let size = if short { &SHORT } else { &FULL };
    let mut rng = Rng::with_seed(seed);
    let mut daemons = Daemons::start(programs, 1, RETENTION).await?;
    daemons.kill_queen().await?;

    say(&format!("restart: writing {} jobs of {} events", size.ended, size.events_per_job));
    write(&daemons.journal(), (0..size.ended).map(|_| ended(size, &mut rng))).await?;
    let journal = std::fs::metadata(daemons.journal()).context("the journal is gone")?.len();
    let mut without = restart(&mut daemons, size.ended).await?;

    say(&format!("restart: writing {} jobs that have not ended", size.unfinished));
    write(&daemons.journal(), (0..size.unfinished).map(|_| unfinished(&mut rng))).await?;
    let mut with = restart(&mut daemons, size.ended + size.unfinished).await?;
    daemons.start_queen().await?;
    daemons.stop().await?;

    let mut report = Report::new("restart");
    report.figure("seed", seed);
    report.figure("jobs_ended", size.ended);
    report.figure("jobs_unfinished", size.unfinished);
    report.figure("journal_mib", mib(journal));
    for (names, restarts) in [
        (["ready_p50_ms", "ready_max_ms", "listed_p50_ms", "listed_max_ms", "queen_rss_mib"], &mut without),
        (
            [
                "unfinished_ready_p50_ms",
                "unfinished_ready_max_ms",
                "unfinished_listed_p50_ms",
                "unfinished_listed_max_ms",
                "unfinished_queen_rss_mib",
            ],
            &mut with,
        ),
    ] {
        report.figure(names[0], restarts.ready_ms.quantile(0.5));
        report.figure(names[1], restarts.ready_ms.quantile(1.0));
        report.figure(names[2], restarts.listed_ms.quantile(0.5));
        report.figure(names[3], restarts.listed_ms.quantile(1.0));
        report.figure(names[4], mib(restarts.rss_bytes));
        let slowest = restarts.listed_ms.quantile(1.0);
        report.require(slowest < LIMIT.as_secs_f64() * 1e3, || {
            format!("it took {slowest:.0} ms until a queen listed its jobs again ({})", names[3])
        });
    }
    Ok(report)
}

/// Starts queens, one after the other, each killed once it has listed its `jobs` jobs.
async fn restart(daemons: &mut Daemons, jobs: usize) -> Result<Restarts> {
    let mut restarts = Restarts::default();
    for _ in 0..RESTARTS {
        let began = Instant::now();
        let ready = daemons.start_queen().await?;
        let mut connection = Connection::open(daemons.address()).await?;
        let answer = connection.ask(Request::new("GET", "/v1/jobs", daemons.operator_key())).await?;
        let listed = began.elapsed();
        let list: JobList = serde_json::from_str(&answer.body)
            .with_context(|| format!("a list that makes no sense, status {}", answer.status))?;
        let kept = list.jobs.iter().filter(|job| job.operation == "infer").count();
        if kept != jobs {
            bail!("{kept} jobs are there after a restart, and {jobs} were");
        }
        restarts.ready_ms.add(ready.as_secs_f64() * 1e3);
        restarts.listed_ms.add(listed.as_secs_f64() * 1e3);
        restarts.rss_bytes = restarts.rss_bytes.max(rss_bytes(daemons.queen()?)?);
        daemons.kill_queen().await?;
    }
    Ok(restarts)
}

/// Writes jobs into the journal in the file at `path`, which no queen has.
async fn write(path: &Path, jobs: impl Iterator<Item = [Change; 2]>) -> Result<()> {
    let (path, jobs) = (path.to_owned(), jobs.collect::<Vec<_>>());
    let writing = tokio::task::spawn_blocking(move || {
        let journal = Journal::open(&path)?;
        journal.load()?;
        for jobs in jobs.chunks(JOBS_PER_COMMIT) {
            journal.write(&jobs.concat())?;
        }
        anyhow::Ok(())
    });
    writing.await.context("writing panicked")?.context("the journal cannot be filled")
}

fn ended(size: &Size, rng: &mut Rng) -> [Change; 2] {
    let (create, job) = create(rng);
    let token = |seq| {
        let text = "x".repeat(rng.usize(1..12));
        Frame::encode(seq, &JobEvent::Token(Token::new(text, seq - 1)))
    };
    let mut frames: Vec<Frame> = (1..size.events_per_job).map(token).collect();
    frames.push(Frame::encode(size.events_per_job, &JobEvent::End(Box::new(End::succeeded()))));
    let end = Some((JobState::Succeeded, now_ms()));
    [create, Change::Append { job, frames, child_seq: None, end }]
}

/// A job that no hive has yet, and that waits for ever once one has.
fn unfinished(rng: &mut Rng) -> [Change; 2] {
    let (create, job) = create(rng);
    let token = Token::new("begun", 0);
    let frames = vec![Frame::encode(1, &JobEvent::Token(token))];
    [create, Change::Append { job, frames, child_seq: None, end: None }]
}

fn create(rng: &mut Rng) -> (Change, JobId) {
    let id = JobId::from_bits(rng.u128(..));
    let record = JobRecord {
        id: id.clone(),
        operation: "infer".to_owned(),
        principal: PrincipalId::new(PRINCIPAL),
        detached: true,
        origin: None,
        created_at_ms: now_ms(),
    };
    let request = Box::new(SubmitRequest { detached: true, ..infer(0, "wait".to_owned()) });
    (Change::Create { record, request }, id)
}
