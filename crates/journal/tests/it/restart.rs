//! Jobs whose daemon ended and was started again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rbee_jobs::{JobReader, JobWriter, Jobs, Limits, Principal, Service, Unfinished, daemon_info};
use rbee_journal::Journal;
use rbee_narration::Log;
use rbee_protocol::{
    ApiError, DaemonInfo, End, ErrorCode, Event, JobEvent, JobId, JobState, Operation, PrincipalId,
    StopRequest, SubmitRequest,
};
use tokio_util::sync::CancellationToken;

use crate::store::folder;

/// Works on every job until it is told to stop.
struct Endless;

impl Service for Endless {
    fn info(&self) -> DaemonInfo {
        daemon_info("test", 0)
    }
    fn check(&self, _request: &SubmitRequest, _by: &Principal) -> Result<(), ApiError> {
        Ok(())
    }
    async fn run(self: Arc<Self>, _operation: Operation, job: JobWriter) -> Result<End, ApiError> {
        job.cancelled().await;
        Err(job.cancel_error())
    }
    async fn resume(self: Arc<Self>, operation: Option<Operation>, job: JobWriter) -> Result<End, ApiError> {
        assert_eq!(operation, Some(Operation::Status {}), "no hive has it, so its request is kept");
        self.run(Operation::Status {}, job).await
    }
    fn stop(&self, _request: StopRequest) {}
}

/// Cannot go on with anything, as a daemon that does not say otherwise.
struct Forgetful;

impl Service for Forgetful {
    fn info(&self) -> DaemonInfo {
        daemon_info("test", 0)
    }
    fn check(&self, _request: &SubmitRequest, _by: &Principal) -> Result<(), ApiError> {
        Ok(())
    }
    async fn run(self: Arc<Self>, _operation: Operation, job: JobWriter) -> Result<End, ApiError> {
        Arc::new(Endless).run(Operation::Status {}, job).await
    }
    fn stop(&self, _request: StopRequest) {}
}

fn open(folder: &Path, limits: Limits) -> (Jobs, Vec<Unfinished>) {
    let journal = Journal::open(&folder.join("journal.sqlite")).expect("a journal of ours");
    let (log, shutdown) = (Log::capture().0, CancellationToken::new());
    Jobs::open("queen", limits, log, shutdown, Arc::new(journal)).expect("a journal of ours")
}

fn ada() -> Principal {
    Principal { id: PrincipalId::new("ada"), operator: false, revoked: CancellationToken::new() }
}

async fn submit(jobs: &Jobs, detached: bool) -> JobId {
    let request = SubmitRequest { detached, ..SubmitRequest::new(Operation::Status {}) };
    jobs.submit(&Arc::new(Endless), &ada(), request).await.expect("there is room").job_id
}

fn reader(jobs: &Jobs, id: &JobId) -> JobReader {
    jobs.reader(&ada(), id, 0).expect("the job is kept")
}

/// Reads a job to its end, and returns how that says the job ended.
async fn end(mut reader: JobReader) -> End {
    let mut last = None;
    while let Some(frames) = reader.next().await.expect("the journal can be read") {
        last = frames.last().cloned();
    }
    match serde_json::from_slice(last.expect("there is an end").json()).expect("a frame holds an event") {
        Event { event: JobEvent::End(end), .. } => *end,
        event => panic!("{event:?} is last"),
    }
}

fn code(end: &End) -> Option<ErrorCode> {
    end.error.as_ref().map(|error| error.code)
}

#[tokio::test]
async fn a_job_that_nobody_reads_after_a_restart_is_cancelled() {
    let folder = folder();
    let (before, _) = open(folder.path(), Limits::default());
    let (attended, detached) = (submit(&before, false).await, submit(&before, true).await);

    // What the first daemon goes on to do is not seen by the second: it is as good as dead.
    let limits = Limits { unread: Duration::ZERO, ..Limits::default() };
    let (after, unfinished) = open(folder.path(), limits);
    assert_eq!(unfinished.len(), 2);
    after.resume(&Arc::new(Endless), unfinished);
    while after.info(&ada(), &attended).expect("it is kept").ended_at_ms.is_none() {
        tokio::task::yield_now().await;
    }
    let end = end(reader(&after, &attended)).await;
    assert_eq!((code(&end), end.state), (Some(ErrorCode::Cancelled), rbee_protocol::EndState::Cancelled));
    assert!(end.error.expect("it says why").message.contains("nobody read"));
    assert_eq!(after.info(&ada(), &detached).expect("it is kept").ended_at_ms, None);
}

#[tokio::test]
async fn a_job_that_cannot_be_gone_on_with_is_interrupted() {
    let folder = folder();
    let (before, _) = open(folder.path(), Limits::default());
    let id = submit(&before, true).await;
    let (after, unfinished) = open(folder.path(), Limits::default());
    after.resume(&Arc::new(Forgetful), unfinished);
    assert_eq!(code(&end(reader(&after, &id)).await), Some(ErrorCode::Interrupted));
    let (again, unfinished) = open(folder.path(), Limits::default());
    assert!(unfinished.is_empty());
    assert_eq!(again.info(&ada(), &id).expect("it is kept").state, JobState::Failed);
}

#[tokio::test]
async fn the_time_that_a_job_is_kept_counts_on_through_a_restart() {
    let folder = folder();
    let (before, _) = open(folder.path(), Limits::default());
    let mut ended = Vec::new();
    for _ in 0..3 {
        let id = submit(&before, true).await;
        before.cancel(&ada(), &id).expect("it runs");
        end(reader(&before, &id)).await;
        ended.push(id);
    }
    // Room for two: a third takes the place of the one that ended first.
    let (after, _) = open(folder.path(), Limits { jobs: 3, ..Limits::default() });
    assert_eq!(after.list(&ada().id).jobs.len(), 3);
    submit(&after, true).await;
    assert!(after.info(&ada(), &ended[0]).is_err() && after.info(&ada(), &ended[1]).is_ok());

    let (expired, _) = open(folder.path(), Limits { retention: Duration::ZERO, ..Limits::default() });
    while expired.count() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(expired.list(&ada().id).jobs[0].ended_at_ms, None, "what has not ended stays");
}
