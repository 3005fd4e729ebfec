use std::sync::Arc;

use rbee_narration::SystemNarrator;
use rbee_protocol::{ClientError, ErrorCode, JobEvent, JobId, Operation, SubmitRequest};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::{Answer, Server, detached, end, principal, script, token};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_stream_of_many_at_once_carries_another_jobs_event() {
    const JOBS: usize = 100;
    let server = Arc::new(Server::start().await);
    let together = Arc::new(Barrier::new(2 * JOBS));
    let mut tasks = JoinSet::new();
    for number in 0..JOBS {
        for name in ["ada", "bob"] {
            let (server, together) = (server.clone(), together.clone());
            tasks.spawn(async move {
                let canary = format!("<{name}-{number}>");
                let steps = format!("gate\nnarrate {canary}\ntokens 25 {canary}\nnarrate {canary}");
                let client = server.client(name);
                let id = client.submit(&script(&steps)).await.expect("the job is taken").job_id;
                let mut follow = client.follow(&id, 0);
                let mut events =
                    vec![follow.next().await.expect("the stream begins").expect("with an event")];
                // All two hundred are being read before the first of them goes on.
                together.wait().await;
                server.open(1);
                while let Some(event) = follow.next().await.expect("the stream goes on") {
                    events.push(event);
                }
                let canaries =
                    |wanted: &str| events.iter().map(|e| e.json.matches(wanted).count()).sum::<usize>();
                assert_eq!(canaries("<"), canaries(&canary), "{events:?}");
                assert_eq!(events.iter().filter(|event| event.json.contains(&canary)).count(), 27);
                assert_eq!(events.len(), 1 + 27 + 1);
                assert!(events[0].json.contains(id.as_str()));
                end(&events);
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("every reader finds its own events alone");
    }
    for name in ["ada", "bob"] {
        let list = server.client(name).jobs().await.expect("the daemon answers");
        assert_eq!(list.jobs.len(), JOBS);
        assert!(list.jobs.iter().all(|job| job.principal == principal(name)));
    }
}

/// What `server` answers about `job`, which is not found, the time of day left out.
async fn answers(server: &Server, name: &str, job: &str) -> Vec<(String, String)> {
    let mut answers = Vec::new();
    for (method, path) in [("GET", ""), ("GET", "/stream"), ("DELETE", "")] {
        answers.push(answer(server, name, method, &format!("{job}{path}")).await);
    }
    answers
}

async fn answer(server: &Server, name: &str, method: &str, path: &str) -> (String, String) {
    let head =
        format!("{method} /v1/jobs/{path} HTTP/1.1\nHost: {{host}}\nAuthorization: Bearer key-of-{name}");
    let answer = server.send(&head, "").await;
    answer.error(404, ErrorCode::NotFound);
    let Answer { head, body, .. } = answer;
    let head: Vec<&str> = head.lines().filter(|line| !line.starts_with("date:")).collect();
    (head.join("\n"), body)
}

#[tokio::test]
async fn an_unknown_job_is_not_found() {
    let server = Server::start().await;
    let id = JobId::from_bits(7);
    for (_, body) in answers(&server, "ada", id.as_str()).await {
        assert!(body.contains(id.as_str()) && body.contains("hint"), "{body}");
    }
    let error = server.client("ada").follow(&id, 0).next().await.expect_err("there is no such job");
    assert!(matches!(error, ClientError::Api(error) if error.code == ErrorCode::NotFound));
}

#[tokio::test]
async fn what_is_no_job_id_at_all_is_not_found_either() {
    let server = Server::start().await;
    let upper = "job-000000000000000000000000000000AB";
    for id in ["1", "job-", "job-7", upper, "%2e%2e", "%00", "%FF%FE", "a%0d%0aX-Forged:%201"] {
        for (head, _) in answers(&server, "ada", id).await {
            assert!(!head.contains("x-forged"), "{head}");
        }
    }
}

#[tokio::test]
async fn somebody_elses_job_answers_like_an_unknown_one_to_the_byte() {
    let (server, strange) = (Server::start().await, Server::start().await);
    let running = server.submit("ada", &script("wait")).await;
    let ended = server.submit("ada", &script("tokens 1 x")).await;
    server.events("ada", &ended).await;
    for id in [&running, &ended] {
        let unknown = answers(&strange, "bob", id.as_str()).await;
        assert_eq!(answers(&server, "bob", id.as_str()).await, unknown);
        // An operator has no more right to its stream.
        let stream = answer(&server, "operator", "GET", &format!("{id}/stream")).await;
        assert_eq!(stream, unknown[1]);
    }
    let job = server.client("ada").job(&running).await.expect("the job is ada's");
    assert!(!server.client("bob").jobs().await.expect("the daemon answers").jobs.contains(&job));
    assert!(!job.state.eq(&rbee_protocol::JobState::Cancelled));
    // Nor does a position to resume after tell whether the job is there.
    for query in ["?after=1", "?after=999"] {
        let head = |id: &JobId| {
            format!(
                "GET /v1/jobs/{id}/stream{query} HTTP/1.1\nHost: {{host}}\nAuthorization: Bearer key-of-bob"
            )
        };
        server.send(&head(&ended), "").await.error(404, ErrorCode::NotFound);
    }
}

#[tokio::test]
async fn a_jobs_narration_reaches_its_stream_and_the_log_without_its_content() {
    let server = Server::start().await;
    let id = server.submit("ada", &script("narrate to both\ntokens 2 <secret>")).await;
    let events = server.events("ada", &id).await;

    let narrated: Vec<_> = events
        .iter()
        .filter_map(|followed| match &followed.event {
            JobEvent::Narration(line) => Some(line.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(narrated.len(), 2);
    assert_eq!(server.lines.job(id.as_str()), narrated);
    let logged = serde_json::to_string(&server.lines.job(id.as_str())).expect("lines are plain data");
    assert!(!logged.contains("<secret>"), "{logged}");
    assert!(server.lines.system().is_empty());
}

#[tokio::test]
async fn system_narration_never_enters_a_jobs_stream() {
    let server = Server::start().await;
    let narrator = SystemNarrator::new("scripted", server.log.clone());
    let id = server.submit("ada", &script("gate\ntokens 1 x")).await;
    let mut follow = server.client("ada").follow(&id, 0);
    let mut events = vec![follow.next().await.expect("the stream begins").expect("with an event")];
    narrator.action("hive_join").human("a hive came").emit();
    server.open(1);
    while let Some(event) = follow.next().await.expect("the stream goes on") {
        events.push(event);
    }
    assert_eq!(events.len(), 1 + 1 + 1, "{events:?}");
    assert_eq!(server.lines.system().len(), 1);
    assert!(server.lines.job(id.as_str()).iter().all(|line| line.action != "hive_join"));
}

#[tokio::test]
async fn what_comes_for_a_job_that_has_ended_is_dropped_and_counted() {
    let server = Server::start().await;
    let job = server.jobs.create(&principal("ada"), &detached("")).expect("there is room");
    let narrator = job.narrator("late");
    let id = job.id().clone();
    drop(job);
    assert_eq!(server.jobs.dropped_events(), 0);

    let before = server.body("ada", &id, "*/*").await;
    narrator.action("speak").human("too late").emit();
    narrator.action("speak").human("too late again").emit();
    assert_eq!(server.jobs.dropped_events(), 2);
    assert_eq!(server.body("ada", &id, "*/*").await, before);
    assert!(server.lines.system().is_empty(), "it falls back to no other channel");
}

#[tokio::test]
async fn a_writer_of_an_ended_job_is_told_that_it_has_ended() {
    let limits = rbee_jobs::Limits { job_bytes: 100 << 10, ..Default::default() };
    let server = Server::with(limits).await;
    let job = server.jobs.create(&principal("ada"), &detached("")).expect("there is room");
    let other = server.jobs.create(&principal("ada"), &detached("")).expect("there is room");
    let big = "x".repeat(200 << 10);
    assert_eq!(job.append(&token(0, &big)), Err(rbee_jobs::Closed));
    assert_eq!(job.append(&token(0, "x")), Err(rbee_jobs::Closed));
    job.start();
    assert_eq!(job.state(), rbee_protocol::JobState::Failed);
    assert_eq!(server.jobs.dropped_events(), 1);
    assert_eq!(other.append(&token(0, "x")), Ok(()));
}

#[tokio::test]
async fn a_childs_lines_stand_in_the_log_under_the_job_that_it_works_for() {
    let server = Server::start().await;
    let origin = JobId::from_bits(5);
    let request = SubmitRequest::child(Operation::HiveStatus { hive: None }, origin.clone());
    let id = server.submit("ada", &request).await;
    let events = server.events("ada", &id).await;
    assert!(events[0].json.contains(&format!("Child job {id} created")), "{events:?}");
    assert_eq!(server.lines.job(origin.as_str()).len(), 1);
    assert!(server.lines.job(id.as_str()).is_empty());
}
