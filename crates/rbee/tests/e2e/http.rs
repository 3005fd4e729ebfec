use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::support::Home;

fn submit(home: &Home, body: &str) -> Value {
    let (status, body) = home.request("POST", "/v1/jobs", body);
    assert_eq!(status, 201, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

fn infer(prompt: &str) -> String {
    serde_json::json!({
        "operation": "infer", "temperature": 0, "max_tokens": 48,
        "messages": [{"role": "user", "content": prompt}],
    })
    .to_string()
}

/// The texts of a stream's token events, joined.
fn answer(stream: &str) -> String {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: {"));
    let events = data.map(|data| serde_json::from_str::<Value>(&format!("{{{data}")).expect("JSON"));
    events.filter_map(|event| event["text"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_jobs_stream_reads_the_same_as_often_as_it_is_read() {
    let home = Home::with_model();
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    let job = submit(&home, r#"{"operation":"hive_status"}"#);
    let sse_url = job["sse_url"].as_str().expect("a path");
    assert_eq!(sse_url, format!("/v1/jobs/{}/stream", job["job_id"].as_str().expect("an id")));
    let (status, first) = home.request("GET", sse_url, "");
    let (_, second) = home.request("GET", sse_url, "");
    assert_eq!(status, 200);
    assert_eq!(first, second);
    assert!(first.starts_with("id: 1\nevent: narration\ndata: {\"seq\":1,"), "{first}");
    assert!(first.contains(" created\"") && first.contains("\nevent: result\n"), "{first}");
    assert!(first.ends_with("\"kind\":\"end\",\"state\":\"succeeded\"}\n\ndata: [DONE]\n\n"), "{first}");
    assert_eq!(first.matches("event: end\n").count(), 1);
}

#[test]
fn without_the_key_there_is_nothing_but_health() {
    let home = Home::with_model();
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    assert_eq!(home.raw_request("GET", "/health", "", "").0, 200);
    for headers in ["", "Authorization: Bearer rbee_wrong", "Authorization: Basic eDp5"] {
        for (method, path) in
            [("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("GET", "/v1/info"), ("GET", "/nope")]
        {
            let headers = format!("{headers}\r\nContent-Type: application/json");
            let (status, body) = home.raw_request(method, path, headers.trim_start(), "{}");
            assert_eq!(status, 401, "{method} {path}: {body}");
            assert!(body.contains(r#""code":"unauthorized""#) && body.contains("hint"), "{body}");
        }
    }
    let (status, body) = home.request("GET", "/v1/jobs/job-00000000000000000000000000000000/stream", "");
    assert_eq!(status, 404);
    assert!(body.contains(r#""code":"not_found""#), "{body}");
}

#[test]
fn two_infers_at_once_carry_their_own_answer_and_nothing_of_the_other() {
    let home = Home::with_model();
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    let prompts = ["Name three colours of the rainbow.", "What do cats eat?"];
    let alone = prompts.map(|prompt| {
        let job = submit(&home, &infer(prompt));
        answer(&home.request("GET", job["sse_url"].as_str().expect("a path"), "").1)
    });
    assert!(!alone[0].is_empty() && alone[0] != alone[1], "{alone:?}");

    let jobs = prompts.map(|prompt| submit(&home, &infer(prompt)));
    let streams = std::thread::scope(|scope| {
        let readers = jobs.each_ref().map(|job| {
            let home = &home;
            scope.spawn(move || home.request("GET", job["sse_url"].as_str().expect("a path"), "").1)
        });
        readers.map(|reader| reader.join().expect("the reader does not panic"))
    });
    for (own, other) in [(0, 1), (1, 0)] {
        assert_eq!(answer(&streams[own]), alone[own]);
        let foreign = jobs[other]["job_id"].as_str().expect("an id");
        assert!(!streams[own].contains(foreign), "{}", streams[own]);
        assert!(!streams[own].contains(&alone[other]), "{}", streams[own]);
    }
}

#[test]
fn many_scripted_infers_at_once_carry_only_their_own_canary() {
    let home = Home::scripted();
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    let canaries: Vec<String> = (0..24).map(|i| format!("canary-{i:03}-x")).collect();
    let jobs: Vec<Value> = canaries.iter().map(|canary| submit(&home, &infer(canary))).collect();
    for (job, canary) in jobs.iter().zip(&canaries) {
        let (_, stream) = home.request("GET", job["sse_url"].as_str().expect("a path"), "");
        assert_eq!(answer(&stream), *canary);
        for other in jobs.iter().filter(|other| *other != job) {
            assert!(!stream.contains(other["job_id"].as_str().expect("an id")), "{stream}");
        }
    }
}

#[test]
fn what_a_queen_must_not_answer_creates_nothing() {
    let home = Home::with_model();
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    let key = home.key();
    let body = r#"{"operation":"hive_list"}"#;
    let json = "Content-Type: application/json";
    for (headers, expected) in [
        (format!("Host: evil.example\r\n{json}"), 403),
        (format!("Origin: http://evil.example\r\n{json}"), 403),
        (format!("Origin: null\r\n{json}"), 403),
        ("Content-Type: text/plain".to_owned(), 415),
    ] {
        let headers = format!("Authorization: Bearer {key}\r\n{headers}");
        let (status, answer) = home.raw_request("POST", "/v1/jobs", &headers, body);
        assert_eq!(status, expected, "{headers}: {answer}");
        assert!(answer.contains(r#""error":{"code""#), "{answer}");
    }

    let url = home.queen_address()["url"].as_str().expect("a URL").to_owned();
    let address = url.trim_start_matches("http://");
    let head =
        format!("POST /v1/jobs HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n{json}\r\n");

    // A body of 1 GiB is refused before it is sent.
    let mut stream = TcpStream::connect(address).expect("the queen listens");
    write!(stream, "{head}Content-Length: 1073741824\r\n\r\n").expect("the head is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, then the end");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    // A header that never ends is cut off.
    let mut stream = TcpStream::connect(address).expect("the queen listens");
    write!(stream, "{head}X-Endless: ").expect("the head is read");
    let mut sent = 0_u64;
    while stream.write_all(&[b'x'; 4096]).is_ok() {
        sent += 4096;
        assert!(sent < 64 << 20, "the queen goes on reading");
    }

    for body in [
        r#"{"operation":"infer","messages":"a secret"}"#,
        r#"{"operation":"infer","messages":[{"role":"user","content":"x"}],"temperature":1e39}"#,
        r#"{"operation":"status","origin":"job-00000000000000000000000000000000"}"#,
        r#"{"operation":"infer","messages":[{"role":"user","content":"x"}],"scope":"somebody-else"}"#,
    ] {
        let (status, answer) = home.request("POST", "/v1/jobs", body);
        assert_eq!(status, 400, "{answer}");
        assert!(!answer.contains("a secret"), "{answer}");
    }

    let (_, jobs) = home.request("GET", "/v1/jobs", "");
    assert_eq!(jobs, r#"{"jobs":[]}"#);
}
