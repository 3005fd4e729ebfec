use rbee_jobs::Route;
use rbee_protocol::{ApiError, ErrorCode, StopRequest, SubmitRequest};
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::matrix::{self, Call};
use crate::support::{Answer, Server, end, error_of, script};

const JSON: &str = "Content-Type: application/json";
const ADA: &str = "Authorization: Bearer key-of-ada";
const HIVE_STATUS: &str = r#"{"operation":"hive_status"}"#;

async fn submit(server: &Server, fields: &str, body: &str) -> Answer {
    server.send(&format!("POST /v1/jobs HTTP/1.1\n{fields}"), body).await
}

#[tokio::test]
async fn a_foreign_host_or_origin_is_denied_and_creates_nothing() {
    let server = Server::start().await;
    for fields in [
        "Host: evil.example",
        "Host: localhost.evil.example",
        "Host: {host}.evil.example",
        "Host: ",
        "X-Forwarded-Host: {host}",
        "Host: {host}\nOrigin: http://evil.example",
        "Host: {host}\nOrigin: https://{host}",
        "Host: {host}\nOrigin: http://localhost:1",
        "Host: {host}\nOrigin: null",
        "Host: {host}\nOrigin: ",
        "Host: {host}\nOrigin: http://{host}.evil.example",
    ] {
        let answer = submit(&server, &format!("{fields}\n{ADA}\n{JSON}"), HIVE_STATUS).await;
        assert!(answer.error(403, ErrorCode::Denied).hint.is_some(), "{fields}");
        // What needs no key is closed to them as well.
        server.send(&format!("GET /health HTTP/1.1\n{fields}"), "").await.error(403, ErrorCode::Denied);
    }
    assert_eq!(server.jobs.count(), 0);
}

#[tokio::test]
async fn of_all_hosts_and_origins_the_daemons_own_alone_reach_a_handler() {
    let server = Server::start().await;
    let key = "operator-and-owner";
    let job = server.submit(key, &script("")).await;
    server.events(key, &job).await;
    let path = |route: &Route| route.path.replace("{id}", job.as_str());
    let call = |route: &Route| {
        let body = match (route.method == Method::POST, route.path) {
            (true, "/v1/jobs") => HIVE_STATUS,
            (true, _) => "{}",
            (false, _) => "",
        };
        Call { method: route.method.clone(), path: path(route), body, answers: &[200, 201, 202] }
    };
    let routes = server.routes();
    let mut calls: Vec<Call> = routes.iter().map(call).collect();
    calls.extend(matrix::others(&routes, call));
    let reached = matrix::check(&server.authority, &format!("key-of-{key}"), &calls).await;
    assert_eq!(server.jobs.count(), 1 + reached);
    assert_eq!(server.stops().len(), reached);
}

#[tokio::test]
async fn the_daemons_own_origin_passes() {
    let server = Server::start().await;
    let port = server.authority.rsplit(':').next().expect("it has a port").to_owned();
    for (host, origin) in [
        ("{host}".to_owned(), "{host}".to_owned()),
        (format!("localhost:{port}"), format!("localhost:{port}")),
    ] {
        let fields = format!("Host: {host}\nOrigin: http://{origin}\n{ADA}\n{JSON}");
        assert_eq!(submit(&server, &fields, HIVE_STATUS).await.status, 201);
    }
    assert_eq!(server.jobs.count(), 2);
}

