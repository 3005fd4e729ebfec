use crate::support::{Home, MODEL};

/// Compares a command's stdout with a snapshot in which what differs between runs has fixed names.
macro_rules! assert_shown {
    ($home:expr, $args:expr, @$expected:literal) => {{
        let ran = $home.run($args);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        insta::with_settings!({ filters => vec![
            (r"job-[0-9a-f]{32}", "[job]"),
            (r"\d+\.\d [GM]iB", "[size]"),
            (r"http://127\.0\.0\.1:\d+", "[url]"),
            (r"(host +)\S+", "$1[host]"),
            (r"((?:pid|version|uptime|instructions) +)\S.*", "$1[fact]"),
            (r"(?m)^cpu .*$", "cpu  [processor]"),
            (r"(idle|busy) +(\d+)/\d+ +\d+", "$1  $2/[slots]  [pid]"),
            (r"/\S+\.gguf", "[path]"),
            (r" +\n", "\n"),
            (r" {2,}", "  "),
        ] }, {
            insta::assert_snapshot!(ran.stdout, @$expected);
        });
    }};
}

#[test]
fn hive_status_shows_devices_memory_models_and_workers() {
    let home = Home::with_model();
    assert_shown!(home, ["hive", "status"], @r"
    hive  local
    host  [host]
    version  [fact]
    pid  [fact]
    uptime  [fact]
    state  ready
    memory  [size] free of [size]
    instructions  [fact]

    Devices
    KIND  NAME  CORES  THREADS  MEMORY  FREE
    cpu  [processor]

    Models
    MODEL  HIVE  SIZE  WEIGHTS  STATE  PATH
    SmolLM2-135M-Instruct.Q4_1  local  [size]  135M Q4_1  here, default  [path]

    Workers
    no workers: the first `rbee infer` starts one
    ");
    assert_eq!(home.run(["infer", "hello", "--max-tokens", "1"]).code, Some(0));
    let report = home.ask(&["hive", "status"]);
    assert_eq!(report["hive"], "local");
    assert!(report["memory_total_bytes"].as_u64() > report["memory_available_bytes"].as_u64());
    assert_eq!(report["devices"][0]["kind"], "cpu");
    assert_eq!(report["models"][0]["model"], MODEL);
    assert_eq!(report["workers"][0]["state"], "idle");
}

#[test]
fn lists_are_tables_and_json() {
    let home = Home::with_model();
    assert_shown!(home, ["worker", "list"], @"no workers: the first `rbee infer` starts one");
    assert_shown!(home, ["hive", "list"], @r"
    HIVE  STATE  WORKERS  JOBS  REASON
    local  ready  0  0
    ");
    assert_shown!(home, ["model", "list"], @r"
    MODEL  HIVE  SIZE  WEIGHTS  STATE  PATH
    SmolLM2-135M-Instruct.Q4_1  local  [size]  135M Q4_1  here, default  [path]
    ");
    assert_eq!(home.run(["infer", "hello", "--max-tokens", "1"]).code, Some(0));
    assert_shown!(home, ["worker", "list"], @r"
    WORKER  HIVE  MODEL  STATE  JOBS  PID
    worker-1  local  SmolLM2-135M-Instruct.Q4_1  idle  0/[slots]  [pid]
    ");
    assert_eq!(home.ask(&["model", "list"])["models"][0]["default"], true);
    assert_eq!(home.ask(&["status"])["hives"][0]["state"], "ready");
}

#[test]
fn a_job_can_be_listed_shown_and_read_again() {
    let home = Home::scripted();
    let first = home.run(["infer", "once upon a time"]);
    let jobs = home.ask(&["job", "list"]);
    let job = &jobs["jobs"].as_array().and_then(|jobs| jobs.first()).expect("the job is listed")["job_id"];
    let id = job.as_str().expect("an id");
    assert_eq!(home.ask(&["job", "show", id])["state"], "succeeded");
    let logs = home.run(["job", "logs", &id[..12]]);
    assert_eq!((logs.code, &logs.stdout), (Some(0), &first.stdout), "{}", logs.stderr);
    assert!(logs.stderr.contains("job_create"), "{}", logs.stderr);
}

#[test]
fn completions_are_printed_for_every_shell_without_a_queen() {
    let home = Home::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = home.run(["completions", shell]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(ran.stdout.contains("infer"), "{shell}");
    }
    assert!(!home.path("state/queen.json").exists());
}
