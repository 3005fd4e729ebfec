//! Why a job runs where it does, or would.

use anyhow::Result;
use rbee_narration::{Line, printable};
use rbee_protocol::{ApiError, Client, JobEvent, JobId};
use serde::Serialize;

use crate::cli::Output;
use crate::error::Failure;
use crate::printer::Printer;

/// Whether a line is about where the job runs: what those say who decide it, and a worker of the room that it found.
fn is_about_place(line: &Line) -> bool {
    match line.actor.as_str() {
        "queen" | "hive" => line.action != "job_create",
        _ => line.action == "memory",
    }
}

/// What `--output json` prints.
#[derive(Serialize)]
struct Explanation<'a> {
    job_id: &'a JobId,
    lines: &'a [Line],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ApiError>,
}

/// Prints what was said of the place of `job`, up to its event number `last` or to its end, and returns what it failed
/// with.
pub(crate) async fn explain(
    client: &Client,
    job: &JobId,
    last: u64,
    printer: &mut Printer,
) -> Result<Option<ApiError>, Failure> {
    let mut events = client.follow(job, 0);
    let mut lines = Vec::new();
    let mut error = None;
    let mut seq = 0;
    while seq < last
        && let Some(followed) = events.next().await?
    {
        seq = followed.seq;
        match followed.event {
            JobEvent::Narration(line) if is_about_place(&line) => {
                if printer.output() == Output::Ndjson {
                    printer.json(&line)?;
                }
                lines.push(line);
            }
            JobEvent::End(end) => error = end.error,
            _ => {}
        }
    }
    match printer.output() {
        Output::Text if lines.is_empty() => printer.note("Nothing was chosen for this job")?,
        Output::Text => printer.page(&page(&lines))?,
        Output::Json => printer.json(&Explanation { job_id: job, lines: &lines, error: error.as_ref() })?,
        Output::Ndjson => {}
    }
    Ok(error)
}

/// The same, of a job that was submitted for this alone and fails as it would.
pub(crate) async fn rehearse(client: &Client, job: &JobId, printer: &mut Printer) -> Result<u8> {
    match explain(client, job, u64::MAX, printer).await? {
        Some(error) => Err(Failure::from(error).into()),
        None => Ok(0),
    }
}

fn page(lines: &[Line]) -> String {
    lines.iter().map(|line| format!("{:<6}  {}\n", printable(&line.actor), printable(&line.human))).collect()
}
