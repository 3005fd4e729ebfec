//! What it costs the queen to translate a job's stream for another API.
//!
//! The same answers, of a worker that computes nothing, are read as jobs and through each API, and the time that the
//! queen computes for each token is compared.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};

use crate::daemons::{Daemons, model};
use crate::printer::say;
use crate::report::Report;
use crate::stats::{self, Samples};

/// The most that a token may cost more than in the job's own stream, in µs.
const COST_MAX_US: f64 = 50.0;

/// A path, and the field of its requests that has the text, if that is not in messages.
const APIS: [(&str, Option<&str>); 5] = [
    ("/v1/chat/completions", None),
    ("/v1/completions", Some("prompt")),
    ("/v1/responses", Some("input")),
    ("/v1/messages", None),
    ("/api/chat", None),
];

/// Reads so many answers through each API, and reports.
pub(crate) async fn run(programs: &Path, short: bool) -> Result<Report> {
    let (rounds, tokens) = if short { (1, 500) } else { (15, 10_000) };
    let daemons = Daemons::start(programs, 1, &[("RBEE_OLLAMA", "true")]).await?;
    let mut costs: Vec<Samples> = (0..=APIS.len()).map(|_| Samples::default()).collect();
    for round in 0..=rounds {
        let text = format!("tokens {tokens} 0 word{round} ");
        let mut measured = vec![read_job(&daemons, &text, tokens).await?];
        for (path, field) in APIS {
            let mut request = json!({"model": model(0), "max_tokens": 1, "stream": true});
            match field {
                Some(field) => request[field] = text.as_str().into(),
                None => request["messages"] = json!([{"role": "user", "content": text}]),
            }
            measured.push(read(&daemons, path, &request, tokens).await?);
        }
        say(&format!("round {round} of {rounds}: {measured:.1?} µs of the queen's for a token"));
        // The first has the worker started.
        if round > 0 {
            costs.iter_mut().zip(measured).for_each(|(costs, cost)| costs.add(cost));
        }
    }
    daemons.stop().await?;
    let mut report = Report::new("apis");
    let own = costs[0].quantile(0.5);
    report.figure("the job's own stream: CPU time of the queen for a token, µs", rounded(own));
    for ((path, _), costs) in APIS.iter().zip(&mut costs[1..]) {
        let cost = costs.quantile(0.5);
        report.figure(format!("{path}: CPU time of the queen for a token, µs"), rounded(cost));
        report.figure(format!("{path}: of that for the translation, µs"), rounded(cost - own));
        // The clock's ticks are coarse beside few tokens.
        if !short {
            report.require(cost - own <= COST_MAX_US, || {
                format!("{path} costs {:.1} µs for a token, more than {COST_MAX_US}", cost - own)
            });
        }
    }
    Ok(report)
}

fn rounded(us: f64) -> f64 {
    (us * 10.0).round() / 10.0
}

async fn read_job(daemons: &Daemons, text: &str, tokens: u64) -> Result<f64> {
    let request =
        json!({"operation": "infer", "model": model(0), "messages": [{"role": "user", "content": text}]});
    let before = Clock::now(daemons)?;
    let answer = send(daemons, "/v1/jobs", &request).await?;
    let submitted: Value = answer.json().await.context("no job")?;
    let stream = submitted["sse_url"].as_str().context("no stream")?;
    let http = http()?.get(format!("http://{}{stream}", daemons.address()));
    let answer = http.header(AUTHORIZATION, format!("Bearer {}", daemons.operator_key())).send().await?;
    count(answer, "event: token", tokens).await?;
    before.us_for_each(daemons, tokens)
}

async fn read(daemons: &Daemons, path: &str, request: &Value, tokens: u64) -> Result<f64> {
    let before = Clock::now(daemons)?;
    let answer = send(daemons, path, request).await?;
    count(answer, "word", tokens).await.with_context(|| path.to_owned())?;
    before.us_for_each(daemons, tokens)
}

async fn send(daemons: &Daemons, path: &str, request: &Value) -> Result<reqwest::Response> {
    let http = http()?.post(format!("http://{}{path}", daemons.address()));
    let http = http.header(AUTHORIZATION, format!("Bearer {}", daemons.operator_key()));
    let answer = http.header(CONTENT_TYPE, "application/json").body(request.to_string()).send().await?;
    let status = answer.status();
    if !status.is_success() {
        bail!("{path} answers {status}: {}", answer.text().await.unwrap_or_default());
    }
    Ok(answer)
}

fn http() -> Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().build().context("the HTTP library cannot be set up")
}

/// Reads an answer to its end, which must have a line with `word` for each token at least.
async fn count(answer: reqwest::Response, word: &str, tokens: u64) -> Result<()> {
    let text = answer.text().await.context("the answer is cut")?;
    let lines = text.lines().filter(|line| line.contains(word)).count() as u64;
    if lines < tokens {
        bail!("{lines} lines for {tokens} tokens");
    }
    Ok(())
}

/// What the queen had computed at a time.
struct Clock(Duration);

impl Clock {
    fn now(daemons: &Daemons) -> Result<Self> {
        Ok(Self(stats::cpu(daemons.queen()?)?))
    }

    #[expect(clippy::cast_precision_loss, reason = "some thousand tokens")]
    fn us_for_each(self, daemons: &Daemons, tokens: u64) -> Result<f64> {
        let spent = stats::cpu(daemons.queen()?)?.saturating_sub(self.0);
        Ok(spent.as_secs_f64() * 1e6 / tokens as f64)
    }
}
