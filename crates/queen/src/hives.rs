use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rbee_home::{Home, HomeError, Lock, Start, program};
use rbee_narration::{Level, SystemNarrator};
use rbee_protocol::{
    Client, ClientError, EndState, HiveId, JobEvent, Operation, SubmitRequest, SystemEventKind, WorkerInfo,
    WorkerRef, WorkerState, WorkerWatch,
};
use tokio_util::sync::CancellationToken;

use crate::driver::{Queen, Reach};
use crate::state::Input;

/// The pause before a hive is tried again grows with each failure in a row.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(250);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);
/// A hive that runs, going by its lock, is called unreachable after so many attempts in vain.
const MISSES_MAX: u32 = 4;
/// A hive that was there for so long is started again at once when it goes.
const STABLE: Duration = Duration::from_secs(5);

/// Why a hive is not, or no longer, there.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{0}")]
    NotStarted(#[from] HomeError),
    #[error("{0}")]
    Unreachable(#[from] ClientError),
    #[error("it ended its report")]
    EndedReport,
}

/// The hive of the queen's own machine.
pub(crate) fn local() -> HiveId {
    HiveId::new("local")
}

/// Keeps the queen connected with the hive of its own machine, which is started where none runs,
/// until `shutdown`.
pub(crate) async fn keep_local(
    home: Home,
    queen: Arc<Queen>,
    system: SystemNarrator,
    shutdown: CancellationToken,
) {
    let hive = local();
    let mut delay = RETRY_DELAY_MIN;
    let mut misses = 0;
    // The workers that operators were told of, also while the hive cannot be seen.
    let mut workers = Vec::new();
    let mut is_told_unreachable = false;
    loop {
        let began = Instant::now();
        let mut was_there = false;
        // A start is not broken off: the hive would come up all the same, and nobody would stop it.
        let lost = match start_where_none_runs(&home).await {
            Err(error) => Lost::NotStarted(error),
            Ok(()) => tokio::select! {
                Err(lost) = connect_and_watch(&home, &hive, &queen, &system, &mut workers, &mut was_there) => lost,
                () = shutdown.cancelled() => return,
            },
        };
        let draft = system.action("hive_gone").target(&hive).level(Level::Warn).context(&hive).context(&lost);
        let (hive_lost, reason) = (hive.clone(), lost.to_string());
        if was_there {
            is_told_unreachable = false;
            misses = 0;
            queen.events.append(SystemEventKind::HiveGone { hive: hive_lost, reason });
            draft.human("Hive {} is gone: {}").emit();
            // It is started again, so what waits for it goes on waiting.
            queen.hive_changed(Input::Connecting { hive: hive.clone() }, None);
        } else if misses < MISSES_MAX && Lock::is_held(&home.lock_file("hive")).unwrap_or(false) {
            // There is one, which is about to listen or to go.
            misses += 1;
        } else {
            // Once, however often it is tried in vain.
            if !std::mem::replace(&mut is_told_unreachable, true) {
                queen.events.append(SystemEventKind::HiveUnreachable { hive: hive_lost, reason });
            }
            draft.human("Hive {} cannot be reached: {}").emit();
            queen.hive_changed(Input::Down { hive: hive.clone(), reason: lost.to_string() }, None);
        }
        if was_there && began.elapsed() > STABLE {
            delay = RETRY_DELAY_MIN;
            continue;
        }
        tokio::select! {
            // The back-off itself: what fails at once would fail again at once.
            () = tokio::time::sleep(delay) => {}
            () = shutdown.cancelled() => return,
        }
        delay = (delay * 2).min(RETRY_DELAY_MAX);
        queen.hive_changed(Input::Connecting { hive: hive.clone() }, None);
    }
}

/// Reaches the hive and passes on what it reports until it is lost.
async fn connect_and_watch(
    home: &Home,
    hive: &HiveId,
    queen: &Queen,
    system: &SystemNarrator,
    known_workers: &mut Vec<WorkerInfo>,
    was_there: &mut bool,
) -> Result<Infallible, Lost> {
    // Whoever waits on `gone` is told, however this ends.
    let gone = CancellationToken::new();
    let _told = gone.clone().drop_guard();
    let client = Client::unix(&home.socket("hive"))?;
    loop {
        let watch = client.submit(&SubmitRequest::new(Operation::HiveWatch {})).await?;
        let mut follow = client.follow(&watch.job_id, 0);
        let ended = loop {
            match follow.next().await?.map(|followed| followed.event) {
                Some(JobEvent::Result { result }) => {
                    let Ok(watch) = serde_json::from_value::<WorkerWatch>(result) else { continue };
                    let reach = Reach { client: client.clone(), gone: gone.clone() };
                    if !*was_there {
                        queen.events.append(SystemEventKind::HiveReady { hive: hive.clone() });
                    }
                    let infos: Vec<_> = watch.workers.iter().map(|watched| watched.worker.clone()).collect();
                    changes(known_workers, &infos).into_iter().for_each(|kind| queen.events.append(kind));
                    *known_workers = infos;
                    let version = watch.version.clone();
                    queen.hive_changed(
                        Input::Report { hive: hive.clone(), watch },
                        Some((hive.clone(), reach)),
                    );
                    if !std::mem::replace(was_there, true) {
                        tell_ready(hive, version.as_deref(), system);
                    }
                }
                Some(JobEvent::End(end)) => break end,
                Some(_) => {}
                None => unreachable!("a stream that is followed ends with an end event"),
            }
        };
        // A report that has grown long enough is followed by a new one.
        if ended.state != EndState::Succeeded {
            return Err(Lost::EndedReport);
        }
    }
}

/// Says in the log that the hive is there, and whether it is of another version: one outlives its queen.
fn tell_ready(hive: &HiveId, version: Option<&str>, system: &SystemNarrator) {
    let ours = env!("CARGO_PKG_VERSION");
    let draft = system.action("hive_ready").target(hive).context(hive);
    match version {
        Some(version) if version == ours => draft.human("Hive {} is ready").emit(),
        version => {
            let draft = draft.level(Level::Warn).context(version.unwrap_or("unknown")).context(ours);
            draft
                .human("Hive {} is ready, of version {} under a queen of {}: `rbee queen stop` ends both")
                .emit();
        }
    }
}

/// What has become of workers between two reports of their hive.
fn changes(before: &[WorkerInfo], now: &[WorkerInfo]) -> Vec<SystemEventKind> {
    // The process counts: a hive that starts anew begins its names anew.
    let find = |workers: &'_ [WorkerInfo], wanted: &WorkerInfo| {
        let same = |worker: &&WorkerInfo| worker.worker == wanted.worker && worker.pid == wanted.pid;
        workers.iter().find(same).map(|worker| worker.state)
    };
    let named = |worker: &WorkerInfo| WorkerRef {
        hive: worker.hive.clone(),
        worker: worker.worker.clone(),
        model: worker.model.clone(),
    };
    let mut changes = Vec::new();
    for worker in before.iter().filter(|worker| find(now, worker).is_none()) {
        changes.push(SystemEventKind::WorkerEnded(named(worker)));
    }
    for worker in now {
        let known = find(before, worker);
        if known.is_none() {
            changes.push(SystemEventKind::WorkerStarted(named(worker)));
        }
        let was_loading = known.is_none_or(|state| state == WorkerState::Loading);
        if was_loading && worker.state != WorkerState::Loading {
            changes.push(SystemEventKind::WorkerLoaded(named(worker)));
        }
    }
    changes
}

