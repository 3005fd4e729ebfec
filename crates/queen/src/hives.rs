use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rbee_home::{Home, HomeError, Lock, Start, program};
use rbee_narration::{Level, SystemNarrator};
use rbee_protocol::{Client, ClientError, ErrorCode, HiveId, JobEvent, Operation, SubmitRequest, WorkerList};
use tokio_util::sync::CancellationToken;

use crate::driver::{Queen, Reach};
use crate::state::Input;

/// The pause before a hive is tried again grows with each failure in a row.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(250);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);
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
    loop {
        let began = Instant::now();
        let mut was_there = false;
        // A start is not broken off: the hive would come up all the same, and nobody would stop it.
        let lost = match start_where_none_runs(&home).await {
            Err(error) => Lost::NotStarted(error),
            Ok(()) => tokio::select! {
                Err(lost) = connect_and_watch(&home, &hive, &queen, &system, &mut was_there) => lost,
                () = shutdown.cancelled() => return,
            },
        };
        let draft = system.action("hive_gone").target(&hive).level(Level::Warn).context(&hive).context(&lost);
        if was_there {
            draft.human("Hive {} is gone: {}").emit();
            // It is started again, so what waits for it goes on waiting.
            queen.hive_changed(Input::Connecting { hive: hive.clone() }, None);
        } else {
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
                    let Ok(WorkerList { workers }) = serde_json::from_value(result) else { continue };
                    let reach = Reach { client: client.clone(), gone: gone.clone() };
                    queen.hive_changed(
                        Input::Report { hive: hive.clone(), workers },
                        Some((hive.clone(), reach)),
                    );
                    if !std::mem::replace(was_there, true) {
                        system
                            .action("hive_ready")
                            .target(hive)
                            .context(hive)
                            .human("Hive {} is ready")
                            .emit();
                    }
                }
                Some(JobEvent::End(end)) => break end.error,
                Some(_) => {}
                None => break None,
            }
        };
        // A report that has grown to its quota is followed by a new one.
        if !ended.is_some_and(|error| error.code == ErrorCode::Quota) {
            return Err(Lost::EndedReport);
        }
    }
}

async fn start_where_none_runs(home: &Home) -> Result<(), HomeError> {
    if Lock::is_held(&home.lock_file("hive"))? {
        return Ok(());
    }
    let log = home.log_file("hive");
    let start = Start { program: &program("rbee-hive")?, args: Vec::new(), stderr: &log, lifeline: false };
    let mut started = start.spawn().await?;
    // It outlives this queen; while the queen lives, somebody has to take note of its end.
    tokio::spawn(async move { started.child.wait().await });
    Ok(())
}
