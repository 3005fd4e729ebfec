use std::pin::Pin;

use rbee_protocol::{
    DaemonInfo, End, EndState, InferRequest, JobEvent, JobState, Operation, StopRequest, Token,
};

use super::*;
use crate::service::daemon_info;

type Work = Pin<Box<dyn Future<Output = Result<End, ApiError>> + Send>>;

/// Does one thing with every job.
struct Does(fn(JobWriter) -> Work);

impl Service for Does {
    fn info(&self) -> DaemonInfo {
        daemon_info("test", 0)
    }
    fn check(&self, _request: &SubmitRequest, _by: &Principal) -> Result<(), ApiError> {
        Ok(())
    }
    async fn run(self: Arc<Self>, _operation: Operation, job: JobWriter) -> Result<End, ApiError> {
        (self.0)(job).await
    }
    fn stop(&self, _request: StopRequest) {}
}

/// Who asks for a job by this name, without being an operator.
fn asking(name: &str) -> Principal {
    Principal { id: PrincipalId::new(name), operator: false, revoked: CancellationToken::new() }
}

async fn until_cancelled(job: JobWriter) -> Result<End, ApiError> {
    job.cancelled().await;
    Err(job.cancel_error())
}

fn jobs(limits: Limits) -> Jobs {
    Jobs::new("test", limits, Log::capture().0, CancellationToken::new())
}

/// Every timer runs out at once.
fn at_once() -> Limits {
    Limits { retention: Duration::ZERO, unread: Duration::ZERO, ..Limits::default() }
}

fn ada() -> PrincipalId {
    PrincipalId::new("ada")
}

fn read() -> SubmitRequest {
    SubmitRequest::new(Operation::Infer(InferRequest::default()))
}

fn detached() -> SubmitRequest {
    SubmitRequest { detached: true, ..read() }
}

fn create(jobs: &Jobs) -> JobWriter {
    jobs.create(&ada(), &detached()).expect("there is room")
}

fn token(bytes: usize) -> JobEvent {
    JobEvent::Token(Token::new("x".repeat(bytes), 0))
}

fn used(jobs: &Jobs) -> u64 {
    jobs.0.shared.budget.used.load(Ordering::Relaxed)
}

/// Whether all that jobs take, of whatever kind, has been given back.
fn check_empty(jobs: &Jobs) {
    assert_eq!((jobs.count(), used(jobs), jobs.0.tasks.len()), (0, 0, 0));
    let table = jobs.0.table();
    assert!(table.ended.len() == 0 && table.active.is_empty());
}

/// Has `job` end, and waits until the registry has taken notice.
async fn end(jobs: &Jobs, job: JobWriter) {
    let ended = jobs.0.table().ended.len();
    drop(job);
    while jobs.0.table().ended.len() == ended {
        tokio::task::yield_now().await;
    }
}

async fn last_event(jobs: &Jobs, id: &JobId) -> End {
    let mut reader = jobs.reader(&asking("ada"), id, 0).expect("the job is kept");
    let mut last = None;
    while let Some(frames) = reader.next().await.expect("the log is in memory") {
        last = frames.last().cloned();
    }
    let last = last.expect("a job has a first line");
    match serde_json::from_slice(last.json()).expect("a frame holds an event") {
        rbee_protocol::Event { event: JobEvent::End(end), .. } => *end,
        event => panic!("{event:?} is last"),
    }
}

#[tokio::test]
async fn no_way_to_end_leaves_anything_behind() {
    let ways = [
        ("finished", Does(|_| Box::pin(async { Ok(End::succeeded()) }))),
        ("failed", Does(|_| Box::pin(async { Err(ApiError::new(ErrorCode::Io, "failed").hint("again")) }))),
        ("panicked", Does(|_| Box::pin(async { panic!("the work panicked") }))),
        ("cancelled", Does(|job| Box::pin(until_cancelled(job)))),
        (
            "over its quota",
            Does(|job| {
                Box::pin(async move {
                    assert!(job.append(&token(32 << 10)).is_err());
                    until_cancelled(job).await
                })
            }),
        ),
    ];
    for (way, service) in ways {
        let jobs = jobs(Limits { job_bytes: 16 << 10, ..at_once() });
        let submitted = jobs.submit(&Arc::new(service), &asking("ada"), read()).await.expect("there is room");
        let reader = jobs.reader(&asking("ada"), &submitted.job_id, 0).expect("the job exists");
        assert!(used(&jobs) > 0, "{way}");
        drop(reader);
        jobs.ended().await;
        check_empty(&jobs);
    }
}

