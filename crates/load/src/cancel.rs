//! Answers of a real model that are cancelled: how long it takes until they have ended, and their
//! commands with them.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rbee_protocol::{
    End, EndState, Event as JobLine, JobEvent, JobId, Operation, Phase, SubmitRequest, Token,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use crate::api;
use crate::daemons::{Daemons, Settings, infer};
use crate::http::{Connection, Request};
use crate::infer::Model;
use crate::printer::say;
use crate::report::Report;
use crate::stats::Samples;
use crate::stream::{Next, Opened, Stream};

/// llama.cpp's threads wait for one another by spinning, which queen and reader would have to wait for.
const SETTINGS: Settings<'static> = &[("RBEE_THREADS", "1"), ("RBEE_SLOTS", "1")];
/// Nothing that is waited for takes longer.
const LIMIT: Duration = Duration::from_secs(60);
/// An answer so long does not end by itself while it is being cancelled.
const TOKENS: u32 = 1500;
/// Words of a prompt that takes seconds to read.
const PROMPT_WORDS: usize = 1200;
/// Each attempt to catch a model while it is being loaded takes one that is not loaded.
const LOADS_MAX: usize = 4;

/// From the word to stop to the end event, and from there to the end of the command.
const CANCEL_MAX_MS: f64 = 250.0;
const EXIT_MAX_MS: f64 = 20.0;
/// The same in the other phases: a chunk of a prompt that is being read is read to its end.
const PHASE_MAX_MS: f64 = 500.0;

struct Size {
    cancels: usize,
    exits: usize,
    /// Whether how long it took is a condition; it is none for a run beside other tests.
    is_timed: bool,
}

const FULL: Size = Size { cancels: 200, exits: 50, is_timed: true };
const SHORT: Size = Size { cancels: 6, exits: 3, is_timed: false };

/// When a job is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// As soon as it is accepted.
    Accepted,
    /// While its model is being loaded.
    Loading,
    /// While the model reads its prompt.
    Prefill,
    /// After so many tokens.
    Tokens(u64),
}

/// How a cancellation went.
struct Cancelled {
    /// From the request to the end event, both here.
    seen_ms: f64,
    end: End,
}

/// Cancels answers in every phase, and reports.
pub(crate) async fn run(programs: &Path, short: bool) -> Result<Report> {
    let size = if short { &SHORT } else { &FULL };
    let daemons =
        Daemons::start_real(programs, &Model::Smollm2.file(programs)?, LOADS_MAX + 1, SETTINGS).await?;
    let mut report = Report::new("cancel");

    // With all models but the last, which is left for what follows.
    let loading = cancel_loading(&daemons).await?;
    phase(&mut report, "loading_ms", &loading, size);
    let words = vec!["word"; PROMPT_WORDS].join(" ");
    let prefill = cancel(&daemons, answer(LOADS_MAX, &words), Moment::Prefill).await?;
    let prefill = prefill.context("the prompt was read before that could be cancelled")?;
    phase(&mut report, "prefill_ms", &prefill, size);
    let queued = cancel_queued(&daemons).await?;
    phase(&mut report, "queued_ms", &queued, size);

    let (mut seen_ms, mut cancel_ms) = (Samples::default(), Samples::default());
    for number in 0..size.cancels {
        let request = answer(LOADS_MAX, "Tell me a long story.");
        let moment = Moment::Tokens(1 + number as u64 % 7);
        let cancelled = cancel(&daemons, request, moment).await?.context("an answer was too short")?;
        seen_ms.add(cancelled.seen_ms);
        cancel_ms.add(cancelled.end.cancel_ms.context("an end does not say how long it took to cancel")?);
        if (number + 1) % 20 == 0 {
            say(&format!("cancel: {} of {}", number + 1, size.cancels));
        }
    }
    let mut exit_ms = Samples::default();
    for _ in 0..size.exits {
        exit_ms.add(exit(&daemons).await?);
    }
    daemons.stop().await?;

    report.figure("cancels", seen_ms.count());
    report.figure("seen_p50_ms", seen_ms.quantile(0.5));
    report.figure("seen_p99_ms", seen_ms.quantile(0.99));
    report.figure("seen_max_ms", seen_ms.quantile(1.0));
    report.figure("cancel_p50_ms", cancel_ms.quantile(0.5));
    report.figure("cancel_p99_ms", cancel_ms.quantile(0.99));
    report.figure("cancel_max_ms", cancel_ms.quantile(1.0));
    report.figure("exits", exit_ms.count());
    report.figure("exit_p50_ms", exit_ms.quantile(0.5));
    report.figure("exit_p99_ms", exit_ms.quantile(0.99));
    for (what, samples, max) in [
        ("from the request to the end event", &mut seen_ms, CANCEL_MAX_MS),
        ("as the end event has it", &mut cancel_ms, CANCEL_MAX_MS),
        ("from the end event to the end of the command", &mut exit_ms, EXIT_MAX_MS),
    ] {
        let p99 = samples.quantile(0.99);
        report.require(!size.is_timed || p99 <= max, || {
            format!("{what} it took {p99:.1} ms instead of {max} (p99)")
        });
    }
    Ok(report)
}

fn phase(report: &mut Report, name: &'static str, cancelled: &Cancelled, size: &Size) {
    let ms = cancelled.seen_ms;
    report.figure(name, ms);
    let is_met = !size.is_timed || ms <= PHASE_MAX_MS;
    report.require(is_met, || format!("{name} is {ms:.1} instead of {PHASE_MAX_MS}"));
}

