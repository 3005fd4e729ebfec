use rbee_protocol::{ClientError, ErrorCode, JobId};
use reqwest::Method;

use crate::proxy::Proxy;
use crate::support::{Answer, Server, collect, end, script, stream_path};

async fn ask(server: &Server, id: &JobId, query: &str, field: &str) -> Answer {
    let head =
        format!("GET /v1/jobs/{id}/stream{query} HTTP/1.0\nHost: {{host}}\nAuthorization: Bearer key-of-ada");
    server.send(&format!("{head}{field}"), "").await
}

#[tokio::test]
async fn a_reader_resumes_after_any_event_with_exactly_the_rest() {
    let server = Server::start().await;
    let id = server.submit("ada", &script("narrate hello\ntokens 5 x\nfail")).await;
    let whole = server.body("ada", &id, "text/event-stream").await;
    let pieces: Vec<&str> = whole.split_inclusive("\n\n").collect();
    assert_eq!(pieces.len(), 8 + 1);

    for after in 0..=8 {
        let rest = pieces[after..].concat();
        assert_eq!(ask(&server, &id, &format!("?after={after}"), "").await.body, rest);
        assert_eq!(ask(&server, &id, "", &format!("\nLast-Event-ID: {after}")).await.body, rest);
        // A browser that resumes repeats the URL that it began with.
        assert_eq!(ask(&server, &id, "?after=1", &format!("\nLast-Event-ID: {after}")).await.body, rest);
    }
}

#[tokio::test]
async fn after_the_last_event_of_an_ended_job_there_is_only_done() {
    let server = Server::start().await;
    let id = server.submit("ada", &script("tokens 1 x")).await;
    let last = server.events("ada", &id).await.len();
    assert_eq!(ask(&server, &id, &format!("?after={last}"), "").await.body, "data: [DONE]\n\n");
}

#[tokio::test]
async fn a_position_ahead_of_the_stream_is_refused_with_a_hint() {
    let server = Server::start().await;
    let id = server.submit("ada", &script("")).await;
    let last = server.events("ada", &id).await.len() as u64;
    for ahead in [last + 1, u64::MAX] {
        let error =
            ask(&server, &id, &format!("?after={ahead}"), "").await.error(409, ErrorCode::CursorAhead);
        assert!(error.message.contains(&ahead.to_string()), "{error:?}");
        assert!(error.hint.is_some(), "{error:?}");
    }
}

#[tokio::test]
async fn a_position_that_is_no_number_is_refused() {
    let server = Server::start().await;
    let id = server.submit("ada", &script("")).await;
    for query in
        ["?after=x", "?after=-1", "?after=1.5", "?after=", "?after=99999999999999999999", "?after=%FF"]
    {
        ask(&server, &id, query, "").await.error(400, ErrorCode::BadRequest);
    }
    ask(&server, &id, "?after=1&after=2", "").await.error(400, ErrorCode::BadRequest);
    for field in ["one", "1 2", "-1", "\u{e9}"] {
        ask(&server, &id, "", &format!("\nLast-Event-ID: {field}")).await.error(400, ErrorCode::BadRequest);
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_over_and_over_arrives_whole() {
    let server = Server::start().await;
    let id = server.submit("ada", &script("narrate hellö wörld\ngate\ntokens 150 grüße-世界\nfail")).await;
    // Some cuts come within the answer's head, most within an event.
    let proxy = Proxy::start(&server.authority, &[900, 40, 333, 1500, 650]).await;
    let mut follow = proxy.client("ada").follow(&id, 0);
    let mut cut = vec![follow.next().await.expect("the stream begins").expect("with an event")];
    server.open(1);
    while let Some(event) = follow.next().await.expect("the stream is resumed") {
        cut.push(event);
    }
    assert!(proxy.cuts() > 7, "{}", proxy.cuts());
    assert_eq!(cut, server.events("ada", &id).await);
    assert!(cut.iter().zip(1..).all(|(event, seq)| event.seq == seq));
    end(&cut);
}

#[tokio::test]
async fn following_begins_where_it_is_told_to() {
    let server = Server::start().await;
    let id = server.submit("ada", &script("tokens 9 x")).await;
    let whole = server.events("ada", &id).await;
    assert_eq!(collect(&server.client("ada"), &id, 4).await, whole[4..]);
}

#[tokio::test]
async fn a_daemon_that_vanishes_for_good_is_reported_after_some_tries() {
    let server = Server::start().await;
    let id = server.submit("ada", &script("wait")).await;
    let proxy = Proxy::start(&server.authority, &[u64::MAX]).await;
    let mut follow = proxy.client("ada").follow(&id, 0);
    follow.next().await.expect("the stream begins").expect("with an event");
    drop(proxy);
    let error = follow.next().await.expect_err("nobody is there to go on");
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_reader_that_goes_is_no_longer_counted() {
    let server = Server::start().await;
    let client = server.client("ada");
    let id = server.submit("ada", &script("wait")).await;
    let answer = server.request("ada", Method::GET, &stream_path(&id)).send().await.expect("it answers");
    assert_eq!(client.job(&id).await.expect("the job is known").readers, 1);
    drop(answer);
    while client.job(&id).await.expect("the job is known").readers > 0 {
        tokio::task::yield_now().await;
    }
}