#[tokio::test]
async fn a_reader_keeps_a_removed_job_only_until_it_goes() {
    let jobs = jobs(at_once());
    let job = create(&jobs);
    let mut reader = jobs.reader(&asking("ada"), job.id(), 0).expect("the job exists");
    drop(job);
    jobs.ended().await;
    assert_eq!(jobs.count(), 0);
    assert_eq!(reader.next().await.expect("it is in memory").map(|frames| frames.len()), Some(2));
    drop(reader);
    check_empty(&jobs);
}

#[tokio::test]
async fn ten_thousand_jobs_leave_nothing_behind() {
    let jobs = jobs(at_once());
    for _ in 0..100 {
        for number in 0..100 {
            let request = SubmitRequest { detached: number % 2 == 0, ..read() };
            let job = jobs.create(&ada(), &request);
            job.expect("there is room").append(&token(10)).expect("the job has not ended");
        }
        jobs.ended().await;
    }
    check_empty(&jobs);
}

#[tokio::test]
async fn a_full_table_evicts_the_job_that_ended_first() {
    let jobs = jobs(Limits { jobs: 3, ..Limits::default() });
    let (first, second, running) = (create(&jobs), create(&jobs), create(&jobs));
    let (first_id, second_id) = (first.id().clone(), second.id().clone());
    // The order of their ends counts, not that of their beginnings.
    end(&jobs, second).await;
    end(&jobs, first).await;

    let fourth = create(&jobs);
    assert!(jobs.info(&asking("ada"), &second_id).is_err());
    assert!(jobs.info(&asking("ada"), &first_id).is_ok());
    let fifth = create(&jobs);
    assert!(jobs.info(&asking("ada"), &first_id).is_err());
    let refused = jobs.create(&ada(), &read()).err().expect("all three are running");
    assert_eq!(refused.code, ErrorCode::Busy);
    assert_eq!(jobs.count(), 3);
    drop((running, fourth, fifth));
}

#[tokio::test]
async fn nobody_loses_a_job_to_those_of_another_who_has_more() {
    let jobs = jobs(Limits { jobs: 10, ..Limits::default() });
    let bob = PrincipalId::new("bob");
    let mut bobs = Vec::new();
    for _ in 0..5 {
        let job = jobs.create(&bob, &detached()).expect("there is room");
        bobs.push(job.id().clone());
        end(&jobs, job).await;
    }
    for _ in 0..50 {
        let two = [create(&jobs), create(&jobs)];
        for job in two {
            end(&jobs, job).await;
        }
    }
    assert!(bobs.iter().all(|id| jobs.info(&asking("bob"), id).is_ok()));
    let (adas, all) = (jobs.list(&ada()).jobs.len(), jobs.count());
    assert_eq!((adas, all), (5, 10));
}

#[tokio::test]
async fn a_full_daemon_says_how_many_jobs_are_running() {
    let limits = Limits { job_bytes: 24 << 10, total_bytes: 64 << 10, ..Limits::default() };
    let jobs = jobs(limits);
    end(&jobs, create(&jobs)).await;
    let running: Vec<JobWriter> = (0..3).map(|_| create(&jobs)).collect();
    for job in &running {
        job.append(&token(14 << 10)).expect("there is room");
    }
    let refused = jobs.create(&ada(), &read()).err().expect("there is no room, whatever is given up");
    assert!(refused.message.starts_with("3 jobs are running"), "{refused}");
    assert_eq!(jobs.count(), 4);
}

#[tokio::test]
async fn evicted_jobs_leave_no_task_behind() {
    let jobs = jobs(Limits { jobs: 5, ..Limits::default() });
    for _ in 0..1000 {
        end(&jobs, create(&jobs)).await;
    }
    // Whatever is ready to run has its turn.
    tokio::task::yield_now().await;
    assert_eq!((jobs.count(), jobs.0.tasks.len()), (5, 0));
}

#[tokio::test]
async fn ended_jobs_make_place_for_a_whole_new_one() {
    let limits = Limits { job_bytes: 16 << 10, total_bytes: 64 << 10, ..Limits::default() };
    let jobs = jobs(limits);
    let mut ids = Vec::new();
    for number in 1..=20 {
        let job = create(&jobs);
        job.append(&token(6 << 10)).expect("there is room for all that a job may have");
        ids.push(job.id().clone());
        end(&jobs, job).await;
        assert!(used(&jobs) <= limits.total_bytes, "after job {number}");
    }
    let kept = ids.iter().filter(|id| jobs.info(&asking("ada"), id).is_ok()).count();
    assert!(kept > 1, "no more are evicted than need be");
    assert!(
        ids[ids.len() - kept..].iter().all(|id| jobs.info(&asking("ada"), id).is_ok()),
        "the oldest go first"
    );
}

