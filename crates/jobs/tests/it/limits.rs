use std::time::Duration;

use rbee_jobs::{Exposition, Limits};
use rbee_protocol::{ClientError, ErrorCode, JobId};
use reqwest::{Method, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Server, detached, end, script, stream_path};

/// The figure of this name and label.
fn figure(server: &Server, name: &str) -> u64 {
    let mut exposition = Exposition::default();
    server.jobs.expose(&mut exposition);
    let text = exposition.into_text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("there is no figure {name} in {text}"))
}

#[tokio::test]
async fn a_principal_with_too_many_jobs_is_told_to_wait_and_others_are_not() {
    let limits = Limits { jobs_per_principal: 2, ..Limits::default() };
    let server = Server::with(limits).await;
    let jobs = [server.submit("ada", &detached("gate")).await, server.submit("ada", &detached("gate")).await];
    for name in ["ada", "ada"] {
        let refused = server.client(name).submit(&script("")).await.expect_err("two is the limit");
        let ClientError::Api(error) = refused else { panic!("{refused}") };
        assert!(error.code == ErrorCode::Busy && error.hint.is_some());
    }
    let bobs = server.submit("bob", &script("")).await;
    server.events("bob", &bobs).await;

    server.open(1);
    // Whoever has seen one of them end may begin another at once, every time.
    let mut ended = server.client("ada").follow(&jobs[0], 0);
    let mut other = server.client("ada").follow(&jobs[1], 0);
    tokio::select! {
        () = to_the_end(&mut ended) => {}
        () = to_the_end(&mut other) => {}
    }
    for _ in 0..50 {
        let next = server.submit("ada", &script("tokens 1 x")).await;
        end(&server.events("ada", &next).await);
    }
    server.open(1);
    assert_eq!(figure(&server, "rbee_requests_refused_total{code=\"busy\"}"), 2);
}

async fn to_the_end(follow: &mut rbee_protocol::Follow) {
    while follow.next().await.expect("the stream goes on").is_some() {}
}

async fn open(server: &Server, name: &str, path: &str) -> Response {
    server.request(name, Method::GET, path).send().await.expect("the daemon answers")
}

#[tokio::test]
async fn a_principal_with_too_many_streams_is_told_to_wait_and_others_are_not() {
    let limits = Limits { streams_per_principal: 2, ..Limits::default() };
    let server = Server::with(limits).await;
    let job = server.submit("operator", &detached("gate")).await;
    let path = stream_path(&job);
    let first = open(&server, "operator", &path).await;
    // The streams of the service count as well.
    let second = open(&server, "operator", "/v1/system/events").await;
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    for path in [path.as_str(), "/v1/system/events", &stream_path(&JobId::from_bits(7))] {
        let refused = open(&server, "operator", path).await;
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["retry-after"]),
            (429, &"1".parse().expect("a header"))
        );
    }
    assert_eq!(figure(&server, "rbee_streams"), 2);
    let bobs = server.submit("bob", &script("tokens 1 x")).await;
    end(&server.events("bob", &bobs).await);

    drop(second);
    while open(&server, "operator", &path).await.status() != 200 {
        tokio::task::yield_now().await;
    }
    server.open(1);
    first.text().await.expect("the stream comes whole");
    while figure(&server, "rbee_streams") > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_connection_too_many_is_told_so_at_once_and_the_next_is_served() {
    let server = Server::with(Limits { connections: 2, ..Limits::default() }).await;
    let idle = [server.connect().await, server.connect().await];
    while figure(&server, "rbee_connections") < 2 {
        tokio::task::yield_now().await;
    }
    let health = "GET /health HTTP/1.1\nHost: {host}";
    let refused = server.send(health, "").await;
    assert!(refused.error(429, ErrorCode::Busy).hint.is_some());
    assert!(refused.head.contains("connection: close") && refused.head.contains("retry-after: 1"));
    assert_eq!(figure(&server, "rbee_connections_refused_total"), 1);
    drop(idle);
    while figure(&server, "rbee_connections") > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.send(health, "").await.status, 200);
}

#[tokio::test]
async fn clients_without_a_key_hold_no_connection_for_longer_than_a_head_may_take() {
    let server = Server::with(Limits { head: Duration::from_millis(200), ..Limits::default() }).await;
    let job = server.submit("ada", &detached("gate")).await;
    let mut follow = server.client("ada").follow(&job, 0).once();
    follow.next().await.expect("the stream begins");

    let mut silent = server.connect().await;
    let mut unread = server.connect().await;
    assert_eq!(silent.read(&mut [0]).await.expect("the daemon closes it in order"), 0);
    // This one asks over and over and reads no answer, until nothing more is taken from it.
    let health = format!("GET /health HTTP/1.1\r\nHost: {}\r\n\r\n", server.authority).repeat(1000);
    while unread.write_all(health.as_bytes()).await.is_ok() {}

    // Whoever is known keeps their connection.
    server.open(1);
    to_the_end(&mut follow).await;
}
