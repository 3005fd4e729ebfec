use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Following, Home, is_token, model_file};

/// A home with these models, whose workers do what the prompt says.
fn home(models: &[&str]) -> Home {
    let home = Home::scripted();
    for name in models {
        let file = home.path("data/models").join(format!("{name}.gguf"));
        fs::hard_link(model_file(), &file)
            .or_else(|_| fs::copy(model_file(), &file).map(drop))
            .expect("the test model can be linked or copied");
    }
    home
}

/// The models that are loaded, and whether they are busy or idle.
fn loaded(home: &Home) -> Vec<(String, String)> {
    let list = home.ask(&["worker", "list"]);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let workers = list["workers"].as_array().expect("a list of workers").iter();
    let mut loaded: Vec<_> = workers.map(|worker| (text(&worker["model"]), text(&worker["state"]))).collect();
    loaded.sort();
    loaded
}

fn infer(home: &Home, model: &str) -> Option<i32> {
    let ran = home.run(["infer", "-m", model, "hello"]);
    if ran.code == Some(0) {
        assert_eq!(ran.stdout, "hello");
    }
    ran.code
}

/// An answer of `model` that goes on until it is cancelled, and has begun.
fn busy(home: &Home, model: &str) -> Following {
    let mut following = home.follow(&["-m", model, "tokens 1000000 20 x"]);
    following.until(is_token);
    following
}

fn wait_until_loaded(home: &Home, models: &[&str]) {
    for _ in 0..500 {
        let loaded = loaded(home);
        if loaded.iter().map(|(model, _)| model.as_str()).eq(models.iter().copied()) {
            return;
        }
    }
    panic!("loaded are {:?}, not {models:?}", loaded(home));
}

#[test]
fn a_model_that_nobody_uses_is_unloaded_as_the_job_says() {
    let home = home(&["a", "b"]);
    assert_eq!(home.run(["infer", "-m", "a", "--keep-alive", "0", "hello"]).code, Some(0));
    wait_until_loaded(&home, &[]);
    assert_eq!(home.run(["infer", "-m", "b", "--keep-alive", "forever", "hello"]).code, Some(0));
    let list = home.ask(&["worker", "list"]);
    assert_eq!(list["workers"][0]["keep_alive_s"], Value::Null, "{list}");
    assert_eq!(infer(&home, "a"), Some(0));
    let list = home.ask(&["worker", "list"]);
    assert_eq!(list["workers"][1]["keep_alive_s"], 300, "{list}");
}

#[test]
fn a_model_stays_loaded_while_it_is_used_however_short_it_is_to_stay_after() {
    let mut home = home(&["a"]);
    home.set("RBEE_KEEP_ALIVE_S", "0");
    let answer = busy(&home, "a");
    assert_eq!(loaded(&home), [("a".to_owned(), "busy".to_owned())]);
    answer.signal(Signal::INT);
    assert_eq!(answer.finish().0.code(), Some(130));
    wait_until_loaded(&home, &[]);
}

#[test]
fn the_model_that_was_idle_for_longest_makes_room_and_a_busy_or_a_pinned_one_never_does() {
    let home = home(&["a", "b", "c", "large"]);
    assert_eq!(home.run(["worker", "start", "-m", "c", "--pin"]).code, Some(0));
    assert_eq!(infer(&home, "a"), Some(0));
    let answer = busy(&home, "b");
    let ran = home.run(["infer", "-m", "large", "hello"]);
    assert_eq!(ran.code, Some(69), "{ran:?}");
    assert!(ran.stderr.contains("of a, which is idle, to make room"), "{ran:?}");
    let left = [("b".to_owned(), "busy".to_owned()), ("c".to_owned(), "idle".to_owned())];
    assert_eq!(loaded(&home), left);

    answer.signal(Signal::INT);
    answer.finish();
    // Room for all that asks for it at once is made once.
    assert_eq!(home.run(["worker", "stop", "worker-1"]).code, Some(0));
    let many: Vec<_> = (0..4).map(|_| home.follow(&["-m", "large", "hello"])).collect();
    for answer in many {
        assert_eq!(answer.finish().0.code(), Some(0));
    }
    assert_eq!(loaded(&home), [("large".to_owned(), "idle".to_owned())]);
    assert_eq!(infer(&home, "b"), Some(0));
    assert_eq!(loaded(&home).len(), 2);
}

#[test]
fn a_worker_that_is_stopped_ends_at_once_and_says_so_to_its_jobs() {
    let home = home(&["a"]);
    let answer = busy(&home, "a");
    let ran = home.run(["worker", "stop", "worker-1"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "worker-1 has ended\n"));
    let (status, events, _) = answer.finish();
    assert_eq!(status.code(), Some(1));
    let end = events.last().expect("an end");
    assert_eq!(end["error"]["message"], "worker-1 was stopped in the middle of the job");
    assert_eq!(infer(&home, "a"), Some(0));
    assert_eq!(home.run(["worker", "stop", "worker-1"]).code, Some(66));
}

