use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::support::{Home, Ran, pid};

/// What `rbee doctor` says of the things with this name.
fn checks(report: &Value, name: &str) -> Vec<Value> {
    let checks = report["checks"].as_array().expect("a list of checks");
    checks.iter().filter(|check| check["check"] == name).cloned().collect()
}

fn report(home: &Home) -> (Option<i32>, Value) {
    let Ran { code, stdout, stderr } = home.run(["doctor", "--output", "json"]);
    (code, serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}")))
}

/// Checks that there is one problem, of this name, that the exit code is its own, and that its hint has this command.
#[track_caller]
fn check_problem(home: &Home, name: &str, code: i32, command: &str) -> Value {
    let (exit_code, report) = report(home);
    let problems: Vec<_> = report["checks"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|check| check["state"] == "problem")
        .collect();
    let [problem] = problems[..] else { panic!("{problems:#?}") };
    assert_eq!((&problem["check"], exit_code), (&name.into(), Some(code)), "{problem}");
    assert!(problem["hint"].as_str().is_some_and(|hint| hint.contains(command)), "{problem}");
    let text = home.run(["doctor"]);
    assert_eq!(text.code, Some(code));
    assert!(text.stdout.contains(command) && text.stdout.contains("\n1 problem"), "{}", text.stdout);
    problem.clone()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our own file");
}

#[test]
fn a_new_home_has_no_problem_and_is_not_touched() {
    let home = Home::empty();
    let (code, report) = report(&home);
    assert_eq!(code, Some(0), "{report:#}");
    assert_ne!(report["state"], "problem");
    for name in [
        "home", "files", "config", "keys", "disk", "programs", "memory", "cards", "port", "clock", "queen",
        "hive", "workers",
    ] {
        assert!(!checks(&report, name).is_empty(), "nothing of {name} in {report:#}");
    }
    assert_eq!(checks(&report, "queen")[0]["facts"]["running"], false);
    assert!(
        ["config", "data", "state"].iter().all(|folder| !home.path(folder).exists()),
        "it made something"
    );
}

#[test]
fn daemons_that_run_are_asked_and_told_of() {
    let home = Home::scripted();
    assert_eq!(home.run(["infer", "hello"]).code, Some(0));
    let (code, report) = report(&home);
    assert_eq!(code, Some(0), "{report:#}");
    for daemon in ["queen", "hive"] {
        let facts = &checks(&report, daemon)[0]["facts"];
        assert_eq!(facts["running"], true, "{report:#}");
        assert!(facts["answered_ms"].is_u64() && facts["version"] == env!("CARGO_PKG_VERSION"), "{facts}");
    }
    assert_eq!(checks(&report, "workers")[0]["facts"]["workers"][0]["state"], "idle");
    let url = home.queen_address()["url"].clone();
    assert_eq!(checks(&report, "port")[0]["facts"]["url"], url);
}

#[test]
fn settings_that_make_no_sense_are_a_problem_that_is_named() {
    let home = Home::scripted();
    fs::create_dir_all(home.path("config")).expect("a folder in the test's home");
    fs::write(home.path("config/config.toml"), "[worker]\nthreads = \"\u{1b}[31mmany\"\n").expect("room");
    let problem = check_problem(&home, "config", 2, "correct or remove the setting");
    assert!(problem["message"].as_str().is_some_and(|text| text.contains("config.toml")), "{problem}");
    assert!(!home.run(["doctor"]).stdout.contains('\u{1b}'));
}

#[test]
fn folders_of_a_project_are_neither_taken_nor_changed() {
    let home = Home::empty();
    let config = home.path("config");
    fs::create_dir_all(&config).expect("the test's home");
    fs::write(config.join("settings.yaml"), "theirs").expect("the test's home");
    set_mode(&config, 0o755);
    check_problem(&home, "home", 77, "set RBEE_HOME to a folder of its own");
    let ran = home.run(["status"]);
    assert_eq!(ran.code, Some(77), "{}", ran.stderr);
    assert_eq!(fs::metadata(&config).expect("it is there").permissions().mode() & 0o777, 0o755);
    assert!(!home.path("state").exists());
}

