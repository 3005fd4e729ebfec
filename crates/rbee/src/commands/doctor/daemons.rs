//! What runs: queen, hive, workers.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use rbee_home::{Glance, Home, HomeError, Lock, QueenAddress, glance_at_queen, read_key};
use rbee_protocol::{
    Client, ClientError, DaemonInfo, ErrorCode, HiveReport, HiveState, Operation, QueenReport, WorkerInfo,
    WorkerState,
};
use serde_json::json;
use tokio::time::timeout;

use super::Check;
use crate::commands::question::{answer_to, now_ms};

/// A daemon that has not answered by then does not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// A busy worker that has shown no progress for so long is worth a look; its hive kills it later.
const PROGRESS_MS: u64 = 60_000;
/// A daemon cannot have started later than now, but for how clocks are set.
const CLOCK_SLACK_MS: u64 = 120_000;

/// Looks at the daemons, and returns where the queen listens if it runs.
pub(super) async fn look(home: &Home) -> (Vec<Check>, Option<String>) {
    let mut checks = Vec::new();
    let (queen, url) = match glance_at_queen(home) {
        Ok(Glance::Absent) => {
            let message = "does not run; the next command that needs it starts it";
            checks.push(Check::ok("queen", message).with(json!({"running": false})));
            (None, None)
        }
        Ok(Glance::Passing) => {
            let hint =
                "again in a moment; if it stays so: `rbee queen stop`, and `rbee queen logs` says more";
            checks.push(Check::warning("queen", "is coming up, or on its way out", hint));
            (None, None)
        }
        Ok(Glance::Running(address)) => {
            let url = address.url.clone();
            let (check, client) = queen(home, &address).await;
            checks.push(check);
            (client, Some(url))
        }
        Err(error) => {
            checks.push(Check::failed("queen", &error));
            (None, None)
        }
    };
    let report = match &queen {
        Some(queen) => match in_time(answer_to::<QueenReport>(queen, Operation::Status {})).await {
            Ok((report, _)) => Some(report),
            Err(reason) => {
                let message = format!("answers, but does no job: {reason}");
                checks.push(Check::problem("queen", ErrorCode::Unavailable, message, RESTART));
                None
            }
        },
        None => None,
    };
    checks.push(hive(home, report.as_ref()).await);
    checks.push(workers(queen.as_ref(), report.as_ref()).await);
    (checks, url)
}

const RESTART: &str = "`rbee queen stop`, and the next command starts another; `rbee queen logs` may say why";

/// Whether the queen answers, and whether to us.
async fn queen(home: &Home, address: &QueenAddress) -> (Check, Option<Client>) {
    let QueenAddress { url, pid, .. } = address;
    let problem = |code, message: String, hint: &str| (Check::problem("queen", code, message, hint), None);
    let keyless = match Client::tcp(url, "") {
        Ok(client) => client,
        Err(error) => return problem(ErrorCode::Internal, error.to_string(), RESTART),
    };
    let answered_ms = match in_time(keyless.health()).await {
        Ok((_, took)) => took,
        Err(reason) => {
            let message = format!("runs (pid {pid}), but {reason}");
            let hint = format!("`rbee queen stop`; if that does not end it, `kill -9 {pid}`");
            return problem(ErrorCode::Unavailable, message, &hint);
        }
    };
    let client = match read_key(&home.operator_key_file()) {
        Ok(key) => Client::tcp(url, &key),
        Err(HomeError::Io { .. }) => {
            let message = format!("runs at {url}, but the operator's key is gone");
            let hint = "`rbee queen stop`: the next queen makes another key";
            return problem(ErrorCode::Denied, message, hint);
        }
        // What is wrong with the file was said with the keys.
        Err(_) => return (Check::ok("queen", format!("runs at {url} (pid {pid})")), None),
    };
    let client = match client {
        Ok(client) => client,
        Err(error) => return problem(ErrorCode::Internal, error.to_string(), RESTART),
    };
    let info = match client.info().await {
        Ok(info) => info,
        Err(ClientError::Api(error)) if error.code == ErrorCode::Unauthorized => {
            let message = format!("runs at {url}, and does not know the key in operator.key");
            let hint = "`rbee queen stop`: the next queen takes the key that is there";
            return problem(ErrorCode::Denied, message, hint);
        }
        Err(error) => return problem(ErrorCode::Unavailable, format!("runs at {url}, but {error}"), RESTART),
    };
    (running("queen", &format!("at {url}"), &info, answered_ms), Some(client))
}

/// A daemon that answers.
fn running(check: &'static str, place: &str, info: &DaemonInfo, answered_ms: u64) -> Check {
    let DaemonInfo { version, pid, started_at_ms, .. } = info;
    let message = format!("runs {place} (pid {pid}), answers in {answered_ms} ms");
    let facts = json!({
        "running": true, "pid": pid, "version": version, "started_at_ms": started_at_ms, "answered_ms": answered_ms,
    });
    let ours = env!("CARGO_PKG_VERSION");
    let check = if version != ours {
        let message = format!("{message}, and is of version {version}, this command line of {ours}");
        Check::warning(check, message, "`rbee queen stop`, and the next command starts what is installed now")
    } else if *started_at_ms > now_ms() + CLOCK_SLACK_MS {
        let message = format!("{message}, and says that it started later than now: the clock was set back");
        Check::warning(check, message, "`rbee queen stop`, once the clock is right")
    } else {
        Check::ok(check, message)
    };
    check.with(facts)
}