#[tokio::test]
async fn without_a_known_key_nothing_but_health_answers() {
    let server = Server::start().await;
    for key in [
        "",
        "\nAuthorization: ",
        "\nAuthorization: Bearer",
        "\nAuthorization: Bearer wrong",
        "\nAuthorization: Basic key-of-ada",
        "\nAuthorization: key-of-ada",
        "\nX-Api-Key: wrong",
        // What says one thing and another is believed in neither.
        "\nAuthorization: Bearer wrong\nX-Api-Key: key-of-ada",
        "\nX-Api-Key: key-of-ada\nX-Api-Key: wrong",
    ] {
        for line in [
            "POST /v1/jobs",
            "GET /v1/jobs",
            "GET /v1/jobs/job-00000000000000000000000000000001",
            "GET /v1/jobs/job-00000000000000000000000000000001/stream",
            "DELETE /v1/jobs/job-00000000000000000000000000000001",
            "GET /v1/info",
            "POST /v1/system/stop",
            "GET /v1/nowhere",
            "PUT /health/",
        ] {
            let head = format!("{line} HTTP/1.1\nHost: {{host}}\n{JSON}{key}");
            let answer = server.send(&head, HIVE_STATUS).await;
            answer.error(401, ErrorCode::Unauthorized);
            assert!(answer.head.contains("www-authenticate: bearer"), "{answer:?}");
        }
        let health = server.send(&format!("GET /health HTTP/1.1\nHost: {{host}}{key}"), "").await;
        assert_eq!((health.status, health.body.as_str()), (200, r#"{"status":"ok"}"#));
    }
    assert_eq!(server.jobs.count(), 0);
    assert!(server.stops().is_empty());
    // The scheme's name is not a matter of case.
    let fields = format!("Host: {{host}}\nAuthorization: bearer key-of-ada\n{JSON}");
    assert_eq!(submit(&server, &fields, HIVE_STATUS).await.status, 201);
    // Some clients put it elsewhere.
    let fields = format!("Host: {{host}}\nX-Api-Key: key-of-ada\n{JSON}");
    assert_eq!(submit(&server, &fields, HIVE_STATUS).await.status, 201);
}

#[tokio::test]
async fn a_body_that_is_not_announced_as_json_is_not_read() {
    let server = Server::start().await;
    for content_type in [
        "",
        "\nContent-Type: text/plain",
        "\nContent-Type: application/x-www-form-urlencoded",
        "\nContent-Type: multipart/form-data; boundary=x",
        "\nContent-Type: application/jsonp",
    ] {
        let fields = format!("Host: {{host}}\n{ADA}{content_type}");
        let error = submit(&server, &fields, HIVE_STATUS).await.error(415, ErrorCode::UnsupportedMediaType);
        assert!(error.hint.is_some(), "{content_type}");
    }
    assert_eq!(server.jobs.count(), 0);
    let fields = format!("Host: {{host}}\n{ADA}\nContent-Type: Application/JSON; charset=utf-8");
    assert_eq!(submit(&server, &fields, HIVE_STATUS).await.status, 201);
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_refused_before_it_is_sent() {
    let server = Server::start().await;
    for length in [(4_u64 << 20) + 1, 1 << 30, u64::MAX / 2] {
        let host = &server.authority;
        let head = format!(
            "POST /v1/jobs HTTP/1.1\r\nHost: {host}\r\n{ADA}\r\n{JSON}\r\nContent-Length: {length}\r\n\r\n"
        );
        server.raw(&head).await.error(413, ErrorCode::TooLarge);
    }
    assert_eq!(server.jobs.count(), 0);
}

#[tokio::test]
async fn a_body_that_grows_too_large_on_its_way_is_refused() {
    let server = Server::start().await;
    let host = &server.authority;
    let limit = 4 << 20;
    let most = " ".repeat(limit);
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: {host}\r\n{ADA}\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    // Nothing follows the byte that is too many: the answer does not wait for the body's end.
    server.raw(&format!("{head}{limit:x}\r\n{most}\r\n1\r\n ")).await.error(413, ErrorCode::TooLarge);

    let padded = format!("{HIVE_STATUS}{}", " ".repeat(limit - HIVE_STATUS.len()));
    let fields = format!("Host: {{host}}\n{ADA}\n{JSON}");
    assert_eq!(submit(&server, &fields, &padded).await.status, 201, "the limit itself is allowed");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_and_the_daemon_serves_on() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    let host = &server.authority;
    let head = format!("GET /health HTTP/1.1\r\nHost: {host}\r\nX-Long: ");
    let padding = "x".repeat((64 << 10) - head.len());
    stream.write_all(format!("{head}{padding}").as_bytes()).await.expect("the daemon reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("the daemon closes the connection in order");
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(server.client("ada").health().await.expect("the daemon answers").status, "ok");
}

#[tokio::test]
async fn what_is_not_http_at_all_does_no_harm() {
    let server = Server::start().await;
    for bytes in ["\0\0\0\0\r\n\r\n", "\x16\x03\x01 hello\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        let mut stream = server.connect().await;
        stream.write_all(bytes.as_bytes()).await.expect("the daemon reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("the daemon closes the connection in order");
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{bytes:?}");
    }
    assert_eq!(server.client("ada").health().await.expect("the daemon answers").status, "ok");
}

#[tokio::test]
async fn a_body_that_makes_no_sense_is_refused_and_the_culprit_named() {
    let server = Server::start().await;
    let deep = format!("{{\"operation\":{}", "[".repeat(100_000));
    for (body, named) in [
        ("", "EOF"),
        ("{", "EOF"),
        ("nonsense", "line 1"),
        ("[]", "expected a map"),
        ("{}", "operation"),
        (deep.as_str(), "recursion"),
        (r#"{"operation":"explode"}"#, "explode"),
        (r#"{"operation":"hive_status","colour":"red"}"#, "colour"),
        (r#"{"operation":"infer","messages":[],"temprature":1}"#, "temprature"),
        (r#"{"operation":"infer","messages":"hello"}"#, "messages"),
        (r#"{"operation":"hive_status","origin":"../x"}"#, "../x"),
        (r#"{"operation":"hive_status"} trailing"#, "trailing"),
    ] {
        let answer = submit(&server, &format!("Host: {{host}}\n{ADA}\n{JSON}"), body).await;
        let error = answer.error(400, ErrorCode::BadRequest);
        assert!(error.message.contains(named) && error.hint.is_some(), "{error:?}");
    }
    assert_eq!(server.jobs.count(), 0);
}

#[tokio::test]
async fn unknown_paths_and_methods_say_so() {
    let server = Server::start().await;
    let error = |answer: Answer, status, code| -> ApiError { answer.error(status, code) };
    for path in
        ["/", "/v1", "/v1/jobs/", "/v1/jobs/x/y", "/v2/jobs", "/v1/jobs/../info", "/%FF", "/favicon.ico"]
    {
        let head = format!("GET {path} HTTP/1.1\nHost: {{host}}\n{ADA}");
        let error = error(server.send(&head, "").await, 404, ErrorCode::NotFound);
        assert!(error.message.contains(path), "{error:?}");
    }
    for (method, path) in [
        ("PUT", "/v1/jobs"),
        ("DELETE", "/v1/jobs"),
        ("POST", "/health"),
        ("POST", "/v1/jobs/job-00000000000000000000000000000001/stream"),
        ("PATCH", "/v1/jobs/job-00000000000000000000000000000001"),
        ("GET", "/v1/system/stop"),
        ("OPTIONS", "/v1/jobs"),
        ("BREW", "/v1/info"),
    ] {
        let head = format!("{method} {path} HTTP/1.1\nHost: {{host}}\n{ADA}");
        let answer = server.send(&head, "").await;
        assert!(answer.head.contains("\r\nallow: "), "{answer:?}");
        let error = error(answer, 405, ErrorCode::MethodNotAllowed);
        assert!(error.message.contains(method), "{error:?}");
    }
}

#[tokio::test]
async fn only_an_operator_may_stop_a_daemon() {
    let server = Server::start().await;
    let request = |name: &str| {
        let request = server.request(name, Method::POST, "/v1/system/stop");
        request.header("Content-Type", "application/json").body(r#"{"keep_hive":true}"#).send()
    };
    let refused = request("ada").await.expect("the daemon answers");
    assert_eq!(refused.status(), 403);
    let error = error_of(&refused.text().await.expect("the answer comes whole"));
    assert_eq!(error.code, ErrorCode::Denied);
    assert!(server.stops().is_empty());

    assert_eq!(request("operator").await.expect("the daemon answers").status(), 202);
    assert_eq!(server.stops(), [StopRequest { keep_hive: true }]);
}

#[tokio::test]
async fn answers_are_not_cached() {
    let server = Server::start().await;
    let id = server.submit("ada", &script("")).await;
    for path in ["/health", "/v1/info", "/v1/jobs", &format!("/v1/jobs/{id}"), "/v1/jobs/none", "/none"] {
        let answer = server.send(&format!("GET {path} HTTP/1.1\nHost: {{host}}\n{ADA}"), "").await;
        assert!(answer.head.contains("cache-control: no-store"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_full_daemon_says_when_to_try_again() {
    let limits = rbee_jobs::Limits { jobs: 1, ..Default::default() };
    let server = Server::with(limits).await;
    let running = server.submit("ada", &script("gate")).await;
    let body = serde_json::to_string::<SubmitRequest>(&script("")).expect("a request is plain data");
    let answer = submit(&server, &format!("Host: {{host}}\n{ADA}\n{JSON}"), &body).await;
    assert!(answer.error(429, ErrorCode::Busy).hint.is_some());
    assert!(answer.head.contains("retry-after: 1"), "{answer:?}");
    server.open(1);
    end(&server.events("ada", &running).await);
}
