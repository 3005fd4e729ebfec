use rbee_jobs::{Permission, Route};
use rbee_protocol::{ClientError, ErrorCode, JobId, JobState};
use reqwest::{Method, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Server, detached, end, script, stream_path};

/// Who asks: the name in their key.
const ASKERS: [&str; 7] = ["", "nobody", "revoked", "ada", "bob", "operator", "operator-and-owner"];

/// What each of [`ASKERS`] gets from a route about a job of ada's; the last owns the job asked for.
///
/// A route that is not here makes the test fail that generates the requests from the router.
fn expected(route: &Route) -> Option<[u16; 7]> {
    Some(match (route.method.as_str(), route.path, route.permission) {
        ("GET", "/health", Permission::Open) => [200; 7],
        ("GET", "/v1/info", Permission::User) => [401, 401, 401, 200, 200, 200, 200],
        ("POST", "/v1/jobs", Permission::User) => [401, 401, 401, 201, 201, 201, 201],
        ("GET", "/v1/jobs", Permission::User) => [401, 401, 401, 200, 200, 200, 200],
        ("GET", "/v1/jobs/{id}", Permission::User) => [401, 401, 401, 200, 404, 200, 200],
        ("DELETE", "/v1/jobs/{id}", Permission::User) => [401, 401, 401, 202, 404, 202, 202],
        ("GET", "/v1/jobs/{id}/stream", Permission::User) => [401, 401, 401, 200, 404, 404, 200],
        ("GET", "/v1/system/events", Permission::Operator) => [401, 401, 401, 403, 403, 200, 200],
        ("POST", "/v1/system/stop", Permission::Operator) => [401, 401, 401, 403, 403, 202, 202],
        _ => return None,
    })
}

async fn ask(server: &Server, asker: &str, route: &Route, job: &JobId) -> Response {
    let path = route.path.replace("{id}", job.as_str());
    assert!(!path.contains('{'), "the test knows what stands for each name in {path}");
    let body = match route.path {
        "/v1/jobs" => r#"{"operation":"hive_status"}"#,
        _ => "{}",
    };
    let mut request = server.request(asker, route.method.clone(), &path);
    if route.method == Method::POST {
        request = request.header("Content-Type", "application/json").body(body);
    }
    request.send().await.expect("the daemon answers")
}

#[tokio::test]
async fn every_route_answers_those_whom_its_permission_names_and_nobody_else() {
    let server = Server::start().await;
    server.revoke("revoked");
    let routes = server.routes();
    assert!(!routes.is_empty());
    for route in &routes {
        let expected = expected(route).unwrap_or_else(|| panic!("say who may call {route:?}"));
        for (asker, expected) in ASKERS.iter().zip(expected) {
            // A job that has ended, so that its stream does too, and that no asker before has cancelled.
            let owner = if *asker == "operator-and-owner" { asker } else { "ada" };
            let job = server.submit(owner, &script("tokens 1 x")).await;
            server.events(owner, &job).await;
            let answer = ask(&server, asker, route, &job).await;
            assert_eq!(answer.status().as_u16(), expected, "{asker:?} asks for {route:?}");
        }
    }
}

#[tokio::test]
async fn what_the_router_does_not_have_is_said_only_to_those_with_a_key() {
    let server = Server::start().await;
    for (method, path, to_a_user) in [
        (Method::GET, "/v1/nowhere", 404),
        (Method::PUT, "/v1/jobs", 405),
        (Method::POST, "/health", 405),
        (Method::HEAD, "/v1/jobs", 200),
    ] {
        let answer = server.request("ada", method.clone(), path).send().await.expect("the daemon answers");
        assert_eq!(answer.status().as_u16(), to_a_user, "{method} {path}");
        let answer = server.request("", method.clone(), path).send().await.expect("the daemon answers");
        assert_eq!(answer.status().as_u16(), 401, "{method} {path}");
    }
}

#[tokio::test]
async fn an_operator_sees_and_cancels_every_job_and_reads_none() {
    let server = Server::start().await;
    let job = server.submit("ada", &script("wait")).await;
    let own = server.submit("operator", &detached("")).await;
    let operator = server.client("operator");

    let info = operator.job(&job).await.expect("an operator sees it");
    assert_eq!(info, server.client("ada").job(&job).await.expect("so does its owner"));
    let ids = |list: rbee_protocol::JobList| list.jobs.into_iter().map(|job| job.job_id).collect::<Vec<_>>();
    assert_eq!(ids(operator.jobs().await.expect("the daemon answers")), std::slice::from_ref(&own));
    let mut all = ids(operator.all_jobs().await.expect("the daemon answers"));
    all.sort();
    let mut both = vec![job.clone(), own];
    both.sort();
    assert_eq!(all, both);

    let stream = operator.follow(&job, 0).next().await.expect_err("its stream is not for them");
    assert!(matches!(stream, ClientError::Api(error) if error.code == ErrorCode::NotFound));
    operator.cancel(&job).await.expect("an operator cancels it");
    let events = server.events("ada", &job).await;
    let error = end(&events).error.as_ref().expect("it says why it ended");
    assert_eq!(error.code, ErrorCode::Cancelled);
    assert_eq!(operator.job(&job).await.expect("as before").state, JobState::Cancelled);
}

