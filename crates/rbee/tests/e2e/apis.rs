//! OpenAI's, Anthropic's and Ollama's API, over HTTP, with the real model. Their own clients try them in `clients.rs`.

use std::fs;
use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use crate::support::{Home, MODEL, answer};

const JSON: &str = "Content-Type: application/json";

/// A home whose queen runs, answers Ollama's clients, and has its one model loaded.
fn serving() -> Home {
    let mut home = Home::with_model();
    home.set("RBEE_OLLAMA", "true");
    assert_eq!(home.run(["infer", "hello", "--max-tokens", "1"]).code, Some(0));
    home
}

/// Sends a request with this key, and returns status, the job and the body.
fn post(home: &Home, key: &str, path: &str, body: &Value) -> (u16, Option<String>, String) {
    let headers = format!("Authorization: Bearer {key}\r\n{JSON}");
    let (status, head, body) = home.exchange("POST", path, &headers, &body.to_string());
    let job = head.lines().find_map(|line| line.strip_prefix("x-rbee-job: ")).map(str::to_owned);
    (status, job, body)
}

/// A row of a table in docs/compatibility.md.
#[derive(Debug)]
struct Row {
    path: String,
    field: String,
    example: Value,
    what: String,
}

fn rows() -> Vec<Row> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compatibility.md");
    let text = fs::read_to_string(file).expect("the tables");
    let mut rows = Vec::new();
    let mut paths: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            paths = title.split('`').filter_map(|part| part.strip_prefix("POST ")).collect();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, field, example, what, note, _] = cells[..] else { continue };
        let Some(example) = example.strip_prefix('`').and_then(|example| example.strip_suffix('`')) else {
            continue;
        };
        for path in &paths {
            let other = match note {
                note if note.starts_with("of chats") => "/api/generate",
                note if note.starts_with("of `generate`") => "/api/chat",
                _ => "",
            };
            if *path != other {
                rows.push(Row {
                    path: (*path).to_owned(),
                    field: field.trim_matches('`').to_owned(),
                    example: serde_json::from_str(example).expect("an example in JSON"),
                    what: what.to_owned(),
                });
            }
        }
    }
    rows
}

/// The least that a request of this path has.
fn base(path: &str) -> Value {
    let messages = json!([{"role": "user", "content": "hello"}]);
    match path {
        "/v1/chat/completions" => json!({"messages": messages, "max_tokens": 2}),
        "/v1/completions" => json!({"prompt": "Once", "max_tokens": 2}),
        "/v1/embeddings" => json!({"input": "hello"}),
        "/v1/responses" => json!({"input": "hello", "max_output_tokens": 2}),
        "/v1/messages" | "/v1/messages/count_tokens" => json!({"messages": messages, "max_tokens": 2}),
        "/api/chat" => json!({"model": MODEL, "messages": messages, "options": {"num_predict": 2}}),
        "/api/generate" => json!({"model": MODEL, "prompt": "hello", "options": {"num_predict": 2}}),
        "/api/embed" => json!({"model": MODEL, "input": "hello"}),
        _ => panic!("say what a request to {path} has"),
    }
}

#[test]
fn each_field_is_taken_ignored_or_refused_as_the_tables_say() {
    let home = serving();
    let rows = rows();
    assert!(rows.len() > 100, "{} rows", rows.len());
    for row in rows {
        let mut body = base(&row.path);
        body[&row.field] = row.example.clone();
        if row.field == "top_logprobs" && row.what == "supported" {
            body["logprobs"] = true.into();
        }
        let (status, job, answer) = post(&home, &home.key(), &row.path, &body);
        match row.what.as_str() {
            "supported" | "ignored" => assert_eq!(status, 200, "{row:?}: {answer}"),
            "refused" => {
                assert_eq!(status, 400, "{row:?}: {answer}");
                assert!(answer.contains(&format!("`{}`", row.field)), "{row:?}: {answer}");
            }
            what => panic!("`{what}` is no word for {row:?}"),
        }
        if status == 200 {
            let job = job.unwrap_or_else(|| panic!("no job for {row:?}"));
            let first = job.split(", ").next().expect("a job");
            let (_, stream) = home.request("GET", &format!("/v1/jobs/{first}/stream"), "");
            let is_told = stream.contains(&format!("`{}` does nothing here", row.field));
            assert_eq!(is_told, row.what == "ignored", "{row:?}: {stream}");
        }
    }
}

