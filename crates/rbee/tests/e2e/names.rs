//! What models are called by those who ask for them: their own names, aliases, and names that nobody knows here.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Home, MODEL, model_file, narration};

/// The events of the job that this request makes, or the status that it is refused with.
fn try_job(home: &Home, key: &str, request: &Value) -> Result<Vec<Value>, u16> {
    let (status, answer) = home.request_with(key, "POST", "/v1/jobs", &request.to_string());
    if status != 201 {
        return Err(status);
    }
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let headers = format!("Authorization: Bearer {key}\r\nAccept: application/x-ndjson");
    let url = answer["sse_url"].as_str().expect("a path");
    let (_, stream) = home.raw_request("GET", url, &headers, "");
    Ok(stream.lines().map(|line| serde_json::from_str(line).expect("an event")).collect())
}

fn job(home: &Home, key: &str, request: &Value) -> Vec<Value> {
    try_job(home, key, request).expect("the request is taken")
}

fn infer(model: &str, fallback: bool) -> Value {
    json!({
        "operation": "infer", "model": model, "fallback": fallback, "max_tokens": 1,
        "messages": [{"role": "user", "content": "hi"}],
    })
}

fn end(events: &[Value]) -> &Value {
    events.last().filter(|event| event["kind"] == "end").expect("an end")
}

/// The code of the error that a job ended with, and its hint.
fn error(events: &[Value]) -> (&str, &str) {
    let error = &end(events)["error"];
    (error["code"].as_str().unwrap_or(""), error["hint"].as_str().unwrap_or(""))
}

/// Adds a model of this name, or a file at this path, to the home's models.
fn add_model(home: &Home, name: &str) -> String {
    let path = home.path(&format!("data/models/{name}.gguf"));
    fs::create_dir_all(path.parent().expect("a folder")).expect("the test's home");
    fs::copy(model_file(), &path).expect("the test's home");
    path.to_str().expect("UTF-8").to_owned()
}

fn workers(home: &Home) -> usize {
    home.ask(&["worker", "list"])["workers"].as_array().expect("a list").len()
}

#[test]
fn a_name_that_nobody_knows_is_answered_by_the_only_model_where_that_is_asked_for() {
    let home = Home::scripted();
    let ada = home.new_key("ada");
    let unknown = job(&home, &ada, &infer("gpt-4o", false));
    assert_eq!(error(&unknown).0, "not_found");

    let first = job(&home, &ada, &infer("gpt-4o", true));
    assert_eq!(end(&first)["state"], "succeeded", "{first:?}");
    let said = format!("There is no model gpt-4o here: {MODEL} takes its place, the only one that is here");
    assert!(narration(&first).contains(&said), "{}", narration(&first));

    // What is loaded now counts, and what else there is does not.
    let other = add_model(&home, "other");
    let again = job(&home, &ada, &infer("claude", true));
    let said = format!("There is no model claude here: {MODEL} takes its place, the only one that is loaded");
    assert!(narration(&again).contains(&said), "{}", narration(&again));
    assert_eq!(workers(&home), 1);
    for name in ["", MODEL] {
        let own = job(
            &home,
            &ada,
            &json!({
                "operation": "infer", "fallback": true, "messages": [{"role": "user", "content": "hi"}],
                "model": if name.is_empty() { Value::Null } else { name.into() },
            }),
        );
        assert!(end(&own)["state"] == "succeeded" && !narration(&own).contains("no model"), "{own:?}");
    }

    // A model that there is answers itself, by its name and, for operators, by its path.
    let path = home.path("own.gguf");
    fs::rename(&other, &path).expect("the test's home");
    let own = job(&home, &home.key(), &infer(path.to_str().expect("UTF-8"), true));
    assert!(end(&own)["state"] == "succeeded" && !narration(&own).contains("no model"), "{own:?}");
    assert_eq!(workers(&home), 2);
    let which = job(&home, &ada, &infer("gpt-4o", true));
    assert!(error(&which).0 == "not_found" && error(&which).1.contains(MODEL), "{:?}", error(&which));
}

#[test]
fn with_none_loaded_and_several_there_nobody_guesses() {
    let home = Home::scripted();
    add_model(&home, "other");
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    let which = job(&home, &home.key(), &infer("gpt-4o", true));
    let (code, hint) = error(&which);
    assert!(code == "not_found" && hint.contains(MODEL) && hint.contains("other"), "{code}: {hint}");
    assert_eq!(workers(&home), 0);
}

