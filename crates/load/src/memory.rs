//! What a worker takes of the memory, beside what it said beforehand; and that many requests add nothing.

use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use fastrand::Rng;
use rbee_protocol::WorkerMemory;
use rustix::process::Pid;
use tokio::task::JoinSet;

use crate::daemons::Daemons;
use crate::infer::Model;
use crate::infer::ask::{Answer, Input, Question, Server};
use crate::printer::say;
use crate::report::Report;
use crate::stats::{mib, rss_bytes};

const CONTEXTS: [u32; 3] = [1024, 4096, 8192];
/// What was computed is as near as this to what is measured.
const ERROR_MAX: f64 = 0.05;

/// So many prompts, each as long as the context, are answered at once: what is computed is there from the beginning, and
/// what lies in between has its full size with them.
const FULL_PROMPTS: usize = 2;
/// So often a text repeats itself until the model goes on with it.
const REPEATS: usize = 12;
/// All that our texts are made of.
const WORDS: [&str; 16] = [
    "river", "stone", "bright", "seven", "walk", "under", "music", "letter", "green", "window", "slow",
    "bread", "winter", "open", "small", "story",
];
/// Memory does not depend on them, and llama.cpp's threads wait for one another by spinning.
const THREADS: (&str, &str) = ("RBEE_THREADS", "1");

/// What is kept of conversations in the second part: little, so that it is soon full.
const SAVED_MB: &str = "64";
const REQUESTS: usize = 200;
/// Requests before them, which fill what is kept.
const REQUESTS_BEFORE: usize = 60;
const AT_ONCE: usize = 6;
/// Memory does not grow by more than this part of it.
const GROWTH_MAX: f64 = 0.02;

struct Size<'a> {
    models: &'a [Model],
    contexts: &'a [u32],
    /// Before what is measured, and then.
    requests: (usize, usize),
    /// Whether growth is a condition: few requests are noise.
    is_long: bool,
}

/// Fills workers of several sizes, has one answer many requests, and reports.
pub(crate) async fn run(programs: &Path, short: bool, seed: u64) -> Result<Report> {
    let size = if short {
        Size { models: &[Model::Smollm2], contexts: &[512], requests: (2, 6), is_long: false }
    } else {
        let requests = (REQUESTS_BEFORE, REQUESTS);
        Size { models: Model::value_variants(), contexts: &CONTEXTS, requests, is_long: true }
    };
    let mut rng = Rng::with_seed(seed);
    let mut report = Report::new("memory");
    report.figure("seed", seed);
    let columns = [
        "model",
        "context",
        "weights MiB",
        "computed values MiB",
        "buffers MiB",
        "process MiB",
        "in all MiB",
        "measured MiB",
        "ratio",
    ];
    report.row(columns.map(str::to_owned).to_vec());
    for model in size.models {
        for context in size.contexts {
            compare(programs, *model, *context, &mut rng, &mut report).await?;
        }
        last(programs, *model, &size, &mut rng, &mut report).await?;
    }
    Ok(report)
}

/// Compares what a worker said with what it takes when all of its memory was in use.
async fn compare(
    programs: &Path,
    model: Model,
    context: u32,
    rng: &mut Rng,
    report: &mut Report,
) -> Result<()> {
    let context_text = context.to_string();
    // Nothing is kept, which is no part of what was computed.
    let settings =
        [("RBEE_CONTEXT_LENGTH", &*context_text), ("RBEE_SAVED_MB", "0"), ("RBEE_SLOTS", "8"), THREADS];
    let daemons = Daemons::start_real(programs, &model.file(programs)?, 1, &settings).await?;
    let server = Server::rbee(&daemons);
    let words_per_token = words_per_token(&server, rng).await?;
    let (worker, memory) = worker(&daemons).await?;

    let words = (f64::from(context - 48) * words_per_token) as usize;
    let mut asking = JoinSet::new();
    for _ in 0..FULL_PROMPTS {
        let (server, text) = (server.clone(), text(rng, words));
        asking.spawn(async move { ask(&server, text, 24, None).await });
    }
    let mut tokens = 0;
    while let Some(answer) = asking.join_next().await {
        tokens += answer.context("a question does not panic")??.prompt_tokens;
    }
    have_drafts(&server).await?;
    let measured = rss_bytes(worker)?;
    let computed = memory.total_bytes();
    let ratio = measured as f64 / computed as f64;
    let parts = [memory.weights_bytes, memory.context_bytes, memory.buffers_bytes, memory.process_bytes];
    let mut row = vec![model.name().to_owned(), context.to_string()];
    row.extend(parts.into_iter().chain([computed, measured]).map(|bytes| format!("{:.1}", mib(bytes))));
    row.push(format!("{ratio:.3}"));
    say(&format!("{} ({tokens} tokens)", row.join(" | ")));
    report.row(row);
    report.require((ratio - 1.0).abs() <= ERROR_MAX, || {
        format!("{} takes {ratio:.3} of what was computed with a context of {context}", model.name())
    });
    daemons.stop().await
}

