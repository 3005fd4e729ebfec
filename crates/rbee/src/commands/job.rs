//! `rbee job …`: jobs as the queen remembers them.

use anyhow::Result;
use rbee_narration::{printable, printable_text};
use rbee_protocol::{ApiError, Client, ClientError, ErrorCode, Followed, JobEvent, JobId, JobInfo, JobState};
use serde::Serialize;
use serde_json::json;

use crate::cli::{Job, Output};
use crate::commands::explain::explain;
use crate::commands::question::now_ms;
use crate::connection::Connection;
use crate::error::Failure;
use crate::follow::{Outcome, View, follow};
use crate::human::{ago, duration};
use crate::printer::Printer;
use crate::signals::Signals;
use crate::table::{Look, Table, facts};

/// An ambiguous id is answered with so many of the jobs it may mean.
const CANDIDATES_SHOWN: usize = 10;

/// What `job show` shows.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    job: JobInfo,
    /// Why it failed or was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ApiError>,
}

/// Runs a `rbee job` command.
pub(crate) async fn run(command: Job, signals: &mut Signals, printer: &mut Printer) -> Result<u8> {
    let mut connection = Connection::open(printer).await?;
    let client = &connection.client;
    match command {
        Job::List { all } => {
            let list = if all { client.all_jobs().await? } else { client.jobs().await? };
            match printer.output() {
                Output::Text => printer.page(&table(&list.jobs, all, printer.look()))?,
                Output::Json => printer.json(&list)?,
                Output::Ndjson => list.jobs.iter().try_for_each(|job| printer.json(job))?,
            }
            Ok(0)
        }
        Job::Show { id } => {
            let job = find(client, &id).await?;
            let shown = Shown { error: error_of(client, &job).await?, job };
            match printer.output() {
                Output::Text => printer.page(&about(&shown, printer.look()))?,
                Output::Json | Output::Ndjson => printer.json(&shown)?,
            }
            Ok(0)
        }
        Job::Attach { id } => {
            let job = find(client, &id).await?;
            Ok(read(&job, &mut connection, signals, printer).await?.exit_code()?)
        }
        Job::Explain { id } => {
            let job = find(client, &id).await?;
            let explained = explain(client, &job.job_id, job.events, printer).await;
            match explained {
                Ok(None) => {}
                Ok(Some(error)) => printer.error(&error.message, error.hint.as_deref()),
                Err(failure) => return Err(refused(client, &job, failure).await.into()),
            }
            Ok(0)
        }
        Job::Logs { id } => {
            let job = find(client, &id).await?;
            let outcome = read(&job, &mut connection, signals, printer).await?;
            // The job's failure is part of what it printed, and not ours.
            if let Some(Failure::Told { message, hint, .. }) = outcome.error() {
                printer.error(&message, hint.as_deref());
            }
            Ok(0)
        }
        Job::Cancel { id } => {
            let job = find(client, &id).await?;
            cancel(client, &job, printer).await
        }
    }
}

/// Reads a job's stream from its beginning.
async fn read(
    job: &JobInfo,
    connection: &mut Connection,
    signals: &mut Signals,
    printer: &mut Printer,
) -> Result<Outcome, Failure> {
    let view = View::of_another(job.job_id.clone(), &job.operation);
    match follow(view, connection, signals, printer).await {
        Ok(outcome) => Ok(outcome),
        Err(failure) => Err(refused(&connection.client, job, failure).await),
    }
}

/// Why a job that we have seen has no stream for us: to an operator, too, somebody else's answers as if there were none.
async fn refused(client: &Client, job: &JobInfo, failure: Failure) -> Failure {
    let JobInfo { job_id, principal, .. } = job;
    // One that is not listed any more has made room for others, whose ever it was.
    if failure.exit_code() != ErrorCode::NotFound.exit_code() || client.job(job_id).await.is_err() {
        return failure;
    }
    let message = format!("{job_id} is {principal}'s, and its stream is for its owner alone");
    let hint = format!("`rbee job show {job_id}` tells how it stands, `rbee job cancel {job_id}` ends it");
    Failure::new(ErrorCode::NotFound, message, hint)
}