#[test]
fn a_user_names_no_file_of_the_machine_where_another_model_may_answer_either() {
    let home = Home::scripted();
    let ada = home.new_key("ada");
    add_model(&home, "openai/gpt-4o");
    assert_eq!(home.run(["infer", "hello"]).code, Some(0));
    for path in ["/etc/passwd", "/no/such/file", "//etc/passwd"] {
        assert_eq!(try_job(&home, &ada, &infer(path, true)).expect_err(path), 403, "{path}");
    }
    // There are files at some of these, seen from some folder, and they are answered all alike.
    for name in
        ["openai/gpt-4o", "../models/openai/gpt-4o", "./config.toml", "../../../../../../../etc/passwd", "a/"]
    {
        let events = job(&home, &ada, &infer(name, true));
        let said = format!("There is no model {name} here: {MODEL} takes its place");
        assert!(narration(&events).contains(&said), "{}", narration(&events));
        assert_eq!(end(&events)["state"], "succeeded");
        assert_eq!(try_job(&home, &ada, &infer(name, false)).expect_err(name), 403, "{name}");
    }
    assert_eq!(workers(&home), 1);
    let long = "x".repeat(5000);
    for name in ["", "\0", "a\0b", long.as_str()] {
        assert_eq!(try_job(&home, &ada, &infer(name, true)).expect_err("it is no name"), 400);
    }
}