/// Has a worker answer many requests of mixed length, which leave its memory as it was.
async fn last(
    programs: &Path,
    model: Model,
    size: &Size<'_>,
    rng: &mut Rng,
    report: &mut Report,
) -> Result<()> {
    let settings =
        [("RBEE_CONTEXT_LENGTH", "1024"), ("RBEE_SAVED_MB", SAVED_MB), ("RBEE_SLOTS", "8"), THREADS];
    let daemons = Daemons::start_real(programs, &model.file(programs)?, 1, &settings).await?;
    let server = Server::rbee(&daemons);
    let words_per_token = words_per_token(&server, rng).await?;
    let (worker, memory) = worker(&daemons).await?;
    let (before, requests) = size.requests;
    answer_many(&server, before, words_per_token, rng).await?;
    have_drafts(&server).await?;
    let begin = rss_bytes(worker)?;
    let mut most = begin;
    let mut left = requests;
    while left > 0 {
        let now = left.min(20);
        answer_many(&server, now, words_per_token, rng).await?;
        left -= now;
        most = most.max(rss_bytes(worker)?);
    }
    let end = rss_bytes(worker)?;
    let growth = end as f64 / begin as f64 - 1.0;
    let name = model.name();
    say(&format!("{name}: {requests} requests, {:.1} to {:.1} MiB", mib(begin), mib(end)));
    report.figure(format!("{name}: requests"), requests);
    for (what, bytes) in [("begin", begin), ("max", most), ("end", end)] {
        report.figure(format!("{name}: rss_{what}_mib"), mib(bytes));
    }
    let bound = memory.total_bytes() + memory.saved_bytes_max;
    report.figure(format!("{name}: computed_with_saved_mib"), mib(bound));
    report.require(!size.is_long || growth <= GROWTH_MAX, || {
        format!("{name}: {requests} requests let the memory grow by {:.1} %", growth * 100.0)
    });
    let allowed = bound as f64 * (1.0 + ERROR_MAX);
    report.require(most as f64 <= allowed, || format!("{name}: the memory grew beyond its bound"));
    daemons.stop().await
}

/// So many requests of mixed length, some at once.
async fn answer_many(server: &Server, count: usize, words_per_token: f64, rng: &mut Rng) -> Result<()> {
    let mut asking = JoinSet::new();
    for _ in 0..count {
        let tokens = 10 + rng.u32(..300);
        let (server, text) = (server.clone(), text(rng, (f64::from(tokens) * words_per_token) as usize + 1));
        let (answer_tokens, seed) = (4 + rng.u32(..60), Some(rng.u64(..)));
        asking.spawn(async move { ask(&server, text, answer_tokens, seed).await });
        if asking.len() == AT_ONCE
            && let Some(answer) = asking.join_next().await
        {
            answer.context("a question does not panic")??;
        }
    }
    while let Some(answer) = asking.join_next().await {
        answer.context("a question does not panic")??;
    }
    Ok(())
}

/// Has it compute the longest drafts, behind each token of which the model says what follows: of a text that repeats
/// itself.
async fn have_drafts(server: &Server) -> Result<()> {
    ask(server, vec![WORDS.join(" "); REPEATS].join(" "), 48, None).await.map(drop)
}

async fn ask(server: &Server, text: String, max_tokens: u32, seed: Option<u64>) -> Result<Answer> {
    let question = Question { input: Input::Text(text), seed, without: Vec::new() };
    // It may have nothing to add.
    server.ask(&question, max_tokens).await?.stop_at_end().await
}

/// How many of our words make up a token, as the model divides them.
async fn words_per_token(server: &Server, rng: &mut Rng) -> Result<f64> {
    const COUNT: usize = 200;
    let answer = ask(server, text(rng, COUNT), 1, None).await?;
    Ok(COUNT as f64 / answer.prompt_tokens.max(1) as f64)
}

/// Words that no text has in this order, so that nothing of it was computed before.
fn text(rng: &mut Rng, words: usize) -> String {
    let words: Vec<&str> = (0..words.max(1)).map(|_| WORDS[rng.usize(..WORDS.len())]).collect();
    words.join(" ")
}

/// The worker, and what it computed beforehand.
async fn worker(daemons: &Daemons) -> Result<(Pid, WorkerMemory)> {
    let report = daemons.hive_report().await?;
    let worker = report.workers.first().context("there is no worker")?;
    let memory =
        worker.loaded.and_then(|loaded| loaded.memory).context("the worker did not say what it needs")?;
    let pid = i32::try_from(worker.pid).ok().and_then(Pid::from_raw).context("a worker without a process")?;
    Ok((pid, memory))
}
