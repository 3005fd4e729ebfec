use rbee_jobs::Limits;
use rbee_protocol::{EndState, ErrorCode, JobEvent, JobState, Submitted};
use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::support::{Server, collect, data_lines, detached, end, principal, script, stream_path, text};

#[tokio::test]
async fn a_submitted_job_answers_with_its_stream_which_begins_with_its_creation() {
    let server = Server::start().await;
    let request = server.request("ada", Method::POST, "/v1/jobs");
    let answer = request
        .header("Content-Type", "application/json")
        .body(r#"{"operation":"hive_status"}"#)
        .send()
        .await
        .expect("the daemon answers");

    assert_eq!(answer.status(), 201);
    let submitted: Submitted = answer.json().await.expect("the answer is a submitted job");
    assert_eq!(submitted.sse_url, stream_path(&submitted.job_id));
    let events = server.events("ada", &submitted.job_id).await;
    let JobEvent::Narration(line) = &events[0].event else { panic!("{events:?}") };
    assert_eq!(events[0].seq, 1);
    assert_eq!(line.formatted, format!("[scripted  ] job_create     : Job {} created", submitted.job_id));
    assert_eq!(end(&events).state, EndState::Succeeded);
}

#[tokio::test]
async fn what_the_service_refuses_is_not_created() {
    let server = Server::start().await;
    let answer = server
        .send(
            "POST /v1/jobs HTTP/1.1\nHost: {host}\nAuthorization: Bearer key-of-ada\n\
             Content-Type: application/json",
            r#"{"operation":"hive_watch"}"#,
        )
        .await;
    answer.error(503, ErrorCode::Unavailable);
    assert_eq!(server.jobs.count(), 0);
}

#[tokio::test]
async fn narration_sent_before_the_reader_connects_is_replayed() {
    let server = Server::start().await;
    let job = server.jobs.create(&principal("ada"), &detached("")).expect("there is room");
    job.narrator("early").action("speak").human("before anybody listens").emit();

    let mut follow = server.client("ada").follow(job.id(), 0);
    for (seq, human) in [(1, format!("Job {} created", job.id())), (2, "before anybody listens".to_owned())] {
        let followed = follow.next().await.expect("the stream goes on").expect("the job has not ended");
        let JobEvent::Narration(line) = &followed.event else { panic!("{followed:?}") };
        assert_eq!((followed.seq, &line.human), (seq, &human));
    }
}

#[tokio::test]
async fn an_early_and_a_late_reader_get_the_same_bytes() {
    let server = Server::start().await;
    let id = server.submit("ada", &script("narrate hello\ngate\ntokens 300 piece\nnarrate bye")).await;
    let early = server.request("ada", Method::GET, &stream_path(&id)).send().await;
    server.open(1);
    let early = early.expect("the daemon answers").text().await.expect("the stream comes whole");
    let late = server.body("ada", &id, "text/event-stream").await;

    assert_eq!(early, late);
    let ids: Vec<u64> = early.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect();
    assert_eq!(ids, (1..=304).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_reader_that_reads_slowly_misses_nothing_and_holds_nobody_up() {
    let server = Server::start().await;
    let piece = "x".repeat(400);
    let id = server.submit("ada", &script(&format!("gate\ntokens 5000 {piece}"))).await;

    let socket = TcpSocket::new_v4().expect("there is a socket left");
    socket.set_recv_buffer_size(4096).expect("a buffer may be small");
    let address = server.authority.parse().expect("it is an address");
    let mut slow = socket.connect(address).await.expect("the daemon listens");
    let path = stream_path(&id);
    let host = &server.authority;
    let head = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nAuthorization: Bearer key-of-ada\r\n\r\n");
    slow.write_all(head.as_bytes()).await.expect("the daemon reads");
    let mut taken = vec![slow.read_u8().await.expect("the stream has begun")];

    server.open(1);
    // The job ends and a fast reader has all of it while the slow one has read a single byte.
    let fast = server.body("ada", &id, "text/event-stream").await;
    assert_eq!(data_lines(&fast).len(), 1 + 5000 + 1 + 1);

    let mut small = [0; 1000];
    loop {
        let count = slow.read(&mut small).await.expect("the stream goes on");
        if count == 0 {
            break;
        }
        taken.extend_from_slice(&small[..count]);
    }
    let taken = String::from_utf8(taken).expect("a stream is UTF-8");
    let (_, body) = taken.split_once("\r\n\r\n").expect("an answer has a head");
    assert!(body == fast, "the slow reader's bytes differ");
}

#[tokio::test]
async fn every_way_to_end_shows_as_one_end_event_that_is_last() {
    async fn check(steps: &str, state: EndState, code: Option<ErrorCode>) {
        let limits = Limits { job_bytes: 100 << 10, ..Limits::default() };
        let server = Server::with(limits).await;
        let client = server.client("ada");
        let id = server.submit("ada", &script(steps)).await;
        if state == EndState::Cancelled {
            client.cancel(&id).await.expect("the job is known");
        }
        let body = server.body("ada", &id, "text/event-stream").await;

        let data = data_lines(&body);
        assert_eq!(data.last(), Some(&"[DONE]"), "{steps}");
        let events = collect(&client, &id, 0).await;
        assert_eq!(events.len(), data.len() - 1, "{steps}");
        assert_eq!(
            (end(&events).state, end(&events).error.as_ref().map(|e| e.code)),
            (state, code),
            "{steps}"
        );
        let info = client.job(&id).await.expect("the job is kept");
        assert_eq!(info.state, state.into(), "{steps}");
        assert!(info.ended_at_ms.is_some(), "{steps}");
        assert_eq!(info.events, events.len() as u64, "{steps}");
    }
    check("tokens 3 x", EndState::Succeeded, None).await;
    check("tokens 3 x\nfail", EndState::Failed, Some(ErrorCode::WorkerCrashed)).await;
    check("tokens 3 x\npanic", EndState::Failed, Some(ErrorCode::Internal)).await;
    check("tokens 3 x\nwait", EndState::Cancelled, Some(ErrorCode::Cancelled)).await;
    check("tokens 9000 x\nwait", EndState::Failed, Some(ErrorCode::Quota)).await;
}

#[tokio::test]
async fn a_job_that_everybody_drops_ends_as_abandoned() {
    let server = Server::start().await;
    let job = server.jobs.create(&principal("ada"), &detached("")).expect("there is room");
    let (id, clone) = (job.id().clone(), job.clone());
    let mut follow = server.client("ada").follow(&id, 0);
    drop(job);
    clone.narrator("left").action("speak").human("the clone still speaks").emit();
    drop(clone);

    let mut last = None;
    while let Some(followed) = follow.next().await.expect("the stream goes on") {
        last = Some(followed);
    }
    let last = last.expect("the stream has events");
    assert_eq!(last.seq, 3);
    let error = end(&[last]).error.clone().expect("an abandoned job has an error");
    assert_eq!(error.code, ErrorCode::Abandoned);
}

#[tokio::test]
async fn a_panic_fails_its_own_job_and_no_other() {
    let server = Server::start().await;
    let other = server.submit("ada", &script("gate\ntokens 2 fine")).await;
    let id = server.submit("ada", &script("panic")).await;
    let events = server.events("ada", &id).await;
    assert_eq!(end(&events).error.as_ref().map(|error| error.code), Some(ErrorCode::Internal));

    server.open(1);
    let events = server.events("ada", &other).await;
    assert_eq!((end(&events).state, text(&events).as_str()), (EndState::Succeeded, "finefine"));
    server.submit("ada", &script("")).await;
}

#[tokio::test]
async fn a_cancelled_job_ends_only_after_its_work_has_returned() {
    let server = Server::start().await;
    let client = server.client("ada");
    let id = server.submit("ada", &script("narrate begun\nwait\nnarrate told\ngate")).await;
    let answer = server.request("ada", Method::DELETE, &format!("/v1/jobs/{id}")).send().await;
    assert_eq!(answer.expect("the daemon answers").status(), 202);

    let mut follow = client.follow(&id, 0);
    for _ in 0..3 {
        follow.next().await.expect("the stream goes on").expect("the job has not ended");
    }
    // The work knows, and is not done yet.
    assert_eq!(client.job(&id).await.expect("the job is known").state, JobState::Running);
    server.open(1);
    let last = follow.next().await.expect("the stream goes on").expect("there is an end event");
    assert_eq!(end(&[last]).state, EndState::Cancelled);
    assert_eq!(follow.next().await.expect("the stream has ended in order"), None);
}

#[tokio::test]
async fn cancelling_a_job_that_has_ended_changes_nothing() {
    let server = Server::start().await;
    let job = server.submit("ada", &script("tokens 1 done")).await;
    let before = server.events("ada", &job).await;
    server.client("ada").cancel(&job).await.expect("the job is known");
    assert_eq!(server.events("ada", &job).await, before);
}

#[tokio::test]
async fn lines_of_json_are_the_data_lines() {
    let server = Server::start().await;
    let id = server.submit("ada", &script("tokens 3 a\\nb\nnarrate hello\nfail")).await;
    let sse = server.body("ada", &id, "text/event-stream").await;
    let lines = server.body("ada", &id, "application/x-ndjson").await;

    let data = data_lines(&sse);
    let (done, data) = data.split_last().expect("a stream has data lines");
    assert_eq!(*done, "[DONE]");
    assert_eq!(lines.lines().collect::<Vec<_>>(), data);
    assert!(lines.ends_with('\n'));
    for (line, seq) in data.iter().zip(1_u64..) {
        let value: Value = serde_json::from_str(line).expect("a data line is JSON");
        assert_eq!(value["seq"], seq);
    }
}

#[tokio::test]
async fn the_text_form_reads_like_the_command_line() {
    let server = Server::start().await;
    let id =
        server.submit("ada", &script("narrate hello\ntokens 3 ab\nnarrate between\ntokens 1 c\nfail")).await;
    let body = server.body("ada", &id, "text/plain").await;
    let expected = format!(
        "[scripted  ] job_create     : Job {id} created\n\
         [script    ] narrate        : hello\n\
         ababab\n\
         [script    ] narrate        : between\n\
         c\n\
         error: the script failed\n\
         hint: again\n"
    );
    assert_eq!(body, expected);
}

#[tokio::test]
async fn streams_are_neither_cached_nor_buffered_on_their_way() {
    let server = Server::start().await;
    let id = server.submit("ada", &script("")).await;
    for (accept, content_type) in [
        ("*/*", "text/event-stream"),
        ("text/event-stream", "text/event-stream"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("text/plain", "text/plain; charset=utf-8"),
    ] {
        let request = server.request("ada", Method::GET, &stream_path(&id)).header("Accept", accept);
        let answer = request.send().await.expect("the daemon answers");
        assert_eq!(answer.status(), 200);
        let header = |name: &str| answer.headers()[name].to_str().expect("a header is text").to_owned();
        assert_eq!(header("content-type"), content_type);
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-accel-buffering"), "no");
        assert!(answer.headers().contains_key("date"));
        // A length beside chunks would have two readers of one connection disagree on where the next answer begins.
        assert_eq!(header("transfer-encoding"), "chunked");
        assert!(!answer.headers().contains_key("content-length"));
    }
}

#[tokio::test]
async fn a_head_alone_says_what_a_stream_would_be_and_opens_none() {
    let server = Server::start().await;
    let id = server.submit("ada", &script("gate")).await;
    let answer = server.request("ada", Method::HEAD, &stream_path(&id)).send().await;
    let answer = answer.expect("the daemon answers");
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"text/event-stream".parse().expect("a header"))
    );
    assert!(answer.text().await.expect("there is no body").is_empty());
    assert_eq!(server.client("ada").job(&id).await.expect("the job is known").readers, 0);
}

#[tokio::test]
async fn a_connection_goes_on_after_a_stream_with_what_came_meanwhile() {
    let server = Server::start().await;
    let id = server.submit("ada", &script("gate\ntokens 2 x")).await;
    let request = |path: &str, field: &str| {
        let authority = &server.authority;
        format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer key-of-ada\r\n{field}\r\n")
    };
    let stream = request(&stream_path(&id), "");
    let requests = [&request("/health", ""), &stream, &stream, &request("/health", "Connection: close\r\n")];
    let requests: String = requests.into_iter().map(String::as_str).collect();
    let (answers, ()) = tokio::join!(server.raw(&requests), async {
        let client = server.client("ada");
        while client.job(&id).await.expect("the job is known").readers == 0 {}
        server.open(1);
    });
    let events = server.body("ada", &id, "").await;
    assert_eq!(answers.body.matches("HTTP/1.1 200 OK\r\n").count(), 3, "{answers:?}");
    assert_eq!(answers.body.matches("data: [DONE]\n\n\r\n0\r\n\r\n").count(), 2, "{answers:?}");
    assert_eq!(answers.body.matches("event: end\n").count(), 2, "{answers:?}");
    assert!(events.ends_with("data: [DONE]\n\n"));
    assert!(answers.body.ends_with("{\"status\":\"ok\"}"), "{answers:?}");
}

#[tokio::test]
async fn a_client_that_knows_no_chunks_gets_a_stream_that_ends_with_the_connection() {
    let server = Server::start().await;
    let id = server.submit("ada", &script("tokens 2 x")).await;
    let path = stream_path(&id);
    let authority = &server.authority;
    let head =
        format!("GET {path} HTTP/1.0\r\nHost: {authority}\r\nAuthorization: Bearer key-of-ada\r\n\r\n");
    let answer = server.raw(&head).await;
    assert!(!answer.head.contains("transfer-encoding") && answer.head.contains("connection: close"));
    assert_eq!(answer.body, server.body("ada", &id, "").await);
}

#[tokio::test]
async fn opening_a_stream_has_no_effect_on_the_job() {
    let server = Server::start().await;
    let id = server.submit("ada", &script("gate\ntokens 2 x")).await;
    let readers: Vec<_> =
        (0..2).map(|_| server.request("ada", Method::GET, &stream_path(&id)).send()).collect();
    let mut answers = Vec::new();
    for reader in readers {
        answers.push(reader.await.expect("the daemon answers"));
    }
    assert_eq!(server.client("ada").job(&id).await.expect("the job is known").readers, 2);
    server.open(1);
    for answer in answers {
        let body = answer.text().await.expect("the stream comes whole");
        assert_eq!(data_lines(&body).len(), 1 + 2 + 1 + 1, "the script ran once");
    }
}

#[tokio::test]
async fn the_same_api_is_served_on_a_unix_socket() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = folder.path().join("socket");
    let server = Server::unix(&path);
    let client = rbee_protocol::Client::unix(&path).expect("the HTTP library can be set up");
    assert_eq!(client.health().await.expect("the daemon answers").status, "ok");
    assert_eq!(client.info().await.expect("the daemon answers").daemon, "scripted");
    let id = client.submit(&script("tokens 2 x")).await.expect("the job is taken").job_id;
    let events = collect(&client, &id, 0).await;
    assert_eq!((end(&events).state, text(&events).as_str()), (EndState::Succeeded, "xx"));
    assert_eq!(client.jobs().await.expect("the daemon answers").jobs[0].job_id, id);
    assert_eq!(client.jobs().await.expect("the daemon answers").jobs[0].principal, principal("owner"));
    drop(server);
}
