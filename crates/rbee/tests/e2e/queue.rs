use std::collections::HashMap;
use std::fs;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Following, Home, is_progress, is_token, model_file, text};

/// Submits an infer that goes on without a reader, and returns its id.
fn submit(home: &Home, key: &str, prompt: &str) -> String {
    let (status, body) = home.request_with(key, "POST", "/v1/jobs", &request(prompt));
    assert_eq!(status, 201, "{body}");
    let submitted: Value = serde_json::from_str(&body).expect("JSON");
    submitted["job_id"].as_str().expect("an id").to_owned()
}

fn request(prompt: &str) -> String {
    json!({"operation": "infer", "messages": [{"role": "user", "content": prompt}], "detached": true})
        .to_string()
}

/// Has the only worker wait until what this returns is interrupted.
fn occupy(home: &Home) -> Following {
    let mut following = home.follow(&["wait"]);
    following.until(|event| event["human"].as_str().is_some_and(|human| human.ends_with("runs it")));
    following
}

#[test]
fn keys_take_turns_however_many_jobs_each_has() {
    let home = Home::scripted();
    assert_eq!(home.run(["infer", "hello"]).code, Some(0));
    let (ada, bob) = (home.new_key("ada"), home.new_key("bob"));
    let first = occupy(&home);
    let adas: Vec<_> = (0..4).map(|_| submit(&home, &ada, "x")).collect();
    let bobs: Vec<_> = (0..2).map(|_| submit(&home, &bob, "x")).collect();
    first.signal(Signal::INT);
    first.finish();

    let mut ended = HashMap::new();
    for (key, jobs) in [(&ada, &adas), (&bob, &bobs)] {
        for job in jobs {
            let path = format!("/v1/jobs/{job}/stream");
            let headers = format!("Authorization: Bearer {key}\r\nAccept: application/x-ndjson");
            let (status, body) = home.raw_request("GET", &path, &headers, "");
            assert_eq!(status, 200, "{body}");
            let events: Vec<Value> =
                body.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
            let dispatched = events.iter().find(|event| event["action"] == "schedule");
            ended.insert(job.clone(), dispatched.expect("it was dispatched")["at_ms"].as_u64());
        }
    }
    let at = |job: &String| ended[job].expect("a time");
    // Bob's two had their turns after no more than two of Ada's, who came first.
    assert!(at(&bobs[0]) <= at(&adas[1]), "{ended:?}");
    assert!(at(&bobs[1]) <= at(&adas[2]), "{ended:?}");
    assert!(at(&adas[0]) <= at(&bobs[0]), "{ended:?}");
}

#[test]
fn a_worker_answers_as_many_jobs_at_once_as_it_has_slots() {
    let mut home = Home::scripted();
    home.set("RBEE_SLOTS", "2");
    assert_eq!(home.run(["infer", "hello"]).code, Some(0));
    let (first, second) = (occupy(&home), occupy(&home));
    let workers = home.ask(&["worker", "list"]);
    let worker = &workers["workers"][0];
    assert_eq!((&worker["jobs"], &worker["loaded"]["slots"]), (&json!(2), &json!(2)), "{worker}");

    let mut third = home.follow(&["done"]);
    third.until(is_progress("queued"));
    let place = &third.events[third.events.len() - 1];
    assert_eq!((&place["done"], &place["total"]), (&json!(0), &json!(1)), "{place}");
    // One job has ended before, and that is what the estimate is made of.
    assert!(place["estimate_ms"].is_u64(), "{place}");
    second.signal(Signal::INT);
    second.finish();
    let (status, events, stderr) = third.finish();
    assert_eq!((status.code(), text(&events).as_str()), (Some(0), "done"), "{stderr}");
    first.signal(Signal::INT);
    first.finish();
}

