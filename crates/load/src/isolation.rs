//! Many principals at once, each with jobs and readers of its own, none of whom may ever see a byte
//! of another's job.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fastrand::Rng;
use futures_util::future::try_join_all;
use rbee_protocol::JobId;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Key};
use crate::canary::{Course, Ids, Watch};
use crate::daemons::{Daemons, Settings, infer};
use crate::hostile;
use crate::http::Connection;
use crate::printer::say;
use crate::reading;
use crate::report::{Failures, Report};
use crate::stats::{mib, rss_bytes};

/// How often the person who waits hears how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// All jobs of all principals come at once.
const QUEUE: Settings<'_> = &[("RBEE_WAITING_JOBS", "10000")];

struct Size {
    principals: usize,
    jobs_per_principal: usize,
    tokens_per_job: u64,
    models: usize,
    /// Readers of each job while it runs.
    live_readers: usize,
    /// Readings of each job by each of these readers once it has ended.
    late_readings: usize,
    /// Hostile clients of each kind.
    hostile: usize,
    /// So many token events must have been checked.
    checks: u64,
}

const FULL: Size = Size {
    principals: 1000,
    jobs_per_principal: 2,
    tokens_per_job: 500,
    models: 8,
    live_readers: 3,
    late_readings: 3,
    hostile: 2,
    checks: 10_000_000,
};

const SHORT: Size = Size {
    principals: 30,
    jobs_per_principal: 2,
    tokens_per_job: 50,
    models: 4,
    live_readers: 3,
    late_readings: 4,
    hostile: 1,
    checks: 30_000,
};

/// What everybody on the field knows: the harness's own view, across all principals.
pub(crate) struct Field {
    pub(crate) address: SocketAddr,
    pub(crate) keys: Vec<Key>,
    /// Whether each principal has a key of its own.
    pub(crate) keys_differ: bool,
    /// The first model that no ordinary job uses.
    pub(crate) spare_model: usize,
    pub(crate) ids: Ids,
    pub(crate) failures: Failures,
    pub(crate) attempts: AtomicU64,
    size: &'static Size,
    jobs: Mutex<Known>,
    checks: AtomicU64,
    ended: AtomicU64,
}

#[derive(Default)]
struct Known {
    all: Vec<(usize, Arc<Watch>)>,
    owners: HashMap<JobId, usize>,
}

impl Field {
    /// Some job and whose it is, once there is one.
    pub(crate) fn some_job(&self, rng: &mut Rng) -> Option<(usize, Arc<Watch>)> {
        let jobs = self.jobs();
        (!jobs.all.is_empty()).then(|| jobs.all[rng.usize(..jobs.all.len())].clone())
    }

    /// Whose job this is, as far as the harness knows by now.
    pub(crate) fn owner(&self, job: &JobId) -> Option<usize> {
        self.jobs().owners.get(job).copied()
    }

    pub(crate) fn enter(&self, owner: usize, watch: &Arc<Watch>) {
        let mut jobs = self.jobs();
        jobs.all.push((owner, watch.clone()));
        jobs.owners.insert(watch.job().clone(), owner);
    }

    fn jobs(&self) -> MutexGuard<'_, Known> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checked(&self, tokens: u64) {
        self.checks.fetch_add(tokens, Ordering::Relaxed);
    }
}