#[test]
fn keys_that_are_open_to_others_or_damaged_are_problems() {
    let home = Home::scripted();
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    home.new_key("ada");
    assert_eq!(home.run(["queen", "stop"]).code, Some(0));
    let key = home.path("config/operator.key");
    set_mode(&key, 0o644);
    check_problem(&home, "files", 77, "chmod 600");
    set_mode(&key, 0o600);

    let keys = home.path("config/keys.json");
    let text = fs::read_to_string(&keys).expect("the keys");
    fs::write(&keys, &text[..text.len() / 2]).expect("room");
    check_problem(&home, "keys", 65, "restore it from a backup");
    fs::write(&keys, "{\"mine\":1}").expect("room");
    check_problem(&home, "keys", 65, "restore it from a backup");
    fs::write(&keys, text).expect("room");
    let aliases = home.path("config/aliases.json");
    fs::write(&aliases, "[[").expect("room");
    set_mode(&aliases, 0o600);
    check_problem(&home, "config", 65, "make the aliases again");
    fs::remove_file(&aliases).expect("our own file");
    fs::write(&key, "\n").expect("room");
    check_problem(&home, "keys", 65, "rm ");
}

#[test]
fn a_damaged_home_is_told_of_whatever_is_wrong_with_it() {
    let home = Home::scripted();
    fs::create_dir_all(home.path("state")).expect("a folder in the test's home");
    set_mode(&home.path("state"), 0o755);
    let (code, told) = report(&home);
    assert_eq!(code, Some(0), "{told:#}");
    let check = &checks(&told, "home")[0];
    assert!(
        check["state"] == "warning" && check["hint"].as_str().expect("a hint").contains("chmod 700"),
        "{check}"
    );
    set_mode(&home.path("state"), 0o700);

    fs::create_dir_all(home.path("config/aliases.json")).expect("room");
    check_problem(&home, "files", 74, "aliases.json.old");
    fs::remove_dir(home.path("config/aliases.json")).expect("our own folder");
    fs::write(home.path("state/journal.sqlite"), "no journal at all").expect("room");
    check_problem(&home, "files", 65, "mv ");
    let ran = home.run(["status"]);
    assert!(ran.code == Some(65) && ran.stderr.contains("journal.sqlite.old"), "{ran:?}");
    fs::remove_dir_all(home.path("state")).expect("our own folder");
    fs::write(home.path("state"), "a file").expect("room");
    let (code, told) = report(&home);
    assert_eq!(code, Some(74), "{told:#}");
    assert!(checks(&told, "home").iter().any(|check| check["state"] == "problem"), "{told:#}");
}

#[test]
fn without_any_place_for_files_the_doctor_still_looks_at_the_machine() {
    let home = Home::empty();
    let mut command = home.command(["doctor", "--output", "json"]);
    for variable in ["RBEE_HOME", "HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
        command.env_remove(variable);
    }
    let output = command.output().expect("rbee starts");
    assert_eq!(output.status.code(), Some(2));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(checks(&report, "home")[0]["state"], "problem");
    assert!(!checks(&report, "memory").is_empty());
}

#[test]
fn a_queen_that_does_not_answer_is_a_problem() {
    let home = Home::scripted();
    assert_eq!(home.run(["hive", "status"]).code, Some(0));
    let queen = pid(&home.queen_address()["pid"]);
    kill_process(queen, Signal::STOP).expect("the queen runs");
    let problem = check_problem(&home, "queen", 69, "rbee queen stop");
    kill_process(queen, Signal::CONT).expect("the queen is there");
    assert!(problem["message"].as_str().is_some_and(|text| text.contains("does not answer")), "{problem}");
}

#[test]
fn a_queen_with_another_key_is_a_problem_until_it_is_the_same_again() {
    let home = Home::scripted();
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    let key = home.path("config/operator.key");
    let before = fs::read_to_string(&key).expect("the key");
    fs::write(&key, format!("rbee_{}\n", "0".repeat(64))).expect("room");
    check_problem(&home, "queen", 77, "rbee queen stop");
    fs::remove_file(&key).expect("our own file");
    check_problem(&home, "queen", 77, "rbee queen stop");
    fs::write(&key, before).expect("room");
    set_mode(&key, 0o600);
    assert_eq!(report(&home).0, Some(0));
}

