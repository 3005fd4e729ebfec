use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Home, Ran, is_progress, is_token};

/// Follows an infer up to an event, interrupts it there, and sees it confirmed and the worker idle.
fn check(home: &Home, args: &[&str], at: impl Fn(&Value) -> bool) {
    let mut following = home.follow(args);
    following.until(at);
    following.signal(Signal::INT);
    let (status, events, stderr) = following.finish();
    assert_eq!(status.code(), Some(130), "{stderr}");
    let end = &events[events.len() - 1];
    assert_eq!((&end["kind"], &end["state"]), (&"end".into(), &"cancelled".into()), "{end}");
    assert!(stderr.contains("Cancelling"), "{stderr}");
    home.wait_for_idle_workers();
}

#[test]
fn an_interrupt_during_the_download_is_confirmed_and_leaves_nothing_half_fetched() {
    let home = Home::empty();
    let mut following = home.follow(&["hello"]);
    following.until(|event| event["action"] == "model_fetch");
    following.signal(Signal::INT);
    let (status, events, stderr) = following.finish();
    assert_eq!(status.code(), Some(130), "{stderr}");
    assert_eq!(events[events.len() - 1]["state"], "cancelled");
    let left = std::fs::read_dir(home.path("data/models")).expect("the folder of models").flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(["blobs", "manifests", "partial"].iter().all(|name| left.contains(&name.into())), "{left:?}");
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn an_interrupt_during_load_is_confirmed_and_leaves_the_worker_idle() {
    let home = Home::with_model();
    check(&home, &["hello"], is_progress("load"));
}

#[test]
fn an_interrupt_during_prefill_is_confirmed_and_leaves_the_worker_idle() {
    let home = Home::with_model();
    let prompt = "All work and no play makes a dull day. ".repeat(200);
    check(&home, &[&prompt], is_progress("prefill"));
}

#[test]
fn an_interrupt_during_decode_is_confirmed_and_leaves_the_worker_idle() {
    let home = Home::with_model();
    check(&home, &["Tell me a long story"], is_token);
}

#[test]
fn who_is_told_to_end_twice_at_once_has_the_job_cancelled_before() {
    let home = Home::scripted();
    for _ in 0..5 {
        let mut following = home.follow(&["tokens 1000000 20 x"]);
        following.until(is_token);
        for _ in 0..2 {
            following.signal(Signal::TERM);
        }
        assert_eq!(following.finish().0.code(), Some(143));
    }
    home.wait_for_idle_workers();
    let jobs = home.ask(&["job", "list"]);
    let infers = jobs["jobs"].as_array().expect("a list").iter().filter(|job| job["operation"] == "infer");
    let ended: Vec<_> =
        infers.map(|job| home.run(["job", "show", job["job_id"].as_str().expect("an id")])).collect();
    assert_eq!(ended.len(), 5);
    let is_cancelled = |shown: &Ran| shown.stdout.contains("the job was cancelled");
    assert!(ended.iter().all(is_cancelled), "{ended:?}");
}

#[test]
fn an_interrupt_in_the_queue_is_confirmed() {
    let home = Home::scripted();
    let mut first = home.follow(&["wait"]);
    first.until(|event| event["action"] == "schedule");
    let mut second = home.follow(&["wait"]);
    second.until(is_progress("queued"));
    second.signal(Signal::TERM);
    let (status, events, stderr) = second.finish();
    assert_eq!(status.code(), Some(143), "{stderr}");
    assert_eq!(events[events.len() - 1]["state"], "cancelled");
    first.signal(Signal::INT);
    assert_eq!(first.finish().0.code(), Some(130));
}

#[test]
fn a_job_that_somebody_else_cancels_exits_with_1() {
    let home = Home::scripted();
    let mut following = home.follow(&["wait"]);
    following.until(|event| event["action"] == "schedule");
    let job = following.events[0]["target"].as_str().expect("the first line names the job").to_owned();
    let cancel = home.run(["job", "cancel", &job]);
    assert_eq!(cancel.code, Some(0), "{}", cancel.stderr);
    let (status, events, stderr) = following.finish();
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert_eq!(events[events.len() - 1]["error"]["code"], "cancelled");
}

#[test]
fn a_job_that_waits_in_the_worker_is_cancelled_without_harm_to_the_one_that_runs() {
    let home = Home::with_model();
    let mut first = home.follow(&["Tell me a story", "--max-tokens", "150", "--seed", "1"]);
    first.until(is_token);
    // The same model by another name: the queen lets it pass, and it waits in the worker.
    let mut second = home.follow(&["-m", crate::support::MODEL, "hello"]);
    second.until(|event| event["action"] == "schedule");
    second.signal(Signal::INT);
    assert_eq!(second.finish().0.code(), Some(130));
    let (status, events, stderr) = first.finish();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert_eq!(events[events.len() - 1]["usage"]["completion_tokens"], 150);
}
