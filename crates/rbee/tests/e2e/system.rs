use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Home, pid};

const CANARY: &str = "CANARY-a7f3";

/// An `rbee events` that is being read.
struct Events {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Events {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("rbee starts");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Self { child, stdout }
    }

    /// Reads up to the first line that has `wanted` in it.
    fn until(&mut self, wanted: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            self.stdout.read_line(&mut line).expect("stdout can be read");
            assert!(!line.is_empty(), "{wanted} is not in {lines:?}");
            lines.push(line);
            if lines.last().is_some_and(|line| line.contains(wanted)) {
                return lines;
            }
        }
    }
}

fn kinds(lines: &[String]) -> Vec<String> {
    let kind = |line: &String| {
        let event: Value = serde_json::from_str(line).expect("an event in JSON");
        event["kind"].as_str().expect("a kind").to_owned()
    };
    lines.iter().map(kind).collect()
}

#[test]
fn events_tell_of_jobs_workers_hives_and_keys_until_the_queen_stops() {
    let home = Home::scripted();
    let infer = home.run(["infer", CANARY, "--output", "ndjson"]);
    assert_eq!(infer.code, Some(0), "{}", infer.stderr);
    home.new_key("ada");
    assert_eq!(home.run(["key", "revoke", "ada"]).code, Some(0));

    let mut events = Events::start(home.command(["events", "--output", "ndjson"]));
    let lines = events.until("key_revoked");
    assert!(!lines.concat().contains(CANARY), "{lines:?}");
    let kinds = kinds(&lines);
    assert_eq!(kinds[0], "queen_started");
    let place = |wanted: &str| {
        kinds.iter().position(|kind| kind == wanted).unwrap_or_else(|| panic!("no {wanted} in {kinds:?}"))
    };
    let order = ["hive_ready", "worker_started", "worker_loaded", "job_ended", "key_created", "key_revoked"];
    // A worker's report and its job's end come by different ways.
    assert!(place(order[0]) < place(order[1]) && place(order[1]) < place(order[2]), "{kinds:?}");
    assert!(place("job_created") < place("job_started") && place("job_started") < place(order[3]));
    assert!(place(order[3]) < place(order[4]) && place(order[4]) < place(order[5]), "{kinds:?}");
    for (line, seq) in lines.iter().zip(1_u64..) {
        let event: Value = serde_json::from_str(line).expect("an event in JSON");
        assert_eq!(event["seq"], seq);
    }
    let first_key = place("key_created").to_string();
    let mut later = Events::start(home.command(["events", "--after", &first_key]));
    let told = later.until("key_created");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].ends_with("  key_created       ada, user, by operator\n"), "{told:?}");

    // The reader of one is told the end of the queen, that of the other leaves before.
    kill_process(Pid::from_child(&later.child), Signal::TERM).expect("rbee still runs");
    assert_eq!(later.child.wait().expect("rbee ends").code(), Some(143));
    assert_eq!(home.run(["queen", "stop"]).code, Some(0));
    events.until("queen_stopping");
    assert_eq!(events.child.wait().expect("rbee ends").code(), Some(0));
}

#[test]
fn a_queen_that_takes_up_jobs_says_so_and_begins_its_own_numbers() {
    let home = Home::scripted();
    assert_eq!(home.run(["infer", "--detach", "wait"]).code, Some(0));
    let queen = pid(&home.queen_address()["pid"]);
    let mut events = Events::start(home.command(["events", "--output", "ndjson"]));
    events.until("job_started");
    kill_process(queen, Signal::KILL).expect("the queen runs");
    // A cut is not the queen's stopping in order.
    assert_eq!(events.child.wait().expect("rbee ends").code(), Some(69));

    assert_eq!(home.run(["status"]).code, Some(0));
    let mut events = Events::start(home.command(["events", "--output", "ndjson"]));
    let lines = events.until("jobs_resumed");
    assert_eq!(kinds(&lines)[0], "queen_started");
    let resumed: Value = serde_json::from_str(&lines[lines.len() - 1]).expect("an event in JSON");
    assert_eq!(resumed["jobs"], 1);
    let _ = events.child.kill();
    let _ = events.child.wait();
}

