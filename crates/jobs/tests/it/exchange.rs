//! Jobs that answer one request of another API.

use std::time::Duration;

use rbee_jobs::{Exchange, Limits, Principal};
use rbee_protocol::{ApiError, EndState, ErrorCode, JobEvent, JobId, JobState, Operation, SubmitRequest};
use tokio_util::sync::CancellationToken;

use crate::support::{Server, detached, end, principal, script};

/// No test comes near it.
const PATIENCE: Duration = Duration::from_secs(60);

fn ada() -> Principal {
    Principal { id: principal("ada"), operator: false, revoked: CancellationToken::new() }
}

async fn ask(server: &Server, requests: Vec<SubmitRequest>) -> Result<Exchange, ApiError> {
    server.jobs.exchange(&server.service, &ada(), requests, |_| {}).await
}

/// How the job ended, once it has.
async fn ended(server: &Server, job: &JobId) -> EndState {
    end(&server.events("ada", job).await).state
}

#[tokio::test]
async fn when_whoever_asked_has_gone_the_jobs_are_cancelled() {
    let server = Server::start().await;
    let exchange =
        ask(&server, vec![script("wait"), script("tokens 3 x\nwait")]).await.expect("there is room");
    let jobs: Vec<JobId> = exchange.jobs().cloned().collect();
    drop(exchange);
    for job in &jobs {
        assert_eq!(ended(&server, job).await, EndState::Cancelled);
    }
}

#[tokio::test]
async fn a_detached_job_goes_on_and_one_that_is_attended_is_somebody_elses() {
    let server = Server::start().await;
    let exchange = ask(&server, vec![detached("gate\ntokens 1 x")]).await.expect("there is room");
    let job = exchange.jobs().next().expect("there is one").clone();
    drop(exchange);
    drop(server.jobs.attend(&ada(), &job).expect("it is hers"));
    server.open(1);
    assert_eq!(ended(&server, &job).await, EndState::Succeeded);
    let stranger = Principal { id: principal("bob"), ..ada() };
    let refused = server.jobs.attend(&stranger, &job).err().expect("it is not his");
    assert_eq!(refused.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_request_that_is_refused_in_part_leaves_nothing_running() {
    let server = Server::with(Limits { jobs_per_principal: 2, ..Limits::default() }).await;
    let refused = ask(&server, vec![script("wait"), script("wait"), script("wait")]).await;
    assert_eq!(refused.err().expect("two is the limit").code, ErrorCode::Busy);
    let jobs = server.jobs.list(&principal("ada")).jobs;
    assert_eq!(jobs.len(), 2);
    for job in jobs {
        assert_eq!(ended(&server, &job.job_id).await, EndState::Cancelled);
    }

    let bad = SubmitRequest::new(Operation::HiveWatch {});
    assert!(ask(&server, vec![script("wait"), bad]).await.is_err());
    for job in server.jobs.list(&principal("ada")).jobs {
        assert_eq!(ended(&server, &job.job_id).await, EndState::Cancelled);
    }
}

#[tokio::test]
async fn what_fails_before_an_answer_begins_is_told_at_once_and_later_as_an_event() {
    let server = Server::start().await;
    let mut exchange = ask(&server, vec![script("fail")]).await.expect("there is room");
    let error = exchange.begun(PATIENCE).await.expect_err("it fails");
    assert_eq!(error.code, ErrorCode::WorkerCrashed);

    let mut exchange = ask(&server, vec![script("tokens 1 x\nfail")]).await.expect("there is room");
    exchange.begun(PATIENCE).await.expect("it has begun");
    let mut events = Vec::new();
    while let Some((_, event)) = exchange.next().await.expect("the log is in memory") {
        events.push(event);
    }
    assert!(
        events.iter().any(|event| matches!(event, JobEvent::Token(_))),
        "what was read ahead is not lost"
    );
    assert!(matches!(events.last(), Some(JobEvent::End(end)) if end.state == EndState::Failed));

    let mut exchange = ask(&server, vec![script("wait")]).await.expect("there is room");
    exchange.begun(Duration::ZERO).await.expect("nothing has failed");
}

#[tokio::test]
async fn the_events_of_several_jobs_come_each_in_order_and_so_far_as_they_are() {
    let server = Server::start().await;
    let requests = vec![script("tokens 5 a"), script("tokens 5 b"), script("gate\ntokens 5 c")];
    let mut exchange = ask(&server, requests).await.expect("there is room");
    let jobs: Vec<JobId> = exchange.jobs().cloned().collect();
    let mut texts = [String::new(), String::new(), String::new()];
    let mut ends = 0;
    while let Some((job, event)) = exchange.next().await.expect("the log is in memory") {
        match event {
            JobEvent::Token(token) => texts[job].push_str(&token.text),
            JobEvent::End(_) => ends += 1,
            _ => {}
        }
        if ends == 2 && texts[2].is_empty() {
            let mut waiting = server.jobs.attend(&ada(), &jobs[2]).expect("it is hers");
            let mut kinds = Vec::new();
            waiting.so_far(|event| kinds.push(event.kind())).await.expect("the log is in memory");
            assert!(!kinds.is_empty() && !kinds.contains(&"end"), "{kinds:?}");
            server.open(1);
        }
    }
    assert_eq!((ends, texts), (3, ["aaaaa", "bbbbb", "ccccc"].map(str::to_owned)));
    let states = server.jobs.list(&principal("ada")).jobs;
    assert!(states.iter().all(|job| job.state == JobState::Succeeded));
}