#[test]
fn an_alias_stands_for_a_model_for_everybody_until_it_is_removed() {
    let home = Home::scripted();
    let ada = home.new_key("ada");
    let set = home.run(["model", "alias", "gpt-4o", MODEL]);
    assert_eq!((set.code, set.stdout), (Some(0), format!("gpt-4o stands for {MODEL}\n")), "{}", set.stderr);
    let path = home.path("own.gguf");
    fs::copy(model_file(), &path).expect("the test's home");
    let path = path.to_str().expect("UTF-8");
    assert_eq!(home.ask(&["model", "alias", "big", path]), json!({"alias": "big", "model": path}));

    let ran = home.run(["infer", "-m", "gpt-4o", "hello"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "hello"), "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("gpt-4o stands for {MODEL}")), "{}", ran.stderr);
    assert_eq!(home.ask(&["model", "list"])["aliases"], json!({"big": path, "gpt-4o": MODEL}));
    let list = home.run(["model", "list"]).stdout;
    assert!(
        list.ends_with(&format!("\nAliases\nALIAS   MODEL\nbig     {path}\ngpt-4o  {MODEL}\n")),
        "{list}"
    );

    // The operator has said which file it is, so that everybody may ask for it by that name, and only so.
    assert_eq!(home.run(["queen", "stop"]).code, Some(0));
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    let events = job(&home, &ada, &infer("big", false));
    assert_eq!(end(&events)["state"], "succeeded", "{events:?}");
    assert_eq!(try_job(&home, &ada, &infer(path, false)).expect_err("a path"), 403);
    let alias = json!({"operation": "model_alias", "alias": "mine", "model": "/etc/passwd"});
    assert_eq!(try_job(&home, &ada, &alias).expect_err("no operator"), 403);

    assert_eq!(home.run(["model", "pull", path]).code, Some(0));
    for (args, code, said) in [
        (&["chain", "gpt-4o"][..], 2, "alias of an alias"),
        (&["self", "self"], 2, "`self` would stand for itself"),
        (&["x", "ftp://box/x.gguf"], 2, "neither a name nor an absolute path"),
        (&["own", MODEL], 0, "own is also the name of a model"),
        (&["own", "--remove"], 0, ""),
        (&["a/b", MODEL], 2, "no name"),
        (&["x", "./missing.gguf"], 66, "missing.gguf"),
        (&["nobody", "--remove"], 66, "no alias"),
    ] {
        let ran = home.run(["model", "alias"].iter().chain(args));
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{args:?}: {}", ran.stderr);
    }
    let ran = home.run(["model", "alias", "later", "no-such"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "later stands for no-such\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("For now, ") && ran.stderr.contains("no-such"), "{}", ran.stderr);
    for (args, said) in [
        (&["model", "show", "later"][..], "later stands for no-such: there is no model `no-such`"),
        (&["infer", "-m", "later", "hello"], "later stands for no-such: there is no model `no-such`"),
        (&["model", "rm", "later"], "later is no model, but an alias of no-such"),
        (&["model", "rm", "later"], "`rbee model alias later --remove` takes it away"),
    ] {
        let ran = home.run(args);
        assert!(ran.code == Some(66) && ran.stderr.contains(said), "{args:?}: {}", ran.stderr);
    }
    let ran = home.run(["model", "rm", MODEL]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("is the default model: a job that names none fetches it again"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("gpt-4o"), "it is fetched again for that name, too: {}", ran.stderr);
    assert_eq!(home.run(["model", "pull", path]).code, Some(0));
    assert_eq!(home.run(["model", "alias", "mine", "own"]).code, Some(0));
    let ran = home.run(["model", "rm", "own"]);
    let said = "mine stands for a model that is gone: `rbee model alias mine --remove` ends that";
    assert!(ran.code == Some(0) && ran.stderr.contains(said), "{}", ran.stderr);
    assert_eq!(home.run(["model", "alias", "later", "--remove"]).code, Some(0));
    assert_eq!(home.run(["model", "alias", "big", "--remove"]).stdout, "big stands for nothing any more\n");
    assert_eq!(error(&job(&home, &ada, &infer("big", false))).0, "not_found");

    // A damaged file keeps the queen from starting with less than it promised.
    assert_eq!(home.run(["queen", "stop"]).code, Some(0));
    fs::write(home.path("config/aliases.json"), "{").expect("our own file");
    let ran = home.run(["queen", "start"]);
    assert!(ran.code == Some(65) && ran.stderr.contains("aliases.json"), "{}", ran.stderr);
}

#[test]
fn embeddings_and_counts_are_asked_for_by_any_name_too() {
    let home = Home::with_model();
    assert_eq!(home.run(["model", "alias", "ada-002", MODEL]).code, Some(0));
    let key = home.key();
    for operation in [
        json!({"operation": "embed", "input": ["bee"]}),
        json!({"operation": "count_tokens", "prompt": "bee"}),
    ] {
        for (model, said) in [("ada-002", "stands for"), ("unknown/one", "takes its place")] {
            let mut operation = operation.clone();
            operation["model"] = model.into();
            operation["fallback"] = true.into();
            let events = job(&home, &key, &operation);
            assert_eq!(end(&events)["state"], "succeeded", "{events:?}");
            assert!(narration(&events).contains(said), "{}", narration(&events));
        }
    }
    assert_eq!(workers(&home), 1);
}

#[test]
fn an_end_tells_which_stop_string_it_was_and_only_then() {
    let home = Home::with_model();
    let ask = |stop: &[&str]| {
        job(
            &home,
            &home.key(),
            &json!({
                "operation": "infer", "temperature": 0, "stop": stop,
                "messages": [{"role": "user", "content": "hello"}],
            }),
        )
    };
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    let cut = ask(&["nowhere", " assist", "today"]);
    assert_eq!((&end(&cut)["finish_reason"], &end(&cut)["stop"]), (&"stop".into(), &" assist".into()));
    let whole = ask(&["nowhere"]);
    assert_eq!((&end(&whole)["finish_reason"], end(&whole).get("stop")), (&"stop".into(), None));
}

#[test]
fn tokens_are_counted_as_an_answer_would_read_them_also_where_they_do_not_fit() {
    let mut home = Home::with_model();
    home.set("RBEE_CONTEXT_LENGTH", "512");
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    let key = home.key();
    let count = |mut request: Value| {
        request["operation"] = "count_tokens".into();
        let events = job(&home, &key, &request);
        assert_eq!(end(&events)["state"], "succeeded", "{events:?}");
        assert!(
            events.iter().all(|event| event["kind"] != "token" && event["phase"] != "prefill"),
            "{events:?}"
        );
        let result = events.iter().find(|event| event["kind"] == "result").expect("an answer");
        result["result"]["prompt_tokens"].as_u64().expect("a number")
    };
    let system = json!({"role": "system", "content": "Be brief."});
    let user = json!({"role": "user", "content": "Does it rain in Bern?"});
    let tool = json!({"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}});
    for request in [
        json!({"prompt": "Once upon a time"}),
        json!({"messages": [user]}),
        json!({"messages": [system, user]}),
        json!({"messages": [system, user], "tools": [tool]}),
        json!({"messages": [user], "tools": [tool], "tool_choice": "required"}),
    ] {
        let mut infer = request.clone();
        infer["operation"] = "infer".into();
        infer["max_tokens"] = 1.into();
        let answer = job(&home, &key, &infer);
        assert_eq!(end(&answer)["usage"]["prompt_tokens"], count(request.clone()), "{request}");
    }

    let long = "word ".repeat(2000);
    let long = json!({"messages": [{"role": "user", "content": long}]});
    let tokens = count(long.clone());
    assert!((2000..2200).contains(&tokens), "{tokens}");
    let mut infer = long.clone();
    infer["operation"] = "infer".into();
    assert_eq!(error(&job(&home, &key, &infer)).0, "context_full");

    // What an answer would be refused for, a count is, too.
    let refused = json!({"operation": "count_tokens", "messages": [{"role": "system", "content": "x"}]});
    assert_eq!(try_job(&home, &key, &refused).expect_err("nobody asks"), 400);
}