fn answer(model_index: usize, prompt: &str) -> SubmitRequest {
    let mut request = infer(model_index, prompt.to_owned());
    if let Operation::Infer(infer) = &mut request.operation {
        infer.max_tokens = Some(TOKENS);
        infer.temperature = Some(0.0);
    }
    request
}

/// Submits a job, cancels it at `moment`, and follows it to its end. `None` when the moment did not come
/// before the next phase.
async fn cancel(daemons: &Daemons, request: SubmitRequest, moment: Moment) -> Result<Option<Cancelled>> {
    let mut control = Connection::open(daemons.address()).await?;
    let job = api::submit(&mut control, daemons.operator_key(), &request).await?.job_id;
    timeout(LIMIT, cancel_job(daemons, &mut control, &job, moment))
        .await
        .with_context(|| format!("job {job}, cancelled at {moment:?}, does not end"))?
}

async fn cancel_job(
    daemons: &Daemons,
    control: &mut Connection,
    job: &JobId,
    moment: Moment,
) -> Result<Option<Cancelled>> {
    let (key, path) = (daemons.operator_key(), format!("/v1/jobs/{job}"));
    let mut reading = Connection::open(daemons.address()).await?;
    let mut stream = match Stream::open(&mut reading, key, job, 0).await? {
        Opened::Stream(stream) => stream,
        Opened::Refused(status, body) => bail!("the stream of {job} was refused: {status} {body}"),
    };
    let mut asked = None;
    let mut is_late = false;
    loop {
        let Next::Event(event) = stream.next().await? else { bail!("{job} is done without an end") };
        let line: JobLine = serde_json::from_slice(event.data).context("an event that makes no sense")?;
        if let JobEvent::End(end) = line.event {
            let Some(asked): Option<Instant> = asked else { bail!("{job} ended by itself: {end:?}") };
            let seen_ms = asked.elapsed().as_secs_f64() * 1e3;
            if !is_late && end.state != EndState::Cancelled {
                bail!("{job} was cancelled and ended so: {end:?}");
            }
            // What the request was answered stays unread: its connection is not used again.
            return Ok((!is_late).then_some(Cancelled { seen_ms, end: *end }));
        }
        if asked.is_none() && (moment.has_come(&line.event) || moment.is_over(&line.event)) {
            is_late = !moment.has_come(&line.event);
            asked = Some(Instant::now());
            control.send(&[Request::new("DELETE", &path, key)]).await?;
        }
    }
}

impl Moment {
    fn has_come(self, event: &JobEvent) -> bool {
        match (self, event) {
            (Self::Accepted, _) => true,
            (Self::Loading, JobEvent::Progress(progress)) => progress.phase == Phase::Load,
            (Self::Prefill, JobEvent::Progress(progress)) => progress.phase == Phase::Prefill,
            (Self::Tokens(wanted), JobEvent::Token(Token { index, .. })) => index + 1 >= wanted,
            _ => false,
        }
    }

    /// Whether what was waited for cannot come any more.
    fn is_over(self, event: &JobEvent) -> bool {
        match event {
            JobEvent::Token(_) => !matches!(self, Self::Tokens(_)),
            JobEvent::Progress(progress) => self == Self::Loading && progress.phase == Phase::Prefill,
            _ => false,
        }
    }
}

/// Cancels an answer whose model is being loaded, with another model if one was loaded too soon.
async fn cancel_loading(daemons: &Daemons) -> Result<Cancelled> {
    for model in 0..LOADS_MAX {
        if let Some(cancelled) = cancel(daemons, answer(model, "hello"), Moment::Loading).await? {
            return Ok(cancelled);
        }
    }
    bail!("{LOADS_MAX} models were loaded before that could be cancelled")
}

/// Cancels an answer that waits for another one of the same model.
async fn cancel_queued(daemons: &Daemons) -> Result<Cancelled> {
    let key = daemons.operator_key();
    let mut control = Connection::open(daemons.address()).await?;
    let first = SubmitRequest { detached: true, ..answer(LOADS_MAX, "Tell me a long story.") };
    let first = api::submit(&mut control, key, &first).await?.job_id;
    let queued = cancel(daemons, answer(LOADS_MAX, "hello"), Moment::Accepted).await?;
    let moment = Moment::Tokens(1);
    let mut control = Connection::open(daemons.address()).await?;
    timeout(LIMIT, cancel_job(daemons, &mut control, &first, moment)).await.context("it does not end")??;
    queued.context("every job is accepted first")
}

/// Runs a command that answers shortly, and tells how many milliseconds after its end event it ended.
async fn exit(daemons: &Daemons) -> Result<f64> {
    let mut command = daemons.command();
    command.args(["infer", "--no-stdin", "--output", "ndjson", "--max-tokens", "3"]);
    command.args(["--model", &format!("load-{LOADS_MAX}"), "hello"]).stdout(Stdio::piped());
    let mut child = command.spawn().context("`rbee infer` cannot be run")?;
    let mut lines = BufReader::new(child.stdout.take().context("stdout was asked to be piped")?).lines();
    let ending = async {
        let mut ended = None;
        while let Some(line) = lines.next_line().await.context("`rbee infer` cannot be heard")? {
            if line.contains("\"kind\":\"end\"") {
                ended = Some(Instant::now());
            }
        }
        let status = child.wait().await.context("`rbee infer` cannot be waited for")?;
        let ended =
            ended.with_context(|| format!("`rbee infer` ended with {status} and without an end event"))?;
        if !status.success() {
            bail!("`rbee infer` ended with {status}");
        }
        Ok(ended.elapsed().as_secs_f64() * 1e3)
    };
    timeout(LIMIT, ending).await.context("`rbee infer` does not end")?
}