#[tokio::test]
async fn only_operators_list_the_jobs_of_everybody() {
    let server = Server::start().await;
    server.submit("ada", &detached("")).await;
    let error = server.client("bob").all_jobs().await.expect_err("bob is no operator");
    assert!(
        matches!(error, ClientError::Api(error) if error.code == ErrorCode::Denied && error.hint.is_some())
    );
    let list = async |query: &str| {
        let head = format!("GET /v1/jobs{query} HTTP/1.1\nHost: {{host}}\nAuthorization: Bearer key-of-bob");
        server.send(&head, "").await
    };
    assert_eq!(list("?all=false").await.status, 200);
    list("?all=1").await.error(400, ErrorCode::BadRequest);
    list("?all").await.error(400, ErrorCode::BadRequest);
}

#[tokio::test]
async fn a_stream_is_cut_when_its_readers_key_is_revoked_and_others_go_on() {
    let server = Server::start().await;
    let job = server.submit("ada", &script("narrate first\nwait")).await;
    let other = server.submit("bob", &script("gate\ntokens 1 x")).await;
    let mut bobs = server.client("bob").follow(&other, 0);
    bobs.next().await.expect("the stream begins");

    let mut stream = server.connect().await;
    let (host, path) = (&server.authority, stream_path(&job));
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer key-of-ada\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("the daemon reads");
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("first") {
        assert_ne!(stream.read_buf(&mut read).await.expect("the stream begins"), 0);
    }
    server.revoke("ada");
    stream.read_to_end(&mut read).await.expect("the daemon closes the connection");
    let read = String::from_utf8(read).expect("a stream is UTF-8");
    // Neither an end event nor the last chunk: it does not look whole.
    assert!(
        !read.contains("event: end") && !read.contains("[DONE]") && !read.ends_with("0\r\n\r\n"),
        "{read}"
    );

    let error = server.client("ada").follow(&job, 1).next().await.expect_err("the key is revoked");
    assert!(matches!(error, ClientError::Api(error) if error.code == ErrorCode::Unauthorized));
    server.open(1);
    let mut last = None;
    while let Some(event) = bobs.next().await.expect("bob's stream goes on") {
        last = Some(event);
    }
    assert!(last.is_some_and(|event| event.json.contains("succeeded")));
}

#[tokio::test]
async fn a_stream_on_a_connection_that_served_another_key_before_is_cut_too() {
    let server = Server::start().await;
    let job = server.submit("ada", &script("narrate first\nwait")).await;
    let mut stream = server.connect().await;
    let mut read = Vec::new();
    for (name, path, last) in
        [("bob", "/v1/jobs".to_owned(), "{\"jobs\":[]}"), ("ada", stream_path(&job), "first")]
    {
        let host = &server.authority;
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer key-of-{name}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("the daemon reads");
        while !String::from_utf8_lossy(&read).contains(last) {
            assert_ne!(stream.read_buf(&mut read).await.expect("the daemon answers"), 0);
        }
    }
    server.revoke("ada");
    stream.read_to_end(&mut read).await.expect("the daemon closes the connection");
    assert!(!String::from_utf8_lossy(&read).contains("event: end"));
}

#[tokio::test]
async fn a_stream_that_its_reader_does_not_take_is_cut_all_the_same() {
    let server = Server::start().await;
    let text = "x".repeat(4096);
    let job = server.submit("ada", &detached(&format!("tokens 8000 {text}"))).await;
    let mut stream = server.connect().await;
    let (host, path) = (&server.authority, stream_path(&job));
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer key-of-ada\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("the daemon reads");
    let operator = server.client("operator");
    let readers = async |wanted| {
        while operator.job(&job).await.expect("the daemon answers").readers != wanted {
            tokio::task::yield_now().await;
        }
    };
    readers(1).await;
    server.revoke("ada");
    readers(0).await;
    let mut rest = Vec::new();
    // What was under way may still come, or the connection is reset.
    let _ = stream.read_to_end(&mut rest).await;
    assert!(!String::from_utf8_lossy(&rest).contains("event: end"));
}

#[tokio::test]
async fn a_request_whose_body_is_still_arriving_is_cut_when_its_key_is_revoked() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    let host = &server.authority;
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer key-of-ada\r\n\
         Content-Type: application/json\r\nContent-Length: 27\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("the daemon reads");
    let mut read = Vec::new();
    // The daemon has let the request in and waits for its body.
    while !String::from_utf8_lossy(&read).contains("100 Continue") {
        assert_ne!(stream.read_buf(&mut read).await.expect("the daemon reads on"), 0);
    }
    server.revoke("ada");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("the daemon closes the connection");
    assert_eq!(String::from_utf8_lossy(&rest).trim(), "");
    assert_eq!(server.jobs.count(), 0);
}