/// Runs the principals and those who mean them harm, and reports.
pub(crate) async fn run(programs: &Path, short: bool, seed: u64) -> Result<Report> {
    let size = if short { &SHORT } else { &FULL };
    let mut rng = Rng::with_seed(seed);
    let daemons = Daemons::start(programs, size.models + hostile::MODELS, QUEUE).await?;
    let failures = Failures::default();
    let keys = keys(&daemons, size.principals, &failures).await?;
    let field = Arc::new(Field {
        address: daemons.address(),
        keys_differ: keys.windows(2).all(|pair| pair[0].key != pair[1].key),
        keys,
        spare_model: size.models,
        ids: Ids::default(),
        failures,
        attempts: AtomicU64::new(0),
        size,
        jobs: Mutex::default(),
        checks: AtomicU64::new(0),
        ended: AtomicU64::new(0),
    });

    let began = Instant::now();
    let done = CancellationToken::new();
    let mut hostile = JoinSet::new();
    for _ in 0..size.hostile {
        for kind in hostile::Kind::ALL {
            hostile.spawn(hostile::harass(field.clone(), kind, rng.fork(), done.clone()));
        }
    }
    let mut principals = JoinSet::new();
    for me in 0..size.principals {
        let (field, rng) = (field.clone(), rng.fork());
        principals.spawn(async move {
            let outcome = principal(&field, me, rng).await;
            field.failures.check(&format!("principal {me}"), outcome);
        });
    }
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    loop {
        tokio::select! {
            joined = principals.join_next() => match joined {
                Some(joined) => joined.context("a principal's task panicked")?,
                None => break,
            },
            _ = ticks.tick() => say(&format!(
                "isolation: {} of {} jobs read, {} token events checked, {} attempts to get at others' jobs, {} failures",
                field.ended.load(Ordering::Relaxed),
                size.principals * size.jobs_per_principal,
                field.checks.load(Ordering::Relaxed),
                field.attempts.load(Ordering::Relaxed),
                field.failures.count(),
            )),
        }
    }
    let elapsed = began.elapsed();
    done.cancel();
    while let Some(joined) = hostile.join_next().await {
        joined.context("a hostile client's task panicked")?;
    }
    let queen_rss_bytes = rss_bytes(daemons.queen()?)?;
    daemons.stop().await?;

    let checks = field.checks.load(Ordering::Relaxed);
    let attempts = field.attempts.load(Ordering::Relaxed);
    let mut report = Report::new("isolation");
    report.figure("seed", seed);
    report.figure("principals", size.principals);
    report.figure("jobs", size.principals * size.jobs_per_principal);
    report.figure("live_readers", size.principals * size.live_readers);
    report.figure("token_events_checked", checks);
    report.figure("hostile_attempts", attempts);
    report.figure("elapsed_s", elapsed.as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    report.figure("checks_per_s", checks as f64 / elapsed.as_secs_f64());
    report.figure("queen_rss_mib", mib(queen_rss_bytes));
    report.failed(&field.failures);
    report.require(checks >= size.checks, || {
        format!("{checks} token events were checked instead of {}", size.checks)
    });
    report.require(attempts > 0, || "nobody tried to get at others' jobs".to_owned());
    Ok(report)
}

/// A key for every principal.
async fn keys(daemons: &Daemons, count: usize, failures: &Failures) -> Result<Vec<Key>> {
    say(&format!("isolation: making {count} keys"));
    let mut connection = Connection::open(daemons.address()).await?;
    let mut keys = Vec::with_capacity(count);
    for index in 0..count {
        let name = format!("load-{index}");
        match api::create_key(&mut connection, daemons.operator_key(), &name).await {
            Ok(key) => keys.push(key),
            Err(error) => {
                failures.add(format!("principals have no keys of their own: {error:#}"));
                let operator = Key { key: daemons.operator_key().to_owned() };
                return Ok(vec![operator; count]);
            }
        }
    }
    Ok(keys)
}

/// One principal: a job after the other, each with several readers, while it runs and afterwards.
async fn principal(field: &Field, me: usize, mut rng: Rng) -> Result<()> {
    let size = field.size;
    let key = &field.keys[me].key;
    let mut control = Connection::open(field.address).await?;
    let mut connections =
        try_join_all((0..size.live_readers).map(|_| Connection::open(field.address))).await?;
    for number in 0..size.jobs_per_principal {
        let canary = format!("canary-{me}-{number}-{:08x}-", rng.u32(..));
        let tokens = size.tokens_per_job;
        let request = infer(me % size.models, format!("tokens {tokens} 0 {canary}"));
        let job = api::submit(&mut control, key, &request).await?.job_id;
        let watch = Arc::new(Watch::new(job, canary, tokens, &field.ids));
        field.enter(me, &watch);
        let readers = connections.iter_mut().enumerate();
        let readers =
            readers.map(|(place, connection)| reader(field, key, &watch, connection, place, rng.fork()));
        try_join_all(readers).await?;
        field.ended.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Reads a job to its end, cut off on the way where `place` is odd, and then over again.
async fn reader(
    field: &Field,
    key: &str,
    watch: &Watch,
    connection: &mut Connection,
    place: usize,
    mut rng: Rng,
) -> Result<()> {
    let mut course = Course::new(watch, 0);
    if place % 2 == 1 {
        for _ in 0..2 {
            let until = course.seq() + rng.u64(1..=1 + watch.tokens() / 3);
            if reading::events(connection, key, watch, &mut course, Some(until)).await? {
                break;
            }
            *connection = Connection::open(field.address).await?;
        }
    }
    reading::events(connection, key, watch, &mut course, None).await?;
    course.finish()?;
    field.checked(course.tokens);

    let events = course.seq();
    for late in 0..field.size.late_readings {
        let tokens = match late {
            1 => reading::lines(connection, key, watch).await?,
            2 => reading::text(connection, key, watch).await?,
            _ => {
                let after = if late % 2 == 1 { rng.u64(0..=events) } else { 0 };
                let mut course = Course::new(watch, after);
                reading::events(connection, key, watch, &mut course, None).await?;
                // Who begins after the end is told that there is no more.
                if after < events {
                    course.finish()?;
                }
                course.tokens
            }
        };
        field.checked(tokens);
    }
    Ok(())
}
