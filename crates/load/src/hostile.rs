//! Clients that try to get at jobs that are not theirs, or to confuse the queen about whose job is whose.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, bail};
use fastrand::Rng;
use rbee_protocol::{ErrorCode, JobId, JobList};
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::canary::{Course, Watch};
use crate::daemons::infer;
use crate::http::{Answer, Connection, Request};
use crate::isolation::Field;
use crate::reading;
use crate::stream::{Next, Opened, Stream};

/// Each hostile client makes an attempt so often, which leaves the queen time for the others.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(5);
/// So many models are for the jobs that are cancelled, beside those of ordinary jobs.
pub(crate) const MODELS: usize = 1;

/// What a hostile client does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Guesses ids.
    Guess,
    /// Uses the ids of others' jobs with its own key.
    Replay,
    /// Resumes at any position, whether there is one or not.
    Cursor,
    /// Cancels its own jobs at any moment.
    Cancel,
    /// Uses one connection for the jobs and keys of many, some answers still under way.
    Mix,
    /// Lists jobs.
    List,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Guess, Self::Replay, Self::Cursor, Self::Cancel, Self::Mix, Self::List];
}

/// Makes one attempt after the other until `done`.
pub(crate) async fn harass(field: Arc<Field>, kind: Kind, mut rng: Rng, done: CancellationToken) {
    let mut ticks = tokio::time::interval(ATTEMPT_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut connection = None;
    while !done.is_cancelled() {
        ticks.tick().await;
        let outcome = attempt(&field, kind, &mut rng, &mut connection).await;
        if outcome.is_err() {
            connection = None;
        }
        field.failures.check(&format!("{kind:?}"), outcome);
        field.attempts.fetch_add(1, Ordering::Relaxed);
    }
}

async fn attempt(
    field: &Field,
    kind: Kind,
    rng: &mut Rng,
    connection: &mut Option<Connection>,
) -> Result<()> {
    let Some((owner, watch)) = field.some_job(rng) else { return Ok(()) };
    let other = (owner + 1 + rng.usize(..field.keys.len() - 1)) % field.keys.len();
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(Connection::open(field.address).await?),
    };
    let own_key = &field.keys[owner].key;
    let other_key = &field.keys[other].key;
    match kind {
        Kind::Guess => guess(connection, other_key, &watch, rng).await,
        Kind::Cursor => cursor(connection, own_key, &watch, rng).await,
        Kind::Cancel => cancel(field, connection, other, rng).await,
        // The others need principals that differ.
        _ if !field.keys_differ => Ok(()),
        Kind::Replay => replay(connection, other_key, &watch, rng).await,
        Kind::Mix => mix(connection, own_key, other_key, &watch).await,
        Kind::List => list(field, connection, owner).await,
    }
}

/// An id that nobody was given.
fn guessed(watch: &Watch, rng: &mut Rng) -> String {
    match rng.u8(..4) {
        0 => JobId::from_bits(rng.u128(..)).to_string(),
        1 => {
            // One digit beside a real one.
            let mut id = watch.job().to_string();
            let place = rng.usize("job-".len()..id.len());
            let digit = if &id[place..=place] == "0" { "1" } else { "0" };
            id.replace_range(place..=place, digit);
            id
        }
        2 => watch.job().to_string()[..rng.usize("job-".len()..35)].to_owned(),
        _ => {
            let odd = ["job-", "*", "%2e%2e", "job-%00", "%F0%9F%90%9D", "JOB-0", "job-*", "%"];
            odd[rng.usize(..odd.len())].to_owned()
        }
    }
}

async fn guess(connection: &mut Connection, key: &str, watch: &Watch, rng: &mut Rng) -> Result<()> {
    let id = guessed(watch, rng);
    for (method, path) in requests(&id, rng) {
        let answer = connection.ask(Request::new(method, &path, key)).await?;
        nothing_there(&answer, &path)?;
    }
    Ok(())
}

async fn replay(connection: &mut Connection, key: &str, watch: &Watch, rng: &mut Rng) -> Result<()> {
    let unknown = JobId::from_bits(rng.u128(..)).to_string();
    let known = watch.job().to_string();
    let of_unknown = requests(&unknown, rng);
    let of_known = of_unknown.clone().map(|(method, path)| (method, path.replace(&unknown, &known)));
    for ((method, path), (_, unknown_path)) in of_known.into_iter().zip(of_unknown) {
        let fields = format!("Last-Event-ID: {}\r\n", rng.u64(..4));
        let ask = |path| Request { fields: &fields, ..Request::new(method, path, key) };
        let foreign = connection.ask(ask(&path)).await?;
        nothing_there(&foreign, &path)?;
        let nobodys = connection.ask(ask(&unknown_path)).await?;
        if foreign.body.replace(&known, &unknown) != nobodys.body {
            bail!("somebody else's job answers {}, one that is not there {}", foreign.body, nobodys.body);
        }
    }
    Ok(())
}

