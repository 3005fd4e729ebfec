use std::fs::{self, File};
use std::net::TcpListener;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Home, is_alive, is_token, pid};

struct Pids {
    queen: Pid,
    hive: Pid,
    worker: Pid,
}

/// Starts everything by way of an infer.
fn start(home: &Home) -> Pids {
    let ran = home.run(["infer", "hello", "--max-tokens", "4"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    Pids {
        queen: pid(&home.queen_address()["pid"]),
        hive: pid(&home.ask(&["hive", "status"])["pid"]),
        worker: home.worker_pid(),
    }
}

/// Waits for a process that is about to end.
fn wait_for_end(pid: Pid) {
    while is_alive(pid) {
        std::thread::yield_now();
    }
}

#[test]
fn queen_stop_stops_the_hive_and_its_workers_too() {
    let home = Home::scripted();
    assert_eq!(home.run(["queen", "status"]).code, Some(69));
    let pids = start(&home);
    let status = home.run(["queen", "status"]);
    assert_eq!(status.code, Some(0), "{}", status.stderr);
    let stop = home.run(["queen", "stop"]);
    assert_eq!(stop.code, Some(0), "{}", stop.stderr);
    for pid in [pids.queen, pids.hive, pids.worker] {
        wait_for_end(pid);
    }
    assert_eq!(home.run(["queen", "status"]).code, Some(69));
    assert_eq!(home.run(["queen", "stop"]).code, Some(0));
}

#[test]
fn a_hive_outlives_its_queen_and_serves_the_next() {
    let home = Home::scripted();
    let pids = start(&home);
    kill_process(pids.queen, Signal::KILL).expect("the queen runs");
    wait_for_end(pids.queen);
    let again = start(&home);
    assert_ne!(again.queen, pids.queen);
    assert_eq!((again.hive, again.worker), (pids.hive, pids.worker));

    let stop = home.run(["queen", "stop", "--keep-hive"]);
    assert_eq!(stop.code, Some(0), "{}", stop.stderr);
    wait_for_end(again.queen);
    assert!(is_alive(again.hive) && is_alive(again.worker));
    assert_eq!(home.run(["queen", "stop"]).code, Some(0));
    wait_for_end(again.hive);
    wait_for_end(again.worker);
}

#[test]
fn commands_right_after_their_queen_was_killed_have_another() {
    let home = Home::scripted();
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    for _ in 0..5 {
        for command in [["hive", "status"], ["job", "list"], ["queen", "start"], ["infer", "hello"]] {
            let killed = pid(&home.queen_address()["pid"]);
            kill_process(killed, Signal::KILL).expect("the queen runs");
            let ran = home.run(command);
            assert_eq!(ran.code, Some(0), "{command:?}: {}", ran.stderr);
            assert_ne!(pid(&home.queen_address()["pid"]), killed, "{command:?}");
        }
    }
}

/// The last moment of a queen that was killed: its lock is held, and connections to it break.
#[test]
fn a_queen_that_is_still_dying_is_not_taken_for_one_that_runs() {
    let home = Home::scripted();
    for command in [["hive", "status"], ["job", "list"], ["queen", "start"]] {
        assert_eq!(home.run(["queen", "start"]).code, Some(0));
        let queen = pid(&home.queen_address()["pid"]);
        kill_process(queen, Signal::KILL).expect("the queen runs");
        wait_for_end(queen);
        let lock = File::open(home.path("state/queen.lock")).expect("the queen's lock");
        lock.lock().expect("nobody has it any more");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut address = home.queen_address();
        address["url"] = format!("http://{}", listener.local_addr().expect("it is bound")).into();
        fs::write(home.path("state/queen.json"), address.to_string()).expect("a file in the test's home");

        let child = home.command(command).spawn().expect("rbee starts");
        drop(listener.accept().expect("rbee looks for the queen"));
        drop((listener, lock));
        let output = child.wait_with_output().expect("rbee ends");
        assert_eq!(output.status.code(), Some(0), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(is_alive(pid(&home.queen_address()["pid"])), "{command:?}");
    }
}

#[test]
fn workers_end_with_their_hive_and_the_queen_starts_another() {
    let home = Home::with_model();
    let mut following = home.follow(&["Tell me a long story"]);
    following.until(is_token);
    let hive = pid(&home.ask(&["hive", "status"])["pid"]);
    let worker = home.worker_pid();
    kill_process(hive, Signal::KILL).expect("the hive runs");
    let (status, events, stderr) = following.finish();
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert_eq!(events[events.len() - 1]["error"]["code"], "interrupted");
    wait_for_end(worker);
    assert_ne!(start(&home).hive, hive);
}

#[cfg(target_os = "linux")]
#[test]
fn a_worker_that_is_stopped_ends_with_its_hive_all_the_same() {
    for home in [Home::scripted(), Home::with_model()] {
        let pids = start(&home);
        kill_process(pids.worker, Signal::STOP).expect("the worker runs");
        kill_process(pids.hive, Signal::KILL).expect("the hive runs");
        wait_for_end(pids.worker);
    }
}

#[test]
fn daemons_whose_home_is_removed_end_with_their_workers() {
    let home = Home::scripted();
    let pids = start(&home);
    let queen = pid(&home.queen_address()["pid"]);
    std::fs::remove_dir_all(home.path("")).expect("the home is ours");
    [queen, pids.hive, pids.worker].into_iter().for_each(wait_for_end);
}

#[test]
fn a_job_that_comes_when_its_hive_has_just_died_gets_the_next_one() {
    let home = Home::scripted();
    for _ in 0..5 {
        let pids = start(&home);
        kill_process(pids.hive, Signal::KILL).expect("the hive runs");
        let ran = home.run(["infer", "hello"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "hello"), "{}", ran.stderr);
    }
}

#[test]
fn commands_at_once_start_one_queen() {
    let home = Home::scripted();
    let children: Vec<_> =
        (0..6).map(|_| home.command(["hive", "status"]).spawn().expect("rbee starts")).collect();
    let outputs: Vec<_> =
        children.into_iter().map(|child| child.wait_with_output().expect("rbee ends")).collect();
    let mut starts = 0;
    for output in outputs {
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        starts += stderr.matches("queen_start").count();
    }
    assert_eq!(starts, 1);
}

#[test]
fn the_queen_tells_of_itself_in_its_log_and_in_no_jobs_stream() {
    let home = Home::scripted();
    let ran = home.run(["hive", "status", "-v"]);
    assert!(!ran.stderr.contains("Queen ready"), "{}", ran.stderr);
    let logs = home.run(["queen", "logs"]);
    assert!(logs.stdout.contains("[queen     ] ready          : Queen ready on http://"), "{}", logs.stdout);
    assert!(logs.stdout.contains("hive_ready"), "{}", logs.stdout);
    let refused = home.run(["queen", "logs", "--output", "json"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("hint: "), "{}", refused.stderr);
}

#[test]
fn two_homes_of_one_user_have_a_queen_each() {
    let shared = Home::empty();
    let command = |name: &str, args: [&str; 2]| {
        let home = shared.path(name);
        fs::create_dir_all(&home).expect("a folder in the test's home");
        let mut command = shared.command(args);
        for variable in ["RBEE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"]
        {
            command.env_remove(variable);
        }
        command.env("HOME", home).env("TMPDIR", shared.path(""));
        command.output().expect("rbee runs")
    };
    for name in ["one", "two"] {
        let output = command(name, ["hive", "status"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(shared.path(name).join(".config/rbee/operator.key").is_file());
        assert!(shared.path(name).join(".local/state/rbee/queen.log").is_file());
    }
    for name in ["one", "two"] {
        let output = command(name, ["queen", "stop"]);
        assert_eq!(output.stdout, b"the queen has stopped\n", "{name}");
    }
}

#[test]
fn a_port_that_is_taken_is_explained() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut home = Home::empty();
    home.set("RBEE_QUEEN_LISTEN", taken.local_addr().expect("it is bound").to_string());
    let ran = home.run(["hive", "status"]);
    assert_eq!(ran.code, Some(69), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("cannot listen on 127.0.0.1:") && ran.stderr.contains("hint: "),
        "{}",
        ran.stderr
    );
}

#[test]
fn queen_stop_cancels_what_runs() {
    let home = Home::with_model();
    let mut following = home.follow(&["Tell me a long story", "--max-tokens", "4000"]);
    following.until(is_token);
    let stop = home.run(["queen", "stop"]);
    assert_eq!(stop.code, Some(0), "{}", stop.stderr);
    let (status, events, stderr) = following.finish();
    assert_eq!(status.code(), Some(1), "{stderr}");
    let end = &events[events.len() - 1];
    assert_eq!(end["error"]["code"], "interrupted", "{end}");
    let tokens = end["usage"]["completion_tokens"].as_u64().expect("the worker's own count");
    assert!(tokens < 4000, "{end}");
}

#[test]
fn a_relative_home_is_the_same_for_command_and_daemons() {
    let shared = Home::empty();
    let command = |args: [&str; 2]| {
        let mut command = shared.command(args);
        command.current_dir(shared.path("")).env("RBEE_HOME", "relative/home");
        command.output().expect("rbee runs")
    };
    let output = command(["hive", "status"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(shared.path("relative/home/config/operator.key").is_file());
    assert_eq!(command(["queen", "stop"]).stdout, b"the queen has stopped\n");
}

#[test]
fn one_home_has_one_queen_whatever_the_runtime_folder() {
    let home = Home::empty();
    let runtime = home.path("runtime");
    fs::create_dir(&runtime).expect("a folder in the test's home");
    let pid_with = |runtime: Option<&std::path::Path>| {
        let mut command = home.command(["hive", "status", "--output", "json"]);
        command.env_remove("XDG_RUNTIME_DIR");
        if let Some(runtime) = runtime {
            command.env("XDG_RUNTIME_DIR", runtime);
        }
        let output = command.output().expect("rbee runs");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        report["pid"].clone()
    };
    assert_eq!(pid_with(None), pid_with(Some(&runtime)));
}

#[test]
fn a_queen_can_be_stopped_without_its_key() {
    let home = Home::scripted();
    let pids = start(&home);
    fs::remove_file(home.path("config/operator.key")).expect("the key file");
    let ran = home.run(["hive", "status"]);
    assert_ne!(ran.code, Some(0), "{}", ran.stderr);
    assert!(!home.path("config/operator.key").exists());
    let stop = home.run(["queen", "stop"]);
    assert_eq!(stop.code, Some(0), "{}", stop.stderr);
    wait_for_end(pids.queen);
    assert_eq!(home.run(["hive", "status"]).code, Some(0));
}

#[test]
fn settings_that_make_no_sense_are_named() {
    for (name, value, word) in [
        ("RBEE_QUEEN_LISTEN", "0.0.0.0:7833", "loopback"),
        ("RBEE_THREADS", "0", "RBEE_THREADS"),
        ("RBEE_CONTEXT_LENGTH", "0", "RBEE_CONTEXT_LENGTH"),
        ("RBEE_WORKER_PROGRAM", "relative/worker", "RBEE_WORKER_PROGRAM"),
        ("RBEE_SLOTS", "0", "RBEE_SLOTS"),
        ("RBEE_SLOTS", "many", "RBEE_SLOTS"),
        ("RBEE_WATCHDOG_S", "-1", "or 0 for no watchdog"),
        ("RBEE_WATCHDOG_S", "NaN", "RBEE_WATCHDOG_S"),
        ("RBEE_WAITING_JOBS", "0", "RBEE_WAITING_JOBS"),
    ] {
        let mut home = Home::empty();
        home.set(name, value);
        let ran = home.run(["hive", "status"]);
        assert_eq!(ran.code, Some(2), "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains(word) && ran.stderr.contains("hint: "), "{name}: {}", ran.stderr);
    }
}
