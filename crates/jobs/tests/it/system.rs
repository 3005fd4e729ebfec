use rbee_protocol::{ClientError, ErrorCode, FollowSystem, FollowedSystem, JobId, JobState, SystemEventKind};
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Server, data_lines, detached, script};

const EVENTS: &str = "/v1/system/events";

async fn next(follow: &mut FollowSystem) -> FollowedSystem {
    follow.next().await.expect("the stream goes on").expect("there is another event")
}

/// What is told of `job`, to its end.
async fn told_of(follow: &mut FollowSystem, job: &JobId) -> Vec<SystemEventKind> {
    let mut told = Vec::new();
    loop {
        let kind = next(follow).await.event.kind;
        match &kind {
            SystemEventKind::JobCreated(about) | SystemEventKind::JobStarted(about) => {
                assert_eq!((&about.job_id, about.operation.as_str()), (job, "infer"));
                assert_eq!(about.principal.as_str(), "ada");
                told.push(kind);
            }
            SystemEventKind::JobEnded { job: about, .. } => {
                assert_eq!(&about.job_id, job);
                told.push(kind);
                return told;
            }
            kind => panic!("{kind:?} is not about a job"),
        }
    }
}

#[tokio::test]
async fn operators_are_told_of_every_job_and_never_what_is_in_it() {
    let server = Server::start().await;
    let mut follow = server.client("operator").follow_system(0);
    for (text, state, error) in [
        ("narrate CANARY\ntokens 3 CANARY", JobState::Succeeded, None),
        ("tokens 1 CANARY\nfail", JobState::Failed, Some(ErrorCode::WorkerCrashed)),
        ("tokens 1 CANARY\npanic", JobState::Failed, Some(ErrorCode::Internal)),
    ] {
        let job = server.submit("ada", &detached(text)).await;
        let told = told_of(&mut follow, &job).await;
        assert!(matches!(
            &told[..],
            [
                SystemEventKind::JobCreated(_),
                SystemEventKind::JobStarted(_),
                SystemEventKind::JobEnded { state: told, error: why, .. }
            ] if (*told, *why) == (state, error)
        ));
    }
    let job = server.submit("ada", &detached("tokens 1 CANARY\nwait")).await;
    server.client("operator").cancel(&job).await.expect("an operator cancels it");
    let told = told_of(&mut follow, &job).await;
    assert!(matches!(
        told.last(),
        Some(SystemEventKind::JobEnded { state: JobState::Cancelled, error: Some(ErrorCode::Cancelled), .. })
    ));

    server.shutdown.cancel();
    let rest = follow.next().await.expect("the stream ends in order");
    assert_eq!(rest, None);
    server.stopped().await;
}

#[tokio::test]
async fn no_event_carries_a_prompt_an_answer_a_line_or_an_errors_message() {
    let server = Server::start().await;
    let job = server.submit("ada", &script("narrate CANARY-LINE\ntokens 2 CANARY\nfail")).await;
    let own = server.events("ada", &job).await;
    assert!(own.iter().any(|event| event.json.contains("CANARY-LINE")));
    assert!(own.iter().any(|event| event.json.contains("the script failed")));
    let mut follow = server.client("operator").follow_system(0);
    told_of(&mut follow, &job).await;

    server.events.close();
    for accept in ["text/event-stream", "application/x-ndjson", "text/plain"] {
        let request = server.request("operator", Method::GET, EVENTS).header("Accept", accept);
        let body = request.send().await.expect("it answers").text().await.expect("the stream comes whole");
        assert!(body.contains("job_ended") && body.contains("worker_crashed"), "{body}");
        assert!(!body.contains("CANARY") && !body.contains("the script"), "{body}");
    }
    // Nor does what operators are told get into a job.
    assert!(own.iter().all(|event| !event.json.contains("job_started")));
}

#[tokio::test]
async fn a_stream_of_the_service_is_resumed_after_any_event() {
    let server = Server::start().await;
    (1..=5).for_each(|jobs| server.events.append(SystemEventKind::JobsResumed { jobs }));
    let get = |path: &str, last: Option<&str>| {
        let request = server.request("operator", Method::GET, path);
        last.into_iter().fold(request, |request, last| request.header("Last-Event-ID", last))
    };
    for (path, last) in [("?after=6", None), ("", Some("6")), ("?after=0", Some("99"))] {
        let answer = get(&format!("{EVENTS}{path}"), last).send().await.expect("it answers");
        assert_eq!(answer.status(), 409);
    }
    let answer = get(&format!("{EVENTS}?after=x"), None).send().await.expect("it answers");
    assert_eq!(answer.status(), 400);

    let late = get(&format!("{EVENTS}?after=3"), None).send().await.expect("it answers");
    let resumed = get(EVENTS, Some("3")).send().await.expect("it answers");
    let lines = get(&format!("{EVENTS}?after=3"), None).header("Accept", "application/x-ndjson");
    let lines = lines.send().await.expect("it answers");
    assert_eq!(lines.headers()["content-type"], "application/x-ndjson");
    server.events.close();
    let late = late.text().await.expect("the stream comes whole");
    assert_eq!(late, resumed.text().await.expect("the stream comes whole"));
    assert!(late.starts_with("id: 4\nevent: jobs_resumed\ndata: {\"seq\":4,\"at_ms\":"), "{late}");
    let data = data_lines(&late);
    assert_eq!((data.len(), data.last()), (3, Some(&"[DONE]")));
    let lines = lines.text().await.expect("the stream comes whole");
    assert_eq!(lines.lines().collect::<Vec<_>>(), data[..2]);
}

#[tokio::test]
async fn a_stream_of_the_service_is_cut_when_its_readers_key_is_revoked() {
    let server = Server::start().await;
    server.events.append(SystemEventKind::JobsResumed { jobs: 1 });
    let mut other = server.client("operator").follow_system(0);
    next(&mut other).await;

    let mut stream = server.connect().await;
    let host = &server.authority;
    let key = "Authorization: Bearer key-of-operator-2";
    let head = format!("GET {EVENTS} HTTP/1.1\r\nHost: {host}\r\n{key}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("the daemon reads");
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("jobs_resumed") {
        assert_ne!(stream.read_buf(&mut read).await.expect("the stream begins"), 0);
    }
    server.revoke("operator-2");
    stream.read_to_end(&mut read).await.expect("the daemon closes the connection");
    assert!(!String::from_utf8_lossy(&read).contains("[DONE]"));
    let refused = server.client("operator-2").follow_system(0).next().await.expect_err("it is revoked");
    assert!(matches!(refused, ClientError::Api(error) if error.code == ErrorCode::Unauthorized));

    server.events.append(SystemEventKind::JobsResumed { jobs: 2 });
    assert_eq!(next(&mut other).await.event.seq, 2);
}