async fn start_where_none_runs(home: &Home) -> Result<(), HomeError> {
    if Lock::is_held(&home.lock_file("hive"))? {
        return Ok(());
    }
    let log = home.log_file("hive");
    let start = Start { program: &program("rbee-hive")?, args: Vec::new(), stderr: &log, lifelines: None };
    let mut started = start.spawn().await?;
    // It outlives this queen; while the queen lives, somebody has to take note of its end.
    tokio::spawn(async move { started.child.wait().await });
    Ok(())
}

#[cfg(test)]
mod tests {
    use rbee_protocol::WorkerId;

    use super::*;

    /// Workers as `name/pid/state`, a space between them.
    fn workers(text: &str) -> Vec<WorkerInfo> {
        let worker = |text: &str| {
            let mut parts = text.split('/');
            let mut part = || parts.next().expect("a name, a process and a state");
            let (name, pid, state) = (part(), part(), part());
            WorkerInfo {
                worker: WorkerId::new(name),
                hive: local(),
                model: "m".to_owned(),
                state: serde_json::from_value(state.into()).expect("a state"),
                pid: pid.parse().expect("a number"),
                jobs: 0,
                loaded: None,
                keep_alive_s: None,
                pinned: false,
                progress_at_ms: None,
            }
        };
        text.split_whitespace().map(worker).collect()
    }

    #[test]
    fn what_becomes_of_workers_is_seen_in_how_reports_differ() {
        for (before, now, expected) in [
            ("", "", ""),
            ("", "w1/7/loading", "w1 worker_started"),
            ("w1/7/loading", "w1/7/loading", ""),
            ("w1/7/loading", "w1/7/idle", "w1 worker_loaded"),
            ("w1/7/loading", "w1/7/busy w2/8/loading", "w1 worker_loaded, w2 worker_started"),
            ("w1/7/idle", "w1/7/busy", ""),
            ("w1/7/busy", "", "w1 worker_ended"),
            ("w1/7/loading", "", "w1 worker_ended"),
            ("", "w1/7/idle", "w1 worker_started, w1 worker_loaded"),
            ("w1/7/idle", "w1/9/loading", "w1 worker_ended, w1 worker_started"),
        ] {
            let changes = changes(&workers(before), &workers(now));
            let told = changes.iter().map(|kind| match kind {
                SystemEventKind::WorkerStarted(worker)
                | SystemEventKind::WorkerLoaded(worker)
                | SystemEventKind::WorkerEnded(worker) => format!("{} {}", worker.worker, kind.name()),
                kind => panic!("{kind:?} is not about a worker"),
            });
            assert_eq!(told.collect::<Vec<_>>().join(", "), expected, "from `{before}` to `{now}`");
        }
    }
}