#[tokio::test]
async fn running_jobs_that_fill_the_total_quota_keep_new_ones_out() {
    let limits = Limits { job_bytes: 24 << 10, total_bytes: 64 << 10, ..Limits::default() };
    let jobs = jobs(limits);
    let running: Vec<JobWriter> = (0..5).map(|_| create(&jobs)).collect();
    for job in &running[..4] {
        job.append(&token(14 << 10)).expect("there is room");
    }
    let refused = jobs.create(&ada(), &read()).err().expect("what is there belongs to running jobs");
    assert_eq!(refused.code, ErrorCode::Busy);

    running[4].append(&token(14 << 10)).expect_err("the fifth finds no room");
    let error = running[4].cancel_error();
    assert_eq!(error.code, ErrorCode::Quota);
    assert!(error.message.contains("all jobs' streams together"), "{error:?}");
    assert_eq!(last_event(&jobs, running[4].id()).await.error, Some(error));
    assert!(running[..4].iter().all(|job| job.state() == JobState::Queued && !job.is_cancelled()));
}

#[tokio::test]
async fn jobs_that_wait_with_large_requests_leave_room_for_those_of_others() {
    let limits = Limits { job_bytes: 32 << 10, total_bytes: 256 << 10, ..Limits::default() };
    let jobs = jobs(limits);
    let large = InferRequest { prompt: Some("x".repeat(16 << 10)), ..InferRequest::default() };
    let large = SubmitRequest { detached: true, ..SubmitRequest::new(Operation::Infer(large)) };
    let most = |name: &str| {
        let principal = PrincipalId::new(name);
        let mut taken = Vec::new();
        let refused = loop {
            match jobs.create(&principal, &large) {
                Ok(job) => taken.push(job),
                Err(error) => break error,
            }
        };
        assert_eq!(refused.code, ErrorCode::Busy);
        taken
    };
    // Each takes as much as it is left, and the next one still gets something.
    let (ada, bob, eve) = (most("ada"), most("bob"), most("eve"));
    assert!(ada.len() >= 6 && ada.len() <= 8, "{}", ada.len());
    assert!(!bob.is_empty() && !eve.is_empty(), "{} {}", bob.len(), eve.len());
    jobs.create(&PrincipalId::new("zoe"), &detached()).expect("there is room for one who has nothing");
}

#[tokio::test]
async fn whoever_has_the_most_gives_way_where_all_streams_together_are_too_large() {
    let limits = Limits { job_bytes: 40 << 10, total_bytes: 100 << 10, ..Limits::default() };
    let jobs = jobs(limits);
    let bobs = jobs.create(&PrincipalId::new("bob"), &detached()).expect("there is room");
    let adas: Vec<JobWriter> = (0..4).map(|_| create(&jobs)).collect();
    for (job, kib) in adas.iter().zip([20, 30, 20, 20]) {
        job.append(&token(kib << 10)).expect("there is room");
    }
    for _ in 0..3 {
        bobs.append(&token(9 << 10)).expect("others have more");
    }
    let ended: Vec<bool> = adas.iter().map(JobWriter::is_cancelled).collect();
    assert_eq!(ended, [false, true, false, false], "the largest, and no more than need be");
    assert_eq!(adas[1].cancel_error().code, ErrorCode::Quota);
    assert_eq!(last_event(&jobs, adas[1].id()).await.state, EndState::Failed);
    assert!(used(&jobs) <= limits.total_bytes + (40 << 10));
}

#[tokio::test]
async fn jobs_that_have_ended_give_way_to_those_that_go_on() {
    let limits = Limits { job_bytes: 40 << 10, total_bytes: 100 << 10, ..Limits::default() };
    let jobs = jobs(limits);
    let running = [create(&jobs), create(&jobs)];
    for _ in 0..2 {
        let job = create(&jobs);
        job.append(&token(30 << 10)).expect("there is room");
        end(&jobs, job).await;
    }
    for job in &running {
        job.append(&token(30 << 10)).expect("what has ended is given up for it");
    }
    assert!(used(&jobs) <= limits.total_bytes && jobs.count() == 3);
}

#[tokio::test]
async fn ended_jobs_that_are_being_read_are_not_given_up_in_vain() {
    let limits = Limits { job_bytes: 24 << 10, total_bytes: 64 << 10, ..Limits::default() };
    let jobs = jobs(limits);
    let mut readers = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let job = create(&jobs);
        job.append(&token(14 << 10)).expect("there is room");
        let reader = jobs.reader(&asking("ada"), job.id(), 0).expect("the job exists");
        readers.push(reader);
        ids.push(job.id().clone());
        end(&jobs, job).await;
    }
    let kept = || ids.iter().filter(|id| jobs.info(&asking("ada"), id).is_ok()).count();
    let refused = jobs.create(&ada(), &read()).err().expect("all is held by those who read");
    assert_eq!((refused.code, kept()), (ErrorCode::Busy, 3));
    // Of the second nobody does any more.
    readers.remove(1);
    create(&jobs);
    assert!(jobs.info(&asking("ada"), &ids[1]).is_err());
    assert_eq!(kept(), 2);
}

