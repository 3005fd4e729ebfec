use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;

use rbee_protocol::{HiveId, SystemEvent, SystemEventKind, WorkerId, WorkerRef};
use serde_json::{Value, json};

use crate::schema::problems;
use crate::support::{Home, MODEL, answer};

const UNKNOWN: &str = "job-00000000000000000000000000000000";
const JSON: &str = "application/json";

/// A queen's description of itself, and what has been held against it.
struct Described<'h> {
    home: &'h Home,
    document: Value,
    key: String,
    /// The statuses with which each operation has answered.
    answered: BTreeMap<String, BTreeSet<u16>>,
}

impl Described<'_> {
    /// Sends a request, and holds the answer against what is said of `path`, the template of `url`'s.
    fn request(&mut self, method: &str, path: &str, url: &str, headers: &str, body: &str) -> (u16, String) {
        self.answers(method, path, self.home.send(method, url, headers, body))
    }

    /// Holds the answer that comes on `stream` against what is said of `path`.
    fn answers(&mut self, method: &str, path: &str, stream: TcpStream) -> (u16, String) {
        let (status, head, body) = answer(stream);
        let operation = &self.document["paths"][path][method.to_lowercase()];
        let answer = &operation["responses"][status.to_string()];
        assert!(answer.is_object(), "{method} {path} answers {status}, which it does not say: {body}");

        let field = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.into_iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        for name in answer["headers"].as_object().into_iter().flat_map(|headers| headers.keys()) {
            assert!(field(name).is_some(), "{method} {path} lacks {name}: {head}");
        }
        let media_type = field("content-type").and_then(|value| value.split(';').next()).expect("it has one");
        let schema = &answer["content"][media_type]["schema"];
        assert!(schema.is_object(), "{method} {path} answers {media_type}, which it does not say");
        if media_type == JSON {
            self.conforms(schema, &serde_json::from_str(&body).expect("JSON"));
        }
        self.answered.entry(format!("{method} {path}")).or_default().insert(status);
        (status, body)
    }

    /// As the operator.
    fn check(&mut self, method: &str, path: &str, url: &str, body: &str, expected: u16) -> String {
        self.check_as(&self.key.clone(), method, path, url, body, expected)
    }

    fn check_as(
        &mut self,
        key: &str,
        method: &str,
        path: &str,
        url: &str,
        body: &str,
        expected: u16,
    ) -> String {
        let headers = format!("Authorization: Bearer {key}\r\nContent-Type: {JSON}");
        let (status, body) = self.request(method, path, url, &headers, body);
        assert_eq!(status, expected, "{method} {url}: {body}");
        body
    }

    fn conforms(&self, schema: &Value, value: &Value) {
        let problems = problems(&self.document, schema, value);
        assert!(problems.is_empty(), "{problems:#?} in {value:#}");
    }

    fn is_a(&self, name: &str, value: &Value) {
        self.conforms(&json!({"$ref": format!("#/components/schemas/{name}")}), value);
    }

    /// Submits a job, reads its stream in every form, and returns its events.
    fn read(&mut self, request: &Value) -> Vec<Value> {
        self.is_a("SubmitRequest", request);
        let answer = self.check("POST", "/v1/jobs", "/v1/jobs", &request.to_string(), 201);
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let url = answer["sse_url"].as_str().expect("a path");
        let mut read = |accept: &str| {
            let headers = format!("Authorization: Bearer {}\r\nAccept: {accept}", self.key);
            self.request("GET", "/v1/jobs/{id}/stream", url, &headers, "").1
        };
        let (sse, ndjson, _) = (read("text/event-stream"), read("application/x-ndjson"), read("text/plain"));

        self.check_stream("/v1/jobs/{id}/stream", "Event", &sse, &ndjson)
    }

    /// Holds a stream in both its forms against what is said of `path`, and returns its events.
    fn check_stream(&self, path: &str, schema: &str, sse: &str, ndjson: &str) -> Vec<Value> {
        let responses = &self.document["paths"][path]["get"]["responses"]["200"];
        let frame_schema = &responses["content"]["text/event-stream"]["schema"];
        let frames = sse.split("\n\n").filter(|frame| !frame.is_empty() && !frame.starts_with(':'));
        for frame in frames {
            let fields = frame.lines().map(|line| line.split_once(": ").expect("a field"));
            let fields = fields.map(|(name, value)| (name.to_owned(), value.into()));
            self.conforms(frame_schema, &Value::Object(fields.collect()));
        }
        let events = ndjson.lines().map(|line| serde_json::from_str(line).expect("an event in JSON"));
        let events: Vec<Value> = events.collect();
        for event in &events {
            self.is_a(schema, event);
        }
        events
    }

    /// Asks through the APIs of others, rightly and wrongly.
    fn try_other_apis(&mut self) {
        let messages = json!([{"role": "user", "content": "hello"}]);
        for (path, wanted) in [
            ("/v1/chat/completions", json!({"messages": messages, "max_completion_tokens": 2})),
            ("/v1/completions", json!({"prompt": "hello", "max_tokens": 2})),
            ("/v1/responses", json!({"input": "hello", "max_output_tokens": 2})),
            ("/v1/messages", json!({"messages": messages, "max_tokens": 2})),
            ("/v1/messages/count_tokens", json!({"messages": messages})),
            ("/v1/embeddings", json!({"input": "hello"})),
            ("/api/chat", json!({"model": MODEL, "messages": messages, "options": {"num_predict": 2}})),
            ("/api/generate", json!({"model": MODEL, "prompt": "hello", "options": {"num_predict": 2}})),
            ("/api/embed", json!({"model": MODEL, "input": "hello"})),
            ("/api/show", json!({"model": MODEL})),
            ("/api/pull", json!({"model": MODEL})),
        ] {
            for streams in [false, true] {
                let mut wanted = wanted.clone();
                wanted["stream"] = streams.into();
                self.check("POST", path, path, &wanted.to_string(), 200);
            }
            self.check("POST", path, path, "{}", 400);
            self.check("POST", path, path, "nonsense", 400);
        }
        for path in ["/", "/v1/models", "/api/tags", "/api/ps", "/api/version"] {
            self.check("GET", path, path, "", 200);
            assert_eq!(self.request("GET", path, path, "Host: evil.example", "").0, 403);
        }
        let model = "/v1/models/{model}";
        self.check("GET", model, &format!("/v1/models/{MODEL}"), "", 200);
        self.check("GET", model, "/v1/models/none", "", 404);
        let background = json!({"input": "hello", "max_output_tokens": 2, "background": true}).to_string();
        let response = self.check("POST", "/v1/responses", "/v1/responses", &background, 200);
        let response: Value = serde_json::from_str(&response).expect("JSON");
        let id = response["id"].as_str().expect("an id");
        for query in ["", "?stream=true"] {
            self.check("GET", "/v1/responses/{id}", &format!("/v1/responses/{id}{query}"), "", 200);
        }
        self.check("GET", "/v1/responses/{id}", &format!("/v1/responses/{id}?stream=perhaps"), "", 400);
        self.check("POST", "/v1/responses/{id}/cancel", &format!("/v1/responses/{id}/cancel"), "", 200);
        self.check("GET", "/v1/responses/{id}", "/v1/responses/none", "", 404);
        self.check("POST", "/v1/responses/{id}/cancel", "/v1/responses/none/cancel", "", 404);
    }

    /// Submits jobs as `key`, which may have two, until there is one too many.
    fn submit_too_many(&mut self, key: &str) {
        let infer = json!({
            "operation": "infer", "detached": true,
            "messages": [{"role": "user", "content": "Tell me a long story"}],
        });
        for expected in [201, 201, 429] {
            self.check_as(key, "POST", "/v1/jobs", "/v1/jobs", &infer.to_string(), expected);
        }
    }
}

