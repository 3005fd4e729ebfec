//! `rbee` without a command: how things stand, and what to try. It starts nothing.

use std::time::Duration;

use anyhow::Result;
use rbee_home::{Glance, Home, QueenAddress, glance_at_queen, read_key};
use rbee_protocol::{Client, HiveState, Operation, QueenReport, WorkerState};
use serde_json::json;
use tokio::time::timeout;

use crate::cli::Output;
use crate::commands::question::answer_to;
use crate::printer::Printer;
use crate::table::{Look, facts};

/// A queen that takes longer is told of without what it knows.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

const TO_TRY: &str = "
  rbee infer \"Why is the sky blue?\"    answers, and starts what it needs
  rbee model list                      what there is to answer with
  rbee --help                          everything else; `rbee doctor` when something does not work
";

/// What there is to say of the queen.
enum Queen {
    Absent,
    Passing,
    /// It runs, and does not answer us.
    Silent(QueenAddress),
    Answers(QueenReport),
}

/// Says how things stand. What is wrong is for `rbee doctor` to tell.
pub(super) async fn show(printer: &mut Printer) -> Result<u8> {
    let home = Home::locate()?;
    let queen = match glance_at_queen(&home)? {
        Glance::Absent => Queen::Absent,
        Glance::Passing => Queen::Passing,
        Glance::Running(address) => match timeout(ANSWER_TIMEOUT, report(&home, &address)).await {
            Ok(Some(report)) => Queen::Answers(report),
            Ok(None) | Err(_) => Queen::Silent(address),
        },
    };
    match printer.output() {
        Output::Text => printer.page(&page(&queen, printer.look()))?,
        Output::Json | Output::Ndjson => printer.json(&match &queen {
            Queen::Absent => json!({"running": false}),
            Queen::Passing => json!({"running": true, "answers": false}),
            Queen::Silent(QueenAddress { url, pid, .. }) => {
                json!({"running": true, "answers": false, "url": url, "pid": pid})
            }
            Queen::Answers(report) => json!({"running": true, "answers": true, "status": report}),
        })?,
    }
    Ok(0)
}

async fn report(home: &Home, address: &QueenAddress) -> Option<QueenReport> {
    let key = read_key(&home.operator_key_file()).ok()?;
    let client = Client::tcp(&address.url, &key).ok()?;
    answer_to(&client, Operation::Status {}).await.ok()
}

fn page(queen: &Queen, look: Look) -> String {
    let told = match queen {
        Queen::Absent => {
            vec![("queen", "does not run; the first command that needs it starts it".to_owned())]
        }
        Queen::Passing => vec![("queen", "is coming up, or on its way out".to_owned())],
        Queen::Silent(address) => vec![(
            "queen",
            format!("runs (pid {}), but does not answer: `rbee doctor` says more", address.pid),
        )],
        Queen::Answers(report) => {
            vec![
                ("queen", format!("runs at {}", report.url)),
                ("hives", hives(report)),
                ("models", models(report)),
                ("jobs", format!("{} running", report.active_jobs)),
            ]
        }
    };
    facts(told, look) + TO_TRY
}

fn hives(report: &QueenReport) -> String {
    let hive = |hive: &rbee_protocol::HiveSummary| {
        let state = match hive.state {
            HiveState::Connecting => "coming up",
            HiveState::Ready if hive.paused => "paused",
            HiveState::Ready => "ready",
            HiveState::Down => "down",
        };
        format!("{} {state}", hive.hive)
    };
    let hives: Vec<_> = report.hives.iter().map(hive).collect();
    if hives.is_empty() { "none".to_owned() } else { hives.join(", ") }
}

fn models(report: &QueenReport) -> String {
    let model = |worker: &rbee_protocol::WorkerInfo| {
        let state = match worker.state {
            WorkerState::Loading => ", loading",
            WorkerState::Busy => ", busy",
            WorkerState::Draining => ", draining",
            WorkerState::Idle => "",
        };
        format!("{}{state}", worker.model)
    };
    let models: Vec<_> = report.workers.iter().map(model).collect();
    if models.is_empty() { "none loaded".to_owned() } else { models.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Look = Look { width: None, bold: false };

    #[test]
    fn a_queen_that_answers_tells_of_hives_models_and_jobs() {
        let report = serde_json::from_value(json!({
            "version": "0.1.0", "pid": 7, "url": "http://127.0.0.1:7833", "started_at_ms": 1, "active_jobs": 1,
            "hives": [{"hive": "local", "state": "ready", "workers": 1, "running_jobs": 0}],
            "workers": [{"worker": "worker-1", "hive": "local", "model": "ti\u{1b}ny", "state": "busy", "pid": 9, "jobs": 1}],
        }));
        let text = page(&Queen::Answers(report.expect("a report")), PIPE);
        let expected = "queen   runs at http://127.0.0.1:7833\n\
            hives   local ready\n\
            models  ti\\u{1b}ny, busy\n\
            jobs    1 running\n";
        assert_eq!(text, format!("{expected}{TO_TRY}"));
    }

    #[test]
    fn a_queen_that_does_not_run_is_told_of_with_what_to_try() {
        let text = page(&Queen::Absent, PIPE);
        assert!(text.starts_with("queen  does not run"), "{text}");
        assert_eq!(text.matches("\n  rbee ").count(), 3, "{text}");
    }
}