/// What a job ended with, which its last event says. That of somebody else's is not for us.
async fn error_of(client: &Client, job: &JobInfo) -> Result<Option<ApiError>> {
    if !matches!(job.state, JobState::Failed | JobState::Cancelled) {
        return Ok(None);
    }
    match client.follow(&job.job_id, job.events.saturating_sub(1)).next().await {
        Ok(Some(Followed { event: JobEvent::End(end), .. })) => Ok(end.error),
        Ok(_) => Ok(None),
        Err(ClientError::Api(error)) if error.code == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn cancel(client: &Client, job: &JobInfo, printer: &mut Printer) -> Result<u8> {
    let id = &job.job_id;
    let had_ended = job.state.has_ended();
    if !had_ended {
        let told = client.cancel(id).await?;
        // The end event is what counts; whatever comes before it need not be read again.
        let mut events = client.follow(id, job.events.saturating_sub(1));
        loop {
            match events.next().await {
                Ok(Some(followed)) => {
                    if printer.output() == Output::Ndjson && matches!(followed.event, JobEvent::End(_)) {
                        printer.json_line(&followed.json)?;
                    }
                }
                Ok(None) => break,
                Err(ClientError::Api(error)) if error.code == ErrorCode::NotFound => {
                    return told_to_stop(&told, printer);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    let job = client.job(id).await?;
    match printer.output() {
        Output::Text => printer.page(&fate(&job, had_ended))?,
        Output::Json => printer.json(&job)?,
        Output::Ndjson if had_ended => printer.json(&json!({"job_id": id, "state": job.state}))?,
        Output::Ndjson => {}
    }
    Ok(0)
}

/// Says that somebody else's job was told to stop. Its stream, which would say when it has, is not for us.
fn told_to_stop(job: &JobInfo, printer: &mut Printer) -> Result<u8> {
    match printer.output() {
        Output::Text => {
            printer.page(&format!(
                "{}, of {}, is told to stop\n",
                job.job_id,
                printable(job.principal.as_str())
            ))?;
        }
        Output::Json | Output::Ndjson => printer.json(job)?,
    }
    Ok(0)
}

/// What became of a job that was to be cancelled.
fn fate(job: &JobInfo, had_ended: bool) -> String {
    let (id, state) = (&job.job_id, job.state.name());
    match (had_ended, job.state) {
        (true, _) => format!("{id} had already ended: {state}\n"),
        (false, JobState::Cancelled) => format!("{id} is cancelled\n"),
        (false, _) => format!("{id} ended before it could be cancelled: {state}\n"),
    }
}

/// The job whose id is, or begins with, `text`.
async fn find(client: &Client, text: &str) -> Result<JobInfo> {
    let Ok(id) = text.parse::<JobId>() else {
        return Ok(pick(text, client.jobs().await?.jobs)?);
    };
    match client.job(&id).await {
        // Of the jobs of others there is nothing to learn here: only our own are looked at.
        Err(ClientError::Api(mut error)) if error.code == ErrorCode::NotFound => {
            if let Some(near) = near(id.as_str(), &client.jobs().await?.jobs) {
                error.hint = Some(did_you_mean(near));
            }
            Err(Failure::from(error).into())
        }
        job => Ok(job?),
    }
}

/// The one of the jobs whose id is mistyped with one wrong digit, or two that changed places.
fn near<'j>(typed: &str, jobs: &'j [JobInfo]) -> Option<&'j JobId> {
    let is_near = |id: &&JobId| {
        // What was typed may be the beginning of an id.
        let start = id.as_str().get(..typed.len()).unwrap_or(id.as_str());
        let (typed, start) = (typed.as_bytes(), start.as_bytes());
        let wrong: Vec<usize> = (0..start.len()).filter(|&at| typed[at] != start[at]).collect();
        match wrong[..] {
            [_] => true,
            [a, b] => b == a + 1 && typed[a] == start[b] && typed[b] == start[a],
            _ => false,
        }
    };
    let mut near = jobs.iter().map(|job| &job.job_id).filter(is_near);
    // Where it may be any of several, none is as good as another.
    near.next().filter(|_| near.next().is_none())
}

fn did_you_mean(id: &JobId) -> String {
    format!("did you mean `{id}`? `rbee job list` shows the jobs there are")
}

/// The one job whose id begins with `text`, which may lack the `job-`.
fn pick(text: &str, jobs: Vec<JobInfo>) -> Result<JobInfo, Failure> {
    let digits = text.strip_prefix("job-").unwrap_or(text).to_ascii_lowercase();
    let hint = "`rbee job list` shows the jobs there are";
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        let message = format!("`{text}` is neither a job's id nor the beginning of one");
        return Err(Failure::new(ErrorCode::Usage, message, hint));
    }
    let prefix = format!("job-{digits}");
    let near = near(&prefix, &jobs).map(did_you_mean);
    let mut matching: Vec<_> =
        jobs.into_iter().filter(|job| job.job_id.as_str().starts_with(&prefix)).collect();
    match matching.pop() {
        Some(job) if matching.is_empty() => Ok(job),
        Some(job) => {
            matching.push(job);
            let ids: Vec<_> = matching.iter().take(CANDIDATES_SHOWN).map(|job| job.job_id.as_str()).collect();
            let more = if matching.len() > ids.len() { "\n…" } else { "" };
            let message = format!("`{text}` may mean any of these jobs:\n{}{more}", ids.join("\n"));
            Err(Failure::new(ErrorCode::Usage, message, "add digits until it fits one job only"))
        }
        None => {
            let hint = near.unwrap_or_else(|| hint.to_owned());
            Err(Failure::new(ErrorCode::NotFound, format!("there is no job `{text}`"), hint))
        }
    }
}

/// The jobs as a table, with their owners where they are not all ours.
fn table(jobs: &[JobInfo], with_owners: bool, look: Look) -> String {
    if jobs.is_empty() {
        return "no jobs\n".to_owned();
    }
    let now_ms = now_ms();
    let table = if with_owners {
        Table::new(["JOB", "OWNER", "OPERATION", "STATE", "CREATED", "TOOK"]).states(3)
    } else {
        Table::new(["JOB", "OPERATION", "STATE", "CREATED", "TOOK"]).states(2)
    };
    let mut table = table.keep_whole(0);
    for job in jobs {
        let (id, operation, state) =
            (job.job_id.to_string(), job.operation.clone(), job.state.name().to_owned());
        let created = ago(now_ms, job.created_at_ms);
        let took = job.ended_at_ms.map(|ended| duration(ended.saturating_sub(job.created_at_ms)));
        let took = took.unwrap_or_default();
        if with_owners {
            table.row([id, job.principal.to_string(), operation, state, created, took]);
        } else {
            table.row([id, operation, state, created, took]);
        }
    }
    table.render(look)
}

fn about(Shown { job, error }: &Shown, look: Look) -> String {
    let now_ms = now_ms();
    let facts_of_job = [
        ("job", job.job_id.to_string()),
        ("operation", job.operation.clone()),
        ("state", job.state.name().to_owned()),
        ("created", ago(now_ms, job.created_at_ms)),
        ("ended", job.ended_at_ms.map_or_else(|| "not yet".to_owned(), |ended| ago(now_ms, ended))),
        ("owner", job.principal.to_string()),
        ("detached", if job.detached { "yes" } else { "no" }.to_owned()),
        ("events", job.events.to_string()),
        ("readers", job.readers.to_string()),
    ];
    let mut text = facts(facts_of_job, look);
    // Whole, also where it is longer than a line.
    if let Some(ApiError { message, hint, .. }) = error {
        text += &format!("\nerror: {}\n", printable_text(message));
        text += &hint.as_deref().map_or(String::new(), |hint| format!("hint: {}\n", printable_text(hint)));
    }
    text
}

#[cfg(test)]
mod tests {
    use rbee_protocol::PrincipalId;

    use super::*;

    const PIPE: Look = Look { width: None, bold: false };

    fn job(bits: u128) -> JobInfo {
        JobInfo {
            job_id: JobId::from_bits(bits),
            operation: "infer".to_owned(),
            state: JobState::Running,
            principal: PrincipalId::new("operator"),
            detached: false,
            created_at_ms: now_ms() - 65_000,
            ended_at_ms: None,
            events: 3,
            readers: 1,
        }
    }

    fn jobs() -> Vec<JobInfo> {
        vec![job(0xaa << 120), job(0xab << 120), job(0xb0 << 120)]
    }

    #[test]
    fn an_id_may_be_shortened_as_long_as_it_is_unique() {
        let check = |text, bits: u128| {
            assert_eq!(pick(text, jobs()).expect(text).job_id, JobId::from_bits(bits << 120));
        };
        check("b", 0xb0);
        check("job-b", 0xb0);
        check("job-aa", 0xaa);
        check("AB", 0xab);
        check("ab000000000000000000000000000000", 0xab);
    }

    #[test]
    fn an_ambiguous_id_is_answered_with_the_candidates() {
        let Err(Failure::Told { exit_code, message, .. }) = pick("job-a", jobs()) else {
            panic!("it is ambiguous")
        };
        assert_eq!(exit_code, 2);
        for bits in [0xaa_u128 << 120, 0xab << 120] {
            assert!(message.contains(JobId::from_bits(bits).as_str()), "{message}");
        }
        let Err(Failure::Told { message, .. }) = pick("0", (0..50).map(job).collect()) else {
            panic!("ambiguous")
        };
        assert!(message.ends_with('…') && message.lines().count() == 12, "{message}");
    }

    #[test]
    fn what_names_no_job_is_refused() {
        assert_eq!(pick("c", jobs()).expect_err("no such job").exit_code(), 66);
        for bad in ["", "job-", "latest", "../x"] {
            assert_eq!(pick(bad, jobs()).expect_err(bad).exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn a_wrong_digit_is_noticed_where_it_can_mean_one_job_only() {
        let jobs = [job(0x123456 << 104), job(0x987654 << 104)];
        let whole = JobId::from_bits(0x123456 << 104);
        for typed in ["job-123457", "job-124356", "job-1235", &whole.as_str().replace('6', "7")] {
            assert_eq!(near(typed, &jobs), Some(&whole), "{typed}");
        }
        for typed in ["job-124466", "job-135", "job-abc"] {
            assert_eq!(near(typed, &jobs), None, "{typed}");
        }
        assert_eq!(near("job-0", &jobs), None, "it may be either");
        let Err(Failure::Told { hint, .. }) = pick("123457", jobs.to_vec()) else {
            panic!("there is no such job")
        };
        assert!(hint.is_some_and(|hint| hint.contains(whole.as_str())));
    }

    #[test]
    fn jobs_are_listed_with_whole_ids() {
        let text = table(&[job(1)], false, Look { width: Some(20), bold: false });
        assert!(text.contains("job-00000000000000000000000000000001"), "{text}");
        let ended = JobInfo { state: JobState::Failed, ended_at_ms: Some(now_ms() - 60_000), ..job(1) };
        assert!(table(&[ended], false, PIPE).ends_with("infer      failed  1 min ago  5 s\n"));
        assert_eq!(table(&[], false, PIPE), "no jobs\n");
        let theirs = JobInfo { principal: PrincipalId::new("ada"), ..job(1) };
        assert!(table(&[theirs], true, PIPE).ends_with("01  ada    infer      running  1 min ago\n"));
    }

    #[test]
    fn the_fate_of_a_job_is_told() {
        let fate = |state, had_ended| fate(&JobInfo { state, ..job(1) }, had_ended);
        assert!(fate(JobState::Cancelled, false).ends_with(" is cancelled\n"));
        assert!(
            fate(JobState::Succeeded, false).ends_with(" ended before it could be cancelled: succeeded\n")
        );
        assert!(fate(JobState::Failed, true).ends_with(" had already ended: failed\n"));
    }
}
