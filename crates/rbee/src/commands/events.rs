//! `rbee events`: what happens to the service.

use anyhow::Result;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rbee_narration::printable;
use rbee_protocol::{ErrorCode, JobRef, SystemEvent, SystemEventKind, WorkerRef};

use crate::cli::Output;
use crate::connection::Connection;
use crate::error::Failure;
use crate::human::count;
use crate::printer::Printer;
use crate::signals::Signals;

/// Shows what happens, from the event after number `after`, until Ctrl-C or until the queen stops.
pub(crate) async fn run(after: u64, signals: &mut Signals, printer: &mut Printer) -> Result<u8> {
    if printer.output() == Output::Json {
        let message = "`rbee events` has no end at which it could print one JSON value";
        return Err(Failure::new(ErrorCode::Usage, message, "use `--output ndjson`").into());
    }
    let client = Connection::open(printer).await?.client;
    let zone = TimeZone::system();
    let mut events = client.follow_system(after);
    signals.handle();
    loop {
        let event = tokio::select! {
            biased;
            exit_code = signals.first() => return Ok(exit_code),
            event = events.next() => event?,
        };
        match event {
            Some(followed) if printer.output() == Output::Ndjson => printer.json_line(&followed.json)?,
            Some(followed) => printer.page(&line(&followed.event, &zone))?,
            None => {
                printer.note("The queen has stopped.")?;
                return Ok(0);
            }
        }
    }
}

fn line(event: &SystemEvent, zone: &TimeZone) -> String {
    let at_ms = i64::try_from(event.at_ms).unwrap_or(i64::MAX);
    let at = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::MAX).to_zoned(zone.clone());
    let line = format!("{}  {:<16}  {}", at.strftime("%F %T"), event.kind.name(), about(&event.kind));
    format!("{}\n", printable(line.trim_end()))
}

fn about(kind: &SystemEventKind) -> String {
    match kind {
        SystemEventKind::QueenStarted { version } => format!("version {version}"),
        SystemEventKind::QueenStopping {} => String::new(),
        SystemEventKind::HiveReady { hive } => hive.to_string(),
        SystemEventKind::HiveGone { hive, reason } | SystemEventKind::HiveUnreachable { hive, reason } => {
            format!("{hive}: {reason}")
        }
        SystemEventKind::WorkerStarted(worker)
        | SystemEventKind::WorkerLoaded(worker)
        | SystemEventKind::WorkerEnded(worker) => {
            let WorkerRef { hive, worker, model } = worker;
            format!("{worker} on {hive}: {model}")
        }
        SystemEventKind::JobCreated(job) | SystemEventKind::JobStarted(job) => job_of(job),
        SystemEventKind::JobEnded { job, state, error } => {
            let error = error.map(|code| format!(" ({})", code.name())).unwrap_or_default();
            format!("{}: {}{error}", job_of(job), state.name())
        }
        SystemEventKind::JobsResumed { jobs } => count(*jobs, "job"),
        SystemEventKind::KeyCreated { name, role, by } => {
            format!("{name}, {}, by {by}", role.name())
        }
        SystemEventKind::KeyRevoked { name, by } => format!("{name}, by {by}"),
        SystemEventKind::Lost { from, to } => format!("events {from} to {to} are no longer kept"),
        SystemEventKind::Unknown => "something of a newer version; `--output ndjson` shows it".to_owned(),
    }
}

fn job_of(job: &JobRef) -> String {
    let JobRef { job_id, operation, principal } = job;
    format!("{job_id} {operation} of {principal}")
}

#[cfg(test)]
mod tests {
    use jiff::tz;
    use rbee_protocol::{HiveId, JobId, JobState, PrincipalId, WorkerId};

    use super::*;

    #[test]
    fn each_event_is_a_line_with_the_time_where_the_reader_is() {
        let job = JobRef {
            job_id: JobId::from_bits(1),
            operation: "infer".to_owned(),
            principal: PrincipalId::new("ada"),
        };
        let worker = WorkerRef {
            hive: HiveId::new("local"),
            worker: WorkerId::new("worker-1"),
            model: "a\nb".to_owned(),
        };
        let zone = TimeZone::fixed(tz::offset(2));
        for (kind, expected) in [
            (SystemEventKind::QueenStopping {}, "queen_stopping"),
            (SystemEventKind::WorkerLoaded(worker), "worker_loaded     worker-1 on local: a\\nb"),
            (
                SystemEventKind::JobEnded { job, state: JobState::Failed, error: Some(ErrorCode::Quota) },
                "job_ended         job-00000000000000000000000000000001 infer of ada: failed (quota)",
            ),
            (SystemEventKind::Lost { from: 1, to: 7 }, "lost              events 1 to 7 are no longer kept"),
        ] {
            let event = SystemEvent { seq: 7, at_ms: 1_700_000_000_000, kind };
            assert_eq!(line(&event, &zone), format!("2023-11-15 00:13:20  {expected}\n"));
        }
    }
}