#[test]
fn a_queen_of_another_version_is_said_with_the_way_out() {
    let home = Home::scripted();
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    let mut address = home.queen_address();
    address["version"] = "0.0.1".into();
    fs::write(home.path("state/queen.json"), address.to_string()).expect("room");
    let ran = home.run(["hive", "list"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let warnings: Vec<_> = ran.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert!(
        warnings.len() == 1 && warnings[0].contains("0.0.1") && warnings[0].contains("`rbee queen stop`"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_name_that_is_mistyped_is_answered_with_the_one_that_was_meant() {
    let home = Home::scripted();
    assert_eq!(home.run(["infer", "hello"]).code, Some(0));
    let jobs = home.ask(&["job", "list"]);
    let mine = jobs["jobs"][0]["job_id"].as_str().expect("an id").to_owned();
    let key = home.new_key("ada");
    let body = r#"{"operation":"infer","detached":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let (status, theirs) = home.request_with(&key, "POST", "/v1/jobs", body);
    assert_eq!(status, 201, "{theirs}");
    let theirs: Value = serde_json::from_str(&theirs).expect("JSON");
    let theirs = theirs["job_id"].as_str().expect("an id").to_owned();
    // Another last digit.
    let mistyped = |id: &str| {
        let (start, last) = id.split_at(id.len() - 1);
        format!("{start}{}", if last == "0" { "1" } else { "0" })
    };
    for (args, meant) in [
        (&["hive", "status", "locla"][..], Some("`local`")),
        (&["worker", "stop", "worker-2"], Some("`worker-1`")),
        (&["job", "show", &mistyped(&mine)], Some(mine.as_str())),
        (&["job", "show", &mistyped(&mine[..20])], Some(mine.as_str())),
        (&["job", "show", &mistyped(&theirs)], None),
        (&["job", "show", &mistyped(&theirs[..20])], None),
    ] {
        let ran = home.run(args);
        assert_eq!(ran.code, Some(66), "{args:?}: {}", ran.stderr);
        let said =
            meant.is_none_or(|meant| ran.stderr.contains("did you mean") && ran.stderr.contains(meant));
        assert!(said && !ran.stderr.contains(&theirs), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_port_that_is_asked_for_and_taken_is_a_problem() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut home = Home::scripted();
    home.set("RBEE_QUEEN_LISTEN", taken.local_addr().expect("it is bound").to_string());
    let problem = check_problem(&home, "port", 69, "queen.listen");
    assert!(problem["message"].as_str().is_some_and(|text| text.contains("is used by")), "{problem}");
}

#[test]
fn a_worker_program_that_is_none_is_a_problem() {
    let mut home = Home::empty();
    home.set("RBEE_WORKER_PROGRAM", "/nowhere/rbee-worker");
    check_problem(&home, "programs", 2, "RBEE_WORKER_PROGRAM");
    // Whether it is one, only trying it tells.
    let program = home.path("worker");
    fs::write(&program, "#!/nowhere/interpreter\n").expect("room");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("our own file");
    home.set("RBEE_WORKER_PROGRAM", program);
    let problem = check_problem(&home, "programs", 2, "RBEE_WORKER_PROGRAM");
    assert!(problem["message"].as_str().is_some_and(|text| text.contains("does not run")), "{problem}");
}

#[test]
fn a_bundle_tells_of_everything_but_prompts_answers_and_keys() {
    let mut home = Home::scripted();
    home.set("HF_TOKEN", "token-canary-of-no-known-shape");
    home.set("MY_API_KEY", "environment-canary");
    let token = home.path("hub-token");
    fs::write(&token, "file-canary-of-no-known-shape\n").expect("room");
    home.set("HF_TOKEN_PATH", token);
    fs::create_dir_all(home.path("config")).expect("a folder in the test's home");
    let settings = "# comment-canary\n[worker]\nwatchdog_s = 77\n[models.m]\ndraft = \"/a\"\nbase = \"\"\"\nsetting-canary\"\"\"\n";
    fs::write(home.path("config/config.toml"), settings).expect("room");
    // The scripted worker answers with what it is told.
    for prompt in ["prompt-canary", "tokens 3 0 answer-canary", "key=prompt-canary hf_0123456789abcdef0123"] {
        assert_eq!(home.run(["infer", prompt]).code, Some(0));
    }
    assert_ne!(home.run(["infer", "-m", "no-such-model", "prompt-canary"]).code, Some(0));
    let ada = home.new_key("ada");
    // A daemon's line is redacted when it is written; what gets into the file in another way has to be as well.
    let mut log = fs::OpenOptions::new().append(true).open(home.path("state/hive.log")).expect("the log");
    writeln!(log, "oops \u{1b}[2J {ada} token-canary-of-no-known-shape file-canary-of-no-known-shape")
        .expect("room");

    let bundle = home.path("report.txt");
    let write = |more: &[&str]| {
        let args = ["doctor", "--bundle", bundle.to_str().expect("a plain path")];
        home.run(args.iter().chain(more))
    };
    let ran = write(&[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let text = fs::read_to_string(&bundle).expect("the bundle");
    assert!(
        !text.contains("canary"),
        "{}",
        text.lines().find(|line| line.contains("canary")).unwrap_or_default()
    );
    for secret in [home.key(), ada, "hf_0123456789abcdef0123".to_owned(), "\u{1b}".to_owned()] {
        assert!(!text.contains(&secret), "{secret}");
    }
    for told in [
        "\"check\": \"queen\"",
        "watchdog_s = 77",
        "job_ended",
        "== jobs",
        "\"operation\": \"infer\"",
        "Queen ready",
        "Hive ready",
        "HF_TOKEN",
        "oops",
    ] {
        assert!(text.contains(told), "{told} in {text}");
    }
    assert_eq!(fs::metadata(&bundle).expect("the bundle").permissions().mode() & 0o777, 0o600);

    fs::write(&bundle, "mine").expect("our own file");
    let refused = write(&[]);
    assert!(refused.code == Some(2) && refused.stderr.contains("--overwrite"), "{refused:?}");
    assert_eq!(fs::read_to_string(&bundle).expect("it is there"), "mine");
    let mut here = home.command(["doctor", "--overwrite", "--bundle"]);
    here.arg(bundle.file_name().expect("a name")).current_dir(bundle.parent().expect("a folder"));
    let ran = here.output().expect("rbee starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(fs::read_to_string(&bundle).expect("it is there").contains("== doctor =="));
}

#[test]
fn a_bundle_is_written_of_a_home_that_is_damaged() {
    let home = Home::scripted();
    fs::create_dir_all(home.path("config")).expect("a folder in the test's home");
    fs::write(home.path("config/config.toml"), "[queen\nlisten = \"setting-canary\n").expect("room");
    let bundle = home.path("report.txt");
    let ran = home.run(["doctor", "--bundle", bundle.to_str().expect("a plain path"), "--output", "json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let answer: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(answer["state"], "problem");
    let text = fs::read_to_string(&bundle).expect("the bundle");
    assert!(text.contains("\"check\": \"config\"") && !text.contains("canary"), "{text}");
}

#[test]
fn the_doctors_document_names_every_check() {
    let home = Home::scripted();
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    let (_, report) = report(&home);
    let document = include_str!("../../../../docs/doctor.md");
    let table = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let named: Vec<&str> = table.map(|(name, _)| name).take_while(|name| *name != "version").collect();
    let mut found: Vec<&str> = Vec::new();
    for check in report["checks"].as_array().expect("a list") {
        found.push(check["check"].as_str().expect("a name"));
        let has_hint = check["hint"].is_string();
        assert_eq!(has_hint, check["state"] != "ok", "{check}");
    }
    found.dedup();
    // The tests' programs run from the tree that they were built in.
    assert_eq!(found, named);
}