/// The kinds of these events.
fn kinds(events: &[Value]) -> BTreeSet<String> {
    events.iter().filter_map(|event| event["kind"].as_str().map(str::to_owned)).collect()
}

#[test]
fn what_a_queen_answers_is_what_its_description_says() {
    let mut home = Home::with_model();
    home.set("RBEE_JOBS_PER_KEY", "2");
    home.set("RBEE_OLLAMA", "true");
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    let (status, document) = home.request("GET", "/openapi.json", "");
    assert_eq!(status, 200);
    let committed = include_str!("../../../../docs/openapi.json");
    assert_eq!(document, committed, "run `cargo xtask gen`");
    let document: Value = serde_json::from_str(&document).expect("JSON");
    let mut api = Described { home: &home, document, key: home.key(), answered: BTreeMap::new() };
    let ada = home.new_key("ada");

    for (path, expected) in [("/health", 403), ("/openapi.json", 401), ("/v1/info", 401)] {
        api.check("GET", path, path, "", 200);
        let headers = if expected == 403 { "Host: evil.example" } else { "Accept: */*" };
        assert_eq!(api.request("GET", path, path, headers, "").0, expected);
    }

    let infer = json!({
        "operation": "infer", "max_tokens": 8, "seed": 7, "stop": ["never"], "temperature": 0.5, "logprobs": 2,
        "typical_p": 0.9, "repetition_penalty": 1.1, "presence_penalty": -0.5, "frequency_penalty": 0.5,
        "penalty_last_n": 32, "logit_bias": {"5": -100}, "json_schema": {"type": "string"}, "truncate": true,
        "messages": [{"role": "user", "content": "hello"}],
    });
    let mut seen = BTreeSet::new();
    for (request, result) in [
        (infer, None),
        (
            json!({"operation": "infer", "messages": [{"role": "user", "content": "x"}], "model": "none"}),
            None,
        ),
        (json!({"operation": "status"}), Some("QueenReport")),
        (json!({"operation": "hive_status", "hive": "local", "detached": true}), Some("HiveReport")),
        (json!({"operation": "hive_list"}), Some("HiveList")),
        (json!({"operation": "worker_list"}), Some("WorkerList")),
        (json!({"operation": "model_alias", "alias": "gpt-4o", "model": "a-model"}), Some("ModelAlias")),
        (json!({"operation": "model_list"}), Some("ModelList")),
        (json!({"operation": "count_tokens", "prompt": "hello"}), Some("TokenCount")),
    ] {
        let events = api.read(&request);
        let answers = events.iter().filter(|event| event["kind"] == "result");
        let answers: Vec<&Value> = answers.map(|event| &event["result"]).collect();
        assert_eq!(answers.len(), usize::from(result.is_some()), "{events:?}");
        answers.iter().zip(result).for_each(|(answer, result)| api.is_a(result, answer));
        seen.extend(kinds(&events));
    }
    assert_eq!(Vec::from_iter(seen), ["end", "narration", "progress", "result", "token"]);

    let jobs = "/v1/jobs";
    for body in [r#"{"operation":"explode"}"#, r#"{"operation":"hive_watch"}"#, "nonsense"] {
        api.check("POST", jobs, jobs, body, 400);
    }
    let key = format!("Authorization: Bearer {}", home.key());
    assert_eq!(api.request("POST", jobs, jobs, &key, "{}").0, 415);
    assert_eq!(api.request("POST", jobs, jobs, &format!("{key}\r\nOrigin: null"), "{}").0, 403);
    api.check("GET", jobs, jobs, "", 200);
    api.check("GET", jobs, "/v1/jobs?all=true", "", 200);
    api.check("GET", jobs, "/v1/jobs?all=1", "", 400);
    api.check_as(&ada, "GET", jobs, "/v1/jobs?all=true", "", 403);

    let submitted = api.check("POST", jobs, jobs, r#"{"operation":"status"}"#, 201);
    let submitted: Value = serde_json::from_str(&submitted).expect("JSON");
    let id = submitted["job_id"].as_str().expect("an id");
    let (job, stream) = ("/v1/jobs/{id}", "/v1/jobs/{id}/stream");
    for method in ["GET", "DELETE"] {
        let expected = if method == "GET" { 200 } else { 202 };
        api.check(method, job, &format!("/v1/jobs/{id}"), "", expected);
        api.check(method, job, &format!("/v1/jobs/{UNKNOWN}"), "", 404);
        api.check_as(&ada, method, job, &format!("/v1/jobs/{id}"), "", 404);
    }
    api.check("GET", stream, &format!("/v1/jobs/{UNKNOWN}/stream"), "", 404);
    api.check("GET", stream, &format!("/v1/jobs/{id}/stream?after=x"), "", 400);
    api.check("GET", stream, &format!("/v1/jobs/{id}/stream?after=1000"), "", 409);

    api.try_other_apis();

    let keys = "/v1/keys";
    api.check("POST", keys, keys, r#"{"name":"bob","role":"operator"}"#, 201);
    api.check("POST", keys, keys, r#"{"name":"bob"}"#, 409);
    api.check("POST", keys, keys, r#"{"name":"../bob"}"#, 400);
    api.check("GET", keys, keys, "", 200);
    api.check_as(&ada, "GET", keys, keys, "", 403);
    for (name, expected) in [("bob", 200), ("bob", 404), ("operator", 403)] {
        api.check("DELETE", "/v1/keys/{name}", &format!("/v1/keys/{name}"), "", expected);
    }

    api.submit_too_many(&ada);

    api.check("GET", "/metrics", "/metrics", "", 200);
    api.check_as(&ada, "GET", "/metrics", "/metrics", "", 403);

    let system = "/v1/system/events";
    api.check_as(&ada, "GET", system, system, "", 403);
    api.check("GET", system, &format!("{system}?after=x"), "", 400);
    api.check("GET", system, &format!("{system}?after=1000000"), "", 409);
    let streams = ["text/event-stream", "application/x-ndjson", "text/plain"].map(|accept| {
        let stream = home.send("GET", system, &format!("{key}\r\nAccept: {accept}"), "");
        assert_eq!(stream.peek(&mut [0]).expect("the queen answers"), 1);
        stream
    });

    let stop = "/v1/system/stop";
    api.check_as(&ada, "POST", stop, stop, "{}", 403);
    api.check("POST", stop, stop, r#"{"colour":1}"#, 400);
    api.check("POST", stop, stop, "{}", 202);

    let [sse, ndjson, _] = streams.map(|stream| api.answers("GET", system, stream).1);
    let told = kinds(&api.check_stream(system, "SystemEvent", &sse, &ndjson));
    for kind in ["queen_started", "hive_ready", "worker_loaded", "job_ended", "key_revoked", "queen_stopping"]
    {
        assert!(told.contains(kind), "no {kind} in {told:?}");
    }

    for (path, item) in api.document["paths"].as_object().expect("paths by name") {
        for method in item.as_object().expect("operations by method").keys() {
            let operation = format!("{} {path}", method.to_uppercase());
            let statuses = api.answered.get(&operation).unwrap_or_else(|| panic!("try {operation} here"));
            let has = |wanted: fn(u16) -> bool| statuses.iter().any(|status| wanted(*status));
            assert!(has(|status| status < 300) && has(|status| status >= 400), "{operation}: {statuses:?}");
        }
    }
}

#[test]
fn what_a_queen_seldom_tells_of_is_described_too() {
    let document: Value =
        serde_json::from_str(include_str!("../../../../docs/openapi.json")).expect("it is JSON");
    let (hive, reason) = (HiveId::new("local"), "it was killed".to_owned());
    let worker =
        WorkerRef { hive: hive.clone(), worker: WorkerId::new("worker-1"), model: "a-model".to_owned() };
    let rare = [
        SystemEventKind::HiveGone { hive: hive.clone(), reason: reason.clone() },
        SystemEventKind::HiveUnreachable { hive, reason },
        SystemEventKind::WorkerEnded(worker),
        SystemEventKind::JobsResumed { jobs: 2 },
        SystemEventKind::Lost { from: 1, to: 7 },
    ];
    for kind in rare {
        let event = serde_json::to_value(SystemEvent { seq: 7, at_ms: 1, kind }).expect("plain data");
        let schema = json!({"$ref": "#/components/schemas/SystemEvent"});
        assert_eq!(problems(&document, &schema, &event), [""; 0], "{event}");
    }
}

#[test]
fn the_descriptions_examples_are_what_it_says() {
    let document: Value =
        serde_json::from_str(include_str!("../../../../docs/openapi.json")).expect("it is JSON");
    let mut contents = Vec::new();
    collect(&document["paths"], "content", &mut contents);
    let mut count = 0;
    // The fields of that name that are no media types are texts.
    for content in
        contents.iter().filter_map(|content| content.as_object()).flat_map(|content| content.values())
    {
        let named =
            content["examples"].as_object().into_iter().flatten().map(|(_, example)| &example["value"]);
        for example in content.get("example").into_iter().chain(named) {
            let problems = problems(&document, &content["schema"], example);
            assert!(problems.is_empty(), "{problems:#?} in {example:#}");
            count += 1;
        }
    }
    assert!(count >= 8, "only {count} examples");
}

/// Every value of the field `name` in `value`, at any depth.
fn collect<'v>(value: &'v Value, name: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get(name));
            fields.values().for_each(|value| collect(value, name, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, name, found)),
        _ => {}
    }
}
