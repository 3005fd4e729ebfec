use rbee_protocol::{EndState, JobId, PrincipalId, Progress, Unit};

use super::writer::PROGRESS_INTERVAL;
use super::*;

/// A log without a registry around it.
pub(crate) fn test_log(committer: Option<Arc<Committer>>) -> Arc<JobLog> {
    test_log_with(committer, Log::capture().0)
}

/// The same, for a test that makes so many that the making of their narration's log counts.
pub(crate) fn test_log_with(committer: Option<Arc<Committer>>, log: Log) -> Arc<JobLog> {
    test_log_of(1, committer, log)
}

/// The same, of the job of this number.
pub(crate) fn test_log_of(number: u128, committer: Option<Arc<Committer>>, log: Log) -> Arc<JobLog> {
    let record = JobRecord {
        id: JobId::from_bits(number),
        operation: "infer".to_owned(),
        principal: PrincipalId::new("ada"),
        detached: false,
        origin: None,
        created_at_ms: 0,
    };
    let budget = Arc::new(Budget::new(&crate::Limits {
        job_bytes: u64::MAX,
        total_bytes: u64::MAX,
        ..crate::Limits::default()
    }));
    let request = SubmitRequest::new(rbee_protocol::Operation::Status {});
    let shared = Shared { committer, budget, observer: Arc::default(), log };
    JobLog::new(record, &request, CancellationToken::new(), shared)
}

fn progress(phase: Phase, done: u64) -> Progress {
    Progress::new(phase, done, Some(1_000_000), Unit::Bytes)
}

/// How the log's last event says that the job ended.
fn end(job: &JobWriter) -> End {
    let Page::Frames(frames) = job.0.log.page(job.seq() - 1, job.seq(), usize::MAX) else {
        panic!("a log without a store is in memory")
    };
    let event = serde_json::from_slice(frames[0].json()).expect("a frame holds an event");
    let rbee_protocol::Event { event: JobEvent::End(end), .. } = event else { panic!("{event:?}") };
    *end
}

#[test]
fn progress_is_thinned_out_by_phase_and_its_last_word_always_kept() {
    let job = JobWriter::new(test_log(None));
    let begun = Instant::now();
    for done in 0..50_000 {
        job.progress(progress(Phase::Load, done));
    }
    let due = 1 + begun.elapsed().as_millis() / PROGRESS_INTERVAL.as_millis();
    assert!(u128::from(job.seq()) <= due, "{} events where {due} were due", job.seq());

    let before = job.seq();
    job.progress(progress(Phase::Prefill, 1));
    assert_eq!(job.seq(), before + 1, "another phase is another matter");
    job.progress(progress(Phase::Prefill, 1_000_000));
    assert_eq!(job.seq(), before + 2, "the last word is kept");
}

#[test]
fn a_job_runs_once_it_is_started_until_it_has_ended() {
    let job = JobWriter::new(test_log(None));
    assert_eq!(job.state(), JobState::Queued);
    job.start();
    assert_eq!(job.state(), JobState::Running);
    job.finish(Ok(End::succeeded()));
    job.start();
    assert_eq!(job.state(), JobState::Succeeded);
}

#[test]
fn only_an_end_that_says_cancelled_gets_the_reason_for_the_cancellation() {
    let unread = || ApiError::new(ErrorCode::Cancelled, "nobody read it").hint("read it");
    let check = |outcome: Result<End, ApiError>, state, message: Option<&str>| {
        let job = JobWriter::new(test_log(None));
        job.0.log.stop(unread());
        job.finish(outcome);
        assert_eq!(end(&job).state, state);
        assert_eq!(end(&job).error.map(|error| error.message).as_deref(), message);
    };
    let stopped = ApiError::new(ErrorCode::Cancelled, "stopped").hint("again");
    check(Err(stopped), EndState::Cancelled, Some("nobody read it"));
    check(Ok(End::succeeded()), EndState::Succeeded, None);
    check(Err(ApiError::new(ErrorCode::Io, "the disk").hint("another")), EndState::Failed, Some("the disk"));
}

#[test]
fn nothing_is_appended_after_an_end() {
    let job = JobWriter::new(test_log(None));
    job.finish(Ok(End::succeeded()));
    let seq = job.seq();
    job.narrator("late").action("speak").human("too late").emit();
    job.finish(Err(ApiError::new(ErrorCode::Io, "too late").hint("earlier")));
    job.progress(progress(Phase::Load, 1));
    assert_eq!((job.seq(), end(&job).state), (seq, EndState::Succeeded));
    assert_eq!(job.0.log.budget.dropped.load(Ordering::Relaxed), 3);
}

#[test]
fn many_writers_at_once_number_their_events_without_a_gap() {
    let log = test_log(None);
    let job = JobWriter::new(log.clone());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let job = job.clone();
            scope.spawn(move || {
                for _ in 0..500 {
                    job.narrator("many").action("speak").human("at once").emit();
                }
            });
        }
    });
    drop(job);
    let Page::Frames(frames) = log.page(0, u64::MAX, usize::MAX) else {
        panic!("a log without a store is in memory")
    };
    let seqs: Vec<u64> = frames.iter().map(Frame::seq).collect();
    assert_eq!(seqs, (1..=8 * 500 + 1).collect::<Vec<_>>());
}