#[test]
fn a_field_of_the_wrong_type_is_named_in_the_words_of_each_api() {
    let home = serving();
    for (path, field, pointer) in [
        ("/v1/chat/completions", "temperature", "/error/message"),
        ("/v1/completions", "max_tokens", "/error/message"),
        ("/v1/embeddings", "encoding_format", "/error/message"),
        ("/v1/responses", "instructions", "/error/message"),
        ("/v1/messages", "max_tokens", "/error/message"),
        ("/api/chat", "options", "/error"),
    ] {
        let mut body = base(path);
        body[field] = if field == "instructions" { json!({"a": "secret"}) } else { json!("secret") };
        let (status, _, answer) = post(&home, &home.key(), path, &body);
        let parsed: Value = serde_json::from_str(&answer).expect("JSON");
        let message = parsed.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        assert!(status == 400 && message.starts_with(&format!("`{field}`")), "{path}: {answer}");
        assert!(!answer.contains("secret"));
    }
    let (status, _, answer) = post(&home, "nobody", "/v1/messages", &base("/v1/messages"));
    assert!(status == 401 && answer.contains(r#""type":"authentication_error""#), "{answer}");
}

#[test]
fn an_answer_in_pieces_is_the_answer_in_one_and_both_are_the_jobs() {
    let home = serving();
    let key = home.key();
    for (number, prompt) in ["Tell me of bees.", "Count to ten.", "Name three colours."].iter().enumerate() {
        let mut body = json!({
            "messages": [{"role": "user", "content": prompt}], "max_tokens": 24, "temperature": 0, "model": MODEL,
        });
        let (_, job, answer) = post(&home, &key, "/v1/chat/completions", &body);
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let text = answer["choices"][0]["message"]["content"].as_str().expect("a text");
        assert!(text.len() > 10, "{text}");

        body["stream"] = true.into();
        body["stream_options"] = json!({"include_usage": true});
        let (_, _, stream) = post(&home, &key, "/v1/chat/completions", &body);
        let data: Vec<&str> = stream.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(data.last(), Some(&"[DONE]"), "prompt {number}");
        let chunks: Vec<Value> =
            data[..data.len() - 1].iter().map(|chunk| serde_json::from_str(chunk).expect("JSON")).collect();
        let streamed: String =
            chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta/content")?.as_str()).collect();
        assert_eq!(streamed, text);
        let usage =
            |of: &Value| (of["usage"]["prompt_tokens"].clone(), of["usage"]["completion_tokens"].clone());
        assert_eq!(usage(chunks.last().expect("chunks")), usage(&answer));

        let job = job.expect("a job");
        let attached = home.run(["job", "attach", &job]);
        assert_eq!((attached.code, attached.stdout.trim_end()), (Some(0), text.trim_end()));
    }
}

#[test]
fn a_response_goes_on_in_the_background_and_is_read_again_from_anywhere() {
    let home = serving();
    let key = home.key();
    let body = json!({
        "input": "Tell me a story about a bee.", "max_output_tokens": 40, "temperature": 0, "background": true,
        "model": "gpt-4o",
    });
    let (status, job, created) = post(&home, &key, "/v1/responses", &body);
    let created: Value = serde_json::from_str(&created).expect("JSON");
    assert_eq!((status, &created["background"]), (200, &json!(true)), "{created}");
    let id = created["id"].as_str().expect("an id").to_owned();
    assert_eq!(job.expect("a job").trim_start_matches("job-"), id.trim_start_matches("resp_"));

    let (_, stream) = home.request("GET", &format!("/v1/responses/{id}?stream=true"), "");
    let events = |stream: &str| -> Vec<Value> {
        let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|event| serde_json::from_str(event).expect("JSON")).collect()
    };
    let all = events(&stream);
    let (_, rest) = home.request("GET", &format!("/v1/responses/{id}?stream=true&starting_after=5"), "");
    assert_eq!(events(&rest), all[6..]);
    let (_, whole) = home.request("GET", &format!("/v1/responses/{id}"), "");
    let whole: Value = serde_json::from_str(&whole).expect("JSON");
    assert_eq!(all.last().expect("events")["response"], whole);
    assert_eq!(whole["status"], "incomplete");
    assert_eq!(whole["model"], "gpt-4o");

    let ada = home.new_key("ada");
    for (method, path) in [
        ("GET", format!("/v1/responses/{id}")),
        ("GET", format!("/v1/responses/{id}?stream=true")),
        ("POST", format!("/v1/responses/{id}/cancel")),
    ] {
        assert_eq!(home.request_with(&ada, method, &path, "").0, 404, "{path}");
    }
}

#[test]
fn a_background_response_is_cancelled_by_its_owner_alone() {
    let home = serving();
    let (ada, bob) = (home.new_key("ada"), home.new_key("bob"));
    let body = json!({"input": "Count from 1 to 1000.", "background": true, "logit_bias": {"2": -100}});
    let (_, job, created) = post(&home, &ada, "/v1/responses", &body);
    let created: Value = serde_json::from_str(&created).expect("JSON");
    let path = format!("/v1/responses/{}/cancel", created["id"].as_str().expect("an id"));
    let job = job.expect("a job");
    let state = || {
        let (_, info) = home.request_with(&ada, "GET", &format!("/v1/jobs/{job}"), "");
        serde_json::from_str::<Value>(&info).expect("JSON")["state"].clone()
    };
    for stranger in [&bob, &home.key()] {
        assert_eq!(home.request_with(stranger, "POST", &path, "").0, 404);
        assert_ne!(state(), "cancelled");
    }
    let (status, cancelled) = home.request_with(&ada, "POST", &path, "");
    let cancelled: Value = serde_json::from_str(&cancelled).expect("JSON");
    assert_eq!((status, &cancelled["status"]), (200, &json!("cancelled")), "{cancelled}");
    assert_eq!(state(), "cancelled");
    let (_, jobs) = home.request_with(&bob, "GET", "/v1/jobs", "");
    assert!(!jobs.contains(&job), "{jobs}");
}

#[test]
fn what_is_cancelled_is_not_asked_for_again_by_clients_that_would() {
    let home = serving();
    let body = json!({
        "messages": [{"role": "user", "content": "Count from 1 to 1000."}], "logit_bias": {"2": -100},
    });
    let headers = format!("Authorization: Bearer {}\r\n{JSON}", home.key());
    let waiting = home.send("POST", "/v1/chat/completions", &headers, &body.to_string());
    let job = loop {
        let jobs = home.ask(&["job", "list"]);
        let mut jobs = jobs["jobs"].as_array().expect("a list").iter();
        if let Some(job) = jobs.find(|job| job["operation"] == "infer" && job["state"] == "running") {
            break job["job_id"].as_str().expect("an id").to_owned();
        }
    };
    assert_eq!(home.run(["job", "cancel", &job]).code, Some(0));
    let (status, head, body) = answer(waiting);
    assert!(status == 409 && head.contains("x-should-retry: false"), "{head}");
    assert!(body.contains(r#""code":"cancelled""#), "{body}");
}

#[test]
fn clients_that_vanish_leave_no_job_and_no_slot_taken() {
    let home = serving();
    let headers = format!("Authorization: Bearer {}\r\n{JSON}", home.key());
    for (path, streams) in
        [("/v1/chat/completions", true), ("/v1/messages", true), ("/v1/chat/completions", false)]
    {
        let body = json!({
            "messages": [{"role": "user", "content": "Count from 1 to 1000."}], "max_tokens": 1500,
            "stream": streams,
        });
        let streams_open: Vec<_> =
            (0..10).map(|_| home.send("POST", path, &headers, &body.to_string())).collect();
        for stream in streams_open {
            if streams {
                let mut lines = BufReader::new(stream).lines();
                let begun = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("data: ")));
                assert!(begun.is_some(), "the answer begins");
            }
        }
        home.wait_for_idle_workers();
        let jobs = home.ask(&["job", "list"]);
        for job in jobs["jobs"].as_array().expect("a list") {
            assert!(job["ended_at_ms"].is_u64(), "{job}");
        }
    }
    assert_eq!(home.run(["infer", "hello", "--max-tokens", "1"]).code, Some(0));
}

#[test]
fn ollamas_clients_are_told_what_a_model_is() {
    let home = serving();
    let body = json!({"model": MODEL}).to_string();
    let (status, _, shown) = home.exchange("POST", "/api/show", JSON, &body);
    assert_eq!(status, 200, "{shown}");
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let details = json!({
        "format": "gguf", "family": "llama", "parameter_size": "135M", "quantization_level": "Q4_1",
    });
    assert_eq!(shown["details"], details);
    let info = &shown["model_info"];
    assert_eq!(
        (&info["general.architecture"], &info["llama.context_length"]),
        (&json!("llama"), &json!(8192))
    );
    assert!(!shown.to_string().contains(".gguf"), "a path of this machine: {shown}");
}

#[test]
fn ollamas_clients_need_no_key_and_only_where_the_operator_wants_them() {
    let home = serving();
    let body = base("/api/chat").to_string();
    let (status, _, lines) = home.exchange("POST", "/api/chat", JSON, &body);
    assert_eq!(status, 200, "{lines}");
    let last: Value = serde_json::from_str(lines.lines().last().expect("lines")).expect("JSON");
    assert_eq!((&last["done"], &last["done_reason"]), (&json!(true), &json!("length")));
    let wrong = format!("Authorization: Bearer nobody\r\n{JSON}");
    assert_eq!(home.exchange("POST", "/api/chat", &wrong, &body).0, 401);
    // What guests ask is for no other route.
    assert_eq!(home.exchange("GET", "/v1/jobs", "", "").0, 401);
    // A page can ask without a word about itself, but for this one.
    for (site, expected) in [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)] {
        let headers = format!("Sec-Fetch-Site: {site}");
        assert_eq!(home.exchange("GET", "/api/tags", &headers, "").0, expected, "{site}");
    }
    for empty in [json!({"model": MODEL, "messages": []}), json!({"model": MODEL})] {
        let (_, _, lines) = home.exchange("POST", "/api/chat", JSON, &empty.to_string());
        let line: Value = serde_json::from_str(&lines).expect("a line");
        assert_eq!((&line["done_reason"], &line["message"]["role"]), (&json!("load"), &json!("assistant")));
    }

    let closed = Home::with_model();
    closed.ask(&["status"]);
    assert_eq!(closed.request("GET", "/api/version", "").0, 404);
    assert_eq!(closed.exchange("GET", "/api/version", "", "").0, 401);
}