#[tokio::test]
async fn a_job_over_its_quota_ends_and_its_work_is_told_to_stop() {
    let jobs = jobs(Limits { job_bytes: 32 << 10, ..Limits::default() });
    let job = create(&jobs);
    while job.append(&token(100)).is_ok() {
        assert!(!job.is_cancelled());
    }
    job.cancelled().await;
    assert!(used(&jobs) <= 32 << 10, "the end event is within the quota");
    let last = last_event(&jobs, job.id()).await;
    assert_eq!((last.state, last.error), (EndState::Failed, Some(job.cancel_error())));
    assert_eq!(job.cancel_error().code, ErrorCode::Quota);

    // What the work returns comes too late to be another end.
    let events = job.seq();
    job.finish(Ok(End::succeeded()));
    assert_eq!((job.seq(), job.state()), (events, JobState::Failed));
}

#[tokio::test]
async fn an_unread_job_is_cancelled_and_a_detached_one_is_not() {
    let jobs = jobs(Limits { unread: Duration::ZERO, ..Limits::default() });
    let detached = create(&jobs);
    let unread = jobs.create(&ada(), &read()).expect("there is room");
    unread.cancelled().await;
    let error = unread.cancel_error();
    assert_eq!(error.code, ErrorCode::Cancelled);
    assert!(error.message.contains("nobody read"), "{error:?}");
    unread.finish(Err(unread.cancel_error()));
    assert_eq!(last_event(&jobs, unread.id()).await.error, Some(error));
    assert!(!detached.is_cancelled());
}

#[tokio::test]
async fn a_job_is_cancelled_when_its_last_reader_has_gone() {
    let jobs = jobs(Limits { unread: Duration::ZERO, ..Limits::default() });
    let job = jobs.create(&ada(), &read()).expect("there is room");
    let reader = jobs.reader(&asking("ada"), job.id(), 0).expect("the job exists");
    let other = jobs.reader(&asking("ada"), job.id(), 1).expect("the job exists");
    drop(reader);
    // A job that nobody reads shows when those that are read would have been cancelled.
    let unread = jobs.create(&ada(), &read()).expect("there is room");
    unread.cancelled().await;
    assert!(!job.is_cancelled());

    drop(other);
    job.cancelled().await;
    assert_eq!(job.cancel_error().code, ErrorCode::Cancelled);
}

#[tokio::test]
async fn the_first_reason_to_stop_is_the_one_that_is_given() {
    let jobs = jobs(Limits { unread: Duration::ZERO, ..Limits::default() });
    let job = jobs.create(&ada(), &read()).expect("there is room");
    job.cancelled().await;
    jobs.cancel(&asking("ada"), job.id()).expect("the job exists");
    assert!(job.cancel_error().message.contains("nobody read"));
}

#[tokio::test]
async fn a_daemon_that_stops_interrupts_its_jobs() {
    let jobs = jobs(Limits::default());
    let service = Arc::new(Does(|job| Box::pin(until_cancelled(job))));
    let submitted = jobs.submit(&service, &asking("ada"), read()).await.expect("there is room");
    let mut reader = jobs.reader(&asking("ada"), &submitted.job_id, 1).expect("the job exists");
    jobs.0.shutdown.cancel();
    jobs.ended().await;
    let frames = reader.next().await.expect("it is in memory").expect("there is an end event");
    let json = String::from_utf8_lossy(frames[0].json()).into_owned();
    assert!(json.contains(r#""state":"failed""#) && json.contains(r#""code":"interrupted""#), "{json}");
    assert!(reader.next().await.expect("it is in memory").is_none());
    drop(reader);
    assert_eq!(jobs.0.tasks.len(), 0);
}

#[tokio::test]
async fn a_job_belongs_to_its_principal_alone() {
    let jobs = jobs(Limits::default());
    let job = create(&jobs);
    let bob = PrincipalId::new("bob");
    let errors = [
        jobs.info(&asking("bob"), job.id()).err(),
        jobs.cancel(&asking("bob"), job.id()).err(),
        jobs.reader(&asking("bob"), job.id(), 0).err(),
        jobs.reader(&asking("bob"), job.id(), 99).err(),
    ];
    assert!(errors.iter().flatten().all(|error| error.code == ErrorCode::NotFound));
    assert_eq!(errors.iter().flatten().count(), 4);
    assert!(jobs.list(&bob).jobs.is_empty());
    assert!(!job.is_cancelled());
    assert_eq!(jobs.list(&ada()).jobs.len(), 1);
}