/// Everything that can be asked of a job.
fn requests(id: &str, rng: &mut Rng) -> [(&'static str, String); 4] {
    [
        ("GET", format!("/v1/jobs/{id}")),
        ("GET", format!("/v1/jobs/{id}/stream")),
        ("GET", format!("/v1/jobs/{id}/stream?after={}", rng.u8(..))),
        ("DELETE", format!("/v1/jobs/{id}")),
    ]
}

fn nothing_there(answer: &Answer, path: &str) -> Result<()> {
    if answer.body.contains("canary-") {
        bail!("{path} gave away a canary: {}", answer.body);
    }
    // A path that is not well-formed may be refused as such.
    if answer.status == 400 && path.contains('%') {
        return Ok(());
    }
    let error = api::error(answer, 404)?;
    if error.code != ErrorCode::NotFound {
        bail!("{path} answered {error:?}");
    }
    Ok(())
}

async fn cursor(connection: &mut Connection, key: &str, watch: &Watch, rng: &mut Rng) -> Result<()> {
    let path = format!("/v1/jobs/{}/stream", watch.job());
    let odd = ["-1", "1.5", "x", "18446744073709551616", "1 2", "0x1"];
    let fields = format!("Last-Event-ID: {}\r\n", odd[rng.usize(..odd.len())]);
    let answer = connection.ask(Request { fields: &fields, ..Request::new("GET", &path, key) }).await?;
    api::error(&answer, 400)?;

    let events = api::info(connection, key, watch.job()).await?.events;
    // What is ahead now need not be when it is asked for, unless it is far ahead.
    let fields = format!("Last-Event-ID: {}\r\n", events + 1_000_000 + rng.u64(..1_000_000));
    let answer = connection.ask(Request { fields: &fields, ..Request::new("GET", &path, key) }).await?;
    api::error(&answer, 409)?;

    let mut course = Course::new(watch, rng.u64(0..=events));
    let until = course.seq() + 1 + rng.u64(..50);
    let address = connection.address();
    if !reading::events(connection, key, watch, &mut course, Some(until)).await? {
        *connection = Connection::open(address).await?;
    }
    Ok(())
}

async fn cancel(field: &Field, connection: &mut Connection, me: usize, rng: &mut Rng) -> Result<()> {
    let key = &field.keys[me].key;
    let canary = format!("canary-{me}-cancelled-{:08x}-", rng.u32(..));
    let tokens = 200;
    let request = infer(field.spare_model, format!("tokens {tokens} 1 {canary}"));
    let job = api::submit(connection, key, &request).await?.job_id;
    let watch = Watch::new(job, canary, tokens, &field.ids);

    let mut reading = Connection::open(field.address).await?;
    let mut course = Course::new(&watch, 0);
    let at = rng.u64(1..40);
    let mut stream = match Stream::open(&mut reading, key, watch.job(), 0).await? {
        Opened::Stream(stream) => stream,
        Opened::Refused(status, body) => bail!("the stream of {} was refused: {status} {body}", watch.job()),
    };
    loop {
        match stream.next().await? {
            Next::Event(event) => course.take(&event)?,
            Next::Done => return course.ended(),
        }
        if course.seq() == at {
            let path = format!("/v1/jobs/{}", watch.job());
            let answer = connection.ask(Request::new("DELETE", &path, key)).await?;
            if answer.status != 202 {
                bail!("{} could not be cancelled: {} {}", watch.job(), answer.status, answer.body);
            }
        }
    }
}

async fn mix(connection: &mut Connection, own_key: &str, other_key: &str, watch: &Watch) -> Result<()> {
    let path = format!("/v1/jobs/{}", watch.job());
    let wrong = format!("{own_key}x");
    let keys = [own_key, other_key, wrong.as_str(), own_key];
    connection.send(&keys.map(|key| Request::new("GET", &path, key))).await?;
    for (place, status) in [200, 404, 401, 200].into_iter().enumerate() {
        let answer = connection.answer().await?;
        if answer.status != status {
            bail!("answer {place} of several under way is {} instead of {status}", answer.status);
        }
        if status == 200 && !answer.body.contains(watch.job().as_str()) {
            bail!("answer {place} of several under way is another's: {}", answer.body);
        }
    }
    let mut course = Course::new(watch, 0);
    reading::events(connection, own_key, watch, &mut course, None).await?;
    course.finish()?;
    let stream = format!("{path}/stream");
    nothing_there(&connection.ask(Request::new("GET", &stream, other_key)).await?, &stream)
}

async fn list(field: &Field, connection: &mut Connection, me: usize) -> Result<()> {
    let answer = connection.ask(Request::new("GET", "/v1/jobs", &field.keys[me].key)).await?;
    let list: JobList = serde_json::from_str(&answer.body)?;
    for job in list.jobs {
        if field.owner(&job.job_id).is_some_and(|owner| owner != me) {
            bail!("principal {me} is shown a job of principal {:?}", field.owner(&job.job_id));
        }
    }
    Ok(())
}
