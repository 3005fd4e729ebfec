use rbee_protocol::{EndState, ErrorCode};
use reqwest::Method;
use tokio::io::AsyncReadExt;

use crate::support::{Server, data_lines, principal, script, stream_path};

#[tokio::test]
async fn readers_get_the_end_of_their_jobs_before_a_daemon_stops() {
    let server = Server::start().await;
    let id = server.submit("ada", &script("wait\nnarrate the last word")).await;
    let reader = server.request("ada", Method::GET, &stream_path(&id)).send().await.expect("it answers");
    let idle = server.connect().await;

    server.shutdown.cancel();
    let body = reader.text().await.expect("the stream comes whole");
    let data = data_lines(&body);
    assert_eq!(data.last(), Some(&"[DONE]"));
    assert!(data[1].contains("the last word"), "{body}");
    assert!(data[2].contains(r#""state":"failed""#) && data[2].contains(r#""code":"interrupted""#), "{body}");

    server.stopped().await;
    // The connection that never asked for anything is closed too.
    let mut idle = idle;
    assert_eq!(idle.read(&mut [0]).await.expect("it is closed in order"), 0);
}

#[tokio::test]
async fn a_daemon_that_stops_takes_no_more_jobs() {
    let server = Server::start().await;
    server.shutdown.cancel();
    let error = server.jobs.create(&principal("ada"), &script("")).err().expect("it is stopping");
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.hint.is_some());
    server.stopped().await;
}

#[tokio::test]
async fn a_daemon_waits_for_work_that_is_slow_to_stop() {
    let server = Server::start().await;
    let id = server.submit("ada", &script("gate")).await;
    let mut follow = server.client("ada").follow(&id, 0);
    follow.next().await.expect("the stream begins").expect("with an event");
    server.shutdown.cancel();
    server.open(1);
    let last = follow.next().await.expect("the stream goes on").expect("there is an end event");
    assert_eq!(crate::support::end(&[last]).state, EndState::Failed);
    server.stopped().await;
}
