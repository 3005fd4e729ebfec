use std::time::Duration;

use rbee_jobs::Limits;
use rbee_protocol::{ClientError, EndState, ErrorCode, JobId, JobState};
use reqwest::Method;

use crate::support::{Server, data_lines, detached, end, principal, script, stream_path, text};

/// Waits for `state` without reading the job's stream.
async fn wait_for(server: &Server, id: &JobId, state: JobState) {
    while server.client("ada").job(id).await.expect("the job is known").state != state {
        tokio::task::yield_now().await;
    }
}

fn brief() -> Limits {
    Limits { retention: Duration::ZERO, ..Limits::default() }
}

/// Waits until every job's retention has ended, and looks whether there is anything left of `id`.
async fn check_removed(server: &Server, id: &JobId, path: &str) {
    server.jobs.ended().await;
    assert_eq!(server.jobs.count(), 0, "{path}");
    let error = server.client("ada").job(id).await.expect_err("the job is gone");
    assert!(matches!(error, ClientError::Api(error) if error.code == ErrorCode::NotFound), "{path}");
}

#[tokio::test]
async fn a_job_is_removed_however_it_ended() {
    for steps in ["tokens 3 x", "fail", "panic"] {
        let server = Server::with(brief()).await;
        let id = server.submit("ada", &script(steps)).await;
        check_removed(&server, &id, steps).await;
    }
}

#[tokio::test]
async fn a_cancelled_job_is_removed() {
    let server = Server::with(brief()).await;
    let id = server.submit("ada", &script("wait")).await;
    server.client("ada").cancel(&id).await.expect("the job is known");
    check_removed(&server, &id, "cancelled").await;
}

#[tokio::test]
async fn an_abandoned_job_is_removed() {
    let server = Server::with(brief()).await;
    let job = server.jobs.create(&principal("ada"), &script("")).expect("there is room");
    let id = job.id().clone();
    drop(job);
    check_removed(&server, &id, "abandoned").await;
}

#[tokio::test]
async fn a_job_that_nobody_ever_read_is_removed() {
    let server = Server::with(Limits { unread: Duration::ZERO, ..brief() }).await;
    let id = server.submit("ada", &script("wait")).await;
    check_removed(&server, &id, "never read").await;
}

#[tokio::test]
async fn a_job_whose_reader_went_away_is_removed() {
    let server = Server::with(brief()).await;
    let client = server.client("ada");
    let id = server.submit("ada", &script("wait")).await;
    let reader = server.request("ada", Method::GET, &stream_path(&id)).send().await.expect("it answers");
    drop(reader);
    while client.job(&id).await.expect("the job is known").readers > 0 {
        tokio::task::yield_now().await;
    }
    client.cancel(&id).await.expect("the job is known");
    check_removed(&server, &id, "client gone").await;
}

#[tokio::test]
async fn a_reader_that_is_there_reads_to_the_end_of_a_removed_job() {
    let server = Server::with(brief()).await;
    let id = server.submit("ada", &script("gate\ntokens 3 x")).await;
    let reader = server.request("ada", Method::GET, &stream_path(&id)).send().await.expect("it answers");
    server.open(1);
    check_removed(&server, &id, "being read").await;
    let body = reader.text().await.expect("the stream comes whole");
    assert_eq!(data_lines(&body).len(), 1 + 3 + 1 + 1);
}

#[tokio::test]
async fn a_job_that_nobody_reads_is_cancelled_and_says_so() {
    let server = Server::with(Limits { unread: Duration::ZERO, ..Limits::default() }).await;
    let id = server.submit("ada", &script("wait")).await;
    wait_for(&server, &id, JobState::Cancelled).await;
    let events = server.events("ada", &id).await;
    assert_eq!(end(&events).state, EndState::Cancelled);
    let error = end(&events).error.as_ref().expect("a cancelled job says why");
    assert!(error.message.contains("nobody read"), "{error:?}");
    assert!(error.hint.is_some(), "{error:?}");
}

#[tokio::test]
async fn a_detached_job_runs_on_unread() {
    let server = Server::with(Limits { unread: Duration::ZERO, ..Limits::default() }).await;
    let id = server.submit("ada", &detached("gate\ntokens 2 x")).await;
    // When one that is not detached has been cancelled, this one would have been too.
    let other = server.submit("ada", &script("wait")).await;
    wait_for(&server, &other, JobState::Cancelled).await;

    server.open(1);
    let events = server.events("ada", &id).await;
    assert_eq!((end(&events).state, text(&events).as_str()), (EndState::Succeeded, "xx"));
}
