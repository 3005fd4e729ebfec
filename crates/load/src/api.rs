//! The job API's requests, over connections that a load test holds in its hands.

use anyhow::{Context, Result, bail};
use rbee_protocol::{ApiError, ErrorBody, JobId, JobInfo, JobState, SubmitRequest, Submitted};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

use crate::http::{Answer, Connection, Request};

/// After an answer that there is no room, a submission is tried again, for so long in all.
const BUSY_DELAY: Duration = Duration::from_millis(200);
const BUSY_TRIES: usize = 600;

/// A key that the queen made for a principal.
#[derive(Clone, Deserialize)]
pub(crate) struct Key {
    pub(crate) key: String,
}

/// Has the queen make a key for the user `name`.
pub(crate) async fn create_key(connection: &mut Connection, operator_key: &str, name: &str) -> Result<Key> {
    let body = json!({"name": name, "role": "user"}).to_string();
    let request = Request { body: Some(&body), ..Request::new("POST", "/v1/keys", operator_key) };
    let answer = connection.ask(request).await?;
    if answer.status != 201 {
        bail!("the queen makes no key: {} {}", answer.status, answer.body);
    }
    serde_json::from_str(&answer.body).context("a key that makes no sense")
}

/// Submits a job, again and again while the queen has no room.
pub(crate) async fn submit(
    connection: &mut Connection,
    key: &str,
    request: &SubmitRequest,
) -> Result<Submitted> {
    let body = serde_json::to_string(request).context("a request is plain data")?;
    for _ in 0..BUSY_TRIES {
        let request = Request { body: Some(&body), ..Request::new("POST", "/v1/jobs", key) };
        let answer = connection.ask(request).await?;
        match answer.status {
            201 => return serde_json::from_str(&answer.body).context("a submission that makes no sense"),
            // The queen tells nobody when it has room again.
            429 => tokio::time::sleep(BUSY_DELAY).await,
            status => bail!("the job was not taken: {status} {}", answer.body),
        }
    }
    bail!("the queen is full and stays full")
}

/// What the queen knows of a job besides its stream.
pub(crate) async fn info(connection: &mut Connection, key: &str, job: &JobId) -> Result<JobInfo> {
    let answer = connection.ask(Request::new("GET", &format!("/v1/jobs/{job}"), key)).await?;
    if answer.status != 200 {
        bail!("job {job}: {} {}", answer.status, answer.body);
    }
    serde_json::from_str(&answer.body).context("a job that makes no sense")
}

/// The error in an answer that must report one with `status`.
pub(crate) fn error(answer: &Answer, status: u16) -> Result<ApiError> {
    if answer.status != status {
        bail!("{} instead of {status}: {}", answer.status, answer.body);
    }
    let body: ErrorBody = serde_json::from_str(&answer.body)
        .with_context(|| format!("not an error of ours: {}", answer.body))?;
    Ok(body.error)
}

pub(crate) fn is_terminal(state: JobState) -> bool {
    matches!(state, JobState::Succeeded | JobState::Failed | JobState::Cancelled)
}