#[test]
fn events_have_no_single_json_value_and_are_for_operators() {
    let home = Home::empty();
    let ran = home.run(["events", "--output", "json"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("--output ndjson"), "{}", ran.stderr);
    let ada = home.new_key("ada");
    for path in ["/v1/system/events", "/metrics"] {
        assert_eq!(home.request_with(&ada, "GET", path, "").0, 403, "{path}");
    }
}

/// The figures in Prometheus' text format, by name and labels, each line of which must be well formed.
fn figures(text: &str) -> HashMap<String, f64> {
    let is_name =
        |name: &str| name.starts_with("rbee_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let mut types = HashMap::new();
    let mut helped = HashSet::new();
    let mut figures = HashMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a text");
            assert!(is_name(name) && !help.is_empty() && helped.insert(name.to_owned()), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(
                helped.contains(name) && types.insert(name.to_owned(), kind.to_owned()).is_none(),
                "{line}"
            );
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let (figure, value) = line.rsplit_once(' ').expect("a figure and its value");
            let (name, labels) = match figure.split_once('{') {
                Some((name, labels)) => (name, labels.strip_suffix('}').expect("labels in braces")),
                None => (figure, ""),
            };
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
                let family = name.strip_suffix(suffix)?;
                (types.get(family).map(String::as_str) == Some("histogram")).then_some(family)
            });
            assert!(types.contains_key(family.unwrap_or(name)) && is_name(name), "{line}");
            if !labels.is_empty() {
                let (label, value) = labels.split_once('=').expect("a label has a value");
                assert!(["state", "code", "le"].contains(&label), "{line}");
                let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
                let value = value.expect("a value in quotes");
                assert!(value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.+".contains(&b)), "{line}");
            }
            let value: f64 = value.parse().expect("a number");
            assert!(value >= 0.0 && figures.insert(figure.to_owned(), value).is_none(), "{line}");
        }
    }
    assert!(text.ends_with('\n'));
    figures
}

#[test]
fn metrics_are_in_prometheus_format_and_hold_nothing_of_anybody() {
    let home = Home::scripted();
    let infer = home.run(["infer", CANARY, "--output", "ndjson"]);
    assert_eq!(infer.code, Some(0), "{}", infer.stderr);
    let key = home.new_key("ada");
    assert_eq!(home.request_with(&key, "GET", "/v1/keys", "").0, 403);
    home.wait_for_idle_workers();

    let (status, text) = home.request("GET", "/metrics", "");
    assert_eq!(status, 200);
    assert!(!text.contains(CANARY) && !text.contains("ada") && !text.contains("job-"), "{text}");
    let figures = figures(&text);
    let figure = |name: &str| *figures.get(name).unwrap_or_else(|| panic!("no {name} in {text}"));
    // The scripted worker says every character by itself.
    assert_eq!(figure("rbee_tokens_total"), CANARY.len() as f64);
    assert!(figure("rbee_events_appended_total") > figure("rbee_tokens_total"));
    assert!(figure("rbee_jobs_created_total") >= 2.0);
    assert_eq!(figure("rbee_jobs{state=\"succeeded\"}"), figure("rbee_jobs_created_total"));
    // That the last has ended may not have been noted yet.
    let noted = figure("rbee_jobs_ended_total{state=\"succeeded\"}");
    assert!(noted >= figure("rbee_jobs_created_total") - 1.0, "{text}");
    assert_eq!(figure("rbee_hives{state=\"ready\"}"), 1.0);
    assert_eq!(figure("rbee_workers{state=\"idle\"}"), 1.0);
    assert_eq!(figure("rbee_requests_refused_total{code=\"denied\"}"), 1.0);
    assert!(figure("rbee_connections") >= 1.0, "this one is open");
    assert!(figure("rbee_log_bytes") > 0.0);
    let commits = figure("rbee_journal_commit_seconds_count");
    assert!(commits > 0.0 && figure("rbee_journal_commit_seconds_sum") > 0.0);
    assert_eq!(figure("rbee_journal_commit_seconds_bucket{le=\"+Inf\"}"), commits);
    assert_eq!(figure("rbee_journal_failures_total"), 0.0);
    for name in
        ["rbee_streams", "rbee_events_dropped_total", "rbee_window_bytes", "rbee_connections_refused_total"]
    {
        figure(name);
    }
}

#[test]
fn what_a_key_may_have_at_once_is_a_setting() {
    let mut home = Home::scripted();
    home.set("RBEE_JOBS_PER_KEY", "1");
    home.set("RBEE_STREAMS_PER_KEY", "1");
    assert_eq!(home.run(["infer", "--detach", "wait"]).code, Some(0));
    let refused = home.run(["infer", "hello"]);
    assert_eq!(refused.code, Some(75), "{}", refused.stderr);
    assert!(refused.stderr.contains("that is the limit"), "{}", refused.stderr);
    let mut events = Events::start(home.command(["events"]));
    events.until("job_created");
    assert_eq!(home.run(["events"]).code, Some(75));
    let _ = events.child.kill();
    let _ = events.child.wait();
}