#[test]
fn a_worker_that_is_drained_does_what_it_has_and_takes_nothing_new() {
    let mut home = home(&["a"]);
    home.set("RBEE_SLOTS", "2");
    assert_eq!(infer(&home, "a"), Some(0));
    let mut first = home.follow(&["-m", "a", "tokens 100 20 x"]);
    first.until(is_token);
    let mut drain = home.follow_with(&["worker", "drain", "worker-1"]);
    drain.until(|event| event["action"] == "worker_drain");
    assert_eq!(loaded(&home), [("a".to_owned(), "draining".to_owned())]);
    let mut second = home.follow(&["-m", "a", "hello"]);
    second.until(|event| event["action"] == "worker_wait");
    let (status, events, _) = first.finish();
    assert_eq!(status.code(), Some(0));
    assert_eq!(events.iter().filter(|event| is_token(event)).count(), 100);
    assert_eq!(drain.finish().0.code(), Some(0));
    let (status, events, _) = second.finish();
    assert_eq!(status.code(), Some(0));
    assert!(events.iter().any(|event| event["target"] == "worker-2"), "{events:?}");

    let answer = busy(&home, "a");
    assert_eq!(home.run(["worker", "drain", "worker-2", "--deadline", "0"]).code, Some(0));
    assert_eq!(answer.finish().0.code(), Some(1));
}

#[test]
fn a_hive_that_is_paused_finishes_what_runs_and_begins_nothing() {
    let home = home(&["a", "b"]);
    assert_eq!(home.run(["worker", "start", "-m", "b", "--pin"]).code, Some(0));
    let answer = busy(&home, "a");
    assert_eq!(home.run(["hive", "pause"]).code, Some(0));
    assert_eq!(home.ask(&["hive", "status"])["paused"], true);
    wait_until_paused(&home, true);
    wait_until_loaded(&home, &["a"]);
    let mut waiting = home.follow(&["-m", "b", "hello"]);
    waiting.until(|event| event["action"] == "hive_wait");
    answer.signal(Signal::INT);
    assert_eq!(answer.finish().0.code(), Some(130));
    wait_until_loaded(&home, &[]);
    assert_eq!(home.run(["hive", "resume"]).code, Some(0));
    wait_until_paused(&home, false);
    assert_eq!(waiting.finish().0.code(), Some(0));
}

#[test]
fn a_hive_stays_paused_whatever_is_restarted() {
    let home = Home::scripted();
    assert_eq!(home.run(["hive", "pause"]).code, Some(0));
    assert_eq!(home.run(["queen", "stop"]).code, Some(0));
    assert_eq!(home.ask(&["hive", "status"])["paused"], true);
    assert_eq!(home.run(["hive", "resume"]).code, Some(0));
    assert_eq!(home.run(["queen", "stop"]).code, Some(0));
    assert_eq!(home.run(["infer", "hello"]).stdout, "hello");
}

/// Asks the queen for its hives until it has heard from the hive.
fn wait_until_paused(home: &Home, paused: bool) {
    let is_so = || home.ask(&["hive", "list"])["hives"][0]["paused"].as_bool().unwrap_or(false) == paused;
    assert!((0..500).any(|_| is_so()), "the queen does not know that it is {paused}");
    let state = if paused { " paused " } else { " ready " };
    assert!(home.run(["hive", "list"]).stdout.contains(state));
}

#[test]
fn only_operators_start_and_stop_what_others_use() {
    let home = home(&["a"]);
    assert_eq!(infer(&home, "a"), Some(0));
    let key = home.new_key("ada");
    for operation in [
        r#"{"operation":"worker_start"}"#,
        r#"{"operation":"worker_stop","worker":"worker-1"}"#,
        r#"{"operation":"hive_pause"}"#,
        r#"{"operation":"hive_resume"}"#,
        r#"{"operation":"model_pull","model":"hf:a/b"}"#,
        r#"{"operation":"model_remove","model":"a"}"#,
        r#"{"operation":"model_verify"}"#,
        r#"{"operation":"model_show","model":"/etc/passwd"}"#,
    ] {
        let (status, body) = home.request_with(&key, "POST", "/v1/jobs", operation);
        assert_eq!(status, 403, "{operation}: {body}");
    }
}

#[test]
fn a_model_that_is_removed_is_unloaded() {
    let home = home(&["a", "b"]);
    assert_eq!((infer(&home, "a"), infer(&home, "b")), (Some(0), Some(0)));
    assert_eq!(home.run(["model", "rm", "a"]).code, Some(0));
    wait_until_loaded(&home, &["b"]);
    assert_eq!(infer(&home, "a"), Some(66));
}
