//! Jobs that outlast their commands and their queen.

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::support::{Following, Home, is_progress, is_token, pid, text};

fn kill_queen(home: &Home) {
    kill_process(pid(&home.queen_address()["pid"]), Signal::KILL).expect("the queen runs");
}

fn is_scheduled(event: &Value) -> bool {
    event["action"] == "schedule"
}

/// Starts a job in the background and returns its id.
fn detach(home: &Home, args: &[&str]) -> String {
    let ran = home.run(["infer", "--detach"].iter().chain(args));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ran.stdout.strip_suffix('\n').expect("a whole line").to_owned()
}

/// Follows a job in another command.
fn attach(home: &Home, job: &str) -> Following {
    home.follow_with(&["job", "attach", job])
}

/// The numbers of the events, which must be 1, 2, 3 …
fn check_gapless(events: &[Value]) {
    let seqs: Vec<u64> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=events.len() as u64).collect::<Vec<_>>());
}

#[test]
fn an_answer_of_the_default_model_keeps_its_slot_when_its_queen_is_killed() {
    let mut home = Home::scripted();
    home.set("RBEE_SLOTS", "1");
    let mut first = home.follow(&["tokens 1000000 20 x"]);
    first.until(is_token);
    kill_queen(&home);
    let mut second = home.follow(&["hello"]);
    second.until(|event| event["action"] == "queue");
    first.signal(Signal::INT);
    assert_eq!(first.finish().0.code(), Some(130));
    let (status, events, _) = second.finish();
    assert!(status.success() && text(&events) == "hello", "{events:?}");
}

#[test]
fn an_answer_goes_on_with_the_very_next_token_when_its_queen_is_killed() {
    let home = Home::with_model();
    let args = ["Tell me a long story", "--temperature", "0", "--max-tokens", "200"];
    let mut undisturbed = home.follow(&args);
    undisturbed.until(is_token);
    let (_, undisturbed, _) = undisturbed.finish();

    let mut following = home.follow(&args);
    for _ in 0..3 {
        for _ in 0..20 {
            following.until(is_token);
        }
        kill_queen(&home);
    }
    let (status, events, stderr) = following.finish();
    assert_eq!(status.code(), Some(0), "{stderr}");
    check_gapless(&events);
    assert_eq!(text(&events), text(&undisturbed));
    assert!(events.iter().any(|event| event["action"] == "job_resume"), "{events:?}");
    let ends = events.iter().filter(|event| event["kind"] == "end").count();
    assert_eq!((ends, &events[events.len() - 1]["state"]), (1, &Value::from("succeeded")));
}

#[test]
fn a_detached_job_is_followed_by_several_from_its_beginning() {
    let home = Home::scripted();
    let job = detach(&home, &["wait"]);
    let mut first = attach(&home, &job);
    let mut second = attach(&home, &job[..12]);
    first.until(is_scheduled);
    second.until(is_scheduled);
    // Whoever leaves leaves the job alone.
    let mut leaving = attach(&home, &job);
    leaving.until(is_scheduled);
    leaving.signal(Signal::INT);
    assert_eq!(leaving.finish().0.code(), Some(130));

    assert_eq!(home.run(["job", "cancel", &job]).code, Some(0));
    let (status, events, stderr) = first.finish();
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert_eq!(events[events.len() - 1]["state"], "cancelled");
    assert_eq!(second.finish().1, events);
    let again = attach(&home, &job).finish().1;
    assert_eq!(again, events);
}

#[test]
fn a_job_reads_the_same_after_its_queen_was_stopped_and_started() {
    let home = Home::scripted();
    let job = detach(&home, &["an answer for tomorrow"]);
    let (status, events, stderr) = attach(&home, &job).finish();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert_eq!(text(&events), "an answer for tomorrow");
    let listed = home.ask(&["job", "show", &job]);
    assert_eq!(home.run(["queen", "stop"]).code, Some(0));

    let (status, again, stderr) = attach(&home, &job).finish();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert_eq!(again, events);
    assert_eq!(home.ask(&["job", "show", &job]), listed);
}

#[test]
fn a_job_that_waited_when_its_queen_was_killed_gets_its_turn() {
    let home = Home::scripted();
    let running = detach(&home, &["wait"]);
    attach(&home, &running).until(is_scheduled);
    let mut waiting = home.follow(&["my turn"]);
    waiting.until(is_progress("queued"));
    kill_queen(&home);
    waiting.until(|event| event["action"] == "job_resume");
    assert_eq!(home.run(["job", "cancel", &running]).code, Some(0));
    let (status, events, stderr) = waiting.finish();
    assert_eq!(status.code(), Some(0), "{stderr}");
    check_gapless(&events);
    assert_eq!(text(&events), "my turn");
}

#[test]
fn a_job_that_no_hive_knows_any_more_is_interrupted_once() {
    let home = Home::scripted();
    let job = detach(&home, &["wait"]);
    attach(&home, &job).until(is_scheduled);
    let hive = pid(&home.ask(&["hive", "status"])["pid"]);
    kill_queen(&home);
    kill_process(hive, Signal::KILL).expect("the hive runs");
    let (status, events, stderr) = attach(&home, &job).finish();
    assert_eq!(status.code(), Some(1), "{stderr}");
    check_gapless(&events);
    let end = &events[events.len() - 1];
    assert_eq!((&end["state"], &end["error"]["code"]), (&"failed".into(), &"interrupted".into()));
    kill_queen(&home);
    assert_eq!(attach(&home, &job).finish().1, events);
}

#[test]
fn an_end_says_how_long_the_cancellation_took() {
    let home = Home::scripted();
    let job = detach(&home, &["wait"]);
    let mut following = attach(&home, &job);
    following.until(is_scheduled);
    assert_eq!(home.run(["job", "cancel", &job]).code, Some(0));
    let (_, events, _) = following.finish();
    let cancel_ms = events[events.len() - 1]["cancel_ms"].as_f64().expect("it says how long it took");
    assert!(cancel_ms > 0.0);
}

#[test]
fn a_journal_in_memory_writes_neither_prompt_nor_answer() {
    let mut home = Home::scripted();
    home.set("RBEE_JOURNAL", "memory");
    assert_eq!(home.run(["infer", "a secret of mine"]).stdout, "a secret of mine");
    let files = std::fs::read_dir(home.path("state")).expect("the state folder");
    let names = files.map(|file| file.expect("our own folder").file_name().into_string().expect("UTF-8"));
    assert!(names.into_iter().all(|name| !name.contains("journal")));
}
