//! Reading a job's stream in every form in which it can be had, and checking what comes.

use anyhow::{Context, Result, bail};
use rbee_protocol::JobId;

use crate::canary::{Course, Watch};
use crate::http::{Connection, Request};
use crate::stream::{Next, Opened, Stream};

/// Reads on from where `course` is: to the end, or until it has seen event number `until`.
///
/// The connection cannot be used again unless the end was reached, which the answer says.
pub(crate) async fn events(
    connection: &mut Connection,
    key: &str,
    watch: &Watch,
    course: &mut Course<'_>,
    until: Option<u64>,
) -> Result<bool> {
    let mut stream = match Stream::open(connection, key, watch.job(), course.seq()).await? {
        Opened::Stream(stream) => stream,
        Opened::Refused(status, body) => bail!("the stream of {} was refused: {status} {body}", watch.job()),
    };
    loop {
        match stream.next().await? {
            Next::Event(event) => course.take(&event)?,
            Next::Done => return Ok(true),
        }
        if until.is_some_and(|until| course.seq() >= until) {
            return Ok(false);
        }
    }
}

/// Reads a stream whole as lines of JSON, and returns how many tokens it has.
pub(crate) async fn lines(connection: &mut Connection, key: &str, watch: &Watch) -> Result<u64> {
    let body = form(connection, key, watch.job(), "application/x-ndjson").await?;
    let mut tokens = 0;
    for (place, line) in body.lines().enumerate() {
        if !line.starts_with(&format!("{{\"seq\":{},", place + 1)) {
            bail!("line {} of {}: {line}", place + 1, watch.job());
        }
        let is_token = line.contains("\"kind\":\"token\"");
        watch.bytes(line.as_bytes(), usize::from(is_token))?;
        tokens += u64::from(is_token);
    }
    all_tokens(watch, tokens)
}

/// Reads a stream whole as text, and returns how many tokens it has.
pub(crate) async fn text(connection: &mut Connection, key: &str, watch: &Watch) -> Result<u64> {
    let body = form(connection, key, watch.job(), "text/plain").await?;
    let tokens = usize::try_from(watch.tokens()).context("a few tokens")?;
    watch.bytes(body.as_bytes(), tokens)?;
    Ok(watch.tokens())
}

async fn form(connection: &mut Connection, key: &str, job: &JobId, accept: &str) -> Result<String> {
    let fields = format!("Accept: {accept}\r\n");
    let path = format!("/v1/jobs/{job}/stream");
    let answer = connection.ask(Request { fields: &fields, ..Request::new("GET", &path, key) }).await?;
    if answer.status != 200 {
        bail!("the stream of {job} was refused: {} {}", answer.status, answer.body);
    }
    Ok(answer.body)
}

fn all_tokens(watch: &Watch, tokens: u64) -> Result<u64> {
    if tokens != watch.tokens() {
        bail!("{} has {tokens} tokens instead of {}", watch.job(), watch.tokens());
    }
    Ok(tokens)
}