#[test]
fn pages_of_the_origins_that_are_listed_may_ask_with_a_key() {
    let home = Home::with_model();
    fs::create_dir_all(home.path("config")).expect("a folder in the test's home");
    fs::write(home.path("config/config.toml"), "[queen]\norigins = [\"http://localhost:3000\"]\n")
        .expect("the settings can be written");
    home.ask(&["status"]);
    let page = "Origin: http://localhost:3000";
    let preflight =
        format!("{page}\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-a");
    let (status, head, _) = home.exchange("OPTIONS", "/v1/chat/completions", &preflight, "");
    assert_eq!(status, 204);
    assert!(head.contains("access-control-allow-origin: http://localhost:3000"), "{head}");
    assert!(head.contains("access-control-allow-headers: x-a"), "{head}");
    let (status, head, _) = home.exchange("GET", "/v1/jobs", page, "");
    assert!(status == 401 && head.contains("access-control-allow-origin"), "{head}");
    let with_key = format!("{page}\r\nX-API-Key: {}", home.key());
    assert_eq!(home.exchange("GET", "/v1/jobs", &with_key, "").0, 200);
    for stranger in ["http://localhost:3001", "http://localhost:3000.evil.example", "null"] {
        let preflight = format!("Origin: {stranger}\r\nAccess-Control-Request-Method: POST");
        let (status, head, _) = home.exchange("OPTIONS", "/v1/chat/completions", &preflight, "");
        assert!(status == 403 && !head.contains("access-control"), "{head}");
    }
}