/// Whether this machine's hive answers, and whether the queen can use it.
async fn hive(home: &Home, report: Option<&QueenReport>) -> Check {
    let seen = report.and_then(|report| report.hives.first());
    let down = seen.filter(|hive| hive.state == HiveState::Down);
    match Lock::is_held(&home.lock_file("hive")) {
        Ok(true) => {}
        Ok(false) => {
            return match (down, seen) {
                (Some(hive), _) => {
                    let message = format!(
                        "does not come up: {}",
                        hive.reason.as_deref().unwrap_or("it does not say why")
                    );
                    let hint =
                        format!("{}; its log may say more: {}", RESTART, home.log_file("hive").display());
                    Check::problem("hive", ErrorCode::Unavailable, message, hint)
                }
                (None, Some(_)) => Check::warning("hive", "is coming up", "again in a moment"),
                (None, None) => {
                    let message = "does not run; the queen starts it";
                    Check::ok("hive", message).with(json!({"running": false}))
                }
            };
        }
        Err(error) => return Check::failed("hive", &error),
    }
    let answer = match Client::unix(&home.socket("hive")) {
        Ok(client) => in_time(client.info()).await,
        Err(error) => Err(error.to_string()),
    };
    match answer {
        Ok((info, answered_ms)) => {
            let place = if seen.is_none() { "on this machine, without a queen" } else { "on this machine" };
            running("hive", place, &info, answered_ms)
        }
        Err(reason) => {
            let message = format!("runs, but {reason}");
            let hint = format!("{}; its log: {}", RESTART, home.log_file("hive").display());
            Check::problem("hive", ErrorCode::Unavailable, message, hint)
        }
    }
}

/// What the workers do, and whether they get on with it.
async fn workers(queen: Option<&Client>, report: Option<&QueenReport>) -> Check {
    let (Some(queen), Some(report)) = (queen, report) else {
        return Check::ok("workers", "none that a queen knows of");
    };
    // The hive knows when each last made progress.
    let is_there = report.hives.iter().any(|hive| hive.state == HiveState::Ready);
    let told = match is_there {
        true => in_time(answer_to::<HiveReport>(queen, Operation::HiveStatus { hive: None })).await.ok(),
        false => None,
    };
    let workers = told.map_or_else(|| report.workers.clone(), |(hive, _)| hive.workers);
    let facts = json!({"workers": workers});
    let now_ms = now_ms();
    let stuck = workers.iter().find(|worker| is_stuck(worker, now_ms));
    let check = match stuck {
        Some(worker) => {
            let name = &worker.worker;
            let message = format!("{name} has had a job for a while and makes no progress");
            let hint =
                format!("`rbee worker stop {name}` ends it with its jobs; `rbee worker logs` may say more");
            Check::warning("workers", message, hint)
        }
        None if workers.is_empty() => Check::ok("workers", "none; the first `rbee infer` starts one"),
        None => {
            let told = workers.iter().map(|worker| format!("{} has {}", worker.worker, worker.model));
            Check::ok("workers", told.collect::<Vec<_>>().join(", "))
        }
    };
    check.with(facts)
}

fn is_stuck(worker: &WorkerInfo, now_ms: u64) -> bool {
    let silent = worker.progress_at_ms.is_some_and(|at_ms| now_ms.saturating_sub(at_ms) > PROGRESS_MS);
    worker.state == WorkerState::Busy && silent
}

/// An answer with how long it took, in milliseconds, or why there is none.
async fn in_time<T, E: Display>(answer: impl Future<Output = Result<T, E>>) -> Result<(T, u64), String> {
    let asked = Instant::now();
    match timeout(ANSWER_TIMEOUT, answer).await {
        Ok(Ok(answer)) => Ok((answer, u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX))),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("does not answer within {} s", ANSWER_TIMEOUT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_daemon_of_another_version_or_from_the_future_is_a_warning() {
        let info = |version: &str, started_at_ms| DaemonInfo {
            daemon: "queen".to_owned(),
            version: version.to_owned(),
            pid: 7,
            started_at_ms,
        };
        let ours = env!("CARGO_PKG_VERSION");
        assert_eq!(running("queen", "here", &info(ours, now_ms()), 1).state, State::Ok);
        let other = running("queen", "here", &info("0.0.1", now_ms()), 1);
        assert!(other.state == State::Warning && other.message.contains("0.0.1"), "{other:?}");
        let later = running("hive", "here", &info(ours, now_ms() + 3_600_000), 1);
        assert!(later.state == State::Warning && later.message.contains("clock"), "{later:?}");
    }

    #[test]
    fn a_worker_is_stuck_when_it_has_jobs_and_is_silent() {
        let worker = |state: &str, progress_at_ms: u64| -> WorkerInfo {
            serde_json::from_value(json!({
                "worker": "worker-1", "hive": "local", "model": "m", "state": state, "pid": 7, "jobs": 1,
                "progress_at_ms": progress_at_ms,
            }))
            .expect("a worker")
        };
        let now_ms = 1_000_000;
        assert!(is_stuck(&worker("busy", now_ms - PROGRESS_MS - 1), now_ms));
        assert!(!is_stuck(&worker("busy", now_ms - PROGRESS_MS), now_ms));
        assert!(!is_stuck(&worker("idle", 1), now_ms));
    }
}