#[test]
fn a_full_queue_refuses_with_429_and_when_to_try_again_and_75() {
    let mut home = Home::scripted();
    home.set("RBEE_WAITING_JOBS", "3");
    home.set("RBEE_WAITING_JOBS_PER_KEY", "2");
    assert_eq!(home.run(["infer", "hello"]).code, Some(0));
    let (ada, bob) = (home.new_key("ada"), home.new_key("bob"));
    let first = occupy(&home);
    for _ in 0..2 {
        submit(&home, &ada, "x");
    }
    let refused = |key: &str| {
        let headers = format!("Authorization: Bearer {key}\r\nContent-Type: application/json");
        let (status, head, body) = home.exchange("POST", "/v1/jobs", &headers, &request("x"));
        let body: Value = serde_json::from_str(&body).expect("JSON");
        // One job has ended before, and that is what the estimate is made of.
        let seconds = body["error"]["retry_after_s"].as_u64().expect("a number of seconds");
        let header = format!("retry-after: {seconds}\r\n");
        assert!(status == 429 && format!("{head}\r\n").to_lowercase().contains(&header), "{head}");
        assert_eq!(body["error"]["code"], "busy");
        body["error"]["message"].as_str().expect("a text").to_owned()
    };
    assert!(refused(&ada).starts_with("2 jobs of yours wait"));
    submit(&home, &bob, "x");
    assert!(refused(&bob).starts_with("3 jobs wait"));
    let ran = home.run(["infer", "hello"]);
    assert_eq!(ran.code, Some(75), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: try again when some have had theirs, in about "), "{}", ran.stderr);
    // What takes no slot is answered all the same.
    assert_eq!(home.run(["hive", "status"]).code, Some(0));
    first.signal(Signal::INT);
    first.finish();
}

#[test]
fn a_worker_that_makes_no_progress_is_killed_and_its_jobs_are_told() {
    let mut home = Home::scripted();
    home.set("RBEE_SLOTS", "2");
    home.set("RBEE_WATCHDOG_S", "1");
    assert_eq!(home.run(["infer", "hello"]).code, Some(0));
    // A job in company of one that goes on is not hung, however long it waits itself.
    let mut busy = home.follow(&["tokens 100000 20 x"]);
    busy.until(is_token);
    let mut silent = home.follow(&["wait"]);
    silent.until(|event| event["human"].as_str().is_some_and(|human| human.ends_with("runs it")));
    let worker = home.worker_pid();
    // Three times as long as a worker without progress is let be.
    for _ in 0..150 {
        busy.until(is_token);
    }
    assert_eq!(home.worker_pid(), worker);
    let jobs = home.ask(&["job", "list"]);
    let running = jobs["jobs"].as_array().expect("a list").iter().filter(|job| job["state"] == "running");
    assert_eq!(running.count(), 2, "{jobs}");
    kill_process(worker, Signal::STOP).expect("the worker runs");
    for following in [busy, silent] {
        let (status, events, stderr) = following.finish();
        assert_eq!(status.code(), Some(70), "{stderr}");
        assert_eq!(events[events.len() - 1]["error"]["code"], "worker_hung");
        assert!(stderr.contains("no progress for 1s") && stderr.contains("watchdog_s"), "{stderr}");
    }
    let next = home.run(["infer", "hello"]);
    assert_eq!((next.code, next.stdout.as_str()), (Some(0), "hello"), "{}", next.stderr);
    assert_ne!(home.worker_pid(), worker);
}

#[test]
fn a_worker_that_says_it_works_is_not_killed_for_saying_no_more() {
    let mut home = Home::scripted();
    home.set("RBEE_WATCHDOG_S", "1");
    let ran = home.run(["infer", "quiet 25 100"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let worker = home.worker_pid();
    assert_eq!(home.run(["infer", "hello"]).code, Some(0));
    assert_eq!(home.worker_pid(), worker);
}

#[test]
fn a_worker_is_told_what_the_models_of_others_take_or_will() {
    let home = Home::scripted();
    for (name, bytes) in [("one", 1000), ("two", 234)] {
        fs::write(home.path("data/models").join(format!("{name}.gguf")), vec![0; bytes]).expect("a file");
    }
    let taken = |model: &str| {
        let ran = home.run(["infer", "-m", model, "taken"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran.stdout.trim().to_owned()
    };
    // These workers never say what they take, as one that is loading does not yet.
    assert_eq!([taken("one"), taken("two")], ["0", "1000"]);
    let all = 1234 + fs::metadata(model_file()).expect("the test model").len();
    assert_eq!(home.run(["infer", "hello"]).code, Some(0));
    fs::write(home.path("data/models/three.gguf"), "x").expect("a file");
    assert_eq!(taken("three"), all.to_string());
}

#[test]
fn why_a_model_cannot_be_loaded_is_told_as_the_worker_says_it() {
    let home = Home::with_model();
    let folder = home.path("folder.gguf");
    fs::create_dir(&folder).expect("a folder in the test's home");
    // The command line would look at it itself.
    assert_eq!(home.run(["status"]).code, Some(0));
    let body =
        json!({"operation": "infer", "prompt": "hello", "model": folder, "detached": true}).to_string();
    let (status, body) = home.request("POST", "/v1/jobs", &body);
    assert_eq!(status, 201, "{body}");
    let submitted: Value = serde_json::from_str(&body).expect("JSON");
    let ran = home.run(["job", "attach", submitted["job_id"].as_str().expect("an id")]);
    // Not that the model is bad, which is 65.
    assert_eq!(ran.code, Some(74), "{}", ran.stderr);
}

#[test]
fn a_model_that_two_names_lead_to_has_one_worker() {
    let home = Home::scripted();
    let models = home.path("data/models");
    fs::write(home.path("elsewhere.gguf"), "x").expect("a file");
    for name in ["one", "two"] {
        let link = models.join(format!("{name}.gguf"));
        std::os::unix::fs::symlink(home.path("elsewhere.gguf"), link).expect("a link");
    }
    let path = home.path("elsewhere.gguf");
    for model in ["one", "two", path.to_str().expect("a temporary folder's path is text")] {
        let ran = home.run(["infer", "-m", model, "hello"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }
    let workers = home.ask(&["worker", "list"]);
    assert_eq!(workers["workers"].as_array().map(Vec::len), Some(1), "{workers}");
}

#[test]
fn a_worker_that_was_stopped_while_idle_is_found_out_by_its_next_job() {
    let mut home = Home::with_model();
    home.set("RBEE_WATCHDOG_S", "2");
    assert_eq!(home.run(["infer", "hello", "--max-tokens", "1"]).code, Some(0));
    kill_process(home.worker_pid(), Signal::STOP).expect("the worker runs");
    let ran = home.run(["infer", "hello"]);
    assert_eq!(ran.code, Some(70), "{}", ran.stderr);
    assert!(ran.stderr.contains("error: worker-1 made no progress for 2s"), "{}", ran.stderr);
    assert_eq!(home.run(["infer", "hello", "--max-tokens", "1"]).code, Some(0));
}

#[test]
fn a_hives_status_tells_what_the_machine_has_and_what_workers_do() {
    let home = Home::scripted();
    assert_eq!(home.run(["infer", "hello"]).code, Some(0));
    let report = home.ask(&["hive", "status"]);
    let cpu = &report["devices"][0];
    let (cores, threads) = (cpu["cores"].as_u64(), cpu["threads"].as_u64());
    assert!(cores.is_some_and(|cores| cores >= 1 && Some(cores) <= threads), "{cpu}");
    assert!(report["memory_available_bytes"].as_u64() <= report["memory_total_bytes"].as_u64(), "{report}");
    assert!(report["instructions"]["used"].is_array(), "{report}");
    let worker = &report["workers"][0];
    assert_eq!(worker["loaded"], json!({"slots": 1, "context_length": 4096, "threads": 1}));
    assert!(worker["progress_at_ms"].as_u64() >= report["started_at_ms"].as_u64(), "{worker}");
    // The queen is not told of every token, and says nothing rather than something old.
    let status = home.ask(&["status"]);
    assert!(status["workers"][0]["loaded"].is_object(), "{status}");
    assert!(status["workers"][0]["progress_at_ms"].is_null(), "{status}");
}
